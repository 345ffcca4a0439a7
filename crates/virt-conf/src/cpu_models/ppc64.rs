//! Models of 64-bit POWER processors: a generation each, without features; compared by name.
//!
//! Lines of `tables/ppc64.txt`: `vendor NAME`, `model NAME VENDOR VERSION/MASK …`, where a processor is of the model if its
//! version register has VERSION under MASK.

use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Comparison, named, unknown_model};
use crate::cpu::{Cpu, CpuDocument, CpuFallback, CpuMode, HostCpu};

static TABLE: &str = include_str!("tables/ppc64.txt");

/// Names of single processors that stand for their generation.
const LEGACY: [&str; 4] = ["POWER7_v2.1", "POWER7_v2.3", "POWER7+_v2.1", "POWER8_v1.0"];

fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut words = line.strip_prefix("model ")?.split(' ');
        Some((words.next()?, words.next()?))
    })
}

fn find(name: &str) -> Option<(&'static str, &'static str)> {
    table().find(|(known, _)| *known == name)
}

/// The CPU of a host whose version register is `version`.
pub(super) fn host_cpu(version: u32) -> Result<HostCpu> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let is = |line: &str| {
        line.split(' ').skip(3).any(|pattern| {
            let pattern = pattern.split_once('/');
            pattern.is_some_and(|(value, mask)| number(mask).map(|mask| version & mask) == number(value))
        })
    };
    let line = TABLE.lines().find(|line| line.starts_with("model ") && is(line));
    let mut words = line.unwrap_or_default().split(' ').skip(1).map(str::to_owned);
    match (words.next(), words.next()) {
        (Some(model), Some(vendor)) => Ok(HostCpu {
            model: Some(model),
            vendor: Some(vendor),
            ..HostCpu::default()
        }),
        _ => Err(VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!("no POWER processor is known by version 0x{version:08x}"),
        )),
    }
}

pub(super) fn models() -> Vec<&'static str> {
    table().map(|(name, _)| name).collect()
}

pub(super) fn vendor_of(model: &str) -> Option<&'static str> {
    find(model).map(|(_, vendor)| vendor)
}

pub(super) fn convert_legacy(cpu: &mut Cpu) {
    let generation = cpu
        .model_name()
        .filter(|name| LEGACY.contains(name))
        .and_then(|name| name.get(.."POWERx".len()))
        .map(str::to_owned);
    if let Some(name) = generation {
        cpu.set_model_name(&name);
    }
}

pub(super) fn compare(host: &CpuDocument, other: &CpuDocument) -> Result<Comparison> {
    let mut cpu = other.to_guest();
    convert_legacy(&mut cpu);
    if let Some(arch) = other
        .arch()
        .filter(|arch| !matches!(arch, Arch::Ppc64 | Arch::Ppc64le))
    {
        return Ok(Comparison::Incompatible(format!(
            "the CPU is of architecture {arch}, and the host's is POWER"
        )));
    }
    let host = host.to_guest();
    if cpu.vendor.is_some() && cpu.vendor != host.vendor {
        return Ok(Comparison::Incompatible(format!(
            "the guest's CPU is of vendor {}, and the host's is another",
            cpu.vendor.unwrap_or_default()
        )));
    }
    let host_name = host.model_name().unwrap_or_default();
    let (host_model, _) = find(host_name).ok_or_else(|| unknown_model(host_name))?;
    match other.mode() {
        Some(CpuMode::HostModel) => {
            if let Some(wanted) = cpu.model_name() {
                return compatible(host_name, wanted);
            }
            return Ok(Comparison::Identical);
        }
        Some(CpuMode::HostPassthrough | CpuMode::Maximum) => return Ok(Comparison::Identical),
        Some(CpuMode::Custom) | None => {}
    }
    let name = cpu
        .model_name()
        .ok_or_else(|| VirtError::invalid_arg("the CPU has no <model>"))?;
    let (model, _) = find(name).ok_or_else(|| unknown_model(name))?;
    Ok(if model == host_model {
        Comparison::Identical
    } else {
        Comparison::Incompatible(format!(
            "the guest's CPU is of model {model}, and the host's of {host_model}"
        ))
    })
}

/// Whether a host can show its guests an older generation.
fn compatible(host: &str, wanted: &str) -> Result<Comparison> {
    let generation = |name: &str, prefix: &str| {
        name.strip_prefix(prefix)
            .and_then(|number| number.parse::<u32>().ok())
            .filter(|number| (6..=10).contains(number))
    };
    let host = generation(host, "POWER")
        .ok_or_else(|| VirtError::internal("the host's CPU has no modes of earlier ones"))?;
    let number = generation(wanted, "power").ok_or_else(|| {
        VirtError::internal(format_args!(
            "'{wanted}' is no mode of an earlier CPU: expected power6 to power10"
        ))
    })?;
    Ok(if number > host {
        Comparison::Incompatible(format!("the host CPU is older than {wanted}"))
    } else {
        Comparison::Identical
    })
}

pub(super) fn baseline(cpus: &[Cpu]) -> Result<Cpu> {
    let failed = |what: std::fmt::Arguments<'_>| VirtError::new(ErrorCode::OPERATION_FAILED, what);
    let name = cpus.first().and_then(Cpu::model_name).unwrap_or_default();
    let (model, maker) = find(name).ok_or_else(|| unknown_model(name))?;
    for cpu in cpus {
        if cpu.model_name() != Some(model) {
            return Err(failed(format_args!("CPUs are incompatible")));
        }
        let Some(vendor) = cpu.vendor.as_deref() else {
            continue;
        };
        if !TABLE
            .lines()
            .any(|line| line.strip_prefix("vendor ") == Some(vendor))
        {
            return Err(failed(format_args!(
                "no maker of POWER processors is named '{vendor}'"
            )));
        }
        if vendor != maker {
            return Err(failed(format_args!(
                "vendor {maker} makes model {model}, not vendor {vendor}"
            )));
        }
    }
    // The model tells who made it.
    Ok(Cpu {
        model: Some(named(model, CpuFallback::Forbid)),
        ..Cpu::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_known_by_their_version() {
        assert_eq!(host_cpu(0x004b_0201).unwrap().model.as_deref(), Some("POWER8"));
        assert!(host_cpu(0x1234_5678).is_err());
    }
}
