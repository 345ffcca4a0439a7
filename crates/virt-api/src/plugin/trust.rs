//! Whose file a plugin is: its code will run with all our rights.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use virt_util::{ErrorCode, Result, VirtError};

/// A plugin file that may be loaded, opened so that what is checked is what was opened.
pub(super) struct Trusted {
    /// The real path.
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) length: u64,
}

fn refused(path: &Path, found: impl std::fmt::Display, wanted: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::OPERATION_FAILED,
        format_args!("{}: {found}, {wanted} wanted", path.display()),
    )
}

/// Checks that nobody but root and ourselves could have written `path`.
pub(super) fn open(path: &Path) -> Result<Trusted> {
    let real = real_path(path)?;
    let file = File::options()
        .read(true)
        // The last component was no link a moment ago; a reader of a FIFO must not wait for a writer.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&real)
        .map_err(|error| VirtError::io(&error, format_args!("cannot open driver '{}'", real.display())))?;
    let metadata = file
        .metadata()
        .map_err(|error| VirtError::io(&error, format_args!("cannot examine driver '{}'", real.display())))?;
    if !metadata.is_file() {
        return Err(refused(&real, kind_of(&metadata), "a regular file"));
    }
    check_owner(&real, &metadata)?;
    if geteuid().is_root() {
        for directory in real.ancestors().skip(1) {
            let metadata = directory.metadata().map_err(|error| {
                VirtError::io(&error, format_args!("cannot examine '{}'", directory.display()))
            })?;
            check_directory(directory, &metadata)
                .map_err(|error| error.context(format_args!("{}", real.display())))?;
        }
    }
    Ok(Trusted {
        length: metadata.len(),
        path: real,
        file,
    })
}

/// The path with every directory resolved. The file itself must not be a link: the note, the owner and the code must
/// be those of one file.
fn real_path(path: &Path) -> Result<PathBuf> {
    let metadata = path
        .symlink_metadata()
        .map_err(|error| VirtError::io(&error, format_args!("cannot find driver '{}'", path.display())))?;
    if !metadata.is_file() {
        return Err(refused(path, kind_of(&metadata), "a regular file"));
    }
    path.canonicalize()
        .map_err(|error| VirtError::io(&error, format_args!("cannot resolve '{}'", path.display())))
}

fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "it is a symbolic link"
    } else if kind.is_dir() {
        "it is a directory"
    } else {
        "it is a special file"
    }
}

/// The file: owner root or ourselves, not writable by others, by its group only if we are nobody special.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<()> {
    let uid = geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != uid {
        return Err(refused(
            path,
            format_args!("its owner has uid {}", metadata.uid()),
            format_args!("0 or {uid}"),
        ));
    }
    let forbidden = if uid == 0 { 0o022 } else { 0o002 };
    if metadata.mode() & forbidden != 0 {
        let who = if uid == 0 { "group and others" } else { "others" };
        return Err(refused(
            path,
            format_args!("its mode is {:04o}", metadata.mode() & 0o7777),
            format_args!("a mode that lets {who} not write"),
        ));
    }
    Ok(())
}

/// A parent directory, for root: nobody else may put another file in its place. With the sticky bit others may write
/// (`/tmp`), since they cannot rename what is not theirs.
fn check_directory(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.uid() != 0 {
        return Err(refused(
            path,
            format_args!("the directory's owner has uid {}", metadata.uid()),
            "0",
        ));
    }
    if metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
        return Err(refused(
            path,
            format_args!("the directory's mode is {:04o}", metadata.mode() & 0o7777),
            "a mode that lets group and others not write",
        ));
    }
    Ok(())
}
