//! The planner that the plugin uses: definitions are made complete by the driver's hooks, command lines come from
//! [`crate::plan`], binaries are asked what they can do once and remembered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use virt_api::host::HostServices;
use virt_conf::cpu::{CpuDocument, CpuFeaturePolicy, CpuMode};
use virt_conf::cpu_models::{self, Comparison};
use virt_conf::domain::hostdev::HostPciAddress;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, SystemRandomness, normalize};
use virt_conf::domain::validate::validate;
use virt_conf::domain::{Domain, VirtType};
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::command::{Capabilities, Limit, SystemSpawner, common_environment, find_program};
use virt_util::host::Host as Machine;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result};

use super::cpus::{self, Emulator};
use super::error;
use super::host_caps::{self, HostFacts};
use super::net::VHOST_NET;
use super::planner::{Occasion, Patience, Planned, Planner, Wanted};
use super::start_facts;
use super::tpm::TpmSoftware;
use crate::capabilities::domain_document::{self, Facts, Subject};
use crate::capabilities::host_model::HostProcessor;
use crate::capabilities::store::{Store, find_emulator};
use crate::capabilities::{Accel, QemuCaps};
use crate::firmware::{Descriptor, SearchPath, supported};
use crate::hooks::{CapsSource, FirmwareSource, HostDevices, QemuHooks, implied_audio, migratable};
use crate::plan::host::{DriverConfig, Host, HostNode, HugePageMount, Paths, TlsConfig, consecutive};
use crate::plan::secrets::{self, SecretValue};
use crate::plan::{self, PortSource, Start};
use crate::process::layout::Layout;

/// How long a port that was handed out is not handed out again: until QEMU must have bound it.
const PORT_REST: Duration = Duration::from_secs(120);

/// Plans guests for this host.
pub struct QemuPlanner {
    machine: Machine,
    arch: Arch,
    /// One store of probed binaries for each cache folder.
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
    /// Ports that were handed out lately.
    ports: Mutex<HashMap<u16, Instant>>,
    /// What does not change of the host.
    facts: OnceLock<HostFacts>,
    /// The host's UUID, if we were told.
    host_uuid: OnceLock<Uuid>,
    /// What emulates TPMs.
    tpm: TpmSoftware,
    /// Who keeps secrets.
    services: Mutex<Option<HostServices>>,
}

impl QemuPlanner {
    /// For the machine we run on.
    pub fn new() -> Self {
        Self {
            machine: Machine::system(),
            arch: Arch::host().unwrap_or(Arch::X86_64),
            stores: Mutex::default(),
            ports: Mutex::default(),
            facts: OnceLock::new(),
            host_uuid: OnceLock::new(),
            tpm: TpmSoftware::default(),
            services: Mutex::new(None),
        }
    }

    fn store(&self, layout: &Layout) -> Arc<Store> {
        let folder = layout.cache.join("capabilities");
        let mut stores = self.stores.lock();
        let store = stores.entry(folder.clone()).or_insert_with(|| {
            let kept = virt_util::durable::make_folder(&folder, 0o755).is_ok();
            let folder = kept.then_some(folder);
            Arc::new(Store::new(folder, Arc::new(SystemSpawner), self.machine.clone()))
        });
        Arc::clone(store)
    }

    /// The binary of a definition and what it can do.
    fn binary(&self, domain: &Domain, layout: &Layout, patience: &Patience) -> Result<Binary> {
        let arch = match domain.os.kind.arch.as_deref() {
            None => self.arch,
            Some(name) => Arch::from_name(name).ok_or_else(|| {
                error(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!("unknown architecture '{name}'"),
                )
            })?,
        };
        let path = match &domain.devices.emulator {
            Some(path) => PathBuf::from(path),
            None => find_emulator(self.arch, arch).ok_or_else(|| {
                error(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!("no emulator for architecture '{arch}' is installed: say <emulator>"),
                )
            })?,
        };
        let caps = self
            .store(layout)
            .get(&path, patience.deadline, &patience.cancel)?;
        Ok(Binary {
            path: path.display().to_string(),
            caps,
        })
    }

    /// What does not change of the host, asked once.
    fn facts(&self) -> &HostFacts {
        self.facts
            .get_or_init(|| HostFacts::ask(&self.machine, self.arch, &SystemSpawner, self.host_uuid.get()))
    }

    fn processor(&self) -> Arc<HostProcessor> {
        Arc::clone(&self.facts().processor)
    }

