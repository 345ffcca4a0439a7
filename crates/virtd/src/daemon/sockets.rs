//! The sockets of the daemon: passed by the service manager, kept from the process before, or made as configured.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::fcntl::{FcntlArg, fcntl};
use virt_api::plugin::Role as PluginRole;
use virt_util::error::SystemResult;
use virt_util::{ErrorCode, Result, VirtError};

use super::Daemon;
use super::successor::Kept;
use crate::config::value::Port;
use crate::config::{Auth, DaemonConfig, Role};
use crate::host::DaemonHost;
use crate::isolation::Isolation;
use crate::server::{Listener, Place, Scope, Server, bind_unix};
use crate::service::activation::Service;
use crate::service::names::DaemonName;
use crate::service::paths::{Paths, Scope as Reach, UserFolders};

/// A socket to listen on, and what guards it from then on. They differ where the socket was open before: whoever waits in
/// its queue came under the old rule.
pub(super) struct Guarded {
    pub(super) listener: Listener,
    pub(super) guard: Option<Guard>,
}

impl From<Listener> for Guarded {
    fn from(listener: Listener) -> Self {
        Self {
            listener,
            guard: None,
        }
    }
}

/// What keeps people from a socket that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// How clients prove who they are.
    pub(super) auth: Auth,
    /// The mode of its file; as it is without one.
    pub(super) mode: Option<u32>,
    /// The group of its file, likewise.
    pub(super) group: Option<u32>,
}

impl Guard {
    /// Puts it in place. At no moment may anybody in who neither the old nor the new rule lets in: the file's mode is as
    /// narrow as both until the new rule holds. To be called on the runtime.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the file cannot be changed; the old rule holds then.
    pub(super) fn put(self, server: &Arc<Server>, listener: &Arc<Listener>) -> Result<()> {
        let file = match (&listener.place, self.mode) {
            // A file that was passed is not ours.
            (Place::Unix(path), Some(mode)) if !listener.is_passed => Some((path, mode)),
            _ => None,
        };
        let change = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| {
                VirtError::io(
                    &error,
                    format_args!("cannot change the mode of '{}'", path.display()),
                )
            })
        };
        let mut regroup = None;
        if let Some((path, mode)) = file {
            let found = std::fs::symlink_metadata(path).map_err(|error| {
                VirtError::io(&error, format_args!("cannot look at '{}'", path.display()))
            })?;
            let now = found.mode() & 0o777;
            regroup = self.group.filter(|group| *group != found.gid());
            let others = if regroup.is_some() { !0o070 } else { !0 };
            if now != now & mode & others {
                change(path, now & mode & others)?;
            }
        }
        if self.auth != **listener.auth.load() {
            tracing::info!(
                "clients of '{}' prove who they are by {}",
                listener.name,
                self.auth.name()
            );
            server.change_auth(listener, self.auth);
        }
        if let Some((path, mode)) = file {
            if let Some(group) = regroup {
                std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
                    VirtError::io(
                        &error,
                        format_args!("cannot change the group of '{}'", path.display()),
                    )
                })?;
            }
            change(path, mode)?;
        }
        Ok(())
    }
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
pub(super) fn reload_auth(server: &Arc<Server>, config: &DaemonConfig, role: &Role) {
    for listener in server.listeners() {
        let auth = auth_of(config, &listener);
        if auth == **listener.auth.load() {
            continue;
        }
        // The usual mode of a socket goes with what guards it.
        let guard = Guard {
            auth,
            mode: (!listener.read_only).then(|| config.rw_mode(role).0),
            group: None,
        };
        if let Err(error) = guard.put(server, &listener) {
            tracing::error!("'{}' keeps what guards it: {error}", listener.name);
        }
    }
}

