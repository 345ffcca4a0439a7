//! Virtual networks: `<network>`.
//!
//! | module | holds |
//! |---|---|
//! | here | [`Network`]: the whole document |
//! | [`forward`] | how packets leave the network |
//! | [`ip`] | addresses, DHCP |
//! | [`dns`] | what the network's name server says |
//! | [`port`] | [`NetworkPort`]: a guest's place in a network |
//! | [`update`] | changes of single entries ([`Network::updated`]) |
//! | [`status`] | [`NetworkStatus`]: what is kept of a network that runs |
//!
//! A definition is read ([`Network::parse`], which also fills in what is implied and refuses contradictions), gets what has
//! to be made up ([`Network::complete`]), and is written ([`Network::format`]).

mod annotations;
pub mod dns;
pub mod forward;
pub mod ip;
pub mod port;
pub mod status;
pub mod update;

#[cfg(test)]
mod tests;

use virt_util::uuid::Uuid;
use virt_util::xml::{
    self, At, Doc, DocOptions, Element, RawElement, Reader, Xml, XmlElement, XmlFlags, error_at, error_with,
    metadata,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use dns::Dns;
use forward::{Forward, ForwardMode};
use ip::NetworkIp;

pub use port::NetworkPort;
pub use status::NetworkStatus;
pub use update::{Command, Section, Update};

use crate::domain::normalize::Randomness;
use crate::netdev::{Bandwidth, MacTableManager, Route, VirtualPort, Vlan};
use crate::values::{MacAddress, modular};

/// URI of dnsmasq's namespace.
pub const DNSMASQ_NAMESPACE: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";

/// A virtual network.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "network", own, body, declare_first(dnsmasq = DNSMASQ_NAMESPACE),
    order(name, uuid, title, description, ipv6_without_gateway, trust_guest_rx_filters, domain, bandwidth, vlan, isolated, bridge,
        mac, mtu, dns, virtual_port, port_groups, ips, routes, forward, metadata),
    check = Network::after_read)]
pub struct Network {
    /// How many guests are connected; only live, and never read.
    #[xml("@connections", default, unless(inactive), read_when = false)]
    pub connections: u32,
    /// Whether guests reach each other over IPv6 though the network has no IPv6 address.
    #[xml("@ipv6", nonempty, default)]
    pub ipv6_without_gateway: bool,
    /// Whether the host applies the receive filters that guests set.
    #[xml("@trustGuestRxFilters", helper)]
    pub trust_guest_rx_filters: Option<bool>,
    /// Name, unique on the host.
    #[xml("name", missing = ErrorCode::NO_NAME, then = check_name(&name, element, cx))]
    pub name: String,
    /// UUID; none until the definition is complete.
    #[xml("uuid", code = ErrorCode::INTERNAL_ERROR)]
    pub uuid: Option<Uuid>,
    /// One line for people.
    #[xml("title", then = check_title(title.as_deref(), element, cx))]
    pub title: Option<String>,
    /// Text for people.
    #[xml("description")]
    pub description: Option<String>,
    /// What applications keep here.
    #[xml("metadata", with = metadata)]
    pub metadata: Option<Box<RawElement>>,
    /// How packets leave; none: they do not.
    #[xml("forward")]
    pub forward: Option<Forward>,
    /// The bridge that guests are connected to.
    #[xml("bridge", default, always)]
    pub bridge: Bridge,
    /// Largest packet in bytes; 0: the default.
    #[xml("mtu+@size", nonempty, default, with = modular)]
    pub mtu: u32,
    /// MAC address of the bridge; a network that has one of its own needs one when it is stored.
    #[xml("mac@address", nonempty, then = check_mac(mac, element, cx))]
    pub mac: Option<MacAddress>,
    /// Domain of the guests' names.
    #[xml("domain", omit_empty, then = check_domain(domain.as_ref(), element, cx))]
    pub domain: Option<DnsDomain>,
    /// Name server.
    #[xml("dns", omit_empty, then = check_port_kind(element, cx))]
    pub dns: Option<Dns>,
    /// VLAN tags of guests.
    #[xml("vlan")]
    pub vlan: Option<Vlan>,
    /// Limits on throughput of the whole network.
    #[xml("bandwidth", then = check_bandwidth(bandwidth.as_ref(), element, cx))]
    pub bandwidth: Option<Bandwidth>,
    /// Whether guests do not reach each other.
    #[xml("port@isolated", helper)]
    pub isolated: Option<bool>,
    /// Addresses of the host in the network, with what is served there.
    #[xml("ip")]
    pub ips: Vec<NetworkIp>,
    /// Networks behind guests.
    #[xml("route", then = check_gateways(&name, &ips, &routes, element, cx))]
    pub routes: Vec<Route>,
    /// Port of a virtual switch that guests get.
    #[xml("virtualport", omit_empty)]
    pub virtual_port: Option<VirtualPort>,
    /// Groups that guests can choose from.
    #[xml("portgroup")]
    pub port_groups: Vec<PortGroup>,
    /// dnsmasq: lines for its configuration.
    #[xml("dnsmasq:options+", omit_empty, unless(no_namespaces))]
    pub dnsmasq_options: Option<DnsmasqOptions>,
}

