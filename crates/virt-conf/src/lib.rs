//! Formats.
#![forbid(unsafe_code)]

pub mod capabilities;
pub mod registry;
