//! Volumes of storage pools: where the data of a drive are that names a volume, and drives that a guest can do without.

use std::collections::BTreeMap;

use virt_conf::domain::Domain;
use virt_conf::domain::disk::{Disk, DiskDevice, StartupPolicy};
use virt_conf::domain::storage::{
    BackingStore, HostTransport, NetProtocol, NetworkStorage, PoolMode, StorageAuth, StorageHost,
    StorageLocation, StorageSource, TranslatedVolume,
};
use virt_conf::storage_pool::{PoolType, StoragePool};
use virt_conf::storage_volume::VolumeType;
use virt_util::{ErrorCode, Result, VirtError};

use super::prepare::Start;

/// The usual port of an iSCSI target.
const ISCSI_PORT: u32 = 3260;

/// A storage pool, as far as guests use it.
#[derive(Clone, Debug)]
pub struct PoolFacts {
    /// Its definition.
    pub definition: StoragePool,
    /// Its volumes can be reached.
    pub active: bool,
    /// Types and paths of the volumes that guests want, by name.
    pub volumes: BTreeMap<String, (VolumeType, String)>,
}

/// Finds the volumes that drives name, those of the last drive first. Drives that may be missing go where it is.
///
/// # Errors
/// `NO_STORAGE_POOL`, `NO_STORAGE_VOL`, `CONFIG_UNSUPPORTED` for pools that cannot be used.
pub(super) fn find(domain: &mut Domain, start: &Start) -> Result<()> {
    let disks = &mut domain.devices.disks;
    for at in (0..disks.len()).rev() {
        let Some(disk) = disks.get_mut(at) else { continue };
        let Err(error) = of_disk(disk, start) else {
            continue;
        };
        let removable = matches!(disk.device, DiskDevice::Cdrom | DiskDevice::Floppy);
        let cold = start.incoming.is_none();
        match disk.source.startup_policy {
            // A guest that is moved here has what it had.
            Some(StartupPolicy::Optional) if cold || removable => {}
            Some(StartupPolicy::Requisite) if !cold => {}
            _ => return Err(error),
        }
        if removable {
            disk.source = StorageSource::default();
        } else {
            disks.remove(at);
        }
    }
    Ok(())
}

fn of_disk(disk: &mut Disk, start: &Start) -> Result<()> {
    if matches!(disk.source.location, StorageLocation::Volume { .. }) {
        // Who we are to a pool's servers is the pool's to say.
        disk.auth = None;
    }
    of_image(&mut disk.source, start)?;
    let networked = |source: &StorageSource| match &source.location {
        StorageLocation::Volume { translated, .. } => {
            matches!(translated.as_deref(), Some(TranslatedVolume::Network(_)))
        }
        _ => false,
    };
    if let Some(policy) = disk.source.startup_policy
        && networked(&disk.source)
    {
        return Err(VirtError::new(
            ErrorCode::XML_ERROR,
            format_args!(
                "startupPolicy='{policy}' is for images of this host: '{}' is on the network",
                disk.target.dev
            ),
        ));
    }
    let mut below = disk.backing.as_mut();
    while let Some(BackingStore::Image(image)) = below {
        of_image(&mut image.source, start)?;
        below = image.backing.as_mut();
    }
    Ok(())
}

