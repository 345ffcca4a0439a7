//! What QEMU cannot do with images that several guests use, and with those whose changes are thrown away.

use virt_conf::domain::Domain;
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice};
use virt_conf::domain::storage::{EncryptionEngine, EncryptionFormat, StorageFormat, StorageLocation};
use virt_util::Result;

use super::refuse_if;
use crate::capabilities::Flag;
use crate::hooks::Guest;
use crate::plan::reboots;

/// Checks whether the image of a disk may be written by others, and may be forgotten.
pub(super) fn image(domain: &Domain, disk: &Disk, guest: Guest<'_>) -> Result<()> {
    transient(domain, disk, guest)?;
    let format = disk.driver.format;
    let plain = format == Some(StorageFormat::Raw) && !is_luks(disk);
    refuse_if(
        disk.rest.shareable && !disk.rest.read_only && !plain,
        format_args!(
            "disk '{}' cannot be shared: its format is '{}', and only what is 'raw' can be written by several guests",
            disk.target.dev,
            match format {
                Some(StorageFormat::Raw) => "luks",
                format => format.map_or("unknown", StorageFormat::as_str),
            }
        ),
    )
}

/// Whether QEMU itself encrypts the image, which is raw otherwise.
fn is_luks(disk: &Disk) -> bool {
    disk.image_encryption().is_some_and(|encryption| {
        encryption.format == EncryptionFormat::Luks
            && encryption
                .engine
                .is_none_or(|engine| engine == EncryptionEngine::Qemu)
    })
}

fn transient(domain: &Domain, disk: &Disk, guest: Guest<'_>) -> Result<()> {
    let Some(transient) = &disk.rest.transient else {
        return Ok(());
    };
    let name = &disk.target.dev;
    let what = |what: &str| format!("the changes of disk '{name}' cannot be transient: {what}");
    refuse_if(disk.is_empty(), what("it has no image"))?;
    refuse_if(disk.rest.read_only, what("it is read-only"))?;
    let location = &disk.source.location;
    refuse_if(
        !matches!(location, StorageLocation::File { .. }),
        what("its image has to be a file of this host, <disk type='file'>"),
    )?;
    refuse_if(
        disk.device != DiskDevice::Disk,
        what("only what the guest sees as a 'disk' can be"),
    )?;
    if transient.share_backing == Some(true) {
        refuse_if(
            !guest.caps.has(Flag::SetAction) && !reboots(domain),
            what("this QEMU cannot share the image below while the guest is never to boot again"),
        )?;
        let bus = disk.bus();
        refuse_if(
            !matches!(bus, Some(DiskBus::Usb | DiskBus::Virtio | DiskBus::Scsi)),
            what(&format!(
                "the image below is shared on the buses 'usb', 'virtio' and 'scsi' only, not on '{}'",
                bus.map_or("", DiskBus::as_str)
            )),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::hooks::validate::tests::{Verdict, devices};

    fn judge(kind: &str, device: &str, format: &str, inside: &str) -> Verdict {
        let disk = format!(
            "<disk type='{kind}' device='{device}'><driver name='qemu' type='{format}'/>{inside}<target dev='vda' bus='virtio'/></disk>"
        );
        devices("pc-q35-10.0", &disk, &[])
    }

    #[test]
    fn only_raw_images_are_shared() {
        let file = "<source file='/a'/><shareable/>";
        judge("file", "disk", "raw", file).fine();
        judge("file", "disk", "qcow2", file).refused("'qcow2'");
        judge("file", "disk", "qcow2", &format!("{file}<readonly/>")).fine();
        let secret = "<encryption format='luks'><secret type='passphrase' uuid='f52a81b2-424e-490c-823d-6bd4235bc572'/></encryption>";
        judge(
            "file",
            "disk",
            "raw",
            &format!("<source file='/a'>{secret}</source><shareable/>"),
        )
        .refused("'luks'");
    }

    #[test]
    fn changes_of_a_file_may_be_forgotten() {
        let file = "<source file='/a'/>";
        judge("file", "disk", "raw", &format!("{file}<transient/>")).fine();
        judge("file", "disk", "raw", &format!("{file}<transient/><readonly/>")).refused("read-only");
        judge("block", "disk", "raw", "<source dev='/dev/a'/><transient/>").refused("type='file'");
        judge(
            "file",
            "disk",
            "raw",
            &format!("{file}<transient shareBacking='yes'/>"),
        )
        .fine();
    }
}
