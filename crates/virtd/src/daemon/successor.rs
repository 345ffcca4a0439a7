//! The program that takes this one's place in the same process: how it is started, and how it finds what is left to it.
//!
//! What is left is a [`DaemonState`] in the environment, and the sockets that it names: limits that were set while the daemon
//! ran, the number of the next client, and what listens. There are no clients in it: they were told that the daemon ends, and
//! come back. Everything else is read again from where it always comes from.
//!
//! The document names the process it is for, since children of the daemon may see the same environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{getsockopt, sockopt};
use parking_lot::Mutex;
use virt_util::command::{Command, Spawner, SystemSpawner};
use virt_util::error::SystemResult;
use virt_util::json::Json;
use virt_util::time::{Cancel, Deadline};
use virt_util::{Result, VirtError};

use super::state::{DaemonState, ServerState, ServiceState, SocketState};
use crate::admin::ADMIN;
use crate::config::Auth;
use crate::server::{Listener, Scope, Server, Settings};
use crate::service::activation::{self, Adopted, Service, Sockets, VARIABLES};
use crate::service::names::DaemonName;

#[cfg(test)]
mod tests;

/// Where the document is.
const VARIABLE: &str = "VIRTD_STATE";

/// How long a program may take to say its version.
const TRIAL: Duration = Duration::from_secs(20);

/// Signals that wait for the successor while it begins; to it they would be deadly.
const WAITING: [Signal; 2] = [Signal::SIGHUP, Signal::SIGUSR2];

/// A socket of the predecessor.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) socket: OwnedFd,
    /// Where it is bound.
    place: Bound,
    /// What it is called by the service manager.
    name: String,
    /// What those who wait in its queue were let in by.
    pub(super) auth: Option<Auth>,
}

/// Where a socket is bound, as far as the socket knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    File(PathBuf),
    Network(std::net::SocketAddr),
}

/// Sockets that the service manager opened.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) sockets: Sockets,
    /// What those who wait in their queues were let in by, where they were passed to a predecessor.
    pub(super) before: BTreeMap<Service, Auth>,
}

impl From<Sockets> for Passed {
    fn from(sockets: Sockets) -> Self {
        Self {
            sockets,
            before: BTreeMap::new(),
        }
    }
}

/// What a predecessor left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What was passed to it.
    passed: Option<Passed>,
    /// Its own sockets.
    sockets: Mutex<Vec<Kept>>,
    /// The server for drivers, and that of the administration.
    servers: Option<[ServerState; 2]>,
}

/// The document in the environment, if it is meant for this process.
fn document() -> Option<Result<Json>> {
    let text = std::env::var(VARIABLE).ok()?;
    let json = match Json::parse(&text) {
        Ok(json) => json,
        Err(error) => return Some(Err(error)),
    };
    let own = i64::from(std::process::id());
    (json.integer("process") == Some(own)).then_some(Ok(json))
}

/// Whether this process was another program before.
pub(super) fn is_successor() -> bool {
    document().is_some()
}

impl Left {
    /// What was left to this process, if anything was. To be called once, before any descriptor is opened and before there is
    /// a second thread.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for a document that is damaged, or names what is no listening socket.
    pub(super) fn from_environment(daemon: &DaemonName) -> Result<Self> {
        match document() {
            None => Ok(Self::default()),
            Some(document) => document
                .and_then(|document| Self::take(&document, daemon))
                .map_err(|error| {
                    VirtError::internal(format_args!(
                        "cannot take over from the program before this one: {}",
                        error.detail()
                    ))
                }),
        }
    }

