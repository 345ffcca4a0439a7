//! The sockets of the daemon: passed by the service manager, kept from the process before, or made as configured.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use parking_lot::Mutex;
use virt_api::plugin::Role as PluginRole;
use virt_util::error::SystemResult;
use virt_util::sys::inherit::inherited_fd;
use virt_util::{ErrorCode, Result, VirtError};

use super::Daemon;
use crate::config::value::Port;
use crate::config::{Auth, DaemonConfig};
use crate::host::DaemonHost;
use crate::isolation::Isolation;
use crate::server::{Listener, Place, Scope, Server, bind_unix};
use crate::service::activation::{self, Service, Sockets};
use crate::service::names::DaemonName;
use crate::service::paths::{Paths, Scope as Reach, UserFolders};

/// Where a process that becomes its successor leaves its sockets: its number, then `DESCRIPTOR PLACE` for each.
const KEPT: &str = "VIRTD_KEPT_SOCKETS";

/// Sockets that were open before this program was put in the place of its predecessor.
#[derive(Debug, Default)]
pub(super) struct Inherited(Mutex<Vec<(Place, OwnedFd)>>);

impl Inherited {
    /// Those that the environment names. What cannot be used is made anew.
    pub(super) fn from_environment() -> Self {
        let sockets = kept().into_iter().filter_map(|(kind, rest, number)| {
            let place = match kind.as_str() {
                "unix" => Place::Unix(PathBuf::from(rest)),
                "tcp" => Place::Tcp(rest.parse().ok()?),
                "tls" => Place::Tls(rest.parse().ok()?),
                _ => return None,
            };
            Some((place, taken(number).ok()?))
        });
        Self(Mutex::new(sockets.collect()))
    }

    fn take(&self, place: &Place) -> Option<OwnedFd> {
        let mut sockets = self.0.lock();
        let at = sockets.iter().position(|(known, _)| known == place)?;
        Some(sockets.swap_remove(at).1)
    }

    fn take_net(&self, tls: bool) -> Vec<(SocketAddr, OwnedFd)> {
        let sockets = std::mem::take(&mut *self.0.lock());
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for (place, socket) in sockets {
            match place {
                Place::Tcp(address) if !tls => mine.push((address, socket)),
                Place::Tls(address) if tls => mine.push((address, socket)),
                place => others.push((place, socket)),
            }
        }
        *self.0.lock() = others;
        mine
    }
}

/// What the environment says of kept sockets: kind, which one, number.
fn kept() -> Vec<(String, String, RawFd)> {
    let text = std::env::var(KEPT).unwrap_or_default();
    let mut lines = text.lines();
    // A child of the predecessor has its environment and not its sockets.
    if lines.next() != Some(std::process::id().to_string().as_str()) {
        return Vec::new();
    }
    let sockets = lines.filter_map(|line| {
        let (number, place) = line.split_once(' ')?;
        let (kind, rest) = place.split_once(':')?;
        Some((kind.to_owned(), rest.to_owned(), number.parse().ok()?))
    });
    sockets.collect()
}

/// The socket with that number, which children do not get; the number itself is closed.
fn taken(number: RawFd) -> Result<OwnedFd> {
    let socket = inherited_fd(number)?;
    activation::drop_number(number);
    Ok(socket)
}

/// The sockets that the service manager passed to the predecessor; `None` if there were none.
///
/// # Errors
/// `INTERNAL_ERROR` for one that nobody knows, or that is not open.
pub(super) fn passed_before(daemon: &DaemonName) -> Result<Option<Sockets>> {
    let mut sockets = Sockets::new();
    for (kind, unit, number) in kept() {
        if kind == "passed" {
            let service = activation::service_of(&unit, daemon)?;
            sockets.entry(service).or_default().push(taken(number)?);
        }
    }
    Ok((!sockets.is_empty()).then_some(sockets))
}

/// Keeps the sockets of `server` open for the program that this process becomes; the variable that says so.
pub(super) fn keep(server: &Server) -> Result<(&'static str, String)> {
    let mut text = format!("{}\n", std::process::id());
    // The private socket goes with its processes.
    let kept = |listener: &Arc<Listener>| listener.scope != Scope::Isolated;
    for listener in server.listeners().into_iter().filter(kept) {
        let place = match &listener.place {
            // Those that were passed are known by their units.
            _ if listener.is_passed => format!("passed:{}", listener.name),
            Place::Unix(path) => format!("unix:{}", path.display()),
            Place::Tcp(address) => format!("tcp:{address}"),
            Place::Tls(address) => format!("tls:{address}"),
        };
        fcntl(&listener.socket, FcntlArg::F_SETFD(FdFlag::empty()))
            .or_system(|| format!("cannot keep socket '{}'", listener.name))?;
        text.push_str(&format!("{} {place}\n", listener.socket.as_raw_fd()));
    }
    Ok((KEPT, text))
}

