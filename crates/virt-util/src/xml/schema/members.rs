//! What may stand in one element: all declarations that have a say in it, put together.
//!
//! A type may be flattened into another, and a union has the fields of the variant that its tag chooses. [`Members`] is what
//! comes of that for one element: a list of parts. The walk to and from JSON goes by it.

use std::borrow::Cow;

use super::super::Element;
use super::{Content, ElementSchema, FieldSchema, Kind, ValueSchema, VariantSchema};

/// Deepest nesting of types that are flattened into each other.
const MAX_DEPTH: u32 = 32;

/// Knows what unions are chosen by.
pub(in super::super) trait Tags {
    /// The word of a tag: `@name`, `../@name`, `name()`.
    fn word(&self, tag: &str) -> Option<Cow<'_, str>>;
}

impl Tags for Element<'_> {
    fn word(&self, tag: &str) -> Option<Cow<'_, str>> {
        match tag.strip_prefix("../@") {
            _ if tag == "name()" => Some(Cow::Borrowed(self.name())),
            Some(name) => self.parent().and_then(|parent| parent.attr(name)),
            None => self.attr(tag.trim_start_matches('@')),
        }
    }
}

/// What may stand in one element.
#[derive(Default)]
pub(in super::super) struct Members {
    /// In canonical order.
    pub parts: Vec<Part>,
    /// Attributes that choose shapes.
    pub tags: Vec<&'static str>,
    /// What the text may be, of types that are only a value.
    pub values: Vec<ValueSchema>,
    /// Hand-written code decides about the rest.
    pub anything: bool,
}

/// A field, and the way to it from the element.
#[derive(Clone, Copy)]
pub(in super::super) struct Part {
    pub field: &'static FieldSchema,
    pub path: &'static str,
}

/// The first step of a part's path.
#[derive(Clone, Copy)]
pub(in super::super) enum Step {
    Attribute(&'static str),
    Text,
    /// `*`: children that a union by name knows.
    Any,
    /// `rest` is empty, `.`, or a path.
    Child {
        name: &'static str,
        rest: &'static str,
    },
}

/// What is in a child.
#[derive(Clone, Copy)]
pub(in super::super) enum Inside {
    /// The rest of a path.
    Part(Part),
    Element(fn() -> &'static ElementSchema),
    /// Only text.
    Value(ValueSchema),
    Nothing,
    Anything,
}

impl Step {
    /// Does the path end here?
    pub fn is_last(self) -> bool {
        match self {
            Self::Child { rest, .. } => rest.is_empty(),
            _ => true,
        }
    }
}

impl Part {
    pub fn step(&self) -> Step {
        if let Some(name) = self.path.strip_prefix('@') {
            return Step::Attribute(name);
        }
        match self.path {
            "text()" => Step::Text,
            "*" => Step::Any,
            path => {
                let end = path.find(['/', '@']).unwrap_or(path.len());
                let (name, rest) = path.split_at(end);
                let rest = rest.strip_prefix('/').unwrap_or(rest);
                Step::Child { name, rest }
            }
        }
    }

    /// What is in the child that the first step leads to.
    pub fn inside(&self) -> Inside {
        match self.step() {
            Step::Child { rest, .. } if !rest.is_empty() => Inside::Part(Self {
                field: self.field,
                path: rest,
            }),
            _ => match self.field.kind {
                Kind::Element(schema) => Inside::Element(schema),
                Kind::Value(value) => Inside::Value(value),
                Kind::Flag => Inside::Nothing,
                Kind::Opaque => Inside::Anything,
            },
        }
    }

    /// The elements that a `*` is for.
    pub fn choices(&self) -> &'static [VariantSchema] {
        match self.field.kind {
            Kind::Element(schema) => match schema().content {
                Content::Union { variants, .. } => variants,
                _ => &[],
            },
            _ => &[],
        }
    }
}

impl Members {
    /// Everything that `schema` says of an element.
    pub fn of(schema: &'static ElementSchema, tags: &dyn Tags) -> Self {
        let mut members = Self::default();
        members.element(schema, tags, 0);
        members
    }

    /// Adds what is in an element.
    pub fn add(&mut self, inside: Inside, tags: &dyn Tags) {
        match inside {
            Inside::Part(part) => self.part(part, tags, 0),
            Inside::Element(schema) => self.element(schema(), tags, 0),
            Inside::Value(value) => self.values.push(value),
            Inside::Nothing => {}
            Inside::Anything => self.anything = true,
        }
    }

    fn element(&mut self, schema: &'static ElementSchema, tags: &dyn Tags, depth: u32) {
        if depth > MAX_DEPTH {
            self.anything = true;
            return;
        }
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, tags, depth),
            Content::Union { tag, variants } => {
                if let Some(attribute) = tag.strip_prefix('@') {
                    self.tags.push(attribute);
                }
                let word = tags.word(tag);
                for variant in variants.iter() {
                    let chosen = match &word {
                        Some(word) => *word == variant.value,
                        None => variant.default,
                    };
                    if chosen {
                        self.fields(variant.fields, tags, depth);
                    }
                }
            }
            Content::Value(value) => self.values.push(*value),
            Content::Opaque => self.anything = true,
        }
    }

    fn fields(&mut self, fields: &'static [FieldSchema], tags: &dyn Tags, depth: u32) {
        self.parts.reserve(fields.len());
        for field in fields {
            let part = Part {
                field,
                path: field.path,
            };
            self.part(part, tags, depth);
        }
    }

    fn part(&mut self, part: Part, tags: &dyn Tags, depth: u32) {
        match (part.path, part.field.kind) {
            ("." | "@*", Kind::Element(schema)) => self.element(schema(), tags, depth + 1),
            ("." | "@*", Kind::Flag) => {}
            ("." | "@*", Kind::Opaque) | ("@*" | "*", Kind::Value(_)) | ("*", Kind::Flag | Kind::Opaque) => {
                self.anything = true;
            }
            (".", Kind::Value(value)) => self.values.push(value),
            _ => self.parts.push(part),
        }
    }

    /// What an attribute may hold.
    pub fn forms_of(&self, name: &str) -> impl Iterator<Item = ValueSchema> {
        let tag = self.tags.iter().find(|tag| **tag == name);
        let parts = self.parts.iter().filter_map(move |part| match part.step() {
            Step::Attribute(attribute) if attribute == name => Some(match part.field.kind {
                Kind::Value(value) => value,
                _ => ValueSchema::Text,
            }),
            _ => None,
        });
        tag.map(|_| ValueSchema::Text).into_iter().chain(parts)
    }

    /// Parts that say something of children called `name`.
    pub fn parts_for(&self, name: &str) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| match part.step() {
            Step::Child { name: child, .. } => child == name,
            Step::Any => part.choices().iter().any(|choice| choice.value == name),
            _ => false,
        })
    }

    /// The names of attributes.
    pub fn attribute_names(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.parts.iter().filter_map(|part| match part.step() {
            Step::Attribute(name) => Some(name),
            _ => None,
        });
        self.tags.iter().copied().chain(parts)
    }
}
