//! Deadlines, cancellation and clocks: every function that waits takes a [`Deadline`], and a [`Cancel`] where the
//! caller may change its mind.
//!
//! A [`Deadline`] is a point on `CLOCK_MONOTONIC`, so it keeps its meaning across threads, plugins and (on one host)
//! processes. A [`Cancel`] can be polled next to other descriptors. [`Clock`] is what code takes whose tests need to
//! move time by hand. Start reading at [`wait_fd`], which uses all of it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

use crate::error::SystemResult;
use crate::{ErrorCode, Result, VirtError};

/// How often a wait that counts as progress says so.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// A point in time after which a call has failed, or no such point.
///
/// ```
/// use std::time::Duration;
/// use virt_util::time::Deadline;
///
/// let deadline = Deadline::after(Duration::from_secs(30));
/// assert!(!deadline.has_passed());
/// assert!(deadline.remaining().is_some_and(|left| left <= Duration::from_secs(30)));
/// assert_eq!(Deadline::NONE.remaining(), None);
/// assert_eq!(Deadline::NONE.as_nanos(), 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadline(u64);

impl Deadline {
    /// Never passes.
    pub const NONE: Self = Self(0);

    /// `duration` from now. A duration too long to count is [`Deadline::NONE`].
    pub fn after(duration: Duration) -> Self {
        Self::after_on(&SystemClock, duration)
    }

    /// `duration` from now on `clock`.
    pub fn after_on(clock: &dyn Clock, duration: Duration) -> Self {
        match u64::try_from(duration.as_nanos()) {
            Ok(nanos) => match clock.monotonic_nanos().checked_add(nanos) {
                Some(at) => Self(at.max(1)),
                None => Self::NONE,
            },
            Err(_) => Self::NONE,
        }
    }

    /// Has passed already: for calls that must not wait at all.
    pub fn now() -> Self {
        Self::after(Duration::ZERO)
    }

