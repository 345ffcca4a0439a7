//! All objects of a kind, found by name, UUID and further keys.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use virt_util::time::{Clock, SystemClock};
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result, VirtError};

use super::clash::Clash;
use super::job::{Asker, Job, JobGuard, LaneLimits, LaneSettings};
use super::kind::{Definition, Kind, error};
use super::object::{Life, Object, Snapshot};

/// Why an object of some name and UUID is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To store a definition; it may run already.
    Define,
    /// To run it; it must not run already.
    Create,
}

/// The objects of a kind.
pub struct Registry<K: Kind> {
    lane_settings: Arc<LaneSettings>,
    /// Held for map operations only, never across I/O, events or a wait.
    index: RwLock<Index<K>>,
}

struct Index<K: Kind> {
    by_uuid: HashMap<Uuid, Arc<Object<K>>>,
    by_name: HashMap<String, Arc<Object<K>>>,
    by_key: HashMap<K::Key, Arc<Object<K>>>,
    /// In the order of entry, which is the order of lists.
    all: BTreeMap<u64, Arc<Object<K>>>,
    next: u64,
    /// Names that a rename is about to take.
    reserved: HashSet<String>,
}

impl<K: Kind> Registry<K> {
    /// An empty registry with the usual limits.
    pub fn new() -> Self {
        Self::with(LaneLimits::default(), Arc::new(SystemClock))
    }

