//! The machine's name.
#![allow(
    unsafe_code,
    reason = "getaddrinfo has no wrapper that gives the canonical name"
)]

use std::ffi::{CStr, CString};

use crate::error::SystemResult;
use crate::{Result, VirtError};

/// The name others know this machine by, as libvirt finds it: the host name if it has a dot or is some `localhost`,
/// else the full name that the resolver gives for it, else the host name.
///
/// May ask the network, for as long as the resolver is configured to wait.
pub fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().or_system(|| "cannot ask for the host's name")?;
    let name = name
        .into_string()
        .map_err(|_| VirtError::internal("the host name is not UTF-8"))?;
    if name.starts_with("localhost") || name.contains('.') {
        return Ok(name);
    }
    match canonical_name(&name) {
        Some(full) if !full.starts_with("localhost") => Ok(full),
        _ => Ok(name),
    }
}

fn canonical_name(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: all-zero is a valid `addrinfo` that says "no hints".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    hints.ai_family = libc::AF_UNSPEC;
    let mut found = std::ptr::null_mut();
    // SAFETY: the strings and hints outlive the call; the list that comes back is freed below.
    let result = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &hints, &mut found) };
    if result != 0 || found.is_null() {
        return None;
    }
    // SAFETY: a successful call gives at least one entry, whose name is null or a C string that lives with the list.
    let canonical = unsafe {
        let text = (*found).ai_canonname;
        if text.is_null() {
            None
        } else {
            CStr::from_ptr(text).to_str().ok().map(str::to_owned)
        }
    };
    // SAFETY: the list came from getaddrinfo and nothing of it is used any more.
    unsafe { libc::freeaddrinfo(found) };
    canonical
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_a_name() {
        assert!(!super::host_name().unwrap().is_empty());
    }
}
