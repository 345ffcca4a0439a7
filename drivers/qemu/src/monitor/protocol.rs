//! QMP as a state machine: bytes in, replies and events out; commands in, bytes out.
//!
//! Nothing here waits, reads a clock or owns a descriptor of its own: the caller says what time it is and moves the
//! bytes. A peer that breaks the protocol or exceeds a limit ends the conversation with [`Protocol::receive`]'s error;
//! nothing that it sends can make this side hold more than the limits allow.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use serde_json::Value;
use virt_util::time::Deadline;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Command, Reply};
use crate::capabilities::recorded::reply_of;

/// What a peer may make this side hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest line in bytes. QEMU's largest reply, its own schema, is about 1 MB.
    pub line: usize,
    /// Commands without an answer.
    pub pending: usize,
    /// Commands that were given up and whose answer may still come.
    pub abandoned: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 10 << 20,
            pending: 1024,
            abandoned: 1024,
        }
    }
}

/// Names one command of one conversation. Numbers grow and are never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// QEMU's first words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Version as major, minor, micro.
    pub version: (u32, u32, u32),
    /// The vendor's package version.
    pub package: String,
    /// The monitor can take commands out of band.
    pub out_of_band: bool,
}

/// Something that QEMU says on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name, `SHUTDOWN`.
    pub name: String,
    /// The event's data, an object or `Null`.
    pub data: Value,
    /// When it happened by the clock of QEMU's host: seconds and microseconds since the epoch. `None` if QEMU could
    /// not tell.
    pub timestamp: Option<(i64, u32)>,
}

/// What came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// The conversation is open: commands will be answered.
    Ready(Greeting),
    /// The answer to a command.
    Reply(CommandId, Reply),
    /// The answer to a command that was given up: the guest was *in doubt*, and this says what became of it.
    LateReply {
        /// The command.
        id: CommandId,
        /// Its name.
        name: String,
        /// The answer.
        reply: Reply,
    },
    /// An event.
    Event(Event),
}

/// Bytes to send, with descriptors that must travel with the first of them.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Descriptors, in the order in which the commands will ask for them.
    pub fds: Vec<OwnedFd>,
}

#[derive(Debug)]
struct Pending {
    name: String,
    sent: Deadline,
    silence: std::time::Duration,
    out_of_band: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Greeting,
    Negotiating(u64),
    Ready,
    Broken,
}

/// One side of a conversation with a QEMU monitor.
#[derive(Debug)]
pub struct Protocol {
    limits: Limits,
    phase: Phase,
    greeting: Option<Greeting>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    next_id: u64,
    pending: BTreeMap<u64, Pending>,
    abandoned: BTreeMap<u64, String>,
    /// When the peer last answered anything.
    last_reply: Deadline,
    /// Commands that wait for the conversation to open.
    held: Vec<Outgoing>,
    outgoing: VecDeque<Outgoing>,
    incoming: VecDeque<Incoming>,
}

