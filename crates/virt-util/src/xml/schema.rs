//! What a declaration says about its XML, as data: docs and JSON are made from it, and tables of schemas are held against it.
//!
//! The types here are what a declaration says. What they come to in one element is put together by `members`, for the walk
//! to and from JSON ([`super::data`]). Whether a schema allows a document is for tables to say ([`super::shapes`]).

pub(super) mod members;

use super::rules::Form;
use super::value::ValueError;
use super::{Element, XmlFlags};

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
#[derive(Clone, Copy, Debug)]
pub struct FieldSchema {
    /// Where it is, from the element: `@type`, `target@dev`, `devices/disk`, `text()`; `.` for a flattened type.
    pub path: &'static str,
    /// The Rust field. JSON and the like call it so, too.
    pub field: &'static str,
    /// The field's doc comment.
    pub doc: &'static str,
    /// How often it occurs.
    pub occurs: Occurs,
    /// What it is.
    pub kind: Kind,
    /// What its absence means, as text; empty where nothing is said.
    pub default: &'static str,
    /// It is only read and written with all of these flags.
    pub only: XmlFlags,
    /// It is neither read nor written with any of these flags.
    pub unless: XmlFlags,
    /// The URI of the namespace that the prefix of the path's last step stands for.
    pub namespace: &'static str,
}

