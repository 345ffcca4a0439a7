//! Disks and file systems.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape, some};

use super::super::common::{IMAGE_FORMAT, SCALED, rule};
use super::device::{INFO, VIRTIO, VIRTIO_MODEL};
use super::source::HOLDER;
use crate::forms::{self, TEXT};

const DISK: &[Part] = &[
    maybe("@model").is(VIRTIO_MODEL),
    maybe("@snapshot").is(words!("no", "internal", "external", "manual")),
    maybe("driver"),
    maybe("mirror"),
    maybe("auth"),
    one("target"),
    maybe("boot"),
    maybe("backenddomain"),
    maybe("readonly"),
    maybe("shareable"),
    maybe("transient"),
    maybe("serial").is(forms::DISK_SERIAL),
    maybe("encryption"),
    maybe("throttlefilters"),
    maybe("iotune"),
    maybe("geometry"),
    maybe("blockio"),
    maybe("wwn").is(forms::WWN),
    maybe("vendor").is(forms::DISK_VENDOR),
    maybe("product").is(forms::DISK_PRODUCT),
    maybe("backingStore"),
];
const BACKING: &[Part] = &[
    maybe("@index").is(forms::POSITIVE),
    one("format"),
    maybe("backingStore"),
];
const MIRROR: &[Part] = &[
    maybe("@ready").is(words!("yes", "abort", "pivot")),
    maybe("format"),
    maybe("backingStore"),
];
const CYLINDERS: &[Part] = &[
    one("@cyls").is(forms::INTEGER),
    one("@heads").is(forms::INTEGER),
    one("@secs").is(forms::INTEGER),
    maybe("@trans").is(words!("auto", "none", "lba")),
];

/// Limits of input and output.
const LIMITS: &[Part] = &[
    maybe("total_bytes_sec").is(forms::SPACED_LONG),
    maybe("read_bytes_sec").is(forms::SPACED_LONG),
    maybe("write_bytes_sec").is(forms::SPACED_LONG),
    maybe("total_iops_sec").is(forms::SPACED_LONG),
    maybe("read_iops_sec").is(forms::SPACED_LONG),
    maybe("write_iops_sec").is(forms::SPACED_LONG),
    maybe("total_bytes_sec_max").is(forms::SPACED_LONG),
    maybe("read_bytes_sec_max").is(forms::SPACED_LONG),
    maybe("write_bytes_sec_max").is(forms::SPACED_LONG),
    maybe("total_iops_sec_max").is(forms::SPACED_LONG),
    maybe("read_iops_sec_max").is(forms::SPACED_LONG),
    maybe("write_iops_sec_max").is(forms::SPACED_LONG),
    maybe("size_iops_sec").is(forms::SPACED_LONG),
    maybe("group_name").is(TEXT),
    maybe("total_bytes_sec_max_length").is(forms::SPACED_LONG),
    maybe("read_bytes_sec_max_length").is(forms::SPACED_LONG),
    maybe("write_bytes_sec_max_length").is(forms::SPACED_LONG),
    maybe("total_iops_sec_max_length").is(forms::SPACED_LONG),
    maybe("read_iops_sec_max_length").is(forms::SPACED_LONG),
    maybe("write_iops_sec_max_length").is(forms::SPACED_LONG),
];

