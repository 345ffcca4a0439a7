//! The parsed document: an arena of elements that point into the source text.
//!
//! Nothing is copied while a document is read: an element is a few offsets, attributes lie in one list, and values are
//! decoded only when they are asked for and only where they hold references. Text, comments and processing instructions
//! have no node of their own: an element knows the source range of its content.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::chars;
use super::raw::RawElement;
use super::scan;
use super::tokenize;
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// "No such node".
pub(super) const NONE: u32 = u32::MAX;

/// What a document may cost. Reading stops with an error at the first limit that is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest source, in bytes.
    pub bytes: usize,
    /// Deepest nesting of elements; the root has depth 1.
    pub depth: usize,
    /// Most elements.
    pub elements: usize,
    /// Most attributes of all elements together.
    pub attributes: usize,
}

impl Default for Limits {
    /// 10 MiB, 256 levels, half a million elements, a million attributes.
    fn default() -> Self {
        Self {
            bytes: 10 << 20,
            depth: 256,
            elements: 500_000,
            attributes: 1_000_000,
        }
    }
}

/// How to read a document.
#[derive(Clone, Copy, Debug)]
pub struct DocOptions<'n> {
    /// What errors call the source: a path, or a description such as `(domain_definition)`.
    pub name: &'n str,
    /// Which part of the system errors belong to.
    pub domain: ErrorDomain,
    /// The limits.
    pub limits: Limits,
}

impl Default for DocOptions<'_> {
    fn default() -> Self {
        Self {
            name: "(xml)",
            domain: ErrorDomain::XML,
            limits: Limits::default(),
        }
    }
}

impl<'n> DocOptions<'n> {
    /// The usual limits, with errors that call the source `name`.
    pub fn named(name: &'n str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Says which part of the system errors belong to.
    #[must_use]
    pub fn in_domain(self, domain: ErrorDomain) -> Self {
        Self { domain, ..self }
    }
}

/// A place in a source text, counted from 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

impl Position {
    /// No place is known: the text was never in a file.
    pub const UNKNOWN: Self = Self { line: 0, column: 0 };

    /// Is there a place?
    pub fn is_known(self) -> bool {
        self.line > 0
    }

    /// The place of byte `offset` in `source`.
    pub fn of(source: &str, offset: usize) -> Self {
        let before = source.as_bytes().get(..offset).unwrap_or(source.as_bytes());
        let line = before.iter().filter(|&&byte| byte == b'\n').count();
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let tail = before.get(start..).unwrap_or_default();
        // A character is counted at its first byte.
        let column = tail.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        Self {
            line: line as u32 + 1,
            column: column as u32 + 1,
        }
    }
}

/// `line:column:`, or nothing if the place is not known.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_known() {
            true => write!(f, "{}:{}:", self.line, self.column),
            false => Ok(()),
        }
    }
}

/// A document that was read and is well formed.
///
/// ```
/// use virt_util::xml::Doc;
///
/// let doc = Doc::parse("<disk type='file'><source file='/a&amp;b'/></disk>")?;
/// let disk = doc.root();
/// assert_eq!(disk.attr("type").as_deref(), Some("file"));
/// assert_eq!(disk.child("source").and_then(|source| source.attr("file")).as_deref(), Some("/a&b"));
/// # Ok::<(), virt_util::VirtError>(())
/// ```
#[derive(Debug)]
pub struct Doc<'s> {
    pub(super) source: &'s str,
    pub(super) name: String,
    pub(super) domain: ErrorDomain,
    pub(super) nodes: Vec<Node>,
    pub(super) attributes: Vec<Attribute>,
    /// URIs of namespaces; 0 is "none", 1 the namespace of `xml:`.
    pub(super) namespaces: Vec<String>,
    /// Where the source was made from something else: places in that.
    pub(super) origins: Option<Origins>,
}

/// Where the parts of a source come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<(usize, Option<Position>)>);

impl Origins {
    /// What is from `offset` on comes from `position`. Offsets go up.
    pub(super) fn push(&mut self, offset: usize, position: Option<Position>) {
        self.0.push((offset, position));
    }

