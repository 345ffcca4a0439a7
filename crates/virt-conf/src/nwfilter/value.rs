//! Values of a rule's attributes: how each kind is read, checked and written.
//!
//! Numbers may be said in decimal, and most of them in hexadecimal; they are written as they were said. Where a number has
//! a name, the name is written.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use virt_util::ip;
use virt_util::xml::schema::ValueSchema;
use virt_util::xml::{XmlValue, escape_into, scan_integer};

use super::parameters::Variable;
use crate::values::MacAddress;

/// What the value of an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number up to 255.
    Byte,
    /// A number up to 65535.
    Short,
    /// A number up to 65535, in decimal only.
    Decimal,
    /// A number of 32 bits.
    Long,
    /// A MAC address.
    Mac,
    /// A mask for MAC addresses: ones, then zeros.
    MacMask,
    /// An IPv4 address.
    Ipv4,
    /// A mask for IPv4 addresses: how many bits, or as an address.
    Ipv4Mask,
    /// An IPv6 address.
    Ipv6,
    /// A mask for IPv6 addresses.
    Ipv6Mask,
    /// The protocol of a frame: from 0x600, or a name.
    EtherType,
    /// The protocol of a frame in a VLAN: from 0x3c, or a name.
    Encapsulated,
    /// A VLAN's number.
    VlanId,
    /// What an ARP packet is for: a number or a name.
    ArpOpcode,
    /// The protocol of a packet: a number or a name.
    IpProtocol,
    /// Class of service, up to 63.
    Dscp,
    /// Yes or no.
    Bool,
    /// States of connections.
    States,
    /// Flags of TCP: which are looked at, which of them must be set.
    TcpFlags,
    /// Name of a set of addresses.
    Ipset,
    /// Which addresses of a packet are looked up in the set.
    IpsetFlags,
    /// Text for people.
    Comment,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A variable.
    Variable(Variable),
    /// A number.
    Number {
        /// The number.
        value: u32,
        /// Written in hexadecimal, unless it has a name.
        hex: bool,
    },
    /// A MAC address or mask.
    Mac(MacAddress),
    /// An address.
    Ip(IpAddr),
    /// How many bits a mask has.
    Prefix(u8),
    /// Yes or no.
    Bool(bool),
    /// States of connections: bits 1 to 5 for the words of [`STATES`].
    States(u16),
    /// Flags of TCP: bits for the words of [`TCP_FLAGS`].
    TcpFlags {
        /// Which are looked at.
        mask: u8,
        /// Which of them must be set.
        flags: u8,
    },
    /// Which addresses of a packet are looked up: `true` for the source.
    IpsetFlags(Vec<bool>),
    /// A name or comment.
    Text(String),
}

/// Protocols of frames.
const ETHER_TYPES: &[(u32, &str)] = &[
    (0x0806, "arp"),
    (0x8035, "rarp"),
    (0x0800, "ipv4"),
    (0x86dd, "ipv6"),
    (0x8100, "vlan"),
];

/// What ARP packets are for, as ebtables names it.
const ARP_OPCODES: &[(u32, &str)] = &[
    (1, "Request"),
    (2, "Reply"),
    (3, "Request_Reverse"),
    (4, "Reply_Reverse"),
    (5, "DRARP_Request"),
    (6, "DRARP_Reply"),
    (7, "DRARP_Error"),
    (8, "InARP_Request"),
    (9, "ARP_NAK"),
];

/// Protocols of packets.
const IP_PROTOCOLS: &[(u32, &str)] = &[
    (6, "tcp"),
    (17, "udp"),
    (136, "udplite"),
    (50, "esp"),
    (51, "ah"),
    (1, "icmp"),
    (2, "igmp"),
    (132, "sctp"),
    (58, "icmpv6"),
];

/// States of connections, with their bits.
pub const STATES: &[(u32, &str)] = &[
    (1 << 1, "NEW"),
    (1 << 2, "ESTABLISHED"),
    (1 << 3, "RELATED"),
    (1 << 4, "INVALID"),
    (STATE_NONE, "NONE"),
];

/// The state that takes the place of all others.
const STATE_NONE: u32 = 1 << 5;

