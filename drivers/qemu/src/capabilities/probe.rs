//! Asking a QEMU binary over QMP what it can do.
//!
//! [`probe`] and [`probe_tcg`] are pure in everything but the peer: the same conversation always gives the same
//! [`QemuCaps`]. Questions are sent in as few batches as their dependencies allow.

use std::collections::HashSet;

use serde_json::Value;
use virt_util::{Arch, ErrorCode, Result, VirtError};

use super::probe_tables::{
    COMMAND_LINE, COMMANDS, DEVICE_PROPERTIES, MACHINE_PROPERTIES, MIGRATION_CAPABILITIES, OBJECT_PROPERTIES,
    OBJECT_TYPES, SCHEMA_QUERIES,
};
use super::qapi::Schema;
use super::{
    Accel, CpuModel, CpuModelInfo, CpuProperty, CpuValue, Flag, Gic, Machine, OLDEST_QEMU, QemuCaps, Sev, Sgx,
};
use crate::monitor::{Command, QmpPeer, Reply};

/// Hyper-V enlightenments that libvirt knows, in its order.
pub const HYPERV_FEATURES: &[&str] = &[
    "relaxed",
    "vapic",
    "spinlocks",
    "vpindex",
    "runtime",
    "synic",
    "stimer",
    "reset",
    "vendor_id",
    "frequencies",
    "reenlightenment",
    "tlbflush",
    "ipi",
    "evmcs",
    "avic",
    "emsr_bitmap",
    "xmm_input",
];

/// libvirt's names of 64-bit POWER models: QEMU spells them in lower case.
const PPC64_MODELS: &[&str] = &[
    "POWER6",
    "POWER7",
    "POWER8",
    "POWER9",
    "POWER10",
    "POWER11",
    "POWERPC_e5500",
    "POWERPC_e6500",
];

