//! Events of both kinds, streams both ways, descriptors both ways.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock, Mutex};

use common::{Client, Daemon};
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext, Passthrough};
use virt_api::protocol::remote::*;
use virt_api::rpc::stream::{CHUNK_MAX, StreamPacket, StreamWriter};
use virt_api::rpc::{Header, MessageType};
use virt_api::stream_end::{StreamEnd, Transfer, pipe};
use virt_api::testkit::SampleDriver;
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, Result, VirtError};
use virtd::server::Settings;

fn sample() -> Box<dyn Driver> {
    Box::new(SampleDriver::default())
}

fn lookup(client: &mut Client, name: &str) -> DomainRef {
    let args = DomainLookupByNameArgs { name: name.into() };
    let reply: DomainLookupByNameReply = client.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &args).unwrap();
    reply.domain
}

fn suspend_and_resume(client: &mut Client, dom: &DomainRef) {
    let suspend = DomainSuspendArgs { domain: dom.clone() };
    client
        .call(procedure::DOMAIN_SUSPEND, &suspend.to_xdr().unwrap())
        .unwrap();
    let resume = DomainResumeArgs { domain: dom.clone() };
    client
        .call(procedure::DOMAIN_RESUME, &resume.to_xdr().unwrap())
        .unwrap();
}

#[test]
fn events_come_in_the_form_they_were_asked_for() {
    let daemon = Daemon::new(Settings::default(), "sample", sample);
    let mut modern = daemon.open("sample:///default");
    let mut old = daemon.open("sample:///default");
    let mut actor = daemon.open("sample:///default");
    let web = lookup(&mut actor, "web");
    let register = |dom: Option<DomainRef>| ConnectDomainEventCallbackRegisterAnyArgs {
        event_id: 0,
        domain: dom,
    };
    let mut ids = Vec::new();
    for filter in [None, Some(web.clone()), Some(lookup(&mut modern, "db"))] {
        let reply: ConnectDomainEventCallbackRegisterAnyReply = modern
            .ask(
                procedure::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
                &register(filter),
            )
            .unwrap();
        ids.push(reply.callback_id);
    }
    old.call(procedure::CONNECT_DOMAIN_EVENT_REGISTER, &[]).unwrap();
    assert!(
        old.call(procedure::CONNECT_DOMAIN_EVENT_REGISTER, &[]).is_err(),
        "once is enough"
    );
    suspend_and_resume(&mut actor, &web);
    let mut heard = Vec::new();
    for _ in 0..4 {
        let packet = modern.receive().unwrap();
        assert_eq!(
            (packet.header.kind, packet.header.serial),
            (MessageType::Message, 1)
        );
        assert_eq!(
            packet.header.procedure as u32,
            procedure::DOMAIN_EVENT_CALLBACK_LIFECYCLE
        );
        let message = DomainEventCallbackLifecycleMessage::from_xdr(&packet.payload).unwrap();
        assert_eq!(message.msg.domain.name, "web");
        heard.push((message.callback_id, message.msg.event));
    }
    assert_eq!(heard, [(ids[0], 3), (ids[1], 3), (ids[0], 4), (ids[1], 4)]);
    for event in [3, 4] {
        let packet = old.receive().unwrap();
        assert_eq!(packet.header.procedure as u32, procedure::DOMAIN_EVENT_LIFECYCLE);
        let message = DomainEventLifecycleMessage::from_xdr(&packet.payload).unwrap();
        assert_eq!((message.domain.name.as_str(), message.event), ("web", event));
    }
    old.call(procedure::CONNECT_DOMAIN_EVENT_DEREGISTER, &[]).unwrap();
    suspend_and_resume(&mut actor, &web);
    assert!(old.call(procedure::CONNECT_GET_URI, &[]).is_ok() && old.others.is_empty());
    let wrong = ConnectDomainEventCallbackDeregisterAnyArgs { callback_id: 99 };
    assert!(
        modern
            .call(
                procedure::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY,
                &wrong.to_xdr().unwrap()
            )
            .is_err()
    );
}

