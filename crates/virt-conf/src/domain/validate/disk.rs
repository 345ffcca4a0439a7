//! Disks: what fits which bus and which kind of drive.

use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{unsupported, xml_error};
use crate::domain::Domain;
use crate::domain::device_info::{Address, VirtioOptions};
use crate::domain::disk::{Disk, DiskBus, DiskDevice, DiskModel, DiskTray, Sgio, StartupPolicy};
use crate::domain::storage::{
    BackingStore, Encryption, EncryptionFormat, NetProtocol, StorageAuth, StorageFormat, StorageLocation,
    StorageSource,
};

const VENDOR_LENGTH: usize = 8;
const PRODUCT_LENGTH_SCSI: usize = 16;
const PRODUCT_LENGTH_ATA: usize = 40;

/// The way a source is known to be on this host.
fn is_local(location: &StorageLocation) -> bool {
    !matches!(
        location,
        StorageLocation::Network(_) | StorageLocation::Nvme { .. } | StorageLocation::Vhostuser { .. }
    )
}

pub(super) fn validate(domain: &Domain, disk: &Disk) -> Result<()> {
    if disk.target.dev.is_empty() {
        let path = disk.source.location.path().unwrap_or_default();
        return Err(VirtError::new(ErrorCode::NO_TARGET, path));
    }
    chain(disk)?;
    lun(disk)?;
    address(disk)?;
    virtio_only(disk)?;
    names(disk)?;
    bus_and_device(disk)?;
    startup_policy(disk)?;
    if let StorageLocation::Nvme { namespace: 0, .. } = &disk.source.location {
        return Err(unsupported("namespaces of NVMe count from 1, not 0"));
    }
    let removable = matches!(disk.device, DiskDevice::Floppy | DiskDevice::Cdrom);
    if disk.target.tray != DiskTray::Closed && !removable {
        return Err(unsupported(format_args!(
            "'tray' is for devices 'cdrom' and 'floppy', not '{}'",
            disk.device
        )));
    }
    if disk.is_empty() && disk.device == DiskDevice::Disk {
        return Err(VirtError::new(ErrorCode::NO_SOURCE, &disk.target.dev));
    }
    if disk.driver.discard_no_unref == Some(true) {
        if disk.driver.format != Some(StorageFormat::Qcow2) {
            return Err(unsupported("discard_no_unref='on' is for format 'qcow2' only"));
        }
        if disk.rest.read_only {
            return Err(unsupported(
                "discard_no_unref='on' and <readonly/> exclude each other",
            ));
        }
    }
    if disk.driver.iothread != 0 && !disk.driver.iothreads.is_empty() {
        let what = "'iothread' and <iothreads> exclude each other";
        return Err(xml_error(what));
    }
    if !disk.rest.throttle_filters.is_empty()
        && disk
            .rest
            .tune
            .as_ref()
            .is_some_and(|tune| *tune != Default::default())
    {
        let what = "<throttlefilters> and <iotune> exclude each other";
        return Err(VirtError::new(ErrorCode::OPERATION_UNSUPPORTED, what));
    }
    if let Some(filter) = disk.rest.throttle_filters.first() {
        if disk.device == DiskDevice::Cdrom {
            let what = "<throttlefilters> are not for device 'cdrom'";
            return Err(VirtError::new(ErrorCode::OPERATION_UNSUPPORTED, what));
        }
        let known = |name: &str| {
            let mut groups = domain.throttle_groups.iter();
            groups.any(|group| group.group.as_deref() == Some(name))
        };
        let mut filters = disk.rest.throttle_filters.iter();
        if filters.any(|filter| !known(&filter.group)) {
            let group = &filter.group;
            return Err(xml_error(format_args!("no <throttlegroup> is named '{group}'")));
        }
    }
    if matches!(disk.source.location, StorageLocation::Vhostuser { .. }) {
        vhost_user(disk)?;
    }
    labels(domain, disk)
}

