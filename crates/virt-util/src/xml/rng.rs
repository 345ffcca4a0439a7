//! RELAX NG made of declarations: a schema file for a format, for tools that know no other.
//!
//! What a grammar can say of a declaration is said: names, values, what must be there, the shapes of unions (also of those
//! that an attribute of the parent chooses), and of the rules those whose conditions a union's tag decides. Where the check
//! itself knows more (parts that need each other, values that must differ) the grammar is the wider one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::escape_into;
use super::rules::{Form, Must, Rule};
use super::schema::members::{Inside, Members, Part, Step, Tags};
use super::schema::{Content, ElementSchema, Kind, Occurs, ValueSchema, VariantSchema};

/// What a grammar is made of, beside the declarations.
#[derive(Clone, Copy)]
pub struct Source<'s> {
    /// Name of the root element.
    pub root: &'s str,
    /// What the declarations of the root say; several where one name stands for several kinds.
    pub schemas: &'s [&'static ElementSchema],
    /// Rules beside them.
    pub rules: &'s [Rule],
    /// Elements (the last steps of their paths) that may hold anything: tables of the check's own decide about them.
    pub loose: &'s [&'s str],
    /// The regular expression (of XML Schema) for a form; without one any text will do.
    pub pattern: &'s dyn Fn(&Form) -> Option<&'static str>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The grammar, as the text of a file.
pub fn grammar(source: &Source<'_>) -> String {
    let mut build = Build {
        source,
        defines: BTreeMap::new(),
        patterns: Vec::new(),
        prefixes: BTreeMap::new(),
    };
    let mut start = String::new();
    for schema in source.schemas {
        let path = vec![source.root];
        start.push_str(&build.element(&path, &[Item::Schema(schema)], &Assigned::new(), ""));
    }
    let mut out = String::from(
        "<?xml version=\"1.0\"?>\n<grammar xmlns=\"http://relaxng.org/ns/structure/1.0\" \
         datatypeLibrary=\"http://www.w3.org/2001/XMLSchema-datatypes\">\n",
    );
    let _ = writeln!(out, "<start><choice>{start}</choice></start>");
    for (number, pattern) in build.patterns.iter().enumerate() {
        let _ = writeln!(out, "<define name=\"e{number}\">{pattern}</define>");
    }
    let known: BTreeSet<&str> = build.prefixes.values().copied().collect();
    let known: String = known
        .iter()
        .map(|uri| format!("<nsName ns=\"{uri}\"/>"))
        .collect();
    let _ = writeln!(
        out,
        "<define name=\"foreign\"><zeroOrMore><element><anyName><except><nsName ns=\"\"/>{known}</except></anyName>\
         <ref name=\"anything\"/></element></zeroOrMore></define>\n\
         <define name=\"foreign-attributes\"><zeroOrMore><attribute><anyName><except><nsName ns=\"\"/></except></anyName>\
         </attribute></zeroOrMore></define>\n\
         <define name=\"anything\"><zeroOrMore><choice><attribute><anyName/></attribute><text/><element><anyName/>\
         <ref name=\"anything\"/></element></choice></zeroOrMore></define>\n</grammar>"
    );
    out
}

/// Words of attributes that choose shapes; nothing for one that is absent.
type Assigned = BTreeMap<&'static str, Option<&'static str>>;

/// A declaration that has a say in an element.
#[derive(Clone, Copy)]
enum Item {
    Schema(&'static ElementSchema),
    Part(Part),
    Value(ValueSchema),
    Nothing,
    Anything,
}

impl Item {
    fn of(part: &Part) -> Self {
        match part.inside() {
            Inside::Part(part) => Self::Part(part),
            Inside::Element(schema) => Self::Schema(schema()),
            Inside::Value(value) => Self::Value(value),
            Inside::Nothing => Self::Nothing,
            Inside::Anything => Self::Anything,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Schema(schema) => format!("{:p}", std::ptr::from_ref::<ElementSchema>(schema)),
            Self::Part(part) => format!("{:p}{}", std::ptr::from_ref(part.field), part.path),
            Self::Value(value) => format!("{value:?}"),
            Self::Nothing => "-".to_owned(),
            Self::Anything => "*".to_owned(),
        }
    }
}

struct ChosenTags<'a> {
    name: &'a str,
    own: &'a Assigned,
    parent: &'a Assigned,
}

