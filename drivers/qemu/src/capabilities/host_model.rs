//! The host's CPU as a model for guests, and checks of guests' CPUs against it.
//!
//! QEMU tells what `host` (or `max` without an accelerator) means by its properties. Where it does not, the host's own
//! processor is asked, as far as the caller has done so: nothing is read here.

use virt_conf::cpu::{
    Cpu, CpuCheck, CpuDocument, CpuFallback, CpuFeature, CpuFeaturePolicy, CpuMode, CpuModel as ModelName,
    CpuSignature,
};
use virt_conf::cpu_models::{self, Comparison, CpuData, HypervisorModel, HypervisorModels};
use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::{
    Accel, AccelCaps, CpuModelInfo, CpuValue, Flag, QemuCaps, cpu_feature_from_qemu, guest_is_native,
};

/// Features that QEMU never had, or that it dropped because they did nothing.
const IGNORED_FEATURES: [&str; 8] = [
    "cmt",
    "mbm_total",
    "mbm_local",
    "osxsave",
    "ospke",
    "vmx-ept-uc",
    "vmx-ept-wb",
    "vmx-invvpid-single-context",
];

/// Machines of s390 from before models of processors could be chosen.
const S390_HOST_ONLY: [&str; 4] = [
    "s390-ccw-virtio-2.4",
    "s390-ccw-virtio-2.5",
    "s390-ccw-virtio-2.6",
    "s390-ccw-virtio-2.7",
];

/// The host's processor, as far as somebody has asked it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostProcessor {
    /// What an x86 processor says about itself.
    pub data: Option<CpuData>,
    /// The CPU, where it is known without that.
    pub cpu: Option<Cpu>,
    /// Bits of its physical addresses, 0 if not known.
    pub address_bits: u32,
}

impl HostProcessor {
    /// The processor as a guest's CPU, by a model among `models`.
    fn as_guest(&self, models: Option<&HypervisorModels>) -> Option<Cpu> {
        match &self.data {
            Some(data) => cpu_models::guest_cpu(data, models, CpuFallback::Allow).ok(),
            None => self.cpu.clone(),
        }
    }
}

/// The host's CPU as guests can have it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostModels {
    /// As the hypervisor tells it. Its fallback is `forbid` if the hypervisor did, `allow` if it is the processor itself.
    pub reported: Cpu,
    /// Without what ties a guest to this host.
    pub migratable: Cpu,
    /// With what the processor has beyond that; nothing if only one of both was asked.
    pub full: Option<Cpu>,
    /// Bits of physical addresses of guests that run on the processor, 0 if not known.
    pub address_bits: u32,
}

impl HostModels {
    /// All that is known of the host's CPU.
    pub fn full(&self) -> &Cpu {
        self.full.as_ref().unwrap_or(&self.reported)
    }
}

impl AccelCaps {
    /// The models that QEMU knows; nothing if it cannot list them.
    pub fn hypervisor_models(&self) -> Option<HypervisorModels> {
        let models = self.cpu_models.as_deref()?;
        Some(
            models
                .iter()
                .map(|model| HypervisorModel {
                    name: model.name.clone(),
                    blockers: model.blockers.clone(),
                })
                .collect(),
        )
    }
}

impl CpuModelInfo {
    /// What an x86 processor with these properties says about itself. With `migratable` properties that tie a guest to
    /// its host are left out.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for a vendor that is none.
    pub fn x86_data(&self, migratable: bool) -> Result<CpuData> {
        let mut data = CpuData::default();
        let mut signature = CpuSignature::default();
        for property in &self.properties {
            let name = cpu_feature_from_qemu(Arch::X86_64, &property.name);
            match &property.value {
                CpuValue::Bool(true) if !(migratable && property.migratable == Some(false)) => {
                    data.add_feature(name);
                }
                CpuValue::Bool(_) => {}
                CpuValue::String(text) if name == "vendor" => data.set_vendor(text)?,
                CpuValue::String(_) => {}
                CpuValue::Number(number) => {
                    let number = u32::try_from(*number).unwrap_or(0);
                    match name {
                        "family" => signature.family = number,
                        "model" => signature.model = number,
                        "stepping" => signature.stepping = number,
                        _ => {}
                    }
                }
            }
        }
        data.set_signature(signature);
        Ok(data)
    }
}

