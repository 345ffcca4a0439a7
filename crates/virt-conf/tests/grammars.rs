//! The grammars say what the check says: over the documents of the corpus (`VIRT_CORPUS`), as they are and damaged, with
//! `xmllint`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::documents;
use virt_conf::data::FORMATS;
use virt_conf::schema;
use virt_util::xml::{Doc, Element};

/// Damaged documents of each format.
const DAMAGED: usize = 200;

/// What is needed: the documents by their roots.
fn corpus() -> Option<BTreeMap<String, Vec<PathBuf>>> {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return None;
    };
    if Command::new("xmllint").arg("--version").output().is_err() {
        println!("skipped: there is no xmllint");
        return None;
    }
    let paths = documents(Path::new(&corpus));
    let mut by_root: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let Ok(source) = std::fs::read_to_string(&path) else {
            continue;
        };
        let Ok(doc) = Doc::parse(&source) else { continue };
        by_root
            .entry(doc.root().name().to_owned())
            .or_default()
            .push(path);
    }
    Some(by_root)
}

/// What the check finds wrong with the document.
fn fault(path: &Path) -> Option<String> {
    let source = std::fs::read_to_string(path).unwrap();
    let doc = Doc::parse(&source).unwrap();
    schema::check(&doc).err().map(|error| error.detail().to_owned())
}

/// Which of the documents the grammar takes.
fn accepted(grammar: &Path, documents: &[PathBuf]) -> Vec<bool> {
    let mut verdicts = Vec::new();
    for batch in documents.chunks(200) {
        let output = Command::new("xmllint")
            .args(["--noout", "--relaxng"])
            .arg(grammar)
            .args(batch)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let valid: std::collections::HashSet<&str> = told
            .lines()
            .filter_map(|line| line.strip_suffix(" validates"))
            .collect();
        verdicts.extend(batch.iter().map(|path| valid.contains(path.to_str().unwrap())));
    }
    verdicts
}

/// The remainder: what no grammar can say. All of it is that two values must differ, or must not have white space around
/// them (which grammars do not see).
fn is_beyond_grammars(fault: &str) -> bool {
    fault.contains("a second '") && fault.contains("' of this '") || fault.contains("in upper case")
}

#[test]
fn grammars_say_what_the_check_says() {
    let Some(by_root) = corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut same, mut beyond, mut different) = (0, 0, Vec::new());
    for format in FORMATS {
        let grammar = folder.path().join(format!("{}.rng", format.root));
        std::fs::write(&grammar, schema::grammar_of(format.root).unwrap()).unwrap();
        let Some(whole) = by_root.get(format.root) else {
            continue;
        };
        let damaged = damaged(whole, folder.path(), format.root);
        let documents: Vec<PathBuf> = whole.iter().chain(&damaged).cloned().collect();
        for (path, accepted) in documents.iter().zip(accepted(&grammar, &documents)) {
            match (fault(path), accepted) {
                (None, true) | (Some(_), false) => same += 1,
                (Some(fault), true) if is_beyond_grammars(&fault) => beyond += 1,
                (Some(fault), true) => different.push(format!("takes {}: {fault}", path.display())),
                (None, false) => different.push(format!("refuses {}", path.display())),
            }
        }
    }
    println!("{same} as the check says, {beyond} that no grammar can refuse");
    assert!(different.is_empty(), "{} {different:#?}", different.len());
    assert!(beyond * 50 < same, "the remainder is not small: {beyond}");
}

/// Valid documents with one fault each, made the same way each time.
fn damaged(whole: &[PathBuf], folder: &Path, root: &str) -> Vec<PathBuf> {
    let valid: Vec<&PathBuf> = whole.iter().filter(|path| fault(path).is_none()).collect();
    let mut dice = Dice(42);
    let mut made = Vec::new();
    for number in 0..DAMAGED {
        let Some(path) = valid.get(dice.below(valid.len().max(1))) else {
            break;
        };
        let source = std::fs::read_to_string(path).unwrap();
        let Some(text) = damage(&source, &mut dice) else {
            continue;
        };
        if Doc::parse(&text).is_err() {
            continue;
        }
        let path = folder.join(format!("{root}-{number}.xml"));
        std::fs::write(&path, text).unwrap();
        made.push(path);
    }
    made
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }
}

/// The document with one fault.
fn damage(source: &str, dice: &mut Dice) -> Option<String> {
    let doc = Doc::parse(source).unwrap();
    let mut elements = Vec::new();
    gather(doc.root(), &mut elements);
    let element = elements[dice.below(elements.len())];
    let place = |part: &str| part.as_ptr() as usize - source.as_ptr() as usize;
    let replaced =
        |at: usize, length: usize, by: &str| format!("{}{by}{}", &source[..at], &source[at + length..]);
    let whole = element.outer_source();
    let attributes: Vec<_> = element
        .attributes()
        .filter(|one| !one.declares_namespace())
        .collect();
    match dice.below(7) {
        0 | 1 if !attributes.is_empty() => {
            let value = attributes[dice.below(attributes.len())].raw_value();
            let longer = format!("{value}x");
            let other = dice.of(&["bogus", "", "-1", "99999999999", "0x1ffff", &longer, "a b/c?"]);
            Some(replaced(place(value), value.len(), other))
        }
        2 if !attributes.is_empty() => {
            let attribute = attributes[dice.below(attributes.len())];
            let start = place(attribute.qualified_name());
            let end = place(attribute.raw_value()) + attribute.raw_value().len() + 1;
            Some(replaced(start, end - start, ""))
        }
        3 if element.parent().is_some() => Some(replaced(place(whole), whole.len(), "")),
        4 if element.parent().is_some() => {
            Some(replaced(place(whole), whole.len(), &format!("{whole}{whole}")))
        }
        5 => {
            let name = element.qualified_name();
            Some(replaced(place(name) + name.len(), 0, " wibble='1'"))
        }
        6 if element.children().next().is_none() && !element.inner_source().trim().is_empty() => {
            let text = element.inner_source();
            Some(replaced(
                place(text),
                text.len(),
                dice.of(&["bogus", "", "-1", "a b/c?"]),
            ))
        }
        _ => None,
    }
}

/// The elements that schemas are about.
fn gather<'d>(element: Element<'d>, found: &mut Vec<Element<'d>>) {
    found.push(element);
    for child in element.children().filter(|child| !child.is("metadata")) {
        gather(child, found);
    }
}
