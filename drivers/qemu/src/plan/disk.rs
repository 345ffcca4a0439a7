//! Drives: their images and the device that the guest sees.

use serde_json::{Value, json};
use virt_conf::domain::chardev::{
    ChardevHost, ChardevSource, Reconnect, SourceMode, SpicevmcType, UnixSource,
};
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice, DiskErrorPolicy, DiskModel, IoThreadMapping};
use virt_conf::domain::storage::{StorageFormat, StorageLocation, TranslatedVolume};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::block::{Image, ImageSettings, Top, cache_flags, chain};
use super::device::{VirtioVariant, alias};
use super::prepare::Start;
use crate::capabilities::{Flag, QemuCaps};

/// The images of a drive with their node names; none for an empty drive.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for images that QEMU has no driver for.
pub fn images<'a>(
    disk: &'a Disk,
    caps: &QemuCaps,
    start: &Start,
    next_id: &mut u32,
) -> Result<Vec<Image<'a>>> {
    let vhost_user = matches!(disk.source.location, StorageLocation::Vhostuser { .. });
    if disk.is_empty() || vhost_user || disk.bus() == Some(DiskBus::Sd) {
        return Ok(Vec::new());
    }
    let format = match (&disk.source.location, disk.driver.format) {
        (StorageLocation::Dir { .. }, _) => StorageFormat::Fat,
        (StorageLocation::Volume { translated, .. }, None)
            if matches!(translated.as_deref(), Some(TranslatedVolume::Dir { .. })) =>
        {
            StorageFormat::Fat
        }
        (_, format) => format.unwrap_or(StorageFormat::Raw),
    };
    let driver = &disk.driver;
    let host_cdrom = match &disk.source.location {
        StorageLocation::Block { path: Some(path) } => {
            disk.device == DiskDevice::Cdrom
                && format == StorageFormat::Raw
                && start.cdrom_drives.contains(path)
        }
        _ => false,
    };
    let settings = ImageSettings {
        cache: driver.cache,
        io: driver.io,
        discard: driver.discard,
        discard_no_unref: driver.discard_no_unref,
        detect_zeroes: driver.detect_zeroes,
        read_only: disk.rest.read_only || disk.device == DiskDevice::Cdrom,
        floppy: disk.device == DiskDevice::Floppy,
        metadata_cache: driver.metadata_cache,
        host_cdrom,
        gluster_debug: None,
    };
    let top = Top {
        source: &disk.source,
        format,
        auth: disk.auth.as_deref().or(disk.source.auth.as_deref()),
        encryption: disk.image_encryption(),
    };
    chain(top, disk.backing.as_ref(), &settings, caps, start, next_id)
}

