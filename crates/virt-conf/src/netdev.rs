//! What network interfaces, networks and their ports share: VLAN tags, ports of virtual switches, limits on throughput,
//! routes.

use std::net::IpAddr;

use virt_util::uuid::Uuid;
use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result, ip};

use crate::domain::normalize::Randomness;

xml_enum! {
    /// How a macvtap device switches frames.
    pub enum MacvtapMode { Vepa = "vepa", Private = "private", Bridge = "bridge", Passthrough = "passthrough" }
}

xml_enum! {
    /// The kind of virtual switch port.
    pub enum VirtualPortType { Qbg = "802.1Qbg", Qbh = "802.1Qbh", Openvswitch = "openvswitch", Midonet = "midonet" }
}

xml_enum! {
    /// Who maintains the forwarding table of the bridge.
    pub enum MacTableManager { Kernel = "kernel", Libvirt = "libvirt" }
}

xml_enum! {
    /// How packets of the native VLAN leave.
    pub enum NativeVlanMode { Tagged = "tagged", Untagged = "untagged" }
}

/// `yes` or `no` in any case, as libvirt reads a few old attributes: another word is an error where `strict`, else `no`.
pub(crate) mod yes {
    use virt_util::xml::ValueError;

    pub(crate) fn parse(text: &str) -> Result<bool, ValueError> {
        Ok(text.eq_ignore_ascii_case("yes"))
    }

    pub(crate) fn format(value: &bool, out: &mut String) {
        out.push_str(if *value { "yes" } else { "no" });
    }
}

/// VLAN tags.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "vlan", reported_by = ErrorDomain::NONE, check = Vlan::after_read)]
pub struct Vlan {
    /// Whether the guest sees the tags.
    #[xml("@trunk", default, with = yes, described = bool)]
    pub trunk: bool,
    /// Which VLANs packets may belong to.
    #[xml("tag")]
    pub tags: Vec<VlanTag>,
}

/// A VLAN tag.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "tag", check = VlanTag::after_read)]
pub struct VlanTag {
    /// Its number, 0 to 4095.
    #[xml("@id")]
    pub id: u32,
    /// Whether untagged packets belong to it.
    #[xml("@nativeMode")]
    pub native: Option<NativeVlanMode>,
}

impl VlanTag {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.id > 4095 {
            cx.fail(error_at(
                element,
                At::Attribute("id"),
                format_args!("{} is above 4095, the last VLAN", self.id),
            ))?;
        }
        Ok(())
    }
}

impl Vlan {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.tags.is_empty() {
            cx.fail(error_at(element, At::Text, "<vlan> needs a <tag id='…'/>"))?;
        }
        let native = self.tags.iter().filter(|tag| tag.native.is_some()).count();
        if native > 1 {
            cx.fail(error_at(
                element,
                At::Child("tag"),
                "two <tag> have 'nativeMode': one VLAN is the native one",
            ))?;
        }
        let Some(trunk) = element.attr("trunk").filter(|trunk| !trunk.is_empty()) else {
            self.trunk = self.tags.len() > 1;
            return Ok(());
        };
        let why = if self.trunk {
            return Ok(());
        } else if self.tags.len() > 1 {
            "trunk='yes' is required for more than one vlan tag"
        } else if native > 0 {
            "trunk='no' is not allowed with a native vlan id"
        } else if !trunk.eq_ignore_ascii_case("no") {
            "expected 'yes' or 'no'"
        } else {
            return Ok(());
        };
        cx.fail(error_at(
            element,
            At::Attribute("trunk"),
            format_args!("invalid \"trunk='{trunk}'\" in <vlan> - {why}"),
        ))
    }
}

/// Port of a virtual switch.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "virtualport", reported_by = ErrorDomain::NONE, check = VirtualPort::after_read)]
pub struct VirtualPort {
    /// The kind of switch.
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED, reported_by = ErrorDomain::NONE)]
    pub kind: Option<VirtualPortType>,
    /// What the switch wants to know.
    #[xml("parameters", omit_empty)]
    pub parameters: Option<VirtualPortParameters>,
}

/// What a switch wants to know of a port.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "parameters", own, reported_by = ErrorDomain::NONE,
    order(manager_id, type_id, type_id_version, instance_id, profile_id, interface_id))]
