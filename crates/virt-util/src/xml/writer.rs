//! The canonical writer: libvirt's layout.
//!
//! Two blanks per level, attributes in single quotes, `<a/>` for an element without content, a line end after each
//! element. Everything is appended to one `String`.

use super::{XmlFlags, chars};

/// Appends XML in libvirt's layout.
///
/// ```
/// use virt_util::xml::{Writer, XmlFlags};
///
/// let mut w = Writer::new(XmlFlags::empty());
/// w.start("disk");
/// w.attribute("type", "file");
/// w.start("source");
/// w.attribute("file", "/a&b");
/// w.end("source");
/// w.text_element("serial", "WD-1");
/// w.end("disk");
/// assert_eq!(w.finish(), "<disk type='file'>\n  <source file='/a&amp;b'/>\n  <serial>WD-1</serial>\n</disk>\n");
/// ```
#[derive(Debug)]
pub struct Writer {
    out: String,
    depth: usize,
    state: State,
    flags: XmlFlags,
    /// Elements that are begun but of which nothing is written yet: see [`Writer::begin_optional`].
    pending: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A start tag is open: `<name a='b'`.
    Tag,
    /// Behind an element, at the start of a line.
    Line,
    /// Behind text: what follows stays on the line.
    Text,
}

/// An element that may turn out empty: see [`Writer::begin_optional`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// How many elements were pending before.
    level: usize,
}

/// Blanks in front of a tag, with what the tag begins with at the end: as much as needed is cut from it.
const START: &str = "                                                                <";
const END: &str = "                                                                </";
const BLANKS: usize = 64;

/// [`START`] behind an open start tag, for the usual depths.
const CHILD_START: [&str; 9] = [
    ">\n<",
    ">\n  <",
    ">\n    <",
    ">\n      <",
    ">\n        <",
    ">\n          <",
    ">\n            <",
    ">\n              <",
    ">\n                <",
];

impl Writer {
    /// An empty writer. `flags` say which fields are written.
    pub fn new(flags: XmlFlags) -> Self {
        Self {
            // Of the usual domain; room that is not used costs nothing.
            out: String::with_capacity(16 * 1024),
            depth: 0,
            state: State::Line,
            flags,
            pending: Vec::new(),
        }
    }

    /// What is being written and for whom.
    pub fn flags(&self) -> XmlFlags {
        self.flags
    }

    /// Are all of `flags` set?
    pub fn has(&self, flags: XmlFlags) -> bool {
        self.flags.contains(flags)
    }

    /// Exchanges the flags, for a part of a document that is written with others; gives the old ones.
    pub fn set_flags(&mut self, flags: XmlFlags) -> XmlFlags {
        std::mem::replace(&mut self.flags, flags)
    }

    /// The number of elements that are open.
    pub fn depth(&self) -> usize {
        self.depth + self.pending.len()
    }

    /// Writes as if `depth` elements were open: for a part of a document that is written alone.
    pub fn set_depth(&mut self, depth: usize) {
        self.depth = depth;
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        &self.out
    }

    /// Appends blanks for the depth and then what `tag` (one of [`START`], [`END`]) ends in.
    fn indented(&mut self, tag: &str) {
        let mut blanks = self.depth * 2;
        while blanks > BLANKS {
            self.out.push_str(START.get(..BLANKS).unwrap_or_default());
            blanks -= BLANKS;
        }
        self.out.push_str(tag.get(BLANKS - blanks..).unwrap_or_default());
    }

    /// Ends an open start tag and begins a line with `<` for a child.
    fn line(&mut self) {
        self.settle();
        if self.state == State::Tag {
            if let Some(start) = CHILD_START.get(self.depth) {
                self.out.push_str(start);
                return;
            }
            self.out.push_str(">\n");
        }
        self.indented(START);
    }

    /// Writes the start tags of pending elements.
    #[inline]
    fn settle(&mut self) {
        if !self.pending.is_empty() {
            self.settle_pending();
        }
    }

