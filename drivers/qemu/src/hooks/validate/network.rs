//! What QEMU cannot do with network interfaces.

use virt_conf::domain::Domain;
use virt_conf::domain::interface::{
    Interface, InterfaceBackendType, InterfaceSource, InterfaceType, IpAddress, TeamingType, VhostUserMode,
};
use virt_util::Result;

use super::storage::needs_shared_memory;
use super::{refuse_if, unsupported, xml_error};
use crate::capabilities::Flag;
use crate::hooks::Guest;

/// What errors call the interface.
fn called(interface: &Interface) -> String {
    let kind = interface.interface_type();
    match &interface.mac.address {
        Some(mac) => format!("interface '{mac}' of type '{kind}'"),
        None => format!("interface of type '{kind}'"),
    }
}

/// Who carries the packets, where libvirt runs a program for it.
fn backend(interface: &Interface) -> InterfaceBackendType {
    interface
        .backend
        .as_ref()
        .map_or(InterfaceBackendType::Default, |backend| backend.kind)
}

/// Checks an interface.
pub(super) fn interface(domain: &Domain, interface: &Interface, guest: Guest<'_>) -> Result<()> {
    use InterfaceType as T;
    let (kind, backend, name) = (interface.interface_type(), backend(interface), called(interface));
    let passt = backend == InterfaceBackendType::Passt;
    refuse_if(
        !interface.link.guest.routes.is_empty(),
        format_args!("{name}: QEMU cannot set routes inside the guest"),
    )?;
    let addresses = &interface.link.guest.addresses;
    if kind == T::User || (kind == T::Vhostuser && passt) {
        let there = match backend {
            InterfaceBackendType::Default => Flag::NetdevUser,
            InterfaceBackendType::Passt => Flag::NetdevStream,
        };
        refuse_if(
            !guest.caps.has(there),
            format_args!("{name}: this QEMU binary has no back end '{backend}'"),
        )?;
        guest_addresses(addresses, &name)?;
    } else {
        refuse_if(
            !addresses.is_empty(),
            format_args!("{name}: QEMU sets addresses inside the guest for type 'user' only"),
        )?;
    }
    refuse_if(
        kind == T::Vdpa && !guest.caps.has(Flag::NetdevVhostVdpa),
        format_args!("{name}: this QEMU binary has no vDPA devices"),
    )?;
    vhost_user(domain, interface)?;
    model(interface, guest, &name)?;
    let sized = match kind {
        T::Network | T::Bridge | T::Ethernet | T::Vhostuser => true,
        T::User => passt,
        _ => false,
    };
    refuse_if(
        interface.mtu != 0 && !sized,
        format_args!(
            "{name}: an MTU is set for types 'network', 'bridge', 'ethernet' and 'vhostuser', and for 'user' with passt"
        ),
    )?;
    team(interface, &name)?;
    refuse_if(
        interface.coalesce_rx_frames != 0 && !matches!(kind, T::Network | T::Bridge),
        format_args!("{name}: interrupts are coalesced for types 'network' and 'bridge' only"),
    )
}

/// The addresses that user mode networking gives to the guest: one of each family, with a prefix that leaves it room.
fn guest_addresses(addresses: &[IpAddress], name: &str) -> Result<()> {
    let (mut four, mut six) = (false, false);
    for ip in addresses {
        refuse_if(
            ip.peer.is_some(),
            format_args!(
                "{name}: address '{}' has a peer, which user mode networking has not",
                ip.address
            ),
        )?;
        let again = match ip.address.is_ipv6() {
            true => std::mem::replace(&mut six, true),
            false => std::mem::replace(&mut four, true),
        };
        refuse_if(
            again,
            format_args!("{name}: only one address of each family is allowed"),
        )?;
        let prefix = ip.prefix;
        if prefix == 0 {
            continue;
        }
        if ip.address.is_ipv6() {
            refuse_if(
                prefix != 64,
                format_args!("{name}: prefix '{prefix}' of address '{}' must be 64", ip.address),
            )?;
        } else if !(4..=27).contains(&prefix) {
            return Err(xml_error(format_args!(
                "{name}: prefix '{prefix}' of address '{}' must be in range of 4-27",
                ip.address
            )));
        }
    }
    Ok(())
}

/// Checks a vhost-user interface.
fn vhost_user(domain: &Domain, interface: &Interface) -> Result<()> {
    let InterfaceSource::Vhostuser(source) = &interface.source else {
        return Ok(());
    };
    if backend(interface) != InterfaceBackendType::Passt {
        if source.path.is_none() {
            return Err(xml_error("Missing required attribute 'path' in element 'source'"));
        }
        let again = source
            .reconnect
            .as_ref()
            .is_some_and(|reconnect| reconnect.enabled == Some(true));
        refuse_if(
            source.mode == Some(VhostUserMode::Server) && again,
            "<reconnect> is for mode='client', not 'server'",
        )?;
    }
    needs_shared_memory(domain, "interface")
}

