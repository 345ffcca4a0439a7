//! The domain: a virtual machine or container, as `<domain>` XML.
//!
//! [`Domain`] is the whole document. Each family of devices, and each section of the document that is more than a few
//! values, has a module of its own:
//!
//! | module | holds |
//! |---|---|
//! | [`os`], [`features`], [`clock`], [`lifecycle`], [`memory`], [`tune`], [`security`], [`seclabel`] | sections of the document |
//! | [`crate::cpu`], [`crate::numa`], [`crate::sysinfo`] | sections that other documents share |
//! | [`device_info`] | what all devices share: alias, boot order, address |
//! | [`storage`], [`disk`], [`controller`], [`filesystem`], [`interface`], [`chardev`], [`input`], [`graphics`], [`video`], [`sound`], [`hostdev`], [`small`] | devices |
//! | [`fragment`] | a device in a document of its own, for calls that plug it in, change it or take it out |
//! | [`qemu_ns`], [`namespaces`] | what users say to one hypervisor past the model |
//! | [`mod@normalize`] | from what was said to what is meant: defaults, implied devices, addresses; hooks for drivers |
//! | [`stability`] | whether a guest sees the same machine in two definitions |
//! | [`mod@effect`] | what a change means for a guest that runs |
//! | [`mod@validate`] | contradictions and missing parts |
//!
//! A definition goes through four steps: read (pure), [`normalize`](normalize::normalize)
//! (defaults, controllers, addresses), [`validate`](validate::validate), write.

pub mod annotations;
pub mod audit;
pub mod chardev;
pub mod clock;
pub mod controller;
pub mod device_info;
pub mod disk;
pub mod effect;
pub mod features;
pub mod filesystem;
pub mod fragment;
pub mod graphics;
pub mod hostdev;
pub mod input;
pub mod interface;
pub mod lifecycle;
pub mod memory;
pub mod namespaces;
pub mod normalize;
pub mod os;
pub mod private_data;
pub mod qemu_ns;
pub mod schema;
pub mod seclabel;
pub mod security;
pub mod settle;
pub mod small;
pub mod sound;
pub mod stability;
pub mod storage;
pub mod tune;
mod usb;
pub mod validate;
pub mod video;

use crate::scaled::{ScaledSize, kib_or_none};
use virt_util::uuid::Uuid;
use virt_util::xml::{
    At, Doc, DocOptions, Element, Rare, RawElement, Reader, Writer, Xml, XmlElement, XmlFlags, check_root,
    error_at, error_with, metadata,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use chardev::{Channel, Console, Parallel, Serial, Smartcard};
use clock::Clock;
use controller::Controller;
pub use device_info::*;
use disk::{Disk, DiskTune};
use features::Features;
use filesystem::{Filesystem, IdMap};
use graphics::Graphics;
use hostdev::Hostdev;
use input::{Hub, Input, Redirdev, Redirfilter, input_element};
use interface::Interface;
use lifecycle::{LifecycleAction, LockFailureAction};
use memory::{
    MaxMemory, MemoryBacking, MemoryDevice, MemorySize, MemoryTune, SizedMemory, SlottedMemory, max_memory,
    memory_size,
};
use namespaces::{
    BHYVE_NAMESPACE, BhyveCommandline, LXC_NAMESPACE, LxcNamespaces, VMWARE_NAMESPACE, XEN_NAMESPACE,
    XenCommandline,
};
use os::{Os, OsKind};
use qemu_ns::{QEMU_NAMESPACE, QemuCapabilitiesOverride, QemuCommandline, QemuDeprecation, QemuOverride};
use seclabel::Seclabel;
use security::{KeyWrap, LaunchSecurity};
use small::{Crypto, Iommu, Lease, Memballoon, Nvram, Panic, Pstore, Rng, Shmem, Tpm, Vsock, Watchdog};
use sound::{Audio, Sound};
use tune::{
    BlkioTune, CpuTune, DefaultIoThread, IoThread, PerfEvent, PowerManagement, Resource, VcpuState, Vcpus,
};
use video::Video;

use crate::cpu::Cpu;
use crate::numa::Numatune;
use crate::sysinfo::Sysinfo;

xml_enum! {
    /// Which hypervisor runs the guest (`<domain type=…>`).
    pub enum VirtType { None = "none", Qemu = "qemu", Kqemu = "kqemu", Kvm = "kvm", Xen = "xen", Lxc = "lxc", Uml = "uml", Openvz = "openvz", Test = "test", Vmware = "vmware", Hyperv = "hyperv", Vbox = "vbox", Phyp = "phyp", Parallels = "parallels", Bhyve = "bhyve", Vz = "vz", Hvf = "hvf" }
}

/// A virtual machine or container.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "domain", body,
    declare(qemu = QEMU_NAMESPACE, xen = XEN_NAMESPACE, lxc = LXC_NAMESPACE, bhyve = BHYVE_NAMESPACE,
        vmware = VMWARE_NAMESPACE),
    order(id, name, uuid, genid, virt_type, title, description, seclabels, memory, current_memory, max_memory,
        memory_backing, blkio_tune, memory_tune, vcpus, vcpu_states, iothread_count, default_iothread, iothreads, cpu_tune,
        cpu, numatune, resource, features, on_reboot, on_poweroff, on_crash, on_lockfailure, pm, perf, clock, bootloader,
        bootloader_args, os, throttle_groups, devices, launch_security, idmap, sysinfo, keywrap, metadata),
    check = Domain::after_read)]
