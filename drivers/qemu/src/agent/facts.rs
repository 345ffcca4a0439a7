//! What agents answer, as values. Every field comes from inside the guest.

use serde_json::Value;
use virt_conf::domain::Domain;
use virt_conf::domain::controller::ControllerType;
use virt_conf::domain::device_info::{Address, CcwAddress, PciAddress};
use virt_conf::domain::disk::{Disk, DiskBus};
use virt_util::types::IpAddrType;
use virt_util::{Result, VirtError};

/// The most of anything that an agent is believed to have.
const COUNT_MAX: usize = 16384;

/// A processor as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCpu {
    /// The guest's number for it.
    pub id: u32,
    /// It is used.
    pub online: bool,
    /// It can be taken off line.
    pub offlinable: bool,
    /// It is to be changed to what `online` says.
    pub modified: bool,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub name: String,
    /// Its Windows domain.
    pub domain: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub login_time: u64,
}

/// The system in the guest: the agent's names of facts with their values, in libvirt's order.
pub type OsInfo = Vec<(&'static str, String)>;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: Option<String>,
    /// Seconds east of Greenwich.
    pub offset: i32,
}

/// How many programs wanted to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadAverage {
    /// In the last minute.
    pub one: f64,
    /// In the last 5 minutes.
    pub five: f64,
    /// In the last 15 minutes.
    pub fifteen: f64,
}

/// Where a disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskAddress {
    /// The kind of bus by the agent's word.
    pub bus_type: Option<String>,
    /// The disk's serial number.
    pub serial: Option<String>,
    /// The device's name in the guest.
    pub device: Option<String>,
    /// Channel of the controller.
    pub bus: u32,
    /// Target.
    pub target: u32,
    /// Unit.
    pub unit: u32,
    /// The controller, or the disk itself where it is a PCI device.
    pub pci: PciAddress,
    /// The same on s390.
    pub ccw: Option<CcwAddress>,
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its device.
    pub name: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Its type.
    pub kind: String,
    /// Its size in bytes.
    pub total_bytes: Option<u64>,
    /// How much of it is used.
    pub used_bytes: Option<u64>,
    /// The disks it lies on.
    pub disks: Vec<DiskAddress>,
}

/// A disk or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDisk {
    /// Its device.
    pub name: String,
    /// It is a part of another.
    pub partition: bool,
    /// What it is made of.
    pub dependencies: Vec<String>,
    /// Another name.
    pub alias: Option<String>,
    /// Where it is.
    pub address: Option<DiskAddress>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpAddress {
    /// The family.
    pub kind: IpAddrType,
    /// As text.
    pub address: String,
    /// Bits of the network.
    pub prefix: u32,
}

/// A network interface of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInterface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddress>,
}

fn missing(key: &str, command: &str) -> VirtError {
    VirtError::internal(format_args!("'{key}' missing in reply of {command}"))
}

fn optional(object: &Value, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// A text of an answer to `command`.
pub(super) fn text(object: &Value, key: &str, command: &str) -> Result<String> {
    optional(object, key).ok_or_else(|| missing(key, command))
}

/// A number as C programs read it: agents say -1 for "none".
fn unsigned(object: &Value, key: &str) -> Option<u32> {
    let number = object.get(key)?.as_i64()?;
    match u32::try_from(number) {
        Ok(number) => Some(number),
        Err(_) => i32::try_from(number).ok().map(i32::cast_unsigned),
    }
}

fn array<'a>(answer: &'a Value, command: &str) -> Result<&'a [Value]> {
    let Some(array) = answer.as_array() else {
        return Err(VirtError::internal(format_args!(
            "the answer to {command} is not a list"
        )));
    };
    if array.len() > COUNT_MAX {
        return Err(VirtError::internal(format_args!(
            "the guest agent's answer has {} elements, at most {COUNT_MAX} are taken",
            array.len()
        )));
    }
    Ok(array)
}

pub(super) fn cpus(answer: &Value) -> Result<Vec<GuestCpu>> {
    const COMMAND: &str = "guest-get-vcpus";
    array(answer, COMMAND)?
        .iter()
        .map(|one| {
            let flag = |key: &str| one.get(key).and_then(Value::as_bool);
            Ok(GuestCpu {
                id: unsigned(one, "logical-id").ok_or_else(|| missing("logical-id", COMMAND))?,
                online: flag("online").ok_or_else(|| missing("online", COMMAND))?,
                offlinable: flag("can-offline").unwrap_or(false),
                modified: false,
            })
        })
        .collect()
}

