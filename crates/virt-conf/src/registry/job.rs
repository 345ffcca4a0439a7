//! The job object: who may change one domain now, who waits, and what goes on beside.
//!
//! It is libvirt's model. A domain has at most one *job* (a change or a question to the hypervisor), at most one
//! *agent job*, and at most one *async job* (migration, save …) that lasts across calls, lets jobs of its [`JobMask`]
//! run inside it, and belongs to a client connection. Reading published state needs none of them.
//!
//! Start at [`JobLane::begin`]. What it returns is a guard: dropping it ends the job. Waiting is bounded in time
//! ([`LaneLimits::wait`], the caller's deadline and cancel) and in number; jobs are handed over in order of arrival.
//!
//! A change whose outcome nobody knows (a command timed out, a panic) leaves the domain *in doubt*: the slot stays
//! occupied by a [`Reconciler`] until it knows what is true, and only abort and destroy get past it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use virt_util::time::{Cancel, Clock, Deadline, Interest, SystemClock, Waited, wait_fd};
use virt_util::{ErrorCode, Result, VirtError};

mod guard;
mod kinds;

pub use guard::{AsyncGuard, JobGuard, Reconciler};
pub use kinds::{AgentJob, AsyncJob, ConnectionId, Job, JobMask};

/// How long and how many may wait for one domain.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// The longest wait.
    pub wait: Duration,
    /// Jobs that may wait at once; destroy and abort are not counted.
    pub waiters: usize,
}

impl Default for LaneLimits {
    /// 30 seconds as libvirt, 32 waiters.
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            waiters: 32,
        }
    }
}

/// Who asks for a job, and how long it may take to get it.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The call, as others are told who holds the lane: `virDomainSuspend`.
    pub api: &'static str,
    /// When the caller gives up.
    pub deadline: Deadline,
    /// How the caller gives up earlier.
    pub cancel: Cancel,
}

impl Asker {
    /// A call without a deadline of its own.
    pub fn new(api: &'static str) -> Self {
        Self {
            api,
            deadline: Deadline::NONE,
            cancel: Cancel::never(),
        }
    }

    /// One that does not wait at all.
    pub fn at_once(api: &'static str) -> Self {
        Self {
            deadline: Deadline::now(),
            ..Self::new(api)
        }
    }
}

/// One occupied slot, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<J> {
    /// What it does.
    pub job: J,
    /// Which call holds it.
    pub api: &'static str,
    /// Since when, in nanoseconds of the monotonic clock.
    pub since: u64,
}

/// The state of an async job.
#[derive(Clone, Debug)]
pub struct AsyncState {
    /// What it does.
    pub job: AsyncJob,
    /// The call that began or last continued it.
    pub api: &'static str,
    /// Since when, in nanoseconds of the monotonic clock.
    pub since: u64,
    /// How far it has come; the numbers are the driver's.
    pub phase: i32,
    /// What may run inside it.
    pub mask: JobMask,
    /// The connection whose end rolls it back.
    pub owner: Option<ConnectionId>,
    /// Set when somebody has asked it to end.
    pub abort: Cancel,
    /// A call works on it now; without one it waits for its next call.
    pub attached: bool,
    /// The owning connection has closed while a call worked on it.
    pub owner_gone: bool,
}

/// Why nobody knows the domain's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The call whose outcome is unknown.
    pub api: &'static str,
    /// What happened.
    pub reason: String,
    /// Since when, in nanoseconds of the monotonic clock.
    pub since: u64,
    /// A [`Reconciler`] exists.
    pub attached: bool,
    /// Tells this doubt from later ones: a reconciler that comes late must not touch them.
    number: u64,
}

/// Everything that goes on in a lane.
#[derive(Clone, Debug, Default)]
pub struct LaneInfo {
    /// The job.
    pub job: Option<Held<Job>>,
    /// The agent job.
    pub agent_job: Option<Held<AgentJob>>,
    /// The async job.
    pub async_job: Option<AsyncState>,
    /// Whether the state is in doubt.
    pub doubt: Option<Doubt>,
    /// How many wait.
    pub waiters: usize,
}

/// What the lanes of a registry share.
pub(super) struct LaneSettings {
    pub(super) limits: LaneLimits,
    pub(super) clock: Arc<dyn Clock>,
}

