//! Ports of USB controllers and hubs.

use virt_conf::domain::chardev::SerialTargetType;
use virt_conf::domain::controller::{Controller, ControllerKind, UsbControllerModel};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::filesystem::FilesystemDriver;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys};
use virt_conf::domain::input::{Hub, InputBus};
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut, device_refs};
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::{Address, DeviceInfo, Domain, UsbAddress};
use virt_util::Result;

use crate::address::usb;

use super::unsupported;

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

pub(super) fn usb_ports(domain: &mut Domain, fresh: bool) -> Result<()> {
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
    // A hub on another hub comes after that.
    for (bus, port) in domain.devices.hubs.iter().filter_map(|hub| said(&hub.info)) {
        set.add_hub(bus, &usb::parse_path(&port)?)?;
    }
    for device in &devices {
        if let Some((bus, port)) = device_info(domain, *device).and_then(said) {
            set.reserve(bus, &usb::parse_path(&port)?)?;
        }
    }
    for at in 0..domain.devices.hubs.len() {
        let device = DeviceRef::Hub(at);
        // A hub is nowhere but on USB, whatever was said.
        if let Some(hub) = domain.devices.hubs.get_mut(at)
            && !matches!(hub.info.address, Some(Address::Usb(_)))
        {
            hub.info.address = None;
        }
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
