//! What tests with real guests share.

use std::path::{Path, PathBuf};

use virt_util::lock::{Holder, PidFile};
use virt_util::sys::process::PidFd;

/// A folder of its own for a test. At its end no guest is left running, even if the test has failed.
pub struct Root(tempfile::TempDir);

impl Root {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let Ok(files) = std::fs::read_dir(self.path().join("run/qemu")) else {
            return;
        };
        for path in files.flatten().map(|file| file.path()) {
            let is_guest =
                path.extension().is_some_and(|kind| kind == "pid") && !path.ends_with("driver.pid");
            if !is_guest {
                continue;
            }
            // The holder of the lock is the guest, whatever the file says.
            if let Ok(Holder::Process(pid)) = PidFile::holder(&path)
                && pid != std::process::id().cast_signed()
                && let Ok(Some(process)) = PidFd::open(pid)
            {
                let _ = process.signal(libc::SIGKILL);
            }
        }
    }
}

/// Prints `!` on the first serial port, then waits for the power button and switches the machine off.
#[allow(dead_code, reason = "not every test that shares this module boots it")]
pub fn power_button_disk(folder: &Path) -> PathBuf {
    let mut sector = vec![
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'!', // mov al, '!'
        0xee, // out dx, al
        0xba, 0x02, 0x06, // mov dx, 0x602 (which events count)
        0xb8, 0x00, 0x01, // mov ax, 0x100 (the power button)
        0xef, // out dx, ax
        0xba, 0x00, 0x06, // mov dx, 0x600 (which have happened)
        0xed, // again: in ax, dx
        0xf6, 0xc4, 0x01, // test ah, 1
        0x74, 0xfa, // jz again
        0xba, 0x04, 0x06, // mov dx, 0x604
        0xb8, 0x00, 0x20, // mov ax, 0x2000 (off)
        0xef, // out dx, ax
        0xf4, 0xeb, 0xfd, // hlt, for ever
    ];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    let path = folder.join("disk.img");
    std::fs::write(&path, sector).expect("a disk can be written");
    path
}
