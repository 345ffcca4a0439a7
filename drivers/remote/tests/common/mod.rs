//! A daemon that does what a test says, packet by packet.
#![allow(dead_code, reason = "no test needs all of it")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use virt_api::ErrorCode;
use virt_api::call::PROGRAM_REMOTE;
use virt_api::protocol::remote::procedure;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, Packet, PacketReader, PacketWriter, Status};
use virt_util::VirtError;
use virt_util::xdr::{XdrEncode, XdrEncoder};

/// What the daemon does with one packet; an error ends the connection.
pub type Conduct = Arc<dyn Fn(&Packet, &mut dyn Write) -> std::io::Result<()> + Send + Sync>;

/// A packet of the kind that `header` says.
pub fn packet(header: Header, payload: &[u8]) -> Vec<u8> {
    PacketWriter::new(&header).finish_with(payload).expect("it fits")
}

/// The answer to a call.
pub fn answer(packet_: &Packet, payload: &[u8]) -> Vec<u8> {
    packet(packet_.header.reply(Status::Ok), payload)
}

/// The error of a daemon that does not know the procedure.
pub fn unknown(packet_: &Packet) -> Vec<u8> {
    let error = VirtError::new(ErrorCode::NO_SUPPORT, "unknown procedure");
    let error = ErrorMessage::from(&error).to_xdr().expect("it fits");
    packet(packet_.header.reply(Status::Error), &error)
}

/// What a daemon without authentication answers to the calls that open a connection; `None` for all others.
pub fn usual(call: &Packet) -> Option<Vec<u8>> {
    if call.header.program != PROGRAM_REMOTE {
        return Some(unknown(call));
    }
    let mut out = XdrEncoder::new();
    match u32::try_from(call.header.procedure).unwrap_or_default() {
        procedure::AUTH_LIST => {
            out.u32(1);
            out.u32(0);
        }
        procedure::CONNECT_OPEN | procedure::CONNECT_CLOSE => {}
        procedure::CONNECT_SUPPORTS_FEATURE => out.u32(1),
        procedure::CONNECT_GET_URI => out.string("test:///default", 100).expect("it fits"),
        _ => return None,
    }
    Some(answer(call, &out.into_bytes()))
}

fn attend(mut socket: impl Read + Write, conduct: &Conduct) {
    let mut reader = PacketReader::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = socket.read(&mut buffer) else {
            return;
        };
        let mut input = buffer.get(..count).expect("so many were read");
        while let Ok(Some(packet)) = reader.feed(&mut input) {
            if conduct(&packet, &mut socket).is_err() {
                return;
            }
        }
    }
}

/// A daemon on a free port of this host. Its threads end with its clients.
pub fn on_tcp(conduct: Conduct) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let conduct = Arc::clone(&conduct);
            std::thread::spawn(move || attend(socket, &conduct));
        }
    });
    port
}

/// A daemon on a socket.
pub fn on_unix(path: &Path, conduct: Conduct) {
    let listener = UnixListener::bind(path).expect("the folder can be written");
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let conduct = Arc::clone(&conduct);
            std::thread::spawn(move || attend(socket, &conduct));
        }
    });
}
