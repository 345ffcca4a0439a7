//! What any thread may ask of a loop.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::{Callback, Kind, Shared, Slot, Source, State};
use super::{Readiness, SourceId, Timer};
use crate::sys::process::{Exit, PidFd};
use crate::{Result, VirtError};

/// Access to a running loop, for any thread.
#[derive(Clone)]
pub struct ReactorHandle(pub(super) Arc<Shared>);

impl ReactorHandle {
    /// Watches `fd` and calls `callback` on the loop's thread whenever it has one of `interest`, an error or a
    /// hang-up. With an empty interest nothing is reported. The reactor keeps `fd` until the source is removed. The
    /// same descriptor may be watched several times.
    pub fn add_fd(
        &self,
        fd: impl AsFd + Send + Sync + 'static,
        interest: Readiness,
        callback: impl FnMut(SourceId, Readiness) + Send + 'static,
    ) -> Result<SourceId> {
        let fd: Arc<dyn AsFd + Send + Sync> = Arc::new(fd);
        let raw = fd.as_fd().as_raw_fd();
        let mut state = self.0.state.lock();
        if state.gone {
            return Err(VirtError::new(
                crate::ErrorCode::OPERATION_INVALID,
                "the event loop has stopped",
            ));
        }
        let id = state.new_id();
        let slot = match state.by_raw.get(&raw) {
            Some(slot) => *slot,
            None => {
                let slot = state.new_id().0;
                state.by_raw.insert(raw, slot);
                state.slots.insert(
                    slot,
                    Slot {
                        raw,
                        watchers: Vec::new(),
                        armed: None,
                        always_ready: false,
                    },
                );
                slot
            }
        };
        if let Some(entry) = state.slots.get_mut(&slot) {
            entry.watchers.push(id);
        }
        state.sources.insert(
            id,
            Source {
                kind: Kind::Fd {
                    fd: fd.clone(),
                    slot,
                    interest,
                },
                callback: Some(Callback::Fd(Box::new(callback))),
            },
        );
        if let Err(error) = self.0.arm(&mut state, slot, fd.as_fd()) {
            let source = state.sources.remove(&id);
            state.forget_watcher(slot, id);
            drop(state);
            drop(source);
            return Err(error);
        }
        self.wake(&state);
        Ok(id)
    }

    /// Changes what `id` is called for.
    pub fn set_interest(&self, id: SourceId, wanted: Readiness) -> Result<()> {
        let mut state = self.0.state.lock();
        let (fd, slot) = match state.sources.get_mut(&id) {
            Some(Source {
                kind: Kind::Fd { fd, slot, interest },
                ..
            }) => {
                *interest = wanted;
                (fd.clone(), *slot)
            }
            _ => return Err(unknown_source(id)),
        };
        self.0.arm(&mut state, slot, fd.as_fd())?;
        self.wake(&state);
        Ok(())
    }

    /// Calls `callback` on the loop's thread as `timer` says.
    pub fn add_timer(&self, timer: Timer, callback: impl FnMut(SourceId) + Send + 'static) -> SourceId {
        let mut state = self.0.state.lock();
        let id = state.new_id();
        if state.gone {
            drop(state);
            return id;
        }
        state.sources.insert(
            id,
            Source {
                kind: Kind::Timer {
                    setting: Timer::Disabled,
                    due: None,
                },
                callback: Some(Callback::Timer(Box::new(callback))),
            },
        );
        state.start_timer(id, timer);
        self.wake(&state);
        id
    }

    /// Sets a timer anew, counted from now.
    pub fn set_timer(&self, id: SourceId, timer: Timer) -> Result<()> {
        let mut state = self.0.state.lock();
        if !matches!(
            state.sources.get(&id),
            Some(Source {
                kind: Kind::Timer { .. },
                ..
            })
        ) {
            return Err(unknown_source(id));
        }
        state.start_timer(id, timer);
        self.wake(&state);
        Ok(())
    }

    /// Calls `callback` once on the loop's thread when `process` has ended. Its exit status is taken from the kernel
    /// if it is our child, so nobody else can take it afterwards.
    pub fn add_process(
        &self,
        process: PidFd,
        callback: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<SourceId> {
        let process = Arc::new(process);
        let handle = self.clone();
        let watched = process.clone();
        let mut callback = Some(callback);
        self.add_fd(SharedFd(process), Readiness::READABLE, move |id, _| {
            let exit = match watched.collect() {
                Ok(None) => return,
                Ok(Some(exit)) => exit,
                Err(error) => {
                    tracing::warn!(pid = watched.pid(), "{error:#}");
                    Exit::Unknown
                }
            };
            handle.remove(id);
            if let Some(callback) = callback.take() {
                callback(exit);
            }
        })
    }

    /// Removes a callback of any kind. Returns whether it was there.
    pub fn remove(&self, id: SourceId) -> bool {
        let mut state = self.0.state.lock();
        let Some(source) = state.sources.remove(&id) else {
            return false;
        };
        match &source.kind {
            Kind::Fd { fd, slot, .. } => {
                let (slot, fd) = (*slot, fd.clone());
                state.forget_watcher(slot, id);
                if state.slots.contains_key(&slot) {
                    // Somebody else still watches the number; a failure shows at their next change.
                    let _ = self.0.arm(&mut state, slot, fd.as_fd());
                } else {
                    // Fails when the descriptor was closed before: then epoll has forgotten it already.
                    let _ = self.0.epoll.delete(fd.as_fd());
                }
            }
            Kind::Timer { due, .. } => {
                if let Some(due) = *due {
                    state.timers.remove(&(due, id));
                }
            }
        }
        state.removed.extend(source.callback);
        self.wake(&state);
        true
    }

    /// Runs `work` on the loop's thread, in order of posting. Once the loop has stopped it is dropped unrun.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        if state.gone {
            drop(state);
            return;
        }
        state.posted.push_back(Box::new(work));
        self.wake(&state);
    }

    /// Whether the calling thread is the one that runs the loop.
    pub fn is_loop_thread(&self) -> bool {
        self.0.state.lock().thread == Some(std::thread::current().id())
    }

    /// Ends the loop after the callback that runs now.
    pub fn stop(&self) {
        let mut state = self.0.state.lock();
        state.stop = true;
        self.wake(&state);
    }

    /// How many callbacks are registered.
    pub fn source_count(&self) -> usize {
        self.0.state.lock().sources.len()
    }

    fn wake(&self, state: &State) {
        if state.thread != Some(std::thread::current().id()) && !self.0.woken.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full: then the loop wakes anyway.
            let _ = self.0.waker.write(1);
        }
    }
}

impl std::fmt::Debug for ReactorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReactorHandle({} sources)", self.source_count())
    }
}

/// A pidfd shared between the reactor and the callback that collects from it.
struct SharedFd(Arc<PidFd>);

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn unknown_source(id: SourceId) -> VirtError {
    VirtError::invalid_arg(format_args!("no event source with number {}", id.0))
}
