//! Slots and functions of a guest's PCI buses: which are taken, and where the next device goes.
//!
//! The order in which slots are handed out is part of a guest's identity, so it is libvirt's: a definition without
//! addresses gets the same ones from either.

use bitflags::bitflags;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

bitflags! {
    /// What a device plugs into, and what a bus takes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Connect: u32 {
        /// The bus may be chosen for a device without an address.
        const AUTOASSIGN = 1;
        /// Devices can be plugged while the guest runs.
        const HOTPLUGGABLE = 2;
        /// Several devices of the kind share a slot, one function each.
        const AGGREGATE_SLOT = 4;
        /// Part of the root complex: bus 0 and nothing else.
        const INTEGRATED = 8;
        /// A conventional PCI device.
        const PCI_DEVICE = 1 << 4;
        /// A PCI Express device.
        const PCIE_DEVICE = 1 << 5;
        /// A root port.
        const PCIE_ROOT_PORT = 1 << 6;
        /// The upstream port of a switch.
        const PCIE_SWITCH_UPSTREAM_PORT = 1 << 7;
        /// A downstream port of a switch.
        const PCIE_SWITCH_DOWNSTREAM_PORT = 1 << 8;
        /// A bridge from PCI Express to PCI on the root complex.
        const DMI_TO_PCI_BRIDGE = 1 << 9;
        /// An expander of a PCI root.
        const PCI_EXPANDER_BUS = 1 << 10;
        /// An expander of a PCI Express root.
        const PCIE_EXPANDER_BUS = 1 << 11;
        /// A PCI bridge.
        const PCI_BRIDGE = 1 << 12;
        /// A bridge from PCI Express to PCI behind a root port.
        const PCIE_TO_PCI_BRIDGE = 1 << 13;
    }
}

impl Connect {
    /// All kinds of plug.
    pub const TYPES: Self = Self::from_bits_truncate(0x3ff << 4);
    /// Plugs of devices at the end of the tree.
    pub const ENDPOINTS: Self = Self::PCI_DEVICE.union(Self::PCIE_DEVICE);
}

/// A controller that provides a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Conventional root bus.
    PciRoot,
    /// PCI Express root complex.
    PcieRoot,
    /// PCI bridge.
    PciBridge,
    /// Bridge from the root complex to PCI.
    DmiToPciBridge,
    /// Bridge from a root port to PCI.
    PcieToPciBridge,
    /// Root port.
    PcieRootPort,
    /// Upstream port of a switch.
    PcieSwitchUpstreamPort,
    /// Downstream port of a switch.
    PcieSwitchDownstreamPort,
    /// Expander of a PCI root.
    PciExpanderBus,
    /// Expander of a PCI Express root.
    PcieExpanderBus,
}

const MODELS: &[(&str, Model)] = &[
    ("pci-root", Model::PciRoot),
    ("pcie-root", Model::PcieRoot),
    ("pci-bridge", Model::PciBridge),
    ("dmi-to-pci-bridge", Model::DmiToPciBridge),
    ("pcie-to-pci-bridge", Model::PcieToPciBridge),
    ("pcie-root-port", Model::PcieRootPort),
    ("pcie-switch-upstream-port", Model::PcieSwitchUpstreamPort),
    ("pcie-switch-downstream-port", Model::PcieSwitchDownstreamPort),
    ("pci-expander-bus", Model::PciExpanderBus),
    ("pcie-expander-bus", Model::PcieExpanderBus),
];

