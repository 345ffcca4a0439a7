//! Whether a complete definition makes sense: contradictions and missing parts that no hypervisor could help with; then
//! the driver's own word.
//!
//! Run [`validate`] behind [`super::normalize::normalize`]. Errors name the device and what was expected, with libvirt's
//! codes.

#[cfg(test)]
mod answers;
mod around;
mod chardev;
mod devices;
mod disk;
mod whole;

use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use self::around::Around;
use super::Domain;
use super::controller::{
    Controller, ControllerKind, PciControllerModel, ScsiControllerModel, UsbControllerModel,
};
use super::device_info::Address;
use super::graphics::{Graphics, ListenType};
use super::interface::{Interface, InterfaceBackendType, InterfaceSource, TeamingType};
use super::normalize::{DeviceRef, DomainHooks, device_info, device_name, device_refs};
use super::small::RngSource;

/// Checks a definition as a whole and each of its devices.
///
/// # Errors
/// The first thing that makes no sense or that the driver does not support.
pub fn validate(domain: &Domain, hooks: &dyn DomainHooks) -> Result<()> {
    validate_all(domain, hooks).map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN))
}

fn validate_all(domain: &Domain, hooks: &dyn DomainHooks) -> Result<()> {
    hooks.validate_domain(domain)?;
    let mut around = Around::new(domain);
    for device in device_refs(domain) {
        device_among(&mut around, device)
            .and_then(|()| hooks.validate_device(domain, device))
            .map_err(|error| error.context(device_name(domain, device)))?;
    }
    whole::validate(domain, hooks)
}

/// Checks what is said of firmware and boot; also before firmware is selected by it.
///
/// # Errors
/// What contradicts itself.
pub fn validate_os(domain: &Domain) -> Result<()> {
    whole::os(domain).map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN))
}

