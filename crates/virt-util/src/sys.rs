//! System calls that neither the standard library nor nix offers as safe functions. The only modules of this crate
//! that may hold `unsafe`; everything they export is safe.
//!
//! | module | holds |
//! |---|---|
//! | [`process`] | processes by descriptor: open, signal, wait, collect |
//! | `spawn` | fork and exec for [`crate::command`] |
//! | [`socket`] | who is at the other end, descriptors as cargo |
//! | [`inherit`] | descriptors that the user names by number |
//! | [`memory`] | anonymous files, page size, memory given back |
//! | [`name`] | the machine's name |
//! | [`cdrom`] | CD-ROM drives |
//! | [`kvm`] | questions to the KVM kernel module |
//! | [`tap`] | network interfaces that a program is the other end of |

pub mod cdrom;
pub mod inherit;
pub mod kvm;
pub mod memory;
pub mod name;
pub mod process;
pub mod socket;
pub(crate) mod spawn;
pub mod tap;
