//! The VIO bus of POWER.

use std::collections::HashMap;

use virt_conf::domain::chardev::SerialTargetType;
use virt_conf::domain::controller::{ControllerKind, ScsiControllerModel};
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut};
use virt_conf::domain::small::TpmModel;
use virt_conf::domain::{Address, DeviceInfo, Domain, SpaprVioAddress};
use virt_util::Result;

use crate::hooks::{Guest, machine};

use super::{with_addresses, xml_error};

pub(super) fn spapr_vio(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    let pseries = machine(domain, guest.arch).is_pseries();
    let devices = &domain.devices;
    let mut wanting: Vec<(DeviceRef, u64, bool)> = Vec::new();
    for (at, interface) in devices.interfaces.iter().enumerate() {
        let ours = interface.model.as_deref() == Some("spapr-vlan");
        wanting.push((DeviceRef::Interface(at), 0x1000, ours));
    }
    for (at, controller) in devices.controllers.iter().enumerate() {
        let ours = matches!(
            controller.kind,
            ControllerKind::Scsi {
                model: Some(ScsiControllerModel::Ibmvscsi),
                ..
            }
        );
        wanting.push((DeviceRef::Controller(at), 0x2000, ours));
    }
    for (at, serial) in devices.serials.iter().enumerate() {
        wanting.push((
            DeviceRef::Serial(at),
            0x30000000,
            serial.target.kind == SerialTargetType::SpaprVioSerial,
        ));
    }
    wanting.extend(
        devices
            .nvram
            .as_ref()
            .map(|_| (DeviceRef::Nvram, 0x3000, pseries)),
    );
    for (at, tpm) in devices.tpms.iter().enumerate() {
        wanting.push((
            DeviceRef::Tpm(at),
            0x4000,
            pseries && tpm.model != Some(TpmModel::SpaprTpmProxy),
        ));
    }
    // What is on this bus and says that it is on PCI is at the register whose digits stand there, as libvirt has always
    // taken it.
    for (device, _, ours) in &wanting {
        if let Some(info) = device_info_mut(domain, *device).filter(|_| *ours)
            && let Some(Address::Pci(at)) = info.address
            && at.slot != 0
        {
            let reg = u64::from(at.domain) | u64::from(at.bus) << 32;
            info.address = Some(Address::SpaprVio(SpaprVioAddress { reg: Some(reg) }));
        }
    }
    // How many devices have each.
    let mut taken: HashMap<u64, usize> = HashMap::new();
    let said = |domain: &Domain, device: DeviceRef| match device_info(domain, device) {
        Some(DeviceInfo {
            address: Some(Address::SpaprVio(at)),
            ..
        }) => Some(at.reg),
        _ => None,
    };
    for device in with_addresses(domain) {
        if let Some(reg) = said(domain, device).flatten() {
            *taken.entry(reg).or_default() += 1;
        }
    }
    // Below these all of the kind are taken.
    let mut free: HashMap<u64, u64> = HashMap::new();
    for (device, first, ours) in wanting {
        let reg = match said(domain, device) {
            Some(Some(reg)) if taken.get(&reg).is_some_and(|count| *count > 1) => {
                return Err(xml_error(format_args!(
                    "spapr-vio address 0x{reg:x} already in use"
                )));
            }
            Some(Some(_)) => continue,
            None if !ours => continue,
            _ => {
                let free = free.entry(first).or_insert(first);
                while taken.contains_key(free) {
                    *free = free.saturating_add(0x1000);
                }
                *free
            }
        };
        taken.insert(reg, 1);
        if let Some(info) = device_info_mut(domain, device) {
            info.address = Some(Address::SpaprVio(SpaprVioAddress { reg: Some(reg) }));
        }
    }
    Ok(())
}