pub struct Domain {
    /// Which hypervisor runs it.
    #[xml("@type", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED, missing = ErrorCode::INTERNAL_ERROR,
        then = known_kind(element, cx))]
    pub virt_type: VirtType,
    /// Number while it runs.
    #[xml("@id", unless(inactive))]
    pub id: Option<u32>,
    /// Name, unique on the host.
    #[xml("name", when = !self.name.is_empty(), missing = ErrorCode::NO_NAME)]
    pub name: String,
    /// UUID; none until the definition is normalized.
    #[xml("uuid", code = ErrorCode::INTERNAL_ERROR)]
    pub uuid: Option<Uuid>,
    /// Generation id: changes when the guest is set back in time.
    #[xml(".", with = genid, reads("genid": String))]
    pub genid: Option<Genid>,
    /// One line for people.
    #[xml("title", then = one_line(title.as_deref(), element, cx))]
    pub title: Option<String>,
    /// Text for people.
    #[xml("description")]
    pub description: Option<String>,
    /// What applications keep here.
    #[xml("metadata", with = metadata)]
    pub metadata: Option<Box<RawElement>>,
    /// Most memory, with memory devices.
    #[xml("maxMemory", with = max_memory, described = SlottedMemory)]
    pub max_memory: Option<MaxMemory>,
    /// How much memory the guest has at start, devices of memory included.
    #[xml("memory", with = memory_size, described = SizedMemory, default = MemorySize::default(), always)]
    pub memory: MemorySize,
    /// KiB that the guest has now.
    #[xml("currentMemory", with = kib_or_none, described = ScaledSize, default, always)]
    pub current_memory: u64,
    /// How its I/O is weighed.
    #[xml("blkiotune+", omit_empty)]
    pub blkio_tune: Option<Box<BlkioTune>>,
    /// Memory limits.
    #[xml("memtune+", omit_empty)]
    pub memory_tune: Option<Box<MemoryTune>>,
    /// What backs memory.
    #[xml("memoryBacking+", omit_empty)]
    pub memory_backing: Option<Box<MemoryBacking>>,
    /// CPUs.
    #[xml("vcpu", default, always)]
    pub vcpus: Vcpus,
    /// State of single CPUs.
    #[xml("vcpus+/vcpu", then = states_of_cpus(&vcpu_states, &vcpus, element, cx))]
    pub vcpu_states: Rare<Vec<VcpuState>>,
    /// Number of I/O threads.
    #[xml("iothreads", default)]
    pub iothread_count: u32,
    /// I/O threads whose settings or numbers were said.
    #[xml("iothreadids+/iothread", when = self.iothreads.iter().any(IoThread::is_worth_listing),
        then = unique(element, cx, "iothreadids", "iothread", iothreads.iter().map(|thread| thread.id)))]
    pub iothreads: Rare<Vec<IoThread>>,
    /// Pool of the thread that runs what no I/O thread does.
    #[xml("defaultiothread", omit_empty)]
    pub default_iothread: Option<DefaultIoThread>,
    /// Throttle groups that drives name.
    #[xml("throttlegroups+/throttlegroup", with = throttle_group, shape = throttle_group_shape,
        then = unique(element, cx, "throttlegroups", "throttlegroup", throttle_groups.iter().map(|group| group.group.as_deref())))]
    pub throttle_groups: Rare<Vec<DiskTune>>,
    /// How host CPUs are shared out.
    #[xml("cputune+", omit_empty)]
    pub cpu_tune: Option<Box<CpuTune>>,
    /// Where memory comes from.
    #[xml("numatune", omit_empty, sole, then = tuned_cells(numatune.as_deref(), &vcpus, cpu.as_deref(), element, cx))]
    pub numatune: Option<Box<Numatune>>,
    /// Place among the host's control groups.
    #[xml("resource", omit_empty, sole)]
    pub resource: Option<Box<Resource>>,
    /// System information.
    #[xml("sysinfo")]
    pub sysinfo: Rare<Vec<Sysinfo>>,
    /// Boot loader of a paravirtual guest.
    #[xml("bootloader")]
    pub bootloader: Rare<Option<String>>,
    /// Its arguments; of a boot loader that goes without saying they are not told.
    #[xml("bootloader_args", when = self.bootloader.is_some())]
    pub bootloader_args: Rare<Option<String>>,
    /// What it is and what it boots from.
    #[xml("os+", ghost)]
    pub os: Os,
    /// Mapping of users and groups.
    #[xml("idmap+")]
    pub idmap: Option<Box<IdMap>>,
    /// Abilities of the machine that are turned on or off.
    #[xml("features+", omit_empty)]
    pub features: Option<Box<Features>>,
    /// CPU.
    #[xml("cpu+", with = guest_cpu, described = Cpu, then = cells_have_cpus(cpu.as_deref(), &vcpus, element, cx))]
    pub cpu: Option<Box<Cpu>>,
    /// How the guest's clock is set and kept.
    #[xml("clock+", default, always)]
    pub clock: Clock,
    /// What happens when it powers off.
    #[xml("on_poweroff", default = LifecycleAction::Destroy, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub on_poweroff: LifecycleAction,
    /// What happens when it reboots.
    #[xml("on_reboot", default = LifecycleAction::Restart, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub on_reboot: LifecycleAction,
    /// What happens when it crashes.
    #[xml("on_crash", default = LifecycleAction::Destroy, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub on_crash: LifecycleAction,
    /// What happens when a lease is lost.
    #[xml("on_lockfailure")]
    pub on_lockfailure: Option<LockFailureAction>,
    /// Sleep states.
    #[xml("pm+", omit_empty)]
    pub pm: Option<PowerManagement>,
    /// Performance counters.
    #[xml("perf+/event", then = unique(element, cx, "perf", "event", perf.iter().map(|event| event.name.as_str())))]
    pub perf: Rare<Vec<PerfEvent>>,
    /// All that the guest sees as hardware.
    #[xml("devices+", default, keep_empty, always)]
    pub devices: Box<Devices>,
    /// Security labels.
    #[xml("seclabel", with = seclabel::guest_seclabel, described = seclabel::Seclabel)]
    pub seclabels: Rare<Vec<Seclabel>>,
    /// Key wrapping.
    #[xml("keywrap+", omit_empty)]
    pub keywrap: Option<Box<KeyWrap>>,
    /// Memory protection.
    #[xml("launchSecurity")]
    pub launch_security: Option<Box<LaunchSecurity>>,
    /// QEMU: arguments and environment.
    #[xml("qemu:commandline+", omit_empty, unless(no_namespaces))]
    pub qemu_commandline: Option<Box<QemuCommandline>>,
    /// QEMU: capabilities.
    #[xml("qemu:capabilities+", omit_empty, unless(no_namespaces))]
    pub qemu_capabilities: Option<Box<QemuCapabilitiesOverride>>,
    /// QEMU: properties of devices.
    #[xml("qemu:override+", omit_empty, unless(no_namespaces))]
    pub qemu_override: Option<Box<QemuOverride>>,
    /// QEMU: what happens when something deprecated is used.
    #[xml("qemu:deprecation+", unless(no_namespaces))]
    pub qemu_deprecation: Option<Box<QemuDeprecation>>,
    /// Xen: arguments of the device model.
    #[xml("xen:commandline+", omit_empty, unless(no_namespaces), read_when = element.attr("type").as_deref() == Some("xen"))]
    pub xen_commandline: Option<Box<XenCommandline>>,
    /// LXC: namespaces that are shared.
    #[xml("lxc:namespace+", omit_empty, unless(no_namespaces), read_when = element.attr("type").as_deref() == Some("lxc"))]
    pub lxc_namespace: Option<Box<LxcNamespaces>>,
    /// bhyve: arguments.
    #[xml("bhyve:commandline+", omit_empty, unless(no_namespaces), read_when = element.attr("type").as_deref() == Some("bhyve"))]
    pub bhyve_commandline: Option<Box<BhyveCommandline>>,
    /// VMware: the data center; told, never read.
    #[xml("vmware:datacenterpath", read_when = false)]
    pub vmware_datacenter_path: Rare<Option<String>>,
    /// VMware: the managed object; told, never read.
    #[xml("vmware:moref", read_when = false)]
    pub vmware_moref: Rare<Option<String>>,
    /// The driver could not complete the definition: it was kept as it is, and must be normalized again before it is used.
    #[xml(skip)]
    pub incomplete: bool,
}

