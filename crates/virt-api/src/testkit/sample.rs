//! A small driver with two guests that exist only in memory: for examples, and as the shortest whole driver to read.

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;
use virt_util::{ErrorCode, Result, VirtError};

use crate::access::{AccessObject, Authorized, Domain, Found, Resolved, Resolver, Unchecked};
use crate::call::CallContext;
use crate::driver::{Driver, DriverConnection, OpenContext};
use crate::events::{Event, EventClass, EventHub, EventSubject};
use crate::protocol::remote::*;
use crate::protocol::table::EventMessage;
use crate::protocol::traits::HypervisorDriver;

// libvirt's numbers: virDomainState, virDomainEventID, virDomainEventType.
const RUNNING: i32 = 1;
const PAUSED: i32 = 3;
const SHUTOFF: i32 = 5;
const EVENT_LIFECYCLE: i32 = 0;
const EVENT_STARTED: i32 = 2;
const EVENT_SUSPENDED: i32 = 3;
const EVENT_RESUMED: i32 = 4;
const EVENT_STOPPED: i32 = 5;
const LIST_ACTIVE: u32 = 1;
const LIST_INACTIVE: u32 = 2;

/// The sample driver: `sample:///default` has the guests `web` (running) and `db` (shut off).
pub struct SampleDriver(Arc<Books>);

/// A new [`SampleDriver`] with its own guests.
pub fn sample_driver() -> Box<dyn Driver> {
    Box::new(SampleDriver::default())
}

/// What [`crate::driver!`] would write, without the exported symbol: the sample is only ever built in.
impl crate::plugin::Entry for SampleDriver {
    const NAME: &'static str = "sample";
    const MANIFEST: &'static str = concat!(
        "name = \"sample\"\nkind = \"hypervisor\"\nrole = \"client\"\nschemes = [\"sample\"]\nabi = \"",
        crate::__abi_version!(),
        "\"\nversion = \"",
        env!("CARGO_PKG_VERSION"),
        "\"\n"
    );

    fn create() -> Box<dyn Driver> {
        sample_driver()
    }
}

struct Books {
    guests: Mutex<Vec<Guest>>,
    events: EventHub,
}

#[derive(Clone)]
struct Guest {
    name: String,
    uuid: Uuid,
    id: i32,
    state: i32,
}

impl Guest {
    fn object(&self) -> Domain {
        Domain {
            name: self.name.clone(),
            uuid: self.uuid,
            id: self.id,
        }
    }
}

impl Default for SampleDriver {
    fn default() -> Self {
        let guest = |name: &str, number: u128, id, state| Guest {
            name: name.to_owned(),
            uuid: Uuid::from_u128(0x6695_eb01_f6a4_8304_79aa_97f2_502e_0000 + number),
            id,
            state,
        };
        Self(Arc::new(Books {
            guests: Mutex::new(vec![guest("web", 1, 1, RUNNING), guest("db", 2, -1, SHUTOFF)]),
            events: EventHub::new(),
        }))
    }
}

impl Driver for SampleDriver {
    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        self.0.events.attach(cx.events());
        Ok(Box::new(SampleConnection {
            uri: cx.uri().to_owned(),
            books: Arc::clone(&self.0),
        }))
    }

    fn uri_probe(&self) -> Result<Option<String>> {
        Ok(Some("sample:///default".to_owned()))
    }
}

struct SampleConnection {
    uri: String,
    books: Arc<Books>,
}

impl DriverConnection for SampleConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }
}

impl SampleConnection {
    fn find(&self, what: impl std::fmt::Display, is_it: impl Fn(&Guest) -> bool) -> Result<Guest> {
        self.books
            .guests
            .lock()
            .iter()
            .find(|guest| is_it(guest))
            .cloned()
            .ok_or_else(|| {
                VirtError::new(
                    ErrorCode::NO_DOMAIN,
                    format_args!("no domain with matching {what}"),
                )
            })
    }

    /// The guests that the caller may see.
    fn visible(&self, cx: &mut CallContext<'_>, is_it: impl Fn(&Guest) -> bool) -> Result<Vec<Domain>> {
        let guests = self.books.guests.lock().clone();
        let mut visible = Vec::new();
        for guest in guests.iter().filter(|guest| is_it(guest)) {
            let domain = guest.object();
            if cx.may_see(&domain)? {
                visible.push(domain);
            }
        }
        Ok(visible)
    }

    /// Moves a guest from one state to another and tells everybody.
    fn change(&self, domain: &Domain, from: &[i32], to: i32, event: i32) -> Result<()> {
        let changed = {
            let mut guests = self.books.guests.lock();
            let next_id = guests.iter().map(|guest| guest.id).max().unwrap_or(0).max(0) + 1;
            let Some(guest) = guests.iter_mut().find(|guest| guest.uuid == domain.uuid) else {
                return Err(VirtError::new(ErrorCode::NO_DOMAIN, &domain.name));
            };
            if !from.contains(&guest.state) {
                let what = if from == [SHUTOFF] {
                    "domain is already running"
                } else {
                    "domain is not running"
                };
                return Err(VirtError::new(ErrorCode::OPERATION_INVALID, what));
            }
            guest.state = to;
            match (to, guest.id) {
                (SHUTOFF, _) => guest.id = -1,
                (_, -1) => guest.id = next_id,
                _ => {}
            }
            guest.object()
        };
        self.books.events.emit(&Lifecycle {
            domain: changed,
            event,
        })
    }
}

