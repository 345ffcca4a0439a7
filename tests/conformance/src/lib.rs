//! The conformance harness: recorded inputs go through the functions that the product calls, and what comes
//! out is compared with what was recorded. `cargo xtask conformance` runs it.
//!
//! | module | holds |
//! |---|---|
//! | [`corpus`] | folders of cases on disk: manifests, files, look-up in several folders |
//! | [`outcome`] | what became of a case, and the comparisons adapters share |
//! | [`adapters`] | one function for each kind of case, generic over all cases of that kind |
//! | [`run`] | runs cases in parallel with a time limit each, survives panics, counts |
//!
//! An adapter calls public functions of the product and nothing else; it knows no case by name. A kind without
//! an adapter is counted as skipped.
#![forbid(unsafe_code)]

pub mod adapters;
pub mod corpus;
pub mod outcome;
pub mod run;
pub mod tree;
