//! The CPU: of a guest, as `<cpu>` in a domain, and of a host ([`HostCpu`]), as in capabilities; [`CpuDocument`] is either.
//!
//! What the names of models and features mean is in [`cpu_models`](crate::cpu_models).

use virt_util::xml::{At, Element, Reader, Xml, XmlValue as _, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::numa::Numa;

mod host;

pub use host::{CpuCounter, CpuDocument, CpuMicrocode, CpuSignature, HostCpu, HostCpuFeature};

xml_enum! {
    /// How the CPU model of the guest is chosen.
    pub enum CpuMode { Custom = "custom", HostModel = "host-model", HostPassthrough = "host-passthrough", Maximum = "maximum" }
}

xml_enum! {
    /// How closely the virtual CPU must match.
    pub enum CpuMatch { Exact = "exact", Minimum = "minimum", Strict = "strict" }
}

xml_enum! {
    /// How the CPU is checked before the guest starts.
    pub enum CpuCheck { None = "none", Partial = "partial", Full = "full" }
}

xml_enum! {
    /// Whether another model may replace an unsupported one.
    pub enum CpuFallback { Allow = "allow", Forbid = "forbid" }
}

xml_enum! {
    /// What is wanted of a CPU feature.
    pub enum CpuFeaturePolicy { Force = "force", Require = "require", Optional = "optional", Disable = "disable", Forbid = "forbid" }
}

xml_enum! {
    /// Which cache information the guest sees.
    pub enum CpuCacheMode { Emulate = "emulate", Passthrough = "passthrough", Disable = "disable" }
}

xml_enum! {
    /// Where the number of physical address bits comes from.
    pub enum CpuMaxPhysAddrMode { Emulate = "emulate", Passthrough = "passthrough" }
}

/// CPU of a guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "cpu", reported_by = ErrorDomain::CPU, order(mode, migratable, matching, check, deprecated_features, model, vendor, topology, features))]
pub struct Cpu {
    /// How the model is chosen.
    #[xml("@mode", default, always, code = ErrorCode::CONFIG_UNSUPPORTED, when = self.says_more_than_topology())]
    pub mode: CpuMode,
    /// How closely the virtual CPU must match.
    #[xml("@match", default, always, when = self.says_more_than_topology() && self.mode == CpuMode::Custom)]
    pub matching: CpuMatch,
    /// How the CPU is checked before the guest starts.
    #[xml("@check", when = self.says_more_than_topology())]
    pub check: Option<CpuCheck>,
    /// Whether features that prevent migration are left out.
    #[xml("@migratable", on_off, then = check_migratable(mode, migratable, element, cx))]
    pub migratable: Option<bool>,
    /// Whether features that the model calls deprecated are on.
    #[xml("@deprecated_features", on_off, when = self.says_more_than_topology())]
    pub deprecated_features: Option<bool>,
    /// The named processor that the guest sees.
    #[xml("model", when = self.has_model() && self.names_model())]
    pub model: Option<CpuModel>,
    /// Vendor that the host's CPU must have.
    #[xml("vendor", when = self.has_model(), then = check_vendor(vendor.as_deref(), model.as_ref(), element, cx))]
    pub vendor: Option<String>,
    /// Sockets, cores, threads.
    #[xml("topology", then = foresee_features(mode, model.as_ref(), element, cx))]
    pub topology: Option<CpuTopology>,
    /// Cache that the guest sees.
    #[xml("cache", sole)]
    pub cache: Option<CpuCache>,
    /// Bits of physical addresses.
    #[xml("maxphysaddr")]
    pub max_phys_addr: Option<CpuMaxPhysAddr>,
    /// Single abilities that are added to the model or taken from it.
    #[xml("feature")]
    pub features: Vec<CpuFeature>,
    /// NUMA nodes of the guest.
    #[xml("numa", read_when = false)]
    pub numa: Option<Numa>,
}

/// Model of a CPU.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "model")]
pub struct CpuModel {
    /// Whether another model may replace it.
    #[xml("@fallback", default, nonempty, always, code = ErrorCode::CONFIG_UNSUPPORTED, when = self.name.is_some(),
        read_when = !is_of_host(element))]
    pub fallback: CpuFallback,
    /// Vendor that the guest sees: 12 characters.
    #[xml("@vendor_id", nonempty, read_when = !is_of_host(element), then = check_vendor_id(vendor_id.as_deref(), element, cx))]
    pub vendor_id: Option<String>,
    /// A processor of the catalogue, such as `Skylake-Client`.
    #[xml("text()")]
    pub name: Option<String>,
}