    fn of(&self, offset: usize) -> Position {
        let at = self.0.partition_point(|(start, _)| *start <= offset);
        let found = at.checked_sub(1).and_then(|at| self.0.get(at)?.1);
        found.unwrap_or(Position::UNKNOWN)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// [`chars::name_key`] of the whole name.
    pub key: u32,
    /// The [`chars::name_bit`]s of all children, and of all attributes: most names that are asked for are absent.
    pub child_bits: u64,
    pub attribute_bits: u64,
    /// Offset of `<`.
    pub start: u32,
    /// First byte after the element.
    pub end: u32,
    /// What is between the tags; both equal for `<a/>`.
    pub content_start: u32,
    pub content_end: u32,
    pub name_len: u16,
    /// Length of the prefix without its colon; 0 for none.
    pub prefix_len: u16,
    pub namespace: u32,
    pub parent: u32,
    pub first_child: u32,
    pub next_sibling: u32,
    pub first_attribute: u32,
    pub attribute_count: u32,
    /// The content is one run of text without references, CDATA, comments or carriage returns (or is empty).
    pub plain: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    /// [`chars::name_key`] of the whole name.
    pub key: u32,
    pub name_start: u32,
    pub value_start: u32,
    pub value_len: u32,
    pub name_len: u16,
    pub prefix_len: u16,
    /// The value must be decoded: it holds references, tabs or line ends.
    pub encoded: bool,
    pub namespace: u32,
}

impl<'s> Doc<'s> {
    /// Reads `source` with the default options.
    ///
    /// # Errors
    /// `XML_DETAIL` with line, column and reason if `source` is not well formed or passes a limit.
    pub fn parse(source: &'s str) -> Result<Self> {
        Self::parse_with(source, &DocOptions::default())
    }

    /// Reads `source`.
    ///
    /// # Errors
    /// As [`Doc::parse`].
    pub fn parse_with(source: &'s str, options: &DocOptions<'_>) -> Result<Self> {
        tokenize::fill(source, options)
    }

    /// Reads bytes, which must be UTF-8; a byte order mark in front is skipped.
    ///
    /// # Errors
    /// As [`Doc::parse`]; bytes that are not UTF-8 are an error with their position.
    pub fn parse_bytes(source: &'s [u8], options: &DocOptions<'_>) -> Result<Self> {
        match std::str::from_utf8(source) {
            Ok(text) => tokenize::fill(text, options),
            Err(error) => {
                let valid = source.get(..error.valid_up_to()).unwrap_or_default();
                let what = match source {
                    [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => "the document is UTF-16, only UTF-8 is read",
                    _ => "the document is not UTF-8",
                };
                Err(malformed(
                    options,
                    std::str::from_utf8(valid).unwrap_or_default(),
                    valid.len(),
                    what,
                ))
            }
        }
    }

    /// The root element.
    pub fn root(&self) -> Element<'_> {
        Element {
            doc: self,
            node: 0,
            joined: 0,
            ghost: "",
        }
    }

    /// Which part of the system errors belong to.
    pub fn domain(&self) -> ErrorDomain {
        self.domain
    }

    /// What errors call the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source text, without a byte order mark.
    pub fn source(&self) -> &'s str {
        self.source
    }

    /// The source was made of something else, and errors shall give the places in that.
    pub(super) fn set_origins(&mut self, origins: Origins) {
        self.origins = Some(origins);
    }

    fn position_of(&self, offset: usize) -> Position {
        match &self.origins {
            Some(origins) => origins.of(offset),
            None => Position::of(self.source, offset),
        }
    }

    pub(super) fn slice(&self, start: u32, end: u32) -> &str {
        self.source.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Is `node` called `name`, without prefix or namespace? `key` is the name's.
    fn is_plain_name(&self, node: &Node, name: &str, key: u32) -> bool {
        let start = node.start as usize + 1;
        node.key == key
            && node.namespace == 0
            && self.source.as_bytes().get(start..start + node.name_len as usize) == Some(name.as_bytes())
    }

    fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.get(index as usize)
    }

