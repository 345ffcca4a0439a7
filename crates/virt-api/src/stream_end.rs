//! One end of a stream: console, volume upload and download, screenshot, tunnelled migration.
//!
//! [`Stream`] is what a driver implements (or takes ready-made: [`pipe()`], [`Bytes`], [`FileStream`]), [`StreamEnd`]
//! is what its user holds; between plugin and host the end goes through the waist and stays the same to both. An end
//! carries data in both directions. Holes exist where the opening call asked for them.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virt_util::Result;

mod bytes;
mod file;
mod pipe;

pub use bytes::Bytes;
pub use file::FileStream;
pub use pipe::{PIPE_CAPACITY, pipe};

/// What became of a `send` or `recv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes went over. For `recv`, 0 bytes mean the end of the data.
    Bytes(usize),
    /// Nothing can go over now: only on a nonblocking end.
    WouldBlock,
    /// The next thing to receive is a hole: only with [`Stream::recv`]'s `stop_at_hole`.
    AtHole,
}

/// What an end is ready for, as libvirt's `virStreamEventType` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness(pub u32);

impl Readiness {
    /// `recv` will not block.
    pub const READABLE: Self = Self(1);
    /// `send` will not block.
    pub const WRITABLE: Self = Self(2);
    /// The stream has failed.
    pub const ERROR: Self = Self(4);
    /// The other side is gone.
    pub const HANGUP: Self = Self(8);

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is called when a watched end becomes ready.
pub type Waker = Box<dyn FnOnce(Readiness) + Send>;

/// The behaviour of one end of a stream. Methods may be called from any thread.
pub trait Stream: Send + Sync {
    /// Sends some of `data`.
    fn send(&self, data: &[u8]) -> Result<Transfer>;

    /// Receives some bytes into `buffer`. Where a hole is next, answers [`Transfer::AtHole`] if `stop_at_hole`, and
    /// zeros otherwise.
    fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer>;

    /// Sends a hole of `length` bytes.
    fn send_hole(&self, length: u64) -> Result<()> {
        let _ = length;
        Err(virt_util::VirtError::no_support("holes in this stream"))
    }

    /// Receives the hole that is next and answers its length.
    fn recv_hole(&self) -> Result<u64> {
        Err(virt_util::VirtError::no_support("holes in this stream"))
    }

    /// What comes next and how long it is: `(true, bytes)` for data, `(false, bytes)` for a hole, `(false, 0)` at the end.
    fn in_data(&self) -> Result<(bool, u64)> {
        Err(virt_util::VirtError::no_support("looking ahead in this stream"))
    }

    /// Ends the stream in good order and waits for the other side: what went wrong over there is this call's error.
    fn finish(&self) -> Result<()>;

    /// Ends the stream at once. The first error of a stream is the one that stays.
    fn abort(&self) -> Result<()>;

    /// Ends the stream at once because of `error`, which the other end's calls answer from now on. Only for an end
    /// whose other end lives on the same side of the waist.
    fn abort_with(&self, error: virt_util::VirtError) -> Result<()> {
        let _ = error;
        self.abort()
    }

    /// Chooses between waiting and [`Transfer::WouldBlock`]. New ends wait.
    fn set_nonblocking(&self, nonblocking: bool) -> Result<()>;

    /// What of `interest` the end is ready for now; errors and hangup are always told.
    fn readiness(&self, interest: Readiness) -> Result<Readiness>;

    /// Calls `waker` once, from any thread, as soon as the end is ready for anything of `interest`; at once if it is
    /// already. A second call replaces a waker that has not been called.
    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()>;

    /// Whether the end is a descriptor that pipes can be filled from and emptied into without a copy. What it answers
    /// does not change. Such an end has no holes.
    fn can_splice(&self) -> bool {
        false
    }

    /// [`Stream::recv`] into an empty pipe, without a copy.
    fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        let _ = (pipe, most);
        Err(virt_util::VirtError::no_support("splicing this stream"))
    }

