//! What the daemon offers its drivers, and the way from a URI to one of them.
//!
//! Inside the daemon a URI without a host means a driver of this process. Only where none serves it, and the daemon
//! is one of several (`virtd --driver qemu`), the `remote` driver carries it to the others; the daemon of all drivers
//! never asks itself that way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use virt_api::call::{Caller, Identity, OutgoingCall};
use virt_api::driver::{CONNECT_RO, InitContext};
use virt_api::host::{AuthMode, Claims, Host, HostServices, NestedOpen, OpenedConnection};
use virt_api::plugin::{DriverHandle, Manifest, OpenRequest, Registry, Role, SearchPath};
use virt_api::protocol::table::DriverKind;
use virt_api::routing::{OpenSecondary, Router};
use virt_api::rpc::hello::{self, Promises};
use virt_util::audit::AuditRecord;
use virt_util::time::Deadline;
use virt_util::typed_param::TypedParams;
use virt_util::uri::Uri;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::audit::Audit;
use crate::isolation::parent::Parent;
use crate::isolation::{self, Isolation, ToProcess};
use crate::logging::Logger;
use crate::server::Scope;
use crate::service::inhibit::Inhibitions;

mod opening;
mod seen;

use self::seen::HostOf;

/// How often a driver's process is asked whether it lives, in seconds, and how many questions may go unanswered.
const KEEPALIVE: (i32, u32) = (10, 3);

/// Longest that another daemon may take to say what it promises.
const ANSWER: Duration = Duration::from_secs(30);

/// The driver that leads to other daemons.
const REMOTE: &str = "remote";

/// How the daemon runs its drivers.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// For the whole machine, rather than for one user.
    pub privileged: bool,
    /// The drivers of this daemon; empty for all that are installed.
    pub drivers: Vec<String>,
    /// A folder in which everything lies, instead of the machine's own.
    pub root: Option<String>,
    /// Where plugins are.
    pub search: SearchPath,
    /// The daemon has no drivers but the one that leads to the daemons that have: libvirt's `virtproxyd`.
    pub proxy: bool,
    /// The drivers in processes of their own.
    pub isolate: Option<Isolation>,
    /// The daemon, of a driver that has this process to itself.
    pub parent: Option<Arc<Parent>>,
    /// The UUID by which drivers know this host.
    pub host_uuid: Uuid,
    /// How long drivers may wait for commands to Open vSwitch.
    pub ovs_timeout: Duration,
}

/// A client that opens a connection.
#[derive(Debug)]
pub struct OpenFor<'a> {
    /// The URI; `None` asks for whatever there is.
    pub name: Option<&'a str>,
    /// libvirt's connect flags.
    pub flags: u32,
    /// Who opens.
    pub identity: Identity,
    /// The client may only look.
    pub read_only: bool,
    /// What its socket leads to.
    pub scope: &'a Scope,
}

/// What a client has open.
#[derive(Debug)]
pub struct OpenedFor {
    /// The way to the driver, and to those beside it.
    pub router: Router,
    /// The URI, as it was found where none was given.
    pub uri: String,
    /// The driver's name.
    pub driver: String,
    /// The driver is in another process, which has access to its objects checked.
    pub checked_there: bool,
}

/// Decides what clients may do: see [`Host::check_acl`].
pub trait AccessCheck: Send + Sync {
    /// Whether anything is checked at all.
    fn enforced(&self) -> bool;

    /// Whether an answer may take time.
    fn may_wait(&self) -> bool {
        false
    }

