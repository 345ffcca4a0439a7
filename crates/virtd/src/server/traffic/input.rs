//! A client's bytes on their way to packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, Receiver};
use virt_api::protocol::table::Priority;
use virt_api::rpc::{FDS_MAX, MessageType, PacketReader};
use virt_util::Result;
use virt_util::sys::socket::{receive_behind, receive_with_fds};

use super::super::session::Session;
use super::super::socket::Socket;
use super::super::stream::{Diverted, Thread};

/// How much is read from a socket at once.
const READ: usize = 256 * 1024;
/// From how many bytes on it is worth while to read a payload by itself.
const BULK: usize = 65_536;
/// How many pieces of data that streams in are read before other clients get their turn: a packet is one or a few.
const BULK_TURN: usize = 8;
/// How many packets are handled before other clients get their turn.
const TURN: usize = 64;
/// How long a worker reads what streams in before others get the worker.
const WORKER_TURN: Duration = Duration::from_millis(10);
/// How long a worker waits for more of it.
const MORE: Duration = Duration::from_millis(1);

/// What was read.
pub(super) enum Read {
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
pub(super) struct Input {
    reader: PacketReader,
    /// Bytes that wait because others had to have their turn.
    rest: Vec<u8>,
    /// The last packet brought much data of a stream.
    bulk: bool,
    /// A part of the packet that is being read has gone to its stream.
    diverting: bool,
    /// Who reads.
    thread: Thread,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Lets a stream take its data out of the socket, if that is worth while and it can.
    fn divert(&mut self, socket: &Socket, session: &Arc<Session>) -> Option<Read> {
        let least = if self.diverting { 1 } else { BULK };
        let (header, missing) = self.reader.payload_ahead(least)?;
        let stream = session.stream_with_data(header)?;
        match stream.divert(session, socket, missing, self.thread) {
            Diverted::Bytes(0) => Some(Read::End),
            Diverted::Bytes(count) => {
                self.reader.diverted(count);
                self.diverting = self.reader.is_inside_packet();
                self.bulk = true;
                Some(Read::Some)
            }
            Diverted::Nothing => Some(Read::Nothing),
            Diverted::Refused => {
                self.diverting = false;
                None
            }
        }
    }

    /// Whether data of a stream comes in.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// Reads in a worker what streams in, for as long as there is more of it and nobody else wants the worker: moving data
    /// takes the processor for itself, and the thread that reads for everybody has but one share of it.
    pub(super) fn read_on(
        mut self,
        socket: &Arc<Socket>,
        session: &Arc<Session>,
    ) -> Receiver<(Self, Result<Read>)> {
        let (done, read) = oneshot::channel();
        let (socket, client) = (Arc::clone(socket), Arc::clone(session));
        self.thread = Thread::Worker;
        let job = Box::new(move || {
            let begun = Instant::now();
            let read = loop {
                let read = self.read_turn(&socket, &client);
                let more = self.is_bulk()
                    && self.is_empty()
                    && begun.elapsed() < WORKER_TURN
                    && !client.is_full()
                    && client.ending().is_none();
                match read {
                    Ok(Read::Some) if more => {}
                    Ok(Read::Drained | Read::Nothing) if more && socket.has_input_within(MORE) => {}
                    read => break read,
                }
            };
            self.thread = Thread::Everybodys;
            // Workers come and go; only who reads for everybody keeps a buffer.
            drop(SCRATCH.take());
            // Nobody listens if the client is gone.
            let _ = done.send((self, read));
        });
        session.server().workers().submit(Priority::Low, job);
        read
    }

    /// Reads once; data that streams to where it belongs, for as long as a turn is.
    pub(super) fn read_turn(&mut self, socket: &Socket, session: &Arc<Session>) -> Result<Read> {
        for piece in 1.. {
            let read = self.read(socket, session)?;
            // What waits already comes before what would be read.
            let more = self.bulk && self.is_empty() && piece < BULK_TURN;
            match read {
                Read::Some if more && !session.is_full() && session.ending().is_none() => {}
                Read::Nothing if piece > 1 => return Ok(Read::Drained),
                read => return Ok(read),
            }
        }
        Ok(Read::Some)
    }

    fn read(&mut self, socket: &Socket, session: &Arc<Session>) -> Result<Read> {
        if let Some(read) = self.divert(socket, session) {
            return Ok(read);
        }
        if let Some((payload, missing)) = self.reader.payload_in_progress(BULK) {
            if payload.is_empty()
                && let Some(spare) = session.spare_buffer()
            {
                *payload = spare;
            }
            // Data of a stream goes from the socket to where the driver takes it from.
            let Some(received) = receive_behind(socket, payload, missing, FDS_MAX)? else {
                return Ok(Read::Nothing);
            };
            if received.count == 0 {
                return Ok(Read::End);
            }
            for fd in received.fds {
                self.reader.feed_fd(fd)?;
            }
            self.feed(&[], session)?;
            return Ok(Read::Some);
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(READ, 0);
        let done = self.read_into(socket, &mut scratch, session);
        SCRATCH.set(scratch);
        match done? {
            // Behind a head that was read by itself.
            Read::Some => Ok(match self.divert(socket, session) {
                Some(Read::Nothing) => Read::Drained,
                Some(behind) => behind,
                None => Read::Some,
            }),
            done => Ok(done),
        }
    }

    fn read_into(&mut self, socket: &Socket, scratch: &mut [u8], session: &Arc<Session>) -> Result<Read> {
        let room = self.reader.read_ahead(self.bulk, scratch.len());
        let scratch = scratch.get_mut(..room).unwrap_or_default();
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
    pub(super) fn go_on(&mut self, session: &Arc<Session>) -> Result<()> {
        let bytes = std::mem::take(&mut self.rest);
        self.feed(&bytes, session)
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], session: &Arc<Session>) -> Result<()> {
        let mut corked = false;
        let fed = (|| {
            for turn in 0.. {
                if turn == TURN || (turn > 0 && (session.is_full() || session.ending().is_some())) {
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
                self.bulk = packet.header.kind == MessageType::Stream && packet.payload.len() >= BULK;
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
