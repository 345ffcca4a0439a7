//! Area `nwfilter-xml`: network filters and their bindings.

use virt_conf::nwfilter::Filter;
use virt_conf::nwfilter_binding::FilterBinding;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Read a filter and write it.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = Filter::parse(&corpus.input(case)?, "input").map(|filter| filter.format());
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// Read a binding and write it.
pub fn binding_xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = FilterBinding::parse(&corpus.input(case)?, "input").map(|binding| binding.format());
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
