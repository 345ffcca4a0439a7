//! Adapters: one function for each kind of case.
//!
//! Add one by writing a function `fn(&Case, &Corpus) -> Outcome` in a module named after the area, and a row in
//! [`ADAPTERS`].

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

mod util_json;

/// Runs one case.
pub type Adapter = fn(&Case, &Corpus) -> Outcome;

/// Area, kind, adapter.
const ADAPTERS: &[(&str, &str, Adapter)] = &[("util-json", "parse", util_json::parse)];

/// The adapter of a kind of case.
pub fn find(area: &str, kind: &str) -> Option<Adapter> {
    ADAPTERS
        .iter()
        .find(|(a, k, _)| *a == area && *k == kind)
        .map(|(_, _, adapter)| *adapter)
}
