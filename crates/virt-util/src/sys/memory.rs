//! Anonymous files and the page size.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{SysconfVar, sysconf};

use crate::Result;
use crate::error::SystemResult;

/// An empty file in memory that has no name in any folder; `name` shows in `/proc` only. Closed on exec.
pub fn memory_file(name: &str) -> Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)
        .or_system(|| format!("cannot make the memory file '{name}'"))?;
    Ok(File::from(fd))
}

/// A memory file that holds `content` and is positioned at its start.
pub fn memory_file_with(name: &str, content: &[u8]) -> Result<File> {
    let mut file = memory_file(name)?;
    file.write_all(content)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .or_system(|| format!("cannot fill the memory file '{name}'"))?;
    Ok(file)
}

/// Bytes in a page of memory.
pub fn page_size() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_memory_file_holds_what_was_put_in() {
        let mut text = String::new();
        memory_file_with("test", b"hello")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello");
        assert!(page_size().is_power_of_two());
    }
}
