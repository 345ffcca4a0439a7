//! What a guest is doing and why, and what QEMU's events make of it. Pure: [`Machine::on_event`] says what has to be
//! done, others do it.

use serde_json::Value;
use virt_util::types::{
    DomainEventCrashedDetail, DomainEventPmSuspendedDetail, DomainEventResumedDetail,
    DomainEventShutdownDetail, DomainEventStartedDetail, DomainEventStoppedDetail,
    DomainEventSuspendedDetail, DomainEventType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState,
};

use crate::monitor::Event;

/// `VIR_DOMAIN_CRASHED_PANICKED`.
const CRASHED_PANICKED: i32 = 1;

/// A state with its reason, whose meaning depends on the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestState {
    /// What it is doing.
    pub state: DomainState,
    /// Why, as a member of the state's own enum.
    pub reason: i32,
}

/// Reasons by libvirt's words in status files, in the order of their numbers.
fn reason_words(state: DomainState) -> &'static [&'static str] {
    match state {
        DomainState::RUNNING => &[
            "unknown",
            "booted",
            "migrated",
            "restored",
            "from snapshot",
            "unpaused",
            "migration canceled",
            "save canceled",
            "wakeup",
            "crashed",
            "post-copy",
            "post-copy failed",
        ],
        DomainState::PAUSED => &[
            "unknown",
            "user",
            "migration",
            "save",
            "dump",
            "ioerror",
            "watchdog",
            "from snapshot",
            "shutdown",
            "snapshot",
            "panicked",
            "starting up",
            "post-copy",
            "post-copy failed",
            "api error",
        ],
        DomainState::SHUTDOWN => &["unknown", "user"],
        DomainState::SHUTOFF => &[
            "unknown",
            "shutdown",
            "destroyed",
            "crashed",
            "migrated",
            "saved",
            "failed",
            "from snapshot",
            "daemon",
        ],
        DomainState::CRASHED => &["unknown", "panicked"],
        _ => &["unknown"],
    }
}

/// States by libvirt's words, in the order of their numbers.
const STATE_WORDS: [&str; 8] = [
    "nostate",
    "running",
    "blocked",
    "paused",
    "shutdown",
    "shutoff",
    "crashed",
    "pmsuspended",
];

impl GuestState {
    /// Running, for this reason.
    pub fn running(reason: DomainRunningReason) -> Self {
        Self {
            state: DomainState::RUNNING,
            reason: reason.0,
        }
    }

    /// Paused, for this reason.
    pub fn paused(reason: DomainPausedReason) -> Self {
        Self {
            state: DomainState::PAUSED,
            reason: reason.0,
        }
    }

    /// Off, for this reason.
    pub fn shut_off(reason: DomainShutoffReason) -> Self {
        Self {
            state: DomainState::SHUTOFF,
            reason: reason.0,
        }
    }

    /// In `state` for reasons unknown.
    pub fn unexplained(state: DomainState) -> Self {
        Self { state, reason: 0 }
    }

    /// The guest's own system has crashed.
    pub fn panicked() -> Self {
        Self {
            state: DomainState::CRASHED,
            reason: CRASHED_PANICKED,
        }
    }

    /// As every guest begins: its processors do not run yet.
    pub fn starting_up() -> Self {
        Self::paused(DomainPausedReason::STARTING_UP)
    }

    /// libvirt's word for the state.
    pub fn state_word(self) -> &'static str {
        usize::try_from(self.state.0)
            .ok()
            .and_then(|number| STATE_WORDS.get(number))
            .copied()
            .unwrap_or("nostate")
    }

    /// libvirt's word for the reason.
    pub fn reason_word(self) -> &'static str {
        usize::try_from(self.reason)
            .ok()
            .and_then(|number| reason_words(self.state).get(number))
            .copied()
            .unwrap_or("unknown")
    }

    /// From libvirt's words.
    pub fn from_words(state: &str, reason: &str) -> Option<Self> {
        let number = STATE_WORDS.iter().position(|word| *word == state)?;
        let state = DomainState(i32::try_from(number).ok()?);
        let number = reason_words(state).iter().position(|word| *word == reason)?;
        Some(Self {
            state,
            reason: i32::try_from(number).ok()?,
        })
    }
}

