//! Entry points for fuzzing, one per parser of outside bytes: plain functions that must return, whatever they get.
//! Tests replay seeds through them.

use virt_util::xdr::XdrDecode;

use crate::plugin::{Manifest, elf};
use crate::protocol::{recode_table, table};
use crate::rpc::{PacketReader, PacketWriter};

/// A named entry point.
pub type Target = (&'static str, fn(&[u8]));

/// Every entry point of this crate.
pub const TARGETS: &[Target] = &[
    ("messages", fuzz_messages),
    ("packets", fuzz_packets),
    ("error_message", fuzz_error_message),
    ("plugin_file", fuzz_plugin_file),
];

/// The messages of every procedure: the first two bytes choose the procedure, the third arguments or answer, the rest
/// is the message. What is read is within the limits, and reads the same again when it is written.
pub fn fuzz_messages(data: &[u8]) {
    let [high, low, side, message @ ..] = data else {
        return;
    };
    let rows = recode_table();
    let index = usize::from(u16::from_be_bytes([*high, *low])) % rows.len();
    let Some((program, number, args, reply)) = rows.get(index) else {
        return;
    };
    let (recode, asked) = if side & 1 == 0 {
        (args, true)
    } else {
        (reply, false)
    };
    let Some(recode) = recode else { return };
    let Some(procedure) = table::procedure(*program, *number) else {
        return;
    };
    let within = if asked {
        procedure.check_args(message)
    } else {
        procedure.check_reply(message)
    };
    match recode(message) {
        Ok(written) => {
            assert!(within.is_ok(), "{} was read beyond its limits", procedure.name);
            assert_eq!(recode(&written).ok(), Some(written), "{}", procedure.name);
        }
        Err(_) => assert!(
            within.is_err() || is_stricter(message),
            "{} is within its limits and cannot be read",
            procedure.name
        ),
    }
}

/// Names of typed parameters are shorter than their type says; nothing else is stricter than the shapes.
fn is_stricter(message: &[u8]) -> bool {
    message.len() > virt_util::typed_param::FIELD_LENGTH_MAX
}

/// Packets: what arrives in pieces is what arrives at once, and is written the same.
pub fn fuzz_packets(data: &[u8]) {
    let mut whole = PacketReader::new();
    let mut input = data;
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = whole.feed(&mut input) {
        let mut writer = if packet.header.kind.has_fds() {
            match PacketWriter::with_fds(&packet.header, packet.fds.len()) {
                Ok(writer) => writer,
                Err(_) => return,
            }
        } else {
            PacketWriter::new(&packet.header)
        };
        let _ = writer.payload();
        if let Ok(bytes) = writer.finish_with(&packet.payload) {
            assert!(data.windows(bytes.len()).any(|window| window == bytes));
        }
        packets.push((packet.header, packet.payload.clone()));
        if packet.header.kind == crate::rpc::MessageType::Stream {
            let _ = crate::rpc::stream::StreamPacket::read(packet);
        }
    }
    let mut pieces = PacketReader::new();
    let mut arrived = Vec::new();
    'pieces: for mut piece in data.chunks(5) {
        loop {
            match pieces.feed(&mut piece) {
                Ok(Some(packet)) => arrived.push((packet.header, packet.payload)),
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
    }
    assert_eq!(arrived, packets);
}

/// Errors that a peer tells.
pub fn fuzz_error_message(data: &[u8]) {
    if let Ok(message) = crate::rpc::error::ErrorMessage::from_xdr(data) {
        assert!(!message.into_error().to_string().is_empty());
    }
}

/// The file of a plugin before it is trusted to the linker, and the manifest in it.
pub fn fuzz_plugin_file(data: &[u8]) {
    let path = std::path::Path::new("fuzz.so");
    let length = data.len() as u64;
    if let Ok(found) = elf::read(path, std::io::Cursor::new(data), length) {
        assert!(found.manifests.iter().all(|manifest| !manifest.name.is_empty()));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Manifest::parse(text, "fuzz.toml");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::shape::Shape;

    /// Cheap numbers that are the same in every run.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit.max(1)
        }
    }

    /// A value of that shape, as bytes.
    fn value(shape: &Shape, noise: &mut Noise, out: &mut Vec<u8>) {
        let word = |out: &mut Vec<u8>, word: u64| out.extend_from_slice(&(word as u32).to_be_bytes());
        match shape {
            Shape::I32 | Shape::U32 => word(out, noise.next()),
            Shape::Uchar => word(out, noise.below(256)),
            Shape::Char => word(out, noise.below(128)),
            Shape::Ushort => word(out, noise.below(65_536)),
            Shape::I64 | Shape::U64 => out.extend_from_slice(&noise.next().to_be_bytes()),
            Shape::F64 => out.extend_from_slice(&1.5f64.to_be_bytes()),
            Shape::Uuid => {
                for _ in 0..4 {
                    word(out, noise.next());
                }
            }
            Shape::String { .. } | Shape::Bytes { .. } => {
                let length = noise.below(9);
                word(out, length);
                for _ in 0..length {
                    out.push(b'a' + noise.below(26) as u8);
                }
                out.resize(out.len().next_multiple_of(4), 0);
            }
            Shape::Chars { .. } => {
                // As text with its NUL, so that both ways to hold it write the same.
                word(out, 3);
                for byte in [b'x', b'y', 0] {
                    word(out, u64::from(byte));
                }
            }
            Shape::CharsFixed { length } => {
                for index in 0..*length {
                    word(out, if index == 0 { 65 } else { 0 });
                }
            }
            Shape::Params { .. } => {
                word(out, 2);
                for (kind, bytes) in [(4, 8), (1, 4)] {
                    word(out, 4);
                    out.extend_from_slice(b"name");
                    word(out, kind);
                    out.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8][..bytes]);
                }
            }
            Shape::Optional(inner) => {
                let there = noise.below(2);
                word(out, there);
                if there == 1 {
                    value(inner, noise, out);
                }
            }
            Shape::List { of, .. } => {
                let length = noise.below(4);
                word(out, length);
                for _ in 0..length {
                    value(of, noise, out);
                }
            }
            Shape::Struct { fields, .. } => {
                for (_, shape) in *fields {
                    value(shape, noise, out);
                }
            }
        }
    }

    /// Every message of the protocol with its shape and its codec.
    fn messages() -> Vec<(usize, u8, &'static Shape, crate::protocol::wire::Recode)> {
        let mut all = Vec::new();
        for (index, (program, number, args, reply)) in recode_table().iter().enumerate() {
            let procedure = table::procedure(*program, *number).unwrap();
            for (side, shape, recode) in [(0, procedure.args, args), (1, procedure.reply, reply)] {
                assert_eq!(shape.is_some(), recode.is_some(), "{}", procedure.name);
                if let (Some(shape), Some(recode)) = (shape, recode) {
                    all.push((index, side, shape, *recode));
                }
            }
        }
        all
    }

    #[test]
    fn every_message_survives_its_codec() {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let messages = messages();
        assert!(messages.len() > 650, "{}", messages.len());
        for (index, _, shape, recode) in messages {
            for _ in 0..8 {
                let mut bytes = Vec::new();
                value(shape, &mut noise, &mut bytes);
                assert!(bytes.len() >= shape.min_size());
                assert_eq!(recode(&bytes).unwrap(), bytes, "row {index}");
                assert!(shape.check(&bytes).is_ok());
                bytes.extend_from_slice(&[0; 4]);
                assert!(recode(&bytes).is_err(), "bytes behind the end, row {index}");
                assert!(shape.check(&bytes).is_err());
            }
        }
    }

    #[test]
    fn every_message_is_refused_in_good_order_when_it_is_damaged() {
        let mut noise = Noise(42);
        for (index, side, shape, recode) in messages() {
            for _ in 0..4 {
                let mut bytes = Vec::new();
                value(shape, &mut noise, &mut bytes);
                for cut in (0..bytes.len()).step_by(4).take(40) {
                    assert!(recode(&bytes[..cut]).is_err(), "row {index} cut at {cut}");
                }
                for _ in 0..16 {
                    let mut damaged = (index as u16).to_be_bytes().to_vec();
                    damaged.push(side);
                    damaged.extend_from_slice(&bytes);
                    let length = damaged.len() as u64 - 3;
                    if length > 0 {
                        let at = 3 + noise.below(length) as usize;
                        damaged[at] = noise.next() as u8;
                    }
                    fuzz_messages(&damaged);
                }
            }
        }
    }

    #[test]
    fn seeds_pass() {
        let ping = crate::rpc::keepalive::ping().unwrap();
        let call = PacketWriter::new(&crate::rpc::Header::call(0x2000_8086, 1, 16, 3))
            .finish_with(b"\0\0\0\x01web\0")
            .unwrap();
        let error = virt_util::xdr::XdrEncode::to_xdr(&crate::rpc::error::ErrorMessage::from(
            &virt_util::VirtError::internal("x"),
        ))
        .unwrap();
        let both = [&ping[..], &call[..]].concat();
        for seed in [&b""[..], &ping, &call, &both, &error, &[0xff; 64], &[0; 64]] {
            for (_, target) in TARGETS {
                for cut in 0..=seed.len() {
                    target(&seed[..cut]);
                }
            }
        }
    }
}
