use super::*;

fn domain() -> Domain {
    let mut domain = Domain::default();
    for (target, path) in [("vda", Some("/a.qcow2")), ("vdb", None), ("vdc", Some("/c"))] {
        let mut disk = Disk::default();
        target.clone_into(&mut disk.target.dev);
        disk.source.location = StorageLocation::File {
            path: path.map(str::to_owned),
            fd_group: None,
        };
        domain.devices.disks.push(disk);
    }
    domain
}

fn aligned(source: &str) -> Result<String> {
    let mut backup = Backup::parse(source, "b")?;
    backup.align_disks(&domain(), "7")?;
    Ok(backup.format(XmlFlags::empty()))
}

#[test]
fn a_request_without_disks_copies_all() {
    assert_eq!(
        aligned("<domainbackup><incremental>1</incremental></domainbackup>").unwrap(),
        "\
<domainbackup mode='push'>
  <incremental>1</incremental>
  <disks>
    <disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='1'>
      <target file='/a.qcow2.7'/>
    </disk>
    <disk name='vdb' backup='no'/>
    <disk name='vdc' backup='yes' type='file' backupmode='incremental' incremental='1'>
      <target file='/c.7'/>
    </disk>
  </disks>
</domainbackup>
"
    );
}

#[test]
fn what_is_refused() {
    for (disks, code) in [
        ("<disk name='vdz'/>", ErrorCode::CONFIG_UNSUPPORTED),
        ("<disk name='vdb'/>", ErrorCode::CONFIG_UNSUPPORTED),
        (
            "<disk name='vda'/><disk name='vda'/>",
            ErrorCode::CONFIG_UNSUPPORTED,
        ),
        (
            "<disk name='vda' backupmode='incremental'/>",
            ErrorCode::CONFIG_UNSUPPORTED,
        ),
        ("<disk name='/a'/>", ErrorCode::XML_INVALID_SCHEMA),
        (
            "<disk name='vda' backupmode='full' incremental='1'/>",
            ErrorCode::XML_INVALID_SCHEMA,
        ),
        ("<disk name='vda' type='network'/>", ErrorCode::XML_INVALID_SCHEMA),
        (
            "<disk name='vda' state='running'/>",
            ErrorCode::XML_INVALID_SCHEMA,
        ),
        (
            "<disk name='vda' type='file'><scratch file='/x'/></disk>",
            ErrorCode::XML_INVALID_SCHEMA,
        ),
    ] {
        let error = aligned(&format!("<domainbackup><disks>{disks}</disks></domainbackup>")).unwrap_err();
        assert_eq!(error.code(), code, "{disks}: {error}");
    }
}

#[test]
fn servers_belong_to_pull_mode() {
    let pull = |server: &str| aligned(&format!("<domainbackup mode='pull'>{server}</domainbackup>"));
    assert!(pull("").is_err());
    assert!(pull("<server name='localhost'/>").is_ok());
    assert!(pull("<server transport='unix' socket='rel'/>").is_err());
    assert!(pull("<server transport='rdma' name='x'/>").is_err());
    let internal = |server: &str| {
        let source = format!("<domainbackup mode='pull'>{server}</domainbackup>");
        Backup::parse_internal(&source, "b").map_err(|error| error.code())
    };
    assert_eq!(
        internal("<server name='a' port='0xff'/>").unwrap_err(),
        ErrorCode::INVALID_ARG
    );
    assert_eq!(
        internal("<server transport='rdma'/>").unwrap_err(),
        ErrorCode::XML_ERROR
    );
    assert_eq!(
        internal("<server transport='rdma' name='a'/>").unwrap_err(),
        ErrorCode::CONFIG_UNSUPPORTED
    );
    assert!(aligned("<domainbackup><server name='localhost'/></domainbackup>").is_err());
}
