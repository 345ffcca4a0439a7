//! What a declaration says about its XML, as data: docs, schemas and the check for unknown names are made from it.

use super::doc::{Doc, Element, Position};
use super::reader::At;
use super::rules::{self, Form, Rule, is_at};
use super::shapes::{self, Table};
use super::value::ValueError;
use super::{Reader, XmlElement, XmlFlags};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// One element, as declared by one Rust type.
#[derive(Debug)]
pub struct ElementSchema {
    /// The Rust type's name.
    pub type_name: &'static str,
    /// The element's usual name; empty where only the user of the type knows it.
    pub name: &'static str,
    /// The type's doc comment.
    pub doc: &'static str,
    /// What the element may hold.
    pub content: Content,
}

/// The shape of an element.
#[derive(Debug)]
pub enum Content {
    /// Attributes and children, in canonical order.
    Fields(&'static [FieldSchema]),
    /// One of several shapes, chosen by an attribute (`@type`, `../@type`) or by the element's own name (`name()`).
    Union {
        /// What the shape is chosen by.
        tag: &'static str,
        /// The shapes.
        variants: &'static [VariantSchema],
    },
    /// Text.
    Value(ValueSchema),
    /// Hand-written code decides; nothing is known.
    Opaque,
}

/// One field of a declaration.
#[derive(Debug)]
pub struct FieldSchema {
    /// Where it is, from the element: `@type`, `target@dev`, `devices/disk`, `text()`; empty for a flattened type. A step
    /// `parameter[]` of a longer path is a child that repeats.
    pub path: &'static str,
    /// The Rust field.
    pub field: &'static str,
    /// The field's doc comment.
    pub doc: &'static str,
    /// How often it occurs.
    pub occurs: Occurs,
    /// What it is.
    pub kind: Kind,
}

/// How often a field occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurs {
    /// Exactly once.
    Required,
    /// At most once.
    Optional,
    /// Any number of times.
    Repeated,
}