impl Protocol {
    /// A conversation that waits for QEMU's greeting.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Greeting,
            greeting: None,
            line: Vec::new(),
            next_id: 1,
            pending: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            last_reply: Deadline::NONE,
            held: Vec::new(),
            outgoing: VecDeque::new(),
            incoming: VecDeque::new(),
        }
    }

    /// Whether commands are answered by now. Commands may be sent before; they are held.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// QEMU's first words, once they came.
    pub fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// Queues commands as one write, so that QEMU finds them all at once. Descriptors travel with a command that names
    /// them (`getfd`, `add-fd`), in order.
    ///
    /// # Errors
    /// `OPERATION_FAILED` if too many commands are unanswered, `INTERNAL_ERROR` if the conversation is over.
    pub fn send(&mut self, commands: Vec<(Command, Vec<OwnedFd>)>, now: Deadline) -> Result<Vec<CommandId>> {
        if self.phase == Phase::Broken {
            return Err(VirtError::internal("the QEMU monitor is closed"));
        }
        if self.pending.len().saturating_add(commands.len()) > self.limits.pending {
            return Err(VirtError::new(
                ErrorCode::OPERATION_FAILED,
                format_args!(
                    "more than {} commands wait for the QEMU monitor",
                    self.limits.pending
                ),
            ));
        }
        let mut ids = Vec::with_capacity(commands.len());
        let mut batch: Vec<Outgoing> = Vec::new();
        for (command, fds) in commands {
            let id = self.register(&command, now);
            ids.push(CommandId(id));
            // QEMU keeps only the descriptors of the newest message, so each set begins a message of its own.
            if batch.is_empty() || !fds.is_empty() {
                batch.push(Outgoing {
                    bytes: Vec::new(),
                    fds,
                });
            }
            if let Some(last) = batch.last_mut() {
                last.bytes
                    .extend_from_slice(command.to_json(&wire_id(id)).as_bytes());
                last.bytes.extend_from_slice(b"\r\n");
            }
            // … and nothing may follow it in the same message, or a later command would find it.
            if batch.last().is_some_and(|last| !last.fds.is_empty()) {
                batch.push(Outgoing::default());
            }
        }
        batch.retain(|message| !message.bytes.is_empty());
        if self.phase == Phase::Ready {
            self.outgoing.extend(batch);
        } else {
            self.held.extend(batch);
        }
        Ok(ids)
    }

    fn register(&mut self, command: &Command, now: Deadline) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(
            id,
            Pending {
                name: command.name.to_string(),
                sent: now,
                silence: command.class.silence(),
                out_of_band: command.out_of_band,
            },
        );
        id
    }

    /// The next message to write, whole. What could not be written goes back with [`Protocol::unsent`].
    pub fn next_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Puts back the rest of a message that was written in part. Its descriptors have travelled with the first part.
    pub fn unsent(&mut self, rest: Outgoing) {
        self.outgoing.push_front(rest);
    }

    /// Whether there is something to write.
    pub fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes bytes from the peer; what they mean is then in [`Protocol::next_incoming`].
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for bytes that are not QMP, lines over the limit, or answers to nothing. The conversation is
    /// over then: [`Protocol::close`] gives the commands that will never be answered.
    pub fn receive(&mut self, mut bytes: &[u8], now: Deadline) -> Result<()> {
        if self.phase == Phase::Broken {
            return Err(VirtError::internal("the QEMU monitor is closed"));
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            let result = if self.line.is_empty() {
                self.check_length(line.len())
                    .and_then(|()| self.message(line, now))
            } else {
                let whole = self.line.len().saturating_add(line.len());
                self.check_length(whole).and_then(|()| {
                    let mut buffered = std::mem::take(&mut self.line);
                    buffered.extend_from_slice(line);
                    self.message(&buffered, now)
                })
            };
            if let Err(error) = result {
                return Err(self.broken(error));
            }
        }
        if let Err(error) = self.check_length(self.line.len().saturating_add(bytes.len())) {
            return Err(self.broken(error));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<()> {
        if length <= self.limits.line {
            return Ok(());
        }
        Err(VirtError::internal(format_args!(
            "the QEMU monitor sent a line of more than {} bytes",
            self.limits.line
        )))
    }

    fn broken(&mut self, error: VirtError) -> VirtError {
        self.phase = Phase::Broken;
        self.line = Vec::new();
        self.outgoing.clear();
        self.held.clear();
        error
    }

    /// What came in, oldest first.
    pub fn next_incoming(&mut self) -> Option<Incoming> {
        self.incoming.pop_front()
    }

    fn message(&mut self, line: &[u8], now: Deadline) -> Result<()> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let not_qmp = |what: &dyn std::fmt::Display| {
            VirtError::internal(format_args!(
                "cannot understand the QEMU monitor: {what}: '{}'",
                excerpt(line)
            ))
        };
        let message: Value = serde_json::from_slice(line).map_err(|error| not_qmp(&error))?;
        if let Some(greeting) = message.get("QMP") {
            if self.phase != Phase::Greeting {
                return Err(not_qmp(&"a second greeting"));
            }
            self.greet(greeting, now);
            return Ok(());
        }
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            let event = Event {
                name: name.to_owned(),
                data: message.get("data").cloned().unwrap_or(Value::Null),
                timestamp: timestamp(&message),
            };
            self.incoming.push_back(Incoming::Event(event));
            return Ok(());
        }
        let reply = reply_of(&message).ok_or_else(|| not_qmp(&"neither greeting, event nor reply"))?;
        let id = match message.get("id") {
            Some(id) => id
                .as_str()
                .and_then(|id| id.strip_prefix("libvirt-")?.parse::<u64>().ok()),
            // QEMU leaves the id out of its complaint about a command that it could not parse: ours are all sound, so
            // the oldest is meant.
            None => self.pending.keys().next().copied(),
        };
        let id = id.ok_or_else(|| not_qmp(&"a reply to no command"))?;
        self.last_reply = now;
        if self.phase == Phase::Negotiating(id) {
            self.pending.remove(&id);
            reply.map_err(|error| error.into_error("qmp_capabilities"))?;
            self.phase = Phase::Ready;
            self.outgoing.extend(self.held.drain(..));
            if let Some(greeting) = self.greeting.clone() {
                self.incoming.push_back(Incoming::Ready(greeting));
            }
            return Ok(());
        }
        if self.pending.remove(&id).is_some() {
            self.incoming.push_back(Incoming::Reply(CommandId(id), reply));
        } else if let Some(name) = self.abandoned.remove(&id) {
            self.incoming.push_back(Incoming::LateReply {
                id: CommandId(id),
                name,
                reply,
            });
        } else {
            return Err(not_qmp(&"a reply to no command"));
        }
        Ok(())
    }

    fn greet(&mut self, greeting: &Value, now: Deadline) {
        let version = greeting.get("version");
        let part = |key: &str| {
            let part = version
                .and_then(|version| version.get("qemu")?.get(key)?.as_u64())
                .unwrap_or(0);
            u32::try_from(part).unwrap_or(0)
        };
        let out_of_band = greeting
            .get("capabilities")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|one| one.as_str() == Some("oob")));
        let package = version
            .and_then(|version| version.get("package")?.as_str())
            .unwrap_or_default();
        self.greeting = Some(Greeting {
            version: (part("major"), part("minor"), part("micro")),
            package: package.to_owned(),
            out_of_band,
        });
        // Out of band is left off: libvirt does not ask for it, and whoever takes the guest over must find it so.
        let command = Command::new("qmp_capabilities");
        let id = self.register(&command, now);
        let mut bytes = command.to_json(&wire_id(id)).into_bytes();
        bytes.extend_from_slice(b"\r\n");
        self.phase = Phase::Negotiating(id);
        self.outgoing.push_back(Outgoing {
            bytes,
            fds: Vec::new(),
        });
    }

    /// Until when the peer may stay silent; `NONE` if nothing is asked. QEMU works off commands in order, so only the
    /// oldest has a running clock, which the answer to its predecessor starts.
    pub fn deadline(&self) -> Deadline {
        let in_order = self.pending.values().find(|command| !command.out_of_band);
        let oldest = in_order
            .into_iter()
            .chain(self.pending.values().filter(|command| command.out_of_band));
        oldest
            .map(|command| self.silence_ends(command))
            .fold(Deadline::NONE, Deadline::min)
    }

    fn silence_ends(&self, command: &Pending) -> Deadline {
        let start = command.sent.as_nanos().max(self.last_reply.as_nanos());
        let silence = u64::try_from(command.silence.as_nanos()).unwrap_or(u64::MAX);
        Deadline::from_nanos(start.saturating_add(silence).max(1))
    }

    /// Gives up the commands whose peer was silent for too long. Their answers, should they come, are
    /// [`Incoming::LateReply`].
    pub fn expire(&mut self, now: Deadline) -> Vec<(CommandId, String)> {
        let mut expired = Vec::new();
        loop {
            let oldest_in_order = self
                .pending
                .iter()
                .find(|(_, command)| !command.out_of_band)
                .map(|(id, _)| *id);
            let late = self.pending.iter().find(|(id, command)| {
                let clock_runs = command.out_of_band || Some(**id) == oldest_in_order;
                clock_runs && self.silence_ends(command).as_nanos() <= now.as_nanos()
            });
            let Some(id) = late.map(|(id, _)| *id) else { break };
            if let Some(name) = self.abandon(CommandId(id)) {
                expired.push((CommandId(id), name));
            }
        }
        expired
    }

    /// Gives up one command, because its caller does not wait any longer. `None` if it has been answered.
    pub fn abandon(&mut self, id: CommandId) -> Option<String> {
        let name = self.pending.remove(&id.0)?.name;
        if self.abandoned.len() >= self.limits.abandoned {
            self.abandoned.pop_first();
        }
        self.abandoned.insert(id.0, name.clone());
        Some(name)
    }

    /// Whether an answer may still come for something that was given up.
    pub fn is_in_doubt(&self) -> bool {
        !self.abandoned.is_empty()
    }

    /// Ends the conversation; gives the commands that will never be answered.
    pub fn close(&mut self) -> Vec<CommandId> {
        self.phase = Phase::Broken;
        self.line = Vec::new();
        self.held.clear();
        self.outgoing.clear();
        self.abandoned.clear();
        std::mem::take(&mut self.pending)
            .into_keys()
            .map(CommandId)
            .collect()
    }
}

