//! A guest in the registry.

use std::sync::Arc;

use virt_api::access::{AccessObject, Domain};
use virt_api::call::PROGRAM_REMOTE;
use virt_api::events::{Event, EventClass, EventSubject};
use virt_api::protocol::remote::{
    DomainEventCallbackDeviceAddedMessage, DomainEventCallbackDeviceRemovedMessage,
    DomainEventCallbackLifecycleMessage, DomainEventCallbackMetadataChangeMessage,
    DomainEventDeviceRemovedMessage, DomainEventLifecycleMessage, DomainRef,
};
use virt_api::protocol::table::EventMessage;
use virt_conf::checkpoint::Checkpoint;
use virt_conf::registry::moments::Moments;
use virt_conf::registry::{Definition, GuestFacts, Kind, Object, Snapshot, guest_matches};
use virt_conf::snapshot::Snapshot as DomainSnapshot;
use virt_util::types::{ConnectListAllDomainsFlags, DomainEventId, DomainEventType, DomainState};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::definition::GuestDefinition;
use crate::messages::Messages;

/// The kind of object that guests of this driver are.
#[derive(Debug)]
pub struct GuestKind;

impl Kind for GuestKind {
    type Definition = GuestDefinition;
    type State = GuestState;
    type Private = ();
    type Key = GuestId;
    type Event = GuestEvent;

    const NOUN: &'static str = "domain";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_DOMAIN;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::TEST;
    const CLASH_DOMAIN: ErrorDomain = ErrorDomain::DOMAIN;
}

/// A guest.
pub type Guest = Object<GuestKind>;

/// The number of a guest that runs, unique in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestId(pub i32);

/// What is published of a guest beside its definitions.
#[derive(Clone, Debug)]
pub struct GuestState {
    /// The id while it runs, -1 otherwise.
    pub id: i32,
    /// What it is doing.
    pub state: DomainState,
    /// Why, in the numbers of the state's own reasons.
    pub reason: i32,
    /// Its memory was saved and waits for the next start.
    pub managed_save: bool,
    /// What lasts whether it runs or not.
    pub lasting: Arc<Lasting>,
}

/// What is known of a guest beside its definitions, whether it runs or not.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Its clock: seconds since the epoch, nanoseconds.
    pub clock: (i64, u32),
    /// Whether `/` and `/boot` are frozen.
    pub frozen: [bool; 2],
    /// How its I/O threads poll.
    pub polling: Vec<Polling>,
    /// What is worth a word about its definition.
    pub messages: Messages,
    /// Its snapshots.
    pub snapshots: Moments<DomainSnapshot>,
    /// Its checkpoints.
    pub checkpoints: Moments<Checkpoint>,
}

/// A guest's clock at first: 17 November 1989, in seconds.
pub const GUEST_TIME: i64 = 627_319_920;

impl Default for Lasting {
    fn default() -> Self {
        Self {
            clock: (GUEST_TIME, 0),
            frozen: [false; 2],
            polling: Vec::new(),
            messages: Messages::default(),
            snapshots: Moments::default(),
            checkpoints: Moments::default(),
        }
    }
}

/// How an I/O thread polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// The thread.
    pub id: u32,
    /// For how many nanoseconds at most.
    pub max_ns: u64,
    /// How much longer after nothing was found.
    pub grow: u32,
    /// How much shorter then.
    pub shrink: u32,
}

impl Polling {
    /// As threads poll that were told nothing.
    pub const fn of(id: u32) -> Self {
        Self {
            id,
            max_ns: 32_768,
            grow: 0,
            shrink: 0,
        }
    }
}

impl GuestState {
    /// What lasts, to be changed.
    pub fn lasting_mut(&mut self) -> &mut Lasting {
        Arc::make_mut(&mut self.lasting)
    }
}

impl Default for GuestState {
    fn default() -> Self {
        Self {
            id: -1,
            state: DomainState::SHUTOFF,
            reason: 0,
            managed_save: false,
            lasting: Arc::default(),
        }
    }
}

/// The guest as clients and policies know it.
pub fn attributes(guest: &Snapshot<GuestKind>) -> Domain {
    let definition = guest.life.current();
    Domain {
        name: guest.name().to_owned(),
        uuid: definition.uuid().unwrap_or_default(),
        id: guest.state.id,
    }
}

