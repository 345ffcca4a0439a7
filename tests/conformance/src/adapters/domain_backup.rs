//! Area `domain-backup`: backup jobs.

use virt_conf::backup::Backup;
use virt_conf::domain::Domain;
use virt_conf::domain::disk::Disk;
use virt_conf::domain::storage::StorageLocation;
use virt_util::xml::{Doc, XmlFlags};

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// A drive of the area's guest.
fn drive(target: &str) -> Disk {
    let mut disk = Disk::default();
    target.clone_into(&mut disk.target.dev);
    disk.source.location = StorageLocation::File {
        path: Some(format!("/fake/{target}.qcow2")),
        fd_group: None,
    };
    disk
}

/// Read, match with a guest that has a drive for each disk and one more, and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let internal = case.has_flag("internal");
        let source = corpus.input(case)?;
        let parsed = if internal {
            Backup::parse_internal(&source, "input")
        } else {
            Backup::parse(&source, "input")
        };
        let have = parsed.and_then(|mut backup| {
            let mut domain = Domain::default();
            let names = backup.disks.iter().map(|disk| disk.name.as_str());
            domain.devices.disks = names.chain(["vdextradisk"]).map(drive).collect();
            backup.align_disks(&domain, "SUFFIX")?;
            let flags = if internal {
                XmlFlags::STATUS
            } else {
                XmlFlags::empty()
            };
            Ok(backup.format(flags))
        });
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// Ask the schema.
pub fn schema(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let source = corpus.input(case)?;
        let verdict = Doc::parse(&source).and_then(|doc| Backup::check_schema(&doc));
        Ok(Outcome::of_text(case, verdict.map(|()| String::new()), Some("")))
    };
    run().into()
}
