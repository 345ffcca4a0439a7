//! What is decided when a guest starts: names of devices and block nodes, boot order, ports and sockets.

use std::collections::BTreeMap;

use virt_conf::domain::chardev::SmartcardSource;
use virt_conf::domain::chardev::{ChannelTarget, ChardevSource, ConsoleTargetType, SourceMode};
use virt_conf::domain::controller::{Controller, ControllerKind, PciControllerModel, ScsiControllerModel};
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice};
use virt_conf::domain::graphics::{
    Graphics, ListenType, Listens, SpiceChannelMode, SpiceGraphics, VncGraphics,
};
use virt_conf::domain::hostdev::{Hostdev, HostdevPass, HostdevSubsys, ScsiHostdev};
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::os::BootDevice;
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::small::{MemballoonModel, RngSource};
use virt_conf::domain::storage::{BackingStore, StorageLocation, StorageSource};
use virt_conf::domain::{Address, DeviceInfo, Devices, Domain};
use virt_conf::network::port::Plug;
use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result, VirtError};

use super::disk::{images, name_index};
use super::guest_arch;
use super::host::{DisplayConfig, DriverConfig, Host};
use super::secrets::Secrets;
use super::volumes::{self, PoolFacts};
use crate::capabilities::host_model::GuestKind;
use crate::capabilities::{Accel, QemuCaps};
use crate::machine::MachineKind;

/// What one start is.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Number of the guest while it runs.
    pub id: i32,
    /// Where the guest's state comes from instead of a boot.
    pub incoming: Option<String>,
    /// Nodes of the host where the guest's memory should be, if it leaves that to us.
    pub auto_nodes: Option<Bitmap>,
    /// Block devices of the host that are CD-ROM drives.
    pub cdrom_drives: Vec<String>,
    /// The device that draws for guests which want it drawn by hardware.
    pub render_node: Option<String>,
    /// Values of secrets, and what they are encrypted with.
    pub secrets: Secrets,
    /// Names of the host's SCSI devices as `/dev` has them: `sg0`.
    pub scsi_generic: Vec<(ScsiPlace, String)>,
    /// Descriptors that were associated with the guest, by the name of their group.
    pub fd_groups: BTreeMap<String, FdGroup>,
    /// Numbers of users and groups that the definition names.
    pub names: Names,
    /// Storage pools whose volumes are drives, by name.
    pub pools: BTreeMap<String, PoolFacts>,
    /// Ports that virtual networks gave to interfaces, by the interface's place in the definition.
    pub plugs: BTreeMap<usize, Plug>,
    /// The address that a vsock device gets which leaves it to us.
    pub vsock_cid: Option<u32>,
}

/// Where a SCSI device of the host is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScsiPlace {
    /// The host adapter: `scsi_host2`.
    pub adapter: String,
    /// Number of the bus.
    pub bus: u32,
    /// Number of the target.
    pub target: u32,
    /// Number of the unit.
    pub unit: u64,
}

impl ScsiPlace {
    /// Where a device is; one of a target on the network is nowhere here.
    pub fn of(device: &ScsiHostdev) -> Option<Self> {
        match device {
            ScsiHostdev::Adapter {
                adapter,
                bus,
                target,
                unit,
                ..
            } => Some(Self {
                adapter: adapter.clone(),
                bus: *bus,
                target: *target,
                unit: *unit,
            }),
            ScsiHostdev::Iscsi { .. } => None,
        }
    }
}

/// Descriptors that together are one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdGroup {
    /// Their numbers in the new process.
    pub numbers: Vec<i32>,
    /// They were said to be open for writing.
    pub writable: bool,
}

/// Users and groups of the host.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Users with their numbers.
    pub users: BTreeMap<String, u32>,
    /// Groups with their numbers.
    pub groups: BTreeMap<String, u32>,
}

impl Names {
    /// A user's number.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none.
    pub fn user(&self, name: &str) -> Result<u32> {
        number_of(name, &self.users, "user")
    }

    /// A group's number.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none.
    pub fn group(&self, name: &str) -> Result<u32> {
        number_of(name, &self.groups, "group")
    }
}

