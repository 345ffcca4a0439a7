//! Features of the virtual machine: what the hypervisor offers beside the devices.

use crate::scaled::{ScaledSize, kib};
use std::sync::LazyLock;

use virt_util::units;
use virt_util::xml::ElementSchema;
use virt_util::xml::schema::{Content, FieldSchema, Kind, ValueSchema};
use virt_util::xml::{
    At, Element, Reader, Writer, Xml, XmlElement, XmlValue, error_at, error_with, missing, push_unsigned,
    read,
};
use virt_util::{ErrorCode, Result};

xml_enum! {
    /// How Hyper-V enlightenments are chosen.
    pub enum HypervMode { Custom = "custom", Passthrough = "passthrough" }
}

xml_enum! {
    /// What a container gets of the capabilities that are not listed.
    pub enum CapabilitiesPolicy { Default = "default", Allow = "allow", Deny = "deny" }
}

xml_enum! {
    /// How the IOMMU page tables of Xen passthrough are kept.
    pub enum XenPassthroughMode { SyncPt = "sync_pt", SharePt = "share_pt" }
}

xml_enum! {
    /// What happens on access to an unknown model specific register.
    pub enum MsrsUnknown { Ignore = "ignore", Fault = "fault" }
}

xml_enum! {
    /// Who emulates the I/O APIC.
    pub enum IoapicDriver { Qemu = "qemu", Kvm = "kvm" }
}

xml_enum! {
    /// Whether a pSeries guest may resize its hash page table.
    pub enum HptResizing { Enabled = "enabled", Disabled = "disabled", Required = "required" }
}

xml_enum! {
    /// State of the cache flush on privilege change mitigation.
    pub enum Cfpc { Broken = "broken", Workaround = "workaround", Fixed = "fixed" }
}

xml_enum! {
    /// State of the speculation barrier bounds checking mitigation.
    pub enum Sbbc { Broken = "broken", Workaround = "workaround", Fixed = "fixed" }
}

xml_enum! {
    /// State of the indirect branch speculation mitigation.
    pub enum Ibs { Broken = "broken", Workaround = "workaround", FixedIbs = "fixed-ibs", FixedCcd = "fixed-ccd", FixedNa = "fixed-na" }
}

xml_enum! {
    /// Which RISC-V advanced interrupt architecture the guest sees.
    pub enum Aia { None = "none", Aplic = "aplic", AplicImsic = "aplic-imsic" }
}

xml_enum! {
    /// Version of the ARM generic interrupt controller.
    pub enum GicVersion { Host = "host", V2 = "2", V3 = "3" }
}

