//! A stream as its user holds it.

use crate::stream_end::{Readiness, StreamEnd, Transfer};
use virt_util::Result;

/// What came out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; 0 at the end of the data.
    Data(usize),
    /// Nothing now: only where the stream does not wait.
    WouldBlock,
}

/// Bytes to and from a guest or a volume. Dropped without [`Stream::finish`], it is aborted.
#[derive(Debug)]
pub struct Stream(StreamEnd);

impl From<StreamEnd> for Stream {
    fn from(end: StreamEnd) -> Self {
        Self(end)
    }
}

impl Stream {
    /// The raw end, for holes and for passing on.
    pub fn end(&self) -> &StreamEnd {
        &self.0
    }

    /// Chooses between waiting and [`Received::WouldBlock`].
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.0.set_nonblocking(nonblocking)
    }

    /// Receives some bytes; holes are received as zeros.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        Ok(match self.0.recv(buffer, false)? {
            Transfer::Bytes(count) => Received::Data(count),
            Transfer::WouldBlock | Transfer::AtHole => Received::WouldBlock,
        })
    }

    /// Sends some of `data` and answers how many bytes; `None` where it would have to wait and must not.
    pub fn send(&self, data: &[u8]) -> Result<Option<usize>> {
        Ok(match self.0.send(data)? {
            Transfer::Bytes(count) => Some(count),
            Transfer::WouldBlock | Transfer::AtHole => None,
        })
    }

    /// Calls `waker` once, from any thread, as soon as the stream is ready for anything of `interest`.
    pub fn watch(&self, interest: Readiness, waker: impl FnOnce(Readiness) + Send + 'static) -> Result<()> {
        self.0.watch(interest, Box::new(waker))
    }

    /// Ends the stream in good order; what went wrong on the other side is the error.
    pub fn finish(&self) -> Result<()> {
        self.0.finish()
    }

    /// Ends the stream at once.
    pub fn abort(&self) -> Result<()> {
        self.0.abort()
    }
}
