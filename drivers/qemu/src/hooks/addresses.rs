//! Addresses of devices on the buses of the guest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use virt_conf::domain::chardev::{ChannelTarget, ConsoleTargetType, SerialTargetType};
use virt_conf::domain::controller::{
    Controller, ControllerKind, ControllerType, PciController, PciControllerModel, PciControllerModelName,
    ScsiControllerModel, UsbControllerModel, VirtioSerialControllerModel,
};
use virt_conf::domain::disk::{DiskBus, DiskModel};
use virt_conf::domain::filesystem::{FilesystemDriver, FilesystemModel};
use virt_conf::domain::hostdev::{HostdevPass, HostdevSource, HostdevSubsys, MdevModel, ScsiVhostModel};
use virt_conf::domain::input::{Hub, InputBus, InputModel};
use virt_conf::domain::interface::{InterfaceSource, InterfaceType};
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::normalize::{
    DeviceRef, add_controller, device_info, device_info_mut, device_refs, find_controller,
};
use virt_conf::domain::small::{
    IommuModel, MemballoonModel, PanicModel, RngModel, TpmModel, VsockModel, WatchdogModel,
};
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{
    Address, CcwAddress, DeviceInfo, DimmAddress, Domain, PciAddress, SpaprVioAddress, UsbAddress,
    VirtioSerialAddress, Zpci,
};
use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Guest, machine};
use crate::address::pci::{AddressSet, Bus, Connect, Model, Slot};
use crate::address::usb;
use crate::capabilities::Flag;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

/// Gives an address to each device that needs one.
pub(super) fn assign(domain: &mut Domain, guest: Guest<'_>, fresh: bool) -> Result<()> {
    virtio_serial(domain)?;
    spapr_vio(domain, guest)?;
    s390(domain, guest)?;
    virtio_mmio(domain, guest);
    pci(domain, guest)?;
    usb_ports(domain, fresh)?;
    memory_slots(domain)?;
    console_like_serial(domain);
    Ok(())
}

/// The console that stands for the first serial port is where that is.
fn console_like_serial(domain: &mut Domain) {
    let devices = &mut *domain.devices;
    if let (Some(console), Some(serial)) = (devices.consoles.first_mut(), devices.serials.first())
        && console.target_type == ConsoleTargetType::Serial
    {
        console.info.address.clone_from(&serial.info.address);
    }
}

// Ports of virtio serial controllers.

const DEFAULT_PORTS: u32 = 31;

/// The ports of a controller.
struct SerialBus {
    ports: Bitmap,
    /// All between port 0 and this one are taken.
    next: usize,
}

/// The controllers by their numbers.
#[derive(Default)]
struct SerialBuses {
    all: BTreeMap<u32, SerialBus>,
    /// Those with lower numbers have no free port, but for port 0.
    open: u32,
    /// All lower numbers are used.
    unused: u32,
}

impl SerialBuses {
    fn add(&mut self, index: u32, ports: Option<u32>) {
        self.all.entry(index).or_insert_with(|| SerialBus {
            ports: Bitmap::new(ports.unwrap_or(DEFAULT_PORTS) as usize),
            next: 1,
        });
        self.open = self.open.min(index);
    }

    /// The lowest number that no controller has.
    fn unused(&mut self) -> u32 {
        while self.all.contains_key(&self.unused) {
            self.unused = self.unused.saturating_add(1);
        }
        self.unused
    }

    /// Takes the first free port, of one controller or of any. Port 0 is for those who ask for ports from 0, and do not say
    /// which controller.
    fn take(&mut self, on: Option<u32>, first: usize) -> Option<(u32, usize)> {
        if let Some(index) = on {
            let port = self.all.get_mut(&index)?.take()?;
            return Some((index, port));
        }
        if first == 0 {
            let mut buses = self.all.iter_mut();
            return buses.find_map(|(index, bus)| {
                if bus.ports.size() > 0 && !bus.ports.contains(0) {
                    bus.ports.set(0);
                    return Some((*index, 0));
                }
                Some((*index, bus.take()?))
            });
        }
        for (index, bus) in self.all.range_mut(self.open..) {
            self.open = *index;
            if let Some(port) = bus.take() {
                return Some((*index, port));
            }
        }
        None
    }
}

impl SerialBus {
    /// Takes the first free port but port 0.
    fn take(&mut self) -> Option<usize> {
        while self.next < self.ports.size() && self.ports.contains(self.next) {
            self.next += 1;
        }
        if self.next >= self.ports.size() {
            return None;
        }
        self.ports.set(self.next);
        Some(self.next)
    }
}

fn virtio_serial(domain: &mut Domain) -> Result<()> {
    let mut buses = SerialBuses::default();
    for controller in &domain.devices.controllers {
        if let ControllerKind::VirtioSerial {
            index: Some(index),
            ports,
            ..
        } = &controller.kind
        {
            buses.add(*index, *ports);
        }
    }
    // A port says where it is completely if it says more than the controller; port 0 is for consoles only.
    let complete = |info: &DeviceInfo| match &info.address {
        Some(Address::VirtioSerial(at)) => at.port != 0,
        _ => false,
    };
    let mut known: Vec<VirtioSerialAddress> = Vec::new();
    for device in device_refs(domain) {
        if let Some(Address::VirtioSerial(at)) =
            device_info(domain, device).and_then(|info| info.address.as_ref())
            && at.port != 0
        {
            known.push(*at);
        }
    }
    for at in known {
        let Some(bus) = buses.all.get_mut(&at.controller) else {
            return Err(xml_error(format_args!(
                "virtio serial controller {} is missing",
                at.controller
            )));
        };
        if at.port as usize >= bus.ports.size() {
            return Err(xml_error(format_args!(
                "virtio serial controller {} does not have port {}",
                at.controller, at.port
            )));
        }
        if bus.ports.contains(at.port as usize) {
            return Err(xml_error(format_args!(
                "virtio serial port {} on controller {} is already occupied",
                at.port, at.controller
            )));
        }
        bus.ports.set(at.port as usize);
    }
    let consoles = domain.devices.consoles.iter().enumerate();
    let consoles = consoles
        .filter(|(_, console)| console.target_type == ConsoleTargetType::Virtio && !complete(&console.info))
        .map(|(at, _)| (DeviceRef::Console(at), true));
    let channels = domain.devices.channels.iter().enumerate();
    let channels = channels
        .filter(|(_, channel)| matches!(channel.target, ChannelTarget::Virtio { .. }))
        .filter(|(_, channel)| !complete(&channel.info))
        .map(|(at, _)| (DeviceRef::Channel(at), false));
    let wanting: Vec<(DeviceRef, bool)> = consoles.chain(channels).collect();
    for (device, console) in wanting {
        let first = usize::from(!console);
        let on = match device_info(domain, device).and_then(|info| info.address.as_ref()) {
            Some(Address::VirtioSerial(at)) => Some(at.controller),
            _ => None,
        };
        let (controller, port) = match (buses.take(on, first), on) {
            (Some(found), _) => found,
            (None, Some(controller)) => {
                return Err(xml_error(format_args!(
                    "Unable to find a free port on virtio-serial controller {controller}"
                )));
            }
            (None, None) => {
                let index = buses.unused();
                let kind = ControllerKind::new(ControllerType::VirtioSerial, Some(index));
                add_controller(domain, kind);
                buses.add(index, None);
                if let Some(bus) = buses.all.get_mut(&index) {
                    bus.ports.set(first);
                }
                (index, first)
            }
        };
        // Where a console is, is decided anew at each start.
        if !console {
            let port = u32::try_from(port).unwrap_or(u32::MAX);
            if let Some(info) = device_info_mut(domain, device) {
                info.address = Some(Address::VirtioSerial(VirtioSerialAddress {
                    controller,
                    bus: 0,
                    port,
                }));
            }
        }
    }
    Ok(())
}

