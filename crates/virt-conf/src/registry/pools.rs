//! Storage pools in the registry: their files, and the rule that no two pools have one source.

use std::path::Path;

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::kind::Definition;
use super::store::DiskFormat;
use crate::domain::normalize::SystemRandomness;
use crate::storage_pool::adapter::PoolAdapter;
use crate::storage_pool::{PoolSource, PoolType, StoragePool};

impl Definition for StoragePool {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }
}

impl DiskFormat for StoragePool {
    fn to_disk(&self) -> Result<String> {
        Ok(self.format())
    }

    fn from_disk(text: &str, path: &Path) -> Result<Self> {
        let mut pool = Self::parse(text, &path.to_string_lossy())?;
        pool.normalize(&SystemRandomness);
        Ok(pool)
    }
}

impl StoragePool {
    /// Checks that a new pool has not the source of this one; a pool of the same name is the same pool.
    ///
    /// # Errors
    /// `OPERATION_FAILED`.
    pub fn check_neighbour(&self, new: &Self) -> Result<()> {
        if self.name == new.name || !self.has_source_of(new) {
            return Ok(());
        }
        Err(VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!("pool '{}' has this source already", self.name),
        )
        .in_domain(ErrorDomain::STORAGE))
    }

    /// Whether the data of two pools are the same, as far as definitions tell.
    fn has_source_of(&self, new: &Self) -> bool {
        use PoolType as T;
        let (mine, other) = (&self.source, &new.source);
        let path = |pool: &Self| pool.target.as_ref().map(|target| target.path.clone());
        match (self.kind, new.kind) {
            (T::Dir, T::Dir) => path(self) == path(new),
            (T::Gluster, T::Gluster) => {
                mine.name == other.name && mine.dir == other.dir && same_host(mine, other)
            }
            (T::Netfs, T::Netfs) => mine.dir == other.dir && same_host(mine, other),
            (T::Scsi, T::Scsi) => same_adapter(mine, other),
            (T::Iscsi, T::Iscsi) => same_device(mine, other) && mine.initiator == other.initiator,
            (T::Fs | T::Logical | T::Disk | T::Zfs, T::Fs | T::Logical | T::Disk | T::Zfs) => {
                same_device(mine, other)
            }
            (T::Sheepdog, T::Sheepdog) => same_host(mine, other),
            // A host has one multipath mapper.
            (T::Mpath, T::Mpath) => true,
            (T::Vstorage, T::Vstorage) => mine.name == other.name,
            _ => false,
        }
    }
}

fn same_host(mine: &PoolSource, other: &PoolSource) -> bool {
    // Pools with several servers are compared only with pools that have one.
    if mine.hosts.len() != 1 && other.hosts.len() != 1 {
        return false;
    }
    let (Some(mine), Some(new)) = (mine.hosts.first(), other.hosts.first()) else {
        return false;
    };
    (new.port == 0 || mine.port == new.port) && mine.name == new.name
}

fn same_device(mine: &PoolSource, other: &PoolSource) -> bool {
    let is_mine = |path: &str| mine.devices.iter().any(|device| device.path == path);
    other.devices.iter().any(|device| is_mine(&device.path))
}

/// The number in `scsi_host5` and `host5`.
fn host_number(name: &str) -> Option<u32> {
    let number = name
        .strip_prefix("scsi_host")
        .or_else(|| name.strip_prefix("host"))?;
    number.parse().ok()
}

/// Whether two adapters are one, as far as definitions tell: which adapter of the host a world wide name belongs to only the
/// host knows.
fn same_adapter(mine: &PoolSource, other: &PoolSource) -> bool {
    use PoolAdapter as A;
    let (Some(mine), Some(new)) = (&mine.adapter, &other.adapter) else {
        return false;
    };
    match (mine, new) {
        (
            A::FcHost { wwnn, wwpn, .. },
            A::FcHost {
                wwnn: new_wwnn,
                wwpn: new_wwpn,
                ..
            },
        ) => wwnn == new_wwnn && wwpn == new_wwpn,
        (
            A::ScsiHost {
                parent: Some(parent), ..
            },
            A::ScsiHost {
                parent: Some(new), ..
            },
        ) => parent == new,
        (A::ScsiHost { name: Some(name), .. }, A::ScsiHost { name: Some(new), .. }) => {
            host_number(name).is_some_and(|number| host_number(new) == Some(number))
        }
        (
            A::FcHost {
                parent: Some(parent), ..
            },
            A::ScsiHost { name: Some(name), .. },
        )
        | (
            A::ScsiHost { name: Some(name), .. },
            A::FcHost {
                parent: Some(parent), ..
            },
        ) => host_number(name).is_some_and(|number| host_number(parent) == Some(number)),
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests;
