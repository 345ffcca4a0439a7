//! Area `util-json`: JSON whose numbers stay texts.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use virt_util::json::Json;

/// The text of a case: a file or a parameter.
fn input(case: &Case, corpus: &Corpus) -> Result<String, String> {
    if case.input.is_string() {
        Ok(join_lines(&corpus.input(case)?))
    } else {
        Ok(case.text("in")?.to_owned())
    }
}

/// Parse and format compactly.
pub fn parse(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let input = input(case, corpus)?;
        let want = match corpus.expected(case, "json")? {
            Some(text) => join_lines(&text),
            None => case.param("out").as_str().unwrap_or(&input).to_owned(),
        };
        let have = Json::parse(&input).map(|value| value.to_string());
        Ok(Outcome::of_text(case, have, Some(&want)))
    };
    run().into()
}

/// Take a value out, twice, and append another.
pub fn add_remove(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let mut json = Json::parse(&input(case, corpus)?).map_err(|error| error.to_string())?;
        let taken = json.remove("name");
        let again = json.remove("name");
        let have = json
            .append("newname", Json::String("foo".to_owned()))
            .map(|()| json.to_string());
        let want = corpus.expected(case, "json")?.map(|text| join_lines(&text));
        let outcome = Outcome::of_text(case, have, want.as_deref());
        if case.expect.is_refusal() {
            return Ok(outcome);
        }
        let sample = Some(Json::String("sample".to_owned()));
        Ok(Outcome::all([
            Outcome::equal("the value", &taken, &sample),
            Outcome::equal("the value again", &again, &None),
            outcome,
        ]))
    };
    run().into()
}

/// Ask an object for values of four types: all are found, or none.
pub fn lookup(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let json = Json::parse(case.text("in")?).map_err(|error| error.to_string())?;
        let have = (
            json.object("a").map(<[_]>::len),
            json.integer("b"),
            json.string("c"),
            json.array("d").map(<[_]>::len),
        );
        let want = if case.expect.is_refusal() {
            (None, None, None, None)
        } else {
            (Some(0), Some(1), Some("str"), Some(0))
        };
        Ok(Outcome::equal("values", &have, &want))
    };
    run().into()
}

/// Names with dots become nested objects.
pub fn deflatten(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let json = Json::parse(&input(case, corpus)?).map_err(|error| error.to_string())?;
        let have = json.deflatten().map(|json| json.to_pretty_string() + "\n");
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "json")?.as_deref(),
        ))
    };
    run().into()
}

/// Files of this area break long texts with a backslash at the line's end; the text is one line.
fn join_lines(text: &str) -> String {
    text.replace("\\\n", "").trim_end_matches('\n').to_owned()
}