    /// [`Stream::send`] of `most` bytes that a pipe holds, without a copy. A nonblocking end that is told to do it
    /// `at_once` does not wait even where a moment's patience would save a wake-up.
    fn send_from_pipe(&self, pipe: BorrowedFd<'_>, most: usize, at_once: bool) -> Result<Transfer> {
        let _ = (pipe, most, at_once);
        Err(virt_util::VirtError::no_support("splicing this stream"))
    }
}

/// One end of a stream, to hold and to pass on. Dropping the last clone without [`StreamEnd::finish`] aborts it.
#[derive(Clone)]
pub struct StreamEnd(Arc<Guard>);

struct Guard {
    stream: Box<dyn Stream>,
    ended: std::sync::atomic::AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended.load(std::sync::atomic::Ordering::Acquire) {
            // Nobody is left to hear about it.
            let _ = self.stream.abort();
        }
    }
}

impl StreamEnd {
    /// Holds `stream`.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self(Arc::new(Guard {
            stream: Box::new(stream),
            ended: std::sync::atomic::AtomicBool::new(false),
        }))
    }

    /// [`Stream::send`].
    pub fn send(&self, data: &[u8]) -> Result<Transfer> {
        self.0.stream.send(data)
    }

    /// Sends all of `data` on a blocking end.
    pub fn send_all(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            match self.send(data)? {
                Transfer::Bytes(sent) => data = data.get(sent..).unwrap_or_default(),
                Transfer::WouldBlock | Transfer::AtHole => {
                    return Err(virt_util::VirtError::new(
                        virt_util::ErrorCode::OPERATION_INVALID,
                        "sending everything needs a blocking stream",
                    ));
                }
            }
        }
        Ok(())
    }

    /// [`Stream::recv`].
    pub fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer> {
        self.0.stream.recv(buffer, stop_at_hole)
    }

    /// [`Stream::send_hole`].
    pub fn send_hole(&self, length: u64) -> Result<()> {
        self.0.stream.send_hole(length)
    }

    /// [`Stream::recv_hole`].
    pub fn recv_hole(&self) -> Result<u64> {
        self.0.stream.recv_hole()
    }

    /// [`Stream::in_data`].
    pub fn in_data(&self) -> Result<(bool, u64)> {
        self.0.stream.in_data()
    }

    /// [`Stream::finish`].
    pub fn finish(&self) -> Result<()> {
        self.0.ended.store(true, std::sync::atomic::Ordering::Release);
        self.0.stream.finish()
    }

    /// [`Stream::abort`].
    pub fn abort(&self) -> Result<()> {
        self.0.ended.store(true, std::sync::atomic::Ordering::Release);
        self.0.stream.abort()
    }

    /// [`Stream::abort_with`].
    pub fn abort_with(&self, error: virt_util::VirtError) -> Result<()> {
        self.0.ended.store(true, std::sync::atomic::Ordering::Release);
        self.0.stream.abort_with(error)
    }

    /// [`Stream::set_nonblocking`].
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.0.stream.set_nonblocking(nonblocking)
    }

    /// [`Stream::readiness`].
    pub fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        self.0.stream.readiness(interest)
    }

    /// [`Stream::watch`].
    pub fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        self.0.stream.watch(interest, waker)
    }

    /// [`Stream::can_splice`].
    pub fn can_splice(&self) -> bool {
        self.0.stream.can_splice()
    }

    /// [`Stream::recv_to_pipe`].
    pub fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        self.0.stream.recv_to_pipe(pipe, most)
    }

    /// [`Stream::send_from_pipe`].
    pub fn send_from_pipe(&self, pipe: BorrowedFd<'_>, most: usize, at_once: bool) -> Result<Transfer> {
        self.0.stream.send_from_pipe(pipe, most, at_once)
    }
}

impl std::fmt::Debug for StreamEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamEnd")
    }
}
