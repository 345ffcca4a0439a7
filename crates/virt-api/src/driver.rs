//! What the author of a driver implements.
//!
//! [`Driver`] exists once per process and opens [`DriverConnection`]s, one per client connection. A connection offers
//! one object per kind of procedures (`protocol::traits`), a [`Resolver`] for its objects, and little else; everything
//! it does not offer answers `VIR_ERR_NO_SUPPORT`.

use std::sync::Arc;
use std::time::Duration;

use virt_util::time::Deadline;
use virt_util::typed_param::TypedParams;
use virt_util::uuid::Uuid;
use virt_util::xdr::XdrDecode;
use virt_util::{ErrorDomain, Result};

use crate::access::Resolver;
use crate::call::{CallContext, Identity};
use crate::events::EventRegistry;
use crate::host::{CredentialSource, HostServices};
use crate::protocol::traits::{
    HypervisorDriver, InterfaceDriver, NetworkDriver, NodeDeviceDriver, NwfilterDriver, SecretDriver,
    StorageDriver,
};

/// libvirt's connect flag for a read-only connection (`VIR_CONNECT_RO`).
pub const CONNECT_RO: u32 = 1;
/// libvirt's connect flag that forbids URI aliases (`VIR_CONNECT_NO_ALIASES`).
pub const CONNECT_NO_ALIASES: u32 = 2;

/// How the process that hosts a driver starts it.
#[derive(Clone, Debug, Default)]
pub struct InitContext {
    /// Whether the process runs as root and serves the whole machine.
    pub privileged: bool,
    /// Whether all drivers live in this process, or this one alone.
    pub monolithic: bool,
    /// Whether the process is a daemon.
    pub inside_daemon: bool,
    /// The prefix of all directories (embedding), `None` for the machine's own.
    pub root: Option<String>,
    /// Everything else; unknown names are ignored.
    pub ext: TypedParams,
}

impl InitContext {
    const HOST_UUID: &str = "host-uuid";
    const OVS_TIMEOUT: &str = "ovs-timeout";

    /// With the UUID by which drivers know this host.
    #[must_use]
    pub fn with_host_uuid(mut self, uuid: &Uuid) -> Self {
        self.ext.push(Self::HOST_UUID, virt_util::uuid::format(uuid));
        self
    }

    /// The UUID of this host as the process was configured. `None` where it has no opinion: the firmware's, then.
    pub fn host_uuid(&self) -> Option<Uuid> {
        virt_util::uuid::parse(self.ext.get_string(Self::HOST_UUID).ok()??).ok()
    }

    /// With the time that commands to Open vSwitch may take, in whole seconds.
    #[must_use]
    pub fn with_ovs_timeout(mut self, timeout: Duration) -> Self {
        self.ext.push(Self::OVS_TIMEOUT, timeout.as_secs());
        self
    }

    /// How long commands to Open vSwitch may take; `None` where the process does not say.
    pub fn ovs_timeout(&self) -> Option<Duration> {
        self.ext.get_u64(Self::OVS_TIMEOUT).ok()?.map(Duration::from_secs)
    }
}

/// A request to open a connection.
pub struct OpenContext {
    pub(crate) uri: String,
    pub(crate) flags: u32,
    pub(crate) deadline: Deadline,
    pub(crate) identity: Identity,
    pub(crate) ext: TypedParams,
    pub(crate) credentials: Option<Arc<dyn CredentialSource>>,
    pub(crate) host: HostServices,
    pub(crate) events: Arc<EventRegistry>,
}

impl OpenContext {
    /// The URI, aliases resolved.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// libvirt's connect flags.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether the connection is to be read-only.
    pub fn read_only(&self) -> bool {
        self.flags & CONNECT_RO != 0
    }

    /// When the caller gives up.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Who opens.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Everything else: client configuration, inside-daemon, trace id … Unknown names are ignored.
    pub fn ext(&self) -> &TypedParams {
        &self.ext
    }

    /// Where credentials may be asked for, if the caller gave a way.
    pub fn credentials(&self) -> Option<&Arc<dyn CredentialSource>> {
        self.credentials.as_ref()
    }

