//! Reading declared types from elements: the context, and the functions that derived code calls.
//!
//! Derived code is a list of calls into [`read`] and [`mod@write`]; the loops, lookups and errors are here, once.

use super::doc::Element;
use super::value::ValueError;
use super::{XmlElement, XmlFlags};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// What goes along while a document is read: flags, and what was noticed on the way.
#[derive(Debug, Default)]
pub struct Reader {
    flags: XmlFlags,
    /// Errors that were put aside; `None` stops at the first.
    collected: Option<Vec<VirtError>>,
    surroundings: Option<Box<dyn std::any::Any>>,
}

/// Which part of an element is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At<'n> {
    /// The attribute of that name.
    Attribute(&'n str),
    /// The text.
    Text,
    /// The child of that name.
    Child(&'n str),
}

/// Most errors that are put aside.
const MAX_COLLECTED: usize = 1000;

impl Reader {
    /// A reader that stops at the first error.
    pub fn new(flags: XmlFlags) -> Self {
        Self {
            flags,
            ..Self::default()
        }
    }

    /// A reader that puts wrong optional values aside and goes on, so that all of them can be told at once
    /// ([`Reader::take_errors`]). A missing required part still ends reading.
    pub fn collecting(flags: XmlFlags) -> Self {
        Self {
            flags,
            collected: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Tells this reader what a document of the kind cannot be judged without, and does not say: of a volume, its pool.
    pub fn among(mut self, surroundings: impl std::any::Any) -> Self {
        self.surroundings = Some(Box::new(surroundings));
        self
    }

    /// What [`Reader::among`] told.
    pub fn surroundings<T: std::any::Any>(&self) -> Option<&T> {
        self.surroundings.as_ref()?.downcast_ref()
    }

    /// Does this reader put errors aside and go on?
    pub fn collects(&self) -> bool {
        self.collected.is_some()
    }

    /// What is being read.
    pub fn flags(&self) -> XmlFlags {
        self.flags
    }

    /// Are all of `flags` set?
    pub fn has(&self, flags: XmlFlags) -> bool {
        self.flags.contains(flags)
    }

    /// Fails with `error`, or puts it aside if this reader collects.
    ///
    /// # Errors
    /// `error`, unless it was put aside.
    #[cold]
    pub fn fail(&mut self, error: VirtError) -> Result<()> {
        match &mut self.collected {
            Some(_) if is_told(&error) => Ok(()),
            Some(errors) if errors.len() < MAX_COLLECTED => {
                errors.push(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Fails with `error` like [`Reader::fail`] where a part could not be read; it then counts as absent.
    #[cold]
    fn leave_out<T>(&mut self, error: VirtError) -> Result<Option<T>> {
        self.fail(error).map(|()| None)
    }

    /// The errors that were put aside, and the one that ended reading.
    pub fn take_errors_and(&mut self, last: Option<VirtError>) -> Vec<VirtError> {
        let mut errors = self.take_errors();
        errors.extend(last.filter(|error| !is_told(error) || errors.is_empty()));
        errors
    }

    /// The errors that were put aside.
    pub fn take_errors(&mut self) -> Vec<VirtError> {
        self.collected.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// An `XML_ERROR` about a part of `element`: place, path, then `what`. It belongs to the part of the system that reads the
/// document, see [`DocOptions::in_domain`](super::DocOptions::in_domain).
#[cold]
pub fn error_at(element: Element<'_>, at: At<'_>, what: impl std::fmt::Display) -> VirtError {
    error_with(ErrorCode::XML_ERROR, element, at, what)
}

/// [`error_at`] with another code, such as `CONFIG_UNSUPPORTED`.
#[cold]
pub fn error_with(
    code: ErrorCode,
    element: Element<'_>,
    at: At<'_>,
    what: impl std::fmt::Display,
) -> VirtError {
    let position = match at {
        At::Attribute(name) => element.attr_position(name),
        At::Child(name) => element.child(name).unwrap_or(element).position(),
        At::Text => element.position(),
    };
    let name = element.doc().name();
    VirtError::new(code, format_args!("{name}:{position} {}: {what}", element.path()))
        .in_domain(element.doc().domain())
}

/// `error` about a part of `element` with `code` in place of `XML_ERROR`; other codes stay. Whoever chooses the code is the part
/// of the system that reads the document, not one of the helpers for all documents: also where the code is `XML_ERROR` itself.
#[cold]
pub fn recoded(error: VirtError, element: Element<'_>, code: ErrorCode) -> VirtError {
    match (error.code(), error.domain()) {
        (ErrorCode::XML_ERROR, ErrorDomain::XML) => error.with_code(code).in_domain(element.doc().domain()),
        (ErrorCode::XML_ERROR, _) => error.with_code(code),
        _ => error,
    }
}

/// `error` about a part of `element` as one of `domain`, if it was one of the document's own.
#[cold]
pub fn reported_by(error: VirtError, element: Element<'_>, domain: ErrorDomain) -> VirtError {
    let error = error.in_domain_if_none(element.doc().domain());
    match error.domain() == element.doc().domain() {
        true => error.in_domain(domain),
        false => error,
    }
}

/// What is wrong with an attribute is said by the helpers that libvirt has for all documents; whether an element is there, and
/// what its text means, the reader of each kind says for itself.
fn by_helper(error: VirtError, at: At<'_>) -> VirtError {
    match at {
        At::Attribute(_) => error.in_domain(ErrorDomain::XML),
        At::Child(_) | At::Text => error,
    }
}

/// "invalid value …" with what was expected.
#[cold]
pub fn invalid_value(element: Element<'_>, at: At<'_>, found: &str, error: &ValueError) -> VirtError {
    by_helper(error_at(element, at, wrong_value_text(at, found, error)), at)
}

pub(super) fn wrong_value_text(at: At<'_>, found: &str, error: &ValueError) -> String {
    let expected = error.describe(found);
    // A value may be megabytes long.
    let shown: String = found.chars().take(80).collect();
    let dots = if shown.len() < found.len() { "…" } else { "" };
    match at {
        At::Attribute(name) => format!("invalid value '{shown}{dots}' of attribute '{name}': {expected}"),
        At::Text | At::Child(_) => format!("invalid value '{shown}{dots}': {expected}"),
    }
}

/// "missing required attribute …".
#[cold]
pub fn missing(element: Element<'_>, at: At<'_>) -> VirtError {
    let error = error_at(element, At::Text, missing_text(at));
    // The helpers are not asked for attributes of an element that is not there.
    match element.exists() {
        true => by_helper(error, at),
        false => error,
    }
}

/// The error for a part that must be there and whose own error was put aside.
#[cold]
fn told() -> VirtError {
    VirtError::new(ErrorCode::OK, "an error that was told already")
}

fn is_told(error: &VirtError) -> bool {
    error.code() == ErrorCode::OK
}

pub(super) fn missing_text(at: At<'_>) -> String {
    match at {
        At::Attribute(name) => format!("missing required attribute '{name}'"),
        At::Child(name) => format!("missing required element '{name}'"),
        At::Text => "the element has no text".to_owned(),
    }
}

/// How a text becomes a value.
pub type ParseFn<T> = fn(&str) -> Result<T, ValueError>;
/// How an element becomes a value.
pub type ReadFn<T> = fn(Element<'_>, &mut Reader) -> Result<T>;
/// How a value is appended as text, escaped.
pub type FormatFn<T> = fn(&T, &mut String);

/// What derived code calls to read. Ordinary code may, too.
pub mod read {
    use super::*;

    fn value<T>(
        element: Element<'_>,
        cx: &mut Reader,
        at: At<'_>,
        text: &str,
        parse: ParseFn<T>,
    ) -> Result<Option<T>> {
        match parse(text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                cx.fail(invalid_value(element, at, text, &error))?;
                Ok(None)
            }
        }
    }

    /// Reads a child. One that cannot be read is left out where errors are put aside.
    fn one<T>(child: Element<'_>, cx: &mut Reader, read: ReadFn<T>) -> Result<Option<T>> {
        match read(child, cx) {
            Ok(value) => Ok(Some(value)),
            Err(error) => cx.leave_out(error),
        }
    }

    /// What `part` reads of `element`, with `code` for its errors in place of `XML_ERROR`; they are those of `by`, or else of
    /// the document's part of the system.
    ///
    /// # Errors
    /// Those of `part`.
    pub fn coded<T>(
        element: Element<'_>,
        cx: &mut Reader,
        (code, by): (ErrorCode, Option<ErrorDomain>),
        part: impl FnOnce(&mut Reader) -> Result<T>,
    ) -> Result<T> {
        let told = cx.collected.as_ref().map_or(0, Vec::len);
        let value = part(cx);
        let coded = |error| {
            let error = recoded(error, element, code);
            match by {
                Some(domain) => reported_by(error, element, domain),
                None => error,
            }
        };
        for error in cx.collected.iter_mut().flatten().skip(told) {
            let whole = std::mem::replace(error, VirtError::new(code, ""));
            *error = coded(whole);
        }
        value.map_err(coded)
    }

    /// An attribute that may be absent.
    ///
    /// # Errors
    /// `XML_ERROR` for a wrong value.
    pub fn attr<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        parse: ParseFn<T>,
    ) -> Result<Option<T>> {
        match element.attr(name) {
            Some(text) => value(element, cx, At::Attribute(name), &text, parse),
            None => Ok(None),
        }
    }

    /// An attribute where an empty value counts as absent.
    ///
    /// # Errors
    /// `XML_ERROR` for a wrong value.
    pub fn attr_nonempty<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        parse: ParseFn<T>,
    ) -> Result<Option<T>> {
        match element.attr(name) {
            Some(text) if !text.is_empty() => value(element, cx, At::Attribute(name), &text, parse),
            _ => Ok(None),
        }
    }

    /// The text of the element; an empty one counts as absent.
    ///
    /// # Errors
    /// `XML_ERROR` for a wrong value.
    pub fn text<T>(element: Element<'_>, cx: &mut Reader, parse: ParseFn<T>) -> Result<Option<T>> {
        let text = element.text();
        if text.is_empty() {
            Ok(None)
        } else {
            value(element, cx, At::Text, &text, parse)
        }
    }

    /// A child that may be absent.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn child<T: XmlElement>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
    ) -> Result<Option<T>> {
        match element.child(name) {
            Some(child) if !T::counts_as_absent(child) => one(child, cx, T::read),
            _ => Ok(None),
        }
    }

    /// Refuses several children of a name.
    ///
    /// # Errors
    /// `code`.
    pub fn sole(element: Element<'_>, cx: &mut Reader, name: &'static str, code: ErrorCode) -> Result<()> {
        if element.children_named(name).nth(1).is_none() {
            return Ok(());
        }
        let what = format_args!("several elements '{name}': only one is supported");
        cx.fail(error_with(code, element, At::Child(name), what))
    }

    /// The first child of a name, unless it counts as absent.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn first_child<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        (counts_as_absent, read): (fn(Element<'_>) -> bool, ReadFn<T>),
    ) -> Result<Option<T>> {
        match element.child(name) {
            Some(child) if !counts_as_absent(child) => one(child, cx, read),
            _ => Ok(None),
        }
    }

    /// All children of a name, read as one.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn joined_child<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        (counts_as_absent, read): (fn(Element<'_>) -> bool, ReadFn<T>),
    ) -> Result<Option<T>> {
        match element.joined_child(name) {
            Some(child) if !counts_as_absent(child) => one(child, cx, read),
            _ => Ok(None),
        }
    }

    /// The last child of a name; those before it are read, too, and must be right.
    ///
    /// # Errors
    /// What reading any of them gives.
    pub fn last_child<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        (counts_as_absent, read): (fn(Element<'_>) -> bool, ReadFn<T>),
    ) -> Result<Option<T>> {
        let mut last = None;
        for child in element.children_named(name) {
            if !counts_as_absent(child) {
                last = one(child, cx, read)?;
            }
        }
        Ok(last)
    }

    /// For [`first_child`] and its likes: a child without text counts as absent.
    pub fn is_blank(element: Element<'_>) -> bool {
        element.text().is_empty()
    }

    /// For [`joined_child`] and [`last_child`]: each child counts.
    pub fn never_absent(_: Element<'_>) -> bool {
        false
    }

    /// A child that may be absent, in a namespace.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn child_in<T: XmlElement>(
        element: Element<'_>,
        cx: &mut Reader,
        uri: &str,
        name: &'static str,
    ) -> Result<Option<T>> {
        match element.child_in(uri, name) {
            Some(child) if !T::counts_as_absent(child) => one(child, cx, T::read),
            _ => Ok(None),
        }
    }

    /// All children of a name in a namespace, read as one.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn joined_child_in<T: XmlElement>(
        element: Element<'_>,
        cx: &mut Reader,
        uri: &str,
        name: &'static str,
    ) -> Result<Option<T>> {
        match element.joined_child_in(uri, name) {
            Some(child) if !T::counts_as_absent(child) => one(child, cx, T::read),
            _ => Ok(None),
        }
    }

    /// A child that may be absent, read by a function.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn child_with<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        read: ReadFn<T>,
    ) -> Result<Option<T>> {
        match element.child(name) {
            Some(child) => one(child, cx, read),
            None => Ok(None),
        }
    }

    /// All children of a name.
    ///
    /// # Errors
    /// What reading one gives.
    pub fn children<T: XmlElement>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
    ) -> Result<Vec<T>> {
        children_with(element, cx, name, T::read)
    }

    /// All children of a name in a namespace.
    ///
    /// # Errors
    /// What reading one gives.
    pub fn children_in<T: XmlElement>(
        element: Element<'_>,
        cx: &mut Reader,
        uri: &str,
        name: &'static str,
    ) -> Result<Vec<T>> {
        element
            .children()
            .filter(|child| child.is_in(uri, name))
            .filter_map(|child| one(child, cx, T::read).transpose())
            .collect()
    }

    /// All children of a name, each read by a function.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn children_with<T>(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        read: ReadFn<T>,
    ) -> Result<Vec<T>> {
        // Declared types may be large: they are moved once, into their place.
        let mut values = Vec::with_capacity(element.children_named(name).count());
        for child in element.children_named(name) {
            match read(child, cx) {
                Ok(value) => values.push(value),
                Err(error) => cx.fail(error)?,
            }
        }
        Ok(values)
    }

    /// All children that a `union = "name()"` type knows, in document order; others are passed over.
    ///
    /// # Errors
    /// What reading one gives.
    pub fn known_children<T: XmlElement>(element: Element<'_>, cx: &mut Reader) -> Result<Vec<T>> {
        element
            .children()
            .filter(|child| T::knows_name(*child))
            .filter_map(|child| one(child, cx, T::read).transpose())
            .collect()
    }

    /// The first child that a `union = "name()"` type knows.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn known_child<T: XmlElement>(element: Element<'_>, cx: &mut Reader) -> Result<Option<T>> {
        element
            .children()
            .find(|child| T::knows_name(*child))
            .map(|child| T::read(child, cx))
            .transpose()
    }

    /// A flattened type that may be absent.
    ///
    /// # Errors
    /// What reading it gives.
    pub fn flattened<T: XmlElement>(element: Element<'_>, cx: &mut Reader) -> Result<Option<T>> {
        if T::is_present(element) {
            T::read(element, cx).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes a value that must be there.
    ///
    /// # Errors
    /// `XML_ERROR` naming what is missing.
    pub fn required<T>(element: Element<'_>, at: At<'_>, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| missing(element, at))
    }

    /// A value that must be there if its element is.
    ///
    /// # Errors
    /// `XML_ERROR` naming what is missing.
    pub fn expected<T>(element: Element<'_>, at: At<'_>, value: Option<T>) -> Result<Option<T>> {
        match value {
            None if element.exists() && !is_said(element, at) => Err(missing(element, at)),
            value => Ok(value),
        }
    }

    /// [`required`], in derived code: of a part that is there and wrong nothing more is told.
    ///
    /// # Errors
    /// As [`required`].
    #[doc(hidden)]
    pub fn required_in<T>(cx: &Reader, element: Element<'_>, at: At<'_>, value: Option<T>) -> Result<T> {
        match value {
            Some(value) => Ok(value),
            None if cx.collected.is_some() && is_said(element, at) => Err(told()),
            None => Err(missing(element, at)),
        }
    }

    #[cold]
    fn is_said(element: Element<'_>, at: At<'_>) -> bool {
        match at {
            At::Attribute(name) => element.attr(name).is_some_and(|text| !text.is_empty()),
            At::Text => !element.text().is_empty(),
            At::Child(name) => element.child(name).is_some_and(|child| {
                !child.text().is_empty()
                    || child.children().next().is_some()
                    || child.attributes().next().is_some()
            }),
        }
    }

    /// The tag of a union. `None`: absent.
    ///
    /// # Errors
    /// `XML_ERROR` for a word that is none of the union's.
    pub fn tag(
        element: Element<'_>,
        attribute: &'static str,
        words: &'static [&'static str],
    ) -> Result<Option<usize>> {
        let Some(text) = element.attr(attribute) else {
            return Ok(None);
        };
        match words.iter().position(|word| *word == text) {
            Some(at) => Ok(Some(at)),
            None => Err(invalid_value(
                element,
                At::Attribute(attribute),
                &text,
                &ValueError::words(words),
            )),
        }
    }

    /// The tag of a union that is chosen by its parent's attribute.
    ///
    /// # Errors
    /// As [`tag`].
    pub fn parent_tag(
        element: Element<'_>,
        attribute: &'static str,
        words: &'static [&'static str],
    ) -> Result<Option<usize>> {
        match element.parent() {
            Some(parent) => tag(parent, attribute, words),
            None => Ok(None),
        }
    }

    /// The error for an element that no variant of a `union = "name()"` type is for.
    #[cold]
    pub fn unknown_name(element: Element<'_>, words: &'static [&'static str]) -> VirtError {
        let expected = ValueError::words(words).describe(element.name());
        error_at(element, At::Text, format_args!("unexpected element: {expected}"))
    }
}