    /// What follows `index` in an element that is joined with its siblings, and its parent with its own, `levels` up.
    fn next_joined(&self, index: u32, levels: u8) -> Option<u32> {
        let node = self.node(index)?;
        let levels = levels.checked_sub(1)?;
        let name = |node: &Node| self.slice(node.start + 1, node.start + 1 + u32::from(node.name_len));
        let first_like = |mut next: u32| {
            while let Some(other) = self.node(next) {
                if other.key == node.key && other.namespace == node.namespace && name(other) == name(node) {
                    return Some(next);
                }
                next = other.next_sibling;
            }
            None
        };
        if let Some(next) = first_like(node.next_sibling) {
            return Some(next);
        }
        let mut parent = node.parent;
        while let Some(next) = self.next_joined(parent, levels) {
            if let Some(found) = first_like(self.node(next)?.first_child) {
                return Some(found);
            }
            parent = next;
        }
        None
    }

    /// The first of the siblings from `next` on that is called `name`, without a namespace.
    fn first_named(&self, mut next: u32, name: &str, key: u32) -> Option<u32> {
        while let Some(node) = self.node(next) {
            if self.is_plain_name(node, name, key) {
                return Some(next);
            }
            next = node.next_sibling;
        }
        None
    }
}

/// The error for a source that is not well formed, at byte `offset` of `source`.
#[cold]
pub(super) fn malformed(options: &DocOptions<'_>, source: &str, offset: usize, what: &str) -> VirtError {
    let Position { line, column } = Position::of(source, offset);
    let start = source
        .get(..offset)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |at| at + 1);
    let text = source.get(start..).unwrap_or_default();
    let text = text.split(['\n', '\r']).next().unwrap_or_default();
    // Long lines are cut around the place.
    let skip = (column as usize).saturating_sub(60);
    let shown: String = text
        .chars()
        .skip(skip)
        .take(100)
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    let pointer = "-".repeat((column as usize).saturating_sub(skip + 1));
    VirtError::new(
        ErrorCode::XML_DETAIL,
        format_args!("{}:{line}:{column}: {what}\n{shown}\n{pointer}^", options.name),
    )
    .in_domain(options.domain)
}

/// An element of a [`Doc`]: a cheap copy.
///
/// An element may be a *ghost*: the place where an absent child would be ([`Element::child_or_ghost`]). A ghost has no
/// attributes, children or text, knows its parent, and can be named in errors.
///
/// An element may be *joined* with its siblings of the same name ([`Element::joined_child`]): it then has the children of all
/// of them, and each attribute of the first that has it. Text, place and source are those of the first.
#[derive(Clone, Copy)]
pub struct Element<'d> {
    doc: &'d Doc<'d>,
    node: u32,
    /// How many levels, from this one up, are joined.
    joined: u8,
    /// Name of a ghost, then `node` is the parent; empty for an element that exists.
    ghost: &'static str,
}

