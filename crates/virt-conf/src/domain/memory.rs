//! Memory: how much, what backs it, its limits, and memory devices.

use crate::scaled::{ScaledSize, kib};
use virt_util::uuid::Uuid;
use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlFlags, error_at, error_with, push_unsigned};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::device_info::DeviceInfo;
use crate::values::{CpuSet, MEMORY_UNLIMITED_KIB};

xml_enum! {
    /// What backs guest memory.
    pub enum MemorySource { File = "file", Anonymous = "anonymous", Memfd = "memfd" }
}

xml_enum! {
    /// When guest memory is allocated.
    pub enum MemoryAllocation { Immediate = "immediate", Ondemand = "ondemand" }
}

xml_enum! {
    /// Whether guest memory is shared with other processes.
    pub enum MemoryAccess { Shared = "shared", Private = "private" }
}

xml_enum! {
    /// The kind of memory device.
    pub enum MemoryModel { Dimm = "dimm", Nvdimm = "nvdimm", VirtioPmem = "virtio-pmem", VirtioMem = "virtio-mem", SgxEpc = "sgx-epc" }
}

/// `<maxMemory slots='16' unit='KiB'>…</maxMemory>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxMemory {
    /// Slots for memory devices.
    pub slots: u32,
    /// KiB that the guest may have at most, memory devices included.
    pub size: u64,
}

/// What `<memory>` looks like.
#[derive(Debug, Xml)]
pub struct SizedMemory {
    /// Whether core dumps hold the guest's memory.
    #[xml("@dumpCore", on_off)]
    pub dump_core: Option<bool>,
    /// How much it is.
    #[xml(flatten)]
    pub size: ScaledSize,
}

/// What `<maxMemory>` looks like.
#[derive(Debug, Xml)]
pub struct SlottedMemory {
    /// Slots for memory devices.
    #[xml("@slots", own)]
    pub slots: Option<u32>,
    /// How much it is.
    #[xml(flatten)]
    pub size: ScaledSize,
}

/// `with` for [`MaxMemory`].
pub(super) mod max_memory {
    use super::*;

    pub(in crate::domain) fn read(element: Element<'_>, cx: &mut Reader) -> Result<MaxMemory> {
        use virt_util::xml::{parse_integer, read};
        let size = kib::read(element, cx)?;
        let slots: Option<u32> = read::coded(element, cx, (ErrorCode::XML_ERROR, None), |cx| {
            read::attr_nonempty(element, cx, "slots", |text| parse_integer(text, 10))
        })?;
        Ok(MaxMemory {
            slots: slots.unwrap_or_default(),
            size,
        })
    }

    pub(in crate::domain) fn write(value: &MaxMemory, w: &mut Writer, name: &str) {
        w.start(name);
        if value.slots > 0 {
            w.attribute_with("slots", |out| push_unsigned(out, value.slots.into()));
        }
        w.attribute("unit", "KiB");
        w.text_with(|out| push_unsigned(out, value.size));
        w.end(name);
    }
}

/// `<memory dumpCore='off' unit='KiB'>…</memory>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySize {
    /// Whether core dumps hold the guest's memory.
    pub dump_core: Option<bool>,
    /// KiB, memory devices included.
    pub size: u64,
}

/// `with` for [`MemorySize`].
pub(super) mod memory_size {
    use super::*;

    pub(in crate::domain) fn read(element: Element<'_>, cx: &mut Reader) -> Result<MemorySize> {
        // An element that says nothing is none: the guest's NUMA nodes say it.
        let size = match virt_util::xml::read::is_blank(element) {
            true => 0,
            false => kib::read(element, cx)?,
        };
        let dump_core = virt_util::xml::read::attr(element, cx, "dumpCore", virt_util::xml::parse_on_off)?;
        Ok(MemorySize { dump_core, size })
    }

    pub(in crate::domain) fn write(value: &MemorySize, w: &mut Writer, name: &str) {
        w.start(name);
        if let Some(dump) = value.dump_core {
            w.attribute("dumpCore", if dump { "on" } else { "off" });
        }
        w.attribute("unit", "KiB");
        w.text_with(|out| push_unsigned(out, value.size));
        w.end(name);
    }
}

/// Limits that the kernel holds the guest to, in KiB.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "memtune", check = MemoryTune::after_read)]
pub struct MemoryTune {
    /// Most memory.
    #[xml("hard_limit", unless_empty, with = kib, described = ScaledSize)]
    pub hard_limit: Option<u64>,
    /// Most memory when memory is short.
    #[xml("soft_limit", unless_empty, with = kib, described = ScaledSize)]
    pub soft_limit: Option<u64>,
    /// Least memory (VMware).
    #[xml("min_guarantee", unless_empty, with = kib, described = ScaledSize)]
    pub min_guarantee: Option<u64>,
    /// Most memory and swap.
    #[xml("swap_hard_limit", unless_empty, with = kib, described = ScaledSize)]
    pub swap_hard_limit: Option<u64>,
}

