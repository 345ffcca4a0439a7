//! Where callbacks of the application run.
//!
//! Events, close notifications and what drivers watch through their host come to the application from one place. By
//! default that is a thread of our own, started when the first callback is registered. An application with a loop of
//! its own puts it in place with [`set`] before it opens its first connection; from then on every callback runs there
//! and nowhere else.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use virt_util::reactor::{Reactor, ReactorHandle, Readiness, SourceId, Timer};
use virt_util::{ErrorCode, Result, VirtError};

use crate::host::{HandleCallback, HandleEvents, TimeoutCallback};

/// A loop that runs callbacks, one at a time.
pub trait EventLoop: Send + Sync {
    /// Runs `work` soon, in order of posting.
    fn post(&self, work: Box<dyn FnOnce() + Send>);

    /// Watches a descriptor. Answers the watch's number, which is not negative.
    fn add_handle(&self, fd: BorrowedFd<'_>, events: HandleEvents, callback: HandleCallback) -> Result<i32>;

    /// Changes what is watched; 0 watches nothing but keeps the watch.
    fn update_handle(&self, watch: i32, events: HandleEvents) -> Result<()>;

    /// Ends a watch.
    fn remove_handle(&self, watch: i32) -> Result<()>;

    /// Calls back every `interval` (`None`: not yet). Answers the timer's number.
    fn add_timeout(&self, interval: Option<Duration>, callback: TimeoutCallback) -> Result<i32>;

    /// Changes the interval.
    fn update_timeout(&self, timer: i32, interval: Option<Duration>) -> Result<()>;

    /// Ends a timer.
    fn remove_timeout(&self, timer: i32) -> Result<()>;

    /// Whether the calling thread is the one that runs the callbacks.
    fn is_loop_thread(&self) -> bool;
}

static CURRENT: OnceLock<Arc<dyn EventLoop>> = OnceLock::new();

/// Puts an application's loop in place. Too late once a loop is in use.
pub fn set(event_loop: Arc<dyn EventLoop>) -> Result<()> {
    CURRENT.set(event_loop).map_err(|_| {
        VirtError::new(
            ErrorCode::OPERATION_INVALID,
            "an event loop is in use already: set one before the first connection",
        )
    })
}

/// The loop in use; the default one is started now if there is none.
pub fn current() -> Result<Arc<dyn EventLoop>> {
    if let Some(current) = CURRENT.get() {
        return Ok(Arc::clone(current));
    }
    let started = DefaultLoop::start()?;
    // Another thread may have been faster; its loop is the one, and ours ends.
    Ok(Arc::clone(CURRENT.get_or_init(|| Arc::new(started))))
}

/// The loop that runs unless the application brings one: a thread with a [`Reactor`].
pub struct DefaultLoop {
    reactor: Reactor,
    next: AtomicI32,
    /// Held for looking, never while a callback runs.
    sources: Mutex<HashMap<i32, SourceId>>,
}

impl DefaultLoop {
    /// Starts the thread.
    pub fn start() -> Result<Self> {
        Ok(Self {
            reactor: Reactor::start("virt-events")?,
            next: AtomicI32::new(1),
            sources: Mutex::default(),
        })
    }

    fn handle(&self) -> ReactorHandle {
        self.reactor.handle()
    }

    fn number(&self, source: SourceId) -> i32 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        self.sources.lock().insert(number, source);
        number
    }

    fn source(&self, number: i32) -> Result<SourceId> {
        self.sources
            .lock()
            .get(&number)
            .copied()
            .ok_or_else(|| unknown(number))
    }

    fn remove(&self, number: i32) -> Result<()> {
        let source = self
            .sources
            .lock()
            .remove(&number)
            .ok_or_else(|| unknown(number))?;
        self.handle().remove(source);
        Ok(())
    }
}

fn unknown(number: i32) -> VirtError {
    VirtError::invalid_arg(format_args!("the event loop has no watch or timer {number}"))
}

