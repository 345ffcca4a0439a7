//! One client: who it is, what it has open, what it still owes and is owed.
//!
//! [`super::traffic`] moves its bytes, [`super::dispatch`] answers its calls. What must end with the client (calls,
//! streams, the connection behind the waist) ends in `Session::let_go`, whoever ends it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection;
use virt_api::protocol::table::Priority;
use virt_api::rpc::keepalive;
use virt_api::rpc::stream::StreamPacket;
use virt_api::rpc::{Header, MessageType, Packet, Status};
use virt_util::{Result, VirtError};

use super::events::Subscriptions;
use super::listener::{Listener, Place};
use super::outbox::{Outbox, Outgoing};
use super::running::RunningCall;
use super::stream::{ServedStream, weight};
use super::{Opened, Server};
use crate::audit::Event;
use crate::auth::Negotiation;
use crate::auth::identity::ClientIdentity;
use crate::auth::sasl::Channel;
use crate::config::Auth;

/// How long the connection of a client that left waits for calls that still run in it.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// Why a client's connection ends.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The client hung up.
    ClientLeft,
    /// The client does not answer.
    Silent,
    /// The client does not read its events.
    SlowReader,
    /// What it sent cannot be understood, or the socket failed.
    Broken(VirtError),
    /// The daemon stops.
    Stopping,
    /// An administrator closed it.
    Disconnected,
}

/// How far a client is.
pub(super) enum Phase {
    /// Nothing is open. Calls run one at a time, in order.
    New,
    /// A connection to a driver stands.
    Open(Arc<Opened>),
    /// The client has closed its connection.
    Closed,
}

/// A client.
pub struct Session {
    id: u64,
    server: Arc<Server>,
    listener: Arc<Listener>,
    connected: SystemTime,
    /// Address and port of a client that came over a network.
    pub(super) address: OnceLock<String>,
    pub(super) wake: Arc<Notify>,
    outbox: Outbox,
    /// Held for looking, never while a driver or the socket is used.
    pub(super) state: Mutex<State>,
    pub(super) subscriptions: Mutex<Subscriptions>,
    /// The client's way to being known. One step at a time.
    pub(super) negotiation: tokio::sync::Mutex<Negotiation>,
    /// Told when the client is let go.
    pub(super) gone: Notify,
    /// Bytes that were read and not yet worked on.
    backlog_bytes: AtomicUsize,
    /// Buffers that data of streams came in, for more of it; none while no stream is open.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// What changes about a client.
pub(super) struct State {
    pub(super) identity: ClientIdentity,
    pub(super) authenticated: bool,
    pub(super) read_only: bool,
    pub(super) phase: Phase,
    /// Calls that wait for their turn.
    pub(super) backlog: VecDeque<Packet>,
    /// How many calls run, in whatever thread.
    pub(super) running: usize,
    /// Those of them that run in workers.
    pub(super) calls: BTreeMap<u64, Arc<RunningCall>>,
    pub(super) streams: HashMap<u32, Arc<ServedStream>>,
    pub(super) keepalive_wanted: bool,
    ending: Option<Ending>,
}

impl Session {
    /// A client that `listener` let in, with the socket it is reached by.
    pub(super) fn new(
        server: &Arc<Server>,
        listener: &Arc<Listener>,
        outbox: Outbox,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        let security = server.security();
        let channel = match listener.place {
            Place::Tcp(_) => Channel::Open,
            Place::Unix(_) | Place::Tls(_) => Channel::Secure,
        };
        // The administration asks for nothing but the right user.
        let method = if listener.is_admin() {
            Auth::None
        } else {
            **listener.auth.load()
        };
        let negotiation = Negotiation::new(Arc::clone(&security.auth), method, channel, listener.read_only);
        Arc::new(Self {
            id: server.next_client_id(),
            server: Arc::clone(server),
            listener: Arc::clone(listener),
            connected: SystemTime::now(),
            address: OnceLock::new(),
            wake,
            outbox,
            state: Mutex::new(State {
                identity: ClientIdentity::default(),
                authenticated: negotiation.is_done(),
                read_only: listener.read_only,
                phase: Phase::New,
                backlog: VecDeque::new(),
                running: 0,
                calls: BTreeMap::new(),
                streams: HashMap::new(),
                keepalive_wanted: false,
                ending: None,
            }),
            subscriptions: Mutex::default(),
            negotiation: tokio::sync::Mutex::new(negotiation),
            gone: Notify::new(),
            backlog_bytes: AtomicUsize::new(0),
            spare: Mutex::default(),
        })
    }

