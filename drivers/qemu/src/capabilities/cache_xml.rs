//! The file format in which libvirt keeps what it knows about a QEMU binary: `<qemuCaps>`.

use virt_util::xml::{Doc, DocOptions, Element, Writer, XmlFlags};
use virt_util::{Arch, ErrorCode, Result, VirtError};

use super::{
    Accel, AccelCaps, CpuModel, CpuModelInfo, CpuProperty, CpuValue, Flag, Gic, HostFingerprint, Machine,
    QemuCaps, Sev, Sgx,
};

/// Reads a cache file. `name` is what errors call it.
///
/// # Errors
/// `XML_DETAIL` for text that is not XML, `XML_ERROR` for a file that is not a cache of ours: an unknown flag, a missing
/// or malformed fact.
pub fn parse(text: &str, name: &str) -> Result<QemuCaps> {
    let doc = Doc::parse_with(text, &DocOptions::named(name))?;
    let root = doc.root();
    if !root.is("qemuCaps") {
        return Err(bad(root, "is not <qemuCaps>"));
    }
    let mut caps = QemuCaps {
        binary: text_of(root, "emulator")?,
        binary_ctime: number_in(root, "qemuctime")?,
        self_ctime: number_in(root, "selfctime")?,
        self_version: number_in(root, "selfvers")?,
        version: number_in(root, "version")?,
        host: HostFingerprint {
            microcode_version: number_in(root, "microcodeVersion")?,
            cpu_signature: root
                .child("hostCPUSignature")
                .map(|child| child.text().into_owned()),
            kernel_version: root.child("kernelVersion").map(|child| child.text().into_owned()),
            // Indented as it stands in the file, so that it goes back as it came.
            cpu_data: root
                .child("cpudata")
                .map(|child| format!("  {}\n", child.outer_source())),
        },
        package: root.child("package").map(|child| child.text().into_owned()),
        kvm_supports_nesting: root.child("kvmSupportsNesting").is_some(),
        kvm_supports_secure_guest: root.child("kvmSupportsSecureGuest").is_some(),
        ..QemuCaps::default()
    };
    if root.child("qemumoddirmtime").is_some() {
        caps.module_dir_mtime = number_in(root, "qemumoddirmtime")?;
    }
    let arch_name = text_of(root, "arch")?;
    caps.arch = Some(Arch::from_name(&arch_name).ok_or_else(|| bad(root, "names an unknown architecture"))?);
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    for child in root.children() {
        match child.name() {
            "flag" => {
                let name = attr(child, "name")?;
                let flag =
                    Flag::from_name(&name).ok_or_else(|| bad(child, "names an unknown capability flag"))?;
                caps.flags.insert(flag);
            }
            "hostCPU" => accel_of(&mut caps, child)?.host_cpu = Some(parse_host_cpu(child)?),
            "cpu" => {
                let model = parse_cpu(child, arch)?;
                accel_of(&mut caps, child)?
                    .cpu_models
                    .get_or_insert_default()
                    .push(model);
            }
            "machine" => {
                let machine = parse_machine(child)?;
                accel_of(&mut caps, child)?.machines.push(machine);
            }
            "gic" => caps.gic.push(Gic {
                version: number(child, "version")?,
                kernel: boolean(child, "kernel")?.unwrap_or(false),
                emulated: boolean(child, "emulated")?.unwrap_or(false),
            }),
            "sev" => {
                caps.sev = Some(Sev {
                    cbitpos: number_in(child, "cbitpos")?,
                    reduced_phys_bits: number_in(child, "reducedPhysBits")?,
                    pdh: text_of(child, "pdh")?,
                    cert_chain: text_of(child, "certChain")?,
                    cpu0_id: child.child("cpu0Id").map(|id| id.text().into_owned()),
                });
            }
            "sgx" => {
                let flag = |name| Ok::<_, VirtError>(text_of(child, name)? == "yes");
                let mut sgx = Sgx {
                    flc: flag("flc")?,
                    sgx1: flag("sgx1")?,
                    sgx2: flag("sgx2")?,
                    section_size: number_in(child, "section_size")?,
                    sections: Vec::new(),
                };
                for section in child
                    .child("sections")
                    .iter()
                    .flat_map(|list| list.children_named("section"))
                {
                    sgx.sections
                        .push((number(section, "node")?, number(section, "size")?));
                }
                caps.sgx = Some(sgx);
            }
            "hypervCapabilities" if boolean(child, "supported")? == Some(true) => {
                let names = child.children_named("cap").map(|cap| attr(cap, "name"));
                caps.hyperv = Some(names.collect::<Result<_>>()?);
            }
            _ => {}
        }
    }
    Ok(caps)
}

fn accel_of<'c>(caps: &'c mut QemuCaps, element: Element<'_>) -> Result<&'c mut AccelCaps> {
    match attr(element, "type")?.as_str() {
        "kvm" => Ok(&mut caps.kvm),
        "hvf" => Ok(&mut caps.hvf),
        "tcg" => Ok(&mut caps.tcg),
        _ => Err(bad(element, "names an unknown accelerator")),
    }
}

