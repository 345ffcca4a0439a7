//! XML: strict reading, declarations of elements, and libvirt's canonical layout.
//!
//! | what | for |
//! |---|---|
//! | [`Doc`], [`Element`] | a document that was read: an arena of offsets into the source |
//! | [`derive(Xml)`](derive@Xml), [`derive(XmlEnum)`](derive@XmlEnum) | one declaration reads, writes and describes an element |
//! | [`XmlElement`], [`XmlValue`] | what the derives implement; write them by hand where an element follows no rule |
//! | [`Reader`], [`Writer`], [`XmlFlags`] | what goes along while reading and writing |
//! | [`from_str`], [`to_string`], [`from_doc`] | whole documents |
//! | [`RawElement`], [`metadata`] | subtrees that are kept as they are |
//! | [`Rare`] | parts that take no room where nothing is said |
//! | [`identity()`] | root, type, name and UUID of a definition, without a model |
//! | [`schema`] | declarations as data: docs, JSON |
//! | [`rules`], [`shapes`] | what schemas ask for beyond declarations: single rules, and whole schemas as tables |
//!
//! Reading is pure: no file, host or driver is asked. Documents are UTF-8, have no document type declaration, and pass
//! [`Limits`]. A document that is not well formed is `XML_DETAIL`; a wrong value is `XML_ERROR`; both name
//! `file:line:column`, the second also the element's path, the value and what was allowed. What libvirt answers with
//! `CONFIG_UNSUPPORTED` is for the code that knows what is supported.
//!
//! # A worked example
//!
//! ```
//! use virt_util::xml::{self, DocOptions, Xml, XmlEnum, XmlFlags};
//!
//! #[derive(XmlEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
//! enum Bus {
//!     #[default]
//!     Ide,
//!     Virtio,
//!     #[xml("usb")]
//!     UniversalSerialBus,
//! }
//!
//! /// Where the data of a disk come from; `type='…'` of the disk tells.
//! #[derive(Xml, Clone, Debug, PartialEq)]
//! #[xml(union = "@type")]
//! enum Source {
//!     #[xml("file", default)]
//!     File {
//!         #[xml("source@file")]
//!         path: Option<String>,
//!     },
//!     #[xml("block")]
//!     Block {
//!         #[xml("source@dev")]
//!         path: String,
//!     },
//! }
//!
//! /// A disk.
//! #[derive(Xml, Clone, Debug, PartialEq)]
//! struct Disk {
//!     #[xml("@device", default = "disk".to_owned(), always)]
//!     device: String,
//!     #[xml("driver@name")]
//!     driver_name: Option<String>,
//!     #[xml("driver@discard", on_off)]
//!     discard: Option<bool>,
//!     #[xml(flatten, first)]
//!     source: Source,
//!     #[xml("target@dev")]
//!     target: String,
//!     #[xml("target@bus", default)]
//!     bus: Bus,
//!     #[xml("readonly")]
//!     read_only: bool,
//!     #[xml("alias@name", unless(inactive))]
//!     alias: Option<String>,
//! }
//!
//! let source = "\
//! <disk type='file' device='disk'>
//!   <driver name='qemu' discard='on'/>
//!   <source file='/a'/>
//!   <target dev='vda' bus='virtio'/>
//!   <readonly/>
//!   <alias name='virtio-disk0'/>
//! </disk>
//! ";
//! let disk: Disk = xml::from_str(source, XmlFlags::empty(), &DocOptions::default())?;
//! assert_eq!(disk.bus, Bus::Virtio);
//! assert_eq!(xml::to_string(&disk, XmlFlags::empty()), source);
//! // The definition for the next start has no alias.
//! assert!(!xml::to_string(&disk, XmlFlags::INACTIVE).contains("alias"));
//!
//! let error = xml::from_str::<Disk>(&source.replace("virtio'", "virto'"), XmlFlags::empty(), &DocOptions::named("a.xml"));
//! assert!(error.unwrap_err().message().ends_with("did you mean 'virtio'?"));
//! # Ok::<(), virt_util::VirtError>(())
//! ```
//!
//! # The language of `#[xml(…)]`
//!
//! **The order of fields is the order of output.** Attributes of the element are written first, in field order, then the
//! content in field order. Names that no field mentions are passed over, as libvirt does ([`shapes`] finds
//! them).
//!
//! ## Where a field is: the path
//!
//! | path | means |
//! |---|---|
//! | `"@type"` | the attribute `type` of the element |
//! | `"text()"` | the text of the element |
//! | `"serial"` | the child `<serial>`: its text if the type is a value, a whole element if the type is declared |
//! | `"target@dev"` | the attribute `dev` of the child `<target>` |
//! | `"bandwidth/inbound"`, `"a/b@c"` | further down |
//! | `"devices/*"`, `"*"` | the children that the field's `union = "name()"` type knows, mixed, in document order |
//! | `flatten`, `"driver", flatten` | the fields of the field's type stand here, or in the child `<driver>` |
//! | `"."`, `"@*"` | hand-written code (`with`) for content, for attributes |
//! | `"qemu:commandline"` | a child in a foreign namespace, whose prefix the type names with `ns` or `declare` |
//! | `skip` | not in XML: `Default` (or `default = …`) when read |
//!
//! *Neighbouring* fields whose paths go through the same child share it in the output; the child is left out if nothing is
//! written into it. Of several children of one name the first is read; a step may say otherwise:
//!
//! | step | means, of several children of one name |
//! |---|---|
//! | `"name"` | the first |
//! | `"name+"` | all of them as one: the children of each, and of attributes the first that there is; what XPath sees ([`Element::joined_child`]) |
//! | `"name$"` | the last; those before it must be right, too |
//!
//! ## What the Rust type says
//!
//! | type | read | written |
//! |---|---|---|
//! | `T` | required: its absence is an error | always; a declared type as a child: unless it comes out empty (`keep_empty` to keep it) |
//! | `T` with `default` | absent is the default | unless equal to the default (needs `PartialEq`); `always` to write it anyhow |
//! | `Option<T>` | may be absent | if it is there, even as `<a/>` (`omit_empty` to leave that out) |
//! | `Vec<T>` | every child of the name, or every known child (`*`) | each |
//! | `bool` as a child | is `<readonly/>` there? | `<readonly/>` |
//! | `bool` elsewhere, `Option<bool>` | `yes`/`no` | the same; `on_off` for `on`/`off` |
//! | `Box<T>` inside these | as `T` | as `T` |
//! | [`Rare<T>`](Rare) around these | as `T` | as `T` |
//!
//! Values are `String`, integers, `bool`, `Uuid`, [`derive(XmlEnum)`](derive@XmlEnum) types and whatever implements
//! [`XmlValue`]. A child or text that is empty counts as absent; an empty *attribute* is a value unless `nonempty` is said.
//!
//! ## Options of a field
//!
//! | option | means |
//! |---|---|
//! | `default`, `default = EXPR` | see above; `EXPR` may use fields read before |
//! | `always` | write even if equal to the default |
//! | `on_off` | `on`/`off` in place of `yes`/`no` |
//! | `format = "0x%02x"` | number format: prefix, `%`, zero-filled width, `x`, `o` or `d`; read in any of C's notations |
//! | `base = 16` | number base when read (0: C's notations) |
//! | `nonempty` | an empty attribute counts as absent |
//! | `keep_empty`, `omit_empty` | see above |
//! | `unless_empty` | a child read by hand-written code counts as absent if it has no text |
//! | `sole`, `sole = EXPR` | several children of the name are refused, with that code, before any is read |
//! | `only(status, …)`, `unless(inactive, …)` | read and written only with all, with none, of these [`XmlFlags`]; `secure` and `migratable` are about writing alone |
//! | `when = EXPR` | written if `EXPR`; it sees `self` (in a union the variant's fields) and `w: &mut Writer` |
//! | `read_when = EXPR` | read if `EXPR`; it sees `element`, `cx: &mut Reader` and fields read before |
//! | `then = EXPR` | a `Result<()>`: a check when the field has been read, before the next one is; it sees what `read_when` sees, and the field |
//! | `write_as = EXPR` | what is written in place of the field's value; same type, sees what `when` sees |
//! | `nonzero`, `min = N`, `max = N` | numbers that are refused otherwise |
//! | `code = EXPR` | the code of errors in the field that would be `XML_ERROR` |
//! | `missing = EXPR` | the same where a required field is missing, if that has a code of its own |
//! | `own`, `helper` | whether errors in an attribute are of the document's part of the system or of the helpers for XML (the usual; also where `code` is said they are the document's) |
//! | `reported_by = EXPR` | the part of the system that errors in the field are of |
//! | `expected` | an attribute that may only be absent with its element: `"gl@enable"` |
//! | `first` | attributes of a flattened type come before those of fields above it |
//! | `ghost` | a child that is read even if absent, as an element without anything in it |
//! | `union` | the child's type is a `union = "../@x"`: its tag is written here among the attributes |
//! | `with = MODULE` | hand-written: see below |
//! | `described = TYPE` | what such code reads at a child is what TYPE declares |
//! | `shape = FUNCTION` | the same, told by a function that [`describe!`](crate::describe_xml)s it |
//! | `called = "NAME"` | what JSON and docs call the field, where its own name is taken |
//! | `reads("@x": TYPE, "child", …)` | what such code reads at `"."` or `"@*"`, for docs, JSON and those who hold schemas against it (without it anything goes) |
//!
//! `with` on an attribute or text (`"@x"`, `"a@x"`, `"a/text()"`) calls `MODULE::parse(&str) -> Result<T, ValueError>` and
//! `MODULE::format(&T, &mut String)` (escape with [`escape_into`]). On a child it calls
//! `MODULE::read(Element, &mut Reader) -> Result<T>` and `MODULE::write(&T, &mut Writer, name: &'static str)`. On `"."` and `"@*"`
//! it calls `MODULE::read(Element, &mut Reader) -> Result<F>` with the element that the path leads to, and
//! `MODULE::write(&F, &mut Writer)`, where `F` is the field's whole type. Where all of an element is special, implement
//! [`XmlElement`] for its type.
//!
//! A child of type [`RawElement`] is kept whole and written by libxml2's rules; [`KeptElement`] is kept whole and written in
//! libvirt's layout. `with = virt_util::xml::metadata` is for `<metadata>` in an `Option<RawElement>`.
//!
//! ## Options of a type
//!
//! | option | means |
//! |---|---|
//! | `name = "domain"` | the element's name; otherwise the type's in `kebab-case`. Only roots and unions need it |
//! | `union = "@type"` | an enum: the attribute `type` chooses the variant, and is written first |
//! | `union = "../@type"` | the attribute `type` of the parent chooses; the parent's field says `union` to have it written |
//! | `union = "name()"` | the element's own name chooses; for `Vec`s of mixed elements |
//! | `order(a, b, …)` | these fields are read before the others, and in this order: whatever is wrong first in it is told first. Without it the order is that of output |
//! | `check = FUNCTION` | `fn(&mut T, Element, &mut Reader) -> Result<()>`, run after reading |
//! | `body` | even if empty, the element is written as two tags |
//! | `ns(q = "uri")` | makes the prefix `q:` known to the paths of the type |
//! | `declare(q = "uri")` | the same, and writes `xmlns:q='uri'` behind the attributes if any `q:` child is written |
//! | `declare_first(q = "uri")` | the same, in front of the attributes |
//! | `absent = FUNCTION` | of a struct: `fn(Element) -> bool`, whether such a child counts as absent |
//! | `code = EXPR` | the code of errors that would be `XML_ERROR`: of a struct, of those in it; of a union, of those in its tag |
//! | `missing = EXPR` | of a union: the code where its tag is missing, if another |
//! | `own` | attributes and texts are `own` unless they are `helper`; of a union, its tag too |
//! | `reported_by = EXPR` | the part of the system that errors in the type are of, where they are not a helper's |
//!
//! A union's variant is a unit, has fields with paths of their own, or holds one declared type, whose fields are then the
//! variant's. `#[xml("word", alias = "old", default)]` on a variant gives its word (otherwise the name in `kebab-case`),
//! further words that are read, and the variant taken where the tag is absent (without one the tag is required). In a union
//! by `name()` one variant may be `other`: it holds a type that takes all remaining elements, such as [`KeptElement`].
//! The derived method `xml_tag()` gives the word.
//!
//! A type with a hand-written [`XmlElement`] says what it reads with [`describe!`](crate::describe_xml), so that
//! docs and JSON stay complete.
//!
//! ## Enums of words
//!
//! [`derive(XmlEnum)`](derive@XmlEnum) on an enum without fields gives each variant a word: `kebab-case` of its name or
//! `#[xml("word")]`; `alias = "word"` is read as well; `absent` marks a variant that stands for "nothing said" and has no
//! word (make it the `#[default]` and the field `default`). The type gets `ALL`, `WORDS`, `as_str`, `from_word` and
//! `Display`; it must be `Copy`. A wrong word is answered with the list of words and the one that was probably meant.
//!
//! ## serde
//!
//! `#[derive(Serialize, Deserialize)]` stands beside [`derive(Xml)`](derive@Xml) and uses the Rust names of fields.
//! [`derive(XmlEnum)`](derive@XmlEnum) brings both by itself: JSON and YAML hold the words of XML. Kept elements are strings
//! of XML.
#![deny(clippy::indexing_slicing)]

