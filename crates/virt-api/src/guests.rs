//! Calls that every driver answers alike that keeps its guests in an index: lists, lookups, and what is known of a guest
//! without asking anybody. Such a driver implements [`Guests`] and names this module among its parts:
//! `#[implements(parts(virt_api::guests, …))]`.

use std::any::Any;

use virt_util::types::{ConnectListAllDomainsFlags, DomainState, DomainVcpuFlags, check_flags};
use virt_util::uuid::Uuid;
use virt_util::{ErrorDomain, Result};

use crate::access::{Authorized, Domain, Resolved, Unchecked};
use crate::call::CallContext;
use crate::listing;
use crate::protocol::ferrovirt::FerrovirtConnectIsEncryptedReply;
use crate::protocol::remote::*;
use crate::protocol::traits::HypervisorDriver;

/// A connection to guests in an index, of which one never has to wait for another.
pub trait Guests: Sized {
    /// What the connection's resolver finds.
    type Guest: Any + Send + Sync;

    /// What the driver's functions are called in errors before the name of the call: `qemu` in `qemuDomainGetState`.
    const PREFIX: &'static str;
    /// The domain of the driver's errors.
    const ERROR_DOMAIN: ErrorDomain;

    /// The URI of the connection.
    fn uri(&self) -> &str;

    /// The guests that the flags ask for, whoever may see them.
    fn guests(&self, wanted: ConnectListAllDomainsFlags) -> impl Iterator<Item = Domain>;

    /// The guest that runs under this number.
    ///
    /// # Errors
    /// `NO_DOMAIN`.
    fn by_id(&self, id: i32) -> Result<Domain>;

    /// The guest with this UUID.
    ///
    /// # Errors
    /// `NO_DOMAIN`.
    fn by_uuid(&self, uuid: &Uuid) -> Result<Domain>;

    /// The guest of this name.
    ///
    /// # Errors
    /// `NO_DOMAIN`.
    fn by_name(&self, name: &str) -> Result<Domain>;

    /// What is known of a guest.
    fn facts(guest: &Self::Guest) -> Facts;
}

/// What is known of a guest at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// It runs.
    pub active: bool,
    /// Its definition is kept.
    pub persistent: bool,
    /// It is started with its host.
    pub autostart: bool,
    /// What it is doing.
    pub state: DomainState,
    /// Why, in the numbers of the state's own reasons.
    pub reason: i32,
}

/// The guests that are wanted and that the caller may see.
fn seen(
    driver: &impl Guests,
    cx: &mut CallContext<'_>,
    wanted: ConnectListAllDomainsFlags,
) -> Result<Vec<Domain>> {
    listing::visible(cx, driver.guests(wanted))
}

fn no_other_flags<T: Guests>(call: &str, flags: u32, known: u32) -> Result<()> {
    check_flags(&format!("{}{call}", T::PREFIX), flags, known)
        .map_err(|error| error.in_domain(T::ERROR_DOMAIN))
}

#[virt_api::implements(shared(virt_api::guests))]
impl<T: Guests + HypervisorDriver> HypervisorDriver for T {
    #[inline_safe]
    fn connect_get_uri(&self, _: &mut CallContext<'_>) -> Result<ConnectGetUriReply> {
        Ok(ConnectGetUriReply {
            uri: self.uri().to_owned(),
        })
    }

    #[inline_safe]
    fn connect_is_secure(&self, _: &mut CallContext<'_>) -> Result<ConnectIsSecureReply> {
        // It ends in this process.
        Ok(ConnectIsSecureReply { secure: 1 })
    }

    #[inline_safe]
    fn connect_is_encrypted(&self, _: &mut CallContext<'_>) -> Result<FerrovirtConnectIsEncryptedReply> {
        Ok(FerrovirtConnectIsEncryptedReply { encrypted: 0 })
    }

    #[inline_safe]
    fn connect_num_of_domains(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfDomainsReply> {
        let num = listing::count(&seen(self, cx, ConnectListAllDomainsFlags::ACTIVE)?);
        Ok(ConnectNumOfDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_domains(&self, cx: &mut CallContext<'_>, maxids: i32) -> Result<ConnectListDomainsReply> {
        let guests = seen(self, cx, ConnectListAllDomainsFlags::ACTIVE)?;
        let ids = listing::at_most(guests.into_iter().map(|guest| guest.id), maxids);
        Ok(ConnectListDomainsReply { ids })
    }

    #[inline_safe]
    fn connect_num_of_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedDomainsReply> {
        let num = listing::count(&seen(self, cx, ConnectListAllDomainsFlags::INACTIVE)?);
        Ok(ConnectNumOfDefinedDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedDomainsReply> {
        let guests = seen(self, cx, ConnectListAllDomainsFlags::INACTIVE)?;
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
        let known = ConnectListAllDomainsFlags::all().bits();
        no_other_flags::<Self>("ConnectListAllDomains", flags, known)?;
        let guests = seen(self, cx, ConnectListAllDomainsFlags::from(flags))?;
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
        listing::found(cx, self.by_id(id)?, |domain| DomainLookupByIdReply {
            domain: domain.into(),
        })
    }

    #[inline_safe]
    fn domain_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<DomainLookupByUuidReply>> {
        listing::found(cx, self.by_uuid(&uuid)?, |domain| DomainLookupByUuidReply {
            domain: domain.into(),
        })
    }

    #[inline_safe]
    fn domain_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<DomainLookupByNameReply>> {
        listing::found(cx, self.by_name(&name)?, |domain| DomainLookupByNameReply {
            domain: domain.into(),
        })
    }

    #[inline_safe]
    #[flags("virDomainGetState", 0)]
    fn domain_get_state(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetStateReply> {
        let facts = Self::facts(domain.handle()?);
        Ok(DomainGetStateReply {
            state: facts.state.0,
            reason: facts.reason,
        })
    }

    #[inline_safe]
    fn domain_is_active(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsActiveReply> {
        Ok(DomainIsActiveReply {
            active: Self::facts(domain.handle()?).active.into(),
        })
    }

    #[inline_safe]
    fn domain_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsPersistentReply> {
        Ok(DomainIsPersistentReply {
            persistent: Self::facts(domain.handle()?).persistent.into(),
        })
    }

    #[inline_safe]
    fn domain_get_autostart(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetAutostartReply> {
        Ok(DomainGetAutostartReply {
            autostart: Self::facts(domain.handle()?).autostart.into(),
        })
    }

    #[inline_safe]
    fn domain_get_max_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetMaxVcpusReply> {
        let flags = DomainVcpuFlags::LIVE | DomainVcpuFlags::MAXIMUM;
        let counted = HypervisorDriver::domain_get_vcpus_flags(self, cx, domain, flags.bits())?;
        Ok(DomainGetMaxVcpusReply { num: counted.num })
    }

    fn domain_undefine(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        HypervisorDriver::domain_undefine_flags(self, cx, domain, 0)
    }
}