/// Probes a binary that runs with every accelerator it has. `hvf` says that the host has macOS' framework.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for a QEMU that is too old, `INTERNAL_ERROR` for replies that are not QEMU's.
pub fn probe(peer: &mut dyn QmpPeer, hvf: bool) -> Result<QemuCaps> {
    let mut caps = QemuCaps::default();

    let mut basics = Answers::ask(
        peer,
        [
            "query-version",
            "query-target",
            "query-qmp-schema",
            "query-kvm",
            "qom-list-types",
        ]
        .map(Command::new),
    )?;
    read_version(&mut caps, &basics.required()?)?;
    read_target(&mut caps, &basics.required()?)?;
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    read_schema(&mut caps, basics.required()?)?;
    read_kvm(&mut caps, &basics.required()?)?;
    if hvf {
        caps.flags.insert(Flag::Hvf);
    }
    let types = names(&basics.required()?, "qom-list-types", "name")?;
    set_flags(&mut caps, OBJECT_TYPES.iter(), &types);
    let accel = caps.preferred_accel().unwrap_or(Accel::Tcg);

    let condition = |caps: &QemuCaps, flag: Option<Flag>| flag.is_none_or(|flag| caps.has(flag));
    let devices: Vec<_> = DEVICE_PROPERTIES
        .iter()
        .filter(|row| condition(&caps, row.condition) && !row.properties.is_empty())
        .collect();
    let objects: Vec<_> = OBJECT_PROPERTIES
        .iter()
        .filter(|row| condition(&caps, row.condition) && !row.properties.is_empty())
        .collect();
    let mut questions: Vec<Command> = Vec::new();
    let list = |command: &'static str, name: &str| Command::new(command).with("typename", name);
    questions.extend(
        devices
            .iter()
            .map(|row| list("device-list-properties", row.type_name)),
    );
    questions.extend(
        objects
            .iter()
            .map(|row| list("qom-list-properties", row.type_name)),
    );
    questions.push(Command::new("query-machines"));
    let lists_models = caps.has(Flag::QueryCpuDefinitions);
    if lists_models {
        questions.push(Command::new("query-cpu-definitions"));
    }
    for name in [
        "query-tpm-models",
        "query-command-line-options",
        "query-migrate-capabilities",
    ] {
        questions.push(Command::new(name));
    }
    let has_gic = matches!(arch, Arch::Aarch64 | Arch::Armv6l | Arch::Armv7l);
    let has_sev = caps.has(Flag::SevGuest) || caps.has(Flag::SevSnpGuest);
    let has_sgx = caps.has(Flag::SgxEpc);
    for (wanted, name) in [
        (has_gic, "query-gic-capabilities"),
        (has_sev, "query-sev-capabilities"),
        (has_sgx, "query-sgx-capabilities"),
    ] {
        if wanted {
            questions.push(Command::new(name));
        }
    }

    let mut answers = Answers::ask(peer, questions)?;
    for row in devices {
        let Some(list) = answers.unless("DeviceNotFound")? else {
            continue;
        };
        read_device_properties(&mut caps, row.properties, &list)?;
    }
    for row in objects {
        let Some(list) = answers.unless("DeviceNotFound")? else {
            continue;
        };
        let found = names(&list, "qom-list-properties", "name")?;
        set_flags(&mut caps, row.properties.iter(), &found);
    }
    read_machines(&mut caps, accel, arch, &answers.required()?)?;
    if lists_models {
        read_cpu_models(&mut caps, accel, arch, answers.unless("GenericError")?)?;
    }
    let tpm_models = answers.unless("CommandNotFound")?;
    read_command_line(&mut caps, &answers.required()?)?;
    let migration = names(&answers.required()?, "query-migrate-capabilities", "capability")?;
    set_flags(&mut caps, MIGRATION_CAPABILITIES.iter(), &migration);
    if has_gic && let Some(list) = answers.unless("CommandNotFound")? {
        caps.gic = read_gic(&list)?;
    }
    if has_sev {
        caps.sev = answers
            .unless("GenericError")?
            .map(|sev| read_sev(&sev))
            .transpose()?;
        if caps.sev.is_none() {
            caps.flags.remove(Flag::SevGuest);
            caps.flags.remove(Flag::SevSnpGuest);
        }
    }
    if has_sgx {
        caps.sgx = match answers.unless("GenericError")? {
            Some(sgx) => read_sgx(&sgx)?,
            None => None,
        };
        if caps.sgx.is_none() {
            caps.flags.remove(Flag::SgxEpc);
        }
    }

    read_tpm(&mut caps, tpm_models, peer)?;
    read_machine_properties(&mut caps, accel, arch, peer)?;

    if caps.has(Flag::CpuUnavailableFeatures) {
        caps.flags.insert(Flag::CanonicalCpuFeatures);
    }
    // The controller exists only as a part of some machines, so its type says nothing.
    if matches!(arch, Arch::Sparc | Arch::M68k | Arch::Mips) {
        caps.flags.insert(Flag::ScsiNcr53c90);
    }

    // From here on no flag may change. A binary without an accelerator is asked for `host` all the same, as libvirt
    // does: it refuses, and whoever needs a model then takes the host's own processor.
    probe_host_cpu(&mut caps, accel, true, peer)?;
    Ok(caps)
}

/// Adds what holds under TCG to the result of a probe under an accelerator. The peer runs with TCG alone.
///
/// # Errors
/// `INTERNAL_ERROR` for replies that are not QEMU's.
pub fn probe_tcg(caps: &mut QemuCaps, peer: &mut dyn QmpPeer) -> Result<()> {
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    if caps.has(Flag::QueryCpuDefinitions) {
        let mut models = Answers::ask(peer, [Command::new("query-cpu-definitions")])?;
        read_cpu_models(caps, Accel::Tcg, arch, models.unless("GenericError")?)?;
    }
    probe_host_cpu(caps, Accel::Tcg, false, peer)?;
    let machines = Answers::ask(peer, [Command::new("query-machines")])?.required()?;
    read_machines(caps, Accel::Tcg, arch, &machines)
}

/// What a binary for guests of `arch` says about the host's CPU under KVM and, `with_models`, about those that it knows:
/// the two questions of [`probe`] on which a model of the host's CPU rests.
///
/// # Errors
/// `INTERNAL_ERROR` for replies that are not QEMU's.
pub fn probe_cpu(arch: Arch, with_models: bool, peer: &mut dyn QmpPeer) -> Result<QemuCaps> {
    let mut caps = QemuCaps {
        arch: Some(arch),
        ..QemuCaps::default()
    };
    caps.flags.insert(Flag::Kvm);
    caps.kvm.host_cpu = expand(peer, Expansion::Static, "host", &[], !arch.is_s390())?;
    if with_models {
        caps.flags.insert(Flag::QueryCpuDefinitions);
        let mut models = Answers::ask(peer, [Command::new("query-cpu-definitions")])?;
        read_cpu_models(&mut caps, Accel::Kvm, arch, models.unless("GenericError")?)?;
    }
    Ok(caps)
}