mod chars;
pub mod data;
mod doc;
mod findings;
pub(crate) mod fuzz;
mod identity;
mod rare;
mod raw;
mod raw_format;
mod reader;
pub mod rng;
pub mod rules;
mod scan;
pub mod schema;
pub mod shapes;
mod tokenize;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::describe_xml as describe;
pub use crate::nothing;
pub use doc::{AttributeRef, Children, Doc, DocOptions, Element, Limits, Position};
pub use identity::{Identity, identity};
pub use rare::{Nothing, Rare};
pub use raw::{KeptElement, RawAttribute, RawElement, RawNode, expect_root, metadata};
pub use reader::{
    At, FormatFn, ParseFn, ReadFn, Reader, error_at, error_with, invalid_value, missing, read, recoded,
    reported_by, write,
};
pub use schema::ElementSchema;
pub use value::{
    OnOff, ValueError, XmlInteger, XmlValue, find_word, format_on_off, nearest, parse_integer,
    parse_integer_in, parse_on_off, push_formatted, scan_integer,
};
pub use virt_macros::{Xml, XmlEnum};
pub use writer::{Mark, Writer, escape_into, push_radix, push_signed, push_unsigned};

use crate::error::{ErrorDomain, Result};

// Derived code names serde through here, so that only this crate must depend on it.
#[doc(hidden)]
pub use serde;