    /// An empty registry.
    pub fn with(limits: LaneLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            lane_settings: Arc::new(LaneSettings { limits, clock }),
            index: RwLock::new(Index {
                by_uuid: HashMap::new(),
                by_name: HashMap::new(),
                by_key: HashMap::new(),
                all: BTreeMap::new(),
                next: 0,
                reserved: HashSet::new(),
            }),
        }
    }

    /// The object of that UUID.
    pub fn by_uuid(&self, uuid: &Uuid) -> Option<Arc<Object<K>>> {
        visible(self.index.read().by_uuid.get(uuid))
    }

    /// The object of that name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Object<K>>> {
        visible(self.index.read().by_name.get(name))
    }

    /// The object of that further key.
    pub fn by_key(&self, key: &K::Key) -> Option<Arc<Object<K>>> {
        visible(self.index.read().by_key.get(key))
    }

    /// [`Registry::by_uuid`] with the error for none; `name` is for the message.
    pub fn find_uuid(&self, uuid: &Uuid, name: Option<&str>) -> Result<Arc<Object<K>>> {
        self.by_uuid(uuid).ok_or_else(|| {
            let name = name.map_or_else(String::new, |name| format!(" ({name})"));
            let uuid = virt_util::uuid::format(uuid);
            error::<K>(
                K::NOT_FOUND,
                format_args!("no {} with matching uuid '{uuid}'{name}", K::NOUN),
            )
        })
    }

    /// [`Registry::by_name`] with the error for none.
    pub fn find_name(&self, name: &str) -> Result<Arc<Object<K>>> {
        self.by_name(name)
            .ok_or_else(|| error::<K>(K::NOT_FOUND, K::no_such_name(name)))
    }

    /// All objects, in the order in which they came.
    pub fn list(&self) -> Vec<Arc<Object<K>>> {
        let index = self.index.read();
        index
            .all
            .values()
            .filter(|object| object.is_visible())
            .cloned()
            .collect()
    }

    /// The objects that `wanted` picks, in the order in which they came: the children of a node device, active pools …
    pub fn select(&self, wanted: impl Fn(&Snapshot<K>) -> bool) -> Vec<Arc<Object<K>>> {
        let mut objects = self.list();
        objects.retain(|object| wanted(&object.snapshot()));
        objects
    }

    /// What is published of the objects that `wanted` picks, in the order in which they came.
    pub fn snapshots(&self, wanted: impl Fn(&Snapshot<K>) -> bool) -> impl Iterator<Item = Arc<Snapshot<K>>> {
        self.list()
            .into_iter()
            .map(|object| object.snapshot())
            .filter(move |snapshot| wanted(snapshot))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        let index = self.index.read();
        index.all.values().filter(|object| object.is_visible()).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the lane of the object that `definition` names, or of a new one that no lookup finds before
    /// [`Entered::commit`]. This settles collisions as libvirt does:
    ///
    /// * the UUID belongs to another name, or the name to another UUID: `VIR_ERR_OPERATION_FAILED`;
    /// * [`Purpose::Create`] and the object runs: `VIR_ERR_OPERATION_INVALID`;
    /// * what the kind says of redefinitions, further keys and neighbours: see [`Kind`].
    ///
    /// `fresh` makes the driver's parts of a new object.
    pub fn enter(
        &self,
        definition: &Arc<K::Definition>,
        purpose: Purpose,
        asker: &Asker,
        fresh: impl Fn() -> (K::State, K::Private),
    ) -> Result<Entered<'_, K>> {
        loop {
            let object = {
                let mut index = self.index.write();
                match index.admit(definition)? {
                    Some(known) => known,
                    None => {
                        let (state, private) = fresh();
                        return self.enter_new(&mut index, definition, asker, state, private);
                    }
                }
            };
            check_purpose(&object, purpose)?;
            let job = match object.lane().begin(Job::Modify, asker) {
                Ok(job) => job,
                // It went away while we waited: look again.
                Err(error) if error.code() == K::NOT_FOUND => continue,
                Err(error) => return Err(error.in_domain_if_none(K::ERROR_DOMAIN)),
            };
            let snapshot = object.snapshot();
            if !object.is_visible() {
                continue;
            }
            // It may have changed while we waited.
            K::check_redefinition(&snapshot, definition)?;
            check_purpose(&object, purpose)?;
            return Ok(Entered {
                registry: self,
                object,
                job: Some(job),
                fresh: false,
            });
        }
    }

    /// Whether [`Registry::enter`] would take the definition in as things are, without waiting for anybody.
    ///
    /// # Errors
    /// The collisions of [`Registry::enter`] with [`Purpose::Define`].
    pub fn admits(&self, definition: &K::Definition) -> Result<()> {
        self.index.read().admit(definition).map(drop)
    }

    fn enter_new(
        &self,
        index: &mut Index<K>,
        definition: &Arc<K::Definition>,
        asker: &Asker,
        state: K::State,
        private: K::Private,
    ) -> Result<Entered<'_, K>> {
        let snapshot = Snapshot {
            life: Life::Inactive(Arc::clone(definition)),
            state,
            autostart: false,
            autostart_once: false,
        };
        let object = Arc::new(Object::new(snapshot, Arc::clone(&self.lane_settings), private));
        // Nobody else knows the lane yet, so this does not wait.
        let job = object.lane().begin(Job::Modify, asker)?;
        index.insert(definition, &object);
        Ok(Entered {
            registry: self,
            object,
            job: Some(job),
            fresh: true,
        })
    }

    /// Puts an object in that exists already: read from disk, found running. No lane is taken, so nobody may use the
    /// registry for changes yet.
    pub fn adopt(&self, snapshot: Snapshot<K>, private: K::Private) -> Result<Arc<Object<K>>> {
        let definition = Arc::clone(snapshot.life.current());
        let mut index = self.index.write();
        if index.admit(&definition)?.is_some() {
            return Err(error::<K>(
                ErrorCode::INTERNAL_ERROR,
                format_args!("unexpected {} {} already exists", K::NOUN, definition.name()),
            ));
        }
        let object = Arc::new(Object::new(snapshot, Arc::clone(&self.lane_settings), private));
        object.visible.store(true, Ordering::Release);
        index.insert(&definition, &object);
        Ok(object)
    }

    /// Takes an object out. Everybody who waits for its lane is told that it is gone.
    pub fn remove(&self, object: &Arc<Object<K>>) {
        object.visible.store(false, Ordering::Release);
        {
            let mut index = self.index.write();
            let other = |known: &Arc<Object<K>>| !Arc::ptr_eq(known, object);
            // Names and keys may have moved on to another object, so only what still leads here goes.
            let snapshot = object.snapshot();
            if index
                .by_name
                .get(snapshot.name())
                .is_some_and(|known| !other(known))
            {
                index.by_name.remove(snapshot.name());
            }
            if let Some(uuid) = object.uuid()
                && index.by_uuid.get(&uuid).is_some_and(|known| !other(known))
            {
                index.by_uuid.remove(&uuid);
            }
            let (number, keys) = {
                let mut place = object.place.lock();
                (place.0, std::mem::take(&mut place.1))
            };
            for key in keys {
                if index.by_key.get(&key).is_some_and(|known| !other(known)) {
                    index.by_key.remove(&key);
                }
            }
            if index.all.get(&number).is_some_and(|known| !other(known)) {
                index.all.remove(&number);
            }
        }
        object.lane().remove(gone(object));
    }

    /// Makes a further key lead to an object. `VIR_ERR_OPERATION_FAILED` if it leads to another one.
    pub fn bind(&self, object: &Arc<Object<K>>, key: K::Key) -> Result<()> {
        let mut index = self.index.write();
        match index.by_key.get(&key) {
            Some(known) if !Arc::ptr_eq(known, object) => Err(K::key_taken(&known.snapshot(), &key)),
            _ => {
                object.place.lock().1.push(key.clone());
                index.by_key.insert(key, Arc::clone(object));
                Ok(())
            }
        }
    }

    /// Makes a further key lead nowhere.
    pub fn unbind(&self, key: &K::Key) {
        if let Some(object) = self.index.write().by_key.remove(key) {
            object.place.lock().1.retain(|known| known != key);
        }
    }

    /// Reserves a new name for an object whose lane the caller holds. `VIR_ERR_OPERATION_INVALID` if it is the
    /// object's own or another's.
    pub fn reserve_name<'a>(
        &'a self,
        object: &'a Arc<Object<K>>,
        name: &str,
    ) -> Result<NameReservation<'a, K>> {
        let old = object.snapshot().name().to_owned();
        if old == name {
            return Err(error::<K>(
                ErrorCode::OPERATION_INVALID,
                format_args!("Can't rename {} to itself", K::NOUN),
            ));
        }
        let mut index = self.index.write();
        if index.by_name.contains_key(name) || !index.reserved.insert(name.to_owned()) {
            return Err(error::<K>(
                ErrorCode::OPERATION_INVALID,
                format_args!("{} with name '{name}' already exists", K::NOUN),
            ));
        }
        Ok(NameReservation {
            registry: self,
            object,
            old,
            new: name.to_owned(),
        })
    }
}

