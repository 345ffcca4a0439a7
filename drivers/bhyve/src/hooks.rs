//! What bhyve adds to a definition, and what it refuses.

use virt_conf::domain::chardev::{ChardevHost, ChardevSource};
use virt_conf::domain::controller::{ControllerKind, ControllerType, PciController, PciControllerModel};
use virt_conf::domain::device_info::{Address, DriveAddress};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::normalize::{
    DeviceRef, DomainFeatures, DomainHooks, NormalizeContext, add_controller, disk_index,
};
use virt_conf::domain::os::{FirmwareType, OsType};
use virt_conf::domain::small::{RngModel, RngSource};
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Domain, VirtType};
use virt_util::{ErrorCode, Result, VirtError};

use crate::addresses;

bitflags::bitflags! {
    /// What the host's bhyve can do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BhyveCaps: u32 {
        /// The guest's clock can be set to UTC.
        const RTC_UTC = 1 << 0;
        /// A SATA controller has 32 ports, not one.
        const AHCI32SLOT = 1 << 1;
        /// Network cards can be of Intel's model.
        const NET_E1000 = 1 << 2;
        /// The LPC bridge can hold firmware.
        const LPC_BOOTROM = 1 << 3;
        /// There is a frame buffer.
        const FBUF = 1 << 4;
        /// There are USB 3 controllers.
        const XHCI = 1 << 5;
        /// Sockets, cores and threads can be said.
        const CPUTOPOLOGY = 1 << 6;
        /// There are sound cards.
        const SOUND_HDA = 1 << 7;
        /// The display can have a password.
        const VNC_PASSWORD = 1 << 8;
        /// Folders of the host can be shared.
        const VIRTIO_9P = 1 << 9;
    }
}

/// Ports of a SATA controller that has many.
const SATA_PORTS: u32 = 32;

/// The one source of random numbers.
const RANDOM: &str = "/dev/random";

/// The driver's part of normalizing.
#[derive(Clone, Copy, Debug)]
pub struct BhyveHooks {
    /// What the host's bhyve can do.
    pub caps: BhyveCaps,
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Serial ports and firmware hang on the LPC bridge.
fn needs_isa(domain: &Domain) -> bool {
    let devices = &domain.devices;
    (domain.bootloader.is_none() && domain.os.loader.is_some())
        || domain.os.firmware == Some(FirmwareType::Efi)
        || !devices.serials.is_empty()
        || !devices.consoles.is_empty()
        || (!devices.graphics.is_empty() && !devices.videos.is_empty())
}

/// A port without a device gets one named after the guest.
fn name_null_modem(host: &mut ChardevHost, uuid: &str) {
    if let ChardevSource::Nmdm { master, slave } = &mut host.source
        && master.is_none()
    {
        *master = Some(format!("/dev/nmdm{uuid}A"));
        *slave = Some(format!("/dev/nmdm{uuid}B"));
    }
}

impl DomainHooks for BhyveHooks {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::FW_AUTOSELECT
    }

    fn default_arch(&self) -> Option<String> {
        Some("x86_64".to_owned())
    }