/// How clients of a socket prove who they are.
fn auth_of(config: &DaemonConfig, listener: &Listener) -> Auth {
    match (&listener.place, &listener.scope) {
        (_, Scope::Admin | Scope::Isolated) => Auth::None,
        (Place::Tcp(_), _) => config.auth_tcp,
        (Place::Tls(_), _) => config.auth_tls,
        (Place::Unix(_), _) if listener.read_only => config.auth_unix_ro,
        (Place::Unix(_), _) => config.auth_unix_rw,
    }
}

/// Has clients that come from now on prove who they are as `config` says. To be called on the runtime.
pub(super) fn reload_auth(server: &Arc<Server>, config: &DaemonConfig, reach: Reach) {
    for listener in server.listeners() {
        let auth = auth_of(config, &listener);
        if auth == **listener.auth.load() {
            continue;
        }
        // The usual mode of a socket goes with what guards it: it has to be narrow before nothing else does.
        if let Place::Unix(path) = &listener.place
            && !listener.read_only
            && !listener.is_passed
            && reach == Reach::System
        {
            let mode = std::fs::Permissions::from_mode(config.rw_mode().0);
            if let Err(error) = std::fs::set_permissions(path, mode) {
                tracing::error!("'{}' keeps its mode and what guards it: {error}", path.display());
                continue;
            }
        }
        tracing::info!(
            "clients of '{}' prove who they are by {}",
            listener.name,
            auth.name()
        );
        server.change_auth(&listener, auth);
    }
}

impl Daemon {
    /// Sockets on the network.
    fn network_listeners(&self, listeners: &mut Vec<Listener>) -> Result<()> {
        let services = [
            (
                self.config.listen_tcp,
                Service::Tcp,
                &self.config.tcp_port,
                self.config.auth_tcp,
            ),
            (
                self.config.listen_tls,
                Service::Tls,
                &self.config.tls_port,
                self.config.auth_tls,
            ),
        ];
        for (wanted, service, port, auth) in services {
            if !wanted {
                continue;
            }
            let queue = i32::try_from(self.config.max_queued_clients).unwrap_or(i32::MAX);
            let inherited = self.inherited.take_net(service == Service::Tls);
            let sockets = match inherited.is_empty() {
                true => bind_net(self.config.listen_addr.as_deref(), port, queue)?,
                false => inherited,
            };
            for (address, socket) in sockets {
                listeners.push(Listener {
                    name: service.unit(&self.name),
                    place: match service {
                        Service::Tls => Place::Tls(address),
                        _ => Place::Tcp(address),
                    },
                    scope: Scope::All,
                    read_only: false,
                    auth: ArcSwap::from_pointee(auth),
                    socket,
                    is_passed: false,
                });
            }
        }
        Ok(())
    }

    /// The private socket for drivers in processes of their own.
    pub(super) fn isolated_listener(&self, isolation: &Isolation) -> Result<Listener> {
        isolation.make_folder()?;
        let path = isolation.own_socket();
        Ok(Listener {
            name: "virtd-isolated".to_owned(),
            socket: bind_unix(&path, 0o700, None, i32::from(i16::MAX))?,
            place: Place::Unix(path),
            scope: Scope::Isolated,
            read_only: false,
            auth: ArcSwap::from_pointee(Auth::None),
            is_passed: false,
        })
    }

