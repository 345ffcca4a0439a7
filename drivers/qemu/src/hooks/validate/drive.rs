//! What QEMU cannot do with drives and where they are.

use std::collections::HashSet;

use virt_conf::domain::Address;
use virt_conf::domain::Domain;
use virt_conf::domain::controller::{Controller, ControllerKind, ScsiControllerModel};
use virt_conf::domain::device_info::DriveAddress;
use virt_conf::domain::disk::{Disk, DiskBus, DiskCache, DiskDevice, DiskIo, IoThreadMapping};
use virt_util::{ErrorCode, Result, VirtError};

use super::{lacks, refuse_if, unsupported};
use crate::capabilities::Flag;
use crate::hooks::Guest;

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
    let (kind, caps) = (crate::hooks::machine(domain, guest.arch), guest.caps);
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
            model: Some(model),
            index,
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
            if *model == M::Ncr53c90 {
                refuse_if(
                    index.unwrap_or(0) != 0,
                    "a SCSI controller of model 'ncr53c90' is the first one, with index 0",
                )?;
                refuse_if(
                    !kind.has_builtin_esp(),
                    "this machine has no SCSI controller of model 'ncr53c90', which is built in or not there",
                )?;
            }
        }
        ControllerKind::Sata { index } => refuse_if(
            (index.unwrap_or(0) != 0 || !kind.is_q35()) && !caps.has(Flag::Ich9Ahci),
            lacks("SATA controllers"),
        )?,
        ControllerKind::Pci(pci) => super::pci::controller(domain, controller, pci, guest)?,
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
    if id == 0 && driver.iothreads.is_empty() {
        return Ok(());
    }
    refuse_if(
        !virtio,
        "I/O threads are for SCSI controllers of model 'virtio-scsi'",
    )?;
    refuse_if(
        !matches!(
            controller.info.address,
            None | Some(Address::Pci(_) | Address::Ccw(_))
        ),
        "a SCSI controller with I/O threads is at a PCI or CCW address",
    )?;
    refuse_if(
        !driver.iothreads.is_empty() && !caps.has(Flag::VirtioScsiIothreadMapping),
        lacks("<iothreads> of a SCSI controller"),
    )?;
    mapping(domain, &driver.iothreads, driver.queues)?;
    refuse_if(
        id != 0 && !has_thread(domain, id),
        format_args!("no <iothread> has id {id}"),
    )
}

