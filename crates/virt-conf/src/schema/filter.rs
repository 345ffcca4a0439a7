//! The schema of network filters.
//!
//! It is not what parsing takes ([`crate::nwfilter::attributes`]): it knows no masks of addresses in ARP and no options of
//! TCP, and flags of TCP over IPv6, which nothing reads.

use virt_util::words;
use virt_util::xml::rules::{Form, Must, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape};

use super::common::rule;
use crate::forms::{self, decimal, integer, prefixed_hex};

/// Network filters.
pub(super) const FILTER: Table = Table {
    shapes: &[FILTER_SHAPES, PROTOCOL_SHAPES],
    rules: &[RULES],
    namespaces: &[],
};

const FILTER_SHAPES: &[Shape] = &[
    shape(
        "filter",
        &[&[
            one("@name").is(forms::NC_NAME),
            maybe("@chain").is(CHAIN),
            maybe("@priority").is(PRIORITY),
            maybe("uuid").is(forms::UUID),
            any("filterref"),
            any("rule"),
        ]],
    ),
    shape("filter/filterref", &[FILTER_REFERENCE]),
    FILTER_PARAMETER,
    shape(
        "filter/rule",
        &[
            &[
                one("@action").is(words!("drop", "accept", "reject", "continue", "return")),
                one("@direction").is(words!("in", "out", "inout")),
                maybe("@priority").is(PRIORITY),
                maybe("@statematch").is(STATEMATCH),
            ],
            PROTOCOLS,
        ],
    ),
];

/// What names a filter and gives it its parameters.
pub(super) const FILTER_REFERENCE: &[Part] = &[one("@filter").is(forms::NC_NAME), any("parameter")];

/// A parameter of a filter.
pub(super) const FILTER_PARAMETER: Shape = shape(
    "filterref/parameter",
    &[&[
        one("@name").is(forms::VARIABLE),
        one("@value").is(forms::VARIABLE_VALUE),
    ]],
);

/// The names of the protocols.
macro_rules! protocols {
    ($($name:literal),+ $(,)?) => {
        /// A rule is about one of these at most.
        const PROTOCOLS: &[Part] = &[$(maybe($name)),+];
        const ONE_PROTOCOL: Must = Must::NotBoth(&[$($name),+]);
    };
}

protocols!(
    "mac",
    "vlan",
    "stp",
    "arp",
    "rarp",
    "ip",
    "ipv6",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "igmp",
    "all",
    "esp",
    "ah",
    "udplite",
    "tcp-ipv6",
    "udp-ipv6",
    "sctp-ipv6",
    "icmpv6",
    "all-ipv6",
    "esp-ipv6",
    "ah-ipv6",
    "udplite-ipv6",
);

const RULES: &[Rule] = &[
    rule("filter/rule", &[], ONE_PROTOCOL),
    set_with_flags("rule/tcp"),
    set_with_flags("rule/udp"),
    set_with_flags("rule/sctp"),
    set_with_flags("rule/icmp"),
    set_with_flags("rule/igmp"),
    set_with_flags("rule/all"),
    set_with_flags("rule/esp"),
    set_with_flags("rule/ah"),
    set_with_flags("rule/udplite"),
];

const fn set_with_flags(element: &'static str) -> Rule {
    rule(element, &[], Must::HaveTogether(&["@ipset", "@ipsetflags"]))
}

