//! Area `secret-xml`: what is known of secrets.

use virt_conf::secret::Secret;

use super::domain_generic::CountingRandomness;
use super::storage::both;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Read and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = Secret::parse(&corpus.input(case)?, "input").map(|mut secret| {
            secret.normalize(&CountingRandomness);
            secret.format()
        });
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
