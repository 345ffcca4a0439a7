//! The declarations of the domain know every name that canonical documents hold.

use std::path::{Path, PathBuf};

use virt_conf::domain::Domain;
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

#[test]
fn canonical_domains_hold_no_unknown_name() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS") else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    let mut all = Vec::new();
    for folder in ["domain-qemu/out", "domain-generic"] {
        files(&Path::new(&corpus).join(folder), &mut all);
    }
    let mut domains = 0;
    let mut wrong = Vec::new();
    for path in &all {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.display().to_string();
        let Ok(doc) = Doc::parse_with(&text, &DocOptions::named(&name)) else {
            continue;
        };
        if doc.root().name() == "domain" {
            domains += 1;
            wrong.extend(validate::<Domain>(&doc).err().map(|error| error.to_string()));
        }
    }
    assert!(domains > 0, "the corpus holds no domain");
    assert!(
        wrong.is_empty(),
        "{} of {domains}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