#[test]
fn who_does_not_read_hears_the_newest_and_costs_little() {
    let settings = Settings {
        event_bytes_max: 4096,
        ..Settings::default()
    };
    let daemon = Daemon::new(settings, "sample", sample);
    let mut slow = daemon.open("sample:///default");
    let mut actor = daemon.open("sample:///default");
    let web = lookup(&mut actor, "web");
    let register = ConnectDomainEventCallbackRegisterAnyArgs {
        event_id: 0,
        domain: None,
    };
    slow.call(
        procedure::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
        &register.to_xdr().unwrap(),
    )
    .unwrap();
    // More than any socket holds.
    const ROUNDS: usize = 5000;
    for _ in 0..ROUNDS {
        suspend_and_resume(&mut actor, &web);
    }
    let mut heard = 0;
    let mut last = 0;
    slow.socket
        .set_read_timeout(Some(std::time::Duration::from_millis(500)))
        .unwrap();
    let header = slow.begin(procedure::CONNECT_GET_URI, &[]);
    loop {
        let packet = slow.receive().unwrap();
        if packet.header.kind == MessageType::Reply {
            assert_eq!(packet.header.serial, header.serial);
            break;
        }
        last = DomainEventCallbackLifecycleMessage::from_xdr(&packet.payload)
            .unwrap()
            .msg
            .event;
        heard += 1;
    }
    assert!(heard < 2 * ROUNDS, "{heard} events waited");
    assert_eq!(last, 4, "the newest is not lost");
}

/// What was uploaded: bytes, and the lengths of holes.
static UPLOADED: LazyLock<Arc<Mutex<Vec<std::result::Result<Vec<u8>, u64>>>>> = LazyLock::new(Arc::default);

/// A driver that takes and gives streams and descriptors.
#[derive(Default)]
struct Carrier;

impl Driver for Carrier {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Carrier))
    }
}

impl DriverConnection for Carrier {
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(self)
    }
}

impl Passthrough for Carrier {
    fn call(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
        match cx.procedure() {
            procedure::STORAGE_VOL_UPLOAD => {
                let (ours, theirs) = pipe();
                cx.attach_stream_end(theirs)?;
                std::thread::spawn(move || upload(&ours));
            }
            procedure::STORAGE_VOL_DOWNLOAD => {
                let (ours, theirs) = pipe();
                cx.attach_stream_end(theirs)?;
                let length = StorageVolDownloadArgs::from_xdr(args)?.length;
                std::thread::spawn(move || download(&ours, length));
            }
            procedure::DOMAIN_OPEN_CONSOLE => {
                let (ours, theirs) = pipe();
                cx.attach_stream_end(theirs)?;
                std::thread::spawn(move || echo(&ours));
            }
            procedure::DOMAIN_OPEN_GRAPHICS_FD => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(b"from the driver").unwrap();
                cx.push_fd(file.into());
            }
            procedure::DOMAIN_CREATE_WITH_FILES => {
                let mut texts = Vec::new();
                for fd in cx.fds() {
                    let mut text = String::new();
                    let mut file = std::fs::File::from(fd.try_clone_to_owned().unwrap());
                    file.rewind().unwrap();
                    file.read_to_string(&mut text).unwrap();
                    texts.push(text);
                }
                return Err(VirtError::new(ErrorCode::OPERATION_FAILED, texts.join(",")));
            }
            _ => return Err(VirtError::no_support("anything else")),
        }
        Ok(Vec::new())
    }
}

fn upload(end: &StreamEnd) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let received = match end.recv(&mut buffer, true) {
            Ok(Transfer::Bytes(0)) => break,
            Ok(Transfer::Bytes(count)) => Ok(buffer[..count].to_vec()),
            Ok(Transfer::AtHole) => Err(end.recv_hole().unwrap()),
            Ok(Transfer::WouldBlock) => unreachable!("this end waits"),
            Err(_) => return,
        };
        if received.as_ref().is_ok_and(|data| data.starts_with(b"bad")) {
            let _ = end.abort_with(VirtError::new(ErrorCode::OPERATION_FAILED, "the disk is full"));
            return;
        }
        UPLOADED.lock().unwrap().push(received);
    }
    end.finish().unwrap();
}

