//! Configuration files of OpenVZ containers: single parameters ([`parameter`]), and the container as a domain ([`parse`]).
//!
//! A file is shell-like lines `NAME="value"`; what is no such line is passed over.

use virt_util::uuid::Uuid;
use virt_util::xml::XmlValue;
use virt_util::{ErrorCode, Result, VirtError};

use crate::domain::filesystem::{Filesystem, FilesystemSource};
use crate::domain::interface::{Interface, InterfaceSource, InterfaceTarget, IpConfig};
use crate::domain::memory::MemoryTune;
use crate::domain::os::OsType;
use crate::domain::{Domain, VirtType};
use crate::native;
use crate::values::MacAddress;

/// Longest name of a network device.
const DEVICE_NAME_LIMIT: usize = 16;

/// A number that means "no limit".
const UNLIMITED: u64 = i64::MAX as u64;

/// The value of a parameter: the last that is not empty. A carriage return at a line's end is part of it.
pub fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split('\n')
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .filter_map(|value| value.split(['"', '\t']).find(|part| !part.is_empty()))
        .next_back()
}

/// The UUID that the first comment `#UUID: …` says.
///
/// # Errors
/// `INTERNAL_ERROR` if it is none.
pub fn uuid(text: &str) -> Result<Option<Uuid>> {
    let said = text
        .split('\n')
        .find_map(|line| line.trim_start_matches(' ').strip_prefix("#UUID: "));
    said.map(|value| {
        virt_util::uuid::parse(value.trim())
            .map_err(|_| VirtError::internal(format_args!("the comment '#UUID: {value}' holds no UUID")))
    })
    .transpose()
}

/// What a container's file leaves to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenvzHost {
    /// CPUs of the host.
    pub cpus: u32,
    /// KiB of a page.
    pub page_size: u64,
}

fn wrong(name: &str, value: &str, what: impl std::fmt::Display) -> VirtError {
    VirtError::internal(format_args!("parameter {name}=\"{value}\": {what}"))
}

/// The definition of container `id` from its file. Nothing is filled in beyond what the file and the host say.
///
/// # Errors
/// `INTERNAL_ERROR` for wrong parameters and for a container without a file system, `OVERFLOW` for a quota that is too
/// large: the parameter, the value, what is expected.
pub fn parse(text: &str, id: u32, host: OpenvzHost) -> Result<Domain> {
    let mut domain = Domain {
        virt_type: VirtType::Openvz,
        name: id.to_string(),
        uuid: uuid(text)?,
        ..Domain::default()
    };
    domain.os.kind.os = OsType::Exe;
    domain.os.init = Some("/sbin/init".to_owned()).into();
    let cpus = parameter(text, "CPUS").and_then(native::number::<u32>);
    domain.vcpus.max = cpus.filter(|cpus| *cpus > 0).unwrap_or(host.cpus.max(1));
    read_network(text, &mut domain)?;
    domain.devices.filesystems.push(root(text, id)?);
    memory(text, host, &mut domain)?;
    Ok(domain)
}

/// Adds the network devices of a container.
///
/// # Errors
/// `INTERNAL_ERROR` for wrong addresses and names.
pub fn read_network(text: &str, domain: &mut Domain) -> Result<()> {
    let host = IpConfig::default;
    const NO_MAC: MacAddress = MacAddress([0; 6]);
    if let Some(list) = parameter(text, "IP_ADDRESS") {
        for word in list.split(' ').filter(|word| !word.is_empty()) {
            let address = virt_util::ip::parse(word).ok_or_else(|| {
                let wrong = wrong("IP_ADDRESS", list, format_args!("'{word}' is no IP address"));
                VirtError::new(ErrorCode::SYSTEM_ERROR, wrong.detail())
            })?;
            let mut interface = Interface {
                source: InterfaceSource::Ethernet { host: host().into() },
                ..Interface::default()
            };
            interface.mac.address = Some(NO_MAC);
            interface.link.guest.addresses.push(address.into());
            domain.devices.interfaces.push(interface);
        }
    }
    let Some(list) = parameter(text, "NETIF") else {
        return Ok(());
    };
    for device in list.split(';') {
        let mut interface = Interface::default();
        interface.mac.address = Some(NO_MAC);
        let mut bridge = None;
        for (name, value) in device.split(',').filter_map(|part| part.split_once('=')) {
            let short = || {
                if value.len() > DEVICE_NAME_LIMIT {
                    let what = format!("the name '{value}' is longer than {DEVICE_NAME_LIMIT} characters");
                    return Err(wrong("NETIF", list, what));
                }
                Ok(value.to_owned())
            };
            match name {
                "host_ifname" => {
                    interface.target = Some(InterfaceTarget {
                        dev: Some(short()?),
                        ..InterfaceTarget::default()
                    });
                }
                "bridge" => bridge = Some(short()?),
                "mac" => {
                    let mac = MacAddress::parse_value(value).ok().filter(|_| value.len() == 17);
                    let mac =
                        mac.ok_or_else(|| wrong("NETIF", list, format_args!("'{value}' is no MAC address")))?;
                    interface.mac.address = Some(mac);
                }
                _ => {}
            }
        }
        interface.source = InterfaceSource::Bridge {
            unnamed: bridge.is_none(),
            bridge: bridge.unwrap_or_default(),
            host: host().into(),
        };
        domain.devices.interfaces.push(interface);
    }
    Ok(())
}

