//! What keeps the daemon from ending for lack of work, and delays the going down of the host: drivers with something
//! running hold it, and while anybody does, logind's shutdown lock is held too.
//!
//! logind may be missing, or come and go: then there is nothing to delay, and nobody is told but the log.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use virt_util::{ErrorCode, Result, VirtError};
use zbus::export::futures_core::Stream;
use zbus::{Connection, MessageStream, OwnedFd};

/// How many hold the daemon.
#[derive(Debug)]
pub struct Inhibitions {
    count: watch::Sender<usize>,
}

impl Inhibitions {
    /// Nobody holds it yet.
    pub fn new() -> Self {
        Self {
            count: watch::Sender::new(0),
        }
    }

    /// One more holds it, or one fewer (`virInhibitor` of a driver, `Host::inhibit`).
    pub fn change(&self, inhibited: bool) {
        self.count.send_modify(|count| {
            *count = if inhibited {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        });
    }

    /// How many hold it now.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Hears of every change.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }
}

impl Default for Inhibitions {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds logind's shutdown lock while anybody holds the daemon. Ends when `changes` is closed.
pub async fn follow(mut changes: watch::Receiver<usize>, bus: Bus) {
    let mut lock: Option<OwnedFd> = None;
    loop {
        let held = *changes.borrow_and_update() > 0;
        if !held {
            lock = None;
        } else if lock.is_none() {
            lock = match take_lock(&bus).await {
                Ok(lock) => Some(lock),
                Err(error) => {
                    tracing::debug!("no shutdown lock: {error}");
                    None
                }
            };
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when the host is about to go down.
///
/// # Errors
/// If there is nobody who would tell.
pub async fn host_goes_down(bus: &Bus) -> Result<()> {
    let rule = "type='signal',interface='org.freedesktop.login1.Manager',\
                member='PrepareForShutdown',path='/org/freedesktop/login1'";
    let connection = bus.connect().await?;
    let mut signals = MessageStream::for_match_rule(rule, &connection, None)
        .await
        .map_err(|error| no_bus(&error))?;
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut signals).poll_next(cx)).await;
        match next {
            Some(Ok(message)) if message.body().deserialize::<bool>().unwrap_or(false) => return Ok(()),
            Some(_) => {}
            None => {
                return Err(VirtError::new(
                    ErrorCode::DBUS_SERVICE,
                    "the system bus has closed",
                ));
            }
        }
    }
}

/// Where the system's services are found.
#[derive(Clone, Debug, Default)]
pub enum Bus {
    /// The system bus.
    #[default]
    System,
    /// A bus at this address, for tests.
    At(String),
}

impl Bus {
    async fn connect(&self) -> Result<Connection> {
        let connecting = async {
            match self {
                Self::System => Connection::system().await,
                Self::At(address) => zbus::connection::Builder::address(address.as_str()).build().await,
            }
        };
        // A bus that accepts and says nothing must not hang the caller.
        tokio::time::timeout(Duration::from_secs(10), connecting)
            .await
            .map_err(|_| VirtError::new(ErrorCode::DBUS_SERVICE, "the system bus does not answer"))?
            .map_err(|error| no_bus(&error))
    }
}

async fn take_lock(bus: &Bus) -> Result<OwnedFd> {
    let connection = bus.connect().await?;
    let asking = connection.call_method(
        Some("org.freedesktop.login1"),
        "/org/freedesktop/login1",
        Some("org.freedesktop.login1.Manager"),
        "Inhibit",
        &(
            "shutdown",
            "Libvirt",
            "guests have to be saved or stopped",
            "delay",
        ),
    );
    let reply = tokio::time::timeout(Duration::from_secs(10), asking)
        .await
        .map_err(|_| VirtError::new(ErrorCode::DBUS_SERVICE, "logind does not answer"))?
        .map_err(|error| no_bus(&error))?;
    reply.body().deserialize().map_err(|error| no_bus(&error))
}

fn no_bus(error: &zbus::Error) -> VirtError {
    VirtError::new(ErrorCode::DBUS_SERVICE, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_counted() {
        let inhibitions = Inhibitions::new();
        let changes = inhibitions.watch();
        inhibitions.change(true);
        inhibitions.change(true);
        inhibitions.change(false);
        assert_eq!((inhibitions.count(), *changes.borrow()), (1, 1));
        inhibitions.change(false);
        inhibitions.change(false);
        assert_eq!(inhibitions.count(), 0, "one release too many is forgiven");
    }
}
