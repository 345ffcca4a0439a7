//! Area `vmware-version`: what VMware's programs print about themselves.

use serde_json::Value;
use virt_conf::vmx::Product;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// One output.
pub fn version(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let word = case.text("product")?;
        let product = Product::from_word(word).ok_or_else(|| format!("unknown product '{word}'"))?;
        let have = product.version(&corpus.input(case)?).map_err(|e| e.to_string())?;
        Ok(Outcome::equal(
            "version",
            &Value::from(have),
            case.param("version"),
        ))
    };
    run().into()
}
