//! What looks after the running daemon: its administration, its numbers, its log's way to the drivers, the locks that
//! keep the host up while guests run.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{mpsc, watch};
use virt_util::Result;

use crate::admin::{Admin, Control, Event, LiveAdmin, LiveDaemon};
use crate::logging::Logger;
use crate::metrics::{self, LiveFacts};
use crate::server::Server;
use crate::service::inhibit::{self, Bus};
use crate::service::notify::Notifier;

/// How often the service manager hears that stopping goes on, and how much longer it is asked to wait each time.
const STOPPING_NEWS: Duration = Duration::from_secs(5);

/// What the main loop waits for beside signals.
pub(super) type Attendance = UnboundedReceiver<Event>;

/// How a daemon is attended.
pub(super) struct Attending<'a> {
    /// The daemon's name.
    pub(super) name: &'a str,
    pub(super) logger: &'a Arc<Logger>,
    /// `--timeout`.
    pub(super) timeout: Option<Duration>,
    /// `--metrics`.
    pub(super) metrics: Option<&'a Path>,
    /// Whether the daemon has a root of its own, so that the host's state is not its business.
    pub(super) embedded: bool,
}

/// Puts everything in place, on the runtime that calls.
pub(super) fn attend(attending: &Attending<'_>, server: &Arc<Server>) -> Result<Attendance> {
    let (events, attendance) = mpsc::unbounded_channel();
    let control = Control::new(attending.timeout, events.clone());
    tokio::spawn(watch_idleness(
        Arc::downgrade(server),
        control.timeout(),
        events.clone(),
    ));
    let host = server.host();
    let daemon = LiveDaemon::new(attending.name, server, control);
    let admin = Admin::new(Arc::new(daemon), Arc::clone(attending.logger));
    server.set_admin(Arc::new(LiveAdmin::new(admin, host.services())));
    server.fit_workers();

    let drivers = Arc::downgrade(host);
    attending.logger.on_change(move |priority| {
        if let Some(host) = drivers.upgrade() {
            host.for_each_driver("log settings", |driver| driver.set_log(priority));
        }
    });
    if let Some(path) = attending.metrics {
        let source = Arc::new(LiveFacts::new(attending.name, server));
        tokio::spawn(metrics::serve(path, source)?);
    }
    if !attending.embedded {
        tokio::spawn(inhibit::follow(host.inhibitions().watch(), Bus::System));
        tokio::spawn(watch_host(events));
    }
    Ok(attendance)
}

/// Waits for the host to go down. Without logind nobody tells, and that is no reason to complain.
async fn watch_host(events: UnboundedSender<Event>) {
    // Nobody hears it if the daemon ends anyway.
    inhibit::tell_when_host_goes_down(&Bus::System, || _ = events.send(Event::HostGoesDown)).await;
}

/// Waits until nothing has needed the daemon for as long as it was told to stay.
async fn watch_idleness(
    server: Weak<Server>,
    mut timeout: watch::Receiver<Option<Duration>>,
    events: UnboundedSender<Event>,
) {
    loop {
        let Some(server) = server.upgrade() else { return };
        let time = *timeout.borrow_and_update();
        tokio::select! {
            () = server.idle_for(time) => {
                // Nobody hears it if the daemon ends anyway.
                let _ = events.send(Event::Idle(time.unwrap_or_default()));
            }
            changed = timeout.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Tells the service manager that `work` goes on, for as long as it does.
pub(super) async fn with_news<T>(notifier: &Notifier, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(STOPPING_NEWS) => notifier.extend_timeout(STOPPING_NEWS * 2),
        }
    }
}
