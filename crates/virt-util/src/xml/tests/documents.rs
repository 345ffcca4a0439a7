//! Documents that are well formed, and those that are not.
use crate::ErrorCode;
use crate::xml::{Doc, DocOptions, Limits, Position, identity};

#[track_caller]
fn refused(source: &str, at: &str, what: &str) {
    let error = Doc::parse_with(source, &DocOptions::named("f")).expect_err("must be refused");
    assert_eq!(error.code(), ErrorCode::XML_DETAIL);
    let text = error.message();
    assert!(text.starts_with(&format!("f:{at}: ")), "{text}");
    assert!(text.contains(what), "{text}");
}

#[test]
fn names() {
    refused("<1a/>", "1:2", "not allowed");
    refused("<a/b/>", "1:2", "not allowed");
    refused("< a/>", "1:2", "name is missing");
    refused("<a -b='1'/>", "1:4", "not allowed");
    refused("<a:b:c xmlns:a='x'/>", "1:2", "misplaced ':'");
    refused("<:a/>", "1:2", "misplaced ':'");
    refused(&format!("<{}/>", "n".repeat(5000)), "1:2", "too long");
    assert!(Doc::parse("<ä-1.b ü='1'/>").is_ok());
}

#[test]
fn attributes() {
    refused("<a b='1'c='2'/>", "1:9", "white space is missing");
    refused("<a b/>", "1:5", "no value");
    refused("<a b=1/>", "1:6", "not in quotes");
    refused("<a b='<'/>", "1:7", "'<' is not allowed");
    refused("<a b='&'/>", "1:7", "begins no reference");
    refused("<a b='&nbsp;'/>", "1:7", "entity is not defined");
    refused("<a b='1'\n   b='2'/>", "2:4", "attribute 'b' is given twice");
    refused("<a b='1' / >", "1:10", "not allowed");
    let many: String = (0..40).map(|n| format!(" a{n}='1'")).collect();
    refused(&format!("<a{many} a7=''/>"), "1:314", "given twice");
    let doc = Doc::parse("<a b = \"x&#65;\n\ty\" c='\"'></a >").unwrap();
    assert_eq!(doc.root().attr("b").as_deref(), Some("xA  y"));
    assert_eq!(doc.root().attr("c").as_deref(), Some("\""));
}

#[test]
fn structure() {
    refused("", "1:1", "no root");
    refused("   \n", "2:1", "no root");
    refused("<a>", "1:1", "element 'a' is not closed");
    refused("<a><b></a>", "1:7", "'</a>' does not close '<b>'");
    refused("<a/></a>", "1:5", "closes nothing");
    refused("<a/><b/>", "1:5", "second root");
    refused("<a/>x", "1:5", "text outside the root");
    refused("x<a/>", "1:1", "text outside the root");
    refused("<a/><![CDATA[x]]>", "1:5", "text outside the root");
    refused("<a/>&amp;", "1:5", "text outside the root");
    refused("<a", "1:1", "not closed");
    refused("<a>\n  <b", "2:3", "not closed");
}

#[test]
fn text() {
    refused("<a>]]></a>", "1:4", "']]>'");
    refused("<a>\u{1}</a>", "1:4", "does not allow");
    refused("<a>\u{FFFE}</a>", "1:4", "does not allow");
    refused("<a>&#0;</a>", "1:4", "does not allow");
    refused("<a>&#xD800;</a>", "1:4", "does not allow");
    refused("<a>&#x;</a>", "1:4", "malformed");
    refused("<a>&#+65;</a>", "1:4", "malformed");
    refused("<a>&lol;</a>", "1:4", "not defined");
    refused("<a>& </a>", "1:4", "");
    let doc = Doc::parse("<a>1\r\n2<!-- x -->&lt;<![CDATA[<&>]]><b q='>'>3</b><?p x?>&#x34;</a>").unwrap();
    assert_eq!(doc.root().text(), "1\n2<<&>34");
    // Between children white space is layout, behind text it is text.
    let doc = Doc::parse("<a>\n  <b>\n    <c>1</c>\n  </b>\n  <b> </b>\n</a>").unwrap();
    assert_eq!(doc.root().text(), "1 ");
    let doc = Doc::parse("<a>1<b>\n  <c/>\n</b>\n</a>").unwrap();
    assert_eq!(doc.root().text(), "1\n");
}

#[test]
fn comments_and_instructions() {
    refused("<a><!-- a -- b --></a>", "1:4", "'--'");
    refused("<a><!-- a ---></a>", "1:4", "'--'");
    refused("<a><!-- a </a>", "1:4", "");
    refused("<a><?xml version='1.0'?></a>", "1:4", "very start");
    refused(" <?xml version='1.0'?><a/>", "1:2", "very start");
    refused("<a><?XmL x?></a>", "1:4", "very start");
    refused("<a><? x?></a>", "1:4", "name");
    refused(
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "1:1",
        "document type declarations",
    );
    refused("<!doctype a><a/>", "1:1", "document type declarations");
}

#[test]
fn declarations() {
    for good in [
        "<?xml version='1.0'?><a/>",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<a/>\n<!-- end -->\n",
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><a/>",
        "\u{FEFF}<?xml version='1.0'?><a/>",
    ] {
        assert!(Doc::parse(good).is_ok(), "{good}");
    }
    refused("<?xml?><a/>", "1:1", "");
    refused("<?xml encoding='UTF-8'?><a/>", "1:7", "");
    refused(
        "<?xml version='1.0' encoding='latin1'?><a/>",
        "1:31",
        "'latin1' as encoding",
    );
    refused("<?xml version='2.0'?><a/>", "1:16", "'2.0' as version");
    refused(
        "<?xml version='1.0' standalone='no' encoding='UTF-8'?><a/>",
        "1:37",
        "unexpected",
    );
}