    fn host(&self, layout: &Layout) -> Result<Host> {
        let cells = self.machine.numa_cells()?;
        let environment = common_environment()
            .filter_map(|(name, value)| Some((name.to_owned(), value.into_string().ok()?)))
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Host {
            arch: self.arch,
            processor: self.processor(),
            privileged: nix::unistd::geteuid().is_root(),
            paths: paths(layout),
            config: config(),
            huge_pages: huge_pages(),
            page_size: virt_util::sys::memory::page_size() / 1024,
            nodes: cells
                .into_iter()
                .map(|cell| HostNode {
                    id: cell.id,
                    cpus: cell.cpus.iter().map(|cpu| cpu.id as usize).collect::<Bitmap>(),
                })
                .collect(),
            environment,
            daemon_environment: daemon_environment(),
            now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            utc_offset: i64::from(jiff::Zoned::now().offset().seconds()),
            vhost_net: std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(VHOST_NET)
                .is_ok(),
            numbering: consecutive,
        })
    }
}

impl Default for QemuPlanner {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for QemuPlanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QemuPlanner({})", self.arch)
    }
}

fn paths(layout: &Layout) -> Paths {
    let text = |path: &Path| path.display().to_string();
    Paths {
        lib: text(&layout.lib),
        channel_target: text(&layout.channel),
        memory_backing: text(&layout.ram),
        nvram: text(&layout.nvram),
        state: text(&layout.state),
        swtpm_socket: None,
        passt: text(&layout.state.join("passt")),
    }
}

fn config() -> DriverConfig {
    DriverConfig {
        // There is no log daemon behind a driver without a daemon.
        stdio_by_log_daemon: false,
        chardev_tls: tls("chardev"),
        vxhs_tls: tls("vxhs"),
        nbd_tls: tls("nbd"),
        ..DriverConfig::default()
    }
}

/// Where certificates are: a folder for the purpose, else the one for all.
fn tls(purpose: &str) -> TlsConfig {
    let own = format!("/etc/pki/libvirt-{purpose}");
    let dir = match Path::new(&own).is_dir() {
        true => own,
        false => "/etc/pki/qemu".to_owned(),
    };
    TlsConfig {
        dir,
        ..TlsConfig::default()
    }
}

fn daemon_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn firmware() -> Result<Vec<Descriptor>> {
    let search = if nix::unistd::geteuid().is_root() {
        SearchPath::system()
    } else {
        let home = std::env::var_os("XDG_CONFIG_HOME").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".config"),
            PathBuf::from,
        );
        SearchPath::session(home)
    };
    Ok(search
        .firmware()?
        .into_iter()
        .map(|(_, descriptor)| descriptor)
        .collect())
}

/// The devices as the kernel tells of them.
struct SysfsDevices;

impl HostDevices for SysfsDevices {
    fn has_rdp_server(&self) -> bool {
        find_program(Path::new("qemu-rdp")).is_ok()
    }

    fn iommu_group(&self, device: HostPciAddress) -> Option<u32> {
        let link = format!("/sys/bus/pci/devices/{device}/iommu_group");
        std::fs::read_link(link).ok()?.file_name()?.to_str()?.parse().ok()
    }

    fn is_express(&self, device: HostPciAddress) -> bool {
        let path = format!("/sys/bus/pci/devices/{device}/config");
        let length = std::fs::metadata(&path).map_or(0, |config| config.len());
        std::fs::read(path).map_or(true, |config| config_is_express(&config, length))
    }
}

/// Whether the configuration of a PCI device has the capability of Express. Those without privileges see but its
/// beginning; then its length decides.
fn config_is_express(config: &[u8], length: u64) -> bool {
    const STATUS: usize = 0x06;
    const HAS_LIST: u8 = 0x10;
    const LIST: usize = 0x34;
    const EXPRESS: u8 = 0x10;
    let byte = |at: usize| config.get(at).copied();
    let mut at = match byte(STATUS) {
        Some(status) if status & HAS_LIST != 0 => byte(LIST),
        _ => None,
    };
    // A list that goes round in circles ends with as many steps as there is room for entries.
    for _ in 0..64 {
        match at {
            Some(here) if here >= 0x40 && here != 0xff => {
                if byte(usize::from(here)) == Some(EXPRESS) {
                    return true;
                }
                at = byte(usize::from(here) + 1);
            }
            _ => break,
        }
    }
    length != 256
}

/// The firmware that is installed now, as far as the caller may use it.
struct InstalledFirmware;

impl FirmwareSource for InstalledFirmware {
    fn firmware(&self) -> Result<Cow<'_, [Descriptor]>> {
        firmware().map(Cow::Owned)
    }
}

