//! The schemas of snapshots, checkpoints and backups of domains.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{DEVICE_LABEL, ENCRYPTION, ENCRYPTION_RULES, IMAGE_FORMAT, rule};
use super::domain::{DOMAIN, DOMAIN_PARTS, RESOURCE_PARTS, domain_rules, domain_shapes};
use crate::forms::{self, TEXT};

/// The disks in a list of a snapshot.
macro_rules! snapshot_disks {
    ($list:literal) => {
        &[
            shape(concat!($list, "/disk"), &[DISK_NAME])
                .when(&[("@snapshot", &["no", "internal", "manual"])]),
            shape(
                concat!($list, "/disk"),
                &[
                    DISK_NAME,
                    &[
                        maybe("source"),
                        maybe("driver"),
                        maybe("snapshotDeleteInProgress"),
                    ],
                ],
            )
            .when(&[("@snapshot?", &["external"]), ("@type?", &["file", "block"])]),
            shape(concat!($list, "/disk"), &[DISK_NAME, &[one("source")]])
                .when(&[("@snapshot?", &["external"]), ("@type", &["network"])]),
            shape(concat!($list, "/disk/driver"), &[SNAPSHOT_DRIVER]),
            shape(
                concat!($list, "/disk/source"),
                &[LOCAL, &[maybe("@file").is(forms::ABSOLUTE_PATH)]],
            )
            .in_order()
            .when(&[("../@type?", &["file"])]),
            shape(
                concat!($list, "/disk/source"),
                &[LOCAL, &[one("@dev").is(forms::ABSOLUTE_PATH)]],
            )
            .in_order()
            .when(&[("../@type", &["block"])]),
        ]
    };
}

/// Checkpoints.
pub(super) const CHECKPOINT: Table = Table {
    shapes: domain_shapes![CHECKPOINT_SHAPES],
    rules: domain_rules![],
    namespaces: DOMAIN.namespaces,
};

/// Snapshots.
pub(super) const SNAPSHOT: Table = Table {
    shapes: domain_shapes![
        SNAPSHOT_SHAPES,
        snapshot_disks!("disks"),
        snapshot_disks!("revertDisks"),
        source::network_sources!("disks/disk/source"),
        source::network_sources!("revertDisks/disk/source"),
    ],
    rules: domain_rules![SNAPSHOT_RULES],
    namespaces: DOMAIN.namespaces,
};

/// Backups.
pub(super) const BACKUP: Table = Table {
    shapes: &[BACKUP_SHAPES, DEVICE_LABEL, ENCRYPTION],
    rules: &[BACKUP_RULES],
    namespaces: &[],
};

const CHECKPOINT_NAME: Form = Form {
    says: "letters, digits, '_', '-' and, not in front, '.'",
    fits: |text| {
        !text.is_empty()
            && !text.starts_with('.')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    },
};

const CHECKPOINT_SHAPES: &[Shape] = &[
    shape(
        "domaincheckpoint",
        &[&[
            maybe("name").is(CHECKPOINT_NAME),
            maybe("description").is(TEXT),
            maybe("creationTime").is(forms::UNSIGNED_LONG),
            maybe("disks"),
            maybe("domain"),
            maybe("parent"),
        ]],
    ),
    shape("domaincheckpoint/parent", &[&[one("name").is(CHECKPOINT_NAME)]]),
    shape("domaincheckpoint/disks", &[&[some("disk")]]),
    shape("disks/disk", &[&[one("@name").is(forms::DISK_NAME)]]).when(&[("@checkpoint", &["no"])]),
    shape(
        "disks/disk",
        &[&[
            one("@name").is(forms::DISK_NAME),
            maybe("@bitmap"),
            maybe("@size").is(forms::UNSIGNED_LONG),
        ]],
    )
    .when(&[("@checkpoint?", &["bitmap"])]),
];

const SNAPSHOT_SHAPES: &[Shape] = &[
    shape(
        "domainsnapshot",
        &[&[
            maybe("name").is(TEXT),
            maybe("description").is(TEXT),
            maybe("state").is(words!(
                "running",
                "blocked",
                "paused",
                "shutdown",
                "shutoff",
                "crashed",
                "disk-snapshot"
            )),
            maybe("creationTime").is(TEXT),
            maybe("memory"),
            maybe("disks"),
            maybe("revertDisks"),
            maybe("active").is(words!("0", "1")),
            maybe("domain"),
            maybe("inactiveDomain"),
            maybe("parent"),
            maybe("cookie"),
        ]],
    ),
    shape("domainsnapshot/domain", &[DOMAIN_PARTS, RESOURCE_PARTS]).when(&[("@type", PRESENT)]),
    shape("domainsnapshot/domain", &[&[one("uuid").is(forms::UUID)]]).when(&[("@type", ABSENT)]),
    shape("domainsnapshot/cookie", &[&[any("*")]]),
    shape("domainsnapshot/parent", &[&[one("name").is(TEXT)]]),
    shape("domainsnapshot/memory", &[]).when(&[("@snapshot", &["no", "internal"])]),
    shape(
        "domainsnapshot/memory",
        &[&[one("@file").is(forms::ABSOLUTE_PATH)]],
    )
    .when(&[("@snapshot?", &["external"])]),
    shape("domainsnapshot/disks", &[&[any("disk")]]),
    shape("domainsnapshot/revertDisks", &[&[any("disk")]]),
];

