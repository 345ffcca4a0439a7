//! Mount tables: `/proc/mounts` and files like it.

use std::borrow::Cow;
use std::path::Path;

use nix::sys::statfs::statfs;

use crate::error::{Result, SystemResult};

/// A line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'t> {
    /// What is mounted.
    pub source: Cow<'t, str>,
    /// Where.
    pub folder: Cow<'t, str>,
    /// The type of file system.
    pub kind: &'t str,
    /// The options.
    pub options: &'t str,
}

/// The lines of a mount table, in order; what makes no sense is passed over.
pub fn parse(table: &str) -> impl Iterator<Item = Mount<'_>> {
    table.lines().filter_map(|line| {
        let line = line.trim_ascii_start();
        if line.starts_with('#') {
            return None;
        }
        let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
        Some(Mount {
            source: unescape(fields.next()?),
            folder: unescape(fields.next()?),
            kind: fields.next()?,
            options: fields.next().unwrap_or_default(),
        })
    })
}

/// Blanks and backslashes stand as octal numbers: `\040`.
fn unescape(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return Cow::Borrowed(field);
    }
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, escaped)) = rest.split_once('\\') {
        out.push_str(before);
        let code = escaped.get(..3).and_then(|digits| match digits {
            "040" => Some(' '),
            "011" => Some('\t'),
            "012" => Some('\n'),
            "134" => Some('\\'),
            "043" => Some('#'),
            _ => None,
        });
        match code {
            Some(c) => {
                out.push(c);
                rest = escaped.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = escaped;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The folders of a table that are `prefix` or in it, sorted.
pub fn subtree(table: &str, prefix: &str) -> Vec<String> {
    let below = |folder: &str| {
        folder
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut folders: Vec<String> = parse(table)
        .filter(|mount| below(&mount.folder))
        .map(|mount| mount.folder.into_owned())
        .collect();
    folders.sort();
    folders
}

/// Types of file system that several hosts share, with the number that `statfs` has for each; 0 where the number is that
/// of FUSE and only the table tells.
const SHARED: &[(&str, u32)] = &[
    ("nfs", 0x6969),
    ("nfs4", 0x6969),
    ("gfs2", 0x0116_1970),
    ("ocfs2", 0x7461_636f),
    ("afs", 0x6b41_4653),
    ("smb", 0x517b),
    ("smb3", 0xff53_4d42),
    ("cifs", 0xff53_4d42),
    ("ceph", 0x00c3_6400),
    ("gpfs", 0x4750_4653),
    ("acfs", 0x6163_6673),
    ("beegfs", 0x1983_0326),
    ("fuse.glusterfs", 0),
    ("fuse.quobyte", 0),
];

/// The number that `statfs` has for FUSE.
const FUSE: u32 = 0x6573_5546;

/// Whether several hosts share file systems of this type.
pub fn is_shared_type(kind: &str) -> bool {
    SHARED.iter().any(|(known, _)| *known == kind)
}

/// The file system that holds `path`, by a table: the one mounted at the longest part of it, the last one of several at one
/// place. `path` must be free of links.
pub fn mount_of<'t>(table: &'t str, path: &str) -> Option<Mount<'t>> {
    let holds = |mount: &Mount<'_>| {
        let folder = mount.folder.trim_end_matches('/');
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    parse(table).filter(holds).max_by_key(|mount| mount.folder.len())
}

/// Whether other hosts see `path` (or, if it is not there, the folder in which it would be) as well: migration depends on it.
/// `table` is `/proc/mounts`.
///
/// # Errors
/// `SYSTEM_ERROR` if no folder above it can be looked at.
pub fn is_on_shared_file_system(path: &Path, table: &str) -> Result<bool> {
    let mut place = path;
    let found = loop {
        match (statfs(place), place.parent()) {
            (Ok(found), _) => break found,
            // What is hidden from us is looked for further up: a server's export can be seen from outside.
            (Err(_), Some(parent)) if !parent.as_os_str().is_empty() => place = parent,
            (Err(error), _) => {
                return Err(std::io::Error::from(error))
                    .or_system(|| format!("cannot tell the file system of '{}'", path.display()));
            }
        }
    };
    // The kernel's type is signed on some machines; the numbers are 32 bits everywhere.
    let number = found.filesystem_type().0 as u32;
    if number == FUSE {
        let real = std::fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        return Ok(mount_of(table, &real.to_string_lossy()).is_some_and(|mount| is_shared_type(mount.kind)));
    }
    Ok(SHARED.iter().any(|(_, known)| *known != 0 && *known == number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n# comment\n\
        srv:/a /mnt/a\\040b nfs4 rw 0 0\nglu /mnt fuse.glusterfs rw 0 0\nbinfmt /proc/sys/fs binfmt_misc rw 0 0\nshort\n";

    #[test]
    fn the_longest_folder_holds_a_path() {
        let kind = |path| mount_of(TABLE, path).map(|mount| mount.kind);
        assert_eq!(kind("/etc/passwd"), Some("ext4"));
        assert_eq!(kind("/mnt/a b/c"), Some("nfs4"));
        assert_eq!(kind("/mnt/ab"), Some("fuse.glusterfs"));
        assert_eq!(kind("/mntx"), Some("ext4"));
        assert_eq!(subtree(TABLE, "/proc"), ["/proc", "/proc/sys/fs"]);
        assert_eq!(subtree(TABLE, "/pro"), [""; 0]);
    }

    #[test]
    fn this_host_can_be_asked() {
        assert!(!is_on_shared_file_system(Path::new("/proc/none/such"), TABLE).unwrap());
        assert!(is_on_shared_file_system(Path::new(""), TABLE).is_err());
    }

    proptest! {
        #[test]
        fn any_table_is_survived(table in "[ /\\\\0-9a\\n\\PC]{0,60}", path in "/[a/]{0,9}") {
            let _ = mount_of(&table, &path);
            subtree(&table, &path);
        }
    }
}
