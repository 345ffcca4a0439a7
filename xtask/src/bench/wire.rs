//! A client of libvirt's protocol that is nothing but packets, so that what is measured is the daemon.

use crate::task::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The program that all rows call.
const REMOTE: u32 = 0x2000_8086;
/// The size of length word and header.
const HEAD: usize = 28;
/// The most data that libvirt puts into one packet of a stream.
pub(super) const CHUNK: usize = 262_120;

/// Kinds of packets.
const REPLY: u32 = 1;
const STREAM: u32 = 3;

/// Procedures that rows call.
pub(super) mod procedure {
    pub const CONNECT_OPEN: u32 = 1;
    pub const CONNECT_CLOSE: u32 = 2;
    pub const CONNECT_GET_TYPE: u32 = 3;
    pub const CONNECT_SUPPORTS_FEATURE: u32 = 60;
    pub const AUTH_LIST: u32 = 66;
    pub const CONNECT_GET_URI: u32 = 110;
    pub const CONNECT_LIST_ALL_DOMAINS: u32 = 273;
    pub const CONNECT_GET_ALL_DOMAIN_STATS: u32 = 344;
    pub const DOMAIN_LOOKUP_BY_NAME: u32 = 23;
    pub const DOMAIN_GET_INFO: u32 = 16;
    pub const DOMAIN_CREATE_XML: u32 = 10;
    pub const DOMAIN_OPEN_CHANNEL: u32 = 296;
    pub const DOMAIN_MEMORY_STATS: u32 = 159;
    pub const STORAGE_POOL_CREATE_XML: u32 = 76;
    pub const STORAGE_POOL_LOOKUP_BY_NAME: u32 = 84;
    pub const STORAGE_POOL_DESTROY: u32 = 80;
    pub const STORAGE_VOL_LOOKUP_BY_PATH: u32 = 97;
    pub const STORAGE_VOL_UPLOAD: u32 = 208;
    pub const STORAGE_VOL_DOWNLOAD: u32 = 209;
}

/// A connection.
pub(super) struct Wire {
    socket: UnixStream,
    serial: u32,
    buffer: Vec<u8>,
    /// Where the system puts what it has read; made once, for a debug build takes longer to clear it than a call takes.
    scratch: Vec<u8>,
}

