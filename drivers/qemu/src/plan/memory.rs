//! Memory of the guest: `-m`, memory objects, NUMA cells, modules, I/O threads.

use std::collections::BTreeMap;

use serde_json::json;
use virt_conf::domain::memory::{
    HugePages, MemoryAccess, MemoryAllocation, MemoryBacking, MemoryDevice, MemoryModel, MemorySource,
};
use virt_conf::numa::{
    NumaCacheAssociativity, NumaCachePolicy, NumaCell, NumaInterconnect, NumaMemoryMode, NumaPlacement,
};
use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::device::{VirtioVariant, alias};
use crate::capabilities::Flag;

/// One piece of memory that QEMU is given.
struct Piece<'a> {
    id: String,
    size: u64,
    /// The guest's cell.
    cell: Option<u32>,
    module: Option<&'a MemoryDevice>,
    access: Option<MemoryAccess>,
    discard: Option<bool>,
    /// The memory that the machine starts with.
    system: bool,
    /// It is needed even if it says nothing that is not the default.
    force: bool,
}

struct Pages {
    size: u64,
    needed: bool,
    used: bool,
    allocate: bool,
}

struct Backend {
    props: Props,
    nodes: Option<Bitmap>,
    /// It says something that is not the default.
    needed: bool,
}

/// Numbers of a set as ranges, as QEMU takes CPUs.
pub(super) fn ranges(set: &Bitmap) -> Vec<String> {
    set.to_string()
        .split(',')
        .filter(|range| !range.is_empty())
        .map(str::to_owned)
        .collect()
}

fn numbers(set: &Bitmap) -> serde_json::Value {
    json!(set.iter().collect::<Vec<usize>>())
}

