//! The facts of the daemon that runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_api::call::{Caller, OutgoingCall, PROGRAM_REMOTE};
use virt_api::plugin::{ConnectionHandle, DriverHandle, OpenRequest, Role};
use virt_api::protocol::remote::{
    ConnectGetAllDomainStatsArgs, ConnectGetAllDomainStatsReply, ConnectListAllDomainsArgs,
    ConnectListAllDomainsReply, DomainGetControlInfoArgs, DomainGetControlInfoReply, DomainGetStateArgs,
    DomainGetStateReply, DomainRef, procedure as remote,
};
use virt_util::time::Deadline;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::{ConnectGetAllDomainStatsFlags, DomainControlState, DomainState, DomainStatsTypes};
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, Result};

use super::{DriverFacts, Facts, GuestFacts, ProcedureFacts, STATES, ServerFacts, Source, WorkerFacts};
use crate::host::DaemonHost;
use crate::server::{Place, Server};

/// How long a driver may take to tell its guests.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many running guests are asked about one by one.
const ASKED: usize = 1000;
/// A monitor that has been busy with one command for so long counts as silent.
const SILENT_AFTER_MS: u64 = 30_000;
/// Guests are looked up at most this often, however many ask.
const FRESH: Duration = Duration::from_secs(5);

/// The daemon as a source of facts.
pub struct LiveFacts {
    daemon: String,
    server: Weak<Server>,
    /// Connections to the drivers, kept from one time to the next. Held while guests are looked up, so that only one
    /// thread ever waits for a driver.
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    connections: BTreeMap<String, Arc<ConnectionHandle>>,
    last: Option<(Instant, Vec<GuestFacts>)>,
}

impl LiveFacts {
    /// The facts of the daemon called `name`.
    pub fn new(name: &str, server: &Arc<Server>) -> Self {
        Self {
            daemon: name.to_owned(),
            server: Arc::downgrade(server),
            guests: Mutex::default(),
        }
    }
}

impl Source for LiveFacts {
    fn facts(&self) -> Facts {
        let Some(server) = self.server.upgrade() else {
            return Facts::default();
        };
        Facts {
            daemon: self.daemon.clone(),
            servers: servers(&self.daemon, &server),
            workers: workers(&server),
            drivers: drivers(&server),
            guests: self.guests.lock().facts(server.host()),
        }
    }
}

fn servers(name: &str, server: &Server) -> Vec<ServerFacts> {
    let settings = server.settings();
    let mut found = [
        (name, false, settings.max_clients),
        ("admin", true, settings.admin_max_clients),
    ]
    .map(|(name, admin, most)| ServerFacts {
        name: name.to_owned(),
        clients: [0; 3],
        anonymous: if admin { 0 } else { server.anonymous() as u64 },
        clients_max: most as u64,
        accepted: server.accepted(admin),
    });
    for session in server.sessions() {
        let transport = match session.listener().place {
            Place::Unix(_) => 0,
            Place::Tcp(_) => 1,
            Place::Tls(_) => 2,
        };
        let of = found.get_mut(usize::from(session.listener().is_admin()));
        if let Some(count) = of.and_then(|facts| facts.clients.get_mut(transport)) {
            *count += 1;
        }
    }
    found.into()
}

fn workers(server: &Server) -> WorkerFacts {
    let counts = server.worker_counts();
    WorkerFacts {
        any: counts.workers as u64,
        idle: counts.idle as u64,
        priority: counts.prio_workers as u64,
        queued: counts.queued as u64,
        running: server.running() as u64,
    }
}

fn drivers(server: &Server) -> Vec<DriverFacts> {
    let mut drivers: Vec<DriverFacts> = server
        .ledgers()
        .iter()
        .map(|ledger| DriverFacts {
            name: ledger.name().to_owned(),
            procedures: ledger
                .procedures()
                .into_iter()
                .map(|(procedure, counted)| ProcedureFacts {
                    name: procedure.method,
                    counted,
                })
                .collect(),
            lost: ledger.lost() as u64,
        })
        .collect();
    drivers.sort_by(|a, b| a.name.cmp(&b.name));
    drivers
}

impl Guests {
    fn facts(&mut self, host: &DaemonHost) -> Vec<GuestFacts> {
        if let Some((when, facts)) = &self.last
            && when.elapsed() < FRESH
        {
            return facts.clone();
        }
        let hypervisors: Vec<_> = host
            .drivers()
            .into_iter()
            .filter(|manifest| manifest.role == Role::Stateful && manifest.kind == "hypervisor")
            .collect();
        let running = host.registry().loaded();
        let facts: Vec<GuestFacts> = hypervisors
            .iter()
            .filter_map(|manifest| {
                // Looking must not start a driver.
                let driver = running.iter().find(|driver| driver.name() == manifest.name)?;
                let scheme = manifest.schemes.first()?;
                let uri = host.uri_of(scheme);
                Some(self.of_driver(driver, &uri).unwrap_or_else(|error| {
                    tracing::debug!("driver '{}' does not tell its guests: {error}", manifest.name);
                    self.connections.remove(&manifest.name);
                    GuestFacts {
                        driver: manifest.name.clone(),
                        ..GuestFacts::default()
                    }
                }))
            })
            .collect();
        self.last = Some((Instant::now(), facts.clone()));
        facts
    }