/// A drive that another process serves is all that process's matter.
fn vhost_user(disk: &Disk) -> Result<()> {
    use crate::domain::disk::{DiskCache, SnapshotLocation};
    if disk.target.bus != Some(DiskBus::Virtio) {
        return Err(unsupported("type 'vhostuser' needs bus 'virtio'"));
    }
    if disk
        .options
        .snapshot
        .is_some_and(|place| place != SnapshotLocation::No)
    {
        return Err(unsupported("type 'vhostuser' takes snapshot='no' only"));
    }
    let (driver, rest, shape) = (&disk.driver, &disk.rest, &disk.shape);
    let geometry = shape.geometry.as_ref();
    let said = [
        ("cache", driver.cache != DiskCache::Default),
        (
            "error_policy",
            driver.error_policy.is_some() || driver.read_error_policy.is_some(),
        ),
        ("io", driver.io.is_some()),
        ("ioeventfd", driver.ioeventfd.is_some()),
        ("copy_on_read", driver.copy_on_read.is_some()),
        ("discard", driver.discard.is_some()),
        ("iothread", driver.iothread != 0),
        ("detect_zeroes", driver.detect_zeroes.is_some()),
        (
            "metadata_cache",
            driver.metadata_cache.is_some_and(|size| size > 0),
        ),
        (
            "iotune",
            rest.tune
                .as_ref()
                .is_some_and(|tune| **tune != Default::default()),
        ),
        (
            "backingStore",
            matches!(disk.backing, Some(BackingStore::Image(_))),
        ),
        ("encryption", disk.image_encryption().is_some()),
        ("readonly", rest.read_only),
        ("shareable", rest.shareable),
        ("transient", rest.transient.is_some()),
        ("serial", rest.serial.is_some()),
        ("wwn", rest.wwn.is_some()),
        ("vendor", rest.vendor.is_some()),
        ("product", rest.product.is_some()),
        ("auth", disk.credentials().is_some()),
        (
            "geometry",
            geometry.is_some_and(|geometry| *geometry != Default::default()),
        ),
        (
            "blockio",
            shape
                .block_io
                .as_ref()
                .is_some_and(|sizes| *sizes != Default::default()),
        ),
    ];
    match said.iter().find(|(_, said)| *said) {
        Some((name, _)) => Err(unsupported(format_args!("type 'vhostuser' takes no '{name}'"))),
        None => Ok(()),
    }
}

/// A label of an image goes before the guest's, which must be one that labels.
fn labels(domain: &Domain, disk: &Disk) -> Result<()> {
    let refused = |source: &StorageSource| {
        source.seclabels.iter().any(|own| {
            let mut whole = domain.seclabels.iter();
            whole.any(|label| label.model == own.model && label.relabel == Some(false))
        })
    };
    let mut wrong = refused(&disk.source);
    let mut next = disk.backing.as_ref();
    while let Some(BackingStore::Image(image)) = next {
        wrong |= refused(&image.source);
        next = image.backing.as_ref();
    }
    if wrong {
        let what =
            "the image has a label of its own, while <seclabel relabel='no'> of the guest forbids labelling";
        return Err(unsupported(what));
    }
    Ok(())
}

/// Names and values of cookies hold no character that ends them.
fn cookies(cookies: &[crate::domain::storage::Cookie]) -> Result<()> {
    const NOT_IN_VALUES: &str = " \",;\\";
    const NOT_IN_NAMES: &str = "=()<>@:/[]?{}";
    let mut names = std::collections::HashSet::new();
    for cookie in cookies {
        let name = cookie.name.as_str();
        let value = cookie.value.as_deref().unwrap_or_default();
        let bare = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"'),
            None => Some(value),
        };
        let odd = |text: &str| text.contains(|c: char| c.is_ascii_control() || NOT_IN_VALUES.contains(c));
        let wrong = if name.is_empty() {
            "a <cookie> has an empty name".to_owned()
        } else if odd(name) || name.contains(|c: char| NOT_IN_NAMES.contains(c)) {
            format!(
                "the name of cookie '{name}' has a control character or one of {NOT_IN_VALUES}{NOT_IN_NAMES}"
            )
        } else if bare.is_none_or(odd) {
            format!("the value of cookie '{name}' has a control character or one of {NOT_IN_VALUES}")
        } else if !names.insert(name) {
            format!("duplicate cookie '{name}'")
        } else {
            continue;
        };
        return Err(xml_error(wrong));
    }
    Ok(())
}

/// Every image of the chain.
fn chain(disk: &Disk) -> Result<()> {
    one(
        &disk.source,
        disk.driver.format,
        disk.credentials(),
        disk.image_encryption(),
    )?;
    let mut next = disk.backing.as_ref();
    while let Some(BackingStore::Image(image)) = next {
        let source = &image.source;
        one(
            source,
            Some(image.format.kind),
            source.auth.as_deref(),
            source.encryption.as_deref(),
        )?;
        next = image.backing.as_ref();
    }
    Ok(())
}

