//! Entry points for fuzzing, one per parser of outside bytes: plain functions that must return, whatever they get.

mod hosts;
mod networks;

pub use hosts::{fuzz_capabilities_xml, fuzz_cpu_xml, fuzz_domain_capabilities_xml, fuzz_schema};
pub use networks::{
    fuzz_interface_xml, fuzz_leases, fuzz_network_port_xml, fuzz_network_update, fuzz_network_xml,
    fuzz_nwfilter_binding_xml, fuzz_nwfilter_xml,
};

use virt_util::ErrorCode;
use virt_util::xml::{self, Doc, DocOptions, Reader, XmlFlags};

use crate::domain::Domain;
use crate::domain::interface::{Interface, InterfaceSource};
use crate::domain::normalize::{
    DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags, Randomness, SystemRandomness, normalize,
};
use crate::domain::validate::validate;
use std::sync::atomic::{AtomicU64, Ordering};

/// A named entry point.
pub type Target = (&'static str, fn(&[u8]));

/// Every entry point of this crate.
pub const TARGETS: &[Target] = &[
    ("domain_xml", fuzz_domain_xml),
    ("snapshot_xml", fuzz_snapshot_xml),
    ("checkpoint_xml", fuzz_checkpoint_xml),
    ("backup_xml", fuzz_backup_xml),
    ("vbox_machine", fuzz_vbox_machine),
    ("bhyve_args", fuzz_bhyve_args),
    ("capabilities_xml", fuzz_capabilities_xml),
    ("cpu_xml", fuzz_cpu_xml),
    ("domain_capabilities_xml", fuzz_domain_capabilities_xml),
    ("data", fuzz_data),
    ("interface_xml", fuzz_interface_xml),
    ("leases", fuzz_leases),
    ("lxc_native", fuzz_lxc_native),
    ("network_port_xml", fuzz_network_port_xml),
    ("network_update", fuzz_network_update),
    ("network_xml", fuzz_network_xml),
    ("node_device_xml", fuzz_node_device_xml),
    ("nwfilter_binding_xml", fuzz_nwfilter_binding_xml),
    ("nwfilter_xml", fuzz_nwfilter_xml),
    ("schema", fuzz_schema),
    ("secret_xml", fuzz_secret_xml),
    ("storage_pool_xml", fuzz_storage_pool_xml),
    ("storage_volume_xml", fuzz_storage_volume_xml),
    ("sysinfo", fuzz_sysinfo),
    ("openvz", fuzz_openvz),
    ("vmx", fuzz_vmx),
    ("xen_xl", fuzz_xen_xl),
    ("xen_xm", fuzz_xen_xm),
];

/// A driver that supports everything and knows nothing.
struct AnyDriver;

impl DomainHooks for AnyDriver {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::all()
    }

    /// Each primary card goes to the front when it is read, so two of them never come to rest. Drivers refuse that.
    fn validate_domain(&self, domain: &Domain) -> virt_util::Result<()> {
        let primary = domain.devices.videos.iter().filter(|video| video.model.primary);
        if primary.count() > 1 {
            virt_util::bail!(
                virt_util::ErrorCode::CONFIG_UNSUPPORTED,
                "more than one primary video device"
            );
        }
        Ok(())
    }
}

/// Domain definitions. What was read, normalized, checked and written can be read again; after one such round, which drops
/// the last of what says nothing, it stays as it is.
pub fn fuzz_domain_xml(data: &[u8]) {
    let Ok(doc) = Doc::parse_bytes(data, &DocOptions::default()) else {
        return;
    };
    let _ = crate::schema::check(&doc);
    let _ = xml::from_doc::<Domain>(&doc, &mut Reader::collecting(XmlFlags::INACTIVE));
    for (xml_flags, flags) in [
        (XmlFlags::SECURE, NormalizeFlags::empty()),
        (XmlFlags::SECURE | XmlFlags::INACTIVE, NormalizeFlags::INACTIVE),
    ] {
        let cx = NormalizeContext {
            flags,
            random: &SystemRandomness,
        };
        let round = |doc: &Doc<'_>| {
            let mut domain = xml::from_doc::<Domain>(doc, &mut Reader::new(xml_flags))?;
            normalize(&mut domain, &AnyDriver, &cx)?;
            validate(&domain, &AnyDriver)?;
            Ok::<_, virt_util::VirtError>(xml::to_string(&domain, xml_flags))
        };
        let again = |text: &str| match Doc::parse(text).and_then(|doc| round(&doc)) {
            Ok(again) => again,
            Err(error) => panic!("what was written is not read: {error}\n{text}"),
        };
        let Ok(first) = round(&doc) else { continue };
        let second = again(&first);
        assert_eq!(second, again(&second));
    }
}