/// What QEMU says of the host's CPU.
enum Told {
    /// This.
    Cpu(Box<Cpu>),
    /// Nothing; the processor is to be asked.
    Nothing,
    /// It never does for this kind of guest.
    Never,
}

fn told(caps: &QemuCaps, accel: Accel, models: Option<&HypervisorModels>, migratable: bool) -> Result<Told> {
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    let info = caps.accel(accel).host_cpu.as_ref();
    if migratable && info.is_some_and(|info| !info.migratability) {
        return Ok(Told::Nothing);
    }
    if arch.is_s390() {
        return Ok(match info {
            Some(info) => Told::Cpu(Box::new(s390_model(info, migratable))),
            None => Told::Never,
        });
    }
    if arch.is_arm() || arch.is_loongarch() {
        return Ok(Told::Never);
    }
    match info.filter(|_| arch.is_x86()) {
        Some(info) => {
            let data = info.x86_data(migratable)?;
            let cpu = cpu_models::guest_cpu(&data, models, CpuFallback::Forbid)?;
            Ok(Told::Cpu(Box::new(cpu)))
        }
        None => Ok(Told::Nothing),
    }
}

fn s390_model(info: &CpuModelInfo, migratable: bool) -> Cpu {
    let features = info.properties.iter().filter_map(|property| {
        let CpuValue::Bool(on) = property.value else {
            return None;
        };
        let off = !on || (migratable && property.migratable == Some(false));
        Some(CpuFeature {
            policy: if off {
                CpuFeaturePolicy::Disable
            } else {
                CpuFeaturePolicy::Require
            },
            name: property.name.clone(),
        })
    });
    Cpu {
        model: Some(ModelName {
            fallback: CpuFallback::Forbid,
            vendor_id: None,
            name: Some(info.name.clone()),
        }),
        features: features.collect(),
        ..Cpu::default()
    }
}

/// The host model of `migratable` or not that QEMU's own words give; nothing if it has none.
///
/// # Errors
/// `INTERNAL_ERROR` for a CPU that no model fits.
pub fn told_model(caps: &QemuCaps, accel: Accel, migratable: bool) -> Result<Option<Cpu>> {
    let models = caps.accel(accel).hypervisor_models();
    Ok(match told(caps, accel, models.as_ref(), migratable)? {
        Told::Cpu(cpu) => Some(*cpu),
        Told::Nothing | Told::Never => None,
    })
}

impl QemuCaps {
    /// The host's CPU as guests under `accel` can have it; nothing if that is not known, or guests are of another
    /// architecture.
    pub fn host_models(
        &self,
        host_arch: Arch,
        processor: &HostProcessor,
        accel: Accel,
    ) -> Option<HostModels> {
        let arch = self.arch?;
        if !guest_is_native(host_arch, arch) {
            return None;
        }
        match self.find_host_models(arch, processor, accel) {
            Ok(models) => models,
            Err(error) => {
                tracing::debug!(
                    "no model of the host's CPU for {}: {error:#}",
                    accel.domain_type()
                );
                None
            }
        }
    }