fn download(end: &StreamEnd, length: u64) {
    let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let _ = end.send_all(&data);
    let _ = end.send_hole(4096);
    let _ = end.send_all(b"end");
    let _ = end.finish();
}

fn echo(end: &StreamEnd) {
    let mut buffer = [0; 64];
    while let Ok(Transfer::Bytes(count @ 1..)) = end.recv(&mut buffer, false) {
        if end.send_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = end.finish();
}

fn carrier() -> Box<dyn Driver> {
    Box::new(Carrier)
}

fn volume() -> StorageVolRef {
    StorageVolRef {
        pool: "p".into(),
        name: "v".into(),
        key: "k".into(),
    }
}

fn finish(client: &mut Client, opened: &Header) -> StreamPacket {
    client.send(&StreamWriter::new(*opened).finish().unwrap());
    loop {
        let packet = client.receive().unwrap();
        match StreamPacket::read(packet).unwrap() {
            StreamPacket::Data(_) | StreamPacket::EndOfData | StreamPacket::Hole(_) => {}
            end => return end,
        }
    }
}

#[test]
fn data_and_holes_go_up() {
    let daemon = Daemon::new(Settings::default(), "carrier", carrier);
    let mut client = daemon.open("carrier:///x");
    let args = |flags| {
        StorageVolUploadArgs {
            volume: volume(),
            offset: 0,
            length: 0,
            flags,
        }
        .to_xdr()
        .unwrap()
    };
    // VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM.
    let opened = client.begin(procedure::STORAGE_VOL_UPLOAD, &args(1));
    client.answer(&opened).unwrap();
    let writer = StreamWriter::new(opened);
    let data: Vec<u8> = (0..8_000_000u32).map(|at| (at % 253) as u8).collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (packet, taken) = writer.data(rest).unwrap();
        client.send(&packet);
        rest = &rest[taken..];
    }
    client.send(&writer.hole(1 << 40).unwrap());
    client.send(&writer.data(b"tail").unwrap().0);
    assert!(matches!(finish(&mut client, &opened), StreamPacket::Finish));
    let uploaded = std::mem::take(&mut *UPLOADED.lock().unwrap());
    let holes: Vec<u64> = uploaded
        .iter()
        .filter_map(|part| part.as_ref().err().copied())
        .collect();
    assert_eq!(holes, [1 << 40]);
    let bytes: Vec<u8> = uploaded
        .into_iter()
        .filter_map(|part| part.ok())
        .flatten()
        .collect();
    assert!(bytes.starts_with(&data) && bytes.ends_with(b"tail") && bytes.len() == data.len() + 4);

    // The driver's error is the answer to the finish, or comes before it.
    let opened = client.begin(procedure::STORAGE_VOL_UPLOAD, &args(0));
    client.answer(&opened).unwrap();
    let writer = StreamWriter::new(opened);
    client.send(&writer.data(b"bad bytes").unwrap().0);
    match finish(&mut client, &opened) {
        StreamPacket::Failed(error) => assert_eq!(error.to_string(), "operation failed: the disk is full"),
        other => panic!("{other:?}"),
    }
    // What comes late is passed over, and the connection goes on.
    client.send(&writer.data(b"late").unwrap().0);

    // Aborted is aborted.
    let opened = client.begin(procedure::STORAGE_VOL_UPLOAD, &args(0));
    client.answer(&opened).unwrap();
    let writer = StreamWriter::new(opened);
    client.send(&writer.data(b"some").unwrap().0);
    client.send(&writer.abort().unwrap());
    assert!(matches!(
        StreamPacket::read(client.receive().unwrap()).unwrap(),
        StreamPacket::Finish
    ));

    // A hole that was not agreed on ends the connection.
    let opened = client.begin(procedure::STORAGE_VOL_UPLOAD, &args(0));
    client.answer(&opened).unwrap();
    client.send(&StreamWriter::new(opened).hole(5).unwrap());
    assert!(client.is_closed());
}

