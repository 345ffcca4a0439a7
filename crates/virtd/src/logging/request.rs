//! Which request a thread is answering, so that every line that is logged on its way can be told from those of others.
//!
//! A plugin logs through its host on the thread that called it, so one cell a thread, here in the daemon, is enough
//! for what the drivers say too. Work that a driver hands to a thread of its own has no number.

use std::cell::Cell;
use std::fmt;

thread_local! {
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// The number of a request: unique while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The client, by the number that the admin interface knows it by.
    pub client: u64,
    /// The serial number of its message.
    pub serial: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.serial)
    }
}

/// Until this is dropped, what the thread logs belongs to the request.
#[derive(Debug)]
pub struct Entered {
    before: Option<RequestId>,
    /// The cell is that of this thread.
    _thread: std::marker::PhantomData<*const ()>,
}

/// Begins to answer a request on this thread.
pub fn enter(request: RequestId) -> Entered {
    Entered {
        before: CURRENT.replace(Some(request)),
        _thread: std::marker::PhantomData,
    }
}

/// The request that this thread is answering.
pub fn current() -> Option<RequestId> {
    CURRENT.get()
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}
