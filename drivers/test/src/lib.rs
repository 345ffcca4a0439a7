//! The test driver: a hypervisor that exists in memory only.
//!
//! `test:///default` is one simulated host with one guest, shared by all connections of the process;
//! `test:///path/file.xml` is a host of its own, described by a file. Nothing leaves the process, so it is what
//! programs are tried on, and the smallest driver that uses the whole registry kit.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | one simulated host: its guests, what it tells to whom |
//! | [`node`], [`capabilities`] | the host's hardware, and what it says of itself |
//! | [`definition`] | a domain's document, complete |
//! | [`domain`] | a guest in the registry: its state, its events |
//! | [`life`], [`changes`], [`moments`] | what happens to guests, what is done to definitions, snapshots and checkpoints |
//! | [`messages`] | what is worth a word about a definition |
//! | [`connection`] | the procedures of the host and its guests |
//! | [`networks`], [`interfaces`], [`pools`], [`devices`] | what else the host has, each with its procedures |
//! | [`shared`] | what these four share |
//!
//! Start at [`TestDriver`].
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use virt_api::driver::{CONNECT_RO, Driver, DriverConnection, OpenContext};
use virt_util::uri::Uri;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

pub mod auth;
pub mod capabilities;
pub mod changes;
pub mod connection;
pub mod definition;
pub mod devices;
pub mod domain;
pub mod hotplug;
pub mod interfaces;
pub mod life;
pub mod messages;
pub mod moments;
pub mod networks;
pub mod node;
pub mod pools;
pub mod shared;
pub mod world;

use connection::TestConnection;
use world::World;

/// The driver.
#[derive(Debug, Default)]
pub struct TestDriver {
    /// The default host, as long as a connection to it is open.
    default: Mutex<Weak<World>>,
}

impl TestDriver {
    fn default_world(&self) -> Result<Arc<World>> {
        let mut default = self.default.lock();
        if let Some(world) = default.upgrade() {
            return Ok(world);
        }
        let world = World::default_host()?;
        *default = Arc::downgrade(&world);
        Ok(world)
    }
}

impl Driver for TestDriver {
    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        let unsupported = cx.flags() & !CONNECT_RO;
        if unsupported != 0 {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported flags ({unsupported:#x}) in function testConnectOpen"),
            ));
        }
        let uri = Uri::parse(cx.uri())?;
        let world = match uri.path.as_str() {
            "" | "/" => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    "the URI has no path: expected test:///default or the path of a document",
                ));
            }
            "/default" => self.default_world()?,
            path => World::from_file(path.as_ref())?,
        };
        auth::check(&world, cx)?;
        world.set_host(cx.host());
        world.events().attach(cx.events());
        Ok(Box::new(TestConnection::new(world, cx)))
    }
}

virt_api::driver!("test", TestDriver);

/// An error of this driver.
pub(crate) fn error(code: ErrorCode, detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(code, detail).in_domain(ErrorDomain::TEST)
}
