//! From source text to [`Doc`]: quick-xml splits the text into tags and runs, everything it does not check is checked
//! here. [`fill`] is the only door, so that the tokenizer can be exchanged without anybody noticing.

use quick_xml::events::Event;

use super::chars::{self, is_space};
use super::doc::{Attribute, Doc, DocOptions, NONE, Node, malformed};
use super::scan::{decode_attribute, scan_attribute};
use crate::error::{Result, VirtError};

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// Reads a whole document.
pub(super) fn fill<'s>(source: &'s str, options: &DocOptions<'_>) -> Result<Doc<'s>> {
    let source = source.strip_prefix('\u{FEFF}').unwrap_or(source);
    if source.len() > options.limits.bytes.min(u32::MAX as usize - 1) {
        return Err(malformed(
            options,
            "",
            0,
            &format!(
                "the document has {} bytes, at most {} are read",
                source.len(),
                options.limits.bytes
            ),
        ));
    }
    if let Some(offset) = chars::find_forbidden(source) {
        return Err(malformed(
            options,
            source,
            offset,
            "the document holds a character that XML does not allow",
        ));
    }
    let mut filler = Filler {
        options,
        has_carriage_return: source.contains('\r'),
        doc: Doc {
            source,
            name: options.name.to_owned(),
            domain: options.domain,
            nodes: Vec::with_capacity((source.len() / 48).min(4096) + 4),
            attributes: Vec::with_capacity((source.len() / 48).min(4096) + 4),
            namespaces: vec![String::new(), XML_NAMESPACE.to_owned()],
            origins: None,
        },
        open: Vec::with_capacity(16),
        bindings: Vec::new(),
    };
    filler.run()?;
    Ok(filler.doc)
}

struct Open {
    node: u32,
    last_child: u32,
    /// How many runs of text, references, CDATA, comments and instructions the content has so far.
    runs: u32,
    simple: bool,
    bindings: usize,
    child_bits: u64,
}

/// What was seen while an element's attributes were read.
#[derive(Default)]
struct Attributes {
    /// The names' bits.
    bits: u64,
    /// Two names have the same bit: they may be the same.
    repeated: bool,
    /// A name has a prefix or declares a namespace.
    prefixed: bool,
}

struct Binding<'s> {
    prefix: &'s str,
    namespace: u32,
}

struct Filler<'s, 'o, 'n> {
    options: &'o DocOptions<'n>,
    has_carriage_return: bool,
    doc: Doc<'s>,
    open: Vec<Open>,
    bindings: Vec<Binding<'s>>,
}

impl<'s> Filler<'s, '_, '_> {
    #[cold]
    fn error(&self, offset: usize, what: &str) -> VirtError {
        malformed(self.options, self.doc.source, offset, what)
    }

