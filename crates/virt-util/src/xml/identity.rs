//! Which object a document is about, without reading all of it into a model.

use super::doc::{Doc, DocOptions, Element};
use super::reader::{At, invalid_value};
use super::value::XmlValue;
use crate::error::Result;

/// What a definition says about the identity of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the root element: the kind of object.
    pub root: String,
    /// The root's attribute `type`.
    pub kind: Option<String>,
    /// The text of the child `<name>`.
    pub name: Option<String>,
    /// The text of the child `<uuid>`.
    pub uuid: Option<uuid::Uuid>,
}

impl Identity {
    /// The identity of the object that `element` defines; the same children count as when the model is read.
    ///
    /// # Errors
    /// `XML_ERROR` if `<uuid>` holds no UUID.
    pub fn of(element: Element<'_>) -> Result<Self> {
        let text = |name: &str| {
            let child = element.child(name)?;
            let text = child.text();
            (!text.is_empty()).then(|| (child, text.into_owned()))
        };
        let uuid = match text("uuid") {
            Some((child, text)) => Some(
                uuid::Uuid::parse_value(&text)
                    .map_err(|error| invalid_value(child, At::Text, &text, &error))?,
            ),
            None => None,
        };
        Ok(Self {
            root: element.name().to_owned(),
            kind: element.attr("type").map(std::borrow::Cow::into_owned),
            name: text("name").map(|(_, text)| text),
            uuid,
        })
    }
}

/// The identity of the object that a document defines. The whole document must be well formed and inside the limits.
///
/// ```
/// let identity = virt_util::xml::identity(b"<network><name>default</name></network>")?;
/// assert_eq!(identity.root, "network");
/// assert_eq!(identity.name.as_deref(), Some("default"));
/// # Ok::<(), virt_util::VirtError>(())
/// ```
///
/// # Errors
/// `XML_DETAIL` if the document is not well formed, `XML_ERROR` for a malformed UUID.
pub fn identity(document: &[u8]) -> Result<Identity> {
    Identity::of(Doc::parse_bytes(document, &DocOptions::default())?.root())
}