impl Model {
    /// The value of `<controller type='pci' model='…'>`.
    pub fn name(self) -> &'static str {
        MODELS
            .iter()
            .find(|(_, model)| *model == self)
            .map_or("", |(name, _)| name)
    }

    /// The model of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        MODELS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, model)| *model)
    }

    /// What the controller itself plugs into; empty for a root.
    pub fn connect(self) -> Connect {
        match self {
            Self::PciRoot | Self::PcieRoot => Connect::empty(),
            Self::PciBridge => Connect::PCI_BRIDGE,
            Self::PciExpanderBus => Connect::PCI_EXPANDER_BUS,
            Self::PcieExpanderBus => Connect::PCIE_EXPANDER_BUS,
            Self::DmiToPciBridge => Connect::DMI_TO_PCI_BRIDGE,
            Self::PcieToPciBridge => Connect::PCIE_TO_PCI_BRIDGE,
            Self::PcieRootPort => Connect::PCIE_ROOT_PORT | Connect::AGGREGATE_SLOT,
            Self::PcieSwitchUpstreamPort => Connect::PCIE_SWITCH_UPSTREAM_PORT,
            Self::PcieSwitchDownstreamPort => Connect::PCIE_SWITCH_DOWNSTREAM_PORT,
        }
    }
}

/// A function on a bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Domain. Guests have domain 0 only.
    pub domain: u32,
    /// Bus, the index of its controller.
    pub bus: u32,
    /// Slot, 0 to 31.
    pub slot: u32,
    /// Function, 0 to 7.
    pub function: u32,
}

impl Slot {
    /// A function on the first bus.
    pub const fn on_root(slot: u32, function: u32) -> Self {
        Self::new(0, slot, function)
    }

    /// A function of domain 0.
    pub const fn new(bus: u32, slot: u32, function: u32) -> Self {
        Self {
            domain: 0,
            bus,
            slot,
            function,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.slot, self.function
        )
    }
}

/// Last slot of a bus with many.
const LAST_SLOT: u32 = 31;
/// Most buses that are ever made; those above 255 are refused when all have been given their places.
const MAX_BUSES: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    functions: u8,
    aggregate: bool,
}

/// One bus.
#[derive(Clone, Debug)]
pub struct Bus {
    /// The controller that provides it.
    pub model: Model,
    connect: Connect,
    min_slot: u32,
    max_slot: u32,
    slots: [Use; 32],
    /// Each slot has a device.
    full: bool,
    /// Devices of other groups stay away from it.
    pub isolation_group: u32,
    /// The group does not follow the first device.
    pub isolation_locked: bool,
}

impl Bus {
    /// An empty bus behind a controller.
    pub fn new(model: Model, hotplug: bool) -> Self {
        use Connect as C;
        let plug = if hotplug { C::HOTPLUGGABLE } else { C::empty() };
        let conventional = C::AUTOASSIGN | C::PCI_DEVICE | C::PCI_BRIDGE;
        let (connect, min_slot, max_slot) = match model {
            Model::PciRoot => (conventional | C::PCI_EXPANDER_BUS | plug, 1, LAST_SLOT),
            Model::PciBridge | Model::PcieToPciBridge => (conventional | plug, 1, LAST_SLOT),
            Model::PciExpanderBus => (conventional | plug, 0, LAST_SLOT),
            Model::PcieRoot => (
                C::PCIE_DEVICE | C::PCIE_ROOT_PORT | C::DMI_TO_PCI_BRIDGE | C::PCIE_EXPANDER_BUS,
                1,
                LAST_SLOT,
            ),
            Model::DmiToPciBridge => (C::PCI_DEVICE | C::PCI_BRIDGE, 0, LAST_SLOT),
            Model::PcieRootPort | Model::PcieSwitchDownstreamPort => (
                C::AUTOASSIGN | C::PCIE_DEVICE | C::PCIE_SWITCH_UPSTREAM_PORT | C::PCIE_TO_PCI_BRIDGE | plug,
                0,
                0,
            ),
            Model::PcieSwitchUpstreamPort => (C::PCIE_SWITCH_DOWNSTREAM_PORT, 0, LAST_SLOT),
            Model::PcieExpanderBus => (C::PCIE_ROOT_PORT | C::DMI_TO_PCI_BRIDGE, 0, LAST_SLOT),
        };
        Self {
            model,
            connect,
            min_slot,
            max_slot,
            slots: [Use::default(); 32],
            full: false,
            isolation_group: 0,
            isolation_locked: false,
        }
    }

