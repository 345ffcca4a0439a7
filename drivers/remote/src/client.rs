//! The client's end of a connection: calls, streams, events and keepalive over one [`Wire`].
//!
//! No thread of its own. A thread that waits for something leads if nobody does: it polls, reads and writes for
//! everybody, and hands over when its own answer is there; the others sleep until theirs arrives or it is their turn to
//! lead ([`Shared::wait`]). While nobody waits, the application's event loop does the same through [`background`], if
//! there is one. Whatever is to be told to the application (events, the end of the connection) goes through that loop
//! and no other way.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex, MutexGuard};
use virt_api::host::HostServices;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::keepalive::{self, Action, Keepalive, Probe};
use virt_api::rpc::{Header, MessageType, Packet, PacketReader, PacketWriter, Status};
use virt_api::stream_end::Readiness;
use virt_util::error::SystemResult;
use virt_util::time::{Cancel, Clock, Deadline, PROGRESS_EVERY, SystemClock};
use virt_util::xdr::XdrDecode;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::stream::{RemoteStream, StreamState};
use crate::wire::{Got, Helper, Wire};
use background::Background;

mod background;
#[cfg(test)]
mod tests;

/// Read at once.
const READ_SIZE: usize = 256 << 10;
/// Read before somebody looks at clocks and cancels again.
const TURN_MAX: usize = 4 << 20;
/// Calls that were given up and not answered yet. With more the other side counts as stuck.
const ABANDONED_MAX: usize = 4096;
/// Events that wait for the application's loop.
const INBOX_MAX: usize = 65_536;
/// Bytes of them.
const INBOX_BYTES_MAX: usize = 64 << 20;
/// Bytes that wait to be sent before senders of streams have to wait.
pub(crate) const OUT_MAX: usize = 1 << 20;
/// Bytes of a stream that wait to be received before nothing is read any more while nobody waits.
pub(crate) const STREAM_SOFT_MAX: usize = 16 << 20;
/// Bytes of a stream that wait to be received before it fails: calls beside it have to be answered, so it cannot just
/// be left in the socket.
pub(crate) const STREAM_HARD_MAX: usize = 64 << 20;

/// Why a connection ended, in libvirt's numbers (`virConnectCloseReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Error = 0,
    Eof = 1,
    Keepalive = 2,
    Client = 3,
}

/// What the application is to be told, on its loop.
#[derive(Debug)]
pub(crate) enum Incoming {
    Event {
        program: u32,
        procedure: u32,
        payload: Vec<u8>,
    },
    Closed(i32),
}

/// Who is told.
pub(crate) type Receiver = Box<dyn Fn(Incoming) + Send + Sync>;

/// A call to make.
pub(crate) struct Request<'a> {
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub args: &'a [u8],
    pub fds: &'a [BorrowedFd<'a>],
    /// Whether the call opens a stream.
    pub stream: bool,
}

/// A call under way. Giving up on it is [`abandon`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    header: Header,
}

/// The answer to a call.
pub(crate) struct Answer {
    pub payload: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    pub header: Header,
}

/// The client's end. Clones are the same.
#[derive(Clone)]
pub(crate) struct Client(Arc<Shared>);

pub(crate) struct Shared {
    state: Mutex<State>,
    socket: Arc<OwnedFd>,
    /// Interrupts whoever polls.
    wake: EventFd,
    background: OnceLock<Background>,
    receiver: OnceLock<Receiver>,
    /// Whose event loop reads; none where there is no application.
    host: Option<HostServices>,
}

/// Held for looking and for moves of bytes that do not wait; never while anything foreign is called.
pub(crate) struct State {
    wire: Wire,
    reader: PacketReader,
    buffer: Vec<u8>,
    out: VecDeque<Outgoing>,
    out_bytes: usize,
    /// More may be there than the socket shows.
    more: bool,
    calls: HashMap<u32, Pending>,
    abandoned: usize,
    pub streams: HashMap<u32, StreamState>,
    serial: u32,
    /// Somebody polls.
    leading: bool,
    waiters: VecDeque<Arc<Waiter>>,
    end: Option<VirtError>,
    keepalive: Keepalive,
    inbox: VecDeque<Incoming>,
    inbox_bytes: usize,
    has_background: bool,
}

struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Each goes with a byte of its own behind the packet.
    fds: VecDeque<OwnedFd>,
}

struct Pending {
    header: Header,
    stream: bool,
    waiter: Option<Arc<Waiter>>,
    /// Nobody wants the answer any more.
    abandoned: bool,
    answer: Option<Packet>,
}

struct Waiter {
    turn: Condvar,
    cancel: Cancel,
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(crate) struct After {
    wakers: Vec<(virt_api::stream_end::Waker, Readiness)>,
    /// A program that has to end; that takes a moment.
    helper: Option<Helper>,
}

impl After {
    pub fn wake(&mut self, waker: virt_api::stream_end::Waker, ready: Readiness) {
        self.wakers.push((waker, ready));
    }

    fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.helper.is_none()
    }

    fn run(self) {
        for (waker, ready) in self.wakers {
            waker(ready);
        }
        drop(self.helper);
    }
}

fn now() -> u64 {
    SystemClock.monotonic_nanos()
}

fn rpc(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::RPC, detail).in_domain(ErrorDomain::RPC)
}

impl State {
    pub fn end(&self) -> Option<&VirtError> {
        self.end.as_ref()
    }

    /// Whether senders of streams have room.
    pub fn has_room(&self) -> bool {
        self.out_bytes < OUT_MAX
    }

    pub fn enqueue(&mut self, bytes: Vec<u8>, fds: VecDeque<OwnedFd>) {
        self.out_bytes += bytes.len();
        self.out.push_back(Outgoing { bytes, sent: 0, fds });
    }

    fn wants_write(&self) -> bool {
        !self.out.is_empty() || self.wire.wants_write()
    }

