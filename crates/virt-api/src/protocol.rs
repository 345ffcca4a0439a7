//! The protocol: procedures, codecs, driver traits, clients and dispatch, generated from one description.
//!
//! The description is the folder `protocol/` of this crate, one small text file per program; `cargo xtask codegen`
//! turns it into the modules under `generated/`. Written by hand are what they are made of: [`wire`] (the types of the
//! description and their codecs), [`table`] (what is known about a procedure), [`shape`] (types as data: limits,
//! digest, fuzzing) and the checks that run before a driver's method.
//!
//! | to … | read |
//! |---|---|
//! | look up a procedure | [`table::procedure`] |
//! | answer a call with a driver | [`dispatch()`] |
//! | make a call | [`clients`] |
//! | encode or decode a message | [`remote`], [`qemu`], [`lxc`], [`admin`], [`keepalive`], [`ferrovirt`] |

pub mod shape;
pub mod table;
pub mod wire;

mod call;
mod convert;
mod dispatch;
mod generated;

pub(crate) use dispatch::is_feature_query;
pub use dispatch::{dispatch, dispatch_admin, features, unknown as unknown_procedure};
pub use generated::client as clients;
pub use generated::traits;

/// Every message behind one function: program, procedure, arguments, answer.
pub(crate) fn recode_table() -> &'static [(u32, u32, Option<wire::Recode>, Option<wire::Recode>)] {
    generated::recode::RECODE
}

/// Numbers, limits and message types of the main program.
pub mod remote {
    pub use super::generated::numbers::remote::*;
    pub use super::generated::types::remote::*;
}

/// Numbers, limits and message types of the QEMU program.
pub mod qemu {
    pub use super::generated::numbers::qemu::*;
    pub use super::generated::types::qemu::*;
}

/// Numbers, limits and message types of the LXC program.
pub mod lxc {
    pub use super::generated::numbers::lxc::*;
    pub use super::generated::types::lxc::*;
}

/// Numbers, limits and message types of the administration program.
pub mod admin {
    pub use super::generated::numbers::admin::*;
    pub use super::generated::types::admin::*;
}

/// Numbers, limits and message types of the program that libvirt does not have.
pub mod ferrovirt {
    pub use super::generated::numbers::ferrovirt::*;
    pub use super::generated::types::ferrovirt::*;
}

/// Numbers of the keepalive program, whose messages are empty.
pub mod keepalive {
    pub use super::generated::numbers::keepalive::*;
}
