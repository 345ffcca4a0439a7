//! Distinguished names as text, the way GnuTLS writes them: `C=GB,O=Example,CN=admin`, parts in the certificate's order.
//!
//! Policies and `tls_allowed_dn_list` hold such text, made with `virt-pki-query-dn`: it has to be the same to the byte.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::x509::X509Name;

/// What the values of a type of attribute may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Any kind of string.
    Text,
    /// Only a `PrintableString`; others are shown as bytes.
    Printable,
}

/// The attributes that have a name.
const NAMES: &[(&str, &str, Form)] = &[
    ("2.5.4.3", "CN", Form::Text),
    ("2.5.4.4", "surName", Form::Text),
    ("2.5.4.5", "serialNumber", Form::Printable),
    ("2.5.4.6", "C", Form::Printable),
    ("2.5.4.7", "L", Form::Text),
    ("2.5.4.8", "ST", Form::Text),
    ("2.5.4.9", "street", Form::Text),
    ("2.5.4.10", "O", Form::Text),
    ("2.5.4.11", "OU", Form::Text),
    ("2.5.4.12", "title", Form::Text),
    ("2.5.4.13", "description", Form::Text),
    ("2.5.4.15", "businessCategory", Form::Text),
    ("2.5.4.17", "postalCode", Form::Text),
    ("2.5.4.20", "telephoneNumber", Form::Printable),
    ("2.5.4.41", "name", Form::Text),
    ("2.5.4.42", "givenName", Form::Text),
    ("2.5.4.43", "initials", Form::Text),
    ("2.5.4.44", "generationQualifier", Form::Text),
    ("2.5.4.46", "dnQualifier", Form::Printable),
    ("2.5.4.65", "pseudonym", Form::Text),
    ("1.2.840.113549.1.9.1", "EMAIL", Form::Text),
    ("1.2.840.113549.1.9.7", "1.2.840.113549.1.9.7", Form::Text),
    ("0.9.2342.19200300.100.1.1", "UID", Form::Text),
    ("0.9.2342.19200300.100.1.25", "DC", Form::Text),
    ("1.3.6.1.5.5.7.9.2", "placeOfBirth", Form::Text),
    ("1.3.6.1.5.5.7.9.3", "gender", Form::Printable),
    ("1.3.6.1.5.5.7.9.4", "countryOfCitizenship", Form::Printable),
    ("1.3.6.1.5.5.7.9.5", "countryOfResidence", Form::Printable),
    (
        "1.3.6.1.4.1.311.60.2.1.1",
        "jurisdictionOfIncorporationLocalityName",
        Form::Text,
    ),
    (
        "1.3.6.1.4.1.311.60.2.1.2",
        "jurisdictionOfIncorporationStateOrProvinceName",
        Form::Text,
    ),
    (
        "1.3.6.1.4.1.311.60.2.1.3",
        "jurisdictionOfIncorporationCountryName",
        Form::Printable,
    ),
    ("1.2.643.3.131.1.1", "INN", Form::Text),
    ("1.2.643.100.1", "OGRN", Form::Text),
    ("1.2.643.100.3", "SNILS", Form::Text),
    ("1.2.643.100.5", "OGRNIP", Form::Printable),
];

/// The name as text.
pub fn format(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    for (index, part) in name.iter_rdn().enumerate() {
        if index > 0 {
            out.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            let id = attribute.attr_type().to_id_string();
            let known = NAMES.iter().find(|(known, _, _)| *known == id);
            out.push_str(known.map_or(id.as_str(), |(_, name, _)| *name));
            out.push('=');
            let form = known.map(|(_, _, form)| *form);
            match form.and_then(|form| text(attribute.attr_value(), form)) {
                Some(text) => out.push_str(&escape(&text)),
                // Whatever nobody can read.
                None => out.push_str(&hex(&encoded(attribute.attr_value()))),
            }
        }
    }
    out
}

/// The text of a value, if it is one.
fn text(value: &Any<'_>, form: Form) -> Option<String> {
    if value.class() != Class::Universal {
        return None;
    }
    let tag = value.tag();
    if form == Form::Printable && tag != Tag::PrintableString {
        return None;
    }
    let units = |size: usize| value.data.chunks_exact(size);
    Some(match tag {
        Tag::Utf8String => String::from_utf8(value.data.to_vec()).ok()?,
        Tag::PrintableString | Tag::Ia5String | Tag::TeletexString | Tag::NumericString => {
            match value.data.iter().all(|byte| (0x20..0x7f).contains(byte)) {
                true => String::from_utf8(value.data.to_vec()).ok()?,
                false => hex(value.data),
            }
        }
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units: Vec<u16> = units(2)
                .filter_map(|unit| unit.try_into().ok().map(u16::from_be_bytes))
                .collect();
            String::from_utf16(&units).ok()?
        }
        Tag::UniversalString if value.data.len().is_multiple_of(4) => units(4)
            .map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?)))
            .collect::<Option<String>>()?,
        _ => return None,
    })
}

/// The value as it stands in the certificate, in its shortest form.
fn encoded(value: &Any<'_>) -> Vec<u8> {
    let mut out = vec![u8::try_from(value.tag().0).unwrap_or(u8::MAX)];
    let length = value.data.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect::<Vec<_>>();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            out.extend_from_slice(&bytes);
        }
    }
    out.extend_from_slice(value.data);
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2 + 1);
    out.push('#');
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, c) in text.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (index == 0 && matches!(c, ' ' | '#'))
            || (index == last && c == ' ');
        match c {
            '\0' => out.push_str("\\00"),
            c => {
                if special {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(
            escape("a, b + \"c\" \\ <d>; e=f"),
            "a\\, b \\+ \\\"c\\\" \\\\ \\<d\\>\\; e=f"
        );
        assert_eq!(escape("# hash"), "\\# hash");
        assert_eq!(escape(" both "), "\\ both\\ ");
        assert_eq!(escape(" "), "\\ ");
        assert_eq!(escape("x#x"), "x#x");
        assert_eq!(escape("a\0b"), "a\\00b");
        assert_eq!(escape(""), "");
    }
}