    fn find_host_models(
        &self,
        arch: Arch,
        processor: &HostProcessor,
        accel: Accel,
    ) -> Result<Option<HostModels>> {
        let models = self.accel(accel).hypervisor_models();
        let mut full = None;
        let mut reported = match told(self, accel, models.as_ref(), false)? {
            Told::Never => return Ok(None),
            Told::Cpu(cpu) => {
                // For other architectures nobody can ask the processor.
                if accel.is_hardware() && (arch.is_x86() || arch.is_ppc64()) {
                    let Some(mut all) = processor.as_guest(None) else {
                        return Ok(None);
                    };
                    let mut expanded = (*cpu).clone();
                    cpu_models::expand(arch, &mut expanded)?;
                    for feature in &expanded.features {
                        if feature.policy == CpuFeaturePolicy::Require {
                            all.set_feature(&feature.name, CpuFeaturePolicy::Require);
                        }
                    }
                    full = Some(all);
                }
                *cpu
            }
            Told::Nothing => {
                let Some(found) = processor.as_guest(models.as_ref()) else {
                    return Ok(None);
                };
                let mut cpu = Cpu {
                    model: found.model,
                    vendor: found.vendor,
                    features: found.features,
                    ..Cpu::default()
                };
                cpu.set_fallback(CpuFallback::Allow);
                drop_ignored(arch, &mut cpu);
                cpu
            }
        };
        let mut migratable = match told(self, accel, models.as_ref(), true)? {
            Told::Cpu(cpu) => *cpu,
            Told::Nothing => cpu_models::copy_migratable(arch, &reported)?,
            Told::Never => return Ok(None),
        };
        if arch.is_x86() && !self.has(Flag::CpuUnavailableFeatures) {
            for cpu in [Some(&mut reported), Some(&mut migratable), full.as_mut()]
                .into_iter()
                .flatten()
            {
                cpu_models::drop_msr_features(cpu);
            }
        }
        Ok(Some(HostModels {
            reported,
            migratable,
            full,
            address_bits: if accel.is_hardware() {
                processor.address_bits
            } else {
                0
            },
        }))
    }

    /// Whether guests of a machine can have their CPU chosen so.
    pub fn supports_cpu_mode(
        &self,
        host_arch: Arch,
        accel: Accel,
        mode: CpuMode,
        machine: &str,
        host: Option<&HostModels>,
    ) -> bool {
        let arch = self.arch.unwrap_or(host_arch);
        if mode != CpuMode::HostPassthrough
            && arch.is_s390()
            && accel == Accel::Kvm
            && S390_HOST_ONLY.contains(&machine)
        {
            return false;
        }
        match mode {
            CpuMode::HostPassthrough => accel.is_hardware() && guest_is_native(host_arch, arch),
            CpuMode::HostModel => host.is_some(),
            CpuMode::Custom => self
                .accel(accel)
                .cpu_models
                .as_deref()
                .is_some_and(|models| !models.is_empty()),
            CpuMode::Maximum => self.has(Flag::CpuMax),
        }
    }

    /// Whether QEMU says that a CPU can be used whose model it knows and which asks for nothing beyond it.
    fn says_usable(&self, accel: Accel, cpu: &Cpu) -> bool {
        let plain = cpu
            .features
            .iter()
            .all(|feature| feature.policy == CpuFeaturePolicy::Disable);
        plain
            && cpu
                .model_name()
                .and_then(|name| self.cpu_model(accel, name))
                .is_some_and(|model| model.usable == Some(true))
    }

    /// Whether this host can give guests a CPU. `with` is the host's CPU to compare with where models are compared.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for unknown models and features.
    pub fn check_cpu(
        &self,
        arch: Arch,
        accel: Accel,
        host: Option<&HostModels>,
        with: Option<&Cpu>,
        cpu: &CpuDocument,
    ) -> Result<Comparison> {
        let wanted = cpu.to_guest();
        if self.says_usable(accel, &wanted) {
            return Ok(Comparison::Superset);
        }
        let model = wanted.model_name().and_then(|name| self.cpu_model(accel, name));
        let told = host.filter(|host| host.reported.fallback() == CpuFallback::Forbid);
        if let (Some(host), Some(model)) = (told, model)
            && !cpu_models::goes_by_catalogue(arch, &model.name)?
        {
            return cpu_models::compare_unusable(arch, &host.reported, &wanted, &model.blockers);
        }
        let with = with.map(|cpu| CpuDocument::Guest(cpu.clone()));
        cpu_models::compare(arch, with.as_ref(), cpu)
    }

