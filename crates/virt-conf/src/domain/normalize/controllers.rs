//! Controllers: their numbers, their order, and those that other devices imply.

use std::collections::{BTreeSet, HashMap, HashSet};

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
    insert_controller(&mut domain.devices.controllers, Controller::new(kind));
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

/// Whether a controller stands behind one that is put beside it: that of a greater number, and of USB 2 functions with one
/// number a companion behind its master.
fn stands_behind(other: &Controller, controller: &Controller, index: u32) -> bool {
    let companion = controller.info.usb_master_port.is_none()
        && other.info.usb_master_port.is_some()
        && other.kind.index() == Some(index);
    other.kind.index().is_some_and(|other| other > index) || companion
}

/// Controllers of a kind stand together in the order of their numbers; of USB 2 functions with one number the master stands
/// before its companions. A controller without a number goes behind the last of its kind.
pub fn insert_controller(controllers: &mut Vec<Controller>, controller: Controller) {
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
        if stands_behind(other, &controller, index) {
            at = Some(place);
        } else if at.is_none() {
            at = Some(place + 1);
        }
    }
    controllers.insert(at.unwrap_or(controllers.len()), controller);
}

/// Inserts each as [`insert_controller`] does into a list that begins empty: so kinds stand in the order in which they first come, and
/// the numbers of each are in order.
fn insert_all(controllers: Vec<Controller>) -> Vec<Controller> {
    let count = controllers.len();
    let mut kinds: Vec<(ControllerType, Vec<Controller>)> = Vec::new();
    for controller in controllers {
        let kind = controller.kind.controller_type();
        let own = match kinds.iter().position(|(known, _)| *known == kind) {
            Some(place) => place,
            None => {
                kinds.push((kind, Vec::new()));
                kinds.len() - 1
            }
        };
        let Some((_, own)) = kinds.get_mut(own) else {
            continue;
        };
        let mut at = own.len();
        if let Some(index) = controller.kind.index() {
            for (place, other) in own.iter().enumerate().rev() {
                if stands_behind(other, &controller, index) {
                    at = place;
                } else if other.kind.index().is_some_and(|other| other < index) {
                    // Nor does anything in front of it.
                    break;
                }
            }
        }
        own.insert(at, controller);
    }
    let mut all = Vec::with_capacity(count);
    all.extend(kinds.into_iter().flat_map(|(_, own)| own));
    all
}

/// Adds those controllers of a kind that are not there, each as [`add_controller`] does.
pub(super) fn add_controllers(
    domain: &mut Domain,
    kind: ControllerType,
    mut indexes: BTreeSet<u32>,
    make: impl Fn(u32) -> ControllerKind,
) {
    let controllers = &mut domain.devices.controllers;
    let of_kind = |controller: &Controller| controller.kind.controller_type() == kind;
    for controller in controllers.iter().filter(|controller| of_kind(controller)) {
        if let Some(index) = controller.kind.index() {
            indexes.remove(&index);
        }
    }
    if indexes.is_empty() {
        return;
    }
    let last = controllers.iter().rposition(of_kind);
    let mut all = Vec::with_capacity(controllers.len() + indexes.len());
    let mut indexes = indexes.into_iter().peekable();
    for (place, controller) in std::mem::take(controllers).into_iter().enumerate() {
        if let Some(own) = controller.kind.index().filter(|_| of_kind(&controller)) {
            while let Some(index) = indexes.next_if(|index| *index < own) {
                all.push(Controller::new(make(index)));
            }
        }
        all.push(controller);
        if last == Some(place) {
            all.extend(indexes.by_ref().map(|index| Controller::new(make(index))));
        }
    }
    all.extend(indexes.map(|index| Controller::new(make(index))));
    *controllers = all;
}

/// Puts controllers in the order that they have once the definition is written and read again.
pub fn in_reading_order(domain: &mut Domain) {
    let controllers = std::mem::take(&mut domain.devices.controllers);
    domain.devices.controllers = insert_all(controllers);
}