/// `+1000` is a number whatever is called so; other words are names before they are numbers.
fn number_of(name: &str, known: &BTreeMap<String, u32>, what: &str) -> Result<u32> {
    let number = match name.strip_prefix('+') {
        Some(number) => number.parse().ok(),
        None => known.get(name).copied().or_else(|| name.parse().ok()),
    };
    number.ok_or_else(|| VirtError::internal(format_args!("the host has no {what} '{name}'")))
}

/// Hands out ports of display servers.
pub trait PortSource {
    /// A port of a VNC server.
    ///
    /// # Errors
    /// All are taken.
    fn vnc(&mut self) -> Result<u16>;
    /// A port where a VNC server speaks to browsers.
    ///
    /// # Errors
    /// All are taken.
    fn websocket(&mut self) -> Result<u16>;
    /// A port of a SPICE server.
    ///
    /// # Errors
    /// All are taken.
    fn spice(&mut self) -> Result<u16>;
    /// A port of a SPICE server that encrypts.
    ///
    /// # Errors
    /// All are taken.
    fn spice_tls(&mut self) -> Result<u16>;
}

/// The same ports for everybody: for looking at command lines that do not run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedPorts;

impl PortSource for FixedPorts {
    fn vnc(&mut self) -> Result<u16> {
        Ok(5900)
    }
    fn websocket(&mut self) -> Result<u16> {
        Ok(5700)
    }
    fn spice(&mut self) -> Result<u16> {
        Ok(5901)
    }
    fn spice_tls(&mut self) -> Result<u16> {
        Ok(5902)
    }
}

/// Names that hold while a guest runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Number and name of the guest, short enough for paths of sockets.
    pub short_name: String,
    /// The guest's folder.
    pub directory: String,
    /// Folder of its channels' sockets.
    pub channel_directory: String,
    /// Folder of files that are its memory.
    pub memory_directory: String,
    /// Place in the boot order by alias.
    pub boot_order: BTreeMap<String, u32>,
    /// Number of the first block node by a drive's alias.
    pub disk_ids: BTreeMap<String, u32>,
    /// Numbers of the block nodes that are SCSI devices of the host, by a device's alias.
    pub hostdev_nodes: BTreeMap<String, u32>,
    /// Ports of virtual networks by an interface's alias.
    pub plugs: BTreeMap<String, Plug>,
    /// Numbers of the descriptor sets that are images, by the node of their storage.
    pub fd_sets: BTreeMap<String, u32>,
    /// Number of the last block node.
    pub last_node: u32,
}

impl Layout {
    /// Socket of the monitor.
    pub fn monitor_path(&self) -> String {
        format!("{}/monitor.sock", self.directory)
    }

    /// The key that secrets are encrypted with.
    pub fn master_key_path(&self) -> String {
        format!("{}/master-key.aes", self.directory)
    }
}

/// `<id>-<the first 20 characters of the name>`.
pub fn short_name(id: i32, name: &str) -> String {
    let name: String = name.chars().take(20).collect();
    format!("{id}-{name}")
}

/// Writes down the numbers of a drive's images: block jobs, and what QEMU reports of nodes, name images by them.
fn number_images(disk: &mut Disk, first: u32) {
    let mut number = first;
    if !disk.source.location.is_empty() && !matches!(disk.source.location, StorageLocation::Vhostuser { .. })
    {
        disk.source.index = Some(number);
        number_data(&mut disk.source, &mut number);
    }
    let mut below = disk.backing.as_mut();
    while let Some(BackingStore::Image(image)) = below {
        number += 1;
        image.index = Some(number);
        number_data(&mut image.source, &mut number);
        below = image.backing.as_mut();
    }
}

/// The number of the image that has another's data.
fn number_data(source: &mut StorageSource, number: &mut u32) {
    if let Some(store) = &mut source.data_store {
        *number += 1;
        store.source.index = Some(*number);
    }
}

/// The SCSI devices of the host that a start has to know by name.
pub fn scsi_places(domain: &Domain) -> Vec<ScsiPlace> {
    let place = |hostdev: &Hostdev| {
        let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
            return None;
        };
        let HostdevSubsys::Scsi { device, .. } = &**subsystem else {
            return None;
        };
        ScsiPlace::of(device)
    };
    domain.devices.hostdevs.iter().filter_map(place).collect()
}