    fn used(&self) -> impl Iterator<Item = &Use> {
        (self.min_slot..=self.max_slot).filter_map(|slot| self.slots.get(slot as usize))
    }

    /// Whether devices of a kind can be plugged in.
    pub fn accepts(&self, connect: Connect) -> bool {
        self.connect.intersects(connect)
    }

    /// Whether each slot has a device.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn note_fullness(&mut self) {
        let full = self.used().all(|slot| slot.functions != 0);
        self.full = full;
    }

    /// Whether no slot has a device.
    pub fn is_empty(&self) -> bool {
        self.used().all(|slot| slot.functions == 0)
    }

    fn free_function(&self, connect: Connect, mut at: Slot, function: Option<u32>) -> Option<Slot> {
        // Of a guest with many devices most buses are full.
        if self.full && !connect.contains(Connect::AGGREGATE_SLOT) {
            return None;
        }
        if compatible(at, self.connect, connect, false).is_some() {
            return None;
        }
        while at.slot <= self.max_slot {
            let here = self.slots.get(at.slot as usize).copied().unwrap_or_default();
            if here.functions == 0 {
                return Some(at);
            }
            if connect.contains(Connect::AGGREGATE_SLOT) && here.aggregate {
                if here.functions & (1 << at.function) == 0 {
                    return Some(at);
                }
                if function.is_none() {
                    if let Some(free) =
                        (at.function..8).find(|function| here.functions & (1 << function) == 0)
                    {
                        return Some(Slot { function: free, ..at });
                    }
                    at.function = 0;
                }
            }
            at.slot += 1;
        }
        None
    }
}

/// Why a device does not fit a bus; `None` if it does.
fn compatible(at: Slot, mut bus: Connect, mut device: Connect, from_config: bool) -> Option<String> {
    use Connect as C;
    if device.contains(C::INTEGRATED) {
        if at.bus != 0 {
            return Some(format!("the device at PCI address {at} must be on bus 0"));
        }
        bus |= C::PCI_DEVICE | C::AUTOASSIGN;
    }
    if from_config {
        // Whoever chose the address may put a device where the driver would not.
        if bus.intersects(C::ENDPOINTS) {
            bus |= C::ENDPOINTS;
        }
        if device.contains(C::PCI_BRIDGE) {
            device |= C::PCI_DEVICE;
        }
    } else if device.contains(C::AUTOASSIGN) && !bus.contains(C::AUTOASSIGN) {
        return Some(format!("the bus of PCI address {at} takes no devices by itself"));
    }
    if device.contains(C::HOTPLUGGABLE) && !bus.contains(C::HOTPLUGGABLE) {
        return Some(format!(
            "the bus of PCI address {at} takes no devices while the guest runs"
        ));
    }
    if (device & bus & C::TYPES).is_empty() {
        return Some(format!(
            "PCI address {at} is on bus {}, which takes no {}",
            at.bus,
            plug_name(device)
        ));
    }
    None
}

fn plug_name(device: Connect) -> &'static str {
    use Connect as C;
    let names = [
        (C::PCI_DEVICE, "standard PCI device"),
        (C::PCIE_DEVICE, "PCI Express device"),
        (C::PCIE_ROOT_PORT, "pcie-root-port"),
        (C::PCIE_SWITCH_UPSTREAM_PORT, "pcie-switch-upstream-port"),
        (C::PCIE_SWITCH_DOWNSTREAM_PORT, "pcie-switch-downstream-port"),
        (C::DMI_TO_PCI_BRIDGE, "dmi-to-pci-bridge"),
        (C::PCIE_TO_PCI_BRIDGE, "pcie-to-pci-bridge"),
        (C::PCI_EXPANDER_BUS, "pci-expander-bus"),
        (C::PCIE_EXPANDER_BUS, "pcie-expander-bus"),
        (C::PCI_BRIDGE, "pci-bridge"),
    ];
    names
        .iter()
        .find(|(plug, _)| device.intersects(*plug))
        .map_or("device of no known kind", |(_, name)| name)
}

