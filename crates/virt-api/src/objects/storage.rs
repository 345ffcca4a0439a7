//! Storage pools and volumes, as far as other objects need them.

use super::{Connect, Stream};
use crate::call::StreamMode;
use crate::protocol::remote::{StoragePoolRef, StorageVolRef};
use virt_util::Result;
use virt_util::types::{StorageVolDeleteFlags, StorageVolDownloadFlags, StorageVolUploadFlags};

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

    /// Opens a stream whose data replaces `length` bytes of the volume from byte `offset` on; a `length` of 0 is all that
    /// is sent. What is sent is in the volume once [`Stream::finish`] has returned without an error.
    ///
    /// # Errors
    /// What the driver says: `NO_SUPPORT` where its volumes cannot be written, `INVALID_ARG` for a part that is not
    /// within the volume, `SYSTEM_ERROR` if it cannot be opened.
    pub fn upload(&self, offset: u64, length: u64, flags: StorageVolUploadFlags) -> Result<Stream> {
        let end = self.connection.remote().storage_vol_upload(
            &self.volume,
            offset,
            length,
            flags.bits(),
            StreamMode::Blocking,
        )?;
        Ok(end.into())
    }

    /// Opens a stream of `length` bytes of the volume from byte `offset` on; a `length` of 0 is all that there is.
    ///
    /// # Errors
    /// As [`StorageVol::upload`].
    pub fn download(&self, offset: u64, length: u64, flags: StorageVolDownloadFlags) -> Result<Stream> {
        let end = self.connection.remote().storage_vol_download(
            &self.volume,
            offset,
            length,
            flags.bits(),
            StreamMode::Blocking,
        )?;
        Ok(end.into())
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
