//! A recorded QMP conversation as a peer.
//!
//! The format is that of libvirt's own recordings: JSON objects, command and reply in turn. A `qmp_capabilities`
//! command begins a session: a binary with an accelerator is probed twice.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use virt_util::{Result, VirtError};

use crate::monitor::{Command, QmpError, QmpPeer, Reply};

/// One session.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Replies by the compact JSON of name and arguments, in the order in which they were given.
    replies: HashMap<String, VecDeque<Reply>>,
}

impl Recorded {
    /// All sessions of a recording.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if the text is not pairs of a command and its reply.
    pub fn sessions(text: &str) -> Result<Vec<Self>> {
        let mut sessions: Vec<Self> = Vec::new();
        let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let malformed =
            |what: &dyn std::fmt::Display| VirtError::internal(format_args!("bad QMP recording: {what}"));
        while let Some(command) = objects.next() {
            let command = command.map_err(|error| malformed(&error))?;
            let reply = match objects.next() {
                Some(reply) => reply.map_err(|error| malformed(&error))?,
                None => return Err(malformed(&"a command without a reply")),
            };
            let Some(name) = command.get("execute").and_then(Value::as_str) else {
                return Err(malformed(
                    &"an object without 'execute' in the place of a command",
                ));
            };
            if name == "qmp_capabilities" || sessions.is_empty() {
                sessions.push(Self::default());
            }
            let key = key(name, command.get("arguments").unwrap_or(&Value::Null));
            let reply = reply_of(&reply).ok_or_else(|| malformed(&format_args!("no reply to '{name}'")))?;
            if let Some(session) = sessions.last_mut() {
                session.replies.entry(key).or_default().push_back(reply);
            }
        }
        Ok(sessions)
    }
}

/// Reads `{"return": …}` or `{"error": …}`.
pub(crate) fn reply_of(object: &Value) -> Option<Reply> {
    if let Some(value) = object.get("return") {
        return Some(Ok(value.clone()));
    }
    let error = object.get("error")?;
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Err(QmpError {
        class: text("class").unwrap_or_else(|| "GenericError".to_owned()),
        description: text("desc").unwrap_or_else(|| "unknown QEMU error".to_owned()),
    }))
}

fn key(name: &str, arguments: &Value) -> String {
    format!("{name} {arguments}")
}

impl QmpPeer for Recorded {
    fn execute_all(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>> {
        commands
            .into_iter()
            .map(|command| {
                let key = key(&command.name, &command.arguments);
                self.replies
                    .get_mut(&key)
                    .and_then(VecDeque::pop_front)
                    .ok_or_else(|| {
                        VirtError::internal(format_args!("the QMP recording has no reply to '{key}'"))
                    })
            })
            .collect()
    }
}
