//! Where a URI leads: which transport, with which parameters, and what the other side is to open.

use std::time::Duration;

use virt_util::uri::Uri;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

/// How the bytes get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tls,
    Unix,
    Ssh,
    Libssh2,
    Ext,
    Tcp,
    Libssh,
}

impl Transport {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "tls" => Self::Tls,
            "unix" => Self::Unix,
            "ssh" => Self::Ssh,
            "libssh2" => Self::Libssh2,
            "ext" => Self::Ext,
            "tcp" => Self::Tcp,
            "libssh" => Self::Libssh,
            _ => return None,
        })
    }

    /// The name in URIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Unix => "unix",
            Self::Ssh => "ssh",
            Self::Libssh2 => "libssh2",
            Self::Ext => "ext",
            Self::Tcp => "tcp",
            Self::Libssh => "libssh",
        }
    }

    /// Whether nobody can listen or speak in between.
    pub fn is_secure(self) -> bool {
        !matches!(self, Self::Tcp | Self::Ext)
    }

    /// Whether what goes over the connection is encrypted, as libvirt tells it: ssh is another program's business.
    pub fn is_encrypted(self) -> bool {
        self == Self::Tls
    }
}

/// Which daemon: the one for everything or the driver's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Auto,
    Legacy,
    Direct,
}

/// What connects to the daemon's socket on a host reached by ssh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Auto,
    Netcat,
    Native,
}

/// What a URI says, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub uri: Uri,
    /// The scheme before `+`; `None` where the other side is to choose.
    pub driver: Option<String>,
    pub transport: Transport,
    /// The URI that the other side opens.
    pub name: String,
    /// That, with what `virt-ssh-helper` wants to know besides.
    pub helper_name: String,
    pub command: Option<String>,
    pub socket: Option<String>,
    pub auth: Option<String>,
    pub ssh_auth: Option<String>,
    pub netcat: Option<String>,
    pub keyfile: Option<String>,
    pub pki_path: Option<String>,
    pub known_hosts: Option<String>,
    pub known_hosts_verify: Option<String>,
    pub tls_priority: Option<String>,
    pub auth_file: Option<String>,
    pub mode: Option<Mode>,
    pub proxy: Option<Proxy>,
    /// How long machines may take in a step of opening; `Some(None)` is without end.
    pub open_timeout: Option<Option<Duration>>,
    pub sanity: bool,
    pub verify: bool,
    pub tty: bool,
}

fn invalid(detail: impl std::fmt::Display) -> VirtError {
    VirtError::invalid_arg(detail).in_domain(ErrorDomain::REMOTE)
}

/// `no_verify=1` and the like: whether the thing is still to be done.
fn negated(name: &str, value: &str) -> Result<bool> {
    let number: i32 = value.trim().parse().map_err(|_| {
        invalid(format_args!(
            "Failed to parse value of URI component {name}: '{value}' is no number"
        ))
    })?;
    Ok(number == 0)
}

/// A time in whole seconds; 0 is without end.
pub(crate) fn seconds(name: &str, value: &str) -> Result<Option<Duration>> {
    let number: u32 = value.trim().parse().map_err(|_| {
        invalid(format_args!(
            "{name}='{value}': expected whole seconds, or 0 to wait without end"
        ))
    })?;
    Ok((number > 0).then(|| Duration::from_secs(number.into())))
}

pub(crate) fn mode(name: &str) -> Result<Mode> {
    Ok(match name {
        "auto" => Mode::Auto,
        "legacy" => Mode::Legacy,
        "direct" => Mode::Direct,
        other => {
            return Err(invalid(format_args!(
                "Unknown remote mode '{other}': auto, legacy or direct expected"
            )));
        }
    })
}

pub(crate) fn proxy(name: &str) -> Result<Proxy> {
    Ok(match name {
        "auto" => Proxy::Auto,
        "netcat" => Proxy::Netcat,
        "native" => Proxy::Native,
        other => {
            return Err(invalid(format_args!(
                "Unknown proxy type '{other}': auto, netcat or native expected"
            )));
        }
    })
}

fn transport(uri: &Uri) -> Result<Transport> {
    let Some(name) = uri.transport() else {
        return Ok(match uri.server {
            Some(_) => Transport::Tls,
            None => Transport::Unix,
        });
    };
    let transport = Transport::named(name).ok_or_else(|| {
        invalid(format_args!(
            "transport in URL not recognised: '{name}' (should be tls|unix|ssh|ext|tcp|libssh2|libssh)"
        ))
    })?;
    match &uri.server {
        Some(server) if transport == Transport::Unix => Err(invalid(format_args!(
            "transport 'unix' is on this host, and the URI names server '{server}'"
        ))),
        _ => Ok(transport),
    }
}

/// The URI as the other side's driver knows it: without transport, server and what was meant for us.
fn format_name(uri: &Uri, driver: &str) -> String {
    let query = uri.format_params();
    Uri {
        scheme: Some(driver.to_owned()),
        server: None,
        user: None,
        port: 0,
        path: uri.path.clone(),
        query: (!query.is_empty()).then_some(query),
        fragment: uri.fragment.clone(),
        params: Vec::new(),
    }
    .to_string()
}

