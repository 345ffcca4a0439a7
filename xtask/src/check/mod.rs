//! `check`: what must hold in the source tree, proved.
//!
//! A rule is a function from the [`Workspace`] to the problems it sees; the numbers in the rules' names are those
//! of `docs/architecture.md`. Each rule has negative tests in `tests.rs`: a small workspace is written that breaks
//! it. After the rules come the tools: generated files, rustfmt, clippy, rustdoc, and the dependency policy.

use crate::task::{Outcome, Result};
use std::fmt;
use workspace::Workspace;

mod deny;
mod layering;
mod manifests;
mod source;
mod spdx;
#[cfg(test)]
mod tests;
mod tools;
mod unsafe_code;
mod waist;
mod workspace;

pub use source::Source;

/// Something that a rule forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a file with a line, or a package.
    place: String,
    /// What is wrong there, and what would be right.
    text: String,
}

impl Problem {
    fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A rule: what it proves, and the function that does.
struct Rule {
    name: &'static str,
    find: fn(&Workspace) -> Vec<Problem>,
}

/// All rules, in the order they are reported.
const RULES: &[Rule] = &[
    Rule {
        name: "layering (1)",
        find: layering::dependencies,
    },
    Rule {
        name: "sources stay in their folder (1)",
        find: layering::sources,
    },
    Rule {
        name: "rooms have no features (1)",
        find: layering::features,
    },
    Rule {
        name: "one module names the stable ABI (2)",
        find: waist::one_module,
    },
    Rule {
        name: "plugins stay light (2)",
        find: waist::light_plugins,
    },
    Rule {
        name: "frozen ABI copies (3)",
        find: waist::frozen,
    },
    Rule {
        name: "unsafe only where allowed (5)",
        find: unsafe_code::places,
    },
    Rule {
        name: "unsafe forbidden elsewhere (5)",
        find: unsafe_code::forbidden,
    },
    Rule {
        name: "manifests",
        find: manifests::shape,
    },
    Rule {
        name: "dependency policy",
        find: deny::offline,
    },
];

/// Options of `check`.
#[derive(clap::Args)]
pub struct Options {
    /// Only the rules, which take seconds; not rustfmt, clippy, rustdoc
    #[arg(long)]
    rules_only: bool,
}

/// Runs all rules and tools; each prints one line, and one more for each problem.
pub fn run(options: &Options) -> Result<Outcome> {
    let workspace = Workspace::load(&crate::task::root())?;
    let mut good = true;
    for rule in RULES {
        let problems = (rule.find)(&workspace);
        good &= problems.is_empty();
        report(rule.name, &problems);
    }
    if !options.rules_only {
        good &= tools::run()?;
    }
    println!(
        "check: {}",
        if good {
            "everything in order"
        } else {
            "not in order, see above"
        }
    );
    Ok(Outcome::passed_if(good))
}

/// One line for a rule, then its problems.
fn report(name: &str, problems: &[Problem]) {
    println!("{:<8} {name}", if problems.is_empty() { "ok" } else { "FAILED" });
    for problem in problems {
        println!("         {problem}");
    }
}