/// Addresses are a matter of definitions, whoever has drivers for them.
fn error(code: ErrorCode, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, what).in_domain(ErrorDomain::DOMAIN)
}

/// An address that somebody chose is at fault itself; one of our own should not have been chosen.
fn blame(from_config: bool) -> ErrorCode {
    if from_config {
        ErrorCode::XML_ERROR
    } else {
        ErrorCode::INTERNAL_ERROR
    }
}

/// The buses of a guest.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    /// By index of their controllers.
    pub buses: Vec<Bus>,
    /// New buses are made as they are needed.
    pub growing: bool,
    /// The machine has any number of roots (pSeries).
    pub multiple_roots: bool,
    /// `pcie-pci-bridge` exists.
    pub pcie_to_pci_bridge: bool,
}

impl AddressSet {
    /// Whether any function of a slot is taken.
    pub fn slot_in_use(&self, at: Slot) -> bool {
        let bus = self.buses.get(at.bus as usize);
        bus.and_then(|bus| bus.slots.get(at.slot as usize))
            .is_some_and(|slot| slot.functions != 0)
    }

    /// Checks that a device can be at an address.
    ///
    /// # Errors
    /// `XML_ERROR` saying what is wrong with the address (`INTERNAL_ERROR` if it did not come from the definition).
    pub fn validate(&self, at: Slot, connect: Connect, from_config: bool) -> Result<()> {
        let fail = |what: String| Err(error(blame(from_config), what));
        if self.buses.is_empty() {
            return fail("no PCI buses are available".to_owned());
        }
        if at.domain != 0 {
            return fail(format!("invalid PCI address {at}: guests have PCI domain 0 only"));
        }
        let Some(bus) = self.buses.get(at.bus as usize) else {
            let last = self.buses.len() - 1;
            return fail(format!("invalid PCI address {at}: bus must be <= {last}"));
        };
        if let Some(why) = compatible(at, bus.connect, connect, from_config) {
            return fail(why);
        }
        if at.slot < bus.min_slot {
            return fail(format!(
                "PCI address {at}: slots of this bus begin at {}",
                bus.min_slot
            ));
        }
        if at.slot > bus.max_slot {
            return fail(format!(
                "PCI address {at}: slots of this bus end at {}",
                bus.max_slot
            ));
        }
        if at.function > 7 {
            return fail(format!("PCI address {at}: functions end at 7"));
        }
        Ok(())
    }

    /// Takes an address, and tells which: where a bus is made for it, that may be one further.
    ///
    /// # Errors
    /// As [`AddressSet::validate`], and if it is taken already.
    pub fn reserve(&mut self, at: Slot, connect: Connect, isolation_group: u32) -> Result<Slot> {
        self.reserve_as(at, connect, isolation_group, true)
    }

    fn reserve_as(&mut self, mut at: Slot, connect: Connect, group: u32, from_config: bool) -> Result<Slot> {
        if self.growing {
            self.grow(&mut at, connect)?;
        }
        self.validate(at, connect, from_config)?;
        let taken = || {
            error(
                blame(from_config),
                format_args!("PCI address {at} belongs to two devices"),
            )
            .with_hint("several functions of one slot need multifunction='on' on function 0")
        };
        let bus = self.buses.get_mut(at.bus as usize).ok_or_else(taken)?;
        let was_empty = bus.is_empty();
        let slot = bus.slots.get_mut(at.slot as usize).ok_or_else(taken)?;
        let bit = 1u8 << at.function;
        if slot.functions & bit != 0 {
            return Err(taken());
        }
        if slot.functions == 0 && connect.contains(Connect::AGGREGATE_SLOT) {
            slot.aggregate = true;
        }
        let was_free = slot.functions == 0;
        slot.functions |= bit;
        if was_free {
            bus.note_fullness();
        }
        if was_empty && !bus.isolation_locked {
            bus.isolation_group = group;
        } else if bus.isolation_group != group && from_config {
            // Mixed by the user's wish: nobody else is kept away.
            bus.isolation_group = 0;
        }
        Ok(at)
    }

