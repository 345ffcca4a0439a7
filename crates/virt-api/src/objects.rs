//! What programs hold: connections, domains, streams, subscriptions.
//!
//! Every method is one call of a typed client through the connection's [`crate::routing::Router`]; what libvirt decides
//! on the client's side (which procedure serves a set of flags, what an old peer gets instead) is decided here. Objects
//! are cheap to clone, `Send` and `Sync`.
//!
//! ```
//! use virt_api::Connect;
//! use virt_util::types::{ConnectListAllDomainsFlags, DomainDestroyFlags, DomainState};
//!
//! # fn main() -> virt_util::Result<()> {
//! # #[cfg(feature = "testkit")] {
//! # use virt_api::testkit::SampleDriver;
//! // A driver that is part of the program; without it, the plugin that the URI's scheme needs is loaded.
//! let connection = Connect::builder().built_in::<SampleDriver>().uri("sample:///default").open()?;
//! for domain in connection.list_all_domains(ConnectListAllDomainsFlags::ACTIVE)? {
//!     println!("{:?} {} {}", domain.id(), domain.name(), domain.uuid());
//! }
//! let web = connection.lookup_domain_by_name("web")?;
//! web.destroy(DomainDestroyFlags::empty())?;
//! assert_eq!(web.state()?.0, DomainState::SHUTOFF);
//! # }
//! # Ok(())
//! # }
//! ```

mod builder;
mod connect;
mod domain;
mod event;
mod moments;
mod processors;
mod storage;
mod stream;

pub use builder::ConnectBuilder;
pub use connect::{Connect, NodeInfo, SecurityModel};
pub use domain::{ControlInfo, Domain, DomainInfo, SecurityLabel};
pub use event::{DomainEvent, DomainEventKind, GraphicsAddress, Subscription};
pub use moments::DomainCheckpoint;
pub use storage::{StoragePool, StorageVol};
pub use stream::{Received, Stream};

#[cfg(all(test, feature = "testkit"))]
mod tests;
