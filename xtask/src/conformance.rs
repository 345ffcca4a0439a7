//! `conformance`: builds and runs the harness in `tests/conformance`, which has the options.

use crate::plugins;
use crate::task::{self, Outcome, Result};
use std::ffi::OsString;

/// What is passed on to the harness.
#[derive(clap::Args)]
pub struct Options {
    /// Options of the harness
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the harness; relative paths are those of the folder the user is in.
pub fn run(options: &Options) -> Result<Outcome> {
    // Some cases run the shell, which stands beside the harness and loads drivers.
    plugins::fill()?;
    let mut command = task::cargo();
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    command
        .args(["run", "--quiet", "--package", "virt-conformance", "--"])
        .args(&options.arguments)
        .env("VIRT_DRIVER_DIR", plugins::folder());
    Ok(Outcome::passed_if(task::succeeds(&mut command)?))
}