impl<'a> Builder<'a> {
    pub(super) fn cells(&self) -> &'a [NumaCell] {
        self.domain
            .cpu
            .as_ref()
            .and_then(|cpu| cpu.numa.as_ref())
            .map_or(&[], |numa| &numa.cells)
    }

    pub(super) fn default_ram(&self) -> Option<&'a str> {
        self.machine_caps
            .and_then(|machine| machine.default_ram_id.as_deref())
    }

    pub(super) fn has_hmat(&self) -> bool {
        let numa = self.domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
        numa.is_some_and(|numa| {
            !numa.interconnects.is_empty() || numa.cells.iter().any(|cell| !cell.caches.is_empty())
        })
    }

    fn backing(&self) -> MemoryBacking {
        self.domain.memory_backing.as_deref().cloned().unwrap_or_default()
    }

    /// What the machine starts with, in KiB.
    fn initial_memory(&self) -> u64 {
        let modules = self
            .domain
            .devices
            .memory
            .iter()
            .map(|module| module.target.size)
            .sum();
        self.domain.memory.size.saturating_sub(modules)
    }

    pub(super) fn memory(&mut self) -> Result<()> {
        let plugs = self.domain.max_memory.as_ref();
        let mut size = self.initial_memory();
        if plugs.is_none() {
            size &= !0x1ff;
        }
        let mut value = format!("size={size}k");
        if let Some(plugs) = plugs {
            if plugs.slots > 0 {
                value.push_str(&format!(",slots={}", plugs.slots));
            }
            if plugs.size > 0 {
                value.push_str(&format!(",maxmem={}k", plugs.size));
            }
        }
        self.command.option("-m", value);
        if self.cells().is_empty() {
            match self.default_ram() {
                Some(id) => {
                    let piece = Piece {
                        id: id.to_owned(),
                        size: self.initial_memory(),
                        cell: None,
                        module: None,
                        access: None,
                        discard: None,
                        system: true,
                        force: false,
                    };
                    let backend = self.memory_backend(&piece)?;
                    self.memory_object(backend)?;
                }
                None => self.memory_path()?,
            }
        }
        let lock = super::args::on_off(self.backing().locked);
        self.command.option("-overcommit", format!("mem-lock={lock}"));
        Ok(())
    }

    /// A memory object, behind the threads that allocate it close to where it is.
    fn memory_object(&mut self, mut backend: Backend) -> Result<()> {
        let allocates = backend.props.get("prealloc").and_then(serde_json::Value::as_bool) == Some(true);
        if let Some(mut nodes) = backend
            .nodes
            .take()
            .filter(|_| allocates && self.caps.has(Flag::ThreadContext))
        {
            let mut close = true;
            if let Some(cpus) = self.emulator_cpus() {
                let mut near = Bitmap::new(0);
                for node in self.host.nodes.iter().filter(|node| node.cpus.overlaps(cpus)) {
                    near.grow(node.id as usize + 1);
                    near.set(node.id as usize);
                }
                near.intersect(&nodes);
                close = !near.is_empty();
                nodes = near;
            }
            if close {
                let id = backend
                    .props
                    .get("id")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default();
                let context = format!("tc-{id}");
                let threads =
                    Props::object("thread-context", context.as_str()).with("node-affinity", numbers(&nodes));
                self.command.object(&threads);
                backend.props = backend.props.with("prealloc-context", context);
            }
        }
        self.command.object(&backend.props);
        Ok(())
    }

    fn emulator_cpus(&self) -> Option<&'a Bitmap> {
        let pinned = self
            .domain
            .cpu_tune
            .as_ref()
            .and_then(|tune| tune.emulator_pin.as_ref());
        pinned.or(self.domain.vcpus.cpuset.as_ref()).map(|set| &set.0)
    }

    /// The oldest way to say where memory comes from: one path for all of it.
    fn memory_path(&mut self) -> Result<()> {
        let backing = self.backing();
        let first = backing
            .huge_pages
            .as_ref()
            .map(|huge| huge.pages.first().map_or(0, |page| page.size));
        let mut allocate = false;
        let mut path = None;
        if let Some(size) = first.filter(|size| *size != self.host.page_size) {
            path = Some(self.huge_page_path(size)?);
            allocate = true;
        } else if backing.source == Some(MemorySource::File) {
            path = Some(format!("{}/ram", self.layout.memory_directory));
        }
        if (allocate || backing.allocation == Some(MemoryAllocation::Immediate)) && !self.preallocated {
            self.command.flag("-mem-prealloc");
            self.preallocated = true;
        }
        if let Some(path) = path {
            self.command.option("-mem-path", path);
        }
        Ok(())
    }

    fn default_huge_page(&self) -> Result<u64> {
        let mounts = &self.host.huge_pages;
        let mount = mounts.iter().find(|mount| mount.default).or(mounts.first());
        mount.map(|mount| mount.size).ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "hugepages are disabled by administrator config",
            )
        })
    }

    fn huge_page_path(&self, size: u64) -> Result<String> {
        let size = if size == 0 {
            self.default_huge_page()?
        } else {
            size
        };
        let mount = self
            .host
            .huge_pages
            .iter()
            .find(|mount| mount.size == size)
            .ok_or_else(|| {
                VirtError::internal(format_args!("no hugetlbfs with pages of {size} KiB is mounted"))
            })?;
        Ok(format!("{}/libvirt/qemu/{}", mount.path, self.layout.short_name))
    }

    fn pages(&self, piece: &Piece<'_>) -> Result<Pages> {
        let source = piece.module.and_then(|module| module.source.as_ref());
        let path = source.and_then(|source| source.path.as_ref());
        let mut size = source.and_then(|source| source.page_size).unwrap_or(0);
        let mut needed = size != 0;
        let mut used = needed;
        let backing = self.backing();
        if size == 0 {
            let pages = backing.huge_pages.as_ref();
            let own = piece.cell.and_then(|cell| {
                let list = &pages?.pages;
                list.iter().find(|page| {
                    page.nodeset
                        .as_ref()
                        .is_some_and(|set| set.0.contains(cell as usize))
                })
            });
            if let Some(page) = own {
                (size, needed, used) = (page.size, true, true);
            } else if let Some(HugePages { pages }) = pages {
                let master = pages.iter().rev().find(|page| page.nodeset.is_none());
                if pages.is_empty() || master.is_some() {
                    (size, used) = (master.map_or(0, |page| page.size), true);
                }
            }
        }
        if size == self.host.page_size {
            (size, needed, used) = (0, false, false);
        } else if used && size == 0 {
            size = self.default_huge_page()?;
        }
        let mut allocate = backing.allocation == Some(MemoryAllocation::Immediate);
        if path.is_some() {
            let module = piece.module.map(|module| module.model);
            allocate |= module == Some(MemoryModel::Nvdimm) && !source.is_some_and(|source| source.pmem);
        } else {
            allocate |= used;
        }
        Ok(Pages {
            size,
            needed,
            used,
            allocate,
        })
    }

    fn memory_backend(&self, piece: &Piece<'_>) -> Result<Backend> {
        let backing = self.backing();
        let cell = piece.cell.and_then(|cell| self.cells().get(cell as usize));
        let access = piece
            .access
            .or(cell.and_then(|cell| cell.access))
            .or(backing.access);
        let discard = piece
            .discard
            .or(cell.and_then(|cell| cell.discard))
            .or(backing.discard.then_some(true));
        let source = piece.module.and_then(|module| module.source.as_ref());
        let model = piece.module.map(|module| module.model);
        let own_nodes = source.and_then(|source| source.nodes.as_ref());
        let path = source
            .and_then(|source| source.path.as_ref())
            .filter(|_| matches!(model, Some(MemoryModel::Nvdimm | MemoryModel::VirtioPmem)));
        let Pages {
            size: page_size,
            needed: need_huge,
            used: use_huge,
            allocate,
        } = self.pages(piece)?;
        let mut allocate = allocate;
        let mut props = Props::new();
        let mut canonical_path = true;
        let kind;
        let share = access.map(|access| access == MemoryAccess::Shared);
        if model == Some(MemoryModel::SgxEpc) {
            kind = "memory-backend-epc";
            allocate |= !self.preallocated;
        } else if path.is_none() && backing.source == Some(MemorySource::Memfd) {
            kind = "memory-backend-memfd";
            if use_huge {
                props = props.with("hugetlb", true).with("hugetlbsize", page_size << 10);
            }
            props = props.maybe("share", share);
            canonical_path = !piece.system;
        } else if use_huge || path.is_some() || access.is_some() || backing.source == Some(MemorySource::File)
        {
            kind = "memory-backend-file";
            let place = match path {
                Some(path) => path.clone(),
                None if use_huge => self.huge_page_path(page_size)?,
                None => {
                    let name = piece
                        .module
                        .map_or(Ok(piece.id.as_str()), |module| alias(&module.info))?;
                    format!("{}/{name}", self.layout.memory_directory)
                }
            };
            props = props.with("mem-path", place);
            if path.is_none() {
                props = props.maybe("discard-data", discard);
            }
            props = props.maybe("share", share);
            canonical_path = !piece.system;
        } else {
            kind = "memory-backend-ram";
        }
        if !canonical_path && self.caps.has(Flag::XUseCanonicalPathForRamblockId) {
            props = props.with("x-use-canonical-path-for-ramblock-id", false);
        }
        if model == Some(MemoryModel::VirtioMem) {
            if self.preallocated && !self.caps.has(Flag::DeviceVirtioMemPciPrealloc) {
                props = props.with("prealloc", false);
            }
            if self.caps.has(Flag::MemoryBackendReserve) {
                props = props.with("reserve", false);
            }
        } else if !self.preallocated {
            props = props
                .maybe("prealloc", allocate.then_some(true))
                .positive("prealloc-threads", backing.allocation_threads);
        }
        props = props.with("size", piece.size * 1024);
        if let Some(source) = source.filter(|_| model == Some(MemoryModel::Nvdimm)) {
            props = props.positive("align", source.align_size.unwrap_or(0) * 1024);
            if source.pmem {
                if !self.caps.has(Flag::ObjectMemoryFilePmem) {
                    let what = "this emulator has no <pmem/> for NVDIMMs";
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
                props = props.with("pmem", true);
            }
        }
        let (mode, tuned, specified) = self.cell_policy(piece.cell);
        let nodes = own_nodes.map(|set| &set.0).or(tuned).cloned();
        if let Some(nodes) = &nodes {
            let policy = match mode {
                NumaMemoryMode::Strict => Some("bind"),
                NumaMemoryMode::Preferred => Some("preferred"),
                NumaMemoryMode::Interleave => Some("interleave"),
                NumaMemoryMode::Restrictive => None,
            };
            if let Some(policy) = policy {
                props = props.with("host-nodes", numbers(nodes)).with("policy", policy);
            }
        }
        let file = matches!(backing.source, Some(MemorySource::File | MemorySource::Memfd));
        let needed = need_huge
            || own_nodes.is_some()
            || specified
            || path.is_some()
            || access.is_some()
            || file
            || piece.force;
        if needed && kind == "memory-backend-memfd" && !self.caps.has(Flag::ObjectMemoryMemfd) {
            let what = "this emulator has no <source type='memfd'>";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
        let props = props.first("id", piece.id.as_str()).first("qom-type", kind);
        Ok(Backend { props, nodes, needed })
    }

    /// How a cell's memory is spread over the host's nodes, over which, and whether the cell says so itself.
    fn cell_policy(&self, cell: Option<u32>) -> (NumaMemoryMode, Option<&'a Bitmap>, bool) {
        let Some(tune) = &self.domain.numatune else {
            return (NumaMemoryMode::Strict, None, false);
        };
        if let Some(node) = tune.nodes.iter().find(|node| Some(node.cell) == cell) {
            return (node.mode, Some(&node.nodeset.0), true);
        }
        let Some(memory) = &tune.memory else {
            return (NumaMemoryMode::Strict, None, false);
        };
        let nodes = if memory.placement == Some(NumaPlacement::Auto) {
            self.start.auto_nodes.as_ref()
        } else {
            memory.nodeset.as_ref().map(|set| &set.0)
        };
        (memory.mode, nodes, false)
    }

    pub(super) fn iothreads(&mut self) {
        for thread in &self.domain.iothreads {
            let props = Props::object("iothread", format!("iothread{}", thread.id))
                .maybe("thread-pool-min", thread.thread_pool_min)
                .maybe("thread-pool-max", thread.thread_pool_max)
                .maybe("poll-max-ns", thread.poll_max)
                .maybe("poll-grow", thread.poll_grow)
                .maybe("poll-shrink", thread.poll_shrink);
            self.command.object(&props);
        }
        if let Some(main) = &self.domain.default_iothread {
            let props = Props::object("main-loop", "main-loop")
                .maybe("thread-pool-min", main.thread_pool_min)
                .maybe("thread-pool-max", main.thread_pool_max);
            self.command.object(&props);
        }
    }

    pub(super) fn numa(&mut self) -> Result<()> {
        let cells = self.cells();
        if cells.is_empty() {
            return Ok(());
        }
        let hmat = self.has_hmat();
        let mut as_objects = hmat
            || !self
                .machine_caps
                .is_some_and(|machine| machine.numa_mem_supported);
        let mut backends = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let piece = Piece {
                id: format!("ram-node{at}"),
                size: cell.memory,
                cell: Some(number),
                module: None,
                access: None,
                discard: None,
                system: false,
                force: false,
            };
            let backend = self.memory_backend(&piece)?;
            as_objects |= backend.needed;
            backends.push(backend);
        }
        if !as_objects {
            self.memory_path()?;
        }
        let first = cells
            .iter()
            .position(|cell| cell.cpus.as_ref().is_some_and(|set| !set.is_empty()));
        let first = first.ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "At least one NUMA node has to have CPUs",
            )
        })?;
        for ((at, cell), backend) in cells.iter().enumerate().zip(backends) {
            if as_objects {
                self.memory_object(backend)?;
            }
            let mut value = format!("node,nodeid={at}");
            for range in cell.cpus.iter().flat_map(|set| ranges(&set.0)) {
                value.push_str(&format!(",cpus={range}"));
            }
            if hmat {
                value.push_str(&format!(",initiator={}", self.initiator(at).unwrap_or(first)));
            }
            if as_objects {
                value.push_str(&format!(",memdev=ram-node{at}"));
            } else {
                value.push_str(&format!(",mem={}", cell.memory / 1024));
            }
            self.command.option("-numa", value);
        }
        self.distances();
        if hmat {
            self.memory_attributes();
        }
        Ok(())
    }

    /// The cell whose CPUs reach a cell's memory best.
    fn initiator(&self, target: usize) -> Option<usize> {
        let has_cpus = |at: usize| {
            self.cells()
                .get(at)
                .and_then(|cell| cell.cpus.as_ref())
                .is_some_and(|set| !set.is_empty())
        };
        if has_cpus(target) {
            return Some(target);
        }
        let numa = self.domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref())?;
        let mut best: Option<(u64, usize)> = None;
        for link in &numa.interconnects {
            if let NumaInterconnect::Latency(link) = link {
                let closer = best.is_none_or(|(value, _)| link.value < value);
                if link.target as usize == target
                    && link.cache == 0
                    && has_cpus(link.initiator as usize)
                    && closer
                {
                    best = Some((link.value, link.initiator as usize));
                }
            }
        }
        best.map(|(_, initiator)| initiator)
    }

    fn distances(&mut self) {
        let cells = self.cells();
        if cells.iter().all(|cell| cell.distances.is_empty()) {
            return;
        }
        let mut said = BTreeMap::new();
        for (from, cell) in cells.iter().enumerate() {
            for distance in &cell.distances {
                said.insert((from, distance.id as usize), distance.value);
            }
        }
        for from in 0..cells.len() {
            for to in 0..cells.len() {
                let value = said.get(&(from, to)).or(said.get(&(to, from))).copied();
                let value = value
                    .filter(|value| *value != 0)
                    .unwrap_or(if from == to { 10 } else { 20 });
                self.command
                    .option("-numa", format!("dist,src={from},dst={to},val={value}"));
            }
        }
    }

    fn memory_attributes(&mut self) {
        let Some(numa) = self.domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()) else {
            return;
        };
        for link in &numa.interconnects {
            let (NumaInterconnect::Latency(one) | NumaInterconnect::Bandwidth(one)) = link;
            let level = match one.cache {
                1 => "first-level",
                2 => "second-level",
                3 => "third-level",
                _ => "memory",
            };
            let value = match link {
                NumaInterconnect::Latency(_) => format!("latency,latency={}", one.value),
                NumaInterconnect::Bandwidth(_) => format!("bandwidth,bandwidth={}K", one.value),
            };
            let (initiator, target, kind) = (one.initiator, one.target, one.kind);
            self.command.option(
                "-numa",
                format!(
                    "hmat-lb,initiator={initiator},target={target},hierarchy={level},data-type={kind}-{value}"
                ),
            );
        }
        for (at, cell) in numa.cells.iter().enumerate() {
            for cache in &cell.caches {
                let associativity = match cache.associativity {
                    NumaCacheAssociativity::None => "none",
                    NumaCacheAssociativity::Direct => "direct",
                    NumaCacheAssociativity::Full => "complex",
                };
                let policy = match cache.policy {
                    NumaCachePolicy::None => "none",
                    NumaCachePolicy::Writeback => "write-back",
                    NumaCachePolicy::Writethrough => "write-through",
                };
                let mut value = format!(
                    "hmat-cache,node-id={at},size={}K,level={},associativity={associativity},policy={policy}",
                    cache.size, cache.level
                );
                if cache.line > 0 {
                    value.push_str(&format!(",line={}", cache.line));
                }
                self.command.option("-numa", value);
            }
        }
    }

    pub(super) fn memory_devices(&mut self) -> Result<()> {
        let domain = self.domain;
        for module in &domain.devices.memory {
            let name = alias(&module.info)?;
            let piece = Piece {
                id: format!("mem{name}"),
                size: module.target.size,
                cell: module.target.node,
                module: Some(module),
                access: module.access,
                discard: module.discard,
                system: false,
                force: true,
            };
            let backend = self.memory_backend(&piece)?;
            self.memory_object(backend)?;
            if module.model == MemoryModel::SgxEpc {
                continue;
            }
            let device = self.memory_module(module, &piece)?;
            self.device(device)?;
        }
        Ok(())
    }

    fn memory_module(&self, module: &MemoryDevice, piece: &Piece<'_>) -> Result<Props> {
        let target = &module.target;
        let bytes = |size: Option<u64>| size.unwrap_or(0) * 1024;
        let virtio = |base| self.virtio(base, &module.info, VirtioVariant::Plain, None);
        let (mut allocate, mut requested, mut block, mut label) = (false, 0, 0, 0);
        let (mut address, mut slots, mut uuid, mut unarmed) = (0, None, None, None);
        let props = match module.model {
            MemoryModel::Dimm => Props::device("pc-dimm"),
            MemoryModel::Nvdimm => {
                unarmed = target.read_only.then_some(true);
                uuid = module.uuid.map(|uuid| uuid.to_string());
                label = bytes(target.label_size);
                Props::device("nvdimm")
            }
            MemoryModel::VirtioPmem => {
                address = target.address.unwrap_or(0);
                virtio("virtio-pmem")?
            }
            MemoryModel::VirtioMem => {
                allocate = self.caps.has(Flag::DeviceVirtioMemPciPrealloc) && self.pages(piece)?.allocate;
                (block, requested) = (bytes(target.block), bytes(target.requested));
                (address, slots) = (target.address.unwrap_or(0), target.dynamic_memslots);
                virtio("virtio-mem")?
            }
            MemoryModel::SgxEpc => return Err(VirtError::internal("memory of enclaves is no device")),
        };
        Ok(props
            .maybe("node", target.node)
            .positive("label-size", label)
            .positive("block-size", block)
            .positive("requested-size", requested)
            .maybe("uuid", uuid)
            .maybe("unarmed", unarmed)
            .with("memdev", piece.id.as_str())
            .maybe("prealloc", allocate.then_some(true))
            .positive("memaddr", address)
            .maybe("dynamic-memslots", slots)
            .with("id", alias(&module.info)?)
            .and(self.address(&module.info, None)?))
    }
}
