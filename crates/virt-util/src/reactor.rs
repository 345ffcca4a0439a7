//! The poll loop: descriptors, timers, child exits and posted closures, on one thread.
//!
//! A [`Poller`] is the loop itself, run by whoever calls [`Poller::run_once`] (the default event loop does). A
//! [`Reactor`] is a poller with a thread of its own: one per stateful plugin. Everything else goes through a
//! [`ReactorHandle`], which any thread may use, callbacks included. Callbacks run one after the other on the loop's
//! thread, must not block, and may add, change and remove anything, themselves included.
//!
//! After [`ReactorHandle::remove`] returned a callback is not started again; one that is just running on the loop's
//! thread may still finish. What a callback owns is dropped on the loop's thread.
//!
//! | module | has |
//! |---|---|
//! | `handle` | what callers do: add, change, remove, post |
//! | `poller` | what the loop's thread does: wait, and call |
//! | `state` | what both know, under one lock, and what epoll is told of it |

mod handle;
mod poller;
mod state;

use std::thread::JoinHandle;
use std::time::Duration;

use bitflags::bitflags;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::Result;
use crate::error::SystemResult;

pub use handle::ReactorHandle;
pub use poller::Poller;

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
