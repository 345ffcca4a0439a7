//! Work of one guest, in order, off the event loop: it may write files and wait for answers, and holds up nobody
//! but its own guest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// A queue with a thread for as long as there is work.
#[derive(Clone, Default)]
pub(crate) struct SerialQueue(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    running: bool,
    /// The thread that works.
    worker: Option<ThreadId>,
}

/// How long [`SerialQueue::run`] waits for those before it: they may write to a disk that answers slowly.
const PATIENCE: Duration = Duration::from_secs(30);

impl SerialQueue {
    /// Runs `job` after those that were pushed before.
    pub(crate) fn push(&self, job: impl FnOnce() + Send + 'static) {
        {
            let mut state = self.0.lock();
            state.jobs.push_back(Box::new(job));
            if state.running {
                return;
            }
            state.running = true;
        }
        let queue = self.clone();
        let spawned = std::thread::Builder::new()
            .name("qemu-guest".to_owned())
            .spawn(move || queue.drain());
        if let Err(error) = spawned {
            // Out of threads: late is better than never, so the next push tries again.
            tracing::error!("cannot start a thread for a guest's events: {error}");
            self.0.lock().running = false;
        }
    }

    /// Runs `job` after those that were pushed before, and waits for it; at once when called by one of them. Answers
    /// whether it was done in time: if not, it still will be.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        if self.0.lock().worker == Some(std::thread::current().id()) {
            job();
            return true;
        }
        let (done, wait) = sync_channel(1);
        self.push(move || {
            job();
            let _ = done.send(());
        });
        wait.recv_timeout(PATIENCE).is_ok()
    }

    fn drain(&self) {
        self.0.lock().worker = Some(std::thread::current().id());
        // Signals are for the threads of the process that hosts us.
        let _ = nix::sys::signal::SigSet::all().thread_block();
        loop {
            let job = {
                let mut state = self.0.lock();
                match state.jobs.pop_front() {
                    Some(job) => job,
                    None => {
                        state.running = false;
                        state.worker = None;
                        return;
                    }
                }
            };
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("panic while handling a guest's event");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn waiting_for_a_job_works_from_inside_too() {
        let queue = SerialQueue::default();
        let (sender, receiver) = channel();
        let inner = queue.clone();
        assert!(queue.run(move || {
            assert!(inner.run(move || sender.send(1).unwrap()));
        }));
        assert_eq!(receiver.try_recv(), Ok(1));
    }

    #[test]
    fn order_is_kept_and_a_panic_ends_one_job() {
        let queue = SerialQueue::default();
        let (sender, receiver) = channel();
        for number in 0..200 {
            let sender = sender.clone();
            queue.push(move || {
                assert_ne!(number, 100, "told to");
                sender.send(number).unwrap();
            });
        }
        drop(sender);
        let got: Vec<i32> = receiver.iter().collect();
        assert_eq!(got, (0..200).filter(|n| *n != 100).collect::<Vec<_>>());
    }
}
