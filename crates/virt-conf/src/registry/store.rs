//! Definitions, autostart links and status files on disk, in libvirt's layout.
//!
//! A definition is `FOLDER/NAME.xml`; a link of that name in the autostart folder starts it with the host, one named
//! `NAME.xml.once` the next time only. What runs has a status file in a folder of its own. Names of files never say
//! more than contents: after a kill in the middle of a rename, [`Store::load`] believes the content and puts file and
//! links right, so that every change is wholly there or not at all.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use virt_util::durable::{self, WriteOptions};
use virt_util::error::SystemResult;
use virt_util::{ErrorCode, Result, VirtError};

use super::kind::Definition;

/// Larger files are refused.
const FILE_MAX: u64 = 64 * 1024 * 1024;
const SUFFIX: &str = ".xml";

/// How a definition is kept on disk.
pub trait DiskFormat: Definition + Sized {
    /// The whole definition, secrets included, as XML that ends in a line break.
    fn to_disk(&self) -> Result<String>;

    /// Reads what [`DiskFormat::to_disk`] or libvirt has written.
    fn from_disk(text: &str, path: &Path) -> Result<Self>;
}

/// A folder of definitions.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    autostart: Option<PathBuf>,
    command: &'static str,
}

/// A definition that was loaded.
#[derive(Debug)]
pub struct Loaded<D> {
    /// The definition.
    pub definition: Arc<D>,
    /// It starts with the host.
    pub autostart: bool,
    /// It starts with the host the next time.
    pub autostart_once: bool,
}

/// What a folder held.
#[derive(Debug)]
pub struct LoadResult<D> {
    /// The definitions, by file name.
    pub loaded: Vec<Loaded<D>>,
    /// Files that could not be read, and why. They stay where they are.
    pub failed: Vec<(PathBuf, VirtError)>,
}

/// Which of the two links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Always,
    Once,
}

impl Store {
    /// Definitions in `folder`, links in `autostart` where the kind has them. `command` is what the header of each file
    /// tells users to run: `edit` for `virsh edit`; an empty one leaves the header out.
    pub fn new(folder: impl Into<PathBuf>, autostart: Option<PathBuf>, command: &'static str) -> Self {
        Self {
            folder: folder.into(),
            autostart,
            command,
        }
    }

    /// Makes the folders that are missing.
    pub fn prepare(&self) -> Result<()> {
        durable::make_folder(&self.folder, 0o700)?;
        match &self.autostart {
            Some(folder) => durable::make_folder(folder, 0o700),
            None => Ok(()),
        }
    }

