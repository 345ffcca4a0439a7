//! What the hosting process (daemon, shell, application) offers to a driver.
//!
//! A driver holds [`HostServices`] and never sees who is behind it: in a plugin a bridge over the waist, for a built-in
//! driver the same, in tests a fake. [`Host`] is what the hosting side implements.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use virt_util::audit::AuditRecord;
use virt_util::time::Deadline;
use virt_util::typed_param::TypedParams;
use virt_util::{ErrorCode, Result, VirtError};

use crate::access::Permission;
use crate::call::{CallContext, CallReply, Caller, Identity, OutgoingCall};
use crate::event_loop;
use crate::events::EventSink;

/// One line of a log on its way to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// libvirt's priority: 1 debug, 2 info, 3 warning, 4 error.
    pub priority: u32,
    /// The module that speaks.
    pub target: String,
    /// What it says.
    pub message: String,
    /// Source file, if known.
    pub file: Option<String>,
    /// Line in the source file, 0 if not known.
    pub line: u32,
}

impl LogRecord {
    /// Gives the line to the log of this process.
    pub fn emit(&self) {
        let (target, message) = (&self.target, &self.message);
        match self.priority {
            0 | 1 => tracing::debug!(driver_target = %target, "{message}"),
            2 => tracing::info!(driver_target = %target, "{message}"),
            3 => tracing::warn!(driver_target = %target, "{message}"),
            _ => tracing::error!(driver_target = %target, "{message}"),
        }
    }
}

/// Which secrets may be asked of the user while a connection is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// Nothing: an open that needs credentials fails.
    #[default]
    None,
    /// Only what the configuration file of the client knows.
    ConfigOnly,
    /// Ask the caller.
    Ask,
}

/// How to open another connection from inside a driver.
#[derive(Clone, Debug, Default)]
pub struct NestedOpen {
    /// Where to.
    pub uri: String,
    /// libvirt's connect flags (1 read-only).
    pub flags: u32,
    /// On whose behalf: the identity of the call that needs the connection.
    pub identity: Identity,
    /// Adds the system token to the identity: private secrets demand it.
    pub elevated: bool,
    /// Which credentials may be asked for.
    pub auth: AuthMode,
    /// When to give up.
    pub deadline: Deadline,
}

/// A question that only the user of a connection can answer (`virConnectCredential`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRequest {
    /// `virConnectCredentialType`: 1 user name, 2 authentication name, 5 password without, 6 with echo …
    pub kind: u32,
    /// What to show.
    pub prompt: String,
    /// What it is about, a host name for instance.
    pub challenge: String,
    /// What an empty answer means.
    pub default: String,
}

/// Conditions of a descriptor in libvirt's numbers (`virEventHandleType`): 1 readable, 2 writable, 4 error, 8 hangup.
pub type HandleEvents = u32;

/// What a handle calls: the conditions that hold.
pub type HandleCallback = Box<dyn Fn(HandleEvents) + Send + Sync>;

/// What a timeout calls.
pub type TimeoutCallback = Box<dyn Fn() + Send + Sync>;

/// What plugins share and only one of them may use at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimKind {
    /// A PCI device, key `0000:00:00.0`.
    PciDevice,
    /// A USB device, key `bus:device`.
    UsbDevice,
    /// A SCSI device, key `host:bus:target:unit`.
    ScsiDevice,
    /// A mediated device, key its UUID.
    MediatedDevice,
    /// An NVMe namespace, key `0000:00:00.0/1`.
    NvmeNamespace,
    /// A TCP port, key its number.
    Port,
    /// A tap or macvtap device name.
    NetDevName,
}

impl ClaimKind {
    const ALL: [(Self, u32); 7] = [
        (Self::PciDevice, 1),
        (Self::UsbDevice, 2),
        (Self::ScsiDevice, 3),
        (Self::MediatedDevice, 4),
        (Self::NvmeNamespace, 5),
        (Self::Port, 6),
        (Self::NetDevName, 7),
    ];

    /// The number that crosses the waist.
    pub fn number(self) -> u32 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }

    /// The kind of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == number)
            .map(|(kind, _)| *kind)
    }
}

/// A thing that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its key among its kind.
    pub key: String,
    /// Who holds it: driver and object, as `QEMU/web`.
    pub owner: String,
}

