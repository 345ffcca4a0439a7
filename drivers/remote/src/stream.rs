//! Streams over the connection: data, holes and how they end.
//!
//! [`StreamState`] is what has arrived and hangs on the client's state; [`RemoteStream`] is the end that the caller holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::MutexGuard;
use virt_api::rpc::stream::{CHUNK_MAX, StreamPacket, StreamWriter};
use virt_api::rpc::{Header, Packet};
use virt_api::stream_end::{Readiness, Stream, Transfer, Waker};
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::client::{After, BULK, OUT_MAX, STREAM_HARD_MAX, Shared, State};

/// What counts for one piece of a queue besides its bytes, so that many small ones fill it too.
const PIECE_COST: usize = 64;
/// So many buffers are kept for data that comes.
const SPARE_MAX: usize = 4;
/// How long an abort waits for its confirmation.
const ABORT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

enum Piece {
    Data { bytes: Vec<u8>, taken: usize },
    Hole(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    /// The confirmation is awaited.
    Asked,
    Confirmed,
}

/// What is known of a stream.
pub(crate) struct StreamState {
    pub header: Header,
    queue: VecDeque<Piece>,
    queued: usize,
    /// Buffers whose data was received.
    spare: Vec<Vec<u8>>,
    end_of_data: bool,
    error: Option<VirtError>,
    closing: Closing,
    watch: Option<(Readiness, Waker)>,
}

impl StreamState {
    pub fn new(header: Header) -> Self {
        Self {
            header,
            queue: VecDeque::new(),
            queued: 0,
            spare: Vec::new(),
            end_of_data: false,
            error: None,
            closing: Closing::Open,
            watch: None,
        }
    }

    /// An empty buffer for data that comes: memory that was touched already is cheaper than new.
    pub fn spare_buffer(&mut self) -> Option<Vec<u8>> {
        let mut buffer = self.spare.pop()?;
        buffer.clear();
        Some(buffer)
    }

    /// Bytes that wait to be received.
    pub fn queued(&self) -> usize {
        self.queued
    }

    pub fn fail(&mut self, error: &VirtError) {
        if self.error.is_none() {
            self.error = Some(error.clone());
        }
    }

    /// Takes a packet of the stream. Whether the stream has to be aborted towards the other side.
    pub fn take(&mut self, packet: Packet) -> Result<bool> {
        let piece = match StreamPacket::read(packet)? {
            StreamPacket::Data(bytes) => {
                self.queued += bytes.len();
                Piece::Data { bytes, taken: 0 }
            }
            StreamPacket::Hole(length) => match self.queue.back_mut() {
                Some(Piece::Hole(last)) => {
                    *last = last.saturating_add(length);
                    return Ok(false);
                }
                _ => Piece::Hole(length),
            },
            StreamPacket::EndOfData => {
                self.end_of_data = true;
                return Ok(false);
            }
            StreamPacket::Finish | StreamPacket::Abort => {
                if self.closing == Closing::Asked {
                    self.closing = Closing::Confirmed;
                } else {
                    self.end_of_data = true;
                }
                return Ok(false);
            }
            StreamPacket::Failed(error) => {
                self.fail(&error);
                return Ok(false);
            }
        };
        if self.error.is_some() || self.closing != Closing::Open || self.end_of_data {
            self.queued = 0;
            return Ok(false);
        }
        self.queued += PIECE_COST;
        self.queue.push_back(piece);
        if self.queued > STREAM_HARD_MAX {
            self.fail(
                &VirtError::new(
                    ErrorCode::OPERATION_FAILED,
                    format_args!(
                        "more than {STREAM_HARD_MAX} bytes of the stream arrived and were not received"
                    ),
                )
                .in_domain(ErrorDomain::STREAMS),
            );
            self.queue.clear();
            self.queued = 0;
            return Ok(true);
        }
        Ok(false)
    }

    fn ready(&self, has_room: bool) -> Readiness {
        if self.error.is_some() {
            return Readiness::ERROR.or(Readiness::READABLE).or(Readiness::WRITABLE);
        }
        let mut ready = Readiness::default();
        if !self.queue.is_empty() || self.end_of_data || self.closing != Closing::Open {
            ready = ready.or(Readiness::READABLE);
        }
        if has_room {
            ready = ready.or(Readiness::WRITABLE);
        }
        ready
    }

    /// Calls the waker if its moment has come.
    pub fn announce(&mut self, has_room: bool, after: &mut After) {
        let ready = self.ready(has_room);
        if let Some((interest, waker)) = self.watch.take() {
            let told = ready.and(interest.or(Readiness::ERROR).or(Readiness::HANGUP));
            if told.is_empty() {
                self.watch = Some((interest, waker));
            } else {
                after.wake(waker, told);
            }
        }
    }

