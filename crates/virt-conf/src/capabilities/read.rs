//! Reading `<capabilities>`: what a driver has said is taken as it stands, and comes out as it went in.

use virt_util::bitmap::Bitmap;
use virt_util::uuid::Uuid;
use virt_util::xml::{
    At, Doc, DocOptions, Element, Reader, XmlElement, XmlFlags, XmlValue, check_root, error_at,
    invalid_value, missing, read,
};
use virt_util::{ErrorDomain, Result, units};

use super::{
    Cache, CacheControl, CacheMonitor, Capabilities, Cell, CellCpu, CpuPlace, Guest, GuestFeature,
    GuestPrograms, Host, Interconnect, InterconnectKind, Machine, MemoryBandwidth, MemoryCache, Migration,
    SecurityModel,
};
use crate::cpu::HostCpu;

impl Capabilities {
    /// Reads a document; errors say `name`. What is not known is passed over.
    ///
    /// # Errors
    /// `XML_DETAIL` for a document that is not well formed, `XML_ERROR` for missing parts and wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::CAPABILITIES);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::CAPABILITIES))
    }

    /// [`Capabilities::parse`] for an element.
    ///
    /// # Errors
    /// As [`Capabilities::parse`].
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        check_root(element, "capabilities")?;
        let host = element
            .child("host")
            .ok_or_else(|| missing(element, At::Child("host")))?;
        Ok(Self {
            host: Host::read(host)?,
            guests: each(element, "guest", Guest::read)?,
        })
    }
}

/// An attribute that may be absent.
fn maybe<T: XmlValue>(element: Element<'_>, name: &str) -> Result<Option<T>> {
    let Some(text) = element.attr(name) else {
        return Ok(None);
    };
    match T::parse_value(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(invalid_value(element, At::Attribute(name), &text, &error)),
    }
}

/// An attribute that must be there.
fn attr<T: XmlValue>(element: Element<'_>, name: &str) -> Result<T> {
    maybe(element, name)?.ok_or_else(|| missing(element, At::Attribute(name)))
}

/// The text of the element.
fn text<T: XmlValue>(element: Element<'_>) -> Result<T> {
    let text = element.text();
    T::parse_value(&text).map_err(|error| invalid_value(element, At::Text, &text, &error))
}

/// The text of a child, if there is one.
fn child_text<T: XmlValue>(element: Element<'_>, name: &str) -> Result<Option<T>> {
    element.child(name).map(text).transpose()
}

/// The text of a child that must be there.
fn need_text<T: XmlValue>(element: Element<'_>, name: &str) -> Result<T> {
    child_text(element, name)?.ok_or_else(|| missing(element, At::Child(name)))
}

/// All children of a name.
fn each<T>(element: Element<'_>, name: &str, read: impl Fn(Element<'_>) -> Result<T>) -> Result<Vec<T>> {
    element.children_named(name).map(read).collect()
}

fn cpus(element: Element<'_>, name: &str) -> Result<Bitmap> {
    let text = element.attr(name).unwrap_or_default();
    Bitmap::parse_growing_or_empty(&text)
        .map_err(|error| error_at(element, At::Attribute(name), error.message()))
}

/// A size in an attribute, in bytes, with the unit in another.
fn size(element: Element<'_>, name: &str, unit: u64) -> Result<u64> {
    let number: u64 = maybe(element, name)?.unwrap_or(0);
    number.checked_mul(unit).ok_or_else(|| {
        error_at(
            element,
            At::Attribute(name),
            format_args!("'{number}' is more than can be counted in bytes"),
        )
    })
}

/// Bytes of the unit in an attribute, `otherwise` if there is none.
fn unit(element: Element<'_>, otherwise: u64) -> Result<u64> {
    match element.attr("unit") {
        None => Ok(otherwise),
        Some(unit) => units::unit_bytes(&unit)
            .map_err(|error| error_at(element, At::Attribute("unit"), error.message())),
    }
}

