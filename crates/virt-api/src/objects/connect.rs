//! Connections.

use super::event::{self, EventTable};
use super::{ConnectBuilder, Domain, DomainEvent, StoragePool, StorageVol, Subscription};
use crate::call::{PROGRAM_FERROVIRT, PROGRAM_QEMU, PROGRAM_REMOTE};
use crate::protocol::clients::{CallSettings, FerrovirtClient, QemuClient, RemoteClient};
use crate::routing::Router;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;
use uuid::Uuid;
use virt_util::time::Deadline;
use virt_util::types::{
    ConnectCloseReason, ConnectGetDomainCapabilitiesFlags, ConnectListAllDomainsFlags, DomainCreateFlags,
    DomainDefineFlags, DomainEventId,
};
use virt_util::{ErrorCode, Result, VirtError};

/// The host's hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The kind of CPU.
    pub model: String,
    /// Memory in KiB.
    pub memory: u64,
    /// CPUs in use.
    pub cpus: i32,
    /// Their frequency in MHz, 0 if unknown.
    pub mhz: i32,
    /// NUMA cells.
    pub nodes: i32,
    /// Sockets in each cell.
    pub sockets: i32,
    /// Cores in each socket.
    pub cores: i32,
    /// Threads in each core.
    pub threads: i32,
}

/// The host's security system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityModel {
    /// Its name; empty if there is none.
    pub model: String,
    /// The domain of interpretation of its labels.
    pub doi: String,
}

/// A connection to a hypervisor. Clones are the same connection; it closes when the last one and everything that came
/// from it is gone.
#[derive(Clone)]
pub struct Connect(Arc<Inner>);

struct Inner {
    router: Router,
    events: Arc<EventTable>,
    /// The URI asked for, aliases resolved; the driver may have a more precise one.
    uri: String,
    /// How long each call may take.
    timeout: Option<Duration>,
    read_only: bool,
}

/// A connection that is not kept open by whoever holds this.
pub(super) struct WeakConnect(Weak<Inner>);

impl WeakConnect {
    pub(super) fn upgrade(&self) -> Option<Connect> {
        self.0.upgrade().map(Connect)
    }
}

