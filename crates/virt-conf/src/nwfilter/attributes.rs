//! Which attributes each protocol has: the tables of the format.
//!
//! Order in a table is order of output. Some attributes are negated together with another one: [`Attribute::sign_of`].

use super::value::Kind as K;

/// A protocol that rules can be for.
#[derive(Debug)]
pub struct Protocol {
    /// Name of its element.
    pub name: &'static str,
    /// Its attributes, in groups.
    groups: &'static [&'static [Attribute]],
    /// To which part of the system rules of the protocol go.
    pub layer: Layer,
    /// Whether a set of addresses without flags gets them, and one with flags is passed over with them.
    pub fixes_ipset: bool,
}

/// Where rules of a protocol are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// To frames.
    Ethernet,
    /// To IPv4 packets.
    Ipv4,
    /// To IPv6 packets.
    Ipv6,
}

/// An attribute of a protocol.
#[derive(Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: K,
    /// The attribute whose `match` counts for this one too.
    pub sign_of: Option<&'static str>,
}

impl Protocol {
    /// The protocol of an element.
    pub fn find(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|protocol| protocol.name == name)
    }

    /// Its attributes, in the order in which they are written.
    pub fn attributes(&self) -> impl Iterator<Item = &'static Attribute> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes().find(|attribute| attribute.name == name)
    }
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const fn a(name: &'static str, kind: K) -> Attribute {
    Attribute {
        name,
        kind,
        sign_of: None,
    }
}

/// An attribute that is negated together with another.
const fn with(name: &'static str, kind: K, sign_of: &'static str) -> Attribute {
    Attribute {
        name,
        kind,
        sign_of: Some(sign_of),
    }
}

static COMMENT: [Attribute; 1] = [a("comment", K::Comment)];

/// Addresses of frames. In ARP the masks have a sign of their own.
static FRAME: [Attribute; 4] = [
    a("srcmacaddr", K::Mac),
    with("srcmacmask", K::MacMask, "srcmacaddr"),
    a("dstmacaddr", K::Mac),
    with("dstmacmask", K::MacMask, "dstmacaddr"),
];

static FRAME_PLAIN: [Attribute; 4] = [
    a("srcmacaddr", K::Mac),
    a("srcmacmask", K::MacMask),
    a("dstmacaddr", K::Mac),
    a("dstmacmask", K::MacMask),
];

static MAC: [Attribute; 1] = [a("protocolid", K::EtherType)];

static VLAN: [Attribute; 2] = [a("vlanid", K::VlanId), a("encap-protocol", K::Encapsulated)];

static STP: [Attribute; 24] = [
    a("srcmacaddr", K::Mac),
    with("srcmacmask", K::MacMask, "srcmacaddr"),
    a("type", K::Byte),
    a("flags", K::Byte),
    a("root-priority", K::Short),
    with("root-priority-hi", K::Short, "root-priority"),
    a("root-address", K::Mac),
    with("root-address-mask", K::MacMask, "root-address"),
    a("root-cost", K::Long),
    with("root-cost-hi", K::Long, "root-cost"),
    a("sender-priority", K::Short),
    with("sender-priority-hi", K::Short, "sender-priority"),
    a("sender-address", K::Mac),
    with("sender-address-mask", K::MacMask, "sender-address"),
    a("port", K::Short),
    with("port-hi", K::Short, "port"),
    a("age", K::Short),
    with("age-hi", K::Short, "age"),
    a("max-age", K::Short),
    with("max-age-hi", K::Short, "max-age"),
    a("hello-time", K::Short),
    with("hello-time-hi", K::Short, "hello-time"),
    a("forward-delay", K::Short),
    with("forward-delay-hi", K::Short, "forward-delay"),
];

static ARP: [Attribute; 10] = [
    a("hwtype", K::Short),
    a("protocoltype", K::Short),
    a("opcode", K::ArpOpcode),
    a("arpsrcmacaddr", K::Mac),
    a("arpdstmacaddr", K::Mac),
    a("arpsrcipaddr", K::Ipv4),
    a("arpsrcipmask", K::Ipv4Mask),
    a("arpdstipaddr", K::Ipv4),
    a("arpdstipmask", K::Ipv4Mask),
    a("gratuitous", K::Bool),
];

static IP: [Attribute; 10] = [
    a("srcipaddr", K::Ipv4),
    with("srcipmask", K::Ipv4Mask, "srcipaddr"),
    a("dstipaddr", K::Ipv4),
    with("dstipmask", K::Ipv4Mask, "dstipaddr"),
    a("protocol", K::IpProtocol),
    a("srcportstart", K::Short),
    a("srcportend", K::Short),
    a("dstportstart", K::Short),
    a("dstportend", K::Short),
    a("dscp", K::Dscp),
];

