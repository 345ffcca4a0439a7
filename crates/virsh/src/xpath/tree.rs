//! A document as XPath sees it: a tree of nodes in document order.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use virt_util::{ErrorCode, VirtError};

/// A node of a document. Numbers grow in document order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The document itself.
    Root,
    /// An element.
    Element,
    /// An attribute.
    Attribute,
    /// Character data.
    Text,
    /// A comment.
    Comment,
    /// A processing instruction.
    Instruction,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// Qualified name of an element or attribute, target of an instruction.
    name: String,
    text: String,
    parent: Option<NodeId>,
    attributes: Vec<NodeId>,
    children: Vec<NodeId>,
}

/// A parsed document.
#[derive(Debug)]
pub struct Document(Vec<Node>);

/// Deeper documents are refused.
const DEPTH_MAX: usize = 256;

fn malformed(why: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, why)
}

impl Document {
    /// Parses `xml`, which has been checked by whoever made it; what is malformed is refused all the same.
    pub fn parse(xml: &str) -> Result<Self, VirtError> {
        let mut document = Self(Vec::new());
        let root = document.push(Kind::Root, String::new(), String::new(), None);
        let mut open = vec![root];
        let mut text = String::new();
        let mut reader = Reader::from_str(xml);
        loop {
            let event = reader.read_event().map_err(malformed)?;
            match &event {
                Event::Text(piece) => {
                    text.push_str(&piece.replace("\r\n", "\n"));
                    continue;
                }
                Event::CData(piece) => {
                    text.push_str(piece);
                    continue;
                }
                Event::GeneralRef(reference) => {
                    text.push_str(&resolve(reference)?);
                    continue;
                }
                _ => {}
            }
            let parent = open.last().copied().unwrap_or(root);
            let closing = matches!(event, Event::End(_));
            document.push_text(&mut text, parent, closing);
            match event {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return Err(malformed(format_args!(
                            "elements are nested deeper than {DEPTH_MAX}"
                        )));
                    }
                    let element = document.push_element(&start, parent)?;
                    open.push(element);
                }
                Event::Empty(start) => {
                    document.push_element(&start, parent)?;
                }
                Event::End(_) => {
                    open.pop();
                }
                Event::Comment(comment) => {
                    let text = comment.to_string();
                    document.push_child(Kind::Comment, String::new(), text, parent);
                }
                Event::PI(instruction) => {
                    let whole = instruction.to_string();
                    let (target, data) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
                    document.push_child(
                        Kind::Instruction,
                        target.to_owned(),
                        data.trim().to_owned(),
                        parent,
                    );
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if open.len() > 1 {
            return Err(malformed("the document ends inside an element"));
        }
        Ok(document)
    }

    fn push(&mut self, kind: Kind, name: String, text: String, parent: Option<NodeId>) -> NodeId {
        self.0.push(Node {
            kind,
            name,
            text,
            parent,
            attributes: Vec::new(),
            children: Vec::new(),
        });
        NodeId(self.0.len() - 1)
    }

    fn push_child(&mut self, kind: Kind, name: String, text: String, parent: NodeId) -> NodeId {
        let child = self.push(kind, name, text, Some(parent));
        if let Some(parent) = self.0.get_mut(parent.0) {
            parent.children.push(child);
        }
        child
    }

    /// Adds character data. White space between elements is layout and no part of the tree, as where libvirt's virsh
    /// looks at documents; an element's only content is content.
    fn push_text(&mut self, text: &mut String, parent: NodeId, closing: bool) {
        let blank = text.trim_matches([' ', '\t', '\n', '\r']).is_empty();
        let only = closing && self.children(parent).next().is_none();
        let inside = self.kind(parent) == Kind::Element;
        if !text.is_empty() && inside && (!blank || only) {
            self.push_child(Kind::Text, String::new(), std::mem::take(text), parent);
        }
        text.clear();
    }

    fn push_element(&mut self, start: &BytesStart<'_>, parent: NodeId) -> Result<NodeId, VirtError> {
        let name = start.name().as_ref().to_owned();
        let element = self.push_child(Kind::Element, name, String::new(), parent);
        for attribute in start.attributes() {
            let attribute = attribute.map_err(malformed)?;
            let name = attribute.key.as_ref().to_owned();
            let value = quick_xml::escape::unescape(&attribute.value)
                .map_err(malformed)?
                .into_owned();
            let attribute = self.push(Kind::Attribute, name, value, Some(element));
            if let Some(element) = self.0.get_mut(element.0) {
                element.attributes.push(attribute);
            }
        }
        Ok(element)
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.0.get(node.0)
    }

    /// The document node.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// The outermost element.
    pub fn root_element(&self) -> Option<NodeId> {
        self.children(self.root())
            .find(|child| self.kind(*child) == Kind::Element)
    }

    /// What a node is.
    pub fn kind(&self, node: NodeId) -> Kind {
        self.node(node).map_or(Kind::Root, |node| node.kind)
    }

    /// Its qualified name.
    pub fn name(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| node.name.as_str())
    }

