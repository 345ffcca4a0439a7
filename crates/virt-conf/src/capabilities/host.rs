//! Caches and memory of a host, with what can be limited and measured of their use; and how facts that were read of a
//! machine become parts of the document.

use virt_util::bitmap::Bitmap;
use virt_util::host;
use virt_util::xml::Writer;

use super::{Cell, CellCpu, CpuPlace, Host};

xml_enum! {
    /// What a cache holds.
    pub enum CacheKind { Both = "both", Code = "code", Data = "data" }
}

xml_enum! {
    /// Where in a memory-side cache something can be.
    pub enum Associativity { None = "none", Direct = "direct", Full = "full" }
}

xml_enum! {
    /// When a memory-side cache writes.
    pub enum WritePolicy { None = "none", WriteBack = "writeback", WriteThrough = "writethrough" }
}

xml_enum! {
    /// What is told of the way to memory.
    pub enum InterconnectKind { Bandwidth = "bandwidth", Latency = "latency" }
}

/// A cache of processors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cache {
    /// Its number among those of its level.
    pub id: u32,
    /// Its level.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Its size in bytes.
    pub size: u64,
    /// Who shares it.
    pub cpus: Bitmap,
    /// How its use can be limited.
    pub controls: Vec<CacheControl>,
}

/// How the use of a cache can be limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// Size of a part, in bytes.
    pub granularity: u64,
    /// The smallest share in bytes, 0 if that is one part.
    pub min: u64,
    /// What is limited.
    pub scope: CacheKind,
    /// How many groups of processes can be told apart.
    pub max_allocations: u32,
}

/// What can be measured of the use of caches or memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMonitor {
    /// For caches: the level, and below how many bytes a cache counts as free.
    pub level: Option<(u32, u32)>,
    /// How many groups of processes can be told apart.
    pub max_monitors: u32,
    /// Names of what is measured.
    pub features: Vec<String>,
}

/// A place where the use of memory can be limited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryBandwidth {
    /// Its number: that of the last cache before memory.
    pub id: u32,
    /// Whose use.
    pub cpus: Bitmap,
    /// Steps, in percent.
    pub granularity: u32,
    /// The smallest share, in percent.
    pub min: u32,
    /// How many groups of processes can be told apart.
    pub max_allocations: u32,
}

/// A cache on the side of a cell's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCache {
    /// Its level: 1 is nearest to memory's users.
    pub level: u32,
    /// Where in it something can be.
    pub associativity: Associativity,
    /// When it writes.
    pub policy: WritePolicy,
    /// Its size in KiB.
    pub size: u64,
    /// Bytes of a line, 0 if not known.
    pub line: u32,
}

/// How fast memory of a cell is for processors of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interconnect {
    /// What is told.
    pub kind: InterconnectKind,
    /// The processors' cell.
    pub initiator: u32,
    /// The memory's cell.
    pub target: u32,
    /// Whether of writing; otherwise of reading.
    pub write: bool,
    /// KiB in a second, or nanoseconds.
    pub value: u64,
}

impl Cache {
    pub(super) fn write(&self, w: &mut Writer) {
        let (size, unit) = pretty(self.size);
        w.start("bank");
        w.attribute("id", &self.id.to_string());
        w.attribute("level", &self.level.to_string());
        w.attribute("type", self.kind.as_str());
        w.attribute("size", &size.to_string());
        w.attribute("unit", unit);
        w.attribute("cpus", &self.cpus.to_string());
        self.controls.iter().for_each(|control| control.write(w));
        w.end("bank");
    }
}

impl CacheControl {
    fn write(&self, w: &mut Writer) {
        let (mut granularity, mut unit) = pretty(self.granularity);
        let (mut min, min_unit) = pretty(self.min);
        if min > 0 && granularity > 0 {
            // Both are told in the smaller of their units.
            let (step, min_step) = (self.granularity / granularity, self.min / min);
            if min_step > step {
                min *= min_step / step;
            } else if min_step < step {
                granularity *= step / min_step;
                unit = min_unit;
            }
        }
        w.start("control");
        w.attribute("granularity", &granularity.to_string());
        if min > 0 {
            w.attribute("min", &min.to_string());
        }
        w.attribute("unit", unit);
        w.attribute("type", self.scope.as_str());
        w.attribute("maxAllocs", &self.max_allocations.to_string());
        w.end("control");
    }
}

