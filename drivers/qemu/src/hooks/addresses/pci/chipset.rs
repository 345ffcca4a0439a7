//! Devices that the board's chipset has at places of their own.

use virt_conf::domain::Domain;
use virt_conf::domain::controller::{ControllerKind, PciController, PciControllerModel, UsbControllerModel};
use virt_conf::domain::normalize::DeviceRef;
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::video::VideoModelType;
use virt_util::{Result, VirtError};

use crate::address::pci::{Connect, Slot};
use crate::hooks::{Guest, machine};

use super::buses::Buses;
use super::{present, put, slot_of, wanted};

impl Buses<'_> {
    /// Takes what the chipset has.
    pub(super) fn chipset(&mut self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        let kind = machine(domain, guest.arch);
        if kind.is_i440fx() {
            self.piix3(domain)?;
        } else if kind.is_q35() {
            self.ich9(domain)?;
        }
        Ok(())
    }

    fn piix3(&mut self, domain: &mut Domain) -> Result<()> {
        let connect = Connect::AUTOASSIGN | Connect::PCI_DEVICE;
        for controller in &mut domain.devices.controllers {
            let (home, what) = match &controller.kind {
                ControllerKind::Ide { index: Some(0), .. } => (Slot::on_root(1, 1), "Primary IDE"),
                ControllerKind::Usb {
                    index: Some(0),
                    model: None | Some(UsbControllerModel::Piix3Uhci),
                    ..
                } => (Slot::on_root(1, 2), "PIIX3 USB"),
                _ => continue,
            };
            match present(&controller.info) {
                Some(at) if slot_of(at) != home => {
                    let what = format!("{what} controller must have PCI address 0:0:1.{}", home.function);
                    return Err(VirtError::internal(what));
                }
                Some(_) => {}
                None => put(&mut controller.info, home, None),
            }
            if !self.set.buses.is_empty() {
                self.set.reserve(home, connect, 0)?;
            }
        }
        if !self.set.buses.is_empty() {
            self.set.reserve(Slot::on_root(1, 0), connect, 0)?;
            self.set.reserve(Slot::on_root(1, 3), connect, 0)?;
        }
        self.primary_video(domain, Slot::on_root(2, 0), connect)
    }

    fn ich9(&mut self, domain: &mut Domain) -> Result<()> {
        let connect = Connect::PCIE_DEVICE;
        for controller in &mut domain.devices.controllers {
            match &controller.kind {
                ControllerKind::Sata { index: Some(0) } => {
                    let home = Slot::on_root(0x1f, 2);
                    match present(&controller.info) {
                        Some(at) if slot_of(at) != home => {
                            return Err(VirtError::internal(format_args!(
                                "the chipset's SATA controller is at 0000:00:1f.2, not {at}"
                            )));
                        }
                        Some(_) => {}
                        None => put(&mut controller.info, home, None),
                    }
                }
                ControllerKind::Usb {
                    model: Some(UsbControllerModel::Ich9Uhci1),
                    ..
                } if controller.info.address.is_none() => {
                    let free = [0x1d, 0x1a].into_iter().map(|slot| Slot::on_root(slot, 0));
                    let mut free = free.filter(|at| !self.set.slot_in_use(*at));
                    if let Some(at) = free.next() {
                        self.set.reserve(at, connect, 0)?;
                        put(&mut controller.info, at, Some(true));
                    }
                }
                ControllerKind::Pci(PciController {
                    model: Some(PciControllerModel::DmiToPciBridge),
                    ..
                }) if controller.info.address.is_none() => {
                    let at = Slot::on_root(0x1e, 0);
                    if !self.set.slot_in_use(at) {
                        self.set.reserve(at, connect, 0)?;
                        put(&mut controller.info, at, None);
                    }
                }
                _ => {}
            }
        }
        if !self.set.buses.is_empty() {
            self.set.reserve(Slot::on_root(0x1f, 0), connect, 0)?;
            self.set.reserve(Slot::on_root(0x1f, 3), connect, 0)?;
        }
        self.primary_video(domain, Slot::on_root(1, 0), connect)?;
        let home = Slot::on_root(0x1b, 0);
        if !self.set.slot_in_use(home) {
            let sound = domain.devices.sounds.iter_mut();
            let mut sound = sound.filter(|sound| sound.model == SoundModel::Ich9 && wanted(&sound.info));
            if let Some(sound) = sound.next() {
                self.set.reserve(home, connect, 0)?;
                put(&mut sound.info, home, None);
            }
        }
        Ok(())
    }

    fn primary_video(&mut self, domain: &mut Domain, home: Slot, connect: Connect) -> Result<()> {
        let Some(video) = domain.devices.videos.first_mut() else {
            return Ok(());
        };
        let off = matches!(video.model.kind, VideoModelType::None | VideoModelType::Ramfb);
        if off || !wanted(&video.info) {
            return Ok(());
        }
        self.set.validate(home, connect, true)?;
        if self.set.slot_in_use(home) {
            return self.next(domain, DeviceRef::Video(0));
        }
        self.set.reserve(home, connect, 0)?;
        put(&mut video.info, home, None);
        Ok(())
    }
}
