use super::*;
use proptest::prelude::*;

const XML: &str = "<domain type='test' xmlns:q='urn:q'>
  <name>a &amp; b</name>
  <devices>
    <disk type='file'><source file='/x'/><target dev='vda'/></disk>
    <disk type='block'><target dev='vdb'/></disk>
    <q:extra n='1'/>
  </devices>
</domain>
";

fn value(expression: &str) -> String {
    text(XML, expression).unwrap()
}

#[test]
fn paths_predicates_and_functions() {
    assert_eq!(value("string(/domain/@type)"), "test");
    assert_eq!(value("string(//disk[2]/target/@dev)"), "vdb");
    assert_eq!(value("count(//disk)"), "2");
    assert_eq!(value("string(//disk[source/@file='/x']/target/@dev)"), "vda");
    assert_eq!(value("string(//target[@dev='vdb']/../@type)"), "block");
    assert_eq!(value("name(//*[@n])"), "q:extra");
    assert_eq!(value("string(/domain/name)"), "a & b");
    assert_eq!(value("1 + 2 * 3"), "7");
    assert_eq!(value("concat('a', \"b\", 1 div 2)"), "ab0.5");
    assert_eq!(value("string(//disk[last()]/@type)"), "block");
    assert_eq!(value("string(//disk[position() < 2]/@type)"), "file");
    assert_eq!(value("boolean(//nothing | //disk)"), "true");
    assert_eq!(value("string(//target/ancestor::domain/@type)"), "test");
    assert_eq!(value("substring('12345', 2, 3)"), "234");
    assert_eq!(value("normalize-space('  a  b ')"), "a b");
    assert_eq!(value("string((//disk)[2]/preceding-sibling::*[1]/@type)"), "file");
}

#[test]
fn nodes_are_printed_with_double_quotes() {
    assert_eq!(
        select(XML, "//target", false).unwrap(),
        "<target dev=\"vda\"/>\n<target dev=\"vdb\"/>\n"
    );
    assert_eq!(
        select(XML, "/domain/name", false).unwrap(),
        "<name>a &amp; b</name>\n"
    );
    assert_eq!(
        select(XML, "//disk[1]", false).unwrap(),
        "<disk type=\"file\">\n  <source file=\"/x\"/>\n  <target dev=\"vda\"/>\n</disk>\n"
    );
    assert_eq!(
        select(XML, "//disk[2]", true).unwrap(),
        "<nodes>\n  <disk type=\"block\">\n    <target dev=\"vdb\"/>\n  </disk>\n</nodes>\n"
    );
    assert_eq!(select(XML, "//nothing", true).unwrap(), "<nodes/>\n");
}

#[test]
fn mistakes_are_errors() {
    for expression in [
        "//", "/domain[", "string(", "'x", "foo()", "1 +", "count(1)", "a::b", "//disk['", "&",
    ] {
        assert!(select(XML, expression, false).is_err(), "{expression}");
    }
    assert!(select(XML, "1", false).is_err());
    assert!(select("<a>", "/a", false).is_err());
    let deep = "(".repeat(10_000);
    assert!(select(XML, &deep, false).is_err());
}

#[test]
fn programs_get_objects() {
    let value = to_value(XML, None).unwrap();
    assert_eq!(value["domain"]["@type"], "test");
    assert_eq!(value["domain"]["name"], "a & b");
    assert_eq!(value["domain"]["devices"]["disk"][1]["target"]["@dev"], "vdb");
    assert_eq!(
        to_value(XML, Some("//disk/@type")).unwrap(),
        serde_json::json!(["file", "block"])
    );
}

proptest! {
    #[test]
    fn no_expression_breaks_anything(text in "[a-z/@\\[\\]().*|=<>+$'\" 0-9:-]{0,40}") {
        let _ = select(XML, &text, true);
    }

    #[test]
    fn no_document_breaks_anything(xml in "[<>/a-b='\" &;!?\\[\\]-]{0,60}") {
        let _ = select(&xml, "//a", false);
    }
}
