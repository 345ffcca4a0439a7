//! Drives of `xl.cfg`: `target,format,vdev,access` by place or by name, with options in between, and what older files
//! wrote before the target and behind the name.

use crate::domain::disk::{Disk, DiskBus, DiskDevice};
use crate::domain::storage::{
    NetProtocol, NetworkStorage, SecretReference, StorageAuth, StorageFormat, StorageHost, StorageLocation,
};
use crate::native;

type Refusal = String;

/// Format of the image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Image(StorageFormat),
    Empty,
}

/// Who runs the drive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Qdisk,
    Tap,
    Phy,
}

/// A drive as it was written.
#[derive(Default)]
struct Spec<'a> {
    target: Option<&'a str>,
    format: Option<Format>,
    vdev: Option<&'a str>,
    read_write: Option<bool>,
    access_said: bool,
    backend: Option<Backend>,
    cdrom: bool,
    /// The target bears a prefix of older files, which have no format behind it.
    old_style: bool,
}

fn set<T: PartialEq>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), Refusal> {
    if slot.as_ref().is_some_and(|old| *old != value) {
        return Err(format!("{what} is given twice"));
    }
    *slot = Some(value);
    Ok(())
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut spec = Self::default();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\n']);
            if rest.is_empty() {
                return Ok(spec);
            }
            if let Some(target) = rest.strip_prefix("target=") {
                // It takes all that is left.
                set(&mut spec.target, target, "the target")?;
                return Ok(spec);
            }
            if let Some(behind) = spec.old_prefix(rest)? {
                rest = behind;
                continue;
            }
            let (part, behind) = rest.split_once(',').unwrap_or((rest, ""));
            rest = behind;
            match part.split_once('=') {
                Some((name, value)) => spec.named(name, value)?,
                None => spec.placed(part)?,
            }
        }
    }

    /// Takes a prefix of older files, such as `phy:`.
    fn old_prefix(&mut self, text: &'a str) -> Result<Option<&'a str>, Refusal> {
        let Some((prefix, behind)) = text.split_once(':') else {
            return Ok(None);
        };
        match prefix {
            "raw" | "qcow" | "qcow2" | "vhd" | "qed" => self.format(prefix)?,
            "tapdisk" | "tap" | "tap2" | "aio" | "ioemu" | "file" | "phy" => {}
            _ => return Ok(None),
        }
        self.old_style = true;
        Ok(Some(behind))
    }

    fn named(&mut self, name: &str, value: &'a str) -> Result<(), Refusal> {
        match name {
            "format" => self.format(value),
            "vdev" => set(&mut self.vdev, value, "vdev"),
            "access" => self.access(value),
            "devtype" => match value {
                "cdrom" => {
                    self.cdrom = true;
                    Ok(())
                }
                "disk" => {
                    self.cdrom = false;
                    Ok(())
                }
                _ => Err(format!("devtype is '{value}', 'cdrom' or 'disk' is expected")),
            },
            "backendtype" => {
                let backend = match value {
                    "" => return Ok(()),
                    "qdisk" => Backend::Qdisk,
                    "tap" => Backend::Tap,
                    "phy" => Backend::Phy,
                    _ => {
                        return Err(format!(
                            "backendtype is '{value}', 'phy', 'tap' or 'qdisk' is expected"
                        ));
                    }
                };
                set(&mut self.backend, backend, "backendtype")
            }
            // What a definition cannot say.
            "backend" | "script" | "specification" | "transport" => Ok(()),
            _ => Err(format!("the parameter '{name}' is not known")),
        }
    }

    fn placed(&mut self, value: &'a str) -> Result<(), Refusal> {
        match value {
            "cdrom" => {
                self.cdrom = true;
                return Ok(());
            }
            "direct-io-safe" | "discard" | "no-discard" => return Ok(()),
            _ => {}
        }
        if self.target.is_none() {
            self.target = Some(value);
        } else if self.format.is_none() && !self.old_style {
            self.format(value)?;
        } else if self.vdev.is_none() {
            let (name, kind) = value
                .rsplit_once(':')
                .map_or((value, None), |(name, kind)| (name, Some(kind)));
            match kind {
                None => {}
                Some("cdrom") => self.cdrom = true,
                Some(kind) => {
                    return Err(format!(
                        "the kind '{kind}' of a drive is not known, 'cdrom' is expected"
                    ));
                }
            }
            self.vdev = Some(name);
        } else if !self.access_said {
            self.access(value)?;
        } else {
            return Err(format!("'{value}' is one parameter too many"));
        }
        Ok(())
    }

    fn format(&mut self, value: &str) -> Result<(), Refusal> {
        let format = match value {
            "" | "raw" => Format::Image(StorageFormat::Raw),
            "qcow" => Format::Image(StorageFormat::Qcow),
            "qcow2" => Format::Image(StorageFormat::Qcow2),
            "vhd" | "xvhd" => Format::Image(StorageFormat::Vhd),
            "qed" => Format::Image(StorageFormat::Qed),
            "empty" => Format::Empty,
            _ => {
                return Err(format!(
                    "the format is '{value}', 'raw', 'qcow', 'qcow2', 'vhd', 'qed' or 'empty' is expected"
                ));
            }
        };
        set(&mut self.format, format, "the format")
    }

    fn access(&mut self, value: &str) -> Result<(), Refusal> {
        self.access_said = true;
        match value {
            "" => {}
            "rw" | "w" | "w!" | "!" | "rw!" => self.read_write = Some(true),
            "r" | "ro" => self.read_write = Some(false),
            _ => {
                return Err(format!(
                    "the access is '{value}', 'rw', 'w', 'r' or 'ro' is expected"
                ));
            }
        }
        Ok(())
    }
}

