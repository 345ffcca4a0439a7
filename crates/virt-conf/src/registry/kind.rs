//! What the kit must know of a kind of object.

use std::fmt;
use std::hash::Hash;

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, VirtError};

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

    /// What messages call one: `domain`.
    const NOUN: &'static str;
    /// The code for one that is not there.
    const NOT_FOUND: ErrorCode;
    /// The part of the system that reports errors.
    const ERROR_DOMAIN: ErrorDomain;
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
