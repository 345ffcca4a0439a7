//! What `cargo xtask install` puts in place, below a root as packages have it.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::program;
use crate::host::eventually;

/// A user that is not root, for sessions.
pub const NOBODY: u32 = 65_534;

/// An installation with the prefix `/usr` below a root of its own: the only one of a test program.
pub struct Installation {
    root: PathBuf,
    /// Removes the root when this program has ended, however it ends: then its standard input ends.
    _remover: Child,
}

impl Installation {
    /// The installation. The first to ask makes it.
    ///
    /// # Panics
    /// If that fails.
    pub fn get() -> &'static Self {
        static INSTALLATION: OnceLock<Installation> = OnceLock::new();
        INSTALLATION.get_or_init(Self::install)
    }

    fn install() -> Self {
        let root = folder().keep();
        let remover = Command::new("sh")
            .args(["-c", "cat; rm -rf -- \"$0\""])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let installation = Self {
            root,
            _remover: remover,
        };
        // What it builds is built already, but by a machine that may be busy: it has no limit of time.
        let status = Command::new(program().with_file_name("xtask"))
            .args(["install", "--debug", "--quiet", "--prefix", "/usr", "--destdir"])
            .arg(installation.root())
            .arg("--lists")
            .arg(installation.lists())
            .stdin(Stdio::null())
            .status()
            .expect("xtask starts");
        assert!(status.success(), "the installation fails: {status}");
        installation
    }

    /// The root below which everything is, by the paths that it will have.
    pub fn root(&self) -> PathBuf {
        self.root.join("root")
    }

    /// The lists of files for packages.
    pub fn lists(&self) -> PathBuf {
        self.root.join("lists")
    }

    /// An installed file, by its path below the prefix.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("usr").join(name)
    }

    /// Every file and link below the root, by the path that it will have.
    ///
    /// # Panics
    /// If a folder cannot be read.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let root = self.root();
        let mut found = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("a folder").flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if let Ok(below) = path.strip_prefix(&root) {
                    found.insert(Path::new("/").join(below));
                }
            }
        }
        found
    }
}

/// A folder that everybody may look into.
///
/// # Panics
/// If there is no room for it.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("fvi")
        .tempdir_in("/tmp")
        .expect("a temporary folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("it is ours");
    folder
}

/// The home of a user that is not root, whose daemons end with it.
pub struct Home(tempfile::TempDir);

impl Home {
    /// An empty one.
    ///
    /// # Panics
    /// Without root; a test asks for that before.
    pub fn new() -> Self {
        let home = folder();
        chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("root may give folders away");
        Self(home)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The program as that user's, with nothing of the tree in its environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", self.path())
            .env("XDG_RUNTIME_DIR", self.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .uid(NOBODY)
            .gid(NOBODY);
        command
    }

    /// The user's daemons that were started from the installation: process and command line.
    pub fn daemons(&self) -> Vec<(i32, String)> {
        let program = Installation::get().path("sbin/virtd");
        let home = format!("HOME={}", self.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let exe = std::fs::read_link(entry.path().join("exe"));
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let ours = environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == home.as_bytes());
            if let (Some(pid), Ok(exe)) = (pid, exe)
                && exe == program
                && ours
            {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    fn tell(&self, signal: Signal) {
        for (pid, _) in self.daemons() {
            // One that has just ended is as good.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Ends its daemons.
    ///
    /// # Panics
    /// If one does not end.
    #[track_caller]
    pub fn end_daemons(&self) {
        self.tell(Signal::SIGTERM);
        eventually("the daemons end", Duration::from_secs(60), || {
            self.daemons().is_empty()
        });
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.tell(Signal::SIGKILL);
    }
}
