//! What the loop and its handles know, and what epoll is told of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::ThreadId;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use parking_lot::Mutex;

use super::{Readiness, SourceId, Timer};
use crate::Result;
use crate::error::SystemResult;
use crate::time::{Clock, SystemClock};

pub(super) type FdCallback = Box<dyn FnMut(SourceId, Readiness) + Send>;
pub(super) type TimerCallback = Box<dyn FnMut(SourceId) + Send>;
pub(super) type Posted = Box<dyn FnOnce() + Send>;

pub(super) enum Callback {
    Fd(FdCallback),
    Timer(TimerCallback),
}

pub(super) enum Kind {
    Fd {
        fd: Arc<dyn AsFd + Send + Sync>,
        slot: u64,
        interest: Readiness,
    },
    Timer {
        setting: Timer,
        due: Option<u64>,
    },
}

pub(super) struct Source {
    pub(super) kind: Kind,
    /// Out while it runs.
    pub(super) callback: Option<Callback>,
}

/// One descriptor number with all who watch it: epoll takes each number once.
pub(super) struct Slot {
    pub(super) raw: RawFd,
    pub(super) watchers: Vec<SourceId>,
    /// What epoll was told; `None` if it does not know the descriptor.
    pub(super) armed: Option<Readiness>,
    /// A regular file: epoll does not take it, and it is always ready.
    pub(super) always_ready: bool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) next: u64,
    pub(super) sources: HashMap<SourceId, Source>,
    pub(super) slots: HashMap<u64, Slot>,
    pub(super) by_raw: HashMap<RawFd, u64>,
    pub(super) timers: BTreeSet<(u64, SourceId)>,
    pub(super) posted: VecDeque<Posted>,
    /// Removed callbacks that the loop's thread has to drop.
    pub(super) removed: Vec<Callback>,
    pub(super) stop: bool,
    /// The loop itself is gone: nothing is taken any more, since nobody would ever drop it.
    pub(super) gone: bool,
    pub(super) thread: Option<ThreadId>,
}

pub(super) struct Shared {
    pub(super) epoll: Epoll,
    pub(super) waker: EventFd,
    /// A wake-up is on its way: no need for a second.
    pub(super) woken: AtomicBool,
    /// Guards everything else; never held while a callback runs or is dropped.
    pub(super) state: Mutex<State>,
}

/// The slot number that means "the waker".
pub(super) const WAKER: u64 = 0;

impl State {
    pub(super) fn new_id(&mut self) -> SourceId {
        self.next += 1;
        SourceId(self.next)
    }

    pub(super) fn forget_watcher(&mut self, slot: u64, id: SourceId) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.watchers.retain(|watcher| *watcher != id);
            if entry.watchers.is_empty() {
                self.by_raw.remove(&entry.raw);
                self.slots.remove(&slot);
            }
        }
    }

    pub(super) fn start_timer(&mut self, id: SourceId, timer: Timer) {
        let now = SystemClock.monotonic_nanos();
        let Some(Source {
            kind: Kind::Timer { setting, due },
            ..
        }) = self.sources.get_mut(&id)
        else {
            return;
        };
        if let Some(due) = due.take() {
            self.timers.remove(&(due, id));
        }
        *setting = timer;
        let delay = match timer {
            Timer::Disabled => return,
            Timer::Once(delay) | Timer::Every(delay) => delay,
        };
        let at = now.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        *due = Some(at);
        self.timers.insert((at, id));
    }

    /// What all watchers of a slot want together.
    pub(super) fn wanted(&self, slot: &Slot) -> Readiness {
        slot.watchers
            .iter()
            .fold(Readiness::empty(), |all, id| match self.sources.get(id) {
                Some(Source {
                    kind: Kind::Fd { interest, .. },
                    ..
                }) => all | *interest,
                _ => all,
            })
    }
}

impl Shared {
    /// Tells epoll what the watchers of `slot` want now. A slot nobody wants anything of is taken out, since epoll
    /// reports errors and hang-ups even then.
    pub(super) fn arm(&self, state: &mut State, slot: u64, fd: BorrowedFd<'_>) -> Result<()> {
        let Some(entry) = state.slots.get(&slot) else {
            return Ok(());
        };
        let wanted = state.wanted(entry);
        let armed = entry.armed;
        if entry.always_ready || (armed == Some(wanted)) {
            return Ok(());
        }
        let mut always_ready = false;
        let mut now_armed = Some(wanted);
        if wanted.is_empty() {
            if armed.is_some() {
                let _ = self.epoll.delete(fd);
            }
            now_armed = None;
        } else {
            let mut event = EpollEvent::new(to_epoll(wanted), slot);
            let result = match armed {
                Some(_) => match self.epoll.modify(fd, &mut event) {
                    // The number was closed and opened again behind our back.
                    Err(Errno::ENOENT) => self.epoll.add(fd, event),
                    other => other,
                },
                None => match self.epoll.add(fd, event) {
                    Err(Errno::EEXIST) => self.epoll.modify(fd, &mut event),
                    other => other,
                },
            };
            match result {
                Ok(()) => {}
                Err(Errno::EPERM) => always_ready = true,
                Err(errno) => {
                    return Err(errno).or_system(|| format!("cannot watch descriptor {}", fd.as_raw_fd()));
                }
            }
        }
        if let Some(entry) = state.slots.get_mut(&slot) {
            entry.armed = now_armed;
            entry.always_ready = always_ready;
        }
        Ok(())
    }
}

fn to_epoll(interest: Readiness) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.contains(Readiness::READABLE));
    flags.set(EpollFlags::EPOLLOUT, interest.contains(Readiness::WRITABLE));
    flags
}

pub(super) fn from_epoll(flags: EpollFlags) -> Readiness {
    let mut readiness = Readiness::empty();
    readiness.set(Readiness::READABLE, flags.contains(EpollFlags::EPOLLIN));
    readiness.set(Readiness::WRITABLE, flags.contains(EpollFlags::EPOLLOUT));
    readiness.set(Readiness::ERROR, flags.contains(EpollFlags::EPOLLERR));
    readiness.set(Readiness::HANGUP, flags.contains(EpollFlags::EPOLLHUP));
    readiness
}
