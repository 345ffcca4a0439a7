//! The virtual CPUs: `-cpu` and `-smp`.

use virt_conf::cpu::{CpuCacheMode, CpuFeaturePolicy, CpuMaxPhysAddrMode, CpuMode};
use virt_conf::domain::clock::{TickPolicy, TimerName};
use virt_conf::domain::features::{Hyperv, HypervMode};
use virt_conf::domain::small::PanicModel;
use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::machine::{Options, is_on};
use crate::capabilities::{Flag, cpu_feature_to_qemu};

impl Builder<'_> {
    pub(super) fn cpu(&mut self) -> Result<()> {
        let mut model = self.cpu_model()?;
        let flags = self.cpu_flags();
        if model.is_none() && !flags.is_empty() {
            model = Some(match self.arch {
                Arch::I686 => "qemu32".to_owned(),
                Arch::X86_64 => "qemu64".to_owned(),
                arch => {
                    let what = format!("CPU flags requested but can't determine default CPU for arch {arch}");
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
            });
        }
        if let Some(model) = model {
            self.command.option("-cpu", format!("{model}{flags}"));
        }
        Ok(())
    }

    fn cpu_model(&self) -> Result<Option<String>> {
        let cpu = self.domain.cpu.as_deref();
        let Some(cpu) = cpu.filter(|cpu| cpu.mode != CpuMode::Custom || cpu.model_name().is_some()) else {
            let emulator = self.domain.devices.emulator.as_deref().unwrap_or_default();
            let wide =
                emulator.contains("x86_64") || (self.host.arch == Arch::X86_64 && emulator.contains("kvm"));
            return Ok((self.arch == Arch::I686 && wide).then(|| "qemu32".to_owned()));
        };
        let mut options = Options::default();
        match cpu.mode {
            CpuMode::HostPassthrough | CpuMode::Maximum => {
                options.0.push_str(if cpu.mode == CpuMode::Maximum {
                    "max"
                } else {
                    "host"
                });
                if self.arch == Arch::Armv7l && self.host.arch == Arch::Aarch64 {
                    options.put("aarch64", "off");
                }
                if self.caps.has(Flag::CpuMigratable) {
                    options.switch("migratable", cpu.migratable);
                }
            }
            // The machine is told the generation.
            CpuMode::HostModel if self.arch.is_ppc64() => options.0.push_str("host"),
            CpuMode::HostModel => {
                let what = "the host CPU model was not resolved before the command line was made";
                return Err(VirtError::internal(what));
            }
            CpuMode::Custom => options.0.push_str(cpu.model_name().unwrap_or_default()),
        }
        let queried = self.caps.has(Flag::QueryCpuModelExpansion);
        if (self.arch.is_s390() || self.arch.is_arm()) && !cpu.features.is_empty() && !queried {
            return Err(VirtError::internal("CPU features not supported by hypervisor"));
        }
        if let Some(vendor) = cpu.model.as_ref().and_then(|model| model.vendor_id.as_deref()) {
            options.put("vendor", vendor);
        }
        let known = if self.arch.is_x86() {
            self.caps
                .accel(self.accel)
                .host_cpu
                .as_ref()
                .map(|host| &host.properties)
        } else {
            None
        };
        for feature in &cpu.features {
            let name = cpu_feature_to_qemu(self.arch, &feature.name);
            match feature.policy {
                CpuFeaturePolicy::Force | CpuFeaturePolicy::Require => options.put(name, "on"),
                CpuFeaturePolicy::Disable | CpuFeaturePolicy::Forbid => {
                    let is_known = known.is_none_or(|known| {
                        known
                            .iter()
                            .any(|property| property.name == name || property.name == feature.name)
                    });
                    if is_known {
                        options.put(name, "off");
                    }
                }
                CpuFeaturePolicy::Optional => {}
            }
        }
        Ok(Some(options.0))
    }

    fn cpu_flags(&self) -> String {
        let mut options = Options::default();
        for timer in &self.domain.clock.timers {
            match timer.name {
                TimerName::Kvmclock => options.switch("kvmclock", timer.present),
                TimerName::Hypervclock if timer.present == Some(true) => options.put("hv-time", "on"),
                TimerName::Tsc if timer.frequency > 0 => options.put("tsc-frequency", timer.frequency),
                TimerName::Armvtimer => match timer.tick_policy {
                    Some(TickPolicy::Delay) => options.put("kvm-no-adjvtime", "off"),
                    Some(TickPolicy::Discard) => options.put("kvm-no-adjvtime", "on"),
                    _ => {}
                },
                _ => {}
            }
        }
        options.switch("kvm-pv-eoi", self.features.apic.and_then(|apic| apic.eoi));
        options.switch("kvm-pv-unhalt", is_on(self.features.pvspinlock));
        if let Some(hyperv) = &self.features.hyperv {
            hyperv_flags(hyperv, &mut options);
        }
        if self
            .domain
            .devices
            .panics
            .iter()
            .any(|panic| panic.model == Some(PanicModel::Hyperv))
        {
            options.0.push_str(",hv-crash");
        }
        if let Some(kvm) = &self.features.kvm {
            if is_on(kvm.hidden) == Some(true) {
                options.put("kvm", "off");
            }
            if is_on(kvm.hint_dedicated) == Some(true) {
                options.put("kvm-hint-dedicated", "on");
            }
            if is_on(kvm.poll_control) == Some(true) {
                options.put("kvm-poll-control", "on");
            }
            if is_on(kvm.pv_ipi) == Some(false) {
                options.put("kvm-pv-ipi", "off");
            }
        }
        if !self.arch.is_ppc64() {
            options.switch("pmu", is_on(self.features.pmu));
        }
        if let Some(cpu) = &self.domain.cpu {
            let host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum);
            if let Some(cache) = &cpu.cache {
                match cache.mode {
                    CpuCacheMode::Emulate => options.put("l3-cache", "on"),
                    CpuCacheMode::Passthrough => options.put("host-cache-info", "on"),
                    CpuCacheMode::Disable => {}
                }
                if cache.mode != CpuCacheMode::Passthrough && host {
                    options.put("host-cache-info", "off");
                }
                if cache.mode != CpuCacheMode::Emulate {
                    options.put("l3-cache", "off");
                }
            }
            if let Some(size) = &cpu.max_phys_addr {
                match (size.mode, size.bits.filter(|bits| *bits > 0)) {
                    (CpuMaxPhysAddrMode::Passthrough, _) => {
                        options.put("host-phys-bits", "on");
                        if let Some(limit) = size.limit.filter(|limit| *limit > 0) {
                            options.put("host-phys-bits-limit", limit);
                        }
                    }
                    (CpuMaxPhysAddrMode::Emulate, Some(bits)) => options.put("phys-bits", bits),
                    (CpuMaxPhysAddrMode::Emulate, None) => options.put("host-phys-bits", "off"),
                }
            }
        }
        options.0
    }

    pub(super) fn cpus(&mut self) -> Result<()> {
        let domain = self.domain;
        let most = domain.vcpus.max;
        // CPUs that can be unplugged are plugged once QEMU runs.
        let fixed = if domain.vcpu_states.is_empty() {
            domain.vcpus.online()
        } else {
            let states = domain.vcpu_states.iter();
            let fixed = states
                .filter(|state| state.enabled && state.hotpluggable != Some(true))
                .count();
            u32::try_from(fixed).unwrap_or(u32::MAX)
        };
        let mut options = Options(fixed.to_string());
        if fixed != most {
            options.put("maxcpus", most);
        }
        let dies = self.caps.has(Flag::SmpDies);
        let clusters = self.caps.has(Flag::SmpClusters);
        match domain.cpu.as_ref().and_then(|cpu| cpu.topology) {
            Some(topology) => {
                for (what, value, supported) in [
                    ("die", topology.dies, dies),
                    ("cluster", topology.clusters, clusters),
                ] {
                    if value != 1 && !supported {
                        let what = format!("Only 1 {what} per socket is supported by this QEMU");
                        return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                    }
                }
                options.put("sockets", topology.sockets);
                if dies {
                    options.put("dies", topology.dies);
                }
                if clusters {
                    options.put("clusters", topology.clusters);
                }
                options.put("cores", topology.cores);
                options.put("threads", topology.threads);
            }
            None => {
                options.put("sockets", most);
                options.put("cores", 1);
                options.put("threads", 1);
            }
        }
        self.command.option("-smp", options.0);
        Ok(())
    }
}