/// Flags of TCP, with their bits; `ALL` and `NONE` besides.
pub const TCP_FLAGS: &[(u32, &str)] = &[
    (0x1, "FIN"),
    (0x2, "SYN"),
    (0x4, "RST"),
    (0x8, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
    (TCP_ALL, "ALL"),
    (0, "NONE"),
];

const TCP_ALL: u32 = 0x3f;
/// Most bytes of a comment; what is beyond is cut off.
const COMMENT_MAX: usize = 256;
/// Most bytes of a set's name.
const IPSET_MAX: usize = 31;
/// Most addresses that are looked up in a set.
const IPSET_FLAGS_MAX: usize = 6;

impl Kind {
    /// For messages and documentation: what a value looks like.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Byte => "a number from 0 to 255",
            Self::Short => "a number from 0 to 65535",
            Self::Decimal => "a decimal number from 0 to 65535",
            Self::Long => "a number from 0 to 4294967295",
            Self::Mac => "a MAC address",
            Self::MacMask => "a MAC address whose bits are ones, then zeros",
            Self::Ipv4 => "an IPv4 address",
            Self::Ipv4Mask => "a number from 0 to 32, or an IPv4 netmask",
            Self::Ipv6 => "an IPv6 address",
            Self::Ipv6Mask => "a number from 0 to 128, or an IPv6 netmask",
            Self::EtherType => "a number from 0x600 to 0xffff, or one of arp, rarp, ipv4, ipv6, vlan",
            Self::Encapsulated => "a number from 0x3c to 0xffff, or one of arp, rarp, ipv4, ipv6, vlan",
            Self::VlanId => "a number from 0 to 4095",
            Self::ArpOpcode => {
                "a number from 0 to 65535, or one of Request, Reply, Request_Reverse, Reply_Reverse, \
                 DRARP_Request, DRARP_Reply, DRARP_Error, InARP_Request, ARP_NAK"
            }
            Self::IpProtocol => {
                "a number from 0 to 255, or one of tcp, udp, udplite, esp, ah, icmp, igmp, sctp, icmpv6"
            }
            Self::Dscp => "a number from 0 to 63",
            Self::Bool => "true or false",
            Self::States => "some of NEW, ESTABLISHED, RELATED, INVALID, or NONE, separated by commas",
            Self::TcpFlags => "MASK/FLAGS, each some of FIN, SYN, RST, PSH, ACK, URG, ALL, NONE",
            Self::Ipset => "a name of 1 to 31 letters, digits, and '_.:-+ '",
            Self::IpsetFlags => "one to six of src and dst, separated by commas",
            Self::Comment => "text",
        }
    }

    /// For schemas.
    pub fn schema(self) -> ValueSchema {
        // A variable may stand for any value, so all are texts.
        let _ = self;
        ValueSchema::Text
    }

    /// Reads a value. A text that begins with `$` is a variable.
    pub fn parse(self, text: &str) -> Option<Value> {
        if let Some(variable) = text.strip_prefix('$') {
            return Variable::parse(variable).map(Value::Variable);
        }
        let number = |max: u32| either_base(text, max);
        let named = |max: u32, min: u32, names: &[(u32, &str)], hex_names: bool| match number(max) {
            Some((value, hex)) => (value >= min).then_some(Value::Number { value, hex }),
            None => names
                .iter()
                .find(|(_, name)| name.eq_ignore_ascii_case(text))
                .map(|(value, _)| Value::Number {
                    value: *value,
                    hex: hex_names,
                }),
        };
        let plain = |(value, hex)| Value::Number { value, hex };
        match self {
            Self::Byte => number(0xff).map(plain),
            Self::Short => number(0xffff).map(plain),
            Self::Long => number(u32::MAX).map(plain),
            Self::Decimal => c_unsigned(text, 10)
                .filter(|value| *value <= 0xffff)
                .map(|value| plain((value, false))),
            Self::VlanId => number(0xffff).filter(|(value, _)| *value <= 4095).map(plain),
            Self::Dscp => number(0xff).filter(|(value, _)| *value <= 63).map(plain),
            Self::EtherType => named(0xffff, 0x600, ETHER_TYPES, false),
            Self::Encapsulated => named(0xffff, 0x3c, ETHER_TYPES, false),
            Self::ArpOpcode => named(0xffff, 0, ARP_OPCODES, false),
            Self::IpProtocol => named(0xff, 0, IP_PROTOCOLS, true),
            Self::Mac => MacAddress::parse_value(text).ok().map(Value::Mac),
            Self::MacMask => MacAddress::parse_value(text)
                .ok()
                .filter(|mac| is_mask(*mac))
                .map(Value::Mac),
            Self::Ipv4 => ip::parse_v4(text).map(|v4| Value::Ip(IpAddr::V4(v4))),
            Self::Ipv6 => text.parse::<Ipv6Addr>().ok().map(|v6| Value::Ip(IpAddr::V6(v6))),
            Self::Ipv4Mask => mask(text, 32, |text| {
                ip::parse_v4(text).map(|v4: Ipv4Addr| IpAddr::V4(v4))
            }),
            Self::Ipv6Mask => mask(text, 128, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
            Self::Bool => Some(Value::Bool(matches!(text, "true" | "1" | "yes"))),
            Self::States => {
                let states = words(text, STATES)?;
                Some(Value::States(if states & STATE_NONE != 0 {
                    STATE_NONE as u16
                } else {
                    states as u16
                }))
            }
            Self::TcpFlags => {
                let (mask, flags) = text.split_once('/')?;
                Some(Value::TcpFlags {
                    mask: (words(mask, TCP_FLAGS)? & TCP_ALL) as u8,
                    flags: (words(flags, TCP_FLAGS)? & TCP_ALL) as u8,
                })
            }
            Self::Ipset => {
                let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-+ ".contains(&byte);
                (text.len() <= IPSET_MAX && text.bytes().all(valid)).then(|| Value::Text(text.to_owned()))
            }
            Self::IpsetFlags => {
                let flags: Option<Vec<bool>> = text
                    .split(',')
                    .map(|word| match () {
                        () if word.eq_ignore_ascii_case("src") => Some(true),
                        () if word.eq_ignore_ascii_case("dst") => Some(false),
                        () => None,
                    })
                    .collect();
                flags
                    .filter(|flags| flags.len() <= IPSET_FLAGS_MAX)
                    .map(Value::IpsetFlags)
            }
            Self::Comment => {
                let mut end = text.len().min(COMMENT_MAX);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                Some(Value::Text(text.get(..end).unwrap_or_default().to_owned()))
            }
        }
    }

    /// Appends a value, escaped.
    pub fn format(self, value: &Value, out: &mut String) {
        let _ = match value {
            Value::Variable(variable) => write!(out, "{variable}"),
            Value::Number { value, hex } => {
                let names = match self {
                    Self::EtherType | Self::Encapsulated => ETHER_TYPES,
                    Self::ArpOpcode => ARP_OPCODES,
                    Self::IpProtocol => IP_PROTOCOLS,
                    _ => &[],
                };
                match names.iter().find(|(number, _)| number == value) {
                    Some((_, name)) => out.write_str(name),
                    // Other opcodes are always written in decimal.
                    None if *hex && self != Self::ArpOpcode => write!(out, "{value:#x}"),
                    None => write!(out, "{value}"),
                }
            }
            Value::Mac(mac) => write!(out, "{mac}"),
            Value::Ip(address) => {
                ip::push(out, *address);
                Ok(())
            }
            Value::Prefix(bits) => write!(out, "{bits}"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::States(states) => {
                push_words(out, u32::from(*states), STATES);
                Ok(())
            }
            Value::TcpFlags { mask, flags } => {
                push_words(out, u32::from(*mask), TCP_FLAGS);
                out.push('/');
                push_words(out, u32::from(*flags), TCP_FLAGS);
                Ok(())
            }
            Value::IpsetFlags(flags) => {
                let words: Vec<&str> = flags
                    .iter()
                    .map(|source| if *source { "src" } else { "dst" })
                    .collect();
                out.write_str(&words.join(","))
            }
            Value::Text(text) => {
                escape_into(out, text);
                Ok(())
            }
        };
    }
}

/// A number in decimal, or, failing that, in hexadecimal.
fn either_base(text: &str, max: u32) -> Option<(u32, bool)> {
    [(10, false), (16, true)].iter().find_map(|(base, hex)| {
        c_unsigned(text, *base)
            .filter(|value| *value <= max)
            .map(|value| (value, *hex))
    })
}

/// A number as C's `strtoul` reads one of 32 bits: a minus sign wraps it round.
fn c_unsigned(text: &str, base: u32) -> Option<u32> {
    let (negative, magnitude) = scan_integer(text, base)?;
    let value = u32::try_from(magnitude).ok()?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// A mask in bits: a number, or as an address.
fn mask(text: &str, bits: u32, address: impl Fn(&str) -> Option<IpAddr>) -> Option<Value> {
    let prefix = match c_unsigned(text, 10) {
        Some(number) => Some(number),
        None => address(text).and_then(ip::prefix_of_mask),
    };
    prefix
        .filter(|prefix| *prefix <= bits)
        .and_then(|prefix| u8::try_from(prefix).ok())
        .map(Value::Prefix)
}

/// Ones, then zeros.
fn is_mask(mac: MacAddress) -> bool {
    let bits = mac.0.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let zeros = bits.trailing_zeros().min(48);
    bits >> zeros == (1u64 << (48 - zeros)) - 1
}

/// The bits of a list of words in any case; commas and blanks stand between them, or nothing.
fn words(text: &str, table: &[(u32, &str)]) -> Option<u32> {
    let mut bits = 0;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        if rest.is_empty() {
            return Some(bits);
        }
        let (bit, after) = table.iter().find_map(|(bit, word)| {
            let (head, after) = rest.split_at_checked(word.len())?;
            head.eq_ignore_ascii_case(word).then_some((bit, after))
        })?;
        bits |= bit;
        rest = after;
    }
}

/// The words of `bits`. A word for all of them, or for none, goes before single ones.
fn push_words(out: &mut String, bits: u32, table: &[(u32, &str)]) {
    if let Some((_, word)) = table.iter().find(|(value, _)| *value == bits) {
        out.push_str(word);
        return;
    }
    let mut first = true;
    for (_, word) in table
        .iter()
        .filter(|(value, _)| value.is_power_of_two() && bits & value != 0)
    {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push_str(word);
    }
}
