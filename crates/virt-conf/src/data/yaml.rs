//! YAML with the places of its values.
//!
//! A word without quotes stays a [`Value::Plain`]: whether `on`, `1.10` or `null` is text, a number or nothing is decided by
//! the field that it is given to. So a name that looks like a number needs no quotes.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use virt_util::Result;
use virt_util::xml::data::{MAX_DEPTH, Member, Node, Value};
use virt_util::xml::{DocOptions, Position};

use super::malformed;

/// Reads one document. Aliases stand for copies; tags other than `!!str` are refused.
///
/// # Errors
/// `XML_DETAIL` with line and column if the text is not well formed or passes a limit.
pub fn read(source: &str, options: &DocOptions<'_>) -> Result<Node> {
    if source.len() > options.limits.bytes {
        return Err(malformed(options, 1, 1, "the document is too long"));
    }
    let mut build = Build {
        options,
        open: Vec::new(),
        done: None,
        anchors: HashMap::new(),
        budget: options.limits.elements,
    };
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|error| {
            let place = error.marker();
            malformed(options, place.line() as u32, place.col() as u32 + 1, error.info())
        })?;
        build.event(event, span)?;
    }
    Ok(build.done.unwrap_or_else(|| Value::Null.into()))
}

/// A list or map that is not yet complete.
struct Open {
    node: Node,
    anchor: usize,
    /// The name of a member whose value comes next.
    name: Option<(String, Option<Position>)>,
}

struct Build<'o> {
    options: &'o DocOptions<'o>,
    open: Vec<Open>,
    done: Option<Node>,
    anchors: HashMap<usize, Node>,
    /// How many more values there may be, those of aliases included.
    budget: usize,
}

fn place(span: &Span) -> Position {
    Position {
        line: span.start.line() as u32,
        column: span.start.col() as u32 + 1,
    }
}

impl Build<'_> {
    fn fail<T>(&self, span: &Span, what: &str) -> Result<T> {
        let Position { line, column } = place(span);
        Err(malformed(self.options, line, column, what))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let position = Some(place(&span));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = match &tag {
                    None => style != ScalarStyle::Plain,
                    Some(tag) if tag.core_suffix() == Some("str") => true,
                    Some(_) => return self.fail(&span, "tags are not known here"),
                };
                let text = text.into_owned();
                let value = match quoted {
                    true => Value::Text(text),
                    false => Value::Plain(text),
                };
                self.put(Node { value, position }, anchor, &span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.start(Value::List(Vec::new()), anchor, tag.is_some(), &span)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.start(Value::Map(Vec::new()), anchor, tag.is_some(), &span)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.node, open.anchor, &span),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.put(node, 0, &span),
                None => self.fail(&span, "an alias stands for something around it"),
            },
            Event::DocumentStart(..) if self.done.is_some() => self.fail(&span, "a second document follows"),
            _ => Ok(()),
        }
    }

    fn start(&mut self, value: Value, anchor: usize, tagged: bool, span: &Span) -> Result<()> {
        if tagged {
            return self.fail(span, "tags are not known here");
        }
        if self.open.len() > MAX_DEPTH {
            return self.fail(span, "the document is too deep");
        }
        self.open.push(Open {
            node: Node {
                value,
                position: Some(place(span)),
            },
            anchor,
            name: None,
        });
        Ok(())
    }

    /// Puts a value where it belongs.
    fn put(&mut self, node: Node, anchor: usize, span: &Span) -> Result<()> {
        let Some(budget) = self.budget.checked_sub(size(&node)) else {
            return self.fail(span, "the document has too many values");
        };
        // What is in a list or map has been counted already, and is counted once more for each alias.
        self.budget = budget;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(list) => list.push(node),
            Value::Map(members) => match open.name.take() {
                Some((name, position)) => members.push(Member { name, position, node }),
                None => match node.value {
                    Value::Text(name) | Value::Plain(name) => open.name = Some((name, node.position)),
                    _ => return self.fail(span, "the name of a field is text"),
                },
            },
            _ => {}
        }
        Ok(())
    }
}

/// How many values there are in a value that an alias may copy; of others only itself counts, as the rest was counted.
fn size(node: &Node) -> usize {
    let mut count = 0;
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        count += 1;
        match &node.value {
            Value::List(list) => waiting.extend(list),
            Value::Map(members) => waiting.extend(members.iter().map(|member| &member.node)),
            _ => {}
        }
    }
    count
}

/// Writes a value as a document of block style.
pub fn write(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

/// Writes a value behind a name or `-`, or alone.
fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(members) if !members.is_empty() => {
            for (index, member) in members.iter().enumerate() {
                if index > 0 {
                    blanks(indent, out);
                }
                word(&member.name, out);
                out.push(':');
                inner(&member.node, indent + 2, out);
            }
        }
        Value::List(list) if !list.is_empty() => {
            for (index, node) in list.iter().enumerate() {
                if index > 0 {
                    blanks(indent, out);
                }
                out.push('-');
                match &node.value {
                    Value::Map(members) if !members.is_empty() => {
                        out.push(' ');
                        block(node, indent + 2, out);
                    }
                    _ => inner(node, indent + 2, out),
                }
            }
        }
        _ => {
            scalar(node, indent, out);
            out.push('\n');
        }
    }
}

