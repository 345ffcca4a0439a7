//! The threads in which drivers are called.
//!
//! Some are reserved for calls of high priority, so that a guest can be destroyed while everybody else waits. The
//! others grow with need: up to the configured number at once, and beyond it only when nothing has moved for a while,
//! because then the workers do not work but wait, for a guest's lane, a monitor, a file system. Threads that nobody
//! needs end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use virt_api::protocol::table::Priority;

use super::settings::Settings;

/// What a worker does.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads in all, whatever happens: beyond it calls wait.
const HARD_MAX: usize = 2048;
/// After how long without any job begun the pool takes itself for stuck.
const STUCK_AFTER: Duration = Duration::from_millis(5);
/// How many threads a stuck pool adds at a time.
const GROWTH: usize = 8;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);
/// Plugins may need more than a thread's usual stack, of which only what is touched costs memory.
const STACK: usize = 4 << 20;

/// Numbers about the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Threads that take any job.
    pub workers: usize,
    /// Of these, those that wait for a job.
    pub idle: usize,
    /// Threads that only take jobs of high priority.
    pub prio_workers: usize,
    /// Of these, those that wait for a job.
    pub idle_prio: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
}

/// The pool. Dropping it lets its threads end with the work they have.
pub(super) struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    settings: Arc<ArcSwap<Settings>>,
    /// Held for moves of jobs only.
    state: Mutex<State>,
    any: Condvar,
    high: Condvar,
    /// Tells the watch that a job waits.
    waiting: Notify,
}

#[derive(Default)]
struct State {
    high: VecDeque<Job>,
    low: VecDeque<Job>,
    counts: WorkerCounts,
    idle_prio: usize,
    /// Jobs begun since the start: what does not change is stuck.
    begun: u64,
    stopping: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Prio,
}

impl Workers {
    pub(super) fn new(settings: Arc<ArcSwap<Settings>>) -> Self {
        Self {
            pool: Arc::new(Pool {
                settings,
                state: Mutex::default(),
                any: Condvar::new(),
                high: Condvar::new(),
                waiting: Notify::new(),
            }),
        }
    }

    /// Runs `job` as soon as there is a thread for it.
    pub(super) fn submit(&self, priority: Priority, job: Job) {
        let settings = self.pool.settings.load();
        let mut state = self.pool.state.lock();
        let high = priority == Priority::High;
        if high {
            state.high.push_back(job);
        } else {
            state.low.push_back(job);
        }
        let waiting = state.high.len() + state.low.len();
        // Who waits idly may have been told of another job a moment ago, which is then still in its queue: idle threads
        // are held against all that waits.
        if high && state.idle_prio >= state.high.len() {
            self.pool.high.notify_one();
        } else if state.counts.idle >= waiting {
            self.pool.any.notify_one();
        } else {
            if state.counts.workers < settings.max_workers {
                self.pool.spawn(&mut state, Kind::Any);
            } else if high && state.counts.prio_workers < settings.prio_workers {
                self.pool.spawn(&mut state, Kind::Prio);
            } else {
                self.pool.any.notify_one();
            }
            // A new thread may take an older job, so the watch looks after this one.
            self.pool.waiting.notify_one();
        }
    }

    /// Adds threads when the pool is stuck; for a task of the runtime, never ends.
    pub(super) fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let pool = Arc::clone(&self.pool);
        async move {
            loop {
                pool.waiting.notified().await;
                let mut before = pool.state.lock().begun;
                loop {
                    tokio::time::sleep(STUCK_AFTER).await;
                    let mut state = pool.state.lock();
                    let waiting = state.high.len() + state.low.len();
                    if waiting == 0 || state.stopping {
                        break;
                    }
                    if state.begun == before {
                        for _ in 0..waiting.min(GROWTH) {
                            pool.spawn(&mut state, Kind::Any);
                        }
                    }
                    before = state.begun;
                }
            }
        }
    }

    /// Starts the threads that are always there.
    pub(super) fn fit(&self) {
        let settings = self.pool.settings.load();
        let mut state = self.pool.state.lock();
        for _ in state.counts.workers..settings.min_workers.min(HARD_MAX) {
            self.pool.spawn(&mut state, Kind::Any);
        }
        for _ in state.counts.prio_workers..settings.prio_workers.min(HARD_MAX) {
            self.pool.spawn(&mut state, Kind::Prio);
        }
    }

    pub(super) fn counts(&self) -> WorkerCounts {
        let state = self.pool.state.lock();
        WorkerCounts {
            idle_prio: state.idle_prio,
            queued: state.high.len() + state.low.len(),
            ..state.counts
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pool.state.lock().stopping = true;
        self.pool.any.notify_all();
        self.pool.high.notify_all();
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({:?})", self.counts())
    }
}

