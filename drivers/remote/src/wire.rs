//! The way to the other side: one descriptor, bytes and descriptors in both directions, with or without TLS on top.
//!
//! Nothing here waits. Whoever has a [`Wire`] polls [`Wire::descriptor`] and calls again.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, sendmsg, shutdown};
use rustls::ClientConnection;
use std::os::fd::AsRawFd;
use virt_api::rpc::FDS_MAX;
use virt_util::command::Child;
use virt_util::sys::socket::{receive_behind, receive_with_fds, send_with_fds, widen_send_buffer};
use virt_util::time::{Cancel, Deadline, Interest, wait_fd};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

/// How much of what a helper program complains about is shown.
const COMPLAINT_MAX: usize = 4096;

/// The program at the other end of a socket pair: ssh, or a command of the user's.
pub(crate) struct Helper {
    pub child: Child,
    /// Its standard error, not blocking.
    pub complaints: Option<OwnedFd>,
    /// What it complained of so far.
    pub said: Vec<u8>,
}

impl Helper {
    /// Takes what the program has written, as far as it is worth showing.
    fn listen(&mut self) {
        let Some(pipe) = &self.complaints else { return };
        let mut buffer = [0; 1024];
        loop {
            match nix::unistd::read(pipe, &mut buffer) {
                Ok(0) => {
                    self.complaints = None;
                    return;
                }
                Ok(count) => {
                    let room = COMPLAINT_MAX.saturating_sub(self.said.len());
                    let new = buffer.get(..count.min(room)).unwrap_or_default();
                    self.said.extend_from_slice(new);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It ends by itself when its input does; one that does not is of no use to anybody.
        let grace = Deadline::after(std::time::Duration::from_millis(200));
        let ended = self.child.wait(grace, &Cancel::never());
        if !matches!(ended, Ok(Some(_))) {
            let _ = self
                .child
                .kill(Deadline::after(std::time::Duration::from_secs(5)));
        }
    }
}

/// What a read got.
pub(crate) enum Got {
    Bytes(usize, Vec<OwnedFd>),
    Nothing,
    End,
}

/// A connection's bytes.
pub(crate) struct Wire {
    /// `None` once closed.
    socket: Option<Arc<OwnedFd>>,
    takes_fds: bool,
    tls: Option<Box<ClientConnection>>,
    helper: Option<Helper>,
}

impl Wire {
    /// Over a connected socket that does not block.
    pub fn new(socket: OwnedFd, takes_fds: bool, helper: Option<Helper>) -> Self {
        Self {
            socket: Some(Arc::new(socket)),
            takes_fds,
            tls: None,
            helper,
        }
    }

    /// Encrypts everything from now on.
    pub fn start_tls(&mut self, tls: ClientConnection) {
        self.tls = Some(Box::new(tls));
    }

    /// Agrees upon TLS, and waits for the daemon's word that it takes us: one byte.
    pub fn finish_tls(&mut self, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        let socket = self.descriptor()?;
        let what = "no answer to the TLS handshake yet";
        let mut word = [0];
        loop {
            self.flush()?;
            match self.read(&mut word)? {
                Got::Bytes(1, _) if word == [1] => return Ok(()),
                Got::Bytes(1, _) => {
                    return Err(VirtError::new(
                        ErrorCode::RPC,
                        "the server does not trust our certificate or address",
                    )
                    .in_domain(ErrorDomain::RPC));
                }
                Got::Bytes(..) => continue,
                Got::Nothing | Got::End => {}
            }
            let interest = if self.wants_write() {
                Interest::Both
            } else {
                Interest::Readable
            };
            wait_fd(&socket, interest, deadline, cancel)?.ok(what)?;
        }
    }

    /// What to poll.
    pub fn descriptor(&self) -> Result<Arc<OwnedFd>> {
        self.socket.clone().ok_or_else(closed)
    }

    /// Whether descriptors can be passed.
    pub fn takes_fds(&self) -> bool {
        self.takes_fds
    }

    /// Whether everything is encrypted here.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Lets a Unix socket hold several packets of a stream: with the kernel's usual size it is full with less than one,
    /// and each would cost both sides a sleep.
    pub fn widen(&self) {
        const SIZE: usize = 1 << 20;
        if let Some(socket) = self.socket.as_ref().filter(|_| self.takes_fds) {
            widen_send_buffer(socket.as_ref(), SIZE);
        }
    }

    /// Whether encrypted bytes wait to be sent.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Ends the connection and lets go of the socket; a helper ends with it.
    pub fn close(&mut self) -> Option<Helper> {
        if let (Some(tls), Some(socket)) = (&mut self.tls, &self.socket) {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut Raw(socket.as_fd()));
        }
        if let Some(socket) = self.socket.take() {
            // Whoever polls it holds it too: that thread and the other side have to hear of the end at once.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        }
        self.helper.take()
    }

    /// Lets go of everything without a word: another process has the same socket and helper, and goes on with them.
    pub fn disown(&mut self) {
        self.tls = None;
        self.socket = None;
        // Its end would wait for a program that is not this process's child, and end it.
        std::mem::forget(self.helper.take());
    }

    /// Reads what is there into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Got> {
        let Some(socket) = &self.socket else {
            return Err(closed());
        };
        let got = match &mut self.tls {
            Some(tls) => read_tls(tls, socket.as_fd(), buffer),
            None if self.takes_fds => read_unix(socket.as_fd(), buffer),
            None => read_plain(socket.as_fd(), buffer),
        };
        match got {
            Ok(Got::End) => Err(self.ended()),
            Err(error) => Err(self.explain(error)),
            got => got,
        }
    }

    /// Writes what fits of `bytes`; descriptors go with the first of them. 0 if nothing fits now.
    pub fn write(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
        let Some(socket) = &self.socket else {
            return Err(closed());
        };
        let sent = match &mut self.tls {
            Some(tls) => write_tls(tls, socket.as_fd(), bytes),
            None if fds.is_empty() => write_slices(socket.as_fd(), &[IoSlice::new(bytes)]),
            None => send_with_fds(socket, bytes, fds).map(Option::unwrap_or_default),
        };
        sent.map_err(|error| self.explain(error))
    }

    /// As [`Wire::write`], of two pieces one behind the other, where nothing is encrypted here.
    pub fn write_both(&mut self, first: &[u8], second: &[u8]) -> Result<usize> {
        let Some(socket) = &self.socket else {
            return Err(closed());
        };
        write_slices(socket.as_fd(), &[IoSlice::new(first), IoSlice::new(second)])
            .map_err(|error| self.explain(error))
    }

    /// Reads at most `most` bytes behind what `buffer` holds, for which it has room, where nothing is encrypted here.
    pub fn read_behind(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<Got> {
        let Some(socket) = &self.socket else {
            return Err(closed());
        };
        match receive_behind(socket, buffer, most, FDS_MAX) {
            Ok(None) => Ok(Got::Nothing),
            Ok(Some(received)) if received.count == 0 => Err(self.ended()),
            Ok(Some(received)) => Ok(Got::Bytes(received.count, received.fds)),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Sends encrypted bytes that wait.
    pub fn flush(&mut self) -> Result<()> {
        if let (Some(tls), Some(socket)) = (&mut self.tls, &self.socket) {
            while tls.wants_write() {
                match tls.write_tls(&mut Raw(socket.as_fd())) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        let error = VirtError::io(&error, "Cannot write data");
                        return Err(self.explain(error));
                    }
                }
            }
        }
        Ok(())
    }

    /// The other side has closed.
    fn ended(&mut self) -> VirtError {
        let text = "End of file while reading data";
        let said = self.complaint();
        let detail = if said.is_empty() {
            format!("{text}: Input/output error")
        } else {
            format!("{text}: {said}: Input/output error")
        };
        VirtError::new(ErrorCode::SYSTEM_ERROR, detail)
            .in_domain(ErrorDomain::RPC)
            .with_ints(Errno::EIO as i32, 0)
    }

    /// Adds what the helper said, which is nearly always the reason.
    fn explain(&mut self, error: VirtError) -> VirtError {
        let said = self.complaint();
        if said.is_empty() {
            return error.in_domain(ErrorDomain::RPC);
        }
        let message = format!("{}: {said}", error.message());
        VirtError::from_parts(error.code(), ErrorDomain::RPC, error.level(), message)
            .with_ints(error.int1(), error.int2())
    }

    fn complaint(&mut self) -> String {
        let Some(helper) = &mut self.helper else {
            return String::new();
        };
        // Its last words may come a moment after it closed its output.
        if let Some(pipe) = &helper.complaints {
            let wait = Deadline::after(std::time::Duration::from_millis(100));
            let _ = wait_fd(pipe, Interest::Readable, wait, &Cancel::never());
        }
        helper.listen();
        helper.text()
    }
}

pub(crate) fn closed() -> VirtError {
    VirtError::new(ErrorCode::INTERNAL_ERROR, "client socket is closed").in_domain(ErrorDomain::RPC)
}

fn read_unix(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Got> {
    Ok(match receive_with_fds(socket, buffer, FDS_MAX)? {
        None => Got::Nothing,
        Some(received) if received.count == 0 => Got::End,
        Some(received) => Got::Bytes(received.count, received.fds),
    })
}

fn read_plain(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Got> {
    loop {
        return match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count, Vec::new())),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(Got::Nothing),
            Err(errno) => Err(VirtError::system(errno as i32, "Cannot recv data")),
        };
    }
}

fn write_slices(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        return match sendmsg::<()>(socket.as_raw_fd(), slices, &[], flags, None) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(0),
            Err(errno) => Err(VirtError::system(errno as i32, "Cannot write data")),
        };
    }
}

