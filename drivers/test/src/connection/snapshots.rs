//! Snapshots of guests.

use virt_api::access::{Domain, DomainSnapshot, Resolved};
use virt_api::call::CallContext;
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::moments::Moment as _;
use virt_util::types::{
    DomainSnapshotCreateFlags, DomainSnapshotDeleteFlags, DomainSnapshotListFlags, DomainSnapshotRevertFlags,
    DomainSnapshotXmlFlags,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use super::TestConnection;
use crate::domain::{self, Guest};
use crate::error;
use crate::moments::{self, in_driver, removal};

const LIST: u32 = DomainSnapshotListFlags::all().bits();

fn reference(guest: &Guest, name: &str) -> DomainSnapshotRef {
    DomainSnapshotRef {
        name: name.to_owned(),
        domain: domain::attributes(&guest.snapshot()).into(),
    }
}

/// The names in a list.
fn names(guest: &Guest, from: Option<&str>, flags: u32) -> Vec<String> {
    let snapshot = guest.snapshot();
    let listed = snapshot.state.lasting.snapshots.list(from, flags);
    listed
        .into_iter()
        .map(|moment| moment.name().to_owned())
        .collect()
}

fn references(guest: &Guest, names: Vec<String>, need_results: i32) -> (Vec<DomainSnapshotRef>, i32) {
    let ret = listing::count(&names);
    match need_results {
        0 => (Vec::new(), ret),
        _ => (names.iter().map(|name| reference(guest, name)).collect(), ret),
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    #[flags("testDomainSnapshotNum", LIST)]
    fn domain_snapshot_num(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainSnapshotNumReply> {
        let num = listing::count(&names(domain.handle()?, None, flags));
        Ok(DomainSnapshotNumReply { num })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotListNames", LIST)]
    fn domain_snapshot_list_names(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        maxnames: i32,
        flags: u32,
    ) -> Result<DomainSnapshotListNamesReply> {
        let names = listing::at_most(names(domain.handle()?, None, flags), maxnames);
        Ok(DomainSnapshotListNamesReply { names })
    }

    #[inline_safe]
    #[flags("testDomainListAllSnapshots", LIST)]
    fn domain_list_all_snapshots(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        need_results: i32,
        flags: u32,
    ) -> Result<DomainListAllSnapshotsReply> {
        let guest = domain.handle::<Guest>()?;
        let (snapshots, ret) = references(guest, names(guest, None, flags), need_results);
        Ok(DomainListAllSnapshotsReply { snapshots, ret })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotNumChildren", LIST)]
    fn domain_snapshot_num_children(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        flags: u32,
    ) -> Result<DomainSnapshotNumChildrenReply> {
        let num = listing::count(&names(snapshot.handle()?, Some(&snapshot.name), flags));
        Ok(DomainSnapshotNumChildrenReply { num })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotListChildrenNames", LIST)]
    fn domain_snapshot_list_children_names(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        maxnames: i32,
        flags: u32,
    ) -> Result<DomainSnapshotListChildrenNamesReply> {
        let children = names(snapshot.handle()?, Some(&snapshot.name), flags);
        let names = listing::at_most(children, maxnames);
        Ok(DomainSnapshotListChildrenNamesReply { names })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotListAllChildren", LIST)]
    fn domain_snapshot_list_all_children(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        need_results: i32,
        flags: u32,
    ) -> Result<DomainSnapshotListAllChildrenReply> {
        let guest = snapshot.handle::<Guest>()?;
        let children = names(guest, Some(&snapshot.name), flags);
        let (snapshots, ret) = references(guest, children, need_results);
        Ok(DomainSnapshotListAllChildrenReply { snapshots, ret })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotLookupByName", 0)]
    fn domain_snapshot_lookup_by_name(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        name: String,
        _: u32,
    ) -> Result<DomainSnapshotLookupByNameReply> {
        let guest = domain.handle::<Guest>()?;
        let published = guest.snapshot();
        published.state.lasting.snapshots.find(&name).map_err(in_driver)?;
        let snapshot = reference(guest, &name);
        Ok(DomainSnapshotLookupByNameReply { snapshot })
    }

    #[inline_safe]
    #[flags("testDomainHasCurrentSnapshot", 0)]
    fn domain_has_current_snapshot(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainHasCurrentSnapshotReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let result = snapshot.state.lasting.snapshots.current().is_some().into();
        Ok(DomainHasCurrentSnapshotReply { result })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotCurrent", 0)]
    fn domain_snapshot_current(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainSnapshotCurrentReply> {
        let guest = domain.handle::<Guest>()?;
        let published = guest.snapshot();
        let Some(current) = published.state.lasting.snapshots.current() else {
            return Err(error(
                ErrorCode::NO_DOMAIN_SNAPSHOT,
                format_args!("domain '{}' does not have a current snapshot", published.name()),
            ));
        };
        let snapshot = reference(guest, current.name());
        Ok(DomainSnapshotCurrentReply { snapshot })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotGetParent", 0)]
    fn domain_snapshot_get_parent(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        _: u32,
    ) -> Result<DomainSnapshotGetParentReply> {
        let guest = snapshot.handle::<Guest>()?;
        let published = guest.snapshot();
        let found = published
            .state
            .lasting
            .snapshots
            .find(&snapshot.name)
            .map_err(in_driver)?;
        let Some(parent) = found.parent() else {
            return Err(error(
                ErrorCode::NO_DOMAIN_SNAPSHOT,
                format_args!("snapshot '{}' does not have a parent", snapshot.name),
            ));
        };
        let snapshot = reference(guest, parent);
        Ok(DomainSnapshotGetParentReply { snapshot })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotGetXMLDesc", DomainSnapshotXmlFlags::SECURE.bits())]
    fn domain_snapshot_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        flags: u32,
    ) -> Result<DomainSnapshotGetXmlDescReply> {
        let secure = DomainSnapshotXmlFlags::SECURE.bits();
        let published = snapshot.handle::<Guest>()?.snapshot();
        let found = published
            .state
            .lasting
            .snapshots
            .find(&snapshot.name)
            .map_err(in_driver)?;
        let format = match flags & secure {
            0 => XmlFlags::empty(),
            _ => XmlFlags::SECURE,
        };
        Ok(DomainSnapshotGetXmlDescReply {
            xml: found.format(format),
        })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotIsCurrent", 0)]
    fn domain_snapshot_is_current(
        &self,
        _: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        _: u32,
    ) -> Result<DomainSnapshotIsCurrentReply> {
        let published = snapshot.handle::<Guest>()?.snapshot();
        let current = published.state.lasting.snapshots.current();
        let current = current.is_some_and(|current| current.name() == snapshot.name);
        Ok(DomainSnapshotIsCurrentReply {
            current: current.into(),
        })
    }

    #[inline_safe]
    #[flags("testDomainSnapshotHasMetadata", 0)]
    fn domain_snapshot_has_metadata(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<DomainSnapshot>,
        _: u32,
    ) -> Result<DomainSnapshotHasMetadataReply> {
        Ok(DomainSnapshotHasMetadataReply { metadata: 1 })
    }

    #[flags("testDomainSnapshotCreateXML", DomainSnapshotCreateFlags::REDEFINE.bits() | DomainSnapshotCreateFlags::CURRENT.bits() | DomainSnapshotCreateFlags::HALT.bits() | DomainSnapshotCreateFlags::QUIESCE.bits() | DomainSnapshotCreateFlags::ATOMIC.bits() | DomainSnapshotCreateFlags::LIVE.bits() | DomainSnapshotCreateFlags::VALIDATE.bits())]
    fn domain_snapshot_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml_desc: String,
        flags: u32,
    ) -> Result<DomainSnapshotCreateXmlReply> {
        self.change(cx, &domain, "virDomainSnapshotCreateXML", |world, guest| {
            let name = moments::create_snapshot(world, guest, &xml_desc, flags)?;
            Ok(DomainSnapshotCreateXmlReply {
                snapshot: reference(guest, &name),
            })
        })
    }

    #[flags("testDomainRevertToSnapshot", DomainSnapshotRevertFlags::RUNNING.bits() | DomainSnapshotRevertFlags::PAUSED.bits() | DomainSnapshotRevertFlags::FORCE.bits())]
    fn domain_revert_to_snapshot(
        &self,
        cx: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &snapshot, "virDomainRevertToSnapshot", |world, guest| {
            moments::revert(world, guest, &snapshot.name, flags)
        })
    }

    #[flags("testDomainSnapshotDelete", DomainSnapshotDeleteFlags::CHILDREN.bits() | DomainSnapshotDeleteFlags::CHILDREN_ONLY.bits())]
    fn domain_snapshot_delete(
        &self,
        cx: &mut CallContext<'_>,
        snapshot: Resolved<DomainSnapshot>,
        flags: u32,
    ) -> Result<()> {
        type Flags = DomainSnapshotDeleteFlags;
        let flags = Flags::from(flags);
        let removal = removal(
            flags.contains(Flags::CHILDREN),
            flags.contains(Flags::CHILDREN_ONLY),
        );
        self.change(cx, &snapshot, "virDomainSnapshotDelete", |_, guest| {
            let mut snapshots = guest.snapshot().state.lasting.snapshots.clone();
            snapshots.remove(&snapshot.name, removal).map_err(in_driver)?;
            guest.publish(|published| published.state.lasting_mut().snapshots = snapshots);
            Ok(())
        })
    }
}
