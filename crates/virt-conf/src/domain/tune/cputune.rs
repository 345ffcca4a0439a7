//! `<cputune>`: how the host's processors, their caches and their memory bandwidth are shared out.

use std::collections::BTreeMap;

use virt_util::bitmap::Bitmap;
use virt_util::units;
use virt_util::xml::{
    At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, XmlValue, error_at, error_with, missing,
    parse_integer, push_signed, push_unsigned, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::scaled::scale_text;
use crate::values::CpuSet;

xml_enum! {
    /// A scheduling policy of the Linux kernel.
    pub enum SchedulerPolicy { Batch = "batch", Idle = "idle", Fifo = "fifo", Rr = "rr" }
}

xml_enum! {
    /// Which part of a cache an allocation is for.
    pub enum CacheType { Both = "both", Code = "code", Data = "data" }
}

/// How host CPUs are shared out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuTune {
    /// Weight of the guest.
    pub shares: Option<u64>,
    /// Periods in microseconds, and the time in each that may be used: of a CPU, of the guest, of the emulator, of an I/O
    /// thread. 0: not said.
    pub periods: CpuPeriods,
    /// Host CPUs of each CPU of the guest.
    pub vcpu_pin: BTreeMap<u32, CpuSet>,
    /// Host CPUs of the emulator.
    pub emulator_pin: Option<CpuSet>,
    /// Host CPUs of each I/O thread.
    pub iothread_pin: BTreeMap<u32, CpuSet>,
    /// Scheduling of the emulator.
    pub emulator_scheduler: Option<Scheduler>,
    /// Scheduling of each CPU of the guest.
    pub vcpu_scheduler: BTreeMap<u32, Scheduler>,
    /// Scheduling of each I/O thread.
    pub iothread_scheduler: BTreeMap<u32, Scheduler>,
    /// Cache and memory bandwidth of groups of CPUs.
    pub resource_groups: Vec<ResourceGroup>,
}

/// Periods and quotas.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuPeriods {
    /// Of a CPU.
    #[xml("period", default)]
    pub period: u64,
    /// Of a CPU.
    #[xml("quota", default)]
    pub quota: i64,
    /// Of the guest.
    #[xml("global_period", default)]
    pub global_period: u64,
    /// Of the guest.
    #[xml("global_quota", default)]
    pub global_quota: i64,
    /// Microseconds in which the emulator's own threads may use up their quota.
    #[xml("emulator_period", default)]
    pub emulator_period: u64,
    /// Microseconds of a period that the emulator's own threads may run; negative for no limit.
    #[xml("emulator_quota", default)]
    pub emulator_quota: i64,
    /// Of an I/O thread.
    #[xml("iothread_period", default)]
    pub iothread_period: u64,
    /// Of an I/O thread.
    #[xml("iothread_quota", default)]
    pub iothread_quota: i64,
}

/// How threads are scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// Policy.
    pub policy: SchedulerPolicy,
    /// Priority of real time policies.
    pub priority: i32,
}

/// Cache and memory bandwidth of a group of CPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceGroup {
    /// CPUs of the guest.
    pub vcpus: Bitmap,
    /// Name of the group in resctrl.
    pub id: String,
    /// Bytes of caches, by level, kind and number.
    pub caches: BTreeMap<(u32, CacheType, u32), u64>,
    /// Percent of memory bandwidth, by node.
    pub bandwidths: BTreeMap<u32, u32>,
    /// What is monitored.
    pub monitors: Vec<ResourceMonitor>,
}

/// CPUs whose use of cache or memory bandwidth is monitored.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceMonitor {
    /// Whether cache is monitored, otherwise memory bandwidth.
    pub cache: bool,
    /// CPUs of the guest.
    pub vcpus: Bitmap,
}

/// The one cache level that can be monitored.
const MONITOR_LEVEL: u32 = 3;

fn required_set(element: Element<'_>, cx: &mut Reader, name: &'static str) -> Result<CpuSet> {
    // CPUs of a part of the cache are told in another way than those that something runs on.
    let (code, by) = match element.name() {
        "cachetune" | "memorytune" | "monitor" => (ErrorCode::XML_ERROR, None),
        _ => (ErrorCode::INVALID_ARG, Some(ErrorDomain::NONE)),
    };
    let set: Option<CpuSet> = read::coded(element, cx, (code, by), |cx| {
        read::attr(element, cx, name, CpuSet::parse_value)
    })?;
    let set = set.ok_or_else(|| {
        // A list of pins is no place that could be missing; elsewhere the attribute is.
        let code = match name {
            "cpuset" => ErrorCode::INTERNAL_ERROR,
            _ => ErrorCode::XML_ERROR,
        };
        virt_util::xml::recoded(missing(element, At::Attribute(name)), element, code)
    })?;
    if set.is_empty() {
        cx.fail(error_with(
            code,
            element,
            At::Attribute(name),
            format_args!("invalid value of '{name}': no CPU is in it"),
        ))?;
    }
    Ok(set)
}

