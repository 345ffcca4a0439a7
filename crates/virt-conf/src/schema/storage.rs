//! The schemas of storage pools, of what pools can do, and of volumes.

use virt_util::uri::Uri;
use virt_util::words;
use virt_util::xml::rules::{Form, Must, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{ENCRYPTION, ENCRYPTION_RULES, FIBRE_CHANNEL_ADAPTER, PERMISSIONS, SCALED, rule};
use crate::forms::{self, TEXT};

/// Storage pools.
pub(super) const POOL: Table = Table {
    shapes: &[POOL_SHAPES, PERMISSIONS],
    rules: &[POOL_RULES],
    namespaces: &[
        ("fs", "http://libvirt.org/schemas/storagepool/fs/1.0"),
        ("rbd", "http://libvirt.org/schemas/storagepool/rbd/1.0"),
    ],
};

/// Storage volumes.
pub(super) const VOLUME: Table = Table {
    shapes: &[VOLUME_SHAPES, PERMISSIONS, ENCRYPTION],
    rules: &[&ENCRYPTION_RULES],
    namespaces: &[],
};

/// What kinds of pools there are.
pub(super) const POOL_CAPABILITIES: Table = Table {
    shapes: &[&[
        shape("storagepoolCapabilities", &[&[any("pool")]]),
        shape(
            "storagepoolCapabilities/pool",
            &[&[
                one("@type"),
                one("@supported").is(forms::YES_NO),
                maybe("poolOptions"),
                maybe("volOptions"),
            ]],
        )
        .in_order(),
        shape("poolOptions", &[&[maybe("defaultFormat"), any("enum")]]).in_order(),
        shape("volOptions", &[&[one("defaultFormat"), any("enum")]]).in_order(),
        shape("defaultFormat", &[&[one("@type")]]),
        shape("enum", &[&[one("@name"), any("value").is(TEXT)]]),
    ]],
    rules: &[],
    namespaces: &[],
};

/// Parts of every pool but its name.
const POOL_PARTS: &[Part] = &[
    maybe("uuid").is(forms::UUID),
    maybe("capacity"),
    maybe("allocation"),
    maybe("available"),
    maybe("features"),
];
const NAMED: &[Part] = &[one("name").is(forms::OBJECT_NAME)];
const NAMED_BY_SOURCE: &[Part] = &[maybe("name").is(forms::OBJECT_NAME)];
const TARGET: &[Part] = &[one("target")];

/// Who made the storage.
const MAKER: &[Part] = &[maybe("vendor"), maybe("product")];

/// Where servers' storage is.
const HOSTS: &[Part] = &[some("host")];

const ISCSI_NAME: Form = Form {
    says: "an iSCSI name such as 'iqn.2013-06.com.example:pool'",
    fits: is_iscsi_name,
};

const DEVICE: Form = Form {
    says: "an absolute path, a name, or an iSCSI name",
    fits: |text| (forms::ABSOLUTE_PATH.fits)(text) || (forms::GENERIC_NAME.fits)(text) || is_iscsi_name(text),
};

const FILE_SYSTEM: Form = words!(
    "auto", "ext2", "ext3", "ext4", "ufs", "iso9660", "udf", "gfs", "gfs2", "vfat", "hfs+", "xfs", "ocfs2",
    "vmfs"
);

const POOL_SHAPES: &[Shape] = &[
    shape("pool", &[NAMED, POOL_PARTS, TARGET, &[maybe("source")]]).when(&[("@type", &["dir", "mpath"])]),
    shape(
        "pool",
        &[
            NAMED,
            POOL_PARTS,
            TARGET,
            &[one("source"), maybe("fs:mount_opts")],
        ],
    )
    .when(&[("@type", &["fs", "netfs"])]),
    shape("pool", &[NAMED, POOL_PARTS, TARGET, &[one("source")]])
        .when(&[("@type", &["disk", "iscsi", "scsi"])]),
    shape("pool", &[NAMED, POOL_PARTS, &[one("source")]]).when(&[("@type", &["iscsi-direct"])]),
    shape("pool", &[NAMED_BY_SOURCE, POOL_PARTS, TARGET, &[one("source")]])
        .when(&[("@type", &["logical", "vstorage"])]),
    shape(
        "pool",
        &[
            NAMED_BY_SOURCE,
            POOL_PARTS,
            &[one("source"), maybe("refresh"), maybe("rbd:config_opts")],
        ],
    )
    .when(&[("@type", &["rbd"])]),
    shape("pool", &[NAMED_BY_SOURCE, POOL_PARTS, &[one("source")]])
        .when(&[("@type", &["sheepdog", "gluster"])]),
    shape(
        "pool",
        &[NAMED_BY_SOURCE, POOL_PARTS, &[one("source"), maybe("target")]],
    )
    .when(&[("@type", &["zfs"])]),
    shape("pool/capacity", &[SCALED]),
    shape("pool/allocation", &[SCALED]),
    shape("pool/available", &[SCALED]),
    shape("pool/features", &[&[maybe("cow")]]),
    shape("features/cow", &[&[one("@state").is(forms::YES_NO)]]),
    shape(
        "pool/target",
        &[&[maybe("path").is(forms::ABSOLUTE_PATH), maybe("permissions")]],
    )
    .when(&[("../@type", &["logical"])]),
    shape(
        "pool/target",
        &[&[one("path").is(forms::ABSOLUTE_PATH), maybe("permissions")]],
    )
    .when(&[(
        "../@type",
        &[
            "dir", "fs", "netfs", "disk", "iscsi", "scsi", "mpath", "zfs", "vstorage",
        ],
    )]),
    shape("pool/refresh", &[&[maybe("volume")]]),
    shape(
        "refresh/volume",
        &[&[maybe("@allocation").is(words!("default", "capacity"))]],
    ),
    shape("fs:mount_opts", &[&[any("fs:option")]]),
    shape("fs:option", &[&[one("@name")]]),
    shape("rbd:config_opts", &[&[any("rbd:option")]]),
    shape("rbd:option", &[&[one("@name"), one("@value")]]),
    // Sources.
    shape("pool/source", &[MAKER]).when(&[("../@type", &["dir"])]),
    shape("pool/source", &[]).when(&[("../@type", &["mpath"])]),
    shape("pool/source", &[&[one("device"), maybe("format")], MAKER]).when(&[("../@type", &["fs", "disk"])]),
    shape(
        "pool/source",
        &[HOSTS, &[one("dir"), maybe("format"), maybe("protocol")], MAKER],
    )
    .when(&[("../@type", &["netfs"]), ("format@type?", &["auto", "nfs"])]),
    shape("pool/source", &[HOSTS, &[one("dir"), one("format")], MAKER])
        .when(&[("../@type", &["netfs"]), ("format@type", &["cifs", "glusterfs"])]),
    shape(
        "pool/source",
        &[&[any("name").is(TEXT), any("device"), maybe("format")], MAKER],
    )
    .when(&[("../@type", &["logical"])]),
    shape(
        "pool/source",
        &[HOSTS, &[one("device"), maybe("initiator"), maybe("auth")], MAKER],
    )
    .when(&[("../@type", &["iscsi"])]),
    shape(
        "pool/source",
        &[HOSTS, &[one("device"), one("initiator"), maybe("auth")]],
    )
    .when(&[("../@type", &["iscsi-direct"])]),
    shape("pool/source", &[&[one("adapter")], MAKER]).when(&[("../@type", &["scsi"])]),
    shape("pool/source", &[HOSTS, &[one("name").is(TEXT), maybe("auth")]]).when(&[("../@type", &["rbd"])]),
    shape("pool/source", &[HOSTS, &[one("name").is(TEXT)]]).when(&[("../@type", &["sheepdog"])]),
    shape("pool/source", &[HOSTS, &[one("name").is(TEXT), maybe("dir")]]).when(&[("../@type", &["gluster"])]),
    shape("pool/source", &[&[one("name").is(TEXT), maybe("device")]]).when(&[("../@type", &["zfs"])]),
    shape("pool/source", &[&[one("name").is(TEXT)]]).when(&[("../@type", &["vstorage"])]),
    shape("source/vendor", &[&[one("@name")]]),
    shape("source/product", &[&[one("@name")]]),
    shape("format/vendor", &[&[one("@name")]]),
    shape("format/product", &[&[one("@name")]]),
    shape(
        "source/host",
        &[&[one("@name").is(forms::HOST), maybe("@port").is(forms::PORT)]],
    ),
    shape(
        "source/device",
        &[&[
            one("@path").is(DEVICE),
            maybe("@part_separator").is(forms::YES_NO),
            any("freeExtent"),
        ]],
    )
    .when(&[("../../@type", &["fs", "logical", "disk", "iscsi", "zfs"])]),
    shape("source/device", &[&[one("@path").is(ISCSI_NAME)]]).when(&[("../../@type", &["iscsi-direct"])]),
    shape(
        "device/freeExtent",
        &[&[
            one("@start").is(forms::UNSIGNED_LONG),
            one("@end").is(forms::UNSIGNED_LONG),
        ]],
    ),
    shape("source/dir", &[&[one("@path").is(forms::NOT_EMPTY)]])
        .when(&[("../format@type", &["cifs", "glusterfs"])]),
    shape("source/dir", &[&[one("@path").is(forms::ABSOLUTE_FOLDER)]])
        .when(&[("../format@type?", &["auto", "nfs"])]),
    shape("source/protocol", &[&[one("@ver")]]),
    shape("source/initiator", &[&[one("iqn")]]),
    shape("initiator/iqn", &[&[one("@name")]]),
    shape(
        "source/auth",
        &[&[
            one("@type").is(words!("chap", "ceph")),
            one("@username"),
            one("secret"),
        ]],
    ),
    shape("auth/secret", &[&[maybe("@uuid"), maybe("@usage")]]),
    shape("source/format", &[&[one("@type").is(FILE_SYSTEM)]]).when(&[("../../@type", &["fs"])]),
    shape(
        "source/format",
        &[&[one("@type").is(words!("auto", "nfs", "cifs", "glusterfs"))]],
    )
    .when(&[("../../@type", &["netfs"])]),
    shape(
        "source/format",
        &[
            &[one("@type").is(words!(
                "unknown", "dos", "dvh", "gpt", "mac", "bsd", "pc98", "sun", "lvm2"
            ))],
            MAKER,
        ],
    )
    .when(&[("../../@type", &["disk"])]),
    shape(
        "source/format",
        &[&[one("@type").is(words!("unknown", "lvm2"))], MAKER],
    )
    .when(&[("../../@type", &["logical"])]),
    // Adapters.
    shape("source/adapter", &[&[maybe("@name"), maybe("parentaddr")]]).when(&[("@type?", &["scsi_host"])]),
    shape("source/adapter", &[FIBRE_CHANNEL_ADAPTER]).when(&[("@type", &["fc_host"])]),
    shape(
        "adapter/parentaddr",
        &[&[maybe("@unique_id").is(forms::POSITIVE), one("address")]],
    ),
    shape("parentaddr/address", &[super::common::PCI_ADDRESS]),
];

const POOL_RULES: &[Rule] = &[
    rule("auth/secret", &[], Must::HaveOneOf(&["@uuid", "@usage"])),
    rule("auth/secret", &[], Must::NotBoth(&["@uuid", "@usage"])),
    rule(
        "source/adapter",
        &[("@type?", &["scsi_host"])],
        Must::HaveOneOf(&["@name", "parentaddr"]),
    ),
    rule("source/adapter", &[], Must::NotBoth(&["@name", "parentaddr"])),
];

fn is_iscsi_name(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("iqn.") else {
        return false;
    };
    let (date, rest) = rest.split_at_checked(7).unwrap_or_default();
    let (year, month) = date.split_once('-').unwrap_or_default();
    let Some(authority) = rest.strip_prefix('.') else {
        return false;
    };
    let (authority, ours) = match authority.split_once(':') {
        Some((authority, ours)) => (authority, Some(ours)),
        None => (authority, None),
    };
    year.len() == 4
        && year.bytes().all(|byte| byte.is_ascii_digit())
        && month.len() == 2
        && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month))
        && (forms::DNS_NAME.fits)(authority)
        && ours.is_none_or(|ours| !ours.is_empty())
}

