//! Clients that send what no honest one does while events and streams are under way: it costs them their connection, and
//! the daemon nothing that lasts. In a program of its own, since what is counted is the whole process's.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::time::Duration;

use common::{Client, Daemon, usage};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext, Passthrough};
use virt_api::protocol::remote::*;
use virt_api::rpc::Header;
use virt_api::rpc::stream::{StreamPacket, StreamWriter};
use virt_api::stream_end::{StreamEnd, Transfer, pipe};
use virt_api::testkit::SampleDriver;
use virt_util::xdr::XdrEncode;
use virt_util::{Result, VirtError};
use virtd::server::Settings;

/// The sample driver's guests, and under another path a host that has consoles: they say what they hear.
struct Both(SampleDriver);

fn both() -> Box<dyn Driver> {
    Box::new(Both(SampleDriver::default()))
}

impl Driver for Both {
    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        match cx.uri().ends_with("/consoles") {
            true => Ok(Box::new(Consoles)),
            false => self.0.open(cx),
        }
    }
}

struct Consoles;

impl DriverConnection for Consoles {
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(self)
    }
}

impl Passthrough for Consoles {
    fn call(&self, cx: &mut CallContext<'_>, _: &[u8]) -> Result<Vec<u8>> {
        if cx.procedure() != procedure::DOMAIN_OPEN_CONSOLE {
            return Err(VirtError::no_support("anything else"));
        }
        let (ours, theirs) = pipe();
        cx.attach_stream_end(theirs)?;
        std::thread::spawn(move || echo(&ours));
        Ok(Vec::new())
    }
}

fn echo(end: &StreamEnd) {
    let mut buffer = [0; 1024];
    while let Ok(Transfer::Bytes(count @ 1..)) = end.recv(&mut buffer, false) {
        if end.send_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = end.finish();
}

fn console(daemon: &Daemon) -> (Client, Header) {
    let mut client = daemon.open("both:///consoles");
    let args = DomainOpenConsoleArgs {
        domain: DomainRef {
            name: "x".to_owned(),
            uuid: uuid::Uuid::from_u128(1),
            id: 1,
        },
        dev_name: None,
        flags: 0,
    };
    let opened = client.begin(procedure::DOMAIN_OPEN_CONSOLE, &args.to_xdr().unwrap());
    client.answer(&opened).unwrap();
    (client, opened)
}

/// A client that hears of all guests.
fn listener(daemon: &Daemon) -> Client {
    let mut client = daemon.open("both:///default");
    let args = ConnectDomainEventCallbackRegisterAnyArgs {
        event_id: 0,
        domain: None,
    };
    let _: ConnectDomainEventCallbackRegisterAnyReply = client
        .ask(procedure::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, &args)
        .unwrap();
    client
}

/// A packet whose header has these words.
fn packet(words: [u32; 6], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + 24 + payload.len()).unwrap();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend_from_slice(payload);
    bytes
}

/// What a hostile client sends, about a call that it has made: `kind` goes through all the forms.
fn hostile(kind: usize, about: &Header, random: &mut TestRng) -> Vec<u8> {
    let (program, procedure) = (about.program, about.procedure.cast_unsigned());
    let mut noise = vec![0; (random.next_u32() % 300) as usize / 4 * 4];
    random.fill_bytes(&mut noise);
    let serial = match random.next_u32() % 3 {
        0 => random.next_u32(),
        _ => about.serial,
    };
    let (stream, hole) = (3, 6);
    let status = random.next_u32() % 3;
    match kind {
        // Data, ends, errors, holes: of the stream that is open, or of none.
        0 => packet([program, 1, procedure, stream, serial, status], &noise),
        1 => packet([program, 1, procedure, stream, serial, 1], &[0; 64]),
        2 => packet([program, 1, procedure, hole, serial, 2], &noise),
        3 => packet([program, 1, procedure, hole, serial, 2], &[0xff; 12]),
        4 => packet(
            [program, 1, random.next_u32() % 460, stream, about.serial, 2],
            &noise,
        ),
        // What only a server sends: answers, events.
        5 => packet([program, 1, procedure, 1, serial, status], &noise),
        6 => packet(
            [program, 1, procedure::DOMAIN_EVENT_CALLBACK_LIFECYCLE, 2, 0, 0],
            &noise,
        ),
        // Other versions, types and states.
        7 => packet([program, 2, procedure, stream, serial, 2], &noise),
        8 => packet(
            [program, 1, procedure, 7 + random.next_u32() % 9, serial, 0],
            &noise,
        ),
        9 => packet([program, 1, procedure, stream, serial, 9], &noise),
        // More than a packet may have, and less than it says.
        10 => (0x0200_0005_u32).to_be_bytes().to_vec(),
        11 => {
            let mut bytes = packet([program, 1, procedure, stream, serial, 2], &[0; 1 << 20]);
            bytes.truncate(bytes.len() / 2);
            bytes
        }
        // The same again, to open a stream under a number that is in use.
        12 => packet([program, 1, procedure, 0, about.serial, 0], &noise),
        _ => {
            let mut bytes = vec![0; 400];
            random.fill_bytes(&mut bytes);
            bytes
        }
    }
}