impl Connect {
    pub(super) fn new(
        router: Router,
        events: Arc<EventTable>,
        uri: String,
        timeout: Option<Duration>,
        read_only: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            router,
            events,
            uri,
            timeout,
            read_only,
        }))
    }

    pub(super) fn downgrade(&self) -> WeakConnect {
        WeakConnect(Arc::downgrade(&self.0))
    }

    pub(super) fn events(&self) -> &Arc<EventTable> {
        &self.0.events
    }

    fn settings(&self, program: u32) -> CallSettings<'_> {
        let settings = CallSettings::new(&self.0.router, program);
        match self.0.timeout {
            Some(timeout) => settings.deadline(Deadline::after(timeout)),
            None => settings,
        }
    }

    /// Connects to `uri`; an empty one is the default of the user's configuration.
    pub fn open(uri: &str) -> Result<Self> {
        Self::builder().uri(uri).open()
    }

    /// Says how to connect.
    pub fn builder() -> ConnectBuilder {
        ConnectBuilder::default()
    }

    /// The calls of the main program, typed.
    pub fn remote(&self) -> RemoteClient<'_> {
        RemoteClient::with(self.settings(PROGRAM_REMOTE))
    }

    /// The calls of the QEMU program, typed.
    pub fn qemu(&self) -> QemuClient<'_> {
        QemuClient::with(self.settings(PROGRAM_QEMU))
    }

    fn ferrovirt(&self) -> FerrovirtClient<'_> {
        FerrovirtClient::with(self.settings(PROGRAM_FERROVIRT))
    }

    /// Through whom calls go.
    pub fn router(&self) -> &Router {
        &self.0.router
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// Whether the connection still stands.
    pub fn is_alive(&self) -> Result<bool> {
        self.0.router.primary().is_alive()
    }

    /// Has the connection checked every `interval` seconds and given up after `count` unanswered messages. An error
    /// with `VIR_ERR_NO_SUPPORT` where there is nothing to check.
    pub fn set_keepalive(&self, interval: i32, count: u32) -> Result<()> {
        match self.0.router.primary().set_keepalive(interval, count)? {
            true => Ok(()),
            false => Err(VirtError::no_support("keepalive on this connection")),
        }
    }

    /// Calls back when the connection ends by itself. A second callback replaces the first.
    pub fn on_close(&self, callback: impl Fn(ConnectCloseReason) + Send + Sync + 'static) -> Result<()> {
        self.0.events.set_close_callback(Arc::new(callback));
        self.0.events.watch_close(self.0.router.primary().as_ref())
    }

    /// The canonical URI.
    pub fn uri(&self) -> Result<String> {
        match self.remote().connect_get_uri() {
            Ok(reply) => Ok(reply.uri),
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(self.0.uri.clone()),
            Err(error) => Err(error),
        }
    }

    /// The hypervisor's name: `QEMU`, `TEST`, `LXC` …
    pub fn hypervisor_type(&self) -> Result<String> {
        Ok(self.remote().connect_get_type()?.kind)
    }

    /// The hypervisor's version: `major * 1000000 + minor * 1000 + release`.
    pub fn hypervisor_version(&self) -> Result<u64> {
        Ok(self.remote().connect_get_version()?.hv_ver)
    }

    /// The version of the library on the other side, which is ours where there is no other side.
    pub fn lib_version(&self) -> Result<u64> {
        match self.remote().connect_get_lib_version() {
            Ok(reply) => Ok(reply.lib_ver),
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(crate::LIBVIRT_VERSION),
            Err(error) => Err(error),
        }
    }

    /// The name of the host that the hypervisor runs on.
    pub fn hostname(&self) -> Result<String> {
        Ok(self.remote().connect_get_hostname()?.hostname)
    }

    /// The host's hardware.
    pub fn node_info(&self) -> Result<NodeInfo> {
        let reply = self.remote().node_get_info()?;
        Ok(NodeInfo {
            model: reply.model,
            memory: reply.memory,
            cpus: reply.cpus,
            mhz: reply.mhz,
            nodes: reply.nodes,
            sockets: reply.sockets,
            cores: reply.cores,
            threads: reply.threads,
        })
    }

    /// The host's security system.
    pub fn security_model(&self) -> Result<SecurityModel> {
        let reply = self.remote().node_get_security_model()?;
        Ok(SecurityModel {
            model: reply.model,
            doi: reply.doi,
        })
    }

    /// What host and hypervisor can do, as XML.
    pub fn capabilities(&self) -> Result<String> {
        Ok(self.remote().connect_get_capabilities()?.capabilities)
    }

    /// What an emulator can do here, as XML. What is not given is the driver's default.
    pub fn domain_capabilities(
        &self,
        emulator: Option<&str>,
        arch: Option<&str>,
        machine: Option<&str>,
        virt_type: Option<&str>,
        flags: ConnectGetDomainCapabilitiesFlags,
    ) -> Result<String> {
        let reply = self.remote().connect_get_domain_capabilities(
            emulator,
            arch,
            machine,
            virt_type,
            flags.bits(),
        )?;
        Ok(reply.capabilities)
    }

    pub(crate) fn domain(&self, domain: crate::protocol::remote::DomainRef) -> Domain {
        Domain::new(self.clone(), domain)
    }

    /// The domains that the flags select; without any, all.
    pub fn list_all_domains(&self, flags: ConnectListAllDomainsFlags) -> Result<Vec<Domain>> {
        let reply = self.remote().connect_list_all_domains(1, flags.bits())?;
        Ok(reply
            .domains
            .into_iter()
            .map(|domain| self.domain(domain))
            .collect())
    }

    /// The numbers of active domains, from a driver of any age.
    pub fn list_domain_ids(&self) -> Result<Vec<i32>> {
        let count = self.remote().connect_num_of_domains()?.num;
        Ok(self.remote().connect_list_domains(count)?.ids)
    }

    /// The names of inactive domains, from a driver of any age.
    pub fn list_defined_domain_names(&self) -> Result<Vec<String>> {
        let count = self.remote().connect_num_of_defined_domains()?.num;
        Ok(self.remote().connect_list_defined_domains(count)?.names)
    }

    /// The active domain with this number.
    pub fn lookup_domain_by_id(&self, id: i32) -> Result<Domain> {
        Ok(self.domain(self.remote().domain_lookup_by_id(id)?.domain))
    }

    /// The domain with this UUID.
    pub fn lookup_domain_by_uuid(&self, uuid: Uuid) -> Result<Domain> {
        Ok(self.domain(self.remote().domain_lookup_by_uuid(uuid)?.domain))
    }

    /// The domain with this UUID, in any spelling that libvirt reads.
    pub fn lookup_domain_by_uuid_string(&self, text: &str) -> Result<Domain> {
        let uuid = virt_util::uuid::parse(text)
            .map_err(|_| VirtError::invalid_arg(format_args!("'{text}' is no UUID")))?;
        self.lookup_domain_by_uuid(uuid)
    }

    /// The domain with this name.
    pub fn lookup_domain_by_name(&self, name: &str) -> Result<Domain> {
        Ok(self.domain(self.remote().domain_lookup_by_name(name)?.domain))
    }

    /// Stores a definition.
    pub fn define_domain(&self, xml: &str, flags: DomainDefineFlags) -> Result<Domain> {
        let domain = if flags.is_empty() {
            self.remote().domain_define_xml(xml)?.domain
        } else {
            self.remote().domain_define_xml_flags(xml, flags.bits())?.domain
        };
        Ok(self.domain(domain))
    }

    /// The definition that the driver would store if it were given this one; nothing is stored.
    ///
    /// # Errors
    /// As [`Connect::define_domain`]; `RPC` or `NO_SUPPORT` where daemon or driver cannot tell.
    pub fn preview_domain(&self, xml: &str, flags: DomainDefineFlags) -> Result<String> {
        Ok(self.ferrovirt().domain_preview_xml(xml, flags.bits())?.xml)
    }

    /// Whether what goes over the connection is encrypted. A connection can be secure without that
    /// (`connect_is_secure`): nobody listens on a socket of this host.
    ///
    /// # Errors
    /// `NO_SUPPORT` where the driver cannot tell.
    pub fn is_encrypted(&self) -> Result<bool> {
        Ok(self.ferrovirt().connect_is_encrypted()?.encrypted != 0)
    }

    /// Starts a domain without storing its definition. Descriptors are given to the guest.
    pub fn create_domain(
        &self,
        xml: &str,
        flags: DomainCreateFlags,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Domain> {
        let domain = if fds.is_empty() {
            self.remote().domain_create_xml(xml, flags.bits())?.domain
        } else {
            self.remote()
                .domain_create_xml_with_files(xml, flags.bits(), fds)?
                .domain
        };
        Ok(self.domain(domain))
    }

    /// The storage pool with this name.
    pub fn lookup_storage_pool_by_name(&self, name: &str) -> Result<StoragePool> {
        Ok(StoragePool::new(
            self.clone(),
            self.remote().storage_pool_lookup_by_name(name)?.pool,
        ))
    }

    /// The storage volume at this path.
    pub fn lookup_storage_vol_by_path(&self, path: &str) -> Result<StorageVol> {
        Ok(StorageVol::new(
            self.clone(),
            self.remote().storage_vol_lookup_by_path(path)?.volume,
        ))
    }

    /// Subscribes to events of one kind, of one domain or of all. The callback runs on the event loop's thread; it
    /// never runs again once the subscription is dropped.
    pub fn on_domain_event(
        &self,
        domain: Option<&Domain>,
        id: DomainEventId,
        callback: impl FnMut(&DomainEvent) + Send + 'static,
    ) -> Result<Subscription> {
        event::subscribe(self, domain, id, Box::new(callback))
    }
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connect").field(&self.0.uri).finish()
    }
}
