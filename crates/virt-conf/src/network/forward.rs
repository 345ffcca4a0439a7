//! How packets leave a network.

use std::net::Ipv4Addr;

use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, Result};

use crate::domain::hostdev::{HostPciAddress, PciDriverName, PciWord};

xml_enum! {
    /// How packets leave.
    pub enum ForwardMode { None = "none", Nat = "nat", Route = "route", Open = "open", Bridge = "bridge", Private = "private", Vepa = "vepa", Passthrough = "passthrough", Hostdev = "hostdev" }
}

impl ForwardMode {
    /// Whether the network has a bridge that libvirt makes.
    pub fn has_own_bridge(self) -> bool {
        matches!(self, Self::None | Self::Nat | Self::Route | Self::Open)
    }
}

/// How packets leave.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "forward", own, order(mode, managed, driver, nat, device, interfaces, addresses, pf), check = Forward::after_read)]
pub struct Forward {
    /// The first of the interfaces; what is written follows from those.
    #[xml("@dev", nonempty, write_as = self.first_device(), then = check_device(device.as_deref(), element, cx))]
    pub device: Option<String>,
    /// How.
    #[xml("@mode", nonempty, default = ForwardMode::Nat, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub mode: ForwardMode,
    /// Whether devices of the host are taken from it when they are used; of mode `hostdev`.
    #[xml("@managed", default, always, with = crate::netdev::yes, described = bool, when = self.mode == ForwardMode::Hostdev)]
    pub managed: bool,
    /// The host's driver for devices that guests get.
    #[xml("driver", omit_empty, then = check_nat(mode, element, cx))]
    pub driver: Option<ForwardDriver>,
    /// How addresses are translated; of mode `nat`.
    #[xml("nat", omit_empty)]
    pub nat: Option<Nat>,
    /// The device whose virtual functions guests get.
    #[xml("pf@dev")]
    pub pf: Option<String>,
    /// Interfaces of the host.
    #[xml("interface", when = self.pf.is_none() || !w.has(virt_util::xml::XmlFlags::INACTIVE),
        then = check_addresses(element, cx))]
    pub interfaces: Vec<ForwardInterface>,
    /// Devices of the host that guests get.
    #[xml("address", when = self.pf.is_none() || !w.has(virt_util::xml::XmlFlags::INACTIVE))]
    pub addresses: Vec<ForwardAddress>,
}

/// The host's driver for devices that guests get.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "driver")]
pub struct ForwardDriver {
    /// Its kind.
    #[xml("@name")]
    pub name: Option<PciDriverName>,
    /// A certain VFIO variant driver.
    #[xml("@model")]
    pub model: Option<String>,
}

/// An interface of the host.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "interface", own)]
pub struct ForwardInterface {
    /// Its name.
    #[xml("@dev")]
    pub device: String,
    /// How many guests use it; only live, and never read.
    #[xml("@connections", default, unless(inactive), read_when = false)]
    pub connections: u32,
}

/// A device of the host that a guest gets.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "address")]
pub struct ForwardAddress {
    /// Kind of address.
    #[xml("@type", missing = ErrorCode::XML_ERROR)]
    pub kind: PciWord,
    /// The address.
    #[xml(flatten)]
    pub address: HostPciAddress,
    /// Never written.
    #[xml("@connections", default, when = false, read_when = false)]
    pub connections: u32,
}

/// How addresses are translated.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "nat", check = Nat::after_read)]
pub struct Nat {
    /// Whether IPv6 addresses are, too.
    #[xml("@ipv6")]
    pub ipv6: Option<bool>,
    /// Addresses that the host uses.
    #[xml("address")]
    pub addresses: Option<NatAddresses>,
    /// Ports that the host uses.
    #[xml("port", omit_empty)]
    pub ports: Option<NatPorts>,
}

/// Addresses that the host uses.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "address", own)]
pub struct NatAddresses {
    /// The first.
    #[xml("@start")]
    pub start: Ipv4Addr,
    /// The last.
    #[xml("@end")]
    pub end: Ipv4Addr,
}

/// Ports that the host uses.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "port", code = ErrorCode::XML_DETAIL, check = NatPorts::after_read)]
pub struct NatPorts {
    /// The first.
    #[xml("@start", max = 65535, when = self.end != 0)]
    pub start: u32,
    /// The last.
    #[xml("@end", max = 65535, when = self.end != 0)]
    pub end: u32,
}