/// Sockets, cores, threads.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "topology")]
pub struct CpuTopology {
    /// Number of processor packages.
    #[xml("@sockets", nonzero)]
    pub sockets: u32,
    /// Dies of a socket.
    #[xml("@dies", default = 1, always, nonzero)]
    pub dies: u32,
    /// Clusters of a die.
    #[xml("@clusters", default = 1, always, nonzero)]
    pub clusters: u32,
    /// Cores of a cluster.
    #[xml("@cores", nonzero)]
    pub cores: u32,
    /// Threads of a core.
    #[xml("@threads", nonzero)]
    pub threads: u32,
}

/// Cache that a guest sees.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "cache", check = CpuCache::after_read)]
pub struct CpuCache {
    /// Level, 1 to 3; none: all.
    #[xml("@level")]
    pub level: Option<u32>,
    /// Where its description comes from.
    #[xml("@mode")]
    pub mode: CpuCacheMode,
}

/// Bits of physical addresses.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "maxphysaddr", check = CpuMaxPhysAddr::after_read)]
pub struct CpuMaxPhysAddr {
    /// Where the number comes from.
    #[xml("@mode")]
    pub mode: CpuMaxPhysAddrMode,
    /// The number.
    #[xml("@bits", max = i32::MAX)]
    pub bits: Option<u32>,
    /// Most bits, if the number is the host's.
    #[xml("@limit", nonzero)]
    pub limit: Option<u32>,
}

/// A CPU feature.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "feature")]
pub struct CpuFeature {
    /// What is wanted of it.
    #[xml("@policy", default = CpuFeaturePolicy::Require, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub policy: CpuFeaturePolicy,
    /// The ability, as the catalogue calls it.
    #[xml("@name", own)]
    pub name: String,
}

impl Cpu {
    /// The name of the model.
    pub fn model_name(&self) -> Option<&str> {
        self.model.as_ref().and_then(|model| model.name.as_deref())
    }

    /// Whether an unsupported model may be replaced.
    pub fn fallback(&self) -> CpuFallback {
        self.model
            .as_ref()
            .map_or_else(CpuFallback::default, |model| model.fallback)
    }

    /// What is said about a feature.
    pub fn feature(&self, name: &str) -> Option<&CpuFeature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// Says `policy` about a feature, in place of what was said before.
    pub fn set_feature(&mut self, name: &str, policy: CpuFeaturePolicy) {
        match self.features.iter_mut().find(|feature| feature.name == name) {
            Some(feature) => feature.policy = policy,
            None => self.features.push(CpuFeature {
                policy,
                name: name.to_owned(),
            }),
        }
    }

    /// Says `policy` about a feature of which nothing is said yet.
    pub fn add_feature(&mut self, name: &str, policy: CpuFeaturePolicy) {
        if self.feature(name).is_none() {
            self.set_feature(name, policy);
        }
    }

    /// Takes another model; whether that may be replaced, and the vendor that the guest sees, stay.
    pub fn set_model_name(&mut self, name: &str) {
        self.model.get_or_insert_default().name = Some(name.to_owned());
    }

    /// Says whether an unsupported model may be replaced.
    pub fn set_fallback(&mut self, fallback: CpuFallback) {
        self.model.get_or_insert_default().fallback = fallback;
    }

    fn names_model(&self) -> bool {
        self.model
            .as_ref()
            .is_some_and(|model| model.name.is_some() || model.vendor_id.is_some())
    }

    fn says_more_than_topology(&self) -> bool {
        self.mode != CpuMode::Custom || self.model_name().is_some()
    }

