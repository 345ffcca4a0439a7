//! virsh's command language.
//!
//! A line holds commands separated by `;` or newlines; `#` starts a comment at the start of a word. Words are quoted with `'`,
//! `"` and `\` nearly as in a POSIX shell. A command is followed by `--option`, `--option value`, `--option=value`
//! and by bare values that fill the positional options in order; behind `--` all words are values.
//!
//! Words come from a line ([`parse_line`]) or from the program's arguments ([`parse_words`]). For completion,
//! [`parse_partial`] reads what has been typed so far and forgives what is missing.

use crate::command::{Command, Group, Opt, OptionKind, Position, find};
use std::collections::VecDeque;

/// The values given to one option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Whether the option appeared.
    pub present: bool,
    /// Its values: none for a flag, one for text and numbers, any number for the rest.
    pub values: Vec<String>,
}

/// A parsed command: the row of the table and what was given to each of its options.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The command.
    pub command: &'static Command,
    given: Vec<Given>,
    /// The option that took the last word.
    last: Option<usize>,
    help: bool,
    /// Format asked for with `--output` behind the command.
    pub output: Option<String>,
}

impl Invocation {
    /// A command to which nothing was given yet.
    pub fn new(command: &'static Command) -> Self {
        Self {
            command,
            given: vec![Given::default(); command.options.len()],
            last: None,
            help: false,
            output: None,
        }
    }

    fn slot(&self, name: &str) -> Option<(&'static Opt, &Given)> {
        let index = self
            .command
            .options
            .iter()
            .position(|option| option.name == name)?;
        self.command.options.get(index).zip(self.given.get(index))
    }

    /// Whether the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.slot(name).is_some_and(|(_, given)| given.present)
    }

    /// The option's row and value, if it was given with one.
    pub fn option_value(&self, name: &str) -> Option<(&'static Opt, &str)> {
        let (option, given) = self.slot(name)?;
        given.values.last().map(|value| (option, value.as_str()))
    }

    /// All values of a [`OptionKind::Rest`] option.
    pub fn values(&self, name: &str) -> &[String] {
        self.slot(name).map_or(&[], |(_, given)| given.values.as_slice())
    }

    /// The option that took the last word, with that word.
    pub fn last_option(&self) -> Option<(&'static Opt, Option<&str>)> {
        let index = self.last?;
        let given = self.given.get(index)?;
        Some((
            self.command.options.get(index)?,
            given.values.last().map(String::as_str),
        ))
    }

    /// Options that could still be given, in table order.
    pub fn open_options(&self) -> impl Iterator<Item = &'static Opt> + '_ {
        self.command
            .options
            .iter()
            .zip(&self.given)
            .filter_map(|(option, given)| match option.kind {
                OptionKind::Alias { .. } => None,
                OptionKind::Rest => Some(option),
                _ if given.present => None,
                _ => Some(option),
            })
    }
}

/// What the parser tells while it works: libvirt prints each assignment at debug level 1.
pub type Trace<'a> = &'a mut dyn FnMut(String);

/// Parses a line or a batch of lines.
pub fn parse_line(groups: &'static [Group], line: &str, trace: Trace<'_>) -> Result<Vec<Invocation>, String> {
    Parser::new(groups, Words::Line(Line::new(line)), Mode::Strict, trace).run()
}

/// Parses a command given as separate words, which need no quoting; `;` is a word like any other.
pub fn parse_words(
    groups: &'static [Group],
    words: Vec<String>,
    trace: Trace<'_>,
) -> Result<Vec<Invocation>, String> {
    Parser::new(groups, Words::List(words.into()), Mode::Strict, trace).run()
}

/// The last command of an unfinished line, as far as it can be understood.
pub fn parse_partial(groups: &'static [Group], line: &str) -> Option<Invocation> {
    if line.is_empty() {
        return None;
    }
    let mut silent = |_| {};
    let mut parser = Parser::new(groups, Words::Line(Line::new(line)), Mode::Lenient, &mut silent);
    let mut done = parser.run_to_end();
    parser.current.take().or_else(|| done.pop())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Strict,
    Lenient,
}

enum Token {
    Word(String),
    EndOfCommand,
    End,
}

enum Words<'a> {
    Line(Line<'a>),
    List(VecDeque<String>),
}

impl Words<'_> {
    fn next(&mut self, mode: Mode) -> Result<Token, String> {
        match self {
            Self::Line(line) => line.next(mode),
            Self::List(words) => Ok(words.pop_front().map_or(Token::End, Token::Word)),
        }
    }

    /// What is left unread, which completion takes for the value that is missing at the end.
    fn rest(&self) -> String {
        match self {
            Self::Line(line) => line.before_end.to_owned(),
            Self::List(_) => String::new(),
        }
    }
}