/// Disks, and limits that several of them share.
pub(in super::super) const SHAPES: &[Shape] = &[
    shape("disk", &[DISK, INFO, HOLDER]).when(&[("@device?", &["floppy", "disk", "cdrom"])]),
    shape(
        "disk",
        &[
            DISK,
            INFO,
            &[
                one("@type").is(words!("network", "block", "volume")),
                maybe("source"),
                maybe("@rawio").is(forms::YES_NO),
                maybe("@sgio").is(words!("filtered", "unfiltered")),
            ],
        ],
    )
    .when(&[("@device", &["lun"])]),
    shape(
        "disk/target",
        &[&[
            one("@dev").is(forms::DISK_TARGET),
            maybe("@bus").is(words!(
                "ide", "fdc", "scsi", "virtio", "xen", "usb", "uml", "sata", "sd"
            )),
            maybe("@tray").is(words!("open", "closed")),
            maybe("@removable").is(forms::ON_OFF),
            maybe("@rotation_rate").is(forms::POSITIVE),
        ]],
    ),
    shape(
        "disk/driver",
        &[
            VIRTIO,
            &[
                maybe("@name").is(forms::GENERIC_NAME),
                maybe("@type").is(IMAGE_FORMAT_OR_AIO),
                maybe("@cache").is(words!(
                    "default",
                    "none",
                    "writeback",
                    "writethrough",
                    "directsync",
                    "unsafe"
                )),
                maybe("@error_policy").is(words!("stop", "report", "ignore", "enospace")),
                maybe("@rerror_policy").is(words!("stop", "report", "ignore")),
                maybe("@io").is(words!("threads", "native", "io_uring")),
                maybe("@ioeventfd").is(forms::ON_OFF),
                maybe("@event_idx").is(forms::ON_OFF),
                maybe("@copy_on_read").is(forms::ON_OFF),
                maybe("@discard").is(words!("unmap", "ignore")),
                maybe("@iothread").is(forms::UNSIGNED_INT),
                maybe("@detect_zeroes").is(words!("off", "on", "unmap")),
                maybe("@discard_no_unref").is(forms::ON_OFF),
                maybe("@queues").is(forms::POSITIVE),
                maybe("@queue_size").is(forms::POSITIVE),
                maybe("metadata_cache"),
                maybe("iothreads"),
            ],
        ],
    ),
    shape("driver/iothreads", &[&[some("iothread")]]),
    shape(
        "iothreads/iothread",
        &[&[one("@id").is(forms::UNSIGNED_INT), any("queue")]],
    ),
    shape("iothread/queue", &[&[one("@id").is(forms::UNSIGNED_INT)]]),
    shape("disk/transient", &[&[maybe("@shareBacking").is(forms::YES_NO)]]),
    shape("disk/throttlefilters", &[&[any("throttlefilter")]]),
    shape("throttlefilter", &[&[one("@group")]]),
    shape("disk/iotune", &[LIMITS]),
    shape("throttlegroups", &[&[any("throttlegroup")]]),
    shape("throttlegroup", &[LIMITS]),
    shape("disk/geometry", &[CYLINDERS]),
    shape(
        "disk/blockio",
        &[&[
            maybe("@logical_block_size").is(forms::INTEGER),
            maybe("@physical_block_size").is(forms::INTEGER),
            maybe("@discard_granularity").is(forms::INTEGER),
        ]],
    ),
    // An empty one ends a chain.
    shape("backingStore", &[]).when(&[
        ("format", ABSENT),
        ("source", ABSENT),
        ("@type", ABSENT),
        ("@index", ABSENT),
    ]),
    shape("backingStore", &[HOLDER, BACKING]).when(&[("format", PRESENT)]),
    shape("backingStore", &[HOLDER, BACKING]).when(&[("format", ABSENT), ("source", PRESENT)]),
    shape("backingStore", &[HOLDER, BACKING]).when(&[
        ("format", ABSENT),
        ("source", ABSENT),
        ("@type", PRESENT),
    ]),
    shape("backingStore", &[HOLDER, BACKING]).when(&[
        ("format", ABSENT),
        ("source", ABSENT),
        ("@type", ABSENT),
        ("@index", PRESENT),
    ]),
    shape(
        "mirror",
        &[
            MIRROR,
            &[
                one("@file").is(forms::ABSOLUTE_PATH),
                maybe("@format").is(IMAGE_FORMAT),
                maybe("@job").is(words!("copy")),
                maybe("@type").is(words!("file")),
                maybe("source"),
            ],
        ],
    )
    .when(&[("@file", PRESENT)]),
    shape(
        "mirror",
        &[MIRROR, HOLDER, &[one("@job").is(words!("copy", "active-commit"))]],
    )
    .when(&[("@file", ABSENT)]),
];

const IMAGE_FORMAT_OR_AIO: Form = words!(
    "raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "fat", "vhd", "ploop", "luks", "cow", "qcow",
    "qcow2", "qed", "vmdk", "aio"
);

const FILESYSTEM: &[Part] = &[
    maybe("@model").is(VIRTIO_MODEL),
    maybe("driver"),
    one("source"),
    one("target"),
    maybe("@accessmode").is(words!("passthrough", "mapped", "squash")),
    maybe("@multidevs").is(words!("default", "remap", "forbid", "warn")),
    maybe("@fmode").is(forms::CREATE_MODE),
    maybe("@dmode").is(forms::CREATE_MODE),
    maybe("readonly"),
    maybe("boot"),
    maybe("space_hard_limit"),
    maybe("space_soft_limit"),
];

