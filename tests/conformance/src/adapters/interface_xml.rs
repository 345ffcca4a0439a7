//! Area `interface-xml`: interfaces of the host.

use virt_conf::interface::HostInterface;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Read and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = HostInterface::parse(&corpus.input(case)?, "input").map(|interface| interface.format());
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
