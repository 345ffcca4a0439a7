//! Daemons that `bench rpc` measures: ours and stock libvirtd, each in folders of its own.
//!
//! Stock libvirtd has no option for its folders, so it runs in a mount namespace of its own, which needs root.

use super::wire::Wire;
use crate::manifest;
use crate::task::{self, Context, Result};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer on its socket.
const START: Duration = Duration::from_secs(30);
/// Folders of stock libvirtd that get a file system of their own.
const FOLDERS: &[&str] = &[
    "/run/libvirt",
    "/etc/libvirt",
    "/var/lib/libvirt",
    "/var/cache/libvirt",
    "/var/log/libvirt",
];

/// Adds the driver of the tests that has files to an installation.
pub(super) fn add_volumes(prefix: &Path, debug: bool) -> Result<()> {
    let profile = if debug { "debug" } else { "release" };
    let object = task::root().join(format!("target/{profile}/libvirt_tests_sleeper.so"));
    let manifest = manifest::read(&object)?;
    let drivers = prefix.join("lib/virt/drivers");
    let stem = format!("virt-driver-{}", manifest.name);
    let installed = drivers.join(format!("{stem}.so"));
    std::fs::copy(&object, &installed).context(|| installed.display().to_string())?;
    task::write(&drivers.join(format!("{stem}.toml")), manifest.text)
}

/// A daemon of one kind.
pub(super) enum Kind {
    /// The one installed below this folder.
    Ours(PathBuf),
    Stock,
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "our daemon",
            Self::Stock => "stock libvirtd",
        }
    }

    /// Stock libvirtd, or why it cannot be used.
    pub(super) fn stock() -> std::result::Result<Self, &'static str> {
        if !Path::new("/usr/sbin/libvirtd").is_file() {
            return Err("stock libvirtd is not installed (Debian: libvirt-daemon-system)");
        }
        if !nix::unistd::geteuid().is_root() {
            return Err("stock libvirtd can have folders of its own only if root starts it");
        }
        Ok(Self::Stock)
    }
}

/// One of the two: a daemon that runs for as long as this lives.
pub(super) struct Side {
    pub(super) folder: PathBuf,
    pub(super) kind: Kind,
    pub(super) daemon: RefCell<Running>,
}

/// A process that is ended, by its number, with this.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) socket: PathBuf,
}

impl Side {
    pub(super) fn new(folder: PathBuf, kind: Kind) -> Result<Self> {
        let daemon = RefCell::new(Running::start(&folder, &kind)?);
        Ok(Self { folder, kind, daemon })
    }

    pub(super) fn open(&self, uri: &str) -> Result<Wire> {
        Wire::open(&self.daemon.borrow().socket, uri)
    }

    /// Starts a daemon in the place of one that has ended by itself, and says so. Whether it had to.
    pub(super) fn revive(&self) -> Result<bool> {
        let mut daemon = self.daemon.borrow_mut();
        let ended = daemon.child.try_wait().context(|| "the daemon".to_owned())?;
        if let Some(status) = ended {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let words = log.lines().next_back().unwrap_or("nothing");
            println!(
                "{} has ended by itself ({status}) and is started anew; its last words: {words}",
                self.kind.name()
            );
            *daemon = Running::start(&self.folder, &self.kind)?;
        }
        Ok(ended.is_some())
    }
}

impl Running {
    /// Starts a daemon on a fresh folder and waits until it answers.
    pub(super) fn start(folder: &Path, kind: &Kind) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(folder).context(|| folder.display().to_string())?;
        // Paths of sockets are short.
        let place = PathBuf::from(format!("/tmp/virt-bench-{}-{}", std::process::id(), serial()));
        std::fs::create_dir_all(&place).context(|| place.display().to_string())?;
        let log = std::fs::File::create(folder.join("log")).context(|| folder.display().to_string())?;
        let config = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nmax_anonymous_clients = 0\n";
        let (mut command, socket) = match kind {
            Kind::Ours(prefix) => {
                let etc = place.join("etc/libvirt");
                task::write(&etc.join("libvirtd.conf"), config)?;
                let mut command = Command::new(prefix.join("sbin/libvirtd"));
                command.arg("--root").arg(&place).env_remove("VIRT_DRIVER_DIR");
                (command, place.join("run/libvirt/libvirt-sock"))
            }
            Kind::Stock => {
                let file = place.join("libvirtd.conf");
                task::write(
                    &file,
                    format!("{config}unix_sock_dir = \"{}\"\n", place.display()),
                )?;
                let mounts: String = FOLDERS
                    .iter()
                    .map(|folder| format!("mkdir -p {folder}; mount -t tmpfs none {folder}; "))
                    .collect();
                let script = format!(
                    "{mounts} mkdir -p /etc/libvirt/qemu; \
                     echo 'stdio_handler = \"file\"' > /etc/libvirt/qemu.conf; exec /usr/sbin/libvirtd -f {} -p {}",
                    file.display(),
                    place.join("pid").display()
                );
                let mut command = Command::new("unshare");
                command.args(["-m", "--propagation", "private", "sh", "-c", &script]);
                (command, place.join("libvirt-sock"))
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context(|| task::describe(&command))?;
        let running = Self { child, socket };
        let end = Instant::now() + START;
        while Wire::connect(&running.socket).is_err() {
            if Instant::now() > end {
                return Err(format!("no daemon answers at {}", running.socket.display()).into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(running)
    }
}

/// A number for each daemon of this run.
pub(super) fn serial() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Drop for Running {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        // One that is gone already is as good.
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
