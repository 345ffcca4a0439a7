//! A client that is nothing but packets: for more connections and more calls than a library would make.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use virt_api::call::PROGRAM_REMOTE;
use virt_api::protocol::remote::{ConnectOpenArgs, procedure};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, MessageType, Packet, PacketReader, PacketWriter, Status};
use virt_util::xdr::{XdrDecode, XdrEncode};

/// Longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection.
pub struct Wire {
    socket: UnixStream,
    reader: PacketReader,
    buffer: Vec<u8>,
    /// Bytes that were read and not yet understood.
    rest: Vec<u8>,
    serial: u32,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn connect(socket: &Path) -> std::io::Result<Self> {
        Self::over(UnixStream::connect(socket)?)
    }

    /// A client whose bytes go through this socket, whoever is at its other end.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn over(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        Ok(Self {
            socket,
            reader: PacketReader::new(),
            buffer: vec![0; 4096],
            rest: Vec::new(),
            serial: 0,
        })
    }

    /// Connects, and opens `uri`.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn open(socket: &Path, uri: &str) -> Self {
        Self::try_open(socket, uri).unwrap_or_else(|error| panic!("opening {uri}: {error}"))
    }

    /// [`Wire::open`] with a daemon that may end meanwhile.
    ///
    /// # Errors
    /// Those of the socket, and that the daemon refuses.
    pub fn try_open(socket: &Path, uri: &str) -> std::io::Result<Self> {
        let mut wire = Self::connect(socket)?;
        wire.begin(uri)?;
        Ok(wire)
    }

    /// Opens `uri` on a connection.
    ///
    /// # Errors
    /// Those of the socket, and that the daemon refuses.
    pub fn begin(&mut self, uri: &str) -> std::io::Result<()> {
        self.begin_with(uri, 0)
    }

    /// Opens `uri` on a connection with these flags.
    ///
    /// # Errors
    /// Those of the socket, and that the daemon refuses.
    pub fn begin_with(&mut self, uri: &str, flags: u32) -> std::io::Result<()> {
        let args = ConnectOpenArgs {
            name: Some(uri.to_owned()),
            flags,
        };
        let args = args.to_xdr().map_err(std::io::Error::other)?;
        for (procedure, args) in [(procedure::AUTH_LIST, &[][..]), (procedure::CONNECT_OPEN, &args)] {
            self.send(procedure, args)?;
            let reply = self.receive()?;
            if reply.header.status != Status::Ok {
                return Err(std::io::Error::other(format!(
                    "{:?}",
                    ErrorMessage::from_xdr(&reply.payload)
                )));
            }
        }
        Ok(())
    }

    /// The socket.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Sends a call without waiting for its answer. Its serial number.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, procedure: u32, args: &[u8]) -> std::io::Result<u32> {
        self.send_to(PROGRAM_REMOTE, procedure, args)
    }

    /// [`Wire::send`] with another program's procedure.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send_to(&mut self, program: u32, procedure: u32, args: &[u8]) -> std::io::Result<u32> {
        self.serial += 1;
        let header = Header::call(program, 1, procedure.cast_signed(), self.serial);
        let packet = PacketWriter::new(&header)
            .finish_with(args)
            .map_err(std::io::Error::other)?;
        self.socket.write_all(&packet)?;
        Ok(self.serial)
    }

    /// The next answer; events and pings are passed over.
    ///
    /// # Errors
    /// Those of the socket, and its end.
    pub fn receive(&mut self) -> std::io::Result<Packet> {
        loop {
            let mut input = self.rest.as_slice();
            let packet = self.reader.feed(&mut input).map_err(std::io::Error::other)?;
            self.rest = input.to_vec();
            if let Some(packet) = packet {
                if packet.header.kind == MessageType::Reply {
                    return Ok(packet);
                }
                continue;
            }
            let count = self.socket.read(&mut self.buffer)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.rest.extend_from_slice(&self.buffer[..count]);
        }
    }

    /// Sends a call with these arguments, which must succeed, and gives the bytes of its answer.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn tell(&mut self, procedure: u32, args: &impl XdrEncode) -> Vec<u8> {
        let reply = self.call(procedure, &args.to_xdr().expect("arguments are encoded"));
        assert_eq!(
            reply.header.status,
            Status::Ok,
            "procedure {procedure}: {:?}",
            ErrorMessage::from_xdr(&reply.payload)
        );
        reply.payload.to_vec()
    }

    /// [`Wire::tell`], with the answer understood.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ask<R: XdrDecode>(&mut self, procedure: u32, args: &impl XdrEncode) -> R {
        R::from_xdr(&self.tell(procedure, args)).expect("the answer is understood")
    }

    /// Sends a call and waits for its answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn call(&mut self, procedure: u32, args: &[u8]) -> Packet {
        let serial = self.send(procedure, args).expect("the call is sent");
        loop {
            let packet = self.receive().expect("the call is answered");
            if packet.header.serial == serial {
                return packet;
            }
        }
    }
}
