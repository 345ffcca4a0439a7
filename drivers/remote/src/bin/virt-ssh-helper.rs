//! Joins a client that came through ssh to the daemon of this host. See `virt_driver_remote::helper`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use virt_driver_remote::helper;

const USAGE: &str = "Usage: virt-ssh-helper [-r|--readonly] URI

Joins standard input and output to the socket of the daemon that URI means. Started by
clients on other hosts through ssh; not meant to be called by people.

  -r, --readonly  use the socket for reading only
  -V, --version   say the version
  -h, --help      say this
";

fn main() -> ExitCode {
    let mut read_only = false;
    let mut uri = None;
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "-r" | "--readonly" => read_only = true,
            "-V" | "--version" => {
                println!("virt-ssh-helper (ferrovirt) {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            "-h" | "--help" => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            option if option.starts_with('-') => {
                eprintln!("option parsing failed: unknown option {option}");
                return ExitCode::FAILURE;
            }
            _ if uri.is_none() => uri = Some(word),
            _ => {
                eprint!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    let Some(uri) = uri else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let joined = helper::connect(&uri, read_only).and_then(|socket| helper::run(&socket));
    match joined {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virt-ssh-helper: cannot connect to '{uri}': {error}");
            ExitCode::FAILURE
        }
    }
}
