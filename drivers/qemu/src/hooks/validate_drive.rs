//! What QEMU cannot do with drives and where they are.

use std::collections::HashSet;

use virt_conf::domain::Address;
use virt_conf::domain::Domain;
use virt_conf::domain::controller::{Controller, ControllerKind, ScsiControllerModel};
use virt_conf::domain::device_info::DriveAddress;
use virt_conf::domain::disk::{Disk, DiskBus, DiskCache, DiskDevice, DiskIo, IoThreadMapping};
use virt_util::{ErrorCode, Result, VirtError};

use super::Guest;
use super::validate::{lacks, refuse_if, unsupported};
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
            format_args!("<geometry> is not for bus '{word}'"),
        )?;
        refuse_if(
            geometry.translation.is_some() && !on(&[DiskBus::Ide]),
            format_args!("'trans' of <geometry> is for bus 'ide', not '{word}'"),
        )?;
    }
    refuse_inside(
        rest.serial.is_some() && on(&[DiskBus::Sd]),
        format_args!("<serial> is not for bus '{word}'"),
    )?;
    let removable = matches!(disk.device, DiskDevice::Cdrom | DiskDevice::Floppy);
    refuse_if(
        disk.device == DiskDevice::Cdrom && on(&[DiskBus::Virtio, DiskBus::Sd]),
        format_args!("device 'cdrom' is not for bus '{word}', which ejects nothing"),
    )?;
    let copies = disk.driver.copy_on_read == Some(true);
    refuse_if(
        copies && rest.read_only,
        format_args!("copy_on_read='on' and <readonly/> exclude each other"),
    )?;
    refuse_if(
        copies && removable,
        format_args!("copy_on_read='on' is not for device '{}'", disk.device),
    )?;
    refuse_if(
        rest.wwn.is_some() && !on(&[DiskBus::Ide, DiskBus::Scsi]),
        format_args!("<wwn> is for buses 'ide' and 'scsi', not '{word}'"),
    )?;
    refuse_if(
        rest.vendor.is_some() && !on(&[DiskBus::Scsi]),
        format_args!("<vendor> is for bus 'scsi', not '{word}'"),
    )?;
    refuse_if(
        rest.product.is_some() && !on(&[DiskBus::Ide, DiskBus::Sata, DiskBus::Scsi]),
        format_args!("<product> is for buses 'ide', 'sata' and 'scsi', not '{word}'"),
    )?;
    if disk.device == DiskDevice::Lun {
        let known = match bus {
            Some(DiskBus::Scsi) => caps.has(Flag::ScsiBlock),
            // Asked for where formats are.
            Some(DiskBus::Virtio) => true,
            _ => false,
        };
        refuse_if(!known, format_args!("device 'lun' is not for bus '{word}'"))?;
        refuse_if(copies, format_args!("device 'lun' takes no copy_on_read='on'"))?;
        refuse_if(rest.wwn.is_some(), "device 'lun' takes no <wwn>")?;
        refuse_if(
            rest.vendor.is_some() || rest.product.is_some(),
            "device 'lun' takes neither <vendor> nor <product>",
        )?;
        refuse_if(
            rest.serial.is_some() && on(&[DiskBus::Scsi]),
            "device 'lun' on bus 'scsi' takes no <serial>",
        )?;
    }
    if disk.target.rotation_rate != 0 {
        refuse_inside(
            !on(&[DiskBus::Scsi, DiskBus::Ide, DiskBus::Sata]),
            format_args!("'rotation_rate' is for buses 'scsi', 'ide' and 'sata', not '{word}'"),
        )?;
        refuse_inside(
            disk.device != DiskDevice::Disk,
            format_args!("'rotation_rate' is for device 'disk', not '{}'", disk.device),
        )?;
        refuse_inside(!caps.has(Flag::RotationRate), lacks("rotation_rate='…'"))?;
    }
    refuse_if(
        on(&[DiskBus::Virtio]) && disk.driver.queue_size > 0 && !caps.has(Flag::VirtioBlkQueueSize),
        lacks("queue_size='…'"),
    )?;
    refuse_if(
        on(&[DiskBus::Usb]) && !caps.has(Flag::DeviceUsbStorage),
        lacks("USB storage"),
    )?;
    refuse_inside(
        on(&[DiskBus::Usb]) && !matches!(disk.info.address, None | Some(Address::Usb(_))),
        "on bus 'usb' an address is of type 'usb'",
    )?;
    refuse_if(
        rest.read_only && disk.device == DiskDevice::Disk && on(&[DiskBus::Ide, DiskBus::Sata]),
        format_args!("<readonly/> is not for hard disks on bus '{word}'"),
    )?;
    match disk.driver.io {
        Some(DiskIo::Native) => refuse_if(
            !matches!(disk.driver.cache, DiskCache::None | DiskCache::Directsync),
            format_args!(
                "io='native' needs cache='none' or 'directsync', not '{}'",
                disk.driver.cache
            ),
        )?,
        Some(DiskIo::IoUring) => refuse_if(!caps.has(Flag::AioIoUring), lacks("io='io_uring'"))?,
        _ => {}
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_ .+".contains(c);
    refuse_inside(
        rest.serial
            .as_deref()
            .is_some_and(|serial| !serial.chars().all(safe)),
        "<serial> has a character that is none of letters, digits and '-_ .+'",
    )?;
    let driver = disk.driver.name.as_deref();
    refuse_if(
        driver.is_some_and(|driver| driver != "qemu"),
        format_args!("driver name '{}': expected 'qemu'", driver.unwrap_or_default()),
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
            refuse_inside(
                at.bus != 0,
                format_args!("SCSI controllers have bus 0 alone, not {}", at.bus),
            )?;
            let mut controllers = domain.devices.controllers.iter();
            let model = controllers.find_map(|controller| match &controller.kind {
                ControllerKind::Scsi { index, model } if index.unwrap_or(0) == at.controller => Some(*model),
                _ => None,
            });
            match model {
                Some(Some(ScsiControllerModel::Lsilogic)) => refuse_if(
                    at.target != 0,
                    format_args!(
                        "SCSI controllers of model 'lsilogic' have target 0 alone, not {}",
                        at.target
                    ),
                ),
                Some(_) => refuse_if(
                    at.target > LAST_TARGET && !guest.caps.has(Flag::ScsiDiskChannel),
                    format_args!(
                        "this emulator has SCSI targets 0 to {LAST_TARGET}, not {}",
                        at.target
                    ),
                ),
                None => Ok(()),
            }
        }
        Some(DiskBus::Ide) => {
            refuse_inside(
                at.controller != 0,
                format_args!("there is IDE controller 0 alone, not {}", at.controller),
            )?;
            refuse_if(
                at.target != 0,
                format_args!("IDE controllers have target 0 alone, not {}", at.target),
            )
        }
        Some(DiskBus::Fdc) => {
            refuse_inside(
                at.controller != 0,
                format_args!("there is floppy controller 0 alone, not {}", at.controller),
            )?;
            refuse_inside(
                at.bus != 0,
                format_args!("floppy controllers have bus 0 alone, not {}", at.bus),
            )?;
            refuse_if(
                at.target != 0,
                format_args!("floppy controllers have target 0 alone, not {}", at.target),
            )
        }
        Some(DiskBus::Sata) => {
            refuse_if(
                at.bus != 0,
                format_args!("SATA controllers have bus 0 alone, not {}", at.bus),
            )?;
            refuse_if(
                at.target != 0,
                format_args!("SATA controllers have target 0 alone, not {}", at.target),
            )
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
    refuse_if(
        disk.bus() != Some(DiskBus::Virtio),
        format_args!(
            "I/O threads are for bus 'virtio', not '{}'",
            disk.bus().map_or("none", DiskBus::as_str)
        ),
    )?;
    refuse_if(
        !driver.iothreads.is_empty() && !guest.caps.has(Flag::VirtioBlkIothreadMapping),
        lacks("<iothreads> of a disk"),
    )?;
    mapping(domain, &driver.iothreads, driver.queues)?;
    let id = driver.iothread;
    refuse_if(
        id != 0 && !has_thread(domain, id),
        format_args!("no <iothread> has id {id}"),
    )
}

/// Either no thread has queues of its own, or each has, and each queue is one thread's.
pub(super) fn mapping(domain: &Domain, threads: &[IoThreadMapping], queues: u32) -> Result<()> {
    let Some(first) = threads.first() else {
        return Ok(());
    };
    let mapped = !first.queues.is_empty();
    refuse_if(mapped && queues == 0, "<queue> of <iothreads> needs queues='…'")?;
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for thread in threads {
        let id = thread.id;
        refuse_if(
            !ids.insert(id),
            format_args!("<iothreads> names thread {id} twice"),
        )?;
        refuse_if(!has_thread(domain, id), format_args!("no <iothread> has id {id}"))?;
        refuse_if(
            mapped == thread.queues.is_empty(),
            "<iothreads> names <queue> for some threads: for all or for none",
        )?;
        for queue in &thread.queues {
            let queue = queue.id;
            refuse_if(
                queue >= queues,
                format_args!("<queue id='{queue}'> of <iothreads>: expected an id below {queues}"),
            )?;
            refuse_if(
                !taken.insert(queue),
                format_args!("queue {queue} belongs to two threads of <iothreads>"),
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
        "<group_name> of <iotune> needs limits",
    )?;
    refuse_if(
        disk.bus() == Some(DiskBus::Sd) && own.has_limits(),
        "<iotune> is not for bus 'sd'",
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
                    "disks '{}' and '{}' share a <group_name> of <iotune> and differ in limits",
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
        let what = format!("a limit of <iotune> is above {MOST_TUNE}");
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
                "neither this machine nor this emulator has IDE controllers",
            )?;
            refuse_if(
                index.unwrap_or(0) > 0,
                format_args!(
                    "this machine has one IDE controller, 0, not {}",
                    index.unwrap_or(0)
                ),
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
                format_args!("this emulator has no SCSI controller of model '{model}'"),
            )?;
        }
        ControllerKind::Sata { index } => refuse_if(
            (index.unwrap_or(0) != 0 || !kind.is_q35()) && !caps.has(Flag::Ich9Ahci),
            lacks("SATA controllers"),
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
            format_args!("'{name}' is for SCSI controllers of model 'virtio-scsi'"),
        )?;
    }
    let id = driver.iothread;
    refuse_if(
        id != 0 && !virtio,
        "'iothread' is for SCSI controllers of model 'virtio-scsi'",
    )?;
    refuse_if(
        id != 0 && !has_thread(domain, id),
        format_args!("no <iothread> has id {id}"),
    )
}
