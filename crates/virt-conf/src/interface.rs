//! Network interfaces of the host: `<interface>` at the root of a document.
//!
//! Not the guest's interfaces, which are [`crate::domain::interface`].

use virt_util::xml::{
    self, At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::netdev::IpFamily;

xml_enum! {
    /// When an interface starts.
    pub enum StartMode { None = "none", Onboot = "onboot", Hotplug = "hotplug" }
}

xml_enum! {
    /// State of an interface's link.
    pub enum LinkState { Unknown = "unknown", NotPresent = "notpresent", Down = "down", LowerLayerDown = "lowerlayerdown", Testing = "testing", Dormant = "dormant", Up = "up" }
}

xml_enum! {
    /// How a bond uses its interfaces.
    pub enum BondMode { BalanceRr = "balance-rr", ActiveBackup = "active-backup", BalanceXor = "balance-xor", Broadcast = "broadcast", Ieee8023ad = "802.3ad", BalanceTlb = "balance-tlb", BalanceAlb = "balance-alb" }
}

xml_enum! {
    /// How the link is asked for its state.
    pub enum MiiCarrier { Ioctl = "ioctl", Netif = "netif" }
}

xml_enum! {
    /// Which interfaces of a bond are probed by ARP.
    pub enum ArpValidate { Active = "active", Backup = "backup", All = "all" }
}

/// A network interface of the host.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "interface", own, body, check = HostInterface::after_read)]
pub struct HostInterface {
    /// What it is; written first.
    #[xml(flatten, first)]
    pub kind: InterfaceTag,
    /// What the host calls the interface, as in `eth0`.
    #[xml("@name")]
    pub name: String,
    /// When it starts.
    #[xml("start+@mode", nonempty)]
    pub start: Option<StartMode>,
    /// Largest packet in bytes; 0: the default.
    #[xml("mtu+@size", nonempty, default, code = ErrorCode::INTERNAL_ERROR, reported_by = ErrorDomain::NONE)]
    pub mtu: u32,
    /// Addresses, by family.
    #[xml("protocol")]
    pub protocols: Vec<Protocol>,
    /// The link; bridges have none.
    #[xml("link", omit_empty)]
    pub link: Option<Link>,
    /// What it is made of.
    #[xml(".", with = body, shape = body_shape)]
    pub body: InterfaceBody,
}

/// The word for what an interface is.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceTag {
    /// Whether it is a device, a bridge, a bond or a VLAN.
    #[xml("@type")]
    pub word: InterfaceKind,
}

xml_enum! {
    /// What an interface is.
    pub enum InterfaceKind { Ethernet = "ethernet", Bridge = "bridge", Bond = "bond", Vlan = "vlan" }
}

/// What an interface is made of, by what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum InterfaceBody {
    /// A device, with its MAC address as it was written.
    Ethernet(Option<String>),
    /// A bridge.
    Bridge(HostBridge),
    /// A bond.
    Bond(Bond),
    /// A VLAN.
    Vlan(HostVlan),
}

impl Default for InterfaceBody {
    fn default() -> Self {
        Self::Ethernet(None)
    }
}

/// Addresses of one family.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "protocol", own, body)]
pub struct Protocol {
    /// Whether IPv4 or IPv6 is meant.
    #[xml("@family")]
    pub family: IpFamily,
    /// Addresses come from routers; IPv6 only.
    #[xml("autoconf", read_when = family == IpFamily::Ipv6)]
    pub autoconf: bool,
    /// Addresses come over DHCP.
    #[xml("dhcp")]
    pub dhcp: Option<DhcpClient>,
    /// Addresses, as they were written.
    #[xml("ip")]
    pub addresses: Vec<HostAddress>,
    /// Where other packets go, as it was written.
    #[xml("route@gateway", nonempty)]
    pub gateway: Option<String>,
}

/// Addresses come over DHCP.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "dhcp")]
pub struct DhcpClient {
    /// Whether name servers come along.
    #[xml("@peerdns")]
    pub peer_dns: Option<bool>,
}

/// An address.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "ip", own)]
pub struct HostAddress {
    /// The address, as it was written.
    #[xml("@address")]
    pub address: Option<String>,
    /// Length of the network's prefix; 0: not said.
    #[xml("@prefix", helper, base = 0, default)]
    pub prefix: i32,
}

