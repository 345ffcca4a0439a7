//! Changes of single entries of a network: what `virNetworkUpdate` and `virsh net-update` do.

use virt_util::types::{NetworkUpdateCommand, NetworkUpdateSection};
use virt_util::xml::{At, Doc, DocOptions, Element, Reader, XmlElement, XmlFlags, error_at};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError, ip};

use super::dns::{Dns, DnsHost, DnsService, DnsText};
use super::forward::{Forward, ForwardInterface, ForwardMode};
use super::ip::{DhcpHost, DhcpRange, NetworkIp};
use super::{Network, PortGroup};

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// What is done; `None` for a command that nobody knows: then the entry is looked at, and nothing is done.
    pub command: Option<Command>,
    /// To what; `None` for a section that nobody knows.
    pub section: Option<Section>,
    /// Which of several parents is meant (of the sections of an address); negative: the one that fits.
    pub parent: i32,
    /// The entry, or, to delete one, as much of it as tells it from others.
    pub xml: &'a str,
}

xml_enum! {
    /// What is done to an entry.
    pub enum Command { Modify = "modify", Delete = "delete", AddLast = "add-last", AddFirst = "add-first" }
}

xml_enum! {
    /// What is changed.
    pub enum Section { Bridge = "bridge", Domain = "domain", Ip = "ip", IpDhcpHost = "ip-dhcp-host", IpDhcpRange = "ip-dhcp-range", Forward = "forward", ForwardInterface = "forward-interface", ForwardPf = "forward-pf", PortGroup = "portgroup", DnsHost = "dns-host", DnsTxt = "dns-txt", DnsSrv = "dns-srv" }
}

impl Command {
    /// The command of a call; `None` for a number that is none.
    pub fn from_number(number: u32) -> Option<Self> {
        use NetworkUpdateCommand as N;
        Some(match N(number as i32) {
            N::MODIFY => Self::Modify,
            N::DELETE => Self::Delete,
            N::ADD_LAST => Self::AddLast,
            N::ADD_FIRST => Self::AddFirst,
            _ => return None,
        })
    }

    /// Puts a new entry where the command says.
    fn add<T>(self, entries: &mut Vec<T>, entry: T) {
        let at = if self == Self::AddFirst { 0 } else { entries.len() };
        entries.insert(at, entry);
    }
}

impl Section {
    /// The section of a call; `None` for a number that is none.
    pub fn from_number(number: u32) -> Option<Self> {
        use NetworkUpdateSection as N;
        Some(match N(number as i32) {
            N::BRIDGE => Self::Bridge,
            N::DOMAIN => Self::Domain,
            N::IP => Self::Ip,
            N::IP_DHCP_HOST => Self::IpDhcpHost,
            N::IP_DHCP_RANGE => Self::IpDhcpRange,
            N::FORWARD => Self::Forward,
            N::FORWARD_INTERFACE => Self::ForwardInterface,
            N::FORWARD_PF => Self::ForwardPf,
            N::PORTGROUP => Self::PortGroup,
            N::DNS_HOST => Self::DnsHost,
            N::DNS_TXT => Self::DnsTxt,
            N::DNS_SRV => Self::DnsSrv,
            _ => return None,
        })
    }
}

fn invalid(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::OPERATION_INVALID, what)
}

fn is_add(command: Option<Command>) -> bool {
    matches!(command, Some(Command::AddFirst | Command::AddLast))
}

/// The command, when what it is about was found to be in order.
fn known(command: Option<Command>) -> Result<Command> {
    command.ok_or_else(|| {
        VirtError::new(
            ErrorCode::OPERATION_UNSUPPORTED,
            "the command for this change of a network is unknown",
        )
    })
}

impl Network {
    /// The network after a change, checked as a whole. `flags` say which definition this is:
    /// [`XmlFlags::INACTIVE`] for that of the next start.
    ///
    /// # Errors
    /// As [`Network::apply`], and whatever [`Network::parse`] says of the result.
    pub fn updated(&self, update: &Update<'_>, flags: XmlFlags) -> Result<Self> {
        let mut network = self.clone();
        network.apply(update)?;
        Self::parse(&network.format(flags), flags, "updated network")?;
        Ok(network)
    }