fn of_image(source: &mut StorageSource, start: &Start) -> Result<()> {
    let StorageLocation::Volume {
        pool,
        volume,
        mode,
        translated,
    } = &mut source.location
    else {
        return Ok(());
    };
    let unsupported = |what: String| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what);
    let facts = start.pools.get(pool.as_str()).ok_or_else(|| {
        VirtError::new(
            ErrorCode::NO_STORAGE_POOL,
            format_args!("no storage pool is called '{pool}'"),
        )
    })?;
    if !facts.active {
        let what = format!("storage pool '{pool}' with volume '{volume}' is not active");
        return Err(unsupported(what));
    }
    let (kind, path) = facts.volumes.get(volume.as_str()).ok_or_else(|| {
        VirtError::new(
            ErrorCode::NO_STORAGE_VOL,
            format_args!("storage pool '{pool}' has no volume '{volume}'"),
        )
    })?;
    let definition = &facts.definition;
    if mode.is_some() && definition.kind != PoolType::Iscsi {
        return Err(VirtError::new(
            ErrorCode::XML_ERROR,
            format_args!(
                "'mode' is for pools of type 'iscsi': '{pool}' is of type '{}'",
                definition.kind
            ),
        ));
    }
    let path = Some(path.clone());
    let mut auth = None;
    let found = match definition.kind {
        PoolType::Dir
        | PoolType::Fs
        | PoolType::Netfs
        | PoolType::Logical
        | PoolType::Disk
        | PoolType::Scsi
        | PoolType::Zfs
        | PoolType::Vstorage => match kind {
            VolumeType::File | VolumeType::Ploop => TranslatedVolume::File { path },
            VolumeType::Dir => TranslatedVolume::Dir { path },
            VolumeType::Block => TranslatedVolume::Block { path },
            VolumeType::Network | VolumeType::Netdir => {
                return Err(VirtError::internal(format_args!(
                    "a pool of type '{}' has no volumes of type '{kind}'",
                    definition.kind
                )));
            }
        },
        PoolType::Iscsi if *mode != Some(PoolMode::Direct) => {
            *mode = Some(PoolMode::Host);
            TranslatedVolume::Block { path }
        }
        PoolType::Iscsi | PoolType::IscsiDirect => {
            auth = pool_auth(definition);
            TranslatedVolume::Network(Box::new(unit(definition, volume)?))
        }
        PoolType::Mpath | PoolType::Rbd | PoolType::Sheepdog | PoolType::Gluster => {
            let what = format!("volumes of pools of type '{}' cannot be drives", definition.kind);
            return Err(unsupported(what));
        }
    };
    *translated = Some(Box::new(found));
    source.auth = auth.map(Box::new);
    Ok(())
}

/// Who we are to the servers of a pool.
pub(super) fn pool_auth(pool: &StoragePool) -> Option<StorageAuth> {
    let auth = pool.source.auth.clone()?;
    Some(StorageAuth { kind: None, ..auth })
}

/// A unit of an iSCSI target by its volume's name, which is `unit:0:0:1`.
fn unit(pool: &StoragePool, volume: &str) -> Result<NetworkStorage> {
    let source = &pool.source;
    let [host] = source.hosts.as_slice() else {
        return Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("a pool of iSCSI units has one <host>, not {}", source.hosts.len()),
        ));
    };
    let mut parts = volume.split(':').skip(3);
    let (Some(number), None) = (parts.next(), parts.next()) else {
        return Err(VirtError::internal(format_args!(
            "volume '{volume}' of an iSCSI pool: expected unit:BUS:TARGET:UNIT"
        )));
    };
    let target = source.devices.first().map(|device| device.path.as_str());
    Ok(NetworkStorage {
        protocol: NetProtocol::Iscsi,
        name: Some(format!("{}/{number}", target.unwrap_or_default())),
        hosts: vec![StorageHost {
            name: Some(host.name.clone()),
            port: u32::try_from(host.port)
                .ok()
                .filter(|port| *port != 0)
                .unwrap_or(ISCSI_PORT),
            transport: HostTransport::Tcp,
            socket: None,
        }],
        initiator: source.initiator.clone(),
        ..NetworkStorage::default()
    })
}

