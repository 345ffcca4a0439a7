//! Networks of a container. Since LXC 3 each setting bears the number of its network; before, a type begins a new one.

use std::net::IpAddr;

use virt_util::xml::XmlValue;
use virt_util::{ErrorCode, Result, VirtError};

use super::Conf;
use crate::domain::Domain;
use crate::domain::device_info::DeviceInfo;
use crate::domain::features::Features;
use crate::domain::hostdev::{Hostdev, HostdevCaps, HostdevPass};
use crate::domain::interface::{
    Interface, InterfaceSource, IpAddress, IpConfig, IpFamily, LinkState, MacvtapMode, Route,
};
use crate::native::{self, Setting};
use crate::values::MacAddress;

/// The settings of one network.
#[derive(Default)]
struct Network<'a> {
    number: Option<u32>,
    /// It was begun by a setting with its number.
    numbered: bool,
    kind: Option<&'a str>,
    link: Option<&'a str>,
    mac: Option<&'a str>,
    flags: Option<&'a str>,
    macvlan_mode: Option<&'a str>,
    vlan: Option<&'a str>,
    name: Option<&'a str>,
    guest: IpConfig,
    gateways: [Option<&'a str>; 2],
}

pub(super) fn read(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let mut networks: Vec<Network<'_>> = Vec::new();
    for (entry, text) in conf.entries() {
        if let Some(setting) = entry.name.strip_prefix("lxc.network.") {
            if setting == "type" {
                networks.push(Network {
                    // Settings with this number belong to it too.
                    number: u32::try_from(networks.len() + 1).ok(),
                    numbered: false,
                    ..Network::default()
                });
            }
            let network = networks
                .last_mut()
                .ok_or_else(|| conf.wrong_entry(entry, "'lxc.network.type' is expected before it"))?;
            network.set(conf, entry, setting, text)?;
        } else if let Some(rest) = entry.name.strip_prefix("lxc.net.") {
            let parts = rest.split_once('.');
            let (number, setting) = parts
                .and_then(|(number, setting)| Some((native::number::<u64>(number)? as u32, setting)))
                .ok_or_else(|| {
                    conf.wrong_entry(entry, "a number and a dot are expected behind 'lxc.net.'")
                })?;
            let known = networks.iter().position(|network| network.number == Some(number));
            let at = known.unwrap_or_else(|| {
                networks.push(Network {
                    number: Some(number),
                    numbered: true,
                    ..Network::default()
                });
                networks.len() - 1
            });
            if let Some(network) = networks.get_mut(at) {
                network.set(conf, entry, setting, text)?;
            }
        }
    }
    if networks.is_empty() {
        // Nothing but the loopback device.
        domain
            .features
            .get_or_insert_with(|| Box::new(Features::default()))
            .privnet = true;
    }
    for network in networks {
        network.add(conf, domain)?;
    }
    Ok(())
}

impl<'a> Network<'a> {
    fn set(&mut self, conf: &Conf, entry: &Setting, setting: &str, text: &'a str) -> Result<()> {
        let slot = match setting {
            "type" => &mut self.kind,
            "link" => &mut self.link,
            "hwaddr" => &mut self.mac,
            "flags" => &mut self.flags,
            "macvlan.mode" => &mut self.macvlan_mode,
            "vlan.id" => &mut self.vlan,
            "name" => &mut self.name,
            "ipv4" | "ipv4.address" | "ipv6" | "ipv6.address" => {
                let address = cidr(text, setting.starts_with("ipv6")).ok_or_else(|| {
                    let what = "an address and the length of its prefix, as in '192.0.2.1/24', are expected";
                    VirtError::new(ErrorCode::INVALID_ARG, conf.wrong_entry(entry, what).detail())
                })?;
                self.guest.addresses.push(address);
                return Ok(());
            }
            "ipv4.gateway" | "ipv6.gateway" => {
                let six = setting.starts_with("ipv6");
                let [four, sixth] = &mut self.gateways;
                if six { sixth } else { four }
            }
            _ => return Err(conf.wrong_entry(entry, "the setting of a network is not known")),
        };
        *slot = Some(text);
        Ok(())
    }

