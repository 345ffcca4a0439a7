//! Values: what an attribute or a text holds, and how it is written.

use std::borrow::Cow;

use super::schema::ValueSchema;
use super::writer::{escape_into, push_signed, push_unsigned};

/// Something that is written as text: in an attribute, or as the content of an element.
///
/// Implemented for `String`, the integers, `bool` (`yes`/`no`), `uuid::Uuid`, and by `#[derive(XmlEnum)]`.
pub trait XmlValue: Sized {
    /// Which texts are values.
    const SCHEMA: ValueSchema;

    /// The text of the type's default value; empty where there is none, or where it stands for nothing.
    const DEFAULT: &'static str = "";

    /// Reads the decoded text.
    ///
    /// # Errors
    /// What was expected instead.
    fn parse_value(text: &str) -> Result<Self, ValueError>;

    /// Appends the value, escaped.
    fn format_value(&self, out: &mut String);
}

/// Why a text is not a value: what was expected. The reader adds place, name and the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// What would have been right, as in "expected …".
    pub expected: Cow<'static, str>,
    /// The words that would have been right, if there is a list: one of them may be suggested.
    pub words: &'static [&'static str],
}

impl ValueError {
    /// Expected something that a phrase describes.
    pub fn expected(what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            expected: what.into(),
            words: &[],
        }
    }

    /// Expected one of `words`.
    pub fn words(words: &'static [&'static str]) -> Self {
        Self {
            expected: Cow::Borrowed(""),
            words,
        }
    }

    /// "expected …", with a suggestion where one of the words is near `found`.
    pub fn describe(&self, found: &str) -> String {
        if self.words.is_empty() {
            return format!("expected {}", self.expected);
        }
        let mut text = String::from(if self.words.len() == 1 {
            "expected "
        } else {
            "expected one of "
        });
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                text.push_str(", ");
            }
            text.push('\'');
            text.push_str(word);
            text.push('\'');
        }
        if let Some(word) = switch(found, self.words).or_else(|| nearest(found, self.words.iter().copied())) {
            text.push_str("; did you mean '");
            text.push_str(word);
            text.push_str("'?");
        }
        text
    }
}

/// What turns things on, and what turns them off, where people write it.
const SWITCHES: [&[&str]; 2] = [
    &["yes", "on", "true", "1", "y", "enable", "enabled"],
    &["no", "off", "false", "0", "n", "disable", "disabled"],
];

/// The word of a switch that means what `found` means elsewhere.
fn switch<'w>(found: &str, words: &[&'w str]) -> Option<&'w str> {
    let found = found.trim().to_ascii_lowercase();
    let same = SWITCHES.iter().find(|same| same.contains(&found.as_str()))?;
    words.iter().copied().find(|word| same.contains(word))
}

/// The word that `found` was probably meant to be: at most a third of its letters differ, or one.
pub fn nearest<'w>(found: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if found.len() > 64 {
        return None;
    }
    let found = found.to_ascii_lowercase();
    words
        .filter(|word| word.len() <= 64)
        .map(|word| (distance(&found, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| {
            *distance <= (word.len().max(found.len()) / 3).max(1) && *distance < word.len()
        })
        // Of two that are as near, a word whose end was forgotten.
        .min_by_key(|(distance, word)| (*distance, !word.to_ascii_lowercase().starts_with(&found)))
        .map(|(_, word)| word)
}

/// Levenshtein's distance, in bytes; a swap of neighbours counts once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(x != y))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

impl XmlValue for String {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        Ok(text.to_owned())
    }

    fn format_value(&self, out: &mut String) {
        escape_into(out, self);
    }
}

impl XmlValue for bool {
    const SCHEMA: ValueSchema = ValueSchema::Switch(&["yes", "no"]);
    const DEFAULT: &'static str = "no";

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(ValueError::words(&["yes", "no"])),
        }
    }

    fn format_value(&self, out: &mut String) {
        out.push_str(if *self { "yes" } else { "no" });
    }
}

/// `on` or `off`: what the field option `on_off` uses.
///
/// # Errors
/// Another text.
pub fn parse_on_off(text: &str) -> Result<bool, ValueError> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(ValueError::words(&["on", "off"])),
    }
}

/// `on` or `off`.
pub fn format_on_off(value: &bool, out: &mut String) {
    out.push_str(if *value { "on" } else { "off" });
}

