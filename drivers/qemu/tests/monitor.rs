//! The QMP client against peers that behave, and peers that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use virt_driver_qemu::monitor::{
    BlockingQmp, Command, CommandClass, CommandId, Event, MonitorObserver, QmpClient, QmpPeer as _, Reply,
};
use virt_util::reactor::Reactor;
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, VirtError};

const GREETING: &[u8] =
    b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 10}, \"package\": \"\"}, \"capabilities\": []}}\r\n";

#[derive(Debug)]
enum Told {
    Event(String),
    Late(String),
    Silent(Vec<String>),
    Closed(bool),
}

struct Teller(mpsc::Sender<Told>);

impl MonitorObserver for Teller {
    fn event(&self, event: Event) {
        let _ = self.0.send(Told::Event(event.name));
    }
    fn late_reply(&self, _: CommandId, name: &str, _: Reply) {
        let _ = self.0.send(Told::Late(name.to_owned()));
    }
    fn silent(&self, commands: &[String]) {
        let _ = self.0.send(Told::Silent(commands.to_vec()));
    }
    fn closed(&self, why: Option<&VirtError>) {
        let _ = self.0.send(Told::Closed(why.is_some()));
    }
}

/// A peer that greets and then answers each command with what `answer` makes of its name and id.
fn peer(mut socket: UnixStream, answer: impl Fn(&str, &str) -> Option<String> + Send + 'static) {
    std::thread::spawn(move || {
        socket.write_all(GREETING).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap());
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap_or(0) > 0 {
            let command: serde_json::Value = serde_json::from_str(&line).unwrap();
            let id = command["id"].as_str().unwrap();
            let name = command["execute"].as_str().unwrap();
            let text = match name {
                "qmp_capabilities" => Some(format!("{{\"return\": {{}}, \"id\": \"{id}\"}}\n")),
                name => answer(name, id),
            };
            if let Some(text) = text
                && socket.write_all(text.as_bytes()).is_err()
            {
                return;
            }
            line.clear();
        }
    });
}

fn attach(reactor: &Reactor) -> (QmpClient, UnixStream, mpsc::Receiver<Told>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (sender, told) = mpsc::channel();
    (
        QmpClient::attach(ours, &reactor.handle(), Teller(sender)).unwrap(),
        theirs,
        told,
    )
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

#[test]
fn batches_are_answered_and_events_are_told() {
    let reactor = Reactor::start("qmp-test").unwrap();
    let (client, theirs, told) = attach(&reactor);
    peer(theirs, |name, id| {
        Some(format!(
            "{{\"event\": \"E-{name}\"}}\n{{\"return\": \"{name}\", \"id\": \"{id}\"}}\n"
        ))
    });
    let commands = vec![(Command::new("a"), vec![]), (Command::new("b"), vec![])];
    let replies = client.execute_all(commands, soon(), &Cancel::never()).unwrap();
    assert_eq!(replies, [Ok("a".into()), Ok("b".into())]);
    assert!(matches!(told.recv().unwrap(), Told::Event(name) if name == "E-a"));
    assert!(matches!(told.recv().unwrap(), Told::Event(name) if name == "E-b"));
    assert!(
        client
            .execute_all(Vec::new(), soon(), &Cancel::never())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_silent_peer_ends_the_call_and_its_late_answer_is_told() {
    let reactor = Reactor::start("qmp-test").unwrap();
    let (client, mut theirs, told) = attach(&reactor);
    theirs.write_all(GREETING).unwrap();
    theirs
        .write_all(b"{\"return\": {}, \"id\": \"libvirt-1\"}\n")
        .unwrap();
    while !client.is_ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let class = CommandClass::Within(Duration::from_millis(60));
    let started = Instant::now();
    let error = client
        .execute(Command::new("cont").with_class(class), soon(), &Cancel::never())
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(client.is_in_doubt());
    assert!(matches!(told.recv().unwrap(), Told::Silent(names) if names == ["cont"]));
    theirs
        .write_all(b"{\"return\": {}, \"id\": \"libvirt-2\"}\n")
        .unwrap();
    assert!(matches!(told.recv().unwrap(), Told::Late(name) if name == "cont"));

    // The caller's own clock, and its change of mind.
    let call = |deadline, cancel: &Cancel| {
        client
            .execute(Command::new("stop"), deadline, cancel)
            .unwrap_err()
            .code()
    };
    assert_eq!(
        call(Deadline::after(Duration::from_millis(30)), &Cancel::never()),
        ErrorCode::OPERATION_TIMEOUT
    );
    let cancel = Cancel::new();
    cancel.set();
    assert_eq!(call(soon(), &cancel), ErrorCode::OPERATION_ABORTED);
}

#[test]
fn a_peer_that_goes_away_fails_what_waits() {
    let reactor = Reactor::start("qmp-test").unwrap();
    let (client, theirs, told) = attach(&reactor);
    let call = std::thread::spawn({
        let client = client.clone();
        move || client.execute(Command::new("query-status"), soon(), &Cancel::never())
    });
    std::thread::sleep(Duration::from_millis(20));
    drop(theirs);
    assert_eq!(
        call.join().unwrap().unwrap_err().code(),
        ErrorCode::OPERATION_FAILED
    );
    assert!(matches!(told.recv().unwrap(), Told::Closed(false)));
    assert!(
        client
            .execute(Command::new("x"), soon(), &Cancel::never())
            .is_err()
    );
}

#[test]
fn a_line_without_end_costs_nobody_else_anything() {
    let reactor = Reactor::start("qmp-test").unwrap();
    let (_flooded, mut theirs, told) = attach(&reactor);
    let (healthy, other, _told) = attach(&reactor);
    peer(other, |_, id| {
        Some(format!("{{\"return\": 1, \"id\": \"{id}\"}}\n"))
    });
    let flood = std::thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 20];
        (0..100).take_while(|_| theirs.write_all(&chunk).is_ok()).count()
    });
    for _ in 0..50 {
        healthy
            .execute(Command::new("query-status"), soon(), &Cancel::never())
            .unwrap();
    }
    assert!(matches!(
        told.recv_timeout(Duration::from_secs(20)).unwrap(),
        Told::Closed(true)
    ));
    assert!(flood.join().unwrap() < 100);
}

