//! The CPU of a host, and a document that may be about either.

use virt_util::arch::Arch;
use virt_util::xml::{
    At, Doc, DocOptions, Element, Reader, Xml, XmlElement as _, XmlFlags, error_at, error_with,
    invalid_value, parse_on_off,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{Cpu, CpuCache, CpuFeature, CpuFeaturePolicy, CpuMaxPhysAddr, CpuMode, CpuModel, CpuTopology};

/// CPU of a host.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "cpu",
    order(arch, microcode, signature, counter, model, vendor, topology, features)
)]
pub struct HostCpu {
    /// Architecture; nothing where the document around says it.
    #[xml("arch", then = check_arch(arch.as_deref(), element, cx))]
    pub arch: Option<String>,
    /// The model that comes closest from below; nothing if none was found.
    #[xml("model", then = check_model(model.as_deref(), element, cx))]
    pub model: Option<String>,
    /// Who made it.
    #[xml("vendor")]
    pub vendor: Option<String>,
    /// Microcode that it runs.
    #[xml("microcode", omit_empty)]
    pub microcode: Option<CpuMicrocode>,
    /// Numbers by which its maker tells models apart.
    #[xml("signature")]
    pub signature: Option<CpuSignature>,
    /// Its clock counter.
    #[xml("counter", read_when = is_known(element.child("counter")))]
    pub counter: Option<CpuCounter>,
    /// Sockets, cores, threads.
    #[xml("topology", then = super::check_features(element, cx, |_| true))]
    pub topology: Option<CpuTopology>,
    /// Cache that guests see.
    #[xml("cache", sole)]
    pub cache: Option<CpuCache>,
    /// Bits of physical addresses.
    #[xml("maxphysaddr")]
    pub max_phys_addr: Option<CpuMaxPhysAddr>,
    /// Features beyond those of the model.
    #[xml("feature")]
    pub features: Vec<HostCpuFeature>,
}

/// Microcode of a CPU.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "microcode")]
pub struct CpuMicrocode {
    /// Its version, 0 if not known.
    #[xml("@version", default, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub version: u32,
}

/// Numbers by which a maker tells models apart.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "signature")]
pub struct CpuSignature {
    /// Family, with what the extended family adds.
    #[xml("@family", nonzero)]
    pub family: u32,
    /// Model, with what the extended model adds.
    #[xml("@model")]
    pub model: u32,
    /// Stepping, 0 to 15.
    #[xml("@stepping")]
    pub stepping: u32,
}

/// A counter of time.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "counter")]
pub struct CpuCounter {
    /// `tsc`.
    #[xml("@name")]
    pub name: String,
    /// Counts in a second.
    #[xml("@frequency")]
    pub frequency: u64,
    /// Whether guests can be shown another frequency.
    #[xml("@scaling")]
    pub scaling: Option<bool>,
}

/// A feature that a host's CPU has.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "feature")]
pub struct HostCpuFeature {
    /// The ability, as the catalogue calls it.
    #[xml("@name", own)]
    pub name: String,
}

impl HostCpu {
    /// The same CPU as a guest would have it: each feature is required.
    pub fn to_guest(&self) -> Cpu {
        Cpu {
            model: self.model.clone().map(|name| CpuModel {
                name: Some(name),
                ..CpuModel::default()
            }),
            vendor: self.vendor.clone(),
            topology: self.topology,
            cache: self.cache,
            max_phys_addr: self.max_phys_addr,
            features: self
                .features
                .iter()
                .map(|feature| CpuFeature {
                    policy: CpuFeaturePolicy::Require,
                    name: feature.name.clone(),
                })
                .collect(),
            ..Cpu::default()
        }
    }
}

fn check_arch(arch: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match arch {
        None => cx.fail(error_at(element, At::Child("arch"), "missing CPU architecture")),
        Some(name) if Arch::from_name(name).is_none() => {
            let what = format!("unknown architecture '{name}'");
            let at = At::Child("arch");
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))
        }
        Some(_) => Ok(()),
    }
}

fn check_model(model: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match model {
        None => cx.fail(error_at(element, At::Child("model"), "<model> is missing")),
        Some(_) => Ok(()),
    }
}

/// Is this the counter that something is known of?
fn is_known(counter: Option<Element<'_>>) -> bool {
    counter.is_some_and(|counter| counter.attr("name").as_deref() == Some("tsc"))
}

/// A document about a CPU: with `<arch>` it describes a host's, without a guest's.
#[derive(Clone, Debug, PartialEq)]
pub enum CpuDocument {
    /// What a host has.
    Host(HostCpu),
    /// What a guest is to have.
    Guest(Cpu),
}

