//! The one error value of Ferrovirt.
//!
//! A [`VirtError`] carries what libvirt's `virError` carries (code, domain, level, message, three strings, two
//! integers) and what libvirt cannot say: a chain of causes and a hint. Numbers are libvirt's
//! (`libvirt/virterror.h`); each code's lead text ("Domain not found: …") is byte-equal to libvirt's because
//! scripts match it, the detail behind it is ours.
//!
//! Build an error where the facts are known, add context with [`VirtError::context`] on the way up, print it once at
//! the edge. Nothing here is global: "last error" exists only in the C library.

use std::borrow::Cow;
use std::fmt;

mod table;

pub use table::{ErrorCode, ErrorDomain};

/// The result of everything in Ferrovirt that can fail.
pub type Result<T, E = VirtError> = std::result::Result<T, E>;

/// How serious an error is: libvirt's `virErrorLevel`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorLevel(pub i32);

impl ErrorLevel {
    /// No error.
    pub const NONE: Self = Self(0);
    /// Something is odd, the call went on.
    pub const WARNING: Self = Self(1);
    /// The call failed.
    pub const ERROR: Self = Self(2);
}

impl fmt::Debug for ErrorLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("NONE"),
            Self::WARNING => f.write_str("WARNING"),
            Self::ERROR => f.write_str("ERROR"),
            Self(other) => write!(f, "ErrorLevel({other})"),
        }
    }
}

/// Why a call failed.
///
/// Cheap to move (one pointer). `Display` prints libvirt's message, `{:#}` adds causes and hint.
///
/// ```
/// use virt_util::{ErrorCode, VirtError};
///
/// let error = VirtError::new(ErrorCode::NO_DOMAIN, "no domain with matching name 'web'");
/// assert_eq!(error.to_string(), "Domain not found: no domain with matching name 'web'");
/// assert_eq!(error.code(), ErrorCode::NO_DOMAIN);
/// ```
#[derive(Clone)]
pub struct VirtError(Box<Fields>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    code: ErrorCode,
    /// `None`: nobody has said it yet. `NONE` is also an answer: libvirt has parts without a name.
    domain: Option<ErrorDomain>,
    level: ErrorLevel,
    message: Cow<'static, str>,
    str1: Option<String>,
    str2: Option<String>,
    str3: Option<String>,
    int1: i32,
    int2: i32,
    causes: Vec<String>,
    hint: Option<String>,
}

impl VirtError {
    /// An error with libvirt's lead text for `code` followed by `detail`. An empty `detail` gives the code's text alone.
    pub fn new(code: ErrorCode, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        let message = code.message(&detail);
        let (str1, str2) = if detail.is_empty() {
            (Some(message.clone()), None)
        } else {
            (Some(code.format().into()), Some(detail))
        };
        Self(Box::new(Fields {
            code,
            domain: None,
            level: ErrorLevel::ERROR,
            message: message.into(),
            str1,
            str2,
            str3: None,
            int1: -1,
            int2: -1,
            causes: Vec::new(),
            hint: None,
        }))
    }

    /// An error whose message is already complete, as received from a peer. An empty message is replaced by the
    /// code's own text, so that "an error with no text" cannot exist.
    pub fn from_parts(code: ErrorCode, domain: ErrorDomain, level: ErrorLevel, message: String) -> Self {
        let mut error = Self::new(code, "");
        error.0.domain = Some(domain).filter(|domain| *domain != ErrorDomain::NONE);
        error.0.level = level;
        if !message.is_empty() {
            error.0.message = message.into();
        }
        error.0.str1 = None;
        error
    }

    /// `VIR_ERR_SYSTEM_ERROR`: a system call failed. `int1` carries `errno`, as clients of libvirt expect.
    pub fn system(errno: i32, what: impl fmt::Display) -> Self {
        let text = std::io::Error::from_raw_os_error(errno).to_string();
        // std appends " (os error N)"; libvirt prints strerror alone.
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut error = Self::new(ErrorCode::SYSTEM_ERROR, "");
        error.0.message = format!("{what}: {text}").into();
        error.0.str1 = Some("%1$s".into());
        error.0.str2 = Some(error.0.message.to_string());
        error.0.int1 = errno;
        error
    }

