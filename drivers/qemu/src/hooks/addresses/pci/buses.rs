//! The buses of a guest, what is on them, and the order in which devices get places.

use std::collections::HashMap;

use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::controller::{Controller, ControllerKind, PciControllerModel, UsbControllerModel};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSource, HostdevSubsys, MdevModel};
use virt_conf::domain::interface::{InterfaceSource, InterfaceType};
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut, device_refs};
use virt_conf::domain::{Address, Domain};
use virt_util::{Result, VirtError};

use crate::address::pci::{AddressSet, Bus, Connect, Model, Slot};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

use super::plugs::Plugs;
use super::{model_of, present, put, slot_of, wanted};
use crate::hooks::addresses::{unsupported, xml_error};

/// Buses that numbers of 8 bits can tell apart.
const MOST_BUSES: usize = 256;

/// The buses of the guest with what is on them.
pub(super) struct Buses {
    pub(super) set: AddressSet,
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
    let mut groups: HashMap<DeviceRef, u32> = HashMap::new();
    for (device, address) in hostdevs.chain(interfaces) {
        match guest.iommu.iommu_group(address) {
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
        if interface.link.actual.is_some() || !guest.iommu.network_gives_devices(network) {
            continue;
        }
        while groups.values().any(|group| *group == unused) {
            unused -= 1;
        }
        groups.insert(DeviceRef::Interface(at), unused);
    }
    groups
}

impl Buses {
    pub(super) fn new(
        domain: &Domain,
        guest: Guest<'_>,
        count: usize,
        plugs: Plugs,
        trial: bool,
    ) -> Result<Self> {
        // An index is checked later; no memory is spent on one that is out of all bounds.
        if count > MOST_BUSES {
            return Err(unsupported(format_args!(
                "PCI bus {} is above {}, the last one",
                count - 1,
                MOST_BUSES - 1
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
                            "the chipset's USB and IDE controllers need a PCI bus 0",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::IommuGroups;
    use virt_conf::values::HostPciAddress;
    use virt_util::arch::Arch;
    use virt_util::xml::XmlFlags;

    /// A host whose devices are each in the group of their slot, and a network that gives devices away.
    struct Pool;

    impl IommuGroups for Pool {
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
            iommu: &Pool,
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
