//! The administration program: what `virt-admin` asks a running daemon for, and changes.
//!
//! [`Admin`] answers the twenty procedures from what [`Administered`] shows of the daemon: its servers with their
//! clients, workers and limits, its log, and its end. How libvirt orders and types the values is here; how the daemon
//! does what is asked is not.

use std::sync::Arc;

use virt_api::LIBVIRT_VERSION;
use virt_api::call::{CallContext, Identity};
use virt_api::protocol::admin::{
    AdminClientGetInfoReply, AdminConnectGetLibVersionReply, AdminConnectGetLoggingFiltersReply,
    AdminConnectGetLoggingOutputsReply, AdminConnectListServersReply, AdminConnectLookupServerReply,
    AdminServerGetClientLimitsReply, AdminServerGetThreadpoolParametersReply, AdminServerListClientsReply,
    AdminServerLookupClientReply, ClientRef, ServerRef,
};
use virt_api::protocol::traits::AdminService;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::params::{client_info, client_limits, identity, threadpool};
use virt_util::types::{AdminConnectDaemonShutdownFlags, ClientTransport};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::logging::Logger;

mod live;

pub(crate) use live::ADMIN;
pub use live::{Control, Event, LiveAdmin, LiveDaemon};

/// The daemon, as its administrator sees it.
pub trait Administered: Send + Sync {
    /// The servers inside, the main one first.
    fn servers(&self) -> Vec<Arc<dyn AdministeredServer>>;

    /// Ends the daemon after so long without work; 0 never does.
    ///
    /// # Errors
    /// If it cannot be changed.
    fn set_timeout(&self, seconds: u32) -> Result<()>;

    /// Ends the daemon; with `preserve` drivers save what runs first.
    ///
    /// # Errors
    /// If it cannot be ended.
    fn shut_down(&self, preserve: bool) -> Result<()>;
}

/// A server inside the daemon: sockets that lead to the same programs.
pub trait AdministeredServer: Send + Sync {
    /// Its name: that of the daemon, or `admin`.
    fn name(&self) -> &str;

    /// Its workers.
    fn workers(&self) -> Workers;

    /// Changes the limits of the workers. What is `None` stays.
    ///
    /// # Errors
    /// If they cannot be changed.
    fn set_workers(&self, change: &WorkersChange) -> Result<()>;

    /// How many clients it has and takes.
    fn clients_limits(&self) -> ClientLimits;

    /// Changes how many clients it takes. What is `None` stays.
    ///
    /// # Errors
    /// If it cannot be changed.
    fn set_client_limits(&self, most: Option<u32>, most_anonymous: Option<u32>) -> Result<()>;

    /// Its clients, oldest first.
    fn clients(&self) -> Vec<Client>;

    /// Ends a client's connection. False if there is no such client.
    fn close_client(&self, id: u64) -> bool;

    /// Reads the certificates again.
    ///
    /// # Errors
    /// If there is nothing that uses them, or they cannot be read; the old ones stay.
    fn update_tls(&self) -> Result<()>;
}

/// Numbers about workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// That are always there.
    pub min: u32,
    /// That may be busy at once.
    pub max: u32,
    /// That are there now.
    pub current: u32,
    /// Of these, those that wait for work.
    pub free: u32,
    /// For calls of high priority only.
    pub priority: u32,
    /// Calls that wait for a worker.
    pub queued: u32,
}

/// Limits of workers that are to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkersChange {
    /// [`Workers::min`].
    pub min: Option<u32>,
    /// [`Workers::max`].
    pub max: Option<u32>,
    /// [`Workers::priority`].
    pub priority: Option<u32>,
}

/// Numbers about clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// The most at a time.
    pub max: u32,
    /// Now.
    pub current: u32,
    /// The most at a time that have not proved who they are.
    pub anonymous_max: u32,
    /// Those now.
    pub anonymous: u32,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number, unique in the life of the daemon.
    pub id: u64,
    /// Since when it is connected, in seconds since the epoch.
    pub since: i64,
    /// How.
    pub transport: ClientTransport,
    /// Whether it may only look.
    pub read_only: bool,
    /// Address and port, of a client that came over a network.
    pub address: Option<String>,
    /// Who it is.
    pub identity: Identity,
}

/// Answers the administration program.
pub struct Admin {
    daemon: Arc<dyn Administered>,
    log: Arc<Logger>,
}

impl Admin {
    /// The administration of `daemon`, which logs to `log`.
    pub fn new(daemon: Arc<dyn Administered>, log: Arc<Logger>) -> Self {
        Self { daemon, log }
    }

