//! Sockets of daemons on this host: which one, connecting to it, and starting a session's daemon that does not run.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use virt_util::command::{Command, Session, Spawner, SystemSpawner, find_program};
use virt_util::error::SystemResult;
use virt_util::time::{Cancel, Clock, Deadline, SystemClock};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::place::{Mode, Place, Transport};

/// Where the machine's daemons listen. Not `/run`: the path may be used on another host, which need not have that.
const SYSTEM_FOLDER: &str = "/var/run/libvirt";
/// Where daemons are installed, beside the user's search path.
const DAEMON_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// Drivers whose daemons are looked for when nobody named one, in libvirt's order.
const PROBED_SYSTEM: [&str; 6] = ["xen", "qemu", "lxc", "vbox", "bhyve", "vz"];
const PROBED_SESSION: [&str; 2] = ["qemu", "vbox"];
/// How long a started daemon may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(5);
const START_STEP: Duration = Duration::from_millis(10);

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The user's own, not the machine's.
    pub session: bool,
    /// It may be started.
    pub autostart: bool,
    /// The socket for reading only.
    pub read_only: bool,
}

/// A socket, and the daemon to start if nobody listens.
#[derive(Debug)]
pub struct Choice {
    /// The socket.
    pub path: PathBuf,
    /// The daemon.
    pub daemon: Option<DaemonProgram>,
}

/// A daemon that can be started.
#[derive(Debug)]
pub struct DaemonProgram {
    program: PathBuf,
    args: Vec<String>,
}

fn remote(code: ErrorCode, detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, detail).in_domain(ErrorDomain::REMOTE)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The user's folder for sockets and locks of daemons.
pub fn user_folder() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok("/run/libvirt".into());
    }
    let base = variable("XDG_RUNTIME_DIR")
        .or_else(|| variable("XDG_CACHE_HOME"))
        .or_else(|| Some(variable("HOME")?.join(".cache")));
    match base {
        Some(base) => Ok(base.join("libvirt")),
        None => Err(remote(
            ErrorCode::INTERNAL_ERROR,
            "neither XDG_RUNTIME_DIR nor HOME is set: the user's daemon cannot be found",
        )),
    }
}

impl Scope {
    /// Whose daemon a URI means.
    pub(crate) fn of(place: &Place, read_only: bool) -> Self {
        let unprivileged = !nix::unistd::geteuid().is_root();
        let scheme = place.uri.scheme.as_deref().unwrap_or_default();
        let session = unprivileged && (place.uri.path == "/session" || scheme.starts_with("test+"));
        Self {
            session,
            autostart: session
                && place.uri.server.is_none()
                && place.transport == Transport::Unix
                && may_autostart(),
            read_only,
        }
    }
}

fn may_autostart() -> bool {
    std::env::var_os("LIBVIRT_AUTOSTART").is_none_or(|value| value != "0")
}

fn socket_path(prefix: &str, scope: Scope) -> Result<PathBuf> {
    if scope.session {
        return Ok(user_folder()?.join(format!("{prefix}-sock")));
    }
    let suffix = if scope.read_only { "sock-ro" } else { "sock" };
    Ok(Path::new(SYSTEM_FOLDER).join(format!("{prefix}-{suffix}")))
}

/// The driver whose own daemon seems to be there, for URIs that name none.
fn probe(scope: Scope) -> Result<Option<&'static str>> {
    let (known, session): (&[&'static str], bool) = if nix::unistd::geteuid().is_root() {
        (&PROBED_SYSTEM, false)
    } else {
        (&PROBED_SESSION, true)
    };
    for driver in known {
        let path = if session {
            user_folder()?.join(format!("virt{driver}d-sock"))
        } else {
            let suffix = if scope.read_only { "sock-ro" } else { "sock" };
            Path::new("/run/libvirt").join(format!("virt{driver}d-{suffix}"))
        };
        if path.exists() {
            return Ok(Some(driver));
        }
    }
    Ok(None)
}