/// SCSI devices of the host are block nodes too, behind those of drives.
fn number_hostdevs(layout: &mut Layout, domain: &Domain) -> Result<()> {
    for hostdev in &domain.devices.hostdevs {
        if let HostdevPass::Subsystem(subsystem) = &hostdev.mode
            && matches!(**subsystem, HostdevSubsys::Scsi { .. })
        {
            layout.last_node += 1;
            let alias = super::device::alias(&hostdev.info)?.to_owned();
            layout.hostdev_nodes.insert(alias, layout.last_node);
        }
    }
    Ok(())
}

/// An interface that is a device of the host is called as one.
fn plug_interfaces(domain: &mut Domain, start: &Start) {
    for (at, plug) in &start.plugs {
        let next = next_shared(&domain.devices, "hostdev");
        if let Plug::HostdevPci(_) = plug
            && let Some(interface) = domain.devices.interfaces.get_mut(*at)
            && interface.info.alias.is_none()
        {
            interface.info.alias = Some(format!("hostdev{next}")).into();
        }
    }
}

/// Whether connections are encrypted that leave it to the driver's settings.
fn encrypt_connections(domain: &mut Domain, config: &DriverConfig) {
    let devices = &mut *domain.devices;
    for host in tls_chardevs_mut(devices) {
        if let ChardevSource::Tcp(tcp) = host
            && tcp.tls.is_none()
        {
            tcp.tls = Some(config.chardev_tls.on);
            tcp.tls_from_config = Some(1);
        }
    }
    for disk in &mut devices.disks {
        if disk.bus() == Some(DiskBus::Sd) {
            continue;
        }
        encrypt_storage(&mut disk.source, config);
        let mut below = disk.backing.as_mut();
        while let Some(BackingStore::Image(image)) = below {
            encrypt_storage(&mut image.source, config);
            below = image.backing.as_mut();
        }
    }
}

fn encrypt_storage(source: &mut StorageSource, config: &DriverConfig) {
    if let StorageLocation::Network(network) = &mut source.location
        && let Some(tls) = config.storage_tls(network.protocol)
        && network.tls.is_none()
    {
        network.tls = Some(tls.on);
        network.tls_from_config = Some(1);
    }
    if let Some(store) = &mut source.data_store {
        encrypt_storage(&mut store.source, config);
    }
}

/// Character devices whose TCP connections follow the driver's settings.
fn tls_chardevs_mut(devices: &mut Devices) -> impl Iterator<Item = &mut ChardevSource> {
    let serials = devices.serials.iter_mut().map(|one| &mut one.host.source);
    let parallels = devices.parallels.iter_mut().map(|one| &mut one.host.source);
    let channels = devices.channels.iter_mut().map(|one| &mut one.host.source);
    let consoles = devices.consoles.iter_mut().map(|one| &mut one.host.source);
    let rngs = devices.rngs.iter_mut().filter_map(|one| match &mut one.backend {
        RngSource::Egd(host) => Some(&mut host.source),
        _ => None,
    });
    let cards = devices
        .smartcards
        .iter_mut()
        .filter_map(|one| match &mut one.source {
            SmartcardSource::Passthrough(host) => Some(&mut host.source),
            _ => None,
        });
    let redirected = devices.redirdevs.iter_mut().map(|one| &mut one.host.source);
    serials
        .chain(parallels)
        .chain(channels)
        .chain(consoles)
        .chain(rngs)
        .chain(cards)
        .chain(redirected)
}

/// Visits the character devices whose TCP connections follow the driver's settings.
pub(super) fn each_tls_chardev(domain: &Domain, mut visit: impl FnMut(&ChardevSource)) {
    let devices = &domain.devices;
    devices.serials.iter().for_each(|one| visit(&one.host.source));
    devices.parallels.iter().for_each(|one| visit(&one.host.source));
    devices.channels.iter().for_each(|one| visit(&one.host.source));
    devices.consoles.iter().for_each(|one| visit(&one.host.source));
    for rng in &devices.rngs {
        if let RngSource::Egd(host) = &rng.backend {
            visit(&host.source);
        }
    }
    for card in &devices.smartcards {
        if let SmartcardSource::Passthrough(host) = &card.source {
            visit(&host.source);
        }
    }
    devices.redirdevs.iter().for_each(|one| visit(&one.host.source));
}