/// Whether a guest is in the list that `filter` asks for: filters of one group add up, groups restrict each other.
pub fn matches(snapshot: &Snapshot<GuestKind>, filter: ConnectListAllDomainsFlags) -> bool {
    let facts = GuestFacts {
        state: snapshot.state.state,
        managed_save: snapshot.state.managed_save,
        snapshots: !snapshot.state.lasting.snapshots.is_empty(),
        checkpoints: !snapshot.state.lasting.checkpoints.is_empty(),
    };
    guest_matches(snapshot, facts, filter)
}

/// Something that happened to a guest.
#[derive(Clone, Debug)]
pub struct GuestEvent {
    /// The guest as it was then.
    domain: Domain,
    what: Happened,
}

#[derive(Clone, Debug)]
enum Happened {
    Lifecycle { event: DomainEventType, detail: i32 },
    Metadata { kind: i32, uri: Option<String> },
    DeviceAdded { alias: String },
    DeviceRemoved { alias: String },
}

impl GuestEvent {
    fn note(guest: &Arc<Guest>, what: Happened) {
        guest.events().note(Self {
            domain: attributes(&guest.snapshot()),
            what,
        });
    }

    /// Notes a turn in the guest's life, for whoever holds its lane; `World::tell` tells it afterwards.
    pub fn lifecycle(guest: &Arc<Guest>, event: DomainEventType, detail: i32) {
        Self::note(guest, Happened::Lifecycle { event, detail });
    }

    /// Notes a change of metadata.
    pub fn metadata(guest: &Arc<Guest>, kind: i32, uri: Option<&str>) {
        let uri = uri.map(str::to_owned);
        Self::note(guest, Happened::Metadata { kind, uri });
    }

    /// Notes that a device was plugged in.
    pub fn device_added(guest: &Arc<Guest>, alias: &str) {
        let alias = alias.to_owned();
        Self::note(guest, Happened::DeviceAdded { alias });
    }

    /// Notes that a device is gone.
    pub fn device_removed(guest: &Arc<Guest>, alias: &str) {
        let alias = alias.to_owned();
        Self::note(guest, Happened::DeviceRemoved { alias });
    }
}

impl Event for GuestEvent {
    fn class(&self) -> EventClass {
        EventClass::Domain
    }

    fn event_id(&self) -> i32 {
        match self.what {
            Happened::Lifecycle { .. } => DomainEventId::LIFECYCLE.0,
            Happened::Metadata { .. } => DomainEventId::METADATA_CHANGE.0,
            Happened::DeviceAdded { .. } => DomainEventId::DEVICE_ADDED.0,
            Happened::DeviceRemoved { .. } => DomainEventId::DEVICE_REMOVED.0,
        }
    }

    fn subject(&self) -> EventSubject {
        EventSubject::Uuid(self.domain.uuid)
    }

    fn object(&self) -> &dyn AccessObject {
        &self.domain
    }

    fn procedure(&self) -> (u32, u32) {
        let procedure = match self.what {
            Happened::Lifecycle { .. } => DomainEventCallbackLifecycleMessage::PROCEDURE,
            Happened::Metadata { .. } => DomainEventCallbackMetadataChangeMessage::PROCEDURE,
            Happened::DeviceAdded { .. } => DomainEventCallbackDeviceAddedMessage::PROCEDURE,
            Happened::DeviceRemoved { .. } => DomainEventCallbackDeviceRemovedMessage::PROCEDURE,
        };
        (PROGRAM_REMOTE, procedure)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let domain = DomainRef::from(&self.domain);
        match &self.what {
            Happened::Lifecycle { event, detail } => DomainEventCallbackLifecycleMessage {
                callback_id: 0,
                msg: DomainEventLifecycleMessage {
                    domain,
                    event: event.0,
                    detail: *detail,
                },
            }
            .behind_callback_id(),
            Happened::Metadata { kind, uri } => DomainEventCallbackMetadataChangeMessage {
                callback_id: 0,
                domain,
                kind: *kind,
                nsuri: uri.clone(),
            }
            .behind_callback_id(),
            Happened::DeviceAdded { alias } => DomainEventCallbackDeviceAddedMessage {
                callback_id: 0,
                domain,
                dev_alias: alias.clone(),
            }
            .behind_callback_id(),
            Happened::DeviceRemoved { alias } => DomainEventCallbackDeviceRemovedMessage {
                callback_id: 0,
                msg: DomainEventDeviceRemovedMessage {
                    domain,
                    dev_alias: alias.clone(),
                },
            }
            .behind_callback_id(),
        }
    }
}
