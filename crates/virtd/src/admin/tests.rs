//! The administration of a daemon that exists only here, from bytes to bytes.

use super::*;
use crate::logging::Places;
use parking_lot::Mutex;
use virt_api::call::PROGRAM_ADMIN;
use virt_api::host::HostServices;
use virt_api::protocol::admin::procedure;
use virt_api::protocol::admin::*;
use virt_api::protocol::dispatch_admin;
use virt_api::testkit::FakeHost;
use virt_util::xdr::{XdrDecode, XdrEncode};

#[derive(Default)]
struct Daemon {
    server: Arc<Server>,
    ended: Mutex<Vec<bool>>,
    timeout: Mutex<u32>,
}

#[derive(Default)]
struct Server {
    workers: Mutex<WorkersChange>,
    limits: Mutex<ClientLimits>,
    clients: Mutex<Vec<Client>>,
}

impl Administered for Daemon {
    fn servers(&self) -> Vec<Arc<dyn AdministeredServer>> {
        vec![Arc::clone(&self.server) as Arc<dyn AdministeredServer>]
    }

    fn set_timeout(&self, seconds: u32) -> Result<()> {
        *self.timeout.lock() = seconds;
        Ok(())
    }

    fn shut_down(&self, preserve: bool) -> Result<()> {
        self.ended.lock().push(preserve);
        Ok(())
    }
}

impl AdministeredServer for Server {
    fn name(&self) -> &str {
        "libvirtd"
    }

    fn workers(&self) -> Workers {
        let set = self.workers.lock();
        Workers {
            min: set.min.unwrap_or(5),
            max: set.max.unwrap_or(20),
            current: 5,
            free: 4,
            priority: set.priority.unwrap_or(5),
            queued: 0,
        }
    }

    fn set_workers(&self, change: &WorkersChange) -> Result<()> {
        *self.workers.lock() = *change;
        Ok(())
    }

    fn clients_limits(&self) -> ClientLimits {
        *self.limits.lock()
    }

    fn set_client_limits(&self, most: Option<u32>, most_anonymous: Option<u32>) -> Result<()> {
        let mut limits = self.limits.lock();
        limits.max = most.unwrap_or(limits.max);
        limits.anonymous_max = most_anonymous.unwrap_or(limits.anonymous_max);
        Ok(())
    }

    fn clients(&self) -> Vec<Client> {
        self.clients.lock().clone()
    }

    fn close_client(&self, id: u64) -> bool {
        let mut clients = self.clients.lock();
        let before = clients.len();
        clients.retain(|client| client.id != id);
        clients.len() < before
    }

    fn update_tls(&self) -> Result<()> {
        Err(VirtError::internal("no TLS socket is open"))
    }
}

struct Bench {
    daemon: Arc<Daemon>,
    admin: Admin,
}

impl Bench {
    fn new() -> Self {
        let daemon = Arc::new(Daemon::default());
        let log = Arc::new(Logger::new(Places::default()));
        let admin = Admin::new(Arc::clone(&daemon) as Arc<dyn Administered>, log);
        Self { daemon, admin }
    }

    fn call<R: XdrDecode>(&self, procedure: u32, args: &impl XdrEncode) -> Result<R> {
        R::from_xdr(&self.bytes(procedure, &args.to_xdr().unwrap())?)
    }

    fn bytes(&self, procedure: u32, args: &[u8]) -> Result<Vec<u8>> {
        let host = HostServices::new(Arc::new(FakeHost::default()));
        let mut cx = CallContext::in_host(PROGRAM_ADMIN, procedure, Identity::default(), host);
        dispatch_admin(&self.admin, &mut cx, args)
    }

    fn tell(&self, procedure: u32, args: &impl XdrEncode) -> Result<()> {
        self.bytes(procedure, &args.to_xdr().unwrap()).map(drop)
    }
}

fn main() -> ServerRef {
    ServerRef {
        name: "libvirtd".to_owned(),
    }
}

