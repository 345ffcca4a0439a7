//! Numbers about the daemon for Prometheus, on a Unix socket of their own; off unless a socket is named.
//!
//! What is counted all the time is counters without locks ([`Durations`], the books of the server). Everything else is
//! looked up when somebody asks ([`Source::facts`]). Labels are names of drivers, procedures, servers and states only,
//! never of clients or guests, so that the number of lines is bounded by the program and not by its users.
//!
//! The socket speaks HTTP: `curl --unix-socket FILE http://virtd/metrics`.

mod durations;
mod live;
mod serve;
mod text;

pub use durations::{BOUNDS_MICROS, Counted, Durations};
pub use live::LiveFacts;
pub use serve::serve;
pub use text::render;

/// Who knows the facts. May wait a little for drivers; is called on a thread that may.
pub trait Source: Send + Sync {
    /// All facts of this moment.
    fn facts(&self) -> Facts;
}

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The daemon's name: `libvirtd` …
    pub daemon: String,
    /// The servers inside.
    pub servers: Vec<ServerFacts>,
    /// Threads for calls.
    pub workers: WorkerFacts,
    /// The drivers that were called.
    pub drivers: Vec<DriverFacts>,
    /// Guests and their states, by driver.
    pub guests: Vec<GuestFacts>,
}

/// Clients of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerFacts {
    /// `libvirtd`, `admin` …
    pub name: String,
    /// Clients by transport: Unix, TCP, TLS.
    pub clients: [u64; 3],
    /// Of all, those that have not proved who they are.
    pub anonymous: u64,
    /// The most it takes.
    pub clients_max: u64,
    /// Clients since the start.
    pub accepted: u64,
}

/// Threads and what waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerFacts {
    /// That take any call.
    pub any: u64,
    /// Of these, idle ones.
    pub idle: u64,
    /// That take calls of high priority only.
    pub priority: u64,
    /// Calls that wait for a thread.
    pub queued: u64,
    /// Calls that run in threads or wait for one.
    pub running: u64,
}

/// The calls of one driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriverFacts {
    /// The driver.
    pub name: String,
    /// Calls by procedure; those that were never called are left out.
    pub procedures: Vec<ProcedureFacts>,
    /// Calls that were given up and have not come back: each holds a thread.
    pub lost: u64,
}

/// The calls of one procedure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcedureFacts {
    /// The procedure: `domain_get_info` …
    pub name: &'static str,
    /// How many, and how long they took.
    pub counted: Counted,
}

/// The guests of one driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestFacts {
    /// The driver.
    pub driver: String,
    /// How many are in each state, by libvirt's names; states that libvirt does not have count as `nostate`.
    pub states: [u64; STATES.len()],
    /// Running guests whose hypervisor process does not answer.
    pub silent: u64,
    /// Whether the driver answered in time.
    pub known: bool,
}

/// libvirt's states of a guest in order of their numbers.
pub const STATES: [&str; 8] = [
    "nostate",
    "running",
    "blocked",
    "paused",
    "shutdown",
    "shutoff",
    "crashed",
    "pmsuspended",
];