/// A switch whose words are `on` and `off`: for `described` where hand-written code reads one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnOff(pub bool);

impl XmlValue for OnOff {
    const SCHEMA: ValueSchema = ValueSchema::Switch(&["on", "off"]);
    const DEFAULT: &'static str = "off";

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        parse_on_off(text).map(Self)
    }

    fn format_value(&self, out: &mut String) {
        format_on_off(&self.0, out);
    }
}

/// The whole numbers that XML holds.
pub trait XmlInteger: Copy {
    /// The smallest value.
    const MIN: i64;
    /// The greatest value.
    const MAX: u64;
    /// From sign and magnitude, if in range.
    fn from_parts(negative: bool, magnitude: u64) -> Option<Self>;
    /// To sign and magnitude.
    fn into_parts(self) -> (bool, u64);
}

macro_rules! unsigned {
    ($($type:ty)*) => {$(
        impl XmlInteger for $type {
            const MIN: i64 = 0;
            const MAX: u64 = <$type>::MAX as u64;

            fn from_parts(negative: bool, magnitude: u64) -> Option<Self> {
                if negative { None } else { magnitude.try_into().ok() }
            }

            fn into_parts(self) -> (bool, u64) {
                (false, u64::from(self))
            }
        }

        impl XmlValue for $type {
            const SCHEMA: ValueSchema = ValueSchema::Integer { min: 0, max: <$type>::MAX as u64, base: 10 };
            const DEFAULT: &'static str = "0";

            fn parse_value(text: &str) -> Result<Self, ValueError> {
                parse_integer(text, 10)
            }

            fn format_value(&self, out: &mut String) {
                push_unsigned(out, u64::from(*self));
            }
        }
    )*};
}

macro_rules! signed {
    ($($type:ty)*) => {$(
        impl XmlInteger for $type {
            const MIN: i64 = <$type>::MIN as i64;
            const MAX: u64 = <$type>::MAX as u64;

            fn from_parts(negative: bool, magnitude: u64) -> Option<Self> {
                let value = i128::from(magnitude);
                (if negative { -value } else { value }).try_into().ok()
            }

            fn into_parts(self) -> (bool, u64) {
                (self < 0, i64::from(self).unsigned_abs())
            }
        }

        impl XmlValue for $type {
            const SCHEMA: ValueSchema = ValueSchema::Integer { min: <$type>::MIN as i64, max: <$type>::MAX as u64, base: 10 };
            const DEFAULT: &'static str = "0";

            fn parse_value(text: &str) -> Result<Self, ValueError> {
                parse_integer(text, 10)
            }

            fn format_value(&self, out: &mut String) {
                push_signed(out, i64::from(*self));
            }
        }
    )*};
}

unsigned!(u8 u16 u32 u64);
signed!(i8 i16 i32 i64);

/// Reads a whole number as libvirt does (it uses C's `strtol`): white space in front is skipped, a sign is allowed, nothing
/// may follow. In base 16 a `0x` may stand in front; base 0 takes `0x` as 16, a leading `0` as 8, all else as 10.
///
/// # Errors
/// Not a number, or out of the range of `T`.
pub fn parse_integer<T: XmlInteger>(text: &str, base: u32) -> Result<T, ValueError> {
    match scan_integer(text, base).and_then(|(negative, magnitude)| T::from_parts(negative, magnitude)) {
        Some(value) => Ok(value),
        None => Err(integer_error(T::MIN, T::MAX)),
    }
}

/// [`parse_integer`] for a number between `min` and `max`, and not 0 unless `zero`: what the field options `nonzero`, `min`
/// and `max` do.
///
/// # Errors
/// Not a number, or not allowed.
pub fn parse_integer_in<T: XmlInteger>(
    text: &str,
    base: u32,
    min: i128,
    max: i128,
    zero: bool,
) -> Result<T, ValueError> {
    let found = scan_integer(text, base).and_then(|(negative, magnitude)| {
        let value = if negative {
            -i128::from(magnitude)
        } else {
            i128::from(magnitude)
        };
        let fits = value >= min && value <= max && (zero || value != 0);
        if fits {
            // Where the greatest is that of a signed number, libvirt reads one, and -0 is as good as 0.
            let negative = negative && !(magnitude == 0 && max == i128::from(i32::MAX));
            T::from_parts(negative, magnitude)
        } else {
            None
        }
    });
    found.ok_or_else(|| {
        let min = if !zero && min == 0 { 1 } else { min };
        let except = if !zero && min < 0 { " except 0" } else { "" };
        ValueError::expected(format!("a whole number from {min} to {max}{except}"))
    })
}