impl Tags for ChosenTags<'_> {
    fn word(&self, tag: &str) -> Option<Cow<'_, str>> {
        if tag == "name()" {
            return Some(Cow::Borrowed(self.name));
        }
        let (from, name) = match tag.strip_prefix("../@") {
            Some(name) => (self.parent, name),
            None => (self.own, tag.trim_start_matches('@')),
        };
        from.get(name).copied().flatten().map(Cow::Borrowed)
    }
}

struct Build<'s> {
    source: &'s Source<'s>,
    /// Numbers of definitions, by what they are made of.
    defines: BTreeMap<String, usize>,
    patterns: Vec<String>,
    /// URIs of prefixes that were seen.
    prefixes: BTreeMap<&'static str, &'static str>,
}

/// One of the ways in which an element may be filled.
struct Shape {
    own: Assigned,
    members: Members,
}

impl Build<'_> {
    /// A reference to the element at the end of `path`.
    fn element(&mut self, path: &[&str], items: &[Item], parent: &Assigned, uri: &'static str) -> String {
        let wanted: Vec<&'static str> = items
            .iter()
            .flat_map(|item| match item {
                Item::Schema(schema) => parent_tags(schema, 0),
                _ => Vec::new(),
            })
            .map(|(name, _)| name)
            .collect();
        let tags: String = parent
            .iter()
            .filter(|(name, _)| wanted.contains(name))
            .map(|(name, word)| format!("{name}={word:?};"))
            .collect();
        // Rules look at three steps at most.
        let near = path.get(path.len().saturating_sub(3)..).unwrap_or(path).join("/");
        let items_key: Vec<String> = items.iter().map(Item::key).collect();
        let key = format!("{near} {tags} {}", items_key.join(" "));
        if let Some(number) = self.defines.get(&key) {
            return format!("<ref name=\"e{number}\"/>");
        }
        let number = self.patterns.len();
        self.defines.insert(key, number);
        self.patterns.push(String::new());
        let pattern = self.pattern(path, items, parent, uri);
        if let Some(place) = self.patterns.get_mut(number) {
            *place = pattern;
        }
        format!("<ref name=\"e{number}\"/>")
    }

    fn pattern(&mut self, path: &[&str], items: &[Item], parent: &Assigned, uri: &'static str) -> String {
        let name = path.last().copied().unwrap_or_default();
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        let mut shapes = Vec::new();
        self.shapes(name, items, parent, Assigned::new(), &mut shapes);
        let mut choices = BTreeSet::new();
        for shape in &shapes {
            choices.insert(self.content(path, shape, parent));
        }
        let content = match choices.len() {
            1 => choices.into_iter().next().unwrap_or_default(),
            _ => {
                let groups: String = choices
                    .iter()
                    .map(|choice| format!("<group>{choice}</group>"))
                    .collect();
                format!("<choice>{groups}</choice>")
            }
        };
        format!("<element name=\"{local}\" ns=\"{uri}\">{content}</element>")
    }

    /// All ways in which the tags can choose.
    fn shapes(&self, name: &str, items: &[Item], parent: &Assigned, own: Assigned, shapes: &mut Vec<Shape>) {
        let mut members = Members::default();
        let tags = ChosenTags {
            name,
            own: &own,
            parent,
        };
        for item in items {
            match item {
                Item::Schema(schema) => {
                    let of = Members::required(schema, &tags);
                    members.parts.extend(of.parts);
                    members.tags.extend(of.tags);
                    members.values.extend(of.values);
                    members.anything |= of.anything;
                }
                Item::Part(part) => members.add(Inside::Part(*part), &tags),
                Item::Value(value) => members.values.push(*value),
                Item::Nothing => {}
                Item::Anything => members.anything = true,
            }
        }
        let undecided = members.tags.iter().find(|tag| !own.contains_key(tag.attribute));
        let branch: Option<(&'static str, &'static [VariantSchema], bool)> = match undecided {
            Some(tag) => {
                let may_be_absent = !tag.required || tag.variants.iter().any(|variant| variant.default);
                Some((tag.attribute, tag.variants, may_be_absent))
            }
            // What children are chosen by.
            None => members
                .parts
                .iter()
                .filter_map(|part| match part.inside() {
                    Inside::Element(schema) => Some(parent_tags(schema(), 0)),
                    _ => None,
                })
                .flatten()
                .find(|(name, _)| !own.contains_key(name))
                .map(|(name, variants)| (name, variants, true)),
        };
        let Some((attribute, variants, may_be_absent)) = branch else {
            shapes.push(Shape { own, members });
            return;
        };
        let mut words: Vec<Option<&'static str>> =
            variants.iter().map(|variant| Some(variant.value)).collect();
        if may_be_absent {
            words.push(None);
        }
        for word in words {
            let mut own = own.clone();
            own.insert(attribute, word);
            self.shapes(name, items, parent, own, shapes);
        }
    }

    fn content(&mut self, path: &[&str], shape: &Shape, parent: &Assigned) -> String {
        let members = &shape.members;
        if members.anything || self.source.loose.iter().any(|loose| is_at(path, loose)) {
            return "<ref name=\"anything\"/>".to_owned();
        }
        let rules: Vec<Must> = self
            .source
            .rules
            .iter()
            .filter(|rule| is_at(path, rule.element) && holds(rule, &shape.own, parent))
            .map(|rule| rule.must)
            .collect();
        let has = |part: &str| {
            rules
                .iter()
                .any(|must| matches!(must, Must::Have(parts) if parts.contains(&part)))
        };
        let not = |part: &str| {
            rules
                .iter()
                .any(|must| matches!(must, Must::NotHave(parts) if parts.contains(&part)))
        };
        let once = |part: &str| {
            rules
                .iter()
                .any(|must| matches!(must, Must::Once(parts) if parts.contains(&part)))
        };
        let fit = |part: &str| {
            rules.iter().find_map(|must| match must {
                Must::Fit(at, form) if *at == part => Some(*form),
                _ => None,
            })
        };
        let mut out = String::from("<interleave><ref name=\"foreign-attributes\"/>");
        let names: BTreeSet<&'static str> = members.attribute_names().collect();
        for name in names {
            let part = format!("@{name}");
            if not(&part) {
                continue;
            }
            let mut value = match shape.own.get(name) {
                Some(None) => continue,
                Some(Some(word)) => value_pattern(word),
                None => {
                    let forms: Vec<ValueSchema> = members.forms_of(name).collect();
                    self.value(&forms)
                }
            };
            if let (Some(form), None) = (fit(&part), shape.own.get(name)) {
                value = self.value(&[ValueSchema::Form(form)]);
            }
            let required = shape.own.contains_key(name)
                || has(&part)
                || members.parts.iter().any(|other| {
                    other.required && matches!(other.step(), Step::Attribute(other) if other == name)
                });
            let attribute = format!("<attribute name=\"{name}\">{value}</attribute>");
            out.push_str(&times(attribute, required, false));
        }
        let children = self.children(path, shape, &has, &not, &once);
        let forms: Vec<ValueSchema> = members.text_forms().collect();
        if !children.is_empty() || members.takes_any_child() {
            out.push_str(&children);
            if !forms.is_empty() || members.takes_any_child() {
                out.push_str("<text/>");
            }
            out.push_str("<ref name=\"foreign\"/>");
        } else if let Some(form) = fit("text()") {
            out.push_str(&self.value(&[ValueSchema::Form(form)]));
        } else if !forms.is_empty() {
            out.push_str(&self.value(&forms));
        } else {
            out.push_str("<ref name=\"foreign\"/>");
        }
        out.push_str("</interleave>");
        out
    }

    fn children(
        &mut self,
        path: &[&str],
        shape: &Shape,
        has: &dyn Fn(&str) -> bool,
        not: &dyn Fn(&str) -> bool,
        once: &dyn Fn(&str) -> bool,
    ) -> String {
        let members = &shape.members;
        let mut out = String::new();
        let names: BTreeSet<&'static str> = members.child_names().filter(|name| *name != "*").collect();
        // What only a table knows of is there as well.
        for loose in self.source.loose {
            let (parent, name) = loose.rsplit_once('/').unwrap_or(("", loose));
            if is_at(path, parent) && !names.contains(name) {
                let inner: Vec<&str> = path.iter().copied().chain(std::iter::once(name)).collect();
                let element = self.element(&inner, &[Item::Anything], &shape.own, "");
                out.push_str(&times(element, false, true));
            }
        }
        for name in names {
            if not(name) {
                continue;
            }
            let (mut items, mut repeated, mut required, mut uri) = (Vec::new(), false, has(name), "");
            for part in members.parts_for(name) {
                items.push(Item::of(part));
                repeated |= match part.step() {
                    Step::Any => true,
                    step => {
                        step.is_last()
                            && (part.field.occurs == Occurs::Repeated
                                || matches!(part.field.kind, Kind::Opaque))
                    }
                };
                required |= part.required;
                if let Some((prefix, _)) = name.split_once(':') {
                    if !part.field.namespace.is_empty() {
                        self.prefixes.insert(prefix, part.field.namespace);
                    }
                    uri = self.prefixes.get(prefix).copied().unwrap_or_default();
                }
            }
            let inner: Vec<&str> = path.iter().copied().chain(std::iter::once(name)).collect();
            let element = self.element(&inner, &items, &shape.own, uri);
            out.push_str(&times(element, required, repeated && !once(name)));
        }
        out
    }

    fn value(&self, forms: &[ValueSchema]) -> String {
        let each: BTreeSet<String> = forms.iter().map(|form| self.one_value(form)).collect();
        if each.contains("<text/>") {
            return "<text/>".to_owned();
        }
        match each.len() {
            1 => each.into_iter().collect(),
            _ => format!("<choice>{}</choice>", each.into_iter().collect::<String>()),
        }
    }

    fn one_value(&self, form: &ValueSchema) -> String {
        let words = |words: &[&str]| {
            let values: String = words.iter().map(|word| value_pattern(word)).collect();
            format!("<choice>{values}</choice>")
        };
        match form {
            ValueSchema::Text => "<text/>".to_owned(),
            ValueSchema::Words(list) => words(list),
            ValueSchema::Switch(list) => words(&list[..]),
            ValueSchema::Decimal => "<data type=\"double\"/>".to_owned(),
            ValueSchema::Uuid => {
                pattern("[a-fA-F0-9]{32}|([a-fA-F0-9]{8}-([a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12})")
            }
            ValueSchema::Integer { min, max, .. } => format!(
                "<choice><data type=\"integer\"><param name=\"minInclusive\">{min}</param>\
                 <param name=\"maxInclusive\">{max}</param></data>{}</choice>",
                pattern("[+-]?0[xX][a-fA-F0-9]{1,16}")
            ),
            ValueSchema::Form(form) => match (self.source.pattern)(form) {
                Some(expression) => pattern(expression),
                None => match form
                    .says
                    .strip_prefix("one of '")
                    .and_then(|rest| rest.strip_suffix('\''))
                {
                    Some(list) => words(&list.split("', '").collect::<Vec<_>>()),
                    None => "<text/>".to_owned(),
                },
            },
        }
    }
}

