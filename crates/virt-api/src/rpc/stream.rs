//! What packets of a stream say, and how to say it.
//!
//! A stream is known by the head of the call that opened it. Data is not acknowledged; a client finishes or aborts a
//! stream and waits for the server's confirmation; the end of the server's data is an empty packet that goes on.

use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};
use virt_util::{Result, VirtError};

use super::error::ErrorMessage;
use super::packet::rpc;
use super::{Header, LEGACY_PAYLOAD_MAX, MessageType, Packet, PacketWriter, Status};

/// The most data that is sent in one packet, so that peers of any age take it.
pub const CHUNK_MAX: usize = LEGACY_PAYLOAD_MAX;

/// What a packet of a stream says.
#[derive(Debug)]
pub enum StreamPacket {
    /// Bytes.
    Data(Vec<u8>),
    /// The other side will send no more data.
    EndOfData,
    /// So many bytes of zero; only on streams opened for holes.
    Hole(u64),
    /// The client finishes, or the server confirms that.
    Finish,
    /// The client aborts.
    Abort,
    /// The stream has failed.
    Failed(Box<VirtError>),
}

impl StreamPacket {
    /// What `packet` says. Fails for packets of other types and for holes that make no sense.
    pub fn read(packet: Packet) -> Result<Self> {
        match (packet.header.kind, packet.header.status) {
            (MessageType::Stream, Status::Continue) if packet.payload.is_empty() => Ok(Self::EndOfData),
            (MessageType::Stream, Status::Continue) => Ok(Self::Data(packet.payload)),
            (MessageType::Stream, Status::Ok) => Ok(Self::Finish),
            (MessageType::Stream, Status::Error) if packet.payload.is_empty() => Ok(Self::Abort),
            (MessageType::Stream, Status::Error) => Ok(Self::Failed(Box::new(
                ErrorMessage::from_xdr(&packet.payload)?.into_error(),
            ))),
            (MessageType::StreamHole, Status::Continue) => read_hole(&packet.payload).map(Self::Hole),
            (kind, status) => Err(rpc(format_args!(
                "a packet of type {kind:?} and status {status:?} says nothing about a stream"
            ))),
        }
    }
}

fn read_hole(payload: &[u8]) -> Result<u64> {
    let mut input = XdrDecoder::new(payload);
    let (length, flags) = (input.i64()?, input.u32()?);
    input.finish()?;
    if flags != 0 {
        return Err(rpc(format_args!("flags {flags:#x} of a hole are unknown")));
    }
    match u64::try_from(length) {
        Ok(length @ 1..) => Ok(length),
        _ => Err(rpc(format_args!("a hole of {length} bytes, at least 1 expected"))),
    }
}

/// Packets to send on the stream that the call `opened` opened.
#[derive(Clone, Copy, Debug)]
pub struct StreamWriter {
    opened: Header,
}

impl StreamWriter {
    /// For the stream of that call.
    pub fn new(opened: Header) -> Self {
        Self { opened }
    }

    /// The first of `data` as a packet, and how many bytes went into it: at most [`CHUNK_MAX`]. Empty data would end
    /// the stream and is refused.
    pub fn data(&self, data: &[u8]) -> Result<(Vec<u8>, usize)> {
        if data.is_empty() {
            return Err(rpc("an empty packet of data would end the stream"));
        }
        let chunk = data.get(..data.len().min(CHUNK_MAX)).unwrap_or_default();
        let packet = PacketWriter::new(&self.opened.stream(Status::Continue)).finish_with(chunk)?;
        Ok((packet, chunk.len()))
    }

    /// The head of a packet of `length` bytes of data, which the caller sends behind it; at least 1, at most [`CHUNK_MAX`].
    pub fn data_head(&self, length: usize) -> Result<Vec<u8>> {
        if length == 0 || length > CHUNK_MAX {
            return Err(rpc(format_args!(
                "a packet of data has 1 to {CHUNK_MAX} bytes, not {length}"
            )));
        }
        PacketWriter::new(&self.opened.stream(Status::Continue)).finish_before(length)
    }

