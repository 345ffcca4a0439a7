//! What a network's name server says.

use std::net::IpAddr;

use virt_util::xml::{At, Element, Reader, Xml, error_at};
use virt_util::{ErrorCode, Result};

/// The name server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "dns", order(enable, forward_plain_names, forwarders, hosts, services, texts), check = Dns::after_read)]
pub struct Dns {
    /// Whether there is one.
    #[xml("@enable")]
    pub enable: Option<bool>,
    /// Whether questions about names without a domain are sent on.
    #[xml("@forwardPlainNames")]
    pub forward_plain_names: Option<bool>,
    /// To whom questions are sent on.
    #[xml("forwarder")]
    pub forwarders: Vec<DnsForwarder>,
    /// TXT records that are answered.
    #[xml("txt", then = check_each(&texts, "txt", DnsText::check_whole, element, cx))]
    pub texts: Vec<DnsText>,
    /// SRV records that are answered.
    #[xml("srv", then = check_each(&services, "srv", DnsService::check_whole, element, cx))]
    pub services: Vec<DnsService>,
    /// Names and their addresses.
    #[xml("host", then = check_each(&hosts, "host", DnsHost::check_whole, element, cx))]
    pub hosts: Vec<DnsHost>,
}

/// To whom questions are sent on.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "forwarder", own, check = DnsForwarder::after_read)]
pub struct DnsForwarder {
    /// Questions about this domain alone.
    #[xml("@domain")]
    pub domain: Option<String>,
    /// The server; none: questions about the domain go to the host's servers.
    #[xml("@addr")]
    pub address: Option<IpAddr>,
}

/// A TXT record.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "txt", code = ErrorCode::XML_DETAIL, check = DnsText::after_read)]
pub struct DnsText {
    /// Which domain name the record belongs to.
    #[xml("@name")]
    pub name: String,
    /// The text; every stored record has one.
    #[xml("@value")]
    pub value: Option<String>,
}

/// An SRV record. Port, priority and weight are there only beside a target.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "srv", code = ErrorCode::XML_DETAIL, check = DnsService::after_read)]
pub struct DnsService {
    /// The service; every stored record has one.
    #[xml("@service")]
    pub service: Option<String>,
    /// The protocol; every stored record has one.
    #[xml("@protocol")]
    pub protocol: Option<String>,
    /// The domain; none: the network's.
    #[xml("@domain")]
    pub domain: Option<String>,
    /// Who has the service.
    #[xml("@target")]
    pub target: Option<String>,
    /// On which port; 0: not said.
    #[xml("@port", nonempty, default, nonzero, max = 65535)]
    pub port: u32,
    /// Lower ones are asked first; 0: not said.
    #[xml("@priority", nonempty, default, max = 65535)]
    pub priority: u32,
    /// How often it is asked among equals; 0: not said.
    #[xml("@weight", nonempty, default, max = 65535)]
    pub weight: u32,
}

/// Names of an address.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "host", body, code = ErrorCode::XML_DETAIL, check = DnsHost::after_read)]
pub struct DnsHost {
    /// The address; every stored host has one.
    #[xml("@ip")]
    pub address: Option<IpAddr>,
    /// Host names that the address is known by.
    #[xml("hostname")]
    pub names: Vec<String>,
}

/// Most bytes of a service's name.
const SERVICE_MAX: usize = 482;

/// Records that are stored are whole.
fn check_each<T>(
    records: &[T],
    name: &'static str,
    check: impl Fn(&T, Element<'_>, &mut Reader) -> Result<()>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    records
        .iter()
        .zip(element.children_named(name))
        .try_for_each(|(record, place)| check(record, place, cx))
}

impl Dns {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.enable == Some(false) && !self.is_bare() {
            cx.fail(error_at(
                element,
                At::Attribute("enable"),
                "a name server that is not enabled has no records",
            ))?;
        }
        Ok(())
    }

    /// Whether there is no record and no forwarder.
    pub fn is_bare(&self) -> bool {
        self.forwarders.is_empty()
            && self.texts.is_empty()
            && self.services.is_empty()
            && self.hosts.is_empty()
    }
}

fn lacks(element: Element<'_>, cx: &mut Reader, missing: bool, what: &str) -> Result<()> {
    match missing {
        true => cx.fail(virt_util::xml::error_with(
            ErrorCode::XML_DETAIL,
            element,
            At::Text,
            format_args!("missing {what} in this DNS record"),
        )),
        false => Ok(()),
    }
}

impl DnsForwarder {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.domain.is_none() && self.address.is_none() {
            cx.fail(error_at(
                element,
                At::Text,
                "a forwarder must have at least one of addr and domain",
            ))?;
        }
        Ok(())
    }
}

impl DnsText {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.name.contains([' ', ',']) {
            cx.fail(error_at(
                element,
                At::Attribute("name"),
                format_args!(
                    "prohibited character in DNS TXT record name '{}': no blank and comma expected",
                    self.name
                ),
            ))?;
        }
        Ok(())
    }

    pub(super) fn check_whole(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        lacks(element, cx, self.value.is_none(), "value")
    }
}

impl DnsService {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let Some(service) = self.service.as_ref().filter(|name| name.len() > SERVICE_MAX) {
            let what = format!("service '{service}' is too long, limit is {SERVICE_MAX} bytes");
            cx.fail(error_at(element, At::Attribute("service"), what))?;
        }
        for (name, value, marks) in [
            ("service", &self.service, "_-+/*"),
            ("protocol", &self.protocol, "-+/"),
        ] {
            let valid = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
            if let Some(value) = value.as_ref().filter(|value| !value.chars().all(valid)) {
                let what =
                    format!("invalid character in {name} '{value}': letters, digits and '{marks}' expected");
                cx.fail(error_at(element, At::Attribute(name), what))?;
            }
        }
        for name in ["port", "priority", "weight"] {
            if self.target.is_none() && element.attr(name).is_some_and(|value| !value.is_empty()) {
                let what = format!("DNS SRV {name} attribute not permitted without target");
                cx.fail(error_at(element, At::Attribute(name), what))?;
            }
        }
        Ok(())
    }

    pub(super) fn check_whole(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        lacks(element, cx, self.service.is_none(), "service")?;
        lacks(element, cx, self.protocol.is_none(), "protocol")
    }
}

impl DnsHost {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        lacks(
            element,
            cx,
            self.address.is_none() && self.names.is_empty(),
            "ip and hostname",
        )
    }

    pub(super) fn check_whole(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        lacks(element, cx, self.names.is_empty(), "hostname")?;
        lacks(element, cx, self.address.is_none(), "ip")
    }
}
