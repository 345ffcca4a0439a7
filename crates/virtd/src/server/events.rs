//! From what drivers tell to what a client hears.
//!
//! Drivers know subscriptions with callback ids only. A client that registered in the old way, by kind of event, has a
//! subscription made for it; its events lose their callback id on the way out and go by the old procedure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use virt_api::call::{PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::events::EventSink;
use virt_api::protocol::remote::procedure as remote;
use virt_api::protocol::{keepalive, table};
use virt_api::rpc::{Header, PacketWriter};

use super::outbox::{EventKey, Outgoing};
use super::session::{Ending, Session};

/// What a client wants to hear beside its ordinary subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Old registrations: the kind of event, and the callback that was made for it.
    pub(super) legacy: BTreeMap<i32, i32>,
    /// Callbacks among `legacy`.
    pub(super) legacy_callbacks: BTreeSet<i32>,
    /// The client wants to know when the driver's own connection ends.
    pub(super) close: bool,
}

/// The old procedure of an event with a callback id, where there is one.
fn legacy_procedure(procedure: u32) -> Option<u32> {
    Some(match procedure {
        remote::DOMAIN_EVENT_CALLBACK_LIFECYCLE => remote::DOMAIN_EVENT_LIFECYCLE,
        remote::DOMAIN_EVENT_CALLBACK_REBOOT => remote::DOMAIN_EVENT_REBOOT,
        remote::DOMAIN_EVENT_CALLBACK_RTC_CHANGE => remote::DOMAIN_EVENT_RTC_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_WATCHDOG => remote::DOMAIN_EVENT_WATCHDOG,
        remote::DOMAIN_EVENT_CALLBACK_IO_ERROR => remote::DOMAIN_EVENT_IO_ERROR,
        remote::DOMAIN_EVENT_CALLBACK_GRAPHICS => remote::DOMAIN_EVENT_GRAPHICS,
        remote::DOMAIN_EVENT_CALLBACK_IO_ERROR_REASON => remote::DOMAIN_EVENT_IO_ERROR_REASON,
        remote::DOMAIN_EVENT_CALLBACK_CONTROL_ERROR => remote::DOMAIN_EVENT_CONTROL_ERROR,
        remote::DOMAIN_EVENT_CALLBACK_BLOCK_JOB => remote::DOMAIN_EVENT_BLOCK_JOB,
        remote::DOMAIN_EVENT_CALLBACK_DISK_CHANGE => remote::DOMAIN_EVENT_DISK_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_TRAY_CHANGE => remote::DOMAIN_EVENT_TRAY_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_PMWAKEUP => remote::DOMAIN_EVENT_PMWAKEUP,
        remote::DOMAIN_EVENT_CALLBACK_PMSUSPEND => remote::DOMAIN_EVENT_PMSUSPEND,
        remote::DOMAIN_EVENT_CALLBACK_BALLOON_CHANGE => remote::DOMAIN_EVENT_BALLOON_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_PMSUSPEND_DISK => remote::DOMAIN_EVENT_PMSUSPEND_DISK,
        remote::DOMAIN_EVENT_CALLBACK_DEVICE_REMOVED => remote::DOMAIN_EVENT_DEVICE_REMOVED,
        _ => return None,
    })
}

/// The version of a program, which events carry.
fn version(program: u32) -> u32 {
    table::programs()
        .find(|known| known.number == program)
        .map_or(keepalive::VERSION, |known| known.version)
}

/// What an event is about, as far as two of them can be told apart: the name and the UUID that most messages begin with.
/// Messages that begin otherwise count as being about one thing.
fn object(payload: &[u8]) -> Vec<u8> {
    const UUID: usize = 16;
    let word = |at: usize| -> Option<usize> {
        let bytes = payload.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let end = word(0)
        .filter(|length| *length <= 4096)
        .map(|length| 4 + length.next_multiple_of(4) + UUID);
    end.and_then(|end| payload.get(..end))
        .unwrap_or_default()
        .to_vec()
}

/// Where the drivers of one client tell their events.
pub(super) struct Sink {
    session: Weak<Session>,
}

impl Sink {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        Self {
            session: Arc::downgrade(session),
        }
    }
}

impl EventSink for Sink {
    fn event(&self, program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        let Some(session) = self.session.upgrade() else {
            return;
        };
        for callback in callbacks {
            session.event(program, procedure, *callback, payload);
        }
    }
}

impl Session {
    fn event(&self, program: u32, procedure: u32, callback: i32, payload: &[u8]) {
        let legacy = self.is_legacy(program, procedure, callback);
        let procedure = legacy.unwrap_or(procedure);
        let Ok(number) = i32::try_from(procedure) else {
            return;
        };
        let mut packet = PacketWriter::new(&Header::event(program, version(program), number));
        if legacy.is_none() {
            packet.payload().i32(callback);
        }
        let packet = match packet.finish_with(payload) {
            Ok(packet) => packet,
            Err(error) => {
                tracing::warn!(client = self.id(), "an event cannot be told: {error}");
                return;
            }
        };
        let key = EventKey {
            program,
            procedure,
            callback,
            object: object(payload),
        };
        let limit = self.server().settings().event_bytes_max;
        if !self.outbox().send_event(packet, key, limit) {
            self.end(Ending::SlowReader);
        }
    }

    fn is_legacy(&self, program: u32, procedure: u32, callback: i32) -> Option<u32> {
        if program != PROGRAM_REMOTE {
            debug_assert!(program == PROGRAM_QEMU, "only two programs have events");
            return None;
        }
        let legacy = legacy_procedure(procedure)?;
        let subscriptions = self.subscriptions.lock();
        subscriptions
            .legacy_callbacks
            .contains(&callback)
            .then_some(legacy)
    }

    /// The driver's own connection has ended.
    pub(super) fn driver_closed(&self, reason: i32) {
        if !self.subscriptions.lock().close {
            return;
        }
        let header = Header::event(
            PROGRAM_REMOTE,
            version(PROGRAM_REMOTE),
            remote::CONNECT_EVENT_CONNECTION_CLOSED as i32,
        );
        let mut packet = PacketWriter::new(&header);
        packet.payload().i32(reason);
        if let Ok(packet) = packet.finish() {
            self.outbox().send(Outgoing::packet(packet));
        }
    }
}