fn client(id: u64, transport: ClientTransport) -> Client {
    Client {
        id,
        since: 1_700_000_000,
        transport,
        read_only: true,
        address: Some("10.0.0.7:4711".to_owned()),
        identity: Identity(
            TypedParams::new()
                .with(identity::UNIX_USER_ID, 1000u64)
                .with(identity::USER_NAME, "ann")
                .with(identity::UNIX_GROUP_ID, 100u64)
                .with(identity::GROUP_NAME, "users")
                .with(identity::PROCESS_ID, 4711i64)
                .with(identity::SASL_USER_NAME, "ann@host"),
        ),
    }
}

#[test]
fn servers_are_listed_and_found() {
    let bench = Bench::new();
    let list = |need_results| {
        bench
            .call::<AdminConnectListServersReply>(
                procedure::CONNECT_LIST_SERVERS,
                &AdminConnectListServersArgs {
                    need_results,
                    flags: 0,
                },
            )
            .unwrap()
    };
    assert_eq!((list(1).ret, list(1).servers.len()), (1, 1));
    assert_eq!((list(0).ret, list(0).servers.len()), (1, 0));
    let error = bench
        .call::<AdminConnectLookupServerReply>(
            procedure::CONNECT_LOOKUP_SERVER,
            &AdminConnectLookupServerArgs {
                name: "none".to_owned(),
                flags: 0,
            },
        )
        .unwrap_err();
    assert_eq!(
        (error.code(), error.domain()),
        (ErrorCode::NO_SERVER, ErrorDomain::ADMIN)
    );
}

#[test]
fn workers_keep_libvirts_rules() {
    let bench = Bench::new();
    let set = |params: TypedParams| {
        bench.tell(
            procedure::SERVER_SET_THREADPOOL_PARAMETERS,
            &AdminServerSetThreadpoolParametersArgs {
                server: main(),
                params,
                flags: 0,
            },
        )
    };
    set(TypedParams::new()
        .with(threadpool::WORKERS_MIN, 2u32)
        .with(threadpool::WORKERS_MAX, 9u32))
    .unwrap();
    let reply: AdminServerGetThreadpoolParametersReply = bench
        .call(
            procedure::SERVER_GET_THREADPOOL_PARAMETERS,
            &AdminServerGetThreadpoolParametersArgs {
                server: main(),
                flags: 0,
            },
        )
        .unwrap();
    let shown: Vec<(&str, &TypedValue)> = reply
        .params
        .iter()
        .map(|p| (p.field.as_str(), &p.value))
        .collect();
    let expected = [
        ("minWorkers", 2u32),
        ("maxWorkers", 9),
        ("nWorkers", 5),
        ("freeWorkers", 4),
        ("prioWorkers", 5),
        ("jobQueueDepth", 0),
    ]
    .map(|(name, value)| (name, TypedValue::UInt(value)));
    assert_eq!(
        shown,
        expected
            .iter()
            .map(|(name, value)| (*name, value))
            .collect::<Vec<_>>()
    );
    for (wrong, code) in [
        (
            TypedParams::new().with(threadpool::WORKERS_MIN, 10u32),
            ErrorCode::INVALID_ARG,
        ),
        (
            TypedParams::new().with(threadpool::WORKERS_MAX, 0u32),
            ErrorCode::INVALID_ARG,
        ),
        (
            TypedParams::new().with(threadpool::WORKERS_MIN, 1i32),
            ErrorCode::INVALID_ARG,
        ),
        (
            TypedParams::new()
                .with(threadpool::WORKERS_MIN, 1u32)
                .with(threadpool::WORKERS_MIN, 1u32),
            ErrorCode::INVALID_ARG,
        ),
        (
            TypedParams::new().with(threadpool::WORKERS_FREE, 1u32),
            ErrorCode::ARGUMENT_UNSUPPORTED,
        ),
    ] {
        assert_eq!(set(wrong.clone()).unwrap_err().code(), code, "{wrong:?}");
    }
}

