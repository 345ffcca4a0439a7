//! Rust source as rules read it: code apart from comments and literals, line by line.
//!
//! This is a scanner, not a parser: it knows comments (nested), strings (raw, byte and C ones) and character
//! literals, so that a rule that looks for a word is not fooled by text.

/// A source file, split.
pub struct Source {
    /// The file with comments and the insides of literals blanked. Same length and lines as the file.
    code: Vec<u8>,
    /// The file as it is.
    text: Vec<u8>,
}

/// What the scanner is in.
#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

impl Source {
    /// Splits a file.
    pub fn new(text: &str) -> Self {
        let text = text.as_bytes().to_vec();
        let mut code = text.clone();
        let at = |i: usize| text.get(i).copied().unwrap_or(0);
        let mut state = State::Code;
        let mut i = 0;
        while i < text.len() {
            let (next, keep, step) = match state {
                State::Code => match at(i) {
                    b'/' if at(i + 1) == b'/' => (State::LineComment, false, 2),
                    b'/' if at(i + 1) == b'*' => (State::BlockComment(1), false, 2),
                    b'"' => (State::Text, true, 1),
                    b'r' if !is_word(before(&text, i)) || matches!(before(&text, i), b'b' | b'c') => {
                        match raw_start(&text, i) {
                            Some(hashes) => (State::RawText(hashes), true, hashes + 2),
                            None => (State::Code, true, 1),
                        }
                    }
                    b'\'' => match character_end(&text, i) {
                        Some(end) => {
                            code.get_mut(i + 1..end)
                                .into_iter()
                                .flatten()
                                .for_each(|byte| *byte = b' ');
                            (State::Code, true, end + 1 - i)
                        }
                        None => (State::Code, true, 1),
                    },
                    _ => (State::Code, true, 1),
                },
                State::LineComment if at(i) == b'\n' => (State::Code, true, 1),
                State::LineComment => (State::LineComment, false, 1),
                State::BlockComment(depth) => match (at(i), at(i + 1)) {
                    (b'*', b'/') if depth == 1 => (State::Code, false, 2),
                    (b'*', b'/') => (State::BlockComment(depth - 1), false, 2),
                    (b'/', b'*') => (State::BlockComment(depth + 1), false, 2),
                    _ => (State::BlockComment(depth), false, 1),
                },
                State::Text => match at(i) {
                    b'\\' => (State::Text, false, 2),
                    b'"' => (State::Code, true, 1),
                    _ => (State::Text, false, 1),
                },
                State::RawText(hashes) => {
                    if at(i) == b'"' && (1..=hashes).all(|n| at(i + n) == b'#') {
                        (State::Code, true, hashes + 1)
                    } else {
                        (State::RawText(hashes), false, 1)
                    }
                }
            };
            if !keep {
                let end = (i + step).min(code.len());
                code.get_mut(i..end)
                    .into_iter()
                    .flatten()
                    .filter(|b| **b != b'\n')
                    .for_each(|byte| *byte = b' ');
            }
            state = next;
            i += step;
        }
        Self { code, text }
    }

    /// The code alone.
    pub fn code(&self) -> String {
        String::from_utf8_lossy(&self.code).into_owned()
    }

    /// The code without comments and layout, literals kept: equal for two files that mean the same.
    pub fn essence(&self) -> String {
        // Where code is blank and the text is not, it is a comment or the inside of a literal. A literal's inside is
        // the part between quotes that the code keeps.
        let mut out = String::new();
        let mut inside = false;
        for (code, text) in self.code.iter().zip(&self.text) {
            let quote = *code == b'"';
            if quote {
                inside = !inside;
            }
            let byte = if inside && !quote { *text } else { *code };
            if inside || !byte.is_ascii_whitespace() {
                out.push(char::from(byte));
            } else if !out.ends_with(' ') {
                out.push(' ');
            }
        }
        out.trim().to_owned()
    }

