//! Where a daemon's sockets, its pid file, its configuration and its log are. Clients build the same paths themselves,
//! so these are libvirt's, for the daemon of the machine and for the daemon of a user's session.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use virt_util::{Result, VirtError};

use super::names::DaemonName;

/// Whom a daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole machine: the process is root.
    System,
    /// One user.
    Session,
}

impl Scope {
    /// The scope of this process.
    pub fn current() -> Self {
        if nix::unistd::geteuid().is_root() {
            Self::System
        } else {
            Self::Session
        }
    }
}

/// The folders of a user, as far as the environment tells.
#[derive(Clone, Debug, Default)]
pub struct UserFolders {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache: Option<PathBuf>,
}

impl UserFolders {
    /// Those of this process.
    pub fn from_environment() -> Self {
        // Relative paths are to be ignored, says the specification of these variables.
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let of_account = || {
            nix::unistd::User::from_uid(nix::unistd::geteuid())
                .ok()
                .flatten()
                .map(|user| user.dir)
        };
        Self {
            home: absolute("HOME").or_else(of_account),
            runtime: absolute("XDG_RUNTIME_DIR"),
            config: absolute("XDG_CONFIG_HOME"),
            cache: absolute("XDG_CACHE_HOME"),
        }
    }

    fn home(&self) -> Result<&Path> {
        self.home.as_deref().ok_or_else(|| {
            VirtError::internal(
                "the user has no home folder: set HOME or XDG_RUNTIME_DIR and XDG_CONFIG_HOME",
            )
        })
    }

    fn cache(&self) -> Result<PathBuf> {
        Ok(match &self.cache {
            Some(cache) => cache.join("libvirt"),
            None => self.home()?.join(".cache/libvirt"),
        })
    }

    /// Without a runtime folder the one for caches serves, as it does for libvirt's clients.
    fn runtime(&self) -> Result<PathBuf> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.join("libvirt")),
            None => self.cache(),
        }
    }

    fn config(&self) -> Result<PathBuf> {
        Ok(match &self.config {
            Some(config) => config.join("libvirt"),
            None => self.home()?.join(".config/libvirt"),
        })
    }
}

/// Where everything of one daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The folder of sockets and of everything that ends with the machine's run.
    pub runtime: PathBuf,
    /// Read and write.
    pub socket: PathBuf,
    /// Read only. Sessions have none: who may connect there may do everything.
    pub socket_ro: Option<PathBuf>,
    /// Administration of the daemon.
    pub socket_admin: PathBuf,
    /// Held while the daemon runs.
    pub pid_file: PathBuf,
    /// Read if it exists, unless another was named.
    pub config_file: PathBuf,
    /// Where the log goes if there is no journal.
    pub log_file: PathBuf,
}

impl Paths {
    /// The paths of a daemon. `socket_folder` is `unix_sock_dir` of its configuration.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if a user has no home.
    pub fn new(
        daemon: &DaemonName,
        scope: Scope,
        folders: &UserFolders,
        socket_folder: Option<&Path>,
    ) -> Result<Self> {
        let name = &daemon.name;
        let (runtime, config, log, pid_file) = match scope {
            Scope::System => (
                PathBuf::from("/run/libvirt"),
                PathBuf::from("/etc/libvirt"),
                PathBuf::from("/var/log/libvirt"),
                PathBuf::from(format!("/run/{name}.pid")),
            ),
            Scope::Session => {
                let runtime = folders.runtime()?;
                let pid_file = runtime.join(format!("{name}.pid"));
                (runtime, folders.config()?, folders.cache()?, pid_file)
            }
        };
        let folder = socket_folder.unwrap_or(&runtime);
        let socket = |suffix: &str| {
            let mut file = OsString::from(&daemon.socket_prefix);
            file.push(suffix);
            folder.join(file)
        };
        Ok(Self {
            socket: socket("-sock"),
            socket_ro: (scope == Scope::System).then(|| socket("-sock-ro")),
            socket_admin: socket("-admin-sock"),
            pid_file,
            config_file: config.join(format!("{name}.conf")),
            log_file: log.join(format!("{name}.log")),
            runtime,
        })
    }

    /// Makes the runtime folder and that of the pid file. A folder of sockets that somebody has named has to be there.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` naming the folder.
    pub fn make_folders(&self, scope: Scope) -> Result<()> {
        let mode = match scope {
            Scope::System => 0o755,
            Scope::Session => 0o700,
        };
        for folder in [Some(self.runtime.as_path()), self.pid_file.parent()]
            .into_iter()
            .flatten()
        {
            make_folder(folder, mode)?;
        }
        Ok(())
    }
}

/// Makes a folder and those above it that are missing.
pub fn make_folder(folder: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)
        .map_err(|error| {
            VirtError::io(
                &error,
                format_args!("cannot create folder '{}'", folder.display()),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_machines_daemon_is_where_clients_look() {
        let folders = UserFolders::default();
        let paths = Paths::new(&DaemonName::monolithic(), Scope::System, &folders, None).unwrap();
        assert_eq!(paths.socket, Path::new("/run/libvirt/libvirt-sock"));
        assert_eq!(
            paths.socket_ro.as_deref(),
            Some(Path::new("/run/libvirt/libvirt-sock-ro"))
        );
        assert_eq!(paths.socket_admin, Path::new("/run/libvirt/libvirt-admin-sock"));
        assert_eq!(paths.pid_file, Path::new("/run/libvirtd.pid"));
        assert_eq!(paths.config_file, Path::new("/etc/libvirt/libvirtd.conf"));
        let qemu = DaemonName::of_driver("qemu").unwrap();
        let paths = Paths::new(&qemu, Scope::System, &folders, Some(Path::new("/s"))).unwrap();
        assert_eq!(paths.socket, Path::new("/s/virtqemud-sock"));
        assert_eq!(paths.pid_file, Path::new("/run/virtqemud.pid"));
    }

    #[test]
    fn a_session_has_its_own_and_falls_back_to_home() {
        let qemu = DaemonName::of_driver("qemu").unwrap();
        let mut folders = UserFolders {
            home: Some("/home/u".into()),
            runtime: Some("/run/user/7".into()),
            ..UserFolders::default()
        };
        let paths = Paths::new(&qemu, Scope::Session, &folders, None).unwrap();
        assert_eq!(paths.socket, Path::new("/run/user/7/libvirt/virtqemud-sock"));
        assert_eq!(paths.socket_ro, None);
        assert_eq!(paths.pid_file, Path::new("/run/user/7/libvirt/virtqemud.pid"));
        assert_eq!(
            paths.config_file,
            Path::new("/home/u/.config/libvirt/virtqemud.conf")
        );
        folders.runtime = None;
        let paths = Paths::new(&qemu, Scope::Session, &folders, None).unwrap();
        assert_eq!(paths.socket, Path::new("/home/u/.cache/libvirt/virtqemud-sock"));
        folders.home = None;
        assert!(Paths::new(&qemu, Scope::Session, &folders, None).is_err());
    }

    #[test]
    fn folders_of_a_session_are_the_users_own() {
        let root = tempfile::tempdir().unwrap();
        let folders = UserFolders {
            home: Some(root.path().into()),
            runtime: Some(root.path().join("run")),
            ..UserFolders::default()
        };
        let paths = Paths::new(&DaemonName::monolithic(), Scope::Session, &folders, None).unwrap();
        paths.make_folders(Scope::Session).unwrap();
        paths.make_folders(Scope::Session).unwrap();
        let mode = std::fs::metadata(&paths.runtime).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
