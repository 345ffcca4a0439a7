//! Questions about CPUs: comparing them with this host's, and what several have in common.

use virt_conf::cpu::{Cpu, CpuDocument, CpuFallback, CpuMaxPhysAddr, CpuMaxPhysAddrMode};
use virt_conf::cpu_models::{self, Comparison};
use virt_util::arch::Arch;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use super::error;
use crate::capabilities::host_model::{HostProcessor, drop_ignored};
use crate::capabilities::{Accel, QemuCaps, cpu_feature_from_qemu};

/// What documents of CPUs are called in errors.
const NAME: &str = "(CPU_definition)";

/// One emulator, and the guests that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Emulator<'a> {
    /// Its path.
    pub path: &'a str,
    /// What it can do.
    pub caps: &'a QemuCaps,
    /// Architecture of the guests.
    pub arch: Arch,
    /// Who executes them.
    pub accel: Accel,
}

/// Reads a document of a CPU; `validate` refuses names that nobody knows.
///
/// # Errors
/// As [`CpuDocument::parse`]; `XML_INVALID_SCHEMA`.
pub fn read(source: &str, validate: bool) -> Result<CpuDocument> {
    if validate {
        CpuDocument::parse_valid(source, NAME)
    } else {
        CpuDocument::parse(source, NAME)
    }
}

/// The number of a comparison, or its reason as an error if the caller wants that.
///
/// # Errors
/// `CPU_INCOMPATIBLE`.
pub fn answer(comparison: Comparison, fail_incompatible: bool) -> Result<i32> {
    if fail_incompatible {
        return comparison.or_fail().map(|comparison| comparison.number());
    }
    Ok(comparison.number())
}

/// Compares a CPU with what guests of an emulator can have on this host.
///
/// # Errors
/// `OPERATION_UNSUPPORTED` if the emulator does not tell; as [`QemuCaps::check_cpu`].
pub fn compare_with_hypervisor(
    emulator: &Emulator<'_>,
    host_arch: Arch,
    processor: &HostProcessor,
    cpu: &CpuDocument,
) -> Result<Comparison> {
    let Emulator {
        path,
        caps,
        arch,
        accel,
    } = *emulator;
    let host = caps
        .host_models(host_arch, processor, accel)
        .filter(|host| host.reported.fallback() == CpuFallback::Forbid);
    let Some(host) = host else {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!(
                "emulator '{path}' does not tell its CPU for guests of type '{}'",
                accel.domain_type()
            ),
        ));
    };
    if !arch.is_x86() {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!("the emulator's CPU is compared on x86 only, not on {arch}"),
        ));
    }
    caps.check_cpu(arch, accel, Some(&host), Some(&host.reported), cpu)
}

/// What hosts' CPUs have in common, as a document. `expand`: with all features spelled out; `migratable`: without those
/// that tie a guest to its host.
///
/// # Errors
/// As [`cpu_models::baseline`].
pub fn baseline(sources: &[String], expand: bool, migratable: bool) -> Result<String> {
    let cpus = CpuDocument::parse_hosts(sources, NAME)?;
    let arch = cpus.first().and_then(CpuDocument::arch);
    let mut cpu = cpu_models::baseline(None, &cpus, None, None, migratable)?;
    if let Some(arch) = arch {
        drop_ignored(arch, &mut cpu);
        if expand {
            cpu_models::expand(arch, &mut cpu)?;
        }
    }
    Ok(document(&cpu))
}

/// What CPUs have in common that guests of an emulator can have.
///
/// # Errors
/// `OPERATION_UNSUPPORTED` if the emulator does not tell models; as [`cpu_models::baseline`].
pub fn baseline_of_hypervisor(
    emulator: &Emulator<'_>,
    sources: &[String],
    expand: bool,
    migratable: bool,
) -> Result<String> {
    let Emulator {
        path,
        caps,
        arch,
        accel,
    } = *emulator;
    let cpus = CpuDocument::parse_all(sources, NAME)?;
    let models = caps.accel(accel).hypervisor_models();
    let Some(models) = models.filter(|models| !models.is_empty()) else {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!(
                "emulator '{path}' has no CPU models for guests of type '{}'",
                accel.domain_type()
            ),
        ));
    };
    if !arch.is_x86() {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!("a baseline of the emulator's CPUs is made on x86 only, not on {arch}"),
        ));
    }
    let info = caps.accel(accel).host_cpu.as_ref();
    let allowed: Option<Vec<&str>> = info.map(|info| {
        info.properties
            .iter()
            .filter(|property| !(migratable && property.migratable == Some(false)))
            .map(|property| cpu_feature_from_qemu(arch, &property.name))
            .collect()
    });
    // What QEMU tells of migration is better than what the catalogue knows.
    let filter = migratable && !info.is_some_and(|info| info.migratability);
    let mut cpu = cpu_models::baseline(Some(arch), &cpus, Some(&models), allowed.as_deref(), filter)?;
    cpu.set_fallback(CpuFallback::Forbid);
    if expand {
        cpu_models::expand(arch, &mut cpu)?;
    }
    cpu.max_phys_addr = smallest_address(&cpus);
    Ok(document(&cpu))
}

/// The smallest limit of physical addresses among the CPUs that come behind the last one without a limit.
fn smallest_address(cpus: &[CpuDocument]) -> Option<CpuMaxPhysAddr> {
    let limits = cpus.iter().map(|cpu| {
        let cpu = cpu.to_guest();
        cpu.max_phys_addr.and_then(|size| size.limit).unwrap_or(0)
    });
    let mut least = 0;
    for (index, limit) in limits.enumerate() {
        if limit == 0 || index == 0 || limit < least {
            least = limit;
        }
    }
    (least > 0).then_some(CpuMaxPhysAddr {
        mode: CpuMaxPhysAddrMode::Passthrough,
        bits: None,
        limit: Some(least),
    })
}

fn document(cpu: &Cpu) -> String {
    virt_util::xml::to_string(cpu, XmlFlags::empty())
}
