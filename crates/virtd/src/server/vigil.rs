//! Staying awake for the next call.
//!
//! A program that makes many calls makes the next one as soon as it has the last one's answer. To put the I/O thread to
//! sleep and to wake it on another processor takes several times as long as the whole call, so after a call the thread
//! looks at its sockets again and again for a moment, without sleeping, and is there when the next call comes. It looks at
//! all of them, as it does at any other time, so nobody comes before others.
//!
//! What that may cost is bounded by an [`Alertness`]: clients whose calls come slowly soon cost nothing. A daemon that
//! nobody asks sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use virt_util::alertness::Alertness;

use super::settings::Settings;

/// Whether to stay awake. Touched on the I/O thread only, but shared by its tasks.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// The thread is awake for the next call.
    awake: AtomicBool,
    /// A call came while it was.
    heard: AtomicBool,
    alertness: Mutex<Alertness>,
    begin: Notify,
}

impl Vigil {
    /// Packets of a client have been handled.
    pub(super) fn heard(&self) {
        if self.awake.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
            return;
        }
        if self.alertness.lock().is_due() {
            self.begin.notify_one();
        }
    }

    /// Stays awake after calls; for a task of the runtime, never ends.
    pub(super) async fn keep(self: Arc<Self>, settings: Arc<ArcSwap<Settings>>) {
        loop {
            self.begin.notified().await;
            let time = settings.load().stay_awake;
            if time.is_zero() {
                continue;
            }
            self.awake.store(true, Ordering::Relaxed);
            let mut since = Instant::now();
            let mut came = false;
            loop {
                // The runtime looks at all sockets and clocks before it comes back, and runs what is ready.
                tokio::task::yield_now().await;
                if self.heard.swap(false, Ordering::Relaxed) {
                    came = true;
                    since = Instant::now();
                } else if since.elapsed() >= time {
                    break;
                }
            }
            self.awake.store(false, Ordering::Relaxed);
            self.alertness.lock().kept(came);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// A vigil that is kept, and the task that does it.
    fn kept(micros: u64) -> (Arc<Vigil>, tokio::task::JoinHandle<()>) {
        let settings = Settings {
            stay_awake: Duration::from_micros(micros),
            ..Settings::default()
        };
        let vigil = Arc::<Vigil>::default();
        let task = tokio::spawn(Arc::clone(&vigil).keep(Arc::new(ArcSwap::from_pointee(settings))));
        (vigil, task)
    }

    #[test]
    fn calls_that_come_slowly_are_passed_over() {
        runtime().block_on(async {
            let (vigil, task) = kept(100);
            let mut awake = 0;
            for _ in 0..300 {
                vigil.heard();
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                awake += u32::from(vigil.awake.load(Ordering::Relaxed));
                while vigil.awake.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
            }
            if processors() > 1 {
                assert!((1..=12).contains(&awake), "{awake}");
            }
            task.abort();
        });
    }

    #[test]
    fn calls_that_follow_one_another_find_the_thread_awake() {
        runtime().block_on(async {
            let (vigil, task) = kept(1_000_000);
            vigil.heard();
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            if processors() > 1 {
                assert!(vigil.awake.load(Ordering::Relaxed));
                vigil.heard();
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                assert!(!vigil.heard.load(Ordering::Relaxed), "it was noticed");
                assert!(vigil.awake.load(Ordering::Relaxed));
            }
            task.abort();
        });
    }

    #[test]
    fn nobody_stays_awake_where_that_is_switched_off() {
        runtime().block_on(async {
            let (vigil, task) = kept(0);
            vigil.heard();
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert!(!vigil.awake.load(Ordering::Relaxed));
            task.abort();
        });
    }
}
