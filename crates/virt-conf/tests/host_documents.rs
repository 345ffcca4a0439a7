//! Recorded answers of drivers about hosts, guests and pools come out as they went in. Needs a corpus (`VIRT_CORPUS`).

use std::path::Path;

use virt_conf::capabilities::Capabilities;
use virt_conf::domain_capabilities::DomainCapabilities;
use virt_conf::storage_pool::capabilities::PoolCapabilities;
use virt_util::Result;

/// Folders of answers, and how one is read and written again.
const FOLDERS: [(&str, fn(&str) -> Result<String>); 4] = [
    ("capabilities-xml", |text| {
        Ok(Capabilities::parse(text, "caps")?.to_xml())
    }),
    ("qemu-capabilities/guest", |text| {
        Ok(Capabilities::parse(text, "caps")?.to_xml())
    }),
    ("qemu-capabilities/domcaps", |text| {
        Ok(DomainCapabilities::parse(text, "caps")?.format())
    }),
    ("storage-pool/caps", |text| {
        Ok(PoolCapabilities::parse(text, "caps")?.format())
    }),
];

#[test]
fn answers_come_out_as_they_went_in() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for (folder, rewrite) in FOLDERS {
        let entries = std::fs::read_dir(Path::new(&corpus).join(folder)).expect(folder);
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_none_or(|extension| extension != "xml") {
                continue;
            }
            count += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            match rewrite(&text) {
                Ok(have) if have == text => {}
                Ok(have) => {
                    let first = text.lines().zip(have.lines()).find(|(want, have)| want != have);
                    wrong.push(format!("{}: {first:?}", path.display()));
                }
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
    }
    assert!(count > 40, "the corpus holds {count} documents only");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
