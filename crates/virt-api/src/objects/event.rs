//! Events of domains: subscriptions, and messages made readable.

use super::{Connect, Domain};
use crate::event_loop;
use crate::events::EventSink;
use crate::host::OpenedConnection;
use crate::protocol::remote::*;
use crate::protocol::table::EventMessage;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use virt_util::typed_param::TypedParam;
use virt_util::types::{
    ConnectCloseReason, ConnectDomainEventAgentLifecycleReason, ConnectDomainEventAgentLifecycleState,
    ConnectDomainEventBlockJobStatus, ConnectDomainEventDiskChangeReason, DomainBlockJobType,
    DomainEventGraphicsAddressType, DomainEventGraphicsPhase, DomainEventId, DomainEventIoErrorAction,
    DomainEventTrayChangeReason, DomainEventType, DomainEventWatchdogAction, DomainMemoryFailureActionType,
    DomainMemoryFailureFlags, DomainMemoryFailureRecipientType, DomainMetadataType,
};
use virt_util::xdr::XdrDecode;
use virt_util::{Result, VirtError};

/// Something that happened to a domain.
#[derive(Clone, Debug)]
pub struct DomainEvent {
    /// The kind that was subscribed to.
    pub id: DomainEventId,
    /// The domain.
    pub domain: Domain,
    /// What happened.
    pub kind: DomainEventKind,
}

/// One end of a graphics session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphicsAddress {
    /// Address family.
    pub family: DomainEventGraphicsAddressType,
    /// Address or path.
    pub node: String,
    /// Port or nothing.
    pub service: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DomainEventKind {
    /// The event's kind says it all: reboot, control error, power management.
    Plain,
    /// The domain was defined, started, stopped …
    Lifecycle {
        /// What it was.
        event: DomainEventType,
        /// How it came to that, in the numbers of the event's own detail type.
        detail: i32,
    },
    /// The guest set its clock: now so many seconds from UTC.
    RtcChange {
        /// Seconds.
        offset: i64,
    },
    /// The watchdog fired.
    Watchdog {
        /// What it did.
        action: DomainEventWatchdogAction,
    },
    /// A disk failed.
    IoError {
        /// The source of the disk.
        path: String,
        /// The device's alias.
        device: String,
        /// What was done.
        action: DomainEventIoErrorAction,
        /// Why, for those who subscribed to the kind with reasons.
        reason: Option<String>,
    },
    /// A graphics client came or went.
    Graphics {
        /// How far the session is.
        phase: DomainEventGraphicsPhase,
        /// The server's end.
        local: GraphicsAddress,
        /// The client's end.
        remote: GraphicsAddress,
        /// How the client proved who it is.
        auth: String,
        /// Who it is: kinds of names and names.
        subject: Vec<(String, String)>,
    },
    /// A block job ended or is ready to.
    BlockJob {
        /// The disk: its source, or its target for the second kind of event.
        disk: String,
        /// The job.
        job: DomainBlockJobType,
        /// How it is.
        status: ConnectDomainEventBlockJobStatus,
    },
    /// A disk's source was changed or dropped at start.
    DiskChange {
        /// The old source.
        old: Option<String>,
        /// The new source.
        new: Option<String>,
        /// The device's alias.
        alias: String,
        /// Why.
        reason: ConnectDomainEventDiskChangeReason,
    },
    /// The tray of a removable medium was moved.
    TrayChange {
        /// The device's alias.
        alias: String,
        /// Where to.
        reason: DomainEventTrayChangeReason,
    },
    /// The balloon has a new size.
    BalloonChange {
        /// Memory that the guest has now, in KiB.
        actual: u64,
    },
    /// A device was added, removed, or could not be removed.
    Device {
        /// The device's alias.
        alias: String,
    },
    /// Tunables changed, or a job ended with these figures.
    Params {
        /// Names and values.
        params: Vec<TypedParam>,
    },
    /// The guest agent came or went.
    AgentLifecycle {
        /// Whether it can be reached.
        state: ConnectDomainEventAgentLifecycleState,
        /// Why that changed.
        reason: ConnectDomainEventAgentLifecycleReason,
    },
    /// A migration began another pass over memory.
    MigrationIteration {
        /// Which.
        iteration: i32,
    },
    /// Title, description or metadata changed.
    MetadataChange {
        /// Which.
        kind: DomainMetadataType,
        /// The namespace of an element.
        uri: Option<String>,
    },
    /// A disk was written beyond a threshold.
    BlockThreshold {
        /// The disk.
        device: String,
        /// Its source.
        path: Option<String>,
        /// The threshold in bytes.
        threshold: u64,
        /// Bytes beyond it.
        excess: u64,
    },
    /// Memory failed.
    MemoryFailure {
        /// Whose.
        recipient: DomainMemoryFailureRecipientType,
        /// What was done.
        action: DomainMemoryFailureActionType,
        /// How bad it is.
        flags: DomainMemoryFailureFlags,
    },
    /// A memory device has a new size.
    MemoryDeviceSizeChange {
        /// The device's alias.
        alias: String,
        /// KiB.
        size: u64,
    },
    /// The guest gave a network card another address.
    NicMacChange {
        /// The device's alias.
        alias: String,
        /// The address before.
        old: String,
        /// The address now.
        new: String,
    },
}

