//! A hosting process that exists only in a test.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use virt_util::typed_param::TypedParams;
use virt_util::{ErrorCode, Result, VirtError};

use crate::call::Identity;
use crate::host::{
    Claim, ClaimKind, HandleCallback, HandleEvents, Host, LogRecord, NestedOpen, OpenedConnection,
    TimeoutCallback,
};

/// One question about access, as the host saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessQuestion {
    /// Program and procedure of the call; 0 and 0 for an event.
    pub procedure: (u32, u32),
    /// `domain:read` and the like.
    pub permission: String,
    /// What policies see of the object.
    pub attributes: TypedParams,
    /// Who asked.
    pub identity: Identity,
}

type Policy = Box<dyn Fn(&AccessQuestion) -> bool + Send + Sync>;
type Opener = Box<dyn Fn(&NestedOpen) -> Result<Arc<dyn OpenedConnection>> + Send + Sync>;

/// Keeps what drivers tell it, and answers as the test says.
#[derive(Default)]
pub struct FakeHost {
    logs: Mutex<Vec<LogRecord>>,
    questions: Mutex<Vec<AccessQuestion>>,
    policy: Mutex<Option<Arc<Policy>>>,
    opener: Mutex<Option<Arc<Opener>>>,
    handles: Mutex<BTreeMap<i32, Handle>>,
    timers: Mutex<BTreeMap<i32, (Option<Duration>, Arc<TimeoutCallback>)>>,
    claims: Mutex<Vec<(ClaimKind, Claim)>>,
    inhibited: Mutex<bool>,
}

struct Handle {
    fd: i32,
    events: HandleEvents,
    callback: Arc<HandleCallback>,
}

impl FakeHost {
    /// A host that allows everything and can open nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Answers questions about access with `policy`.
    pub fn set_policy(&self, policy: impl Fn(&AccessQuestion) -> bool + Send + Sync + 'static) {
        *self.policy.lock() = Some(Arc::new(Box::new(policy)));
    }

    /// Answers nested opens with `opener`.
    pub fn set_opener(
        &self,
        opener: impl Fn(&NestedOpen) -> Result<Arc<dyn OpenedConnection>> + Send + Sync + 'static,
    ) {
        *self.opener.lock() = Some(Arc::new(Box::new(opener)));
    }

    /// What was logged.
    pub fn logs(&self) -> Vec<LogRecord> {
        self.logs.lock().clone()
    }

    /// What was asked about access, and forgets it.
    pub fn take_questions(&self) -> Vec<AccessQuestion> {
        std::mem::take(&mut self.questions.lock())
    }

    /// Whether a driver keeps the process from exiting.
    pub fn inhibited(&self) -> bool {
        *self.inhibited.lock()
    }

    /// Runs the event loop once: polls the watched descriptors for at most `wait` and calls back those that are ready.
    /// Answers how many were.
    pub fn run_handles(&self, wait: Duration) -> Result<usize> {
        use nix::poll::{PollFd, PollFlags, PollTimeout};
        let watched: Vec<(i32, i32, HandleEvents)> = self
            .handles
            .lock()
            .iter()
            .map(|(watch, handle)| (*watch, handle.fd, handle.events))
            .collect();
        let mut ready = Vec::new();
        {
            let mut polled = Vec::new();
            for (_, fd, events) in &watched {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::POLLIN, events & 1 != 0);
                flags.set(PollFlags::POLLOUT, events & 2 != 0);
                polled.push(PollFd::new(crate::abi::convert::borrow_fd(*fd)?, flags));
            }
            let timeout = PollTimeout::try_from(wait.as_millis()).unwrap_or(PollTimeout::MAX);
            nix::poll::poll(&mut polled, timeout)
                .map_err(|errno| VirtError::system(errno as i32, "cannot poll"))?;
            for ((watch, _, _), polled) in watched.iter().zip(&polled) {
                let flags = polled.revents().unwrap_or(PollFlags::empty());
                let mut events = 0;
                for (flag, event) in [
                    (PollFlags::POLLIN, 1),
                    (PollFlags::POLLOUT, 2),
                    (PollFlags::POLLERR, 4),
                    (PollFlags::POLLHUP, 8),
                ] {
                    if flags.contains(flag) {
                        events |= event;
                    }
                }
                if events != 0 {
                    ready.push((*watch, events));
                }
            }
        }
        let count = ready.len();
        for (watch, events) in ready {
            let callback = self
                .handles
                .lock()
                .get(&watch)
                .map(|handle| Arc::clone(&handle.callback));
            if let Some(callback) = callback {
                callback(events);
            }
        }
        Ok(count)
    }

    /// Calls back every running timer once, whatever its interval.
    pub fn run_timers(&self) -> usize {
        let due: Vec<Arc<TimeoutCallback>> = self
            .timers
            .lock()
            .values()
            .filter(|(interval, _)| interval.is_some())
            .map(|(_, callback)| Arc::clone(callback))
            .collect();
        for callback in &due {
            callback();
        }
        due.len()
    }
}

