//! Addresses of the host in a network, and what is served there: DHCP, files for booting.

use std::net::IpAddr;

use virt_util::xml::{At, Element, Reader, Xml, XmlValue, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result, ip};

use crate::netdev::IpFamily;
use crate::values::MacAddress;

/// An address of the host in the network.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "ip", own, body, order(address, netmask, prefix_length, local_ptr, family, dhcp, tftp_root), check = NetworkIp::after_read)]
pub struct NetworkIp {
    /// Family; none: IPv4.
    #[xml("@family", nonempty, then = check_address(family, address, netmask, prefix_length, element, cx))]
    pub family: Option<IpFamily>,
    /// The host's own address in the network.
    #[xml("@address", nonempty)]
    pub address: IpAddr,
    /// The network's mask; IPv4 only, and in place of a prefix.
    #[xml("@netmask", nonempty)]
    pub netmask: Option<IpAddr>,
    /// Length of the network's prefix; 0: not said. See [`NetworkIp::prefix`].
    #[xml("@prefix", helper, default)]
    pub prefix_length: u32,
    /// Whether questions about addresses of the network are never sent on.
    #[xml("@localPtr", helper)]
    pub local_ptr: Option<bool>,
    /// Folder with files for booting; IPv4 only.
    #[xml("tftp@root", nonempty)]
    pub tftp_root: Option<String>,
    /// What guests get over DHCP.
    #[xml("dhcp", omit_empty)]
    pub dhcp: Option<Dhcp>,
}

/// What guests get over DHCP.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "dhcp")]
pub struct Dhcp {
    /// Addresses that are handed out.
    #[xml("range")]
    pub ranges: Vec<DhcpRange>,
    /// Guests that get certain addresses.
    #[xml("host")]
    pub hosts: Vec<DhcpHost>,
    /// What guests boot; IPv4 only, and kept only beside ranges or hosts.
    #[xml("bootp", when = !self.ranges.is_empty() || !self.hosts.is_empty())]
    pub boot: Option<DhcpBoot>,
}

/// Addresses that are handed out.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "range", own)]
pub struct DhcpRange {
    /// The first.
    #[xml("@start", code = ErrorCode::SYSTEM_ERROR, missing = ErrorCode::XML_ERROR, reported_by = ErrorDomain::NONE)]
    pub start: IpAddr,
    /// The last.
    #[xml("@end", code = ErrorCode::SYSTEM_ERROR, missing = ErrorCode::XML_ERROR, reported_by = ErrorDomain::NONE)]
    pub end: IpAddr,
    /// For how long.
    #[xml("lease")]
    pub lease: Option<Lease>,
}

/// A guest that gets a certain address.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "host", own)]
pub struct DhcpHost {
    /// Its MAC address, as it was written; IPv4 only.
    #[xml("@mac")]
    pub mac: Option<String>,
    /// Its DHCPv6 identifier, in hexadecimal.
    #[xml("@id")]
    pub id: Option<String>,
    /// Host name that the client is given.
    #[xml("@name")]
    pub name: Option<String>,
    /// The address; every stored host has one.
    #[xml("@ip")]
    pub address: Option<IpAddr>,
    /// For how long.
    #[xml("lease")]
    pub lease: Option<Lease>,
}

/// For how long an address is handed out.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "lease", absent = Lease::is_void, check = Lease::after_read)]
pub struct Lease {
    /// The time; 0: for ever.
    #[xml("@expiry", base = 0)]
    pub expiry: u64,
    /// What the time is counted in.
    #[xml("@unit", default = LeaseUnit::Minutes, always, when = self.expiry != 0)]
    pub unit: LeaseUnit,
}

xml_enum! {
    /// Unit of a lease's time.
    pub enum LeaseUnit { Seconds = "seconds", Minutes = "minutes", Hours = "hours" }
}

/// What guests boot.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bootp", own)]
pub struct DhcpBoot {
    /// What a client fetches over TFTP to boot.
    #[xml("@file", helper)]
    pub file: String,
    /// Address of the server that has it; none: the network's own.
    #[xml("@server", code = ErrorCode::SYSTEM_ERROR, reported_by = ErrorDomain::NONE)]
    pub server: Option<IpAddr>,
}

/// Least seconds of a lease: dnsmasq knows no shorter ones.
const LEASE_MIN: u64 = 120;

impl Lease {
    fn is_void(element: Element<'_>) -> bool {
        !element.has_attr("expiry")
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let too_short = match self.unit {
            LeaseUnit::Seconds => self.expiry < LEASE_MIN,
            LeaseUnit::Minutes => self.expiry < LEASE_MIN / 60,
            LeaseUnit::Hours => false,
        };
        if self.expiry != 0 && too_short {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("expiry"),
                format_args!(
                    "a lease of {} {} is too short: at least 2 minutes expected",
                    self.expiry, self.unit
                ),
            ))?;
        }
        // A lease without end has no unit.
        if self.expiry == 0 {
            self.unit = LeaseUnit::Minutes;
        }
        Ok(())
    }
}