/// Reads a drive.
pub(super) fn parse(text: &str, hvm: bool) -> Result<Disk, Refusal> {
    let spec = Spec::parse(text)?;
    let Some(vdev) = spec.vdev.filter(|vdev| !vdev.is_empty()) else {
        return Err("no vdev is given".to_owned());
    };
    let target = spec.target.filter(|target| !target.is_empty());
    if target.is_none() && !spec.cdrom {
        return Err("no target is given, which CD-ROMs alone can do without".to_owned());
    }
    let mut disk = Disk::default();
    disk.target.dev = vdev.to_owned();
    disk.target.bus = Some(match vdev {
        _ if vdev.starts_with("xvd") || !hvm => DiskBus::Xen,
        _ if vdev.starts_with("sd") => DiskBus::Scsi,
        _ => DiskBus::Ide,
    });
    disk.rest.read_only = spec.cdrom || spec.read_write == Some(false);
    let owned = target.map(str::to_owned);
    let file = |path| StorageLocation::File { path, fd_group: None };
    let driver = if spec.cdrom {
        disk.device = DiskDevice::Cdrom;
        disk.driver.format = target.is_some().then_some(StorageFormat::Raw);
        disk.source.location = file(owned);
        "qemu"
    } else {
        disk.driver.format = match spec.format {
            None => Some(StorageFormat::Raw),
            Some(Format::Image(format)) => Some(format),
            Some(Format::Empty) => None,
        };
        match (
            spec.backend,
            target.and_then(|target| target.strip_prefix("rbd:")),
        ) {
            (None | Some(Backend::Qdisk), Some(rbd)) => {
                let (location, auth) = ceph(rbd)?;
                disk.source.location = location;
                disk.source.auth = auth.map(Box::new);
                "qemu"
            }
            (None | Some(Backend::Qdisk), None) => {
                disk.source.location = file(owned);
                "qemu"
            }
            (Some(Backend::Tap), _) => {
                disk.source.location = file(owned);
                "tap"
            }
            (Some(Backend::Phy), _) => {
                disk.source.location = StorageLocation::Block { path: owned };
                "phy"
            }
        }
    };
    disk.driver.name = Some(driver.to_owned());
    Ok(disk)
}

