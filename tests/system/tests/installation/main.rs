//! The installed daemon: what `cargo xtask install` puts in place is all it needs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod files;
mod sessions;
mod systemd;
