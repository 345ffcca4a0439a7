//! Network interfaces of the guest.

use virt_util::uuid::Uuid;
use virt_util::xml::{
    At, Element, KeptElement, Rare, RawElement, Reader, Writer, Xml, XmlElement, XmlFlags, error_at,
    error_with,
};
use virt_util::{ErrorCode, Result};

use super::chardev::Reconnect;
use super::device_info::{DeviceInfo, VirtioOptions};
use super::hostdev::HostdevSource;
use super::private_data::{self, PrivateData};
use crate::values::MacAddress;

pub use crate::netdev::{
    Bandwidth, BandwidthRate, IpFamily, MacTableManager, MacvtapMode, NativeVlanMode, Route, VirtualPort,
    VirtualPortParameters, VirtualPortType, Vlan, VlanTag,
};
pub use crate::nwfilter::FilterReference;

xml_enum! {
    /// What a network interface is connected to.
    pub enum InterfaceType { User = "user", Ethernet = "ethernet", Vhostuser = "vhostuser", Server = "server", Client = "client", Mcast = "mcast", Network = "network", Bridge = "bridge", Internal = "internal", Direct = "direct", Hostdev = "hostdev", Udp = "udp", Vdpa = "vdpa", Null = "null", Vds = "vds" }
}

xml_enum! {
    /// Who implements the back end of a virtio interface.
    pub enum InterfaceDriverName { Qemu = "qemu", Vhost = "vhost" }
}

xml_enum! {
    /// How a virtio interface handles transmission.
    pub enum InterfaceTxMode { Iothread = "iothread", Timer = "timer" }
}

xml_enum! {
    /// The part an interface plays in a team.
    pub enum TeamingType { Persistent = "persistent", Transient = "transient" }
}

xml_enum! {
    /// State of the virtual link.
    pub enum LinkState { Up = "up", Down = "down" }
}

xml_enum! {
    /// Who provides user mode networking.
    pub enum InterfaceBackendType { Default = "default", Passt = "passt" }
}

xml_enum! {
    /// Protocol of forwarded ports.
    pub enum PortForwardProtocol { Tcp = "tcp", Udp = "udp" }
}

xml_enum! {
    /// Where the MAC address came from.
    pub enum MacType { Generated = "generated", Static = "static" }
}

xml_enum! {
    /// Which side a vhost-user interface is.
    pub enum VhostUserMode { Client = "client", Server = "server" }
}

/// A network interface.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "interface", body, check = Interface::after_read)]
pub struct Interface {
    /// Whether the host applies the receive filters that the guest sets.
    #[xml("@trustGuestRxFilters")]
    pub trust_guest_rx_filters: Option<bool>,
    /// MAC address.
    #[xml("mac", default, always)]
    pub mac: InterfaceMac,
    /// What it is connected to.
    #[xml(flatten, first)]
    pub source: InterfaceSource,
    /// Connection, routes, filters: what stands between MAC and target.
    #[xml(flatten)]
    pub link: Rare<InterfaceLink>,
    /// Name of the device on the host.
    #[xml("target", omit_empty)]
    pub target: Option<InterfaceTarget>,
    /// Name of the device in a container.
    #[xml("guest+@dev", nonempty)]
    pub guest_dev: Rare<Option<String>>,
    /// Name that the device in a container has; only live.
    #[xml("guest+@actual", nonempty)]
    pub guest_actual: Rare<Option<String>>,
    /// Model; none: the driver's default.
    #[xml("model+@type", nonempty)]
    pub model: Option<String>,
    /// Settings of a virtio interface.
    #[xml("driver", omit_empty, when = self.is_virtio())]
    pub driver: Option<Box<InterfaceDriver>>,
    /// What carries the packets on the host.
    #[xml("backend", omit_empty)]
    pub backend: Option<Box<InterfaceBackend>>,
    /// Packet filter.
    #[xml("filterref", read_when = element.child("filterref").is_some_and(|filter| filter.has_attr("filter")))]
    pub filter: Option<Box<FilterReference>>,
    /// Bytes of the send buffer.
    #[xml("tune+/sndbuf")]
    pub send_buffer: Option<u64>,
    /// Part that the interface plays in a team.
    #[xml("teaming+")]
    pub teaming: Option<Box<Teaming>>,
    /// State of the virtual link.
    #[xml("link+@state", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub link_state: Option<LinkState>,
    /// Largest packet in bytes; 0: the default.
    #[xml("mtu+@size", own, default)]
    pub mtu: u32,
    /// How many packets an interrupt may wait for.
    #[xml("coalesce/rx/frames@max", code = ErrorCode::XML_DETAIL, nonempty, default)]
    pub coalesce_rx_frames: u32,
    /// Alias, boot order, ROM and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// The driver's own data, as XML.
    #[xml(".", with = private_data, reads("privateData"))]
    pub private_data: PrivateData,
}

