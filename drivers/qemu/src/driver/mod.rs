//! The driver as its callers see it.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | one host's guests: folders, lock, loading, finding running guests again |
//! | [`object`] | a guest in the registry: its definitions, what is published of it, what clients are told |
//! | [`planner`] | the seam to the pure middle: definitions made complete, command lines |
//! | [`live_cpu`] | the CPU that a guest really got |
//! | [`cpus`] | comparing CPUs, and what several have in common |
//! | [`pure`], [`host_caps`], [`sleep`] | the middle itself, for this machine |
//! | [`life`] | start, stop, pause and the like |
//! | [`changes`] | define, undefine, create, rename, autostart |
//! | [`watch`] | what QEMU does by itself becomes state, status files and events |
//! | [`domain_events`] | what QEMU reports, as clients know it |
//! | [`agent`] | a guest's agent: when there is one, what is learnt through it |
//! | [`net`] | the host's side of network interfaces |
//! | `secrets` | values of secrets, from the driver that keeps them |
//! | [`start_facts`] | facts of the host that some guests need when they start |
//! | [`console`] | streams to a guest's terminals |
//! | [`screen`] | pictures of screens, keys pressed from outside |
//! | [`connection`] | the procedures |

pub mod agent;
pub mod changes;
pub mod connection;
pub mod console;
pub mod cpus;
pub mod domain_events;
pub mod host_caps;
pub mod life;
pub mod live_cpu;
pub mod net;
mod nvram;
pub mod object;
pub mod planner;
pub mod pure;
mod saved;
pub mod screen;
mod secrets;
pub mod sleep;
pub mod start_facts;
pub mod tpm;
pub mod watch;
pub mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use virt_api::driver::{CONNECT_RO, Driver, DriverConnection, InitContext, OpenContext};
use virt_api::host::HostServices;
use virt_util::uri::Uri;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use self::connection::QemuConnection;
use self::planner::Planner;
use self::world::World;
use crate::process::layout::Layout;

/// The driver.
pub struct QemuDriver {
    planner: Arc<dyn Planner>,
    /// The one host of the process, as long as a connection to it is open.
    world: Mutex<Option<(PathBuf, Weak<World>)>>,
    /// The host of a daemon: there from its start to its end.
    daemon: OnceLock<Daemon>,
}

/// What a daemon serves.
struct Daemon {
    /// `/system` or `/session`.
    path: &'static str,
    world: Result<Arc<World>>,
}

impl QemuDriver {
    /// A driver whose guests are planned by `planner`.
    pub fn new(planner: Arc<dyn Planner>) -> Self {
        Self {
            planner,
            world: Mutex::new(None),
            daemon: OnceLock::new(),
        }
    }

    /// The host below `root`. One at a time in a process: its lock, its reactor and its guests are one.
    fn embedded(&self, root: &Path, layout: Layout, host: &HostServices) -> Result<Arc<World>> {
        let mut current = self.world.lock();
        if let Some((known, world)) = current.as_ref()
            && let Some(world) = world.upgrade()
        {
            if known == root {
                return Ok(world);
            }
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                format_args!(
                    "this process has '{}' open, close it before '{}'",
                    known.display(),
                    root.display()
                ),
            ));
        }
        let world = World::open(layout, Arc::clone(&self.planner), host.clone())?;
        *current = Some((root.to_owned(), Arc::downgrade(&world)));
        Ok(world)
    }
}

impl QemuDriver {
    /// A connection to the host that the daemon serves.
    fn connect(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        let Some(daemon) = self.daemon.get() else {
            return Err(VirtError::internal("the driver was not started"));
        };
        let world = daemon.world.clone()?;
        world.events().attach(cx.events());
        Ok(Box::new(QemuConnection::new(world, cx)))
    }
}

