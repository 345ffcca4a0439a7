//! Rows that several formats share: sizes, rights, encryption, images over the network.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape, some};

use crate::forms::{self, TEXT};

/// One row of further rules.
pub(crate) const fn rule(
    element: &'static str,
    when: &'static [(&'static str, &'static [&'static str])],
    must: Must,
) -> Rule {
    Rule { element, when, must }
}

/// A number with a unit.
pub(super) const SCALED: &[Part] = &[
    maybe("@unit").is(forms::UNIT),
    one("text()").is(forms::UNSIGNED_LONG),
];

/// Storage behind a Fibre Channel adapter.
pub(super) const FIBRE_CHANNEL_ADAPTER: &[Part] = &[
    maybe("@parent"),
    maybe("@managed").is(forms::YES_NO),
    maybe("@parent_wwnn").is(forms::WWN),
    maybe("@parent_wwpn").is(forms::WWN),
    maybe("@parent_fabric_wwn").is(forms::WWN),
    one("@wwnn").is(forms::WWN),
    one("@wwpn").is(forms::WWN),
];

/// Attributes of a PCI address.
pub(super) const PCI_ADDRESS: &[Part] = &[
    maybe("@domain").is(forms::UINT32),
    maybe("@bus").is(forms::UINT8),
    maybe("@slot").is(forms::PCI_SLOT),
    maybe("@function").is(forms::PCI_FUNCTION),
    maybe("@multifunction").is(forms::ON_OFF),
];

/// The formats of images.
pub(super) const IMAGE_FORMAT: Form = words!(
    "raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "fat", "vhd", "ploop", "luks", "cow", "qcow",
    "qcow2", "qed", "vmdk"
);

/// Owner and rights of what is made.
pub(super) const PERMISSIONS: &[Shape] = &[shape(
    "permissions",
    &[&[
        maybe("mode").is(forms::OCTAL_MODE),
        maybe("owner").is(forms::OWNER),
        maybe("group").is(forms::OWNER),
        maybe("label").is(TEXT),
    ]],
)];

/// `<encryption>` of volumes and disks.
pub(super) const ENCRYPTION: &[Shape] = &[
    shape(
        "encryption",
        &[&[
            one("@format").is(words!("default", "qcow", "luks", "luks2", "luks-any")),
            maybe("@engine").is(words!("qemu", "librbd")),
            any("secret"),
            maybe("cipher"),
            maybe("ivgen"),
        ]],
    ),
    shape(
        "encryption/secret",
        &[&[
            one("@type").is(words!("passphrase")),
            maybe("@uuid").is(forms::UUID),
            maybe("@usage"),
        ]],
    ),
    shape(
        "encryption/cipher",
        &[&[
            one("@name"),
            one("@size").is(forms::UNSIGNED_INT),
            maybe("@mode"),
            maybe("@hash"),
        ]],
    ),
    shape("encryption/ivgen", &[&[one("@name"), maybe("@hash")]]),
];

/// What goes with [`ENCRYPTION`].
pub(super) const ENCRYPTION_RULES: [Rule; 5] = [
    rule("encryption", &[], Must::HaveTogether(&["cipher", "ivgen"])),
    rule("encryption", &[("cipher", PRESENT)], Must::Have(&["secret"])),
    rule("encryption/secret", &[], Must::HaveOneOf(&["@uuid", "@usage"])),
    rule("encryption/secret", &[], Must::NotBoth(&["@uuid", "@usage"])),
    rule("encryption/cipher", &[], Must::HaveTogether(&["@mode", "@hash"])),
];

/// A label of one image.
pub(crate) const DEVICE_LABEL: &[Shape] = &[
    shape("seclabel", &[&[maybe("@model")]]).when(&[("@relabel", &["no"]), ("@labelskip", ABSENT)]),
    shape("seclabel", &[&[maybe("@model")]]).when(&[("@labelskip", &["yes"]), ("@relabel", ABSENT)]),
    shape("seclabel", &[&[maybe("@model"), some("label").is(TEXT)]])
        .when(&[("@relabel?", &["yes"]), ("@labelskip", ABSENT)]),
];

/// Whether and when a lost connection is made anew.
pub(crate) const RECONNECT: &[Shape] = &[
    shape(
        "source/reconnect",
        &[&[maybe("@timeout").is(forms::UNSIGNED_INT)]],
    )
    .when(&[("@enabled", &["yes", "no"]), ("@delay", ABSENT)]),
    shape("source/reconnect", &[&[one("@delay").is(forms::UNSIGNED_INT)]]).when(&[("@enabled", ABSENT)]),
];
