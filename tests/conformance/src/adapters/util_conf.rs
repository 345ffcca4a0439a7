//! Area `util-conf`: the syntax of configuration files.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use virt_util::conf_file::{ConfFile, Dialect};

/// Read a file and write it again.
pub fn roundtrip(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let text = corpus.input(case)?;
        let want = corpus.expected(case, "out")?;
        let have = ConfFile::parse("input", &text, Dialect::Libvirt).and_then(|conf| conf.format());
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// Ask a file for values of certain types.
pub fn values(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let conf = ConfFile::parse("input", case.text("text")?, Dialect::Libvirt)
            .map_err(|error| error.to_string())?;
        let rows = case.param("values").as_array().ok_or("no list of values")?;
        let mut outcomes = Vec::new();
        for row in rows {
            let (Some(name), Some(kind), Some(want)) = (row[0].as_str(), row[1].as_str(), row.get(2)) else {
                return Err(format!("bad row {row}"));
            };
            outcomes.push(Outcome::equal(name, &lookup(&conf, name, kind)?, want));
        }
        Ok(Outcome::all(outcomes))
    };
    run().into()
}

/// The value as JSON, null where the type does not fit.
fn lookup(conf: &ConfFile, name: &str, kind: &str) -> Result<Value, String> {
    let value = match kind {
        "string" => conf.string(name).map(|value| json!(value)),
        "string-list" => conf.string_list(name).map(|value| json!(value)),
        "string-list-compat" => conf.string_or_list(name).map(|value| json!(value)),
        "bool" => conf.bool(name).map(|value| json!(value)),
        "int" => conf.i32(name).map(|value| json!(value)),
        "uint" => conf.u32(name).map(|value| json!(value)),
        "llong" | "ssize_t" => conf.i64(name).map(|value| json!(value)),
        "ullong" | "size_t" => conf.u64(name).map(|value| json!(value)),
        other => return Err(format!("unknown type '{other}'")),
    };
    Ok(value.unwrap_or(Value::Null))
}