fn free_number<V>(taken: &BTreeMap<i32, V>) -> i32 {
    taken
        .last_key_value()
        .map_or(1, |(last, _)| last.saturating_add(1))
}

fn unknown(what: &str, number: i32) -> VirtError {
    VirtError::invalid_arg(format_args!("no {what} {number}"))
}

impl Host for FakeHost {
    fn log(&self, record: &LogRecord) {
        self.logs.lock().push(record.clone());
    }

    fn open_connection(&self, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        let opener = self.opener.lock().clone();
        match opener {
            Some(opener) => opener(open),
            None => Err(VirtError::new(ErrorCode::NO_CONNECT, &open.uri)),
        }
    }

    fn add_handle(&self, fd: BorrowedFd<'_>, events: HandleEvents, callback: HandleCallback) -> Result<i32> {
        let mut handles = self.handles.lock();
        let watch = free_number(&handles);
        handles.insert(
            watch,
            Handle {
                fd: fd.as_raw_fd(),
                events,
                callback: Arc::new(callback),
            },
        );
        Ok(watch)
    }

    fn update_handle(&self, watch: i32, events: HandleEvents) -> Result<()> {
        match self.handles.lock().get_mut(&watch) {
            Some(handle) => {
                handle.events = events;
                Ok(())
            }
            None => Err(unknown("watch", watch)),
        }
    }

    fn remove_handle(&self, watch: i32) -> Result<()> {
        let removed = self.handles.lock().remove(&watch);
        removed.map(drop).ok_or_else(|| unknown("watch", watch))
    }

    fn add_timeout(&self, interval: Option<Duration>, callback: TimeoutCallback) -> Result<i32> {
        let mut timers = self.timers.lock();
        let timer = free_number(&timers);
        timers.insert(timer, (interval, Arc::new(callback)));
        Ok(timer)
    }

    fn update_timeout(&self, timer: i32, interval: Option<Duration>) -> Result<()> {
        match self.timers.lock().get_mut(&timer) {
            Some(known) => {
                known.0 = interval;
                Ok(())
            }
            None => Err(unknown("timer", timer)),
        }
    }

    fn remove_timeout(&self, timer: i32) -> Result<()> {
        let removed = self.timers.lock().remove(&timer);
        removed.map(drop).ok_or_else(|| unknown("timer", timer))
    }

    fn check_acl(
        &self,
        identity: &Identity,
        program: u32,
        procedure: u32,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        let question = AccessQuestion {
            procedure: (program, procedure),
            permission: format!("{object}:{permission}"),
            attributes: attributes.clone(),
            identity: identity.clone(),
        };
        let policy = self.policy.lock().clone();
        let allowed = policy.is_none_or(|policy| policy(&question));
        self.questions.lock().push(question);
        Ok(allowed)
    }

    fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let mut claims = self.claims.lock();
        if let Some((_, held)) = claims
            .iter()
            .find(|(known, held)| *known == kind && held.key == key)
        {
            return Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                format_args!("'{key}' is in use by {}", held.owner),
            ));
        }
        claims.push((
            kind,
            Claim {
                key: key.to_owned(),
                owner: owner.to_owned(),
            },
        ));
        Ok(())
    }

    fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let mut claims = self.claims.lock();
        let before = claims.len();
        claims.retain(|(known, held)| *known != kind || held.key != key || held.owner != owner);
        if claims.len() == before {
            return Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                format_args!("'{key}' is not held by {owner}"),
            ));
        }
        Ok(())
    }

    fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>> {
        Ok(self
            .claims
            .lock()
            .iter()
            .filter(|(known, _)| *known == kind)
            .map(|(_, held)| held.clone())
            .collect())
    }

    fn inhibit(&self, inhibited: bool) {
        *self.inhibited.lock() = inhibited;
    }
}
