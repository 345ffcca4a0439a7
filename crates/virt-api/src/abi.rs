//! The waist: the only module that names `abi_stable`, and the only way a driver is reached.
//!
//! [`v1`] is the binary interface itself. [`export`] puts our Rust traits behind it (a driver inside its plugin, the
//! host inside the process), catching every unwind on the side where it happened; [`import`] makes what came from the
//! other side look like Rust again. A built-in driver goes through the same two modules as a loaded one.
//!
//! Nothing here decides anything: it translates.
#![allow(
    unsafe_code,
    reason = "descriptors cross as numbers, and the handshake is a plain C structure"
)]

pub(crate) mod convert;
pub(crate) mod export;
pub mod import;
mod panics;
pub mod v1;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::type_layout::TypeLayout;

pub use import::{ConnectionHandle, DriverHandle, OpenRequest};
pub use v1::{ABI_MAJOR, ABI_MINOR, HANDSHAKE_MAGIC, Handshake};

use crate::driver::Driver;

impl Handshake {
    /// The handshake of the driver that `E` enters.
    pub const fn of<E: Entry>() -> Self {
        Self {
            magic: HANDSHAKE_MAGIC,
            size: size_of::<Self>() as u32,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            manifest_length: E::MANIFEST.len() as u32,
            manifest: E::MANIFEST.as_ptr(),
            layout: layout_of_this_side,
            root: export::root::<E>,
        }
    }
}

/// What `driver!` says of a driver.
pub trait Entry: 'static {
    /// The driver's name.
    const NAME: &'static str;
    /// Its manifest in TOML.
    const MANIFEST: &'static str;

    /// Makes the driver.
    fn create() -> Box<dyn Driver>;
}

extern "C" fn layout_of_this_side() -> &'static TypeLayout {
    v1::Everything::LAYOUT
}

/// Checks that a plugin was compiled against a binary interface that this one can talk to: the older side is the
/// interface, the newer one has to provide at least that. The error says what differs.
pub(crate) fn check_layout(plugin: &'static TypeLayout, plugin_minor: u32) -> Result<(), String> {
    let ours = v1::Everything::LAYOUT;
    #[allow(
        clippy::absurd_extreme_comparisons,
        reason = "no minor is older than 0, but ours will not stay 0"
    )]
    let (interface, implementation) = if plugin_minor < ABI_MINOR {
        (plugin, ours)
    } else {
        (ours, plugin)
    };
    // Each plugin is held against this side alone, with no memory of others: plugins never meet but through us, and the
    // check's own memory takes two plugins of different minors for a contradiction.
    check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
        .map_err(|error| error.to_string())
}
