//! Values on their way over the waist and back.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use abi_stable::std_types::{ROption, RString, RVec};
use virt_util::error::ErrorLevel;
use virt_util::typed_param::{TypedParam, TypedParams, TypedValue};
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::v1::AbiError;
use crate::call::Identity;

/// Names of parameters in `ext`. Those of the identity are prefixed.
pub(crate) mod ext {
    /// In calls and opens: the connection is read-only (boolean).
    pub(crate) const READ_ONLY: &str = "read-only";
    /// In calls and opens: a policy is configured, so access must be checked (boolean).
    pub(crate) const ACCESS: &str = "access-check";
    /// In calls and opens: prefix of the caller's identity.
    pub(crate) const IDENTITY: &str = "identity/";
    /// In opens: a kind of credential that may be asked for (unsigned integer), repeated.
    pub(crate) const AUTH_KIND: &str = "auth-kind";
    /// In errors: what led to it, repeated.
    pub(crate) const CAUSE: &str = "cause";
    /// In errors: the way out.
    pub(crate) const HINT: &str = "hint";
}

/// An error for the other side.
pub(crate) fn error_out(error: VirtError) -> AbiError {
    let mut extra = TypedParams::new();
    for cause in error.causes() {
        extra.push(ext::CAUSE, cause.replace('\0', "?"));
    }
    if let Some(hint) = error.hint() {
        extra.push(ext::HINT, hint.replace('\0', "?"));
    }
    let string = |text: Option<&str>| text.map(RString::from).into();
    AbiError {
        code: error.code().0,
        domain: error.domain().0,
        level: error.level().0,
        int1: error.int1(),
        int2: error.int2(),
        message: error.message().into(),
        str1: string(error.str1()),
        str2: string(error.str2()),
        str3: string(error.str3()),
        ext: params_out(&extra).unwrap_or_default(),
    }
}

/// An error from the other side.
pub(crate) fn error_in(error: AbiError) -> VirtError {
    let string = |text: ROption<RString>| text.into_option().map(RString::into_string);
    let mut back = VirtError::from_parts(
        ErrorCode(error.code),
        ErrorDomain(error.domain),
        ErrorLevel(error.level),
        error.message.into_string(),
    )
    .with_strings(string(error.str1), string(error.str2), string(error.str3))
    .with_ints(error.int1, error.int2);
    // What is in there only adds to the error; one that cannot be read takes nothing away.
    for param in params_in(&error.ext).unwrap_or_default().0 {
        match (param.field.as_str(), param.value) {
            (ext::CAUSE, TypedValue::String(cause)) => back = back.caused_by(cause),
            (ext::HINT, TypedValue::String(hint)) => back = back.with_hint(hint),
            _ => {}
        }
    }
    back
}

/// Typed parameters for the other side. None are no bytes.
pub(crate) fn params_out(params: &TypedParams) -> Result<RVec<u8>> {
    if params.0.is_empty() {
        return Ok(RVec::new());
    }
    params.to_xdr().map(RVec::from)
}

/// Typed parameters from the other side.
pub(crate) fn params_in(bytes: &[u8]) -> Result<TypedParams> {
    if bytes.is_empty() {
        return Ok(TypedParams::new());
    }
    TypedParams::from_xdr(bytes)
}

/// Puts `identity` among other parameters.
pub(crate) fn push_identity(params: &mut TypedParams, identity: &Identity) {
    for param in identity.0.iter() {
        params.push(format!("{}{}", ext::IDENTITY, param.field), param.value.clone());
    }
}

/// The identity among other parameters; `None` if there is nothing of it.
pub(crate) fn take_identity(params: &TypedParams) -> Option<Identity> {
    let own: Vec<TypedParam> = params
        .iter()
        .filter_map(|param| {
            let field = param.field.strip_prefix(ext::IDENTITY)?;
            Some(TypedParam::new(field, param.value.clone()))
        })
        .collect();
    (!own.is_empty()).then_some(Identity(TypedParams(own)))
}

/// A descriptor lent by the other side for `'a`.
pub(crate) fn borrow_fd<'a>(fd: RawFd) -> Result<BorrowedFd<'a>> {
    check_fd(fd)?;
    // SAFETY: not -1, and by the rules of the interface the lender keeps it open as long as the call runs; callers
    // pick `'a` no longer than that.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A descriptor given away by the other side.
pub(crate) fn own_fd(fd: RawFd) -> Result<OwnedFd> {
    check_fd(fd)?;
    // SAFETY: not -1, and by the rules of the interface the other side has let go of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives descriptors away.
pub(crate) fn give_fds(fds: Vec<OwnedFd>) -> RVec<RawFd> {
    fds.into_iter().map(IntoRawFd::into_raw_fd).collect()
}

/// Takes descriptors that were given away. If one of them is no descriptor the others are closed.
pub(crate) fn take_fds(fds: &[RawFd]) -> Result<Vec<OwnedFd>> {
    let mut bad = None;
    let mut taken = Vec::with_capacity(fds.len());
    for fd in fds {
        match own_fd(*fd) {
            Ok(fd) => taken.push(fd),
            Err(error) => bad = Some(error),
        }
    }
    match bad {
        Some(error) => Err(error),
        None => Ok(taken),
    }
}

fn check_fd(fd: RawFd) -> Result<()> {
    if fd < 0 {
        return Err(VirtError::internal(format_args!(
            "{fd} came over the waist as a file descriptor, 0 or more expected"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_cross_whole() {
        let error = VirtError::new(ErrorCode::NO_DOMAIN, "no domain 'web'")
            .in_domain(ErrorDomain::QEMU)
            .with_strings(Some("a".into()), None, Some("c".into()))
            .with_ints(3, 4)
            .caused_by("first")
            .caused_by("second")
            .with_hint("try again");
        assert_eq!(error_in(error_out(error.clone())), error);
    }

    #[test]
    fn identity_travels_among_other_parameters() {
        let identity = Identity(TypedParams::new().with("user-name", "root"));
        let mut params = TypedParams::new().with("trace-id", 7u64);
        assert_eq!(take_identity(&params), None);
        push_identity(&mut params, &identity);
        assert_eq!(take_identity(&params), Some(identity));
    }
}
