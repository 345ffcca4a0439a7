//! Devices of a domain → `.vmx` file.

use virt_util::{Result, VirtError};

use super::VmxFiles;
use super::format::{Out, spaced, unsupported};
use crate::domain::Domain;
use crate::domain::chardev::{ChardevSource, SourceMode, TcpProtocol};
use crate::domain::disk::{Disk, DiskBus, DiskCache, DiskDevice, StartupPolicy};
use crate::domain::filesystem::FilesystemSource;
use crate::domain::graphics::Graphics;
use crate::domain::interface::{Interface, InterfaceSource, MacType};
use crate::domain::normalize::disk_index;
use crate::domain::storage::StorageLocation;
use crate::domain::video::VideoModelType;
use crate::values::MacAddress;

pub(super) fn graphics(out: &mut Out, domain: &Domain) -> Result<()> {
    for graphics in &domain.devices.graphics {
        let Graphics::Vnc(vnc) = graphics else {
            return Err(unsupported(format_args!(
                "Unsupported graphics type '{}', 'vnc' is expected",
                graphics.graphics_type()
            )));
        };
        out.set("RemoteDisplay.vnc.enabled", true)?;
        if vnc.autoport {
            tracing::warn!("a VNC port that VMware chooses cannot be read back");
        } else {
            if !(5900..=5964).contains(&vnc.port) {
                tracing::warn!("the VNC port {} is none of 5900 to 5964", vnc.port);
            }
            out.set("RemoteDisplay.vnc.port", vnc.port)?;
        }
        if let Some(address) = vnc.listens.first().and_then(|listen| listen.address.as_ref()) {
            out.set("RemoteDisplay.vnc.ip", address)?;
        }
        if let Some(keymap) = &vnc.keymap {
            out.set("RemoteDisplay.vnc.keymap", keymap)?;
        }
        if let Some(password) = &vnc.auth.password {
            out.set("RemoteDisplay.vnc.password", password)?;
        }
    }
    Ok(())
}

pub(super) fn disks(out: &mut Out, domain: &Domain, files: &dyn VmxFiles) -> Result<()> {
    let mut floppies = [false; 2];
    for disk in &domain.devices.disks {
        if disk.device == DiskDevice::Floppy {
            let unit = floppy(out, disk, files)?;
            if let Some(present) = floppies.get_mut(unit) {
                *present = true;
            }
        } else {
            drive(out, disk, files)?;
        }
    }
    // A floppy that is not mentioned is there.
    for (unit, present) in floppies.into_iter().enumerate() {
        if !present {
            out.set(format_args!("floppy{unit}.present"), false)?;
        }
    }
    Ok(())
}

/// The number in the drive's name, which begins with `prefix`.
fn index(disk: &Disk, prefix: &str, limit: u32) -> Result<u32> {
    let name = &disk.target.dev;
    let index = disk_index(name).filter(|index| name.starts_with(prefix) && *index < limit);
    index.ok_or_else(|| {
        VirtError::internal(format_args!(
            "the target of a disk on bus '{}' is '{name}', one of the first {limit} names that begin with '{prefix}' is \
             expected",
            disk.target.bus.unwrap_or_default()
        ))
    })
}

