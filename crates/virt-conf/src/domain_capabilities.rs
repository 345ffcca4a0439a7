//! `<domainCapabilities>`: what guests of one emulator, machine and type of virtualization can have.
//!
//! [`DomainCapabilities::parse`] reads what a driver has answered, [`DomainCapabilities::format`] writes it. Most parts are
//! [`Choices`]: whether something is supported, and lists of the words that may stand in a definition.

use virt_util::xml::{
    self, At, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlEnum, XmlFlags, error_at, read,
};
use virt_util::{ErrorDomain, Result};

use crate::cpu::Cpu;

/// What guests can have.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "domainCapabilities", body)]
pub struct DomainCapabilities {
    /// The emulator's path.
    #[xml("path")]
    pub path: Option<String>,
    /// The type of virtualization.
    #[xml("domain")]
    pub domain: String,
    /// The machine type.
    #[xml("machine")]
    pub machine: Option<String>,
    /// Architecture of the guest.
    #[xml("arch")]
    pub arch: String,
    /// The most virtual processors.
    #[xml("vcpu@max")]
    pub max_vcpus: Option<u32>,
    /// Threads for input and output.
    #[xml("iothreads")]
    pub io_threads: Option<Choices>,
    /// What the guest can boot with.
    #[xml("os")]
    pub os: Option<Choices>,
    /// Processors, by mode.
    #[xml("cpu")]
    pub cpu: Option<CpuModes>,
    /// Where memory can come from.
    #[xml("memoryBacking")]
    pub memory_backing: Option<Choices>,
    /// Devices, by kind.
    #[xml("devices")]
    pub devices: Option<DeviceChoices>,
    /// Features, by name.
    #[xml("features")]
    pub features: Option<FeatureChoices>,
}

/// Whether something is supported, and what can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Whether it is supported.
    pub supported: bool,
    /// Files that can be chosen.
    pub files: Vec<String>,
    /// Lists of words.
    pub lists: Vec<ChoiceList>,
    /// Choices of its loader, if it has one.
    pub loader: Option<Box<Choices>>,
    /// Written as two tags even if there is nothing between.
    pub open: bool,
}

/// A list of words that can stand in one place of a definition.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "enum")]
pub struct ChoiceList {
    /// Which place.
    #[xml("@name")]
    pub name: String,
    /// The words.
    #[xml("value")]
    pub values: Vec<String>,
}

/// Processors that guests can have.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "cpu", body)]
pub struct CpuModes {
    /// By mode.
    #[xml("mode")]
    pub modes: Vec<CpuModeChoices>,
}

/// Processors of one mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuModeChoices {
    /// The mode.
    pub name: String,
    /// Whether it is supported.
    pub supported: bool,
    /// Lists of words.
    pub lists: Vec<ChoiceList>,
    /// In mode `host-model`: the model that is meant.
    pub host_model: Option<Box<Cpu>>,
    /// In mode `custom`: the models that can be named.
    pub models: Vec<NamedCpu>,
}

/// A model of processors that can be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedCpu {
    /// Its name.
    pub name: String,
    /// Whether this host can run it.
    pub usable: Usable,
    /// It will go away.
    pub deprecated: bool,
    /// Who makes it, `unknown` if it is nobody's.
    pub vendor: String,
    /// The version that the name stands for.
    pub canonical: Option<String>,
    /// Features that this host lacks for it.
    pub blockers: Vec<String>,
}

/// Whether a host can run a model of processors.
#[derive(XmlEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usable {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// Nobody knows.
    #[default]
    Unknown,
}

