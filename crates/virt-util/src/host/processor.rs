//! The processor we run on, asked itself: what it says of its features, and what KVM says of it.
//!
//! Only the real machine can be asked: for a tree captured elsewhere there are no answers.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Host;
use crate::sys::kvm;
use crate::{Result, VirtError};

/// An answer of the CPUID instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidLeaf {
    /// What was in eax.
    pub leaf: u32,
    /// What was in ecx.
    pub subleaf: u32,
    /// eax, ebx, ecx, edx afterwards.
    pub registers: [u32; 4],
}

/// The counter of an x86 processor's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscInfo {
    /// Counts in a second.
    pub frequency: u64,
    /// Whether guests can be shown another frequency.
    pub scaling: bool,
}

/// Leaves beyond this are not asked for, whatever the processor says: none has so many.
const MOST_LEAVES: u32 = 0x100;

impl Host {
    fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// What an x86 processor says about itself: all ordinary and extended leaves; of the leaf about features (7) also its
    /// subleaves, and of the one about saved state (13) the first. Empty on other processors.
    pub fn cpuid(&self) -> Vec<CpuidLeaf> {
        if !self.is_here() {
            return Vec::new();
        }
        let mut leaves = Vec::new();
        for base in [0, 0x8000_0000] {
            let Some([last, ..]) = ask(base, 0) else {
                return leaves;
            };
            for leaf in base..=last.min(base + MOST_LEAVES) {
                let Some(registers) = ask(leaf, 0) else { continue };
                leaves.push(CpuidLeaf {
                    leaf,
                    subleaf: 0,
                    registers,
                });
                let [most, ..] = registers;
                let last = match leaf {
                    7 | 0x14 => most.min(MOST_LEAVES),
                    0xd => 1,
                    _ => 0,
                };
                for subleaf in 1..=last {
                    leaves.extend(ask(leaf, subleaf).map(|registers| CpuidLeaf {
                        leaf,
                        subleaf,
                        registers,
                    }));
                }
            }
        }
        leaves
    }

    /// A model specific register, read from the processor if we may, else as KVM tells it.
    pub fn msr(&self, index: u32) -> Option<u64> {
        if !self.is_here() {
            return None;
        }
        if let Ok(file) = std::fs::File::open("/dev/cpu/0/msr") {
            let mut bytes = [0; 8];
            match file.read_exact_at(&mut bytes, u64::from(index)) {
                Ok(()) => return Some(u64::from_le_bytes(bytes)),
                // The processor has no such register.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return None,
                Err(_) => {}
            }
        }
        kvm::msr(Path::new("/dev/kvm"), index)
    }

    /// The counter of the processor's clock, as KVM tells it; nothing if it does not.
    pub fn tsc(&self) -> Option<TscInfo> {
        let device = self.root.join("dev/kvm");
        if !self.is_here() {
            return None;
        }
        let khz = kvm::tsc_khz(&device).ok()?;
        let scaling = kvm::check_extension(&device, kvm::CAP_TSC_CONTROL).ok()?;
        Some(TscInfo {
            frequency: u64::from(khz) * 1000,
            scaling: scaling != 0,
        })
    }

    /// The most virtual CPUs that KVM gives a guest.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if there is no KVM, or we may not use it.
    pub fn kvm_max_vcpus(&self) -> Result<u32> {
        let device = self.root.join("dev/kvm");
        for capability in [kvm::CAP_MAX_VCPUS, kvm::CAP_NR_VCPUS] {
            match kvm::check_extension(&device, capability)? {
                0 => {}
                most => return Ok(most),
            }
        }
        // What the kernel documents for modules that do not say.
        Ok(4)
    }

    /// The bits by which the kernel tells programs what the processor can do (`AT_HWCAP`); 0 if it does not.
    pub fn hardware_capabilities(&self) -> u64 {
        const HWCAP: u64 = 16;
        let bytes = std::fs::read(self.proc_path("self/auxv")).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        bytes
            .chunks_exact(16)
            .map(|pair| pair.split_at(8))
            .find(|(kind, _)| number(kind) == HWCAP)
            .map_or(0, |(_, value)| number(value))
    }

    /// The register that identifies a 64-bit ARM processor.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for what is no number.
    pub fn arm_midr(&self) -> Result<Option<u64>> {
        let path = self.system_path("cpu/cpu0/regs/identification/midr_el1");
        let Some(text) = super::read_text(&path)? else {
            return Ok(None);
        };
        let digits = text.trim().trim_start_matches("0x");
        let number = u64::from_str_radix(digits, 16);
        number.map(Some).map_err(|_| {
            VirtError::internal(format_args!(
                "'{digits}' in file '{}' is not a number",
                path.display()
            ))
        })
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn ask(leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let answer = raw_cpuid::native_cpuid::cpuid_count(leaf, subleaf);
    Some([answer.eax, answer.ebx, answer.ecx, answer.edx])
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn ask(_leaf: u32, _subleaf: u32) -> Option<[u32; 4]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machine_itself_answers() {
        let leaves = Host::system().cpuid();
        assert_eq!(
            leaves.is_empty(),
            !cfg!(any(target_arch = "x86", target_arch = "x86_64"))
        );
        assert!(
            leaves
                .windows(2)
                .all(|pair| (pair[0].leaf, pair[0].subleaf) < (pair[1].leaf, pair[1].subleaf))
        );
        assert!(Host::at("/nowhere").cpuid().is_empty());
        assert!(Host::at("/nowhere").tsc().is_none() && Host::at("/nowhere").msr(0x10a).is_none());
    }
}
