//! How kept elements are written: by libxml2's rules, or in libvirt's layout.

use super::Writer;
use super::raw::{RawElement, RawNode};

impl RawElement {
    /// Appends the element as libxml2 formats it, without a line end; `level` is the depth of the element.
    pub fn dump(&self, out: &mut String, level: usize) {
        self.dump_inner(out, level, true);
    }

    fn dump_inner(&self, out: &mut String, level: usize, format: bool) {
        out.push('<');
        self.push_name(out);
        for (prefix, uri) in &self.declarations {
            out.push_str(" xmlns");
            if !prefix.is_empty() {
                out.push(':');
                out.push_str(prefix);
            }
            out.push('=');
            push_uri(out, uri);
        }
        for attribute in &self.attributes {
            out.push(' ');
            out.push_str(&attribute.name);
            out.push_str("=\"");
            push_attribute(out, &attribute.value);
            out.push('"');
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        // Text anywhere in it: all of the element stays as it is.
        let format = format
            && !self
                .children
                .iter()
                .any(|node| matches!(node, RawNode::Text(_) | RawNode::CData(_)));
        out.push('>');
        if format {
            out.push('\n');
        }
        for node in &self.children {
            if format {
                push_blanks(out, level + 1);
            }
            node.dump(out, level + 1, format);
            if format {
                out.push('\n');
            }
        }
        if format {
            push_blanks(out, level);
        }
        out.push_str("</");
        self.push_name(out);
        out.push('>');
    }

    fn push_name(&self, out: &mut String) {
        if !self.prefix.is_empty() {
            out.push_str(&self.prefix);
            out.push(':');
        }
        out.push_str(&self.name);
    }

    /// Writes the element in libvirt's layout; comments between elements are left out.
    pub fn write_canonical(&self, w: &mut Writer) {
        let mut name = String::new();
        self.push_name(&mut name);
        w.start(&name);
        self.write_canonical_attributes(w);
        self.write_canonical_content(w);
        w.end(&name);
    }

    pub(super) fn write_canonical_attributes(&self, w: &mut Writer) {
        for (prefix, uri) in &self.declarations {
            match prefix.as_str() {
                "" => w.attribute("xmlns", uri),
                prefix => w.attribute(&format!("xmlns:{prefix}"), uri),
            }
        }
        for attribute in &self.attributes {
            w.attribute(&attribute.name, &attribute.value);
        }
    }

    pub(super) fn write_canonical_content(&self, w: &mut Writer) {
        let mixed = self
            .children
            .iter()
            .any(|node| matches!(node, RawNode::Text(_) | RawNode::CData(_)));
        if !mixed {
            for element in self.elements() {
                element.write_canonical(w);
            }
            return;
        }
        let text_only = self
            .children
            .iter()
            .all(|node| matches!(node, RawNode::Text(_) | RawNode::CData(_)));
        if text_only {
            for node in &self.children {
                if let RawNode::Text(text) | RawNode::CData(text) = node {
                    w.text(text);
                }
            }
            return;
        }
        // Mixed content has no layout.
        let level = w.depth();
        w.text_with(|out| {
            for node in &self.children {
                node.dump(out, level, false);
            }
        });
    }
}

impl RawNode {
    fn dump(&self, out: &mut String, level: usize, format: bool) {
        match self {
            Self::Element(element) => element.dump_inner(out, level, format),
            Self::Text(text) => push_text(out, text),
            Self::CData(text) => {
                out.push_str("<![CDATA[");
                // A section cannot hold its own end: it is cut in two there.
                out.push_str(&text.replace("]]>", "]]]]><![CDATA[>"));
                out.push_str("]]>");
            }
            Self::Comment(text) => {
                out.push_str("<!--");
                out.push_str(text);
                out.push_str("-->");
            }
            Self::Instruction(target, data) => {
                out.push_str("<?");
                out.push_str(target);
                if !data.is_empty() {
                    out.push(' ');
                    out.push_str(data);
                }
                out.push_str("?>");
            }
        }
    }
}

fn push_blanks(out: &mut String, level: usize) {
    // libxml2 stops counting at 60 levels.
    for _ in 0..level.min(60) {
        out.push_str("  ");
    }
}

fn push_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
}

/// A namespace's URI with its quotes. libxml2 writes it by other rules than values: nothing is escaped but the quotation
/// mark where both kinds are in it, and an ampersand has become a number while it was read. What would not be read again as
/// it was (`<`, and white space other than a blank, which libxml2 loses) is escaped all the same.
fn push_uri(out: &mut String, uri: &str) {
    let quote = if uri.contains('"') && !uri.contains('\'') {
        '\''
    } else {
        '"'
    };
    out.push(quote);
    for c in uri.chars() {
        match c {
            '&' => out.push_str("&#38;"),
            '"' if quote == '"' => out.push_str("&quot;"),
            '<' => out.push_str("&lt;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn push_attribute(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_ascii() => out.push(c),
            c => {
                out.push_str("&#x");
                let digits = format!("{:X}", c as u32);
                out.push_str(&digits);
                out.push(';');
            }
        }
    }
}
