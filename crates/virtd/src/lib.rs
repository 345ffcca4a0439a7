//! The daemon: serves the drivers of this host to local and remote clients over libvirt's protocol.
//!
//! This is the only room with a runtime. Packets, streams and keepalive come from [`virt_api::rpc`], drivers from
//! [`virt_api::plugin`]; what lives here is who may connect, who they are, what they may do, and which thread does it.
#![forbid(unsafe_code)]

pub mod access;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod config;
pub mod daemon;
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod isolation;
pub mod logging;
pub mod metrics;
pub mod options;
pub mod pattern;
pub mod server;
pub mod service;
pub mod tools;