/// What a field is.
#[derive(Debug)]
pub enum Kind {
    /// The value of an attribute, or text.
    Value(ValueSchema),
    /// A child element, or, where the path is empty or ends in `.`, its fields as if they were here.
    Element(fn() -> &'static ElementSchema),
    /// An element that means "yes" by being there.
    Flag,
    /// Hand-written code decides.
    Opaque,
}

/// One shape of a union.
#[derive(Debug)]
pub struct VariantSchema {
    /// The value of the tag; `*` for the variant that takes all others.
    pub value: &'static str,
    /// Is this the shape where the tag is absent?
    pub default: bool,
    /// The variant's doc comment.
    pub doc: &'static str,
    /// Its fields.
    pub fields: &'static [FieldSchema],
}

/// Which texts are values.
#[derive(Clone, Copy, Debug)]
pub enum ValueSchema {
    /// Any text.
    Text,
    /// A whole number in a range.
    Integer {
        /// The smallest.
        min: i64,
        /// The greatest.
        max: u64,
    },
    /// A number with a fraction.
    Decimal,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A UUID.
    Uuid,
    /// A text of a form.
    Form(Form),
}

/// Reports what the declarations of `T` do not allow below `element` to `cx` ([`Reader::findings`]): names that nobody
/// knows, values that are none, parts that are missing, parts that are there twice, text where none belongs.
pub fn check<T: XmlElement>(element: Element<'_>, cx: &mut Reader) {
    check_but::<T>(element, &[], cx);
}

/// Elements (the last steps of their paths) that a table decides about instead of the declarations.
pub type Instead = &'static [(&'static str, &'static Table)];

/// [`check`], but some elements, and what is in them, are held against tables.
pub fn check_but<T: XmlElement>(element: Element<'_>, instead: Instead, cx: &mut Reader) {
    let mut known = Known::default();
    known.element(T::schema(), element, true, 0);
    known.report(element, instead, cx, 0);
}

/// Refuses a document that `T`'s declarations do not allow: what the VALIDATE flags of the API ask for.
///
/// # Errors
/// `XML_INVALID_SCHEMA` with place, path and suggestion for the first few findings.
pub fn validate<T: XmlElement>(doc: &Doc<'_>) -> Result<()> {
    validate_with::<T>(doc.root(), &[])
}

/// [`validate`] for an element and what is in it, with further rules.
///
/// # Errors
/// As [`validate`].
pub fn validate_with<T: XmlElement>(element: Element<'_>, rules: &[Rule]) -> Result<()> {
    let mut cx = Reader::new(XmlFlags::empty());
    check_with::<T>(element, rules, &mut cx);
    finish_schema(element, &cx)
}

/// [`check`] with further rules.
pub fn check_with<T: XmlElement>(element: Element<'_>, rules: &[Rule], cx: &mut Reader) {
    check::<T>(element, cx);
    if !rules.is_empty() {
        rules::check(element, rules, cx);
    }
}

/// The error for what was found in the document of `element`.
///
/// # Errors
/// As [`validate`].
pub fn finish_schema(element: Element<'_>, cx: &Reader) -> Result<()> {
    let findings = cx.findings();
    if findings.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (at, finding) in findings.iter().take(5).enumerate() {
        use std::fmt::Write;
        let Position { line, column } = finding.position;
        let lead = if at > 0 { "; " } else { "" };
        let _ = write!(
            text,
            "{lead}{}:{line}:{column}: {}: {}",
            element.doc().name(),
            finding.path,
            finding.what
        );
        if let Some(word) = finding.suggestion {
            let _ = write!(text, ", did you mean '{word}'?");
        }
    }
    if findings.len() > 5 {
        text.push_str("; …");
    }
    Err(VirtError::new(ErrorCode::XML_INVALID_SCHEMA, text).in_domain(ErrorDomain::XML))
}

impl ValueSchema {
    /// Is `text` such a value? White space around it does not count.
    ///
    /// # Errors
    /// What was expected.
    pub fn check(&self, text: &str) -> Result<(), ValueError> {
        let text = text.trim_ascii();
        match *self {
            Self::Text => Ok(()),
            Self::Form(form) if (form.fits)(text) => Ok(()),
            Self::Form(form) => Err(ValueError::expected(form.says)),
            Self::Words(words) if words.contains(&text) => Ok(()),
            Self::Words(words) => Err(ValueError::words(words)),
            Self::Uuid => <uuid::Uuid as super::XmlValue>::parse_value(text).map(|_| ()),
            Self::Decimal => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(()),
                _ => Err(ValueError::expected("a number")),
            },
            Self::Integer { min, max } => {
                let negative = text.starts_with('-');
                let digits = text.trim_start_matches(['-', '+']);
                let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
                let magnitude = match hex {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                let fits = magnitude.is_ok_and(|magnitude| match negative {
                    true => i128::from(magnitude) <= -i128::from(min) || magnitude == 0,
                    false => magnitude <= max && i128::from(magnitude) >= i128::from(min),
                });
                if fits {
                    Ok(())
                } else {
                    Err(ValueError::expected(format!(
                        "a whole number from {min} to {max}"
                    )))
                }
            }
        }
    }
}

/// What may stand in one element, gathered from all declarations that have a say in it.
#[derive(Default)]
struct Known {
    /// An attribute that several declarations know may have a value of each.
    attributes: Vec<(&'static str, ValueSchema)>,
    children: Vec<Child>,
    /// What the text may be; nothing if there may be none.
    text: Vec<ValueSchema>,
    /// Attributes and children that must be there.
    required: Vec<At<'static>>,
    /// Attributes that choose a shape, and the shapes, none of which they name.
    wrong_tags: Vec<(&'static str, &'static [VariantSchema])>,
    anything: bool,
}

struct Child {
    name: &'static str,
    inside: Inside,
    repeated: bool,
}

#[derive(Clone, Copy)]
enum Inside {
    /// The child is only a step of a path; what follows is the rest of the path and what is there.
    Path(&'static FieldSchema, &'static str),
    /// The child is declared by a type.
    Element(fn() -> &'static ElementSchema),
    /// Only text.
    Leaf(ValueSchema),
    /// Nothing.
    Empty,
    /// Not known.
    Anything,
}

impl Known {
    /// Everything a declaration says of `element`. What it requires counts only if the declaration itself is `required`:
    /// a flattened type may be absent as a whole.
    fn element(&mut self, schema: &'static ElementSchema, element: Element<'_>, required: bool, depth: u32) {
        if depth > 32 {
            self.anything = true;
            return;
        }
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, element, required, depth),
            Content::Union { tag, variants } => {
                if let Some(name) = tag.strip_prefix('@') {
                    self.attributes.push((name, ValueSchema::Text));
                    self.tag(name, variants, element, required);
                }
                let value = match *tag {
                    "name()" => Some(element.name().into()),
                    tag => match tag.strip_prefix("../@") {
                        Some(name) => element.parent().and_then(|parent| parent.attr(name)),
                        None => element.attr(tag.trim_start_matches('@')),
                    },
                };
                for variant in variants.iter() {
                    let chosen = match &value {
                        Some(value) => *value == variant.value,
                        None => variant.default,
                    };
                    if chosen {
                        self.fields(variant.fields, element, required, depth);
                    }
                }
            }
            Content::Value(value) => self.text.push(*value),
            Content::Opaque => self.anything = true,
        }
    }

