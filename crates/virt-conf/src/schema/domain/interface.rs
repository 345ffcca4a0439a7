//! Network interfaces.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape};

use super::super::common::{PCI_ADDRESS, rule};
use super::super::network::{FAMILY, MAC_TABLE_MANAGER, ROUTE};
use super::device::{INFO, VIRTIO};
use crate::forms;

const INTERFACE: &[Part] = &[
    maybe("@trustGuestRxFilters").is(forms::YES_NO),
    maybe("link"),
    maybe("mtu"),
    maybe("coalesce"),
    maybe("target"),
    maybe("guest"),
    maybe("mac"),
    any("ip"),
    any("route"),
    any("portForward"),
    maybe("script"),
    maybe("downscript"),
    maybe("backenddomain"),
    maybe("model"),
    maybe("backend"),
    maybe("driver"),
    maybe("filterref"),
    maybe("tune"),
    maybe("boot"),
    maybe("rom"),
    maybe("bandwidth"),
    maybe("vlan"),
    maybe("port"),
    maybe("teaming"),
];
const SOURCE: &[Part] = &[one("source")];
const MAYBE_SOURCE: &[Part] = &[maybe("source")];
const VIRTUAL_PORT: &[Part] = &[maybe("virtualport")];
const NETWORK: &[Part] = &[
    maybe("@portgroup").is(forms::DEVICE_NAME),
    maybe("@portid").is(forms::UUID),
];
const BRIDGE: &[Part] = &[maybe("@macTableManager").is(MAC_TABLE_MANAGER)];

