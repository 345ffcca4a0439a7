//! What networks, pools, interfaces and devices of the host share: lanes, lists, events.

use std::sync::Arc;

use virt_api::access::AccessObject;
use virt_api::call::{CallContext, PROGRAM_REMOTE};
use virt_api::events::{Event, EventClass, EventSubject};
use virt_conf::registry::job::{Job, JobGuard};
use virt_conf::registry::{Kind, Object, Snapshot};
use virt_conf::schema::{self, Check};
use virt_util::xml::{Doc, DocOptions};
use virt_util::{ErrorDomain, Result};

use crate::changes::asker;

/// Something that happened to one of these objects.
pub struct Happened {
    /// The subscription class and the event's number in it.
    pub event: (EventClass, i32),
    /// What it happened to.
    pub subject: EventSubject,
    /// Whose permissions decide who hears of it.
    pub object: Box<dyn AccessObject + Send + Sync>,
    /// The message's procedure.
    pub procedure: u32,
    /// Makes the message behind its callback id.
    pub encode: Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>,
}

impl Event for Happened {
    fn class(&self) -> EventClass {
        self.event.0
    }

    fn event_id(&self) -> i32 {
        self.event.1
    }

    fn subject(&self) -> EventSubject {
        self.subject.clone()
    }

    fn object(&self) -> &dyn AccessObject {
        &*self.object
    }

    fn procedure(&self) -> (u32, u32) {
        (PROGRAM_REMOTE, self.procedure)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        (self.encode)()
    }
}

/// Takes the lane of an object for a change on behalf of a call.
pub fn hold<K: Kind>(object: &Object<K>, cx: &CallContext<'_>, api: &'static str) -> Result<JobGuard> {
    let job = object.lane().begin(Job::Modify, &asker(cx, api));
    job.map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))
}

/// Refuses a document that its schema does not allow, if that is asked for; one that is none is an error of `domain`.
pub fn check_schema(xml: &str, name: &str, domain: ErrorDomain, check: Check) -> Result<()> {
    match check {
        Check::Usual => Ok(()),
        Check::Strict => schema::check(&Doc::parse_with(xml, &DocOptions::named(name).in_domain(domain))?),
    }
}

/// A snapshot of an object that runs and, if `stored`, stays.
pub fn running<K: Kind>(definition: K::Definition, state: K::State, stored: bool) -> Snapshot<K> {
    let live = Arc::new(definition);
    Snapshot {
        life: virt_conf::registry::Life::Active {
            next: stored.then(|| Arc::clone(&live)),
            live,
        },
        state,
        autostart: false,
        autostart_once: false,
    }
}
