//! The schemas of networks and of host interfaces.

use virt_util::words;
use virt_util::xml::rules::{Form, Must, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{PCI_ADDRESS, rule};
use crate::forms::{self, TEXT};

/// Networks.
pub(super) const NETWORK: Table = Table {
    shapes: &[NETWORK_SHAPES, ADDRESS_SHAPES, VIRTUAL_PORT_SHAPES],
    rules: &[NETWORK_RULES],
    namespaces: &[("dnsmasq", "http://libvirt.org/schemas/network/dnsmasq/1.0")],
};

/// Interfaces of the host.
pub(super) const INTERFACE: Table = Table {
    shapes: &[INTERFACE_SHAPES],
    rules: &[&[
        rule("interface", &[], Must::Distinct("protocol", "family")),
        rule("interface/bond", &[], Must::NotBoth(&["miimon", "arpmon"])),
    ]],
    namespaces: &[],
};

/// What networks, their groups and ports may all have.
pub(super) const NETWORK_PARTS: &[Part] = &[maybe("virtualport"), maybe("bandwidth"), maybe("vlan")];

/// Which driver a PCI device gets.
pub(super) const HOST_DRIVER: Shape = shape(
    "driver",
    &[&[
        maybe("@name").is(words!("kvm", "vfio", "xen")),
        maybe("@model").is(forms::GENERIC_NAME),
    ]],
);

pub(super) const MAC_TABLE_MANAGER: Form = words!("kernel", "libvirt");

const ZONE: Form = Form {
    says: "letters, digits, '_' and '-'",
    fits: |text| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    },
};

const PROFILE_ID: Form = Form {
    says: "up to 39 characters",
    fits: |text| text.chars().count() <= 39,
};

const SPEED: Form = Form {
    says: "a whole number from 1 to 18014398509481984",
    fits: |text| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text
                .parse()
                .is_ok_and(|speed: u64| (1..=1 << 54).contains(&speed))
    },
};

const BURST: Form = Form {
    says: "a whole number from 1 to 4294967295",
    fits: |text| (forms::UNSIGNED_INT.fits)(text) && (forms::POSITIVE.fits)(text),
};

const VLAN_ID: Form = Form {
    says: "a whole number from 0 to 4095",
    fits: |text| forms::decimal(text, 0, 4095),
};

/// A port that is not 0.
const NAT_PORT: Form = Form {
    says: "a port: a whole number from 1 to 65535",
    fits: |text| forms::integer(text, 1, 65535),
};

/// A way to another network.
pub(super) const ROUTE: &[Part] = &[
    maybe("@family").is(FAMILY),
    one("@address").is(forms::IP),
    maybe("@netmask").is(forms::IPV4),
    maybe("@prefix").is(forms::IP_PREFIX),
    one("@gateway").is(forms::IP),
    maybe("@metric").is(forms::UNSIGNED_INT),
];

/// A family of addresses.
pub(super) const FAMILY: Form = Form {
    says: "'ipv4' or 'ipv6'",
    fits: |text| matches!(text, "ipv4" | "ipv6"),
};

/// A DHCP unique identifier of a client: its form depends on the kind that its first two bytes name.
const DUID: Form = Form {
    says: "a DHCP unique identifier: hexadecimal bytes with colons between",
    fits: is_duid,
};

/// Virtual ports by their type, bandwidth, VLANs.
pub(super) const VIRTUAL_PORT_SHAPES: &[Shape] = &[
    shape("virtualport", &[&[maybe("parameters")]])
        .when(&[("@type?", &["802.1Qbg", "802.1Qbh", "openvswitch"])]),
    shape("virtualport", &[&[one("parameters")]]).when(&[("@type", &["midonet"])]),
    shape("virtualport/parameters", &[VSI]).when(&[("../@type?", &["802.1Qbg"])]),
    shape("virtualport/parameters", &[PROFILE]).when(&[("../@type?", &["802.1Qbh", "openvswitch"])]),
    shape(
        "virtualport/parameters",
        &[&[maybe("@interfaceid").is(forms::UUID)]],
    )
    .when(&[("../@type?", &["openvswitch"])]),
    shape(
        "virtualport/parameters",
        &[&[one("@interfaceid").is(forms::UUID)]],
    )
    .when(&[("../@type", &["midonet"])]),
    shape(
        "bandwidth",
        &[&[
            maybe("@classID").is(forms::POSITIVE),
            maybe("inbound"),
            maybe("outbound"),
        ]],
    ),
    shape("bandwidth/inbound", &[RATE]),
    shape("bandwidth/outbound", &[RATE]),
    shape("vlan", &[&[maybe("@trunk").is(words!("yes")), some("tag")]]),
    shape(
        "vlan/tag",
        &[&[
            one("@id").is(VLAN_ID),
            maybe("@nativeMode").is(words!("tagged", "untagged")),
        ]],
    ),
    shape("networkport/port", &[&[maybe("@isolated").is(forms::YES_NO)]]),
    shape("network/port", &[&[maybe("@isolated").is(forms::YES_NO)]]),
];

