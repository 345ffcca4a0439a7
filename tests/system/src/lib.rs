//! What the tests with real guests share: a host below a temporary folder, virsh on it, a guest to boot, and a daemon of
//! ours with clients that are not.
#![forbid(unsafe_code)]

pub mod bus;
pub mod clients;
pub mod daemon;
pub mod guest;
pub mod host;
pub mod installed;
pub mod polkit;
pub mod stuck;
pub mod wire;
