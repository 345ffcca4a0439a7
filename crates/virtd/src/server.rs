//! The server: sockets, clients, calls, workers.
//!
//! ```text
//!   listener ──> Session (a task) ──> dispatch ──> own        what the daemon answers
//!                   │   ▲                     ├──> a driver   on this thread, if that is quick
//!                   │   └──── Outbox <────────┴──> Workers ──> a driver
//!                   └──> ServedStream <──────────────┘
//! ```
//!
//! What clients send is read on one thread with a runtime, but for data that streams in; everything that may wait is in
//! [`workers`]. Answers are written by whoever has them ([`outbox`]). One client is one [`Session`] and one connection behind the waist.
//!
//! Start at [`Server::welcome`] for what happens to a client, at `dispatch` for what happens to a call.

mod dispatch;
mod encryption;
mod events;
mod hello;
mod ledger;
mod listener;
mod names;
mod outbox;
mod own;
mod running;
mod session;
mod settings;
pub(crate) mod socket;
mod stream;
mod traffic;
mod vigil;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use virt_api::protocol::table::Procedure;
use virt_api::routing::Router;
use virt_util::{ErrorCode, Result, VirtError};

pub use ledger::Ledger;
pub use listener::{Listener, Place, Scope, bind_unix};
pub use session::{Ending, Session};
pub use settings::Settings;
pub use workers::WorkerCounts;

use crate::access::Access;
use crate::audit::Audit;
use crate::auth::AuthServices;
use crate::auth::tls::TlsServer;
use crate::host::{AccessCheck as _, DaemonHost};
use encryption::Encryption;
use ledger::Openings;
use running::RunningCall;
use vigil::Vigil;
use workers::Workers;

/// How often lost calls are looked for.
const CLOCK: Duration = Duration::from_secs(1);

/// A connection that a client has open.
pub(crate) struct Opened {
    pub(crate) router: Router,
    pub(crate) uri: String,
    /// The driver's name, wherever it is.
    pub(crate) driver: String,
    /// Access to objects is checked in another process.
    pub(crate) checked_there: bool,
}

/// Answers the calls of the administration program.
pub trait AdminProgram: Send + Sync {
    /// Answers one call from its arguments in XDR, in a worker.
    fn call(&self, session: &Arc<Session>, procedure: &'static Procedure, args: &[u8]) -> Result<Vec<u8>>;
}

/// What clients are held against.
#[derive(Clone, Debug)]
pub struct Security {
    /// How they prove who they are.
    pub auth: Arc<AuthServices>,
    /// The certificates; without them TLS clients are turned away.
    pub tls: Option<Arc<TlsServer>>,
    /// What they may do.
    pub access: Arc<Access>,
    /// Where that is recorded.
    pub audit: Arc<Audit>,
}

/// Everything that serves clients.
pub struct Server {
    settings: Arc<ArcSwap<Settings>>,
    host: Arc<DaemonHost>,
    runtime: Handle,
    encryption: Encryption,
    workers: Workers,
    /// Held for looking.
    sessions: RwLock<BTreeMap<u64, Arc<Session>>>,
    listeners: RwLock<Vec<Arc<Listener>>>,
    ledgers: RwLock<HashMap<String, Arc<Ledger>>>,
    openings: Openings,
    running: Mutex<BTreeMap<u64, Arc<RunningCall>>>,
    security: ArcSwap<Security>,
    names: names::Names,
    admin: RwLock<Option<Arc<dyn AdminProgram>>>,
    next_client: AtomicU64,
    next_call: AtomicU64,
    /// Clients since the start: of the drivers, and of the administration.
    accepted: [AtomicU64; 2],
    /// Of these, those that are still here.
    present: [AtomicUsize; 2],
    /// Told when a client comes or goes, or the limits change.
    changed: Notify,
    stopping: AtomicBool,
    /// Clients that have not proved yet who they are.
    anonymous: AtomicUsize,
    inline: AtomicBool,
    vigil: Arc<Vigil>,
    /// When memory was given back the last time.
    rested: Mutex<Option<std::time::Instant>>,
}

impl Server {
    /// A server without sockets, whose tasks run on `runtime`.
    pub fn new(settings: Settings, host: Arc<DaemonHost>, security: Security, runtime: Handle) -> Arc<Self> {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let server = Arc::new(Self {
            workers: Workers::new(Arc::clone(&settings)),
            settings,
            host,
            runtime,
            encryption: Encryption::default(),
            sessions: RwLock::default(),
            listeners: RwLock::default(),
            ledgers: RwLock::default(),
            openings: Openings::default(),
            running: Mutex::default(),
            security: ArcSwap::from_pointee(security),
            names: names::Names::default(),
            admin: RwLock::default(),
            next_client: AtomicU64::new(1),
            next_call: AtomicU64::new(1),
            accepted: Default::default(),
            present: Default::default(),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
            anonymous: AtomicUsize::new(0),
            inline: AtomicBool::new(true),
            vigil: Arc::default(),
            rested: Mutex::default(),
        });
        server.runtime.spawn(server.workers.watch());
        server.runtime.spawn(clock(Arc::downgrade(&server)));
        let vigil = Arc::clone(&server.vigil);
        server.runtime.spawn(vigil.keep(Arc::clone(&server.settings)));
        server
    }

