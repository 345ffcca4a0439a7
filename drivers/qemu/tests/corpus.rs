//! Real recordings: every conversation with a QEMU binary that the conformance corpus holds must digest to the cache
//! file that libvirt makes of it. The corpus is found through `VIRT_CORPUS`; without it these tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use serde_json::Value;
use virt_driver_qemu::capabilities::{QemuCaps, cache_xml, probe, recorded::Recorded};

fn corpus() -> Option<PathBuf> {
    let found = std::env::var_os("VIRT_CORPUS")
        .map(PathBuf::from)
        .filter(|path| path.is_dir());
    if found.is_none() {
        println!("SKIP: VIRT_CORPUS does not name a conformance corpus");
    }
    found
}

fn cases(area: &str, kind: &str) -> Vec<(PathBuf, Value)> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let text = std::fs::read_to_string(corpus.join(area).join("manifest.json")).unwrap();
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    list.into_iter()
        .filter(|case| case["kind"] == kind)
        .map(|case| (corpus.clone(), case))
        .collect()
}

fn probe_recorded(replies: &str, hvf: bool) -> QemuCaps {
    let mut sessions = Recorded::sessions(replies).unwrap().into_iter();
    let mut caps = probe::probe(&mut sessions.next().unwrap(), hvf).unwrap();
    if probe::needs_tcg_probe(&caps) {
        probe::probe_tcg(&mut caps, &mut sessions.next().unwrap()).unwrap();
    }
    caps
}

#[test]
fn recordings_digest_to_libvirts_cache_files() {
    let mut failed = Vec::new();
    for (corpus, case) in cases("qemu-capabilities", "probe") {
        let input = case["input"].as_str().unwrap();
        let replies = std::fs::read_to_string(corpus.join(input)).unwrap();
        let expected =
            std::fs::read_to_string(corpus.join(case["expected"]["xml"].as_str().unwrap())).unwrap();
        let mut caps = probe_recorded(&replies, input.contains("+hvf"));
        let arch = case["arch"].as_str().unwrap();
        caps.binary = format!("/usr/bin/qemu-system-{arch}");
        if caps.has_hardware_accel() {
            let sum = |text: &str| text.bytes().map(u32::from).sum::<u32>();
            let version = case["params"]["version"].as_str().unwrap();
            caps.host.microcode_version = sum(arch) * 100_000 + sum(version);
        }
        let got = cache_xml::format(&caps);
        if got != expected {
            let line = got
                .lines()
                .zip(expected.lines())
                .find(|(got, expected)| got != expected);
            failed.push(format!("{}: {line:?}", case["id"]));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn cache_files_read_back_as_they_were_written() {
    for (corpus, case) in cases("qemu-capabilities", "probe") {
        let path = case["expected"]["xml"].as_str().unwrap();
        let text = std::fs::read_to_string(corpus.join(path)).unwrap();
        let caps = cache_xml::parse(&text, path).unwrap();
        assert_eq!(cache_xml::format(&caps), text, "{path}");
    }
}

mod firmware {
    use super::cases;
    use virt_driver_qemu::firmware::{Descriptor, SearchPath, supported};

    #[test]
    fn descriptors_read_back() {
        for (corpus, case) in cases("qemu-firmware", "firmware-format") {
            let text = std::fs::read(corpus.join(case["input"].as_str().unwrap())).unwrap();
            let expected = std::fs::read(corpus.join(case["expected"]["json"].as_str().unwrap())).unwrap();
            let mut expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
            for key in ["description", "tags"] {
                expected.as_object_mut().unwrap().remove(key);
            }
            assert_eq!(
                Descriptor::parse(&text).unwrap().to_json(),
                expected,
                "{}",
                case["id"]
            );
        }
    }

    #[test]
    fn machines_are_told_what_they_boot_with() {
        for (corpus, case) in cases("qemu-firmware", "firmware-supported") {
            let root = corpus.join("common/qemu-env/firmware");
            let search = SearchPath::session("/home/user/.config").below(root);
            let all: Vec<Descriptor> = search
                .firmware()
                .unwrap()
                .into_iter()
                .map(|(_, one)| one)
                .collect();
            let params = &case["params"];
            let arch = params["arch"].as_str().unwrap().parse().unwrap();
            let found = supported(&all, params["machine"].as_str().unwrap(), arch);
            assert_eq!(
                serde_json::json!(found.images.unwrap()),
                params["images"],
                "{}",
                case["id"]
            );
            assert_eq!(
                serde_json::json!(found.secure),
                params["secure"],
                "{}",
                case["id"]
            );
            let interfaces = params["interfaces"].as_array().unwrap();
            assert_eq!(
                interfaces.iter().any(|one| one == "bios"),
                found.bios,
                "{}",
                case["id"]
            );
            assert_eq!(
                interfaces.iter().any(|one| one == "efi"),
                found.efi,
                "{}",
                case["id"]
            );
        }
    }
}