/// The jobs of one domain.
pub struct JobLane {
    settings: Arc<LaneSettings>,
    on_doubt: Option<DoubtHook>,
    /// Held for looking and changing only, never while anybody waits.
    state: Mutex<State>,
}

/// Called when a domain comes in doubt and no [`Reconciler`] exists: the driver arranges for one.
pub type DoubtHook = Box<dyn Fn(&Doubt) + Send + Sync>;

#[derive(Default)]
struct State {
    job: Option<Held<Job>>,
    /// Abort or destroy while the job slot is in doubt.
    beside: Option<Held<Job>>,
    agent: Option<Held<AgentJob>>,
    asynchronous: Option<AsyncState>,
    doubt: Option<Doubt>,
    queue: VecDeque<Waiter>,
    next_ticket: u64,
    doubts: u64,
    /// The object is gone; this is what to tell everybody.
    removed: Option<VirtError>,
}

struct Waiter {
    ticket: u64,
    wish: Wish,
    api: &'static str,
    /// Set when the wish was granted or the object is gone.
    wake: Cancel,
    granted: Option<Slots>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Job(Job),
    Agent(AgentJob),
    Both(Job, AgentJob),
    Async(AsyncJob),
    Nested,
}

/// Which slots a guard has to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Slots {
    job: bool,
    beside: bool,
    agent: bool,
    asynchronous: bool,
}

impl JobLane {
    /// A free lane with the usual limits.
    pub fn new() -> Arc<Self> {
        Self::with(LaneLimits::default(), Arc::new(SystemClock), None)
    }

    /// A free lane.
    pub fn with(limits: LaneLimits, clock: Arc<dyn Clock>, on_doubt: Option<DoubtHook>) -> Arc<Self> {
        Self::of(Arc::new(LaneSettings { limits, clock }), on_doubt)
    }

