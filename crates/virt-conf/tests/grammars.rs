//! The grammars take what the check takes: over the documents of the corpus (`VIRT_CORPUS`), with `xmllint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use virt_conf::data::FORMATS;
use virt_conf::schema;
use virt_util::xml::Doc;

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|end| end == "xml") {
            found.push(path);
        }
    }
}

#[test]
fn grammars_take_what_the_check_takes() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS") else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    if Command::new("xmllint").arg("--version").output().is_err() {
        println!("skipped: there is no xmllint");
        return;
    }
    let mut paths = Vec::new();
    documents(Path::new(&corpus), &mut paths);
    paths.sort();
    let mut by_root: BTreeMap<String, Vec<(PathBuf, bool)>> = BTreeMap::new();
    for path in paths {
        let Ok(source) = std::fs::read_to_string(&path) else {
            continue;
        };
        let Ok(doc) = Doc::parse(&source) else { continue };
        let verdict = schema::check(&doc).is_ok();
        by_root
            .entry(doc.root().name().to_owned())
            .or_default()
            .push((path, verdict));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    for format in FORMATS {
        let Some(documents) = by_root.get(format.root) else {
            continue;
        };
        let file = folder.path().join(format.root);
        std::fs::write(&file, schema::grammar_of(format.root).unwrap()).unwrap();
        let (mut same, mut wider) = (0, 0);
        for batch in documents.chunks(100) {
            let output = Command::new("xmllint")
                .args(["--noout", "--relaxng"])
                .arg(&file)
                .args(batch.iter().map(|(path, _)| path))
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            for (path, verdict) in batch {
                let accepted = told
                    .lines()
                    .any(|line| line == format!("{} validates", path.display()));
                match (verdict, accepted) {
                    (true, false) => refused.push(path.display().to_string()),
                    (false, true) => wider += 1,
                    _ => same += 1,
                }
            }
        }
        println!(
            "{}: {same} as the check says, {wider} that only the check refuses",
            format.root
        );
    }
    assert!(refused.is_empty(), "grammars refuse {refused:#?}");
}
