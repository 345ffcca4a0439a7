//! virsh: manages virtual machines and containers from the command line, as libvirt's virsh does.
//!
//! | module | holds |
//! |---|---|
//! | [`commands`] | the command tables and what the commands do: start here to add one |
//! | [`command`] | what a row of the tables is |
//! | [`grammar`] | the command language: words, quoting, options |
//! | [`options`] | the program's own options |
//! | [`shell`] | printing, failing, connecting |
//! | [`interactive`] | the prompt with history and completion |
//! | [`output`] | results for programs |
//! | [`console`] | the guest's console on this terminal |
//! | [`xpath`] | the selections of `--xpath` |
#![forbid(unsafe_code)]

pub mod command;
pub mod commands;
pub mod complete;
pub mod console;
pub mod credentials;
pub mod edit;
pub mod grammar;
pub mod help;
pub mod interactive;
pub mod log;
pub mod names;
pub mod numbers;
pub mod options;
pub mod opts;
pub mod output;
pub mod program;
pub mod shell;
pub mod terminal;
pub mod xpath;
