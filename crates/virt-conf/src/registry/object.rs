//! One object: its two definitions, the snapshot that readers see, its lane, its events.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use virt_util::uuid::Uuid;

use super::events::OrderedEvents;
use super::job::{JobLane, LaneSettings};
use super::kind::{Definition, Kind};

/// Whether an object runs, and which definitions it has. One that neither runs nor is stored does not exist.
#[derive(Debug)]
pub enum Life<D> {
    /// Stored and off.
    Inactive(Arc<D>),
    /// Running.
    Active {
        /// What it runs with.
        live: Arc<D>,
        /// What it will run with next time; `None` for a transient object, which vanishes when it stops.
        next: Option<Arc<D>>,
    },
}

impl<D> Life<D> {
    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }

    /// Whether it stays when it stops.
    pub fn is_persistent(&self) -> bool {
        self.stored().is_some()
    }

    /// What it runs with, or would run with.
    pub fn current(&self) -> &Arc<D> {
        match self {
            Self::Inactive(definition) => definition,
            Self::Active { live, .. } => live,
        }
    }

    /// What is stored: what it will run with next time.
    pub fn stored(&self) -> Option<&Arc<D>> {
        match self {
            Self::Inactive(definition) => Some(definition),
            Self::Active { next, .. } => next.as_ref(),
        }
    }

    /// The stored definition where there is one, otherwise the live one: what inactive XML shows.
    pub fn next_or_live(&self) -> &Arc<D> {
        self.stored().unwrap_or_else(|| self.current())
    }

    /// After a start with `live`.
    #[must_use]
    pub fn started(&self, live: Arc<D>) -> Self {
        Self::Active {
            live,
            next: self.stored().cloned(),
        }
    }

    /// After a stop; `None` if nothing is left of it.
    #[must_use]
    pub fn stopped(&self) -> Option<Self> {
        self.stored().cloned().map(Self::Inactive)
    }

    /// After `definition` was stored.
    #[must_use]
    pub fn defined(&self, definition: Arc<D>) -> Self {
        match self {
            Self::Inactive(_) => Self::Inactive(definition),
            Self::Active { live, .. } => Self::Active {
                live: Arc::clone(live),
                next: Some(definition),
            },
        }
    }

    /// After the stored definition was removed; `None` if nothing is left of it.
    #[must_use]
    pub fn undefined(&self) -> Option<Self> {
        match self {
            Self::Inactive(_) => None,
            Self::Active { live, .. } => Some(Self::Active {
                live: Arc::clone(live),
                next: None,
            }),
        }
    }
}

impl<D> Clone for Life<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Inactive(definition) => Self::Inactive(Arc::clone(definition)),
            Self::Active { live, next } => Self::Active {
                live: Arc::clone(live),
                next: next.clone(),
            },
        }
    }
}

/// All that is published of an object at one moment.
pub struct Snapshot<K: Kind> {
    /// Running or not, and the definitions.
    pub life: Life<K::Definition>,
    /// The driver's part.
    pub state: K::State,
    /// Started with the host.
    pub autostart: bool,
    /// Started with the host the next time only.
    pub autostart_once: bool,
}

impl<K: Kind> Snapshot<K> {
    /// The name.
    pub fn name(&self) -> &str {
        self.life.current().name()
    }

    /// Whether the object runs.
    pub fn is_active(&self) -> bool {
        self.life.is_active()
    }

    /// Whether the object stays when it stops.
    pub fn is_persistent(&self) -> bool {
        self.life.is_persistent()
    }
}

impl<K: Kind> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Self {
            life: self.life.clone(),
            state: self.state.clone(),
            autostart: self.autostart,
            autostart_once: self.autostart_once,
        }
    }
}

/// An object of the registry. Reading takes no lock; changing is for whoever holds its [`JobLane`].
pub struct Object<K: Kind> {
    uuid: Option<Uuid>,
    /// Made when it is first asked for: of thousands of objects few are ever changed.
    lane: OnceLock<Arc<JobLane>>,
    lane_settings: Arc<LaneSettings>,
    snapshot: ArcSwap<Snapshot<K>>,
    /// Orders those who publish; held for making the new snapshot from the old.
    publishing: Mutex<()>,
    /// Whether lookups find it: not before its first definition is durable, not after its removal.
    pub(super) visible: AtomicBool,
    /// Its place in the order of the index, and the further keys that lead to it: removing costs no search.
    pub(super) place: Mutex<(u64, Vec<K::Key>)>,
    events: OrderedEvents<K::Event>,
    private: K::Private,
}

impl<K: Kind> Object<K> {
    pub(super) fn new(snapshot: Snapshot<K>, lane_settings: Arc<LaneSettings>, private: K::Private) -> Self {
        Self {
            uuid: snapshot.life.current().uuid(),
            lane: OnceLock::new(),
            lane_settings,
            snapshot: ArcSwap::from_pointee(snapshot),
            publishing: Mutex::new(()),
            visible: AtomicBool::new(false),
            place: Mutex::new((0, Vec::new())),
            events: OrderedEvents::new(),
            private,
        }
    }

    /// The UUID, where the kind has one. Never changes.
    pub fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }

    /// Who may change the object.
    pub fn lane(&self) -> &Arc<JobLane> {
        self.lane
            .get_or_init(|| JobLane::of(Arc::clone(&self.lane_settings), None))
    }

    /// What is published now. Takes no lock.
    pub fn snapshot(&self) -> Arc<Snapshot<K>> {
        self.snapshot.load_full()
    }

    /// Publishes what `change` makes of the present snapshot. For whoever holds the lane, and for events that only
    /// touch the driver's part.
    pub fn publish(&self, change: impl FnOnce(&mut Snapshot<K>)) {
        let _publishing = self.publishing.lock();
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// What the driver keeps with it.
    pub fn private(&self) -> &K::Private {
        &self.private
    }

    /// What has happened and is to be told.
    pub fn events(&self) -> &OrderedEvents<K::Event> {
        &self.events
    }

    /// Whether lookups find the object.
    pub fn is_visible(&self) -> bool {
        self.visible.load(Ordering::Acquire)
    }
}

impl<K: Kind> fmt::Debug for Object<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", K::NOUN, self.snapshot().name())
    }
}