/// What devices can be.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "devices", body)]
pub struct DeviceChoices {
    /// Which drives, buses and models a guest may have.
    #[xml("disk")]
    pub disk: Option<Choices>,
    /// Ways to show a screen.
    #[xml("graphics")]
    pub graphics: Option<Choices>,
    /// Video cards.
    #[xml("video")]
    pub video: Option<Choices>,
    /// Devices of the host.
    #[xml("hostdev")]
    pub hostdev: Option<Choices>,
    /// Sources of random numbers.
    #[xml("rng")]
    pub rng: Option<Choices>,
    /// Shared folders.
    #[xml("filesystem")]
    pub filesystem: Option<Choices>,
    /// Trusted platform modules.
    #[xml("tpm")]
    pub tpm: Option<Choices>,
    /// Redirected devices.
    #[xml("redirdev")]
    pub redirdev: Option<Choices>,
    /// Channels to the host.
    #[xml("channel")]
    pub channel: Option<Choices>,
    /// Devices for cryptography.
    #[xml("crypto")]
    pub crypto: Option<Choices>,
    /// Network interfaces.
    #[xml("interface")]
    pub interface: Option<Choices>,
    /// Devices that tell of panics.
    #[xml("panic")]
    pub panic: Option<Choices>,
}

/// What features there are.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "features", body)]
pub struct FeatureChoices {
    /// ARM's interrupt controller.
    #[xml("gic")]
    pub gic: Option<Choices>,
    /// Information for dumps of the guest's core.
    #[xml("vmcoreinfo")]
    pub vm_core_info: Option<Choices>,
    /// Identifiers of generations of a guest.
    #[xml("genid")]
    pub generation_id: Option<Choices>,
    /// Chains of images that the user describes.
    #[xml("backingStoreInput")]
    pub backing_store_input: Option<Choices>,
    /// Whether running guests can be backed up.
    #[xml("backup")]
    pub backup: Option<Choices>,
    /// Memory that is given back while the program ends already.
    #[xml("async-teardown")]
    pub async_teardown: Option<Choices>,
    /// Protected guests of s390.
    #[xml("s390-pv")]
    pub s390_pv: Option<Choices>,
    /// Keyboard and mouse at the PS/2 controller can be left out.
    #[xml("ps2")]
    pub ps2: Option<Choices>,
    /// Memory that AMD's processors encrypt.
    #[xml("sev")]
    pub sev: Option<SevChoices>,
    /// Enclaves of Intel's processors.
    #[xml("sgx")]
    pub sgx: Option<SgxChoices>,
    /// What Windows calls enlightenments.
    #[xml("hyperv")]
    pub hyperv: Option<Choices>,
    /// Ways to start protected guests.
    #[xml("launchSecurity")]
    pub launch_security: Option<Choices>,
}

/// Encryption of memory by AMD's processors.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "sev")]
pub struct SevChoices {
    /// Whether it is supported.
    #[xml("@supported")]
    pub supported: bool,
    /// The bit of an address that marks encrypted memory.
    #[xml("cbitpos")]
    pub c_bit: Option<u32>,
    /// How many bits of physical addresses are lost.
    #[xml("reducedPhysBits")]
    pub reduced_phys_bits: Option<u32>,
    /// How many guests there can be at once.
    #[xml("maxGuests")]
    pub max_guests: Option<u32>,
    /// How many guests whose registers are encrypted, too.
    #[xml("maxESGuests")]
    pub max_es_guests: Option<u32>,
    /// What the first processor is known by, in base64.
    #[xml("cpu0Id")]
    pub cpu0_id: Option<String>,
}

/// Enclaves of Intel's processors.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "sgx")]
pub struct SgxChoices {
    /// Whether they are supported.
    #[xml("@supported")]
    pub supported: bool,
    /// Whether who may launch enclaves is the guest's choice.
    #[xml("flc")]
    pub flexible_launch: Option<bool>,
    /// The first version.
    #[xml("sgx1")]
    pub sgx1: Option<bool>,
    /// The second version.
    #[xml("sgx2")]
    pub sgx2: Option<bool>,
    /// Memory for enclaves, all of it.
    #[xml("section_size")]
    pub section_size: Option<SizeInKib>,
    /// Memory for enclaves, by node.
    #[xml("sections/section")]
    pub sections: Vec<SgxSection>,
}

/// A size.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeInKib {
    /// Its unit: always KiB.
    #[xml("@unit")]
    pub unit: String,
    /// The number.
    #[xml("text()")]
    pub amount: u64,
}

/// Memory for enclaves of one node.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "section")]
pub struct SgxSection {
    /// Number of the host's memory node.
    #[xml("@node")]
    pub node: u32,
    /// How much memory the section has.
    #[xml("@size")]
    pub size: u64,
    /// The size's unit: always KiB.
    #[xml("@unit")]
    pub unit: String,
}

