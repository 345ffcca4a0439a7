//! Event subscriptions of one connection, and the hub through which a driver tells all its connections.
//!
//! Registering is an ordinary call that the dispatch answers here, so a driver only says what happened:
//! [`EventHub::emit`]. Nothing is encoded before somebody is found who wants it. What goes to the sink is the message
//! in XDR *without* its leading callback id, once, beside the ids of the callbacks it is for.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;
use virt_util::{ErrorCode, Result, VirtError};

use crate::access::{AccessObject, ObjectKind};

/// Kinds of subscriptions; each has event ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventClass {
    /// `virDomainEventID`.
    Domain,
    /// `virNetworkEventID`.
    Network,
    /// `virStoragePoolEventID`.
    StoragePool,
    /// `virNodeDeviceEventID`.
    NodeDevice,
    /// `virSecretEventID`.
    Secret,
    /// Monitor events of QEMU; the id is always 0, names are filtered.
    QemuMonitor,
}

/// What an event is about, as filters know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// An object with a UUID.
    Uuid(Uuid),
    /// An object with nothing but a name.
    Name(String),
}

/// Something that happened.
pub trait Event {
    /// The subscription class.
    fn class(&self) -> EventClass;

    /// The id in its class.
    fn event_id(&self) -> i32;

    /// What it happened to.
    fn subject(&self) -> EventSubject;

    /// The name that monitor filters look at; `None` for other classes.
    fn name(&self) -> Option<&str> {
        None
    }

    /// The object whose permissions decide who may hear of it.
    fn object(&self) -> &dyn AccessObject;

    /// Program and procedure number of the message.
    fn procedure(&self) -> (u32, u32);

    /// The message in XDR behind its callback id.
    fn encode(&self) -> Result<Vec<u8>>;
}

/// Takes what happened to the user of the connection. Never waits.
pub trait EventSink: Send + Sync {
    /// An event for these callbacks of the connection. `payload` is the message without its callback id.
    fn event(&self, program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]);
}

/// Whether a subscriber may hear of an object: the access check of the connection.
pub(crate) type EventAccess = Box<dyn Fn(EventClass, &dyn AccessObject) -> bool + Send + Sync>;

/// The subscriptions of one connection.
pub struct EventRegistry {
    sink: Arc<dyn EventSink>,
    access: Option<EventAccess>,
    /// Held for looking, never while the sink is called.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: i32,
    subscriptions: BTreeMap<i32, Subscription>,
}

struct Subscription {
    class: EventClass,
    event_id: i32,
    subject: Option<EventSubject>,
    name: NameFilter,
}

/// Which monitor events a subscription wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// The name or pattern; `None` wants all.
    pub pattern: Option<String>,
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// The pattern is a prefix with a trailing `*` rather than a whole name.
    pub glob: bool,
}

impl EventRegistry {
    /// A registry whose events go to `sink`.
    pub fn new(sink: Arc<dyn EventSink>) -> Self {
        Self::with_access(sink, None)
    }