/// Marks processors so that `wanted` are on line: the first that can be changed. The first processor stays on line
/// where all could go, since some systems do not sleep without it.
///
/// # Errors
/// `INTERNAL_ERROR` for fewer processors than wanted, or what cannot be; `INVALID_ARG` if not enough can go off line.
pub fn plan_online(wanted: u32, cpus: &mut [GuestCpu]) -> Result<()> {
    if cpus.iter().any(|cpu| !cpu.online && !cpu.offlinable) {
        return Err(VirtError::internal(
            "the guest agent tells of a processor that is off and cannot go off",
        ));
    }
    let count = |which: fn(&&GuestCpu) -> bool, cpus: &[GuestCpu]| cpus.iter().filter(which).count();
    let mut online = count(|cpu| cpu.online, cpus);
    let mut may_go = count(|cpu| cpu.online && cpu.offlinable, cpus);
    if may_go == online
        && let Some(first) = cpus.iter_mut().find(|cpu| cpu.id == 0 && cpu.online)
    {
        first.offlinable = false;
        may_go -= 1;
    }
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if wanted > cpus.len() {
        return Err(VirtError::internal(format_args!(
            "the guest agent tells of {} processors, and {wanted} are wanted",
            cpus.len()
        )));
    }
    if wanted < online - may_go {
        return Err(VirtError::invalid_arg(format_args!(
            "{wanted} processors are too few: {} of the guest cannot go off",
            online - may_go
        )));
    }
    for cpu in cpus {
        if wanted < online && cpu.online && cpu.offlinable {
            cpu.online = false;
            online -= 1;
        } else if wanted > online && !cpu.online {
            cpu.online = true;
            online += 1;
        } else {
            continue;
        }
        cpu.modified = true;
    }
    Ok(())
}

pub(super) fn users(answer: &Value) -> Result<Vec<User>> {
    const COMMAND: &str = "guest-get-users";
    array(answer, COMMAND)?
        .iter()
        .map(|one| {
            let seconds = one
                .get("login-time")
                .and_then(Value::as_f64)
                .ok_or_else(|| missing("login-time", COMMAND))?;
            Ok(User {
                name: text(one, "user", COMMAND)?,
                domain: optional(one, "domain"),
                // Out of range becomes the nearest number.
                login_time: (seconds * 1000.0) as u64,
            })
        })
        .collect()
}

pub(super) fn os_info(answer: &Value) -> Result<OsInfo> {
    if !answer.is_object() {
        return Err(VirtError::internal("the answer to guest-get-osinfo is empty"));
    }
    let facts = [
        "id",
        "name",
        "pretty-name",
        "version",
        "version-id",
        "machine",
        "variant",
        "variant-id",
        "kernel-release",
        "kernel-version",
    ];
    Ok(facts
        .into_iter()
        .filter_map(|key| Some((key, optional(answer, key)?)))
        .collect())
}

pub(super) fn zone(answer: &Value) -> Result<Zone> {
    if !answer.is_object() {
        return Err(VirtError::internal("the answer to guest-get-timezone is empty"));
    }
    Ok(Zone {
        name: optional(answer, "zone"),
        offset: answer
            .get("offset")
            .and_then(Value::as_i64)
            .and_then(|offset| i32::try_from(offset).ok())
            .ok_or_else(|| missing("offset", "guest-get-timezone"))?,
    })
}

pub(super) fn load(answer: &Value) -> Result<LoadAverage> {
    let number = |key: &str| {
        answer
            .get(key)
            .and_then(Value::as_f64)
            .ok_or_else(|| VirtError::internal(format_args!("the answer to guest-get-load has no '{key}'")))
    };
    if !answer.is_object() {
        return Err(VirtError::internal("the answer to guest-get-load is empty"));
    }
    Ok(LoadAverage {
        one: number("load1m")?,
        five: number("load5m")?,
        fifteen: number("load15m")?,
    })
}

