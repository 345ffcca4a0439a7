//! The administration of the daemon that runs: two servers, the one for drivers and the one of the administration
//! itself, over one [`Server`].

use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use virt_api::call::CallContext;
use virt_api::host::HostServices;
use virt_api::protocol::dispatch_admin;
use virt_api::protocol::table::Procedure;
use virt_util::types::ClientTransport;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{Admin, Administered, AdministeredServer, Client, ClientLimits, Workers, WorkersChange};
use crate::server::{AdminProgram, Ending, Place, Server, Session};

/// The name of the administration's own server.
pub(crate) const ADMIN: &str = "admin";

/// How long the main loop may take to read certificates.
const TLS_PATIENCE: Duration = Duration::from_secs(30);

/// Something that the daemon's main loop has to do.
#[derive(Debug)]
pub enum Event {
    /// An administrator ends the daemon.
    ShutDown {
        /// `VIR_DAEMON_SHUTDOWN_PRESERVE`: drivers save what runs first.
        preserve: bool,
    },
    /// An administrator has put new certificates in place; the answer goes there.
    UpdateTls(std::sync::mpsc::SyncSender<Result<()>>),
    /// The host goes down: drivers have to save what runs.
    HostGoesDown,
    /// Nothing has needed the daemon for that long.
    Idle(Duration),
}

/// The ways from the administration to the daemon's main loop.
#[derive(Clone, Debug)]
pub struct Control {
    events: mpsc::UnboundedSender<Event>,
    timeout: Arc<watch::Sender<Option<Duration>>>,
}

impl Control {
    /// A control over the main loop that reads `events`; `timeout` is how long the daemon stays without work.
    pub fn new(timeout: Option<Duration>, events: mpsc::UnboundedSender<Event>) -> Self {
        let timeout = Arc::new(watch::Sender::new(timeout));
        Self { events, timeout }
    }

    /// How long the daemon stays without work, and every change of that.
    pub fn timeout(&self) -> watch::Receiver<Option<Duration>> {
        self.timeout.subscribe()
    }

    fn send(&self, event: Event) -> Result<()> {
        self.events
            .send(event)
            .map_err(|_| VirtError::new(ErrorCode::OPERATION_INVALID, "the daemon is ending already"))
    }
}

/// The running daemon.
pub struct LiveDaemon {
    main: Arc<LiveServer>,
    administration: Arc<LiveServer>,
    control: Control,
}

struct LiveServer {
    name: String,
    /// Whether this is the server of the administration.
    admin: bool,
    server: Weak<Server>,
    control: Control,
}

impl LiveDaemon {
    /// The daemon called `name`.
    pub fn new(name: &str, server: &Arc<Server>, control: Control) -> Self {
        let one = |name: &str, admin| {
            Arc::new(LiveServer {
                name: name.to_owned(),
                admin,
                server: Arc::downgrade(server),
                control: control.clone(),
            })
        };
        Self {
            main: one(name, false),
            administration: one(ADMIN, true),
            control,
        }
    }
}

impl Administered for LiveDaemon {
    fn servers(&self) -> Vec<Arc<dyn AdministeredServer>> {
        vec![
            Arc::clone(&self.main) as Arc<dyn AdministeredServer>,
            Arc::clone(&self.administration) as Arc<dyn AdministeredServer>,
        ]
    }

    fn set_timeout(&self, seconds: u32) -> Result<()> {
        let timeout = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        self.control.timeout.send_replace(timeout);
        Ok(())
    }

    fn shut_down(&self, preserve: bool) -> Result<()> {
        self.control.send(Event::ShutDown { preserve })
    }
}