/// What derived code calls to write. Ordinary code may, too.
pub mod write {
    use super::super::Writer;
    use super::{FormatFn, XmlElement};

    /// An attribute.
    pub fn attr<T>(w: &mut Writer, name: &str, value: &T, format: FormatFn<T>) {
        w.attribute_with(name, |out| format(value, out));
    }

    /// An attribute, its lead written out: ` name='`. For derived code.
    #[doc(hidden)]
    pub fn attr_led<T>(w: &mut Writer, lead: &str, value: &T, format: FormatFn<T>) {
        w.led_attribute(lead, |out| format(value, out));
    }

    /// [`attr_led`] of a value that may be absent.
    #[doc(hidden)]
    pub fn attr_led_optional<T>(w: &mut Writer, lead: &str, value: &Option<T>, format: FormatFn<T>) {
        if let Some(value) = value {
            attr_led(w, lead, value, format);
        }
    }

    /// An element that is one attribute, its lead written out: `element name='`. For derived code.
    #[doc(hidden)]
    pub fn leaf_led<T>(w: &mut Writer, lead: &str, value: &T, format: FormatFn<T>) {
        w.led_leaf(lead, |out| format(value, out));
    }

    /// [`leaf_led`] of a value that may be absent.
    #[doc(hidden)]
    pub fn leaf_led_optional<T>(w: &mut Writer, lead: &str, value: &Option<T>, format: FormatFn<T>) {
        if let Some(value) = value {
            leaf_led(w, lead, value, format);
        }
    }

