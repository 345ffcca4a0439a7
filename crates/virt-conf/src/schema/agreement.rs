//! Declarations and tables are written apart: what the one knows, the other has to know too, or stand in a list here with
//! the reason. They are held against each other place by place, from the root down: names of attributes and children, and
//! the words of those that have a closed set of them.

mod exceptions;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use virt_util::xml::XmlFlags;
use virt_util::xml::rules::Form;
use virt_util::xml::schema::{Content, ElementSchema, FieldSchema, Kind, ValueSchema, VariantSchema};
use virt_util::xml::shapes::{Shape, Table};

use self::exceptions::{ALLOWED_ONLY, ANY_DEVICE, List, READ_ONLY, WORDS_ALLOWED_ONLY, WORDS_READ_ONLY};
use super::table_of;
use crate::data::FORMATS;

/// Refuses what is in none of the lists, and what stands there without need.
#[track_caller]
fn assert_listed(found: &BTreeSet<String>, lists: &[List]) {
    let listed: BTreeSet<&str> = lists.iter().flat_map(|(_, list)| list.iter().copied()).collect();
    let unlisted: Vec<&String> = found
        .iter()
        .filter(|pair| !listed.contains(pair.as_str()))
        .collect();
    let stale: Vec<&&str> = listed.iter().filter(|pair| !found.contains(**pair)).collect();
    assert!(
        unlisted.is_empty() && stale.is_empty(),
        "not listed: {unlisted:#?}, listed without need: {stale:#?}"
    );
}

/// What values there are for a part.
#[derive(Default)]
struct Values {
    declared: Vec<ValueSchema>,
    /// Words that choose what else there is.
    words: BTreeSet<&'static str>,
}

impl Values {
    fn take(&self, word: &str) -> bool {
        self.words.contains(word)
            || self.words.contains("*")
            || self.declared.iter().any(|value| value.check(word).is_ok())
    }

    /// All that are taken, if they are words.
    fn all_words(&self) -> Option<BTreeSet<&'static str>> {
        let mut words = self.words.clone();
        for value in &self.declared {
            match value {
                ValueSchema::Words(list) => words.extend(*list),
                ValueSchema::Switch(list) => words.extend(*list),
                _ => return None,
            }
        }
        (!words.contains("*")).then_some(words)
    }
}

/// One element, wherever a document has it.
#[derive(Default)]
struct Declared {
    /// Attributes, text and children by their names.
    parts: BTreeMap<String, Values>,
    /// Hand-written code decides what it holds.
    opaque: bool,
}

/// Elements by their paths.
#[derive(Default)]
struct Walk {
    elements: BTreeMap<String, Declared>,
    open: Vec<usize>,
}

impl Walk {
    fn at(&mut self, path: &str) -> &mut Declared {
        self.elements.entry(path.to_owned()).or_default()
    }