    fn settle_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for name in pending.drain(..) {
            self.start(name);
        }
        self.pending = pending;
    }

    /// Opens the element `name`.
    pub fn start(&mut self, name: &str) {
        self.line();
        self.out.push_str(name);
        self.state = State::Tag;
        self.depth += 1;
    }

    /// Closes the element `name`.
    pub fn end(&mut self, name: &str) {
        self.settle();
        self.depth = self.depth.saturating_sub(1);
        match self.state {
            State::Tag => self.out.push_str("/>\n"),
            state => {
                if state == State::Line {
                    self.indented(END);
                } else {
                    self.out.push_str("</");
                }
                self.out.push_str(name);
                self.out.push_str(">\n");
            }
        }
        self.state = State::Line;
    }

    /// Ends the start tag now, so that even an empty element is written as two tags on two lines.
    pub fn open_body(&mut self) {
        self.settle();
        if self.state == State::Tag {
            self.out.push_str(">\n");
            self.state = State::Line;
        }
    }

    /// Opens the element `name` at the first thing that is written into it. If there is nothing, neither attributes nor
    /// content, until [`Writer::end_optional`], there is no element.
    pub fn begin_optional(&mut self, name: &'static str) -> Mark {
        let mark = Mark {
            level: self.pending.len(),
        };
        self.pending.push(name);
        mark
    }

    /// Closes an element begun with [`Writer::begin_optional`]. Says whether there is one.
    pub fn end_optional(&mut self, name: &str, mark: Mark) -> bool {
        if self.pending.len() > mark.level {
            self.pending.truncate(mark.level);
            return false;
        }
        self.end(name);
        true
    }

    /// ` name='value'`, with `value` escaped. Only while a start tag is open.
    pub fn attribute(&mut self, name: &str, value: &str) {
        self.attribute_with(name, |out| escape_into(out, value));
    }

    /// ` name='…'` with a value that `write` appends; what it appends is not escaped.
    pub fn attribute_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.settle();
        debug_assert_eq!(self.state, State::Tag, "attribute '{name}' outside a start tag");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        write(&mut self.out);
        self.out.push('\'');
    }

    /// An attribute whose ` name='` is written out.
    pub(super) fn led_attribute(&mut self, lead: &str, write: impl FnOnce(&mut String)) {
        self.settle();
        debug_assert_eq!(self.state, State::Tag, "attribute{lead} outside a start tag");
        self.out.push_str(lead);
        write(&mut self.out);
        self.out.push('\'');
    }

    /// Escaped text as the content of the open element.
    pub fn text(&mut self, text: &str) {
        self.text_with(|out| escape_into(out, text));
    }

    /// Content that `write` appends; what it appends is not escaped. Nothing appended leaves the element empty.
    pub fn text_with(&mut self, write: impl FnOnce(&mut String)) {
        if !self.pending.is_empty() {
            let mut text = String::new();
            write(&mut text);
            if text.is_empty() {
                return;
            }
            self.settle_pending();
            self.out.push('>');
            self.out.push_str(&text);
            self.state = State::Text;
            return;
        }
        let before = self.out.len();
        if self.state == State::Tag {
            self.out.push('>');
        }
        let start = self.out.len();
        write(&mut self.out);
        if self.out.len() == start {
            self.out.truncate(before);
        } else {
            self.state = State::Text;
        }
    }

    /// `<name/>`.
    pub fn empty_element(&mut self, name: &str) {
        self.start(name);
        self.end(name);
    }

    /// `<name>text</name>`, with `text` escaped; an empty text gives `<name></name>`, as libvirt's printing does.
    pub fn text_element(&mut self, name: &str, text: &str) {
        self.text_element_with(name, |out| escape_into(out, text));
    }

    /// `<name>…</name>` with content that `write` appends; what it appends is not escaped.
    pub fn text_element_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.line();
        self.out.push_str(name);
        self.out.push('>');
        write(&mut self.out);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
        self.state = State::Line;
    }

    /// A line that is XML already, at the present depth; a line end is added.
    pub fn raw_line(&mut self, xml: &str) {
        self.blank_line();
        self.out.push_str(xml);
        self.out.push('\n');
    }

    /// Begins a line with blanks only.
    fn blank_line(&mut self) {
        self.line();
        self.out.pop();
        self.state = State::Line;
    }

    /// XML of several lines, each indented to the present depth.
    pub fn raw_lines(&mut self, xml: &str) {
        for line in xml.lines() {
            if line.is_empty() {
                self.raw("\n")
            } else {
                self.raw_line(line)
            }
        }
    }

    /// Ends the open start tag and appends `xml` exactly as it is; it must end with a line end.
    pub fn raw(&mut self, xml: &str) {
        self.open_body();
        self.state = State::Line;
        self.out.push_str(xml);
    }

    /// A kept element, at the present depth.
    pub fn raw_element(&mut self, element: &super::RawElement) {
        self.blank_line();
        element.dump(&mut self.out, self.depth);
        self.out.push('\n');
    }

    /// `<!-- … -->` is not written by libvirt inside definitions, but files carry one in front.
    pub fn comment(&mut self, text: &str) {
        self.blank_line();
        self.out.push_str("<!--");
        // Neither `--` nor a `-` at the end is allowed inside.
        self.out.push_str(&text.replace("--", "- -"));
        self.out
            .push_str(if text.ends_with('-') { " -->\n" } else { "-->\n" });
    }
}