const VOLUME_SHAPES: &[Shape] = &[
    shape(
        "volume",
        &[&[
            maybe("@type").is(words!("file", "block", "dir", "network", "netdir")),
            one("name").is(forms::VOLUME_NAME),
            maybe("key").is(TEXT),
            maybe("source"),
            maybe("capacity"),
            maybe("allocation"),
            maybe("physical"),
            one("target"),
            maybe("backingStore"),
        ]],
    ),
    shape("volume/capacity", &[SCALED]),
    shape("volume/allocation", &[SCALED]),
    shape("volume/physical", &[SCALED]),
    shape("volume/source", &[&[any("device")]]),
    shape(
        "source/device",
        &[&[one("@path").is(forms::ABSOLUTE_PATH), any("extent")]],
    ),
    shape(
        "device/extent",
        &[&[
            one("@start").is(forms::UNSIGNED_LONG),
            one("@end").is(forms::UNSIGNED_LONG),
        ]],
    ),
    shape(
        "volume/target",
        &[
            &[
                maybe("path").is(PATH_OR_URI),
                maybe("encryption"),
                maybe("compat").is(COMPAT),
                maybe("nocow"),
                maybe("clusterSize"),
                maybe("features"),
            ],
            FILE_PARTS,
        ],
    ),
    shape(
        "volume/backingStore",
        &[&[one("path").is(forms::ABSOLUTE_PATH)], FILE_PARTS],
    ),
    shape("target/nocow", &[]),
    shape("target/clusterSize", &[SCALED]),
    shape(
        "target/features",
        &[&[maybe("lazy_refcounts"), maybe("extended_l2")]],
    ),
    shape("features/lazy_refcounts", &[]),
    shape("features/extended_l2", &[]),
    shape("format", &[&[one("@type").is(VOLUME_FORMAT)]]),
    shape(
        "timestamps",
        &[&[
            maybe("atime").is(TIMESTAMP),
            maybe("btime").is(TIMESTAMP),
            maybe("ctime").is(TIMESTAMP),
            maybe("mtime").is(TIMESTAMP),
        ]],
    ),
];

