//! The driver's folders, and the names of everything that belongs to one guest.

use std::path::{Path, PathBuf};

use virt_util::error::SystemResult as _;
use virt_util::{Result, VirtError, durable};

/// Most characters of a guest's name in its folder's name: socket paths are short.
const SHORT_NAME: usize = 20;

/// The folders of one driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Definitions.
    pub config: PathBuf,
    /// Links to the definitions that start with the host.
    pub autostart: PathBuf,
    /// Status and pid files, the driver's lock: gone after a reboot.
    pub state: PathBuf,
    /// Log files.
    pub log: PathBuf,
    /// One folder for each running guest, and the folders below.
    pub lib: PathBuf,
    /// What was found out about QEMU binaries.
    pub cache: PathBuf,
    /// Sockets of channels whose path nobody chose.
    pub channel: PathBuf,
    /// Managed save images.
    pub save: PathBuf,
    /// Snapshot metadata.
    pub snapshot: PathBuf,
    /// Checkpoint metadata.
    pub checkpoint: PathBuf,
    /// Automatic core dumps.
    pub dump: PathBuf,
    /// Firmware variables.
    pub nvram: PathBuf,
    /// Files that back guest memory.
    pub ram: PathBuf,
}

impl Layout {
    fn new(config: PathBuf, state: PathBuf, log: PathBuf, lib: PathBuf, cache: PathBuf, data: &Path) -> Self {
        Self {
            autostart: config.join("autostart"),
            channel: state.join("channel"),
            save: data.join("save"),
            snapshot: data.join("snapshot"),
            checkpoint: data.join("checkpoint"),
            dump: data.join("dump"),
            nvram: data.join("nvram"),
            ram: data.join("ram"),
            config,
            state,
            log,
            lib,
            cache,
        }
    }

    /// `qemu:///embed?root=ROOT`: everything below one folder.
    pub fn embed(root: &Path) -> Self {
        let lib = root.join("lib/qemu");
        Self::new(
            root.join("etc/qemu"),
            root.join("run/qemu"),
            root.join("log/qemu"),
            lib.clone(),
            root.join("cache/qemu"),
            &lib,
        )
    }

    /// `qemu:///system`, its three prefixes below `root`, which is `/` but in tests.
    pub fn system(root: &Path) -> Self {
        let lib = root.join("var/lib/libvirt/qemu");
        Self::new(
            root.join("etc/libvirt/qemu"),
            root.join("run/libvirt/qemu"),
            root.join("var/log/libvirt/qemu"),
            lib.clone(),
            root.join("var/cache/libvirt/qemu"),
            &lib,
        )
    }

    /// `qemu:///session`: in the user's configuration, runtime and cache folders, each with `libvirt` at its end.
    pub fn session(config: &Path, runtime: &Path, cache: &Path) -> Self {
        Self::new(
            config.join("qemu"),
            runtime.join("qemu/run"),
            cache.join("qemu/log"),
            config.join("qemu/lib"),
            cache.join("qemu/cache"),
            &config.join("qemu"),
        )
    }

    /// Makes the folders that are missing. Those of `owner`, if given, are what QEMU itself has to enter.
    pub fn make(&self, owner: Option<(u32, u32)>) -> Result<()> {
        for folder in [&self.config, &self.autostart, &self.cache] {
            durable::make_folder(folder, 0o700)?;
        }
        // Those above may be entered by a QEMU that runs as another user.
        for folder in [&self.state, &self.lib, &self.log] {
            durable::make_folder(folder, 0o755)?;
        }
        for folder in [
            &self.channel,
            &self.save,
            &self.snapshot,
            &self.checkpoint,
            &self.dump,
            &self.nvram,
            &self.ram,
        ] {
            durable::make_folder(folder, 0o755)?;
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::chown(folder, Some(uid), Some(gid))
                    .or_system(|| format!("cannot give '{}' to {uid}:{gid}", folder.display()))?;
            }
        }
        Ok(())
    }

    /// The lock that one process holds for as long as it runs the driver.
    pub fn driver_lock(&self) -> PathBuf {
        self.state.join("driver.pid")
    }

    /// The file that holds a guest's definition.
    pub fn definition(&self, name: &str) -> PathBuf {
        self.config.join(format!("{name}.xml"))
    }

    /// What belongs to a guest that is to run, or runs, with this id.
    pub fn guest(&self, id: i32, name: &str) -> GuestPaths {
        let short = short_name(id, name);
        let lib = self.lib.join(format!("domain-{short}"));
        GuestPaths {
            monitor: lib.join("monitor.sock"),
            master_key: lib.join("master-key.aes"),
            channel: self.channel.join(&short),
            ram: self.ram.join(&short),
            pid_file: self.state.join(format!("{name}.pid")),
            status: self.state.join(format!("{name}.xml")),
            log: self.log.join(format!("{name}.log")),
            lib,
        }
    }
}