    fn add(self, conf: &Conf, domain: &mut Domain) -> Result<()> {
        let kind = match self.kind {
            None | Some("" | "empty" | "none") => return Ok(()),
            Some(kind) => kind,
        };
        let name = match self.number.filter(|_| self.numbered) {
            Some(number) => format!("lxc.net.{number}.link"),
            None => "lxc.network.link".to_owned(),
        };
        let missing = || conf.wrong(&name, format_args!("a network of type '{kind}' needs a link"));
        if matches!(kind, "macvlan") && self.link.is_none() {
            return Err(missing());
        }
        let routes = |six: bool| -> Result<Option<Route>> {
            let [four, sixth] = self.gateways;
            let Some(text) = (if six { sixth } else { four }) else {
                return Ok(None);
            };
            default_route(text, six).map(Some).ok_or_else(|| {
                VirtError::new(
                    ErrorCode::XML_ERROR,
                    format_args!(
                        "the gateway '{text}' of a network is no address of IPv{}",
                        if six { 6 } else { 4 }
                    ),
                )
            })
        };
        let ip = |addresses| -> Result<IpConfig> {
            Ok(IpConfig {
                addresses,
                routes: [routes(false)?, routes(true)?].into_iter().flatten().collect(),
            })
        };
        if matches!(kind, "phys" | "vlan") {
            let link = self
                .link
                // libvirt takes a device without a name, and does not read what it then writes.
                .filter(|link| !link.is_empty())
                .ok_or_else(|| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, missing().detail()))?;
            let interface = match self.vlan.filter(|_| kind == "vlan") {
                Some(vlan) => format!("{link}.{vlan}"),
                None => link.to_owned(),
            };
            domain.devices.hostdevs.push(Hostdev {
                mode: HostdevPass::Capabilities(HostdevCaps::Net {
                    interface,
                    ip: ip(self.guest.addresses)?,
                }),
                teaming: None,
                read_only: false,
                shareable: false,
                info: DeviceInfo::default(),
            });
            return Ok(());
        }
        let host = IpConfig::default();
        let source = match (kind, self.link) {
            ("veth", Some(bridge)) => InterfaceSource::Bridge {
                bridge: bridge.to_owned(),
                unnamed: false,
                host: host.into(),
            },
            ("veth", None) => InterfaceSource::Ethernet { host: host.into() },
            ("macvlan", link) => InterfaceSource::Direct {
                dev: link.ok_or_else(missing)?.to_owned(),
                mode: match self.macvlan_mode {
                    None | Some("private") => MacvtapMode::Private,
                    Some("bridge") => MacvtapMode::Bridge,
                    Some("vepa") => MacvtapMode::Vepa,
                    Some(mode) => {
                        tracing::warn!("the macvlan mode '{mode}' is not known, 'vepa' is taken");
                        MacvtapMode::Vepa
                    }
                },
            },
            _ => InterfaceSource::default(),
        };
        let mut interface = Interface {
            source,
            guest_dev: self.name.map(str::to_owned).into(),
            link_state: Some(if self.flags == Some("up") {
                LinkState::Up
            } else {
                LinkState::Down
            }),
            ..Interface::default()
        };
        interface.mac.address = self.mac.and_then(|mac| MacAddress::parse_value(mac).ok());
        interface.link.guest = ip(self.guest.addresses)?;
        domain.devices.interfaces.push(interface);
        Ok(())
    }
}

fn family(six: bool) -> IpFamily {
    if six { IpFamily::Ipv6 } else { IpFamily::Ipv4 }
}

fn address(text: &str, six: bool) -> Option<IpAddr> {
    virt_util::ip::parse(text).filter(|address| address.is_ipv6() == six)
}

fn cidr(text: &str, six: bool) -> Option<IpAddress> {
    let (text, prefix) = text.split_once('/')?;
    Some(IpAddress {
        prefix: native::number(prefix)?,
        ..IpAddress::from(address(text, six)?)
    })
}

fn default_route(gateway: &str, six: bool) -> Option<Route> {
    let any: IpAddr = if six {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    Some(Route {
        family: Some(family(six)),
        address: any,
        netmask: None,
        prefix: None,
        gateway: address(gateway, six)?,
        metric: 0,
    })
}
