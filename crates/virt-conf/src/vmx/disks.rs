//! Drives and their controllers from a `.vmx` file.

use virt_util::Result;

use super::parse::Vmx;
use super::{MissingFile, SCSI_MODELS, VmxFiles};
use crate::domain::Domain;
use crate::domain::controller::{ControllerKind, ControllerType, ScsiControllerModel};
use crate::domain::device_info::{Address, DriveAddress};
use crate::domain::disk::{Disk, DiskBus, DiskCache, DiskDevice, StartupPolicy, Transient};
use crate::domain::normalize::{DomainFeatures, add_controller, disk_index, disk_name, drive_address};
use crate::domain::storage::StorageLocation;

/// SCSI units of a controller, one of them the controller itself, up to version 12 of the virtual hardware.
const SCSI_UNITS: u32 = 16;
/// The same from version 13 on.
const SCSI_UNITS_WIDE: u32 = 64;
/// The unit that the SCSI controller itself has.
const SCSI_SELF: u32 = 7;
const SATA_UNITS: u32 = 30;
const CONTROLLERS: u32 = 4;

pub(super) fn read(vmx: &Vmx, domain: &mut Domain, files: &dyn VmxFiles, version: i64) -> Result<()> {
    let units = if version >= 13 {
        SCSI_UNITS_WIDE
    } else {
        SCSI_UNITS
    };
    let reader = DiskReader { vmx, files, units };
    let mut models = Vec::new();
    for controller in 0..CONTROLLERS {
        let present = vmx.bool(&format!("scsi{controller}.present"), false)?;
        models.push(if present {
            scsi_model(vmx, controller)?
        } else {
            None
        });
        if present {
            for unit in (0..units).filter(|unit| *unit != SCSI_SELF) {
                domain
                    .devices
                    .disks
                    .extend(reader.drive(DiskBus::Scsi, controller, unit)?);
            }
        }
    }
    let last = last_controller(domain, 0);
    for (index, model) in (0..).zip(models).take(last) {
        let index = Some(index);
        add_controller(domain, ControllerKind::Scsi { index, model });
    }
    let before = domain.devices.disks.len();
    for controller in 0..CONTROLLERS {
        if vmx.bool(&format!("sata{controller}.present"), false)? {
            for unit in 0..SATA_UNITS {
                domain
                    .devices
                    .disks
                    .extend(reader.drive(DiskBus::Sata, controller, unit)?);
            }
        }
    }
    for index in (0..).take(last_controller(domain, before)) {
        add_controller(domain, ControllerKind::new(ControllerType::Sata, Some(index)));
    }
    for bus in 0..2 {
        for unit in 0..2 {
            domain
                .devices
                .disks
                .extend(reader.drive(DiskBus::Ide, bus, unit)?);
        }
    }
    for unit in 0..2 {
        domain.devices.disks.extend(reader.floppy(unit)?);
    }
    Ok(())
}

/// How many controllers there are up to that of the last drive; none if there are no drives behind the first `before`.
fn last_controller(domain: &Domain, before: usize) -> usize {
    let disks = domain.devices.disks.get(before..).unwrap_or_default();
    match disks.last().and_then(|disk| disk.info.address.as_ref()) {
        Some(Address::Drive(address)) => address.controller as usize + 1,
        _ => 0,
    }
}

fn scsi_model(vmx: &Vmx, controller: u32) -> Result<Option<ScsiControllerModel>> {
    let name = format!("scsi{controller}.virtualDev");
    let Some(text) = vmx.text(&name) else {
        return Ok(None);
    };
    let known = SCSI_MODELS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text));
    known.map(|(_, model)| Some(*model)).ok_or_else(|| {
        vmx.wrong(
            &name,
            "'buslogic', 'lsilogic', 'lsisas1068' or 'pvscsi' is expected",
        )
    })
}

fn file(path: Option<String>) -> StorageLocation {
    StorageLocation::File { path, fd_group: None }
}

fn has_suffix(text: &str, suffix: &str) -> bool {
    let at = text.len().saturating_sub(suffix.len());
    text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

fn is(text: Option<&str>, word: &str) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case(word))
}