#[test]
fn clients_are_shown_by_how_they_came() {
    let bench = Bench::new();
    *bench.daemon.server.clients.lock() =
        vec![client(3, ClientTransport::UNIX), client(4, ClientTransport::TLS)];
    let info = |id| {
        let reply: AdminClientGetInfoReply = bench
            .call(
                procedure::CLIENT_GET_INFO,
                &AdminClientGetInfoArgs {
                    client: ClientRef {
                        server: main(),
                        id,
                        timestamp: 0,
                        transport: 0,
                    },
                    flags: 0,
                },
            )
            .unwrap();
        reply.params
    };
    let names = |params: &TypedParams| -> Vec<String> { params.iter().map(|p| p.field.clone()).collect() };
    let local = info(3);
    assert_eq!(
        names(&local),
        [
            "readonly",
            "sasl_user_name",
            "unix_user_id",
            "unix_user_name",
            "unix_group_id",
            "unix_group_name",
            "unix_process_id"
        ]
    );
    assert_eq!(local.get("unix_user_id"), Some(&TypedValue::Int(1000)));
    assert_eq!(local.get("readonly"), Some(&TypedValue::Boolean(true)));
    assert_eq!(names(&info(4)), ["readonly", "sasl_user_name", "sock_addr"]);

    let close = |id| {
        bench.tell(
            procedure::CLIENT_CLOSE,
            &AdminClientCloseArgs {
                client: ClientRef {
                    server: main(),
                    id,
                    timestamp: 0,
                    transport: 0,
                },
                flags: 0,
            },
        )
    };
    close(3).unwrap();
    assert_eq!(close(3).unwrap_err().code(), ErrorCode::NO_CLIENT);
}

#[test]
fn limits_of_clients_fit_each_other() {
    let bench = Bench::new();
    let set = |params| {
        bench.tell(
            procedure::SERVER_SET_CLIENT_LIMITS,
            &AdminServerSetClientLimitsArgs {
                server: main(),
                params,
                flags: 0,
            },
        )
    };
    set(TypedParams::new()
        .with(client_limits::MAX, 100u32)
        .with(client_limits::UNAUTH_MAX, 50u32))
    .unwrap();
    let error = set(TypedParams::new().with(client_limits::MAX, 49u32)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    assert_eq!(bench.daemon.server.limits.lock().max, 100);
}

#[test]
fn the_log_can_be_changed() {
    let bench = Bench::new();
    bench
        .tell(
            procedure::CONNECT_SET_LOGGING_FILTERS,
            &AdminConnectSetLoggingFiltersArgs {
                filters: Some("1:qemu".to_owned()),
                flags: 0,
            },
        )
        .unwrap();
    let reply: AdminConnectGetLoggingFiltersReply = bench
        .call(
            procedure::CONNECT_GET_LOGGING_FILTERS,
            &AdminConnectGetLoggingFiltersArgs { flags: 0 },
        )
        .unwrap();
    assert_eq!((reply.filters.as_deref(), reply.nfilters), (Some("1:*qemu* "), 1));
    let error = bench
        .tell(
            procedure::CONNECT_SET_LOGGING_OUTPUTS,
            &AdminConnectSetLoggingOutputsArgs {
                outputs: Some("7:nowhere".to_owned()),
                flags: 0,
            },
        )
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
}

#[test]
fn the_daemon_ends_when_it_is_told() {
    let bench = Bench::new();
    let end = |flags| {
        bench.tell(
            procedure::CONNECT_DAEMON_SHUTDOWN,
            &AdminConnectDaemonShutdownArgs { flags },
        )
    };
    end(0).unwrap();
    end(1).unwrap();
    let error = end(2).unwrap_err();
    assert!(error.message().contains("flags 0x2 are unknown"), "{error}");
    assert_eq!(*bench.daemon.ended.lock(), [false, true]);
    bench
        .tell(
            procedure::CONNECT_SET_DAEMON_TIMEOUT,
            &AdminConnectSetDaemonTimeoutArgs {
                timeout: 30,
                flags: 0,
            },
        )
        .unwrap();
    assert_eq!(*bench.daemon.timeout.lock(), 30);
}

#[test]
fn every_procedure_is_answered() {
    let bench = Bench::new();
    assert_eq!(bench.admin.implemented_methods().len(), 20);
    let version = bench.bytes(procedure::CONNECT_GET_LIB_VERSION, &[]).unwrap();
    let version = AdminConnectGetLibVersionReply::from_xdr(&version).unwrap();
    assert_eq!(version.lib_ver, LIBVIRT_VERSION);
    assert_eq!(bench.bytes(99, &[]).unwrap_err().code(), ErrorCode::RPC);
}
