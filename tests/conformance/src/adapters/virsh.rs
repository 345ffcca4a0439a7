//! Areas `virsh` and `virsh-table`: the shell's output, byte for byte.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use virt_util::table::Table;

/// Lays out a table with and without its header.
pub fn table(case: &Case, _: &Corpus) -> Outcome {
    table_inner(case).into()
}

fn strings(value: &serde_json::Value) -> Vec<&str> {
    value
        .as_array()
        .map(|list| list.iter().filter_map(|one| one.as_str()).collect())
        .unwrap_or_default()
}

fn table_inner(case: &Case) -> Result<Outcome, String> {
    let mut table = Table::new(&strings(case.param("header"))).utf8(true);
    for row in case.param("rows").as_array().ok_or("no rows")? {
        table.row(strings(row));
    }
    let outcomes = [("with_header", true), ("without_header", false)]
        .into_iter()
        .filter_map(|(name, header)| {
            let want = case.param(name).as_str()?;
            Some(Outcome::same_text(&table.render(header), want))
        });
    Ok(Outcome::all(outcomes.collect::<Vec<_>>()))
}

/// Runs the program on the arguments of the case.
pub fn run(case: &Case, corpus: &Corpus) -> Outcome {
    run_inner(case, corpus).into()
}

/// The program, built beside this one.
fn program() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = here.with_file_name("virsh");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is not built", program.display()))
    }
}

fn run_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let root = nix::unistd::geteuid().is_root();
    if root
        && case
            .more
            .get("needs")
            .is_some_and(|needs| strings(needs).contains(&"not-root"))
    {
        return Ok(Outcome::Skipped("cannot be run as root".into()));
    }
    // Some cases cut the path of what the recording fed out of the output.
    let scratch = tempfile::Builder::new()
        .prefix("libvirt_virshtest")
        .tempdir_in("/tmp")
        .map_err(|error| error.to_string())?;
    let data = corpus
        .path("virsh/data/")
        .or_else(|_| corpus.path("virsh/data"))?;
    let data = data.display().to_string();
    let argv = case.more.get("argv").ok_or("no argv")?;
    let mut arguments: Vec<String> = Vec::new();
    for word in strings(argv).into_iter().skip(1) {
        let mut word = word.replace("@DATA@", data.trim_end_matches('/'));
        if word.contains("@CUSTOM_URI@") {
            let node = corpus.path("virsh/testnode/testnode.xml")?;
            word = word.replace("@CUSTOM_URI@", &format!("test://{}", node.display()));
        }
        if word.contains("@PIPE@") {
            word = word.replace("@PIPE@", &big_document(case, scratch.path())?);
        }
        arguments.push(word);
    }
    if let Some(script) = case.input.get("script").and_then(|script| script.as_str()) {
        arguments.push(corpus.text(script)?);
    }
    let mut have = execute(case, &arguments, &data, scratch.path())?;
    if let Some(filter) = case.more.get("filter").and_then(|filter| filter.as_str()) {
        have = cut(&have, filter);
    }
    let want = corpus.expected(case, "out")?.ok_or("no expected output")?;
    Ok(Outcome::same_text(&have, &want))
}

fn execute(case: &Case, arguments: &[String], data: &str, scratch: &Path) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let path = scratch.join("out");
    // Both streams write to one file, so that their order is kept.
    let out = File::create(&path).map_err(text)?;
    let mut command = Command::new(program()?);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("HOME", scratch)
        .env("XDG_CACHE_HOME", scratch)
        .env(
            "VIRT_DRIVER_DIR",
            std::env::var_os("VIRT_DRIVER_DIR").unwrap_or_default(),
        )
        .stdin(Stdio::null())
        .stderr(out.try_clone().map_err(text)?)
        .stdout(out);
    for (name, value) in case
        .more
        .get("env")
        .and_then(|env| env.as_object())
        .into_iter()
        .flatten()
    {
        command.env(
            name,
            value
                .as_str()
                .unwrap_or_default()
                .replace("@DATA@", data.trim_end_matches('/')),
        );
    }
    let status = command.status().map_err(text)?;
    let mut have = String::from_utf8_lossy(&std::fs::read(&path).map_err(text)?).into_owned();
    if !status.success() {
        have.push_str(&format!("\n## Exit code: {}\n", status.code().unwrap_or(-1)));
    }
    Ok(have)
}

/// The document behind much white space that some cases feed; a file does as well as a pipe.
fn big_document(case: &Case, scratch: &Path) -> Result<String, String> {
    let path = scratch.join("pipe");
    let xml = case.param("xml").as_str().ok_or("no document")?;
    let text = format!("{}{xml}", " ".repeat(140 * 1024));
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}

/// Cuts each occurrence of `filter` out, with what follows it up to the end of its line.
fn cut(text: &str, filter: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(filter) {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        rest = behind.find('\n').map_or("", |end| &behind[end..]);
    }
    out.push_str(rest);
    out
}