    fn server(&self, name: &str) -> Result<Arc<dyn AdministeredServer>> {
        self.daemon
            .servers()
            .into_iter()
            .find(|server| server.name() == name)
            .ok_or_else(|| {
                VirtError::new(ErrorCode::NO_SERVER, format_args!("no server is named '{name}'"))
                    .in_domain(ErrorDomain::ADMIN)
            })
    }

    fn client(&self, server: &str, id: u64) -> Result<(Arc<dyn AdministeredServer>, Client)> {
        let server = self.server(server)?;
        let found = server.clients().into_iter().find(|client| client.id == id);
        match found {
            Some(client) => Ok((server, client)),
            None => Err(no_client(id)),
        }
    }
}

fn no_client(id: u64) -> VirtError {
    VirtError::new(ErrorCode::NO_CLIENT, format_args!("no client has the id {id}"))
        .in_domain(ErrorDomain::ADMIN)
}

/// Refuses flags that nobody knows, as libvirt words it.
fn check_flags(flags: u32, known: u32, function: &str) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(
            VirtError::invalid_arg(format_args!("flags 0x{unknown:x} are unknown to {function}"))
                .in_domain(ErrorDomain::ADMIN),
        ),
    }
}

/// Takes unsigned numbers out of parameters, of which none other and none twice may be there; in the order of `known`.
fn unsigned<const N: usize>(params: &TypedParams, known: [&str; N]) -> Result<[Option<u32>; N]> {
    let mut found = [None; N];
    for param in params.iter() {
        let place = known.iter().position(|name| *name == param.field);
        let Some(slot) = place.and_then(|place| found.get_mut(place)) else {
            return Err(VirtError::new(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                format_args!("parameter '{}' is none of {}", param.field, known.join(", ")),
            )
            .in_domain(ErrorDomain::ADMIN));
        };
        let TypedValue::UInt(value) = param.value else {
            return Err(VirtError::invalid_arg(format_args!(
                "type '{}' of parameter '{}': expected 'uint'",
                type_name(&param.value),
                param.field
            ))
            .in_domain(ErrorDomain::ADMIN));
        };
        if slot.replace(value).is_some() {
            return Err(VirtError::invalid_arg(format_args!(
                "parameter '{}' stands there twice",
                param.field
            ))
            .in_domain(ErrorDomain::ADMIN));
        }
    }
    Ok(found)
}

fn type_name(value: &TypedValue) -> &'static str {
    match value {
        TypedValue::Int(_) => "int",
        TypedValue::UInt(_) => "uint",
        TypedValue::LLong(_) => "llong",
        TypedValue::ULLong(_) => "ullong",
        TypedValue::Double(_) => "double",
        TypedValue::Boolean(_) => "boolean",
        TypedValue::String(_) => "string",
    }
}

fn server_ref(server: &dyn AdministeredServer) -> ServerRef {
    ServerRef {
        name: server.name().to_owned(),
    }
}

