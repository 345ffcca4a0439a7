//! Numbers by which guests on IBM Z know PCI devices.

use std::collections::BTreeSet;

use virt_conf::domain::controller::{ControllerKind, PciControllerModel};
use virt_conf::domain::normalize::{DeviceRef, device_info, device_info_mut, device_refs};
use virt_conf::domain::{Address, Domain, Zpci};
use virt_util::Result;

use crate::hooks::addresses::xml_error;

/// On IBM Z each PCI device has numbers by which the guest knows it.
pub(super) fn zpci(domain: &mut Domain) -> Result<()> {
    let (mut uids, mut fids) = (BTreeSet::new(), BTreeSet::new());
    let with: Vec<DeviceRef> = device_refs(domain)
        .into_iter()
        .filter(|device| !matches!(device, DeviceRef::Serial(_) | DeviceRef::Channel(_) | DeviceRef::Console(_)))
        .filter(|device| {
            let controller = match device {
                DeviceRef::Controller(at) => domain.devices.controllers.get(*at),
                _ => None,
            };
            let root = controller.is_some_and(|controller| matches!(&controller.kind, ControllerKind::Pci(pci) if pci.model == Some(PciControllerModel::PciRoot)));
            !root && matches!(device_info(domain, *device).and_then(|info| info.address.as_ref()), Some(Address::Pci(_)))
        })
        .collect();
    let said = |domain: &Domain, device: DeviceRef| match device_info(domain, device)
        .and_then(|info| info.address.as_ref())
    {
        Some(Address::Pci(at)) => at.zpci.unwrap_or_default(),
        _ => Zpci::default(),
    };
    for device in &with {
        let Zpci { uid, fid } = said(domain, *device);
        if let Some(uid) = uid.filter(|uid| !uids.insert(*uid)) {
            return Err(xml_error(format_args!(
                "zPCI uid 0x{uid:04x} is already reserved"
            )));
        }
        if let Some(fid) = fid.filter(|fid| !fids.insert(*fid)) {
            return Err(xml_error(format_args!(
                "zPCI fid 0x{fid:08x} is already reserved"
            )));
        }
    }
    let (mut free_uids, mut free_fids) = (1.., 0..);
    for device in with {
        let Zpci { uid, fid } = said(domain, device);
        let uid = uid
            .or_else(|| free_uids.find(|uid| !uids.contains(uid)))
            .unwrap_or(1);
        let fid = fid
            .or_else(|| free_fids.find(|fid| !fids.contains(fid)))
            .unwrap_or(0);
        if let Some(Address::Pci(at)) = device_info_mut(domain, device).and_then(|info| info.address.as_mut())
        {
            at.zpci = Some(Zpci {
                uid: Some(uid),
                fid: Some(fid),
            });
        }
    }
    Ok(())
}
