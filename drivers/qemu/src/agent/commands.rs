//! The agent's commands.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, Result, VirtError};

use super::facts::{self, AgentDisk, FileSystem, GuestCpu, GuestInterface, LoadAverage, OsInfo, User, Zone};
use super::{AgentClient, AgentTimeout, Awaited};

/// What a guest is told to do with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Off.
    Powerdown,
    /// Stopped, not off.
    Halt,
    /// Off and on again.
    Reboot,
}

/// How a guest sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// In memory.
    Memory,
    /// On disk.
    Disk,
    /// Both.
    Hybrid,
}

/// An agent's refusal of a command.
struct Refusal {
    class: String,
    text: String,
}

impl Refusal {
    fn of(error: &Value) -> Self {
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        let class = text("class").unwrap_or_default();
        let text = text("desc").unwrap_or_else(|| describe(&class).to_owned());
        Self { class, text }
    }

    /// The agent does not have the command, or may not do it.
    fn is_unsupported(&self) -> bool {
        matches!(self.class.as_str(), "CommandNotFound" | "CommandDisabled")
    }
}

/// What is said for a refusal that only names its class.
fn describe(class: &str) -> &str {
    match class {
        "" => "the guest agent does not say why",
        "BufferOverrun" => "Buffer overrun",
        "CommandDisabled" => "the guest has this command turned off",
        "CommandNotFound" => "the guest agent has no such command",
        "FdNotFound" => "the guest agent knows no such file",
        "InvalidParameter" => "Invalid parameter",
        "InvalidParameterType" => "Invalid parameter type",
        "InvalidParameterValue" => "Invalid parameter value",
        "OpenFileFailed" => "Cannot open file",
        "QgaCommandFailed" => "the command failed inside the guest",
        "QMPBadInputObjectMember" => "an argument of the command is wrong",
        "QMPExtraInputObjectMember" => "the command takes no such argument",
        "UndefinedError" => "the guest agent cannot say why",
        "Unsupported" => "the guest agent cannot do this here",
        other => other,
    }
}

fn command(name: &str, arguments: Option<Value>) -> Value {
    let mut map = Map::new();
    map.insert("execute".to_owned(), name.into());
    if let Some(arguments) = arguments {
        map.insert("arguments".to_owned(), arguments);
    }
    Value::Object(map)
}

fn malformed() -> VirtError {
    VirtError::internal("malformed return value")
}

/// An agent as one call uses it.
#[derive(Clone, Copy, Debug)]
pub struct GuestAgent<'a> {
    client: &'a AgentClient,
    deadline: Deadline,
    cancel: &'a Cancel,
    lenient: bool,
}

impl<'a> GuestAgent<'a> {
    /// For a caller with this patience.
    pub fn new(client: &'a AgentClient, deadline: Deadline, cancel: &'a Cancel) -> Self {
        Self {
            client,
            deadline,
            cancel,
            lenient: false,
        }
    }

    /// The same, but a question that the agent does not know is answered with nothing instead of an error.
    #[must_use]
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// The whole answer to a whole command, nothing if `awaited` came first. A refusal is an error.
    fn run(
        &self,
        command: &Value,
        limit: AgentTimeout,
        awaited: Option<Awaited>,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let answer = self
            .client
            .execute(command, limit, awaited, self.deadline, self.cancel)?;
        let name = command
            .get("execute")
            .and_then(Value::as_str)
            .unwrap_or("<unknown>");
        match answer {
            Some(answer) => match answer.get("error") {
                Some(error) => Err(Failure::Refused(name.to_owned(), Refusal::of(error))),
                None => Ok(Some(answer)),
            },
            None => Ok(None),
        }
    }

    /// What a command returns.
    fn ask(&self, name: &str, arguments: Option<Value>) -> Result<Value> {
        let answer = self.run(&command(name, arguments), self.client.timeout(), None)?;
        let mut answer = answer.ok_or_else(malformed)?;
        Ok(answer.remove("return").unwrap_or(Value::Null))
    }

