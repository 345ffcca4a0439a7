//! Area `util-text`, key codes: the tables by which keys are named and translated.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::json;
use virt_util::keycode::Codeset;

/// The code of a key in another set.
pub fn translate(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let code = case
            .param("value")
            .as_u64()
            .and_then(|code| u32::try_from(code).ok());
        let code = code.ok_or("the case has no code")?;
        let have = set(case.text("from")?)?.translate(set(case.text("to")?)?, code);
        Ok(Outcome::equal("code", &json!(have), case.param("result")))
    };
    run().into()
}

/// The code of a named key.
pub fn name(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = set(case.text("set")?)?.code(case.text("name")?);
        Ok(Outcome::equal("code", &json!(have), case.param("value")))
    };
    run().into()
}

/// A set; cases write the names that have an underscore without it.
fn set(name: &str) -> Result<Codeset, String> {
    let found = Codeset::ALL
        .into_iter()
        .find(|set| set.name() == name || set.name().replace('_', "") == name);
    found.ok_or_else(|| format!("no key code set '{name}'"))
}
