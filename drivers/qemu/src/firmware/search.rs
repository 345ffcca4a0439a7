//! Where QEMU's interoperability descriptors (firmware, vhost-user back ends …) are looked for, and which are in force.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use virt_util::Result;
use virt_util::error::SystemResult as _;

use super::{Descriptor, MAX_DESCRIPTOR};

/// A kind of descriptor: the name of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interop {
    /// Firmware images.
    Firmware,
    /// vhost-user back ends.
    VhostUser,
}

impl Interop {
    /// The folder's name.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::VhostUser => "vhost-user",
        }
    }
}

/// The folders that are searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// A prefix of every path, for a host that is looked at from outside; empty for this host.
    pub root: PathBuf,
    /// The user's configuration folder (`$XDG_CONFIG_HOME`); only an unprivileged driver has one.
    pub user: Option<PathBuf>,
}

impl SearchPath {
    /// The path of a driver that runs as root.
    pub fn system() -> Self {
        Self {
            root: PathBuf::new(),
            user: None,
        }
    }

    /// The path of a driver that runs as a user, whose configuration folder is given.
    pub fn session(user: impl Into<PathBuf>) -> Self {
        Self {
            root: PathBuf::new(),
            user: Some(user.into()),
        }
    }

    /// The same below a prefix.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The descriptors in force, sorted by file name, as paths without the prefix.
    ///
    /// A file hides those of the same name in folders of lower priority (the user's, `/etc`, `/usr/share`); an empty
    /// file hides them and is none itself.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` for a folder or file that exists and cannot be read.
    pub fn descriptors(&self, kind: Interop) -> Result<Vec<PathBuf>> {
        let mut found: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
        let mut folders = vec![
            Path::new("/usr/share/qemu").join(kind.folder()),
            Path::new("/etc/qemu").join(kind.folder()),
        ];
        folders.extend(
            self.user
                .as_ref()
                .map(|user| user.join("qemu").join(kind.folder())),
        );
        for folder in folders {
            let real = self.real(&folder);
            let entries = match fs::read_dir(&real) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).or_system(|| format!("cannot read folder '{}'", real.display()));
                }
            };
            for entry in entries {
                let entry = entry.or_system(|| format!("cannot read folder '{}'", real.display()))?;
                let name = entry.file_name();
                if name.as_encoded_bytes().first() == Some(&b'.') {
                    continue;
                }
                let path = entry.path();
                let metadata =
                    fs::metadata(&path).or_system(|| format!("cannot look at '{}'", path.display()))?;
                if metadata.is_file() {
                    found.insert(name.clone(), folder.join(name));
                }
            }
        }
        let mut in_force = Vec::new();
        for path in found.into_values() {
            let real = self.real(&path);
            let metadata =
                fs::metadata(&real).or_system(|| format!("cannot look at '{}'", real.display()))?;
            if metadata.len() > 0 {
                in_force.push(path);
            }
        }
        Ok(in_force)
    }

    /// The firmware descriptors in force with their paths. One that cannot be understood is reported and left out.
    ///
    /// # Errors
    /// As [`SearchPath::descriptors`].
    pub fn firmware(&self) -> Result<Vec<(PathBuf, Descriptor)>> {
        let mut all = Vec::new();
        for path in self.descriptors(Interop::Firmware)? {
            match self.read(&path).and_then(|text| Descriptor::parse(&text)) {
                Ok(descriptor) => all.push((path, descriptor)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "firmware descriptor ignored"),
            }
        }
        Ok(all)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let real = self.real(path);
        let open = || format!("cannot read '{}'", real.display());
        let mut text = Vec::new();
        let file = fs::File::open(&real).or_system(open)?;
        file.take(MAX_DESCRIPTOR).read_to_end(&mut text).or_system(open)?;
        Ok(text)
    }

    fn real(&self, path: &Path) -> PathBuf {
        if self.root.as_os_str().is_empty() {
            return path.to_owned();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_particular_file_wins_and_an_empty_one_hides() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("usr/share/qemu/firmware/50-a.json", "x");
        put("usr/share/qemu/firmware/60-b.json", "x");
        put("usr/share/qemu/firmware/.hidden", "x");
        put("etc/qemu/firmware/50-a.json", "y");
        put("home/u/.config/qemu/firmware/60-b.json", "");
        put("home/u/.config/qemu/firmware/10-c.json", "z");
        let paths = |search: SearchPath| -> Vec<String> {
            search
                .below(root.path())
                .descriptors(Interop::Firmware)
                .unwrap()
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(
            paths(SearchPath::system()),
            [
                "/etc/qemu/firmware/50-a.json",
                "/usr/share/qemu/firmware/60-b.json"
            ]
        );
        assert_eq!(
            paths(SearchPath::session("/home/u/.config")),
            [
                "/home/u/.config/qemu/firmware/10-c.json",
                "/etc/qemu/firmware/50-a.json"
            ]
        );
        assert!(
            SearchPath::system()
                .below("/nonexistent")
                .descriptors(Interop::VhostUser)
                .unwrap()
                .is_empty()
        );
    }
}
