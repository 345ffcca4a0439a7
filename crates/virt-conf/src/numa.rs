//! NUMA nodes of the guest, and where their memory comes from.

use virt_util::xml::{
    At, Element, Reader, Writer, Xml, XmlElement, error_at, error_with, push_unsigned, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::domain::memory::MemoryAccess;
use crate::scaled::scale_text;
use crate::values::CpuSet;

xml_enum! {
    /// How strictly memory comes from the named host nodes.
    pub enum NumaMemoryMode { Strict = "strict", Preferred = "preferred", Interleave = "interleave", Restrictive = "restrictive" }
}

xml_enum! {
    /// Who chooses the host nodes.
    pub enum NumaPlacement { Static = "static", Auto = "auto", Default = "default" }
}

xml_enum! {
    /// Associativity of a memory side cache.
    pub enum NumaCacheAssociativity { None = "none", Direct = "direct", Full = "full" }
}

xml_enum! {
    /// Write policy of a memory side cache.
    pub enum NumaCachePolicy { None = "none", Writeback = "writeback", Writethrough = "writethrough" }
}

xml_enum! {
    /// What an interconnect value describes.
    pub enum NumaInterconnectType { Access = "access", Read = "read", Write = "write" }
}

/// NUMA nodes of the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "numa", check = Numa::after_read)]
pub struct Numa {
    /// The nodes, by number.
    #[xml("cell")]
    pub cells: Vec<NumaCell>,
    /// Latencies and bandwidths between nodes.
    #[xml("interconnects/*")]
    pub interconnects: Vec<NumaInterconnect>,
}

/// A NUMA node of the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "cell")]
pub struct NumaCell {
    /// Its number; none: its place.
    #[xml("@id")]
    pub id: Option<u32>,
    /// CPUs of the guest.
    #[xml("@cpus", code = ErrorCode::INVALID_ARG, reported_by = ErrorDomain::NONE)]
    pub cpus: Option<CpuSet>,
    /// KiB.
    #[xml("@*", with = cell_memory, shape = cell_memory_shape)]
    pub memory: u64,
    /// Whether the memory is shared with other processes.
    #[xml("@memAccess")]
    pub access: Option<MemoryAccess>,
    /// Whether the memory is thrown away at the end.
    #[xml("@discard")]
    pub discard: Option<bool>,
    /// Distances to other nodes.
    #[xml("distances/sibling")]
    pub distances: Vec<NumaDistance>,
    /// Memory side caches.
    #[xml("cache")]
    pub caches: Vec<NumaCache>,
}

fn cell_memory_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("CellMemory", "", "The memory of a node." => {
        /// The memory, in the unit.
        "@memory" => memory: value(u64),
        /// The unit; KiB if none is said.
        "@unit" => unit: value(crate::scaled::Unit),
    })
}

/// `memory='…' unit='KiB'`.
mod cell_memory {
    use super::*;

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        let Some(memory) = element.attr("memory") else {
            return Err(virt_util::xml::missing(element, At::Attribute("memory")));
        };
        let unit = element.attr("unit");
        let at = At::Attribute("memory");
        let bytes = scale_text(element, at, (&memory, unit.as_deref()), 1024, i64::MAX as u64)?;
        Ok(bytes.div_ceil(1024))
    }

    pub(super) fn write(value: &u64, w: &mut Writer) {
        w.attribute_with("memory", |out| push_unsigned(out, *value));
        w.attribute("unit", "KiB");
    }
}

/// Distance to another node: 10 is the node itself.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "sibling")]
pub struct NumaDistance {
    /// The other node.
    #[xml("@id")]
    pub id: u32,
    /// Distance, 10 to 255.
    #[xml("@value")]
    pub value: u32,
}

/// A memory side cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumaCache {
    /// Level, 1 to 3.
    pub level: u32,
    /// Associativity.
    pub associativity: NumaCacheAssociativity,
    /// Write policy.
    pub policy: NumaCachePolicy,
    /// KiB.
    pub size: u64,
    /// Bytes of a line; 0: not said.
    pub line: u64,
}

