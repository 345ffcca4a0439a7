//! The guest agent's client against agents that answer, and agents that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virt_driver_qemu::agent::commands::Shutdown;
use virt_driver_qemu::agent::{AgentClient, AgentObserver, AgentTimeout, Awaited, GuestAgent};
use virt_util::reactor::Reactor;
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, VirtError};

struct Teller(mpsc::Sender<Option<VirtError>>);

impl AgentObserver for Teller {
    fn ended(&self, _: &AgentClient, why: Option<&VirtError>) {
        let _ = self.0.send(why.cloned());
    }
}

struct Pair {
    reactor: Reactor,
    client: AgentClient,
    peer: UnixStream,
    ended: mpsc::Receiver<Option<VirtError>>,
}

fn pair(timeout: i32) -> Pair {
    let reactor = Reactor::start("agent-test").unwrap();
    let (ours, peer) = UnixStream::pair().unwrap();
    let (sender, ended) = mpsc::channel();
    let timeout = AgentTimeout::new(timeout).unwrap();
    let client = AgentClient::attach(ours, &reactor.handle(), timeout, Teller(sender)).unwrap();
    Pair {
        reactor,
        client,
        peer,
        ended,
    }
}

/// An agent that answers the handshake, and other commands with what `answer` says.
fn agent(peer: UnixStream, mut answer: impl FnMut(&Value) -> Option<Value> + Send + 'static) {
    std::thread::spawn(move || {
        let mut out = peer.try_clone().unwrap();
        for line in BufReader::new(peer).lines().map_while(Result::ok) {
            let command: Value = serde_json::from_str(&line).unwrap();
            let reply = match command["execute"].as_str() {
                Some("guest-sync") => Some(json!({ "return": command["arguments"]["id"] })),
                _ => answer(&command),
            };
            if let Some(reply) = reply {
                let _ = out.write_all(format!("{reply}\n").as_bytes());
            }
        }
    });
}

fn talk(client: &AgentClient) -> GuestAgent<'_> {
    static NEVER: std::sync::LazyLock<Cancel> = std::sync::LazyLock::new(Cancel::never);
    GuestAgent::new(client, Deadline::after(Duration::from_secs(20)), &NEVER)
}

#[test]
fn one_handshake_serves_many_commands() {
    let pair = pair(-2);
    let (sender, heard) = mpsc::channel();
    let mut peer = pair.peer.try_clone().unwrap();
    // What an earlier conversation has left in the pipe.
    peer.write_all(b"ngs\": 1}}\n").unwrap();
    agent(pair.peer, move |command| {
        sender
            .send(command["execute"].as_str().unwrap().to_owned())
            .unwrap();
        Some(json!({ "return": 3 }))
    });
    assert_eq!(talk(&pair.client).thaw().unwrap(), 3);
    assert_eq!(talk(&pair.client).freeze(&["/a".to_owned()]).unwrap(), 3);
    assert_eq!(heard.try_iter().count(), 2);
    drop(pair.reactor);
}

#[test]
fn refusals_are_the_agents_words() {
    let pair = pair(-2);
    agent(pair.peer, |_| {
        Some(json!({ "error": { "class": "CommandNotFound", "desc": "no such command" } }))
    });
    let error = talk(&pair.client).host_name().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AGENT_COMMAND_FAILED);
    assert!(error.message().contains("'guest-get-host-name': no such command"));
    assert_eq!(talk(&pair.client).lenient(true).host_name().unwrap(), None);
}

#[test]
fn a_silent_agent_costs_its_caller_its_limit() {
    let pair = pair(1);
    let (client, begun) = (&pair.client, Instant::now());
    let error = talk(client).cpus().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AGENT_UNRESPONSIVE);
    assert!(error.message().contains("whether it is there within 1 seconds"));
    assert!(begun.elapsed() < Duration::from_secs(4));

    // It wakes up: the late answer is nobody's.
    agent(pair.peer, |_| Some(json!({ "return": { "host-name": "late" } })));
    assert_eq!(talk(client).host_name().unwrap().as_deref(), Some("late"));

    // Nobody waits longer than he wants to.
    let mut quiet = self::pair(-2);
    let cancel = Cancel::never();
    let begun = Instant::now();
    let hurried = GuestAgent::new(
        &quiet.client,
        Deadline::after(Duration::from_millis(200)),
        &cancel,
    );
    assert_eq!(hurried.thaw().unwrap_err().code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(begun.elapsed() < Duration::from_secs(2));
    quiet.peer.write_all(b"\n").unwrap();
}

#[test]
fn an_agent_that_stops_in_the_middle_is_found_out() {
    let pair = pair(1);
    agent(pair.peer, |command| {
        (command["execute"] == "guest-get-time").then(|| json!({ "return": 1_500_000_000 }))
    });
    assert_eq!(talk(&pair.client).time().unwrap(), (1, 500_000_000));
    let error = talk(&pair.client).trim(0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AGENT_COMMAND_TIMEOUT);
    assert!(error.message().contains("within 1 seconds"));
    assert_eq!(talk(&pair.client).time().unwrap(), (1, 500_000_000));
}

#[test]
fn a_shutdown_is_answered_by_the_machine() {
    let pair = pair(-2);
    let client = pair.client.clone();
    agent(pair.peer, move |command| {
        assert_eq!(command["arguments"]["mode"], "powerdown");
        client.notify(Awaited::Reset);
        client.notify(Awaited::Shutdown);
        None
    });
    talk(&pair.client).shutdown(Shutdown::Powerdown).unwrap();
}

#[test]
fn an_agent_that_goes_takes_its_commands_with_it() {
    let pair = pair(-2);
    let client = pair.client.clone();
    agent(pair.peer, move |_| {
        client.close();
        None
    });
    let error = talk(&pair.client).thaw().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AGENT_COMMAND_TIMEOUT);
    let error = talk(&pair.client).thaw().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AGENT_UNRESPONSIVE);

    let other = self::pair(-2);
    drop(other.peer);
    let why = other.ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(why.is_none());
}

#[test]
fn an_endless_answer_is_cut_off() {
    let pair = pair(-2);
    let mut peer = pair.peer;
    std::thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        // 100 MB: far beyond what is taken. The socket is closed or full long before.
        for _ in 0..100 {
            if peer.write_all(&block).is_err() {
                return;
            }
        }
    });
    let begun = Instant::now();
    let error = talk(&pair.client).thaw().unwrap_err();
    assert!(error.message().contains("more than 10485760 bytes"), "{error:#}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let why = pair.ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(why.is_some());
    // Later callers are told at once.
    let error = talk(&pair.client).thaw().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{error:#}");
}