pub struct VirtualPortParameters {
    /// VSI manager (802.1Qbg).
    #[xml("@managerid", with = byte)]
    pub manager_id: Option<u8>,
    /// VSI type (802.1Qbg), 24 bits.
    #[xml("@typeid", with = three_bytes)]
    pub type_id: Option<u32>,
    /// Version of the VSI type (802.1Qbg).
    #[xml("@typeidversion", with = byte)]
    pub type_id_version: Option<u8>,
    /// VSI instance (802.1Qbg).
    #[xml("@instanceid")]
    pub instance_id: Option<Uuid>,
    /// Interface (Open vSwitch, MidoNet).
    #[xml("@interfaceid")]
    pub interface_id: Option<Uuid>,
    /// Port profile (802.1Qbh, Open vSwitch), at most 39 bytes.
    #[xml("@profileid", nonempty)]
    pub profile_id: Option<String>,
}

/// Numbers in any of C's notations, up to a greatest one; a negative one counts back from 2^32 first.
mod byte {
    use virt_util::xml::{ValueError, push_unsigned};

    use crate::values::lenient::wrapping;

    pub(super) fn parse(text: &str) -> Result<u8, ValueError> {
        wrapping(text, 0)
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(|| ValueError::expected("a whole number from 0 to 255"))
    }

    pub(super) fn format(value: &u8, out: &mut String) {
        push_unsigned(out, u64::from(*value));
    }
}

mod three_bytes {
    use virt_util::xml::{ValueError, push_unsigned};

    use crate::values::lenient::wrapping;

    pub(super) fn parse(text: &str) -> Result<u32, ValueError> {
        wrapping(text, 0)
            .filter(|value| *value <= 0xff_ffff)
            .ok_or_else(|| ValueError::expected("a whole number from 0 to 16777215"))
    }

    pub(super) fn format(value: &u32, out: &mut String) {
        push_unsigned(out, u64::from(*value));
    }
}

/// Most bytes of a port profile's name.
const PROFILE_MAX: usize = 39;

impl VirtualPort {
    /// Which parameters are given that the kind of switch knows nothing of.
    fn extra(&self) -> Option<&'static str> {
        use VirtualPortType as T;
        let parameters = self.parameters.as_ref()?;
        let given = [
            ("managerid", parameters.manager_id.is_some(), &[T::Qbg][..]),
            ("typeid", parameters.type_id.is_some(), &[T::Qbg]),
            ("typeidversion", parameters.type_id_version.is_some(), &[T::Qbg]),
            ("instanceid", parameters.instance_id.is_some(), &[T::Qbg]),
            (
                "interfaceid",
                parameters.interface_id.is_some(),
                &[T::Openvswitch, T::Midonet],
            ),
            (
                "profileid",
                parameters.profile_id.is_some(),
                &[T::Qbh, T::Openvswitch],
            ),
        ];
        let kind = self.kind?;
        let extra = given
            .iter()
            .find(|(_, given, kinds)| *given && !kinds.contains(&kind));
        extra.map(|(name, ..)| *name)
    }

    /// Makes up the ids that a switch must know, or may have to know where its kind is not said. A second time changes
    /// nothing.
    pub fn complete(&mut self, random: &dyn Randomness) {
        use VirtualPortType as T;
        let instance = matches!(self.kind, Some(T::Qbg) | None);
        let interface = matches!(self.kind, Some(T::Openvswitch) | None);
        if !(instance || interface) {
            return;
        }
        let parameters = self.parameters.get_or_insert_default();
        if instance {
            parameters.instance_id.get_or_insert_with(|| random.uuid());
        }
        if interface {
            parameters.interface_id.get_or_insert_with(|| random.uuid());
        }
    }

    /// Refuses a port that lacks what its kind of switch must know and what nobody can make up.
    ///
    /// # Errors
    /// `XML_ERROR`.
    pub fn check_complete(&self, parent: Element<'_>, cx: &mut Reader) -> Result<()> {
        use VirtualPortType as T;
        let none = VirtualPortParameters::default();
        let parameters = self.parameters.as_ref().unwrap_or(&none);
        let missing = match self.kind {
            None => {
                let error = error_at(parent, At::Child("virtualport"), "'type' is missing");
                return cx.fail(error.in_domain(ErrorDomain::NONE));
            }
            Some(T::Qbg) if parameters.manager_id.is_none() => "managerid",
            Some(T::Qbg) if parameters.type_id.is_none() => "typeid",
            Some(T::Qbg) if parameters.type_id_version.is_none() => "typeidversion",
            Some(T::Qbh) if parameters.profile_id.is_none() => "profileid",
            Some(T::Midonet) if parameters.interface_id.is_none() => "interfaceid",
            Some(_) => return Ok(()),
        };
        let kind = self.kind.map_or("", |kind| kind.as_str());
        let what = format_args!("<virtualport type='{kind}'> needs '{missing}'");
        cx.fail(error_at(parent, At::Child("virtualport"), what).in_domain(ErrorDomain::NET))
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let Some(profile) = self.parameters.as_ref().and_then(|p| p.profile_id.as_ref())
            && profile.len() > PROFILE_MAX
        {
            cx.fail(error_at(
                element,
                At::Child("parameters"),
                format_args!("profileid '{profile}' is too long: at most {PROFILE_MAX} bytes expected"),
            ))?;
        }
        // MidoNet passes over what it does not know.
        if self.kind == Some(VirtualPortType::Midonet)
            && let Some(parameters) = &mut self.parameters
        {
            *parameters = VirtualPortParameters {
                interface_id: parameters.interface_id,
                ..VirtualPortParameters::default()
            };
        }
        if let (Some(extra), Some(kind)) = (self.extra(), self.kind) {
            let what = format_args!("<virtualport type='{kind}'> takes no '{extra}'");
            cx.fail(error_at(element, At::Child("parameters"), what).in_domain(ErrorDomain::NET))?;
        }
        Ok(())
    }
}

