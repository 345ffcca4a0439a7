//! The options before the command: `virsh [options]… [command]`.
//!
//! Read as getopt_long reads them, up to the first word that is no option: long names may be shortened while they stay
//! unambiguous, short ones may be joined (`-qr`), values may be joined to their option or follow it.

use crate::numbers;
use crate::output::Format;

/// What the options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-c`: the URI to connect to.
    pub connect: Option<String>,
    /// `-d`: print messages of this level and above; 4 prints none.
    pub debug: Option<u8>,
    /// `-e`: the console's escape character, `^]` by default.
    pub escape: Option<String>,
    /// `-k`: seconds between keepalive messages.
    pub keepalive_interval: Option<i32>,
    /// `-K`: messages that may stay unanswered.
    pub keepalive_count: Option<i32>,
    /// `-l`: where to log.
    pub log: Option<String>,
    /// `-q`: only what was asked for.
    pub quiet: bool,
    /// `-r`: connect read-only.
    pub read_only: bool,
    /// `-t`: print how long commands took.
    pub timing: bool,
    /// `--output`: machine-readable results.
    pub output: Option<Format>,
    /// Remarks that do not stop the program.
    pub warnings: Vec<String>,
}

/// What to do with the program's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run these words as a command, or the shell if there are none.
    Run(Options, Vec<String>),
    /// Print the usage.
    Help,
    /// Print the version number.
    ShortVersion,
    /// Print version and abilities.
    LongVersion,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    None,
    Required,
    Optional,
}

const LONG: &[(&str, Value, char)] = &[
    ("connect", Value::Required, 'c'),
    ("debug", Value::Required, 'd'),
    ("escape", Value::Required, 'e'),
    ("help", Value::None, 'h'),
    ("keepalive-interval", Value::Required, 'k'),
    ("keepalive-count", Value::Required, 'K'),
    ("log", Value::Required, 'l'),
    ("output", Value::Required, 'o'),
    ("quiet", Value::None, 'q'),
    ("readonly", Value::None, 'r'),
    ("timing", Value::None, 't'),
    ("version", Value::Optional, 'v'),
];

