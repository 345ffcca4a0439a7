//! Elements that are kept as they are: metadata, and what belongs to foreign namespaces.
//!
//! A [`RawElement`] is an own copy of a subtree. It is written by the rules of libxml2's formatted output, because that is
//! what libvirt writes metadata with: double quotes, two blanks per level, white space between elements exchanged, mixed
//! content left alone.

use super::doc::Element;
use super::schema::{Content, ElementSchema};
use super::{Doc, DocOptions, Reader, Writer, XmlElement, chars, scan};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// A subtree with names, attributes, text, comments and instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawElement {
    /// The prefix, empty for none.
    pub prefix: String,
    /// The name without prefix.
    pub name: String,
    /// The URI of the namespace, empty for none.
    pub namespace: String,
    /// Namespaces declared here: prefix (empty for the default one) and URI.
    pub declarations: Vec<(String, String)>,
    /// The other attributes.
    pub attributes: Vec<RawAttribute>,
    /// What is between the tags.
    pub children: Vec<RawNode>,
}

/// An attribute of a [`RawElement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAttribute {
    /// The name as written, with its prefix.
    pub name: String,
    /// The URI of the namespace, empty for none.
    pub namespace: String,
    /// The decoded value.
    pub value: String,
}

/// What a [`RawElement`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawNode {
    /// An element.
    Element(RawElement),
    /// Decoded text.
    Text(String),
    /// A CDATA section.
    CData(String),
    /// A comment.
    Comment(String),
    /// A processing instruction: target and data.
    Instruction(String, String),
}

impl RawElement {
    /// An element without anything in it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Copies a subtree. White space that only lays elements out is left out; namespaces that are declared further out and
    /// used inside are declared on the copy.
    pub fn copy(element: Element<'_>) -> Self {
        Self::copy_with(element, false)
    }

    /// Copies a subtree with all its white space.
    pub fn copy_verbatim(element: Element<'_>) -> Self {
        Self::copy_with(element, true)
    }

    /// All text inside, also that of elements inside; that of comments does not count.
    pub fn all_text(&self) -> String {
        let mut text = String::new();
        self.push_all_text(&mut text);
        text
    }

    fn push_all_text(&self, out: &mut String) {
        for child in &self.children {
            match child {
                RawNode::Element(element) => element.push_all_text(out),
                RawNode::Text(text) | RawNode::CData(text) => out.push_str(text),
                RawNode::Comment(_) | RawNode::Instruction(..) => {}
            }
        }
    }

    fn copy_with(element: Element<'_>, preserve: bool) -> Self {
        let mut missing = Vec::new();
        let mut copy = Self::copy_inner(element, &mut Vec::new(), &mut missing, preserve, preserve);
        copy.declarations.extend(missing);
        copy
    }

    /// Reads a document of its own, with all its white space: what the metadata calls of the API are given.
    ///
    /// # Errors
    /// `XML_DETAIL` if it is not well formed.
    pub fn parse(source: &str, options: &DocOptions<'_>) -> Result<Self> {
        Ok(Self::copy_verbatim(Doc::parse_with(source, options)?.root()))
    }

