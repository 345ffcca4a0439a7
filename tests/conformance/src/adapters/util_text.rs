//! Area `util-text`: small helpers for texts, one function for each kind.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use virt_util::bitmap::Bitmap;
use virt_util::text;
use virt_util::uri::{Uri, strip_ipv6_brackets};
use virt_util::xml::{Writer, XmlFlags};

fn bits(value: &Value) -> Bitmap {
    let numbers = value.as_array().into_iter().flatten();
    numbers
        .filter_map(|bit| usize::try_from(bit.as_u64()?).ok())
        .collect()
}

/// A URI's parts, and the URI written again from its parameters.
pub fn uri_parse(case: &Case, _corpus: &Corpus) -> Outcome {
    let run =
        || -> Result<Outcome, String> {
            let mut want = Value::Object(case.params.clone());
            if let Some(fields) = want.as_object_mut() {
                fields.remove("uri");
            }
            let have = Uri::parse(case.text("uri")?).map(|uri| {
            let params: Vec<_> = uri.params.iter().map(|param| json!([param.name, param.value])).collect();
            let mut again = uri.clone();
            let query = uri.format_params();
            again.query = (!query.is_empty()).then_some(query);
            json!({
                "formatted": again.to_string(), "scheme": uri.scheme, "server": uri.server, "port": uri.port,
                "path": Some(&uri.path).filter(|path| !path.is_empty()), "query": uri.query,
                "fragment": uri.fragment, "user": uri.user, "params": params,
            })
        });
            Ok(Outcome::of_value(case, have, &want))
        };
    run().into()
}

/// Set operations on lists of numbers.
pub fn bitmap_op(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let list = |name: &str| Bitmap::parse_growing(case.text(name)?).map_err(|error| error.to_string());
        let operation = case.text("op")?;
        if operation == "format" {
            return Ok(Outcome::same_text(
                &bits(case.param("bits")).to_string(),
                case.text("result")?,
            ));
        }
        let mut set = list("a")?;
        let other = list("b")?;
        match operation {
            "intersect" => set.intersect(&other),
            "union" => set.union(&other),
            "subtract" => set.subtract(&other),
            other => return Ok(Outcome::Skipped(format!("no operation '{other}'"))),
        }
        Ok(Outcome::equal("set", &set, &list("result")?))
    };
    run().into()
}

/// Hexadecimal sets.
pub fn bitmap_string(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let hex = case.text("hex")?;
        if case.param("set_bits").is_array() {
            return Ok(Outcome::same_text(&bits(case.param("set_bits")).to_hex(), hex));
        }
        let have = Bitmap::from_hex(hex).map(|set| set.to_hex());
        Ok(Outcome::of_text(case, have, case.param("roundtrip").as_str()))
    };
    run().into()
}

/// Lists that must be refused.
pub fn bitmap_parse_fail(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let size = case
            .param("size")
            .as_u64()
            .and_then(|size| usize::try_from(size).ok());
        let have = Bitmap::parse(case.text("text")?, size.ok_or("no size")?).map(|set| set.to_string());
        Ok(Outcome::of_text(case, have, None))
    };
    run().into()
}

/// Addresses with and without brackets.
pub fn strip_brackets(case: &Case, _corpus: &Corpus) -> Outcome {
    let have = case.param("text").as_str().map(strip_ipv6_brackets);
    Outcome::equal("text", &have, &case.param("out").as_str())
}

/// Quoting and layout.
pub fn escape(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let input = case.text("in")?;
        let have = match case.text("function")? {
            "shell" => virt_util::shell::quote(input).into_owned(),
            "regex" => text::escape_regex(input),
            "xml" => {
                let mut w = Writer::new(XmlFlags::empty());
                w.start("c");
                w.text_element("el", input);
                w.end("c");
                w.finish().trim_end().to_owned()
            }
            "indent-add" => format!("<c>\n{}</c>", text::indent(input, 2)),
            "trim-chars" => {
                let marks: Vec<char> = case.text("chars")?.chars().collect();
                input.trim_end_matches(marks.as_slice()).to_owned()
            }
            other => return Ok(Outcome::Skipped(format!("no function '{other}'"))),
        };
        Ok(Outcome::same_text(&have, case.text("out")?))
    };
    run().into()
}

/// What a group of a regular expression matches.
pub fn search(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let max = case
            .param("max")
            .as_u64()
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(usize::MAX);
        let have = text::search(case.text("text")?, case.text("regex")?, max).map(|found| json!(found));
        Ok(Outcome::of_value(case, have, case.param("matches")))
    };
    run().into()
}

/// Whether a regular expression matches.
pub fn matches(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = text::matches(case.text("text")?, case.text("regex")?).map(|found| json!(found));
        Ok(Outcome::of_value(case, have, case.param("match")))
    };
    run().into()
}

/// One text in the place of another.
pub fn replace(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = case.text("text")?.replace(case.text("old")?, case.text("new")?);
        Ok(Outcome::same_text(&have, case.text("out")?))
    };
    run().into()
}

/// A text without control characters.
pub fn strip_control(case: &Case, _corpus: &Corpus) -> Outcome {
    let have = case.param("text").as_str().map(text::strip_control_characters);
    Outcome::equal("text", &have.as_deref(), &case.param("out").as_str())
}

/// A text of some characters only.
pub fn filter(case: &Case, _corpus: &Corpus) -> Outcome {
    let (given, valid) = (case.param("text").as_str(), case.param("valid").as_str());
    let have = given.map(|given| text::keep_characters(given, valid.unwrap_or_default()));
    Outcome::equal("text", &have.as_deref(), &case.param("out").as_str())
}