fn one(
    source: &StorageSource,
    format: Option<StorageFormat>,
    auth: Option<&StorageAuth>,
    encryption: Option<&Encryption>,
) -> Result<()> {
    use NetProtocol as P;
    if let StorageLocation::Network(network) = &source.location {
        if network.protocol == P::Sheepdog {
            let what = "no hypervisor reads protocol 'sheepdog' any more";
            return Err(unsupported(what));
        }
        cookies(&network.cookies)?;
        if let Some(auth) = auth {
            let protocol = network.protocol;
            if matches!(protocol, P::Nbd | P::Gluster | P::Tftp | P::Vxhs | P::Nfs) {
                return Err(unsupported(format_args!("protocol '{protocol}' takes no <auth>")));
            }
            let kind = auth.secret.as_ref().and_then(|secret| secret.kind.as_deref());
            let known = kind.is_some_and(|kind| crate::secret::SecretUsageType::from_word(kind).is_some());
            if !known {
                return Err(unsupported(format_args!(
                    "'{}' is no type of secret",
                    kind.unwrap_or("(none)")
                )));
            }
            let wanted = match protocol {
                P::Iscsi => Some("iscsi"),
                P::Rbd => Some("ceph"),
                _ => None,
            };
            if wanted.is_some() && kind != wanted {
                return Err(unsupported(format_args!(
                    "protocol '{}' does not use secrets of type '{}': expected '{}'",
                    network.protocol,
                    kind.unwrap_or_default(),
                    wanted.unwrap_or_default()
                )));
            }
        }
    }
    if encryption
        .is_some_and(|encryption| encryption.format == EncryptionFormat::Luks && encryption.cipher.is_some())
    {
        return Err(unsupported(
            "LUKS images name their cipher themselves: remove <cipher>",
        ));
    }
    if let Some(store) = &source.data_store {
        if format != Some(StorageFormat::Qcow2) {
            return Err(unsupported("<dataStore> is for format 'qcow2' only"));
        }
        if store.format.kind != StorageFormat::Raw {
            return Err(unsupported(format_args!(
                "a <dataStore> has format 'raw', not '{}'",
                store.format.kind
            )));
        }
        if store.source.slice.is_some() {
            return Err(xml_error("a <dataStore> takes no <slice>"));
        }
    }
    Ok(())
}

fn lun(disk: &Disk) -> Result<()> {
    if disk.options.sgio == Some(Sgio::Unfiltered) {
        return Err(unsupported(
            "sgio='unfiltered' is gone from Linux: leave it out or say 'filtered'",
        ));
    }
    if disk.device == DiskDevice::Lun {
        if disk
            .driver
            .format
            .is_some_and(|format| format != StorageFormat::Raw)
        {
            return Err(unsupported("device 'lun' takes format 'raw' only"));
        }
        if disk.source.slice.is_some() {
            return Err(unsupported("device 'lun' takes no <slice>"));
        }
        if disk.image_encryption().is_some() {
            return Err(unsupported("device 'lun' takes no <encryption>"));
        }
        return match &disk.source.location {
            StorageLocation::Block { .. } => Ok(()),
            StorageLocation::Volume { mode, .. } => match mode {
                Some(crate::domain::storage::PoolMode::Direct) => Err(unsupported(
                    "device 'lun' takes a volume with mode 'host', not 'direct'",
                )),
                _ => Ok(()),
            },
            StorageLocation::Network(network) if network.protocol == NetProtocol::Iscsi => Ok(()),
            other => {
                let what = format!(
                    "device 'lun' takes a block device or iSCSI, not type '{}'",
                    other.xml_tag()
                );
                Err(unsupported(what))
            }
        };
    }
    if disk.source.reservations.is_some() {
        return Err(unsupported(format_args!(
            "<reservations> are for device 'lun', not '{}'",
            disk.device
        )));
    }
    if disk.options.rawio.is_some() {
        return Err(unsupported(format_args!(
            "'rawio' is for device 'lun', not '{}'",
            disk.device
        )));
    }
    if disk.options.sgio.is_some() {
        return Err(unsupported(format_args!(
            "'sgio' is for device 'lun', not '{}'",
            disk.device
        )));
    }
    Ok(())
}

fn address(disk: &Disk) -> Result<()> {
    let Some(address) = &disk.info.address else {
        return Ok(());
    };
    let by_drive = matches!(
        disk.target.bus,
        Some(DiskBus::Ide | DiskBus::Fdc | DiskBus::Scsi | DiskBus::Sata)
    );
    if !by_drive || matches!(address, Address::Drive(_)) {
        return Ok(());
    }
    let bus = disk.target.bus.map_or("none", DiskBus::as_str);
    let what = format!("on bus '{bus}' an address is of type 'drive'");
    Err(unsupported(what))
}

