//! Storage on the network: servers, the protocols they speak, and what each protocol wants to know.

use virt_util::Result;
use virt_util::xml::{At, Element, Reader, Xml, XmlFlags, error_at};

xml_enum! {
    /// The protocol of network storage.
    pub enum NetProtocol { Nbd = "nbd", Rbd = "rbd", Sheepdog = "sheepdog", Gluster = "gluster", Iscsi = "iscsi", Http = "http", Https = "https", Ftp = "ftp", Ftps = "ftps", Tftp = "tftp", Ssh = "ssh", Vxhs = "vxhs", Nfs = "nfs" }
}

xml_enum! {
    /// How a storage server is reached.
    pub enum HostTransport { Tcp = "tcp", Unix = "unix", Rdma = "rdma", Fd = "fd" }
}

/// Storage on the network.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "source",
    order(protocol, name, tls, tls_hostname, tls_from_config, reconnect_delay, snapshot, config_file, query, hosts, nfs_identity,
        initiator, ssl_verify, cookies, readahead, timeout, known_hosts, ssh_identity),
    check = NetworkStorage::after_read)]
pub struct NetworkStorage {
    /// How the server is spoken to.
    #[xml("@protocol")]
    pub protocol: NetProtocol,
    /// Name of the image on the server: volume and path, pool and image, export, target …
    #[xml("@name", nonempty, then = check_name(protocol, name.as_deref(), element, cx))]
    pub name: Option<String>,
    /// Query string of a URL.
    #[xml("@query")]
    pub query: Option<String>,
    /// Whether the connection is encrypted.
    #[xml("@tls", when = self.tls.is_some() && !(w.has(XmlFlags::MIGRATABLE) && self.tls_from_config == Some(1)))]
    pub tls: Option<bool>,
    /// Name that the server's certificate must have.
    #[xml("@tlsHostname")]
    pub tls_hostname: Option<String>,
    /// Whether `tls` came from the driver's configuration: 0 or 1.
    #[xml("@tlsFromConfig", only(status))]
    pub tls_from_config: Option<u32>,
    /// The servers.
    #[xml("host")]
    pub hosts: Vec<StorageHost>,
    /// User and group on an NFS server.
    #[xml("identity", when = self.protocol == NetProtocol::Nfs, omit_empty)]
    pub nfs_identity: Option<NfsIdentity>,
    /// Seconds until a lost NBD connection is given up.
    #[xml("reconnect@delay", default, read_when = protocol == NetProtocol::Nbd)]
    pub reconnect_delay: u32,
    /// Snapshot on the server.
    #[xml("snapshot+@name", nonempty)]
    pub snapshot: Option<String>,
    /// Configuration file for the client.
    #[xml("config+@file", nonempty)]
    pub config_file: Option<String>,
    /// iSCSI qualified name of the client.
    #[xml("initiator+/iqn+@name", nonempty)]
    pub initiator: Option<String>,
    /// Whether the server's certificate is checked.
    #[xml("ssl@verify", read_when = matches!(protocol, NetProtocol::Https | NetProtocol::Ftps))]
    pub ssl_verify: Option<bool>,
    /// Cookies sent with each request.
    #[xml("cookies/cookie", when = w.has(XmlFlags::SECURE), read_when = protocol.is_web())]
    pub cookies: Vec<Cookie>,
    /// Bytes read ahead.
    #[xml("readahead+@size", own, default, nonempty, read_when = protocol.has_urls())]
    pub readahead: u64,
    /// Seconds until a request fails.
    #[xml("timeout+@seconds", own, default, nonempty, read_when = protocol.has_urls())]
    pub timeout: u64,
    /// File with the keys of known SSH servers.
    #[xml("knownHosts@path", expected, read_when = protocol == NetProtocol::Ssh, when = self.protocol == NetProtocol::Ssh)]
    pub known_hosts: Option<String>,
    /// Who logs in to an SSH server.
    #[xml("identity", when = self.protocol == NetProtocol::Ssh, read_when = protocol == NetProtocol::Ssh)]
    pub ssh_identity: Option<SshIdentity>,
}

/// User and group on an NFS server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "identity")]
pub struct NfsIdentity {
    /// User name or `+uid`.
    #[xml("@user")]
    pub user: Option<String>,
    /// Group name or `+gid`.
    #[xml("@group")]
    pub group: Option<String>,
}

/// Who logs in to an SSH server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "identity", check = SshIdentity::after_read)]
pub struct SshIdentity {
    /// User name.
    #[xml("@username", expected)]
    pub username: Option<String>,
    /// File with the private key.
    #[xml("@keyfile")]
    pub keyfile: Option<String>,
    /// Socket of an SSH agent.
    #[xml("@agentsock")]
    pub agent_socket: Option<String>,
}

