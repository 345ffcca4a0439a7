//! The schema of devices of the host.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::rule;
use crate::forms::{self, TEXT};

/// Devices of the host.
pub(super) const NODE_DEVICE: Table = Table {
    shapes: &[SHAPES, INNER_SHAPES],
    rules: &[RULES],
    namespaces: &[],
};

/// How a network device is connected.
pub(super) const LINK_STATE: Form = words!(
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up"
);

const PATH: Form = Form {
    says: "an absolute path of letters, digits, '_', '+', '-', '/' and '%'",
    fits: |text| {
        text.strip_prefix('/').is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_+-/%".contains(c))
        })
    },
};

const PCI_CLASS: Form = Form {
    says: "six hexadecimal digits after '0x'",
    fits: |text| {
        text.strip_prefix("0x")
            .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    },
};

/// The schema's pattern takes any character for the point.
const LINK_SPEED: Form = Form {
    says: "a number such as '2.5'",
    fits: |text| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let first = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (whole, rest) = text.split_at(first);
        let mut rest = rest.chars();
        number(whole) && (rest.next().is_none() || number(rest.as_str()))
    },
};

const FEATURE: Form = Form {
    says: "letters, '-' and '_'",
    fits: |text| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic() || "-_".contains(c)),
};

const AP_DOMAIN: Form = Form {
    says: "a whole number from 0 to 255, or 0x0 to 0xffff",
    fits: |text| match text.strip_prefix("0x") {
        Some(digits) => {
            matches!(digits.len(), 1..=4) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        }
        None => forms::integer(text, 0, 255),
    },
};

const VPD_TEXT: Form = Form {
    says: "up to 255 characters in one line",
    fits: |text| text.chars().count() <= 255 && !text.contains(['\n', '\r']),
};

const VENDOR_FIELD: Form = Form {
    says: "one digit or letter in upper case",
    fits: |text| matches!(text.as_bytes(), [b'0'..=b'9' | b'A'..=b'Z']),
};

const SYSTEM_FIELD: Form = Form {
    says: "one digit or letter from 'B' in upper case",
    fits: |text| matches!(text.as_bytes(), [b'0'..=b'9' | b'B'..=b'Z']),
};

const STATE: Form = words!("online", "offline");

/// Where a device of s390's channel subsystem is.
const CCW: &[Part] = &[
    one("cssid").is(forms::CCW_CSSID),
    one("ssid").is(forms::CCW_SSID),
    one("devno").is(forms::CCW_DEVNO),
];

/// Size and number of the blocks of a medium.
const BLOCKS: &[Part] = &[
    maybe("logical_block_size").is(forms::UNSIGNED_LONG),
    maybe("num_blocks").is(forms::UNSIGNED_LONG),
];

/// What is known of every drive.
const DRIVE: &[Part] = &[
    one("block").is(PATH),
    maybe("bus").is(TEXT),
    maybe("drive_type").is(TEXT),
    maybe("model").is(TEXT),
    maybe("vendor").is(TEXT),
    maybe("serial").is(TEXT),
];

const INNER: &[Part] = &[any("capability")];

