//! What the names of CPU models and features mean: a catalogue of processors, and arithmetic with their models.
//!
//! | function | answers |
//! |---|---|
//! | [`compare`], [`compare_unusable`] | does a host provide what a CPU is made of? |
//! | [`baseline`] | what do several CPUs have in common? |
//! | [`update`] | a guest's CPU that is told relative to the host's, made absolute |
//! | [`update_live`] | a guest's CPU as the hypervisor made it |
//! | [`translate`] | the same CPU by a model that the hypervisor knows |
//! | [`expand`], [`copy_migratable`] | with the model's features spelled out; without those that tie a guest to its host |
//! | [`host_cpu`], [`guest_cpu`] | the model that comes closest to what a processor says about itself ([`CpuData`]) |
//! | [`models`], [`vendor_of`], [`canonical_name`], [`goes_by_catalogue`] | facts of a model |
//!
//! This is arithmetic over embedded tables: no processor, host or hypervisor is asked. It stands here and not in a driver
//! because several drivers need it, and drivers may not name each other; whoever reads a host's own processor hands its
//! answers in as [`Reading`]s.
//!
//! What can be done depends on the architecture. x86 knows features; POWER compares models by name; ARM, RISC-V, LoongArch and
//! IBM Z leave nearly all to the hypervisor. For other architectures every function answers `NO_SUPPORT`.

mod arm;
mod ppc64;
mod x86;

use std::collections::HashMap;

use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use crate::cpu::{
    Cpu, CpuCheck, CpuDocument, CpuFallback, CpuFeaturePolicy, CpuMatch, CpuMode, CpuModel, HostCpu,
};

pub use x86::{CpuData, Reading, drop_msr_features, encode_signature, is_msr_feature};

/// A model that a hypervisor knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HypervisorModel {
    /// Its name.
    pub name: String,
    /// Features of it that this host cannot give.
    pub blockers: Vec<String>,
}

/// The models that a hypervisor knows, found by name.
#[derive(Clone, Debug, Default)]
pub struct HypervisorModels(HashMap<String, Vec<String>>);

impl HypervisorModels {
    /// Whether a model is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Features of a model that this host cannot give; nothing for an unknown model.
    pub fn blockers(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

impl FromIterator<HypervisorModel> for HypervisorModels {
    fn from_iter<T: IntoIterator<Item = HypervisorModel>>(models: T) -> Self {
        let mut map = HashMap::new();
        for model in models {
            // Of two models of one name the first counts.
            map.entry(model.name).or_insert(model.blockers);
        }
        Self(map)
    }
}

/// How a host's CPU stands to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The host lacks something, or has too much; why.
    Incompatible(String),
    /// They are the same.
    Identical,
    /// The host has more than is wanted.
    Superset,
}

impl Comparison {
    /// The number of `virCPUCompareResult`.
    pub fn number(&self) -> i32 {
        match self {
            Self::Incompatible(_) => 0,
            Self::Identical => 1,
            Self::Superset => 2,
        }
    }

    /// An error in place of [`Comparison::Incompatible`].
    ///
    /// # Errors
    /// `CPU_INCOMPATIBLE` with the reason.
    pub fn or_fail(self) -> Result<Self> {
        match self {
            Self::Incompatible(why) => Err(VirtError::new(ErrorCode::CPU_INCOMPATIBLE, why)),
            other => Ok(other),
        }
    }
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    X86,
    Ppc64,
    S390,
    Arm,
    Riscv64,
    Loongarch,
}

fn family(arch: Arch) -> Result<Family> {
    Ok(match arch {
        Arch::I686 | Arch::X86_64 => Family::X86,
        Arch::Ppc64 | Arch::Ppc64le => Family::Ppc64,
        Arch::S390 | Arch::S390x => Family::S390,
        Arch::Armv6l | Arch::Armv7b | Arch::Armv7l | Arch::Aarch64 => Family::Arm,
        Arch::Riscv64 => Family::Riscv64,
        Arch::Loongarch64 => Family::Loongarch,
        _ => {
            return Err(VirtError::no_support(format_args!(
                "nothing is known of the CPUs of architecture '{arch}'"
            )));
        }
    })
}

fn cannot(what: &str, arch: Arch) -> VirtError {
    VirtError::no_support(format_args!("cannot {what} for {arch} architecture"))
}

fn unknown_model(name: &str) -> VirtError {
    VirtError::internal(format_args!("no CPU model is named '{name}'"))
}

fn unknown_host() -> VirtError {
    VirtError::new(
        ErrorCode::CONFIG_UNSUPPORTED,
        "the CPU model of the host is not known",
    )
}

/// Whether models of CPUs mean anything for an architecture.
pub fn is_supported(arch: Arch) -> bool {
    family(arch).is_ok()
}

/// Names of all models of an architecture, in the catalogue's order; nothing where the hypervisor takes any name.
///
/// # Errors
/// `NO_SUPPORT` for an architecture without rules.
pub fn models(arch: Arch) -> Result<Option<Vec<&'static str>>> {
    Ok(match family(arch)? {
        Family::X86 => Some(x86::models()),
        Family::Ppc64 => Some(ppc64::models()),
        _ => None,
    })
}