/// Mounted hugetlbfs file systems. The first of a size is taken; the kernel's default size is marked.
fn huge_pages() -> Vec<HugePageMount> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let default: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(2048);
    let mut mounts: Vec<HugePageMount> = Vec::new();
    for line in read("/proc/mounts").lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(path), Some("hugetlbfs"), Some(options)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let size = options
            .split(',')
            .find_map(|option| option.strip_prefix("pagesize="))
            .and_then(page_size_kib)
            .unwrap_or(default);
        if !mounts.iter().any(|mount| mount.size == size) {
            mounts.push(HugePageMount {
                size,
                path: path.to_owned(),
                default: size == default,
            });
        }
    }
    mounts
}

/// `2M`, `1G` or `64K` in KiB.
fn page_size_kib(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "K" => 1,
        "M" => 1 << 10,
        "G" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// One binary, as the hooks ask for it.
struct Binary {
    path: String,
    caps: Arc<QemuCaps>,
}

impl CapsSource for Option<Binary> {
    fn emulator(&self, _arch: Arch) -> Option<String> {
        Some(self.as_ref()?.path.clone())
    }

    fn caps(&self, binary: &str) -> Option<&QemuCaps> {
        let known = self.as_ref().filter(|known| known.path == binary)?;
        Some(&known.caps)
    }
}

/// Hands out ports that nobody has bound.
struct FreePorts<'a>(&'a Mutex<HashMap<u16, Instant>>);

impl FreePorts<'_> {
    fn next(&self, first: u16, last: u16) -> Result<u16> {
        let mut given = self.0.lock();
        given.retain(|_, when| when.elapsed() < PORT_REST);
        let free = (first..=last).find(|port| {
            !given.contains_key(port) && std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok()
        });
        let port = free.ok_or_else(|| {
            error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("all ports from {first} to {last} are taken"),
            )
        })?;
        given.insert(port, Instant::now());
        Ok(port)
    }
}

impl PortSource for FreePorts<'_> {
    fn vnc(&mut self) -> Result<u16> {
        self.next(5900, 65535)
    }

    fn websocket(&mut self) -> Result<u16> {
        self.next(5700, 65535)
    }

    fn spice(&mut self) -> Result<u16> {
        self.next(5900, 65535)
    }

    fn spice_tls(&mut self) -> Result<u16> {
        self.next(5900, 65535)
    }
}

