//! Snapshots, checkpoints and backups made of the right names and any values: each is read or refused, and what was written
//! once stays as it is. Any text at all does no harm in any format.

use proptest::prelude::*;
use virt_conf::checkpoint::{Checkpoint, CheckpointFormat};
use virt_conf::fuzz::TARGETS;
use virt_conf::snapshot::{Snapshot, SnapshotFlags};
use virt_util::ErrorCode;
use virt_util::xml::XmlFlags;

/// Values of attributes, right and wrong ones.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "vda",
            "vdb",
            "internal",
            "external",
            "manual",
            "no",
            "yes",
            "file",
            "block",
            "network",
            "qcow2",
            "raw",
            "bitmap",
            "full",
            "incremental",
            "1",
            "0",
            "-1",
            "18446744073709551615",
            "/a",
            "shutoff",
            "running",
            "disk-snapshot",
            "",
        ])
        .prop_map(str::to_owned),
        "[a-z0-9/. -]{0,8}",
    ]
}

/// A disk of a snapshot or checkpoint.
fn disk() -> impl Strategy<Value = String> {
    let attributes = prop::sample::subsequence(
        vec![
            "name",
            "snapshot",
            "checkpoint",
            "type",
            "bitmap",
            "size",
            "driver",
        ],
        0..5,
    );
    (attributes, prop::collection::vec(value(), 7), value(), value()).prop_map(
        |(names, values, file, driver)| {
            let attributes: String = names
                .iter()
                .zip(values)
                .map(|(name, value)| format!(" {name}='{value}'"))
                .collect();
            format!("<disk{attributes}><source file='{file}'/><driver type='{driver}'/></disk>")
        },
    )
}

/// What stands in a snapshot or checkpoint.
fn inside() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        value().prop_map(|value| format!("<name>{value}</name>")),
        value().prop_map(|value| format!("<description>{value}</description>")),
        value().prop_map(|value| format!("<state>{value}</state>")),
        value().prop_map(|value| format!("<creationTime>{value}</creationTime>")),
        value().prop_map(|value| format!("<active>{value}</active>")),
        value().prop_map(|value| format!("<parent><name>{value}</name></parent>")),
        (value(), value()).prop_map(|(kind, file)| format!("<memory snapshot='{kind}' file='{file}'/>")),
        prop::collection::vec(disk(), 0..4).prop_map(|disks| format!("<disks>{}</disks>", disks.concat())),
        Just(
            "<domain type='kvm'><name>a</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory>1024</memory>\
             <os><type>hvm</type></os><devices><disk type='file' device='disk'><source file='/a'/>\
             <target dev='vda' bus='virtio'/></disk></devices></domain>"
                .to_owned()
        ),
    ];
    prop::collection::vec(part, 0..7).prop_map(|parts| parts.concat())
}

/// Refusals say what is wrong, with a code that libvirt has for it.
fn is_told(error: &virt_util::VirtError) -> bool {
    let codes = [
        ErrorCode::XML_ERROR,
        ErrorCode::XML_DETAIL,
        ErrorCode::XML_INVALID_SCHEMA,
        ErrorCode::CONFIG_UNSUPPORTED,
        ErrorCode::INVALID_ARG,
        // A moment that was there before must say when it was made.
        ErrorCode::INTERNAL_ERROR,
    ];
    codes.contains(&error.code()) && !error.detail().trim().is_empty()
}

#[test]
fn a_time_of_zero_is_none() {
    let source = "<domaincheckpoint><name>a</name><creationTime>0</creationTime></domaincheckpoint>";
    let error = Checkpoint::parse(source, true, "made").unwrap_err();
    assert!(is_told(&error), "{error:?}");
}

proptest! {
    #[test]
    fn snapshots_stay_as_they_were_written(inside in inside(), redefine in any::<bool>()) {
        let source = format!("<domainsnapshot>{inside}</domainsnapshot>");
        let flags = match redefine {
            true => SnapshotFlags::REDEFINE,
            false => SnapshotFlags::empty(),
        };
        match Snapshot::parse(&source, flags, "made") {
            Err(error) => prop_assert!(is_told(&error), "{error:?}\n{source}"),
            Ok(read) => {
                let first = read.format(XmlFlags::SECURE);
                let again = Snapshot::parse(&first, flags, "made");
                prop_assert!(again.is_ok(), "{again:?}\n{first}");
                let second = again.map(|again| again.format(XmlFlags::SECURE));
                prop_assert_eq!(second.as_deref().ok(), Some(first.as_str()));
            }
        }
    }

    #[test]
    fn checkpoints_stay_as_they_were_written(inside in inside(), redefine in any::<bool>()) {
        let source = format!("<domaincheckpoint>{inside}</domaincheckpoint>");
        match Checkpoint::parse(&source, redefine, "made") {
            Err(error) => prop_assert!(is_told(&error), "{error:?}\n{source}"),
            Ok(read) => {
                let first = read.format(CheckpointFormat::SECURE);
                let again = Checkpoint::parse(&first, redefine, "made");
                prop_assert!(again.is_ok(), "{again:?}\n{first}");
                let second = again.map(|again| again.format(CheckpointFormat::SECURE));
                prop_assert_eq!(second.as_deref().ok(), Some(first.as_str()));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (name, target) in TARGETS {
            for data in [text.as_bytes(), bytes.as_slice()] {
                let survived = std::panic::catch_unwind(|| target(data)).is_ok();
                prop_assert!(survived, "{}", name);
            }
        }
    }
}
