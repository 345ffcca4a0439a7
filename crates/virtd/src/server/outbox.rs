//! What is on its way to a client: packets in order, and who writes them.
//!
//! Whoever has a packet writes it himself if nothing waits before it and the socket takes it: a worker's answer goes
//! out without waking the I/O thread. What the socket does not take stays in the queue, and the client's task writes it
//! when the socket is ready again. Events are bounded: a client that does not read hears only the newest of each kind
//! for each object, and is let go when even that is too much.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, sendmsg};
use parking_lot::Mutex;
use tokio::sync::Notify;
use virt_api::rpc::{Header, PacketWriter};
use virt_util::splice::{Pipe, splice};
use virt_util::sys::socket::{send_with_fds, widen_send_buffer};
use virt_util::{Result, VirtError};

use super::socket::Socket;
use super::stream::ServedStream;

/// How many packets go into one write.
const GATHER: usize = 16;

/// What tells two events apart that the newer one makes the older one pointless: program, procedure, callback, object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKey {
    pub(super) program: u32,
    pub(super) procedure: u32,
    pub(super) callback: i32,
    pub(super) object: Vec<u8>,
}

/// A packet to send.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The packet, or its head if the payload is apart.
    head: Vec<u8>,
    /// The payload where it was not worth copying.
    payload: Vec<u8>,
    /// What goes behind head and payload out of a pipe.
    piped: Option<Piped>,
    fds: VecDeque<OwnedFd>,
    /// How much of head and payload is written.
    sent: usize,
    /// The stream that may go on when this is written.
    stream: Option<Arc<ServedStream>>,
    event: bool,
}

impl Outgoing {
    /// A whole packet.
    pub(super) fn packet(bytes: Vec<u8>) -> Self {
        Self {
            head: bytes,
            ..Self::default()
        }
    }

    /// An answer whose payload goes out as it is.
    pub(super) fn reply(header: &Header, payload: Vec<u8>, fds: Vec<OwnedFd>) -> Result<Self> {
        /// Shorter ones are cheaper to copy than to gather.
        const COPY_MAX: usize = 16_384;
        let writer = if fds.is_empty() {
            PacketWriter::new(header)
        } else {
            PacketWriter::with_fds(header, fds.len())?
        };
        let (head, payload) = if payload.len() <= COPY_MAX {
            (writer.finish_with(&payload)?, Vec::new())
        } else {
            (writer.finish_before(payload.len())?, payload)
        };
        Ok(Self {
            head,
            payload,
            fds: fds.into(),
            ..Self::default()
        })
    }

    /// Lets `stream` go on when this is written.
    pub(super) fn for_stream(mut self, stream: Arc<ServedStream>) -> Self {
        self.stream = Some(stream);
        self
    }

    fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    fn rest(&self) -> [&[u8]; 2] {
        let head = self.head.get(self.sent..).unwrap_or_default();
        let into_payload = self.sent.saturating_sub(self.head.len());
        [head, self.payload.get(into_payload..).unwrap_or_default()]
    }

    fn is_written(&self) -> bool {
        self.sent >= self.len() && self.fds.is_empty() && self.piped_left() == 0
    }

    fn piped_left(&self) -> usize {
        self.piped.as_ref().map_or(0, |piped| piped.left)
    }
}

/// Bytes that a pipe holds, and nobody else takes out of it.
#[derive(Debug)]
pub(super) struct Piped {
    pub(super) pipe: Arc<Pipe>,
    pub(super) left: usize,
}

/// How the packets leave.
#[derive(Debug)]
enum Way {
    /// Straight into the socket, from any thread.
    Socket(Arc<Socket>),
    /// By the client's task, which encrypts them.
    Task,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is out of our hands.
    Written,
    /// It waits for the socket.
    Queued,
    /// The client is gone.
    Closed,
}