fn sized(element: Element<'_>, name: &'static str, scale: u64) -> Result<Option<u64>> {
    let Some(child) = element.joined_child(name) else {
        return Ok(None);
    };
    let Some(value) = child.attr("value").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    // libvirt looks for the unit in an element of that name, though it writes it as an attribute.
    let unit = child.child("unit").map(|unit| unit.text());
    let at = At::Attribute("value");
    scale_text(child, at, (&value, unit.as_deref()), scale, u64::MAX).map(Some)
}

impl XmlElement for NumaCache {
    const NAME: &'static str = "cache";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let level = read::attr(element, cx, "level", virt_util::xml::XmlValue::parse_value)?;
        let associativity = read::attr(
            element,
            cx,
            "associativity",
            virt_util::xml::XmlValue::parse_value,
        )?;
        let policy = read::attr(element, cx, "policy", virt_util::xml::XmlValue::parse_value)?;
        // Sizes are read by a helper that libvirt has for all documents.
        let needed = |name: &'static str, scale| {
            let size = read::required(element, At::Child(name), sized(element, name, scale)?);
            size.map_err(|error| error.in_domain(ErrorDomain::XML))
        };
        if level == Some(0) {
            let what = "the level of a cache begins at 1";
            cx.fail(error_at(element, At::Attribute("level"), what).in_domain(ErrorDomain::XML))?;
        }
        Ok(Self {
            level: read::required(element, At::Attribute("level"), level)?,
            associativity: read::required(element, At::Attribute("associativity"), associativity)?,
            policy: read::required(element, At::Attribute("policy"), policy)?,
            size: needed("size", 1024)?.div_ceil(1024),
            line: needed("line", 1)?,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute_with("level", |out| push_unsigned(out, self.level.into()));
        w.attribute("associativity", self.associativity.as_str());
        w.attribute("policy", self.policy.as_str());
    }

    fn write_content(&self, w: &mut Writer) {
        w.start("size");
        w.attribute_with("value", |out| push_unsigned(out, self.size));
        w.attribute("unit", "KiB");
        w.end("size");
        if self.line != 0 {
            w.start("line");
            w.attribute_with("value", |out| push_unsigned(out, self.line));
            w.attribute("unit", "B");
            w.end("line");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("NumaCache", "cache", "A memory side cache." => {
            /// Level of the cache, 1 to 3.
            "@level" => level: value(u32),
            /// How lines of memory are mapped to the cache.
            "@associativity" => associativity: value(NumaCacheAssociativity),
            /// When writes reach memory.
            "@policy" => policy: value(NumaCachePolicy),
            /// Size of the cache.
            "size" => size: element {
                /// The number, in the unit.
                "@value" => value: value(u64),
                /// The unit; KiB if none is said.
                "@unit" => unit: value(String),
            },
            /// Size of a line of the cache.
            "line" => line: element {
                /// The number, in the unit.
                "@value" => value: value(u64),
                /// The unit; bytes if none is said.
                "@unit" => unit: value(String),
            },
        })
    }
}

/// Latency or bandwidth between nodes.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(union = "name()")]
pub enum NumaInterconnect {
    /// Nanoseconds.
    Latency(NumaLink),
    /// KiB per second.
    Bandwidth(NumaLink),
}

/// Two nodes and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumaLink {
    /// The node that reads or writes.
    pub initiator: u32,
    /// The node whose memory it is.
    pub target: u32,
    /// Cache of the target; 0: none.
    pub cache: u32,
    /// What the value describes.
    pub kind: NumaInterconnectType,
    /// Value.
    pub value: u64,
    /// Whether the value is a bandwidth in KiB per second.
    pub bandwidth: bool,
}

