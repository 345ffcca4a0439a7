//! `test`: all tests of the workspace, and an honest count.
//!
//! Test programs are built by cargo and run one after another. A test that misses something (root, KVM, a program)
//! ends early and leaves a line in the file that `VIRT_SKIP_FILE` names: it is counted as skipped, never as
//! passed, and with `--require` it fails instead. The last line is `N passed, N failed, N skipped`.

use crate::plugins;
use crate::task::{self, Context, Outcome, Result};
use cargo_metadata::{Message, Target};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod asserts;
mod output;

use output::{Tally, Verdict};

/// How long one test program may run; and with `--long`.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Options of `test`.
#[derive(clap::Args)]
pub struct Options {
    /// What must be there, so that a test that misses it fails: names with commas, or @FILE with one a line
    #[arg(long, value_name = "LIST")]
    require: Vec<String>,
    /// The long rounds too
    #[arg(long)]
    long: bool,
    /// Only tests of these packages
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// A test program that cargo has built.
struct Program {
    package: String,
    folder: PathBuf,
    label: String,
    file: PathBuf,
}

/// Everything a run needs to know.
struct Run {
    require: String,
    long: bool,
    filter: Option<String>,
    libraries: String,
}

/// Builds and runs everything; prints what happened.
pub fn run(options: &Options) -> Result<Outcome> {
    let require = required(&options.require)?;
    let started = Instant::now();
    let built = plugins::fill()?;
    println!(
        "plugins: {}",
        built
            .plugins
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let run = Run {
        require,
        long: options.long,
        filter: options.filter.clone(),
        libraries: libraries()?,
    };

    let mut total = Tally::default();
    for program in build(&options.package)? {
        let began = Instant::now();
        let tally = run_program(&program, &run)?;
        println!(
            "{:<44} {}  {:.1} s",
            program.label,
            tally.line(),
            began.elapsed().as_secs_f32()
        );
        total.add(&program.label, tally);
    }
    let began = Instant::now();
    let documents = documentation(&options.package, &run)?;
    println!(
        "{:<44} {}  {:.1} s",
        "documentation",
        documents.line(),
        began.elapsed().as_secs_f32()
    );
    total.add("documentation", documents);

    report(&total);
    println!("in {} s", started.elapsed().as_secs());
    println!("{}", total.line());
    Ok(Outcome::passed_if(total.failed.is_empty()))
}

/// The lists of `--require` as one.
fn required(lists: &[String]) -> Result<String> {
    let mut names = Vec::new();
    for list in lists {
        let text = match list.strip_prefix('@') {
            Some(file) => task::read(Path::new(file))?,
            None => list.clone(),
        };
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        names.extend(
            lines
                .flat_map(|line| line.split(','))
                .map(str::trim)
                .filter(|n| !n.is_empty())
                .map(str::to_owned),
        );
    }
    Ok(names.join(","))
}

/// Says what failed, what was skipped and why, and which tests assert nothing.
fn report(total: &Tally) {
    let mut skips: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in &total.skipped {
        skips.entry(reason).or_default().push(name);
    }
    for (reason, names) in &skips {
        println!("skipped {}: {reason}", names.len());
        for name in names {
            println!("    {name}");
        }
    }
    for place in asserts::tests_without(&task::root()) {
        println!("asserts nothing: {place}");
    }
    for (name, text) in &total.failed {
        println!("failed: {name}");
        for line in text.lines() {
            println!("    {line}");
        }
    }
}

/// Builds all test programs and lists them.
fn build(packages: &[String]) -> Result<Vec<Program>> {
    let mut command = task::cargo();
    command
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .args(selection(packages));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context(|| task::describe(&command))?;
    let stdout = child.stdout.take().ok_or("cargo has no output")?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)).filter_map(std::result::Result::ok) {
        if let Message::CompilerArtifact(artifact) = message
            && artifact.profile.test
            && let Some(file) = artifact.executable
        {
            let manifest = artifact.manifest_path.into_std_path_buf();
            let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
            let package = package_name(&manifest).unwrap_or_else(|| artifact.target.name.clone());
            let label = format!("{package} {}", describe(&artifact.target));
            programs.push(Program {
                package,
                folder,
                label,
                file: file.into(),
            });
        }
    }
    if !child.wait().context(|| task::describe(&command))?.success() {
        return Err("the tests do not build".into());
    }
    programs.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(programs)
}