/// [`models`] of an architecture by its name, as `virConnectGetCPUModelNames` tells them: none where any name goes.
///
/// # Errors
/// `INVALID_ARG` for an unknown architecture, `NO_SUPPORT` for one without rules.
pub fn model_names(arch: &str) -> Result<Vec<String>> {
    let arch = Arch::from_name(arch)
        .ok_or_else(|| VirtError::invalid_arg(format_args!("no architecture is named '{arch}'")))?;
    let names = models(arch)?.unwrap_or_default();
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Who makes a model, if that is known.
pub fn vendor_of(arch: Arch, model: &str) -> Option<&'static str> {
    match family(arch).ok()? {
        Family::X86 => x86::vendor_of(model),
        Family::Ppc64 => ppc64::vendor_of(model),
        Family::S390 => (model.starts_with('z') || model.starts_with("gen")).then_some("IBM"),
        _ => None,
    }
}

/// The name of which a model's is an alias.
pub fn canonical_name(arch: Arch, model: &str) -> Option<&'static str> {
    match family(arch).ok()? {
        Family::X86 => x86::canonical_name(model),
        _ => None,
    }
}

/// Whether a check of a CPU that is not full goes by this catalogue, and not by what the hypervisor says of its model.
///
/// # Errors
/// `INVALID_ARG` for an unknown model, `NO_SUPPORT`.
pub fn goes_by_catalogue(arch: Arch, model: &str) -> Result<bool> {
    match family(arch)? {
        Family::X86 => x86::goes_by_catalogue(model),
        _ => Ok(true),
    }
}

/// Features that were added to a model after it was first published; none for an unknown model.
pub fn added_features(arch: Arch, model: &str) -> Vec<&'static str> {
    match family(arch) {
        Ok(Family::X86) => x86::added_features(model),
        _ => Vec::new(),
    }
}

/// Compares a CPU with a host's. A host whose model is not known is compatible with nothing.
///
/// # Errors
/// `INTERNAL_ERROR` for unknown models and features, `NO_SUPPORT`.
pub fn compare(arch: Arch, host: Option<&CpuDocument>, cpu: &CpuDocument) -> Result<Comparison> {
    let family = family(arch)?;
    match family {
        // The hypervisor checks.
        Family::S390 | Family::Riscv64 | Family::Loongarch => return Ok(Comparison::Identical),
        // Only what is said to be a host's CPU is compared.
        Family::Arm if matches!(cpu, CpuDocument::Guest(_)) => return Ok(Comparison::Identical),
        _ => {}
    }
    let Some(host) = host.filter(|host| host.to_guest().model_name().is_some()) else {
        return Ok(Comparison::Incompatible("unknown host CPU".to_owned()));
    };
    match family {
        Family::X86 => x86::compare(host, cpu),
        Family::Ppc64 => ppc64::compare(host, cpu),
        _ => Ok(arm::compare(&host.to_guest(), &cpu.to_guest())),
    }
}

