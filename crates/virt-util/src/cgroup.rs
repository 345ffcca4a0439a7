//! Control groups in every arrangement: v1 (a hierarchy for each controller), v2 (one for all) and both at once.
//!
//! [`Layout::detect`] finds what is mounted where and in which group a process is; a [`Group`] is one path in all
//! hierarchies that are in use. Files are named by controller, so a caller that knows which version it talks to (see
//! [`Group::version`]) can read and write any attribute. Device access in v2 is not a file but a BPF program, and is
//! not handled here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::SystemResult;
use crate::{Result, VirtError};

/// No file here comes near this.
const FILE_LIMIT: u64 = 1 << 20;

/// What can be controlled, by libvirt's names. In v2 `blkio` is called `io`, and `cpuacct` comes with every group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU shares and bandwidth.
    Cpu,
    /// CPU time used.
    Cpuacct,
    /// Which CPUs and memory cells.
    Cpuset,
    /// Memory used and allowed.
    Memory,
    /// Access to device nodes.
    Devices,
    /// Stopping all processes.
    Freezer,
    /// Disk I/O.
    Blkio,
    /// Network class of packets.
    NetCls,
    /// Performance counters.
    PerfEvent,
    /// No control: systemd's own bookkeeping hierarchy of v1.
    Systemd,
}

impl Controller {
    /// Every controller, in libvirt's order.
    pub const ALL: [Self; 10] = [
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Memory,
        Self::Devices,
        Self::Freezer,
        Self::Blkio,
        Self::NetCls,
        Self::PerfEvent,
        Self::Systemd,
    ];

    /// The name in v1 mount options and `/proc/PID/cgroup`.
    pub fn legacy_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Blkio => "blkio",
            Self::NetCls => "net_cls",
            Self::PerfEvent => "perf_event",
            Self::Systemd => "name=systemd",
        }
    }

    /// The name in `cgroup.controllers` of v2, if v2 has it as a controller.
    fn unified_name(self) -> Option<&'static str> {
        match self {
            Self::Cpu => Some("cpu"),
            Self::Cpuset => Some("cpuset"),
            Self::Memory => Some("memory"),
            Self::Blkio => Some("io"),
            _ => None,
        }
    }
}

/// Which kind of hierarchy serves a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One for all.
    V2,
}

/// A v1 hierarchy, as one controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The name beside a shared mount (`cpu` beside `cpu,cpuacct`), if there is one.
    pub link: Option<PathBuf>,
    /// The process' group in it, starting with `/`; `None` if it is in none.
    pub placement: Option<String>,
}

/// The v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The process' group in it; `None` if it is in none.
    pub placement: Option<String>,
    /// The controllers that it offers there.
    pub controllers: Vec<Controller>,
}

/// What is mounted, and where a process stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// v1 hierarchies by controller.
    pub legacy: BTreeMap<Controller, Legacy>,
    /// The v2 hierarchy, if one with any controller is mounted.
    pub unified: Option<Unified>,
    /// What the paths above are below: `/` on the real machine.
    root: PathBuf,
}

impl Layout {
    /// Looks at this machine and this process.
    pub fn detect() -> Result<Self> {
        Self::detect_at(Path::new("/"), "self")
    }

