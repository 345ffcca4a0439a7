//! Descriptors that this process was started with and that the user names by number.
#![allow(unsafe_code, reason = "turns a number into a descriptor")]

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::{Result, VirtError};

/// A duplicate of the descriptor `number`, closed on exec. An error if there is none.
pub fn inherited_fd(number: i32) -> Result<OwnedFd> {
    // SAFETY: fcntl reads nothing but its arguments; a number that is no descriptor is answered with EBADF.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    match Errno::result(duplicate) {
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(errno) => Err(VirtError::system(
            errno as i32,
            format_args!("cannot use file descriptor {number}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_number_that_is_open_is_duplicated() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        let mut twin = std::fs::File::from(inherited_fd(file.as_raw_fd()).unwrap());
        twin.rewind().unwrap();
        let mut text = String::new();
        twin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert_eq!(inherited_fd(-1).unwrap_err().int1(), libc::EBADF);
    }
}
