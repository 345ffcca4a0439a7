//! Calls: order, limits, errors, clients that leave, drivers that hang.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use common::{Client, Daemon, LIMIT};
use virt_api::call::PROGRAM_REMOTE;
use virt_api::driver::Driver;
use virt_api::protocol::features;
use virt_api::protocol::remote::*;
use virt_api::protocol::table::{self, Class};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::hello::{Promises, question, read_answer};
use virt_api::rpc::{Header, MessageType, PacketWriter, Status, keepalive};
use virt_api::testkit::{Fault, FaultDriver, FaultPlan, SampleDriver};
use virt_util::ErrorCode;
use virt_util::xdr::{XdrDecode, XdrEncode};
use virtd::config::Auth;
use virtd::server::Settings;

const URI: &str = "sample:///default";

fn sample() -> Box<dyn Driver> {
    Box::new(SampleDriver::default())
}

/// Plans of drivers, one for each test.
static PLANS: LazyLock<Vec<FaultPlan>> = LazyLock::new(|| (0..8).map(|_| FaultPlan::new()).collect());

fn faulty<const N: usize>() -> Box<dyn Driver> {
    Box::new(FaultDriver::new(SampleDriver::default(), PLANS[N].clone()))
}

fn web(client: &mut Client) -> DomainRef {
    let args = DomainLookupByNameArgs { name: "web".into() };
    let reply: DomainLookupByNameReply = client.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &args).unwrap();
    reply.domain
}

#[test]
fn a_client_opens_asks_and_closes() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut client = daemon.client();
    assert_eq!(
        client.call(procedure::AUTH_LIST, &[]).unwrap(),
        [0, 0, 0, 1, 0, 0, 0, 0]
    );
    let error = client.call(procedure::CONNECT_GET_URI, &[]).unwrap_err();
    assert_eq!(error.to_string(), "internal error: connection not open");
    client.open(URI).unwrap();
    let error = client.open(URI).unwrap_err();
    assert_eq!(error.to_string(), "internal error: connection already open");
    let uri: ConnectGetUriReply = client.ask(procedure::CONNECT_GET_URI, &Nothing).unwrap();
    assert_eq!(uri.uri, URI);
    assert_eq!(web(&mut client).name, "web");
    client.call(procedure::CONNECT_CLOSE, &[]).unwrap();
    assert!(client.call(procedure::CONNECT_GET_URI, &[]).is_err());
    drop(client);
    daemon.eventually("the client is forgotten", |server| server.sessions().is_empty());
}

/// No arguments.
struct Nothing;

impl XdrEncode for Nothing {
    fn encode(&self, _: &mut virt_util::xdr::XdrEncoder) -> virt_util::Result<()> {
        Ok(())
    }
}

#[test]
fn features_are_the_daemons_or_the_drivers() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut client = daemon.client();
    let ask = |client: &mut Client, feature| {
        let reply = client.ask::<ConnectSupportsFeatureReply>(
            procedure::CONNECT_SUPPORTS_FEATURE,
            &ConnectSupportsFeatureArgs { feature },
        );
        reply.map(|reply| reply.supported)
    };
    assert_eq!(ask(&mut client, features::PROGRAM_KEEPALIVE).unwrap(), 1);
    assert!(ask(&mut client, features::REMOTE_EVENT_CALLBACK).is_err());
    client.open(URI).unwrap();
    for feature in [
        features::REMOTE_EVENT_CALLBACK,
        features::REMOTE_CLOSE_CALLBACK,
        features::FD_PASSING,
    ] {
        assert_eq!(ask(&mut client, feature).unwrap(), 1);
    }
    assert_eq!(ask(&mut client, 1).unwrap(), 0);
}