const VSI: &[Part] = &[
    maybe("@managerid").is(forms::UINT8),
    maybe("@typeid").is(forms::UINT24),
    maybe("@typeidversion").is(forms::UINT8),
    maybe("@instanceid").is(forms::UUID),
];
const PROFILE: &[Part] = &[maybe("@profileid").is(PROFILE_ID)];
const RATE: &[Part] = &[
    maybe("@average").is(SPEED),
    maybe("@peak").is(SPEED),
    maybe("@floor").is(SPEED),
    maybe("@burst").is(BURST),
];

const NETWORK_SHAPES: &[Shape] = &[
    shape(
        "network",
        &[
            &[
                maybe("@connections").is(forms::SPACED_INT),
                maybe("@ipv6").is(forms::YES_NO),
                maybe("@trustGuestRxFilters").is(forms::YES_NO),
                one("name").is(TEXT),
                maybe("title").is(forms::DOMAIN_NAME),
                maybe("description").is(TEXT),
                maybe("metadata"),
                maybe("uuid").is(forms::UUID),
                maybe("bridge"),
                maybe("mtu"),
                maybe("mac"),
                maybe("forward"),
                any("portgroup"),
                maybe("domain"),
                maybe("dns"),
                maybe("port"),
                any("ip"),
                any("route"),
                maybe("dnsmasq:options"),
            ],
            NETWORK_PARTS,
        ],
    ),
    shape("network/metadata", &[&[any("*")]]),
    shape("dnsmasq:options", &[&[any("dnsmasq:option")]]),
    shape("dnsmasq:option", &[&[one("@value")]]),
    shape(
        "network/bridge",
        &[&[
            maybe("@name").is(forms::DEVICE_NAME),
            maybe("@zone").is(ZONE),
            maybe("@stp").is(forms::ON_OFF),
            maybe("@delay").is(forms::SPACED_LONG),
            maybe("@macTableManager").is(MAC_TABLE_MANAGER),
        ]],
    ),
    shape("network/mtu", &[&[one("@size").is(forms::UNSIGNED_SHORT)]]),
    shape("network/mac", &[&[one("@address").is(forms::UNICAST_MAC)]]),
    shape(
        "network/forward",
        &[&[
            maybe("@dev").is(forms::DEVICE_NAME),
            maybe("@mode").is(words!(
                "nat",
                "route",
                "open",
                "bridge",
                "passthrough",
                "private",
                "vepa",
                "hostdev"
            )),
            maybe("@managed").is(forms::YES_NO),
            any("interface"),
            any("address"),
            maybe("pf"),
            maybe("driver"),
            maybe("nat"),
        ]],
    ),
    HOST_DRIVER,
    shape(
        "forward/interface",
        &[&[
            one("@dev").is(forms::DEVICE_NAME),
            maybe("@connections").is(forms::SPACED_INT),
        ]],
    ),
    shape(
        "forward/address",
        &[PCI_ADDRESS, &[maybe("@connections").is(forms::SPACED_INT)]],
    )
    .when(&[("@type", &["pci"])]),
    shape("forward/pf", &[&[one("@dev").is(forms::DEVICE_NAME)]]),
    shape(
        "forward/nat",
        &[&[maybe("@ipv6").is(forms::YES_NO), maybe("address"), maybe("port")]],
    ),
    shape(
        "nat/address",
        &[&[one("@start").is(forms::IPV4), one("@end").is(forms::IPV4)]],
    ),
    shape(
        "nat/port",
        &[&[one("@start").is(NAT_PORT), one("@end").is(NAT_PORT)]],
    ),
    shape(
        "network/portgroup",
        &[
            &[
                one("@name").is(forms::DEVICE_NAME),
                maybe("@default").is(forms::YES_NO),
                maybe("@trustGuestRxFilters").is(forms::YES_NO),
            ],
            NETWORK_PARTS,
        ],
    ),
    shape(
        "network/domain",
        &[&[
            one("@name").is(forms::DNS_NAME),
            maybe("@localOnly").is(forms::YES_NO),
            maybe("@register").is(forms::YES_NO),
        ]],
    ),
    shape(
        "network/dns",
        &[&[
            maybe("@enable").is(forms::YES_NO),
            maybe("@forwardPlainNames").is(forms::YES_NO),
            any("forwarder"),
            any("txt"),
            any("srv"),
            any("host"),
        ]],
    ),
    shape(
        "dns/forwarder",
        &[&[maybe("@addr").is(forms::IP), maybe("@domain").is(forms::DNS_NAME)]],
    ),
    shape("dns/txt", &[&[one("@name").is(forms::DNS_NAME), one("@value")]]),
    shape(
        "dns/srv",
        &[&[
            one("@service"),
            one("@protocol").is(PROTOCOL),
            maybe("@domain").is(forms::DNS_NAME),
            maybe("@target"),
            maybe("@port").is(forms::UNSIGNED_SHORT),
            maybe("@priority").is(forms::UNSIGNED_SHORT),
            maybe("@weight").is(forms::UNSIGNED_SHORT),
        ]],
    ),
    shape(
        "dns/host",
        &[&[one("@ip").is(forms::IP), some("hostname").is(forms::DNS_NAME)]],
    ),
];

