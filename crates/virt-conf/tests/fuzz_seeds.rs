//! Every domain of the corpus, and each of them damaged in many places, goes through the fuzz entry points.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::documents;
use virt_conf::fuzz::fuzz_domain_xml;

/// A seed of our own, so that the test means something without a corpus.
const SEED: &str = "<domain type='kvm' id='7'><name>a</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>\
    <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><features><acpi/><apic eoi='on'/></features>\
    <clock offset='utc'><timer name='hpet' present='no'/></clock>\
    <devices><disk type='network' device='cdrom'><source protocol='http' name='x'><host name='h' port='80'/></source>\
    <target dev='hda' bus='ide'/></disk><interface type='network'><source network='default'/><mac address='52:54:00:00:00:01'/>\
    </interface><graphics type='vnc' port='-1' listen='127.0.0.1'/><console type='pty'/></devices></domain>";

/// Texts that are put over parts of a document.
const DAMAGE: &[&str] = &[
    "",
    "-1",
    "'",
    "<",
    "&",
    "yes",
    "0x",
    "99999999999999999999",
    "\u{e9}",
    "none",
    " ",
];

fn damaged(text: &str, rounds: usize, seed: u64, mut each: impl FnMut(&str)) {
    // A small generator keeps the test the same on every run.
    let mut state = seed | 1;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for _ in 0..rounds {
        // Values in quotes are the best places.
        let quotes: Vec<usize> = text.match_indices('\'').map(|(at, _)| at).collect();
        let (start, end) = if quotes.len() >= 2 && random(4) > 0 {
            let at = random(quotes.len() - 1);
            (quotes[at] + 1, quotes[at + 1])
        } else {
            let start = random(text.len());
            (start, (start + random(30)).min(text.len()))
        };
        if !(text.is_char_boundary(start) && text.is_char_boundary(end)) || start > end {
            continue;
        }
        each(&format!(
            "{}{}{}",
            &text[..start],
            DAMAGE[random(DAMAGE.len())],
            &text[end..]
        ));
    }
}

#[test]
fn domains_survive() {
    let mut texts = vec![("seed".to_owned(), SEED.to_owned())];
    match std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) {
        Some(corpus) => {
            let mut paths = Vec::new();
            for folder in [
                "domain-qemu/out",
                "domain-qemu/data",
                "domain-generic",
                "domain-lxc",
            ] {
                paths.extend(documents(&Path::new(&corpus).join(folder)));
            }
            for path in paths {
                if let Ok(text) = std::fs::read_to_string(&path) {
                    texts.push((path.display().to_string(), text));
                }
            }
        }
        None => println!("skipped: the corpus; VIRT_CORPUS names none"),
    }
    let rounds = if texts.len() > 1 { 10 } else { 2000 };
    let mut failures = Vec::new();
    for (number, (name, text)) in texts.iter().enumerate() {
        let mut check = |text: &str| {
            if catch_unwind(AssertUnwindSafe(|| fuzz_domain_xml(text.as_bytes()))).is_err() {
                failures.push(format!("{name}:\n{text}"));
            }
        };
        check(text);
        damaged(text, rounds, number as u64, &mut check);
    }
    assert!(
        failures.is_empty(),
        "{} failures, the first:\n{}",
        failures.len(),
        failures[0]
    );
}
