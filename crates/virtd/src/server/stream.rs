//! Streams: bytes and holes between a driver's end and a client's packets, both ways.
//!
//! A stream belongs to one worker at a time (the *pump*), which moves what can be moved and goes home: the driver's end
//! wakes it when there is more to do, the client's packets do, and the socket does when it has taken what waited. To a
//! client goes one packet of data at a time; what a client sends waits in a queue whose bytes count against the
//! client's limit, so a driver that does not take data stops the reading of the socket.
//!
//! Much data between two sockets is not copied: where the driver's end can do so ([`StreamEnd::can_splice`]) it goes from
//! socket to socket through a pipe. What a client sends is then handed on by the thread that has read it, as long as the
//! driver takes it at once; what it does not take stays in the pipe, in its place in the queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use virt_api::protocol::table::{Priority, StreamDirection, StreamUse};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::stream::{StreamPacket, StreamWriter};
use virt_api::rpc::{Header, Status};
use virt_api::stream_end::{Readiness, StreamEnd, Transfer};
use virt_util::splice::{Pipe, splice};
use virt_util::xdr::XdrEncode;
use virt_util::{Result, VirtError};

use self::outward::{Outbound, Outward};
use super::outbox::Outgoing;
use super::session::Session;
use super::socket::Socket;

mod outward;

/// How many packets a pump moves before others get the worker.
const TURN: usize = 64;
/// How much a pipe holds.
const PIPE: usize = 1 << 20;

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
    /// Only the pump touches it.
    outward: Mutex<Outbound>,
    /// Data may go through pipes, as far as driver and socket are concerned.
    splices: bool,
    /// What the client has sent and the driver not taken, of [`Item::Piped`].
    inward: OnceLock<Option<Pipe>>,
    /// What the driver's end has been told to wake the pump for, and has not yet.
    watched: AtomicU32,
}

/// Something that the client has sent.
enum Item {
    Packet(StreamPacket),
    /// So many bytes of data, in the pipe.
    Piped(usize),
}

/// What became of a client's data that was to go into a pipe.
pub(super) enum Diverted {
    /// So many bytes are in the stream's hands; 0 is the end of the socket.
    Bytes(usize),
    /// The socket has nothing.
    Nothing,
    /// They have to be read and given to [`ServedStream::receive`].
    Refused,
}

/// Which thread reads for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Thread {
    /// The one that moves everybody's bytes: it never waits.
    #[default]
    Everybodys,
    /// One that may wait a little.
    Worker,
}

