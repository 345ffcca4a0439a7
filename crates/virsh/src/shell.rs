//! The shell's state and everything commands do with the outside: print, fail, connect.

use crate::command::{Action, Group};
use crate::grammar::{self, Invocation};
use crate::log::Log;
use crate::numbers;
use crate::options::Options;
use crate::output::Format;
use serde_json::Value;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use virt_api::Connect;
use virt_util::types::ConnectCloseReason;
use virt_util::{ErrorCode, ErrorDomain, VirtError};

/// How a command went.
pub type Outcome = Result<(), Failure>;

/// Why a command failed: what the shell says about it, then what the library said.
#[derive(Debug, Default)]
pub struct Failure {
    /// The shell's own sentences, each printed as an error of its own.
    pub said: Vec<String>,
    /// The error from below.
    pub cause: Option<VirtError>,
}

impl Failure {
    /// Nothing more to say: everything has been printed.
    pub fn silent() -> Self {
        Self::default()
    }
}

impl From<VirtError> for Failure {
    fn from(cause: VirtError) -> Self {
        Self {
            said: Vec::new(),
            cause: Some(cause),
        }
    }
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self {
            said: vec![sentence],
            cause: None,
        }
    }
}

impl From<&str> for Failure {
    fn from(sentence: &str) -> Self {
        sentence.to_owned().into()
    }
}

/// Says what failed in the user's terms before the library's error is printed.
pub trait OrSay<T> {
    /// Adds the sentence.
    fn or_say<S: Into<String>>(self, sentence: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> OrSay<T> for Result<T, E> {
    fn or_say<S: Into<String>>(self, sentence: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|error| {
            let mut failure = error.into();
            failure.said.push(sentence().into());
            failure
        })
    }
}

/// Message levels of `-d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Steps inside a command.
    Debug = 0,
    /// What was understood.
    Info = 1,
    /// Unused by virsh itself.
    Notice = 2,
    /// Something is odd.
    Warning = 3,
    /// Something failed.
    Error = 4,
}

/// virsh while it runs.
pub struct Shell {
    /// The command table.
    pub groups: &'static [Group],
    /// What the program was started with.
    pub options: Options,
    /// The program's name in messages.
    pub program: String,
    /// Whether lines are read from a user.
    pub interactive: bool,
    /// Set by `quit`.
    pub leaving: bool,
    uri: Option<String>,
    read_only: bool,
    connection: Option<Connect>,
    disconnected: Arc<AtomicBool>,
    level: u8,
    log: Log,
    out: BufWriter<Stdout>,
    format: Option<Format>,
}

impl Shell {
    /// A shell that has not connected to anything.
    pub fn new(groups: &'static [Group], options: Options, program: String) -> Self {
        Self {
            groups,
            uri: options.connect.clone(),
            read_only: options.read_only,
            level: options.debug.unwrap_or(Level::Error as u8),
            options,
            program,
            interactive: false,
            leaving: false,
            connection: None,
            disconnected: Arc::new(AtomicBool::new(false)),
            log: Log::none(),
            out: BufWriter::new(io::stdout()),
            format: None,
        }
    }

    /// Opens the log and reads the environment's debug settings. `false`: the log cannot be written.
    pub fn prepare(&mut self) -> Result<(), String> {
        let path = self
            .options
            .log
            .clone()
            .or_else(|| std::env::var("VIRSH_LOG_FILE").ok().filter(|p| !p.is_empty()));
        if let Some(path) = path {
            self.log = Log::open(&path, &self.program)?;
        }
        if self.level == Level::Error as u8
            && let Ok(text) = std::env::var("VIRSH_DEBUG")
        {
            match numbers::int(&text, 10).and_then(|level| u8::try_from(level).ok()) {
                Some(level @ 0..=4) => self.level = level,
                _ => self.error("VIRSH_DEBUG not set with a valid numeric value"),
            }
        }
        for warning in std::mem::take(&mut self.options.warnings) {
            self.error(&warning);
        }
        Ok(())
    }

    // Printing

