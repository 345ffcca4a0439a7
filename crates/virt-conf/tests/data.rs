//! JSON and YAML: every document of the corpus comes through both as it is in XML. Needs a corpus (`VIRT_CORPUS`).

mod common;

use std::path::Path;

use common::documents;
use virt_conf::data::{self, FORMATS, Notation};
use virt_util::xml::{Doc, XmlFlags};

/// The document in canonical form, through each notation; the first difference.
fn round(doc: &Doc<'_>, flags: XmlFlags) -> Option<Result<(), String>> {
    let format = FORMATS.iter().find(|format| format.root == doc.root().name())?;
    // What is not read at all is no matter of notations.
    let want = (format.rewrite)(doc, flags).ok()?;
    // Nor is what XML itself does not bring back.
    if (format.rewrite)(&Doc::parse(&want).ok()?, flags).ok()? != want {
        return None;
    }
    let each = [Notation::Json, Notation::Yaml].map(|notation| {
        let text = data::from_xml(doc.source(), notation, flags, "a")
            .map_err(|error| format!("{notation:?} out: {}", error.detail()))?;
        let have = data::to_xml(&text, notation, format.root, flags, "a")
            .map_err(|error| format!("{notation:?} in: {}", error.detail()))?;
        match want.lines().zip(have.lines()).find(|(want, have)| want != have) {
            None if want == have => Ok(()),
            None => Err(format!("{notation:?}: {} and {} bytes", want.len(), have.len())),
            Some((want, have)) => Err(format!("{notation:?}:\n  - {want}\n  + {have}")),
        }
    });
    Some(each.into_iter().collect())
}

#[test]
fn documents_come_through_as_they_are() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    let paths = documents(Path::new(&corpus));
    let (mut count, mut wrong) = (std::collections::BTreeMap::<String, u32>::new(), Vec::new());
    for path in paths {
        let Ok(source) = std::fs::read_to_string(&path) else {
            continue;
        };
        let Ok(doc) = Doc::parse(&source) else { continue };
        let flags = [
            XmlFlags::SECURE,
            XmlFlags::SECURE | XmlFlags::INACTIVE,
            XmlFlags::SECURE | XmlFlags::STATUS | XmlFlags::ACTUAL_NET | XmlFlags::PCI_ORIG_STATES,
        ];
        for flags in flags {
            match round(&doc, flags) {
                None => {}
                Some(Ok(())) => *count.entry(doc.root().name().to_owned()).or_default() += 1,
                Some(Err(what)) => wrong.push(format!("{} ({flags:?}): {what}", path.display())),
            }
        }
    }
    println!("{count:?}");
    for line in wrong.iter().take(400) {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} documents do not come through", wrong.len());
}