/// MAC address of an interface.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "mac")]
pub struct InterfaceMac {
    /// The address; none or all zero: one is made when the definition is normalized.
    #[xml("@address", own)]
    pub address: Option<MacAddress>,
    /// Where it came from (VMware).
    #[xml("@type")]
    pub kind: Option<MacType>,
    /// Whether the hypervisor checks it (VMware).
    #[xml("@check")]
    pub check: Option<bool>,
    /// The address that the guest has set; only live.
    #[xml("@currentAddress", unless(inactive), read_when = cx.has(XmlFlags::STATUS))]
    pub current: Option<MacAddress>,
}

/// What an interface is connected to.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type", check = InterfaceSource::after_read)]
pub enum InterfaceSource {
    /// User mode networking.
    #[xml(default)]
    User {
        /// Device of the host that is used (passt).
        #[xml("source@dev")]
        dev: Option<String>,
        /// Addresses and routes on the host's side.
        #[xml("source", flatten)]
        host: Rare<IpConfig>,
    },
    /// A tap device that the driver or somebody else sets up.
    Ethernet {
        /// Addresses and routes on the host's side.
        #[xml("source", flatten)]
        host: Rare<IpConfig>,
    },
    /// A process that switches packets over a vhost-user socket.
    Vhostuser(VhostUserSource),
    /// A listening TCP socket.
    Server {
        /// Address to listen on.
        #[xml("source@address", called = "source_address")]
        address: Option<String>,
        /// Number of the TCP or UDP port.
        #[xml("source@port")]
        port: i32,
    },
    /// A TCP connection.
    Client {
        /// Address of the server.
        #[xml("source@address", called = "source_address")]
        address: String,
        /// Number of the TCP or UDP port.
        #[xml("source@port")]
        port: i32,
    },
    /// A multicast group.
    Mcast {
        /// Address of the group.
        #[xml("source@address", called = "source_address")]
        address: String,
        /// Number of the TCP or UDP port.
        #[xml("source@port")]
        port: i32,
    },
    /// A virtual network.
    Network {
        /// Which network of the hypervisor is joined.
        #[xml("source@network")]
        network: String,
        /// Port group of the network.
        #[xml("source@portgroup")]
        portgroup: Option<String>,
        /// Port of the network; only live.
        #[xml("source@portid", unless(inactive))]
        portid: Option<Uuid>,
        /// Addresses and routes on the host's side.
        #[xml("source", flatten)]
        host: Rare<IpConfig>,
    },
    /// A bridge of the host.
    Bridge {
        /// Its name.
        #[xml("source@bridge", when = !*unnamed)]
        bridge: String,
        /// Only a hypervisor's own tools know its name, and no document says it.
        #[xml(skip)]
        unnamed: bool,
        /// Addresses and routes on the host's side.
        #[xml("source", flatten)]
        host: Rare<IpConfig>,
    },
    /// A network inside the hypervisor (VirtualBox).
    Internal {
        /// Which network of the hypervisor is joined.
        #[xml("source@name")]
        name: String,
    },
    /// A device of the host, shared through macvtap.
    Direct {
        /// The device.
        #[xml("source@dev")]
        dev: String,
        /// How frames are switched.
        #[xml("source@mode", default, always)]
        mode: MacvtapMode,
    },
    /// A device of the host, given to the guest.
    Hostdev(HostdevInterface),
    /// UDP.
    Udp {
        /// Address of the peer.
        #[xml("source@address", called = "source_address")]
        address: String,
        /// Port of the peer.
        #[xml("source@port")]
        port: i32,
        /// Own address.
        #[xml("source/local@address")]
        local_address: String,
        /// Own port.
        #[xml("source/local@port")]
        local_port: i32,
    },
    /// A vDPA device of the host.
    Vdpa {
        /// Its path.
        #[xml("source@dev")]
        dev: String,
    },
    /// Nothing.
    Null,
    /// A VMware distributed switch.
    Vds {
        /// Its UUID.
        #[xml("source@switchid")]
        switch_id: Uuid,
        /// Number of the port on the distributed switch.
        #[xml("source@portid", base = 0, default, always)]
        port_id: i64,
        /// Port group.
        #[xml("source@portgroupid")]
        portgroup_id: Option<String>,
        /// Number by which the switch knows the connection.
        #[xml("source@connectionid", base = 0, default, always)]
        connection_id: i64,
    },
}

