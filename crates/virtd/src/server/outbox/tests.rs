//! What leaves, and in which order.

use super::*;
use std::io::Read;
use std::os::unix::net::UnixStream;

fn outbox() -> (Outbox, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Socket::new(ours.into(), true).unwrap();
    (
        Outbox::on_socket(Arc::new(ours), true, Arc::new(Notify::new())),
        theirs,
    )
}

fn key(object: u8) -> EventKey {
    EventKey {
        program: 1,
        procedure: 2,
        callback: 0,
        object: vec![object],
    }
}

fn read(theirs: &mut UnixStream, outbox: &Outbox) -> Vec<u8> {
    theirs.set_nonblocking(true).unwrap();
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        outbox.flush(&mut Vec::new());
        match theirs.read(&mut buffer) {
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(_) if !outbox.is_pending() => return all,
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn what_the_socket_takes_is_written_at_once() {
    let (outbox, mut theirs) = outbox();
    assert_eq!(outbox.send(Outgoing::packet(b"one".to_vec())), Sent::Written);
    outbox.cork();
    assert_eq!(outbox.send(Outgoing::packet(b"two".to_vec())), Sent::Queued);
    assert_eq!(outbox.send(Outgoing::packet(b"three".to_vec())), Sent::Queued);
    outbox.uncork(&mut Vec::new());
    assert_eq!(read(&mut theirs, &outbox), b"onetwothree");
}

#[tokio::test]
async fn a_reader_who_does_not_read_hears_the_newest_of_each_object() {
    let (outbox, mut theirs) = outbox();
    // Fill the socket.
    while outbox.send(Outgoing::packet(vec![0; 1 << 16])) == Sent::Written {}
    let full = outbox.pending_bytes();
    for round in 0..100u8 {
        for object in [b'a', b'b'] {
            assert!(outbox.send_event(vec![object, round], key(object), 10));
        }
    }
    assert!(outbox.pending_bytes() < full + 40);
    let all = read(&mut theirs, &outbox);
    assert_eq!(all[all.len() - 4..], [b'a', 99, b'b', 99]);
    // Objects without end are too much.
    while outbox.send(Outgoing::packet(vec![0; 1 << 16])) == Sent::Written {}
    let kept = (0..200u8)
        .take_while(|object| outbox.send_event(vec![*object], key(*object), 10))
        .count();
    assert!((40..=41).contains(&kept), "{kept}");
}

#[tokio::test]
async fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (outbox, theirs) = outbox();
    drop(theirs);
    assert_eq!(outbox.send(Outgoing::packet(b"one".to_vec())), Sent::Closed);
    assert!(outbox.failure().is_some());
}