type Callback = Box<dyn FnMut(&DomainEvent) + Send>;
type CloseCallback = Arc<dyn Fn(ConnectCloseReason) + Send + Sync>;

/// Where a subscription's events go.
struct Slot {
    /// Held while it runs, so that ending a subscription can wait for it.
    callback: Mutex<Option<Callback>>,
    /// The subscription is over: what is on its way is not told, also when the callback ended it while it ran.
    ended: AtomicBool,
}

/// Events that arrived before their subscription was known: the driver may be faster than the answer to the call that
/// registers.
const EARLY_MAX: usize = 1024;

/// The callbacks of a connection.
#[derive(Default)]
pub(crate) struct EventTable {
    /// Held for looking, never while a callback runs or a call is made.
    state: Mutex<State>,
    close: Mutex<Option<CloseCallback>>,
    /// Held while the connection is told where events go.
    attached: Mutex<Attached>,
}

#[derive(Default)]
struct Attached {
    sink: bool,
    close: bool,
}

#[derive(Default)]
struct State {
    slots: HashMap<i32, Arc<Slot>>,
    /// How many registrations are under way.
    registering: usize,
    early: VecDeque<(i32, u32, Arc<[u8]>)>,
}

impl EventTable {
    pub(super) fn set_close_callback(&self, callback: CloseCallback) {
        *self.close.lock() = Some(callback);
    }

    /// Has the connection tell when it ends by itself.
    pub(super) fn watch_close(self: &Arc<Self>, connection: &dyn OpenedConnection) -> Result<()> {
        let mut attached = self.attached.lock();
        if attached.close {
            return Ok(());
        }
        let table = Arc::downgrade(self);
        connection.on_closed(Box::new(move |reason| closed(&table, reason)))?;
        attached.close = true;
        Ok(())
    }

    fn attach(&self, connect: &Connect) -> Result<()> {
        let mut attached = self.attached.lock();
        if attached.sink {
            return Ok(());
        }
        let sink = Sink {
            connect: connect.downgrade(),
        };
        connect.router().set_event_sink(Arc::new(sink))?;
        attached.sink = true;
        Ok(())
    }
}

fn closed(table: &Weak<EventTable>, reason: i32) {
    let Some(table) = table.upgrade() else { return };
    let callback = table.close.lock().clone();
    let Some(callback) = callback else { return };
    match event_loop::current() {
        Ok(event_loop) => event_loop.post(Box::new(move || callback(ConnectCloseReason(reason)))),
        Err(error) => tracing::warn!("the end of a connection cannot be told: {error}"),
    }
}

/// Where the driver's events arrive, on any thread.
struct Sink {
    connect: super::connect::WeakConnect,
}

impl EventSink for Sink {
    fn event(&self, _program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        let Some(connect) = self.connect.upgrade() else {
            return;
        };
        let table = connect.events();
        let payload: Arc<[u8]> = payload.into();
        let mut ready = Vec::new();
        {
            let mut state = table.state.lock();
            for id in callbacks {
                if let Some(slot) = state.slots.get(id) {
                    ready.push(Arc::clone(slot));
                } else if state.registering > 0 && state.early.len() < EARLY_MAX {
                    state.early.push_back((*id, procedure, Arc::clone(&payload)));
                }
            }
        }
        for slot in ready {
            deliver(&connect, slot, procedure, Arc::clone(&payload));
        }
    }
}

