//! Whole schemas as tables: which attributes, children and text an element may hold where it stands.
//!
//! Declarations ([`super::schema`]) say what the *model* takes from a document, which is more than its schema allows:
//! parsing is generous. Where a format's schema is to be met exactly, a table of [`Shape`]s says the rest: one row for each
//! element and, where an attribute chooses, for each of its shapes. A document is held against the table alone.
//!
//! ```
//! use virt_util::words;
//! use virt_util::xml::{Doc, rules::Form, shapes::{Shape, Table, maybe, one, shape, validate}};
//!
//! const DIGITS: Form = Form { says: "digits", fits: |text| text.bytes().all(|byte| byte.is_ascii_digit()) };
//! const SHAPES: &[Shape] = &[
//!     shape("lamp", &[&[one("@kind"), maybe("watts").is(DIGITS), one("colour")]]),
//!     shape("lamp/colour", &[&[one("@name").is(words!("red", "green"))]]),
//! ];
//! const TABLE: Table = Table { shapes: &[SHAPES], rules: &[], namespaces: &[] };
//!
//! let doc = Doc::parse("<lamp kind='a'><colour name='red'/></lamp>")?;
//! assert_eq!(validate(doc.root(), &TABLE), Ok(()));
//! let doc = Doc::parse("<lamp kind='a'><colour name='rod'/></lamp>")?;
//! assert!(validate(doc.root(), &TABLE).unwrap_err().message().contains("one of 'red', 'green'"));
//! # Ok::<(), virt_util::VirtError>(())
//! ```

use super::doc::Element;
use super::findings::Findings;
use super::reader::At;
use super::rules::{self, ByName, Form, Rule, When, fits_when};
use super::value::nearest;
use crate::error::Result;

/// The schema of a format.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The rows, in lists that several formats may share.
    pub shapes: &'static [&'static [Shape]],
    /// What rows cannot say: parts that need or exclude each other; in lists that several formats may share.
    pub rules: &'static [&'static [Rule]],
    /// Prefixes that names in the rows have, and the namespaces that they stand for.
    pub namespaces: &'static [(&'static str, &'static str)],
}

/// What an element may hold. Of the rows whose path leads to an element those with the longest path count, and of these
/// all whose conditions hold.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The last steps of the path to the element: `source/host`; `*` for whatever name.
    pub element: &'static str,
    /// What else the element has, as in [`Rule::when`].
    pub when: When,
    /// What it may hold, in lists that several rows may share.
    pub parts: &'static [&'static [Part]],
    /// Do children stand in the order of the list?
    pub in_order: bool,
}

/// One attribute, child or text.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// `@name`, `name`, `prefix:name`, `text()`; `*` for any content whatever, `any("*")` for any children.
    pub name: &'static str,
    pub(super) times: Times,
    /// The form of the value or, of a child that is nothing but text, of its text.
    pub(super) form: Option<Form>,
}

/// How often a part stands in an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    One,
    Maybe,
    Some,
    Any,
}

/// Text of any kind.
pub const TEXT: Form = Form {
    says: "text",
    fits: |_| true,
};

/// A [`Form`] that is one of the words.
#[macro_export]
macro_rules! words {
    ($first:literal $(, $word:literal)* $(,)?) => {
        $crate::xml::rules::Form {
            says: concat!("one of '", $first, "'" $(, ", '", $word, "'")*),
            fits: |text| {
                let text: &str = text.trim_ascii();
                matches!(text, $first $(| $word)*)
            },
        }
    };
}