    /// Says that no more data comes.
    pub fn end_of_data(&self) -> Result<Vec<u8>> {
        PacketWriter::new(&self.opened.stream(Status::Continue)).finish()
    }

    /// A hole of `length` bytes, more than 0.
    pub fn hole(&self, length: u64) -> Result<Vec<u8>> {
        let wire = match i64::try_from(length) {
            Ok(wire @ 1..) => wire,
            _ => return Err(rpc(format_args!("a hole of {length} bytes cannot be sent"))),
        };
        let mut packet = PacketWriter::new(&self.opened.hole());
        packet.payload().i64(wire);
        packet.payload().u32(0);
        packet.finish()
    }

    /// Finishes, or confirms that.
    pub fn finish(&self) -> Result<Vec<u8>> {
        PacketWriter::new(&self.opened.stream(Status::Ok)).finish()
    }

    /// Aborts, as clients do.
    pub fn abort(&self) -> Result<Vec<u8>> {
        PacketWriter::new(&self.opened.stream(Status::Error)).finish()
    }

    /// Tells why the stream failed, as servers do.
    pub fn failed(&self, error: &VirtError) -> Result<Vec<u8>> {
        let mut packet = PacketWriter::new(&self.opened.stream(Status::Error));
        encode_into(&ErrorMessage::from(error), packet.payload())?;
        packet.finish()
    }
}

fn encode_into(message: &impl XdrEncode, out: &mut XdrEncoder) -> Result<()> {
    message.encode(out)
}

#[cfg(test)]
mod tests {
    use super::super::PacketReader;
    use super::*;
    use virt_util::ErrorCode;

    fn read(bytes: &[u8]) -> StreamPacket {
        let packet = PacketReader::new().feed(&mut &bytes[..]).unwrap().unwrap();
        StreamPacket::read(packet).unwrap()
    }

    #[test]
    fn what_is_said_is_understood() {
        let stream = StreamWriter::new(Header::call(0x2000_8086, 1, 201, 5));
        let (packet, length) = stream.data(&vec![1; CHUNK_MAX + 1]).unwrap();
        assert_eq!(length, CHUNK_MAX);
        assert!(matches!(read(&packet), StreamPacket::Data(data) if data.len() == CHUNK_MAX));
        assert!(matches!(
            read(&stream.end_of_data().unwrap()),
            StreamPacket::EndOfData
        ));
        assert!(matches!(read(&stream.hole(7).unwrap()), StreamPacket::Hole(7)));
        assert!(matches!(read(&stream.finish().unwrap()), StreamPacket::Finish));
        assert!(matches!(read(&stream.abort().unwrap()), StreamPacket::Abort));
        let error = VirtError::new(ErrorCode::OPERATION_FAILED, "the disk is gone");
        let StreamPacket::Failed(told) = read(&stream.failed(&error).unwrap()) else {
            panic!("an error was sent");
        };
        assert_eq!(told.to_string(), error.to_string());
    }

    #[test]
    fn holes_that_make_no_sense_are_refused() {
        let stream = StreamWriter::new(Header::call(0x2000_8086, 1, 208, 5));
        assert!(stream.hole(0).is_err());
        assert!(stream.hole(u64::MAX).is_err());
        assert!(stream.data(&[]).is_err());
        for (length, flags) in [(0i64, 0u32), (-1, 0), (5, 1)] {
            let mut packet = PacketWriter::new(&Header::call(1, 1, 1, 1).hole());
            packet.payload().i64(length);
            packet.payload().u32(flags);
            let bytes = packet.finish().unwrap();
            let packet = PacketReader::new().feed(&mut &bytes[..]).unwrap().unwrap();
            assert!(StreamPacket::read(packet).is_err());
        }
    }
}