#[test]
fn descriptors_reach_the_peer() {
    let reactor = Reactor::start("qmp-test").unwrap();
    let (client, theirs, _told) = attach(&reactor);
    let (read, write) = std::io::pipe().unwrap();
    let got = std::thread::spawn(move || {
        let mut theirs = theirs;
        theirs.write_all(GREETING).unwrap();
        let mut fds = Vec::new();
        let mut buffer = [0; 4096];
        while fds.is_empty() {
            let received = virt_util::sys::socket::receive_with_fds(&theirs, &mut buffer, 4)
                .unwrap()
                .unwrap();
            fds.extend(received.fds);
            let command: serde_json::Value = serde_json::from_slice(&buffer[..received.count]).unwrap();
            let reply = format!("{{\"return\": {{}}, \"id\": {}}}\n", command["id"]);
            theirs.write_all(reply.as_bytes()).unwrap();
        }
        std::fs::File::from(fds.pop().unwrap())
            .write_all(b"through")
            .unwrap();
    });
    let getfd = Command::new("getfd").with("fdname", "pipe");
    client
        .execute_all(vec![(getfd, vec![write.into()])], soon(), &Cancel::never())
        .unwrap();
    got.join().unwrap();
    let mut text = String::new();
    let mut read = read;
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn probing_talks_on_the_calling_thread() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    peer(theirs, |name, id| match name {
        "bad" => Some(format!(
            "{{\"error\": {{\"class\": \"X\", \"desc\": \"y\"}}, \"id\": \"{id}\"}}\n"
        )),
        name => Some(format!(
            "{{\"event\": \"E\"}}\n{{\"return\": \"{name}\", \"id\": \"{id}\"}}\n"
        )),
    });
    let mut qmp = BlockingQmp::new(ours, soon(), Cancel::never()).unwrap();
    let replies = qmp
        .execute_all(vec![Command::new("a"), Command::new("bad")])
        .unwrap();
    assert_eq!(replies[0], Ok("a".into()));
    assert_eq!(replies[1].as_ref().unwrap_err().class, "X");
}