/// `BARRIER:LIMIT`.
fn barrier_and_limit(text: &str, name: &str) -> Result<Option<(u64, u64)>> {
    let Some(value) = parameter(text, name) else {
        return Ok(None);
    };
    let both = two_parts(value).and_then(|(barrier, limit)| Some((unsigned(barrier)?, unsigned(limit)?)));
    both.map(Some)
        .ok_or_else(|| wrong(name, value, "two numbers separated by a colon are expected"))
}

/// `BARRIER:…`, where the limit is of no account.
fn barrier(text: &str, name: &str) -> Result<Option<u64>> {
    let Some(value) = parameter(text, name) else {
        return Ok(None);
    };
    let barrier = two_parts(value).and_then(|(barrier, _)| unsigned(barrier));
    barrier
        .map(Some)
        .ok_or_else(|| wrong(name, value, "a number, a colon and a limit are expected"))
}

/// A number as C's `strtoull` reads it, for which numbers below 0 are large ones.
fn unsigned(text: &str) -> Option<u64> {
    match text.trim_ascii_start().strip_prefix('-') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            native::number::<u64>(rest).map(u64::wrapping_neg)
        }
        _ => native::number(text),
    }
}

fn two_parts(value: &str) -> Option<(&str, &str)> {
    value.split_once(':').filter(|(_, limit)| !limit.contains(':'))
}

fn root(text: &str, id: u32) -> Result<Filesystem> {
    let source = match parameter(text, "OSTEMPLATE") {
        Some(name) => FilesystemSource::Template {
            name: Some(name.to_owned()),
        },
        None => {
            let path = parameter(text, "VE_PRIVATE").ok_or_else(|| {
                VirtError::internal(format_args!(
                    "the configuration of container {id} has neither OSTEMPLATE nor VE_PRIVATE"
                ))
            })?;
            FilesystemSource::Mount {
                dir: Some(path.replace("$VEID", &id.to_string())),
                socket: None,
            }
        }
    };
    let mut root = Filesystem {
        source,
        target: Some("/".to_owned()),
        ..Filesystem::default()
    };
    if let Some((soft, hard)) = barrier_and_limit(text, "DISKSPACE")? {
        let bytes = |kib: u64| {
            let bytes = kib.checked_mul(1024);
            bytes.ok_or_else(|| {
                VirtError::new(
                    ErrorCode::OVERFLOW,
                    format_args!("parameter DISKSPACE: {kib} KiB are too much"),
                )
            })
        };
        root.space_soft_limit = Some(bytes(soft)?).filter(|bytes| *bytes != 0);
        root.space_hard_limit = Some(bytes(hard)?).filter(|bytes| *bytes != 0);
    }
    Ok(root)
}