#[derive(Default)]
struct State {
    incoming: VecDeque<Item>,
    /// How much of the first of `incoming` the driver has taken.
    taken: usize,
    /// How many bytes are in the pipe of what the client sends.
    piped: usize,
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
            writer: StreamWriter::new(opened),
            out: usage.both || usage.direction == StreamDirection::Out,
            sparse: usage.sparse.is_some_and(|flag| flags & flag.value != 0),
            state: Mutex::default(),
            outward: Mutex::default(),
            splices: session.outbox().is_direct() && end.can_splice(),
            inward: OnceLock::new(),
            watched: AtomicU32::new(0),
            end,
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
                let dropped = state.incoming.drain(..).map(|item| item.weight()).sum();
                state.taken = 0;
                if let Some(session) = self.session.upgrade() {
                    session.taken(dropped);
                }
            }
            state.incoming.push_back(Item::Packet(packet));
        }
        self.schedule();
    }

    /// Takes at most `most` bytes of data that the client sends straight from its socket, and gives them to the driver if
    /// that takes them now, or soon where the thread may wait. To be called by who reads for the client alone.
    pub(super) fn divert(
        self: &Arc<Self>,
        session: &Arc<Session>,
        socket: &Socket,
        most: usize,
        thread: Thread,
    ) -> Diverted {
        if !self.splices {
            return Diverted::Refused;
        }
        let piped = {
            let state = self.state.lock();
            if state.ended {
                return Diverted::Refused;
            }
            state.piped
        };
        // Without a pipe there is the way of all other data.
        let Some(pipe) = self.inward.get_or_init(|| Pipe::new(PIPE).ok()) else {
            return Diverted::Refused;
        };
        let count = match splice(socket, pipe.writer(), most) {
            Ok(0) => return Diverted::Bytes(0),
            Ok(count) => count,
            Err(error)
                if error.kind() == std::io::ErrorKind::WouldBlock && (piped == 0 || !socket.has_input()) =>
            {
                return Diverted::Nothing;
            }
            // The pipe is full, or whatever is wrong with the socket will show.
            Err(_) => return Diverted::Refused,
        };
        session.queued(count);
        {
            let mut state = self.state.lock();
            state.piped += count;
            match state.incoming.back_mut() {
                Some(Item::Piped(bytes)) => *bytes += count,
                _ => state.incoming.push_back(Item::Piped(count)),
            }
            if state.ended || std::mem::replace(&mut state.pumping, true) {
                state.again = true;
                return Diverted::Bytes(count);
            }
            state.again = false;
        }
        self.hand_on(session, thread);
        Diverted::Bytes(count)
    }

    /// The pump, on the thread that has read what came, for as long as the driver takes it at once.
    fn hand_on(self: &Arc<Self>, session: &Arc<Session>, thread: Thread) {
        for _ in 0..TURN {
            match self.take_incoming(session, thread == Thread::Everybodys) {
                Ok(Incoming::Moved) => {}
                Ok(Incoming::Nothing) => {
                    let mut state = self.state.lock();
                    // What else there is to do is for a worker.
                    if state.again {
                        break;
                    }
                    state.pumping = false;
                    return;
                }
                Ok(Incoming::Full) => break,
                Ok(Incoming::Ended) => return,
                Err(error) => {
                    // The driver hears of the end, for which it may take its time.
                    let (stream, client) = (Arc::clone(self), Arc::clone(session));
                    let job = Box::new(move || stream.fail(&client, &error));
                    return session.server().workers().submit(Priority::Low, job);
                }
            }
        }
        self.submit();
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

    /// Has the driver's end wake the pump, unless it is about to anyway.
    fn watch(self: &Arc<Self>, interest: Readiness) -> Result<()> {
        if self.watched.swap(interest.0, Ordering::AcqRel) == interest.0 {
            return Ok(());
        }
        let stream = Arc::downgrade(self);
        self.end.watch(
            interest,
            Box::new(move |_| {
                if let Some(stream) = stream.upgrade() {
                    stream.watched.store(0, Ordering::Release);
                    stream.schedule();
                }
            }),
        )
    }

    /// Moves one packet each way.
    fn move_some(self: &Arc<Self>, session: &Arc<Session>) -> Result<Turn> {
        let mut interest = Readiness::default();
        let mut moved = false;
        match self.take_incoming(session, false)? {
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

    /// Hands the first of what the client sent to the driver. What may take a while is not begun `at_once`.
    fn take_incoming(self: &Arc<Self>, session: &Arc<Session>, at_once: bool) -> Result<Incoming> {
        let (packet, taken) = {
            let mut state = self.state.lock();
            if at_once && matches!(state.incoming.front(), Some(Item::Packet(_))) {
                return Ok(Incoming::Full);
            }
            match state.incoming.pop_front() {
                None => return Ok(Incoming::Nothing),
                Some(Item::Packet(packet)) => (packet, std::mem::take(&mut state.taken)),
                Some(Item::Piped(count)) => {
                    drop(state);
                    return self.take_piped(session, count, at_once);
                }
            }
        };
        match &packet {
            StreamPacket::Data(bytes) => {
                let offered = bytes.get(taken..).unwrap_or_default();
                let sent = self
                    .end
                    .send(offered)
                    .and_then(|sent| self.take_up(sent, bytes.len()));
                let sent = match sent {
                    Ok(Some(sent)) => sent,
                    Ok(None) => {
                        self.put_back(Item::Packet(packet), taken);
                        return Ok(Incoming::Full);
                    }
                    Err(error) => {
                        session.taken(weight(&packet));
                        return Err(error);
                    }
                };
                let taken = taken.saturating_add(sent);
                if taken < bytes.len() {
                    self.put_back(Item::Packet(packet), taken);
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

    /// How many bytes of `all` are done with; `None` if they have to wait.
    fn take_up(&self, sent: Transfer, all: usize) -> Result<Option<usize>> {
        if let Transfer::Bytes(sent) = sent {
            return Ok(Some(sent));
        }
        let ready = self.end.readiness(Readiness::WRITABLE)?;
        // A driver's side that has ended takes nothing any more.
        let ended = !ready.and(Readiness::HANGUP).is_empty() && ready.and(Readiness::WRITABLE).is_empty();
        Ok(ended.then_some(all))
    }

    /// Hands `count` bytes, which are in the pipe, to the driver.
    fn take_piped(&self, session: &Session, count: usize, at_once: bool) -> Result<Incoming> {
        let Some(Some(pipe)) = self.inward.get() else {
            return Err(VirtError::internal("a stream's pipe is gone"));
        };
        let given = self.end.send_from_pipe(pipe.reader(), count, at_once);
        let sent = match given.and_then(|sent| Ok((sent, self.take_up(sent, count)?))) {
            Ok((Transfer::Bytes(_), sent)) => sent.map(|sent| sent.min(count)),
            Ok((Transfer::WouldBlock | Transfer::AtHole, None)) => None,
            Ok((Transfer::WouldBlock | Transfer::AtHole, Some(_))) => {
                // Should the pipe fail, so does what comes next.
                let _ = pipe.discard(count);
                Some(count)
            }
            Err(error) => {
                session.taken(count);
                return Err(error);
            }
        };
        let taken = sent.unwrap_or(0);
        {
            let mut state = self.state.lock();
            state.piped = state.piped.saturating_sub(taken);
        }
        session.taken(taken);
        if taken < count {
            self.put_back(Item::Piped(count - taken), 0);
        }
        Ok(match sent {
            Some(_) => Incoming::Moved,
            None => Incoming::Full,
        })
    }

    fn put_back(&self, item: Item, taken: usize) {
        let mut state = self.state.lock();
        // An abort that came meanwhile has made it pointless.
        if !matches!(state.incoming.front(), Some(Item::Packet(StreamPacket::Abort))) {
            state.incoming.push_front(item);
            state.taken = taken;
        } else if let Some(session) = self.session.upgrade() {
            session.taken(item.weight());
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
            state.incoming.drain(..).map(|item| item.weight()).sum()
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

impl Item {
    /// What it counts against the client's limit.
    fn weight(&self) -> usize {
        match self {
            Self::Packet(packet) => weight(packet),
            Self::Piped(bytes) => *bytes,
        }
    }
}

/// What a packet counts against the client's limit.
pub(super) fn weight(packet: &StreamPacket) -> usize {
    const EACH: usize = 64;
    match packet {
        StreamPacket::Data(bytes) => bytes.len() + EACH,
        _ => EACH,
    }
}
