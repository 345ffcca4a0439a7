//! Kept elements. The expected texts were printed by libvirt 11.3 (libxml2 2.9.14) for the same definitions.
use crate::xml::{Doc, DocOptions, RawElement, Reader, Writer, XmlElement, XmlFlags, metadata};

const DEFINITION: &str = r#"<domain type='test' xmlns:z="http://z">
  <name>meta</name><memory>1024</memory><os><type>hvm</type></os>
  <metadata>
    <!-- c1 -->
    <z:a é="ü &quot; ' &gt; &#9;t" b='x'>  <z:b/>
      <c></c><d> </d><e>  text <f/> </e> <!-- in --> <?pi x  y?>
      <g><![CDATA[ <raw> ]]></g><h>é &gt; " '</h>
      <i>&#13;</i>
      <z:j xml:space="preserve"> <k/> </z:j>
    </z:a>
    <q:r xmlns:q="http://q" xmlns="http://def" q:at="1"><inner xmlns=""/><two/></q:r>
    <q:dup xmlns:q="http://q"/>
    <none/>
    text
  </metadata>
</domain>
"#;

const PRINTED: &str = r#"<domain>
  <metadata xmlns:z="http://z">
    <z:a é="&#xFC; &quot; ' &gt; &#9;t" b="x">
      <z:b/>
      <c/>
      <d> </d>
      <e>  text <f/> </e>
      <!-- in -->
      <?pi x  y?>
      <g><![CDATA[ <raw> ]]></g>
      <h>é &gt; " '</h>
      <i>&#13;</i>
      <z:j xml:space="preserve"> <k/> </z:j>
    </z:a>
    <q:r xmlns:q="http://q" xmlns="http://def" q:at="1">
      <inner xmlns=""/>
      <two/>
    </q:r>
  </metadata>
</domain>
"#;

#[test]
fn metadata_is_printed_as_libxml2_does() {
    let doc = Doc::parse(DEFINITION).unwrap();
    let element = doc.root().child("metadata").unwrap();
    let kept = metadata::read(element, &mut Reader::new(XmlFlags::empty())).unwrap();
    let mut w = Writer::new(XmlFlags::empty());
    w.start("domain");
    metadata::write(&kept, &mut w, "metadata");
    w.end("domain");
    let text = w.finish();
    assert_eq!(text, PRINTED);
    // And is stable.
    let doc = Doc::parse(&text).unwrap();
    assert_eq!(RawElement::copy(doc.root().child("metadata").unwrap()), kept);
}

#[test]
fn a_namespace_can_be_set_taken_and_removed() {
    let mut metadata = RawElement::new("metadata");
    let element = RawElement::parse("<app><x at='1'/></app>", &DocOptions::named("(metadata_xml)")).unwrap();
    metadata.replace("http://a", "a", element.clone()).unwrap();
    metadata.replace("http://a", "a", element.clone()).unwrap();
    let mut w = Writer::new(XmlFlags::empty());
    metadata.write(&mut w, "metadata");
    assert_eq!(
        w.finish(),
        "<metadata>\n  <a:app xmlns:a=\"http://a\">\n    <a:x at=\"1\"/>\n  </a:app>\n</metadata>\n"
    );
    assert_eq!(
        metadata.extract("http://a").as_deref(),
        Some("<app>\n  <x at=\"1\"/>\n</app>")
    );
    assert_eq!(metadata.extract("http://b"), None);
    assert!(metadata.replace("http://a", "a:b", element).is_err());
    assert!(metadata.remove("http://a") && !metadata.remove("http://a"));
}

/// What counts as layout, case by case as libxml2 2.9.14 decides it.
#[test]
fn blanks_that_lay_out_are_left_out() {
    for (source, dumped) in [
        ("<a> <b/> </a>", "<a>\n  <b/>\n</a>"),
        ("<a> </a>", "<a> </a>"),
        ("<a>x<b/> </a>", "<a>x<b/> </a>"),
        ("<a><b/>x<c/> </a>", "<a><b/>x<c/></a>"),
        ("<a><b/>é<c/> </a>", "<a><b/>é<c/> </a>"),
        ("<a><b/> x<c/> </a>", "<a><b/> x<c/> </a>"),
        ("<a><b/>&amp; <c/> </a>", "<a><b/>&amp; <c/> </a>"),
        (
            "<a><![CDATA[x]]><![CDATA[y]]> <b/></a>",
            "<a><![CDATA[xy]]><b/></a>",
        ),
        (
            "<a xml:space='preserve'> <b/> <c xml:space='default'> <d/> </c></a>",
            "<a xml:space=\"preserve\"> <b/> <c xml:space=\"default\"><d/></c></a>",
        ),
    ] {
        let doc = Doc::parse(source).unwrap();
        let mut out = String::new();
        RawElement::copy(doc.root()).dump(&mut out, 0);
        assert_eq!(out, dumped, "{source}");
    }
}

/// What `<metadata>` comes to; nothing if it does not count.
fn kept(source: &str) -> Option<String> {
    let source = format!("<domain>{source}</domain>");
    let doc = Doc::parse(&source).unwrap();
    let metadata = doc
        .root()
        .child("metadata")
        .filter(|_| metadata::counts(doc.root()))?;
    let kept = metadata::read(metadata, &mut Reader::new(XmlFlags::empty())).unwrap();
    let mut out = String::new();
    kept.dump(&mut out, 0);
    Some(out)
}

#[test]
fn metadata_counts_where_an_element_is_in_it() {
    for void in [
        "",
        "<metadata/>",
        "<metadata> </metadata>",
        "<metadata>text</metadata>",
        "<metadata a='b'/>",
    ] {
        assert_eq!(kept(void), None, "{void}");
    }
    for (source, printed) in [
        ("<metadata><a/></metadata>", "<metadata/>"),
        ("<metadata>a<b/></metadata>", "<metadata/>"),
        ("<metadata a='b'><c/></metadata>", "<metadata a=\"b\"/>"),
        (
            "<metadata><a/><x:b xmlns:x='u:x'/></metadata>",
            "<metadata>\n  <x:b xmlns:x=\"u:x\"/>\n</metadata>",
        ),
    ] {
        assert_eq!(kept(source).as_deref(), Some(printed), "{source}");
    }
}

#[test]
fn uris_are_written_by_rules_of_their_own() {
    for (source, printed) in [
        ("'u?a=1&amp;b=2'", "\"u?a=1&#38;b=2\""),
        ("'u&quot;x'", "'u\"x'"),
        ("'u&quot;>&apos;x'", "\"u&quot;>'x\""),
        ("'u:é'", "\"u:é\""),
        // libxml2 writes these so that they are not read again.
        ("'u&lt;'", "\"u&lt;\""),
        ("'u&#9;'", "\"u&#9;\""),
    ] {
        let wanted = format!("<metadata>\n  <x:b xmlns:x={printed} y=\"a&amp;b\"/>\n</metadata>");
        let source = format!("<metadata><x:b xmlns:x={source} y='a&amp;b'/></metadata>");
        assert_eq!(kept(&source).as_deref(), Some(wanted.as_str()));
        assert_eq!(kept(&wanted).as_deref(), Some(wanted.as_str()));
    }
}
