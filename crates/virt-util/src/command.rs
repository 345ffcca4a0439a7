//! Starting programs: a [`Command`] says as data what to start and how, a [`Spawner`] does it.
//!
//! What a program gets is what its command says and nothing else: the environment starts empty, all descriptors but
//! the named ones are closed, signals are at their defaults. [`SystemSpawner`] starts real processes; a [`Recorder`]
//! only notes command lines and gives the answers a test has prepared. [`Spawner::run`] waits for the end and
//! captures output; [`Spawner::spawn`] gives a [`Child`]. With [`Command::hold_before_exec`] the child stops one step
//! before exec until [`Child::release`], so that its parent can label files or move it to a cgroup first.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::error::SystemResult;
use crate::shell::{Layout, format_command};
use crate::time::{Cancel, Deadline};
use crate::{ErrorCode, Result, VirtError};

mod child;
mod record;
mod run;
mod start;

pub use child::Child;
pub use record::Recorder;
pub use run::Output;
pub use start::find_program;

/// Where a program reads from.
#[derive(Debug, Default)]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Null,
    /// Our own.
    Inherit,
    /// These bytes, then the end. With [`Spawner::spawn`] they must fit in a pipe (64 KiB).
    Bytes(Vec<u8>),
    /// This descriptor.
    Fd(OwnedFd),
    /// A pipe whose other end is [`Child::stdin`].
    Pipe,
}

/// Where a program writes to.
#[derive(Debug, Default)]
pub enum Sink {
    /// `/dev/null`.
    #[default]
    Null,
    /// Our own.
    Inherit,
    /// A pipe: collected by [`Spawner::run`], or whose other end is in [`Child`].
    Capture,
    /// This descriptor.
    Fd(OwnedFd),
    /// For standard error: wherever standard output goes.
    SameAsStdout,
}

/// The user a program runs as. Takes root, or naming what one is already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Supplementary groups; `None` keeps ours, which only an unprivileged process wants.
    pub groups: Option<Vec<u32>>,
}

impl User {
    /// User and group with the supplementary groups that the user database lists for them.
    pub fn with_groups_of(uid: u32, gid: u32) -> Result<Self> {
        let user =
            nix::unistd::User::from_uid(uid.into()).or_system(|| format!("cannot look up user {uid}"))?;
        let groups = match user {
            None => vec![gid],
            Some(user) => {
                let name = std::ffi::CString::new(user.name)
                    .map_err(|_| VirtError::internal("user name with a zero byte"))?;
                nix::unistd::getgrouplist(&name, gid.into())
                    .or_system(|| format!("cannot list the groups of user {uid}"))?
                    .into_iter()
                    .map(|group| group.as_raw())
                    .collect()
            }
        };
        Ok(Self {
            uid,
            gid,
            groups: Some(groups),
        })
    }
}

/// Which capabilities a program keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capabilities {
    /// As the kernel decides.
    #[default]
    Inherit,
    /// Those of ours whose bit is set (bit number = capability number), also for a user other than root. Zero: none.
    Only(u64),
}

/// A limit of `setrlimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_…` number.
    pub resource: u32,
    /// What is enforced; `u64::MAX` is "unlimited".
    pub soft: u64,
    /// How far the program may raise it; `u64::MAX` is "unlimited".
    pub hard: u64,
}

impl Limit {
    /// Both limits the same, in the resource's own unit.
    pub fn both(resource: u32, value: u64) -> Self {
        Self {
            resource,
            soft: value,
            hard: value,
        }
    }
}

/// A security label that takes effect at exec: what is written to which attribute file of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecLabel {
    /// `/proc/self/attr/exec` and the like.
    pub file: PathBuf,
    /// SELinux: the context; AppArmor: `exec PROFILE`.
    pub value: OsString,
    /// Whether a failure ends the start (SELinux in permissive mode goes on).
    pub required: bool,
}

impl ExecLabel {
    /// An SELinux context.
    pub fn selinux(context: impl AsRef<OsStr>, enforcing: bool) -> Self {
        Self {
            file: "/proc/self/attr/exec".into(),
            value: context.as_ref().to_owned(),
            required: enforcing,
        }
    }

