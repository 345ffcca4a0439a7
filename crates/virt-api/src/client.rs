//! What libvirt decides on the client's side, over connections of any kind.
//!
//! A call of libvirt's API is mostly one procedure; the exceptions live here, once for programs in Rust and in C.
//!
//! | module | decides |
//! |---|---|
//! | [`migration`] | how a guest moves: which form both ends know, its steps, and what becomes of their errors |

pub mod migration;
