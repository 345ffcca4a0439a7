//! Models of ARM processors: known by name and part number, compared by name.
//!
//! Lines of `tables/arm.txt`: `vendor NAME NUMBER`, `feature NAME`, `model PART VENDOR NAME`.

use std::collections::HashSet;
use std::sync::LazyLock;

use virt_util::{ErrorCode, Result, VirtError};

use super::Comparison;
use crate::cpu::{Cpu, HostCpu, HostCpuFeature};

static TABLE: &str = include_str!("tables/arm.txt");

static FEATURES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("feature "))
        .collect()
});

/// Names of the bits of the kernel's `AT_HWCAP` on 64-bit ARM, from the lowest.
const HWCAP: [&str; 32] = [
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid",
    "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve",
    "asimdfhm", "dit", "uscat", "ilrcpc", "flagm", "ssbs", "sb", "paca", "pacg",
];

/// The CPU of a host whose register `MIDR_EL1` is `midr` and whose kernel says `hwcap`.
pub(super) fn host_cpu(midr: u64, hwcap: u64) -> Result<HostCpu> {
    let (implementer, part) = ((midr >> 24) as u32 & 0xff, (midr >> 4) as u32 & 0xfff);
    let failed = |what: std::fmt::Arguments<'_>| VirtError::new(ErrorCode::OPERATION_FAILED, what);
    let (vendor, model) = identify(implementer, part);
    let model = model.ok_or_else(|| {
        failed(format_args!(
            "no ARM processor is known by part 0x{part:03x} of implementer 0x{implementer:02x}"
        ))
    })?;
    if implementer != 0 && vendor.is_none() {
        return Err(failed(format_args!(
            "no maker of ARM processors is known by implementer 0x{implementer:02x}"
        )));
    }
    Ok(HostCpu {
        model: Some(model.to_owned()),
        vendor: vendor.map(str::to_owned),
        features: (0..)
            .zip(HWCAP)
            .filter(|(bit, _)| hwcap & (1 << bit) != 0)
            .map(|(_, name)| HostCpuFeature {
                name: name.to_owned(),
            })
            .collect(),
        ..HostCpu::default()
    })
}

/// A vendor and a model by the numbers in the register that identifies the processor; nothing for unknown ones.
fn identify(implementer: u32, part: u32) -> (Option<&'static str>, Option<&'static str>) {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let vendor = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("vendor ")?.split_once(' '))
        .find(|(_, value)| number(value) == Some(implementer))
        .map(|(name, _)| name);
    let model = TABLE
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("model ")?.splitn(3, ' ');
            Some((words.next()?, words.nth(1)?))
        })
        .find(|(value, _)| number(value) == Some(part))
        .map(|(_, name)| name);
    (vendor, model)
}

pub(super) fn knows_feature(name: &str) -> bool {
    FEATURES.contains(name)
}

pub(super) fn compare(host: &Cpu, cpu: &Cpu) -> Comparison {
    if host.vendor == cpu.vendor && host.model_name() == cpu.model_name() {
        return Comparison::Identical;
    }
    let (vendor, model) = (cpu.vendor.as_deref(), cpu.model_name());
    Comparison::Incompatible(format!(
        "the guest's CPU is of vendor {}, model {}, and the host's is another",
        vendor.unwrap_or("<null>"),
        model.unwrap_or("<null>")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_known_by_number() {
        assert_eq!(identify(0x41, 0xd08), (Some("ARM"), Some("cortex-a72")));
        assert_eq!(identify(0x43, 0x0af), (Some("Cavium"), Some("ThunderX2 99xx")));
        assert_eq!(identify(0, 0), (None, None));
        let cpu = host_cpu(0x410f_d083, 0x3).unwrap();
        assert_eq!(
            (cpu.model.as_deref(), cpu.features.len()),
            (Some("cortex-a72"), 2)
        );
        assert!(host_cpu(0, 0).is_err());
        assert!(knows_feature("sve512") && !knows_feature("avx"));
    }
}