/// A row without conditions.
pub const fn shape(element: &'static str, parts: &'static [&'static [Part]]) -> Shape {
    Shape {
        element,
        when: &[],
        parts,
        in_order: false,
    }
}

/// A part that must be there.
pub const fn one(name: &'static str) -> Part {
    Part::new(name, Times::One)
}

/// A part that may be there.
pub const fn maybe(name: &'static str) -> Part {
    Part::new(name, Times::Maybe)
}

/// A child that is there once or more.
pub const fn some(name: &'static str) -> Part {
    Part::new(name, Times::Some)
}

/// A child that is there any number of times.
pub const fn any(name: &'static str) -> Part {
    Part::new(name, Times::Any)
}

impl Shape {
    /// The row counts only where this holds.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Children stand in the order of the list.
    #[must_use]
    pub const fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// How many steps of the row's path lead to `element`; nothing if it is about others.
    fn steps(&self, element: Element<'_>, table: &Table) -> Option<usize> {
        let mut at = Some(element);
        let mut steps = 0;
        for step in self.element.rsplit('/') {
            let here = at?;
            if !table.is_named(here, step) {
                return None;
            }
            at = here.parent();
            steps += 1;
        }
        Some(steps)
    }
}

impl Part {
    const fn new(name: &'static str, times: Times) -> Self {
        Self {
            name,
            times,
            form: None,
        }
    }

    /// The value is of this form. A child has this text and nothing else.
    #[must_use]
    pub const fn is(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// The form of the value; none where any text or, in a child, whatever its own rows say will do.
    pub const fn form(&self) -> Option<Form> {
        self.form
    }
}

/// Refuses an element, and what is in it, that the table does not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` with place, path and suggestion for the first few faults.
pub fn validate(element: Element<'_>, table: &Table) -> Result<()> {
    let mut found = Findings::default();
    check(element, table, &mut found);
    found.finish(element)
}

/// Reports what the table does not allow in `root` and below to `findings`.
fn check(root: Element<'_>, table: &Table, findings: &mut Findings) {
    let mut waiting = vec![root];
    let mut fresh = Vec::new();
    let shapes = ByName::of(table.shapes.iter().flat_map(|rows| rows.iter()), |row| {
        row.element
    });
    while let Some(element) = waiting.pop() {
        table.check_element(element, &shapes, findings, &mut fresh);
        waiting.extend(fresh.drain(..).rev());
    }
    if !table.rules.is_empty() {
        rules::check(root, table.rules, findings);
    }
}

impl Table {
    /// Checks one element; children to look at go to `inside`.
    fn check_element<'d>(
        &self,
        element: Element<'d>,
        shapes: &ByName<'static, Shape>,
        findings: &mut Findings,
        inside: &mut Vec<Element<'d>>,
    ) {
        let named = || {
            let rows = shapes.named(element.name());
            rows.filter_map(|row| row.steps(element, self).map(|steps| (row, steps)))
        };
        let longest = named().map(|(_, steps)| steps).max().unwrap_or(0);
        let named = || named().filter(|(_, steps)| *steps == longest).map(|(row, _)| row);
        let rows: Vec<&'static Shape> = named().filter(|row| fits_when(element, row.when)).collect();
        if rows.is_empty() && longest > 0 {
            report_no_shape(element, named(), findings);
            return;
        }
        let known = Known {
            rows: &rows,
            table: self,
        };
        match known.parts().find(|part| part.name == "*") {
            Some(part) if part.times == Times::Any => known.check_attributes(element, findings),
            Some(_) => return,
            None => {
                known.check_attributes(element, findings);
                known.check_children(element, findings, inside);
            }
        }
        known.check_text(element, findings);
    }

    /// Is the element called `name`? Names without a prefix are in no namespace.
    fn is_named(&self, element: Element<'_>, name: &str) -> bool {
        if name == "*" {
            return element.namespace().is_none();
        }
        match name.split_once(':') {
            Some((prefix, name)) => {
                let mut known = self.namespaces.iter();
                known.any(|(known, uri)| *known == prefix && element.is_in(uri, name))
            }
            None => element.is(name),
        }
    }
}

/// The rows that count for an element.
#[derive(Clone, Copy)]
struct Known<'r> {
    rows: &'r [&'static Shape],
    table: &'r Table,
}

