//! Area `domain-snapshot`: snapshots of the QEMU driver.

use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags};
use virt_conf::moment::MomentDomain;
use virt_conf::snapshot::{Snapshot, SnapshotFlags, SnapshotState};
use virt_util::uuid::Uuid;
use virt_util::xml::{Doc, XmlFlags};

use super::domain_qemu::{Counting, driver};
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Read and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let driver = driver(case, corpus)?;
        let mut flags = SnapshotFlags::empty();
        flags.set(SnapshotFlags::REDEFINE, case.has_flag("redefine"));
        flags.set(SnapshotFlags::INTERNAL, case.has_flag("internal"));
        let source = corpus.input(case)?;
        let have = Snapshot::parse(&source, flags, "input").and_then(|mut snapshot| {
            let cx = NormalizeContext {
                flags: NormalizeFlags::INACTIVE,
                random: &Counting,
            };
            snapshot.normalize(&driver.hooks(), &cx)?;
            if let Some(now) = creation_time(case) {
                snapshot.complete(now);
            }
            if case.has_flag("running") {
                snapshot.state = Some(SnapshotState::Running);
            }
            let uuid = case.more.get("uuid").and_then(|uuid| uuid.as_str());
            if let (MomentDomain::Unknown, Some(uuid)) = (&snapshot.domain, uuid) {
                snapshot.domain = MomentDomain::Reference(Uuid::parse_str(uuid).unwrap_or_default());
            }
            Ok(snapshot.format(XmlFlags::SECURE))
        });
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// The clock of a case: none if the parser leaves times alone.
pub(super) fn creation_time(case: &Case) -> Option<i64> {
    case.more
        .get("creation_time")
        .and_then(serde_json::Value::as_i64)
        .filter(|time| *time != 0)
}

/// Ask the schema.
pub fn schema(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let source = corpus.input(case)?;
        let verdict = Doc::parse(&source).and_then(|doc| Snapshot::check_schema(&doc));
        Ok(Outcome::of_text(case, verdict.map(|()| String::new()), Some("")))
    };
    run().into()
}
