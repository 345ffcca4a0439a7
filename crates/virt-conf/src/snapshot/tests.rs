use super::*;
use crate::domain::disk::Disk;

fn drive(target: &str, path: Option<&str>) -> Disk {
    let mut disk = Disk::default();
    target.clone_into(&mut disk.target.dev);
    disk.source.location = StorageLocation::File {
        path: path.map(str::to_owned),
        fd_group: None,
    };
    disk
}

fn domain() -> Domain {
    let mut domain = Domain::default();
    domain.devices.disks = vec![
        drive("vda", Some("/images/a.qcow2")),
        drive("vdb", Some("/images/b")),
        drive("sda", None),
    ];
    domain
}

fn external() -> Alignment {
    Alignment {
        default: SnapshotLocation::External,
        uniform_internal: false,
        force_default: false,
    }
}

fn snapshot(disks: &str) -> Snapshot {
    let source = format!("<domainsnapshot><name>s1</name><disks>{disks}</disks></domainsnapshot>");
    Snapshot::parse(&source, SnapshotFlags::empty(), "s").unwrap()
}

#[test]
fn every_drive_takes_part() {
    let mut snapshot = snapshot("<disk name='/images/b' snapshot='no'/>");
    snapshot
        .align_disks(Some(&domain()), external(), &|_| true)
        .unwrap();
    assert_eq!(
        snapshot.format(XmlFlags::empty()),
        "\
<domainsnapshot>
  <name>s1</name>
  <disks>
    <disk name='vda' snapshot='external' type='file'>
      <source file='/images/a.s1'/>
    </disk>
    <disk name='vdb' snapshot='no'/>
    <disk name='sda' snapshot='no'/>
  </disks>
</domainsnapshot>
"
    );
}

#[test]
fn what_cannot_be_matched() {
    let cases = [
        ("<disk name='vdz'/>", "no disk 'vdz'"),
        (
            "<disk name='vda'/><disk name='/images/a.qcow2'/>",
            "<disk name='/images/a.qcow2'> stands there twice",
        ),
        (
            "<disk name='vda'/><disk name='vdb'/><disk name='sda'/><disk name='vdc'/>",
            "4 disks, the domain",
        ),
        (
            "<disk name='vda' snapshot='internal'><source file='/x'/></disk>",
            "disk 'vda' goes to file '/x' with snapshot='external'",
        ),
        (
            "<disk name='vda' snapshot='external' type='block'/>",
            "disk 'vda' is of type 'block'",
        ),
        ("<disk name='sda' snapshot='external'/>", "disk 'sda' has no file"),
    ];
    for (disks, text) in cases {
        let error = snapshot(disks)
            .align_disks(Some(&domain()), external(), &|_| true)
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED, "{disks}");
        assert!(error.message().contains(text), "{error}");
    }
    let error = snapshot("")
        .align_disks(Some(&domain()), external(), &|_| false)
        .unwrap_err();
    assert!(error.message().contains("is no regular file"), "{error}");
}

#[test]
fn internal_snapshots_are_uniform() {
    let internal = Alignment {
        default: SnapshotLocation::Internal,
        uniform_internal: true,
        force_default: false,
    };
    let error = snapshot("<disk name='vda' snapshot='external'/>")
        .align_disks(Some(&domain()), internal, &|_| true)
        .unwrap_err();
    assert!(
        error.message().contains("must use snapshot mode 'internal'"),
        "{error}"
    );
}

#[test]
fn memory_follows_the_state() {
    let redefine = |state: &str, memory: &str| {
        let source = format!(
            "<domainsnapshot><name>s</name><state>{state}</state><creationTime>7</creationTime>{memory}</domainsnapshot>"
        );
        Snapshot::parse(&source, SnapshotFlags::REDEFINE, "s").map(|s| s.memory.and_then(|m| m.location))
    };
    assert_eq!(redefine("running", "").unwrap(), Some(SnapshotLocation::Internal));
    assert_eq!(redefine("shutoff", "").unwrap(), Some(SnapshotLocation::No));
    assert!(redefine("shutoff", "<memory snapshot='internal'/>").is_err());
    assert!(redefine("running", "<memory snapshot='external'/>").is_err());
    assert!(redefine("running", "<memory snapshot='internal' file='/m'/>").is_err());
    assert!(redefine("running", "<memory file='m'/>").is_err());
    assert_eq!(
        redefine("nostate", "").unwrap_err().code(),
        ErrorCode::CONFIG_UNSUPPORTED
    );
}

#[test]
fn a_parent_is_no_descendant() {
    let parent_of = |name: &str| match name {
        "b" => Some("a".to_owned()),
        "a" => Some("c".to_owned()),
        _ => None,
    };
    let check = |name, parent| moment::check_cycles("snapshot", name, parent, |_| true, parent_of);
    assert!(check("c", Some("b")).is_err());
    assert!(check("x", Some("x")).is_err());
    assert!(check("x", Some("b")).is_ok());
}

#[test]
fn images_are_read_by_the_flags_of_the_snapshot() {
    let read = |flags, label: &str| {
        let source = format!(
            "<domainsnapshot><name>s</name><state>shutoff</state><creationTime>7</creationTime><active>0</active><disks>\
             <disk name='vda'><source file='/a' startupPolicy='sometimes'>{label}</source></disk></disks></domainsnapshot>"
        );
        Snapshot::parse(&source, flags, "s").map(|snapshot| snapshot.format(XmlFlags::empty()))
    };
    let relabel = "<seclabel model='dac' relabel='yes'/>";
    assert!(read(SnapshotFlags::empty(), relabel).unwrap().contains(relabel));
    assert!(read(SnapshotFlags::REDEFINE | SnapshotFlags::INTERNAL, relabel).is_err());
    let skipped = "<seclabel model='dac' labelskip='yes'/>";
    assert!(read(SnapshotFlags::empty(), skipped).unwrap().contains(skipped));
}

#[test]
fn a_time_is_nothing_but_a_number() {
    let read = |time: &str| {
        let source = format!(
            "<domainsnapshot><name>s</name><state>shutoff</state><creationTime>{time}</creationTime></domainsnapshot>"
        );
        Snapshot::parse(&source, SnapshotFlags::REDEFINE, "s").map(|snapshot| snapshot.creation_time)
    };
    assert_eq!(read(" 5").unwrap(), 5);
    assert_eq!(read("5 ").unwrap_err().code(), ErrorCode::INTERNAL_ERROR);
}
