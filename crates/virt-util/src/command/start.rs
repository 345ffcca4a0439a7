//! From a [`Command`] to a started [`Child`]: everything the child needs is made ready here, before the fork.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::{Capabilities, Child, Command, Input, Session, Sink};
use crate::error::SystemResult;
use crate::sys::process::PidFd;
use crate::sys::spawn::{self, CapabilityPlan, MESSAGE_LENGTH, Plan, Step, message};
use crate::time::{Cancel, Deadline, Interest, Waited, wait_fd};
use crate::{Result, VirtError};

/// A pipe holds this much without a reader.
const PIPE_CAPACITY: usize = 64 << 10;

/// `CAP_SETPCAP`: the right to shrink the bounding set.
const CAP_SETPCAP: u32 = 8;

/// The full path of a program: a path as it is, a bare name by our `PATH`.
pub fn find_program(program: &Path) -> Result<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| {
            VirtError::system(
                libc::ENOENT,
                format_args!("no program '{}' is in PATH", program.display()),
            )
        })
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

fn c_string(what: &str, text: impl AsRef<OsStr>) -> Result<CString> {
    let text = text.as_ref();
    CString::new(text.as_bytes()).map_err(|_| {
        VirtError::invalid_arg(format_args!(
            "{what} '{}' has a zero byte",
            text.to_string_lossy().replace('\0', "\\0")
        ))
    })
}

/// The child's first three descriptors, and our ends of the pipes among them.
struct Streams {
    /// Kept open until the fork.
    owned: Vec<OwnedFd>,
    /// (descriptor here, number there)
    places: Vec<(i32, i32)>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    fn new(command: &Command) -> Result<Self> {
        let mut streams = Self {
            owned: Vec::new(),
            places: Vec::new(),
            stdin: None,
            stdout: None,
            stderr: None,
        };
        let input = match &command.stdin {
            Input::Null => streams.keep(null(OpenOptions::new().read(true))?),
            Input::Inherit => 0,
            Input::Fd(fd) => fd.as_raw_fd(),
            Input::Pipe => {
                let (reader, writer) = pipe()?;
                streams.stdin = Some(writer);
                streams.keep(reader)
            }
            Input::Bytes(bytes) => {
                let (reader, writer) = pipe()?;
                if bytes.len() <= PIPE_CAPACITY {
                    File::from(writer)
                        .write_all(bytes)
                        .or_system(|| format!("cannot fill the input of '{}'", command.name()))?;
                } else {
                    streams.stdin = Some(writer);
                }
                streams.keep(reader)
            }
        };
        streams.places.push((input, 0));
        let (output, captured) = streams.sink(&command.stdout, 1, input)?;
        streams.stdout = captured;
        streams.places.push((output, 1));
        let (errors, captured) = streams.sink(&command.stderr, 2, output)?;
        streams.stderr = captured;
        streams.places.push((errors, 2));
        Ok(streams)
    }

    fn keep(&mut self, fd: OwnedFd) -> i32 {
        let raw = fd.as_raw_fd();
        self.owned.push(fd);
        raw
    }

    fn sink(&mut self, sink: &Sink, own: i32, stdout: i32) -> Result<(i32, Option<OwnedFd>)> {
        Ok(match sink {
            Sink::Null => (self.keep(null(OpenOptions::new().write(true))?), None),
            Sink::Inherit => (own, None),
            Sink::Fd(fd) => (fd.as_raw_fd(), None),
            Sink::SameAsStdout if own == 2 => (stdout, None),
            Sink::SameAsStdout => {
                return Err(VirtError::invalid_arg("standard output cannot be its own target"));
            }
            Sink::Capture => {
                let (reader, writer) = pipe()?;
                (self.keep(writer), Some(reader))
            }
        })
    }
}

fn null(options: &OpenOptions) -> Result<OwnedFd> {
    let file = options
        .open("/dev/null")
        .or_system(|| "cannot open '/dev/null'")?;
    Ok(file.into())
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).or_system(|| "cannot make a pipe")
}

/// Makes the plan, forks, and follows the child until it runs or is held.
pub(super) fn start(command: &Command, deadline: Deadline, cancel: &Cancel) -> Result<Child> {
    let name = command.name().to_string();
    let streams = Streams::new(command)?;
    let mut fds = streams.places.clone();
    for (fd, target) in &command.fds {
        if *target < 3 || fds.iter().any(|(_, taken)| taken == target) {
            return Err(VirtError::invalid_arg(format_args!(
                "descriptor number {target} for '{name}' is taken or below 3"
            )));
        }
        fds.push((fd.as_fd().as_raw_fd(), *target));
    }
    let plan = plan(command, fds)?;
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .or_system(|| "cannot make a socket pair")?;
    let pid = spawn::start(&plan, theirs.as_fd()).map_err(|error| error.context(format!("'{name}'")))?;
    drop(theirs);
    // Nobody collects children but us, so the number is still this child's.
    let process = PidFd::open(pid)?
        .ok_or_else(|| VirtError::internal(format_args!("'{name}' is gone before it started")))?;
    let control = Control { socket: ours, name };
    let daemon = command.session == Session::Daemon;
    let mut child = Child::new(control.name.clone(), process, !daemon);
    let followed = follow(&control, &mut child, daemon, command.hold, deadline, cancel);
    if let Err(error) = followed {
        child.abandon();
        return Err(error);
    }
    child.stdin = streams.stdin;
    child.stdout = streams.stdout;
    child.stderr = streams.stderr;
    if command.hold {
        child.hold(control);
    }
    Ok(child)
}

