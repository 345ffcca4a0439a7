//! What the schema of network filters asks for: forms of values, which parsing passes over where they are wrong.

use virt_util::Result;
use virt_util::xml::rules::{Form, Must, Rule};
use virt_util::xml::{At, Doc, Element, Reader, ValueError, finish_schema, schema};

use super::Filter;
use super::attributes::Protocol;
use super::value::Kind;
use crate::forms;

/// Refuses a document that the schema of network filters does not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` that names place, path and value of the first few faults.
pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
    let mut cx = Reader::default();
    schema::check_with::<Filter>(doc.root(), RULES, &mut cx);
    for rule in doc.root().children_named("rule") {
        let mut parts = rule.children();
        if let Some(part) = parts.next() {
            check_part(part, &mut cx);
        }
        if let Some(second) = parts.next() {
            let what = "a rule is about one protocol".to_owned();
            cx.finding(second, At::Text, what, None);
        }
    }
    finish_schema(doc.root(), &cx)
}

/// Rules about filters.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        element: "filter",
        when: &[],
        must: Must::Have(&["@name"]),
    },
    Rule {
        element: "filter",
        when: &[],
        must: Must::Fit("@name", forms::NC_NAME),
    },
    Rule {
        element: "filterref",
        when: &[],
        must: Must::Have(&["@filter"]),
    },
    Rule {
        element: "filterref",
        when: &[],
        must: Must::Fit("@filter", forms::NC_NAME),
    },
    Rule {
        element: "filter",
        when: &[],
        must: Must::Fit("@chain", CHAIN),
    },
    Rule {
        element: "filter",
        when: &[],
        must: Must::Fit("@priority", PRIORITY),
    },
    Rule {
        element: "rule",
        when: &[],
        must: Must::Fit("@priority", PRIORITY),
    },
    Rule {
        element: "rule",
        when: &[],
        must: Must::Have(&["@action", "@direction"]),
    },
    Rule {
        element: "rule",
        when: &[],
        must: Must::Fit("@statematch", STATEMATCH),
    },
    Rule {
        element: "filterref/parameter",
        when: &[],
        must: Must::Have(&["@name", "@value"]),
    },
    Rule {
        element: "filterref/parameter",
        when: &[],
        must: Must::Fit("@name", PARAMETER_NAME),
    },
    Rule {
        element: "filterref/parameter",
        when: &[],
        must: Must::Fit("@value", PARAMETER_VALUE),
    },
];

const CHAIN: Form = Form {
    says: "'root', or a name of up to 12 characters that begins with mac, stp, vlan, arp, rarp, ipv4 or ipv6",
    fits: |text| {
        let named = ["mac", "stp", "vlan", "arp", "rarp", "ipv4", "ipv6"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        text == "root" || named && text.len() <= 12 && text.chars().all(plain)
    },
};

const PRIORITY: Form = Form {
    says: "a whole number from -1000 to 1000",
    fits: |text| {
        text.trim_ascii()
            .parse()
            .is_ok_and(|number: i32| (-1000..=1000).contains(&number))
    },
};

const STATEMATCH: Form = Form {
    says: "'false' or '0'",
    fits: |text| text == "0" || text.eq_ignore_ascii_case("false"),
};

pub(crate) const PARAMETER_NAME: Form = Form {
    says: "letters, digits and '_'",
    fits: |text| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
};

pub(crate) const PARAMETER_VALUE: Form = Form {
    says: "letters, digits, '_', '.' and ':'",
    fits: |text| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.:".contains(c))
    },
};

fn check_part(part: Element<'_>, cx: &mut Reader) {
    let Some(protocol) = Protocol::find(part.name()) else {
        return;
    };
    for attribute in part.attributes() {
        let name = attribute.qualified_name();
        let Some(known) = protocol.attribute(name) else {
            continue;
        };
        let text = attribute.value();
        if let Err(says) = form(known.kind, &text) {
            cx.wrong_value(part, At::Attribute(name), &text, &ValueError::expected(says));
        }
    }
}

