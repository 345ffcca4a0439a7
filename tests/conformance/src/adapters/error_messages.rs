//! Area `error-messages`: the number and the texts of each error code.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use virt_util::ErrorCode;

/// A detail that no text contains, to find its place.
const DETAIL: &str = "%s";

/// A code's number, its text alone and its text with a detail.
pub fn message(case: &Case, _corpus: &Corpus) -> Outcome {
    message_inner(case).into()
}

fn message_inner(case: &Case) -> Result<Outcome, String> {
    let name = case.text("name")?.trim_start_matches("VIR_ERR_");
    let number = case.param("code").as_i64().ok_or("the case has no number")?;
    let code = ErrorCode::ALL.iter().find(|code| code.name() == Some(name));
    let code = code.ok_or_else(|| format!("no error code {name}"))?;
    let text = |name: &str| case.param(name).as_str().map(str::to_owned);
    // The one code without a text is the absence of an error: nothing can be made of it.
    let with = |detail: &str| text("message").is_some().then(|| code.message(detail));
    Ok(Outcome::all([
        Outcome::equal("number", &i64::from(code.0), &number),
        Outcome::equal("text", &with(""), &text("message")),
        Outcome::equal("text with a detail", &with(DETAIL), &text("message_with_info")),
    ]))
}
