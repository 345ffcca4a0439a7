//! Area `qemu-capabilities`: probing a QEMU binary, and what is told about it.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use virt_conf::capabilities::Capabilities;
use virt_conf::cpu::{CpuTopology, HostCpu, HostCpuFeature};
use virt_driver_qemu::capabilities::domain_document::{self, Facts, SevGuests, Subject};
use virt_driver_qemu::capabilities::host_model::HostProcessor;
use virt_driver_qemu::capabilities::recorded::Recorded;
use virt_driver_qemu::capabilities::{Accel, Flag, QemuCaps, cache_xml, probe};
use virt_driver_qemu::driver::host_caps;
use virt_driver_qemu::firmware::{SearchPath, supported};
use virt_util::arch::Arch;

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

/// The guests of one binary, as a host's capabilities tell them.
pub fn guest_caps(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let file = case.input_file()?;
        let caps = cache_xml::parse(&corpus.text(file)?, file).map_err(|error| error.to_string())?;
        let arch = arch(case)?;
        // Only the flags of the file count.
        let caps = QemuCaps {
            flags: caps.flags,
            ..QemuCaps::default()
        };
        let binary = format!("/usr/bin/qemu-system-{}", arch.name());
        let have = Capabilities {
            host: virt_conf::capabilities::Host {
                arch: arch.name().to_owned(),
                ..virt_conf::capabilities::Host::default()
            },
            guests: vec![host_caps::guest(arch, Path::new(&binary), &caps)],
        };
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(
            case,
            Ok::<_, String>(have.to_xml()),
            want.as_deref(),
        ))
    };
    run().into()
}

fn arch(case: &Case) -> Result<Arch, String> {
    let name = match case.arch.as_deref() {
        Some(name) => name,
        None => case.text("arch")?,
    };
    Arch::from_name(name).ok_or_else(|| format!("unknown architecture {name}"))
}

/// What guests of one emulator, machine and type can have.
pub fn domain_caps(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let file = case.input_file()?;
        let mut caps = cache_xml::parse(&corpus.text(file)?, file).map_err(|error| error.to_string())?;
        // The area's kernels encrypt whatever the binary can.
        caps.kvm_supports_secure_guest |=
            caps.has(Flag::MachineConfidentalGuestSupport) && caps.has(Flag::S390PvGuest);
        let arch = arch(case)?;
        let accel = Accel::from_domain_type(case.text("virttype")?).ok_or("unknown type")?;
        // The case's type is that of the document; the machine is found as for the binary's usual type.
        let usual = if caps.has(Flag::Kvm) {
            Accel::Kvm
        } else {
            Accel::Tcg
        };
        let machine = match case.param("machine").as_str() {
            Some(name) => caps.canonical_machine(usual, name),
            None => caps.preferred_machine(usual).unwrap_or_default(),
        };
        let firmware = SearchPath::session("/home/user/.config")
            .below(corpus.path("common/qemu-env/firmware")?)
            .firmware()
            .map_err(|error| error.to_string())?
            .into_iter()
            .map(|(_, descriptor)| descriptor)
            .collect::<Vec<_>>();
        let bits = if arch.is_s390() { 0 } else { 64 };
        let processor = match arch {
            arch if arch.is_x86() => host_processor(corpus, "broadwell", bits)?,
            arch if arch.is_ppc64() => host_processor(corpus, "power8", bits)?,
            _ => HostProcessor {
                address_bits: bits,
                ..HostProcessor::default()
            },
        };
        let facts = Facts {
            arch,
            processor: Arc::new(processor),
            firmware: supported(&firmware, machine, arch),
            loaders: ["/obviously/fake/firmware1.fd", "/obviously/fake/firmware2.fd"]
                .map(str::to_owned)
                .into(),
            vfio: true,
            swtpm: Some(match caps.version / 1_000_000 {
                3..=5 => vec!["1.2"],
                6 => vec!["1.2", "2.0"],
                _ => vec!["2.0"],
            }),
            without_deprecated: false,
            rdp: true,
            sev_guests: SevGuests::from_cpuid(509, 451),
            kvm_max_cpus: i32::MAX.cast_unsigned(),
        };
        let subject = Subject {
            emulator: case.text("emulator")?,
            arch,
            accel,
            machine,
        };
        let have = domain_document::format(&caps, &subject, &facts);
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, Ok::<_, String>(have), want.as_deref()))
    };
    run().into()
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
    let number = |key: &str| {
        one.get(key)
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
    };
    let features = one
        .get("features")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
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
            .map(|name| HostCpuFeature {
                name: name.to_owned(),
            })
            .collect(),
        ..HostCpu::default()
    };
    Ok(HostProcessor {
        data: None,
        cpu: cpu.model.is_some().then(|| cpu.to_guest()),
        address_bits,
    })
}
