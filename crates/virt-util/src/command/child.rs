//! A program that was started.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::start::Control;
use crate::sys::process::{Exit, PidFd};
use crate::time::{Cancel, Deadline, Waited};
use crate::{ErrorCode, Result, VirtError};

/// A started program. Dropping it lets the program run on (a held one ends); the status of one that was our child
/// should be taken with [`Child::wait`] or through [`crate::reactor::ReactorHandle::add_process`], or it stays a
/// zombie until we end.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: PidFd,
    /// It is our child: its status can be collected.
    ours: bool,
    control: Option<Control>,
    /// Our end of [`super::Input::Pipe`].
    pub stdin: Option<OwnedFd>,
    /// Our end of a captured standard output.
    pub stdout: Option<OwnedFd>,
    /// Our end of a captured standard error.
    pub stderr: Option<OwnedFd>,
}

impl Child {
    pub(super) fn new(name: String, process: PidFd, ours: bool) -> Self {
        Self {
            name,
            process,
            ours,
            control: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }

    pub(super) fn replace_process(&mut self, process: PidFd) -> PidFd {
        std::mem::replace(&mut self.process, process)
    }

    pub(super) fn hold(&mut self, control: Control) {
        self.control = Some(control);
    }

    /// Kills what did not start, and leaves no zombie.
    pub(super) fn abandon(&mut self) {
        self.control = None;
        let _ = self.process.signal(libc::SIGKILL);
        if self.ours {
            // A killed process ends at once unless the kernel itself is stuck in it.
            let limit = Deadline::after(Duration::from_secs(5));
            let _ = self.process.wait(limit, &Cancel::never());
            let _ = self.process.collect();
        }
    }

    /// The process' number.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The process.
    pub fn process(&self) -> &PidFd {
        &self.process
    }

    /// Gives the process away; pipes that were not taken are closed.
    pub fn into_process(self) -> PidFd {
        self.process
    }

    /// Whether it waits for [`Child::release`].
    pub fn is_held(&self) -> bool {
        self.control.is_some()
    }

    /// Lets a held child exec, and returns once it has. If exec fails that is the error, and the child is gone.
    pub fn release(&mut self, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        let Some(control) = self.control.take() else {
            return Err(VirtError::new(
                ErrorCode::INTERNAL_ERROR,
                format_args!("'{}' is not held", self.name),
            ));
        };
        control.release(deadline, cancel).inspect_err(|_| self.abandon())
    }

    /// Waits for the end and takes the exit status; [`Exit::Unknown`] for a daemon. `None` if it still runs at
    /// `deadline` or when cancelled.
    pub fn wait(&self, deadline: Deadline, cancel: &Cancel) -> Result<Option<Exit>> {
        match self.process.wait(deadline, cancel)? {
            Waited::Ready => self.process.collect(),
            Waited::DeadlinePassed | Waited::Cancelled => Ok(None),
        }
    }

    /// Ends it: SIGKILL, and the status taken.
    pub fn kill(&self, deadline: Deadline) -> Result<Option<Exit>> {
        self.process.signal(libc::SIGKILL)?;
        self.wait(deadline, &Cancel::never())
    }
}
