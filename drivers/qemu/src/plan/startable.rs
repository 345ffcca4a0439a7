//! What only a start can refuse: what depends on this host, or was let pass while a definition was only kept.

use virt_conf::domain::Domain;
use virt_conf::domain::interface::InterfaceSource;
use virt_conf::domain::os::{FirmwareType, LoaderType, NvramSource};
use virt_conf::numa::NumaPlacement;
use virt_util::{ErrorCode, Result, VirtError};

use super::host::Host;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Whether the guest can be started on this host at all.
pub(super) fn check(domain: &Domain, host: &Host) -> Result<()> {
    firmware(domain)?;
    memory_nodes(domain, host)?;
    interfaces(domain)
}

/// Firmware that was to be selected and was not.
fn firmware(domain: &Domain) -> Result<()> {
    let os = &domain.os;
    let Some(FirmwareType::Efi) = os.firmware else {
        return Ok(());
    };
    let variables = os
        .nvram
        .as_ref()
        .is_some_and(|nvram| nvram.source != NvramSource::None);
    let selected = os.loader.as_ref().is_some_and(|loader| {
        loader.path.is_some()
            && (loader.kind != Some(LoaderType::Pflash)
                || loader.read_only != Some(true)
                || loader.stateless == Some(true)
                || variables)
    });
    if selected {
        return Ok(());
    }
    Err(VirtError::new(
        ErrorCode::OPERATION_FAILED,
        "no installed firmware of type 'efi' fits what <os> and <features> say",
    ))
}

/// Nodes of the host that the guest's memory is bound to.
fn memory_nodes(domain: &Domain, host: &Host) -> Result<()> {
    let Some(tune) = &domain.numatune else {
        return Ok(());
    };
    // A host that tells of no nodes is not asked.
    if host.nodes.is_empty() {
        return Ok(());
    }
    let whole = tune
        .memory
        .iter()
        .filter(|memory| memory.placement != Some(NumaPlacement::Auto))
        .filter_map(|memory| memory.nodeset.as_ref());
    let single = tune.nodes.iter().map(|node| &node.nodeset);
    for set in whole.chain(single) {
        let missing = set
            .0
            .iter()
            .find(|wanted| host.nodes.iter().all(|node| node.id as usize != *wanted));
        if let Some(node) = missing {
            return Err(unsupported(format_args!(
                "the host has no NUMA node {node}, which <numatune> asks for"
            )));
        }
    }
    Ok(())
}

fn interfaces(domain: &Domain) -> Result<()> {
    for interface in &domain.devices.interfaces {
        let tap = interface
            .backend
            .as_ref()
            .is_some_and(|backend| backend.tap.is_some());
        let fits = matches!(
            interface.source,
            InterfaceSource::Network { .. }
                | InterfaceSource::Bridge { .. }
                | InterfaceSource::Ethernet { .. }
        );
        if tap && !fits {
            return Err(unsupported(format_args!(
                "interface '{}': <backend tap='…'> is for types 'network', 'bridge' and 'ethernet', not '{}'",
                interface
                    .mac
                    .address
                    .map(|mac| mac.to_string())
                    .unwrap_or_default(),
                interface.interface_type()
            )));
        }
    }
    Ok(())
}