/// Reads a value from its text in JSON, YAML and the like: what [`derive(XmlEnum)`](derive@XmlEnum) uses for serde.
///
/// # Errors
/// Not a text, or not a value: what was expected.
pub fn deserialize_value<'de, T: XmlValue, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
    T::parse_value(&text).map_err(|error| {
        serde::de::Error::custom(format_args!("invalid value '{text}': {}", error.describe(&text)))
    })
}

bitflags::bitflags! {
    /// For whom XML is read or written. Declarations name these in lower case: `only(status)`, `unless(inactive)`.
    ///
    /// No flag: the live definition of an object that runs, without secrets.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct XmlFlags: u32 {
        /// Passwords are written.
        const SECURE = 1 << 0;
        /// The definition for the next start: what belongs to a running object (ids, aliases, …) is neither read nor written.
        const INACTIVE = 1 << 1;
        /// Only what a migration to an older peer understands is written.
        const MIGRATABLE = 1 << 3;
        /// A status file: internal state is read and written.
        const STATUS = 1 << 4;
        /// The device that a network port really uses is read and written.
        const ACTUAL_NET = 1 << 5;
        /// The state in which a PCI device was before it was given away is read and written.
        const PCI_ORIG_STATES = 1 << 6;
        /// The clock's adjustment is written relative to its base.
        const CLOCK_ADJUST = 1 << 7;
        /// The file behind a storage volume is read and written.
        const VOLUME_TRANSLATED = 1 << 8;
        /// What is said to one hypervisor in its own namespace is passed over: whoever reads is another.
        const NO_NAMESPACES = 1 << 9;
    }
}

