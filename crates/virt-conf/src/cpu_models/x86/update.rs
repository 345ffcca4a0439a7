//! Changing a guest's CPU: by the host's, by what the hypervisor made of it, to another model.

use virt_util::{ErrorCode, Result, VirtError};

use super::catalogue::{Model, catalogue};
use super::data::{CpuData, encode_signature, unknown_feature};
use super::decode::{Wish, decode};
use super::{all_features, model_of, policy_features};
use crate::cpu::{Cpu, CpuCheck, CpuFeature, CpuFeaturePolicy, CpuMatch, CpuMode, CpuSignature};
use crate::cpu_models::{HypervisorModels, take_model, unknown_host, unknown_model};

pub(in crate::cpu_models) fn update(
    guest: &mut Cpu,
    host: Option<&Cpu>,
    relative: bool,
    removed: CpuFeaturePolicy,
) -> Result<()> {
    if relative {
        let host = host.ok_or_else(unknown_host)?;
        let has = all_features(host)?;
        for feature in &mut guest.features {
            if feature.policy == CpuFeaturePolicy::Optional {
                let id = catalogue()
                    .feature(&feature.name)
                    .ok_or_else(|| unknown_feature(&feature.name))?;
                feature.policy = if has.contains(id) {
                    CpuFeaturePolicy::Require
                } else {
                    CpuFeaturePolicy::Disable
                };
            }
        }
        if guest.mode == CpuMode::HostModel || guest.matching == CpuMatch::Minimum {
            take_host_model(guest, host);
        }
    }
    let model = known_model(guest)?;
    say_of_removed(guest, model, removed);
    Ok(())
}

fn known_model(cpu: &Cpu) -> Result<&'static Model> {
    model_of(cpu)?.ok_or_else(|| unknown_model(cpu.model_name().unwrap_or_default()))
}

fn say_of_removed(cpu: &mut Cpu, model: &Model, policy: CpuFeaturePolicy) {
    for id in &model.removed {
        cpu.add_feature(catalogue().feature_name(*id), policy);
    }
}

fn take_host_model(guest: &mut Cpu, host: &Cpu) {
    let wanted = std::mem::take(&mut guest.features);
    let keeps_vendor = guest.mode == CpuMode::Custom;
    take_model(guest, host);
    for feature in wanted {
        guest.set_feature(&feature.name, feature.policy);
    }
    if !keeps_vendor {
        guest.vendor.clone_from(&host.vendor);
        let own = &mut guest.model.get_or_insert_default().vendor_id;
        if own.is_none() {
            *own = host.model.as_ref().and_then(|model| model.vendor_id.clone());
        }
    }
}

pub(in crate::cpu_models) fn update_live(cpu: &mut Cpu, enabled: &CpuData, disabled: &CpuData) -> Result<()> {
    let failed = |what: String| VirtError::new(ErrorCode::OPERATION_FAILED, what);
    let catalogue = catalogue();
    let follows_host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum);
    let full = cpu.check == Some(CpuCheck::Full);
    let model = model_of(cpu)?;
    let has = all_features(cpu)?;
    let lacks = policy_features(cpu, CpuFeaturePolicy::Disable)?;
    let both = enabled.features.intersection(&disabled.features);
    if let Some(name) = catalogue.names(both).next() {
        return Err(failed(format!(
            "the emulator says of CPU feature '{name}' that it is on and that it is off"
        )));
    }
    // Features which the hypervisor always had in a model, and this catalogue learned of later, are no difference.
    let forgiven = model.map_or_else(Default::default, |model| model.added.without(&has.union(&lacks)));

    let wants_off = lacks.without(&has);
    let implied_off = |id| !follows_host && !has.contains(id) && !lacks.contains(id);
    let (mut extra, mut missing) = (Vec::new(), Vec::new());
    let mut rest = disabled.clone();
    let concerned = enabled.features.union(&disabled.features).union(&has);
    for id in concerned.iter() {
        let name = catalogue.feature_name(id);
        let strict = full && !forgiven.contains(id);
        if enabled.features.contains(id) && (wants_off.contains(id) || implied_off(id)) {
            if strict {
                extra.push(name);
            } else {
                cpu.set_feature(name, CpuFeaturePolicy::Require);
            }
        }
        if disabled.features.contains(id) || (has.contains(id) && !enabled.features.contains(id)) {
            if strict {
                missing.push(name);
            } else {
                cpu.set_feature(name, CpuFeaturePolicy::Disable);
                rest.features.remove(id);
            }
        }
    }
    if let Some(model) = model {
        say_of_removed(cpu, model, CpuFeaturePolicy::Disable);
    }
    let what = "the CPU that the guest got is not the one of its definition";
    match (extra.join(","), missing.join(",")) {
        (extra, missing) if !extra.is_empty() && !missing.is_empty() => Err(failed(format!(
            "{what}: extra features: {extra}, missing features: {missing}"
        ))),
        (extra, _) if !extra.is_empty() => Err(failed(format!("{what}: extra features: {extra}"))),
        (_, missing) if !missing.is_empty() => Err(failed(format!("{what}: missing features: {missing}"))),
        _ if full && !rest.is_empty() => Err(failed(what.to_owned())),
        _ => Ok(()),
    }
}

pub(in crate::cpu_models) fn translate(cpu: &mut Cpu, models: Option<&HypervisorModels>) -> Result<()> {
    let mut data = CpuData::of(all_features(cpu)?);
    if let Some(model) = model_of(cpu)? {
        if let Some(vendor) = model.vendor.and_then(|vendor| catalogue().vendors.get(vendor)) {
            data.vendor = vendor.letters;
        }
        if let Some(pattern) = model.signatures.first() {
            let steppings = pattern.steppings.as_ref();
            data.signature = encode_signature(CpuSignature {
                family: pattern.family,
                model: pattern.model,
                stepping: steppings
                    .and_then(|steppings| steppings.first())
                    .map_or(0, |stepping| stepping as u32),
            });
        }
    }
    let decoded = decode(&data, &Wish::guest(models))?;
    let said = std::mem::take(&mut cpu.features);
    cpu.set_model_name(decoded.model.name);
    cpu.features = decoded
        .features
        .into_iter()
        .map(|(name, policy)| CpuFeature {
            policy,
            name: name.to_owned(),
        })
        .collect();
    for feature in said {
        cpu.set_feature(&feature.name, feature.policy);
    }
    Ok(())
}

pub(in crate::cpu_models) fn expand(cpu: &mut Cpu) -> Result<()> {
    let model = known_model(cpu)?;
    let said = std::mem::take(&mut cpu.features);
    cpu.features = catalogue()
        .names(model.features)
        .map(|name| CpuFeature {
            policy: CpuFeaturePolicy::Require,
            name: name.to_owned(),
        })
        .collect();
    for feature in said {
        if matches!(
            feature.policy,
            CpuFeaturePolicy::Require | CpuFeaturePolicy::Disable
        ) {
            cpu.set_feature(&feature.name, feature.policy);
        }
    }
    say_of_removed(cpu, model, CpuFeaturePolicy::Disable);
    Ok(())
}