impl Host {
    fn read(element: Element<'_>) -> Result<Self> {
        let cpu = element.child_or_ghost("cpu");
        let model = read_cpu(cpu)?;
        let cache = element.child_or_ghost("cache");
        let bandwidth = element.child_or_ghost("memory_bandwidth");
        let topology = element.child_or_ghost("topology");
        let cells = topology.child("cells");
        let interconnects = topology.child_or_ghost("interconnects");
        Ok(Self {
            uuid: child_text::<Uuid>(element, "uuid")?,
            arch: model.arch.clone().unwrap_or_default(),
            features: names(cpu.child_or_ghost("features"), HOST_FEATURES),
            cpu: Some(HostCpu { arch: None, ..model }).filter(|cpu| *cpu != HostCpu::default()),
            page_sizes: each(cpu, "pages", |pages| {
                Ok(size(pages, "size", unit(pages, 1024)?)? / 1024)
            })?,
            power_management: names(element.child_or_ghost("power_management"), SLEEP),
            iommu: maybe(element.child_or_ghost("iommu"), "support")?.unwrap_or(false),
            migration: match element.child("migration_features") {
                None => None,
                Some(migration) => Some(Migration {
                    live: migration.child("live").is_some(),
                    transports: each(migration.child_or_ghost("uri_transports"), "uri_transport", text)?,
                }),
            },
            netprefix: child_text(element, "netprefix")?,
            cells: match cells {
                None => None,
                Some(cells) => Some(each(cells, "cell", Cell::read)?),
            },
            interconnects: interconnects
                .children()
                .map(Interconnect::read)
                .collect::<Result<_>>()?,
            caches: each(cache, "bank", Cache::read)?,
            cache_monitor: cache.child("monitor").map(CacheMonitor::read).transpose()?,
            memory_bandwidth: each(bandwidth, "node", MemoryBandwidth::read)?,
            memory_bandwidth_monitor: bandwidth.child("monitor").map(CacheMonitor::read).transpose()?,
            security_models: each(element, "secmodel", |model| {
                Ok(SecurityModel {
                    model: need_text(model, "model")?,
                    doi: need_text(model, "doi")?,
                    base_labels: each(model, "baselabel", |label| {
                        Ok((attr(label, "type")?, text(label)?))
                    })?,
                })
            })?,
        })
    }
}

/// The processor. Where its model is not known, its parts are.
fn read_cpu(element: Element<'_>) -> Result<HostCpu> {
    let cx = &mut Reader::new(XmlFlags::empty());
    if element.child("model").is_some() {
        return HostCpu::read(element, cx);
    }
    Ok(HostCpu {
        arch: child_text(element, "arch")?,
        model: None,
        vendor: child_text(element, "vendor")?,
        microcode: read::child(element, cx, "microcode")?,
        signature: read::child(element, cx, "signature")?,
        counter: read::child(element, cx, "counter")?,
        topology: read::child(element, cx, "topology")?,
        cache: read::child(element, cx, "cache")?,
        max_phys_addr: read::child(element, cx, "maxphysaddr")?,
        features: read::children(element, cx, "feature")?,
    })
}

/// What a host without processor models tells of its processor.
const HOST_FEATURES: &[&str] = &["pae", "nonpae", "vmx", "svm"];

/// How a host can sleep.
const SLEEP: &[&str] = &["suspend_mem", "suspend_disk", "suspend_hybrid"];

/// What can be switched of a guest, or is there.
const GUEST_FEATURES: &[&str] = &[
    "pae",
    "nonpae",
    "ia64_be",
    "acpi",
    "apic",
    "cpuselection",
    "deviceboot",
    "disksnapshot",
    "hap",
    "externalSnapshot",
];

/// Which of these children there are, in this order: libvirt's.
fn named<'d>(element: Element<'d>, known: &'static [&'static str]) -> impl Iterator<Item = Element<'d>> {
    known.iter().filter_map(move |name| element.child(name))
}

