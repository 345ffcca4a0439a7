//! Questions to the KVM kernel module.
#![allow(unsafe_code, reason = "ioctl has no safe wrapper")]

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::Result;
use crate::error::SystemResult;

/// `KVM_CHECK_EXTENSION`: the same number on every architecture that Linux has KVM for but POWER and MIPS.
const CHECK_EXTENSION: u64 = if cfg!(any(target_arch = "powerpc64", target_arch = "mips64")) {
    0x2000_ae03
} else {
    0xae03
};

/// Requests of x86, where numbers have no direction in them unless said.
const CREATE_VM: u64 = 0xae01;
const CREATE_VCPU: u64 = 0xae41;
const GET_TSC_KHZ: u64 = 0xaea3;
/// Reads and writes a structure of 8 bytes and what follows.
const GET_MSRS: u64 = 0xc008_ae88;

/// The clock counter of guests can run at another frequency than the host's.
pub const CAP_TSC_CONTROL: u32 = 60;
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

/// The frequency of the clock counter that a virtual CPU gets, in kHz: a machine without memory is made for the question.
///
/// # Errors
/// `SYSTEM_ERROR` if the module does not make one.
pub fn tsc_khz(device: &Path) -> Result<u32> {
    let what = || {
        format!(
            "'{}' does not tell the frequency of its clock counter",
            device.display()
        )
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .or_system(|| format!("cannot open '{}'", device.display()))?;
    let ask = |fd: i32, request: u64| {
        // SAFETY: these requests take an integer and return one; the descriptor is open during the call.
        let answer = unsafe { libc::ioctl(fd, request as _, libc::c_ulong::from(0_u8)) };
        nix::errno::Errno::result(answer).or_system(what)
    };
    // SAFETY: the request returned a new descriptor, which nobody else knows.
    let machine = unsafe { OwnedFd::from_raw_fd(ask(file.as_raw_fd(), CREATE_VM)?) };
    // SAFETY: as above.
    let cpu = unsafe { OwnedFd::from_raw_fd(ask(machine.as_raw_fd(), CREATE_VCPU)?) };
    ask(cpu.as_raw_fd(), GET_TSC_KHZ).map(|khz| u32::try_from(khz).unwrap_or(0))
}

/// A model specific register as the module knows it; `None` if it does not.
pub fn msr(device: &Path, index: u32) -> Option<u64> {
    #[repr(C)]
    struct OneMsr {
        count: u32,
        pad: u32,
        index: u32,
        reserved: u32,
        data: u64,
    }
    let file = OpenOptions::new().read(true).write(true).open(device).ok()?;
    let mut request = OneMsr {
        count: 1,
        pad: 0,
        index,
        reserved: 0,
        data: 0,
    };
    // SAFETY: the structure is a `kvm_msrs` with room for the one entry that it announces, and lives during the call.
    let read = unsafe { libc::ioctl(file.as_raw_fd(), GET_MSRS as _, &raw mut request) };
    (read >= 0).then_some(request.data)
}