/// State of the link.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "link")]
pub struct Link {
    /// Megabits per second; 0: not known.
    #[xml("@speed", default)]
    pub speed: u32,
    /// What the link does, as the host says.
    #[xml("@state", nonempty)]
    pub state: Option<LinkState>,
}

/// A bridge.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "bridge", own, body)]
pub struct HostBridge {
    /// Whether it takes part in the spanning tree protocol.
    #[xml("@stp", on_off, read_when = says_stp(element))]
    pub stp: Option<bool>,
    /// Seconds until it forwards, as it was written.
    #[xml("@delay", read_when = says_stp(element))]
    pub delay: Option<String>,
    /// Its interfaces: devices, bonds and VLANs.
    #[xml("interface", read_when = says_stp(element))]
    pub interfaces: Vec<Part>,
}

/// A bridge that says of its protocol what libvirt does not know is one that says nothing at all.
fn says_stp(element: Element<'_>) -> bool {
    element
        .attr("stp")
        .is_none_or(|stp| matches!(&*stp, "on" | "off"))
}

/// Interfaces that act as one.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "bond", own, body, order(mode, interfaces, mii, arp), check = Bond::after_read)]
pub struct Bond {
    /// How they are used.
    #[xml("@mode", nonempty)]
    pub mode: Option<BondMode>,
    /// Their links are watched.
    #[xml("miimon+")]
    pub mii: Option<MiiMonitor>,
    /// They are probed by ARP; not while links are watched.
    #[xml("arpmon+")]
    pub arp: Option<ArpMonitor>,
    /// The interfaces: devices.
    #[xml("interface")]
    pub interfaces: Vec<Part>,
}

/// Links are watched.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "miimon", own)]
pub struct MiiMonitor {
    /// Every so many milliseconds.
    #[xml("@freq", nonempty)]
    pub frequency: i32,
    /// Milliseconds until a link counts as down.
    #[xml("@downdelay", nonempty, default, when = self.down_delay > 0)]
    pub down_delay: i32,
    /// Milliseconds until a link counts as up.
    #[xml("@updelay", nonempty, default, when = self.up_delay > 0)]
    pub up_delay: i32,
    /// How.
    #[xml("@carrier", nonempty)]
    pub carrier: Option<MiiCarrier>,
}

/// Interfaces are probed by ARP.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "arpmon", own)]
pub struct ArpMonitor {
    /// Every so many milliseconds.
    #[xml("@interval", nonempty)]
    pub interval: i32,
    /// The address that is asked for.
    #[xml("@target", nonempty)]
    pub target: String,
    /// Which are probed.
    #[xml("@validate", nonempty)]
    pub validate: Option<ArpValidate>,
}

/// A VLAN.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "vlan", own)]
pub struct HostVlan {
    /// Its tag, as it was written.
    #[xml("@tag", nonempty)]
    pub tag: String,
    /// The interface that carries it.
    #[xml("interface+@name", nonempty)]
    pub device: String,
}

/// An interface in a bridge or bond: no start, no addresses of its own.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "interface", own, body)]
pub struct Part {
    /// What it is; written first.
    #[xml(flatten, first, then = Part::check_kind(kind.word, element, cx))]
    pub kind: InterfaceTag,
    /// What the host calls the interface, as in `eth0`.
    #[xml("@name")]
    pub name: String,
    /// Speed and condition of the connection.
    #[xml("link", omit_empty)]
    pub link: Option<Link>,
    /// What it is made of.
    #[xml(".", with = body, shape = part_shape)]
    pub body: InterfaceBody,
}

fn body_shape() -> &'static xml::ElementSchema {
    xml::describe!("InterfaceBody", "", "What an interface is made of." => {
        /// What an interface is made of.
        "." => parts: shape(part_shape),
        /// A bridge and the interfaces in it.
        "bridge" => bridge: element(HostBridge),
    })
}

fn part_shape() -> &'static xml::ElementSchema {
    xml::describe!("InterfacePart", "", "What an interface in a bridge or bond is made of." => {
        /// MAC address of a device, as it was written.
        "mac@address" => mac: value(String),
        /// A bond and the devices in it.
        "bond" => bond: element(Bond),
        /// A VLAN and the device below it.
        "vlan" => vlan: element(HostVlan),
    })
}

/// The element for what an interface is.
mod body {
    use super::*;

