//! Devices of the host.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Must, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape, some};

use super::super::common::{FIBRE_CHANNEL_ADAPTER, PCI_ADDRESS, rule};
use super::super::network::HOST_DRIVER;
use super::device::{INFO, VIRTIO_MODEL};
use super::interface::USB_ADDRESS;
use super::source::STARTUP_POLICY;
use crate::forms;

const HOSTDEV: &[Part] = &[
    one("source"),
    maybe("boot"),
    maybe("rom"),
    maybe("readonly"),
    maybe("shareable"),
];
const SUBSYSTEM: &[Part] = &[maybe("@managed").is(forms::YES_NO)];
const DISPLAY: &[Part] = &[
    maybe("@ramfb").is(forms::ON_OFF),
    maybe("@display").is(forms::ON_OFF),
];
const STARTUP: &[Part] = &[maybe("@startupPolicy").is(STARTUP_POLICY)];

pub(in super::super) const SHAPES: &[Shape] = &[
    shape(
        "hostdev",
        &[
            HOSTDEV,
            INFO,
            SUBSYSTEM,
            DISPLAY,
            &[maybe("driver"), maybe("teaming")],
        ],
    )
    .when(&[("@mode?", &["subsystem"]), ("@type", &["pci"])]),
    shape("hostdev", &[HOSTDEV, INFO, SUBSYSTEM]).when(&[("@mode?", &["subsystem"]), ("@type", &["usb"])]),
    shape(
        "hostdev",
        &[
            HOSTDEV,
            INFO,
            SUBSYSTEM,
            &[
                maybe("@sgio").is(words!("filtered", "unfiltered")),
                maybe("@rawio").is(forms::YES_NO),
            ],
        ],
    )
    .when(&[("@mode?", &["subsystem"]), ("@type", &["scsi"])]),
    shape(
        "hostdev",
        &[HOSTDEV, INFO, SUBSYSTEM, &[maybe("@model").is(VIRTIO_MODEL)]],
    )
    .when(&[("@mode?", &["subsystem"]), ("@type", &["scsi_host"])]),
    shape(
        "hostdev",
        &[
            HOSTDEV,
            INFO,
            SUBSYSTEM,
            DISPLAY,
            &[one("@model").is(words!("vfio-pci", "vfio-ccw", "vfio-ap"))],
        ],
    )
    .when(&[("@mode?", &["subsystem"]), ("@type", &["mdev"])]),
    shape("hostdev", &[HOSTDEV, INFO]).when(&[("@mode", &["capabilities"]), ("@type", &["storage", "misc"])]),
    shape("hostdev", &[HOSTDEV, INFO, &[any("ip"), any("route")]])
        .when(&[("@mode", &["capabilities"]), ("@type", &["net"])]),
    Shape {
        element: "hostdev/driver",
        ..HOST_DRIVER
    },
    shape(
        "hostdev/source",
        &[
            STARTUP,
            &[maybe("@writeFiltering").is(forms::YES_NO), one("address")],
        ],
    )
    .when(&[("../@type", &["pci"])]),
    shape(
        "hostdev/source",
        &[
            STARTUP,
            &[
                maybe("@guestReset").is(words!("off", "uninitialized", "on")),
                maybe("vendor"),
                maybe("product"),
                maybe("address"),
            ],
        ],
    )
    .in_order()
    .when(&[("../@type", &["usb"])]),
    shape("hostdev/source", &[&[one("adapter"), one("address")]])
        .when(&[("../@type", &["scsi"]), ("@protocol?", &["adapter"])]),
    shape(
        "hostdev/source",
        &[&[one("@name"), some("host"), maybe("auth"), maybe("initiator")]],
    )
    .when(&[("../@type", &["scsi"]), ("@protocol", &["iscsi"])]),
    shape("hostdev/source", &[&[one("@wwpn").is(forms::NAA_NAME)]])
        .when(&[("../@type", &["scsi_host"]), ("@protocol", &["vhost"])]),
    shape("hostdev/source", &[&[one("address")]]).when(&[("../@type", &["mdev"])]),
    shape("hostdev/source", &[&[one("block").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["storage"])]),
    shape("hostdev/source", &[&[one("char").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["misc"])]),
    shape("hostdev/source", &[&[one("interface").is(forms::DEVICE_NAME)]]).when(&[("../@type", &["net"])]),
    shape("hostdev/source/vendor", &[&[one("@id").is(forms::USB_ID)]]),
    shape("hostdev/source/product", &[&[one("@id").is(forms::USB_ID)]]),
    shape("hostdev/source/address", &[PCI_ADDRESS]).when(&[("../../@type", &["pci"])]),
    shape("hostdev/source/address", &[USB_ADDRESS]).when(&[("../../@type", &["usb"])]),
    shape(
        "hostdev/source/address",
        &[&[
            one("@bus").is(forms::TWO_DIGITS),
            one("@target").is(forms::SCSI_TARGET),
            one("@unit").is(forms::SCSI_UNIT),
        ]],
    )
    .when(&[("../../@type", &["scsi"])]),
    shape("hostdev/source/address", &[&[one("@uuid").is(forms::UUID)]]).when(&[("../../@type", &["mdev"])]),
    shape(
        "hostdev/source/host",
        &[&[one("@name"), maybe("@port").is(forms::PORT)]],
    ),
    shape("adapter", &[&[maybe("@name"), maybe("parentaddr")]]).when(&[("@type?", &["scsi_host"])]),
    shape("adapter", &[FIBRE_CHANNEL_ADAPTER]).when(&[("@type", &["fc_host"])]),
    shape(
        "parentaddr",
        &[&[maybe("@unique_id").is(forms::POSITIVE), one("address")]],
    ),
    shape("parentaddr/address", &[PCI_ADDRESS]),
];

pub(in super::super) const RULES: &[Rule] = &[
    rule(
        "hostdev/source",
        &[("../@type", &["usb"])],
        Must::HaveTogether(&["vendor", "product"]),
    ),
    rule(
        "hostdev/source",
        &[("../@type", &["usb"]), ("vendor", ABSENT)],
        Must::Have(&["address"]),
    ),
    rule(
        "adapter",
        &[("@type?", &["scsi_host"])],
        Must::HaveOneOf(&["@name", "parentaddr"]),
    ),
    rule(
        "adapter",
        &[("@type?", &["scsi_host"])],
        Must::NotBoth(&["@name", "parentaddr"]),
    ),
];
