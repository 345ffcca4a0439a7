//! Recorded domain documents come out as they went in, are stable against themselves, and differ in nothing from
//! themselves. The recordings lie where `VIRT_CORPUS` says.

mod common;

use std::path::{Path, PathBuf};

use common::documents;
use virt_conf::diff::diff;
use virt_conf::domain::fragment::Device;
use virt_conf::domain::{Domain, stability};
use virt_conf::schema::Check;
use virt_util::xml::XmlFlags;

/// Folders of documents that libvirt has written.
const FOLDERS: [&str; 4] = [
    "domain-qemu/out",
    "qemu-hotplug/domains",
    "qemu-hotplug/cpus",
    "domain-qemu-status/active",
];

/// Whether a manifest names the document as the result of something.
fn is_result(corpus: &Path, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(corpus) else {
        return false;
    };
    let manifest = relative
        .iter()
        .next()
        .map(|area| corpus.join(area).join("manifest.json"));
    let text = manifest
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    ["xml", "active", "live", "conf"]
        .iter()
        .any(|role| text.contains(&format!("\"{role}\": \"{}\"", relative.display())))
}

#[test]
fn documents_come_out_as_they_went_in() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS")
        .filter(|corpus| !corpus.is_empty())
        .map(PathBuf::from)
    else {
        println!("skipped: VIRT_CORPUS is not set");
        return;
    };
    let (mut same, mut wrong) = (0, Vec::new());
    for path in FOLDERS.iter().flat_map(|folder| documents(&corpus.join(folder))) {
        let source = std::fs::read_to_string(&path).unwrap();
        // Inputs are written by people.
        if !is_result(&corpus, &path) || !source.starts_with("<domain") {
            continue;
        }
        // Only what runs has an id.
        let root = source.lines().next().unwrap_or_default();
        let flags = if root.contains(" id=") {
            XmlFlags::empty()
        } else {
            XmlFlags::INACTIVE
        };
        let name = path.display().to_string();
        match Domain::parse(&source, flags, &name) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(domain) => {
                let text = domain.format(XmlFlags::SECURE);
                if text == source {
                    same += 1;
                } else {
                    let first = source.lines().zip(text.lines()).find(|(want, have)| want != have);
                    wrong.push(format!("{name}: {first:?}"));
                }
                stability::check(&domain, &domain).unwrap();
                assert!(diff(&domain, &domain, XmlFlags::SECURE).is_empty(), "{name}");
            }
        }
    }
    println!("{same} documents come out as they went in");
    assert!(same > 500, "the corpus holds {same} documents only");
    for line in &wrong {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} documents do not", wrong.len());
}

#[test]
fn devices_alone_are_read() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS")
        .filter(|corpus| !corpus.is_empty())
        .map(PathBuf::from)
    else {
        println!("skipped: VIRT_CORPUS is not set");
        return;
    };
    let paths = documents(&corpus.join("qemu-hotplug/devices"));
    assert!(!paths.is_empty());
    for path in paths {
        let name = path.display();
        let source = std::fs::read_to_string(&path).unwrap();
        let device = Device::parse(&source, XmlFlags::INACTIVE, Check::Strict)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = device.format(XmlFlags::SECURE | XmlFlags::INACTIVE);
        let again = Device::parse(&text, XmlFlags::INACTIVE, Check::Strict)
            .unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        assert_eq!(
            again.format(XmlFlags::SECURE | XmlFlags::INACTIVE),
            text,
            "{name}"
        );
    }
}
