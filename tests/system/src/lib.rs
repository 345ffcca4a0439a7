//! What the tests with real guests share: a host below a temporary folder, virsh on it, and a guest to boot.
#![forbid(unsafe_code)]

pub mod daemon;
pub mod guest;
pub mod host;
