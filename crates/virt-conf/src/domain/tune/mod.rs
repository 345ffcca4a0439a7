//! CPUs and I/O threads of the guest, and how the host's resources are shared out to them: those of processors in
//! `cputune`, the others here.

mod cputune;

use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::values::CpuSet;

pub use cputune::{
    CacheType, CpuPeriods, CpuTune, ResourceGroup, ResourceMonitor, Scheduler, SchedulerPolicy,
};

xml_enum! {
    /// Who decides on which host CPUs the guest runs.
    pub enum CpuPlacement { Static = "static", Auto = "auto" }
}

xml_enum! {
    /// A performance counter.
    pub enum PerfEventName { Cmt = "cmt", Mbmt = "mbmt", Mbml = "mbml", CpuCycles = "cpu_cycles", Instructions = "instructions", CacheReferences = "cache_references", CacheMisses = "cache_misses", BranchInstructions = "branch_instructions", BranchMisses = "branch_misses", BusCycles = "bus_cycles", StalledCyclesFrontend = "stalled_cycles_frontend", StalledCyclesBackend = "stalled_cycles_backend", RefCpuCycles = "ref_cpu_cycles", CpuClock = "cpu_clock", TaskClock = "task_clock", PageFaults = "page_faults", ContextSwitches = "context_switches", CpuMigrations = "cpu_migrations", PageFaultsMin = "page_faults_min", PageFaultsMaj = "page_faults_maj", AlignmentFaults = "alignment_faults", EmulationFaults = "emulation_faults" }
}

/// `<vcpu placement='static' cpuset='0-3' current='2'>4</vcpu>`.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "vcpu", order(max, current, placement, cpuset), check = Vcpus::after_read)]
pub struct Vcpus {
    /// Who decides on which host CPUs the guest runs.
    #[xml("@placement", default, always)]
    pub placement: CpuPlacement,
    /// Host CPUs that the guest may run on.
    #[xml("@cpuset", code = ErrorCode::INVALID_ARG, reported_by = ErrorDomain::NONE, read_when = placement != CpuPlacement::Auto)]
    pub cpuset: Option<CpuSet>,
    /// CPUs that are plugged in; none: all.
    #[xml("@current")]
    pub current: Option<u32>,
    /// CPUs that the guest may have at most.
    #[xml("text()", default = 1, always, with = crate::values::modular, then = Vcpus::check_count(element, cx))]
    pub max: u32,
}

impl Default for Vcpus {
    fn default() -> Self {
        Self {
            placement: CpuPlacement::Static,
            cpuset: None,
            current: None,
            max: 1,
        }
    }
}

impl Vcpus {
    /// A count that is said is a number.
    fn check_count(element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match element.exists() && element.text().is_empty() {
            true => cx.fail(error_at(
                element,
                At::Text,
                "the count of vCPUs must be a whole number",
            )),
            false => Ok(()),
        }
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.cpuset.as_ref().is_some_and(CpuSet::is_empty) {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("cpuset"),
                "invalid value of 'cpuset': no CPU is in it",
            ))?;
        }
        if self.max == 0 {
            cx.fail(error_with(
                ErrorCode::INTERNAL_ERROR,
                element,
                At::Text,
                "domain config must have at least 1 vCPU",
            ))?;
        }
        if self.current.is_some_and(|current| current > self.max) {
            let what = format!(
                "maxvcpus must not be less than current vcpus ({} < {})",
                self.max,
                self.online()
            );
            let at = At::Attribute("current");
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))?;
        }
        if self.current == Some(self.max) {
            self.current = None;
        }
        Ok(())
    }

    /// CPUs that are plugged in.
    pub fn online(&self) -> u32 {
        self.current.unwrap_or(self.max)
    }
}

/// State of one CPU.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "vcpu")]
pub struct VcpuState {
    /// Its number.
    #[xml("@id")]
    pub id: u32,
    /// Whether it is plugged in.
    #[xml("@enabled")]
    pub enabled: bool,
    /// Whether it can be taken out.
    #[xml("@hotpluggable")]
    pub hotpluggable: Option<bool>,
    /// Place in the order of plugging in; 0: none.
    #[xml("@order", default)]
    pub order: u32,
}