/// Where the data of a volume are.
pub(super) fn location(volume: &TranslatedVolume) -> StorageLocation {
    match volume {
        TranslatedVolume::File { path } => StorageLocation::File {
            path: path.clone(),
            fd_group: None,
        },
        TranslatedVolume::Block { path } => StorageLocation::Block { path: path.clone() },
        TranslatedVolume::Dir { path } => StorageLocation::Dir { path: path.clone() },
        TranslatedVolume::Network(network) => StorageLocation::Network(network.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xml::XmlFlags;

    fn guest(policy: &str, device: &str, mode: &str) -> Domain {
        let xml = format!(
            "<domain type='qemu'><name>a</name><memory>1024</memory><os><type>hvm</type></os>
             <devices><disk type='volume' device='{device}'><source pool='p' volume='unit:0:0:4' {mode} {policy}/>
             <target dev='hda'/></disk></devices></domain>"
        );
        Domain::parse(&xml, XmlFlags::INACTIVE, "test").unwrap()
    }

    fn start(kind: &str, active: bool, volume: VolumeType) -> Start {
        let xml = format!(
            "<pool type='{kind}'><name>p</name><source><host name='h'/><device path='iqn.x'/></source>
             <target><path>/dev/disk</path></target></pool>"
        );
        let pool = PoolFacts {
            definition: StoragePool::parse(&xml, "pool").unwrap(),
            active,
            volumes: [("unit:0:0:4".to_owned(), (volume, "/v".to_owned()))].into(),
        };
        Start {
            pools: [("p".to_owned(), pool)].into(),
            ..Start::default()
        }
    }

    fn found(domain: &Domain) -> Option<StorageLocation> {
        match &domain.devices.disks.first()?.source.location {
            StorageLocation::Volume { translated, .. } => translated.as_deref().map(location),
            _ => None,
        }
    }

    #[test]
    fn units_are_devices_of_the_host_or_of_the_network() {
        let start = start("iscsi", true, VolumeType::Block);
        let mut domain = guest("", "lun", "");
        find(&mut domain, &start).unwrap();
        assert_eq!(found(&domain).unwrap().path(), Some("/v"));

        let mut domain = guest("", "lun", "mode='direct'");
        find(&mut domain, &start).unwrap();
        let Some(StorageLocation::Network(network)) = found(&domain) else {
            panic!()
        };
        assert_eq!(
            (network.name.as_deref(), network.hosts[0].port),
            (Some("iqn.x/4"), 3260)
        );

        let mut domain = guest("", "disk", "mode='host'");
        let error = find(&mut domain, &self::start("logical", true, VolumeType::Block)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::XML_ERROR);
    }

    #[test]
    fn what_may_be_missing_goes() {
        let inactive = start("logical", false, VolumeType::Block);
        let error = find(&mut guest("", "disk", ""), &inactive).unwrap_err();
        assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED);

        let mut domain = guest("startupPolicy='optional'", "disk", "");
        find(&mut domain, &inactive).unwrap();
        assert!(domain.devices.disks.is_empty());

        let mut domain = guest("startupPolicy='optional'", "cdrom", "");
        find(&mut domain, &inactive).unwrap();
        assert!(domain.devices.disks[0].is_empty());

        let mut domain = guest("startupPolicy='requisite'", "cdrom", "");
        assert!(find(&mut domain, &inactive).is_err());
        let moved = Start {
            incoming: Some("defer".to_owned()),
            ..inactive
        };
        find(&mut domain, &moved).unwrap();

        let error = find(&mut guest("", "disk", ""), &Start::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NO_STORAGE_POOL);
    }

    #[test]
    fn not_every_pool_has_drives() {
        for kind in ["rbd", "mpath", "gluster", "sheepdog"] {
            let start = start("dir", true, VolumeType::File);
            let mut pools = start.pools.clone();
            pools.get_mut("p").unwrap().definition.kind = PoolType::from_word(kind).unwrap();
            let start = Start { pools, ..start };
            let error = find(&mut guest("", "disk", ""), &start).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED, "{kind}");
        }
        let error = find(
            &mut guest("", "disk", ""),
            &start("dir", true, VolumeType::Netdir),
        )
        .unwrap_err();
        assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
    }
}