impl Default for InterfaceSource {
    fn default() -> Self {
        Self::User {
            dev: None,
            host: IpConfig::default().into(),
        }
    }
}

/// A vhost-user connection of an interface.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
pub struct VhostUserSource {
    /// Kind of socket.
    #[xml("source@type", code = ErrorCode::CONFIG_UNSUPPORTED, default, always, when = self.mode.is_some())]
    pub kind: super::storage::VhostUserType,
    /// The socket.
    #[xml("source@path")]
    pub path: Option<String>,
    /// Which side the guest is.
    #[xml("source@mode")]
    pub mode: Option<VhostUserMode>,
    /// Device of the host that is used (passt).
    #[xml("source@dev")]
    pub dev: Option<String>,
    /// Whether a lost connection is made again.
    #[xml("source/reconnect", omit_empty)]
    pub reconnect: Option<Reconnect>,
}

/// A device of the host, given to the guest as its interface.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
pub struct HostdevInterface {
    /// Whether the device is taken from the host at start and given back afterwards.
    #[xml("@managed", default, with = crate::values::lenient_yes, described = bool)]
    pub managed: bool,
    /// The device.
    #[xml(flatten)]
    pub device: HostdevSource,
}

/// Addresses and routes.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct IpConfig {
    /// What the device is given inside the guest.
    #[xml("ip")]
    pub addresses: Vec<IpAddress>,
    /// Which ways the guest is given to other networks.
    #[xml("route")]
    pub routes: Vec<Route>,
}

/// An address of an interface.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "ip", check = IpAddress::after_read)]
pub struct IpAddress {
    /// An IPv4 or IPv6 address.
    #[xml("@address", own)]
    pub address: std::net::IpAddr,
    /// Family; told by the address.
    #[xml("@family", read_when = matches!(element.attr("family").as_deref(), Some("ipv4" | "ipv6")), default = if address.is_ipv6() { IpFamily::Ipv6 } else { IpFamily::Ipv4 }, always)]
    pub family: IpFamily,
    /// Length of the network's prefix; 0: not said.
    #[xml("@prefix", own, default)]
    pub prefix: u32,
    /// Address of the other end.
    #[xml("@peer", code = ErrorCode::INVALID_ARG)]
    pub peer: Option<std::net::IpAddr>,
}

impl IpAddress {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let bits = match self.address {
            std::net::IpAddr::V4(_) => 32,
            std::net::IpAddr::V6(_) => 128,
        };
        if (self.family == IpFamily::Ipv6) != self.address.is_ipv6() {
            let what = format!(
                "the address '{}' is not of family '{}'",
                self.address, self.family
            );
            cx.fail(error_at(element, At::Attribute("address"), what))?;
        }
        if self.prefix > bits {
            let what = format!(
                "a prefix of at most {bits} bits is expected, found {}",
                self.prefix
            );
            cx.fail(error_at(element, At::Attribute("prefix"), what))?;
        }
        Ok(())
    }
}

/// The address alone, without a prefix.
impl From<std::net::IpAddr> for IpAddress {
    fn from(address: std::net::IpAddr) -> Self {
        Self {
            address,
            family: match address {
                std::net::IpAddr::V4(_) => IpFamily::Ipv4,
                std::net::IpAddr::V6(_) => IpFamily::Ipv6,
            },
            prefix: 0,
            peer: None,
        }
    }
}

