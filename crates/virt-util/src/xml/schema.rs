//! What a declaration says about its XML, as data: docs, schemas and the check for unknown names are made from it.

use super::doc::{Doc, Element, Position};
use super::reader::At;
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
    /// Where it is, from the element: `@type`, `target@dev`, `devices/disk`, `text()`; empty for a flattened type.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A text of a form that the words describe.
    Form(&'static str),
}

/// Reports what [`ElementSchema`] does not know below `element` to `cx` ([`Reader::unknown`]).
pub fn check_unknown<T: XmlElement>(element: Element<'_>, cx: &mut Reader) {
    let mut known = Known::default();
    known.element(T::schema(), "", element, 0);
    known.report(element, cx, 0);
}

/// Refuses names in a document that `T`'s declarations do not know: what the VALIDATE flags of the API ask for.
///
/// # Errors
/// `XML_INVALID_SCHEMA` with place, path and suggestion for the first few.
pub fn validate<T: XmlElement>(doc: &Doc<'_>) -> Result<()> {
    let mut cx = Reader::new(XmlFlags::empty());
    check_unknown::<T>(doc.root(), &mut cx);
    let names = cx.unknown_names();
    if names.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (at, name) in names.iter().take(5).enumerate() {
        use std::fmt::Write;
        let Position { line, column } = name.position;
        let lead = if at > 0 { "; " } else { "" };
        let _ = write!(
            text,
            "{lead}{}:{line}:{column}: {}: unknown {}",
            doc.name(),
            name.path,
            name.what
        );
        if let Some(word) = name.suggestion {
            let _ = write!(text, ", did you mean '{word}'?");
        }
    }
    if names.len() > 5 {
        text.push_str("; …");
    }
    Err(VirtError::new(ErrorCode::XML_INVALID_SCHEMA, text).in_domain(ErrorDomain::XML))
}

/// What may stand in one element, gathered from all declarations that have a say in it.
#[derive(Default)]
struct Known {
    attributes: Vec<&'static str>,
    children: Vec<(&'static str, Inside)>,
    anything: bool,
}

enum Inside {
    /// The child is only a step of a path; what follows is the rest of the path and what is there.
    Path(&'static str, &'static Kind),
    /// The child is declared by a type.
    Element(fn() -> &'static ElementSchema),
    /// Only text.
    Leaf,
    /// Not known.
    Anything,
}

impl Known {
    fn element(&mut self, schema: &'static ElementSchema, _path: &str, element: Element<'_>, depth: u32) {
        if depth > 32 {
            self.anything = true;
            return;
        }
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, element, depth),
            Content::Union { tag, variants } => {
                if let Some(name) = tag.strip_prefix('@') {
                    self.attributes.push(name);
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
                        self.fields(variant.fields, element, depth);
                    }
                }
            }
            Content::Value(_) => {}
            Content::Opaque => self.anything = true,
        }
    }

    fn fields(&mut self, fields: &'static [FieldSchema], element: Element<'_>, depth: u32) {
        for field in fields {
            self.field(field.path, &field.kind, element, depth);
        }
    }

    fn field(&mut self, path: &'static str, kind: &'static Kind, element: Element<'_>, depth: u32) {
        if let Some(name) = path.strip_prefix('@') {
            if name == "*" {
                self.anything = true
            } else {
                self.attributes.push(name)
            }
            return;
        }
        let end = path.find(['/', '@']).unwrap_or(path.len());
        let (step, rest) = path.split_at(end);
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        match (step, rest) {
            ("text()", _) => {}
            ("" | ".", _) => match kind {
                Kind::Element(schema) => self.element(schema(), "", element, depth + 1),
                Kind::Value(_) | Kind::Flag => {}
                Kind::Opaque => self.anything = true,
            },
            ("*", _) => match kind {
                Kind::Element(schema) => match &schema().content {
                    Content::Union { variants, .. } => {
                        self.children.extend(
                            variants
                                .iter()
                                .map(|variant| (variant.value, Inside::Element(*schema))),
                        );
                    }
                    _ => self.anything = true,
                },
                _ => self.anything = true,
            },
            (step, "") => self.children.push((
                step,
                match kind {
                    Kind::Element(schema) => Inside::Element(*schema),
                    Kind::Value(_) | Kind::Flag => Inside::Leaf,
                    Kind::Opaque => Inside::Anything,
                },
            )),
            (step, rest) => self.children.push((step, Inside::Path(rest, kind))),
        }
    }

    fn report(&self, element: Element<'_>, cx: &mut Reader, depth: u32) {
        if depth > 512 {
            return;
        }
        for attribute in element.attributes() {
            let name = attribute.qualified_name();
            if !self.anything && !attribute.declares_namespace() && !self.attributes.contains(&name) {
                cx.unknown(element, At::Attribute(name), self.attributes.iter().copied());
            }
        }
        for child in element.children() {
            let name = child.qualified_name();
            let mut inner = Self::default();
            let mut found = false;
            for (_, inside) in self.children.iter().filter(|(known, _)| *known == name) {
                found = true;
                match inside {
                    Inside::Path(rest, kind) => inner.field(rest, kind, child, depth),
                    Inside::Element(schema) => inner.element(schema(), "", child, depth),
                    Inside::Leaf => {}
                    Inside::Anything => inner.anything = true,
                }
            }
            if !found && self.children.iter().any(|(known, _)| *known == "*") {
                continue;
            }
            if found {
                inner.report(child, cx, depth + 1);
            } else if !self.anything && child.namespace().is_none() {
                cx.unknown(
                    element,
                    At::Child(name),
                    self.children.iter().map(|(name, _)| *name),
                );
            }
        }
    }
}

/// Does `element` hold any attribute or child that `schema` names?
pub fn any_present(schema: &'static ElementSchema, element: Element<'_>) -> bool {
    let mut known = Known::default();
    known.element(schema, "", element, 0);
    known.anything
        || known.attributes.iter().any(|name| element.has_attr(name))
        || element.children().any(|child| {
            known
                .children
                .iter()
                .any(|(name, _)| *name == child.qualified_name())
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
/// `elements(T)` is for children that repeat, `"." => element(T)` for a type whose fields stand here.
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
