//! Bytes from one descriptor to another without a copy: they go through a pipe, which passes on the kernel's pages.
//!
//! Worth while for much data between sockets. A peer that is gone is an error and, in a program that does not ignore it,
//! SIGPIPE.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};
use nix::unistd::pipe2;

use crate::error::SystemResult as _;
use crate::{Result, VirtError};

/// A pipe that never blocks. Both ends are closed on exec.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    /// A pipe with room for `room` bytes in whole pages; less where the host does not allow it.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new(room: usize) -> Result<Self> {
        let (reader, writer) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).or_system(|| "cannot make a pipe")?;
        if let Ok(room) = i32::try_from(room) {
            // The size it has works as well, in smaller steps.
            let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(room));
        }
        Ok(Self { reader, writer })
    }

    /// Where bytes come out.
    pub fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Where bytes go in.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Takes `count` bytes, which are in the pipe, out of it for nothing.
    ///
    /// # Errors
    /// There are fewer.
    pub fn discard(&self, mut count: usize) -> Result<()> {
        let mut scratch = [0; 8192];
        while count > 0 {
            let room = scratch.len().min(count);
            match nix::unistd::read(&self.reader, scratch.get_mut(..room).unwrap_or_default()) {
                Ok(0) => return Err(VirtError::internal("a pipe has ended")),
                Ok(read) => count -= read,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(VirtError::system(errno as i32, "cannot read a pipe")),
            }
        }
        Ok(())
    }
}

/// Moves at most `most` bytes from `from` to `to`, one of which is a pipe, and answers how many: 0 at the end of what
/// `from` has. Never waits if neither end blocks.
///
/// # Errors
/// `WouldBlock` if nothing can be moved now; `InvalidInput` if one end knows only copies.
pub fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> std::io::Result<usize> {
    loop {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        match nix::fcntl::splice(from.as_fd(), None, to.as_fd(), None, most, flags) {
            Ok(moved) => return Ok(moved),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_go_from_socket_to_socket() {
        let (mut source, inward) = UnixStream::pair().unwrap();
        let (outward, mut sink) = UnixStream::pair().unwrap();
        inward.set_nonblocking(true).unwrap();
        outward.set_nonblocking(true).unwrap();
        let pipe = Pipe::new(1 << 18).unwrap();
        let data: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        source.write_all(&data).unwrap();
        assert_eq!(splice(&inward, pipe.writer(), 10).unwrap(), 10);
        pipe.discard(3).unwrap();
        let mut moved = 10;
        while moved < data.len() {
            moved += splice(&inward, pipe.writer(), data.len() - moved).unwrap();
        }
        let nothing = splice(&inward, pipe.writer(), 1).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        let mut left = data.len() - 3;
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            sink.read_to_end(&mut all).unwrap();
            all
        });
        while left > 0 {
            match splice(pipe.reader(), &outward, left) {
                Ok(moved) => left -= moved,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        drop(outward);
        assert_eq!(reader.join().unwrap(), data.get(3..).unwrap());
        drop(source);
        assert_eq!(splice(&inward, pipe.writer(), 1).unwrap(), 0);
        assert!(pipe.discard(1).is_err());
    }
}