    /// Whether `identity` may do `permission` on the object with these attributes, which `driver` has.
    fn check(
        &self,
        identity: &Identity,
        driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool>;
}

/// The daemon, seen from its drivers.
pub struct DaemonHost {
    config: HostConfig,
    registry: OnceLock<Arc<Registry>>,
    claims: Claims,
    inhibitions: Inhibitions,
    /// Where drivers' messages go; without one they join the process's.
    logger: Option<Arc<Logger>>,
    /// Drivers that know how much to log.
    told: Mutex<BTreeSet<String>>,
    access: OnceLock<Arc<dyn AccessCheck>>,
    audit: OnceLock<Arc<Audit>>,
}

impl DaemonHost {
    /// A host whose drivers are found, and none of them started yet.
    pub fn new(config: HostConfig, logger: Option<Arc<Logger>>) -> Arc<Self> {
        let host = Arc::new(Self {
            config,
            registry: OnceLock::new(),
            claims: Claims::default(),
            inhibitions: Inhibitions::new(),
            logger,
            told: Mutex::default(),
            access: OnceLock::new(),
            audit: OnceLock::new(),
        });
        let context = InitContext {
            privileged: host.config.privileged,
            monolithic: host.config.drivers.is_empty(),
            inside_daemon: true,
            root: host.config.root.clone(),
            ext: TypedParams::new(),
        }
        .with_host_uuid(&host.config.host_uuid)
        .with_ovs_timeout(host.config.ovs_timeout);
        let seen: Arc<dyn Host> = Arc::new(HostOf(Arc::downgrade(&host), String::new()));
        let registry = Arc::new(Registry::new(seen, context, &host.config.search));
        host.registry.get_or_init(|| registry);
        if let Some(isolation) = &host.config.isolate {
            isolation.set_host(Arc::downgrade(&host));
        }
        host
    }

    /// The drivers that are installed.
    pub fn registry(&self) -> &Arc<Registry> {
        // Set by `new`, before anybody sees the host.
        self.registry
            .get_or_init(|| unreachable!("a host is made with its registry"))
    }

    /// Puts the access policy in place. Once, before the first client.
    pub fn set_access(&self, access: Arc<dyn AccessCheck>) {
        if self.access.set(access).is_err() {
            tracing::error!("the access policy was set twice; the first one stays");
        }
    }

    /// Puts the place of records in place. Once, before the first driver.
    pub fn set_audit(&self, audit: Arc<Audit>) {
        if self.audit.set(audit).is_err() {
            tracing::error!("the place of audit records was set twice; the first one stays");
        }
    }

    /// The daemon as drivers hold it.
    pub fn services(self: &Arc<Self>) -> HostServices {
        HostServices::new(Arc::new(HostOf(Arc::downgrade(self), String::new())))
    }

    /// A driver, started if it was not, and told how much to log.
    fn driver(&self, name: &str) -> Result<Arc<DriverHandle>> {
        let driver = self.registry().driver(name)?;
        let fresh = self.told.lock().insert(name.to_owned());
        if let Some(logger) = &self.logger
            && fresh
            && let Err(error) = driver.set_log(logger.lowest())
        {
            tracing::warn!("driver '{name}' does not take log settings: {error}");
        }
        Ok(driver)
    }

    /// The URI of a driver's own objects here.
    pub fn uri_of(&self, scheme: &str) -> String {
        let path = if self.config.privileged {
            "system"
        } else {
            "session"
        };
        format!("{scheme}:///{path}")
    }

    /// Whether anybody is asked who may do what.
    pub(crate) fn enforced(&self) -> bool {
        self.access.get().is_some_and(|access| access.enforced())
    }

    /// Whether the answer to [`Self::check_access`] may take time.
    pub(crate) fn access_may_wait(&self) -> bool {
        self.access.get().is_some_and(|access| access.may_wait())
    }

    /// Whether `identity` may do something with an object of `driver`.
    pub(crate) fn check_access(
        &self,
        identity: &Identity,
        driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        match self.access.get() {
            Some(access) => access.check(identity, driver, permission, object, attributes),
            None => Ok(true),
        }
    }

    /// Takes a record for the audit trail.
    pub(crate) fn record(&self, record: &AuditRecord) {
        if let Some(audit) = self.audit.get() {
            audit.record_guest(record);
        }
    }

