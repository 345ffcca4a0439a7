//! Drivers in processes of their own: a crash there is an error of the callers and nothing else.
//!
//! Such a process is this same program with that one driver, on a socket that only its daemon may open; the daemon
//! reaches it as it reaches any other daemon, through the `remote` driver, with streams, events, descriptors and the
//! identity of its client. It ends with its daemon. One that ended by itself is started again when somebody needs it,
//! the later the more often it happens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_util::{ErrorCode, Result, VirtError};

use crate::service::paths::make_folder;

/// How long a process may take until it can be reached.
const START: Duration = Duration::from_secs(30);
/// How long to wait after the first end, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Whoever lived so long has not failed at once.
const WELL: Duration = Duration::from_secs(60);

/// The drivers that have processes of their own.
#[derive(Clone, Debug)]
pub struct Isolation {
    folder: PathBuf,
    arguments: Vec<OsString>,
    /// Each held while its process is started.
    drivers: Arc<BTreeMap<String, Mutex<Process>>>,
}

/// One driver's process, if it runs.
#[derive(Debug, Default)]
struct Process {
    child: Option<Running>,
    /// How often in a row it ended soon.
    failures: u32,
    /// Not to be started before.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    since: Instant,
}

impl Isolation {
    /// For these drivers, with sockets in `folder` and `arguments` for their program.
    pub fn new(drivers: Vec<String>, folder: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            folder,
            arguments,
            drivers: Arc::new(
                drivers
                    .into_iter()
                    .map(|driver| (driver, Mutex::default()))
                    .collect(),
            ),
        }
    }

    /// Whether this driver has a process of its own.
    pub fn has(&self, driver: &str) -> bool {
        self.drivers.contains_key(driver)
    }

    /// The socket of a driver's process, which runs afterwards.
    ///
    /// # Errors
    /// `OPERATION_FAILED` for one that does not come up, or ended so soon that it has to wait.
    pub fn socket(&self, driver: &str) -> Result<PathBuf> {
        let Some(process) = self.drivers.get(driver) else {
            return Err(VirtError::internal(format_args!(
                "driver '{driver}' is not isolated"
            )));
        };
        let path = self.folder.join(format!("{driver}-sock"));
        let mut process = process.lock();
        if process.is_running(driver) && UnixStream::connect(&path).is_ok() {
            return Ok(path);
        }
        if let Some(left) = process
            .not_before
            .map(|at| at.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            return Err(VirtError::new(
                ErrorCode::OPERATION_FAILED,
                format_args!(
                    "the process of driver '{driver}' has ended {} times and is started again in {} seconds",
                    process.failures,
                    left.as_secs() + 1
                ),
            ));
        }
        if process.child.is_none() {
            make_folder(&self.folder, 0o700)?;
            process.child = Some(Running {
                child: self.start(driver, &path)?,
                since: Instant::now(),
            });
        }
        process.wait(driver, &path)?;
        Ok(path)
    }

    fn start(&self, driver: &str, socket: &Path) -> Result<Child> {
        let program = std::env::current_exe()
            .map_err(|error| VirtError::io(&error, "cannot find this program's file"))?;
        tracing::info!("starting a process for driver '{driver}'");
        Command::new(program)
            .arg("--driver")
            .arg(driver)
            .arg("--isolated-socket")
            .arg(socket)
            .args(&self.arguments)
            // Its end is how the process learns that its daemon is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                VirtError::io(
                    &error,
                    format_args!("cannot start a process for driver '{driver}'"),
                )
            })
    }
}

impl Process {
    fn is_running(&mut self, driver: &str) -> bool {
        let Some(running) = &mut self.child else {
            return false;
        };
        let ended = match running.child.try_wait() {
            Ok(None) => return true,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let lived = running.since.elapsed();
        self.failures = if lived >= WELL {
            1
        } else {
            self.failures.saturating_add(1)
        };
        let (first, most) = BACK_OFF;
        let wait = first.saturating_mul(1 << (self.failures - 1).min(6)).min(most);
        tracing::error!(
            "the process of driver '{driver}' ended after {lived:?} with {ended}; {wait:?} until the next"
        );
        self.not_before = Some(Instant::now() + wait);
        self.child = None;
        false
    }

    fn wait(&mut self, driver: &str, socket: &Path) -> Result<()> {
        let end = Instant::now() + START;
        while UnixStream::connect(socket).is_err() {
            if !self.is_running(driver) {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_FAILED,
                    format_args!("the process of driver '{driver}' ended before it could be reached"),
                ));
            }
            if Instant::now() >= end {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_TIMEOUT,
                    format_args!("the process of driver '{driver}' cannot be reached"),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Lets this process end in good order when the daemon that started it is gone.
pub(crate) fn end_with_parent() {
    let watch = std::thread::Builder::new()
        .name("virtd-parent".to_owned())
        .spawn(|| {
            let mut byte = [0];
            while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
            if let Err(errno) = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM) {
                tracing::error!("the daemon is gone, and its end cannot be followed: {errno}");
            }
        });
    if let Err(error) = watch {
        tracing::error!("the daemon's end cannot be watched: {error}");
    }
}
