//! TLS towards the other side.

use virt_util::{ErrorCode, ErrorDomain, VirtError};

/// What went wrong, in words that say whose certificate it was.
pub(crate) fn explain(error: &rustls::Error) -> VirtError {
    VirtError::new(
        ErrorCode::SYSTEM_ERROR,
        format_args!("TLS handshake failed: {error}"),
    )
    .in_domain(ErrorDomain::RPC)
}
