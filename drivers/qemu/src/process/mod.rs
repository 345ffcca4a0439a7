//! The life of a guest: from a command line to a process with a monitor, and to its end.
//!
//! | module | holds |
//! |---|---|
//! | [`layout`] | the driver's folders, and the names of everything that belongs to one guest |
//! | [`log`] | the guest's log file |
//! | [`state`] | what the guest is doing, and what QEMU's events make of it: pure |
//! | [`guest`] | a running guest: its process, its monitor, what can be done with it |
//! | [`launch`] | starting one |
//! | [`reattach`] | finding one again after the hosting process was gone |
//! | [`status`] | what has to be known for that, as libvirt writes it |
//!
//! All names are libvirt's, so that stock libvirt finds what was started here. Nothing in this module decides what a
//! guest looks like: it gets a finished [`CommandLine`](crate::plan::args::CommandLine).

pub mod guest;
pub mod launch;
pub mod layout;
pub mod log;
mod queue;
pub mod reattach;
pub mod state;
pub mod status;