fn drive(out: &mut Out, disk: &Disk, files: &dyn VmxFiles) -> Result<()> {
    let bus = disk.target.bus.unwrap_or_default();
    let is_file = match disk.source.location {
        StorageLocation::File { .. } => true,
        StorageLocation::Block { .. } => false,
        _ => return Err(unsupported_type(disk)),
    };
    let (controller, unit) = match bus {
        DiskBus::Scsi => {
            // Each of four controllers has 15 units beside its own, the seventh.
            let index = index(disk, "sd", 4 * 15)?;
            let unit = index % 15;
            (index / 15, if unit >= 7 { unit + 1 } else { unit })
        }
        DiskBus::Ide => {
            let index = index(disk, "hd", 2 * 2)?;
            (index / 2, index % 2)
        }
        bus => {
            let what = format!("VMware has no {} on bus '{bus}'", disk.device);
            return Err(unsupported(what));
        }
    };
    let path = disk.source.location.path();
    let kind = match disk.device {
        DiskDevice::Disk if is_file && bus == DiskBus::Scsi => "scsi-hardDisk",
        DiskDevice::Disk if is_file => "ata-hardDisk",
        DiskDevice::Disk | DiskDevice::Floppy => return Err(unsupported_type(disk)),
        DiskDevice::Cdrom if is_file => "cdrom-image",
        DiskDevice::Cdrom => "atapi-cdrom",
        DiskDevice::Lun
            if bus == DiskBus::Scsi && path.is_some_and(|path| path.starts_with("/vmfs/devices/cdrom/")) =>
        {
            "scsi-passthru"
        }
        DiskDevice::Lun => "cdrom-raw",
    };
    let mut set = |of: &str, value: &str| out.set(format_args!("{bus}{controller}:{unit}.{of}"), value);
    set("present", "true")?;
    set("deviceType", kind)?;
    if is_file {
        let suffix = if disk.device == DiskDevice::Disk {
            ".vmdk"
        } else {
            ".iso"
        };
        let name = match path {
            Some(path) if path.to_ascii_lowercase().ends_with(suffix) => files.to_vmx(path)?,
            None if disk.device == DiskDevice::Cdrom => "emptyBackingString".to_owned(),
            path => {
                return Err(VirtError::internal(format_args!(
                    "the image of {bus} {} '{}' is '{}', the suffix '{suffix}' is expected",
                    disk.device,
                    disk.target.dev,
                    path.unwrap_or_default()
                )));
            }
        };
        set("fileName", &name)?;
    } else if path.is_none() && disk.source.startup_policy == Some(StartupPolicy::Optional) {
        set("autodetect", "true")?;
        set("fileName", "auto detect")?;
    } else {
        // The word that libvirt's files have for a drive without a source.
        set("fileName", path.unwrap_or("(null)"))?;
    }
    if bus == DiskBus::Scsi {
        match disk.driver.cache {
            DiskCache::Writethrough => set("writeThrough", "true")?,
            DiskCache::Default => {}
            cache => {
                return Err(unsupported(format_args!(
                    "{bus} harddisk '{}' has unsupported cache mode '{cache}', 'default' or 'writethrough' is expected",
                    disk.target.dev
                )));
            }
        }
    }
    if disk.rest.transient.is_some() {
        set("mode", "independent-nonpersistent")?;
    }
    Ok(())
}

fn unsupported_type(disk: &Disk) -> VirtError {
    unsupported(format_args!(
        "{} {} '{}' has unsupported type '{}', 'file' or, unless it is a hard disk, 'block' is expected",
        disk.target.bus.unwrap_or_default(),
        disk.device,
        disk.target.dev,
        disk.source.location.storage_type()
    ))
}

fn floppy(out: &mut Out, disk: &Disk, files: &dyn VmxFiles) -> Result<usize> {
    let unit = index(disk, "fd", 2)?;
    let mut set = |of: &str, value: &str| out.set(format_args!("floppy{unit}.{of}"), value);
    set("present", "true")?;
    match &disk.source.location {
        StorageLocation::File { path, .. } => {
            set("fileType", "file")?;
            if let Some(path) = path {
                set("fileName", &files.to_vmx(path)?)?;
            }
        }
        StorageLocation::Block { path } => {
            set("fileType", "device")?;
            if let Some(path) = path {
                set("fileName", path)?;
            }
        }
        _ => return Err(unsupported_type(disk)),
    }
    Ok(unit as usize)
}

