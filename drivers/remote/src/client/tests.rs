//! Daemons that do not keep to the protocol, and what many threads do at once.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use virt_api::call::PROGRAM_REMOTE;
use virt_api::rpc::keepalive;
use virt_api::rpc::stream::StreamWriter;
use virt_api::stream_end::{Stream, Transfer};
use virt_api::testkit::FakeHost;

fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let host = HostServices::new(FakeHost::new());
    let client = Client::new(Wire::new(ours.into(), true, None), Some(host)).unwrap();
    (client, theirs)
}

fn request(procedure: u32, stream: bool) -> Request<'static> {
    Request {
        program: PROGRAM_REMOTE,
        version: 1,
        procedure,
        args: &[],
        fds: &[],
        stream,
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn receive(client: &Client, ticket: &Ticket) -> Result<Vec<u8>> {
    client
        .receive(ticket, soon(), &Cancel::never())
        .map(|answer| answer.payload)
}

/// The next packet that the client sent.
fn next(theirs: &mut UnixStream, reader: &mut PacketReader) -> Packet {
    let mut byte = [0];
    loop {
        theirs.read_exact(&mut byte).unwrap();
        if let Some(packet) = reader.feed(&mut &byte[..]).unwrap() {
            return packet;
        }
    }
}

fn answer(header: Header, payload: &[u8]) -> Vec<u8> {
    PacketWriter::new(&header.reply(Status::Ok))
        .finish_with(payload)
        .unwrap()
}

#[test]
fn answers_come_in_any_order() {
    let (client, mut theirs) = pair();
    let first = client.send(&request(1, false)).unwrap();
    let second = client.send(&request(2, false)).unwrap();
    theirs.write_all(&answer(second.header, b"two.")).unwrap();
    theirs.write_all(&answer(first.header, b"one.")).unwrap();
    assert_eq!(receive(&client, &first).unwrap(), b"one.");
    assert_eq!(receive(&client, &second).unwrap(), b"two.");
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    for strange in [
        Header::call(PROGRAM_REMOTE, 1, 1, 77),
        Header::call(PROGRAM_REMOTE, 1, 2, 1),
        Header::call(PROGRAM_REMOTE, 2, 1, 1),
    ] {
        let (client, mut theirs) = pair();
        let ticket = client.send(&request(1, false)).unwrap();
        theirs.write_all(&answer(strange, b"")).unwrap();
        let error = receive(&client, &ticket).unwrap_err();
        assert!(
            error.message().contains("a call that nobody waits for"),
            "{error}"
        );
        assert!(!client.is_alive());
        assert!(client.send(&request(1, false)).is_err());
    }
}

#[test]
fn a_second_answer_to_a_call_ends_the_connection() {
    let (client, mut theirs) = pair();
    let ticket = client.send(&request(1, false)).unwrap();
    let other = client.send(&request(1, false)).unwrap();
    let twice = answer(ticket.header, b"").repeat(2);
    theirs.write_all(&twice).unwrap();
    assert!(receive(&client, &other).is_err());
}

#[test]
fn noise_and_lengths_out_of_range_end_the_connection() {
    for noise in [
        &b"HTTP/1.1 200 OK\r\n\r\nthis is not for you"[..],
        &[0xff; 64],
        &[0; 64],
    ] {
        let (client, mut theirs) = pair();
        let ticket = client.send(&request(1, false)).unwrap();
        theirs.write_all(noise).unwrap();
        let error = receive(&client, &ticket).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RPC, "{error}");
    }
}

#[test]
fn a_packet_that_is_cut_is_the_end() {
    let (client, mut theirs) = pair();
    let ticket = client.send(&request(1, false)).unwrap();
    let whole = answer(ticket.header, b"text");
    theirs.write_all(whole.get(..20).unwrap()).unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let error = receive(&client, &ticket).unwrap_err();
    assert!(
        error.message().contains("End of file while reading data"),
        "{error}"
    );
}

#[test]
fn who_never_answers_costs_until_the_deadline_and_no_memory() {
    let (client, _theirs) = pair();
    let begun = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(100));
    let ticket = client.send(&request(1, false)).unwrap();
    let error = client.receive(&ticket, deadline, &Cancel::never()).err().unwrap();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let given_up = (1..ABANDONED_MAX + 10)
        .map(|_| {
            client.send(&request(1, false)).map(|ticket| {
                client
                    .receive(&ticket, Deadline::now(), &Cancel::never())
                    .is_err()
            })
        })
        .take_while(Result::is_ok)
        .count();
    assert_eq!(given_up + 1, ABANDONED_MAX);
}

