//! Properties that many devices share: where the device is, the name of its virtio variant, its ROM.

use virt_conf::domain::controller::{ControllerKind, ControllerType, ScsiControllerModel};
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::{Address, DeviceInfo, DriveAddress, PciAddress, VirtioOptions};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use crate::capabilities::Flag;

/// Which variant of a virtio device is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VirtioVariant {
    /// QEMU's choice.
    #[default]
    Plain,
    /// Both interfaces, on a conventional bus.
    Transitional,
    /// The modern interface alone.
    NonTransitional,
}

impl VirtioVariant {
    /// The variant that a model's word names.
    pub fn of_word(word: &str) -> Self {
        match word {
            "virtio-transitional" => Self::Transitional,
            "virtio-non-transitional" => Self::NonTransitional,
            _ => Self::Plain,
        }
    }
}

/// The alias of a device, which every device has once it is planned.
pub fn alias(info: &DeviceInfo) -> Result<&str> {
    info.alias
        .as_deref()
        .ok_or_else(|| VirtError::internal("a device has no alias"))
}

impl Builder<'_> {
    /// The alias of a controller.
    pub(super) fn controller_alias(&self, kind: ControllerType, index: u32) -> Result<&str> {
        self.controllers()
            .find(|one| one.kind.controller_type() == kind && one.kind.index() == Some(index))
            .and_then(|one| one.info.alias.as_deref())
            .ok_or_else(|| {
                VirtError::internal(format_args!(
                    "could not find {kind} controller with index {index} for a device"
                ))
            })
    }

    /// Where a device is, in QEMU's properties. `disk_bus` tells the bus of a drive address.
    pub(super) fn address(&self, info: &DeviceInfo, disk_bus: Option<DiskBus>) -> Result<Props> {
        let props = Props::new();
        Ok(match &info.address {
            Some(Address::Pci(address)) => {
                let slot = match address.function {
                    0 => format!("0x{:x}", address.slot),
                    function => format!("0x{:x}.0x{function:x}", address.slot),
                };
                props
                    .with("bus", self.pci_bus(address)?)
                    .maybe("multifunction", address.multifunction)
                    .with("addr", slot)
                    .positive("acpi-index", info.acpi_index.unwrap_or(0))
            }
            Some(Address::Usb(address)) => {
                let controller = self.controller_alias(ControllerType::Usb, address.bus)?;
                props
                    .with("bus", format!("{controller}.0"))
                    .maybe("port", address.port.clone())
            }
            Some(Address::SpaprVio(address)) => props.positive("reg", address.reg.unwrap_or(0)),
            Some(Address::Ccw(address)) => {
                let part = |part: Option<u32>| part.unwrap_or(0);
                let devno = format!(
                    "{:x}.{:x}.{:04x}",
                    part(address.cssid),
                    part(address.ssid),
                    part(address.devno)
                );
                props.with("devno", devno)
            }
            Some(Address::Isa(address)) => props.with("iobase", address.iobase).positive("irq", address.irq),
            Some(Address::Dimm(address)) => props.with("slot", address.slot).positive("addr", address.base),
            Some(Address::Drive(address)) => self.drive_address(address, disk_bus)?,
            Some(Address::VirtioSerial(address)) => {
                let controller = self.controller_alias(ControllerType::VirtioSerial, address.controller)?;
                props
                    .with("bus", format!("{controller}.{}", address.bus))
                    .with("nr", address.port)
            }
            _ => props,
        })
    }

    fn pci_bus(&self, address: &PciAddress) -> Result<String> {
        let controller = self
            .controllers()
            .find(|one| matches!(&one.kind, ControllerKind::Pci(pci) if pci.index == Some(address.bus)))
            .ok_or_else(|| {
                VirtError::internal(format_args!(
                    "could not find PCI controller with index {}",
                    address.bus
                ))
            })?;
        let ControllerKind::Pci(pci) = &controller.kind else {
            return Err(VirtError::internal("a PCI controller is none"));
        };
        use virt_conf::domain::controller::PciControllerModel as Model;
        let alias = alias(&controller.info)?;
        let target = pci.target_index.unwrap_or(0);
        if alias.starts_with("ua-") {
            // Roots are part of the machine: the user's name for one is ours alone.
            return Ok(match pci.model {
                Some(Model::PciRoot) if target == 0 && self.machine().supports_pci_multibus() => {
                    "pci.0".to_owned()
                }
                Some(Model::PciRoot) if target == 0 => "pci".to_owned(),
                Some(Model::PcieRoot) => "pcie.0".to_owned(),
                _ => alias.to_owned(),
            });
        }
        let further_bridge = self.machine().is_pseries() && pci.model == Some(Model::PciRoot) && target > 0;
        Ok(if further_bridge {
            format!("{alias}.0")
        } else {
            alias.to_owned()
        })
    }

    fn drive_address(&self, address: &DriveAddress, bus: Option<DiskBus>) -> Result<Props> {
        let props = Props::new();
        Ok(match bus {
            Some(DiskBus::Ide) => {
                let controller = if self.machine().has_builtin_ide() {
                    "ide"
                } else {
                    self.controller_alias(ControllerType::Ide, address.controller)?
                };
                props
                    .with("bus", format!("{controller}.{}", address.bus))
                    .with("unit", address.unit)
            }
            Some(DiskBus::Sata) => {
                let controller = if self.machine().is_q35() && address.controller == 0 {
                    "ide"
                } else {
                    self.controller_alias(ControllerType::Sata, address.controller)?
                };
                props.with("bus", format!("{controller}.{}", address.unit))
            }
            Some(DiskBus::Fdc) => props.with("unit", address.unit),
            Some(DiskBus::Scsi) => {
                use ScsiControllerModel as Model;
                let controller = self.controller_alias(ControllerType::Scsi, address.controller)?;
                match self.scsi_model(address.controller) {
                    Some(Model::Lsilogic | Model::Ncr53c90 | Model::Dc390 | Model::Am53c974) => props
                        .with("bus", format!("{controller}.{}", address.bus))
                        .with("scsi-id", address.unit),
                    Some(Model::Auto) | None => {
                        return Err(VirtError::internal(format_args!(
                            "unexpected SCSI controller model of controller {}",
                            address.controller
                        )));
                    }
                    Some(_) => props
                        .with("bus", format!("{controller}.0"))
                        .with("channel", address.bus)
                        .with("scsi-id", address.target)
                        .with("lun", address.unit),
                }
            }
            _ => {
                return Err(VirtError::internal(
                    "a drive address belongs to an IDE, SATA, SCSI or floppy drive",
                ));
            }
        })
    }

    /// The model of a SCSI controller.
    pub(super) fn scsi_model(&self, index: u32) -> Option<ScsiControllerModel> {
        self.controllers().find_map(|one| match &one.kind {
            ControllerKind::Scsi {
                index: Some(found),
                model,
            } if *found == index => *model,
            _ => None,
        })
    }

    /// The driver of a virtio device and what all such devices have.
    pub(super) fn virtio(
        &self,
        base: &str,
        info: &DeviceInfo,
        variant: VirtioVariant,
        options: Option<&VirtioOptions>,
    ) -> Result<Props> {
        let suffix = match &info.address {
            Some(Address::Pci(_)) => "pci",
            Some(Address::VirtioMmio) => "device",
            Some(Address::Ccw(_)) => "ccw",
            _ => {
                return Err(VirtError::internal(format_args!(
                    "unexpected address type for the virtio device '{}'",
                    info.alias.as_deref().unwrap_or(base)
                )));
            }
        };
        let mut driver = format!("{base}-{suffix}");
        if variant != VirtioVariant::Plain {
            if suffix != "pci" {
                let what = format!("model 'virtio-(non-)transitional' is for PCI, not '{suffix}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
            let separate = self.caps.has(Flag::VirtioPciTransitional);
            match variant {
                VirtioVariant::Transitional if separate => driver.push_str("-transitional"),
                VirtioVariant::NonTransitional if separate => driver.push_str("-non-transitional"),
                VirtioVariant::NonTransitional => {
                    let what = "virtio non-transitional model not supported by this qemu";
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
                _ => {}
            }
        }
        Ok(Props::device(driver).and(virtio_options(options)))
    }

    /// The option ROM of a PCI device.
    pub(super) fn rom(&self, info: &DeviceInfo) -> Result<Props> {
        let Some(rom) = &info.rom else {
            return Ok(Props::new());
        };
        if rom.enabled.is_none() && rom.bar.is_none() && rom.file.is_none() {
            return Ok(Props::new());
        }
        if !matches!(info.address, Some(Address::Pci(_))) {
            let what = "rombar and romfile are supported only for PCI devices";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
        if rom.enabled == Some(false) {
            return Ok(Props::new().with("romfile", ""));
        }
        Ok(Props::new()
            .maybe("rombar", rom.bar.map(u32::from))
            .maybe("romfile", rom.file.clone()))
    }

    /// Adds a device; what the user wants otherwise has the last word.
    pub(super) fn device(&mut self, mut props: Props) -> Result<()> {
        self.apply_overrides(&mut props);
        let value = if self.caps.has(Flag::DeviceJson) {
            props.to_json()
        } else {
            let driver = props
                .get("driver")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            format!("{driver},{}", props.to_key_values(Some("driver"))?)
        };
        self.command.option("-device", value);
        Ok(())
    }

    /// Adds the host's side of an interface.
    pub(super) fn netdev(&mut self, props: &Props) -> Result<()> {
        let value = if self.caps.has(Flag::NetdevJson) {
            props.to_json()
        } else {
            let kind = props
                .get("type")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            format!("{kind},{}", props.to_key_values(Some("type"))?)
        };
        self.command.option("-netdev", value);
        Ok(())
    }

    /// On IBM Z a PCI device has a second one that names it to the guest.
    pub(super) fn zpci(&mut self, info: &DeviceInfo) -> Result<()> {
        let Some(Address::Pci(PciAddress { zpci: Some(zpci), .. })) = &info.address else {
            return Ok(());
        };
        let uid = zpci.uid.unwrap_or(0);
        let props = Props::device("zpci")
            .with("uid", uid)
            .with("fid", zpci.fid.unwrap_or(0))
            .with("target", alias(info)?)
            .with("id", format!("zpci{uid}"));
        self.device(props)
    }
}

/// What all virtio devices can be told.
pub fn virtio_options(options: Option<&VirtioOptions>) -> Props {
    let Some(options) = options else {
        return Props::new();
    };
    Props::new()
        .maybe("iommu_platform", options.iommu)
        .maybe("ats", options.ats)
        .maybe("packed", options.packed)
        .maybe("page-per-vq", options.page_per_vq)
}