    /// [`VirtError::system`] from an [`std::io::Error`]; one without an errno becomes `VIR_ERR_INTERNAL_ERROR`.
    pub fn io(error: &std::io::Error, what: impl fmt::Display) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::system(errno, what),
            None => Self::new(ErrorCode::INTERNAL_ERROR, format_args!("{what}: {error}")),
        }
    }

    /// `VIR_ERR_INTERNAL_ERROR`.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::INTERNAL_ERROR, detail)
    }

    /// `VIR_ERR_NO_SUPPORT`: the driver has no implementation of `what`.
    pub fn no_support(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NO_SUPPORT, what)
    }

    /// `VIR_ERR_INVALID_ARG`.
    pub fn invalid_arg(detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::INVALID_ARG, detail)
    }

    /// Says which part of the system failed (`virErrorDomain`).
    #[must_use]
    pub fn in_domain(mut self, domain: ErrorDomain) -> Self {
        self.0.domain = Some(domain);
        self
    }

    /// Sets the domain unless a layer below has said it already, be it that it is of no part.
    #[must_use]
    pub fn in_domain_if_none(self, domain: ErrorDomain) -> Self {
        if self.0.domain.is_none() {
            self.in_domain(domain)
        } else {
            self
        }
    }

    /// Sets the level.
    #[must_use]
    pub fn with_level(mut self, level: ErrorLevel) -> Self {
        self.0.level = level;
        self
    }

    /// Sets libvirt's three extra strings.
    #[must_use]
    pub fn with_strings(mut self, str1: Option<String>, str2: Option<String>, str3: Option<String>) -> Self {
        (self.0.str1, self.0.str2, self.0.str3) = (str1, str2, str3);
        self
    }

    /// Sets libvirt's two extra numbers (-1 where unused).
    #[must_use]
    pub fn with_ints(mut self, int1: i32, int2: i32) -> Self {
        (self.0.int1, self.0.int2) = (int1, int2);
        self
    }

    /// Says how the user gets out of it: one sentence, printed after the message.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Appends what led to this error. The message itself never repeats its cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Keeps the code and puts `what` in front of the detail: `what: detail`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        let detail = match self.detail() {
            "" => what.to_string(),
            detail => format!("{what}: {detail}"),
        };
        let rebuilt = Self::new(self.0.code, &detail);
        let mut fields = self.0;
        if fields.code == ErrorCode::SYSTEM_ERROR || fields.code == ErrorCode::OK {
            fields.message = detail.into();
        } else {
            fields.message = rebuilt.0.message;
        }
        fields.str2 = rebuilt.0.str2;
        Self(fields)
    }

    /// The same error under another code, whose lead text it gets.
    #[must_use]
    pub fn with_code(self, code: ErrorCode) -> Self {
        let rebuilt = Self::new(code, self.detail()).0;
        let mut fields = self.0;
        (fields.code, fields.message) = (code, rebuilt.message);
        (fields.str1, fields.str2) = (rebuilt.str1, rebuilt.str2);
        Self(fields)
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The part of the system that failed.
    pub fn domain(&self) -> ErrorDomain {
        self.0.domain.unwrap_or(ErrorDomain::NONE)
    }

    /// The level.
    pub fn level(&self) -> ErrorLevel {
        self.0.level
    }

    /// The whole message: lead text and detail. Never empty.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The message without the code's lead text.
    pub fn detail(&self) -> &str {
        self.0.code.strip_lead(&self.0.message)
    }

    /// libvirt's first extra string: the format or fixed text.
    pub fn str1(&self) -> Option<&str> {
        self.0.str1.as_deref()
    }

    /// libvirt's second extra string: the detail.
    pub fn str2(&self) -> Option<&str> {
        self.0.str2.as_deref()
    }

    /// libvirt's third extra string.
    pub fn str3(&self) -> Option<&str> {
        self.0.str3.as_deref()
    }

    /// libvirt's first extra number: errno for `VIR_ERR_SYSTEM_ERROR`, otherwise -1.
    pub fn int1(&self) -> i32 {
        self.0.int1
    }

    /// libvirt's second extra number, -1 where unused.
    pub fn int2(&self) -> i32 {
        self.0.int2
    }

    /// What led to the error, nearest first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// The way out, if known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl PartialEq for VirtError {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for VirtError {}

impl fmt::Display for VirtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if f.alternate() {
            for cause in &self.0.causes {
                write!(f, "\n  caused by: {cause}")?;
            }
            if let Some(hint) = &self.0.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for VirtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.code)
    }
}

impl std::error::Error for VirtError {}

/// Adds what was being done to a system error: `File::open(p).or_system(|| format!("cannot open '{p}'"))?`.
pub trait SystemResult<T> {
    /// Turns a failed system call into [`VirtError::system`] with the text `what` gives.
    fn or_system<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> SystemResult<T> for std::io::Result<T> {
    fn or_system<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| VirtError::io(&error, what()))
    }
}

impl<T> SystemResult<T> for nix::Result<T> {
    fn or_system<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| VirtError::system(errno as i32, what()))
    }
}

/// `bail!(ErrorCode::XML_ERROR, "format {}", args)`: returns early with an error of that code.
#[macro_export]
macro_rules! bail {
    ($code:expr, $($format:tt)+) => {
        return ::core::result::Result::Err($crate::VirtError::new($code, ::core::format_args!($($format)+)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lead_text_comes_before_the_detail() {
        let error = VirtError::new(ErrorCode::OPERATION_INVALID, "domain is not running");
        assert_eq!(
            error.message(),
            "Requested operation is not valid: domain is not running"
        );
        assert_eq!(error.detail(), "domain is not running");
    }

    #[test]
    fn system_errors_carry_errno() {
        let error = VirtError::system(libc::ENOENT, "cannot open '/x'");
        assert_eq!(error.message(), "cannot open '/x': No such file or directory");
        assert_eq!(error.int1(), libc::ENOENT);
    }

    #[test]
    fn context_keeps_the_code_and_the_lead() {
        let error = VirtError::new(ErrorCode::XML_ERROR, "bad value").context("device 'vda'");
        assert_eq!(error.message(), "XML error: device 'vda': bad value");
    }

    #[test]
    fn a_peer_without_a_message_still_says_something() {
        let error = VirtError::from_parts(
            ErrorCode(9999),
            ErrorDomain::NONE,
            ErrorLevel::ERROR,
            String::new(),
        );
        assert!(!error.message().is_empty());
    }
}