impl LiveServer {
    fn server(&self) -> Option<Arc<Server>> {
        self.server.upgrade()
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.server().map(|server| server.sessions()).unwrap_or_default();
        sessions
            .into_iter()
            .filter(|session| session.listener().is_admin() == self.admin)
            .collect()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl AdministeredServer for LiveServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn workers(&self) -> Workers {
        let Some(server) = self.server() else {
            return Workers::default();
        };
        let (settings, counts) = (server.settings(), server.worker_counts());
        if self.admin {
            return Workers {
                min: number(settings.admin_min_workers),
                max: number(settings.admin_max_workers),
                current: number(counts.prio_workers),
                free: number(counts.idle_prio),
                priority: 0,
                queued: 0,
            };
        }
        Workers {
            min: number(settings.min_workers),
            max: number(settings.max_workers),
            current: number(counts.workers),
            free: number(counts.idle),
            priority: number(settings.prio_workers),
            queued: number(counts.queued),
        }
    }

    fn set_workers(&self, change: &WorkersChange) -> Result<()> {
        let Some(server) = self.server() else {
            return Ok(());
        };
        let set = |slot: &mut usize, value: Option<u32>| {
            if let Some(value) = value {
                *slot = value as usize;
            }
        };
        server.change_settings(|settings| match self.admin {
            true => {
                set(&mut settings.admin_min_workers, change.min);
                set(&mut settings.admin_max_workers, change.max);
            }
            false => {
                set(&mut settings.min_workers, change.min);
                set(&mut settings.max_workers, change.max);
                set(&mut settings.prio_workers, change.priority);
            }
        });
        server.fit_workers();
        Ok(())
    }

    fn clients_limits(&self) -> ClientLimits {
        let Some(server) = self.server() else {
            return ClientLimits::default();
        };
        let settings = server.settings();
        let current = number(server.clients(self.admin));
        if self.admin {
            return ClientLimits {
                max: number(settings.admin_max_clients),
                current,
                ..ClientLimits::default()
            };
        }
        ClientLimits {
            max: number(settings.max_clients),
            current,
            anonymous_max: number(settings.max_anonymous_clients),
            anonymous: number(server.anonymous()),
        }
    }

    fn set_client_limits(&self, most: Option<u32>, most_anonymous: Option<u32>) -> Result<()> {
        let Some(server) = self.server() else {
            return Ok(());
        };
        server.change_settings(|settings| {
            let (all, anonymous) = match self.admin {
                true => (&mut settings.admin_max_clients, None),
                false => (
                    &mut settings.max_clients,
                    Some(&mut settings.max_anonymous_clients),
                ),
            };
            if let Some(most) = most {
                *all = most as usize;
            }
            if let (Some(slot), Some(most)) = (anonymous, most_anonymous) {
                *slot = most as usize;
            }
        });
        Ok(())
    }

    fn clients(&self) -> Vec<Client> {
        self.sessions().iter().map(|session| client(session)).collect()
    }

    fn close_client(&self, id: u64) -> bool {
        let found = self.sessions().into_iter().find(|session| session.id() == id);
        match found {
            Some(session) => {
                session.end(Ending::Disconnected);
                true
            }
            None => false,
        }
    }

    fn update_tls(&self) -> Result<()> {
        let has_tls = self
            .server()
            .is_some_and(|server| server.security().tls.is_some());
        if self.admin || !has_tls {
            return Err(
                VirtError::internal("the server has no TLS whose files could be read again")
                    .in_domain(ErrorDomain::ADMIN),
            );
        }
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.control.send(Event::UpdateTls(reply))?;
        answer.recv_timeout(TLS_PATIENCE).unwrap_or_else(|_| {
            Err(VirtError::new(
                ErrorCode::OPERATION_TIMEOUT,
                "the daemon has not read the certificates in time",
            ))
        })
    }
}

fn client(session: &Session) -> Client {
    let transport = match session.listener().place {
        Place::Unix(_) => ClientTransport::UNIX,
        Place::Tcp(_) => ClientTransport::TCP,
        Place::Tls(_) => ClientTransport::TLS,
    };
    Client {
        id: session.id(),
        since: session
            .connected()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or_default(),
        transport,
        read_only: session.is_read_only(),
        address: session.address(),
        identity: session.identity().own(),
    }
}

/// The administration program, as the server calls it.
pub struct LiveAdmin {
    admin: Admin,
    host: HostServices,
}

impl LiveAdmin {
    /// Answers with `admin`.
    pub fn new(admin: Admin, host: HostServices) -> Self {
        Self { admin, host }
    }
}

impl AdminProgram for LiveAdmin {
    fn call(&self, session: &Arc<Session>, procedure: &'static Procedure, args: &[u8]) -> Result<Vec<u8>> {
        let who = session.identity();
        // The mode of the socket keeps others out; whoever loosens it does not let them in.
        let own = nix::unistd::geteuid().as_raw();
        let uid = who.unix.map(|unix| unix.uid);
        if uid != Some(own) {
            return Err(VirtError::new(
                ErrorCode::OPERATION_DENIED,
                format_args!(
                    "the administration is for uid {own}, not for {}",
                    uid.map_or_else(|| "somebody unknown".to_owned(), |uid| format!("uid {uid}"))
                ),
            )
            .in_domain(ErrorDomain::ADMIN));
        }
        let mut cx = CallContext::in_host(procedure.program, procedure.number, who.own(), self.host.clone());
        dispatch_admin(&self.admin, &mut cx, args)
    }
}