impl<K: Kind> Default for Registry<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kind> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry of {} {}s", self.len(), K::NOUN)
    }
}

impl<K: Kind> Index<K> {
    /// The object that `definition` names, `None` if name and UUID are free.
    fn admit(&self, definition: &K::Definition) -> Result<Option<Arc<Object<K>>>> {
        if K::HAS_NEIGHBOUR_RULE {
            for known in self.all.values() {
                K::check_neighbour(&known.snapshot(), definition)?;
            }
        }
        let name = definition.name();
        let by_name = self.by_name.get(name);
        let known = match definition.uuid() {
            None => by_name,
            Some(uuid) => self.by_uuid.get(&uuid),
        };
        if let Some(known) = known {
            K::check_redefinition(&known.snapshot(), definition)?;
            return Ok(Some(Arc::clone(known)));
        }
        let uuid = match by_name {
            Some(known) => known.uuid(),
            None if self.reserved.contains(name) => None,
            None => {
                let keys = K::keys(definition);
                let taken = keys.iter().find_map(|key| Some((self.by_key.get(key)?, key)));
                return match taken {
                    Some((known, key)) => Err(K::key_taken(&known.snapshot(), key)),
                    None => Ok(None),
                };
            }
        };
        Err(K::clash(&Clash::Name { name, uuid }))
    }

