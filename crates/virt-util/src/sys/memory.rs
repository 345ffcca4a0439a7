//! Anonymous files, the page size, and memory that is given back.
#![allow(
    unsafe_code,
    reason = "the C library and the kernel are told about memory by its address"
)]

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

/// Gives back what only the start of a process needed: memory that was freed, and the pages of programs and libraries
/// that were looked at and can be read again from their files. What is needed again comes back by itself, page by page.
pub fn give_back() {
    // SAFETY: the callback gets what it expects and keeps nothing.
    unsafe { libc::dl_iterate_phdr(Some(give_back_segments), std::ptr::null_mut()) };
    // SAFETY: it takes a number and may be called at any time, by any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the segments of one loaded file that are never written to. Those that hold addresses, which the loader
/// has written, are not among them.
#[allow(clippy::unnecessary_cast, reason = "addresses are shorter on other machines")]
unsafe extern "C" fn give_back_segments(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader hands out a description that is valid during the call.
    let info = unsafe { &*info };
    let page = page_size();
    for index in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: there are `dlpi_phnum` headers.
        let header = unsafe { &*info.dlpi_phdr.add(index) };
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Whole pages only: the first and the last may be shared with a neighbour.
        let start = (info.dlpi_addr as u64)
            .wrapping_add(header.p_vaddr as u64)
            .next_multiple_of(page);
        let end = (info.dlpi_addr as u64)
            .wrapping_add(header.p_vaddr as u64)
            .wrapping_add(header.p_filesz as u64)
            / page
            * page;
        if end > start {
            // SAFETY: the pages belong to a private mapping of a file that nobody can write to or has written to, so
            // that what is read there later is what is there now.
            unsafe {
                libc::madvise(
                    start as *mut libc::c_void,
                    (end - start) as usize,
                    libc::MADV_DONTNEED,
                )
            };
        }
    }
    0
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

    #[test]
    fn what_was_given_back_comes_back() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for round in 0..50 {
                        give_back();
                        assert_eq!(format!("{round:>5}").len(), 5);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
