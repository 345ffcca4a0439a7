//! Packets out of bytes as they arrive.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use virt_util::Result;
use virt_util::xdr::XdrDecoder;

use super::packet::{Header, LENGTH_MIN, Packet, rpc};
use super::{FDS_MAX, LENGTH_SIZE, PACKET_MAX};

/// Payload memory is taken in steps, as bytes arrive: a peer that announces much and sends little costs little.
const STEP: usize = 65_536;

/// The same where bytes go straight from the socket to the payload, which is not touched before they come.
const DIRECT_STEP: usize = 262_144;

/// Puts packets together from bytes and descriptors as a socket delivers them.
///
/// Feed it what was read; it takes bytes from the front of the slice and answers a packet as soon as one is whole:
///
/// ```
/// use virt_api::rpc::{Header, PacketReader, PacketWriter};
///
/// let bytes = PacketWriter::new(&Header::call(0x2000_8086, 1, 2, 9)).finish().unwrap();
/// let mut reader = PacketReader::new();
/// let mut input = &bytes[..];
/// let packet = reader.feed(&mut input).unwrap().expect("a whole packet");
/// assert_eq!((packet.header.serial, input.len()), (9, 0));
/// ```
#[derive(Debug)]
pub struct PacketReader {
    state: State,
    /// Descriptors that arrived and belong to no packet yet.
    fds: VecDeque<OwnedFd>,
    max: usize,
    failed: bool,
}

#[derive(Debug)]
enum State {
    /// Length word and header.
    Head(Vec<u8>),
    /// The count of descriptors, after a header that announces one.
    FdCount {
        header: Header,
        length: usize,
        word: Vec<u8>,
    },
    /// The payload, of which so many bytes are wanted in all.
    Payload {
        header: Header,
        fds: usize,
        length: usize,
        payload: Vec<u8>,
    },
    /// The bytes that carry the descriptors.
    Fds {
        header: Header,
        fds: usize,
        missing: usize,
        payload: Vec<u8>,
    },
}

impl Default for PacketReader {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketReader {
    /// A reader that takes packets up to libvirt's limit.
    pub fn new() -> Self {
        Self {
            state: State::Head(Vec::new()),
            fds: VecDeque::new(),
            max: PACKET_MAX,
            failed: false,
        }
    }

    /// Takes packets of at most `max` bytes behind their length word from now on: less is enough for a peer that has
    /// not said who it is. Never more than [`PACKET_MAX`].
    pub fn set_limit(&mut self, max: usize) {
        self.max = max.min(PACKET_MAX);
    }

    /// Takes a descriptor that came with the bytes that are fed next, or before. Descriptors that nobody announces are
    /// an error; they are closed with the reader.
    pub fn feed_fd(&mut self, fd: OwnedFd) -> Result<()> {
        if self.fds.len() >= FDS_MAX {
            self.failed = true;
            return Err(rpc(format_args!(
                "more than {FDS_MAX} file descriptors that no packet announced"
            )));
        }
        self.fds.push_back(fd);
        Ok(())
    }

    /// Takes bytes from the front of `input` until a packet is whole or nothing is left. After an error the connection
    /// is lost: nothing that follows can be understood, and every further call fails.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Packet>> {
        if self.failed {
            return Err(rpc("the connection has failed before"));
        }
        let fed = self.advance(input);
        self.failed = fed.is_err();
        fed
    }

    /// The payload that is being put together and how many bytes it lacks, if it is worth while to put them there
    /// without a copy: at least `least`. The payload has room for some of them, at most for as many as are lacking. What
    /// was put there is noticed by the next [`PacketReader::feed`], which may be fed nothing.
    pub fn payload_in_progress(&mut self, least: usize) -> Option<(&mut Vec<u8>, usize)> {
        let State::Payload { length, payload, .. } = &mut self.state else {
            return None;
        };
        let missing = length.saturating_sub(payload.len());
        if self.failed || missing < least.max(1) {
            return None;
        }
        if payload.capacity() == payload.len() {
            payload.reserve_exact(missing.min(payload.len().max(DIRECT_STEP)));
        }
        Some((payload, missing))
    }

