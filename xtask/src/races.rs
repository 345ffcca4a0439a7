//! `races`: the tests of packages under the compiler's thread sanitizer, which sees two threads at one place of memory of
//! which one writes and neither waits for the other, whether or not it goes wrong this time.
//!
//! It wants the nightly toolchain with the standard library's source, since that is built with the sanitizer too.

use crate::task::{self, Failure, Outcome, Result};
use std::process::Command;

/// Options of `races`.
#[derive(clap::Args)]
pub struct Options {
    /// The packages whose tests are run
    #[arg(value_name = "PACKAGE", default_values = ["virtd", "virt-driver-remote", "virt-api", "virt-util"])]
    packages: Vec<String>,
    /// Run only tests whose name has this in it
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Builds and runs them. A race fails the test binary that it was seen in.
pub fn run(options: &Options) -> Result<Outcome> {
    let target = target()?;
    let mut command = nightly("cargo");
    command
        .current_dir(task::root())
        .args([
            "test",
            "-Zbuild-std",
            "--no-fail-fast",
            "--target",
            &target,
            "--target-dir",
            "target/races",
        ])
        .env("RUSTFLAGS", "-Zsanitizer=thread")
        // What it has seen of either thread is told from so much history.
        .env("TSAN_OPTIONS", "history_size=4");
    for package in &options.packages {
        command.args(["--package", package]);
    }
    command.args(&options.only);
    Ok(Outcome::passed_if(task::succeeds(&mut command)?))
}

/// The platform that the nightly compiler builds for, once it is known to have all that is needed.
fn target() -> Result<String> {
    let way_out = "rustup toolchain install nightly --component rust-src";
    let asked = nightly("rustc").args(["--version", "--verbose"]).output();
    let host = asked
        .ok()
        .filter(|asked| asked.status.success())
        .and_then(|asked| {
            let text = String::from_utf8_lossy(&asked.stdout).into_owned();
            Some(
                text.lines()
                    .find_map(|line| line.strip_prefix("host: "))?
                    .to_owned(),
            )
        });
    let host = host.ok_or_else(|| Failure::new(format!("there is no nightly toolchain: {way_out}")))?;
    let root = task::output(nightly("rustc").args(["--print", "sysroot"]))?;
    let source = std::path::Path::new(String::from_utf8_lossy(&root.stdout).trim())
        .join("lib/rustlib/src/rust/library/Cargo.lock");
    if !source.is_file() {
        return Err(Failure::new(format!(
            "the nightly toolchain lacks the standard library's source ({}): {way_out}",
            source.display()
        )));
    }
    Ok(host)
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    // What the stable cargo that runs this has set.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}