impl XmlElement for NumaLink {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let mut number = |name: &'static str| -> Result<Option<u32>> {
            read::attr(element, cx, name, virt_util::xml::XmlValue::parse_value)
        };
        let (initiator, target, cache) = (number("initiator")?, number("target")?, number("cache")?);
        let kind = read::attr(element, cx, "type", virt_util::xml::XmlValue::parse_value)?;
        let bandwidth = element.name() == "bandwidth";
        let at = At::Attribute("value");
        let value = if bandwidth {
            let value = element
                .attr("value")
                .ok_or_else(|| virt_util::xml::missing(element, at))?;
            let unit = element.attr("unit");
            scale_text(element, at, (&value, unit.as_deref()), 1024, u64::MAX)?.div_ceil(1024)
        } else {
            // Nanoseconds, whatever unit may be written beside them: libvirt looks at none.
            read::required(
                element,
                at,
                read::attr(element, cx, "value", virt_util::xml::XmlValue::parse_value)?,
            )?
        };
        Ok(Self {
            initiator: read::required(element, At::Attribute("initiator"), initiator)?,
            target: read::required(element, At::Attribute("target"), target)?,
            cache: cache.unwrap_or_default(),
            kind: read::required(element, At::Attribute("type"), kind)?,
            value,
            bandwidth,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute_with("initiator", |out| push_unsigned(out, self.initiator.into()));
        w.attribute_with("target", |out| push_unsigned(out, self.target.into()));
        if self.cache != 0 {
            w.attribute_with("cache", |out| push_unsigned(out, self.cache.into()));
        }
        w.attribute("type", self.kind.as_str());
        w.attribute_with("value", |out| push_unsigned(out, self.value));
        if self.bandwidth {
            w.attribute("unit", "KiB");
        }
    }

    fn write_content(&self, _w: &mut Writer) {}

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("NumaLink", "", "Latency or bandwidth between two nodes." => {
            /// Node that asks.
            "@initiator" => initiator: value(u32),
            /// Node whose memory is asked for.
            "@target" => target: value(u32),
            /// Level of the target's cache that answers.
            "@cache" => cache: value(u32),
            /// What is measured: access, reading or writing.
            "@type" => kind: value(NumaInterconnectType),
            /// Nanoseconds, or bandwidth in the unit.
            "@value" => value: value(u64),
            /// Unit of a bandwidth; KiB a second if none is said.
            "@unit" => unit: value(String),
        })
    }
}

impl Numa {
    /// KiB of all nodes.
    pub fn memory(&self) -> u64 {
        self.cells
            .iter()
            .fold(0, |sum, cell| sum.saturating_add(cell.memory))
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let count = self.cells.len() as u32;
        if count == 0 {
            let what = "<numa> has no <cell>: say the nodes of the guest, or leave it out";
            cx.fail(error_at(element, At::Text, what))?;
        }
        let cells = element.children_named("cell");
        let mut seen = std::collections::BTreeSet::new();
        for (place, (cell, element)) in self.cells.iter_mut().zip(cells).enumerate() {
            let id = *cell.id.get_or_insert(place as u32);
            if id >= count {
                let what = format!(
                    "exactly one 'cell' element per guest NUMA cell allowed, non-contiguous ranges or ranges not starting from 0 are not allowed: cell {id} of {count}"
                );
                cx.fail(error_at(element, At::Text, what))?;
            } else if !seen.insert(id) {
                let what = format_args!("a <cell> before has id {id} too");
                cx.fail(error_at(element, At::Text, what))?;
            }
            if cell.distances.is_empty() && element.child("distances").is_some() {
                let what = "NUMA distances defined without siblings";
                cx.fail(error_at(element, At::Child("distances"), what))?;
            }
        }
        self.fill_distances(element, cx)?;
        self.cells.sort_by_key(|cell| cell.id);
        for cell in &self.cells {
            let overlapping = self.cells.iter().any(|other| {
                other.id < cell.id
                    && matches!((&other.cpus, &cell.cpus), (Some(a), Some(b)) if a.0.overlaps(&b.0))
            });
            if overlapping {
                let what = format!(
                    "NUMA cell {} shares CPUs with another cell",
                    cell.id.unwrap_or_default()
                );
                let code = ErrorCode::CONFIG_UNSUPPORTED;
                cx.fail(error_with(code, element, At::Child("cell"), what))?;
            }
        }
        Ok(())
    }

