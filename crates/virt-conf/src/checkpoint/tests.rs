use super::*;
use crate::domain::storage::StorageLocation;

fn domain() -> Domain {
    let mut domain = Domain::default();
    for (target, path, read_only) in [
        ("vda", Some("/a"), false),
        ("vdb", Some("/b"), true),
        ("vdc", None, false),
        ("vdd", Some("/d"), false),
    ] {
        let mut disk = crate::domain::disk::Disk::default();
        target.clone_into(&mut disk.target.dev);
        disk.rest.read_only = read_only;
        disk.source.location = StorageLocation::File {
            path: path.map(str::to_owned),
            fd_group: None,
        };
        domain.devices.disks.push(disk);
    }
    domain
}

fn aligned(source: &str) -> Result<String> {
    let mut checkpoint = Checkpoint::parse(source, false, "c")?;
    checkpoint.complete(5);
    checkpoint.domain = MomentDomain::Definition(Box::new(domain()));
    checkpoint.align_disks()?;
    Ok(checkpoint.format(CheckpointFormat::NO_DOMAIN))
}

#[test]
fn all_that_can_change_take_part() {
    let text = aligned("<domaincheckpoint/>").unwrap();
    assert_eq!(
        text.matches("checkpoint='bitmap' bitmap='5'").count(),
        2,
        "{text}"
    );
    let text = aligned("<domaincheckpoint><disks><disk name='/d'/></disks></domaincheckpoint>").unwrap();
    assert!(
        text.contains("<disk name='vdd' checkpoint='bitmap' bitmap='5'/>"),
        "{text}"
    );
    assert!(text.contains("<disk name='vda' checkpoint='no'/>"), "{text}");
}

#[test]
fn what_the_schema_refuses() {
    for inside in [
        "<name>a/b</name>",
        "<name>.a</name>",
        "<disks/>",
        "<disks><disk/></disks>",
        "<disks><disk name='vda' checkpoint='yes'/></disks>",
        "<disks><disk name='vda' checkpoint='no' bitmap='x'/></disks>",
        "<active>1</active>",
    ] {
        let error = aligned(&format!("<domaincheckpoint>{inside}</domaincheckpoint>")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA, "{inside}: {error}");
    }
}

#[test]
fn drives_that_cannot_change() {
    for name in ["vdb", "vdc"] {
        let source = format!("<domaincheckpoint><disks><disk name='{name}'/></disks></domaincheckpoint>");
        assert!(
            aligned(&source)
                .unwrap_err()
                .message()
                .contains("is empty or read-only")
        );
    }
}
