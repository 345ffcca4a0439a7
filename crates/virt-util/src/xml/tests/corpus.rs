//! Every XML file of the conformance corpus, if there is one: all but those made to be malformed can be read.
use std::path::{Path, PathBuf};

use crate::xml::{Doc, DocOptions};

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "xml" || extension == "rng")
        {
            out.push(path);
        }
    }
}

#[test]
fn every_file_is_read() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    let mut all = Vec::new();
    files(Path::new(&corpus), &mut all);
    assert!(!all.is_empty(), "the corpus holds no XML");
    let refused: Vec<String> = all
        .iter()
        .filter_map(|path| {
            let bytes = std::fs::read(path).ok()?;
            let name = path.display().to_string();
            Doc::parse_bytes(&bytes, &DocOptions::named(&name))
                .err()
                .map(|error| error.to_string())
        })
        .collect();
    // A few inputs are there to be refused.
    assert!(
        refused.len() * 100 <= all.len(),
        "{} of {} files:\n{}",
        refused.len(),
        all.len(),
        refused.join("\n")
    );
    println!(
        "read {} files, refused {}:\n{}",
        all.len(),
        refused.len(),
        refused.join("\n")
    );
}