#[cfg(test)]
mod tests {
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, ask, devices};

    const Q35: &str = "pc-q35-10.0";

    /// A drive with `attributes`, on a bus, with more inside.
    fn drive(attributes: &str, bus: &str, inside: &str, flags: &[Flag]) -> Verdict {
        let disk = format!(
            "<disk type='file' {attributes}><source file='/a'/><target dev='sda' bus='{bus}'/>{inside}</disk>"
        );
        devices(Q35, &disk, flags)
    }

    #[test]
    fn what_is_built_in_is_the_first_of_its_kind() {
        let scsi = |index| format!("<controller type='scsi' index='{index}' model='ncr53c90'/>");
        devices(Q35, &scsi(1), &[]).refused("first one");
        devices(Q35, &scsi(0), &[]).refused("built in");
    }

    #[test]
    fn what_drives_say_of_themselves_is_of_their_bus() {
        let usb = [Flag::DeviceUsbStorage];
        drive("", "usb", "", &[]).refused("has no USB storage");
        let geometry = "<geometry cyls='10' heads='4' secs='8'/>";
        drive("", "usb", geometry, &usb).refused("<geometry>");
        drive(
            "",
            "scsi",
            "<geometry cyls='10' heads='4' secs='8' trans='lba'/>",
            &[],
        )
        .refused("<geometry>");
        drive("", "sd", "<serial>a</serial>", &[]).with(ErrorCode::INTERNAL_ERROR, "<serial>");
        drive("", "virtio", "<wwn>5000c50015ea71aa</wwn>", &[]).refused("'virtio'");
        drive("", "ide", "<vendor>a</vendor>", &[]).refused("<vendor>");
        drive("", "virtio", "<product>a</product>", &[]).refused("<product>");
        drive("", "scsi", "<serial>a*b</serial>", &[]).with(ErrorCode::INTERNAL_ERROR, "<serial>");
        drive("", "sata", "<readonly/>", &[]).refused("<readonly/>");
        drive("device='cdrom'", "virtio", "", &[]).refused("'virtio'");
        let rotates =
            "<disk type='file'><source file='/a'/><target dev='sda' bus='scsi' rotation_rate='7200'/></disk>";
        devices(Q35, rotates, &[]).with(ErrorCode::INTERNAL_ERROR, "rotation_rate='…'");
        devices(Q35, rotates, &[Flag::RotationRate]).fine();
    }

    #[test]
    fn settings_of_the_driver_go_together() {
        let reads = "<driver name='qemu' type='qcow2' copy_on_read='on'/>";
        drive("", "scsi", reads, &[]).fine();
        drive("", "scsi", &format!("{reads}<readonly/>"), &[]).refused("copy_on_read='on'");
        drive("device='cdrom'", "scsi", reads, &[]).refused("copy_on_read='on'");
        drive("", "scsi", "<driver name='tap'/>", &[]).refused("driver name 'tap'");
        drive("", "scsi", "<driver name='qemu' io='native'/>", &[]).refused("io='native'");
        drive("", "scsi", "<driver name='qemu' io='native' cache='none'/>", &[]).fine();
        drive("", "scsi", "<driver name='qemu' io='io_uring'/>", &[]).refused("io='io_uring'");
        let queue = "<driver name='qemu' queue_size='128'/>";
        drive("", "virtio", queue, &[]).refused("queue_size='…'");
        drive("", "virtio", queue, &[Flag::VirtioBlkQueueSize]).fine();
    }

    #[test]
    fn images_are_of_formats_that_there_are() {
        let one = |kind: &str, format: &str, rest: &str| {
            devices(
                Q35,
                &format!(
                    "<disk type='{kind}'><driver name='qemu' type='{format}'/><source file='/a' dir='/a' pool='p' volume='v'/>\
                     <target dev='sda' bus='scsi'/>{rest}</disk>"
                ),
                &[],
            )
        };
        one("file", "raw", "").fine();
        one("file", "fat", "").refused("'fat' is made of a folder");
        one("file", "cow", "").refused("'cow'");
        one("file", "iso", "").refused("'raw'");
        one("dir", "fat", "<readonly/>").fine();
        one("dir", "fat", "").refused("<readonly/>");
        one("dir", "raw", "<readonly/>").refused("not 'raw'");
        one("volume", "fat", "").fine();
    }

    #[test]
    fn targets_are_names_of_whole_disks() {
        let named = |name: &str| {
            devices(
                Q35,
                &format!("<disk type='file'><source file='/a'/><target dev='{name}' bus='scsi'/></disk>"),
                &[],
            )
        };
        named("sdaa").fine();
        named("sda0").fine();
        named("sda1").refused("partition");
        named("sda01").refused("no name of a disk");
        named("sdaxxxxxxxxxx").refused("no name of a disk");
    }

    #[test]
    fn places_are_those_of_the_bus() {
        let at = |bus: &str, place: &str| drive("", bus, &format!("<address type='drive' {place}/>"), &[]);
        at("scsi", "controller='0' bus='0' target='0' unit='1'").fine();
        at("scsi", "controller='0' bus='1' target='0' unit='1'")
            .with(ErrorCode::INTERNAL_ERROR, "0 alone, not 1");
        at("ide", "controller='1' bus='0' unit='0'").with(ErrorCode::INTERNAL_ERROR, "0 alone, not 1");
        at("ide", "controller='0' bus='0' target='1' unit='0'").refused("0 alone, not 1");
        at("sata", "controller='0' bus='1' unit='0'").refused("0 alone, not 1");
        at("fdc", "controller='0' bus='1' unit='0'").with(ErrorCode::INTERNAL_ERROR, "0 alone, not 1");
    }

    #[test]
    fn queues_have_threads_that_there_are() {
        let guest = |driver: &str, flags: &[Flag]| {
            let inside = format!(
                "<iothreads>2</iothreads><iothreadids><iothread id='1'/><iothread id='2'/></iothreadids>\
                 <devices><disk type='file'><driver name='qemu' {driver}</driver><source file='/a'/>\
                 <target dev='vda' bus='virtio'/></disk></devices>"
            );
            ask(Q35, &inside, flags, |domain, guest| {
                let disk = domain.devices.disks.first();
                disk.map_or(Ok(()), |disk| super::threads(domain, disk, guest))
            })
        };
        guest("iothread='2'>", &[]).fine();
        guest("iothread='3'>", &[]).refused("<iothread>");
        let mapped = |threads: &str| format!("queues='2'><iothreads>{threads}</iothreads>");
        let flag = [Flag::VirtioBlkIothreadMapping];
        let plain = mapped("<iothread id='1'/><iothread id='2'/>");
        guest(&plain, &[]).refused("<iothreads>");
        guest(&plain, &flag).fine();
        guest(&mapped("<iothread id='1'/><iothread id='1'/>"), &flag).refused("<iothreads>");
        let first = "<iothread id='1'><queue id='0'/></iothread>";
        guest(&mapped(first), &flag).refused("a queue has no iothread");
        guest(&mapped(&format!("{first}<iothread id='2'/>")), &flag).refused("<iothreads>");
        let far = "<iothread id='2'><queue id='2'/></iothread>";
        guest(&mapped(&format!("{first}{far}")), &flag).refused("<queue id='2'>");
        let whole = "<iothread id='2'><queue id='1'/></iothread>";
        guest(&mapped(&format!("{first}{whole}")), &flag).fine();
    }

    #[test]
    fn limits_are_alike_in_a_group_and_not_too_high() {
        drive("", "scsi", "<iotune><group_name>a</group_name></iotune>", &[]).refused("group_name");
        drive(
            "",
            "sd",
            "<iotune><total_iops_sec>1</total_iops_sec></iotune>",
            &[],
        )
        .refused("<iotune>");
        drive(
            "",
            "scsi",
            "<iotune><total_bytes_sec>1000000000000001</total_bytes_sec></iotune>",
            &[],
        )
        .with(ErrorCode::ARGUMENT_UNSUPPORTED, "<iotune>");
        let limited = |dev: &str, limit: u32| {
            format!(
                "<disk type='file'><source file='/a'/><target dev='{dev}' bus='scsi'/>\
                 <iotune><total_iops_sec>{limit}</total_iops_sec><group_name>g</group_name></iotune></disk>"
            )
        };
        devices(Q35, &format!("{}{}", limited("sda", 5), limited("sdb", 5)), &[]).fine();
        devices(Q35, &format!("{}{}", limited("sda", 5), limited("sdb", 6)), &[]).refused("<group_name>");
    }

    #[test]
    fn controllers_are_what_machine_and_binary_have() {
        let controller = |rest: &str| format!("<controller {rest}</controller>");
        devices("pc-i440fx-10.0", &controller("type='ide' index='0'>"), &[]).fine();
        devices("pc-i440fx-10.0", &controller("type='ide' index='1'>"), &[]).refused("controller, 0, not 1");
        devices(Q35, &controller("type='ide' index='0'>"), &[]).refused("IDE controllers");
        let scsi = controller("type='scsi' index='0' model='lsilogic'>");
        devices(Q35, &scsi, &[]).refused("'lsilogic'");
        devices(Q35, &scsi, &[Flag::ScsiLsi]).fine();
        let queues = controller("type='scsi' index='0' model='lsilogic'><driver queues='2'/>");
        devices(Q35, &queues, &[Flag::ScsiLsi]).refused("'queues'");
        let thread = controller("type='scsi' index='0' model='virtio-scsi'><driver iothread='1'/>");
        devices(Q35, &thread, &[Flag::VirtioScsi]).refused("<iothread>");
        let threads = "<iothreads><iothread id='1'/></iothreads>";
        let some = controller(&format!(
            "type='scsi' index='0' model='virtio-scsi'><driver>{threads}</driver>"
        ));
        devices(Q35, &some, &[Flag::VirtioScsi]).refused("<iothreads> of a SCSI controller");
        let maps = [Flag::VirtioScsi, Flag::VirtioScsiIothreadMapping];
        devices(Q35, &some, &maps).refused("no <iothread> has id 1");
        let other = controller("type='scsi' index='0' model='lsilogic'><driver iothread='1'/>");
        devices(Q35, &other, &[Flag::ScsiLsi]).refused("'virtio-scsi'");
        devices(Q35, &controller("type='sata' index='1'>"), &[]).refused("SATA");
    }
}
