//! Names and numbers of PCI controllers.

use virt_conf::domain::Domain;
use virt_conf::domain::controller::{ControllerKind, PciControllerModel, PciControllerModelName};
use virt_util::Result;

use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

use super::present;
use crate::hooks::addresses::unsupported;

/// Names and numbers of PCI controllers.
pub(super) fn controllers(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    use PciControllerModel as M;
    use PciControllerModelName as Name;
    let pseries = machine(domain, guest.arch).is_pseries();
    let mut lowest = 256;
    // Numbers of host bridges. One whose device is still open is not counted before its turn.
    let mut targets = 0u32;
    let bit = |target: u32| 1u32.checked_shl(target).unwrap_or(0);
    for controller in &domain.devices.controllers {
        if let ControllerKind::Pci(pci) = &controller.kind {
            lowest = pci.bus_nr.map_or(lowest, |number| lowest.min(number));
            if pci.model == Some(M::PciRoot) && pci.model_name == Name::SpaprPciHostBridge {
                targets |= pci.target_index.map_or(0, bit);
            }
        }
    }
    for controller in &mut domain.devices.controllers {
        let address = present(&controller.info).copied().unwrap_or_default();
        let ControllerKind::Pci(pci) = &mut controller.kind else {
            continue;
        };
        let index = pci.index.unwrap_or(0);
        let Some(model) = pci.model else { continue };
        if pci.model_name == Name::None {
            pci.model_name = match model {
                M::PciBridge => Name::PciBridge,
                M::DmiToPciBridge => Name::I82801b11Bridge,
                M::PcieToPciBridge => Name::PciePciBridge,
                M::PcieRootPort if guest.caps.has(Flag::DevicePcieRootPort) => Name::PcieRootPort,
                M::PcieRootPort => Name::Ioh3420,
                M::PcieSwitchUpstreamPort => Name::X3130Upstream,
                M::PcieSwitchDownstreamPort => Name::Xio3130Downstream,
                M::PciExpanderBus => Name::Pxb,
                M::PcieExpanderBus => Name::PxbPcie,
                M::PciRoot if pseries => Name::SpaprPciHostBridge,
                M::PciRoot | M::PcieRoot => Name::None,
            };
        }
        match model {
            M::PciBridge => {
                pci.chassis_nr.get_or_insert(index);
            }
            M::PcieRootPort => {
                pci.chassis.get_or_insert(index);
                pci.port.get_or_insert((address.slot << 3) + address.function);
            }
            M::PcieSwitchDownstreamPort => {
                pci.chassis.get_or_insert(index);
                pci.port.get_or_insert(address.slot);
            }
            M::PciExpanderBus | M::PcieExpanderBus if pci.bus_nr.is_none() => {
                if lowest <= 2 {
                    return Err(unsupported(
                        "No free busNr lower than current lowest busNr is available to auto-assign to bus",
                    ));
                }
                lowest -= 2;
                pci.bus_nr = Some(lowest);
            }
            M::PciRoot if pseries => {
                let target = match pci.target_index {
                    Some(target) => target,
                    None if index == 0 => 0,
                    None => (1..=31)
                        .find(|target| targets & bit(*target) == 0)
                        .ok_or_else(|| unsupported("No usable target index found for 31 PHBs"))?,
                };
                pci.target_index = Some(target);
                if pci.model_name == Name::SpaprPciHostBridge {
                    targets |= bit(target);
                }
            }
            _ => {}
        }
        if model == M::PciBridge && index <= address.bus {
            return Err(unsupported(format_args!(
                "the PCI bridge with index {index} is on bus {}: its index must be larger than its bus",
                address.bus
            )));
        }
    }
    Ok(())
}