/// Whether a second probe, with [`probe_tcg`], is needed.
pub fn needs_tcg_probe(caps: &QemuCaps) -> bool {
    caps.has_hardware_accel() && caps.has(Flag::Tcg)
}

/// Replies, taken in the order of the questions.
struct Answers {
    names: std::vec::IntoIter<String>,
    replies: std::vec::IntoIter<Reply>,
}

impl Answers {
    fn ask(peer: &mut dyn QmpPeer, commands: impl IntoIterator<Item = Command>) -> Result<Self> {
        let commands: Vec<Command> = commands.into_iter().collect();
        let names: Vec<String> = commands.iter().map(|command| command.name.to_string()).collect();
        let replies = peer.execute_all(commands)?;
        Ok(Self {
            names: names.into_iter(),
            replies: replies.into_iter(),
        })
    }

    fn next(&mut self) -> Result<(String, Reply)> {
        match (self.names.next(), self.replies.next()) {
            (Some(name), Some(reply)) => Ok((name, reply)),
            _ => Err(VirtError::internal(
                "QEMU gave fewer replies than it got commands",
            )),
        }
    }

    /// The next reply, which must not be a refusal.
    fn required(&mut self) -> Result<Value> {
        let (name, reply) = self.next()?;
        reply.map_err(|error| error.into_error(&name))
    }

    /// The next reply; a refusal of `class` means that there is nothing to know.
    fn unless(&mut self, class: &str) -> Result<Option<Value>> {
        let (name, reply) = self.next()?;
        match reply {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.class == class => Ok(None),
            Err(error) => Err(error.into_error(&name)),
        }
    }
}

fn set_flags<'t>(
    caps: &mut QemuCaps,
    table: impl Iterator<Item = &'t (&'t str, Flag)>,
    found: &HashSet<String>,
) {
    for (name, flag) in table {
        if found.contains(*name) {
            caps.flags.insert(*flag);
        }
    }
}

fn bad(command: &str, what: &str) -> VirtError {
    VirtError::internal(format_args!(
        "QEMU's reply to {command} has a missing or malformed '{what}'"
    ))
}

fn array<'v>(value: &'v Value, command: &str) -> Result<&'v [Value]> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| VirtError::internal(format_args!("QEMU's reply to {command} is not an array")))
}

fn string(value: &Value, key: &str, command: &str) -> Result<String> {
    optional_string(value, key, command)?.ok_or_else(|| bad(command, key))
}

fn optional_string(value: &Value, key: &str, command: &str) -> Result<Option<String>> {
    match value.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(command, key)),
    }
}

fn boolean(value: &Value, key: &str, command: &str) -> Result<bool> {
    value
        .get(key)
        .and_then(Value::as_bool)
        .ok_or_else(|| bad(command, key))
}

fn optional_boolean(value: &Value, key: &str, command: &str) -> Result<Option<bool>> {
    match value.get(key) {
        None => Ok(None),
        Some(found) => found.as_bool().map(Some).ok_or_else(|| bad(command, key)),
    }
}

fn number<N: TryFrom<u64>>(value: &Value, key: &str, command: &str) -> Result<N> {
    value
        .get(key)
        .and_then(Value::as_u64)
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| bad(command, key))
}

fn names(list: &Value, command: &str, key: &str) -> Result<HashSet<String>> {
    array(list, command)?
        .iter()
        .map(|one| string(one, key, command))
        .collect()
}

