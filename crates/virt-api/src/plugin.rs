//! Finding, checking and loading drivers.
//!
//! A [`Registry`] reads the manifests it finds and opens a plugin only when somebody needs it: [`Registry::driver`].
//! Loading takes the steps of [`load`] in order; each refusal names the file, what was found and what was wanted. A
//! driver that failed is remembered with its reason and stops nobody else. Nothing is ever unloaded. Drivers that are
//! part of the program ([`Registry::add_builtin`]) go through the same shim as loaded ones.
//!
//! An author's side of it is [`driver!`](crate::driver!).
#![allow(
    unsafe_code,
    reason = "loading code is trusting it; the steps before make sure whose it is"
)]

pub(crate) mod elf;
mod entry;
mod load;
mod manifest;
mod registry;
mod trust;

pub use crate::abi::{ABI_MAJOR, ABI_MINOR, ConnectionHandle, DriverHandle, Entry, OpenRequest};
pub use elf::inspect;
pub use entry::Note;
pub use manifest::{Manifest, Role};
pub use registry::{DriverInfo, DriverState, Registry, SearchPath};

/// What a plugin's handshake symbol starts with; the driver's name follows.
pub const HANDSHAKE_PREFIX: &str = "virt_driver_handshake_v1_";

/// The owner name of the ELF note that holds the manifest.
pub const NOTE_NAME: &str = "Ferrovirt";

/// The type of the ELF note that holds the manifest.
pub const NOTE_TYPE: u32 = 1;

/// Loads the plugin at `path` as a program would, without starting its driver, and answers what it says of itself.
pub(crate) fn check(
    path: &std::path::Path,
    host: std::sync::Arc<dyn crate::host::Host>,
) -> crate::Result<Manifest> {
    let said = inspect(path)?;
    load::load(&said, path, host).map(|_| said)
}