fn refuse_if(wrong: bool, what: impl std::fmt::Display) -> Result<()> {
    if wrong { Err(unsupported(what)) } else { Ok(()) }
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

/// Checks one device; also before it is plugged in.
///
/// # Errors
/// What makes no sense.
pub fn validate_device(domain: &Domain, device: DeviceRef) -> Result<()> {
    device_among(&mut Around::new(domain), device)
}

fn device_among(around: &mut Around<'_>, device: DeviceRef) -> Result<()> {
    let domain = around.domain;
    let unassigned =
        device_info(domain, device).is_some_and(|info| matches!(info.address, Some(Address::Unassigned)));
    if unassigned && !matches!(device, DeviceRef::Hostdev(_)) {
        return Err(unsupported(
            "an address of type 'unassigned' is for <hostdev> only",
        ));
    }
    let devices = &domain.devices;
    match device {
        DeviceRef::Disk(at) => devices
            .disks
            .get(at)
            .map_or(Ok(()), |one| disk::validate(domain, one)),
        DeviceRef::Serial(at) => devices
            .serials
            .get(at)
            .map_or(Ok(()), |serial| chardev::validate(&serial.host.source, false)),
        DeviceRef::Parallel(at) => devices
            .parallels
            .get(at)
            .map_or(Ok(()), |parallel| chardev::validate(&parallel.host.source, false)),
        DeviceRef::Console(at) => devices
            .consoles
            .get(at)
            .map_or(Ok(()), |console| chardev::validate(&console.host.source, false)),
        DeviceRef::Channel(at) => devices.channels.get(at).map_or(Ok(()), chardev::validate_channel),
        DeviceRef::Smartcard(at) => devices
            .smartcards
            .get(at)
            .map_or(Ok(()), chardev::validate_smartcard),
        DeviceRef::Redirdev(at) => {
            let usb = devices.controllers.iter().any(|controller| {
                matches!(
                    controller.kind,
                    ControllerKind::Usb { model, .. } if model != Some(UsbControllerModel::None)
                )
            });
            refuse_if(
                !usb,
                "USB is off in this guest: remove <controller type='usb' model='none'/>",
            )?;
            devices
                .redirdevs
                .get(at)
                .map_or(Ok(()), |redirdev| chardev::validate(&redirdev.host.source, false))
        }
        DeviceRef::Rng(at) => match devices.rngs.get(at).map(|rng| &rng.backend) {
            Some(RngSource::Egd(host)) => chardev::validate(&host.source, false),
            _ => Ok(()),
        },
        DeviceRef::Graphics(at) => {
            let Some(one) = devices.graphics.get(at) else {
                return Ok(());
            };
            graphics(one)?;
            devices::graphics_audio(around, one)
        }
        DeviceRef::Video(at) => devices
            .videos
            .get(at)
            .map_or(Ok(()), |video| devices::video(around, video)),
        DeviceRef::Hostdev(at) => devices.hostdevs.get(at).map_or(Ok(()), devices::hostdev),
        DeviceRef::Memory(at) => devices::memory(around, at),
        DeviceRef::Vsock => devices.vsock.as_deref().map_or(Ok(()), devices::vsock),
        DeviceRef::Input(at) => devices
            .inputs
            .get(at)
            .map_or(Ok(()), |input| devices::input(domain, input)),
        DeviceRef::Shmem(at) => devices.shmems.get(at).map_or(Ok(()), devices::shmem),
        DeviceRef::Filesystem(at) => devices::filesystem(around, at),
        DeviceRef::Sound(at) => devices::sound(around, at),
        DeviceRef::Audio(at) => devices
            .audios
            .get(at)
            .map_or(Ok(()), |audio| devices::audio(around, audio)),
        DeviceRef::Iommu => devices.iommu.as_deref().map_or(Ok(()), devices::iommu),
        DeviceRef::Tpm(at) => devices.tpms.get(at).map_or(Ok(()), devices::tpm),
        DeviceRef::Pstore => devices.pstore.as_deref().map_or(Ok(()), devices::pstore),
        DeviceRef::Controller(at) => devices.controllers.get(at).map_or(Ok(()), controller),
        DeviceRef::Interface(at) => devices.interfaces.get(at).map_or(Ok(()), interface),
        _ => Ok(()),
    }
}

fn graphics(graphics: &Graphics) -> Result<()> {
    let kind = graphics.graphics_type();
    if let Graphics::Dbus(dbus) = graphics
        && dbus.p2p
        && dbus.address.is_some()
    {
        return Err(xml_error("D-Bus takes p2p='yes' or an address, not both"));
    }
    let Some(listens) = graphics.listens() else {
        return Ok(());
    };
    let servers = matches!(graphics, Graphics::Vnc(_) | Graphics::Spice(_));
    for listen in &listens.0 {
        match listen.kind {
            ListenType::Network if listen.network.is_none() => {
                return Err(xml_error("<listen type='network'> does not say the network"));
            }
            ListenType::Socket | ListenType::None if !servers => {
                let what = format!(
                    "<listen type='{}'> is not for graphics of type '{kind}'",
                    listen.kind
                );
                return Err(unsupported(what));
            }
            _ => {}
        }
    }
    Ok(())
}

fn controller(controller: &Controller) -> Result<()> {
    if let ControllerKind::Pci(pci) = &controller.kind {
        let index = pci.index.unwrap_or_default();
        let root = matches!(
            pci.model,
            Some(PciControllerModel::PciRoot | PciControllerModel::PcieRoot)
        );
        if root && controller.info.address.is_some() {
            return Err(unsupported("a root bus takes no <address>"));
        }
        if index > 255 {
            return Err(unsupported(format_args!(
                "PCI bus {index} is above 255, the last one"
            )));
        }
        let limits = [
            ("target index", pci.target_index, 0, 30),
            ("chassisNr", pci.chassis_nr, 1, 255),
            ("chassis", pci.chassis, 0, 255),
            ("port", pci.port, 0, 255),
            ("busNr", pci.bus_nr, 1, 254),
        ];
        for (name, value, min, max) in limits {
            if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
                let what = format!("PCI controller {name} '{value}': expected {min} to {max}");
                return Err(unsupported(what));
            }
        }
        if pci
            .target_index
            .is_some_and(|target| (target == 0) != (index == 0))
        {
            let what = "<target index='0'/> belongs to the bus with index 0, other numbers to other buses";
            return Err(unsupported(what));
        }
        if pci.numa_node.is_some() && index == 0 {
            return Err(unsupported("the bus with index 0 takes no <node>"));
        }
    }
    let Some(driver) = controller
        .driver
        .as_ref()
        .filter(|driver| driver.iothread != 0 || !driver.iothreads.is_empty())
    else {
        return Ok(());
    };
    use ScsiControllerModel as M;
    let virtio = matches!(
        controller.kind,
        ControllerKind::Scsi {
            model: Some(M::VirtioScsi | M::VirtioTransitional | M::VirtioNonTransitional),
            ..
        }
    );
    if !virtio {
        return Err(unsupported("I/O threads are for model 'virtio-scsi' only"));
    }
    if driver.iothread != 0 && !driver.iothreads.is_empty() {
        let what = "'iothread' and <iothreads> exclude each other";
        return Err(xml_error(what));
    }
    Ok(())
}

