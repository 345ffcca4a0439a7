//! Threads that wait: one of them leads, which is to poll, read and write for all.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::{Condvar, MutexGuard};
use virt_util::time::{Cancel, Deadline, PROGRESS_EVERY};
use virt_util::{ErrorCode, Result, VirtError};

use super::*;

/// How long a thread looks for an answer before it goes to sleep.
const STAY_AWAKE: Duration = Duration::from_micros(50);

/// How a leader looks for what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Without waiting.
    Once,
    /// For a moment without sleeping, then asleep.
    Awake,
    Asleep,
}

impl Shared {
    /// The state, which in a process that was forked from the connection's is that of a connection that has ended.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.process != std::process::id() {
            state.disown();
        }
        state
    }

    /// Sends what was enqueued as far as it goes now, and sees that somebody sends the rest.
    pub fn push(&self, state: &mut MutexGuard<'_, State>) {
        let mut after = After::default();
        if state.end.is_none()
            && let Err(error) = state.write_out()
        {
            state.fail(&error, CloseReason::Error, &mut after);
        }
        if state.wants_write() && state.leading {
            let _ = self.wake.write(1);
        }
        self.settle(state, after);
    }

    /// Sends a packet of a stream's data: its head, and the data that goes behind it.
    pub fn push_data(&self, state: &mut MutexGuard<'_, State>, head: Vec<u8>, data: &[u8]) -> Result<()> {
        let sent = state.send_data(head, data);
        if let Err(error) = &sent {
            let mut after = After::default();
            state.fail(error, CloseReason::Error, &mut after);
            self.settle(state, after);
        }
        sent
    }

    /// Has the application's event loop read while nobody waits. An error where there is no loop.
    pub fn start_background(self: &Arc<Self>) -> Result<()> {
        let host = self
            .host
            .as_ref()
            .ok_or_else(|| VirtError::internal("there is no event loop"))?;
        background::start(self, host)
    }

    /// Whether an event loop reads while nobody waits.
    pub fn has_background(&self) -> bool {
        self.background.get().is_some()
    }

    /// Reads what is there, if nobody else does.
    pub fn pump(&self, state: &mut MutexGuard<'_, State>) {
        if !state.leading {
            let mut after = After::default();
            state.turn(&mut after);
            self.settle(state, after);
        }
    }

    /// Something was taken out of a queue: the event loop may read on.
    pub fn rearm(&self, state: &mut MutexGuard<'_, State>) {
        self.settle(state, After::default());
    }

    /// Runs what had to wait for the lock, and tells the event loop what it has to do.
    pub fn settle(&self, state: &mut MutexGuard<'_, State>, after: After) {
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        if !after.is_empty() {
            MutexGuard::unlocked(state, || after.run());
        }
    }

    /// Waits until `ready` gives something, which it is asked again whenever something has happened.
    pub fn wait<T>(
        &self,
        state: &mut MutexGuard<'_, State>,
        deadline: Deadline,
        cancel: &Cancel,
        what: &str,
        serial: Option<u32>,
        mut ready: impl FnMut(&mut State) -> Option<Result<T>>,
    ) -> Result<T> {
        if let Some(done) = ready(state) {
            return done;
        }
        let waiter = Arc::new(Waiter {
            turn: Condvar::new(),
            cancel: cancel.clone(),
        });
        if let Some(pending) = serial.and_then(|serial| state.calls.get_mut(&serial)) {
            pending.waiter = Some(Arc::clone(&waiter));
        }
        state.waiters.push_back(Arc::clone(&waiter));
        if state.leading && !cancel.is_never() {
            // The leader polls for everybody's changes of mind.
            let _ = self.wake.write(1);
        }
        let mut turn = match cancel.is_never() {
            true => Deadline::NONE,
            false => Deadline::after(PROGRESS_EVERY),
        };
        let done = loop {
            if let Some(done) = ready(state) {
                break done;
            }
            if let Some(error) = &state.end {
                break Err(error.clone());
            }
            if cancel.is_set() {
                break Err(VirtError::new(ErrorCode::OPERATION_ABORTED, what));
            }
            if deadline.has_passed() {
                break Err(VirtError::new(ErrorCode::OPERATION_TIMEOUT, what));
            }
            // The far side has clocks of its own, and keepalive tells whether there is a far side.
            let until = match cancel.is_never() {
                true => deadline,
                false => {
                    if turn.has_passed() {
                        cancel.progress();
                        turn = Deadline::after(PROGRESS_EVERY);
                    }
                    deadline.min(turn)
                }
            };
            if state.leading {
                match until.remaining() {
                    Some(left) => {
                        waiter.turn.wait_for(state, left);
                    }
                    None => waiter.turn.wait(state),
                }
            } else {
                self.lead(state, until, serial.is_some());
            }
        };
        state.remove_waiter(&waiter);
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        done
    }

    /// Polls once for everybody. Who leads for an `answer` stays awake for it, for a moment: one that needs nothing is
    /// there before a thread could sleep and wake. Data that streams needs the processor more than it needs us awake.
    fn lead(&self, state: &mut MutexGuard<'_, State>, deadline: Deadline, answer: bool) {
        state.leading = true;
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        let cancels: Vec<Cancel> = state
            .waiters
            .iter()
            .filter(|waiter| !waiter.cancel.is_never())
            .map(|waiter| waiter.cancel.clone())
            .collect();
        let mut events = PollFlags::POLLIN;
        if state.wants_write() {
            events |= PollFlags::POLLOUT;
        }
        let until = match state.keepalive.next_action() {
            Some(at) => deadline.min(Deadline::from_nanos(at.max(1))),
            None => deadline,
        };
        let more = state.more;
        let look = match answer && !more && state.alertness.is_due() {
            true => Look::Awake,
            false if more => Look::Once,
            false => Look::Asleep,
        };
        let polled = MutexGuard::unlocked(state, || self.poll(events, &cancels, until, look));
        state.leading = false;
        if let (Look::Awake, Ok(came)) = (look, &polled) {
            state.alertness.kept(*came);
        }
        let mut after = After::default();
        match polled {
            Ok(_) => state.turn(&mut after),
            Err(error) => state.fail(&error, CloseReason::Error, &mut after),
        }
        if cancels.iter().any(Cancel::is_set) {
            state.notify_all();
        }
        if !after.is_empty() {
            MutexGuard::unlocked(state, || after.run());
        }
    }

    /// Whether something came while nobody slept.
    fn poll(&self, events: PollFlags, cancels: &[Cancel], until: Deadline, look: Look) -> Result<bool> {
        let mut fds = Vec::with_capacity(2 + cancels.len());
        fds.push(PollFd::new(self.socket.as_fd(), events));
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        for cancel in cancels {
            if let Some(fd) = cancel.fd()? {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
            }
        }
        let mut ready = 0;
        if look != Look::Asleep {
            let begun = Instant::now();
            loop {
                ready = ready_within(&mut fds, PollTimeout::ZERO)?;
                if ready > 0 || look == Look::Once || begun.elapsed() >= STAY_AWAKE {
                    break;
                }
            }
        }
        let came = ready > 0;
        if !came && look != Look::Once {
            let left = until.remaining().map_or(PollTimeout::NONE, timeout);
            ready_within(&mut fds, left)?;
        }
        let woken = fds.get(1).and_then(PollFd::any).unwrap_or_default();
        if woken {
            let _ = self.wake.read();
        }
        Ok(came)
    }
}

/// How many of them are ready within the time; none if a signal came.
fn ready_within(fds: &mut [PollFd<'_>], time: PollTimeout) -> Result<i32> {
    match poll(fds, time) {
        Err(nix::errno::Errno::EINTR) => Ok(0),
        Err(errno) => Err(VirtError::system(errno as i32, "poll on socket failed")),
        Ok(count) => Ok(count),
    }
}

/// In whole milliseconds, rounded up, so that a deadline has passed when the poll is over.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}