/// The bridge that guests are connected to.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bridge", own)]
pub struct Bridge {
    /// Its name; for a network with a bridge of its own, none until the network is stored.
    #[xml("@name", nonempty)]
    pub name: Option<String>,
    /// Zone of the host's firewall.
    #[xml("@zone", nonempty)]
    pub zone: Option<String>,
    /// Whether it takes part in the spanning tree protocol; of networks with a bridge of their own.
    #[xml("@stp", nonempty, with = stp, described = virt_util::xml::OnOff)]
    pub stp: Option<bool>,
    /// Seconds until it forwards; of networks with a bridge of their own.
    #[xml("@delay", nonempty, with = delay)]
    pub delay: Option<u64>,
    /// Who maintains the forwarding table.
    #[xml("@macTableManager", nonempty)]
    pub mac_table_manager: Option<MacTableManager>,
}

/// Seconds, which are written as a signed number.
mod delay {
    use std::fmt::Write as _;

    use virt_util::xml::{ValueError, parse_integer};

    pub(super) fn parse(text: &str) -> Result<u64, ValueError> {
        parse_integer(text, 10)
    }

    pub(super) fn format(seconds: &u64, out: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(out, "{}", seconds.cast_signed());
    }
}

/// Anything but `off` is on.
mod stp {
    use virt_util::xml::ValueError;

    pub(super) fn parse(text: &str) -> Result<bool, ValueError> {
        Ok(text != "off")
    }

    pub(super) use virt_util::xml::format_on_off as format;
}

/// Domain of the guests' names.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "domain")]
pub struct DnsDomain {
    /// The domain; without one the rest means nothing.
    #[xml("@name")]
    pub name: Option<String>,
    /// Whether questions about names in it are never sent on.
    #[xml("@localOnly", when = self.name.is_some())]
    pub local_only: Option<bool>,
    /// Whether the host's resolver asks the network about names in it.
    #[xml("@register", when = self.name.is_some())]
    pub register: Option<bool>,
}

/// A group of ports that guests can choose.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "portgroup",
    own,
    body,
    order(name, default, trust_guest_rx_filters, virtual_port, bandwidth, vlan)
)]
pub struct PortGroup {
    /// By which interfaces of guests ask for it.
    #[xml("@name", nonempty)]
    pub name: String,
    /// Whether guests that choose none are in it.
    #[xml("@default", default, with = crate::netdev::yes, described = bool)]
    pub default: bool,
    /// Whether the host applies the receive filters that guests set.
    #[xml("@trustGuestRxFilters", helper)]
    pub trust_guest_rx_filters: Option<bool>,
    /// VLAN tags.
    #[xml("vlan")]
    pub vlan: Option<Vlan>,
    /// Port of a virtual switch.
    #[xml("virtualport", omit_empty)]
    pub virtual_port: Option<VirtualPort>,
    /// Limits on throughput of each guest.
    #[xml("bandwidth", then = check_bandwidth(bandwidth.as_ref(), element, cx))]
    pub bandwidth: Option<Bandwidth>,
}

