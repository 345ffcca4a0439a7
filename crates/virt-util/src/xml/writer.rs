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
    /// The state below the pending elements, while there are any.
    below: State,
    flags: XmlFlags,
    /// Elements that are begun but of which nothing is written yet: see [`Writer::begin_optional`].
    pending: Vec<&'static str>,
}

/// What was written last, and so what is still owed. The end of a tag is written together with what follows it: fewer and
/// longer pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line.
    Line,
    /// Behind text: what follows stays on the line.
    Text,
    /// A start tag is open: `<name a='b'`. Owed are `>` and a line end, or `/>`.
    Tag,
    /// Behind `</name`.
    Closed,
    /// Behind an element without content, which is to end in `/>`.
    Empty,
    /// There are pending elements.
    Pending,
}

/// An element that may turn out empty: see [`Writer::begin_optional`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// How many elements were pending before; the greatest number if it is there already.
    level: usize,
}

/// What stands between the last thing and the next at each of the usual depths.
type Joints = [&'static str; 10];

macro_rules! joints {
    ($before:literal, $behind:literal) => {
        [
            concat!($before, $behind),
            concat!($before, "  ", $behind),
            concat!($before, "    ", $behind),
            concat!($before, "      ", $behind),
            concat!($before, "        ", $behind),
            concat!($before, "          ", $behind),
            concat!($before, "            ", $behind),
            concat!($before, "              ", $behind),
            concat!($before, "                ", $behind),
            concat!($before, "                  ", $behind),
        ]
    };
}

/// Before a start tag, by state.
static STARTS: [Joints; 5] = [
    joints!("", "<"),
    joints!("", "<"),
    joints!(">\n", "<"),
    joints!(">\n", "<"),
    joints!("/>\n", "<"),
];

/// Before an end tag on a line of its own, by state; [`State::Text`] has its on the same line.
static ENDS: [Joints; 5] = [
    joints!("", "</"),
    ["</"; 10],
    joints!(">\n", "</"),
    joints!(">\n", "</"),
    joints!("/>\n", "</"),
];

impl State {
    /// What is owed, up to the end of the line.
    fn owed(self) -> &'static str {
        match self {
            Self::Line | Self::Text | Self::Pending => "",
            Self::Tag | Self::Closed => ">\n",
            Self::Empty => "/>\n",
        }
    }
}

