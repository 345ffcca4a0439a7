//! Comparing CPUs, and what several have in common.

use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::catalogue::catalogue;
use super::data::CpuData;
use super::decode::{Side, Wish, decode, to_cpu};
use super::set::FeatureSet;
use super::{all_features, model_of, policy_features};
use crate::cpu::{Cpu, CpuDocument, CpuFallback, CpuFeaturePolicy, CpuMatch};
use crate::cpu_models::{Comparison, HypervisorModels};

pub(in crate::cpu_models) fn compare(host: &CpuDocument, other: &CpuDocument) -> Result<Comparison> {
    let incompatible = |why: String| Ok(Comparison::Incompatible(why));
    if let Some(arch) = other.arch().filter(|arch: &Arch| !arch.is_x86()) {
        return incompatible(format!(
            "the CPU is of architecture {arch}, and the host's is x86"
        ));
    }
    let (host, cpu) = (host.to_guest(), other.to_guest());
    if let Some(vendor) = cpu
        .vendor
        .as_deref()
        .filter(|vendor| host.vendor.as_deref() != Some(vendor))
    {
        return incompatible(format!(
            "the guest's CPU is of vendor {vendor}, and the host's is another"
        ));
    }
    let has = all_features(&host)?;
    let force = policy_features(&cpu, CpuFeaturePolicy::Force)?;
    let require = policy_features(&cpu, CpuFeaturePolicy::Require)?;
    let optional = policy_features(&cpu, CpuFeaturePolicy::Optional)?;
    let disable = policy_features(&cpu, CpuFeaturePolicy::Disable)?;
    let forbid = policy_features(&cpu, CpuFeaturePolicy::Forbid)?;

    let with = |what: &str, features: FeatureSet| {
        let names: Vec<_> = catalogue().names(features).collect();
        incompatible(format!("{what}: {}", names.join(", ")))
    };
    let forbidden = forbid.intersection(&has);
    if !forbidden.is_empty() {
        return with("the host's CPU has features that the guest's forbids", forbidden);
    }
    let require = require.without(&force).without(&optional).without(&disable);
    let missing = require.without(&has);
    if !missing.is_empty() {
        return with("the host's CPU lacks features that the guest's needs", missing);
    }
    let extra = has
        .without(&optional)
        .without(&require)
        .without(&disable)
        .without(&force);
    if extra.is_empty() {
        return Ok(Comparison::Identical);
    }
    if matches!(other, CpuDocument::Guest(cpu) if cpu.matching == CpuMatch::Strict) {
        return with(
            "the host's CPU has more features than the guest's, which says match='strict'",
            extra,
        );
    }
    Ok(Comparison::Superset)
}

pub(in crate::cpu_models) fn baseline(
    cpus: &[Cpu],
    models: Option<&HypervisorModels>,
    allowed: Option<&[&str]>,
    migratable: bool,
) -> Result<Cpu> {
    let failed = |what: std::fmt::Arguments<'_>| VirtError::new(ErrorCode::OPERATION_FAILED, what);
    let catalogue = catalogue();
    let known = |name: &str| {
        catalogue
            .vendor(name)
            .ok_or_else(|| failed(format_args!("no maker of x86 processors is named '{name}'")))
    };
    let mut common: Option<FeatureSet> = None;
    let mut vendor: Option<usize> = None;
    let mut names: Vec<&str> = Vec::new();
    for (index, cpu) in cpus.iter().enumerate() {
        let features = all_features(cpu)?;
        common = Some(common.map_or(features, |common| common.intersection(&features)));
        names.extend(cpu.model_name().filter(|name| !names.contains(name)));
        let own = model_of(cpu)?.and_then(|model| model.vendor);
        // Of the first CPU only what it says itself counts.
        let says = match (cpu.vendor.as_deref(), own) {
            (Some(name), Some(own)) if index > 0 && catalogue.vendor_name(own) != name => {
                return Err(failed(format_args!(
                    "vendor {} makes model {}, not vendor {name}",
                    catalogue.vendor_name(own),
                    cpu.model_name().unwrap_or_default()
                )));
            }
            (Some(name), _) => {
                if index > 0 && vendor.is_some_and(|vendor| catalogue.vendor_name(vendor) != name) {
                    return Err(failed(format_args!("the CPUs are of more than one vendor")));
                }
                Some(known(name)?)
            }
            (None, own) => own.filter(|_| index > 0),
        };
        match (vendor, says) {
            (Some(vendor), Some(says)) if vendor != says => {
                return Err(failed(format_args!("the CPUs are of more than one vendor")));
            }
            (None, says) => vendor = says,
            _ => {}
        }
    }
    let mut data = CpuData::of(common.unwrap_or_default());
    if let Some(allowed) = allowed {
        let allowed: FeatureSet = allowed
            .iter()
            .filter_map(|name| catalogue.feature(name))
            .collect();
        data.features = data.features.intersection(&allowed);
    }
    if data.is_empty() {
        return Err(failed(format_args!("CPUs are incompatible")));
    }
    if let Some(vendor) = vendor.and_then(|vendor| catalogue.vendors.get(vendor)) {
        data.vendor = vendor.letters;
    }
    let decoded = decode(
        &data,
        &Wish {
            side: Side::Guest,
            models,
            preferred: &names,
            fallback: CpuFallback::Allow,
            migratable,
        },
    )?;
    let fallback = match names.as_slice() {
        [only] if *only == decoded.model.name => CpuFallback::Forbid,
        _ => CpuFallback::Allow,
    };
    let mut cpu = to_cpu(decoded, fallback);
    if cpus.iter().any(|cpu| cpu.vendor.is_none()) {
        cpu.vendor = None;
    }
    Ok(cpu)
}