#[test]
fn a_call_can_be_cancelled_while_another_thread_leads() {
    let (client, mut theirs) = pair();
    let leader = {
        let client = client.clone();
        let ticket = client.send(&request(1, false)).unwrap();
        std::thread::spawn(move || receive(&client, &ticket))
    };
    std::thread::sleep(Duration::from_millis(50));
    let cancel = Cancel::new();
    let follower = {
        let (client, cancel) = (client.clone(), cancel.clone());
        let ticket = client.send(&request(2, false)).unwrap();
        std::thread::spawn(move || client.receive(&ticket, soon(), &cancel).map(drop))
    };
    std::thread::sleep(Duration::from_millis(50));
    cancel.set();
    let error = follower.join().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_ABORTED);
    let mut reader = PacketReader::new();
    let first = next(&mut theirs, &mut reader).header;
    let second = next(&mut theirs, &mut reader).header;
    // The late answer is dropped, and the connection goes on.
    theirs.write_all(&answer(second, b"late")).unwrap();
    theirs.write_all(&answer(first, b"good")).unwrap();
    assert_eq!(leader.join().unwrap().unwrap(), b"good");
}

#[test]
fn whoever_leads_hands_over() {
    let (client, mut theirs) = pair();
    let threads: Vec<_> = (1..=8)
        .map(|number| {
            let client = client.clone();
            let ticket = client.send(&request(number, false)).unwrap();
            std::thread::spawn(move || receive(&client, &ticket))
        })
        .collect();
    let mut reader = PacketReader::new();
    for _ in 0..8 {
        let header = next(&mut theirs, &mut reader).header;
        std::thread::sleep(Duration::from_millis(5));
        theirs
            .write_all(&answer(header, &header.procedure.to_be_bytes()))
            .unwrap();
    }
    for (number, thread) in (1u32..).zip(threads) {
        assert_eq!(thread.join().unwrap().unwrap(), number.to_be_bytes());
    }
}

#[test]
fn a_stream_without_end_is_bounded() {
    let (client, mut theirs) = pair();
    let ticket = client.send(&request(1, true)).unwrap();
    theirs.write_all(&answer(ticket.header, b"")).unwrap();
    let answered = client.receive(&ticket, soon(), &Cancel::never()).unwrap();
    let stream = client.stream(&answered, false);
    let header = ticket.header;
    let feeder = std::thread::spawn(move || {
        let (packet, _) = StreamWriter::new(header).data(&vec![1; 250_000]).unwrap();
        let mut sent = 0;
        // Until the client closes.
        while theirs.write_all(&packet).is_ok() {
            sent += packet.len();
            if sent > STREAM_HARD_MAX + (32 << 20) {
                break;
            }
        }
        theirs
    });
    // While a call waits everything is read.
    let other = client.send(&request(2, false)).unwrap();
    let waited = client.receive(&other, Deadline::after(Duration::from_secs(5)), &Cancel::never());
    assert!(waited.is_err());
    let error = stream.recv(&mut [0; 16], false).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_FAILED, "{error}");
    let queued: usize = client.0.lock().streams.values().map(StreamState::queued).sum();
    assert_eq!(queued, 0);
    client.close();
    drop(feeder.join().unwrap());
}

#[test]
fn who_sends_a_stream_goes_on_while_another_thread_leads() {
    const TOTAL: usize = 8 << 20;
    let (client, mut theirs) = pair();
    let opening = client.send(&request(201, true)).unwrap();
    theirs.write_all(&answer(opening.header, b"")).unwrap();
    let opened = client.receive(&opening, soon(), &Cancel::never()).unwrap();
    let stream = client.stream(&opened, false);
    let pending = client.send(&request(1, false)).unwrap();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| receive(&client, &pending));
        // The other thread polls by now.
        std::thread::sleep(Duration::from_millis(100));
        let daemon = scope.spawn(|| {
            let mut reader = PacketReader::new();
            let (mut buffer, mut data, mut call) = (vec![0; 10_000], 0, None);
            while data < TOTAL {
                let count = theirs.read(&mut buffer).unwrap();
                let mut input = &buffer[..count];
                while let Some(packet) = reader.feed(&mut input).unwrap() {
                    match packet.header.kind {
                        virt_api::rpc::MessageType::Stream => data += packet.payload.len(),
                        _ => call = Some(packet.header),
                    }
                }
            }
            theirs.write_all(&answer(call.unwrap(), b"last")).unwrap();
        });
        let piece = vec![7; 300_000];
        let mut left = TOTAL;
        while left > 0 {
            match stream.send(&piece[..left.min(piece.len())]).unwrap() {
                Transfer::Bytes(sent) => left -= sent,
                other => panic!("{other:?} on a stream that waits"),
            }
        }
        daemon.join().unwrap();
        assert_eq!(leader.join().unwrap().unwrap(), b"last");
    });
}