/// Appends `text` with the characters escaped that libvirt escapes (`& < > ' "`). Control characters, which no XML can
/// hold, are left out, as libvirt does. Tabs and line ends stay as they are, in attributes too.
pub fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = find_escaped(rest.as_bytes()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let replacement = match from.as_bytes().first() {
            Some(b'&') => "&amp;",
            Some(b'<') => "&lt;",
            Some(b'>') => "&gt;",
            Some(b'\'') => "&apos;",
            Some(b'"') => "&quot;",
            _ => "",
        };
        out.push_str(replacement);
        rest = from.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The first byte that cannot be written as it is.
fn find_escaped(text: &[u8]) -> Option<usize> {
    let mut start = 0;
    // In steps that the compiler turns into vector instructions.
    for chunk in text.as_chunks::<16>().0 {
        if may_escape(chunk) {
            break;
        }
        start += 16;
    }
    let rest = text.get(start..).unwrap_or_default();
    if rest.len() < 16 && is_plain_end(text, rest) {
        return None;
    }
    rest.iter()
        .position(|&byte| chars::is(byte, chars::ESCAPED))
        .map(|at| start + at)
}

/// Whether nothing in the last bytes of a text, fewer than 16, can need to be escaped. Steps may go over bytes twice.
fn is_plain_end(text: &[u8], rest: &[u8]) -> bool {
    if let Some(last) = text.last_chunk::<16>() {
        return rest.is_empty() || !may_escape(last);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return !may_escape_word(u64::from_le_bytes(*first)) && !may_escape_word(u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return !may_escape_word(u64::from(first) | u64::from(last) << 32);
    }
    text.iter().all(|&byte| !chars::is(byte, chars::ESCAPED))
}

/// Whether some of the bytes must be escaped, or are white space.
#[inline]
fn may_escape(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(false, |found, &byte| {
        found
            | (byte < 0x20)
            | (byte == b'&')
            | (byte == b'<')
            | (byte == b'>')
            | (byte == b'\'')
            | (byte == b'"')
    })
}

/// [`may_escape`] of eight bytes, all at once.
#[inline]
fn may_escape_word(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    // A byte below `limit` borrows from its top bit.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let has = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    // Of two that differ in one bit it is enough to look for the one that has it.
    let found = below(word, 0x20)
        | has(word, b'"')
        | has(word | ONES, b'&' | b'\'')
        | has(word | (ONES * 2), b'<' | b'>');
    found & TOPS != 0
}

/// Appends a number in decimal.
pub fn push_unsigned(out: &mut String, mut value: u64) {
    if value < 100 {
        if value >= 10 {
            out.push(digit(value / 10));
        }
        out.push(digit(value % 10));
        return;
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        if let Some(place) = digits.get_mut(at) {
            *place = b'0' + (value % 10) as u8;
        }
        value /= 10;
    }
    out.push_str(std::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or_default());
}

/// Appends a number in decimal.
pub fn push_signed(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    push_unsigned(out, value.unsigned_abs());
}

/// Appends a number in base 8, 10 or 16, in lower case, filled with zeros to `width` digits.
pub fn push_radix(out: &mut String, value: u64, radix: u32, width: usize) {
    let (bits, significant) = match radix {
        16 => (4, (64 - value.leading_zeros()).div_ceil(4)),
        8 => (3, (64 - value.leading_zeros()).div_ceil(3)),
        _ => {
            let digits = value.checked_ilog10().map_or(1, |log| log + 1);
            for _ in digits as usize..width.min(64) {
                out.push('0');
            }
            return push_unsigned(out, value);
        }
    };
    let mut digits = (significant as usize).max(width.min(64)).max(1) as u32;
    if bits == 4 {
        // PCI addresses and the like: pairs of digits.
        while digits >= 2 {
            digits -= 2;
            let pair = value.checked_shr(digits * 4).unwrap_or(0) as usize & 0xFF;
            out.push_str(HEX_PAIRS.get(pair * 2..pair * 2 + 2).unwrap_or_default());
        }
    }
    for place in (0..digits).rev() {
        let shifted = value.checked_shr(place * bits).unwrap_or(0);
        out.push(digit(shifted & ((1 << bits) - 1)));
    }
}

/// Appends a byte as two hexadecimal digits, in lower case.
pub fn push_hex_byte(out: &mut String, byte: u8) {
    let at = usize::from(byte) * 2;
    out.push_str(HEX_PAIRS.get(at..at + 2).unwrap_or_default());
}

/// `00` to `ff`.
static HEX_PAIRS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

/// The character for a value below 16.
fn digit(value: u64) -> char {
    let value = value as u8;
    char::from(if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    })
}
