//! Drivers in processes of their own: a crash there is an error of the callers and nothing else.
//!
//! Such a process is this same program with that one driver, on a socket that only its daemon may open; the daemon
//! reaches it as it reaches any other daemon, through the `remote` driver, with streams, events, descriptors and the
//! identity of its client. It ends with its daemon. One that ended by itself is started again when somebody needs it,
//! the later the more often it happens.
//!
//! The other way round, what a driver wants of its host, it asks the daemon over a socket that it is started with
//! ([`parent`] there, `serve` here): who may do what is decided in one place, and what only one may have is kept in one
//! place. Drivers of other kinds it reaches through a private socket of the daemon.

mod link;
pub mod parent;
mod serve;
mod talk;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_util::{ErrorCode, Result, VirtError};

pub(crate) use self::link::{ToProcess, ended};
use self::serve::{Holdings, Service};
use self::talk::{Talk, Words, tell};
use crate::host::DaemonHost;
use crate::service::paths::make_folder;

/// How long a process may take until it can be reached.
const START: Duration = Duration::from_secs(30);
/// How long to wait after the first end, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Whoever lived so long has not failed at once.
const WELL: Duration = Duration::from_secs(60);
/// How long a process may take to hear something.
const HEAR: Duration = Duration::from_secs(5);
/// How often a process is asked whether it lives, and how many questions may go unanswered.
const VIGIL: (Duration, u32) = (Duration::from_secs(10), 3);
/// The name of the daemon's own socket, which no driver's is.
const OWN_SOCKET: &str = "virtd-host";

/// Where a driver's process finds its daemon, whose own socket is at `own`.
pub(crate) fn socket_of_daemon(own: &Path) -> PathBuf {
    own.with_file_name(OWN_SOCKET)
}

/// The drivers that have processes of their own.
#[derive(Clone, Debug)]
pub struct Isolation {
    folder: PathBuf,
    arguments: Vec<OsString>,
    drivers: Arc<BTreeMap<String, Isolated>>,
    host: Arc<OnceLock<Weak<DaemonHost>>>,
}

/// One driver.
#[derive(Default)]
struct Isolated {
    /// Held while the process is started.
    process: Mutex<Process>,
    /// The way to the process. Held for looking.
    link: Mutex<Option<Link>>,
    holdings: Arc<Mutex<Holdings>>,
}

/// The way to a driver's process.
struct Link {
    talk: Arc<Talk>,
    stopped: std::sync::mpsc::Receiver<()>,
}

