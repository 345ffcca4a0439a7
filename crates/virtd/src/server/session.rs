//! One client: who it is, what it has open, and the task that moves its bytes.
//!
//! The task reads packets and hands them to [`super::dispatch`], writes what the [`Outbox`] could not write itself, and
//! asks a silent client whether it lives. It never waits for a driver. What must end with the client (calls, streams,
//! the connection behind the waist) ends in `Session::let_go`, whoever ends it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use virt_api::call::Identity;
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection;
use virt_api::protocol::table::Priority;
use virt_api::rpc::keepalive::{self, Action, Keepalive};
use virt_api::rpc::stream::StreamPacket;
use virt_api::rpc::{FDS_MAX, Header, MessageType, Packet, PacketReader};
use virt_util::sys::socket::receive_with_fds;
use virt_util::time::{Clock, SystemClock};
use virt_util::{Result, VirtError};

use super::dispatch::RunningCall;
use super::events::Subscriptions;
use super::listener::Listener;
use super::outbox::{Outbox, Outgoing};
use super::socket::Socket;
use super::stream::{ServedStream, weight};
use super::{Opened, Server};

/// How much is read from a socket at once.
const READ: usize = 256 * 1024;
/// How many packets are handled before other clients get their turn.
const TURN: usize = 64;
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
    peer: String,
    connected: SystemTime,
    wake: Arc<Notify>,
    outbox: Outbox,
    /// Held for looking, never while a driver or the socket is used.
    pub(super) state: Mutex<State>,
    pub(super) subscriptions: Mutex<Subscriptions>,
    /// Bytes that were read and not yet worked on.
    backlog_bytes: AtomicUsize,
}