impl Planner for QemuPlanner {
    fn normalize(
        &self,
        mut domain: Domain,
        occasion: Occasion,
        layout: &Layout,
        patience: &Patience,
    ) -> Result<Domain> {
        let binary = match self.binary(&domain, layout, patience) {
            Ok(binary) => Some(binary),
            // Without its emulator the guest cannot run today. The hooks say so, which marks it.
            Err(_) if occasion == Occasion::Load => None,
            Err(error) => return Err(error),
        };
        let versions = match domain.devices.tpms.is_empty() {
            true => None,
            false => Some(self.tpm.versions(&SystemSpawner)),
        };
        // Other facts of the host are for the plan: a definition does not depend on them.
        let paths = paths(layout);
        let hooks = QemuHooks {
            host_arch: self.arch,
            caps: &binary,
            config: &config(),
            firmware: &InstalledFirmware,
            nvram_dir: &paths.nvram,
            lib_dir: &paths.lib,
            channel_target_dir: &paths.channel_target,
            environment: &daemon_environment(),
            host: &SysfsDevices,
            tpm_versions: versions.as_deref(),
        };
        let more = match occasion {
            Occasion::Define => NormalizeFlags::ABI_UPDATE,
            Occasion::Load => NormalizeFlags::ALLOW_FAILURE,
            Occasion::Start => NormalizeFlags::empty(),
        };
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE | more,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &hooks, &cx)?;
        // What was accepted once stays.
        if occasion != Occasion::Load {
            validate(&domain, &hooks)?;
        }
        Ok(domain)
    }

    fn plan(&self, domain: &Domain, id: i32, layout: &Layout, patience: &Patience) -> Result<Planned> {
        let binary = self.binary(domain, layout, patience)?;
        let mut host = self.host(layout)?;
        // The kernel moves packets for guests on KVM alone.
        host.vhost_net &= domain.virt_type == VirtType::Kvm;
        start_facts::check(domain)?;
        let services = self.services.lock().clone();
        let wanted = secrets::wanted(domain, &host, &Start::default())?;
        let secrets = super::secrets::fetch(&wanted, services.as_ref(), patience)?;
        let master_key = secrets.master_key.clone();
        let start = Start {
            id,
            incoming: None,
            auto_nodes: start_facts::auto_nodes(domain, patience)?,
            cdrom_drives: start_facts::cdrom_drives(domain),
            render_node: start_facts::render_node(domain)?,
            secrets,
            scsi_generic: start_facts::scsi_generic(domain)?,
            names: start_facts::names(domain),
            ..Start::default()
        };
        let planned = plan::plan(domain, &binary.caps, &host, &start, &mut FreePorts(&self.ports))?;
        Ok(Planned {
            command: planned.command,
            live: planned.domain,
            caps: binary.caps,
            last_node: u64::from(planned.layout.last_node),
            user: None,
            capabilities: Capabilities::Inherit,
            limits: vec![Limit::both(libc::RLIMIT_CORE, 0)],
            labels: Vec::new(),
            master_key: master_key.unwrap_or_else(|| SecretValue::new(Vec::new())),
        })
    }

    fn version(&self, layout: &Layout, patience: &Patience) -> Result<u64> {
        let path = find_emulator(self.arch, self.arch).ok_or_else(|| {
            error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("Cannot find suitable emulator for {}", self.arch),
            )
        })?;
        let caps = self
            .store(layout)
            .get(&path, patience.deadline, &patience.cancel)?;
        Ok(caps.version.into())
    }

    fn set_services(&self, services: &HostServices) {
        *self.services.lock() = Some(services.clone());
    }

    fn set_host_uuid(&self, uuid: Uuid) {
        // The first word counts: what was told to clients does not change.
        let _ = self.host_uuid.set(uuid);
    }

    fn capabilities(&self, layout: &Layout, patience: &Patience) -> Result<String> {
        let store = self.store(layout);
        let mut binaries = Vec::new();
        for arch in Arch::ALL {
            let Some(path) = find_emulator(self.arch, *arch) else {
                continue;
            };
            match store.get(&path, patience.deadline, &patience.cancel) {
                Ok(caps) => binaries.push((*arch, path, caps)),
                // A broken binary of a foreign architecture does not hide the others.
                Err(error) => tracing::warn!("'{}' is left out: {error:#}", path.display()),
            }
        }
        Ok(host_caps::capabilities(&self.machine, self.arch, self.facts(), &binaries)?.to_xml())
    }

    fn domain_capabilities(&self, wanted: &Wanted, layout: &Layout, patience: &Patience) -> Result<String> {
        let Asked {
            path: emulator,
            caps,
            arch,
            accel,
            machine,
        } = self.asked(wanted, layout, patience)?;
        let machine = machine.as_str();
        let firmware = supported(&firmware()?, machine, arch);
        let mut loaders = Vec::new();
        for (image, _) in firmware.images.iter().flatten() {
            if !loaders.contains(image) && Path::new(image).exists() {
                loaders.push(image.clone());
            }
        }
        let facts = Facts {
            arch: self.arch,
            processor: self.processor(),
            firmware,
            loaders,
            vfio: vfio_is_usable(),
            // Guests with an emulated TPM cannot be started yet.
            swtpm: None,
            rdp: SysfsDevices.has_rdp_server(),
            sev_guests: host_caps::sev_guests(&self.machine),
            without_deprecated: wanted.without_deprecated,
            kvm_max_cpus: match accel {
                Accel::Kvm => self.machine.kvm_max_vcpus()?,
                _ => 0,
            },
        };
        let subject = Subject {
            emulator: &emulator,
            arch,
            accel,
            machine,
        };
        Ok(domain_document::format(&caps, &subject, &facts))
    }

    fn update_cpu(&self, domain: &Domain, layout: &Layout, patience: &Patience) -> Result<Domain> {
        let binary = self.binary(domain, layout, patience)?;
        let arch = plan::guest_arch(domain)?;
        let accel = Accel::from_domain_type(domain.virt_type.as_str()).unwrap_or(Accel::Tcg);
        let mut domain = domain.clone();
        if let Some(cpu) = &mut domain.cpu
            && (cpu.mode != CpuMode::Custom || cpu.model_name().is_some())
        {
            let host = binary.caps.host_models(self.arch, &self.processor(), accel);
            let migratable = host.as_ref().map(|host| &host.migratable);
            cpu_models::update(arch, cpu, migratable, CpuFeaturePolicy::Disable)?;
        }
        Ok(domain)
    }

    fn for_older(&self, domain: &Domain, layout: &Layout) -> Domain {
        let mut domain = domain.clone();
        let graphics = &domain.devices.graphics;
        let audio = implied_audio(graphics, &config(), &daemon_environment());
        let paths = paths(layout);
        let folders = [paths.channel_target.as_str(), &format!("{}/channel", paths.lib)];
        migratable::for_older(&mut domain, audio.ok().flatten().as_ref(), &folders);
        domain
    }

    fn compare_cpu(&self, cpu: &CpuDocument) -> Result<Comparison> {
        let host = host_caps::host_cpu_document(&self.machine, self.arch, &self.processor());
        cpu_models::compare(self.arch, Some(&host), cpu)
    }

    fn compare_hypervisor_cpu(
        &self,
        wanted: &Wanted,
        cpu: &CpuDocument,
        layout: &Layout,
        patience: &Patience,
    ) -> Result<Comparison> {
        let asked = self.asked(wanted, layout, patience)?;
        cpus::compare_with_hypervisor(&asked.emulator(), self.arch, &self.processor(), cpu)
    }

    fn baseline_hypervisor_cpu(
        &self,
        wanted: &Wanted,
        sources: &[String],
        (expand, migratable): (bool, bool),
        layout: &Layout,
        patience: &Patience,
    ) -> Result<String> {
        let asked = self.asked(wanted, layout, patience)?;
        cpus::baseline_of_hypervisor(&asked.emulator(), sources, expand, migratable)
    }
}

