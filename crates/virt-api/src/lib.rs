//! The API of Ferrovirt, for programs and for drivers.
//!
//! | module | for |
//! |---|---|
//! | [`objects`] | connections, domains, streams, subscriptions: what programs use |
//! | [`config`] | the client's configuration, and what a URI means |
//! | [`client`] | what libvirt decides on the client's side: migration |
//! | [`event_loop`] | where callbacks run |
//! | [`routing`] | from a procedure to the driver that answers it |
//! | [`process`] | this process as the host of drivers |
//! | [`call`] | one call, seen from its caller and from the driver's method |
//! | [`mod@driver`] | what the author of a driver implements |
//! | [`guests`], [`listing`] | what drivers do alike |
//! | [`access`] | objects, and the proof that they were checked |
//! | [`events`] | subscriptions, and the hub a driver tells its events to |
//! | [`stream_end`] | one end of a stream |
//! | [`host`] | what the hosting process offers to a driver |
//! | [`protocol`] | generated: procedures, codecs, driver traits, clients, dispatch |
//! | [`rpc`] | libvirt's packets without I/O: framing, streams, errors, keepalive |
//!
//! Programs begin with [`Connect::builder`] and the example in [`objects`], drivers with [`mod@driver`]. The project's
//! pages `docs/programs.md` and `docs/writing-a-driver.md` lead through both.
//!
//! `unsafe` is allowed only in the modules that wrap the binary interface and the loading of plugins; each says so at
//! its top.

pub mod abi;
pub mod access;
pub mod call;
pub mod client;
pub mod config;
pub mod driver;
pub mod event_loop;
pub mod events;
#[doc(hidden)]
pub mod fuzz;
pub mod guests;
pub mod host;
pub mod listing;
pub(crate) mod log_bridge;
pub mod objects;
pub mod plugin;
pub mod process;
pub mod protocol;
pub mod routing;
pub mod rpc;
mod serve;
pub mod stream_end;
#[cfg(feature = "testkit")]
pub mod testkit;

// Macros write `::virt_api`, here too.
extern crate self as virt_api;

pub use host::CredentialRequest;
pub use objects::{
    Connect, ConnectBuilder, ControlInfo, Domain, DomainEvent, DomainEventKind, DomainInfo, GraphicsAddress,
    NodeInfo, Received, SecurityLabel, SecurityModel, StoragePool, StorageVol, Stream, Subscription,
};
pub use stream_end::Readiness;
pub use virt_macros::implements;
pub use virt_util::{ErrorCode, Result, VirtError};

/// The version of libvirt whose interface this is: `major * 1000000 + minor * 1000 + release`.
pub const LIBVIRT_VERSION: u64 = 11_003_000;