    /// A free lane of a registry.
    pub(super) fn of(settings: Arc<LaneSettings>, on_doubt: Option<DoubtHook>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            on_doubt,
            state: Mutex::default(),
        })
    }

    /// Begins a job, waiting for its turn. Errors: `VIR_ERR_OPERATION_TIMEOUT` naming the holder when the wait was too
    /// long, `VIR_ERR_OPERATION_FAILED` at once when too many wait, `VIR_ERR_OPERATION_ABORTED` when cancelled, and the
    /// error of [`JobLane::remove`] when the object is gone.
    pub fn begin(self: &Arc<Self>, job: Job, asker: &Asker) -> Result<JobGuard> {
        self.begin_wish(Wish::Job(job), asker)
    }

    /// Begins an agent job. Jobs that do not need the agent go on beside it.
    pub fn begin_agent(self: &Arc<Self>, job: AgentJob, asker: &Asker) -> Result<JobGuard> {
        self.begin_wish(Wish::Agent(job), asker)
    }

    /// Begins a job that needs hypervisor and agent.
    pub fn begin_both(self: &Arc<Self>, job: Job, agent_job: AgentJob, asker: &Asker) -> Result<JobGuard> {
        self.begin_wish(Wish::Both(job, agent_job), asker)
    }

    /// Begins an async job with the default mask, owned by no connection.
    pub fn begin_async(self: &Arc<Self>, job: AsyncJob, asker: &Asker) -> Result<AsyncGuard> {
        let slots = self.acquire(Wish::Async(job), asker)?;
        debug_assert!(slots.asynchronous);
        Ok(AsyncGuard {
            lane: Arc::clone(self),
            finished: false,
        })
    }

    fn begin_wish(self: &Arc<Self>, wish: Wish, asker: &Asker) -> Result<JobGuard> {
        let slots = self.acquire(wish, asker)?;
        Ok(JobGuard {
            lane: Arc::clone(self),
            slots,
            api: asker.api,
            wish,
        })
    }

    fn acquire(&self, wish: Wish, asker: &Asker) -> Result<Slots> {
        let (ticket, wake) = {
            let mut state = self.state.lock();
            if let Some(gone) = &state.removed {
                return Err(gone.clone());
            }
            // Those who wait and could go on are served first; they have been granted already, so none is left.
            if state.can_start(wish) {
                return Ok(state.start(wish, asker.api, self.settings.clock.monotonic_nanos()));
            }
            if !wish.jumps_limit() && state.counted_waiters() >= self.settings.limits.waiters {
                return Err(self.busy(
                    &state,
                    wish,
                    ErrorCode::OPERATION_FAILED,
                    " due to max_queued limit",
                ));
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let wake = Cancel::new();
            state.queue.push_back(Waiter {
                ticket,
                wish,
                api: asker.api,
                wake: wake.clone(),
                granted: None,
            });
            (ticket, wake)
        };
        let waited = self.wait(&wake, asker);
        let mut state = self.state.lock();
        let place = state.queue.iter().position(|waiter| waiter.ticket == ticket);
        let waiter = place.and_then(|place| state.queue.remove(place));
        // A grant counts even if the deadline passed at the same moment: the slots are ours.
        if let Some(slots) = waiter.and_then(|waiter| waiter.granted) {
            return Ok(slots);
        }
        if let Some(gone) = &state.removed {
            return Err(gone.clone());
        }
        let error = match waited? {
            Waited::Cancelled => VirtError::new(
                ErrorCode::OPERATION_ABORTED,
                format_args!("{} was cancelled while it waited for its turn", asker.api),
            ),
            Waited::Ready | Waited::DeadlinePassed => {
                self.busy(&state, wish, ErrorCode::OPERATION_TIMEOUT, "")
            }
        };
        // Our place in the queue may have kept others back.
        state.hand_over(self.settings.clock.monotonic_nanos());
        Err(error)
    }

    fn wait(&self, wake: &Cancel, asker: &Asker) -> Result<Waited> {
        let deadline = asker.deadline.at_most(self.settings.limits.wait);
        match wake.fd()? {
            Some(fd) => wait_fd(fd, Interest::Readable, deadline, &asker.cancel),
            None => Ok(Waited::DeadlinePassed),
        }
    }

    /// libvirt's text for a lane that is held, with what it does not say: for how long, and by which job.
    fn busy(&self, state: &State, wish: Wish, code: ErrorCode, limit: &str) -> VirtError {
        let now = self.settings.clock.monotonic_nanos();
        let monitor = state.blocker(wish);
        let agent = match wish {
            Wish::Agent(_) | Wish::Both(..) => state
                .agent
                .as_ref()
                .map(|held| (held.api, held.since, held.job.name().to_owned())),
            _ => None,
        };
        let mut holders = Vec::new();
        let mut since = Vec::new();
        for (what, holder) in [("monitor", monitor), ("agent", agent)] {
            if let Some((api, started, job)) = holder {
                holders.push(format!("{what}={api}"));
                let seconds = now.saturating_sub(started) / 1_000_000_000;
                since.push(format!("{api} has done '{job}' for {seconds} s"));
            }
        }
        let held = match holders.is_empty() {
            true => String::new(),
            false => format!(" (held by {})", holders.join(" ")),
        };
        let mut error = VirtError::new(
            code,
            format_args!("cannot acquire state change lock{held}{limit}"),
        );
        since.push(format!("{} more wait", state.queue.len()));
        if let Some(doubt) = &state.doubt {
            since.push(format!(
                "the domain's state is being reconciled: {}",
                doubt.reason
            ));
        }
        error = error.caused_by(since.join("; "));
        error
    }

    /// What goes on.
    pub fn info(&self) -> LaneInfo {
        let state = self.state.lock();
        LaneInfo {
            job: state.beside.clone().or_else(|| state.job.clone()),
            agent_job: state.agent.clone(),
            async_job: state.asynchronous.clone(),
            doubt: state.doubt.clone(),
            waiters: state.queue.len(),
        }
    }

    /// Asks the async job to end; it finds its [`AsyncState::abort`] set. `VIR_ERR_OPERATION_INVALID` if there is none.
    pub fn request_abort(&self) -> Result<AsyncJob> {
        match &self.state.lock().asynchronous {
            Some(job) => {
                job.abort.set();
                Ok(job.job)
            }
            None => Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                "nothing runs on the domain that a job could tell of",
            )),
        }
    }

    /// Continues an async job in another call. `VIR_ERR_OPERATION_INVALID` if another kind of job runs or none, if it
    /// belongs to another connection, or if a call works on it now.
    pub fn resume_async(
        self: &Arc<Self>,
        job: AsyncJob,
        owner: ConnectionId,
        api: &'static str,
    ) -> Result<AsyncGuard> {
        let mut state = self.state.lock();
        let refuse = |what: String| Err(VirtError::new(ErrorCode::OPERATION_INVALID, what));
        let Some(current) = &mut state.asynchronous else {
            return refuse(format!("domain has no job '{}' to continue", job.name()));
        };
        if current.job != job {
            return refuse(format!(
                "domain's job is '{}', not '{}'",
                current.job.name(),
                job.name()
            ));
        }
        if current.owner.is_some_and(|current| current != owner) {
            return refuse(format!("job '{}' belongs to another connection", job.name()));
        }
        if current.attached {
            return refuse(format!("{} works on job '{}'", current.api, job.name()));
        }
        current.attached = true;
        current.api = api;
        Ok(AsyncGuard {
            lane: Arc::clone(self),
            finished: false,
        })
    }

    /// Puts back an async job that a status file tells of, before anybody else knows the lane.
    pub fn restore_async(
        self: &Arc<Self>,
        job: AsyncJob,
        phase: i32,
        mask: JobMask,
        api: &'static str,
    ) -> AsyncGuard {
        let mut state = self.state.lock();
        let now = self.settings.clock.monotonic_nanos();
        state.start(Wish::Async(job), api, now);
        if let Some(current) = &mut state.asynchronous {
            current.phase = phase;
            current.mask = mask;
        }
        AsyncGuard {
            lane: Arc::clone(self),
            finished: false,
        }
    }

    /// A connection closes. If it owns an async job that no call works on, the guard is the caller's to roll back; if a
    /// call works on it, that call finds out when it lets go ([`AsyncGuard::leave`]).
    pub fn connection_closed(self: &Arc<Self>, owner: ConnectionId) -> Option<AsyncGuard> {
        let mut state = self.state.lock();
        let current = state
            .asynchronous
            .as_mut()
            .filter(|job| job.owner == Some(owner))?;
        current.owner_gone = true;
        if current.attached {
            return None;
        }
        current.attached = true;
        Some(AsyncGuard {
            lane: Arc::clone(self),
            finished: false,
        })
    }

    /// The object is gone: everybody who waits or comes later gets `error`.
    pub fn remove(&self, error: VirtError) {
        let mut state = self.state.lock();
        state.removed = Some(error);
        for waiter in &state.queue {
            waiter.wake.set();
        }
    }

    /// Takes over the reconciling of a domain in doubt, unless somebody is at it.
    pub fn reconciler(self: &Arc<Self>) -> Option<Reconciler> {
        let mut state = self.state.lock();
        let doubt = state.doubt.as_mut().filter(|doubt| !doubt.attached)?;
        doubt.attached = true;
        Some(Reconciler {
            lane: Arc::clone(self),
            doubt: doubt.number,
        })
    }

    fn release(&self, slots: Slots) {
        let mut state = self.state.lock();
        if slots.job {
            state.job = None;
        }
        if slots.beside {
            state.beside = None;
        }
        if slots.agent {
            state.agent = None;
        }
        if slots.asynchronous {
            state.asynchronous = None;
        }
        state.hand_over(self.settings.clock.monotonic_nanos());
    }

    fn enter_doubt(&self, api: &'static str, reason: String, attached: bool) -> Doubt {
        let mut state = self.state.lock();
        state.doubts += 1;
        let doubt = Doubt {
            api,
            reason,
            since: self.settings.clock.monotonic_nanos(),
            attached,
            number: state.doubts,
        };
        state.doubt = Some(doubt.clone());
        doubt
    }
}