/// A storage server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "host", order(transport, socket, port, name), check = StorageHost::after_read)]
pub struct StorageHost {
    /// Name or address.
    #[xml("@name", then = check_host_name(transport, name.as_deref(), element, cx))]
    pub name: Option<String>,
    /// Number of the server's TCP port; 0 for the protocol's own.
    #[xml("@port", default, max = 65535, code = virt_util::ErrorCode::INVALID_ARG, reported_by = virt_util::ErrorDomain::NONE, read_when = element.attr("transport").as_deref() != Some("unix"))]
    pub port: u32,
    /// How it is reached.
    #[xml("@transport", default)]
    pub transport: HostTransport,
    /// Path of a unix socket.
    #[xml("@socket", then = check_socket(transport, socket.as_deref(), element, cx))]
    pub socket: Option<String>,
}

/// A cookie for an HTTP server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "cookie", own)]
pub struct Cookie {
    /// What the server knows the cookie by.
    #[xml("@name")]
    pub name: String,
    /// What is sent to the server.
    #[xml("text()")]
    pub value: Option<String>,
}

/// Images have names, but for those of a server that has one alone.
fn check_name(
    protocol: NetProtocol,
    name: Option<&str>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let what = match name {
        None if protocol != NetProtocol::Nbd => format!("protocol '{protocol}' needs a name of the image"),
        Some(name)
            if matches!(protocol, NetProtocol::Gluster | NetProtocol::Rbd)
                && name.find('/').is_none_or(|at| at == 0) =>
        {
            format!("name '{name}': expected POOL/IMAGE")
        }
        _ => return Ok(()),
    };
    cx.fail(error_at(element, At::Attribute("name"), what))
}

/// A server has a socket or a name, by how it is reached.
fn check_socket(
    transport: HostTransport,
    socket: Option<&str>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let what = match (transport, socket) {
        (HostTransport::Fd, _) => "a host that is reached by a descriptor is not allowed here".to_owned(),
        (HostTransport::Unix, None) => "transport 'unix' needs 'socket'".to_owned(),
        (HostTransport::Tcp | HostTransport::Rdma, Some(_)) => {
            format!("'socket' is for transport 'unix', not '{transport}'")
        }
        _ => return Ok(()),
    };
    cx.fail(error_at(element, At::Attribute("socket"), what))
}

fn check_host_name(
    transport: HostTransport,
    name: Option<&str>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    match name.is_none() && matches!(transport, HostTransport::Tcp | HostTransport::Rdma) {
        true => {
            let what = format!("transport '{transport}' needs the 'name' of a host");
            cx.fail(error_at(element, At::Attribute("name"), what))
        }
        false => Ok(()),
    }
}

impl SshIdentity {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match self.keyfile.is_none() && self.agent_socket.is_none() {
            true => cx.fail(error_at(
                element,
                At::Text,
                "expected 'keyfile' or 'agentsock', found none",
            )),
            false => Ok(()),
        }
    }
}

impl NetworkStorage {
    fn after_read(&mut self, _: Element<'_>, _: &mut Reader) -> Result<()> {
        use NetProtocol as P;
        let protocol = self.protocol;
        if !protocol.is_web() {
            self.query = None;
        }
        if protocol == P::Nfs {
            self.nfs_identity.get_or_insert_default();
        } else {
            self.nfs_identity = None;
        }
        for host in &mut self.hosts {
            if host.transport == HostTransport::Tcp && host.port == 0 {
                host.port = protocol.default_port();
            }
        }
        Ok(())
    }
}

impl NetProtocol {
    /// Whether it is one of the Web.
    fn is_web(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether what is read is named by a URL of a file.
    fn has_urls(self) -> bool {
        self.is_web() || matches!(self, Self::Ftp | Self::Ftps)
    }

    /// The port of a server that names none; 0 where the protocol has no usual one.
    pub fn default_port(self) -> u32 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Ftp => 21,
            Self::Ftps => 990,
            Self::Tftp => 69,
            Self::Sheepdog => 7000,
            Self::Nbd => 10809,
            Self::Ssh => 22,
            Self::Iscsi => 3260,
            Self::Gluster => 24007,
            Self::Vxhs => 9999,
            Self::Nfs | Self::Rbd => 0,
        }
    }
}

impl StorageHost {
    fn after_read(&mut self, _: Element<'_>, _: &mut Reader) -> Result<()> {
        if self.transport == HostTransport::Unix {
            // The socket is all.
            (self.name, self.port) = (None, 0);
        }
        Ok(())
    }
}
