//! Controllers and USB hubs.

use virt_conf::domain::controller::{
    Controller, ControllerDriver, ControllerKind, ControllerType, PciController, PciControllerModel,
    PciControllerModelName, ScsiControllerModel, UsbControllerModel, VirtioSerialControllerModel,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::device::{VirtioVariant, alias};
use super::disk::{iothread, iothread_mapping};
use crate::capabilities::Flag;

/// Kinds in the order in which QEMU is told of them: buses before what sits on them.
const ORDER: [ControllerType; 6] = [
    ControllerType::Pci,
    ControllerType::Usb,
    ControllerType::Scsi,
    ControllerType::Ide,
    ControllerType::Sata,
    ControllerType::VirtioSerial,
];

/// QEMU's name of a USB controller.
fn usb_driver(model: UsbControllerModel) -> &'static str {
    use UsbControllerModel as M;
    match model {
        M::Piix3Uhci => "piix3-usb-uhci",
        M::Piix4Uhci => "piix4-usb-uhci",
        M::Ehci => "usb-ehci",
        M::Ich9Ehci1 => "ich9-usb-ehci1",
        M::Ich9Uhci1 => "ich9-usb-uhci1",
        M::Ich9Uhci2 => "ich9-usb-uhci2",
        M::Ich9Uhci3 => "ich9-usb-uhci3",
        M::Vt82c686bUhci => "vt82c686b-usb-uhci",
        M::PciOhci => "pci-ohci",
        M::NecXhci => "nec-usb-xhci",
        M::QemuXhci => "qemu-xhci",
        M::Qusb1 | M::Qusb2 | M::None => "none",
    }
}

/// The flag without which QEMU has no such USB controller.
fn usb_flag(model: UsbControllerModel) -> Option<Flag> {
    use UsbControllerModel as M;
    match model {
        M::Ehci => Some(Flag::UsbEhci),
        M::Ich9Ehci1 | M::Ich9Uhci1 | M::Ich9Uhci2 | M::Ich9Uhci3 => Some(Flag::Ich9UsbEhci1),
        M::NecXhci => Some(Flag::NecUsbXhci),
        M::QemuXhci => Some(Flag::DeviceQemuXhci),
        _ => None,
    }
}

