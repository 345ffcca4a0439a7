//! Area `secret-xml`: what is known of secrets.

use virt_conf::secret::Secret;

use super::domain_generic::CountingRandomness;
use super::storage::both;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Read and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let format = |source: &str| {
            let mut secret = Secret::parse(source, "input")?;
            secret.normalize(&CountingRandomness);
            Ok(secret.format())
        };
        Ok(both(
            case,
            format,
            &corpus.input(case)?,
            corpus.expected(case, "xml")?,
        ))
    };
    run().into()
}
