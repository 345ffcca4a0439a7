//! The capabilities document: this machine, and the guests that its binaries can run.

use std::path::PathBuf;
use std::sync::Arc;

use virt_conf::capabilities::{
    Capabilities, Cell, CellCpu, CpuPlace, Guest, GuestFeature, GuestPrograms, Host, Machine, Migration,
    SecurityModel,
};
use virt_conf::cpu::HostCpu;
use virt_conf::cpu_models::{self, CpuData, Reading};
use virt_util::Result;
use virt_util::arch::Arch;
use virt_util::host::Host as ThisMachine;

use crate::capabilities::domain_document::SevGuests;
use crate::capabilities::host_model::HostProcessor;
use crate::capabilities::{Accel, QemuCaps};

/// The document for `machine`, whose binaries are given with the architecture of their guests.
///
/// # Errors
/// What hinders reading `/sys`.
pub fn capabilities(
    machine: &ThisMachine,
    arch: Arch,
    binaries: &[(Arch, PathBuf, Arc<QemuCaps>)],
) -> Result<Capabilities> {
    let uuid = machine
        .firmware_uuid()
        .and_then(|text| virt_util::uuid::parse(&text).ok());
    let mut page_sizes = vec![virt_util::sys::memory::page_size() / 1024];
    page_sizes.extend(machine.huge_page_sizes()?);
    let cells = machine
        .numa_cells()?
        .into_iter()
        .map(|cell| Cell {
            id: cell.id,
            memory: cell.memory_kib,
            pages: cell
                .pages
                .iter()
                .map(|pages| (pages.size_kib, pages.total))
                .collect(),
            distances: cell.distances,
            cpus: cell
                .cpus
                .into_iter()
                .map(|cpu| CellCpu {
                    id: cpu.id,
                    place: Some(CpuPlace {
                        socket: cpu.socket,
                        die: cpu.die,
                        cluster: cpu.cluster,
                        core: cpu.core,
                        siblings: cpu.siblings,
                    }),
                })
                .collect(),
        })
        .collect();
    Ok(Capabilities {
        host: Host {
            uuid,
            arch: arch.name().to_owned(),
            page_sizes,
            iommu: machine.has_iommu(),
            migration: Some(Migration {
                live: true,
                transports: vec!["tcp".to_owned(), "rdma".to_owned()],
            }),
            cells: Some(cells),
            security_models: vec![SecurityModel {
                model: "none".to_owned(),
                doi: "0".to_owned(),
                base_labels: Vec::new(),
            }],
            ..Host::default()
        },
        guests: binaries
            .iter()
            .map(|(arch, path, caps)| guest(*arch, path, caps))
            .collect(),
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