impl CacheMonitor {
    pub(super) fn write(&self, w: &mut Writer) {
        w.start("monitor");
        if let Some((level, threshold)) = self.level {
            w.attribute("level", &level.to_string());
            w.attribute("reuseThreshold", &threshold.to_string());
        }
        w.attribute("maxMonitors", &self.max_monitors.to_string());
        for name in &self.features {
            w.start("feature");
            w.attribute("name", name);
            w.end("feature");
        }
        w.end("monitor");
    }
}

impl MemoryBandwidth {
    pub(super) fn write(&self, w: &mut Writer) {
        w.start("node");
        w.attribute("id", &self.id.to_string());
        w.attribute("cpus", &self.cpus.to_string());
        w.start("control");
        w.attribute("granularity", &self.granularity.to_string());
        w.attribute("min", &self.min.to_string());
        w.attribute("maxAllocs", &self.max_allocations.to_string());
        w.end("control");
        w.end("node");
    }
}

impl MemoryCache {
    pub(super) fn write(&self, w: &mut Writer) {
        let sized = |w: &mut Writer, name: &str, value: u64, unit: &str| {
            w.start(name);
            w.attribute("value", &value.to_string());
            w.attribute("unit", unit);
            w.end(name);
        };
        w.start("cache");
        w.attribute("level", &self.level.to_string());
        w.attribute("associativity", self.associativity.as_str());
        w.attribute("policy", self.policy.as_str());
        sized(w, "size", self.size, "KiB");
        if self.line > 0 {
            sized(w, "line", self.line.into(), "B");
        }
        w.end("cache");
    }
}

impl Interconnect {
    pub(super) fn write(&self, w: &mut Writer) {
        w.start(self.kind.as_str());
        w.attribute("initiator", &self.initiator.to_string());
        w.attribute("target", &self.target.to_string());
        w.attribute("type", if self.write { "write" } else { "read" });
        w.attribute("value", &self.value.to_string());
        if self.kind == InterconnectKind::Bandwidth {
            w.attribute("unit", "KiB");
        }
        w.end(self.kind.as_str());
    }
}

/// A number of bytes in the largest unit that tells it exactly.
fn pretty(bytes: u64) -> (u64, &'static str) {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    for unit in units.into_iter().take(5) {
        if value == 0 || !value.is_multiple_of(1024) {
            return (value, unit);
        }
        value /= 1024;
    }
    (value, "PiB")
}

impl From<host::NumaCell> for Cell {
    fn from(cell: host::NumaCell) -> Self {
        Self {
            id: cell.id,
            memory: cell.memory_kib,
            pages: cell
                .pages
                .iter()
                .map(|pages| (pages.size_kib, pages.total))
                .collect(),
            distances: cell.distances,
            caches: cell.caches.into_iter().map(MemoryCache::from).collect(),
            cpus: cell
                .cpus
                .into_iter()
                .map(|cpu| CellCpu {
                    id: cpu.id,
                    place: Some(CpuPlace {
                        socket: cpu.socket,
                        die: cpu.die,
                        cluster: cpu.cluster,
                        core: cpu.core,
                        siblings: cpu.siblings,
                    }),
                })
                .collect(),
        }
    }
}

impl From<host::MemoryCache> for MemoryCache {
    fn from(cache: host::MemoryCache) -> Self {
        Self {
            level: cache.level,
            associativity: match cache.indexing {
                host::CacheIndexing::Direct => Associativity::Direct,
                host::CacheIndexing::Complex => Associativity::Full,
                host::CacheIndexing::Other => Associativity::None,
            },
            policy: match cache.writing {
                host::CacheWriting::Back => WritePolicy::WriteBack,
                host::CacheWriting::Through => WritePolicy::WriteThrough,
                host::CacheWriting::Other => WritePolicy::None,
            },
            size: cache.size_kib,
            line: cache.line,
        }
    }
}