/// The devices of a domain, family by family, as they are written.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "devices",
    body,
    order(
        emulator,
        disks,
        controllers,
        leases,
        filesystems,
        interfaces,
        smartcards,
        parallels,
        serials,
        consoles,
        channels,
        inputs,
        graphics,
        sounds,
        audios,
        videos,
        hostdevs,
        watchdogs,
        memballoon,
        rngs,
        cryptos,
        tpms,
        nvram,
        hubs,
        redirdevs,
        redirfilter,
        panics,
        shmems,
        memory,
        iommu,
        vsock,
        pstore
    )
)]
pub struct Devices {
    /// Program that runs the guest; none until the definition is normalized.
    #[xml("emulator")]
    pub emulator: Option<String>,
    /// Disks, CD-ROMs, floppies.
    #[xml("disk")]
    pub disks: Vec<Disk>,
    /// Buses that other devices are attached to.
    #[xml("controller", then = usb::check_controllers(&controllers, element, cx))]
    pub controllers: Vec<Controller>,
    /// Leases of the lock manager.
    #[xml("lease")]
    pub leases: Rare<Vec<Lease>>,
    /// Shared file systems.
    #[xml("filesystem")]
    pub filesystems: Rare<Vec<Filesystem>>,
    /// Network interfaces.
    #[xml("interface")]
    pub interfaces: Vec<Interface>,
    /// Smart cards.
    #[xml("smartcard")]
    pub smartcards: Rare<Vec<Smartcard>>,
    /// Serial ports.
    #[xml("serial")]
    pub serials: Vec<Serial>,
    /// Parallel ports.
    #[xml("parallel")]
    pub parallels: Rare<Vec<Parallel>>,
    /// Text terminals for the user.
    #[xml("console")]
    pub consoles: Vec<Console>,
    /// Private lines between host and guest, as agents use them.
    #[xml("channel")]
    pub channels: Vec<Channel>,
    /// Input devices.
    #[xml("input", with = input_element, described = Input, then = usb::check_inputs(&controllers, &inputs, element, cx))]
    pub inputs: Vec<Input>,
    /// Trusted platform modules.
    #[xml("tpm")]
    pub tpms: Rare<Vec<Tpm>>,
    /// Ways to show the display.
    #[xml("graphics")]
    pub graphics: Vec<Graphics>,
    /// Sound cards.
    #[xml("sound")]
    pub sounds: Rare<Vec<Sound>>,
    /// Audio back ends.
    #[xml("audio")]
    pub audios: Rare<Vec<Audio>>,
    /// Graphics cards.
    #[xml("video")]
    pub videos: Vec<Video>,
    /// Devices of the host.
    #[xml("hostdev", then = usb::check_hostdevs(&controllers, &hostdevs, element, cx))]
    pub hostdevs: Rare<Vec<Hostdev>>,
    /// Redirected USB devices.
    #[xml("redirdev")]
    pub redirdevs: Rare<Vec<Redirdev>>,
    /// Which USB devices may be redirected.
    #[xml("redirfilter", omit_empty, sole = ErrorCode::INTERNAL_ERROR)]
    pub redirfilter: Option<Box<Redirfilter>>,
    /// Hubs that widen a USB bus.
    #[xml("hub", then = usb::check_hubs(&controllers, &hubs, element, cx))]
    pub hubs: Rare<Vec<Hub>>,
    /// Timers that act if the guest stops responding.
    #[xml("watchdog")]
    pub watchdogs: Rare<Vec<Watchdog>>,
    /// Memory balloon.
    #[xml("memballoon", sole = ErrorCode::INTERNAL_ERROR)]
    pub memballoon: Option<Box<Memballoon>>,
    /// Random number generators.
    #[xml("rng")]
    pub rngs: Rare<Vec<Rng>>,
    /// NVRAM of pSeries guests.
    #[xml("nvram", sole = ErrorCode::INTERNAL_ERROR)]
    pub nvram: Option<Box<Nvram>>,
    /// Panic devices.
    #[xml("panic", with = panic_element, described = Panic)]
    pub panics: Rare<Vec<Panic>>,
    /// Shared memory.
    #[xml("shmem")]
    pub shmems: Rare<Vec<Shmem>>,
    /// Memory devices.
    #[xml("memory")]
    pub memory: Rare<Vec<MemoryDevice>>,
    /// Crypto devices.
    #[xml("crypto", then = two_tpms(element, cx))]
    pub cryptos: Rare<Vec<Crypto>>,
    /// IOMMU.
    #[xml("iommu", sole)]
    pub iommu: Option<Box<Iommu>>,
    /// Sockets between host and guest.
    #[xml("vsock", sole)]
    pub vsock: Option<Box<Vsock>>,
    /// Persistent storage for the guest's kernel.
    #[xml("pstore", sole)]
    pub pstore: Option<Box<Pstore>>,
}

