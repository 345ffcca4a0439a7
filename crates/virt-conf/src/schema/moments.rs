//! The schemas of snapshots, checkpoints and backups of domains. Definitions of domains inside are asked apart.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{DEVICE_LABEL, ENCRYPTION, ENCRYPTION_RULES, IMAGE_FORMAT, RECONNECT, SCALED, rule};
use crate::forms::{self, TEXT};

/// Checkpoints.
pub(super) const CHECKPOINT: Table = Table {
    shapes: &[&[
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
        shape("domaincheckpoint/domain", &[&[maybe("*")]]),
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
    ]],
    rules: &[],
    namespaces: &[],
};

/// Snapshots.
pub(super) const SNAPSHOT: Table = Table {
    shapes: &[
        SNAPSHOT_SHAPES,
        SOURCE_SHAPES,
        NETWORK_SOURCE_SHAPES,
        RECONNECT,
        DEVICE_LABEL,
        ENCRYPTION,
    ],
    rules: SOURCE_RULES,
    namespaces: &[],
};

/// Backups.
pub(super) const BACKUP: Table = Table {
    shapes: &[BACKUP_SHAPES, DEVICE_LABEL, ENCRYPTION],
    rules: BACKUP_RULES,
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
    shape("domainsnapshot/domain", &[&[maybe("*")]]).when(&[("@type", PRESENT)]),
    shape("domainsnapshot/domain", &[&[one("uuid").is(forms::UUID)]]).when(&[("@type", ABSENT)]),
    shape("domainsnapshot/inactiveDomain", &[&[maybe("*")]]),
    shape("domainsnapshot/cookie", &[&[maybe("*")]]),
    shape("domainsnapshot/parent", &[&[one("name").is(TEXT)]]),
    shape("domainsnapshot/memory", &[]).when(&[("@snapshot", &["no", "internal"])]),
    shape(
        "domainsnapshot/memory",
        &[&[one("@file").is(forms::ABSOLUTE_PATH)]],
    )
    .when(&[("@snapshot?", &["external"])]),
    shape("domainsnapshot/disks", &[&[any("disk")]]),
    shape("domainsnapshot/revertDisks", &[&[any("disk")]]),
    shape("disk", &[DISK_NAME]).when(&[("@snapshot", &["no", "internal", "manual"])]),
    shape(
        "disk",
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
    shape("disk", &[DISK_NAME, &[one("source")]])
        .when(&[("@snapshot?", &["external"]), ("@type", &["network"])]),
    shape("disk/snapshotDeleteInProgress", &[]),
    shape(
        "disk/driver",
        &[&[
            maybe("@type").is(words!("cow", "qcow", "qcow2", "qed", "vmdk")),
            maybe("metadata_cache"),
        ]],
    ),
    shape("driver/metadata_cache", &[&[maybe("max_size")]]),
    shape("metadata_cache/max_size", &[SCALED]),
];

const DISK_NAME: &[Part] = &[one("@name").is(forms::DISK_NAME)];

/// What every source of a disk may have.
const SOURCE: &[Part] = &[
    maybe("@index").is(forms::POSITIVE),
    maybe("slices"),
    maybe("dataStore"),
    maybe("privateData"),
];
const LOCAL: &[Part] = &[any("seclabel"), maybe("encryption")];

const SOURCE_SHAPES: &[Shape] = &[
    shape(
        "disk/source",
        &[SOURCE, LOCAL, &[maybe("@file").is(forms::ABSOLUTE_PATH)]],
    )
    .when(&[("../@type?", &["file"])]),
    shape(
        "disk/source",
        &[SOURCE, LOCAL, &[one("@dev").is(forms::ABSOLUTE_PATH)]],
    )
    .when(&[("../@type", &["block"])]),
    shape("source/slices", &[&[one("slice")]]),
    shape(
        "slices/slice",
        &[&[
            one("@type").is(words!("storage")),
            one("@offset").is(forms::UNSIGNED_INT),
            one("@size").is(forms::POSITIVE),
        ]],
    ),
    shape("source/privateData", &[&[maybe("*")]]),
    shape("source/dataStore", &[&[maybe("*")]]),
];

/// Read ahead, and how long to wait.
const PROPERTIES: &[Part] = &[maybe("readahead"), maybe("timeout")];
const COOKIES: &[Part] = &[maybe("@query"), maybe("cookies"), maybe("auth")];
const TLS_VERIFY: &[Part] = &[maybe("ssl")];
const ONE_HOST: &[Part] = &[one("host")];
const NAMED: &[Part] = &[one("@name")];
const ENCRYPTED: &[Part] = &[maybe("encryption")];

const NETWORK_SOURCE_SHAPES: &[Shape] = &[
    shape(
        "disk/source",
        &[
            SOURCE,
            ENCRYPTED,
            &[
                maybe("@name"),
                any("host"),
                maybe("snapshot"),
                maybe("config"),
                maybe("auth"),
            ],
        ],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["rbd"])]),
    shape(
        "disk/source",
        &[
            SOURCE,
            ENCRYPTED,
            NAMED,
            ONE_HOST,
            &[maybe("auth"), maybe("initiator")],
        ],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["iscsi"])]),
    shape(
        "disk/source",
        &[SOURCE, ENCRYPTED, NAMED, ONE_HOST, COOKIES, PROPERTIES],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["http"])]),
    shape(
        "disk/source",
        &[
            SOURCE, ENCRYPTED, NAMED, ONE_HOST, COOKIES, PROPERTIES, TLS_VERIFY,
        ],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["https"])]),
    shape(
        "disk/source",
        &[SOURCE, ENCRYPTED, NAMED, ONE_HOST, PROPERTIES, TLS_VERIFY],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["ftps"])]),
    shape("disk/source", &[SOURCE, ENCRYPTED, NAMED, ONE_HOST, PROPERTIES]).when(&[
        ("../@type", &["network"]),
        ("@protocol", &["ftp", "sheepdog", "tftp"]),
    ]),
    shape(
        "disk/source",
        &[
            SOURCE,
            ENCRYPTED,
            NAMED,
            ONE_HOST,
            PROPERTIES,
            &[maybe("knownHosts"), maybe("identity"), maybe("auth")],
        ],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["ssh"])]),
    shape(
        "disk/source",
        &[
            SOURCE,
            ENCRYPTED,
            ONE_HOST,
            &[
                maybe("@name"),
                maybe("@tls").is(forms::YES_NO),
                maybe("@tlsHostname"),
                maybe("reconnect"),
            ],
        ],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["nbd"])]),
    shape("disk/source", &[SOURCE, ENCRYPTED, NAMED, &[some("host")]])
        .when(&[("../@type", &["network"]), ("@protocol", &["gluster"])]),
    shape(
        "disk/source",
        &[SOURCE, NAMED, ONE_HOST, &[maybe("@tls").is(forms::YES_NO)]],
    )
    .when(&[("../@type", &["network"]), ("@protocol", &["vxhs"])]),
    shape("disk/source", &[SOURCE, NAMED, ONE_HOST, &[maybe("identity")]])
        .when(&[("../@type", &["network"]), ("@protocol", &["nfs"])]),
    shape(
        "source/host",
        &[&[
            one("@name").is(forms::HOST),
            maybe("@port").is(forms::UNSIGNED_INT),
        ]],
    )
    .when(&[("@transport?", &["tcp", "rdma"])]),
    shape("source/host", &[&[one("@socket").is(forms::ABSOLUTE_PATH)]]).when(&[("@transport", &["unix"])]),
    shape("source/snapshot", &[&[one("@name").is(forms::GENERIC_NAME)]]),
    shape("source/config", &[&[one("@file").is(forms::ABSOLUTE_PATH)]]),
    shape(
        "source/auth",
        &[&[one("@username").is(forms::GENERIC_NAME), one("secret")]],
    ),
    shape(
        "auth/secret",
        &[&[
            one("@type").is(words!("ceph", "iscsi")),
            maybe("@uuid").is(forms::UUID),
            maybe("@usage").is(forms::OBJECT_NAME),
        ]],
    ),
    shape("source/initiator", &[&[one("iqn")]]),
    shape("initiator/iqn", &[&[one("@name")]]),
    shape("source/readahead", &[&[one("@size").is(forms::POSITIVE)]]),
    shape("source/timeout", &[&[one("@seconds").is(forms::POSITIVE)]]),
    shape("source/ssl", &[&[one("@verify").is(forms::YES_NO)]]),
    shape("source/cookies", &[&[some("cookie")]]),
    shape(
        "cookies/cookie",
        &[&[one("@name").is(forms::NOT_EMPTY), one("text()").is(TEXT)]],
    ),
    shape("source/knownHosts", &[&[one("@path").is(forms::ABSOLUTE_PATH)]]),
    shape(
        "source/identity",
        &[&[
            one("@username").is(forms::GENERIC_NAME),
            maybe("@keyfile").is(forms::ABSOLUTE_PATH),
            maybe("@agentsock").is(forms::ABSOLUTE_PATH),
        ]],
    )
    .when(&[("../@protocol", &["ssh"])]),
    shape(
        "source/identity",
        &[&[
            maybe("@user").is(forms::GENERIC_NAME),
            maybe("@group").is(forms::GENERIC_NAME),
        ]],
    )
    .when(&[("../@protocol", &["nfs"])]),
];

const SOURCE_RULES: &[Rule] = &[
    ENCRYPTION_RULES[0],
    ENCRYPTION_RULES[1],
    ENCRYPTION_RULES[2],
    ENCRYPTION_RULES[3],
    ENCRYPTION_RULES[4],
    rule("auth/secret", &[], Must::HaveOneOf(&["@uuid", "@usage"])),
    rule("auth/secret", &[], Must::NotBoth(&["@uuid", "@usage"])),
    rule(
        "source/identity",
        &[("../@protocol", &["ssh"])],
        Must::HaveOneOf(&["@keyfile", "@agentsock"]),
    ),
    rule("source/identity", &[], Must::NotBoth(&["@keyfile", "@agentsock"])),
    rule("disk/source", &[], Must::NotBoth(&["identity", "auth"])),
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
    ENCRYPTION_RULES[0],
    ENCRYPTION_RULES[2],
    ENCRYPTION_RULES[3],
    ENCRYPTION_RULES[4],
];
