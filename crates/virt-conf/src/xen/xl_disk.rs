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
    Standalone,
}

/// A drive as it was written.
#[derive(Default)]
struct Spec<'a> {
    target: Option<&'a str>,
    format: Option<Format>,
    vdev: Option<&'a str>,
    read_only: bool,
    access_said: bool,
    backend: Option<Backend>,
    specification: Option<&'a str>,
    cdrom: bool,
    /// The target bears a prefix of older files, which have no format behind it.
    old_style: bool,
    /// What a definition cannot say, but what may be said once only.
    unheard: Vec<(&'static str, &'a str)>,
}

/// Sets what may be said again if it stays the same.
fn set<T: PartialEq>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), Refusal> {
    if slot.as_ref().is_some_and(|old| *old != value) {
        return Err(twice(what));
    }
    *slot = Some(value);
    Ok(())
}

/// Sets a text, which nothing but an empty one may stand for already.
fn save<'a>(slot: &mut Option<&'a str>, value: &'a str, what: &str) -> Result<(), Refusal> {
    if slot.is_some_and(|old| !old.is_empty()) {
        return Err(twice(what));
    }
    *slot = Some(value);
    Ok(())
}

fn twice(what: &str) -> Refusal {
    format!("{what} is given twice")
}

/// Prefixes of older files.
const OLD_PREFIXES: &[&str] = &["tapdisk", "tap", "tap2", "aio", "ioemu", "file", "phy"];
/// Prefixes that name the format.
const FORMAT_PREFIXES: &[&str] = &["raw", "qcow", "qcow2", "vhd"];
/// Prefixes that name the script that makes the drive.
const SCRIPT_PREFIXES: &[&str] = &["iscsi", "nbd", "enbd", "drbd"];

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
                // It takes all that is left, but for a last comma.
                save(
                    &mut spec.target,
                    target.strip_suffix(',').unwrap_or(target),
                    "the target",
                )?;
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
        if FORMAT_PREFIXES.contains(&prefix) {
            self.format(prefix)?;
        } else if SCRIPT_PREFIXES.contains(&prefix) {
            self.save_unheard("script", prefix)?;
        } else if !OLD_PREFIXES.contains(&prefix) {
            let mut letters = prefix.bytes();
            let is_prefix = letters.next().is_some_and(|byte| byte.is_ascii_lowercase())
                && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let word_follows = behind.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            if is_prefix && !word_follows {
                return Err(format!("the prefix '{prefix}:' is not known"));
            }
            return Ok(None);
        }
        self.old_style = true;
        Ok(Some(behind))
    }

    fn save_unheard(&mut self, name: &'static str, value: &'a str) -> Result<(), Refusal> {
        if self
            .unheard
            .iter()
            .any(|(known, old)| *known == name && !old.is_empty())
        {
            return Err(twice(name));
        }
        self.unheard.push((name, value));
        Ok(())
    }

    fn named(&mut self, name: &str, value: &'a str) -> Result<(), Refusal> {
        const UNHEARD: &[&str] = &[
            "backend",
            "script",
            "colo-host",
            "colo-export",
            "active-disk",
            "hidden-disk",
        ];
        match name {
            "format" => self.format(value),
            "vdev" => save(&mut self.vdev, value, "vdev"),
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
                    "qdisk" => Backend::Qdisk,
                    "tap" => Backend::Tap,
                    "phy" => Backend::Phy,
                    "standalone" => Backend::Standalone,
                    _ => {
                        return Err(format!(
                            "backendtype is '{value}', 'phy', 'tap', 'qdisk' or 'standalone' is expected"
                        ));
                    }
                };
                set(&mut self.backend, backend, "backendtype")
            }
            "specification" => match value {
                "xen" | "virtio" => set(&mut self.specification, value, "specification"),
                _ => Err(format!(
                    "specification is '{value}', 'xen' or 'virtio' is expected"
                )),
            },
            "colo-port" => {
                let number = value.trim_ascii_start();
                let number = number.strip_prefix(['+', '-']).unwrap_or(number);
                let mut digits = number.bytes().take_while(u8::is_ascii_digit);
                match digits.any(|digit| digit != b'0') {
                    true => Ok(()),
                    false => Err(format!("colo-port is '{value}', a number is expected")),
                }
            }
            "grant_usage" if matches!(value, "0" | "1") => Ok(()),
            _ => match UNHEARD.iter().find(|known| **known == name) {
                Some(name) => self.save_unheard(name, value),
                None => Err(format!("the parameter '{name}' is not known")),
            },
        }
    }

    fn placed(&mut self, value: &'a str) -> Result<(), Refusal> {
        match value {
            "cdrom" => {
                self.cdrom = true;
                return Ok(());
            }
            "direct-io-safe" | "discard" | "no-discard" | "colo" | "no-colo" | "trusted" | "untrusted" => {
                return Ok(());
            }
            _ => {}
        }
        match self.target {
            None => self.target = Some(value),
            Some(target) if self.format.is_none() && !self.old_style => {
                if target.is_empty() && value.contains(':') {
                    self.drive(value)?;
                    self.format = Some(Format::Empty);
                } else {
                    self.format(value)?;
                }
            }
            Some(_) if self.vdev.is_none() => self.drive(value)?,
            Some(_) if !self.access_said => {
                self.access_said = true;
                self.access(value)?;
            }
            Some(_) => return Err(format!("'{value}' is one parameter too many")),
        }
        Ok(())
    }

    /// The name of the drive, with or without what it is.
    fn drive(&mut self, value: &'a str) -> Result<(), Refusal> {
        let (name, kind) = value
            .rsplit_once(':')
            .map_or((value, None), |(name, kind)| (name, Some(kind)));
        save(&mut self.vdev, name, "vdev")?;
        match kind {
            None => {}
            Some("cdrom") => self.cdrom = true,
            Some("disk") => self.cdrom = false,
            Some(kind) => {
                return Err(format!(
                    "the kind '{kind}' of a drive is not known, 'cdrom' or 'disk' is expected"
                ));
            }
        }
        Ok(())
    }

    fn format(&mut self, value: &str) -> Result<(), Refusal> {
        let format = match value {
            "" | "raw" => Format::Image(StorageFormat::Raw),
            "qcow" => Format::Image(StorageFormat::Qcow),
            "qcow2" => Format::Image(StorageFormat::Qcow2),
            "vhd" => Format::Image(StorageFormat::Vhd),
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
        self.read_only = match value {
            "" | "rw" | "w" => false,
            "r" | "ro" => true,
            _ => {
                return Err(format!(
                    "the access is '{value}', 'rw', 'w', 'r' or 'ro' is expected"
                ));
            }
        };
        Ok(())
    }
}