    fn domain(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        let kind = &domain.os.kind;
        let arch = kind.arch.as_deref().unwrap_or_default();
        if kind.os != OsType::Hvm || arch != "x86_64" || domain.virt_type != VirtType::Bhyve {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "could not find capabilities for domaintype={} ostype={} arch={arch}: bhyve runs guests of type 'bhyve', \
                     ostype 'hvm', arch 'x86_64'",
                    domain.virt_type, kind.os
                ),
            ));
        }
        add_controller(
            domain,
            ControllerKind::Pci(PciController {
                index: Some(0),
                model: Some(PciControllerModel::PciRoot),
                ..PciController::default()
            }),
        );
        if needs_isa(domain) {
            add_controller(domain, ControllerKind::new(ControllerType::Isa, Some(0)));
        }
        Ok(())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        let uuid = domain
            .uuid
            .as_ref()
            .map(virt_util::uuid::format)
            .unwrap_or_default();
        let devices = &mut *domain.devices;
        match device {
            DeviceRef::Disk(at) => {
                let Some(disk) = devices
                    .disks
                    .get_mut(at)
                    .filter(|disk| disk.info.address.is_none())
                else {
                    return Ok(());
                };
                let name = &disk.target.dev;
                let Some(index) = disk_index(name) else {
                    let what = "the target's name says no place, and there is no <address>: expected a name as 'vda' or 'sda'";
                    return Err(VirtError::new(ErrorCode::XML_ERROR, what));
                };
                if disk.target.bus == Some(DiskBus::Sata) {
                    let ports = if self.caps.contains(BhyveCaps::AHCI32SLOT) {
                        SATA_PORTS
                    } else {
                        1
                    };
                    disk.info.address = Some(Address::Drive(DriveAddress {
                        controller: index / ports,
                        unit: index % ports,
                        ..DriveAddress::default()
                    }));
                }
            }
            DeviceRef::Controller(at) => {
                if let Some(ControllerKind::Pci(pci)) =
                    devices.controllers.get(at).map(|controller| &controller.kind)
                    && matches!(
                        pci.model,
                        Some(PciControllerModel::PciRoot | PciControllerModel::PcieRoot)
                    )
                    && pci.index != Some(0)
                {
                    let what = format!("a root bus has index 0, not {}", pci.index.unwrap_or_default());
                    return Err(VirtError::new(ErrorCode::XML_ERROR, what));
                }
            }
            DeviceRef::Video(at) => {
                if let Some(video) = devices.videos.get_mut(at)
                    && video.model.kind == VideoModelType::Default
                {
                    video.model.kind = VideoModelType::Gop;
                }
            }
            DeviceRef::Serial(at) => {
                if let Some(serial) = devices.serials.get_mut(at) {
                    name_null_modem(&mut serial.host, &uuid);
                }
            }
            DeviceRef::Console(at) => {
                if let Some(console) = devices.consoles.get_mut(at) {
                    name_null_modem(&mut console.host, &uuid);
                }
            }
            DeviceRef::Parallel(at) => {
                if let Some(parallel) = devices.parallels.get_mut(at) {
                    name_null_modem(&mut parallel.host, &uuid);
                }
            }
            DeviceRef::Channel(at) => {
                if let Some(channel) = devices.channels.get_mut(at) {
                    name_null_modem(&mut channel.host, &uuid);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn assign_addresses(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        addresses::assign(domain)
    }

    fn validate_device(&self, domain: &Domain, device: DeviceRef) -> Result<()> {
        match device {
            DeviceRef::Controller(at) => match domain
                .devices
                .controllers
                .get(at)
                .map(|controller| &controller.kind)
            {
                Some(ControllerKind::Isa { index }) if *index != Some(0) => {
                    Err(unsupported("a guest has one ISA controller, with index 0"))
                }
                _ => Ok(()),
            },
            DeviceRef::Rng(at) => match domain.devices.rngs.get(at).map(|rng| (rng.model, &rng.backend)) {
                None => Ok(()),
                Some((RngModel::Virtio, RngSource::Random { path: Some(path) })) if path == RANDOM => Ok(()),
                Some((RngModel::Virtio, RngSource::Random { .. })) => {
                    Err(unsupported(format_args!("<backend>: bhyve takes {RANDOM} only")))
                }
                Some((RngModel::Virtio, _)) => Err(unsupported("<backend>: bhyve takes model 'random' only")),
                Some(_) => Err(unsupported("bhyve takes model 'virtio' only")),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_conf::domain::normalize::{NormalizeFlags, SystemRandomness, normalize};
    use virt_util::xml::XmlFlags;

    fn complete(devices: &str) -> Result<Domain> {
        let text = format!(
            "<domain type='bhyve'><name>a</name><memory>4096</memory><os><type>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        );
        let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "a")?;
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(
            &mut domain,
            &BhyveHooks {
                caps: BhyveCaps::empty(),
            },
            &cx,
        )?;
        Ok(domain)
    }

    #[test]
    fn slots_are_handed_out_around_what_is_taken() {
        let domain = complete(
            "<disk><source file='/a'/><target dev='vda' bus='virtio'/></disk>\
             <disk><source file='/b'/><target dev='vdb' bus='virtio'/><address type='pci' slot='1'/></disk>\
             <serial type='nmdm'/>",
        )
        .unwrap();
        let slot = |info: &virt_conf::domain::DeviceInfo| info.pci().map(|address| address.slot);
        assert_eq!(slot(&domain.devices.disks[1].info), Some(1));
        let isa = domain
            .devices
            .controllers
            .iter()
            .find(|c| matches!(c.kind, ControllerKind::Isa { .. }));
        assert_eq!(slot(&isa.unwrap().info), Some(2));
        assert_eq!(slot(&domain.devices.disks[0].info), Some(3));
    }

    #[test]
    fn a_place_is_given_once() {
        let disk = |name: &str| {
            format!(
                "<disk><source file='/a'/><target dev='{name}' bus='virtio'/><address type='pci' slot='5'/></disk>"
            )
        };
        let error = complete(&(disk("vda") + &disk("vdb"))).unwrap_err();
        assert!(error.message().contains("belongs to two devices"), "{error}");
        let many: String = (0..40)
            .map(|at| {
                format!(
                    "<disk><source file='/a'/><target dev='{}' bus='virtio'/></disk>",
                    virt_conf::domain::normalize::disk_name("vd", at)
                )
            })
            .collect();
        assert!(
            complete(&many)
                .unwrap_err()
                .message()
                .contains("No more available")
        );
    }
}