    fn part<T: XmlElement>(element: Element<'_>, cx: &mut Reader, name: &'static str) -> Result<T> {
        let child = element
            .child(name)
            .ok_or_else(|| xml::missing(element, At::Child(name)))?;
        T::read(child, cx)
    }

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<InterfaceBody> {
        // Depth is bounded here: devices end it, and bonds hold nothing but devices.
        Ok(match element.attr("type").as_deref() {
            Some("bridge") => InterfaceBody::Bridge(part(element, cx, "bridge")?),
            Some("bond") => InterfaceBody::Bond(part(element, cx, "bond")?),
            Some("vlan") => InterfaceBody::Vlan(part(element, cx, "vlan")?),
            _ => InterfaceBody::Ethernet(
                element
                    .joined_child("mac")
                    .and_then(|mac| mac.attr("address").map(|address| address.into_owned()))
                    .filter(|address| !address.is_empty()),
            ),
        })
    }

    pub(super) fn write(value: &InterfaceBody, w: &mut Writer) {
        match value {
            InterfaceBody::Ethernet(None) => {}
            InterfaceBody::Ethernet(Some(mac)) => {
                w.start("mac");
                w.attribute("address", mac);
                w.end("mac");
            }
            InterfaceBody::Bridge(bridge) => bridge.write(w, "bridge"),
            InterfaceBody::Bond(bond) => bond.write(w, "bond"),
            InterfaceBody::Vlan(vlan) => vlan.write(w, "vlan"),
        }
    }
}

impl Part {
    /// Not every kind is part of every other.
    fn check_kind(kind: InterfaceKind, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let in_bond = element.parent().is_some_and(|parent| parent.is("bond"));
        let allowed: &[InterfaceKind] = match in_bond {
            true => &[InterfaceKind::Ethernet],
            false => &[InterfaceKind::Ethernet, InterfaceKind::Bond, InterfaceKind::Vlan],
        };
        if !allowed.contains(&kind) {
            let words: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
            let what = format!(
                "interface has unsupported type '{kind}': {} expected here",
                words.join(", ")
            );
            cx.fail(error_at(element, At::Attribute("type"), what))?;
        }
        Ok(())
    }
}

impl Bond {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        if self.mii.is_some() {
            self.arp = None;
        }
        Ok(())
    }
}

impl HostInterface {
    /// Reads an interface from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR` for wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::INTERFACE);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::INTERFACE))
    }

    /// Reads an interface from its element.
    ///
    /// # Errors
    /// As [`HostInterface::parse`].
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        xml::check_root(element, "interface")?;
        Self::read(element, &mut Reader::new(XmlFlags::empty()))
    }

    /// Writes the interface as libvirt does.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }

    /// Its MAC address as it was written, if it is a device that has one.
    pub fn mac(&self) -> Option<&str> {
        match &self.body {
            InterfaceBody::Ethernet(mac) => mac.as_deref(),
            _ => None,
        }
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.mtu > 100_000 {
            let what = format!("<mtu> has size {}, more than 100000", self.mtu);
            cx.fail(error_at(element, At::Child("mtu"), what))?;
        }
        if self.kind.word == InterfaceKind::Bridge {
            self.link = None;
        }
        for protocol in &mut self.protocols {
            protocol.addresses.retain(|address| address.address.is_some());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_a_size_that_links_carry() {
        let refusal = |size: &str| {
            let source = format!("<interface type='ethernet' name='e'><mtu size='{size}'/></interface>");
            let error = HostInterface::parse(&source, "i").map(|_| ()).expect_err(size);
            (error.code(), error.domain())
        };
        assert_eq!(refusal("100001"), (ErrorCode::XML_ERROR, ErrorDomain::INTERFACE));
        assert_eq!(refusal("1a"), (ErrorCode::INTERNAL_ERROR, ErrorDomain::NONE));
    }

    #[test]
    fn a_bridge_of_an_unknown_protocol_says_nothing() {
        let bridge = |stp: &str| {
            let source = format!(
                "<interface type='bridge' name='br0'><bridge stp='{stp}' delay='4'><interface type='ethernet' name='eth0'/></bridge></interface>"
            );
            HostInterface::parse(&source, "i").map(|interface| interface.format())
        };
        let known = bridge("off").unwrap();
        assert!(
            known.contains("stp='off' delay='4'") && known.contains("eth0"),
            "{known}"
        );
        let unknown = bridge("perhaps").unwrap();
        assert!(
            !unknown.contains("delay") && !unknown.contains("eth0"),
            "{unknown}"
        );
    }
}
