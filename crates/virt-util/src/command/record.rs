//! The spawner of tests: starts nothing, notes everything.

use parking_lot::Mutex;

use super::{Child, Command, Output, Spawner};
use crate::time::{Cancel, Deadline};
use crate::{ErrorCode, Result, VirtError};

/// Notes command lines and gives prepared answers; a command without one succeeds and prints nothing.
///
/// ```
/// use virt_util::command::{Command, Output, Recorder, Spawner};
/// use virt_util::time::{Cancel, Deadline};
///
/// let recorder = Recorder::new();
/// recorder.answer("nft list", Output::ok("table inet x {}\n"));
/// let mut command = Command::new("nft");
/// command.args(["list", "ruleset"]);
/// let output = recorder.run(&command, Deadline::NONE, &Cancel::never()).unwrap();
/// assert_eq!(output.stdout, b"table inet x {}\n");
/// assert_eq!(recorder.lines(), ["nft list ruleset"]);
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    lines: Mutex<Vec<String>>,
    answers: Mutex<Vec<(String, Output)>>,
}

impl Recorder {
    /// One that has noted nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commands whose shell line starts with `prefix` get `output` from now on; the longest prefix wins.
    pub fn answer(&self, prefix: impl Into<String>, output: Output) {
        self.answers.lock().push((prefix.into(), output));
    }

    /// The shell lines so far, in order.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// The shell lines so far, forgotten afterwards.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock())
    }

    fn note(&self, command: &Command) -> String {
        let line = command.to_shell_line();
        self.lines.lock().push(line.clone());
        line
    }
}

impl Spawner for Recorder {
    fn spawn(&self, command: &Command, _deadline: Deadline, _cancel: &Cancel) -> Result<Child> {
        self.note(command);
        Err(VirtError::new(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!("'{}' was only noted", command.program().display()),
        ))
    }

    fn run(&self, command: &Command, _deadline: Deadline, _cancel: &Cancel) -> Result<Output> {
        let line = self.note(command);
        let answers = self.answers.lock();
        let best = answers
            .iter()
            .filter(|(prefix, _)| line.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len());
        Ok(best.map_or_else(|| Output::ok(""), |(_, output)| output.clone()))
    }
}
