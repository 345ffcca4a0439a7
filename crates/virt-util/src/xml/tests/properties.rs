//! Any bytes: no panic, bounded, and what was read once comes out the same ever after.
use proptest::prelude::*;

use crate::error::ErrorCode;
use crate::fuzz::{fuzz_xml, fuzz_xml_model};
use crate::xml::{Doc, DocOptions, Element, Writer, XmlFlags, escape_into};

/// Seeds that are replayed; each once found something or shows a form.
const SEEDS: &[&str] = &[
    "<a/>",
    "<sample name='x' number='-1' on='on'><item>1</item><item>2</item><mode>fast</mode><kept><b/>t</kept></sample>",
    "<sample name='&#x10FFFF;' number='0x7f'><limit>1</limit><spare a='&quot;'>x<b/>&lt;</spare><spare><c/> <c>y</c></spare><flag/></sample>",
    "<sample name=''><kept xmlns='u'><a xmlns=''/><b:c xmlns:b='v' b:d='e'/> <!--x--></kept></sample>",
    "<sample name='a'><kept><![CDATA[]]>]]&gt;</kept></sample>",
    "<sample name='a'><kept>\r\n<x/>\r<![CDATA[\r]]></kept></sample>",
    "<?xml version='1.0'?>\u{FEFF}<a/>",
    "<a>&#13;&#10;</a>",
    "<a b='&#10;&#9; '/>",
];

#[test]
fn seeds() {
    for seed in SEEDS {
        fuzz_xml(seed.as_bytes());
        fuzz_xml_model(seed.as_bytes());
        // And each seed cut off anywhere.
        for end in 0..seed.len() {
            fuzz_xml(seed.as_bytes().get(..end).unwrap());
            fuzz_xml_model(seed.as_bytes().get(..end).unwrap());
        }
    }
}

fn markup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<",
        ">",
        "/",
        "<a>",
        "</a>",
        "<b c='d'>",
        "</b>",
        "<b/>",
        " ",
        "\n",
        "\r",
        "&amp;",
        "&#65;",
        "&",
        ";",
        "'",
        "\"",
        "=",
        "xmlns",
        "xmlns:q='u'",
        "q:",
        "<!--",
        "-->",
        "--",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
        "<?xml ",
        "version='1.0'",
        "<!DOCTYPE",
        "ä",
        "\u{FEFF}",
        "x",
        "<sample",
        " name='n'",
        "</sample>",
        "<kept>",
        "</kept>",
        "<item>7</item>",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn tree() -> impl Strategy<Value = Tree> {
    let text = "[ -~\t\n\r\u{e4}\u{20ac}]{0,12}";
    let leaf = (prop::collection::vec(text, 0..3), text).prop_map(|(attributes, text)| Tree {
        attributes,
        text,
        children: Vec::new(),
    });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (
            prop::collection::vec(text, 0..3),
            prop::collection::vec(inner, 1..4),
        )
            .prop_map(|(attributes, children)| Tree {
                attributes,
                text: String::new(),
                children,
            })
    })
}

#[derive(Clone, Debug)]
struct Tree {
    attributes: Vec<String>,
    text: String,
    children: Vec<Tree>,
}

fn write(tree: &Tree, w: &mut Writer) {
    w.start("node");
    for (at, value) in tree.attributes.iter().enumerate() {
        w.attribute(&format!("a{at}"), value);
    }
    if tree.children.is_empty() {
        w.text(&tree.text);
    }
    for child in &tree.children {
        write(child, w);
    }
    w.end("node");
}

/// The writer leaves tabs and line ends as they are, so they are read by XML's rules for white space.
fn same(tree: &Tree, element: Element<'_>) {
    for (at, value) in tree.attributes.iter().enumerate() {
        let expected = value.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ");
        assert_eq!(
            element.attr(&format!("a{at}")).as_deref(),
            Some(expected.as_str())
        );
    }
    if tree.children.is_empty() {
        assert_eq!(
            element.text(),
            tree.text.replace("\r\n", "\n").replace('\r', "\n")
        );
    }
    assert_eq!(element.children().count(), tree.children.len());
    for (tree, element) in tree.children.iter().zip(element.children()) {
        same(tree, element);
    }
}

/// What is read lies in the source as a whole; what is refused is refused at a place that is in the source.
fn read_or_refused(data: &[u8]) -> Result<(), TestCaseError> {
    match Doc::parse_bytes(data, &DocOptions::named("a.xml")) {
        Ok(doc) => {
            let (mut waiting, mut count) = (vec![doc.root()], 0);
            while let Some(element) = waiting.pop() {
                let (outer, inner) = (element.outer_source(), element.inner_source());
                prop_assert!(outer.starts_with('<') && outer.ends_with('>') && outer.contains(inner));
                prop_assert!(doc.source().contains(outer));
                count += 1;
                waiting.extend(element.children());
            }
            // The smallest element has four bytes.
            prop_assert!(count * 4 <= data.len());
        }
        Err(error) => {
            prop_assert_eq!(error.code(), ErrorCode::XML_DETAIL);
            let place = error
                .detail()
                .strip_prefix("a.xml:")
                .and_then(|rest| rest.split_once(':'));
            let line = place.and_then(|(line, _)| line.parse::<usize>().ok());
            let lines = 1 + data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
            prop_assert!(
                line.is_some_and(|line| (1..=lines).contains(&line)),
                "{}",
                error.detail()
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn escaping_looks_at_every_byte(
        pieces in prop::collection::vec(
            prop_oneof![4 => "[a-z/.:]{0,20}", 1 => "[&<>'\"\t\n\r\u{1}\u{1f}äß€]{1,2}"], 0..6)
    ) {
        let text = pieces.concat();
        let mut expected = String::new();
        for letter in text.chars() {
            match letter {
                '&' => expected.push_str("&amp;"),
                '<' => expected.push_str("&lt;"),
                '>' => expected.push_str("&gt;"),
                '\'' => expected.push_str("&apos;"),
                '"' => expected.push_str("&quot;"),
                '\t' | '\n' | '\r' => expected.push(letter),
                letter if letter < ' ' => {}
                letter => expected.push(letter),
            }
        }
        let mut out = String::new();
        escape_into(&mut out, &text);
        prop_assert_eq!(out, expected);
    }
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_xml(&data);
        fuzz_xml_model(&data);
        read_or_refused(&data)?;
    }

    #[test]
    fn anything_like_markup(text in markup()) {
        fuzz_xml(text.as_bytes());
        fuzz_xml_model(text.as_bytes());
        read_or_refused(text.as_bytes())?;
    }

    #[test]
    fn what_is_written_is_read(tree in tree()) {
        let mut w = Writer::new(XmlFlags::empty());
        write(&tree, &mut w);
        let text = w.finish();
        let doc = Doc::parse(&text).expect("the writer writes well-formed XML");
        same(&tree, doc.root());
    }
}