    fn of_driver(&mut self, driver: &DriverHandle, uri: &str) -> Result<GuestFacts> {
        let deadline = Deadline::after(PATIENCE);
        let connection = match self.connections.get(driver.name()) {
            Some(connection) => Arc::clone(connection),
            None => {
                let opened = Arc::new(driver.open(&OpenRequest {
                    uri: uri.to_owned(),
                    deadline,
                    ..OpenRequest::default()
                })?);
                self.connections
                    .insert(driver.name().to_owned(), Arc::clone(&opened));
                opened
            }
        };
        let ask = |procedure, args: Vec<u8>| -> Result<Vec<u8>> {
            let mut call = OutgoingCall::new(PROGRAM_REMOTE, procedure, args);
            call.deadline = deadline;
            connection.call(call).map(|reply| reply.payload)
        };
        let mut facts = GuestFacts {
            driver: driver.name().to_owned(),
            known: true,
            ..GuestFacts::default()
        };
        let mut active: Vec<DomainRef> = Vec::new();
        for (domain, state) in states(&ask)? {
            let place = if state < STATES.len() { state } else { 0 };
            if let Some(count) = facts.states.get_mut(place) {
                *count += 1;
            }
            if !is_off(state) {
                active.push(domain);
            }
        }
        for domain in active.into_iter().take(ASKED) {
            deadline.check("asking about guests' monitors")?;
            let reply = ask(
                remote::DOMAIN_GET_CONTROL_INFO,
                DomainGetControlInfoArgs { domain, flags: 0 }.to_xdr()?,
            );
            match reply.and_then(|reply| DomainGetControlInfoReply::from_xdr(&reply)) {
                Ok(info) if is_silent(&info) => facts.silent += 1,
                // A guest that has ended since, or a driver without monitors.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(facts)
    }
}

/// Every guest and its state: as statistics, or one by one where the driver has none.
fn states(ask: &dyn Fn(u32, Vec<u8>) -> Result<Vec<u8>>) -> Result<Vec<(DomainRef, usize)>> {
    let number = |state: i32| usize::try_from(state).unwrap_or(0);
    let stats = ConnectGetAllDomainStatsArgs {
        domains: Vec::new(),
        stats: DomainStatsTypes::STATE.bits(),
        flags: ConnectGetAllDomainStatsFlags::NOWAIT.bits(),
    };
    match ask(remote::CONNECT_GET_ALL_DOMAIN_STATS, stats.to_xdr()?) {
        Ok(reply) => {
            let records = ConnectGetAllDomainStatsReply::from_xdr(&reply)?.ret_stats;
            let state = |params: &TypedParams| match params.get("state.state") {
                Some(TypedValue::Int(state)) => number(*state),
                _ => 0,
            };
            return Ok(records
                .into_iter()
                .map(|record| (record.domain, state(&record.params)))
                .collect());
        }
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => {}
        Err(error) => return Err(error),
    }
    let all = ConnectListAllDomainsArgs {
        need_results: 1,
        flags: 0,
    };
    let reply = ask(remote::CONNECT_LIST_ALL_DOMAINS, all.to_xdr()?)?;
    let mut found = Vec::new();
    for domain in ConnectListAllDomainsReply::from_xdr(&reply)?.domains {
        let args = DomainGetStateArgs {
            domain: domain.clone(),
            flags: 0,
        };
        match ask(remote::DOMAIN_GET_STATE, args.to_xdr()?) {
            Ok(reply) => found.push((domain, number(DomainGetStateReply::from_xdr(&reply)?.state))),
            // It has gone since.
            Err(error) if error.code() == ErrorCode::NO_DOMAIN => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_off(state: usize) -> bool {
    [DomainState::SHUTOFF, DomainState::CRASHED]
        .iter()
        .any(|off| usize::try_from(off.0) == Ok(state))
}

fn is_silent(info: &DomainGetControlInfoReply) -> bool {
    let state = DomainControlState(info.state.cast_signed());
    match state {
        DomainControlState::ERROR => true,
        DomainControlState::OCCUPIED => info.state_time >= SILENT_AFTER_MS,
        _ => false,
    }
}