impl Devices {
    /// Gives back the room that lists have beyond their devices: steps of [`normalize`](normalize::normalize) add single
    /// devices, and definitions are kept for long.
    fn shrink_to_fit(&mut self) {
        self.disks.shrink_to_fit();
        self.controllers.shrink_to_fit();
        self.leases.shrink_to_fit();
        self.filesystems.shrink_to_fit();
        self.interfaces.shrink_to_fit();
        self.smartcards.shrink_to_fit();
        self.serials.shrink_to_fit();
        self.parallels.shrink_to_fit();
        self.consoles.shrink_to_fit();
        self.channels.shrink_to_fit();
        self.inputs.shrink_to_fit();
        self.tpms.shrink_to_fit();
        self.graphics.shrink_to_fit();
        self.sounds.shrink_to_fit();
        self.audios.shrink_to_fit();
        self.videos.shrink_to_fit();
        self.hostdevs.shrink_to_fit();
        self.redirdevs.shrink_to_fit();
        self.hubs.shrink_to_fit();
        self.watchdogs.shrink_to_fit();
        self.rngs.shrink_to_fit();
        self.panics.shrink_to_fit();
        self.shmems.shrink_to_fit();
        self.memory.shrink_to_fit();
        self.cryptos.shrink_to_fit();
    }
}

