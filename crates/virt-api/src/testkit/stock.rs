//! libvirt's own daemon as a peer: one instance with its own configuration, sockets and folders, never the machine's.
//!
//! It runs as an unprivileged user below a temporary folder and ends with the value that holds it, by its pid.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user to be where the tests run as root: the daemon must not touch the machine's own guests.
const NOBODY: u32 = 65_534;
/// How long it may take until it listens.
const START: Duration = Duration::from_secs(30);

/// A folder for a daemon, and what is to stand in it before it starts.
#[derive(Debug)]
pub struct Room {
    root: tempfile::TempDir,
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// An empty folder of the user that the daemon will be.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("fvs")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let room = Self { root };
        room.give(room.path());
        room
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Gives a file to the user that the daemon will be.
    pub fn give(&self, path: &Path) {
        if nix::unistd::geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        }
    }

    /// Writes a file that the daemon can read.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder");
            self.give(folder);
        }
        std::fs::write(&path, content).expect("a file");
        self.give(&path);
        path
    }

    /// A command of the user that the daemon will be, with this folder for home, sockets and configuration.
    pub fn command(&self, program: &Path) -> Command {
        let path = self.path();
        let mut command = Command::new(program);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", path)
            .env("XDG_RUNTIME_DIR", path)
            .env("XDG_CONFIG_HOME", path.join("config"))
            .env("XDG_CACHE_HOME", path.join("cache"))
            .env("XDG_DATA_HOME", path.join("data"))
            .env("SASL_CONF_PATH", path.join("sasl"))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// The socket of the user's daemon in this folder.
    pub fn socket(&self) -> PathBuf {
        self.path().join("libvirt/libvirt-sock")
    }

    /// Starts a daemon with this configuration and these further options.
    ///
    /// # Panics
    /// If it does not listen in time.
    pub fn start(self, configuration: &str, options: &[&str]) -> Stock {
        let program = program("libvirtd").expect("libvirtd was asked for before");
        let command = self.command(&program);
        self.run(command, configuration, options)
    }

    /// [`Room::start`] on a host of another name, which takes root and the programs `unshare` and `setpriv`.
    ///
    /// # Panics
    /// If it does not listen in time.
    pub fn start_as_host(self, hostname: &str, configuration: &str, options: &[&str]) -> Stock {
        let mut command = self.command(Path::new("unshare"));
        command.uid(0).gid(0);
        let script = format!(
            "hostname {hostname} && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups libvirtd \"$@\""
        );
        command.args(["--uts", "sh", "-c", &script, "sh"]);
        self.run(command, configuration, options)
    }

    fn run(self, mut command: Command, configuration: &str, options: &[&str]) -> Stock {
        let conf = self.file("libvirtd.conf", configuration);
        let log = std::fs::File::create(self.path().join("log")).expect("a log");
        let child = command
            .args(["--timeout", "300", "-f"])
            .arg(&conf)
            .arg("-p")
            .arg(self.path().join("pid"))
            .args(options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("libvirtd starts");
        let mut stock = Stock { child, room: self };
        let until = Instant::now() + START;
        while UnixStream::connect(stock.room.socket()).is_err() {
            let ended = stock.child.try_wait().ok().flatten();
            assert!(
                ended.is_none() && Instant::now() < until,
                "libvirtd does not listen: {}",
                stock.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        // Others come to the socket through it.
        let open = std::fs::Permissions::from_mode(0o755);
        let _ = std::fs::set_permissions(stock.room.path(), open);
        stock
    }
}

/// Where daemons are too.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A program of that name.
pub fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The URI of a driver behind the daemon that listens on `socket`: `of` is what the daemon opens, such as
/// `test:///default`.
pub fn uri_through(socket: &Path, of: &str) -> String {
    let (driver, path) = of.split_once(':').unwrap_or((of, ""));
    format!("{driver}+unix:{path}?socket={}", socket.display())
}

/// A running daemon.
#[derive(Debug)]
pub struct Stock {
    child: Child,
    room: Room,
}

impl Stock {
    /// One without authentication that listens on its unix socket.
    pub fn plain() -> Self {
        Room::new().start("auth_unix_rw = \"none\"\n", &[])
    }

    /// Its folder.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// A URI of one of its drivers through its socket: `test:///default`, `qemu:///session`.
    pub fn uri(&self, of: &str) -> String {
        uri_through(&self.room.socket(), of)
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.room.path().join("log")).unwrap_or_default()
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        // Guests that it started are in the folder's processes: they end with their monitors' files gone only if told.
        for pid in guests(self.room.path()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
        self.kill();
    }
}

/// Emulators whose command line names the folder.
fn guests(folder: &Path) -> Vec<i32> {
    let wanted = folder.display().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_string_lossy().parse().ok()?;
            let words = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&words).into_owned();
            (line.contains("qemu-system") && line.contains(&wanted)).then_some(pid)
        })
        .collect()
}