fn read_version(caps: &mut QemuCaps, reply: &Value) -> Result<()> {
    const COMMAND: &str = "query-version";
    let qemu = reply.get("qemu").ok_or_else(|| bad(COMMAND, "qemu"))?;
    let part = |key| {
        number::<u32>(qemu, key, COMMAND).and_then(|part| {
            if part < 1000 {
                Ok(part)
            } else {
                Err(bad(COMMAND, key))
            }
        })
    };
    let (major, minor, micro) = (part("major")?, part("minor")?, part("micro")?);
    let (old_major, old_minor, old_micro) = OLDEST_QEMU;
    if (major, minor) < (old_major, old_minor) {
        return Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!(
                "QEMU {major}.{minor}.{micro} is too old: {old_major}.{old_minor}.{old_micro} or newer is required"
            ),
        ));
    }
    caps.version = major * 1_000_000 + minor * 1_000 + micro;
    caps.package = Some(string(reply, "package", COMMAND)?);
    Ok(())
}

fn read_target(caps: &mut QemuCaps, reply: &Value) -> Result<()> {
    let name = string(reply, "arch", "query-target")?;
    let arch = super::arch_from_qemu(&name)
        .ok_or_else(|| VirtError::internal(format_args!("unknown QEMU architecture '{name}'")))?;
    caps.arch = Some(arch);
    Ok(())
}

fn read_schema(caps: &mut QemuCaps, reply: Value) -> Result<()> {
    let schema = Schema::from_reply(reply)?;
    for (path, flag) in SCHEMA_QUERIES.iter().chain(COMMANDS) {
        if schema.has(path) {
            caps.flags.insert(*flag);
        }
    }
    if ["block-commit", "block-stream"]
        .iter()
        .all(|command| schema.has(&format!("{command}/arg-type/backing-mask-protocol")))
    {
        caps.flags.insert(Flag::BlockjobBackingMaskProtocol);
    }
    Ok(())
}

fn read_kvm(caps: &mut QemuCaps, reply: &Value) -> Result<()> {
    let enabled = boolean(reply, "enabled", "query-kvm")?;
    let present = boolean(reply, "present", "query-kvm")?;
    if enabled && present {
        caps.flags.insert(Flag::Kvm);
    }
    Ok(())
}

fn read_device_properties(caps: &mut QemuCaps, table: &[(&str, Flag)], list: &Value) -> Result<()> {
    const COMMAND: &str = "device-list-properties";
    for property in array(list, COMMAND)? {
        let name = string(property, "name", COMMAND)?;
        for (_, flag) in table.iter().filter(|(wanted, _)| *wanted == name) {
            caps.flags.insert(*flag);
            let off_by_default = property.get("default-value").and_then(Value::as_bool) == Some(false);
            if *flag == Flag::VirtioBlkScsi && off_by_default {
                caps.flags.insert(Flag::VirtioBlkScsiDefaultDisabled);
            }
        }
    }
    Ok(())
}

fn read_machines(caps: &mut QemuCaps, accel: Accel, arch: Arch, reply: &Value) -> Result<()> {
    const COMMAND: &str = "query-machines";
    let mut machines = Vec::new();
    for one in array(reply, COMMAND)? {
        let name = string(one, "name", COMMAND)?;
        if name == "none" {
            continue;
        }
        machines.push(Machine {
            name,
            alias: optional_string(one, "alias", COMMAND)?,
            max_cpus: match one.get("cpu-max") {
                Some(_) => number(one, "cpu-max", COMMAND)?,
                None => 0,
            },
            hotplug_cpus: one
                .get("hotpluggable-cpus")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            qemu_default: optional_boolean(one, "is-default", COMMAND)?.unwrap_or(false),
            default_cpu: optional_string(one, "default-cpu-type", COMMAND)?,
            numa_mem_supported: optional_boolean(one, "numa-mem-supported", COMMAND)?.unwrap_or(true),
            default_ram_id: optional_string(one, "default-ram-id", COMMAND)?,
            deprecated: optional_boolean(one, "deprecated", COMMAND)?.unwrap_or(false),
            acpi: optional_boolean(one, "acpi", COMMAND)?,
        });
    }
    // A guest that names no machine gets the same one whatever QEMU thinks its default is, unless it was compiled out.
    let preferred = super::preferred_machine_alias(arch).and_then(|wanted| {
        machines
            .iter()
            .rposition(|machine| machine.name == wanted || machine.alias.as_deref() == Some(wanted))
    });
    if let Some(index) = preferred.or_else(|| machines.iter().rposition(|machine| machine.qemu_default)) {
        let machine = machines.remove(index);
        machines.insert(0, machine);
    }
    caps.accel_mut(accel).machines = machines;
    Ok(())
}