/// Refuses a list in which two are of the same name or number.
fn unique<T: std::hash::Hash + Eq>(
    element: Element<'_>,
    cx: &mut Reader,
    list: &'static str,
    of: &str,
    keys: impl Iterator<Item = T>,
) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    let mut keys = keys;
    if keys.any(|key| !seen.insert(key)) {
        let what = format!("one {of} is listed twice");
        cx.fail(error_at(element, At::Child(list), what))?;
    }
    Ok(())
}

/// Trusted platform modules are counted before one is read.
fn two_tpms(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match element.children_named("tpm").nth(2) {
        None => Ok(()),
        Some(third) => {
            let what = "a third <tpm>: two are all, and one of them is of model 'spapr-tpm-proxy'";
            cx.fail(error_at(third, At::Text, what).in_domain(ErrorDomain::DOMAIN))
        }
    }
}

/// The kind of guest is known: that is told before all that depends on it.
fn known_kind(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let os = element.joined_child_or_ghost("os");
    let kind = os.child_or_ghost("type");
    let is_empty = |element: Element<'_>| element.text().is_empty();
    if is_empty(kind) && element.child("bootloader").is_none_or(is_empty) {
        let what = "an os <type> must be specified; only a guest with a <bootloader> may do without";
        return Err(error_with(ErrorCode::XML_ERROR, os, At::Child("type"), what));
    }
    // Who collects is told of the rest when the whole of <os> is read.
    match cx.collects() {
        true => Ok(()),
        false => OsKind::read(kind, cx).map(drop),
    }
}

