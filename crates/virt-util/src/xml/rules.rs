//! What a schema says beyond its rows ([`super::shapes`]): parts that need or exclude each other, and their order.
//!
//! A [`Rule`] is a row of a table: which elements it is about, and what holds for them. [`Form`]s of values are here as well.

use super::doc::Element;
use super::findings::Findings;
use super::reader::At;

/// Conditions: an attribute of the element, its parents or a child (`@type`, `../@type`, `../../@type`, `format@type`; `@type?` may also be
/// absent) with one of these values, [`PRESENT`] or [`ABSENT`]; a child by its name with one of the latter.
pub type When = &'static [(&'static str, &'static [&'static str])];

/// In a condition: with whatever value.
pub const PRESENT: &[&str] = &["*"];
/// In a condition: not there.
pub const ABSENT: &[&str] = &[];

/// Something that must hold for certain elements.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The last steps of the path to the elements: `disk/source`, `address`.
    pub element: &'static str,
    /// What else the elements have.
    pub when: When,
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
    /// It has at most one of these.
    NotBoth(&'static [&'static str]),
    /// These children have exactly these values of this attribute, in this order.
    Sequence(&'static str, &'static str, &'static [&'static str]),
    /// Where it has the first child, it has none of the others.
    Excludes(&'static str, &'static [&'static str]),
    /// Children stand in stages: none stands behind one of a later stage.
    InOrder(&'static [&'static [&'static str]]),
    /// Each child of the first name stands right behind one of the second.
    Follows(&'static str, &'static str),
    /// It has exactly so many of these children.
    Times(&'static str, usize),
    /// No two of these children have the same value of this attribute.
    Distinct(&'static str, &'static str),
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

/// Reports what the rules do not allow in `root` and below, apart from what is in elements `metadata`, to `findings`.
pub(super) fn check(root: Element<'_>, rules: &[&[Rule]], findings: &mut Findings) {
    let by_name = ByName::of(rules.iter().flat_map(|rules| rules.iter()), |rule| rule.element);
    let mut waiting = vec![root];
    while let Some(element) = waiting.pop() {
        for rule in by_name.named(element.name()) {
            if rule.is_about(element) {
                rule.must.check(element, findings);
            }
        }
        // What users keep beside a definition is theirs.
        if element.name() == "metadata" {
            continue;
        }
        let first = waiting.len();
        waiting.extend(element.children());
        if let Some(fresh) = waiting.get_mut(first..) {
            fresh.reverse();
        }
    }
}

/// Rows of tables by the last steps of their paths, so that a document's elements are held against few of them.
pub(super) struct ByName<'t, T> {
    /// Sorted by name; rows of one name in the order of their table.
    rows: Vec<(&'static str, &'t T)>,
}

impl<'t, T> ByName<'t, T> {
    pub(super) fn of(rows: impl Iterator<Item = &'t T>, path: impl Fn(&T) -> &'static str) -> Self {
        let name = |row: &T| {
            let step = path(row).rsplit('/').next().unwrap_or_default();
            step.split_once(':').map_or(step, |(_, name)| name)
        };
        let mut rows: Vec<_> = rows.map(|row| (name(row), row)).collect();
        rows.sort_by_key(|(name, _)| *name);
        Self { rows }
    }

    /// The rows whose last step has that local name, or stands for all names.
    pub(super) fn named<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'t T> + Clone + 'n {
        let run = |name: &str| {
            let start = self.rows.partition_point(|(known, _)| *known < name);
            let end = self.rows.partition_point(|(known, _)| *known <= name);
            self.rows.get(start..end).unwrap_or_default().iter()
        };
        run("*").chain(run(name)).map(|(_, row)| *row)
    }
}

impl Rule {
    fn is_about(&self, element: Element<'_>) -> bool {
        is_at(element, self.element) && fits_when(element, self.when)
    }
}

/// Do the last steps of the path to `element` have these names?
pub(super) fn is_at(element: Element<'_>, path: &str) -> bool {
    let mut at = Some(element);
    path.rsplit('/').all(|step| match at {
        Some(here) if here.name() == step => {
            at = here.parent();
            true
        }
        _ => false,
    })
}

/// Do the conditions hold for `element`?
pub(super) fn fits_when(element: Element<'_>, when: When) -> bool {
    when.iter().all(|(part, values)| {
        let (part, may_be_absent) = match part.strip_suffix('?') {
            Some(part) => (part, true),
            None => (*part, false),
        };
        let (mut holder, mut part) = (Some(element), part);
        while let Some(rest) = part.strip_prefix("../") {
            holder = holder.and_then(|holder| holder.parent());
            part = rest;
        }
        let found = match part.split_once('@') {
            Some(("", name)) => holder.and_then(|holder| holder.attr(name)),
            Some((child, name)) => {
                let child = holder.and_then(|holder| holder.child(child));
                child.and_then(|child| child.attr(name))
            }
            None => holder
                .and_then(|holder| holder.child(part))
                .map(|child| child.text()),
        };
        match found {
            Some(_) if *values == PRESENT => true,
            Some(found) => values.contains(&found.trim_ascii()),
            None => may_be_absent || values.is_empty(),
        }
    })
}

impl Must {
    fn check(self, element: Element<'_>, findings: &mut Findings) {
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
                    findings.misfit(element, at, &text, form.says);
                }
            }
            Self::Have(parts) => {
                for part in parts.iter().filter(|part| count(element, part) == 0) {
                    findings.absent(element, at(part));
                }
            }
            Self::HaveOneOf(parts) => {
                if parts.iter().all(|part| count(element, part) == 0) {
                    findings.add(
                        element,
                        At::Text,
                        format!("one of {} is missing", list(parts)),
                        None,
                    );
                }
            }
            Self::NotHave(parts) => {
                for part in parts.iter().filter(|part| count(element, part) > 0) {
                    findings.add(
                        element,
                        at(part),
                        format!("{} does not belong here", list(&[part])),
                        None,
                    );
                }
            }
            Self::Once(parts) => {
                for part in parts.iter().filter(|part| count(element, part) > 1) {
                    findings.add(element, at(part), format!("a second {}", list(&[part])), None);
                }
            }
            Self::NotBoth(parts) => {
                let mut there = parts.iter().filter(|part| count(element, part) > 0);
                if let (Some(first), Some(second)) = (there.next(), there.next()) {
                    let what = format!("{} and {} exclude each other", list(&[first]), list(&[second]));
                    findings.add(element, at(second), what, None);
                }
            }
            Self::Sequence(name, attribute, values) => {
                let children = element.children_named(name);
                let found: Vec<_> = children.filter_map(|child| child.attr(attribute)).collect();
                if !found
                    .iter()
                    .map(|value| value.trim_ascii())
                    .eq(values.iter().copied())
                {
                    let what = format!(
                        "the values of '{attribute}' of elements '{name}' are not {}",
                        values.join(", ")
                    );
                    findings.add(element, at(name), what, None);
                }
            }
            Self::Excludes(name, others) if count(element, name) > 0 => {
                for other in others.iter().filter(|other| count(element, other) > 0) {
                    let what = format!("{} and {} exclude each other", list(&[name]), list(&[other]));
                    findings.add(element, at(other), what, None);
                }
            }
            Self::Excludes(..) => {}
            Self::InOrder(stages) => {
                let mut furthest = 0;
                for child in element.children() {
                    let is_of = |stage: &&[&str]| stage.iter().any(|name| child.is(name));
                    let Some(place) = stages.iter().position(is_of) else {
                        continue;
                    };
                    if place < furthest {
                        let what = format!("element '{}' stands too late", child.name());
                        findings.add(child, At::Text, what, None);
                    }
                    furthest = furthest.max(place);
                }
            }
            Self::Follows(name, first) => {
                let mut may_stand = false;
                for child in element.children() {
                    if child.is(name) && !std::mem::take(&mut may_stand) {
                        let what =
                            format!("element '{name}' stands where no '{first}' is right in front of it");
                        findings.add(child, At::Text, what, None);
                    }
                    may_stand = child.is(first);
                }
            }
            Self::Times(name, times) => {
                let found = count(element, name);
                if found != times {
                    let what = format!("there are {found} elements '{name}': expected {times}");
                    findings.add(element, at(name), what, None);
                }
            }
            Self::Distinct(name, attribute) => {
                let mut seen = Vec::new();
                for child in element.children_named(name) {
                    let value = child.attr(attribute);
                    if seen.contains(&value) {
                        let what = format!("a second '{name}' of this '{attribute}'");
                        findings.add(child, At::Attribute(attribute), what, None);
                    }
                    seen.push(value);
                }
            }
            Self::HaveTogether(parts) => {
                let missing = parts.iter().filter(|part| count(element, part) == 0);
                if parts.iter().any(|part| count(element, part) > 0) {
                    for part in missing {
                        findings.absent(element, at(part));
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