/// What a call was answered with.
pub(super) struct Answer {
    /// Whether it is a result rather than an error.
    pub(super) well: bool,
    pub(super) payload: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let socket = UnixStream::connect(socket).context(|| socket.display().to_string())?;
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&socket, Some(Duration::from_secs(60))).context(|| "a socket's patience".to_owned())?;
        }
        Ok(Self {
            socket,
            serial: 0,
            buffer: Vec::new(),
            scratch: vec![0; 65_536],
        })
    }

    /// Connects and opens, one step after the other.
    pub(super) fn open(socket: &Path, uri: &str) -> Result<Self> {
        let mut wire = Self::connect(socket)?;
        wire.ask(procedure::AUTH_LIST, &[])?;
        wire.ask(procedure::CONNECT_OPEN, &open_args(uri))?;
        Ok(wire)
    }

    /// Gives up on answers that take longer.
    pub(super) fn patience(&self, limit: Duration) -> Result<()> {
        self.socket
            .set_read_timeout(Some(limit))
            .context(|| "a socket's patience".to_owned())
    }

    /// Gives the socket room for several packets of what is sent, as our client does for a stream.
    pub(super) fn widen(&self) -> Result<()> {
        const ROOM: usize = 1 << 20;
        setsockopt(&self.socket, sockopt::SndBufForce, &ROOM)
            .or_else(|_| setsockopt(&self.socket, sockopt::SndBuf, &ROOM))
            .context(|| "the size of a socket's buffer".to_owned())
    }

    /// Puts a call behind those that wait to be sent.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, procedure: u32, args: &[u8]) {
        self.serial += 1;
        let length = u32::try_from(HEAD + args.len()).unwrap_or(u32::MAX);
        for word in [length, REMOTE, 1, procedure, 0, self.serial, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(args);
    }

    /// Sends what was pushed.
    pub(super) fn send(&mut self, out: &[u8]) -> Result<()> {
        self.socket.write_all(out).context(|| "sending".to_owned())
    }

    /// The next answer.
    pub(super) fn receive(&mut self) -> Result<Answer> {
        self.receive_one(REPLY)
    }

    /// The next packet of a kind; keepalive, events and whatever else are passed over.
    fn receive_one(&mut self, kind: u32) -> Result<Answer> {
        loop {
            if let Some((length, _)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length < HEAD {
                    return Err("the daemon sent a packet without a header".into());
                }
                if self.buffer.len() >= length {
                    let rest = self.buffer.split_off(length);
                    let packet = std::mem::replace(&mut self.buffer, rest);
                    let word = |at: usize| {
                        packet
                            .get(at..at + 4)
                            .and_then(|bytes| bytes.try_into().ok())
                            .map_or(0, u32::from_be_bytes)
                    };
                    if word(16) == kind {
                        return Ok(Answer {
                            well: word(24) == 0,
                            payload: packet.get(HEAD..).unwrap_or_default().to_vec(),
                        });
                    }
                    continue;
                }
            }
            let count = self
                .socket
                .read(&mut self.scratch)
                .context(|| "receiving".to_owned())?;
            if count == 0 {
                return Err("the daemon hung up".into());
            }
            self.buffer
                .extend_from_slice(self.scratch.get(..count).unwrap_or_default());
        }
    }

    /// Calls and waits.
    pub(super) fn call(&mut self, procedure: u32, args: &[u8]) -> Result<Answer> {
        let mut out = Vec::with_capacity(HEAD + args.len());
        self.push(&mut out, procedure, args);
        self.send(&out)?;
        self.receive()
    }

    /// Sends `total` bytes on the stream that the last call, of `procedure`, has opened.
    pub(super) fn send_stream(&mut self, procedure: u32, total: usize) -> Result<()> {
        let mut packet = Vec::with_capacity(HEAD + CHUNK);
        let length = u32::try_from(HEAD + CHUNK).unwrap_or(u32::MAX);
        // Status 2 says that it goes on.
        for word in [length, REMOTE, 1, procedure, STREAM, self.serial, 2] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet.resize(HEAD + CHUNK, 0x5a);
        for _ in 0..total.div_ceil(CHUNK) {
            self.send(&packet)?;
        }
        Ok(())
    }

    /// Ends a stream of what is sent, and waits for the other side to have all of it.
    pub(super) fn finish_stream(&mut self, procedure: u32) -> Result<()> {
        let length = u32::try_from(HEAD).unwrap_or(u32::MAX);
        self.send(&words(&[length, REMOTE, 1, procedure, STREAM, self.serial, 0]))?;
        match self.receive_one(STREAM)? {
            Answer { well: true, .. } => Ok(()),
            answer => Err(format!("the stream failed: {}", error_text(&answer.payload)).into()),
        }
    }

    /// Reads packets of a stream until they have brought `total` bytes.
    pub(super) fn receive_stream(&mut self, total: usize) -> Result<()> {
        let mut chunk = vec![0; 1 << 20];
        let before = std::mem::take(&mut self.buffer);
        let mut bytes = before.as_slice();
        let mut head = Vec::with_capacity(HEAD);
        // Of the packet that is being read: bytes left, and whether they are data.
        let (mut left, mut is_data) = (0, false);
        let mut got = 0;
        loop {
            while !bytes.is_empty() {
                let (part, rest) = match left {
                    0 => bytes.split_at((HEAD - head.len()).min(bytes.len())),
                    left => bytes.split_at(left.min(bytes.len())),
                };
                bytes = rest;
                if left > 0 {
                    left -= part.len();
                    got += if is_data { part.len() } else { 0 };
                    continue;
                }
                head.extend_from_slice(part);
                if head.len() == HEAD {
                    let word = |at: usize| {
                        head.get(at..at + 4)
                            .and_then(|bytes| bytes.try_into().ok())
                            .map_or(0, u32::from_be_bytes)
                    };
                    left = (word(0) as usize).saturating_sub(HEAD);
                    is_data = word(16) == STREAM;
                    if is_data && word(24) == 1 {
                        return Err("the stream failed".into());
                    }
                    head.clear();
                }
            }
            if got >= total {
                return Ok(());
            }
            let count = self.socket.read(&mut chunk).context(|| "receiving".to_owned())?;
            if count == 0 {
                return Err("the daemon hung up".into());
            }
            bytes = chunk.get(..count).unwrap_or_default();
        }
    }

    /// Calls and waits for a result.
    pub(super) fn ask(&mut self, procedure: u32, args: &[u8]) -> Result<Vec<u8>> {
        let answer = self.call(procedure, args)?;
        if answer.well {
            return Ok(answer.payload);
        }
        Err(format!("call {procedure} failed: {}", error_text(&answer.payload)).into())
    }
}

/// The message in an error.
fn error_text(payload: &[u8]) -> String {
    // Code, domain, and an optional message: a flag, a length, the bytes.
    let word = |at: usize| {
        payload
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_be_bytes) as usize
    };
    match word(8) {
        1 => String::from_utf8_lossy(payload.get(16..16 + word(12)).unwrap_or_default()).into_owned(),
        _ => "no message".to_owned(),
    }
}

/// A text in XDR.
pub(super) fn text(text: &str) -> Vec<u8> {
    let mut out = u32::try_from(text.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Numbers in XDR.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The arguments of an open.
pub(super) fn open_args(uri: &str) -> Vec<u8> {
    [words(&[1]), text(uri), words(&[0])].concat()
}
