//! What QEMU can do with images, shared folders and memory that others see.

use virt_conf::domain::Address;
use virt_conf::domain::Domain;
use virt_conf::domain::disk::Disk;
use virt_conf::domain::filesystem::{
    Filesystem, FilesystemAccessMode, FilesystemDriver, FilesystemMultidevs, FilesystemSource,
    FilesystemWritePolicy,
};
use virt_conf::domain::memory::MemoryAccess;
use virt_conf::domain::storage::{
    BackingStore, Encryption, EncryptionEngine, EncryptionFormat, HostTransport, NetProtocol, StorageFormat,
    StorageLocation, StorageSource,
};
use virt_util::Result;

use super::{lacks, refuse_if, unsupported, xml_error};
use crate::capabilities::Flag;
use crate::hooks::Guest;

/// Refuses a guest whose memory another process could not see.
pub(super) fn needs_shared_memory(domain: &Domain, what: &str) -> Result<()> {
    let backing = domain.memory_backing.as_ref().and_then(|backing| backing.access);
    let shared = |own: Option<MemoryAccess>| own.or(backing) == Some(MemoryAccess::Shared);
    let numa = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
    let cells = numa.map_or(&[][..], |numa| &numa.cells);
    let all = if cells.is_empty() {
        shared(None)
    } else {
        cells.iter().all(|cell| shared(cell.access))
    };
    refuse_if(
        !all,
        format_args!("'{what}' needs memory that is shared: say <access mode='shared'/> in <memoryBacking>"),
    )
}

/// Checks the image of a drive and those behind it.
pub(super) fn chain(disk: &Disk, guest: Guest<'_>) -> Result<()> {
    let encryption = disk.image_encryption();
    image(
        &disk.source,
        encryption,
        (disk.driver.format, disk.rest.read_only),
        disk.driver.metadata_cache,
        guest,
    )?;
    let mut next = disk.backing.as_ref();
    while let Some(BackingStore::Image(behind)) = next {
        // What is behind an image is only read.
        let format = (Some(behind.format.kind), true);
        image(
            &behind.source,
            behind.source.encryption.as_deref(),
            format,
            behind.format.metadata_cache,
            guest,
        )?;
        next = behind.backing.as_ref();
    }
    Ok(())
}

fn image(
    source: &StorageSource,
    encryption: Option<&Encryption>,
    (format, read_only): (Option<StorageFormat>, bool),
    metadata_cache: Option<u64>,
    guest: Guest<'_>,
) -> Result<()> {
    let network = match &source.location {
        StorageLocation::Network(network) => Some(&**network),
        _ => None,
    };
    let folder = matches!(source.location, StorageLocation::Dir { .. });
    // What a volume is shows when the guest starts.
    let volume = matches!(source.location, StorageLocation::Volume { .. });
    match format {
        Some(StorageFormat::Cow) => return Err(unsupported(lacks("disks of format 'cow'"))),
        Some(StorageFormat::Dir) => {
            return Err(unsupported("format 'dir' is not for QEMU: say <disk type='dir'>"));
        }
        Some(StorageFormat::Iso) => return Err(unsupported("format 'iso' is not for QEMU: say 'raw'")),
        Some(StorageFormat::Fat) if !folder && !volume => {
            return Err(unsupported(
                "format 'fat' is made of a folder: say <disk type='dir'>",
            ));
        }
        Some(other) if folder && other != StorageFormat::Fat => {
            return Err(unsupported(format_args!(
                "a folder becomes format 'fat', not '{other}'"
            )));
        }
        _ => {}
    }
    refuse_if(
        folder && !read_only,
        "a folder as a disk cannot be written to: say <readonly/>",
    )?;
    if let Some(network) = network {
        match network.protocol {
            NetProtocol::Tftp => {
                return Err(unsupported(lacks("disks by protocol 'tftp'")));
            }
            NetProtocol::Nfs => {
                let [host] = network.hosts.as_slice() else {
                    return Err(unsupported(format_args!(
                        "protocol 'nfs' takes one <host>, not {}",
                        network.hosts.len()
                    )));
                };
                refuse_if(
                    host.transport != HostTransport::Tcp,
                    format_args!("protocol 'nfs' takes transport 'tcp', not '{}'", host.transport),
                )?;
                refuse_if(host.port != 0, "protocol 'nfs' takes no port")?;
            }
            _ => {}
        }
        if network.tls_hostname.is_some() {
            refuse_if(
                network.protocol != NetProtocol::Nbd,
                format_args!("'tlsHostname' is for protocol 'nbd', not '{}'", network.protocol),
            )?;
            refuse_if(
                !guest.caps.has(Flag::BlockdevNbdTlsHostname),
                lacks("tlsHostname='…'"),
            )?;
        }
    }
    refuse_if(
        metadata_cache.is_some_and(|size| size > 0) && format != Some(StorageFormat::Qcow2),
        "<metadata_cache> is for format 'qcow2' only",
    )?;
    match encryption {
        Some(encryption) => {
            let rbd = network.is_some_and(|network| network.protocol == NetProtocol::Rbd);
            encrypted(encryption, format, rbd, guest)
        }
        None => Ok(()),
    }
}

