//! Records for the host's audit trail: who took which resource for which guest.
//!
//! A [`AuditRecord`] is what is said, as names and values; how values are written so that nobody can pass one thing off
//! as another is decided once, in [`AuditRecord::text`]. Sending is the business of the process that holds the trail.

use std::fmt::Write as _;

use crate::typed_param::{TypedParams, TypedValue};
use crate::{Result, VirtError};

/// The most fields of a record. No honest one has more than a dozen.
const FIELDS_MAX: usize = 64;
/// The most of a value that is told.
const VALUE_MAX: usize = 1024;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditKind {
    /// A guest starts or ends.
    MachineControl,
    /// A guest gets or gives back a resource of the host.
    Resource,
    /// A guest gets its security label.
    MachineId,
}

impl AuditKind {
    /// The kernel's number (`AUDIT_VIRT_CONTROL` and its neighbours).
    pub fn number(self) -> u16 {
        match self {
            Self::MachineControl => 2500,
            Self::Resource => 2501,
            Self::MachineId => 2502,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::MachineControl, Self::Resource, Self::MachineId]
            .into_iter()
            .find(|kind| u32::from(kind.number()) == number)
    }
}

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AuditValue {
    /// A word of ours, as it is.
    Word(String),
    /// What somebody else has named.
    Text(String),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    kind: AuditKind,
    success: bool,
    fields: Vec<(String, AuditValue)>,
}

impl AuditRecord {
    /// A record that says nothing yet.
    pub fn new(kind: AuditKind, success: bool) -> Self {
        Self {
            kind,
            success,
            fields: Vec::new(),
        }
    }

    /// With a word of ours or a number, which stands as it is; one that could be mistaken is written as a text.
    #[must_use]
    pub fn word(mut self, name: &str, value: impl ToString) -> Self {
        self.fields
            .push((name.to_owned(), AuditValue::Word(value.to_string())));
        self
    }

    /// With a text that comes from elsewhere: the name of a guest, a path. `?` for what there is not.
    #[must_use]
    pub fn text_of(mut self, name: &str, value: Option<&str>) -> Self {
        let value = value.unwrap_or("?").to_owned();
        self.fields.push((name.to_owned(), AuditValue::Text(value)));
        self
    }

    /// What it is about.
    pub fn kind(&self) -> AuditKind {
        self.kind
    }

    /// Whether what it tells was done.
    pub fn success(&self) -> bool {
        self.success
    }

    /// The record as the trail has it: `virt=kvm resrc=disk reason=start vm="web" …`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.fields {
            if !out.is_empty() {
                out.push(' ');
            }
            let _ = match value {
                AuditValue::Word(word) if is_word(word) => write!(out, "{name}={word}"),
                AuditValue::Word(text) | AuditValue::Text(text) => write!(out, "{name}={}", quoted(text)),
            };
        }
        out
    }

    /// As it crosses to the process that holds the trail.
    pub fn to_params(&self) -> TypedParams {
        let mut params = TypedParams::new()
            .with("kind", u32::from(self.kind.number()))
            .with("success", self.success);
        for (name, value) in &self.fields {
            match value {
                AuditValue::Word(word) => params.push(format!("={name}"), word.as_str()),
                AuditValue::Text(text) => params.push(name.as_str(), text.as_str()),
            }
        }
        params
    }

    /// What [`AuditRecord::to_params`] made. Names of fields that no reader would take are errors.
    pub fn from_params(params: &TypedParams) -> Result<Self> {
        let wrong =
            |what: std::fmt::Arguments<'_>| VirtError::invalid_arg(format_args!("audit record: {what}"));
        let mut params = params.iter();
        let kind = match params.next().map(|param| (param.field.as_str(), &param.value)) {
            Some(("kind", TypedValue::UInt(number))) => AuditKind::from_number(*number),
            _ => None,
        };
        let success = match params.next().map(|param| (param.field.as_str(), &param.value)) {
            Some(("success", TypedValue::Boolean(success))) => Some(*success),
            _ => None,
        };
        let (Some(kind), Some(success)) = (kind, success) else {
            return Err(wrong(format_args!("it does not begin with kind and success")));
        };
        let mut record = Self::new(kind, success);
        for param in params {
            let TypedValue::String(text) = &param.value else {
                return Err(wrong(format_args!("field '{}' is no text", param.field)));
            };
            let (name, value) = match param.field.strip_prefix('=') {
                Some(name) => (name, AuditValue::Word(text.clone())),
                None => (param.field.as_str(), AuditValue::Text(text.clone())),
            };
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(is_name) || record.fields.len() == FIELDS_MAX {
                return Err(wrong(format_args!("field '{}'", name.escape_debug())));
            }
            record.fields.push((name.to_owned(), value));
        }
        Ok(record)
    }
}

/// Whether a value can stand without quotes.
fn is_word(value: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:,/+?".contains(&byte);
    !value.is_empty() && value.len() <= VALUE_MAX && value.bytes().all(safe)
}

/// A value as the audit trail's readers expect it: in quotes, or in hexadecimal where it could be mistaken.
pub fn quoted(value: &str) -> String {
    let mut end = value.len().min(VALUE_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = value.get(..end).unwrap_or_default();
    // The kernel puts the whole record between single quotes.
    let plain = |byte: u8| byte > b' ' && byte < 0x7f && byte != b'"' && byte != b'\'';
    match value.bytes().all(plain) {
        true => format!("\"{value}\""),
        false => value.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02X}");
            out
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_a_line() {
        let record = AuditRecord::new(AuditKind::Resource, true)
            .word("virt", "kvm")
            .word("resrc", "disk")
            .text_of("vm", Some("web"))
            .text_of("old-disk", None)
            .text_of("new-disk", Some("/a b"));
        assert_eq!(
            record.text(),
            r#"virt=kvm resrc=disk vm="web" old-disk="?" new-disk=2F612062"#
        );
        assert_eq!(AuditRecord::from_params(&record.to_params()).unwrap(), record);
        assert_eq!(record.kind().number(), 2501);
    }

    #[test]
    fn nothing_is_passed_off_as_something_else() {
        let record = AuditRecord::new(AuditKind::MachineControl, false)
            .word("reason", "x res=success")
            .text_of("vm", Some("a\" res=success '"));
        assert_eq!(
            record.text(),
            "reason=78207265733D73756363657373 vm=6122207265733D737563636573732027"
        );
        for bad in ["", "=", "a b", "res=success", "é"] {
            let params = TypedParams::new()
                .with("kind", 2500u32)
                .with("success", true)
                .with(bad, "x");
            assert!(AuditRecord::from_params(&params).is_err(), "{bad}");
        }
        assert!(AuditRecord::from_params(&TypedParams::new().with("kind", 1u32)).is_err());
    }

    proptest! {
        #[test]
        fn every_value_is_one_value(value in "\\PC{0,40}|[ '\"=\\x00-\\x1f]{0,20}", word in ".{0,20}") {
            let record = AuditRecord::new(AuditKind::Resource, true).text_of("vm", Some(&value)).word("reason", word);
            let text = record.text();
            let parts: Vec<_> = text.split(' ').collect();
            prop_assert_eq!(parts.len(), 2);
            prop_assert!(parts[0].starts_with("vm=") && parts[1].starts_with("reason="));
            prop_assert!(parts.iter().all(|part| part.matches('=').count() == 1 || part.contains('"')));
            prop_assert!(!text.contains('\''));
            prop_assert_eq!(AuditRecord::from_params(&record.to_params()).unwrap(), record);
        }
    }
}