    fn element(&mut self, schema: &'static ElementSchema, path: &str) {
        let identity = std::ptr::from_ref(schema).addr();
        // What holds itself (images below images) is looked at twice.
        if self.open.iter().filter(|known| **known == identity).count() > 1 {
            self.at(path).opaque = true;
            return;
        }
        self.open.push(identity);
        self.at(path);
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, path),
            Content::Union { tag, variants } => {
                // What the parent's attribute chooses is told by the parent.
                if let Some(name) = tag.trim_start_matches("../").strip_prefix('@') {
                    let holder = match tag.starts_with("../") {
                        true => path.rsplit_once('/').map_or(path, |(parent, _)| parent),
                        false => path,
                    };
                    let words = variants.iter().map(|variant| variant.value);
                    let here = self.at(holder).parts.entry(format!("@{name}")).or_default();
                    here.words.extend(words);
                }
                for variant in *variants {
                    self.fields(variant.fields, path);
                }
            }
            Content::Value(value) => self.value(path, "text()", *value),
            Content::Opaque => self.at(path).opaque = true,
        }
        self.open.pop();
    }

    fn value(&mut self, path: &str, part: &str, value: ValueSchema) {
        let values = self.at(path).parts.entry(part.to_owned()).or_default();
        values.declared.push(value);
    }

    fn fields(&mut self, fields: &'static [FieldSchema], path: &str) {
        for field in fields {
            // Schemas are for what users write and see, not for files of drivers.
            if !field.only.is_empty() && field.only != XmlFlags::SECURE {
                continue;
            }
            if field.path == "*" {
                self.by_name(field, path);
                continue;
            }
            let mut here = path.to_owned();
            let mut last = "text()";
            for step in steps(field.path) {
                self.at(&here).parts.entry(step.to_owned()).or_default();
                last = step;
                if !step.starts_with('@') && step != "text()" {
                    here = format!("{here}/{step}");
                    self.at(&here);
                    last = "text()";
                }
            }
            match field.kind {
                Kind::Element(inside) => self.element(inside(), &here),
                Kind::Opaque => self.at(&here).opaque = true,
                Kind::Value(value) => self.value(&here, last, value),
                Kind::Flag => {}
            }
        }
    }

    /// Children of which the name says what they are.
    fn by_name(&mut self, field: &FieldSchema, path: &str) {
        let Kind::Element(inside) = field.kind else {
            self.at(path).opaque = true;
            return;
        };
        let Content::Union { variants, .. } = &inside().content else {
            self.at(path).opaque = true;
            return;
        };
        for VariantSchema { value, fields, .. } in *variants {
            if *value == "*" {
                self.at(path).opaque = true;
                continue;
            }
            self.at(path).parts.entry((*value).to_owned()).or_default();
            self.at(&format!("{path}/{value}"));
            self.fields(fields, &format!("{path}/{value}"));
        }
    }
}

