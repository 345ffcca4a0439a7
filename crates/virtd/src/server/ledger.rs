//! What the daemon remembers about a driver: which of its calls may run on the I/O thread, which were lost, how long
//! they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use virt_api::call::{PROGRAM_LXC, PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::host::{OpenedConnection, Supports};
use virt_api::protocol::table::{self, Procedure};
use virt_util::{ErrorCode, Result, VirtError};

/// A call on the I/O thread that takes longer than this was the last of its kind there.
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

/// Upper bounds of the buckets in which durations are counted, in microseconds.
pub const DURATION_BOUNDS_MICROS: [u64; 12] = [
    10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000, 10_000_000, 60_000_000,
];

/// One driver's page.
#[derive(Debug)]
pub struct Ledger {
    name: String,
    /// Where each procedure is answered.
    places: Vec<AtomicU8>,
    lost: AtomicUsize,
    calls: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    durations: [AtomicU64; DURATION_BOUNDS_MICROS.len() + 1],
}

/// Numbers about a driver's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls answered.
    pub calls: u64,
    /// Of these, with an error.
    pub failed: u64,
    /// Time they took in all.
    pub micros: u64,
    /// How many took at most as long as the bound of the same index, and longer than the one before; the last has no
    /// bound.
    pub durations: Vec<u64>,
    /// Calls that were given up and have not come back.
    pub lost: usize,
}

/// Where a procedure stands in `places`: the programs one behind the other.
fn index(procedure: &Procedure) -> Option<usize> {
    let mut before = 0;
    for program in [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC] {
        if program == procedure.program {
            return Some(before + procedure.number as usize);
        }
        before += table::procedures(program).len() + 1;
    }
    None
}

impl Ledger {
    pub(super) fn new(name: &str) -> Arc<Self> {
        let places = [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC]
            .map(|program| table::procedures(program).len() + 1)
            .iter()
            .sum();
        Arc::new(Self {
            name: name.to_owned(),
            places: std::iter::repeat_with(|| AtomicU8::new(UNKNOWN))
                .take(places)
                .collect(),
            lost: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            durations: Default::default(),
        })
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers so far.
    pub fn counts(&self) -> CallCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CallCounts {
            calls: load(&self.calls),
            failed: load(&self.failed),
            micros: load(&self.micros),
            durations: self.durations.iter().map(load).collect(),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Where `procedure` is answered.
    pub(super) fn place(&self, connection: &dyn OpenedConnection, procedure: &Procedure) -> Where {
        if !procedure.inline {
            return Where::Worker;
        }
        let Some(place) = index(procedure).and_then(|index| self.places.get(index)) else {
            return Where::Worker;
        };
        match place.load(Ordering::Relaxed) {
            INLINE => Where::Inline,
            WORKER => Where::Worker,
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

    /// From now on `procedure` is answered in workers.
    pub(super) fn too_slow(&self, procedure: &Procedure, took: Duration) {
        if let Some(place) = index(procedure).and_then(|index| self.places.get(index)) {
            place.store(WORKER, Ordering::Relaxed);
        }
        tracing::warn!(
            driver = self.name,
            "{} took {took:?} on the I/O thread and goes to the workers from now on",
            procedure.public_name()
        );
    }

    /// A call was answered.
    pub(super) fn called(&self, _: &Procedure, took: Duration, well: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if !well {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let bucket = DURATION_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.durations.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
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
