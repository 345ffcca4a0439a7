//! Files that survive: whatever moment the power or the process goes, a file holds its old or its new content, and
//! once a function here has returned the new one stays.
//!
//! A new content goes into `NAME.new` beside the file, is flushed, takes the name, and the folder is flushed: that is
//! also libvirt's way, so a leftover of ours is overwritten by stock libvirt and the reverse. Each step is a fail
//! point of [`FAIL_POINTS`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::SystemResult;
use crate::{ErrorCode, Result, VirtError};

crate::fail_points! {
    /// Every step of every function here: a test kills the process at each.
    pub const FAIL_POINTS;
    WRITE_CREATE = "durable.write.create";
    WRITE_CONTENT = "durable.write.content";
    WRITE_SYNC = "durable.write.sync";
    WRITE_RENAME = "durable.write.rename";
    WRITE_SYNC_FOLDER = "durable.write.sync-folder";
    REMOVE_UNLINK = "durable.remove.unlink";
    REMOVE_SYNC_FOLDER = "durable.remove.sync-folder";
    LINK_CREATE = "durable.link.create";
    LINK_RENAME = "durable.link.rename";
    LINK_SYNC_FOLDER = "durable.link.sync-folder";
    MOVE_RENAME = "durable.move.rename";
    MOVE_SYNC_FOLDER = "durable.move.sync-folder";
}

/// How [`write()`] makes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Permission bits, whatever the umask says.
    pub mode: u32,
    /// User and group, unless they stay ours.
    pub owner: Option<(u32, u32)>,
    /// Whether the content must survive a power cut. `false` for state of this boot: it still is old or new, and
    /// survives the end of the process.
    pub sync: bool,
}

impl Default for WriteOptions {
    /// Readable by the owner alone, flushed to disk.
    fn default() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            sync: true,
        }
    }
}

/// Puts `content` into the file at `path`, replacing what is there.
pub fn write(path: &Path, content: &[u8], options: &WriteOptions) -> Result<()> {
    let temporary = temporary_beside(path);
    let named = || format!("cannot write '{}'", path.display());
    WRITE_CREATE.pass()?;
    let mut file = create_temporary(&temporary, path)?;
    let written = (|| {
        WRITE_CONTENT.pass()?;
        file.write_all(content).or_system(named)?;
        file.set_permissions(Permissions::from_mode(options.mode))
            .or_system(named)?;
        if let Some((uid, gid)) = options.owner {
            fchown(&*file, Some(uid), Some(gid)).or_system(named)?;
        }
        WRITE_SYNC.pass()?;
        if options.sync {
            file.sync_all().or_system(named)?;
        }
        WRITE_RENAME.pass()?;
        fs::rename(&temporary, path).or_system(named)
    })();
    if written.is_err() {
        // Nothing is lost if this fails: the next write starts by emptying it.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    WRITE_SYNC_FOLDER.pass()?;
    if options.sync {
        sync_folder_of(path)
    } else {
        Ok(())
    }
}

/// Removes the file or link at `path`. Returns whether there was one.
pub fn remove(path: &Path) -> Result<bool> {
    REMOVE_UNLINK.pass()?;
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(VirtError::io(
                &error,
                format_args!("cannot remove '{}'", path.display()),
            ));
        }
    }
    REMOVE_SYNC_FOLDER.pass()?;
    sync_folder_of(path).map(|()| true)
}

/// Makes `link` a symbolic link to `target`, replacing what is there.
pub fn link(target: &Path, link: &Path) -> Result<()> {
    let temporary = temporary_beside(link);
    let named = || {
        format!(
            "cannot make the link '{}' to '{}'",
            link.display(),
            target.display()
        )
    };
    LINK_CREATE.pass()?;
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(VirtError::io(&error, named())),
    }
    symlink(target, &temporary).or_system(named)?;
    let renamed = LINK_RENAME
        .pass()
        .and_then(|()| fs::rename(&temporary, link).or_system(named));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    LINK_SYNC_FOLDER.pass()?;
    sync_folder_of(link)
}

/// Gives the file at `from` the name `to`, replacing what is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    MOVE_RENAME.pass()?;
    fs::rename(from, to).or_system(|| format!("cannot rename '{}' to '{}'", from.display(), to.display()))?;
    MOVE_SYNC_FOLDER.pass()?;
    sync_folder_of(to)?;
    if from.parent() != to.parent() {
        sync_folder_of(from)?;
    }
    Ok(())
}

/// Makes a folder with its missing parents; those that are there already stay as they are. `mode` is for the new ones.
pub fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .or_system(|| format!("cannot make folder '{}'", path.display()))
}

/// The content of the file at `path`, `None` if there is none. A file above `limit` bytes is an error.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let named = || format!("cannot read '{}'", path.display());
    let file = match OpenOptions::new()
        .read(true)
        // A FIFO put in our way must not hang us.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VirtError::io(&error, named())),
    };
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .or_system(named)?;
    if content.len() as u64 > limit {
        return Err(VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!(
                "'{}' is larger than the {limit} bytes that are allowed",
                path.display()
            ),
        ));
    }
    Ok(Some(content))
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// Opens the temporary file, empty and ours alone: a second writer of the same file is refused, a leftover is reused.
fn create_temporary(temporary: &Path, path: &Path) -> Result<Flock<File>> {
    let named = || format!("cannot make file '{}'", temporary.display());
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(temporary)
            .or_system(named)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => VirtError::new(
                ErrorCode::OPERATION_FAILED,
                format_args!("'{}' is being written by somebody else", path.display()),
            ),
            errno => VirtError::system(errno as i32, named()),
        })?;
        // The one who had it before us may have renamed it to its final name: then it is not ours to change.
        let ours = file.metadata().or_system(named)?;
        match fs::symlink_metadata(temporary) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            _ => continue,
        }
        file.set_len(0).or_system(named)?;
        return Ok(file);
    }
}

fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_system(|| format!("cannot flush directory '{}'", folder.display()))
}

#[cfg(test)]
mod tests;