    /// The sockets to listen on: those that were passed, or those that the configuration names.
    pub(super) fn listeners(&mut self, host: &DaemonHost) -> Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        if let Some(passed) = self.passed.take() {
            for (service, sockets) in passed {
                for socket in sockets {
                    listeners.push(self.passed_listener(service, socket)?);
                }
            }
            return Ok(listeners);
        }
        if let Some(path) = &self.options.isolated_socket {
            // A driver in a process of its own answers its daemon and nobody else.
            listeners.push(Listener {
                name: Service::Main.unit(&self.name),
                place: Place::Unix(path.clone()),
                scope: Scope::Isolated,
                read_only: false,
                auth: ArcSwap::from_pointee(Auth::None),
                socket: bind_unix(path, 0o700, None, i32::from(i16::MAX))?,
                is_passed: false,
            });
            return Ok(listeners);
        }
        self.unix_listeners(&self.name, &self.paths, Scope::All, &mut listeners)?;
        if self.listens() {
            self.network_listeners(&mut listeners)?;
        }
        let modular: Vec<String> = if self.options.modular {
            host.drivers()
                .into_iter()
                .filter(|manifest| manifest.role == PluginRole::Stateful)
                .map(|manifest| manifest.name)
                .collect()
        } else if self.options.driver.len() > 1 {
            self.options.driver.clone()
        } else {
            Vec::new()
        };
        for driver in modular {
            let name = DaemonName::of_driver(&driver)?;
            let folders = UserFolders::from_environment();
            let paths = Paths::new(&name, self.reach, &folders, self.paths.socket.parent())?;
            self.unix_listeners(&name, &paths, Scope::Driver(driver), &mut listeners)?;
        }
        Ok(listeners)
    }

    fn passed_listener(&self, service: Service, socket: OwnedFd) -> Result<Listener> {
        fcntl(&socket, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .or_system(|| "cannot prepare a passed socket")?;
        let (place, scope, read_only, auth) = match service {
            Service::Main => (
                Place::Unix(self.paths.socket.clone()),
                Scope::All,
                false,
                self.config.auth_unix_rw,
            ),
            Service::ReadOnly => (
                Place::Unix(self.paths.socket_ro.clone().unwrap_or_default()),
                Scope::All,
                true,
                self.config.auth_unix_ro,
            ),
            Service::Admin => (
                Place::Unix(self.paths.socket_admin.clone()),
                Scope::Admin,
                false,
                Auth::None,
            ),
            Service::Tcp | Service::Tls => {
                let socket = std::net::TcpListener::from(
                    socket
                        .try_clone()
                        .map_err(|error| VirtError::io(&error, "cannot prepare a passed socket"))?,
                );
                let address = socket
                    .local_addr()
                    .map_err(|error| VirtError::io(&error, "a passed socket has no network address"))?;
                match service {
                    Service::Tls => (Place::Tls(address), Scope::All, false, self.config.auth_tls),
                    _ => (Place::Tcp(address), Scope::All, false, self.config.auth_tcp),
                }
            }
        };
        Ok(Listener {
            name: service.unit(&self.name),
            place,
            scope,
            read_only,
            auth: ArcSwap::from_pointee(auth),
            socket,
            is_passed: true,
        })
    }

    fn unix_listeners(
        &self,
        name: &DaemonName,
        paths: &Paths,
        scope: Scope,
        listeners: &mut Vec<Listener>,
    ) -> Result<()> {
        // A group that does not exist is a mistake also where it is of no use.
        let group = self.config.unix_sock_group.as_deref().map(group_id).transpose()?;
        let group = group.filter(|_| self.reach == Reach::System);
        let session = self.reach == Reach::Session;
        let queue = i32::try_from(self.config.max_queued_clients).unwrap_or(i32::MAX);
        let mode = |mode: u32| if session { 0o700 } else { mode };
        let admin_queue = i32::try_from(self.config.admin_max_queued_clients).unwrap_or(i32::MAX);
        let mut add = |service: Service, path: &Path, permissions: u32, scope: Scope, read_only, auth| {
            let queue = match service {
                Service::Admin => admin_queue,
                _ => queue,
            };
            listeners.push(Listener {
                name: service.unit(name),
                place: Place::Unix(path.to_owned()),
                scope,
                read_only,
                auth: ArcSwap::from_pointee(auth),
                socket: match self.inherited.take(&Place::Unix(path.to_owned())) {
                    Some(socket) => socket,
                    None => bind_unix(path, mode(permissions), group, queue)?,
                },
                is_passed: false,
            });
            Ok::<(), VirtError>(())
        };
        add(
            Service::Main,
            &paths.socket,
            self.config.rw_mode().0,
            scope.clone(),
            false,
            self.config.auth_unix_rw,
        )?;
        if let Some(path) = &paths.socket_ro {
            let permissions = self.config.unix_sock_ro_perms.0;
            add(
                Service::ReadOnly,
                path,
                permissions,
                scope,
                true,
                self.config.auth_unix_ro,
            )?;
        }
        let permissions = self.config.unix_sock_admin_perms.0;
        add(
            Service::Admin,
            &paths.socket_admin,
            permissions,
            Scope::Admin,
            false,
            Auth::None,
        )
    }
}

/// Sockets on that address, or on every address of the host.
fn bind_net(address: Option<&str>, port: &Port, queue: i32) -> Result<Vec<(SocketAddr, OwnedFd)>> {
    use std::net::{TcpListener, ToSocketAddrs};
    let number = port.number().ok_or_else(|| {
        VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("'{}' is neither a port nor a TCP service of this host", port.0),
        )
    })?;
    let listen = |address: SocketAddr| {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let queue = nix::sys::socket::Backlog::new(queue).unwrap_or(nix::sys::socket::Backlog::MAXCONN);
        // The queue of a socket that listens can be changed by listening again.
        nix::sys::socket::listen(&socket, queue)?;
        Ok((socket.local_addr()?, socket.into()))
    };
    let context = |error: &std::io::Error| {
        let name = address.unwrap_or("*");
        VirtError::io(error, format_args!("cannot listen on '{name}' port {number}"))
    };
    let Some(name) = address else {
        // One socket serves both families where the host has IPv6.
        let any6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, number));
        let any4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, number));
        let bound = listen(any6).or_else(|_: std::io::Error| listen(any4));
        return Ok(vec![bound.map_err(|error| context(&error))?]);
    };
    let addresses: Vec<_> = (name, number)
        .to_socket_addrs()
        .map_err(|error| context(&error))?
        .collect();
    addresses
        .into_iter()
        .map(|address| listen(address).map_err(|error: std::io::Error| context(&error)))
        .collect()
}

fn group_id(name: &str) -> Result<u32> {
    let found = nix::unistd::Group::from_name(name).or_system(|| format!("cannot look up group '{name}'"))?;
    match (found, name.parse()) {
        (Some(group), _) => Ok(group.gid.as_raw()),
        (None, Ok(number)) => Ok(number),
        (None, Err(_)) => Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("unix_sock_group: there is no group '{name}'"),
        )),
    }
}