/// VMware's files. What can be written from one reads as what it was written from.
pub fn fuzz_vmx(data: &[u8]) {
    use crate::vmx::{PlainPaths, VmxContext, format, parse};
    let cx = VmxContext::new(&PlainPaths);
    let read = |data: &[u8]| parse("fuzz.vmx", data, &cx, &SystemRandomness);
    let Ok(domain) = read(data) else { return };
    let Ok(text) = format(&domain, 10, &cx) else {
        return;
    };
    match read(text.as_bytes()).and_then(|domain| format(&domain, 10, &cx)) {
        Ok(again) => assert_eq!(text, again),
        Err(error) => panic!("what was written is not read: {error}\n{text}"),
    }
}

/// `xl.cfg` of Xen. What was written is read again as the same guest.
pub fn fuzz_xen_xl(data: &[u8]) {
    xen(crate::xen::XenFormat::Xl, data);
}

/// JSON and YAML of every kind of document. What is read is written, and read again as the same.
pub fn fuzz_data(data: &[u8]) {
    use crate::data::{FORMATS, Notation, from_xml, to_xml};
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for notation in [Notation::Json, Notation::Yaml] {
        if notation.read(text, &DocOptions::default()).is_err() {
            continue;
        }
        for format in FORMATS {
            let Ok(xml) = to_xml(text, notation, format.root, XmlFlags::SECURE, "fuzz") else {
                continue;
            };
            let again = Doc::parse(&xml).and_then(|doc| (format.rewrite)(&doc, XmlFlags::SECURE));
            if again.as_ref() != Ok(&xml) {
                continue;
            }
            let round = from_xml(&xml, notation, XmlFlags::SECURE, "fuzz")
                .and_then(|text| to_xml(&text, notation, format.root, XmlFlags::SECURE, "fuzz"));
            assert_eq!(round.as_ref(), Ok(&xml));
        }
    }
}

/// Files of Xen's older tool. What was written is read again as the same guest.
pub fn fuzz_xen_xm(data: &[u8]) {
    xen(crate::xen::XenFormat::Xm, data);
}

fn xen(kind: crate::xen::XenFormat, data: &[u8]) {
    use crate::domain::os::OsType;
    use crate::xen::{XenContext, XenGuest, format, parse};
    let guests = [OsType::Hvm, OsType::Xen, OsType::Xenpvh].map(|os| XenGuest {
        os,
        arch: "x86_64".to_owned(),
        machine: "xen".to_owned(),
        loader: Some("/loader".to_owned()),
    });
    let cx = XenContext {
        guests: &guests,
        nesting_feature: "vmx",
        firmware_dir: "/firmware",
        hooks: &AnyDriver,
        random: &SystemRandomness,
    };
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(domain) = parse(kind, "fuzz.cfg", text, &cx) else {
        return;
    };
    let write = |domain: &Domain| format(kind, domain, &|name| Ok(name.to_owned()));
    let Ok(first) = write(&domain) else { return };
    match parse(kind, "fuzz.cfg", &first, &cx).and_then(|domain| write(&domain)) {
        Ok(second) => assert_eq!(first, second),
        Err(error) => panic!("what was written is not read: {error}\n{first}"),
    }
}

/// Configurations of LXC. What was read is a definition that can be written and read.
pub fn fuzz_lxc_native(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = || crate::lxc_native::parse("fuzz.conf", text, &AnyDriver, &Counting::default());
    if let Ok(domain) = read() {
        assert_eq!(read().ok().as_ref(), Some(&domain), "one file, two guests");
        is_a_definition(&domain);
    }
}

