//! What a schema says beyond the declarations of elements: forms of values, parts that need or exclude each other.
//!
//! A [`Rule`] is a row of a table: which elements it is about, and what holds for them.

use super::doc::Element;
use super::reader::{At, Reader};
use super::value::ValueError;

/// Something that must hold for certain elements.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The last steps of the path to the elements: `disk/source`, `address`.
    pub element: &'static str,
    /// What else the elements have: an attribute (`@type`, `../@type`; `@type?` may also be absent) with one of these values.
    pub when: &'static [(&'static str, &'static [&'static str])],
    /// What holds.
    pub must: Must,
}

/// What must hold for an element.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// An attribute (`@bus`) or the text (`text()`), where present, fits.
    Fit(&'static str, Form),
    /// It has each of these: attributes (`@dev`), children, attributes of children (`source@file`).
    Have(&'static [&'static str]),
    /// It has at least one of these.
    HaveOneOf(&'static [&'static str]),
    /// It has none of these.
    NotHave(&'static [&'static str]),
    /// It has all of these or none.
    HaveTogether(&'static [&'static str]),
    /// It has each of these at most once.
    Once(&'static [&'static str]),
}

/// Which texts are right.
#[derive(Clone, Copy)]
pub struct Form {
    /// What is right, as in "expected …".
    pub says: &'static str,
    /// Is it right?
    pub fits: fn(&str) -> bool,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.says)
    }
}

/// Reports what the rules do not allow in `root` and below to `cx`.
pub(super) fn check(root: Element<'_>, rules: &[Rule], cx: &mut Reader) {
    let mut waiting = vec![root];
    while let Some(element) = waiting.pop() {
        for rule in rules {
            if rule.is_about(element) {
                rule.must.check(element, cx);
            }
        }
        let first = waiting.len();
        waiting.extend(element.children());
        if let Some(fresh) = waiting.get_mut(first..) {
            fresh.reverse();
        }
    }
}

impl Rule {
    fn is_about(&self, element: Element<'_>) -> bool {
        let mut at = Some(element);
        for step in self.element.rsplit('/') {
            match at {
                Some(here) if here.name() == step => at = here.parent(),
                _ => return false,
            }
        }
        self.when.iter().all(|(part, values)| {
            let (part, may_be_absent) = match part.strip_suffix('?') {
                Some(part) => (part, true),
                None => (*part, false),
            };
            let (holder, name) = match part.strip_prefix("../") {
                Some(part) => (element.parent(), part),
                None => (Some(element), part),
            };
            match holder.and_then(|holder| holder.attr(name.trim_start_matches('@'))) {
                Some(found) => values.contains(&&*found),
                None => may_be_absent,
            }
        })
    }
}

impl Must {
    fn check(self, element: Element<'_>, cx: &mut Reader) {
        match self {
            Self::Fit(part, form) => {
                let (at, text) = match part.strip_prefix('@') {
                    Some(name) => match element.attr(name) {
                        Some(text) => (At::Attribute(name), text),
                        None => return,
                    },
                    None => (At::Text, element.text()),
                };
                if !(form.fits)(&text) {
                    cx.wrong_value(element, at, &text, &ValueError::expected(form.says));
                }
            }
            Self::Have(parts) => {
                for part in parts.iter().filter(|part| count(element, part) == 0) {
                    cx.absent(element, at(part));
                }
            }
            Self::HaveOneOf(parts) => {
                if parts.iter().all(|part| count(element, part) == 0) {
                    cx.finding(
                        element,
                        At::Text,
                        format!("one of {} is missing", list(parts)),
                        None,
                    );
                }
            }
            Self::NotHave(parts) => {
                for part in parts.iter().filter(|part| count(element, part) > 0) {
                    cx.finding(
                        element,
                        at(part),
                        format!("{} does not belong here", list(&[part])),
                        None,
                    );
                }
            }
            Self::Once(parts) => {
                for part in parts.iter().filter(|part| count(element, part) > 1) {
                    cx.finding(element, at(part), format!("a second {}", list(&[part])), None);
                }
            }
            Self::HaveTogether(parts) => {
                let missing = parts.iter().filter(|part| count(element, part) == 0);
                if parts.iter().any(|part| count(element, part) > 0) {
                    for part in missing {
                        cx.absent(element, at(part));
                    }
                }
            }
        }
    }
}

fn at(part: &'static str) -> At<'static> {
    match part.split_once('@') {
        Some(("", name)) => At::Attribute(name),
        Some((child, _)) => At::Child(child),
        None => At::Child(part),
    }
}

fn count(element: Element<'_>, part: &str) -> usize {
    match part.split_once('@') {
        Some(("", name)) => usize::from(element.has_attr(name)),
        Some((child, name)) => element
            .children_named(child)
            .filter(|child| child.has_attr(name))
            .count(),
        None => element.children_named(part).count(),
    }
}

/// `attribute 'a', element 'b'`.
fn list(parts: &[&str]) -> String {
    let each = parts.iter().map(|part| match part.split_once('@') {
        Some(("", name)) => format!("attribute '{name}'"),
        Some((child, name)) => format!("attribute '{name}' of element '{child}'"),
        None => format!("element '{part}'"),
    });
    each.collect::<Vec<_>>().join(", ")
}
