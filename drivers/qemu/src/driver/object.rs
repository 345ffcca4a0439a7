//! A guest in the registry.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use virt_api::access::{AccessObject, Domain as Attributes};
use virt_api::call::{PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::events::{Event, EventClass, EventSubject};
use virt_api::protocol::qemu::QemuDomainMonitorEventMessage;
use virt_api::protocol::remote::{
    DomainEventCallbackControlErrorMessage, DomainEventCallbackLifecycleMessage,
    DomainEventCallbackMetadataChangeMessage, DomainEventCallbackRebootMessage,
    DomainEventControlErrorMessage, DomainEventLifecycleMessage, DomainEventRebootMessage, DomainRef,
};
use virt_api::protocol::table::EventMessage;
use virt_conf::domain::Domain;
use virt_conf::registry::{Definition, DiskFormat, GuestFacts, Kind, Object, Snapshot, guest_matches};
use virt_util::types::{ConnectListAllDomainsFlags, DomainEventId, DomainShutoffReason};
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::agent::AgentSlot;
use super::console::Consoles;
use super::domain_events::Told;
use crate::monitor::Event as MonitorEvent;
use crate::process::guest::Guest;
use crate::process::state::{GuestState, Lifecycle};
use crate::process::status::Status;

/// A normalized definition.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestDefinition {
    /// The document.
    pub domain: Domain,
    uuid: Uuid,
}

impl GuestDefinition {
    /// Of a document that has a UUID.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` without one.
    pub fn new(domain: Domain) -> Result<Self> {
        let uuid = domain.uuid()?;
        Ok(Self { domain, uuid })
    }
}

impl Definition for GuestDefinition {
    fn name(&self) -> &str {
        &self.domain.name
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(self.uuid)
    }
}

impl DiskFormat for GuestDefinition {
    fn to_disk(&self) -> Result<String> {
        Ok(self.domain.format(XmlFlags::INACTIVE | XmlFlags::SECURE))
    }

    fn from_disk(text: &str, path: &Path) -> Result<Self> {
        Self::new(Domain::parse(
            text,
            XmlFlags::INACTIVE,
            &path.display().to_string(),
        )?)
    }
}

/// The kind of object that guests of this driver are.
#[derive(Debug)]
pub struct GuestKind;

impl Kind for GuestKind {
    type Definition = GuestDefinition;
    type State = Published;
    type Private = Private;
    type Key = GuestId;
    type Event = GuestEvent;

    const NOUN: &'static str = "domain";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_DOMAIN;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::QEMU;
    const CLASH_DOMAIN: ErrorDomain = ErrorDomain::DOMAIN;
}

/// A guest of the registry.
pub type GuestObject = Object<GuestKind>;

/// The number of a guest that runs, unique on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestId(pub i32);

/// What is published of a guest beside its definitions.
#[derive(Clone, Debug)]
pub struct Published {
    /// The id while it runs, -1 otherwise.
    pub id: i32,
    /// What it is doing, and why.
    pub state: GuestState,
    /// It was changed while it runs.
    pub updated: bool,
    /// Its memory lies in a file.
    pub managed_save: bool,
    /// What users should know about it.
    pub messages: Vec<String>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            id: -1,
            state: GuestState::shut_off(DomainShutoffReason::UNKNOWN),
            updated: false,
            managed_save: false,
            messages: Vec::new(),
        }
    }
}

/// A guest's status file.
#[derive(Debug)]
pub struct StatusFile {
    /// What stands in it beside state and definition.
    pub status: Status,
    /// What was written last.
    pub written: String,
}

impl StatusFile {
    /// One that was not written yet.
    pub fn new(status: Status) -> Self {
        Self {
            status,
            written: String::new(),
        }
    }
}

/// What the driver keeps with a guest.
#[derive(Debug, Default)]
pub struct Private {
    /// The process, while there is one. Held for reading and changing memory only.
    running: Mutex<Option<Arc<Guest>>>,
    /// The status file while there is one. Held while it is written, so that two
    /// writers of one guest follow each other; no other guest waits for it.
    pub status: Mutex<Option<Box<StatusFile>>>,
    /// Open consoles.
    pub consoles: Consoles,
    /// The guest agent.
    pub agent: AgentSlot,
}

impl Private {
    /// The process, while there is one.
    pub fn running(&self) -> Option<Arc<Guest>> {
        self.running.lock().clone()
    }

    /// Sets the process. Answers whether there was one before.
    pub(super) fn set_running(&self, guest: Option<Arc<Guest>>) -> bool {
        std::mem::replace(&mut *self.running.lock(), guest).is_some()
    }
}

/// The guest as clients and policies know it.
pub fn attributes(guest: &Snapshot<GuestKind>) -> Attributes {
    let definition = guest.life.current();
    Attributes {
        name: guest.name().to_owned(),
        uuid: definition.uuid().unwrap_or_default(),
        id: guest.state.id,
    }
}

/// Whether a guest is in the list that `filter` asks for: filters of one group add up, groups restrict each other.
pub fn matches(snapshot: &Snapshot<GuestKind>, filter: ConnectListAllDomainsFlags) -> bool {
    // Guests have no snapshots or checkpoints yet.
    let facts = GuestFacts {
        state: snapshot.state.state.state,
        managed_save: snapshot.state.managed_save,
        snapshots: false,
        checkpoints: false,
    };
    guest_matches(snapshot, facts, filter)
}