    /// Makes a change, without a look at the whole.
    ///
    /// # Errors
    /// `OPERATION_UNSUPPORTED` for what cannot be changed; `OPERATION_INVALID` if there is no such entry, several, or one
    /// already; `XML_ERROR` and `XML_DETAIL` for an entry that is wrong in itself.
    pub fn apply(&mut self, update: &Update<'_>) -> Result<()> {
        let doc = Doc::parse_with(
            update.xml,
            &DocOptions::named("network update").in_domain(ErrorDomain::NETWORK),
        )?;
        let root = doc.root();
        let cx = &mut Reader::new(XmlFlags::empty());
        let command = update.command;
        let Some(section) = update.section else {
            let what = format_args!("network '{}' has no such section to change", self.name);
            return Err(
                VirtError::new(ErrorCode::OPERATION_UNSUPPORTED, what).in_domain(ErrorDomain::NETWORK)
            );
        };
        match section {
            Section::IpDhcpHost => self.update_dhcp_host(command, update.parent, root, cx),
            Section::IpDhcpRange => self.update_dhcp_range(command, update.parent, root, cx),
            Section::ForwardInterface => self.update_interface(command, root, cx),
            Section::PortGroup => self.update_port_group(command, root, cx),
            Section::DnsHost => self.update_dns_host(command, root, cx),
            Section::DnsTxt => self.update_dns_text(command, root, cx),
            Section::DnsSrv => self.update_dns_service(command, root, cx),
            Section::Bridge | Section::Domain | Section::Ip | Section::Forward | Section::ForwardPf => {
                virt_util::bail!(
                    ErrorCode::OPERATION_UNSUPPORTED,
                    "section '{}' of network '{}' does not change while the network lives",
                    section.as_str().replace('-', " "),
                    self.name
                )
            }
        }
    }

    fn expect(&self, root: Element<'_>, name: &str) -> Result<()> {
        if root.name() == name {
            return Ok(());
        }
        Err(error_at(
            root,
            At::Text,
            format_args!(
                "found <{}>, expected <{name}> for this section of network '{}'",
                root.name(),
                self.name
            ),
        ))
    }

    /// The address whose DHCP entries are meant: the one at an index, the one that has DHCP, the first of IPv4, the first.
    fn dhcp_parent(&self, parent: i32) -> Result<usize> {
        if let Ok(index) = usize::try_from(parent) {
            return if index < self.ips.len() {
                Ok(index)
            } else {
                Err(invalid(format_args!(
                    "network '{}' has no <ip> with index {parent}",
                    self.name
                )))
            };
        }
        let position = |wanted: &dyn Fn(&NetworkIp) -> bool| self.ips.iter().position(wanted);
        position(&NetworkIp::serves_dhcp)
            .or_else(|| position(&|ip| ip.address.is_ipv4()))
            .or_else(|| position(&|ip| ip.address.is_ipv6()))
            .ok_or_else(|| {
                invalid(format_args!(
                    "network '{}' has no <ip>, and nowhere for DHCP",
                    self.name
                ))
            })
    }

    /// DHCP is served on one address of a family.
    fn check_one_dhcp(&self, at: usize) -> Result<()> {
        let is_ipv6 = self.ips.get(at).is_some_and(|ip| ip.address.is_ipv6());
        let other = |(index, ip): (usize, &NetworkIp)| {
            index != at && ip.address.is_ipv6() == is_ipv6 && ip.serves_dhcp()
        };
        if self.ips.iter().enumerate().any(other) {
            let family = if is_ipv6 { "IPv6" } else { "IPv4" };
            return Err(invalid(format_args!(
                "network '{}' has DHCP for another {family} address already, and one is all",
                self.name
            )));
        }
        Ok(())
    }