// The VIO bus of POWER.

fn spapr_vio(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    let pseries = machine(domain, guest.arch).is_pseries();
    let devices = &domain.devices;
    let mut wanting: Vec<(DeviceRef, u64, bool)> = Vec::new();
    for (at, interface) in devices.interfaces.iter().enumerate() {
        let ours = interface.model.as_deref() == Some("spapr-vlan");
        wanting.push((DeviceRef::Interface(at), 0x1000, ours));
    }
    for (at, controller) in devices.controllers.iter().enumerate() {
        let ours = matches!(
            controller.kind,
            ControllerKind::Scsi {
                model: Some(ScsiControllerModel::Ibmvscsi),
                ..
            }
        );
        wanting.push((DeviceRef::Controller(at), 0x2000, ours));
    }
    for (at, serial) in devices.serials.iter().enumerate() {
        wanting.push((
            DeviceRef::Serial(at),
            0x30000000,
            serial.target.kind == SerialTargetType::SpaprVioSerial,
        ));
    }
    wanting.extend(
        devices
            .nvram
            .as_ref()
            .map(|_| (DeviceRef::Nvram, 0x3000, pseries)),
    );
    for (at, tpm) in devices.tpms.iter().enumerate() {
        wanting.push((
            DeviceRef::Tpm(at),
            0x4000,
            pseries && tpm.model != Some(TpmModel::SpaprTpmProxy),
        ));
    }
    // How many devices have each; a console stands where its serial port does.
    let mut taken: HashMap<u64, usize> = HashMap::new();
    let said = |domain: &Domain, device: DeviceRef| match device_info(domain, device) {
        Some(DeviceInfo {
            address: Some(Address::SpaprVio(at)),
            ..
        }) => Some(at.reg),
        _ => None,
    };
    for device in device_refs(domain) {
        if !matches!(device, DeviceRef::Console(_))
            && let Some(reg) = said(domain, device).flatten()
        {
            *taken.entry(reg).or_default() += 1;
        }
    }
    // Below these all of the kind are taken.
    let mut free: HashMap<u64, u64> = HashMap::new();
    for (device, first, ours) in wanting {
        let reg = match said(domain, device) {
            Some(Some(reg)) if taken.get(&reg).is_some_and(|count| *count > 1) => {
                return Err(xml_error(format_args!(
                    "spapr-vio address 0x{reg:x} already in use"
                )));
            }
            Some(Some(_)) => continue,
            None if !ours => continue,
            _ => {
                let free = free.entry(first).or_insert(first);
                while taken.contains_key(free) {
                    *free = free.saturating_add(0x1000);
                }
                *free
            }
        };
        taken.insert(reg, 1);
        if let Some(info) = device_info_mut(domain, device) {
            info.address = Some(Address::SpaprVio(SpaprVioAddress { reg: Some(reg) }));
        }
    }
    Ok(())
}

// Channels of IBM Z, and virtio devices without PCI.

/// Gives virtio devices without an address one of a kind.
fn prime_virtio(domain: &mut Domain, address: &Address) {
    let ccw = matches!(address, Address::Ccw(_));
    let devices = &mut *domain.devices;
    let prime = |info: &mut DeviceInfo, wanted: bool| {
        if wanted && info.address.is_none() {
            info.address = Some(address.clone());
        }
    };
    for disk in &mut devices.disks {
        let wanted = disk.bus() == Some(DiskBus::Virtio);
        prime(&mut disk.info, wanted);
    }
    for interface in &mut devices.interfaces {
        let wanted = interface.is_virtio();
        prime(&mut interface.info, wanted);
    }
    for video in &mut devices.videos {
        prime(&mut video.info, video.model.kind == VideoModelType::Virtio);
    }
    for input in &mut devices.inputs {
        prime(&mut input.info, input.bus == Some(InputBus::Virtio));
    }
    for controller in &mut devices.controllers {
        let kind = controller.kind.controller_type();
        prime(
            &mut controller.info,
            matches!(kind, ControllerType::VirtioSerial | ControllerType::Scsi),
        );
    }
    for hostdev in &mut devices.hostdevs {
        let wanted = match &hostdev.mode {
            HostdevPass::Subsystem(subsystem) => matches!(**subsystem, HostdevSubsys::ScsiHost { .. }),
            HostdevPass::Capabilities(_) => false,
        };
        prime(&mut hostdev.info, wanted);
    }
    if let Some(balloon) = &mut devices.memballoon {
        prime(&mut balloon.info, balloon.model != MemballoonModel::None);
    }
    for rng in &mut devices.rngs {
        prime(&mut rng.info, true);
    }
    for memory in &mut devices.memory {
        prime(
            &mut memory.info,
            matches!(memory.model, MemoryModel::VirtioPmem | MemoryModel::VirtioMem),
        );
    }
    if ccw {
        for filesystem in &mut devices.filesystems {
            prime(&mut filesystem.info, true);
        }
        if let Some(vsock) = &mut devices.vsock {
            prime(&mut vsock.info, true);
        }
    }
    for crypto in &mut devices.cryptos {
        prime(&mut crypto.info, true);
    }
    for sound in &mut devices.sounds {
        prime(&mut sound.info, sound.model == SoundModel::Virtio);
    }
}

fn s390(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    if !machine(domain, guest.arch).is_s390_ccw() {
        return Ok(());
    }
    let open = Address::Ccw(CcwAddress::default());
    if guest.caps.has(Flag::DeviceVfioCcw) {
        for hostdev in &mut domain.devices.hostdevs {
            let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
                continue;
            };
            match **subsystem {
                HostdevSubsys::Mdev {
                    model: MdevModel::VfioCcw,
                    ..
                } => {
                    hostdev.info.address.get_or_insert(open.clone());
                }
                HostdevSubsys::Mdev {
                    model: MdevModel::VfioAp,
                    ..
                } => hostdev.info.address = None,
                _ => {}
            }
        }
    }
    prime_virtio(domain, &open);
    let mut taken = BTreeSet::new();
    let mut wanting = Vec::new();
    for device in device_refs(domain) {
        let Some(Address::Ccw(at)) = device_info(domain, device).and_then(|info| info.address.as_ref())
        else {
            continue;
        };
        match (at.cssid, at.ssid, at.devno) {
            (Some(css), Some(ss), Some(number)) => {
                if !taken.insert((css, ss, number)) {
                    return Err(xml_error(format_args!(
                        "The CCW devno '{css:x}.{ss:x}.{number:04x}' is in use already"
                    )));
                }
            }
            _ => wanting.push(device),
        }
    }
    let mut next = (0xfe, 0, 0);
    for device in wanting {
        while taken.contains(&next) {
            next = match next {
                (css, ss, 0xffff) if ss < 3 => (css, ss + 1, 0),
                (_, _, 0xffff) => return Err(VirtError::internal("There are no more free CCW devnos.")),
                (css, ss, number) => (css, ss, number + 1),
            };
        }
        taken.insert(next);
        let (css, ss, number) = next;
        if let Some(info) = device_info_mut(domain, device) {
            let at = CcwAddress {
                cssid: Some(css),
                ssid: Some(ss),
                devno: Some(number),
            };
            info.address = Some(Address::Ccw(at));
        }
    }
    Ok(())
}