impl DomainCapabilities {
    /// Reads a document; errors say `name`. What is not known is passed over.
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

    /// The document, in libvirt's layout.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }

    /// The mode of this name.
    pub fn cpu_mode(&self, name: &str) -> Option<&CpuModeChoices> {
        self.cpu
            .iter()
            .flat_map(|cpu| &cpu.modes)
            .find(|mode| mode.name == name)
    }
}

impl Choices {
    /// The words of a list.
    pub fn list(&self, name: &str) -> Option<&[String]> {
        let list = self.lists.iter().find(|list| list.name == name)?;
        Some(&list.values)
    }
}

/// Whether something is supported, as its element says.
fn read_supported(element: Element<'_>) -> Result<bool> {
    match element.attr("supported").as_deref() {
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(_) => Err(error_at(
            element,
            At::Attribute("supported"),
            "expected 'yes' or 'no'",
        )),
        None => Err(xml::missing(element, At::Attribute("supported"))),
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

impl XmlElement for Choices {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let loader = element.child("loader");
        let files = element.children_named("value");
        let open = !element.inner_source().is_empty();
        Ok(Self {
            supported: read_supported(element)?,
            files: files.map(|file| file.text().into_owned()).collect(),
            lists: read::children(element, cx, "enum")?,
            loader: match loader {
                Some(loader) => Some(Box::new(Self::read(loader, cx)?)),
                None => None,
            },
            open,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("supported", yes_no(self.supported));
    }

    fn write_content(&self, w: &mut Writer) {
        if self.open {
            w.open_body();
        }
        for file in &self.files {
            w.text_element("value", file);
        }
        for list in &self.lists {
            list.write(w, "enum");
        }
        if let Some(loader) = &self.loader {
            loader.write(w, "loader");
        }
    }

    fn schema() -> &'static xml::ElementSchema {
        xml::describe!("Choices", "", "Whether something is supported, and what can be chosen." => {
            /// Whether it is supported.
            "@supported" => supported: value(bool),
            /// Files that can be chosen.
            "value" => files: elements(String),
            /// Lists of words.
            "enum" => lists: elements(ChoiceList),
            /// What its loader can be.
            "loader" => loader: element(Choices),
        })
    }
}

impl XmlElement for CpuModeChoices {
    const NAME: &'static str = "mode";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let name = element
            .attr("name")
            .ok_or_else(|| xml::missing(element, At::Attribute("name")))?;
        let mut mode = Self {
            supported: read_supported(element)?,
            lists: read::children(element, cx, "enum")?,
            ..Self::default()
        };
        if name == "host-model" {
            if element.child("model").is_some() {
                mode.host_model = Some(Box::new(Cpu::read(element, cx)?));
            }
        } else {
            for model in element.children_named("model") {
                mode.models.push(NamedCpu::read(model)?);
            }
            for blockers in element.children_named("blockers") {
                mode.add_blockers(blockers)?;
            }
        }
        mode.name = name.into_owned();
        Ok(mode)
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("name", &self.name);
        w.attribute("supported", yes_no(self.supported));
    }

    fn write_content(&self, w: &mut Writer) {
        for list in &self.lists {
            list.write(w, "enum");
        }
        if let Some(model) = &self.host_model {
            model.write_content(w);
        }
        for model in &self.models {
            model.write(w);
        }
    }

    fn schema() -> &'static xml::ElementSchema {
        xml::describe!("CpuModeChoices", "mode", "Processors of one mode." => {
            /// The mode's word in a guest's processor.
            "@name" => name: value(String),
            /// Whether guests can have it.
            "@supported" => supported: value(bool),
            /// Lists of words.
            "enum" => lists: elements(ChoiceList),
            /// The model that is meant, or those that can be named.
            "model" => models: opaques,
            /// Who makes the model that is meant.
            "vendor" => vendor: opaque,
            /// How many bits addresses of memory have.
            "maxphysaddr" => max_phys_addr: opaque,
            /// What the model that is meant has beyond its name.
            "feature" => features: opaques,
            /// What this host lacks for a model.
            "blockers" => blockers: opaques,
        })
    }
}

