//! The domain: a virtual machine or container, as `<domain>` XML.
//!
//! [`Domain`] is the whole; each family of devices has a module of its own.

pub mod chardev;
pub mod controller;
pub mod device_info;
pub mod disk;
pub mod filesystem;
pub mod graphics;
pub mod seclabel;
pub mod storage;

pub use device_info::*;