/// Where a daemon's guests are.
fn daemon_layout(context: &InitContext, root: &Path) -> Result<Layout> {
    if context.privileged {
        return Ok(Layout::system(root));
    }
    if context.root.is_some() {
        return Ok(Layout::session(
            &root.join(".config/libvirt"),
            &root.join("run/libvirt"),
            &root.join(".cache/libvirt"),
        ));
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = from("HOME").ok_or_else(|| {
        error(
            ErrorCode::INTERNAL_ERROR,
            "the user has no home folder: HOME is not set",
        )
    })?;
    let cache = from("XDG_CACHE_HOME")
        .unwrap_or_else(|| home.join(".cache"))
        .join("libvirt");
    let config = from("XDG_CONFIG_HOME")
        .unwrap_or_else(|| home.join(".config"))
        .join("libvirt");
    // Without a runtime folder libvirt's files of a session are in the cache.
    let runtime = from("XDG_RUNTIME_DIR").map_or_else(|| cache.clone(), |runtime| runtime.join("libvirt"));
    Ok(Layout::session(&config, &runtime, &cache))
}

impl std::fmt::Debug for QemuDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QemuDriver")
    }
}

impl Driver for QemuDriver {
    fn initialize(&self, host: &HostServices, context: &InitContext) -> Result<()> {
        if !context.inside_daemon {
            return Ok(());
        }
        if let Some(uuid) = context.host_uuid() {
            self.planner.set_host_uuid(uuid);
        }
        let root = context.root.as_deref().map_or(Path::new("/"), Path::new);
        let path = if context.privileged { "/system" } else { "/session" };
        let served = self.daemon.get_or_init(|| Daemon {
            path,
            world: daemon_layout(context, root)
                .and_then(|layout| World::open(layout, Arc::clone(&self.planner), host.clone())),
        });
        served.world.as_ref().map(drop).map_err(VirtError::clone)
    }

    fn uri_probe(&self) -> Result<Option<String>> {
        Ok(self.daemon.get().map(|daemon| format!("qemu://{}", daemon.path)))
    }

    fn opens_at_once(&self, uri: &str) -> bool {
        // What the daemon serves is there since its start; a folder of one's own is read.
        self.daemon.get().is_some_and(|daemon| {
            daemon.world.is_ok() && Uri::parse(uri).is_ok_and(|uri| uri.path == daemon.path)
        })
    }

    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        let unsupported = cx.flags() & !CONNECT_RO;
        if unsupported != 0 {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported flags ({unsupported:#x}) in function qemuConnectOpen"),
            ));
        }
        let uri = Uri::parse(cx.uri())?;
        let (root, layout) = match uri.path.as_str() {
            path if self.daemon.get().is_some_and(|daemon| daemon.path == path) => {
                return self.connect(cx);
            }
            "/embed" => embed(&uri)?,
            path @ ("/system" | "/session") => {
                return Err(error(
                    ErrorCode::NO_CONNECT,
                    format_args!("qemu://{path}: no daemon serves it in this process"),
                )
                .with_hint("qemu:///embed?root=DIR runs guests without a daemon"));
            }
            other => {
                return Err(error(
                    ErrorCode::INTERNAL_ERROR,
                    format_args!("unexpected QEMU URI path '{other}', try qemu:///embed?root=DIR"),
                ));
            }
        };
        let world = self.embedded(&root, layout, cx.host())?;
        world.events().attach(cx.events());
        Ok(Box::new(QemuConnection::new(world, cx)))
    }
}

/// Root folder and layout of `qemu:///embed?root=DIR[&layout=system|session]`.
fn embed(uri: &Uri) -> Result<(PathBuf, Layout)> {
    let param = |name: &str| {
        uri.params
            .iter()
            .find(|param| param.name == name)
            .map(|param| param.value.as_str())
    };
    let root = param("root")
        .filter(|root| !root.is_empty())
        .ok_or_else(|| error(ErrorCode::INVALID_ARG, "Missing URI parameter 'root'"))?;
    let root = Path::new(root);
    if !root.is_absolute() {
        return Err(error(
            ErrorCode::INVALID_ARG,
            format_args!(
                "URI parameter 'root' must be an absolute path, not '{}'",
                root.display()
            ),
        ));
    }
    let layout = match param("layout") {
        None => Layout::embed(root),
        Some("system") => Layout::system(root),
        Some("session") => Layout::session(
            &root.join(".config/libvirt"),
            &root.join("run/libvirt"),
            &root.join(".cache/libvirt"),
        ),
        Some(other) => {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("URI parameter 'layout' is '{other}', not 'system' or 'session'"),
            ));
        }
    };
    Ok((root.to_owned(), layout))
}

/// An error of this driver.
pub(crate) fn error(code: ErrorCode, detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, detail).in_domain(ErrorDomain::QEMU)
}