fn read_machine_properties(
    caps: &mut QemuCaps,
    accel: Accel,
    arch: Arch,
    peer: &mut dyn QmpPeer,
) -> Result<()> {
    let mut rows = Vec::new();
    let mut questions = Vec::new();
    for row in MACHINE_PROPERTIES {
        let name = caps.canonical_machine(accel, row.type_name);
        let abstract_pc = arch.is_x86() && name == "generic-pc";
        let exists = name == "none" || abstract_pc || caps.machine(accel, name).is_some();
        if exists && !row.properties.is_empty() {
            questions.push(Command::new("qom-list-properties").with("typename", format!("{name}-machine")));
            rows.push(row);
        }
    }
    let mut answers = Answers::ask(peer, questions)?;
    for row in rows {
        let Some(list) = answers.unless("DeviceNotFound")? else {
            continue;
        };
        let found = names(&list, "qom-list-properties", "name")?;
        set_flags(caps, row.properties.iter(), &found);
    }
    Ok(())
}

fn read_cpu_models(caps: &mut QemuCaps, accel: Accel, arch: Arch, reply: Option<Value>) -> Result<()> {
    const COMMAND: &str = "query-cpu-definitions";
    let Some(reply) = reply else { return Ok(()) };
    let mut models = Vec::new();
    for one in array(&reply, COMMAND)? {
        let mut model = CpuModel {
            name: string(one, "name", COMMAND)?,
            type_name: optional_string(one, "typename", COMMAND)?.filter(|name| !name.is_empty()),
            deprecated: optional_boolean(one, "deprecated", COMMAND)?.unwrap_or(false),
            ..CpuModel::default()
        };
        if arch.is_ppc64()
            && let Some(ours) = PPC64_MODELS
                .iter()
                .find(|ours| ours.eq_ignore_ascii_case(&model.name))
        {
            model.name = (*ours).to_owned();
        }
        if let Some(blockers) = one.get("unavailable-features").and_then(Value::as_array) {
            model.usable = Some(blockers.is_empty());
            for blocker in blockers {
                let blocker = blocker
                    .as_str()
                    .ok_or_else(|| bad(COMMAND, "unavailable-features"))?;
                model
                    .blockers
                    .push(super::cpu_feature_from_qemu(arch, blocker).to_owned());
            }
        }
        models.push(model);
    }
    if models.iter().any(|model| model.name == "max") {
        caps.flags.insert(Flag::CpuMax);
    }
    caps.accel_mut(accel).cpu_models = Some(models);
    Ok(())
}

fn read_tpm(caps: &mut QemuCaps, models: Option<Value>, peer: &mut dyn QmpPeer) -> Result<()> {
    const MODELS: &[(&str, Flag)] = &[
        ("tpm-tis", Flag::DeviceTpmTis),
        ("tpm-crb", Flag::DeviceTpmCrb),
        ("tpm-spapr", Flag::DeviceTpmSpapr),
    ];
    const TYPES: &[(&str, Flag)] = &[
        ("passthrough", Flag::DeviceTpmPassthrough),
        ("emulator", Flag::DeviceTpmEmulator),
    ];
    fn strings(list: &Value, command: &str) -> Result<HashSet<String>> {
        array(list, command)?
            .iter()
            .map(|one| {
                one.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| bad(command, "return"))
            })
            .collect()
    }
    let Some(models) = models else { return Ok(()) };
    set_flags(caps, MODELS.iter(), &strings(&models, "query-tpm-models")?);
    let types = Answers::ask(peer, [Command::new("query-tpm-types")])?.unless("CommandNotFound")?;
    if let Some(types) = types {
        set_flags(caps, TYPES.iter(), &strings(&types, "query-tpm-types")?);
    }
    Ok(())
}

