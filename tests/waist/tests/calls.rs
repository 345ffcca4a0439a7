//! What crosses the waist besides arguments: streams, descriptors, events, cancel, deadline, host services.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use uuid::Uuid;
use virt_api::call::{Caller, Identity, OutgoingCall, PROGRAM_REMOTE, StreamMode};
use virt_api::host::{ClaimKind, CredentialRequest, CredentialSource, Host, OpenedConnection, Supports};
use virt_api::plugin::{ConnectionHandle, DriverHandle, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::{
    DomainEventCallbackLifecycleMessage, DomainFdAssociateArgs, DomainOpenConsoleArgs,
    DomainOpenGraphicsFdArgs, DomainRef, procedure,
};
use virt_api::stream_end::{PIPE_CAPACITY, Readiness, StreamEnd, Transfer};
use virt_api::testkit::{FakeHost, check_driver, sample_driver};
use virt_api::{ErrorCode, Result, VirtError};
use virt_tests_waist::{House, Keeper};
use virt_tests_waist_fixture::work::{PIECE, STREAM_LENGTH, pattern};
use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrDecode, XdrEncode};

fn domain(name: &str) -> DomainRef {
    DomainRef {
        name: name.to_owned(),
        uuid: Uuid::from_bytes([name.as_bytes()[0]; 16]),
        id: -1,
    }
}

fn open_stream(connection: &ConnectionHandle, what: &str, mode: StreamMode) -> Result<StreamEnd> {
    let mut call = OutgoingCall::new(
        PROGRAM_REMOTE,
        procedure::DOMAIN_OPEN_CONSOLE,
        DomainOpenConsoleArgs {
            domain: domain("A"),
            dev_name: Some(what.to_owned()),
            flags: 0,
        }
        .to_xdr()?,
    );
    call.stream = mode;
    Ok(connection.call(call)?.stream.unwrap())
}

fn hostname(connection: &ConnectionHandle) -> String {
    RemoteClient::new(connection)
        .connect_get_hostname()
        .unwrap()
        .hostname
}

#[test]
fn sixty_four_mebibytes_and_holes_from_the_driver() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let stream = open_stream(&connection, "source", StreamMode::Blocking).unwrap();
    let (mut offset, mut holes) = (0, 0);
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.recv(&mut buffer, true).unwrap() {
            Transfer::Bytes(0) => break,
            Transfer::Bytes(count) => {
                for (index, byte) in buffer[..count].iter().enumerate() {
                    assert_eq!(*byte, pattern(offset + index as u64));
                }
                offset += count as u64;
            }
            Transfer::AtHole => {
                assert_eq!(stream.in_data().unwrap(), (false, PIECE as u64));
                offset += stream.recv_hole().unwrap();
                holes += 1;
            }
            Transfer::WouldBlock => panic!("a blocking stream would block"),
        }
    }
    assert_eq!((offset, holes), (STREAM_LENGTH, 32));
    stream.finish().unwrap();
}

#[test]
fn sixty_four_mebibytes_and_holes_to_the_driver() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let stream = open_stream(&connection, "sink", StreamMode::Blocking).unwrap();
    let mut offset = 0;
    while offset < STREAM_LENGTH {
        let piece: Vec<u8> = (offset..offset + PIECE as u64).map(pattern).collect();
        stream.send_all(&piece).unwrap();
        offset += PIECE as u64;
        if offset < STREAM_LENGTH {
            stream.send_hole(PIECE as u64).unwrap();
            offset += PIECE as u64;
        }
    }
    stream.finish().unwrap();
    assert_eq!(
        hostname(&connection),
        format!("{} {}", STREAM_LENGTH / 2, STREAM_LENGTH / 2)
    );
}

#[test]
fn holes_are_zeros_for_those_who_do_not_ask() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let stream = open_stream(&connection, "source", StreamMode::Blocking).unwrap();
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while all.len() < 2 * PIECE {
        match stream.recv(&mut buffer, false).unwrap() {
            Transfer::Bytes(count) if count > 0 => all.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?}"),
        }
    }
    assert!(all[PIECE..2 * PIECE].iter().all(|byte| *byte == 0));
    stream.abort().unwrap();
}

