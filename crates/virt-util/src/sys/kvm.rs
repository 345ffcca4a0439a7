//! Questions to the KVM kernel module.
#![allow(unsafe_code, reason = "ioctl has no safe wrapper")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::Result;
use crate::error::SystemResult;

/// `KVM_CHECK_EXTENSION`: the same number on every architecture that Linux has KVM for but POWER and MIPS.
const CHECK_EXTENSION: u64 = if cfg!(any(target_arch = "powerpc64", target_arch = "mips64")) {
    0x2000_ae03
} else {
    0xae03
};

/// Virtual CPUs that the kernel recommends as a maximum.
pub const CAP_NR_VCPUS: u32 = 9;
/// Virtual CPUs that a guest may have at most.
pub const CAP_MAX_VCPUS: u32 = 66;
/// POWER: threads in a subcore.
pub const CAP_PPC_SMT: u32 = 64;

/// What the module behind `device` (`/dev/kvm`) answers for a capability: 0 is "no".
pub fn check_extension(device: &Path, capability: u32) -> Result<u32> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .or_system(|| format!("cannot open '{}'", device.display()))?;
    // SAFETY: the request takes an integer and returns one; the descriptor is open during the call.
    let answer = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            CHECK_EXTENSION as _,
            libc::c_ulong::from(capability),
        )
    };
    let answer =
        nix::errno::Errno::result(answer).or_system(|| format!("'{}' does not answer", device.display()))?;
    Ok(u32::try_from(answer).unwrap_or(0))
}