/// Reads the arguments behind the program's name.
pub fn parse(arguments: Vec<String>) -> Result<Request, String> {
    let mut options = Options::default();
    let mut words = arguments.into_iter().peekable();
    while let Some(word) = words.peek().cloned() {
        if word == "--" {
            words.next();
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            words.next();
            let (name, mut value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (full, takes, letter) =
                find_long(name).ok_or_else(|| format!("unsupported option '{word}'. See --help."))?;
            match takes {
                // getopt reports the letter where it knows the option and its value is too much.
                Value::None if value.is_some() => {
                    return Err(format!("unsupported option '-{letter}'. See --help."));
                }
                Value::Required if value.is_none() => {
                    value = Some(words.next().ok_or_else(|| missing_value(letter))?);
                }
                _ => {}
            }
            if let Some(request) = apply(&mut options, letter, value, Some(full))? {
                return Ok(request);
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            words.next();
            let mut letters = letters;
            while let Some(letter) = letters.chars().next() {
                letters = &letters[letter.len_utf8()..];
                let takes = match letter {
                    'c' | 'd' | 'e' | 'k' | 'K' | 'l' => Value::Required,
                    'h' | 'q' | 'r' | 't' | 'v' | 'V' => Value::None,
                    _ => return Err(format!("unsupported option '-{letter}'. See --help.")),
                };
                let mut value = None;
                if takes == Value::Required {
                    value = if letters.is_empty() {
                        Some(words.next().ok_or_else(|| missing_value(letter))?)
                    } else {
                        Some(std::mem::take(&mut letters).to_owned())
                    };
                }
                if let Some(request) = apply(&mut options, letter, value, None)? {
                    return Ok(request);
                }
            }
        } else {
            break;
        }
    }
    Ok(Request::Run(options, words.collect()))
}

fn find_long(name: &str) -> Option<(&'static str, Value, char)> {
    if let Some(exact) = LONG.iter().find(|(full, ..)| *full == name) {
        return Some(*exact);
    }
    let mut candidates = LONG.iter().filter(|(full, ..)| full.starts_with(name));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    }
}

fn missing_value(letter: char) -> String {
    match LONG.iter().find(|(.., known)| *known == letter) {
        Some((name, ..)) if letter != 'o' => format!("option '-{letter}'/'--{name}' requires an argument"),
        Some((name, ..)) => format!("option '--{name}' requires an argument"),
        None => format!("option '-{letter}' requires an argument"),
    }
}

fn apply(
    options: &mut Options,
    letter: char,
    value: Option<String>,
    long: Option<&str>,
) -> Result<Option<Request>, String> {
    let text = value.clone().unwrap_or_default();
    let shown = || long.map_or(format!("-{letter}"), |name| format!("--{name}"));
    match letter {
        'c' => options.connect = Some(text),
        'd' => {
            let level = numbers::int(&text, 10)
                .ok_or_else(|| format!("option {} takes a numeric argument", shown()))?;
            match u8::try_from(level) {
                Ok(level @ 0..=4) => options.debug = Some(level),
                _ => options
                    .warnings
                    .push(format!("ignoring debug level {level} out of range [0-4]")),
            }
        }
        'e' => {
            if !is_escape(&text) {
                return Err(format!("Invalid string '{text}' for escape sequence"));
            }
            options.escape = Some(text);
        }
        'h' => return Ok(Some(Request::Help)),
        'k' | 'K' => {
            let number =
                numbers::int(&text, 0).ok_or_else(|| format!("Invalid value for option {}", shown()))?;
            if number < 0 {
                return Err(format!("option {} requires a positive integer argument", shown()));
            }
            if letter == 'k' {
                options.keepalive_interval = Some(number);
            } else {
                options.keepalive_count = Some(number);
            }
        }
        'l' => options.log = Some(text),
        'o' => options.output = Some(Format::parse(&text)?),
        'q' => options.quiet = true,
        'r' => options.read_only = true,
        't' => options.timing = true,
        'v' if value.as_deref() != Some("long") => return Ok(Some(Request::ShortVersion)),
        _ => return Ok(Some(Request::LongVersion)),
    }
    Ok(None)
}

/// `^X` for a control character, or a single character.
fn is_escape(text: &str) -> bool {
    match text.as_bytes() {
        [b'^', control] => control.is_ascii_lowercase() || (b'@'..=b'_').contains(control),
        [single] => *single != b'^',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<Request, String> {
        parse(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn options_end_at_the_first_word() {
        let Request::Run(options, words) = run(&["-qrc", "test:///default", "list", "-q"]).unwrap() else {
            panic!("not a command")
        };
        assert!(options.quiet && options.read_only);
        assert_eq!(options.connect.as_deref(), Some("test:///default"));
        assert_eq!(words, ["list", "-q"]);
    }

    #[test]
    fn long_options_may_be_shortened_and_joined() {
        let Request::Run(options, words) = run(&["--conn=a", "--keepalive-i", "3", "--", "--x"]).unwrap()
        else {
            panic!("not a command")
        };
        assert_eq!(options.connect.as_deref(), Some("a"));
        assert_eq!(options.keepalive_interval, Some(3));
        assert_eq!(words, ["--x"]);
        assert_eq!(run(&["--version=long"]).unwrap(), Request::LongVersion);
        assert_eq!(run(&["--version"]).unwrap(), Request::ShortVersion);
        assert_eq!(run(&["-V"]).unwrap(), Request::LongVersion);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(run(&["-x"]).unwrap_err(), "unsupported option '-x'. See --help.");
        assert_eq!(
            run(&["--foo"]).unwrap_err(),
            "unsupported option '--foo'. See --help."
        );
        assert_eq!(
            run(&["-c"]).unwrap_err(),
            "option '-c'/'--connect' requires an argument"
        );
        assert_eq!(
            run(&["-d", "x"]).unwrap_err(),
            "option -d takes a numeric argument"
        );
        assert_eq!(
            run(&["--debug", "x"]).unwrap_err(),
            "option --debug takes a numeric argument"
        );
        assert_eq!(
            run(&["-k", "-1"]).unwrap_err(),
            "option -k requires a positive integer argument"
        );
        assert_eq!(
            run(&["-e", "^^x"]).unwrap_err(),
            "Invalid string '^^x' for escape sequence"
        );
    }

    #[test]
    fn the_manual_page_has_them_all() {
        let page = include_str!("../files/virsh.1").replace("\\-", "-");
        for (name, _, letter) in LONG {
            assert!(page.contains(&format!("--{name}")), "--{name}");
            assert!(
                *letter == 'o' || page.contains(&format!("-{letter} ")),
                "-{letter}"
            );
        }
    }
}