/// Decides what a start has to decide.
///
/// # Errors
/// `INTERNAL_ERROR` for a definition that was not normalized, `CONFIG_UNSUPPORTED` for images without a driver.
pub fn prepare(
    domain: &Domain,
    caps: &QemuCaps,
    host: &Host,
    start: &Start,
    ports: &mut dyn PortSource,
) -> Result<(Domain, Layout)> {
    let mut domain = domain.clone();
    domain.id = u32::try_from(start.id).ok();
    let short_name = short_name(start.id, &domain.name);
    let mut layout = Layout {
        directory: format!("{}/domain-{short_name}", host.paths.lib),
        channel_directory: format!("{}/{short_name}", host.paths.channel_target),
        memory_directory: format!("{}/{short_name}", host.paths.memory_backing),
        short_name,
        ..Layout::default()
    };
    crate::hooks::assign_at_start(&mut domain, caps)?;
    // Memory that is moved here already has its sizes.
    if start.incoming.is_none() {
        align_memory(&mut domain)?;
    }
    complete_security(&mut domain, caps);
    if let Some(vsock) = domain
        .devices
        .vsock
        .as_mut()
        .filter(|vsock| vsock.auto_cid == Some(true))
    {
        vsock.cid = start.vsock_cid.ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "the vsock device wants an address chosen by the host, and none was",
            )
        })?;
    }
    resolve_cpu(&mut domain, caps, host, start)?;
    volumes::find(&mut domain, start)?;
    plug_interfaces(&mut domain, start);
    assign_aliases(&mut domain)?;
    for (at, plug) in &start.plugs {
        if let Some(interface) = domain.devices.interfaces.get(*at) {
            let alias = super::device::alias(&interface.info)?.to_owned();
            layout.plugs.insert(alias, plug.clone());
        }
    }
    for disk in domain.devices.disks.iter_mut().rev() {
        let mut next = layout.last_node + 1;
        for image in images(disk, caps, start, &mut next)? {
            if image.descriptors.is_some() {
                let set = u32::try_from(layout.fd_sets.len()).unwrap_or(u32::MAX);
                layout.fd_sets.insert(image.storage_node, set);
            }
        }
        number_images(disk, layout.last_node + 1);
        if disk.is_empty() && disk.bus() != Some(DiskBus::Sd) {
            // The number of what may be put in later.
            next += 1;
        }
        if next > layout.last_node + 1 {
            next += u32::try_from(disk.rest.throttle_filters.len()).unwrap_or(0);
        }
        if let Some(alias) = &*disk.info.alias {
            layout.disk_ids.insert(alias.clone(), layout.last_node + 1);
        }
        layout.last_node = next - 1;
    }
    number_hostdevs(&mut layout, &domain)?;
    encrypt_connections(&mut domain, &host.config);
    layout.boot_order = boot_order(&domain);
    for graphics in &mut domain.devices.graphics {
        match graphics {
            Graphics::Vnc(vnc) => prepare_vnc(vnc, &host.config.vnc, &layout, ports)?,
            Graphics::Spice(spice) => {
                prepare_spice(spice, &host.config.spice, &layout, ports)?;
                if spice.options.gl == Some(true) && spice.options.render_node.is_none() {
                    spice.options.render_node.clone_from(&start.render_node);
                }
            }
            Graphics::EglHeadless { render_node } if render_node.is_none() => {
                render_node.clone_from(&start.render_node);
            }
            Graphics::Dbus(dbus) => {
                if !dbus.p2p && dbus.address.is_none() {
                    let socket = format!("{}/dbus/{}-dbus.sock", host.paths.state, layout.short_name);
                    dbus.address = Some(format!("unix:path={socket}"));
                }
                if dbus.gl == Some(true) && dbus.render_node.is_none() {
                    dbus.render_node.clone_from(&start.render_node);
                }
            }
            _ => {}
        }
    }
    for channel in &mut domain.devices.channels {
        let ChannelTarget::Virtio { name, .. } = &channel.target else {
            continue;
        };
        let ChardevSource::Unix(unix) = &mut channel.host.source else {
            continue;
        };
        if unix.path.is_some() {
            continue;
        }
        unix.mode = SourceMode::Bind;
        let file = match (name, &channel.info.address) {
            (Some(name), _) => name.clone(),
            (None, Some(Address::VirtioSerial(at))) => {
                format!("vioser-{:02}-{:02}-{:02}.sock", at.controller, at.bus, at.port)
            }
            (None, _) => return Err(VirtError::internal("a channel has no address")),
        };
        unix.path = Some(format!("{}/{file}", layout.channel_directory));
    }
    Ok((domain, layout))
}