const DISK_NAME: &[Part] = &[one("@name").is(forms::DISK_NAME)];
const SNAPSHOT_DRIVER: &[Part] = &[
    maybe("@type").is(words!("cow", "qcow", "qcow2", "qed", "vmdk")),
    maybe("metadata_cache"),
];
/// What a source on the host has, in this order.
const LOCAL: &[Part] = &[
    any("seclabel"),
    maybe("@index").is(forms::POSITIVE),
    maybe("slices"),
    maybe("dataStore"),
    maybe("encryption"),
];

const SNAPSHOT_RULES: &[Rule] = &[
    rule(
        "disks/disk/source/dataStore/source",
        &[],
        Must::NotHave(&["@startupPolicy"]),
    ),
    rule(
        "revertDisks/disk/source/dataStore/source",
        &[],
        Must::NotHave(&["@startupPolicy"]),
    ),
];

const BACKUP_SHAPES: &[Shape] = &[
    shape(
        "domainbackup",
        &[&[maybe("incremental").is(TEXT), maybe("disks")]],
    )
    .when(&[("@mode?", &["push"])]),
    shape(
        "domainbackup",
        &[&[maybe("incremental").is(TEXT), one("server"), maybe("disks")]],
    )
    .when(&[("@mode", &["pull"])]),
    shape(
        "domainbackup/server",
        &[&[
            maybe("@tls").is(forms::YES_NO),
            one("@name").is(forms::HOST),
            maybe("@port").is(forms::UNSIGNED_INT),
        ]],
    )
    .when(&[("@transport?", &["tcp"])]),
    shape(
        "domainbackup/server",
        &[&[
            maybe("@tls").is(forms::YES_NO),
            one("@socket").is(forms::ABSOLUTE_PATH),
        ]],
    )
    .when(&[("@transport", &["unix"])]),
    shape(
        "domainbackup/server",
        &[&[maybe("@tls").is(forms::YES_NO), one("@fdgroup")]],
    )
    .when(&[("@transport", &["fd"])]),
    shape("domainbackup/disks", &[&[some("disk")]]),
    // Copies that are pushed away.
    shape("disks/disk", &[BACKUP_DISK]).when(&[("../../@mode?", &["push"]), ("@type", ABSENT)]),
    shape("disks/disk", &[BACKUP_DISK, &[maybe("target"), maybe("driver")]]).when(&[
        ("../../@mode?", &["push"]),
        ("@type", &["file", "block"]),
        ("@backup?", &["yes"]),
    ]),
    shape("disk/target", &[STORE, &[one("@file").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type?", &["file"])]),
    shape("disk/target", &[STORE, &[one("@dev").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["block"])]),
    shape("disk/driver", &[&[one("@type").is(IMAGE_FORMAT)]]).when(&[("../../../@mode?", &["push"])]),
    // Copies that others read.
    shape("disks/disk", &[BACKUP_DISK, EXPORT]).when(&[
        ("../../@mode", &["pull"]),
        ("@type", ABSENT),
        ("scratch", ABSENT),
    ]),
    shape(
        "disks/disk",
        &[BACKUP_DISK, EXPORT, &[maybe("scratch"), maybe("driver")]],
    )
    .when(&[
        ("../../@mode", &["pull"]),
        ("@type?", &["file"]),
        ("@backup?", &["yes"]),
    ]),
    shape(
        "disks/disk",
        &[BACKUP_DISK, EXPORT, &[one("scratch"), maybe("driver")]],
    )
    .when(&[
        ("../../@mode", &["pull"]),
        ("@type", &["block"]),
        ("@backup?", &["yes"]),
    ]),
    shape("disk/scratch", &[STORE, &[one("@file").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type?", &["file"])]),
    shape("disk/scratch", &[STORE, &[one("@dev").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type", &["block"])]),
    shape("disk/driver", &[&[one("@type").is(words!("qcow2"))]]).when(&[("../../../@mode", &["pull"])]),
];

const BACKUP_DISK: &[Part] = &[
    one("@name").is(forms::DISK_TARGET),
    maybe("@backup").is(forms::YES_NO),
    maybe("@backupmode").is(words!("full", "incremental")),
    maybe("@incremental"),
];
const EXPORT: &[Part] = &[maybe("@exportname"), maybe("@exportbitmap")];
const STORE: &[Part] = &[any("seclabel"), maybe("encryption")];

const BACKUP_RULES: &[Rule] = &[
    rule(
        "disks/disk",
        &[("@backupmode", &["full"])],
        Must::NotHave(&["@incremental"]),
    ),
    rule(
        "disks/disk",
        &[("../../@mode", &["pull"]), ("@type", ABSENT)],
        Must::Fit("@backup", words!("no")),
    ),
    rule(
        "disks/disk",
        &[
            ("../../@mode", &["pull"]),
            ("@type", ABSENT),
            ("scratch", PRESENT),
        ],
        Must::NotHave(&["@backup"]),
    ),
    rule(
        "disks/disk",
        &[("../../@mode", &["pull"]), ("scratch", ABSENT)],
        Must::NotHave(&["driver"]),
    ),
    rule("encryption", &[], Must::Fit("@format", words!("luks"))),
    rule("encryption", &[], Must::Fit("@engine", words!("qemu"))),
    rule("encryption", &[], Must::Have(&["secret"])),
    rule("encryption", &[], Must::Once(&["secret"])),
    rule("encryption", &[], Must::InOrder(&[&["cipher"], &["ivgen"]])),
    ENCRYPTION_RULES[0],
    ENCRYPTION_RULES[2],
    ENCRYPTION_RULES[3],
    ENCRYPTION_RULES[4],
];