/// The packets of one client.
#[derive(Debug)]
pub(super) struct Outbox {
    way: Way,
    carries_fds: bool,
    /// Held while the socket, which never blocks, is written to.
    queue: Mutex<Queue>,
    /// Wakes the client's task.
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Outgoing>,
    /// The number of the first of `items`; numbers go up by one.
    first: u64,
    bytes: usize,
    event_bytes: usize,
    /// The newest event of each kind and object, by the number of its packet.
    events: HashMap<EventKey, u64>,
    /// Packets are collected, to leave in one write.
    corked: bool,
    failed: Option<VirtError>,
    closed: bool,
}

impl Outbox {
    /// For a socket that is written to as it is; only Unix sockets carry descriptors.
    pub(super) fn on_socket(socket: Arc<Socket>, carries_fds: bool, wake: Arc<Notify>) -> Self {
        Self::new(Way::Socket(socket), carries_fds, wake)
    }

    /// For a connection that its task encrypts.
    pub(super) fn by_task(wake: Arc<Notify>) -> Self {
        Self::new(Way::Task, false, wake)
    }

    fn new(way: Way, carries_fds: bool, wake: Arc<Notify>) -> Self {
        Self {
            way,
            carries_fds,
            queue: Mutex::default(),
            wake,
        }
    }

    /// Whether descriptors can go along.
    pub(super) fn carries_fds(&self) -> bool {
        self.carries_fds
    }

    /// Sends a packet behind those that wait.
    pub(super) fn send(&self, item: Outgoing) -> Sent {
        let mut queue = self.queue.lock();
        if queue.closed || queue.failed.is_some() {
            return Sent::Closed;
        }
        let idle = queue.items.is_empty();
        queue.push(item);
        match &self.way {
            Way::Socket(socket) if idle && !queue.corked => {
                // The item itself tells its stream by the answer.
                let mut streams = Vec::new();
                queue.write(socket, &mut streams);
            }
            _ => {}
        }
        let left = !queue.items.is_empty();
        let failed = queue.failed.is_some();
        let corked = queue.corked;
        drop(queue);
        if failed || (left && !corked) {
            self.wake.notify_one();
        }
        match (failed, left) {
            (true, _) => Sent::Closed,
            (_, true) => Sent::Queued,
            (_, false) => Sent::Written,
        }
    }

    /// Sends a packet of a stream behind those that wait, and copies only what the socket does not take. Nobody is woken
    /// for the rest: the caller waits for the socket himself ([`Outbox::wait`]) or says that he does not
    /// ([`Outbox::kick`]).
    pub(super) fn send_slice(&self, packet: &[u8], stream: &Arc<ServedStream>) -> Sent {
        let mut queue = self.queue.lock();
        if queue.closed || queue.failed.is_some() {
            return Sent::Closed;
        }
        let mut sent = 0;
        if let Way::Socket(socket) = &self.way
            && queue.items.is_empty()
            && !queue.corked
        {
            while let Some(rest) = packet.get(sent..).filter(|rest| !rest.is_empty()) {
                match write(socket, &[IoSlice::new(rest)]) {
                    Ok(Some(count)) => sent += count,
                    Ok(None) => break,
                    Err(error) => {
                        queue.failed = Some(error);
                        drop(queue);
                        self.wake.notify_one();
                        return Sent::Closed;
                    }
                }
            }
        }
        match packet.get(sent..) {
            Some(rest) if !rest.is_empty() => {
                queue.push(Outgoing::packet(rest.to_vec()).for_stream(Arc::clone(stream)));
                Sent::Queued
            }
            _ => Sent::Written,
        }
    }

    /// The same for a packet whose payload is in a pipe.
    pub(super) fn send_piped(&self, head: Vec<u8>, payload: Piped, stream: &Arc<ServedStream>) -> Sent {
        let mut queue = self.queue.lock();
        if queue.closed || queue.failed.is_some() {
            return Sent::Closed;
        }
        let idle = queue.items.is_empty() && !queue.corked;
        queue.push(Outgoing {
            piped: Some(payload),
            ..Outgoing::packet(head).for_stream(Arc::clone(stream))
        });
        if let Way::Socket(socket) = &self.way
            && idle
        {
            // The answer tells the only stream whose packet can be among them.
            queue.write(socket, &mut Vec::new());
        }
        if queue.failed.is_some() {
            drop(queue);
            self.wake.notify_one();
            return Sent::Closed;
        }
        match queue.items.is_empty() {
            true => Sent::Written,
            false => Sent::Queued,
        }
    }

