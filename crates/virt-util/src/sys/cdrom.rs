//! CD-ROM drives of the host.
#![allow(unsafe_code, reason = "ioctl has no safe wrapper")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// `CDROM_DRIVE_STATUS`, and `CDSL_CURRENT`: the disc that is in the drive.
const DRIVE_STATUS: u64 = 0x5326;
const CURRENT_DISC: libc::c_ulong = libc::c_int::MAX as libc::c_ulong;

/// Whether `path` is a CD-ROM drive: a block device that answers as one, with a disc or without.
pub fn is_drive(path: &Path) -> bool {
    // Without waiting for a disc.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let Ok(file) = opened else { return false };
    if !file
        .metadata()
        .is_ok_and(|data| data.file_type().is_block_device())
    {
        return false;
    }
    // SAFETY: the request takes an integer and returns one; the descriptor is open during the call.
    unsafe { libc::ioctl(file.as_raw_fd(), DRIVE_STATUS as _, CURRENT_DISC) >= 0 }
}