pub(in super::super) const SHAPES: &[Shape] = &[
    shape("interface", &[INTERFACE, INFO, MAYBE_SOURCE, VIRTUAL_PORT]).when(&[("@type", &["bridge"])]),
    shape("interface", &[INTERFACE, INFO, MAYBE_SOURCE])
        .when(&[("@type", &["ethernet", "vhostuser", "user"])]),
    shape("interface", &[INTERFACE, INFO, SOURCE, VIRTUAL_PORT]).when(&[("@type", &["network", "direct"])]),
    shape("interface", &[INTERFACE, INFO, SOURCE]).when(&[(
        "@type",
        &["internal", "mcast", "client", "udp", "server", "vdpa", "vds"],
    )]),
    shape(
        "interface",
        &[
            INTERFACE,
            INFO,
            SOURCE,
            VIRTUAL_PORT,
            &[maybe("@managed").is(forms::YES_NO)],
        ],
    )
    .when(&[("@type", &["hostdev"])]),
    shape("interface", &[INTERFACE, INFO]).when(&[("@type", &["null"])]),
    shape(
        "interface/source",
        &[
            NETWORK,
            BRIDGE,
            &[one("@bridge").is(forms::BRIDGE_NAME), maybe("@network")],
        ],
    )
    .when(&[("../@type", &["bridge"])]),
    shape(
        "interface/source",
        &[
            NETWORK,
            BRIDGE,
            &[one("@network"), maybe("@bridge").is(forms::BRIDGE_NAME)],
        ],
    )
    .when(&[("../@type", &["network"])]),
    shape("interface/source", &[&[any("ip"), any("route")]]).when(&[("../@type", &["ethernet"])]),
    shape(
        "interface/source",
        &[&[
            maybe("@type").is(words!("unix")),
            maybe("@path").is(forms::ABSOLUTE_PATH),
            maybe("@mode").is(words!("server", "client")),
            maybe("@dev").is(forms::DEVICE_NAME),
            maybe("reconnect"),
        ]],
    )
    .when(&[("../@type", &["vhostuser"])]),
    shape(
        "interface/source",
        &[
            NETWORK,
            &[
                one("@dev").is(forms::DEVICE_NAME),
                maybe("@mode").is(forms::BRIDGE_MODE),
                maybe("@network"),
            ],
        ],
    )
    .when(&[("../@type", &["direct"])]),
    shape("interface/source", &[&[one("@dev").is(forms::DEVICE_NAME)]])
        .when(&[("../@type", &["user", "vdpa"])]),
    shape("interface/source", &[&[one("@name").is(forms::DEVICE_NAME)]]).when(&[("../@type", &["internal"])]),
    shape("interface/source", &[SOCKET]).when(&[("../@type", &["mcast", "client"])]),
    shape("interface/source", &[SOCKET, &[one("local")]]).when(&[("../@type", &["udp"])]),
    shape("interface/source/local", &[SOCKET]),
    shape(
        "interface/source",
        &[&[maybe("@address").is(forms::IPV4), one("@port").is(forms::PORT)]],
    )
    .when(&[("../@type", &["server"])]),
    shape(
        "interface/source",
        &[HOST_DEVICE, &[one("vendor"), one("product"), maybe("address")]],
    )
    .in_order()
    .when(&[("../@type", &["hostdev"]), ("vendor", PRESENT)]),
    shape("interface/source", &[HOST_DEVICE, &[one("address")]])
        .when(&[("../@type", &["hostdev"]), ("vendor", ABSENT)]),
    shape("interface/source/vendor", &[&[one("@id").is(forms::USB_ID)]]),
    shape("interface/source/product", &[&[one("@id").is(forms::USB_ID)]]),
    shape("interface/source/address", &[USB_ADDRESS]).when(&[("../vendor", PRESENT), ("@type", ABSENT)]),
    shape("interface/source/address", &[USB_ADDRESS]).when(&[("../vendor", ABSENT), ("@type", &["usb"])]),
    shape("interface/source/address", &[PCI_ADDRESS]).when(&[("../vendor", ABSENT), ("@type", &["pci"])]),
    shape(
        "interface/source",
        &[&[
            one("@switchid").is(forms::UUID),
            maybe("@portid").is(forms::LONG),
            maybe("@portgroupid"),
            maybe("@connectionid").is(forms::LONG),
        ]],
    )
    .when(&[("../@type", &["vds"])]),
    shape("interface/link", &[&[one("@state").is(words!("up", "down"))]]),
    shape("mtu", &[&[one("@size").is(forms::UNSIGNED_SHORT)]]),
    shape("coalesce", &[&[maybe("rx")]]),
    shape("coalesce/rx", &[&[maybe("frames")]]),
    shape("rx/frames", &[&[maybe("@max").is(forms::UNSIGNED_INT)]]),
    shape(
        "interface/target",
        &[&[
            one("@dev").is(forms::DEVICE_NAME),
            maybe("@managed").is(forms::YES_NO),
        ]],
    ),
    shape(
        "interface/guest",
        &[&[
            maybe("@dev").is(forms::DEVICE_NAME),
            maybe("@actual").is(forms::DEVICE_NAME),
        ]],
    ),
    shape(
        "interface/mac",
        &[&[
            one("@address").is(forms::UNICAST_MAC),
            maybe("@type").is(words!("generated", "static")),
            maybe("@check").is(forms::YES_NO),
            maybe("@currentAddress").is(forms::UNICAST_MAC),
        ]],
    ),
    shape(
        "ip",
        &[&[
            one("@address").is(forms::IP),
            maybe("@family").is(FAMILY),
            maybe("@prefix").is(forms::IP_PREFIX),
            maybe("@peer").is(forms::IP),
        ]],
    ),
    shape("route", &[ROUTE]),
    shape(
        "portForward",
        &[&[
            one("@proto").is(words!("tcp", "udp")),
            maybe("@address").is(forms::IP),
            maybe("@dev").is(forms::DEVICE_NAME),
            any("range"),
        ]],
    ),
    shape(
        "portForward/range",
        &[&[
            one("@start").is(forms::PORT),
            maybe("@end").is(forms::PORT),
            maybe("@to").is(forms::PORT),
            maybe("@exclude").is(forms::YES_NO),
        ]],
    ),
    shape("interface/script", &[&[one("@path").is(forms::FILE_PATH)]]),
    shape("interface/downscript", &[&[one("@path").is(forms::FILE_PATH)]]),
    shape("interface/model", &[&[one("@type").is(forms::MODEL_NAME)]]),
    shape(
        "interface/backend",
        &[&[
            maybe("@type").is(words!("default", "passt")),
            maybe("@tap").is(forms::ABSOLUTE_PATH),
            maybe("@vhost").is(forms::ABSOLUTE_PATH),
            maybe("@logFile").is(forms::ABSOLUTE_PATH),
        ]],
    ),
    // That of a device of the host, or that of an emulated one.
    shape("interface/driver", &[&[maybe("@model").is(forms::GENERIC_NAME)]])
        .when(&[("@name", &["kvm", "vfio", "xen"])]),
    shape("interface/driver", &[&[one("@model").is(forms::GENERIC_NAME)]])
        .when(&[("@name", ABSENT), ("@model", PRESENT)]),
    shape("interface/driver", &[VIRTIO, DRIVER]).when(&[("@name", &["qemu", "vhost"])]),
    shape("interface/driver", &[VIRTIO, DRIVER]).when(&[("@name", ABSENT), ("@model", ABSENT)]),
    shape(
        "driver/host",
        &[
            OFFLOADS,
            &[
                maybe("@gso").is(forms::ON_OFF),
                maybe("@mrg_rxbuf").is(forms::ON_OFF),
            ],
        ],
    ),
    shape("driver/guest", &[OFFLOADS]),
    shape(
        "filterref",
        &[&[one("@filter").is(forms::NC_NAME), any("parameter")]],
    ),
    shape(
        "filterref/parameter",
        &[&[
            one("@name").is(forms::VARIABLE),
            one("@value").is(forms::VARIABLE_VALUE),
        ]],
    ),
    shape("interface/tune", &[&[maybe("sndbuf").is(forms::UNSIGNED_INT)]]),
    shape("interface/port", &[&[maybe("@isolated").is(forms::YES_NO)]]),
];