#[test]
fn aborts_reach_the_other_end() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();

    // The driver's.
    let stream = open_stream(&connection, "abort", StreamMode::Blocking).unwrap();
    let mut buffer = [0; 64];
    let error = loop {
        match stream.recv(&mut buffer, false) {
            Ok(Transfer::Bytes(count)) => assert!(count > 0, "an abort is no end of data"),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::OPERATION_ABORTED);

    // The caller's, and the caller's who forgets.
    for forget in [false, true] {
        let stream = open_stream(&connection, "watch-abort", StreamMode::Blocking).unwrap();
        if !forget {
            stream.abort().unwrap();
        }
        drop(stream);
        let patience = Instant::now();
        while !hostname(&connection).contains("aborted") {
            assert!(
                patience.elapsed() < Duration::from_secs(10),
                "{}",
                hostname(&connection)
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        connection.set_keepalive(0, 0).unwrap();
    }
}

/// The one who finishes hears what went wrong behind the driver's end.
#[test]
fn finish_answers_the_workers_error() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let stream = open_stream(&connection, "full", StreamMode::Blocking).unwrap();
    stream.send_all(b"some data").unwrap();
    let error = stream.finish().unwrap_err();
    assert_eq!(
        error.message(),
        "cannot write the volume: No space left on device"
    );
    assert_eq!(error.int1(), 28);
    // The first error stays.
    assert_eq!(stream.send(b"more").unwrap_err(), error);
}

#[test]
fn a_full_stream_pushes_back_and_tells_when_there_is_room() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    // Nobody receives the echo, so the driver stops receiving, so we cannot send any more.
    let stream = open_stream(&connection, "echo", StreamMode::NonBlocking).unwrap();
    let block = vec![7; 65536];
    let mut sent = 0;
    let patience = Instant::now();
    let mut progress = Instant::now();
    loop {
        match stream.send(&block).unwrap() {
            Transfer::Bytes(count) => {
                sent += count;
                progress = Instant::now();
            }
            // Full for good, not only until the driver has moved what it holds.
            Transfer::WouldBlock
                if sent >= 2 * PIPE_CAPACITY && progress.elapsed() > Duration::from_millis(500) =>
            {
                break;
            }
            Transfer::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Transfer::AtHole => panic!("a hole"),
        }
        assert!(
            sent <= 2 * PIPE_CAPACITY + 65536,
            "{sent} bytes without anybody receiving"
        );
        assert!(patience.elapsed() < Duration::from_secs(20));
    }
    assert!(stream.readiness(Readiness::WRITABLE).unwrap().is_empty());
    let (tell, told) = channel();
    stream
        .watch(
            Readiness::WRITABLE,
            Box::new(move |ready| {
                tell.send(ready).unwrap();
            }),
        )
        .unwrap();
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err());
    let mut buffer = vec![0; 65536];
    let mut received = 0;
    while received < sent {
        match stream.recv(&mut buffer, false).unwrap() {
            Transfer::Bytes(count) => received += count,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    assert_eq!(
        told.recv_timeout(Duration::from_secs(10)).unwrap(),
        Readiness::WRITABLE
    );
    stream.finish().unwrap();
    assert_eq!(stream.recv(&mut buffer, false).unwrap(), Transfer::Bytes(0));
}

#[test]
fn a_call_that_needs_a_stream_says_so() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let error = open_stream(&connection, "echo", StreamMode::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
}

#[test]
fn sixteen_descriptors_each_way() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();

    let files: Vec<std::fs::File> = (0..16)
        .map(|number| {
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "in{number}").unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            file
        })
        .collect();
    let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let mut call = OutgoingCall::new(
        PROGRAM_REMOTE,
        procedure::DOMAIN_FD_ASSOCIATE,
        DomainFdAssociateArgs {
            domain: domain("A"),
            name: "group".to_owned(),
            flags: 0,
        }
        .to_xdr()
        .unwrap(),
    );
    call.fds = &fds;
    connection.call(call).unwrap();
    let wanted: Vec<String> = files
        .iter()
        .enumerate()
        .map(|(number, file)| format!("{}=in{number}", file.metadata().unwrap().ino()))
        .collect();
    assert_eq!(hostname(&connection), wanted.join(" "));

    let call = OutgoingCall::new(
        PROGRAM_REMOTE,
        procedure::DOMAIN_OPEN_GRAPHICS_FD,
        DomainOpenGraphicsFdArgs {
            domain: domain("A"),
            idx: 16,
            flags: 0,
        }
        .to_xdr()
        .unwrap(),
    );
    let reply = connection.call(call).unwrap();
    assert_eq!(reply.fds.len(), 16);
    let mut inodes = Vec::new();
    for (number, fd) in reply.fds.into_iter().enumerate() {
        let mut file = std::fs::File::from(fd);
        inodes.push(file.metadata().unwrap().ino().to_string());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, number.to_string());
    }
    assert_eq!(hostname(&connection), inodes.join(" "));
}