#[test]
fn a_flood_of_events_and_pings_is_bounded() {
    let (client, mut theirs) = pair();
    client.start_background().unwrap();
    let ticket = client.send(&request(1, false)).unwrap();
    let header = ticket.header;
    let feeder = std::thread::spawn(move || {
        let event = PacketWriter::new(&Header::event(PROGRAM_REMOTE, 1, 318))
            .finish_with(&[0; 4])
            .unwrap();
        let ping = keepalive::ping().unwrap();
        let both = [event, ping].concat().repeat(100);
        for _ in 0..1000 {
            theirs.write_all(&both).unwrap();
        }
        theirs.write_all(&answer(header, b"")).unwrap();
        theirs
    });
    receive(&client, &ticket).unwrap();
    {
        let state = client.0.lock();
        assert!(state.inbox.len() <= INBOX_MAX);
        assert!(state.out_bytes <= OUT_MAX + 1024);
    }
    drop(feeder.join().unwrap());
}

#[test]
fn a_stream_that_failed_keeps_its_first_error() {
    let (client, mut theirs) = pair();
    let ticket = client.send(&request(1, true)).unwrap();
    theirs.write_all(&answer(ticket.header, b"")).unwrap();
    let answered = client.receive(&ticket, soon(), &Cancel::never()).unwrap();
    let stream = client.stream(&answered, false);
    let writer = StreamWriter::new(ticket.header);
    theirs.write_all(&writer.data(b"some").unwrap().0).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(stream.recv(&mut buffer, false).unwrap(), Transfer::Bytes(4));
    let full = VirtError::new(ErrorCode::OPERATION_FAILED, "the disk is full");
    theirs.write_all(&writer.failed(&full).unwrap()).unwrap();
    for _ in 0..2 {
        let error = stream.recv(&mut buffer, false).unwrap_err();
        assert!(error.message().contains("the disk is full"), "{error}");
    }
    let error = stream.finish().unwrap_err();
    assert!(error.message().contains("the disk is full"), "{error}");
}

#[test]
fn a_watched_stream_wakes_through_the_event_loop() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let host = FakeHost::new();
    let services = HostServices::new(Arc::clone(&host) as _);
    let client = Client::new(Wire::new(ours.into(), true, None), Some(services)).unwrap();
    let ticket = client.send(&request(1, true)).unwrap();
    theirs.write_all(&answer(ticket.header, b"")).unwrap();
    let answered = client.receive(&ticket, soon(), &Cancel::never()).unwrap();
    let stream = client.stream(&answered, false);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.recv(&mut [0; 4], false).unwrap(), Transfer::WouldBlock);
    let (tell, told) = std::sync::mpsc::channel();
    stream
        .watch(
            Readiness::READABLE,
            Box::new(move |ready| {
                let _ = tell.send(ready);
            }),
        )
        .unwrap();
    assert!(told.try_recv().is_err());
    theirs
        .write_all(&StreamWriter::new(ticket.header).data(b"x").unwrap().0)
        .unwrap();
    host.run_handles(Duration::from_secs(5)).unwrap();
    assert_eq!(told.try_recv(), Ok(Readiness::READABLE));
    assert_eq!(stream.recv(&mut [0; 4], false).unwrap(), Transfer::Bytes(1));
}

#[test]
fn a_forked_process_leaves_the_connection_alone() {
    let (client, mut theirs) = pair();
    let opened = client.send(&request(1, true)).unwrap();
    let mut reader = PacketReader::new();
    next(&mut theirs, &mut reader);
    theirs.write_all(&answer(opened.header, b"")).unwrap();
    let answer = client.receive(&opened, soon(), &Cancel::never()).unwrap();
    let stream = client.stream(&answer, false);
    // As it is in a child: the state says that somebody else has made it, who reads right now.
    let parent = std::process::id() + 1;
    {
        let mut state = client.0.state.lock();
        state.process = parent;
        state.leading = true;
    }
    let error = client.send(&request(2, false)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_INVALID);
    assert!(error.detail().contains(&parent.to_string()), "{error}");
    assert!(receive(&client, &opened).is_err());
    assert!(!client.is_alive());
    assert!(stream.send(b"x").is_err());
    drop(stream);
    client.close();
    drop(client);
    // No abort and no farewell has come.
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}
