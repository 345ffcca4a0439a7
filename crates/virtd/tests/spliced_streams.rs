//! Streams whose data goes from socket to socket without a copy.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::{Client, Daemon, LIMIT};
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext, Passthrough};
use virt_api::protocol::remote::*;
use virt_api::rpc::Header;
use virt_api::rpc::stream::{StreamPacket, StreamWriter};
use virt_api::stream_end::{Readiness, Stream, Transfer, Waker};
use virt_util::splice::splice;
use virt_util::sys::socket::widen_send_buffer;
use virt_util::time::{Cancel, Deadline, Interest, Waited, wait_fd};
use virt_util::xdr::XdrEncode;
use virt_util::{Result, VirtError};
use virtd::server::Settings;

/// The guest's end of the channel that was opened last.
static GUEST: Mutex<Option<UnixStream>> = Mutex::new(None);
/// How often data went through a pipe: to the client, and from it.
static SPLICED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Channels are slow where data comes from the thread that reads for everybody.
static SLOW: AtomicBool = AtomicBool::new(false);
/// How often such channels got data in a worker, and on that thread.
static GIVEN: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// A driver with a channel.
struct Channels;

impl Driver for Channels {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Channels))
    }
}

impl DriverConnection for Channels {
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(self)
    }
}

impl Passthrough for Channels {
    fn call(&self, cx: &mut CallContext<'_>, _: &[u8]) -> Result<Vec<u8>> {
        if cx.procedure() == procedure::DOMAIN_OPEN_CHANNEL {
            let (ours, guest) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            *GUEST.lock().unwrap() = Some(guest);
            cx.attach_stream(Channel(Arc::new(ours)))?;
        }
        Ok(Vec::new())
    }
}

struct Channel(Arc<UnixStream>);

fn moved(done: std::io::Result<usize>) -> Result<Transfer> {
    match done {
        Ok(count) => Ok(Transfer::Bytes(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Transfer::WouldBlock),
        Err(error) => Err(VirtError::io(&error, "the channel failed")),
    }
}

impl Stream for Channel {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        moved((&*self.0).write(data))
    }

    fn recv(&self, buffer: &mut [u8], _: bool) -> Result<Transfer> {
        moved((&*self.0).read(buffer))
    }

    fn finish(&self) -> Result<()> {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
        Ok(())
    }

    fn abort(&self) -> Result<()> {
        self.finish()
    }

    fn set_nonblocking(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        let mut ready = Readiness::default();
        for (bit, direction) in [
            (Readiness::READABLE, Interest::Readable),
            (Readiness::WRITABLE, Interest::Writable),
        ] {
            if !interest.and(bit).is_empty()
                && wait_fd(&*self.0, direction, Deadline::now(), &Cancel::never())? == Waited::Ready
            {
                ready = ready.or(bit);
            }
        }
        Ok(ready)
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        let socket = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let direction = match (
                interest.and(Readiness::READABLE).is_empty(),
                interest.and(Readiness::WRITABLE).is_empty(),
            ) {
                (false, true) => Interest::Readable,
                (true, false) => Interest::Writable,
                _ => Interest::Both,
            };
            let _ = wait_fd(&*socket, direction, Deadline::after(LIMIT), &Cancel::never());
            waker(interest);
        });
        Ok(())
    }

    fn can_splice(&self) -> bool {
        true
    }

    fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        SPLICED[0].fetch_add(1, Ordering::Relaxed);
        moved(splice(&*self.0, pipe, most))
    }

    fn send_from_pipe(&self, pipe: BorrowedFd<'_>, most: usize, at_once: bool) -> Result<Transfer> {
        SPLICED[1].fetch_add(1, Ordering::Relaxed);
        if SLOW.load(Ordering::Relaxed) {
            GIVEN[usize::from(at_once)].fetch_add(1, Ordering::Relaxed);
            if at_once {
                // The client's socket fills meanwhile.
                std::thread::sleep(Duration::from_millis(5));
            }
            // All of it is taken, so that only who reads it has to do with it.
            let writable = wait_fd(
                &*self.0,
                Interest::Writable,
                Deadline::after(LIMIT),
                &Cancel::never(),
            );
            assert_eq!(writable?, Waited::Ready);
        }
        moved(splice(pipe, &*self.0, most))
    }
}