/// What somebody asks about, with everything filled in that was left open.
struct Asked {
    path: String,
    caps: Arc<QemuCaps>,
    arch: Arch,
    accel: Accel,
    machine: String,
}

impl Asked {
    fn emulator(&self) -> Emulator<'_> {
        Emulator {
            path: &self.path,
            caps: &self.caps,
            arch: self.arch,
            accel: self.accel,
        }
    }
}

impl QemuPlanner {
    /// Finds the emulator that is asked about, and checks that what was said goes together.
    fn asked(&self, wanted: &Wanted, layout: &Layout, patience: &Patience) -> Result<Asked> {
        let invalid = |what: std::fmt::Arguments<'_>| error(ErrorCode::INVALID_ARG, what);
        let arch = match wanted.arch.as_deref() {
            Some(name) => Some(
                Arch::from_name(name).ok_or_else(|| invalid(format_args!("unknown architecture: {name}")))?,
            ),
            None => None,
        };
        let accel = match wanted.virt_type.as_deref() {
            Some(name) => Some(
                Accel::from_domain_type(name)
                    .ok_or_else(|| invalid(format_args!("unknown virttype: {name}")))?,
            ),
            None => None,
        };
        let path = match &wanted.emulator {
            Some(path) => PathBuf::from(path),
            None => find_emulator(self.arch, arch.unwrap_or(self.arch)).ok_or_else(|| {
                invalid(format_args!(
                    "no emulator for architecture '{}' is installed: say which",
                    arch.unwrap_or(self.arch)
                ))
            })?,
        };
        let emulator = path.display().to_string();
        let caps = self
            .store(layout)
            .get(&path, patience.deadline, &patience.cancel)?;
        let arch = match (arch, caps.arch) {
            (Some(arch), Some(own)) if arch != own && !are_kin(arch, own) => {
                return Err(invalid(format_args!(
                    "the emulator is for architecture '{own}', not '{arch}'"
                )));
            }
            (given, own) => given.or(own).unwrap_or(self.arch),
        };
        let accel = accel.or(caps.preferred_accel()).unwrap_or(Accel::Tcg);
        if !caps.supports_accel(accel) {
            return Err(invalid(format_args!(
                "virttype '{}' is not supported by emulator '{emulator}' on this host",
                accel.domain_type()
            )));
        }
        let machine = match wanted.machine.as_deref() {
            Some(name) => caps.canonical_machine(accel, name),
            None => caps.preferred_machine(accel).unwrap_or_default(),
        };
        if caps.machine(accel, machine).is_none() {
            return Err(invalid(format_args!(
                "emulator '{emulator}' has no machine '{machine}'"
            )));
        }
        let machine = machine.to_owned();
        Ok(Asked {
            path: emulator,
            caps,
            arch,
            accel,
            machine,
        })
    }
}

/// Whether an emulator for one architecture may be asked about guests of the other.
fn are_kin(a: Arch, b: Arch) -> bool {
    [Arch::is_x86, Arch::is_ppc, Arch::is_arm, Arch::is_s390]
        .iter()
        .any(|family| family(a) && family(b))
}

/// The kernel hands out PCI devices: its driver is there, and so are groups of devices.
fn vfio_is_usable() -> bool {
    let groups =
        std::fs::read_dir("/sys/kernel/iommu_groups").is_ok_and(|mut groups| groups.next().is_some());
    groups && Path::new("/dev/vfio/vfio").exists()
}