    /// Looks at the machine whose files are below `root`, and at the process that `proc` names (`self` or a number).
    pub fn detect_at(root: &Path, process: &str) -> Result<Self> {
        let read = |path: PathBuf| -> Result<String> {
            let bytes = crate::durable::read(&path, FILE_LIMIT)?.ok_or_else(|| {
                VirtError::system(libc::ENOENT, format_args!("cannot open '{}'", path.display()))
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut layout = Self {
            root: root.to_owned(),
            ..Self::default()
        };
        for line in read(root.join("proc/mounts"))?.lines() {
            let mut words = line.split(' ');
            let (Some(_), Some(folder), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            layout.note_mount(&unescape(folder), kind, options)?;
        }
        for line in read(root.join("proc").join(process).join("cgroup"))?.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
                layout.note_placement(controllers, path);
            }
        }
        layout.find_unified_controllers()?;
        if !layout.legacy.values().any(|legacy| legacy.placement.is_some()) && layout.unified.is_none() {
            return Err(VirtError::system(
                libc::ENXIO,
                "no controller of cgroups is mounted",
            ));
        }
        Ok(layout)
    }

    /// A mount seen later replaces an earlier one: it lies above it.
    fn note_mount(&mut self, folder: &str, kind: &str, options: &str) -> Result<()> {
        match kind {
            "cgroup2" => {
                self.unified = Some(Unified {
                    mount: folder.into(),
                    placement: None,
                    controllers: Vec::new(),
                });
            }
            "cgroup" => {
                for controller in Controller::ALL {
                    if options
                        .split(',')
                        .any(|option| option == controller.legacy_name())
                    {
                        let link = self.link_of(folder, controller)?;
                        let legacy = Legacy {
                            mount: folder.into(),
                            link,
                            placement: None,
                        };
                        self.legacy.insert(controller, legacy);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn link_of(&self, folder: &str, controller: Controller) -> Result<Option<PathBuf>> {
        let folder = Path::new(folder);
        let shared = folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains(','));
        let Some(parent) = folder.parent().filter(|_| shared) else {
            return Ok(None);
        };
        let link = parent.join(controller.legacy_name());
        match fs::symlink_metadata(self.real(&link)) {
            Ok(found) => Ok(found.file_type().is_symlink().then_some(link)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VirtError::io(
                &error,
                format_args!("Cannot stat {}", link.display()),
            )),
        }
    }

    fn note_placement(&mut self, controllers: &str, path: &str) {
        // A nested group that a guest or systemd made for part of us: the one above is ours.
        let outer = |path: &str, inner: &str| match path.rfind(inner) {
            Some(at) => path.get(..at).unwrap_or(path).to_owned(),
            None => path.to_owned(),
        };
        if controllers.is_empty() {
            if let Some(unified) = &mut self.unified
                && unified.placement.is_none()
            {
                unified.placement = Some(outer(&outer(path, "/emulator"), "/libvirt"));
            }
            return;
        }
        for (controller, legacy) in &mut self.legacy {
            if legacy.placement.is_none()
                && controllers
                    .split(',')
                    .any(|name| name == controller.legacy_name())
            {
                legacy.placement = Some(outer(path, "/libvirt"));
            }
        }
    }

    /// systemd mounts a v2 hierarchy without controllers for its own use beside v1: that one counts as absent.
    fn find_unified_controllers(&mut self) -> Result<()> {
        let Some(unified) = self.unified.take() else {
            return Ok(());
        };
        let list = |folder: PathBuf| -> Result<Vec<Controller>> {
            let content = crate::durable::read(&folder.join("cgroup.controllers"), FILE_LIMIT)?;
            let text = String::from_utf8_lossy(&content.unwrap_or_default()).into_owned();
            Ok(Controller::ALL
                .into_iter()
                .filter(|controller| {
                    text.split_ascii_whitespace()
                        .any(|name| controller.unified_name() == Some(name))
                })
                .collect())
        };
        let mount = self.real(&unified.mount);
        if list(mount.clone())?.is_empty() {
            return Ok(());
        }
        let placement = unified.placement.as_deref().unwrap_or("");
        let mut controllers = list(mount.join(placement.trim_start_matches('/')))?;
        controllers.push(Controller::Cpuacct);
        controllers.retain(|controller| !self.legacy.contains_key(controller));
        controllers.sort_unstable();
        self.unified = Some(Unified {
            controllers,
            ..unified
        });
        Ok(())
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The group that the process is in.
    pub fn own_group(&self) -> Group {
        let mut folders = BTreeMap::new();
        if let Some(unified) = &self.unified {
            let placement = unified.placement.as_deref().unwrap_or("");
            let folder = self.real(&unified.mount).join(placement.trim_start_matches('/'));
            for controller in &unified.controllers {
                folders.insert(*controller, (Version::V2, folder.clone()));
            }
        }
        for (controller, legacy) in &self.legacy {
            if let Some(placement) = &legacy.placement {
                let folder = self.real(&legacy.mount).join(placement.trim_start_matches('/'));
                folders.insert(*controller, (Version::V1, folder));
            }
        }
        Group { folders }
    }

    /// The group with this path from the top of every hierarchy. systemd's own hierarchy is left out: only systemd
    /// makes groups there.
    pub fn group(&self, path: &str) -> Group {
        let below = path.trim_start_matches('/');
        let mut folders = BTreeMap::new();
        if let Some(unified) = &self.unified {
            let folder = self.real(&unified.mount).join(below);
            for controller in &unified.controllers {
                folders.insert(*controller, (Version::V2, folder.clone()));
            }
        }
        for (controller, legacy) in &self.legacy {
            if *controller != Controller::Systemd {
                folders.insert(*controller, (Version::V1, self.real(&legacy.mount).join(below)));
            }
        }
        Group { folders }
    }
}

/// `\040` and the like of `/proc/mounts`.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `name` so that it cannot be taken for a file of the kernel's in the same folder: those start with `cgroup.`, with
/// the name of a controller and a dot, or are `notify_on_release`, `release_agent` and `tasks`; and a leading `_` or
/// `.` marks what was escaped.
pub fn escape_name(name: &str) -> String {
    let taken = ["notify_on_release", "release_agent", "tasks"].contains(&name)
        || name.starts_with(['_', '.'])
        || name.split_once('.').is_some_and(|(first, _)| {
            first == "cgroup"
                || Controller::ALL.iter().any(|controller| {
                    controller.legacy_name() == first || controller.unified_name() == Some(first)
                })
        });
    if taken {
        format!("_{name}")
    } else {
        name.to_owned()
    }
}

/// One group: a folder in each hierarchy in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    folders: BTreeMap<Controller, (Version, PathBuf)>,
}

impl Group {
    /// Which kind of hierarchy serves `controller` here; `None` if none does.
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.folders.get(&controller).map(|(version, _)| *version)
    }

    /// The group `name` in this one. systemd's hierarchy stays where it is.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let folders = self
            .folders
            .iter()
            .filter(|(controller, _)| **controller != Controller::Systemd)
            .map(|(controller, (version, folder))| (*controller, (*version, folder.join(name))))
            .collect();
        Self { folders }
    }

    /// Each folder once.
    fn unique(&self) -> Vec<(Version, &Path)> {
        let mut all: Vec<(Version, &Path)> = Vec::new();
        for (version, folder) in self.folders.values() {
            if !all.iter().any(|(_, have)| have == folder) {
                all.push((*version, folder));
            }
        }
        all
    }

    /// Whether it exists in every hierarchy.
    pub fn exists(&self) -> bool {
        self.unique().iter().all(|(_, folder)| folder.is_dir())
    }

    /// Makes it where it is missing; its parent must be there. In v1 a new `cpuset` takes over its parent's CPUs and
    /// memory, or nothing could be put in; in v2 the parent hands its controllers down.
    pub fn make(&self) -> Result<()> {
        for (version, folder) in self.unique() {
            if version == Version::V2
                && let Some(parent) = folder.parent()
            {
                self.hand_down(parent);
            }
            match fs::create_dir(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(VirtError::io(
                        &error,
                        format_args!("Failed to create v1/v2 cgroup '{}'", folder.display()),
                    ));
                }
            }
            if self.folders.get(&Controller::Cpuset) == Some(&(Version::V1, folder.to_owned())) {
                self.inherit_cpuset(folder)?;
            }
        }
        Ok(())
    }

    /// What the parent cannot hand down shows when it is used: another manager may own that decision.
    fn hand_down(&self, parent: &Path) {
        for (controller, (version, _)) in &self.folders {
            if let (Version::V2, Some(name)) = (version, controller.unified_name()) {
                let file = parent.join("cgroup.subtree_control");
                if let Err(error) = write_file(&file, &format!("+{name}")) {
                    tracing::debug!("controller {name} is not handed down: {error}");
                }
            }
        }
    }

    fn inherit_cpuset(&self, folder: &Path) -> Result<()> {
        let Some(parent) = folder.parent() else {
            return Ok(());
        };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = read_file(&parent.join(file))?;
            write_file(&folder.join(file), &value)?;
        }
        Ok(())
    }

    /// Moves a process with all its threads into it.
    pub fn add_process(&self, pid: i32) -> Result<()> {
        for (_, folder) in self.unique() {
            write_file(&folder.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The processes in it.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for (_, folder) in self.unique() {
            let text = read_file(&folder.join("cgroup.procs"))?;
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Where the files of `controller` are.
    pub fn folder(&self, controller: Controller) -> Result<&Path> {
        match self.folders.get(&controller) {
            Some((_, folder)) => Ok(folder),
            None => Err(VirtError::system(
                libc::ENXIO,
                format_args!(
                    "cgroup controller '{}' is not available",
                    controller.legacy_name()
                ),
            )),
        }
    }

    /// A file's content without the last line end.
    pub fn read(&self, controller: Controller, file: &str) -> Result<String> {
        read_file(&self.folder(controller)?.join(file))
    }

    /// Sets a file.
    pub fn write(&self, controller: Controller, file: &str, value: &str) -> Result<()> {
        write_file(&self.folder(controller)?.join(file), value)
    }

    /// Removes it with all groups in it. A group with processes cannot be removed (EBUSY); one that is gone already
    /// is no error.
    pub fn remove(&self) -> Result<()> {
        for (_, folder) in self.unique() {
            remove_tree(folder)?;
        }
        Ok(())
    }
}

fn remove_tree(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(VirtError::io(
                &error,
                format_args!("Unable to read cgroup '{}'", folder.display()),
            ));
        }
    };
    for entry in entries.flatten() {
        // Never through a link.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(VirtError::io(
            &error,
            format_args!("Unable to remove cgroup '{}'", folder.display()),
        )),
        _ => Ok(()),
    }
}

fn read_file(path: &Path) -> Result<String> {
    let bytes = crate::durable::read(path, FILE_LIMIT)?
        .ok_or_else(|| VirtError::system(libc::ENOENT, format_args!("cannot read '{}'", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

/// The kernel takes a value in one write, and answers to it.
fn write_file(path: &Path, value: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .or_system(|| format!("cannot write '{value}' to '{}'", path.display()))
}

#[cfg(test)]
mod tests;
