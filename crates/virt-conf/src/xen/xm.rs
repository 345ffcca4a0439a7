//! What only `xm`'s files have, both ways.

use virt_util::conf_file::{ConfFile, ConfValue};
use virt_util::{ErrorCode, Result, VirtError};

use super::conf::Conf;
use super::format::{boot_letters, text_list, usb_input_word};
use super::parse::{boot_order, command_line, paravirtual_boot, unsupported};
use super::xl_parse::usb_input;
use crate::domain::Domain;
use crate::domain::disk::{Disk, DiskBus, DiskDevice};
use crate::domain::input::InputBus;
use crate::domain::normalize::disk_index;
use crate::domain::os::Loader;
use crate::domain::storage::{StorageFormat, StorageLocation};

pub(super) fn rest(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let hvm = domain.os.is_hvm();
    if hvm {
        domain.os.loader = Some(Box::new(Loader {
            format: Some(StorageFormat::Raw),
            path: Some(conf.required("kernel")?.to_owned()),
            ..Loader::default()
        }));
        domain.os.boot = boot_order(conf)?;
    } else {
        paravirtual_boot(conf, domain)?;
        domain.os.cmdline = command_line(conf)?.into();
    }
    let disks = conf.texts("disk")?;
    if disks.is_none() && conf.get("disk").is_some() {
        return Err(conf.wrong("disk", "a list of texts is expected"));
    }
    for entry in disks.unwrap_or_default() {
        match disk(entry, hvm) {
            Some(disk) if hvm && disk_index(&disk.target.dev).is_none() => {
                let what = format!("'{entry}': a name such as 'hda' is expected behind the source");
                let place = conf.wrong("disk", what);
                return Err(VirtError::new(ErrorCode::XML_ERROR, place.detail()));
            }
            Some(disk) => domain.devices.disks.push(disk),
            None => tracing::warn!("the drive '{entry}' is passed over: 'SOURCE,NAME,MODE' is expected"),
        }
    }
    if hvm {
        domain
            .devices
            .inputs
            .extend(conf.text("usbdevice")?.and_then(usb_input));
    }
    Ok(())
}

/// `SOURCE,NAME,MODE`; the source begins with the driver, and behind `tap` with the format.
fn disk(entry: &str, hvm: bool) -> Option<Disk> {
    let (source, rest) = entry.split_once(',')?;
    let rest = rest.strip_prefix("ioemu:").unwrap_or(rest);
    let (name, mode) = rest.split_once(',')?;
    let mut disk = Disk::default();
    let mut path = (!source.is_empty()).then_some(source);
    if let Some((driver, rest)) = path.and_then(|path| path.split_once(':')) {
        disk.driver.name = Some(driver.to_owned());
        path = Some(rest);
        if matches!(driver, "tap" | "tap2") {
            let (format, rest) = rest.split_once(':')?;
            path = Some(rest);
            disk.driver.format = Some(match format {
                "aio" => StorageFormat::Raw,
                _ => StorageFormat::from_word(format)?,
            });
        }
    }
    let driver = disk.driver.name.get_or_insert_with(|| "phy".to_owned());
    let path = path.map(str::to_owned);
    disk.source.location = if driver == "phy" {
        StorageLocation::Block { path }
    } else {
        StorageLocation::File { path, fd_group: None }
    };
    let (name, kind) = name.split_once(':').unwrap_or((name, ""));
    if kind == "cdrom" {
        disk.device = DiskDevice::Cdrom;
    }
    disk.target.dev = name.to_owned();
    disk.target.bus = Some(match name {
        _ if name.starts_with("xvd") || !hvm => DiskBus::Xen,
        _ if name.starts_with("sd") => DiskBus::Scsi,
        _ => DiskBus::Ide,
    });
    match mode {
        "r" | "ro" => disk.rest.read_only = true,
        "w!" | "!" => disk.rest.shareable = true,
        _ => {}
    }
    Some(disk)
}

pub(super) fn format_rest(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let os = &domain.os;
    if os.is_hvm() {
        conf.set("builder", "hvm".into());
        if let Some(path) = os.loader.as_ref().and_then(|loader| loader.path.as_deref()) {
            conf.set("kernel", path.into());
        }
        conf.set("boot", boot_letters(domain).as_str().into());
    } else {
        for (name, value) in [
            ("bootloader", &domain.bootloader),
            ("bootargs", &domain.bootloader_args),
            ("kernel", &os.kernel),
            ("ramdisk", &os.initrd),
            ("extra", &os.cmdline),
        ] {
            if let Some(value) = &**value {
                conf.set(name, value.as_str().into());
            }
        }
    }
    let disks = domain
        .devices
        .disks
        .iter()
        .filter(|disk| disk.device != DiskDevice::Floppy);
    let disks = disks.map(format_disk).collect::<Result<Vec<_>>>()?;
    text_list(conf, "disk", disks);
    if os.is_hvm() {
        let usb = domain
            .devices
            .inputs
            .iter()
            .filter(|input| input.bus == Some(InputBus::Usb));
        for input in usb {
            conf.set("usb", ConfValue::Number(1));
            if let Some(word) = usb_input_word(input) {
                conf.set("usbdevice", word.into());
                break;
            }
        }
    }
    Ok(())
}

fn format_disk(disk: &Disk) -> Result<String> {
    let mut out = String::new();
    if let Some(path) = disk.source.location.path() {
        match (disk.driver.format, &disk.driver.name) {
            (Some(format), Some(driver)) => {
                out.push_str(driver);
                out.push(':');
                if matches!(driver.as_str(), "tap" | "tap2") {
                    out.push_str(if format == StorageFormat::Raw {
                        "aio"
                    } else {
                        format.as_str()
                    });
                    out.push(':');
                }
            }
            (Some(_), None) => {}
            (None, _) => out.push_str(match disk.source.location {
                StorageLocation::File { .. } => "file:",
                StorageLocation::Block { .. } => "phy:",
                _ => {
                    return Err(VirtError::internal(format_args!(
                        "unsupported disk type {}, 'file' or 'block' is expected",
                        disk.source.location.storage_type()
                    )));
                }
            }),
        }
        out.push_str(path);
    } else if !disk.is_empty() {
        return Err(unsupported(format_args!(
            "a disk of type '{}' is not supported by xen-xm",
            disk.source.location.storage_type()
        )));
    }
    if disk.rest.transient.is_some() {
        return Err(unsupported(format_args!(
            "disk '{}': Xen has no <transient/> disks",
            disk.target.dev
        )));
    }
    out.push(',');
    out.push_str(&disk.target.dev);
    if disk.device == DiskDevice::Cdrom {
        out.push_str(":cdrom");
    }
    out.push_str(match (disk.rest.read_only, disk.rest.shareable) {
        (true, _) => ",r",
        (false, true) => ",!",
        (false, false) => ",w",
    });
    Ok(out)
}
