use super::value::{Kind, Value};
use super::*;

use proptest::prelude::*;

fn rule(inside: &str) -> Result<Filter> {
    let text =
        format!("<filter name='f' chain='root'><rule action='drop' direction='in'>{inside}</rule></filter>");
    Filter::parse(&text, "test")
}

/// What becomes of a rule's details.
fn canonical(inside: &str) -> String {
    let text = rule(inside).unwrap().format();
    let start = text.find("priority='500'>").map_or(text.len(), |at| at + 16);
    let end = text.find("  </rule>").unwrap_or(text.len());
    text.get(start..end)
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("")
}

#[test]
fn values_are_written_as_they_were_said() {
    for (inside, want) in [
        (
            "<mac protocolid='ARP' srcmacaddr='1:2:3:4:5:6'/>",
            "<mac srcmacaddr='01:02:03:04:05:06' protocolid='arp'/>",
        ),
        ("<mac protocolid='0x806'/>", "<mac protocolid='arp'/>"),
        ("<mac protocolid='1536'/>", "<mac protocolid='1536'/>"),
        ("<mac protocolid='0x0602'/>", "<mac protocolid='0x602'/>"),
        (
            "<arp opcode='0x63' gratuitous='yes'/>",
            "<arp opcode='99' gratuitous='true'/>",
        ),
        ("<arp opcode='request'/>", "<arp opcode='Request'/>"),
        ("<ip protocol='0x7' dscp='63'/>", "<ip protocol='0x7' dscp='63'/>"),
        (
            "<ip srcipmask='255.255.0.0' srcipaddr='10.1'/>",
            "<ip srcipaddr='10.0.0.1' srcipmask='16'/>",
        ),
        ("<tcp flags='syn,ACK/SYN'/>", "<tcp flags='SYN,ACK/SYN'/>"),
        ("<tcp flags='ALL/NONE'/>", "<tcp flags='ALL/NONE'/>"),
        ("<all state='related, new'/>", "<all state='NEW,RELATED'/>"),
        ("<all state='NEW,NONE'/>", "<all state='NONE'/>"),
        (
            "<tcp srcipaddr='$IP[@0]' dstipaddr='$IP[2]'/>",
            "<tcp srcipaddr='$IP' dstipaddr='$IP[2]'/>",
        ),
        ("<tcp srcipaddr='$IP[ @7 ]'/>", "<tcp srcipaddr='$IP[@7]'/>"),
        ("<udp comment='a&apos;b'/>", "<udp comment='a&apos;b'/>"),
        // A set without flags gets them; one with flags goes, but in rules for all protocols.
        ("<tcp ipset='s'/>", "<tcp ipset='s' ipsetflags='src'/>"),
        ("<tcp ipset='s' ipsetflags='dst'/>", "<tcp/>"),
        (
            "<all ipset='s' ipsetflags='dst'/>",
            "<all ipset='s' ipsetflags='dst'/>",
        ),
        // Elements of other protocols than the first are passed over.
        ("<foo/><tcp/><udp dscp='1'/><tcp dscp='2'/>", "<tcp dscp='2'/>"),
    ] {
        assert_eq!(canonical(inside), want, "{inside}");
    }
}

#[test]
fn what_goes_together_is_negated_together() {
    for (inside, want) in [
        (
            "<ip match='no' srcipaddr='10.0.0.1' srcipmask='8' dscp='1'/>",
            "<ip match='no' srcipaddr='10.0.0.1' srcipmask='8' dscp='1'/>",
        ),
        (
            "<ip srcipaddr='10.0.0.1'/><ip match='no' srcipmask='8'/>",
            "<ip srcipaddr='10.0.0.1' srcipmask='8'/>",
        ),
        ("<tcp match='no' dstportstart='80'/>", "<tcp dstportstart='80'/>"),
        (
            "<tcp match='no' srcportstart='1' dstportstart='80'/>",
            "<tcp match='no' srcportstart='1' dstportstart='80'/>",
        ),
        (
            "<tcp dscp='1'/><tcp match='no' option='2'/>",
            "<tcp dscp='1'/><tcp match='no' option='2'/>",
        ),
    ] {
        assert_eq!(canonical(inside), want, "{inside}");
    }
}

#[test]
fn wrong_values_are_refused() {
    for inside in [
        "<mac protocolid='5'/>",
        "<mac srcmacaddr='1:2:3'/>",
        "<mac srcmacmask='ff:00:ff:00:00:00'/>",
        "<vlan vlanid='4096'/>",
        "<vlan encap-protocol='0x3b'/>",
        "<ip dscp='64'/>",
        "<ip srcipmask='33'/>",
        "<ip srcipaddr='::1'/>",
        "<ip srcportstart='80'/>",
        "<ip protocol='icmp' srcportstart='80'/>",
        "<ip protocol='$P' srcportstart='80'/>",
        "<ipv6 srcipaddr='10.0.0.1'/>",
        "<tcp-ipv6 dstipto='::1'/>",
        "<tcp connlimit-above='0x1'/>",
        "<tcp srcportend='65536'/>",
        "<tcp state='SLEEPY'/>",
        "<tcp flags='SYN'/>",
        "<tcp ipset='a/b'/>",
        "<tcp ipset='a' ipsetflags='src,dst,src,dst,src,dst,src'/>",
        "<tcp srcipaddr='$IP[@1001]'/>",
        "<tcp srcipaddr='$IP['/>",
        "<tcp comment='$a b'/>",
    ] {
        assert_eq!(
            rule(inside).expect_err(inside).code(),
            ErrorCode::INTERNAL_ERROR,
            "{inside}"
        );
    }
}