fn disk_address(one: &Value) -> Result<DiskAddress> {
    let number = |object: &Value, key: &str| {
        unsigned(object, key).ok_or_else(|| VirtError::internal(format_args!("'{key}' missing")))
    };
    let (bus, target, unit) = (number(one, "bus")?, number(one, "target")?, number(one, "unit")?);
    let controller = one
        .get("pci-controller")
        .ok_or_else(|| VirtError::internal("'pci-controller' missing"))?;
    let pci = PciAddress {
        domain: number(controller, "domain")?,
        bus: number(controller, "bus")?,
        slot: number(controller, "slot")?,
        function: number(controller, "function")?,
        ..PciAddress::default()
    };
    let ccw = match one.get("ccw-address") {
        None => None,
        Some(ccw) => Some(CcwAddress {
            // The guest's first subsystem is the one that hosts give to virtual devices.
            cssid: Some(match number(ccw, "cssid")? {
                0 => 0xfe,
                other => other,
            }),
            ssid: Some(number(ccw, "ssid")?),
            devno: Some(number(ccw, "devno")?),
        }),
    };
    Ok(DiskAddress {
        bus_type: optional(one, "bus-type"),
        serial: optional(one, "serial"),
        device: optional(one, "dev"),
        bus,
        target,
        unit,
        pci,
        ccw,
    })
}

pub(super) fn file_systems(answer: &Value) -> Result<Vec<FileSystem>> {
    const COMMAND: &str = "guest-get-fsinfo";
    // The last one mounted comes first.
    array(answer, COMMAND)?
        .iter()
        .rev()
        .map(|one| {
            let size = |key: &str| match one.get(key) {
                None => Ok(None),
                Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                    VirtError::internal(format_args!("the answer to {COMMAND} has no '{key}'"))
                }),
            };
            let disks = one.get("disk").unwrap_or(&Value::Null);
            let list = format!("{COMMAND} ('disk')");
            Ok(FileSystem {
                mount_point: text(one, "mountpoint", COMMAND)?,
                name: text(one, "name", COMMAND)?,
                kind: text(one, "type", COMMAND)?,
                used_bytes: size("used-bytes")?,
                total_bytes: size("total-bytes")?,
                disks: array(disks, &list)?
                    .iter()
                    .map(disk_address)
                    .collect::<Result<_>>()?,
            })
        })
        .collect()
}

pub(super) fn disks(answer: &Value) -> Result<Vec<AgentDisk>> {
    const COMMAND: &str = "guest-get-disks";
    array(answer, COMMAND)?
        .iter()
        .map(|one| {
            let dependencies = match one.get("dependencies").and_then(Value::as_array) {
                None => Vec::new(),
                Some(names) => names
                    .iter()
                    .map(|name| name.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| missing("dependencies", COMMAND))?,
            };
            Ok(AgentDisk {
                name: text(one, "name", COMMAND)?,
                partition: one
                    .get("partition")
                    .and_then(Value::as_bool)
                    .ok_or_else(|| missing("partition", COMMAND))?,
                dependencies,
                alias: optional(one, "alias"),
                address: one
                    .get("address")
                    .filter(|one| one.is_object())
                    .map(disk_address)
                    .transpose()?,
            })
        })
        .collect()
}

pub(super) fn interfaces(answer: &Value) -> Result<Vec<GuestInterface>> {
    let mut found: Vec<GuestInterface> = Vec::new();
    for one in array(answer, "guest-network-get-interfaces")? {
        let whole = optional(one, "name")
            .ok_or_else(|| VirtError::internal("an interface of the guest agent's answer has no 'name'"))?;
        // An alias `eth0:1` only adds addresses to its interface.
        let name = whole.split(':').next().unwrap_or_default();
        let place = match found.iter().position(|known| known.name == name) {
            Some(place) => place,
            None => {
                found.push(GuestInterface {
                    name: name.to_owned(),
                    mac: optional(one, "hardware-address"),
                    addresses: Vec::new(),
                });
                found.len() - 1
            }
        };
        for address in one
            .get("ip-addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let address = ip_address(address, &whole)?;
            if let Some(interface) = found.get_mut(place) {
                interface.addresses.push(address);
            }
        }
    }
    Ok(found)
}

