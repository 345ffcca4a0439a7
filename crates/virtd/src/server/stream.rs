//! Streams: bytes and holes between a driver's end and a client's packets, both ways.
//!
//! A stream belongs to one worker at a time (the *pump*), which moves what can be moved and goes home: the driver's end
//! wakes it when there is more to do, the client's packets do, and the socket does when it has taken what waited. To a
//! client goes one packet of data at a time; what a client sends waits in a queue whose bytes count against the
//! client's limit, so a driver that does not take data stops the reading of the socket.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use virt_api::protocol::table::{Priority, StreamDirection, StreamUse};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::stream::{CHUNK_MAX, StreamPacket, StreamWriter};
use virt_api::rpc::{Header, PacketWriter, Status};
use virt_api::stream_end::{Readiness, StreamEnd, Transfer};
use virt_util::xdr::XdrEncode;
use virt_util::{Result, VirtError};

use super::outbox::{Outgoing, Sent};
use super::session::Session;

/// How many packets a pump moves before others get the worker.
const TURN: usize = 64;
/// How long a pump waits for the socket before the client's task does.
const SOCKET_WAIT_MILLIS: u8 = 20;
/// Length word and header.
const HEAD: usize = 28;

/// One stream of a client.
pub(super) struct ServedStream {
    opened: Header,
    session: Weak<Session>,
    end: StreamEnd,
    writer: StreamWriter,
    /// Data comes from the driver.
    out: bool,
    /// Holes were agreed on.
    sparse: bool,
    /// Held for looking, never while the driver's end or the socket is used.
    state: Mutex<State>,
    /// Where data to send is put; its packet's head stays in it. Only the pump touches it.
    buffer: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct State {
    incoming: VecDeque<StreamPacket>,
    /// How much of the first of `incoming` the driver has taken.
    taken: usize,
    /// A worker has the pump, or will have it.
    pumping: bool,
    /// Something happened since the pump last looked.
    again: bool,
    /// A packet of ours waits for the socket.
    in_flight: bool,
    /// The driver has no more data.
    drained: bool,
    ended: bool,
}

/// What the pump does next.
enum Turn {
    GoOn,
    Wait(Readiness),
    End,
}

impl ServedStream {
    pub(super) fn new(
        opened: Header,
        session: &Arc<Session>,
        end: StreamEnd,
        usage: StreamUse,
        flags: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            opened,
            session: Arc::downgrade(session),
            end,
            writer: StreamWriter::new(opened),
            out: usage.both || usage.direction == StreamDirection::Out,
            sparse: usage.sparse.is_some_and(|flag| flags & flag.value != 0),
            state: Mutex::default(),
            buffer: Mutex::default(),
        })
    }

    /// The head of the call that opened it.
    pub(super) fn opened(&self) -> &Header {
        &self.opened
    }

    /// Whether the client may send holes.
    pub(super) fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// The client sent this.
    pub(super) fn receive(self: &Arc<Self>, packet: StreamPacket) {
        {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            if matches!(packet, StreamPacket::Abort) {
                // What waits is not wanted any more.
                let dropped = state.incoming.drain(..).map(|packet| weight(&packet)).sum();
                state.taken = 0;
                if let Some(session) = self.session.upgrade() {
                    session.taken(dropped);
                }
            }
            state.incoming.push_back(packet);
        }
        self.schedule();
    }

    /// The socket has taken our packet.
    pub(super) fn sent(self: &Arc<Self>) {
        self.state.lock().in_flight = false;
        self.schedule();
    }

    /// The client is gone: nothing more is moved, and the driver hears of it.
    pub(super) fn abandon(&self) {
        {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.incoming.clear();
        }
        if let Err(error) = self.end.abort() {
            tracing::debug!("an abandoned stream: {error}");
        }
    }

    /// Gives the pump to a worker, if none has it.
    pub(super) fn schedule(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            state.again = true;
            if state.ended || std::mem::replace(&mut state.pumping, true) {
                return;
            }
        }
        self.submit();
    }

    fn submit(self: &Arc<Self>) {
        let Some(session) = self.session.upgrade() else {
            return;
        };
        let stream = Arc::clone(self);
        session
            .server()
            .workers()
            .submit(Priority::Low, Box::new(move || stream.pump()));
    }

    fn pump(self: &Arc<Self>) {
        let Some(session) = self.session.upgrade() else {
            return self.abandon();
        };
        for _ in 0..TURN {
            self.state.lock().again = false;
            let turn = self.move_some(&session).unwrap_or_else(|error| {
                self.fail(&session, &error);
                Turn::End
            });
            match turn {
                Turn::GoOn => continue,
                Turn::End => return,
                Turn::Wait(interest) => {
                    if !interest.is_empty()
                        && let Err(error) = self.watch(interest)
                    {
                        return self.fail(&session, &error);
                    }
                    let mut state = self.state.lock();
                    if !state.again {
                        state.pumping = false;
                        return;
                    }
                }
            }
        }
        self.submit();
    }

    fn watch(self: &Arc<Self>, interest: Readiness) -> Result<()> {
        let stream = Arc::downgrade(self);
        self.end.watch(
            interest,
            Box::new(move |_| {
                if let Some(stream) = stream.upgrade() {
                    stream.schedule();
                }
            }),
        )
    }

    /// Moves one packet each way.
    fn move_some(self: &Arc<Self>, session: &Arc<Session>) -> Result<Turn> {
        let mut interest = Readiness::default();
        let mut moved = false;
        match self.take_incoming(session)? {
            Incoming::Nothing => {}
            Incoming::Moved => moved = true,
            Incoming::Full => interest = interest.or(Readiness::WRITABLE),
            Incoming::Ended => return Ok(Turn::End),
        }
        let may_send = {
            let state = self.state.lock();
            if state.ended {
                return Ok(Turn::End);
            }
            self.out && !state.drained && !state.in_flight
        };
        if may_send {
            match self.send_some(session)? {
                Outward::Moved => moved = true,
                Outward::Nothing => interest = interest.or(Readiness::READABLE),
                Outward::Stopped => {}
            }
        }
        Ok(if moved { Turn::GoOn } else { Turn::Wait(interest) })
    }

    /// Hands the first of what the client sent to the driver.
    fn take_incoming(self: &Arc<Self>, session: &Arc<Session>) -> Result<Incoming> {
        let (packet, taken) = {
            let mut state = self.state.lock();
            let Some(packet) = state.incoming.pop_front() else {
                return Ok(Incoming::Nothing);
            };
            (packet, std::mem::take(&mut state.taken))
        };
        match &packet {
            StreamPacket::Data(bytes) => {
                let sent = match self.end.send(bytes.get(taken..).unwrap_or_default())? {
                    Transfer::Bytes(sent) => sent,
                    Transfer::WouldBlock | Transfer::AtHole => {
                        let ready = self.end.readiness(Readiness::WRITABLE)?;
                        if ready.and(Readiness::HANGUP).is_empty()
                            || !ready.and(Readiness::WRITABLE).is_empty()
                        {
                            self.put_back(packet, taken);
                            return Ok(Incoming::Full);
                        }
                        // The driver's side has ended and takes nothing any more.
                        bytes.len()
                    }
                };
                let taken = taken.saturating_add(sent);
                if taken < bytes.len() {
                    self.put_back(packet, taken);
                } else {
                    session.taken(weight(&packet));
                    if let StreamPacket::Data(bytes) = packet {
                        session.give_back(bytes);
                    }
                }
                Ok(Incoming::Moved)
            }
            StreamPacket::Hole(length) => {
                session.taken(weight(&packet));
                if let Err(error) = self.end.send_hole(*length) {
                    self.fail_hole(session, &error);
                    return Ok(Incoming::Ended);
                }
                Ok(Incoming::Moved)
            }
            StreamPacket::EndOfData => {
                session.taken(weight(&packet));
                Ok(Incoming::Moved)
            }
            StreamPacket::Finish => {
                session.taken(weight(&packet));
                self.end.finish()?;
                self.confirm(session)?;
                Ok(Incoming::Ended)
            }
            StreamPacket::Abort => {
                session.taken(weight(&packet));
                self.end.abort()?;
                self.confirm(session)?;
                Ok(Incoming::Ended)
            }
            StreamPacket::Failed(error) => {
                session.taken(weight(&packet));
                // Clients abort without saying why; one that says it is understood.
                tracing::debug!("a client's stream failed: {error}");
                self.end.abort()?;
                self.confirm(session)?;
                Ok(Incoming::Ended)
            }
        }
    }

    fn put_back(&self, packet: StreamPacket, taken: usize) {
        let mut state = self.state.lock();
        // An abort that came meanwhile has made it pointless.
        if !matches!(state.incoming.front(), Some(StreamPacket::Abort)) {
            state.incoming.push_front(packet);
            state.taken = taken;
        } else if let Some(session) = self.session.upgrade() {
            session.taken(weight(&packet));
        }
    }

    /// Sends what the driver has, one packet of it.
    fn send_some(self: &Arc<Self>, session: &Arc<Session>) -> Result<Outward> {
        let mut buffer = self.buffer.lock();
        if buffer.is_empty() {
            *buffer = PacketWriter::new(&self.opened.stream(Status::Continue)).finish_before(0)?;
            buffer.resize(HEAD + CHUNK_MAX, 0);
        }
        let count = match self
            .end
            .recv(buffer.get_mut(HEAD..).unwrap_or_default(), self.sparse)?
        {
            Transfer::Bytes(count) => count,
            Transfer::WouldBlock => return Ok(Outward::Nothing),
            Transfer::AtHole => {
                let length = self.end.recv_hole()?;
                let hole = Outgoing::packet(self.writer.hole(length)?);
                self.send(session, hole);
                return Ok(Outward::Moved);
            }
        };
        if count == 0 {
            self.state.lock().drained = true;
            *buffer = Vec::new();
            session
                .outbox()
                .send(Outgoing::packet(self.writer.end_of_data()?));
            return Ok(Outward::Moved);
        }
        let length = HEAD + count.min(CHUNK_MAX);
        if let (Some(word), Ok(wire)) = (buffer.first_chunk_mut::<4>(), u32::try_from(length)) {
            *word = wire.to_be_bytes();
        }
        self.state.lock().in_flight = true;
        let packet = buffer.get(..length).unwrap_or_default();
        match session.outbox().send_slice(packet, self) {
            Sent::Written => self.state.lock().in_flight = false,
            Sent::Closed => return Ok(Outward::Stopped),
            Sent::Queued => {
                let mut streams = Vec::new();
                let written = session.outbox().wait(SOCKET_WAIT_MILLIS, &mut streams);
                for stream in streams {
                    if Arc::ptr_eq(&stream, self) {
                        self.state.lock().in_flight = false;
                    } else {
                        stream.sent();
                    }
                }
                if !written {
                    session.outbox().kick();
                    if self.state.lock().in_flight {
                        return Ok(Outward::Stopped);
                    }
                }
            }
        }
        Ok(Outward::Moved)
    }

    /// Sends a packet that counts as the one in flight.
    fn send(self: &Arc<Self>, session: &Arc<Session>, packet: Outgoing) {
        self.state.lock().in_flight = true;
        if session.outbox().send(packet.for_stream(Arc::clone(self))) == Sent::Written {
            self.state.lock().in_flight = false;
        }
    }

    fn confirm(&self, session: &Arc<Session>) -> Result<()> {
        self.state.lock().ended = true;
        session.stream_ended(&self.opened);
        session.outbox().send(Outgoing::packet(self.writer.finish()?));
        Ok(())
    }

    /// The driver's side failed: the client hears of it, and the stream is over.
    fn fail(&self, session: &Arc<Session>, error: &VirtError) {
        if !self.end_with(session) {
            return;
        }
        match self.writer.failed(error) {
            Ok(packet) => {
                session.outbox().send(Outgoing::packet(packet));
            }
            Err(error) => tracing::warn!("a stream's error cannot be told: {error}"),
        }
    }

    /// libvirt's daemon answers a hole that failed like a call.
    fn fail_hole(&self, session: &Arc<Session>, error: &VirtError) {
        if !self.end_with(session) {
            return;
        }
        let header = self.opened.reply(Status::Error);
        let packet = ErrorMessage::from(error)
            .to_xdr()
            .and_then(|payload| Outgoing::reply(&header, payload, Vec::new()));
        match packet {
            Ok(packet) => {
                session.outbox().send(packet);
            }
            Err(error) => tracing::warn!("a stream's error cannot be told: {error}"),
        }
    }

    fn end_with(&self, session: &Arc<Session>) -> bool {
        let dropped: usize = {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.ended, true) {
                return false;
            }
            state.incoming.drain(..).map(|packet| weight(&packet)).sum()
        };
        session.taken(dropped);
        session.stream_ended(&self.opened);
        if let Err(error) = self.end.abort() {
            tracing::debug!("a failed stream: {error}");
        }
        true
    }
}

impl std::fmt::Debug for ServedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServedStream({})", self.opened.serial)
    }
}

enum Incoming {
    Nothing,
    Moved,
    /// The driver takes nothing now.
    Full,
    Ended,
}

enum Outward {
    Moved,
    /// The driver has nothing now.
    Nothing,
    /// The socket is full, or gone.
    Stopped,
}

/// What a packet counts against the client's limit.
pub(super) fn weight(packet: &StreamPacket) -> usize {
    const EACH: usize = 64;
    match packet {
        StreamPacket::Data(bytes) => bytes.len() + EACH,
        _ => EACH,
    }
}
