//! The syntax of log settings: where messages go and which ones (`log_outputs`, `log_filters`).

use crate::error::{ErrorCode, Result, VirtError};

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// 1
    Debug = 1,
    /// 2
    Info = 2,
    /// 3
    Warning = 3,
    /// 4
    Error = 4,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The standard error channel.
    Stderr,
    /// The journal.
    Journald,
    /// The system log, under this name.
    Syslog(String),
    /// The end of this file.
    File(String),
}

/// Messages from a priority on go to a destination: `3:file:/var/log/libvirt/libvirtd.log`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The least important that go there.
    pub priority: Priority,
    /// Where they go.
    pub destination: Destination,
}

/// Messages of modules whose names match are taken from a priority on: `1:qemu`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The least important that are taken.
    pub priority: Priority,
    /// A part of the modules' names; `*` and `?` stand for any.
    pub pattern: String,
}

impl Priority {
    fn parse(text: &str, of: &str) -> Result<Self> {
        match crate::number::scan_integer(text, 10)
            .filter(|number| number.rest.is_empty())
            .and_then(|n| n.to_i32())
        {
            Some(1) => Ok(Self::Debug),
            Some(2) => Ok(Self::Info),
            Some(3) => Ok(Self::Warning),
            Some(4) => Ok(Self::Error),
            _ => Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "invalid priority '{text}' in log setting '{of}': expected 1 (debug), 2 (info), 3 (warning) or 4 (error)"
                ),
            )),
        }
    }
}

impl Output {
    /// Reads one output.
    ///
    /// # Errors
    /// `INVALID_ARG`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let priority = Priority::parse(parts.next().unwrap_or_default(), text)?;
        let rest: Vec<&str> = parts.collect();
        let destination = match rest.as_slice() {
            ["stderr"] => Destination::Stderr,
            ["journald"] => Destination::Journald,
            ["syslog", name] => Destination::Syslog((*name).to_owned()),
            ["file", path] => Destination::File((*path).to_owned()),
            _ => {
                return Err(VirtError::new(
                    ErrorCode::INVALID_ARG,
                    format_args!(
                        "malformed log output '{text}': expected PRIORITY:stderr, PRIORITY:journald, \
                         PRIORITY:syslog:NAME or PRIORITY:file:PATH"
                    ),
                ));
            }
        };
        Ok(Self {
            priority,
            destination,
        })
    }
}

impl Filter {
    /// Reads one filter. A `+` before the pattern, which once asked for stack traces, means nothing.
    ///
    /// # Errors
    /// `INVALID_ARG`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let priority = Priority::parse(parts.next().unwrap_or_default(), text)?;
        let pattern = parts.next().unwrap_or_default();
        let pattern = pattern.strip_prefix('+').unwrap_or(pattern);
        if pattern.is_empty() {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("malformed log filter '{text}': expected PRIORITY:PATTERN"),
            ));
        }
        Ok(Self {
            priority,
            pattern: pattern.to_owned(),
        })
    }
}

/// Reads outputs that blanks separate. Of several to one destination the last counts.
///
/// # Errors
/// `INVALID_ARG`.
pub fn parse_outputs(text: &str) -> Result<Vec<Output>> {
    let mut outputs: Vec<Output> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let output = Output::parse(word)?;
        outputs.retain(|known| known.destination != output.destination);
        outputs.push(output);
    }
    Ok(outputs)
}

/// Reads filters that blanks separate.
///
/// # Errors
/// `INVALID_ARG`.
pub fn parse_filters(text: &str) -> Result<Vec<Filter>> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(Filter::parse)
        .collect()
}

/// Whether a line looks like one of libvirt's log: `2013-10-11 15:43:43.866+0000: 28302: info : …`. Used to find the real
/// message in the output of a program that failed.
pub fn is_log_message(line: &str) -> bool {
    // `0` stands for a digit.
    fn pattern<'t>(text: &'t str, shape: &str) -> Option<&'t str> {
        let mut rest = text.chars();
        for expected in shape.chars() {
            let found = rest.next()?;
            let fits = if expected == '0' {
                found.is_ascii_digit()
            } else {
                found == expected
            };
            if !fits {
                return None;
            }
        }
        Some(rest.as_str())
    }
    let at = |start: usize| -> Option<()> {
        let rest = pattern(line.get(start..)?, "0000-00-00 00:00:00.000")?;
        let rest = pattern(rest, "+0000").or_else(|| pattern(rest, "-0000"))?;
        let rest = rest.strip_prefix(": ")?;
        let pid = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = pid.strip_prefix(": ").filter(|_| pid.len() < rest.len())?;
        let levels = ["debug", "info", "warning", "error"];
        levels
            .iter()
            .find_map(|level| rest.strip_prefix(level))?
            .strip_prefix(" : ")
            .map(|_| ())
    };
    line.char_indices()
        .any(|(start, c)| c.is_ascii_digit() && at(start).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settings_are_read() {
        let outputs = parse_outputs("1:stderr 3:file:/a  4:stderr 2:syslog:virtd").unwrap();
        assert_eq!(outputs.len(), 3);
        assert_eq!(
            outputs[1],
            Output {
                priority: Priority::Error,
                destination: Destination::Stderr
            }
        );
        let filters = parse_filters("1:+qemu 4:util").unwrap();
        assert_eq!(
            filters[0],
            Filter {
                priority: Priority::Debug,
                pattern: "qemu".to_owned()
            }
        );
        for wrong in ["0:stderr", "1:stderr:x", "1:file", "1", "x:stderr", "1:syslog"] {
            assert_eq!(
                parse_outputs(wrong).unwrap_err().code(),
                ErrorCode::INVALID_ARG,
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[0-9:. +a-z-]{0,60}") {
            let _ = parse_outputs(&text);
            let _ = parse_filters(&text);
            is_log_message(&text);
        }
    }
}
