//! The poll loop: descriptors, timers, child exits and posted closures, on one thread.
//!
//! A [`Poller`] is the loop itself, run by whoever calls [`Poller::run_once`] (the default event loop does). A
//! [`Reactor`] is a poller with a thread of its own: one per stateful plugin. Everything else goes through a
//! [`ReactorHandle`], which any thread may use, callbacks included. Callbacks run one after the other on the loop's
//! thread, must not block, and may add, change and remove anything, themselves included.
//!
//! After [`ReactorHandle::remove`] returned a callback is not started again; one that is just running on the loop's
//! thread may still finish. What a callback owns is dropped on the loop's thread.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use bitflags::bitflags;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow};
use parking_lot::Mutex;

use crate::error::SystemResult;
use crate::sys::process::{Exit, PidFd};
use crate::time::{Clock, Deadline, SystemClock};
use crate::{Result, VirtError};

bitflags! {
    /// What may be the matter with a descriptor. The numbers are those of libvirt's `virEventHandleType`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Readiness: u32 {
        /// Something to read.
        const READABLE = 1;
        /// Room to write.
        const WRITABLE = 2;
        /// An error; reported whether asked for or not.
        const ERROR = 4;
        /// The other end is closed; reported whether asked for or not.
        const HANGUP = 8;
    }
}

/// Names one registered callback. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u64);

impl SourceId {
    /// The number, from 1 up.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// When a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Not now; it waits for [`ReactorHandle::set_timer`].
    Disabled,
    /// Once after this time, then it is disabled until set again.
    Once(Duration),
    /// Every time this long has gone by, counted from the end of the last call. Zero: on each turn of the loop.
    Every(Duration),
}

type FdCallback = Box<dyn FnMut(SourceId, Readiness) + Send>;
type TimerCallback = Box<dyn FnMut(SourceId) + Send>;
type Posted = Box<dyn FnOnce() + Send>;

enum Callback {
    Fd(FdCallback),
    Timer(TimerCallback),
}

enum Kind {
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

struct Source {
    kind: Kind,
    /// Out while it runs.
    callback: Option<Callback>,
}

/// One descriptor number with all who watch it: epoll takes each number once.
struct Slot {
    raw: RawFd,
    watchers: Vec<SourceId>,
    /// What epoll was told; `None` if it does not know the descriptor.
    armed: Option<Readiness>,
    /// A regular file: epoll does not take it, and it is always ready.
    always_ready: bool,
}

#[derive(Default)]
struct State {
    next: u64,
    sources: HashMap<SourceId, Source>,
    slots: HashMap<u64, Slot>,
    by_raw: HashMap<RawFd, u64>,
    timers: BTreeSet<(u64, SourceId)>,
    posted: VecDeque<Posted>,
    /// Removed callbacks that the loop's thread has to drop.
    removed: Vec<Callback>,
    stop: bool,
    /// The loop itself is gone: nothing is taken any more, since nobody would ever drop it.
    gone: bool,
    thread: Option<ThreadId>,
}

struct Shared {
    epoll: Epoll,
    waker: EventFd,
    /// A wake-up is on its way: no need for a second.
    woken: AtomicBool,
    /// Guards everything else; never held while a callback runs or is dropped.
    state: Mutex<State>,
}

/// The slot number that means "the waker".
const WAKER: u64 = 0;

/// Most events taken in one turn, so that timers and posted closures get theirs in between.
const EVENTS_PER_TURN: usize = 64;

/// Access to a running loop, for any thread.
#[derive(Clone)]
pub struct ReactorHandle(Arc<Shared>);

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

impl State {
    fn new_id(&mut self) -> SourceId {
        self.next += 1;
        SourceId(self.next)
    }

    fn forget_watcher(&mut self, slot: u64, id: SourceId) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.watchers.retain(|watcher| *watcher != id);
            if entry.watchers.is_empty() {
                self.by_raw.remove(&entry.raw);
                self.slots.remove(&slot);
            }
        }
    }

    fn start_timer(&mut self, id: SourceId, timer: Timer) {
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
    fn wanted(&self, slot: &Slot) -> Readiness {
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
    fn arm(&self, state: &mut State, slot: u64, fd: BorrowedFd<'_>) -> Result<()> {
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

fn from_epoll(flags: EpollFlags) -> Readiness {
    let mut readiness = Readiness::empty();
    readiness.set(Readiness::READABLE, flags.contains(EpollFlags::EPOLLIN));
    readiness.set(Readiness::WRITABLE, flags.contains(EpollFlags::EPOLLOUT));
    readiness.set(Readiness::ERROR, flags.contains(EpollFlags::EPOLLERR));
    readiness.set(Readiness::HANGUP, flags.contains(EpollFlags::EPOLLHUP));
    readiness
}

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

/// A [`Poller`] with a thread of its own, which blocks all signals. Dropping it stops the loop and waits for the
/// thread, except from the loop's own thread.
#[derive(Debug)]
pub struct Reactor {
    handle: ReactorHandle,
    thread: Option<JoinHandle<()>>,
}

impl Reactor {
    /// Starts the thread; the first 15 bytes of `name` show in `/proc`.
    pub fn start(name: &str) -> Result<Self> {
        let mut poller = Poller::new()?;
        let handle = poller.handle();
        // Blocked before the thread exists, so that it never gets one; and the caller's mask comes back.
        let before = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .or_system(|| "cannot block signals")?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = poller.run() {
                tracing::error!("reactor ended: {error:#}");
            }
        });
        let restored = before.thread_set_mask();
        let thread = thread.or_system(|| format!("cannot start the thread '{name}'"))?;
        restored.or_system(|| "cannot restore the signal mask")?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    /// Access for everybody else.
    pub fn handle(&self) -> ReactorHandle {
        self.handle.clone()
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
