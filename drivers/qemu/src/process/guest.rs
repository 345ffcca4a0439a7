//! A running guest: its process, its monitor, and what can be done with it.
//!
//! QEMU's events arrive on the reactor's thread, change the [`Machine`] there and then, and what follows from them
//! (files, other commands, telling clients) happens in order on the guest's own queue, so that a slow disk or a silent
//! QEMU holds up one guest. Everything that waits here waits with a deadline of its own or the caller's.

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use parking_lot::Mutex;
use serde_json::Value;
use virt_util::error::SystemResult as _;
use virt_util::reactor::{ReactorHandle, Timer};
use virt_util::sys::process::{PidFd, Stat};
use virt_util::time::{Cancel, Clock as _, Deadline, Interest, SystemClock, Waited, wait_fd};
use virt_util::types::{DomainPausedReason, DomainRunningReason, DomainShutoffReason, DomainState};
use virt_util::{ErrorCode, Result, VirtError};

use super::layout::GuestPaths;
use super::log::GuestLog;
use super::queue::SerialQueue;
use super::state::{Effect, GuestState, Lifecycle, Machine, shutoff_word};
use crate::monitor::{Command, CommandId, Event, MonitorObserver, QmpClient, QmpError, Reply};

/// How long QEMU may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How long a graceful end is waited for.
const GRACEFUL_LIMIT: Duration = Duration::from_secs(15);

/// How long the kernel may take to end a killed process: it may have a lot of memory or devices to give back.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// How long the monitor's last words may stay away after the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

virt_util::fail_points! {
    /// The steps of ending a guest.
    pub const FAIL_POINTS;
    DESTROY_SIGNAL = "qemu.destroy.signal";
    END_LOG = "qemu.end.log";
    END_CLEAN_UP = "qemu.end.clean-up";
    END_TELL = "qemu.end.tell";
}

/// Something about a guest that its driver has to know.
#[derive(Debug)]
pub enum Happening {
    /// It does something else now; to be published, and written to the status file.
    State(GuestState),
    /// Clients are to be told.
    Lifecycle(Lifecycle),
    /// The guest has restarted by itself.
    Rebooted,
    /// The status file is to be written.
    Save,
    /// An event of QEMU's.
    Event(Event),
    /// QEMU does not answer these commands: the guest is in doubt.
    Silent(Vec<String>),
    /// QEMU has answered a command that was given up.
    LateReply(String, Reply),
    /// The monitor is lost while the process lives: the guest cannot be talked to until it is attached again.
    MonitorLost(Option<VirtError>),
    /// It is over. Nothing follows.
    Ended(DomainShutoffReason),
}

/// The driver's part in what happens to a guest.
pub trait GuestWatcher: Send + Sync {
    /// Called in order on the guest's own queue; may block, but holds up that guest only.
    fn happened(&self, guest: &Arc<Guest>, what: Happening);
}

/// How well the monitor answers, for `virDomainGetControlInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It answers, or was not asked.
    Fine,
    /// It has been silent about a command since this many nanoseconds of the monotonic clock.
    Silent(u64),
    /// The connection is lost since then.
    Lost(u64),
}

#[derive(Debug, Default)]
struct End {
    process: bool,
    monitor: bool,
    over: bool,
    /// What the end is to be called, if somebody wanted it.
    wanted: Option<DomainShutoffReason>,
}

/// A running guest.
pub struct Guest {
    id: i32,
    name: String,
    paths: GuestPaths,
    process: PidFd,
    reactor: ReactorHandle,
    watcher: Arc<dyn GuestWatcher>,
    queue: SerialQueue,
    monitor: OnceLock<QmpClient>,
    /// Held for reading and changing memory only.
    machine: Mutex<Machine>,
    /// Held for reading and changing memory only.
    control: Mutex<Control>,
    /// Held for reading and changing memory only.
    end: Mutex<End>,
    /// Held while a line is written.
    log: Mutex<GuestLog>,
    /// Set when all is cleaned up and everybody was told.
    ended: Cancel,
}

impl Guest {
    /// A guest whose process runs. Its end is watched from now on; its monitor comes with [`Guest::connect`].
    pub(super) fn new(
        (id, name): (i32, &str),
        paths: GuestPaths,
        process: PidFd,
        log: GuestLog,
        machine: Machine,
        reactor: &ReactorHandle,
        watcher: Arc<dyn GuestWatcher>,
    ) -> Result<Arc<Self>> {
        let watched = process.try_clone()?;
        let guest = Arc::new(Self {
            id,
            name: name.to_owned(),
            paths,
            process,
            reactor: reactor.clone(),
            watcher,
            queue: SerialQueue::default(),
            monitor: OnceLock::new(),
            machine: Mutex::new(machine),
            control: Mutex::new(Control::Fine),
            end: Mutex::new(End::default()),
            log: Mutex::new(log),
            ended: Cancel::new(),
        });
        // The loop keeps the guest alive until its process is gone.
        let keeper = guest.clone();
        reactor.add_process(watched, move |_| keeper.process_ended())?;
        Ok(guest)
    }