fn encrypted(
    encryption: &Encryption,
    format: Option<StorageFormat>,
    rbd: bool,
    guest: Guest<'_>,
) -> Result<()> {
    use EncryptionFormat as F;
    let has = |flag| guest.caps.has(flag);
    refuse_if(
        !matches!(encryption.format, F::Luks | F::Luks2 | F::LuksAny),
        format_args!(
            "<encryption format='{}'>: expected 'luks', 'luks2' or 'luks-any'",
            encryption.format
        ),
    )?;
    match encryption.engine.unwrap_or(EncryptionEngine::Qemu) {
        EncryptionEngine::Qemu => {
            refuse_if(
                encryption.format != F::Luks,
                format_args!(
                    "<encryption format='{}'> needs engine='librbd'",
                    encryption.format
                ),
            )?;
            refuse_if(
                !matches!(format, Some(StorageFormat::Qcow2 | StorageFormat::Raw)),
                "<encryption> is for formats 'raw' and 'qcow2'",
            )?;
            refuse_if(
                encryption.secrets.len() > 1,
                format_args!(
                    "<encryption> by QEMU takes one <secret>, not {}",
                    encryption.secrets.len()
                ),
            )
        }
        EncryptionEngine::Librbd => {
            refuse_if(!has(Flag::RbdEncryption), lacks("<encryption engine='librbd'>"))?;
            refuse_if(!rbd, "<encryption engine='librbd'> is for protocol 'rbd' only")?;
            refuse_if(
                encryption.secrets.len() > 1 && !has(Flag::RbdEncryptionLayering),
                lacks("<encryption engine='librbd'> with several <secret>"),
            )?;
            refuse_if(
                encryption.format == F::LuksAny && !has(Flag::RbdEncryptionLuksAny),
                lacks("<encryption format='luks-any'>"),
            )
        }
    }
}

/// Checks a shared folder.
pub(super) fn filesystem(domain: &Domain, filesystem: &Filesystem, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let FilesystemSource::Mount { socket, .. } = &filesystem.source else {
        return Err(unsupported("a shared folder of QEMU has type 'mount' only"));
    };
    let limited = |limit: Option<u64>| limit.is_some_and(|limit| limit > 0);
    refuse_if(
        limited(filesystem.space_hard_limit) || limited(filesystem.space_soft_limit),
        "QEMU limits no space: remove <space_hard_limit> and <space_soft_limit>",
    )?;
    let devices = filesystem.multidevs != FilesystemMultidevs::Default;
    refuse_if(devices && !has(Flag::FsdevMultidevs), lacks("multidevs='…'"))?;
    let modes = filesystem.file_mode.is_some() || filesystem.directory_mode.is_some();
    let access = filesystem
        .access_mode
        .unwrap_or(FilesystemAccessMode::Passthrough);
    refuse_if(
        modes && access != FilesystemAccessMode::Mapped,
        format_args!("'fmode' and 'dmode' need accessmode='mapped', not '{access}'"),
    )?;
    let kind = filesystem.driver.kind;
    refuse_if(
        kind != FilesystemDriver::Virtiofs && filesystem.binary.sandbox.is_some(),
        format_args!("<sandbox> is for driver 'virtiofs', not '{kind}'"),
    )?;
    let passthrough = access == FilesystemAccessMode::Passthrough;
    match kind {
        FilesystemDriver::Default | FilesystemDriver::Path => Ok(()),
        FilesystemDriver::Handle => refuse_if(
            !passthrough,
            format_args!("driver '{kind}' takes accessmode='passthrough', not '{access}'"),
        ),
        FilesystemDriver::Loop | FilesystemDriver::Nbd | FilesystemDriver::Ploop => Err(unsupported(
            format_args!("driver '{kind}' is not for QEMU: expected 'path', 'handle', 'mtp' or 'virtiofs'"),
        )),
        FilesystemDriver::Mtp => {
            refuse_if(!has(Flag::DeviceUsbMtp), lacks("driver 'mtp'"))?;
            refuse_if(
                !passthrough,
                format_args!("driver '{kind}' takes accessmode='passthrough', not '{access}'"),
            )
        }
        FilesystemDriver::Virtiofs => {
            if socket.is_none() {
                refuse_if(
                    !passthrough,
                    format_args!("driver '{kind}' takes accessmode='passthrough', not '{access}'"),
                )?;
                refuse_if(
                    filesystem.driver.write_policy != FilesystemWritePolicy::Default,
                    format_args!("driver '{kind}' takes no 'wrpolicy'"),
                )?;
            }
            refuse_if(
                filesystem.model.is_some(),
                format_args!("driver '{kind}' takes no 'model'"),
            )?;
            refuse_if(
                filesystem.driver.format.is_some(),
                format_args!("driver '{kind}' takes no 'format'"),
            )?;
            refuse_if(!has(Flag::DeviceVhostUserFs), lacks("driver 'virtiofs'"))?;
            refuse_if(devices, format_args!("driver '{kind}' takes no 'multidevs'"))?;
            refuse_if(
                modes,
                format_args!("driver '{kind}' takes neither 'fmode' nor 'dmode'"),
            )?;
            needs_shared_memory(domain, "virtiofs")?;
            if filesystem.info.boot.is_none() {
                return Ok(());
            }
            refuse_if(
                !has(Flag::VhostUserFsBootindex),
                lacks("<boot> for driver 'virtiofs'"),
            )?;
            refuse_if(
                !matches!(filesystem.info.address, None | Some(Address::Pci(_))),
                "<boot> of driver 'virtiofs' needs an address of type 'pci'",
            )
        }
    }
}

/// The part of an NVDIMM that a pSeries guest sees comes in pieces of 256 MiB; the label stands outside of it.
pub(crate) fn pseries_nvdimm_size(size: u64, label: u64) -> Result<u64> {
    const PIECE: u64 = 256 * 1024;
    let seen = size.saturating_sub(label) / PIECE * PIECE;
    if seen == 0 {
        return Err(xml_error(
            "<size> of an NVDIMM on pSeries is 256 MiB and its <label> at least",
        ));
    }
    Ok(seen + label)
}
