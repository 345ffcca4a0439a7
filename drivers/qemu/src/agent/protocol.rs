//! What passes over an agent's port, without the port: one exchange at a time, bytes in, an outcome out.
//!
//! An agent has no ids for its answers. After anything went wrong a late answer could be taken for the next one, so
//! the first thing said is `guest-sync` with a number that the right answer repeats. What stands in the pipe from
//! former conversations is garbage and may be cut anywhere.

use serde_json::{Map, Value, json};
use virt_util::json_lines::{JsonLines, encode, parse_object};
use virt_util::{Result, VirtError};

/// The longest answer that is taken: 10 MiB, as libvirt.
pub const ANSWER_LIMIT: usize = 10 << 20;

/// What the next answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expecting {
    /// Nobody waits: answers come too late and are dropped.
    Nothing,
    /// The answer to `guest-sync` with this number; the first may meet garbage.
    Sync {
        /// The number.
        id: u64,
        /// Nothing was said before in this conversation.
        first: bool,
    },
    /// The answer to a command.
    Answer,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer, whole.
    Answer(Map<String, Value>),
    /// Something that is no message: the first handshake has met the end of an old one.
    Garbage,
}

/// One side of a conversation with an agent.
#[derive(Debug)]
pub struct AgentProtocol {
    lines: JsonLines,
    expecting: Expecting,
}

impl AgentProtocol {
    /// A fresh conversation.
    pub fn new() -> Self {
        Self {
            lines: JsonLines::new(ANSWER_LIMIT),
            expecting: Expecting::Nothing,
        }
    }

    /// Says what the next answer is for.
    pub fn expect(&mut self, expecting: Expecting) {
        self.expecting = expecting;
    }

    /// Takes bytes. At most one exchange ends by them; what else is there comes too late.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for what is no message, or longer than [`ANSWER_LIMIT`]: the conversation is over.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Outcome>> {
        self.lines.feed(bytes)?;
        let mut outcome = None;
        while let Some(line) = self.lines.next_line()? {
            if let Some(found) = judge(line, self.expecting)? {
                self.expecting = Expecting::Nothing;
                outcome = Some(found);
            }
        }
        Ok(outcome)
    }
}

impl Default for AgentProtocol {
    fn default() -> Self {
        Self::new()
    }
}

/// What one line means to somebody who waits for `expecting`.
fn judge(line: &[u8], expecting: Expecting) -> Result<Option<Outcome>> {
    let object = match parse_object(line) {
        Ok(object) => object,
        Err(_) if matches!(expecting, Expecting::Sync { first: true, .. }) => {
            return Ok(Some(Outcome::Garbage));
        }
        // The end of somebody else's conversation.
        Err(_) if expecting == Expecting::Nothing => return Ok(None),
        Err(error) => return Err(error),
    };
    if object.contains_key("QMP") {
        return Ok(None);
    }
    if let Some(event) = object.get("event") {
        return match event.is_string() {
            true => Ok(None),
            false => Err(VirtError::internal("the guest agent's event has no type")),
        };
    }
    if !object.contains_key("return") && !object.contains_key("error") {
        let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
        return Err(VirtError::internal(format_args!(
            "the guest agent said what is no answer: '{}'",
            shown.escape_debug()
        )));
    }
    Ok(match expecting {
        Expecting::Nothing => None,
        Expecting::Answer => Some(Outcome::Answer(object)),
        Expecting::Sync { id, .. } => {
            let same = object.get("return").and_then(Value::as_u64) == Some(id);
            same.then_some(Outcome::Answer(object))
        }
    })
}

/// The line that begins a conversation.
///
/// # Errors
/// None in practice: the message is ours.
pub fn sync_line(id: u64) -> Result<Vec<u8>> {
    encode(&json!({ "execute": "guest-sync", "arguments": { "id": id } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SYNC: Expecting = Expecting::Sync { id: 7, first: true };

    fn take(expecting: Expecting, text: &str) -> Result<Option<Outcome>> {
        let mut protocol = AgentProtocol::new();
        protocol.expect(expecting);
        protocol.receive(text.as_bytes())
    }

    #[test]
    fn a_handshake_believes_only_its_own_number() {
        assert_eq!(take(SYNC, "{\"return\":6}\n").unwrap(), None);
        assert_eq!(take(SYNC, "{\"return\":{}}\n{\"error\":{}}\n").unwrap(), None);
        assert!(matches!(
            take(SYNC, "{\"return\":1}\n{\"return\":7}\n").unwrap(),
            Some(Outcome::Answer(_))
        ));
        // What was thrown away by the agent's reset does not count at all.
        assert!(matches!(
            take(SYNC, "half an ans\u{0}\n").unwrap(),
            Some(Outcome::Garbage)
        ));
        let second = Expecting::Sync { id: 7, first: false };
        assert!(take(second, "garbage\n").is_err());
    }

    #[test]
    fn answers_are_for_those_who_wait() {
        let text = "{\"event\":\"X\"}\n{\"return\":{\"a\":1}}\n";
        let Some(Outcome::Answer(answer)) = take(Expecting::Answer, text).unwrap() else {
            panic!("no answer");
        };
        assert_eq!(Value::Object(answer), json!({"return": {"a": 1}}));
        assert_eq!(take(Expecting::Nothing, text).unwrap(), None);
        assert_eq!(take(Expecting::Nothing, "x\n").unwrap(), None);
        for bad in ["{}\n", "[1]\n", "{\"event\":1}\n", "x\n"] {
            assert!(take(Expecting::Answer, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_without_end_is_cut_off() {
        let mut protocol = AgentProtocol::new();
        protocol.expect(Expecting::Answer);
        let block = vec![b'x'; 1 << 20];
        let failed = (0..20).find(|_| protocol.receive(&block).is_err());
        assert_eq!(failed, Some(10));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..300), id: u64) {
            let mut protocol = AgentProtocol::new();
            protocol.expect(Expecting::Sync { id, first: true });
            let _ = protocol.receive(&bytes);
            protocol.expect(Expecting::Answer);
            let _ = protocol.receive(&bytes);
        }
    }
}
