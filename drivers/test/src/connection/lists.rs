//! Lists of guests, and looking them up.

use virt_api::access::{Authorized, Domain, Unchecked};
use virt_api::call::CallContext;
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::Snapshot;
use virt_util::types::ConnectListAllDomainsFlags;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result};

use super::{TestConnection, check_flags};
use crate::domain::{self, GuestId, GuestKind};
use crate::error;

impl TestConnection {
    /// The guests that are wanted and that the caller may see.
    fn guests_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<GuestKind>) -> bool,
    ) -> Result<Vec<Domain>> {
        let guests = self.world.guests().snapshots(wanted);
        listing::visible(cx, guests.map(|snapshot| domain::attributes(&snapshot)))
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    fn connect_num_of_domains(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfDomainsReply> {
        let num = listing::count(&self.guests_seen(cx, Snapshot::is_active)?);
        Ok(ConnectNumOfDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_domains(&self, cx: &mut CallContext<'_>, maxids: i32) -> Result<ConnectListDomainsReply> {
        let guests = self.guests_seen(cx, Snapshot::is_active)?;
        let ids = listing::at_most(guests.into_iter().map(|guest| guest.id), maxids);
        Ok(ConnectListDomainsReply { ids })
    }

    #[inline_safe]
    fn connect_num_of_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedDomainsReply> {
        let num = listing::count(&self.guests_seen(cx, |guest| !guest.is_active())?);
        Ok(ConnectNumOfDefinedDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedDomainsReply> {
        let guests = self.guests_seen(cx, |guest| !guest.is_active())?;
        let names = listing::at_most(guests.into_iter().map(|guest| guest.name), maxnames);
        Ok(ConnectListDefinedDomainsReply { names })
    }

    #[inline_safe]
    fn connect_list_all_domains(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllDomainsReply> {
        check_flags(
            "testConnectListAllDomains",
            flags,
            ConnectListAllDomainsFlags::all().bits(),
        )?;
        let filter = ConnectListAllDomainsFlags::from(flags);
        let guests = self.guests_seen(cx, |guest| domain::matches(guest, filter))?;
        let (domains, ret) = listing::all(guests, need_results);
        Ok(ConnectListAllDomainsReply { domains, ret })
    }

    #[inline_safe]
    fn domain_lookup_by_id(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        id: i32,
    ) -> Result<Authorized<DomainLookupByIdReply>> {
        let guest = self.world.guests().by_key(&GuestId(id)).ok_or_else(|| {
            error(
                ErrorCode::NO_DOMAIN,
                format_args!("no domain with matching id '{id}'"),
            )
        })?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByIdReply {
                domain: domain.into(),
            }
        })
    }

    #[inline_safe]
    fn domain_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<DomainLookupByUuidReply>> {
        let guest = self.world.guests().find_uuid(&uuid, None)?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByUuidReply {
                domain: domain.into(),
            }
        })
    }

    #[inline_safe]
    fn domain_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<DomainLookupByNameReply>> {
        let guest = self.world.guests().find_name(&name)?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByNameReply {
                domain: domain.into(),
            }
        })
    }
}
