//! The limits of the server, as the configuration has them; they may change while it runs.

use std::time::Duration;

/// Limits and times. What a reload changes holds for calls and clients that come after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most clients at a time; more wait in the socket's queue.
    pub max_clients: usize,
    /// The most clients that have not authenticated yet.
    pub max_anonymous_clients: usize,
    /// The most calls of one client that run at a time; more wait.
    pub max_client_requests: usize,
    /// Workers that are there from the start.
    pub min_workers: usize,
    /// Workers that may be busy. Workers that only wait for somebody (a guest, a peer) are not counted.
    pub max_workers: usize,
    /// Workers that only take calls of high priority.
    pub prio_workers: usize,
    /// The most clients of the administration at a time.
    pub admin_max_clients: usize,
    /// Workers of the administration, by its configuration. Its calls are of high priority and run in the workers
    /// reserved for those; these numbers are what its administrator sees and sets.
    pub admin_min_workers: usize,
    /// The most workers of the administration, likewise.
    pub admin_max_workers: usize,
    /// The most calls of one client of the administration that run at a time.
    pub admin_max_client_requests: usize,
    /// After how much silence a client is asked whether it lives; `None` never asks.
    pub keepalive_interval: Option<Duration>,
    /// How many questions may go unanswered.
    pub keepalive_count: u32,
    /// [`Settings::keepalive_interval`] of the administration's clients.
    pub admin_keepalive_interval: Option<Duration>,
    /// [`Settings::keepalive_count`] of the administration's clients.
    pub admin_keepalive_count: u32,
    /// After how long a call that its driver has not answered is given up.
    pub lost_worker_after: Duration,
    /// How many lost workers a driver may have before its calls fail at once.
    pub lost_workers_max: usize,
    /// How many bytes of events may wait for a client before older ones of the same object are dropped.
    pub event_bytes_max: usize,
    /// How many bytes of calls and stream data of one client may wait before nothing more is read from it.
    pub backlog_bytes_max: usize,
    /// How long the I/O thread stays awake for the next call after one; zero never.
    pub stay_awake: Duration,
    /// How long stopping waits for calls that run.
    pub stop_timeout: Duration,
}

impl Settings {
    /// The most calls at a time of a client, of the administration or of the drivers.
    pub fn requests(&self, admin: bool) -> usize {
        match admin {
            true => self.admin_max_client_requests,
            false => self.max_client_requests,
        }
    }

    /// When such a client is asked whether it lives, and how many questions may go unanswered.
    pub fn keepalive(&self, admin: bool) -> (Option<Duration>, u32) {
        match admin {
            true => (self.admin_keepalive_interval, self.admin_keepalive_count),
            false => (self.keepalive_interval, self.keepalive_count),
        }
    }
}

impl Default for Settings {
    /// libvirt's defaults, and ours where it has none.
    fn default() -> Self {
        Self {
            max_clients: 5000,
            max_anonymous_clients: 20,
            max_client_requests: 5,
            min_workers: 5,
            max_workers: 20,
            prio_workers: 5,
            admin_max_clients: 5000,
            admin_min_workers: 5,
            admin_max_workers: 20,
            admin_max_client_requests: 5,
            keepalive_interval: Some(Duration::from_secs(5)),
            keepalive_count: 5,
            admin_keepalive_interval: Some(Duration::from_secs(5)),
            admin_keepalive_count: 5,
            lost_worker_after: Duration::from_secs(600),
            lost_workers_max: 64,
            event_bytes_max: 1 << 20,
            backlog_bytes_max: 4 << 20,
            stay_awake: Duration::from_micros(50),
            stop_timeout: Duration::from_secs(30),
        }
    }
}