/// Reads a drive.
pub(super) fn parse(text: &str, hvm: bool) -> Result<Disk, Refusal> {
    let spec = Spec::parse(text)?;
    let Some(vdev) = spec.vdev.filter(|vdev| !vdev.is_empty()) else {
        return Err("no vdev is given".to_owned());
    };
    if spec.target.is_none() && !spec.cdrom {
        return Err("no target is given, which CD-ROMs alone can do without".to_owned());
    }
    let mut disk = Disk::default();
    disk.target.dev = vdev.to_owned();
    disk.target.bus = Some(match vdev {
        _ if vdev.starts_with("xvd") || !hvm => DiskBus::Xen,
        _ if vdev.starts_with("sd") => DiskBus::Scsi,
        _ => DiskBus::Ide,
    });
    disk.rest.read_only = spec.cdrom || spec.read_only;
    let is_empty = spec.target.is_none_or(str::is_empty);
    let ceph = spec.target.and_then(|target| target.strip_prefix("rbd:"));
    let ceph = ceph.map(ceph_image).transpose()?;
    // Where it is no drive of Ceph, the name of the image in its pool is left of one.
    let path = match &ceph {
        Some((storage, _)) => storage.name.as_deref().map(|name| {
            let (_, image) = name.split_once('/').unwrap_or(("", name));
            image.to_owned()
        }),
        None => spec.target.map(str::to_owned),
    };
    let file = |path| StorageLocation::File { path, fd_group: None };
    let driver = if spec.cdrom {
        disk.device = DiskDevice::Cdrom;
        disk.driver.format = (!is_empty).then_some(StorageFormat::Raw);
        disk.source.location = file(path);
        "qemu"
    } else {
        disk.driver.format = match spec.format {
            None => Some(StorageFormat::Raw),
            Some(Format::Image(format)) => Some(format),
            Some(Format::Empty) => None,
        };
        match (spec.backend, ceph) {
            (Some(Backend::Standalone), _) => {
                return Err("the backend 'standalone' cannot be said of a guest".to_owned());
            }
            (None | Some(Backend::Qdisk), Some((storage, auth))) => {
                disk.source.location = StorageLocation::Network(Box::new(storage));
                disk.source.auth = auth.map(Box::new);
                "qemu"
            }
            (None | Some(Backend::Qdisk), None) => {
                disk.source.location = file(path);
                "qemu"
            }
            (Some(Backend::Tap), _) => {
                disk.source.location = file(path);
                "tap"
            }
            (Some(Backend::Phy), _) => {
                disk.source.location = StorageLocation::Block { path };
                "phy"
            }
        }
    };
    disk.driver.name = Some(driver.to_owned());
    Ok(disk)
}

/// `POOL/IMAGE@SNAPSHOT:OPTION=VALUE:…` of Ceph. Backslashes hide separators, and are themselves written twice.
fn ceph_image(text: &str) -> Result<(NetworkStorage, Option<StorageAuth>), Refusal> {
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
    Ok((storage, auth))
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
        for (text, want) in [
            ("/a,,hda:disk,", "/a"),
            ("iscsi:a/b,xvda", "a/b"),
            ("vdev=hda,target=/a,b,", "/a,b"),
            (",raw,hda", ""),
            (",hda:disk,w", ""),
            (
                "/a,raw,hda,w,colo,colo-port=1x,specification=xen,active-disk=/b",
                "/a",
            ),
            ("cdrom,vdev=hda,target=rbd:p/i@s:id=u", "i"),
            ("x:y,,hda", "x:y"),
        ] {
            assert_eq!(path(text).as_deref(), Some(want), "{text}");
        }
        for (text, want) in [
            ("/a,xvhd,hda", "the format is 'xvhd'"),
            ("/a,raw,hda,w!", "the access is 'w!'"),
            ("/a,raw,hda,backendtype=", "backendtype is ''"),
            ("/a,raw,hda,backendtype=standalone", "cannot be said"),
            ("/a,raw,hda,target=/a", "the target is given twice"),
            ("/a,raw,hda,vdev=hda", "vdev is given twice"),
            ("nbd:a,hda,script=x", "script is given twice"),
            ("/a,raw,hda,transport=mmio", "'transport' is not known"),
            ("/a,raw,hda,specification=", "specification is ''"),
            ("/a,raw,hda,colo-port=x", "colo-port is 'x'"),
            ("http://a,raw,hda", "the prefix 'http:' is not known"),
            ("qed:/a,hda", "the prefix 'qed:' is not known"),
            ("/a,raw,hda:floppy", "the kind 'floppy'"),
            ("/a,raw,", "no vdev"),
        ] {
            let refusal = parse(text, true).unwrap_err();
            assert!(refusal.contains(want), "{text}: {refusal}");
        }
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