    /// Turns the CPU of a guest that is about to start into the one that it gets. `fresh`: it does not go on from a state
    /// that was saved.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for what cannot be, `CPU_INCOMPATIBLE` for what this host cannot give.
    pub fn resolve_guest_cpu(&self, cpu: &mut Cpu, guest: &GuestKind<'_>) -> Result<()> {
        let GuestKind {
            arch, accel, fresh, ..
        } = *guest;
        if cpu.mode == CpuMode::Custom && cpu.model_name().is_none() {
            return Ok(());
        }
        let unsupported = |what: std::fmt::Arguments<'_>| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what);
        // Saved by a libvirt that named the model beside the mode.
        if !fresh && arch.is_x86() && cpu.mode == CpuMode::HostModel && cpu.model_name().is_some() {
            cpu.mode = CpuMode::Custom;
        }
        let host = self.host_models(guest.host_arch, guest.processor, accel);
        if !self.supports_cpu_mode(guest.host_arch, accel, cpu.mode, guest.machine, host.as_ref()) {
            return Err(unsupported(format_args!(
                "CPU mode '{}' is not for {arch} guests of type '{}' on {} hosts",
                cpu.mode,
                accel.domain_type(),
                guest.host_arch
            )));
        }
        cpu_models::convert_legacy(guest.host_arch, cpu)?;
        if cpu.check != Some(CpuCheck::None)
            && let Some(host) = &host
        {
            cpu_models::check_forbidden(cpu, host.full())?;
        }
        if !matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum) {
            if cpu.check == Some(CpuCheck::Partial) {
                let with = host.as_ref().map(HostModels::full);
                self.check_cpu(
                    guest.host_arch,
                    accel,
                    host.as_ref(),
                    with,
                    &CpuDocument::Guest(cpu.clone()),
                )?
                .or_fail()?;
            }
            // A guest that goes on has features that were removed from its model later.
            let removed = if fresh {
                CpuFeaturePolicy::Disable
            } else {
                CpuFeaturePolicy::Require
            };
            let migratable = host.as_ref().map(|host| &host.migratable);
            cpu_models::update(arch, cpu, migratable, removed)?;
            let models = self.accel(accel).hypervisor_models();
            cpu_models::translate(arch, cpu, models.as_ref())?;
            cpu.set_fallback(CpuFallback::Forbid);
        }
        drop_ignored(arch, cpu);
        if cpu.deprecated_features.is_some() && !self.has(Flag::QueryCpuModelExpansionDeprecatedProps) {
            return Err(unsupported(format_args!(
                "this emulator knows no deprecated features: remove deprecated_features='…'"
            )));
        }
        if cpu.deprecated_features == Some(false)
            && let Some(info) = &self.accel(accel).host_cpu
        {
            for name in &info.deprecated {
                cpu.set_feature(name, CpuFeaturePolicy::Disable);
            }
        }
        Ok(())
    }

    /// Checks the features that the CPU of a guest names.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for unknown ones, and those of which QEMU cannot tell whether it has them.
    pub fn validate_cpu_features(&self, arch: Arch, cpu: &Cpu) -> Result<()> {
        if !cpu_models::is_supported(arch) {
            return Ok(());
        }
        cpu_models::validate_features(arch, cpu)?;
        if !arch.is_x86() || self.has(Flag::CpuUnavailableFeatures) {
            return Ok(());
        }
        let doubtful: Vec<&str> = cpu
            .features
            .iter()
            .map(|feature| feature.name.as_str())
            .filter(|name| cpu_models::is_msr_feature(name))
            .collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!(
                "CPU features that this emulator cannot be trusted with: {}",
                doubtful.join(", ")
            ),
        ))
    }
}

/// A guest whose CPU is to be resolved, and its host.
#[derive(Clone, Copy, Debug)]
pub struct GuestKind<'a> {
    /// Architecture of the host.
    pub host_arch: Arch,
    /// The host's processor.
    pub processor: &'a HostProcessor,
    /// Architecture of the guest.
    pub arch: Arch,
    /// Who executes it.
    pub accel: Accel,
    /// Full name of its machine type.
    pub machine: &'a str,
    /// It does not go on from a state that was saved.
    pub fresh: bool,
}

/// Says nothing of features that QEMU does not know on purpose.
pub fn drop_ignored(arch: Arch, cpu: &mut Cpu) {
    if arch.is_x86() {
        cpu.features
            .retain(|feature| !IGNORED_FEATURES.contains(&feature.name.as_str()));
    }
}
