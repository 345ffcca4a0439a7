//! Encodings of `.vmx` files, and how they escape characters.

use std::borrow::Cow;

use encoding_rs::Encoding;
use virt_util::{Result, VirtError};

/// Replaces `escape` itself and each of `special` by `escape` and two hexadecimal digits.
pub fn escape_hex(text: &str, escape: char, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c == escape || special.contains(&c)) && c.is_ascii() {
            out.push_str(&format!("{escape}{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Undoes [`escape_hex`]; none if the escape is not followed by two hexadecimal digits, or if the bytes that come out are
/// not UTF-8.
pub fn unescape_hex(text: &str, escape: u8) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == escape {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The text of a file in the encoding it names; without a name it is UTF-8.
///
/// # Errors
/// `INTERNAL_ERROR` for an unknown encoding, and for bytes that are none of its characters.
pub fn decode<'a>(bytes: &'a [u8], name: Option<&str>) -> Result<Cow<'a, str>> {
    let wrong = |what: &str| {
        VirtError::internal(format_args!(
            "could not convert from {what} to UTF-8 encoding: setting '.encoding' says so"
        ))
    };
    match name {
        None => utf8(bytes),
        Some(name) if name.eq_ignore_ascii_case("UTF-8") => utf8(bytes),
        Some(name)
            if ["ISO-8859-1", "ISO-LATIN-1", "ISO LATIN 1"]
                .iter()
                .any(|latin| name.eq_ignore_ascii_case(latin)) =>
        {
            Ok(latin1(bytes).into())
        }
        Some(name) => {
            let Some(encoding) = Encoding::for_label(name.as_bytes()) else {
                return Err(VirtError::internal(format_args!(
                    "setting '.encoding': the encoding '{name}' is not known"
                )));
            };
            encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .ok_or_else(|| wrong(name))
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        VirtError::internal(format_args!(
            "the file is not UTF-8 at byte {}, and no setting '.encoding' names another encoding",
            error.valid_up_to()
        ))
    })
}

/// Each byte as the character of that number, so that ASCII can be read whatever the encoding is.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_encodings_are_understood() {
        assert_eq!(
            decode(b"caf\xe9 \x80", Some("windows-1252")).unwrap(),
            "caf\u{e9} \u{20ac}"
        );
        assert_eq!(decode(b"caf\xe9", Some("iso-8859-1")).unwrap(), "caf\u{e9}");
        assert_eq!(
            decode("caf\u{e9}".as_bytes(), Some("utf-8")).unwrap(),
            "caf\u{e9}"
        );
        assert!(decode(b"caf\xe9", None).unwrap_err().message().contains("byte 3"));
        assert!(
            decode(b"a", Some("klingon"))
                .unwrap_err()
                .message()
                .contains("'klingon'")
        );
    }

    proptest! {
        #[test]
        fn escapes_come_back(text in "\\PC{0,40}") {
            let escaped = escape_hex(&text, '|', &['"']);
            prop_assert!(!escaped.contains('"'));
            prop_assert_eq!(unescape_hex(&escaped, b'|'), Some(text));
        }

        #[test]
        fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..60), name in "\\PC{0,12}") {
            let _ = decode(&bytes, Some(&name));
            let _ = decode(&bytes, Some("shift_jis"));
        }
    }
}
