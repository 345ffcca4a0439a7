//! Documents as data: the walk between declared types and trees of values, which JSON, YAML and the like are notations of.
//!
//! Nothing is declared for it. [`to_data`] writes a value as XML and goes through that by what the declaration says
//! ([`super::schema`]); [`xml_of`] makes an element tree of data the same way, and the one reader reads that. So defaults,
//! checks and errors are those of XML, and each field has the name that it has in the declaration:
//!
//! - An element is a map, a child or attribute in it a member. A type that is flattened, and a variant of a union, has its
//!   members there; the union's tag is a member of the attribute's name.
//! - A part that repeats is a list. In a list of mixed elements each is a map with one member: the element's name.
//! - An element that holds nothing but a value is that value.
//! - Numbers are numbers, what is `yes` or `no` (or `on`, `off`, or an element that is there or not) is true or false; all
//!   else is text. Where a number or a switch belongs, the text that XML would hold is taken as well.
//! - What no declaration describes (metadata, parts of other owners) is text: an element in XML.
//!
//! Reading data, the order of members is of no account, a member that nobody knows is an error, and null is as good as
//! absent.

mod into_xml;
mod out_of_xml;

use std::fmt;

use super::doc::Position;
use super::{Doc, DocOptions, Reader, XmlElement, XmlFlags, from_doc, to_string};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

pub use into_xml::{Built, xml_of};
pub use out_of_xml::element_to_data;

/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 256;

/// A value, and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place in the source.
    pub position: Option<Position>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// Text.
    Text(String),
    /// A word without quotes in a notation where such a word may be anything: what belongs in its place decides.
    Plain(String),
    /// A list.
    List(Vec<Node>),
    /// Members, in the order of the source.
    Map(Vec<Member>),
}

/// A named value of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub position: Option<Position>,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// What kind of value it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) | Self::Plain(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self {
            value,
            position: None,
        }
    }
}

impl Node {
    /// The member of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(members) => members
                .iter()
                .find(|member| member.name == name)
                .map(|member| &member.node),
            _ => None,
        }
    }
}

/// A document as data.
///
/// # Errors
/// `INTERNAL_ERROR` if something that was written is in no declaration.
pub fn to_data<T: XmlElement>(value: &T, flags: XmlFlags) -> Result<Node> {
    let text = to_string(value, flags);
    let doc = Doc::parse(&text)?;
    element_to_data(doc.root(), T::schema())
}

/// A document from data. Errors give the places that `node` has.
///
/// # Errors
/// `XML_ERROR` for a member that nobody knows, a value of a wrong kind, and what reading XML gives.
pub fn from_data<T: XmlElement>(node: &Node, flags: XmlFlags, options: &DocOptions<'_>) -> Result<T> {
    let built = xml_of(node, T::schema(), T::NAME, options)?;
    from_doc(&built.doc(options)?, &mut Reader::new(flags))
}

/// An error about data: name, place and path, then `what`.
#[cold]
pub fn data_error(
    options: &DocOptions<'_>,
    position: Option<Position>,
    path: &str,
    what: impl fmt::Display,
) -> VirtError {
    let place = Place(position);
    let separator = if path.is_empty() { "" } else { ": " };
    VirtError::new(
        ErrorCode::XML_ERROR,
        format_args!("{}{place}: {path}{separator}{what}", options.name),
    )
    .in_domain(ErrorDomain::XML)
}

/// `:line:column`, if they are known.
struct Place(Option<Position>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Position { line, column }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl serde::Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(text) => match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), ..) => serializer.serialize_u64(number),
                (_, Ok(number), _) => serializer.serialize_i64(number),
                (.., Ok(number)) => serializer.serialize_f64(number),
                _ => serializer.serialize_str(text),
            },
            Value::Text(text) | Value::Plain(text) => serializer.serialize_str(text),
            Value::List(list) => serializer.collect_seq(list),
            Value::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for member in members {
                    map.serialize_entry(&member.name, &member.node)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> serde::Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> serde::de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Value::Number(value.to_string()).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Value::Number(value.to_string()).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Value::Number(value.to_string()).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Value::Text(value.to_owned()).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Value::Text(value).into())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list).into())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some((name, node)) = access.next_entry()? {
            members.push(Member {
                name,
                position: None,
                node,
            });
        }
        Ok(Value::Map(members).into())
    }
}