#[test]
fn what_cannot_be_answered_is_said_in_libvirts_words() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut client = daemon.client();
    let mut told = |header: Header| {
        client.send(&PacketWriter::new(&header).finish().unwrap());
        let packet = client.receive().unwrap();
        assert_eq!(
            (packet.header.kind, packet.header.status),
            (MessageType::Reply, Status::Error)
        );
        assert_eq!(
            (packet.header.serial, packet.header.program),
            (header.serial, header.program)
        );
        let message = ErrorMessage::from_xdr(&packet.payload).unwrap();
        assert_eq!(message.code, ErrorCode::RPC.0);
        message.message.unwrap()
    };
    assert_eq!(
        told(Header::call(PROGRAM_REMOTE, 1, 9999, 1)),
        "unknown procedure: 9999"
    );
    assert_eq!(
        told(Header::call(PROGRAM_REMOTE, 1, -5, 2)),
        "unknown procedure: -5"
    );
    // An event's number is no call.
    assert!(told(Header::call(PROGRAM_REMOTE, 1, 107, 3)).starts_with("unknown procedure"));
    assert_eq!(told(Header::call(7, 1, 1, 4)), "Cannot find program 7 version 1");
    assert_eq!(
        told(Header::call(PROGRAM_REMOTE, 2, 1, 5)),
        format!("Cannot find program {PROGRAM_REMOTE} version 2")
    );
    assert!(told(Header::call(virt_api::call::PROGRAM_ADMIN, 1, 1, 6)).starts_with("Cannot find program"));
    let wrong_status = Header {
        status: Status::Error,
        ..Header::call(PROGRAM_REMOTE, 1, 1, 7)
    };
    assert_eq!(told(wrong_status), "Unexpected message status 1");
}

#[test]
fn nothing_is_answered_before_authentication() {
    let daemon = Daemon::with(Settings::default(), "sample", sample, Auth::Sasl, false);
    let mut client = daemon.client();
    let error = client.open(URI).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (ErrorCode::RPC, "authentication required")
    );
    assert_eq!(
        client.call(procedure::AUTH_LIST, &[]).unwrap(),
        [0, 0, 0, 1, 0, 0, 0, 1]
    );
}

#[test]
fn a_read_only_socket_forces_the_flag() {
    let daemon = Daemon::with(Settings::default(), "sample", sample, Auth::None, true);
    let mut client = daemon.open(URI);
    let args = DomainSuspendArgs {
        domain: web(&mut client),
    };
    let error = client
        .call(procedure::DOMAIN_SUSPEND, &args.to_xdr().unwrap())
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_DENIED);
}

#[test]
fn a_client_of_ours_sends_all_of_its_opening_in_one_flight() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut client = daemon.client();
    let hello = question(100);
    let open = ConnectOpenArgs {
        name: Some(URI.into()),
        flags: 0,
    };
    let mut flight = PacketWriter::new(&hello).finish().unwrap();
    let mut add = |client: &mut Client, number, args: &[u8]| {
        let header = client.next_call(number);
        flight.extend(PacketWriter::new(&header).finish_with(args).unwrap());
        header
    };
    let auth = add(&mut client, procedure::AUTH_LIST, &[]);
    let opened = add(&mut client, procedure::CONNECT_OPEN, &open.to_xdr().unwrap());
    let uri = add(&mut client, procedure::CONNECT_GET_URI, &[]);
    client.send(&flight);
    let answer = client.answer(&hello).unwrap();
    assert_eq!(read_answer(&answer.payload).unwrap(), Promises::ORDERED_OPEN);
    client.answer(&auth).unwrap();
    client.answer(&opened).unwrap();
    let reply = client.answer(&uri).unwrap();
    assert_eq!(ConnectGetUriReply::from_xdr(&reply.payload).unwrap().uri, URI);
}

#[test]
fn a_thousand_calls_at_once_are_answered_once_each() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut client = daemon.open(URI);
    let mut flight = Vec::new();
    let mut serials = std::collections::BTreeSet::new();
    for round in 0..1000 {
        // Some of these the driver answers, some the daemon, some nobody.
        let number = [
            procedure::CONNECT_GET_URI,
            procedure::CONNECT_NUM_OF_DOMAINS,
            9999,
        ][round % 3];
        let header = client.next_call(number);
        serials.insert(header.serial);
        flight.extend(PacketWriter::new(&header).finish().unwrap());
    }
    let mut writer = client.socket.try_clone().unwrap();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &flight).unwrap());
    while !serials.is_empty() {
        let packet = client.receive().unwrap();
        assert!(serials.remove(&packet.header.serial), "answered twice");
    }
    sender.join().unwrap();
    daemon.eventually("nothing runs", |server| server.running() == 0);
}