struct DiskReader<'a> {
    vmx: &'a Vmx,
    files: &'a dyn VmxFiles,
    units: u32,
}

/// The settings of one drive.
struct DriveSettings<'a> {
    prefix: String,
    bus: DiskBus,
    device_type: Option<&'a str>,
    file_type: Option<&'a str>,
    file_name: Option<&'a str>,
    write_through: bool,
    mode: Option<&'a str>,
}

impl DriveSettings<'_> {
    fn name(&self, of: &str) -> String {
        format!("{}.{of}", self.prefix)
    }
}

impl DiskReader<'_> {
    /// A drive that is a hard disk or a CD-ROM: which of them is told by its image.
    fn drive(&self, bus: DiskBus, controller: u32, unit: u32) -> Result<Option<Disk>> {
        let prefix = format!("{bus}{controller}:{unit}");
        let Some(settings) = self.settings(prefix, bus)? else {
            return Ok(None);
        };
        let disk = match self.hard_disk(&settings)? {
            Some(disk) => Some(disk),
            None => self.cdrom(&settings)?,
        };
        Ok(disk.map(|disk| self.placed(disk, bus, controller, unit)))
    }

    fn settings(&self, prefix: String, bus: DiskBus) -> Result<Option<DriveSettings<'_>>> {
        let name = |of: &str| format!("{prefix}.{of}");
        let present = self.vmx.bool(&name("present"), false)?;
        self.vmx.bool(&name("startConnected"), true)?;
        // The device of a client that is connected is not the guest's.
        if !present || self.vmx.bool(&name("clientDevice"), false)? {
            return Ok(None);
        }
        Ok(Some(DriveSettings {
            device_type: self.vmx.text(&name("deviceType")),
            file_type: self.vmx.text(&name("fileType")),
            file_name: self.vmx.text(&name("fileName")),
            write_through: self.vmx.bool(&name("writeThrough"), false)?,
            mode: self.vmx.text(&name("mode")),
            bus,
            prefix,
        }))
    }

    fn hard_disk(&self, drive: &DriveSettings<'_>) -> Result<Option<Disk>> {
        let kind = drive.device_type;
        let Some(name) = drive.file_name else {
            return Ok(None);
        };
        let optical = ["atapi-cdrom", "cdrom-raw", "cdrom-image"]
            .iter()
            .any(|word| is(kind, word))
            || (is(kind, "scsi-passthru") && name.starts_with("/vmfs/devices/cdrom/"));
        if optical || has_suffix(name, ".iso") || name == "emptyBackingString" {
            return Ok(None);
        }
        if !has_suffix(name, ".vmdk") {
            return Err(self.unhandled(drive));
        }
        let expected = match drive.bus {
            DiskBus::Scsi => Some("scsi-hardDisk"),
            DiskBus::Ide => Some("ata-hardDisk"),
            _ => None,
        };
        if let Some(expected) = expected
            && kind.is_some()
            && !is(kind, expected)
            && !is(kind, "disk")
        {
            let what = format!("'{expected}' or 'disk' is expected for an image '{name}'");
            return Err(self.vmx.wrong(&drive.name("deviceType"), what));
        }
        let path = self.path(drive, "fileName", name, MissingFile::IsError)?;
        let mut disk = Disk::default();
        disk.source.location = file(path);
        if drive.write_through {
            disk.driver.cache = DiskCache::Writethrough;
        }
        if is(drive.mode, "independent-nonpersistent") {
            disk.rest.transient = Some(Transient::default());
        }
        Ok(Some(disk))
    }

    fn cdrom(&self, drive: &DriveSettings<'_>) -> Result<Option<Disk>> {
        let (kind, name) = (drive.device_type, drive.file_name);
        let image_only = || {
            if kind.is_some() && !is(kind, "cdrom-image") {
                let what = format!(
                    "'cdrom-image' is expected for an image '{}'",
                    name.unwrap_or_default()
                );
                return Err(self.vmx.wrong(&drive.name("deviceType"), what));
            }
            Ok(())
        };
        let mut disk = Disk {
            device: DiskDevice::Cdrom,
            ..Disk::default()
        };
        disk.rest.read_only = true;
        match name {
            Some(name) if has_suffix(name, ".vmdk") => return Ok(None),
            Some(name) if has_suffix(name, ".iso") => {
                image_only()?;
                disk.source.location = file(self.path(drive, "fileName", name, MissingFile::IsEmpty)?);
            }
            _ if is(kind, "atapi-cdrom") || is(kind, "cdrom-raw") => {
                if is(kind, "cdrom-raw") {
                    disk.device = DiskDevice::Lun;
                }
                let automatic = is(name, "auto detect");
                if automatic {
                    disk.source.startup_policy = Some(StartupPolicy::Optional);
                }
                disk.source.location = StorageLocation::Block {
                    path: name.filter(|_| !automatic).map(str::to_owned),
                };
            }
            _ if drive.bus == DiskBus::Scsi && is(kind, "scsi-passthru") => {
                let Some(name) = name.filter(|name| name.starts_with("/vmfs/devices/cdrom/")) else {
                    return Ok(None);
                };
                disk.device = DiskDevice::Lun;
                disk.source.location = StorageLocation::Block {
                    path: Some(name.to_owned()),
                };
            }
            Some("" | "emptyBackingString") => image_only()?,
            _ => return Err(self.unhandled(drive)),
        }
        Ok(Some(disk))
    }

    fn floppy(&self, unit: u32) -> Result<Option<Disk>> {
        let Some(drive) = self.settings(format!("floppy{unit}"), DiskBus::Fdc)? else {
            return Ok(None);
        };
        let mut disk = Disk {
            device: DiskDevice::Floppy,
            ..Disk::default()
        };
        disk.source.location = if is(drive.file_type, "device") {
            StorageLocation::Block {
                path: drive.file_name.map(str::to_owned),
            }
        } else if is(drive.file_type, "file") {
            match drive.file_name {
                Some(name) => file(self.path(&drive, "fileName", name, MissingFile::IsError)?),
                None => file(None),
            }
        } else {
            let what = "'device' or 'file' is expected for a floppy";
            return Err(self.vmx.wrong(&drive.name("fileType"), what));
        };
        Ok(Some(self.placed(disk, DiskBus::Fdc, 0, unit)))
    }

    fn path(
        &self,
        drive: &DriveSettings<'_>,
        setting: &str,
        name: &str,
        missing: MissingFile,
    ) -> Result<Option<String>> {
        self.files
            .to_definition(name, missing)
            .map_err(|error| error.context(format_args!("setting '{}'", drive.name(setting))))
    }

    fn unhandled(&self, drive: &DriveSettings<'_>) -> virt_util::VirtError {
        let what = format!(
            "an image '.vmdk' or '.iso' is expected for device type '{}'",
            drive.device_type.unwrap_or("unknown")
        );
        self.vmx.wrong(&drive.name("fileName"), what)
    }

    /// Name and address of the drive follow from its place. The name counts 15 units to a SCSI controller, the address as
    /// many as the virtual hardware has.
    fn placed(&self, mut disk: Disk, bus: DiskBus, controller: u32, unit: u32) -> Disk {
        let (prefix, index) = match bus {
            DiskBus::Scsi => {
                let place = if unit > SCSI_SELF { unit - 1 } else { unit };
                ("sd", controller * (SCSI_UNITS - 1) + place)
            }
            DiskBus::Sata => ("sd", controller * SATA_UNITS + unit),
            DiskBus::Fdc => ("fd", unit),
            _ => ("hd", controller * 2 + unit),
        };
        disk.target.bus = Some(bus);
        disk.target.dev = disk_name(prefix, index);
        let address = if bus == DiskBus::Scsi {
            let place = index % (self.units - 1);
            Some(DriveAddress {
                controller: index / (self.units - 1),
                unit: if place >= SCSI_SELF { place + 1 } else { place },
                ..DriveAddress::default()
            })
        } else {
            disk_index(&disk.target.dev)
                .and_then(|index| drive_address(bus, index, DomainFeatures::WIDE_SCSI))
        };
        disk.info.address = address.map(Address::Drive);
        disk
    }
}
