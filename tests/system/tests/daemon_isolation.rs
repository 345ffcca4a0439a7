//! A driver in a process of its own, beside the same driver in the daemon: nobody can tell which is which by what they
//! may do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt_api::call::PROGRAM_REMOTE;
use virt_api::protocol::remote::{
    ConnectListAllDomainsArgs, ConnectListAllDomainsReply, ConnectSetIdentityArgs, DomainDefineXmlArgs,
    procedure as remote,
};
use virt_api::protocol::table::{self, Procedure};
use virt_api::rpc::Status;
use virt_api::rpc::error::ErrorMessage;
use virt_api::testkit::arguments::{Sample, sample};
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::eventually;
use virt_tests_system::wire::Wire;
use virt_util::ErrorCode;
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrDecode, XdrEncode};

const TEST: &str = "test:///default";
const UUID: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";

/// Rules for four people; the tests' own user acts for them.
const POLICY: &str = r#"
[[allow]]
uid = @UID@
permissions = [ "connect:getattr", "connect:write" ]

[[allow]]
user = "looker"
permissions = [ "connect:getattr", "connect:search-domains" ]

[[allow]]
user = "looker"
permissions = [ "domain:getattr", "domain:read" ]
domain_name = "test"

[[allow]]
user = "stranger"
permissions = [ "connect:getattr", "connect:search-domains" ]

[[allow]]
user = "stranger"
permissions = "domain:*"
domain_name = "elsewhere"

[[allow]]
user = "boss"
permissions = "*"
"#;

/// A daemon with those rules, and an object that only the boss may see.
fn daemon(more: &str) -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let rules = POLICY.replace("@UID@", &nix::unistd::geteuid().to_string());
    std::fs::write(&policy, rules).unwrap();
    let config = format!("policy_file = \"{}\"\n{more}", policy.display());
    let daemon = Daemon::start_with(&config, &[]);
    (folder, daemon)
}

/// A client that acts for `user`.
fn client(daemon: &Daemon, user: &str) -> Wire {
    let mut wire = Wire::open(&daemon.socket(), TEST);
    let args = ConnectSetIdentityArgs {
        params: TypedParams::new().with("user-name", user),
        flags: 0,
    };
    let reply = wire.call(remote::CONNECT_SET_IDENTITY, &args.to_xdr().unwrap());
    assert_eq!(reply.header.status, Status::Ok, "acting for {user}");
    wire
}

fn outcome(wire: &mut Wire, procedure: u32, args: &[u8]) -> std::result::Result<Vec<u8>, ErrorCode> {
    let reply = wire.call(procedure, args);
    match reply.header.status {
        Status::Ok => Ok(reply.payload),
        _ => Err(ErrorMessage::from_xdr(&reply.payload)
            .unwrap()
            .into_error()
            .code()),
    }
}

/// Calls of each kind: about the host, an object, a list, a count, a lookup, a change, events.
fn calls() -> impl Iterator<Item = &'static Procedure> {
    let wanted = [
        remote::CONNECT_GET_HOSTNAME,
        remote::CONNECT_LIST_ALL_DOMAINS,
        remote::CONNECT_NUM_OF_DEFINED_DOMAINS,
        remote::DOMAIN_LOOKUP_BY_NAME,
        remote::DOMAIN_GET_XML_DESC,
        remote::DOMAIN_SUSPEND,
        remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
    ];
    table::procedures(PROGRAM_REMOTE)
        .iter()
        .copied()
        .filter(move |procedure| wanted.contains(&procedure.number))
}

fn domains(wire: &mut Wire) -> Vec<String> {
    let args = ConnectListAllDomainsArgs {
        need_results: 1,
        flags: 0,
    };
    let reply = outcome(wire, remote::CONNECT_LIST_ALL_DOMAINS, &args.to_xdr().unwrap()).unwrap();
    let reply = ConnectListAllDomainsReply::from_xdr(&reply).unwrap();
    let mut names: Vec<String> = reply.domains.into_iter().map(|domain| domain.name).collect();
    names.sort();
    names
}

