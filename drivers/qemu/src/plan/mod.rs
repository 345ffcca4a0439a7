//! The command line of a guest.

pub mod args;