    fn run(&mut self) -> Result<()> {
        let source = self.doc.source;
        let mut reader = quick_xml::Reader::from_str(source);
        let config = reader.config_mut();
        // Both are checked here, against the arena.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        loop {
            let start = reader.buffer_position() as usize;
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err(self.error(reader.error_position() as usize, &error.to_string())),
            };
            let end = reader.buffer_position() as usize;
            match event {
                Event::Start(tag) => self.start(start, end, tag.name().as_ref().len(), false)?,
                Event::Empty(tag) => self.start(start, end, tag.name().as_ref().len(), true)?,
                Event::End(_) => self.end(start, end)?,
                Event::Text(_) => self.text(start, end)?,
                Event::GeneralRef(name) => {
                    if let Err(what) = chars::resolve_reference(&name) {
                        return Err(self.error(start, what));
                    }
                    match self.open.last_mut() {
                        Some(open) => open.simple = false,
                        None => return Err(self.error(start, "text outside the root element")),
                    }
                }
                Event::CData(_) => match self.open.last_mut() {
                    Some(open) => open.simple = false,
                    None => return Err(self.error(start, "text outside the root element")),
                },
                Event::Comment(_) => {
                    let text = source.get(start + 4..end.saturating_sub(3)).unwrap_or_default();
                    if text.contains("--") || text.ends_with('-') {
                        return Err(self.error(start, "'--' is not allowed inside a comment"));
                    }
                    self.not_simple();
                }
                Event::PI(instruction) => {
                    let target = instruction.target();
                    if target.eq_ignore_ascii_case("xml") {
                        return Err(self.error(start, "an XML declaration is only allowed at the very start"));
                    }
                    if let Err(what) = chars::check_name(target) {
                        return Err(self.error(start, what));
                    }
                    self.not_simple();
                }
                Event::Decl(_) => {
                    if start != 0 {
                        return Err(self.error(start, "an XML declaration is only allowed at the very start"));
                    }
                    self.declaration(source.get(5..end.saturating_sub(2)).unwrap_or_default())?;
                }
                Event::DocType(_) => {
                    return Err(self.error(start, "document type declarations are not allowed"));
                }
                Event::Eof => break,
            }
        }
        if let Some(open) = self.open.last() {
            let node = self.doc.nodes.get(open.node as usize).copied();
            let (start, name) = node.map_or((0, ""), |node| {
                (
                    node.start,
                    self.doc
                        .slice(node.start + 1, node.start + 1 + u32::from(node.name_len)),
                )
            });
            let what = format!("element '{name}' is not closed before the end of the document");
            return Err(self.error(start as usize, &what));
        }
        if self.doc.nodes.is_empty() {
            return Err(self.error(source.len(), "the document has no root element"));
        }
        Ok(())
    }

    fn not_simple(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.simple = false;
        }
    }

    fn text(&mut self, start: usize, end: usize) -> Result<()> {
        let text = self.doc.source.get(start..end).unwrap_or_default();
        if text.as_bytes().contains(&b'>')
            && let Some(at) = text.find("]]>")
        {
            return Err(self.error(start + at, "']]>' is not allowed in text"));
        }
        let carriage_return = self.has_carriage_return && text.contains('\r');
        match self.open.last_mut() {
            Some(open) => {
                open.runs += 1;
                if open.runs > 1 || carriage_return {
                    open.simple = false;
                }
                Ok(())
            }
            None if chars::is_blank(text) => Ok(()),
            None => {
                let at = text.bytes().position(|byte| !is_space(byte)).unwrap_or(0);
                Err(self.error(start + at, "text outside the root element"))
            }
        }
    }

    fn start(&mut self, start: usize, end: usize, name_len: usize, empty: bool) -> Result<()> {
        let source = self.doc.source;
        let name = source.get(start + 1..start + 1 + name_len).unwrap_or_default();
        let prefix_len = chars::check_name(name).map_err(|what| self.error(start + 1, what))?;
        if self.open.len() >= self.options.limits.depth {
            let what = format!("elements are nested more than {} deep", self.options.limits.depth);
            return Err(self.error(start, &what));
        }
        if self.doc.nodes.len() >= self.options.limits.elements {
            let what = format!(
                "the document has more than {} elements",
                self.options.limits.elements
            );
            return Err(self.error(start, &what));
        }
        let index = self.doc.nodes.len() as u32;
        let key = chars::name_key(name.as_bytes());
        let parent = match self.open.last_mut() {
            Some(parent) => {
                let last = std::mem::replace(&mut parent.last_child, index);
                parent.simple = false;
                parent.child_bits |= chars::name_bit(key);
                let link = if last == NONE {
                    self.doc
                        .nodes
                        .get_mut(parent.node as usize)
                        .map(|node| &mut node.first_child)
                } else {
                    self.doc
                        .nodes
                        .get_mut(last as usize)
                        .map(|node| &mut node.next_sibling)
                };
                if let Some(link) = link {
                    *link = index;
                }
                parent.node
            }
            None if index == 0 => NONE,
            None => return Err(self.error(start, "the document has a second root element")),
        };
        let attributes_end = if empty { end - 2 } else { end - 1 };
        let first_attribute = self.doc.attributes.len();
        let bindings = self.bindings.len();
        let Attributes {
            bits,
            repeated,
            prefixed,
        } = self.attributes(start + 1 + name_len, attributes_end)?;
        if repeated {
            self.check_duplicates(first_attribute)?;
        }
        let mut namespace = 0;
        if prefixed || prefix_len > 0 || !self.bindings.is_empty() {
            self.declare(first_attribute)?;
            let prefix = name.get(..usize::from(prefix_len)).unwrap_or_default();
            namespace = self.resolve(prefix, start + 1)?;
            self.resolve_attributes(first_attribute)?;
        }
        self.doc.nodes.push(Node {
            key,
            child_bits: 0,
            attribute_bits: bits,
            start: start as u32,
            end: end as u32,
            content_start: end as u32,
            content_end: end as u32,
            name_len: name_len as u16,
            prefix_len,
            namespace,
            parent,
            first_child: NONE,
            next_sibling: NONE,
            first_attribute: first_attribute as u32,
            attribute_count: (self.doc.attributes.len() - first_attribute) as u32,
            plain: true,
        });
        if empty {
            self.bindings.truncate(bindings);
        } else {
            self.open.push(Open {
                node: index,
                last_child: NONE,
                runs: 0,
                simple: true,
                bindings,
                child_bits: 0,
            });
        }
        Ok(())
    }

    fn end(&mut self, start: usize, end: usize) -> Result<()> {
        let source = self.doc.source;
        let written = source.get(start + 2..end - 1).unwrap_or_default();
        let name = written.trim_end_matches(|c: char| c.is_ascii() && is_space(c as u8));
        let Some(open) = self.open.pop() else {
            return Err(self.error(start, &format!("'</{name}>' closes nothing")));
        };
        self.bindings.truncate(open.bindings);
        let Some(node) = self.doc.nodes.get_mut(open.node as usize) else {
            return Ok(());
        };
        let opened = source
            .get(node.start as usize + 1..node.start as usize + 1 + usize::from(node.name_len))
            .unwrap_or_default();
        if opened != name {
            let line = super::doc::Position::of(source, node.start as usize).line;
            let what = format!("'</{name}>' does not close '<{opened}>', which was opened in line {line}");
            return Err(self.error(start, &what));
        }
        node.content_end = start as u32;
        node.end = end as u32;
        node.plain = open.simple;
        node.child_bits = open.child_bits;
        Ok(())
    }

    /// Reads the attributes between two offsets.
    fn attributes(&mut self, mut at: usize, end: usize) -> Result<Attributes> {
        let mut seen = Attributes::default();
        while let Some(scanned) =
            scan_attribute(self.doc.source, at, end).map_err(|(at, what)| self.error(at, what))?
        {
            at = scanned.end;
            if self.doc.attributes.len() >= self.options.limits.attributes {
                let what = format!(
                    "the document has more than {} attributes",
                    self.options.limits.attributes
                );
                return Err(self.error(scanned.name_start, &what));
            }
            let name = self
                .doc
                .source
                .as_bytes()
                .get(scanned.name_start..scanned.name_start + scanned.name_len);
            let name = name.unwrap_or_default();
            let key = chars::name_key(name);
            let bit = chars::name_bit(key);
            seen.repeated |= seen.bits & bit != 0;
            seen.bits |= bit;
            seen.prefixed |= scanned.prefix_len > 0 || name == b"xmlns";
            self.doc.attributes.push(Attribute {
                key,
                name_start: scanned.name_start as u32,
                value_start: scanned.value_start as u32,
                value_len: scanned.value_len as u32,
                name_len: scanned.name_len as u16,
                prefix_len: scanned.prefix_len,
                encoded: scanned.encoded,
                namespace: 0,
            });
        }
        Ok(seen)
    }

    fn attribute_name(&self, attribute: &Attribute) -> &'s str {
        let start = attribute.name_start as usize;
        self.doc
            .source
            .get(start..start + usize::from(attribute.name_len))
            .unwrap_or_default()
    }

    fn check_duplicates(&self, first: usize) -> Result<()> {
        let attributes = self.doc.attributes.get(first..).unwrap_or_default();
        let duplicate = if attributes.len() <= 16 {
            attributes.iter().enumerate().find_map(|(at, attribute)| {
                let before = attributes.get(..at).unwrap_or_default();
                before
                    .iter()
                    .any(|other| {
                        other.key == attribute.key
                            && self.attribute_name(other) == self.attribute_name(attribute)
                    })
                    .then_some(attribute)
            })
        } else {
            let mut seen = std::collections::HashSet::with_capacity(attributes.len());
            attributes
                .iter()
                .find(|attribute| !seen.insert(self.attribute_name(attribute)))
        };
        match duplicate {
            None => Ok(()),
            Some(attribute) => {
                let what = format!("attribute '{}' is given twice", self.attribute_name(attribute));
                Err(self.error(attribute.name_start as usize, &what))
            }
        }
    }

    /// Enters the namespaces that an element's attributes declare.
    fn declare(&mut self, first: usize) -> Result<()> {
        for at in first..self.doc.attributes.len() {
            let Some(attribute) = self.doc.attributes.get(at).copied() else {
                break;
            };
            let name = self.attribute_name(&attribute);
            let prefix = match name.strip_prefix("xmlns") {
                Some("") => "",
                Some(rest) => match rest.strip_prefix(':') {
                    Some(prefix) => prefix,
                    None => continue,
                },
                None => continue,
            };
            let start = attribute.value_start as usize;
            let raw = self
                .doc
                .source
                .get(start..start + attribute.value_len as usize)
                .unwrap_or_default();
            let uri = decode_attribute(raw);
            let wrong = match prefix {
                "xmlns" => Some("the prefix 'xmlns' cannot be declared"),
                "xml" if uri != XML_NAMESPACE => Some("the prefix 'xml' is bound to another namespace"),
                "xml" => None,
                _ if uri == XML_NAMESPACE || uri == XMLNS_NAMESPACE => {
                    Some("a reserved namespace is bound to a prefix")
                }
                "" => None,
                _ if uri.is_empty() => Some("a prefix is bound to an empty namespace"),
                _ => None,
            };
            if let Some(what) = wrong {
                return Err(self.error(attribute.name_start as usize, what));
            }
            let namespace = match self.doc.namespaces.iter().position(|known| *known == uri) {
                Some(known) => known as u32,
                None if self.doc.namespaces.len() >= MAX_NAMESPACES => {
                    return Err(self.error(start, "the document has too many namespaces"));
                }
                None => {
                    self.doc.namespaces.push(uri);
                    self.doc.namespaces.len() as u32 - 1
                }
            };
            if self.bindings.len() >= MAX_NAMESPACES {
                return Err(self.error(start, "too many namespaces are declared"));
            }
            self.bindings.push(Binding { prefix, namespace });
        }
        Ok(())
    }

    fn resolve(&self, prefix: &str, offset: usize) -> Result<u32> {
        if prefix == "xml" {
            return Ok(1);
        }
        match self
            .bindings
            .iter()
            .rev()
            .find(|binding| binding.prefix == prefix)
        {
            Some(binding) => Ok(binding.namespace),
            None if prefix.is_empty() => Ok(0),
            None => Err(self.error(
                offset,
                &format!("the namespace prefix '{prefix}' is not declared"),
            )),
        }
    }

    fn resolve_attributes(&mut self, first: usize) -> Result<()> {
        let mut seen: Vec<(u32, &str)> = Vec::new();
        for at in first..self.doc.attributes.len() {
            let Some(attribute) = self.doc.attributes.get(at).copied() else {
                break;
            };
            if attribute.prefix_len == 0 {
                continue;
            }
            let name = self.attribute_name(&attribute);
            let prefix = name.get(..usize::from(attribute.prefix_len)).unwrap_or_default();
            if prefix == "xmlns" {
                continue;
            }
            let namespace = self.resolve(prefix, attribute.name_start as usize)?;
            let local = name
                .get(usize::from(attribute.prefix_len) + 1..)
                .unwrap_or_default();
            if seen.len() >= MAX_NAMESPACES {
                return Err(self.error(
                    attribute.name_start as usize,
                    "an element has too many attributes with a prefix",
                ));
            }
            if seen.contains(&(namespace, local)) {
                let what = format!("attribute '{local}' is given twice in one namespace");
                return Err(self.error(attribute.name_start as usize, &what));
            }
            seen.push((namespace, local));
            if let Some(attribute) = self.doc.attributes.get_mut(at) {
                attribute.namespace = namespace;
            }
        }
        Ok(())
    }

    /// `version`, `encoding`, `standalone`: in this order, with these values.
    fn declaration(&self, text: &str) -> Result<()> {
        let mut at = 0;
        let mut expected: &[&str] = &["version", "encoding", "standalone"];
        while let Some(scanned) =
            scan_attribute(text, at, text.len()).map_err(|(at, what)| self.error(at + 5, what))?
        {
            at = scanned.end;
            let name = text
                .get(scanned.name_start..scanned.name_start + scanned.name_len)
                .unwrap_or_default();
            let value = text
                .get(scanned.value_start..scanned.value_start + scanned.value_len)
                .unwrap_or_default();
            let Some(place) = expected.iter().position(|known| *known == name) else {
                return Err(self.error(
                    scanned.name_start + 5,
                    "the XML declaration holds something unexpected",
                ));
            };
            if expected.len() == 3 && name != "version" {
                return Err(self.error(
                    scanned.name_start + 5,
                    "the XML declaration does not begin with 'version'",
                ));
            }
            expected = expected.get(place + 1..).unwrap_or_default();
            let fits = match name {
                "version" => value.strip_prefix("1.").is_some_and(|minor| {
                    !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
                }),
                "encoding" => ["UTF-8", "UTF8", "US-ASCII", "ASCII"]
                    .iter()
                    .any(|known| value.eq_ignore_ascii_case(known)),
                _ => matches!(value, "yes" | "no"),
            };
            if !fits {
                let what = format!("the XML declaration gives '{value}' as {name}, which is not supported");
                return Err(self.error(scanned.value_start + 5, &what));
            }
        }
        if expected.len() == 3 {
            return Err(self.error(0, "the XML declaration has no version"));
        }
        Ok(())
    }
}

/// Most different namespaces in one document, and most declarations in force at one place. They are searched one by one.
const MAX_NAMESPACES: usize = 256;