fn ip_address(one: &Value, interface: &str) -> Result<IpAddress> {
    let field = |key: &str| {
        optional(one, key).ok_or_else(|| {
            VirtError::internal(format_args!(
                "qemu agent didn't provide '{key}' field for interface '{interface}'"
            ))
        })
    };
    let kind = match field("ip-address-type")?.as_str() {
        "ipv4" => IpAddrType::IPV4,
        "ipv6" => IpAddrType::IPV6,
        other => {
            return Err(VirtError::internal(format_args!(
                "the guest agent tells of an address of type '{other}': expected 'ipv4' or 'ipv6'"
            )));
        }
    };
    Ok(IpAddress {
        kind,
        address: field("ip-address")?,
        prefix: unsigned(one, "prefix").ok_or_else(|| VirtError::internal("malformed 'prefix' field"))?,
    })
}

impl DiskAddress {
    /// The guest's disk that is there.
    pub fn find<'a>(&self, domain: &'a Domain) -> Option<&'a Disk> {
        let same_pci = |pci: &PciAddress| {
            (pci.domain, pci.bus, pci.slot, pci.function)
                == (self.pci.domain, self.pci.bus, self.pci.slot, self.pci.function)
        };
        let is_here = |address: &Option<Address>| match address {
            Some(Address::Pci(pci)) => same_pci(pci),
            Some(Address::Ccw(ccw)) => self.ccw.as_ref() == Some(ccw),
            _ => false,
        };
        let controllers = &domain.devices.controllers;
        let by_pci = controllers
            .iter()
            .find(|one| matches!(&one.info.address, Some(Address::Pci(pci)) if same_pci(pci)));
        let controller = by_pci.or_else(|| {
            controllers.iter().find(
                |one| matches!(&one.info.address, Some(Address::Ccw(ccw)) if self.ccw.as_ref() == Some(ccw)),
            )
        });
        domain.devices.disks.iter().find(|disk| {
            if is_here(&disk.info.address) {
                return true;
            }
            let (Some(Address::Drive(drive)), Some(controller)) = (&disk.info.address, controller) else {
                return false;
            };
            let kind = match disk.target.bus {
                Some(DiskBus::Scsi) => ControllerType::Scsi,
                Some(DiskBus::Fdc) => ControllerType::Fdc,
                Some(DiskBus::Ide) => ControllerType::Ide,
                Some(DiskBus::Sata) => ControllerType::Sata,
                _ => return false,
            };
            controller.kind.controller_type() == kind
                && controller.kind.index() == Some(drive.controller)
                && (drive.bus, drive.target, drive.unit) == (self.bus, self.target, self.unit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cpu(id: u32, online: bool, offlinable: bool) -> GuestCpu {
        GuestCpu {
            id,
            online,
            offlinable,
            modified: false,
        }
    }

    fn changed(wanted: u32, mut cpus: Vec<GuestCpu>) -> Result<Vec<(u32, bool)>> {
        plan_online(wanted, &mut cpus)?;
        Ok(cpus
            .iter()
            .filter(|cpu| cpu.modified)
            .map(|cpu| (cpu.id, cpu.online))
            .collect())
    }

    #[test]
    fn processors_go_and_come_in_order() {
        let four = || {
            vec![
                cpu(0, true, true),
                cpu(1, true, true),
                cpu(2, true, true),
                cpu(3, false, true),
            ]
        };
        assert_eq!(changed(3, four()).unwrap(), []);
        assert_eq!(changed(4, four()).unwrap(), [(3, true)]);
        assert_eq!(changed(1, four()).unwrap(), [(1, false), (2, false)]);
        assert!(changed(0, four()).is_err());
        assert!(changed(5, four()).is_err());
        assert!(changed(1, vec![cpu(0, false, false)]).is_err());
    }

    #[test]
    fn aliases_of_interfaces_are_the_same_interface() {
        let answer = json!([
            {"name": "eth0", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [
                {"ip-address-type": "ipv4", "ip-address": "10.0.0.2", "prefix": 24}]},
            {"name": "eth0:1", "ip-addresses": [
                {"ip-address-type": "ipv6", "ip-address": "fe80::1", "prefix": 64}]},
            {"name": "lo"},
        ]);
        let found = interfaces(&answer).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].addresses.len(), 2);
        assert!(interfaces(&json!([{"name": "x", "ip-addresses": [{}]}])).is_err());
        assert!(interfaces(&json!({})).is_err());
    }
}
