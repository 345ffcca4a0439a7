//! The buses of a guest, what is on them, and the order in which devices get places.

use std::collections::HashMap;

use virt_conf::domain::chardev::SerialTargetType;
use virt_conf::domain::controller::{
    Controller, ControllerKind, PciControllerModel, ScsiControllerModel, UsbControllerModel,
};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::filesystem::FilesystemDriver;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSource, HostdevSubsys, MdevModel};
use virt_conf::domain::input::InputBus;
use virt_conf::domain::interface::{InterfaceSource, InterfaceType};
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut};
use virt_conf::domain::small::{IommuModel, MemballoonModel, PanicModel, WatchdogModel};
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Address, Domain};
use virt_util::{ErrorCode, Result, VirtError};

use crate::address::pci::{AddressSet, Bus, Connect, Model, Slot};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

use super::plugs::Plugs;
use super::zpci::{Numbers, Which};
use super::{model_of, present, put, slot_of, wanted};
use crate::hooks::addresses::{conf_error, unsupported, with_addresses};

/// More buses than this cannot be meant.
const MOST_BUSES: usize = 1024;

/// The buses of the guest with what is on them.
pub(super) struct Buses<'a> {
    pub(super) set: AddressSet,
    plugs: Plugs<'a>,
    /// Nothing is decided yet; it only shows how many buses are needed.
    trial: bool,
    /// Numbers by which the guest knows devices, if it has such.
    numbers: Option<Numbers>,
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
    let mut groups: HashMap<DeviceRef, u32> = HashMap::new();
    for (device, address) in hostdevs.chain(interfaces) {
        match guest.host.iommu_group(address) {
            // 0 is a group of the host, and here those who are in none.
            Some(group) => {
                groups.insert(device, group.saturating_add(1));
            }
            None => tracing::warn!(?address, "the IOMMU group of a device of the host is not known"),
        }
    }
    // Which devices they become nobody knows yet, nor their groups: each gets one that no device of the host has.
    let mut unused = u32::MAX;
    for (at, interface) in devices.interfaces.iter().enumerate() {
        let InterfaceSource::Network { network, .. } = &interface.source else {
            continue;
        };
        if interface.link.actual.is_some() || !guest.host.network_gives_devices(network) {
            continue;
        }
        while groups.values().any(|group| *group == unused) {
            unused -= 1;
        }
        groups.insert(DeviceRef::Interface(at), unused);
    }
    groups
}

