//! JSON one message a line, as QEMU's monitor and the guest agent speak it: bytes go in as they arrive, lines come
//! out, and nothing grows beyond its limit, whatever the other side sends.
//!
//! Knows nothing of descriptors: the owner of the socket reads and calls [`JsonLines::feed`], then takes messages
//! until there are none. An error is final: the peer does not speak the protocol, and the connection has to go.

use serde_json::{Map, Value};

use crate::{ErrorCode, Result, VirtError};

/// The longest message that libvirt takes from QEMU: 10 MiB.
pub const DEFAULT_LIMIT: usize = 10 << 20;

/// The byte a guest agent puts before the answer that follows a reset.
const RESYNC: u8 = 0xff;

/// Takes bytes, gives messages.
///
/// ```
/// use virt_util::json_lines::JsonLines;
///
/// let mut lines = JsonLines::new(1000);
/// lines.feed(b"{\"return\": {}}\r\n{\"ret")?;
/// assert!(lines.next_object()?.is_some_and(|message| message.contains_key("return")));
/// assert!(lines.next_object()?.is_none());
/// # Ok::<(), virt_util::VirtError>(())
/// ```
#[derive(Debug)]
pub struct JsonLines {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the first line not yet given out starts.
    start: usize,
    /// Up to here there is no line end after `start`.
    scanned: usize,
    /// Length of the line that is not complete yet.
    tail: usize,
    failed: Option<VirtError>,
}

impl JsonLines {
    /// For messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            tail: 0,
            failed: None,
        }
    }

    /// Takes what has arrived. An unfinished line beyond the limit is an error, and every later call repeats it.
    /// Complete lines are not limited in number: take them before feeding more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        // What was given out makes room before anything grows.
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        let tail = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.len() - end - 1,
            None => bytes.len() + self.tail,
        };
        if tail > self.limit {
            return Err(self.fail());
        }
        self.tail = tail;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next line without its end, `None` when none is complete. Empty lines are passed over. A guest agent's
    /// 0xff throws away what stands before it.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        self.check()?;
        loop {
            let rest = self.buffer.get(self.scanned..).unwrap_or(&[]);
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                return Ok(None);
            };
            let (start, end) = (self.start, self.scanned + length);
            self.start = end + 1;
            self.scanned = end + 1;
            if end - start > self.limit {
                return Err(self.fail());
            }
            let line = self.buffer.get(start..end).unwrap_or(&[]);
            let skip = line
                .iter()
                .rposition(|byte| *byte == RESYNC)
                .map_or(0, |at| at + 1);
            let is_blank = line.get(skip..).unwrap_or(&[]).trim_ascii().is_empty();
            if !is_blank {
                let line = self.buffer.get(start + skip..end).unwrap_or(&[]);
                return Ok(Some(line.trim_ascii()));
            }
        }
    }

    /// The next line as a JSON object, `None` when none is complete. Anything but an object is an error.
    pub fn next_object(&mut self) -> Result<Option<Map<String, Value>>> {
        let Some(line) = self.next_line()? else {
            return Ok(None);
        };
        match parse_object(line) {
            Ok(object) => Ok(Some(object)),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Bytes of the line that is not complete yet. At the end of a connection: whether a message was cut.
    pub fn unfinished(&self) -> usize {
        self.tail
    }

    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self) -> VirtError {
        let error = VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("peer sent a message of more than {} bytes", self.limit),
        );
        self.failed = Some(error.clone());
        self.buffer = Vec::new();
        self.start = 0;
        self.scanned = 0;
        self.tail = 0;
        error
    }
}

impl Default for JsonLines {
    /// With [`DEFAULT_LIMIT`].
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

/// One line as a JSON object. Nesting deeper than 127 levels is an error.
pub fn parse_object(line: &[u8]) -> Result<Map<String, Value>> {
    let shown = || {
        let start: String = String::from_utf8_lossy(line).chars().take(80).collect();
        start.escape_debug().to_string()
    };
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(VirtError::internal(format_args!(
            "Malformed JSON reply: '{}' is not an object",
            shown()
        ))),
        Err(error) => Err(VirtError::internal(format_args!(
            "Malformed JSON reply: '{}': {error}",
            shown()
        ))),
    }
}

/// `message` as one line with its end, ready to be sent.
pub fn encode(message: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)
        .map_err(|error| VirtError::internal(format_args!("cannot format a JSON message: {error}")))?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(lines: &mut JsonLines) -> Vec<String> {
        let mut got = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            got.push(String::from_utf8_lossy(line).into_owned());
        }
        got
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let text = b"{\"a\":1}\r\n\r\n \n{\"b\":2}\n{\"c\"";
        let mut lines = JsonLines::new(100);
        let mut got = Vec::new();
        for byte in text {
            lines.feed(&[*byte]).unwrap();
            got.extend(all(&mut lines));
        }
        assert_eq!(got, ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(lines.unfinished(), 4);
    }

    #[test]
    fn an_endless_line_is_an_error_in_bounded_memory() {
        let mut lines = JsonLines::new(1 << 20);
        let chunk = [b'x'; 64 << 10];
        let mut error = None;
        for _ in 0..1600 {
            if let Err(got) = lines.feed(&chunk) {
                error = Some(got);
            }
            assert!(lines.buffer.capacity() <= 4 << 20);
        }
        let error = error.unwrap();
        assert!(error.message().contains("1048576"), "{error}");
        assert_eq!(lines.next_line().unwrap_err(), error);
        // A complete line above the limit is refused too, even when it comes in one piece.
        let mut lines = JsonLines::new(10);
        lines.feed(b"01234567890123456789\n").unwrap();
        assert!(lines.next_line().is_err());
    }

    #[test]
    fn an_agents_reset_throws_old_bytes_away() {
        let mut lines = JsonLines::new(100);
        lines.feed(b"half an ans\xff{\"return\": 7}\n").unwrap();
        assert_eq!(all(&mut lines), ["{\"return\": 7}"]);
    }

    #[test]
    fn what_is_no_object_is_final() {
        for bad in ["[1]\n", "nonsense\n", "\u{feff}{}\n", "{\"a\":1}}\n"] {
            let mut lines = JsonLines::new(100);
            lines.feed(bad.as_bytes()).unwrap();
            let error = lines.next_object().unwrap_err();
            assert!(error.message().contains("Malformed JSON reply"), "{error}");
            assert!(lines.feed(b"{}\n").is_err());
        }
        let deep = format!("{}{}\n", "{\"a\":".repeat(5000), "1");
        let mut lines = JsonLines::default();
        lines.feed(deep.as_bytes()).unwrap();
        assert!(lines.next_object().is_err());
    }

    #[test]
    fn encoding_is_one_line() {
        let line = encode(&serde_json::json!({"execute": "x\ny"})).unwrap();
        assert_eq!(line, b"{\"execute\":\"x\\ny\"}\n");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..20) {
            let mut whole = JsonLines::new(1000);
            whole.feed(&text).unwrap();
            let expected = all(&mut whole);
            let mut pieces = JsonLines::new(1000);
            let mut got = Vec::new();
            for piece in text.chunks(cut) {
                pieces.feed(piece).unwrap();
                got.extend(all(&mut pieces));
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(pieces.unfinished(), whole.unfinished());
        }
    }
}
