//! From what a processor says about itself to the model that comes closest.
//!
//! The models are tried from the last to the first. One whose signature is the processor's beats one whose is not; among
//! equals the one wins that leaves the fewest features to be named, where features that must be taken away from the model
//! count more with each. A host's model must not have any that the processor lacks.

use virt_util::{ErrorCode, Result, VirtError};

use super::catalogue::{Model, catalogue};
use super::data::{CpuData, decode_signature};
use super::set::FeatureSet;
use crate::cpu::{
    Cpu, CpuFallback, CpuFeature, CpuFeaturePolicy, CpuModel, CpuSignature, HostCpu, HostCpuFeature,
};
use crate::cpu_models::HypervisorModels;

/// Bits of a signature that mean something.
const SIGNATURE_MASK: u32 = 0x0fff_3fff;

/// Whose CPU is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Host,
    Guest,
}

/// What is wanted of the result.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) side: Side,
    /// The result is one of these.
    pub(super) models: Option<&'a HypervisorModels>,
    /// One of these is preferred; a single one is taken whatever it costs, if it is known to the hypervisor.
    pub(super) preferred: &'a [&'a str],
    /// Whether another model may be taken where a single preferred one is not known to the hypervisor.
    pub(super) fallback: CpuFallback,
    /// Features that tie a guest to its host are left out.
    pub(super) migratable: bool,
}

impl<'a> Wish<'a> {
    pub(super) fn guest(models: Option<&'a HypervisorModels>) -> Self {
        Self {
            side: Side::Guest,
            models,
            preferred: &[],
            fallback: CpuFallback::Allow,
            migratable: false,
        }
    }
}

/// The model that comes closest, and what makes the difference.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) model: &'static Model,
    pub(super) vendor: Option<&'static str>,
    pub(super) features: Vec<(&'static str, CpuFeaturePolicy)>,
    pub(super) signature: CpuSignature,
}

/// A model at trial.
struct Candidate {
    model: &'static Model,
    /// Features that the processor has and the model lacks.
    more: FeatureSet,
    /// Features that the model has and the processor lacks.
    less: FeatureSet,
    matches_signature: bool,
}

impl Candidate {
    fn new(model: &'static Model, data: &FeatureSet, blockers: &[String], signature: u32) -> Self {
        let more = data.without(&model.features);
        let mut less = model.features.without(data);
        // The hypervisor's idea of the model may have features that ours lacks, and this host cannot give.
        for id in blockers.iter().filter_map(|name| catalogue().feature(name)) {
            if !more.contains(id) {
                less.insert(id);
            }
        }
        Self {
            model,
            more,
            less,
            matches_signature: signature != 0 && matches(model, decode_signature(signature)),
        }
    }

    /// The features in the order in which they are named. A guest's CPU names those that were removed from the model.
    fn features(&self, side: Side) -> Vec<(&'static str, CpuFeaturePolicy)> {
        let catalogue = catalogue();
        let name = |policy| move |name| (name, policy);
        let mut features: Vec<_> = catalogue
            .names(self.more)
            .map(name(CpuFeaturePolicy::Require))
            .chain(catalogue.names(self.less).map(name(CpuFeaturePolicy::Disable)))
            .collect();
        if side == Side::Guest {
            features.extend(self.removed().map(name(CpuFeaturePolicy::Disable)));
        }
        features
    }

    fn removed(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.model
            .removed
            .iter()
            .filter(|id| !self.more.contains(**id) && !self.less.contains(**id))
            .map(|id| catalogue().feature_name(*id))
    }

    /// What naming the features costs: all together, and the part for those that are taken away.
    fn cost(&self, side: Side) -> (usize, usize) {
        if side == Side::Host {
            return (self.more.len(), 0);
        }
        let taken = self.less.len() + self.removed().count();
        // Each costs one more than the one before, but half of them go by the price of one that is added: that is how
        // libvirt counts, and what it finds is what clients know.
        let dear = taken.div_ceil(2);
        let penalty = (2..).take(dear).sum();
        (self.more.len() + (taken - dear) + penalty, penalty)
    }
}

fn matches(model: &Model, signature: CpuSignature) -> bool {
    model.signatures.iter().any(|pattern| {
        (pattern.family, pattern.model) == (signature.family, signature.model)
            && pattern
                .steppings
                .as_ref()
                .is_none_or(|steppings| steppings.contains(signature.stepping as usize))
    })
}