    /// The lines (from 1) on which the code has this word.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let code = self.code();
        let has = |line: &str| {
            line.match_indices(word).any(|(at, _)| {
                let start = line.as_bytes().get(at.wrapping_sub(1)).copied().unwrap_or(0);
                let end = line.as_bytes().get(at + word.len()).copied().unwrap_or(0);
                !is_word(start) && !is_word(end)
            })
        };
        code.lines()
            .enumerate()
            .filter(|(_, line)| has(line))
            .map(|(index, _)| index + 1)
            .collect()
    }

    /// Whether an `unsafe` on this line (from 1) opens a block, or is one of the items whose author promises
    /// something (`unsafe impl`), rather than a declaration whose caller does (`unsafe fn`, `unsafe extern`).
    pub fn opens_unsafe_block(&self, line: usize) -> bool {
        let code = self.code();
        let rest: String = code.lines().skip(line - 1).take(2).collect::<Vec<_>>().join(" ");
        rest.match_indices("unsafe").any(|(at, word)| {
            let after = rest.get(at + word.len()..).unwrap_or_default().trim_start();
            after.starts_with('{') || after.starts_with("impl")
        })
    }

    /// Whether a comment with `SAFETY:` stands on this line (from 1) or in the comment before its statement.
    pub fn has_safety_comment(&self, line: usize) -> bool {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let lines: Vec<&str> = text.lines().take(line).collect();
        let code = self.code();
        let code: Vec<&str> = code.lines().take(line).collect();
        // Upwards: the line itself, then the lines of its statement and the comment above.
        for (index, whole) in lines.iter().enumerate().rev().take(14) {
            if whole.contains("SAFETY:") {
                return true;
            }
            let is_statement_end = code.get(index).is_some_and(|c| {
                let c = c.trim_end();
                index + 1 < line && (c.ends_with(';') || c.ends_with('}'))
            });
            if is_statement_end {
                return false;
            }
        }
        false
    }

    /// Places where `opener` (such as `include!(`) stands in the code, with what follows up to the bracket that
    /// closes it: the line from 1, and that text with its literals.
    pub fn arguments_of(&self, opener: &str) -> Vec<(usize, String)> {
        let code = self.code();
        let mut found = Vec::new();
        for (at, _) in code.match_indices(opener) {
            if is_word(before(code.as_bytes(), at)) {
                continue;
            }
            let start = at + opener.len();
            let mut depth = 1;
            let length = self
                .code
                .get(start..)
                .unwrap_or_default()
                .iter()
                .position(|byte| {
                    match byte {
                        b'(' | b'[' => depth += 1,
                        b')' | b']' => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                });
            let end = start + length.unwrap_or(0);
            let line = code
                .as_bytes()
                .get(..at)
                .map_or(0, |head| head.iter().filter(|b| **b == b'\n').count())
                + 1;
            let text = self.text.get(start..end).unwrap_or_default();
            found.push((line, String::from_utf8_lossy(text).trim().to_owned()));
        }
        found
    }
}

/// Whether a byte can be part of a name.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The byte before a position.
fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).and_then(|i| text.get(i)).copied().unwrap_or(0)
}

/// The number of `#` if a raw string starts at this `r`.
fn raw_start(text: &[u8], at: usize) -> Option<usize> {
    let hashes = text
        .get(at + 1..)?
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    (text.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// Where the character literal that starts at this quote ends; `None` for a lifetime.
fn character_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at + 1..)?;
    if rest.first() == Some(&b'\\') {
        let end = rest.iter().skip(2).position(|byte| *byte == b'\'')?;
        return Some(at + 1 + 2 + end);
    }
    // One character of at most four bytes, then the quote; a lifetime has a name instead.
    let end = rest.iter().take(5).position(|byte| *byte == b'\'')?;
    let one = std::str::from_utf8(rest.get(..end)?).ok()?.chars().count() == 1;
    one.then_some(at + 1 + end)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = Source::new(
            "// unsafe\n/* unsafe /* unsafe */ unsafe */ let a = \"unsafe \\\" unsafe\";\n\
             let b = r#\"unsafe \" unsafe\"#; let c = '\"'; let d: &'static str = b\"unsafe\";\nunsafe {}\n",
        );
        assert_eq!(source.lines_with("unsafe"), [4]);
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("#![forbid(unsafe_code)]\nfn not_unsafe() {}\nunsafe fn x() {}\n");
        assert_eq!(source.lines_with("unsafe"), [3]);
        assert_eq!(source.lines_with("unsafe_code"), [1]);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        let source = Source::new("fn f<'a>(x: &'a str, c: char) -> bool { c == 'x' && unsafe { g('\\'') } }");
        assert_eq!(source.lines_with("unsafe"), [1]);
    }

    #[test]
    fn arguments_keep_their_literals() {
        let source =
            Source::new("\nmod a; // include!(\"no\")\ninclude_str!(\"../x\");\n#[path = \"y.rs\"] mod y;");
        assert_eq!(source.arguments_of("include_str!("), [(3, "\"../x\"".to_owned())]);
        assert_eq!(source.arguments_of("#[path"), [(4, "= \"y.rs\"".to_owned())]);
        assert!(source.arguments_of("include!(").is_empty());
    }

    #[test]
    fn essence_ignores_comments_and_layout_only() {
        let a = Source::new("/// One.\nfn f() -> &'static str {\n    \"a // b\"\n}\n").essence();
        let b = Source::new("fn f() -> &'static str { \"a // b\" } // two").essence();
        let c = Source::new("fn f() -> &'static str { \"a // c\" }").essence();
        assert_eq!(a, b);
        assert_ne!(a, c);
    }
}