/// Features of the virtual machine.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "features", check = Features::after_read)]
pub struct Features {
    /// ACPI.
    #[xml("acpi$")]
    pub acpi: bool,
    /// APIC.
    #[xml("apic$")]
    pub apic: Option<Apic>,
    /// Physical address extension.
    #[xml("pae$")]
    pub pae: bool,
    /// Hardware assisted paging (Xen).
    #[xml("hap$")]
    pub hap: Option<State>,
    /// Hyper-V enlightenments of Xen.
    #[xml("viridian$")]
    pub viridian: bool,
    /// A network stack of its own, for containers.
    #[xml("privnet$")]
    pub privnet: bool,
    /// Hyper-V enlightenments.
    #[xml("hyperv+")]
    pub hyperv: Option<Box<Hyperv>>,
    /// Features of KVM.
    #[xml("kvm+")]
    pub kvm: Option<Kvm>,
    /// Paravirtual spinlocks.
    #[xml("pvspinlock$")]
    pub pvspinlock: Option<State>,
    /// Capabilities of a container.
    #[xml("capabilities+", with = capabilities, shape = capabilities_shape)]
    pub capabilities: Option<ProcessCapabilities>,
    /// Performance counters.
    #[xml("pmu$")]
    pub pmu: Option<State>,
    /// VMware's I/O port.
    #[xml("vmport$")]
    pub vmport: Option<State>,
    /// Interrupt controller of ARM guests.
    #[xml("gic$")]
    pub gic: Option<Gic>,
    /// System management mode.
    #[xml("smm+")]
    pub smm: Option<Smm>,
    /// Who emulates the I/O APIC.
    #[xml("ioapic$@driver")]
    pub ioapic: Option<IoapicDriver>,
    /// Hash page table of pSeries guests.
    #[xml("hpt$", omit_empty)]
    pub hpt: Option<Hpt>,
    /// Crash information for the host.
    #[xml("vmcoreinfo$")]
    pub vmcoreinfo: Option<State>,
    /// Hardware transactional memory (pSeries).
    #[xml("htm$")]
    pub htm: Option<State>,
    /// Nested virtualization (pSeries).
    #[xml("nested-hv$")]
    pub nested_hv: Option<State>,
    /// What happens on access to unknown model specific registers.
    #[xml("msrs$@unknown", expected)]
    pub msrs: Option<MsrsUnknown>,
    /// Count cache flush assist (pSeries).
    #[xml("ccf-assist$")]
    pub ccf_assist: Option<State>,
    /// Features of Xen.
    #[xml("xen+")]
    pub xen: Option<Xen>,
    /// Cache flush on privilege change (pSeries).
    #[xml("cfpc$@value")]
    pub cfpc: Option<Cfpc>,
    /// Speculation barrier bounds checking (pSeries).
    #[xml("sbbc$@value")]
    pub sbbc: Option<Sbbc>,
    /// Indirect branch speculation (pSeries).
    #[xml("ibs$@value")]
    pub ibs: Option<Ibs>,
    /// KiB of the cache of translated code (TCG).
    #[xml("tcg+/tb-cache+", unless_empty, with = kib, described = ScaledSize)]
    pub tcg_cache: Option<u64>,
    /// The host frees the guest's memory in the background.
    #[xml("async-teardown$", with = async_teardown, shape = async_teardown_shape)]
    pub async_teardown: Option<bool>,
    /// Reliability features of ARM guests.
    #[xml("ras$")]
    pub ras: Option<State>,
    /// PS/2 controller.
    #[xml("ps2$")]
    pub ps2: Option<State>,
    /// Interrupt architecture of RISC-V guests.
    #[xml("aia$@value")]
    pub aia: Option<Aia>,
}

/// Refuses children of names that `T` does not know, and those that `stated` wants a state of and have none.
fn check_children<T: XmlElement>(
    element: Element<'_>,
    cx: &mut Reader,
    stated: impl Fn(&str) -> bool,
) -> Result<()> {
    let Content::Fields(fields) = &T::schema().content else {
        return Ok(());
    };
    for child in element.children() {
        let name = child.name();
        let known = |field: &FieldSchema| field.path.split(['/', '@']).next() == Some(name);
        if !fields.iter().any(known) {
            let what = format!("unsupported feature '{name}'");
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, child, At::Text, what))?;
        } else if stated(name) && !child.has_attr("state") {
            cx.fail(missing(child, At::Attribute("state")))?;
        }
    }
    Ok(())
}

/// Refuses a feature that does not say whether it is on.
fn needs_state(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match element.has_attr("state") {
        true => Ok(()),
        false => cx.fail(missing(element, At::Attribute("state"))),
    }
}

impl Features {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_children::<Self>(element, cx, |name| {
            matches!(name, "htm" | "nested-hv" | "ccf-assist" | "ras" | "ps2")
        })?;
        self.tcg_cache = self.tcg_cache.filter(|size| *size != 0);
        if let Some(hpt) = &mut self.hpt {
            hpt.max_page_size = hpt.max_page_size.filter(|size| *size != 0);
        }
        Ok(())
    }
}

/// A feature that is on or off; named without a state it is on.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it is on.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
}

/// APIC.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "apic")]
pub struct Apic {
    /// Whether the end of interrupts is signalled without an exit.
    #[xml("@eoi", on_off)]
    pub eoi: Option<bool>,
}

/// Interrupt controller of ARM guests.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "gic")]
pub struct Gic {
    /// Version; none: the best.
    #[xml("@version")]
    pub version: Option<GicVersion>,
}

