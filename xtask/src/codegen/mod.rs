//! `codegen`: sources that are written by a program and checked in.
//!
//! A generator is a function that returns the files it makes: paths relative to the workspace's root, and
//! their text. Rust files go through rustfmt before they are compared or written, so a generator need not
//! care for layout. Add one by writing its module beside this file and a row in [`GENERATORS`].

use crate::task::{self, Context, Outcome, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod drivers;
mod formats;
mod protocol;
mod types;

/// One generator: a name for messages, and the function.
struct Generator {
    name: &'static str,
    generate: fn() -> Result<Vec<(PathBuf, String)>>,
}

/// Every generator, in the order they run.
const GENERATORS: &[Generator] = &[
    Generator {
        name: "types",
        generate: || Ok(types::generate()),
    },
    Generator {
        name: "protocol",
        generate: || Ok(protocol::generate()),
    },
    Generator {
        name: "drivers",
        generate: || Ok(drivers::generate()),
    },
    Generator {
        name: "formats",
        generate: formats::generate,
    },
];

/// Options of `codegen`.
#[derive(clap::Args)]
pub struct Options {
    /// Write nothing; fail if a file differs from what would be written
    #[arg(long)]
    pub check: bool,
}

/// Writes or compares all generated files.
pub fn run(options: &Options) -> Result<Outcome> {
    let root = task::root();
    let mut files = 0;
    let mut stale = Vec::new();
    for generator in GENERATORS {
        for (path, text) in (generator.generate)()? {
            files += 1;
            let path = root.join(path);
            let text = match path.extension() {
                Some(ext) if ext == "rs" => {
                    rustfmt(&text, &root).context(|| format!("{}: {}", generator.name, path.display()))?
                }
                _ => text,
            };
            let current = std::fs::read_to_string(&path).ok();
            if current.as_deref() == Some(text.as_str()) {
                continue;
            }
            let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            if options.check {
                stale.push(format!(
                    "{shown} ({}): {}",
                    generator.name,
                    first_difference(current.as_deref(), &text)
                ));
            } else {
                task::write(&path, &text)?;
                println!("wrote {shown}");
            }
        }
    }
    for line in &stale {
        println!("stale: {line}");
    }
    if stale.is_empty() {
        println!("codegen: {files} files up to date");
    } else {
        println!("codegen: run `cargo xtask codegen`");
    }
    Ok(Outcome::passed_if(stale.is_empty()))
}

/// Formats Rust source as the workspace's rustfmt.toml wants it.
fn rustfmt(text: &str, root: &Path) -> Result<String> {
    use std::io::Write;
    let mut command = Command::new("rustfmt");
    command
        .args(["--edition", "2024", "--emit", "stdout", "--config-path"])
        .arg(root.join("rustfmt.toml"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "rustfmt".to_owned())?;
    let mut stdin = child.stdin.take();
    let text = text.to_owned();
    // rustfmt reads all of its input before it writes, but nothing promises that: feed it from a thread.
    let feeder = std::thread::spawn(move || stdin.as_mut().map(|pipe| pipe.write_all(text.as_bytes())));
    let out = child.wait_with_output().context(|| "rustfmt".to_owned())?;
    let _ = feeder.join();
    if !out.status.success() {
        return Err(format!("rustfmt refuses it: {}", String::from_utf8_lossy(&out.stderr)).into());
    }
    String::from_utf8(out.stdout).context(|| "rustfmt's output".to_owned())
}

/// Where two texts part, for a message of one line.
fn first_difference(current: Option<&str>, wanted: &str) -> String {
    let Some(current) = current else {
        return "missing".to_owned();
    };
    let same = current
        .lines()
        .zip(wanted.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let line = |text: &str| {
        text.lines()
            .nth(same)
            .unwrap_or("(end of file)")
            .trim()
            .to_owned()
    };
    format!(
        "line {}: have `{}`, want `{}`",
        same + 1,
        line(current),
        line(wanted)
    )
}
