//! What a test program prints, read.

use crate::task::{self, Context, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a test program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By itself; whether with success.
    Ended(bool),
    /// In another way, in words.
    Broken(String),
}

/// Runs a program to its end or for at most `limit`, and gives what it wrote to its standard output, followed by
/// what it wrote to its standard error.
pub fn capture(command: &mut Command, limit: Duration) -> Result<(String, Verdict)> {
    use std::os::unix::process::ExitStatusExt;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(|| task::describe(command))?;
    let readers = [child.stdout.take().map(reader), child.stderr.take().map(reader)];
    let deadline = Instant::now() + limit;
    let verdict = loop {
        if let Some(status) = child.try_wait().context(|| task::describe(command))? {
            break match status.signal() {
                Some(signal) => Verdict::Broken(format!("ended by signal {signal}")),
                None => Verdict::Ended(status.success()),
            };
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break Verdict::Broken(format!("no end after {} s", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut text = String::new();
    for receiver in readers.into_iter().flatten() {
        // A process that a test left behind may hold the pipe open: it is not waited for.
        while let Ok(part) = receiver.recv_timeout(Duration::from_secs(2)) {
            text.push_str(&part);
        }
        text.push('\n');
    }
    Ok((text, verdict))
}

/// Reads a pipe in a thread of its own.
fn reader<R: Read + Send + 'static>(mut pipe: R) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let part = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if sender.send(part).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Counts, with names where somebody will ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of tests that passed and were not skipped.
    pub passed: usize,
    /// Failed tests and what they printed.
    pub failed: Vec<(String, String)>,
    /// Skipped tests and the reason.
    pub skipped: Vec<(String, String)>,
}

/// How a line of the tests' list ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Passed,
    Failed,
    Ignored(String),
}

impl Tally {
    /// Reads what a test program printed, together with the skips it recorded (name, tab, reason; one a line).
    pub fn read(text: &str, verdict: &Verdict, skips: &str, require: &str) -> Self {
        let mut tests: BTreeMap<String, Line> = BTreeMap::new();
        for (name, line) in text.lines().filter_map(test_line) {
            tests.insert(name, line);
        }
        let printed = sections(text);
        let mut reasons: BTreeMap<&str, &str> =
            skips.lines().filter_map(|line| line.split_once('\t')).collect();
        for (name, output) in &printed {
            if let Some(reason) = output.lines().find_map(|line| {
                line.strip_prefix("skipped: ")
                    .or_else(|| line.strip_prefix("SKIP: "))
            }) {
                reasons.entry(name).or_insert(reason);
            }
        }
        let required: Vec<&str> = require.split(',').filter(|name| !name.is_empty()).collect();

        let mut tally = Self::default();
        for (name, line) in &tests {
            match line {
                Line::Failed => {
                    let text = printed.get(name).map(String::as_str).unwrap_or_default();
                    tally.failed.push((name.clone(), text.to_owned()));
                }
                Line::Ignored(reason) => tally.skipped.push((name.clone(), reason.clone())),
                Line::Passed => match reasons.get(name.as_str()) {
                    Some(reason)
                        if required
                            .iter()
                            .any(|wanted| reason.split([' ', ':']).any(|word| word == *wanted)) =>
                    {
                        tally
                            .failed
                            .push((name.clone(), format!("skipped, but required: {reason}")));
                    }
                    Some(reason) => tally.skipped.push((name.clone(), (*reason).to_owned())),
                    None => tally.passed += 1,
                },
            }
        }
        match verdict {
            Verdict::Broken(how) => tally
                .failed
                .push(("(the program)".to_owned(), format!("{how}\n{}", tail(text)))),
            Verdict::Ended(false) if tally.failed.is_empty() => {
                tally.failed.push((
                    "(the program)".to_owned(),
                    format!("failed with no failed test\n{}", tail(text)),
                ));
            }
            Verdict::Ended(_) => {}
        }
        tally
    }

    /// Adds another's counts, names prefixed.
    pub fn add(&mut self, label: &str, other: Self) {
        self.passed += other.passed;
        let prefixed = |(name, text): (String, String)| (format!("{label}: {name}"), text);
        self.failed.extend(other.failed.into_iter().map(prefixed));
        self.skipped.extend(other.skipped.into_iter().map(prefixed));
    }

    /// The counts as one line.
    pub fn line(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

/// A line of the list of tests: `test NAME ... ok`.
fn test_line(line: &str) -> Option<(String, Line)> {
    let rest = line.strip_prefix("test ")?;
    let (name, end) = rest.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    let end = end.trim_end();
    // What a child process of the test printed may stand before the word.
    let line = if end.ends_with("ok") {
        Line::Passed
    } else if end.ends_with("FAILED") {
        Line::Failed
    } else if let Some(reason) = end.strip_prefix("ignored") {
        let reason = reason.trim_start_matches(',').trim();
        Line::Ignored(if reason.is_empty() {
            "marked as ignored".to_owned()
        } else {
            reason.to_owned()
        })
    } else {
        return None;
    };
    Some((name.to_owned(), line))
}

/// What tests printed: `---- NAME stdout ----` and the lines up to the next of its kind.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let header = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        match header {
            Some(name) => current = Some(name.to_owned()),
            None if matches!(line, "successes:" | "failures:") || line.starts_with("test result:") => {
                current = None
            }
            None => {
                if let Some(name) = &current {
                    let output = found.entry(name.clone()).or_default();
                    output.push_str(line);
                    output.push('\n');
                }
            }
        }
    }
    found
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(30)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Tally, Verdict};

    const TEXT: &str = "
running 5 tests
test a::one ... ok
test a::two ... FAILED
test a::three ... ignored, takes a day
test a::four - should panic ... ok
test a::five ... ok

successes:

---- a::five stdout ----
skipped: needs kvm

successes:
    a::one

failures:

---- a::two stdout ----
left != right

failures:
    a::two

test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn counts_and_names() {
        let tally = Tally::read(TEXT, &Verdict::Ended(false), "a::one\tno root\n", "");
        assert_eq!(tally.line(), "1 passed, 1 failed, 3 skipped");
        assert_eq!(
            tally.failed,
            [("a::two".to_owned(), "left != right\n\n".to_owned())]
        );
        let reasons: Vec<&str> = tally.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons, ["needs kvm", "no root", "takes a day"]);
    }

    #[test]
    fn a_required_skip_is_a_failure() {
        let tally = Tally::read(TEXT, &Verdict::Ended(false), "a::one\tno root\n", "kvm,corpus");
        assert_eq!(tally.line(), "1 passed, 2 failed, 2 skipped");
    }

    #[test]
    fn a_program_that_breaks_is_a_failure() {
        let tally = Tally::read(
            "test a ... ok\n",
            &Verdict::Broken("ended by signal 11".to_owned()),
            "",
            "",
        );
        assert_eq!(tally.line(), "1 passed, 1 failed, 0 skipped");
        let tally = Tally::read("test a ... ok\n", &Verdict::Ended(false), "", "");
        assert_eq!(tally.line(), "1 passed, 1 failed, 0 skipped");
    }
}