/// An I/O thread.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "iothread", check = IoThread::after_read)]
pub struct IoThread {
    /// Its number, from 1.
    #[xml("@id")]
    pub id: u32,
    /// Least threads of its pool.
    #[xml("@thread_pool_min", max = i32::MAX)]
    pub thread_pool_min: Option<u32>,
    /// Most threads of its pool.
    #[xml("@thread_pool_max", max = i32::MAX)]
    pub thread_pool_max: Option<u32>,
    /// Nanoseconds that it polls at most.
    #[xml("poll@max")]
    pub poll_max: Option<u64>,
    /// Growth of the polling time.
    #[xml("poll@grow")]
    pub poll_grow: Option<u64>,
    /// Shrinking of the polling time.
    #[xml("poll@shrink")]
    pub poll_shrink: Option<u64>,
    /// Counted, but not listed by the user.
    #[xml(skip)]
    pub autofill: bool,
}

impl IoThread {
    /// Whether the list says more of the thread than that it exists.
    pub(super) fn is_worth_listing(&self) -> bool {
        !self.autofill
            || *self
                != Self {
                    id: self.id,
                    autofill: true,
                    ..Self::default()
                }
    }
}

impl IoThread {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.id == 0 {
            let what = "the number of an I/O thread begins at 1";
            cx.fail(error_at(element, At::Attribute("id"), what).in_domain(ErrorDomain::XML))?;
        }
        Ok(())
    }
}

/// Pool of the thread that runs what no I/O thread does.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "defaultiothread")]
pub struct DefaultIoThread {
    /// Least threads of its pool.
    #[xml("@thread_pool_min", max = i32::MAX)]
    pub thread_pool_min: Option<u32>,
    /// Most threads of its pool.
    #[xml("@thread_pool_max", max = i32::MAX)]
    pub thread_pool_max: Option<u32>,
}

/// How the guest's I/O is weighed against that of others.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "blkiotune")]
pub struct BlkioTune {
    /// Weight; 0: not said.
    #[xml("weight", default, with = crate::values::lenient, described = u32)]
    pub weight: u32,
    /// Single devices of the host.
    #[xml("device")]
    pub devices: Vec<BlkioDevice>,
}

/// How I/O to one device of the host is weighed and limited. 0: not said.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "device", code = ErrorCode::CONFIG_UNSUPPORTED)]
pub struct BlkioDevice {
    /// The device.
    #[xml("path")]
    pub path: String,
    /// Share of the device's time, 10 to 1000.
    #[xml("weight/text()", default, with = crate::values::modular)]
    pub weight: u32,
    /// Requests to read per second.
    #[xml("read_iops_sec/text()", default, with = crate::values::modular)]
    pub read_iops: u32,
    /// Requests to write per second.
    #[xml("write_iops_sec/text()", default, with = crate::values::modular)]
    pub write_iops: u32,
    /// Bytes read per second.
    #[xml("read_bytes_sec/text()", default, with = crate::values::modular_64)]
    pub read_bytes: u64,
    /// Bytes written per second.
    #[xml("write_bytes_sec/text()", default, with = crate::values::modular_64)]
    pub write_bytes: u64,
}

/// Where the guest is placed among the host's control groups.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "resource", check = Resource::after_read)]
pub struct Resource {
    /// Control group.
    #[xml("partition")]
    pub partition: Option<String>,
    /// Name of the guest in a Fibre Channel fabric.
    #[xml("fibrechannel+@appid", nonempty)]
    pub appid: Option<String>,
}

impl Resource {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.partition.is_none() && self.appid.is_none() {
            let what = "expected a partition or an appid of Fibre Channel";
            // libvirt forgets to say what is wrong.
            let error = error_with(ErrorCode::INTERNAL_ERROR, element, At::Text, what);
            cx.fail(error.in_domain(ErrorDomain::NONE))?;
        }
        Ok(())
    }
}

/// A performance counter.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "event")]
pub struct PerfEvent {
    /// The counter.
    #[xml("@name")]
    pub name: PerfEventName,
    /// Whether it runs.
    #[xml("@enabled")]
    pub enabled: bool,
}

/// Sleep states that the guest sees.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "pm")]
pub struct PowerManagement {
    /// Suspend to memory.
    #[xml("suspend-to-mem@enabled")]
    pub suspend_to_mem: Option<bool>,
    /// Whether the guest is offered to sleep with its memory on disk (S4).
    #[xml("suspend-to-disk@enabled")]
    pub suspend_to_disk: Option<bool>,
}
