//! XML.
#![deny(clippy::indexing_slicing)]

mod chars;
mod doc;
mod reader;
pub mod schema;
mod tokenize;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use doc::{AttributeRef, Children, Doc, DocOptions, Element, Limits, Position};
pub use reader::{
    At, FormatFn, ParseFn, ReadFn, Reader, UnknownName, error_at, invalid_value, missing, read, write,
};
pub use schema::ElementSchema;
pub use value::{
    ValueError, XmlInteger, XmlValue, find_word, format_on_off, nearest, parse_integer, parse_on_off, push_formatted, scan_integer,
};
pub use virt_macros::{Xml, XmlEnum};
pub use writer::{Mark, Writer, escape_into, push_radix, push_signed, push_unsigned};

use crate::error::Result;

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
    fn write_nonempty(&self, w: &mut Writer, name: &str) {
        let mark = w.begin_optional(name);
        self.write_attributes(w);
        self.write_content(w);
        w.end_optional(name, mark);
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
        read::text(element, cx, T::parse_value).and_then(|value| read::required(element, At::Text, value))
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        w.text_with(|out| self.format_value(out));
    }

    fn write(&self, w: &mut Writer, name: &str) {
        w.text_element_with(name, |out| self.format_value(out));
    }

    fn write_nonempty(&self, w: &mut Writer, name: &str) {
        self.write(w, name);
    }

    fn schema() -> &'static ElementSchema {
        const {
            &ElementSchema { type_name: "", name: "", doc: "", content: schema::Content::Value(T::SCHEMA) }
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
    if !T::NAME.is_empty() && root.name() != T::NAME {
        return Err(error_at(
            root,
            At::Text,
            format_args!("expecting root element of '{}', not '{}'", T::NAME, root.name()),
        ));
    }
    T::read(root, cx)
}

/// Writes `value` as a document.
pub fn to_string<T: XmlElement>(value: &T, flags: XmlFlags) -> String {
    let mut w = Writer::new(flags);
    value.write(&mut w, T::NAME);
    w.finish()
}