/// Who holds what of the things that only one may use: a host's books for [`Host::claim`] and its companions.
#[derive(Debug, Default)]
pub struct Claims {
    /// Held for looking only.
    held: Mutex<BTreeMap<(u32, String), String>>,
}

impl Claims {
    /// [`Host::claim`].
    pub fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let mut held = self.held.lock();
        match held.get(&(kind.number(), key.to_owned())) {
            Some(holder) if holder != owner => Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                format_args!("'{key}' is in use by {holder}"),
            )),
            _ => {
                held.insert((kind.number(), key.to_owned()), owner.to_owned());
                Ok(())
            }
        }
    }

    /// [`Host::release`].
    pub fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let mut held = self.held.lock();
        let full = (kind.number(), key.to_owned());
        match held.get(&full) {
            Some(holder) if holder == owner => {
                held.remove(&full);
                Ok(())
            }
            _ => Err(VirtError::invalid_arg(format_args!(
                "'{key}' is not held by {owner}"
            ))),
        }
    }

    /// [`Host::claims`].
    pub fn list(&self, kind: ClaimKind) -> Vec<Claim> {
        let held = self.held.lock();
        held.iter()
            .filter(|((number, _), _)| *number == kind.number())
            .map(|((_, key), owner)| Claim {
                key: key.clone(),
                owner: owner.clone(),
            })
            .collect()
    }
}

/// A connection that a driver opened through its host. Closed when the last clone goes.
pub trait OpenedConnection: Caller {
    /// Whether the connection still stands.
    fn is_alive(&self) -> Result<bool>;

    /// Turns on keepalive (`virConnectSetKeepAlive`); false if the peer does not know it.
    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool>;

    /// Calls back once with the reason (`virConnectCloseReason`) when the connection ends by itself.
    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) -> Result<()>;

    /// Where events of the connection go. Once, before the first registration.
    fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> Result<()>;

    /// What is known of a procedure without calling it.
    fn supports(&self, program: u32, procedure: u32) -> Supports;

    /// Closes now, whatever calls still run: what hangs on the connection is rolled back. Once is enough; dropping the
    /// last clone does it too.
    fn close(&self) -> Result<()> {
        Ok(())
    }

    /// The driver that answers, by name; empty where nobody knows.
    fn driver_name(&self) -> &str {
        ""
    }
}

bitflags::bitflags! {
    /// What a driver can do about a procedure.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Supports: u32 {
        /// The driver wrote the method.
        const IMPLEMENTED = 1;
        /// The method answers from a snapshot and may run on an I/O thread.
        const INLINE = 2;
    }
}

/// What the hosting side implements. Watches and timers are in the event loop of the process, unless it has another.
pub trait Host: Send + Sync {
    /// Takes a log line. Never waits for the reader.
    fn log(&self, record: &LogRecord);

