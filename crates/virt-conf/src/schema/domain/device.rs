//! Parts that all devices have, controllers and the small devices.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, PRESENT};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape};

use super::super::common::{PCI_ADDRESS, SCALED};
use crate::forms::{self, TEXT};

/// Alias, index in ACPI, address.
pub(super) const INFO: &[Part] = &[maybe("alias"), maybe("acpi"), maybe("address")];
/// The same without the index.
pub(super) const PLACE: &[Part] = &[maybe("alias"), maybe("address")];
/// Options of virtio devices.
pub(super) const VIRTIO: &[Part] = &[
    maybe("@iommu").is(forms::ON_OFF),
    maybe("@ats").is(forms::ON_OFF),
    maybe("@packed").is(forms::ON_OFF),
    maybe("@page_per_vq").is(forms::ON_OFF),
];
/// A driver with nothing but these.
pub(super) const VIRTIO_DRIVER: &[Part] = &[maybe("driver")];
/// Kinds of virtio devices.
pub(super) const VIRTIO_MODEL: Form = words!("virtio", "virtio-transitional", "virtio-non-transitional");

/// `<devices>`, what devices have in common, the small devices.
pub(in super::super) const SHAPES: &[Shape] = &[
    shape(
        "devices",
        &[&[
            maybe("emulator").is(forms::ABSOLUTE_PATH),
            any("disk"),
            any("controller"),
            any("lease"),
            any("filesystem"),
            any("interface"),
            any("input"),
            any("sound"),
            any("audio"),
            any("hostdev"),
            any("graphics"),
            any("video"),
            any("console"),
            any("parallel"),
            any("serial"),
            any("channel"),
            any("smartcard"),
            any("hub"),
            any("redirdev"),
            any("redirfilter"),
            any("rng"),
            any("tpm"),
            any("shmem"),
            any("memory"),
            any("crypto"),
            any("watchdog"),
            maybe("memballoon"),
            maybe("nvram"),
            any("panic"),
            maybe("iommu"),
            maybe("vsock"),
            maybe("pstore"),
        ]],
    ),
    shape("alias", &[&[one("@name").is(forms::ALIAS)]]),
    shape("acpi", &[&[maybe("@index").is(forms::UNSIGNED_INT)]]),
    shape(
        "boot",
        &[&[
            one("@order").is(forms::POSITIVE),
            maybe("@loadparm").is(forms::LOADPARM),
        ]],
    ),
    shape(
        "rom",
        &[&[
            maybe("@enabled").is(forms::YES_NO),
            maybe("@bar").is(forms::ON_OFF),
            maybe("@file").is(forms::ABSOLUTE_PATH),
        ]],
    ),
    shape("driver", &[VIRTIO]),
    shape("backenddomain", &[&[one("@name").is(forms::DOMAIN_NAME)]]),
    shape("teaming", &[]).when(&[("@type", &["persistent"])]),
    shape("teaming", &[&[one("@persistent").is(forms::ALIAS)]]).when(&[("@type", &["transient"])]),
    shape(
        "watchdog",
        &[
            INFO,
            &[
                one("@model").is(words!("i6300esb", "ib700", "diag288", "itco")),
                maybe("@action").is(words!(
                    "reset",
                    "shutdown",
                    "poweroff",
                    "pause",
                    "none",
                    "dump",
                    "inject-nmi"
                )),
            ],
        ],
    ),
    shape("devices/nvram", &[&[maybe("address")]]),
    shape(
        "shmem",
        &[
            INFO,
            &[
                one("@name").is(forms::SHMEM_NAME),
                maybe("@role").is(words!("master", "peer")),
                maybe("model"),
                maybe("size"),
                maybe("server"),
                maybe("msi"),
            ],
        ],
    ),
    shape(
        "shmem/model",
        &[&[one("@type").is(words!("ivshmem", "ivshmem-plain", "ivshmem-doorbell"))]],
    ),
    shape("shmem/size", &[SCALED]),
    shape("shmem/server", &[&[maybe("@path").is(forms::ABSOLUTE_PATH)]]),
    shape(
        "shmem/msi",
        &[&[
            maybe("@ioeventfd").is(forms::ON_OFF),
            maybe("@vectors").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "memballoon",
        &[
            INFO,
            VIRTIO_DRIVER,
            &[
                one("@model").is(words!(
                    "virtio",
                    "virtio-transitional",
                    "virtio-non-transitional",
                    "xen",
                    "none"
                )),
                maybe("@autodeflate").is(forms::ON_OFF),
                maybe("@freePageReporting").is(forms::ON_OFF),
                maybe("stats"),
            ],
        ],
    ),
    shape("memballoon/stats", &[&[one("@period").is(forms::POSITIVE)]]),
    shape(
        "tpm",
        &[
            PLACE,
            &[
                maybe("@model").is(words!("tpm-tis", "tpm-crb", "tpm-spapr", "spapr-tpm-proxy")),
                one("backend"),
            ],
        ],
    ),
    shape("tpm/backend", &[TPM, &[maybe("device")]]).when(&[("@type", &["passthrough"])]),
    shape("tpm/backend", &[TPM, &[maybe("source")]]).when(&[("@type", &["external"])]),
    shape(
        "tpm/backend",
        &[
            TPM,
            &[
                maybe("@persistent_state").is(forms::YES_NO),
                maybe("@debug").is(forms::UINT8),
                maybe("encryption"),
                maybe("active_pcr_banks"),
                maybe("source"),
                maybe("profile"),
            ],
        ],
    )
    .when(&[("@type", &["emulator"])]),
    shape("tpm/backend/device", &[&[maybe("@path").is(forms::FILE_PATH)]]),
    shape(
        "tpm/backend/source",
        &[&[
            one("@type").is(words!("unix")),
            one("@path").is(forms::FILE_PATH),
            one("@mode").is(words!("connect")),
        ]],
    )
    .when(&[("../@type", &["external"])]),
    shape("tpm/backend/source", &[&[one("@path").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type", &["emulator"]), ("@type", &["file"])]),
    shape(
        "tpm/backend/source",
        &[&[one("@path").is(forms::ABSOLUTE_FOLDER)]],
    )
    .when(&[("../@type", &["emulator"]), ("@type", &["dir"])]),
    shape("tpm/backend/encryption", &[&[one("@secret").is(forms::UUID)]]),
    shape(
        "active_pcr_banks",
        &[&[maybe("sha1"), maybe("sha256"), maybe("sha384"), maybe("sha512")]],
    ),
    shape(
        "tpm/backend/profile",
        &[&[
            maybe("@source").is(forms::TPM_PROFILE),
            maybe("@removeDisabled").is(words!("check", "fips-host")),
            maybe("@name").is(forms::TPM_PROFILE),
        ]],
    ),
    shape(
        "vsock",
        &[
            INFO,
            VIRTIO_DRIVER,
            &[maybe("@model").is(VIRTIO_MODEL), maybe("cid")],
        ],
    ),
    shape(
        "vsock/cid",
        &[&[
            maybe("@auto").is(forms::YES_NO),
            maybe("@address").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "iommu",
        &[
            INFO,
            &[
                one("@model").is(words!("intel", "smmuv3", "virtio")),
                maybe("driver"),
            ],
        ],
    ),
    shape(
        "iommu/driver",
        &[&[
            maybe("@intremap").is(forms::ON_OFF),
            maybe("@caching_mode").is(forms::ON_OFF),
            maybe("@eim").is(forms::ON_OFF),
            maybe("@iotlb").is(forms::ON_OFF),
            maybe("@aw_bits").is(forms::UINT8),
            maybe("@dma_translation").is(forms::ON_OFF),
        ]],
    ),
    shape(
        "input",
        &[
            INPUT,
            INFO,
            VIRTIO_DRIVER,
            &[maybe("@bus").is(words!("ps2", "usb", "xen", "virtio"))],
        ],
    )
    .when(&[("@type", &["tablet", "mouse", "keyboard"])]),
    shape(
        "input",
        &[
            INPUT,
            INFO,
            VIRTIO_DRIVER,
            &[one("@bus").is(words!("virtio")), one("source")],
        ],
    )
    .when(&[("@type", &["passthrough"])]),
    shape("input", &[INPUT, INFO, VIRTIO_DRIVER, &[one("source")]]).when(&[("@type", &["evdev"])]),
    shape("input/source", &[&[one("@evdev").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type", &["passthrough"])]),
    shape(
        "input/source",
        &[&[
            one("@dev").is(forms::ABSOLUTE_PATH),
            maybe("@grab").is(words!("all")),
            maybe("@grabToggle").is(words!(
                "ctrl-ctrl",
                "alt-alt",
                "shift-shift",
                "meta-meta",
                "scrolllock",
                "ctrl-scrolllock"
            )),
            maybe("@repeat").is(forms::ON_OFF),
        ]],
    )
    .when(&[("../@type", &["evdev"])]),
    shape("hub", &[PLACE, &[one("@type").is(words!("usb"))]]),
    shape("redirfilter", &[&[any("usbdev")]]),
    shape(
        "usbdev",
        &[&[
            one("@allow").is(forms::YES_NO),
            maybe("@class").is(forms::USB_CLASS_OR_ANY),
            maybe("@vendor").is(forms::USB_ID_OR_ANY),
            maybe("@product").is(forms::USB_ID_OR_ANY),
            maybe("@version").is(forms::USB_VERSION_OR_ANY),
        ]],
    ),
    shape(
        "pstore",
        &[
            PLACE,
            &[
                one("@backend").is(words!("acpi-erst")),
                maybe("path").is(forms::ABSOLUTE_PATH),
                one("size"),
            ],
        ],
    ),
    shape("pstore/size", &[SCALED]),
    shape(
        "devices/memory",
        &[
            INFO,
            &[
                one("@model").is(words!("dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc")),
                maybe("@access").is(words!("shared", "private")),
                maybe("@discard").is(forms::YES_NO),
                maybe("uuid").is(forms::UUID),
                maybe("source"),
                one("target"),
            ],
        ],
    ),
    shape(
        "memory/source",
        &[&[maybe("pagesize"), maybe("nodemask").is(forms::CPU_SET)]],
    )
    .when(&[("path", ABSENT), ("alignsize", ABSENT), ("pmem", ABSENT)]),
    shape("memory/source", &[MEMORY_FILE]).when(&[("path", PRESENT)]),
    shape("memory/source", &[MEMORY_FILE]).when(&[("path", ABSENT), ("alignsize", PRESENT)]),
    shape("memory/source", &[MEMORY_FILE]).when(&[
        ("path", ABSENT),
        ("alignsize", ABSENT),
        ("pmem", PRESENT),
    ]),
    shape("memory/source/pagesize", &[SCALED]),
    shape("memory/source/alignsize", &[SCALED]),
    shape(
        "memory/target",
        &[&[
            maybe("@dynamicMemslots").is(forms::YES_NO),
            one("size"),
            maybe("node").is(forms::UNSIGNED_INT),
            maybe("block"),
            maybe("requested"),
            maybe("current"),
            maybe("label"),
            maybe("readonly"),
            maybe("address"),
        ]],
    ),
    shape("memory/target/size", &[SCALED]),
    shape("memory/target/block", &[SCALED]),
    shape("memory/target/requested", &[SCALED]),
    shape("memory/target/current", &[SCALED]),
    shape("memory/target/label", &[&[one("size")]]),
    shape("memory/target/label/size", &[SCALED]),
    shape("memory/target/address", &[&[one("@base").is(forms::HEX_UINT)]]),
    shape(
        "rng",
        &[
            INFO,
            VIRTIO_DRIVER,
            &[one("@model").is(VIRTIO_MODEL), one("backend"), maybe("rate")],
        ],
    ),
    shape(
        "rng/rate",
        &[&[
            one("@bytes").is(forms::POSITIVE),
            maybe("@period").is(forms::POSITIVE),
        ]],
    ),
    shape(
        "crypto",
        &[
            PLACE,
            VIRTIO_DRIVER,
            &[
                one("@model").is(words!("virtio")),
                one("@type").is(words!("qemu")),
                one("backend"),
            ],
        ],
    ),
    shape(
        "crypto/backend",
        &[&[
            one("@model").is(words!("builtin", "lkcf")),
            maybe("@queues").is(forms::POSITIVE),
        ]],
    ),
    shape(
        "panic",
        &[
            PLACE,
            &[maybe("@model").is(words!("isa", "pseries", "hyperv", "s390", "pvpanic"))],
        ],
    ),
    shape(
        "devices/lease",
        &[&[one("lockspace").is(TEXT), one("key").is(TEXT), one("target")]],
    ),
    shape(
        "lease/target",
        &[&[one("@path"), maybe("@offset").is(forms::UNSIGNED_INT)]],
    ),
];

const TPM: &[Part] = &[maybe("@version").is(words!("1.2", "2.0"))];
const INPUT: &[Part] = &[maybe("@model").is(VIRTIO_MODEL)];
const MEMORY_FILE: &[Part] = &[
    one("path").is(forms::ABSOLUTE_PATH),
    maybe("alignsize"),
    maybe("pmem"),
];

/// Where the guest finds a device.
pub(in super::super) const ADDRESSES: &[Shape] = &[
    shape("address", &[PCI_ADDRESS, &[maybe("zpci")]]).when(&[("@type", &["pci"])]),
    shape(
        "address/zpci",
        &[&[maybe("@uid").is(forms::UINT16), maybe("@fid").is(forms::UINT32)]],
    ),
    shape(
        "address",
        &[&[
            maybe("@controller").is(forms::TWO_DIGITS),
            maybe("@bus").is(forms::TWO_DIGITS),
            maybe("@target").is(forms::TWO_DIGITS),
            maybe("@unit").is(forms::DRIVE_UNIT),
        ]],
    )
    .when(&[("@type", &["drive"])]),
    shape(
        "address",
        &[&[
            one("@controller").is(forms::TWO_DIGITS),
            maybe("@bus").is(forms::TWO_DIGITS),
            maybe("@port").is(forms::TWO_DIGITS),
        ]],
    )
    .when(&[("@type", &["virtio-serial"])]),
    shape(
        "address",
        &[&[
            one("@controller").is(forms::TWO_DIGITS),
            maybe("@slot").is(forms::TWO_DIGITS),
        ]],
    )
    .when(&[("@type", &["ccid"])]),
    shape(
        "address",
        &[&[
            one("@bus").is(forms::USB_ADDRESS),
            maybe("@port").is(forms::USB_PORT),
        ]],
    )
    .when(&[("@type", &["usb"])]),
    shape("address", &[&[maybe("@reg").is(forms::SPAPR_REGISTER)]]).when(&[("@type", &["spapr-vio"])]),
    shape("address", &[CCW]).when(&[("@type", &["ccw"]), ("@cssid", PRESENT)]),
    shape("address", &[CCW]).when(&[("@type", &["ccw"]), ("@cssid", ABSENT), ("@ssid", PRESENT)]),
    shape("address", &[CCW]).when(&[
        ("@type", &["ccw"]),
        ("@cssid", ABSENT),
        ("@ssid", ABSENT),
        ("@devno", PRESENT),
    ]),
    shape("address", &[]).when(&[
        ("@type", &["ccw"]),
        ("@cssid", ABSENT),
        ("@ssid", ABSENT),
        ("@devno", ABSENT),
    ]),
    shape(
        "address",
        &[&[
            maybe("@iobase").is(forms::ISA_PORT),
            maybe("@irq").is(forms::ISA_INTERRUPT),
        ]],
    )
    .when(&[("@type", &["isa"])]),
    shape("address", &[]).when(&[("@type", &["virtio-mmio", "unassigned"])]),
    shape(
        "address",
        &[&[
            maybe("@slot").is(forms::UNSIGNED_INT),
            maybe("@base").is(forms::HEX_UINT),
        ]],
    )
    .when(&[("@type", &["dimm"])]),
];

const CCW: &[Part] = &[
    one("@cssid").is(forms::CCW_CSSID),
    one("@ssid").is(forms::CCW_SSID),
    one("@devno").is(forms::CCW_DEVNO),
];

const CONTROLLER: &[Part] = &[maybe("@index").is(forms::UNSIGNED_INT), maybe("driver")];
const BRIDGE: &[Part] = &[maybe("model"), maybe("target")];

/// Controllers.
pub(in super::super) const CONTROLLERS: &[Shape] = &[
    shape("controller", &[CONTROLLER, INFO]).when(&[("@type", &["fdc", "sata", "ccid", "isa"])]),
    shape(
        "controller",
        &[
            CONTROLLER,
            INFO,
            &[maybe("@model").is(words!(
                "auto",
                "buslogic",
                "lsilogic",
                "lsisas1068",
                "vmpvscsi",
                "ibmvscsi",
                "virtio-scsi",
                "lsisas1078",
                "virtio-transitional",
                "virtio-non-transitional",
                "ncr53c90",
                "dc390",
                "am53c974"
            ))],
        ],
    )
    .when(&[("@type", &["scsi"])]),
    shape(
        "controller",
        &[
            CONTROLLER,
            INFO,
            &[
                maybe("@model").is(words!(
                    "piix3-uhci",
                    "piix4-uhci",
                    "ehci",
                    "ich9-ehci1",
                    "ich9-uhci1",
                    "ich9-uhci2",
                    "ich9-uhci3",
                    "vt82c686b-uhci",
                    "pci-ohci",
                    "nec-xhci",
                    "none",
                    "qusb1",
                    "qusb2",
                    "qemu-xhci"
                )),
                maybe("@ports").is(forms::UNSIGNED_INT),
                maybe("master"),
            ],
        ],
    )
    .when(&[("@type", &["usb"])]),
    shape(
        "controller",
        &[
            CONTROLLER,
            INFO,
            &[maybe("@model").is(words!("piix3", "piix4", "ich6"))],
        ],
    )
    .when(&[("@type", &["ide"])]),
    shape("controller", &[CONTROLLER, INFO, BRIDGE, &[maybe("pcihole64")]])
        .when(&[("@type", &["pci"]), ("@model", &["pci-root", "pcie-root"])]),
    shape("controller", &[CONTROLLER, INFO, BRIDGE]).when(&[
        ("@type", &["pci"]),
        (
            "@model",
            &[
                "pci-bridge",
                "dmi-to-pci-bridge",
                "pcie-to-pci-bridge",
                "pcie-root-port",
                "pcie-switch-upstream-port",
                "pcie-switch-downstream-port",
                "pci-expander-bus",
                "pcie-expander-bus",
            ],
        ),
    ]),
    shape(
        "controller",
        &[
            CONTROLLER,
            INFO,
            &[
                maybe("@model").is(VIRTIO_MODEL),
                maybe("@ports").is(forms::UNSIGNED_INT),
                maybe("@vectors").is(forms::UNSIGNED_INT),
            ],
        ],
    )
    .when(&[("@type", &["virtio-serial"])]),
    shape(
        "controller",
        &[
            CONTROLLER,
            INFO,
            &[
                maybe("@maxGrantFrames").is(forms::UNSIGNED_INT),
                maybe("@maxEventChannels").is(forms::UNSIGNED_INT),
            ],
        ],
    )
    .when(&[("@type", &["xenbus"])]),
    shape(
        "controller/driver",
        &[
            VIRTIO,
            &[
                maybe("@queues").is(forms::UNSIGNED_INT),
                maybe("@cmd_per_lun").is(forms::UNSIGNED_INT),
                maybe("@max_sectors").is(forms::UNSIGNED_INT),
                maybe("@ioeventfd").is(forms::ON_OFF),
                maybe("@iothread").is(forms::UNSIGNED_INT),
                maybe("iothreads"),
            ],
        ],
    ),
    shape("master", &[&[one("@startport").is(forms::USB_PORT)]]),
    shape(
        "controller/model",
        &[&[one("@name").is(words!(
            "spapr-pci-host-bridge",
            "pci-bridge",
            "i82801b11-bridge",
            "pcie-pci-bridge",
            "ioh3420",
            "pcie-root-port",
            "x3130-upstream",
            "xio3130-downstream",
            "pxb",
            "pxb-pcie"
        ))]],
    ),
    shape(
        "controller/target",
        &[&[
            maybe("@chassisNr").is(forms::UINT8),
            maybe("@chassis").is(forms::UINT8),
            maybe("@port").is(forms::UINT8),
            maybe("@busNr").is(forms::UINT8),
            maybe("@index").is(forms::UINT8),
            maybe("@hotplug").is(forms::ON_OFF),
            maybe("@memReserve").is(forms::UNSIGNED_LONG),
            maybe("node").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape("pcihole64", &[SCALED]),
];