/// Chance that always falls the same way, but never twice.
#[derive(Default)]
struct Counting(AtomicU64);

impl Randomness for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            for (byte, random) in part.iter_mut().zip(number.to_be_bytes()) {
                *byte = random;
            }
        }
    }
}

/// What a native format has said of a guest is a definition like any other: its document is read again and comes to rest.
fn is_a_definition(domain: &Domain) {
    let xml = domain.format(XmlFlags::SECURE | XmlFlags::INACTIVE);
    let round = |text: &str| {
        Domain::parse(text, XmlFlags::INACTIVE, "fuzz")
            .map(|domain| domain.format(XmlFlags::SECURE | XmlFlags::INACTIVE))
    };
    match round(&xml) {
        Ok(again) => assert_eq!(Ok(&again), round(&again).as_ref(), "of {xml}"),
        // Native formats take larger numbers; whoever reads the definition says so.
        Err(error) if error.code() == ErrorCode::OVERFLOW => {}
        Err(error) => panic!("what was written is not read: {error}\n{xml}"),
    }
}

/// What `round` writes can be read again, and then stays as it is.
fn comes_to_rest(data: &[u8], round: impl Fn(&str) -> virt_util::Result<String>) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let again = |text: &str| match round(text) {
        Ok(again) => again,
        Err(error) => panic!("what was written is not read: {error}\n{text}"),
    };
    let Ok(first) = round(text) else { return };
    let second = again(&first);
    assert_eq!(second, again(&second));
}

/// Storage pools, and sources that stand alone.
pub fn fuzz_storage_pool_xml(data: &[u8]) {
    use crate::storage_pool::{PoolSource, PoolType, StoragePool, format_sources};
    comes_to_rest(data, |text| {
        let mut pool = StoragePool::parse(text, "fuzz")?;
        pool.normalize(&SystemRandomness);
        // A pool that was written is a pool, whatever its status file says.
        StoragePool::parse_state(&pool.format_state(), "fuzz")?;
        Ok(pool.format())
    });
    if let Ok(text) = std::str::from_utf8(data) {
        for kind in PoolType::ALL.iter().copied() {
            if let Ok(source) = PoolSource::parse(text, kind, "fuzz") {
                format_sources(&[source]);
            }
        }
    }
}

/// Volumes of every type of pool.
pub fn fuzz_storage_volume_xml(data: &[u8]) {
    use crate::storage_pool::PoolType;
    use crate::storage_volume::{CapacityRule, Volume};
    for pool in PoolType::ALL.iter().copied() {
        for capacity in [CapacityRule::Required, CapacityRule::Optional] {
            comes_to_rest(data, |text| {
                Ok(Volume::parse(text, pool, capacity, "fuzz")?.format())
            });
        }
    }
}

/// Secrets.
pub fn fuzz_secret_xml(data: &[u8]) {
    comes_to_rest(data, |text| {
        let mut secret = crate::secret::Secret::parse(text, "fuzz")?;
        secret.normalize(&SystemRandomness);
        Ok(secret.format())
    });
}

/// Devices of the host, as they are and as they are defined.
pub fn fuzz_node_device_xml(data: &[u8]) {
    use crate::node_device::NodeDevice;
    for flags in [XmlFlags::empty(), XmlFlags::INACTIVE] {
        comes_to_rest(data, |text| {
            let mut device = NodeDevice::parse(text, "fuzz")?;
            device.activate();
            Ok(device.format(flags))
        });
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = NodeDevice::parse_new(text, "QEMU", &SystemRandomness, "fuzz");
    }
}