    /// A registry whose subscribers hear only of what `access` lets them.
    pub(crate) fn with_access(sink: Arc<dyn EventSink>, access: Option<EventAccess>) -> Self {
        Self {
            sink,
            access,
            state: Mutex::default(),
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn clear(&self) {
        self.state.lock().subscriptions.clear();
    }

    /// Subscribes. Answers the callback id, unique on this connection.
    pub fn register(
        &self,
        class: EventClass,
        event_id: i32,
        subject: Option<EventSubject>,
        name: NameFilter,
    ) -> Result<i32> {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id = id
            .checked_add(1)
            .ok_or_else(|| VirtError::new(ErrorCode::OPERATION_FAILED, "no callback id is left"))?;
        state.subscriptions.insert(
            id,
            Subscription {
                class,
                event_id,
                subject,
                name,
            },
        );
        Ok(id)
    }

    /// Ends a subscription. `VIR_ERR_INVALID_ARG` if there is none of that class and id.
    pub fn deregister(&self, class: EventClass, callback: i32) -> Result<()> {
        let mut state = self.state.lock();
        match state.subscriptions.get(&callback) {
            Some(found) if found.class == class => {
                state.subscriptions.remove(&callback);
                Ok(())
            }
            _ => Err(VirtError::invalid_arg(format_args!(
                "no event callback {callback} is registered"
            ))),
        }
    }

    /// Hands on an event that was made and addressed elsewhere: for connections that lead to another host.
    pub fn deliver(&self, program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        self.sink.event(program, procedure, callbacks, payload);
    }

    /// Whether anybody wants events of this class and id.
    pub fn has_subscriber(&self, class: EventClass, event_id: i32) -> bool {
        self.state
            .lock()
            .subscriptions
            .values()
            .any(|subscription| subscription.class == class && subscription.event_id == event_id)
    }

    /// The callbacks that want this event.
    fn wanted_by(&self, event: &dyn Event) -> Vec<i32> {
        let (class, event_id, subject) = (event.class(), event.event_id(), event.subject());
        let callbacks: Vec<i32> = self
            .state
            .lock()
            .subscriptions
            .iter()
            .filter(|(_, wanted)| {
                wanted.class == class
                    && wanted.event_id == event_id
                    && wanted.subject.as_ref().is_none_or(|filter| *filter == subject)
                    && wanted.name.matches(event.name())
            })
            .map(|(id, _)| *id)
            .collect();
        if callbacks.is_empty() {
            return callbacks;
        }
        match &self.access {
            Some(access) if !access(class, event.object()) => Vec::new(),
            _ => callbacks,
        }
    }
}

impl std::fmt::Debug for EventRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventRegistry")
    }
}

impl NameFilter {
    fn matches(&self, name: Option<&str>) -> bool {
        let (Some(pattern), Some(name)) = (&self.pattern, name) else {
            return true;
        };
        let (pattern, name) = if self.ignore_case {
            (pattern.to_lowercase(), name.to_lowercase())
        } else {
            (pattern.clone(), name.to_owned())
        };
        match pattern.strip_suffix('*') {
            Some(prefix) if self.glob => name.starts_with(prefix),
            _ => name == pattern,
        }
    }
}

/// All connections of a driver that may want its events. One per driver; connections attach when they open.
#[derive(Default)]
pub struct EventHub {
    /// Held for looking, never while a sink is called.
    registries: Mutex<Vec<Weak<EventRegistry>>>,
}

impl EventHub {
    /// A hub without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connection until it closes.
    pub fn attach(&self, registry: &Arc<EventRegistry>) {
        let mut registries = self.registries.lock();
        registries.retain(|known| known.strong_count() > 0);
        registries.push(Arc::downgrade(registry));
    }

    /// Whether anybody wants events of this class and id.
    pub fn has_subscriber(&self, class: EventClass, event_id: i32) -> bool {
        self.live()
            .iter()
            .any(|registry| registry.has_subscriber(class, event_id))
    }

    /// Tells everybody who wants it. Encodes at most once, and only if somebody does.
    pub fn emit(&self, event: &dyn Event) -> Result<()> {
        let mut encoded = None;
        for registry in self.live() {
            let callbacks = registry.wanted_by(event);
            if callbacks.is_empty() {
                continue;
            }
            let payload = match &encoded {
                Some(payload) => payload,
                None => encoded.insert(event.encode()?),
            };
            let (program, procedure) = event.procedure();
            registry.sink.event(program, procedure, &callbacks, payload);
        }
        Ok(())
    }

    fn live(&self) -> Vec<Arc<EventRegistry>> {
        self.registries.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl std::fmt::Debug for EventHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventHub")
    }
}

