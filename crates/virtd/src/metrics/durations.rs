//! How often something was done and how long it took, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
pub const BOUNDS_MICROS: [u64; 12] = [
    10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000, 10_000_000, 60_000_000,
];

const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Counters of one thing.
#[derive(Debug, Default)]
pub struct Durations {
    failed: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How often it failed.
    pub failed: u64,
    /// The time of all, in microseconds.
    pub micros: u64,
    /// How often it took at most the bound of the same index and more than the one before; the last has no bound.
    pub buckets: [u64; BUCKETS],
}

impl Durations {
    /// It was done.
    pub fn count(&self, took: Duration, well: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if !well {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters now.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted {
            failed: self.failed.load(Ordering::Relaxed),
            micros: self.micros.load(Ordering::Relaxed),
            ..Counted::default()
        };
        for (into, from) in counted.buckets.iter_mut().zip(&self.buckets) {
            *into = from.load(Ordering::Relaxed);
        }
        counted
    }
}

impl Counted {
    /// How often it was done.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_in_the_bucket_whose_bound_it_does_not_pass() {
        let durations = Durations::default();
        durations.count(Duration::from_micros(10), true);
        durations.count(Duration::from_micros(11), false);
        durations.count(Duration::from_secs(3600), true);
        let counted = durations.counted();
        assert_eq!(
            (counted.buckets[0], counted.buckets[1], counted.buckets[12]),
            (1, 1, 1)
        );
        assert_eq!((counted.total(), counted.failed), (3, 1));
        assert_eq!(counted.micros, 3_600_000_021);
    }
}
