//! Storage pools and volumes, as far as other objects need them.

use super::Connect;
use crate::protocol::remote::{StoragePoolRef, StorageVolRef};
use virt_util::Result;
use virt_util::types::StorageVolDeleteFlags;

/// A storage pool.
#[derive(Clone, Debug)]
pub struct StoragePool {
    connection: Connect,
    pool: StoragePoolRef,
}

impl StoragePool {
    pub(super) fn new(connection: Connect, pool: StoragePoolRef) -> Self {
        Self { connection, pool }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.pool.name
    }

    /// The volume of that name in this pool.
    pub fn lookup_vol_by_name(&self, name: &str) -> Result<StorageVol> {
        let reply = self
            .connection
            .remote()
            .storage_vol_lookup_by_name(&self.pool, name)?;
        Ok(StorageVol::new(self.connection.clone(), reply.volume))
    }
}

/// A storage volume.
#[derive(Clone, Debug)]
pub struct StorageVol {
    connection: Connect,
    volume: StorageVolRef,
}

impl StorageVol {
    pub(super) fn new(connection: Connect, volume: StorageVolRef) -> Self {
        Self { connection, volume }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.volume.name
    }

    /// Overwrites its content.
    pub fn wipe(&self) -> Result<()> {
        self.connection.remote().storage_vol_wipe(&self.volume, 0)
    }

    /// Removes it.
    pub fn delete(&self, flags: StorageVolDeleteFlags) -> Result<()> {
        self.connection
            .remote()
            .storage_vol_delete(&self.volume, flags.bits())
    }
}