    /// The client's number, unique in the life of the daemon.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The server it is a client of.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The socket it came over.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Address and port, of a client that came over a network.
    pub fn address(&self) -> Option<String> {
        self.address.get().cloned()
    }

    /// Since when it has been connected.
    pub fn connected(&self) -> SystemTime {
        self.connected
    }

    /// Who it is, as far as that is known now.
    pub fn identity(&self) -> ClientIdentity {
        self.state.lock().identity.clone()
    }

    /// Whether it has proved who it is.
    pub fn is_authenticated(&self) -> bool {
        self.state.lock().authenticated
    }

    /// Whether it may only look.
    pub fn is_read_only(&self) -> bool {
        self.state.lock().read_only
    }

    /// The URI and the driver that it has open.
    pub fn opened(&self) -> Option<(String, String)> {
        match &self.state.lock().phase {
            Phase::Open(opened) => Some((opened.uri.clone(), opened.router.driver_name().to_owned())),
            Phase::New | Phase::Closed => None,
        }
    }

    /// Ends the connection soon. The first reason stays.
    pub fn end(&self, ending: Ending) {
        self.state.lock().ending.get_or_insert(ending);
        self.wake.notify_one();
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.state.lock().ending.clone()
    }

    /// So many bytes that were read now wait.
    pub(super) fn queued(&self, bytes: usize) {
        self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes that waited are done with.
    pub(super) fn taken(&self, bytes: usize) {
        let before = self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let limit = self.server.settings().backlog_bytes_max;
        if before > limit && before - bytes.min(before) <= limit {
            self.wake.notify_one();
        }
    }

    /// Whether so much waits that nothing more is read: what was asked and not yet answered, or answers that the client
    /// does not take.
    pub(super) fn is_full(&self) -> bool {
        let limit = self.server.settings().backlog_bytes_max;
        self.backlog_bytes.load(Ordering::Relaxed) > limit || self.outbox.pending_bytes() > limit
    }

    /// An empty buffer that has room for data of a stream.
    pub(super) fn spare_buffer(&self) -> Option<Vec<u8>> {
        self.spare.lock().pop()
    }

    /// Takes back a buffer whose data was given to a driver: memory that was touched already is cheaper than new.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        /// Smaller ones are not worth while.
        const LEAST: usize = 65_536;
        /// More are not needed: what comes waits for the driver in others.
        const MOST: usize = 8;
        if buffer.capacity() < LEAST {
            return;
        }
        buffer.clear();
        let mut spare = self.spare.lock();
        if spare.len() < MOST {
            spare.push(buffer);
        }
    }

    pub(super) fn stream_ended(&self, opened: &Header) {
        let ended = {
            let mut state = self.state.lock();
            let ended = match state.streams.get(&opened.serial) {
                Some(stream) if stream.opened().same_call(opened) => state.streams.remove(&opened.serial),
                _ => None,
            };
            if state.streams.is_empty() {
                self.spare.lock().clear();
            }
            ended
        };
        drop(ended);
    }

