//! The kit for objects that live on this host: domains, networks, pools, filters, secrets …
//!
//! The kinds share much and differ in keys and life, so this is a box of parts, not a base class. A driver takes the
//! parts it has; drivers whose hypervisor is the truth keep no store and take none.
//!
//! | part | for |
//! |---|---|
//! | [`Kind`], [`Definition`] | what the kit must know of a kind |
//! | [`Registry`] | all objects of a kind by name, UUID and further keys; collisions |
//! | [`Object`], [`Snapshot`], [`Life`] | one object: live and next definition, published as snapshots |
//! | [`Affected`] | which of the two definitions a call means |
//! | [`job`] | who may change an object now, who waits, what runs beside |
//! | [`Store`], [`StatusFolder`] | definitions, autostart links and status files on disk |
//! | [`secrets`] | definitions and values of secrets on disk |
//! | [`moments`] | the snapshots or the checkpoints of a guest |
//! | [`volumes`] | the volumes of a pool, by name, key and path |
//! | [`Clash`] | what keeps a definition from being taken in |
//! | [`networks`], [`filters`] | the files, keys and rules of networks with ports, of filters with bindings |
//! | [`OrderedEvents`] | what happened to an object, told in order |
//! | [`passes`], [`guest_matches`] | which objects a listing asks for |
//!
//! A change goes: take the lane ([`Registry::enter`] or [`job::JobLane::begin`]), make it durable, commit and publish,
//! let the lane go, tell the events. Reading takes a snapshot and no lock.

mod clash;
mod events;
mod filter;
pub mod filters;
mod impact;
mod index;
mod interfaces;
pub mod job;
mod kind;
pub mod moments;
pub mod networks;
mod node_devices;
mod object;
mod pools;
pub mod secrets;
mod store;
#[cfg(test)]
mod survival;
pub mod volumes;

pub use clash::Clash;
pub use events::OrderedEvents;
pub use filter::{GuestFacts, guest_matches, passes};
pub use impact::Affected;
pub use index::{Entered, NameReservation, Purpose, Registry};
pub use kind::{Definition, Kind};
pub use object::{Life, Object, Snapshot};
pub use store::{DiskFormat, LoadResult, Loaded, StatusFolder, Store, with_header};