fn channels() -> Box<dyn Driver> {
    Box::new(Channels)
}

/// Tests share the guest's end.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn open_channel(client: &mut Client) -> (Header, UnixStream) {
    let args = DomainOpenChannelArgs {
        domain: DomainRef {
            name: "d".into(),
            uuid: Default::default(),
            id: 1,
        },
        name: None,
        flags: 0,
    };
    let opened = client.begin(procedure::DOMAIN_OPEN_CHANNEL, &args.to_xdr().unwrap());
    client.answer(&opened).unwrap();
    let guest = GUEST.lock().unwrap().take().unwrap();
    guest.set_read_timeout(Some(LIMIT)).unwrap();
    (opened, guest)
}

/// Bytes in which a shift is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at % 251) as u8 ^ (at / 65_536) as u8)
        .collect()
}

fn send_all(client: &mut Client, opened: &Header, mut data: &[u8]) {
    let writer = StreamWriter::new(*opened);
    while !data.is_empty() {
        let (packet, taken) = writer.data(data).unwrap();
        client.send(&packet);
        data = &data[taken..];
    }
}

fn next(client: &mut Client) -> StreamPacket {
    StreamPacket::read(client.receive().unwrap()).unwrap()
}

#[test]
fn much_data_arrives_whole_both_ways_at_once() {
    let _alone = alone();
    let daemon = Daemon::new(Settings::default(), "channels", channels);
    let mut client = daemon.open("channels:///x");
    let (opened, guest) = open_channel(&mut client);
    let data = pattern(24_000_000);
    let (mut writes, mut reads) = (guest.try_clone().unwrap(), guest);
    let expected = data.clone();
    let writer = std::thread::spawn(move || writes.write_all(&expected).unwrap());
    let expected = data.clone();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        reads.read_exact(&mut got).unwrap();
        assert!(got == expected, "what the guest got differs");
        reads
    });
    let expected = data.clone();
    let mut sender = Client::over(client.socket.try_clone().unwrap());
    let upload = std::thread::spawn(move || send_all(&mut sender, &opened, &data));
    let mut got = Vec::new();
    while got.len() < expected.len() {
        match next(&mut client) {
            StreamPacket::Data(data) => got.extend(data),
            other => panic!("{other:?}"),
        }
        // Now and then the client is slow.
        if got.len() % 7 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(got == expected, "what the client got differs");
    upload.join().unwrap();
    writer.join().unwrap();
    let mut reads = reader.join().unwrap();
    for way in &SPLICED {
        assert!(way.load(Ordering::Relaxed) > 0, "everything was copied");
    }
    // Little data goes the other way, behind it, and the end is confirmed.
    send_all(&mut client, &opened, b"bye");
    client.send(&StreamWriter::new(opened).finish().unwrap());
    let mut rest = Vec::new();
    reads.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");
    loop {
        match next(&mut client) {
            StreamPacket::EndOfData => {}
            StreamPacket::Finish => break,
            other => panic!("{other:?}"),
        }
    }
}

/// The thread that reads for all clients has one share of the processor; what goes to clients has one for each stream.
#[test]
fn what_streams_in_is_moved_by_workers() {
    let _alone = alone();
    let daemon = Daemon::new(Settings::default(), "channels", channels);
    let mut client = daemon.open("channels:///x");
    let (opened, guest) = open_channel(&mut client);
    let writer = StreamWriter::new(opened);
    widen_send_buffer(&client.socket, 1 << 20);
    SLOW.store(true, Ordering::Relaxed);
    let data = pattern(70_000 * 100);
    let expected = data.clone();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        (&guest).read_exact(&mut got).unwrap();
        assert!(got == expected, "what the guest got differs");
    });
    for piece in data.chunks(70_000) {
        client.send(&writer.data(piece).unwrap().0);
    }
    reader.join().unwrap();
    SLOW.store(false, Ordering::Relaxed);
    let [in_workers, elsewhere] = [&GIVEN[0], &GIVEN[1]].map(|count| count.load(Ordering::Relaxed));
    assert!(in_workers > 0, "{elsewhere} pieces on the thread for everybody");
}

