//! The capabilities document: this machine, and the guests that its binaries can run.

use std::path::PathBuf;
use std::sync::Arc;

use virt_conf::capabilities::{
    Capabilities, Guest, GuestFeature, GuestPrograms, Host, Machine, Migration, SecurityModel,
};
use virt_conf::cpu::{
    CpuCounter, CpuDocument, CpuMaxPhysAddr, CpuMaxPhysAddrMode, CpuMicrocode, CpuTopology, HostCpu,
    HostCpuFeature,
};
use virt_conf::cpu_models::{self, CpuData, Reading};
use virt_util::Result;
use virt_util::arch::Arch;
use virt_util::command::Spawner;
use virt_util::host::Host as ThisMachine;
use virt_util::uuid::Uuid;

use super::sleep::sleep_states;
use crate::capabilities::domain_document::SevGuests;
use crate::capabilities::host_model::HostProcessor;
use crate::capabilities::{Accel, QemuCaps};

/// What does not change while we run.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The host's UUID: its firmware's, else one for the life of the process, as libvirt has it.
    pub uuid: Uuid,
    /// Its processor.
    pub processor: Arc<HostProcessor>,
    /// How deeply it can sleep.
    pub sleep_states: Vec<String>,
}

impl HostFacts {
    /// Asks `machine`, and the programs that would put it to sleep. A UUID that was `told` is the host's.
    pub fn ask(machine: &ThisMachine, arch: Arch, spawner: &dyn Spawner, told: Option<&Uuid>) -> Self {
        let firmware = || {
            machine
                .firmware_uuid()
                .and_then(|text| virt_util::uuid::parse(&text).ok())
                .filter(virt_util::uuid::is_meaningful)
        };
        Self {
            uuid: told
                .copied()
                .or_else(firmware)
                .unwrap_or_else(virt_util::uuid::generate),
            processor: Arc::new(processor(machine, arch)),
            sleep_states: sleep_states(spawner),
        }
    }
}

/// The document for `machine`, whose binaries are given with the architecture of their guests.
///
/// # Errors
/// What hinders reading `/sys`.
pub fn capabilities(
    machine: &ThisMachine,
    arch: Arch,
    facts: &HostFacts,
    binaries: &[(Arch, PathBuf, Arc<QemuCaps>)],
) -> Result<Capabilities> {
    let mut page_sizes = vec![virt_util::sys::memory::page_size() / 1024];
    page_sizes.extend(machine.huge_page_sizes()?);
    let mut host = Host {
        uuid: Some(facts.uuid),
        arch: arch.name().to_owned(),
        cpu: Some(host_cpu(machine, arch, &facts.processor)),
        page_sizes,
        power_management: facts.sleep_states.clone(),
        iommu: machine.has_iommu(),
        migration: Some(Migration {
            live: true,
            transports: vec!["tcp".to_owned(), "rdma".to_owned()],
        }),
        security_models: vec![SecurityModel {
            model: "none".to_owned(),
            doi: "0".to_owned(),
            base_labels: Vec::new(),
        }],
        ..Host::default()
    };
    memory_and_caches(&mut host, machine)?;
    Ok(Capabilities {
        host,
        guests: binaries
            .iter()
            .map(|(arch, path, caps)| guest(*arch, path, caps))
            .collect(),
    })
}

/// Tells memory nodes and caches of `machine`. Caches are left out if the kernel tells them in a way that we do not know.
///
/// # Errors
/// What hinders reading `/sys`.
pub fn memory_and_caches(host: &mut Host, machine: &ThisMachine) -> Result<()> {
    let ways = machine.memory_access().unwrap_or_else(|error| {
        tracing::warn!("how fast memory is cannot be told: {error:#}");
        Vec::new()
    });
    host.set_cells(machine.numa_cells()?, &ways);
    match machine
        .caches()
        .and_then(|caches| Ok((caches, machine.resource_control()?)))
    {
        Ok((caches, limits)) => host.set_caches(caches, &limits),
        Err(error) => tracing::warn!("caches of the host cannot be told: {error:#}"),
    }
    Ok(())
}

/// The processor, as the document tells it: without its architecture.
fn host_cpu(machine: &ThisMachine, arch: Arch, processor: &HostProcessor) -> HostCpu {
    let mut cpu = match &processor.data {
        Some(data) => {
            let mut cpu = cpu_models::host_cpu(data).unwrap_or_else(|error| {
                tracing::warn!("the model of the host's processor is not known: {error:#}");
                HostCpu::default()
            });
            cpu.microcode = machine.microcode().map(|version| CpuMicrocode { version });
            if data.has_feature("invtsc").unwrap_or(false) {
                cpu.counter = machine.tsc().map(|tsc| CpuCounter {
                    name: "tsc".to_owned(),
                    frequency: tsc.frequency,
                    scaling: Some(tsc.scaling),
                });
            }
            cpu.max_phys_addr =
                Some(processor.address_bits)
                    .filter(|bits| *bits > 0)
                    .map(|bits| CpuMaxPhysAddr {
                        mode: CpuMaxPhysAddrMode::Emulate,
                        bits: Some(bits),
                        limit: None,
                    });
            cpu
        }
        None => processor
            .cpu
            .as_ref()
            .map_or_else(HostCpu::default, |cpu| HostCpu {
                model: cpu.model_name().map(str::to_owned),
                vendor: cpu.vendor.clone(),
                features: cpu
                    .features
                    .iter()
                    .map(|feature| HostCpuFeature {
                        name: feature.name.clone(),
                    })
                    .collect(),
                ..HostCpu::default()
            }),
    };
    cpu.topology = machine.cpu_topology(arch).ok().map(|topology| CpuTopology {
        sockets: topology.sockets,
        dies: 1,
        clusters: 1,
        cores: topology.cores,
        threads: topology.threads,
    });
    cpu
}

