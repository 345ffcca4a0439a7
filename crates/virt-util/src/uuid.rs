//! UUIDs as libvirt reads and writes them.

pub use ::uuid::Uuid;

use crate::{ErrorCode, Result, VirtError};

/// Reads a UUID as liberally as libvirt: 32 hexadecimal digits, blanks or dashes between the pairs, blanks around.
/// Anything else is `VIR_ERR_INVALID_ARG`.
///
/// ```
/// let uuid = virt_util::uuid::parse(" 6695eb01f6a4-8304-79aa 97f2502e193f\n")?;
/// assert_eq!(virt_util::uuid::format(&uuid), "6695eb01-f6a4-8304-79aa-97f2502e193f");
/// # Ok::<(), virt_util::VirtError>(())
/// ```
pub fn parse(text: &str) -> Result<Uuid> {
    scan(text).ok_or_else(|| {
        VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!("malformed uuid '{text}', 32 hexadecimal digits expected"),
        )
    })
}

fn scan(text: &str) -> Option<Uuid> {
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let mut chars = text.trim_matches(is_space).chars();
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let high = chars.find(|c| !matches!(c, '-' | ' '))?.to_digit(16)?;
        let low = chars.next()?.to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    chars.next().is_none().then_some(Uuid::from_bytes(bytes))
}

/// Lower-case digits in five groups.
pub fn format(uuid: &Uuid) -> String {
    uuid.hyphenated().to_string()
}

/// A new random UUID.
pub fn generate() -> Uuid {
    Uuid::new_v4()
}

/// Whether a UUID can identify anything: firmware that has none often repeats one byte.
pub fn is_meaningful(uuid: &Uuid) -> bool {
    let bytes = uuid.as_bytes();
    bytes.iter().any(|byte| *byte != bytes[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_liberal_form_is_taken_and_no_other() {
        for text in [
            "c7a5fdbd-edaf-9455-926a-d65c16db1809",
            "c7a5fdbdedaf9455926ad65c16db1809",
            "c7-a5 fdbdedaf9455926ad65c16db18--09 ",
        ] {
            assert_eq!(
                format(&parse(text).unwrap()),
                "c7a5fdbd-edaf-9455-926a-d65c16db1809"
            );
        }
        for text in [
            "",
            "c7a5",
            "c7a5fdbdedaf9455926ad65c16db18090",
            "c7a5fdbdedaf9455926ad65c16db180g",
            "c-7a5fdbdedaf9455926ad65c16db1809",
            "{c7a5fdbdedaf9455926ad65c16db1809}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(!is_meaningful(&Uuid::nil()));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,50}") {
            let _ = parse(&text);
        }

        #[test]
        fn every_uuid_survives(bytes in any::<[u8; 16]>()) {
            let uuid = Uuid::from_bytes(bytes);
            prop_assert_eq!(parse(&format(&uuid)).unwrap(), uuid);
        }
    }
}