    fn insert(&mut self, definition: &K::Definition, object: &Arc<Object<K>>) {
        if let Some(uuid) = definition.uuid() {
            self.by_uuid.insert(uuid, Arc::clone(object));
        }
        self.by_name
            .insert(definition.name().to_owned(), Arc::clone(object));
        let keys = K::keys(definition);
        for key in &keys {
            self.by_key.insert(key.clone(), Arc::clone(object));
        }
        *object.place.lock() = (self.next, keys);
        self.all.insert(self.next, Arc::clone(object));
        self.next += 1;
    }
}

/// An object whose lane is held, from [`Registry::enter`]. Dropped without [`Entered::commit`], a new object is gone
/// as if it had never been.
#[must_use]
pub struct Entered<'a, K: Kind> {
    registry: &'a Registry<K>,
    object: Arc<Object<K>>,
    job: Option<JobGuard>,
    fresh: bool,
}

impl<K: Kind> Entered<'_, K> {
    /// The object.
    pub fn object(&self) -> &Arc<Object<K>> {
        &self.object
    }

    /// Whether the object is new.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// From now on lookups find the object. Call it when what must be durable is, then publish. The lane stays held.
    pub fn commit(mut self) -> (Arc<Object<K>>, JobGuard) {
        self.object.visible.store(true, Ordering::Release);
        let object = Arc::clone(&self.object);
        match self.job.take() {
            Some(job) => (object, job),
            // Only commit takes the job, and it takes self.
            None => unreachable!("an entered object holds its lane"),
        }
    }
}

impl<K: Kind> Drop for Entered<'_, K> {
    fn drop(&mut self) {
        if self.fresh && self.job.is_some() {
            self.registry.remove(&self.object);
        }
    }
}

impl<K: Kind> fmt::Debug for Entered<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entered({:?}, fresh: {})", self.object, self.fresh)
    }
}

/// A name that an object is about to get. Dropped without [`NameReservation::commit`], it is free again.
#[must_use]
pub struct NameReservation<'a, K: Kind> {
    registry: &'a Registry<K>,
    object: &'a Arc<Object<K>>,
    old: String,
    new: String,
}

impl<K: Kind> NameReservation<'_, K> {
    /// The name that the object had.
    pub fn old(&self) -> &str {
        &self.old
    }

    /// Publishes what `change` makes of the snapshot (with definitions of the new name) and makes the new name lead to
    /// the object, the old one nowhere.
    pub fn commit(self, change: impl FnOnce(&mut Snapshot<K>)) {
        self.object.publish(change);
        let mut index = self.registry.index.write();
        index.by_name.remove(&self.old);
        index.by_name.insert(self.new.clone(), Arc::clone(self.object));
    }
}

impl<K: Kind> Drop for NameReservation<'_, K> {
    fn drop(&mut self) {
        self.registry.index.write().reserved.remove(&self.new);
    }
}

impl<K: Kind> fmt::Debug for NameReservation<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameReservation({} -> {})", self.old, self.new)
    }
}

fn visible<K: Kind>(object: Option<&Arc<Object<K>>>) -> Option<Arc<Object<K>>> {
    object.filter(|object| object.is_visible()).cloned()
}

fn check_purpose<K: Kind>(object: &Object<K>, purpose: Purpose) -> Result<()> {
    let snapshot = object.snapshot();
    if purpose == Purpose::Create && snapshot.is_active() {
        return Err(K::clash(&Clash::Active {
            name: snapshot.name(),
        }));
    }
    Ok(())
}

fn gone<K: Kind>(object: &Object<K>) -> VirtError {
    let snapshot = object.snapshot();
    let what = match object.uuid() {
        Some(uuid) => format!("uuid '{}' ({})", virt_util::uuid::format(&uuid), snapshot.name()),
        None => format!("name '{}'", snapshot.name()),
    };
    error::<K>(K::NOT_FOUND, format_args!("no {} with matching {what}", K::NOUN))
}

#[cfg(test)]
mod tests;
