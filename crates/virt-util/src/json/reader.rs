//! Text → [`Json`], by the rules of json-c's strict mode where they differ from the standard's.

use std::collections::HashMap;

use super::Json;
use crate::error::{Result, VirtError};

/// Most levels that a document may have: a value on the last is a scalar or empty.
const DEPTH_MAX: usize = 32;

pub(super) fn read(text: &str) -> Result<Json> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    let value = reader.value(0)?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("the end is expected behind the document")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn error(&self, what: &str) -> VirtError {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit_once('\n')
            .map_or(before, |(_, last)| last)
            .chars()
            .count()
            + 1;
        let found = match self.rest().chars().next() {
            None => "the end of the text".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        VirtError::internal(format_args!(
            "cannot parse json: {line}:{column}: {what}, found {found}"
        ))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `byte`, which is ASCII, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.at += 1;
        }
        there
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth >= DEPTH_MAX {
            return Err(self.error(&format!("at most {DEPTH_MAX} levels are expected")));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                self.at += 1;
                self.string(b'"').map(Json::String)
            }
            Some(b'-' | b'0'..=b'9') => self.number(depth),
            _ => self.word(depth),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut values = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.take(b']') {
                return Ok(Json::Array(values));
            }
            if !self.take(b',') {
                return Err(self.error("',' or ']' is expected"));
            }
            self.skip_blanks();
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut pairs: Vec<(String, Json)> = Vec::new();
        let mut places = HashMap::new();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(Json::Object(pairs));
        }
        loop {
            let quote = match self.peek() {
                Some(quote @ (b'"' | b'\'')) => quote,
                _ => return Err(self.error("a name in quotes is expected")),
            };
            self.at += 1;
            let name = self.string(quote)?;
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.error("':' is expected behind a name"));
            }
            self.skip_blanks();
            let value = self.value(depth + 1)?;
            // Of values of one name the last counts, in the place of the first.
            let place = *places.entry(name.clone()).or_insert(pairs.len());
            match pairs.get_mut(place) {
                Some((_, old)) => *old = value,
                None => pairs.push((name, value)),
            }
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(Json::Object(pairs));
            }
            if !self.take(b',') {
                return Err(self.error("',' or '}' is expected"));
            }
            self.skip_blanks();
        }
    }

    /// What stands up to the closing quote. A text ends at the character 0, as those of C do.
    fn string(&mut self, quote: u8) -> Result<String> {
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let end = rest
                .bytes()
                .position(|byte| byte == quote || byte == b'\\' || byte == 0)
                .unwrap_or(rest.len());
            out.push_str(rest.get(..end).unwrap_or_default());
            self.at += end;
            if self.take(quote) {
                break;
            }
            if !self.take(b'\\') {
                return Err(self.error("the end of a text is expected"));
            }
            out.push(self.escape()?);
        }
        if let Some(end) = out.find('\0') {
            out.truncate(end);
        }
        Ok(out)
    }

    fn escape(&mut self) -> Result<char> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.error("an escape is expected behind '\\'")),
        };
        self.at += 1;
        Ok(c)
    }

    /// The character of four hexadecimal digits, or of two such halves. Half a character becomes U+FFFD.
    fn code_point(&mut self) -> Result<char> {
        let first = self.four_digits()?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let both = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.error("four hexadecimal digits are expected"))?;
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// Nothing tells where a number or a word ends that the text ends with: in a list a bracket does.
    fn ended(&self, depth: usize) -> Result<()> {
        match self.peek() {
            None => Err(self.error(if depth == 0 {
                "a blank is expected behind a document of one word"
            } else {
                "the end of a list or object is expected"
            })),
            Some(_) => Ok(()),
        }
    }

    fn word(&mut self, depth: usize) -> Result<Json> {
        const WORDS: [(&str, Json); 3] = [
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("null", Json::Null),
        ];
        let found = WORDS
            .into_iter()
            .find(|(word, _)| self.rest().starts_with(word))
            .map(|(word, value)| (word.len(), value))
            .or_else(|| {
                ["NaN", "Infinity"]
                    .into_iter()
                    .find(|word| self.rest().starts_with(word))
                    .map(|word| (word.len(), Json::Number(word.to_owned())))
            });
        let (length, value) = found.ok_or_else(|| self.error("a value is expected"))?;
        self.at += length;
        self.ended(depth)?;
        Ok(value)
    }

    fn number(&mut self, depth: usize) -> Result<Json> {
        let start = self.at;
        if self.rest().starts_with("-Infinity") {
            self.at += "-Infinity".len();
            self.ended(depth)?;
            return Ok(Json::Number("-Infinity".to_owned()));
        }
        self.take(b'-');
        let whole = self.digits();
        let mut fraction = 0;
        let point = self.take(b'.');
        if point {
            fraction = self.digits();
        }
        let mut exact = !point;
        if let Some(b'e' | b'E') = self.peek() {
            exact = false;
            self.at += 1;
            if !self.take(b'-') {
                self.take(b'+');
            }
            if self.digits() == 0 {
                return Err(self.error("a digit is expected in an exponent"));
            }
        }
        if whole + fraction == 0 {
            return Err(self.error("a digit is expected"));
        }
        self.ended(depth)?;
        let text = self.text.get(start..self.at).unwrap_or_default();
        if !exact {
            return Ok(Json::Number(text.to_owned()));
        }
        let number = if text.starts_with('-') {
            text.parse::<i64>().map(|number| number.to_string())
        } else {
            text.parse::<u64>().map(|number| number.to_string())
        };
        // Zeros may stand before nothing but zeros, or behind a minus sign.
        match number {
            Ok(number) if !text.starts_with('0') || number == "0" => Ok(Json::Number(number)),
            _ => {
                self.at = start;
                Err(self.error("a number of at most 64 bits without zeros before it is expected"))
            }
        }
    }

    /// Passes over digits, and counts them.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn becomes(text: &str, want: &str) {
        assert_eq!(read(text).unwrap().to_string(), want, "{text}");
    }

    #[track_caller]
    fn is_refused(text: &str) {
        assert!(read(text).is_err(), "{text}: {:?}", read(text));
    }

    #[test]
    fn whole_numbers_are_shortened_and_fractions_stay() {
        for (text, want) in [
            ("[1.024e19]", "[1.024e19]"),
            ("[0.10, 1., -.5, 01.50, 1E+5]", "[0.10,1.,-.5,01.50,1E+5]"),
            ("[-0, 00, -01]", "[0,0,-1]"),
            (
                "[18446744073709551615, -9223372036854775808]",
                "[18446744073709551615,-9223372036854775808]",
            ),
            ("[1e999]", "[1e999]"),
            ("[NaN,Infinity , -Infinity]", "[NaN,Infinity,-Infinity]"),
        ] {
            becomes(text, want);
        }
        for text in [
            "[01]",
            "[.5]",
            "[-]",
            "[+1]",
            "[1e]",
            "[1.2.3]",
            "[1-2]",
            "[0x1]",
            "[--1]",
            "[1b]",
            "[nan]",
            "[-inf]",
            "[18446744073709551616]",
            "[-9223372036854775809]",
            "[-.]",
            "[-e5]",
        ] {
            is_refused(text);
        }
    }

    #[test]
    fn a_word_alone_needs_its_end() {
        becomes("1 ", "1");
        becomes("\n null\n", "null");
        becomes("\"a\"", "\"a\"");
        for text in [
            "1",
            "true",
            "null",
            "-Infinity",
            "",
            " ",
            "nul",
            "1]",
            "1 2",
            "[1",
            "tr",
            "huh",
        ] {
            is_refused(text);
        }
    }

    #[test]
    fn texts_are_taken_as_json_c_does() {
        for (text, want) in [
            ("\"\t\u{1}\"", "\"\\t\\u0001\""),
            ("\"a\\u0000b\"", "\"a\""),
            ("\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
            ("\"\\ud83d\"", "\"\u{fffd}\""),
            ("\"\\ud83d\\n\"", "\"\u{fffd}\\n\""),
            ("\"\\ud83d\\ud83d\\ude00\"", "\"\u{fffd}\u{1f600}\""),
            ("\"\\ude00\\ud83dx\"", "\"\u{fffd}\u{fffd}x\""),
            ("\"\\/\\b\\f\"", "\"/\\b\\f\""),
            ("{'a':1,'b\"':2,\"a\":3}", "{\"a\":3,\"b\\\"\":2}"),
        ] {
            becomes(text, want);
        }
        for text in [
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud83d\\u12\"",
            "\"a",
            "'a'",
            "[a]",
            "{a:1}",
            "\"\0\"",
        ] {
            is_refused(text);
        }
    }

    #[test]
    fn separators_stand_between_values_only() {
        becomes(" { } ", "{}");
        becomes("[ [ ] , { } ]", "[[],{}]");
        for text in [
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\":}",
            "[1}",
            "[] []",
            "[ /* a */ 1 ]",
            "[]//",
        ] {
            is_refused(text);
        }
        let error = read("{\n \"a\": x}").unwrap_err();
        assert!(
            error.message().contains("2:7: a value is expected, found 'x'"),
            "{error}"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(32)).is_ok());
        is_refused(&nested(33));
        is_refused(&nested(100_000));
        is_refused(&"{\"a\":".repeat(100_000));
    }

    proptest! {
        #[test]
        fn what_the_standard_allows_is_read(text in "\\PC{0,20}") {
            let list = serde_json::to_string(&[&text]).unwrap();
            prop_assert_eq!(read(&list).unwrap(), Json::Array(vec![Json::String(text)]));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,40}|[\\[\\]{}:,\"'\\\\u0dD8a0-9.eEnNIi+/ -]{0,40}") {
            let _ = read(&text);
        }
    }
}