/// What networks say about addresses.
const ADDRESS_SHAPES: &[Shape] = &[
    shape(
        "network/ip",
        &[&[
            maybe("@address").is(forms::IP),
            maybe("@netmask").is(forms::IPV4),
            maybe("@prefix").is(forms::IP_PREFIX),
            maybe("@family").is(FAMILY),
            maybe("@localPtr").is(forms::YES_NO),
            maybe("tftp"),
            maybe("dhcp"),
        ]],
    ),
    shape("ip/tftp", &[&[one("@root")]]),
    shape("ip/dhcp", &[&[any("range"), any("host"), maybe("bootp")]]),
    shape(
        "dhcp/range",
        &[&[
            one("@start").is(forms::IP),
            one("@end").is(forms::IP),
            maybe("lease"),
        ]],
    ),
    shape(
        "dhcp/host",
        &[&[
            maybe("@mac").is(forms::UNICAST_MAC),
            maybe("@id").is(DUID),
            maybe("@name"),
            one("@ip").is(forms::IP),
            maybe("lease"),
        ]],
    ),
    shape(
        "lease",
        &[&[
            one("@expiry").is(forms::UNSIGNED_LONG),
            maybe("@unit").is(words!("seconds", "minutes", "hours")),
        ]],
    ),
    shape(
        "dhcp/bootp",
        &[&[
            one("@file").is(forms::FILE_PATH),
            maybe("@server").is(forms::DNS_NAME),
        ]],
    ),
    shape("network/route", &[ROUTE]),
];

const NETWORK_RULES: &[Rule] = &[
    rule("network/forward", &[], Must::NotBoth(&["interface", "address"])),
    rule("network/ip", &[], Must::NotBoth(&["@netmask", "@prefix"])),
    rule("network/route", &[], Must::NotBoth(&["@netmask", "@prefix"])),
    rule("dhcp/host", &[], Must::HaveOneOf(&["@mac", "@id", "@name"])),
    rule("dhcp/host", &[], Must::NotBoth(&["@mac", "@id"])),
];

/// Parts of every interface that stands for itself.
const INTERFACE_PARTS: &[Part] = &[maybe("start"), maybe("mtu"), any("protocol")];
const INTERFACE_NAME: &[Part] = &[one("@name").is(forms::DEVICE_NAME)];
const ETHERNET: &[Part] = &[maybe("mac"), maybe("link")];
const VLAN: &[Part] = &[maybe("@name").is(forms::DEVICE_NAME), maybe("link"), one("vlan")];
const BOND: &[Part] = &[maybe("link"), one("bond")];