impl Forward {
    fn first_device(&self) -> Option<String> {
        self.interfaces
            .first()
            .filter(|_| self.pf.is_none())
            .map(|interface| interface.device.clone())
    }

    /// How many interfaces or devices of the host there are.
    pub fn device_count(&self) -> usize {
        self.interfaces.len() + self.addresses.len()
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let mut wrong = |at: &'static str, what: String| cx.fail(error_at(element, At::Child(at), what));
        if element.children_named("pf").count() > 1 {
            wrong("pf", "only one <pf> element is allowed in <forward>".to_owned())?;
        }
        if element.child("pf").is_some_and(|pf| pf.attr("dev").is_none())
            && self.device.is_none()
            && self.device_count() == 0
        {
            wrong("pf", "missing required dev attribute in <pf> element".to_owned())?;
        }
        if let Some(device) = &self.device {
            match self.interfaces.first() {
                None => self.interfaces.push(ForwardInterface {
                    device: device.clone(),
                    connections: 0,
                }),
                Some(first) if first.device != *device => {
                    let what = format!(
                        "<forward dev='{device}'> must match first <interface dev='{}'/>",
                        first.device
                    );
                    wrong("interface", what)?;
                }
                Some(_) => {}
            }
        }
        for (at, interface) in self.interfaces.iter().enumerate() {
            if self
                .interfaces
                .iter()
                .take(at)
                .any(|other| other.device == interface.device)
            {
                let what = format!("interface '{}' can only be listed once", interface.device);
                wrong("interface", what)?;
            }
        }
        for (at, one) in self.addresses.iter().enumerate() {
            if self
                .addresses
                .iter()
                .take(at)
                .any(|other| other.address == one.address)
            {
                let what = format!("PCI device '{}' can only be listed once", one.address);
                wrong("address", what)?;
            }
        }
        // Interfaces go before devices, and both before a device with virtual functions.
        if !self.interfaces.is_empty() {
            self.addresses.clear();
        }
        if self.device_count() > 0 {
            self.pf = None;
        }
        self.device = self.first_device();
        Ok(())
    }
}

/// Translation of addresses is of one mode, and there is one of it.
fn check_nat(mode: ForwardMode, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let what = match element.children_named("nat").count() {
        0 => return Ok(()),
        1 if mode == ForwardMode::Nat => return Ok(()),
        1 => "the <nat> element can only be used when <forward> 'mode' is 'nat'",
        _ => "only one <nat> element is allowed in <forward>",
    };
    cx.fail(error_at(element, At::Child("nat"), what))
}

/// A device is not named beside addresses of others.
fn check_device(device: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match device.is_some() && (element.child("address").is_some() || element.child("pf").is_some()) {
        true => {
            let what = "the <forward> 'dev' attribute cannot be used when <address> or <pf> sub-elements are present";
            cx.fail(error_at(element, At::Child("address"), what))
        }
        false => Ok(()),
    }
}

/// Kinds of addresses that nobody knows have a code of their own.
fn check_addresses(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    for address in element.children_named("address") {
        if let Some(kind) = address.attr("type")
            && !matches!(&*kind, "pci" | "none" | "netdev")
        {
            let what = format!("unknown address type '{kind}': expected 'pci'");
            let code = ErrorCode::CONFIG_UNSUPPORTED;
            cx.fail(error_with(code, address, At::Attribute("type"), what))?;
        }
    }
    Ok(())
}

impl Nat {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        for name in ["address", "port"] {
            if element.children_named(name).count() > 1 {
                cx.fail(error_at(
                    element,
                    At::Child(name),
                    format_args!("only one <{name}> element is allowed in <nat>"),
                ))?;
            }
        }
        if let Some(addresses) = &self.addresses
            && let Err(error) = virt_util::ip::check_range(addresses.start.into(), addresses.end.into(), None)
        {
            cx.fail(error_with(
                error.code(),
                element,
                At::Child("address"),
                error.detail(),
            ))?;
        }
        Ok(())
    }
}

impl NatPorts {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.end < self.start {
            cx.fail(error_at(
                element,
                At::Attribute("end"),
                format_args!("the last port, {}, is below the first, {}", self.end, self.start),
            ))?;
        }
        Ok(())
    }
}
