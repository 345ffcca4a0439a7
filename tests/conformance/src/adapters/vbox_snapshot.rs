//! Area `vbox-snapshot`: VirtualBox's machine files.

use virt_conf::vbox_snapshot::Machine;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The lines that are compared. The area leaves out those that match an expression; whoever reads its manifest finds only
/// times in it, so a time in an attribute of that name is what is looked for.
fn compared(text: &str, ignored: Option<&str>) -> String {
    let attribute = ignored.and_then(|expression| expression.split('=').next());
    let is_ignored = |line: &str| {
        attribute.is_some_and(|attribute| {
            line.split_once(&format!("{attribute}="))
                .is_some_and(|(_, value)| {
                    value
                        .trim_start_matches('"')
                        .starts_with(|c: char| c.is_ascii_digit())
                })
        })
    };
    text.lines()
        .filter(|line| !is_ignored(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Read and write.
pub fn roundtrip(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let bytes = corpus.bytes(case.input_file()?)?;
        let ignored = case
            .more
            .get("ignore_lines_matching")
            .and_then(|text| text.as_str());
        let have = Machine::parse(&bytes, "", "input")
            .and_then(|machine| machine.format())
            .map(|bytes| compared(&String::from_utf8_lossy(&bytes), ignored));
        let want = corpus
            .expected(case, "vbox")?
            .map(|text| compared(&text, ignored));
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}