impl From<host::CacheKind> for CacheKind {
    fn from(kind: host::CacheKind) -> Self {
        match kind {
            host::CacheKind::Unified => Self::Both,
            host::CacheKind::Instruction => Self::Code,
            host::CacheKind::Data => Self::Data,
        }
    }
}

impl Host {
    /// Tells caches, and what the kernel can limit and measure of their use and of memory's.
    pub fn set_caches(&mut self, banks: Vec<host::CacheBank>, limits: &host::ResourceControl) {
        let last = banks.iter().map(|bank| bank.level).max();
        if let Some(memory) = limits.memory {
            self.memory_bandwidth = banks
                .iter()
                .filter(|bank| Some(bank.level) == last)
                .map(|bank| MemoryBandwidth {
                    id: bank.id,
                    cpus: bank.cpus.clone(),
                    granularity: memory.granularity,
                    min: memory.min,
                    max_allocations: memory.groups,
                })
                .collect();
        }
        let control = |bank: &host::CacheBank, limit: &host::CacheLimit| {
            let granularity = bank.size / u64::from(limit.parts.max(1));
            CacheControl {
                granularity,
                min: match limit.min_parts {
                    1 => 0,
                    parts => granularity.saturating_mul(parts.into()),
                },
                scope: limit.kind.into(),
                max_allocations: limit.groups,
            }
        };
        self.caches = banks
            .into_iter()
            .map(|bank| Cache {
                controls: limits
                    .caches
                    .iter()
                    .filter(|limit| limit.level == bank.level)
                    .map(|limit| control(&bank, limit))
                    .collect(),
                id: bank.id,
                level: bank.level,
                kind: bank.kind.into(),
                size: bank.size,
                cpus: bank.cpus,
            })
            .collect();
        let monitor = |prefix: &str, level: Option<(u32, u32)>| {
            let known = limits.monitor.as_ref()?;
            let features: Vec<String> = known
                .features
                .iter()
                .filter(|name| name.starts_with(prefix))
                .cloned()
                .collect();
            (!features.is_empty()).then_some(CacheMonitor {
                level,
                max_monitors: known.groups,
                features,
            })
        };
        let threshold = limits.monitor.as_ref().map_or(0, |monitor| monitor.threshold);
        // The kernel measures the third level only.
        self.cache_monitor = monitor("llc_", Some((3, threshold)));
        self.memory_bandwidth_monitor = monitor("mbm_", None);
    }

    /// Tells memory nodes and the ways between them.
    pub fn set_cells(&mut self, cells: Vec<host::NumaCell>, ways: &[host::MemoryAccess]) {
        self.cells = Some(cells.into_iter().map(Cell::from).collect());
        self.interconnects = ways
            .iter()
            .flat_map(|way| {
                let one = |kind, write, value| Interconnect {
                    kind,
                    initiator: way.initiator,
                    target: way.target,
                    write,
                    value,
                };
                [
                    one(InterconnectKind::Bandwidth, false, way.read_kib),
                    one(InterconnectKind::Bandwidth, true, way.write_kib),
                    one(InterconnectKind::Latency, false, way.read_latency),
                    one(InterconnectKind::Latency, true, way.write_latency),
                ]
            })
            .collect();
        // libvirt's types of ways count latency first.
        self.interconnects.sort_by_key(|one| {
            (
                one.kind != InterconnectKind::Latency,
                one.initiator,
                one.target,
                one.write,
                one.value,
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_the_largest_unit_that_is_exact() {
        assert_eq!(pretty(0), (0, "B"));
        assert_eq!(pretty(1500), (1500, "B"));
        assert_eq!(pretty(768 << 10), (768, "KiB"));
        assert_eq!(pretty(33 << 20), (33, "MiB"));
        assert_eq!(pretty(1 << 60), (1024, "PiB"));
    }
}