impl MemoryTune {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        // So much that it is no limit.
        for limit in [
            &mut self.hard_limit,
            &mut self.soft_limit,
            &mut self.swap_hard_limit,
        ] {
            *limit = limit.filter(|limit| *limit < MEMORY_UNLIMITED_KIB);
        }
        self.min_guarantee = self.min_guarantee.filter(|least| *least != 0);
        Ok(())
    }
}

/// What backs the guest's memory.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "memoryBacking",
    order(source, access, allocation, allocation_threads, huge_pages)
)]
pub struct MemoryBacking {
    /// Memory comes in huge pages of the host, of these sizes.
    #[xml("hugepages+")]
    pub huge_pages: Option<HugePages>,
    /// Equal pages of guests are not merged.
    #[xml("nosharepages")]
    pub no_share_pages: bool,
    /// Memory is never swapped out.
    #[xml("locked")]
    pub locked: bool,
    /// What backs it.
    #[xml("source+@type", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub source: Option<MemorySource>,
    /// Whether it is shared with other processes.
    #[xml("access+@mode", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub access: Option<MemoryAccess>,
    /// When it is allocated.
    #[xml("allocation+@mode", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub allocation: Option<MemoryAllocation>,
    /// Threads that allocate it; 0: the default.
    #[xml("allocation+@threads", own, default, nonempty)]
    pub allocation_threads: u32,
    /// Its content is thrown away at the end.
    #[xml("discard")]
    pub discard: bool,
}

/// Huge pages.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "hugepages")]
pub struct HugePages {
    /// Sizes; none: the host's default.
    #[xml("page", with = huge_page, shape = huge_page_shape)]
    pub pages: Vec<HugePage>,
}

/// A size of huge pages.
#[derive(Clone, Debug, PartialEq)]
pub struct HugePage {
    /// KiB.
    pub size: u64,
    /// NUMA nodes of the guest; none: all others.
    pub nodeset: Option<CpuSet>,
}

fn huge_page_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("HugePage", "page", "A size of huge pages." => {
        /// The size, in the unit.
        "@size" => size: value(u64),
        /// The unit; KiB if none is said.
        "@unit" => unit: value(crate::scaled::Unit),
        /// NUMA nodes of the guest; none means all others.
        "@nodeset" => nodeset: value(CpuSet),
    })
}

mod huge_page {
    use super::*;
    use crate::scaled::scale_text;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<HugePage> {
        let size = element
            .attr("size")
            .ok_or_else(|| virt_util::xml::missing(element, At::Attribute("size")))?;
        let unit = element.attr("unit");
        let at = At::Attribute("size");
        let bytes = scale_text(element, at, (&size, unit.as_deref()), 1024, u64::MAX)?;
        if bytes == 0 {
            cx.fail(error_with(
                ErrorCode::XML_DETAIL,
                element,
                At::Attribute("size"),
                "hugepage size can't be zero",
            ))?;
        }
        use virt_util::xml::{XmlValue, read};
        let nodeset: Option<CpuSet> = read::coded(
            element,
            cx,
            (ErrorCode::INVALID_ARG, Some(ErrorDomain::NONE)),
            |cx| read::attr(element, cx, "nodeset", XmlValue::parse_value),
        )?;
        if nodeset.as_ref().is_some_and(CpuSet::is_empty) {
            cx.fail(error_at(
                element,
                At::Attribute("nodeset"),
                "invalid value of 'nodeset': no node is in it",
            ))?;
        }
        Ok(HugePage {
            size: bytes.div_ceil(1024),
            nodeset,
        })
    }

    pub(super) fn write(value: &HugePage, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute_with("size", |out| push_unsigned(out, value.size));
        w.attribute("unit", "KiB");
        if let Some(nodeset) = &value.nodeset {
            w.attribute_with("nodeset", |out| {
                virt_util::xml::XmlValue::format_value(nodeset, out)
            });
        }
        w.end(name);
    }
}