    /// The file of the definition `name`. `VIR_ERR_XML_ERROR` for a name that can be no file's.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        file_in(&self.folder, name)
    }

    /// Stores a definition, replacing the one of its name. Durable when it returns.
    pub fn save(&self, definition: &impl DiskFormat) -> Result<()> {
        self.write(&self.path(definition.name())?, definition)
    }

    fn write(&self, path: &Path, definition: &impl DiskFormat) -> Result<()> {
        let document = definition.to_disk()?;
        let text = match self.command {
            "" => document,
            command => with_header(definition, command, &document),
        };
        durable::write(path, text.as_bytes(), &WriteOptions::default())
    }

    /// Removes the definition `name` with its links. Returns whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool> {
        // The definition decides whether the object exists; a link without one is nothing, and load clears it away.
        let was_there = durable::remove(&self.path(name)?)?;
        for link in [Link::Always, Link::Once] {
            self.set_link(name, link, false)?;
        }
        Ok(was_there)
    }

    /// Stores `renamed` in the place of the definition `old`, links included.
    pub fn rename(&self, old: &str, renamed: &impl DiskFormat) -> Result<()> {
        let new = renamed.name();
        let (from, to) = (self.path(old)?, self.path(new)?);
        let links: Vec<Link> = [Link::Always, Link::Once]
            .into_iter()
            .filter(|link| self.has_link(old, *link))
            .collect();
        // Links of the new name lead nowhere yet. The content decides: until it is written the object has its old
        // name, whatever its file is called.
        for link in &links {
            self.set_link(new, *link, true)?;
        }
        let before = durable::read(&from, FILE_MAX)?;
        let moved = durable::rename(&from, &to).and_then(|()| self.write(&to, renamed));
        if let Err(error) = moved {
            // Undo as far as possible; what fails here load puts right.
            if let Some(before) = before
                && !from.exists()
            {
                if durable::read(&to, FILE_MAX).ok().flatten().as_ref() != Some(&before) {
                    let _ = durable::write(&to, &before, &WriteOptions::default());
                }
                let _ = durable::rename(&to, &from);
            }
            for link in links {
                let _ = self.set_link(new, link, false);
            }
            return Err(error);
        }
        for link in links {
            self.set_link(old, link, false)?;
        }
        Ok(())
    }

    /// Whether `name` starts with the host from now on.
    pub fn set_autostart(&self, name: &str, on: bool) -> Result<()> {
        self.set_link(name, Link::Always, on)
    }

    /// Whether `name` starts with the host the next time.
    pub fn set_autostart_once(&self, name: &str, on: bool) -> Result<()> {
        self.set_link(name, Link::Once, on)
    }

    fn link_path(&self, name: &str, link: Link) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.autostart else {
            return Ok(None);
        };
        let mut path = file_in(folder, name)?.into_os_string();
        if link == Link::Once {
            path.push(".once");
        }
        Ok(Some(path.into()))
    }

    fn set_link(&self, name: &str, link: Link, on: bool) -> Result<()> {
        match self.link_path(name, link)? {
            Some(path) if on => {
                durable::make_folder(path.parent().unwrap_or(Path::new("")), 0o700)?;
                durable::link(&self.path(name)?, &path)
            }
            Some(path) => durable::remove(&path).map(|_| ()),
            None if on => Err(VirtError::no_support(
                "objects of this kind do not start with the host",
            )),
            None => Ok(()),
        }
    }

    /// Whether the link is there and leads to the definition.
    fn has_link(&self, name: &str, link: Link) -> bool {
        let Ok(Some(path)) = self.link_path(name, link) else {
            return false;
        };
        let is_link = fs::symlink_metadata(&path).is_ok_and(|link| link.file_type().is_symlink());
        let target = self
            .path(name)
            .and_then(|path| fs::metadata(path).or_system(String::new));
        match (is_link, fs::metadata(&path), target) {
            (true, Ok(link), Ok(target)) => (link.dev(), link.ino()) == (target.dev(), target.ino()),
            _ => false,
        }
    }

    /// Reads all definitions, several at a time, and puts right what a kill has left half done. A file that cannot be
    /// read keeps no other from being loaded.
    pub fn load<D: DiskFormat>(&self) -> Result<LoadResult<D>> {
        self.load_with(D::from_disk)
    }

    /// [`Store::load`] for a driver that completes definitions while it reads them.
    pub fn load_with<D: Definition>(
        &self,
        read: impl Fn(&str, &Path) -> Result<D> + Sync,
    ) -> Result<LoadResult<D>> {
        let mut result = LoadResult {
            loaded: Vec::new(),
            failed: Vec::new(),
        };
        // Definitions are large: each goes to its place at once, and what waits here is small.
        for (name, outcome) in read_all(&self.folder, |text, path| read(text, path).map(Arc::new))? {
            let path = self.folder.join(format!("{name}{SUFFIX}"));
            match outcome.and_then(|definition| self.settle(&path, definition)) {
                Ok(loaded) => result.loaded.push(loaded),
                Err(error) => result.failed.push((path, error)),
            }
        }
        self.clear_dangling_links();
        Ok(result)
    }

    /// Gives a file the name that its content has.
    fn settle<D: Definition>(&self, path: &Path, definition: Arc<D>) -> Result<Loaded<D>> {
        let name = definition.name();
        let right = self.path(name)?;
        if right != path {
            if right.exists() {
                return Err(VirtError::new(
                    ErrorCode::XML_ERROR,
                    format_args!(
                        "'{}' defines '{name}', which '{}' defines already",
                        path.display(),
                        right.display()
                    ),
                ));
            }
            durable::rename(path, &right)?;
        }
        Ok(Loaded {
            autostart: self.has_link(name, Link::Always),
            autostart_once: self.has_link(name, Link::Once),
            definition,
        })
    }

    /// Removes links of ours that lead nowhere: else a later definition of that name would start by itself.
    fn clear_dangling_links(&self) {
        let Some(entries) = self
            .autostart
            .as_deref()
            .and_then(|folder| fs::read_dir(folder).ok())
        else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let ours = fs::read_link(&path).is_ok_and(|target| target.parent() == Some(&self.folder));
            if ours && !path.exists() {
                let _ = durable::remove(&path);
            }
        }
    }
}

/// A folder of status files: what the driver must know of running objects when it comes back. They need not survive
/// the host, so they are written without waiting for the disk; order is what counts: status first, then the command.
#[derive(Clone, Debug)]
pub struct StatusFolder {
    folder: PathBuf,
    command: &'static str,
}

