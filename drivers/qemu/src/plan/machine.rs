//! `-machine`, `-accel` and what goes with them.

use virt_conf::cpu::CpuMode;
use virt_conf::domain::clock::TimerName;
use virt_conf::domain::features::GicVersion;
use virt_conf::domain::features::State;
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::small::IommuModel;
use virt_conf::domain::sound::SoundModel;
use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::on_off;
use super::block::pflash_nodes;
use crate::capabilities::{Accel, Flag};

/// Options behind the first word of an option's value.
#[derive(Default)]
pub(super) struct Options(pub String);

impl Options {
    pub(super) fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!(",{key}={value}"));
    }

    pub(super) fn switch(&mut self, key: &str, state: Option<bool>) {
        if let Some(state) = state {
            self.put(key, on_off(state));
        }
    }
}

pub(super) fn is_on(state: Option<State>) -> Option<bool> {
    state.map(|state| state.on)
}

impl Builder<'_> {
    pub(super) fn machine_options(&mut self) -> Result<()> {
        let domain = self.domain;
        let mut options = Options(domain.os.kind.machine.clone().unwrap_or_default());
        options.put("usb", "off");
        self.key_wrap(&mut options)?;
        self.machine_features(&mut options)?;
        if domain
            .devices
            .iommu
            .as_ref()
            .is_some_and(|iommu| iommu.model == IommuModel::Smmuv3)
        {
            options.put("iommu", "smmuv3");
        }
        self.machine_memory(&mut options);
        let generation = domain
            .cpu
            .as_ref()
            .filter(|cpu| cpu.mode == CpuMode::HostModel && self.machine().is_pseries())
            .and_then(|cpu| cpu.model_name());
        if let Some(generation) = generation {
            options.put("max-cpu-compat", generation);
        }
        if !self.caps.has(Flag::VirtioCcwDeviceLoadparm) && matches!(self.arch, Arch::S390 | Arch::S390x) {
            let disks = domain.devices.disks.iter().map(|device| &device.info);
            let interfaces = domain.devices.interfaces.iter().map(|device| &device.info);
            let hostdevs = domain.devices.hostdevs.iter().map(|device| &device.info);
            let mut boots = disks
                .chain(interfaces)
                .chain(hostdevs)
                .filter_map(|info| info.boot.as_ref());
            let first = boots.find_map(|boot| boot.loadparm.as_ref().filter(|_| boot.order == 1));
            if let Some(parameter) = first {
                options.put("loadparm", parameter);
            }
        }
        match domain.launch_security.as_deref() {
            Some(LaunchSecurity::Sev(_) | LaunchSecurity::SevSnp(_))
                if !self.caps.has(Flag::MachineConfidentalGuestSupport) =>
            {
                options.put("memory-encryption", "lsec0");
            }
            Some(_) => options.put("confidential-guest-support", "lsec0"),
            None => {}
        }
        let (code, variables) = pflash_nodes(&domain.os, self.caps)?;
        if let Some(code) = &code {
            options.put("pflash0", &code.node);
        }
        if let Some(variables) = &variables {
            options.put("pflash1", &variables.node);
        }
        if self.has_hmat() {
            options.put("hmat", "on");
        }
        if domain
            .os
            .bios
            .as_ref()
            .is_some_and(|bios| bios.use_serial == Some(true))
        {
            options.put("graphics", "off");
        }
        if self.caps.has(Flag::MachineHpet) {
            for timer in domain
                .clock
                .timers
                .iter()
                .filter(|timer| timer.name == TimerName::Hpet)
            {
                options.switch("hpet", timer.present);
            }
        }
        if let Some(speaker) = domain
            .devices
            .sounds
            .iter()
            .find(|sound| sound.model == SoundModel::Pcspk)
        {
            options.put("pcspk-audiodev", self.audio_id(speaker.audio)?);
        }
        if self.machine_caps.and_then(|machine| machine.acpi) == Some(true) {
            options.switch("acpi", Some(self.features.acpi));
        }
        self.command.option("-machine", options.0);
        Ok(())
    }

    fn key_wrap(&self, options: &mut Options) -> Result<()> {
        let Some(wrap) = self
            .domain
            .keywrap
            .as_ref()
            .filter(|wrap| !wrap.ciphers.is_empty())
        else {
            return Ok(());
        };
        if !self.arch.is_s390() {
            let what = "key wrap support is only available on s390";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
        use virt_conf::domain::security::KeyWrapCipherName as Name;
        for (name, key) in [(Name::Aes, "aes-key-wrap"), (Name::Dea, "dea-key-wrap")] {
            let state = wrap
                .ciphers
                .iter()
                .find(|cipher| cipher.name == name)
                .map(|cipher| cipher.state);
            options.switch(key, state);
        }
        Ok(())
    }

    fn machine_features(&self, options: &mut Options) -> Result<()> {
        let features = &self.features;
        options.switch("vmport", is_on(features.vmport));
        options.switch("smm", features.smm.map(|smm| smm.on));
        if let Some(version) = features.gic.and_then(|gic| gic.version) {
            let selectable = self.caps.arch == Some(Arch::Aarch64);
            match version {
                GicVersion::V2 if !selectable => {}
                _ if !selectable => {
                    let what = "gic-version option is not available with this QEMU binary";
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
                version => options.put("gic-version", version),
            }
        }
        use virt_conf::domain::features::IoapicDriver;
        match features.ioapic {
            Some(IoapicDriver::Qemu) => options.put("kernel_irqchip", "split"),
            Some(IoapicDriver::Kvm) => options.put("kernel_irqchip", "on"),
            None => {}
        }
        if let Some(hpt) = &features.hpt {
            if let Some(resizing) = hpt.resizing {
                options.put("resize-hpt", resizing);
            }
            if let Some(size) = hpt.max_page_size.filter(|size| *size > 0) {
                options.put("cap-hpt-max-page-size", format_args!("{size}k"));
            }
        }
        options.switch("cap-htm", is_on(features.htm));
        options.switch("cap-nested-hv", is_on(features.nested_hv));
        options.switch("cap-ccf-assist", is_on(features.ccf_assist));
        if let Some(value) = features.cfpc {
            options.put("cap-cfpc", value);
        }
        if let Some(value) = features.sbbc {
            options.put("cap-sbbc", value);
        }
        if let Some(value) = features.ibs {
            options.put("cap-ibs", value);
        }
        options.switch("ras", is_on(features.ras));
        options.switch("i8042", is_on(features.ps2));
        if let Some(value) = features.aia {
            options.put("aia", value);
        }
        Ok(())
    }

    fn machine_memory(&self, options: &mut Options) {
        let domain = self.domain;
        let dump = domain
            .memory
            .dump_core
            .unwrap_or(self.host.config.dump_guest_core);
        options.switch("dump-guest-core", Some(dump));
        if domain
            .memory_backing
            .as_ref()
            .is_some_and(|backing| backing.no_share_pages)
        {
            options.put("mem-merge", "off");
        }
        let mut sections = 0;
        let mut nvdimm = false;
        for module in &domain.devices.memory {
            match module.model {
                MemoryModel::Nvdimm if !nvdimm => {
                    options.put("nvdimm", "on");
                    nvdimm = true;
                }
                MemoryModel::SgxEpc => {
                    let alias = module.info.alias.as_deref().unwrap_or_default();
                    options.put(&format!("sgx-epc.{sections}.memdev"), format_args!("mem{alias}"));
                    options.put(
                        &format!("sgx-epc.{sections}.node"),
                        module.target.node.unwrap_or(0),
                    );
                    sections += 1;
                }
                _ => {}
            }
        }
        if let Some(id) = self.default_ram().filter(|_| self.cells().is_empty()) {
            options.put("memory-backend", id);
        }
    }

    pub(super) fn accelerator(&mut self) {
        let mut options = Options(self.accel.name().to_owned());
        match self.accel {
            Accel::Tcg => {
                if let Some(size) = self.features.tcg_cache.filter(|size| *size > 0) {
                    options.put("tb-size", size >> 10);
                }
            }
            Accel::Kvm => {
                let ring = self.features.kvm.as_ref().and_then(|kvm| kvm.dirty_ring.as_ref());
                if let Some(ring) = ring.filter(|ring| ring.on) {
                    options.put("dirty-ring-size", ring.size);
                }
            }
            Accel::Hvf => {}
        }
        self.command.option("-accel", options.0);
    }

    pub(super) fn smm_memory(&mut self) {
        if let Some(size) = self.features.smm.and_then(|smm| smm.tseg) {
            self.command
                .option("-global", format!("mch.extended-tseg-mbytes={}", size >> 20));
        }
    }
}
