//! Addresses of devices on the buses of the guest.
//!
//! | module | is about |
//! |---|---|
//! | [`mod@virtio_serial`] | ports of virtio serial controllers |
//! | [`spapr`] | the VIO bus of POWER |
//! | [`ccw`] | channels of IBM Z |
//! | [`mmio`] | virtio devices without PCI |
//! | [`mod@pci`] | PCI, in modules of its own |
//! | [`usb`] | ports of USB controllers and hubs |
//! | [`memory`] | slots of memory modules |

mod ccw;
mod memory;
mod mmio;
mod pci;
mod spapr;
mod usb;
mod virtio_serial;

use virt_conf::domain::Domain;
use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::normalize::{DeviceRef, device_refs};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::hooks::Guest;

use self::ccw::s390;
use self::memory::memory_slots;
use self::mmio::virtio_mmio;
use self::pci::pci;
use self::spapr::spapr_vio;
use self::usb::usb_ports;
use self::virtio_serial::virtio_serial;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

/// What is wrong with the addresses of a definition whoever has drivers for the devices.
fn conf_error(code: ErrorCode, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, what).in_domain(ErrorDomain::DOMAIN)
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

/// The devices whose addresses count: a console that stands for the first serial port is where that is.
fn with_addresses(domain: &Domain) -> Vec<DeviceRef> {
    let devices = &domain.devices;
    let shadow = !devices.serials.is_empty()
        && devices
            .consoles
            .first()
            .is_some_and(|console| console.target_type == ConsoleTargetType::Serial);
    let mut refs = device_refs(domain);
    refs.retain(|device| !(shadow && *device == DeviceRef::Console(0)));
    refs
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

#[cfg(test)]
mod tests;
