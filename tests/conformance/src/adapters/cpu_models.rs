//! Area `cpu-models`: arithmetic with models of CPUs.

use serde_json::Value;
use virt_conf::cpu::{Cpu, CpuDocument, CpuFallback, CpuFeaturePolicy, CpuMatch, HostCpu};
use virt_conf::cpu_models::{self, CpuData, HypervisorModel, HypervisorModels, encode_signature};
use virt_driver_qemu::capabilities::host_model::told_model;
use virt_driver_qemu::capabilities::{Accel, QemuCaps, probe};
use virt_driver_qemu::monitor::{Command, QmpPeer, Reply};
use virt_util::arch::Arch;
use virt_util::xml::Doc;
use virt_util::{Result as VirtResult, VirtError};

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

fn text(error: VirtError) -> String {
    error.to_string()
}

fn arch(case: &Case) -> Result<Arch, String> {
    let name = case.arch.as_deref().ok_or("the case names no architecture")?;
    Arch::from_name(name).ok_or_else(|| format!("unknown architecture {name}"))
}

fn file<'a>(case: &'a Case, role: &str) -> Result<&'a str, String> {
    let name = case.input.get(role).and_then(Value::as_str);
    name.ok_or_else(|| format!("the case has no input '{role}'"))
}

fn cpu(corpus: &Corpus, file: &str) -> Result<CpuDocument, String> {
    CpuDocument::parse(&corpus.text(file)?, file).map_err(text)
}

fn data(case: &Case, corpus: &Corpus, role: &str) -> Result<CpuData, String> {
    let file = file(case, role)?;
    CpuData::parse(&corpus.text(file)?, file).map_err(text)
}

fn judge(case: &Case, corpus: &Corpus, have: VirtResult<CpuDocument>) -> Result<Outcome, String> {
    let want = corpus.expected(case, "xml")?;
    Ok(Outcome::of_text(
        case,
        have.map(|cpu| cpu.format()),
        want.as_deref(),
    ))
}

/// A host's CPU and another.
pub fn compare(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let (host, other) = (
            cpu(corpus, file(case, "host")?)?,
            cpu(corpus, file(case, "cpu")?)?,
        );
        let arch = host.arch().ok_or("the host's CPU has no architecture")?;
        let have = match cpu_models::compare(arch, Some(&host), &other) {
            Ok(cpu_models::Comparison::Incompatible(_)) => "INCOMPATIBLE",
            Ok(cpu_models::Comparison::Identical) => "IDENTICAL",
            Ok(cpu_models::Comparison::Superset) => "SUPERSET",
            Err(_) => "ERROR",
        };
        Ok(Outcome::equal("result", &have, &case.text("result")?))
    };
    run().into()
}

/// A guest's CPU made absolute.
pub fn update(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let arch = arch(case)?;
        let host = cpu(corpus, file(case, "host")?)?.to_guest();
        let mut guest = cpu(corpus, file(case, "cpu")?)?.to_guest();
        let have = cpu_models::copy_migratable(arch, &host)
            .and_then(|host| cpu_models::update(arch, &mut guest, Some(&host), CpuFeaturePolicy::Disable))
            .map(|()| guest.into());
        judge(case, corpus, have)
    };
    run().into()
}

fn models(names: &Value) -> Option<HypervisorModels> {
    let names = names.as_array()?;
    let model = |name: &str| HypervisorModel {
        name: name.to_owned(),
        blockers: Vec::new(),
    };
    Some(names.iter().filter_map(Value::as_str).map(model).collect())
}

/// The way of a guest's CPU from its definition to the hypervisor.
pub fn guest_cpu(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let host = cpu(corpus, file(case, "host")?)?;
        let arch = host.arch().ok_or("the host's CPU has no architecture")?;
        let mut guest = cpu(corpus, file(case, "cpu")?)?.to_guest();
        let models = models(case.param("models"));
        let have = (|| {
            cpu_models::convert_legacy(arch, &mut guest)?;
            cpu_models::compare(arch, Some(&host), &guest.clone().into())?.or_fail()?;
            cpu_models::update(
                arch,
                &mut guest,
                Some(&host.to_guest()),
                CpuFeaturePolicy::Disable,
            )?;
            cpu_models::translate(arch, &mut guest, models.as_ref())?;
            Ok(guest.into())
        })();
        judge(case, corpus, have)
    };
    run().into()
}