/// Gives each controller that has none a number: the lowest free one; companions of a USB 2 controller share its number.
pub(super) fn assign_indexes(domain: &mut Domain) {
    let controllers = &mut domain.devices.controllers;
    if controllers
        .iter()
        .all(|controller| controller.kind.index().is_some())
    {
        return;
    }
    let mut numbers: HashMap<ControllerType, Numbers> = HashMap::new();
    let mut functions = HashSet::new();
    for controller in controllers.iter() {
        if let Some(index) = controller.kind.index() {
            let kind = controller.kind.controller_type();
            numbers.entry(kind).or_default().taken.insert(index);
            functions.extend(usb2_port(controller).map(|(model, _)| (index, model)));
        }
    }
    let mut reorder = false;
    // The last USB controller, where it is one of USB 2 with a number.
    let mut usb2 = None;
    for controller in controllers.iter_mut() {
        let kind = controller.kind.controller_type();
        let model = usb2_port(controller).map(|(model, _)| model);
        if controller.kind.index().is_none() {
            let shared = model.and_then(|model| usb2.filter(|index| !functions.contains(&(*index, model))));
            let index = shared.unwrap_or_else(|| numbers.entry(kind).or_default().next());
            functions.extend(model.map(|model| (index, model)));
            reorder |= model.is_some();
            *controller.kind.index_mut() = Some(index);
        }
        if kind == ControllerType::Usb {
            usb2 = model.and(controller.kind.index());
        }
    }
    if reorder {
        domain.devices.controllers = insert_all(std::mem::take(&mut domain.devices.controllers));
    }
}

/// The numbers of the controllers of a kind.
#[derive(Default)]
struct Numbers {
    taken: HashSet<u32>,
    /// None below is free.
    next: u32,
}

impl Numbers {
    /// Takes the lowest that is free.
    fn next(&mut self) -> u32 {
        while !self.taken.insert(self.next) {
            self.next = self.next.saturating_add(1);
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn controller(kind: u8, index: Option<u32>, master: Option<u32>) -> Controller {
        let kind = [
            ControllerType::Usb,
            ControllerType::Scsi,
            ControllerType::VirtioSerial,
        ][kind as usize % 3];
        let mut controller = Controller::new(ControllerKind::new(kind, index));
        controller.info.usb_master_port = master;
        controller
    }

    proptest! {
        #[test]
        fn all_at_once_stand_as_one_after_the_other(
            said in proptest::collection::vec(
                (0u8..3, proptest::option::weighted(0.8, 0u32..6), proptest::option::of(0u32..3)), 0..40)
        ) {
            let controllers: Vec<Controller> =
                said.into_iter().map(|(kind, index, master)| controller(kind, index, master)).collect();
            let mut one_by_one = Vec::new();
            for controller in controllers.clone() {
                insert_controller(&mut one_by_one, controller);
            }
            prop_assert_eq!(insert_all(controllers), one_by_one);
        }

        #[test]
        fn many_are_added_as_one_after_the_other(
            said in proptest::collection::vec((0u8..3, proptest::option::weighted(0.8, 0u32..12)), 0..20),
            indexes in proptest::collection::btree_set(0u32..12, 0..8),
            kind in 1u8..3,
        ) {
            let mut domain = Domain::default();
            domain.devices.controllers =
                said.into_iter().map(|(kind, index)| controller(kind, index, None)).collect();
            let mut other = domain.clone();
            let kind = controller(kind, None, None).kind.controller_type();
            let make = |index| ControllerKind::new(kind, Some(index));
            for index in &indexes {
                add_controller(&mut other, make(*index));
            }
            add_controllers(&mut domain, kind, indexes, make);
            prop_assert_eq!(domain.devices.controllers, other.devices.controllers);
        }
    }

    #[test]
    fn numbers_are_the_lowest_that_are_free() {
        let mut numbers = Numbers::default();
        numbers.taken.extend([0, 2]);
        assert_eq!([numbers.next(), numbers.next(), numbers.next()], [1, 3, 4]);
    }
}
