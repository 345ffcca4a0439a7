//! The canonical writer: libvirt's layout.
//!
//! Two blanks per level, attributes in single quotes, `<a/>` for an element without content, a line end after each
//! element. Everything is appended to one `String`.

use super::XmlFlags;

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

/// Where an element that may turn out empty began: see [`Writer::begin_optional`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    before: usize,
    state: State,
    after: usize,
}

impl Writer {
    /// An empty writer. `flags` say which fields are written.
    pub fn new(flags: XmlFlags) -> Self {
        Self {
            out: String::with_capacity(4096),
            depth: 0,
            state: State::Line,
            flags,
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
        self.depth
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

    fn indent(&mut self) {
        const BLANKS: &str = "                                                                ";
        let mut left = self.depth * 2;
        while left > 0 {
            let part = left.min(BLANKS.len());
            self.out.push_str(BLANKS.get(..part).unwrap_or_default());
            left -= part;
        }
    }

    /// Ends an open start tag and begins a line for a child.
    fn line(&mut self) {
        if self.state == State::Tag {
            self.out.push_str(">\n");
        }
        self.state = State::Line;
        self.indent();
    }

    /// Opens the element `name`.
    pub fn start(&mut self, name: &str) {
        self.line();
        self.out.push('<');
        self.out.push_str(name);
        self.state = State::Tag;
        self.depth += 1;
    }

    /// Closes the element `name`.
    pub fn end(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        match self.state {
            State::Tag => self.out.push_str("/>\n"),
            state => {
                if state == State::Line {
                    self.indent();
                }
                self.out.push_str("</");
                self.out.push_str(name);
                self.out.push_str(">\n");
            }
        }
        self.state = State::Line;
    }

    /// Ends the start tag now, so that even an empty element is written as two tags on two lines.
    pub fn open_body(&mut self) {
        if self.state == State::Tag {
            self.out.push_str(">\n");
            self.state = State::Line;
        }
    }

    /// Opens the element `name` for as long as something is written into it: [`Writer::end_optional`] takes it back if it
    /// has neither attributes nor content.
    pub fn begin_optional(&mut self, name: &str) -> Mark {
        let (before, state) = (self.out.len(), self.state);
        self.start(name);
        Mark {
            before,
            state,
            after: self.out.len(),
        }
    }

    /// Closes an element begun with [`Writer::begin_optional`]. Says whether it stayed.
    pub fn end_optional(&mut self, name: &str, mark: Mark) -> bool {
        if self.out.len() == mark.after {
            self.out.truncate(mark.before);
            self.state = mark.state;
            self.depth = self.depth.saturating_sub(1);
            false
        } else {
            self.end(name);
            true
        }
    }

    /// ` name='value'`, with `value` escaped. Only while a start tag is open.
    pub fn attribute(&mut self, name: &str, value: &str) {
        self.attribute_with(name, |out| escape_into(out, value));
    }

    /// ` name='…'` with a value that `write` appends; what it appends is not escaped.
    pub fn attribute_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        debug_assert_eq!(self.state, State::Tag, "attribute '{name}' outside a start tag");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        write(&mut self.out);
        self.out.push('\'');
    }

    /// Escaped text as the content of the open element.
    pub fn text(&mut self, text: &str) {
        self.text_with(|out| escape_into(out, text));
    }

    /// Content that `write` appends; what it appends is not escaped. Nothing appended leaves the element empty.
    pub fn text_with(&mut self, write: impl FnOnce(&mut String)) {
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
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        write(&mut self.out);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }

    /// A line that is XML already, at the present depth; a line end is added.
    pub fn raw_line(&mut self, xml: &str) {
        self.line();
        self.out.push_str(xml);
        self.out.push('\n');
    }

    /// XML of several lines, each indented to the present depth.
    pub fn raw_lines(&mut self, xml: &str) {
        for line in xml.lines() {
            if line.is_empty() {
                self.out.push('\n')
            } else {
                self.raw_line(line)
            }
        }
    }

    /// Ends the open start tag and appends `xml` exactly as it is; it must end with a line end.
    pub fn raw(&mut self, xml: &str) {
        if self.state == State::Tag {
            self.out.push_str(">\n");
        }
        self.state = State::Line;
        self.out.push_str(xml);
    }

    /// A kept element, at the present depth.
    pub fn raw_element(&mut self, element: &super::RawElement) {
        self.line();
        element.dump(&mut self.out, self.depth);
        self.out.push('\n');
    }

    /// `<!-- … -->` is not written by libvirt inside definitions, but files carry one in front.
    pub fn comment(&mut self, text: &str) {
        self.line();
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
    while let Some(at) = rest.bytes().position(needs_care) {
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

fn needs_care(byte: u8) -> bool {
    match byte {
        b'&' | b'<' | b'>' | b'\'' | b'"' => true,
        b'\t' | b'\n' | b'\r' => false,
        byte => byte < 0x20,
    }
}

/// Appends a number in decimal.
pub fn push_unsigned(out: &mut String, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (value % 10) as u8;
        }
        value /= 10;
        if value == 0 {
            break;
        }
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
pub fn push_radix(out: &mut String, mut value: u64, radix: u32, width: usize) {
    let mut digits = [b'0'; 64];
    let mut at = digits.len();
    let radix = u64::from(radix.clamp(2, 16));
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b"0123456789abcdef"
                .get((value % radix) as usize)
                .copied()
                .unwrap_or(b'0');
        }
        value /= radix;
        if value == 0 {
            break;
        }
    }
    let at = at.min(digits.len() - width.min(digits.len()));
    out.push_str(std::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or_default());
}