/// `ID-NAME`, the name cut to 20 characters.
pub fn short_name(id: i32, name: &str) -> String {
    let name: String = name.chars().take(SHORT_NAME).collect();
    format!("{id}-{name}")
}

/// Names that belong to one running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPaths {
    /// Its folder.
    pub lib: PathBuf,
    /// The monitor's socket, in that folder.
    pub monitor: PathBuf,
    /// The key that its secrets are encrypted with, in that folder.
    pub master_key: PathBuf,
    /// Sockets of its channels.
    pub channel: PathBuf,
    /// Files that back its memory.
    pub ram: PathBuf,
    /// Its process number, locked by the process.
    pub pid_file: PathBuf,
    /// What is needed to find it again.
    pub status: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl GuestPaths {
    /// Makes the folders, entered by `owner` alone, and removes what an earlier guest of the name left in the way.
    pub fn prepare(&self, owner: Option<(u32, u32)>) -> Result<()> {
        for folder in [&self.lib, &self.channel] {
            durable::make_folder(folder, 0o750)?;
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::chown(folder, Some(uid), Some(gid))
                    .or_system(|| format!("cannot give '{}' to {uid}:{gid}", folder.display()))?;
            }
        }
        remove_if_there(&self.monitor)?;
        remove_if_there(&self.pid_file)
    }

    /// Removes all that makes no sense without the process. What cannot be removed is logged and left.
    pub fn clean_up(&self) {
        for file in [&self.monitor, &self.master_key, &self.pid_file, &self.status] {
            if let Err(error) = remove_if_there(file) {
                tracing::warn!("{error:#}");
            }
        }
        for folder in [&self.lib, &self.channel] {
            if let Err(error) = std::fs::remove_dir_all(folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!("cannot remove '{}': {error}", folder.display());
            }
        }
        // A folder of memory files that was never made, or is shared, stays.
        let _ = std::fs::remove_dir(&self.ram);
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(VirtError::io(
            &error,
            format_args!("cannot remove '{}'", path.display()),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_libvirts() {
        let layout = Layout::system(Path::new("/"));
        let paths = layout.guest(3, "a-guest-with-quite-a-long-name");
        assert_eq!(
            paths.monitor,
            Path::new("/var/lib/libvirt/qemu/domain-3-a-guest-with-quite-a/monitor.sock")
        );
        assert_eq!(
            paths.channel,
            Path::new("/run/libvirt/qemu/channel/3-a-guest-with-quite-a")
        );
        assert_eq!(
            paths.pid_file,
            Path::new("/run/libvirt/qemu/a-guest-with-quite-a-long-name.pid")
        );
        assert_eq!(short_name(1, "äöüäöüäöüäöüäöüäöüäöüäöü").chars().count(), 22);
        let embed = Layout::embed(Path::new("/r"));
        assert_eq!(embed.driver_lock(), Path::new("/r/run/qemu/driver.pid"));
        assert_eq!(embed.definition("x"), Path::new("/r/etc/qemu/x.xml"));
        assert_eq!(embed.log, Path::new("/r/log/qemu"));
    }

    #[test]
    fn a_guests_files_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::embed(root.path());
        layout.make(None).unwrap();
        layout.make(None).unwrap();
        let paths = layout.guest(1, "web");
        std::fs::write(&paths.pid_file, "7").unwrap();
        paths.prepare(None).unwrap();
        assert!(!paths.pid_file.exists());
        std::fs::write(&paths.master_key, "key").unwrap();
        std::fs::write(&paths.status, "status").unwrap();
        paths.clean_up();
        assert!(!paths.lib.exists() && !paths.channel.exists() && !paths.status.exists());
        assert!(layout.channel.exists());
    }
}
