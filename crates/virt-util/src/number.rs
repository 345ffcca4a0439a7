//! Numbers at the beginning of texts, as C's functions read them.
//!
//! Files and programs that C wrote or reads hold numbers in all of C's notations, with something behind them, and with signs
//! where none belongs. [`scan_integer`] and [`scan_float`] take the number and say what is left.

/// A whole number at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned<'t> {
    /// Whether a minus sign was before it.
    pub negative: bool,
    /// The number without its sign; none if 64 bits cannot hold it.
    pub magnitude: Option<u64>,
    /// What is behind it.
    pub rest: &'t str,
}

/// Takes a whole number from the beginning of `text`; blanks before it are passed over. Base 0 stands for C's notations:
/// `0x1f`, `017`, `15`. None if there is no digit.
///
/// ```
/// use virt_util::number::scan_integer;
///
/// let size = scan_integer("0x10k", 0).unwrap();
/// assert_eq!((size.to_i32(), size.rest), (Some(16), "k"));
/// assert_eq!(scan_integer("-1", 10).unwrap().to_u32_wrapping(), Some(u32::MAX));
/// assert_eq!(scan_integer("k", 0), None);
/// ```
pub fn scan_integer(text: &str, base: u32) -> Option<Scanned<'_>> {
    let text = skip_blanks(text);
    let (negative, digits) = sign(text);
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .filter(|digits| digits.bytes().next().is_some_and(|byte| byte.is_ascii_hexdigit()));
    let (digits, radix) = match (base, hexadecimal) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if digits.starts_with('0') => (digits, 8),
        (0, None) => (digits, 10),
        (base, _) => (digits, base.clamp(2, 36)),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(end)?;
    if number.is_empty() {
        return None;
    }
    Some(Scanned {
        negative,
        magnitude: u64::from_str_radix(number, radix).ok(),
        rest,
    })
}

impl Scanned<'_> {
    /// The number as an `i32`, if it is one.
    pub fn to_i32(self) -> Option<i32> {
        self.to_i64()?.try_into().ok()
    }

    /// The number as an `i64`, if it is one.
    pub fn to_i64(self) -> Option<i64> {
        let magnitude = i128::from(self.magnitude?);
        let value = if self.negative { -magnitude } else { magnitude };
        value.try_into().ok()
    }

    /// The number as a `u32`. As in C, a negative one counts from the end: -1 is the greatest.
    pub fn to_u32_wrapping(self) -> Option<u32> {
        let magnitude = u32::try_from(self.magnitude?).ok()?;
        Some(if self.negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        })
    }

    /// The number as a `u64`. As in C, a negative one counts from the end: -1 is the greatest.
    pub fn to_u64_wrapping(self) -> Option<u64> {
        let magnitude = self.magnitude?;
        Some(if self.negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        })
    }
}

/// Takes a decimal fraction from the beginning of `text`, and says what is behind it; blanks before it are passed over. None
/// if there is none, or if it is too large for an `f64`.
pub fn scan_float(text: &str) -> Option<(f64, &str)> {
    let text = skip_blanks(text);
    let digits_at = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.bytes().take_while(u8::is_ascii_digit).count()
    };
    let starts = |at: usize, with: &[char]| text.get(at..).is_some_and(|rest| rest.starts_with(with));
    let mut at = usize::from(starts(0, &['+', '-']));
    let whole = digits_at(at);
    at += whole;
    let mut fraction = 0;
    if starts(at, &['.']) {
        fraction = digits_at(at + 1);
        // A point without any digit beside it is no number's.
        at += if whole + fraction > 0 { 1 + fraction } else { 0 };
    }
    if whole + fraction == 0 {
        return None;
    }
    if starts(at, &['e', 'E']) {
        let exponent = at + 1 + usize::from(starts(at + 1, &['+', '-']));
        match digits_at(exponent) {
            0 => {}
            digits => at = exponent + digits,
        }
    }
    let (number, rest) = text.split_at_checked(at)?;
    let value: f64 = number.parse().ok()?;
    value.is_finite().then_some((value, rest))
}

/// The next power of two, or the number itself if it is one; 0 for 0 and for what has none in 32 bits.
pub fn round_up_to_power_of_two(value: u32) -> u32 {
    match value {
        0 => 0,
        value => value.checked_next_power_of_two().unwrap_or(0),
    }
}

/// A version `major.minor.micro` at the beginning of a text as libvirt's one number: major times 1,000,000, minor times
/// 1,000, micro. `partial` lets minor and micro be missing. None if it is no version, or a part is too large.
pub fn parse_version(text: &str, partial: bool) -> Option<u64> {
    let mut rest = text;
    let mut parts = [0u64; 3];
    for (place, part) in parts.iter_mut().enumerate() {
        if place > 0 {
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if partial => break,
                None => return None,
            }
        }
        let scanned = scan_integer(rest, 10)?;
        *part = scanned.to_u32_wrapping()?.into();
        rest = scanned.rest;
    }
    let [major, minor, micro] = parts;
    let fits = major <= u64::from(u32::MAX / 1_000_000) && minor <= 999 && micro <= 999;
    fits.then_some(major * 1_000_000 + minor * 1000 + micro)
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fractions_end_where_c_ends_them() {
        assert_eq!(scan_float(" 1.5e3x"), Some((1500.0, "x")));
        assert_eq!(scan_float("1e"), Some((1.0, "e")));
        assert_eq!(scan_float("1.e+"), Some((1.0, "e+")));
        assert_eq!(scan_float(".5"), Some((0.5, "")));
        assert_eq!(scan_float("."), None);
        assert_eq!(scan_float("-"), None);
        assert_eq!(scan_float("1e999"), None);
    }

    #[test]
    fn versions_have_three_parts() {
        assert_eq!(parse_version("10.0.2-rc1", false), Some(10_000_002));
        assert_eq!(parse_version("7.2", true), Some(7_002_000));
        assert_eq!(parse_version("7.2", false), None);
        assert_eq!(parse_version("7.x.1", true), None);
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back(value: i64, rest in "[g-z]{0,3}") {
            let text = format!("{value}{rest}");
            let scanned = scan_integer(&text, 10).unwrap();
            prop_assert_eq!((scanned.to_i64(), scanned.rest), (Some(value), rest.as_str()));
        }

        #[test]
        fn any_text_is_survived(text in "[-+ 0-9a-fxX.eE\\PC]{0,20}", base in 0u32..40) {
            let _ = scan_integer(&text, base);
            let _ = scan_float(&text);
            parse_version(&text, true);
        }
    }
}
