//! Area `domain-qemu`: what the QEMU driver makes of definitions, and the command lines of their guests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use virt_conf::domain::Domain;
use virt_conf::domain::hostdev::HostPciAddress;
use virt_conf::domain::interface::InterfaceSource;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, Randomness, normalize};
use virt_conf::domain::small::TpmVersion;
use virt_conf::domain::storage::StorageLocation;
use virt_conf::domain::validate::validate;
use virt_conf::network::port::NetworkPort;
use virt_conf::secret::SecretUsageType;
use virt_conf::storage_pool::StoragePool;
use virt_conf::storage_volume::VolumeType;
use virt_driver_qemu::capabilities::host_model::HostProcessor;
use virt_driver_qemu::capabilities::{Flag, QemuCaps, cache_xml};
use virt_driver_qemu::firmware::{Descriptor, SearchPath};
use virt_driver_qemu::hooks::{CapsSource, HostDevices, QemuHooks};
use virt_driver_qemu::plan::args::{Descriptor as Fd, DescriptorUse};
use virt_driver_qemu::plan::host::{
    DisplayConfig, DriverConfig, Host, HostNode, HugePageMount, Nbdkit, Paths, TlsConfig,
};
use virt_driver_qemu::plan::prepare::FdGroup;
use virt_driver_qemu::plan::secrets::{self, MASTER_KEY_LENGTH, SecretName, SecretValue, Secrets};
use virt_driver_qemu::plan::volumes::PoolFacts;
use virt_driver_qemu::plan::{self, FixedPorts, Start};
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

pub(super) struct Counting;

impl Randomness for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(0..) {
            *byte = value;
        }
    }
}

/// The driver as the area describes it.
pub(super) struct Driver {
    caps: QemuCaps,
    host: Host,
    firmware: Vec<Descriptor>,
    tpm_versions: Vec<TpmVersion>,
    iommu: PciHost,
}

/// IOMMU groups of the host that the corpus describes, by address.
struct PciHost(std::collections::HashMap<String, u32>);

impl PciHost {
    /// Nothing is known where the corpus has no such host.
    fn read(corpus: &Corpus) -> Self {
        let host = corpus.text("host-devices/pci-host.json").ok();
        let host: Value = host
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let devices = host
            .get("devices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let group = |device: &Value| {
            let group = device.get("iommu_group")?.as_u64()?;
            Some((
                device.get("address")?.as_str()?.to_owned(),
                u32::try_from(group).ok()?,
            ))
        };
        Self(devices.filter_map(group).collect())
    }
}

impl HostDevices for PciHost {
    fn iommu_group(&self, device: HostPciAddress) -> Option<u32> {
        self.0.get(&device.to_string()).copied()
    }
}

impl CapsSource for Driver {
    fn emulator(&self, arch: Arch) -> Option<String> {
        Some(format!(
            "/usr/bin/qemu-system-{}",
            virt_driver_qemu::capabilities::arch_to_qemu(arch)
        ))
    }

    fn caps(&self, _binary: &str) -> Option<&QemuCaps> {
        Some(&self.caps)
    }
}

/// The numbers that the area gives to descriptors.
fn numbering(usage: &DescriptorUse, _before: &[Fd]) -> i32 {
    match usage {
        DescriptorUse::ListenSocket { .. } => 1729,
        DescriptorUse::ChardevFile { .. } => 1750,
        DescriptorUse::ChardevLog { .. } => 1751,
        DescriptorUse::Tap { queue, bridged, .. } => {
            let first = if *bridged { 102 } else { 3 };
            i32::try_from(*queue).map_or(first, |queue| first + queue)
        }
        DescriptorUse::VhostNet { queue, .. } => i32::try_from(*queue).map_or(44, |queue| 44 + queue),
        DescriptorUse::VhostVsock { .. } => 6789,
        DescriptorUse::VhostScsi { .. } => 3,
        DescriptorUse::Tpm { .. } => 1730,
        DescriptorUse::TpmCancel { .. } => 1731,
        DescriptorUse::Vdpa { .. } => 1732,
    }
}