    /// How many bytes to read next into a buffer of `most`. Where much data comes (`bulk`), behind it comes more: only the
    /// head of the next packet is read with what lacks before it, so that its data can be put where it belongs.
    pub fn read_ahead(&self, bulk: bool, most: usize) -> usize {
        match bulk {
            true if !self.is_inside_packet() => most.min(LENGTH_MIN),
            true => match self.payload_missing() {
                0 => most,
                missing => most.min(missing + LENGTH_MIN),
            },
            false => most,
        }
    }

    /// How many bytes the payload that is being put together lacks; 0 if there is none.
    pub fn payload_missing(&self) -> usize {
        match &self.state {
            State::Payload { length, payload, .. } => length.saturating_sub(payload.len()),
            _ => 0,
        }
    }

    /// The packet whose payload comes next, and how many bytes that is, if none of them was taken yet, no descriptors
    /// belong to it, and there are at least `least`.
    pub fn payload_ahead(&self, least: usize) -> Option<(&Header, usize)> {
        match &self.state {
            State::Payload {
                header,
                fds: 0,
                length,
                payload,
            } if !self.failed && payload.is_empty() && *length >= least.max(1) => Some((header, *length)),
            _ => None,
        }
    }

    /// So many bytes of the payload ahead were taken by somebody else: the packet has only the others, and if there are
    /// none it is not answered.
    pub fn diverted(&mut self, count: usize) {
        if let State::Payload { length, payload, .. } = &mut self.state
            && payload.is_empty()
        {
            *length = length.saturating_sub(count);
            if *length == 0 {
                self.state = State::Head(Vec::new());
            }
        }
    }