    /// An AppArmor profile.
    pub fn apparmor(profile: impl AsRef<OsStr>) -> Self {
        let mut value = OsString::from("exec ");
        value.push(profile);
        let own = Path::new("/proc/self/attr/apparmor/exec");
        Self {
            file: if own.exists() {
                own.into()
            } else {
                "/proc/self/attr/exec".into()
            },
            value,
            required: true,
        }
    }
}

/// How a program hangs together with us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// Our child, in our session.
    #[default]
    Ours,
    /// Our child, leader of a session of its own.
    New,
    /// Nobody's child, in a session of its own, working directory `/`: outlives us, and its exit status is lost.
    Daemon,
}

/// The variables that every helper program of libvirt gets: `LC_ALL=C`, and of ours the search paths, home, user and
/// temporary folder, as far as they are set.
pub fn common_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    const PASSED: [&str; 7] = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "TMPDIR",
    ];
    let passed = PASSED
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    std::iter::once(("LC_ALL", OsString::from("C"))).chain(passed)
}

/// What to start.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Input,
    stdout: Sink,
    stderr: Sink,
    fds: Vec<(OwnedFd, RawFd)>,
    limits: Vec<Limit>,
    user: Option<User>,
    capabilities: Capabilities,
    umask: Option<u32>,
    labels: Vec<ExecLabel>,
    session: Session,
    pid_file: Option<PathBuf>,
    hold: bool,
    no_new_privileges: bool,
    death_signal: Option<i32>,
    capture_limit: usize,
}

