//! Tap devices: network interfaces whose other end is a descriptor.
#![allow(unsafe_code, reason = "ioctl has no safe wrapper")]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use crate::error::SystemResult;
use crate::{Result, VirtError};

/// The device that taps are made with.
pub const DEVICE: &str = "/dev/net/tun";

/// `TUNSETIFF`, `TUNSETPERSIST`.
const SET_INTERFACE: u64 = 0x4004_54ca;
const SET_PERSISTENT: u64 = 0x4004_54cb;

/// The longest name of an interface.
pub const NAME_MAX: usize = 15;

/// What kind of tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapShape {
    /// Descriptors, one for each queue.
    pub queues: u32,
    /// Packets carry a header about checksums and segments.
    pub vnet_header: bool,
}

/// Opens the tap `name` through `device`, and makes it if there is none: such a one goes with its last descriptor.
///
/// # Errors
/// `SYSTEM_ERROR`: EPERM without the right to configure networks, EINVAL for an interface that is no tap or has
/// another shape, EBUSY for one that somebody has.
pub fn open(device: &Path, name: &str, shape: TapShape) -> Result<Vec<OwnedFd>> {
    (0..shape.queues.max(1))
        .map(|_| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(device)
                .or_system(|| {
                    format!(
                        "cannot open {}: the kernel's module tun may not be loaded",
                        device.display()
                    )
                })?;
            set_interface(&file, name, shape)?;
            Ok(OwnedFd::from(file))
        })
        .collect()
}

/// Lets a tap go with its last descriptor.
///
/// # Errors
/// As [`open`].
pub fn make_transient(fd: &OwnedFd, name: &str) -> Result<()> {
    // SAFETY: the request takes an integer; the descriptor is open during the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), SET_PERSISTENT as _, libc::c_ulong::from(0_u8)) };
    Errno::result(done)
        .map(drop)
        .or_system(|| format!("cannot let tap device '{name}' go with its user"))
}

fn set_interface(file: &File, name: &str, shape: TapShape) -> Result<()> {
    if name.len() > NAME_MAX || name.is_empty() {
        return Err(VirtError::system(
            libc::ERANGE,
            format_args!("'{name}' is no name of a network device: expected 1 to {NAME_MAX} characters"),
        ));
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if shape.queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    if shape.vnet_header {
        flags |= libc::IFF_VNET_HDR;
    }
    // SAFETY: an all-zero request is a valid one: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    // The flags are 16 bits with a sign in the kernel's structure.
    request.ifr_ifru.ifru_flags = flags as i16;
    // SAFETY: the request is complete, ends its name with a zero byte, and lives during the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE as _, &raw mut request) };
    Errno::result(done)
        .map(drop)
        .or_system(|| format!("cannot make tap device '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_limit() {
        let shape = TapShape {
            queues: 1,
            vnet_header: false,
        };
        // The device is opened first: where there is none, that is the error.
        let error = open(Path::new("/dev/null"), "sixteen-letters-", shape).unwrap_err();
        assert!(error.message().contains("sixteen-letters-"), "{error}");
    }
}
