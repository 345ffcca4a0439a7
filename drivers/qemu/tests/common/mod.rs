//! What tests with real guests share.

use std::path::Path;

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