/// Compares a CPU with a host's when the hypervisor says that the CPU's model cannot be used for `blockers`: all of them
/// must be disabled, and what is required beyond the model must be there.
///
/// # Errors
/// As [`expand`].
pub fn compare_unusable(arch: Arch, host: &Cpu, cpu: &Cpu, blockers: &[String]) -> Result<Comparison> {
    let mut missing: Vec<&str> = blockers
        .iter()
        .map(String::as_str)
        .filter(|name| {
            cpu.feature(name)
                .is_none_or(|feature| feature.policy != CpuFeaturePolicy::Disable)
        })
        .collect();
    let mut expanded = host.clone();
    expand(arch, &mut expanded)?;
    let has: std::collections::HashSet<&str> = expanded
        .features
        .iter()
        .filter(|feature| feature.policy == CpuFeaturePolicy::Require)
        .map(|feature| feature.name.as_str())
        .collect();
    missing.extend(
        cpu.features
            .iter()
            .filter(|feature| feature.policy == CpuFeaturePolicy::Require)
            .map(|feature| feature.name.as_str())
            .filter(|name| !has.contains(name)),
    );
    if missing.is_empty() {
        return Ok(Comparison::Superset);
    }
    Ok(Comparison::Incompatible(format!(
        "the host's CPU lacks features that the guest's needs: {}",
        missing.join(", ")
    )))
}

/// The richest CPU that all of `cpus` can run.
///
/// `arch` is that of the first CPU if not given. With `models` the result is one of these, with `allowed` it has no other
/// features, and with `migratable` none that ties a guest to its host.
///
/// # Errors
/// `INVALID_ARG` for no CPUs or CPUs without a model, `OPERATION_FAILED` for CPUs that have nothing in common,
/// `INTERNAL_ERROR` for unknown models and features, `NO_SUPPORT`.
pub fn baseline(
    arch: Option<Arch>,
    cpus: &[CpuDocument],
    models: Option<&HypervisorModels>,
    allowed: Option<&[&str]>,
    migratable: bool,
) -> Result<Cpu> {
    let first = cpus
        .first()
        .ok_or_else(|| VirtError::invalid_arg("no CPUs given"))?;
    let guests: Vec<Cpu> = cpus.iter().map(CpuDocument::to_guest).collect();
    if let Some(index) = guests.iter().position(|cpu| cpu.model_name().is_none()) {
        return Err(VirtError::invalid_arg(format_args!(
            "CPU {} of the list has no <model>",
            index + 1
        )));
    }
    let arch = arch
        .or(first.arch())
        .ok_or_else(|| VirtError::internal("undefined hardware architecture"))?;
    match family(arch)? {
        Family::X86 => x86::baseline(&guests, models, allowed, migratable),
        Family::Ppc64 => ppc64::baseline(&guests),
        Family::Arm => Ok(Cpu {
            model: guests
                .first()
                .and_then(Cpu::model_name)
                .map(|name| named(name, CpuFallback::Allow)),
            ..Cpu::default()
        }),
        Family::S390 | Family::Riscv64 | Family::Loongarch => Err(cannot("compute baseline CPU", arch)),
    }
}

fn named(name: &str, fallback: CpuFallback) -> CpuModel {
    CpuModel {
        fallback,
        vendor_id: None,
        name: Some(name.to_owned()),
    }
}