fn has_pcie_root(domain: &Domain) -> bool {
    root_model(domain) == Some(PciControllerModel::PcieRoot)
}

fn root_model(domain: &Domain) -> Option<PciControllerModel> {
    match find_controller(domain, ControllerType::Pci, 0).map(|controller| &controller.kind) {
        Some(ControllerKind::Pci(pci)) => pci.model,
        _ => None,
    }
}

fn virtio_mmio(domain: &mut Domain, guest: Guest<'_>) {
    let kind = machine(domain, guest.arch);
    let vexpress = domain
        .os
        .kind
        .machine
        .as_deref()
        .is_some_and(|name| name.starts_with("vexpress-"));
    let family = guest.arch.is_arm() || guest.arch.is_riscv();
    if !family || !(vexpress || kind.is_arm_virt() || kind.is_riscv_virt()) {
        return;
    }
    let any_mmio = device_refs(domain).into_iter().any(|device| {
        let info = device_info(domain, device);
        matches!(
            info.and_then(|info| info.address.as_ref()),
            Some(Address::VirtioMmio)
        )
    });
    let ports = guest.caps.has(Flag::DevicePcieRootPort) || guest.caps.has(Flag::DeviceIoh3420);
    if has_pcie_root(domain) && ports && !any_mmio {
        prime_virtio(domain, &Address::Pci(PciAddress::default()));
    } else if guest.caps.has(Flag::DeviceVirtioMmio) {
        prime_virtio(domain, &Address::VirtioMmio);
    }
}

// PCI.

fn slot_of(address: &PciAddress) -> Slot {
    Slot {
        bus: address.bus,
        slot: address.slot,
        function: address.function,
    }
}

fn present(info: &DeviceInfo) -> Option<&PciAddress> {
    match &info.address {
        Some(Address::Pci(at)) if !at.is_empty() => Some(at),
        _ => None,
    }
}

fn wanted(info: &DeviceInfo) -> bool {
    match &info.address {
        None => true,
        Some(Address::Pci(at)) => at.is_empty(),
        Some(_) => false,
    }
}

fn put(info: &mut DeviceInfo, at: Slot, multifunction: Option<bool>) {
    let old = match &info.address {
        Some(Address::Pci(old)) => *old,
        _ => PciAddress::default(),
    };
    info.address = Some(Address::Pci(PciAddress {
        domain: 0,
        bus: at.bus,
        slot: at.slot,
        function: at.function,
        multifunction: multifunction.or(old.multifunction),
        zpci: old.zpci,
    }));
}

fn model_of(model: PciControllerModel) -> Model {
    Model::from_name(model.as_str()).unwrap_or(Model::PciBridge)
}

fn controller_model(model: Model) -> Option<PciControllerModel> {
    PciControllerModel::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == model.name())
}

/// How devices of this guest plug into PCI.
#[derive(Clone, Copy)]
struct Plugs {
    pci: Connect,
    pcie: Connect,
    virtio: Connect,
}

impl Plugs {
    fn of(domain: &Domain, guest: Guest<'_>) -> Self {
        let pci = Connect::PCI_DEVICE | Connect::AUTOASSIGN;
        let pcie = if has_pcie_root(domain) {
            Connect::PCIE_DEVICE | Connect::AUTOASSIGN
        } else {
            pci
        };
        let virtio = if guest.caps.has(Flag::VirtioPciTransitional) {
            pcie
        } else {
            pci
        };
        Self { pci, pcie, virtio }
    }

    /// How a device plugs; empty for one that is not on PCI.
    fn device(self, domain: &Domain, device: DeviceRef) -> Connect {
        let devices = &domain.devices;
        let none = Connect::empty();
        let connect = match device {
            DeviceRef::Controller(at) => devices
                .controllers
                .get(at)
                .map(|controller| self.controller(controller)),
            DeviceRef::Filesystem(at) => devices.filesystems.get(at).map(|one| match one.driver.kind {
                FilesystemDriver::Default | FilesystemDriver::Path | FilesystemDriver::Handle => {
                    if one.model == Some(FilesystemModel::VirtioTransitional) {
                        self.pci
                    } else {
                        self.virtio
                    }
                }
                FilesystemDriver::Virtiofs => self.virtio,
                _ => none,
            }),
            DeviceRef::Interface(at) => devices.interfaces.get(at).map(|one| {
                if one.interface_type() == InterfaceType::Hostdev {
                    return self.pcie;
                }
                match one.model.as_deref() {
                    Some("usb-net") => none,
                    Some("virtio" | "virtio-non-transitional") => self.virtio,
                    Some("e1000e" | "igb") | None => self.pcie,
                    Some("virtio-transitional") => self.pci,
                    Some(known) if is_known_card(known) => self.pci,
                    // Nobody knows; modern cards are more likely.
                    Some(_) => self.pcie,
                }
            }),
            DeviceRef::Sound(at) => devices.sounds.get(at).map(|one| match one.model {
                SoundModel::Es1370 | SoundModel::Ac97 | SoundModel::Ich6 | SoundModel::Ich9 => self.pci,
                SoundModel::Virtio => self.virtio,
                _ => none,
            }),
            DeviceRef::Disk(at) => devices
                .disks
                .get(at)
                .map(|one| match (one.bus(), one.options.model) {
                    (Some(DiskBus::Virtio), DiskModel::VirtioTransitional) => self.pci,
                    (Some(DiskBus::Virtio), _) => self.virtio,
                    _ => none,
                }),
            DeviceRef::Hostdev(at) => devices.hostdevs.get(at).map(|one| {
                let HostdevPass::Subsystem(subsystem) = &one.mode else {
                    return none;
                };
                match **subsystem {
                    HostdevSubsys::ScsiHost {
                        model: ScsiVhostModel::VirtioTransitional,
                        ..
                    } => self.pci,
                    HostdevSubsys::ScsiHost { .. } => self.virtio,
                    HostdevSubsys::Pci { .. } | HostdevSubsys::Mdev { .. } => self.pcie,
                    _ => none,
                }
            }),
            DeviceRef::Memballoon => devices.memballoon.as_ref().map(|one| match one.model {
                MemballoonModel::VirtioTransitional => self.pci,
                MemballoonModel::Virtio | MemballoonModel::VirtioNonTransitional => self.virtio,
                _ => none,
            }),
            DeviceRef::Rng(at) => devices.rngs.get(at).map(|one| match one.model {
                RngModel::VirtioTransitional => self.pci,
                _ => self.virtio,
            }),
            DeviceRef::Watchdog(at) => devices.watchdogs.get(at).map(|one| {
                if one.model == WatchdogModel::I6300esb {
                    self.pci
                } else {
                    none
                }
            }),
            DeviceRef::Video(at) => devices.videos.get(at).map(|one| {
                use VideoModelType as T;
                match one.model.kind {
                    T::Virtio => self.virtio,
                    T::Vga | T::Cirrus | T::Vmvga | T::Xen | T::Vbox | T::Qxl | T::Parallels => self.pci,
                    T::Bochs => self.pcie,
                    _ => none,
                }
            }),
            DeviceRef::Shmem(_) | DeviceRef::Crypto(_) | DeviceRef::Pstore => Some(self.pci),
            DeviceRef::Input(at) => devices.inputs.get(at).map(|one| match (one.bus, one.model) {
                (Some(InputBus::Virtio), Some(InputModel::VirtioTransitional)) => self.pci,
                (Some(InputBus::Virtio), _) => self.virtio,
                _ => none,
            }),
            DeviceRef::Serial(at) => devices.serials.get(at).map(|one| {
                if one.target.kind == SerialTargetType::PciSerial {
                    self.pci
                } else {
                    none
                }
            }),
            DeviceRef::Iommu => devices.iommu.as_ref().map(|one| {
                if one.model == IommuModel::Virtio {
                    self.virtio | Connect::INTEGRATED
                } else {
                    none
                }
            }),
            DeviceRef::Vsock => devices.vsock.as_ref().map(|one| match one.model {
                VsockModel::VirtioTransitional => self.pci,
                VsockModel::Default => none,
                _ => self.virtio,
            }),
            DeviceRef::Memory(at) => devices.memory.get(at).map(|one| match one.model {
                MemoryModel::VirtioPmem | MemoryModel::VirtioMem => self.virtio,
                _ => none,
            }),
            DeviceRef::Panic(at) => devices.panics.get(at).map(|one| {
                if one.model == Some(PanicModel::Pvpanic) {
                    self.pci | Connect::INTEGRATED
                } else {
                    none
                }
            }),
            _ => None,
        };
        connect.unwrap_or(none)
    }