/// `POOL/IMAGE@SNAPSHOT:OPTION=VALUE:…` of Ceph. Backslashes hide separators, and are themselves written twice.
fn ceph(text: &str) -> Result<(StorageLocation, Option<StorageAuth>), Refusal> {
    let text = text.replace("\\\\", "\\");
    let (name, options) = text.split_once(':').unwrap_or((&text, ""));
    let (name, snapshot) = match name.split_once('@') {
        Some((name, snapshot)) => (name, Some(snapshot.to_owned())),
        None => (name, None),
    };
    let mut storage = NetworkStorage {
        protocol: NetProtocol::Rbd,
        name: Some(name.to_owned()),
        snapshot,
        ..NetworkStorage::default()
    };
    let mut auth = None;
    for option in split_unescaped(options) {
        if let Some(user) = option.strip_prefix("id=") {
            if auth.is_some() {
                return Err(format!("'id' stands twice in '{name}'"));
            }
            auth = Some(StorageAuth {
                username: Some(user.to_owned()),
                secret: Some(SecretReference {
                    kind: Some("ceph".to_owned()),
                    ..SecretReference::default()
                }),
                ..StorageAuth::default()
            });
        } else if let Some(hosts) = option.strip_prefix("mon_host=") {
            let separated = hosts.replace("\\,", "\\;").replace("\\ ", "\\;");
            for host in separated.split("\\;").filter(|host| !host.is_empty()) {
                storage.hosts.push(monitor(host)?);
            }
        } else if let Some(file) = option.strip_prefix("conf=") {
            storage.config_file = Some(file.to_owned());
        }
    }
    Ok((StorageLocation::Network(Box::new(storage)), auth))
}

/// The parts between colons without a backslash before them.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == b':' && !escaped {
            parts.extend(text.get(start..at));
            start = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    parts.extend(text.get(start..).filter(|part| !part.is_empty()));
    parts
}

/// `HOST`, `HOST\:PORT` or `[ADDRESS]\:PORT`.
fn monitor(text: &str) -> Result<StorageHost, Refusal> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix("\\:")),
        None => match text.split_once("\\:") {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => 0,
        Some(port) => native::number::<u16>(port)
            .ok_or_else(|| format!("'{port}' is no port"))?
            .into(),
    };
    Ok(StorageHost {
        name: Some(name.replace("\\:", ":")),
        port,
        ..StorageHost::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Option<String> {
        parse(text, true)
            .unwrap()
            .source
            .location
            .path()
            .map(str::to_owned)
    }

    #[test]
    fn places_names_and_old_prefixes_mean_the_same() {
        for text in [
            "/a,raw,hda,w",
            "/a,,hda",
            "vdev=hda,format=raw,target=/a",
            "phy:/a,hda,w",
            "file:/a,hda:cdrom,r",
            " hda=x",
        ] {
            match text {
                " hda=x" => assert!(parse(text, true).is_err()),
                _ => assert_eq!(path(text).as_deref(), Some("/a"), "{text}"),
            }
        }
        assert_eq!(path("vdev=hdc,cdrom"), None);
        assert_eq!(path("vdev=hda,target=/a,b=c").as_deref(), Some("/a,b=c"));
        assert!(parse("vdev=hda", true).unwrap_err().contains("target"));
        assert!(parse("/a,raw,hda,rw,x", true).unwrap_err().contains("too many"));
    }

    #[test]
    fn monitors_of_ceph_are_read() {
        let disk = parse(
            "vdev=hda,target=rbd:p/i@s:id=u:mon_host=[fe80\\\\:\\\\:1]\\\\:7\\\\;b",
            true,
        )
        .unwrap();
        let StorageLocation::Network(storage) = &disk.source.location else {
            panic!()
        };
        assert_eq!(storage.name.as_deref(), Some("p/i"));
        assert_eq!(storage.snapshot.as_deref(), Some("s"));
        let hosts: Vec<_> = storage
            .hosts
            .iter()
            .map(|host| (host.name.as_deref(), host.port))
            .collect();
        assert_eq!(hosts, [(Some("fe80::1"), 7), (Some("b"), 0)]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(rbd:|target=|vdev=|phy:|[a-z:,=/\\\\;@ \\[\\]é0-9]){0,20}") {
            let _ = parse(&text, true);
        }
    }
}