/// What changes about a client.
pub(super) struct State {
    pub(super) identity: Identity,
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
        peer: String,
        identity: Identity,
        outbox: Outbox,
        wake: Arc<Notify>,
        authenticated: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: server.next_client_id(),
            server: Arc::clone(server),
            listener: Arc::clone(listener),
            peer,
            connected: SystemTime::now(),
            wake,
            outbox,
            state: Mutex::new(State {
                identity,
                authenticated,
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
            backlog_bytes: AtomicUsize::new(0),
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

    /// Its address, for people.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Since when it has been connected.
    pub fn connected(&self) -> SystemTime {
        self.connected
    }

    /// Who it is, as far as that is known now.
    pub fn identity(&self) -> Identity {
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

    fn is_ending(&self) -> bool {
        self.state.lock().ending.is_some()
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

    /// Whether so much waits that nothing more is read.
    fn is_full(&self) -> bool {
        self.backlog_bytes.load(Ordering::Relaxed) > self.server.settings().backlog_bytes_max
    }

    pub(super) fn stream_ended(&self, opened: &Header) {
        let ended = {
            let mut state = self.state.lock();
            match state.streams.get(&opened.serial) {
                Some(stream) if stream.opened().same_call(opened) => state.streams.remove(&opened.serial),
                _ => None,
            }
        };
        drop(ended);
    }

    /// Handles a packet that has arrived. Fails if the connection cannot go on.
    fn packet(self: &Arc<Self>, packet: Packet) -> Result<()> {
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

    fn stream_packet(self: &Arc<Self>, packet: Packet) -> Result<()> {
        let found = self.state.lock().streams.get(&packet.header.serial).cloned();
        // Data has no answer, so a client goes on sending until it hears that its stream has ended.
        let Some(stream) = found.filter(|stream| stream.opened().same_call(&packet.header)) else {
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

    /// Moves the bytes of a client over a socket that needs no encryption, until its end.
    pub(super) async fn run(self: Arc<Self>, socket: Arc<Socket>) {
        let ending = self.serve(&socket).await;
        self.let_go(ending).await;
    }

    async fn serve(self: &Arc<Self>, socket: &Socket) -> Ending {
        let mut input = Input::default();
        let mut pulse = Pulse::new(self);
        let timer = tokio::time::sleep_until(Instant::now() + Duration::from_secs(86_400));
        tokio::pin!(timer);
        loop {
            if let Some(ending) = self.state.lock().ending.clone() {
                return ending;
            }
            if let Some(error) = self.outbox.failure() {
                return Ending::Broken(error);
            }
            if let Some(at) = pulse.arm(self) {
                timer.as_mut().reset(at);
            }
            let full = self.is_full();
            tokio::select! {
                biased;
                ready = socket.readable(), if !full && input.is_empty() => {
                    if let Err(error) = ready {
                        return Ending::Broken(error);
                    }
                    match input.read(socket, self) {
                        Ok(Read::Some) => {}
                        Ok(Read::Drained) => socket.drained(),
                        Ok(Read::Nothing) => {
                            socket.drained();
                            continue;
                        }
                        Ok(Read::End) => return Ending::ClientLeft,
                        Err(error) => return Ending::Broken(error),
                    }
                    pulse.received();
                }
                ready = socket.writable(), if self.outbox.is_pending() => {
                    if let Err(error) = ready {
                        return Ending::Broken(error);
                    }
                    self.flush();
                    if self.outbox.is_pending() {
                        socket.filled();
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::task::yield_now(), if !full && !input.is_empty() => {
                    if let Err(error) = input.go_on(self) {
                        return Ending::Broken(error);
                    }
                }
                () = timer.as_mut(), if pulse.is_armed() => {
                    if let Err(ending) = pulse.beat(self, full) {
                        return ending;
                    }
                }
            }
        }
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
                tracing::info!(client = self.id, peer = self.peer, "connection closed: {error}");
            }
            ending => tracing::debug!(
                client = self.id,
                peer = self.peer,
                "connection closed: {ending:?}"
            ),
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
        write!(f, "Session({}, {})", self.id, self.peer)
    }
}

/// What was read.
enum Read {
    Some,
    /// Bytes, and the socket has no more for now.
    Drained,
    Nothing,
    End,
}

thread_local! {
    /// Where bytes are read to: one buffer serves all clients of a thread, since what it holds is cut into packets
    /// before anything else is read.
    static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// A client's bytes on their way to packets.
#[derive(Default)]
struct Input {
    reader: PacketReader,
    /// Bytes that wait because others had to have their turn.
    rest: Vec<u8>,
}

impl Input {
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn read(&mut self, socket: &Socket, session: &Arc<Session>) -> Result<Read> {
        let mut scratch = SCRATCH.take();
        scratch.resize(READ, 0);
        let done = self.read_into(socket, &mut scratch, session);
        SCRATCH.set(scratch);
        done
    }

    fn read_into(&mut self, socket: &Socket, scratch: &mut [u8], session: &Arc<Session>) -> Result<Read> {
        let Some(received) = receive_with_fds(socket, scratch, FDS_MAX)? else {
            return Ok(Read::Nothing);
        };
        if received.count == 0 {
            return Ok(Read::End);
        }
        // A socket stops before descriptors, so only what came without them can be known to be all.
        let drained = received.count < scratch.len() && received.fds.is_empty();
        for fd in received.fds {
            self.reader.feed_fd(fd)?;
        }
        let bytes = scratch.get(..received.count).unwrap_or_default();
        self.feed(bytes, session)?;
        Ok(if drained { Read::Drained } else { Read::Some })
    }

    /// Goes on with what waited.
    fn go_on(&mut self, session: &Arc<Session>) -> Result<()> {
        let bytes = std::mem::take(&mut self.rest);
        self.feed(&bytes, session)
    }

    fn feed(&mut self, mut bytes: &[u8], session: &Arc<Session>) -> Result<()> {
        let mut corked = false;
        let fed = (|| {
            for turn in 0.. {
                if turn == TURN || (turn > 0 && (session.is_full() || session.is_ending())) {
                    self.rest = bytes.to_vec();
                    break;
                }
                let Some(packet) = self.reader.feed(&mut bytes)? else {
                    break;
                };
                if !bytes.is_empty() && !corked {
                    // More than one: their answers leave together.
                    session.outbox().cork();
                    corked = true;
                }
                session.packet(packet)?;
            }
            Ok(())
        })();
        if corked {
            let mut streams = Vec::new();
            session.outbox().uncork(&mut streams);
            for stream in streams {
                stream.sent();
            }
        }
        fed
    }
}

/// When the client was last heard, and when to ask it.
struct Pulse {
    keepalive: Option<Keepalive>,
    armed: Option<u64>,
}

impl Pulse {
    fn new(_: &Session) -> Self {
        Self {
            keepalive: None,
            armed: None,
        }
    }

    fn received(&mut self) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.received(SystemClock.monotonic_nanos());
        }
    }

    fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// When the timer has to be set, and to what.
    fn arm(&mut self, session: &Session) -> Option<Instant> {
        if self.keepalive.is_none() && session.state.lock().keepalive_wanted {
            let settings = session.server.settings();
            self.keepalive = Some(Keepalive::new(
                settings.keepalive_interval,
                settings.keepalive_count,
                SystemClock.monotonic_nanos(),
            ));
        }
        if self.armed.is_some() {
            return None;
        }
        // The timer is left alone while packets come; when it rings it is set to what is then left.
        let at = self.keepalive.as_ref()?.next_action()?;
        self.armed = Some(at);
        let left = at.saturating_sub(SystemClock.monotonic_nanos());
        Some(Instant::now() + Duration::from_nanos(left))
    }

    /// The timer rang.
    fn beat(&mut self, session: &Session, full: bool) -> std::result::Result<(), Ending> {
        self.armed = None;
        let Some(keepalive) = &mut self.keepalive else {
            return Ok(());
        };
        let now = SystemClock.monotonic_nanos();
        if full {
            // We do not read, so we cannot know; and the client's own questions wait unread: the answer goes first.
            if keepalive.next_action().is_some_and(|at| now >= at) {
                keepalive.received(now);
                if let Ok(pong) = keepalive::pong() {
                    session.outbox.send(Outgoing::packet(pong));
                }
            }
            return Ok(());
        }
        match keepalive.act(now) {
            Action::Wait => Ok(()),
            Action::Ping => {
                match keepalive::ping() {
                    Ok(ping) => {
                        session.outbox.send(Outgoing::packet(ping));
                    }
                    Err(error) => return Err(Ending::Broken(error)),
                }
                Ok(())
            }
            Action::Dead => Err(Ending::Silent),
        }
    }
}