    fn controller(self, controller: &Controller) -> Connect {
        use ScsiControllerModel as S;
        use UsbControllerModel as U;
        let none = Connect::empty();
        match &controller.kind {
            ControllerKind::Pci(pci) => pci.model.map_or(none, |model| model_of(model).connect()),
            ControllerKind::Sata { .. } | ControllerKind::Ide { .. } => self.pci,
            ControllerKind::Usb { model, .. } => match model {
                Some(U::NecXhci | U::QemuXhci) => self.pcie,
                Some(U::Qusb1 | U::Qusb2 | U::None) => none,
                _ => self.pci,
            },
            ControllerKind::Scsi { model, .. } => match model {
                Some(S::VirtioScsi | S::VirtioNonTransitional) => self.virtio,
                None | Some(S::Ncr53c90 | S::Auto) => none,
                _ => self.pci,
            },
            ControllerKind::VirtioSerial { model, .. } => match model {
                Some(VirtioSerialControllerModel::VirtioTransitional) => self.pci,
                _ => self.virtio,
            },
            _ => none,
        }
    }
}

fn is_known_card(model: &str) -> bool {
    const KNOWN: [&str; 20] = [
        "netfront",
        "rtl8139",
        "e1000",
        "e1000-82544gc",
        "e1000-82545em",
        "ne2k_pci",
        "pcnet",
        "i82550",
        "i82551",
        "i82557a",
        "i82557b",
        "i82557c",
        "i82558a",
        "i82558b",
        "i82559a",
        "i82559er",
        "i82562",
        "vmxnet3",
        "spapr-vlan",
        "i82801",
    ];
    KNOWN.contains(&model)
        || matches!(
            model,
            "lan9118"
                | "smc91c111"
                | "vlance"
                | "vmxnet"
                | "vmxnet2"
                | "Am79C970A"
                | "Am79C973"
                | "82540EM"
                | "82545EM"
                | "82543GC"
                | "ne2k_isa"
                | "i82559b"
                | "i82559c"
        )
}

/// The buses of the guest with what is on them.
struct Buses {
    set: AddressSet,
    plugs: Plugs,
    /// Nothing is decided yet; it only shows how many buses are needed.
    trial: bool,
    /// Groups of devices that share a bus with none of another group; 0 for all others.
    isolation: HashMap<DeviceRef, u32>,
}

/// Devices of the host that a guest of pSeries gets: those of an IOMMU group have host bridges of their own, or errors of one
/// would stop the others.
fn isolation(domain: &Domain, guest: Guest<'_>) -> HashMap<DeviceRef, u32> {
    if !machine(domain, guest.arch).is_pseries() {
        return HashMap::new();
    }
    let devices = &domain.devices;
    let hostdevs = devices.hostdevs.iter().enumerate().filter_map(|(at, hostdev)| {
        let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
            return None;
        };
        match &**subsystem {
            HostdevSubsys::Pci { device, .. } => Some((DeviceRef::Hostdev(at), device.address)),
            _ => None,
        }
    });
    let interfaces = devices
        .interfaces
        .iter()
        .enumerate()
        .filter_map(|(at, interface)| match &interface.source {
            InterfaceSource::Hostdev(source) => match &source.device {
                HostdevSource::Pci(device) => Some((DeviceRef::Interface(at), device.address)),
                HostdevSource::Usb(_) => None,
            },
            _ => None,
        });
    let mut groups = HashMap::new();
    for (device, address) in hostdevs.chain(interfaces) {
        match guest.iommu.iommu_group(address) {
            // 0 is a group of the host, and here those who are in none.
            Some(group) => {
                groups.insert(device, group.saturating_add(1));
            }
            None => tracing::warn!(?address, "the IOMMU group of a device of the host is not known"),
        }
    }
    groups
}

impl Buses {
    fn new(domain: &Domain, guest: Guest<'_>, count: usize, plugs: Plugs, trial: bool) -> Result<Self> {
        let pseries = machine(domain, guest.arch).is_pseries();
        let mut models: Vec<Option<(Model, bool)>> = vec![None; count];
        let mut express = false;
        for controller in &domain.devices.controllers {
            let ControllerKind::Pci(pci) = &controller.kind else {
                continue;
            };
            let index = pci.index.unwrap_or(0) as usize;
            let place = models.get_mut(index).ok_or_else(|| {
                VirtError::internal("Inappropriate new pci controller index not found in addrs")
            })?;
            if let Some(model) = pci.model {
                *place = Some((model_of(model), pci.hotplug != Some(false)));
                express |= model == PciControllerModel::PcieRoot;
            }
        }
        let default = if pseries {
            Model::PciRoot
        } else if express {
            Model::PcieRootPort
        } else {
            Model::PciBridge
        };
        let buses = models.into_iter().enumerate().map(|(index, known)| {
            let fallback = if index == 0 { Model::PciRoot } else { default };
            let (model, hotplug) = known.unwrap_or((fallback, true));
            Bus::new(model, hotplug)
        });
        let set = AddressSet {
            buses: buses.collect(),
            growing: trial,
            multiple_roots: pseries,
            pcie_to_pci_bridge: guest.caps.has(Flag::DevicePciePciBridge),
        };
        let mut buses = Self {
            set,
            plugs,
            trial,
            isolation: isolation(domain, guest),
        };
        if pseries && let Some(first) = buses.set.buses.first_mut() {
            // The first bridge is for what is emulated.
            first.isolation_locked = true;
        }
        buses.collect(domain)?;
        Ok(buses)
    }