/// What a volume's file and the one behind it have.
const FILE_PARTS: &[Part] = &[maybe("format"), maybe("permissions"), maybe("timestamps")];

const PATH_OR_URI: Form = Form {
    says: "a path or a URI",
    fits: |text| (forms::ABSOLUTE_PATH.fits)(text) || is_uri(text),
};

const COMPAT: Form = Form {
    says: "two numbers with a dot between",
    fits: |text| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.split_once('.')
            .is_some_and(|(major, minor)| number(major) && number(minor))
    },
};

const TIMESTAMP: Form = Form {
    says: "seconds, with up to nine digits of a fraction",
    fits: |text| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        !seconds.is_empty() && digits(seconds) && digits(fraction) && fraction.len() <= 9
    },
};

const VOLUME_FORMAT: Form = Form {
    says: "a format of volumes, such as 'raw' or 'qcow2'",
    fits: |text| {
        let partition = words!(
            "none",
            "unknown",
            "linux",
            "fat16",
            "fat32",
            "linux-swap",
            "linux-lvm",
            "linux-raid",
            "extended"
        );
        (super::common::IMAGE_FORMAT.fits)(text) || (FILE_SYSTEM.fits)(text) || (partition.fits)(text)
    },
};

/// Whether a schema processor takes the text for a URI: relative ones count, white space around does not.
fn is_uri(text: &str) -> bool {
    // Some characters are replaced before the text is looked at.
    let replaced = |c: char| !c.is_ascii_graphic() || "<>\"{}|\\^`".contains(c);
    Uri::parse(&text.trim_ascii().replace(replaced, "_")).is_ok()
}