/// libvirt's word for why a guest is off, as logs and hooks use it.
pub fn shutoff_word(reason: DomainShutoffReason) -> &'static str {
    GuestState::shut_off(reason).reason_word()
}

/// Something that happened in a guest's life, as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// What.
    pub event: DomainEventType,
    /// How, as a member of the event's own enum.
    pub detail: i32,
}

impl Lifecycle {
    /// It has been started.
    pub fn started(detail: DomainEventStartedDetail) -> Self {
        Self {
            event: DomainEventType::STARTED,
            detail: detail.0,
        }
    }

    /// It has ended.
    pub fn stopped(detail: DomainEventStoppedDetail) -> Self {
        Self {
            event: DomainEventType::STOPPED,
            detail: detail.0,
        }
    }

    /// Its processors do not run.
    pub fn suspended(detail: DomainEventSuspendedDetail) -> Self {
        Self {
            event: DomainEventType::SUSPENDED,
            detail: detail.0,
        }
    }
}

/// How a guest ended, for its end's event.
pub fn stopped_detail(reason: DomainShutoffReason) -> DomainEventStoppedDetail {
    match reason {
        DomainShutoffReason::SHUTDOWN => DomainEventStoppedDetail::SHUTDOWN,
        DomainShutoffReason::DESTROYED => DomainEventStoppedDetail::DESTROYED,
        DomainShutoffReason::MIGRATED => DomainEventStoppedDetail::MIGRATED,
        DomainShutoffReason::SAVED => DomainEventStoppedDetail::SAVED,
        DomainShutoffReason::FROM_SNAPSHOT => DomainEventStoppedDetail::FROM_SNAPSHOT,
        // QEMU went without a word: clients know that as "failed".
        _ => DomainEventStoppedDetail::FAILED,
    }
}

/// What is done when the guest's system ends or breaks: `on_poweroff`, `on_crash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The process ends.
    #[default]
    Destroy,
    /// The machine is reset and runs again.
    Restart,
    /// It stays as it is.
    Preserve,
}

/// What has to be done after an event, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The state is another: readers see it, the status file has to say it.
    State(GuestState),
    /// Clients are told.
    Lifecycle(Lifecycle),
    /// Clients are told that the guest has restarted by itself.
    Rebooted,
    /// The status file has to be written though the state is the same.
    Save,
    /// The guest has shut down, QEMU waits: it has to be ended.
    Terminate,
    /// The guest has shut down in order to start again: reset the machine and let it run.
    Restart(DomainRunningReason),
    /// An event that the lifecycle has no part in, or that clients also see as it is.
    Report(Event),
}

/// What is known of a running guest and turns events into states.
#[derive(Clone, Debug)]
pub struct Machine {
    state: GuestState,
    /// What the next STOP means.
    pub next_pause: Option<DomainPausedReason>,
    /// What the next RESUME means.
    pub next_run: Option<DomainRunningReason>,
    /// The next shutdown of the guest is a reboot that was asked for.
    pub fake_reboot: bool,
    /// The guest has shut down in order to start again; its STOP is not for others to see.
    restarting: bool,
    /// What a shutdown of the guest's system leads to.
    pub on_poweroff: Ending,
    /// What a crash of the guest's system leads to.
    pub on_crash: Ending,
}