    /// Takes the addresses that devices have.
    fn collect(&mut self, domain: &Domain) -> Result<()> {
        let stands_for_serial = !domain.devices.serials.is_empty()
            && domain
                .devices
                .consoles
                .first()
                .is_some_and(|console| console.target_type == ConsoleTargetType::Serial);
        for device in device_refs(domain) {
            if device == DeviceRef::Console(0) && stands_for_serial {
                continue;
            }
            let Some(at) = device_info(domain, device).and_then(present) else {
                continue;
            };
            let mut connect = self.plugs.device(domain, device);
            if connect.is_empty() {
                connect = Connect::PCI_DEVICE;
            }
            if let DeviceRef::Controller(index) = device {
                // Functions of the chipset; it is looked at later.
                let controller = domain
                    .devices
                    .controllers
                    .get(index)
                    .map(|controller| &controller.kind);
                let chipset = at.bus == 0
                    && at.slot == 1
                    && match controller {
                        Some(ControllerKind::Ide { index: Some(0), .. }) => at.function == 1,
                        Some(ControllerKind::Usb {
                            index: Some(0),
                            model,
                            ..
                        }) => at.function == 2 && matches!(model, None | Some(UsbControllerModel::Piix3Uhci)),
                        _ => false,
                    };
                if chipset {
                    let first = self.set.buses.first();
                    if first.is_some_and(|bus| !bus.accepts(Connect::PCI_DEVICE)) {
                        return Err(xml_error(
                            "Bus 0 must be PCI for integrated PIIX3 USB or IDE controllers",
                        ));
                    }
                    continue;
                }
            }
            self.set.reserve(slot_of(at), connect, self.group(device))?;
        }
        Ok(())
    }

    fn group(&self, device: DeviceRef) -> u32 {
        self.isolation.get(&device).copied().unwrap_or(0)
    }

    /// Finds a place for a device and puts it there.
    fn next(&mut self, domain: &mut Domain, device: DeviceRef) -> Result<()> {
        let connect = self.plugs.device(domain, device);
        let at = self.set.reserve_next(connect, self.group(device), None)?;
        if !self.trial
            && let Some(info) = device_info_mut(domain, device)
        {
            put(info, at, None);
        }
        Ok(())
    }

    fn chipset(&mut self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        let kind = machine(domain, guest.arch);
        if kind.is_i440fx() {
            self.piix3(domain)?;
        } else if kind.is_q35() {
            self.ich9(domain)?;
        }
        Ok(())
    }

    fn piix3(&mut self, domain: &mut Domain) -> Result<()> {
        let connect = Connect::AUTOASSIGN | Connect::PCI_DEVICE;
        for controller in &mut domain.devices.controllers {
            let (home, what) = match &controller.kind {
                ControllerKind::Ide { index: Some(0), .. } => (Slot::on_root(1, 1), "Primary IDE"),
                ControllerKind::Usb {
                    index: Some(0),
                    model: None | Some(UsbControllerModel::Piix3Uhci),
                    ..
                } => (Slot::on_root(1, 2), "PIIX3 USB"),
                _ => continue,
            };
            match present(&controller.info) {
                Some(at) if slot_of(at) != home => {
                    let what = format!("{what} controller must have PCI address 0:0:1.{}", home.function);
                    return Err(unsupported(what));
                }
                Some(_) => {}
                None => put(&mut controller.info, home, None),
            }
            if !self.set.buses.is_empty() {
                self.set.reserve(home, connect, 0)?;
            }
        }
        if !self.set.buses.is_empty() {
            self.set.reserve(Slot::on_root(1, 0), connect, 0)?;
            self.set.reserve(Slot::on_root(1, 3), connect, 0)?;
        }
        self.primary_video(domain, Slot::on_root(2, 0), connect)
    }

    fn ich9(&mut self, domain: &mut Domain) -> Result<()> {
        let connect = Connect::PCIE_DEVICE;
        for controller in &mut domain.devices.controllers {
            match &controller.kind {
                ControllerKind::Sata { index: Some(0) } => {
                    let home = Slot::on_root(0x1f, 2);
                    match present(&controller.info) {
                        Some(at) if slot_of(at) != home => {
                            return Err(unsupported(
                                "Primary SATA controller must have PCI address 0:0:1f.2",
                            ));
                        }
                        Some(_) => {}
                        None => put(&mut controller.info, home, None),
                    }
                }
                ControllerKind::Usb {
                    model: Some(UsbControllerModel::Ich9Uhci1),
                    ..
                } if controller.info.address.is_none() => {
                    let free = [0x1d, 0x1a].into_iter().map(|slot| Slot::on_root(slot, 0));
                    let mut free = free.filter(|at| !self.set.slot_in_use(*at));
                    if let Some(at) = free.next() {
                        self.set.reserve(at, connect, 0)?;
                        put(&mut controller.info, at, Some(true));
                    }
                }
                ControllerKind::Pci(PciController {
                    model: Some(PciControllerModel::DmiToPciBridge),
                    ..
                }) if controller.info.address.is_none() => {
                    let at = Slot::on_root(0x1e, 0);
                    if !self.set.slot_in_use(at) {
                        self.set.reserve(at, connect, 0)?;
                        put(&mut controller.info, at, None);
                    }
                }
                _ => {}
            }
        }
        if !self.set.buses.is_empty() {
            self.set.reserve(Slot::on_root(0x1f, 0), connect, 0)?;
            self.set.reserve(Slot::on_root(0x1f, 3), connect, 0)?;
        }
        self.primary_video(domain, Slot::on_root(1, 0), connect)?;
        let home = Slot::on_root(0x1b, 0);
        if !self.set.slot_in_use(home) {
            let sound = domain.devices.sounds.iter_mut();
            let mut sound = sound.filter(|sound| sound.model == SoundModel::Ich9 && wanted(&sound.info));
            if let Some(sound) = sound.next() {
                self.set.reserve(home, connect, 0)?;
                put(&mut sound.info, home, None);
            }
        }
        Ok(())
    }

    fn primary_video(&mut self, domain: &mut Domain, home: Slot, connect: Connect) -> Result<()> {
        let Some(video) = domain.devices.videos.first_mut() else {
            return Ok(());
        };
        let off = matches!(video.model.kind, VideoModelType::None | VideoModelType::Ramfb);
        if off || !wanted(&video.info) {
            return Ok(());
        }
        self.set.validate(home, connect, true)?;
        if self.set.slot_in_use(home) {
            return self.next(domain, DeviceRef::Video(0));
        }
        self.set.reserve(home, connect, 0)?;
        put(&mut video.info, home, None);
        Ok(())
    }