impl Resolver for SampleConnection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        let guest = self.find(format_args!("uuid '{}' ({})", key.uuid, key.name), |guest| {
            guest.uuid == key.uuid
        })?;
        Ok(Found::attributes(guest.object()))
    }
}

#[crate::implements]
impl HypervisorDriver for SampleConnection {
    #[inline_safe]
    fn connect_get_type(&self, _: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        Ok(ConnectGetTypeReply {
            kind: "Sample".to_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_version(&self, _: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        Ok(ConnectGetVersionReply { hv_ver: 1_000_000 })
    }

    #[inline_safe]
    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        Ok(ConnectGetHostnameReply {
            hostname: "sample.example".to_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_uri(&self, _: &mut CallContext<'_>) -> Result<ConnectGetUriReply> {
        Ok(ConnectGetUriReply {
            uri: self.uri.clone(),
        })
    }

    fn connect_num_of_domains(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfDomainsReply> {
        let running = self.visible(cx, |guest| guest.id >= 0)?;
        Ok(ConnectNumOfDomainsReply {
            num: i32::try_from(running.len()).unwrap_or(i32::MAX),
        })
    }

    fn connect_list_all_domains(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllDomainsReply> {
        let wanted = |guest: &Guest| match flags & (LIST_ACTIVE | LIST_INACTIVE) {
            LIST_ACTIVE => guest.id >= 0,
            LIST_INACTIVE => guest.id < 0,
            _ => true,
        };
        let found = self.visible(cx, wanted)?;
        Ok(ConnectListAllDomainsReply {
            ret: u32::try_from(found.len()).unwrap_or(u32::MAX),
            domains: if need_results == 0 {
                Vec::new()
            } else {
                found.iter().map(DomainRef::from).collect()
            },
        })
    }

    fn domain_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<DomainLookupByNameReply>> {
        let domain = self
            .find(format_args!("name '{name}'"), |guest| guest.name == name)?
            .object();
        let reply = DomainLookupByNameReply {
            domain: (&domain).into(),
        };
        Ok(cx.authorize(&domain)?.reply(reply))
    }

    fn domain_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<DomainLookupByUuidReply>> {
        let domain = self
            .find(format_args!("uuid '{uuid}'"), |guest| guest.uuid == uuid)?
            .object();
        let reply = DomainLookupByUuidReply {
            domain: (&domain).into(),
        };
        Ok(cx.authorize(&domain)?.reply(reply))
    }

    fn domain_lookup_by_id(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        id: i32,
    ) -> Result<Authorized<DomainLookupByIdReply>> {
        let domain = self
            .find(format_args!("id '{id}'"), |guest| guest.id == id && id >= 0)?
            .object();
        let reply = DomainLookupByIdReply {
            domain: (&domain).into(),
        };
        Ok(cx.authorize(&domain)?.reply(reply))
    }

    fn domain_get_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetInfoReply> {
        let guest = self.find("uuid", |guest| guest.uuid == domain.uuid)?;
        Ok(DomainGetInfoReply {
            state: u8::try_from(guest.state).unwrap_or_default(),
            max_mem: 1 << 20,
            memory: 1 << 20,
            nr_virt_cpu: 2,
            cpu_time: 0,
        })
    }

    fn domain_get_state(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetStateReply> {
        if flags != 0 {
            return Err(VirtError::invalid_arg(format_args!(
                "unsupported flags ({flags:#x})"
            )));
        }
        let guest = self.find("uuid", |guest| guest.uuid == domain.uuid)?;
        Ok(DomainGetStateReply {
            state: guest.state,
            reason: 1,
        })
    }

    fn domain_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _flags: u32,
    ) -> Result<DomainGetXmlDescReply> {
        Ok(DomainGetXmlDescReply {
            xml: format!(
                "<domain type='sample'>\n  <name>{}</name>\n  <uuid>{}</uuid>\n  <memory unit='KiB'>1048576</memory>\n</domain>\n",
                domain.name, domain.uuid
            ),
        })
    }

    fn domain_create(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(&domain, &[SHUTOFF], RUNNING, EVENT_STARTED)
    }

    fn domain_destroy(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(&domain, &[RUNNING, PAUSED], SHUTOFF, EVENT_STOPPED)
    }

    fn domain_suspend(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(&domain, &[RUNNING], PAUSED, EVENT_SUSPENDED)
    }

    fn domain_resume(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(&domain, &[PAUSED], RUNNING, EVENT_RESUMED)
    }
}

struct Lifecycle {
    domain: Domain,
    event: i32,
}

impl Event for Lifecycle {
    fn class(&self) -> EventClass {
        EventClass::Domain
    }

    fn event_id(&self) -> i32 {
        EVENT_LIFECYCLE
    }

    fn subject(&self) -> EventSubject {
        EventSubject::Uuid(self.domain.uuid)
    }

    fn object(&self) -> &dyn AccessObject {
        &self.domain
    }

    fn procedure(&self) -> (u32, u32) {
        (
            DomainEventCallbackLifecycleMessage::PROGRAM,
            DomainEventCallbackLifecycleMessage::PROCEDURE,
        )
    }

    fn encode(&self) -> Result<Vec<u8>> {
        DomainEventCallbackLifecycleMessage {
            callback_id: 0,
            msg: DomainEventLifecycleMessage {
                domain: (&self.domain).into(),
                event: self.event,
                detail: 0,
            },
        }
        .behind_callback_id()
    }
}
