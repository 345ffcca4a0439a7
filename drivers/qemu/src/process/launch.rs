//! Starting a guest.
//!
//! The order is libvirt's, and each step leaves the host so that the next start, here or by stock libvirt, can clean up
//! behind it: folders, sockets, key, log; the process, held one step before exec; status file; what needs its process
//! number (cgroup, labels); exec; monitor; setup in one batch; status file; processors.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use virt_util::command::{Capabilities, Child, ExecLabel, Limit, Session, Sink, Spawner, User};
use virt_util::error::SystemResult as _;
use virt_util::reactor::ReactorHandle;
use virt_util::sys::process::PidFd;
use virt_util::time::{Cancel, Deadline};
use virt_util::types::{DomainRunningReason, DomainShutoffReason};
use virt_util::{ErrorCode, Result, VirtError};

use super::guest::{Guest, GuestWatcher};
use super::layout::GuestPaths;
use super::log::{GuestLog, StartHeader};
use super::state::{Ending, GuestState, Machine};
use crate::monitor::{Command, Reply};
use crate::plan::args::{CommandLine, DescriptorUse};

/// How long the steps up to exec may take: they are the kernel's.
const SPAWN_LIMIT: Duration = Duration::from_secs(30);

/// How long a process whose monitor is gone may take to end before its start is reported as failed for that.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

virt_util::fail_points! {
    /// The steps of a start. The process is killed at each by a test; afterwards either the guest runs and is found
    /// again, or there is none.
    pub const FAIL_POINTS;
    PREPARE = "qemu.launch.prepare";
    SPAWN = "qemu.launch.spawn";
    HELD = "qemu.launch.held";
    EXEC = "qemu.launch.exec";
    CONNECT = "qemu.launch.connect";
    SET_UP = "qemu.launch.set-up";
    RUN = "qemu.launch.run";
    DONE = "qemu.launch.done";
}

/// Everything that a start needs.
#[derive(Debug)]
pub struct Launch {
    /// The id of this run.
    pub id: i32,
    /// The guest's name.
    pub name: String,
    /// The names of what belongs to it.
    pub paths: GuestPaths,
    /// What is started.
    pub command: CommandLine,
    /// Descriptors that only the driver can open, for what the command line wants them for.
    pub given: Vec<(DescriptorUse, OwnedFd)>,
    /// Who it runs as.
    pub user: Option<User>,
    /// What it may do beyond that.
    pub capabilities: Capabilities,
    /// Its resource limits.
    pub limits: Vec<Limit>,
    /// Its security labels.
    pub labels: Vec<ExecLabel>,
    /// The key for its secrets.
    pub master_key: Option<Vec<u8>>,
    /// The facts for its log.
    pub header: StartHeader,
    /// Empty the log first: for drivers whose logs nobody rotates.
    pub truncate_log: bool,
    /// Monitor commands before the processors run, sent at once.
    pub setup: Vec<Command>,
    /// What a shutdown leads to.
    pub on_poweroff: Ending,
    /// What a crash leads to.
    pub on_crash: Ending,
    /// How long QEMU may take until its monitor answers: longer for guests whose memory is allocated first.
    pub monitor_limit: Duration,
    /// Let the processors run.
    pub run: bool,
}

/// The driver's part in a start. Each may fail, and ends the start then.
pub trait LaunchSteps {
    /// The process exists and is held before exec: write the status file.
    ///
    /// # Errors
    /// The driver's.
    fn spawned(&mut self, guest: &Arc<Guest>) -> Result<()>;

    /// Move the process to its cgroup, label what it opens.
    ///
    /// # Errors
    /// The driver's.
    fn before_exec(&mut self, guest: &Arc<Guest>) -> Result<()> {
        let _ = guest;
        Ok(())
    }