impl<'d> Element<'d> {
    fn real(&self) -> Option<&'d Node> {
        if self.ghost.is_empty() {
            self.doc.node(self.node)
        } else {
            None
        }
    }

    fn at(&self, node: u32) -> Self {
        Self {
            doc: self.doc,
            node,
            joined: 0,
            ghost: "",
        }
    }

    /// The elements that this one is joined with.
    fn others(&self) -> impl Iterator<Item = u32> + use<'d> {
        let (doc, levels) = (self.doc, self.joined);
        let next = move |node: u32| match levels {
            0 => None,
            _ => doc.next_joined(node, levels),
        };
        let first = if self.exists() { next(self.node) } else { None };
        std::iter::successors(first, move |node| next(*node))
    }

    /// The document.
    pub fn doc(&self) -> &'d Doc<'d> {
        self.doc
    }

    /// Is this an element of the document (not a ghost)?
    pub fn exists(&self) -> bool {
        self.ghost.is_empty()
    }

    /// The name without prefix.
    pub fn name(&self) -> &'d str {
        match self.real() {
            Some(node) => {
                let prefix = if node.prefix_len == 0 {
                    0
                } else {
                    u32::from(node.prefix_len) + 1
                };
                self.doc
                    .slice(node.start + 1 + prefix, node.start + 1 + u32::from(node.name_len))
            }
            None => self.ghost,
        }
    }

    /// The name as written, with its prefix.
    pub fn qualified_name(&self) -> &'d str {
        match self.real() {
            Some(node) => self
                .doc
                .slice(node.start + 1, node.start + 1 + u32::from(node.name_len)),
            None => self.ghost,
        }
    }

    /// The URI of the element's namespace, if it has one.
    pub fn namespace(&self) -> Option<&'d str> {
        let node = self.real().filter(|node| node.namespace != 0)?;
        self.doc
            .namespaces
            .get(node.namespace as usize)
            .map(String::as_str)
    }

    /// Is this an element `name` without a namespace?
    pub fn is(&self, name: &str) -> bool {
        self.real().is_some_and(|node| {
            self.doc
                .is_plain_name(node, name, chars::name_key(name.as_bytes()))
        })
    }

    /// Is this the element `name` of namespace `uri`?
    pub fn is_in(&self, uri: &str, name: &str) -> bool {
        self.namespace() == Some(uri) && self.name() == name
    }

    fn attribute_slice(&self) -> &'d [Attribute] {
        let Some(node) = self.real() else { return &[] };
        let first = node.first_attribute as usize;
        self.doc
            .attributes
            .get(first..first + node.attribute_count as usize)
            .unwrap_or_default()
    }

    fn find_attribute(&self, name: &str) -> Option<&'d Attribute> {
        self.find_own_attribute(name).or_else(|| {
            self.others()
                .find_map(|other| self.at(other).find_own_attribute(name))
        })
    }

    fn find_own_attribute(&self, name: &str) -> Option<&'d Attribute> {
        let node = self.real()?;
        let key = chars::name_key(name.as_bytes());
        if node.attribute_bits & chars::name_bit(key) == 0 {
            return None;
        }
        let source = self.doc.source.as_bytes();
        self.attribute_slice().iter().find(|attribute| {
            let start = attribute.name_start as usize;
            attribute.key == key
                && source.get(start..start + attribute.name_len as usize) == Some(name.as_bytes())
        })
    }

    /// The value of the attribute `name` (without a namespace), decoded.
    pub fn attr(&self, name: &str) -> Option<Cow<'d, str>> {
        self.find_attribute(name)
            .map(|attribute| attribute.value(self.doc))
    }

    /// Does the element have the attribute `name`?
    pub fn has_attr(&self, name: &str) -> bool {
        self.find_attribute(name).is_some()
    }

    /// All attributes in document order, those that declare namespaces included.
    pub fn attributes(&self) -> impl Iterator<Item = AttributeRef<'d>> + use<'d> {
        let doc = self.doc;
        self.attribute_slice()
            .iter()
            .map(move |attribute| AttributeRef { doc, attribute })
    }

    /// Child elements in document order.
    pub fn children(&self) -> Children<'d> {
        Children {
            doc: self.doc,
            next: self.real().map_or(NONE, |node| node.first_child),
            parent: self.node,
            joined: self.joined,
        }
    }

    /// Child elements called `name`, without a namespace.
    pub fn children_named<'n>(&self, name: &'n str) -> impl Iterator<Item = Element<'d>> + use<'d, 'n> {
        let key = chars::name_key(name.as_bytes());
        let bit = chars::name_bit(key);
        let none = self.joined == 0 && self.real().is_none_or(|node| node.child_bits & bit == 0);
        let children = if none {
            Children {
                doc: self.doc,
                next: NONE,
                parent: NONE,
                joined: 0,
            }
        } else {
            self.children()
        };
        children.filter(move |child| {
            let node = child.doc.node(child.node);
            node.is_some_and(|node| child.doc.is_plain_name(node, name, key))
        })
    }

    /// The first child called `name`, without a namespace.
    pub fn child(&self, name: &str) -> Option<Element<'d>> {
        let own = |parent: &Node| {
            let key = chars::name_key(name.as_bytes());
            match parent.child_bits & chars::name_bit(key) {
                0 => None,
                _ => self.doc.first_named(parent.first_child, name, key),
            }
        };
        let found =
            own(self.real()?).or_else(|| self.others().find_map(|other| own(self.doc.node(other)?)));
        found.map(|node| self.at(node))
    }

    /// All children called `name`, without a namespace, as one: what XPath sees where it does not ask for the first.
    pub fn joined_child(&self, name: &str) -> Option<Element<'d>> {
        self.child(name).map(|child| self.join(child))
    }

    /// The same of children `name` of namespace `uri`.
    pub fn joined_child_in(&self, uri: &str, name: &str) -> Option<Element<'d>> {
        self.child_in(uri, name).map(|child| self.join(child))
    }

    /// A child, joined with those like it. Nearly always there are none, and then nobody has to look for them again.
    fn join(&self, child: Element<'d>) -> Element<'d> {
        let joined = self.joined.saturating_add(1);
        match self.doc.next_joined(child.node, joined) {
            Some(_) => Self { joined, ..child },
            None => child,
        }
    }

    /// The same as [`Element::joined_child`], or the ghost of it.
    pub fn joined_child_or_ghost(&self, name: &'static str) -> Element<'d> {
        self.joined_child(name)
            .unwrap_or_else(|| self.child_or_ghost(name))
    }

    /// The first of the elements that this one is joined with, alone.
    pub fn alone(&self) -> Element<'d> {
        Self { joined: 0, ..*self }
    }

    /// The last of the elements that this one is joined with, alone.
    pub fn last_joined(&self) -> Element<'d> {
        match self.others().last() {
            Some(node) => self.at(node),
            None => *self,
        }
    }

    /// The last child called `name`, without a namespace, or the ghost of it.
    pub fn last_child_or_ghost(&self, name: &'static str) -> Element<'d> {
        match self.children_named(name).last() {
            Some(child) => child,
            None => self.child_or_ghost(name),
        }
    }

    /// The first child `name` of namespace `uri`.
    pub fn child_in(&self, uri: &str, name: &str) -> Option<Element<'d>> {
        self.children().find(|child| child.is_in(uri, name))
    }

    /// The first child called `name`, or the ghost of it.
    pub fn child_or_ghost(&self, name: &'static str) -> Element<'d> {
        if !self.exists() {
            // A ghost's child: the nearest real ancestor stays known.
            return Self { ghost: name, ..*self };
        }
        self.child(name).unwrap_or(Self {
            ghost: name,
            joined: 0,
            ..*self
        })
    }

    /// The parent; `None` for the root.
    pub fn parent(&self) -> Option<Element<'d>> {
        if !self.exists() {
            return Some(self.at(self.node));
        }
        self.real()
            .filter(|node| node.parent != NONE)
            .map(|node| self.at(node.parent))
    }

    /// All text inside the element and its children, decoded: what XPath's `string()` gives. White space that only lays
    /// children out is no text.
    pub fn text(&self) -> Cow<'d, str> {
        let Some(node) = self.real() else {
            return Cow::Borrowed("");
        };
        let content = self.doc.slice(node.content_start, node.content_end);
        if node.plain {
            Cow::Borrowed(content)
        } else if node.first_child != NONE {
            Cow::Owned(RawElement::copy(*self).all_text())
        } else {
            Cow::Owned(scan::text_of(content))
        }
    }

    /// The text between the children, decoded; theirs does not count.
    pub fn own_text(&self) -> Cow<'d, str> {
        let Some(node) = self.real() else {
            return Cow::Borrowed("");
        };
        let mut children = self.children().peekable();
        if children.peek().is_none() {
            return self.text();
        }
        let mut text = String::new();
        let mut at = node.content_start;
        for child in children.filter_map(|child| child.real()) {
            text.push_str(&scan::text_of(self.doc.slice(at, child.start)));
            at = child.end;
        }
        text.push_str(&scan::text_of(self.doc.slice(at, node.content_end)));
        Cow::Owned(text)
    }

    /// The element as written in the source.
    pub fn outer_source(&self) -> &'d str {
        self.real()
            .map_or("", |node| self.doc.slice(node.start, node.end))
    }

    /// What is between the tags, as written in the source.
    pub fn inner_source(&self) -> &'d str {
        self.real()
            .map_or("", |node| self.doc.slice(node.content_start, node.content_end))
    }

    /// Where the element begins (for a ghost: where its parent does).
    pub fn position(&self) -> Position {
        self.doc
            .position_of(self.doc.node(self.node).map_or(0, |node| node.start as usize))
    }

    /// Where the value of an attribute begins; the element's place if it has no such attribute.
    pub fn attr_position(&self, name: &str) -> Position {
        match self.find_attribute(name) {
            Some(attribute) => self.doc.position_of(attribute.value_start as usize),
            None => self.position(),
        }
    }

    /// The way from the root: `/domain/devices/disk[2]/target`. Numbers tell siblings of one name apart.
    pub fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(*self);
        while let Some(element) = at {
            let parent = element.parent();
            let mut step = format!("/{}", element.qualified_name());
            if let (Some(parent), true) = (parent, element.exists()) {
                let mut same = parent
                    .children()
                    .filter(|child| child.qualified_name() == element.qualified_name());
                let number = same
                    .by_ref()
                    .take_while(|child| child.node != element.node)
                    .count()
                    + 1;
                if number > 1 || same.next().is_some() {
                    let _ = write!(step, "[{number}]");
                }
            }
            steps.push(step);
            at = parent;
        }
        steps.reverse();
        steps.concat()
    }
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Element({}{})",
            self.path(),
            if self.exists() { "" } else { ", absent" }
        )
    }
}

