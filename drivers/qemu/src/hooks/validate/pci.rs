//! Which settings PCI controllers have in QEMU: a table, and what it says of one.

use virt_conf::domain::Domain;
use virt_conf::domain::controller::{
    Controller, PciController, PciControllerModel as Model, PciControllerModelName as Name,
};
use virt_util::{Result, VirtError};

use super::refuse_if;
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

/// Whether controllers of a model have a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Must,
    May,
    Never,
}

/// What controllers of a model have.
struct Row {
    /// The devices that implement them.
    names: &'static [Name],
    /// Number of a root's bus.
    bus_nr: Has,
    /// NUMA node.
    node: Has,
    /// Number of a conventional bridge's chassis.
    chassis_nr: Has,
    /// Chassis and port.
    port: Has,
    /// Devices are plugged in, if this flag is there.
    hotplug: Option<Flag>,
    /// Memory is reserved for devices to come.
    reserves: Has,
}

const PLAIN: Row = Row {
    names: &[],
    bus_nr: Has::Never,
    node: Has::Never,
    chassis_nr: Has::Never,
    port: Has::Never,
    hotplug: None,
    reserves: Has::Never,
};

fn row(model: Model) -> Row {
    match model {
        Model::PciRoot => Row {
            names: &[Name::SpaprPciHostBridge],
            node: Has::May,
            hotplug: Some(Flag::Piix4AcpiRootPciHotplug),
            ..PLAIN
        },
        Model::PcieRoot => PLAIN,
        Model::PciBridge => Row {
            names: &[Name::PciBridge],
            chassis_nr: Has::Must,
            reserves: Has::May,
            ..PLAIN
        },
        Model::DmiToPciBridge => Row {
            names: &[Name::I82801b11Bridge],
            ..PLAIN
        },
        Model::PcieToPciBridge => Row {
            names: &[Name::PciePciBridge],
            ..PLAIN
        },
        Model::PcieRootPort => Row {
            names: &[Name::Ioh3420, Name::PcieRootPort],
            port: Has::Must,
            hotplug: Some(Flag::PcieRootPortHotplug),
            reserves: Has::May,
            ..PLAIN
        },
        Model::PcieSwitchUpstreamPort => Row {
            names: &[Name::X3130Upstream],
            ..PLAIN
        },
        Model::PcieSwitchDownstreamPort => Row {
            names: &[Name::Xio3130Downstream],
            port: Has::Must,
            hotplug: Some(Flag::PcieRootPortHotplug),
            ..PLAIN
        },
        Model::PciExpanderBus => Row {
            names: &[Name::Pxb],
            bus_nr: Has::Must,
            node: Has::May,
            ..PLAIN
        },
        Model::PcieExpanderBus => Row {
            names: &[Name::PxbPcie],
            bus_nr: Has::Must,
            node: Has::May,
            ..PLAIN
        },
    }
}

/// What a device needs of the binary.
fn flag(name: Name) -> Option<Flag> {
    Some(match name {
        Name::None => return None,
        Name::PciBridge => Flag::DevicePciBridge,
        Name::I82801b11Bridge => Flag::DeviceDmiToPciBridge,
        Name::Ioh3420 => Flag::DeviceIoh3420,
        Name::X3130Upstream => Flag::DeviceX3130Upstream,
        Name::Xio3130Downstream => Flag::DeviceXio3130Downstream,
        Name::Pxb => Flag::DevicePxb,
        Name::PxbPcie => Flag::DevicePxbPcie,
        Name::PcieRootPort => Flag::DevicePcieRootPort,
        Name::SpaprPciHostBridge => Flag::DeviceSpaprPciHostBridge,
        Name::PciePciBridge => Flag::DevicePciePciBridge,
    })
}