    /// Whether no more should be read while nobody waits.
    fn is_full(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.queued() > STREAM_SOFT_MAX)
    }

    fn write_out(&mut self) -> Result<()> {
        self.wire.flush()?;
        while let Some(next) = self.out.front_mut() {
            while let Some(rest) = next.bytes.get(next.sent..).filter(|rest| !rest.is_empty()) {
                let sent = self.wire.write(rest, &[])?;
                if sent == 0 {
                    return Ok(());
                }
                next.sent += sent;
                self.out_bytes -= sent.min(self.out_bytes);
            }
            while let Some(fd) = next.fds.front() {
                if self.wire.write(&[0], &[fd.as_fd()])? == 0 {
                    return Ok(());
                }
                next.fds.pop_front();
            }
            self.out.pop_front();
        }
        Ok(())
    }

    fn read_in(&mut self, after: &mut After) -> Result<()> {
        self.more = false;
        let mut taken = 0;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            if buffer.is_empty() {
                buffer = vec![0; READ_SIZE];
            }
            let got = self.wire.read(&mut buffer);
            let fed = got.and_then(|got| match got {
                Got::End => Err(crate::wire::closed()),
                Got::Nothing => Ok(None),
                Got::Bytes(count, fds) => {
                    for fd in fds {
                        self.reader.feed_fd(fd)?;
                    }
                    let mut input = buffer.get(..count).unwrap_or_default();
                    while let Some(packet) = self.reader.feed(&mut input)? {
                        self.dispatch(packet, after)?;
                    }
                    Ok(Some(count))
                }
            });
            let size = buffer.len();
            self.buffer = buffer;
            let Some(count) = fed? else { return Ok(()) };
            taken += count;
            if count < size && !self.wire.is_encrypted() {
                return Ok(());
            }
            if taken >= TURN_MAX {
                self.more = true;
                return Ok(());
            }
        }
    }

    fn dispatch(&mut self, packet: Packet, after: &mut After) -> Result<()> {
        self.keepalive.received(now());
        match keepalive::probe(&packet) {
            Some(Probe::Ping) => {
                // One that asks faster than it reads gets no queue for it.
                if self.has_room() {
                    self.enqueue(keepalive::pong()?, VecDeque::new());
                    self.write_out()?;
                }
                return Ok(());
            }
            Some(_) => return Ok(()),
            None => {}
        }
        match packet.header.kind {
            MessageType::Reply | MessageType::ReplyWithFds => self.dispatch_reply(packet),
            MessageType::Message => {
                self.dispatch_event(packet);
                Ok(())
            }
            MessageType::Stream | MessageType::StreamHole => self.dispatch_stream(packet, after),
            kind @ (MessageType::Call | MessageType::CallWithFds) => {
                Err(rpc(format_args!("got unexpected RPC call: type {kind:?}")))
            }
        }
    }

    fn dispatch_reply(&mut self, packet: Packet) -> Result<()> {
        let header = packet.header;
        let known = self.calls.get_mut(&header.serial);
        let Some(pending) = known.filter(|known| known.header.same_call(&header) && known.answer.is_none())
        else {
            return Err(rpc(format_args!(
                "no call waiting for reply with prog {} vers {} serial {}",
                header.program, header.version, header.serial
            )));
        };
        if pending.abandoned {
            let opened = pending.stream && header.status == Status::Ok;
            self.calls.remove(&header.serial);
            self.abandoned -= 1;
            if opened {
                let abort = virt_api::rpc::stream::StreamWriter::new(Header::call(
                    header.program,
                    header.version,
                    header.procedure,
                    header.serial,
                ))
                .abort()?;
                self.enqueue(abort, VecDeque::new());
            }
            return Ok(());
        }
        pending.answer = Some(packet);
        if let Some(waiter) = &pending.waiter {
            waiter.turn.notify_one();
        }
        Ok(())
    }

    fn dispatch_event(&mut self, packet: Packet) {
        if !self.has_background {
            return;
        }
        if self.inbox.len() >= INBOX_MAX || self.inbox_bytes + packet.payload.len() > INBOX_BYTES_MAX {
            tracing::warn!("an event is lost: the event loop does not take them");
            return;
        }
        self.inbox_bytes += packet.payload.len();
        self.inbox.push_back(Incoming::Event {
            program: packet.header.program,
            procedure: u32::try_from(packet.header.procedure).unwrap_or_default(),
            payload: packet.payload,
        });
    }

    fn dispatch_stream(&mut self, packet: Packet, after: &mut After) -> Result<()> {
        let serial = packet.header.serial;
        let Some(stream) = self.streams.get_mut(&serial) else {
            // The last packets of a stream that has ended here.
            return Ok(());
        };
        if !stream.header.same_call(&packet.header) {
            return Ok(());
        }
        let abort = stream.take(packet)?;
        stream.announce(self.out_bytes < OUT_MAX, after);
        if abort {
            let abort = virt_api::rpc::stream::StreamWriter::new(stream.header).abort()?;
            self.enqueue(abort, VecDeque::new());
        }
        self.notify_all();
        Ok(())
    }

    fn notify_all(&self) {
        for waiter in &self.waiters {
            waiter.turn.notify_one();
        }
    }

    /// Ends everything.
    fn fail(&mut self, error: &VirtError, reason: CloseReason, after: &mut After) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(error.clone());
        self.out.clear();
        self.out_bytes = 0;
        self.calls.retain(|_, pending| !pending.abandoned);
        self.abandoned = 0;
        for stream in self.streams.values_mut() {
            stream.fail(error);
            stream.announce(true, after);
        }
        if reason != CloseReason::Client && self.has_background {
            self.inbox.push_back(Incoming::Closed(reason as i32));
        }
        after.helper = self.wire.close();
        self.notify_all();
    }

    /// Reads and writes what can be without waiting.
    fn turn(&mut self, after: &mut After) {
        if self.end.is_some() {
            return;
        }
        let was_full = !self.has_room();
        let done = self
            .write_out()
            .and_then(|()| self.read_in(after))
            .and_then(|()| self.write_out());
        if let Err(error) = done {
            let ended =
                error.code() == ErrorCode::SYSTEM_ERROR && error.int1() == nix::errno::Errno::EIO as i32;
            let reason = if ended {
                CloseReason::Eof
            } else {
                CloseReason::Error
            };
            self.fail(&error, reason, after);
            return;
        }
        if was_full && self.has_room() {
            for stream in self.streams.values_mut() {
                stream.announce(true, after);
            }
            self.notify_all();
        }
        match self.keepalive.act(now()) {
            Action::Wait => {}
            Action::Ping => {
                let sent = keepalive::ping().and_then(|ping| {
                    self.enqueue(ping, VecDeque::new());
                    self.write_out()
                });
                if let Err(error) = sent {
                    self.fail(&error, CloseReason::Error, after);
                }
            }
            Action::Dead => self.fail(&keepalive::dead(), CloseReason::Keepalive, after),
        }
    }

    fn remove_waiter(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.retain(|one| !Arc::ptr_eq(one, waiter));
        // Somebody has to go on reading.
        if !self.leading
            && let Some(next) = self.waiters.front()
        {
            next.turn.notify_one();
        }
    }

    fn next_serial(&mut self) -> u32 {
        loop {
            self.serial = self.serial.wrapping_add(1);
            // 0 is keepalive's.
            let taken = self.calls.contains_key(&self.serial) || self.streams.contains_key(&self.serial);
            if self.serial != 0 && !taken {
                return self.serial;
            }
        }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Sends what was enqueued as far as it goes now, and sees that somebody sends the rest.
    pub fn push(&self, state: &mut MutexGuard<'_, State>) {
        let mut after = After::default();
        if state.end.is_none()
            && let Err(error) = state.write_out()
        {
            state.fail(&error, CloseReason::Error, &mut after);
        }
        if state.wants_write() && state.leading {
            let _ = self.wake.write(1);
        }
        self.settle(state, after);
    }

    /// Has the application's event loop read while nobody waits. An error where there is no loop.
    pub fn start_background(self: &Arc<Self>) -> Result<()> {
        let host = self
            .host
            .as_ref()
            .ok_or_else(|| VirtError::internal("there is no event loop"))?;
        background::start(self, host)
    }

    /// Whether an event loop reads while nobody waits.
    pub fn has_background(&self) -> bool {
        self.background.get().is_some()
    }

    /// Reads what is there, if nobody else does.
    pub fn pump(&self, state: &mut MutexGuard<'_, State>) {
        if !state.leading {
            let mut after = After::default();
            state.turn(&mut after);
            self.settle(state, after);
        }
    }

    /// Something was taken out of a queue: the event loop may read on.
    pub fn rearm(&self, state: &mut MutexGuard<'_, State>) {
        self.settle(state, After::default());
    }

    /// Runs what had to wait for the lock, and tells the event loop what it has to do.
    pub fn settle(&self, state: &mut MutexGuard<'_, State>, after: After) {
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        if !after.is_empty() {
            MutexGuard::unlocked(state, || after.run());
        }
    }

    /// Waits until `ready` gives something, which it is asked again whenever something has happened.
    pub fn wait<T>(
        &self,
        state: &mut MutexGuard<'_, State>,
        deadline: Deadline,
        cancel: &Cancel,
        what: &str,
        serial: Option<u32>,
        mut ready: impl FnMut(&mut State) -> Option<Result<T>>,
    ) -> Result<T> {
        if let Some(done) = ready(state) {
            return done;
        }
        let waiter = Arc::new(Waiter {
            turn: Condvar::new(),
            cancel: cancel.clone(),
        });
        if let Some(pending) = serial.and_then(|serial| state.calls.get_mut(&serial)) {
            pending.waiter = Some(Arc::clone(&waiter));
        }
        state.waiters.push_back(Arc::clone(&waiter));
        if state.leading && !cancel.is_never() {
            // The leader polls for everybody's changes of mind.
            let _ = self.wake.write(1);
        }
        let mut turn = match cancel.is_never() {
            true => Deadline::NONE,
            false => Deadline::after(PROGRESS_EVERY),
        };
        let done = loop {
            if let Some(done) = ready(state) {
                break done;
            }
            if let Some(error) = &state.end {
                break Err(error.clone());
            }
            if cancel.is_set() {
                break Err(VirtError::new(ErrorCode::OPERATION_ABORTED, what));
            }
            if deadline.has_passed() {
                break Err(VirtError::new(ErrorCode::OPERATION_TIMEOUT, what));
            }
            // The far side has clocks of its own, and keepalive tells whether there is a far side.
            let until = match cancel.is_never() {
                true => deadline,
                false => {
                    if turn.has_passed() {
                        cancel.progress();
                        turn = Deadline::after(PROGRESS_EVERY);
                    }
                    deadline.min(turn)
                }
            };
            if state.leading {
                match until.remaining() {
                    Some(left) => {
                        waiter.turn.wait_for(state, left);
                    }
                    None => waiter.turn.wait(state),
                }
            } else {
                self.lead(state, until);
            }
        };
        state.remove_waiter(&waiter);
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        done
    }

    /// Polls once for everybody.
    fn lead(&self, state: &mut MutexGuard<'_, State>, deadline: Deadline) {
        state.leading = true;
        if let Some(background) = self.background.get() {
            background.arm(state);
        }
        let cancels: Vec<Cancel> = state
            .waiters
            .iter()
            .filter(|waiter| !waiter.cancel.is_never())
            .map(|waiter| waiter.cancel.clone())
            .collect();
        let mut events = PollFlags::POLLIN;
        if state.wants_write() {
            events |= PollFlags::POLLOUT;
        }
        let until = match state.keepalive.next_action() {
            Some(at) => deadline.min(Deadline::from_nanos(at.max(1))),
            None => deadline,
        };
        let more = state.more;
        let polled = MutexGuard::unlocked(state, || self.poll(events, &cancels, until, more));
        state.leading = false;
        let mut after = After::default();
        match polled {
            Ok(()) => state.turn(&mut after),
            Err(error) => state.fail(&error, CloseReason::Error, &mut after),
        }
        if cancels.iter().any(Cancel::is_set) {
            state.notify_all();
        }
        if !after.is_empty() {
            MutexGuard::unlocked(state, || after.run());
        }
    }

    fn poll(&self, events: PollFlags, cancels: &[Cancel], until: Deadline, more: bool) -> Result<()> {
        let mut fds = Vec::with_capacity(2 + cancels.len());
        fds.push(PollFd::new(self.socket.as_fd(), events));
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        for cancel in cancels {
            if let Some(fd) = cancel.fd()? {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
            }
        }
        let timeout = match until.remaining() {
            _ if more => PollTimeout::ZERO,
            None => PollTimeout::NONE,
            Some(left) => timeout(left),
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(VirtError::system(errno as i32, "poll on socket failed")),
        }
        let woken = fds.get(1).and_then(PollFd::any).unwrap_or_default();
        if woken {
            let _ = self.wake.read();
        }
        Ok(())
    }
}

