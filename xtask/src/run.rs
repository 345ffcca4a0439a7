//! `run`: a program of the tree, with the tree's plugins.

use crate::plugins;
use crate::task::{self, Outcome, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Options of `run`.
#[derive(clap::Args)]
pub struct Options {
    /// The program and its arguments: -- virsh -c test:///default list
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<OsString>,
}

/// Builds everything, then runs the program.
pub fn run(options: &Options) -> Result<Outcome> {
    let build = plugins::fill()?;
    let Some((name, arguments)) = options.words.split_first() else {
        return Err("no program named".into());
    };
    let program = program(&build, &name.to_string_lossy())?;
    let mut command = Command::new(program);
    command.args(arguments).env("VIRT_DRIVER_DIR", plugins::folder());
    Ok(Outcome::passed_if(task::succeeds(&mut command)?))
}

/// A program of this build.
pub fn program(build: &plugins::Build, name: &str) -> Result<PathBuf> {
    let found = build
        .programs
        .iter()
        .find(|path| path.file_stem().is_some_and(|stem| *stem == *name));
    found.cloned().ok_or_else(|| {
        let known: Vec<String> = build
            .programs
            .iter()
            .filter_map(|p| Some(p.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        format!("this tree has no program '{name}'; it has {}", known.join(" ")).into()
    })
}