impl Daemon {
    /// Sockets on the network.
    fn network_listeners(&self, listeners: &mut Vec<Guarded>) -> Result<()> {
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
            let name = service.unit(&self.name);
            let before = self.left.take_network(&name);
            let key = match service {
                Service::Tls => "tls_port",
                _ => "tcp_port",
            };
            let bound = bind_net(self.config.listen_addr.as_deref(), port, queue, before).map_err(
                |Unbound { error, blames }| match blames {
                    Blames::Port => self.config.blame(key, error),
                    Blames::Address => self.config.blame("listen_addr", error),
                },
            )?;
            for (address, kept, socket) in bound {
                let listener = Listener {
                    name: name.clone(),
                    place: match service {
                        Service::Tls => Place::Tls(address),
                        _ => Place::Tcp(address),
                    },
                    scope: Scope::All,
                    read_only: false,
                    auth: ArcSwap::from_pointee(kept.flatten().unwrap_or(auth)),
                    socket,
                    is_passed: false,
                };
                let guard = kept.is_some().then_some(Guard {
                    auth,
                    mode: None,
                    group: None,
                });
                listeners.push(Guarded { listener, guard });
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
    pub(super) fn listeners(&mut self, host: &DaemonHost) -> Result<Vec<Guarded>> {
        let mut listeners = Vec::new();
        if let Some(passed) = self.passed.take() {
            for (service, sockets) in passed.sockets {
                for socket in sockets {
                    let mut guarded = Guarded::from(self.passed_listener(service, socket)?);
                    if let Some(before) = passed.before.get(&service) {
                        let auth = guarded.listener.auth.swap(Arc::new(*before));
                        guarded.guard = Some(Guard {
                            auth: *auth,
                            mode: None,
                            group: None,
                        });
                    }
                    listeners.push(guarded);
                }
            }
            return Ok(listeners);
        }
        if let Some(path) = &self.options.isolated_socket {
            // A driver in a process of its own answers its daemon and nobody else.
            let listener = Listener {
                name: Service::Main.unit(&self.name),
                place: Place::Unix(path.clone()),
                scope: Scope::Isolated,
                read_only: false,
                auth: ArcSwap::from_pointee(Auth::None),
                socket: bind_unix(path, 0o700, None, i32::from(i16::MAX))?,
                is_passed: false,
            };
            listeners.push(listener.into());
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
        listeners: &mut Vec<Guarded>,
    ) -> Result<()> {
        // A group that does not exist is a mistake also where it is of no use.
        let group = self.config.unix_sock_group.as_deref().map(group_id).transpose();
        let group = group.map_err(|error| self.config.blame("unix_sock_group", error))?;
        let group = group.filter(|_| self.reach == Reach::System);
        let session = self.reach == Reach::Session;
        let queue = i32::try_from(self.config.max_queued_clients).unwrap_or(i32::MAX);
        let admin_queue = i32::try_from(self.config.admin_max_queued_clients).unwrap_or(i32::MAX);
        let mut add = |service: Service, path: &Path, mode: u32, scope: Scope, read_only, auth| {
            let queue = match service {
                Service::Admin => admin_queue,
                _ => queue,
            };
            let kept = self.left.take_unix(path);
            let guard = kept.is_some().then_some(Guard {
                auth,
                mode: Some(mode),
                // Without one it is the daemon's own.
                group: group.or_else(|| (!session).then(|| nix::unistd::getegid().as_raw())),
            });
            let (socket, auth) = match kept {
                Some(kept) => (kept.socket, kept.auth.unwrap_or(auth)),
                None => {
                    let socket = bind_unix(path, mode, group, queue)
                        .map_err(|error| self.config.blame("unix_sock_dir", error))?;
                    (socket, auth)
                }
            };
            let listener = Listener {
                name: service.unit(name),
                place: Place::Unix(path.to_owned()),
                scope,
                read_only,
                auth: ArcSwap::from_pointee(auth),
                socket,
                is_passed: false,
            };
            listeners.push(Guarded { listener, guard });
            Ok::<(), VirtError>(())
        };
        add(
            Service::Main,
            &paths.socket,
            self.config.rw_mode(&self.role).0,
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

/// Why there is no socket.
struct Unbound {
    error: VirtError,
    blames: Blames,
}

/// Which part of a place on the network is in the way.
#[derive(Clone, Copy)]
enum Blames {
    Address,
    Port,
}

/// Sockets on that address, or on every address of the host; of those that were open `before`, the ones that fit stay, and
/// the others are closed. What clients of a socket proved themselves by comes with one that was open before.
fn bind_net(
    address: Option<&str>,
    port: &Port,
    queue: i32,
    mut before: Vec<(SocketAddr, Kept)>,
) -> std::result::Result<Vec<(SocketAddr, Option<Option<Auth>>, OwnedFd)>, Unbound> {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, ToSocketAddrs};
    let number = port.number().ok_or_else(|| Unbound {
        error: VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("'{}' is neither a port nor a TCP service of this host", port.0),
        ),
        blames: Blames::Port,
    })?;
    let listen = |address: SocketAddr| {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let queue = nix::sys::socket::Backlog::new(queue).unwrap_or(nix::sys::socket::Backlog::MAXCONN);
        // The queue of a socket that listens can be changed by listening again.
        nix::sys::socket::listen(&socket, queue)?;
        Ok((socket.local_addr()?, None, socket.into()))
    };
    let context = |error: &std::io::Error| {
        let name = address.unwrap_or("*");
        Unbound {
            error: VirtError::io(error, format_args!("cannot listen on '{name}' port {number}")),
            blames: match error.kind() {
                std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => Blames::Port,
                _ => Blames::Address,
            },
        }
    };
    // For each socket the addresses that will do, the best one first.
    let wanted: Vec<Vec<SocketAddr>> = match address {
        // One socket serves both families where the host has IPv6.
        None => vec![vec![
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, number)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, number)),
        ]],
        Some(name) => (name, number)
            .to_socket_addrs()
            .map_err(|error| context(&error))?
            .map(|address| vec![address])
            .collect(),
    };
    let fits = |wanted: &[SocketAddr], have: &SocketAddr| {
        let same = |address: &SocketAddr| {
            // Port 0 is any that is free.
            address.ip() == have.ip() && (number == 0 || address.port() == have.port())
        };
        wanted.iter().any(same)
    };
    let found: Vec<_> = wanted
        .iter()
        .map(|wanted| {
            let at = before.iter().position(|(have, _)| fits(wanted, have))?;
            Some(before.swap_remove(at))
        })
        .collect();
    // They may be in the way of the new ones.
    drop(before);
    let sockets = wanted.iter().zip(found).map(|(wanted, found)| match found {
        Some((address, kept)) => Ok((address, Some(kept.auth), kept.socket)),
        None => {
            let mut last = None;
            for address in wanted {
                match listen(*address) {
                    Ok(bound) => return Ok(bound),
                    Err(error) => last = Some(error),
                }
            }
            let nothing = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
            Err(context(&last.unwrap_or_else(nothing)))
        }
    });
    sockets.collect()
}

fn group_id(name: &str) -> Result<u32> {
    let found = nix::unistd::Group::from_name(name).or_system(|| format!("cannot look up group '{name}'"))?;
    match (found, name.parse()) {
        (Some(group), _) => Ok(group.gid.as_raw()),
        (None, Ok(number)) => Ok(number),
        (None, Err(_)) => Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("there is no group '{name}'"),
        )),
    }
}
