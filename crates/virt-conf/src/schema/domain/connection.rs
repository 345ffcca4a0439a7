//! Character devices, and what they are connected to.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, PRESENT};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape};

use super::device::{INFO, PLACE};
use crate::forms::{self, TEXT};

/// What a device can be connected to.
const KIND: Form = words!(
    "dev",
    "file",
    "pipe",
    "unix",
    "tcp",
    "udp",
    "null",
    "stdio",
    "vc",
    "pty",
    "spicevmc",
    "spiceport",
    "nmdm",
    "qemu-vdagent",
    "dbus"
);

const CONNECTED: &[Part] = &[
    one("@type").is(KIND),
    any("source"),
    maybe("protocol"),
    maybe("log"),
];
const TTY: &[Part] = &[maybe("@tty").is(forms::ABSOLUTE_PATH)];
const TARGET: &[Part] = &[maybe("target")];

/// The other end; whatever the kind, it may carry what belongs to others.
const SOURCE: &[Part] = &[
    maybe("@mode"),
    maybe("@path"),
    maybe("@host"),
    maybe("@service"),
    maybe("@channel"),
    maybe("@master"),
    maybe("@slave"),
    maybe("@append").is(forms::ON_OFF),
    maybe("@tls").is(forms::YES_NO),
    maybe("reconnect"),
    any("seclabel"),
    maybe("clipboard"),
    maybe("mouse"),
];

/// What the guest sees of a port.
const PORT: &[Part] = &[
    maybe("@type").is(words!(
        "xen",
        "serial",
        "uml",
        "virtio",
        "lxc",
        "openvz",
        "sclp",
        "sclplm",
        "isa-serial",
        "usb-serial",
        "pci-serial",
        "spapr-vio-serial",
        "system-serial",
        "sclp-serial",
        "isa-debug"
    )),
    maybe("@port"),
    maybe("model"),
];

pub(in super::super) const SHAPES: &[Shape] = &[
    shape("devices/serial", &[CONNECTED, TTY, TARGET, INFO]),
    shape("devices/parallel", &[CONNECTED, TTY, TARGET, INFO]),
    shape("devices/console", &[TTY]).when(&[("@type", ABSENT)]),
    shape("devices/console", &[CONNECTED, TTY, TARGET, INFO]).when(&[("@type", PRESENT)]),
    shape("devices/channel", &[CONNECTED, PLACE, &[one("target")]]),
    shape("smartcard", &[SMARTCARD]).when(&[("@mode", &["host"])]),
    shape(
        "smartcard",
        &[
            SMARTCARD,
            &[
                any("certificate").is(TEXT),
                maybe("database").is(forms::ABSOLUTE_FOLDER),
            ],
        ],
    )
    .when(&[("@mode", &["host-certificates"])]),
    shape("smartcard", &[SMARTCARD, CONNECTED, TARGET]).when(&[("@mode", &["passthrough"])]),
    shape(
        "redirdev",
        &[CONNECTED, PLACE, &[one("@bus").is(words!("usb")), maybe("boot")]],
    ),
    shape("rng/backend", &[&[maybe("text()").is(forms::ABSOLUTE_PATH)]]).when(&[("@model", &["random"])]),
    shape("rng/backend", &[CONNECTED]).when(&[("@model", &["egd"])]),
    shape("rng/backend", &[]).when(&[("@model", &["builtin"])]),
    shape("serial/source", &[SOURCE]),
    shape("parallel/source", &[SOURCE]),
    shape("console/source", &[SOURCE]),
    shape("channel/source", &[SOURCE]),
    shape("smartcard/source", &[SOURCE]),
    shape("redirdev/source", &[SOURCE]),
    shape("rng/backend/source", &[SOURCE]),
    shape(
        "protocol",
        &[&[maybe("@type").is(words!("raw", "telnet", "telnets", "tls"))]],
    ),
    shape(
        "log",
        &[&[
            one("@file").is(forms::ABSOLUTE_PATH),
            maybe("@append").is(forms::ON_OFF),
        ]],
    ),
    shape("clipboard", &[&[one("@copypaste").is(forms::YES_NO)]]),
    shape("mouse", &[&[one("@mode").is(words!("client", "server"))]]),
    shape("serial/target", &[PORT]),
    shape("parallel/target", &[PORT]),
    shape("console/target", &[PORT]),
    shape("smartcard/target", &[PORT]),
    shape(
        "target/model",
        &[&[one("@name").is(words!(
            "isa-serial",
            "usb-serial",
            "pci-serial",
            "spapr-vty",
            "pl011",
            "16550a",
            "sclpconsole",
            "sclplmconsole",
            "isa-debugcon"
        ))]],
    ),
    shape("channel/target", &[&[one("@address"), one("@port")]]).when(&[("@type", &["guestfwd"])]),
    shape(
        "channel/target",
        &[&[
            maybe("@name"),
            maybe("@state").is(words!("connected", "disconnected")),
        ]],
    )
    .when(&[("@type", &["virtio"])]),
    shape("channel/target", &[&[maybe("@name")]]).when(&[("@type", &["xen"])]),
];

const SMARTCARD: &[Part] = &[maybe("acpi"), maybe("address")];