impl StatusFolder {
    /// Status files in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            command: "edit",
        }
    }

    /// What the header of each file tells users to run, if it is not `edit`: `pool-edit` for `virsh pool-edit`.
    #[must_use]
    pub fn with_command(mut self, command: &'static str) -> Self {
        self.command = command;
        self
    }

    /// The status file of the object `name`. `VIR_ERR_XML_ERROR` for a name that can be no file's.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        file_in(&self.folder, name)
    }

    /// Makes the folder if it is missing.
    pub fn prepare(&self) -> Result<()> {
        durable::make_folder(&self.folder, 0o700)
    }

    /// Writes the status of an object: the driver's whole document.
    pub fn save(&self, definition: &impl Definition, document: &str) -> Result<()> {
        let options = WriteOptions {
            sync: false,
            ..WriteOptions::default()
        };
        let text = with_header(definition, self.command, document);
        durable::write(
            &file_in(&self.folder, definition.name())?,
            text.as_bytes(),
            &options,
        )
    }

    /// Removes the status of an object that runs no more.
    pub fn remove(&self, name: &str) -> Result<bool> {
        durable::remove(&file_in(&self.folder, name)?)
    }

    /// Reads all status files, several at a time: the name, and what `read` makes of each.
    pub fn load<T: Send>(
        &self,
        read: impl Fn(&str, &Path) -> Result<T> + Sync,
    ) -> Result<Vec<(String, Result<T>)>> {
        read_all(&self.folder, read)
    }
}

/// The XML with the comment before it that libvirt writes: do not edit this file.
pub fn with_header(definition: &impl Definition, command: &str, xml: &str) -> String {
    let safe = |text: &str| virt_util::shell::quote(text) == text && !text.contains("--");
    let uuid = definition.uuid().map(|uuid| virt_util::uuid::format(&uuid));
    let name = Some(definition.name())
        .filter(|name| safe(name))
        .or(uuid.as_deref())
        .map_or_else(String::new, |name| format!(" {name}"));
    format!(
        "<!--\n\
         WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE\n\
         OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:\n  \
         virsh {command}{name}\n\
         or other application using the libvirt API.\n\
         -->\n\n{xml}"
    )
}

/// `folder/name.xml`, for a name that stays in the folder.
fn file_in(folder: &Path, name: &str) -> Result<PathBuf> {
    let wrong = match name {
        name if name.is_empty() || name.contains(['/', '\0']) => Some(ErrorCode::XML_ERROR),
        // The system would refuse to make the file.
        name if name.len() + SUFFIX.len() > 250 => Some(ErrorCode::SYSTEM_ERROR),
        _ => None,
    };
    if let Some(code) = wrong {
        let shown: String = name.chars().take(80).collect();
        let what = format_args!("name '{shown}' cannot be a file's: 1 to 246 bytes without '/' expected");
        return Err(VirtError::new(code, what));
    }
    Ok(folder.join(format!("{name}{SUFFIX}")))
}

/// Reads all `*.xml` of a folder with as many threads as there are processors. Sorted by name; a folder that is
/// missing is empty.
fn read_all<T: Send>(
    folder: &Path,
    read: impl Fn(&str, &Path) -> Result<T> + Sync,
) -> Result<Vec<(String, Result<T>)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(VirtError::io(
                &error,
                format_args!("cannot read directory '{}'", folder.display()),
            ));
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        // Links in the folder are followed, as libvirt does; what is no file fails when it is read.
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            name.strip_suffix(SUFFIX)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    let read_one = |name: &String| {
        let path = folder.join(format!("{name}{SUFFIX}"));
        let outcome = read_text(&path).and_then(|text| read(&text, &path));
        (name.clone(), outcome)
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(names.len() / 16 + 1);
    if workers == 1 {
        return Ok(names.iter().map(read_one).collect());
    }
    let share = names.len().div_ceil(workers);
    Ok(thread::scope(|scope| {
        let threads: Vec<_> = names
            .chunks(share)
            .map(|names| scope.spawn(|| names.iter().map(read_one).collect::<Vec<_>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| match thread.join() {
                Ok(read) => read,
                // A parser's panic is not ours to swallow.
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    }))
}

fn read_text(path: &Path) -> Result<String> {
    let content = durable::read(path, FILE_MAX)?.ok_or_else(|| {
        VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("'{}' is gone", path.display()),
        )
    })?;
    String::from_utf8(content).map_err(|_| {
        VirtError::new(
            ErrorCode::XML_ERROR,
            format_args!("'{}' is not UTF-8", path.display()),
        )
    })
}

#[cfg(test)]
pub(super) mod tests;
