//! Running a program to its end: feeding it, collecting what it says, and ending it in time.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Child, Command, Input};
use crate::error::SystemResult;
use crate::sys::process::Exit;
use crate::time::{Cancel, Deadline, PROGRESS_EVERY};
use crate::{ErrorCode, Result, VirtError};

/// Of standard error the last this many bytes are kept.
const STDERR_KEPT: usize = 64 << 10;

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output, if captured.
    pub stdout: Vec<u8>,
    /// The end of its standard error, if captured: 64 KiB at most.
    pub stderr: Vec<u8>,
}

impl Output {
    /// A successful run that printed `stdout`.
    pub fn ok(stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            exit: Exit::Code(0),
            stdout: stdout.into(),
            stderr: Vec::new(),
        }
    }

    /// A failed run that printed `stderr`.
    pub fn failed(code: i32, stderr: impl Into<Vec<u8>>) -> Self {
        Self {
            exit: Exit::Code(code),
            stdout: Vec::new(),
            stderr: stderr.into(),
        }
    }

    /// An exit other than 0 as an error that names the command line, the status and what was said on standard error.
    pub fn check(self, command: &Command) -> Result<Self> {
        if self.exit.success() {
            return Ok(self);
        }
        let said = String::from_utf8_lossy(&self.stderr);
        let said = said.trim_end();
        let colon = if said.is_empty() { "" } else { ": " };
        Err(VirtError::internal(format_args!(
            "{} ended with {}{colon}{said}",
            command.to_shell_line(),
            self.exit
        )))
    }
}

/// Reads and writes until all pipes are closed, then collects. The child is killed if that takes too long or yields
/// too much.
pub(super) fn to_the_end(
    command: &Command,
    mut child: Child,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Output> {
    let result = exchange(command, &mut child, deadline, cancel).and_then(|(stdout, stderr)| {
        match child.wait(deadline, cancel)? {
            Some(exit) => Ok(Output { exit, stdout, stderr }),
            None => Err(out_of_time(command, cancel)),
        }
    });
    if result.is_err() {
        child.abandon();
    }
    result
}

fn out_of_time(command: &Command, cancel: &Cancel) -> VirtError {
    let code = if cancel.is_set() {
        ErrorCode::OPERATION_ABORTED
    } else {
        ErrorCode::OPERATION_TIMEOUT
    };
    VirtError::new(
        code,
        format_args!("'{}' did not end in time and was killed", command.name()),
    )
}

/// One of our ends of the child's pipes.
struct Reader {
    file: File,
    got: Vec<u8>,
}

impl Reader {
    fn new(fd: OwnedFd) -> Self {
        Self {
            file: File::from(fd),
            got: Vec::new(),
        }
    }

    /// Reads once; `false` at the end.
    fn read(&mut self, name: &str) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        loop {
            return match self.file.read(&mut buffer) {
                Ok(0) => Ok(false),
                Ok(count) => {
                    self.got.extend_from_slice(buffer.get(..count).unwrap_or(&[]));
                    Ok(true)
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(VirtError::io(&error, format_args!("cannot read from '{name}'"))),
            };
        }
    }
}

fn exchange(
    command: &Command,
    child: &mut Child,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let name = command.name().to_string();
    let mut input = child.stdin.take().map(File::from);
    if let Some(input) = &input {
        // A child that does not read must not block us.
        nix::fcntl::fcntl(
            input,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .or_system(|| "cannot make a pipe non-blocking")?;
    }
    let mut to_write: &[u8] = match &command.stdin {
        Input::Bytes(bytes) => bytes,
        _ => &[],
    };
    let mut stdout = child.stdout.take().map(Reader::new);
    let mut stderr = child.stderr.take().map(Reader::new);
    let (mut out_open, mut err_open) = (stdout.is_some(), stderr.is_some());
    let cancel_fd = cancel.fd()?;
    while input.is_some() || out_open || err_open {
        let mut polled = Vec::with_capacity(4);
        let mut roles = Vec::with_capacity(4);
        if let Some(input) = &input {
            polled.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT));
            roles.push(Role::Input);
        }
        if let (Some(reader), true) = (&stdout, out_open) {
            polled.push(PollFd::new(reader.file.as_fd(), PollFlags::POLLIN));
            roles.push(Role::Stdout);
        }
        if let (Some(reader), true) = (&stderr, err_open) {
            polled.push(PollFd::new(reader.file.as_fd(), PollFlags::POLLIN));
            roles.push(Role::Stderr);
        }
        if let Some(fd) = cancel_fd {
            polled.push(PollFd::new(fd, PollFlags::POLLIN));
            roles.push(Role::Cancel);
        }
        // A run that has a limit ends anyway: until then it counts as moving.
        let until = match deadline.is_none() || cancel.is_never() {
            true => deadline,
            false => deadline.at_most(PROGRESS_EVERY),
        };
        match poll(&mut polled, timeout(until)) {
            Ok(0) if !deadline.is_none() && !deadline.has_passed() => cancel.progress(),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).or_system(|| "cannot poll"),
        }
        if cancel.is_set() || deadline.has_passed() {
            return Err(out_of_time(command, cancel));
        }
        let ready: Vec<Role> = polled
            .iter()
            .zip(&roles)
            .filter(|(fd, _)| fd.revents().is_none_or(|events| !events.is_empty()))
            .map(|(_, role)| *role)
            .collect();
        for role in ready {
            match role {
                Role::Input => {
                    if let Some(file) = &mut input {
                        match file.write(to_write) {
                            Ok(count) => to_write = to_write.get(count..).unwrap_or(&[]),
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                            // It does not want the rest: its own affair.
                            Err(_) => to_write = &[],
                        }
                    }
                    if to_write.is_empty() {
                        input = None;
                    }
                }
                Role::Stdout => {
                    if let Some(reader) = &mut stdout {
                        out_open = reader.read(&name)?;
                        if reader.got.len() > command.capture_limit {
                            return Err(VirtError::internal(format_args!(
                                "'{name}' printed more than {} bytes and was killed",
                                command.capture_limit
                            )));
                        }
                    }
                }
                Role::Stderr => {
                    if let Some(reader) = &mut stderr {
                        err_open = reader.read(&name)?;
                        let surplus = reader.got.len().saturating_sub(STDERR_KEPT);
                        reader.got.drain(..surplus);
                    }
                }
                Role::Cancel => {}
            }
        }
    }
    let got = |reader: Option<Reader>| reader.map(|reader| reader.got).unwrap_or_default();
    Ok((got(stdout), got(stderr)))
}

#[derive(Clone, Copy)]
enum Role {
    Input,
    Stdout,
    Stderr,
    Cancel,
}

fn timeout(deadline: Deadline) -> PollTimeout {
    let left = match deadline.remaining() {
        None => return PollTimeout::NONE,
        Some(left) => left + Duration::from_micros(999),
    };
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
