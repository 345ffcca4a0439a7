//! Checkpoints of guests.

use virt_api::access::{Domain, DomainCheckpoint, Resolved};
use virt_api::call::CallContext;
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::checkpoint::{Checkpoint, CheckpointFormat, CheckpointKind};
use virt_conf::registry::moments::Moment as _;
use virt_util::types::{
    DomainCheckpointCreateFlags, DomainCheckpointDeleteFlags, DomainCheckpointListFlags,
    DomainCheckpointXmlFlags,
};
use virt_util::{ErrorCode, Result};

use super::TestConnection;
use crate::domain::{self, Guest};
use crate::error;
use crate::life;
use crate::moments::{self, in_driver, removal};

const LIST: u32 = DomainCheckpointListFlags::all().bits();

/// Bytes that every disk is said to have changed by since a checkpoint.
const CHANGED: u64 = 1024;

fn reference(guest: &Guest, name: &str) -> DomainCheckpointRef {
    DomainCheckpointRef {
        name: name.to_owned(),
        domain: domain::attributes(&guest.snapshot()).into(),
    }
}

fn references(
    guest: &Guest,
    from: Option<&str>,
    flags: u32,
    need_results: i32,
) -> (Vec<DomainCheckpointRef>, i32) {
    let snapshot = guest.snapshot();
    let listed = snapshot.state.lasting.checkpoints.list(from, flags);
    let ret = listing::count(&listed);
    match need_results {
        0 => (Vec::new(), ret),
        _ => (
            listed
                .iter()
                .map(|moment| reference(guest, moment.name()))
                .collect(),
            ret,
        ),
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[flags("testDomainCheckpointCreateXML", DomainCheckpointCreateFlags::REDEFINE.bits() | DomainCheckpointCreateFlags::QUIESCE.bits())]
    fn domain_checkpoint_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml_desc: String,
        flags: u32,
    ) -> Result<DomainCheckpointCreateXmlReply> {
        self.change(cx, &domain, "virDomainCheckpointCreateXML", |_, guest| {
            let name = moments::create_checkpoint(guest, &xml_desc, flags)?;
            Ok(DomainCheckpointCreateXmlReply {
                checkpoint: reference(guest, &name),
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainCheckpointGetXMLDesc", DomainCheckpointXmlFlags::all().bits())]
    fn domain_checkpoint_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        checkpoint: Resolved<DomainCheckpoint>,
        flags: u32,
    ) -> Result<DomainCheckpointGetXmlDescReply> {
        type Flags = DomainCheckpointXmlFlags;
        let flags = Flags::from(flags);
        let guest = checkpoint.handle::<Guest>()?;
        let published = guest.snapshot();
        let checkpoints = &published.state.lasting.checkpoints;
        let mut found = Checkpoint::clone(checkpoints.find(&checkpoint.name).map_err(in_driver)?);
        let mut format = CheckpointFormat::empty();
        format.set(CheckpointFormat::SECURE, flags.contains(Flags::SECURE));
        format.set(CheckpointFormat::NO_DOMAIN, flags.contains(Flags::NO_DOMAIN));
        format.set(CheckpointFormat::SIZE, flags.contains(Flags::SIZE));
        if flags.contains(Flags::SIZE) {
            life::active(guest)?;
            let disks = found.disks.iter_mut();
            disks
                .filter(|disk| disk.kind == CheckpointKind::Bitmap)
                .for_each(|disk| disk.size = Some(CHANGED));
        }
        Ok(DomainCheckpointGetXmlDescReply {
            xml: found.format(format),
        })
    }

    #[inline_safe]
    #[flags("testDomainListAllCheckpoints", LIST)]
    fn domain_list_all_checkpoints(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        need_results: i32,
        flags: u32,
    ) -> Result<DomainListAllCheckpointsReply> {
        let (checkpoints, ret) = references(domain.handle()?, None, flags, need_results);
        Ok(DomainListAllCheckpointsReply { checkpoints, ret })
    }

    #[inline_safe]
    #[flags("testDomainCheckpointListAllChildren", LIST)]
    fn domain_checkpoint_list_all_children(
        &self,
        _: &mut CallContext<'_>,
        checkpoint: Resolved<DomainCheckpoint>,
        need_results: i32,
        flags: u32,
    ) -> Result<DomainCheckpointListAllChildrenReply> {
        let from = Some(checkpoint.name.as_str());
        let (checkpoints, ret) = references(checkpoint.handle()?, from, flags, need_results);
        Ok(DomainCheckpointListAllChildrenReply { checkpoints, ret })
    }

    #[inline_safe]
    #[flags("testDomainCheckpointLookupByName", 0)]
    fn domain_checkpoint_lookup_by_name(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        name: String,
        _: u32,
    ) -> Result<DomainCheckpointLookupByNameReply> {
        let guest = domain.handle::<Guest>()?;
        let published = guest.snapshot();
        published
            .state
            .lasting
            .checkpoints
            .find(&name)
            .map_err(in_driver)?;
        let checkpoint = reference(guest, &name);
        Ok(DomainCheckpointLookupByNameReply { checkpoint })
    }

    #[inline_safe]
    #[flags("testDomainCheckpointGetParent", 0)]
    fn domain_checkpoint_get_parent(
        &self,
        _: &mut CallContext<'_>,
        checkpoint: Resolved<DomainCheckpoint>,
        _: u32,
    ) -> Result<DomainCheckpointGetParentReply> {
        let guest = checkpoint.handle::<Guest>()?;
        let published = guest.snapshot();
        let checkpoints = &published.state.lasting.checkpoints;
        let found = checkpoints.find(&checkpoint.name).map_err(in_driver)?;
        let Some(parent) = found.parent() else {
            return Err(error(
                ErrorCode::NO_DOMAIN_CHECKPOINT,
                format_args!("checkpoint '{}' does not have a parent", checkpoint.name),
            ));
        };
        let parent = reference(guest, parent);
        Ok(DomainCheckpointGetParentReply { parent })
    }

    #[flags("testDomainCheckpointDelete", DomainCheckpointDeleteFlags::all().bits())]
    fn domain_checkpoint_delete(
        &self,
        cx: &mut CallContext<'_>,
        checkpoint: Resolved<DomainCheckpoint>,
        flags: u32,
    ) -> Result<()> {
        type Flags = DomainCheckpointDeleteFlags;
        let flags = Flags::from(flags);
        let removal = removal(
            flags.contains(Flags::CHILDREN),
            flags.contains(Flags::CHILDREN_ONLY),
        );
        self.change(cx, &checkpoint, "virDomainCheckpointDelete", |_, guest| {
            let mut checkpoints = guest.snapshot().state.lasting.checkpoints.clone();
            checkpoints.remove(&checkpoint.name, removal).map_err(in_driver)?;
            guest.publish(|published| published.state.lasting_mut().checkpoints = checkpoints);
            Ok(())
        })
    }
}
