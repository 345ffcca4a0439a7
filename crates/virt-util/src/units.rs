//! Sizes with units: libvirt's suffix rules, checks against overflow, and texts for people.

use std::fmt;

use crate::{ErrorCode, Result, bail};

/// The most bytes a memory value may come to: the largest file offset.
pub const MEMORY_BYTES_MAX: u64 = i64::MAX as u64;

/// A size in kibibytes, the unit of all memory values of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KiB(pub u64);

impl KiB {
    /// Rounded up to whole kibibytes.
    pub fn from_bytes(bytes: u64) -> Self {
        Self(bytes.div_ceil(1024))
    }

    /// In bytes; `VIR_ERR_OVERFLOW` beyond 64 bits.
    pub fn to_bytes(self) -> Result<u64> {
        match self.0.checked_mul(1024) {
            Some(bytes) => Ok(bytes),
            None => bail!(ErrorCode::OVERFLOW, "value too large: {}KiB", self.0),
        }
    }

    /// Reads a memory size: a number and the unit beside it, kibibytes if there is none. Rounds up.
    ///
    /// ```
    /// use virt_util::units::KiB;
    ///
    /// assert_eq!(KiB::parse("2", Some("GiB"))?, KiB(2 * 1024 * 1024));
    /// assert_eq!(KiB::parse("1025", Some("b"))?, KiB(2));
    /// assert_eq!(KiB::parse("8", None)?, KiB(8));
    /// # Ok::<(), virt_util::VirtError>(())
    /// ```
    pub fn parse(number: &str, unit: Option<&str>) -> Result<Self> {
        let bytes = scale(parse_number(number)?, unit, 1024, MEMORY_BYTES_MAX)?;
        let size = Self::from_bytes(bytes);
        if size >= Self::from_bytes(MEMORY_BYTES_MAX) {
            bail!(
                ErrorCode::OVERFLOW,
                "{number} {} is too large",
                unit.unwrap_or("KiB")
            );
        }
        Ok(size)
    }
}

impl fmt::Display for KiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0)
    }
}

/// How many bytes a unit's name stands for: `b`, `byte(s)`, and `k`, `m`, `g`, `t`, `p`, `e` alone or with `iB` (powers
/// of 1024) or `B` (powers of 1000), in any case. Others are `VIR_ERR_INVALID_ARG`.
pub fn unit_bytes(unit: &str) -> Result<u64> {
    if ["b", "byte", "bytes"]
        .iter()
        .any(|name| unit.eq_ignore_ascii_case(name))
    {
        return Ok(1);
    }
    let mut chars = unit.chars();
    let power = match chars.next().map(|c| c.to_ascii_lowercase()) {
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some('e') => 6,
        _ => bail!(ErrorCode::INVALID_ARG, "unknown suffix '{unit}'"),
    };
    let base: u64 = match chars.as_str() {
        "" => 1024,
        rest if rest.eq_ignore_ascii_case("iB") => 1024,
        rest if rest.eq_ignore_ascii_case("B") => 1000,
        _ => bail!(ErrorCode::INVALID_ARG, "unknown suffix '{unit}'"),
    };
    Ok(base.pow(power))
}

/// `value` in `unit`, or in `default_scale` bytes where no unit is given, as bytes. More than `limit` is
/// `VIR_ERR_OVERFLOW`.
pub fn scale(value: u64, unit: Option<&str>, default_scale: u64, limit: u64) -> Result<u64> {
    let unit = unit.filter(|unit| !unit.is_empty());
    let scale = match unit {
        Some(unit) => unit_bytes(unit)?,
        None => default_scale,
    };
    match value.checked_mul(scale) {
        Some(bytes) if bytes <= limit => Ok(bytes),
        _ => bail!(
            ErrorCode::OVERFLOW,
            "{value}{} is more than {limit} bytes",
            unit.unwrap_or("")
        ),
    }
}