    /// What the hosting process offers.
    pub fn host(&self) -> &HostServices {
        &self.host
    }

    /// The event subscriptions of the new connection: attach it to the driver's [`crate::events::EventHub`].
    pub fn events(&self) -> &Arc<EventRegistry> {
        &self.events
    }
}

impl std::fmt::Debug for OpenContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenContext")
            .field("uri", &self.uri)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A driver: one object per process.
#[allow(unused_variables, reason = "default bodies document their parameters by name")]
pub trait Driver: Send + Sync + 'static {
    /// Runs once, before the first open: load what is on disk, re-attach what runs.
    fn initialize(&self, host: &HostServices, context: &InitContext) -> Result<()> {
        Ok(())
    }

    /// Opens a connection.
    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>>;

    /// The URI to use when the user named none and this driver would work here (`virsh` without `-c`).
    fn uri_probe(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether opening that URI neither waits nor reads anything, as long as this process runs, so that a daemon may do it
    /// on the thread that serves all its clients.
    fn opens_at_once(&self, uri: &str) -> bool {
        false
    }

    /// Reads configuration again (SIGHUP).
    fn reload(&self) -> Result<()> {
        Ok(())
    }

    /// Says how much to log: libvirt's priority from 1 (debug) to 4 (errors).
    fn set_log(&self, priority: u32) -> Result<()> {
        Ok(())
    }

    /// The host goes to sleep or the session ends: save what would be lost (`virStateStop`).
    fn stop(&self) -> Result<()> {
        Ok(())
    }

    /// The process will exit: start nothing new (`virStateShutdownPrepare`).
    fn shutdown_prepare(&self) -> Result<()> {
        Ok(())
    }

    /// The process will exit: wait for what still runs (`virStateShutdownWait`).
    fn shutdown_wait(&self, deadline: Deadline) -> Result<()> {
        Ok(())
    }
}

/// A connection of one client to a driver. Autodestroy, descriptor groups, migration ownership and identity hang on it.
#[allow(unused_variables, reason = "default bodies document their parameters by name")]
pub trait DriverConnection: Send + Sync + 'static {
    /// Guests and host information.
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        None
    }

    /// Virtual networks.
    fn network(&self) -> Option<&dyn NetworkDriver> {
        None
    }

    /// Host interfaces.
    fn interface(&self) -> Option<&dyn InterfaceDriver> {
        None
    }

    /// Storage pools and volumes.
    fn storage(&self) -> Option<&dyn StorageDriver> {
        None
    }

    /// Host devices.
    fn node_device(&self) -> Option<&dyn NodeDeviceDriver> {
        None
    }

    /// Network filters.
    fn nwfilter(&self) -> Option<&dyn NwfilterDriver> {
        None
    }

    /// Secrets.
    fn secret(&self) -> Option<&dyn SecretDriver> {
        None
    }

    /// Whose errors those of its methods are that do not say it themselves.
    fn error_domain(&self) -> ErrorDomain {
        ErrorDomain::NONE
    }

    /// Finds the objects that arguments name.
    fn resolver(&self) -> Option<&dyn Resolver> {
        None
    }

    /// For drivers that take calls as bytes and pass them on.
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        None
    }

    /// Whether the connection still stands.
    fn is_alive(&self) -> Result<bool> {
        Ok(true)
    }

    /// Turns on keepalive; false if the connection has no use for it.
    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        Ok(false)
    }

    /// Calls back once with the reason (`virConnectCloseReason`: 0 error, 1 end of file, 2 keepalive, 3 client) when
    /// the connection ends by itself. A connection that cannot end drops the callback.
    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) {}

    /// The client closes: roll back what hangs on the connection. Runs once, before the drop.
    fn close(&self) {}
}