/// What the guest is shown of Microsoft's hypervisor, in the order of the definition's own list.
fn hyperv_flags(hyperv: &Hyperv, options: &mut Options) {
    if hyperv.mode == HypervMode::Passthrough {
        options.put("hv-passthrough", "on");
    }
    let mut put = |name: &str, on: Option<bool>| {
        if on == Some(true) {
            options.put(name, "on");
        }
    };
    put("hv-relaxed", is_on(hyperv.relaxed));
    put("hv-vapic", is_on(hyperv.vapic));
    if let Some(retries) = hyperv.spinlocks.as_ref().filter(|spinlocks| spinlocks.on) {
        options.put(
            "hv-spinlocks",
            format_args!("0x{:x}", retries.retries.unwrap_or(0)),
        );
    }
    let mut put = |name: &str, on: Option<bool>| {
        if on == Some(true) {
            options.put(name, "on");
        }
    };
    put("hv-vpindex", is_on(hyperv.vpindex));
    put("hv-runtime", is_on(hyperv.runtime));
    put("hv-synic", is_on(hyperv.synic));
    if let Some(stimer) = &hyperv.stimer {
        put("hv-stimer", Some(stimer.on));
        put("hv-stimer-direct", is_on(stimer.direct).filter(|_| stimer.on));
    }
    put("hv-reset", is_on(hyperv.reset));
    if let Some(value) = hyperv
        .vendor_id
        .as_ref()
        .filter(|vendor| vendor.on)
        .and_then(|vendor| vendor.value.as_ref())
    {
        options.put("hv-vendor-id", value);
    }
    let mut put = |name: &str, on: Option<bool>| {
        if on == Some(true) {
            options.put(name, "on");
        }
    };
    put("hv-frequencies", is_on(hyperv.frequencies));
    put("hv-reenlightenment", is_on(hyperv.reenlightenment));
    if let Some(flush) = &hyperv.tlbflush {
        put("hv-tlbflush", Some(flush.on));
        put("hv-tlbflush-direct", is_on(flush.direct).filter(|_| flush.on));
        put("hv-tlbflush-ext", is_on(flush.extended).filter(|_| flush.on));
    }
    put("hv-ipi", is_on(hyperv.ipi));
    put("hv-evmcs", is_on(hyperv.evmcs));
    put("hv-avic", is_on(hyperv.avic));
    put("hv-emsr-bitmap", is_on(hyperv.emsr_bitmap));
    put("hv-xmm-input", is_on(hyperv.xmm_input));
}