/// In whole milliseconds, rounded up, so that a deadline has passed when the poll is over.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

impl Client {
    /// Over a wire that is connected.
    pub fn new(wire: Wire, host: Option<HostServices>) -> Result<Self> {
        let socket = wire.descriptor()?;
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .or_system(|| "cannot make an event descriptor")?;
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(State {
                wire,
                reader: PacketReader::new(),
                buffer: Vec::new(),
                out: VecDeque::new(),
                out_bytes: 0,
                more: false,
                calls: HashMap::new(),
                abandoned: 0,
                streams: HashMap::new(),
                serial: 0,
                leading: false,
                waiters: VecDeque::new(),
                end: None,
                keepalive: Keepalive::new(None, 0, now()),
                inbox: VecDeque::new(),
                inbox_bytes: 0,
                has_background: false,
            }),
            socket,
            wake,
            background: OnceLock::new(),
            receiver: OnceLock::new(),
            host,
        })))
    }

    /// Who is told about events. Once, before [`Client::start_background`].
    pub fn set_receiver(&self, receiver: Receiver) {
        let _ = self.0.receiver.set(receiver);
    }

    /// Has the application's event loop read while nobody waits. An error where there is no loop.
    pub fn start_background(&self) -> Result<()> {
        self.0.start_background()
    }

    /// Whether the connection stands, as far as is known.
    pub fn is_alive(&self) -> bool {
        let mut state = self.0.lock();
        if state.end.is_none() && !state.leading {
            // The end may have come and nobody looked.
            let mut after = After::default();
            state.turn(&mut after);
            self.0.settle(&mut state, after);
        }
        state.end.is_none()
    }

    /// Asks after each `interval` of silence whether the other side lives; `None` stops.
    pub fn set_keepalive(&self, interval: Option<Duration>, count: u32) {
        let mut state = self.0.lock();
        state.keepalive = Keepalive::new(interval, count, now());
        if state.leading {
            let _ = self.0.wake.write(1);
        }
        self.0.settle(&mut state, After::default());
    }

    /// Sends a call.
    pub fn send(&self, request: &Request<'_>) -> Result<Ticket> {
        let mut fds = VecDeque::with_capacity(request.fds.len());
        for fd in request.fds {
            fds.push_back(
                fd.try_clone_to_owned()
                    .or_system(|| "cannot duplicate a descriptor")?,
            );
        }
        let procedure = i32::try_from(request.procedure)
            .map_err(|_| VirtError::invalid_arg(format_args!("procedure {}", request.procedure)))?;
        let mut state = self.0.lock();
        if let Some(error) = &state.end {
            return Err(error.clone());
        }
        if !fds.is_empty() && !state.wire.takes_fds() {
            return Err(VirtError::new(
                ErrorCode::NO_SUPPORT,
                "file descriptors cannot be passed on this connection",
            ));
        }
        if state.abandoned >= ABANDONED_MAX {
            return Err(VirtError::new(
                ErrorCode::OPERATION_TIMEOUT,
                format_args!("{ABANDONED_MAX} calls were given up and none of them was answered since"),
            ));
        }
        let header = Header::call(request.program, request.version, procedure, state.next_serial());
        let writer = if fds.is_empty() {
            PacketWriter::new(&header)
        } else {
            PacketWriter::with_fds(&header, fds.len())?
        };
        let bytes = writer.finish_with(request.args)?;
        state.calls.insert(
            header.serial,
            Pending {
                header,
                stream: request.stream,
                waiter: None,
                abandoned: false,
                answer: None,
            },
        );
        if request.stream {
            state.streams.insert(header.serial, StreamState::new(header));
        }
        state.enqueue(bytes, fds);
        self.0.push(&mut state);
        Ok(Ticket { header })
    }

    /// Waits for the answer to a call.
    pub fn receive(&self, ticket: &Ticket, deadline: Deadline, cancel: &Cancel) -> Result<Answer> {
        let serial = ticket.header.serial;
        let mut state = self.0.lock();
        let what = "no answer from the other side yet";
        let packet = self
            .0
            .wait(&mut state, deadline, cancel, what, Some(serial), |state| {
                let answered = state.calls.get(&serial).is_some_and(|call| call.answer.is_some());
                if !answered {
                    return None;
                }
                state.calls.remove(&serial).and_then(|call| call.answer).map(Ok)
            });
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                abandon(&mut state, serial);
                return Err(error);
            }
        };
        if packet.header.status == Status::Error {
            state.streams.remove(&serial);
            drop(state);
            return Err(ErrorMessage::from_xdr(&packet.payload)?.into_error());
        }
        Ok(Answer {
            payload: packet.payload,
            fds: packet.fds,
            header: ticket.header,
        })
    }

    /// The stream that the answered call opened.
    pub fn stream(&self, answer: &Answer, holes: bool) -> RemoteStream {
        RemoteStream::new(Arc::clone(&self.0), answer.header, holes)
    }

    /// Ends the connection from this side.
    pub fn close(&self) {
        let mut state = self.0.lock();
        let mut after = After::default();
        state.fail(&crate::wire::closed(), CloseReason::Client, &mut after);
        self.0.settle(&mut state, after);
        drop(state);
        if let Some(background) = self.0.background.get() {
            background.stop();
        }
    }
}

fn abandon(state: &mut State, serial: u32) {
    state.streams.remove(&serial);
    if state.end.is_some() {
        state.calls.remove(&serial);
    } else if let Some(call) = state.calls.get_mut(&serial) {
        call.abandoned = true;
        call.waiter = None;
        state.abandoned += 1;
    }
}