/// Runs a callback on the event loop.
fn deliver(connect: &Connect, slot: Arc<Slot>, procedure: u32, payload: Arc<[u8]>) {
    let connect = connect.clone();
    let event_loop = match event_loop::current() {
        Ok(event_loop) => event_loop,
        Err(error) => {
            tracing::warn!("an event cannot be told: {error}");
            return;
        }
    };
    event_loop.post(Box::new(move || {
        if slot.ended.load(Ordering::Acquire) {
            return;
        }
        let event = match decode(&connect, procedure, &payload) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!("an event of procedure {procedure} cannot be read: {error}");
                return;
            }
        };
        let mut callback = slot.callback.lock();
        if let Some(run) = callback.as_mut() {
            run(&event);
        }
        if slot.ended.load(Ordering::Acquire) {
            // It has ended its own subscription, and ran its last time.
            let over = callback.take();
            drop(callback);
            drop(over);
        }
    }));
}

/// A subscription; dropping it ends it. Its callback does not run any more when the drop is over, except when it is
/// dropped by the callback itself.
pub struct Subscription {
    connect: Connect,
    id: i32,
    slot: Arc<Slot>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.slot.ended.store(true, Ordering::Release);
        self.connect.events().state.lock().slots.remove(&self.id);
        // A connection that is gone has no subscriptions either.
        let _ = self
            .connect
            .remote()
            .connect_domain_event_callback_deregister_any(self.id);
        match event_loop::current() {
            // The callback drops its own subscription: it holds the lock and runs its last time.
            Ok(event_loop) if event_loop.is_loop_thread() => {
                if let Some(mut callback) = self.slot.callback.try_lock() {
                    *callback = None;
                }
            }
            _ => *self.slot.callback.lock() = None,
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription({})", self.id)
    }
}

pub(super) fn subscribe(
    connect: &Connect,
    domain: Option<&Domain>,
    id: DomainEventId,
    callback: Callback,
) -> Result<Subscription> {
    let table = connect.events();
    table.attach(connect)?;
    table.state.lock().registering += 1;
    let filter = domain.map(Domain::reference);
    let answer = connect
        .remote()
        .connect_domain_event_callback_register_any(id.0, filter.as_ref());

    let slot = Arc::new(Slot {
        callback: Mutex::new(Some(callback)),
        ended: AtomicBool::new(false),
    });
    let mut state = table.state.lock();
    state.registering -= 1;
    let early = match &answer {
        Ok(reply) => {
            state.slots.insert(reply.callback_id, Arc::clone(&slot));
            let (mine, others) = std::mem::take(&mut state.early)
                .into_iter()
                .partition(|(id, ..)| *id == reply.callback_id);
            state.early = others;
            mine
        }
        Err(_) => VecDeque::new(),
    };
    if state.registering == 0 {
        state.early.clear();
    }
    drop(state);
    let callback_id = answer?.callback_id;
    let early: VecDeque<(i32, u32, Arc<[u8]>)> = early;
    for (_, procedure, payload) in early {
        deliver(connect, Arc::clone(&slot), procedure, payload);
    }
    Ok(Subscription {
        connect: connect.clone(),
        id: callback_id,
        slot,
    })
}

/// A message that came without the callback id it starts with on the wire.
fn read<M: EventMessage + XdrDecode>(payload: &[u8]) -> Result<M> {
    let mut whole = Vec::with_capacity(payload.len() + 4);
    whole.extend_from_slice(&[0; 4]);
    whole.extend_from_slice(payload);
    M::from_xdr(&whole)
}

fn address(address: DomainEventGraphicsAddress) -> GraphicsAddress {
    GraphicsAddress {
        family: DomainEventGraphicsAddressType(address.family),
        node: address.node,
        service: address.service,
    }
}

