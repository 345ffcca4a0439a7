//! The way from a driver's end to the client's socket: the pump's half that sends.

use std::sync::Arc;

use virt_api::rpc::stream::CHUNK_MAX;
use virt_api::rpc::{PacketWriter, Status};
use virt_api::stream_end::Transfer;
use virt_util::Result;
use virt_util::splice::Pipe;

use super::super::outbox::{Outgoing, Piped, Sent};
use super::super::session::Session;
use super::{PIPE, ServedStream};

/// How long a pump waits for the socket before the client's task does.
const SOCKET_WAIT_MILLIS: u8 = 20;
/// Length word and header.
const HEAD: usize = 28;
/// From how many bytes in one step on the next step goes through a pipe: for fewer a copy is cheaper.
const SPLICE_FROM: usize = 32 * 1024;

/// Where data to send is put.
#[derive(Default)]
pub(super) struct Outbound {
    /// The packet's head stays in it.
    buffer: Vec<u8>,
    /// Empty but for a packet in flight.
    pipe: Option<Arc<Pipe>>,
    /// The last step moved much.
    much: bool,
}

/// What became of the attempt to send something.
pub(super) enum Outward {
    Moved,
    /// The driver has nothing now.
    Nothing,
    /// The socket is full, or gone.
    Stopped,
}

impl ServedStream {
    /// Sends what the driver has, one packet of it.
    pub(super) fn send_some(self: &Arc<Self>, session: &Arc<Session>) -> Result<Outward> {
        let mut outward = self.outward.lock();
        if self.splices && outward.much {
            if outward.pipe.is_none() {
                outward.pipe = Pipe::new(PIPE).ok().map(Arc::new);
            }
            if let Some(pipe) = outward.pipe.clone() {
                return self.splice_some(session, &mut outward, pipe);
            }
        }
        let Outbound { buffer, much, .. } = &mut *outward;
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
            return self.end_of_data(session, &mut outward);
        }
        *much = count >= SPLICE_FROM;
        let length = HEAD + count.min(CHUNK_MAX);
        if let (Some(word), Ok(wire)) = (buffer.first_chunk_mut::<4>(), u32::try_from(length)) {
            *word = wire.to_be_bytes();
        }
        self.state.lock().in_flight = true;
        let packet = buffer.get(..length).unwrap_or_default();
        let sent = session.outbox().send_slice(packet, self);
        self.after_sending(session, sent)
    }

    /// The same without a copy.
    fn splice_some(
        self: &Arc<Self>,
        session: &Arc<Session>,
        outward: &mut Outbound,
        pipe: Arc<Pipe>,
    ) -> Result<Outward> {
        let left = match self.end.recv_to_pipe(pipe.writer(), CHUNK_MAX)? {
            Transfer::Bytes(0) => return self.end_of_data(session, outward),
            Transfer::Bytes(count) => count,
            Transfer::WouldBlock | Transfer::AtHole => return Ok(Outward::Nothing),
        };
        outward.much = left >= SPLICE_FROM;
        let head = PacketWriter::new(&self.opened.stream(Status::Continue)).finish_before(left)?;
        self.state.lock().in_flight = true;
        let sent = session.outbox().send_piped(head, Piped { pipe, left }, self);
        self.after_sending(session, sent)
    }

    fn end_of_data(&self, session: &Session, outward: &mut Outbound) -> Result<Outward> {
        self.state.lock().drained = true;
        *outward = Outbound::default();
        session
            .outbox()
            .send(Outgoing::packet(self.writer.end_of_data()?));
        Ok(Outward::Moved)
    }

    /// A packet of data was sent, or waits for the socket.
    fn after_sending(self: &Arc<Self>, session: &Session, sent: Sent) -> Result<Outward> {
        match sent {
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
}
