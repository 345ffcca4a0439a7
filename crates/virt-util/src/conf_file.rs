//! The syntax of libvirt's configuration files (`libvirtd.conf`, `qemu.conf` …) and its two relatives.
//!
//! A file is a list of `name = value` lines and comments; values are numbers, strings in `'…'`, `"…"` or `"""…"""`, and
//! lists `[ a, b ]`. [`ConfFile::parse`] keeps comments and order, so that [`ConfFile::format`] after [`ConfFile::set`]
//! changes one line and no other. VMX and LXC files are [`Dialect`]s of the same syntax.

use std::fmt;
use std::path::Path;

use crate::error::SystemResult;
use crate::{ErrorCode, ErrorDomain, Result, VirtError};

/// Larger files are refused, as libvirt does.
pub const SIZE_MAX: usize = 10 * 1024 * 1024;

/// Deeper lists are refused.
const DEPTH_MAX: usize = 16;

/// Which relative of the syntax a file is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// libvirt's own files.
    #[default]
    Libvirt,
    /// VMware's `.vmx`: names may hold `: . - *`, case does not matter in them, values are strings.
    Vmx,
    /// LXC's container files: names may hold dots, values are texts without quotes up to the end of the line.
    Lxc,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfValue {
    /// A number written with a minus sign.
    Negative(i64),
    /// Any other number, at most `i64::MAX`.
    Number(u64),
    /// A text.
    String(String),
    /// A list.
    List(Vec<ConfValue>),
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfEntry {
    /// A setting, perhaps with a comment behind it (without the `#`).
    Setting {
        /// The name.
        name: String,
        /// The value.
        value: ConfValue,
        /// The comment.
        comment: Option<String>,
    },
    /// A comment of its own, without the `#`.
    Comment(String),
}

/// A configuration file.
///
/// ```
/// use virt_util::conf_file::{ConfFile, Dialect};
///
/// let mut conf = ConfFile::parse("demo.conf", "# levels\nlog_level = 3\nnames = [ \"a\", 'b' ]\n", Dialect::Libvirt)?;
/// assert_eq!(conf.u32("log_level")?, Some(3));
/// assert_eq!(conf.string_list("names")?, Some(vec!["a".to_owned(), "b".to_owned()]));
/// assert_eq!(conf.string("absent")?, None);
/// conf.set("log_level", 1u64.into());
/// assert_eq!(conf.format()?, "# levels\nlog_level = 1\nnames = [ \"a\", \"b\" ]\n");
/// # Ok::<(), virt_util::VirtError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfFile {
    file_name: String,
    dialect: Dialect,
    entries: Vec<ConfEntry>,
}

impl ConfFile {
    /// An empty file; `file_name` is for messages.
    pub fn new(file_name: impl Into<String>, dialect: Dialect) -> Self {
        Self {
            file_name: file_name.into(),
            dialect,
            entries: Vec::new(),
        }
    }

    /// Reads a file.
    pub fn load(path: &Path, dialect: Dialect) -> Result<Self> {
        Self::parse(&path.display().to_string(), &Self::read_text(path)?, dialect)
    }

    /// The text of a file, at most a byte more than [`SIZE_MAX`].
    pub fn read_text(path: &Path) -> Result<String> {
        use std::io::Read as _;
        let shown = path.display();
        let mut text = String::new();
        let file = std::fs::File::open(path).or_system(|| format!("cannot open '{shown}'"))?;
        file.take(SIZE_MAX as u64 + 1)
            .read_to_string(&mut text)
            .or_system(|| format!("cannot read '{shown}'"))?;
        Ok(text)
    }

    /// Parses a text. Errors are `VIR_ERR_CONF_SYNTAX` and `VIR_ERR_OVERFLOW`, and name file and line.
    pub fn parse(file_name: &str, text: &str, dialect: Dialect) -> Result<Self> {
        let mut conf = Self::new(file_name, dialect);
        conf.entries = Self::parse_lines(file_name, text, dialect)?
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        Ok(conf)
    }

