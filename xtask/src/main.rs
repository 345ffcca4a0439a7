//! Ferrovirt's build tasks: `cargo xtask NAME`.
//!
//! Each task is a module with a `run` function and, where it takes options, an `Options` struct next to it;
//! this file holds the command line and nothing else. xtask depends on no room of the workspace, so that it
//! still runs (and can repair generated code) when the workspace does not build.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod apt;
mod bench;
mod check;
mod codegen;
mod conformance;
mod demo;
mod doctor;
mod fuzz;
mod install;
mod manifest;
mod new_driver;
mod plugins;
mod races;
mod run;
mod task;
mod test;

use task::Outcome;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Ferrovirt's build tasks", max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Boot a tiny guest through the plugins and show what happens
    Demo(demo::Options),
    /// Prove what must hold in the source tree: layering, unsafe, formats, lints, dependencies
    Check(check::Options),
    /// Write the generated sources, or with --check only compare them
    Codegen(codegen::Options),
    /// Run a program of this tree with its plugins: run -- virsh -c test:///default list
    Run(run::Options),
    /// Install programs, plugins and manifests under a prefix
    Install(install::Options),
    /// Run a fuzz target, or list them
    Fuzz(fuzz::Options),
    /// Run tests under the compiler's thread sanitizer
    Races(races::Options),
    /// Measure beside stock libvirt
    Bench(bench::Options),
    /// Write the skeleton of a driver
    NewDriver(new_driver::Options),
    /// List what this machine has of the things Ferrovirt can use, and which packages bring the rest
    Doctor(doctor::Options),
    /// Run all tests, and count passed, failed and skipped
    Test(test::Options),
    /// Compare with a corpus of recorded inputs and results (--help lists the options)
    #[command(disable_help_flag = true)]
    Conformance(conformance::Options),
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().task {
        Task::Check(options) => check::run(&options),
        Task::Codegen(options) => codegen::run(&options),
        Task::Run(options) => run::run(&options),
        Task::Install(options) => install::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Races(options) => races::run(&options),
        Task::NewDriver(options) => new_driver::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Doctor(options) => doctor::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Conformance(options) => conformance::run(&options),
    };
    match outcome {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