    /// Handles a packet that has arrived. Fails if the connection cannot go on.
    pub(super) fn packet(self: &Arc<Self>, packet: Packet) -> Result<()> {
        if let Some(probe) = keepalive::probe(&packet) {
            if probe == keepalive::Probe::Ping {
                self.outbox.send(Outgoing::packet(keepalive::pong()?));
            }
            return Ok(());
        }
        match packet.header.kind {
            MessageType::Call | MessageType::CallWithFds => self.call(packet),
            MessageType::Stream | MessageType::StreamHole => return self.stream_packet(packet),
            kind @ (MessageType::Reply | MessageType::ReplyWithFds | MessageType::Message) => {
                tracing::debug!(client = self.id, "a packet of type {kind:?} is not for a daemon");
            }
        }
        Ok(())
    }

    /// The stream that a packet with that head belongs to.
    fn stream_of(&self, header: &Header) -> Option<Arc<ServedStream>> {
        let found = self.state.lock().streams.get(&header.serial).cloned();
        found.filter(|stream| stream.opened().same_call(header))
    }

    /// The stream for which data comes behind that head.
    pub(super) fn stream_with_data(&self, header: &Header) -> Option<Arc<ServedStream>> {
        match (header.kind, header.status) {
            (MessageType::Stream, Status::Continue) => self.stream_of(header),
            _ => None,
        }
    }

    fn stream_packet(self: &Arc<Self>, packet: Packet) -> Result<()> {
        // Data has no answer, so a client goes on sending until it hears that its stream has ended.
        let Some(stream) = self.stream_of(&packet.header) else {
            return Ok(());
        };
        if packet.header.kind == MessageType::StreamHole && !stream.is_sparse() {
            return Err(VirtError::new(
                virt_util::ErrorCode::RPC,
                "a hole came in a stream that was opened without holes",
            ));
        }
        let packet = StreamPacket::read(packet)?;
        self.queued(weight(&packet));
        stream.receive(packet);
        Ok(())
    }

    /// Writes what waits, and lets the streams go on that waited for it.
    pub(super) fn flush(&self) {
        let mut streams = Vec::new();
        self.outbox.flush(&mut streams);
        for stream in streams {
            stream.sent();
        }
    }

    /// Ends everything that hangs on the client.
    pub(super) async fn let_go(self: Arc<Self>, ending: Ending) {
        match &ending {
            Ending::Broken(error) => {
                let who = self.identity().describe();
                tracing::info!(client = self.id, who, "connection closed: {error}");
            }
            ending => tracing::debug!(client = self.id, "connection closed: {ending:?}"),
        }
        if matches!(ending, Ending::Stopping) {
            // `VIR_CONNECT_CLOSE_REASON_EOF`: for those who asked to be told.
            self.driver_closed(1);
        }
        // What was written for the client before the end should reach it.
        self.flush();
        self.outbox.close();
        let (calls, streams, phase) = {
            let mut state = self.state.lock();
            state.ending.get_or_insert(ending);
            state.backlog.clear();
            (
                std::mem::take(&mut state.calls),
                std::mem::take(&mut state.streams),
                std::mem::replace(&mut state.phase, Phase::Closed),
            )
        };
        self.server.forget(self.id);
        self.gone.notify_waiters();
        for call in calls.values() {
            call.cancel();
        }
        if !streams.is_empty() {
            self.server.workers().submit(
                Priority::High,
                Box::new(move || streams.values().for_each(|stream| stream.abandon())),
            );
        }
        drop(calls);
        if let Phase::Open(opened) = phase {
            self.record(Event::Closed);
            let until = Instant::now() + CLOSE_WAIT;
            while self.state.lock().running > 0 && Instant::now() < until {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            self.close_connection(opened);
        }
    }

    /// Closes a connection in a worker, for a driver may have to roll back what hangs on it.
    pub(super) fn close_connection(&self, opened: Arc<Opened>) {
        self.server.workers().submit(
            Priority::High,
            Box::new(move || {
                if let Err(error) = opened.router.close() {
                    tracing::warn!("closing '{}': {error}", opened.uri);
                }
            }),
        );
    }

    /// Where the events of its connections arrive.
    pub(super) fn sink(self: &Arc<Self>) -> Arc<dyn EventSink> {
        Arc::new(super::events::Sink::new(self))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id)
    }
}