#[test]
fn packets_that_wait_for_their_turn_come_before_what_is_still_in_the_socket() {
    let _alone = alone();
    let daemon = Daemon::new(Settings::default(), "channels", channels);
    let mut client = daemon.open("channels:///x");
    let (opened, guest) = open_channel(&mut client);
    let writer = StreamWriter::new(opened);
    // More than a turn's packets fit into what is read at once, and now and then a large one is the last of a turn: small
    // ones wait behind it then, while the socket has more.
    widen_send_buffer(&client.socket, 1 << 20);
    let sizes: Vec<usize> = [1; 19].into_iter().chain([65_536]).collect();
    let data = pattern(600 * sizes.iter().sum::<usize>());
    let expected = data.clone();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        (&guest).read_exact(&mut got).unwrap();
        assert!(got == expected, "what the guest got differs");
        guest
    });
    let mut left = data.as_slice();
    let mut packets = Vec::new();
    for size in sizes.iter().cycle() {
        let (chunk, rest) = left.split_at((*size).min(left.len()));
        packets.extend(writer.data(chunk).unwrap().0);
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    client.send(&packets);
    reader.join().unwrap();
}

#[test]
fn a_guest_that_takes_nothing_holds_up_its_client_alone() {
    let _alone = alone();
    let daemon = Daemon::new(Settings::default(), "channels", channels);
    let mut client = daemon.open("channels:///x");
    let mut other = daemon.open("channels:///x");
    let (opened, mut guest) = open_channel(&mut client);
    let data = pattern(40_000_000);
    let sent = Arc::new(AtomicUsize::new(0));
    let upload = {
        let (data, sent) = (data.clone(), Arc::clone(&sent));
        let mut sender = Client::over(client.socket.try_clone().unwrap());
        std::thread::spawn(move || {
            for piece in data.chunks(200_000) {
                send_all(&mut sender, &opened, piece);
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            sender.send(&StreamWriter::new(opened).finish().unwrap());
        })
    };
    // It is read no more when so much waits, and others do not notice.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        let begun = Instant::now();
        // An error is an answer too.
        let _ = other.call(procedure::CONNECT_GET_TYPE, &[]);
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!((1..20_000_000).contains(&before), "{before} bytes wait");
    let mut got = Vec::new();
    guest.read_to_end(&mut got).unwrap();
    assert!(got == data, "what the guest got differs");
    upload.join().unwrap();
    loop {
        match next(&mut client) {
            StreamPacket::EndOfData => {}
            StreamPacket::Finish => break,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_stream_that_ends_in_the_middle_costs_nobody_the_connection() {
    let _alone = alone();
    let daemon = Daemon::new(Settings::default(), "channels", channels);
    let mut client = daemon.open("channels:///x");
    let data = pattern(3_000_000);

    // The guest leaves.
    let (opened, guest) = open_channel(&mut client);
    let reader = std::thread::spawn(move || {
        let mut some = vec![0; 1_000_000];
        (&guest).read_exact(&mut some).unwrap();
    });
    send_all(&mut client, &opened, &data);
    reader.join().unwrap();
    loop {
        match next(&mut client) {
            StreamPacket::EndOfData => {
                // What was under way may have been taken; what comes now is not.
                send_all(&mut client, &opened, &data);
            }
            StreamPacket::Failed(_) => break,
            other => panic!("{other:?}"),
        }
    }

    // The client aborts what the guest does not take.
    let (opened, guest) = open_channel(&mut client);
    send_all(&mut client, &opened, &data);
    client.send(&StreamWriter::new(opened).abort().unwrap());
    loop {
        match next(&mut client) {
            StreamPacket::EndOfData => {}
            StreamPacket::Finish => break,
            other => panic!("{other:?}"),
        }
    }
    drop(guest);

    // The client leaves.
    let (opened, mut guest) = open_channel(&mut client);
    send_all(&mut client, &opened, &data);
    drop(client);
    let mut got = Vec::new();
    let _ = guest.read_to_end(&mut got);
    assert!(data.starts_with(&got));
    daemon.eventually("the client is forgotten", |server| server.sessions().is_empty());
}