fn required_number(element: Element<'_>, cx: &mut Reader, name: &'static str) -> Result<u32> {
    let number = read::attr(element, cx, name, |text| virt_util::xml::parse_integer(text, 10))?;
    read::required(element, At::Attribute(name), number)
}

impl Scheduler {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let policy = read::attr(element, cx, "scheduler", XmlValue::parse_value)?;
        let policy = read::required(element, At::Attribute("scheduler"), policy)?;
        let real_time = matches!(policy, SchedulerPolicy::Fifo | SchedulerPolicy::Rr);
        let priority = if real_time {
            let priority = read::attr(element, cx, "priority", |text| {
                virt_util::xml::parse_integer(text, 10)
            })?;
            read::required(element, At::Attribute("priority"), priority)?
        } else {
            0
        };
        Ok(Self { policy, priority })
    }

    fn write(&self, w: &mut Writer, name: &str, ids: Option<(&str, u32)>) {
        w.start(name);
        if let Some((attribute, id)) = ids {
            w.attribute_with(attribute, |out| push_unsigned(out, id.into()));
        }
        w.attribute("scheduler", self.policy.as_str());
        if matches!(self.policy, SchedulerPolicy::Fifo | SchedulerPolicy::Rr) {
            w.attribute_with("priority", |out| push_signed(out, self.priority.into()));
        }
        w.end(name);
    }
}

impl CpuTune {
    fn read_schedulers(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        attribute: &'static str,
    ) -> Result<BTreeMap<u32, Scheduler>> {
        let mut schedulers = BTreeMap::new();
        let vcpus = (name == "vcpusched").then(|| vcpu_limit(element));
        for child in element.children_named(name) {
            let ids = required_set(child, cx, attribute)?;
            let absent = vcpus.and_then(|limit| ids.0.iter().find(|id| *id >= limit));
            if let Some(id) = absent {
                cx.fail(error_with(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    child,
                    At::Attribute(attribute),
                    format_args!("vCPU '{id}' is not present in domain definition"),
                ))?;
                continue;
            }
            let scheduler = Scheduler::read(child, cx)?;
            for id in ids.0.iter() {
                if schedulers.insert(id as u32, scheduler).is_some() {
                    let what = format!("{name} attributes '{attribute}' must not overlap");
                    cx.fail(error_with(
                        ErrorCode::XML_DETAIL,
                        child,
                        At::Attribute(attribute),
                        what,
                    ))?;
                }
            }
        }
        Ok(schedulers)
    }

    fn read_pins(
        element: Element<'_>,
        cx: &mut Reader,
        name: &'static str,
        attribute: &'static str,
    ) -> Result<BTreeMap<u32, CpuSet>> {
        let mut pins = BTreeMap::new();
        for child in element.children_named(name) {
            let id = required_number(child, cx, attribute)?;
            let set = required_set(child, cx, "cpuset")?;
            if pins.insert(id, set).is_some() {
                cx.fail(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    child,
                    At::Attribute(attribute),
                    format_args!("duplicate {name} for {attribute} '{id}'"),
                ))?;
            }
        }
        Ok(pins)
    }

    /// Reads cache and bandwidth groups. A group keeps the CPUs that the guest has; without any it says nothing.
    fn read_groups(element: Element<'_>, cx: &mut Reader) -> Result<Vec<ResourceGroup>> {
        let mut groups: Vec<ResourceGroup> = Vec::new();
        let limit = vcpu_limit(element);
        for child in element.children_named("cachetune") {
            let vcpus = below(required_set(child, cx, "vcpus")?, limit);
            if vcpus.is_empty() {
                continue;
            }
            if groups.iter().any(|group| group.vcpus == vcpus) {
                cx.fail(error_at(
                    child,
                    At::Attribute("vcpus"),
                    "identical vcpus in cachetunes found",
                ))?;
            }
            let mut group = ResourceGroup::new(child, cx, &groups, vcpus)?;
            for cache in child.children_named("cache") {
                group.read_cache(cache, cx)?;
            }
            group.read_monitors(child, cx, true, limit)?;
            if !group.caches.is_empty() || !group.monitors.is_empty() {
                groups.push(group);
            }
        }
        for child in element.children_named("memorytune") {
            let vcpus = below(required_set(child, cx, "vcpus")?, limit);
            if vcpus.is_empty() {
                continue;
            }
            let known = groups.iter().position(|group| group.vcpus == vcpus);
            let mut group = match known {
                Some(at) => groups.remove(at),
                None => ResourceGroup::new(child, cx, &groups, vcpus)?,
            };
            for node in child.children_named("node") {
                let id = required_number(node, cx, "id")?;
                let bandwidth = required_number(node, cx, "bandwidth")?;
                if group.bandwidths.insert(id, bandwidth).is_some() {
                    let what = format!("memory bandwidth already defined for node {id}");
                    let error = error_at(node, At::Attribute("id"), what);
                    cx.fail(error.in_domain(ErrorDomain::RESCTRL))?;
                }
            }
            group.read_monitors(child, cx, false, limit)?;
            let empty = group.bandwidths.is_empty() && group.monitors.is_empty() && group.caches.is_empty();
            match known {
                Some(at) => groups.insert(at, group),
                None if !empty => groups.push(group),
                None => {}
            }
        }
        Ok(groups)
    }
}

