//! What QEMU cannot do with drives and where they are.

use std::collections::HashSet;

use virt_conf::domain::Address;
use virt_conf::domain::Domain;
use virt_conf::domain::controller::{Controller, ControllerKind, ScsiControllerModel};
use virt_conf::domain::device_info::DriveAddress;
use virt_conf::domain::disk::{Disk, DiskBus, DiskCache, DiskDevice, DiskIo, IoThreadMapping};
use virt_util::{ErrorCode, Result, VirtError};

use super::Guest;
use super::validate::{refuse_if, unsupported};
use crate::capabilities::Flag;

/// The highest number of a target without channels.
const LAST_TARGET: u32 = 7;
/// The most that a limit of throttling can be.
const MOST_TUNE: u64 = 1_000_000_000_000_000;

fn refuse_inside(wrong: bool, what: impl std::fmt::Display) -> Result<()> {
    if wrong {
        Err(VirtError::internal(what))
    } else {
        Ok(())
    }
}

/// Checks a drive as the guest sees it.
pub(super) fn front(domain: &Domain, disk: &Disk, guest: Guest<'_>) -> Result<()> {
    let name = disk.target.dev.as_str();
    let (bus, rest, caps) = (disk.bus(), &disk.rest, guest.caps);
    let word = bus.map_or("none", DiskBus::as_str);
    let on = |buses: &[DiskBus]| bus.is_some_and(|bus| buses.contains(&bus));
    if let Some(geometry) = &disk.shape.geometry
        && geometry.cylinders > 0
        && geometry.heads > 0
        && geometry.sectors > 0
    {
        refuse_if(
            on(&[DiskBus::Usb, DiskBus::Sd]),
            format_args!("CHS geometry can not be set for '{word}' bus"),
        )?;
        refuse_if(
            geometry.translation.is_some() && !on(&[DiskBus::Ide]),
            format_args!("CHS translation mode can only be set for 'ide' bus not '{word}'"),
        )?;
    }
    refuse_inside(
        rest.serial.is_some() && on(&[DiskBus::Sd]),
        format_args!("Serial property not supported for drive bus '{word}'"),
    )?;
    let removable = matches!(disk.device, DiskDevice::Cdrom | DiskDevice::Floppy);
    refuse_if(
        disk.device == DiskDevice::Cdrom && on(&[DiskBus::Virtio, DiskBus::Sd]),
        format_args!("disk type of '{name}' does not support ejectable media"),
    )?;
    let copies = disk.driver.copy_on_read == Some(true);
    refuse_if(
        copies && rest.read_only,
        format_args!("copy_on_read is not compatible with read-only disk '{name}'"),
    )?;
    refuse_if(
        copies && removable,
        format_args!("copy_on_read is not supported with removable disk '{name}'"),
    )?;
    refuse_if(
        rest.wwn.is_some() && !on(&[DiskBus::Ide, DiskBus::Scsi]),
        "Only ide and scsi disk support wwn",
    )?;
    refuse_if(
        rest.vendor.is_some() && !on(&[DiskBus::Scsi]),
        "Only scsi disk supports 'vendor'",
    )?;
    refuse_if(
        rest.product.is_some() && !on(&[DiskBus::Ide, DiskBus::Sata, DiskBus::Scsi]),
        "Only ide, sata and scsi disk supports 'product'",
    )?;
    if disk.device == DiskDevice::Lun {
        let known = match bus {
            Some(DiskBus::Scsi) => caps.has(Flag::ScsiBlock),
            // Asked for where formats are.
            Some(DiskBus::Virtio) => true,
            _ => false,
        };
        refuse_if(
            !known,
            format_args!("disk device='lun' is not supported for bus='{word}'"),
        )?;
        refuse_if(
            copies,
            format_args!("copy_on_read is not compatible with 'lun' disk '{name}'"),
        )?;
        refuse_if(rest.wwn.is_some(), "Setting wwn is not supported for lun device")?;
        refuse_if(
            rest.vendor.is_some() || rest.product.is_some(),
            "Setting vendor or product is not supported for lun device",
        )?;
        refuse_if(
            rest.serial.is_some() && on(&[DiskBus::Scsi]),
            "scsi-block 'lun' devices do not support the serial property",
        )?;
    }
    if disk.target.rotation_rate != 0 {
        refuse_inside(
            !on(&[DiskBus::Scsi, DiskBus::Ide, DiskBus::Sata]),
            "rotation rate is only valid for SCSI/IDE/SATA bus",
        )?;
        refuse_inside(
            disk.device != DiskDevice::Disk,
            "rotation rate is only valid for disk device",
        )?;
        refuse_inside(
            !caps.has(Flag::RotationRate),
            "rotation rate is not supported with this QEMU",
        )?;
    }
    refuse_if(
        on(&[DiskBus::Virtio]) && disk.driver.queue_size > 0 && !caps.has(Flag::VirtioBlkQueueSize),
        "queue-size property isn't supported by this QEMU binary",
    )?;
    refuse_if(
        on(&[DiskBus::Usb]) && !caps.has(Flag::DeviceUsbStorage),
        "This QEMU doesn't support '-device usb-storage'",
    )?;
    refuse_inside(
        on(&[DiskBus::Usb]) && !matches!(disk.info.address, None | Some(Address::Usb(_))),
        "unexpected address type for usb disk",
    )?;
    refuse_if(
        rest.read_only && disk.device == DiskDevice::Disk && on(&[DiskBus::Ide, DiskBus::Sata]),
        format_args!("readonly {word} disks are not supported"),
    )?;
    match disk.driver.io {
        Some(DiskIo::Native) => refuse_if(
            !matches!(disk.driver.cache, DiskCache::None | DiskCache::Directsync),
            "io='native' needs either no disk cache or directsync cache mode",
        )?,
        Some(DiskIo::IoUring) => refuse_if(
            !caps.has(Flag::AioIoUring),
            "io uring is not supported by this QEMU binary",
        )?,
        _ => {}
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_ .+".contains(c);
    refuse_inside(
        rest.serial
            .as_deref()
            .is_some_and(|serial| !serial.chars().all(safe)),
        "the serial number of a drive contains unsafe characters",
    )?;
    let driver = disk.driver.name.as_deref();
    refuse_if(
        driver.is_some_and(|driver| driver != "qemu"),
        format_args!(
            "unsupported driver name '{}' for disk '{name}'",
            driver.unwrap_or_default()
        ),
    )?;
    if let Some(Address::Drive(at)) = &disk.info.address {
        place(domain, at, bus, guest)?;
    }
    threads(domain, disk, guest)?;
    tune(domain, disk)
}

/// Checks the place of a drive on its bus.
pub(super) fn place(
    domain: &Domain,
    at: &DriveAddress,
    bus: Option<DiskBus>,
    guest: Guest<'_>,
) -> Result<()> {
    match bus {
        Some(DiskBus::Scsi) => {
            refuse_inside(at.bus != 0, "SCSI controller only supports 1 bus")?;
            let mut controllers = domain.devices.controllers.iter();
            let model = controllers.find_map(|controller| match &controller.kind {
                ControllerKind::Scsi { index, model } if index.unwrap_or(0) == at.controller => Some(*model),
                _ => None,
            });
            match model {
                Some(Some(ScsiControllerModel::Lsilogic)) => {
                    refuse_if(at.target != 0, "target must be 0 for controller model 'lsilogic'")
                }
                Some(_) => refuse_if(
                    at.target > LAST_TARGET && !guest.caps.has(Flag::ScsiDiskChannel),
                    "This QEMU doesn't support target greater than 7",
                ),
                None => Ok(()),
            }
        }
        Some(DiskBus::Ide) => {
            refuse_inside(at.controller != 0, "Only 1 IDE controller is supported")?;
            refuse_if(at.target != 0, "target must be 0 for ide controller")
        }
        Some(DiskBus::Fdc) => {
            refuse_inside(at.controller != 0, "Only 1 fdc controller is supported")?;
            refuse_inside(at.bus != 0, "Only 1 fdc bus is supported")?;
            refuse_if(at.target != 0, "target must be 0 for controller fdc")
        }
        Some(DiskBus::Sata) => {
            refuse_if(at.bus != 0, "bus must be 0 for sata controller")?;
            refuse_if(at.target != 0, "target must be 0 for sata controller")
        }
        _ => Ok(()),
    }
}

fn has_thread(domain: &Domain, id: u32) -> bool {
    domain.iothreads.iter().any(|thread| thread.id == id)
}

fn threads(domain: &Domain, disk: &Disk, guest: Guest<'_>) -> Result<()> {
    let driver = &disk.driver;
    if driver.iothread == 0 && driver.iothreads.is_empty() {
        return Ok(());
    }
    let name = &disk.target.dev;
    refuse_if(
        disk.bus() != Some(DiskBus::Virtio),
        format_args!(
            "IOThreads not available for bus {} target {name}",
            disk.bus().map_or("none", DiskBus::as_str)
        ),
    )?;
    refuse_if(
        !driver.iothreads.is_empty() && !guest.caps.has(Flag::VirtioBlkIothreadMapping),
        format_args!("IOThread mapping for disk '{name}' is not available with this QEMU binary"),
    )?;
    mapping(domain, &driver.iothreads, driver.queues)?;
    let id = driver.iothread;
    refuse_if(
        id != 0 && !has_thread(domain, id),
        format_args!("Disk iothread '{id}' not defined in iothreadid"),
    )
}

/// Either no thread has queues of its own, or each has, and each queue is one thread's.
pub(super) fn mapping(domain: &Domain, threads: &[IoThreadMapping], queues: u32) -> Result<()> {
    let Some(first) = threads.first() else {
        return Ok(());
    };
    let mapped = !first.queues.is_empty();
    refuse_if(
        mapped && queues == 0,
        "'queue' count must be configured for explicit iothread to queue mapping",
    )?;
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for thread in threads {
        let id = thread.id;
        refuse_if(
            !ids.insert(id),
            format_args!("duplicate mapping for iothread '{id}'"),
        )?;
        refuse_if(
            !has_thread(domain, id),
            format_args!("iothread '{id}' not defined in iothreadid"),
        )?;
        refuse_if(
            mapped == thread.queues.is_empty(),
            "iothread to queue mapping must be provided for all iothreads or for none",
        )?;
        for queue in &thread.queues {
            let queue = queue.id;
            refuse_if(
                queue >= queues,
                format_args!("iothread queue '{queue}' mapping out of range"),
            )?;
            refuse_if(
                !taken.insert(queue),
                format_args!("iothread queue '{queue}' is already assigned"),
            )?;
        }
    }
    match mapped && taken.len() < queues as usize {
        true => Err(unsupported("a queue has no iothread")),
        false => Ok(()),
    }
}

fn tune(domain: &Domain, disk: &Disk) -> Result<()> {
    let Some(own) = disk.rest.tune.as_deref() else {
        return Ok(());
    };
    refuse_if(
        own.group.is_some() && !own.has_limits(),
        "group_name can be configured only together with settings",
    )?;
    refuse_if(
        disk.bus() == Some(DiskBus::Sd) && own.has_limits(),
        "<iotune> is not supported with bus='sd'",
    )?;
    if own.group.is_some() {
        let others = domain
            .devices
            .disks
            .iter()
            .filter(|one| one.target.dev != disk.target.dev);
        for other in others {
            let differs = other
                .rest
                .tune
                .as_deref()
                .is_some_and(|tune| tune.group == own.group && tune != own);
            refuse_if(
                differs,
                format_args!(
                    "different iotunes for disks {} and {}",
                    disk.target.dev, other.target.dev
                ),
            )?;
        }
    }
    let limits = [
        own.total_bytes,
        own.read_bytes,
        own.write_bytes,
        own.total_iops,
        own.read_iops,
        own.write_iops,
        own.total_bytes_max,
        own.read_bytes_max,
        own.write_bytes_max,
        own.total_iops_max,
        own.read_iops_max,
        own.write_iops_max,
        own.size_iops,
    ];
    if limits.iter().any(|limit| *limit > MOST_TUNE) {
        let what = format!("block I/O throttle limit must be no more than {MOST_TUNE} using QEMU");
        return Err(VirtError::new(ErrorCode::ARGUMENT_UNSUPPORTED, what));
    }
    Ok(())
}

/// Checks a controller.
pub(super) fn controller(domain: &Domain, controller: &Controller, guest: Guest<'_>) -> Result<()> {
    let (kind, caps) = (super::machine(domain, guest.arch), guest.caps);
    match &controller.kind {
        ControllerKind::Ide { index, .. } => {
            let name = domain.os.kind.machine.as_deref().unwrap_or_default();
            let built_in = kind.is_i440fx()
                || kind.is_malta()
                || ["sun4u", "g3beige"]
                    .iter()
                    .any(|machine| name.starts_with(machine));
            refuse_if(
                !built_in,
                "IDE controllers are unsupported for this QEMU binary or machine type",
            )?;
            refuse_if(
                index.unwrap_or(0) > 0,
                "Only a single IDE controller is supported for this machine type",
            )?;
        }
        ControllerKind::Scsi {
            model: Some(model), ..
        } => {
            use ScsiControllerModel as M;
            let known = match model {
                M::Lsilogic => caps.has(Flag::ScsiLsi),
                M::VirtioScsi | M::VirtioTransitional | M::VirtioNonTransitional => {
                    caps.has(Flag::VirtioScsi)
                }
                M::Lsisas1068 => caps.has(Flag::ScsiMptsas1068),
                M::Lsisas1078 => caps.has(Flag::ScsiMegasas),
                M::Vmpvscsi => caps.has(Flag::ScsiPvscsi),
                M::Buslogic => false,
                M::Auto | M::Ibmvscsi | M::Ncr53c90 | M::Dc390 | M::Am53c974 => true,
            };
            refuse_if(
                !known,
                format_args!("this QEMU doesn't support SCSI controllers of model '{model}'"),
            )?;
        }
        ControllerKind::Sata { index } => refuse_if(
            (index.unwrap_or(0) != 0 || !kind.is_q35()) && !caps.has(Flag::Ich9Ahci),
            "SATA is not supported with this QEMU binary",
        )?,
        ControllerKind::Pci(pci) => super::validate_pci::controller(domain, controller, pci, guest)?,
        _ => {}
    }
    let Some(driver) = controller.driver.as_deref() else {
        return Ok(());
    };
    let virtio = matches!(
        controller.kind,
        ControllerKind::Scsi {
            model: Some(
                ScsiControllerModel::VirtioScsi
                    | ScsiControllerModel::VirtioTransitional
                    | ScsiControllerModel::VirtioNonTransitional
            ),
            ..
        }
    );
    for (name, said) in [
        ("queues", driver.queues != 0),
        ("cmd_per_lun", driver.cmd_per_lun != 0),
        ("max_sectors", driver.max_sectors != 0),
        ("ioeventfd", driver.ioeventfd.is_some()),
    ] {
        refuse_if(
            said && !virtio,
            format_args!("'{name}' is only supported by virtio-scsi controller"),
        )?;
    }
    let id = driver.iothread;
    refuse_if(
        id != 0 && !virtio,
        "'iothread' is only supported for virtio-scsi controller",
    )?;
    refuse_if(
        id != 0 && !has_thread(domain, id),
        format_args!("controller iothread '{id}' not defined in iothreadid"),
    )
}