pub(super) fn shared_folders(out: &mut Out, domain: &Domain) -> Result<()> {
    let folders = &domain.devices.filesystems;
    if !folders.is_empty() {
        out.set("isolation.tools.hgfs.disable", false)?;
        out.set("sharedFolder.maxNum", folders.len())?;
    }
    for (number, folder) in folders.iter().enumerate() {
        let FilesystemSource::Mount { dir: Some(dir), .. } = &folder.source else {
            return Err(unsupported(
                "a shared folder of VMware has type 'mount' and a <source dir='…'>",
            ));
        };
        let mut set = |of: &str, value: &str| out.set(format_args!("sharedFolder{number}.{of}"), value);
        set("present", "true")?;
        set("enabled", "true")?;
        set("readAccess", "true")?;
        set("writeAccess", if folder.read_only { "false" } else { "true" })?;
        set("hostPath", dir)?;
        set("guestName", folder.target.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

pub(super) fn interfaces(out: &mut Out, domain: &Domain, hardware_version: u32) -> Result<()> {
    let limit = if hardware_version >= 7 { 10 } else { 4 };
    for (number, card) in domain.devices.interfaces.iter().enumerate() {
        if number >= limit {
            return Err(VirtError::internal(format_args!(
                "{} network interfaces are defined, at most {limit} are possible with virtual hardware {hardware_version}",
                domain.devices.interfaces.len()
            )));
        }
        interface(out, card, number)?;
    }
    Ok(())
}

fn interface(out: &mut Out, card: &Interface, number: usize) -> Result<()> {
    let mut set = |of: &str, value: &str| out.set(format_args!("ethernet{number}.{of}"), value);
    set("present", "true")?;
    if let Some(model) = &card.model {
        match model.to_ascii_lowercase().as_str() {
            "vmxnet2" => {
                set("virtualDev", "vmxnet")?;
                set("features", "15")?;
            }
            model @ ("vlance" | "vmxnet" | "vmxnet3" | "e1000" | "e1000e") => set("virtualDev", model)?,
            _ => {
                return Err(VirtError::internal(format_args!(
                    "the interface model is '{model}', 'vlance', 'vmxnet', 'vmxnet2', 'vmxnet3', 'e1000' or 'e1000e' is expected"
                )));
            }
        }
    }
    match &card.source {
        InterfaceSource::Bridge { bridge, .. } => {
            set("networkName", bridge)?;
            match card.target.as_ref().and_then(|target| target.dev.as_ref()) {
                Some(dev) => {
                    set("connectionType", "custom")?;
                    set("vnet", dev)?;
                }
                None => set("connectionType", "bridged")?,
            }
        }
        InterfaceSource::User { .. } => set("connectionType", "nat")?,
        InterfaceSource::Null => {}
        InterfaceSource::Vds {
            switch_id,
            port_id,
            portgroup_id,
            connection_id,
        } => {
            set("dvs.switchId", &spaced(*switch_id))?;
            if *port_id != 0 {
                set("dvs.portId", &port_id.to_string())?;
            }
            if let Some(group) = portgroup_id {
                set("dvs.portgroupId", group)?;
            }
            if *connection_id != 0 {
                set("dvs.connectionId", &connection_id.to_string())?;
            }
        }
        _ => {
            return Err(unsupported(format_args!(
                "Unsupported net type '{}', 'bridge', 'user', 'null' or 'vds' is expected",
                card.interface_type()
            )));
        }
    }
    mac(card, set)
}

fn mac(card: &Interface, mut set: impl FnMut(&str, &str) -> Result<()>) -> Result<()> {
    let mac = card.mac.address.unwrap_or(MacAddress([0; 6]));
    let text = mac.to_string();
    let [a, b, c, d, ..] = mac.0;
    // Where the definition does not say what kind of address it is, its range does.
    let (by_range, of_center, check_by_range) = match [a, b, c] {
        [0x00, 0x0c, 0x29] => (MacType::Generated, false, None),
        [0x00, 0x50, 0x56] if d <= 0x3f => (MacType::Static, false, None),
        [0x00, 0x50, 0x56] if (0x80..=0xbf).contains(&d) => (MacType::Generated, true, None),
        _ => (MacType::Static, false, Some(false)),
    };
    let kind = card.mac.kind.unwrap_or(by_range);
    let check = match card.mac.kind {
        Some(MacType::Generated) => None,
        _ => check_by_range,
    };
    if kind == MacType::Generated {
        set("addressType", if of_center { "vpx" } else { "generated" })?;
        set("generatedAddress", &text)?;
        if !of_center {
            set("generatedAddressOffset", "0")?;
        }
    } else {
        set("addressType", "static")?;
        set("address", &text)?;
    }
    if let Some(check) = card.mac.check.or(check) {
        set("checkMACAddress", if check { "true" } else { "false" })?;
    }
    Ok(())
}

pub(super) fn video(out: &mut Out, domain: &Domain) -> Result<()> {
    let (model, more) = match domain.devices.videos.as_slice() {
        [] => return Ok(()),
        [video, more @ ..] => (&video.model, !more.is_empty()),
    };
    if more {
        return Err(VirtError::internal(
            "VMware has one video device, and the guest has more",
        ));
    }
    if model.kind != VideoModelType::Vmvga {
        return Err(unsupported(format_args!(
            "Unsupported video device type '{}', 'vmvga' is expected",
            model.kind
        )));
    }
    if model.heads > 1 {
        return Err(unsupported(format_args!(
            "VMware takes heads='1', not '{}'",
            model.heads
        )));
    }
    // Windows wants a multiple of 64 KiB.
    out.set("svga.vramSize", u64::from(model.vram).div_ceil(64) * 64 * 1024)
}

pub(super) fn ports(out: &mut Out, domain: &Domain, files: &dyn VmxFiles) -> Result<()> {
    for serial in &domain.devices.serials {
        let port = port_number("Serial", serial.target.port, 3)?;
        let prefix = format!("serial{port}");
        port_source(out, &prefix, &serial.host.source, files, true)?;
        out.set(format_args!("{prefix}.yieldOnMsrRead"), true)?;
    }
    for parallel in &domain.devices.parallels {
        let port = port_number("Parallel", parallel.port, 2)?;
        port_source(
            out,
            &format!("parallel{port}"),
            &parallel.host.source,
            files,
            false,
        )?;
    }
    Ok(())
}

fn port_number(what: &str, port: Option<u32>, most: u32) -> Result<u32> {
    let port = port.unwrap_or_default();
    if port > most {
        return Err(VirtError::internal(format_args!(
            "{what} port index {port} out of [0..{most}] range"
        )));
    }
    Ok(port)
}

fn port_source(
    out: &mut Out,
    prefix: &str,
    source: &ChardevSource,
    files: &dyn VmxFiles,
    serial: bool,
) -> Result<()> {
    let mut set = |of: &str, value: &str| out.set(format_args!("{prefix}.{of}"), value);
    set("present", "true")?;
    match source {
        ChardevSource::Dev { path, .. } => {
            set("fileType", "device")?;
            set("fileName", path.as_deref().unwrap_or_default())
        }
        ChardevSource::File { path, .. } => {
            set("fileType", "file")?;
            set("fileName", &files.to_vmx(path.as_deref().unwrap_or_default())?)
        }
        ChardevSource::Pipe { path, .. } if serial => {
            set("fileType", "pipe")?;
            set("pipe.endPoint", "client")?;
            set("tryNoRxLoss", "false")?;
            set("fileName", path.as_deref().unwrap_or_default())
        }
        ChardevSource::Tcp(tcp) if serial => {
            let protocol = match tcp.protocol {
                TcpProtocol::Raw => "tcp",
                TcpProtocol::Telnet => "telnet",
                TcpProtocol::Telnets => "telnets",
                TcpProtocol::Tls => "ssl",
            };
            let host = tcp.host.as_deref().unwrap_or_default();
            let service = tcp.service.as_deref().unwrap_or_default();
            set("fileType", "network")?;
            set("fileName", &format!("{protocol}://{host}:{service}"))?;
            let server = tcp.mode == SourceMode::Bind;
            set("network.endPoint", if server { "server" } else { "client" })
        }
        _ => Err(unsupported(format_args!(
            "VMware has no character device of type '{}'",
            source.chardev_type()
        ))),
    }
}
