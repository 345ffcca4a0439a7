//! Places on the guest's one PCI bus. The order in which they are handed out is part of a guest's identity.

use virt_conf::domain::Domain;
use virt_conf::domain::controller::{ControllerKind, PciControllerModel, UsbControllerModel};
use virt_conf::domain::device_info::{Address, DeviceInfo, PciAddress};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut, device_refs};
use virt_util::{ErrorCode, Result, VirtError};

/// Slots of a bus; the first one is the host bridge's.
const SLOTS: usize = 32;
/// The slot of the LPC bridge, unless somebody else wants it.
const LPC_SLOT: u32 = 1;

fn refused(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

/// Which functions of which slots are taken.
#[derive(Default)]
struct Bus {
    functions: [u8; SLOTS],
}

impl Bus {
    fn reserve(&mut self, address: &PciAddress) -> Result<()> {
        let PciAddress {
            domain,
            bus,
            slot,
            function,
            ..
        } = *address;
        let shown = address;
        if domain != 0 || bus != 0 {
            return Err(refused(format_args!(
                "Invalid PCI address {shown}. Only PCI domain 0 and bus 0 are available"
            )));
        }
        let taken = self
            .functions
            .get_mut(slot as usize)
            .filter(|_| slot > 0 && function < 8);
        let Some(taken) = taken else {
            return Err(refused(format_args!(
                "Invalid PCI address {shown}. slot must be >= 1 and <= 31, function <= 7"
            )));
        };
        if *taken & (1 << function) != 0 {
            return Err(refused(format_args!(
                "PCI address {shown} belongs to two devices"
            )));
        }
        *taken |= 1 << function;
        Ok(())
    }

    fn next(&mut self) -> Result<PciAddress> {
        let free = self
            .functions
            .iter_mut()
            .enumerate()
            .skip(1)
            .find(|(_, taken)| **taken == 0);
        let (slot, taken) =
            free.ok_or_else(|| VirtError::internal("No more available PCI slots: the guest's bus has 31"))?;
        *taken = 1;
        Ok(PciAddress::new(0, slot as u32, 0))
    }
}

/// Whether the device is to get an address.
fn wants(info: &DeviceInfo) -> bool {
    match &info.address {
        None => true,
        Some(Address::Pci(address)) => address.is_empty(),
        Some(_) => false,
    }
}

/// Gives each device that needs a place and has none the next free slot.
pub(crate) fn assign(domain: &mut Domain) -> Result<()> {
    let mut bus = Bus::default();
    for device in device_refs(domain) {
        // A console that stands for a serial port is that port.
        if let DeviceRef::Console(_) = device {
            continue;
        }
        if let Some(Address::Pci(address)) =
            device_info(domain, device).and_then(|info| info.address.as_ref())
            && !(address.domain == 0 && address.bus == 0 && address.slot == 0)
        {
            bus.reserve(address)?;
        }
    }
    let lpc = PciAddress::new(0, LPC_SLOT, 0);
    if bus
        .functions
        .get(LPC_SLOT as usize)
        .is_some_and(|taken| *taken == 0)
    {
        bus.reserve(&lpc)?;
        let isa = domain.devices.controllers.iter_mut().find(|controller| {
            matches!(controller.kind, ControllerKind::Isa { .. }) && wants(&controller.info)
        });
        if let Some(isa) = isa {
            isa.info.address = Some(Address::Pci(lpc));
        }
    }
    for device in in_order(domain) {
        if let Some(info) = device_info_mut(domain, device)
            && wants(info)
        {
            info.address = Some(Address::Pci(bus.next()?));
        }
    }
    Ok(())
}

/// Devices that have places on the bus, in the order in which they get them.
fn in_order(domain: &Domain) -> Vec<DeviceRef> {
    let devices = &domain.devices;
    let controllers = devices.controllers.iter().enumerate();
    let controllers = controllers.filter(|(_, controller)| match &controller.kind {
        ControllerKind::Pci(pci) => pci.model != Some(PciControllerModel::PciRoot),
        ControllerKind::Usb { model, .. } => *model == Some(UsbControllerModel::NecXhci),
        ControllerKind::Sata { .. } | ControllerKind::Isa { .. } => true,
        _ => false,
    });
    let mut refs: Vec<DeviceRef> = controllers.map(|(at, _)| DeviceRef::Controller(at)).collect();
    refs.extend((0..devices.interfaces.len()).map(DeviceRef::Interface));
    let disks = devices.disks.iter().enumerate();
    let disks = disks.filter(|(_, disk)| disk.target.bus == Some(DiskBus::Virtio));
    refs.extend(disks.map(|(at, _)| DeviceRef::Disk(at)));
    refs.extend((0..devices.videos.len()).map(DeviceRef::Video));
    refs.extend((0..devices.sounds.len()).map(DeviceRef::Sound));
    refs.extend((0..devices.filesystems.len()).map(DeviceRef::Filesystem));
    refs.extend((0..devices.rngs.len()).map(DeviceRef::Rng));
    refs
}
