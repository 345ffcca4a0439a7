//! What became of a case, and the comparisons that adapters share.

use crate::corpus::Case;
use serde_json::Value;
use similar::TextDiff;
use std::fmt::{Debug, Display};

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As recorded.
    Passed,
    /// Not as recorded.
    Failed(Reason),
    /// Not tried.
    Skipped(String),
}

/// Why a case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One line.
    pub line: String,
    /// The whole difference, where there is one.
    pub difference: Option<String>,
}

impl Outcome {
    /// Failed, for this reason.
    pub fn failed(line: impl Into<String>) -> Self {
        Self::Failed(Reason {
            line: line.into(),
            difference: None,
        })
    }

    /// Passed if two values are equal.
    pub fn equal<T: PartialEq + Debug>(what: &str, have: &T, want: &T) -> Self {
        if have == want {
            Self::Passed
        } else {
            Self::failed(format!("{what}: have {have:?}, want {want:?}"))
        }
    }

    /// Passed if two texts are byte-equal.
    pub fn same_text(have: &str, want: &str) -> Self {
        if have == want {
            return Self::Passed;
        }
        let diff = TextDiff::from_lines(want, have);
        let first = diff
            .iter_all_changes()
            .find(|change| change.tag() != similar::ChangeTag::Equal)
            .map(|change| format!("{}{}", change.tag(), change.value().trim_end()))
            .unwrap_or_default();
        let whole = diff.unified_diff().header("expected", "produced").to_string();
        Self::Failed(Reason {
            line: format!("output differs, first at: {first}"),
            difference: Some(whole),
        })
    }

    /// Judges an operation with one stage by what the case expects: a recorded text, or a refusal.
    ///
    /// A case that expects success but has no text recorded passes when the operation succeeds.
    pub fn of_text<E: Display>(case: &Case, result: Result<String, E>, want: Option<&str>) -> Self {
        match (case.expect.is_refusal(), result, want) {
            (true, Err(_), _) | (false, Ok(_), None) => Self::Passed,
            (true, Ok(_), _) => Self::failed("accepted, but must be refused"),
            (false, Err(e), _) => Self::failed(format!("refused: {e}")),
            (false, Ok(have), Some(want)) => Self::same_text(&have, want),
        }
    }

    /// Judges an operation whose result is compared as JSON values.
    pub fn of_value<E: Display>(case: &Case, result: Result<Value, E>, want: &Value) -> Self {
        match (case.expect.is_refusal(), result) {
            (true, Err(_)) => Self::Passed,
            (true, Ok(have)) => Self::failed(format!("accepted as {have}, but must be refused")),
            (false, Err(e)) => Self::failed(format!("refused: {e}")),
            (false, Ok(have)) if have == *want => Self::Passed,
            (false, Ok(have)) => Self::failed(format!("have {have}, want {want}")),
        }
    }

    /// The first outcome that is not `Passed`, or `Passed`.
    pub fn all(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        outcomes
            .into_iter()
            .find(|outcome| *outcome != Self::Passed)
            .unwrap_or(Self::Passed)
    }
}

/// Lets an adapter use `?` on what keeps it from running a case: that case failed.
impl From<Result<Outcome, String>> for Outcome {
    fn from(result: Result<Outcome, String>) -> Self {
        result.unwrap_or_else(Self::failed)
    }
}