    fn copy_inner(
        element: Element<'_>,
        scope: &mut Vec<(String, String)>,
        missing: &mut Vec<(String, String)>,
        verbatim: bool,
        preserve: bool,
    ) -> Self {
        let outer = scope.len();
        let mut copy = Self {
            prefix: prefix_of(element.qualified_name()).to_owned(),
            name: element.name().to_owned(),
            namespace: element.namespace().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        let mut preserve = preserve;
        for attribute in element.attributes() {
            let (name, value) = (attribute.qualified_name(), attribute.value().into_owned());
            if attribute.declares_namespace() {
                let prefix = if name == "xmlns" { "" } else { attribute.name() };
                scope.push((prefix.to_owned(), value.clone()));
                copy.declarations.push((prefix.to_owned(), value));
                continue;
            }
            if name == "xml:space" {
                preserve = verbatim || value == "preserve";
            }
            let namespace = attribute.namespace().unwrap_or_default().to_owned();
            need(attribute.prefix(), &namespace, scope, missing);
            copy.attributes.push(RawAttribute {
                name: name.to_owned(),
                namespace,
                value,
            });
        }
        if !copy.namespace.is_empty() {
            need(&copy.prefix, &copy.namespace, scope, missing);
        }
        copy.copy_children(element, scope, missing, verbatim, preserve);
        scope.truncate(outer);
        copy
    }

    fn copy_children(
        &mut self,
        element: Element<'_>,
        scope: &mut Vec<(String, String)>,
        missing: &mut Vec<(String, String)>,
        verbatim: bool,
        preserve: bool,
    ) {
        let mut rest = element.inner_source();
        let mut keep = preserve;
        for child in element.children() {
            // What is before the child, and what is behind it.
            let outer = child.outer_source();
            let at = outer.as_ptr() as usize - rest.as_ptr() as usize;
            let (gap, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.copy_gap(gap, &mut keep, false);
            self.children.push(RawNode::Element(Self::copy_inner(
                child, scope, missing, verbatim, preserve,
            )));
            rest = from.get(outer.len()..).unwrap_or_default();
        }
        self.copy_gap(rest, &mut keep, true);
    }

    /// Content without elements. `keep` says whether blanks are kept even where they could be layout.
    fn copy_gap(&mut self, gap: &str, keep: &mut bool, last: bool) {
        let mut rest = gap;
        while !rest.is_empty() {
            if let Some(body) = rest.strip_prefix("<![CDATA[") {
                let (data, after) = body.split_once("]]>").unwrap_or((body, ""));
                let data = scan::text_of_run(data, false);
                match self.children.last_mut() {
                    Some(RawNode::CData(before)) => before.push_str(&data),
                    _ => self.children.push(RawNode::CData(data)),
                }
                rest = after;
            } else if let Some(body) = rest.strip_prefix("<!--") {
                let (text, after) = body.split_once("-->").unwrap_or((body, ""));
                self.children
                    .push(RawNode::Comment(scan::text_of_run(text, false)));
                rest = after;
            } else if let Some(body) = rest.strip_prefix("<?") {
                let (text, after) = body.split_once("?>").unwrap_or((body, ""));
                let (target, data) = text
                    .split_once(|c: char| c.is_ascii_whitespace())
                    .unwrap_or((text, ""));
                self.children.push(RawNode::Instruction(
                    target.to_owned(),
                    data.trim_ascii_start().to_owned(),
                ));
                rest = after;
            } else {
                let end = rest.find('<').unwrap_or(rest.len());
                let (run, after) = rest.split_at(end);
                // Behind the run stands the element's own end tag.
                let at_end = last && after.is_empty();
                if *keep || !chars::is_blank(run) || !self.is_layout(at_end) {
                    *keep |= ends_layout(run);
                    self.push_text(scan::text_of_run(run, true));
                }
                rest = after;
            }
        }
    }

    /// Would blanks at this place only lay out elements? (libxml2's rule.)
    fn is_layout(&self, at_end: bool) -> bool {
        let is_text = |node: Option<&RawNode>| matches!(node, Some(RawNode::Text(_)));
        if self.children.is_empty() {
            !at_end
        } else {
            !is_text(self.children.last()) && !is_text(self.children.first())
        }
    }

    fn push_text(&mut self, text: String) {
        match self.children.last_mut() {
            Some(RawNode::Text(before)) => before.push_str(&text),
            _ => self.children.push(RawNode::Text(text)),
        }
    }

    /// Child elements.
    pub fn elements(&self) -> impl Iterator<Item = &RawElement> {
        self.children.iter().filter_map(|node| match node {
            RawNode::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The first child element of a namespace.
    pub fn child_in(&self, uri: &str) -> Option<&RawElement> {
        self.elements().find(|element| element.namespace == uri)
    }

    /// Keeps only child elements that have a namespace, and of each namespace the first: what `<metadata>` may hold.
    pub fn keep_one_per_namespace(&mut self) {
        let mut seen: Vec<String> = Vec::new();
        self.children.retain(|node| match node {
            RawNode::Element(element)
                if !element.namespace.is_empty() && !seen.contains(&element.namespace) =>
            {
                seen.push(element.namespace.clone());
                true
            }
            _ => false,
        });
    }

    /// The child element of a namespace as a document of its own, without the namespace's prefix: what the metadata calls of
    /// the API give.
    pub fn extract(&self, uri: &str) -> Option<String> {
        let mut copy = self.child_in(uri)?.clone();
        copy.strip_namespace(uri);
        if let Some(at) = copy.declarations.iter().position(|(_, declared)| declared == uri) {
            copy.declarations.remove(at);
        }
        let mut out = String::new();
        copy.dump(&mut out, 0);
        Some(out)
    }

    fn strip_namespace(&mut self, uri: &str) {
        if self.namespace == uri {
            self.namespace.clear();
            self.prefix.clear();
        }
        for node in &mut self.children {
            if let RawNode::Element(element) = node {
                element.strip_namespace(uri);
            }
        }
    }

    /// Removes the child elements of a namespace. Says whether there was one.
    pub fn remove(&mut self, uri: &str) -> bool {
        let before = self.children.len();
        self.children
            .retain(|node| !matches!(node, RawNode::Element(element) if element.namespace == uri));
        self.children.len() < before
    }

    /// Puts `element` in the place of the child of namespace `uri`; it, and what is in it without a namespace, gets that
    /// namespace under `prefix`.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if `prefix` is no name, or `element` has another use for it.
    pub fn replace(&mut self, uri: &str, prefix: &str, mut element: RawElement) -> Result<()> {
        if prefix.contains(':') || chars::check_name(prefix).is_err() {
            return Err(
                VirtError::internal(format_args!("'{prefix}' cannot be the prefix of a namespace"))
                    .in_domain(ErrorDomain::XML),
            );
        }
        if element
            .declarations
            .iter()
            .any(|(declared, _)| declared == prefix)
        {
            return Err(VirtError::internal(format_args!(
                "the namespace prefix '{prefix}' is in use already"
            ))
            .in_domain(ErrorDomain::XML));
        }
        element.declarations.push((prefix.to_owned(), uri.to_owned()));
        element.give_namespace(uri, prefix);
        self.remove(uri);
        self.children.push(RawNode::Element(element));
        Ok(())
    }

    fn give_namespace(&mut self, uri: &str, prefix: &str) {
        if self.namespace.is_empty() {
            uri.clone_into(&mut self.namespace);
            prefix.clone_into(&mut self.prefix);
        }
        for node in &mut self.children {
            if let RawNode::Element(element) = node {
                element.give_namespace(uri, prefix);
            }
        }
    }
}

impl XmlElement for RawElement {
    fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Self> {
        Ok(Self::copy(element))
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, _w: &mut Writer) {}

    fn write(&self, w: &mut Writer, _name: &str) {
        w.raw_element(self);
    }

    fn write_nonempty(&self, w: &mut Writer, name: &'static str) {
        if !(self.children.is_empty() && self.attributes.is_empty()) {
            self.write(w, name);
        }
    }

    fn schema() -> &'static ElementSchema {
        const {
            &ElementSchema {
                type_name: "RawElement",
                name: "",
                doc: "Anything.",
                content: Content::Opaque,
            }
        }
    }
}

/// A [`RawElement`] that is written in libvirt's layout: what a document holds beyond what is known, to be given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptElement(pub RawElement);

impl XmlElement for KeptElement {
    fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Self> {
        Ok(Self(RawElement::copy(element)))
    }

    fn write_attributes(&self, w: &mut Writer) {
        self.0.write_canonical_attributes(w);
    }

    fn write_content(&self, w: &mut Writer) {
        self.0.write_canonical_content(w);
    }

    fn write(&self, w: &mut Writer, _name: &str) {
        self.0.write_canonical(w);
    }

    fn schema() -> &'static ElementSchema {
        const {
            &ElementSchema {
                type_name: "KeptElement",
                name: "",
                doc: "Anything.",
                content: Content::Opaque,
            }
        }
    }
}

impl serde::Serialize for RawElement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        self.dump(&mut text, 0);
        serializer.serialize_str(&text)
    }
}

impl<'de> serde::Deserialize<'de> for RawElement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let doc = Doc::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Self::copy(doc.root()))
    }
}