fn interface(interface: &Interface) -> Result<()> {
    use InterfaceSource as S;
    let kind = interface.interface_type();
    let host = match &interface.source {
        S::User { host, .. } | S::Network { host, .. } | S::Bridge { host, .. } => Some(host),
        _ => None,
    };
    if host.is_some_and(|host| !host.addresses.is_empty() || !host.routes.is_empty()) {
        let what = format!("addresses and routes of the host's side are for type 'ethernet', not '{kind}'");
        return Err(unsupported(what));
    }
    let ethernet = matches!(interface.source, S::Ethernet { .. });
    if interface
        .target
        .as_ref()
        .is_some_and(|target| target.managed == Some(false))
        && !ethernet
    {
        let what = format!("managed='no' is for type 'ethernet', not '{kind}'");
        return Err(unsupported(what));
    }
    if let Some(teaming) = &interface.teaming {
        match (teaming.kind, &teaming.persistent) {
            (TeamingType::Transient, None) => {
                return Err(unsupported(
                    "<teaming type='transient'> does not say its partner: persistent='ALIAS' is missing",
                ));
            }
            (TeamingType::Persistent, Some(_)) => {
                let what = "<teaming type='persistent'> takes no 'persistent': the partner names it";
                return Err(unsupported(what));
            }
            _ => {}
        }
    }
    let user = matches!(interface.source, S::User { .. } | S::Vhostuser(_));
    let passt = interface
        .backend
        .as_ref()
        .is_some_and(|backend| backend.kind == InterfaceBackendType::Passt);
    if passt && !user {
        let what = format!("backend 'passt' is for types 'user' and 'vhostuser', not '{kind}'");
        return Err(unsupported(what));
    }
    let source_dev = match &interface.source {
        S::User { dev, .. } => dev.is_some(),
        S::Vhostuser(source) => source.dev.is_some(),
        _ => false,
    };
    if source_dev && !passt {
        let what = format!("<source dev='…'> of type '{kind}' is for backend 'passt' only");
        return Err(unsupported(what));
    }
    if let Some(driver) = interface.driver.as_ref().filter(|_| !interface.is_virtio()) {
        devices::no_virtio_options(&driver.virtio)?;
    }
    if !interface.link.port_forwards.is_empty() && !passt {
        let what = "<portForward> is for backend 'passt' only, with types 'user' and 'vhostuser'";
        return Err(unsupported(what));
    }
    let ranges = interface
        .link
        .port_forwards
        .iter()
        .flat_map(|forward| &forward.ranges);
    for range in ranges {
        if range.start == 0 && (range.end != 0 || range.to != 0 || range.exclude.is_some()) {
            let what = "a <range> of <portForward> says 'end', 'to' or 'exclude' without 'start'";
            return Err(unsupported(what));
        }
    }
    if interface.link.isolated == Some(true)
        && !matches!(interface.source, S::Network { .. } | S::Bridge { .. })
    {
        let what = format!("<port isolated='yes'/> is for types 'network' and 'bridge', not '{kind}'");
        return Err(unsupported(what));
    }
    if let Some(port) = interface
        .link
        .virtual_port
        .as_ref()
        .and_then(|port| port.kind)
        .filter(|_| interface.link.isolated == Some(true))
    {
        return Err(unsupported(format_args!(
            "<port isolated='yes'/> and <virtualport type='{port}'> exclude each other"
        )));
    }
    Ok(())
}