impl DhcpHost {
    /// Checks a host for a network's address of a family. One that is only looked for (`partial`) need not say all.
    ///
    /// # Errors
    /// `XML_ERROR`.
    pub fn check(&self, element: Element<'_>, cx: &mut Reader, is_ipv6: bool, partial: bool) -> Result<()> {
        let mut wrong = |at: At<'_>, what: String| cx.fail(error_at(element, at, what));
        if let Some(mac) = &self.mac {
            let at = At::Attribute("mac");
            if is_ipv6 {
                wrong(at, format!("MAC address '{mac}' in an IPv6 host definition"))?;
            }
            match MacAddress::parse_value(mac) {
                Err(error) => wrong(
                    at,
                    format!("cannot parse MAC address '{mac}': {}", error.describe(mac)),
                )?,
                Ok(parsed) if parsed.is_multicast() => wrong(
                    at,
                    format!("expected unicast mac address, found multicast '{mac}'"),
                )?,
                Ok(_) => {}
            }
        }
        if let Some(id) = &self.id
            && let Some(bad) = id.chars().find(|c| !c.is_ascii_hexdigit() && *c != ':')
        {
            let what = format!("invalid character '{bad}' in id '{id}': hexadecimal digits and ':' expected");
            wrong(At::Attribute("id"), what)?;
        }
        if let Some(name) = &self.name
            && !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            let what = format!("cannot use host name '{name}': a letter or digit in front expected");
            wrong(At::Attribute("name"), what)?;
        }
        let (id, mac, name, ip) = (
            self.id.is_some(),
            self.mac.is_some(),
            self.name.is_some(),
            self.address.is_some(),
        );
        let lacks = if partial {
            (!mac && !name && !ip).then_some("at least one of name, mac, or ip attribute")
        } else if is_ipv6 && !id && !name {
            Some("an id or name attribute")
        } else if !is_ipv6 && !mac && !name {
            Some("a mac or name attribute")
        } else if !ip {
            Some("an ip attribute")
        } else {
            None
        };
        match lacks {
            Some(what) => wrong(At::Text, format!("a static host definition must have {what}")),
            None => Ok(()),
        }
    }

    /// Whether both have MAC addresses and these are the same.
    pub fn has_mac_of(&self, other: &Self) -> bool {
        let parse = |mac: &Option<String>| mac.as_deref().and_then(|mac| MacAddress::parse_value(mac).ok());
        parse(&self.mac).is_some_and(|mac| Some(mac) == parse(&other.mac))
    }
}

impl NetworkIp {
    /// Length of the network's prefix: as said, from the mask, or as usual for the address. `None` for an address or mask
    /// that gives none.
    pub fn prefix(&self) -> Option<u32> {
        match self.netmask {
            _ if self.prefix_length > 0 => Some(self.prefix_length),
            Some(mask) => ip::prefix_of_mask(mask),
            None => ip::natural_prefix(self.address),
        }
    }

    /// Whether anything is served over DHCP.
    pub fn serves_dhcp(&self) -> bool {
        self.dhcp
            .as_ref()
            .is_some_and(|dhcp| !dhcp.ranges.is_empty() || !dhcp.hosts.is_empty())
    }

    /// Checks that a range lies in the network.
    ///
    /// # Errors
    /// `INTERNAL_ERROR`, as in libvirt.
    pub fn check_range(&self, range: &DhcpRange, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match ip::check_range(range.start, range.end, Some((self.address, self.prefix()))) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Ranges are counted where nothing is known of networks.
                let error = error_with(error.code(), element, At::Text, error.detail());
                cx.fail(error.in_domain(ErrorDomain::NONE))
            }
        }
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let is_ipv6 = self.address.is_ipv6();
        if let Some(dhcp) = &self.dhcp {
            let element = element.child_or_ghost("dhcp");
            for (range, place) in dhcp.ranges.iter().zip(element.children_named("range")) {
                self.check_range(range, place, cx)?;
            }
            for (host, place) in dhcp.hosts.iter().zip(element.children_named("host")) {
                host.check(place, cx, is_ipv6, false)?;
            }
        }
        if element.child("tftp").is_some() && is_ipv6 {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Child("tftp"),
                "unsupported <tftp> element in an IPv6 element",
            ))?;
        }
        if is_ipv6 && let Some(dhcp) = &mut self.dhcp {
            dhcp.boot = None;
        }
        Ok(())
    }
}

/// The address, its mask and its prefix are of the family that is said.
fn check_address(
    family: Option<IpFamily>,
    address: IpAddr,
    netmask: Option<IpAddr>,
    prefix: u32,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let mut wrong = |at: &'static str, what: String| {
        cx.fail(error_with(
            ErrorCode::CONFIG_UNSUPPORTED,
            element,
            At::Attribute(at),
            what,
        ))
    };
    let said = family.map_or("no", |family| family.as_str());
    let family = family.unwrap_or_default();
    let is_ipv6 = family == IpFamily::Ipv6;
    let other = address.is_ipv6() != is_ipv6;
    let address = ip::format(address);
    if other {
        wrong(
            "address",
            format!("{said} family specified for address '{address}'"),
        )?;
    }
    match netmask {
        Some(_) if is_ipv6 => wrong(
            "netmask",
            format!("netmask not allowed for IPv6 address '{address}'"),
        )?,
        Some(mask) if mask.is_ipv6() => {
            let mask = ip::format(mask);
            wrong(
                "netmask",
                format!("netmask '{mask}' with address '{address}': both are IPv4 where there is a mask"),
            )?;
        }
        Some(_) if prefix > 0 => wrong(
            "prefix",
            format!("address '{address}' cannot have both a prefix and a netmask"),
        )?,
        _ => {}
    }
    let bits = if is_ipv6 { 128 } else { 32 };
    if prefix > bits {
        wrong(
            "prefix",
            format!("invalid {family} prefix '{prefix}': 0 to {bits} expected"),
        )?;
    }
    Ok(())
}