/// Finds the model that comes closest to `data`.
pub(super) fn decode(data: &CpuData, wish: &Wish<'_>) -> Result<Decoded> {
    let catalogue = catalogue();
    let vendor = data.known_vendor();
    let signature = data.signature & SIGNATURE_MASK;
    let mut features = data.features;
    if vendor.is_some_and(|vendor| catalogue.vendor_name(vendor) == "Intel") {
        drop_broken_tsx(&mut features, decode_signature(data.signature));
    }
    let single = match wish.preferred {
        [single] => Some(*single),
        _ => None,
    };
    let mut best: Option<(Candidate, (usize, usize))> = None;
    for model in catalogue.models.iter().rev() {
        let blockers = match wish.models.map(|models| models.blockers(model.name)) {
            None => &[][..],
            Some(Some(blockers)) => blockers,
            Some(None) if single == Some(model.name) && wish.fallback != CpuFallback::Allow => {
                return Err(VirtError::new(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!(
                        "the emulator does not know CPU model '{}', and fallback='forbid'",
                        model.name
                    ),
                ));
            }
            Some(None) => continue,
        };
        if vendor.is_some() && model.vendor.is_some() && vendor != model.vendor {
            continue;
        }
        let usable = match wish.side {
            Side::Host => model.for_hosts,
            Side::Guest => model.for_guests,
        };
        if !usable {
            continue;
        }
        let candidate = Candidate::new(model, &features, blockers, signature);
        if wish.side == Side::Host && !candidate.less.is_empty() {
            continue;
        }
        let cost = candidate.cost(wish.side);
        if single == Some(model.name) {
            best = Some((candidate, cost));
            break;
        }
        let is_preferred = wish.preferred.contains(&model.name);
        let better = best.as_ref().is_none_or(|(current, (total, taken))| {
            match (current.matches_signature, candidate.matches_signature) {
                (true, false) => false,
                (false, true) => true,
                _ => {
                    cost.0 < *total
                        || (cost.0 == *total && cost.1 < *taken)
                        || (is_preferred && cost.1 < *taken)
                }
            }
        });
        if better {
            best = Some((candidate, cost));
        }
    }
    let (candidate, _) = best.ok_or_else(|| VirtError::internal("no CPU model is like this processor"))?;
    let mut features = candidate.features(wish.side);
    if wish.migratable {
        features.retain(|(name, _)| super::is_migratable(name));
    }
    Ok(Decoded {
        model: candidate.model,
        vendor: vendor.map(|vendor| catalogue.vendor_name(vendor)),
        features,
        signature: decode_signature(signature),
    })
}

/// Some of Intel's processors say that they have transactions, which fail.
fn drop_broken_tsx(features: &mut FeatureSet, signature: CpuSignature) {
    let CpuSignature {
        family,
        model,
        stepping,
    } = signature;
    if family == 6 && (matches!(model, 60 | 69 | 70) || (model == 63 && stepping < 4)) {
        for id in ["hle", "rtm"]
            .into_iter()
            .filter_map(|name| catalogue().feature(name))
        {
            features.remove(id);
        }
    }
}

pub(in crate::cpu_models) fn host_cpu(data: &CpuData) -> Result<HostCpu> {
    let wish = Wish {
        side: Side::Host,
        ..Wish::guest(None)
    };
    let decoded = decode(data, &wish)?;
    Ok(HostCpu {
        model: Some(decoded.model.name.to_owned()),
        vendor: decoded.vendor.map(str::to_owned),
        signature: Some(decoded.signature).filter(|signature| signature.family != 0),
        features: decoded
            .features
            .into_iter()
            .map(|(name, _)| HostCpuFeature {
                name: name.to_owned(),
            })
            .collect(),
        ..HostCpu::default()
    })
}

pub(in crate::cpu_models) fn guest_cpu(
    data: &CpuData,
    models: Option<&HypervisorModels>,
    fallback: CpuFallback,
) -> Result<Cpu> {
    Ok(to_cpu(decode(data, &Wish::guest(models))?, fallback))
}

pub(super) fn to_cpu(decoded: Decoded, fallback: CpuFallback) -> Cpu {
    Cpu {
        model: Some(CpuModel {
            fallback,
            vendor_id: None,
            name: Some(decoded.model.name.to_owned()),
        }),
        vendor: decoded.vendor.map(str::to_owned),
        features: decoded
            .features
            .into_iter()
            .map(|(name, policy)| CpuFeature {
                policy,
                name: name.to_owned(),
            })
            .collect(),
        ..Cpu::default()
    }
}
