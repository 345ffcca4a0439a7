//! The file format in which libvirt keeps what it knows about a QEMU binary: `<qemuCaps>`.

use std::fmt::Write as _;

use super::{Accel, AccelCaps, CpuValue, Flag, QemuCaps};
use virt_util::Arch;

/// The file's text, byte for byte what libvirt writes.
pub fn format(caps: &QemuCaps) -> String {
    let mut out = Out::default();
    out.open("qemuCaps");
    out.text("emulator", &caps.binary);
    out.text("qemuctime", &caps.binary_ctime.to_string());
    if caps.module_dir_mtime > 0 {
        out.text("qemumoddirmtime", &caps.module_dir_mtime.to_string());
    }
    out.text("selfctime", &caps.self_ctime.to_string());
    out.text("selfvers", &caps.self_version.to_string());
    for flag in caps.flags.iter() {
        out.empty("flag", &[("name", Some(flag.name()))]);
    }
    out.text("version", &caps.version.to_string());
    out.text("microcodeVersion", &caps.host.microcode_version.to_string());
    if let Some(signature) = &caps.host.cpu_signature {
        out.text("hostCPUSignature", signature);
    }
    if let Some(package) = &caps.package {
        out.text("package", package);
    }
    if let Some(kernel) = &caps.host.kernel_version {
        out.text("kernelVersion", kernel);
    }
    if let Some(data) = &caps.host.cpu_data {
        out.verbatim(data);
    }
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    out.text("arch", arch.name());
    if caps.has(Flag::Kvm) {
        accel(&mut out, arch, Accel::Kvm, &caps.kvm);
    }
    if caps.has(Flag::Hvf) {
        accel(&mut out, arch, Accel::Hvf, &caps.hvf);
    }
    accel(&mut out, arch, Accel::Tcg, &caps.tcg);
    for gic in &caps.gic {
        let version = gic.version.to_string();
        out.empty(
            "gic",
            &[
                ("version", Some(&version)),
                ("kernel", Some(yes_no(gic.kernel))),
                ("emulated", Some(yes_no(gic.emulated))),
            ],
        );
    }
    if let Some(sev) = &caps.sev {
        out.open("sev");
        out.text("cbitpos", &sev.cbitpos.to_string());
        out.text("reducedPhysBits", &sev.reduced_phys_bits.to_string());
        out.text("pdh", &sev.pdh);
        out.text("certChain", &sev.cert_chain);
        if let Some(id) = &sev.cpu0_id {
            out.text("cpu0Id", id);
        }
        out.close("sev");
    }
    if let Some(sgx) = &caps.sgx {
        out.open_with("sgx", &[("supported", Some("yes"))]);
        out.text("flc", yes_no(sgx.flc));
        out.text("sgx1", yes_no(sgx.sgx1));
        out.text("sgx2", yes_no(sgx.sgx2));
        out.line(&format!(
            "<section_size unit='KiB'>{}</section_size>",
            sgx.section_size
        ));
        if !sgx.sections.is_empty() {
            out.open("sections");
            for (node, size) in &sgx.sections {
                let (node, size) = (node.to_string(), size.to_string());
                out.empty(
                    "section",
                    &[
                        ("node", Some(&node)),
                        ("size", Some(&size)),
                        ("unit", Some("KiB")),
                    ],
                );
            }
            out.close("sections");
        }
        out.close("sgx");
    }
    if let Some(features) = &caps.hyperv {
        out.open_with("hypervCapabilities", &[("supported", Some("yes"))]);
        for name in features {
            out.empty("cap", &[("name", Some(name))]);
        }
        out.close("hypervCapabilities");
    }
    if caps.kvm_supports_nesting {
        out.line("<kvmSupportsNesting/>");
    }
    if caps.kvm_supports_secure_guest {
        out.line("<kvmSupportsSecureGuest/>");
    }
    out.close("qemuCaps");
    out.text
}

fn accel(out: &mut Out, arch: Arch, accel: Accel, caps: &AccelCaps) {
    if let Some(host) = &caps.host_cpu {
        out.open_with(
            "hostCPU",
            &[
                ("type", Some(accel.name())),
                ("model", Some(&host.name)),
                ("migratability", Some(yes_no(host.migratability))),
            ],
        );
        for property in &host.properties {
            let (kind, value) = match &property.value {
                CpuValue::Bool(on) => ("boolean", on.to_string()),
                CpuValue::String(text) => ("string", text.clone()),
                CpuValue::Number(number) => ("number", number.to_string()),
            };
            out.empty(
                "property",
                &[
                    ("name", Some(&property.name)),
                    ("type", Some(kind)),
                    ("value", Some(&value)),
                    ("migratable", property.migratable.map(yes_no)),
                ],
            );
        }
        if !host.deprecated.is_empty() {
            out.open("deprecatedFeatures");
            for name in &host.deprecated {
                out.empty("property", &[("name", Some(name))]);
            }
            out.close("deprecatedFeatures");
        }
        out.close("hostCPU");
    }
    for model in caps.cpu_models.iter().flatten() {
        let attributes = [
            ("type", Some(accel.name())),
            ("name", Some(model.name.as_str())),
            ("typename", model.type_name.as_deref()),
            ("usable", model.usable.map(yes_no)),
            ("deprecated", model.deprecated.then_some("yes")),
        ];
        if model.blockers.is_empty() {
            out.empty("cpu", &attributes);
            continue;
        }
        out.open_with("cpu", &attributes);
        for blocker in &model.blockers {
            out.empty(
                "blocker",
                &[("name", Some(super::cpu_feature_to_qemu(arch, blocker)))],
            );
        }
        out.close("cpu");
    }
    for machine in &caps.machines {
        let max_cpus = machine.max_cpus.to_string();
        let if_yes = |on: bool| on.then_some("yes");
        out.empty(
            "machine",
            &[
                ("type", Some(accel.name())),
                ("name", Some(&machine.name)),
                ("alias", machine.alias.as_deref()),
                ("hotplugCpus", if_yes(machine.hotplug_cpus)),
                ("maxCpus", Some(&max_cpus)),
                ("default", if_yes(machine.qemu_default)),
                ("defaultCPU", machine.default_cpu.as_deref()),
                ("numaMemSupported", if_yes(machine.numa_mem_supported)),
                ("defaultRAMid", machine.default_ram_id.as_deref()),
                ("deprecated", if_yes(machine.deprecated)),
                ("acpi", machine.acpi.map(yes_no)),
            ],
        );
    }
}

fn yes_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

/// Lines with two spaces per level.
#[derive(Default)]
struct Out {
    text: String,
    depth: usize,
}

impl Out {
    fn line(&mut self, line: &str) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn open(&mut self, name: &str) {
        self.open_with(name, &[]);
    }

    fn open_with(&mut self, name: &str, attributes: &[(&str, Option<&str>)]) {
        let tag = Self::tag(name, attributes, ">");
        self.line(&tag);
        self.depth += 1;
    }

    fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line(&format!("</{name}>"));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, Option<&str>)]) {
        let tag = Self::tag(name, attributes, "/>");
        self.line(&tag);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.line(&format!("<{name}>{}</{name}>", escape(text)));
    }

    fn verbatim(&mut self, xml: &str) {
        self.text.push_str(xml);
    }

    fn tag(name: &str, attributes: &[(&str, Option<&str>)], end: &str) -> String {
        let mut tag = format!("<{name}");
        for (key, value) in attributes {
            if let Some(value) = value {
                let _ = write!(tag, " {key}='{}'", escape(value));
            }
        }
        tag.push_str(end);
        tag
    }
}