const PROTOCOL_SHAPES: &[Shape] = &[
    shape("rule/mac", &[ANY, FRAME, &[maybe("@protocolid").is(ETHER_TYPE)]]),
    shape(
        "rule/vlan",
        &[
            ANY,
            FRAME,
            &[
                maybe("@vlanid").is(VLAN_ID),
                maybe("@encap-protocol").is(ETHER_TYPE),
            ],
        ],
    ),
    shape("rule/stp", &[ANY, STP]),
    shape("rule/arp", &[ANY, FRAME, ARP]),
    shape("rule/rarp", &[ANY, FRAME, ARP]),
    shape(
        "rule/ip",
        &[
            ANY,
            FRAME,
            IPV4,
            PORTS,
            &[maybe("@protocol").is(IP_PROTOCOL), maybe("@dscp").is(DSCP)],
        ],
    ),
    shape(
        "rule/ipv6",
        &[
            ANY,
            FRAME,
            IPV6,
            PORTS,
            ICMP,
            &[
                maybe("@protocol").is(IP_PROTOCOL),
                maybe("@typeend").is(forms::UINT8),
                maybe("@codeend").is(forms::UINT8),
            ],
        ],
    ),
    shape("rule/tcp", &[ANY, SENDER, IPV4, OVER_IPV4, PORTS, TCP]),
    shape("rule/udp", &[ANY, SENDER, IPV4, OVER_IPV4, PORTS]),
    shape("rule/sctp", &[ANY, SENDER, IPV4, OVER_IPV4, PORTS]),
    shape("rule/icmp", &[ANY, SENDER, IPV4, OVER_IPV4, ICMP]),
    shape("rule/igmp", &[ANY, SENDER, IPV4, OVER_IPV4]),
    shape("rule/all", &[ANY, SENDER, IPV4, OVER_IPV4]),
    shape("rule/esp", &[ANY, SENDER, IPV4, OVER_IPV4]),
    shape("rule/ah", &[ANY, SENDER, IPV4, OVER_IPV4]),
    shape("rule/udplite", &[ANY, SENDER, IPV4, OVER_IPV4]),
    shape("rule/tcp-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6, PORTS, TCP]),
    shape("rule/udp-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6, PORTS]),
    shape("rule/sctp-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6, PORTS]),
    shape("rule/icmpv6", &[ANY, SENDER, IPV6, OVER_IPV6, ICMP]),
    shape("rule/all-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6]),
    shape("rule/esp-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6]),
    shape("rule/ah-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6]),
    shape("rule/udplite-ipv6", &[ANY, SENDER, IPV6, OVER_IPV6]),
];

/// What all protocols have.
const ANY: &[Part] = &[maybe("@match").is(forms::YES_NO), maybe("@comment")];

const SENDER: &[Part] = &[maybe("@srcmacaddr").is(MAC)];

const FRAME: &[Part] = &[
    maybe("@srcmacaddr").is(MAC),
    maybe("@srcmacmask").is(MAC),
    maybe("@dstmacaddr").is(MAC),
    maybe("@dstmacmask").is(MAC),
];

const STP: &[Part] = &[
    maybe("@srcmacaddr").is(MAC),
    maybe("@srcmacmask").is(MAC),
    maybe("@type").is(forms::UINT8),
    maybe("@flags").is(forms::UINT8),
    maybe("@root-priority").is(SHORT),
    maybe("@root-priority-hi").is(SHORT),
    maybe("@root-address").is(MAC),
    maybe("@root-address-mask").is(MAC),
    maybe("@root-cost").is(LONG),
    maybe("@root-cost-hi").is(LONG),
    maybe("@sender-priority").is(SHORT),
    maybe("@sender-priority-hi").is(SHORT),
    maybe("@sender-address").is(MAC),
    maybe("@sender-address-mask").is(MAC),
    maybe("@port").is(SHORT),
    maybe("@port-hi").is(SHORT),
    maybe("@age").is(SHORT),
    maybe("@age-hi").is(SHORT),
    maybe("@max-age").is(SHORT),
    maybe("@max-age-hi").is(SHORT),
    maybe("@hello-time").is(SHORT),
    maybe("@hello-time-hi").is(SHORT),
    maybe("@forward-delay").is(SHORT),
    maybe("@forward-delay-hi").is(SHORT),
];

const ARP: &[Part] = &[
    maybe("@hwtype").is(SHORT),
    maybe("@protocoltype").is(SHORT),
    maybe("@opcode").is(ARP_OPCODE),
    maybe("@arpsrcmacaddr").is(MAC),
    maybe("@arpsrcipaddr").is(IPV4_ADDRESS),
    maybe("@arpdstmacaddr").is(MAC),
    maybe("@arpdstipaddr").is(IPV4_ADDRESS),
    maybe("@gratuitous").is(words!("yes", "no", "true", "false", "1", "0")),
];

const IPV4: &[Part] = &[
    maybe("@srcipaddr").is(IPV4_ADDRESS),
    maybe("@srcipmask").is(IPV4_MASK),
    maybe("@dstipaddr").is(IPV4_ADDRESS),
    maybe("@dstipmask").is(IPV4_MASK),
];

const IPV6: &[Part] = &[
    maybe("@srcipaddr").is(IPV6_ADDRESS),
    maybe("@srcipmask").is(IPV6_MASK),
    maybe("@dstipaddr").is(IPV6_ADDRESS),
    maybe("@dstipmask").is(IPV6_MASK),
];

const OVER_IPV4: &[Part] = &[
    maybe("@srcipfrom").is(IPV4_ADDRESS),
    maybe("@srcipto").is(IPV4_ADDRESS),
    maybe("@dstipfrom").is(IPV4_ADDRESS),
    maybe("@dstipto").is(IPV4_ADDRESS),
    maybe("@dscp").is(DSCP),
    maybe("@connlimit-above").is(SHORT),
    maybe("@state").is(STATES),
    maybe("@ipset").is(IPSET),
    maybe("@ipsetflags").is(IPSET_FLAGS),
];

const OVER_IPV6: &[Part] = &[
    maybe("@srcipfrom").is(IPV6_ADDRESS),
    maybe("@srcipto").is(IPV6_ADDRESS),
    maybe("@dstipfrom").is(IPV6_ADDRESS),
    maybe("@dstipto").is(IPV6_ADDRESS),
    maybe("@dscp").is(DSCP),
];

const PORTS: &[Part] = &[
    maybe("@srcportstart").is(SHORT),
    maybe("@srcportend").is(SHORT),
    maybe("@dstportstart").is(SHORT),
    maybe("@dstportend").is(SHORT),
];

const ICMP: &[Part] = &[maybe("@type").is(forms::UINT8), maybe("@code").is(forms::UINT8)];

const TCP: &[Part] = &[maybe("@flags").is(TCP_FLAGS)];

const CHAIN: Form = Form {
    says: "'root', or a name of up to 12 characters that begins with mac, stp, vlan, arp, rarp, ipv4 or ipv6",
    fits: |text| {
        let named = ["mac", "stp", "vlan", "arp", "rarp", "ipv4", "ipv6"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        text.trim_ascii() == "root" || named && text.len() <= 12 && text.chars().all(plain)
    },
};

const PRIORITY: Form = Form {
    says: "a whole number from -1000 to 1000",
    fits: |text| integer(text, -1000, 1000),
};

const STATEMATCH: Form = Form {
    says: "'false' or '0'",
    fits: |text| text == "0" || text.eq_ignore_ascii_case("false"),
};

const SHORT: Form = Form {
    says: "a whole number from 0 to 65535, 0x0 to 0xffff, or a variable",
    fits: |text| is_variable(text) || prefixed_hex(text, 4) || integer(text, 0, 0xffff),
};

const LONG: Form = Form {
    says: "a whole number from 0 to 4294967295, 0x0 to 0xffffffff, or a variable",
    fits: |text| is_variable(text) || prefixed_hex(text, 8) || decimal(text, 0, u64::from(u32::MAX)),
};

const VLAN_ID: Form = Form {
    says: "a whole number from 0 to 4095, 0x0 to 0xfff, or a variable",
    fits: |text| is_variable(text) || prefixed_hex(text, 3) || integer(text, 0, 4095),
};

const DSCP: Form = Form {
    says: "a whole number from 0 to 63, 0x0 to 0x3f, or a variable",
    fits: |text| {
        let hex = || {
            prefixed_hex(text, 2) && (text.len() == 3 || matches!(text.as_bytes().get(2), Some(b'0'..=b'3')))
        };
        is_variable(text) || hex() || integer(text, 0, 63)
    },
};

const ETHER_TYPE: Form = Form {
    says: "a protocol of frames: from 0x600, arp, rarp, ipv4, ipv6 or vlan, or a variable",
    fits: |text| {
        // Four digits may be of any number.
        let hex = || match text.len() {
            5 => prefixed_hex(text, 3) && !matches!(text.as_bytes().get(2), Some(b'0'..=b'5')),
            6 => prefixed_hex(text, 4),
            _ => false,
        };
        is_variable(text)
            || hex()
            || integer(text, 0x600, 0xffff)
            || matches!(text.trim_ascii(), "arp" | "rarp" | "ipv4" | "ipv6" | "vlan")
    },
};

const IP_PROTOCOL: Form = Form {
    says: "a protocol: 0 to 255, 0x0 to 0xff, its name, or a variable",
    fits: |text| {
        is_variable(text)
            || prefixed_hex(text, 2)
            || integer(text, 0, 255)
            || matches!(
                text.trim_ascii(),
                "tcp" | "udp" | "udplite" | "esp" | "ah" | "icmp" | "igmp" | "sctp" | "icmpv6"
            )
    },
};

const ARP_OPCODE: Form = Form {
    says: "a whole number from 0 to 65535, the name of an operation, or a variable",
    fits: |text| {
        let name = match text {
            "ARP_NAK" => true,
            _ => match text.split_once('_') {
                Some(("DRARP", what)) => matches!(
                    what,
                    "Request" | "request" | "Reply" | "reply" | "Error" | "error"
                ),
                Some(("InARP", what)) => matches!(what, "Request" | "request"),
                Some((what, way)) => is_asked_or_told(what) && matches!(way, "Reverse" | "reverse"),
                None => is_asked_or_told(text),
            },
        };
        name || is_variable(text) || integer(text, 0, 0xffff)
    },
};

const MAC: Form = Form {
    says: "a MAC address, or a variable",
    fits: |text| is_variable(text) || is_loose_mac(text),
};

const IPV4_ADDRESS: Form = Form {
    says: "an IPv4 address, or a variable",
    fits: |text| is_variable(text) || is_ipv4(text),
};

const IPV4_MASK: Form = Form {
    says: "0 to 32, an IPv4 mask, or a variable",
    fits: |text| is_variable(text) || is_ipv4(text) || integer(text, 0, 32),
};

const IPV6_ADDRESS: Form = Form {
    says: "an IPv6 address, or a variable",
    fits: |text| is_variable(text) || is_ipv6(text, true),
};

const IPV6_MASK: Form = Form {
    says: "0 to 128, an IPv6 mask, or a variable",
    fits: |text| is_variable(text) || is_ipv6(text, false) || integer(text, 0, 128),
};

const STATES: Form = Form {
    says: "states with commas between, or NONE",
    fits: |text| {
        text == "NONE"
            || text
                .split(',')
                .all(|state| matches!(state, "NEW" | "ESTABLISHED" | "RELATED" | "INVALID"))
    },
};

const TCP_FLAGS: Form = Form {
    says: "two lists of flags with a slash between",
    fits: |text| {
        text.split_once('/')
            .is_some_and(|(mask, flags)| is_flags(mask) && is_flags(flags))
    },
};

const IPSET: Form = Form {
    says: "the name of a set, or a variable",
    fits: |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-+ ".contains(c);
        is_variable(text) || (1..=31).contains(&text.len()) && text.chars().all(plain)
    },
};

const IPSET_FLAGS: Form = Form {
    says: "up to six of 'src' and 'dst' with commas between",
    fits: |text| {
        text.split(',').count() <= 6
            && text
                .split(',')
                .all(|flag| flag.eq_ignore_ascii_case("src") || flag.eq_ignore_ascii_case("dst"))
    },
};

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
    (forms::VARIABLE.fits)(name)
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

/// Groups of up to four digits; the last may be longer, and an IPv4 address may stand right behind it.
fn is_ipv6(text: &str, may_end_in_ipv4: bool) -> bool {
    let Some((groups, last)) = text.rsplit_once(':') else {
        return false;
    };
    let hexadecimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ends_in_ipv4 = || {
        let digits = last.find('.').unwrap_or_default();
        let splits = (digits.saturating_sub(3)..digits).filter_map(|at| last.split_at_checked(at));
        let mut splits = splits.filter(|(group, _)| hexadecimal(group));
        splits.any(|(_, address)| is_ipv4(address))
    };
    (2..=7).contains(&groups.split(':').count())
        && groups
            .split(':')
            .all(|group| group.len() <= 4 && hexadecimal(group))
        && (hexadecimal(last) || may_end_in_ipv4 && ends_in_ipv4())
}

fn is_asked_or_told(text: &str) -> bool {
    matches!(text, "Request" | "request" | "Reply" | "reply")
}

fn is_flags(text: &str) -> bool {
    matches!(text, "ALL" | "NONE")
        || text
            .split(',')
            .all(|flag| matches!(flag, "SYN" | "ACK" | "URG" | "PSH" | "FIN" | "RST"))
}