    /// Distances hold both ways unless both are said, and each node is 10 from itself. They are taken in the document's order:
    /// what is said later counts.
    fn fill_distances(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let count = self.cells.len() as u32;
        let mut rows: std::collections::BTreeMap<u32, std::collections::BTreeMap<u32, u32>> =
            std::collections::BTreeMap::new();
        for cell in &self.cells {
            let own = cell.id.unwrap_or_default();
            for &NumaDistance { id, value } in &cell.distances {
                if id >= count {
                    let what = format!("<sibling id='{id}'> of cell {own}: expected an id below {count}");
                    cx.fail(error_at(element, At::Child("cell"), what))?;
                    continue;
                }
                if !(10..=255).contains(&value) || (id == own) != (value == 10) {
                    let what = format!(
                        "distance of cells {own} and {id} is {value}, expected 10 to itself, 11 to 255 to others"
                    );
                    cx.fail(error_at(element, At::Child("cell"), what))?;
                }
                rows.entry(own)
                    .or_insert_with(|| [(own, 10)].into())
                    .insert(id, value);
                let back = rows.entry(id).or_insert_with(|| [(id, 10)].into());
                back.entry(own).or_insert(value);
            }
        }
        for cell in &mut self.cells {
            if let Some(row) = rows.remove(&cell.id.unwrap_or_default()) {
                cell.distances = row
                    .into_iter()
                    .map(|(id, value)| NumaDistance { id, value })
                    .collect();
            }
        }
        Ok(())
    }
}

/// Where the guest's memory comes from.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "numatune")]
pub struct Numatune {
    /// All memory.
    #[xml("memory")]
    pub memory: Option<NumatuneMemory>,
    /// Memory of single nodes of the guest.
    #[xml("memnode")]
    pub nodes: Vec<NumatuneNode>,
}

/// Where all memory comes from.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "memory", check = NumatuneMemory::after_read, absent = NumatuneMemory::says_nothing)]
pub struct NumatuneMemory {
    /// How strictly.
    #[xml("@mode", default, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub mode: NumaMemoryMode,
    /// Nodes of the host.
    #[xml("@nodeset", code = ErrorCode::INVALID_ARG, reported_by = ErrorDomain::NONE, when = self.placement != Some(NumaPlacement::Auto))]
    pub nodeset: Option<CpuSet>,
    /// Who chooses the nodes.
    #[xml("@placement", code = ErrorCode::CONFIG_UNSUPPORTED, when = self.placement == Some(NumaPlacement::Auto))]
    pub placement: Option<NumaPlacement>,
}

/// Where the memory of a node of the guest comes from.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "memnode", check = NumatuneNode::after_read)]
pub struct NumatuneNode {
    /// Node of the guest.
    #[xml("@cellid")]
    pub cell: u32,
    /// How strictly.
    #[xml("@mode", default, always)]
    pub mode: NumaMemoryMode,
    /// Nodes of the host.
    #[xml("@nodeset", code = ErrorCode::INVALID_ARG, missing = ErrorCode::XML_ERROR, reported_by = ErrorDomain::NONE)]
    pub nodeset: CpuSet,
}

impl NumatuneMemory {
    fn says_nothing(element: Element<'_>) -> bool {
        !["mode", "nodeset", "placement"]
            .iter()
            .any(|name| element.has_attr(name))
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        // The default depends on what else is said.
        self.placement = self
            .placement
            .filter(|placement| *placement != NumaPlacement::Default);
        check_nodes(self.nodeset.as_ref(), element, cx)
    }
}

impl NumatuneNode {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_nodes(Some(&self.nodeset), element, cx)
    }
}

/// A set that excludes all it includes (`1,^1`) is well formed and of no use.
fn check_nodes(nodes: Option<&CpuSet>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    if !nodes.is_some_and(CpuSet::is_empty) {
        return Ok(());
    }
    let text = element.attr("nodeset").unwrap_or_default();
    let what = format!("invalid value '{text}' of attribute 'nodeset': it holds no node");
    cx.fail(error_with(
        ErrorCode::CONFIG_UNSUPPORTED,
        element,
        At::Attribute("nodeset"),
        what,
    ))
}
