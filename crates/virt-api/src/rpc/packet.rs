//! Packets and how they are written.

use std::os::fd::OwnedFd;

use virt_util::xdr::{XdrDecoder, XdrEncoder};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{FDS_MAX, HEADER_SIZE, LENGTH_SIZE, PACKET_MAX};

/// What kind of packet it is: libvirt's `virNetMessageType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum MessageType {
    /// A client asks.
    Call = 0,
    /// The answer to a call.
    Reply = 1,
    /// An event or keepalive: nobody answers.
    Message = 2,
    /// Data of a stream, or its end.
    Stream = 3,
    /// A call with descriptors.
    CallWithFds = 4,
    /// An answer with descriptors.
    ReplyWithFds = 5,
    /// A hole in a stream.
    StreamHole = 6,
}

impl MessageType {
    /// The type of that number.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Call,
            1 => Self::Reply,
            2 => Self::Message,
            3 => Self::Stream,
            4 => Self::CallWithFds,
            5 => Self::ReplyWithFds,
            6 => Self::StreamHole,
            _ => return None,
        })
    }

    /// Whether a count of descriptors follows the header.
    pub fn has_fds(self) -> bool {
        matches!(self, Self::CallWithFds | Self::ReplyWithFds)
    }
}

/// How it goes: libvirt's `virNetMessageStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Well, or: the stream is finished.
    Ok = 0,
    /// Badly, or: the stream is aborted.
    Error = 1,
    /// The stream goes on.
    Continue = 2,
}

impl Status {
    /// The status of that number.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Ok,
            1 => Self::Error,
            2 => Self::Continue,
            _ => return None,
        })
    }
}

/// The head of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The program's number.
    pub program: u32,
    /// The program's version.
    pub version: u32,
    /// The procedure's number.
    pub procedure: i32,
    /// The kind of packet.
    pub kind: MessageType,
    /// What pairs answers and streams with their calls; events carry 1 from stock daemons, keepalive 0.
    pub serial: u32,
    /// How it goes.
    pub status: Status,
}

impl Header {
    /// The head of a call.
    pub fn call(program: u32, version: u32, procedure: i32, serial: u32) -> Self {
        Self {
            program,
            version,
            procedure,
            kind: MessageType::Call,
            serial,
            status: Status::Ok,
        }
    }

    /// The head of an event.
    pub fn event(program: u32, version: u32, procedure: i32) -> Self {
        Self {
            kind: MessageType::Message,
            serial: 1,
            ..Self::call(program, version, procedure, 1)
        }
    }

    /// The head of the answer to the call with this head.
    #[must_use]
    pub fn reply(self, status: Status) -> Self {
        Self {
            kind: MessageType::Reply,
            status,
            ..self
        }
    }

    /// The head of a packet of the stream that the call with this head opened.
    #[must_use]
    pub fn stream(self, status: Status) -> Self {
        Self {
            kind: MessageType::Stream,
            status,
            ..self
        }
    }