/// Checks the model and what only virtio has.
fn model(interface: &Interface, guest: Guest<'_>, name: &str) -> Result<()> {
    let kind = interface.interface_type();
    if !interface.is_virtio() {
        return refuse_if(
            matches!(kind, InterfaceType::Vdpa | InterfaceType::Vhostuser),
            format_args!(
                "{name}: model '{}' must be 'virtio'",
                interface.model.as_deref().unwrap_or_default()
            ),
        );
    }
    let Some(driver) = &interface.driver else {
        return Ok(());
    };
    for (what, size) in [
        ("rx_queue_size", driver.rx_queue_size),
        ("tx_queue_size", driver.tx_queue_size),
    ] {
        refuse_if(
            size != 0 && !size.is_power_of_two(),
            format_args!("{name}: {what} '{size}' has to be a power of two"),
        )?;
    }
    let scaled = driver.rss.is_some() || driver.rss_hash_report.is_some();
    refuse_if(
        scaled && !guest.caps.has(Flag::VirtioNetRss),
        format_args!("{name}: this QEMU binary has no receive side scaling of virtio"),
    )
}

fn team(interface: &Interface, name: &str) -> Result<()> {
    let Some(team) = &interface.teaming else {
        return Ok(());
    };
    let kind = interface.interface_type();
    match team.kind {
        TeamingType::Persistent if !interface.is_virtio() => Err(unsupported(format_args!(
            "{name}: the persistent one of a team must be of model 'virtio', not '{}'",
            interface.model.as_deref().unwrap_or_default()
        ))),
        TeamingType::Transient if !matches!(kind, InterfaceType::Hostdev | InterfaceType::Network) => {
            Err(unsupported(format_args!(
                "{name}: the transient one of a team must be of type 'hostdev' or 'network'"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, devices};

    const VIRTIO: &str = "<model type='virtio'/>";

    fn judge(kind: &str, inside: &str, flags: &[Flag]) -> Verdict {
        devices(
            "pc-q35-10.0",
            &format!("<interface type='{kind}'>{inside}</interface>"),
            flags,
        )
    }

    #[test]
    fn addresses_of_the_guest_are_of_user_mode_networking() {
        let user = [Flag::NetdevUser];
        judge("user", "<ip address='10.0.2.0' prefix='24'/>", &user).fine();
        judge("user", "", &[]).refused("no back end 'default'");
        judge("user", "<backend type='passt'/>", &user).refused("no back end 'passt'");
        judge("user", "<backend type='passt'/>", &[Flag::NetdevStream]).fine();
        judge("user", "<ip address='10.0.2.0'/><ip address='10.0.3.0'/>", &user)
            .refused("only one address of each family");
        judge("user", "<ip address='10.0.2.0'/><ip address='fd00::'/>", &user).fine();
        judge("user", "<ip address='10.0.2.0' prefix='28'/>", &user)
            .with(ErrorCode::XML_ERROR, "in range of 4-27");
        judge("user", "<ip address='fd00::' prefix='48'/>", &user).refused("must be 64");
        judge("user", "<ip address='10.0.2.0' peer='10.0.2.1'/>", &user).refused("has a peer");
        judge("ethernet", "<ip address='10.0.2.0'/>", &user).refused("for type 'user' only");
        judge(
            "ethernet",
            "<route address='10.0.2.0' prefix='24' gateway='10.0.2.1'/>",
            &user,
        )
        .refused("routes inside the guest");
    }

    #[test]
    fn what_needs_virtio_has_it() {
        let vdpa = "<source dev='/dev/vhost-vdpa-0'/>";
        judge("vdpa", vdpa, &[]).refused("no vDPA devices");
        judge("vdpa", vdpa, &[Flag::NetdevVhostVdpa]).refused("must be 'virtio'");
        judge("vdpa", &format!("{vdpa}{VIRTIO}"), &[Flag::NetdevVhostVdpa]).fine();
        let rss = format!("{VIRTIO}<driver rss='on'/>");
        judge("ethernet", &rss, &[]).refused("receive side scaling");
        judge("ethernet", &rss, &[Flag::VirtioNetRss]).fine();
        judge("ethernet", &format!("{VIRTIO}<driver rx_queue_size='300'/>"), &[])
            .refused("rx_queue_size '300' has to be a power of two");
        // What is said of other models is not looked at.
        judge(
            "ethernet",
            "<model type='e1000'/><driver rx_queue_size='300'/>",
            &[],
        )
        .fine();
    }

    #[test]
    fn vhost_user_has_a_socket_and_shared_memory() {
        judge("vhostuser", "<source type='unix' mode='client'/>", &[])
            .with(ErrorCode::XML_ERROR, "attribute 'path'");
        let source = "<source type='unix' path='/a' mode='client'/>";
        judge("vhostuser", &format!("{source}{VIRTIO}"), &[]).refused("needs memory that is shared");
        let again =
            "<source type='unix' path='/a' mode='server'><reconnect enabled='yes' timeout='1'/></source>";
        judge("vhostuser", again, &[]).refused("not 'server'");
    }

    #[test]
    fn sizes_teams_and_interrupts_are_of_certain_types() {
        let bridge = "<source bridge='br0'/>";
        judge("bridge", &format!("{bridge}<mtu size='1400'/>"), &[]).fine();
        judge("user", "<mtu size='1400'/>", &[Flag::NetdevUser]).refused("an MTU is set for types");
        let coalesce = "<coalesce><rx><frames max='5'/></rx></coalesce>";
        judge("bridge", &format!("{bridge}{coalesce}"), &[]).fine();
        judge("ethernet", coalesce, &[]).refused("coalesced for types 'network' and 'bridge'");
        judge("ethernet", "<teaming type='persistent'/>", &[]).refused("must be of model 'virtio'");
        judge("ethernet", &format!("{VIRTIO}<teaming type='persistent'/>"), &[]).fine();
        judge("ethernet", "<teaming type='transient' persistent='ua-a'/>", &[])
            .refused("must be of type 'hostdev' or 'network'");
    }
}
