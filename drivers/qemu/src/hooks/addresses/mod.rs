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
mod tests {
    use super::*;
    use crate::capabilities::{Accel, QemuCaps};
    use virt_util::arch::Arch;
    use virt_util::xml::XmlFlags;

    #[test]
    fn indexes_out_of_all_bounds_cost_nothing() {
        let types = [
            "pci",
            "usb",
            "scsi",
            "ide",
            "sata",
            "fdc",
            "virtio-serial",
            "ccid",
            "xenbus",
            "isa",
        ];
        let machines = [
            ("pc", Arch::X86_64),
            ("q35", Arch::X86_64),
            ("pseries", Arch::Ppc64),
            ("s390-ccw-virtio", Arch::S390x),
            ("virt", Arch::Aarch64),
        ];
        for (machine, arch) in machines {
            for kind in types {
                for index in [255, 256, 65_536, u32::MAX] {
                    let text = format!(
                        "<domain type='qemu'><name>g</name><memory>1024</memory>\
                         <os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>\
                         <controller type='{kind}' index='{index}'/>\
                         <disk type='network'><source protocol='nbd' name='a'><host name='h'/></source>\
                         <target dev='vda' bus='virtio'/></disk><input type='mouse' bus='usb'/></devices></domain>"
                    );
                    let Ok(mut domain) = Domain::parse(&text, XmlFlags::INACTIVE, "test") else {
                        continue;
                    };
                    let guest = Guest {
                        caps: &QemuCaps::default(),
                        arch,
                        accel: Accel::Tcg,
                        host: &(),
                    };
                    // Refused or not, without taking the machine's memory.
                    let assigned = assign(&mut domain, guest, true);
                    if kind == "pci" && machine == "pc" && index > 255 {
                        assert_eq!(assigned.unwrap_err().code(), ErrorCode::CONFIG_UNSUPPORTED);
                    }
                }
            }
        }
    }
}