    /// The settings and comments of a text, each with the number of the line that it begins on. Errors as of
    /// [`ConfFile::parse`].
    pub fn parse_lines(file_name: &str, text: &str, dialect: Dialect) -> Result<Vec<(usize, ConfEntry)>> {
        let mut entries = Vec::new();
        let mut parser = Parser {
            file_name,
            dialect,
            rest: text,
            line: 1,
        };
        if text.len() > SIZE_MAX {
            return Err(parser.error(&format!("{} bytes, at most {SIZE_MAX} allowed", text.len())));
        }
        parser.skip_blanks_and_lines();
        if parser.rest.is_empty() && !text.is_empty() {
            return Err(parser.error("expecting a name, found nothing but blanks"));
        }
        while !parser.rest.is_empty() {
            let line = parser.line;
            entries.push((line, parser.statement()?));
            parser.separator()?;
        }
        Ok(entries)
    }

    /// The name given for messages.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// All lines in order.
    pub fn entries(&self) -> &[ConfEntry] {
        &self.entries
    }

    /// All settings in order.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &ConfValue)> {
        self.entries.iter().filter_map(|entry| match entry {
            ConfEntry::Setting { name, value, .. } => Some((name.as_str(), value)),
            ConfEntry::Comment(_) => None,
        })
    }

    /// The value of a setting; the first counts.
    pub fn get(&self, setting: &str) -> Option<&ConfValue> {
        self.settings()
            .find(|(name, _)| match self.dialect {
                Dialect::Vmx => name.eq_ignore_ascii_case(setting),
                _ => *name == setting,
            })
            .map(|(_, value)| value)
    }

    /// Changes a setting in its place, or appends it.
    pub fn set(&mut self, setting: &str, new: ConfValue) {
        let place = self.entries.iter_mut().find_map(|entry| match entry {
            ConfEntry::Setting { name, value, .. } if name == setting => Some(value),
            _ => None,
        });
        match place {
            Some(value) => *value = new,
            None => self.entries.push(ConfEntry::Setting {
                name: setting.to_owned(),
                value: new,
                comment: None,
            }),
        }
    }

    /// Removes every setting of that name.
    pub fn remove(&mut self, setting: &str) {
        self.entries
            .retain(|entry| !matches!(entry, ConfEntry::Setting { name, .. } if name == setting));
    }

    /// The file's text: one setting or comment a line. A string that no quotes can hold is `VIR_ERR_INVALID_ARG`.
    pub fn format(&self) -> Result<String> {
        let mut out = String::new();
        for entry in &self.entries {
            match entry {
                ConfEntry::Setting { name, value, comment } => {
                    out.push_str(name);
                    out.push_str(" = ");
                    write_value(&mut out, value)
                        .map_err(|error| error.context(format_args!("setting '{name}'")))?;
                    if let Some(comment) = comment {
                        out.push_str(" #");
                        out.push_str(comment);
                    }
                }
                ConfEntry::Comment(comment) => {
                    out.push('#');
                    out.push_str(comment);
                }
            }
            out.push('\n');
        }
        Ok(out)
    }

    /// The string of a setting, `None` if it is not there; an error if it is no string.
    pub fn string(&self, setting: &str) -> Result<Option<&str>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.expected("a string", setting)),
        }
    }

    /// The strings of a setting.
    pub fn string_list(&self, setting: &str) -> Result<Option<Vec<String>>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::List(items)) => self.strings(items, setting).map(Some),
            Some(_) => Err(self.expected("a string list", setting)),
        }
    }

    /// [`ConfFile::string_list`] that also takes a single string.
    pub fn string_or_list(&self, setting: &str) -> Result<Option<Vec<String>>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::List(items)) => self.strings(items, setting).map(Some),
            Some(ConfValue::String(text)) => Ok(Some(vec![text.clone()])),
            Some(_) => Err(self.expected("a string or string list", setting)),
        }
    }

    fn strings(&self, items: &[ConfValue], setting: &str) -> Result<Vec<String>> {
        items
            .iter()
            .map(|item| match item {
                ConfValue::String(text) => Ok(text.clone()),
                _ => Err(self.report(
                    ErrorCode::CONF_SYNTAX,
                    &format!("'{setting}': expected a list of strings"),
                )),
            })
            .collect()
    }

    /// A setting that is 0 or 1.
    pub fn bool(&self, setting: &str) -> Result<Option<bool>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::Number(number @ (0 | 1))) => Ok(Some(*number == 1)),
            Some(ConfValue::Number(_)) => Err(self.range(setting, "0 or 1")),
            Some(_) => Err(self.expected("a bool", setting)),
        }
    }

    /// A setting that fits an `i32`.
    pub fn i32(&self, setting: &str) -> Result<Option<i32>> {
        self.narrow(self.i64(setting)?, setting, i32::MIN.into(), i32::MAX.into())
    }

    /// A setting that fits a `u32`.
    pub fn u32(&self, setting: &str) -> Result<Option<u32>> {
        self.narrow(self.u64(setting)?, setting, 0, u32::MAX.into())
    }

    /// A setting that is a whole number.
    pub fn i64(&self, setting: &str) -> Result<Option<i64>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::Negative(number)) => Ok(Some(*number)),
            Some(ConfValue::Number(number)) => {
                self.narrow(Some(*number), setting, i64::MIN.into(), i64::MAX.into())
            }
            Some(_) => Err(self.expected("a signed integer", setting)),
        }
    }

    /// A setting that is a number without a minus sign.
    pub fn u64(&self, setting: &str) -> Result<Option<u64>> {
        match self.get(setting) {
            None => Ok(None),
            Some(ConfValue::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(self.expected("an unsigned integer", setting)),
        }
    }

    fn narrow<T, U: TryFrom<T>>(
        &self,
        value: Option<T>,
        setting: &str,
        min: i128,
        max: i128,
    ) -> Result<Option<U>> {
        match value.map(U::try_from) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(self.range(setting, &format!("in range {min}:{max}"))),
        }
    }

    fn expected(&self, what: &str, setting: &str) -> VirtError {
        self.report(
            ErrorCode::INTERNAL_ERROR,
            &format!("expected {what} for '{setting}' parameter"),
        )
    }

    fn range(&self, setting: &str, allowed: &str) -> VirtError {
        self.report(
            ErrorCode::INTERNAL_ERROR,
            &format!("value for '{setting}' parameter must be {allowed}"),
        )
    }

    fn report(&self, code: ErrorCode, what: &str) -> VirtError {
        VirtError::new(code, format_args!("{}: {what}", self.file_name)).in_domain(ErrorDomain::CONF)
    }
}