impl Known<'_> {
    fn parts(&self) -> impl Iterator<Item = &'static Part> {
        self.rows
            .iter()
            .flat_map(|row| row.parts.iter().flat_map(|list| list.iter()))
    }

    fn attributes(&self) -> impl Iterator<Item = (&'static str, &'static Part)> {
        self.parts()
            .filter_map(|part| part.name.strip_prefix('@').map(|name| (name, part)))
    }

    fn children(&self) -> impl Iterator<Item = &'static Part> {
        self.parts()
            .filter(|part| !part.name.starts_with('@') && part.name != "text()")
    }

    /// Attributes that conditions look at.
    fn tags(&self) -> impl Iterator<Item = &'static str> {
        let conditions = self.rows.iter().flat_map(|row| row.when.iter());
        conditions.filter_map(|(part, _)| part.strip_prefix('@').map(|name| name.trim_end_matches('?')))
    }

    fn check_attributes(&self, element: Element<'_>, findings: &mut Findings) {
        for attribute in element.attributes() {
            if attribute.declares_namespace() {
                continue;
            }
            let name = attribute.qualified_name();
            let forms = || self.attributes().filter(|(known, _)| *known == name);
            if forms().next().is_none() {
                if !self.tags().any(|tag| tag == name) {
                    let known = self.attributes().map(|(known, _)| known).chain(self.tags());
                    findings.unknown(element, At::Attribute(name), known);
                }
                continue;
            }
            let value = attribute.value();
            if let Some(says) = misfit(forms().map(|(_, part)| part), &value) {
                findings.misfit(element, At::Attribute(name), &value, says);
            }
        }
        for (name, part) in self.attributes() {
            if part.times == Times::One && !element.has_attr(name) {
                findings.absent(element, At::Attribute(name));
            }
        }
    }

    fn check_children<'d>(
        &self,
        element: Element<'d>,
        findings: &mut Findings,
        inside: &mut Vec<Element<'d>>,
    ) {
        let in_order = self.rows.iter().any(|row| row.in_order);
        let mut furthest = 0;
        let mut seen: Vec<&'static str> = Vec::new();
        for child in element.children() {
            // In a list in order a name may stand at several places; the next one counts.
            let places = || {
                self.children()
                    .enumerate()
                    .filter(|(_, part)| self.table.is_named(child, part.name))
            };
            let place = places()
                .find(|(place, _)| !in_order || *place >= furthest)
                .or_else(|| places().next());
            let Some((place, part)) = place else {
                let known = self.children().map(|part| part.name);
                findings.unknown(element, At::Child(child.qualified_name()), known);
                continue;
            };
            if in_order && place < furthest {
                let what = format!("'{}' stands too late", part.name);
                findings.add(child, At::Text, what, None);
            }
            furthest = furthest.max(place);
            let once = matches!(part.times, Times::One | Times::Maybe);
            if once && places().count() == 1 && seen.contains(&part.name) {
                findings.add(child, At::Text, format!("a second '{}'", part.name), None);
            }
            seen.push(part.name);
            match part.form {
                Some(_) => check_leaf(child, places().map(|(_, part)| part), findings),
                None => inside.push(child),
            }
        }
        for part in self.children() {
            if matches!(part.times, Times::One | Times::Some) && !seen.contains(&part.name) {
                findings.absent(element, At::Child(part.name));
            }
        }
    }

    fn check_text(&self, element: Element<'_>, findings: &mut Findings) {
        let forms = || self.parts().filter(|part| part.name == "text()");
        let text = element.own_text();
        if forms().next().is_some() {
            if forms().any(|part| part.times == Times::Maybe) && text.trim_ascii().is_empty() {
                return;
            }
            if let Some(says) = misfit(forms(), &text) {
                findings.misfit(element, At::Text, &text, says);
            }
        } else if !text.trim_ascii().is_empty() {
            findings.add(element, At::Text, "text where none belongs".to_owned(), None);
        }
    }
}

/// Checks a child that is nothing but text.
fn check_leaf(element: Element<'_>, forms: impl Iterator<Item = &'static Part>, findings: &mut Findings) {
    if let Some(attribute) = element
        .attributes()
        .find(|attribute| !attribute.declares_namespace())
    {
        findings.unknown(
            element,
            At::Attribute(attribute.qualified_name()),
            std::iter::empty(),
        );
    }
    if let Some(child) = element.children().next() {
        findings.unknown(element, At::Child(child.qualified_name()), std::iter::empty());
    }
    let text = element.text();
    if let Some(says) = misfit(forms, &text) {
        findings.misfit(element, At::Text, &text, says);
    }
}

/// What was expected, if `text` is of none of the forms.
fn misfit<'p>(mut parts: impl Iterator<Item = &'p Part>, text: &str) -> Option<&'static str> {
    let first = parts.next()?;
    let fits = |part: &Part| part.form.is_none_or(|form| (form.fits)(text));
    if fits(first) || parts.any(fits) {
        return None;
    }
    first.form.map(|form| form.says)
}

/// Reports that the conditions of no row hold: the attribute that all of them ask for is named.
fn report_no_shape(
    element: Element<'_>,
    rows: impl Iterator<Item = &'static Shape> + Clone,
    findings: &mut Findings,
) {
    let own = |part: &'static str| {
        let part = part.trim_end_matches('?');
        (!part.starts_with("../")).then_some(part)
    };
    // The part of the element itself that no row takes as it is.
    let refuses_all = |part: &str| {
        let about = rows.clone().flat_map(|row| row.when.iter());
        let about = about.filter(|(condition, _)| own(condition) == Some(part));
        let mut about = about.peekable();
        about.peek().is_some() && about.all(|condition| !fits_when(element, std::slice::from_ref(condition)))
    };
    let conditions = || rows.clone().flat_map(|row| row.when.iter());
    let mut parts = conditions().filter_map(|(condition, _)| own(condition));
    let Some(part) = parts
        .clone()
        .find(|part| refuses_all(part))
        .or_else(|| parts.next())
    else {
        let what = format!(
            "element '{}' does not belong to what is around it",
            element.name()
        );
        findings.add(element, At::Text, what, None);
        return;
    };
    let mut words: Vec<&'static str> = Vec::new();
    for word in conditions()
        .filter(|(condition, _)| own(condition) == Some(part))
        .flat_map(|(_, values)| values.iter())
    {
        if *word != "*" && !words.contains(word) {
            words.push(word);
        }
    }
    let (element, at) = match part.split_once('@') {
        Some(("", name)) => (element, At::Attribute(name)),
        Some((child, name)) => match element.child(child) {
            Some(child) => (child, At::Attribute(name)),
            None => (element, At::Child(child)),
        },
        None => (element, At::Child(part)),
    };
    let found = match at {
        At::Attribute(name) => element.attr(name),
        _ => element.child(part).map(|child| child.text()),
    };
    let Some(found) = found else {
        findings.absent(element, at);
        return;
    };
    let what = match (at, words.is_empty()) {
        (_, true) => format!("'{part}' does not belong here"),
        (At::Attribute(name), _) => format!(
            "invalid value '{found}' of attribute '{name}': expected one of '{}'",
            words.join("', '")
        ),
        _ => format!(
            "invalid value '{found}' of element '{part}': expected one of '{}'",
            words.join("', '")
        ),
    };
    findings.add(
        element,
        at,
        what,
        nearest(found.trim_ascii(), words.iter().copied()),
    );
}

