//! The command line of the conformance harness; `cargo xtask conformance` builds and runs it.
#![forbid(unsafe_code)]

use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use virt_conformance::corpus::{Case, Corpus};
use virt_conformance::outcome::Outcome;
use virt_conformance::run::{self, Report};

#[derive(Parser)]
#[command(
    name = "cargo xtask conformance",
    about = "Compare Ferrovirt with a corpus of recorded results"
)]
struct Options {
    /// A corpus folder; may be repeated: cases are those of the first, files are looked up in all in order. Without
    /// it, the folder in VIRT_CORPUS
    #[arg(long = "corpus", value_name = "DIR")]
    corpora: Vec<PathBuf>,
    /// Only this area; may be repeated
    #[arg(long = "area", value_name = "NAME")]
    areas: Vec<String>,
    /// Only the case with this id, and print the whole difference
    #[arg(long = "case", value_name = "ID")]
    case: Option<String>,
    /// Print each failed case with its reason
    #[arg(long, short)]
    verbose: bool,
    /// Write the counts to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match conformance(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("conformance: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; says whether nothing failed.
fn conformance(options: &Options) -> Result<bool, String> {
    let corpora = match options.corpora.as_slice() {
        [] => {
            let named = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty());
            named.map(PathBuf::from).into_iter().collect()
        }
        named => named.to_vec(),
    };
    if corpora.is_empty() {
        println!("conformance: skipped: no corpus (give --corpus DIR or set VIRT_CORPUS)");
        return Ok(true);
    }
    let corpus = Corpus::open(&corpora)?;
    let known = corpus.areas()?;
    if let Some(unknown) = options.areas.iter().find(|area| !known.contains(area)) {
        return Err(format!(
            "no area '{unknown}' in the corpus; it has {}",
            known.join(" ")
        ));
    }
    let wanted = if options.areas.is_empty() {
        known
    } else {
        options.areas.clone()
    };

    let mut report = Report::default();
    let mut cases: Vec<Case> = Vec::new();
    for area in wanted {
        cases.extend(corpus.cases(&area)?);
        report.areas.entry(area).or_default();
    }
    if let Some(id) = &options.case {
        cases.retain(|case| case.id == *id);
        if cases.is_empty() {
            return Err(format!("no case '{id}' in the chosen areas"));
        }
    }
    // A panic becomes its case's reason; the report says it, so the default message is not printed too.
    std::panic::set_hook(Box::new(|_| {}));
    let results = run::run(cases, &corpus);
    let _ = std::panic::take_hook();

    let mut skips: BTreeMap<String, usize> = BTreeMap::new();
    for (case, outcome) in &results {
        report
            .areas
            .entry(case.area.clone())
            .or_default()
            .count(case, outcome);
        if let Outcome::Skipped(reason) = outcome {
            *skips.entry(reason.clone()).or_default() += 1;
        }
        if options.case.is_some() || options.verbose {
            print_case(case, outcome, options.case.is_some());
        }
    }
    if options.case.is_none() {
        print_table(&report);
    }
    if options.verbose {
        for (reason, count) in &skips {
            println!("skipped {count}: {reason}");
        }
    }
    let (passed, failed, skipped) = report.totals();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(failed == 0)
}

/// Prints what became of one case.
fn print_case(case: &Case, outcome: &Outcome, whole: bool) {
    let name = format!("{} {}", case.area, case.id);
    match outcome {
        Outcome::Passed if whole => println!("passed  {name}"),
        Outcome::Skipped(reason) if whole => println!("skipped {name}: {reason}"),
        Outcome::Passed | Outcome::Skipped(_) => {}
        Outcome::Failed(reason) => {
            println!("failed  {name}: {}", reason.line);
            if let (true, Some(difference)) = (whole, &reason.difference) {
                print!("{difference}");
            }
        }
    }
}

/// Prints the counts, one line an area.
fn print_table(report: &Report) {
    println!(
        "{:<24} {:>7} {:>7} {:>7}   refused (passed/failed)",
        "area", "passed", "failed", "skipped"
    );
    for (name, area) in &report.areas {
        let refused = match (area.refused_passed, area.refused_failed) {
            (0, 0) => String::new(),
            (passed, failed) => format!("{passed}/{failed}"),
        };
        println!(
            "{name:<24} {:>7} {:>7} {:>7}   {refused}",
            area.passed, area.failed, area.skipped
        );
    }
}