    /// Lets clients in over `listener`.
    pub fn listen(self: &Arc<Self>, listener: Listener) -> Arc<Listener> {
        let listener = Arc::new(listener);
        self.listeners.write().push(Arc::clone(&listener));
        self.runtime.spawn(Arc::clone(self).accept(Arc::clone(&listener)));
        listener
    }

    /// The sockets.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.listeners.read().clone()
    }

    /// The clients, oldest first.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.read().values().cloned().collect()
    }

    /// How many clients came since the start, for the administration or for the drivers.
    pub fn accepted(&self, admin: bool) -> u64 {
        let [drivers, administration] = &self.accepted;
        if admin { administration } else { drivers }.load(Ordering::Relaxed)
    }

    /// How many clients there are, of the administration or of the drivers.
    pub fn clients(&self, admin: bool) -> usize {
        let [drivers, administration] = &self.present;
        if admin { administration } else { drivers }.load(Ordering::Relaxed)
    }

    /// Clients that have not proved yet who they are.
    pub fn anonymous(&self) -> usize {
        self.anonymous.load(Ordering::Relaxed)
    }

    /// The client of that number.
    pub fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.read().get(&id).cloned()
    }

    /// The limits that hold now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes limits.
    pub fn change_settings(&self, change: impl Fn(&mut Settings)) {
        self.settings.rcu(|settings| {
            let mut changed = Settings::clone(settings);
            change(&mut changed);
            changed
        });
        self.changed.notify_waiters();
    }

    /// What clients are held against.
    pub fn security(&self) -> Arc<Security> {
        self.security.load_full()
    }

    /// Holds clients that come from now on against something else.
    pub fn set_security(&self, security: Security) {
        self.security.store(Arc::new(security));
    }

    fn names(&self) -> &names::Names {
        &self.names
    }

    /// What drivers see of the daemon, and the way to them.
    pub fn host(&self) -> &Arc<DaemonHost> {
        &self.host
    }

    /// The pool's numbers.
    pub fn worker_counts(&self) -> WorkerCounts {
        self.workers.counts()
    }

    /// Starts the workers that are always there, after their number has changed.
    pub fn fit_workers(&self) {
        self.workers.fit();
    }

    /// What is known about the drivers that were called.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        self.ledgers.read().values().cloned().collect()
    }

    /// How many calls run in workers or wait for one.
    pub fn running(&self) -> usize {
        self.running.lock().len()
    }

    /// Puts the administration program in place.
    pub fn set_admin(&self, admin: Arc<dyn AdminProgram>) {
        *self.admin.write() = Some(admin);
    }

    fn admin(&self) -> Option<Arc<dyn AdminProgram>> {
        self.admin.read().clone()
    }

    fn vigil(&self) -> &Vigil {
        &self.vigil
    }

    fn workers(&self) -> &Workers {
        &self.workers
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Where the tasks of clients run whose bytes are encrypted.
    fn runtime_of_tls(&self) -> &Handle {
        self.encryption.runtime(&self.runtime)
    }

    fn running_calls(&self) -> &Mutex<BTreeMap<u64, Arc<RunningCall>>> {
        &self.running
    }

    /// The number that the next client gets.
    pub fn next_client(&self) -> u64 {
        self.next_client.load(Ordering::Relaxed)
    }

    /// Has clients get numbers from there on, if they have not gone beyond it already.
    pub fn number_clients_from(&self, next: u64) {
        self.next_client.fetch_max(next, Ordering::Relaxed);
    }

    fn next_client_id(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    fn next_call_id(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether drivers are ever called on the I/O thread: not where an access check may wait for somebody.
    fn may_call_inline(&self) -> bool {
        self.inline.load(Ordering::Relaxed) && !self.security.load().access.may_wait()
    }

    fn ledger(&self, driver: &str) -> Arc<Ledger> {
        if let Some(known) = self.ledgers.read().get(driver) {
            return Arc::clone(known);
        }
        Arc::clone(
            self.ledgers
                .write()
                .entry(driver.to_owned())
                .or_insert_with(|| Ledger::new(driver)),
        )
    }

    fn openings(&self) -> &Openings {
        &self.openings
    }

    /// That URI has been opened in a worker: asks its driver whether the next time needs one.
    fn learn_opening(&self, scope: &Scope, uri: &str) {
        if self.openings.asks_about(scope, uri) {
            let quick = self.host.opens_at_once(scope, uri);
            self.openings.remember(scope, uri, quick);
        }
    }

    fn remember(&self, session: &Arc<Session>) {
        let kind = usize::from(session.listener().is_admin());
        self.accepted
            .get(kind)
            .inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        self.present
            .get(kind)
            .inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        if !session.is_authenticated() {
            self.anonymous.fetch_add(1, Ordering::Relaxed);
        }
        self.sessions.write().insert(session.id(), Arc::clone(session));
        self.changed.notify_waiters();
    }

    /// A client has proved who it is.
    fn known(&self) {
        self.anonymous.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn forget(self: &Arc<Self>, id: u64) {
        let gone = self.sessions.write().remove(&id);
        if let Some(session) = gone {
            let kind = usize::from(session.listener().is_admin());
            self.present
                .get(kind)
                .inspect(|count| _ = count.fetch_sub(1, Ordering::Relaxed));
            if !session.is_authenticated() {
                self.anonymous.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.changed.notify_waiters();
        if self.sessions.read().is_empty() {
            self.rest();
        }
    }

    /// Nobody needs the daemon now. If that lasts, memory that its work took is given back to the host; not often, for
    /// what is needed again has to come back.
    fn rest(self: &Arc<Self>) {
        /// How long nobody has been there then.
        const QUIET: Duration = Duration::from_millis(200);
        /// How often at most.
        const EVERY: Duration = Duration::from_secs(60);
        let mut rested = self.rested.lock();
        if rested.is_some_and(|before| before.elapsed() < EVERY) || self.stopping.load(Ordering::Acquire) {
            return;
        }
        *rested = Some(std::time::Instant::now());
        let server = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::time::sleep(QUIET).await;
            let Some(server) = server.upgrade() else { return };
            if server.sessions.read().is_empty() {
                server.in_background(virt_util::sys::memory::give_back);
            } else {
                // The next time will do.
                *server.rested.lock() = None;
            }
        });
    }

    /// Does `what` in a worker.
    pub fn in_background(&self, what: impl FnOnce() + Send + 'static) {
        self.workers
            .submit(virt_api::protocol::table::Priority::High, Box::new(what));
    }

    /// Waits until nothing has needed the daemon for that long; for ever without a time.
    pub async fn idle_for(&self, time: Option<Duration>) {
        let Some(time) = time else {
            return std::future::pending().await;
        };
        let mut inhibitions = self.host.inhibitions().watch();
        loop {
            let left = self.changed.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            let busy = *inhibitions.borrow_and_update() > 0 || !self.sessions.read().is_empty();
            tokio::select! {
                () = left => {}
                _ = inhibitions.changed() => {}
                () = tokio::time::sleep(time), if !busy => return,
            }
        }
    }

    /// Lets nobody in any more, and ends all clients: their calls may finish first, within the time that the settings
    /// give, and what then still runs is cancelled and answered.
    pub async fn stop(&self, ending: Ending) {
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_waiters();
        let until = tokio::time::Instant::now() + self.settings().stop_timeout;
        while self.running() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left: Vec<Arc<RunningCall>> = self.running.lock().values().cloned().collect();
        for call in left {
            call.give_up(VirtError::new(
                ErrorCode::OPERATION_ABORTED,
                "the daemon is stopping",
            ));
        }
        for session in self.sessions() {
            session.end(ending.clone());
        }
        while !self.sessions.read().is_empty() && tokio::time::Instant::now() < until + CLOCK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until another client may come. The administration has room of its own.
    async fn room(&self, admin: bool) {
        loop {
            let left = self.changed.notified();
            let settings = self.settings();
            let all = self.clients(admin);
            let anonymous = self.anonymous.load(Ordering::Relaxed);
            let full = match admin {
                true => all >= settings.admin_max_clients,
                false => {
                    all >= settings.max_clients
                        || (settings.max_anonymous_clients > 0 && anonymous >= settings.max_anonymous_clients)
                }
            } || self.stopping.load(Ordering::Acquire);
            if !full {
                return;
            }
            left.await;
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} clients)", self.sessions.read().len())
    }
}

/// Gives up calls that their drivers have lost.
async fn clock(server: std::sync::Weak<Server>) {
    loop {
        tokio::time::sleep(CLOCK).await;
        let Some(server) = server.upgrade() else { return };
        let limit = server.settings().lost_worker_after;
        let lost: Vec<Arc<RunningCall>> = server
            .running
            .lock()
            .values()
            .filter(|call| call.still() >= limit)
            .cloned()
            .collect();
        for call in lost {
            let error = VirtError::new(
                ErrorCode::OPERATION_TIMEOUT,
                format_args!(
                    "driver '{}' has shown no progress with {} for {} seconds",
                    call.ledger.name(),
                    call.procedure.public_name(),
                    limit.as_secs()
                ),
            );
            if call.give_up(error) {
                tracing::error!(
                    driver = call.ledger.name(),
                    client = call.session.id(),
                    "{} is lost after {limit:?} without progress, {:?} in all",
                    call.procedure.public_name(),
                    call.begun.elapsed()
                );
            }
        }
    }
}
