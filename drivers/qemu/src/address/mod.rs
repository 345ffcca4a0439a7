//! Addresses on a guest's buses: what is taken and what comes next. Pure; who gets which is decided by the hooks that
//! complete a definition.

pub mod pci;
pub mod usb;