fn fits(cpus: &[CpuDocument], arch: Option<Arch>, baseline: &Cpu) -> Result<(), String> {
    for (index, cpu) in cpus.iter().enumerate() {
        let arch = cpu.arch().or(arch).ok_or("a CPU has no architecture")?;
        cpu_models::compare(arch, Some(cpu), &baseline.clone().into())
            .and_then(cpu_models::Comparison::or_fail)
            .map_err(|error| format!("CPU {index} cannot run the result: {error}"))?;
    }
    Ok(())
}

/// What several hosts' CPUs have in common.
pub fn baseline(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let arch = arch(case)?;
        let source = corpus.input(case)?;
        let doc = Doc::parse(&source).map_err(text)?;
        let cpus = doc
            .root()
            .children_named("cpu")
            .map(CpuDocument::from_element)
            .collect::<VirtResult<Vec<_>>>()
            .map_err(text)?;
        let flags = case.param("flags").as_array().cloned().unwrap_or_default();
        let has = |flag: &str| flags.iter().any(|one| one == flag);
        let mut have = cpu_models::baseline(Some(arch), &cpus, None, None, has("migratable"));
        if let Ok(cpu) = &have {
            fits(&cpus, Some(arch), cpu)?;
        }
        if has("expand-features") {
            have = have.and_then(|mut cpu| cpu_models::expand(arch, &mut cpu).map(|()| cpu));
        }
        judge(case, corpus, have.map(CpuDocument::from))
    };
    run().into()
}

/// What CPUs that hypervisors told have in common.
pub fn cpuid_baseline(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let arch = arch(case)?;
        let names = case
            .input
            .as_array()
            .ok_or("the case has no list of input files")?;
        let cpus = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| cpu(corpus, name))
            .collect::<Result<Vec<_>, String>>()?;
        let have = cpu_models::baseline(Some(arch), &cpus, None, None, false);
        if let Ok(cpu) = &have {
            fits(&cpus, Some(arch), cpu)?;
        }
        judge(case, corpus, have.map(CpuDocument::from))
    };
    run().into()
}

/// Whether a host has a feature, by its definition and by what it says about itself.
pub fn has_feature(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let host = cpu(corpus, case.input_file()?)?;
        let arch = arch(case)?;
        let (host, feature) = (host.to_guest(), case.text("feature")?);
        let word = |answer: VirtResult<bool>| match answer {
            Ok(true) => "yes",
            Ok(false) => "no",
            Err(_) => "error",
        };
        let by_name = word(cpu_models::has_feature(arch, &host, feature));
        let by_data = word(cpu_models::encode(arch, &host).and_then(|data| data.has_feature(feature)));
        let want = case.text("result")?;
        Ok(Outcome::equal("answers", &(by_name, by_data), &(want, want)))
    };
    run().into()
}

/// Whether features exist.
pub fn validate_features(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let guest = cpu(corpus, case.input_file()?)?.to_guest();
        let have = cpu_models::validate_features(arch(case)?, &guest);
        Ok(Outcome::of_text(case, have.map(|()| String::new()), None))
    };
    run().into()
}

/// The numbers of a processor.
pub fn signature(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> { same_signature(case, corpus, &data(case, corpus, "cpuid")?) };
    run().into()
}

fn same_signature(case: &Case, corpus: &Corpus, data: &CpuData) -> Result<Outcome, String> {
    let numbers = data.signature();
    let line = |name: &str, number: u32| format!("{name:<10}{number:3} (0x{number:02x})\n");
    let have = format!(
        "{:06x}\n{}{}{}",
        encode_signature(numbers),
        line("family:", numbers.family),
        line("model:", numbers.model),
        line("stepping:", numbers.stepping)
    );
    Ok(Outcome::same_text(
        &have,
        &corpus.expected(case, "sig")?.unwrap_or_default(),
    ))
}

/// The CPU of a host.
pub fn cpuid_host(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = cpu_models::host_cpu(&data(case, corpus, "cpuid")?).map(|cpu| {
            HostCpu {
                arch: case.arch.clone(),
                ..cpu
            }
            .into()
        });
        judge(case, corpus, have)
    };
    run().into()
}

/// Replies without their commands; the id tells which question each answers.
struct Replies(Vec<Value>);

