//! `<storagepoolCapabilities>`: which types of pool a storage driver can run, and their formats.

use virt_util::xml::{self, DocOptions, Xml, XmlFlags};
use virt_util::{ErrorDomain, Result};

use super::PoolType;

/// What a storage driver can do.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "storagepoolCapabilities", body)]
pub struct PoolCapabilities {
    /// Every type of pool.
    #[xml("pool")]
    pub pools: Vec<PoolCapability>,
}

/// What is known of a type of pool.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "pool", body)]
pub struct PoolCapability {
    /// Which kind of pool is told about.
    #[xml("@type")]
    pub kind: PoolType,
    /// Whether the driver can run pools of the type.
    #[xml("@supported")]
    pub supported: bool,
    /// Formats of the source.
    #[xml("poolOptions")]
    pub source: Option<FormatOptions>,
    /// Formats of the volumes.
    #[xml("volOptions")]
    pub volumes: Option<FormatOptions>,
}

/// Formats that can be chosen from.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body)]
pub struct FormatOptions {
    /// The one that is meant if none is said.
    #[xml("defaultFormat@type")]
    pub default: String,
    /// All of them.
    #[xml("enum")]
    pub formats: FormatList,
}

/// A list of words.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "enum", body)]
pub struct FormatList {
    /// Which list it is.
    #[xml("@name")]
    pub name: String,
    /// The words.
    #[xml("value")]
    pub values: Vec<String>,
}

impl FormatOptions {
    fn new<'a>(name: &str, default: &str, words: impl Iterator<Item = &'a str>) -> Self {
        Self {
            default: default.to_owned(),
            formats: FormatList {
                name: name.to_owned(),
                values: words.map(str::to_owned).collect(),
            },
        }
    }
}

impl PoolCapabilities {
    /// The capabilities of a driver that can run pools of these types.
    pub fn new(supported: &[PoolType]) -> Self {
        let pools = PoolType::ALL.iter().map(|&kind| {
            let rules = kind.rules();
            let volumes = rules.volumes;
            PoolCapability {
                kind,
                supported: supported.contains(&kind),
                source: rules.formats.map(|(formats, default)| {
                    let words = formats.iter().map(|format| format.as_str());
                    FormatOptions::new("sourceFormatType", default.as_str(), words)
                }),
                volumes: volumes.default_format().map(|default| {
                    let words = volumes.listed().iter().map(|format| format.as_str());
                    FormatOptions::new("targetFormatType", default.as_str(), words)
                }),
            }
        });
        Self {
            pools: pools.collect(),
        }
    }

    /// Reads a document; errors say `name`.
    ///
    /// # Errors
    /// `XML_DETAIL` for a document that is not well formed, `XML_ERROR` for missing parts and wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        xml::from_str(
            source,
            XmlFlags::empty(),
            &DocOptions::named(name).in_domain(ErrorDomain::CAPABILITIES),
        )
    }

    /// The document.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }
}