#[test]
fn events_reach_their_callbacks_and_nobody_else() {
    let house = House::with(&["fixture01"]).unwrap();
    let (one, two) = (
        house.open("fixture01", "work").unwrap(),
        house.open("fixture01", "work").unwrap(),
    );
    let keepers = [Arc::new(Keeper::default()), Arc::new(Keeper::default())];
    one.set_event_sink(Arc::clone(&keepers[0]) as _).unwrap();
    two.set_event_sink(Arc::clone(&keepers[1]) as _).unwrap();
    let (first, second) = (RemoteClient::new(&one), RemoteClient::new(&two));
    let nobody = DomainRef {
        name: "nobody".to_owned(),
        uuid: Uuid::nil(),
        id: -1,
    };

    // Nothing is encoded without a subscriber: this one would fail.
    first.domain_create(&nobody).unwrap();
    let all = first
        .connect_domain_event_callback_register_any(0, None)
        .unwrap()
        .callback_id;
    let filtered = first
        .connect_domain_event_callback_register_any(0, Some(&domain("B")))
        .unwrap()
        .callback_id;
    let other = second
        .connect_domain_event_callback_register_any(0, Some(&domain("B")))
        .unwrap()
        .callback_id;
    assert_ne!(all, filtered);

    second.domain_create(&domain("A")).unwrap();
    assert_eq!(keepers[1].take(), []);
    let told = keepers[0].take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].callbacks, [all]);

    second.domain_destroy(&domain("B")).unwrap();
    let told = keepers[0].take();
    assert_eq!(told.len(), 1, "one message for two callbacks");
    assert_eq!(told[0].callbacks, [all, filtered]);
    assert_eq!(keepers[1].take()[0].callbacks, [other]);
    let whole = [&[0; 4][..], &told[0].payload].concat();
    let message = DomainEventCallbackLifecycleMessage::from_xdr(&whole).unwrap();
    assert_eq!((message.msg.domain.name.as_str(), message.msg.event), ("B", 5));

    first.connect_domain_event_callback_deregister_any(all).unwrap();
    let error = first
        .connect_domain_event_callback_deregister_any(all)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    second.domain_create(&domain("A")).unwrap();
    assert_eq!(keepers[0].take(), []);

    // A closed connection hears nothing.
    one.close().unwrap();
    second.domain_create(&domain("B")).unwrap();
    assert_eq!(keepers[0].take(), []);
    assert_eq!(keepers[1].take().len(), 1);
}

#[test]
fn the_caller_may_give_up() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let args = || 0u32.to_be_bytes().to_vec();

    let mut call = OutgoingCall::new(PROGRAM_REMOTE, procedure::CONNECT_GET_SYSINFO, args());
    call.deadline = Deadline::after(Duration::from_millis(30));
    let error = connection.call(call).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);

    let cancel = Cancel::new();
    let mut call = OutgoingCall::new(PROGRAM_REMOTE, procedure::CONNECT_GET_SYSINFO, args());
    call.cancel = cancel.clone();
    let setter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        cancel.set();
    });
    let error = connection.call(call).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_ABORTED);
    setter.join().unwrap();

    // One that is too late is not begun.
    let mut call = OutgoingCall::new(PROGRAM_REMOTE, procedure::CONNECT_GET_TYPE, Vec::new());
    call.deadline = Deadline::now();
    assert_eq!(
        connection.call(call).unwrap_err().code(),
        ErrorCode::OPERATION_TIMEOUT
    );
}

#[test]
fn a_nested_open_carries_the_callers_identity() {
    let house = House::with(&["fixture01"]).unwrap();
    let sample = Arc::new(DriverHandle::builtin("sample", sample_driver, FakeHost::new()).unwrap());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    house.host.set_opener(move |open| {
        record.lock().push(open.clone());
        let connection = sample.open(&OpenRequest {
            uri: open.uri.clone(),
            identity: open.identity.clone(),
            ..OpenRequest::default()
        })?;
        Ok(Arc::new(connection))
    });
    let identity = Identity(
        TypedParams::new()
            .with("user-name", "joe")
            .with("unix-user-id", 1000u64),
    );
    let connection = house
        .open_with(
            "fixture01",
            "work",
            OpenRequest {
                identity: identity.clone(),
                ..OpenRequest::default()
            },
        )
        .unwrap();
    let reply = RemoteClient::new(&connection).connect_get_uri().unwrap();
    assert_eq!(reply.uri, "sample.example");
    let seen = seen.lock();
    assert_eq!(seen[0].identity, identity);
    assert!(seen[0].elevated);
    assert_eq!(seen[0].uri, "sample:///nested");
}

#[test]
fn the_log_of_a_plugin_reaches_the_host() {
    let house = House::with(&["fixture01"]).unwrap();
    let driver = house.registry.driver("fixture01").unwrap();
    driver.set_log(3).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    RemoteClient::new(&connection).connect_get_capabilities().unwrap();
    let logs = house.host.logs();
    let said: Vec<_> = logs.iter().filter(|record| record.priority < 4).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].message, "the fixture was asked answer=42");
    assert_eq!(said[0].target, "virt_tests_waist_fixture::work");
    assert!(said[0].line > 0);
    driver.set_log(1).unwrap();
    RemoteClient::new(&connection).connect_get_capabilities().unwrap();
    assert!(
        house
            .host
            .logs()
            .iter()
            .any(|record| record.priority == 1 && record.message == "nobody wants to know this")
    );
}