/// Limits on throughput.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bandwidth", body, reported_by = ErrorDomain::NONE, absent = Bandwidth::is_void)]
pub struct Bandwidth {
    /// Traffic class that guarantees the floor; of ports of a network, 0: none.
    #[xml("@classID", default)]
    pub class_id: u32,
    /// Towards the guest.
    #[xml("inbound", omit_empty)]
    pub inbound: Option<BandwidthRate>,
    /// From the guest.
    #[xml("outbound", omit_empty)]
    pub outbound: Option<BandwidthRate>,
}

impl Bandwidth {
    /// An element without a limit says nothing.
    fn is_void(element: Element<'_>) -> bool {
        element.child("inbound").is_none() && element.child("outbound").is_none()
    }

    /// Refuses a guaranteed rate, which only interfaces and ports of a network have.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED`.
    pub fn refuse_floor(&self, parent: Element<'_>, cx: &mut Reader) -> Result<()> {
        if parent
            .child("bandwidth")
            .and_then(|bandwidth| bandwidth.child("inbound"))
            .is_some_and(|inbound| inbound.has_attr("floor"))
        {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                parent,
                At::Child("bandwidth"),
                "'floor' is for an interface of a network with <bandwidth>",
            ))?;
        }
        Ok(())
    }

    /// Refuses a traffic class, which only ports of a network have.
    ///
    /// # Errors
    /// `XML_DETAIL`.
    pub fn refuse_class(&self, parent: Element<'_>, cx: &mut Reader) -> Result<()> {
        if parent
            .child("bandwidth")
            .is_some_and(|bandwidth| bandwidth.has_attr("classID"))
        {
            cx.fail(error_with(
                ErrorCode::XML_DETAIL,
                parent,
                At::Child("bandwidth"),
                "'classID' is chosen by the network: remove it here",
            ))?;
        }
        Ok(())
    }

    /// Whether part of the rate towards the guest is guaranteed.
    pub fn has_floor(&self) -> bool {
        self.inbound.as_ref().is_some_and(|rate| rate.floor != 0)
    }
}

/// Limits of one direction.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = BandwidthRate::after_read)]
pub struct BandwidthRate {
    /// KiB per second that are wanted on average.
    #[xml("@average", default)]
    pub average: u64,
    /// Most KiB per second.
    #[xml("@peak", default, when = self.is_set())]
    pub peak: u64,
    /// KiB per second that are guaranteed.
    #[xml("@floor", default)]
    pub floor: u64,
    /// KiB that may be sent at peak speed.
    #[xml("@burst", default, when = self.is_set())]
    pub burst: u64,
}