impl FieldSchema {
    /// A field about which nothing is said yet.
    pub const UNSAID: Self = Self {
        path: ".",
        field: "",
        doc: "",
        occurs: Occurs::Optional,
        kind: Kind::Opaque,
        default: "",
        only: XmlFlags::empty(),
        unless: XmlFlags::empty(),
        namespace: "",
    };
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
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The value of an attribute, or text.
    Value(ValueSchema),
    /// A child element, or, where the path ends in `.`, its fields as if they were here.
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
        /// The base it is read in; 0 for C's notations.
        base: u32,
    },
    /// Yes or no: the words for both.
    Switch(&'static [&'static str; 2]),
    /// A number with a fraction.
    Decimal,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A UUID.
    Uuid,
    /// A text of a form.
    Form(Form),
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
            Self::Switch(words) if words.contains(&text) => Ok(()),
            Self::Switch(words) => Err(ValueError::words(words)),
            Self::Uuid => <uuid::Uuid as super::XmlValue>::parse_value(text).map(|_| ()),
            Self::Decimal => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(()),
                _ => Err(ValueError::expected("a number")),
            },
            Self::Integer { max, base: 8, .. } => match u64::from_str_radix(text, 8) {
                Ok(number) if number <= max => Ok(()),
                _ => Err(ValueError::expected(format!("an octal number from 0 to {max:o}"))),
            },
            Self::Integer { min, max, .. } => {
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

/// Does `element` hold any attribute or child that `schema` names?
pub fn any_present(schema: &'static ElementSchema, element: Element<'_>) -> bool {
    let known = members::Members::of(schema, &element);
    known.anything
        || known.attribute_names().any(|name| element.has_attr(name))
        || element
            .children()
            .any(|child| known.parts_for(child.qualified_name()).next().is_some())
}

/// The [`ElementSchema`] of a type whose [`XmlElement`](super::XmlElement) is written by hand; also `virt_util::xml::describe!`.
///
/// ```
/// use virt_util::xml::{ElementSchema, describe};
///
/// fn schema() -> &'static ElementSchema {
///     describe!("Range", "range", "A range of numbers." => {
///         /// The first number.
///         "@from" => from: value(u32),
///         /// The last number.
///         "@to" => to: value(u32),
///         /// How far apart two of them are.
///         "step" => step: element(u32),
///         /// Numbers that are left out.
///         "except" => except: elements {
///             /// The number.
///             "@number" => number: value(u32),
///         },
///         /// Whether the order is of no account.
///         "unordered" => unordered: flag,
///     })
/// }
/// assert_eq!(schema().name, "range");
/// ```
///
/// `element` and `elements` (which repeat) are followed by a type in parentheses or a description in braces; `"."` stands for a
/// type or description whose fields are here. `shape(FUNCTION)` is an element that another function describes. Of `opaque`
/// parts nothing is known; `on_off` is an attribute with these words. `describe!(union "@type", …)` describes a union: its rows are words with the fields of their variants.
#[macro_export]
macro_rules! describe_xml {
    (union $tag:literal, $type_name:expr, $name:expr, $doc:expr => {
        $($(#[doc = $of:expr])* $word:literal => { $($fields:tt)* }),* $(,)?
    }) => {{
        static SCHEMA: $crate::xml::ElementSchema = $crate::xml::ElementSchema {
            type_name: $type_name,
            name: $name,
            doc: $doc,
            content: $crate::xml::schema::Content::Union {
                tag: $tag,
                variants: &[$($crate::xml::schema::VariantSchema {
                    value: $word,
                    default: false,
                    doc: concat!($($of),*),
                    fields: $crate::describe_xml!(@fields $($fields)*),
                }),*],
            },
        };
        &SCHEMA
    }};
    ($type_name:expr, $name:expr, $doc:expr => { $($fields:tt)* }) => {{
        static SCHEMA: $crate::xml::ElementSchema = $crate::xml::ElementSchema {
            type_name: $type_name,
            name: $name,
            doc: $doc,
            content: $crate::xml::schema::Content::Fields(
                $crate::describe_xml!(@fields $($fields)*)
            ),
        };
        &SCHEMA
    }};
    (@fields $($(#[doc = $doc:expr])* $path:literal => $field:ident: $kind:ident $(($($of:tt)*))? $({ $($inner:tt)* })?),* $(,)?) => {
        &[$($crate::xml::schema::FieldSchema {
            path: $path,
            field: stringify!($field),
            doc: concat!($($doc),*),
            occurs: $crate::describe_xml!(@occurs $kind),
            kind: $crate::describe_xml!(@kind $kind $(($($of)*))? $({ $($inner)* })?),
            ..$crate::xml::schema::FieldSchema::UNSAID
        }),*]
    };
    (@occurs elements) => { $crate::xml::schema::Occurs::Repeated };
    (@occurs shapes) => { $crate::xml::schema::Occurs::Repeated };
    (@occurs opaques) => { $crate::xml::schema::Occurs::Repeated };
    (@occurs $kind:ident) => { $crate::xml::schema::Occurs::Optional };
    (@kind value ($of:ty)) => { $crate::xml::schema::Kind::Value(<$of as $crate::xml::XmlValue>::SCHEMA) };
    (@kind element ($of:ty)) => { $crate::xml::schema::Kind::Element(<$of as $crate::xml::XmlElement>::schema) };
    (@kind elements ($of:ty)) => { $crate::xml::schema::Kind::Element(<$of as $crate::xml::XmlElement>::schema) };
    (@kind shape ($of:expr)) => { $crate::xml::schema::Kind::Element($of) };
    (@kind shapes ($of:expr)) => { $crate::xml::schema::Kind::Element($of) };
    (@kind element { $($inner:tt)* }) => {
        $crate::xml::schema::Kind::Element(|| $crate::describe_xml!("", "", "" => { $($inner)* }))
    };
    (@kind elements { $($inner:tt)* }) => {
        $crate::xml::schema::Kind::Element(|| $crate::describe_xml!("", "", "" => { $($inner)* }))
    };
    (@kind on_off) => { $crate::xml::schema::Kind::Value($crate::xml::schema::ValueSchema::Switch(&["on", "off"])) };
    (@kind flag) => { $crate::xml::schema::Kind::Flag };
    (@kind opaque) => { $crate::xml::schema::Kind::Opaque };
    (@kind opaques) => { $crate::xml::schema::Kind::Opaque };
}