    /// Frees an address.
    pub fn release(&mut self, at: Slot) {
        let Some(bus) = self.buses.get_mut(at.bus as usize) else {
            return;
        };
        if let Some(slot) = bus.slots.get_mut(at.slot as usize) {
            slot.functions &= !(1u8.checked_shl(at.function).unwrap_or(0));
        }
        bus.note_fullness();
    }

    /// Takes the next free address for a device; `function` asks for that function of a free slot.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none, `XML_ERROR` if there are no buses.
    pub fn reserve_next(
        &mut self,
        connect: Connect,
        isolation_group: u32,
        function: Option<u32>,
    ) -> Result<Slot> {
        let at = self.next(connect, isolation_group, function)?;
        self.reserve_as(at, connect, isolation_group, false)
    }

    fn next(&mut self, connect: Connect, group: u32, function: Option<u32>) -> Result<Slot> {
        if self.buses.is_empty() {
            return Err(error(ErrorCode::XML_ERROR, "no PCI buses are available"));
        }
        let first = |index: usize, bus: &Bus| Slot::new(index as u32, bus.min_slot, function.unwrap_or(0));
        let of_group = |bus: &Bus| bus.isolation_group == group;
        let free = |bus: &Bus| bus.is_empty() && !bus.isolation_locked;
        for suits in [&of_group as &dyn Fn(&Bus) -> bool, &free] {
            for (index, bus) in self.buses.iter().enumerate().filter(|(_, bus)| suits(bus)) {
                if let Some(at) = bus.free_function(connect, first(index, bus), function) {
                    return Ok(at);
                }
            }
        }
        if self.growing {
            let mut at = Slot::new(self.buses.len() as u32, 0, function.unwrap_or(0));
            self.grow(&mut at, connect)?;
            at.slot = self.buses.get(at.bus as usize).map_or(0, |bus| bus.min_slot);
            return Ok(at);
        }
        Err(error(ErrorCode::INTERNAL_ERROR, "no more available PCI slots"))
    }