#[test]
fn chains_have_names_and_priorities() {
    let head = |attributes: &str| {
        Filter::parse(&format!("<filter name='f' {attributes}/>"), "test")
            .map(|filter| (filter.chain, filter.priority))
    };
    for (attributes, chain, priority) in [
        ("", "root", 0),
        ("priority='7'", "root", 0),
        ("chain='root' priority='7'", "root", 7),
        ("chain='ipv4'", "ipv4", -700),
        ("chain='arp-xyz'", "arp-xyz", -500),
        ("chain='stp'", "stp", 0),
        ("chain='mac' priority='-1000'", "mac", -1000),
    ] {
        assert_eq!(
            head(attributes).unwrap(),
            (chain.to_owned(), priority),
            "{attributes}"
        );
    }
    for attributes in [
        "chain='rootless'",
        "chain='tcp'",
        "chain='arp/x'",
        "chain='arp-0123456789'",
        "priority='1001'",
        "chain='mac' priority='x'",
    ] {
        assert_eq!(
            head(attributes).expect_err(attributes).code(),
            ErrorCode::INVALID_ARG,
            "{attributes}"
        );
    }
    assert_eq!(
        Filter::parse("<filter/>", "test").unwrap_err().code(),
        ErrorCode::INTERNAL_ERROR
    );
}

#[test]
fn unknown_names_are_found() {
    let text = "<filter name='f' chain='root'><rule action='drop' direction='in'><udp match='no' dscp='1' option='1'/>\
                </rule></filter>";
    let doc = Doc::parse(text).unwrap();
    let error = crate::schema::check(&doc).unwrap_err();
    assert_eq!(
        error.detail(),
        "(xml):1:99: /filter/rule/udp: unknown attribute 'option'"
    );
}

#[test]
fn a_loop_is_found() {
    let filter = |name: &str, to: &str| {
        Filter::parse(
            &format!("<filter name='{name}'><filterref filter='{to}'/></filter>"),
            "test",
        )
        .unwrap()
    };
    let known = [filter("b", "c"), filter("c", "d"), filter("d", "c")];
    let lookup = |name: &str| known.iter().find(|filter| filter.name == name);
    assert!(filter("a", "b").check_loop(lookup).is_ok());
    assert!(filter("a", "a").check_loop(lookup).is_err());
    assert!(filter("d", "b").check_loop(lookup).is_err());
}

#[test]
fn parameters_that_are_no_variables_are_passed_over() {
    let text = "<filter name='f'><filterref filter='x'><parameter name='IP' value='10.0.0.1'/>\
                <parameter name='IP' value='10.0.0.2'/><parameter name='B-D' value='1'/><parameter name='C' value='a b'/>\
                <parameter name='A' value='z'/></filterref></filter>";
    let filter = Filter::parse(text, "test").unwrap();
    let reference = filter.references().next().unwrap();
    assert_eq!(reference.parameters.keys().collect::<Vec<_>>(), ["A", "IP"]);
    assert_eq!(reference.parameters["IP"], ["10.0.0.1", "10.0.0.2"]);
}

const KINDS: &[Kind] = &[
    Kind::Byte,
    Kind::Short,
    Kind::Decimal,
    Kind::Long,
    Kind::Mac,
    Kind::MacMask,
    Kind::Ipv4,
    Kind::Ipv4Mask,
    Kind::Ipv6,
    Kind::Ipv6Mask,
    Kind::EtherType,
    Kind::Encapsulated,
    Kind::VlanId,
    Kind::ArpOpcode,
    Kind::IpProtocol,
    Kind::Dscp,
    Kind::Bool,
    Kind::States,
    Kind::TcpFlags,
    Kind::Ipset,
    Kind::IpsetFlags,
];

proptest! {
    /// What was read from any text is written as a text that means the same.
    #[test]
    fn values_come_back(text in "([$]?[A-Za-z0-9_.:,/@ -]{0,20})|(\\[@?[0-9]{1,4}\\])|(0x[0-9a-f]{1,5})|([0-9]{1,5})") {
        for kind in KINDS {
            if let Some(value) = kind.parse(&text) {
                let mut out = String::new();
                kind.format(&value, &mut out);
                let again = kind.parse(&out);
                // A number with a name is the same number, however it was said.
                let same = match (&value, &again) {
                    (Value::Number { value: a, .. }, Some(Value::Number { value: b, .. })) => a == b,
                    (a, Some(b)) => a == b,
                    (_, None) => false,
                };
                prop_assert!(same, "{kind:?} {text:?} -> {out:?}");
            }
        }
    }
}
