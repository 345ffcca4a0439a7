//! Areas `storage-pool` and `storage-vol`: pools, volumes and what pools can be.

use virt_conf::storage_pool::capabilities::PoolCapabilities;
use virt_conf::storage_pool::{PoolType, StoragePool};
use virt_conf::storage_volume::{CapacityRule, Volume};

use super::domain_generic::CountingRandomness;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

fn read_pool(source: &str) -> virt_util::Result<StoragePool> {
    let mut pool = StoragePool::parse(source, "input")?;
    pool.normalize(&CountingRandomness);
    Ok(pool)
}

/// The input gives what is expected, and so does what is expected itself.
pub fn both(
    case: &Case,
    format: impl Fn(&str) -> virt_util::Result<String>,
    input: &str,
    want: Option<String>,
) -> Outcome {
    let want = want.as_deref();
    let first = Outcome::of_text(case, format(input), want);
    Outcome::all(
        [
            Some(first),
            want.map(|text| Outcome::of_text(case, format(text), want)),
        ]
        .into_iter()
        .flatten(),
    )
}

/// Read a pool and write it.
pub fn pool(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let format = |source: &str| read_pool(source).map(|pool| pool.format());
        Ok(both(
            case,
            format,
            &corpus.input(case)?,
            corpus.expected(case, "xml")?,
        ))
    };
    run().into()
}

/// The capabilities of a driver with some types of pool.
pub fn capabilities(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let names = case.param("types").as_array().ok_or("no list of types")?;
        let types: Option<Vec<PoolType>> = names
            .iter()
            .map(|name| PoolType::from_word(name.as_str()?))
            .collect();
        let have = PoolCapabilities::new(&types.ok_or("no type of pool")?).format();
        let want = corpus.expected(case, "xml")?.ok_or("no expected document")?;
        Ok(Outcome::same_text(&have, &want))
    };
    run().into()
}

/// Read a volume of a pool and write it.
pub fn volume(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let file = |role: &str| -> Result<String, String> {
            let name = case.input.get(role).and_then(|name| name.as_str());
            corpus.text(name.ok_or_else(|| format!("the case has no input '{role}'"))?)
        };
        let pool = read_pool(&file("pool")?).map_err(|error| error.to_string())?;
        let capacity = if case.has_flag("no-capacity") {
            CapacityRule::Optional
        } else if case.has_flag("opt-capacity") {
            CapacityRule::RequiredWithoutBacking
        } else {
            CapacityRule::Required
        };
        let format =
            |source: &str| Volume::parse(source, pool.kind, capacity, "input").map(|volume| volume.format());
        Ok(both(case, format, &file("vol")?, corpus.expected(case, "xml")?))
    };
    run().into()
}