/// How many CPUs the guest has whose tuning is read; all there can be where it stands alone.
fn vcpu_limit(element: Element<'_>) -> usize {
    let Some(guest) = element.parent() else {
        return usize::MAX;
    };
    // A number that is none is told where it stands.
    guest.child("vcpu").map_or(1, |vcpu| {
        parse_integer::<u32>(&vcpu.text(), 10).map_or(usize::MAX, |count| count as usize)
    })
}

fn below(set: CpuSet, limit: usize) -> Bitmap {
    set.0.iter().filter(|vcpu| *vcpu < limit).collect()
}

impl ResourceGroup {
    fn new(element: Element<'_>, cx: &mut Reader, others: &[Self], vcpus: Bitmap) -> Result<Self> {
        if others
            .iter()
            .any(|other| other.vcpus != vcpus && other.vcpus.overlaps(&vcpus))
        {
            cx.fail(error_at(
                element,
                At::Attribute("vcpus"),
                "overlapping vcpus in resctrls",
            ))?;
        }
        let id = element.attr("id").filter(|_| !cx.has(XmlFlags::INACTIVE));
        let id = id.map_or_else(|| format!("vcpus_{vcpus}"), |id| id.into_owned());
        Ok(Self {
            vcpus,
            id,
            caches: BTreeMap::new(),
            bandwidths: BTreeMap::new(),
            monitors: Vec::new(),
        })
    }

    fn read_cache(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let id = required_number(element, cx, "id")?;
        let level = required_number(element, cx, "level")?;
        let kind: Option<CacheType> = read::attr(element, cx, "type", XmlValue::parse_value)?;
        let kind = read::required(element, At::Attribute("type"), kind)?;
        let size = element
            .attr("size")
            .ok_or_else(|| virt_util::xml::missing(element, At::Attribute("size")))?;
        let size = (&*size, element.attr("unit"));
        let size = scale_text(
            element,
            At::Attribute("size"),
            (size.0, size.1.as_deref()),
            1024,
            u64::MAX,
        )?;
        // Code and data together exclude code and data apart.
        let collides = self.caches.keys().any(|(other_level, other, other_id)| {
            *other_level == level
                && *other_id == id
                && (*other == kind || *other == CacheType::Both || kind == CacheType::Both)
        });
        if collides {
            let what =
                format!("colliding cache allocations for cache level '{level}' id '{id}', type '{kind}'");
            let error = error_at(element, At::Attribute("type"), what);
            cx.fail(error.in_domain(ErrorDomain::RESCTRL))?;
        }
        self.caches.insert((level, kind, id), size);
        Ok(())
    }