impl Machine {
    /// A machine in `state`.
    pub fn new(state: GuestState) -> Self {
        Self {
            state,
            next_pause: None,
            next_run: None,
            fake_reboot: false,
            restarting: false,
            on_poweroff: Ending::Destroy,
            on_crash: Ending::Destroy,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> GuestState {
        self.state
    }

    /// Sets the state for what QEMU has no event for.
    pub fn set_state(&mut self, state: GuestState) {
        self.state = state;
    }

    /// The restart that followed a shutdown is done, or given up.
    pub fn restart_done(&mut self) {
        self.restarting = false;
        self.fake_reboot = false;
    }

    fn is(&self, state: DomainState) -> bool {
        self.state.state == state
    }

    fn change(&mut self, state: GuestState, told: Option<Lifecycle>) -> Vec<Effect> {
        self.state = state;
        let mut effects = vec![Effect::State(state)];
        effects.extend(told.map(Effect::Lifecycle));
        effects
    }

    /// Takes an event of QEMU's.
    pub fn on_event(&mut self, event: Event) -> Vec<Effect> {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str);
        match event.name.as_str() {
            "SHUTDOWN" => {
                let by_guest = event.data.get("guest").and_then(Value::as_bool);
                self.on_shutdown(by_guest)
            }
            "STOP" => self.on_stop(),
            "RESUME" => self.on_resume(),
            "RESET" => self.on_reset(),
            "SUSPEND" => self.on_sleep(DomainEventPmSuspendedDetail::MEMORY, event),
            "SUSPEND_DISK" => self.on_sleep(DomainEventPmSuspendedDetail::DISK, event),
            "WAKEUP" => self.on_wakeup(event),
            "WATCHDOG" => {
                let pauses = text("action") == Some("pause");
                self.on_trouble(
                    pauses,
                    DomainPausedReason::WATCHDOG,
                    DomainEventSuspendedDetail::WATCHDOG,
                    event,
                )
            }
            "BLOCK_IO_ERROR" => {
                let pauses = text("action") == Some("stop");
                self.on_trouble(
                    pauses,
                    DomainPausedReason::IOERROR,
                    DomainEventSuspendedDetail::IOERROR,
                    event,
                )
            }
            "GUEST_PANICKED" => self.on_panic(event),
            "GUEST_CRASHLOADED" => vec![
                Effect::Lifecycle(Lifecycle {
                    event: DomainEventType::CRASHED,
                    detail: DomainEventCrashedDetail::CRASHLOADED.0,
                }),
                Effect::Report(event),
            ],
            _ => vec![Effect::Report(event)],
        }
    }

    fn on_shutdown(&mut self, by_guest: Option<bool>) -> Vec<Effect> {
        if self.is(DomainState::SHUTDOWN) {
            return Vec::new();
        }
        if self.fake_reboot || self.on_poweroff == Ending::Restart {
            self.restarting = true;
            return vec![Effect::Restart(self.restart_reason())];
        }
        let detail = match by_guest {
            Some(true) => DomainEventShutdownDetail::GUEST,
            Some(false) => DomainEventShutdownDetail::HOST,
            None => DomainEventShutdownDetail::FINISHED,
        };
        let told = Lifecycle {
            event: DomainEventType::SHUTDOWN,
            detail: detail.0,
        };
        let mut effects = self.change(GuestState::unexplained(DomainState::SHUTDOWN), Some(told));
        if self.on_poweroff == Ending::Destroy {
            effects.push(Effect::Terminate);
        }
        effects
    }

    fn restart_reason(&self) -> DomainRunningReason {
        if self.is(DomainState::CRASHED) {
            DomainRunningReason::CRASHED
        } else {
            DomainRunningReason::BOOTED
        }
    }

    fn on_stop(&mut self) -> Vec<Effect> {
        let reason = self.next_pause.take().unwrap_or(DomainPausedReason::UNKNOWN);
        if !self.is(DomainState::RUNNING) || self.restarting {
            return Vec::new();
        }
        let detail = match reason {
            DomainPausedReason::MIGRATION => DomainEventSuspendedDetail::MIGRATED,
            DomainPausedReason::FROM_SNAPSHOT => DomainEventSuspendedDetail::FROM_SNAPSHOT,
            DomainPausedReason::POSTCOPY => DomainEventSuspendedDetail::POSTCOPY,
            DomainPausedReason::POSTCOPY_FAILED => DomainEventSuspendedDetail::POSTCOPY_FAILED,
            DomainPausedReason::API_ERROR => DomainEventSuspendedDetail::API_ERROR,
            _ => DomainEventSuspendedDetail::PAUSED,
        };
        self.change(GuestState::paused(reason), Some(Lifecycle::suspended(detail)))
    }

    fn on_resume(&mut self) -> Vec<Effect> {
        let reason = self.next_run.take().unwrap_or(DomainRunningReason::UNPAUSED);
        if self.is(DomainState::RUNNING) {
            return Vec::new();
        }
        let detail = match reason {
            DomainRunningReason::RESTORED | DomainRunningReason::FROM_SNAPSHOT => {
                DomainEventResumedDetail::FROM_SNAPSHOT
            }
            DomainRunningReason::MIGRATED | DomainRunningReason::MIGRATION_CANCELED => {
                DomainEventResumedDetail::MIGRATED
            }
            DomainRunningReason::POSTCOPY => DomainEventResumedDetail::POSTCOPY,
            DomainRunningReason::POSTCOPY_FAILED => DomainEventResumedDetail::POSTCOPY_FAILED,
            _ => DomainEventResumedDetail::UNPAUSED,
        };
        let told = Lifecycle {
            event: DomainEventType::RESUMED,
            detail: detail.0,
        };
        self.change(GuestState::running(reason), Some(told))
    }

    fn on_reset(&mut self) -> Vec<Effect> {
        // Resets before the processors run are part of the start.
        if self.state == GuestState::starting_up() {
            return Vec::new();
        }
        self.fake_reboot = false;
        vec![Effect::Rebooted, Effect::Save]
    }

    fn on_sleep(&mut self, detail: DomainEventPmSuspendedDetail, event: Event) -> Vec<Effect> {
        let mut effects = vec![Effect::Report(event)];
        if self.is(DomainState::RUNNING) {
            let told = Lifecycle {
                event: DomainEventType::PMSUSPENDED,
                detail: detail.0,
            };
            effects.extend(self.change(GuestState::unexplained(DomainState::PMSUSPENDED), Some(told)));
        }
        effects
    }

    fn on_wakeup(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = vec![Effect::Report(event)];
        if self.is(DomainState::PMSUSPENDED) {
            effects.extend(self.change(
                GuestState::running(DomainRunningReason::WAKEUP),
                Some(Lifecycle::started(DomainEventStartedDetail::WAKEUP)),
            ));
        }
        effects
    }

    fn on_trouble(
        &mut self,
        pauses: bool,
        reason: DomainPausedReason,
        detail: DomainEventSuspendedDetail,
        event: Event,
    ) -> Vec<Effect> {
        let mut effects = vec![Effect::Report(event)];
        if pauses && self.is(DomainState::RUNNING) {
            effects.extend(self.change(GuestState::paused(reason), Some(Lifecycle::suspended(detail))));
        }
        effects
    }

    fn on_panic(&mut self, event: Event) -> Vec<Effect> {
        let told = Lifecycle {
            event: DomainEventType::CRASHED,
            detail: DomainEventCrashedDetail::PANICKED.0,
        };
        let mut effects = vec![Effect::Report(event)];
        effects.extend(self.change(GuestState::panicked(), Some(told)));
        match self.on_crash {
            Ending::Destroy => effects.push(Effect::Terminate),
            Ending::Restart => {
                self.restarting = true;
                self.fake_reboot = true;
                effects.push(Effect::Restart(DomainRunningReason::CRASHED));
            }
            Ending::Preserve => {}
        }
        effects
    }

    /// What the end of the process means if nobody asked for it.
    pub fn reason_of_end(&self) -> DomainShutoffReason {
        if self.is(DomainState::SHUTDOWN) {
            DomainShutoffReason::SHUTDOWN
        } else if self.state == GuestState::starting_up() {
            DomainShutoffReason::FAILED
        } else {
            DomainShutoffReason::CRASHED
        }
    }

    /// Takes QEMU's answer to `query-status` after a time without a monitor. Says what is new, for the log.
    pub fn on_status(&mut self, status: &str, running: bool) -> Option<GuestState> {
        let starting =
            matches!(self.state.state, DomainState::SHUTOFF) || self.state == GuestState::starting_up();
        let new = match (self.state.state, running) {
            (_, true) if starting => GuestState::running(DomainRunningReason::BOOTED),
            (DomainState::PAUSED, true) => GuestState::running(DomainRunningReason::UNPAUSED),
            (DomainState::RUNNING, false) => match status {
                "shutdown" => GuestState::unexplained(DomainState::SHUTDOWN),
                "guest-panicked" => GuestState::panicked(),
                other => GuestState::paused(paused_reason(other)),
            },
            _ => return None,
        };
        self.state = new;
        Some(new)
    }
}

/// Why QEMU says that the processors do not run.
fn paused_reason(status: &str) -> DomainPausedReason {
    match status {
        "paused" => DomainPausedReason::USER,
        "postmigrate" | "inmigrate" | "finish-migrate" | "colo" => DomainPausedReason::MIGRATION,
        "save-vm" => DomainPausedReason::SAVE,
        "io-error" => DomainPausedReason::IOERROR,
        "watchdog" => DomainPausedReason::WATCHDOG,
        "restore-vm" => DomainPausedReason::FROM_SNAPSHOT,
        "shutdown" => DomainPausedReason::SHUTTING_DOWN,
        "guest-panicked" => DomainPausedReason::CRASHED,
        _ => DomainPausedReason::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, data: Value) -> Event {
        Event {
            name: name.to_owned(),
            data,
            timestamp: None,
        }
    }

    fn running() -> Machine {
        Machine::new(GuestState::running(DomainRunningReason::BOOTED))
    }

    #[test]
    fn every_word_reads_back() {
        for state in 0..8 {
            let state = DomainState(state);
            for reason in 0..reason_words(state).len() {
                let one = GuestState {
                    state,
                    reason: reason as i32,
                };
                assert_eq!(
                    GuestState::from_words(one.state_word(), one.reason_word()),
                    Some(one)
                );
            }
        }
        assert_eq!(GuestState::from_words("running", "destroyed"), None);
        assert_eq!(GuestState::starting_up().reason_word(), "starting up");
    }

    #[test]
    fn a_start_is_a_resume_with_a_reason() {
        let mut machine = Machine::new(GuestState::starting_up());
        // A reset while starting is nobody's business.
        assert_eq!(machine.on_event(event("RESET", json!({"guest": false}))), []);
        machine.next_run = Some(DomainRunningReason::BOOTED);
        let effects = machine.on_event(event("RESUME", Value::Null));
        assert_eq!(
            effects,
            [
                Effect::State(GuestState::running(DomainRunningReason::BOOTED)),
                Effect::Lifecycle(Lifecycle {
                    event: DomainEventType::RESUMED,
                    detail: DomainEventResumedDetail::UNPAUSED.0
                })
            ]
        );
        assert_eq!(machine.on_event(event("RESUME", Value::Null)), []);
    }

    #[test]
    fn a_guest_that_powers_off_is_ended() {
        let mut machine = running();
        let effects = machine.on_event(event(
            "SHUTDOWN",
            json!({"guest": true, "reason": "guest-shutdown"}),
        ));
        assert_eq!(effects.last(), Some(&Effect::Terminate));
        assert_eq!(
            effects[1],
            Effect::Lifecycle(Lifecycle {
                event: DomainEventType::SHUTDOWN,
                detail: DomainEventShutdownDetail::GUEST.0
            })
        );
        assert_eq!(machine.reason_of_end(), DomainShutoffReason::SHUTDOWN);
        // QEMU says it again when it gets SIGTERM, and stops.
        assert_eq!(machine.on_event(event("SHUTDOWN", json!({"guest": false}))), []);
        assert_eq!(machine.on_event(event("STOP", Value::Null)), []);
    }

    #[test]
    fn a_reboot_through_shutdown_is_not_seen_as_one() {
        let mut machine = running();
        machine.fake_reboot = true;
        assert_eq!(
            machine.on_event(event("SHUTDOWN", json!({"guest": true}))),
            [Effect::Restart(DomainRunningReason::BOOTED)]
        );
        assert_eq!(machine.on_event(event("STOP", Value::Null)), []);
        assert_eq!(
            machine.on_event(event("RESET", Value::Null)),
            [Effect::Rebooted, Effect::Save]
        );
        machine.restart_done();
        assert_eq!(machine.state(), GuestState::running(DomainRunningReason::BOOTED));
        assert!(!machine.fake_reboot);
    }

    #[test]
    fn pauses_have_reasons() {
        let mut machine = running();
        machine.next_pause = Some(DomainPausedReason::USER);
        machine.on_event(event("STOP", Value::Null));
        assert_eq!(machine.state(), GuestState::paused(DomainPausedReason::USER));
        let mut machine = running();
        let effects = machine.on_event(event("BLOCK_IO_ERROR", json!({"action": "stop"})));
        assert!(effects.contains(&Effect::Lifecycle(Lifecycle::suspended(
            DomainEventSuspendedDetail::IOERROR
        ))));
        // The STOP that follows does not change the reason.
        assert_eq!(machine.on_event(event("STOP", Value::Null)), []);
        assert_eq!(machine.state(), GuestState::paused(DomainPausedReason::IOERROR));
        let mut machine = running();
        assert_eq!(
            machine
                .on_event(event("BLOCK_IO_ERROR", json!({"action": "report"})))
                .len(),
            1
        );
    }

    #[test]
    fn sleep_panic_and_the_unknown() {
        let mut machine = running();
        machine.on_event(event("SUSPEND", Value::Null));
        assert_eq!(machine.state().state, DomainState::PMSUSPENDED);
        machine.on_event(event("WAKEUP", Value::Null));
        assert_eq!(machine.state(), GuestState::running(DomainRunningReason::WAKEUP));
        machine.on_crash = Ending::Preserve;
        let effects = machine.on_event(event("GUEST_PANICKED", json!({"action": "pause"})));
        assert!(!effects.contains(&Effect::Terminate));
        assert_eq!(machine.state(), GuestState::panicked());
        assert_eq!(machine.reason_of_end(), DomainShutoffReason::CRASHED);
        let odd = event("SOMETHING_NEW", json!([1]));
        assert_eq!(machine.on_event(odd.clone()), [Effect::Report(odd)]);
    }

    #[test]
    fn after_a_time_without_a_monitor() {
        let mut machine = running();
        assert_eq!(machine.on_status("running", true), None);
        assert_eq!(
            machine.on_status("io-error", false),
            Some(GuestState::paused(DomainPausedReason::IOERROR))
        );
        assert_eq!(
            machine.on_status("running", true),
            Some(GuestState::running(DomainRunningReason::UNPAUSED))
        );
        assert_eq!(
            machine.on_status("shutdown", false),
            Some(GuestState::unexplained(DomainState::SHUTDOWN))
        );
        let mut machine = Machine::new(GuestState::starting_up());
        assert_eq!(machine.on_status("prelaunch", false), None);
        assert_eq!(
            machine.on_status("running", true),
            Some(GuestState::running(DomainRunningReason::BOOTED))
        );
    }
}
