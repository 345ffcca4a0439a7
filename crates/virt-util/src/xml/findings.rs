//! What a schema does not allow in a document: found by [`super::shapes`] and [`super::rules`], told as one error.

use super::doc::{Element, Position};
use super::reader::{At, missing_text, wrong_value_text};
use super::value::{ValueError, nearest};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// Most of them that are kept; more are not told anyway.
const MAX_KEPT: usize = 6;

/// What was found, in document order of the elements.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

/// Something in a document that the schema does not allow.
#[derive(Debug)]
struct Finding {
    /// Where it is.
    position: Position,
    /// The element that holds it.
    path: String,
    /// What is wrong: `unknown attribute 'x'`, `missing required element 'y'` …
    what: String,
    /// The known name that an unknown one resembles.
    suggestion: Option<&'static str>,
}

impl Findings {
    /// Notes something.
    #[cold]
    pub(super) fn add(
        &mut self,
        element: Element<'_>,
        at: At<'_>,
        what: String,
        suggestion: Option<&'static str>,
    ) {
        if self.0.len() >= MAX_KEPT {
            return;
        }
        let position = match at {
            At::Attribute(name) => element.attr_position(name),
            At::Child(name) => {
                let child = element.children().find(|child| child.qualified_name() == name);
                child.unwrap_or(element).position()
            }
            At::Text => element.position(),
        };
        self.0.push(Finding {
            position,
            path: element.path(),
            what,
            suggestion,
        });
    }

    /// Notes a name that nobody knows.
    #[cold]
    pub(super) fn unknown(
        &mut self,
        element: Element<'_>,
        at: At<'_>,
        known: impl Iterator<Item = &'static str>,
    ) {
        let (what, name) = match at {
            At::Attribute(name) => (format!("unknown attribute '{name}'"), name),
            At::Child(name) => (format!("unknown element '{name}'"), name),
            At::Text => ("unknown text".to_owned(), ""),
        };
        self.add(element, at, what, nearest(name, known));
    }

    /// Notes a value that is none; of words the nearest is suggested.
    #[cold]
    pub(super) fn misfit(&mut self, element: Element<'_>, at: At<'_>, found: &str, says: &'static str) {
        let words = says
            .strip_prefix("one of '")
            .and_then(|list| list.strip_suffix('\''));
        let meant = words.and_then(|words| nearest(found.trim_ascii(), words.split("', '")));
        let what = wrong_value_text(at, found, &ValueError::expected(says));
        self.add(element, at, what, meant);
    }

    /// Notes that a part is missing.
    #[cold]
    pub(super) fn absent(&mut self, element: Element<'_>, at: At<'_>) {
        self.add(element, At::Text, missing_text(at), None);
    }

    /// The error for what was found in the document of `element`.
    pub(super) fn finish(self, element: Element<'_>) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (at, finding) in self.0.iter().take(MAX_KEPT - 1).enumerate() {
            use std::fmt::Write;
            let position = finding.position;
            let lead = if at > 0 { "; " } else { "" };
            let _ = write!(
                text,
                "{lead}{}:{position} {}: {}",
                element.doc().name(),
                finding.path,
                finding.what
            );
            if let Some(word) = finding.suggestion {
                let _ = write!(text, ", did you mean '{word}'?");
            }
        }
        if self.0.len() >= MAX_KEPT {
            text.push_str("; …");
        }
        Err(VirtError::new(ErrorCode::XML_INVALID_SCHEMA, text).in_domain(ErrorDomain::XML))
    }
}
