//! What keeps the daemon from ending for lack of work, and delays the going down of the host: drivers with something
//! running hold it, and while anybody does, logind's shutdown lock is held too.
//!
//! logind may be missing, or come and go: then there is nothing to delay, and nobody is told but the log. One that comes
//! back is asked again.

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

/// First pause before the bus is looked for again; each one that follows is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest that somebody on the bus may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Holds logind's shutdown lock while anybody holds the daemon. Ends when `changes` is closed.
pub async fn follow(mut changes: watch::Receiver<usize>, bus: Bus) {
    loop {
        if changes.wait_for(|holders| *holders > 0).await.is_err() {
            return;
        }
        let free = async { changes.wait_for(|holders| *holders == 0).await.is_err() };
        tokio::select! {
            closed = free => if closed {
                return;
            },
            // The lock ends with this future.
            () = again_and_again(|| hold(&bus)) => {}
        }
    }
}

/// Tries what ends only by an error, with growing pauses between. It never ends.
async fn again_and_again<F: Future<Output = VirtError>>(mut what: impl FnMut() -> F) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = tokio::time::Instant::now();
        let error = what().await;
        tracing::debug!("logind: {error}; trying again in {} s", pause.as_secs());
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Holds the lock for as long as the bus is there. A logind that comes anew is asked anew: it may know nothing of the lock
/// that its predecessor gave.
async fn hold(bus: &Bus) -> VirtError {
    let holding = async {
        let connection = bus.connect().await?;
        let rule = "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
                    member='NameOwnerChanged',arg0='org.freedesktop.login1'";
        let mut owners = MessageStream::for_match_rule(rule, &connection, None)
            .await
            .map_err(|error| no_bus(&error))?;
        let mut lock: Option<OwnedFd> = None;
        loop {
            match take_lock(&connection).await {
                // The old one, if any, goes only now.
                Ok(fresh) => lock = Some(fresh),
                Err(error) => tracing::debug!("no shutdown lock: {error}"),
            }
            let comes = next_owner(&mut owners);
            if lock.is_some() {
                comes.await?;
            } else {
                // Whether it comes or not, it is asked again.
                let _ = tokio::time::timeout(LONGEST_PAUSE, comes).await;
            }
        }
    };
    let ended: Result<std::convert::Infallible> = holding.await;
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Returns when somebody has taken logind's name.
async fn next_owner(signals: &mut MessageStream) -> Result<()> {
    loop {
        let message = next(signals).await?;
        let owner = message.body().deserialize::<(String, String, String)>();
        if owner.is_ok_and(|(_, _, fresh)| !fresh.is_empty()) {
            return Ok(());
        }
    }
}

/// The next message.
async fn next(signals: &mut MessageStream) -> Result<zbus::Message> {
    match std::future::poll_fn(|cx| Pin::new(&mut *signals).poll_next(cx)).await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(no_bus(&error)),
        None => Err(VirtError::new(
            ErrorCode::DBUS_SERVICE,
            "the system bus has closed",
        )),
    }
}

/// Calls when the host is about to go down, and only then. It never ends: a bus that closes is looked for again.
pub async fn tell_when_host_goes_down(bus: &Bus, tell: impl Fn()) {
    again_and_again(async || match host_goes_down(bus).await {
        Ok(()) => {
            tell();
            VirtError::new(ErrorCode::DBUS_SERVICE, "the host goes down")
        }
        Err(error) => error,
    })
    .await;
}

/// Returns when the host is about to go down.
async fn host_goes_down(bus: &Bus) -> Result<()> {
    let rule = "type='signal',interface='org.freedesktop.login1.Manager',\
                member='PrepareForShutdown',path='/org/freedesktop/login1'";
    let connection = bus.connect().await?;
    let mut signals = MessageStream::for_match_rule(rule, &connection, None)
        .await
        .map_err(|error| no_bus(&error))?;
    loop {
        let message = next(&mut signals).await?;
        if message.body().deserialize::<bool>().unwrap_or(false) {
            return Ok(());
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
        tokio::time::timeout(ANSWER, connecting)
            .await
            .map_err(|_| VirtError::new(ErrorCode::DBUS_SERVICE, "the system bus does not answer"))?
            .map_err(|error| no_bus(&error))
    }
}

async fn take_lock(connection: &Connection) -> Result<OwnedFd> {
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
    let reply = tokio::time::timeout(ANSWER, asking)
        .await
        .map_err(|_| VirtError::new(ErrorCode::DBUS_SERVICE, "logind does not answer"))?
        .map_err(|error| no_bus(&error))?;
    reply.body().deserialize().map_err(|error| no_bus(&error))
}

fn no_bus(error: &zbus::Error) -> VirtError {
    VirtError::new(ErrorCode::DBUS_SERVICE, error)
}

#[cfg(test)]
mod tests;
