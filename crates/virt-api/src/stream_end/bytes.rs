//! A stream of bytes that are all there from the start.

use parking_lot::Mutex;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Readiness, Stream, Transfer, Waker};

/// Bytes to be read from their beginning to their end.
#[derive(Debug)]
pub struct Bytes {
    bytes: Vec<u8>,
    given: Mutex<usize>,
}

impl Bytes {
    /// A stream of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            given: Mutex::new(0),
        }
    }
}

impl Stream for Bytes {
    fn send(&self, _data: &[u8]) -> Result<Transfer> {
        Err(VirtError::new(
            ErrorCode::OPERATION_INVALID,
            "this stream is for reading",
        ))
    }

    fn recv(&self, buffer: &mut [u8], _stop_at_hole: bool) -> Result<Transfer> {
        let mut given = self.given.lock();
        let rest = self.bytes.get(*given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        *given += count;
        Ok(Transfer::Bytes(count))
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn abort(&self) -> Result<()> {
        Ok(())
    }

    fn set_nonblocking(&self, _nonblocking: bool) -> Result<()> {
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        Ok(interest.and(Readiness::READABLE))
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        // All is there: whoever waits for something to read waits no longer; nobody may write.
        if !interest.and(Readiness::READABLE).is_empty() {
            waker(Readiness::READABLE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_once() {
        let bytes = Bytes::new(vec![1, 2, 3]);
        let mut buffer = [0; 2];
        assert_eq!(bytes.recv(&mut buffer, false).unwrap(), Transfer::Bytes(2));
        assert_eq!(buffer, [1, 2]);
        assert_eq!(bytes.recv(&mut buffer, false).unwrap(), Transfer::Bytes(1));
        assert_eq!(bytes.recv(&mut buffer, false).unwrap(), Transfer::Bytes(0));
        assert!(bytes.send(&[1]).is_err());
    }
}