/// The program of that name: where the environment says, in the search path, or where daemons are installed.
fn find_daemon(name: &str) -> Option<PathBuf> {
    if let Some(named) = variable(&format!("{}_PATH", name.to_ascii_uppercase())) {
        return Some(named);
    }
    if let Ok(found) = find_program(Path::new(name)) {
        return Some(found);
    }
    DAEMON_FOLDERS
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// The daemon to start: under libvirt's name, or ours under its own.
fn daemon(name: &str, driver: Option<&str>) -> Result<DaemonProgram> {
    let timeout = "--timeout=120".to_owned();
    // One variable names the daemon, whichever it is.
    if let Some(program) = variable("VIRTD_PATH").or_else(|| variable("LIBVIRTD_PATH")) {
        return Ok(DaemonProgram {
            program,
            args: vec![timeout],
        });
    }
    if let Some(program) = find_daemon(name) {
        return Ok(DaemonProgram {
            program,
            args: vec![timeout],
        });
    }
    if let Some(program) = find_daemon("virtd") {
        let mut args = vec![timeout];
        if let Some(driver) = driver {
            args.push(format!("--driver={driver}"));
        }
        return Ok(DaemonProgram { program, args });
    }
    Err(remote(
        ErrorCode::SYSTEM_ERROR,
        format_args!("binary '{name}' does not exist in $PATH: No such file or directory"),
    )
    .with_ints(Errno::ENOENT as i32, -1)
    .with_hint(format!(
        "install it, or name it in {}_PATH or VIRTD_PATH",
        name.to_ascii_uppercase()
    )))
}

/// Chooses the socket for a driver (`None` where nobody named one).
pub(crate) fn choose(place: &Place, mode: Mode, scope: Scope) -> Result<Choice> {
    let driver = match &place.driver {
        Some(driver) => Some(driver.as_str()),
        None if mode != Mode::Legacy && place.transport == Transport::Unix => probe(scope)?,
        None => None,
    };
    let direct_name = driver.map(|driver| format!("virt{driver}d"));
    let direct = direct_name
        .as_deref()
        .map(|name| socket_path(name, scope))
        .transpose()?;
    let legacy = socket_path("libvirt", scope)?;
    let direct_exists = direct.as_deref().is_some_and(Path::exists);
    let chosen = match mode {
        Mode::Direct | Mode::Legacy => mode,
        // What runs over there decides the helper over there; without it only the old daemon can be guessed.
        Mode::Auto if place.transport != Transport::Unix => Mode::Legacy,
        Mode::Auto if direct_exists => Mode::Direct,
        Mode::Auto if legacy.exists() => Mode::Legacy,
        Mode::Auto => match &direct_name {
            Some(name) if find_daemon(name).is_some() => Mode::Direct,
            _ => Mode::Legacy,
        },
    };
    if chosen == Mode::Direct {
        if place.transport != Transport::Unix {
            return Err(place.no_direct());
        }
        let (Some(path), Some(name)) = (direct, direct_name) else {
            return Err(remote(
                ErrorCode::OPERATION_UNSUPPORTED,
                "No URI is provided and cannot identify any listening daemon socket path to attempt to connect to",
            )
            .with_hint("start the daemon's socket, or name a URI"));
        };
        let daemon = scope.autostart.then(|| daemon(&name, driver)).transpose()?;
        return Ok(Choice { path, daemon });
    }
    let daemon = scope.autostart.then(|| daemon("libvirtd", None)).transpose()?;
    Ok(Choice { path: legacy, daemon })
}

fn address(path: &Path) -> Result<UnixAddr> {
    let text = path.as_os_str().as_encoded_bytes();
    let address = match text.strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(path),
    };
    address.map_err(|_| {
        VirtError::system(
            Errno::ENAMETOOLONG as i32,
            format_args!("path '{}' is longer than that of a socket can be", path.display()),
        )
    })
}

/// A connection to a listening socket that does not block, or why not.
fn try_connect(path: &Path) -> Result<std::result::Result<OwnedFd, Errno>> {
    let address = address(path)?;
    // Connecting to a unix socket waits only for a full backlog, and then as long as the daemon is stuck. It must not.
    let made = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
    .or_system(|| "cannot make a socket")?;
    use std::os::fd::AsRawFd;
    loop {
        return Ok(match connect(made.as_raw_fd(), &address) {
            Ok(()) => Ok(made),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno),
        });
    }
}

fn failed(path: &Path, errno: Errno) -> VirtError {
    let error = VirtError::system(
        errno as i32,
        format_args!("Failed to connect socket to '{}'", path.display()),
    )
    .in_domain(ErrorDomain::RPC);
    match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => {
            error.with_hint("no daemon listens there: is libvirtd, or the driver's own daemon, running?")
        }
        _ => error,
    }
}