#[test]
fn rights_are_the_same_in_a_process_of_its_own() {
    let (_one, plain) = daemon("");
    let (_other, isolated) = daemon("isolate = [ \"test\" ]\n");
    let known = Sample {
        text: "test".to_owned(),
        uuid: *virt_util::uuid::parse(UUID).unwrap().as_bytes(),
        id: 1,
    };
    let hidden = DomainDefineXmlArgs {
        xml: "<domain type='test'><name>hidden</name><memory>1024</memory><os><type>hvm</type></os></domain>"
            .to_owned(),
    }
    .to_xdr()
    .unwrap();
    for daemon in [&plain, &isolated] {
        let mut boss = client(daemon, "boss");
        outcome(&mut boss, remote::DOMAIN_DEFINE_XML, &hidden).unwrap();
        assert_eq!(domains(&mut boss), ["hidden", "test"]);
        assert_eq!(domains(&mut client(daemon, "looker")), ["test"]);
        assert!(domains(&mut client(daemon, "stranger")).is_empty());
    }
    let (mut refused, mut allowed) = (0, 0);
    for user in ["nobody", "stranger", "looker", "boss"] {
        let (mut one, mut other) = (client(&plain, user), client(&isolated, user));
        for procedure in calls() {
            let Ok(args) = sample(procedure, &known) else {
                continue;
            };
            let expected = outcome(&mut one, procedure.number, &args).map(drop);
            let found = outcome(&mut other, procedure.number, &args).map(drop);
            assert_eq!(
                expected,
                found,
                "{} by {user}; {}",
                procedure.name,
                isolated.log()
            );
            match expected {
                Err(ErrorCode::ACCESS_DENIED) => refused += 1,
                _ => allowed += 1,
            }
        }
    }
    assert!(refused > 6 && allowed > 6, "{refused} refused, {allowed} not");
}

#[test]
fn a_process_that_stands_still_is_found_and_exchanged() {
    let daemon = Daemon::start_with("isolate = [ \"test\" ]\n", &[]);
    let process = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let children = threads
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .collect::<String>();
        children
            .split_whitespace()
            .next()
            .map(|pid| Pid::from_raw(pid.parse().unwrap()))
    };
    let mut wire = Wire::open(&daemon.socket(), TEST);
    assert_eq!(domains(&mut wire), ["test"]);
    let first = process().unwrap();
    kill(first, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    // Who waits for it, and who comes meanwhile, hear what has happened.
    let socket = daemon.socket();
    let late = std::thread::spawn(move || match Wire::try_open(&socket, TEST) {
        Ok(_) => "it was opened".to_owned(),
        Err(error) => error.to_string(),
    });
    let args = ConnectListAllDomainsArgs {
        need_results: 1,
        flags: 0,
    };
    let reply = wire.call(remote::CONNECT_LIST_ALL_DOMAINS, &args.to_xdr().unwrap());
    assert_eq!(reply.header.status, Status::Error);
    let waited = ErrorMessage::from_xdr(&reply.payload).unwrap().into_error();
    for error in [waited.to_string(), late.join().unwrap()] {
        assert!(error.contains("the process of driver 'test'"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
    // Another process has its place.
    eventually("another process answers", Duration::from_secs(60), || {
        Wire::try_open(&daemon.socket(), TEST).is_ok_and(|mut wire| domains(&mut wire) == ["test"])
    });
    assert_ne!(process(), Some(first));
}

#[test]
fn calls_are_counted_for_the_driver_that_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("metrics");
    let metrics = ["--metrics", socket.to_str().unwrap()];
    let daemon = Daemon::start_with("isolate = [ \"test\" ]\n", &metrics);
    let mut wire = Wire::open(&daemon.socket(), TEST);
    assert_eq!(domains(&mut wire), ["test"]);
    let mut asked = UnixStream::connect(&socket).unwrap();
    asked
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: virtd\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    asked.read_to_string(&mut text).unwrap();
    let count = "virtd_call_duration_seconds_count{driver=\"test\",procedure=\"connect_list_all_domains\"} 1";
    assert!(text.lines().any(|line| line == count), "{text}");
    assert!(!text.contains("driver=\"remote\""), "{text}");
}