/// Checks a PCI controller.
pub(super) fn controller(
    domain: &Domain,
    controller: &Controller,
    pci: &PciController,
    guest: Guest<'_>,
) -> Result<()> {
    let Some(model) = pci.model else { return Ok(()) };
    let (kind, name, index) = (
        machine(domain, guest.arch),
        pci.model_name,
        pci.index.unwrap_or(0),
    );
    let row = row(model);
    let called = format!("PCI controller '{index}' of model '{model}'");
    let missing =
        |option: &str| VirtError::internal(format_args!("{called} has no '{option}': it needs one"));
    let needless = |said: bool, option: &str| {
        refuse_if(
            said,
            format_args!("{called} and device '{name}' has '{option}': such a controller has none"),
        )
    };
    let may = |has: Has, said: bool, option: &str| match has {
        Has::Must if !said => Err(missing(option)),
        Has::Never => needless(said, option),
        _ => Ok(()),
    };
    let bridge = name == Name::SpaprPciHostBridge;
    // Roots have a device of their own in pSeries guests alone.
    let named = match model {
        Model::PciRoot => kind.is_pseries(),
        _ => !row.names.is_empty(),
    };
    may(
        if named { Has::Must } else { Has::Never },
        name != Name::None,
        "model name",
    )?;
    refuse_if(
        name != Name::None && !row.names.contains(&name),
        format_args!(
            "{called} cannot be the device '{name}': {} expected",
            row.names
                .iter()
                .map(|name| format!("'{name}'"))
                .collect::<Vec<_>>()
                .join(" or ")
        ),
    )?;
    let root = matches!(model, Model::PciRoot | Model::PcieRoot);
    refuse_if(
        !root && index == 0,
        format_args!("{called}: its index must be greater than 0, which is the root's"),
    )?;
    refuse_if(
        root && !bridge && index != 0,
        format_args!("{called}: the index of a root must be 0"),
    )?;
    let target = if bridge { Has::Must } else { Has::Never };
    may(target, pci.target_index.is_some(), "targetIndex")?;
    let roomy = match model {
        Model::PciRoot => kind.is_i440fx(),
        _ => kind.is_q35(),
    };
    refuse_if(
        controller.pci_hole64.is_some() && !roomy,
        format_args!(
            "{called}: the 64-bit PCI hole is of a certain size in machines i440fx and q35 only, not in '{}'",
            domain.os.kind.machine.as_deref().unwrap_or_default()
        ),
    )?;
    may(row.bus_nr, pci.bus_nr.is_some(), "busNr")?;
    // The first host bridge of a pSeries guest belongs to no node.
    let node = match model {
        Model::PciRoot if !bridge || pci.target_index == Some(0) => Has::Never,
        _ => row.node,
    };
    may(node, pci.numa_node.is_some(), "numaNode")?;
    may(row.chassis_nr, pci.chassis_nr.is_some(), "chassisNr")?;
    may(row.port, pci.chassis.is_some(), "chassis")?;
    may(row.port, pci.port.is_some(), "port")?;
    if pci.hotplug.is_some() {
        match row.hotplug {
            None => needless(true, "hotplug")?,
            Some(flag) => refuse_if(
                !guest.caps.has(flag),
                format_args!("{called}: this QEMU binary does not know 'hotplug' of it"),
            )?,
        }
    }
    may(
        row.reserves,
        pci.mem_reserve.is_some_and(|size| size != 0),
        "memReserve",
    )?;
    refuse_if(
        flag(name).is_some_and(|flag| !guest.caps.has(flag)),
        format_args!("{called}: this QEMU binary has no device '{name}'"),
    )?;
    refuse_if(
        bridge && pci.numa_node.is_some() && !guest.caps.has(Flag::SpaprPciHostBridgeNumaNode),
        format_args!("{called}: this QEMU binary does not know 'numaNode' of '{name}'"),
    )
}

#[cfg(test)]
mod tests {
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, devices};

    fn judge(machine: &str, model: &str, index: u32, inside: &str, flags: &[Flag]) -> Verdict {
        let controller =
            format!("<controller type='pci' index='{index}' model='{model}'>{inside}</controller>");
        devices(machine, &controller, flags)
    }

    #[test]
    fn roots_are_the_machines() {
        judge("pc-i440fx-10.0", "pci-root", 0, "", &[]).fine();
        judge("pc-i440fx-10.0", "pci-root", 1, "", &[]).refused("must be 0");
        let hole = "<pcihole64 unit='KiB'>1048576</pcihole64>";
        judge("pc-i440fx-10.0", "pci-root", 0, hole, &[]).fine();
        judge("virt", "pcie-root", 0, hole, &[]).refused("i440fx and q35");
        let named = "<model name='spapr-pci-host-bridge'/>";
        judge("pc-i440fx-10.0", "pci-root", 0, named, &[]).refused("'model name'");
        judge("pseries", "pci-root", 0, "", &[]).with(ErrorCode::INTERNAL_ERROR, "'model name'");
        judge("pseries", "pci-root", 1, named, &[]).with(ErrorCode::INTERNAL_ERROR, "'targetIndex'");
        let whole = |index: u32, node: &str| format!("{named}<target index='{index}'>{node}</target>");
        let bridge = [Flag::DeviceSpaprPciHostBridge];
        judge("pseries", "pci-root", 1, &whole(1, ""), &bridge).fine();
        let node = "<node>0</node>";
        judge("pseries", "pci-root", 0, &whole(0, node), &bridge).refused("'numaNode'");
        judge("pseries", "pci-root", 1, &whole(1, node), &bridge).refused("does not know 'numaNode'");
    }

    #[test]
    fn settings_are_those_of_the_model() {
        let q35 = |model: &str, index: u32, inside: &str, flags: &[Flag]| {
            judge("pc-q35-10.0", model, index, inside, flags)
        };
        let port = "<model name='pcie-root-port'/><target chassis='1' port='0x8'/>";
        q35("pcie-root-port", 1, port, &[]).refused("no device 'pcie-root-port'");
        q35("pcie-root-port", 1, port, &[Flag::DevicePcieRootPort]).fine();
        q35("pcie-root-port", 0, port, &[Flag::DevicePcieRootPort]).refused("greater than 0");
        let bare = "<model name='pcie-root-port'/>";
        q35("pcie-root-port", 1, bare, &[]).with(ErrorCode::INTERNAL_ERROR, "'chassis'");
        let other = port.replace("pcie-root-port", "pxb");
        q35("pcie-root-port", 1, &other, &[]).refused("'ioh3420' or 'pcie-root-port' expected");
        let hot = port.replace("port='0x8'", "port='0x8' hotplug='off'");
        q35("pcie-root-port", 1, &hot, &[Flag::DevicePcieRootPort]).refused("'hotplug'");
        let bus = port.replace("port='0x8'", "port='0x8' busNr='4'");
        q35("pcie-root-port", 1, &bus, &[]).refused("'busNr'");
        let bridge = "<model name='pci-bridge'/><target chassisNr='1'/>";
        q35("pci-bridge", 1, bridge, &[Flag::DevicePciBridge]).fine();
        q35(
            "pci-bridge",
            1,
            "<model name='pci-bridge'/><target chassisNr='1' hotplug='on'/>",
            &[],
        )
        .refused("such a controller has none");
        q35("pcie-expander-bus", 1, "<model name='pxb-pcie'/>", &[])
            .with(ErrorCode::INTERNAL_ERROR, "'busNr'");
    }
}