/// A memory device.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "memory", body, check = MemoryDevice::after_read)]
pub struct MemoryDevice {
    /// The kind.
    #[xml("@model")]
    pub model: MemoryModel,
    /// Whether it is shared with other processes.
    #[xml("@access")]
    pub access: Option<MemoryAccess>,
    /// Whether its content is thrown away at the end.
    #[xml("@discard")]
    pub discard: Option<bool>,
    /// UUID of an NVDIMM of a pSeries guest.
    #[xml("uuid", code = ErrorCode::INTERNAL_ERROR, when = self.model == MemoryModel::Nvdimm)]
    pub uuid: Option<Uuid>,
    /// What backs it.
    #[xml("source", omit_empty)]
    pub source: Option<MemoryDeviceSource>,
    /// What the guest sees.
    #[xml("target")]
    pub target: MemoryDeviceTarget,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// KiB of the smallest label of an NVDIMM.
const LEAST_LABEL: u64 = 128;

impl MemoryDevice {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        // Pages of no size are no wish.
        if let Some(source) = &mut self.source {
            source.page_size = source.page_size.filter(|size| *size != 0);
        }
        let target = &self.target;
        let label = target.label_size.unwrap_or(0);
        if self.model == MemoryModel::Nvdimm {
            let wrong = if label != 0 && label < LEAST_LABEL {
                format!("the label of an NVDIMM has at least {LEAST_LABEL} KiB")
            } else if label >= target.size {
                "the label of an NVDIMM is smaller than the NVDIMM".to_owned()
            } else {
                return Ok(());
            };
            cx.fail(error_at(element, At::Child("target"), wrong).in_domain(ErrorDomain::DOMAIN))?;
        }
        Ok(())
    }
}

/// Whether the memory device that `part` belongs to is of one of `models`: each takes from its source and its target what
/// it knows, and nothing else is looked at.
fn of_model(part: Element<'_>, models: &[&str]) -> bool {
    part.parent().is_none_or(|memory| {
        memory
            .attr("model")
            .is_some_and(|model| models.contains(&&*model))
    })
}

/// What backs a memory device. Sizes in KiB.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "source")]
pub struct MemoryDeviceSource {
    /// Nodes of the host.
    #[xml("nodemask", code = ErrorCode::INVALID_ARG, reported_by = ErrorDomain::NONE, read_when = of_model(element, &["dimm", "virtio-mem", "sgx-epc"]))]
    pub nodes: Option<CpuSet>,
    /// How large the pages of the host behind it are.
    #[xml("pagesize+", unless_empty, with = kib, described = ScaledSize, read_when = of_model(element, &["dimm", "virtio-mem"]))]
    pub page_size: Option<u64>,
    /// A file.
    #[xml("path", read_when = of_model(element, &["nvdimm", "virtio-pmem"]))]
    pub path: Option<String>,
    /// Alignment in memory.
    #[xml("alignsize+", unless_empty, with = kib, described = ScaledSize, read_when = of_model(element, &["nvdimm"]))]
    pub align_size: Option<u64>,
    /// The file is persistent memory.
    #[xml("pmem", default, read_when = of_model(element, &["nvdimm"]))]
    pub pmem: bool,
}

/// What the guest sees of a memory device. Sizes in KiB.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "target")]
pub struct MemoryDeviceTarget {
    /// Whether memory slots are used as memory is needed.
    #[xml("@dynamicMemslots", read_when = of_model(element, &["virtio-mem"]))]
    pub dynamic_memslots: Option<bool>,
    /// How much memory the device adds.
    #[xml("size", reported_by = ErrorDomain::XML, with = kib, described = ScaledSize)]
    pub size: u64,
    /// NUMA node of the guest.
    #[xml("node")]
    pub node: Option<u32>,
    /// Size of the label area (NVDIMM).
    #[xml("label/size", with = kib, described = ScaledSize, read_when = of_model(element, &["nvdimm"]), when = self.label_size != Some(0))]
    pub label_size: Option<u64>,
    /// The guest cannot write (NVDIMM).
    #[xml("readonly", default, read_when = of_model(element, &["nvdimm"]))]
    pub read_only: bool,
    /// Size of a block (virtio-mem).
    #[xml("block", with = kib, described = ScaledSize, read_when = of_model(element, &["virtio-mem"]))]
    pub block: Option<u64>,
    /// Size that the guest should use (virtio-mem).
    #[xml("requested", with = kib, described = ScaledSize, read_when = of_model(element, &["virtio-mem"]))]
    pub requested: Option<u64>,
    /// Size that the guest uses (virtio-mem); only live.
    #[xml("current+", unless_empty, with = kib, described = ScaledSize, when = !w.has(XmlFlags::INACTIVE))]
    pub current: Option<u64>,
    /// Guest physical address.
    #[xml("address@base", format = "0x%x", base = 16, read_when = of_model(element, &["virtio-mem", "virtio-pmem"]))]
    pub address: Option<u64>,
}