struct Line<'a> {
    text: &'a str,
    /// What was left when the last token was asked for.
    before_end: &'a str,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        // A NUL ends the text, as it does for every C string.
        let text = text.split('\0').next().unwrap_or_default();
        Self {
            text,
            before_end: text,
        }
    }

    fn next(&mut self, mode: Mode) -> Result<Token, String> {
        self.before_end = self.text;
        let mut rest = self.text;
        while let Some(tail) = rest
            .strip_prefix([' ', '\t'])
            .or_else(|| rest.strip_prefix("\\\n"))
        {
            rest = tail;
        }
        if rest.is_empty() {
            self.text = rest;
            return Ok(Token::End);
        }
        if let Some(tail) = rest.strip_prefix([';', '\n']) {
            self.text = tail;
            return Ok(Token::EndOfCommand);
        }
        if rest.starts_with('#') {
            self.text = rest.split_once('\n').map_or("", |(_, tail)| tail);
            return Ok(Token::EndOfCommand);
        }
        let (word, tail) = read_word(rest, mode)?;
        self.text = tail;
        Ok(Token::Word(word))
    }
}

fn read_word(text: &str, mode: Mode) -> Result<(String, &str), String> {
    let mut word = String::new();
    let (mut single, mut double) = (false, false);
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | ';' | '\n' if !single && !double => {
                end = at;
                break;
            }
            '\'' if !double => single = !single,
            '\\' if !single => match chars.next() {
                None if mode == Mode::Strict => return Err("dangling \\".into()),
                None => {}
                Some((_, '\n')) => {}
                Some((_, escaped)) => word.push(escaped),
            },
            '"' if !single => double = !double,
            other => word.push(other),
        }
    }
    // An open single quote is taken as closed at the end of the line, which scripts rely on.
    if double && mode == Mode::Strict {
        return Err("missing \"".into());
    }
    Ok((word, text.get(end..).unwrap_or_default()))
}

#[derive(Clone, Copy)]
enum State {
    Start,
    Comment,
    Command,
    /// The value of this option is next.
    Assign(usize),
    PositionsOnly,
}

struct Parser<'a, 'w> {
    groups: &'static [Group],
    words: Words<'w>,
    mode: Mode,
    trace: Trace<'a>,
    state: State,
    current: Option<Invocation>,
    /// A value that arrived together with its option's name.
    attached: Option<String>,
    /// `--output` was read and its value is next.
    output_wanted: bool,
}

impl<'a, 'w> Parser<'a, 'w> {
    fn new(groups: &'static [Group], words: Words<'w>, mode: Mode, trace: Trace<'a>) -> Self {
        Self {
            groups,
            words,
            mode,
            trace,
            state: State::Start,
            current: None,
            attached: None,
            output_wanted: false,
        }
    }

    fn run(mut self) -> Result<Vec<Invocation>, String> {
        let mut done = Vec::new();
        while self.step(&mut done)? {}
        Ok(done)
    }

    fn run_to_end(&mut self) -> Vec<Invocation> {
        let mut done = Vec::new();
        while let Ok(true) = self.step(&mut done) {}
        done
    }

    /// Consumes one word or one attached value. `false` at the end.
    fn step(&mut self, done: &mut Vec<Invocation>) -> Result<bool, String> {
        if let State::Assign(index) = self.state {
            let kind = self.option(index).map(|option| option.kind);
            if kind == Some(OptionKind::Flag) {
                if self.attached.take().is_some() {
                    let name = self.option(index).map_or("", |option| option.name);
                    return Err(format!("invalid '=' after option --{name}"));
                }
                self.assign(index, None);
                self.state = State::Command;
                return Ok(true);
            }
        }
        let word = match self.attached.take() {
            Some(value) => value,
            None => match self.words.next(self.mode)? {
                Token::Word(word) => word,
                end => {
                    self.finish_command(done)?;
                    self.state = State::Start;
                    return Ok(matches!(end, Token::EndOfCommand));
                }
            },
        };
        self.take_word(word)?;
        Ok(true)
    }

    fn take_word(&mut self, word: String) -> Result<(), String> {
        match self.state {
            State::Start if word.starts_with('#') => self.state = State::Comment,
            State::Start => {
                let command = find(self.groups, &word).ok_or_else(|| format!("unknown command: '{word}'"))?;
                self.current = Some(Invocation::new(command));
                self.state = State::Command;
            }
            State::Comment => {}
            State::Command if self.output_wanted => {
                self.output_wanted = false;
                if let Some(current) = &mut self.current {
                    current.output = Some(word);
                }
            }
            State::Command if word == "--" => self.state = State::PositionsOnly,
            State::Command => match word.strip_prefix("--") {
                Some(option) => self.take_option(option)?,
                None => self.take_position(word)?,
            },
            State::Assign(index) => {
                self.assign(index, Some(word));
                self.state = State::Command;
            }
            State::PositionsOnly => self.take_position(word)?,
        }
        Ok(())
    }