    fn has_model(&self) -> bool {
        matches!(self.mode, CpuMode::Custom | CpuMode::HostModel)
    }
}

impl CpuMode {
    /// Is the guest's CPU that of the host, whatever model is named?
    fn is_of_host(self) -> bool {
        matches!(self, Self::HostPassthrough | Self::Maximum)
    }
}

/// Does this `<model>` stand where the host's own is taken? What it says is passed over then.
fn is_of_host(model: Element<'_>) -> bool {
    let mode = model.parent().and_then(|cpu| cpu.attr("mode"));
    mode.and_then(|mode| CpuMode::parse_value(&mode).ok())
        .is_some_and(CpuMode::is_of_host)
}

fn check_migratable(
    mode: CpuMode,
    migratable: Option<bool>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    if migratable.is_none() || mode.is_of_host() {
        return Ok(());
    }
    let what = "'migratable' is for modes 'host-passthrough' and 'maximum', not for this one";
    let at = At::Attribute("migratable");
    cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))
}

fn check_vendor_id(vendor: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let what = match vendor {
        Some(vendor) if vendor.len() != 12 => "'vendor_id' has 12 characters",
        Some(vendor) if vendor.contains(',') => "vendor id is invalid: it holds a comma",
        _ => return Ok(()),
    };
    cx.fail(error_at(element, At::Attribute("vendor_id"), what))
}

fn check_vendor(
    vendor: Option<&str>,
    model: Option<&CpuModel>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    if vendor.is_none() || model.is_some_and(|model| model.name.is_some()) {
        return Ok(());
    }
    cx.fail(error_at(element, At::Child("vendor"), "<vendor> needs a <model>"))
}

/// What is wrong with features before they are read: that there are any, and what [`check_features`] finds up to the first
/// one that cannot be read.
fn foresee_features(
    mode: CpuMode,
    model: Option<&CpuModel>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let names_model = model.is_some_and(|model| model.name.is_some());
    if mode == CpuMode::Custom && !names_model && element.child("feature").is_some() {
        cx.fail(error_at(
            element,
            At::Child("feature"),
            "<feature> needs a <model>, or mode 'host-model' or 'host-passthrough'",
        ))?;
    }
    check_features(element, cx, |feature| {
        let policy = feature.attr("policy");
        policy.is_none_or(|policy| CpuFeaturePolicy::parse_value(&policy).is_ok())
    })
}

/// What holds for the features of guests' and hosts' CPUs alike: each has a name of its own. Looks no further than the first
/// that is not `readable`, since that is told when it is read.
fn check_features(
    element: Element<'_>,
    cx: &mut Reader,
    readable: impl Fn(Element<'_>) -> bool,
) -> Result<()> {
    let mut names = std::collections::BTreeSet::new();
    for feature in element.children_named("feature") {
        let Some(name) = feature.attr("name").filter(|_| readable(feature)) else {
            if cx.collects() {
                continue;
            }
            return Ok(());
        };
        if name.is_empty() {
            cx.fail(error_at(element, At::Child("feature"), "a <feature> has no name"))?;
        } else if names.contains(&name) {
            let what = format!("<feature name='{name}'> stands there twice");
            cx.fail(error_at(element, At::Child("feature"), what))?;
        } else {
            names.insert(name);
        }
    }
    Ok(())
}

impl CpuTopology {
    /// Number of CPUs.
    pub fn total(&self) -> u64 {
        [self.sockets, self.dies, self.clusters, self.cores, self.threads]
            .into_iter()
            .fold(1, |product, part| u64::from(part).saturating_mul(product))
    }
}

impl CpuCache {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.level.is_some_and(|level| !(1..=3).contains(&level)) {
            cx.fail(error_at(element, At::Attribute("level"), "expected 1, 2 or 3"))?;
        }
        Ok(())
    }
}

impl CpuMaxPhysAddr {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.limit.is_none() || self.mode == CpuMaxPhysAddrMode::Passthrough {
            return Ok(());
        }
        let (at, what) = (At::Attribute("limit"), "'limit' is for mode 'passthrough' only");
        cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))
    }
}
