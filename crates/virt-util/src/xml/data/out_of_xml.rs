//! From elements to data.

use std::collections::HashSet;

use super::super::schema::members::{Inside, Members, Part, Step};
use super::super::schema::{ElementSchema, Occurs, ValueSchema};
use super::super::value::scan_integer;
use super::super::{Element, scan};
use super::{Member, Node, Value};
use crate::error::{Result, VirtError};

/// An element that was written by a declaration, as data.
///
/// # Errors
/// `INTERNAL_ERROR` if the element holds something that is in no declaration.
pub fn element_to_data(element: Element<'_>, schema: &'static ElementSchema) -> Result<Node> {
    let mut walk = Walk::default();
    let node = walk.declared(element, schema);
    walk.check(element)?;
    Ok(node)
}

#[derive(Default)]
struct Walk {
    /// Attributes, elements and texts that are in the data, by their addresses in the source.
    claimed: HashSet<usize>,
    /// Elements that are in the data as they are.
    whole: HashSet<usize>,
}

/// What tells an element apart.
fn identity(element: Element<'_>) -> usize {
    element.qualified_name().as_ptr() as usize
}

impl Walk {
    /// Takes something for the data; tells whether it was not yet taken.
    fn claim(&mut self, address: usize) -> bool {
        self.claimed.insert(address)
    }

    fn declared(&mut self, element: Element<'_>, schema: &'static ElementSchema) -> Node {
        let members = Members::of(schema, &element);
        if members.anything {
            return self.whole(element);
        }
        if members.parts.is_empty()
            && members.tags.is_empty()
            && let Some(value) = members.values.first()
        {
            return scalar(&element.text(), *value).into();
        }
        Value::Map(self.map(element, &members)).into()
    }

    /// An element that nobody describes.
    fn whole(&mut self, element: Element<'_>) -> Node {
        self.whole.insert(identity(element));
        Value::Text(element.outer_source().to_owned()).into()
    }

    fn map(&mut self, element: Element<'_>, members: &Members) -> Vec<Member> {
        let mut map = Vec::new();
        let mut push = |name: &str, node: Node| {
            map.push(Member {
                name: name.to_owned(),
                position: None,
                node,
            });
        };
        for &tag in &members.tags {
            if let Some(text) = self.attribute(element, tag) {
                push(tag, Value::Text(text).into());
            }
        }
        for part in &members.parts {
            if let Some(node) = self.part(element, part, members) {
                push(part.field.field, node);
            }
        }
        if let Some(value) = members.values.first() {
            let text = element.text();
            if !text.is_empty() {
                push("text", scalar(&text, *value).into());
            }
        }
        map
    }

    /// Takes the value of an attribute.
    fn attribute(&mut self, element: Element<'_>, name: &str) -> Option<String> {
        let attribute = element
            .attributes()
            .find(|attribute| attribute.qualified_name() == name)?;
        // Tabs and line ends are written as they are; only readers of XML take them for blanks.
        self.claim(attribute.qualified_name().as_ptr() as usize)
            .then(|| scan::text_of_run(attribute.raw_value(), true))
    }

    fn part(&mut self, element: Element<'_>, part: &Part, members: &Members) -> Option<Node> {
        match part.step() {
            Step::Attribute(name) => {
                let text = self.attribute(element, name)?;
                let form = match part.inside() {
                    Inside::Value(value) => value,
                    _ => ValueSchema::Text,
                };
                Some(scalar(&text, form).into())
            }
            Step::Text => {
                let text = element.text();
                if text.is_empty() || element.children().next().is_some() {
                    return None;
                }
                let form = match part.inside() {
                    Inside::Value(value) => value,
                    _ => ValueSchema::Text,
                };
                Some(scalar(&text, form).into())
            }
            Step::Any => self.mixed(element, part),
            Step::Child { name, rest } if !rest.is_empty() => {
                let child = element
                    .children()
                    .find(|child| child.qualified_name() == name && !self.is_leaf(*child))?;
                let mut inner = Members::default();
                inner.add(part.inside(), &child);
                self.claim(identity(child));
                if rest == "." {
                    return Some(Value::Map(self.map(child, &inner)).into());
                }
                inner
                    .parts
                    .first()
                    .copied()
                    .and_then(|part| self.part(child, &part, &inner))
            }
            Step::Child { name, .. } => {
                let rivals = members
                    .parts_for(name)
                    .filter(|other| other.step().is_last())
                    .count();
                let mut found = element.children().filter(|child| {
                    child.qualified_name() == name
                        && !self.claimed.contains(&identity(*child))
                        && (rivals < 2 || covers(part, *child))
                });
                if part.field.occurs == Occurs::Repeated {
                    let found: Vec<_> = found.collect();
                    let list: Vec<Node> = found.iter().map(|child| self.leaf(*child, part)).collect();
                    return (!list.is_empty()).then(|| Value::List(list).into());
                }
                let child = found.next()?;
                Some(self.leaf(child, part))
            }
        }
    }

