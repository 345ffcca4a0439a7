//! Which daemon this process is: libvirt has one that hosts all drivers and one for each driver, and clients start
//! and find them by name. Here one program is all of them, told apart by the name it was started under.

use std::ffi::OsStr;
use std::path::Path;

use virt_util::{ErrorCode, Result, VirtError};

/// A daemon as clients, units and administrators know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonName {
    /// `libvirtd`, `virtqemud` …: in the names of pid file, configuration, units and of the server inside.
    pub name: String,
    /// How names of sockets begin: `libvirt`, `virtqemud` …
    pub socket_prefix: String,
    /// What it hosts.
    pub hosts: Hosts,
}

/// Which drivers a daemon hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All that are installed.
    All,
    /// The plugin of this name.
    One(String),
    /// None: it passes everything on to the daemons of single drivers.
    None,
}

/// The daemons of single drivers, one a line: libvirt's name, the name of our plugin, and what the installation needs.
const MODULAR: &str = include_str!("../../files/daemons.tbl");

/// libvirt's daemons of single drivers, and the names of our plugins.
fn modular() -> impl Iterator<Item = (&'static str, &'static str)> {
    MODULAR
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
}

impl DaemonName {
    /// The daemon that hosts all drivers.
    pub fn monolithic() -> Self {
        Self {
            name: "libvirtd".to_owned(),
            socket_prefix: "libvirt".to_owned(),
            hosts: Hosts::All,
        }
    }

    /// The daemon that passes calls on to those of single drivers, on the sockets of the one that hosts all.
    pub fn proxy() -> Self {
        Self {
            name: "virtproxyd".to_owned(),
            socket_prefix: "libvirt".to_owned(),
            hosts: Hosts::None,
        }
    }

    /// The daemon of one driver. A driver that libvirt does not have gets `virt<driver>d`.
    ///
    /// # Errors
    /// `INVALID_ARG` for what is no name of a driver.
    pub fn of_driver(driver: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if driver.is_empty() || !driver.bytes().all(plain) {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "'{driver}' is no name of a driver: lower-case letters, digits and '-' are allowed"
                ),
            ));
        }
        let name = modular()
            .find(|(_, known)| *known == driver)
            .map_or_else(|| format!("virt{driver}d"), |(name, _)| name.to_owned());
        Ok(Self {
            socket_prefix: name.clone(),
            name,
            hosts: Hosts::One(driver.to_owned()),
        })
    }

    /// The daemon that is meant by the name a program was started under. Names that stock libvirt does not have, the
    /// program's own among them, mean the monolithic one.
    pub fn of_program(argv0: &OsStr) -> Self {
        let base = Path::new(argv0)
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or_default();
        if base == "virtproxyd" {
            return Self::proxy();
        }
        match modular().find(|(name, _)| *name == base) {
            Some((name, driver)) => Self {
                name: name.to_owned(),
                socket_prefix: name.to_owned(),
                hosts: Hosts::One(driver.to_owned()),
            },
            None => Self::monolithic(),
        }
    }

    /// Every name under which the program may be installed.
    pub fn installed() -> impl Iterator<Item = &'static str> {
        ["libvirtd", "virtproxyd"]
            .into_iter()
            .chain(modular().map(|(name, _)| name))
    }

    /// Whether it can be reached over TCP and TLS: only those on the general sockets can.
    pub fn has_network(&self) -> bool {
        self.socket_prefix == "libvirt"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_what_it_is_called() {
        let of = |text: &str| DaemonName::of_program(OsStr::new(text));
        assert_eq!(of("/usr/sbin/libvirtd"), DaemonName::monolithic());
        assert_eq!(of("virtd"), DaemonName::monolithic());
        assert_eq!(of("virtproxyd").hosts, Hosts::None);
        let qemu = of("/usr/sbin/virtqemud");
        assert_eq!(qemu, DaemonName::of_driver("qemu").unwrap());
        assert_eq!(qemu.socket_prefix, "virtqemud");
        assert!(!qemu.has_network() && of("virtproxyd").has_network());
        assert_eq!(of("virtnodedevd").hosts, Hosts::One("node-device".to_owned()));
    }

    #[test]
    fn a_driver_that_libvirt_does_not_have_gets_a_name() {
        assert_eq!(DaemonName::of_driver("test").unwrap().name, "virttestd");
        assert!(DaemonName::of_driver("../x").is_err());
        assert!(DaemonName::of_driver("").is_err());
    }
}