/// System management mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smm {
    /// Whether the guest has it.
    pub on: bool,
    /// Bytes of the extended segment.
    pub tseg: Option<u64>,
}

impl XmlElement for Smm {
    const NAME: &'static str = "smm";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let state = read::attr(element.last_joined(), cx, "state", virt_util::xml::parse_on_off)?;
        let on = state.unwrap_or(true);
        let tseg = element
            .joined_child("tseg")
            .filter(|tseg| on && !tseg.text().is_empty());
        let tseg = match tseg {
            Some(tseg) => Some(crate::scaled::read_scaled(tseg, 1 << 20, u64::MAX)?),
            None => None,
        };
        Ok(Self { on, tseg })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("state", if self.on { "on" } else { "off" });
    }

    fn write_content(&self, w: &mut Writer) {
        if let Some(tseg) = self.tseg.filter(|_| self.on) {
            let (size, unit) = units::exact_unit(tseg);
            w.start("tseg");
            w.attribute("unit", unit);
            w.text_with(|out| push_unsigned(out, size));
            w.end("tseg");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Smm", "smm", "System management mode." => {
            /// Whether the guest has it.
            "@state" => state: on_off,
            /// Size of the extended segment; MiB if no unit is said.
            "tseg" => tseg: element(crate::scaled::ScaledSize),
        })
    }
}

/// Whatever is wrong with the size of a page of hash page tables is told with one code.
mod hpt_page {
    use super::*;
    use crate::scaled::scale_text;

    pub(super) fn read(element: Element<'_>, _: &mut Reader) -> Result<u64> {
        let (text, unit) = (element.text(), element.attr("unit"));
        scale_text(element, At::Text, (&text, unit.as_deref()), 1024, u64::MAX)
            .map(|bytes| bytes.div_ceil(1024))
            .map_err(|error| {
                error
                    .with_code(ErrorCode::CONFIG_UNSUPPORTED)
                    .in_domain(element.doc().domain())
            })
    }

    pub(super) use kib::write;
}

/// Hash page table of pSeries guests.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "hpt")]
pub struct Hpt {
    /// Whether the guest may resize it.
    #[xml("@resizing")]
    pub resizing: Option<HptResizing>,
    /// KiB of the largest page.
    #[xml("maxpagesize+", unless_empty, with = hpt_page, described = ScaledSize)]
    pub max_page_size: Option<u64>,
}

/// Hyper-V enlightenments.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "hyperv", body, check = Hyperv::after_read)]
pub struct Hyperv {
    /// How they are chosen.
    #[xml("@mode", default, always)]
    pub mode: HypervMode,
    /// Relaxed timing.
    #[xml("relaxed$")]
    pub relaxed: Option<State>,
    /// Virtual APIC.
    #[xml("vapic$")]
    pub vapic: Option<State>,
    /// How often a guest tries for a spinlock before it tells the host.
    #[xml("spinlocks$")]
    pub spinlocks: Option<HypervSpinlocks>,
    /// Index of the virtual processor.
    #[xml("vpindex$")]
    pub vpindex: Option<State>,
    /// Run time of the processor.
    #[xml("runtime$")]
    pub runtime: Option<State>,
    /// Synthetic interrupt controller.
    #[xml("synic$")]
    pub synic: Option<State>,
    /// Synthetic timers.
    #[xml("stimer$")]
    pub stimer: Option<HypervStimer>,
    /// Reset by the guest.
    #[xml("reset$")]
    pub reset: Option<State>,
    /// Vendor that the guest sees.
    #[xml("vendor_id$")]
    pub vendor_id: Option<HypervVendor>,
    /// Frequencies of the clocks.
    #[xml("frequencies$")]
    pub frequencies: Option<State>,
    /// Notification of changed frequencies.
    #[xml("reenlightenment$")]
    pub reenlightenment: Option<State>,
    /// Flush of the TLB.
    #[xml("tlbflush$")]
    pub tlbflush: Option<HypervTlbflush>,
    /// Interrupts between processors.
    #[xml("ipi$")]
    pub ipi: Option<State>,
    /// Enlightened VMCS.
    #[xml("evmcs$")]
    pub evmcs: Option<State>,
    /// Use of AVIC or APICv.
    #[xml("avic$")]
    pub avic: Option<State>,
    /// Enlightened MSR bitmap.
    #[xml("emsr_bitmap$")]
    pub emsr_bitmap: Option<State>,
    /// Calls with XMM registers.
    #[xml("xmm_input$")]
    pub xmm_input: Option<State>,
}

