//! JSON and YAML in and out of every document: the notations of the data that [`virt_util::xml::data`] makes of declarations.
//!
//! ```
//! use virt_conf::data;
//! use virt_conf::domain::Domain;
//! use virt_util::xml::XmlFlags;
//!
//! let domain: Domain = data::from_yaml("
//! virt_type: kvm
//! name: web
//! memory: {unit: GiB, amount: 2}
//! os:
//!   kind: {os: hvm}
//! ", XmlFlags::INACTIVE, "web.yaml")?;
//! assert_eq!(domain.memory.size, 2 << 20);
//!
//! let json = data::to_json(&domain, XmlFlags::empty())?;
//! assert!(json.contains("\"name\": \"web\""));
//! assert_eq!(data::from_json::<Domain>(&json, XmlFlags::INACTIVE, "web.json")?, domain);
//!
//! let error = data::from_json::<Domain>("{\"virt_type\": \"kvm\", \"nam\": \"web\"}", XmlFlags::INACTIVE, "web.json");
//! assert_eq!(
//!     error.unwrap_err().detail(),
//!     "web.json:1:22: /domain: unknown field 'nam', did you mean 'name'?"
//! );
//! # Ok::<(), virt_util::VirtError>(())
//! ```
//!
//! Fields are called as the declarations call them; `docs/formats.md` lists them. [`Notation`] and [`FORMATS`] are for who
//! knows a document's kind only when it comes: shells, files, peers.
//!
//! Document types also implement serde's `Serialize` and `Deserialize` over this door, for other notations. Serialized so a
//! document is whole, passwords included; [`to_json`] and [`to_yaml`] leave them out unless `SECURE` is asked for.

mod documents;
pub mod json;
pub mod yaml;

use virt_util::xml::data::{Node, element_to_data, xml_of};
use virt_util::xml::{Doc, DocOptions, ElementSchema, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

pub use documents::{Document, FORMATS, Format};

/// A way to write data down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// JSON, RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Notation {
    /// The notation of a file, by the end of its name.
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, end) = name.rsplit_once('.')?;
        Self::from_word(&end.to_ascii_lowercase())
    }

    /// The notation of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Reads data. Errors call the source as `options` say.
    ///
    /// # Errors
    /// `XML_DETAIL` with line and column if the text is not well formed or passes a limit.
    pub fn read(self, source: &str, options: &DocOptions<'_>) -> Result<Node> {
        match self {
            Self::Json => json::read(source, options),
            Self::Yaml => yaml::read(source, options),
        }
    }

    /// Writes data.
    pub fn write(self, node: &Node) -> String {
        match self {
            Self::Json => json::write(node),
            Self::Yaml => yaml::write(node),
        }
    }
}

/// A document as data. `flags` are those of its XML.
///
/// # Errors
/// `INTERNAL_ERROR` if the document holds something that is in no declaration.
pub fn to_data<T: Document>(document: &T, flags: XmlFlags) -> Result<Node> {
    data_of(&document.write_document(flags), T::schema())
}

fn data_of(text: &str, schema: &'static ElementSchema) -> Result<Node> {
    element_to_data(Doc::parse(text)?.root(), schema)
}

/// A document from data. Errors call its source `name`.
///
/// # Errors
/// `XML_ERROR` for fields that nobody knows and values of a wrong kind; all that reading XML gives.
pub fn from_data<T: Document>(node: &Node, flags: XmlFlags, name: &str) -> Result<T> {
    let options = DocOptions::named(name);
    let built = xml_of(node, T::schema(), T::NAME, &options)?;
    T::read_document(&built.doc(&options)?, flags)
}

/// A document as JSON.
///
/// # Errors
/// As [`to_data`].
pub fn to_json<T: Document>(document: &T, flags: XmlFlags) -> Result<String> {
    to_data(document, flags).map(|node| json::write(&node))
}

/// A document as YAML.
///
/// # Errors
/// As [`to_data`].
pub fn to_yaml<T: Document>(document: &T, flags: XmlFlags) -> Result<String> {
    to_data(document, flags).map(|node| yaml::write(&node))
}

/// A document from JSON.
///
/// # Errors
/// `XML_DETAIL` if the text is not well formed; as [`from_data`].
pub fn from_json<T: Document>(source: &str, flags: XmlFlags, name: &str) -> Result<T> {
    from_data(&json::read(source, &DocOptions::named(name))?, flags, name)
}

/// A document from YAML.
///
/// # Errors
/// As [`from_json`].
pub fn from_yaml<T: Document>(source: &str, flags: XmlFlags, name: &str) -> Result<T> {
    from_data(&yaml::read(source, &DocOptions::named(name))?, flags, name)
}

/// The format whose documents have that root element.
///
/// # Errors
/// `INVALID_ARG` that names the formats there are.
pub fn format_of(root: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.root == root).ok_or_else(|| {
        let known: Vec<&str> = FORMATS.iter().map(|format| format.root).collect();
        VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!(
                "documents '{root}' have no fields; there are {}",
                known.join(", ")
            ),
        )
        .in_domain(ErrorDomain::XML)
    })
}

/// A document in XML, of whatever kind, in another notation.
///
/// # Errors
/// `INVALID_ARG` for a kind that is not known; all that reading the document gives.
pub fn from_xml(source: &str, notation: Notation, flags: XmlFlags, name: &str) -> Result<String> {
    let doc = Doc::parse_with(source, &DocOptions::named(name))?;
    let format = format_of(doc.root().name())?;
    let node = (format.to_data)(&doc, flags)?;
    Ok(notation.write(&node))
}

/// A document of a kind (the name of its root) in another notation, in XML. It is read and written again, so what is wrong
/// with it is found here, with its place.
///
/// # Errors
/// `INVALID_ARG` for a kind that is not known; all that reading the document gives.
pub fn to_xml(source: &str, notation: Notation, root: &str, flags: XmlFlags, name: &str) -> Result<String> {
    let format = format_of(root)?;
    let options = DocOptions::named(name);
    (format.from_data)(&notation.read(source, &options)?, flags, name)
}

#[cold]
fn malformed(options: &DocOptions<'_>, line: u32, column: u32, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::XML_DETAIL,
        format_args!("{}:{line}:{column}: {what}", options.name),
    )
    .in_domain(options.domain)
}