#[test]
fn data_and_holes_come_down() {
    let daemon = Daemon::new(Settings::default(), "carrier", carrier);
    let mut client = daemon.open("carrier:///x");
    const LENGTH: u64 = 5_000_000;
    for sparse in [1, 0] {
        let args = StorageVolDownloadArgs {
            volume: volume(),
            offset: 0,
            length: LENGTH,
            flags: sparse,
        };
        let opened = client.begin(procedure::STORAGE_VOL_DOWNLOAD, &args.to_xdr().unwrap());
        client.answer(&opened).unwrap();
        let mut bytes = Vec::new();
        let mut holes = Vec::new();
        let mut packets = std::mem::take(&mut client.others).into_iter();
        loop {
            let packet = packets.next().or_else(|| client.receive()).unwrap();
            assert!(packet.payload.len() <= CHUNK_MAX && packet.header.same_call(&opened));
            match StreamPacket::read(packet).unwrap() {
                StreamPacket::Data(data) => bytes.extend(data),
                StreamPacket::Hole(length) => holes.push((bytes.len() as u64, length)),
                StreamPacket::EndOfData => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(finish(&mut client, &opened), StreamPacket::Finish));
        if sparse == 1 {
            assert_eq!(holes, [(LENGTH, 4096)]);
            assert_eq!(bytes.len() as u64, LENGTH + 3);
        } else {
            assert!(holes.is_empty());
            assert_eq!(bytes.len() as u64, LENGTH + 4096 + 3);
        }
        assert!(
            bytes
                .iter()
                .take(LENGTH as usize)
                .enumerate()
                .all(|(at, byte)| *byte == (at % 251) as u8)
        );
        assert!(bytes.ends_with(b"end"));
    }
}

#[test]
fn a_console_talks_both_ways_and_ends_with_its_client() {
    let daemon = Daemon::new(Settings::default(), "carrier", carrier);
    let mut client = daemon.open("carrier:///x");
    let dom = DomainRef {
        name: "d".into(),
        uuid: Default::default(),
        id: 1,
    };
    let args = DomainOpenConsoleArgs {
        domain: dom,
        dev_name: None,
        flags: 0,
    };
    let opened = client.begin(procedure::DOMAIN_OPEN_CONSOLE, &args.to_xdr().unwrap());
    client.answer(&opened).unwrap();
    let writer = StreamWriter::new(opened);
    for word in ["one", "two", "three"] {
        client.send(&writer.data(word.as_bytes()).unwrap().0);
        let mut heard = Vec::new();
        while heard.len() < word.len() {
            match StreamPacket::read(client.receive().unwrap()).unwrap() {
                StreamPacket::Data(data) => heard.extend(data),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, word.as_bytes());
    }
    drop(client);
    daemon.eventually("the client is forgotten", |server| server.sessions().is_empty());
}

#[test]
fn descriptors_go_both_ways() {
    let daemon = Daemon::new(Settings::default(), "carrier", carrier);
    let mut client = daemon.open("carrier:///x");
    let dom = DomainRef {
        name: "d".into(),
        uuid: Default::default(),
        id: 1,
    };
    let args = DomainOpenGraphicsFdArgs {
        domain: dom.clone(),
        idx: 0,
        flags: 0,
    };
    let opened = client.begin(procedure::DOMAIN_OPEN_GRAPHICS_FD, &args.to_xdr().unwrap());
    let answer = client.answer(&opened).unwrap();
    assert_eq!(answer.header.kind, MessageType::ReplyWithFds);
    let mut file = std::fs::File::from(answer.fds.into_iter().next().unwrap());
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the driver");

    let files: Vec<OwnedFd> = ["one", "two"]
        .into_iter()
        .map(|text| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.as_fd().try_clone_to_owned().unwrap()
        })
        .collect();
    let args = DomainCreateWithFilesArgs {
        domain: dom,
        flags: 0,
    };
    let header = client.begin_with_fds(
        procedure::DOMAIN_CREATE_WITH_FILES,
        &args.to_xdr().unwrap(),
        &files,
    );
    let error = client.answer(&header).unwrap_err();
    assert_eq!(error.to_string(), "operation failed: one,two");
}