/// What stands between MAC and target of an interface.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
pub struct InterfaceLink {
    /// VLAN tags.
    #[xml("vlan")]
    pub vlan: Option<Box<Vlan>>,
    /// Port of a virtual switch.
    #[xml("virtualport")]
    pub virtual_port: Option<Box<VirtualPort>>,
    /// Limits on throughput.
    #[xml("bandwidth")]
    pub bandwidth: Option<Box<Bandwidth>>,
    /// Whether isolated ports of a bridge reach each other.
    #[xml("port@isolated")]
    pub isolated: Option<bool>,
    /// What a network's port really is; kept in status files.
    #[xml(".", with = actual_net, reads("actual"))]
    pub actual: Option<Box<KeptElement>>,
    /// Addresses and routes in the guest.
    #[xml(flatten)]
    pub guest: IpConfig,
    /// Ports that are forwarded to the guest (passt).
    #[xml("portForward")]
    pub port_forwards: Vec<PortForward>,
    /// Program that sets the device up.
    #[xml("script+@path", nonempty)]
    pub script: Option<String>,
    /// Program that takes the device down.
    #[xml("downscript+@path", nonempty)]
    pub down_script: Option<String>,
    /// Xen domain that runs the back end.
    #[xml("backenddomain+@name", nonempty)]
    pub backend_domain: Option<String>,
}

/// Forwarded ports.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "portForward")]
pub struct PortForward {
    /// Whether TCP or UDP ports are forwarded.
    #[xml("@proto")]
    pub protocol: PortForwardProtocol,
    /// Address on the host.
    #[xml("@address", own)]
    pub address: Option<std::net::IpAddr>,
    /// Device of the host.
    #[xml("@dev")]
    pub dev: Option<String>,
    /// Which ports; none: all.
    #[xml("range")]
    pub ranges: Vec<PortRange>,
}

/// A range of forwarded ports.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "range")]
pub struct PortRange {
    /// First port on the host.
    #[xml("@start", default)]
    pub start: u32,
    /// Last port on the host.
    #[xml("@end", default, when = self.start != 0)]
    pub end: u32,
    /// First port in the guest.
    #[xml("@to", default, when = self.start != 0)]
    pub to: u32,
    /// Whether these are left out.
    #[xml("@exclude")]
    pub exclude: Option<bool>,
}

/// Name of an interface on the host.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "target")]
pub struct InterfaceTarget {
    /// The name.
    #[xml("@dev", when = self.is_kept(w.flags()))]
    pub dev: Option<String>,
    /// Whether the driver makes the device.
    #[xml("@managed")]
    pub managed: Option<bool>,
}

/// Names that drivers make: they mean nothing at the next start.
const GENERATED_PREFIXES: &[&str] = &["vnet", "macvtap", "macvlan"];

impl InterfaceTarget {
    fn is_generated(&self) -> bool {
        self.managed != Some(false)
            && self
                .dev
                .as_deref()
                .is_some_and(|dev| GENERATED_PREFIXES.iter().any(|prefix| dev.starts_with(prefix)))
    }

    fn is_kept(&self, flags: XmlFlags) -> bool {
        !(flags.contains(XmlFlags::INACTIVE) && self.is_generated())
    }
}

/// Settings of a virtio interface.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "driver")]
pub struct InterfaceDriver {
    /// Who implements the back end.
    #[xml("@name", read_when = of_virtio(element))]
    pub name: Option<InterfaceDriverName>,
    /// How transmission is handled.
    #[xml("@txmode", read_when = of_virtio(element))]
    pub tx_mode: Option<InterfaceTxMode>,
    /// Whether I/O is signalled by an event descriptor.
    #[xml("@ioeventfd", read_when = of_virtio(element), on_off)]
    pub ioeventfd: Option<bool>,
    /// Whether the guest is spared interrupts.
    #[xml("@event_idx", read_when = of_virtio(element), on_off)]
    pub event_idx: Option<bool>,
    /// Number of queue pairs.
    #[xml("@queues", read_when = of_virtio(element), default, when = self.queues > 1)]
    pub queues: u32,
    /// Entries of the receive queue.
    #[xml("@rx_queue_size", read_when = of_virtio(element), default)]
    pub rx_queue_size: u32,
    /// Entries of the transmit queue.
    #[xml("@tx_queue_size", read_when = of_virtio(element), default)]
    pub tx_queue_size: u32,
    /// Whether receive side scaling is offered.
    #[xml("@rss", read_when = of_virtio(element), on_off)]
    pub rss: Option<bool>,
    /// Whether the hash of packets is reported.
    #[xml("@rss_hash_report", read_when = of_virtio(element), on_off)]
    pub rss_hash_report: Option<bool>,
    /// Options of virtio devices.
    #[xml(flatten)]
    pub virtio: VirtioOptions,
    /// Offloads on the host's side.
    #[xml("host", read_when = of_virtio(element), default)]
    pub host: HostOffloads,
    /// Offloads on the guest's side.
    #[xml("guest", read_when = of_virtio(element), default)]
    pub guest: GuestOffloads,
}

