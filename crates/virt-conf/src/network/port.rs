//! A guest's place in a network: `<networkport>`.

use virt_util::uuid::Uuid;
use virt_util::xml::{
    self, At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::forward::ForwardDriver;
use crate::domain::hostdev::HostPciAddress;
use crate::netdev::{Bandwidth, MacTableManager, MacvtapMode, VirtualPort, Vlan};
use crate::values::MacAddress;

/// A guest's place in a network.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "networkport", body)]
pub struct NetworkPort {
    /// Its UUID.
    #[xml("uuid", code = ErrorCode::INTERNAL_ERROR)]
    pub uuid: Uuid,
    /// Name of the guest.
    #[xml("owner+/name")]
    pub owner_name: String,
    /// UUID of the guest.
    #[xml("owner+/uuid", code = ErrorCode::INTERNAL_ERROR)]
    pub owner_uuid: Uuid,
    /// Port group of the network.
    #[xml("group")]
    pub group: Option<String>,
    /// MAC address of the guest's interface.
    #[xml("mac+@address", nonempty, code = ErrorCode::INTERNAL_ERROR)]
    pub mac: MacAddress,
    /// Port of a virtual switch.
    #[xml("virtualport", omit_empty)]
    pub virtual_port: Option<VirtualPort>,
    /// Limits on throughput.
    #[xml("bandwidth")]
    pub bandwidth: Option<Bandwidth>,
    /// VLAN tags.
    #[xml("vlan")]
    pub vlan: Option<Vlan>,
    /// Whether guests do not reach each other.
    #[xml("port@isolated")]
    pub isolated: Option<bool>,
    /// Whether the host applies the receive filters that the guest sets.
    #[xml("rxfilters@trustGuest")]
    pub trust_guest_rx_filters: Option<bool>,
    /// What the guest is plugged into; none until the network driver has decided.
    #[xml("plug", with = plug, described = Plug, read_when = is_plugged(element))]
    pub plug: Option<Plug>,
}

/// libvirt has a word for no plug.
fn is_plugged(element: Element<'_>) -> bool {
    let kind = element.child("plug").and_then(|plug| plug.attr("type"));
    kind.is_some_and(|kind| kind != "none")
}

/// What a guest is plugged into.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "plug", union = "@type")]
pub enum Plug {
    /// A network's own bridge.
    Network(BridgePlug),
    /// A bridge of the host.
    Bridge(BridgePlug),
    /// A device of the host, shared through macvtap.
    Direct(DirectPlug),
    /// A PCI device of the host.
    #[xml("hostdev-pci")]
    HostdevPci(PciPlug),
}

/// A plug is told by the first `<plug>`; its driver and its address are looked for in all of them.
mod plug {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Plug> {
        let joined = element
            .parent()
            .and_then(|port| port.joined_child("plug"))
            .unwrap_or(element);
        let mut plug = Plug::read(element, cx)?;
        if let Plug::HostdevPci(pci) = &mut plug {
            pci.driver = xml::read::child(joined, cx, "driver")?;
            match xml::read::child(joined, cx, "address")? {
                Some(address) => pci.address = address,
                None => {
                    let what = "<address> is missing: which PCI device it is";
                    cx.fail(error_at(element, At::Text, what))?;
                }
            }
        }
        Ok(plug)
    }

    pub(super) fn write(value: &Plug, w: &mut Writer, name: &'static str) {
        value.write(w, name);
    }
}

/// A bridge.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgePlug {
    /// Its name.
    #[xml("@bridge", own)]
    pub bridge: String,
    /// Who maintains its forwarding table.
    #[xml("@macTableManager", own)]
    pub mac_table_manager: Option<MacTableManager>,
}

/// A device of the host, shared through macvtap.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectPlug {
    /// Its name.
    #[xml("@dev", own)]
    pub device: String,
    /// How frames are switched.
    #[xml("@mode", own, default, always)]
    pub mode: MacvtapMode,
}

/// A PCI device of the host.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct PciPlug {
    /// Whether it is taken from the host when it is used.
    #[xml("@managed")]
    pub managed: Option<bool>,
    /// The host's driver for it.
    #[xml("driver", omit_empty, read_when = false)]
    pub driver: Option<ForwardDriver>,
    /// The device.
    #[xml("address", default, always, keep_empty, read_when = false)]
    pub address: HostPciAddress,
}

impl NetworkPort {
    /// Reads a port from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed; `INTERNAL_ERROR` for a port without UUID, owner or MAC address, as in
    /// libvirt; `XML_ERROR` for wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NETWORK);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::NETWORK))
    }

    /// Reads a port from its element.
    ///
    /// # Errors
    /// As [`NetworkPort::parse`].
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        xml::check_root(element, "networkport")?;
        let owner = element.joined_child_or_ghost("owner");
        let text =
            |element: Element<'_>, name| element.child(name).is_some_and(|child| !child.text().is_empty());
        for (there, what) in [
            (text(element, "uuid"), "uuid"),
            (text(owner, "name"), "owner name"),
            (text(owner, "uuid"), "owner UUID"),
            (
                element
                    .joined_child("mac")
                    .and_then(|mac| mac.attr("address"))
                    .is_some_and(|mac| !mac.is_empty()),
                "mac",
            ),
        ] {
            if !there {
                return Err(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Text,
                    format_args!("network port has no {what}"),
                ));
            }
        }
        Self::read(element, &mut Reader::new(XmlFlags::empty()))
    }

    /// Writes the port as libvirt does.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }
}