#[cfg(test)]
mod tests {
    use super::super::doc::{Doc, DocOptions};
    use super::*;
    use crate::error::ErrorCode;

    const DIGITS: Form = Form {
        says: "digits",
        fits: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
    };

    const SHAPES: &[Shape] = &[
        shape(
            "box",
            &[&[
                one("name").is(TEXT),
                maybe("size").is(DIGITS),
                any("part"),
                maybe("lid"),
                maybe("x:extra"),
            ]],
        ),
        shape("part", &[&[some("pin").is(DIGITS)]]).when(&[("@type", &["pins"])]),
        shape("part", &[&[one("first").is(TEXT), maybe("last").is(TEXT)]])
            .when(&[("@type?", &["ends"])])
            .in_order(),
        shape("lid", &[&[one("hinge")]]).when(&[("hinge@kind", &["brass"])]),
        shape("x:extra", &[&[one("*")]]),
    ];
    const TABLE: Table = Table {
        shapes: &[SHAPES],
        rules: &[],
        namespaces: &[("x", "u:x")],
    };

    #[test]
    fn a_table_is_the_whole_schema() {
        let right = [
            "<box><name>a</name></box>",
            "<box><size>4</size><name/></box>",
            "<box><name>a</name><part type='pins'><pin>1</pin><pin>2</pin></part><part><first/><last/></part></box>",
            "<box><name>a</name><x:extra xmlns:x='u:x' a='1'>b<c/></x:extra></box>",
        ];
        for source in right {
            let doc = Doc::parse(source).expect(source);
            assert_eq!(validate(doc.root(), &TABLE), Ok(()), "{source}");
        }
        let wrong = [
            ("<box/>", "missing required element 'name'"),
            ("<box a='1'><name/></box>", "unknown attribute 'a'"),
            ("<box><name/><sise>4</sise></box>", "did you mean 'size'?"),
            ("<box><name/><name/></box>", "a second 'name'"),
            ("<box><name a='1'/></box>", "unknown attribute 'a'"),
            ("<box><name/><size>x</size></box>", "expected digits"),
            ("<box><name/>text</box>", "text where none belongs"),
            (
                "<box><name/><part type='x'/></box>",
                "expected one of 'pins', 'ends'",
            ),
            (
                "<box><name/><part type='pins'/></box>",
                "missing required element 'pin'",
            ),
            (
                "<box><name/><part><last/><first/></part></box>",
                "'first' stands too late",
            ),
            ("<box><name/><extra/></box>", "unknown element 'extra'"),
            (
                "<box><name/><size>1</size><lid><hinge kind='bras'/></lid></box>",
                "/box/lid/hinge: invalid value 'bras' of attribute 'kind': expected one of 'brass', did you mean 'brass'?",
            ),
            (
                "<box><name/><lid/></box>",
                "/box/lid: missing required element 'hinge'",
            ),
        ];
        for (source, fault) in wrong {
            let doc = Doc::parse(source).expect(source);
            let error = validate(doc.root(), &TABLE).expect_err(source);
            assert!(error.message().contains(fault), "{source}: {error}");
        }
    }

    #[test]
    fn the_first_faults_are_told_with_their_places() {
        let told = |source: &str| {
            let doc = Doc::parse_with(source, &DocOptions::named("b.xml")).expect(source);
            let error = validate(doc.root(), &TABLE).expect_err(source);
            assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
            error.detail().to_owned()
        };
        assert_eq!(
            told("<box naem='1'>\n <name/><sise>4</sise></box>"),
            "b.xml:1:12: /box: unknown attribute 'naem'; \
             b.xml:2:9: /box: unknown element 'sise', did you mean 'size'?"
        );
        let many = told("<box a='' b='' c='' d='' e='' f=''><name/></box>");
        assert!(many.ends_with("unknown attribute 'e'; …"), "{many}");
        let five = told("<box a='' b='' c='' d='' e=''><name/></box>");
        assert!(five.ends_with("unknown attribute 'e'"), "{five}");
    }
}