fn one_line(title: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match title.is_some_and(|title| title.contains('\n')) {
        true => cx.fail(error_at(
            element,
            At::Child("title"),
            "domain title can't contain newlines",
        )),
        false => Ok(()),
    }
}

/// Where the states of some CPUs are said, all have one: so many are kept. No machine has as many.
const MOST_STATES: u32 = 1 << 20;

/// The CPUs whose state is said are the guest's.
fn states_of_cpus(states: &[VcpuState], vcpus: &Vcpus, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    if !states.is_empty() && vcpus.max > MOST_STATES {
        let what = format!(
            "{} CPUs are more than the {MOST_STATES} whose states are kept singly",
            vcpus.max
        );
        let place = error_at(element, At::Child("vcpus"), what);
        return Err(place
            .with_code(ErrorCode::CONFIG_UNSUPPORTED)
            .in_domain(ErrorDomain::DOMAIN));
    }
    match states.iter().find(|state| state.id >= vcpus.max) {
        None => Ok(()),
        Some(state) => {
            let what = format!("CPU {} is beyond the {} of the guest", state.id, vcpus.max);
            cx.fail(error_at(element, At::Child("vcpus"), what).in_domain(ErrorDomain::DOMAIN))
        }
    }
}

/// What is said of the places of memory goes together.
fn tuned_cells(
    tune: Option<&Numatune>,
    vcpus: &Vcpus,
    cpu: Option<&Cpu>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let Some(tune) = tune else { return Ok(()) };
    let cells = cpu
        .and_then(|cpu| cpu.numa.as_ref())
        .map_or(0, |numa| numa.cells.len());
    match normalize::check_numatune(tune, vcpus.placement, cells) {
        Ok(()) => Ok(()),
        Err(error) => cx.fail(error_with(
            error.code(),
            element,
            At::Child("numatune"),
            error.detail(),
        )),
    }
}

