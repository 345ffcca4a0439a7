//! Controllers: their numbers, their order, and those that other devices imply.

use virt_util::{ErrorCode, Result, VirtError};

use crate::domain::Domain;
use crate::domain::controller::{Controller, ControllerKind, ControllerType, UsbControllerModel};

/// The controller of that kind and number.
pub fn find_controller(domain: &Domain, kind: ControllerType, index: u32) -> Option<&Controller> {
    domain.devices.controllers.iter().find(|controller| {
        controller.kind.controller_type() == kind && controller.kind.index() == Some(index)
    })
}

/// The lowest number that no controller of the kind has.
pub fn next_free_index(domain: &Domain, kind: ControllerType) -> u32 {
    (0..)
        .find(|index| find_controller(domain, kind, *index).is_none())
        .unwrap_or_default()
}

/// Adds a controller unless there is one of that kind and number. Says whether it did.
pub fn add_controller(domain: &mut Domain, kind: ControllerKind) -> bool {
    let exists = kind
        .index()
        .is_some_and(|index| find_controller(domain, kind.controller_type(), index).is_some());
    if exists {
        return false;
    }
    insert(&mut domain.devices.controllers, Controller::new(kind));
    true
}

/// A USB 2 controller: one of the four functions of an ICH9.
fn usb2_port(controller: &Controller) -> Option<(UsbControllerModel, u32)> {
    use UsbControllerModel as M;
    match &controller.kind {
        ControllerKind::Usb {
            model: Some(model @ (M::Ich9Ehci1 | M::Ich9Uhci1 | M::Ich9Uhci2 | M::Ich9Uhci3)),
            ..
        } => Some((*model, controller.info.usb_master_port.unwrap_or_default())),
        _ => None,
    }
}

/// Controllers of a kind stand together in the order of their numbers; of USB 2 functions with one number the master stands
/// before its companions. A controller without a number goes behind the last of its kind.
fn insert(controllers: &mut Vec<Controller>, controller: Controller) {
    let kind = controller.kind.controller_type();
    let index = controller.kind.index();
    let mut at = None;
    for (place, other) in controllers.iter().enumerate().rev() {
        if other.kind.controller_type() != kind {
            continue;
        }
        let Some(index) = index else {
            at = Some(place + 1);
            break;
        };
        let companion = controller.info.usb_master_port.is_none()
            && other.info.usb_master_port.is_some()
            && other.kind.index() == Some(index);
        if other.kind.index().is_some_and(|other| other > index) || companion {
            at = Some(place);
        } else if at.is_none() {
            at = Some(place + 1);
        }
    }
    controllers.insert(at.unwrap_or(controllers.len()), controller);
}

/// Puts controllers in order as they were read, and refuses what USB cannot be.
pub(super) fn order(domain: &mut Domain) -> Result<()> {
    let (mut none, mut some, mut master) = (0, 0, false);
    for controller in std::mem::take(&mut domain.devices.controllers) {
        if let ControllerKind::Usb { model, .. } = &controller.kind {
            if *model == Some(UsbControllerModel::None) {
                none += 1
            } else {
                some += 1
            }
            master |= controller.info.usb_master_port.is_none();
        }
        insert(&mut domain.devices.controllers, controller);
    }
    let refuse = |what: &str| Err(VirtError::new(ErrorCode::XML_DETAIL, what));
    if none > 1 || none == 1 && some > 0 {
        return refuse("Can't add another USB controller: USB is disabled for this domain");
    }
    if some > 0 && !master {
        return refuse("No master USB controller specified");
    }
    Ok(())
}

/// Whether the definition says that the guest has no USB.
pub(super) fn usb_disabled(domain: &Domain) -> bool {
    domain.devices.controllers.iter().any(|controller| {
        matches!(
            &controller.kind,
            ControllerKind::Usb {
                model: Some(UsbControllerModel::None),
                ..
            }
        )
    })
}

/// Gives each controller that has none a number: the lowest free one; companions of a USB 2 controller share its number.
pub(super) fn assign_indexes(domain: &mut Domain) {
    let mut reorder = false;
    for at in 0..domain.devices.controllers.len() {
        let Some(controller) = domain.devices.controllers.get(at) else {
            continue;
        };
        if controller.kind.index().is_some() {
            continue;
        }
        let kind = controller.kind.controller_type();
        let mut index = None;
        if let Some((model, _)) = usb2_port(controller) {
            reorder = true;
            let before = domain.devices.controllers.get(..at).unwrap_or_default();
            let last = before
                .iter()
                .rev()
                .find(|other| other.kind.controller_type() == ControllerType::Usb);
            index = last
                .filter(|other| usb2_port(other).is_some())
                .and_then(|other| other.kind.index())
                .filter(|index| {
                    !domain.devices.controllers.iter().any(|other| {
                        other.kind.index() == Some(*index)
                            && usb2_port(other).is_some_and(|(other, _)| other == model)
                    })
                });
        }
        let index = index.unwrap_or_else(|| next_free_index(domain, kind));
        if let Some(controller) = domain.devices.controllers.get_mut(at) {
            *controller.kind.index_mut() = Some(index);
        }
    }
    let sorted = std::mem::take(&mut domain.devices.controllers);
    if reorder {
        for controller in sorted {
            insert(&mut domain.devices.controllers, controller);
        }
    } else {
        domain.devices.controllers = sorted;
    }
}
