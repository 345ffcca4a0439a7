//! PCI: which buses there are, and where on them each device is.
//!
//! | module | is about |
//! |---|---|
//! | [`plugs`] | which kind of slot each device wants |
//! | [`buses`] | the buses, what is on them, and the order in which devices get places |
//! | [`chipset`] | devices that the board's chipset has at places of their own |
//! | [`mod@controllers`] | names and numbers of PCI controllers |
//! | [`mod@zpci`] | numbers by which guests on IBM Z know devices |

mod buses;
mod chipset;
mod controllers;
mod plugs;
mod zpci;

use std::collections::HashMap;

use virt_conf::domain::controller::{ControllerKind, ControllerType, PciController, PciControllerModel};
use virt_conf::domain::normalize::{
    DeviceRef, add_controller, device_info, device_info_mut, find_controller,
};
use virt_conf::domain::{Address, DeviceInfo, Domain, PciAddress};
use virt_util::Result;

use crate::address::pci::{Connect, Model, Slot};
use crate::hooks::addresses::with_addresses;
use crate::hooks::{Guest, machine};

use self::buses::Buses;
use self::controllers::controllers;
use self::plugs::Plugs;

pub(super) fn pci(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    let count = domain
        .devices
        .controllers
        .iter()
        .filter_map(|controller| match &controller.kind {
            ControllerKind::Pci(pci) => Some(pci.index.unwrap_or(0) as usize + 1),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    let plugs = Plugs::of(domain, guest);
    let mut total = count;
    if count > 0 {
        let mut buses = Buses::new(domain, guest, count, plugs, true)?;
        buses.chipset(domain, guest)?;
        if root_model(domain) == Some(PciControllerModel::PciRoot)
            && buses.set.buses.iter().any(|bus| !bus.is_full())
        {
            // Room for one more device, so that a full bus gets a bridge.
            buses
                .set
                .reserve_next(Connect::AUTOASSIGN | Connect::PCI_DEVICE, 0, None)?;
        }
        buses.devices(domain, guest)?;
        if count <= 1 && buses.set.buses.len() > count && has_pcie_root(domain) {
            buses
                .set
                .reserve_next(Connect::AUTOASSIGN | Connect::PCIE_DEVICE, 0, None)?;
        }
        let mut index = 1;
        while let Some(model) = buses.set.buses.get(index).map(|bus| bus.model) {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let kind = PciController {
                index: Some(number),
                model: controller_model(model),
                ..PciController::default()
            };
            if add_controller(domain, ControllerKind::Pci(kind))
                && !matches!(model, Model::PciRoot | Model::PcieRoot)
            {
                buses.set.reserve_next(model.connect(), 0, None)?;
            }
            index += 1;
        }
        total = buses.set.buses.len();
    }
    let mut buses = Buses::new(domain, guest, total, plugs, false)?;
    if !machine(domain, guest.arch).supports_pci() {
        return Ok(());
    }
    buses.chipset(domain, guest)?;
    buses.devices(domain, guest)?;
    buses.number(domain)?;
    multifunction(domain);
    controllers(domain, guest)
}

/// The first function of a slot with several says so.
fn multifunction(domain: &mut Domain) {
    let mut first: HashMap<(u32, u32, u32), DeviceRef> = HashMap::new();
    let mut shared = Vec::new();
    for device in with_addresses(domain) {
        if let Some(Address::Pci(at)) = device_info(domain, device).and_then(|info| info.address.as_ref()) {
            let slot = (at.domain, at.bus, at.slot);
            if at.function == 0 {
                first.entry(slot).or_insert(device);
            } else {
                shared.push(slot);
            }
        }
    }
    for slot in shared {
        let info = first
            .get(&slot)
            .and_then(|device| device_info_mut(domain, *device));
        if let Some(Address::Pci(at)) = info.and_then(|info| info.address.as_mut()) {
            at.multifunction.get_or_insert(true);
        }
    }
}

pub(super) fn has_pcie_root(domain: &Domain) -> bool {
    root_model(domain) == Some(PciControllerModel::PcieRoot)
}

fn root_model(domain: &Domain) -> Option<PciControllerModel> {
    match find_controller(domain, ControllerType::Pci, 0).map(|controller| &controller.kind) {
        Some(ControllerKind::Pci(pci)) => pci.model,
        _ => None,
    }
}

fn slot_of(address: &PciAddress) -> Slot {
    Slot {
        domain: address.domain,
        bus: address.bus,
        slot: address.slot,
        function: address.function,
    }
}

fn present(info: &DeviceInfo) -> Option<&PciAddress> {
    match &info.address {
        Some(Address::Pci(at)) if !at.is_empty() => Some(at),
        _ => None,
    }
}

fn wanted(info: &DeviceInfo) -> bool {
    match &info.address {
        None => true,
        Some(Address::Pci(at)) => at.is_empty(),
        Some(_) => false,
    }
}

/// Puts a device somewhere. The numbers by which the guest knows it stay.
fn put(info: &mut DeviceInfo, at: Slot, multifunction: Option<bool>) {
    let zpci = match &info.address {
        Some(Address::Pci(old)) => old.zpci,
        _ => None,
    };
    info.address = Some(Address::Pci(PciAddress {
        domain: at.domain,
        bus: at.bus,
        slot: at.slot,
        function: at.function,
        multifunction,
        zpci,
    }));
}

fn model_of(model: PciControllerModel) -> Model {
    Model::from_name(model.as_str()).unwrap_or(Model::PciBridge)
}

fn controller_model(model: Model) -> Option<PciControllerModel> {
    PciControllerModel::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == model.name())
}
