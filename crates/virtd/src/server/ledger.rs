//! What the daemon remembers about a driver: which of its calls may run on the I/O thread, which were lost, how long
//! they take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use virt_api::call::{PROGRAM_FERROVIRT, PROGRAM_LXC, PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::host::{OpenedConnection, Supports};
use virt_api::protocol::table::{self, Procedure};
use virt_util::{ErrorCode, Result, VirtError};

use super::listener::Scope;
use crate::metrics::{Counted, Durations};

/// A call on the I/O thread that takes longer than this was the last of its kind there, at least for a while.
pub(super) const INLINE_MAX: Duration = Duration::from_millis(1);

/// Where a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// On the I/O thread.
    Inline,
    /// In a worker.
    Worker,
}

const UNKNOWN: u8 = 0;
const INLINE: u8 = 1;
const WORKER: u8 = 2;
/// In workers for a while, because of a call that took too long on the I/O thread.
const RESTING: u8 = 3;

/// For how long a procedure goes to workers after its first call that took too long; each further one makes that eight
/// times as long. It may have been the host that was busy.
const REST: Duration = Duration::from_secs(2);
/// After so many a procedure stays with the workers.
const STRIKES_MAX: u32 = 6;

/// The programs that drivers answer.
const PROGRAMS: [u32; 4] = [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC, PROGRAM_FERROVIRT];

/// One driver's page.
#[derive(Debug)]
pub struct Ledger {
    name: String,
    /// Where each procedure is answered.
    places: Vec<AtomicU8>,
    /// How often each procedure was called and how long it took; made at its first call.
    durations: Vec<OnceLock<Box<Durations>>>,
    lost: AtomicUsize,
    /// Procedures that took too long on the I/O thread: how often, and until when they rest.
    slow: Mutex<HashMap<usize, (u32, Instant)>>,
}

/// Which connections may be opened on the I/O thread: those whose driver says that it neither waits nor reads anything,
/// that were opened before, and that have always been quick.
#[derive(Debug, Default)]
pub(super) struct Openings(RwLock<HashMap<Scope, HashMap<String, bool>>>);

impl Openings {
    /// Whether that URI is opened on the I/O thread.
    pub(super) fn are_quick(&self, scope: &Scope, uri: &str) -> bool {
        let known = self.0.read();
        known.get(scope).and_then(|uris| uris.get(uri)) == Some(&true)
    }

    /// Whether it is not known yet how that URI is opened, and there is room to remember it.
    pub(super) fn asks_about(&self, scope: &Scope, uri: &str) -> bool {
        /// URIs that are remembered; a daemon has few that its drivers open at once.
        const MOST: usize = 64;
        let known = self.0.read();
        known
            .get(scope)
            .is_none_or(|uris| !uris.contains_key(uri) && uris.len() < MOST)
    }

    /// How that URI is opened from now on.
    pub(super) fn remember(&self, scope: &Scope, uri: &str, quick: bool) {
        let mut known = self.0.write();
        let uris = known.entry(scope.clone()).or_default();
        // One that was too slow once stays with the workers.
        uris.entry(uri.to_owned()).or_insert(quick);
    }

    /// Opening that URI took too long.
    pub(super) fn too_slow(&self, scope: &Scope, uri: &str) {
        let mut known = self.0.write();
        known
            .entry(scope.clone())
            .or_default()
            .insert(uri.to_owned(), false);
    }
}

/// Where a procedure stands in `places`: the programs one behind the other.
fn index(procedure: &Procedure) -> Option<usize> {
    let mut before = 0;
    for program in PROGRAMS {
        if program == procedure.program {
            return Some(before + procedure.number as usize);
        }
        before += table::procedures(program).len() + 1;
    }
    None
}

impl Ledger {
    pub(super) fn new(name: &str) -> Arc<Self> {
        let places = PROGRAMS
            .map(|program| table::procedures(program).len() + 1)
            .iter()
            .sum();
        Arc::new(Self {
            name: name.to_owned(),
            places: std::iter::repeat_with(|| AtomicU8::new(UNKNOWN))
                .take(places)
                .collect(),
            durations: std::iter::repeat_with(OnceLock::new).take(places).collect(),
            lost: AtomicUsize::new(0),
            slow: Mutex::default(),
        })
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The procedures that were called, and their numbers so far.
    pub fn procedures(&self) -> Vec<(&'static Procedure, Counted)> {
        PROGRAMS
            .into_iter()
            .flat_map(table::procedures)
            .filter_map(|procedure| {
                let durations = self.durations.get(index(procedure)?)?.get()?;
                Some((*procedure, durations.counted()))
            })
            .collect()
    }

    /// Calls that were given up and have not come back.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Where `procedure` is answered.
    pub(super) fn place(&self, connection: &dyn OpenedConnection, procedure: &Procedure) -> Where {
        if !procedure.inline {
            return Where::Worker;
        }
        let Some(at) = index(procedure) else {
            return Where::Worker;
        };
        let Some(place) = self.places.get(at) else {
            return Where::Worker;
        };
        match place.load(Ordering::Relaxed) {
            INLINE => Where::Inline,
            WORKER => Where::Worker,
            RESTING => {
                let rests = self
                    .slow
                    .lock()
                    .get(&at)
                    .is_some_and(|(_, until)| Instant::now() < *until);
                if rests {
                    return Where::Worker;
                }
                place.store(INLINE, Ordering::Relaxed);
                Where::Inline
            }
            _ => {
                let supports = connection.supports(procedure.program, procedure.number);
                let (kept, found) = if supports.contains(Supports::INLINE) {
                    (INLINE, Where::Inline)
                } else {
                    (WORKER, Where::Worker)
                };
                place.store(kept, Ordering::Relaxed);
                found
            }
        }
    }

    /// From now on `procedure` is answered in workers: for a while, and for ever if that happens often.
    pub(super) fn too_slow(&self, procedure: &Procedure, took: Duration) {
        let Some(at) = index(procedure) else { return };
        let strikes = {
            let mut slow = self.slow.lock();
            let (strikes, until) = slow.entry(at).or_insert((0, Instant::now()));
            *until = Instant::now() + REST * 8_u32.saturating_pow(*strikes);
            *strikes += 1;
            *strikes
        };
        let (place, how_long) = match strikes {
            ..STRIKES_MAX => (RESTING, "for a while"),
            _ => (WORKER, "from now on"),
        };
        if let Some(kept) = self.places.get(at) {
            kept.store(place, Ordering::Relaxed);
        }
        tracing::warn!(
            driver = self.name,
            "{} took {took:?} on the I/O thread and goes to the workers {how_long}",
            procedure.public_name()
        );
    }

    /// A call was answered.
    pub(super) fn called(&self, procedure: &Procedure, took: Duration, well: bool) {
        if let Some(durations) = index(procedure).and_then(|index| self.durations.get(index)) {
            durations.get_or_init(Box::default).count(took, well);
        }
    }

    /// Refuses a call of a driver that has lost too many.
    pub(super) fn admit(&self, limit: usize) -> Result<()> {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost < limit {
            return Ok(());
        }
        Err(VirtError::new(
            ErrorCode::OPERATION_TIMEOUT,
            format_args!("driver '{}' has not come back from {lost} calls", self.name),
        ))
    }

    /// A call was given up.
    pub(super) fn lost_one(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that was given up has come back.
    pub(super) fn found_one(&self) {
        self.lost.fetch_sub(1, Ordering::Relaxed);
    }
}