fn wire_id(id: u64) -> String {
    format!("libvirt-{id}")
}

fn timestamp(message: &Value) -> Option<(i64, u32)> {
    let timestamp = message.get("timestamp")?;
    let seconds = timestamp
        .get("seconds")?
        .as_i64()
        .filter(|seconds| *seconds >= 0)?;
    let micros = timestamp.get("microseconds")?.as_u64()?;
    Some((seconds, u32::try_from(micros).ok()?))
}

/// The beginning of a line, fit for an error text.
fn excerpt(line: &[u8]) -> String {
    const LONGEST: usize = 120;
    let shown = line.get(..LONGEST).unwrap_or(line);
    let mut text: String = String::from_utf8_lossy(shown)
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect();
    if shown.len() < line.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::QmpError;
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Duration;

    const GREETING: &[u8] =
        b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 1, \"major\": 10}, \
        \"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n";

    fn at(seconds: u64) -> Deadline {
        Deadline::from_nanos(1 + seconds * 1_000_000_000)
    }

    fn written(protocol: &mut Protocol) -> String {
        let mut text = String::new();
        while let Some(message) = protocol.next_outgoing() {
            text.push_str(std::str::from_utf8(&message.bytes).unwrap());
        }
        text
    }

    fn open() -> Protocol {
        let mut protocol = Protocol::new(Limits::default());
        protocol.receive(GREETING, at(0)).unwrap();
        assert_eq!(
            written(&mut protocol),
            "{\"execute\":\"qmp_capabilities\",\"id\":\"libvirt-1\"}\r\n"
        );
        protocol
            .receive(b"{\"return\": {}, \"id\": \"libvirt-1\"}\r\n", at(0))
            .unwrap();
        assert!(
            matches!(protocol.next_incoming(), Some(Incoming::Ready(greeting)) if greeting.version == (10, 1, 2))
        );
        protocol
    }

    fn send(protocol: &mut Protocol, commands: Vec<Command>, now: Deadline) -> Vec<CommandId> {
        protocol
            .send(
                commands
                    .into_iter()
                    .map(|command| (command, Vec::new()))
                    .collect(),
                now,
            )
            .unwrap()
    }

    #[test]
    fn commands_before_the_greeting_are_held_and_go_out_as_one_write() {
        let mut protocol = Protocol::new(Limits::default());
        send(
            &mut protocol,
            vec![Command::new("query-status"), Command::new("cont")],
            at(0),
        );
        assert!(!protocol.wants_to_write());
        protocol.receive(GREETING, at(0)).unwrap();
        assert!(written(&mut protocol).contains("qmp_capabilities"));
        protocol
            .receive(b"{\"return\": {}, \"id\": \"libvirt-3\"}\n", at(0))
            .unwrap();
        let message = protocol.next_outgoing().unwrap();
        assert_eq!(
            std::str::from_utf8(&message.bytes).unwrap(),
            "{\"execute\":\"query-status\",\"id\":\"libvirt-1\"}\r\n{\"execute\":\"cont\",\"id\":\"libvirt-2\"}\r\n"
        );
        assert!(protocol.next_outgoing().is_none());
    }

    #[test]
    fn replies_match_by_id_in_any_order_and_across_any_split() {
        let mut protocol = open();
        let ids = send(
            &mut protocol,
            vec![Command::new("a"), Command::new("b").with("x", 1)],
            at(1),
        );
        let text = b"{\"return\": [1], \"id\": \"libvirt-3\"}\r\n\
            {\"timestamp\": {\"seconds\": 7, \"microseconds\": 8}, \"event\": \"STOP\"}\r\n\
            {\"id\": \"libvirt-2\", \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\r\n";
        for byte in text {
            protocol.receive(&[*byte], at(2)).unwrap();
        }
        assert_eq!(
            protocol.next_incoming(),
            Some(Incoming::Reply(ids[1], Ok(json!([1]))))
        );
        assert_eq!(
            protocol.next_incoming(),
            Some(Incoming::Event(Event {
                name: "STOP".into(),
                data: Value::Null,
                timestamp: Some((7, 8))
            }))
        );
        let refusal = QmpError {
            class: "GenericError".into(),
            description: "no".into(),
        };
        assert_eq!(
            protocol.next_incoming(),
            Some(Incoming::Reply(ids[0], Err(refusal)))
        );
        assert_eq!(protocol.next_incoming(), None);
        assert_eq!(protocol.deadline(), Deadline::NONE);
    }

    #[test]
    fn a_silent_peer_costs_its_class_and_a_late_reply_is_told_as_such() {
        let mut protocol = open();
        let ids = send(
            &mut protocol,
            vec![
                Command::new("cont").with_class(CommandClassForTest::within(60)),
                Command::new("query-status").with_class(CommandClassForTest::within(30)),
            ],
            at(0),
        );
        assert_eq!(protocol.deadline(), at(60));
        assert!(
            protocol.expire(at(59)).is_empty(),
            "the query waits behind the slow command"
        );
        let expired: Vec<CommandId> = protocol.expire(at(60)).into_iter().map(|(id, _)| id).collect();
        assert_eq!(expired, ids);
        assert!(protocol.is_in_doubt());
        protocol
            .receive(b"{\"return\": {}, \"id\": \"libvirt-2\"}\n", at(90))
            .unwrap();
        assert_eq!(
            protocol.next_incoming(),
            Some(Incoming::LateReply {
                id: ids[0],
                name: "cont".into(),
                reply: Ok(json!({}))
            })
        );
    }

    struct CommandClassForTest;
    impl CommandClassForTest {
        fn within(seconds: u64) -> crate::monitor::CommandClass {
            crate::monitor::CommandClass::Within(Duration::from_secs(seconds))
        }
    }

    #[test]
    fn each_answer_gives_the_next_command_its_time() {
        let mut protocol = open();
        let class = CommandClassForTest::within(10);
        send(
            &mut protocol,
            vec![
                Command::new("a").with_class(class),
                Command::new("b").with_class(class),
            ],
            at(0),
        );
        protocol
            .receive(b"{\"return\": {}, \"id\": \"libvirt-2\"}\n", at(9))
            .unwrap();
        assert_eq!(protocol.deadline(), at(19));
    }

    #[test]
    fn descriptors_get_messages_of_their_own() {
        let mut protocol = open();
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let getfd = |name: &str| Command::new("getfd").with("fdname", name);
        protocol
            .send(
                vec![
                    (Command::new("a"), vec![]),
                    (getfd("x"), vec![fd()]),
                    (getfd("y"), vec![fd()]),
                    (Command::new("b"), vec![]),
                ],
                at(0),
            )
            .unwrap();
        let messages: Vec<Outgoing> = std::iter::from_fn(|| protocol.next_outgoing()).collect();
        assert_eq!(
            messages
                .iter()
                .map(|message| message.fds.len())
                .collect::<Vec<_>>(),
            [0, 1, 1, 0]
        );
    }

    #[test]
    fn hostile_peers_end_in_bounded_memory() {
        let mut protocol = open();
        let chunk = vec![b'x'; 1 << 16];
        let mut taken = 0;
        let error = loop {
            match protocol.receive(&chunk, at(0)) {
                Ok(()) => taken += chunk.len(),
                Err(error) => break error,
            }
            assert!(taken <= Limits::default().line);
        };
        assert!(error.message().contains("line of more than"), "{error}");
        assert!(protocol.receive(b"\n", at(0)).is_err());

        for garbage in [
            &b"hello\n"[..],
            b"{\"return\": 1}\n",
            b"{\"return\": 1, \"id\": \"libvirt-99\"}\n",
            b"{\"return\": 1, \"id\": 5}\n",
            b"[]\n",
            b"{}\n",
            b"\xff\xfe\n",
            GREETING,
        ] {
            let mut protocol = open();
            assert!(protocol.receive(garbage, at(0)).is_err(), "{}", excerpt(garbage));
        }
        let mut deep = vec![b'['; 100_000];
        deep.push(b'\n');
        assert!(open().receive(&deep, at(0)).is_err());
    }

    #[test]
    fn too_many_commands_are_refused() {
        let mut protocol = Protocol::new(Limits {
            pending: 2,
            ..Limits::default()
        });
        send(&mut protocol, vec![Command::new("a"), Command::new("b")], at(0));
        let refused = protocol.send(vec![(Command::new("c"), Vec::new())], at(0));
        assert_eq!(refused.unwrap_err().code(), ErrorCode::OPERATION_FAILED);
        assert_eq!(protocol.close().len(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), open_first: bool) {
            let mut protocol = if open_first { open() } else { Protocol::new(Limits::default()) };
            let _ = protocol.receive(&bytes, at(0));
        }
    }
}