    /// The head of a hole of the stream that the call with this head opened.
    #[must_use]
    pub fn hole(self) -> Self {
        Self {
            kind: MessageType::StreamHole,
            status: Status::Continue,
            ..self
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut XdrEncoder) {
        out.u32(self.program);
        out.u32(self.version);
        out.i32(self.procedure);
        out.i32(self.kind as i32);
        out.u32(self.serial);
        out.i32(self.status as i32);
    }

    /// Reads it. What is no header ends the connection: nothing behind it can be understood.
    pub fn decode(input: &mut XdrDecoder<'_>) -> Result<Self> {
        Ok(Self {
            program: input.u32()?,
            version: input.u32()?,
            procedure: input.i32()?,
            kind: {
                let number = input.i32()?;
                MessageType::from_number(number)
                    .ok_or_else(|| rpc(format_args!("message type {number}, 0 to 6 expected")))?
            },
            serial: input.u32()?,
            status: {
                let number = input.i32()?;
                Status::from_number(number)
                    .ok_or_else(|| rpc(format_args!("message status {number}, 0 to 2 expected")))?
            },
        })
    }

    /// Whether two packets belong to the same call.
    pub fn same_call(&self, other: &Self) -> bool {
        self.program == other.program
            && self.version == other.version
            && self.procedure == other.procedure
            && self.serial == other.serial
    }
}

/// A packet that arrived.
#[derive(Debug)]
pub struct Packet {
    /// Its head.
    pub header: Header,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Makes a packet to send; the payload is encoded in place.
///
/// ```
/// use virt_api::rpc::{Header, PacketWriter};
///
/// let mut packet = PacketWriter::new(&Header::call(0x2000_8086, 1, 1, 0));
/// packet.payload().u32(7);
/// assert_eq!(packet.finish().unwrap().len(), 4 + 24 + 4);
/// ```
#[derive(Debug)]
pub struct PacketWriter {
    out: XdrEncoder,
}

impl PacketWriter {
    /// A packet without descriptors.
    pub fn new(header: &Header) -> Self {
        let mut out = XdrEncoder::with_buffer(Vec::with_capacity(128));
        out.u32(0);
        header.encode(&mut out);
        Self { out }
    }

    /// A packet behind which `count` descriptors will be sent. Calls and answers become the type that counts them.
    /// Fails above [`FDS_MAX`].
    pub fn with_fds(header: &Header, count: usize) -> Result<Self> {
        let kind = match header.kind {
            MessageType::Call | MessageType::CallWithFds => MessageType::CallWithFds,
            MessageType::Reply | MessageType::ReplyWithFds => MessageType::ReplyWithFds,
            other => {
                return Err(rpc(format_args!(
                    "a packet of type {other:?} carries no file descriptors"
                )));
            }
        };
        let wire = u32::try_from(count)
            .ok()
            .filter(|_| count <= FDS_MAX)
            .ok_or_else(|| {
                rpc(format_args!(
                    "{count} file descriptors, at most {FDS_MAX} fit in a packet"
                ))
            })?;
        let mut writer = Self::new(&Header { kind, ..*header });
        writer.out.u32(wire);
        Ok(writer)
    }

    /// Where the payload goes.
    pub fn payload(&mut self) -> &mut XdrEncoder {
        &mut self.out
    }

    /// The bytes of the packet, descriptors not included. Fails above [`PACKET_MAX`].
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut bytes = self.out.into_bytes();
        patch_length(&mut bytes)?;
        Ok(bytes)
    }

    /// [`PacketWriter::finish`] with a payload that exists already and is taken as it is.
    pub fn finish_with(self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = self.out.into_bytes();
        bytes.extend_from_slice(payload);
        patch_length(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of the packet up to a payload of `payload` bytes, which the caller sends behind it.
    pub fn finish_before(self, payload: usize) -> Result<Vec<u8>> {
        let mut bytes = self.out.into_bytes();
        let length = bytes.len().saturating_add(payload);
        put_length(&mut bytes, length)?;
        Ok(bytes)
    }
}

fn patch_length(bytes: &mut [u8]) -> Result<()> {
    let length = bytes.len();
    put_length(bytes, length)
}

fn put_length(bytes: &mut [u8], length: usize) -> Result<()> {
    match (u32::try_from(length), bytes.first_chunk_mut::<LENGTH_SIZE>()) {
        (Ok(wire), Some(word)) if length <= PACKET_MAX + LENGTH_SIZE => {
            *word = wire.to_be_bytes();
            Ok(())
        }
        _ => Err(rpc(format_args!(
            "a packet of {length} bytes is too large, at most {} can be sent",
            PACKET_MAX + LENGTH_SIZE
        ))),
    }
}

/// The smallest length word that can be understood.
pub(super) const LENGTH_MIN: usize = LENGTH_SIZE + HEADER_SIZE;

pub(super) fn rpc(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::RPC, detail).in_domain(ErrorDomain::RPC)
}
