//! What the entry points in [`crate::fuzz`] do.

use super::{
    Doc, DocOptions, Element, KeptElement, RawElement, Reader, Xml, XmlEnum, XmlFlags, from_doc, to_string,
};

/// Documents: everything that can be asked of one is asked; a kept copy is stable once it was written.
pub(crate) fn document(data: &[u8]) {
    let Ok(doc) = Doc::parse_bytes(data, &DocOptions::default()) else {
        return;
    };
    visit(doc.root());
    let _ = super::identity(data);
    let first = dump(&RawElement::copy(doc.root()));
    let Ok(again) = Doc::parse(&first) else {
        panic!("what was written must be well formed: {first}")
    };
    let second = dump(&RawElement::copy(again.root()));
    let Ok(again) = Doc::parse(&second) else {
        panic!("what was written must be well formed: {second}")
    };
    assert_eq!(second, dump(&RawElement::copy(again.root())));
}

fn dump(element: &RawElement) -> String {
    let mut out = String::new();
    element.dump(&mut out, 0);
    out
}

fn visit(element: Element<'_>) {
    let _ = (
        element.text(),
        element.path(),
        element.position(),
        element.namespace(),
        element.outer_source(),
    );
    for attribute in element.attributes() {
        let _ = (attribute.value(), attribute.name(), attribute.namespace());
        assert!(element.has_attr(attribute.qualified_name()));
    }
    for child in element.children() {
        assert_eq!(child.parent().map(|parent| parent.path()), Some(element.path()));
        visit(child);
    }
}

/// A declared type: no document can make it panic, and what is written reads as the same value.
pub(crate) fn model(data: &[u8]) {
    let Ok(doc) = Doc::parse_bytes(data, &DocOptions::default()) else {
        return;
    };
    let _ = from_doc::<Sample>(&doc, &mut Reader::collecting(XmlFlags::empty()));
    let Ok(sample) = from_doc::<Sample>(&doc, &mut Reader::new(XmlFlags::empty())) else {
        return;
    };
    // White space in values changes once, by XML's rules.
    let text = to_string(&sample, XmlFlags::empty());
    let read = |text: &str| {
        let doc = Doc::parse(text)?;
        from_doc::<Sample>(&doc, &mut Reader::new(XmlFlags::empty()))
    };
    let Ok(once) = read(&text) else {
        panic!("what was written must be read: {text}")
    };
    let text = to_string(&once, XmlFlags::empty());
    assert_eq!(read(&text).ok().as_ref(), Some(&once), "{text}");
    assert_eq!(to_string(&once, XmlFlags::empty()), text);
}

#[derive(Xml, Debug, PartialEq)]
struct Sample {
    #[xml("@name")]
    name: String,
    #[xml("@number", default, format = "0x%02x")]
    number: i32,
    #[xml("@on", on_off)]
    on: Option<bool>,
    #[xml("item")]
    items: Vec<u8>,
    #[xml("mode", default)]
    mode: Mode,
    #[xml("limit", nonzero, max = 100)]
    limit: Option<u64>,
    #[xml("spare")]
    spare: Vec<KeptElement>,
    #[xml("deep/er@x", nonempty)]
    deep: Option<String>,
    #[xml("flag")]
    flag: bool,
    #[xml(flatten)]
    choice: Option<Choice>,
    #[xml("kept")]
    kept: Option<RawElement>,
}

#[derive(XmlEnum, Clone, Copy, Debug, Default, PartialEq)]
enum Mode {
    #[default]
    Slow,
    Fast,
}

#[derive(Xml, Debug, PartialEq)]
#[xml(union = "@choice")]
enum Choice {
    One {
        #[xml("one")]
        one: Option<String>,
    },
    Two,
}