    /// Whether a packet has begun: an end of the connection now is not in good order.
    pub fn is_inside_packet(&self) -> bool {
        !matches!(&self.state, State::Head(head) if head.is_empty())
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Packet>> {
        loop {
            match &mut self.state {
                State::Head(head) => {
                    // The length is looked at as soon as it is there.
                    if !fill(head, LENGTH_SIZE, input) {
                        return Ok(None);
                    }
                    let length = length_word(head, self.max)?;
                    if !fill(head, LENGTH_MIN, input) {
                        return Ok(None);
                    }
                    let mut decoder = XdrDecoder::new(head.get(LENGTH_SIZE..).unwrap_or_default());
                    let header = Header::decode(&mut decoder)?;
                    let length = length - LENGTH_MIN;
                    self.state = if header.kind.has_fds() {
                        State::FdCount {
                            header,
                            length: length
                                .checked_sub(4)
                                .ok_or_else(|| rpc("the packet ends before its count of file descriptors"))?,
                            word: Vec::new(),
                        }
                    } else {
                        State::Payload {
                            header,
                            fds: 0,
                            length,
                            payload: Vec::new(),
                        }
                    };
                }
                State::FdCount { header, length, word } => {
                    if !fill(word, 4, input) {
                        return Ok(None);
                    }
                    let fds = XdrDecoder::new(word).u32()? as usize;
                    if fds > FDS_MAX {
                        return Err(rpc(format_args!(
                            "{fds} file descriptors announced, at most {FDS_MAX} are allowed"
                        )));
                    }
                    self.state = State::Payload {
                        header: *header,
                        fds,
                        length: *length,
                        payload: Vec::new(),
                    };
                }
                State::Payload {
                    header,
                    fds,
                    length,
                    payload,
                } => {
                    let missing = length.saturating_sub(payload.len());
                    let taken = missing.min(input.len());
                    if payload.capacity() - payload.len() < taken {
                        // At most what is missing, at least a step, and never less than what is here.
                        payload.reserve_exact(missing.min(taken.max(payload.len()).max(STEP)));
                    }
                    take(payload, taken, input);
                    if payload.len() < *length {
                        return Ok(None);
                    }
                    let (header, fds, payload) = (*header, *fds, std::mem::take(payload));
                    self.state = State::Fds {
                        header,
                        fds,
                        missing: fds,
                        payload,
                    };
                }
                State::Fds {
                    header,
                    fds,
                    missing,
                    payload,
                } => {
                    let taken = (*missing).min(input.len());
                    let (carriers, rest) = input.split_at(taken);
                    if carriers.iter().any(|byte| *byte != 0) {
                        return Err(rpc(
                            "a byte that is not zero where a file descriptor was announced",
                        ));
                    }
                    *input = rest;
                    *missing -= taken;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    if self.fds.len() < *fds {
                        return Err(rpc(format_args!(
                            "{} file descriptors came where {fds} were announced",
                            self.fds.len()
                        )));
                    }
                    let packet = Packet {
                        header: *header,
                        fds: self.fds.drain(..*fds).collect(),
                        payload: std::mem::take(payload),
                    };
                    self.state = State::Head(Vec::new());
                    return Ok(Some(packet));
                }
            }
        }
    }
}

/// Moves `count` bytes, of which there are enough.
fn take(into: &mut Vec<u8>, count: usize, input: &mut &[u8]) {
    let (head, rest) = input.split_at(count.min(input.len()));
    into.extend_from_slice(head);
    *input = rest;
}

/// Fills `into` up to `length` bytes. Whether it is full.
fn fill(into: &mut Vec<u8>, length: usize, input: &mut &[u8]) -> bool {
    take(into, length.saturating_sub(into.len()), input);
    into.len() >= length
}

/// The length word at the front of `head`, checked.
fn length_word(head: &[u8], max: usize) -> Result<usize> {
    let length = XdrDecoder::new(head).u32()? as usize;
    if length < LENGTH_MIN {
        return Err(rpc(format_args!(
            "packet length {length} is too small, at least {LENGTH_MIN} expected"
        )));
    }
    if length - LENGTH_SIZE > max {
        return Err(rpc(format_args!(
            "packet length {length} is too large, at most {} allowed",
            max + LENGTH_SIZE
        )));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::super::{MessageType, PacketWriter, Status};
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsRawFd;

    fn any_header() -> impl Strategy<Value = Header> {
        (
            any::<u32>(),
            any::<u32>(),
            any::<i32>(),
            0..7i32,
            any::<u32>(),
            0..3i32,
        )
            .prop_map(|(program, version, procedure, kind, serial, status)| Header {
                program,
                version,
                procedure,
                kind: MessageType::from_number(kind).unwrap(),
                serial,
                status: Status::from_number(status).unwrap(),
            })
    }

    fn write(header: &Header, payload: &[u8]) -> Vec<u8> {
        let writer = if header.kind.has_fds() {
            PacketWriter::with_fds(header, 0).unwrap()
        } else {
            PacketWriter::new(header)
        };
        writer.finish_with(payload).unwrap()
    }

    proptest! {
        #[test]
        fn packets_survive_any_cutting(
            packets in prop::collection::vec((any_header(), prop::collection::vec(any::<u8>(), 0..200)), 1..5),
            cuts in prop::collection::vec(1usize..60, 1..40),
        ) {
            let bytes: Vec<u8> = packets.iter().flat_map(|(header, payload)| write(header, payload)).collect();
            let mut reader = PacketReader::new();
            let mut arrived = Vec::new();
            let mut rest = &bytes[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (mut piece, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = tail;
                while let Some(packet) = reader.feed(&mut piece).unwrap() {
                    arrived.push((packet.header, packet.payload));
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert!(!reader.is_inside_packet());
            prop_assert_eq!(arrived, packets);
        }
    }

    #[test]
    fn lengths_out_of_range_end_the_connection() {
        for length in [0u32, 3, 4, 27, 33_554_437, u32::MAX] {
            let mut reader = PacketReader::new();
            let bytes = length.to_be_bytes();
            let error = reader.feed(&mut &bytes[..]).unwrap_err();
            assert!(error.to_string().contains(&length.to_string()), "{error}");
            assert!(reader.feed(&mut &bytes[..]).is_err());
        }
    }

    #[test]
    fn a_long_announcement_costs_nothing_before_its_bytes() {
        let header = Header::call(1, 1, 1, 1);
        let mut bytes = write(&header, &[]);
        bytes[..4].copy_from_slice(&33_554_436u32.to_be_bytes());
        let mut reader = PacketReader::new();
        assert!(reader.feed(&mut &bytes[..]).unwrap().is_none());
        let State::Payload { payload, .. } = &reader.state else {
            panic!("the payload is awaited");
        };
        assert!(payload.capacity() <= STEP);
    }

    #[test]
    fn what_others_took_of_a_payload_is_not_answered() {
        let header = Header::call(1, 1, 1, 1);
        let bytes = [write(&header, &[1; 100]), write(&header, &[2; 50])].concat();
        let mut reader = PacketReader::new();
        assert!(reader.feed(&mut &bytes[..28]).unwrap().is_none());
        assert!(reader.payload_ahead(101).is_none());
        assert_eq!(reader.payload_ahead(100), Some((&header, 100)));
        reader.diverted(60);
        assert_eq!(reader.payload_ahead(1), Some((&header, 40)));
        // The rest comes as usual.
        let mut rest = &bytes[88..];
        let packet = reader.feed(&mut rest).unwrap().unwrap();
        assert_eq!(packet.payload, [1; 40]);
        assert_eq!(reader.payload_missing(), 0);
        assert!(reader.feed(&mut &rest[..28]).unwrap().is_none());
        reader.diverted(50);
        assert!(!reader.is_inside_packet());
        assert!(reader.payload_ahead(1).is_none());
        // What has begun to come is not for others.
        assert!(reader.feed(&mut &bytes[..29]).unwrap().is_none());
        assert!(reader.payload_ahead(1).is_none());
    }

    #[test]
    fn a_lower_limit_holds_before_authentication() {
        let header = Header::call(1, 1, 1, 1);
        let mut reader = PacketReader::new();
        reader.set_limit(100);
        assert!(reader.feed(&mut &write(&header, &[0; 76])[..]).unwrap().is_some());
        assert!(reader.feed(&mut &write(&header, &[0; 80])[..]).is_err());
    }

    #[test]
    fn descriptors_go_with_the_packet_that_counts_them() {
        let header = Header::call(1, 1, 1, 1);
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (one, two) = (fd(), fd());
        let numbers = [one.as_raw_fd(), two.as_raw_fd()];
        let mut bytes = PacketWriter::with_fds(&header, 2)
            .unwrap()
            .finish_with(b"abcd")
            .unwrap();
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&write(&header, b"next"));
        let mut reader = PacketReader::new();
        // The socket gives both before anything is looked at.
        reader.feed_fd(one).unwrap();
        reader.feed_fd(two).unwrap();
        let mut input = &bytes[..];
        let packet = reader.feed(&mut input).unwrap().unwrap();
        assert_eq!(
            packet.fds.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>(),
            numbers
        );
        assert_eq!(packet.payload, b"abcd");
        assert_eq!(packet.header.kind, MessageType::CallWithFds);
        assert_eq!(reader.feed(&mut input).unwrap().unwrap().payload, b"next");
    }

    #[test]
    fn missing_and_surplus_descriptors_are_errors() {
        let header = Header::call(1, 1, 1, 1);
        let mut bytes = PacketWriter::with_fds(&header, 1).unwrap().finish().unwrap();
        bytes.push(0);
        assert!(PacketReader::new().feed(&mut &bytes[..]).is_err());
        assert!(PacketWriter::with_fds(&header, 33).is_err());
        let mut reader = PacketReader::new();
        for _ in 0..32 {
            reader
                .feed_fd(std::fs::File::open("/dev/null").unwrap().into())
                .unwrap();
        }
        assert!(
            reader
                .feed_fd(std::fs::File::open("/dev/null").unwrap().into())
                .is_err()
        );
    }

    #[test]
    fn the_largest_packet_is_libvirts() {
        let header = Header::call(1, 1, 1, 1);
        let payload = vec![7; super::super::PAYLOAD_MAX];
        let bytes = PacketWriter::new(&header).finish_with(&payload).unwrap();
        let mut reader = PacketReader::new();
        assert_eq!(
            reader.feed(&mut &bytes[..]).unwrap().unwrap().payload.len(),
            payload.len()
        );
        assert!(
            PacketWriter::new(&header)
                .finish_with(&vec![7; payload.len() + 1])
                .is_err()
        );
    }
}
