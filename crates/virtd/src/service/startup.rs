//! The steps of a start that can fail, and the file that keeps a second daemon out.

use std::path::Path;
use std::time::{Duration, Instant};

use virt_util::lock::PidFile;
use virt_util::{Result, VirtError};

/// A step that failed, in libvirt's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The pid file could not be taken.
    PidFile = 1,
    /// The runtime folder could not be made.
    RuntimeFolder = 2,
    /// Drivers or the library could not be started.
    Initialize = 3,
    /// Signals could not be caught.
    Signals = 4,
    /// Rights could not be given up.
    Privileges = 5,
    /// Sockets could not be opened.
    Network = 6,
    /// The configuration could not be read.
    Config = 7,
    /// Hook scripts could not be looked for.
    Hooks = 8,
    /// The audit system is wanted and not there.
    Audit = 9,
    /// A driver could not be started.
    Driver = 10,
}

impl Step {
    const ALL: [(Self, &'static str); 10] = [
        (Self::PidFile, "the pid file cannot be taken"),
        (Self::RuntimeFolder, "the runtime folder cannot be made"),
        (Self::Initialize, "the daemon cannot be initialized"),
        (Self::Signals, "signals cannot be caught"),
        (Self::Privileges, "rights cannot be given up"),
        (Self::Network, "sockets cannot be opened"),
        (Self::Config, "the configuration cannot be read"),
        (Self::Hooks, "hook scripts cannot be looked for"),
        (Self::Audit, "the audit system cannot be reached"),
        (Self::Driver, "a driver cannot be started"),
    ];

    /// The step of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .map(|(step, _)| *step)
            .find(|step| *step as u8 == number)
    }

    /// The exit status of a daemon whose start failed there. libvirt's ends with 1 for a configuration that it cannot
    /// read, whatever that step's number is.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Config => 1,
            other => other as u8,
        }
    }

    /// What went wrong, in a few words.
    pub fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(step, _)| *step == self)
            .map_or("", |(_, text)| text)
    }
}

/// A start that failed: where and why.
#[derive(Debug)]
pub struct StartError {
    /// The step.
    pub step: Step,
    /// Why.
    pub error: VirtError,
}

/// Says in which step an error happened.
pub trait InStep<T> {
    /// The same with the step.
    ///
    /// # Errors
    /// Those there were.
    fn in_step(self, step: Step) -> std::result::Result<T, StartError>;
}

impl<T> InStep<T> for Result<T> {
    fn in_step(self, step: Step) -> std::result::Result<T, StartError> {
        self.map_err(|error| StartError { step, error })
    }
}

/// Takes the daemon's pid file. A daemon that is just ending has `patience` to let go of it: a restart must not fail
/// because the old process is a moment late.
///
/// # Errors
/// `SYSTEM_ERROR` naming the holder.
pub fn take_pid_file(path: &Path, patience: Duration) -> Result<PidFile> {
    let end = Instant::now() + patience;
    loop {
        match PidFile::acquire(path) {
            Err(error) if error.int1() == libc_eagain() && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            taken => return taken,
        }
    }
}

fn libc_eagain() -> i32 {
    nix::errno::Errno::EAGAIN as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_their_numbers() {
        for number in 1..=10 {
            let step = Step::from_number(number).unwrap();
            assert_eq!(step as u8, number);
            assert!(!step.text().is_empty());
        }
        assert_eq!(Step::from_number(0), None);
        assert_eq!(Step::from_number(11), None);
    }

    #[test]
    fn a_pid_file_that_is_let_go_in_time_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libvirtd.pid");
        let first = take_pid_file(&path, Duration::ZERO).unwrap();
        assert!(take_pid_file(&path, Duration::from_millis(60)).is_err());
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        take_pid_file(&path, Duration::from_secs(10)).unwrap();
        later.join().unwrap();
    }
}