    /// What a question returns; nothing if the agent does not know it and may not.
    fn question(&self, name: &str) -> Result<Option<Value>> {
        match self.run(&command(name, None), self.client.timeout(), None) {
            Ok(Some(mut answer)) => Ok(Some(answer.remove("return").unwrap_or(Value::Null))),
            Ok(None) => Err(malformed()),
            Err(Failure::Refused(_, refusal)) if self.lenient && refusal.is_unsupported() => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    fn number(&self, name: &str, arguments: Option<Value>) -> Result<i32> {
        self.ask(name, arguments)?
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(malformed)
    }

    /// Ends or restarts the guest's system. An agent that obeys gives no answer: the machine's event is one.
    ///
    /// # Errors
    /// As [`AgentClient::execute`]; `AGENT_COMMAND_FAILED` if the agent refuses.
    pub fn shutdown(&self, mode: Shutdown) -> Result<()> {
        let (word, awaited) = match mode {
            Shutdown::Powerdown => ("powerdown", Awaited::Shutdown),
            Shutdown::Halt => ("halt", Awaited::Shutdown),
            Shutdown::Reboot => ("reboot", Awaited::Reset),
        };
        let command = command("guest-shutdown", Some(json!({ "mode": word })));
        self.run(&command, AgentTimeout::SHUTDOWN, Some(awaited))?;
        Ok(())
    }

    /// Puts the guest to sleep.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn suspend(&self, how: Sleep) -> Result<()> {
        let name = match how {
            Sleep::Memory => "guest-suspend-ram",
            Sleep::Disk => "guest-suspend-disk",
            Sleep::Hybrid => "guest-suspend-hybrid",
        };
        let command = command(name, None);
        self.run(&command, self.client.timeout(), Some(Awaited::Suspend))?;
        Ok(())
    }

    /// Any command as JSON text; the whole answer as JSON text.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`], and `INTERNAL_ERROR` for text that is no JSON.
    pub fn arbitrary(&self, text: &str, limit: AgentTimeout) -> Result<String> {
        let command: Value = serde_json::from_str(text)
            .map_err(|error| VirtError::internal(format_args!("cannot parse json {text}: {error}")))?;
        let answer = self.run(&command, limit, None)?;
        Ok(Value::Object(answer.ok_or_else(malformed)?).to_string())
    }

    /// Freezes the named file systems, or all; answers how many.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn freeze(&self, mount_points: &[String]) -> Result<i32> {
        if mount_points.is_empty() {
            self.number("guest-fsfreeze-freeze", None)
        } else {
            let arguments = json!({ "mountpoints": mount_points });
            self.number("guest-fsfreeze-freeze-list", Some(arguments))
        }
    }

