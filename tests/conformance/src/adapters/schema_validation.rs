//! Area `schema-validation`: which documents the schemas allow.

use virt_conf::capabilities::Capabilities;
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

/// A document about a host, which must be allowed and read.
pub fn capabilities(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let source = corpus.input(case)?;
        let verdict = Doc::parse(&source)
            .and_then(|doc| schema::check(&doc))
            .and_then(|()| Capabilities::parse(&source, &case.id));
        Ok(Outcome::of_text(case, verdict.map(|_| String::new()), Some("")))
    };
    run().into()
}