    fn check(&self) -> Result<()> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.closing != Closing::Open => Err(closed()),
            None => Ok(()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], stop_at_hole: bool) -> Option<Transfer> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.queue.front_mut() {
                Some(Piece::Data { bytes, taken }) => {
                    let rest = bytes.get(*taken..).unwrap_or_default();
                    let count = rest.len().min(room.len());
                    if let (Some(to), Some(from)) = (room.get_mut(..count), rest.get(..count)) {
                        to.copy_from_slice(from);
                    }
                    *taken += count;
                    filled += count;
                    self.queued -= count.min(self.queued);
                    if *taken >= bytes.len() {
                        self.drop_front();
                    }
                }
                Some(Piece::Hole(_)) if filled > 0 => break,
                Some(Piece::Hole(_)) if stop_at_hole => return Some(Transfer::AtHole),
                Some(Piece::Hole(length)) => {
                    let count = usize::try_from(*length).unwrap_or(usize::MAX).min(room.len());
                    room.iter_mut().take(count).for_each(|byte| *byte = 0);
                    *length -= count as u64;
                    filled += count;
                    if *length == 0 {
                        self.drop_front();
                    }
                    break;
                }
                None => break,
            }
        }
        match filled {
            0 if self.end_of_data => Some(Transfer::Bytes(0)),
            0 => None,
            count => Some(Transfer::Bytes(count)),
        }
    }

    fn drop_front(&mut self) {
        if let Some(Piece::Data { bytes, .. }) = self.queue.pop_front()
            && bytes.capacity() >= BULK
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(bytes);
        }
        self.queued -= PIECE_COST.min(self.queued);
    }

    fn ahead(&self) -> Option<(bool, u64)> {
        match self.queue.front() {
            Some(Piece::Hole(length)) => Some((false, *length)),
            Some(Piece::Data { .. }) => {
                let data = self.queue.iter().map_while(|piece| match piece {
                    Piece::Data { bytes, taken } => Some((bytes.len() - taken) as u64),
                    Piece::Hole(_) => None,
                });
                Some((true, data.sum()))
            }
            None if self.end_of_data => Some((false, 0)),
            None => None,
        }
    }
}

fn closed() -> VirtError {
    VirtError::new(ErrorCode::OPERATION_FAILED, "stream is closed").in_domain(ErrorDomain::STREAMS)
}

/// The caller's end of a stream.
pub(crate) struct RemoteStream {
    shared: Arc<Shared>,
    header: Header,
    writer: StreamWriter,
    /// The opening call asked for holes.
    holes: bool,
    nonblocking: AtomicBool,
}

impl RemoteStream {
    pub fn new(shared: Arc<Shared>, header: Header, holes: bool) -> Self {
        Self {
            shared,
            header,
            writer: StreamWriter::new(header),
            holes,
            nonblocking: AtomicBool::new(false),
        }
    }

    fn nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Acquire)
    }

    /// Waits for something about the stream, or for nothing to wait any more that is to be sent.
    fn wait<T>(
        &self,
        state: &mut MutexGuard<'_, State>,
        deadline: Deadline,
        mut ready: impl FnMut(&mut StreamState, bool) -> Option<Result<T>>,
    ) -> Result<T> {
        let serial = self.header.serial;
        self.shared.wait(
            state,
            deadline,
            &Cancel::never(),
            "the stream does not go on",
            None,
            |state| {
                let drained = state.is_drained();
                match state.streams.get_mut(&serial) {
                    Some(stream) => ready(stream, drained),
                    None => Some(Err(state.end().cloned().unwrap_or_else(closed))),
                }
            },
        )
    }

    fn known<'s>(&self, state: &'s mut MutexGuard<'_, State>) -> Result<&'s mut StreamState> {
        state.streams.get_mut(&self.header.serial).ok_or_else(closed)
    }

    fn sparse(&self) -> Result<()> {
        if self.holes {
            return Ok(());
        }
        Err(
            VirtError::new(ErrorCode::OPERATION_INVALID, "this stream has no holes")
                .in_domain(ErrorDomain::STREAMS),
        )
    }

    /// Ends the stream and waits for what the other side says to it.
    fn end(&self, packet: Vec<u8>, deadline: Deadline) -> Result<()> {
        let mut state = self.shared.lock();
        let serial = self.header.serial;
        if let Err(error) = self.known(&mut state).and_then(|stream| stream.check()) {
            // The other side has ended it already.
            state.streams.remove(&serial);
            return Err(error);
        }
        self.known(&mut state)?.closing = Closing::Asked;
        state.enqueue(packet, VecDeque::new());
        self.shared.push(&mut state);
        let ended = self.wait(&mut state, deadline, |stream, _| {
            match (&stream.error, stream.closing) {
                (Some(error), _) => Some(Err(error.clone())),
                (None, Closing::Confirmed) => Some(Ok(())),
                (None, _) => None,
            }
        });
        let watch = state.streams.remove(&serial).and_then(|stream| stream.watch);
        drop(state);
        if let Some((_, waker)) = watch {
            waker(Readiness::HANGUP);
        }
        ended
    }
}