/// Spinlocks of Hyper-V.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "spinlocks", check = HypervSpinlocks::after_read)]
pub struct HypervSpinlocks {
    /// Whether they are on.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// Attempts before the hypervisor is told.
    #[xml("@retries", base = 0, when = self.on)]
    pub retries: Option<u32>,
}

impl HypervSpinlocks {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        needs_state(element, cx)?;
        if !self.on {
            self.retries = None;
            return Ok(());
        }
        match self.retries {
            None => cx.fail(missing(element, At::Attribute("retries"))),
            Some(0..4095) => {
                let what = "HyperV spinlock retry count must be at least 4095";
                cx.fail(error_at(element, At::Attribute("retries"), what))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Synthetic timers of Hyper-V.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "stimer")]
pub struct HypervStimer {
    /// Whether they are on.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// Direct mode.
    #[xml("direct$", read_when = on, when = self.on && self.direct.is_some_and(|state| state.on))]
    pub direct: Option<State>,
}

/// Flush of the TLB.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "tlbflush")]
pub struct HypervTlbflush {
    /// Whether it is on.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// Direct mode.
    #[xml("direct$", read_when = on, when = self.on && self.direct.is_some_and(|state| state.on))]
    pub direct: Option<State>,
    /// Of parts.
    #[xml("extended$", read_when = on, when = self.on && self.extended.is_some_and(|state| state.on))]
    pub extended: Option<State>,
}

/// Vendor that a Windows guest sees.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "vendor_id", check = HypervVendor::after_read)]
pub struct HypervVendor {
    /// Whether it is set.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// At most 12 characters.
    #[xml("@value", when = self.on)]
    pub value: Option<String>,
}

impl HypervVendor {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        needs_state(element, cx)?;
        if !self.on {
            self.value = None;
            return Ok(());
        }
        match &self.value {
            None => cx.fail(error_at(
                element,
                At::Text,
                "missing 'value' attribute for HyperV feature 'vendor_id'",
            )),
            Some(value) if value.len() > 12 => {
                let what = "HyperV vendor_id value must not be more than 12 characters.";
                cx.fail(error_at(element, At::Attribute("value"), what))
            }
            Some(value) if value.contains(',') => cx.fail(error_at(
                element,
                At::Attribute("value"),
                "HyperV vendor_id value is invalid: it holds a comma",
            )),
            Some(_) => Ok(()),
        }
    }
}

impl Hyperv {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        // Single features of several elements add up; the mode is that of the last.
        let mode = read::attr(element.last_joined(), cx, "mode", XmlValue::parse_value)?;
        self.mode = mode.unwrap_or_default();
        if self.mode == HypervMode::Passthrough {
            // All that the host offers: single features mean nothing.
            *self = Self {
                mode: self.mode,
                ..Self::default()
            };
            return Ok(());
        }
        check_children::<Self>(element, cx, |_| true)?;
        if let Some(timer) = element
            .child("stimer")
            .filter(|_| self.stimer.is_some_and(|it| it.on))
        {
            check_children::<HypervStimer>(timer, cx, |_| true)?;
        }
        if let Some(flush) = element
            .child("tlbflush")
            .filter(|_| self.tlbflush.is_some_and(|it| it.on))
        {
            check_children::<HypervTlbflush>(flush, cx, |_| true)?;
        }
        self.keep_parts(element, cx)
    }

    /// The last of several elements says whether a feature is on; what an earlier one said of its parts stays.
    fn keep_parts(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let Some(timer) = &mut self.stimer {
            for one in earlier(element, "stimer") {
                timer.direct = timer.direct.or(HypervStimer::read(one, cx)?.direct);
            }
        }
        if let Some(flush) = &mut self.tlbflush {
            for one in earlier(element, "tlbflush") {
                let one = HypervTlbflush::read(one, cx)?;
                flush.direct = flush.direct.or(one.direct);
                flush.extended = flush.extended.or(one.extended);
            }
        }
        Ok(())
    }
}

