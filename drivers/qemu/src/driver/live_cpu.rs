//! The CPU that a guest really got: asked of QEMU at start, checked, and written into the live definition.
//!
//! QEMU tells a processor's features by one property each, some 460 of them. Two questions give the same: what the model
//! of the command line expands to, and which features of it this host could not give.

use serde_json::{Map, Number, Value};
use virt_conf::cpu::{Cpu, CpuCheck, CpuMode};
use virt_conf::cpu_models::{self, CpuData};
use virt_conf::domain::Domain;
use virt_conf::domain::features::Hyperv;
use virt_util::arch::Arch;
use virt_util::xml::{Doc, RawElement, XmlFlags};
use virt_util::{ErrorCode, Result};

use super::error;
use super::planner::Planned;
use crate::capabilities::cpu_feature_from_qemu;
use crate::monitor::{Command, Reply};

/// Where QEMU keeps the first processor of most machines.
const FIRST_CPU: &str = "/machine/unattached/device[0]";

/// Features of Hyper-V without which a guest that asks for them is not started: libvirt's names.
const HYPERV: [&str; 13] = [
    "vpindex",
    "runtime",
    "synic",
    "stimer",
    "reset",
    "frequencies",
    "reenlightenment",
    "tlbflush",
    "ipi",
    "evmcs",
    "avic",
    "emsr_bitmap",
    "xmm_input",
];

/// What to ask of the processor of a guest that was just started; nothing if its definition leaves nothing to learn.
pub fn questions(planned: &Planned) -> Vec<Command> {
    if !concerns(&planned.live) {
        return Vec::new();
    }
    let Some(model) = model(planned) else {
        return Vec::new();
    };
    vec![
        Command::new("query-cpu-model-expansion")
            .with("type", "full")
            .with("model", model),
        unavailable(FIRST_CPU),
    ]
}

/// The question again, if the first processor is elsewhere: `cpus` is the answer to `query-cpus-fast`.
pub fn asked_elsewhere(cpus: &Value) -> Option<Command> {
    let path = cpus.as_array()?.first()?.get("qom-path")?.as_str()?;
    (path != FIRST_CPU).then(|| unavailable(path))
}

fn unavailable(path: &str) -> Command {
    Command::new("qom-get")
        .with("path", path)
        .with("property", "unavailable-features")
}

/// The CPU that a definition asks for, as the status file keeps it beside what the guest gets; nothing if it asks for
/// none.
///
/// # Errors
/// `INTERNAL_ERROR` for what cannot be read back.
pub fn original(domain: &Domain) -> Result<Option<RawElement>> {
    let Some(cpu) = domain.cpu.as_deref() else {
        return Ok(None);
    };
    if cpu.mode == CpuMode::Custom && cpu.model_name().is_none() {
        return Ok(None);
    }
    let plain = Cpu {
        numa: None,
        ..cpu.clone()
    };
    let source = virt_util::xml::to_string(&plain, XmlFlags::INACTIVE);
    let doc = Doc::parse(&source)?;
    Ok(Some(RawElement::copy(doc.root())))
}

/// Only x86 tells.
fn concerns(domain: &Domain) -> bool {
    let x86 = crate::plan::guest_arch(domain).is_ok_and(Arch::is_x86);
    x86 && (names_model(domain) || has_pv_spinlock(domain) || hyperv(domain).is_some())
}

fn names_model(domain: &Domain) -> bool {
    domain.cpu.as_ref().is_some_and(|cpu| {
        (cpu.mode == CpuMode::Custom && cpu.model_name().is_some()) || cpu.check == Some(CpuCheck::Full)
    })
}

fn has_pv_spinlock(domain: &Domain) -> bool {
    let features = domain.features.as_deref();
    features
        .and_then(|features| features.pvspinlock)
        .is_some_and(|state| state.on)
}

fn hyperv(domain: &Domain) -> Option<&Hyperv> {
    domain.features.as_deref()?.hyperv.as_deref()
}