    /// Prints a result.
    pub fn print(&mut self, text: impl AsRef<str>) {
        // A reader that went away is no failure of the command.
        let _ = self.out.write_all(text.as_ref().as_bytes());
    }

    /// Prints what `-q` suppresses.
    pub fn extra(&mut self, text: impl AsRef<str>) {
        if !self.options.quiet {
            self.print(text);
        }
    }

    /// Lets everything printed reach the terminal.
    pub fn flush(&mut self) {
        let _ = self.out.flush();
    }

    /// Prints an error.
    pub fn error(&mut self, text: &str) {
        self.flush();
        self.log.write(Level::Error, text);
        let _ = writeln!(io::stderr(), "error: {text}");
    }

    /// Prints a message for whoever asked for that level with `-d`.
    pub fn debug(&mut self, level: Level, text: impl FnOnce() -> String) {
        if (level as u8) < self.level {
            return;
        }
        let text = text();
        self.flush();
        self.log.write(level, &text);
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Prints why a command failed.
    pub fn report(&mut self, failure: &Failure) {
        for sentence in &failure.said {
            self.error(sentence);
        }
        if let Some(cause) = &failure.cause {
            self.error(cause.message());
            if let Some(hint) = cause.hint() {
                self.flush();
                let _ = writeln!(io::stderr(), "hint: {hint}");
            }
        }
    }

    /// The machine-readable format asked for.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Prints `value` if a machine-readable format was asked for; says whether it did.
    pub fn structured(&mut self, value: impl FnOnce() -> Value) -> Result<bool, Failure> {
        let Some(format) = self.format else {
            return Ok(false);
        };
        let text = format.render(&value())?;
        self.print(text);
        Ok(true)
    }

    // Commands

    /// Parses one argument as a batch of commands, several as one command.
    pub fn parse(&mut self, words: Vec<String>) -> Result<Vec<Invocation>, String> {
        let groups = self.groups;
        let mut trace = Vec::new();
        let mut keep = |line| trace.push(line);
        let parsed = match <[String; 1]>::try_from(words) {
            Ok([line]) => {
                self.debug(Level::Info, || format!("commands: \"{line}\""));
                grammar::parse_line(groups, &line, &mut keep)
            }
            Err(words) => grammar::parse_words(groups, words, &mut keep),
        };
        for line in trace {
            self.debug(Level::Info, || line);
        }
        parsed
    }

    /// Parses and runs a line that a user typed.
    pub fn run_line(&mut self, line: &str) -> bool {
        let groups = self.groups;
        let mut trace = Vec::new();
        let parsed = grammar::parse_line(groups, line, &mut |line| trace.push(line));
        for line in trace {
            self.debug(Level::Info, || line);
        }
        match parsed {
            Ok(commands) => self.run(&commands),
            Err(problem) => {
                self.error(&problem);
                false
            }
        }
    }

    /// Runs commands in order, whatever becomes of each; answers whether the last one succeeded.
    pub fn run(&mut self, commands: &[Invocation]) -> bool {
        let mut good = true;
        for invocation in commands {
            let started = Instant::now();
            let outcome = self.run_one(invocation);
            let elapsed = started.elapsed();
            good = outcome.is_ok();
            if let Err(failure) = outcome {
                if failure.cause.as_ref().is_some_and(means_disconnection) {
                    self.disconnected.store(true, Ordering::Relaxed);
                }
                self.report(&failure);
            }
            if self.leaving {
                break;
            }
            if self.options.timing {
                self.print(format!("\n(Time: {:.3} ms)\n\n", elapsed.as_secs_f64() * 1000.0));
            } else if self.format.is_none() {
                self.extra("\n");
            }
        }
        self.flush();
        good
    }

    fn run_one(&mut self, invocation: &Invocation) -> Outcome {
        let Action::Run(run) = invocation.command.action else {
            return Err(format!("unknown command: '{}'", invocation.command.name).into());
        };
        self.format = match &invocation.output {
            Some(name) => Some(Format::parse(name)?),
            None => self
                .options
                .output
                .filter(|_| invocation.command.traits.structured),
        };
        if !invocation.command.traits.offline {
            self.connection()?;
        }
        run(self, invocation)
    }

    // Connecting

    /// Whether the connection is read-only; decides the prompt.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Uses `uri` for the first connection unless one was given already.
    pub fn default_uri(&mut self, uri: Option<String>) {
        if self.uri.is_none() {
            self.uri = uri;
        }
    }

    /// The connection, opened now if there is none or if it broke.
    pub fn connection(&mut self) -> Result<Connect, Failure> {
        if self.connection.is_none() || self.disconnected.load(Ordering::Relaxed) {
            self.reconnect(None, false, false)?;
        }
        match &self.connection {
            Some(connection) if connection.is_alive().unwrap_or(true) => Ok(connection.clone()),
            _ => Err("no valid connection".into()),
        }
    }

    /// Replaces the connection. Without `uri` the last one is used again, read-only as before.
    pub fn reconnect(&mut self, uri: Option<&str>, read_only: bool, asked: bool) -> Outcome {
        let read_only = read_only || (uri.is_none() && self.read_only);
        let had_one = self.connection.take().is_some();
        let wanted = uri.map(str::to_owned).or_else(|| self.uri.clone());
        let connection = match self.open(wanted.as_deref(), read_only) {
            Ok(connection) => connection,
            Err(failure) => {
                let again = self.disconnected.load(Ordering::Relaxed);
                return Err(failure).or_say(|| {
                    if again {
                        "Failed to reconnect to the hypervisor"
                    } else {
                        "failed to connect to the hypervisor"
                    }
                });
            }
        };
        if let Some(uri) = uri {
            self.uri = Some(uri.to_owned());
        }
        if self.uri.is_none() {
            self.uri = connection.uri().ok();
        }
        self.read_only = read_only;
        if self.watch(&connection).is_err() {
            self.error("Unable to register disconnect callback");
        }
        self.connection = Some(connection);
        if had_one && !asked {
            self.error("Reconnected to the hypervisor");
        }
        Ok(())
    }

    fn open(&mut self, uri: Option<&str>, read_only: bool) -> Result<Connect, Failure> {
        let mut builder = Connect::builder()
            .read_only(read_only)
            .credentials(crate::credentials::ask);
        if let Some(uri) = uri {
            builder = builder.uri(uri);
        }
        let connection = builder.open()?;
        let (interval, count) = (self.options.keepalive_interval, self.options.keepalive_count);
        let forced = interval.is_some() || count.is_some();
        let seconds = interval.unwrap_or(5);
        if seconds > 0
            && let Err(error) = connection.set_keepalive(seconds, count.unwrap_or(6).unsigned_abs())
        {
            if forced {
                return Err(error)
                    .or_say(|| "Cannot setup keepalive on connection as requested, disconnecting");
            }
            self.debug(Level::Info, || "Failed to setup keepalive on connection".into());
        }
        Ok(connection)
    }

    /// Remembers when the connection breaks and says so at once.
    fn watch(&mut self, connection: &Connect) -> Result<(), VirtError> {
        self.disconnected = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&self.disconnected);
        let uri = self.uri.clone().unwrap_or_default();
        connection.on_close(move |reason| {
            let why = match reason {
                ConnectCloseReason::ERROR => "due to I/O error",
                ConnectCloseReason::EOF => "due to end of file",
                ConnectCloseReason::KEEPALIVE => "due to keepalive timeout",
                ConnectCloseReason::CLIENT => return,
                _ => "for an unknown reason",
            };
            let _ = writeln!(io::stderr(), "error: Disconnected from {uri} {why}");
            flag.store(true, Ordering::Relaxed);
        })
    }

    /// A flag that is set when the connection breaks.
    pub fn disconnected(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.disconnected)
    }
}

/// Errors after which the next command tries a new connection.
fn means_disconnection(error: &VirtError) -> bool {
    matches!(
        error.code(),
        ErrorCode::RPC | ErrorCode::NO_CONNECT | ErrorCode::INVALID_CONN
    ) || (error.code() == ErrorCode::SYSTEM_ERROR && error.domain() == ErrorDomain::REMOTE)
}