/// Is `text` a value of the kind? Otherwise what would be. Most kinds may be variables.
fn form(kind: Kind, text: &str) -> Result<(), &'static str> {
    let number = |digits: usize, min: u32, max: u32| {
        let hex = text.strip_prefix("0x");
        let value = match hex {
            Some(hex) if hex.len() <= digits => u32::from_str_radix(hex, 16),
            Some(_) => return false,
            None => text.trim_ascii().parse(),
        };
        value.is_ok_and(|value| (min..=max).contains(&value))
    };
    let fits = |good: bool, says: &'static str| if good { Ok(()) } else { Err(says) };
    let variable = is_variable(text);
    let names = |words: &[&str]| words.contains(&text);
    match kind {
        Kind::Byte => fits(number(2, 0, 0xff), "a whole number from 0 to 255"),
        Kind::Short | Kind::Decimal => fits(
            variable || number(4, 0, 0xffff),
            "a whole number from 0 to 65535, or a variable",
        ),
        Kind::Long => fits(
            variable || number(8, 0, u32::MAX),
            "a whole number from 0 to 4294967295, or a variable",
        ),
        Kind::Mac | Kind::MacMask => fits(variable || is_loose_mac(text), "a MAC address, or a variable"),
        Kind::Ipv4 => fits(variable || is_ipv4(text), "an IPv4 address, or a variable"),
        Kind::Ipv4Mask => fits(
            variable || is_ipv4(text) || is_prefix(text, 32),
            "0 to 32, an IPv4 mask, or a variable",
        ),
        Kind::Ipv6 => fits(variable || is_ipv6(text, true), "an IPv6 address, or a variable"),
        Kind::Ipv6Mask => fits(
            variable || is_ipv6(text, false) || is_prefix(text, 128),
            "0 to 128, an IPv6 mask, or a variable",
        ),
        Kind::EtherType | Kind::Encapsulated => fits(
            variable || number(4, 0x600, 0xffff) || names(&["arp", "rarp", "ipv4", "ipv6", "vlan"]),
            "a protocol of frames: from 0x600, arp, rarp, ipv4, ipv6 or vlan",
        ),
        Kind::VlanId => fits(
            variable || number(3, 0, 4095),
            "a whole number from 0 to 4095, or a variable",
        ),
        Kind::ArpOpcode => fits(
            variable || !text.starts_with("0x") && number(4, 0, 0xffff) || is_arp_opcode(text),
            "a whole number from 0 to 65535, or the name of an operation",
        ),
        Kind::IpProtocol => fits(
            variable
                || number(2, 0, 0xff)
                || names(&[
                    "tcp", "udp", "udplite", "esp", "ah", "icmp", "igmp", "sctp", "icmpv6",
                ]),
            "a protocol: 0 to 255, or its name",
        ),
        Kind::Dscp => fits(
            variable || number(2, 0, 63),
            "a whole number from 0 to 63, or a variable",
        ),
        Kind::Bool => fits(names(&["yes", "no", "true", "false", "1", "0"]), "'yes' or 'no'"),
        Kind::States => fits(
            text == "NONE"
                || text
                    .split(',')
                    .all(|state| ["NEW", "ESTABLISHED", "RELATED", "INVALID"].contains(&state)),
            "states with commas between, or NONE",
        ),
        Kind::TcpFlags => fits(
            text.split_once('/')
                .is_some_and(|(mask, flags)| is_flags(mask) && is_flags(flags)),
            "two lists of flags with a slash between",
        ),
        Kind::Ipset => fits(
            variable
                || (1..=31).contains(&text.len())
                    && text
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "_.:-+ ".contains(c)),
            "the name of a set, or a variable",
        ),
        Kind::IpsetFlags => fits(
            text.split(',').count() <= 6
                && text
                    .split(',')
                    .all(|flag| flag.eq_ignore_ascii_case("src") || flag.eq_ignore_ascii_case("dst")),
            "up to six of 'src' and 'dst' with commas between",
        ),
        Kind::Comment => Ok(()),
    }
}