const SHAPES: &[Shape] = &[
    shape(
        "device",
        &[
            &[
                one("name").is(TEXT),
                maybe("path").is(TEXT),
                any("devnode"),
                maybe("parent"),
                maybe("driver"),
            ],
            INNER,
        ],
    ),
    shape(
        "device/devnode",
        &[&[one("@type").is(words!("dev", "link")), one("text()").is(TEXT)]],
    ),
    shape(
        "device/parent",
        &[&[one("@wwnn").is(forms::WWN), one("@wwpn").is(forms::WWN)]],
    )
    .when(&[("@wwnn", PRESENT), ("@fabric_wwn", ABSENT)]),
    shape("device/parent", &[&[one("@fabric_wwn").is(forms::WWN)]])
        .when(&[("@fabric_wwn", PRESENT), ("@wwnn", ABSENT)]),
    shape("device/parent", &[&[one("text()").is(TEXT)]]).when(&[("@wwnn", ABSENT), ("@fabric_wwn", ABSENT)]),
    shape("device/driver", &[&[one("name").is(TEXT)]]),
    shape(
        "device/capability",
        &[&[maybe("product").is(TEXT), one("hardware"), one("firmware")]],
    )
    .when(&[("@type", &["system"])])
    .in_order(),
    shape(
        "capability/hardware",
        &[&[
            maybe("vendor").is(TEXT),
            maybe("version").is(TEXT),
            maybe("serial").is(TEXT),
            one("uuid").is(forms::UUID),
        ]],
    )
    .in_order(),
    shape(
        "capability/firmware",
        &[&[
            maybe("vendor").is(TEXT),
            maybe("version").is(TEXT),
            maybe("release_date").is(TEXT),
        ]],
    )
    .in_order(),
    shape(
        "device/capability",
        &[
            &[
                maybe("class").is(PCI_CLASS),
                one("domain").is(forms::UNSIGNED_LONG),
                one("bus").is(forms::UNSIGNED_LONG),
                one("slot").is(forms::UNSIGNED_LONG),
                one("function").is(forms::UNSIGNED_LONG),
                one("product"),
                one("vendor"),
            ],
            INNER,
            &[maybe("iommuGroup"), maybe("numa"), maybe("pci-express")],
        ],
    )
    .when(&[("@type", &["pci"])])
    .in_order(),
    shape(
        "capability/product",
        &[&[one("@id").is(forms::HEX_UINT), one("text()").is(TEXT)]],
    ),
    shape(
        "capability/vendor",
        &[&[one("@id").is(forms::HEX_UINT), one("text()").is(TEXT)]],
    ),
    shape("capability/numa", &[&[maybe("@node").is(forms::INT)]]),
    shape("capability/pci-express", &[&[any("link")]]),
    shape(
        "pci-express/link",
        &[&[
            one("@validity").is(words!("cap", "sta")),
            maybe("@port").is(forms::UNSIGNED_INT),
            maybe("@speed").is(LINK_SPEED),
            one("@width").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "capability/iommuGroup",
        &[&[one("@number").is(forms::UNSIGNED_INT), some("address")]],
    )
    .when(&[("../@type", &["pci"])]),
    shape(
        "capability/iommuGroup",
        &[&[one("@number").is(forms::UNSIGNED_INT)]],
    )
    .when(&[("../@type", &["mdev"])]),
    shape("iommuGroup/address", &[HEX_ADDRESS]),
    shape("capability/address", &[HEX_ADDRESS]),
    shape(
        "device/capability",
        &[&[
            one("bus").is(forms::UNSIGNED_LONG),
            one("device").is(forms::UNSIGNED_LONG),
            one("product"),
            one("vendor"),
        ]],
    )
    .when(&[("@type", &["usb_device"])])
    .in_order(),
    shape(
        "device/capability",
        &[&[
            one("number").is(forms::UNSIGNED_LONG),
            one("class").is(forms::UNSIGNED_LONG),
            one("subclass").is(forms::UNSIGNED_LONG),
            one("protocol").is(forms::UNSIGNED_LONG),
            maybe("description").is(TEXT),
        ]],
    )
    .when(&[("@type", &["usb"])])
    .in_order(),
    shape(
        "device/capability",
        &[
            &[
                one("interface").is(TEXT),
                maybe("address").is(forms::MAC),
                maybe("link"),
                any("feature"),
            ],
            INNER,
        ],
    )
    .when(&[("@type", &["net"])])
    .in_order(),
    shape(
        "capability/link",
        &[&[
            maybe("@speed").is(forms::UNSIGNED_INT),
            maybe("@state").is(LINK_STATE),
        ]],
    ),
    shape("capability/feature", &[&[one("@name").is(FEATURE)]]),
    shape("device/capability", &[&[one("char").is(TEXT)]]).when(&[("@type", &["scsi_generic"])]),
    shape(
        "device/capability",
        &[
            &[
                one("host").is(forms::UNSIGNED_LONG),
                maybe("unique_id").is(forms::UNSIGNED_INT),
            ],
            INNER,
        ],
    )
    .when(&[("@type", &["scsi_host"])])
    .in_order(),
    shape(
        "device/capability",
        &[&[one("target").is(TEXT), maybe("capability")]],
    )
    .when(&[("@type", &["scsi_target"])])
    .in_order(),
    shape(
        "device/capability",
        &[&[
            one("host").is(forms::UNSIGNED_LONG),
            one("bus").is(forms::UNSIGNED_LONG),
            one("target").is(forms::UNSIGNED_LONG),
            one("lun").is(forms::UNSIGNED_LONG),
            maybe("type").is(TEXT),
        ]],
    )
    .when(&[("@type", &["scsi"])])
    .in_order(),
    shape("device/capability", &[DRIVE, INNER])
        .when(&[("@type", &["storage"]), ("capability@type", &["removable"])])
        .in_order(),
    shape(
        "device/capability",
        &[
            DRIVE,
            &[one("size").is(forms::UNSIGNED_LONG)],
            BLOCKS,
            &[maybe("capability")],
        ],
    )
    .when(&[("@type", &["storage"]), ("capability@type?", &["hotpluggable"])])
    .in_order(),
    shape(
        "device/capability",
        &[&[one("type").is(words!("primary", "control", "render"))]],
    )
    .when(&[("@type", &["drm"])]),
    shape(
        "device/capability",
        &[&[
            one("type"),
            maybe("iommuGroup"),
            maybe("uuid").is(forms::UUID),
            maybe("parent_addr").is(TEXT),
            any("attr"),
        ]],
    )
    .when(&[("@type", &["mdev"])]),
    shape("capability/attr", &[&[one("@name"), one("@value")]]),
    shape("device/capability", &[&[maybe("state").is(STATE)], CCW, INNER]).when(&[("@type", &["ccw"])]),
    shape(
        "device/capability",
        &[
            &[maybe("state").is(STATE)],
            CCW,
            &[maybe("members"), one("capability")],
        ],
    )
    .when(&[("@type", &["ccwgroup"])]),
    shape("capability/members", &[&[some("ccw_device")]]),
    shape("members/ccw_device", &[&[one("@ref"), one("text()").is(TEXT)]]),
    shape("device/capability", &[CCW, &[maybe("channel_dev_addr")], INNER]).when(&[("@type", &["css"])]),
    shape("capability/channel_dev_addr", &[CCW]),
    shape("device/capability", &[&[one("chardev").is(PATH)]]).when(&[("@type", &["vdpa"])]),
    shape("device/capability", &[&[one("ap-adapter").is(forms::UINT8)]]).when(&[("@type", &["ap_card"])]),
    shape(
        "device/capability",
        &[&[one("ap-adapter").is(forms::UINT8), one("ap-domain").is(AP_DOMAIN)]],
    )
    .when(&[("@type", &["ap_queue"])])
    .in_order(),
    shape("device/capability", &[INNER]).when(&[("@type", &["ap_matrix"])]),
];

const HEX_ADDRESS: &[Part] = &[
    one("@domain").is(forms::HEX_UINT),
    one("@bus").is(forms::HEX_UINT),
    one("@slot").is(forms::HEX_UINT),
    one("@function").is(forms::HEX_UINT),
];

/// Capabilities of a device's capability.
const INNER_SHAPES: &[Shape] = &[
    shape("capability/capability", &[&[maybe("address")]])
        .when(&[("../@type", &["pci"]), ("@type", &["phys_function"])]),
    shape(
        "capability/capability",
        &[&[maybe("@maxCount").is(forms::UNSIGNED_INT), any("address")]],
    )
    .when(&[("../@type", &["pci"]), ("@type", &["virt_functions"])]),
    shape("capability/capability", &[]).when(&[
        ("../@type", &["pci"]),
        ("@type", &["pci-bridge", "cardbus-bridge"]),
    ]),
    shape("capability/capability", &[&[some("type")]]).when(&[
        ("../@type", &["pci", "css", "ap_matrix"]),
        ("@type", &["mdev_types"]),
    ]),
    shape("capability/type", &[&[one("@id")]]).when(&[("../@type", &["mdev"])]),
    shape(
        "capability/type",
        &[&[
            one("@id"),
            maybe("name").is(TEXT),
            one("deviceAPI").is(words!("vfio-pci", "vfio-ccw", "vfio-ap")),
            one("availableInstances").is(forms::UNSIGNED_INT),
        ]],
    )
    .when(&[("../@type", &["mdev_types"])])
    .in_order(),
    shape(
        "capability/capability",
        &[&[one("name").is(VPD_TEXT), any("fields")]],
    )
    .when(&[("../@type", &["pci"]), ("@type", &["vpd"])])
    .in_order(),
    shape(
        "capability/fields",
        &[&[
            maybe("change_level").is(VPD_TEXT),
            maybe("manufacture_id").is(VPD_TEXT),
            maybe("part_number").is(VPD_TEXT),
            maybe("serial_number").is(VPD_TEXT),
            any("vendor_field"),
        ]],
    )
    .when(&[("@access", &["readonly"])])
    .in_order(),
    shape(
        "capability/fields",
        &[&[
            maybe("asset_tag").is(VPD_TEXT),
            any("vendor_field"),
            any("system_field"),
        ]],
    )
    .when(&[("@access", &["readwrite"])])
    .in_order(),
    shape(
        "fields/vendor_field",
        &[&[one("@index").is(VENDOR_FIELD), one("text()").is(VPD_TEXT)]],
    ),
    shape(
        "fields/system_field",
        &[&[one("@index").is(SYSTEM_FIELD), one("text()").is(VPD_TEXT)]],
    ),
    shape("capability/capability", &[]).when(&[("../@type", &["net"]), ("@type", &["80203", "80211"])]),
    shape(
        "capability/capability",
        &[&[
            one("wwnn").is(forms::WWN),
            one("wwpn").is(forms::WWN),
            maybe("fabric_wwn").is(forms::WWN),
        ]],
    )
    .when(&[("../@type", &["scsi_host"]), ("@type", &["fc_host"])])
    .in_order(),
    shape(
        "capability/capability",
        &[&[
            one("max_vports").is(forms::UNSIGNED_INT),
            one("vports").is(forms::UNSIGNED_INT),
        ]],
    )
    .when(&[("../@type", &["scsi_host"]), ("@type", &["vport_ops"])])
    .in_order(),
    shape(
        "capability/capability",
        &[&[one("rport").is(TEXT), one("wwpn").is(forms::WWN)]],
    )
    .when(&[("../@type", &["scsi_target"]), ("@type", &["fc_remote_port"])])
    .in_order(),
    shape(
        "capability/capability",
        &[
            &[
                one("media_available").is(words!("1", "0")),
                one("media_size").is(forms::UNSIGNED_LONG),
                maybe("media_label").is(TEXT),
            ],
            BLOCKS,
        ],
    )
    .when(&[("../@type", &["storage"]), ("@type", &["removable"])])
    .in_order(),
    shape("capability/capability", &[]).when(&[("../@type", &["storage"]), ("@type", &["hotpluggable"])]),
    shape(
        "capability/capability",
        &[&[one("card_type").is(TEXT), one("chpid").is(TEXT)]],
    )
    .when(&[
        ("../@type", &["ccwgroup"]),
        ("@type", &["qeth_generic", "qeth_layer2", "qeth_layer3"]),
    ]),
    shape("capability/capability", &[&[one("group_device").is(TEXT)]])
        .when(&[("../@type", &["ccw"]), ("@type", &["ccwgroup_member"])]),
];

const RULES: &[Rule] = &[
    rule(
        "device/capability",
        &[("@type", &["ccw", "ccwgroup"])],
        Must::InOrder(&[
            &["state"],
            &["cssid", "ssid", "devno"],
            &["members"],
            &["capability"],
        ]),
    ),
    rule(
        "device/capability",
        &[("@type", &["pci", "css", "ap_matrix", "storage", "ccw"])],
        Must::Distinct("capability", "type"),
    ),
    rule(
        "capability",
        &[("@type", &["vpd"])],
        Must::Distinct("fields", "access"),
    ),
    rule(
        "capability",
        &[("@type", &["storage", "removable"])],
        Must::HaveTogether(&["logical_block_size", "num_blocks"]),
    ),
];