    /// Lets all file systems go on; answers how many.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn thaw(&self) -> Result<i32> {
        self.number("guest-fsfreeze-thaw", None)
    }

    /// Gives unused blocks back, in runs of at least `minimum` bytes.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn trim(&self, minimum: u64) -> Result<()> {
        self.ask("guest-fstrim", Some(json!({ "minimum": minimum })))
            .map(drop)
    }

    /// The processors as the guest sees them.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`], and `INTERNAL_ERROR` for an answer that is none.
    pub fn cpus(&self) -> Result<Vec<GuestCpu>> {
        facts::cpus(&self.ask("guest-get-vcpus", None)?)
    }

    /// Puts processors on and off line as `cpus` says of those marked as modified. An agent may do some of them at a
    /// time; it is asked until all are done.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`], and `INTERNAL_ERROR` for an answer that cannot be.
    pub fn set_cpus(&self, cpus: &mut [GuestCpu]) -> Result<()> {
        loop {
            let wanted: Vec<Value> = cpus
                .iter()
                .filter(|cpu| cpu.modified)
                .map(|cpu| json!({ "logical-id": cpu.id, "online": cpu.online }))
                .collect();
            if wanted.is_empty() {
                return Ok(());
            }
            let answer = self.ask("guest-set-vcpus", Some(json!({ "vcpus": wanted })))?;
            let done = answer
                .as_u64()
                .and_then(|done| usize::try_from(done).ok())
                .filter(|done| (1..=wanted.len()).contains(done))
                .ok_or_else(|| {
                    VirtError::internal("the guest agent answered with a number of processors that cannot be")
                })?;
            for cpu in cpus.iter_mut().filter(|cpu| cpu.modified).take(done) {
                cpu.modified = false;
            }
        }
    }

    /// The guest's name on its network.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn host_name(&self) -> Result<Option<String>> {
        self.question("guest-get-host-name")?
            .map(|answer| facts::text(&answer, "host-name", "guest-get-host-name"))
            .transpose()
    }

    /// The guest's clock: seconds since 1970 and nanoseconds.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn time(&self) -> Result<(i64, u32)> {
        let nanos = self.ask("guest-get-time", None)?.as_u64().ok_or_else(malformed)?;
        let seconds = i64::try_from(nanos / 1_000_000_000).map_err(|_| malformed())?;
        let rest = u32::try_from(nanos % 1_000_000_000).map_err(|_| malformed())?;
        Ok((seconds, rest))
    }

    /// Sets the guest's clock, `None` from its hardware clock.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`], and `INVALID_ARG` for a time that an agent cannot be told.
    pub fn set_time(&self, time: Option<(i64, u32)>) -> Result<()> {
        let arguments = match time {
            None => None,
            Some((seconds, nanos)) => {
                let time = seconds
                    .checked_mul(1_000_000_000)
                    .and_then(|time| time.checked_add(nanos.into()))
                    .ok_or_else(|| {
                        VirtError::invalid_arg(format_args!(
                            "time '{seconds}' is more than the guest agent takes"
                        ))
                    })?;
                Some(json!({ "time": time }))
            }
        };
        self.ask("guest-set-time", arguments).map(drop)
    }

    /// Sets a user's password.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn set_password(&self, user: &str, password: &str, encrypted: bool) -> Result<()> {
        let arguments = json!({
            "crypted": encrypted,
            "username": user,
            "password": BASE64_STANDARD.encode(password),
        });
        self.ask("guest-set-user-password", Some(arguments)).map(drop)
    }

    /// The keys that may log in as a user.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn ssh_keys(&self, user: &str) -> Result<Vec<String>> {
        let answer = self.ask("guest-ssh-get-authorized-keys", Some(json!({ "username": user })))?;
        let keys = answer.get("keys").and_then(Value::as_array);
        keys.and_then(|keys| keys.iter().map(|key| key.as_str().map(str::to_owned)).collect())
            .ok_or_else(|| VirtError::internal("the answer to guest-ssh-get-authorized-keys is not a list"))
    }

    /// Adds keys that may log in as a user; with `reset` there are no others then.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn add_ssh_keys(&self, user: &str, keys: &[String], reset: bool) -> Result<()> {
        let arguments = json!({ "username": user, "keys": keys, "reset": reset });
        self.ask("guest-ssh-add-authorized-keys", Some(arguments))
            .map(drop)
    }

    /// Takes keys away that may log in as a user.
    ///
    /// # Errors
    /// As [`GuestAgent::shutdown`].
    pub fn remove_ssh_keys(&self, user: &str, keys: &[String]) -> Result<()> {
        let arguments = json!({ "username": user, "keys": keys });
        self.ask("guest-ssh-remove-authorized-keys", Some(arguments))
            .map(drop)
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn users(&self) -> Result<Option<Vec<User>>> {
        let answer = self.question("guest-get-users")?;
        answer.map(|answer| facts::users(&answer)).transpose()
    }

    /// What system runs in the guest.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn os_info(&self) -> Result<Option<OsInfo>> {
        let answer = self.question("guest-get-osinfo")?;
        answer.map(|answer| facts::os_info(&answer)).transpose()
    }

    /// The guest's time zone.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn zone(&self) -> Result<Option<Zone>> {
        let answer = self.question("guest-get-timezone")?;
        answer.map(|answer| facts::zone(&answer)).transpose()
    }

    /// Mounted file systems, in the order they were mounted.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn file_systems(&self) -> Result<Option<Vec<FileSystem>>> {
        let answer = self.question("guest-get-fsinfo")?;
        answer.map(|answer| facts::file_systems(&answer)).transpose()
    }

    /// Disks and partitions.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn disks(&self) -> Result<Option<Vec<AgentDisk>>> {
        let answer = self.question("guest-get-disks")?;
        answer.map(|answer| facts::disks(&answer)).transpose()
    }

    /// Network interfaces with their addresses.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn interfaces(&self) -> Result<Option<Vec<GuestInterface>>> {
        let answer = self.question("guest-network-get-interfaces")?;
        answer.map(|answer| facts::interfaces(&answer)).transpose()
    }

    /// How busy the guest is.
    ///
    /// # Errors
    /// As [`GuestAgent::cpus`].
    pub fn load(&self) -> Result<Option<LoadAverage>> {
        let answer = self.question("guest-get-load")?;
        answer.map(|answer| facts::load(&answer)).transpose()
    }
}

/// Why a command gave nothing.
enum Failure {
    /// The agent refused the command with this name.
    Refused(String, Refusal),
    Other(VirtError),
}

impl From<VirtError> for Failure {
    fn from(error: VirtError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for VirtError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(name, refusal) => Self::new(
                ErrorCode::AGENT_COMMAND_FAILED,
                format_args!("unable to execute QEMU agent command '{name}': {}", refusal.text),
            ),
            Failure::Other(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_put_in_words() {
        let of = |error: Value| {
            let refusal = Refusal::of(&error);
            (refusal.is_unsupported(), refusal.text)
        };
        assert_eq!(
            of(json!("random error")),
            (false, "the guest agent does not say why".to_owned())
        );
        assert_eq!(
            of(json!({"class": "CommandDisabled"})),
            (true, "the guest has this command turned off".to_owned())
        );
        assert_eq!(
            of(json!({"class": "GenericError", "desc": "no"})),
            (false, "no".to_owned())
        );
    }
}
