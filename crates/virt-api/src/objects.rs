//! What programs hold: connections, domains, streams, subscriptions.
//!
//! Every method is one call of a typed client through the connection's [`crate::routing::Router`]; what libvirt decides
//! on the client's side (which procedure serves a set of flags, what an old peer gets instead) is decided here. Objects
//! are cheap to clone, `Send` and `Sync`.
//!
//! ```no_run
//! use virt_api::Connect;
//! use virt_util::types::ConnectListAllDomainsFlags;
//!
//! # fn main() -> virt_util::Result<()> {
//! let connection = Connect::open("test:///default")?;
//! for domain in connection.list_all_domains(ConnectListAllDomainsFlags::empty())? {
//!     println!("{} {}", domain.name(), domain.uuid());
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod connect;
mod domain;
mod event;
mod storage;
mod stream;

pub use builder::ConnectBuilder;
pub use connect::{Connect, NodeInfo, SecurityModel};
pub use domain::{ControlInfo, Domain, DomainInfo, SecurityLabel};
pub use event::{DomainEvent, DomainEventKind, GraphicsAddress, Subscription};
pub use storage::{StoragePool, StorageVol};
pub use stream::{Received, Stream};