    fn take(document: &Json, daemon: &DaemonName) -> Result<Self> {
        let mut adopted = Adopted::default();
        let names = [daemon.name.as_str(), ADMIN];
        let state = DaemonState::read(document, &names, &mut |number| adopted.take(number))?;
        let [main, admin] = [state.server(names[0])?, state.server(ADMIN)?];
        let mut sockets = adopted.finish();
        let mut left = Self::default();
        for service in main.services.iter().chain(&admin.services) {
            let Some(name) = &service.name else {
                return Err(VirtError::internal("a service has no name"));
            };
            let auth = Auth::of_number(service.auth);
            for sock in &service.socks {
                let Some(socket) = sockets.remove(&sock.fd) else {
                    continue;
                };
                if !getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false) {
                    return Err(VirtError::internal(format_args!(
                        "file descriptor {} of '{name}' is no socket that listens",
                        sock.fd
                    )));
                }
                match sock.unlink_unix {
                    true => left.sockets.get_mut().push(Kept {
                        place: bound(&socket)
                            .or_system(|| format!("cannot find out where '{name}' listens"))?,
                        socket,
                        name: name.clone(),
                        auth,
                    }),
                    // Whoever made its file removes it: it was passed.
                    false => {
                        let service = activation::service_of(name, daemon)?;
                        let passed = left.passed.get_or_insert_default();
                        passed.sockets.entry(service).or_default().push(socket);
                        passed.before.extend(auth.map(|auth| (service, auth)));
                    }
                }
            }
        }
        // What is still in `sockets` are clients, which are not carried on.
        left.servers = Some([main.clone(), admin.clone()]);
        Ok(left)
    }

    /// The sockets that the service manager passed to the predecessor; `None` if there were none.
    pub(super) fn take_passed(&mut self) -> Option<Passed> {
        self.passed.take()
    }

    /// The socket in that file, if the file is still one.
    pub(super) fn take_unix(&self, path: &Path) -> Option<Kept> {
        if !is_socket(path) {
            return None;
        }
        let mut sockets = self.sockets.lock();
        let wanted = Bound::File(path.to_owned());
        let at = sockets.iter().position(|kept| kept.place == wanted)?;
        Some(sockets.swap_remove(at))
    }

    /// The sockets of that name on the network, and where they are.
    pub(super) fn take_network(&self, name: &str) -> Vec<(std::net::SocketAddr, Kept)> {
        let sockets = std::mem::take(&mut *self.sockets.lock());
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for kept in sockets {
            match kept.place {
                Bound::Network(address) if kept.name == name => mine.push((address, kept)),
                _ => others.push(kept),
            }
        }
        *self.sockets.lock() = others;
        mine
    }

    /// Closes what nobody has taken: the configuration does not want it any more.
    pub(super) fn close_rest(&self) {
        for kept in self.sockets.lock().drain(..) {
            tracing::info!("'{}' is closed: the configuration has no such socket", kept.name);
            if let Bound::File(path) = &kept.place
                && is_socket(path)
            {
                // Nobody answers there any more.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Has limits hold that were set while the predecessor ran.
    pub(super) fn apply_limits(&self, settings: &mut Settings) {
        let Some(servers) = &self.servers else { return };
        for (server, admin) in servers.iter().zip([false, true]) {
            let set = |name: &str| match &server.changed {
                None => true,
                Some(changed) => changed.iter().any(|changed| changed == name),
            };
            let mut limits = limits_of(settings, admin);
            for ((name, value), slot) in limits_left(server).into_iter().zip(&mut limits) {
                if set(name) {
                    *slot = value as usize;
                }
            }
            set_limits(settings, admin, limits);
        }
    }

    /// The number of the next client, if there was one before.
    pub(super) fn next_client(&self) -> Option<u64> {
        let servers = self.servers.as_ref()?;
        servers.iter().map(|server| server.next_client_id).max()
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn bound(socket: &OwnedFd) -> std::io::Result<Bound> {
    let twin = socket.try_clone()?;
    let unix = std::os::unix::net::UnixListener::from(twin);
    if let Ok(address) = unix.local_addr() {
        let path = address.as_pathname().map(Path::to_owned);
        return Ok(Bound::File(path.unwrap_or_default()));
    }
    let address = std::net::TcpListener::from(socket.try_clone()?).local_addr()?;
    Ok(Bound::Network(address))
}

/// The limits of a server, in the order of [`limits_left`].
fn limits_of(settings: &Settings, admin: bool) -> [usize; 5] {
    match admin {
        // It has no workers of high priority, and its clients need not prove anything.
        true => [
            settings.admin_min_workers,
            settings.admin_max_workers,
            0,
            settings.admin_max_clients,
            settings.admin_max_clients,
        ],
        false => [
            settings.min_workers,
            settings.max_workers,
            settings.prio_workers,
            settings.max_clients,
            settings.max_anonymous_clients,
        ],
    }
}

fn set_limits(settings: &mut Settings, admin: bool, limits: [usize; 5]) {
    match admin {
        true => {
            [
                settings.admin_min_workers,
                settings.admin_max_workers,
                _,
                settings.admin_max_clients,
                _,
            ] = limits;
        }
        false => {
            [
                settings.min_workers,
                settings.max_workers,
                settings.prio_workers,
                settings.max_clients,
                settings.max_anonymous_clients,
            ] = limits;
        }
    }
}

fn limits_left(server: &ServerState) -> [(&'static str, u32); 5] {
    [
        ("min_workers", server.min_workers),
        ("max_workers", server.max_workers),
        ("priority_workers", server.priority_workers),
        ("max_clients", server.max_clients),
        ("max_anonymous_clients", server.max_anonymous_clients),
    ]
}

/// A server as it is left; `configured` are the limits that it has by its configuration.
fn server_state(
    (live, configured): (&Settings, &Settings),
    admin: bool,
    next_client_id: u64,
    listeners: &[Arc<Listener>],
) -> ServerState {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let limits = limits_of(live, admin);
    let [
        min_workers,
        max_workers,
        priority_workers,
        max_clients,
        max_anonymous_clients,
    ] = limits.map(narrow);
    let (interval, count) = live.keepalive(admin);
    let mut state = ServerState {
        min_workers: min_workers.min(max_workers),
        max_workers,
        priority_workers,
        max_clients,
        // More never matter, and libvirt refuses them.
        max_anonymous_clients: max_anonymous_clients.min(max_clients),
        keepalive_interval: interval.map_or(0, |interval| narrow(interval.as_secs() as usize)),
        keepalive_count: count,
        next_client_id,
        ..ServerState::default()
    };
    let names = limits_left(&state).map(|(name, _)| name);
    let pairs = limits.into_iter().zip(limits_of(configured, admin));
    let changed = names
        .into_iter()
        .zip(pairs)
        .filter(|(_, (live, configured))| live != configured);
    state.changed = Some(changed.map(|(name, _)| name.to_owned()).collect());
    // The private socket goes with its processes.
    let own = |listener: &&Arc<Listener>| listener.scope != Scope::Isolated && listener.is_admin() == admin;
    for listener in listeners.iter().filter(own) {
        let mut service = ServiceState {
            auth: listener.auth.load().number(),
            readonly: listener.read_only,
            nrequests_client_max: narrow(live.requests(admin)),
            socks: Vec::new(),
            name: Some(listener.name.clone()),
        };
        let socket = SocketState {
            fd: listener.socket.as_raw_fd(),
            errfd: -1,
            pid: 0,
            is_client: false,
            unlink_unix: !listener.is_passed,
        };
        // Several sockets of one kind are one service.
        match state.services.iter_mut().find(|known| {
            (known.auth, known.readonly, &known.name) == (service.auth, service.readonly, &service.name)
        }) {
            Some(known) => known.socks.push(socket),
            None => {
                service.socks.push(socket);
                state.services.push(service);
            }
        }
    }
    state
}

/// What the daemon called `name` leaves.
fn state(name: &str, server: &Server, configured: &Settings) -> DaemonState {
    let (live, listeners, next) = (server.settings(), server.listeners(), server.next_client());
    let of = |admin| server_state((&live, configured), admin, next, &listeners);
    DaemonState {
        servers: [(name.to_owned(), of(false)), (ADMIN.to_owned(), of(true))].into(),
        process: Some(std::process::id()),
    }
}

/// Sockets that stay open over the change of the program, for as long as this is there.
struct Open<'l>(Vec<&'l Arc<Listener>>);

impl<'l> Open<'l> {
    fn new(listeners: &'l [Arc<Listener>]) -> Result<Self> {
        let mut open = Self(Vec::new());
        for listener in listeners
            .iter()
            .filter(|listener| listener.scope != Scope::Isolated)
        {
            fcntl(&listener.socket, FcntlArg::F_SETFD(FdFlag::empty()))
                .or_system(|| format!("cannot keep socket '{}'", listener.name))?;
            open.0.push(listener);
        }
        Ok(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        for listener in &self.0 {
            // It could be done the other way round a moment ago.
            let _ = fcntl(&listener.socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
}

/// The program that is installed now, in the place of the one that runs.
pub(super) fn installed(argv: &[OsString]) -> PathBuf {
    // What `/proc/self/exe` leads to may have been replaced: the file at the same path.
    match std::fs::read_link("/proc/self/exe") {
        Ok(path) => {
            let text = path.to_string_lossy().into_owned();
            PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
        }
        Err(_) => argv.first().map(PathBuf::from).unwrap_or_default(),
    }
}

/// Whether that program can be run at all: one that cannot must not take the place of one that does.
///
/// # Errors
/// What came of asking it for its version.
pub(super) fn try_out(program: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .env_pass_common()
        .env_pass("LD_LIBRARY_PATH");
    let ran = SystemSpawner.run(&command, Deadline::after(TRIAL), &Cancel::new())?;
    ran.check(&command).map(drop)
}

/// Becomes that program. Comes back only with the reason why it is not possible.
pub(super) fn become_program(
    program: &Path,
    argv: &[OsString],
    name: &str,
    server: &Server,
    configured: &Settings,
) -> VirtError {
    let listeners = server.listeners();
    let open = match Open::new(&listeners) {
        Ok(open) => open,
        Err(error) => return error,
    };
    let mut command = std::process::Command::new(program);
    let mut words = argv.iter();
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command
        .args(words)
        .env(VARIABLE, state(name, server, configured).to_json().to_string());
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    // The mask goes with the process; whoever begins in it opens it again.
    let blocked = waiting_signals().thread_block();
    let error = command.exec();
    drop(open);
    if blocked.is_ok() {
        let _ = waiting_signals().thread_unblock();
    }
    VirtError::io(&error, format_args!("cannot run '{}'", program.display()))
}

fn waiting_signals() -> SigSet {
    WAITING.into_iter().collect()
}

/// Lets signals through that waited while the program was exchanged. To be called when they are caught, and before there is a
/// second thread: whatever is started from then on gets the mask of the one that starts it.
///
/// # Errors
/// `SYSTEM_ERROR` if the system does not want to.
pub(super) fn hear_signals() -> Result<()> {
    waiting_signals()
        .thread_unblock()
        .or_system(|| "cannot let signals through")
}
