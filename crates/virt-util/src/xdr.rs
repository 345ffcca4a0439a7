//! XDR (RFC 4506), the encoding of libvirt's RPC and so of the waist.
//!
//! Limits are checked before anything is allocated: a length that exceeds its limit or the bytes at hand is refused
//! with `VIR_ERR_RPC`. Composite types implement [`XdrEncode`] and [`XdrDecode`]; those of the protocol are generated.

use crate::{ErrorCode, ErrorDomain, Result, VirtError};

/// A type with an XDR form.
pub trait XdrEncode {
    /// Appends the XDR form to `out`. Fails where a value exceeds the limit of its wire type.
    fn encode(&self, out: &mut XdrEncoder) -> Result<()>;

    /// The XDR form as bytes.
    fn to_xdr(&self) -> Result<Vec<u8>> {
        let mut out = XdrEncoder::new();
        self.encode(&mut out)?;
        Ok(out.into_bytes())
    }
}

/// A type that can be read from its XDR form.
pub trait XdrDecode: Sized {
    /// Reads a value and moves `input` behind it.
    fn decode(input: &mut XdrDecoder<'_>) -> Result<Self>;

    /// Reads a value that must fill `bytes` exactly.
    fn from_xdr(bytes: &[u8]) -> Result<Self> {
        let mut input = XdrDecoder::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

/// Appends XDR items to a buffer.
#[derive(Debug, Default)]
pub struct XdrEncoder {
    bytes: Vec<u8>,
    unlimited: bool,
}

impl XdrEncoder {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `bytes`, so that a caller can leave room for a header or reuse an allocation.
    pub fn with_buffer(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            unlimited: false,
        }
    }

    /// An empty buffer for calls inside a process: the limits of the wire types do not apply, since the limits of
    /// lists are the network's and libvirt has none in process. Only counts that XDR cannot express are refused.
    pub fn without_limits() -> Self {
        Self {
            bytes: Vec::new(),
            unlimited: true,
        }
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room for so many bytes, at most for 16 MiB at a time.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes.min(16 << 20));
    }

    /// What has been written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Signed 32-bit integer, also enums and `char`.
    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Unsigned 32-bit integer.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Signed 64-bit integer (`hyper`).
    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Unsigned 64-bit integer (`unsigned hyper`).
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// IEEE double.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// Boolean: 0 or 1 in four bytes.
    pub fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// Opaque data of fixed length, padded to four bytes.
    pub fn opaque_fixed(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Opaque data of variable length of at most `max` bytes.
    pub fn opaque(&mut self, value: &[u8], max: usize) -> Result<()> {
        self.length(value.len(), max)?;
        self.opaque_fixed(value);
        Ok(())
    }

    /// String of at most `max` bytes. A NUL inside is refused: C peers would cut the string there.
    pub fn string(&mut self, value: &str, max: usize) -> Result<()> {
        if value.as_bytes().contains(&0) {
            return Err(rpc("a string with a NUL byte cannot be sent"));
        }
        self.opaque(value.as_bytes(), max)
    }

    /// The element count of a variable array of at most `max` elements; the elements follow.
    pub fn length(&mut self, length: usize, max: usize) -> Result<()> {
        match u32::try_from(length) {
            Ok(wire) if length <= max || self.unlimited => {
                self.u32(wire);
                Ok(())
            }
            _ => Err(rpc(format_args!(
                "{length} elements or bytes exceed the limit of {max}"
            ))),
        }
    }
}

/// Reads XDR items from a slice.
#[derive(Clone, Debug)]
pub struct XdrDecoder<'a> {
    rest: &'a [u8],
    unlimited: bool,
}

impl<'a> XdrDecoder<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            unlimited: false,
        }
    }

    /// Reads from the start of `bytes`, which came from inside the process: see [`XdrEncoder::without_limits`]. Counts
    /// are still checked against the bytes at hand before anything is allocated.
    pub fn without_limits(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            unlimited: true,
        }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Refuses bytes behind the last item.
    pub fn finish(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(rpc(format_args!("{extra} bytes behind the end of the message"))),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(rpc(format_args!(
                "message ends early: {length} bytes wanted, {} left",
                self.rest.len()
            ))),
        }
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut word = [0; N];
        word.copy_from_slice(self.take(N)?);
        Ok(word)
    }

    /// Signed 32-bit integer.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.word()?))
    }

    /// Unsigned 32-bit integer.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.word()?))
    }

    /// Signed 64-bit integer.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.word()?))
    }

    /// Unsigned 64-bit integer.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.word()?))
    }

    /// IEEE double.
    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// Boolean. Anything but 0 is true, as for the XDR of C libraries: go-libvirt writes its first call's so.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.u32()? != 0)
    }

    /// Opaque data of fixed length.
    pub fn opaque_fixed(&mut self, length: usize) -> Result<&'a [u8]> {
        let padding = length.next_multiple_of(4) - length;
        let data = self.take(length)?;
        self.take(padding)?;
        Ok(data)
    }

    /// Opaque data of variable length of at most `max` bytes.
    pub fn opaque(&mut self, max: usize) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        if length > max && !self.unlimited {
            return Err(rpc(format_args!("length {length} exceeds the limit of {max}")));
        }
        self.opaque_fixed(length)
    }

    /// String of at most `max` bytes, UTF-8 without NUL.
    pub fn string(&mut self, max: usize) -> Result<&'a str> {
        let bytes = self.opaque(max)?;
        if bytes.contains(&0) {
            return Err(rpc("string holds a NUL byte"));
        }
        std::str::from_utf8(bytes).map_err(|error| rpc(format_args!("string is not UTF-8: {error}")))
    }

    /// Element count of a variable array of at most `max` elements, each of at least `element_min` bytes: a count
    /// that cannot fit in the bytes left is refused before the array is allocated.
    pub fn length(&mut self, max: usize, element_min: usize) -> Result<usize> {
        let length = self.u32()? as usize;
        if length > max && !self.unlimited {
            return Err(rpc(format_args!("count {length} exceeds the limit of {max}")));
        }
        if length.saturating_mul(element_min.max(1)) > self.rest.len() {
            return Err(rpc(format_args!(
                "count {length} does not fit in the {} bytes left",
                self.rest.len()
            )));
        }
        Ok(length)
    }
}

fn rpc(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::RPC, detail).in_domain(ErrorDomain::RPC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_padded_to_four_bytes() {
        let mut out = XdrEncoder::new();
        out.string("abcde", 10).unwrap();
        assert_eq!(out.into_bytes(), b"\0\0\0\x05abcde\0\0\0");
    }

    #[test]
    fn a_length_beyond_the_data_is_refused_without_allocating() {
        let mut input = XdrDecoder::new(b"\x00\xff\xff\xff");
        assert!(input.length(usize::MAX, 4).is_err());
        let mut input = XdrDecoder::new(b"\x7f\xff\xff\xff");
        assert!(input.opaque(usize::MAX).is_err());
    }
}
