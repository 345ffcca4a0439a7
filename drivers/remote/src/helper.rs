//! What `virt-ssh-helper` does: joins its standard input and output to the socket of a daemon on this host.
//!
//! A client on another host starts it through ssh, because only here can be known which daemons listen where.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use virt_util::error::SystemResult;
use virt_util::time::{Cancel, Deadline};
use virt_util::{Result, VirtError};

use crate::patience;
use crate::place::{Mode, Place, Transport};
use crate::sockets::{self, Scope};

const BUFFER: usize = 256 << 10;

/// A connection to the daemon that `uri` means; it is started where a session's may be.
pub fn connect(uri: &str, read_only: bool) -> Result<UnixStream> {
    let place = Place::of(uri)?;
    if place.transport != Transport::Unix {
        return Err(VirtError::invalid_arg(format_args!(
            "unexpected URI transport '{uri}'"
        )));
    }
    let choice = match &place.socket {
        Some(path) => sockets::Choice {
            path: path.into(),
            daemon: None,
        },
        None => {
            let scope = Scope::of(&place, read_only);
            sockets::choose(&place, place.mode.unwrap_or(Mode::Auto), scope)?
        }
    };
    let socket = UnixStream::from(sockets::open(
        &choice,
        Deadline::after(patience::USUAL),
        &Cancel::never(),
    )?);
    socket
        .set_nonblocking(false)
        .or_system(|| "cannot prepare the socket")?;
    Ok(socket)
}

/// Copies until the end of `from`.
fn copy(mut from: impl Read, mut to: impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        to.flush()?;
    }
}

/// Joins `socket` with standard input and output until the daemon or the client is gone.
pub fn run(socket: &UnixStream) -> Result<()> {
    let what = || "could not proxy traffic";
    let upwards = socket.try_clone().or_system(what)?;
    // Ends with the process: nobody can wait for a client that says nothing more.
    std::thread::spawn(move || {
        let _ = copy(std::io::stdin().lock(), &upwards);
        // The client is gone; with it the daemon ends the connection, and we.
        let _ = upwards.shutdown(Shutdown::Both);
    });
    copy(socket, std::io::stdout().lock()).or_system(what)
}