impl Command {
    /// A program by path, or by a bare name that is looked for in our `PATH`. Nothing comes from us: no environment,
    /// no descriptors, `/dev/null` on the first three.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Input::Null,
            stdout: Sink::Null,
            stderr: Sink::Null,
            fds: Vec::new(),
            limits: Vec::new(),
            user: None,
            capabilities: Capabilities::Inherit,
            umask: None,
            labels: Vec::new(),
            session: Session::Ours,
            pid_file: None,
            hold: false,
            no_new_privileges: false,
            death_signal: None,
            capture_limit: 16 << 20,
        }
    }

    /// Appends an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Appends arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, replacing an earlier value.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let (name, value) = (name.as_ref(), value.as_ref().to_owned());
        match self.env.iter_mut().find(|(have, _)| have == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name.to_owned(), value)),
        }
        self
    }

    /// Passes one of our environment variables on, if we have it.
    pub fn env_pass(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        if let Some(value) = std::env::var_os(&name) {
            self.env(name, value);
        }
        self
    }

    /// The variables of [`common_environment`].
    pub fn env_pass_common(&mut self) -> &mut Self {
        for (name, value) in common_environment() {
            self.env(name, value);
        }
        self
    }

    /// Sets the working directory.
    pub fn cwd(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.cwd = Some(folder.into());
        self
    }

    /// Sets where it reads from.
    pub fn stdin(&mut self, input: Input) -> &mut Self {
        self.stdin = input;
        self
    }

    /// Sets where it writes to.
    pub fn stdout(&mut self, sink: Sink) -> &mut Self {
        self.stdout = sink;
        self
    }

    /// Sets where it writes errors to.
    pub fn stderr(&mut self, sink: Sink) -> &mut Self {
        self.stderr = sink;
        self
    }

    /// Passes `fd`, as number `target` (3 or more) in the program.
    pub fn pass_fd(&mut self, fd: OwnedFd, target: RawFd) -> &mut Self {
        self.fds.push((fd, target));
        self
    }

    /// Passes `fd` under the next number that no earlier [`Command::pass_fd`] took, and says which.
    pub fn pass_next_fd(&mut self, fd: OwnedFd) -> RawFd {
        let target = self
            .fds
            .iter()
            .map(|(_, target)| target.saturating_add(1))
            .max()
            .unwrap_or(3);
        self.fds.push((fd, target));
        target
    }

    /// Sets a resource limit.
    pub fn limit(&mut self, limit: Limit) -> &mut Self {
        self.limits.push(limit);
        self
    }

    /// Sets the user to run as.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.user = Some(user);
        self
    }

    /// Sets what capabilities it keeps.
    pub fn capabilities(&mut self, capabilities: Capabilities) -> &mut Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the file mode mask.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = Some(mask);
        self
    }

    /// Adds a security label.
    pub fn label(&mut self, label: ExecLabel) -> &mut Self {
        self.labels.push(label);
        self
    }

    /// Sets how it hangs together with us.
    pub fn session(&mut self, session: Session) -> &mut Self {
        self.session = session;
        self
    }

    /// The program's process takes the lock on this file, as [`crate::lock::PidFile`] does, and holds it for life.
    pub fn pid_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.pid_file = Some(path.into());
        self
    }

    /// Stops the child one step before exec: it has its user, limits and descriptors, and waits for
    /// [`Child::release`].
    pub fn hold_before_exec(&mut self) -> &mut Self {
        self.hold = true;
        self
    }

    /// The program cannot gain privileges through set-user-id files.
    pub fn no_new_privileges(&mut self) -> &mut Self {
        self.no_new_privileges = true;
        self
    }

    /// The kernel sends it `signal` when the thread that started it ends.
    pub fn death_signal(&mut self, signal: i32) -> &mut Self {
        self.death_signal = Some(signal);
        self
    }

    /// Most bytes of standard output that [`Spawner::run`] takes before it gives up (16 MiB unless set).
    pub fn capture_limit(&mut self, bytes: usize) -> &mut Self {
        self.capture_limit = bytes;
        self
    }

    /// The program as it was given.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments after the program.
    pub fn get_args(&self) -> &[OsString] {
        &self.args
    }

    /// The environment.
    pub fn get_env(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// The passed descriptors: descriptor here, number there.
    pub fn get_fds(&self) -> impl Iterator<Item = (RawFd, RawFd)> {
        self.fds
            .iter()
            .map(|(fd, target)| (fd.as_fd().as_raw_fd(), *target))
    }

    /// The short name for messages.
    fn name(&self) -> std::path::Display<'_> {
        self.program.display()
    }

    /// The command line as a shell would take it: `NAME=value … program args`, one line.
    pub fn to_shell_line(&self) -> String {
        self.to_shell(Layout::OneLine)
    }

    /// As libvirt prints it to logs and golden files: one variable, or one option with what belongs to it, per line,
    /// each but the last ending in ` \`.
    pub fn to_shell_lines(&self) -> String {
        self.to_shell(Layout::Lines)
    }

    fn to_shell(&self, layout: Layout) -> String {
        let environment: Vec<String> = self
            .env
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        let words: Vec<_> = std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(OsStr::to_string_lossy)
            .collect();
        format_command(&environment, &words, layout)
    }
}

/// Who starts programs: the system, or a test.
pub trait Spawner: Send + Sync {
    /// Starts `command` and returns once it runs (or is held before exec). What stops it from starting is the error,
    /// which names program and step. `deadline` and `cancel` bound the start, not the program's life.
    fn spawn(&self, command: &Command, deadline: Deadline, cancel: &Cancel) -> Result<Child>;

    /// Runs `command` to its end, with captured output. At `deadline` or `cancel` it is killed. A program that ran
    /// and failed is not an error here: see [`Output::check`].
    fn run(&self, command: &Command, deadline: Deadline, cancel: &Cancel) -> Result<Output>;
}

/// Starts real processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSpawner;

impl Spawner for SystemSpawner {
    fn spawn(&self, command: &Command, deadline: Deadline, cancel: &Cancel) -> Result<Child> {
        start::start(command, deadline, cancel)
    }

    fn run(&self, command: &Command, deadline: Deadline, cancel: &Cancel) -> Result<Output> {
        if command.session == Session::Daemon || command.hold {
            return Err(VirtError::new(
                ErrorCode::INTERNAL_ERROR,
                format_args!(
                    "'{}' is to run on its own: nobody can wait for it",
                    command.name()
                ),
            ));
        }
        let child = start::start(command, deadline, cancel)?;
        run::to_the_end(command, child, deadline, cancel)
    }
}

#[cfg(test)]
mod tests;
