//! What a driver's process and its daemon say to each other beside libvirt's protocol: packets like those, of a program
//! of our own, over a socket that the process is started with.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use virt_api::rpc::{Header, Packet, PacketReader, PacketWriter};
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};
use virt_util::{Result, VirtError};

/// The program's number.
pub(super) const PROGRAM: u32 = 0x4665_7274;
/// The program's version: both sides are the same program.
pub(super) const VERSION: u32 = 1;
/// The longest word in a packet.
const WORD_MAX: usize = 64 * 1024;

/// Questions of the driver's process, each with an answer.
pub(super) mod ask {
    /// It is there. Answers whether access is checked, and the host's UUID.
    pub const HELLO: i32 = 1;
    /// Whether somebody may do something: identity, permission, kind of object, attributes. Answers 0 or 1.
    pub const CHECK: i32 = 2;
    /// Takes what only one may have: kind, key, owner.
    pub const CLAIM: i32 = 3;
    /// Gives that back.
    pub const RELEASE: i32 = 4;
    /// What is held of a kind: key and owner in turns.
    pub const CLAIMS: i32 = 5;
    /// Whether there is something for which the daemon has to stay.
    pub const INHIBIT: i32 = 6;
    /// A record for the audit trail.
    pub const AUDIT: i32 = 7;
    /// The driver is up: what one before it held and this one did not take again is free.
    pub const READY: i32 = 8;
    /// What [`super::tell::STOP`] asks for is done.
    pub const STOPPED: i32 = 9;
}

/// What the daemon says; nothing is answered.
pub(super) mod tell {
    /// Whether access is checked from now on: 0 or 1.
    pub const ENFORCED: i32 = 1;
    /// Read the configuration again.
    pub const RELOAD: i32 = 2;
    /// Save what would be lost.
    pub const STOP: i32 = 3;
    /// Say that you live; the process says the same back.
    pub const ALIVE: i32 = 4;
}

/// One end of the socket. Whoever reads is one thread; everybody may write.
pub(super) struct Talk {
    stream: UnixStream,
    /// Held while a packet is written.
    writing: Mutex<()>,
}

impl Talk {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            writing: Mutex::new(()),
        }
    }

    pub(super) fn send(&self, header: &Header, payload: &[u8]) -> Result<()> {
        let packet = PacketWriter::new(header).finish_with(payload)?;
        let _writing = self.writing.lock();
        (&self.stream)
            .write_all(&packet)
            .map_err(|error| VirtError::io(&error, "the other process does not listen"))
    }

    /// Says something that is not answered.
    pub(super) fn tell(&self, what: i32, payload: &[u8]) -> Result<()> {
        self.send(&Header::event(PROGRAM, VERSION, what), payload)
    }

    /// Gives every packet to `take`, until the end. For one thread.
    pub(super) fn listen(&self, mut take: impl FnMut(Packet)) -> Result<()> {
        let mut reader = PacketReader::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = match (&self.stream).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(VirtError::io(&error, "the other process cannot be heard")),
            };
            let mut bytes = buffer.get(..count).unwrap_or_default();
            while let Some(packet) = reader.feed(&mut bytes)? {
                take(packet);
            }
        }
    }

    /// Ends the conversation.
    pub(super) fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// The words and parameters of a packet, in the order in which both sides know them.
#[derive(Default)]
pub(super) struct Words(XdrEncoder);

impl Words {
    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.u32(number);
        self
    }

    pub(super) fn word(mut self, word: &str) -> Result<Self> {
        self.0.string(word, WORD_MAX)?;
        Ok(self)
    }

    pub(super) fn params(mut self, params: &TypedParams) -> Result<Self> {
        params.encode(&mut self.0)?;
        Ok(self)
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// The other way round.
pub(super) struct Reading<'a>(XdrDecoder<'a>);

impl<'a> Reading<'a> {
    pub(super) fn of(payload: &'a [u8]) -> Self {
        Self(XdrDecoder::new(payload))
    }

    pub(super) fn number(&mut self) -> Result<u32> {
        self.0.u32()
    }

    pub(super) fn word(&mut self) -> Result<&'a str> {
        self.0.string(WORD_MAX)
    }

    pub(super) fn params(&mut self) -> Result<TypedParams> {
        TypedParams::decode(&mut self.0)
    }
}
