//! The remote driver: forwards every call to a daemon that speaks libvirt's protocol, libvirt's own or ours.
//!
//! | module | holds |
//! |---|---|
//! | `place` | what a URI means: transport, parameters, what the other side opens |
//! | `sockets` | sockets of daemons on this host, and starting a session's daemon |
//! | `wire` | bytes and descriptors over one socket, with or without TLS |
//! | `client` | calls, streams and events over a wire; who reads when |
//! | `stream` | streams |
//! | `events` | subscriptions |
//! | `tls` | certificates and names |
//! | `ssh` | the user's ssh and other programs as a wire |
//! | `auth` | polkit and SASL |
//! | `patience` | how long opening waits for whom |
//! | `open` | the way from a URI to an open connection |
//! | `connection` | an open connection: what is not just forwarded |
//!
//! There is no runtime and no thread here. The thread that waits for an answer reads for all (`client`), because the
//! driver also lives in a library inside programs that fork, handle signals and bring their own event loop.
#![forbid(unsafe_code)]

use parking_lot::Mutex;
use virt_api::Result;
use virt_api::driver::{Driver, DriverConnection, InitContext, OpenContext};
use virt_api::host::HostServices;

mod auth;
mod client;
mod connection;
mod events;
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod helper;
mod open;
mod patience;
mod place;
pub mod sockets;
mod ssh;
mod stream;
mod tls;
mod wire;

/// The driver.
#[derive(Default)]
pub struct Remote {
    surroundings: Mutex<open::Surroundings>,
}

impl Driver for Remote {
    fn initialize(&self, _: &HostServices, context: &InitContext) -> Result<()> {
        *self.surroundings.lock() = open::Surroundings {
            inside_daemon: context.inside_daemon,
            monolithic: context.monolithic,
        };
        Ok(())
    }

    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        let surroundings = *self.surroundings.lock();
        Ok(Box::new(open::open(cx, surroundings)?))
    }

    /// The machine's daemon for root, the user's for everybody else; what it serves it says itself.
    fn uri_probe(&self) -> Result<Option<String>> {
        if self.surroundings.lock().inside_daemon {
            return Ok(None);
        }
        let path = if nix::unistd::geteuid().is_root() {
            "system"
        } else {
            "session"
        };
        Ok(Some(format!("remote:///{path}")))
    }
}

virt_api::driver!("remote", Remote);