/// A number with its unit attached, as users type sizes: `10`, `10G`, `10 GiB`.
pub fn parse_size(text: &str, default_scale: u64, limit: u64) -> Result<u64> {
    let text = text.trim_ascii();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    scale(
        parse_number(number)?,
        Some(unit.trim_ascii_start()),
        default_scale,
        limit,
    )
}

/// A plain decimal number; blanks in front and a plus sign are allowed, as C's readers do.
pub fn parse_number(text: &str) -> Result<u64> {
    let digits = text.trim_ascii_start();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        bail!(
            ErrorCode::INVALID_ARG,
            "malformed number '{text}', decimal digits expected"
        );
    }
    match digits.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!(ErrorCode::OVERFLOW, "number '{text}' is larger than {}", u64::MAX),
    }
}

const BINARY_UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// The largest binary unit that gives a whole number (up to PiB), and that number.
pub fn exact_unit(bytes: u64) -> (u64, &'static str) {
    let mut value = bytes;
    let mut units = BINARY_UNITS.iter().take(6);
    let mut unit = units.next().copied().unwrap_or("B");
    for next in units {
        if value == 0 || !value.is_multiple_of(1024) {
            break;
        }
        value /= 1024;
        unit = next;
    }
    (value, unit)
}

/// The binary unit in which the number before the point is below 1024, and the number.
pub fn pretty_unit(bytes: u64) -> (f64, &'static str) {
    let mut scale = 1.0;
    for unit in BINARY_UNITS {
        // Exact enough for a text with a few digits.
        let value = bytes as f64 / scale;
        if value < 1024.0 {
            return (value, unit);
        }
        scale *= 1024.0;
    }
    (bytes as f64 / scale * 1024.0, "EiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn suffixes_are_libvirts() {
        for (unit, bytes) in [
            ("b", 1),
            ("BYTES", 1),
            ("k", 1024),
            ("KB", 1000),
            ("KiB", 1024),
            ("m", 1 << 20),
            ("GB", 1_000_000_000),
            ("tib", 1 << 40),
            ("P", 1 << 50),
            ("eib", 1 << 60),
        ] {
            assert_eq!(unit_bytes(unit).unwrap(), bytes, "{unit}");
        }
        for unit in ["", "x", "ki", "kbit", "KiBs", "iB", "\u{e4}"] {
            assert_eq!(
                unit_bytes(unit).unwrap_err().code(),
                ErrorCode::INVALID_ARG,
                "{unit}"
            );
        }
    }

    #[test]
    fn too_much_is_an_overflow() {
        assert_eq!(
            scale(16, Some("E"), 1, u64::MAX).unwrap_err().code(),
            ErrorCode::OVERFLOW
        );
        assert_eq!(
            KiB::parse("8", Some("EiB")).unwrap_err().code(),
            ErrorCode::OVERFLOW
        );
        assert_eq!(
            parse_number("18446744073709551616").unwrap_err().code(),
            ErrorCode::OVERFLOW
        );
        assert_eq!(KiB::parse("-1", None).unwrap_err().code(), ErrorCode::INVALID_ARG);
        assert_eq!(scale(0, Some("E"), 1, 10).unwrap(), 0);
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(exact_unit(0), (0, "B"));
        assert_eq!(exact_unit(3 << 20), (3, "MiB"));
        assert_eq!(exact_unit((1 << 20) + 1024), (1025, "KiB"));
        assert_eq!(exact_unit(1 << 60), (1024, "PiB"));
        assert_eq!(pretty_unit(1536), (1.5, "KiB"));
        assert_eq!(pretty_unit(u64::MAX).1, "EiB");
        assert_eq!(parse_size("10 GiB", 1, u64::MAX).unwrap(), 10 << 30);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(number in "\\PC{0,24}", unit in "\\PC{0,5}") {
            let _ = KiB::parse(&number, Some(&unit));
            let _ = parse_size(&number, 1, u64::MAX);
        }

        #[test]
        fn exact_units_are_exact(bytes in any::<u64>()) {
            let (value, unit) = exact_unit(bytes);
            prop_assert_eq!(scale(value, Some(unit), 1, u64::MAX).unwrap(), bytes);
        }
    }
}
