//! Numbers as the C library's strtol family reads them, since scripts rely on what it accepts: leading blanks, a sign,
//! and with base 0 the prefixes `0x` and `0`. The whole text must be a number.

/// A number of base 10, 16 or (0) of the base that its prefix tells. `None` if `text` is none or does not fit.
fn number(text: &str, base: u32) -> Option<(bool, u128)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, base) = match (base, hex) {
        (0 | 16, Some(hex)) => (hex, 16),
        (0, None) if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        (0, None) => (digits, 10),
        (base, _) => (digits, base),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    Some((negative, u128::from_str_radix(digits, base).ok()?))
}

fn signed(text: &str, base: u32) -> Option<i128> {
    let (negative, value) = number(text, base)?;
    let value = i128::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// A C `int`.
pub fn int(text: &str, base: u32) -> Option<i32> {
    signed(text, base).and_then(|value| value.try_into().ok())
}

/// A C `unsigned int`; a negative number is refused.
pub fn uint(text: &str, base: u32) -> Option<u32> {
    match number(text, base)? {
        (false, value) => value.try_into().ok(),
        // strtoul takes the sign of zero for granted, virsh's unsigned options do not.
        (true, _) => None,
    }
}

/// A C `unsigned long long`; a negative number is refused.
pub fn ulong(text: &str, base: u32) -> Option<u64> {
    match number(text, base)? {
        (false, value) => value.try_into().ok(),
        (true, _) => None,
    }
}

/// A C `unsigned long long` with whatever stands behind its digits.
pub fn ulong_and_rest(text: &str) -> Option<(u64, &str)> {
    let start = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let digits = start.strip_prefix('+').unwrap_or(start);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_strtol_reads() {
        assert_eq!(int(" 42", 10), Some(42));
        assert_eq!(int("-1", 10), Some(-1));
        assert_eq!(int("0x10", 0), Some(16));
        assert_eq!(int("0x10", 10), None);
        assert_eq!(int("010", 0), Some(8));
        assert_eq!(int("1 ", 10), None);
        assert_eq!(int("2147483648", 10), None);
        assert_eq!(uint("4294967295", 10), Some(u32::MAX));
        assert_eq!(uint("4294967296", 10), None);
        assert_eq!(uint("-1", 10), None);
        assert_eq!(int("", 10), None);
    }
}