    /// Makes buses up to the one of `at`; bridges in between may move it further.
    fn grow(&mut self, at: &mut Slot, connect: Connect) -> Result<()> {
        use Connect as C;
        let Some(mut add) = (at.bus as usize + 1)
            .checked_sub(self.buses.len())
            .filter(|add| *add > 0)
        else {
            return Ok(());
        };
        let (mut dmi, mut pcie) = (false, false);
        let model = if connect.contains(C::PCI_DEVICE) {
            if self.multiple_roots {
                Model::PciRoot
            } else {
                // A conventional bridge needs a conventional bus above it; where there is none it is made first.
                let no_place = !self.buses.iter().any(|bus| bus.connect.contains(C::PCI_BRIDGE));
                dmi = no_place && !self.pcie_to_pci_bridge;
                pcie = no_place && self.pcie_to_pci_bridge;
                if no_place && add == 1 {
                    add += 1;
                    at.bus += 1;
                }
                Model::PciBridge
            }
        } else if connect.intersects(C::PCIE_DEVICE | C::PCIE_SWITCH_UPSTREAM_PORT) {
            Model::PcieRootPort
        } else {
            let what = format_args!(
                "a PCI slot is needed to connect a {}, but none is available, and it cannot be automatically added",
                plug_name(connect)
            );
            return Err(error(ErrorCode::INTERNAL_ERROR, what));
        };
        let total = self.buses.len() + add;
        if total > MAX_BUSES {
            let what = format_args!("a guest has at most {MAX_BUSES} PCI buses");
            return Err(error(ErrorCode::INTERNAL_ERROR, what));
        }
        if dmi {
            self.buses.push(Bus::new(Model::DmiToPciBridge, false));
        }
        if pcie {
            let mut port = Bus::new(Model::PcieRootPort, true);
            // Kept for the bridge.
            port.connect = C::PCIE_TO_PCI_BRIDGE;
            self.buses.push(port);
            self.buses.push(Bus::new(Model::PcieToPciBridge, true));
        }
        while self.buses.len() < total {
            self.buses.push(Bus::new(model, true));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(models: &[Model]) -> AddressSet {
        AddressSet {
            buses: models.iter().map(|model| Bus::new(*model, true)).collect(),
            growing: true,
            multiple_roots: false,
            pcie_to_pci_bridge: true,
        }
    }

    const PCI: Connect = Connect::PCI_DEVICE.union(Connect::AUTOASSIGN);
    const PCIE: Connect = Connect::PCIE_DEVICE.union(Connect::AUTOASSIGN);

    #[test]
    fn a_full_root_grows_a_bridge() {
        let mut set = set(&[Model::PciRoot]);
        for slot in 1..=31 {
            assert_eq!(set.reserve_next(PCI, 0, None).unwrap(), Slot::new(0, slot, 0));
        }
        assert_eq!(set.reserve_next(PCI, 0, None).unwrap(), Slot::new(1, 1, 0));
        assert_eq!(set.buses[1].model, Model::PciBridge);
    }

    #[test]
    fn express_devices_get_root_ports_that_share_slots() {
        let mut set = set(&[Model::PcieRoot]);
        assert_eq!(set.reserve_next(PCIE, 0, None).unwrap(), Slot::new(1, 0, 0));
        assert_eq!(set.reserve_next(PCIE, 0, None).unwrap(), Slot::new(2, 0, 0));
        let port = Model::PcieRootPort.connect();
        assert_eq!(set.reserve_next(port, 0, None).unwrap(), Slot::on_root(1, 0));
        assert_eq!(set.reserve_next(port, 0, None).unwrap(), Slot::on_root(1, 1));
    }

    #[test]
    fn a_conventional_device_on_express_needs_two_bridges() {
        let mut set = set(&[Model::PcieRoot]);
        assert_eq!(set.reserve_next(PCI, 0, None).unwrap(), Slot::new(2, 1, 0));
        let models: Vec<Model> = set.buses.iter().map(|bus| bus.model).collect();
        assert_eq!(
            models,
            [Model::PcieRoot, Model::PcieRootPort, Model::PcieToPciBridge]
        );
    }

    #[test]
    fn addresses_are_checked() {
        let mut set = set(&[Model::PciRoot]);
        set.growing = false;
        set.reserve(Slot::on_root(3, 0), PCI, 0).unwrap();
        for bad in [
            Slot::on_root(3, 0),
            Slot::on_root(0, 0),
            Slot::on_root(32, 0),
            Slot::new(1, 1, 0),
        ] {
            assert_eq!(
                set.reserve(bad, PCI, 0).unwrap_err().code(),
                ErrorCode::XML_ERROR,
                "{bad}"
            );
        }
        set.release(Slot::on_root(3, 0));
        set.reserve(Slot::on_root(3, 0), PCI, 0).unwrap();
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice(kinds in proptest::collection::vec(0..3u8, 0..120)) {
            let mut set = set(&[Model::PcieRoot]);
            let mut given = std::collections::HashSet::new();
            for kind in kinds {
                let connect = [PCI, PCIE, Model::PcieRootPort.connect()][kind as usize];
                if let Ok(at) = set.reserve_next(connect, 0, None) {
                    prop_assert!(given.insert((at.bus, at.slot, at.function)));
                }
            }
        }
    }
}
