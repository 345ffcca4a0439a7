//! Tests that assert nothing, found in the source.
//!
//! A test asserts something if its body, or a function of the same file that it calls, has an assertion, `panic!`,
//! `unwrap`, `expect` or `?`. One that only has to survive is legal; it is named so that somebody looks.

use crate::check::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What counts as asserting.
const ASSERTING: &[&str] = &[
    "assert",
    "panic!",
    "unwrap",
    "expect",
    "?;",
    "?.",
    "?)",
    "? ",
    "TestCases",
    "unreachable!",
];

/// `file:line name` of each test without an assertion.
pub fn tests_without(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["crates", "drivers", "secondary", "tests", "xtask"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        found.extend(
            in_source(&Source::new(&text).code())
                .into_iter()
                .map(|(line, name)| format!("{shown}:{line} {name}")),
        );
    }
    found
}

/// The same, for the code of one file: line and name.
fn in_source(code: &str) -> Vec<(usize, String)> {
    let functions = functions(code);
    let says = |body: &str| ASSERTING.iter().any(|word| body.contains(word));
    let mut asserting: BTreeSet<&str> = functions
        .iter()
        .filter(|f| says(f.body))
        .map(|f| f.name)
        .collect();
    // Functions that call asserting ones assert too, however deep.
    loop {
        let calls = |body: &str| asserting.iter().any(|name| calls(body, name));
        let more: Vec<&str> = functions
            .iter()
            .filter(|f| !asserting.contains(f.name) && calls(f.body))
            .map(|f| f.name)
            .collect();
        if more.is_empty() {
            break;
        }
        asserting.extend(more);
    }
    let silent = functions
        .iter()
        .filter(|f| f.is_test && !f.should_panic && !asserting.contains(f.name));
    silent.map(|f| (f.line, f.name.to_owned())).collect()
}

/// Whether a body calls a function of this name.
fn calls(body: &str, name: &str) -> bool {
    body.match_indices(name).any(|(at, _)| {
        let before = body.get(..at).and_then(|head| head.chars().next_back());
        let after = body
            .get(at + name.len()..)
            .and_then(|rest| rest.trim_start().chars().next());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            && matches!(after, Some('(' | ':' | ')' | ','))
    })
}

/// A function in the code.
struct Function<'a> {
    name: &'a str,
    line: usize,
    body: &'a str,
    is_test: bool,
    should_panic: bool,
}

/// All functions with a body, nested ones too.
fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let word_before = code.get(..at).and_then(|head| head.chars().next_back());
        if word_before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code.get(at + 3..).unwrap_or_default();
        let name = rest
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        let Some(open) = rest.find(['{', ';']) else {
            continue;
        };
        if name.is_empty() || rest.as_bytes().get(open) == Some(&b';') {
            continue;
        }
        let body_on = rest.get(open..).unwrap_or_default();
        let mut depth = 0_usize;
        let end = body_on.char_indices().find_map(|(i, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0).then_some(i)
        });
        let head = code.get(..at).unwrap_or_default();
        // The attributes: back to the end of what stands before the function.
        let start = head.rfind(['}', ';', '{']).map_or(0, |i| i + 1);
        let attributes = head.get(start..).unwrap_or_default();
        found.push(Function {
            name,
            line: head.matches('\n').count() + 1,
            body: body_on.get(..end.unwrap_or(body_on.len())).unwrap_or_default(),
            is_test: attributes.contains("#[test]"),
            should_panic: attributes.contains("should_panic"),
        });
    }
    found
}

/// Adds the `.rs` files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn silent_tests_are_found_and_helpers_count() {
        let code = "
fn helper(x: u8) { assert_eq!(x, 1); }
fn deeper() { helper(1) }
#[test]
fn silent() { run(); }
#[test]
fn direct() { assert!(run()); }
#[test]
fn through() { deeper(); }
#[test]
#[should_panic]
fn dies() { run() }
fn run() -> bool { true }
";
        assert_eq!(super::in_source(code), [(5, "silent".to_owned())]);
    }
}