impl Pool {
    fn spawn(self: &Arc<Self>, state: &mut State, kind: Kind) {
        if state.counts.workers + state.counts.prio_workers >= HARD_MAX {
            return;
        }
        let pool = Arc::clone(self);
        let (name, count) = match kind {
            Kind::Any => ("virtd-worker", &mut state.counts.workers),
            Kind::Prio => ("virtd-prio", &mut state.counts.prio_workers),
        };
        let started = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || pool.work(kind));
        match started {
            Ok(_) => *count += 1,
            // The job waits for a thread that is there.
            Err(error) => tracing::warn!("cannot start a worker: {error}"),
        }
    }

    fn work(&self, kind: Kind) {
        let mut state = self.state.lock();
        loop {
            let job = match state.high.pop_front() {
                None if kind == Kind::Any => state.low.pop_front(),
                job => job,
            };
            if let Some(job) = job {
                state.begun += 1;
                drop(state);
                // Drivers' panics end at the waist; this is for our own.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a worker's job panicked");
                }
                state = self.state.lock();
                continue;
            }
            if state.stopping {
                break;
            }
            let (condition, idle): (_, fn(&mut State) -> &mut usize) = match kind {
                Kind::Any => (&self.any, |state| &mut state.counts.idle),
                Kind::Prio => (&self.high, |state| &mut state.idle_prio),
            };
            *idle(&mut state) += 1;
            let timed_out = condition.wait_for(&mut state, IDLE).timed_out();
            *idle(&mut state) -= 1;
            let nothing = state.high.is_empty() && state.low.is_empty();
            if timed_out && nothing && self.may_end(&state, kind) {
                break;
            }
        }
        match kind {
            Kind::Any => state.counts.workers -= 1,
            Kind::Prio => state.counts.prio_workers -= 1,
        }
    }

    fn may_end(&self, state: &State, kind: Kind) -> bool {
        let settings = self.settings.load();
        match kind {
            Kind::Any => state.counts.workers > settings.min_workers,
            Kind::Prio => state.counts.prio_workers > settings.prio_workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn settings(max_workers: usize) -> Arc<ArcSwap<Settings>> {
        Arc::new(ArcSwap::from_pointee(Settings {
            max_workers,
            prio_workers: 1,
            ..Settings::default()
        }))
    }

    #[test]
    fn jobs_that_wait_do_not_stop_others() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let workers = Workers::new(settings(2));
            let watch = tokio::spawn(workers.watch());
            let (release, blocked) = mpsc::channel::<()>();
            let blocked = Arc::new(Mutex::new(blocked));
            for _ in 0..50 {
                let blocked = Arc::clone(&blocked);
                workers.submit(
                    Priority::Low,
                    Box::new(move || {
                        let _ = blocked.lock().recv();
                    }),
                );
            }
            let (done, mut ready) = tokio::sync::mpsc::unbounded_channel();
            workers.submit(Priority::Low, Box::new(move || done.send(()).unwrap()));
            ready.recv().await.unwrap();
            assert!(workers.counts().workers > 50);
            drop(release);
            watch.abort();
        });
    }

    #[test]
    fn many_urgent_jobs_that_wait_do_not_stop_an_ordinary_one() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let workers = Workers::new(settings(20));
            workers.fit();
            // All threads are idle when the jobs come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let watch = tokio::spawn(workers.watch());
            let (release, blocked) = mpsc::channel::<()>();
            let blocked = Arc::new(Mutex::new(blocked));
            for _ in 0..100 {
                let blocked = Arc::clone(&blocked);
                let job = move || {
                    let _ = blocked.lock().recv();
                };
                workers.submit(Priority::High, Box::new(job));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (done, mut ready) = tokio::sync::mpsc::unbounded_channel();
            workers.submit(Priority::Low, Box::new(move || done.send(()).unwrap()));
            tokio::time::timeout(Duration::from_secs(20), ready.recv())
                .await
                .expect("the ordinary job is done")
                .unwrap();
            drop(release);
            watch.abort();
        });
    }

    #[test]
    fn high_priority_has_workers_of_its_own() {
        let workers = Workers::new(settings(1));
        let (release, blocked) = mpsc::channel::<()>();
        workers.submit(
            Priority::Low,
            Box::new(move || {
                let _ = blocked.recv();
            }),
        );
        let (done, ready) = mpsc::channel();
        // Nobody watches this pool, so it does not grow by being stuck.
        workers.submit(Priority::High, Box::new(move || done.send(()).unwrap()));
        ready.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(workers.counts().prio_workers, 1);
        drop(release);
    }
}