/// Makes a message readable. One arm for each kind of event in the protocol.
fn decode(connect: &Connect, procedure: u32, payload: &[u8]) -> Result<DomainEvent> {
    use DomainEventId as Id;
    use DomainEventKind as Kind;
    macro_rules! plain {
        ($message:ident) => {{
            let message: $message = read(payload)?;
            (message.msg.domain, Kind::Plain)
        }};
    }
    macro_rules! device {
        ($message:ident) => {{
            let message: $message = read(payload)?;
            (
                message.domain,
                Kind::Device {
                    alias: message.dev_alias,
                },
            )
        }};
    }
    let (id, (domain, kind)) = match procedure {
        DomainEventCallbackLifecycleMessage::PROCEDURE => {
            let m: DomainEventCallbackLifecycleMessage = read(payload)?;
            let (event, detail) = (DomainEventType(m.msg.event), m.msg.detail);
            (Id::LIFECYCLE, (m.msg.domain, Kind::Lifecycle { event, detail }))
        }
        DomainEventCallbackRebootMessage::PROCEDURE => (Id::REBOOT, plain!(DomainEventCallbackRebootMessage)),
        DomainEventCallbackRtcChangeMessage::PROCEDURE => {
            let m: DomainEventCallbackRtcChangeMessage = read(payload)?;
            (
                Id::RTC_CHANGE,
                (m.msg.domain, Kind::RtcChange { offset: m.msg.offset }),
            )
        }
        DomainEventCallbackWatchdogMessage::PROCEDURE => {
            let m: DomainEventCallbackWatchdogMessage = read(payload)?;
            let action = DomainEventWatchdogAction(m.msg.action);
            (Id::WATCHDOG, (m.msg.domain, Kind::Watchdog { action }))
        }
        DomainEventCallbackIoErrorMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackIoErrorMessage>(payload)?.msg;
            let kind = Kind::IoError {
                path: m.src_path,
                device: m.dev_alias,
                action: DomainEventIoErrorAction(m.action),
                reason: None,
            };
            (Id::IO_ERROR, (m.domain, kind))
        }
        DomainEventCallbackIoErrorReasonMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackIoErrorReasonMessage>(payload)?.msg;
            let kind = Kind::IoError {
                path: m.src_path,
                device: m.dev_alias,
                action: DomainEventIoErrorAction(m.action),
                reason: Some(m.reason),
            };
            (Id::IO_ERROR_REASON, (m.domain, kind))
        }
        DomainEventCallbackGraphicsMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackGraphicsMessage>(payload)?.msg;
            let kind = Kind::Graphics {
                phase: DomainEventGraphicsPhase(m.phase),
                local: address(m.local),
                remote: address(m.remote),
                auth: m.auth_scheme,
                subject: m.subject.into_iter().map(|one| (one.kind, one.name)).collect(),
            };
            (Id::GRAPHICS, (m.domain, kind))
        }
        DomainEventCallbackControlErrorMessage::PROCEDURE => {
            (Id::CONTROL_ERROR, plain!(DomainEventCallbackControlErrorMessage))
        }
        DomainEventCallbackBlockJobMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackBlockJobMessage>(payload)?.msg;
            let kind = Kind::BlockJob {
                disk: m.path,
                job: DomainBlockJobType(m.kind),
                status: ConnectDomainEventBlockJobStatus(m.status),
            };
            (Id::BLOCK_JOB, (m.domain, kind))
        }
        DomainEventBlockJob2Message::PROCEDURE => {
            let m: DomainEventBlockJob2Message = read(payload)?;
            let kind = Kind::BlockJob {
                disk: m.dst,
                job: DomainBlockJobType(m.kind),
                status: ConnectDomainEventBlockJobStatus(m.status),
            };
            (Id::BLOCK_JOB_2, (m.domain, kind))
        }
        DomainEventCallbackDiskChangeMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackDiskChangeMessage>(payload)?.msg;
            let kind = Kind::DiskChange {
                old: m.old_src_path,
                new: m.new_src_path,
                alias: m.dev_alias,
                reason: ConnectDomainEventDiskChangeReason(m.reason),
            };
            (Id::DISK_CHANGE, (m.domain, kind))
        }
        DomainEventCallbackTrayChangeMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackTrayChangeMessage>(payload)?.msg;
            let reason = DomainEventTrayChangeReason(m.reason);
            (
                Id::TRAY_CHANGE,
                (
                    m.domain,
                    Kind::TrayChange {
                        alias: m.dev_alias,
                        reason,
                    },
                ),
            )
        }
        DomainEventCallbackPmwakeupMessage::PROCEDURE => {
            (Id::PMWAKEUP, plain!(DomainEventCallbackPmwakeupMessage))
        }
        DomainEventCallbackPmsuspendMessage::PROCEDURE => {
            (Id::PMSUSPEND, plain!(DomainEventCallbackPmsuspendMessage))
        }
        DomainEventCallbackPmsuspendDiskMessage::PROCEDURE => (
            Id::PMSUSPEND_DISK,
            plain!(DomainEventCallbackPmsuspendDiskMessage),
        ),
        DomainEventCallbackBalloonChangeMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackBalloonChangeMessage>(payload)?.msg;
            (
                Id::BALLOON_CHANGE,
                (m.domain, Kind::BalloonChange { actual: m.actual }),
            )
        }
        DomainEventCallbackDeviceRemovedMessage::PROCEDURE => {
            let m = read::<DomainEventCallbackDeviceRemovedMessage>(payload)?.msg;
            (
                Id::DEVICE_REMOVED,
                (m.domain, Kind::Device { alias: m.dev_alias }),
            )
        }
        DomainEventCallbackDeviceAddedMessage::PROCEDURE => {
            (Id::DEVICE_ADDED, device!(DomainEventCallbackDeviceAddedMessage))
        }
        DomainEventCallbackDeviceRemovalFailedMessage::PROCEDURE => (
            Id::DEVICE_REMOVAL_FAILED,
            device!(DomainEventCallbackDeviceRemovalFailedMessage),
        ),
        DomainEventCallbackTunableMessage::PROCEDURE => {
            let m: DomainEventCallbackTunableMessage = read(payload)?;
            (Id::TUNABLE, (m.domain, Kind::Params { params: m.params.0 }))
        }
        DomainEventCallbackJobCompletedMessage::PROCEDURE => {
            let m: DomainEventCallbackJobCompletedMessage = read(payload)?;
            (Id::JOB_COMPLETED, (m.domain, Kind::Params { params: m.params.0 }))
        }
        DomainEventCallbackAgentLifecycleMessage::PROCEDURE => {
            let m: DomainEventCallbackAgentLifecycleMessage = read(payload)?;
            let kind = Kind::AgentLifecycle {
                state: ConnectDomainEventAgentLifecycleState(m.state),
                reason: ConnectDomainEventAgentLifecycleReason(m.reason),
            };
            (Id::AGENT_LIFECYCLE, (m.domain, kind))
        }
        DomainEventCallbackMigrationIterationMessage::PROCEDURE => {
            let m: DomainEventCallbackMigrationIterationMessage = read(payload)?;
            (
                Id::MIGRATION_ITERATION,
                (
                    m.domain,
                    Kind::MigrationIteration {
                        iteration: m.iteration,
                    },
                ),
            )
        }
        DomainEventCallbackMetadataChangeMessage::PROCEDURE => {
            let m: DomainEventCallbackMetadataChangeMessage = read(payload)?;
            let kind = Kind::MetadataChange {
                kind: DomainMetadataType(m.kind),
                uri: m.nsuri,
            };
            (Id::METADATA_CHANGE, (m.domain, kind))
        }
        DomainEventBlockThresholdMessage::PROCEDURE => {
            let m: DomainEventBlockThresholdMessage = read(payload)?;
            let kind = Kind::BlockThreshold {
                device: m.dev,
                path: m.path,
                threshold: m.threshold,
                excess: m.excess,
            };
            (Id::BLOCK_THRESHOLD, (m.domain, kind))
        }
        DomainEventMemoryFailureMessage::PROCEDURE => {
            let m: DomainEventMemoryFailureMessage = read(payload)?;
            let kind = Kind::MemoryFailure {
                recipient: DomainMemoryFailureRecipientType(m.recipient),
                action: DomainMemoryFailureActionType(m.action),
                flags: DomainMemoryFailureFlags::from_bits_retain(m.flags),
            };
            (Id::MEMORY_FAILURE, (m.domain, kind))
        }
        DomainEventMemoryDeviceSizeChangeMessage::PROCEDURE => {
            let m: DomainEventMemoryDeviceSizeChangeMessage = read(payload)?;
            let kind = Kind::MemoryDeviceSizeChange {
                alias: m.alias,
                size: m.size,
            };
            (Id::MEMORY_DEVICE_SIZE_CHANGE, (m.domain, kind))
        }
        DomainEventNicMacChangeMessage::PROCEDURE => {
            let m: DomainEventNicMacChangeMessage = read(payload)?;
            let kind = Kind::NicMacChange {
                alias: m.alias,
                old: m.old_mac,
                new: m.new_mac,
            };
            (Id::NIC_MAC_CHANGE, (m.domain, kind))
        }
        other => {
            return Err(VirtError::internal(format_args!(
                "procedure {other} is no event of a domain"
            )));
        }
    };
    Ok(DomainEvent {
        id,
        domain: Domain::new(connect.clone(), domain),
        kind,
    })
}