impl EventClass {
    /// The kind of object the class is about.
    pub fn object_kind(self) -> ObjectKind {
        match self {
            Self::Domain | Self::QemuMonitor => ObjectKind::Domain,
            Self::Network => ObjectKind::Network,
            Self::StoragePool => ObjectKind::StoragePool,
            Self::NodeDevice => ObjectKind::NodeDevice,
            Self::Secret => ObjectKind::Secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Domain;

    #[derive(Default)]
    struct Keeper(Mutex<Vec<Vec<i32>>>);

    impl EventSink for Keeper {
        fn event(&self, _: u32, _: u32, callbacks: &[i32], _: &[u8]) {
            self.0.lock().push(callbacks.to_vec());
        }
    }

    struct Monitor {
        domain: Domain,
        name: &'static str,
        encoded: Mutex<usize>,
    }

    impl Event for Monitor {
        fn class(&self) -> EventClass {
            EventClass::QemuMonitor
        }

        fn event_id(&self) -> i32 {
            0
        }

        fn subject(&self) -> EventSubject {
            EventSubject::Uuid(self.domain.uuid)
        }

        fn name(&self) -> Option<&str> {
            Some(self.name)
        }

        fn object(&self) -> &dyn AccessObject {
            &self.domain
        }

        fn procedure(&self) -> (u32, u32) {
            (1, 2)
        }

        fn encode(&self) -> Result<Vec<u8>> {
            *self.encoded.lock() += 1;
            Ok(Vec::new())
        }
    }

    fn monitor(name: &'static str) -> Monitor {
        Monitor {
            domain: Domain {
                name: "web".to_owned(),
                uuid: Uuid::from_u128(1),
                id: 1,
            },
            name,
            encoded: Mutex::default(),
        }
    }

    #[test]
    fn names_are_filtered_and_one_encoding_serves_all_connections() {
        let keepers = [Arc::new(Keeper::default()), Arc::new(Keeper::default())];
        let hub = EventHub::new();
        let registries: Vec<Arc<EventRegistry>> = keepers
            .iter()
            .map(|keeper| {
                let registry = Arc::new(EventRegistry::new(Arc::clone(keeper) as _));
                hub.attach(&registry);
                registry
            })
            .collect();
        let filter = |pattern: &str, ignore_case, glob| NameFilter {
            pattern: Some(pattern.to_owned()),
            ignore_case,
            glob,
        };
        let register = |number: usize, name| {
            registries[number]
                .register(EventClass::QemuMonitor, 0, None, name)
                .unwrap()
        };
        let exact = register(0, filter("STOP", false, false));
        let folded = register(0, filter("stop", true, false));
        let prefix = register(0, filter("ST*", false, true));
        register(0, filter("stop", false, false));
        let all = register(1, NameFilter::default());

        let event = monitor("STOP");
        hub.emit(&event).unwrap();
        assert_eq!(*keepers[0].0.lock(), [vec![exact, folded, prefix]]);
        assert_eq!(*keepers[1].0.lock(), [vec![all]]);
        assert_eq!(*event.encoded.lock(), 1);

        let event = monitor("RESUME");
        drop(registries);
        hub.emit(&event).unwrap();
        assert_eq!(*event.encoded.lock(), 0, "all connections are gone");
    }

    #[test]
    fn a_subscription_ends_only_in_its_own_class() {
        let registry = EventRegistry::new(Arc::new(Keeper::default()));
        let id = registry
            .register(EventClass::Domain, 0, None, NameFilter::default())
            .unwrap();
        assert!(registry.has_subscriber(EventClass::Domain, 0));
        assert!(registry.deregister(EventClass::Network, id).is_err());
        registry.deregister(EventClass::Domain, id).unwrap();
        assert!(!registry.has_subscriber(EventClass::Domain, 0));
        let next = registry
            .register(EventClass::Domain, 0, None, NameFilter::default())
            .unwrap();
        assert_ne!(next, id, "an id is never used twice");
    }
}
