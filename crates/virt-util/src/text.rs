//! Small work on texts that many callers share.

use crate::error::{Result, VirtError};

/// Quotes the characters that mean something in regular expressions with a backslash.
pub fn escape_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "^$.|?*+()[]{}\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Takes control characters out; tabs and line ends stay.
pub fn strip_control_characters(text: &str) -> String {
    let keep = |c: &char| !c.is_ascii_control() || matches!(c, '\t' | '\n' | '\r' | '\u{7f}');
    text.chars().filter(keep).collect()
}

/// Takes out every character that is none of `allowed`.
pub fn keep_characters(text: &str, allowed: &str) -> String {
    text.chars().filter(|c| allowed.contains(*c)).collect()
}

/// `text` with `blanks` blanks before each line that is not empty.
pub fn indent(text: &str, blanks: usize) -> String {
    let mut out = String::with_capacity(text.len() + blanks * 8);
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.extend(std::iter::repeat_n(' ', blanks));
        }
        out.push_str(line);
    }
    out
}

/// What the one group of a regular expression matched, at most `max` times: for picking values out of the output of
/// programs.
///
/// # Errors
/// `INTERNAL_ERROR` for an expression that is none, or that has not exactly one group.
pub fn search<'t>(text: &'t str, expression: &str, max: usize) -> Result<Vec<&'t str>> {
    let regex = compile(expression)?;
    let groups = regex.captures_len() - 1;
    if groups != 1 {
        return Err(VirtError::internal(format_args!(
            "the regular expression '{expression}' has {groups} groups, exactly one expected"
        )));
    }
    let found = regex.captures_iter(text).filter_map(|captures| captures.get(1));
    Ok(found.map(|group| group.as_str()).take(max).collect())
}

/// Whether a regular expression matches some part of a text.
///
/// # Errors
/// `INTERNAL_ERROR` for an expression that is none.
pub fn matches(text: &str, expression: &str) -> Result<bool> {
    Ok(compile(expression)?.is_match(text))
}

fn compile(expression: &str) -> Result<regex_lite::Regex> {
    regex_lite::Regex::new(expression).map_err(|error| {
        VirtError::internal(format_args!("wrong regular expression '{expression}': {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_indented() {
        assert_eq!(indent("a\n\nb", 2), "  a\n\n  b");
        assert_eq!(indent("", 2), "");
    }

    #[test]
    fn groups_are_found() {
        assert_eq!(search("a=1 b=2 c=3", "([a-z])=", 2).unwrap(), ["a", "b"]);
        assert!(search("a", "a", 1).is_err());
        assert!(search("a", "(a)(b)", 1).is_err());
        assert!(search("a", "(", 1).is_err());
    }

    proptest! {
        #[test]
        fn an_escaped_text_matches_itself(text in "[ -~]{0,20}") {
            let expression = format!("^{}$", escape_regex(&text));
            prop_assert!(matches(&text, &expression).unwrap());
        }
    }
}