impl std::fmt::Debug for Isolated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolated")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
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
                    .map(|driver| (driver, Isolated::default()))
                    .collect(),
            ),
            host: Arc::default(),
        }
    }

    /// Whose drivers they are. Once, before any is started.
    pub(crate) fn set_host(&self, host: Weak<DaemonHost>) {
        self.host.get_or_init(|| host);
    }

    /// The private socket on which the daemon answers these processes.
    pub fn own_socket(&self) -> PathBuf {
        self.folder.join(OWN_SOCKET)
    }

    /// Makes the folder of the sockets, for this user alone.
    ///
    /// # Errors
    /// If that cannot be.
    pub fn make_folder(&self) -> Result<()> {
        make_folder(&self.folder, 0o700)
    }

    /// Has all processes read their configuration again, and know whether access is checked.
    pub(crate) fn reload(&self, enforced: bool) {
        for (driver, isolated) in self.drivers.iter() {
            if let Some(link) = isolated.link.lock().as_ref() {
                let told = link
                    .talk
                    .tell(tell::ENFORCED, &Words::default().number(enforced.into()).bytes())
                    .and_then(|()| link.talk.tell(tell::RELOAD, &[]));
                if let Err(error) = told {
                    tracing::warn!("the process of driver '{driver}' does not hear of the reload: {error}");
                }
            }
        }
    }

    /// Has all drivers save what would be lost, and waits for them.
    pub(crate) fn stop(&self, until: Instant) {
        let links: Vec<_> = self
            .drivers
            .iter()
            .filter_map(|(driver, isolated)| Some((driver, isolated.link.lock().take()?)))
            .collect();
        let told = links
            .iter()
            .filter(|(_, link)| link.talk.tell(tell::STOP, &[]).is_ok());
        for (driver, link) in told.collect::<Vec<_>>() {
            let left = until.saturating_duration_since(Instant::now());
            if link.stopped.recv_timeout(left).is_err() {
                tracing::warn!("driver '{driver}' has not said that everything is saved");
            }
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
        let Some(isolated) = self.drivers.get(driver) else {
            return Err(VirtError::internal(format_args!(
                "driver '{driver}' is not isolated"
            )));
        };
        let path = self.folder.join(format!("{driver}-sock"));
        let mut process = isolated.process.lock();
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
            self.make_folder()?;
            process.child = Some(Running {
                child: self.start(driver, isolated, &path)?,
                since: Instant::now(),
            });
        }
        process.wait(driver, &path)?;
        Ok(path)
    }

    fn start(&self, driver: &str, isolated: &Isolated, socket: &Path) -> Result<Child> {
        let program = std::env::current_exe()
            .map_err(|error| VirtError::io(&error, "cannot find this program's file"))?;
        tracing::info!("starting a process for driver '{driver}'");
        let (ours, theirs) = UnixStream::pair()
            .and_then(|(ours, theirs)| {
                ours.set_write_timeout(Some(HEAR))?;
                Ok((ours, theirs))
            })
            .map_err(|error| VirtError::io(&error, "cannot make a pair of sockets"))?;
        let child = Command::new(program)
            .arg("--driver")
            .arg(driver)
            .arg("--isolated-socket")
            .arg(socket)
            .args(&self.arguments)
            // Over this it asks the daemon; and its end is how it learns that the daemon is gone.
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                VirtError::io(
                    &error,
                    format_args!("cannot start a process for driver '{driver}'"),
                )
            })?;
        isolated.holdings.lock().begin();
        let talk = Arc::new(Talk::new(ours));
        let (stopped, wait) = sync_channel(1);
        let heard = Arc::new(AtomicBool::new(true));
        let vigil = Vigil {
            driver: driver.to_owned(),
            drivers: Arc::downgrade(&self.drivers),
            process: child.id(),
            talk: Arc::clone(&talk),
            heard: Arc::clone(&heard),
        };
        let service = Service {
            driver: driver.to_owned(),
            host: self.host.get().cloned().unwrap_or_default(),
            talk: Arc::clone(&talk),
            holdings: Arc::clone(&isolated.holdings),
            stopped,
            heard,
        };
        *isolated.link.lock() = Some(Link { talk, stopped: wait });
        std::thread::Builder::new()
            .name("virtd-isolated".to_owned())
            .spawn(move || service.run())
            .map_err(|error| VirtError::io(&error, "cannot listen to a driver's process"))?;
        std::thread::Builder::new()
            .name("virtd-vigil".to_owned())
            .spawn(move || vigil.keep())
            .map_err(|error| VirtError::io(&error, "cannot watch a driver's process"))?;
        Ok(child)
    }
}

/// Watches a process: one that stands still is ended, so that its callers hear of it and another can be started.
struct Vigil {
    driver: String,
    drivers: Weak<BTreeMap<String, Isolated>>,
    process: u32,
    talk: Arc<Talk>,
    heard: Arc<AtomicBool>,
}

impl Vigil {
    /// Until the process is gone.
    fn keep(self) {
        let (pause, most) = VIGIL;
        let mut unanswered = 0;
        loop {
            match self.talk.tell(tell::ALIVE, &[]) {
                // Who does not read does not answer either.
                Err(error) if error.int1() != nix::errno::Errno::EAGAIN as i32 => return,
                _ => {}
            }
            std::thread::sleep(pause);
            // Questions are counted, not seconds: a host that was asleep has asked nothing meanwhile.
            if self.heard.swap(false, Ordering::Relaxed) {
                unanswered = 0;
                continue;
            }
            unanswered += 1;
            if unanswered >= most {
                self.end();
                return;
            }
        }
    }

    fn end(&self) {
        let Some(drivers) = self.drivers.upgrade() else {
            return;
        };
        let Some(isolated) = drivers.get(&self.driver) else {
            return;
        };
        if let Some(running) = &mut isolated.process.lock().child
            && running.child.id() == self.process
        {
            tracing::error!(
                "the process of driver '{}' has not answered {} questions and is ended",
                self.driver,
                VIGIL.1
            );
            if let Err(error) = running.child.kill() {
                tracing::error!("it cannot be ended: {error}");
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The thread that listens ends, and the process if it still runs.
        self.talk.close();
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