fn read_command_line(caps: &mut QemuCaps, reply: &Value) -> Result<()> {
    const COMMAND: &str = "query-command-line-options";
    for one in array(reply, COMMAND)? {
        let option = string(one, "option", COMMAND)?;
        let parameters = one
            .get("parameters")
            .and_then(Value::as_array)
            .ok_or_else(|| bad(COMMAND, "parameters"))?;
        for (name, parameter, flag) in COMMAND_LINE {
            let has_parameter = |wanted: &str| {
                parameters
                    .iter()
                    .any(|one| one.get("name").and_then(Value::as_str) == Some(wanted))
            };
            if *name == option && parameter.is_none_or(has_parameter) {
                caps.flags.insert(*flag);
            }
        }
    }
    Ok(())
}

fn read_gic(reply: &Value) -> Result<Vec<Gic>> {
    const COMMAND: &str = "query-gic-capabilities";
    array(reply, COMMAND)?
        .iter()
        .map(|one| {
            Ok(Gic {
                version: number(one, "version", COMMAND)?,
                kernel: boolean(one, "kernel", COMMAND)?,
                emulated: boolean(one, "emulated", COMMAND)?,
            })
        })
        .collect()
}

fn read_sev(reply: &Value) -> Result<Sev> {
    const COMMAND: &str = "query-sev-capabilities";
    Ok(Sev {
        cbitpos: number(reply, "cbitpos", COMMAND)?,
        reduced_phys_bits: number(reply, "reduced-phys-bits", COMMAND)?,
        pdh: string(reply, "pdh", COMMAND)?,
        cert_chain: string(reply, "cert-chain", COMMAND)?,
        cpu0_id: optional_string(reply, "cpu0-id", COMMAND)?,
    })
}

/// `None` for a QEMU before 7.0, which does not tell the sections.
fn read_sgx(reply: &Value) -> Result<Option<Sgx>> {
    const COMMAND: &str = "query-sgx-capabilities";
    let mut sgx = Sgx {
        flc: boolean(reply, "flc", COMMAND)?,
        sgx1: boolean(reply, "sgx1", COMMAND)?,
        sgx2: boolean(reply, "sgx2", COMMAND)?,
        ..Sgx::default()
    };
    let Some(sections) = reply.get("sections").and_then(Value::as_array) else {
        return Ok(None);
    };
    for section in sections {
        let size = number::<u64>(section, "size", COMMAND)? / 1024;
        sgx.sections.push((number(section, "node", COMMAND)?, size));
    }
    sgx.section_size = match reply.get("section-size") {
        Some(_) => number::<u64>(reply, "section-size", COMMAND)? / 1024,
        None => sgx
            .sections
            .iter()
            .fold(0, |sum, (_, size)| sum.saturating_add(*size)),
    };
    Ok(Some(sgx))
}

/// How far a model is expanded.
#[derive(Clone, Copy, PartialEq)]
enum Expansion {
    Static,
    /// The result of a static expansion, expanded once more: every spelling of every feature.
    StaticFull,
    Full,
}

fn probe_host_cpu(caps: &mut QemuCaps, accel: Accel, ask_host: bool, peer: &mut dyn QmpPeer) -> Result<()> {
    if !caps.has(Flag::QueryCpuModelExpansion) {
        return Ok(());
    }
    let arch = caps.arch.unwrap_or(Arch::X86_64);
    let model = if ask_host { "host" } else { "max" };
    let expansion = if arch.is_x86() && !caps.has(Flag::CanonicalCpuFeatures) {
        Expansion::StaticFull
    } else if arch.is_arm() {
        Expansion::Full
    } else {
        Expansion::Static
    };
    // Old s390x models have no features to report.
    let needs_properties = !arch.is_s390();
    let mut info = expand(peer, expansion, model, &[], needs_properties)?;

    if let Some(info) = info.as_mut().filter(|_| arch.is_x86()) {
        let all = [("migratable", false)];
        if let Some(not_migratable) = expand(peer, expansion, model, &all, needs_properties)? {
            mark_migratability(info, &not_migratable);
        }
    }
    if caps.has(Flag::QueryCpuModelExpansionDeprecatedProps) {
        let full = expand(peer, Expansion::Full, model, &[], false)?;
        if let (Some(info), Some(full)) = (info.as_mut(), full)
            && !full.deprecated.is_empty()
        {
            info.deprecated = full.deprecated;
        }
    }
    if ask_host && (arch.is_x86() || arch.is_arm()) {
        let everything = [("migratable", false), ("hv-passthrough", true)];
        caps.hyperv = expand(peer, Expansion::Full, model, &everything, true)?
            .as_ref()
            .and_then(hyperv_features);
    }
    caps.accel_mut(accel).host_cpu = info;
    Ok(())
}

