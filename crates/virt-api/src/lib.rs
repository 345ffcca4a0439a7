//! The API of Ferrovirt, for programs and for drivers.
//!
//! | module | for |
//! |---|---|
//! | [`call`] | one call, seen from its caller and from the driver's method |
//! | [`driver`] | what the author of a driver implements |
//! | [`access`] | objects, and the proof that they were checked |
//! | [`events`] | subscriptions, and the hub a driver tells its events to |
//! | [`stream_end`] | one end of a stream |
//! | [`host`] | what the hosting process offers to a driver |
//! | [`protocol`] | generated: procedures, codecs, driver traits, clients, dispatch |
//! | [`rpc`] | libvirt's packets without I/O: framing, streams, errors, keepalive |
//!
//! `unsafe` is allowed only in the modules that wrap the binary interface and the loading of plugins; each says so at
//! its top.

pub mod abi;
pub mod access;
pub mod call;
pub mod driver;
pub mod events;
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub(crate) mod log_bridge;
pub mod plugin;
pub mod protocol;
pub mod rpc;
mod serve;
pub mod stream_end;
#[cfg(feature = "testkit")]
pub mod testkit;

// Macros write `::virt_api`, here too.
extern crate self as virt_api;

pub use virt_macros::implements;
pub use virt_util::{ErrorCode, Result, VirtError};