/// `with = virt_util::xml::metadata`: a `<metadata>` element, reduced to one element per namespace.
pub mod metadata {
    use super::{Element, RawElement, Reader, Result, Writer};

    /// Reads the element.
    ///
    /// # Errors
    /// None.
    pub fn read(element: Element<'_>, _cx: &mut Reader) -> Result<RawElement> {
        let mut copy = RawElement::copy(element);
        copy.keep_one_per_namespace();
        Ok(copy)
    }

    /// Whether the first `<metadata>` in `parent` counts: that with an element in it does, also if the element has no
    /// namespace and is left out.
    pub fn counts(parent: Element<'_>) -> bool {
        let metadata = parent.child("metadata");
        metadata.is_some_and(|metadata| metadata.children().next().is_some())
    }

    /// Writes the element.
    pub fn write(value: &RawElement, w: &mut Writer, _name: &str) {
        w.raw_element(value);
    }
}

/// `XML_ERROR` unless `text` is the root `name` of a document; used where a document is handed on without being read.
///
/// # Errors
/// `XML_DETAIL`, or `XML_ERROR` for another root.
pub fn expect_root(text: &str, name: &str, options: &DocOptions<'_>) -> Result<()> {
    let doc = Doc::parse_with(text, options)?;
    if doc.root().name() == name {
        return Ok(());
    }
    Err(VirtError::new(
        ErrorCode::XML_ERROR,
        format_args!("found <{}>, expected <{name}>", doc.root().name()),
    )
    .in_domain(ErrorDomain::XML))
}

/// Does this text make its element one whose blanks are all kept? In libxml2 that depends on how it cuts text up: at
/// references, and where a piece begins with a blank or has characters beyond ASCII.
fn ends_layout(run: &str) -> bool {
    let mut rest = run;
    loop {
        let (piece, after) = rest.split_once('&').unwrap_or((rest, ""));
        if piece.bytes().next().is_some_and(chars::is_space) || !piece.is_ascii() {
            return true;
        }
        match after.split_once(';') {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
}

fn prefix_of(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

/// Notes that `prefix` must stand for `uri`, unless something in scope says so.
fn need(prefix: &str, uri: &str, scope: &[(String, String)], missing: &mut Vec<(String, String)>) {
    if uri.is_empty() || prefix == "xml" {
        return;
    }
    let declared =
        scope.iter().any(|(known, _)| known == prefix) || missing.iter().any(|(known, _)| known == prefix);
    if !declared {
        missing.push((prefix.to_owned(), uri.to_owned()));
    }
}