/// Connects, and starts the daemon under libvirt's lock if nobody listens.
pub fn open(choice: &Choice, deadline: Deadline, cancel: &Cancel) -> Result<OwnedFd> {
    let path = &choice.path;
    let Some(daemon) = &choice.daemon else {
        return connect_until(path, deadline, cancel, &[Errno::EAGAIN]);
    };
    if let Ok(connected) = try_connect(path)? {
        return Ok(connected);
    }
    let folder = user_folder()?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .or_system(|| format!("cannot make folder '{}'", folder.display()))?;
    // libvirt's clients lock the same byte of the same file, so that only one of all starts the daemon.
    let name = daemon
        .program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let lock_path = folder.join(format!("{name}.lock"));
    let lock = StartLock::take(&lock_path, deadline, cancel)?;
    let connected = match try_connect(path)? {
        Ok(connected) => Ok(connected),
        Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN) => {
            start(daemon, deadline, cancel)?;
            let until = deadline.at_most(START_PATIENCE);
            let not_yet = [Errno::ENOENT, Errno::ECONNREFUSED, Errno::EAGAIN];
            connect_until(path, until, cancel, &not_yet)
        }
        Err(errno) => Err(failed(path, errno)),
    };
    let _ = std::fs::remove_file(&lock_path);
    drop(lock);
    connected
}

fn connect_until(path: &Path, until: Deadline, cancel: &Cancel, not_yet: &[Errno]) -> Result<OwnedFd> {
    loop {
        match try_connect(path)? {
            Ok(connected) => return Ok(connected),
            Err(Errno::EAGAIN) if until.has_passed() => {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_TIMEOUT,
                    format_args!("the daemon at '{}' takes no more connections", path.display()),
                )
                .in_domain(ErrorDomain::RPC));
            }
            Err(errno) if !not_yet.contains(&errno) || until.has_passed() => return Err(failed(path, errno)),
            Err(_) => {
                SystemClock.sleep(START_STEP, cancel);
                cancel.check("connecting")?;
            }
        }
    }
}

/// The lock that whoever starts a session's daemon holds.
struct StartLock {
    _file: std::fs::File,
}

impl StartLock {
    fn take(path: &Path, deadline: Deadline, cancel: &Cancel) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .or_system(|| format!("cannot open lock '{}'", path.display()))?;
        loop {
            match virt_util::lock::lock_file(&file, &path.display().to_string()) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(error) if deadline.has_passed() => {
                    return Err(VirtError::new(
                        ErrorCode::OPERATION_TIMEOUT,
                        "another program holds the lock of the daemon's start",
                    )
                    .caused_by(error.message()));
                }
                Err(error) if error.code() == ErrorCode::OPERATION_FAILED => {
                    SystemClock.sleep(START_STEP, cancel);
                    cancel.check("waiting for the daemon's start")?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn start(daemon: &DaemonProgram, deadline: Deadline, cancel: &Cancel) -> Result<()> {
    let mut command = Command::new(&daemon.program);
    command.args(&daemon.args).env_pass_common();
    for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
        command.env_pass(name);
    }
    // Our daemon finds its plugins where we found ours.
    command.env_pass("VIRT_DRIVER_DIR");
    command.session(Session::Daemon);
    SystemSpawner.spawn(&command, deadline, cancel).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: Scope = Scope {
        session: false,
        autostart: false,
        read_only: false,
    };

    #[test]
    fn sockets_have_libvirts_names() {
        let path = |prefix, scope| socket_path(prefix, scope).unwrap().display().to_string();
        assert_eq!(path("libvirt", SYSTEM), "/var/run/libvirt/libvirt-sock");
        let read_only = Scope {
            read_only: true,
            ..SYSTEM
        };
        assert_eq!(path("virtqemud", read_only), "/var/run/libvirt/virtqemud-sock-ro");
        let place = Place::of("qemu+ssh://far/system").unwrap();
        let choice = choose(&place, Mode::Auto, SYSTEM).unwrap();
        assert_eq!(choice.path, Path::new("/var/run/libvirt/libvirt-sock"));
        let error = choose(&place, Mode::Direct, SYSTEM).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OPERATION_UNSUPPORTED);
    }

    #[test]
    fn nobody_listening_is_told_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let choice = Choice {
            path: path.clone(),
            daemon: None,
        };
        let error = open(&choice, Deadline::NONE, &Cancel::never()).unwrap_err();
        assert_eq!(error.int1(), Errno::ENOENT as i32);
        assert!(error.message().contains(&path.display().to_string()), "{error}");
        let long = Choice {
            path: "x".repeat(200).into(),
            daemon: None,
        };
        assert!(open(&long, Deadline::NONE, &Cancel::never()).is_err());
    }
}
