//! Entry points for fuzzing: plain functions that must return, whatever they get. Tests replay seeds through them.

use std::io::Write;
use std::os::unix::net::UnixStream;

use virt_api::call::PROGRAM_REMOTE;
use virt_api::stream_end::Stream;
use virt_util::time::{Cancel, Deadline};

use crate::client::{Client, Request};
use crate::place::Place;
use crate::wire::Wire;

/// More does not fit in a socket that nobody reads yet.
const DATA_MAX: usize = 64 << 10;

/// What a daemon answers: two calls, one of them with a stream, get these bytes and then the end of the connection.
pub fn fuzz_daemon(data: &[u8]) {
    let Ok((ours, mut theirs)) = UnixStream::pair() else {
        return;
    };
    if ours.set_nonblocking(true).is_err() || theirs.set_nonblocking(true).is_err() {
        return;
    }
    let Ok(client) = Client::new(Wire::new(ours.into(), true, None), None) else {
        return;
    };
    let request = |procedure, stream| Request {
        program: PROGRAM_REMOTE,
        version: 1,
        procedure,
        args: &[],
        fds: &[],
        stream,
    };
    let tickets = [client.send(&request(1, false)), client.send(&request(2, true))];
    let _ = theirs.write(data.get(..DATA_MAX).unwrap_or(data));
    drop(theirs);
    for ticket in tickets.into_iter().flatten() {
        let Ok(answer) = client.receive(&ticket, Deadline::NONE, &Cancel::never()) else {
            continue;
        };
        let stream = client.stream(&answer, true);
        let mut buffer = [0; 1024];
        // Every round takes something away or ends.
        while let Ok(virt_api::stream_end::Transfer::Bytes(1..)) = stream.recv(&mut buffer, true) {}
        let _ = stream.in_data();
        let _ = stream.recv_hole();
        let _ = stream.finish();
    }
    client.close();
}

/// What users write as a URI.
pub fn fuzz_place(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Place::of(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use virt_api::rpc::stream::StreamWriter;
    use virt_api::rpc::{Header, PacketWriter, Status, keepalive};

    /// What an honest daemon would say, packet by packet.
    fn packets() -> Vec<Vec<u8>> {
        let one = Header::call(PROGRAM_REMOTE, 1, 1, 1);
        let two = Header::call(PROGRAM_REMOTE, 1, 2, 2);
        let stream = StreamWriter::new(two);
        let error = virt_util::VirtError::internal("no");
        vec![
            PacketWriter::new(&one.reply(Status::Ok)).finish().unwrap(),
            PacketWriter::new(&two.reply(Status::Ok))
                .finish_with(b"\0\0\0\x01")
                .unwrap(),
            stream.data(b"data").unwrap().0,
            stream.hole(1 << 40).unwrap(),
            stream.end_of_data().unwrap(),
            stream.finish().unwrap(),
            stream.failed(&error).unwrap(),
            keepalive::ping().unwrap(),
            PacketWriter::new(&Header::event(PROGRAM_REMOTE, 1, 318))
                .finish_with(&[0; 8])
                .unwrap(),
            PacketWriter::new(&Header::call(PROGRAM_REMOTE, 1, 9, 9))
                .finish()
                .unwrap(),
        ]
    }

    #[test]
    fn seeds_pass_whole_and_cut() {
        let all = packets().concat();
        for cut in 0..=all.len() {
            fuzz_daemon(all.get(..cut).unwrap());
        }
        for length in [0u32, 4, 27, 28, 33_554_437, u32::MAX] {
            fuzz_daemon(&length.to_be_bytes());
        }
        fuzz_place(b"qemu+ssh://h/system?no_tty=%31");
    }

    proptest! {
        #[test]
        fn packets_in_any_order_and_damaged(
            order in prop::collection::vec(0usize..10, 0..20),
            damage in prop::collection::vec((0usize..2000, any::<u8>()), 0..4),
        ) {
            let packets = packets();
            let mut bytes: Vec<u8> = order.iter().flat_map(|at| packets[*at].clone()).collect();
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            fuzz_daemon(&bytes);
        }

        #[test]
        fn any_text_as_a_uri(text in "[a-z]{1,5}(\\+[a-z0-9]{1,7})?://?\\PC{0,30}") {
            fuzz_place(text.as_bytes());
            match Place::of(&text) {
                Ok(place) => {
                    // What the URI says of the way is not passed on to the other side.
                    let asked = text.split([':', '+']).next().unwrap_or_default();
                    let driver = place.driver.as_deref();
                    prop_assert!(driver.is_none_or(|driver| driver == asked), "{:?}", place);
                    prop_assert!(!place.name.contains(&format!("+{}", place.transport.name())), "{:?}", place);
                }
                // What is told is bounded, and says something.
                Err(error) => prop_assert!((1..=text.len() + 300).contains(&error.detail().len()), "{}", error),
            }
        }
    }
}