impl From<u64> for ConfValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for ConfValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for ConfValue {
    fn from(value: bool) -> Self {
        Self::Number(value.into())
    }
}

fn write_value(out: &mut String, value: &ConfValue) -> Result<()> {
    use fmt::Write as _;
    match value {
        ConfValue::Negative(number) => {
            let _ = write!(out, "{number}");
        }
        ConfValue::Number(number) => {
            let _ = write!(out, "{number}");
        }
        ConfValue::String(text) => {
            let one_line = !text.contains(['\n', '\r']);
            let quotes = match text {
                _ if one_line && !text.contains('"') => "\"",
                _ if one_line && !text.contains('\'') => "'",
                _ if !text.contains("\"\"\"") && !text.ends_with('"') => "\"\"\"",
                _ => {
                    return Err(VirtError::invalid_arg(format_args!(
                        "the syntax has no quotes that could hold the text {text:?}"
                    )));
                }
            };
            let _ = write!(out, "{quotes}{text}{quotes}");
        }
        ConfValue::List(items) => {
            out.push_str("[ ");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_value(out, item)?;
            }
            out.push_str(" ]");
        }
    }
    Ok(())
}

struct Parser<'a> {
    file_name: &'a str,
    dialect: Dialect,
    rest: &'a str,
    line: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &str) -> VirtError {
        self.error_with(ErrorCode::CONF_SYNTAX, what)
    }

    fn error_with(&self, code: ErrorCode, what: &str) -> VirtError {
        VirtError::new(code, format_args!("{}:{}: {what}", self.file_name, self.line))
            .in_domain(ErrorDomain::CONF)
    }

    /// What stands here, for messages.
    fn found(&self) -> String {
        match self.rest.chars().next() {
            None => "the end of the file".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(c) => format!("{c:?}"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Takes `text` if it stands here.
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, mut accept: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t'));
    }

    fn skip_blanks_and_lines(&mut self) {
        let skipped = self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        self.line += skipped.matches('\n').count();
    }

    fn take_line(&mut self) -> &'a str {
        self.take_while(|c| !matches!(c, '\n' | '\r'))
    }

    fn statement(&mut self) -> Result<ConfEntry> {
        if self.take("#") {
            return Ok(ConfEntry::Comment(self.take_line().to_owned()));
        }
        let name = self.name()?.to_owned();
        self.skip_blanks();
        if !self.take("=") {
            return Err(self.error(&format!(
                "expecting an assignment behind '{name}', found {}",
                self.found()
            )));
        }
        let value = self.value(0)?;
        self.skip_blanks();
        let comment = self.take("#").then(|| self.take_line().to_owned());
        Ok(ConfEntry::Setting { name, value, comment })
    }

    fn name(&mut self) -> Result<&'a str> {
        let starts = |b: u8| b.is_ascii_alphabetic() || (self.dialect == Dialect::Vmx && b == b'.');
        if !self.peek().is_some_and(starts) {
            return Err(self.error(&format!("expecting a name, found {}", self.found())));
        }
        let dialect = self.dialect;
        Ok(self.take_while(|c| {
            c.is_ascii_alphanumeric()
                || c == '_'
                || match dialect {
                    Dialect::Libvirt => false,
                    Dialect::Vmx => matches!(c, ':' | '.' | '-' | '*'),
                    Dialect::Lxc => c == '.',
                }
        }))
    }

    fn value(&mut self, depth: usize) -> Result<ConfValue> {
        self.skip_blanks();
        match self.peek() {
            Some(b'"' | b'\'') => Ok(ConfValue::String(self.quoted()?.to_owned())),
            Some(_) if self.dialect == Dialect::Lxc => Ok(ConfValue::String(self.take_line().to_owned())),
            Some(b'[') if self.dialect == Dialect::Vmx => Err(self.error("lists not allowed in VMX format")),
            Some(b'[') if depth >= DEPTH_MAX => {
                Err(self.error(&format!("lists nested deeper than {DEPTH_MAX}")))
            }
            Some(b'[') => self.list(depth),
            Some(b'0'..=b'9' | b'-' | b'+') if self.dialect == Dialect::Vmx => {
                Err(self.error("numbers not allowed in VMX format"))
            }
            Some(b'0'..=b'9' | b'-' | b'+') => self.number(),
            _ => Err(self.error(&format!("expecting a value, found {}", self.found()))),
        }
    }

    fn quoted(&mut self) -> Result<&'a str> {
        let start = self.line;
        // Six quotes that end the file are three empty texts: a pair of three needs something behind it.
        let (text, closed) = if self.rest.len() > 6 && self.take("\"\"\"") {
            let text = self.rest;
            let end = text.find("\"\"\"").unwrap_or(text.len());
            let (text, rest) = text.split_at(end);
            self.rest = rest;
            self.line += text.matches('\n').count();
            (text, self.take("\"\"\""))
        } else {
            let quote = if self.take("'") {
                '\''
            } else {
                self.take("\"");
                '"'
            };
            let text = self.take_while(|c| c != quote && !matches!(c, '\n' | '\r'));
            (text, self.take(quote.encode_utf8(&mut [0; 4])))
        };
        if !closed {
            self.line = start;
            return Err(self.error("unterminated string"));
        }
        Ok(text)
    }

    fn list(&mut self, depth: usize) -> Result<ConfValue> {
        let start = self.line;
        let mut items = Vec::new();
        self.take("[");
        loop {
            self.skip_blanks_and_lines();
            if self.take("]") {
                return Ok(ConfValue::List(items));
            }
            if self.rest.is_empty() {
                self.line = start;
                return Err(self.error("list is not closed with ]"));
            }
            if !items.is_empty() {
                if !self.take(",") {
                    return Err(self.error(&format!("expecting a separator in list, found {}", self.found())));
                }
                self.skip_blanks_and_lines();
                if self.take("]") {
                    return Ok(ConfValue::List(items));
                }
            }
            items.push(self.value(depth + 1)?);
        }
    }

    fn number(&mut self) -> Result<ConfValue> {
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.error("unterminated number"));
        }
        let Ok(number) = digits.parse::<i64>() else {
            return Err(self.error_with(
                ErrorCode::OVERFLOW,
                &format!("number {digits} is larger than {}", i64::MAX),
            ));
        };
        Ok(if negative {
            ConfValue::Negative(-number)
        } else {
            ConfValue::Number(number.unsigned_abs())
        })
    }

    fn separator(&mut self) -> Result<()> {
        self.skip_blanks();
        match self.peek() {
            None => {}
            Some(b'\n' | b'\r') => self.skip_blanks_and_lines(),
            Some(b';') => {
                self.take(";");
                self.skip_blanks_and_lines();
            }
            Some(_) => return Err(self.error(&format!("expecting a separator, found {}", self.found()))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ConfFile> {
        ConfFile::parse("t.conf", text, Dialect::Libvirt)
    }

    #[test]
    fn all_kinds_of_value_are_read() {
        let conf = parse(
            "a = -5 # why\nb=+7;c = 'it\"s'\n\n#alone\nd = \"\"\"two\n\"lines\"\n\"\"\"\n e = [ 'x',\n 2, [], ] \n",
        )
        .unwrap();
        assert_eq!(conf.i32("a").unwrap(), Some(-5));
        assert_eq!(conf.u64("b").unwrap(), Some(7));
        assert_eq!(conf.string("c").unwrap(), Some("it\"s"));
        assert_eq!(conf.string("d").unwrap(), Some("two\n\"lines\"\n"));
        let text = "a = -5 # why\nb = 7\nc = 'it\"s'\n#alone\nd = \"\"\"two\n\"lines\"\n\"\"\"\ne = [ \"x\", 2, [  ] ]\n";
        assert_eq!(conf.format().unwrap(), text);
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, line, what) in [
            ("a = 1\nb", 2, "assignment"),
            ("a = 1\n\nb =\nc = 1", 3, "expecting a value"),
            ("a = 'x\n'", 1, "unterminated string"),
            ("a = \"\"\"xyzw\n\n", 1, "unterminated string"),
            ("a = [1\n2]", 2, "separator in list"),
            ("a = [1,\n2", 1, "not closed"),
            ("a = 1 b = 2", 1, "expecting a separator"),
            ("1a = 2", 1, "expecting a name"),
            ("a = -", 1, "unterminated number"),
            (" \n\t\n", 3, "expecting a name"),
            ("a = \"\"\"\"\"\"", 1, "expecting a separator"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CONF_SYNTAX, "{text}");
            assert!(
                error.message().contains(&format!("t.conf:{line}: ")),
                "{text}: {error}"
            );
            assert!(error.message().contains(what), "{text}: {error}");
        }
        assert_eq!(
            parse("a = 9223372036854775808").unwrap_err().code(),
            ErrorCode::OVERFLOW
        );
        assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }

    #[test]
    fn wrong_types_are_errors() {
        let conf = parse("n = 2\ns = 'x'\nneg = -1\nbig = 4294967296\nl = [ 1 ]").unwrap();
        assert!(conf.bool("n").is_err() && conf.bool("neg").is_err());
        assert!(conf.string("n").is_err() && conf.u32("neg").is_err() && conf.u32("big").is_err());
        assert!(conf.i32("big").is_err() && conf.u64("s").is_err() && conf.string_list("s").is_err());
        assert_eq!(conf.string_list("l").unwrap_err().code(), ErrorCode::CONF_SYNTAX);
        assert_eq!(conf.string_or_list("s").unwrap(), Some(vec!["x".to_owned()]));
    }

    #[test]
    fn dialects_differ() {
        let vmx = ConfFile::parse(
            "a.vmx",
            ".encoding = \"UTF-8\"\nscsi0:0.fileName = \"x\"",
            Dialect::Vmx,
        )
        .unwrap();
        assert_eq!(vmx.string("SCSI0:0.filename").unwrap(), Some("x"));
        assert!(ConfFile::parse("a.vmx", "a = 1", Dialect::Vmx).is_err());
        let lxc = ConfFile::parse("c", "lxc.rootfs = /var/lib x\nlxc.tty=\n", Dialect::Lxc).unwrap();
        assert_eq!(lxc.string("lxc.rootfs").unwrap(), Some("/var/lib x"));
        assert_eq!(lxc.string("lxc.tty").unwrap(), Some(""));
    }

    #[test]
    fn a_text_no_quotes_can_hold_is_refused() {
        let mut conf = parse("").unwrap();
        conf.set("a", "x'y\"".into());
        assert_eq!(conf.format().unwrap_err().code(), ErrorCode::INVALID_ARG);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "[a-c=\\[\\],;#'\"\n\t 0-9+-]{0,60}") {
            if let Ok(conf) = parse(&text) {
                // What was read is written so that it reads the same, quotes permitting.
                if let Ok(written) = conf.format() {
                    let again = parse(&written).unwrap();
                    prop_assert_eq!(again.entries(), conf.entries());
                    prop_assert_eq!(again.format().unwrap(), written);
                }
            }
        }
    }
}
