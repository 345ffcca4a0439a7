//! Area `qemu-capabilities`: probing a QEMU binary, and what is told about it.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::Value;
use virt_conf::cpu::{CpuTopology, HostCpu, HostCpuFeature};
use virt_driver_qemu::capabilities::host_model::HostProcessor;
use virt_driver_qemu::capabilities::recorded::Recorded;
use virt_driver_qemu::capabilities::{cache_xml, probe};

/// Replays a recorded conversation and writes the cache file.
pub fn probe(case: &Case, corpus: &Corpus) -> Outcome {
    probe_inner(case, corpus).into()
}

fn probe_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let replies = corpus.input(case)?;
    let arch = case.arch.as_deref().ok_or("the case names no architecture")?;
    // The recording comes from a host with macOS' framework if its name says so.
    let hvf = case.input_file()?.contains("+hvf");
    let have = (|| {
        let mut sessions = Recorded::sessions(&replies)?.into_iter();
        let mut next = || sessions.next().unwrap_or_default();
        let mut caps = probe::probe(&mut next(), hvf)?;
        if probe::needs_tcg_probe(&caps) {
            probe::probe_tcg(&mut caps, &mut next())?;
        }
        caps.binary = format!("/usr/bin/qemu-system-{arch}");
        if caps.has_hardware_accel() {
            let sum = |text: &str| text.bytes().map(u32::from).sum::<u32>();
            let version = case.text("version").unwrap_or_default();
            caps.host.microcode_version = sum(arch) * 100_000 + sum(version);
        }
        let text = cache_xml::format(&caps);
        // What is written is also read.
        Ok::<_, virt_util::VirtError>(cache_xml::format(&cache_xml::parse(&text, "cache")?))
    })();
    Ok(Outcome::of_text(
        case,
        have,
        corpus.expected(case, "xml")?.as_deref(),
    ))
}

/// A processor of `qemu-env/host-cpus.json`. One without a model is as good as none.
pub fn host_processor(corpus: &Corpus, name: &str, address_bits: u32) -> Result<HostProcessor, String> {
    let all: Value = serde_json::from_str(&corpus.text("common/qemu-env/host-cpus.json")?)
        .map_err(|error| error.to_string())?;
    let one = all
        .get("cpus")
        .and_then(|cpus| cpus.get(name))
        .ok_or_else(|| format!("no host CPU '{name}'"))?;
    let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| one.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let features = one.get("features").and_then(Value::as_array).into_iter().flatten();
    let cpu = HostCpu {
        arch: text("arch"),
        model: text("model"),
        vendor: text("vendor"),
        topology: Some(CpuTopology {
            sockets: number("sockets").unwrap_or(1),
            dies: 1,
            clusters: 1,
            cores: number("cores").unwrap_or(1),
            threads: number("threads").unwrap_or(1),
        }),
        features: features
            .filter_map(Value::as_str)
            .map(|name| HostCpuFeature { name: name.to_owned() })
            .collect(),
        ..HostCpu::default()
    };
    Ok(HostProcessor {
        data: None,
        cpu: cpu.model.is_some().then(|| cpu.to_guest()),
        address_bits,
    })
}