#[test]
fn namespaces() {
    refused("<q:a/>", "1:2", "prefix 'q' is not declared");
    refused("<a q:b='1'/>", "1:4", "prefix 'q' is not declared");
    refused("<a xmlns:q=''/>", "1:4", "empty namespace");
    refused("<a xmlns:xmlns='x'/>", "1:4", "cannot be declared");
    refused("<a xmlns:xml='x'/>", "1:4", "another namespace");
    refused(
        "<a><b xmlns:q='u'/><q:c/></a>",
        "1:21",
        "prefix 'q' is not declared",
    );
    refused(
        "<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>",
        "1:35",
        "twice in one namespace",
    );
    let doc = Doc::parse("<a xmlns='d'><b xmlns='' c='1'/><q:e xmlns:q='u' q:f='2'/></a>").unwrap();
    let root = doc.root();
    assert!(root.is_in("d", "a") && !root.is("a"));
    assert!(root.child("b").is_some());
    assert_eq!(root.child_in("u", "e").map(|e| e.attributes().count()), Some(2));
}

#[test]
fn bytes() {
    let parse = |bytes: &[u8]| Doc::parse_bytes(bytes, &DocOptions::named("f")).map(|_| ());
    assert!(parse(b"\xEF\xBB\xBF<a/>").is_ok());
    let error = parse(b"<a>\n\xC3\x28</a>").unwrap_err();
    assert!(
        error.message().starts_with("f:2:1: the document is not UTF-8"),
        "{error}"
    );
    assert!(
        parse(b"\xFF\xFE<\0a\0/\0>\0")
            .unwrap_err()
            .message()
            .contains("UTF-16")
    );
    assert!(parse(b"<a>\0</a>").unwrap_err().message().starts_with("f:1:4: "));
}

#[test]
fn limits() {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(Doc::parse(&deep(256)).is_ok());
    refused(&deep(257), "1:769", "more than 256 deep");
    let limits = Limits {
        bytes: 100,
        elements: 3,
        attributes: 2,
        ..Limits::default()
    };
    let options = DocOptions {
        limits,
        ..DocOptions::named("f")
    };
    for (source, what) in [
        (format!("<a>{}</a>", " ".repeat(100)), "at most 100"),
        ("<a><b/><b/><b/></a>".to_owned(), "more than 3 elements"),
        ("<a b='' c='' d=''/>".to_owned(), "more than 2 attributes"),
    ] {
        let error = Doc::parse_with(&source, &options).unwrap_err();
        assert!(error.message().contains(what), "{error}");
    }
}

#[test]
fn huge_bad_documents_end_soon() {
    // Each would be slow if anything were quadratic.
    let sources = [
        "<".repeat(1 << 20),
        "<a ".repeat(1 << 18),
        format!(
            "<a {}/>",
            (0..60_000).map(|n| format!("a{n}='' ")).collect::<String>()
        ),
        format!(
            "<a {}/>",
            (0..60_000)
                .map(|n| format!("xmlns:a{n}='u' "))
                .collect::<String>()
        ),
        format!("<a>{}</a>", "&amp;".repeat(1 << 18)),
        format!("<a>{}</a>", "<!---->".repeat(1 << 18)),
        format!("<a>{}", "<b/>".repeat(1 << 18)),
        format!("<a b='{}", "&".repeat(1 << 20)),
    ];
    let start = std::time::Instant::now();
    for source in &sources {
        if let Ok(doc) = Doc::parse(source) {
            let _ = doc.root().text();
        }
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn positions_and_paths() {
    let doc = Doc::parse("<a>\n  <b/>\n  <b ä='ö' c='1'/>\n</a>").unwrap();
    let second = doc.root().children().nth(1).unwrap();
    assert_eq!(second.path(), "/a/b[2]");
    assert_eq!(second.position(), Position { line: 3, column: 3 });
    assert_eq!(second.attr_position("c"), Position { line: 3, column: 15 });
    assert_eq!(second.child_or_ghost("x").path(), "/a/b[2]/x");
    assert_eq!(second.parent().map(|parent| parent.path()).as_deref(), Some("/a"));
}

#[test]
fn an_identity_needs_no_model() {
    let text = "<domain type='kvm'>\n<name>w&#101;b</name><uuid> 6695eb01-f6a48304-79aa-97f2502e193f</uuid><x><name>no</name></x></domain>";
    let found = identity(text.as_bytes()).unwrap();
    assert_eq!(found.root, "domain");
    assert_eq!(found.kind.as_deref(), Some("kvm"));
    assert_eq!(found.name.as_deref(), Some("web"));
    assert_eq!(
        found.uuid.unwrap().to_string(),
        "6695eb01-f6a4-8304-79aa-97f2502e193f"
    );
    assert_eq!(identity(b"<domain><name/><x/></domain>").unwrap().name, None);
    let error = identity(b"<domain>\n<uuid>12</uuid></domain>").unwrap_err();
    assert_eq!(error.code(), ErrorCode::XML_ERROR);
    assert!(
        error
            .message()
            .contains("(xml):2:1: /domain/uuid: invalid value '12'"),
        "{error}"
    );
}
