//! The QMP client.
//!
//! [`protocol`] is the state machine: it turns commands into bytes and bytes into replies and events, keeps no file
//! descriptor and no thread, and bounds what a hostile peer can make it hold. [`Command`] and [`Reply`] are its words.
//! [`client`] runs it over a socket.

pub mod client;
pub mod protocol;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use virt_util::{ErrorCode, VirtError};

pub use client::{BlockingQmp, MonitorObserver, QmpClient};
pub use protocol::{CommandId, Event, Greeting};

/// One QMP command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Name of the command.
    pub name: Cow<'static, str>,
    /// Its arguments, an object; `Null` for none.
    pub arguments: Value,
    /// How long the peer may stay silent.
    pub class: CommandClass,
    /// Send it past the commands that are already waiting (`exec-oob`); needs the peer's consent.
    pub out_of_band: bool,
}

impl Command {
    /// A command without arguments. The class follows from the name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        let class = CommandClass::of(&name);
        Self {
            name,
            arguments: Value::Null,
            class,
            out_of_band: false,
        }
    }

    /// Sets one argument.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if self.arguments.is_null() {
            self.arguments = Value::Object(Map::new());
        }
        if let Some(map) = self.arguments.as_object_mut() {
            map.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Sets all arguments.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Value) -> Self {
        self.arguments = arguments;
        self
    }

    /// Sets the class.
    #[must_use]
    pub fn with_class(mut self, class: CommandClass) -> Self {
        self.class = class;
        self
    }

    /// Sends the command out of band.
    #[must_use]
    pub fn out_of_band(mut self) -> Self {
        self.out_of_band = true;
        self
    }

    /// The command as one line of compact JSON, without the line end.
    pub fn to_json(&self, id: &str) -> String {
        let mut map = Map::new();
        let verb = if self.out_of_band { "exec-oob" } else { "execute" };
        map.insert(verb.to_owned(), Value::from(self.name.as_ref()));
        if !self.arguments.is_null() {
            map.insert("arguments".to_owned(), self.arguments.clone());
        }
        map.insert("id".to_owned(), Value::from(id));
        Value::Object(map).to_string()
    }
}

/// How long a monitor may be silent about a command before it counts as stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandClass {
    /// Answers from memory: 30 s.
    Query,
    /// Changes something in QEMU or on the host: 60 s.
    Change,
    /// May allocate, open or write a lot: 10 minutes.
    Long,
    /// A limit of its own, for commands whose work is known (memory to preallocate …).
    Within(Duration),
}

impl CommandClass {
    /// The class of a command by its name.
    pub fn of(name: &str) -> Self {
        match name {
            "blockdev-add" | "blockdev-del" | "object-add" | "device_add" | "device_del" | "transaction"
            | "cont" | "stop" | "migrate" | "migrate-incoming" | "netdev_add" | "blockdev-open-tray"
            | "block_resize" => Self::Long,
            "dump-guest-memory"
            | "human-monitor-command"
            | "screendump"
            | "savevm"
            | "memsave"
            | "pmemsave" => Self::Long,
            name if name.starts_with("query-")
                || name.starts_with("qom-")
                || name == "device-list-properties" =>
            {
                Self::Query
            }
            _ => Self::Change,
        }
    }

    /// The longest silence.
    pub const fn silence(self) -> Duration {
        match self {
            Self::Query => Duration::from_secs(30),
            Self::Change => Duration::from_secs(60),
            Self::Long => Duration::from_secs(600),
            Self::Within(limit) => limit,
        }
    }
}

/// What QEMU answered.
pub type Reply = Result<Value, QmpError>;

/// QEMU's refusal of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpError {
    /// The class: `GenericError`, `CommandNotFound`, `DeviceNotFound` …
    pub class: String,
    /// The sentence.
    pub description: String,
}

impl QmpError {
    /// QEMU has no such command.
    pub fn is_unknown_command(&self) -> bool {
        self.class == "CommandNotFound"
    }

    /// As the error of a call that needed `command`.
    pub fn into_error(self, command: &str) -> VirtError {
        VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("unable to execute QEMU command '{command}': {}", self.description),
        )
    }
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.description)
    }
}

/// Something that answers QMP commands, one reply for each command in the order of the commands.
pub trait QmpPeer {
    /// Sends all commands at once and waits for all replies.
    ///
    /// # Errors
    /// If the peer does not answer, or not in QMP. A command that the peer refused is a [`Reply`].
    fn execute_all(&mut self, commands: Vec<Command>) -> virt_util::Result<Vec<Reply>>;

    /// One command.
    ///
    /// # Errors
    /// As [`QmpPeer::execute_all`].
    fn execute(&mut self, command: Command) -> virt_util::Result<Reply> {
        let name = command.name.clone();
        self.execute_all(vec![command])?
            .pop()
            .ok_or_else(|| VirtError::internal(format_args!("no reply to the QEMU command '{name}'")))
    }
}