    /// Places for all devices that have none, in libvirt's order.
    fn devices(&mut self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        for device in self.wanting(domain, |controller| {
            matches!(controller.kind, ControllerKind::Pci(_))
        }) {
            self.next(domain, device)?;
        }
        let order = [
            (0, domain.devices.filesystems.len()),
            (1, domain.devices.interfaces.len()),
            (2, domain.devices.sounds.len()),
        ];
        for (family, count) in order {
            for at in 0..count {
                let device = match family {
                    0 => DeviceRef::Filesystem(at),
                    1 => {
                        let interface = domain.devices.interfaces.get(at);
                        if interface.is_some_and(|one| one.interface_type() == InterfaceType::Hostdev) {
                            continue;
                        }
                        DeviceRef::Interface(at)
                    }
                    _ => DeviceRef::Sound(at),
                };
                self.next_if_wanted(domain, device)?;
            }
        }
        for device in self.wanting(domain, |controller| {
            !matches!(controller.kind, ControllerKind::Pci(_))
        }) {
            if !self.usb2(domain, device)? {
                self.next(domain, device)?;
            }
        }
        for at in 0..domain.devices.disks.len() {
            let Some(disk) = domain
                .devices
                .disks
                .get(at)
                .filter(|disk| disk.bus() == Some(DiskBus::Virtio))
            else {
                continue;
            };
            let mmio = guest.caps.has(Flag::DeviceVirtioMmio);
            match &disk.info.address {
                Some(Address::Ccw(_)) => continue,
                Some(Address::VirtioMmio) if mmio => continue,
                _ if present(&disk.info).is_some() => continue,
                _ if wanted(&disk.info) => self.next(domain, DeviceRef::Disk(at))?,
                _ => {
                    let what = "virtio disk cannot have an address of this type";
                    return Err(unsupported(what));
                }
            }
        }
        for at in 0..domain.devices.interfaces.len() {
            let interface = domain.devices.interfaces.get(at);
            if interface.is_some_and(|one| one.interface_type() == InterfaceType::Hostdev) {
                self.next_if_wanted(domain, DeviceRef::Interface(at))?;
            }
        }
        for at in 0..domain.devices.hostdevs.len() {
            let fits = domain
                .devices
                .hostdevs
                .get(at)
                .is_some_and(|hostdev| match &hostdev.mode {
                    HostdevPass::Subsystem(subsystem) => matches!(
                        **subsystem,
                        HostdevSubsys::Pci { .. }
                            | HostdevSubsys::ScsiHost { .. }
                            | HostdevSubsys::Mdev {
                                model: MdevModel::VfioPci,
                                ..
                            }
                    ),
                    HostdevPass::Capabilities(_) => false,
                });
            if fits {
                self.next_if_wanted(domain, DeviceRef::Hostdev(at))?;
            }
        }
        let devices = &domain.devices;
        let mut rest: Vec<DeviceRef> = Vec::new();
        let many = |rest: &mut Vec<DeviceRef>, count: usize, make: fn(usize) -> DeviceRef| {
            rest.extend((0..count).map(make))
        };
        rest.extend(devices.memballoon.as_ref().map(|_| DeviceRef::Memballoon));
        many(&mut rest, devices.rngs.len(), DeviceRef::Rng);
        many(&mut rest, devices.watchdogs.len(), DeviceRef::Watchdog);
        many(&mut rest, devices.videos.len(), DeviceRef::Video);
        many(&mut rest, devices.shmems.len(), DeviceRef::Shmem);
        many(&mut rest, devices.inputs.len(), DeviceRef::Input);
        many(&mut rest, devices.serials.len(), DeviceRef::Serial);
        rest.extend([DeviceRef::Iommu, DeviceRef::Vsock]);
        many(&mut rest, devices.memory.len(), DeviceRef::Memory);
        many(&mut rest, devices.cryptos.len(), DeviceRef::Crypto);
        many(&mut rest, devices.panics.len(), DeviceRef::Panic);
        rest.push(DeviceRef::Pstore);
        for device in rest {
            self.next_if_wanted(domain, device)?;
        }
        Ok(())
    }

    fn next_if_wanted(&mut self, domain: &mut Domain, device: DeviceRef) -> Result<()> {
        let Some(info) = device_info(domain, device) else {
            return Ok(());
        };
        if !wanted(info) || self.plugs.device(domain, device).is_empty() {
            return Ok(());
        }
        self.next(domain, device)
    }

    fn wanting(&self, domain: &Domain, fits: impl Fn(&Controller) -> bool) -> Vec<DeviceRef> {
        let controllers = domain.devices.controllers.iter().enumerate();
        controllers
            .filter(|(_, controller)| fits(controller) && wanted(&controller.info))
            .filter(|(_, controller)| match &controller.kind {
                ControllerKind::Pci(pci) => !matches!(
                    pci.model,
                    Some(PciControllerModel::PciRoot | PciControllerModel::PcieRoot)
                ),
                ControllerKind::Ide { index, .. } => *index != Some(0),
                ControllerKind::Fdc { .. } | ControllerKind::Ccid { .. } => false,
                _ => !self.plugs.controller(controller).is_empty(),
            })
            .map(|(at, _)| DeviceRef::Controller(at))
            .collect()
    }

    /// The four controllers that are USB 2 together share a slot.
    fn usb2(&mut self, domain: &mut Domain, device: DeviceRef) -> Result<bool> {
        use UsbControllerModel as U;
        let part = |controller: &Controller| match &controller.kind {
            ControllerKind::Usb {
                index,
                model: Some(model),
                ..
            } => {
                let function = match model {
                    U::Ich9Ehci1 => 7,
                    U::Ich9Uhci1 => 0,
                    U::Ich9Uhci2 => 1,
                    U::Ich9Uhci3 => 2,
                    _ => return None,
                };
                Some((*index, function))
            }
            _ => None,
        };
        let DeviceRef::Controller(at) = device else {
            return Ok(false);
        };
        let Some((index, function)) = domain.devices.controllers.get(at).and_then(part) else {
            return Ok(false);
        };
        let connect = self.plugs.device(domain, device);
        let mut others = domain
            .devices
            .controllers
            .iter()
            .filter(|other| part(other).is_some_and(|(one, _)| one == index));
        let place = others.find_map(|other| present(&other.info).copied());
        let multifunction = (function == 0).then_some(true);
        match place {
            Some(place) => {
                let at = Slot {
                    function,
                    ..slot_of(&place)
                };
                self.set.reserve(at, connect, 0)?;
                if let Some(info) = device_info_mut(domain, device) {
                    put(info, at, multifunction);
                }
            }
            None => {
                let at = self.set.reserve_next(connect, 0, Some(function))?;
                if !self.trial
                    && let Some(info) = device_info_mut(domain, device)
                {
                    put(info, at, multifunction);
                }
            }
        }
        Ok(true)
    }
}