#[test]
fn a_call_that_hangs_stops_nobody_and_ends_with_its_client() {
    PLANS[0].set("domain_get_xml_desc", Fault::Hang);
    let daemon = Daemon::new(Settings::default(), "fault", faulty::<0>);
    let mut stuck = daemon.open("fault:///default");
    let dom = web(&mut stuck);
    let args = DomainGetXmlDescArgs {
        domain: dom,
        flags: 0,
    }
    .to_xdr()
    .unwrap();
    let mut hanging = Vec::new();
    for _ in 0..3 {
        hanging.push(stuck.begin(procedure::DOMAIN_GET_XML_DESC, &args));
    }
    // Beside it, and for others.
    assert_eq!(web(&mut stuck).name, "web");
    let mut other = daemon.open("fault:///default");
    assert_eq!(web(&mut other).name, "web");
    assert_eq!(daemon.server.running(), 3);
    drop(stuck);
    daemon.eventually("the calls are cancelled", |server| {
        server.running() == 0 && server.sessions().len() == 1
    });
    assert_eq!(web(&mut other).name, "web");
}

#[test]
fn more_clients_than_workers_may_hang() {
    PLANS[1].set("domain_get_xml_desc", Fault::Hang);
    let settings = Settings {
        max_workers: 4,
        ..Settings::default()
    };
    let daemon = Daemon::new(settings, "fault", faulty::<1>);
    let mut stuck: Vec<Client> = (0..30).map(|_| daemon.open("fault:///default")).collect();
    for client in &mut stuck {
        let args = DomainGetXmlDescArgs {
            domain: web(client),
            flags: 0,
        };
        client.begin(procedure::DOMAIN_GET_XML_DESC, &args.to_xdr().unwrap());
    }
    daemon.eventually("all hang", |server| server.running() == 30);
    let mut other = daemon.open("fault:///default");
    let begun = Instant::now();
    assert_eq!(web(&mut other).name, "web");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_lost_call_is_answered_by_the_clock() {
    PLANS[2].set("domain_get_xml_desc", Fault::Delay(Duration::from_secs(3)));
    let settings = Settings {
        lost_worker_after: Duration::from_millis(300),
        lost_workers_max: 1,
        ..Settings::default()
    };
    let daemon = Daemon::new(settings, "fault", faulty::<2>);
    let mut client = daemon.open("fault:///default");
    let args = DomainGetXmlDescArgs {
        domain: web(&mut client),
        flags: 0,
    }
    .to_xdr()
    .unwrap();
    let error = client.call(procedure::DOMAIN_GET_XML_DESC, &args).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    // The driver comes back when it is told that nobody waits, and is trusted again.
    let end = Instant::now() + LIMIT;
    while client
        .call(procedure::CONNECT_GET_HOSTNAME, &[])
        .is_err_and(|error| error.code() == ErrorCode::OPERATION_TIMEOUT)
    {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(web(&mut client).name, "web");
}

/// Starting a guest may take long: what counts is whether it moves.
#[test]
fn a_long_call_is_lost_when_it_stands_still() {
    let create = table::procedure(PROGRAM_REMOTE, procedure::DOMAIN_CREATE).unwrap();
    assert_eq!(create.class, Class::Long);
    let settings = Settings {
        lost_worker_after: Duration::from_secs(1),
        ..Settings::default()
    };
    let daemon = Daemon::new(settings, "fault", faulty::<5>);
    let mut client = daemon.open("fault:///default");
    let args = web(&mut client).to_xdr().unwrap();
    PLANS[5].set("domain_create", Fault::Work(Duration::from_secs(4)));
    let begun = Instant::now();
    // The guest may run already; what counts is that its driver was waited for.
    let refused = client.call(procedure::DOMAIN_CREATE, &args).err();
    assert!(
        refused.is_none_or(|error| error.code() != ErrorCode::OPERATION_TIMEOUT)
            && begun.elapsed() >= Duration::from_secs(4)
    );
    PLANS[5].set("domain_create", Fault::Hang);
    let error = client.call(procedure::DOMAIN_CREATE, &args).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(
        error
            .message()
            .contains("driver 'fault' has shown no progress with virDomainCreate for 1 seconds"),
        "{error}"
    );
}

#[test]
fn a_panic_is_one_calls_error() {
    PLANS[3].set("domain_get_xml_desc", Fault::Panic("oh dear".into()));
    let daemon = Daemon::new(Settings::default(), "fault", faulty::<3>);
    let mut client = daemon.open("fault:///default");
    let args = DomainGetXmlDescArgs {
        domain: web(&mut client),
        flags: 0,
    }
    .to_xdr()
    .unwrap();
    let error = client.call(procedure::DOMAIN_GET_XML_DESC, &args).unwrap_err();
    assert!(error.to_string().contains("oh dear"), "{error}");
    assert_eq!(web(&mut client).name, "web");
}

#[test]
fn keepalive_is_answered_and_asked() {
    let settings = Settings {
        keepalive_interval: Some(Duration::from_millis(100)),
        keepalive_count: 2,
        ..Settings::default()
    };
    PLANS[4].set("domain_get_xml_desc", Fault::Hang);
    let daemon = Daemon::new(settings, "fault", faulty::<4>);
    let mut client = daemon.open("fault:///default");
    let args = DomainGetXmlDescArgs {
        domain: web(&mut client),
        flags: 0,
    }
    .to_xdr()
    .unwrap();
    // As many calls as may run, and more.
    for _ in 0..50 {
        client.begin(procedure::DOMAIN_GET_XML_DESC, &args);
    }
    client.send(&keepalive::ping().unwrap());
    let packet = client.receive().unwrap();
    assert_eq!(keepalive::probe(&packet), Some(keepalive::Probe::Pong));
    let feature = ConnectSupportsFeatureArgs {
        feature: features::PROGRAM_KEEPALIVE,
    };
    // Nobody answers this one: the client has its calls running. The question itself counts when it is read.
    let mut second = daemon.open("fault:///default");
    second
        .call(procedure::CONNECT_SUPPORTS_FEATURE, &feature.to_xdr().unwrap())
        .unwrap();
    let mut pings = 0;
    while let Some(packet) = second.receive() {
        assert_eq!(keepalive::probe(&packet), Some(keepalive::Probe::Ping));
        pings += 1;
    }
    assert_eq!(pings, 2, "then the client is given up");
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    for nonsense in [
        &[0u8, 0, 0, 3][..],
        &[255; 64],
        &[
            0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ] {
        let mut client = daemon.client();
        client.send(nonsense);
        assert!(client.is_closed());
    }
    let mut client = daemon.open(URI);
    // Arguments that are none end the call only.
    let error = client
        .call(procedure::DOMAIN_GET_XML_DESC, &[1, 2, 3])
        .unwrap_err();
    assert!(
        matches!(
            error.code(),
            ErrorCode::RPC | ErrorCode::INVALID_ARG | ErrorCode::INTERNAL_ERROR
        ),
        "{error}"
    );
    assert_eq!(web(&mut client).name, "web");
}

#[test]
fn connecting_and_leaving_leaves_nothing_behind() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    drop(daemon.open(URI));
    daemon.eventually("the first is gone", |server| server.sessions().is_empty());
    let before = fds();
    for _ in 0..500 {
        let mut client = daemon.open(URI);
        web(&mut client);
    }
    daemon.eventually("all are gone", |server| server.sessions().is_empty());
    // Other tests of this program open and close files meanwhile.
    assert!(fds() < before + 200, "{} descriptors, before {before}", fds());
}