pub(super) fn driver(case: &Case, corpus: &Corpus) -> Result<Driver, String> {
    let wanted = case
        .more
        .get("qemu_caps")
        .ok_or("the case names no capabilities")?;
    let text = |key: &str| {
        wanted
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("no {key}"))
    };
    let file = text("caps_xml")?;
    let mut caps = cache_xml::parse(&corpus.text(file)?, file).map_err(|error| error.to_string())?;
    let flags = |key: &str| -> Result<Vec<Flag>, String> {
        let names = wanted.get(key).and_then(Value::as_array).into_iter().flatten();
        names
            .filter_map(Value::as_str)
            .map(|name| Flag::from_name(name).ok_or_else(|| format!("unknown flag {name}")))
            .collect()
    };
    flags("add")?.into_iter().for_each(|flag| caps.flags.insert(flag));
    flags("del")?.into_iter().for_each(|flag| caps.flags.remove(flag));
    if text("version")? == "latest" {
        caps.strip_machine_aliases();
    }
    // Without versions of its own a case takes those of the binary.
    let gic = case
        .more
        .get("gic")
        .and_then(Value::as_str)
        .filter(|gic| *gic != "none");
    if let Some(gic) = gic {
        let versions: &[i32] = match gic {
            "v2" => &[2],
            "v3" => &[3],
            "both" => &[2, 3],
            _ => &[],
        };
        caps.gic = versions
            .iter()
            .map(|version| virt_driver_qemu::capabilities::Gic {
                version: *version,
                kernel: true,
                emulated: true,
            })
            .collect();
    }
    // A case that names the host's CPU has it from the host, not from the binary.
    if case.more.contains_key("host_cpu") {
        caps.kvm.host_cpu = None;
        caps.tcg.host_cpu = None;
    }
    let arch: Arch = case
        .arch
        .as_deref()
        .unwrap_or("x86_64")
        .parse()
        .map_err(|error| format!("{error}"))?;
    let firmware = SearchPath::session("/home/user/.config")
        .below(corpus.path("common/qemu-env/firmware")?)
        .firmware()
        .map_err(|error| error.to_string())?;
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let environment = [
        ("LC_ALL", "C"),
        ("PATH", "/bin"),
        ("HOME", "/home/test"),
        ("USER", "test"),
        ("LOGNAME", "test"),
    ];
    let daemon_environment = match case.more.get("env").and_then(Value::as_object) {
        Some(map) => map
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        None => Vec::new(),
    };
    let nodes = (0..4u32)
        .map(|id| {
            // As in the area's host tree.
            let cpus = (id as usize * 4..(id as usize + 1) * 4).collect();
            HostNode { id, cpus }
        })
        .collect();
    let host = Host {
        arch,
        processor: Arc::new(processor(case, corpus, arch)?),
        privileged: true,
        paths: Paths {
            lib: "/var/lib/libvirt/qemu".into(),
            channel_target: "/var/run/libvirt/qemu/channel".into(),
            memory_backing: "/var/lib/libvirt/qemu/ram".into(),
            nvram: "/var/lib/libvirt/qemu/nvram".into(),
            state: "/var/run/libvirt/qemu".into(),
            swtpm_socket: Some("/dev/test".into()),
            passt: "/var/run/libvirt/qemu/passt".into(),
        },
        config: config(case),
        huge_pages: [(2048, "/dev/hugepages2M"), (1_048_576, "/dev/hugepages1G")]
            .into_iter()
            .map(|(size, path)| HugePageMount {
                size,
                path: path.to_owned(),
                default: size == 2048,
            })
            .collect(),
        page_size: 4,
        nodes,
        environment: environment.into_iter().map(pair).collect(),
        daemon_environment,
        now: 1_234_567_890,
        utc_offset: -1800,
        vhost_net: true,
        numbering,
    };
    Ok(Driver {
        caps,
        host,
        firmware: firmware.into_iter().map(|(_, descriptor)| descriptor).collect(),
        tpm_versions: tpm_versions(case),
        iommu: PciHost::read(corpus),
    })
}

/// The host's processor, where the area has one for the architecture.
fn processor(case: &Case, corpus: &Corpus, arch: Arch) -> Result<HostProcessor, String> {
    let address_bits = if arch.is_s390() { 0 } else { 64 };
    let named = case.more.get("host_cpu").and_then(Value::as_str);
    let name = match named {
        Some(name) => name,
        None if arch.is_x86() => "default",
        None if arch.is_ppc64() => "power8",
        None => {
            return Ok(HostProcessor {
                address_bits,
                ..HostProcessor::default()
            });
        }
    };
    super::qemu_capabilities::host_processor(corpus, name, address_bits)
}

