//! Devices that are plugged into a guest that runs, exchanged, and taken out: disks, interfaces, PCI devices of the host.

use std::sync::Arc;

use virt_conf::domain::Domain;
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice};
use virt_conf::domain::fragment::Device;
use virt_conf::domain::hostdev::{Hostdev, HostdevPass, HostdevSubsys, PciDriverName};
use virt_conf::domain::interface::{Interface, InterfaceSource};
use virt_conf::domain::normalize::{DeviceRef, NormalizeFlags, device_info, device_refs, disk_index};
use virt_util::types::{DomainEventDefinedDetail, DomainEventType, DomainModificationImpact};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use crate::changes::{Target, edit};
use crate::connection::{check_flags, of_definitions};
use crate::domain::{Guest, GuestEvent};
use crate::error;

fn unsupported<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(ErrorCode::OPERATION_UNSUPPORTED, what))
}

/// The flags of a change, which this driver knows to make while a guest runs only. The caller holds the guest's lane.
fn live_only(guest: &Guest, function: &'static str, flags: u32) -> Result<()> {
    let affected = guest.snapshot().affected(flags)?;
    let mut flags = flags;
    if affected.stored {
        flags |= DomainModificationImpact::CONFIG.bits();
    }
    check_flags(function, flags, DomainModificationImpact::LIVE.bits())
}

/// Plugs a device in.
pub fn attach(guest: &Arc<Guest>, xml: &str, flags: u32) -> Result<()> {
    live_only(guest, "testDomainAttachDeviceLiveAndConfig", flags)?;
    let live = DomainModificationImpact::LIVE.bits();
    let added = std::cell::RefCell::new(None);
    edit(guest, live, |definition, _| {
        let inactive = NormalizeFlags::INACTIVE | NormalizeFlags::ABI_UPDATE;
        let device = definition.device(xml, XmlFlags::INACTIVE, inactive)?;
        device.fits(&definition.domain, None)?;
        *added.borrow_mut() = plug(&mut definition.domain, device)?;
        Ok(())
    })?;
    if let Some(alias) = added.into_inner() {
        GuestEvent::device_added(guest, &alias);
    }
    Ok(())
}

/// Puts the device in and says its alias. A medium of a removable drive has none.
fn plug(domain: &mut Domain, device: Device) -> Result<Option<String>> {
    match device {
        Device::Disk(disk) => plug_disk(domain, *disk),
        Device::Interface(interface) => plug_interface(domain, *interface).map(Some),
        Device::Hostdev(hostdev) => plug_hostdev(domain, *hostdev),
        other => unsupported(format_args!(
            "a running domain takes no <{}>: only a disk, an interface and a hostdev",
            other.word()
        )),
    }
}

fn plug_disk(domain: &mut Domain, mut disk: Disk) -> Result<Option<String>> {
    let target = disk.target.dev.clone();
    let disks = &mut domain.devices.disks;
    let known = disks.iter_mut().find(|known| known.target.dev == target);
    if let (DiskDevice::Cdrom | DiskDevice::Floppy, Some(known)) = (disk.device, known) {
        known.source = disk.source;
        return Ok(None);
    }
    if disk.device == DiskDevice::Floppy {
        return unsupported(format_args!(
            "floppy '{target}': hotplug of floppies is not supported"
        ));
    }
    if disks.iter().any(|known| known.target.dev == target) {
        return Err(error(
            ErrorCode::XML_ERROR,
            format_args!("target '{target}' of the disk is another disk's"),
        ));
    }
    match (disk.target.bus, disk.device) {
        (Some(DiskBus::Usb), DiskDevice::Lun) => {
            return Err(error(
                ErrorCode::CONFIG_UNSUPPORTED,
                format_args!("disk '{target}': device 'lun' is not supported on the usb bus"),
            ));
        }
        (Some(DiskBus::Virtio), DiskDevice::Cdrom) => {
            return unsupported(format_args!(
                "disk '{target}': a cdrom on the virtio bus is not supported"
            ));
        }
        (Some(DiskBus::Usb | DiskBus::Virtio), _) => {}
        (bus, _) => {
            let bus = bus.map_or("none", |bus| bus.as_str());
            return unsupported(format_args!(
                "disk '{target}': bus '{bus}' of a running domain takes no disks"
            ));
        }
    }
    let bus = disk.target.bus.map_or("", |bus| bus.as_str());
    let number = disk_index(&target).unwrap_or_default();
    let alias = disk
        .info
        .alias
        .get_or_insert_with(|| format!("{bus}-disk{number}"));
    let alias = alias.clone();
    // libvirt keeps the disks of a bus in the order of their targets.
    let same_bus = |known: &Disk| known.target.bus == disk.target.bus;
    let later = |known: &Disk| same_bus(known) && disk_index(&known.target.dev).unwrap_or_default() > number;
    let behind_bus = || disks.iter().rposition(same_bus).map(|last| last + 1);
    let at = disks
        .iter()
        .position(later)
        .or_else(behind_bus)
        .unwrap_or(disks.len());
    disks.insert(at, disk);
    Ok(Some(alias))
}

fn plug_interface(domain: &mut Domain, mut interface: Interface) -> Result<String> {
    let kind = interface.source.xml_tag();
    if !matches!(
        interface.source,
        InterfaceSource::Ethernet { .. } | InterfaceSource::Bridge { .. }
    ) {
        return unsupported(format_args!(
            "hotplug of an interface of type '{kind}' is not supported"
        ));
    }
    let interfaces = &mut domain.devices.interfaces;
    let numbers = interfaces.iter().filter_map(|known| {
        known
            .info
            .alias
            .as_deref()?
            .strip_prefix("net")?
            .parse::<u32>()
            .ok()
    });
    let next = numbers.max().map_or(0, |last| last.saturating_add(1));
    let alias = interface
        .info
        .alias
        .get_or_insert_with(|| format!("net{next}"))
        .clone();
    interfaces.push(interface);
    Ok(alias)
}