#[cold]
fn integer_error(min: i64, max: u64) -> ValueError {
    ValueError::expected(format!("a whole number from {min} to {max}"))
}

/// Sign and magnitude of a number in C's notation; `None` if it is none or does not fit 64 bits.
pub fn scan_integer(text: &str, base: u32) -> Option<(bool, u64)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .filter(|digits| digits.bytes().next().is_some_and(|byte| byte.is_ascii_hexdigit()));
    let (digits, radix) = match (base, hexadecimal) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        (0, None) => (digits, 10),
        (base, _) => (digits, base),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for c in digits.chars() {
        value = value
            .checked_mul(u64::from(radix))?
            .checked_add(u64::from(c.to_digit(radix)?))?;
    }
    Some((negative, value))
}

impl XmlValue for uuid::Uuid {
    const SCHEMA: ValueSchema = ValueSchema::Uuid;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        crate::uuid::parse(text)
            .map_err(|_| ValueError::expected("a UUID: 32 hexadecimal digits, with or without hyphens"))
    }

    fn format_value(&self, out: &mut String) {
        let mut buffer = [0u8; uuid::fmt::Hyphenated::LENGTH];
        out.push_str(self.hyphenated().encode_lower(&mut buffer));
    }
}

/// Looks `text` up in the table of a `#[derive(XmlEnum)]` type.
///
/// # Errors
/// The words of the table.
pub fn find_word<T: Copy>(
    text: &str,
    table: &[(&str, T)],
    words: &'static [&'static str],
) -> Result<T, ValueError> {
    match table.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(ValueError::words(words)),
    }
}

/// Parts of PCI addresses make up much of what is written: they are looked up.
fn push_prefixed(out: &mut String, magnitude: u64, prefix: &str, radix: u32, width: usize) {
    if prefix == "0x" && radix == 16 && magnitude < 0x20 {
        let at = magnitude as usize;
        match width {
            4 if magnitude == 0 => return out.push_str("0x0000"),
            2 => return out.push_str(BYTES.get(at * 4..at * 4 + 4).unwrap_or_default()),
            1 if magnitude < 0x10 => return out.push_str(DIGITS.get(at * 3..at * 3 + 3).unwrap_or_default()),
            _ => {}
        }
    }
    out.push_str(prefix);
    super::writer::push_radix(out, magnitude, radix, width);
}

static DIGITS: &str = "0x00x10x20x30x40x50x60x70x80x90xa0xb0xc0xd0xe0xf";
static BYTES: &str = "0x000x010x020x030x040x050x060x070x080x090x0a0x0b0x0c0x0d0x0e0x0f\
    0x100x110x120x130x140x150x160x170x180x190x1a0x1b0x1c0x1d0x1e0x1f";

/// Appends a whole number in a base, behind `prefix` and filled with zeros to `width` digits: what the field option
/// `format` does.
pub fn push_formatted<T: XmlInteger>(out: &mut String, value: T, prefix: &str, radix: u32, width: usize) {
    let (negative, magnitude) = value.into_parts();
    if negative {
        out.push('-');
    }
    push_prefixed(out, magnitude, prefix, radix, width);
}

impl XmlValue for std::net::IpAddr {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        crate::ip::parse(text).ok_or_else(|| ValueError::expected("an IPv4 or IPv6 address"))
    }

    fn format_value(&self, out: &mut String) {
        crate::ip::push(out, *self);
    }
}

impl XmlValue for std::net::Ipv4Addr {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        crate::ip::parse_v4(text).ok_or_else(|| ValueError::expected("an IPv4 address"))
    }

    fn format_value(&self, out: &mut String) {
        crate::ip::push(out, std::net::IpAddr::V4(*self));
    }
}

impl XmlValue for std::net::Ipv6Addr {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        text.parse().map_err(|_| ValueError::expected("an IPv6 address"))
    }

    fn format_value(&self, out: &mut String) {
        crate::ip::push(out, std::net::IpAddr::V6(*self));
    }
}
