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

#[test]
fn what_only_a_guests_cpu_says_is_found_first() {
    use virt_conf::cpu::CpuDocument;
    for attribute in ["mode='custom'", "migratable='on'"] {
        let text = format!("<cpu {attribute}><arch>x86_64</arch><feature/></cpu>");
        for error in [
            CpuDocument::parse(&text, "test").unwrap_err(),
            CpuDocument::parse_host(&text, "test").unwrap_err(),
        ] {
            assert_eq!(error.code(), virt_util::ErrorCode::CONFIG_UNSUPPORTED, "{error}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_device_has_libvirts_code() {
    use virt_conf::node_device::NodeDevice;
    use virt_util::ErrorCode;
    let pci = |inner: &str| {
        format!(
            "<capability type='pci'><domain>0</domain><bus>0</bus><slot>0</slot><function>0</function><product id='0x1'/>\
             <vendor id='0x1'/>{inner}</capability>"
        )
    };
    let device = |inner: &str| format!("<device><name>a</name>{inner}</device>");
    for (text, code) in [
        // The name is missed before anything else.
        ("<device/>".to_owned(), ErrorCode::NO_NAME),
        (
            "<device><name/><capability type='pci'><domain>x</domain></capability></device>".to_owned(),
            ErrorCode::NO_NAME,
        ),
        (device(&pci("<numa node='x'/>")), ErrorCode::INTERNAL_ERROR),
        (device(&pci("<iommuGroup/>")), ErrorCode::XML_ERROR),
        (device(&pci("<iommuGroup number='0x1'/>")), ErrorCode::XML_ERROR),
        (
            device("<capability type='scsi_host'><host>x</host></capability>"),
            ErrorCode::INTERNAL_ERROR,
        ),
        (
            device(
                "<capability type='storage'><block>/dev/a</block><capability type='removable'>\
                 <media_available>1</media_available><media_size>x</media_size></capability></capability>",
            ),
            ErrorCode::INTERNAL_ERROR,
        ),
    ] {
        let error = NodeDevice::parse(&text, "test").unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
    }
}