impl Stream for RemoteStream {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        let mut state = self.shared.lock();
        self.known(&mut state)?.check()?;
        if data.is_empty() {
            return Ok(Transfer::Bytes(0));
        }
        let nonblocking = self.nonblocking();
        if nonblocking && !state.has_room() {
            return Ok(Transfer::WouldBlock);
        }
        if !nonblocking && !state.is_drained() {
            // What has to wait anyway waits where it is: data that goes at once is not copied.
            state.begin_sending();
            let drained = self.wait(&mut state, Deadline::NONE, |stream, drained| {
                match stream.check() {
                    Err(error) => Some(Err(error)),
                    Ok(()) => drained.then_some(Ok(())),
                }
            });
            state.end_sending();
            drained?;
        }
        let mut sent = 0;
        while sent < data.len() && sent < OUT_MAX {
            let rest = data.get(sent..).unwrap_or_default();
            let chunk = rest.get(..rest.len().min(CHUNK_MAX)).unwrap_or_default();
            self.shared
                .push_data(&mut state, self.writer.data_head(chunk.len())?, chunk)?;
            sent += chunk.len();
            let goes_on = state.is_drained() || (nonblocking && state.has_room());
            if !goes_on {
                break;
            }
        }
        self.shared.push(&mut state);
        Ok(Transfer::Bytes(sent))
    }

    fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer> {
        let mut state = self.shared.lock();
        if buffer.is_empty() {
            return Ok(Transfer::Bytes(0));
        }
        let nonblocking = self.nonblocking();
        if nonblocking && !self.shared_reads_itself() {
            // Nobody else reads, so this is the moment.
            self.shared.pump(&mut state);
        }
        let got = self.wait(&mut state, Deadline::NONE, |stream, _| {
            if let Err(error) = stream.check() {
                return Some(Err(error));
            }
            match stream.receive(buffer, stop_at_hole) {
                Some(got) => Some(Ok(got)),
                None if nonblocking => Some(Ok(Transfer::WouldBlock)),
                None => None,
            }
        });
        // There may be room to read on.
        self.shared.rearm(&mut state);
        got
    }

    fn send_hole(&self, length: u64) -> Result<()> {
        self.sparse()?;
        let mut state = self.shared.lock();
        self.known(&mut state)?.check()?;
        if length > 0 {
            state.enqueue(self.writer.hole(length)?, VecDeque::new());
            self.shared.push(&mut state);
        }
        Ok(())
    }

    fn recv_hole(&self) -> Result<u64> {
        self.sparse()?;
        let mut state = self.shared.lock();
        let stream = self.known(&mut state)?;
        stream.check()?;
        match stream.queue.front() {
            Some(Piece::Hole(length)) => {
                let length = *length;
                stream.drop_front();
                Ok(length)
            }
            _ => Err(
                VirtError::new(ErrorCode::OPERATION_INVALID, "the stream is not at a hole")
                    .in_domain(ErrorDomain::STREAMS),
            ),
        }
    }

    fn in_data(&self) -> Result<(bool, u64)> {
        let mut state = self.shared.lock();
        let nonblocking = self.nonblocking();
        self.wait(&mut state, Deadline::NONE, |stream, _| {
            if let Err(error) = stream.check() {
                return Some(Err(error));
            }
            match stream.ahead() {
                Some(ahead) => Some(Ok(ahead)),
                None if nonblocking => Some(Err(VirtError::new(
                    ErrorCode::OPERATION_INVALID,
                    "nothing has arrived on the stream yet",
                ))),
                None => None,
            }
        })
    }

    fn finish(&self) -> Result<()> {
        self.end(self.writer.finish()?, Deadline::NONE)
    }

    fn abort(&self) -> Result<()> {
        let ended = self.end(self.writer.abort()?, Deadline::after(ABORT_PATIENCE));
        match ended {
            // Over there it ends at the latest with the connection.
            Err(error) if error.code() == ErrorCode::OPERATION_TIMEOUT => Ok(()),
            ended => ended,
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.nonblocking.store(nonblocking, Ordering::Release);
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        let mut state = self.shared.lock();
        if !self.shared_reads_itself() {
            self.shared.pump(&mut state);
        }
        let room = state.has_room();
        let ready = match state.streams.get(&self.header.serial) {
            Some(stream) => stream.ready(room),
            None => Readiness::HANGUP,
        };
        Ok(ready.and(interest.or(Readiness::ERROR).or(Readiness::HANGUP)))
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        // Without a loop somebody has to wait for something, or nothing arrives.
        let _ = self.shared.start_background();
        let mut state = self.shared.lock();
        let room = state.has_room();
        let mut after = After::default();
        match state.streams.get_mut(&self.header.serial) {
            Some(stream) => {
                stream.watch = Some((interest, waker));
                stream.announce(room, &mut after);
            }
            None => after.wake(waker, Readiness::HANGUP),
        }
        self.shared.settle(&mut state, after);
        Ok(())
    }
}

impl RemoteStream {
    fn shared_reads_itself(&self) -> bool {
        self.shared.has_background()
    }
}