impl fmt::Debug for JobLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobLane").field(&self.info()).finish()
    }
}

impl Wish {
    /// Ending things is never refused for the number of those who wait to do something else.
    fn jumps_limit(self) -> bool {
        matches!(self, Self::Job(Job::Destroy | Job::Abort) | Self::Async(_))
    }

    /// Whether half of it may have happened when it breaks off.
    fn changes(self) -> bool {
        match self {
            Self::Job(job) | Self::Both(job, _) => job != Job::Query,
            Self::Nested | Self::Async(_) => true,
            Self::Agent(_) => false,
        }
    }
}

impl State {
    fn can_start(&self, wish: Wish) -> bool {
        let admitted = |job: Job| {
            self.asynchronous
                .as_ref()
                .is_none_or(|current| job == Job::Destroy || current.mask.contains(job.mask()))
        };
        match wish {
            Wish::Job(job @ (Job::Destroy | Job::Abort)) if self.doubt.is_some() => {
                self.beside.is_none() && admitted(job)
            }
            _ if self.doubt.is_some() => false,
            // What ended a doubt still runs.
            Wish::Job(_) | Wish::Both(..) | Wish::Async(_) | Wish::Nested if self.beside.is_some() => false,
            Wish::Job(job) => self.job.is_none() && admitted(job),
            Wish::Agent(_) => self.agent.is_none(),
            Wish::Both(job, _) => self.job.is_none() && self.agent.is_none() && admitted(job),
            Wish::Async(_) => self.job.is_none() && self.asynchronous.is_none(),
            Wish::Nested => self.job.is_none(),
        }
    }