/// An attribute of an [`Element`].
#[derive(Clone, Copy)]
pub struct AttributeRef<'d> {
    doc: &'d Doc<'d>,
    attribute: &'d Attribute,
}

impl<'d> AttributeRef<'d> {
    /// The name as written, with its prefix.
    pub fn qualified_name(&self) -> &'d str {
        self.doc.slice(
            self.attribute.name_start,
            self.attribute.name_start + u32::from(self.attribute.name_len),
        )
    }

    /// The prefix, empty for none.
    pub fn prefix(&self) -> &'d str {
        self.doc.slice(
            self.attribute.name_start,
            self.attribute.name_start + u32::from(self.attribute.prefix_len),
        )
    }

    /// The name without prefix.
    pub fn name(&self) -> &'d str {
        let name = self.qualified_name();
        match self.attribute.prefix_len {
            0 => name,
            prefix => name.get(usize::from(prefix) + 1..).unwrap_or_default(),
        }
    }

    /// The URI of the attribute's namespace, if it has one.
    pub fn namespace(&self) -> Option<&'d str> {
        match self.attribute.namespace {
            0 => None,
            index => self.doc.namespaces.get(index as usize).map(String::as_str),
        }
    }

    /// Does this declare a namespace (`xmlns`, `xmlns:x`)?
    pub fn declares_namespace(&self) -> bool {
        self.qualified_name() == "xmlns" || self.prefix() == "xmlns"
    }

    /// The decoded value.
    pub fn value(&self) -> Cow<'d, str> {
        self.attribute.value(self.doc)
    }

    /// The value as written in the source, references and all.
    pub fn raw_value(&self) -> &'d str {
        let start = self.attribute.value_start;
        self.doc.slice(start, start + self.attribute.value_len)
    }
}

