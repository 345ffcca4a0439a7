//! Snapshots and checkpoints of domains.

use super::{Connect, Domain};
use crate::protocol::remote::DomainCheckpointRef;
use virt_util::Result;
use virt_util::types::{DomainCheckpointCreateFlags, DomainCheckpointListFlags, DomainSnapshotCreateFlags};

/// A checkpoint of a domain.
#[derive(Clone, Debug)]
pub struct DomainCheckpoint {
    connection: Connect,
    reference: DomainCheckpointRef,
}

impl DomainCheckpoint {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.reference.name
    }

    /// The name of the one that it follows; `NO_DOMAIN_CHECKPOINT` if it follows none.
    pub fn parent(&self) -> Result<String> {
        let remote = self.connection.remote();
        let reply = remote.domain_checkpoint_get_parent(&self.reference, 0)?;
        Ok(reply.parent.name)
    }

    /// How many follow it.
    pub fn count_children(&self, flags: DomainCheckpointListFlags) -> Result<i32> {
        let remote = self.connection.remote();
        let reply = remote.domain_checkpoint_list_all_children(&self.reference, 0, flags.bits())?;
        Ok(reply.ret)
    }
}

impl Domain {
    /// Takes a snapshot that the XML describes, and says its name.
    pub fn create_snapshot(&self, xml: &str, flags: DomainSnapshotCreateFlags) -> Result<String> {
        let remote = self.connection().remote();
        let reply = remote.domain_snapshot_create_xml(&self.reference(), xml, flags.bits())?;
        Ok(reply.snapshot.name)
    }

    /// Makes a checkpoint that the XML describes, and says its name.
    pub fn create_checkpoint(&self, xml: &str, flags: DomainCheckpointCreateFlags) -> Result<String> {
        let remote = self.connection().remote();
        let reply = remote.domain_checkpoint_create_xml(&self.reference(), xml, flags.bits())?;
        Ok(reply.checkpoint.name)
    }

    /// The checkpoint of that name.
    pub fn checkpoint(&self, name: &str) -> Result<DomainCheckpoint> {
        let remote = self.connection().remote();
        let reply = remote.domain_checkpoint_lookup_by_name(&self.reference(), name, 0)?;
        Ok(DomainCheckpoint {
            connection: self.connection().clone(),
            reference: reply.checkpoint,
        })
    }
}