/// The CPUs of NUMA cells are the guest's.
fn cells_have_cpus(cpu: Option<&Cpu>, vcpus: &Vcpus, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let cells = cpu.and_then(|cpu| cpu.numa.as_ref());
    let sets = cells
        .iter()
        .flat_map(|numa| &numa.cells)
        .filter_map(|cell| cell.cpus.as_ref());
    let most = vcpus.max as usize;
    let (mut count, mut highest) = (0, None);
    for set in sets {
        count += set.0.iter().count();
        highest = highest.max(set.0.iter().last());
    }
    if count > most || highest.is_some_and(|cpu| cpu >= most) {
        let what = format!("the nodes of <numa> have CPUs beyond the {most} of the guest");
        let place = error_at(element, At::Child("cpu"), what);
        cx.fail(VirtError::new(ErrorCode::INTERNAL_ERROR, place.detail()))?;
    }
    Ok(())
}

/// Generation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Genid {
    /// The driver makes one.
    Wanted,
    /// It is this.
    Is(Uuid),
}

/// `<genid/>` or `<genid>uuid</genid>`.
mod genid {
    use super::*;
    use virt_util::xml::XmlValue;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<Genid>> {
        if element.children_named("genid").count() > 1 {
            cx.fail(error_at(
                element,
                At::Child("genid"),
                "element 'genid' can only appear once",
            ))?;
        }
        let Some(child) = element.child("genid") else {
            return Ok(None);
        };
        let text = child.text();
        if text.is_empty() {
            return Ok(Some(Genid::Wanted));
        }
        Uuid::parse_value(&text)
            .map(|id| Some(Genid::Is(id)))
            .map_err(|error| virt_util::xml::invalid_value(child, At::Text, &text, &error))
            .map_err(|error| error.with_code(ErrorCode::INTERNAL_ERROR))
    }

    pub(super) fn write(value: &Option<Genid>, w: &mut Writer) {
        match value {
            None => {}
            Some(Genid::Wanted) => w.empty_element("genid"),
            Some(Genid::Is(id)) => w.text_element_with("genid", |out| id.format_value(out)),
        }
    }
}

fn throttle_group_shape() -> &'static virt_util::xml::ElementSchema {
    DiskTune::schema()
}

/// A throttle group: as the limits of a drive, but the name stands last.
mod throttle_group {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<DiskTune> {
        let group = DiskTune::read(element, cx)?;
        if group.group.is_none() {
            cx.fail(virt_util::xml::missing(element, At::Child("group_name")))?;
        }
        Ok(group)
    }

    pub(super) fn write(value: &DiskTune, w: &mut Writer, name: &str) {
        w.start(name);
        DiskTune {
            group: None,
            ..value.clone()
        }
        .write_content(w);
        if let Some(group) = &value.group {
            w.text_element("group_name", group);
        }
        w.end(name);
    }
}

/// The CPU is what the first `<cpu>` says. Its NUMA nodes are the domain's, and looked for in all of them.
mod guest_cpu {
    use super::*;
    use virt_util::xml::read;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Cpu> {
        let mut cpu = Cpu::read(element.alone(), cx)?;
        cpu.numa = read::child(element, cx, "numa")?;
        Ok(cpu)
    }

    pub(super) fn write(value: &Cpu, w: &mut Writer, name: &'static str) {
        value.write_nonempty(w, name);
    }
}

/// A panic device of which nothing is known is not told.
mod panic_element {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Panic> {
        Panic::read(element, cx)
    }