    /// Notes a tag that chooses nothing.
    fn tag(
        &mut self,
        name: &'static str,
        variants: &'static [VariantSchema],
        element: Element<'_>,
        required: bool,
    ) {
        match element.attr(name) {
            Some(value) if variants.iter().all(|variant| *variant.value != *value) => {
                self.wrong_tags.push((name, variants));
            }
            None if required && variants.iter().all(|variant| !variant.default) => {
                self.required.push(At::Attribute(name));
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &'static [FieldSchema], element: Element<'_>, required: bool, depth: u32) {
        for field in fields {
            let required = required && field.occurs == Occurs::Required;
            self.field(field, field.path, element, required, depth);
        }
    }

    /// What a field says of `element`, from which `path` leads to it.
    fn field(
        &mut self,
        field: &'static FieldSchema,
        path: &'static str,
        element: Element<'_>,
        required: bool,
        depth: u32,
    ) {
        if let Some(name) = path.strip_prefix('@') {
            match (name, &field.kind) {
                ("*", _) => self.anything = true,
                (name, Kind::Value(value)) => self.attributes.push((name, *value)),
                (name, _) => self.attributes.push((name, ValueSchema::Text)),
            }
            if required {
                self.required.push(At::Attribute(name));
            }
            return;
        }
        let end = path.find(['/', '@']).unwrap_or(path.len());
        let (step, rest) = path.split_at(end);
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (step, many) = match step.strip_suffix("[]") {
            Some(step) => (step, true),
            None => (step, false),
        };
        match (step, rest) {
            ("text()", _) => self.text.push(match field.kind {
                Kind::Value(value) => value,
                _ => ValueSchema::Text,
            }),
            ("" | ".", _) => match &field.kind {
                Kind::Element(schema) => self.element(schema(), element, required, depth + 1),
                Kind::Value(value) => self.text.push(*value),
                Kind::Flag => {}
                Kind::Opaque => self.anything = true,
            },
            ("*", _) => match &field.kind {
                Kind::Element(schema) => match &schema().content {
                    Content::Union { variants, .. } => {
                        self.children.extend(variants.iter().map(|variant| Child {
                            name: variant.value,
                            inside: Inside::Element(*schema),
                            repeated: true,
                        }));
                    }
                    _ => self.anything = true,
                },
                _ => self.anything = true,
            },
            (step, rest) => {
                let inside = if rest.is_empty() {
                    match &field.kind {
                        Kind::Element(schema) => Inside::Element(*schema),
                        Kind::Value(value) => Inside::Leaf(*value),
                        Kind::Flag => Inside::Empty,
                        Kind::Opaque => Inside::Anything,
                    }
                } else {
                    Inside::Path(field, rest)
                };
                self.children.push(Child {
                    name: step,
                    inside,
                    repeated: many
                        || rest.is_empty()
                            && (field.occurs == Occurs::Repeated || matches!(field.kind, Kind::Opaque)),
                });
                // A declared type may be empty as a whole.
                if required && matches!(field.kind, Kind::Value(_)) {
                    self.required.push(At::Child(step));
                }
            }
        }
    }

    fn report(&self, element: Element<'_>, instead: Instead, cx: &mut Reader, depth: u32) {
        if depth > 512 {
            return;
        }
        for attribute in element.attributes() {
            let name = attribute.qualified_name();
            if attribute.declares_namespace() || attribute.namespace().is_some() {
                continue;
            }
            let forms = || self.attributes.iter().filter(|(known, _)| *known == name);
            if forms().next().is_none() {
                if !self.anything {
                    cx.unknown(
                        element,
                        At::Attribute(name),
                        self.attributes.iter().map(|(name, _)| *name),
                    );
                }
                continue;
            }
            let value = attribute.value();
            if let Some(error) = misfit(forms().map(|(_, form)| form), &value) {
                cx.wrong_value(element, At::Attribute(name), &value, &error);
            }
        }
        for (name, variants) in &self.wrong_tags {
            let found = element.attr(name).unwrap_or_default();
            let words: Vec<String> = variants
                .iter()
                .map(|variant| format!("'{}'", variant.value))
                .collect();
            let expected = ValueError::expected(format!("one of {}", words.join(", ")));
            cx.wrong_value(element, At::Attribute(name), &found, &expected);
        }
        for part in &self.required {
            let there = match part {
                At::Attribute(name) => element.has_attr(name),
                At::Child(name) => element.child(name).is_some(),
                At::Text => true,
            };
            if !there {
                cx.absent(element, *part);
            }
        }
        self.report_children(element, instead, cx, depth);
        if !self.anything && self.children.iter().all(|child| child.name != "*") {
            self.report_text(element, cx);
        }
    }

    fn report_text(&self, element: Element<'_>, cx: &mut Reader) {
        let text = element.text();
        if self.text.is_empty() {
            if !text.trim_ascii().is_empty() && element.children().next().is_none() {
                cx.finding(element, At::Text, "text where none belongs".to_owned(), None);
            }
        } else if let Some(error) = misfit(self.text.iter(), &text) {
            cx.wrong_value(element, At::Text, &text, &error);
        }
    }

    fn report_children(&self, element: Element<'_>, instead: Instead, cx: &mut Reader, depth: u32) {
        let mut seen: Vec<&str> = Vec::new();
        for child in element.children() {
            let name = child.qualified_name();
            let mut inner = Self::default();
            let mut found = false;
            let mut repeated = false;
            for known in self.children.iter().filter(|known| known.name == name) {
                found = true;
                repeated |= known.repeated;
                match known.inside {
                    Inside::Path(field, rest) => inner.field(field, rest, child, false, depth),
                    Inside::Element(schema) => inner.element(schema(), child, true, depth),
                    Inside::Leaf(value) => inner.text.push(value),
                    Inside::Empty => {}
                    Inside::Anything => inner.anything = true,
                }
            }
            if !found && self.children.iter().any(|known| known.name == "*") {
                continue;
            }
            if found && !repeated && seen.contains(&name) {
                cx.finding(child, At::Text, format!("a second '{name}'"), None);
            }
            seen.push(name);
            if let Some((_, table)) = instead.iter().find(|(path, _)| is_at(child, path)) {
                shapes::check(child, table, cx);
            } else if found {
                inner.report(child, instead, cx, depth + 1);
            } else if !self.anything && child.namespace().is_none() {
                cx.unknown(
                    element,
                    At::Child(name),
                    self.children.iter().map(|known| known.name),
                );
            }
        }
    }
}

/// Why `text` is none of these values.
fn misfit<'s>(forms: impl Iterator<Item = &'s ValueSchema>, text: &str) -> Option<ValueError> {
    let mut first = None;
    for form in forms {
        match form.check(text) {
            Ok(()) => return None,
            Err(error) => first = first.or(Some(error)),
        }
    }
    first
}

/// Does `element` hold any attribute or child that `schema` names?
pub fn any_present(schema: &'static ElementSchema, element: Element<'_>) -> bool {
    let mut known = Known::default();
    known.element(schema, element, false, 0);
    known.anything
        || known.attributes.iter().any(|(name, _)| element.has_attr(name))
        || element.children().any(|child| {
            known
                .children
                .iter()
                .any(|known| known.name == child.qualified_name())
        })
}

/// The [`ElementSchema`] of a type whose [`XmlElement`] is written by hand; also `virt_util::xml::describe!`.
///
/// ```
/// use virt_util::xml::{ElementSchema, describe};
///
/// fn schema() -> &'static ElementSchema {
///     describe!("Range", "range", "A range of numbers." => {
///         "@from" => value(u32),
///         "@to" => value(u32),
///         "step" => element(u32),
///         "hint" => opaque,
///         "fast" => flag,
///     })
/// }
/// assert_eq!(schema().name, "range");
/// ```
///
/// `elements(T)` is for children that repeat (`"step[]@name"` if it is a step on the way), `"." => element(T)` for a type whose fields stand here.
#[macro_export]
macro_rules! describe_xml {
    ($type_name:expr, $name:expr, $doc:expr => { $($path:literal => $kind:ident $(($of:ty))?),* $(,)? }) => {{
        static SCHEMA: $crate::xml::ElementSchema = $crate::xml::ElementSchema {
            type_name: $type_name,
            name: $name,
            doc: $doc,
            content: $crate::xml::schema::Content::Fields(&[$($crate::xml::schema::FieldSchema {
                path: $path,
                field: "",
                doc: "",
                occurs: $crate::describe_xml!(@occurs $kind),
                kind: $crate::describe_xml!(@kind $kind $($of)?),
            }),*]),
        };
        &SCHEMA
    }};
    (@occurs elements) => { $crate::xml::schema::Occurs::Repeated };
    (@occurs $kind:ident) => { $crate::xml::schema::Occurs::Optional };
    (@kind value $of:ty) => { $crate::xml::schema::Kind::Value(<$of as $crate::xml::XmlValue>::SCHEMA) };
    (@kind element $of:ty) => { $crate::xml::schema::Kind::Element(<$of as $crate::xml::XmlElement>::schema) };
    (@kind elements $of:ty) => { $crate::xml::schema::Kind::Element(<$of as $crate::xml::XmlElement>::schema) };
    (@kind flag) => { $crate::xml::schema::Kind::Flag };
    (@kind opaque) => { $crate::xml::schema::Kind::Opaque };
}
