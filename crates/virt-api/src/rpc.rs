//! libvirt's RPC packets without any I/O: the only copy, for whoever has a socket.
//!
//! A packet is a length word (which counts itself), six words of [`Header`], for some types a count of descriptors,
//! and a payload. [`PacketReader`] turns bytes as they arrive into [`Packet`]s, [`PacketWriter`] makes bytes to send;
//! [`stream`] tells what a packet of a stream says, [`error`] translates errors, [`keepalive`] decides when to ask
//! whether the other side still lives, [`hello`] tells a daemon of ours from libvirt's. Time and descriptors come in from outside, so that everything here can be
//! tested without waiting.
//!
//! Descriptors travel behind the packet that counts them: for each a byte of zero that carries it. A socket may
//! deliver it with bytes before, so the reader takes descriptors and bytes separately and pairs them by order.

pub mod error;
pub mod hello;
pub mod keepalive;
mod packet;
mod reader;
pub mod stream;

pub use packet::{Header, MessageType, Packet, PacketWriter, Status};
pub use reader::PacketReader;

/// The most that one packet may hold behind its length word.
pub const PACKET_MAX: usize = 33_554_432;
/// The size of a header.
pub const HEADER_SIZE: usize = 24;
/// The size of the length word.
pub const LENGTH_SIZE: usize = 4;
/// The most payload of a packet.
pub const PAYLOAD_MAX: usize = PACKET_MAX - HEADER_SIZE;
/// The most payload that peers before 1.0 take. Data of streams is still cut to it.
pub const LEGACY_PAYLOAD_MAX: usize = 262_120;
/// The most descriptors that one packet may carry.
pub const FDS_MAX: usize = 32;