/// A type that is read from an element and written as one. Usually derived; written by hand where an element follows no
/// rule. Every [`XmlValue`] is an `XmlElement` too: an element that holds only text.
pub trait XmlElement: Sized {
    /// The usual name of the element; empty where only the user of the type knows it.
    const NAME: &'static str = "";

    /// Reads the type from `element`.
    ///
    /// # Errors
    /// `XML_ERROR` with file, line, column, path, the bad value and what was allowed.
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self>;

    /// Writes the attributes into the open start tag.
    fn write_attributes(&self, w: &mut Writer);

    /// Writes what is between the tags.
    fn write_content(&self, w: &mut Writer);

    /// Writes what the type keeps in its parent's attributes: the tag of a `union = "../@type"`.
    fn write_parent_attributes(&self, _w: &mut Writer) {}

    /// Writes the whole element as `name`.
    fn write(&self, w: &mut Writer, name: &str) {
        w.start(name);
        self.write_attributes(w);
        self.write_content(w);
        w.end(name);
    }

    /// [`XmlElement::write`], but nothing if the element would have neither attributes nor content.
    fn write_nonempty(&self, w: &mut Writer, name: &'static str) {
        let mark = match self.is_surely_something(w) {
            true => w.begin(name),
            false => w.begin_optional(name),
        };
        self.write_attributes(w);
        self.write_content(w);
        w.end_optional(name, mark);
    }