    fn read_monitors(
        &mut self,
        element: Element<'_>,
        cx: &mut Reader,
        cache: bool,
        limit: usize,
    ) -> Result<()> {
        let allocates_nothing = self.caches.is_empty() && self.bandwidths.is_empty();
        for child in element.children_named("monitor") {
            if cache && required_number(child, cx, "level")? != MONITOR_LEVEL {
                let what = format!("invalid monitor cache level, {MONITOR_LEVEL} expected");
                cx.fail(error_at(child, At::Attribute("level"), what))?;
            }
            let vcpus = below(required_set(child, cx, "vcpus")?, limit);
            if vcpus.is_empty() {
                cx.fail(error_with(
                    ErrorCode::INVALID_ARG,
                    child,
                    At::Attribute("vcpus"),
                    "the monitor has none of the guest's vcpus",
                ))?;
            }
            let outside = vcpus.iter().any(|vcpu| !self.vcpus.contains(vcpu));
            if outside {
                cx.fail(error_with(
                    ErrorCode::INVALID_ARG,
                    child,
                    At::Attribute("vcpus"),
                    "monitor vcpus are not all vcpus of its allocation",
                ))?;
            }
            // One monitor for all of the allocation, and others for parts that do not overlap. Where nothing is allocated no
            // two overlap.
            let collides = self.monitors.iter().any(|other| {
                other.vcpus == vcpus && other.cache == cache
                    || other.vcpus != vcpus
                        && other.vcpus.overlaps(&vcpus)
                        && (allocates_nothing || other.vcpus != self.vcpus && vcpus != self.vcpus)
            });
            if collides {
                cx.fail(error_with(
                    ErrorCode::INVALID_ARG,
                    child,
                    At::Attribute("vcpus"),
                    "overlapping or identical vcpus in monitors",
                ))?;
            }
            self.monitors.push(ResourceMonitor { cache, vcpus });
        }
        Ok(())
    }

    fn write(&self, w: &mut Writer, cache: bool) {
        let monitored = self.monitors.iter().any(|monitor| monitor.cache == cache);
        let allocated = if cache {
            !self.caches.is_empty()
        } else {
            !self.bandwidths.is_empty()
        };
        if !monitored && !allocated {
            return;
        }
        let name = if cache { "cachetune" } else { "memorytune" };
        let number =
            |w: &mut Writer, name: &str, value: u64| w.attribute_with(name, |out| push_unsigned(out, value));
        w.start(name);
        w.attribute("vcpus", &self.vcpus.to_string());
        if !w.has(XmlFlags::INACTIVE) {
            w.attribute("id", &self.id);
        }
        if cache {
            for ((level, kind, id), size) in &self.caches {
                let (size, unit) = units::exact_unit(*size);
                w.start("cache");
                number(w, "id", (*id).into());
                number(w, "level", (*level).into());
                w.attribute("type", kind.as_str());
                number(w, "size", size);
                w.attribute("unit", unit);
                w.end("cache");
            }
        } else {
            for (id, bandwidth) in &self.bandwidths {
                w.start("node");
                number(w, "id", (*id).into());
                number(w, "bandwidth", (*bandwidth).into());
                w.end("node");
            }
        }
        for monitor in self.monitors.iter().filter(|monitor| monitor.cache == cache) {
            w.start("monitor");
            if cache {
                number(w, "level", MONITOR_LEVEL.into());
            }
            w.attribute("vcpus", &monitor.vcpus.to_string());
            w.end("monitor");
        }
        w.end(name);
    }
}