/// What the processor's encryption of memory needs to know of the processor.
fn complete_security(domain: &mut Domain, caps: &QemuCaps) {
    let (Some(security), Some(known)) = (domain.launch_security.as_deref_mut(), &caps.sev) else {
        return;
    };
    let (position, reduced) = match security {
        LaunchSecurity::Sev(sev) => (&mut sev.cbitpos, &mut sev.reduced_phys_bits),
        LaunchSecurity::SevSnp(snp) => (&mut snp.cbitpos, &mut snp.reduced_phys_bits),
        LaunchSecurity::S390Pv => return,
    };
    position.get_or_insert(known.cbitpos);
    reduced.get_or_insert(known.reduced_phys_bits);
}

/// Memory comes in blocks that the guest can use.
fn align_memory(domain: &mut Domain) -> Result<()> {
    let align = if guest_arch(domain)?.is_ppc64() {
        256 * 1024
    } else {
        1024
    };
    let round = |size: u64| size.div_ceil(align).saturating_mul(align);
    let modules: u64 = domain
        .devices
        .memory
        .iter()
        .map(|module| module.target.size)
        .sum();
    let initial = domain.memory.size.saturating_sub(modules);
    let mut cells = 0;
    if let Some(numa) = domain.cpu.as_mut().and_then(|cpu| cpu.numa.as_mut()) {
        for cell in &mut numa.cells {
            cell.memory = round(cell.memory);
            cells += cell.memory;
        }
    }
    let mut total = if cells == 0 { round(initial) } else { cells };
    for module in &mut domain.devices.memory {
        let size = if module.model == MemoryModel::Nvdimm && align != 1024 {
            let label = module.target.label_size.unwrap_or(0);
            crate::hooks::pseries_nvdimm_size(module.target.size, label)?
        } else {
            let align = if align == 1024 { 2048 } else { align };
            module.target.size.div_ceil(align).saturating_mul(align)
        };
        module.target.size = size;
        total += size;
    }
    domain.memory.size = total;
    if let Some(most) = &mut domain.max_memory {
        most.size = round(most.size);
    }
    Ok(())
}

/// The processor that the guest really gets.
fn resolve_cpu(domain: &mut Domain, caps: &QemuCaps, host: &Host, start: &Start) -> Result<()> {
    let arch = guest_arch(domain)?;
    let accel = Accel::from_domain_type(domain.virt_type.as_str()).unwrap_or(Accel::Tcg);
    let machine = domain.os.kind.machine.as_deref().unwrap_or_default();
    let Some(cpu) = &mut domain.cpu else { return Ok(()) };
    caps.validate_cpu_features(arch, cpu)?;
    caps.resolve_guest_cpu(
        cpu,
        &GuestKind {
            host_arch: host.arch,
            processor: &host.processor,
            arch,
            accel,
            machine,
            fresh: start.incoming.is_none(),
        },
    )
}

fn listen(listens: &mut Listens, config: &DisplayConfig, layout: &Layout, kind: &str) {
    let socket = format!("{}/{kind}.sock", layout.directory);
    for listen in &mut listens.0 {
        match listen.kind {
            ListenType::Address if listen.address.is_none() => {
                listen.from_config = true;
                if config.auto_unix_socket {
                    listen.kind = ListenType::Socket;
                    listen.socket = Some(socket.clone());
                } else {
                    listen.address = Some(config.listen.clone());
                }
            }
            ListenType::Socket if listen.socket.is_none() => {
                listen.auto_generated = true;
                listen.socket = Some(socket.clone());
            }
            _ => {}
        }
    }
}

fn has_port(listens: &Listens) -> bool {
    let kind = listens.first().map(|listen| listen.kind);
    matches!(kind, Some(ListenType::Address | ListenType::Network))
}