const INTERFACE_SHAPES: &[Shape] = &[
    shape("interface", &[INTERFACE_NAME, INTERFACE_PARTS, ETHERNET]).when(&[("@type", &["ethernet"])]),
    shape("interface", &[INTERFACE_PARTS, VLAN]).when(&[("@type", &["vlan"])]),
    shape("interface", &[INTERFACE_NAME, INTERFACE_PARTS, BOND]).when(&[("@type", &["bond"])]),
    shape("interface", &[INTERFACE_NAME, INTERFACE_PARTS, &[one("bridge")]]).when(&[("@type", &["bridge"])]),
    shape("bridge/interface", &[INTERFACE_NAME, ETHERNET]).when(&[("@type", &["ethernet"])]),
    shape("bridge/interface", &[VLAN]).when(&[("@type", &["vlan"])]),
    shape("bridge/interface", &[INTERFACE_NAME, BOND]).when(&[("@type", &["bond"])]),
    shape("bond/interface", &[INTERFACE_NAME, ETHERNET]).when(&[("@type", &["ethernet"])]),
    shape("vlan/interface", &[INTERFACE_NAME]),
    shape("interface/mac", &[&[one("@address").is(forms::MAC)]]),
    shape(
        "interface/link",
        &[&[
            maybe("@speed").is(forms::UNSIGNED_INT),
            maybe("@state").is(super::node_device::LINK_STATE),
        ]],
    ),
    shape(
        "interface/start",
        &[&[one("@mode").is(words!("onboot", "none", "hotplug"))]],
    ),
    shape("interface/mtu", &[&[one("@size").is(forms::UNSIGNED_INT)]]),
    shape("interface/vlan", &[&[one("@tag").is(VLAN_ID), one("interface")]]).in_order(),
    shape(
        "interface/bridge",
        &[&[
            maybe("@stp").is(forms::ON_OFF),
            maybe("@delay").is(DELAY),
            any("interface"),
        ]],
    ),
    shape(
        "interface/bond",
        &[&[
            maybe("@mode").is(words!(
                "balance-rr",
                "active-backup",
                "balance-xor",
                "broadcast",
                "802.3ad",
                "balance-tlb",
                "balance-alb"
            )),
            maybe("miimon"),
            maybe("arpmon"),
            some("interface"),
        ]],
    ),
    shape(
        "bond/miimon",
        &[&[
            one("@freq").is(forms::UNSIGNED_INT),
            maybe("@downdelay").is(forms::UNSIGNED_INT),
            maybe("@updelay").is(forms::UNSIGNED_INT),
            maybe("@carrier").is(words!("ioctl", "netif")),
        ]],
    ),
    shape(
        "bond/arpmon",
        &[&[
            one("@interval").is(forms::UNSIGNED_INT),
            one("@target").is(forms::IPV4),
            maybe("@validate").is(words!("none", "active", "backup", "all")),
        ]],
    ),
    shape(
        "interface/protocol",
        &[&[maybe("dhcp"), any("ip"), maybe("route")]],
    )
    .when(&[("@family", &["ipv4"])]),
    shape(
        "interface/protocol",
        &[&[maybe("autoconf"), maybe("dhcp"), any("ip"), maybe("route")]],
    )
    .when(&[("@family", &["ipv6"])]),
    shape("protocol/autoconf", &[]),
    shape("protocol/dhcp", &[&[maybe("@peerdns").is(forms::YES_NO)]]),
    shape(
        "protocol/ip",
        &[&[
            one("@address").is(forms::IPV4),
            maybe("@prefix").is(forms::IPV4_PREFIX),
        ]],
    )
    .when(&[("../@family", &["ipv4"])]),
    shape(
        "protocol/ip",
        &[&[
            one("@address").is(forms::IPV6),
            maybe("@prefix").is(forms::IP_PREFIX),
        ]],
    )
    .when(&[("../@family", &["ipv6"])]),
    shape("protocol/route", &[&[one("@gateway").is(forms::IPV4)]]).when(&[("../@family", &["ipv4"])]),
    shape("protocol/route", &[&[one("@gateway").is(forms::IPV6)]]).when(&[("../@family", &["ipv6"])]),
];

/// Seconds, with a fraction.
const DELAY: Form = Form {
    says: "a number from 0",
    fits: |text| {
        let text = text.trim_ascii();
        matches!(text, "INF" | "NaN")
            || text.starts_with(|c: char| c.is_ascii_digit() || ".+-".contains(c))
                && text.parse().is_ok_and(|number: f64| number >= 0.0)
    },
};

/// White space around it counts.
const PROTOCOL: Form = Form {
    says: "'tcp' or 'udp'",
    fits: |text| matches!(text, "tcp" | "udp"),
};

fn is_duid(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hexadecimal =
        |byte: &&str| matches!(byte.len(), 1 | 2) && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !bytes.iter().all(hexadecimal) {
        return false;
    }
    let value = |at: usize| bytes.get(at).and_then(|byte| u8::from_str_radix(byte, 16).ok());
    // After a zero, a kind of hardware between 1 and 15.
    let hardware = value(2) == Some(0) && value(3).is_some_and(|kind| (1..=15).contains(&kind));
    if value(0) != Some(0) {
        return false;
    }
    match value(1) {
        Some(1) => hardware && (14..=16).contains(&bytes.len()),
        Some(2) => (7..=130).contains(&bytes.len()),
        Some(3) => hardware && (10..=12).contains(&bytes.len()),
        Some(4) => bytes.len() == 18,
        _ => false,
    }
}
