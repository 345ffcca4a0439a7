//! Clients that are not ours: programs of stock libvirt, and a relay that keeps what passes between them and a daemon.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A program of stock libvirt, in an environment that says nothing of ours.
pub fn stock(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("VIRT_DRIVER_DIR").env("LC_ALL", "C");
    command
}

/// A session of libvirt's Python binding that stands beside this crate, by the name of its file.
pub fn python(session: &str) -> Command {
    let mut command = stock("/usr/bin/python3");
    // What the sessions share is not to be compiled into their folder.
    command.arg("-B").arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("clients")
            .join(session),
    );
    command
}

/// The session of go-libvirt with the daemon on this socket and that driver behind it. What go compiles is kept in a
/// folder below `scratch`.
pub fn go(scratch: &Path, socket: &Path, uri: &str) -> Command {
    let mut command = Command::new("go");
    command
        .args(["run", "main.go"])
        .arg(socket)
        .arg(uri)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", scratch.join("go"));
    command
}

/// A socket between a client and a daemon that keeps what passes.
pub struct Relay {
    folder: tempfile::TempDir,
    heard: Arc<Mutex<Vec<Piece>>>,
}

/// Bytes in one direction.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which connection, in the order they came.
    pub connection: u16,
    /// Whether the client sent them.
    pub from_client: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Relay {
    /// A relay to the daemon's socket.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub fn to(socket: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("a socket");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (socket, all) = (socket.to_owned(), Arc::clone(&heard));
        std::thread::spawn(move || {
            for (connection, client) in (0_u16..).zip(listener.incoming()) {
                let (Ok(client), Ok(daemon)) = (client, UnixStream::connect(&socket)) else {
                    return;
                };
                for from_client in [true, false] {
                    let (mut from, mut to) = match from_client {
                        true => (
                            client.try_clone().expect("a socket"),
                            daemon.try_clone().expect("a socket"),
                        ),
                        false => (
                            daemon.try_clone().expect("a socket"),
                            client.try_clone().expect("a socket"),
                        ),
                    };
                    let heard = Arc::clone(&all);
                    std::thread::spawn(move || {
                        let mut buffer = vec![0; 65_536];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            let bytes = buffer[..count].to_vec();
                            heard.lock().expect("no panic").push(Piece {
                                connection,
                                from_client,
                                bytes,
                            });
                            if to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { folder, heard }
    }

    /// The socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// All that has passed, as a capture of TCP connections to libvirt's port.
    pub fn capture(&self) -> Vec<u8> {
        capture(&self.heard.lock().expect("no panic"))
    }
}

/// A capture file: each piece as TCP segments between made-up hosts, in order and without loss.
fn capture(pieces: &[Piece]) -> Vec<u8> {
    const SEGMENT: usize = 32_000;
    const PORT: u16 = 16_509;
    let mut file = Vec::new();
    // The classic format, microseconds, raw IP.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    let mut sequences = std::collections::HashMap::new();
    let mut time = 0_u32;
    for piece in pieces {
        for segment in piece.bytes.chunks(SEGMENT) {
            let client = (10_u8, 40_000 + piece.connection);
            let (from, to) = match piece.from_client {
                true => (client, (20, PORT)),
                false => ((20, PORT), client),
            };
            let acknowledged = *sequences
                .entry((piece.connection, !piece.from_client))
                .or_insert(1_u32);
            let sequence = sequences
                .entry((piece.connection, piece.from_client))
                .or_insert(1_u32);
            let length = 40 + segment.len();
            let mut packet = Vec::with_capacity(length);
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend_from_slice(&[127, 0, 0, from.0, 127, 0, 0, to.0]);
            packet.extend_from_slice(&from.1.to_be_bytes());
            packet.extend_from_slice(&to.1.to_be_bytes());
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&acknowledged.to_be_bytes());
            packet.extend_from_slice(&[0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            packet.extend_from_slice(segment);
            *sequence = sequence.wrapping_add(u32::try_from(segment.len()).unwrap_or(0));
            time += 1;
            let size = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            for word in [time / 1000, time % 1000 * 1000, size, size] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            file.extend_from_slice(&packet);
        }
    }
    file
}
