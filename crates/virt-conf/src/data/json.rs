//! JSON with the places of its values. `serde_json` writes it; it does not tell places, so reading is done here.

use virt_util::Result;
use virt_util::xml::data::{MAX_DEPTH, Member, Node, Value};
use virt_util::xml::{DocOptions, Position};

use super::malformed;

/// Reads one value.
///
/// # Errors
/// `XML_DETAIL` with line and column if the text is not well formed or passes a limit.
pub fn read(source: &str, options: &DocOptions<'_>) -> Result<Node> {
    let mut reader = Reader {
        rest: source,
        line: 1,
        column: 1,
        options,
        budget: options.limits.elements,
    };
    if source.len() > options.limits.bytes {
        return reader.fail("the document is too long");
    }
    let node = reader.value(0)?;
    reader.skip_blanks();
    match reader.rest.is_empty() {
        true => Ok(node),
        false => reader.fail("something follows the document"),
    }
}

/// Writes a value, laid out in lines.
pub fn write(node: &Node) -> String {
    let mut text = serde_json::to_string_pretty(node).unwrap_or_default();
    text.push('\n');
    text
}

struct Reader<'s> {
    rest: &'s str,
    line: u32,
    column: u32,
    options: &'s DocOptions<'s>,
    /// How many more values there may be.
    budget: usize,
}

impl<'s> Reader<'s> {
    fn fail<T>(&self, what: &str) -> Result<T> {
        Err(malformed(self.options, self.line, self.column, what))
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            line: self.line,
            column: self.column,
        })
    }

    fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Passes over a piece of what follows.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        for c in taken.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        taken
    }

    fn skip_blanks(&mut self) {
        let blanks = self
            .rest
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.take(blanks.count());
    }

    /// Passes over `byte` and what blanks surround it, if it follows.
    fn skip(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(byte);
        if found {
            self.take(1);
            self.skip_blanks();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node> {
        self.skip_blanks();
        let Some(budget) = self.budget.checked_sub(1) else {
            return self.fail("the document has too many values");
        };
        self.budget = budget;
        if depth > MAX_DEPTH {
            return self.fail("the document is too deep");
        }
        let position = self.position();
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return self.fail("expected a value"),
            None => return self.fail("the document ends too early"),
        };
        Ok(Node { value, position })
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value> {
        if !self.rest.starts_with(word) {
            return self.fail("expected a value");
        }
        self.take(word.len());
        Ok(value)
    }

    fn map(&mut self, depth: usize) -> Result<Value> {
        let mut members = Vec::new();
        self.skip(b'{');
        if self.skip(b'}') {
            return Ok(Value::Map(members));
        }
        loop {
            let position = self.position();
            if self.peek() != Some(b'"') {
                return self.fail("expected the name of a field in quotes");
            }
            let name = self.text()?;
            if !self.skip(b':') {
                return self.fail("expected ':' behind the name of a field");
            }
            let node = self.value(depth + 1)?;
            members.push(Member { name, position, node });
            if self.skip(b',') {
                continue;
            }
            // The blanks behind the map are not its own.
            self.skip_blanks();
            if self.peek() != Some(b'}') {
                return self.fail("expected ',' or '}'");
            }
            self.take(1);
            return Ok(Value::Map(members));
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        let mut list = Vec::new();
        self.skip(b'[');
        if self.skip(b']') {
            return Ok(Value::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.skip(b',') {
                continue;
            }
            self.skip_blanks();
            if self.peek() != Some(b']') {
                return self.fail("expected ',' or ']'");
            }
            self.take(1);
            return Ok(Value::List(list));
        }
    }

    fn number(&mut self) -> Result<Value> {
        let end = self
            .rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let text = self.rest.get(..end).unwrap_or_default();
        if serde_json::from_str::<serde_json::Number>(text).is_err() {
            return self.fail("expected a number");
        }
        Ok(Value::Number(self.take(end).to_owned()))
    }

    fn text(&mut self) -> Result<String> {
        // The end is the first quote that no backslash is in front of.
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return self.fail("a text has no end");
        };
        let raw = self.rest.get(..end + 2).unwrap_or_default();
        let Ok(text) = serde_json::from_str::<String>(raw) else {
            return self.fail("a text holds a wrong escape or a control character");
        };
        self.take(raw.len());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_named(source: &str) -> Result<Node> {
        read(source, &DocOptions::named("a.json"))
    }

    #[test]
    fn values_know_their_places() {
        let node = read_named("{\"a\": [1, -2.5,\n  \"\\u00e9\\n\"], \"ü\": null, \"t\" :true}").unwrap();
        let list = node.get("a").unwrap();
        let Value::List(items) = &list.value else {
            panic!("{list:?}")
        };
        assert_eq!(items[0].value, Value::Number("1".into()));
        assert_eq!(items[1].value, Value::Number("-2.5".into()));
        assert_eq!(items[2].value, Value::Text("é\n".into()));
        assert_eq!(items[2].position, Some(Position { line: 2, column: 3 }));
        assert_eq!(node.get("ü").unwrap().value, Value::Null);
        assert_eq!(node.get("t").unwrap().value, Value::Bool(true));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (source, what) in [
            ("", "a.json:1:1: the document ends too early"),
            ("{\"a\" 1}", "a.json:1:6: expected ':' behind the name of a field"),
            ("{\"a\": 01}", "a.json:1:7: expected a number"),
            ("[1 2]", "a.json:1:4: expected ',' or ']'"),
            (
                "[\"\\x\"]",
                "a.json:1:2: a text holds a wrong escape or a control character",
            ),
            ("[\"a", "a.json:1:2: a text has no end"),
            ("{} x", "a.json:1:4: something follows the document"),
            ("[tru]", "a.json:1:2: expected a value"),
            ("{a: 1}", "a.json:1:2: expected the name of a field in quotes"),
        ] {
            let error = read_named(source).expect_err(source);
            assert_eq!(error.detail(), what, "{source}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            read_named(&deep)
                .unwrap_err()
                .detail()
                .ends_with("the document is too deep")
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let source = "{\n  \"a\": [\n    1,\n    \"x\\\"y\"\n  ],\n  \"b\": {}\n}\n";
        assert_eq!(write(&read_named(source).unwrap()), source);
    }
}