/// The place of a drive by the letters of its name: `vdc` is 2.
pub fn name_index(name: &str) -> Option<u32> {
    let letters = ["fd", "hd", "vd", "sd", "xvd", "ubd"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut index: u32 = 0;
    for letter in letters.bytes() {
        let value = letter.checked_sub(b'a').filter(|value| *value < 26)?;
        index = index.checked_mul(26)?.checked_add(u32::from(value) + 1)?;
    }
    index.checked_sub(1)
}

impl Builder<'_> {
    pub(super) fn disks(&mut self) -> Result<()> {
        self.floppy_controller()?;
        for disk in self.domain_disks() {
            if disk.rest.transient.is_some() {
                let what = "transient disks are not supported yet";
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
            self.disk(disk)?;
        }
        Ok(())
    }

    fn disk(&mut self, disk: &Disk) -> Result<()> {
        if disk.bus() == Some(DiskBus::Sd) {
            return self.sd_card(disk);
        }
        let name = alias(&disk.info)?;
        let first_id = self.layout.disk_ids.get(name).copied().unwrap_or(1);
        let mut next_id = first_id;
        let images = images(disk, self.caps, self.start, &mut next_id)?;
        for image in images.iter().rev() {
            self.image(image)?;
        }
        if let StorageLocation::Vhostuser { path, reconnect, .. } = &disk.source.location {
            self.vhost_user_disk(name, path, reconnect.as_ref())?;
        }
        let mut node = images.first().map(|image| image.node().to_owned());
        if let Some(below) = node.clone().filter(|_| disk.driver.copy_on_read == Some(true)) {
            let top = format!("libvirt-CoR-{}", disk.target.dev);
            let props = Props::new()
                .with("driver", "copy-on-read")
                .with("node-name", top.as_str())
                .with("file", below)
                .with("discard", "unmap");
            self.command.blockdev(&props);
            node = Some(top);
        }
        for filter in &disk.rest.throttle_filters {
            let Some(below) = node else { break };
            let top = format!("libvirt-{next_id}-filter");
            next_id += 1;
            let props = Props::new()
                .with("driver", "throttle")
                .with("node-name", top.as_str())
                .with("throttle-group", format!("throttle-{}", filter.group))
                .with("file", below);
            self.command.blockdev(&props);
            node = Some(top);
        }
        self.zpci(&disk.info)?;
        let props = self.disk_device(disk, node.as_deref())?;
        self.device(props)
    }

    /// The connection to the program that is a drive.
    fn vhost_user_disk(&mut self, name: &str, path: &str, reconnect: Option<&Reconnect>) -> Result<()> {
        let host = ChardevHost {
            source: ChardevSource::Unix(UnixSource {
                mode: SourceMode::Connect,
                path: Some(path.to_owned()),
                reconnect: reconnect.cloned(),
                ..UnixSource::default()
            }),
            log: None,
        };
        self.chardev_named(&host, name, &vhost_user_chardev(name), SpicevmcType::Vdagent)
    }

    /// An SD card has no device of its own, so it is attached in QEMU's oldest way.
    fn sd_card(&mut self, disk: &Disk) -> Result<()> {
        let path = disk.source.location.path().ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "an SD card needs a file, a device or a folder",
            )
        })?;
        let mut value = format!("file={},", super::args::escape_commas(path));
        value.push_str(&format!(
            "format={},",
            disk.driver.format.unwrap_or(StorageFormat::Raw)
        ));
        value.push_str(&format!(
            "if=sd,index={}",
            name_index(&disk.target.dev).unwrap_or(0)
        ));
        if disk.rest.read_only {
            value.push_str(",readonly=on");
        }
        self.command.option("-drive", value);
        Ok(())
    }

    fn disk_device(&self, disk: &Disk, node: Option<&str>) -> Result<Props> {
        let driver = &disk.driver;
        let bus = disk.bus();
        let vhost_user = matches!(disk.source.location, StorageLocation::Vhostuser { .. });
        let (mut model, mut product, mut device_id, mut removable) = (None, None, None, None);
        let name = alias(&disk.info)?;
        let props = match bus {
            Some(DiskBus::Ide | DiskBus::Sata) => {
                model = disk.rest.product.clone();
                Props::device(if disk.device == DiskDevice::Cdrom {
                    "ide-cd"
                } else {
                    "ide-hd"
                })
            }
            Some(DiskBus::Scsi) => {
                product = disk.rest.product.clone();
                match disk.device {
                    DiskDevice::Lun => Props::device("scsi-block"),
                    device => {
                        device_id = Some(
                            disk.rest
                                .serial
                                .clone()
                                .unwrap_or_else(|| format!("drive-{name}")),
                        );
                        if device == DiskDevice::Cdrom {
                            Props::device("scsi-cd")
                        } else {
                            removable = disk.target.removable;
                            Props::device("scsi-hd")
                        }
                    }
                }
            }
            Some(DiskBus::Virtio) => {
                let variant = match disk.options.model {
                    DiskModel::VirtioTransitional => VirtioVariant::Transitional,
                    DiskModel::VirtioNonTransitional => VirtioVariant::NonTransitional,
                    DiskModel::Default | DiskModel::Virtio => VirtioVariant::Plain,
                };
                let base = if vhost_user {
                    "vhost-user-blk"
                } else {
                    "virtio-blk"
                };
                let scsi = match disk.device {
                    _ if vhost_user || !self.caps.has(Flag::VirtioBlkScsi) => None,
                    DiskDevice::Lun => Some(true),
                    _ if !self.caps.has(Flag::VirtioBlkScsiDefaultDisabled) => Some(false),
                    _ => None,
                };
                self.virtio(base, &disk.info, variant, Some(&driver.virtio))?
                    .maybe("iothread", iothread(driver.iothread))
                    .maybe("ioeventfd", driver.ioeventfd)
                    .maybe("event_idx", driver.event_idx)
                    .maybe("scsi", scsi)
                    .positive("num-queues", driver.queues)
                    .positive("queue-size", driver.queue_size)
                    .maybe("iothread-vq-mapping", iothread_mapping(&driver.iothreads))
            }
            Some(DiskBus::Usb) => {
                removable = Some(disk.target.removable.unwrap_or(false));
                Props::device("usb-storage")
            }
            Some(DiskBus::Fdc) => Props::device("floppy"),
            other => {
                let bus = other.map_or("none", DiskBus::as_str);
                let what = format!("QEMU has no drives on bus '{bus}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        let write_cache = match disk.device {
            DiskDevice::Lun => None,
            _ => cache_flags(driver.cache).map(|(writeback, _, _)| writeback),
        };
        let wwn = disk
            .rest
            .wwn
            .as_deref()
            .map(|wwn| {
                u64::from_str_radix(wwn.trim_start_matches("0x"), 16).map_err(|_| {
                    VirtError::invalid_arg(format_args!(
                        "Unable to parse wwn value '{wwn}' of disk '{}'",
                        disk.target.dev
                    ))
                })
            })
            .transpose()?;
        let block = disk.shape.block_io.clone().unwrap_or_default();
        let geometry = disk.shape.geometry.clone().unwrap_or_default();
        let (write_error, read_error) = error_policies(disk);
        let is_floppy = disk.device == DiskDevice::Floppy;
        let load_parameter = disk
            .info
            .boot
            .as_ref()
            .and_then(|boot| boot.loadparm.clone())
            .filter(|_| !is_floppy && self.caps.has(Flag::VirtioCcwDeviceLoadparm));
        let boot_index = if is_floppy { 0 } else { self.boot_index(&disk.info) };
        Ok(props
            .and(self.address(&disk.info, bus)?)
            .maybe("device_id", device_id)
            .maybe("share-rw", disk.rest.shareable.then_some(true))
            .maybe("drive", node)
            .maybe("chardev", vhost_user.then(|| vhost_user_chardev(name)))
            .with("id", name)
            .positive("bootindex", boot_index)
            .maybe("loadparm", load_parameter)
            .positive("logical_block_size", block.logical)
            .positive("physical_block_size", block.physical)
            .positive("discard_granularity", block.discard_granularity)
            .maybe("wwn", wwn)
            .positive("rotation_rate", disk.target.rotation_rate)
            .maybe("vendor", disk.rest.vendor.clone())
            .maybe("product", product)
            .maybe("model", model)
            .maybe("removable", removable)
            .on_off("write-cache", write_cache)
            .positive("cyls", geometry.cylinders)
            .positive("heads", geometry.heads)
            .positive("secs", geometry.sectors)
            .maybe(
                "bios-chs-trans",
                geometry.translation.map(|translation| translation.as_str()),
            )
            .maybe(
                "serial",
                disk.rest
                    .serial
                    .as_deref()
                    .map(|serial| serial.replace(' ', "\\ ")),
            )
            .maybe("werror", write_error)
            .maybe("rerror", read_error))
    }

    fn floppy_controller(&mut self) -> Result<()> {
        let (mut any, mut first, mut second) = (false, 0, 0);
        for disk in self
            .domain_disks()
            .iter()
            .filter(|disk| disk.bus() == Some(DiskBus::Fdc))
        {
            any = true;
            let index = self.boot_index(&disk.info);
            match &disk.info.address {
                Some(virt_conf::domain::Address::Drive(address)) if address.unit != 0 => second = index,
                _ => first = index,
            }
        }
        if !any {
            return Ok(());
        }
        if self.machine().is_q35() {
            let props = Props::device("isa-fdc")
                .positive("bootindexA", first)
                .positive("bootindexB", second);
            return self.device(props);
        }
        for (drive, index) in [("A", first), ("B", second)] {
            if index != 0 {
                self.command
                    .option("-global", format!("isa-fdc.bootindex{drive}={index}"));
            }
        }
        Ok(())
    }
}

/// The character device that is the connection to the program that is a drive.
fn vhost_user_chardev(name: &str) -> String {
    format!("chr-vu-{name}")
}

/// The object that stands for an I/O thread.
pub fn iothread(number: u32) -> Option<String> {
    (number != 0).then(|| format!("iothread{number}"))
}

/// Which I/O threads serve which queues.
pub fn iothread_mapping(mapping: &[IoThreadMapping]) -> Option<Value> {
    if mapping.is_empty() {
        return None;
    }
    let threads = mapping.iter().map(|thread| {
        let mut props = Props::new().with("iothread", format!("iothread{}", thread.id));
        if !thread.queues.is_empty() {
            let queues: Vec<u32> = thread.queues.iter().map(|queue| queue.id).collect();
            props = props.with("vqs", json!(queues));
        }
        props.into_value()
    });
    Some(threads.collect())
}

fn error_policies(disk: &Disk) -> (Option<&'static str>, Option<&'static str>) {
    let write = disk.driver.error_policy;
    let read = disk.driver.read_error_policy.map(DiskErrorPolicy::as_str);
    match write {
        Some(DiskErrorPolicy::Enospace) => (Some("enospc"), read),
        write => {
            let write = write.map(DiskErrorPolicy::as_str);
            (write, read.or(write))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_like_columns() {
        for (name, index) in [
            ("vda", 0),
            ("vdz", 25),
            ("vdaa", 26),
            ("xvdb", 1),
            ("hda1", 0),
            ("sdzz", 701),
        ] {
            assert_eq!(name_index(name), Some(index), "{name}");
        }
        for name in ["", "vd", "vdA", "zda", "vdaaaaaaaaaaaa"] {
            assert_eq!(name_index(name), None, "{name}");
        }
    }
}
