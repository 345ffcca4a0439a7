//! The declarations know every name that canonical documents hold.

use std::path::{Path, PathBuf};

use virt_conf::domain::Domain;
use virt_conf::node_device::NodeDevice;
use virt_conf::secret::Secret;
use virt_conf::storage_pool::StoragePool;
use virt_conf::storage_volume::Volume;
use virt_util::xml::{Doc, DocOptions, validate};

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "xml") {
            out.push(path);
        }
    }
}

/// A kind of document: its root, the check, the folders that hold some.
type Kind = (
    &'static str,
    fn(&Doc<'_>) -> virt_util::Result<()>,
    &'static [&'static str],
);

const KINDS: &[Kind] = &[
    (
        "domain",
        validate::<Domain>,
        &["domain-qemu/out", "domain-generic"],
    ),
    ("pool", validate::<StoragePool>, &["storage-pool/out"]),
    ("volume", validate::<Volume>, &["storage-vol/out"]),
    ("secret", validate::<Secret>, &["secret-xml"]),
    ("device", validate::<NodeDevice>, &["nodedev/out"]),
];

#[test]
fn canonical_documents_hold_no_unknown_name() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    for (root, check, folders) in KINDS {
        let mut all = Vec::new();
        for folder in *folders {
            files(&Path::new(&corpus).join(folder), &mut all);
        }
        let mut count = 0;
        let mut wrong = Vec::new();
        for path in &all {
            let text = std::fs::read_to_string(path).unwrap();
            let name = path.display().to_string();
            let Ok(doc) = Doc::parse_with(&text, &DocOptions::named(&name)) else {
                continue;
            };
            if doc.root().name() == *root {
                count += 1;
                wrong.extend(check(&doc).err().map(|error| error.to_string()));
            }
        }
        assert!(count > 0, "the corpus holds no {root}");
        assert!(
            wrong.is_empty(),
            "{} of {count}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}