fn prepare_vnc(
    vnc: &mut VncGraphics,
    config: &DisplayConfig,
    layout: &Layout,
    ports: &mut dyn PortSource,
) -> Result<()> {
    listen(&mut vnc.listens, config, layout, "vnc");
    if has_port(&vnc.listens) {
        if vnc.autoport {
            vnc.port = ports.vnc()?.into();
        }
        if vnc.websocket == -1 {
            vnc.websocket = ports.websocket()?.into();
            vnc.websocket_generated = true;
        }
    }
    Ok(())
}

fn prepare_spice(
    spice: &mut SpiceGraphics,
    config: &DisplayConfig,
    layout: &Layout,
    ports: &mut dyn PortSource,
) -> Result<()> {
    listen(&mut spice.listens, config, layout, "spice");
    if !has_port(&spice.listens) {
        return Ok(());
    }
    let (mut plain, mut tls) = (spice.port == -1, spice.tls_port == -1);
    if spice.autoport {
        let modes = spice.options.channels.iter().map(|channel| channel.mode);
        for mode in modes.chain([spice.options.default_mode]) {
            tls |= mode == SpiceChannelMode::Secure;
            plain |= mode == SpiceChannelMode::Insecure;
        }
        if spice.options.default_mode == SpiceChannelMode::Any {
            plain = true;
            tls |= config.tls;
        }
    }
    if plain {
        spice.port = ports.spice()?.into();
    }
    if tls {
        spice.tls_port = ports.spice_tls()?.into();
    }
    Ok(())
}

/// Which device the firmware tries when.
fn boot_order(domain: &Domain) -> BTreeMap<String, u32> {
    let mut order = BTreeMap::new();
    let mut put = |info: &DeviceInfo, place: u32| {
        if let Some(alias) = info.alias.as_ref().filter(|_| place != 0) {
            order.insert(alias.clone(), place);
        }
    };
    let devices = &domain.devices;
    if domain.os.boot.is_empty() {
        let own = |info: &DeviceInfo| info.boot.as_ref().map_or(0, |boot| boot.order);
        devices
            .disks
            .iter()
            .for_each(|device| put(&device.info, own(&device.info)));
        devices
            .interfaces
            .iter()
            .for_each(|device| put(&device.info, own(&device.info)));
        devices
            .hostdevs
            .iter()
            .for_each(|device| put(&device.info, own(&device.info)));
        devices
            .redirdevs
            .iter()
            .for_each(|device| put(&device.info, own(&device.info)));
        devices
            .filesystems
            .iter()
            .for_each(|device| put(&device.info, own(&device.info)));
        return order;
    }
    let place = |wanted: BootDevice| {
        let at = domain.os.boot.iter().rposition(|entry| entry.dev == wanted);
        at.map_or(0, |at| u32::try_from(at).unwrap_or(0) + 1)
    };
    let (mut floppy, mut cdrom, mut disk) = (
        place(BootDevice::Fd),
        place(BootDevice::Cdrom),
        place(BootDevice::Hd),
    );
    for one in &devices.disks {
        let place = match one.device {
            DiskDevice::Floppy => &mut floppy,
            DiskDevice::Cdrom => &mut cdrom,
            DiskDevice::Disk | DiskDevice::Lun => &mut disk,
        };
        put(&one.info, std::mem::take(place));
    }
    if let Some(first) = devices.interfaces.first() {
        put(&first.info, place(BootDevice::Network));
    }
    order
}