fn virtio_only(disk: &Disk) -> Result<()> {
    if disk.target.bus == Some(DiskBus::Virtio) {
        return Ok(());
    }
    let bus = disk.target.bus.map_or("none", DiskBus::as_str);
    if disk.options.model != DiskModel::Default {
        return Err(unsupported(format_args!(
            "model '{}' is for bus 'virtio', not '{bus}'",
            disk.options.model
        )));
    }
    let driver = &disk.driver;
    let only = [
        (driver.queues != 0, "queues"),
        (driver.queue_size != 0, "queue_size"),
        (driver.event_idx.is_some(), "event_idx"),
        (driver.ioeventfd.is_some(), "ioeventfd"),
        (
            driver.virtio != VirtioOptions::default(),
            "iommu, ats, packed and page_per_vq",
        ),
    ];
    match only.iter().find(|(said, _)| *said) {
        Some((_, what)) => Err(unsupported(format_args!(
            "{what} of <driver> are for bus 'virtio', not '{bus}'"
        ))),
        None => Ok(()),
    }
}

fn names(disk: &Disk) -> Result<()> {
    let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let product = if disk.target.bus == Some(DiskBus::Scsi) {
        PRODUCT_LENGTH_SCSI
    } else {
        PRODUCT_LENGTH_ATA
    };
    for (name, text, most) in [
        ("vendor", &disk.rest.vendor, VENDOR_LENGTH),
        ("product", &disk.rest.product, product),
    ] {
        let Some(text) = text else { continue };
        if !printable(text) {
            return Err(xml_error(format_args!(
                "'{name}' has characters beyond printable ASCII: '{}'",
                text.escape_debug()
            )));
        }
        if text.len() > most {
            return Err(unsupported(format_args!(
                "'{name}' has {} characters: {most} at most",
                text.len()
            )));
        }
    }
    if let Some(wwn) = &disk.rest.wwn
        && !(wwn.strip_prefix("0x").unwrap_or(wwn).len() == 16
            && wwn
                .trim_start_matches("0x")
                .bytes()
                .all(|b| b.is_ascii_hexdigit()))
    {
        let what = format_args!("wwn '{wwn}': expected 16 hexadecimal digits");
        return Err(VirtError::internal(what).in_domain(ErrorDomain::NONE));
    }
    let prefixes: &[&str] = match disk.device {
        DiskDevice::Disk | DiskDevice::Lun => &["hd", "sd", "vd", "xvd", "ubd"],
        DiskDevice::Floppy => &["fd"],
        DiskDevice::Cdrom => return Ok(()),
    };
    if prefixes.iter().any(|prefix| disk.target.dev.starts_with(prefix)) {
        return Ok(());
    }
    Err(VirtError::internal(format_args!(
        "the name of device '{}' begins with none of {}",
        disk.device,
        prefixes.join(", ")
    )))
}

fn bus_and_device(disk: &Disk) -> Result<()> {
    let floppy = disk.device == DiskDevice::Floppy;
    let bus = disk.target.bus.map_or("none", DiskBus::as_str);
    if floppy != (disk.target.bus == Some(DiskBus::Fdc)) {
        let device = disk.device;
        return Err(VirtError::internal(format_args!(
            "device '{device}' is not for bus '{bus}': floppies and bus 'fdc' belong together"
        )));
    }
    let scsi_disk = disk.target.bus == Some(DiskBus::Scsi) && disk.device == DiskDevice::Disk;
    if disk.target.removable.is_some() && disk.target.bus != Some(DiskBus::Usb) && !scsi_disk {
        return Err(xml_error(format_args!(
            "'removable' is for buses 'usb' and 'scsi', not '{bus}'"
        )));
    }
    Ok(())
}

fn startup_policy(disk: &Disk) -> Result<()> {
    let Some(policy) = disk.source.startup_policy else {
        return Ok(());
    };
    if !is_local(&disk.source.location) {
        let kind = disk.source.location.xml_tag();
        return Err(xml_error(format_args!(
            "startupPolicy '{policy}' is for images on this host, not for type '{kind}'"
        )));
    }
    let removable = matches!(disk.device, DiskDevice::Floppy | DiskDevice::Cdrom);
    if policy == StartupPolicy::Requisite && !removable {
        return Err(xml_error(
            "startupPolicy 'requisite' is for devices 'cdrom' and 'floppy' only",
        ));
    }
    Ok(())
}

/// Names, serial numbers and world wide names tell drives apart.
pub(super) fn no_duplicates(domain: &Domain) -> Result<()> {
    let mut targets = std::collections::HashSet::new();
    let mut wwns = std::collections::HashSet::new();
    for disk in &domain.devices.disks {
        if !targets.insert(disk.target.dev.as_str()) {
            return Err(xml_error(format_args!(
                "two disks have the target '{}'",
                disk.target.dev
            )));
        }
        if let Some(wwn) = &disk.rest.wwn
            && !wwns.insert((wwn, disk.rest.serial.as_deref()))
        {
            return Err(xml_error(format_args!(
                "two disks have the wwn '{wwn}' and the same serial number"
            )));
        }
    }
    Ok(())
}
