//! Area `util-json`: the strict JSON that QMP and the guest agent speak.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::Value;

/// Parse and format compactly.
pub fn parse(case: &Case, corpus: &Corpus) -> Outcome {
    parse_inner(case, corpus).into()
}

fn parse_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let input = if case.input.is_string() {
        join_lines(&corpus.input(case)?)
    } else {
        case.text("in")?.to_owned()
    };
    let want = match corpus.expected(case, "json")? {
        Some(text) => join_lines(&text),
        None => case.param("out").as_str().unwrap_or(&input).to_owned(),
    };
    let have = serde_json::from_str::<Value>(&input).map(|value| value.to_string());
    Ok(Outcome::of_text(case, have, Some(&want)))
}

/// Files of this area break long texts with a backslash at the line's end; the text is one line.
fn join_lines(text: &str) -> String {
    text.replace("\\\n", "").trim_end_matches('\n').to_owned()
}