const FORMS: usize = 14;

/// One client for each form, each in the middle of a stream and of events.
fn round(daemon: &Daemon, random: &mut TestRng) {
    for kind in 0..FORMS {
        let (mut client, opened) = console(daemon);
        let writer = StreamWriter::new(opened);
        for _ in 0..random.next_u32() % 4 {
            client.send(&writer.data(&[b'x'; 20_000]).unwrap().0);
        }
        let mut deaf = listener(daemon);
        let about = deaf.next_call(procedure::CONNECT_GET_HOSTNAME);
        for (client, about) in [(&mut client, &opened), (&mut deaf, &about)] {
            let bytes = hostile(kind, about, random);
            // Some stay a while and do not listen, some ask for an answer, some are gone at once.
            let sent = client.socket.write_all(&bytes);
            if sent.is_ok() && random.next_u32().is_multiple_of(2) {
                client
                    .socket
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .unwrap();
                let _ = client.is_closed();
            }
        }
    }
}

#[test]
fn hostile_packets_amid_streams_and_events_leave_nothing_behind() {
    let settings = Settings {
        max_clients: 1000,
        ..Settings::default()
    };
    let daemon = Daemon::new(settings, "both", both);
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let (mut talker, opened) = console(&daemon);
    let mut hearer = listener(&daemon);
    let mut actor = daemon.open("both:///default");
    let args = DomainLookupByNameArgs {
        name: "web".to_owned(),
    };
    let found: DomainLookupByNameReply = actor.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &args).unwrap();
    let domain = found.domain;
    let mut before = None;
    for number in 0..8 {
        round(&daemon, &mut random);
        // The honest stream and the honest listener have noticed nothing.
        let writer = StreamWriter::new(opened);
        talker.send(&writer.data(b"hello").unwrap().0);
        match StreamPacket::read(talker.receive().unwrap()).unwrap() {
            StreamPacket::Data(data) => assert_eq!(&data[..], b"hello"),
            other => panic!("{other:?}"),
        }
        let domain = domain.clone();
        let args = match number % 2 {
            0 => DomainSuspendArgs { domain }.to_xdr(),
            _ => DomainResumeArgs { domain }.to_xdr(),
        };
        let change = match number % 2 {
            0 => procedure::DOMAIN_SUSPEND,
            _ => procedure::DOMAIN_RESUME,
        };
        actor.call(change, &args.unwrap()).unwrap();
        let event = hearer.receive().unwrap();
        assert_eq!(
            event.header.procedure,
            procedure::DOMAIN_EVENT_CALLBACK_LIFECYCLE.cast_signed()
        );
        daemon.eventually("the hostile are forgotten", |server| server.sessions().len() == 3);
        // What the first rounds leave is what any client would: threads that wait for work, freed memory.
        if number == 3 {
            before = Some(usage());
        }
    }
    let (before, after) = (before.unwrap(), usage());
    println!("{before:?} became {after:?}");
    assert!(
        after.0 < before.0 + 8 * 1024,
        "memory grew from {before:?} to {after:?}"
    );
    assert!(
        after.1 <= before.1 + 4 && after.2 <= before.2 + 4,
        "{before:?} {after:?}"
    );
}
