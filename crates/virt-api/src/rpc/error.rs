//! Errors as packets carry them.

use virt_util::error::ErrorLevel;
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::protocol::remote::{DomainRef, NetworkRef};
use crate::protocol::wire::{Opt, STRING_MAX, Wire};

/// libvirt's `virNetMessageError`, in the order of its fields on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorMessage {
    /// `virErrorNumber`.
    pub code: i32,
    /// `virErrorDomain`.
    pub domain: i32,
    /// The whole text.
    pub message: Option<String>,
    /// `virErrorLevel`.
    pub level: i32,
    /// The domain it is about; peers leave it empty.
    pub about_domain: Option<DomainRef>,
    /// libvirt's extra strings.
    pub strings: [Option<String>; 3],
    /// libvirt's extra numbers.
    pub ints: [i32; 2],
    /// The network it is about; peers leave it empty.
    pub about_network: Option<NetworkRef>,
}

/// Text as well as it can be shown: a file's name in it may be in any encoding, and an error must always be told.
fn get_text(input: &mut XdrDecoder<'_>) -> Result<Option<String>> {
    if !input.bool()? {
        return Ok(None);
    }
    let bytes = input.opaque(STRING_MAX)?;
    Ok(Some(String::from_utf8_lossy(bytes).replace('\0', " ")))
}

/// Text as far as it fits.
fn put_text(text: Option<&String>, out: &mut XdrEncoder) -> Result<()> {
    out.bool(text.is_some());
    let Some(text) = text else { return Ok(()) };
    let mut end = text.len().min(STRING_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    if text.contains('\0') {
        out.string(&text.replace('\0', " "), STRING_MAX)
    } else {
        out.string(text, STRING_MAX)
    }
}

impl XdrEncode for ErrorMessage {
    fn encode(&self, out: &mut XdrEncoder) -> Result<()> {
        out.i32(self.code);
        out.i32(self.domain);
        put_text(self.message.as_ref(), out)?;
        out.i32(self.level);
        Opt::<DomainRef>::put(&self.about_domain, out)?;
        for text in &self.strings {
            put_text(text.as_ref(), out)?;
        }
        for number in self.ints {
            out.i32(number);
        }
        Opt::<NetworkRef>::put(&self.about_network, out)
    }
}

impl XdrDecode for ErrorMessage {
    fn decode(input: &mut XdrDecoder<'_>) -> Result<Self> {
        Ok(Self {
            code: input.i32()?,
            domain: input.i32()?,
            message: get_text(input)?,
            level: input.i32()?,
            about_domain: Opt::<DomainRef>::get(input)?,
            strings: [get_text(input)?, get_text(input)?, get_text(input)?],
            ints: [input.i32()?, input.i32()?],
            about_network: Opt::<NetworkRef>::get(input)?,
        })
    }
}

impl From<&VirtError> for ErrorMessage {
    fn from(error: &VirtError) -> Self {
        Self {
            code: error.code().0,
            domain: error.domain().0,
            message: Some(error.to_string()),
            level: error.level().0,
            about_domain: None,
            strings: [error.str1(), error.str2(), error.str3()].map(|text| text.map(str::to_owned)),
            ints: [error.int1(), error.int2()],
            about_network: None,
        }
    }
}

/// Numbers that libvirt before 0.7 used otherwise, as its client corrects them.
const NWFILTER_SHIFT: i32 = 4;

impl ErrorMessage {
    /// The error that a peer told, with what libvirt's client corrects: numbers of old peers, and a procedure that the
    /// peer does not know, which is a function that the connection does not support.
    pub fn into_error(self) -> VirtError {
        let domain = ErrorDomain(self.domain);
        let code = ErrorCode(self.code);
        let is = |codes: &[ErrorCode]| codes.contains(&code);
        let code = if is(&[
            ErrorCode::INVALID_NWFILTER,
            ErrorCode::NO_NWFILTER,
            ErrorCode::BUILD_FIREWALL,
        ]) && domain != ErrorDomain::NWFILTER
        {
            ErrorCode(self.code + NWFILTER_SHIFT)
        } else if code == ErrorCode::WAR_NO_SECRET && domain == ErrorDomain::QEMU {
            ErrorCode::OPERATION_TIMEOUT
        } else if code == ErrorCode::INVALID_SECRET && domain == ErrorDomain::XEN {
            ErrorCode::MIGRATE_PERSIST_FAILED
        } else {
            code
        };
        let level = ErrorLevel(self.level);
        let message = self.message.unwrap_or_default();
        if is(&[ErrorCode::RPC])
            && level == ErrorLevel::ERROR
            && (domain == ErrorDomain::RPC || domain == ErrorDomain::REMOTE)
            && message.starts_with("unknown procedure")
        {
            return VirtError::from_parts(ErrorCode::NO_SUPPORT, domain, level, message);
        }
        if self.code == 0 {
            // An error must say something.
            return VirtError::from_parts(
                ErrorCode::INTERNAL_ERROR,
                ErrorDomain::RPC,
                ErrorLevel::ERROR,
                message,
            );
        }
        let [str1, str2, str3] = self.strings;
        let [int1, int2] = self.ints;
        VirtError::from_parts(code, domain, level, message)
            .with_strings(str1, str2, str3)
            .with_ints(int1, int2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_wire() {
        let error = VirtError::system(2, "cannot open '/nowhere'").in_domain(ErrorDomain::QEMU);
        let message = ErrorMessage::from(&error);
        let back = ErrorMessage::from_xdr(&message.to_xdr().unwrap()).unwrap();
        assert_eq!(back, message);
        let back = back.into_error();
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!(
            (back.code(), back.domain(), back.int1()),
            (error.code(), error.domain(), 2)
        );
    }

    #[test]
    fn an_unknown_procedure_is_a_function_without_support() {
        let told = ErrorMessage::from(&crate::protocol::unknown_procedure(1, 999));
        assert_eq!(told.message.as_deref(), Some("unknown procedure: 999"));
        let error = told.into_error();
        assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
        assert_eq!(error.to_string(), "unknown procedure: 999");
    }

    #[test]
    fn text_in_any_encoding_and_of_any_length_is_told() {
        let mut out = XdrEncoder::new();
        out.i32(1);
        out.i32(7);
        out.bool(true);
        out.opaque(b"no file \xff\xfe", 100).unwrap();
        out.i32(2);
        for _ in 0..4 {
            out.bool(false);
        }
        out.i32(0);
        out.i32(0);
        out.bool(false);
        let error = ErrorMessage::from_xdr(&out.into_bytes()).unwrap().into_error();
        assert!(error.to_string().starts_with("no file"));
        let long = ErrorMessage {
            message: Some("é".repeat(STRING_MAX)),
            ..ErrorMessage::default()
        };
        assert!(long.to_xdr().is_ok());
        assert!(!ErrorMessage::default().into_error().to_string().is_empty());
    }
}