impl Builder<'_> {
    /// Settings of root buses.
    pub(super) fn pci_holes(&mut self) -> Result<()> {
        for controller in self.controllers() {
            let (Some(size), ControllerKind::Pci(pci)) = (controller.pci_hole64, &controller.kind) else {
                continue;
            };
            let host = match pci.model {
                Some(PciControllerModel::PciRoot) => "i440FX-pcihost",
                Some(PciControllerModel::PcieRoot) => "q35-pcihost",
                _ => {
                    return Err(VirtError::internal(
                        "64-bit PCI hole setting is only for root PCI controllers",
                    ));
                }
            };
            self.command
                .option("-global", format!("{host}.pci-hole64-size={size}K"));
        }
        Ok(())
    }

    pub(super) fn all_controllers(&mut self) -> Result<()> {
        ORDER.iter().try_for_each(|kind| self.controllers_of(*kind))
    }

    pub(super) fn controllers_of(&mut self, kind: ControllerType) -> Result<()> {
        for controller in self.controllers() {
            if controller.kind.controller_type() != kind {
                continue;
            }
            if let ControllerKind::Pci(PciController {
                model: Some(PciControllerModel::PciRoot),
                index: Some(0),
                hotplug: Some(hotplug),
                ..
            }) = &controller.kind
            {
                let value = format!("PIIX4_PM.acpi-root-pci-hotplug={}", super::args::on_off(*hotplug));
                self.command.option("-global", value);
            }
            if self.is_part_of_machine(controller) {
                continue;
            }
            let Some(props) = self.controller_device(controller)? else {
                continue;
            };
            let props = props.and(self.address(&controller.info, None)?);
            self.zpci(&controller.info)?;
            self.device(props)?;
        }
        Ok(())
    }

    fn is_part_of_machine(&self, controller: &Controller) -> bool {
        let machine = self.machine();
        match &controller.kind {
            ControllerKind::Pci(pci) => match pci.model {
                Some(PciControllerModel::PcieRoot) => true,
                Some(PciControllerModel::PciRoot) => !machine.is_pseries(),
                _ => false,
            },
            ControllerKind::Sata { index: Some(0) } => machine.is_q35(),
            ControllerKind::Ide { index: Some(0), .. } => machine.has_builtin_ide(),
            ControllerKind::Scsi {
                index: Some(0),
                model: Some(ScsiControllerModel::Ncr53c90),
            } => machine.has_builtin_esp(),
            ControllerKind::Usb { model, .. } => {
                *model == Some(UsbControllerModel::None) || (model.is_none() && self.arch.is_s390())
            }
            _ => false,
        }
    }

    fn controller_device(&self, controller: &Controller) -> Result<Option<Props>> {
        let id = alias(&controller.info)?;
        let no_driver = ControllerDriver::default();
        let driver = controller.driver.as_deref().unwrap_or(&no_driver);
        Ok(Some(match &controller.kind {
            ControllerKind::Scsi { model, .. } => self.scsi_device(controller, *model, driver, id)?,
            ControllerKind::VirtioSerial {
                model,
                ports,
                vectors,
                ..
            } => {
                let variant = match model {
                    Some(VirtioSerialControllerModel::VirtioTransitional) => VirtioVariant::Transitional,
                    Some(VirtioSerialControllerModel::VirtioNonTransitional) => {
                        VirtioVariant::NonTransitional
                    }
                    _ => VirtioVariant::Plain,
                };
                self.virtio("virtio-serial", &controller.info, variant, Some(&driver.virtio))?
                    .with("id", id)
                    .maybe("max_ports", *ports)
                    .maybe("vectors", *vectors)
            }
            ControllerKind::Ccid { .. } => Props::device("usb-ccid").with("id", id),
            ControllerKind::Sata { .. } => Props::device("ahci").with("id", id),
            ControllerKind::Usb { index, model, ports } => {
                let Some(model) = model else {
                    let what = format!("the USB controller '{id}' has no model");
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                };
                if usb_flag(*model).is_some_and(|flag| !self.caps.has(flag)) {
                    let what = format!("USB controller '{id}': this emulator has no model '{model}'");
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
                let props = Props::device(usb_driver(*model))
                    .maybe("p2", *ports)
                    .maybe("p3", *ports);
                match controller.info.usb_master_port {
                    Some(port) => {
                        let master = self
                            .controllers()
                            .find(|one| {
                                matches!(&one.kind, ControllerKind::Usb { index: found, .. } if found == index)
                                    && one.info.usb_master_port.is_none()
                            })
                            .and_then(|one| one.info.alias.as_deref())
                            .ok_or_else(|| VirtError::internal("masterbus not found"))?;
                        props
                            .with("masterbus", format!("{master}.0"))
                            .with("firstport", port)
                    }
                    None => props.with("id", id),
                }
            }
            ControllerKind::Pci(pci) => return pci_device(pci, id),
            ControllerKind::Ide { .. }
            | ControllerKind::Fdc { .. }
            | ControllerKind::Xenbus { .. }
            | ControllerKind::Isa { .. } => {
                let what = format!(
                    "QEMU has no controller of type '{}'",
                    controller.kind.controller_type()
                );
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        }))
    }

    fn scsi_device(
        &self,
        controller: &Controller,
        model: Option<ScsiControllerModel>,
        driver: &ControllerDriver,
        id: &str,
    ) -> Result<Props> {
        use ScsiControllerModel as M;
        let name = match model {
            Some(model @ (M::VirtioScsi | M::VirtioTransitional | M::VirtioNonTransitional)) => {
                let variant = VirtioVariant::of_word(model.as_str());
                return Ok(self
                    .virtio("virtio-scsi", &controller.info, variant, Some(&driver.virtio))?
                    .maybe("iothread", iothread(driver.iothread))
                    .with("id", id)
                    .positive("num_queues", driver.queues)
                    .maybe("iothread-vq-mapping", iothread_mapping(&driver.iothreads))
                    .positive("cmd_per_lun", driver.cmd_per_lun)
                    .positive("max_sectors", driver.max_sectors)
                    .maybe("ioeventfd", driver.ioeventfd));
            }
            Some(M::Lsilogic) => "lsi",
            Some(M::Ibmvscsi) => "spapr-vscsi",
            Some(M::Lsisas1068) => "mptsas1068",
            Some(M::Lsisas1078) => "megasas",
            Some(M::Vmpvscsi) => "pvscsi",
            Some(M::Am53c974) => "am53c974",
            Some(M::Dc390) => "dc-390",
            Some(M::Buslogic | M::Ncr53c90 | M::Auto) | None => {
                let model = model.map_or("default", M::as_str);
                let what = format!("QEMU has no SCSI controller of model '{model}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        Ok(Props::device(name).with("id", id))
    }

    pub(super) fn hubs(&mut self) -> Result<()> {
        for hub in &self.domain.devices.hubs {
            let props = Props::device("usb-hub")
                .with("id", alias(&hub.info)?)
                .and(self.address(&hub.info, None)?);
            self.device(props)?;
        }
        Ok(())
    }
}

fn pci_device(pci: &PciController, id: &str) -> Result<Option<Props>> {
    use PciControllerModel as M;
    let Some(model) = pci.model else {
        return Err(VirtError::internal(format_args!(
            "the PCI controller '{id}' has no model"
        )));
    };
    if model == M::PciRoot
        && pci.model_name == PciControllerModelName::SpaprPciHostBridge
        && pci.target_index.unwrap_or(0) == 0
    {
        return Ok(None);
    }
    let name = match pci.model_name {
        PciControllerModelName::None => {
            return Err(VirtError::internal(format_args!(
                "the PCI controller '{id}' has no model name"
            )));
        }
        name => name.as_str(),
    };
    let props = Props::device(name);
    let reserve = pci.mem_reserve.unwrap_or(0).saturating_mul(1024);
    Ok(Some(match model {
        M::PciBridge => props
            .with("chassis_nr", pci.chassis_nr.unwrap_or(0))
            .positive("mem-reserve", reserve)
            .with("id", id),
        M::PciExpanderBus | M::PcieExpanderBus => props
            .with("bus_nr", pci.bus_nr.unwrap_or(0))
            .with("id", id)
            .maybe("numa_node", pci.numa_node),
        M::DmiToPciBridge | M::PcieSwitchUpstreamPort | M::PcieToPciBridge => props.with("id", id),
        M::PcieRootPort | M::PcieSwitchDownstreamPort => props
            .with("port", pci.port.unwrap_or(0))
            .with("chassis", pci.chassis.unwrap_or(0))
            .with("id", id)
            .maybe("hotplug", pci.hotplug)
            .positive("mem-reserve", reserve),
        M::PciRoot => props
            .with("index", pci.target_index.unwrap_or(0))
            .positive("mem-reserve", reserve)
            .with("id", id)
            .maybe("numa_node", pci.numa_node),
        M::PcieRoot => {
            let what = "a root bus of PCI Express comes with the machine";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
    }))
}