/// File systems of the host in the guest.
pub(in super::super) const FILESYSTEMS: &[Shape] = &[
    shape("filesystem", &[FILESYSTEM, INFO])
        .when(&[("@type", &["file", "block", "bind", "template", "ram"])]),
    shape(
        "filesystem",
        &[FILESYSTEM, INFO, &[maybe("binary"), maybe("idmap")]],
    )
    .when(&[("@type?", &["mount"])]),
    shape("filesystem/source", &[&[one("@file").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["file"])]),
    shape("filesystem/source", &[&[one("@dev").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["block"])]),
    shape("filesystem/source", &[&[one("@socket").is(forms::ABSOLUTE_PATH)]])
        .when(&[("../@type?", &["mount"]), ("@socket", PRESENT)]),
    shape("filesystem/source", &[&[one("@dir").is(forms::ABSOLUTE_FOLDER)]])
        .when(&[("../@type?", &["mount"]), ("@socket", ABSENT)]),
    shape("filesystem/source", &[&[one("@dir").is(forms::ABSOLUTE_FOLDER)]]).when(&[("../@type", &["bind"])]),
    shape("filesystem/source", &[&[one("@name").is(forms::GENERIC_NAME)]])
        .when(&[("../@type", &["template"])]),
    shape(
        "filesystem/source",
        &[&[
            one("@usage").is(forms::UNSIGNED_LONG),
            maybe("@units").is(forms::UNIT),
        ]],
    )
    .when(&[("../@type", &["ram"])]),
    shape("filesystem/target", &[&[one("@dir")]]),
    shape("space_hard_limit", &[SCALED]),
    shape("space_soft_limit", &[SCALED]),
    shape(
        "filesystem/driver",
        &[
            VIRTIO,
            &[
                maybe("@format").is(IMAGE_FORMAT),
                maybe("@wrpolicy").is(words!("immediate")),
            ],
        ],
    )
    .when(&[("@type?", &["path", "handle", "loop", "nbd", "ploop"])]),
    shape(
        "filesystem/driver",
        &[VIRTIO, &[maybe("@queue").is(forms::UNSIGNED_INT)]],
    )
    .when(&[("@type", &["virtiofs"])]),
    shape("filesystem/driver", &[]).when(&[("@type", &["mtp"])]),
    shape(
        "binary",
        &[&[
            maybe("@path").is(forms::ABSOLUTE_PATH),
            maybe("@xattr").is(forms::ON_OFF),
            maybe("cache"),
            maybe("sandbox"),
            maybe("lock"),
            maybe("thread_pool"),
            maybe("openfiles"),
        ]],
    ),
    shape("binary/cache", &[&[maybe("@mode").is(words!("none", "always"))]]),
    shape(
        "binary/sandbox",
        &[&[maybe("@mode").is(words!("namespace", "chroot"))]],
    ),
    shape(
        "binary/lock",
        &[&[
            maybe("@posix").is(forms::ON_OFF),
            maybe("@flock").is(forms::ON_OFF),
        ]],
    ),
    shape("binary/thread_pool", &[&[maybe("@size").is(forms::INTEGER)]]),
    shape("binary/openfiles", &[&[maybe("@max").is(forms::POSITIVE)]]),
];

pub(in super::super) const RULES: &[Rule] = &[
    rule("disk", NOT_EMPTY, Must::Have(&["source"])),
    rule("backingStore", NOT_EMPTY, Must::Have(&["source"])),
    rule("mirror", NOT_EMPTY, Must::Have(&["source"])),
    rule("disk", &[], Must::NotBoth(&["throttlefilters", "iotune"])),
    limits(
        "disk/iotune",
        "total_bytes_sec",
        &["read_bytes_sec", "write_bytes_sec"],
    ),
    limits(
        "disk/iotune",
        "total_iops_sec",
        &["read_iops_sec", "write_iops_sec"],
    ),
    limits(
        "disk/iotune",
        "total_bytes_sec_max",
        &["read_bytes_sec_max", "write_bytes_sec_max"],
    ),
    limits(
        "disk/iotune",
        "total_iops_sec_max",
        &["read_iops_sec_max", "write_iops_sec_max"],
    ),
    limits(
        "disk/iotune",
        "total_bytes_sec_max_length",
        &["read_bytes_sec_max_length", "write_bytes_sec_max_length"],
    ),
    limits(
        "disk/iotune",
        "total_iops_sec_max_length",
        &["read_iops_sec_max_length", "write_iops_sec_max_length"],
    ),
    limits(
        "throttlegroup",
        "total_bytes_sec",
        &["read_bytes_sec", "write_bytes_sec"],
    ),
    limits(
        "throttlegroup",
        "total_iops_sec",
        &["read_iops_sec", "write_iops_sec"],
    ),
    limits(
        "throttlegroup",
        "total_bytes_sec_max",
        &["read_bytes_sec_max", "write_bytes_sec_max"],
    ),
    limits(
        "throttlegroup",
        "total_iops_sec_max",
        &["read_iops_sec_max", "write_iops_sec_max"],
    ),
    limits(
        "throttlegroup",
        "total_bytes_sec_max_length",
        &["read_bytes_sec_max_length", "write_bytes_sec_max_length"],
    ),
    limits(
        "throttlegroup",
        "total_iops_sec_max_length",
        &["read_iops_sec_max_length", "write_iops_sec_max_length"],
    ),
];

const NOT_EMPTY: &[(&str, &[&str])] = &[("@type", &["network", "vhostuser", "vhostvdpa"])];
/// A limit of all excludes those of one direction.
const fn limits(element: &'static str, total: &'static str, one_way: &'static [&'static str]) -> Rule {
    rule(element, &[], Must::Excludes(total, one_way))
}