/// Takes calls as they came.
pub trait Passthrough: Send + Sync {
    /// Answers the call of `cx` ([`CallContext::program`], [`CallContext::procedure`]) from its XDR arguments.
    fn call(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>>;
}

/// One method of a driver trait that a driver wrote, recorded by `#[virt_api::implements]`.
#[derive(Clone, Copy, Debug)]
pub struct MethodEntry {
    /// The method's name in its trait.
    pub name: &'static str,
    /// The method answers from a snapshot: no I/O, no lock, no spawn.
    pub inline_safe: bool,
    /// The flags it knows, where it is marked with them.
    pub flags: Option<KnownFlags>,
    /// What it wants of its arguments whatever they are about. Looked at like the flags, and after them.
    pub first: Option<fn(&[u8]) -> Result<()>>,
}

/// The arguments of a call, for marks of methods.
#[doc(hidden)]
pub fn arguments<A: XdrDecode>(bytes: &[u8]) -> Result<A> {
    A::from_xdr(bytes)
}

/// The flags that a method knows. Others are refused before anybody looks for the object that the call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFlags {
    /// What messages call the method.
    pub function: &'static str,
    /// The flags.
    pub bits: u32,
}

impl MethodEntry {
    /// The entries of several parts of an implementation, in the order of their names; `N` is how many they are together.
    ///
    /// # Panics
    /// If they are not `N`: when it is compiled.
    #[doc(hidden)]
    #[allow(clippy::indexing_slicing, reason = "the compiler does it, and would stop")]
    pub const fn join<const N: usize>(mut parts: &[&[Self]]) -> [Self; N] {
        let mut all = [Self {
            name: "",
            inline_safe: false,
            flags: None,
            first: None,
        }; N];
        let mut rest: &mut [Self] = &mut all;
        while let Some((part, others)) = parts.split_first() {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
            parts = others;
        }
        assert!(rest.is_empty(), "`N` is the number of all entries");
        let mut sorted = 0;
        while sorted < N {
            let mut at = sorted;
            while at > 0 && is_before(all[at].name.as_bytes(), all[at - 1].name.as_bytes()) {
                all.swap(at, at - 1);
                at -= 1;
            }
            sorted += 1;
        }
        all
    }

    /// The entry of that name among entries that [`MethodEntry::join`] has put in order: each call looks for its own.
    pub(crate) fn find(entries: &'static [Self], name: &str) -> Option<&'static Self> {
        let at = entries.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        entries.get(at)
    }
}

/// The order of strings, for the compiler.
const fn is_before(mut one: &[u8], mut other: &[u8]) -> bool {
    while let (Some((a, behind)), Some((b, others))) = (one.split_first(), other.split_first()) {
        if *a != *b {
            return *a < *b;
        }
        one = behind;
        other = others;
    }
    one.len() < other.len()
}

/// What the signatures of driver traits are made of.
#[doc(hidden)]
#[allow(
    ambiguous_glob_reexports,
    reason = "what two programs call the same is in no signature"
)]
pub mod signatures {
    pub use virt_util::Result;
    pub use virt_util::typed_param::TypedParams;
    pub use virt_util::uuid::Uuid;

    pub use crate::access::*;
    pub use crate::call::CallContext;
    pub use crate::protocol::ferrovirt::*;
    pub use crate::protocol::lxc::*;
    pub use crate::protocol::qemu::*;
    pub use crate::protocol::remote::*;
}

#[cfg(test)]
mod tests {
    use super::MethodEntry;

    const fn named(name: &'static str) -> MethodEntry {
        MethodEntry {
            name,
            inline_safe: false,
            flags: None,
            first: None,
        }
    }

    #[test]
    fn each_method_of_several_parts_is_found() {
        const ONE: [MethodEntry; 3] = [named("domain_reset"), named("domain"), named("node_get_info")];
        const OTHER: [MethodEntry; 2] = [named("domain_reboot"), named("")];
        static ALL: [MethodEntry; 5] = MethodEntry::join(&[&ONE, &OTHER]);
        assert!(ALL.is_sorted_by_key(|entry| entry.name));
        for entry in ONE.iter().chain(&OTHER) {
            let found = MethodEntry::find(&ALL, entry.name).unwrap();
            assert_eq!(found.name, entry.name);
        }
        assert!(MethodEntry::find(&ALL, "domain_re").is_none());
        assert!(MethodEntry::find(&[], "domain").is_none());
    }
}
