//! A connected socket in the runtime's hands. Anybody may write to it; only its client's task waits for it.
//!
//! The runtime asks the kernel about reading alone. A Unix socket tells those who ask about writing each time its peer
//! has read something, which would wake the daemon once more for every answer; who finds the socket full waits with
//! [`Room`] for as long as that lasts.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use virt_util::{Result, VirtError};

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<OwnedFd>,
    unix: bool,
}

impl Socket {
    /// Takes a connected socket, which never blocks from now on.
    pub(super) fn new(socket: OwnedFd, unix: bool) -> std::io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Self::nonblocking(socket, unix)
    }

    /// Takes a connected socket that never blocks.
    pub(super) fn nonblocking(socket: OwnedFd, unix: bool) -> std::io::Result<Self> {
        if !unix {
            // Answers are small and must not wait for more.
            setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        }
        let fd = watch(socket, Interest::READABLE)?;
        Ok(Self { fd, unix })
    }

    /// Whether it is a Unix socket rather than one of the network.
    pub(super) fn is_unix(&self) -> bool {
        self.unix
    }

    /// The other end's address and port, of a socket of the network.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        if self.unix {
            return None;
        }
        let socket = self.fd.get_ref().try_clone().ok()?;
        std::net::TcpStream::from(socket).peer_addr().ok()
    }

    /// For what waits for reading and writing by itself.
    pub(super) fn into_tcp(self) -> std::io::Result<TcpStream> {
        TcpStream::from_std(self.fd.into_inner().into())
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> Result<()> {
        match self.fd.readable().await {
            Ok(mut ready) => {
                ready.retain_ready();
                Ok(())
            }
            Err(error) => Err(cannot_watch(&error)),
        }
    }

    /// Whether there is something to read now, be it the end.
    pub(super) fn has_input(&self) -> bool {
        self.has_input_within(Duration::ZERO)
    }

    /// Waits so long for something to read, in whole milliseconds: not for the runtime's thread.
    pub(super) fn has_input_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        matches!(poll(&mut fds, time), Ok(1..))
    }

    /// There was nothing more to read: the runtime has to ask the kernel again.
    pub(super) fn drained(&self) {
        not_ready(&self.fd, Interest::READABLE);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The wait for a socket that is full. It asks the kernel with a descriptor of its own, only while it is used.
#[derive(Debug, Default)]
pub(super) struct Room(Option<AsyncFd<OwnedFd>>);

impl Room {
    /// Waits until the socket takes more.
    pub(super) async fn wait(&mut self, socket: &Socket) -> Result<()> {
        let watch = match &mut self.0 {
            Some(watch) => watch,
            empty => {
                let watched = socket.fd.get_ref().try_clone();
                let watch = watched.and_then(|fd| watch(fd, Interest::WRITABLE));
                empty.insert(watch.map_err(|error| cannot_watch(&error))?)
            }
        };
        match watch.writable().await {
            Ok(mut ready) => {
                ready.retain_ready();
                Ok(())
            }
            Err(error) => Err(cannot_watch(&error)),
        }
    }

    /// The socket took no more: the runtime has to ask the kernel again.
    pub(super) fn filled(&self) {
        if let Some(watch) = &self.0 {
            not_ready(watch, Interest::WRITABLE);
        }
    }

    /// Nothing waits any more.
    pub(super) fn done(&mut self) {
        self.0 = None;
    }
}

fn not_ready(fd: &AsyncFd<OwnedFd>, interest: Interest) {
    let _ = fd.try_io(interest, |_| Err::<(), _>(Error::from(ErrorKind::WouldBlock)));
}

fn cannot_watch(error: &Error) -> VirtError {
    VirtError::io(error, "cannot watch the client's socket")
}

/// Puts a descriptor into the runtime's hands.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "it is unsound with what gives its descriptor away; an `OwnedFd` keeps it"
    )]
    AsyncFd::with_interest(fd, interest)
}
