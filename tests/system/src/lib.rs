//! What the tests with real guests share: a host below a temporary folder, virsh on it, a guest to boot, and a
//! daemon of libvirt's own.
#![forbid(unsafe_code)]

pub mod daemon;
pub mod guest;
pub mod host;
pub mod stock;