const READABLE: HandleEvents = 1;
const WRITABLE: HandleEvents = 2;
const ERROR: HandleEvents = 4;
const HANGUP: HandleEvents = 8;

const NAMES: [(HandleEvents, Readiness); 4] = [
    (READABLE, Readiness::READABLE),
    (WRITABLE, Readiness::WRITABLE),
    (ERROR, Readiness::ERROR),
    (HANGUP, Readiness::HANGUP),
];

fn interest(events: HandleEvents) -> Readiness {
    NAMES
        .into_iter()
        .filter(|(event, _)| events & event != 0)
        .map(|(_, ready)| ready)
        .collect()
}

fn events(ready: Readiness) -> HandleEvents {
    NAMES
        .into_iter()
        .filter(|(_, one)| ready.contains(*one))
        .map(|(event, _)| event)
        .sum()
}

fn timer(interval: Option<Duration>) -> Timer {
    interval.map_or(Timer::Disabled, Timer::Every)
}

impl EventLoop for DefaultLoop {
    fn post(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle().post(work);
    }

    fn add_handle(&self, fd: BorrowedFd<'_>, wanted: HandleEvents, callback: HandleCallback) -> Result<i32> {
        // The watch outlives the borrow; a duplicate is ready when the original is.
        let fd = fd
            .try_clone_to_owned()
            .map_err(|error| VirtError::io(&error, "cannot duplicate a descriptor"))?;
        let source = self
            .handle()
            .add_fd(fd, interest(wanted), move |_, ready| callback(events(ready)))?;
        Ok(self.number(source))
    }

    fn update_handle(&self, watch: i32, events: HandleEvents) -> Result<()> {
        self.handle().set_interest(self.source(watch)?, interest(events))
    }

    fn remove_handle(&self, watch: i32) -> Result<()> {
        self.remove(watch)
    }

    fn add_timeout(&self, interval: Option<Duration>, callback: TimeoutCallback) -> Result<i32> {
        let source = self.handle().add_timer(timer(interval), move |_| callback());
        Ok(self.number(source))
    }

    fn update_timeout(&self, number: i32, interval: Option<Duration>) -> Result<()> {
        self.handle().set_timer(self.source(number)?, timer(interval))
    }

    fn remove_timeout(&self, timer: i32) -> Result<()> {
        self.remove(timer)
    }

    fn is_loop_thread(&self) -> bool {
        self.handle().is_loop_thread()
    }
}

impl std::fmt::Debug for DefaultLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DefaultLoop")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    const WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn handles_timers_and_posted_work_run_on_the_loop() {
        let event_loop = Arc::new(DefaultLoop::start().unwrap());
        let (sender, receiver) = mpsc::channel();

        let (reader, mut writer) = UnixStream::pair().unwrap();
        let tell = sender.clone();
        let watch = event_loop
            .add_handle(
                reader.as_fd(),
                READABLE,
                Box::new(move |events| {
                    let _ = tell.send(events);
                }),
            )
            .unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(receiver.recv_timeout(WAIT).unwrap() & READABLE, READABLE);
        event_loop.remove_handle(watch).unwrap();
        assert!(event_loop.remove_handle(watch).is_err());

        let tell = sender.clone();
        let timer = event_loop
            .add_timeout(
                Some(Duration::from_millis(1)),
                Box::new(move || {
                    let _ = tell.send(100);
                }),
            )
            .unwrap();
        while receiver.recv_timeout(WAIT).unwrap() != 100 {}
        event_loop.remove_timeout(timer).unwrap();

        let inner = Arc::clone(&event_loop);
        event_loop.post(Box::new(move || {
            let _ = sender.send(200 + u32::from(inner.is_loop_thread()));
        }));
        while receiver.recv_timeout(WAIT).unwrap() != 201 {}
        assert!(!event_loop.is_loop_thread());
    }
}