/// What a grammar says of an attribute of a protocol: [`form`] as an expression. Nothing for other elements, and where any
/// text will do.
pub(crate) fn expression(path: &[&str], attribute: &str) -> Option<&'static str> {
    /// The expressions, or a variable.
    macro_rules! or_variable {
        ($($expression:expr),+) => {
            concat!($($expression, "|",)+ r"[$] *[a-zA-Z0-9_]+(\[ *@?[0-9]+ *\])? *")
        };
    }
    macro_rules! ipv4 {
        () => {
            r"(([0-2][0-9]{2}|[0-9]{1,2})\.){3}([0-2][0-9]{2}|[0-9]{1,2})"
        };
    }
    macro_rules! up_to_65535 {
        () => {
            r"0x[a-fA-F0-9]{1,4}|\+?0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
        };
    }
    macro_rules! byte {
        () => {
            r"0x[a-fA-F0-9]{1,2}|\+?0*([0-9]{1,2}|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
        };
    }
    let ["filter", "rule", protocol] = path else {
        return None;
    };
    let known = Protocol::find(protocol)?.attribute(attribute)?;
    Some(match known.kind {
        Kind::Byte => byte!(),
        Kind::Short | Kind::Decimal => or_variable!(up_to_65535!()),
        Kind::Long => or_variable!(r"0x[a-fA-F0-9]{1,8}", r"\+?[0-9]{1,10}"),
        Kind::Mac | Kind::MacMask => or_variable!("[a-fA-F0-9]{1,2}(:[a-fA-F0-9]{1,2}){5}"),
        Kind::Ipv4 => or_variable!(ipv4!()),
        Kind::Ipv4Mask => or_variable!(ipv4!(), r"\+?0*([0-9]|[12][0-9]|3[0-2])"),
        Kind::Ipv6 => or_variable!(concat!("([a-fA-F0-9]{0,4}:){2,7}([a-fA-F0-9]*|", ipv4!(), ")")),
        Kind::Ipv6Mask => or_variable!(
            "([a-fA-F0-9]{0,4}:){2,7}[a-fA-F0-9]*",
            r"\+?0*([0-9]{1,2}|1[01][0-9]|12[0-8])"
        ),
        Kind::EtherType | Kind::Encapsulated => or_variable!(
            "0x([6-9a-fA-F][a-fA-F0-9]{2}|[a-fA-F0-9]{4})",
            r"\+?(153[6-9]|15[4-9][0-9]|1[6-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-5][0-9]{3})",
            "arp|rarp|ipv4|ipv6|vlan"
        ),
        Kind::VlanId => or_variable!(
            "0x[a-fA-F0-9]{1,3}",
            r"\+?0*([0-9]{1,3}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-5])"
        ),
        Kind::ArpOpcode => or_variable!(
            r"\+?0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-5][0-9]{3})",
            "[rR][eE]([pP][lL][yY]|[qQ][uU][eE][sS][tT])(_[rR][eE][vV][eE][rR][sS][eE])?",
            "[dD][rR][aA][rR][pP]_([rR][eE]([pP][lL][yY]|[qQ][uU][eE][sS][tT])|[eE][rR][rR][oO][rR])",
            "[iI][nN][aA][rR][pP]_[rR][eE][qQ][uU][eE][sS][tT]",
            "[aA][rR][pP]_[nN][aA][kK]"
        ),
        Kind::IpProtocol => or_variable!(byte!(), "tcp|udp|udplite|esp|ah|icmp|igmp|sctp|icmpv6"),
        Kind::Dscp => or_variable!("0x[0-3]?[a-fA-F0-9]", r"\+?0*([0-9]|[1-5][0-9]|6[0-3])"),
        Kind::Bool => "yes|no|true|false|1|0",
        Kind::States => "NONE|(NEW|ESTABLISHED|RELATED|INVALID)(,(NEW|ESTABLISHED|RELATED|INVALID))*",
        Kind::TcpFlags => {
            "(ALL|NONE|(SYN|ACK|URG|PSH|FIN|RST)(,(SYN|ACK|URG|PSH|FIN|RST))*)\
             /(ALL|NONE|(SYN|ACK|URG|PSH|FIN|RST)(,(SYN|ACK|URG|PSH|FIN|RST))*)"
        }
        Kind::Ipset => or_variable!(r"[a-zA-Z0-9_.:\-+ ]{1,31}"),
        Kind::IpsetFlags => "([sS][rR][cC]|[dD][sS][tT])(,([sS][rR][cC]|[dD][sS][tT])){0,5}",
        Kind::Comment => return None,
    })
}

/// `$NAME`, `$NAME[3]`, `$NAME[@1]`.
fn is_variable(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('$') else {
        return false;
    };
    let rest = rest.trim_matches(' ');
    let (name, index) = match rest.split_once('[') {
        Some((name, index)) => (name, index.strip_suffix(']')),
        None => (rest, Some("0")),
    };
    let index = index.map(|index| index.trim_matches(' '));
    (PARAMETER_NAME.fits)(name)
        && index.is_some_and(|index| {
            let digits = index.strip_prefix('@').unwrap_or(index);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Six pairs of digits, of which the first may be left out.
fn is_loose_mac(text: &str) -> bool {
    text.split(':').count() == 6
        && text
            .split(':')
            .all(|pair| matches!(pair.len(), 1 | 2) && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_ipv4(text: &str) -> bool {
    text.split('.').count() == 4
        && text.split('.').all(|part| {
            matches!(part.len(), 1..=3)
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part.len() < 3 || part.starts_with(['0', '1', '2']))
        })
}

fn is_prefix(text: &str, max: u32) -> bool {
    text.trim_ascii().parse().is_ok_and(|bits: u32| bits <= max)
}

fn is_ipv6(text: &str, may_end_in_ipv4: bool) -> bool {
    let Some((groups, last)) = text.rsplit_once(':') else {
        return false;
    };
    let colons = groups.split(':').count();
    let hexadecimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (2..=7).contains(&colons)
        && groups
            .split(':')
            .all(|group| group.len() <= 4 && hexadecimal(group))
        && (hexadecimal(last) || may_end_in_ipv4 && is_ipv4(last))
}

fn is_arp_opcode(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "Reply",
        "Request",
        "Request_Reverse",
        "Reply_Reverse",
        "DRARP_Request",
        "DRARP_Reply",
        "DRARP_Error",
        "InARP_Request",
        "ARP_NAK",
    ];
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(text))
}

fn is_flags(text: &str) -> bool {
    matches!(text, "ALL" | "NONE")
        || text
            .split(',')
            .all(|flag| ["SYN", "ACK", "URG", "PSH", "FIN", "RST"].contains(&flag))
}