    fn take_option(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if name == "help" {
            current.help = true;
            return Ok(());
        }
        if name == "output" && current.command.traits.structured {
            match value {
                Some(value) => current.output = Some(value),
                None => self.output_wanted = true,
            }
            return Ok(());
        }
        let is_help = current.command.name == "help";
        match find_option(current, name, value) {
            Ok((index, value)) => {
                self.attached = value;
                self.state = State::Assign(index);
                Ok(())
            }
            // Whoever looks for help shall not stumble over an option.
            Err(_) if is_help => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    fn take_position(&mut self, word: String) -> Result<(), String> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let free = current
            .command
            .options
            .iter()
            .zip(&current.given)
            .position(|(option, given)| {
                option.position != Position::Named && (!given.present || option.kind == OptionKind::Rest)
            });
        match free {
            Some(index) => {
                self.assign(index, Some(word));
                Ok(())
            }
            None if current.command.name == "help" => Ok(()),
            None => Err(format!("unexpected data '{word}'")),
        }
    }

    fn option(&self, index: usize) -> Option<&'static Opt> {
        self.current.as_ref()?.command.options.get(index)
    }

    fn assign(&mut self, index: usize, value: Option<String>) {
        let Some(current) = &mut self.current else { return };
        let (Some(option), Some(given)) = (current.command.options.get(index), current.given.get_mut(index))
        else {
            return;
        };
        if self.mode == Mode::Strict {
            let (command, name) = (current.command.name, option.name);
            let shown = value.as_deref().unwrap_or_default();
            (self.trace)(match option.kind {
                OptionKind::Flag => format!("{command}: {name}(bool)"),
                OptionKind::Rest => format!("{command}: {name}(argv: {}): {shown}", given.values.len()),
                _ => format!("{command}: {name}(optdata): {shown}"),
            });
        }
        given.present = true;
        given.values.extend(value);
        current.last = Some(index);
    }

    fn finish_command(&mut self, done: &mut Vec<Invocation>) -> Result<(), String> {
        if let State::Assign(index) = self.state {
            if self.mode == Mode::Lenient {
                // Completion wants the word that is being typed, however empty.
                let rest = self.words.rest();
                self.assign(index, Some(rest));
            } else if let Some(option) = self.option(index) {
                let what = if option.kind == OptionKind::Number {
                    "number"
                } else {
                    "string"
                };
                return Err(format!("expected syntax: --{} <{what}>", option.name));
            }
        }
        if std::mem::take(&mut self.output_wanted) && self.mode == Mode::Strict {
            return Err("expected syntax: --output <string>".into());
        }
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        if current.help
            && let Some(help) = find(self.groups, "help")
        {
            let name = current.command.name.to_owned();
            current = Invocation::new(help);
            if let Some(given) = current.given.first_mut() {
                given.present = true;
                given.values.push(name);
            }
        }
        if self.mode == Mode::Strict {
            check_required(&current)?;
        }
        done.push(current);
        Ok(())
    }
}

/// Finds the option called `name`, following aliases. The value may come with the name or with the alias.
fn find_option(
    current: &Invocation,
    name: &str,
    mut value: Option<String>,
) -> Result<(usize, Option<String>), String> {
    let mut name = name;
    for (index, (option, given)) in current.command.options.iter().zip(&current.given).enumerate() {
        if option.name != name {
            continue;
        }
        if let OptionKind::Alias {
            target,
            value: implied,
        } = option.kind
        {
            if let Some(implied) = implied {
                if value.is_some() {
                    return Err(format!("invalid '=' after option --{name}"));
                }
                value = Some(implied.to_owned());
            }
            name = target;
            continue;
        }
        if given.present && option.kind != OptionKind::Rest {
            return Err(format!("option --{name} already seen"));
        }
        return Ok((index, value));
    }
    Err(format!(
        "command '{}' doesn't support option --{name}",
        current.command.name
    ))
}