    /// Is it certain that attributes or content will be written? Found out by a short look; `false` says nothing.
    fn is_surely_something(&self, _w: &Writer) -> bool {
        false
    }

    /// What the declaration says, as data.
    fn schema() -> &'static ElementSchema;

    /// Is the element, though it exists, as good as absent? (A text element without text is.)
    fn counts_as_absent(_element: Element<'_>) -> bool {
        false
    }

    /// For flattened types: does `element` hold any part of the type?
    fn is_present(element: Element<'_>) -> bool {
        schema::any_present(Self::schema(), element)
    }

    /// For `union = "name()"`: is there a variant for this element?
    fn knows_name(_element: Element<'_>) -> bool {
        true
    }
}

impl<T: XmlValue> XmlElement for T {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let value = read::text(element, cx, T::parse_value)?;
        read::required_in(cx, element, At::Text, value)
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        w.text_with(|out| self.format_value(out));
    }

    fn write(&self, w: &mut Writer, name: &str) {
        w.text_element_with(name, |out| self.format_value(out));
    }

    fn write_nonempty(&self, w: &mut Writer, name: &'static str) {
        self.write(w, name);
    }

    fn schema() -> &'static ElementSchema {
        const {
            &ElementSchema {
                type_name: "",
                name: "",
                doc: "",
                content: schema::Content::Value(T::SCHEMA),
            }
        }
    }

    fn counts_as_absent(element: Element<'_>) -> bool {
        element.text().is_empty()
    }
}

/// Reads a whole document whose root is a `T`.
///
/// # Errors
/// `XML_DETAIL` if `source` is not well formed; `XML_ERROR` for another root element or a wrong value.
pub fn from_str<T: XmlElement>(source: &str, flags: XmlFlags, options: &DocOptions<'_>) -> Result<T> {
    let doc = Doc::parse_with(source, options)?;
    from_doc(&doc, &mut Reader::new(flags))
}

/// Reads a `T` from the root of a document.
///
/// # Errors
/// `XML_ERROR` for another root element or a wrong value.
pub fn from_doc<T: XmlElement>(doc: &Doc<'_>, cx: &mut Reader) -> Result<T> {
    let root = doc.root();
    if !T::NAME.is_empty() {
        check_root(root, T::NAME)?;
    }
    T::read(root, cx)
}

/// Refuses a root element of another name.
///
/// # Errors
/// `XML_ERROR`.
pub fn check_root(root: Element<'_>, name: &str) -> Result<()> {
    if root.name() == name {
        return Ok(());
    }
    let what = format_args!("found <{}>, expected <{name}>", root.name());
    Err(error_at(root, At::Text, what).in_domain(ErrorDomain::XML))
}

/// Writes `value` as a document.
pub fn to_string<T: XmlElement>(value: &T, flags: XmlFlags) -> String {
    let mut w = Writer::new(flags);
    value.write(&mut w, T::NAME);
    w.finish()
}