impl XmlElement for CpuTune {
    const NAME: &'static str = "cputune";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        for name in ["emulatorpin", "emulatorsched"] {
            read::sole(element, cx, name, ErrorCode::XML_ERROR)?;
        }
        let emulator_pin = match element.child("emulatorpin") {
            Some(pin) => Some(required_set(pin, cx, "cpuset")?),
            None => None,
        };
        Ok(Self {
            shares: read::child(element, cx, "shares")?,
            periods: CpuPeriods::read(element, cx)?,
            vcpu_pin: Self::read_pins(element, cx, "vcpupin", "vcpu")?,
            emulator_pin,
            iothread_pin: Self::read_pins(element, cx, "iothreadpin", "iothread")?,
            emulator_scheduler: read::child_with(element, cx, "emulatorsched", Scheduler::read)?,
            vcpu_scheduler: Self::read_schedulers(element, cx, "vcpusched", "vcpus")?,
            iothread_scheduler: Self::read_schedulers(element, cx, "iothreadsched", "iothreads")?,
            resource_groups: Self::read_groups(element, cx)?,
        })
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        if let Some(shares) = self.shares {
            w.text_element_with("shares", |out| push_unsigned(out, shares));
        }
        self.periods.write_content(w);
        let pin = |w: &mut Writer, name: &str, id: Option<(&str, u32)>, set: &CpuSet| {
            w.start(name);
            if let Some((attribute, id)) = id {
                w.attribute_with(attribute, |out| push_unsigned(out, id.into()));
            }
            w.attribute_with("cpuset", |out| set.format_value(out));
            w.end(name);
        };
        for (id, set) in &self.vcpu_pin {
            pin(w, "vcpupin", Some(("vcpu", *id)), set);
        }
        if let Some(set) = &self.emulator_pin {
            pin(w, "emulatorpin", None, set);
        }
        for (id, set) in &self.iothread_pin {
            pin(w, "iothreadpin", Some(("iothread", *id)), set);
        }
        if let Some(scheduler) = &self.emulator_scheduler {
            scheduler.write(w, "emulatorsched", None);
        }
        for (id, scheduler) in &self.vcpu_scheduler {
            scheduler.write(w, "vcpusched", Some(("vcpus", *id)));
        }
        for (id, scheduler) in &self.iothread_scheduler {
            scheduler.write(w, "iothreadsched", Some(("iothreads", *id)));
        }
        for cache in [true, false] {
            for group in &self.resource_groups {
                group.write(w, cache);
            }
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("CpuTune", "cputune", "How host CPUs are shared out." => {
            /// Weight against other guests.
            "shares" => shares: element(u64),
            /// Periods and quotas in microseconds.
            "." => periods: element(CpuPeriods),
            /// Host CPUs that run a CPU of the guest.
            "vcpupin" => vcpu_pins: elements {
                /// Number of the guest's CPU.
                "@vcpu" => vcpu: value(u32),
                /// The host CPUs.
                "@cpuset" => cpuset: value(CpuSet),
            },
            /// Host CPUs that run the emulator's own threads.
            "emulatorpin@cpuset" => emulator_pin: value(CpuSet),
            /// Host CPUs that run an I/O thread.
            "iothreadpin" => iothread_pins: elements {
                /// Number of the I/O thread.
                "@iothread" => iothread: value(u32),
                /// The host CPUs.
                "@cpuset" => cpuset: value(CpuSet),
            },
            /// How the emulator's own threads are scheduled.
            "emulatorsched" => emulator_scheduler: element {
                /// Scheduling policy.
                "@scheduler" => scheduler: value(SchedulerPolicy),
                /// Priority in real-time policies, 1 to 99.
                "@priority" => priority: value(i32),
            },
            /// How CPUs of the guest are scheduled.
            "vcpusched" => vcpu_schedulers: elements {
                /// The guest's CPUs.
                "@vcpus" => vcpus: value(CpuSet),
                /// Scheduling policy.
                "@scheduler" => scheduler: value(SchedulerPolicy),
                /// Priority in real-time policies, 1 to 99.
                "@priority" => priority: value(i32),
            },
            /// How I/O threads are scheduled.
            "iothreadsched" => iothread_schedulers: elements {
                /// Numbers of the I/O threads.
                "@iothreads" => iothreads: value(CpuSet),
                /// Scheduling policy.
                "@scheduler" => scheduler: value(SchedulerPolicy),
                /// Priority in real-time policies, 1 to 99.
                "@priority" => priority: value(i32),
            },
            /// Parts of the host's cache for CPUs of the guest.
            "cachetune" => cache_tunes: elements {
                /// The guest's CPUs.
                "@vcpus" => vcpus: value(CpuSet),
                /// Name of the part on the host.
                "@id" => id: value(String),
                /// How much of which cache.
                "cache" => caches: elements {
                    /// Number of the cache on the host.
                    "@id" => id: value(u32),
                    /// Level of the cache.
                    "@level" => level: value(u32),
                    /// What the part holds.
                    "@type" => kind: value(CacheType),
                    /// Size, in the unit.
                    "@size" => size: value(u64),
                    /// The unit; bytes if none is said.
                    "@unit" => unit: value(String),
                },
                /// Uses of the cache that are watched.
                "monitor" => monitors: elements {
                    /// Level of the cache.
                    "@level" => level: value(u32),
                    /// CPUs of the guest that are watched.
                    "@vcpus" => vcpus: value(CpuSet),
                },
            },
            /// Shares of memory bandwidth for CPUs of the guest.
            "memorytune" => memory_tunes: elements {
                /// The guest's CPUs.
                "@vcpus" => vcpus: value(CpuSet),
                /// Name of the part on the host.
                "@id" => id: value(String),
                /// How much of which node's bandwidth.
                "node" => nodes: elements {
                    /// Number of the host's node.
                    "@id" => id: value(u32),
                    /// Percent of the bandwidth.
                    "@bandwidth" => bandwidth: value(u32),
                },
                /// Uses of bandwidth that are watched.
                "monitor" => monitors: elements {
                    /// CPUs of the guest that are watched.
                    "@vcpus" => vcpus: value(CpuSet),
                },
            },
        })
    }
}
