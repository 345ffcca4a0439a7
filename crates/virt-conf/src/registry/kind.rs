//! What the kit must know of a kind of object.

use std::fmt;
use std::hash::Hash;

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::clash::Clash;
use super::object::Snapshot;

/// A kind of object: domains of one driver, networks, secrets …
pub trait Kind: Sized + 'static {
    /// What users define.
    type Definition: Definition;
    /// What the driver publishes with each snapshot beside the definitions: state, reason, id …
    type State: Clone + Default + fmt::Debug + Send + Sync;
    /// What the driver keeps with the object and does not publish: connections, counters, locks.
    type Private: Send + Sync;
    /// Unique keys beside name and UUID: a domain's id, a secret's usage. `()` for kinds without.
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync;
    /// What happens to objects of this kind and is told to clients.
    type Event: Send;

    /// What messages call one: `domain`, `storage pool`.
    const NOUN: &'static str;
    /// What messages about collisions call one, where libvirt is shorter there: `pool`.
    const SHORT_NOUN: &'static str = Self::NOUN;
    /// The code for one that is not there.
    const NOT_FOUND: ErrorCode;
    /// The part of the system that reports errors.
    const ERROR_DOMAIN: ErrorDomain;
    /// The part of the system that reports collisions, where the list of objects is not the driver's own.
    const CLASH_DOMAIN: ErrorDomain = Self::ERROR_DOMAIN;

    /// The further keys that a definition takes by itself, for as long as its object is there. Keys that come and go are
    /// for [`super::Registry::bind`].
    fn keys(_definition: &Self::Definition) -> Vec<Self::Key> {
        Vec::new()
    }

    /// Whether `new` may take the place of what the object of its UUID has.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_FAILED` for another name, unless the kind has its own rule.
    fn check_redefinition(known: &Snapshot<Self>, new: &Self::Definition) -> Result<()> {
        if known.name() == new.name() {
            return Ok(());
        }
        Err(Self::clash(&Clash::Uuid {
            name: known.name(),
            uuid: known.life.current().uuid(),
        }))
    }

    /// Whether `new` may stand beside an object of another name: where two objects cannot have the same source. It is asked
    /// about every object, so it must be quick; kinds without such a rule say so in [`Kind::HAS_NEIGHBOUR_RULE`].
    ///
    /// # Errors
    /// The kind's own.
    fn check_neighbour(_known: &Snapshot<Self>, _new: &Self::Definition) -> Result<()> {
        Ok(())
    }

    /// Whether [`Kind::check_neighbour`] says anything.
    const HAS_NEIGHBOUR_RULE: bool = false;

    /// The error for a definition whose further key another object has.
    fn key_taken(known: &Snapshot<Self>, key: &Self::Key) -> VirtError {
        error::<Self>(
            ErrorCode::OPERATION_FAILED,
            format_args!("{key:?} belongs to {} '{}'", Self::SHORT_NOUN, known.name()),
        )
    }

    /// The error for a definition that clashes with an object.
    fn clash(clash: &Clash<'_>) -> VirtError {
        clash.usual::<Self>()
    }

    /// What is said of a name that no object has.
    fn no_such_name(name: &str) -> String {
        format!("no {} with matching name '{name}'", Self::NOUN)
    }
}

/// What users define.
pub trait Definition: Send + Sync + 'static {
    /// The name, unique in its kind.
    fn name(&self) -> &str;

    /// The UUID, where the kind has one.
    fn uuid(&self) -> Option<Uuid>;
}

/// An error of this kind's part of the system.
pub(super) fn error<K: Kind>(code: ErrorCode, detail: impl fmt::Display) -> VirtError {
    VirtError::new(code, detail).in_domain(K::ERROR_DOMAIN)
}

/// For messages: the UUID, or nothing for kinds without.
pub(super) fn with_uuid(uuid: Option<Uuid>) -> String {
    uuid.map_or_else(String::new, |uuid| {
        format!(" with uuid {}", virt_util::uuid::format(&uuid))
    })
}
