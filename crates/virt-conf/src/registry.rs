//! The kit for objects that live on this host: domains, networks, pools, filters, secrets …
//!
//! The kinds share much and differ in keys and life, so this is a box of parts, not a base class. A driver takes the
//! parts it has; drivers whose hypervisor is the truth keep no store and take none.
//!
//! | part | for |
//! |---|---|
//! | [`job`] | who may change an object now, who waits, what runs beside |

pub mod job;