fn parse_host_cpu(element: Element<'_>) -> Result<CpuModelInfo> {
    let mut info = CpuModelInfo {
        name: attr(element, "model")?,
        migratability: boolean(element, "migratability")?.unwrap_or(false),
        ..CpuModelInfo::default()
    };
    for property in element.children_named("property") {
        let text = attr(property, "value")?;
        let value = match attr(property, "type")?.as_str() {
            "boolean" => CpuValue::Bool(text == "true"),
            "string" => CpuValue::String(text),
            "number" => CpuValue::Number(
                text.parse()
                    .map_err(|_| bad(property, "has a value that is no number"))?,
            ),
            _ => return Err(bad(property, "has an unknown type")),
        };
        info.properties.push(CpuProperty {
            name: attr(property, "name")?,
            value,
            migratable: boolean(property, "migratable")?,
        });
    }
    if let Some(list) = element.child("deprecatedFeatures") {
        info.deprecated = list
            .children()
            .map(|one| attr(one, "name"))
            .collect::<Result<_>>()?;
    }
    Ok(info)
}

fn parse_cpu(element: Element<'_>, arch: Arch) -> Result<CpuModel> {
    let usable = match element.attr("usable").as_deref() {
        None | Some("unknown") => None,
        Some(_) => boolean(element, "usable")?,
    };
    let mut model = CpuModel {
        name: attr(element, "name")?,
        type_name: element.attr("typename").map(|name| name.into_owned()),
        usable,
        blockers: Vec::new(),
        deprecated: boolean(element, "deprecated")?.unwrap_or(false),
    };
    for blocker in element.children_named("blocker") {
        model
            .blockers
            .push(super::cpu_feature_from_qemu(arch, &attr(blocker, "name")?).to_owned());
    }
    Ok(model)
}

fn parse_machine(element: Element<'_>) -> Result<Machine> {
    let optional = |name| element.attr(name).map(|value| value.into_owned());
    let yes = |name| Ok::<_, VirtError>(boolean(element, name)?.unwrap_or(false));
    Ok(Machine {
        name: attr(element, "name")?,
        alias: optional("alias"),
        max_cpus: if element.has_attr("maxCpus") {
            number(element, "maxCpus")?
        } else {
            0
        },
        hotplug_cpus: yes("hotplugCpus")?,
        qemu_default: yes("default")?,
        default_cpu: optional("defaultCPU"),
        numa_mem_supported: yes("numaMemSupported")?,
        default_ram_id: optional("defaultRAMid"),
        deprecated: yes("deprecated")?,
        acpi: boolean(element, "acpi")?,
    })
}

fn bad(element: Element<'_>, what: &str) -> VirtError {
    let at = element.position();
    VirtError::new(
        ErrorCode::XML_ERROR,
        format_args!(
            "QEMU capability cache, line {} column {}: <{}> {what}",
            at.line,
            at.column,
            element.name()
        ),
    )
}

fn attr(element: Element<'_>, name: &str) -> Result<String> {
    let value = element
        .attr(name)
        .ok_or_else(|| bad(element, &format!("has no attribute '{name}'")))?;
    Ok(value.into_owned())
}

fn boolean(element: Element<'_>, name: &str) -> Result<Option<bool>> {
    match element.attr(name).as_deref() {
        None => Ok(None),
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        Some(_) => Err(bad(
            element,
            &format!("has an attribute '{name}' that is neither yes nor no"),
        )),
    }
}

fn number<N: std::str::FromStr>(element: Element<'_>, name: &str) -> Result<N> {
    let text = attr(element, name)?;
    text.parse().map_err(|_| {
        bad(
            element,
            &format!("has an attribute '{name}' that is no number in range"),
        )
    })
}

fn text_of(element: Element<'_>, name: &str) -> Result<String> {
    let child = element
        .child(name)
        .ok_or_else(|| bad(element, &format!("has no <{name}>")))?;
    Ok(child.text().into_owned())
}

fn number_in<N: std::str::FromStr>(element: Element<'_>, name: &str) -> Result<N> {
    let text = text_of(element, name)?;
    text.parse()
        .map_err(|_| bad(element, &format!("has a <{name}> that is no number in range")))
}

/// The file's text, byte for byte what libvirt writes.
pub fn format(caps: &QemuCaps) -> String {
    let mut out = Out::new();
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
        out.0.raw(data);
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
        out.open_with("section_size", &[("unit", Some("KiB"))]);
        out.0.text(&sgx.section_size.to_string());
        out.close("section_size");
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
        out.0.empty_element("kvmSupportsNesting");
    }
    if caps.kvm_supports_secure_guest {
        out.0.empty_element("kvmSupportsSecureGuest");
    }
    out.close("qemuCaps");
    out.0.finish()
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

/// [`Writer`] with the shapes that this format has.
struct Out(Writer);

impl Out {
    fn new() -> Self {
        Self(Writer::new(XmlFlags::empty()))
    }

    fn open(&mut self, name: &str) {
        self.open_with(name, &[]);
    }

    fn open_with(&mut self, name: &str, attributes: &[(&str, Option<&str>)]) {
        self.0.start(name);
        for (key, value) in attributes {
            if let Some(value) = value {
                self.0.attribute(key, value);
            }
        }
    }

    fn close(&mut self, name: &str) {
        self.0.end(name);
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, Option<&str>)]) {
        self.open_with(name, attributes);
        self.close(name);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.0.text_element(name, text);
    }
}