/// Lines for dnsmasq's configuration.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "dnsmasq:options", ns(dnsmasq = DNSMASQ_NAMESPACE), absent = DnsmasqOptions::is_void)]
pub struct DnsmasqOptions {
    /// The lines.
    #[xml("dnsmasq:option")]
    pub options: Vec<DnsmasqOption>,
}

/// A line for dnsmasq's configuration.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "dnsmasq:option", code = ErrorCode::INTERNAL_ERROR)]
pub struct DnsmasqOption {
    /// The line.
    #[xml("@value")]
    pub value: String,
}

impl DnsmasqOptions {
    fn is_void(element: Element<'_>) -> bool {
        element.child_in(DNSMASQ_NAMESPACE, "option").is_none()
    }
}

fn check_name(name: &str, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match name.contains('/') {
        true => {
            let what = format_args!("invalid char in name '{name}': '/'");
            let error = error_with(ErrorCode::XML_DETAIL, element, At::Child("name"), what);
            cx.fail(error.in_domain(ErrorDomain::XML))
        }
        false => Ok(()),
    }
}

fn check_title(title: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match title.is_some_and(|title| title.contains('\n')) {
        true => cx.fail(error_at(element, At::Child("title"), "a title is one line")),
        false => Ok(()),
    }
}

fn check_domain(domain: Option<&DnsDomain>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match domain.is_some_and(|domain| domain.register == Some(true) && domain.local_only != Some(true)) {
        true => cx.fail(error_with(
            ErrorCode::CONFIG_UNSUPPORTED,
            element,
            At::Child("domain"),
            "attribute 'register=yes' in <domain> element requires 'localOnly=yes'",
        )),
        false => Ok(()),
    }
}

fn check_bandwidth(bandwidth: Option<&Bandwidth>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match bandwidth {
        Some(bandwidth) => {
            bandwidth.refuse_floor(element, cx)?;
            bandwidth.refuse_class(element, cx)
        }
        None => Ok(()),
    }
}

fn check_mac(mac: Option<MacAddress>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match mac.filter(|mac| mac.is_multicast()) {
        Some(mac) => {
            let what = format_args!("invalid multicast bridge mac address '{mac}'");
            cx.fail(error_at(element, At::Child("mac"), what))
        }
        None => Ok(()),
    }
}

/// The port of a network says its kind; that is told before what else is wrong with it.
fn check_port_kind(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match element.child("virtualport").filter(|port| !port.has_attr("type")) {
        Some(port) => {
            let error = error_at(port, At::Attribute("type"), "'type' is missing");
            cx.fail(error.in_domain(ErrorDomain::NONE))
        }
        None => Ok(()),
    }
}

/// A gateway must be reachable: in one of the host's own networks.
fn check_gateways(
    name: &str,
    ips: &[NetworkIp],
    routes: &[Route],
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    for route in routes {
        let reaches = |ip: &NetworkIp| {
            let net = |address| {
                ip.prefix()
                    .and_then(|prefix| virt_util::ip::network(address, prefix))
            };
            ip.address.is_ipv6() == route.gateway.is_ipv6()
                && net(ip.address).is_some_and(|own| Some(own) == net(route.gateway))
        };
        if !ips.iter().any(reaches) {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Child("route"),
                format_args!(
                    "gateway '{}' is in no subnet of network '{name}'",
                    virt_util::ip::format(route.gateway),
                ),
            ))?;
        }
    }
    Ok(())
}

