//! `fuzz`: a target under libFuzzer, or under a plain mutating loop where no C++ compiler is at hand.
//!
//! Targets are the functions `pub fn fuzz_NAME(data: &[u8])` in the `fuzz` module of the crate that owns the parser;
//! they are found by name in the source. A small crate around one of them is written below `target/fuzz`, so that the
//! workspace itself needs no fuzzing library, and built with the compiler's coverage counters, which stable has.

use crate::check::Source;
use crate::task::{self, Context, Failure, Outcome, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// The target; without it, all are listed
    name: Option<String>,
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 60)]
    secs: u32,
    /// Mutate seeds without coverage: needs no C++ compiler
    #[arg(long)]
    plain: bool,
}

/// A target in the source.
struct Target {
    name: String,
    package: String,
    folder: PathBuf,
}

/// Coverage counters as libFuzzer reads them.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

/// Lists the targets, or runs one.
pub fn run(options: &Options) -> Result<Outcome> {
    let targets = targets(&task::root());
    let Some(name) = &options.name else {
        targets
            .iter()
            .for_each(|target| println!("{:<20} {}", target.name, target.package));
        return Ok(Outcome::Passed);
    };
    let target = targets.iter().find(|target| target.name == *name);
    let target =
        target.ok_or_else(|| Failure::new(format!("no target '{name}'; cargo xtask fuzz lists them")))?;
    let plain = options.plain || task::find_program("c++").is_none();
    let folder = task::root().join("target/fuzz").join(&target.name);
    write_crate(target, &folder, plain)?;
    let program = build(target, &folder, plain)?;

    let corpus = task::root().join("target/fuzz/corpus").join(&target.name);
    std::fs::create_dir_all(&corpus).context(|| corpus.display().to_string())?;
    let mut command = Command::new(program);
    command.current_dir(&folder).arg(&corpus);
    let seeds = target.folder.join("fuzz-seeds").join(&target.name);
    if plain {
        command.arg(&seeds).env("FUZZ_SECONDS", options.secs.to_string());
    } else {
        command.args(seeds.is_dir().then_some(&seeds));
        command.arg(format!("-max_total_time={}", options.secs));
        command.args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=16384",
            "-print_final_stats=1",
        ]);
    }
    Ok(Outcome::passed_if(task::succeeds(&mut command)?))
}

/// All targets of the workspace.
fn targets(root: &Path) -> Vec<Target> {
    let mut found = Vec::new();
    for room in ["crates", "drivers", "secondary"] {
        let entries = std::fs::read_dir(root.join(room)).into_iter().flatten();
        for folder in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let package = std::fs::read_to_string(folder.join("Cargo.toml"))
                .ok()
                .and_then(|text| package_name(&text));
            let text = std::fs::read_to_string(folder.join("src/fuzz.rs"));
            if let (Some(package), Ok(text)) = (package, text) {
                found.extend(functions(&text).into_iter().map(|name| Target {
                    name,
                    package: package.clone(),
                    folder: folder.clone(),
                }));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The name in a manifest.
fn package_name(manifest: &str) -> Option<String> {
    let table: toml::Table = manifest.parse().ok()?;
    table.get("package")?.get("name")?.as_str().map(str::to_owned)
}

/// The names of the entry points in a `fuzz` module.
fn functions(text: &str) -> Vec<String> {
    let code = Source::new(text).code();
    code.lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn fuzz_")?.split_once('('))
        .filter(|(_, rest)| rest.starts_with("data: &[u8])"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The crate around a target.
fn write_crate(target: &Target, folder: &Path, plain: bool) -> Result<()> {
    let Target {
        name,
        package,
        folder: owner,
    } = target;
    let library = if plain { "" } else { "libfuzzer-sys = \"0.4\"\n" };
    let manifest = format!(
        "[package]\nname = \"fuzz-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n\
         [dependencies]\n{package} = {{ path = {owner:?} }}\n{library}\n\
         [profile.release]\npanic = \"unwind\"\ndebug = \"line-tables-only\"\n"
    );
    task::write(&folder.join("Cargo.toml"), manifest)?;
    let function = format!("{}::fuzz::fuzz_{name}", package.replace('-', "_"));
    let main = if plain {
        PLAIN.replace("TARGET", &function)
    } else {
        format!("#![no_main]\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| {function}(data));\n")
    };
    task::write(&folder.join("src/main.rs"), main)?;
    // The versions that the workspace uses; cargo adds what is missing.
    std::fs::copy(task::root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .context(|| "Cargo.lock".to_owned())?;
    Ok(())
}

/// Builds it; gives the program.
fn build(target: &Target, folder: &Path, plain: bool) -> Result<PathBuf> {
    let out = task::output(Command::new("rustc").arg("-vV"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or("rustc -vV names no host")?;
    let output = task::root().join("target/fuzz/build");
    let mut command = task::cargo();
    command
        .current_dir(folder)
        .args(["build", "--release", "--target", host, "--target-dir"])
        .arg(&output);
    if !plain {
        // With --target the flags are not used for build scripts and macros, which could not link.
        command.env("RUSTFLAGS", COVERAGE);
    }
    if !task::succeeds(&mut command)? {
        return Err("the fuzzer does not build; --plain needs less".into());
    }
    Ok(output
        .join(host)
        .join("release")
        .join(format!("fuzz-{}", target.name)))
}

/// The loop without coverage: mutates what is in its folders and a few bytes of its own. A panic ends it, and leaves the
/// input behind.
const PLAIN: &str = r#"use std::time::{Duration, Instant};

fn main() {
    let mut seeds: Vec<Vec<u8>> = vec![Vec::new(), b"<a b='c'>d</a>".to_vec(), b"{\"a\": [1]}".to_vec()];
    for folder in std::env::args().skip(1) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seeds.extend(std::fs::read(entry.path()));
        }
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut runs = 0_u64;
    while Instant::now() < end {
        let mut data = seeds[random(seeds.len())].clone();
        for _ in 0..=random(8) {
            let at = random(data.len() + 1);
            match random(5) {
                0 => data.insert(at, random(256) as u8),
                1 if at < data.len() => drop(data.remove(at)),
                2 if at < data.len() => data[at] ^= 1 << random(8),
                3 => {
                    let other = seeds[random(seeds.len())].clone();
                    let from = random(other.len() + 1);
                    data.splice(at..at, other[from..].iter().copied().take(random(64)));
                }
                _ => data.truncate(at),
            }
        }
        std::fs::write("last-input", &data).expect("the folder is writable");
        TARGET(&data);
        if runs % 1024 == 0 && seeds.len() < 4096 {
            seeds.push(data);
        }
        runs += 1;
    }
    println!("{runs} runs, no failure");
}
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn entry_points_are_found_by_their_shape() {
        let text = "/// pub fn fuzz_no(data: &[u8]) {}\npub fn fuzz_uri(data: &[u8]) {\n}\nfn fuzz_private(data: &[u8]) {}\n\
                    pub fn fuzz_other(text: &str) {}\n";
        assert_eq!(super::functions(text), ["uri"]);
    }
}