    /// Whether bytes go into the socket as they are.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// Waits for the socket and writes, at most `millis` milliseconds. Whether everything is written.
    pub(super) fn wait(&self, millis: u8, streams: &mut Vec<Arc<ServedStream>>) -> bool {
        if let Way::Socket(socket) = &self.way {
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            if matches!(poll(&mut fds, millis), Ok(1..)) {
                self.flush(streams);
            }
        }
        self.queue.lock().items.is_empty()
    }

    /// Lets the socket hold several packets of data: with the kernel's usual size it is full with less than one, and
    /// each would cost the reader and the writer a sleep. Only Unix sockets need it.
    pub(super) fn widen(&self) {
        const SIZE: usize = 1 << 20;
        if let Way::Socket(socket) = &self.way
            && socket.is_unix()
        {
            widen_send_buffer(socket.as_fd(), SIZE);
        }
    }

    /// Wakes the client's task, which writes what waits.
    pub(super) fn kick(&self) {
        self.wake.notify_one();
    }

    /// Sends an event, unless the client has not read more than `limit` bytes of events: then it takes the place of
    /// what it makes pointless. False if even that is too much and the client has to go.
    pub(super) fn send_event(&self, bytes: Vec<u8>, key: EventKey, limit: usize) -> bool {
        /// How far above the limit the newest events of all objects may go.
        const HARD: usize = 4;
        {
            let mut queue = self.queue.lock();
            if queue.event_bytes > 0 && queue.event_bytes + bytes.len() > limit {
                if let Some(older) = queue.events.get(&key).copied() {
                    queue.forget(older);
                }
                if queue.event_bytes + bytes.len() > limit.saturating_mul(HARD) {
                    return false;
                }
            }
            let number = queue.first + queue.items.len() as u64;
            queue.events.insert(key, number);
        }
        let event = Outgoing {
            event: true,
            ..Outgoing::packet(bytes)
        };
        self.send(event);
        true
    }

    /// Collects what is sent from now on, until [`Outbox::uncork`].
    pub(super) fn cork(&self) {
        self.queue.lock().corked = true;
    }

    /// Sends what was collected. The streams that may go on are put into `streams`.
    pub(super) fn uncork(&self, streams: &mut Vec<Arc<ServedStream>>) {
        self.queue.lock().corked = false;
        self.flush(streams);
    }

    /// Writes what the socket takes. The streams that may go on are put into `streams`.
    pub(super) fn flush(&self, streams: &mut Vec<Arc<ServedStream>>) {
        if let Way::Socket(socket) = &self.way {
            self.queue.lock().write(socket, streams);
        }
    }

    /// Whether something waits for the socket.
    pub(super) fn is_pending(&self) -> bool {
        let queue = self.queue.lock();
        !queue.items.is_empty() && queue.failed.is_none() && !queue.corked
    }

    /// How many bytes wait.
    pub(super) fn pending_bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Why the socket cannot be written to any more.
    pub(super) fn failure(&self) -> Option<VirtError> {
        self.queue.lock().failed.clone()
    }

    /// For the task that encrypts: about `room` bytes of packets.
    pub(super) fn take(&self, room: usize, into: &mut Vec<u8>, streams: &mut Vec<Arc<ServedStream>>) {
        let mut queue = self.queue.lock();
        while into.len() < room {
            let Some(mut item) = queue.pop() else { break };
            for part in item.rest() {
                into.extend_from_slice(part);
            }
            streams.extend(item.stream.take());
        }
    }

    /// Drops what waits and takes no more.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        let items = std::mem::take(&mut queue.items);
        *queue = Queue {
            closed: true,
            ..Queue::default()
        };
        drop(queue);
        // Streams may be let go with them.
        drop(items);
    }
}

