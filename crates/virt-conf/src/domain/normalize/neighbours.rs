//! What a device must know of the others: found out once for all, not once for each.

use std::collections::{HashMap, HashSet};

use crate::domain::Domain;
use crate::domain::device_info::{Address, DriveAddress};
use crate::domain::disk::{DiskBus, DiskTune};
use crate::domain::hostdev::{Hostdev, HostdevPass, HostdevSubsys};

/// The devices around those that are normalized in one go. Each part is made when it is first asked for, and kept up to date
/// by those who change what it says.
#[derive(Debug, Default)]
pub(in crate::domain) struct Neighbours {
    tune_groups: Option<HashMap<String, Box<DiskTune>>>,
    scsi_disks: Option<HashSet<DriveAddress>>,
    scsi_hostdevs: Option<HashSet<DriveAddress>>,
    /// Where the search for a free SCSI address goes on: all in front are taken.
    scsi_next: u32,
    serial_port: Option<u32>,
    parallel_port: Option<u32>,
}

impl Neighbours {
    /// The limits of a group of drives: those of the first of its drives that has any.
    pub(super) fn tune_group(&mut self, domain: &Domain, group: &str) -> Option<Box<DiskTune>> {
        let groups = self.tune_groups.get_or_insert_with(|| {
            let mut groups = HashMap::new();
            for tune in domain
                .devices
                .disks
                .iter()
                .filter_map(|disk| disk.rest.tune.as_ref())
            {
                if let Some(group) = tune.group.as_ref().filter(|_| tune.has_limits()) {
                    groups.entry(group.clone()).or_insert_with(|| tune.clone());
                }
            }
            groups
        });
        groups.get(group).cloned()
    }

    /// Whether a drive is at an address of a SCSI bus.
    pub(super) fn is_scsi_disk(&mut self, domain: &Domain, address: &DriveAddress) -> bool {
        self.scsi_disks(domain).contains(address)
    }

    fn scsi_disks(&mut self, domain: &Domain) -> &HashSet<DriveAddress> {
        self.scsi_disks.get_or_insert_with(|| {
            let disks = domain.devices.disks.iter();
            let scsi = disks.filter(|disk| disk.target.bus == Some(DiskBus::Scsi));
            scsi.filter_map(|disk| drive(&disk.info.address)).collect()
        })
    }

    /// Whether a device of the host is at an address of a SCSI bus.
    pub(super) fn is_scsi_hostdev(&mut self, domain: &Domain, address: &DriveAddress) -> bool {
        self.scsi_hostdevs(domain).contains(address)
    }

    fn scsi_hostdevs(&mut self, domain: &Domain) -> &mut HashSet<DriveAddress> {
        self.scsi_hostdevs.get_or_insert_with(|| {
            let scsi = domain.devices.hostdevs.iter().filter(|hostdev| is_scsi(hostdev));
            scsi.filter_map(|hostdev| drive(&hostdev.info.address)).collect()
        })
    }

    /// Takes the first free place for a device of the host, on buses of `units` places.
    pub(super) fn take_scsi_address(&mut self, domain: &Domain, units: u32) -> Option<DriveAddress> {
        self.scsi_disks(domain);
        self.scsi_hostdevs(domain);
        let (disks, hostdevs) = (self.scsi_disks.as_ref()?, self.scsi_hostdevs.as_mut()?);
        while self.scsi_next < u32::MAX {
            let address = DriveAddress {
                controller: self.scsi_next / units,
                bus: 0,
                target: 0,
                unit: self.scsi_next % units,
            };
            self.scsi_next += 1;
            // Unit 7 is the controller itself.
            if address.unit != 7 && !disks.contains(&address) && hostdevs.insert(address) {
                return Some(address);
            }
        }
        None
    }

    /// The port of a serial device that says `said`: otherwise the one behind the last.
    pub(super) fn serial_port(&mut self, domain: &Domain, said: Option<u32>) -> u32 {
        let ports = domain.devices.serials.iter().map(|serial| serial.target.port);
        port(&mut self.serial_port, ports, said)
    }

    /// [`Neighbours::serial_port`] for a parallel device.
    pub(super) fn parallel_port(&mut self, domain: &Domain, said: Option<u32>) -> u32 {
        let ports = domain.devices.parallels.iter().map(|parallel| parallel.port);
        port(&mut self.parallel_port, ports, said)
    }
}

fn port(next: &mut Option<u32>, ports: impl Iterator<Item = Option<u32>>, said: Option<u32>) -> u32 {
    let behind = |port: u32| port.saturating_add(1);
    if let Some(said) = said {
        if let Some(next) = next {
            *next = behind(said).max(*next);
        }
        return said;
    }
    let next = next.get_or_insert_with(|| ports.flatten().max().map_or(0, behind));
    let port = *next;
    *next = behind(port);
    port
}

fn drive(address: &Option<Address>) -> Option<DriveAddress> {
    match address {
        Some(Address::Drive(address)) => Some(*address),
        _ => None,
    }
}

fn is_scsi(hostdev: &Hostdev) -> bool {
    matches!(&hostdev.mode, HostdevPass::Subsystem(device) if matches!(**device, HostdevSubsys::Scsi { .. }))
}