    /// What drivers hold of what only one may have.
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The UUID by which drivers know this host.
    pub(crate) fn host_uuid(&self) -> Uuid {
        self.config.host_uuid
    }

    /// What keeps the daemon from ending for lack of work.
    pub fn inhibitions(&self) -> &Inhibitions {
        &self.inhibitions
    }

    /// The drivers of this daemon.
    pub fn drivers(&self) -> Vec<Manifest> {
        self.registry()
            .drivers()
            .into_iter()
            .map(|driver| driver.manifest)
            .filter(|manifest| self.config.drivers.is_empty() || self.config.drivers.contains(&manifest.name))
            .filter(|manifest| manifest.name != REMOTE)
            .collect()
    }

    /// Refuses names that no installed driver has.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` with those that there are.
    pub fn check_names(&self, names: &[String]) -> Result<()> {
        let installed = self
            .registry()
            .drivers()
            .into_iter()
            .map(|driver| driver.manifest.name);
        let mut installed: Vec<String> = installed.filter(|name| name != REMOTE).collect();
        installed.sort();
        match names.iter().find(|name| !installed.contains(name)) {
            None => Ok(()),
            Some(missing) => {
                let offer = match installed.is_empty() {
                    true => "none is".to_owned(),
                    false => format!("there are {}", installed.join(", ")),
                };
                Err(VirtError::new(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!("no driver '{missing}' is installed: {offer}"),
                ))
            }
        }
    }

    /// Starts the drivers that keep state on this machine, side by side. Answers when all are up or have failed.
    pub fn start_drivers(&self) {
        if self.drivers().is_empty() && !self.config.proxy {
            let folders: Vec<String> = self
                .config
                .search
                .0
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            tracing::warn!(
                "no driver is installed in {}: nothing can be opened here",
                folders.join(" or ")
            );
        }
        let stateful = self
            .drivers()
            .into_iter()
            .filter(|manifest| manifest.role == Role::Stateful);
        std::thread::scope(|scope| {
            for manifest in stateful {
                scope.spawn(move || {
                    let name = manifest.name.as_str();
                    let up = match self.isolated(name) {
                        Some(socket) => socket.map(drop),
                        None => self.driver(name).map(drop),
                    };
                    match up {
                        Ok(()) => tracing::info!("driver '{name}' is up"),
                        Err(error) => crate::logging::log_error!(error, "driver '{name}': {error}"),
                    }
                });
            }
        });
    }

    /// Tells every driver that runs; failures are logged.
    pub fn for_each_driver(
        &self,
        what: &str,
        tell: impl Fn(&virt_api::plugin::DriverHandle) -> Result<()> + Sync,
    ) {
        let tell = &tell;
        std::thread::scope(|scope| {
            for driver in self.registry().loaded() {
                scope.spawn(move || {
                    if let Err(error) = tell(&driver) {
                        crate::logging::log_error!(error, "driver '{}', {what}: {error}", driver.name());
                    }
                });
            }
        });
    }

    /// Reads the drivers' configuration again.
    pub fn reload(&self) {
        if let Some(isolation) = &self.config.isolate {
            isolation.reload(self.enforced());
        }
        self.for_each_driver("reload", |driver| driver.reload());
    }

    /// Lets the drivers save what would be lost.
    pub fn stop(&self, deadline: Deadline) {
        self.for_each_driver("stop", |driver| driver.stop());
        if let Some(isolation) = &self.config.isolate {
            let left = deadline.remaining().unwrap_or(Duration::from_secs(30));
            isolation.stop(std::time::Instant::now() + left);
        }
    }

    /// Lets the drivers end what they do.
    pub fn shut_down(&self, deadline: Deadline) {
        self.for_each_driver("shutdown", |driver| driver.shutdown_prepare());
        self.for_each_driver("shutdown", |driver| driver.shutdown_wait(deadline));
    }
}

impl std::fmt::Debug for DaemonHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DaemonHost({:?})", self.config)
    }
}
