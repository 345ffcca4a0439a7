//! What QEMU does by itself becomes published state, status files and events.

use std::sync::{Arc, Weak};

use serde_json::Value;
use virt_conf::domain::lifecycle::LifecycleAction;

use super::domain_events::{self, Told};
use super::object::{GuestEvent, GuestObject, LiveObject as _};
use super::world::World;
use super::{agent, life};
use crate::agent::Awaited;
use crate::monitor::Event;
use crate::process::guest::{Guest, GuestWatcher, Happening};
use crate::process::state::Ending;

/// Listens to one run of one guest.
pub struct Watcher {
    world: Weak<World>,
    object: Weak<GuestObject>,
}

impl Watcher {
    /// For a run of `object`.
    pub fn new(world: &Arc<World>, object: &Arc<GuestObject>) -> Self {
        Self {
            world: Arc::downgrade(world),
            object: Arc::downgrade(object),
        }
    }
}

impl GuestWatcher for Watcher {
    fn happened(&self, guest: &Arc<Guest>, what: Happening) {
        // A host that is closed leaves its guests to the next process.
        let (Some(world), Some(object)) = (self.world.upgrade(), self.object.upgrade()) else {
            return;
        };
        match what {
            Happening::State(_) => life::publish_state(&world, &object, guest),
            Happening::Save => save(&world, &object, guest),
            Happening::Lifecycle(told) => GuestEvent::lifecycle(&object, told),
            Happening::Rebooted => GuestEvent::reboot(&object),
            Happening::Event(event) => event_of_qemu(&world, &object, guest, event),
            Happening::Silent(commands) => {
                let text = format!("QEMU does not answer {}", commands.join(", "));
                tracing::warn!(guest = guest.name(), "{text}");
                object.publish(|snapshot| snapshot.state.messages = vec![text]);
                GuestEvent::control_error(&object);
            }
            Happening::LateReply(command, reply) => {
                tracing::warn!(
                    guest = guest.name(),
                    "'{command}' was answered late, {}",
                    if reply.is_ok() {
                        "with success"
                    } else {
                        "with an error"
                    }
                );
                object.publish(|snapshot| snapshot.state.messages.clear());
                // Whatever it did, the guest's state is asked for anew.
                let limit = virt_util::time::Deadline::after(std::time::Duration::from_secs(30));
                if let Err(error) = guest.refresh_state(limit, &virt_util::time::Cancel::never()) {
                    tracing::warn!(guest = guest.name(), "{error:#}");
                }
                if !life::is_in_doubt(&object) {
                    life::end_doubt(&object);
                }
            }
            Happening::MonitorLost(why) => {
                let why = why.map_or_else(|| "closed".to_owned(), |error| error.message().to_owned());
                tracing::error!(guest = guest.name(), "the monitor is lost: {why}");
                object.publish(|snapshot| {
                    snapshot.state.messages = vec![format!("the monitor is lost: {why}")];
                });
                GuestEvent::control_error(&object);
            }
            Happening::Ended(reason) => world.forget_run(&object, reason),
        }
        world.tell(&object);
    }
}

/// Clients are told what it means, then the event itself; the agent may wait for it.
fn event_of_qemu(world: &Arc<World>, object: &Arc<GuestObject>, guest: &Guest, event: Event) {
    let agent = &object.private().agent;
    match event.name.as_str() {
        "SHUTDOWN" => agent.notify(Awaited::Shutdown),
        "RESET" => agent.notify(Awaited::Reset),
        "SUSPEND" | "SUSPEND_DISK" => agent.notify(Awaited::Suspend),
        "VSERPORT_CHANGE" => {
            let alias = event.data.get("id").and_then(Value::as_str);
            let open = event.data.get("open").and_then(Value::as_bool);
            if let (Some(alias), Some(open)) = (alias, open) {
                agent::port_changed(world, object, alias, open, false);
                save(world, object, guest);
            }
        }
        _ => {}
    }
    // Most events change nothing: only those that do are worth another publication.
    let mut domain = object.snapshot().life.current().domain.clone();
    let meaning = domain_events::read(&event, &mut domain);
    if meaning.changed {
        object.change_live(|live| {
            domain_events::read(&event, live);
        });
        save(world, object, guest);
    }
    for told in meaning.told {
        if let Told::IoError { alias, .. } = &told {
            let reason = event.data.get("reason").and_then(Value::as_str);
            let node = event.data.get("node-name").and_then(Value::as_str);
            guest.log_line(format_args!(
                "IO error device='{alias}' node-name='{}' reason='{}'",
                node.unwrap_or_default(),
                reason.unwrap_or_default()
            ));
        }
        GuestEvent::told(object, told);
    }
    GuestEvent::monitor(object, event);
}

fn save(world: &World, object: &GuestObject, guest: &Guest) {
    if let Err(error) = world.save_status(object, guest) {
        tracing::error!(
            guest = guest.name(),
            "the status file cannot be written: {error:#}"
        );
    }
}

/// What a lifecycle action means for the process.
pub fn ending(action: LifecycleAction) -> Ending {
    match action {
        LifecycleAction::Destroy | LifecycleAction::CoredumpDestroy => Ending::Destroy,
        LifecycleAction::Restart | LifecycleAction::RenameRestart | LifecycleAction::CoredumpRestart => {
            Ending::Restart
        }
        LifecycleAction::Preserve => Ending::Preserve,
    }
}