    /// [`attr_led`] of the word that tells a union's variants apart.
    #[doc(hidden)]
    pub fn tag_led(w: &mut Writer, lead: &str, word: &'static str) {
        w.led_attribute(lead, |out| out.push_str(word));
    }

    /// An attribute that may be absent.
    pub fn attr_optional<T>(w: &mut Writer, name: &str, value: &Option<T>, format: FormatFn<T>) {
        if let Some(value) = value {
            attr(w, name, value, format);
        }
    }

    /// The text of the open element.
    pub fn text<T>(w: &mut Writer, value: &T, format: FormatFn<T>) {
        w.text_with(|out| format(value, out));
    }

    /// The text of the open element, if there is one.
    pub fn text_optional<T>(w: &mut Writer, value: &Option<T>, format: FormatFn<T>) {
        if let Some(value) = value {
            text(w, value, format);
        }
    }

    /// A child that may be absent.
    pub fn child_optional<T: XmlElement>(w: &mut Writer, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            value.write(w, name);
        }
    }

    /// A child that may be absent, and is left out as well if it is empty.
    pub fn child_nonempty<T: XmlElement>(w: &mut Writer, name: &'static str, value: &Option<T>) {
        if let Some(value) = value {
            value.write_nonempty(w, name);
        }
    }

    /// Children of one name.
    pub fn children<T: XmlElement>(w: &mut Writer, name: &str, values: &[T]) {
        for value in values {
            value.write(w, name);
        }
    }

    /// Children of one name, each written by a function.
    pub fn children_with<T>(
        w: &mut Writer,
        name: &'static str,
        values: &[T],
        write: fn(&T, &mut Writer, &'static str),
    ) {
        for value in values {
            write(value, w, name);
        }
    }

    /// An element that is there or not.
    pub fn flag(w: &mut Writer, name: &str, value: bool) {
        if value {
            w.empty_element(name);
        }
    }
}