    fn start(&mut self, wish: Wish, api: &'static str, since: u64) -> Slots {
        let mut slots = Slots::default();
        let job = match wish {
            Wish::Job(job) | Wish::Both(job, _) => Some(job),
            Wish::Nested => Some(Job::Modify),
            Wish::Agent(_) | Wish::Async(_) => None,
        };
        if let Some(job) = job {
            let held = Some(Held { job, api, since });
            if self.doubt.is_some() {
                self.beside = held;
                slots.beside = true;
            } else {
                self.job = held;
                slots.job = true;
            }
        }
        if let Wish::Agent(job) | Wish::Both(_, job) = wish {
            self.agent = Some(Held { job, api, since });
            slots.agent = true;
        }
        if let Wish::Async(job) = wish {
            self.asynchronous = Some(AsyncState {
                job,
                api,
                since,
                phase: 0,
                mask: JobMask::default(),
                owner: None,
                abort: Cancel::new(),
                attached: true,
                owner_gone: false,
            });
            slots.asynchronous = true;
        }
        slots
    }

    /// Grants what can start now, in order of arrival. Destroy and abort go first, as they end what others wait for.
    fn hand_over(&mut self, now: u64) {
        if self.removed.is_some() {
            return;
        }
        for urgent in [true, false] {
            for place in 0..self.queue.len() {
                let Some(waiter) = self.queue.get(place) else {
                    break;
                };
                let (wish, api) = (waiter.wish, waiter.api);
                let is_urgent = matches!(wish, Wish::Job(Job::Destroy | Job::Abort));
                if waiter.granted.is_some() || is_urgent != urgent || !self.can_start(wish) {
                    continue;
                }
                let slots = self.start(wish, api, now);
                if let Some(waiter) = self.queue.get_mut(place) {
                    waiter.granted = Some(slots);
                    waiter.wake.set();
                }
            }
        }
    }

    fn counted_waiters(&self) -> usize {
        self.queue
            .iter()
            .filter(|waiter| !waiter.wish.jumps_limit())
            .count()
    }

    /// Who keeps `wish` from starting, apart from the agent's slot.
    fn blocker(&self, wish: Wish) -> Option<(&'static str, u64, String)> {
        let by_async = |current: &AsyncState| (current.api, current.since, current.job.name().to_owned());
        let by_job = |held: &Held<Job>| (held.api, held.since, held.job.name().to_owned());
        let slot = self.job.as_ref().or(self.beside.as_ref());
        if let Some(doubt) = &self.doubt {
            return Some((doubt.api, doubt.since, "reconcile".to_owned()));
        }
        match (wish, &self.asynchronous) {
            (Wish::Agent(_), _) => None,
            (Wish::Nested, _) | (_, None) => slot.map(by_job),
            (Wish::Job(job) | Wish::Both(job, _), Some(current)) if current.mask.contains(job.mask()) => {
                slot.map(by_job)
            }
            (_, Some(current)) => Some(by_async(current)),
        }
    }
}

#[cfg(test)]
mod tests;
