//! Runs cases: in parallel, each in a thread of its own, so that neither a panic nor an endless loop of one
//! case costs the others anything.

use crate::adapters;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How long a case may take. The slowest kinds read a QEMU probe of a megabyte.
const CASE_LIMIT: Duration = Duration::from_secs(30);

/// Stack of a case's thread: documents may nest deeply, and the product must cope on an ordinary stack.
const CASE_STACK: usize = 2 * 1024 * 1024;

/// A failure in the report.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The case.
    pub id: String,
    /// One line.
    pub reason: String,
}

/// The counts of an area. Cases that must be refused are counted in `refused_*` and in `passed`/`failed`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AreaReport {
    /// Cases as recorded.
    pub passed: usize,
    /// Cases not as recorded.
    pub failed: usize,
    /// Cases not tried.
    pub skipped: usize,
    /// Cases that must be refused, and were.
    pub refused_passed: usize,
    /// Cases that must be refused, and were not.
    pub refused_failed: usize,
    /// The failed cases.
    pub failures: Vec<Failure>,
}

impl AreaReport {
    /// Counts one case.
    pub fn count(&mut self, case: &Case, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                self.refused_passed += usize::from(case.expect.is_refusal());
            }
            Outcome::Failed(reason) => {
                self.failed += 1;
                self.refused_failed += usize::from(case.expect.is_refusal());
                self.failures.push(Failure {
                    id: case.id.clone(),
                    reason: reason.line.clone(),
                });
            }
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }
}

/// The counts of all areas.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// By area name.
    pub areas: BTreeMap<String, AreaReport>,
}

impl Report {
    /// Sums over all areas: passed, failed, skipped.
    pub fn totals(&self) -> (usize, usize, usize) {
        self.areas.values().fold((0, 0, 0), |(p, f, s), a| {
            (p + a.passed, f + a.failed, s + a.skipped)
        })
    }
}

/// Runs cases and gives each one's outcome, in the cases' order.
pub fn run(cases: Vec<Case>, corpus: &Corpus) -> Vec<(Case, Outcome)> {
    let corpus = Arc::new(corpus.clone());
    let results: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; cases.len()]);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(cases.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let outcome = run_limited(case, &corpus);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(slot) = results.get_mut(index) {
                        *slot = Some(outcome);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    cases
        .into_iter()
        .zip(
            results
                .into_iter()
                .map(|r| r.unwrap_or_else(|| Outcome::failed("not run"))),
        )
        .collect()
}

/// Runs one case in its own thread, for at most [`CASE_LIMIT`]. The thread of a case that never ends is left
/// behind; it ends with the process.
fn run_limited(case: &Case, corpus: &Arc<Corpus>) -> Outcome {
    let Some(adapter) = adapters::find(&case.area, &case.kind) else {
        return Outcome::Skipped(format!("no adapter for {} {}", case.area, case.kind));
    };
    let (sender, receiver) = mpsc::channel();
    let (owned, shared) = (case.clone(), Arc::clone(corpus));
    let spawned = std::thread::Builder::new()
        .name(case.id.clone())
        .stack_size(CASE_STACK)
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| adapter(&owned, &shared)));
            let _ = sender.send(
                outcome.unwrap_or_else(|panic| Outcome::failed(format!("panic: {}", panic_text(&*panic)))),
            );
        });
    match spawned {
        Ok(_) => receiver.recv_timeout(CASE_LIMIT).unwrap_or_else(|e| match e {
            mpsc::RecvTimeoutError::Timeout => {
                Outcome::failed(format!("no end after {} s", CASE_LIMIT.as_secs()))
            }
            mpsc::RecvTimeoutError::Disconnected => Outcome::failed("its thread ended without a result"),
        }),
        Err(e) => Outcome::failed(format!("no thread for it: {e}")),
    }
}

/// The text of a panic.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(no text)"
    }
}