    /// Is the element in the data as such, so that no path leads through it?
    fn is_leaf(&self, element: Element<'_>) -> bool {
        self.whole.contains(&identity(element))
    }

    fn leaf(&mut self, child: Element<'_>, part: &Part) -> Node {
        self.claim(identity(child));
        match part.inside() {
            Inside::Nothing => Value::Bool(true).into(),
            Inside::Anything | Inside::Part(_) => self.whole(child),
            Inside::Value(value) => scalar(&child.text(), value).into(),
            Inside::Element(schema) => self.declared(child, schema()),
        }
    }

    /// Children that a union by name knows, each a map with one member.
    fn mixed(&mut self, element: Element<'_>, part: &Part) -> Option<Node> {
        let choices = part.choices();
        let any = choices.iter().any(|choice| choice.value == "*");
        let Inside::Element(schema) = part.inside() else {
            return None;
        };
        let mut list = Vec::new();
        for child in element.children() {
            let name = child.qualified_name();
            let known = choices.iter().any(|choice| choice.value == name);
            if !(known || any) || !self.claim(identity(child)) {
                continue;
            }
            let (name, node) = match known {
                true => (name, self.declared(child, schema())),
                false => ("xml", self.whole(child)),
            };
            list.push(Node::from(Value::Map(vec![Member {
                name: name.to_owned(),
                position: None,
                node,
            }])));
        }
        (!list.is_empty()).then(|| Value::List(list).into())
    }

    /// Is everything in the data?
    fn check(&self, root: Element<'_>) -> Result<()> {
        let mut waiting = vec![root];
        while let Some(element) = waiting.pop() {
            if self.whole.contains(&identity(element)) {
                continue;
            }
            for attribute in element.attributes() {
                let name = attribute.qualified_name();
                if !attribute.declares_namespace() && !self.claimed.contains(&(name.as_ptr() as usize)) {
                    return Err(lost(element, &format!("attribute '{name}'")));
                }
            }
            for child in element.children() {
                if !self.claimed.contains(&identity(child)) {
                    return Err(lost(element, &format!("element '{}'", child.qualified_name())));
                }
                waiting.push(child);
            }
        }
        Ok(())
    }
}

#[cold]
fn lost(element: Element<'_>, what: &str) -> VirtError {
    VirtError::internal(format_args!(
        "{}: no declaration names the {what}",
        element.path()
    ))
}

/// Does the part know everything in the element?
fn covers(part: &Part, child: Element<'_>) -> bool {
    let mut members = Members::default();
    members.add(part.inside(), &child);
    members.anything
        || child.attributes().all(|attribute| {
            attribute.declares_namespace() || members.forms_of(attribute.qualified_name()).next().is_some()
        }) && child
            .children()
            .all(|child| members.parts_for(child.qualified_name()).next().is_some())
}

fn scalar(text: &str, form: ValueSchema) -> Value {
    let value = match form {
        ValueSchema::Switch([yes, _]) if text == *yes => Some(Value::Bool(true)),
        ValueSchema::Switch([_, no]) if text == *no => Some(Value::Bool(false)),
        ValueSchema::Integer { base, .. } => scan_integer(text, base).map(|(negative, magnitude)| {
            let sign = if negative && magnitude != 0 { "-" } else { "" };
            Value::Number(format!("{sign}{magnitude}"))
        }),
        ValueSchema::Decimal if is_number(text) => Some(Value::Number(text.to_owned())),
        _ => None,
    };
    value.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Is the text a number as JSON writes it?
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}