impl Queue {
    fn push(&mut self, item: Outgoing) {
        self.bytes += item.len();
        if item.event {
            self.event_bytes += item.len();
        }
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<Outgoing> {
        let item = self.items.pop_front()?;
        self.first += 1;
        self.account(&item);
        if self.items.is_empty() && !self.events.is_empty() {
            self.events.clear();
        }
        Some(item)
    }

    fn account(&mut self, item: &Outgoing) {
        self.bytes = self.bytes.saturating_sub(item.len());
        if item.event {
            self.event_bytes = self.event_bytes.saturating_sub(item.len());
        }
    }

    /// Empties the packet of that number, if none of it has left.
    fn forget(&mut self, number: u64) {
        let Some(at) = number.checked_sub(self.first) else {
            return;
        };
        let Some(item) = usize::try_from(at).ok().and_then(|at| self.items.get_mut(at)) else {
            return;
        };
        if !item.event || item.sent > 0 {
            return;
        }
        let item = std::mem::take(item);
        self.account(&item);
    }

    /// Writes until nothing is left or the socket is full.
    fn write(&mut self, socket: &Socket, streams: &mut Vec<Arc<ServedStream>>) {
        while self.failed.is_none() {
            while self.items.front().is_some_and(Outgoing::is_written) {
                if let Some(item) = self.pop() {
                    streams.extend(item.stream);
                }
            }
            let Some(front) = self.items.front() else { return };
            let written = if front.sent < front.len() {
                self.write_bytes(socket)
            } else if front.piped_left() > 0 {
                self.write_piped(socket)
            } else {
                self.write_fd(socket)
            };
            match written {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// One write of bytes. False if the socket is full.
    fn write_bytes(&mut self, socket: &Socket) -> Result<bool> {
        let empty: &[u8] = &[];
        let mut slices = [empty; GATHER * 2];
        let mut used = 0;
        for item in self.items.iter().take(GATHER) {
            for part in item.rest() {
                if let (false, Some(slot)) = (part.is_empty(), slices.get_mut(used)) {
                    *slot = part;
                    used += 1;
                }
            }
            // Descriptors go right behind their packet, and so does what a pipe holds.
            if !item.fds.is_empty() || item.piped_left() > 0 {
                break;
            }
        }
        let slices = slices.map(IoSlice::new);
        let slices = slices.get(..used).unwrap_or_default();
        let Some(mut count) = write(socket, slices)? else {
            return Ok(false);
        };
        for item in &mut self.items {
            let taken = count.min(item.len() - item.sent);
            item.sent += taken;
            count -= taken;
            if count == 0 {
                break;
            }
        }
        Ok(true)
    }

    /// Some of what a pipe holds for the first packet. False if the socket is full.
    fn write_piped(&mut self, socket: &Socket) -> Result<bool> {
        let Some(piped) = self.items.front_mut().and_then(|front| front.piped.as_mut()) else {
            return Ok(true);
        };
        match splice(piped.pipe.reader(), socket, piped.left) {
            Ok(0) => Err(VirtError::internal("a pipe holds less than was put into it")),
            Ok(count) => {
                piped.left = piped.left.saturating_sub(count);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(VirtError::io(&error, "cannot send to the client")),
        }
    }

    /// One descriptor of the first packet. False if the socket is full.
    fn write_fd(&mut self, socket: &Socket) -> Result<bool> {
        let Some(front) = self.items.front_mut() else {
            return Ok(true);
        };
        let Some(fd) = front.fds.front() else {
            return Ok(true);
        };
        if send_with_fds(socket, &[0], &[fd.as_fd()])?.is_none() {
            return Ok(false);
        }
        front.fds.pop_front();
        Ok(true)
    }
}

/// Writes without waiting. `None` if the socket is full.
fn write(socket: &Socket, slices: &[IoSlice<'_>]) -> Result<Option<usize>> {
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(socket.as_raw_fd(), slices, &[], flags, None) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(VirtError::system(errno as i32, "cannot send to the client")),
        }
    }
}

#[cfg(test)]
mod tests;