/// The names of [`named`] children.
fn names(element: Element<'_>, known: &'static [&'static str]) -> Vec<String> {
    named(element, known)
        .map(|child| child.name().to_owned())
        .collect()
}

impl Cell {
    fn read(element: Element<'_>) -> Result<Self> {
        Ok(Self {
            id: attr(element, "id")?,
            memory: match element.child("memory") {
                None => 0,
                Some(memory) => {
                    let number: u64 = text(memory)?;
                    number.saturating_mul(unit(memory, 1024)?) / 1024
                }
            },
            pages: each(element, "pages", |pages| {
                Ok((size(pages, "size", unit(pages, 1024)?)? / 1024, text(pages)?))
            })?,
            distances: each(element.child_or_ghost("distances"), "sibling", |sibling| {
                Ok((attr(sibling, "id")?, attr(sibling, "value")?))
            })?,
            caches: each(element, "cache", MemoryCache::read)?,
            cpus: each(element.child_or_ghost("cpus"), "cpu", |cpu| {
                let place = match maybe(cpu, "socket_id")? {
                    None => None,
                    Some(socket) => Some(CpuPlace {
                        socket,
                        die: maybe(cpu, "die_id")?.unwrap_or(0),
                        cluster: maybe(cpu, "cluster_id")?.unwrap_or(0),
                        core: maybe(cpu, "core_id")?.unwrap_or(0),
                        siblings: cpus(cpu, "siblings")?,
                    }),
                };
                Ok(CellCpu {
                    id: attr(cpu, "id")?,
                    place,
                })
            })?,
        })
    }
}

impl MemoryCache {
    fn read(element: Element<'_>) -> Result<Self> {
        let line = element.child_or_ghost("line");
        let space = element.child_or_ghost("size");
        let bytes = size(line, "value", unit(line, 1)?)?;
        Ok(Self {
            level: attr(element, "level")?,
            associativity: attr(element, "associativity")?,
            policy: attr(element, "policy")?,
            size: size(space, "value", unit(space, 1024)?)? / 1024,
            line: u32::try_from(bytes)
                .map_err(|_| error_at(line, At::Attribute("value"), "no cache has such a line"))?,
        })
    }
}

impl Interconnect {
    fn read(element: Element<'_>) -> Result<Self> {
        let kind: InterconnectKind = match InterconnectKind::from_word(element.name()) {
            Some(kind) => kind,
            None => return Err(error_at(element, At::Text, "expected 'latency' or 'bandwidth'")),
        };
        let value: u64 = attr(element, "value")?;
        Ok(Self {
            kind,
            initiator: attr(element, "initiator")?,
            target: attr(element, "target")?,
            write: element.attr("type").is_some_and(|kind| kind == "write"),
            value: match kind {
                InterconnectKind::Bandwidth => size(element, "value", unit(element, 1024)?)? / 1024,
                InterconnectKind::Latency => value,
            },
        })
    }
}

impl Cache {
    fn read(element: Element<'_>) -> Result<Self> {
        Ok(Self {
            id: attr(element, "id")?,
            level: attr(element, "level")?,
            kind: attr(element, "type")?,
            size: size(element, "size", unit(element, 1)?)?,
            cpus: cpus(element, "cpus")?,
            controls: each(element, "control", |control| {
                let unit = unit(control, 1)?;
                Ok(CacheControl {
                    granularity: size(control, "granularity", unit)?,
                    min: size(control, "min", unit)?,
                    scope: attr(control, "type")?,
                    max_allocations: attr(control, "maxAllocs")?,
                })
            })?,
        })
    }
}

impl CacheMonitor {
    fn read(element: Element<'_>) -> Result<Self> {
        Ok(Self {
            level: match maybe(element, "level")? {
                None => None,
                Some(level) => Some((level, attr(element, "reuseThreshold")?)),
            },
            max_monitors: attr(element, "maxMonitors")?,
            features: each(element, "feature", |feature| attr(feature, "name"))?,
        })
    }
}

impl MemoryBandwidth {
    fn read(element: Element<'_>) -> Result<Self> {
        let control = element.child_or_ghost("control");
        Ok(Self {
            id: attr(element, "id")?,
            cpus: cpus(element, "cpus")?,
            granularity: attr(control, "granularity")?,
            min: maybe(control, "min")?.unwrap_or(0),
            max_allocations: attr(control, "maxAllocs")?,
        })
    }
}

impl Guest {
    fn read(element: Element<'_>) -> Result<Self> {
        let arch = element
            .child("arch")
            .ok_or_else(|| missing(element, At::Child("arch")))?;
        Ok(Self {
            os_type: need_text(element, "os_type")?,
            arch: attr(arch, "name")?,
            word_size: need_text(arch, "wordsize")?,
            common: GuestPrograms::read(arch)?,
            domains: each(arch, "domain", |domain| {
                Ok((attr(domain, "type")?, GuestPrograms::read(domain)?))
            })?,
            features: named(element.child_or_ghost("features"), GUEST_FEATURES)
                .map(GuestFeature::read)
                .collect::<Result<_>>()?,
        })
    }
}

impl GuestPrograms {
    fn read(element: Element<'_>) -> Result<Self> {
        Ok(Self {
            emulator: child_text(element, "emulator")?,
            loader: child_text(element, "loader")?,
            machines: each(element, "machine", |machine| {
                Ok(Machine {
                    name: text(machine)?,
                    canonical: maybe(machine, "canonical")?,
                    max_cpus: maybe(machine, "maxCpus")?.unwrap_or(0),
                    deprecated: maybe(machine, "deprecated")?.unwrap_or(false),
                })
            })?,
        })
    }
}

impl GuestFeature {
    fn read(element: Element<'_>) -> Result<Self> {
        let name = element.name().to_owned();
        match element.attr("default") {
            None => Ok(Self::Present(name)),
            Some(default) => Ok(Self::Switch {
                name,
                default: default == "on",
                toggle: maybe(element, "toggle")?.unwrap_or(false),
            }),
        }
    }
}