impl CpuDocument {
    /// Reads a document; errors say `name`.
    ///
    /// # Errors
    /// `XML_DETAIL`, `XML_ERROR`; `CONFIG_UNSUPPORTED` for what only the other kind may say.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::CPU);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::CPU))
    }

    /// [`CpuDocument::parse`], but names that nobody knows are refused.
    ///
    /// # Errors
    /// `XML_INVALID_SCHEMA` for those.
    pub fn parse_valid(source: &str, name: &str) -> Result<Self> {
        let doc = Doc::parse_with(source, &DocOptions::named(name).in_domain(ErrorDomain::CPU))?;
        // Another document is that first, and only then one that the schema does not allow.
        expect_cpu(doc.root())?;
        Self::check_schema(&doc)?;
        Self::from_element(doc.root())
    }

    /// Refuses what the schema of CPUs does not allow.
    ///
    /// # Errors
    /// `XML_INVALID_SCHEMA`.
    pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
        crate::schema::check(doc)
    }

    /// Reads a document that must be about a host's CPU; errors say `name`.
    ///
    /// # Errors
    /// As [`CpuDocument::parse`].
    pub fn parse_host(source: &str, name: &str) -> Result<HostCpu> {
        let doc = Doc::parse_with(source, &DocOptions::named(name).in_domain(ErrorDomain::CPU))?;
        expect_cpu(doc.root())?;
        read_host(doc.root())
    }

    /// Reads documents.
    ///
    /// # Errors
    /// `INVALID_ARG` for none; as [`CpuDocument::parse`].
    pub fn parse_all(sources: &[String], name: &str) -> Result<Vec<Self>> {
        some(sources)?
            .iter()
            .map(|source| Self::parse(source, name))
            .collect()
    }

    /// Reads documents that must be about hosts' CPUs.
    ///
    /// # Errors
    /// `INVALID_ARG` for none; as [`CpuDocument::parse`].
    pub fn parse_hosts(sources: &[String], name: &str) -> Result<Vec<Self>> {
        let read = |source: &String| Self::parse_host(source, name).map(Self::Host);
        some(sources)?.iter().map(read).collect()
    }

    /// Reads an element.
    ///
    /// # Errors
    /// As [`CpuDocument::parse`].
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        expect_cpu(element)?;
        let mut cx = Reader::new(XmlFlags::empty());
        if element.child("arch").is_none() {
            return Cpu::read(element, &mut cx).map(Self::Guest);
        }
        if element.has_attr("match") {
            let what = "'match' is of a guest's CPU and <arch> of a host's: one of them is too much";
            return Err(error_at(element, At::Attribute("match"), what));
        }
        read_host(element).map(Self::Host)
    }

    /// The architecture, which only a host's CPU tells.
    pub fn arch(&self) -> Option<Arch> {
        match self {
            Self::Host(cpu) => cpu.arch.as_deref().and_then(Arch::from_name),
            Self::Guest(_) => None,
        }
    }

    /// The CPU as a guest would have it: all that a host has is required.
    pub fn to_guest(&self) -> Cpu {
        match self {
            Self::Host(cpu) => cpu.to_guest(),
            Self::Guest(cpu) => cpu.clone(),
        }
    }

    /// How a guest's model is chosen; nothing for a host.
    pub fn mode(&self) -> Option<CpuMode> {
        match self {
            Self::Host(_) => None,
            Self::Guest(cpu) => Some(cpu.mode),
        }
    }

    /// The document.
    pub fn format(&self) -> String {
        match self {
            Self::Host(cpu) => virt_util::xml::to_string(cpu, XmlFlags::empty()),
            Self::Guest(cpu) => virt_util::xml::to_string(cpu, XmlFlags::empty()),
        }
    }
}

impl From<HostCpu> for CpuDocument {
    fn from(cpu: HostCpu) -> Self {
        Self::Host(cpu)
    }
}

impl From<Cpu> for CpuDocument {
    fn from(cpu: Cpu) -> Self {
        Self::Guest(cpu)
    }
}

/// Reads a host's CPU. What only a guest's may say is found before anything else.
fn read_host(element: Element<'_>) -> Result<HostCpu> {
    for name in ["mode", "migratable"] {
        if let Some(value) = element.attr(name) {
            if name == "migratable" {
                parse_on_off(&value)
                    .map_err(|error| invalid_value(element, At::Attribute(name), &value, &error))?;
            }
            let what = format!("attribute '{name}' is only allowed for guest CPUs");
            return Err(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute(name),
                what,
            ));
        }
    }
    HostCpu::read(element, &mut Reader::new(XmlFlags::empty()))
}

fn some(sources: &[String]) -> Result<&[String]> {
    if sources.is_empty() {
        return Err(VirtError::invalid_arg("no CPUs given"));
    }
    Ok(sources)
}

fn expect_cpu(element: Element<'_>) -> Result<()> {
    if element.is("cpu") {
        return Ok(());
    }
    Err(error_at(
        element,
        At::Text,
        format_args!(
            "XML does not contain expected 'cpu' element, but '{}'",
            element.name()
        ),
    ))
}