    /// Connects to the monitor. Commands may be sent at once; they wait for QEMU's greeting.
    pub(super) fn connect(self: &Arc<Self>, deadline: Deadline, cancel: &Cancel) -> Result<&QmpClient> {
        let socket = connect_unix("monitor", &self.paths.monitor, deadline, cancel)?;
        let client = QmpClient::attach(socket, &self.reactor, Observer(Arc::downgrade(self)))?;
        if let Err(second) = self.monitor.set(client) {
            second.close();
        }
        self.monitor()
    }

    /// The id of this run.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of what belongs to it.
    pub fn paths(&self) -> &GuestPaths {
        &self.paths
    }

    /// Its process.
    pub fn process(&self) -> &PidFd {
        &self.process
    }

    /// What it is doing.
    pub fn state(&self) -> GuestState {
        self.machine.lock().state()
    }

    /// Whether a shutdown that was asked for is to become a reboot: part of the status file.
    pub fn fake_reboot(&self) -> bool {
        self.machine.lock().fake_reboot
    }

    /// How well the monitor answers.
    pub fn control(&self) -> Control {
        *self.control.lock()
    }

    /// Writes a line to its log; a failure to do so is only noted.
    pub fn log_line(&self, text: impl fmt::Display) {
        if let Err(error) = self.log.lock().line(text) {
            tracing::warn!("{error:#}");
        }
    }

    /// An error that `what` went wrong, with QEMU's last words from the log.
    pub fn log_error(&self, what: &str) -> VirtError {
        self.log.lock().error(what)
    }

    /// The monitor.
    ///
    /// # Errors
    /// `OPERATION_INVALID` while there is none.
    pub fn monitor(&self) -> Result<&QmpClient> {
        self.monitor.get().ok_or_else(|| {
            VirtError::new(
                ErrorCode::OPERATION_INVALID,
                format_args!("the monitor of domain '{}' is not connected", self.name),
            )
        })
    }

    /// One command; QEMU's refusal is an error.
    ///
    /// # Errors
    /// As [`QmpClient::execute`].
    pub fn execute(&self, command: Command, deadline: Deadline, cancel: &Cancel) -> Result<Value> {
        self.monitor()?.execute(command, deadline, cancel)
    }