/// The steps of a declared path, without the marks that say which of several children are meant.
fn steps(path: &'static str) -> impl Iterator<Item = &'static str> {
    let split = path.split('/').flat_map(|step| match step.split_once('@') {
        Some((child, _)) => [child, &step[child.len()..]],
        None => [step, ""],
    });
    split
        .map(|step| step.trim_end_matches(['+', '$']))
        .filter(|step| !step.is_empty() && *step != ".")
}

/// A table, with the rows of each path that was asked about.
struct Rows {
    by_name: BTreeMap<&'static str, Vec<&'static Shape>>,
    known: RefCell<BTreeMap<String, Allowed>>,
}

/// What a table allows in one element.
#[derive(Clone)]
struct Allowed {
    rows: Rc<[&'static Shape]>,
}

impl Rows {
    fn of(table: &'static Table) -> Self {
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in table.shapes.iter().flat_map(|rows| rows.iter()) {
            let name = row.element.rsplit('/').next().unwrap_or_default();
            by_name.entry(name).or_default().push(row);
        }
        Self {
            by_name,
            known: RefCell::default(),
        }
    }

    /// What is allowed in the element at the end of a path.
    fn at(&self, path: &str) -> Allowed {
        if let Some(known) = self.known.borrow().get(path) {
            return known.clone();
        }
        let parent = path
            .rsplit_once('/')
            .map(|(parent, name)| (self.at(parent), name));
        let is_leaf = parent.is_some_and(|(parent, name)| {
            // A child that is nothing but text has its form where it is named.
            let mut named = parent.parts().filter(|part| part.name == name).peekable();
            named.peek().is_some() && named.all(|part| part.form().is_some())
        });
        let rows = match is_leaf {
            true => Vec::new(),
            false => self.about(path),
        };
        let allowed = Allowed { rows: rows.into() };
        self.known.borrow_mut().insert(path.to_owned(), allowed.clone());
        allowed
    }

    /// The rows that are about an element: those with the longest path.
    fn about(&self, path: &str) -> Vec<&'static Shape> {
        let leads_to = |row: &Shape| {
            let mut around = path.rsplit('/');
            let mut steps = row.element.rsplit('/');
            steps.all(|step| around.next().is_some_and(|name| step == "*" || step == name))
        };
        let length = |row: &Shape| row.element.split('/').count();
        let name = path.rsplit('/').next().unwrap_or_default();
        let named = [name, "*"].into_iter().filter_map(|name| self.by_name.get(name));
        let rows: Vec<&'static Shape> = named.flatten().copied().filter(|row| leads_to(row)).collect();
        let longest = rows.iter().map(|row| length(row)).max().unwrap_or(0);
        let rows = rows.into_iter().filter(|row| length(row) == longest);
        rows.filter(|row| self.may_hold(path, row)).collect()
    }

    /// Can the conditions of a row hold that are about what is around the element?
    fn may_hold(&self, path: &str, row: &Shape) -> bool {
        row.when.iter().all(|(condition, words)| {
            let (mut at, mut part) = (path, condition.trim_end_matches('?'));
            while let Some(rest) = part.strip_prefix("../") {
                let Some((parent, _)) = at.rsplit_once('/') else {
                    return words.is_empty() || condition.ends_with('?');
                };
                (at, part) = (parent, rest);
            }
            if at == path || words.is_empty() || words.contains(&"*") || condition.ends_with('?') {
                return true;
            }
            let around = self.at(at);
            let known = around.words(part).unwrap_or_default();
            let forms = around.forms(part).unwrap_or_default();
            let open = known.is_empty() && forms.is_empty() && around.names().contains(part);
            let fits = |word: &str| known.contains(word) || forms.iter().any(|form| (form.fits)(word));
            open || words.iter().any(|word| fits(word))
        })
    }
}

impl Allowed {
    fn parts(&self) -> impl Iterator<Item = &'static virt_util::xml::shapes::Part> {
        let rows = self.rows.iter();
        rows.flat_map(|row| row.parts.iter().flat_map(|list| list.iter()))
    }

    /// Attributes of the element, and texts of children, by which rows are chosen, with the words that choose.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        let conditions = self.rows.iter().flat_map(|row| row.when.iter());
        conditions
            .map(|(path, words)| (path.trim_end_matches('?'), *words))
            .filter(|(name, _)| !name.contains('/') && name.rfind('@').is_none_or(|at| at == 0))
    }

    fn names(&self) -> BTreeSet<&'static str> {
        let parts = self.parts().map(|part| part.name);
        parts.chain(self.conditions().map(|(name, _)| name)).collect()
    }

    fn takes_anything(&self) -> bool {
        self.parts().any(|part| part.name.contains('*'))
    }

    /// The forms of a part; nothing if any value will do.
    fn forms(&self, name: &str) -> Option<Vec<Form>> {
        let forms = self
            .parts()
            .filter(|part| part.name == name)
            .map(|part| part.form());
        forms
            .map(|form| form.filter(|form| form.says != "text"))
            .collect()
    }

    /// Words by which a row is chosen; nothing if any will do.
    fn words(&self, name: &str) -> Option<BTreeSet<&'static str>> {
        let mut words = BTreeSet::new();
        for (_, list) in self.conditions().filter(|(known, _)| *known == name) {
            match list.contains(&"*") {
                true => return None,
                false => words.extend(list),
            }
        }
        Some(words)
    }
}

/// The words of a form that is nothing else.
fn words_of(form: &Form) -> Option<Vec<&'static str>> {
    match form.says {
        "'on' or 'off'" => Some(vec!["on", "off"]),
        says => {
            let list = says.strip_prefix("one of '")?.strip_suffix('\'')?;
            Some(list.split("', '").collect())
        }
    }
}

/// The last two steps of a path, for lists.
fn short(path: &str) -> &str {
    let start = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    &path[start..]
}

