//! The tools that `check` runs after its own rules.

use super::deny::POLICY;
use crate::codegen;
use crate::task::{self, Outcome, Result};
use std::process::Command;

/// A tool: what it proves, the arguments for cargo, and what is set in its environment.
struct Tool {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "rustfmt",
        arguments: &["fmt", "--all", "--check"],
        environment: &[],
    },
    Tool {
        name: "clippy",
        arguments: &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--keep-going",
            "--",
            "-D",
            "warnings",
        ],
        environment: &[],
    },
    Tool {
        name: "rustdoc",
        arguments: &[
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--keep-going",
            "--document-private-items",
        ],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

/// Runs all of them; says whether all are content.
pub fn run() -> Result<bool> {
    let mut good = true;
    let mut note = |name: &str, ok: bool| {
        println!("{:<8} {name}", if ok { "ok" } else { "FAILED" });
        good &= ok;
    };
    let generated = codegen::run(&codegen::Options { check: true })?;
    note("generated files (4)", generated == Outcome::Passed);
    for tool in TOOLS {
        let mut command = task::cargo();
        command
            .args(tool.arguments)
            .envs(tool.environment.iter().copied());
        note(tool.name, task::succeeds(&mut command)?);
    }
    match task::find_program("cargo-deny") {
        Some(_) => {
            let mut command = task::cargo();
            command.args([
                "deny",
                "--offline",
                "check",
                "--config",
                POLICY,
                "bans",
                "licenses",
                "sources",
            ]);
            note("cargo deny", task::succeeds(&mut command)?);
            advisories();
        }
        None => println!(
            "not run  advisories: cargo-deny is not installed, and only it knows the advisory database"
        ),
    }
    Ok(good)
}

/// Known vulnerabilities, where the database can be had. A machine without the network says so and goes on.
fn advisories() {
    let mut command = Command::new("cargo");
    command
        .current_dir(task::root())
        .args(["deny", "check", "--config", POLICY, "advisories"]);
    match command.output() {
        Ok(out) if out.status.success() => println!("ok       advisories"),
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stderr);
            println!(
                "not run  advisories: {}",
                text.lines().next_back().unwrap_or("cargo deny failed")
            );
        }
        Err(e) => println!("not run  advisories: {e}"),
    }
}