impl Network {
    /// Reads a network from text, fills in what is implied and refuses contradictions.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed; `NO_NAME`, `XML_ERROR`, `CONFIG_UNSUPPORTED` and others for what is in
    /// it, as in libvirt.
    pub fn parse(source: &str, flags: XmlFlags, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NETWORK);
        Self::from_element(Doc::parse_with(source, &options)?.root(), flags)
            .map_err(|error| error.in_domain_if_none(ErrorDomain::NETWORK))
    }

    /// [`Network::parse`] from the element.
    ///
    /// # Errors
    /// As there.
    pub fn from_element(element: Element<'_>, flags: XmlFlags) -> Result<Self> {
        xml::check_root(element, "network")?;
        Self::read(element, &mut Reader::new(flags))
    }

    /// Gives a UUID to a network without one. Whether it had none.
    pub fn complete(&mut self, random: &dyn Randomness) -> bool {
        crate::values::complete_uuid(&mut self.uuid, random)
    }

    /// Gives a MAC address to the bridge of a network that has one of its own, and takes it from others, as it must be when
    /// the network is stored. Whether one was made.
    pub fn complete_mac(&mut self, random: &dyn Randomness) -> bool {
        if !self.mode().has_own_bridge() {
            self.mac = None;
            return false;
        }
        if self.mac.is_some() {
            return false;
        }
        let mut bytes = [0; 3];
        random.fill(&mut bytes);
        let [a, b, c] = bytes;
        self.mac = Some(MacAddress([0x52, 0x54, 0, a, b, c]));
        true
    }

    /// Writes the network as libvirt does. [`XmlFlags::INACTIVE`] is for the definition of the next start.
    pub fn format(&self, flags: XmlFlags) -> String {
        xml::to_string(self, flags)
    }

    /// How packets leave.
    pub fn mode(&self) -> ForwardMode {
        self.forward
            .as_ref()
            .map_or(ForwardMode::None, |forward| forward.mode)
    }

    /// The port group of that name, or, without one, the default.
    pub fn port_group(&self, name: Option<&str>) -> Option<&PortGroup> {
        self.port_groups
            .iter()
            .find(|group| name.map_or(group.default, |name| group.name == name))
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if !metadata::counts(element) {
            self.metadata = None;
        }
        // A domain without a name is none.
        self.domain.take_if(|domain| domain.name.is_none());
        self.check_mode(element, cx)?;
        // A forward element that says "none" says as much as no element.
        if self.mode() == ForwardMode::None {
            self.forward = None;
        }
        self.fill_in();
        Ok(())
    }

    /// What the way in which packets leave allows.
    fn check_mode(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use ForwardMode as M;
        let mode = self.mode();
        let forward = Forward::default();
        let forward = self.forward.as_ref().unwrap_or(&forward);
        let bridge = &self.bridge;
        let mut refuse = |at: &'static str, wrong: bool, what: &str| match wrong {
            true => cx.fail(error_at(
                element,
                At::Child(at),
                format_args!("{what} in {mode} mode (network '{}')", self.name),
            )),
            false => Ok(()),
        };
        match mode {
            M::None => {}
            M::Route | M::Nat => {
                refuse("forward", self.ips.is_empty(), "forwarding without an IP address")?;
                refuse(
                    "forward",
                    forward.device_count() > 1,
                    "more than one forwarding interface is not allowed",
                )?;
            }
            M::Open => refuse(
                "forward",
                forward.device_count() > 0,
                "forward dev is not allowed",
            )?,
            M::Bridge | M::Private | M::Vepa | M::Passthrough | M::Hostdev => {
                if mode != M::Bridge {
                    refuse("bridge", bridge.name.is_some(), "bridge name is not allowed")?;
                    refuse("bridge", bridge.zone.is_some(), "bridge zone is not allowed")?;
                    refuse(
                        "bridge",
                        bridge.mac_table_manager.is_some(),
                        "bridge macTableManager setting is not allowed",
                    )?;
                }
                let own = bridge.delay.unwrap_or(0) != 0 || bridge.stp.is_some() || bridge.zone.is_some();
                refuse(
                    "bridge",
                    own,
                    "bridge delay/stp/zone options (of open, route, nat, and isolated mode) are not allowed",
                )?;
                let both = bridge.name.is_some() && (forward.device_count() > 0 || forward.pf.is_some());
                refuse(
                    "bridge",
                    both,
                    "a bridge name beside a forward dev is not allowed",
                )?;
                refuse(
                    "mtu",
                    self.mtu != 0,
                    "mtu size (of open, route, nat, and isolated mode) is not allowed",
                )?;
            }
        }
        Ok(())
    }

    /// What is implied.
    fn fill_in(&mut self) {
        if self.mode().has_own_bridge() {
            self.bridge.stp.get_or_insert(true);
            self.bridge.delay.get_or_insert(0);
        } else {
            (self.bridge.stp, self.bridge.delay) = (None, None);
        }
    }
}
