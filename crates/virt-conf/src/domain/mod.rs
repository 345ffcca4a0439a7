//! The domain: a virtual machine or container, as `<domain>` XML.
//!
//! [`Domain`] is the whole; each family of devices has a module of its own.

pub mod chardev;
pub mod controller;
pub mod device_info;
pub mod disk;
pub mod filesystem;
pub mod graphics;
pub mod hostdev;
pub mod input;
pub mod interface;
pub mod seclabel;
pub mod small;
pub mod sound;
pub mod storage;
pub mod video;

pub use device_info::*;