fn pattern(expression: &str) -> String {
    let mut escaped = String::new();
    escape_into(&mut escaped, expression);
    format!("<data type=\"token\"><param name=\"pattern\">{escaped}</param></data>")
}

fn value_pattern(word: &str) -> String {
    let mut escaped = String::new();
    escape_into(&mut escaped, word);
    format!("<value>{escaped}</value>")
}

fn times(pattern: String, required: bool, repeated: bool) -> String {
    match (required, repeated) {
        (true, false) => pattern,
        (false, false) => format!("<optional>{pattern}</optional>"),
        (true, true) => format!("<oneOrMore>{pattern}</oneOrMore>"),
        (false, true) => format!("<zeroOrMore>{pattern}</zeroOrMore>"),
    }
}

/// Attributes of the parent that choose what the element is.
fn parent_tags(schema: &'static ElementSchema, depth: u32) -> Vec<(&'static str, &'static [VariantSchema])> {
    if depth > 8 {
        return Vec::new();
    }
    match &schema.content {
        Content::Union { tag, variants } => match tag.strip_prefix("../@") {
            Some(name) => vec![(name, *variants)],
            None => Vec::new(),
        },
        Content::Fields(fields) => fields
            .iter()
            .filter(|field| field.path == ".")
            .filter_map(|field| match field.kind {
                Kind::Element(schema) => Some(parent_tags(schema(), depth + 1)),
                _ => None,
            })
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

fn is_at(path: &[&str], steps: &str) -> bool {
    let steps: Vec<&str> = steps.split('/').collect();
    path.ends_with(&steps)
}

/// Is it certain that the rule's conditions hold?
fn holds(rule: &Rule, own: &Assigned, parent: &Assigned) -> bool {
    rule.when.iter().all(|(part, values)| {
        let (part, may_be_absent) = match part.strip_suffix('?') {
            Some(part) => (part, true),
            None => (*part, false),
        };
        let (from, name) = match part.strip_prefix("../@") {
            Some(name) => (parent, name),
            None => match part.strip_prefix('@') {
                Some(name) => (own, name),
                None => return false,
            },
        };
        match from.get(name) {
            Some(Some(word)) => values.contains(word) || values.contains(&"*"),
            Some(None) => may_be_absent || values.is_empty(),
            None => false,
        }
    })
}