impl CpuModeChoices {
    fn add_blockers(&mut self, element: Element<'_>) -> Result<()> {
        let name = element.attr("model").unwrap_or_default();
        let model = self.models.iter_mut().find(|model| *model.name == *name);
        let Some(model) = model else {
            return Err(error_at(
                element,
                At::Attribute("model"),
                format_args!("there is no model '{name}'"),
            ));
        };
        let features = element.children_named("feature");
        model.blockers = features
            .filter_map(|feature| Some(feature.attr("name")?.into_owned()))
            .collect();
        Ok(())
    }
}

impl NamedCpu {
    fn read(element: Element<'_>) -> Result<Self> {
        let word = element.attr("usable").unwrap_or_default();
        let Some(usable) = Usable::from_word(&word) else {
            return Err(error_at(
                element,
                At::Attribute("usable"),
                format_args!("expected 'yes', 'no' or 'unknown', not '{word}'"),
            ));
        };
        Ok(Self {
            name: element.text().into_owned(),
            usable,
            deprecated: element.attr("deprecated").is_some_and(|word| word == "yes"),
            vendor: element.attr("vendor").unwrap_or_default().into_owned(),
            canonical: element.attr("canonical").map(std::borrow::Cow::into_owned),
            blockers: Vec::new(),
        })
    }

    fn write(&self, w: &mut Writer) {
        w.start("model");
        w.attribute("usable", self.usable.as_str());
        if self.deprecated {
            w.attribute("deprecated", "yes");
        }
        w.attribute("vendor", &self.vendor);
        if let Some(canonical) = &self.canonical {
            w.attribute("canonical", canonical);
        }
        w.text(&self.name);
        w.end("model");
        if !self.blockers.is_empty() {
            w.start("blockers");
            w.attribute("model", &self.name);
            for name in &self.blockers {
                w.start("feature");
                w.attribute("name", name);
                w.end("feature");
            }
            w.end("blockers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
<domainCapabilities>
  <domain>kvm</domain>
  <arch>x86_64</arch>
  <vcpu max='255'/>
  <iothreads supported='yes'/>
  <os supported='yes'>
    <loader supported='yes'>
      <value>/a.fd</value>
      <enum name='type'>
        <value>rom</value>
      </enum>
    </loader>
  </os>
  <cpu>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>EPYC</model>
      <vendor>AMD</vendor>
      <feature policy='require' name='x2apic'/>
    </mode>
    <mode name='custom' supported='yes'>
      <model usable='no' vendor='Intel' canonical='Denverton-v1'>Denverton</model>
      <blockers model='Denverton'>
        <feature name='mpx'/>
      </blockers>
      <model usable='yes' deprecated='yes' vendor='unknown'>486</model>
    </mode>
  </cpu>
  <memoryBacking supported='yes'>
  </memoryBacking>
  <devices>
    <disk supported='no'/>
  </devices>
  <features>
    <sev supported='no'/>
  </features>
</domainCapabilities>
";

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let parsed = DomainCapabilities::parse(DOCUMENT, "test").unwrap();
        assert_eq!(parsed.format(), DOCUMENT);
        let custom = parsed.cpu_mode("custom").unwrap();
        assert_eq!(custom.models[0].blockers, ["mpx"]);
        assert!(parsed.os.as_ref().is_some_and(|os| os.supported));
        let loader = parsed.os.unwrap().loader.unwrap();
        assert_eq!(loader.list("type"), Some(&["rom".to_owned()][..]));
    }

    #[test]
    fn wrong_documents_are_refused() {
        for (from, to) in [
            ("supported='no'", "supported='maybe'"),
            ("usable='no'", "usable='perhaps'"),
            ("<blockers model='Denverton'", "<blockers model='Nehalem'"),
            ("max='255'", "max='many'"),
        ] {
            let source = DOCUMENT.replacen(from, to, 1);
            let error = DomainCapabilities::parse(&source, "test").unwrap_err();
            assert_eq!(error.code(), virt_util::ErrorCode::XML_ERROR, "{to}: {error}");
        }
    }
}