impl QmpPeer for Replies {
    fn execute_all(&mut self, commands: Vec<Command>) -> VirtResult<Vec<Reply>> {
        let answer = |command: Command| {
            let id = match &*command.name {
                "query-cpu-definitions" => "definitions",
                _ => "model-expansion",
            };
            let reply = self
                .0
                .iter()
                .find(|reply| reply.get("id").is_some_and(|own| own == id));
            let value = reply.and_then(|reply| reply.get("return"));
            let value = value.ok_or_else(|| VirtError::internal(format_args!("no reply '{id}'")));
            value.map(|value| Ok(value.clone()))
        };
        commands.into_iter().map(answer).collect()
    }
}

/// What a recorded QEMU says of the host's CPU and, if the case wants that, of models.
fn qemu(case: &Case, corpus: &Corpus) -> Result<QemuCaps, String> {
    let source = corpus.text(file(case, "json")?)?;
    let replies = serde_json::Deserializer::from_str(&source)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let with_models = matches!(case.param("json").as_str(), Some("models" | "models-required"));
    probe::probe_cpu(arch(case)?, with_models, &mut Replies(replies)).map_err(text)
}

fn qemu_models(case: &Case, corpus: &Corpus) -> Result<Option<HypervisorModels>, String> {
    match case.param("json").as_str() {
        Some("models" | "models-required") => Ok(qemu(case, corpus)?.accel(Accel::Kvm).hypervisor_models()),
        _ => Ok(None),
    }
}

/// The CPU of a guest that has what the host has.
pub fn cpuid_guest(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let data = data(case, corpus, "cpuid")?;
        let models = qemu_models(case, corpus)?;
        let have = cpu_models::guest_cpu(&data, models.as_ref(), CpuFallback::Forbid);
        judge(case, corpus, have.map(CpuDocument::from))
    };
    run().into()
}

/// The host's CPU as QEMU tells it.
pub fn qemu_json(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let caps = qemu(case, corpus)?;
        let cpu = told_model(&caps, Accel::Kvm, false)
            .and_then(|cpu| cpu.ok_or_else(|| VirtError::internal("QEMU tells no model")));
        let info = caps
            .accel(Accel::Kvm)
            .host_cpu
            .as_ref()
            .ok_or("QEMU tells no CPU")?;
        let data = info.x86_data(false).map_err(text)?;
        Ok(Outcome::all([
            judge(case, corpus, cpu.map(CpuDocument::from))?,
            same_signature(case, corpus, &data)?,
        ]))
    };
    run().into()
}

/// A guest's CPU as the hypervisor made it.
pub fn update_live(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let arch = arch(case)?;
        let mut guest = cpu(corpus, file(case, "cpu")?)?.to_guest();
        let mut want = cpu(corpus, file(case, "expected")?)?.to_guest();
        let name = want.model_name().unwrap_or_default().to_owned();
        if guest.model_name() != Some(&name) {
            let blockers = qemu_models(case, corpus)?
                .and_then(|models| models.blockers(&name).map(<[String]>::to_vec))
                .unwrap_or_default();
            let only: HypervisorModels = std::iter::once(HypervisorModel { name, blockers }).collect();
            guest.set_fallback(CpuFallback::Allow);
            // Where that fails, the models differ below.
            let _ = cpu_models::translate(arch, &mut guest, Some(&only));
            guest.set_fallback(CpuFallback::Forbid);
        }
        guest.matching = CpuMatch::Exact;
        let (enabled, disabled) = (data(case, corpus, "enabled")?, data(case, corpus, "disabled")?);
        cpu_models::update_live(arch, &mut guest, &enabled, &disabled).map_err(text)?;
        cpu_models::expand(arch, &mut guest).map_err(text)?;
        cpu_models::expand(arch, &mut want).map_err(text)?;
        let enabled = |cpu: &Cpu| -> Vec<String> {
            let on = cpu
                .features
                .iter()
                .filter(|feature| feature.policy == CpuFeaturePolicy::Require);
            on.map(|feature| feature.name.clone()).collect()
        };
        Ok(Outcome::all([
            Outcome::equal("model", &guest.model_name(), &want.model_name()),
            Outcome::equal("features", &enabled(&guest), &enabled(&want)),
        ]))
    };
    run().into()
}