/// Formats with what their declarations read, and their tables.
fn formats() -> impl Iterator<Item = (&'static str, Walk, Rows)> {
    FORMATS.iter().map(|format| {
        let mut walk = Walk::default();
        for schema in (format.schemas)() {
            walk.element(schema, format.root);
        }
        let table = table_of(format.root).expect("each format has a schema");
        (format.root, walk, Rows::of(table))
    })
}

#[test]
fn what_is_read_is_allowed() {
    let mut missing = BTreeSet::new();
    for (_, walk, table) in formats() {
        let mut left_out: BTreeSet<String> = BTreeSet::new();
        for (path, element) in &walk.elements {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            if ends
                .filter_map(|end| path.get(..end))
                .any(|above| left_out.contains(above))
            {
                continue;
            }
            let allowed = table.at(path);
            if allowed.takes_anything() {
                left_out.insert(path.clone());
                continue;
            }
            let names = allowed.names();
            for part in element.parts.keys() {
                if part == "text()" || part == "*" || names.contains(part.as_str()) {
                    continue;
                }
                left_out.insert(format!("{path}/{part}"));
                if !ANY_DEVICE.contains(&part.as_str()) {
                    missing.insert(format!("{} {part}", short(path)));
                }
            }
        }
    }
    assert_listed(&missing, READ_ONLY);
}

/// Paths of elements that a table and declarations both know.
fn common(walk: &Walk, table: &Rows, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Some(element) = walk.elements.get(&path).filter(|element| !element.opaque) else {
            continue;
        };
        let allowed = table.at(&path);
        if allowed.takes_anything() {
            continue;
        }
        for name in allowed.names() {
            if !name.starts_with('@') && element.parts.contains_key(name) {
                open.push(format!("{path}/{name}"));
            }
        }
        found.push(path);
    }
    found
}

#[test]
fn what_is_allowed_is_read() {
    let mut missing = BTreeSet::new();
    for (root, walk, table) in formats() {
        for path in common(&walk, &table, root) {
            let element = &walk.elements[&path];
            for name in table.at(&path).names() {
                if name != "text()" && !element.parts.contains_key(name) {
                    missing.insert(format!("{} {name}", short(&path)));
                }
            }
        }
    }
    assert_listed(&missing, ALLOWED_ONLY);
}

#[test]
fn words_are_the_same() {
    let (mut read_only, mut allowed_only) = (BTreeSet::new(), BTreeSet::new());
    let mut count = 0;
    for (root, walk, table) in formats() {
        for path in common(&walk, &table, root) {
            let allowed = table.at(&path);
            for (name, values) in &walk.elements[&path].parts {
                // A child that is nothing but text has its form where it is named.
                let child = format!("{path}/{name}");
                let inner = table.at(&child);
                let values = match name.starts_with('@') || name == "text()" {
                    true => values,
                    false => match walk
                        .elements
                        .get(&child)
                        .and_then(|child| child.parts.get("text()"))
                    {
                        Some(values) if inner.rows.is_empty() => values,
                        _ => continue,
                    },
                };
                let (Some(forms), Some(words)) = (allowed.forms(name), allowed.words(name)) else {
                    continue;
                };
                if forms.is_empty() && words.is_empty() {
                    continue;
                }
                count += 1;
                let is_allowed =
                    |word: &str| words.contains(word) || forms.iter().any(|form| (form.fits)(word));
                for word in values.all_words().into_iter().flatten() {
                    if !is_allowed(word) {
                        read_only.insert(format!("{} {name} {word}", short(&path)));
                    }
                }
                let listed = forms.iter().filter_map(words_of).flatten();
                for word in listed.chain(words.iter().copied()) {
                    if !values.take(word) {
                        allowed_only.insert(format!("{} {name} {word}", short(&path)));
                    }
                }
            }
        }
    }
    assert!(count > 1000, "only {count} places were compared");
    assert_listed(&read_only, WORDS_READ_ONLY);
    assert_listed(&allowed_only, WORDS_ALLOWED_ONLY);
}