/// Whether settings belong to a virtio interface: of others they are not looked at.
fn of_virtio(driver: Element<'_>) -> bool {
    let model = driver
        .parent()
        .and_then(|interface| interface.child("model")?.attr("type"));
    model.is_some_and(|model| {
        VIRTIO_MODELS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&model))
    })
}

/// Offloads of a virtio interface on the host's side.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "host")]
pub struct HostOffloads {
    /// Checksums.
    #[xml("@csum", on_off)]
    pub csum: Option<bool>,
    /// Generic segmentation.
    #[xml("@gso", on_off)]
    pub gso: Option<bool>,
    /// TCP segmentation over IPv4.
    #[xml("@tso4", on_off)]
    pub tso4: Option<bool>,
    /// TCP segmentation over IPv6.
    #[xml("@tso6", on_off)]
    pub tso6: Option<bool>,
    /// Explicit congestion notification.
    #[xml("@ecn", on_off)]
    pub ecn: Option<bool>,
    /// UDP fragmentation.
    #[xml("@ufo", on_off)]
    pub ufo: Option<bool>,
    /// Mergeable receive buffers.
    #[xml("@mrg_rxbuf", on_off)]
    pub mrg_rxbuf: Option<bool>,
}

/// Offloads of a virtio interface on the guest's side.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "guest")]
pub struct GuestOffloads {
    /// Checksums.
    #[xml("@csum", on_off)]
    pub csum: Option<bool>,
    /// TCP segmentation over IPv4.
    #[xml("@tso4", on_off)]
    pub tso4: Option<bool>,
    /// TCP segmentation over IPv6.
    #[xml("@tso6", on_off)]
    pub tso6: Option<bool>,
    /// Explicit congestion notification.
    #[xml("@ecn", on_off)]
    pub ecn: Option<bool>,
    /// UDP fragmentation.
    #[xml("@ufo", on_off)]
    pub ufo: Option<bool>,
}

/// What carries the packets on the host.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "backend")]
pub struct InterfaceBackend {
    /// Who provides user mode networking.
    #[xml("@type", default)]
    pub kind: InterfaceBackendType,
    /// Device node for taps.
    #[xml("@tap", with = crate::values::tidy_path, described = String)]
    pub tap: Option<String>,
    /// Device node for vhost.
    #[xml("@vhost", with = crate::values::tidy_path, described = String)]
    pub vhost: Option<String>,
    /// Log file of passt.
    #[xml("@logFile")]
    pub log_file: Option<String>,
}

/// Part that an interface plays in a team.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "teaming")]
pub struct Teaming {
    /// The part.
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub kind: TeamingType,
    /// Alias of the persistent interface of the team.
    #[xml("@persistent")]
    pub persistent: Option<String>,
}

/// `<actual>` of status files.
mod actual_net {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<Box<KeptElement>>> {
        Ok(element
            .child("actual")
            .filter(|_| cx.has(XmlFlags::ACTUAL_NET))
            .map(|actual| Box::new(KeptElement(RawElement::copy(actual)))))
    }

    pub(super) fn write(value: &Option<Box<KeptElement>>, w: &mut Writer) {
        if let Some(raw) = value.as_ref().filter(|_| w.has(XmlFlags::ACTUAL_NET)) {
            raw.write(w, "actual");
        }
    }
}

/// Models that libvirt knows by name. Drivers that do not take any other text refuse the rest.
const KNOWN_MODELS: &[&str] = &[
    "unknown",
    "netfront",
    "rtl8139",
    "virtio",
    "e1000",
    "e1000e",
    "igb",
    "virtio-transitional",
    "virtio-non-transitional",
    "usb-net",
    "spapr-vlan",
    "lan9118",
    "scm91c111",
    "vlance",
    "vmxnet",
    "vmxnet2",
    "vmxnet3",
    "Am79C970A",
    "Am79C973",
    "82540EM",
    "82545EM",
    "82543GC",
];

/// Whether the model of an interface is one that libvirt knows by name, whatever the case of its letters.
pub fn is_known_model(model: &str) -> bool {
    KNOWN_MODELS.iter().any(|known| known.eq_ignore_ascii_case(model))
}

/// A model as libvirt writes it: one that is known in any case of letters has its own. None if a character is none of a
/// model's name.
pub fn canonical_model(model: &str) -> Option<&str> {
    let known = KNOWN_MODELS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(model));
    if let Some(known) = known {
        return Some(known);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    model.bytes().all(allowed).then_some(model)
}