/// The host's own processor as a document about CPUs, for comparisons.
pub fn host_cpu_document(machine: &ThisMachine, arch: Arch, processor: &HostProcessor) -> CpuDocument {
    CpuDocument::Host(HostCpu {
        arch: Some(arch.name().to_owned()),
        ..host_cpu(machine, arch, processor)
    })
}

/// What the processor of `machine` says about itself.
pub fn processor(machine: &ThisMachine, arch: Arch) -> HostProcessor {
    let address_bits = machine.physical_address_bits().unwrap_or(0);
    if arch.is_x86() {
        return HostProcessor {
            data: x86_data(machine),
            cpu: None,
            address_bits,
        };
    }
    let cpu = match arch {
        Arch::Aarch64 => arm_cpu(machine),
        _ => None,
    };
    HostProcessor {
        data: None,
        cpu: cpu.map(|cpu| cpu.to_guest()),
        address_bits: 0,
    }
}

fn arm_cpu(machine: &ThisMachine) -> Option<HostCpu> {
    let midr = machine.arm_midr().ok()??;
    let cpu = cpu_models::arm_host_cpu(midr, machine.hardware_capabilities());
    cpu.map_err(|error| tracing::debug!("{error:#}")).ok()
}

fn x86_data(machine: &ThisMachine) -> Option<CpuData> {
    let leaves = machine.cpuid();
    if leaves.is_empty() {
        return None;
    }
    let leaves = leaves.into_iter().map(|leaf| Reading::Cpuid {
        leaf: leaf.leaf,
        subleaf: leaf.subleaf,
        registers: leaf.registers,
    });
    let registers = CpuData::msr_indexes().into_iter().filter_map(|index| {
        let value = machine.msr(index)?;
        Some(Reading::Msr { index, value })
    });
    Some(CpuData::from_readings(leaves.chain(registers)))
}

/// How many guests the processor of `machine` can encrypt.
pub fn sev_guests(machine: &ThisMachine) -> SevGuests {
    let leaf = machine.cpuid().into_iter().find(|leaf| leaf.leaf == 0x8000_001f);
    leaf.map_or_else(SevGuests::default, |leaf| {
        let [_, _, ecx, edx] = leaf.registers;
        SevGuests::from_cpuid(ecx, edx)
    })
}

/// Guests of `arch` that the binary at `path` runs.
pub fn guest(arch: Arch, path: &std::path::Path, caps: &QemuCaps) -> Guest {
    // libvirt tells the machines of the accelerator that guests get unless they ask for another.
    let accel = caps.preferred_accel().unwrap_or(Accel::Tcg);
    let domains = [Accel::Tcg, Accel::Kvm, Accel::Hvf]
        .into_iter()
        .filter(|accel| caps.supports_accel(*accel))
        .map(|accel| (accel.domain_type().to_owned(), GuestPrograms::default()))
        .collect();
    let switch = |name: &str, toggle| GuestFeature::Switch {
        name: name.to_owned(),
        default: true,
        toggle,
    };
    let present = |name: &str| GuestFeature::Present(name.to_owned());
    let mut features = Vec::new();
    if arch == Arch::I686 {
        features.extend([present("pae"), present("nonpae")]);
    }
    if arch.is_x86() || arch == Arch::Aarch64 || arch.is_loongarch() {
        features.push(switch("acpi", true));
    }
    if arch.is_x86() {
        features.push(switch("apic", false));
    }
    features.extend([
        present("cpuselection"),
        present("deviceboot"),
        switch("disksnapshot", false),
        present("externalSnapshot"),
    ]);
    Guest {
        os_type: "hvm".to_owned(),
        arch: arch.name().to_owned(),
        word_size: arch.word_size(),
        common: GuestPrograms {
            emulator: Some(path.display().to_string()),
            loader: None,
            machines: machines(caps, accel),
        },
        domains,
        features,
    }
}

/// Each machine by its alias, and in front of that by its name if no other has that.
fn machines(caps: &QemuCaps, accel: Accel) -> Vec<Machine> {
    let known = &caps.accel(accel).machines;
    let mut machines = Vec::new();
    for machine in known {
        let entry = |name: &str, canonical: Option<&str>| Machine {
            name: name.to_owned(),
            canonical: canonical.map(str::to_owned),
            max_cpus: machine.max_cpus,
            deprecated: machine.deprecated,
        };
        let Some(alias) = &machine.alias else {
            machines.push(entry(&machine.name, None));
            continue;
        };
        let is_shown = known
            .iter()
            .any(|other| *other.alias.as_ref().unwrap_or(&other.name) == machine.name);
        if !is_shown {
            machines.push(entry(&machine.name, None));
        }
        machines.push(entry(alias, Some(&machine.name)));
    }
    machines
}
