//! A daemon below a temporary folder, and clients of it that are not ours.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use virt_api::testkit::plugins;

use crate::host::{Ran, eventually, run_to_end};

/// Longest that a daemon may take to answer on its socket, or to end.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The daemon's program, as the tree builds it.
///
/// # Panics
/// If the workspace does not build.
pub fn program() -> PathBuf {
    let plugins = plugins().expect("the plugins build");
    let object = plugins.object("virt-driver-test").expect("the driver builds");
    let folder = object.parent().expect("a file is in a folder");
    // Plugins lie in `deps` or beside the programs.
    [folder.join("virtd"), folder.join("../virtd")]
        .into_iter()
        .find(|path| path.is_file())
        .expect("virtd is built")
}

/// A daemon that runs. It is ended, by pid, with its value.
pub struct Daemon {
    root: tempfile::TempDir,
    child: Child,
    extra: Vec<String>,
    /// Where it finds its plugins.
    drivers: PathBuf,
}

impl Daemon {
    /// A daemon with all drivers and no configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// A daemon with this configuration and these further options.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_with(config: &str, options: &[&str]) -> Self {
        let plugins = plugins().expect("the plugins build");
        Self::start_in(config, options, plugins.directory())
    }

    /// A daemon whose plugins are those in `drivers`.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_in(config: &str, options: &[&str], drivers: &Path) -> Self {
        let root = tempfile::Builder::new()
            .prefix("fv")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let folder = root.path().join("etc/libvirt");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("libvirtd.conf"), config).expect("a configuration");
        let extra: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = spawn(root.path(), &extra, drivers);
        let mut daemon = Self {
            root,
            child,
            extra,
            drivers: drivers.to_owned(),
        };
        daemon.wait_until_ready();
        daemon
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let socket = self.socket();
        eventually("the daemon listens", START_LIMIT, || {
            UnixStream::connect(&socket).is_ok()
        });
    }

    /// Kills the daemon as a crash would, and starts it again.
    ///
    /// # Panics
    /// If it does not start again.
    #[track_caller]
    pub fn crash_and_restart(&mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon ends");
        self.child = spawn(self.root.path(), &self.extra, &self.drivers);
        self.wait_until_ready();
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-sock")
    }

    /// The socket for clients that only look.
    pub fn socket_ro(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-sock-ro")
    }

    /// The socket of the administration.
    pub fn socket_admin(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-admin-sock")
    }

    /// The URI of a driver behind the daemon, for any client of libvirt.
    pub fn uri(&self, scheme: &str, path: &str) -> String {
        uri(scheme, path, &self.socket())
    }

    /// Stock virsh, on the built-in test host behind the daemon.
    ///
    /// # Panics
    /// If it does not start or does not end.
    #[track_caller]
    pub fn stock_virsh(&self, words: &[&str]) -> Ran {
        let mut command = stock("/usr/bin/virsh");
        command.args(["-c", &self.uri("test", "/default")]).args(words);
        run_to_end(command)
    }

    /// Stock virt-admin.
    ///
    /// # Panics
    /// If it does not start or does not end.
    #[track_caller]
    pub fn virt_admin(&self, words: &[&str]) -> Ran {
        let mut command = stock("/usr/bin/virt-admin");
        let uri = format!("libvirtd:///system?socket={}", self.socket_admin().display());
        command.args(["-c", &uri]).args(words);
        run_to_end(command)
    }

    /// Whether the daemon still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn stop(&mut self) -> std::process::ExitStatus {
        use nix::sys::signal::{Signal, kill};
        // One that is gone already is as good.
        let _ = kill(
            nix::unistd::Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + START_LIMIT * 2;
        loop {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn spawn(root: &Path, options: &[String], drivers: &Path) -> Child {
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(root.join("stderr"))
        .expect("a log file");
    Command::new(program())
        .arg0("libvirtd")
        .arg("--root")
        .arg(root)
        .args(options)
        .env("VIRT_DRIVER_DIR", drivers)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the daemon starts")
}

/// The URI of a driver behind the daemon on this socket.
pub fn uri(scheme: &str, path: &str, socket: &Path) -> String {
    format!("{scheme}+unix://{path}?socket={}", socket.display())
}

/// A program of stock libvirt, in an environment that says nothing of ours.
pub fn stock(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("VIRT_DRIVER_DIR").env("LC_ALL", "C");
    command
}

/// A socket between a client and a daemon that keeps what passes.
pub struct Relay {
    folder: tempfile::TempDir,
    heard: Arc<Mutex<Vec<Piece>>>,
}

/// Bytes in one direction.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which connection, in the order they came.
    pub connection: u16,
    /// Whether the client sent them.
    pub from_client: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Relay {
    /// A relay to the daemon's socket.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub fn to(socket: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("a socket");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (socket, all) = (socket.to_owned(), Arc::clone(&heard));
        std::thread::spawn(move || {
            for (connection, client) in (0_u16..).zip(listener.incoming()) {
                let (Ok(client), Ok(daemon)) = (client, UnixStream::connect(&socket)) else {
                    return;
                };
                for from_client in [true, false] {
                    let (mut from, mut to) = match from_client {
                        true => (
                            client.try_clone().expect("a socket"),
                            daemon.try_clone().expect("a socket"),
                        ),
                        false => (
                            daemon.try_clone().expect("a socket"),
                            client.try_clone().expect("a socket"),
                        ),
                    };
                    let heard = Arc::clone(&all);
                    std::thread::spawn(move || {
                        let mut buffer = vec![0; 65_536];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            let bytes = buffer[..count].to_vec();
                            heard.lock().expect("no panic").push(Piece {
                                connection,
                                from_client,
                                bytes,
                            });
                            if to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { folder, heard }
    }

    /// The socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// All that has passed, as a capture of TCP connections to libvirt's port.
    pub fn capture(&self) -> Vec<u8> {
        capture(&self.heard.lock().expect("no panic"))
    }
}

/// A capture file: each piece as TCP segments between made-up hosts, in order and without loss.
fn capture(pieces: &[Piece]) -> Vec<u8> {
    const SEGMENT: usize = 32_000;
    const PORT: u16 = 16_509;
    let mut file = Vec::new();
    // The classic format, microseconds, raw IP.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    let mut sequences = std::collections::HashMap::new();
    let mut time = 0_u32;
    for piece in pieces {
        for segment in piece.bytes.chunks(SEGMENT) {
            let client = (10_u8, 40_000 + piece.connection);
            let (from, to) = match piece.from_client {
                true => (client, (20, PORT)),
                false => ((20, PORT), client),
            };
            let acknowledged = *sequences
                .entry((piece.connection, !piece.from_client))
                .or_insert(1_u32);
            let sequence = sequences
                .entry((piece.connection, piece.from_client))
                .or_insert(1_u32);
            let length = 40 + segment.len();
            let mut packet = Vec::with_capacity(length);
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend_from_slice(&[127, 0, 0, from.0, 127, 0, 0, to.0]);
            packet.extend_from_slice(&from.1.to_be_bytes());
            packet.extend_from_slice(&to.1.to_be_bytes());
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&acknowledged.to_be_bytes());
            packet.extend_from_slice(&[0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            packet.extend_from_slice(segment);
            *sequence = sequence.wrapping_add(u32::try_from(segment.len()).unwrap_or(0));
            time += 1;
            let size = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            for word in [time / 1000, time % 1000 * 1000, size, size] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            file.extend_from_slice(&packet);
        }
    }
    file
}