/// Makes a guest's CPU absolute that is told relative to the host's: `host-model`, `match='minimum'`, optional features.
/// Of features that were removed from its model and that it does not mention it says `removed`.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` if the host's CPU is not known or the architecture cannot do it, `INTERNAL_ERROR` for unknown
/// models and features, `NO_SUPPORT`.
pub fn update(arch: Arch, guest: &mut Cpu, host: Option<&Cpu>, removed: CpuFeaturePolicy) -> Result<()> {
    let family = family(arch)?;
    let relative = match guest.mode {
        CpuMode::HostPassthrough | CpuMode::Maximum => return Ok(()),
        CpuMode::HostModel => true,
        CpuMode::Custom => {
            guest.matching == CpuMatch::Minimum
                || guest
                    .features
                    .iter()
                    .any(|feature| feature.policy == CpuFeaturePolicy::Optional)
        }
    };
    match family {
        Family::X86 => x86::update(guest, host, relative, removed),
        Family::Ppc64 => {
            // A host model is the host's CPU in a compatibility mode, and stays what it is.
            if guest.mode == CpuMode::Custom {
                guest.matching = CpuMatch::Exact;
            }
            Ok(())
        }
        Family::Arm | Family::Riscv64 if guest.mode != CpuMode::HostModel => Ok(()),
        Family::S390 if !relative => Ok(()),
        Family::S390 if guest.mode == CpuMode::Custom => {
            let what = if guest.matching == CpuMatch::Minimum {
                "match='minimum' is not for this architecture"
            } else {
                "policy='optional' of a feature is not for this architecture"
            };
            Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what))
        }
        Family::Arm | Family::Riscv64 | Family::S390 => {
            let wanted = match family {
                Family::S390 => std::mem::take(&mut guest.features),
                _ => Vec::new(),
            };
            let host = host.ok_or_else(unknown_host)?;
            take_model(guest, host);
            guest.vendor.clone_from(&host.vendor);
            let vendor_id = host.model.as_ref().and_then(|model| model.vendor_id.clone());
            guest.model.get_or_insert_default().vendor_id = vendor_id;
            for feature in wanted {
                guest.set_feature(&feature.name, feature.policy);
            }
            Ok(())
        }
        Family::Loongarch => Ok(()),
    }
}

/// Name of the model and features as `host` has them, told exactly.
fn take_model(guest: &mut Cpu, host: &Cpu) {
    guest.model.get_or_insert_default().name = host.model_name().map(str::to_owned);
    guest.features.clone_from(&host.features);
    (guest.mode, guest.matching) = (CpuMode::Custom, CpuMatch::Exact);
}

/// Makes a guest's CPU say what the hypervisor made of it. Answers whether there was anything to do.
///
/// # Errors
/// `OPERATION_FAILED` if the CPU's `check` is `full` and it is not what it should be.
pub fn update_live(arch: Arch, cpu: &mut Cpu, enabled: &CpuData, disabled: &CpuData) -> Result<bool> {
    let does = family(arch)? == Family::X86;
    if !does || (cpu.mode != CpuMode::Custom && cpu.check != Some(CpuCheck::Full)) {
        return Ok(false);
    }
    x86::update_live(cpu, enabled, disabled).map(|()| true)
}

/// Says the same CPU by a model among `models`, if its own is not among them and may be replaced.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` if it may not, `INTERNAL_ERROR` if there is none that fits, `NO_SUPPORT`.
pub fn translate(arch: Arch, cpu: &mut Cpu, models: Option<&HypervisorModels>) -> Result<()> {
    let family = family(arch)?;
    let name = cpu.model_name().unwrap_or_default();
    if cpu.mode != CpuMode::Custom || models.is_none_or(|models| models.contains(name)) {
        return Ok(());
    }
    if cpu.fallback() != CpuFallback::Allow {
        return Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("the emulator does not know CPU model '{name}', and fallback='forbid'"),
        ));
    }
    match family {
        Family::X86 => x86::translate(cpu, models),
        _ => Err(VirtError::no_support(format_args!(
            "CPU model '{name}' has no other name on this architecture"
        ))),
    }
}

/// Replaces names of models that nobody uses any more.
///
/// # Errors
/// `NO_SUPPORT` for an architecture without rules.
pub fn convert_legacy(arch: Arch, cpu: &mut Cpu) -> Result<()> {
    if family(arch)? == Family::Ppc64 {
        ppc64::convert_legacy(cpu);
    }
    Ok(())
}