/// Most KiB per second that the kernel's traffic control takes.
const RATE_MAX: u64 = 1 << 54;
/// Most KiB of a burst.
const BURST_MAX: u64 = (u32::MAX >> 10) as u64;

impl BandwidthRate {
    /// Whether it limits anything: else it is not written.
    fn is_set(&self) -> bool {
        self.average != 0 || self.floor != 0
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let average = element.has_attr("average");
        if !average && !element.has_attr("floor") {
            cx.fail(error_with(
                ErrorCode::XML_DETAIL,
                element,
                At::Text,
                "'average' or 'floor' is missing",
            ))?;
        }
        if !average && (element.has_attr("peak") || element.has_attr("burst")) {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Text,
                "'peak' and 'burst' need 'average'",
            ))?;
        }
        if element.has_attr("floor") && element.name() == "outbound" {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("floor"),
                "'floor' attribute is not supported for outbound",
            ))?;
        }
        Ok(())
    }

    /// Refuses rates that the kernel's traffic control cannot have. Drivers ask when a rate is used.
    ///
    /// # Errors
    /// `OVERFLOW`.
    pub fn check_limits(&self) -> Result<()> {
        for (name, value, limit) in [
            ("average", self.average, RATE_MAX),
            ("peak", self.peak, RATE_MAX),
            ("burst", self.burst, BURST_MAX),
            ("floor", self.floor, RATE_MAX),
        ] {
            if value > limit {
                virt_util::bail!(ErrorCode::OVERFLOW, "'{name}' is {value}: {limit} is the most");
            }
        }
        Ok(())
    }
}

xml_enum! {
    /// A family of addresses.
    pub enum IpFamily { Ipv4 = "ipv4", Ipv6 = "ipv6" }
}

/// A route.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "route", own, reported_by = ErrorDomain::NETWORK, check = Route::after_read)]
pub struct Route {
    /// Family; none: IPv4.
    #[xml("@family")]
    pub family: Option<IpFamily>,
    /// The network.
    #[xml("@address")]
    pub address: IpAddr,
    /// Its mask; IPv4 only, and in place of a prefix.
    #[xml("@netmask")]
    pub netmask: Option<IpAddr>,
    /// Length of its prefix; with neither mask nor prefix it is 0.
    #[xml("@prefix", helper)]
    pub prefix: Option<u32>,
    /// Where packets go.
    #[xml("@gateway")]
    pub gateway: IpAddr,
    /// Preference, from 1; 0: not said.
    #[xml("@metric", helper, default, nonzero)]
    pub metric: u32,
}

impl Route {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let mut wrong = |at: &'static str, what: String| cx.fail(error_at(element, At::Attribute(at), what));
        let family = self.family.unwrap_or_default();
        let is_family = |address: IpAddr| address.is_ipv6() == (family == IpFamily::Ipv6);
        for (name, address) in [("address", self.address), ("gateway", self.gateway)] {
            if !is_family(address) {
                wrong(
                    name,
                    format!(
                        "{} family specified for {name} '{}' in route definition",
                        self.family.map_or("no", |family| family.as_str()),
                        ip::format(address)
                    ),
                )?;
            }
        }
        let bits = if family == IpFamily::Ipv6 { 128 } else { 32 };
        if self.prefix.is_some_and(|prefix| prefix > bits) {
            wrong(
                "prefix",
                format!("invalid prefix in route definition, must be 0 - {bits}"),
            )?;
        }
        let network = match self.netmask {
            Some(mask) if family == IpFamily::Ipv6 || mask.is_ipv6() => {
                return wrong(
                    "netmask",
                    "a netmask and its address must both be IPv4".to_owned(),
                );
            }
            Some(_) if self.prefix.is_some() => {
                return wrong(
                    "netmask",
                    "a route cannot have both a prefix and a netmask".to_owned(),
                );
            }
            Some(mask) => ip::masked(self.address, mask),
            None => ip::network(self.address, self.prefix.unwrap_or(0)),
        };
        if network != Some(self.address) {
            wrong(
                "address",
                format!(
                    "'{}' in route definition is not a network address",
                    ip::format(self.address)
                ),
            )?;
        }
        Ok(())
    }
}
