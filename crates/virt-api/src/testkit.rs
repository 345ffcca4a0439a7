//! What tests of drivers, and of programs that embed them, are made of. Behind the feature `testkit`; never part of a
//! program that runs.
//!
//! | to … | take |
//! |---|---|
//! | end a test whose machine lacks something, visibly | [`need!`](crate::need!) |
//! | stand in for the hosting process | [`FakeHost`] |
//! | move time by hand | [`FakeClock`] |
//! | have a directory of its own | [`TempRoot`] |
//! | compare with a file | [`golden()`] |
//! | let calls fail, hang or panic | [`FaultDriver`] |
//! | hold a driver against the rules that all keep | [`check_driver`] |
//! | build the workspace's plugins and load them | [`plugins`] |
//! | have a driver at all | [`sample_driver`] |
//! | talk with libvirt's own daemon | [`stock`] |
//! | make arguments for any procedure | [`arguments::sample`] |
//! | have an object of every kind | [`Named`] |
//! | have certificates | [`Pki`] |

pub mod arguments;
mod build;
mod clock;
mod contract;
mod fault;
mod golden;
mod host;
mod named;
mod need;
mod pki;
mod sample;
pub mod stock;

pub use build::{PluginFolder, copy_plugin, plugins};
pub use clock::FakeClock;
pub use contract::{Violation, check_driver};
pub use fault::{Fault, FaultDriver, FaultPlan};
pub use golden::golden;
pub use host::{AccessQuestion, FakeHost};
pub use named::Named;
pub use need::{Need, Skipped, skip, unmet};
pub use pki::Pki;
pub use sample::{SampleDriver, sample_driver};

use std::path::Path;

/// A directory that is removed with everything in it at the end of the test. Its path is short enough for sockets.
#[derive(Debug)]
pub struct TempRoot(tempfile::TempDir);

impl TempRoot {
    /// A fresh one.
    ///
    /// # Panics
    /// If none can be made: a test cannot go on without.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot have a directory cannot go on"
    )]
    pub fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("virt-")
                .tempdir()
                .expect("a temporary directory can be made"),
        )
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for TempRoot {
    fn default() -> Self {
        Self::new()
    }
}
