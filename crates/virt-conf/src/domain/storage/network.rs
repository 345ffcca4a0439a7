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
#[xml(name = "source", check = NetworkStorage::after_read)]
pub struct NetworkStorage {
    /// How the server is spoken to.
    #[xml("@protocol")]
    pub protocol: NetProtocol,
    /// Name of the image on the server: volume and path, pool and image, export, target …
    #[xml("@name", nonempty)]
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
    #[xml("reconnect@delay", default)]
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
    #[xml("ssl@verify")]
    pub ssl_verify: Option<bool>,
    /// Cookies sent with each request.
    #[xml("cookies/cookie", when = w.has(XmlFlags::SECURE))]
    pub cookies: Vec<Cookie>,
    /// Bytes read ahead.
    #[xml("readahead+@size", own, default, nonempty)]
    pub readahead: u64,
    /// Seconds until a request fails.
    #[xml("timeout+@seconds", own, default, nonempty)]
    pub timeout: u64,
    /// File with the keys of known SSH servers.
    #[xml("knownHosts@path", expected, read_when = protocol == NetProtocol::Ssh, when = self.protocol == NetProtocol::Ssh)]
    pub known_hosts: Option<String>,
    /// Who logs in to an SSH server.
    #[xml("identity", when = self.protocol == NetProtocol::Ssh)]
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
#[xml(name = "identity")]
pub struct SshIdentity {
    /// User name.
    #[xml("@username")]
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
#[xml(name = "host", check = StorageHost::after_read)]
pub struct StorageHost {
    /// Name or address.
    #[xml("@name")]
    pub name: Option<String>,
    /// Number of the server's TCP port; 0 for the protocol's own.
    #[xml("@port", default, max = 65535, code = virt_util::ErrorCode::INVALID_ARG, reported_by = virt_util::ErrorDomain::NONE, read_when = element.attr("transport").as_deref() != Some("unix"))]
    pub port: u32,
    /// How it is reached.
    #[xml("@transport", default)]
    pub transport: HostTransport,
    /// Path of a unix socket.
    #[xml("@socket")]
    pub socket: Option<String>,
}

/// A cookie for an HTTP server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "cookie")]
pub struct Cookie {
    /// What the server knows the cookie by.
    #[xml("@name")]
    pub name: String,
    /// What is sent to the server.
    #[xml("text()")]
    pub value: Option<String>,
}

impl NetworkStorage {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use NetProtocol as P;
        let protocol = self.protocol;
        if self.name.is_none() && protocol != P::Nbd {
            cx.fail(error_at(
                element,
                At::Text,
                format_args!("protocol '{protocol}' needs a name of the image"),
            ))?;
        }
        if matches!(protocol, P::Gluster | P::Rbd)
            && let Some(name) = &self.name
            && name.find('/').is_none_or(|at| at == 0)
        {
            let what = format!("name '{name}': expected POOL/IMAGE");
            cx.fail(error_at(element, At::Attribute("name"), what))?;
        }
        let web = matches!(protocol, P::Http | P::Https);
        let files = web || matches!(protocol, P::Ftp | P::Ftps);
        if !web {
            self.query = None;
            self.cookies.clear();
        }
        if !matches!(protocol, P::Https | P::Ftps) {
            self.ssl_verify = None;
        }
        if !files {
            (self.readahead, self.timeout) = (0, 0);
        }
        if protocol != P::Nbd {
            self.reconnect_delay = 0;
        }
        if protocol == P::Nfs {
            self.nfs_identity.get_or_insert_default();
        } else {
            self.nfs_identity = None;
        }
        if protocol == P::Ssh {
            if let Some(identity) = &self.ssh_identity {
                if identity.username.is_none() {
                    cx.fail(error_at(
                        element,
                        At::Child("identity"),
                        "missing required attribute 'username'",
                    ))?;
                }
                if identity.keyfile.is_none() && identity.agent_socket.is_none() {
                    let what = "expected 'keyfile' or 'agentsock', found none";
                    cx.fail(error_at(element, At::Child("identity"), what))?;
                }
            }
        } else {
            (self.known_hosts, self.ssh_identity) = (None, None);
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
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let unix = matches!(self.transport, HostTransport::Unix);
        if self.transport == HostTransport::Fd {
            let what = "a host that is reached by a descriptor is not allowed here";
            cx.fail(error_at(element, At::Attribute("transport"), what))?;
        }
        if unix {
            // The socket is all.
            (self.name, self.port) = (None, 0);
        }
        if unix && self.socket.is_none() {
            cx.fail(error_at(element, At::Text, "transport 'unix' needs 'socket'"))?;
        }
        if !unix && self.socket.is_some() {
            let what = format!("'socket' is for transport 'unix', not '{}'", self.transport);
            cx.fail(error_at(element, At::Attribute("socket"), what))?;
        }
        if self.transport != HostTransport::Unix && self.name.is_none() && self.transport != HostTransport::Fd
        {
            cx.fail(error_at(
                element,
                At::Text,
                format_args!("transport '{}' needs the 'name' of a host", self.transport),
            ))?;
        }
        Ok(())
    }
}
