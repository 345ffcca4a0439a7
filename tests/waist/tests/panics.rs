//! A panic anywhere in a driver is the error of the call it happened in, and nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use virt_api::ErrorCode;
use virt_api::call::{Caller, OutgoingCall, PROGRAM_REMOTE, StreamMode};
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection;
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::{DomainOpenConsoleArgs, DomainRef, procedure};
use virt_api::protocol::table::{self, DriverKind, Kind, Owner};
use virt_api::stream_end::Readiness;
use virt_api::testkit::arguments::{self, Sample};
use virt_tests_waist::House;
use virt_util::time::Deadline;
use virt_util::xdr::XdrEncode;

fn domain() -> DomainRef {
    DomainRef {
        name: "A".to_owned(),
        uuid: Uuid::from_bytes([0xaa; 16]),
        id: -1,
    }
}

/// A call to another driver succeeds whatever happened before.
fn others_go_on(house: &House) {
    let other = house.open("fixture02", "work").unwrap();
    assert_eq!(
        RemoteClient::new(&other).connect_get_type().unwrap().kind,
        "Fixture"
    );
}

#[test]
fn in_every_procedure() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let connection = house.open("fixture01", "panic").unwrap();
    let mut count = 0;
    for procedure in table::programs().flat_map(|program| program.procedures) {
        if procedure.kind != Kind::Call
            || procedure.owner != Owner::Driver
            || procedure.on == DriverKind::Admin
        {
            continue;
        }
        let args = arguments::sample(procedure, &Sample::default()).unwrap();
        let error = arguments::call(&connection, procedure, args, Deadline::NONE).expect_err(procedure.name);
        assert_eq!(
            error.code(),
            ErrorCode::INTERNAL_ERROR,
            "{}: {error}",
            procedure.name
        );
        let text = error.message();
        assert!(
            text.contains("fixture01 panicked at ")
                && text.contains(&format!("{}, as asked", procedure.method)),
            "{}: {text}",
            procedure.name
        );
        assert!(
            text.contains(&format!("procedure {}", procedure.method)),
            "{text}"
        );
        count += 1;
    }
    assert!(count > 380, "{count} procedures");
    others_go_on(&house);
    // The place went to the host's log.
    assert!(
        house
            .host
            .logs()
            .iter()
            .any(|record| record.priority == 4 && record.message.contains("as asked")),
    );
}

#[test]
fn in_open_close_and_drop() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let error = house.open("fixture01", "open-panic").unwrap_err();
    assert!(error.message().contains("panicked at"), "{error}");
    assert!(error.message().contains("in open: open, as asked"), "{error}");

    let connection = house.open("fixture01", "close-panic").unwrap();
    for error in [
        connection.is_alive().unwrap_err(),
        connection.set_keepalive(1, 1).unwrap_err(),
        connection.on_closed(Box::new(|_| ())).unwrap_err(),
        connection.close().unwrap_err(),
    ] {
        assert!(error.message().contains("as asked"), "{error}");
    }
    drop(connection);

    let connection = house.open("fixture01", "drop-panic").unwrap();
    drop(connection);
    assert!(
        house
            .host
            .logs()
            .iter()
            .any(|record| record.message.contains("drop, as asked"))
    );
    others_go_on(&house);
}

#[test]
fn in_driver_control() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let driver = house.registry.driver("fixture01").unwrap();
    let error = driver.reload().unwrap_err();
    assert!(error.message().contains("reload, as asked"), "{error}");
    assert_eq!(driver.uri_probe().unwrap().as_deref(), Some("fixture01:///work"));
    others_go_on(&house);
}

#[test]
fn in_every_method_of_a_stream() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let mut call = OutgoingCall::new(
        PROGRAM_REMOTE,
        procedure::DOMAIN_OPEN_CONSOLE,
        DomainOpenConsoleArgs {
            domain: domain(),
            dev_name: Some("panic".to_owned()),
            flags: 0,
        }
        .to_xdr()
        .unwrap(),
    );
    call.stream = StreamMode::Blocking;
    let stream = connection.call(call).unwrap().stream.unwrap();
    let mut buffer = [0; 8];
    let errors = [
        stream.send(b"x").unwrap_err(),
        stream.recv(&mut buffer, false).unwrap_err(),
        stream.send_hole(1).unwrap_err(),
        stream.recv_hole().unwrap_err(),
        stream.in_data().unwrap_err(),
        stream.readiness(Readiness::READABLE).unwrap_err(),
        stream.watch(Readiness::READABLE, Box::new(|_| ())).unwrap_err(),
        stream.finish().unwrap_err(),
        stream.abort().unwrap_err(),
    ];
    for error in errors {
        assert!(error.message().contains("fixture01 panicked"), "{error}");
        assert!(error.message().contains("as asked"), "{error}");
    }
    drop(stream);
    others_go_on(&house);
}

/// A callback of the driver that the host runs.
#[test]
fn in_a_timer() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    let client = RemoteClient::new(&connection);
    client.connect_num_of_domains().unwrap();
    for _ in 0..3 {
        assert_eq!(house.host.run_timers(), 1);
    }
    assert_eq!(client.connect_get_hostname().unwrap().hostname, "...");
    assert!(
        house
            .host
            .logs()
            .iter()
            .any(|record| record.message.contains("timer, as asked"))
    );
    others_go_on(&house);
}

struct PanickingSink;

impl EventSink for PanickingSink {
    fn event(&self, _: u32, _: u32, _: &[i32], _: &[u8]) {
        panic!("sink, as asked");
    }
}

/// Code of the application that the driver runs: the driver must not notice.
#[test]
fn in_an_event_sink_and_a_close_callback() {
    let house = House::with(&["fixture01", "fixture02"]).unwrap();
    let connection = house.open("fixture01", "work").unwrap();
    connection.set_event_sink(Arc::new(PanickingSink)).unwrap();
    connection
        .on_closed(Box::new(|_| panic!("close callback, as asked")))
        .unwrap();
    let client = RemoteClient::new(&connection);
    client
        .connect_domain_event_callback_register_any(0, None)
        .unwrap();
    client.domain_create(&domain()).unwrap();
    client.domain_destroy(&domain()).unwrap();
    client.domain_reset(&domain(), 0).unwrap();
    others_go_on(&house);
}

/// A handle's callback runs in the host's loop.
#[test]
fn host_loops_survive_callbacks() {
    let house = House::with(&["fixture01"]).unwrap();
    assert_eq!(house.host.run_handles(Duration::ZERO).unwrap(), 0);
    assert_eq!(house.host.run_timers(), 0);
}