static IPV6: [Attribute; 13] = [
    a("srcipaddr", K::Ipv6),
    with("srcipmask", K::Ipv6Mask, "srcipaddr"),
    a("dstipaddr", K::Ipv6),
    with("dstipmask", K::Ipv6Mask, "dstipaddr"),
    a("protocol", K::IpProtocol),
    a("srcportstart", K::Short),
    a("srcportend", K::Short),
    a("dstportstart", K::Short),
    a("dstportend", K::Short),
    a("type", K::Byte),
    with("typeend", K::Byte, "type"),
    with("code", K::Byte, "type"),
    with("codeend", K::Byte, "type"),
];

/// What all protocols over IP have. The last address of a range of destinations is an IPv4 address in both families:
/// so it is in libvirt.
const fn over_ip(address: K, mask: K) -> [Attribute; 14] {
    [
        a("srcmacaddr", K::Mac),
        a("srcipaddr", address),
        with("srcipmask", mask, "srcipaddr"),
        a("dstipaddr", address),
        with("dstipmask", mask, "dstipaddr"),
        a("srcipfrom", address),
        with("srcipto", address, "srcipfrom"),
        a("dstipfrom", address),
        with("dstipto", K::Ipv4, "dstipfrom"),
        a("dscp", K::Dscp),
        a("connlimit-above", K::Decimal),
        a("state", K::States),
        a("ipset", K::Ipset),
        a("ipsetflags", K::IpsetFlags),
    ]
}

static OVER_IPV4: [Attribute; 14] = over_ip(K::Ipv4, K::Ipv4Mask);
static OVER_IPV6: [Attribute; 14] = over_ip(K::Ipv6, K::Ipv6Mask);

static PORTS: [Attribute; 4] = [
    a("srcportstart", K::Short),
    with("srcportend", K::Short, "srcportstart"),
    with("dstportstart", K::Short, "srcportstart"),
    with("dstportend", K::Short, "srcportstart"),
];

static TCP_OPTION: [Attribute; 1] = [a("option", K::Byte)];
static TCP_FLAGS: [Attribute; 1] = [a("flags", K::TcpFlags)];
static ICMP: [Attribute; 2] = [a("type", K::Byte), with("code", K::Byte, "type")];

const fn protocol(
    name: &'static str,
    layer: Layer,
    groups: &'static [&'static [Attribute]],
    fixes_ipset: bool,
) -> Protocol {
    Protocol {
        name,
        groups,
        layer,
        fixes_ipset,
    }
}

use Layer::{Ethernet, Ipv4, Ipv6};

/// The protocols.
pub static PROTOCOLS: [Protocol; 24] = [
    protocol("arp", Ethernet, &[&FRAME_PLAIN, &ARP, &COMMENT], false),
    protocol("rarp", Ethernet, &[&FRAME_PLAIN, &ARP, &COMMENT], false),
    protocol("mac", Ethernet, &[&FRAME, &MAC, &COMMENT], false),
    protocol("vlan", Ethernet, &[&FRAME, &VLAN, &COMMENT], false),
    protocol("stp", Ethernet, &[&STP, &COMMENT], false),
    protocol("ip", Ethernet, &[&FRAME_PLAIN, &IP, &COMMENT], false),
    protocol("ipv6", Ethernet, &[&FRAME_PLAIN, &IPV6, &COMMENT], false),
    protocol(
        "tcp",
        Ipv4,
        &[&OVER_IPV4, &PORTS, &TCP_OPTION, &TCP_FLAGS, &COMMENT],
        true,
    ),
    protocol("udp", Ipv4, &[&OVER_IPV4, &PORTS, &COMMENT], true),
    protocol("udplite", Ipv4, &[&OVER_IPV4, &COMMENT], true),
    protocol("esp", Ipv4, &[&OVER_IPV4, &COMMENT], true),
    protocol("ah", Ipv4, &[&OVER_IPV4, &COMMENT], true),
    protocol("sctp", Ipv4, &[&OVER_IPV4, &PORTS, &COMMENT], true),
    protocol("icmp", Ipv4, &[&OVER_IPV4, &ICMP, &COMMENT], true),
    protocol("all", Ipv4, &[&OVER_IPV4, &COMMENT], false),
    protocol("igmp", Ipv4, &[&OVER_IPV4, &COMMENT], true),
    protocol(
        "tcp-ipv6",
        Ipv6,
        &[&OVER_IPV6, &PORTS, &TCP_OPTION, &COMMENT],
        true,
    ),
    protocol("udp-ipv6", Ipv6, &[&OVER_IPV6, &PORTS, &COMMENT], true),
    protocol("udplite-ipv6", Ipv6, &[&OVER_IPV6, &COMMENT], true),
    protocol("esp-ipv6", Ipv6, &[&OVER_IPV6, &COMMENT], true),
    protocol("ah-ipv6", Ipv6, &[&OVER_IPV6, &COMMENT], true),
    protocol("sctp-ipv6", Ipv6, &[&OVER_IPV6, &PORTS, &COMMENT], true),
    protocol("icmpv6", Ipv6, &[&OVER_IPV6, &ICMP, &COMMENT], true),
    protocol("all-ipv6", Ipv6, &[&OVER_IPV6, &COMMENT], false),
];