/// Writes a value behind `name:` or `-`.
fn inner(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(members) if !members.is_empty() => {
            out.push('\n');
            blanks(indent, out);
            block(node, indent, out);
        }
        Value::List(list) if !list.is_empty() => {
            out.push('\n');
            blanks(indent, out);
            block(node, indent, out);
        }
        _ => {
            out.push(' ');
            scalar(node, indent, out);
            out.push('\n');
        }
    }
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

fn scalar(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(text) => out.push_str(text),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
        Value::Text(text) | Value::Plain(text) => match lines_of(text) {
            Some(lines) => {
                out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
                for line in lines {
                    out.push('\n');
                    if !line.is_empty() {
                        blanks(indent.max(2), out);
                        out.push_str(line);
                    }
                }
            }
            None => word(text, out),
        },
    }
}

/// The lines of a text that can stand as a literal block.
fn lines_of(text: &str) -> Option<impl Iterator<Item = &str>> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let plain = |c: char| {
        c == '\n'
            || c >= ' '
                && !matches!(
                    c,
                    '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                )
    };
    let fits = body.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && body.chars().all(plain)
        && body
            .lines()
            .all(|line| !line.trim().is_empty() || line.is_empty());
    fits.then(|| body.split('\n'))
}

/// Writes a text in one line, in quotes unless no reader of any YAML can take it for something else.
fn word(text: &str, out: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let reserved = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
    ];
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !reserved.iter().any(|word| text.eq_ignore_ascii_case(word));
    if bare {
        out.push_str(text);
    } else {
        // A text in JSON is one in YAML.
        let quoted = serde_json::to_string(text).unwrap_or_default();
        for c in quoted.chars() {
            match c {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_named(source: &str) -> Result<Node> {
        read(source, &DocOptions::named("a.yaml"))
    }

    #[test]
    fn words_stay_words() {
        let node = read_named("# of a guest\nname: 1.10\nlist: [on, \"off\"]\nempty:\n").unwrap();
        assert_eq!(node.get("name").unwrap().value, Value::Plain("1.10".into()));
        let list = node.get("list").unwrap();
        assert_eq!(list.position, Some(Position { line: 3, column: 7 }));
        let Value::List(items) = &list.value else {
            panic!("{list:?}")
        };
        assert_eq!(items[0].value, Value::Plain("on".into()));
        assert_eq!(items[1].value, Value::Text("off".into()));
    }

    #[test]
    fn aliases_are_copies_with_a_limit() {
        let node = read_named("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(node.get("c"), node.get("a"));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for at in 1..20 {
            let before = format!("*a{}, ", at - 1).repeat(10);
            bomb.push_str(&format!("a{at}: &a{at} [{before}]\n"));
        }
        let error = read_named(&bomb).unwrap_err();
        assert!(error.detail().ends_with("too many values"), "{error}");
        assert!(read_named("a: &x [*x]\n").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for (source, what) in [
            ("a: !!int 1", "a.yaml:1:10: tags are not known here"),
            ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document follows"),
            ("[a]: 1", "the name of a field is text"),
        ] {
            let error = read_named(source).expect_err(source);
            assert!(error.detail().ends_with(what), "{source}: {error}");
        }
        assert!(read_named("a: [1").is_err());
        assert!(read_named(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let texts = [
            "",
            " ",
            "a",
            "no",
            "1",
            "a: b",
            "- x",
            "#",
            "é",
            "a\nb",
            "a\n b\n",
            "\na",
            "a\n\nb\n",
            "a\t",
            "'",
            "\"",
            "~",
            "null",
            "a #b",
            "<a>\n  <b/>\n</a>",
            "a\u{2028}b\nc",
            "/dev/vda",
            "x\n\n",
            "0x10",
            "a \nb",
            "\u{feff}",
        ];
        let list: Vec<Node> = texts
            .iter()
            .map(|text| Node::from(Value::Text((*text).to_owned())))
            .collect();
        let member = |name: &str, value: Value| Member {
            name: name.to_owned(),
            position: None,
            node: value.into(),
        };
        let inner = Value::Map(vec![
            member("list", Value::List(list.clone())),
            member("no", Value::List(Vec::new())),
            member("empty", Value::Map(Vec::new())),
            member("lists", Value::List(vec![Value::List(list.clone()).into()])),
        ]);
        let node = Node::from(Value::Map(vec![
            member("texts", Value::List(vec![inner.into()])),
            member("yes", Value::Bool(true)),
        ]));
        let written = write(&node);
        let read = read_named(&written).unwrap();
        assert_eq!(texts_of(&read), texts_of(&node), "{written}");
        let other: serde_json::Value = serde_saphyr::from_str(&written).unwrap();
        assert_eq!(other["texts"][0]["list"], serde_json::json!(texts), "{written}");
    }

    /// All texts, so that plain ones and quoted ones compare equal.
    fn texts_of(node: &Node) -> Vec<String> {
        match &node.value {
            Value::List(list) => list.iter().flat_map(texts_of).collect(),
            Value::Map(members) => members
                .iter()
                .flat_map(|member| {
                    let mut all = vec![member.name.clone()];
                    all.extend(texts_of(&member.node));
                    all
                })
                .collect(),
            Value::Text(text) | Value::Plain(text) => vec![text.clone()],
            other => vec![match other {
                Value::Bool(value) => value.to_string(),
                other => format!("{other:?}"),
            }],
        }
    }
}