/// Models of virtio's.
const VIRTIO_MODELS: &[&str] = &["virtio", "virtio-transitional", "virtio-non-transitional"];

impl Interface {
    /// Whether the model is one of virtio's, which alone has driver settings.
    pub fn is_virtio(&self) -> bool {
        self.model
            .as_deref()
            .is_some_and(|model| VIRTIO_MODELS.contains(&model))
    }

    /// What the interface is connected to.
    pub fn interface_type(&self) -> InterfaceType {
        InterfaceType::from_word(self.source.xml_tag()).unwrap_or_default()
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use InterfaceSource as S;
        // Models that are known are known in any case of letters.
        if let Some(model) = self.model.take() {
            match canonical_model(&model) {
                Some(model) => self.model = Some(model.to_owned()),
                None => {
                    let what = format!(
                        "model '{model}' of an interface: a name of letters, digits, '-' and '_' expected"
                    );
                    let at = At::Child("model");
                    cx.fail(error_with(ErrorCode::INVALID_ARG, element, at, what))?;
                }
            }
        }
        let host_side = element
            .child("source")
            .is_some_and(|source| source.child("ip").is_some() || source.child("route").is_some());
        if host_side && !matches!(self.source, S::Ethernet { .. }) {
            let what = format!(
                "addresses and routes of the host's side are those of interfaces of type 'ethernet', not '{}'",
                self.source.xml_tag()
            );
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Child("source"),
                what,
            ))?;
        }
        // The host's device has no queues of ours.
        if matches!(self.source, S::Hostdev { .. })
            && let Some(driver) = &mut self.driver
        {
            **driver = InterfaceDriver {
                virtio: std::mem::take(&mut driver.virtio),
                ..InterfaceDriver::default()
            };
        }
        if let Some(mac) = self.mac.address
            && mac.is_multicast()
        {
            let what = format!("expected unicast mac address, found multicast '{mac}'");
            cx.fail(error_at(element, At::Child("mac"), what))?;
        }
        if !matches!(
            self.source,
            S::Network { .. } | S::Bridge { .. } | S::Ethernet { .. }
        ) {
            self.filter = None;
        }
        let switched = matches!(
            self.source,
            S::Network { .. } | S::Bridge { .. } | S::Direct { .. } | S::Hostdev(_)
        );
        if self.link.virtual_port.is_some() && !switched {
            let what = format!(
                "<virtualport> element unsupported for <interface type='{}'>",
                self.source.xml_tag()
            );
            let code = ErrorCode::CONFIG_UNSUPPORTED;
            cx.fail(error_with(code, element, At::Child("virtualport"), what))?;
        }
        // The network tells the rest of its ports.
        let network = matches!(self.source, S::Network { .. });
        if let Some(port) = self.link.virtual_port.as_ref().filter(|_| switched && !network) {
            port.check_complete(element, cx)?;
        }
        if !network && let Some(bandwidth) = &self.link.bandwidth {
            bandwidth.refuse_floor(element, cx)?;
        }
        if let Some(bandwidth) = &self.link.bandwidth {
            bandwidth.refuse_class(element, cx)?;
        }
        let passt = self
            .backend
            .as_ref()
            .is_some_and(|backend| backend.kind == InterfaceBackendType::Passt);
        if !passt {
            match &mut self.source {
                S::User { dev, .. } => *dev = None,
                S::Vhostuser(source) => source.dev = None,
                _ => {}
            }
        } else if let S::Vhostuser(source) = &mut self.source {
            // Path, mode and reconnection are passt's own.
            (source.path, source.mode, source.reconnect) = (None, None, None);
        }
        if cx.has(XmlFlags::INACTIVE)
            && let Some(target) = &mut self.target
            && target.is_generated()
        {
            target.dev = None;
        }
        // vhost serves virtio alone.
        let vhost = self.is_virtio() && !matches!(self.source, S::Hostdev(_));
        if let (Some(backend), false) = (&mut self.backend, vhost) {
            backend.vhost = None;
        }
        Ok(())
    }
}

impl InterfaceSource {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let Self::Vhostuser(source) = self
            && source.mode.is_none()
        {
            source.mode = Some(VhostUserMode::Client);
        }
        let _ = (element, cx);
        Ok(())
    }
}

virt_util::xml::nothing!(IpConfig, InterfaceLink);
