//! What those hold who have got a job: dropping it lets go.

use std::fmt;
use std::sync::Arc;

use virt_util::Result;
use virt_util::time::Cancel;

use super::{Asker, AsyncState, ConnectionId, JobLane, JobMask, Slots, Wish};

/// A job that runs. Dropping it ends the job; while a panic unwinds, a job that changes something leaves the domain in
/// doubt instead.
#[must_use]
pub struct JobGuard {
    pub(super) lane: Arc<JobLane>,
    pub(super) slots: Slots,
    pub(super) api: &'static str,
    pub(super) wish: Wish,
}

impl JobGuard {
    /// Nobody knows what became of the change: keeps the slot and hands it to a reconciler.
    pub fn into_doubt(mut self, reason: impl Into<String>) -> Reconciler {
        let doubt = self.lane.enter_doubt(self.api, reason.into(), true);
        // The job slot stays occupied until the reconciler lets go; an agent's slot does not.
        let slots = std::mem::take(&mut self.slots);
        self.lane.release(Slots { job: false, ..slots });
        Reconciler {
            lane: Arc::clone(&self.lane),
            doubt: doubt.number,
        }
    }

    /// The domain's state is known after all, since it was ended: clears a doubt. For destroy.
    pub fn settle_doubt(&self) {
        let mut state = self.lane.state.lock();
        if state.doubt.take().is_some() {
            // The doubtful job's slot; our own is the one beside it.
            if self.slots.beside {
                state.job = None;
            }
            state.hand_over(self.lane.settings.clock.monotonic_nanos());
        }
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        if self.slots == Slots::default() {
            return;
        }
        if std::thread::panicking() && self.slots.job && self.wish.changes() {
            let doubt =
                self.lane
                    .enter_doubt(self.api, "the change was cut short by a panic".to_owned(), false);
            self.lane.release(Slots {
                job: false,
                ..self.slots
            });
            if let Some(hook) = &self.lane.on_doubt {
                hook(&doubt);
            }
            return;
        }
        self.lane.release(self.slots);
    }
}

impl fmt::Debug for JobGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobGuard({}, {:?})", self.api, self.wish)
    }
}

/// An async job that a call works on. Dropping it ends the job; [`AsyncGuard::leave`] keeps it for the next call.
#[must_use]
pub struct AsyncGuard {
    pub(super) lane: Arc<JobLane>,
    pub(super) finished: bool,
}

impl AsyncGuard {
    fn with<T>(&self, act: impl FnOnce(&mut AsyncState) -> T) -> Option<T> {
        let mut state = self.lane.state.lock();
        let done = state.asynchronous.as_mut().map(act);
        // A wider mask may let somebody in.
        state.hand_over(self.lane.settings.clock.monotonic_nanos());
        done
    }

    /// Says how far the job has come.
    pub fn set_phase(&self, phase: i32) {
        self.with(|job| job.phase = phase);
    }

    /// Says what may run inside the job from now on.
    pub fn set_mask(&self, mask: JobMask) {
        self.with(|job| job.mask = mask | JobMask::DESTROY);
    }

    /// Gives the job to a connection, whose end rolls it back.
    pub fn set_owner(&self, owner: Option<ConnectionId>) {
        self.with(|job| job.owner = owner);
    }

    /// Set once somebody wants the job to end.
    pub fn abort(&self) -> Cancel {
        self.with(|job| job.abort.clone()).unwrap_or_default()
    }

    /// Begins a job inside this one, whatever the mask says.
    pub fn nested(&self, asker: &Asker) -> Result<JobGuard> {
        self.lane.begin_wish(Wish::Nested, asker)
    }

    /// Ends this call's work and keeps the job for the next call. Gives the guard back if the owning connection has
    /// closed meanwhile: then the job is to be rolled back now.
    pub fn leave(mut self) -> std::result::Result<(), Self> {
        let gone = self
            .with(|job| {
                if !job.owner_gone {
                    job.attached = false;
                }
                job.owner_gone
            })
            .unwrap_or(false);
        if gone {
            return Err(self);
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for AsyncGuard {
    fn drop(&mut self) {
        if !self.finished {
            self.lane.release(Slots {
                asynchronous: true,
                ..Slots::default()
            });
        }
    }
}

impl fmt::Debug for AsyncGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncGuard")
    }
}

/// Finds out what is true about a domain in doubt. Dropped without [`Reconciler::resolve`], the domain stays in doubt
/// and another reconciler may try. Has no effect once [`JobGuard::settle_doubt`] was faster.
#[must_use]
pub struct Reconciler {
    pub(super) lane: Arc<JobLane>,
    pub(super) doubt: u64,
}

impl Reconciler {
    /// The truth is known and published: the lane opens again.
    pub fn resolve(self) {
        let mut state = self.lane.state.lock();
        if state
            .doubt
            .as_ref()
            .is_some_and(|doubt| doubt.number == self.doubt)
        {
            state.doubt = None;
            state.job = None;
            state.hand_over(self.lane.settings.clock.monotonic_nanos());
        }
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        if let Some(doubt) = &mut self.lane.state.lock().doubt
            && doubt.number == self.doubt
        {
            doubt.attached = false;
        }
    }
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reconciler")
    }
}