fn check_required(current: &Invocation) -> Result<(), String> {
    let missing = current
        .command
        .options
        .iter()
        .zip(&current.given)
        .find(|(option, given)| option.required && !given.present);
    match missing {
        None => Ok(()),
        Some((option, _)) if option.position == Position::Positional => Err(format!(
            "command '{}' requires <{}> option",
            current.command.name, option.name
        )),
        Some((option, _)) => Err(format!(
            "command '{}' requires --{} option",
            current.command.name, option.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::GROUPS;
    use proptest::prelude::*;

    fn line(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let parsed = parse_line(GROUPS, text, &mut |_| {})?;
        Ok(parsed
            .iter()
            .map(|one| (one.command.name.to_owned(), one.values("string").to_vec()))
            .collect())
    }

    fn echo(words: &[&str]) -> (String, Vec<String>) {
        (
            "echo".into(),
            words.iter().map(|word| (*word).to_owned()).collect(),
        )
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(line("echo \"a \t b\"").unwrap(), [echo(&["a \t b"])]);
        assert_eq!(line("echo 'a \t b'").unwrap(), [echo(&["a \t b"])]);
        assert_eq!(line("echo a\\ \\\t\\ b").unwrap(), [echo(&["a \t b"])]);
        assert_eq!(
            line("echo  \"'\"  '\"'  '\\'\"\\\\\"").unwrap(),
            [echo(&["'", "\"", "\\\\"])]
        );
        assert_eq!(
            line("\"ec\\\nho\" a\n echo \"\\\n b\";").unwrap(),
            [echo(&["a"]), echo(&[" b"])]
        );
        assert_eq!(
            line("ec\\\nho a\n echo '\\\n b';").unwrap(),
            [echo(&["a"]), echo(&["\\\n b"])]
        );
        assert_eq!(line("echo \"a").unwrap_err(), "missing \"");
        assert_eq!(line("echo a\\").unwrap_err(), "dangling \\");
        assert_eq!(line("echo 'open").unwrap(), [echo(&["open"])]);
    }

    #[test]
    fn comments_reach_to_the_end_of_the_line() {
        assert_eq!(line("echo a # b").unwrap(), [echo(&["a"])]);
        assert_eq!(line("echo a #b\necho c").unwrap(), [echo(&["a"]), echo(&["c"])]);
        assert_eq!(line("echo a '#' b").unwrap(), [echo(&["a", "#", "b"])]);
        assert_eq!(
            line("#unbalanced; 'quotes\"\necho a # b").unwrap(),
            [echo(&["a"])]
        );
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(line("nonsense").unwrap_err(), "unknown command: 'nonsense'");
        assert_eq!(line("list x").unwrap_err(), "unexpected data 'x'");
        assert_eq!(
            line("list --x").unwrap_err(),
            "command 'list' doesn't support option --x"
        );
        assert_eq!(
            line("list --all=1").unwrap_err(),
            "invalid '=' after option --all"
        );
        assert_eq!(line("list --all --all").unwrap_err(), "option --all already seen");
        assert_eq!(
            line("domstate").unwrap_err(),
            "command 'domstate' requires <domain> option"
        );
        assert_eq!(
            line("domstate --domain").unwrap_err(),
            "expected syntax: --domain <string>"
        );
        assert_eq!(
            line("dommemstat x --period").unwrap_err(),
            "expected syntax: --period <number>"
        );
    }

    #[test]
    fn aliases_stand_for_options_and_values() {
        assert_eq!(line("echo --str hello").unwrap(), [echo(&["hello"])]);
        assert_eq!(line("echo --hi").unwrap(), [echo(&["hello"])]);
        assert_eq!(line("echo --hi=x").unwrap_err(), "invalid '=' after option --hi");
    }

    #[test]
    fn two_dashes_end_the_options() {
        let words = |list: &[&str]| {
            let list = list.iter().map(|word| (*word).to_owned()).collect();
            let parsed = parse_words(GROUPS, list, &mut |_| {}).unwrap();
            (parsed[0].has("shell"), parsed[0].values("string").join(" "))
        };
        assert_eq!(words(&["echo", "--shell", "a"]), (true, "a".into()));
        assert_eq!(
            words(&["echo", "--", "a", "--shell"]),
            (false, "a --shell".into())
        );
        assert_eq!(
            words(&["echo", "--", "--", "--shell", "a"]),
            (false, "-- --shell a".into())
        );
    }

    #[test]
    fn help_replaces_any_command() {
        let parsed = parse_line(GROUPS, "domstate --help", &mut |_| {}).unwrap();
        assert_eq!(parsed[0].command.name, "help");
        assert_eq!(parsed[0].option_value("command").unwrap().1, "domstate");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*", separators in "[ \t\n;'\"\\\\#=-]*") {
            let mixed: String = text.chars().zip(separators.chars().cycle()).flat_map(|(a, b)| [a, b]).collect();
            for line in [&text, &separators, &mixed, &format!("echo {mixed}")] {
                let _ = parse_line(GROUPS, line, &mut |_| {});
                let _ = parse_partial(GROUPS, line);
            }
        }
    }
}