/// The elements of a name in front of the last, from behind.
fn earlier<'d>(element: Element<'d>, name: &'static str) -> impl Iterator<Item = Element<'d>> {
    let all: Vec<Element<'d>> = element.children_named(name).collect();
    all.into_iter().rev().skip(1)
}

/// Features of KVM.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "kvm", body, check = Kvm::after_read)]
pub struct Kvm {
    /// The guest does not see that it runs on KVM.
    #[xml("hidden$")]
    pub hidden: Option<State>,
    /// The guest is told that its CPUs are not shared.
    #[xml("hint-dedicated$")]
    pub hint_dedicated: Option<State>,
    /// The guest may control polling.
    #[xml("poll-control$")]
    pub poll_control: Option<State>,
    /// Paravirtual interrupts between processors.
    #[xml("pv-ipi$")]
    pub pv_ipi: Option<State>,
    /// Ring of dirty pages.
    #[xml("dirty-ring$")]
    pub dirty_ring: Option<DirtyRing>,
}

impl Kvm {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_children::<Self>(element, cx, |_| true)?;
        // A ring that is off keeps the size that an element before it said.
        if let Some(ring) = self.dirty_ring.as_mut().filter(|ring| !ring.on) {
            for one in earlier(element, "dirty-ring") {
                if ring.size == 0 {
                    ring.size = DirtyRing::read(one, cx)?.size;
                }
            }
        }
        Ok(())
    }
}

/// Ring of dirty pages.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "dirty-ring", check = DirtyRing::after_read)]
pub struct DirtyRing {
    /// Whether it is used.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// Entries: a power of 2 from 1024 to 65536.
    #[xml("@size", default, base = 0, read_when = on)]
    pub size: u32,
}

impl DirtyRing {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        needs_state(element, cx)?;
        if self.on && !element.has_attr("size") {
            return cx.fail(missing(element, At::Attribute("size")));
        }
        if self.on && !(self.size.is_power_of_two() && (1024..=65536).contains(&self.size)) {
            let what = "dirty ring must be power of 2 and ranges [1024, 65536]";
            cx.fail(error_at(element, At::Attribute("size"), what))?;
        }
        Ok(())
    }
}

/// Features of Xen.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "xen", body, check = Xen::after_read)]
pub struct Xen {
    /// The guest sees the host's memory map.
    #[xml("e820_host$")]
    pub e820_host: Option<State>,
    /// Devices can be passed through.
    #[xml("passthrough$")]
    pub passthrough: Option<XenPassthrough>,
}

impl Xen {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_children::<Self>(element, cx, |_| true)
    }
}

/// Passthrough of Xen.
#[derive(Xml, Clone, Copy, Debug, PartialEq, Eq)]
#[xml(name = "passthrough")]
pub struct XenPassthrough {
    /// Whether it is on.
    #[xml("@state", on_off, default = true, always)]
    pub on: bool,
    /// How page tables are kept.
    #[xml("@mode", when = self.on)]
    pub mode: Option<XenPassthroughMode>,
}

/// Capabilities of a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessCapabilities {
    /// What becomes of those that are not listed.
    pub policy: CapabilitiesPolicy,
    /// Capabilities, and whether processes have them.
    pub capabilities: std::collections::BTreeMap<Capability, bool>,
}