/// Gives a name to each device that has none.
///
/// # Errors
/// `INTERNAL_ERROR` if the definition was not normalized.
pub fn assign_aliases(domain: &mut Domain) -> Result<()> {
    let arch = guest_arch(domain)?;
    let machine = domain.os.kind.machine.clone().unwrap_or_default();
    let machine = MachineKind::new(&machine, arch);
    let is_hvm = domain.os.is_hvm();
    let devices = &mut *domain.devices;
    let controllers = devices.controllers.clone();
    for disk in &mut devices.disks {
        if disk.info.alias.is_none() {
            disk.info.alias = Some(disk_alias(disk, &controllers)?).into();
        }
    }
    assign_interfaces(devices);
    number(
        devices.filesystems.iter_mut().map(|device| &mut device.info),
        "fs",
        true,
    );
    number(
        devices.sounds.iter_mut().map(|device| &mut device.info),
        "sound",
        false,
    );
    assign_hostdevs(devices);
    number(
        devices.redirdevs.iter_mut().map(|device| &mut device.info),
        "redir",
        false,
    );
    number(
        devices.videos.iter_mut().map(|device| &mut device.info),
        "video",
        false,
    );
    for controller in &mut devices.controllers {
        if controller.info.alias.is_none() {
            controller.info.alias = Some(controller_alias(controller, machine)).into();
        }
    }
    number(
        devices.inputs.iter_mut().map(|device| &mut device.info),
        "input",
        false,
    );
    number(
        devices.parallels.iter_mut().map(|device| &mut device.info),
        "parallel",
        false,
    );
    number(
        devices.serials.iter_mut().map(|device| &mut device.info),
        "serial",
        false,
    );
    number(
        devices.channels.iter_mut().map(|device| &mut device.info),
        "channel",
        false,
    );
    let first_serial = devices
        .serials
        .first()
        .and_then(|serial| serial.info.alias.as_deref().map(str::to_owned));
    if let (Some(console), Some(alias)) = (devices.consoles.first_mut(), first_serial)
        && console.target_type == ConsoleTargetType::Serial
        && is_hvm
        && console.info.alias.is_none()
    {
        console.info.alias = Some(alias).into();
    }
    number(
        devices.consoles.iter_mut().map(|device| &mut device.info),
        "console",
        false,
    );
    number(
        devices.hubs.iter_mut().map(|device| &mut device.info),
        "hub",
        false,
    );
    number(
        devices.shmems.iter_mut().map(|device| &mut device.info),
        "shmem",
        false,
    );
    number(
        devices.smartcards.iter_mut().map(|device| &mut device.info),
        "smartcard",
        false,
    );
    number(
        devices.watchdogs.iter_mut().map(|device| &mut device.info),
        "watchdog",
        false,
    );
    let balloon = devices
        .memballoon
        .iter_mut()
        .filter(|balloon| balloon.model != MemballoonModel::None);
    number(balloon.map(|device| &mut device.info), "balloon", false);
    number(
        devices.rngs.iter_mut().map(|device| &mut device.info),
        "rng",
        true,
    );
    number(
        devices.tpms.iter_mut().map(|device| &mut device.info),
        "tpm",
        false,
    );
    for model in MemoryModel::ALL {
        let prefix = match model {
            MemoryModel::Dimm => "dimm",
            MemoryModel::Nvdimm => "nvdimm",
            MemoryModel::VirtioPmem => "virtiopmem",
            MemoryModel::VirtioMem => "virtiomem",
            MemoryModel::SgxEpc => "epc",
        };
        let ours = devices.memory.iter_mut().filter(|device| device.model == *model);
        assign_memory(ours.map(|device| &mut device.info), prefix);
    }
    number(
        devices.vsock.iter_mut().map(|device| &mut device.info),
        "vsock",
        false,
    );
    number(
        devices.iommu.iter_mut().map(|device| &mut device.info),
        "iommu",
        false,
    );
    number(
        devices.cryptos.iter_mut().map(|device| &mut device.info),
        "crypto",
        true,
    );
    number(
        devices.pstore.iter_mut().map(|device| &mut device.info),
        "pstore",
        false,
    );
    Ok(())
}

fn index_in(info: &DeviceInfo, prefix: &str) -> Option<u32> {
    info.alias.as_deref()?.strip_prefix(prefix)?.parse().ok()
}

