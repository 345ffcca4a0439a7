//! Area `schema-validation`: which documents the schemas allow.

use virt_conf::schema;
use virt_util::xml::Doc;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Ask the schema for the document's root.
pub fn verdict(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let source = corpus.input(case)?;
        let verdict = Doc::parse(&source).and_then(|doc| schema::check(&doc));
        Ok(Outcome::of_text(case, verdict.map(|()| String::new()), Some("")))
    };
    run().into()
}
