//! Area `domain-checkpoint`: checkpoints of the QEMU driver.

use virt_conf::checkpoint::{Checkpoint, CheckpointDisk, CheckpointFormat, CheckpointKind};
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags};
use virt_util::xml::Doc;

use super::domain_qemu::{Counting, driver};
use super::domain_snapshot::creation_time;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The parent and the size that the area gives to checkpoints.
const PARENT: &str = "1525111885";
const SIZE: u64 = 1_048_576;

/// Read and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let driver = driver(case, corpus)?;
        let source = corpus.input(case)?;
        let have =
            Checkpoint::parse(&source, case.has_flag("redefine"), "input").and_then(|mut checkpoint| {
                let cx = NormalizeContext {
                    flags: NormalizeFlags::INACTIVE,
                    random: &Counting,
                };
                checkpoint.normalize(&driver.hooks(), &cx)?;
                if let Some(now) = creation_time(case) {
                    checkpoint.complete(now);
                }
                if case.has_flag("parent") {
                    checkpoint.parent.get_or_insert_with(|| PARENT.to_owned());
                }
                if case.has_flag("vda_bitmap") {
                    if checkpoint.disks.is_empty() {
                        checkpoint.disks.push(CheckpointDisk {
                            name: "vda".to_owned(),
                            kind: CheckpointKind::Bitmap,
                            ..CheckpointDisk::default()
                        });
                    }
                    for disk in checkpoint.disks.iter_mut().take(1) {
                        disk.bitmap.clone_from(&checkpoint.name);
                    }
                }
                let mut format = CheckpointFormat::SECURE;
                if case.has_flag("size") {
                    for disk in checkpoint.disks.iter_mut().take(1) {
                        disk.size = Some(SIZE);
                    }
                    format |= CheckpointFormat::SIZE;
                }
                Ok(checkpoint.format(format))
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
        let verdict = Doc::parse(&source).and_then(|doc| Checkpoint::check_schema(&doc));
        Ok(Outcome::of_text(case, verdict.map(|()| String::new()), Some("")))
    };
    run().into()
}