    /// Opens another connection.
    fn open_connection(&self, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>>;

    /// Watches a descriptor in the application's event loop. Answers the watch's number.
    fn add_handle(&self, fd: BorrowedFd<'_>, events: HandleEvents, callback: HandleCallback) -> Result<i32> {
        event_loop::current()?.add_handle(fd, events, callback)
    }

    /// Changes what is watched; 0 watches nothing but keeps the watch.
    fn update_handle(&self, watch: i32, events: HandleEvents) -> Result<()> {
        event_loop::current()?.update_handle(watch, events)
    }

    /// Ends a watch. Its callback is never running any more when the loop's thread calls this.
    fn remove_handle(&self, watch: i32) -> Result<()> {
        event_loop::current()?.remove_handle(watch)
    }

    /// Calls back every `interval` (`None`: not yet). Answers the timer's number.
    fn add_timeout(&self, interval: Option<Duration>, callback: TimeoutCallback) -> Result<i32> {
        event_loop::current()?.add_timeout(interval, callback)
    }

    /// Changes the interval.
    fn update_timeout(&self, timer: i32, interval: Option<Duration>) -> Result<()> {
        event_loop::current()?.update_timeout(timer, interval)
    }

    /// Ends a timer.
    fn remove_timeout(&self, timer: i32) -> Result<()> {
        event_loop::current()?.remove_timeout(timer)
    }

    /// Asks whether `identity` may do `permission` on what has these attributes.
    fn check_acl(
        &self,
        identity: &Identity,
        program: u32,
        procedure: u32,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool>;

    /// Reserves something for `owner`. An error naming the holder if it is taken.
    fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()>;

    /// Gives something back. An error if `owner` does not hold it.
    fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()>;

    /// What is held.
    fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>>;

    /// Keeps the daemon from exiting for lack of work while a driver has something running.
    fn inhibit(&self, inhibited: bool);

    /// Takes a record for the host's audit trail. `NO_SUPPORT` from a host that keeps none, which is no reason for a
    /// driver to fail: [`HostServices::record`].
    fn audit(&self, record: &AuditRecord) -> Result<()> {
        let _ = record;
        Err(VirtError::no_support("audit records"))
    }

    /// The host as the driver of that name sees it; `None` if all drivers see the same.
    #[doc(hidden)]
    fn for_driver(&self, name: &str) -> Option<Arc<dyn Host>> {
        let _ = name;
        None
    }

    /// Asks the user of an open that runs now. Drivers use [`CredentialSource`]; hosts leave this alone, since the
    /// waist knows the sources of running opens itself.
    #[doc(hidden)]
    fn request_credentials(&self, auth: u64, questions: &[CredentialRequest]) -> Result<Vec<String>> {
        let _ = (auth, questions);
        Err(VirtError::no_support("credentials by number"))
    }
}

/// Where the answers to credential questions come from; one per open (`virConnectAuth`).
pub trait CredentialSource: Send + Sync {
    /// The kinds of questions that may be asked.
    fn kinds(&self) -> Vec<u32>;

    /// Asks. One answer per question, in order; an error if the user refused.
    fn request(&self, questions: &[CredentialRequest]) -> Result<Vec<String>>;
}

/// The host as a driver holds it. Cheap to clone.
#[derive(Clone)]
pub struct HostServices(Arc<dyn Host>);

impl HostServices {
    /// Holds `host`.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self(host)
    }

    /// Opens another connection: secrets for a disk, the target of a migration, the network of a guest.
    pub fn open_connection(&self, open: &NestedOpen) -> Result<NestedConnection> {
        self.0.open_connection(open).map(NestedConnection)
    }

    /// Gives records to the host's audit trail, where it keeps one. What becomes of them is its business.
    pub fn record(&self, records: impl IntoIterator<Item = AuditRecord>) {
        for record in records {
            match self.0.audit(&record) {
                Ok(()) => {}
                Err(error) if error.code() == ErrorCode::NO_SUPPORT => return,
                Err(error) => tracing::warn!("no audit record of '{}': {error}", record.text()),
            }
        }
    }

    /// [`Host::check_acl`] for the running call.
    pub(crate) fn check_call(
        &self,
        cx: &CallContext<'_>,
        permission: Permission,
        attributes: &TypedParams,
    ) -> Result<bool> {
        self.0.check_acl(
            cx.identity(),
            cx.program(),
            cx.procedure(),
            permission.name,
            permission.object.name(),
            attributes,
        )
    }
}

impl std::ops::Deref for HostServices {
    type Target = dyn Host;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for HostServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostServices")
    }
}

/// A connection that a driver opened through its host, ready for the typed clients.
#[derive(Clone)]
pub struct NestedConnection(Arc<dyn OpenedConnection>);

impl NestedConnection {
    /// Whether the connection still stands.
    pub fn is_alive(&self) -> Result<bool> {
        self.0.is_alive()
    }

    /// [`OpenedConnection::set_keepalive`].
    pub fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        self.0.set_keepalive(interval, count)
    }

    /// [`OpenedConnection::set_event_sink`].
    pub fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        self.0.set_event_sink(sink)
    }

    /// [`OpenedConnection::supports`].
    pub fn supports(&self, program: u32, procedure: u32) -> Supports {
        self.0.supports(program, procedure)
    }

    /// [`OpenedConnection::on_closed`].
    pub fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) -> Result<()> {
        self.0.on_closed(callback)
    }
}

impl Caller for NestedConnection {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        self.0.call(call)
    }
}

impl std::fmt::Debug for NestedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NestedConnection")
    }
}