fn plan(command: &Command, fds: Vec<(i32, i32)>) -> Result<Plan> {
    let program = find_program(&command.program)?;
    let mut argv = vec![c_string("program", &command.program)?];
    for arg in &command.args {
        argv.push(c_string("argument", arg)?);
    }
    let mut env = Vec::new();
    for (name, value) in &command.env {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        env.push(c_string("environment variable", pair)?);
    }
    let mut labels = Vec::new();
    for label in &command.labels {
        labels.push((
            c_string("attribute file", &label.file)?,
            c_string("security label", &label.value)?,
            label.required,
        ));
    }
    let capabilities = match command.capabilities {
        Capabilities::Inherit => None,
        Capabilities::Only(keep) => {
            let permitted = spawn::permitted_capabilities()?;
            let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(40)
                .min(63);
            Some(CapabilityPlan {
                keep: keep & permitted,
                last,
                drop_bounding: permitted & (1 << CAP_SETPCAP) != 0,
            })
        }
    };
    let user = command.user.as_ref();
    Ok(Plan {
        program: c_string("program", &program)?,
        argv,
        env,
        fds,
        cwd: command
            .cwd
            .as_ref()
            .map(|cwd| c_string("working directory", cwd))
            .transpose()?,
        umask: command.umask,
        limits: command
            .limits
            .iter()
            .map(|limit| (limit.resource, limit.soft, limit.hard))
            .collect(),
        labels,
        groups: user.and_then(|user| user.groups.clone()),
        gid: user.map(|user| user.gid),
        uid: user.map(|user| user.uid),
        capabilities,
        no_new_privileges: command.no_new_privileges,
        death_signal: command.death_signal,
        new_session: command.session == Session::New,
        daemon: command.session == Session::Daemon,
        pid_file: command
            .pid_file
            .as_ref()
            .map(|path| c_string("pid file", path))
            .transpose()?,
        handshake: command.hold,
    })
}

/// Our end of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    name: String,
}

/// What the child says.
enum Word {
    Pid(i32),
    Ready,
    /// The socket was closed: exec has happened, or the child is dead.
    Closed,
}

impl Control {
    fn listen(&self, deadline: Deadline, cancel: &Cancel) -> Result<Word> {
        let mut bytes = [0; MESSAGE_LENGTH];
        loop {
            match wait_fd(&self.socket, Interest::Readable, deadline, cancel)? {
                Waited::Ready => {}
                other => other.ok(format_args!("start of '{}'", self.name))?,
            }
            let got = match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(got) => got,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                // The child died with unread data on its side.
                Err(Errno::ECONNRESET) => 0,
                Err(errno) => {
                    return Err(errno).or_system(|| format!("cannot follow the start of '{}'", self.name));
                }
            };
            if got == 0 {
                return Ok(Word::Closed);
            }
            let (kind, step, value) = spawn::decode(&bytes);
            return match kind {
                message::PID => Ok(Word::Pid(value)),
                message::READY => Ok(Word::Ready),
                message::FAILED if step == Step::Exec as u32 => Err(VirtError::system(
                    value,
                    format_args!("cannot run '{}'", self.name),
                )),
                message::FAILED => Err(VirtError::system(
                    value,
                    format_args!("cannot start '{}': it {}", self.name, Step::text(step)),
                )),
                other => Err(VirtError::internal(format_args!(
                    "'{}' sent the unknown start message {other}",
                    self.name
                ))),
            };
        }
    }

    fn go(&self) -> Result<()> {
        let bytes = spawn::encode(message::GO, 0, 0);
        match send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL) {
            // A child that is gone is found when we listen.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(errno).or_system(|| format!("cannot let '{}' go on", self.name)),
        }
    }

    /// Lets a held child go and waits until its exec has worked or failed.
    pub(super) fn release(self, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        self.go()?;
        match self.listen(deadline, cancel)? {
            Word::Closed => Ok(()),
            _ => Err(self.out_of_turn()),
        }
    }

    fn out_of_turn(&self) -> VirtError {
        VirtError::internal(format_args!("'{}' spoke out of turn while starting", self.name))
    }
}

fn follow(
    control: &Control,
    child: &mut Child,
    daemon: bool,
    hold: bool,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<()> {
    let died = || VirtError::internal(format_args!("'{}' died while it was started", control.name));
    if daemon {
        match control.listen(deadline, cancel)? {
            Word::Pid(pid) => {
                let process = PidFd::open(pid)?.ok_or_else(died)?;
                // The process between us and the daemon ends at once; nothing is left of it.
                let between = child.replace_process(process);
                let _ = between.wait(deadline, cancel)?;
                let _ = between.collect()?;
                control.go()?;
            }
            Word::Closed => return Err(died()),
            Word::Ready => return Err(control.out_of_turn()),
        }
    }
    match (control.listen(deadline, cancel)?, hold) {
        (Word::Ready, true) | (Word::Closed, false) => Ok(()),
        (Word::Closed, true) => Err(died()),
        _ => Err(control.out_of_turn()),
    }
}