impl Writer {
    /// An empty writer. `flags` say which fields are written.
    pub fn new(flags: XmlFlags) -> Self {
        Self {
            // Of the usual domain; room that is not used costs nothing.
            out: String::with_capacity(16 * 1024),
            depth: 0,
            state: State::Line,
            below: State::Line,
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
    pub fn finish(mut self) -> String {
        if self.state != State::Tag {
            self.out.push_str(self.state.owed());
        }
        self.out
    }

    /// Appends what stands before a tag.
    #[inline]
    fn join(&mut self, joints: &'static [Joints; 5], tag: &'static str) {
        let joints = joints.get(self.state as usize);
        match joints.and_then(|joints| joints.get(self.depth)) {
            Some(joint) => self.out.push_str(joint),
            None => self.join_deep(tag),
        }
    }

    /// The same, further in than [`Joints`] go.
    #[cold]
    fn join_deep(&mut self, tag: &'static str) {
        self.out.push_str(self.state.owed());
        if self.state != State::Text || tag == "<" {
            for _ in 0..self.depth {
                self.out.push_str("  ");
            }
        }
        self.out.push_str(tag);
    }

    /// Writes the start tags of pending elements.
    #[inline]
    fn settle(&mut self) {
        if self.state == State::Pending {
            self.settle_pending();
        }
    }

    #[inline(never)]
    fn settle_pending(&mut self) {
        self.state = self.below;
        if let [name] = *self.pending.as_slice() {
            self.pending.clear();
            return self.start(name);
        }
        let mut pending = std::mem::take(&mut self.pending);
        for name in &pending {
            self.start(name);
        }
        pending.clear();
        self.pending = pending;
    }

    /// Opens the element `name`.
    pub fn start(&mut self, name: &str) {
        self.settle();
        self.join(&STARTS, "<");
        self.out.push_str(name);
        self.state = State::Tag;
        self.depth += 1;
    }

    /// Closes the element `name`.
    pub fn end(&mut self, name: &str) {
        self.settle();
        self.depth = self.depth.saturating_sub(1);
        self.state = match self.state {
            State::Tag => State::Empty,
            _ => {
                self.join(&ENDS, "</");
                self.out.push_str(name);
                State::Closed
            }
        };
    }

    /// Ends the line, so that the next thing begins one. A start tag that is open ends there: even an empty element is
    /// written as two tags on two lines.
    pub fn open_body(&mut self) {
        self.settle();
        if self.state != State::Text {
            self.out.push_str(self.state.owed());
            self.state = State::Line;
        }
    }

    /// Opens the element `name`, to be closed with [`Writer::end_optional`] all the same.
    pub fn begin(&mut self, name: &str) -> Mark {
        self.start(name);
        Mark { level: usize::MAX }
    }

    /// Opens the element `name` at the first thing that is written into it. If there is nothing, neither attributes nor
    /// content, until [`Writer::end_optional`], there is no element.
    #[inline]
    pub fn begin_optional(&mut self, name: &'static str) -> Mark {
        let mark = Mark {
            level: self.pending.len(),
        };
        if self.state != State::Pending {
            self.below = self.state;
            self.state = State::Pending;
        }
        self.pending.push(name);
        mark
    }

    /// Closes an element begun with [`Writer::begin_optional`]. Says whether there is one.
    pub fn end_optional(&mut self, name: &str, mark: Mark) -> bool {
        if self.pending.len() > mark.level {
            self.pending.truncate(mark.level);
            if mark.level == 0 {
                self.state = self.below;
            }
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

    /// [`Writer::attribute_with`], but all that stands before the value, ` name='`, is written out: for what most documents
    /// have many times.
    #[inline]
    pub fn led_attribute(&mut self, lead: &str, write: impl FnOnce(&mut String)) {
        self.settle();
        debug_assert_eq!(self.state, State::Tag, "attribute{lead} outside a start tag");
        self.out.push_str(lead);
        write(&mut self.out);
        self.out.push('\'');
    }

    /// An element that is one attribute, whose `element name='` is written out.
    #[inline]
    pub(super) fn led_leaf(&mut self, lead: &str, write: impl FnOnce(&mut String)) {
        self.begin_leaf(lead);
        write(&mut self.out);
        self.out.push('\'');
    }

    /// Appends an element without content but for what may follow inside its tag.
    fn begin_leaf(&mut self, lead: &str) {
        self.settle();
        self.join(&STARTS, "<");
        self.out.push_str(lead);
        self.state = State::Empty;
    }

    /// Escaped text as the content of the open element.
    pub fn text(&mut self, text: &str) {
        self.text_with(|out| escape_into(out, text));
    }

    /// Content that `write` appends; what it appends is not escaped. Nothing appended leaves the element empty.
    pub fn text_with(&mut self, write: impl FnOnce(&mut String)) {
        if self.state == State::Pending {
            let mut text = String::new();
            write(&mut text);
            if !text.is_empty() {
                self.settle_pending();
                self.begin_text();
                self.out.push_str(&text);
                self.state = State::Text;
            }
            return;
        }
        let before = self.out.len();
        self.begin_text();
        let start = self.out.len();
        write(&mut self.out);
        if self.out.len() == start {
            self.out.truncate(before);
        } else {
            self.state = State::Text;
        }
    }

    /// Appends what stands before text.
    fn begin_text(&mut self) {
        self.out.push_str(match self.state {
            State::Tag => ">",
            state => state.owed(),
        });
    }

    /// `<name/>`.
    pub fn empty_element(&mut self, name: &str) {
        self.begin_leaf(name);
    }

    /// `<name>text</name>`, with `text` escaped; an empty text gives `<name></name>`, as libvirt's printing does.
    pub fn text_element(&mut self, name: &str, text: &str) {
        self.text_element_with(name, |out| escape_into(out, text));
    }

    /// `<name>…</name>` with content that `write` appends; what it appends is not escaped.
    pub fn text_element_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.settle();
        self.join(&STARTS, "<");
        self.out.push_str(name);
        self.out.push('>');
        write(&mut self.out);
        self.out.push_str("</");
        self.out.push_str(name);
        self.state = State::Closed;
    }

    /// A line that is XML already, at the present depth; a line end is added.
    pub fn raw_line(&mut self, xml: &str) {
        self.blank_line();
        self.out.push_str(xml);
        self.out.push('\n');
    }

    /// Begins a line with blanks only.
    fn blank_line(&mut self) {
        self.settle();
        self.join(&STARTS, "<");
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
    if is_plain(text.as_bytes()) {
        out.push_str(text);
    } else {
        escape_each(out, text);
    }
}

/// [`escape_into`] of a text that probably holds something to escape.
#[cold]
fn escape_each(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| chars::is(byte, chars::ESCAPED)) {
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

/// Whether all of a text can certainly be written as it is. Looks at eight bytes at a time, at some of them twice.
fn is_plain(text: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        if text.len() <= 16 {
            return !any_escaped(escaped(first) | escaped(last));
        }
        let (words, _) = text.as_chunks();
        let found = words.iter().fold(escaped(last), |found, word| {
            found | escaped(u64::from_le_bytes(*word))
        });
        return !any_escaped(found);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return !any_escaped(escaped(u64::from(first) | u64::from(last) << 32));
    }
    text.iter().all(|&byte| !chars::is(byte, chars::ESCAPED))
}

/// Marks in the top bits of bytes, of which some is set if a byte of `word` must be escaped or is white space; the other
/// bits mean nothing.
#[inline]
fn escaped(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // A byte below another borrows from its top bit; one that equals another is below 1 once they are compared.
    let is = |word: u64, byte: u8| (word ^ each(byte)).wrapping_sub(each(1));
    let found = word.wrapping_sub(each(0x20))
        | is(word, b'"')
        // Of two that differ in one bit it is enough to look for the one that has it.
        | is(word | each(1), b'\'')
        | is(word | each(2), b'>');
    found & !word
}

fn any_escaped(marks: u64) -> bool {
    marks & u64::from_le_bytes([0x80; 8]) != 0
}

/// Appends a number in decimal.
pub fn push_unsigned(out: &mut String, value: u64) {
    if value >= 100 {
        push_unsigned(out, value / 100);
    }
    let at = (value % 100) as usize * 2;
    let pair = if value < 10 { at + 1..at + 2 } else { at..at + 2 };
    out.push_str(PAIRS.get(pair).unwrap_or_default());
}

/// `00` to `99`.
static PAIRS: &str = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

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