const SOCKET: &[Part] = &[one("@address").is(forms::IPV4), one("@port").is(forms::PORT)];
const HOST_DEVICE: &[Part] = &[maybe("@missing").is(forms::YES_NO)];
pub(super) const USB_ADDRESS: &[Part] = &[
    one("@bus").is(forms::USB_ADDRESS),
    one("@device").is(forms::USB_ADDRESS),
];
const DRIVER: &[Part] = &[
    maybe("@queues").is(forms::POSITIVE),
    maybe("@rx_queue_size").is(forms::POSITIVE),
    maybe("@tx_queue_size").is(forms::POSITIVE),
    maybe("@txmode").is(words!("iothread", "timer")),
    maybe("@ioeventfd").is(forms::ON_OFF),
    maybe("@event_idx").is(forms::ON_OFF),
    maybe("@rss").is(forms::ON_OFF),
    maybe("@rss_hash_report").is(forms::ON_OFF),
    maybe("host"),
    maybe("guest"),
];
const OFFLOADS: &[Part] = &[
    maybe("@csum").is(forms::ON_OFF),
    maybe("@tso4").is(forms::ON_OFF),
    maybe("@tso6").is(forms::ON_OFF),
    maybe("@ecn").is(forms::ON_OFF),
    maybe("@ufo").is(forms::ON_OFF),
];

pub(in super::super) const RULES: &[Rule] = &[
    rule("route", &[], Must::NotBoth(&["@netmask", "@prefix"])),
    // What belongs to a network goes with its name.
    rule(
        "interface/source",
        &[("../@type", &["bridge", "direct"]), ("@network", ABSENT)],
        Must::NotHave(&["@portgroup", "@portid"]),
    ),
    rule(
        "interface/source",
        &[("../@type", &["network"]), ("@bridge", ABSENT)],
        Must::NotHave(&["@macTableManager"]),
    ),
];