/// The socket as rustls wants it.
struct Raw<'a>(BorrowedFd<'a>);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(send(
            self.0.as_raw_fd(),
            bytes,
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        )?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tls_error(error: &rustls::Error) -> VirtError {
    crate::tls::explain(error)
}

fn read_tls(tls: &mut ClientConnection, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Got> {
    loop {
        match tls.reader().read(buffer) {
            Ok(0) => return Ok(Got::End),
            Ok(count) => return Ok(Got::Bytes(count, Vec::new())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // An end without goodbye: whole packets before it are good, so it is an end like others.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Got::End),
            Err(error) => return Err(VirtError::io(&error, "Cannot recv data")),
        }
        match tls.read_tls(&mut Raw(socket)) {
            Ok(count) => {
                if let Err(error) = tls.process_new_packets() {
                    // The other side is owed the reason.
                    let _ = tls.write_tls(&mut Raw(socket));
                    return Err(tls_error(&error));
                }
                if count == 0 && tls.is_handshaking() {
                    return Ok(Got::End);
                }
                if tls.is_handshaking() {
                    return Ok(Got::Bytes(0, Vec::new()));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Got::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(VirtError::io(&error, "Cannot recv data")),
        }
    }
}

/// So much may wait encrypted before more is taken.
const TLS_PENDING_MAX: usize = 1 << 20;

fn write_tls(tls: &mut ClientConnection, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    tls.set_buffer_limit(Some(TLS_PENDING_MAX));
    let count = tls
        .writer()
        .write(bytes)
        .map_err(|error| VirtError::io(&error, "Cannot write data"))?;
    while tls.wants_write() {
        match tls.write_tls(&mut Raw(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(VirtError::io(&error, "Cannot write data")),
        }
    }
    Ok(count)
}