fn pci(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    let count = domain
        .devices
        .controllers
        .iter()
        .filter_map(|controller| match &controller.kind {
            ControllerKind::Pci(pci) => Some(pci.index.unwrap_or(0) as usize + 1),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    let plugs = Plugs::of(domain, guest);
    let mut total = count;
    if count > 0 {
        let mut buses = Buses::new(domain, guest, count, plugs, true)?;
        buses.chipset(domain, guest)?;
        if root_model(domain) == Some(PciControllerModel::PciRoot)
            && buses.set.buses.iter().any(|bus| !bus.is_full())
        {
            // Room for one more device, so that a full bus gets a bridge.
            buses
                .set
                .reserve_next(Connect::AUTOASSIGN | Connect::PCI_DEVICE, 0, None)?;
        }
        buses.devices(domain, guest)?;
        if count <= 1 && buses.set.buses.len() > count && has_pcie_root(domain) {
            buses
                .set
                .reserve_next(Connect::AUTOASSIGN | Connect::PCIE_DEVICE, 0, None)?;
        }
        let mut index = 1;
        while let Some(model) = buses.set.buses.get(index).map(|bus| bus.model) {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let kind = PciController {
                index: Some(number),
                model: controller_model(model),
                ..PciController::default()
            };
            if add_controller(domain, ControllerKind::Pci(kind))
                && !matches!(model, Model::PciRoot | Model::PcieRoot)
            {
                buses.set.reserve_next(model.connect(), 0, None)?;
            }
            index += 1;
        }
        total = buses.set.buses.len();
    }
    if !machine(domain, guest.arch).supports_pci() && total == 0 {
        return Ok(());
    }
    let mut buses = Buses::new(domain, guest, total, plugs, false)?;
    if !machine(domain, guest.arch).supports_pci() {
        return Ok(());
    }
    buses.chipset(domain, guest)?;
    buses.devices(domain, guest)?;
    if guest.caps.has(Flag::DeviceZpci) && guest.arch.is_s390() {
        zpci(domain)?;
    }
    multifunction(domain);
    controllers(domain, guest)
}

/// The first function of a slot with several says so.
fn multifunction(domain: &mut Domain) {
    let mut shared = BTreeSet::new();
    for device in device_refs(domain) {
        if let Some(Address::Pci(at)) = device_info(domain, device).and_then(|info| info.address.as_ref())
            && at.function != 0
        {
            shared.insert((at.domain, at.bus, at.slot));
        }
    }
    for device in device_refs(domain) {
        let Some(info) = device_info_mut(domain, device) else {
            continue;
        };
        if let Some(Address::Pci(at)) = &mut info.address
            && at.function == 0
            && shared.contains(&(at.domain, at.bus, at.slot))
        {
            at.multifunction.get_or_insert(true);
        }
    }
}

/// On IBM Z each PCI device has numbers by which the guest knows it.
fn zpci(domain: &mut Domain) -> Result<()> {
    let (mut uids, mut fids) = (BTreeSet::new(), BTreeSet::new());
    let with: Vec<DeviceRef> = device_refs(domain)
        .into_iter()
        .filter(|device| !matches!(device, DeviceRef::Serial(_) | DeviceRef::Channel(_) | DeviceRef::Console(_)))
        .filter(|device| {
            let controller = match device {
                DeviceRef::Controller(at) => domain.devices.controllers.get(*at),
                _ => None,
            };
            let root = controller.is_some_and(|controller| matches!(&controller.kind, ControllerKind::Pci(pci) if pci.model == Some(PciControllerModel::PciRoot)));
            !root && matches!(device_info(domain, *device).and_then(|info| info.address.as_ref()), Some(Address::Pci(_)))
        })
        .collect();
    let said = |domain: &Domain, device: DeviceRef| match device_info(domain, device)
        .and_then(|info| info.address.as_ref())
    {
        Some(Address::Pci(at)) => at.zpci.unwrap_or_default(),
        _ => Zpci::default(),
    };
    for device in &with {
        let Zpci { uid, fid } = said(domain, *device);
        if let Some(uid) = uid.filter(|uid| !uids.insert(*uid)) {
            return Err(xml_error(format_args!(
                "zPCI uid 0x{uid:04x} is already reserved"
            )));
        }
        if let Some(fid) = fid.filter(|fid| !fids.insert(*fid)) {
            return Err(xml_error(format_args!(
                "zPCI fid 0x{fid:08x} is already reserved"
            )));
        }
    }
    let (mut free_uids, mut free_fids) = (1.., 0..);
    for device in with {
        let Zpci { uid, fid } = said(domain, device);
        let uid = uid
            .or_else(|| free_uids.find(|uid| !uids.contains(uid)))
            .unwrap_or(1);
        let fid = fid
            .or_else(|| free_fids.find(|fid| !fids.contains(fid)))
            .unwrap_or(0);
        if let Some(Address::Pci(at)) = device_info_mut(domain, device).and_then(|info| info.address.as_mut())
        {
            at.zpci = Some(Zpci {
                uid: Some(uid),
                fid: Some(fid),
            });
        }
    }
    Ok(())
}

/// Names and numbers of PCI controllers.
fn controllers(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    use PciControllerModel as M;
    use PciControllerModelName as Name;
    let pseries = machine(domain, guest.arch).is_pseries();
    let mut lowest = 256;
    let mut targets = BTreeSet::new();
    for controller in &domain.devices.controllers {
        if let ControllerKind::Pci(pci) = &controller.kind {
            lowest = pci.bus_nr.map_or(lowest, |number| lowest.min(number));
            targets.extend(pci.target_index.filter(|_| pci.model == Some(M::PciRoot)));
        }
    }
    for controller in &mut domain.devices.controllers {
        let address = present(&controller.info).copied().unwrap_or_default();
        let ControllerKind::Pci(pci) = &mut controller.kind else {
            continue;
        };
        let index = pci.index.unwrap_or(0);
        let Some(model) = pci.model else { continue };
        if pci.model_name == Name::None {
            pci.model_name = match model {
                M::PciBridge => Name::PciBridge,
                M::DmiToPciBridge => Name::I82801b11Bridge,
                M::PcieToPciBridge => Name::PciePciBridge,
                M::PcieRootPort if guest.caps.has(Flag::DevicePcieRootPort) => Name::PcieRootPort,
                M::PcieRootPort => Name::Ioh3420,
                M::PcieSwitchUpstreamPort => Name::X3130Upstream,
                M::PcieSwitchDownstreamPort => Name::Xio3130Downstream,
                M::PciExpanderBus => Name::Pxb,
                M::PcieExpanderBus => Name::PxbPcie,
                M::PciRoot if pseries => Name::SpaprPciHostBridge,
                M::PciRoot | M::PcieRoot => Name::None,
            };
        }
        match model {
            M::PciBridge => {
                pci.chassis_nr.get_or_insert(index);
            }
            M::PcieRootPort => {
                pci.chassis.get_or_insert(index);
                pci.port.get_or_insert((address.slot << 3) + address.function);
            }
            M::PcieSwitchDownstreamPort => {
                pci.chassis.get_or_insert(index);
                pci.port.get_or_insert(address.slot);
            }
            M::PciExpanderBus | M::PcieExpanderBus if pci.bus_nr.is_none() => {
                if lowest <= 2 {
                    return Err(VirtError::internal(
                        "No free busNr lower than current lowest busNr is available to auto-assign to bus",
                    ));
                }
                lowest -= 2;
                pci.bus_nr = Some(lowest);
            }
            M::PciRoot if pseries && pci.target_index.is_none() => {
                let free = (1..=31).find(|target| !targets.contains(target));
                let target = if index == 0 { Some(0) } else { free };
                let target =
                    target.ok_or_else(|| VirtError::internal("No usable target index found for 31 PHBs"))?;
                targets.insert(target);
                pci.target_index = Some(target);
            }
            _ => {}
        }
        if model == M::PciBridge && index <= address.bus {
            return Err(xml_error(format_args!(
                "failed to create PCI bridge on bus {}: too many devices with fixed addresses",
                address.bus
            )));
        }
    }
    Ok(())
}

// USB.

fn usb_devices(domain: &Domain) -> Vec<DeviceRef> {
    let devices = &domain.devices;
    let on_usb = |device: &DeviceRef| match *device {
        DeviceRef::Disk(at) => devices
            .disks
            .get(at)
            .is_some_and(|one| one.bus() == Some(DiskBus::Usb)),
        DeviceRef::Interface(at) => devices
            .interfaces
            .get(at)
            .is_some_and(|one| one.model.as_deref() == Some("usb-net")),
        DeviceRef::Sound(at) => devices
            .sounds
            .get(at)
            .is_some_and(|one| one.model == SoundModel::Usb),
        DeviceRef::Hostdev(at) => devices.hostdevs.get(at).is_some_and(|one| match &one.mode {
            HostdevPass::Subsystem(subsystem) => matches!(**subsystem, HostdevSubsys::Usb { .. }),
            HostdevPass::Capabilities(_) => false,
        }),
        DeviceRef::Controller(at) => devices
            .controllers
            .get(at)
            .is_some_and(|one| matches!(one.kind, ControllerKind::Ccid { .. })),
        DeviceRef::Serial(at) => devices
            .serials
            .get(at)
            .is_some_and(|one| one.target.kind == SerialTargetType::UsbSerial),
        DeviceRef::Input(at) => devices
            .inputs
            .get(at)
            .is_some_and(|one| one.bus == Some(InputBus::Usb)),
        DeviceRef::Filesystem(at) => devices
            .filesystems
            .get(at)
            .is_some_and(|one| one.driver.kind == FilesystemDriver::Mtp),
        DeviceRef::Redirdev(_) => true,
        _ => false,
    };
    device_refs(domain).into_iter().filter(on_usb).collect()
}

fn controller_ports(controller: &Controller) -> Option<(u32, u32)> {
    use UsbControllerModel as U;
    let ControllerKind::Usb { index, model, ports } = &controller.kind else {
        return None;
    };
    let count = match model {
        None | Some(U::Piix3Uhci | U::Piix4Uhci | U::Vt82c686bUhci) => 2,
        Some(U::Ehci | U::Ich9Ehci1) => 6,
        Some(U::Ich9Uhci1 | U::Ich9Uhci2 | U::Ich9Uhci3 | U::None) => 0,
        Some(U::PciOhci) => 3,
        Some(U::NecXhci | U::QemuXhci) => ports.unwrap_or(4),
        Some(U::Qusb1 | U::Qusb2) => ports.unwrap_or(8),
    };
    Some((index.unwrap_or(0), count))
}

fn usb_ports(domain: &mut Domain, fresh: bool) -> Result<()> {
    let devices = usb_devices(domain);
    let hub_refs = (0..domain.devices.hubs.len()).map(DeviceRef::Hub);
    let addressed = |device: DeviceRef| {
        let info = device_info(domain, device);
        matches!(
            info.and_then(|info| info.address.as_ref()),
            Some(Address::Usb(UsbAddress { port: Some(_), .. }))
        )
    };
    // Guests from before ports were assigned keep QEMU's own.
    if !fresh && !devices.iter().copied().chain(hub_refs).all(addressed) {
        return Ok(());
    }
    let hubs = domain.devices.hubs.len();
    let own: u32 = domain
        .devices
        .controllers
        .iter()
        .filter_map(controller_ports)
        .map(|(_, ports)| ports)
        .sum();
    let all = own as usize + hubs * usb::HUB_PORTS;
    let has_usb = domain.devices.controllers.iter().any(|controller| {
        matches!(&controller.kind, ControllerKind::Usb { model, .. } if *model != Some(UsbControllerModel::None))
    });
    let count = devices.len() + hubs;
    if count > 0 && !has_usb {
        return Err(unsupported(
            "Device requires a USB controller, but USB is disabled for this domain",
        ));
    }
    if count > all {
        let needed = (count - all + 1).div_ceil(usb::HUB_PORTS - 1);
        domain.devices.hubs.extend((0..needed).map(|_| Hub::default()));
    }
    let mut set = usb::AddressSet::default();
    for controller in &domain.devices.controllers {
        if let Some((index, ports)) = controller_ports(controller) {
            set.add_controller(index, ports as usize)?;
        }
    }
    let said = |info: &DeviceInfo| match &info.address {
        Some(Address::Usb(UsbAddress {
            bus,
            port: Some(port),
        })) => Some((*bus, port.clone())),
        _ => None,
    };
    // Hubs above others come first.
    let mut fixed: Vec<(u32, usb::Path)> = Vec::new();
    for (bus, port) in domain.devices.hubs.iter().filter_map(|hub| said(&hub.info)) {
        fixed.push((bus, usb::parse_path(&port)?));
    }
    fixed.sort_by_key(|(_, path)| path.len());
    for (bus, path) in fixed {
        set.add_hub(bus, &path)?;
    }
    for device in &devices {
        if let Some((bus, port)) = device_info(domain, *device).and_then(said) {
            set.reserve(bus, &usb::parse_path(&port)?)?;
        }
    }
    for at in 0..domain.devices.hubs.len() {
        let device = DeviceRef::Hub(at);
        if let Some((bus, path)) = next_port(domain, device, &mut set)? {
            set.release(bus, &path);
            set.add_hub(bus, &path)?;
        }
    }
    for device in devices {
        next_port(domain, device, &mut set)?;
    }
    Ok(())
}

fn next_port(
    domain: &mut Domain,
    device: DeviceRef,
    set: &mut usb::AddressSet,
) -> Result<Option<(u32, usb::Path)>> {
    let Some(info) = device_info_mut(domain, device) else {
        return Ok(None);
    };
    let bus = match &info.address {
        None => None,
        Some(Address::Usb(UsbAddress { bus, port: None })) => Some(*bus),
        Some(_) => return Ok(None),
    };
    let (bus, path) = set.reserve_next(bus)?;
    info.address = Some(Address::Usb(UsbAddress {
        bus,
        port: Some(usb::format_path(&path)),
    }));
    Ok(Some((bus, path)))
}

// Memory modules.

fn memory_slots(domain: &mut Domain) -> Result<()> {
    let Some(slots) = domain.max_memory.as_ref().map(|memory| memory.slots) else {
        return Ok(());
    };
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    for module in &domain.devices.memory {
        if let Some(Address::Dimm(at)) = &module.info.address {
            taken.insert(at.slot);
        }
    }
    let mut free = 0..slots;
    for module in &mut domain.devices.memory {
        let plugged = matches!(module.model, MemoryModel::Dimm | MemoryModel::Nvdimm);
        if !plugged || matches!(module.info.address, Some(Address::Dimm(_))) {
            continue;
        }
        let slot = free
            .find(|slot| !taken.contains(slot))
            .ok_or_else(|| VirtError::internal("no free memory device slot available"))?;
        module.info.address = Some(Address::Dimm(DimmAddress { slot, base: 0 }));
    }
    Ok(())
}