/// The model of the command line with its properties.
fn model(planned: &Planned) -> Option<Value> {
    let arguments = &planned.command.arguments;
    let at = arguments.iter().position(|argument| argument == "-cpu")?;
    let mut parts = arguments.get(at + 1)?.split(',');
    let name = parts.next()?;
    let mut properties = Map::new();
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, "on"));
        properties.insert(key.to_owned(), property(key, value));
    }
    let mut model = Map::new();
    model.insert("name".to_owned(), name.into());
    model.insert("props".to_owned(), properties.into());
    Some(model.into())
}

fn property(key: &str, value: &str) -> Value {
    // Texts that may look like numbers.
    if matches!(key, "vendor" | "hv-vendor-id") {
        return value.into();
    }
    match value {
        "on" => return true.into(),
        "off" => return false.into(),
        _ => {}
    }
    let number = match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => value.parse().ok(),
    };
    number.map_or_else(|| value.into(), |number| Value::Number(Number::from(number)))
}

/// Reads the answers: what the processor has, and what it was to have and this host cannot give. Nothing if QEMU refused.
fn read(answers: &[Reply]) -> Option<(CpuData, CpuData)> {
    let [Ok(expanded), Ok(unavailable)] = answers else {
        return None;
    };
    let name = |name: &str| cpu_feature_from_qemu(Arch::X86_64, name).to_owned();
    let lacking: Vec<String> = unavailable
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .map(name)
        .collect();
    let mut disabled = CpuData::default();
    lacking.iter().for_each(|name| disabled.add_feature(name));
    let mut enabled = CpuData::default();
    for (key, value) in expanded.get("model")?.get("props")?.as_object()? {
        let name = name(key);
        if value.as_bool() == Some(true) && !lacking.contains(&name) {
            enabled.add_feature(&name);
        }
    }
    enabled.remove_features(&disabled);
    Some((enabled, disabled))
}

/// Checks the processor that the guest got, and writes it into its live definition.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for a feature that cannot be missing, `OPERATION_FAILED` if the definition wants exactly what it
/// says and the guest got something else.
pub fn settle(live: &mut Domain, answers: &[Reply]) -> Result<()> {
    let Some((enabled, disabled)) = read(answers) else {
        if !answers.is_empty() {
            tracing::warn!("QEMU does not tell the CPU of domain '{}'", live.name);
        }
        return Ok(());
    };
    check(live, &enabled)?;
    if !names_model(live) {
        return Ok(());
    }
    let arch = crate::plan::guest_arch(live)?;
    if let Some(cpu) = &mut live.cpu
        && cpu_models::update_live(arch, cpu, &enabled, &disabled)?
    {
        // From here on, after a migration too, it must be this.
        cpu.check = Some(CpuCheck::Full);
    }
    Ok(())
}

fn check(live: &Domain, enabled: &CpuData) -> Result<()> {
    let lacks = |what: std::fmt::Arguments<'_>| Err(error(ErrorCode::CONFIG_UNSUPPORTED, what));
    if has_pv_spinlock(live) && !enabled.has_feature("kvm_pv_unhalt")? {
        return lacks(format_args!("the host has no <pvspinlock>"));
    }
    if let Some(hyperv) = hyperv(live) {
        let wanted = wanted_hyperv(hyperv);
        for name in HYPERV.into_iter().filter(|name| wanted.contains(name)) {
            if !enabled.has_feature(&format!("hv-{name}"))? {
                return lacks(format_args!("the host has no <{name}> of <hyperv>"));
            }
        }
        let parts = [
            (
                "stimer",
                "direct",
                hyperv
                    .stimer
                    .filter(|timer| timer.on)
                    .and_then(|timer| timer.direct),
                "hv-stimer-direct",
            ),
            (
                "tlbflush",
                "direct",
                hyperv
                    .tlbflush
                    .filter(|flush| flush.on)
                    .and_then(|flush| flush.direct),
                "hv-tlbflush-direct",
            ),
            (
                "tlbflush",
                "extended",
                hyperv
                    .tlbflush
                    .filter(|flush| flush.on)
                    .and_then(|flush| flush.extended),
                "hv-tlbflush-ext",
            ),
        ];
        for (feature, part, wanted, name) in parts {
            if wanted.is_some_and(|state| state.on) && !enabled.has_feature(name)? {
                return lacks(format_args!(
                    "host doesn't support hyperv {feature} '{part}' feature"
                ));
            }
        }
    }
    let arch = crate::plan::guest_arch(live)?;
    if names_model(live)
        && let Some(cpu) = &live.cpu
        && cpu_models::has_feature(arch, cpu, "invtsc")?
        && !enabled.has_feature("invtsc")?
    {
        return lacks(format_args!("the host has no CPU feature 'invtsc'"));
    }
    Ok(())
}