/// What `dmidecode` and `/proc` say of a host. What was read can be written.
pub fn fuzz_sysinfo(data: &[u8]) {
    use crate::sysinfo::Smbios;
    use crate::sysinfo::host::{HostFacts, read_arm, read_dmi, read_ppc, read_s390};

    struct Facts;

    impl HostFacts for Facts {
        fn dmi_tables(&self) -> virt_util::Result<String> {
            Ok(String::new())
        }

        fn oem_string(&self, number: u32) -> virt_util::Result<(String, String)> {
            Ok((number.to_string(), String::new()))
        }

        fn proc_file(&self, _name: &str) -> virt_util::Result<String> {
            Ok(String::new())
        }
    }

    let text = String::from_utf8_lossy(data);
    let check = |found: Smbios| {
        let written = found.format();
        let read = Doc::parse(&written);
        assert!(read.is_ok(), "what was written is not XML: {read:?}\n{written}");
    };
    check(read_arm(&text));
    check(read_ppc(&text));
    read_dmi(&text, &Facts)
        .into_iter()
        .chain(read_s390(&text, &text))
        .for_each(check);
}

/// Command lines of bhyve.
pub fn fuzz_bhyve_args(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(parsed) = crate::bhyve_args::parse(text, &Counting::default()) {
        is_a_definition(&parsed.domain);
    }
}

/// Configurations of OpenVZ.
pub fn fuzz_openvz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let host = crate::openvz::OpenvzHost {
        cpus: 1,
        page_size: 4,
    };
    let Ok(domain) = crate::openvz::parse(text, 1, host) else {
        return;
    };
    assert_eq!(crate::openvz::parse(text, 1, host).as_ref(), Ok(&domain));
    // Bridges that only the tools of OpenVZ know are left out, which no definition may do.
    let unknown =
        |interface: &Interface| matches!(&interface.source, InterfaceSource::Bridge { unnamed: true, .. });
    match domain.devices.interfaces.iter().any(unknown) {
        true => assert!(Doc::parse(&domain.format(XmlFlags::SECURE)).is_ok()),
        false => is_a_definition(&domain),
    }
}

/// Snapshots: what was read and written can be read again and stays as it is.
pub fn fuzz_snapshot_xml(data: &[u8]) {
    use crate::snapshot::{Snapshot, SnapshotFlags};
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for flags in [SnapshotFlags::empty(), SnapshotFlags::REDEFINE] {
        let Ok(mut first) = Snapshot::parse(text, flags, "fuzz") else {
            continue;
        };
        let _ = first.align_disks(
            Some(&Domain::default()),
            crate::snapshot::Alignment {
                default: crate::domain::disk::SnapshotLocation::External,
                uniform_internal: false,
                force_default: false,
            },
            &|_| true,
        );
        let written = first.format(XmlFlags::SECURE);
        if let Ok(again) = Snapshot::parse(&written, flags, "fuzz") {
            let second = again.format(XmlFlags::SECURE);
            if let Ok(third) = Snapshot::parse(&second, flags, "fuzz") {
                assert_eq!(third.format(XmlFlags::SECURE), second);
            }
        }
    }
}

/// Checkpoints.
pub fn fuzz_checkpoint_xml(data: &[u8]) {
    use crate::checkpoint::{Checkpoint, CheckpointFormat};
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for redefine in [false, true] {
        if let Ok(checkpoint) = Checkpoint::parse(text, redefine, "fuzz") {
            let _ = checkpoint.format(CheckpointFormat::all());
        }
    }
}

/// Backup jobs, as users say them and as drivers keep them.
pub fn fuzz_backup_xml(data: &[u8]) {
    use crate::backup::Backup;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(mut backup) = Backup::parse(text, "fuzz") {
        let _ = backup.align_disks(&Domain::default(), "1");
        let _ = backup.format(XmlFlags::empty());
    }
    if let Ok(backup) = Backup::parse_internal(text, "fuzz") {
        let written = backup.format(XmlFlags::STATUS);
        if let Ok(again) = Backup::parse_internal(&written, "fuzz") {
            assert_eq!(again.format(XmlFlags::STATUS), written);
        }
    }
}

/// VirtualBox's machine files.
pub fn fuzz_vbox_machine(data: &[u8]) {
    use crate::vbox_snapshot::Machine;
    if let Ok(written) = Machine::parse(data, "/", "fuzz").and_then(|machine| machine.format()) {
        let again = Machine::parse(&written, "/", "fuzz").and_then(|machine| machine.format());
        assert_eq!(again.ok(), Some(written));
    }
}
