//! The sockets that clients come to.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use virt_util::sys::socket::accept_client;
use virt_util::{Result, VirtError};

use super::Server;
use super::outbox::Outbox;
use super::session::Session;
use super::socket::{Socket, watch};
use crate::config::Auth;

/// How long to wait when a client cannot be accepted for lack of descriptors.
const NO_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Which drivers a socket leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of this daemon.
    All,
    /// One, and those beside it that a hypervisor needs: a socket of libvirt's modular daemons.
    Driver(String),
    /// The administration of the daemon.
    Admin,
    /// Private, between a daemon and its drivers in processes of their own: all drivers of this process, and what the
    /// client says of those it acts for is believed.
    Isolated,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    Unix(PathBuf),
    /// A network address; clients are heard as they are.
    Tcp(std::net::SocketAddr),
    /// A network address; clients are heard over TLS.
    Tls(std::net::SocketAddr),
}

/// One socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// What it is called by the service manager and in the administration: `libvirtd.socket`, `libvirtd-ro.socket` …
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What it leads to.
    pub scope: Scope,
    /// Clients may only look, whatever they ask for.
    pub read_only: bool,
    /// How clients prove who they are; may change for those that come from then on.
    pub auth: ArcSwap<Auth>,
    /// The socket.
    pub socket: OwnedFd,
    /// The socket was made by the service manager, whose file is not ours to remove.
    pub is_passed: bool,
}

impl Listener {
    /// Whether it leads to the administration.
    pub fn is_admin(&self) -> bool {
        self.scope == Scope::Admin
    }

    /// A client that waits in the socket's queue.
    fn waiting(&self) -> Option<OwnedFd> {
        let socket = self.socket.try_clone().ok()?;
        match &self.place {
            Place::Unix(_) => {
                let (client, _) = std::os::unix::net::UnixListener::from(socket).accept().ok()?;
                Some(client.into())
            }
            Place::Tcp(_) | Place::Tls(_) => {
                let (client, _) = std::net::TcpListener::from(socket).accept().ok()?;
                Some(client.into())
            }
        }
    }
}

/// Makes a socket at `path` with that mode and group; one that nobody answers any more is replaced.
pub fn bind_unix(path: &Path, mode: u32, group: Option<u32>, queue: i32) -> Result<OwnedFd> {
    let context =
        |error: &std::io::Error| VirtError::io(error, format_args!("cannot listen on '{}'", path.display()));
    // A predecessor's file would be in the way. Whoever holds the daemon's lock may take it away.
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(context(&error)),
    }
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC | nix::sys::socket::SockFlag::SOCK_NONBLOCK,
        None,
    )
    .map_err(|errno| context(&errno.into()))?;
    let address = nix::sys::socket::UnixAddr::new(path).map_err(|errno| context(&errno.into()))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address).map_err(|errno| context(&errno.into()))?;
    // Nobody can connect before `listen`, so the mode is right before the first client.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| context(&error))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| context(&error))?;
    }
    let queue = nix::sys::socket::Backlog::new(queue).unwrap_or(nix::sys::socket::Backlog::MAXCONN);
    nix::sys::socket::listen(&socket, queue).map_err(|errno| context(&errno.into()))?;
    Ok(socket)
}

/// A socket that listens, in the runtime's hands.
struct Acceptor {
    socket: AsyncFd<OwnedFd>,
    unix: bool,
}

impl Acceptor {
    fn of(listener: &Listener) -> std::io::Result<Self> {
        let socket = listener.socket.try_clone()?;
        // One that was passed to us may block.
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Ok(Self {
            socket: watch(socket, Interest::READABLE)?,
            unix: matches!(listener.place, Place::Unix(_)),
        })
    }

    async fn accept(&self) -> std::io::Result<Socket> {
        self.socket
            .async_io(Interest::READABLE, |socket| accept_client(socket))
            .await
            .and_then(|client| Socket::nonblocking(client, self.unix))
    }
}

impl Server {
    /// Lets clients in until the server stops.
    pub(super) async fn accept(self: Arc<Self>, listener: Arc<Listener>) {
        let acceptor = match Acceptor::of(&listener) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                tracing::error!("cannot watch socket '{}': {error}", listener.name);
                return;
            }
        };
        loop {
            // Whom the daemon and its own drivers let in was counted before.
            if listener.scope != Scope::Isolated {
                self.room(listener.is_admin()).await;
            }
            match acceptor.accept().await {
                Ok(socket) => {
                    self.take(&listener, socket);
                    self.vigil().heard();
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("cannot accept a client on '{}': {error}", listener.name);
                    tokio::time::sleep(NO_DESCRIPTORS).await;
                }
            }
        }
    }

    /// Changes how clients of `listener` prove who they are. Those that wait in its queue came under the old rule, and
    /// are let in under it. To be called on the runtime.
    pub fn change_auth(self: &Arc<Self>, listener: &Arc<Listener>, auth: Auth) {
        while let Some(client) = listener.waiting() {
            if let Err(error) = self.welcome(listener, client) {
                tracing::warn!("a client of '{}' is lost: {error}", listener.name);
            }
        }
        listener.auth.store(Arc::new(auth));
    }

    /// Takes a connected socket as a client of `listener`. To be called on the runtime.
    pub fn welcome(self: &Arc<Self>, listener: &Arc<Listener>, client: OwnedFd) -> Result<Arc<Session>> {
        let unix = matches!(listener.place, Place::Unix(_));
        let socket = Socket::new(client, unix)
            .map_err(|error| VirtError::io(&error, "cannot take the client's socket"))?;
        Ok(self.take(listener, socket))
    }

    fn take(self: &Arc<Self>, listener: &Arc<Listener>, socket: Socket) -> Arc<Session> {
        let wake = Arc::new(Notify::new());
        let address = socket.peer_address();
        let keep_address = |session: &Session| {
            if let Some(address) = address {
                // Nobody has seen the session yet.
                let _ = session.address.set(address.to_string());
            }
        };
        if matches!(listener.place, Place::Tls(_)) {
            let outbox = Outbox::by_task(Arc::clone(&wake));
            let session = Session::new(self, listener, outbox, wake);
            keep_address(&session);
            self.remember(&session);
            self.runtime_of_tls().spawn(Arc::clone(&session).run_tls(socket));
            return session;
        }
        let unix = socket.is_unix();
        let socket = Arc::new(socket);
        let outbox = Outbox::on_socket(Arc::clone(&socket), unix, Arc::clone(&wake));
        let session = Session::new(self, listener, outbox, wake);
        keep_address(&session);
        self.remember(&session);
        self.runtime().spawn(Arc::clone(&session).run(socket));
        session
    }
}