fn wanted_hyperv(hyperv: &Hyperv) -> Vec<&'static str> {
    let on = |state: Option<virt_conf::domain::features::State>| state.is_some_and(|state| state.on);
    [
        ("vpindex", on(hyperv.vpindex)),
        ("runtime", on(hyperv.runtime)),
        ("synic", on(hyperv.synic)),
        ("stimer", hyperv.stimer.is_some_and(|timer| timer.on)),
        ("reset", on(hyperv.reset)),
        ("frequencies", on(hyperv.frequencies)),
        ("reenlightenment", on(hyperv.reenlightenment)),
        ("tlbflush", hyperv.tlbflush.is_some_and(|flush| flush.on)),
        ("ipi", on(hyperv.ipi)),
        ("evmcs", on(hyperv.evmcs)),
        ("avic", on(hyperv.avic)),
        ("emsr_bitmap", on(hyperv.emsr_bitmap)),
        ("xmm_input", on(hyperv.xmm_input)),
    ]
    .into_iter()
    .filter(|(_, on)| *on)
    .map(|(name, _)| name)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn domain(cpu: &str) -> Domain {
        let source = format!(
            "<domain type='kvm'><name>g</name><memory>1</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>{cpu}</domain>"
        );
        Domain::parse(&source, XmlFlags::INACTIVE, "test").unwrap()
    }

    #[test]
    fn what_the_host_lacks_is_disabled_in_the_live_definition() {
        let mut live = domain("<cpu mode='custom' match='exact' check='partial'><model>qemu64</model></cpu>");
        let answers = [
            Ok(
                json!({"model": {"name": "base", "props": {"pni": true, "svm": true, "aes": true, "level": 13}}}),
            ),
            Ok(json!(["svm"])),
        ];
        settle(&mut live, &answers).unwrap();
        let cpu = live.cpu.unwrap();
        assert_eq!(cpu.check, Some(CpuCheck::Full));
        let policy = |name: &str| cpu.feature(name).map(|feature| feature.policy.as_str());
        assert_eq!(policy("svm"), Some("disable"));
        assert_eq!(policy("aes"), Some("require"));
        assert_eq!(policy("pni"), None);
    }

    #[test]
    fn a_guest_that_wants_exactly_its_cpu_does_not_start_with_another() {
        let mut live = domain("<cpu mode='custom' match='exact' check='full'><model>qemu64</model></cpu>");
        let answers = [
            Ok(json!({"model": {"name": "base", "props": {"aes": true}}})),
            Ok(json!([])),
        ];
        let error = settle(&mut live, &answers).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
        assert!(error.message().contains("extra features: aes"), "{error}");
    }

    #[test]
    fn properties_have_their_types() {
        assert_eq!(property("vme", "on"), json!(true));
        assert_eq!(property("vme", "off"), json!(false));
        assert_eq!(property("hv-spinlocks", "0x1fff"), json!(8191));
        assert_eq!(property("phys-bits", "42"), json!(42));
        assert_eq!(property("vendor", "123456789012"), json!("123456789012"));
    }
}