fn client_ref(server: &dyn AdministeredServer, client: &Client) -> ClientRef {
    ClientRef {
        server: server_ref(server),
        id: client.id,
        timestamp: client.since,
        transport: client.transport.0.unsigned_abs(),
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// What is known about a client, in libvirt's order.
fn client_facts(client: &Client) -> TypedParams {
    let who = &client.identity.0;
    let mut facts = TypedParams::new().with(client_info::READONLY, client.read_only);
    let text = |facts: &mut TypedParams, name: &str, of: &str| {
        if let Ok(Some(value)) = who.get_string(of) {
            facts.push(name, value);
        }
    };
    // Numbers of users, groups and processes are signed here, whatever they are elsewhere.
    let number = |facts: &mut TypedParams, name: &str, of: &str| {
        let value = match who.get(of) {
            Some(TypedValue::Int(value)) => Some(*value),
            Some(TypedValue::UInt(value)) => Some(value.cast_signed()),
            Some(TypedValue::LLong(value)) => i32::try_from(*value).ok(),
            Some(TypedValue::ULLong(value)) => u32::try_from(*value).ok().map(u32::cast_signed),
            _ => None,
        };
        if let Some(value) = value {
            facts.push(name, value);
        }
    };
    text(&mut facts, client_info::SASL_USER_NAME, identity::SASL_USER_NAME);
    if client.transport == ClientTransport::UNIX {
        number(&mut facts, client_info::UNIX_USER_ID, identity::UNIX_USER_ID);
        text(&mut facts, client_info::UNIX_USER_NAME, identity::USER_NAME);
        number(&mut facts, client_info::UNIX_GROUP_ID, identity::UNIX_GROUP_ID);
        text(&mut facts, client_info::UNIX_GROUP_NAME, identity::GROUP_NAME);
        number(&mut facts, client_info::UNIX_PROCESS_ID, identity::PROCESS_ID);
    } else {
        if let Some(address) = &client.address {
            facts.push(client_info::SOCKET_ADDR, address.as_str());
        }
        text(
            &mut facts,
            client_info::X509_DISTINGUISHED_NAME,
            identity::X509_DISTINGUISHED_NAME,
        );
    }
    text(
        &mut facts,
        client_info::SELINUX_CONTEXT,
        identity::SELINUX_CONTEXT,
    );
    facts
}

#[virt_api::implements]
impl AdminService for Admin {
    fn connect_open(&self, _: &mut CallContext<'_>, flags: u32) -> Result<()> {
        check_flags(flags, 0, "virAdmConnectOpen")
    }

    fn connect_close(&self, _: &mut CallContext<'_>) -> Result<()> {
        Ok(())
    }

    fn connect_get_lib_version(&self, _: &mut CallContext<'_>) -> Result<AdminConnectGetLibVersionReply> {
        Ok(AdminConnectGetLibVersionReply {
            lib_ver: LIBVIRT_VERSION,
        })
    }

    fn connect_list_servers(
        &self,
        _: &mut CallContext<'_>,
        need_results: u32,
        flags: u32,
    ) -> Result<AdminConnectListServersReply> {
        check_flags(flags, 0, "virAdmConnectListServers")?;
        let servers = self.daemon.servers();
        let ret = count(servers.len());
        let servers = match need_results {
            0 => Vec::new(),
            _ => servers.iter().map(|server| server_ref(server.as_ref())).collect(),
        };
        Ok(AdminConnectListServersReply { servers, ret })
    }

    fn connect_lookup_server(
        &self,
        _: &mut CallContext<'_>,
        name: String,
        flags: u32,
    ) -> Result<AdminConnectLookupServerReply> {
        // libvirt's daemon takes any flags here, and so do its clients.
        let _ = flags;
        self.server(&name).map(|server| AdminConnectLookupServerReply {
            server: server_ref(server.as_ref()),
        })
    }

    fn server_get_threadpool_parameters(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        flags: u32,
    ) -> Result<AdminServerGetThreadpoolParametersReply> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerGetThreadPoolParameters")?;
        let workers = server.workers();
        Ok(AdminServerGetThreadpoolParametersReply {
            params: TypedParams::new()
                .with(threadpool::WORKERS_MIN, workers.min)
                .with(threadpool::WORKERS_MAX, workers.max)
                .with(threadpool::WORKERS_CURRENT, workers.current)
                .with(threadpool::WORKERS_FREE, workers.free)
                .with(threadpool::WORKERS_PRIORITY, workers.priority)
                .with(threadpool::JOB_QUEUE_DEPTH, workers.queued),
        })
    }

    fn server_set_threadpool_parameters(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerSetThreadPoolParameters")?;
        let [min, max, priority] = unsigned(
            &params,
            [
                threadpool::WORKERS_MIN,
                threadpool::WORKERS_MAX,
                threadpool::WORKERS_PRIORITY,
            ],
        )?;
        let now = server.workers();
        let invalid = |detail: std::fmt::Arguments<'_>| {
            Err(VirtError::invalid_arg(detail).in_domain(ErrorDomain::ADMIN))
        };
        let (new_min, new_max) = (min.unwrap_or(now.min), max.unwrap_or(now.max));
        if new_min > new_max {
            return invalid(format_args!(
                "minWorkers cannot be larger than maxWorkers: {new_min} and {new_max}"
            ));
        }
        if (new_max == 0) != (now.max == 0) {
            return invalid(format_args!(
                "maxWorkers must not be switched from zero to non-zero and vice versa: it is {} and would be {new_max}",
                now.max
            ));
        }
        server.set_workers(&WorkersChange { min, max, priority })
    }

    fn server_list_clients(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        need_results: u32,
        flags: u32,
    ) -> Result<AdminServerListClientsReply> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerListClients")?;
        let clients = server.clients();
        let ret = count(clients.len());
        let clients = match need_results {
            0 => Vec::new(),
            _ => clients
                .iter()
                .map(|client| client_ref(server.as_ref(), client))
                .collect(),
        };
        Ok(AdminServerListClientsReply { clients, ret })
    }

    fn server_lookup_client(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        id: u64,
        flags: u32,
    ) -> Result<AdminServerLookupClientReply> {
        check_flags(flags, 0, "virAdmServerLookupClient")?;
        let (server, client) = self.client(&server.name, id)?;
        Ok(AdminServerLookupClientReply {
            client: client_ref(server.as_ref(), &client),
        })
    }

    fn client_get_info(
        &self,
        _: &mut CallContext<'_>,
        client: ClientRef,
        flags: u32,
    ) -> Result<AdminClientGetInfoReply> {
        let (_, client) = self.client(&client.server.name, client.id)?;
        check_flags(flags, 0, "virAdmClientGetInfo")?;
        Ok(AdminClientGetInfoReply {
            params: client_facts(&client),
        })
    }

    fn client_close(&self, _: &mut CallContext<'_>, client: ClientRef, flags: u32) -> Result<()> {
        let server = self.server(&client.server.name)?;
        check_flags(flags, 0, "virAdmClientClose")?;
        if server.close_client(client.id) {
            Ok(())
        } else {
            Err(no_client(client.id))
        }
    }

    fn server_get_client_limits(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        flags: u32,
    ) -> Result<AdminServerGetClientLimitsReply> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerGetClientLimits")?;
        let limits = server.clients_limits();
        Ok(AdminServerGetClientLimitsReply {
            params: TypedParams::new()
                .with(client_limits::MAX, limits.max)
                .with(client_limits::CURRENT, limits.current)
                .with(client_limits::UNAUTH_MAX, limits.anonymous_max)
                .with(client_limits::UNAUTH_CURRENT, limits.anonymous),
        })
    }

    fn server_set_client_limits(
        &self,
        _: &mut CallContext<'_>,
        server: ServerRef,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerSetClientLimits")?;
        let [max, anonymous] = unsigned(&params, [client_limits::MAX, client_limits::UNAUTH_MAX])?;
        let now = server.clients_limits();
        let (new_max, new_anonymous) = (max.unwrap_or(now.max), anonymous.unwrap_or(now.anonymous_max));
        if new_max < new_anonymous {
            return Err(VirtError::invalid_arg(format_args!(
                "the most clients in all, {new_max}, must not be fewer than the most that wait for authentication, \
                 {new_anonymous}"
            ))
            .in_domain(ErrorDomain::ADMIN));
        }
        server.set_client_limits(max, anonymous)
    }

    fn connect_get_logging_outputs(
        &self,
        _: &mut CallContext<'_>,
        flags: u32,
    ) -> Result<AdminConnectGetLoggingOutputsReply> {
        check_flags(flags, 0, "virAdmConnectGetLoggingOutputs")?;
        let (outputs, noutputs) = self.log.outputs();
        Ok(AdminConnectGetLoggingOutputsReply { outputs, noutputs })
    }

    fn connect_get_logging_filters(
        &self,
        _: &mut CallContext<'_>,
        flags: u32,
    ) -> Result<AdminConnectGetLoggingFiltersReply> {
        check_flags(flags, 0, "virAdmConnectGetLoggingFilters")?;
        let (filters, nfilters) = self.log.filters();
        Ok(AdminConnectGetLoggingFiltersReply { filters, nfilters })
    }

    fn connect_set_logging_outputs(
        &self,
        _: &mut CallContext<'_>,
        outputs: Option<String>,
        flags: u32,
    ) -> Result<()> {
        check_flags(flags, 0, "virAdmConnectSetLoggingOutputs")?;
        self.log.set_outputs(outputs.as_deref())
    }

    fn connect_set_logging_filters(
        &self,
        _: &mut CallContext<'_>,
        filters: Option<String>,
        flags: u32,
    ) -> Result<()> {
        check_flags(flags, 0, "virAdmConnectSetLoggingFilters")?;
        self.log.set_filters(filters.as_deref())
    }

    fn server_update_tls_files(&self, _: &mut CallContext<'_>, server: ServerRef, flags: u32) -> Result<()> {
        let server = self.server(&server.name)?;
        check_flags(flags, 0, "virAdmServerUpdateTlsFiles")?;
        server.update_tls()
    }

    fn connect_set_daemon_timeout(&self, _: &mut CallContext<'_>, timeout: u32, flags: u32) -> Result<()> {
        check_flags(flags, 0, "virAdmConnectSetDaemonTimeout")?;
        self.daemon.set_timeout(timeout)
    }

    fn connect_daemon_shutdown(&self, _: &mut CallContext<'_>, flags: u32) -> Result<()> {
        let preserve = AdminConnectDaemonShutdownFlags::PRESERVE.bits();
        check_flags(flags, preserve, "virAdmConnectDaemonShutdown")?;
        self.daemon.shut_down(flags & preserve != 0)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

#[cfg(test)]
mod tests;
