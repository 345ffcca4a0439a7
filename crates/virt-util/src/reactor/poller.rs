//! The loop itself: waits until something is due, and calls who wants to know.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;

use super::state::{Callback, Kind, Shared, Source, State, WAKER, from_epoll};
use super::{ReactorHandle, Readiness, SourceId, Timer};
use crate::Result;
use crate::error::SystemResult;
use crate::time::{Clock, Deadline, SystemClock};

/// Most events taken in one turn, so that timers and posted closures get theirs in between.
const EVENTS_PER_TURN: usize = 64;

/// A loop that its caller runs.
pub struct Poller {
    shared: Arc<Shared>,
}

impl Poller {
    /// A loop with nothing to do yet.
    pub fn new() -> Result<Self> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).or_system(|| "cannot make an epoll descriptor")?;
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .or_system(|| "cannot make an event descriptor")?;
        epoll
            .add(&waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))
            .or_system(|| "cannot watch an event descriptor")?;
        Ok(Self {
            shared: Arc::new(Shared {
                epoll,
                waker,
                woken: AtomicBool::new(false),
                state: Mutex::new(State::default()),
            }),
        })
    }

    /// Access for everybody else.
    pub fn handle(&self) -> ReactorHandle {
        ReactorHandle(self.shared.clone())
    }

    /// Turns until [`ReactorHandle::stop`].
    pub fn run(&mut self) -> Result<()> {
        while self.run_once(Deadline::NONE)? {}
        Ok(())
    }

    /// One turn: waits until something is due, `deadline` passes or another thread wakes the loop, and runs what is
    /// due. Returns `false` once stopped.
    pub fn run_once(&mut self, deadline: Deadline) -> Result<bool> {
        self.shared.state.lock().thread = Some(std::thread::current().id());
        let result = self.turn(deadline);
        self.shared.state.lock().thread = None;
        result
    }

    fn turn(&mut self, deadline: Deadline) -> Result<bool> {
        let timeout = {
            let mut state = self.shared.state.lock();
            let removed = std::mem::take(&mut state.removed);
            if state.stop {
                return Ok(false);
            }
            let idle = state.posted.is_empty()
                && removed.is_empty()
                && !state
                    .slots
                    .values()
                    .any(|slot| slot.always_ready && !state.wanted(slot).is_empty());
            let timer = match state.timers.first() {
                Some((due, _)) => Deadline::from_nanos(*due),
                None => Deadline::NONE,
            };
            drop(state);
            for callback in removed {
                guard("drop", || drop(callback));
            }
            if idle {
                deadline.min(timer)
            } else {
                Deadline::now()
            }
        };
        let mut events = [EpollEvent::empty(); EVENTS_PER_TURN];
        let count = match self.shared.epoll.wait(&mut events, epoll_timeout(timeout)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).or_system(|| "cannot wait for events"),
        };
        let mut ready = Vec::new();
        for event in events.iter().take(count) {
            if event.data() == WAKER {
                // The counter first: who finds the flag set between the two lines has changed the state before,
                // and the loop looks at that before it waits again.
                let _ = self.shared.waker.read();
                self.shared.woken.store(false, Ordering::Release);
            } else {
                ready.push((event.data(), from_epoll(event.events())));
            }
        }
        self.run_fds(ready);
        self.run_timers();
        self.run_posted();
        Ok(!self.shared.state.lock().stop)
    }

    fn run_fds(&self, mut ready: Vec<(u64, Readiness)>) {
        let mut calls = Vec::new();
        {
            let state = self.shared.state.lock();
            for (slot, entry) in &state.slots {
                if entry.always_ready {
                    ready.push((*slot, Readiness::READABLE | Readiness::WRITABLE));
                }
            }
            for (slot, readiness) in ready {
                if let Some(entry) = state.slots.get(&slot) {
                    calls.extend(entry.watchers.iter().map(|id| (*id, readiness)));
                }
            }
        }
        for (id, readiness) in calls {
            self.with_callback(id, |state| {
                match state.sources.get(&id).map(|source| &source.kind) {
                    Some(Kind::Fd { interest, .. }) if !interest.is_empty() => {
                        let told = readiness & (*interest | Readiness::ERROR | Readiness::HANGUP);
                        (!told.is_empty()).then_some(told)
                    }
                    _ => None,
                }
            });
        }
    }

    fn run_timers(&self) {
        let now = SystemClock.monotonic_nanos();
        let due: Vec<SourceId> = {
            let state = self.shared.state.lock();
            state
                .timers
                .iter()
                .take_while(|(at, _)| *at <= now)
                .map(|(_, id)| *id)
                .collect()
        };
        for id in due {
            self.with_callback(id, |state| {
                let Some(Source {
                    kind: Kind::Timer { setting, due },
                    ..
                }) = state.sources.get_mut(&id)
                else {
                    return None;
                };
                // An earlier callback of this turn may have set it anew.
                let at = due.filter(|at| *at <= now)?;
                *due = None;
                if matches!(setting, Timer::Once(_)) {
                    *setting = Timer::Disabled;
                }
                state.timers.remove(&(at, id));
                Some(Readiness::empty())
            });
            let mut state = self.shared.state.lock();
            if let Some(Source {
                kind:
                    Kind::Timer {
                        setting: setting @ Timer::Every(_),
                        due: None,
                    },
                ..
            }) = state.sources.get(&id)
            {
                let setting = *setting;
                state.start_timer(id, setting);
            }
        }
    }

    fn run_posted(&self) {
        // Only what is there now: work that posts more work must not keep descriptors waiting.
        let work = std::mem::take(&mut self.shared.state.lock().posted);
        for (position, job) in work.into_iter().enumerate() {
            if position > 0 && self.shared.state.lock().stop {
                return;
            }
            guard("posted work", job);
        }
    }

    /// Takes the callback of `id` out, runs it outside the lock if `prepare` says so, and puts it back unless it was
    /// removed meanwhile. A callback that panics is removed: nobody knows what state it is in.
    fn with_callback(&self, id: SourceId, prepare: impl FnOnce(&mut State) -> Option<Readiness>) {
        let (mut callback, readiness) = {
            let mut state = self.shared.state.lock();
            if state.stop {
                return;
            }
            let Some(readiness) = prepare(&mut state) else {
                return;
            };
            let Some(callback) = state
                .sources
                .get_mut(&id)
                .and_then(|source| source.callback.take())
            else {
                return;
            };
            (callback, readiness)
        };
        let finished = guard("callback", || match &mut callback {
            Callback::Fd(call) => call(id, readiness),
            Callback::Timer(call) => call(id),
        });
        if !finished {
            self.handle().remove(id);
            guard("drop", || drop(callback));
            return;
        }
        let mut state = self.shared.state.lock();
        match state.sources.get_mut(&id) {
            Some(source) => source.callback = Some(callback),
            None => {
                drop(state);
                guard("drop", || drop(callback));
            }
        }
    }
}

impl Drop for Poller {
    /// Nobody will call them any more, and what they own may hold on to a handle of this very loop.
    fn drop(&mut self) {
        let (sources, posted, removed) = {
            let mut state = self.shared.state.lock();
            state.stop = true;
            state.gone = true;
            state.slots.clear();
            state.by_raw.clear();
            state.timers.clear();
            (
                std::mem::take(&mut state.sources),
                std::mem::take(&mut state.posted),
                std::mem::take(&mut state.removed),
            )
        };
        for source in sources.into_values() {
            guard("drop", || drop(source));
        }
        for work in posted {
            guard("drop", || drop(work));
        }
        for callback in removed {
            guard("drop", || drop(callback));
        }
    }
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Poller({:?})", self.handle())
    }
}

/// Runs `work`; a panic is logged and ends there. Returns whether it came through.
fn guard(what: &str, work: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => true,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!("panic in a reactor's {what}: {text}");
            // The payload's own Drop may panic too.
            std::mem::forget(panic);
            false
        }
    }
}

fn epoll_timeout(deadline: Deadline) -> EpollTimeout {
    match deadline.remaining() {
        None => EpollTimeout::NONE,
        Some(left) => {
            let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        }
    }
}