/// Adds all features that the model stands for. The features are sorted by name.
///
/// # Errors
/// `INTERNAL_ERROR` for an unknown model, `NO_SUPPORT`.
pub fn expand(arch: Arch, cpu: &mut Cpu) -> Result<()> {
    if family(arch)? == Family::X86 {
        x86::expand(cpu)?;
    }
    cpu.features.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

/// A copy without features that tie a guest to its host.
///
/// # Errors
/// `NO_SUPPORT` for an architecture without rules.
pub fn copy_migratable(arch: Arch, cpu: &Cpu) -> Result<Cpu> {
    let mut copy = cpu.clone();
    if family(arch)? == Family::X86 {
        copy.features.retain(|feature| x86::is_migratable(&feature.name));
    }
    Ok(copy)
}

/// Checks that the features of a guest's CPU exist.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for an unknown one, or one that the architecture cannot have so; `NO_SUPPORT`.
pub fn validate_features(arch: Arch, cpu: &Cpu) -> Result<()> {
    let known: fn(&str) -> bool = match family(arch)? {
        Family::X86 => x86::knows_feature,
        Family::Arm => arm::knows_feature,
        Family::S390 => {
            let optional = |feature: &&crate::cpu::CpuFeature| feature.policy == CpuFeaturePolicy::Optional;
            return cpu.features.iter().find(optional).map_or(Ok(()), |feature| {
                Err(VirtError::new(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!(
                        "policy of feature '{}': expected 'require' or 'disable' on this architecture",
                        feature.name
                    ),
                ))
            });
        }
        _ => return Ok(()),
    };
    match cpu.features.iter().find(|feature| !known(&feature.name)) {
        None => Ok(()),
        Some(feature) => Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("no CPU feature is named '{}'", feature.name),
        )),
    }
}

/// Whether a CPU has a feature, by its model or because it says so.
///
/// # Errors
/// `INTERNAL_ERROR` for unknown models and features, `NO_SUPPORT`.
pub fn has_feature(arch: Arch, cpu: &Cpu, feature: &str) -> Result<bool> {
    match family(arch)? {
        Family::X86 => x86::has_feature(cpu, feature),
        _ => Err(cannot("check guest CPU feature", arch)),
    }
}

/// What a CPU with its required features says about itself.
///
/// # Errors
/// As [`has_feature`].
pub fn encode(arch: Arch, cpu: &Cpu) -> Result<CpuData> {
    match family(arch)? {
        Family::X86 => x86::encode(cpu),
        _ => Err(cannot("encode CPU data", arch)),
    }
}

/// Checks that the host has nothing that the guest forbids.
///
/// # Errors
/// `CPU_INCOMPATIBLE`, with the feature.
pub fn check_forbidden(guest: &Cpu, host: &Cpu) -> Result<()> {
    let found = guest
        .features
        .iter()
        .filter(|feature| feature.policy == CpuFeaturePolicy::Forbid)
        .find(|feature| {
            host.feature(&feature.name)
                .is_some_and(|found| found.policy != CpuFeaturePolicy::Disable)
        });
    match found {
        None => Ok(()),
        Some(feature) => Err(VirtError::new(
            ErrorCode::CPU_INCOMPATIBLE,
            format_args!(
                "the host's CPU has the feature '{}', which the guest's forbids",
                feature.name
            ),
        )),
    }
}

/// The CPU of an x86 host that says this about itself: its model is one from below, and features are added to it.
///
/// # Errors
/// `INTERNAL_ERROR` if no model fits.
pub fn host_cpu(data: &CpuData) -> Result<HostCpu> {
    x86::host_cpu(data)
}

/// The CPU of an ARM host whose register `MIDR_EL1` is `midr` and whose kernel says `hwcap` of it.
///
/// # Errors
/// `OPERATION_FAILED` for an unknown processor.
pub fn arm_host_cpu(midr: u64, hwcap: u64) -> Result<HostCpu> {
    arm::host_cpu(midr, hwcap)
}

/// The CPU of a POWER host whose version register is `version`.
///
/// # Errors
/// `OPERATION_FAILED` for an unknown processor.
pub fn ppc64_host_cpu(version: u32) -> Result<HostCpu> {
    ppc64::host_cpu(version)
}

/// The CPU of an x86 guest that says this about itself, by a model among `models`. `fallback` is written into it.
///
/// # Errors
/// `INTERNAL_ERROR` if no model fits.
pub fn guest_cpu(data: &CpuData, models: Option<&HypervisorModels>, fallback: CpuFallback) -> Result<Cpu> {
    x86::guest_cpu(data, models, fallback)
}