struct Joe;

impl CredentialSource for Joe {
    fn kinds(&self) -> Vec<u32> {
        vec![2, 5]
    }

    fn request(&self, questions: &[CredentialRequest]) -> Result<Vec<String>> {
        Ok(questions
            .iter()
            .map(|question| format!("{} of {}", question.prompt, question.challenge))
            .collect())
    }
}

struct Refuses;

impl CredentialSource for Refuses {
    fn kinds(&self) -> Vec<u32> {
        Vec::new()
    }

    fn request(&self, _: &[CredentialRequest]) -> Result<Vec<String>> {
        Err(VirtError::new(ErrorCode::AUTH_CANCELLED, "not today"))
    }
}

#[test]
fn credentials_are_asked_of_the_one_who_opens() {
    let house = House::with(&["fixture01"]).unwrap();
    let with = |source: Option<Arc<dyn CredentialSource>>| {
        house.open_with(
            "fixture01",
            "auth",
            OpenRequest {
                credentials: source,
                ..OpenRequest::default()
            },
        )
    };
    let connection = with(Some(Arc::new(Joe))).unwrap();
    assert_eq!(hostname(&connection), "name of fixture:password of fixture");
    assert_eq!(
        with(Some(Arc::new(Refuses))).unwrap_err().code(),
        ErrorCode::AUTH_CANCELLED
    );
    assert_eq!(with(None).unwrap_err().code(), ErrorCode::AUTH_FAILED);
}

#[test]
fn claims_are_the_hosts() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let client = RemoteClient::new(&connection);
    client.domain_suspend(&domain("0000:01:00.0")).unwrap();
    let held = house.host.claims(ClaimKind::PciDevice).unwrap();
    assert_eq!(
        (held[0].key.as_str(), held[0].owner.as_str()),
        ("0000:01:00.0", "fixture")
    );

    // Another plugin sees what the first one holds.
    let other = house.open("fixture02", "work").unwrap();
    let other = RemoteClient::new(&other);
    let error = other.domain_suspend(&domain("0000:01:00.0")).unwrap_err();
    assert!(error.message().contains("in use by fixture"), "{error}");
    client.domain_resume(&domain("0000:01:00.0")).unwrap();
    other.domain_suspend(&domain("0000:01:00.0")).unwrap();
}

#[test]
fn a_connection_that_ends_tells_why_once() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let (tell, told) = channel();
    connection
        .on_closed(Box::new(move |reason| {
            tell.send(reason).unwrap();
        }))
        .unwrap();
    let client = RemoteClient::new(&connection);
    client.domain_reset(&domain("A"), 0).unwrap();
    client.domain_reset(&domain("A"), 0).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(5)).unwrap(), 1);
    assert!(told.recv_timeout(Duration::from_millis(10)).is_err());
    assert!(connection.set_keepalive(5, 3).unwrap());
    assert_eq!(hostname(&connection), "keepalive 5 3");
}

#[test]
fn what_is_written_is_known_without_calling() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let supports = |number| connection.supports(PROGRAM_REMOTE, number);
    assert!(supports(procedure::CONNECT_GET_TYPE).contains(Supports::IMPLEMENTED));
    assert_eq!(supports(procedure::CONNECT_GET_HOSTNAME), Supports::IMPLEMENTED);
    assert_eq!(supports(procedure::DOMAIN_GET_INFO), Supports::empty());
    assert_eq!(supports(procedure::NETWORK_CREATE), Supports::empty());
    assert_eq!(supports(99_999), Supports::empty());
    assert_eq!(
        supports(procedure::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY),
        Supports::IMPLEMENTED
    );
}

#[test]
fn a_read_only_connection_stays_one() {
    let house = House::with(&["fixture01"]).unwrap();
    for (flags, read_only) in [(1, false), (0, true)] {
        let connection = house
            .open_with(
                "fixture01",
                "work",
                OpenRequest {
                    flags,
                    read_only,
                    ..OpenRequest::default()
                },
            )
            .unwrap();
        let client = RemoteClient::new(&connection);
        assert_eq!(
            client.domain_create(&domain("A")).unwrap_err().code(),
            ErrorCode::OPERATION_DENIED
        );
        client.connect_get_type().unwrap();
    }
}

#[test]
fn the_fixture_keeps_the_rules_of_all_drivers() {
    let house = House::with(&["fixture01"]).unwrap();
    let driver = house.registry.driver("fixture01").unwrap();
    assert_eq!(check_driver(&driver, "fixture01:///work"), []);
}