fn plug_hostdev(domain: &mut Domain, hostdev: Hostdev) -> Result<Option<String>> {
    let refuse = |what: std::fmt::Arguments<'_>| Err(error(ErrorCode::CONFIG_UNSUPPORTED, what));
    match &hostdev.mode {
        HostdevPass::Subsystem(subsystem) => match &**subsystem {
            HostdevSubsys::Pci { device, .. } if device.driver == Some(PciDriverName::Xen) => refuse(
                format_args!("hostdev: assignment by the driver 'xen' is not supported"),
            ),
            HostdevSubsys::Pci { .. } => {
                let alias = hostdev.info.alias.as_deref().map(str::to_owned);
                domain.devices.hostdevs.push(hostdev);
                Ok(alias)
            }
            other => refuse(format_args!(
                "hotplug of a hostdev of type '{}' is not supported",
                other.xml_tag()
            )),
        },
        HostdevPass::Capabilities(_) => refuse(format_args!(
            "hotplug of a hostdev of mode 'capabilities' is not supported"
        )),
    }
}

/// Puts a device in the place of the one that it names.
pub fn update(guest: &Arc<Guest>, xml: &str, flags: u32) -> Result<()> {
    let affected = guest.snapshot().affected(flags)?;
    edit(guest, flags, |definition, target| {
        let (read, normalize) = match affected.live {
            true => (XmlFlags::empty(), NormalizeFlags::empty()),
            false => (XmlFlags::INACTIVE, NormalizeFlags::INACTIVE),
        };
        let device = definition.device(xml, read, normalize)?;
        let Device::Disk(disk) = &device else {
            let word = device.word();
            let what = if affected.stored { "persistent" } else { "live" };
            return unsupported(format_args!("{what} update of device '{word}' is not supported"));
        };
        let disks = &definition.domain.devices.disks;
        let at = disks.iter().position(|known| known.target.dev == disk.target.dev);
        let Some(at) = at else {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("no disk has the target '{}'", disk.target.dev),
            ));
        };
        device.fits(&definition.domain, Some(DeviceRef::Disk(at)))?;
        if let (Device::Disk(disk), Some(known)) = (device, definition.domain.devices.disks.get_mut(at)) {
            *known = *disk;
        }
        definition.settle(match target {
            Target::Live => normalize,
            Target::Stored => NormalizeFlags::INACTIVE,
        })
    })?;
    if affected.stored {
        let detail = DomainEventDefinedDetail::UPDATED;
        GuestEvent::lifecycle(guest, DomainEventType::DEFINED, detail.0);
    }
    Ok(())
}

/// Takes the device of that alias out.
pub fn detach(guest: &Arc<Guest>, alias: &str, flags: u32) -> Result<()> {
    live_only(guest, "testDomainDetachDeviceAliasLiveAndConfig", flags)?;
    let live = DomainModificationImpact::LIVE.bits();
    edit(guest, live, |definition, _| {
        let domain = &mut definition.domain;
        let has_alias = |device: &DeviceRef| {
            device_info(domain, *device).is_some_and(|info| info.alias.as_deref() == Some(alias))
        };
        let Some(place) = device_refs(domain).into_iter().find(has_alias) else {
            return Err(of_definitions(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("the domain has no device with the alias '{alias}'"),
            )));
        };
        can_leave(domain, place)?;
        Device::take_from(domain, place);
        Ok(())
    })?;
    GuestEvent::device_removed(guest, alias);
    Ok(())
}

/// Refuses devices that cannot be taken out while the guest runs.
fn can_leave(domain: &Domain, place: DeviceRef) -> Result<()> {
    let Some(device) = Device::copy_from(domain, place) else {
        return Ok(());
    };
    match &device {
        Device::Disk(disk) => {
            let target = &disk.target.dev;
            match (disk.device, disk.target.bus) {
                (
                    DiskDevice::Disk | DiskDevice::Lun,
                    Some(DiskBus::Virtio | DiskBus::Usb | DiskBus::Scsi),
                )
                | (DiskDevice::Cdrom, Some(DiskBus::Usb | DiskBus::Scsi)) => Ok(()),
                (kind @ (DiskDevice::Cdrom | DiskDevice::Floppy), _) => {
                    let kind = kind.as_str();
                    unsupported(format_args!("disk '{target}': a {kind} there cannot be detached"))
                }
                _ => unsupported(format_args!("disk '{target}': this bus has no hot unplug")),
            }
        }
        Device::Interface(interface) => match &interface.source {
            InterfaceSource::Ethernet { .. } | InterfaceSource::Bridge { .. } => Ok(()),
            other => {
                let kind = other.xml_tag();
                unsupported(format_args!(
                    "live detach of an interface of type '{kind}' is not supported"
                ))
            }
        },
        Device::Hostdev(hostdev) => match &hostdev.mode {
            HostdevPass::Subsystem(_) => Ok(()),
            HostdevPass::Capabilities(_) => Err(error(
                ErrorCode::CONFIG_UNSUPPORTED,
                "hot unplug of a hostdev of mode 'capabilities' is not supported",
            )),
        },
        other => unsupported(format_args!("a running domain gives up no <{}>", other.word())),
    }
}