/// Changes of a running guest's definition.
pub trait LiveObject {
    /// Changes what it runs with, for readers at once; nothing if it does not run.
    fn change_live(&self, change: impl FnOnce(&mut Domain));
}

impl LiveObject for GuestObject {
    fn change_live(&self, change: impl FnOnce(&mut Domain)) {
        self.publish(|snapshot| {
            if !snapshot.is_active() {
                return;
            }
            let current = snapshot.life.current();
            let mut domain = current.domain.clone();
            change(&mut domain);
            let live = GuestDefinition {
                domain,
                uuid: current.uuid,
            };
            snapshot.life = snapshot.life.started(Arc::new(live));
        });
    }
}

/// What happened to a guest.
#[derive(Clone, Debug)]
enum What {
    /// Anything that needs more than its name.
    Told(Told),
    Lifecycle(Lifecycle),
    Reboot,
    ControlError,
    /// Metadata of this kind, and for an element of this namespace, were changed.
    Metadata(i32, Option<String>),
    /// QEMU's own event.
    Monitor(MonitorEvent),
}

/// Something that clients are told of a guest.
#[derive(Clone, Debug)]
pub struct GuestEvent {
    /// The guest as it was then.
    domain: Attributes,
    what: What,
}

impl GuestEvent {
    fn note(guest: &GuestObject, what: What) {
        guest.events().note(Self {
            domain: attributes(&guest.snapshot()),
            what,
        });
    }

    /// Notes a step of its life; tell it afterwards.
    pub fn lifecycle(guest: &GuestObject, told: Lifecycle) {
        Self::note(guest, What::Lifecycle(told));
    }

    /// Notes that it has restarted by itself.
    pub fn reboot(guest: &GuestObject) {
        Self::note(guest, What::Reboot);
    }

    /// Notes that its metadata were changed.
    pub fn metadata(guest: &GuestObject, kind: i32, uri: Option<&str>) {
        Self::note(guest, What::Metadata(kind, uri.map(str::to_owned)));
    }

    /// Notes something that has a message of its own.
    pub fn told(guest: &GuestObject, told: Told) {
        Self::note(guest, What::Told(told));
    }

    /// Notes an event of QEMU's.
    pub fn monitor(guest: &GuestObject, event: MonitorEvent) {
        Self::note(guest, What::Monitor(event));
    }

    /// Notes that it cannot be controlled any more.
    pub fn control_error(guest: &GuestObject) {
        Self::note(guest, What::ControlError);
    }
}

impl Event for GuestEvent {
    fn class(&self) -> EventClass {
        match self.what {
            What::Monitor(_) => EventClass::QemuMonitor,
            _ => EventClass::Domain,
        }
    }

    fn name(&self) -> Option<&str> {
        match &self.what {
            What::Monitor(event) => Some(&event.name),
            _ => None,
        }
    }

    fn event_id(&self) -> i32 {
        match &self.what {
            What::Told(told) => told.id().0,
            What::Metadata(..) => DomainEventId::METADATA_CHANGE.0,
            What::Monitor(_) => 0,
            What::Lifecycle(_) => DomainEventId::LIFECYCLE.0,
            What::Reboot => DomainEventId::REBOOT.0,
            What::ControlError => DomainEventId::CONTROL_ERROR.0,
        }
    }

    fn subject(&self) -> EventSubject {
        EventSubject::Uuid(self.domain.uuid)
    }

    fn object(&self) -> &dyn AccessObject {
        &self.domain
    }

    fn procedure(&self) -> (u32, u32) {
        let procedure = match &self.what {
            What::Told(told) => told.procedure(),
            What::Monitor(_) => {
                return (PROGRAM_QEMU, QemuDomainMonitorEventMessage::PROCEDURE);
            }
            What::Metadata(..) => DomainEventCallbackMetadataChangeMessage::PROCEDURE,
            What::Lifecycle(_) => DomainEventCallbackLifecycleMessage::PROCEDURE,
            What::Reboot => DomainEventCallbackRebootMessage::PROCEDURE,
            What::ControlError => DomainEventCallbackControlErrorMessage::PROCEDURE,
        };
        (PROGRAM_REMOTE, procedure)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let domain = DomainRef::from(&self.domain);
        match &self.what {
            What::Told(told) => told.encode(domain),
            What::Monitor(event) => QemuDomainMonitorEventMessage {
                callback_id: 0,
                domain,
                event: event.name.clone(),
                seconds: event.timestamp.map_or(0, |(seconds, _)| seconds),
                micros: event.timestamp.map_or(0, |(_, micros)| micros),
                details: (!event.data.is_null()).then(|| event.data.to_string()),
            }
            .behind_callback_id(),
            What::Metadata(kind, uri) => DomainEventCallbackMetadataChangeMessage {
                callback_id: 0,
                domain,
                kind: *kind,
                nsuri: uri.clone(),
            }
            .behind_callback_id(),
            What::Lifecycle(told) => DomainEventCallbackLifecycleMessage {
                callback_id: 0,
                msg: DomainEventLifecycleMessage {
                    domain,
                    event: told.event.0,
                    detail: told.detail,
                },
            }
            .behind_callback_id(),
            What::Reboot => DomainEventCallbackRebootMessage {
                callback_id: 0,
                msg: DomainEventRebootMessage { domain },
            }
            .behind_callback_id(),
            What::ControlError => DomainEventCallbackControlErrorMessage {
                callback_id: 0,
                msg: DomainEventControlErrorMessage { domain },
            }
            .behind_callback_id(),
        }
    }
}
