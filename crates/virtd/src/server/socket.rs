//! A connected socket in the runtime's hands. Anybody may write to it; only its client's task waits for it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use virt_util::{Result, VirtError};

/// A socket.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Takes a connected socket, which never blocks from now on.
    pub(super) fn new(socket: OwnedFd, unix: bool) -> std::io::Result<Self> {
        if unix {
            let socket = std::os::unix::net::UnixStream::from(socket);
            socket.set_nonblocking(true)?;
            return UnixStream::from_std(socket).map(Self::Unix);
        }
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        // Answers are small and must not wait for more.
        socket.set_nodelay(true)?;
        TcpStream::from_std(socket).map(Self::Tcp)
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> Result<()> {
        match self {
            Self::Unix(socket) => socket.readable().await,
            Self::Tcp(socket) => socket.readable().await,
        }
        .map_err(|error| VirtError::io(&error, "cannot watch the client's socket"))
    }

    /// Waits until the socket takes more.
    pub(super) async fn writable(&self) -> Result<()> {
        match self {
            Self::Unix(socket) => socket.writable().await,
            Self::Tcp(socket) => socket.writable().await,
        }
        .map_err(|error| VirtError::io(&error, "cannot watch the client's socket"))
    }

    /// There was nothing more to read: the runtime has to ask the kernel again.
    pub(super) fn drained(&self) {
        self.not_ready(Interest::READABLE);
    }

    /// The socket took no more: the runtime has to ask the kernel again.
    pub(super) fn filled(&self) {
        self.not_ready(Interest::WRITABLE);
    }

    fn not_ready(&self, interest: Interest) {
        let blocked = || Err::<(), _>(ErrorKind::WouldBlock.into());
        let _ = match self {
            Self::Unix(socket) => socket.try_io(interest, blocked),
            Self::Tcp(socket) => socket.try_io(interest, blocked),
        };
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
