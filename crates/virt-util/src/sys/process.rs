//! A process held by descriptor: its number cannot be given to another process behind our back, its end is
//! something to poll for, and signals reach it or nobody.
#![allow(
    unsafe_code,
    reason = "pidfd_open and pidfd_send_signal have no safe wrapper in std or nix"
)]

use std::fmt;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::error::SystemResult;
use crate::time::{Cancel, Deadline, Interest, Waited, wait_fd};
use crate::{Result, VirtError};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this status, 0 … 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone, but somebody else was its parent: nobody can tell.
    Unknown,
}

impl Exit {
    /// Left with status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "fatal signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// A process, alive or not yet collected.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    pid: i32,
}

impl PidFd {
    /// The process with number `pid`; `None` if there is none.
    pub fn open(pid: i32) -> Result<Option<Self>> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(fd) {
            Ok(fd) => {
                // SAFETY: the kernel has just given us this descriptor (close-on-exec by definition), nobody else
                // owns it. Descriptor numbers fit in an int.
                let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
                Ok(Some(Self { fd, pid }))
            }
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(VirtError::system(
                errno as i32,
                format_args!("cannot open process {pid}"),
            )),
        }
    }

    /// The process' number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends `signal` (0 only asks). Returns whether there was still somebody to get it: a process that has ended
    /// but was not collected yet counts as there.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        // SAFETY: the descriptor is open for the whole call; a null siginfo means "as kill() would fill it".
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match Errno::result(sent) {
            Ok(_) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(VirtError::system(
                errno as i32,
                format_args!("cannot send signal {signal} to process {}", self.pid),
            )),
        }
    }

    /// Whether the process has ended.
    pub fn has_exited(&self) -> Result<bool> {
        Ok(self.wait(Deadline::now(), &Cancel::never())? == Waited::Ready)
    }

    /// Waits until the process has ended; it stays to be collected by [`PidFd::collect`].
    pub fn wait(&self, deadline: Deadline, cancel: &Cancel) -> Result<Waited> {
        wait_fd(&self.fd, Interest::Readable, deadline, cancel)
    }

    /// Takes the exit status of a process that has ended: `None` while it runs, [`Exit::Unknown`] if it is not our
    /// child or its status was taken already.
    pub fn collect(&self) -> Result<Option<Exit>> {
        if !self.has_exited()? {
            return Ok(None);
        }
        loop {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            return match waitid(Id::PIDFd(self.fd.as_fd()), flags) {
                Ok(WaitStatus::Exited(_, code)) => Ok(Some(Exit::Code(code))),
                Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Exit::Signal(signal as i32))),
                Ok(WaitStatus::StillAlive) => Ok(None),
                Ok(_) | Err(Errno::ECHILD) => Ok(Some(Exit::Unknown)),
                Err(Errno::EINTR) => continue,
                // A signal number that nix does not know (real time).
                Err(Errno::EINVAL) => Ok(Some(Exit::Unknown)),
                Err(errno) => {
                    Err(errno).or_system(|| format!("cannot collect the exit status of process {}", self.pid))
                }
            };
        }
    }

    /// Another descriptor for the same process.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .or_system(|| format!("cannot duplicate the descriptor of process {}", self.pid))?;
        Ok(Self { fd, pid: self.pid })
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel tells of a process in one line, as `proc_pid_stat(5)` has it.
#[derive(Clone, Debug)]
pub struct Stat {
    /// What stands behind the program's name: fields from the third on.
    behind_name: String,
}

impl Stat {
    /// That of the process with number `pid`; `None` if there is none.
    pub fn of(pid: i32) -> Option<Self> {
        // One read: the kernel makes the line anew for each, and it is much shorter.
        let mut buffer = [0; 1024];
        let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut buffer).ok()?;
        Self::parse(&String::from_utf8_lossy(buffer.get(..length)?))
    }

    fn parse(line: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything, blanks and parentheses too.
        let (_, behind) = line.rsplit_once(')')?;
        Some(Self {
            behind_name: behind.to_owned(),
        })
    }

    /// A field by its number in the manual, from 3 on.
    fn field<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        let mut fields = self.behind_name.split_ascii_whitespace();
        fields.nth(number.checked_sub(3)?)?.parse().ok()
    }

    /// The letter of its state: `R` for one that runs, `T` and `t` for one that was stopped, `Z` for one that has ended.
    pub fn state(&self) -> Option<char> {
        self.field(3)
    }

    /// The process that it is a child of.
    pub fn parent(&self) -> Option<i32> {
        self.field(4)
    }

    /// The processor's time that it has used itself and had the kernel use, in clock ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let ticks = |number| self.field::<u64>(number).unwrap_or(0);
        ticks(14).saturating_add(ticks(15))
    }

    /// When it started, in clock ticks since the host's start.
    pub fn start_time(&self) -> Option<u64> {
        self.field(22)
    }
}

#[cfg(test)]
#[allow(
    clippy::zombie_processes,
    reason = "children are collected through their descriptors here"
)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn the_end_of_a_child_is_seen_and_collected_once() {
        let child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let process = PidFd::open(child.id() as i32).unwrap().unwrap();
        let limit = Deadline::after(Duration::from_secs(10));
        assert_eq!(process.wait(limit, &Cancel::never()).unwrap(), Waited::Ready);
        assert_eq!(process.collect().unwrap(), Some(Exit::Code(7)));
        assert_eq!(process.collect().unwrap(), Some(Exit::Unknown));
        assert!(!process.signal(0).unwrap());
    }

    #[test]
    fn a_signal_ends_a_child() {
        let child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = PidFd::open(child.id() as i32).unwrap().unwrap();
        assert!(!process.has_exited().unwrap());
        assert_eq!(process.collect().unwrap(), None);
        assert!(process.signal(libc::SIGKILL).unwrap());
        let limit = Deadline::after(Duration::from_secs(10));
        assert_eq!(process.wait(limit, &Cancel::never()).unwrap(), Waited::Ready);
        assert_eq!(process.collect().unwrap(), Some(Exit::Signal(9)));
    }

    #[test]
    fn no_such_process() {
        // Above the kernel's largest possible process number.
        assert!(PidFd::open(i32::MAX).unwrap().is_none());
    }

    #[test]
    fn a_name_may_look_like_the_line_itself() {
        let line = "7 (a) R 1 (b) S 42 7 7 0 -1 0 0 0 0 0 30 12 0 0 20 0 1 0 987 0 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state(), stat.parent()), (Some('S'), Some(42)));
        assert_eq!((stat.cpu_ticks(), stat.start_time()), (42, Some(987)));
        let cut = Stat::parse("7 (a) S 4").unwrap();
        assert_eq!(
            (cut.parent(), cut.cpu_ticks(), cut.start_time()),
            (Some(4), 0, None)
        );
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn a_child_is_ours() {
        let own = std::process::id().cast_signed();
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let stat = Stat::of(child.id().cast_signed()).unwrap();
        assert_eq!(stat.parent(), Some(own));
        assert!(stat.start_time() >= Stat::of(own).unwrap().start_time());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Stat::of(i32::MAX).is_none());
    }
}
