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

use super::Guest;
use super::validate::{refuse_if, unsupported, xml_error};
use crate::capabilities::Flag;

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
    refuse_if(!all, format_args!("'{what}' requires shared memory"))
}

/// Checks the image of a drive and those behind it.
pub(super) fn chain(disk: &Disk, guest: Guest<'_>) -> Result<()> {
    let encryption = disk.image_encryption();
    image(
        &disk.source,
        encryption,
        disk.driver.format,
        disk.driver.metadata_cache,
        guest,
    )?;
    let mut next = disk.backing.as_ref();
    while let Some(BackingStore::Image(behind)) = next {
        let format = Some(behind.format.kind);
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
    format: Option<StorageFormat>,
    metadata_cache: Option<u64>,
    guest: Guest<'_>,
) -> Result<()> {
    let network = match &source.location {
        StorageLocation::Network(network) => Some(&**network),
        _ => None,
    };
    if let Some(network) = network {
        match network.protocol {
            NetProtocol::Tftp => {
                return Err(unsupported(
                    "'tftp' protocol is not supported with this QEMU binary",
                ));
            }
            NetProtocol::Nfs => {
                let [host] = network.hosts.as_slice() else {
                    return Err(unsupported(
                        "'nfs' protocol requires the usage of exactly one host",
                    ));
                };
                refuse_if(
                    host.transport != HostTransport::Tcp,
                    "'nfs' host must use TCP protocol",
                )?;
                refuse_if(host.port != 0, "port cannot be specified in 'nfs' protocol host")?;
            }
            _ => {}
        }
        if network.tls_hostname.is_some() {
            refuse_if(
                network.protocol != NetProtocol::Nbd,
                "'tlsHostname' field is supported only with NBD disks",
            )?;
            refuse_if(
                !guest.caps.has(Flag::BlockdevNbdTlsHostname),
                "'tlsHostname' field is not supported by this QEMU",
            )?;
        }
    }
    refuse_if(
        metadata_cache.is_some_and(|size| size > 0) && format != Some(StorageFormat::Qcow2),
        "metadata cache max size control is supported only with qcow2 images",
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
        "old qcow/qcow2 encryption is not supported",
    )?;
    match encryption.engine.unwrap_or(EncryptionEngine::Qemu) {
        EncryptionEngine::Qemu => {
            refuse_if(
                encryption.format != F::Luks,
                format_args!(
                    "'{}' is currently not supported by the qemu encryption engine",
                    encryption.format
                ),
            )?;
            refuse_if(
                !matches!(format, Some(StorageFormat::Qcow2 | StorageFormat::Raw)),
                "encryption is supported only with 'raw' and 'qcow2' image format",
            )?;
            refuse_if(
                encryption.secrets.len() > 1,
                "qemu encryption engine expects only a single secret",
            )
        }
        EncryptionEngine::Librbd => {
            refuse_if(
                !has(Flag::RbdEncryption),
                "librbd encryption is not supported by this QEMU binary",
            )?;
            refuse_if(!rbd, "librbd encryption is supported only with RBD backed disks")?;
            refuse_if(
                encryption.secrets.len() > 1 && !has(Flag::RbdEncryptionLayering),
                "librbd encryption layering is not supported by this QEMU binary",
            )?;
            refuse_if(
                encryption.format == F::LuksAny && !has(Flag::RbdEncryptionLuksAny),
                "luks-any encryption is not supported by this QEMU binary",
            )
        }
    }
}

/// Checks a shared folder.
pub(super) fn filesystem(domain: &Domain, filesystem: &Filesystem, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let FilesystemSource::Mount { socket, .. } = &filesystem.source else {
        return Err(unsupported("only supports mount filesystem type"));
    };
    let limited = |limit: Option<u64>| limit.is_some_and(|limit| limit > 0);
    refuse_if(
        limited(filesystem.space_hard_limit) || limited(filesystem.space_soft_limit),
        "filesystem usage limits are not supported with QEMU",
    )?;
    let devices = filesystem.multidevs != FilesystemMultidevs::Default;
    refuse_if(
        devices && !has(Flag::FsdevMultidevs),
        "multidevs is not supported with this QEMU binary",
    )?;
    let modes = filesystem.file_mode.is_some() || filesystem.directory_mode.is_some();
    let access = filesystem
        .access_mode
        .unwrap_or(FilesystemAccessMode::Passthrough);
    refuse_if(
        modes && access != FilesystemAccessMode::Mapped,
        "fmode and dmode must be used with accessmode=mapped",
    )?;
    let kind = filesystem.driver.kind;
    refuse_if(
        kind != FilesystemDriver::Virtiofs && filesystem.binary.sandbox.is_some(),
        "sandbox can only be used with driver=virtiofs",
    )?;
    let passthrough = access == FilesystemAccessMode::Passthrough;
    match kind {
        FilesystemDriver::Default | FilesystemDriver::Path => Ok(()),
        FilesystemDriver::Handle => refuse_if(!passthrough, "only supports passthrough accessmode"),
        FilesystemDriver::Loop | FilesystemDriver::Nbd | FilesystemDriver::Ploop => {
            Err(unsupported("Filesystem driver type not supported"))
        }
        FilesystemDriver::Mtp => {
            refuse_if(
                !has(Flag::DeviceUsbMtp),
                "mtp is not supported with this QEMU binary",
            )?;
            refuse_if(!passthrough, "mtp only supports passthrough accessmode")
        }
        FilesystemDriver::Virtiofs => {
            if socket.is_none() {
                refuse_if(!passthrough, "virtiofs only supports passthrough accessmode")?;
                refuse_if(
                    filesystem.driver.write_policy != FilesystemWritePolicy::Default,
                    "virtiofs does not support wrpolicy",
                )?;
            }
            refuse_if(filesystem.model.is_some(), "virtiofs does not support model")?;
            refuse_if(
                filesystem.driver.format.is_some(),
                "virtiofs does not support format",
            )?;
            refuse_if(
                !has(Flag::DeviceVhostUserFs),
                "virtiofs is not supported with this QEMU binary",
            )?;
            refuse_if(devices, "virtiofs does not support multidevs")?;
            refuse_if(modes, "virtiofs does not support fmode and dmode")?;
            needs_shared_memory(domain, "virtiofs")?;
            if filesystem.info.boot.is_none() {
                return Ok(());
            }
            refuse_if(
                !has(Flag::VhostUserFsBootindex),
                "setting virtiofs boot order is not supported with this QEMU binary",
            )?;
            refuse_if(
                !matches!(filesystem.info.address, None | Some(Address::Pci(_))),
                "setting virtiofs boot order is supported only with PCI bus",
            )
        }
    }
}

/// The part of an NVDIMM that a pSeries guest sees comes in pieces of 256 MiB; the label stands outside of it.
pub(super) fn pseries_nvdimm_size(size: u64, label: u64) -> Result<u64> {
    const PIECE: u64 = 256 * 1024;
    let seen = size.saturating_sub(label) / PIECE * PIECE;
    if seen == 0 {
        return Err(xml_error(
            "minimum target size for the NVDIMM must be 256MB plus the label size",
        ));
    }
    Ok(seen + label)
}
