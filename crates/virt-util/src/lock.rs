//! Locks on files between processes, as libvirt takes them, so that a stock libvirt daemon and ours keep each other
//! out.
//!
//! A [`PidFile`] is a file with the holder's process number in it and an exclusive fcntl lock on its first byte. The
//! lock belongs to the **process**: it is gone when the process ends however it ends, and when *any* descriptor of
//! the file is closed in the process. So this module remembers which files the process holds and never opens those
//! again; nobody else may either.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use parking_lot::Mutex;

use crate::error::SystemResult;
use crate::{ErrorCode, Result, VirtError};

/// Device and inode of the pid files that this process holds; locked for as long as one is taken or asked about.
static HELD: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn is_held(held: &[(u64, u64)], path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| held.contains(&identity(&metadata)))
}

/// A pid file that this process holds. Dropping it removes the file, then lets the lock go.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// What a pid file says to those who do not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is no such file, or nobody holds it.
    Nobody,
    /// This process holds it.
    Process(i32),
    /// Somebody holds it, but who is not readable.
    Unknown,
}

impl PidFile {
    /// Takes the file, creating it with mode 0644. If another process has it, the error names that process.
    pub fn acquire(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut held = HELD.lock();
        if is_held(&held, &path) {
            let own = Holder::Process(std::process::id() as i32);
            return Err(taken(&path, Errno::EAGAIN, own));
        }
        loop {
            let mut file = OpenOptions::new()
                .write(true)
                .read(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(&path)
                .or_system(|| format!("cannot open PID file '{}'", path.display()))?;
            match fcntl(&file, FcntlArg::F_SETLK(&first_byte(libc::F_WRLCK))) {
                Ok(_) => {}
                Err(errno @ (Errno::EAGAIN | Errno::EACCES)) => {
                    return Err(taken(&path, errno, holder_of(&file)?));
                }
                Err(errno) => {
                    return Err(errno).or_system(|| format!("cannot lock PID file '{}'", path.display()));
                }
            }
            // Somebody may have removed or replaced the file between our open and our lock.
            let ours = file
                .metadata()
                .or_system(|| format!("cannot look at PID file '{}'", path.display()))?;
            match std::fs::metadata(&path) {
                Ok(named) if identity(&named) == identity(&ours) => {}
                _ => continue,
            }
            file.set_len(0)
                .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
                .or_system(|| format!("cannot write PID file '{}'", path.display()))?;
            held.push(identity(&ours));
            return Ok(Self { path, file });
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who holds the file at `path`.
    pub fn holder(path: &Path) -> Result<Holder> {
        let held = HELD.lock();
        if is_held(&held, path) {
            return Ok(Holder::Process(std::process::id() as i32));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(error) => {
                return Err(VirtError::io(
                    &error,
                    format_args!("cannot open PID file '{}'", path.display()),
                ));
            }
        };
        holder_of(&file)
    }

    /// The number written in the file at `path`, whoever holds it; `None` if there is no file.
    pub fn read(path: &Path) -> Result<Option<i32>> {
        match std::fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                VirtError::internal(format_args!(
                    "pid file '{}' holds '{}', which is no process number",
                    path.display(),
                    text.chars().take(32).collect::<String>().trim()
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VirtError::io(
                &error,
                format_args!("cannot read PID file '{}'", path.display()),
            )),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Name first, lock second: between the two nobody can lock a file that is about to lose its name.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove pid file '{}': {error}", self.path.display());
        }
        let mut held = HELD.lock();
        if let Ok(metadata) = self.file.metadata() {
            let ours = identity(&metadata);
            held.retain(|other| *other != ours);
        }
    }
}

fn first_byte(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

/// Asks the kernel who has the lock; if that process is in another container, the text in the file says.
fn holder_of(file: &File) -> Result<Holder> {
    let mut lock = first_byte(libc::F_WRLCK);
    fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock)).or_system(|| "cannot ask who holds a lock")?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(Holder::Nobody);
    }
    if lock.l_pid > 0 {
        return Ok(Holder::Process(lock.l_pid));
    }
    let mut text = String::new();
    let mut file = file;
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(32).read_to_string(&mut text));
    match (read, text.trim().parse()) {
        (Ok(_), Ok(pid)) => Ok(Holder::Process(pid)),
        _ => Ok(Holder::Unknown),
    }
}

fn taken(path: &Path, errno: Errno, holder: Holder) -> VirtError {
    let error = VirtError::system(
        errno as i32,
        format_args!("cannot lock PID file '{}'", path.display()),
    );
    match holder {
        Holder::Process(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim_end();
            let who = if name.is_empty() {
                String::new()
            } else {
                format!(" ({name})")
            };
            error.with_hint(format!("process {pid}{who} holds it; stop that process first"))
        }
        Holder::Nobody | Holder::Unknown => error,
    }
}

/// An exclusive lock on the first byte of any file, waiting not at all. `OPERATION_FAILED` naming `what` if another
/// process has it. The lock lives as long as the file stays open (and see the module's warning).
pub fn lock_file(file: &File, what: &str) -> Result<()> {
    match fcntl(file, FcntlArg::F_SETLK(&first_byte(libc::F_WRLCK))) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!(
                "{what} is locked by {}",
                match holder_of(file)? {
                    Holder::Process(pid) => format!("process {pid}"),
                    Holder::Nobody | Holder::Unknown => "another process".to_owned(),
                }
            ),
        )),
        Err(errno) => Err(errno).or_system(|| format!("cannot lock {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Input, Session, Spawner, SystemSpawner};
    use crate::time::{Cancel, Deadline};
    use std::io::pipe;
    use std::time::Duration;

    #[test]
    fn a_pid_file_comes_with_our_number_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver.pid");
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Nobody);
        std::fs::write(&path, "999999 stale").unwrap();
        let held = PidFile::acquire(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        // A second taker in this process is refused, and does not cost the first its lock.
        assert!(PidFile::acquire(&path).is_err());
        assert_eq!(
            PidFile::holder(&path).unwrap(),
            Holder::Process(std::process::id() as i32)
        );
        drop(held);
        assert!(!path.exists());
        assert_eq!(PidFile::read(&path).unwrap(), None);
    }

    #[test]
    fn a_file_held_by_another_process_is_refused_naming_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("driver.pid");
        let (reader, writer) = pipe().unwrap();
        let mut command = Command::new("/bin/cat");
        command
            .stdin(Input::Fd(reader.into()))
            .session(Session::New)
            .pid_file(&path);
        let limit = Deadline::after(Duration::from_secs(20));
        let child = SystemSpawner.spawn(&command, limit, &Cancel::never()).unwrap();
        let error = PidFile::acquire(&path).unwrap_err();
        assert!(error.message().starts_with("cannot lock PID file"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(&format!("process {} (cat)", child.pid())), "{hint}");
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Process(child.pid()));
        assert_eq!(PidFile::read(&path).unwrap(), Some(child.pid()));
        drop(writer);
        child.wait(limit, &Cancel::never()).unwrap();
        // Dead without cleaning up: the lock is free.
        assert!(path.exists());
        PidFile::acquire(&path).unwrap();
    }
}