    pub(super) fn write(value: &Panic, w: &mut Writer, name: &'static str) {
        value.write_nonempty(w, name);
    }
}

impl Domain {
    /// Reads a domain from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR` and others for wrong values.
    pub fn parse(source: &str, flags: XmlFlags, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::DOMAIN);
        Self::from_element(Doc::parse_with(source, &options)?.root(), flags)
    }

    /// Reads a domain and tells everything that is wrong with it, not only what is wrong first.
    ///
    /// # Errors
    /// All errors that were found, in the order of the document. A missing part that nothing can be read without ends the
    /// list.
    pub fn parse_all(doc: &Doc<'_>, flags: XmlFlags) -> std::result::Result<Self, Vec<VirtError>> {
        let mut cx = Reader::collecting(flags);
        let result = Self::from_child_with(doc.root(), &mut cx);
        let (domain, last) = match result {
            Ok(domain) => (Some(domain), None),
            Err(error) => (None, Some(error)),
        };
        let errors = cx.take_errors_and(last);
        match domain {
            Some(domain) if errors.is_empty() => Ok(domain),
            _ => Err(errors),
        }
    }

    /// Reads a domain from its element.
    ///
    /// # Errors
    /// `XML_ERROR` for another element and for wrong values; `CONFIG_UNSUPPORTED` for a type of hypervisor that nobody
    /// knows, `NO_NAME` for a domain without a name, as in libvirt.
    pub fn from_element(element: Element<'_>, flags: XmlFlags) -> Result<Self> {
        check_root(element, "domain")?;
        Self::from_child(element, flags)
    }

    /// Reads a domain from an element that another document names as it likes.
    ///
    /// # Errors
    /// As of [`Domain::from_element`].
    pub fn from_child(element: Element<'_>, flags: XmlFlags) -> Result<Self> {
        Self::from_child_with(element, &mut Reader::new(flags))
            .map_err(|error| error.in_domain_if_none(element.doc().domain()))
    }

    fn from_child_with(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        Self::read(element, cx)
    }

    /// Writes the domain as libvirt does. A domain that does not run is written as its definition for the next start.
    pub fn format(&self, flags: XmlFlags) -> String {
        let flags = if self.id.is_none() {
            flags | XmlFlags::INACTIVE
        } else {
            flags
        };
        virt_util::xml::to_string(self, flags)
    }

    /// Refuses a name of several lines, which drivers do for what is defined, not for what they find.
    ///
    /// # Errors
    /// `XML_DETAIL`, as in libvirt.
    pub fn check_name(&self) -> Result<()> {
        match self.name.contains('\n') {
            true => Err(
                VirtError::new(ErrorCode::XML_DETAIL, "invalid char in name: line break")
                    .in_domain(ErrorDomain::XML),
            ),
            false => Ok(()),
        }
    }

    /// The UUID of a normalized definition.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if the definition was not normalized.
    pub fn uuid(&self) -> Result<Uuid> {
        self.uuid
            .ok_or_else(|| VirtError::internal(format_args!("domain '{}' has no UUID yet", self.name)))
    }

    fn after_read(&mut self, element: Element<'_>, _: &mut Reader) -> Result<()> {
        if !metadata::counts(element) {
            self.metadata = None;
        }
        // Nothing may be added, which is as good as not said.
        if self.max_memory == Some(MaxMemory::default()) {
            self.max_memory = None;
        }
        self.perf.sort_by_key(|event| event.name);
        if self
            .idmap
            .as_ref()
            .is_some_and(|map| map.uids.is_empty() && map.gids.is_empty())
        {
            self.idmap = None;
        }
        // The first card is the primary one.
        if let Some(at) = self.devices.videos.iter().rposition(|video| video.model.primary) {
            let primary = self.devices.videos.remove(at);
            self.devices.videos.insert(0, primary);
        }
        Ok(())
    }
}