    /// The setup's answers, in the order of its commands. Write the status file with what they tell.
    ///
    /// # Errors
    /// The driver's.
    fn set_up(&mut self, guest: &Arc<Guest>, replies: Vec<Reply>) -> Result<()>;
}

/// Starts a guest. Returns when its processors run, or with [`Launch::run`] unset when they could. What fails leaves
/// nothing behind but the log.
///
/// # Errors
/// What failed; for a QEMU that ends by itself, with its last words.
pub fn launch(
    launch: Launch,
    spawner: &dyn Spawner,
    reactor: &ReactorHandle,
    watcher: Arc<dyn GuestWatcher>,
    steps: &mut dyn LaunchSteps,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Arc<Guest>> {
    PREPARE.pass()?;
    let paths = launch.paths.clone();
    let prepared = prepare(&launch).and_then(|(log, command)| {
        SPAWN.pass()?;
        let child = spawner.spawn(&command, deadline.at_most(SPAWN_LIMIT), cancel)?;
        Ok((log, child))
    });
    let (log, mut child) = prepared.inspect_err(|_| paths.clean_up())?;
    let mut machine = Machine::new(GuestState::starting_up());
    machine.on_poweroff = launch.on_poweroff;
    machine.on_crash = launch.on_crash;
    let guest = child
        .process()
        .try_clone()
        .and_then(|process: PidFd| {
            Guest::new(
                (launch.id, &launch.name),
                launch.paths,
                process,
                log,
                machine,
                reactor,
                watcher,
            )
        })
        .inspect_err(|_| {
            let _ = child.kill(Deadline::after(EXIT_LIMIT));
            paths.clean_up();
        })?;
    let wanted = Wanted {
        setup: launch.setup,
        monitor_limit: launch.monitor_limit,
        run: launch.run,
    };
    let result = bring_up(&guest, &mut child, wanted, steps, deadline, cancel);
    match result {
        Ok(()) => Ok(guest),
        Err(error) => {
            // A held child ends when nobody holds it any more.
            drop(child);
            if let Err(second) = guest.destroy(
                DomainShutoffReason::FAILED,
                false,
                Deadline::NONE,
                &Cancel::never(),
            ) {
                tracing::warn!(guest = guest.name(), "after a failed start: {second:#}");
            }
            Err(error)
        }
    }
}

/// What is left to do once the process exists.
struct Wanted {
    setup: Vec<Command>,
    monitor_limit: Duration,
    run: bool,
}

fn bring_up(
    guest: &Arc<Guest>,
    child: &mut Child,
    wanted: Wanted,
    steps: &mut dyn LaunchSteps,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<()> {
    HELD.pass()?;
    steps.spawned(guest)?;
    steps.before_exec(guest)?;
    EXEC.pass()?;
    child.release(deadline.at_most(SPAWN_LIMIT), cancel)?;
    CONNECT.pass()?;
    let replies = first_words(
        guest,
        wanted.setup,
        deadline.at_most(wanted.monitor_limit),
        cancel,
    )
    .map_err(|error| why_no_monitor(guest, error))?;
    SET_UP.pass()?;
    steps.set_up(guest, replies)?;
    RUN.pass()?;
    if wanted.run {
        guest
            .resume(DomainRunningReason::BOOTED, deadline, cancel)
            .map_err(|error| why_no_monitor(guest, error))?;
    } else {
        guest.start_paused();
    }
    DONE.pass()
}

fn first_words(
    guest: &Arc<Guest>,
    setup: Vec<Command>,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Vec<Reply>> {
    guest.connect(deadline, cancel)?;
    // Without a command of the driver's, one of ours shows that QEMU is there.
    let probe = setup.is_empty();
    let commands = if probe {
        vec![Command::new("query-status")]
    } else {
        setup
    };
    let mut replies = guest.execute_all(commands, deadline, cancel)?;
    if probe {
        replies.clear();
    }
    Ok(replies)
}

/// If the process has ended, that is what happened, and its last words say why.
fn why_no_monitor(guest: &Guest, error: VirtError) -> VirtError {
    let in_time = matches!(
        error.code(),
        ErrorCode::OPERATION_TIMEOUT | ErrorCode::OPERATION_ABORTED
    );
    let patience = if in_time {
        Deadline::now()
    } else {
        Deadline::after(EXIT_LIMIT)
    };
    let _ = guest.process().wait(patience, &Cancel::never());
    match guest.process().has_exited() {
        Ok(true) => guest
            .log_error("process exited while connecting to monitor")
            .caused_by(error),
        _ => error,
    }
}

/// Everything up to the process itself.
fn prepare(launch: &Launch) -> Result<(GuestLog, virt_util::command::Command)> {
    let owner = launch.user.as_ref().map(|user| (user.uid, user.gid));
    launch.paths.prepare(owner)?;
    if let Some(key) = &launch.master_key {
        write_master_key(&launch.paths.master_key, key, owner)?;
    }
    let mut log = GuestLog::open(&launch.paths.log, launch.truncate_log)?;
    log.starting_up(&launch.header, &launch.command.to_shell())?;
    let mut command = virt_util::command::Command::new(&launch.command.program);
    command
        .args(&launch.command.arguments)
        .session(Session::Daemon)
        .pid_file(&launch.paths.pid_file)
        .hold_before_exec()
        .umask(0o002)
        .stdout(Sink::Fd(log.descriptor()?))
        .stderr(Sink::SameAsStdout)
        .capabilities(launch.capabilities);
    for (name, value) in &launch.command.environment {
        command.env(name, value);
    }
    for limit in &launch.limits {
        command.limit(*limit);
    }
    for label in &launch.labels {
        command.label(label.clone());
    }
    if let Some(user) = &launch.user {
        command.user(user.clone());
    }
    for descriptor in &launch.command.descriptors {
        let fd = open(&descriptor.usage, &launch.given)?;
        command.pass_fd(fd, descriptor.number);
    }
    Ok((log, command))
}

fn write_master_key(path: &Path, key: &[u8], owner: Option<(u32, u32)>) -> Result<()> {
    let named = || "cannot write the guest's master key";
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .or_system(named)?;
    file.write_all(key).or_system(named)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid)).or_system(named)?;
    }
    Ok(())
}