/// Versions of TPMs that the area's swtpm knows.
fn tpm_versions(case: &Case) -> Vec<TpmVersion> {
    match case.more.get("tpm_versions").and_then(Value::as_array) {
        Some(words) => words
            .iter()
            .filter_map(|word| TpmVersion::from_word(word.as_str()?))
            .collect(),
        None => TpmVersion::ALL.to_vec(),
    }
}

fn config(case: &Case) -> DriverConfig {
    let settings = case.more.get("driver_config");
    let on = |key: &str| {
        settings
            .and_then(|all| all.get(key))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let secret = |kind: &str| {
        let text = settings.and_then(|all| all.get(format!("{kind}_tls_x509_secret_uuid")));
        Uuid::parse_str(text?.as_str()?).ok()
    };
    let tls = |kind: &str| TlsConfig {
        on: on(&format!("{kind}_tls")),
        dir: format!("/etc/pki/libvirt-{kind}"),
        verify: on(&format!("{kind}_tls_x509_verify")),
        secret: secret(kind),
    };
    // Without a list of its own a case does not use nbdkit.
    let nbdkit = |plugin: &str| {
        let offered = case.more.get("nbdkit_caps").and_then(Value::as_array);
        on("storage_use_nbdkit") && offered.is_some_and(|all| all.iter().any(|one| one == plugin))
    };
    let display = |kind: &str| DisplayConfig {
        auto_unix_socket: on(&format!("{kind}_auto_unix_socket")),
        tls: on(&format!("{kind}_tls")),
        tls_x509_dir: format!("/etc/pki/libvirt-{kind}"),
        tls_x509_verify: on(&format!("{kind}_tls_x509_verify")),
        tls_x509_secret: secret(kind),
        sasl: on(&format!("{kind}_sasl")),
        sasl_dir: Some("/etc/sasl2".to_owned()),
        ..DisplayConfig::default()
    };
    DriverConfig {
        dump_guest_core: on("dump_guest_core"),
        vnc: display("vnc"),
        spice: DisplayConfig {
            password: Some("123456".to_owned()),
            ..display("spice")
        },
        vnc_allow_host_audio: on("vnc_allow_host_audio"),
        nographics_allow_host_audio: on("nographics_allow_host_audio"),
        chardev_tls: tls("chardev"),
        vxhs_tls: tls("vxhs"),
        nbd_tls: tls("nbd"),
        nbdkit: Nbdkit {
            curl: nbdkit("plugin-curl"),
            ssh: nbdkit("plugin-ssh"),
        },
        ..DriverConfig::default()
    }
}

impl Driver {
    /// What the driver knows of definitions.
    pub(super) fn hooks(&self) -> QemuHooks<'_> {
        QemuHooks {
            host_arch: self.host.arch,
            caps: self,
            config: &self.host.config,
            firmware: &self.firmware,
            nvram_dir: &self.host.paths.nvram,
            lib_dir: &self.host.paths.lib,
            channel_target_dir: &self.host.paths.channel_target,
            environment: &self.host.daemon_environment,
            host: &self.iommu,
            tpm_versions: Some(&self.tpm_versions),
        }
    }

    fn read(&self, source: &str, name: &str, case: &Case) -> virt_util::Result<Domain> {
        let mut domain = Domain::parse(source, XmlFlags::INACTIVE, name)?;
        let mut flags = NormalizeFlags::INACTIVE;
        if case.has_flag("abi-update") {
            flags |= NormalizeFlags::ABI_UPDATE;
        }
        let hooks = self.hooks();
        normalize(
            &mut domain,
            &hooks,
            &NormalizeContext {
                flags,
                random: &Counting,
            },
        )?;
        validate(&domain, &hooks)?;
        Ok(domain)
    }
}

/// Read as the driver reads, and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let driver = driver(case, corpus)?;
        let write = |domain: Domain| domain.format(XmlFlags::INACTIVE | XmlFlags::SECURE);
        let have = driver.read(&corpus.input(case)?, "input", case).map(write);
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// Descriptors that are associated with the guest of a case.
fn fd_groups(case: &Case) -> BTreeMap<String, FdGroup> {
    let groups = case.more.get("fd_groups").and_then(Value::as_array);
    let group = |group: &Value| {
        let numbers = group.get("fds")?.as_array()?.iter();
        let found = FdGroup {
            numbers: numbers
                .filter_map(|number| i32::try_from(number.as_i64()?).ok())
                .collect(),
            writable: group.get("writable")?.as_bool()?,
        };
        Some((group.get("name")?.as_str()?.to_owned(), found))
    };
    groups.into_iter().flatten().filter_map(group).collect()
}