    /// Its own characters: of an attribute, a text, a comment, an instruction.
    pub fn text(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| node.text.as_str())
    }

    /// The node around it; of an attribute, its element.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.node(node)?.parent
    }

    /// The nodes inside it.
    pub fn children(&self, node: NodeId) -> impl DoubleEndedIterator<Item = NodeId> + '_ {
        self.node(node)
            .map_or(&[][..], |node| &node.children)
            .iter()
            .copied()
    }

    /// Its attributes, without namespace declarations.
    pub fn attributes(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let all = self
            .node(node)
            .map_or(&[][..], |node| &node.attributes)
            .iter()
            .copied();
        all.filter(|attribute| {
            let name = self.name(*attribute);
            name != "xmlns" && !name.starts_with("xmlns:")
        })
    }

    /// The string value: all character data inside.
    pub fn string_value(&self, node: NodeId) -> String {
        match self.kind(node) {
            Kind::Root | Kind::Element => {
                let mut out = String::new();
                self.collect_text(node, &mut out);
                out
            }
            _ => self.text(node).to_owned(),
        }
    }

    fn collect_text(&self, node: NodeId, out: &mut String) {
        for child in self.children(node) {
            match self.kind(child) {
                Kind::Text => out.push_str(self.text(child)),
                Kind::Element => self.collect_text(child, out),
                _ => {}
            }
        }
    }

    /// The namespace that the prefix of a node's name means.
    pub fn namespace(&self, node: NodeId) -> &str {
        let (prefix, is_attribute) = (prefix(self.name(node)), self.kind(node) == Kind::Attribute);
        if prefix == "xml" {
            return "http://www.w3.org/XML/1998/namespace";
        }
        // An attribute without prefix is in no namespace.
        if prefix.is_empty() && is_attribute {
            return "";
        }
        let declaration = if prefix.is_empty() {
            "xmlns".to_owned()
        } else {
            format!("xmlns:{prefix}")
        };
        let mut around = Some(node);
        while let Some(at) = around {
            let declared = self.node(at).into_iter().flat_map(|node| &node.attributes);
            if let Some(found) = declared.copied().find(|one| self.name(*one) == declaration) {
                return self.text(found);
            }
            around = self.parent(at);
        }
        ""
    }

    /// Prints a node as libxml2 does: attributes in double quotes, elements indented unless there is text beside them.
    pub fn print(&self, node: NodeId, depth: usize, out: &mut String) {
        match self.kind(node) {
            Kind::Root => {
                out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
                for child in self.children(node) {
                    self.print(child, depth, out);
                    out.push('\n');
                }
            }
            Kind::Text => escape(self.text(node), Quote::Text, out),
            Kind::Attribute => {
                out.push(' ');
                self.print_attribute(node, out);
            }
            Kind::Comment => {
                out.push_str("<!--");
                out.push_str(self.text(node));
                out.push_str("-->");
            }
            Kind::Instruction => {
                out.push_str(&format!("<?{} {}?>", self.name(node), self.text(node)));
            }
            Kind::Element => self.print_element(node, depth, out),
        }
    }

    fn print_attribute(&self, attribute: NodeId, out: &mut String) {
        out.push_str(self.name(attribute));
        out.push_str("=\"");
        escape(self.text(attribute), Quote::Attribute, out);
        out.push('"');
    }

    fn print_element(&self, element: NodeId, depth: usize, out: &mut String) {
        out.push('<');
        out.push_str(self.name(element));
        for attribute in self.node(element).into_iter().flat_map(|node| &node.attributes) {
            out.push(' ');
            self.print_attribute(*attribute, out);
        }
        let children: Vec<NodeId> = self.children(element).collect();
        if children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        let mixed = children.iter().any(|child| self.kind(*child) == Kind::Text);
        for child in children {
            if !mixed {
                out.push('\n');
                out.extend(std::iter::repeat_n("  ", depth + 1));
            }
            self.print(child, depth + 1, out);
        }
        if !mixed {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
        out.push_str("</");
        out.push_str(self.name(element));
        out.push('>');
    }
}

/// What is before the colon of a qualified name.
pub fn prefix(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

/// What is behind the colon of a qualified name.
pub fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

fn resolve(name: &str) -> Result<String, VirtError> {
    let escaped = format!("&{name};");
    Ok(quick_xml::escape::unescape(&escaped)
        .map_err(malformed)?
        .into_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Text,
    Attribute,
}

fn escape(text: &str, quote: Quote, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' if quote == Quote::Attribute => out.push_str("&quot;"),
            '\n' if quote == Quote::Attribute => out.push_str("&#10;"),
            '\t' if quote == Quote::Attribute => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
}