fn open(usage: &DescriptorUse, given: &[(DescriptorUse, OwnedFd)]) -> Result<OwnedFd> {
    if let Some((_, fd)) = given.iter().find(|(known, _)| known == usage) {
        return fd
            .try_clone()
            .or_system(|| "cannot duplicate a descriptor for QEMU");
    }
    match usage {
        DescriptorUse::ListenSocket { path, .. } => listen(Path::new(path)),
        DescriptorUse::ChardevFile { path, append, .. } | DescriptorUse::ChardevLog { path, append, .. } => {
            OpenOptions::new()
                .write(true)
                .create(true)
                .append(*append)
                .truncate(!*append)
                .mode(0o600)
                .open(path)
                .map(OwnedFd::from)
                .or_system(|| format!("cannot make file '{path}'"))
        }
        DescriptorUse::VhostScsi { .. } => open_device("/dev/vhost-scsi"),
        DescriptorUse::VhostVsock { .. } => open_device("/dev/vhost-vsock"),
        other => Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("nothing here opens a descriptor for {other:?}"),
        )),
    }
}

/// A back end of the kernel.
fn open_device(path: &str) -> Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(OwnedFd::from)
        .or_system(|| format!("cannot open '{path}'"))
}

/// A socket as QEMU would make it with the umask that it runs with.
fn listen(path: &Path) -> Result<OwnedFd> {
    let named = || format!("Unable to listen on '{}'", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(VirtError::io(
                &error,
                format_args!("cannot remove '{}'", path.display()),
            ));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).or_system(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).or_system(named)?;
    Ok(listener.into())
}