/// Numbers devices: by their place, or behind the highest number that one of them has.
fn number<'d>(infos: impl Iterator<Item = &'d mut DeviceInfo>, prefix: &str, behind: bool) {
    let mut infos: Vec<&mut DeviceInfo> = infos.collect();
    for at in 0..infos.len() {
        let next = if behind {
            let highest = infos.iter().filter_map(|info| index_in(info, prefix)).max();
            highest.map_or(0, |highest| highest + 1)
        } else {
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        if let Some(info) = infos.get_mut(at).filter(|info| info.alias.is_none()) {
            info.alias = Some(format!("{prefix}{next}")).into();
        }
    }
}

/// Memory modules in slots are numbered by the slot.
fn assign_memory<'d>(infos: impl Iterator<Item = &'d mut DeviceInfo>, prefix: &str) {
    let mut infos: Vec<&mut DeviceInfo> = infos.collect();
    for at in 0..infos.len() {
        let highest = infos.iter().filter_map(|info| index_in(info, prefix)).max();
        let Some(info) = infos.get_mut(at).filter(|info| info.alias.is_none()) else {
            continue;
        };
        let index = match (&info.address, prefix) {
            (Some(Address::Dimm(dimm)), "dimm" | "nvdimm") => dimm.slot,
            _ => highest.map_or(0, |highest| highest + 1),
        };
        info.alias = Some(format!("{prefix}{index}")).into();
    }
}

fn assign_interfaces(devices: &mut Devices) {
    use virt_conf::domain::interface::InterfaceType;
    for at in 0..devices.interfaces.len() {
        let Some(interface) = devices.interfaces.get(at).filter(|one| one.info.alias.is_none()) else {
            continue;
        };
        let prefix = match interface.interface_type() {
            InterfaceType::Hostdev => "hostdev",
            _ => "net",
        };
        let next = next_shared(devices, prefix);
        if let Some(interface) = devices.interfaces.get_mut(at) {
            interface.info.alias = Some(format!("{prefix}{next}")).into();
        }
    }
}

fn next_shared(devices: &Devices, prefix: &str) -> u32 {
    let interfaces = devices.interfaces.iter().map(|one| &one.info);
    let hostdevs = devices.hostdevs.iter().map(|one| &one.info);
    let highest = interfaces
        .chain(hostdevs)
        .filter_map(|info| index_in(info, prefix))
        .max();
    highest.map_or(0, |highest| highest + 1)
}

fn assign_hostdevs(devices: &mut Devices) {
    for at in 0..devices.hostdevs.len() {
        let next = next_shared(devices, "hostdev");
        if let Some(device) = devices
            .hostdevs
            .get_mut(at)
            .filter(|one| one.info.alias.is_none())
        {
            device.info.alias = Some(format!("hostdev{next}")).into();
        }
    }
}

fn disk_alias(disk: &Disk, controllers: &[Controller]) -> Result<String> {
    let bus = disk
        .bus()
        .ok_or_else(|| VirtError::internal(format_args!("the disk '{}' has no bus", disk.target.dev)))?;
    let Some(Address::Drive(at)) = &disk.info.address else {
        let index = name_index(&disk.target.dev).unwrap_or(0);
        return Ok(format!("{bus}-disk{index}"));
    };
    let (controller, target, unit) = (at.controller, at.target, at.unit);
    let lsi = controllers.iter().any(|one| match &one.kind {
        ControllerKind::Scsi { index, model } => {
            *index == Some(controller) && *model == Some(ScsiControllerModel::Lsilogic)
        }
        _ => false,
    });
    if bus == DiskBus::Scsi && !lsi {
        return Ok(format!("{bus}{controller}-{}-{target}-{unit}", at.bus));
    }
    Ok(format!("{bus}{controller}-{}-{unit}", at.bus))
}

fn controller_alias(controller: &Controller, machine: MachineKind<'_>) -> String {
    let index = controller.kind.index().unwrap_or(0);
    match &controller.kind {
        ControllerKind::Pci(_) if !machine.supports_pci_multibus() => "pci".to_owned(),
        ControllerKind::Pci(pci) if pci.model == Some(PciControllerModel::PcieRoot) => {
            format!("pcie.{index}")
        }
        ControllerKind::Pci(_) => format!("pci.{index}"),
        ControllerKind::Ide { .. } if machine.has_builtin_ide() && index == 0 => "ide".to_owned(),
        ControllerKind::Sata { .. } if machine.is_q35() && index == 0 => "ide".to_owned(),
        ControllerKind::Usb { .. } if index == 0 => "usb".to_owned(),
        ControllerKind::Scsi {
            model: Some(ScsiControllerModel::Ncr53c90),
            ..
        } if index == 0 => "scsi".to_owned(),
        kind => format!("{}{index}", kind.controller_type()),
    }
}