    /// From nanoseconds of `CLOCK_MONOTONIC`; 0 is [`Deadline::NONE`].
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`; 0 is [`Deadline::NONE`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// No deadline at all.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// What is left, zero once passed; `None` without a deadline.
    pub fn remaining(self) -> Option<Duration> {
        self.remaining_on(&SystemClock)
    }

    /// [`Deadline::remaining`] on `clock`.
    pub fn remaining_on(self, clock: &dyn Clock) -> Option<Duration> {
        if self.is_none() {
            return None;
        }
        Some(Duration::from_nanos(
            self.0.saturating_sub(clock.monotonic_nanos()),
        ))
    }

    /// The moment is reached or gone by.
    pub fn has_passed(self) -> bool {
        self.has_passed_on(&SystemClock)
    }

    /// [`Deadline::has_passed`] on `clock`.
    pub fn has_passed_on(self, clock: &dyn Clock) -> bool {
        !self.is_none() && clock.monotonic_nanos() >= self.0
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (0, _) => other,
            (_, 0) => self,
            (mine, theirs) => Self(mine.min(theirs)),
        }
    }

    /// `duration` from now, or this one if that is earlier.
    #[must_use]
    pub fn at_most(self, duration: Duration) -> Self {
        self.min(Self::after(duration))
    }

    /// `VIR_ERR_OPERATION_TIMEOUT` naming `what` once the deadline has passed.
    pub fn check(self, what: impl fmt::Display) -> Result<()> {
        if self.has_passed() {
            return Err(VirtError::new(ErrorCode::OPERATION_TIMEOUT, what));
        }
        Ok(())
    }

    /// The argument for `poll`: rounded up to whole milliseconds, so that a wait never ends before its deadline.
    fn poll_timeout(self) -> PollTimeout {
        match self.remaining() {
            None => PollTimeout::NONE,
            Some(left) => {
                let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
                PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
            }
        }
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remaining() {
            None => f.write_str("Deadline::NONE"),
            Some(left) => write!(f, "Deadline(in {left:?})"),
        }
    }
}

/// Where a [`Cancel`] made by other code (the other side of the waist) gets its answers.
pub trait CancelSource: Send + Sync {
    /// Whether the call was cancelled.
    fn is_set(&self) -> bool;

    /// A descriptor that becomes readable, and stays so, once the call is cancelled.
    fn fd(&self) -> Result<BorrowedFd<'_>>;

    /// Cancels, where this side may.
    fn set(&self);

    /// The call moves: see [`Cancel::progress`].
    fn progress(&self) {}
}

/// The wish of a caller that a running call end early. Clones share one state; once set it stays set.
///
/// Costs one small allocation; the descriptor is made when somebody first polls for it.
#[derive(Clone)]
pub struct Cancel(Repr);

#[derive(Clone)]
enum Repr {
    /// Can never be set.
    Never,
    Own(Arc<OwnState>),
    Foreign(Arc<dyn CancelSource>),
}

struct OwnState {
    set: AtomicBool,
    /// When the call last said that it moves, in nanoseconds of the monotonic clock; 0 for never.
    moved: AtomicU64,
    fd: OnceLock<EventFd>,
    /// Orders "set, then signal the descriptor" against "make the descriptor, then look whether it is set".
    order: Mutex<()>,
}

impl Cancel {
    /// One that can be set.
    pub fn new() -> Self {
        Self(Repr::Own(Arc::new(OwnState {
            set: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            fd: OnceLock::new(),
            order: Mutex::new(()),
        })))
    }

    /// One that nobody can set: for calls without a way to cancel. Costs nothing.
    pub const fn never() -> Self {
        Self(Repr::Never)
    }

    /// One whose state lives elsewhere.
    pub fn from_source(source: Arc<dyn CancelSource>) -> Self {
        Self(Repr::Foreign(source))
    }

    /// Whether the call was cancelled.
    pub fn is_set(&self) -> bool {
        match &self.0 {
            Repr::Never => false,
            Repr::Own(state) => state.set.load(Ordering::Acquire),
            Repr::Foreign(source) => source.is_set(),
        }
    }

    /// Whether this was made by [`Cancel::never`].
    pub fn is_never(&self) -> bool {
        matches!(self.0, Repr::Never)
    }

    /// Cancels. Has no effect the second time, nor on [`Cancel::never`].
    pub fn set(&self) {
        match &self.0 {
            Repr::Never => {}
            Repr::Own(state) => {
                let _order = state.order.lock();
                if !state.set.swap(true, Ordering::AcqRel)
                    && let Some(fd) = state.fd.get()
                {
                    // Writing 1 to a counter that was never written cannot fail.
                    let _ = fd.write(1);
                }
            }
            Repr::Foreign(source) => source.set(),
        }
    }

    /// A descriptor that becomes readable, and stays so, once this is set. Nobody may read from it. `None` when this
    /// can never be set.
    pub fn fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        match &self.0 {
            Repr::Never => Ok(None),
            Repr::Foreign(source) => source.fd().map(Some),
            Repr::Own(state) => {
                if let Some(fd) = state.fd.get() {
                    return Ok(Some(fd.as_fd()));
                }
                let _order = state.order.lock();
                if state.fd.get().is_none() {
                    let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                        .or_system(|| "cannot make an event descriptor")?;
                    if state.set.load(Ordering::Acquire) {
                        let _ = fd.write(1);
                    }
                    let _ = state.fd.set(fd);
                }
                Ok(state.fd.get().map(AsFd::as_fd))
            }
        }
    }

    /// Says that the call still moves: for work that may rightly take long, every now and then (a minute is often
    /// enough). A host takes a call that says nothing for many minutes for lost.
    pub fn progress(&self) {
        match &self.0 {
            Repr::Never => {}
            Repr::Own(state) => state
                .moved
                .store(SystemClock.monotonic_nanos(), Ordering::Relaxed),
            Repr::Foreign(source) => source.progress(),
        }
    }

    /// How long ago the call last said that it moves; `None` if it never did.
    pub fn since_progress(&self) -> Option<Duration> {
        let Repr::Own(state) = &self.0 else { return None };
        match state.moved.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_nanos(
                SystemClock.monotonic_nanos().saturating_sub(at),
            )),
        }
    }

    /// `VIR_ERR_OPERATION_ABORTED` naming `what` once this is set.
    pub fn check(&self, what: impl fmt::Display) -> Result<()> {
        if self.is_set() {
            return Err(VirtError::new(ErrorCode::OPERATION_ABORTED, what));
        }
        Ok(())
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", if self.is_set() { "set" } else { "not set" })
    }
}

/// What time it is. Code whose tests need to move time takes a `&dyn Clock`; the fake one lives in the test kit.
pub trait Clock: Send + Sync {
    /// Nanoseconds of `CLOCK_MONOTONIC`, never 0.
    fn monotonic_nanos(&self) -> u64;

    /// The time of day.
    fn wall(&self) -> SystemTime;

    /// Waits for `duration`, less if `cancel` is set. Returns whether the whole time went by.
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic_nanos(&self) -> u64 {
        // CLOCK_MONOTONIC exists on every kernel that runs us; 1 is "just booted".
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(1, |now| {
            let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
            let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
            (seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).max(1)
        })
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        let deadline = Deadline::after(duration);
        match cancel.fd() {
            Ok(Some(fd)) => matches!(
                wait_fd(fd, Interest::Readable, deadline, cancel),
                Ok(Waited::DeadlinePassed)
            ),
            Ok(None) => {
                std::thread::sleep(duration);
                true
            }
            // Out of descriptors: look now and then.
            Err(_) => {
                while !cancel.is_set() && !deadline.has_passed() {
                    let step = deadline.remaining().unwrap_or(duration);
                    std::thread::sleep(step.min(Duration::from_millis(10)));
                }
                !cancel.is_set()
            }
        }
    }
}

/// What [`wait_fd`] waits for on its descriptor. Hang-up and errors always end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, or the other side has closed.
    Readable,
    /// There is room to write.
    Writable,
    /// Either.
    Both,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Waited {
    /// The descriptor is ready (or in error or hung up: the next read or write says which).
    Ready,
    /// The deadline came first.
    DeadlinePassed,
    /// The caller has changed its mind.
    Cancelled,
}

impl Waited {
    /// Turns everything but [`Waited::Ready`] into the error that says so: `what` names what was waited for.
    pub fn ok(self, what: impl fmt::Display) -> Result<()> {
        match self {
            Self::Ready => Ok(()),
            Self::DeadlinePassed => Err(VirtError::new(ErrorCode::OPERATION_TIMEOUT, what)),
            Self::Cancelled => Err(VirtError::new(ErrorCode::OPERATION_ABORTED, what)),
        }
    }
}

/// Waits until `fd` is ready, `deadline` passes or `cancel` is set. A cancel that is set already wins over a
/// descriptor that is ready; a ready descriptor wins over a deadline that has passed.
///
/// A wait that has a deadline of its own ends anyway, so it counts as [`Cancel::progress`] as long as it lasts.
pub fn wait_fd(fd: impl AsFd, interest: Interest, deadline: Deadline, cancel: &Cancel) -> Result<Waited> {
    wait(fd, interest, deadline, cancel, !deadline.is_none())
}

/// [`wait_fd`] for what somebody else's clock ends (a monitor that may be silent only so long), or what the caller has
/// asked to be waited for without end: it counts as [`Cancel::progress`] as long as it lasts.
pub fn wait_fd_moving(
    fd: impl AsFd,
    interest: Interest,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Waited> {
    wait(fd, interest, deadline, cancel, true)
}

fn wait(
    fd: impl AsFd,
    interest: Interest,
    deadline: Deadline,
    cancel: &Cancel,
    moving: bool,
) -> Result<Waited> {
    let events = match interest {
        Interest::Readable => PollFlags::POLLIN,
        Interest::Writable => PollFlags::POLLOUT,
        Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
    };
    let cancel_fd = cancel.fd()?;
    loop {
        let fd = fd.as_fd();
        // Without a cancel descriptor the slot repeats `fd` with nothing asked for: one array for both cases.
        let cancel_slot = match cancel_fd {
            Some(cancel_fd) => PollFd::new(cancel_fd, PollFlags::POLLIN),
            None => PollFd::new(fd, PollFlags::empty()),
        };
        let mut fds = [PollFd::new(fd, events), cancel_slot];
        let used = if cancel_fd.is_some() { 2 } else { 1 };
        let slots = fds.get_mut(..used).unwrap_or_default();
        let until = match moving && !cancel.is_never() {
            true => deadline.at_most(PROGRESS_EVERY),
            false => deadline,
        };
        match poll(slots, until.poll_timeout()) {
            // Not at the end: a loop of short waits must not look like one that ends.
            Ok(0) if moving && !deadline.has_passed() => cancel.progress(),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(VirtError::system(errno as i32, "cannot poll")),
        }
        if cancel.is_set() {
            return Ok(Waited::Cancelled);
        }
        let [first, _] = fds;
        if first.revents().is_none_or(|got| !got.is_empty()) {
            return Ok(Waited::Ready);
        }
        if deadline.has_passed() {
            return Ok(Waited::DeadlinePassed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};

    #[test]
    fn a_call_says_that_it_moves() {
        let cancel = Cancel::new();
        assert_eq!(cancel.since_progress(), None);
        cancel.progress();
        assert!(
            cancel
                .since_progress()
                .is_some_and(|since| since < Duration::from_secs(5))
        );
        let never = Cancel::never();
        never.progress();
        assert_eq!(never.since_progress(), None);
    }

    #[test]
    fn a_deadline_survives_the_trip_through_nanoseconds() {
        let deadline = Deadline::after(Duration::from_secs(5));
        assert_eq!(Deadline::from_nanos(deadline.as_nanos()), deadline);
        assert!(Deadline::from_nanos(0).is_none());
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NONE);
        assert_eq!(Deadline::NONE.min(deadline), deadline);
        assert_eq!(deadline.min(Deadline::NONE), deadline);
        assert!(Deadline::now().has_passed());
        assert_eq!(
            Deadline::now().check("x").unwrap_err().code(),
            ErrorCode::OPERATION_TIMEOUT
        );
    }

    #[test]
    fn cancel_is_seen_by_clones_and_by_descriptors_made_before_and_after() {
        let cancel = Cancel::new();
        let clone = cancel.clone();
        let before = cancel.fd().unwrap().unwrap();
        clone.set();
        assert!(cancel.is_set());
        assert_eq!(
            wait_fd(before, Interest::Readable, Deadline::now(), &Cancel::never()).unwrap(),
            Waited::Ready
        );
        let late = Cancel::new();
        late.set();
        late.set();
        let after = late.fd().unwrap().unwrap();
        assert_eq!(
            wait_fd(after, Interest::Readable, Deadline::now(), &Cancel::never()).unwrap(),
            Waited::Ready
        );
        Cancel::never().set();
        assert!(!Cancel::never().is_set());
    }

    #[test]
    fn waiting_ends_by_data_deadline_or_cancel() {
        let (reader, mut writer) = pipe().unwrap();
        let cancel = Cancel::new();
        let soon = Deadline::after(Duration::from_millis(20));
        assert_eq!(
            wait_fd(&reader, Interest::Readable, soon, &cancel).unwrap(),
            Waited::DeadlinePassed
        );
        assert!(soon.has_passed());
        writer.write_all(b"x").unwrap();
        assert_eq!(
            wait_fd(&reader, Interest::Readable, Deadline::NONE, &cancel).unwrap(),
            Waited::Ready
        );
        let clone = cancel.clone();
        let (empty, _keep) = pipe().unwrap();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            clone.set();
        });
        assert_eq!(
            wait_fd(&empty, Interest::Readable, Deadline::NONE, &cancel).unwrap(),
            Waited::Cancelled
        );
        thread.join().unwrap();
    }

    #[test]
    fn sleep_ends_early_when_cancelled() {
        let cancel = Cancel::new();
        assert!(SystemClock.sleep(Duration::from_millis(5), &cancel));
        cancel.set();
        assert!(!SystemClock.sleep(Duration::from_secs(3600), &cancel));
    }
}
