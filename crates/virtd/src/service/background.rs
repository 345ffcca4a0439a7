//! `--daemon`: the daemon runs on without a terminal, and the command that started it ends when it is ready, or with
//! the reason why it is not.
//!
//! The parent starts the program once more, with the same arguments. The child's standard output is a pipe that the
//! parent reads: one byte, 0 when ready, or the number of the [`Step`] that failed. Until then the child complains to
//! the parent's standard error; afterwards it has neither.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use virt_util::error::SystemResult;
use virt_util::{Result, VirtError};

use super::startup::Step;

/// In the child's environment: the process number of its parent.
const VARIABLE: &str = "VIRTD_BACKGROUND_OF";

/// What a process that was asked to run in the background is.
pub enum Role {
    /// The one that the user started: it has seen its child become ready or fail, and ends with this.
    Parent(ExitCode),
    /// The one that stays.
    Child(Waiting),
}

/// The child's way to its parent.
#[derive(Debug)]
pub struct Waiting {
    pipe: Option<File>,
}

/// Divides the process. `argv` is the whole command line. To be called before there is a second thread.
///
/// # Errors
/// `SYSTEM_ERROR` if the child cannot be started.
pub fn divide(argv: &[std::ffi::OsString]) -> Result<Role> {
    if is_child() {
        return Ok(Role::Child(Waiting::detach()?));
    }
    start_child(argv).map(Role::Parent)
}

/// Whether the parent of this process divided itself.
fn is_child() -> bool {
    let parent = std::env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse::<i32>().ok());
    parent == Some(nix::unistd::getppid().as_raw())
}

fn start_child(argv: &[std::ffi::OsString]) -> Result<ExitCode> {
    let (mut reader, writer) =
        std::io::pipe().map_err(|error| VirtError::io(&error, "cannot create a pipe"))?;
    let (name, arguments) = argv
        .split_first()
        .ok_or_else(|| VirtError::internal("the command line is empty"))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(writer);
    let child = command
        .spawn()
        .map_err(|error| VirtError::io(&error, "cannot start the daemon in the background"))?;
    // Our copy of the pipe's other end must not keep it open.
    drop(command);
    let mut status = [0];
    let heard = reader.read(&mut status);
    let name = name.to_string_lossy();
    Ok(match heard {
        Ok(1) if status == [0] => ExitCode::SUCCESS,
        Ok(1) => {
            let [number] = status;
            let why = Step::from_number(number).map_or("it failed", Step::text);
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
        Ok(_) => {
            let mut child = child;
            let ended = child
                .wait()
                .map_or_else(|error| error.to_string(), |status| status.to_string());
            eprintln!("{name}: the daemon ended before it was ready ({ended})");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{name}: cannot learn whether the daemon runs: {error}");
            ExitCode::FAILURE
        }
    })
}

impl Waiting {
    /// Leaves the terminal and the folder.
    fn detach() -> Result<Self> {
        nix::unistd::setsid().or_system(|| "cannot leave the terminal")?;
        nix::unistd::chdir("/").or_system(|| "cannot change to the root folder")?;
        let pipe = std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| VirtError::io(&error, "cannot keep the pipe to the parent"))?;
        nix::unistd::dup2_stdout(null()?).or_system(|| "cannot give up standard output")?;
        Ok(Self {
            pipe: Some(File::from(pipe)),
        })
    }

    /// Tells the parent that the daemon serves, and gives up its standard error.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if standard error cannot be given up.
    pub fn ready(mut self) -> Result<()> {
        self.tell(0);
        nix::unistd::dup2_stderr(null()?).or_system(|| "cannot give up standard error")
    }

    /// Tells the parent what failed.
    pub fn failed(mut self, step: Step) {
        self.tell(step as u8);
    }

    fn tell(&mut self, status: u8) {
        if let Some(mut pipe) = self.pipe.take() {
            // A parent that was killed does not want to know.
            let _ = pipe.write_all(&[status]);
        }
    }
}

fn null() -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| VirtError::io(&error, "cannot open /dev/null"))
}