xml_enum! {
    /// A capability of Linux processes.
    pub enum Capability { AuditControl = "audit_control", AuditWrite = "audit_write", BlockSuspend = "block_suspend", Chown = "chown", DacOverride = "dac_override", DacReadSearch = "dac_read_search", Fowner = "fowner", Fsetid = "fsetid", IpcLock = "ipc_lock", IpcOwner = "ipc_owner", Kill = "kill", Lease = "lease", LinuxImmutable = "linux_immutable", MacAdmin = "mac_admin", MacOverride = "mac_override", Mknod = "mknod", NetAdmin = "net_admin", NetBindService = "net_bind_service", NetBroadcast = "net_broadcast", NetRaw = "net_raw", Setgid = "setgid", Setfcap = "setfcap", Setpcap = "setpcap", Setuid = "setuid", SysAdmin = "sys_admin", SysBoot = "sys_boot", SysChroot = "sys_chroot", SysModule = "sys_module", SysNice = "sys_nice", SysPacct = "sys_pacct", SysPtrace = "sys_ptrace", SysRawio = "sys_rawio", SysResource = "sys_resource", SysTime = "sys_time", SysTtyConfig = "sys_tty_config", Syslog = "syslog", WakeAlarm = "wake_alarm" }
}

/// The policy, and an element for each capability.
fn capabilities_shape() -> &'static ElementSchema {
    static SCHEMA: LazyLock<ElementSchema> = LazyLock::new(|| {
        let policy = FieldSchema {
            path: "@policy",
            field: "policy",
            doc: "What holds for capabilities that are not named.",
            kind: Kind::Value(CapabilitiesPolicy::SCHEMA),
            ..FieldSchema::UNSAID
        };
        // The words are static, so are the paths that are made of them, once.
        let each = Capability::WORDS.iter().map(|word| FieldSchema {
            path: Box::leak(format!("{word}@state").into_boxed_str()),
            field: word,
            doc: "Whether the container's programs may have this capability of Linux.",
            kind: Kind::Value(ValueSchema::Switch(&["on", "off"])),
            ..FieldSchema::UNSAID
        });
        let fields: Vec<FieldSchema> = std::iter::once(policy).chain(each).collect();
        ElementSchema {
            type_name: "ProcessCapabilities",
            name: "capabilities",
            doc: "Capabilities of a container's programs.",
            content: Content::Fields(fields.leak()),
        }
    });
    &SCHEMA
}

/// `with` for [`ProcessCapabilities`].
mod capabilities {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<ProcessCapabilities> {
        let policy = read::attr(element.last_joined(), cx, "policy", XmlValue::parse_value)?;
        let policy = policy.unwrap_or_default();
        let mut capabilities = std::collections::BTreeMap::new();
        for child in element.children() {
            let Some(capability) = Capability::from_word(child.name()) else {
                let what = format!("unexpected capability feature '{}'", child.name());
                cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, child, At::Text, what))?;
                continue;
            };
            let on = read::attr(child, cx, "state", virt_util::xml::parse_on_off)?.unwrap_or(true);
            capabilities.insert(capability, on);
        }
        Ok(ProcessCapabilities { policy, capabilities })
    }

    pub(super) fn write(value: &ProcessCapabilities, w: &mut Writer, name: &str) {
        if value.policy == CapabilitiesPolicy::Default && value.capabilities.is_empty() {
            return;
        }
        w.start(name);
        w.attribute("policy", value.policy.as_str());
        for (capability, on) in &value.capabilities {
            w.start(capability.as_str());
            w.attribute("state", if *on { "on" } else { "off" });
            w.end(capability.as_str());
        }
        w.end(name);
    }
}

fn async_teardown_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("AsyncTeardown", "async-teardown", "Memory of a guest that ends is freed in the background." => {
        /// Whether it is; without the attribute it is.
        "@enabled" => enabled: value(bool),
    })
}

/// `<async-teardown/>` alone means that it is on.
mod async_teardown {
    use virt_util::Result;
    use virt_util::xml::{Element, Reader, Writer, XmlValue, read};

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<bool> {
        Ok(read::attr(element, cx, "enabled", bool::parse_value)?.unwrap_or(true))
    }

    pub(super) fn write(value: &bool, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute("enabled", if *value { "yes" } else { "no" });
        w.end(name);
    }
}