    /// Commands as one write, whose refusals are left to the caller.
    ///
    /// # Errors
    /// As [`QmpClient::execute_all`].
    pub fn execute_all(
        &self,
        commands: Vec<Command>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Vec<Reply>> {
        let commands: Vec<(Command, Vec<OwnedFd>)> = commands
            .into_iter()
            .map(|command| (command, Vec::new()))
            .collect();
        self.monitor()?.execute_all(commands, deadline, cancel)
    }

    /// Lets the processors run, if they do not; the event that follows gives `reason`.
    ///
    /// # Errors
    /// `OPERATION_INVALID` while it sleeps or is shut down; otherwise as [`Guest::execute`].
    pub fn resume(&self, reason: DomainRunningReason, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        {
            let mut machine = self.machine.lock();
            match machine.state().state {
                DomainState::RUNNING => return Ok(()),
                DomainState::PMSUSPENDED => return Err(invalid("domain is pmsuspended")),
                _ => machine.next_run = Some(reason),
            }
        }
        let result = self.execute(Command::new("cont"), deadline, cancel);
        if result.is_err() {
            self.machine.lock().next_run = None;
        }
        result.map(drop)
    }

    /// Stops the processors, if they run; the event that follows gives `reason`.
    ///
    /// # Errors
    /// `OPERATION_INVALID` while it sleeps; otherwise as [`Guest::execute`].
    pub fn suspend(&self, reason: DomainPausedReason, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        {
            let mut machine = self.machine.lock();
            match machine.state().state {
                DomainState::PAUSED => return Ok(()),
                DomainState::PMSUSPENDED => return Err(invalid("domain is pmsuspended")),
                _ => machine.next_pause = Some(reason),
            }
        }
        let result = self.execute(Command::new("stop"), deadline, cancel);
        if result.is_err() {
            self.machine.lock().next_pause = None;
        }
        result.map(drop)
    }

    /// Presses the power button. With `reboot` the shutdown that follows becomes a restart. What the guest does is its
    /// own decision: this does not wait.
    ///
    /// # Errors
    /// `OPERATION_INVALID` unless it runs; otherwise as [`Guest::execute`].
    pub fn press_power_button(
        self: &Arc<Self>,
        reboot: bool,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<()> {
        {
            let mut machine = self.machine.lock();
            if machine.state().state != DomainState::RUNNING {
                return Err(invalid("domain is not running"));
            }
            if machine.fake_reboot != reboot {
                machine.fake_reboot = reboot;
            }
        }
        // The status says "reboot" before the guest can shut down.
        self.tell_now(Happening::Save);
        self.execute(Command::new("system_powerdown"), deadline, cancel)
            .map(drop)
    }

    /// The next shutdown is what it looks like, whatever was wanted of the last one.
    pub fn forget_reboot(self: &Arc<Self>) {
        let was = std::mem::replace(&mut self.machine.lock().fake_reboot, false);
        if was {
            self.tell_now(Happening::Save);
        }
    }

    /// Resets the machine, whatever it is doing.
    ///
    /// # Errors
    /// As [`Guest::execute`].
    pub fn reset(self: &Arc<Self>, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        self.execute(Command::new("system_reset"), deadline, cancel)?;
        let state = {
            let mut machine = self.machine.lock();
            machine.fake_reboot = false;
            if machine.state().state == DomainState::CRASHED {
                machine.set_state(GuestState::paused(DomainPausedReason::CRASHED));
            }
            machine.state()
        };
        self.tell_now(Happening::State(state));
        Ok(())
    }

    /// Ends the process: politely, and unless `graceful` by force after 10 seconds (at once if the process is stopped
    /// and cannot hear). Returns when everything is cleaned up; `reason` is what the end is called.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` with EBUSY if it does not end; `OPERATION_TIMEOUT` or `OPERATION_ABORTED` if the caller does not
    /// wait that long, and then it may end later.
    pub fn destroy(
        &self,
        reason: DomainShutoffReason,
        graceful: bool,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<()> {
        DESTROY_SIGNAL.pass()?;
        self.end.lock().wanted.get_or_insert(reason);
        let result = self.terminate(graceful, deadline, cancel);
        if result.is_err() && graceful {
            // It was not ended by us: should it end later, that is something else.
            self.end.lock().wanted = None;
        }
        result
    }

    fn terminate(&self, graceful: bool, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        self.process.signal(libc::SIGTERM)?;
        let stopped = is_stopped(self.process.pid());
        let patience = match (graceful, stopped) {
            (true, _) => GRACEFUL_LIMIT,
            (false, true) => Duration::ZERO,
            (false, false) => GRACE,
        };
        if self.wait_for_end(Deadline::after(patience), deadline, cancel)? {
            return Ok(());
        }
        let busy = |signal: &str| {
            VirtError::system(
                libc::EBUSY,
                format_args!(
                    "Failed to terminate process {} with SIG{signal}",
                    self.process.pid()
                ),
            )
        };
        if graceful {
            return Err(busy("TERM"));
        }
        self.process.signal(libc::SIGKILL)?;
        if self.wait_for_end(Deadline::after(KILL_LIMIT), deadline, cancel)? {
            return Ok(());
        }
        Err(busy("KILL"))
    }

    /// Whether it is over by `patience`; the caller's own limits are errors.
    fn wait_for_end(&self, patience: Deadline, deadline: Deadline, cancel: &Cancel) -> Result<bool> {
        let Some(ended) = self.ended.fd()? else {
            return Ok(true);
        };
        match wait_fd(ended, Interest::Readable, patience.min(deadline), cancel)? {
            Waited::Ready => Ok(true),
            Waited::DeadlinePassed if !deadline.has_passed() => Ok(false),
            other => other
                .ok(format_args!("domain '{}' has not ended yet", self.name))
                .map(|()| false),
        }
    }

    /// Waits until it is over and cleaned up.
    ///
    /// # Errors
    /// `OPERATION_TIMEOUT` or `OPERATION_ABORTED`.
    pub fn wait(&self, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        self.wait_for_end(Deadline::NONE, deadline, cancel).map(drop)
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended.is_set()
    }

    /// Asks QEMU what the guest is doing, for when events may have been missed.
    ///
    /// # Errors
    /// As [`Guest::execute`].
    pub fn refresh_state(self: &Arc<Self>, deadline: Deadline, cancel: &Cancel) -> Result<GuestState> {
        let answer = self.execute(Command::new("query-status"), deadline, cancel)?;
        let running = answer.get("running").and_then(Value::as_bool).unwrap_or(false);
        let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
        let changed = self.machine.lock().on_status(status, running);
        if let Some(state) = changed {
            self.tell_now(Happening::State(state));
        }
        Ok(self.state())
    }

    /// Finishes what a guest that shut down unobserved was about to do: end, or start again.
    pub(super) fn finish_shutdown(self: &Arc<Self>) {
        let effect = {
            let machine = self.machine.lock();
            if machine.fake_reboot {
                Effect::Restart(DomainRunningReason::BOOTED)
            } else {
                Effect::Terminate
            }
        };
        self.enqueue(vec![effect]);
    }

    /// Has `what` told behind everything that has happened so far.
    pub fn announce(self: &Arc<Self>, what: Happening) {
        self.tell(what);
    }

    /// It is started, and paused because it was asked for so.
    pub(super) fn start_paused(self: &Arc<Self>) {
        let state = GuestState::paused(DomainPausedReason::USER);
        self.machine.lock().set_state(state);
        self.tell_now(Happening::State(state));
    }

    /// Nobody can talk to it, though its process lives.
    pub(super) fn monitor_is_lost(&self) {
        let mut control = self.control.lock();
        if *control == Control::Fine {
            *control = Control::Lost(SystemClock.monotonic_nanos());
        }
    }

    fn enqueue(self: &Arc<Self>, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let guest = self.clone();
        self.queue.push(move || {
            for effect in effects {
                guest.carry_out(effect);
            }
        });
    }

    fn tell(self: &Arc<Self>, what: Happening) {
        let guest = self.clone();
        self.queue.push(move || guest.watcher.happened(&guest, what));
    }

    /// [`Guest::tell`], and waits until it is told.
    fn tell_now(self: &Arc<Self>, what: Happening) {
        let guest = self.clone();
        if !self.queue.run(move || guest.watcher.happened(&guest, what)) {
            tracing::warn!(guest = self.name, "what happened to it is handled late");
        }
    }

    /// On the guest's queue.
    fn carry_out(self: &Arc<Self>, effect: Effect) {
        let what = match effect {
            Effect::State(state) => Happening::State(state),
            Effect::Lifecycle(told) => Happening::Lifecycle(told),
            Effect::Rebooted => Happening::Rebooted,
            Effect::Save => Happening::Save,
            Effect::Report(event) => Happening::Event(event),
            Effect::Terminate => {
                if let Err(error) = self.process.signal(libc::SIGTERM) {
                    tracing::warn!(guest = self.name, "{error:#}");
                }
                return;
            }
            Effect::Restart(reason) => return self.restart(reason),
        };
        self.watcher.happened(self, what);
    }

    /// The guest has shut down to start again.
    fn restart(self: &Arc<Self>, reason: DomainRunningReason) {
        let never = Cancel::never();
        self.machine.lock().next_run = Some(reason);
        let result = self
            .execute(Command::new("system_reset"), Deadline::NONE, &never)
            .and_then(|_| self.execute(Command::new("cont"), Deadline::NONE, &never));
        let state = {
            let mut machine = self.machine.lock();
            machine.restart_done();
            if result.is_err() {
                // It is not killed for that: it stays as it is, for somebody to look at.
                machine.next_run = None;
                machine.set_state(GuestState::paused(DomainPausedReason::SHUTTING_DOWN));
            } else {
                machine.set_state(GuestState::running(reason));
            }
            machine.state()
        };
        if let Err(error) = result {
            tracing::warn!(guest = self.name, "cannot restart: {error:#}");
        }
        self.watcher.happened(self, Happening::State(state));
    }

    fn process_ended(self: &Arc<Self>) {
        let waits_for_monitor = {
            let mut end = self.end.lock();
            end.process = true;
            !end.monitor && self.monitor.get().is_some()
        };
        if !waits_for_monitor {
            return self.finish();
        }
        // What QEMU said last, its SHUTDOWN event above all, may still be in the socket.
        let guest = Arc::downgrade(self);
        let handle = self.reactor.clone();
        self.reactor.add_timer(Timer::Once(LAST_WORDS), move |id| {
            handle.remove(id);
            if let Some(guest) = guest.upgrade() {
                guest.finish();
            }
        });
    }

    fn monitor_closed(self: &Arc<Self>, why: Option<VirtError>) {
        let is_over = {
            let mut end = self.end.lock();
            end.monitor = true;
            end.process
        };
        if is_over {
            return self.finish();
        }
        *self.control.lock() = Control::Lost(SystemClock.monotonic_nanos());
        // A process that is about to end closes its sockets first.
        let guest = Arc::downgrade(self);
        let handle = self.reactor.clone();
        self.reactor.add_timer(Timer::Once(LAST_WORDS), move |id| {
            handle.remove(id);
            if let Some(guest) = guest.upgrade().filter(|guest| !guest.end.lock().process) {
                guest.tell(Happening::MonitorLost(why.clone()));
            }
        });
    }

    /// Process and monitor are gone: clean up, behind all that is still in the queue.
    fn finish(self: &Arc<Self>) {
        if std::mem::replace(&mut self.end.lock().over, true) {
            return;
        }
        let guest = self.clone();
        self.queue.push(move || {
            let reason = {
                let mut machine = guest.machine.lock();
                let reason = guest.end.lock().wanted.unwrap_or(machine.reason_of_end());
                machine.set_state(GuestState::shut_off(reason));
                reason
            };
            if let Err(error) = guest.wind_up(reason) {
                tracing::warn!(guest = guest.name, "{error:#}");
            }
            guest.ended.set();
        });
    }

    fn wind_up(self: &Arc<Self>, reason: DomainShutoffReason) -> Result<()> {
        if let Some(monitor) = self.monitor.get() {
            monitor.close();
        }
        END_LOG.pass()?;
        if let Err(error) = self.log.lock().shutting_down(shutoff_word(reason)) {
            tracing::warn!("{error:#}");
        }
        END_CLEAN_UP.pass()?;
        self.paths.clean_up();
        END_TELL.pass()?;
        self.watcher.happened(self, Happening::Ended(reason));
        Ok(())
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Guest({} '{}', process {}, {})",
            self.id,
            self.name,
            self.process.pid(),
            self.state().state_word()
        )
    }
}

/// Passes on what the monitor says, for as long as the guest is there.
struct Observer(Weak<Guest>);

impl MonitorObserver for Observer {
    fn event(&self, event: Event) {
        if let Some(guest) = self.0.upgrade() {
            // Whoever watches the monitor sees every event, before what follows from it.
            let mut effects = vec![Effect::Report(event.clone())];
            let follow = guest.machine.lock().on_event(event);
            effects.extend(
                follow
                    .into_iter()
                    .filter(|effect| !matches!(effect, Effect::Report(_))),
            );
            guest.enqueue(effects);
        }
    }

    fn late_reply(&self, _id: CommandId, name: &str, reply: Reply) {
        if let Some(guest) = self.0.upgrade() {
            if !guest.monitor.get().is_some_and(QmpClient::is_in_doubt) {
                *guest.control.lock() = Control::Fine;
            }
            guest.tell(Happening::LateReply(name.to_owned(), reply));
        }
    }

    fn silent(&self, commands: &[String]) {
        if let Some(guest) = self.0.upgrade() {
            *guest.control.lock() = Control::Silent(SystemClock.monotonic_nanos());
            guest.tell(Happening::Silent(commands.to_vec()));
        }
    }

    fn closed(&self, why: Option<&VirtError>) {
        if let Some(guest) = self.0.upgrade() {
            guest.monitor_closed(why.cloned());
        }
    }
}

fn invalid(detail: &str) -> VirtError {
    VirtError::new(ErrorCode::OPERATION_INVALID, detail)
}

/// The first refusal among the answers to `commands`, as an error that names its command.
pub fn require_all(commands: &[Command], replies: Vec<Reply>) -> Result<Vec<Value>> {
    let names = commands.iter().map(|command| command.name.as_ref());
    replies
        .into_iter()
        .zip(names.chain(std::iter::repeat("?")))
        .map(|(reply, name)| reply.map_err(|error: QmpError| error.into_error(name)))
        .collect()
}

/// Whether somebody has sent SIGSTOP to the process: then it hears nothing but SIGKILL.
fn is_stopped(pid: i32) -> bool {
    Stat::of(pid)
        .and_then(|stat| stat.state())
        .is_some_and(|state| state == 'T' || state == 't')
}

/// Connects to a socket that somebody listens on, without ever waiting longer than `deadline`: a listener that does
/// not accept lets others queue only so far.
pub(crate) fn connect_unix(
    what: &str,
    path: &Path,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<UnixStream> {
    let named = || format!("failed to connect to {what} socket '{}'", path.display());
    let address = UnixAddr::new(path).or_system(named)?;
    loop {
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )
        .or_system(|| "cannot make a socket")?;
        match connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address) {
            Ok(()) => return Ok(UnixStream::from(fd)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).or_system(named),
        }
        cancel.check(named())?;
        deadline.check(named())?;
        let step = Duration::from_millis(20);
        SystemClock.sleep(deadline.remaining().unwrap_or(step).min(step), cancel);
    }
}
