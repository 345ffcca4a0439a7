//! The daemon's program: everything is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    virtd::daemon::run(std::env::args_os().collect())
}