impl Attribute {
    fn value<'d>(&self, doc: &'d Doc<'_>) -> Cow<'d, str> {
        let raw = doc.slice(self.value_start, self.value_start + self.value_len);
        if self.encoded {
            Cow::Owned(scan::decode_attribute(raw))
        } else {
            Cow::Borrowed(raw)
        }
    }
}

/// Child elements: see [`Element::children`].
#[derive(Clone)]
pub struct Children<'d> {
    doc: &'d Doc<'d>,
    next: u32,
    /// Whose children these are, and how many levels of it are joined.
    parent: u32,
    joined: u8,
}

impl Children<'_> {
    /// Goes on with the children of an element that is joined with the one whose children have ended.
    #[cold]
    fn go_on(&mut self) {
        while self.next == NONE {
            let Some(parent) = self.doc.next_joined(self.parent, self.joined) else {
                self.joined = 0;
                return;
            };
            self.parent = parent;
            self.next = self.doc.node(parent).map_or(NONE, |node| node.first_child);
        }
    }
}

impl<'d> Iterator for Children<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        if self.next == NONE && self.joined > 0 {
            self.go_on();
        }
        let node = self.doc.node(self.next)?;
        let element = Element {
            doc: self.doc,
            node: self.next,
            joined: 0,
            ghost: "",
        };
        self.next = node.next_sibling;
        Some(element)
    }
}