    fn update_dhcp_host(
        &mut self,
        command: Option<Command>,
        parent: i32,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "host")?;
        let at = self.dhcp_parent(parent)?;
        let partial = command == Some(Command::Delete);
        let host = DhcpHost::read(root, cx)?;
        let is_ipv6 = self.ips.get(at).is_some_and(|ip| ip.address.is_ipv6());
        host.check(root, cx, is_ipv6, partial)?;
        if !partial && host.address.is_some_and(|address| address.is_ipv6() != is_ipv6) {
            return Err(invalid("the address is not of the family that its <ip> has"));
        }
        if is_add(command) {
            self.check_one_dhcp(at)?;
        }
        let network = self.name.clone();
        let Some(ip) = self.ips.get_mut(at) else {
            return Ok(());
        };
        let shown = || {
            let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
            let address = host.address.map_or_else(|| "unknown".to_owned(), ip::format);
            format!(
                "<host mac='{}' name='{}' ip='{address}'/>",
                show(&host.mac),
                show(&host.name)
            )
        };
        let hosts = &mut ip.dhcp.get_or_insert_default().hosts;
        // Any one of these names a host.
        let same = |known: &DhcpHost| {
            host.has_mac_of(known)
                || (host.address.is_some() && host.address == known.address)
                || (host.name.is_some() && host.name == known.name)
        };
        let result = match command {
            None => known(command).map(drop),
            Some(Command::Modify) => match hosts.iter_mut().find(|known| same(known)) {
                Some(known) => {
                    *known = host;
                    Ok(())
                }
                None => Err(invalid(format_args!(
                    "couldn't locate an existing dhcp host entry that matches \"{}\" in network '{network}'",
                    shown()
                ))),
            },
            Some(Command::AddFirst | Command::AddLast) if hosts.iter().any(same) => {
                Err(invalid(format_args!(
                    "network '{network}' has a <host> of DHCP like {} already",
                    shown()
                )))
            }
            Some(command @ (Command::AddFirst | Command::AddLast)) => {
                command.add(hosts, host);
                Ok(())
            }
            Some(Command::Delete) => {
                // All that is said must match.
                let matches = |known: &DhcpHost| {
                    (host.mac.is_none() || known.mac.is_none() || host.has_mac_of(known))
                        && (host.name.is_none() || host.name == known.name)
                        && (host.address.is_none() || host.address == known.address)
                };
                remove_first(hosts, matches).ok_or_else(|| {
                    invalid(format_args!(
                        "network '{network}' has no <host> of DHCP like that"
                    ))
                })
            }
        };
        ip.drop_void_dhcp();
        result
    }

    fn update_dhcp_range(
        &mut self,
        command: Option<Command>,
        parent: i32,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "range")?;
        let at = self.dhcp_parent(parent)?;
        if command == Some(Command::Modify) {
            virt_util::bail!(
                ErrorCode::OPERATION_UNSUPPORTED,
                "a <range> of DHCP does not change: delete it and add another"
            );
        }
        let range = DhcpRange::read(root, cx)?;
        if let Some(ip) = self.ips.get(at) {
            ip.check_range(&range, root, cx)?;
        }
        if is_add(command) {
            self.check_one_dhcp(at)?;
        }
        let network = self.name.clone();
        let Some(ip) = self.ips.get_mut(at) else {
            return Ok(());
        };
        let (start, end) = (ip::format(range.start), ip::format(range.end));
        let same = |known: &DhcpRange| known.start == range.start && known.end == range.end;
        let ranges = &mut ip.dhcp.get_or_insert_default().ranges;
        let result = match command {
            None => known(command).map(drop),
            Some(Command::Delete) => remove_first(ranges, same).ok_or_else(|| {
                invalid(format_args!(
                    "network '{network}' has no <range start='{start}' end='{end}'/> of DHCP"
                ))
            }),
            Some(_) if ranges.iter().any(same) => Err(invalid(format_args!(
                "network '{network}' has <range start='{start}' end='{end}'/> of DHCP already"
            ))),
            Some(command) => {
                command.add(ranges, range);
                Ok(())
            }
        };
        ip.drop_void_dhcp();
        result
    }

    fn update_interface(
        &mut self,
        command: Option<Command>,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "interface")?;
        if command == Some(Command::Modify) {
            virt_util::bail!(
                ErrorCode::OPERATION_UNSUPPORTED,
                "an <interface> of <forward> does not change: delete it and add another"
            );
        }
        let interface = ForwardInterface::read(root, cx)?;
        let name = &self.name;
        let forward = self.forward.get_or_insert_with(|| Forward {
            mode: ForwardMode::None,
            ..Forward::default()
        });
        let known = forward
            .interfaces
            .iter()
            .position(|known| known.device == interface.device);
        let result = self::known(command).and_then(|command| match (known, command) {
            (Some(_), Command::AddFirst | Command::AddLast) => Err(invalid(format_args!(
                "network '{name}' has <interface dev='{}'/> already",
                interface.device
            ))),
            (None, Command::Delete) => Err(invalid(format_args!(
                "network '{name}' has no <interface dev='{}'/>",
                interface.device
            ))),
            (Some(at), _) => match forward.interfaces.get(at).map_or(0, |known| known.connections) {
                0 => {
                    forward.interfaces.remove(at);
                    Ok(())
                }
                users => Err(invalid(format_args!(
                    "interface '{}' of network '{name}' serves {users} guests: detach them first",
                    interface.device
                ))),
            },
            (None, _) => {
                command.add(&mut forward.interfaces, interface);
                Ok(())
            }
        });
        forward.device = forward
            .interfaces
            .first()
            .map(|interface| interface.device.clone());
        if self.mode() == ForwardMode::None {
            self.forward = None;
        }
        result
    }

    fn update_port_group(
        &mut self,
        command: Option<Command>,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "portgroup")?;
        let group = PortGroup::read(root, cx)?;
        let name = &self.name;
        let found = self.port_groups.iter().position(|known| known.name == group.name);
        match found {
            None if matches!(command, Some(Command::Modify | Command::Delete)) => {
                return Err(invalid(format_args!(
                    "network '{name}' has no <portgroup name='{}'>",
                    group.name
                )));
            }
            Some(_) if is_add(command) => {
                return Err(invalid(format_args!(
                    "network '{name}' has <portgroup name='{}'> already",
                    group.name
                )));
            }
            _ => {}
        }
        let default = self.port_groups.iter().rposition(|known| known.default);
        if command != Some(Command::Delete) && group.default && default.is_some() && default != found {
            return Err(invalid(format_args!(
                "network '{name}' has another <portgroup> with default='yes': one is all"
            )));
        }
        let command = known(command)?;
        match found {
            Some(at) if command == Command::Delete => {
                self.port_groups.remove(at);
            }
            Some(at) => {
                if let Some(known) = self.port_groups.get_mut(at) {
                    *known = group;
                }
            }
            None => command.add(&mut self.port_groups, group),
        }
        Ok(())
    }

    /// The name server's records; without any the element goes away again.
    fn with_dns(&mut self, change: impl FnOnce(&mut Dns, &str) -> Result<()>) -> Result<()> {
        let mut dns = self.dns.take().unwrap_or_default();
        let result = change(&mut dns, &self.name);
        self.dns = (dns != Dns::default()).then_some(dns);
        result
    }

    fn update_dns_host(
        &mut self,
        command: Option<Command>,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "host")?;
        let host = DnsHost::read(root, cx)?;
        if is_add(command) {
            host.check_whole(root, cx)?;
        }
        self.with_dns(|dns, network| {
            let same = |known: &DnsHost| {
                (host.address.is_some() && host.address == known.address)
                    || (command == Some(Command::Delete) && host.names.iter().any(|name| known.names.contains(name)))
            };
            let found: Vec<usize> = positions(&dns.hosts, same);
            match (found.as_slice(), known(command)?) {
                ([], command @ (Command::AddFirst | Command::AddLast)) => command.add(&mut dns.hosts, host),
                (_, Command::AddFirst | Command::AddLast) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has a DNS <host> with that address or name already"
                    )));
                }
                ([at], Command::Delete) => {
                    dns.hosts.remove(*at);
                }
                ([at], Command::Modify) => {
                    // A record keeps at least one name.
                    host.check_whole(root, cx)?;
                    if let Some(known) = dns.hosts.get_mut(*at) {
                        *known = host;
                    }
                }
                ([], _) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has no DNS <host> like that"
                    )));
                }
                (_, _) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has several DNS <host> like that: say more of the one that is meant"
                    )));
                }
            }
            Ok(())
        })
    }

    fn update_dns_service(
        &mut self,
        command: Option<Command>,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        if command == Some(Command::Modify) {
            virt_util::bail!(
                ErrorCode::OPERATION_UNSUPPORTED,
                "a DNS <srv> does not change: delete it and add another"
            );
        }
        self.expect(root, "srv")?;
        let service = DnsService::read(root, cx)?;
        if is_add(command) {
            service.check_whole(root, cx)?;
        }
        self.with_dns(|dns, network| {
            let same = |known: &DnsService| {
                let says = |said: &Option<String>, known: &Option<String>| said.is_none() || said == known;
                says(&service.domain, &known.domain)
                    && says(&service.service, &known.service)
                    && says(&service.protocol, &known.protocol)
                    && says(&service.target, &known.target)
            };
            let found = positions(&dns.services, same);
            match (found.as_slice(), known(command)?) {
                ([], command @ (Command::AddFirst | Command::AddLast)) => command.add(&mut dns.services, service),
                (_, Command::AddFirst | Command::AddLast) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has a DNS <srv> like that already"
                    )));
                }
                ([at], _) => {
                    dns.services.remove(*at);
                }
                ([], _) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has no DNS <srv> like that"
                    )));
                }
                (_, _) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has several DNS <srv> like that: say more of the one that is meant"
                    )));
                }
            }
            Ok(())
        })
    }

    fn update_dns_text(
        &mut self,
        command: Option<Command>,
        root: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        self.expect(root, "txt")?;
        let text = DnsText::read(root, cx)?;
        if is_add(command) {
            text.check_whole(root, cx)?;
        }
        self.with_dns(|dns, network| {
            let found = dns.texts.iter().position(|known| known.name == text.name);
            match (found, known(command)?) {
                (Some(_), Command::AddFirst | Command::AddLast) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has <txt name='{}'/> of DNS already",
                        text.name
                    )));
                }
                (None, command @ (Command::AddFirst | Command::AddLast)) => command.add(&mut dns.texts, text),
                (None, _) => {
                    return Err(invalid(format_args!(
                        "network '{network}' has no <txt name='{}'/> of DNS",
                        text.name
                    )));
                }
                (Some(at), Command::Delete) => {
                    dns.texts.remove(at);
                }
                (Some(_), Command::Modify) if text.value.is_none() => {
                    return Err(invalid(format_args!(
                        "<txt name='{}'> of DNS in network '{network}' has no value to change to",
                        text.name
                    )));
                }
                (Some(at), Command::Modify) => {
                    if let Some(known) = dns.texts.get_mut(at) {
                        known.value = text.value;
                    }
                }
            }
            Ok(())
        })
    }
}

impl NetworkIp {
    /// An element that says nothing is as good as none.
    fn drop_void_dhcp(&mut self) {
        if self.dhcp.as_ref().is_some_and(|dhcp| *dhcp == Default::default()) {
            self.dhcp = None;
        }
    }
}

/// Takes the first entry that fits out; `None` if there is none.
fn remove_first<T>(entries: &mut Vec<T>, fits: impl Fn(&T) -> bool) -> Option<()> {
    let at = entries.iter().position(fits)?;
    entries.remove(at);
    Some(())
}

fn positions<T>(entries: &[T], fits: impl Fn(&T) -> bool) -> Vec<usize> {
    entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| fits(entry))
        .map(|(at, _)| at)
        .collect()
}
