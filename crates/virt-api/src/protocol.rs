//! The protocol: what is generated from its one description.

pub mod traits;
