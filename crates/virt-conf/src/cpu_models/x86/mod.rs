//! x86: models are sets of features, and the arithmetic is that of sets.
//!
//! | module | part |
//! |---|---|
//! | `set` | sets of features |
//! | `catalogue` | vendors, features, models |
//! | [`data`] | what a processor says about itself |
//! | `decode` | the model that comes closest |
//! | `compare`, `update` | what the functions of the parent module mean here |

mod catalogue;
mod compare;
mod data;
mod decode;
mod set;
mod update;

use virt_util::{Result, VirtError};

use self::catalogue::{Model, catalogue};
use self::set::FeatureSet;
use super::unknown_model;
use crate::cpu::{Cpu, CpuFeaturePolicy};

pub(super) use compare::{baseline, compare};
pub use data::{CpuData, Reading, encode_signature};
pub(super) use decode::{guest_cpu, host_cpu};
pub(super) use update::{expand, translate, update, update_live};

pub(super) fn models() -> Vec<&'static str> {
    catalogue().models.iter().map(|model| model.name).collect()
}

pub(super) fn vendor_of(model: &str) -> Option<&'static str> {
    let catalogue = catalogue();
    Some(catalogue.vendor_name(catalogue.model(model)?.vendor?))
}

pub(super) fn canonical_name(model: &str) -> Option<&'static str> {
    let catalogue = catalogue();
    let canonical = catalogue.models.get(catalogue.model(model)?.canonical?)?;
    Some(canonical.name)
}

pub(super) fn goes_by_catalogue(model: &str) -> Result<bool> {
    catalogue()
        .model(model)
        .map(|model| model.compat_check)
        .ok_or_else(|| VirtError::invalid_arg(format_args!("no CPU model is named '{model}'")))
}

pub(super) fn added_features(model: &str) -> Vec<&'static str> {
    let catalogue = catalogue();
    catalogue
        .model(model)
        .map(|model| catalogue.names(model.added).collect())
        .unwrap_or_default()
}

pub(super) fn knows_feature(name: &str) -> bool {
    catalogue().feature(name).is_some()
}

pub(super) fn is_migratable(name: &str) -> bool {
    let catalogue = catalogue();
    catalogue
        .feature(name)
        .is_none_or(|id| !catalogue.not_migratable.contains(id))
}

/// Whether a feature is told by a model specific register.
pub fn is_msr_feature(name: &str) -> bool {
    let catalogue = catalogue();
    catalogue
        .feature(name)
        .is_some_and(|id| catalogue.msr_features.contains(id))
}

/// Says nothing of features that are told by model specific registers.
pub fn drop_msr_features(cpu: &mut Cpu) {
    cpu.features.retain(|feature| !is_msr_feature(&feature.name));
}

pub(super) fn has_feature(cpu: &Cpu, feature: &str) -> Result<bool> {
    CpuData::of(all_features(cpu)?).has_feature(feature)
}

pub(super) fn encode(cpu: &Cpu) -> Result<CpuData> {
    policy_features(cpu, CpuFeaturePolicy::Require).map(CpuData::of)
}

fn model_of(cpu: &Cpu) -> Result<Option<&'static Model>> {
    cpu.model_name()
        .map(|name| catalogue().model(name).ok_or_else(|| unknown_model(name)))
        .transpose()
}

fn feature_id(name: &str) -> Result<set::FeatureId> {
    catalogue()
        .feature(name)
        .ok_or_else(|| VirtError::internal(format_args!("no CPU feature is named '{name}'")))
}

/// All that a CPU has: what its model has, what is required or forced, without what is disabled or forbidden.
fn all_features(cpu: &Cpu) -> Result<FeatureSet> {
    let mut set = model_of(cpu)?.map_or_else(FeatureSet::default, |model| model.features);
    for feature in &cpu.features {
        match feature.policy {
            CpuFeaturePolicy::Force | CpuFeaturePolicy::Require => set.insert(feature_id(&feature.name)?),
            CpuFeaturePolicy::Disable | CpuFeaturePolicy::Forbid => set.remove(feature_id(&feature.name)?),
            CpuFeaturePolicy::Optional => {}
        }
    }
    Ok(set)
}

/// The features of which a CPU says `policy`; what its model has is required.
fn policy_features(cpu: &Cpu, policy: CpuFeaturePolicy) -> Result<FeatureSet> {
    let mut set = FeatureSet::default();
    if policy == CpuFeaturePolicy::Require
        && let Some(model) = model_of(cpu)?
    {
        set = model.features;
    }
    for feature in cpu.features.iter().filter(|feature| feature.policy == policy) {
        set.insert(feature_id(&feature.name)?);
    }
    Ok(set)
}
