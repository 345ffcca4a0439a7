//! Things that hang, for tests of those that must not hang with them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt_api::testkit::{copy_plugin, plugins};

use crate::host::eventually;

/// A file system in user space whose server can be stopped: whoever touches it then waits in the kernel. It is
/// unmounted with its value.
pub struct HangingMount {
    folder: tempfile::TempDir,
    server: Child,
}

impl HangingMount {
    /// Mounts one that answers. Takes root and `/dev/fuse`; `program` is the crate's `hanging-mount`.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[track_caller]
    pub fn new(program: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("fvm")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let mut server = Command::new(program)
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        if let Some(out) = server.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .expect("the server speaks");
        }
        assert_eq!(line, "mounted\n");
        Self { folder, server }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Answers nobody from now on.
    ///
    /// # Panics
    /// If the server does not stand still.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        // A server that still takes a request and stops before it answers leaves whoever asked where not even
        // SIGKILL ends them; requests that nobody took can be given up.
        eventually("the server stands still", Duration::from_secs(30), || {
            std::fs::read_to_string(format!("/proc/{}/stat", self.server.id()))
                .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
        });
    }

    /// Answers again.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        // The server is a child that nobody else waits for: it cannot be gone.
        let _ = kill(Pid::from_raw(self.server.id().cast_signed()), signal);
    }
}

impl Drop for HangingMount {
    fn drop(&mut self) {
        // Its end is an error for all who still wait.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}

/// Plugins of the tree, and the one that sleeps.
pub fn with_sleeper() -> tempfile::TempDir {
    let plugins = plugins().expect("the plugins build");
    let folder = tempfile::tempdir().expect("a driver can be put into a folder");
    let object = plugins.object("virt-tests-sleeper").expect("the sleeper builds");
    let manifest = virt_api::plugin::inspect(object).expect("a driver can be put into a folder");
    copy_plugin(object, folder.path(), &manifest).expect("a driver can be put into a folder");
    for name in ["virt-driver-test.so", "virt-driver-test.toml"] {
        std::fs::copy(plugins.directory().join(name), folder.path().join(name))
            .expect("a driver can be put into a folder");
    }
    folder
}