impl Place {
    /// Takes a URI apart.
    pub fn of(text: &str) -> Result<Self> {
        let mut uri = Uri::parse(text)?;
        let Some(driver) = uri.driver().map(str::to_owned) else {
            return Err(invalid("the URI has no scheme, as qemu:///system has"));
        };
        let mut place = Self {
            transport: transport(&uri)?,
            driver: (driver != "remote").then(|| driver.clone()),
            name: String::new(),
            helper_name: String::new(),
            command: None,
            socket: None,
            auth: None,
            ssh_auth: None,
            netcat: None,
            keyfile: None,
            pki_path: None,
            known_hosts: None,
            known_hosts_verify: None,
            tls_priority: None,
            auth_file: None,
            mode: None,
            proxy: None,
            open_timeout: None,
            sanity: true,
            verify: true,
            tty: true,
            uri: Uri::default(),
        };
        let mut name = None;
        let mut for_helper = uri.clone();
        for (param, other) in uri.params.iter_mut().zip(&mut for_helper.params) {
            let value = param.value.clone();
            let lower = param.name.to_ascii_lowercase();
            match lower.as_str() {
                "name" => name = Some(value),
                "command" => place.command = Some(value),
                "socket" => place.socket = Some(value),
                "auth" => place.auth = Some(value),
                "sshauth" => place.ssh_auth = Some(value),
                "netcat" => place.netcat = Some(value),
                "keyfile" => place.keyfile = Some(value),
                "pkipath" => place.pki_path = Some(value),
                "known_hosts" => place.known_hosts = Some(value),
                "known_hosts_verify" => place.known_hosts_verify = Some(value),
                "tls_priority" => place.tls_priority = Some(value),
                "mode" => place.mode = Some(mode(&value)?),
                "proxy" => place.proxy = Some(proxy(&value)?),
                "open_timeout" => place.open_timeout = Some(seconds(&param.name, &value)?),
                "no_sanity" => place.sanity = negated(&param.name, &value)?,
                "no_verify" => place.verify = negated(&param.name, &value)?,
                "no_tty" => place.tty = negated(&param.name, &value)?,
                "authfile" => place.auth_file = Some(value),
                // The other side's.
                _ => continue,
            }
            param.ignore = true;
            other.ignore = !matches!(lower.as_str(), "mode" | "socket");
        }
        match name {
            Some(name) => {
                place.helper_name.clone_from(&name);
                place.name = name;
            }
            // The other side chooses.
            None if place.driver.is_none() => {}
            None => {
                place.name = format_name(&uri, &driver);
                place.helper_name = format_name(&for_helper, &driver);
            }
        }
        if place.transport == Transport::Ext && place.command.is_none() {
            return Err(invalid("for 'ext' transport, command is required"));
        }
        place.uri = uri;
        Ok(place)
    }

    /// The host, in words.
    pub fn hostname(&self) -> &str {
        self.uri.server.as_deref().unwrap_or("localhost")
    }

    /// The port to connect to; 0 leaves it to the transport.
    pub fn port(&self) -> u16 {
        match (self.uri.port, self.transport) {
            (0, Transport::Tls) => 16514,
            (0, Transport::Tcp) => 16509,
            (port, _) => port,
        }
    }

    /// The error where a mode cannot be had.
    pub fn no_direct(&self) -> VirtError {
        VirtError::new(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!("mode 'direct' is not for transport '{}'", self.transport.name()),
        )
        .in_domain(ErrorDomain::REMOTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_is_named_or_follows_from_the_server() {
        let transport = |text| Place::of(text).unwrap().transport;
        assert_eq!(transport("qemu:///system"), Transport::Unix);
        assert_eq!(transport("qemu://host/system"), Transport::Tls);
        assert_eq!(transport("qemu+SSH://host/system"), Transport::Ssh);
        assert_eq!(transport("qemu+tcp:///system"), Transport::Tcp);
        assert_eq!(transport("test+ext:///default?command=x"), Transport::Ext);
        for wrong in [
            "qemu+unix://host/system",
            "qemu+smoke://h/",
            "qemu+ext:///system",
            "qemu+ssh://h/?no_tty=x",
            "qemu:///system?mode=x",
        ] {
            assert_eq!(
                Place::of(wrong).unwrap_err().code(),
                ErrorCode::INVALID_ARG,
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_other_side_gets_its_own_uri() {
        let name = |text| Place::of(text).unwrap().name;
        assert_eq!(
            name("qemu+ssh://root@host:22/system?keyfile=/k&x=1#f"),
            "qemu:///system?x=1#f"
        );
        assert_eq!(name("test+unix:///default?socket=/s"), "test:///default");
        assert_eq!(
            name("qemu+tls://host/system?name=qemu:///session"),
            "qemu:///session"
        );
        assert_eq!(name("remote+tls://host/system"), "");
        assert_eq!(name("remote:///?name=xen:///"), "xen:///");
        let place = Place::of("qemu+ssh://host/system?socket=/run/x&mode=direct&proxy=native").unwrap();
        assert_eq!(place.name, "qemu:///system");
        assert_eq!(place.helper_name, "qemu:///system?socket=%2Frun%2Fx&mode=direct");
    }

    #[test]
    fn ports_are_usual_or_given() {
        let port = |text| Place::of(text).unwrap().port();
        assert_eq!(port("qemu://host/system"), 16514);
        assert_eq!(port("qemu+tcp://host/system"), 16509);
        assert_eq!(port("qemu+tcp://host:1/system"), 1);
        assert_eq!(port("qemu+ssh://host/system"), 0);
    }
}