fn memory(text: &str, host: OpenvzHost, domain: &mut Domain) -> Result<()> {
    // More pages than can be told in KiB begin anew at 0.
    let kib = |pages: u64| (pages != UNLIMITED).then(|| pages.wrapping_mul(host.page_size));
    let limited = |pages| kib(pages).filter(|kib| *kib < crate::values::MEMORY_UNLIMITED_KIB);
    let mut tune = MemoryTune::default();
    if let Some(barrier) = barrier(text, "VMGUARPAGES")? {
        tune.min_guarantee = kib(barrier).filter(|kib| *kib != 0);
    }
    if let Some((barrier, limit)) = barrier_and_limit(text, "PRIVVMPAGES")? {
        (tune.soft_limit, tune.hard_limit) = (limited(barrier), limited(limit));
    }
    domain.memory_tune = (tune != MemoryTune::default()).then_some(Box::new(tune));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: OpenvzHost = OpenvzHost {
        cpus: 4,
        page_size: 4,
    };

    #[test]
    fn a_container_is_read() {
        let domain = parse(
            "#UUID: c7a5fdbd-edaf-9455-926a-d65c16db1809\nVE_PRIVATE=\"/vz/private/$VEID\"\nDISKSPACE=\"1:2\"\n\
             PRIVVMPAGES=\"10:9223372036854775807\"\nIP_ADDRESS=\"192.0.2.1 2001:db8::1\"\nCPUS=2\nCPUS=\"\"\n",
            101,
            HOST,
        )
        .unwrap();
        assert_eq!((domain.name.as_str(), domain.vcpus.max), ("101", 2));
        assert!(domain.uuid.is_some());
        assert_eq!(domain.devices.interfaces.len(), 2);
        let root = &domain.devices.filesystems[0];
        assert_eq!(root.space_hard_limit, Some(2048));
        assert!(
            matches!(&root.source, FilesystemSource::Mount { dir: Some(dir), .. } if dir == "/vz/private/101")
        );
        let tune = domain.memory_tune.unwrap();
        assert_eq!((tune.soft_limit, tune.hard_limit), (Some(40), None));
    }

    #[test]
    fn lines_are_taken_as_the_tools_do() {
        assert_eq!(parameter("A=\"1\"\r\nB=\r\n", "B"), Some("\r"));
        assert_eq!(parameter("A=\"1\"\r\n", "A"), Some("1"));
        // The limit of a guarantee is not looked at.
        let domain = parse("VE_PRIVATE=/\nVMGUARPAGES=\"10:x\"\n#UUID:c7", 1, HOST).unwrap();
        assert_eq!(domain.memory_tune.unwrap().min_guarantee, Some(40));
        assert_eq!(domain.uuid, None);
        let text = "  #UUID: c7a5fdbd-edaf-9455-926a-d65c16db1809\n#UUID: x\n";
        assert!(uuid(text).unwrap().is_some());
    }

    #[test]
    fn numbers_are_the_c_librarys() {
        let tune = |text: &str| {
            parse(&format!("VE_PRIVATE=/\n{text}"), 1, HOST)
                .unwrap()
                .memory_tune
        };
        let limits = |text| tune(text).map(|tune| (tune.soft_limit, tune.hard_limit));
        assert_eq!(
            tune("VMGUARPAGES=2251799813685248:0").unwrap().min_guarantee,
            Some(1 << 53)
        );
        assert_eq!(tune("VMGUARPAGES=9223372036854775807:0"), None);
        assert_eq!(limits("PRIVVMPAGES=2251799813685248:1"), Some((None, Some(4))));
        assert_eq!(
            limits("PRIVVMPAGES=9223372036854775808:-1"),
            Some((Some(0), None))
        );
        assert!(parse("VE_PRIVATE=/\nPRIVVMPAGES=--1:1", 1, HOST).is_err());
    }

    #[test]
    fn addresses_are_the_c_librarys() {
        let mut domain = Domain::default();
        read_network("IP_ADDRESS=\"10.1\"\n", &mut domain).unwrap();
        let text = domain.format(virt_util::xml::XmlFlags::empty());
        assert!(text.contains("address='10.0.0.1'"), "{text}");
        let error = read_network("IP_ADDRESS=\"x\"\n", &mut domain).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SYSTEM_ERROR);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_parameter() {
        for (text, want) in [
            (
                "IP_ADDRESS=\"x\"",
                "parameter IP_ADDRESS=\"x\": 'x' is no IP address",
            ),
            ("NETIF=\"mac=1\"", "'1' is no MAC address"),
            ("NETIF=\"bridge=aaaaaaaaaaaaaaaaa\"", "longer than 16"),
            (
                "VE_PRIVATE=/\nDISKSPACE=\"x\"",
                "two numbers separated by a colon",
            ),
            ("VE_PRIVATE=/\nVMGUARPAGES=1:2:3", "a colon and a limit"),
            ("#UUID: x\nVE_PRIVATE=/", "'#UUID: x' holds no UUID"),
            ("", "neither OSTEMPLATE nor VE_PRIVATE"),
        ] {
            let error = parse(text, 1, HOST).unwrap_err();
            assert!(error.message().contains(want), "{error}");
        }
    }
}