impl<'a> Buses<'a> {
    pub(super) fn new(
        domain: &mut Domain,
        guest: Guest<'_>,
        count: usize,
        plugs: Plugs<'a>,
        trial: bool,
    ) -> Result<Self> {
        // An index above 255 is refused when all have been given their places; no memory is spent on one that is out of all
        // bounds.
        if count > MOST_BUSES {
            return Err(unsupported(format_args!(
                "PCI bus {} is above 255, the last one",
                count - 1
            )));
        }
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
            let Some(model) = pci.model else {
                let what = format_args!("the PCI controller with index {index} has no model");
                return Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
            };
            *place = Some((model_of(model), pci.hotplug != Some(false)));
            express |= model == PciControllerModel::PcieRoot;
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
            numbers: guest.caps.has(Flag::DeviceZpci).then(Numbers::default),
            isolation: isolation(domain, guest),
        };
        if pseries && let Some(first) = buses.set.buses.first_mut() {
            // The first bridge is for what is emulated.
            first.isolation_locked = true;
        }
        buses.collect(domain)?;
        if let Some(numbers) = &mut buses.numbers {
            numbers.give(domain, Which::Said)?;
        }
        Ok(buses)
    }

    /// Gives the devices on PCI the numbers they lack.
    pub(super) fn number(&mut self, domain: &mut Domain) -> Result<()> {
        match &mut self.numbers {
            Some(numbers) => numbers.give(domain, Which::Incomplete),
            None => Ok(()),
        }
    }

    /// Takes the addresses that devices have.
    fn collect(&mut self, domain: &mut Domain) -> Result<()> {
        for device in with_addresses(domain) {
            let Some(at) = device_info(domain, device).and_then(present).copied() else {
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
                let chipset = (at.domain, at.bus, at.slot) == (0, 0, 1)
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
                        return Err(VirtError::internal(
                            "the chipset's USB and IDE controllers need a PCI bus 0",
                        ));
                    }
                    continue;
                }
            }
            let placed = self.set.reserve(slot_of(&at), connect, self.group(device))?;
            if placed.bus != at.bus
                && let Some(Address::Pci(at)) =
                    device_info_mut(domain, device).and_then(|info| info.address.as_mut())
            {
                at.bus = placed.bus;
            }
        }
        Ok(())
    }

    fn group(&self, device: DeviceRef) -> u32 {
        self.isolation.get(&device).copied().unwrap_or(0)
    }

    /// Finds a place for a device and puts it there.
    pub(super) fn next(&mut self, domain: &mut Domain, device: DeviceRef) -> Result<()> {
        let connect = self.plugs.device(domain, device);
        let at = self.set.reserve_next(connect, self.group(device), None)?;
        if !self.trial
            && let Some(info) = device_info_mut(domain, device)
        {
            put(info, at, None);
        }
        Ok(())
    }

    /// Places for all devices that have none, in libvirt's order.
    pub(super) fn devices(&mut self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        for device in Self::wanting(domain, |controller| {
            matches!(controller.kind, ControllerKind::Pci(_))
        }) {
            self.next(domain, device)?;
        }
        for at in 0..domain.devices.filesystems.len() {
            let filesystem = domain.devices.filesystems.get(at);
            if filesystem.is_some_and(|one| one.driver.kind != FilesystemDriver::Mtp) {
                self.next_if_wanted(domain, DeviceRef::Filesystem(at))?;
            }
        }
        for at in 0..domain.devices.interfaces.len() {
            let interface = domain.devices.interfaces.get(at);
            // Those that are devices of the host come with them.
            if interface.is_some_and(|one| {
                one.model.as_deref() != Some("usb-net") && one.interface_type() != InterfaceType::Hostdev
            }) {
                self.next_if_wanted(domain, DeviceRef::Interface(at))?;
            }
        }
        for at in 0..domain.devices.sounds.len() {
            let sound = domain.devices.sounds.get(at);
            if sound.is_some_and(|one| {
                !matches!(one.model, SoundModel::Sb16 | SoundModel::Pcspk | SoundModel::Usb)
            }) {
                self.next_if_wanted(domain, DeviceRef::Sound(at))?;
            }
        }
        for device in Self::wanting(domain, |controller| {
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
            if interface.is_some_and(|one| match &one.source {
                InterfaceSource::Hostdev(source) => matches!(source.device, HostdevSource::Pci(_)),
                _ => false,
            }) {
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
        for device in Self::rest(domain) {
            self.next_if_wanted(domain, device)?;
        }
        Ok(())
    }

    /// The families that come after the devices of the host, as far as they are on PCI if anywhere.
    fn rest(domain: &Domain) -> Vec<DeviceRef> {
        fn some<T>(
            rest: &mut Vec<DeviceRef>,
            family: &[T],
            make: fn(usize) -> DeviceRef,
            fits: impl Fn(&T) -> bool,
        ) {
            let fitting = family.iter().enumerate().filter(|(_, one)| fits(one));
            rest.extend(fitting.map(|(at, _)| make(at)));
        }
        let devices = &domain.devices;
        let mut rest: Vec<DeviceRef> = Vec::new();
        let balloon = devices.memballoon.as_ref();
        rest.extend(
            balloon
                .filter(|one| one.model != MemballoonModel::None)
                .map(|_| DeviceRef::Memballoon),
        );
        some(&mut rest, &devices.rngs, DeviceRef::Rng, |_| true);
        some(&mut rest, &devices.watchdogs, DeviceRef::Watchdog, |one| {
            one.model == WatchdogModel::I6300esb
        });
        some(&mut rest, &devices.videos, DeviceRef::Video, |one| {
            !matches!(one.model.kind, VideoModelType::None | VideoModelType::Ramfb)
        });
        some(&mut rest, &devices.shmems, DeviceRef::Shmem, |_| true);
        some(&mut rest, &devices.inputs, DeviceRef::Input, |one| {
            one.bus == Some(InputBus::Virtio)
        });
        some(&mut rest, &devices.serials, DeviceRef::Serial, |one| {
            one.target.kind == SerialTargetType::PciSerial
        });
        let iommu = devices.iommu.as_ref();
        rest.extend(
            iommu
                .filter(|one| one.model == IommuModel::Virtio)
                .map(|_| DeviceRef::Iommu),
        );
        rest.push(DeviceRef::Vsock);
        some(&mut rest, &devices.memory, DeviceRef::Memory, |one| {
            matches!(one.model, MemoryModel::VirtioPmem | MemoryModel::VirtioMem)
        });
        some(&mut rest, &devices.cryptos, DeviceRef::Crypto, |_| true);
        some(&mut rest, &devices.panics, DeviceRef::Panic, |one| {
            one.model == Some(PanicModel::Pvpanic)
        });
        rest.push(DeviceRef::Pstore);
        rest
    }

    fn next_if_wanted(&mut self, domain: &mut Domain, device: DeviceRef) -> Result<()> {
        match device_info(domain, device) {
            Some(info) if wanted(info) => self.next(domain, device),
            _ => Ok(()),
        }
    }

    fn wanting(domain: &Domain, fits: impl Fn(&Controller) -> bool) -> Vec<DeviceRef> {
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
                ControllerKind::Usb { model, .. } => *model != Some(UsbControllerModel::None),
                // It is a part of the board.
                ControllerKind::Scsi { model, .. } => *model != Some(ScsiControllerModel::Ncr53c90),
                _ => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::HostDevices;
    use virt_conf::values::HostPciAddress;
    use virt_util::arch::Arch;
    use virt_util::xml::XmlFlags;

    /// A host whose devices are each in the group of their slot, and a network that gives devices away.
    struct Pool;

    impl HostDevices for Pool {
        fn iommu_group(&self, device: HostPciAddress) -> Option<u32> {
            Some(device.slot)
        }

        fn network_gives_devices(&self, network: &str) -> bool {
            network == "pool"
        }
    }

    fn groups(machine: &str, arch: Arch) -> Vec<(DeviceRef, u32)> {
        let devices = ["pool", "default", "pool"]
            .map(|name| format!("<interface type='network'><source network='{name}'/></interface>"))
            .concat();
        let text = format!(
            "<domain type='qemu'><name>g</name><memory>1024</memory><os><type arch='{arch}' machine='{machine}'>hvm</type>\
             </os><devices>{devices}<hostdev mode='subsystem' type='pci'><source><address slot='3'/></source></hostdev>\
             </devices></domain>"
        );
        let domain = Domain::parse(&text, XmlFlags::INACTIVE, "test").unwrap();
        let guest = Guest {
            caps: &crate::capabilities::QemuCaps::default(),
            arch,
            accel: crate::capabilities::Accel::Tcg,
            host: &Pool,
        };
        let mut groups: Vec<_> = isolation(&domain, guest).into_iter().collect();
        groups.sort_by_key(|(_, group)| *group);
        groups
    }

    #[test]
    fn what_comes_from_the_host_has_bridges_of_its_own_on_pseries() {
        assert_eq!(
            groups("pseries", Arch::Ppc64),
            [
                (DeviceRef::Hostdev(0), 4),
                (DeviceRef::Interface(2), u32::MAX - 1),
                (DeviceRef::Interface(0), u32::MAX),
            ]
        );
        assert!(groups("pc", Arch::X86_64).is_empty());
    }
}