/// Looks for a volume in the area's pools.
fn add_volume(corpus: &Corpus, pool: &str, volume: &str, start: &mut Start) -> virt_util::Result<()> {
    // The pool that is not active has no definition either.
    let text = corpus.text(&format!("common/qemu-env/pools/{pool}.xml"));
    let definition = match text {
        Ok(text) => StoragePool::parse(&text, pool)?,
        Err(_) => StoragePool::default(),
    };
    let facts = start.pools.entry(pool.to_owned()).or_insert_with(|| PoolFacts {
        definition,
        active: pool != "inactive",
        volumes: BTreeMap::new(),
    });
    if volume != "nonexistent" {
        let (kind, name) = volume.split_once('+').unwrap_or(("block", volume));
        if let Some(known) = VolumeType::from_word(kind) {
            let path = format!("/some/{kind}/device/{name}");
            facts.volumes.insert(volume.to_owned(), (known, path));
        }
    }
    Ok(())
}

/// What the area's host answers about a guest.
fn facts(domain: &Domain, host: &Host, corpus: &Corpus, start: &mut Start) -> virt_util::Result<()> {
    for disk in &domain.devices.disks {
        if let StorageLocation::Volume { pool, volume, .. } = &disk.source.location {
            add_volume(corpus, pool, volume, start)?;
        }
    }
    for (at, interface) in domain.devices.interfaces.iter().enumerate() {
        // The name is that of a network and of the port that it gives.
        if let InterfaceSource::Network { network, .. } = &interface.source
            && let Some((_, port)) = network.split_once(';')
            && let Ok(text) = corpus.text(&format!("common/qemu-env/ports/{port}.xml"))
        {
            start
                .plugs
                .extend(NetworkPort::parse(&text, port)?.plug.map(|plug| (at, plug)));
        }
    }
    let mut key = vec![0; MASTER_KEY_LENGTH];
    Counting.fill(&mut key);
    start.secrets = Secrets {
        master_key: Some(SecretValue::new(key)),
        random: |bytes| {
            Counting.fill(bytes);
            Ok(())
        },
        values: Vec::new(),
    };
    for secret in secrets::wanted(domain, host, start)? {
        let known = match (&secret.name, secret.usage) {
            (SecretName::Uuid(_), _) => true,
            (SecretName::Usage(text), SecretUsageType::Volume) => text.starts_with("/storage/guest_disks/"),
            (SecretName::Usage(text), _) => {
                matches!(text.as_str(), "mycluster_myname" | "client.admin secret")
            }
        };
        if known {
            let value = SecretValue::new("AQCVn5hO6HzFAhAAq0NCv8jtJcIcE+HOBlMQ1A");
            start.secrets.values.push((secret, value));
        }
    }
    start.scsi_generic = plan::prepare::scsi_places(domain)
        .into_iter()
        .map(|place| (place, "sg0".to_owned()))
        .collect();
    Ok(())
}

/// Read, and make the command line.
pub fn xml2argv(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let driver = driver(case, corpus)?;
        let input = corpus.input(case)?;
        let mut start = Start {
            id: -1,
            auto_nodes: Some(Bitmap::parse_growing("0-3").map_err(|error| error.to_string())?),
            cdrom_drives: vec!["/dev/cdrom".to_owned()],
            render_node: Some("/dev/dri/foo".to_owned()),
            incoming: case
                .more
                .get("migrate_from")
                .and_then(Value::as_str)
                // A stream is a descriptor of the process.
                .map(|from| if from == "stdio" { "fd:7" } else { from })
                .map(str::to_owned),
            fd_groups: fd_groups(case),
            vsock_cid: Some(42),
            ..Start::default()
        };
        let have = driver.read(&input, "input", case);
        let have = match have {
            Ok(domain) => facts(&domain, &driver.host, corpus, &mut start)
                .and_then(|()| plan::plan(&domain, &driver.caps, &driver.host, &start, &mut FixedPorts))
                .map(|plan| plan.command.to_shell()),
            Err(error) => return Ok(Outcome::failed(format!("refused at once: {error}"))),
        };
        let want = corpus.expected(case, "args")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}