/// The name in a manifest.
fn package_name(manifest: &Path) -> Option<String> {
    let table: toml::Table = std::fs::read_to_string(manifest).ok()?.parse().ok()?;
    table.get("package")?.get("name")?.as_str().map(str::to_owned)
}

/// What a target is, in a word or two.
fn describe(target: &Target) -> String {
    if target.is_test() {
        format!("test {}", target.name)
    } else if target.is_bin() {
        format!("bin {}", target.name)
    } else if target.is_example() {
        format!("example {}", target.name)
    } else {
        "lib".to_owned()
    }
}

/// The packages to test.
fn selection(packages: &[String]) -> Vec<String> {
    if packages.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    packages
        .iter()
        .flat_map(|name| ["--package".to_owned(), name.clone()])
        .collect()
}

/// Where the standard library's shared object lies, which tests of proc-macro crates load.
fn libraries() -> Result<String> {
    let out = task::output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let standard = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    Ok(match std::env::var("LD_LIBRARY_PATH") {
        Ok(path) if !path.is_empty() => format!("{standard}:{path}"),
        _ => standard,
    })
}

/// What all tests see of us.
fn prepare(command: &mut Command, run: &Run, skips: &Path) {
    command
        .env("VIRT_SKIP_FILE", skips)
        .env("VIRT_REQUIRE", &run.require)
        .env("VIRT_DRIVER_DIR", plugins::folder())
        // Golden files are compared here, and changed by hand.
        .env("INSTA_UPDATE", "no");
    if run.long {
        command.env("VIRT_LONG", "1");
    }
}

/// Runs one test program.
fn run_program(program: &Program, run: &Run) -> Result<Tally> {
    let skips = skip_file()?;
    let mut command = Command::new(&program.file);
    command
        .current_dir(&program.folder)
        .arg("--show-output")
        .args(&run.filter)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .env("CARGO_PKG_NAME", &program.package)
        .env("LD_LIBRARY_PATH", &run.libraries);
    prepare(&mut command, run, skips.path());
    let limit = if run.long { LONG_LIMIT } else { LIMIT };
    let (text, verdict) = output::capture(&mut command, limit)?;
    Ok(Tally::read(&text, &verdict, &skips.lines(), &run.require))
}

/// Runs the examples in the documentation.
fn documentation(packages: &[String], run: &Run) -> Result<Tally> {
    let skips = skip_file()?;
    let mut command = task::cargo();
    command
        .args(["test", "--quiet", "--doc", "--no-fail-fast"])
        .args(selection(packages))
        .arg("--");
    command.arg("--show-output").args(&run.filter);
    // One line a test, also where cargo would print dots.
    command.args(["--format", "pretty"]);
    prepare(&mut command, run, skips.path());
    let (text, verdict) = output::capture(&mut command, LIMIT)?;
    // cargo calls it an error when a chosen package has no library to document.
    let verdict = if text.contains("test result:") {
        verdict
    } else {
        Verdict::Ended(true)
    };
    Ok(Tally::read(&text, &verdict, &skips.lines(), &run.require))
}

/// The file in which tests of one program say that they were skipped. Removed at the end.
struct SkipFile(PathBuf);

/// A fresh one.
fn skip_file() -> Result<SkipFile> {
    let path = task::root()
        .join("target")
        .join(format!("skips-{}.txt", std::process::id()));
    task::write(&path, "")?;
    Ok(SkipFile(path))
}

impl SkipFile {
    fn path(&self) -> &Path {
        &self.0
    }

    fn lines(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for SkipFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