fn expand(
    peer: &mut dyn QmpPeer,
    expansion: Expansion,
    model: &str,
    switches: &[(&str, bool)],
    needs_properties: bool,
) -> Result<Option<CpuModelInfo>> {
    const COMMAND: &str = "query-cpu-model-expansion";
    let mut description = serde_json::Map::new();
    description.insert("name".into(), model.into());
    if !switches.is_empty() {
        let properties: serde_json::Map<String, Value> = switches
            .iter()
            .map(|(name, on)| ((*name).to_owned(), Value::Bool(*on)))
            .collect();
        description.insert("props".into(), properties.into());
    }
    let mut ask = |how: &str, what: Value| {
        let question = Command::new(COMMAND).with("type", how).with("model", what);
        // The command exists for every target, and refuses where it is not implemented.
        Answers::ask(peer, [question])?.unless("GenericError")
    };
    let first = if expansion == Expansion::Full {
        "full"
    } else {
        "static"
    };
    let Some(mut reply) = ask(first, description.into())? else {
        return Ok(None);
    };
    if expansion == Expansion::StaticFull {
        let expanded = reply.get("model").cloned().ok_or_else(|| bad(COMMAND, "model"))?;
        let Some(full) = ask("full", expanded)? else {
            return Ok(None);
        };
        reply = full;
    }

    let model = reply.get("model").ok_or_else(|| bad(COMMAND, "model"))?;
    let mut info = CpuModelInfo {
        name: string(model, "name", COMMAND)?,
        ..CpuModelInfo::default()
    };
    match model.get("props").and_then(Value::as_object) {
        Some(properties) => {
            for (name, value) in properties {
                let value = match value {
                    Value::Bool(on) => CpuValue::Bool(*on),
                    Value::String(text) => CpuValue::String(text.clone()),
                    Value::Number(number) => match number.as_i64() {
                        Some(number) => CpuValue::Number(number),
                        None => continue,
                    },
                    _ => continue,
                };
                info.properties.push(CpuProperty {
                    name: name.clone(),
                    value,
                    migratable: None,
                });
            }
        }
        None if needs_properties => return Err(bad(COMMAND, "props")),
        None => {}
    }
    if let Some(deprecated) = reply.get("deprecated-props").and_then(Value::as_array) {
        for name in deprecated {
            let name = name.as_str().ok_or_else(|| bad(COMMAND, "deprecated-props"))?;
            info.deprecated.push(name.to_owned());
        }
    }
    Ok(Some(info))
}

/// A feature that is on only when migratability is waived exists, and does not migrate.
fn mark_migratability(info: &mut CpuModelInfo, not_migratable: &CpuModelInfo) {
    let waived: std::collections::HashMap<&str, bool> = not_migratable
        .properties
        .iter()
        .filter_map(|property| match property.value {
            CpuValue::Bool(on) => Some((property.name.as_str(), on)),
            _ => None,
        })
        .collect();
    for property in &mut info.properties {
        let (CpuValue::Bool(on), Some(waived)) = (&mut property.value, waived.get(property.name.as_str()))
        else {
            continue;
        };
        if *on {
            property.migratable = Some(true);
        } else if *waived {
            *on = true;
            property.migratable = Some(false);
        }
    }
    info.migratability = true;
}

fn hyperv_features(full: &CpuModelInfo) -> Option<Vec<String>> {
    let on: HashSet<String> = full
        .properties
        .iter()
        .filter(|property| match &property.value {
            CpuValue::Bool(on) => *on,
            CpuValue::Number(number) => *number > 0,
            CpuValue::String(_) => true,
        })
        .filter_map(|property| property.name.strip_prefix("hv-"))
        .flat_map(|name| [name.to_owned(), name.replace('-', "_")])
        .collect();
    let found: Vec<String> = HYPERV_FEATURES
        .iter()
        .filter(|name| on.contains(**name))
        .map(|name| (*name).to_owned())
        .collect();
    // A QEMU that does not expand these is told from one that has none by there being not even one.
    (!found.is_empty()).then_some(found)
}
