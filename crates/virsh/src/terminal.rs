//! The terminal: raw mode and signals.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stdin};
use virt_util::VirtError;

/// The terminal passes on every key; undone when dropped.
#[derive(Debug)]
pub struct RawMode(Termios);

impl RawMode {
    /// Makes standard input's terminal raw. What was typed before is dropped.
    pub fn enter() -> Result<Self, String> {
        if !stdin().is_terminal() {
            return Err("unable to make terminal raw: console isn't a tty".into());
        }
        let failed = |errno: nix::errno::Errno| {
            format!(
                "unable to set tty attributes: {}",
                VirtError::system(errno as i32, "")
                    .message()
                    .trim_start_matches(": ")
            )
        };
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSAFLUSH, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Signals read from a descriptor instead of interrupting; undone when dropped.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Catches these signals. Threads of the process must have them blocked, as all of ours have.
    pub fn catch(signals: &[Signal]) -> Result<Self, VirtError> {
        let failed = |errno: nix::errno::Errno| VirtError::system(errno as i32, "cannot catch signals");
        let mut set = SigSet::empty();
        for signal in signals {
            set.add(*signal);
        }
        let before = SigSet::thread_get_mask().map_err(failed)?;
        set.thread_block().map_err(failed)?;
        let fd =
            SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|errno| {
                let _ = before.thread_set_mask();
                failed(errno)
            })?;
        Ok(Self { fd, before })
    }

    /// The signal that arrived, if one did.
    pub fn take(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        while self.take().is_some() {}
        let _ = self.before.thread_set_mask();
    }
}
