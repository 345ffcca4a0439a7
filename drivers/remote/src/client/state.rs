//! What moves when the lock is held: bytes in and out, packets to whom they are for, and the end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use virt_api::rpc::keepalive::{self, Action, Probe};
use virt_api::rpc::{Header, MessageType, Packet, Status};
use virt_util::{ErrorCode, Result, VirtError};

use super::*;
use crate::wire::Got;

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

    /// Sends a packet of data as far as it goes now, without a copy if nothing waits before it, and enqueues the rest.
    pub fn send_data(&mut self, head: Vec<u8>, data: &[u8]) -> Result<()> {
        let sent = match self.out.is_empty() && !self.wire.is_encrypted() {
            true => self.wire.write_both(&head, data)?,
            false => 0,
        };
        let behind = data.get(sent.saturating_sub(head.len())..).unwrap_or_default();
        let mut rest = head.get(sent..).unwrap_or_default().to_vec();
        rest.extend_from_slice(behind);
        if !rest.is_empty() {
            self.enqueue(rest, VecDeque::new());
        }
        Ok(())
    }

    /// A thread waits for [`State::is_drained`], and is told.
    pub fn begin_sending(&mut self) {
        self.senders += 1;
    }

    /// It waits no more.
    pub fn end_sending(&mut self) {
        self.senders = self.senders.saturating_sub(1);
    }

    /// Whether nothing waits to be sent.
    pub fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.out.is_empty() || self.wire.wants_write()
    }

    /// Whether no more should be read while nobody waits.
    pub(super) fn is_full(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.queued() > STREAM_SOFT_MAX)
    }

    /// Writes what the socket takes of what waits.
    pub(super) fn write_out(&mut self) -> Result<()> {
        self.wire.flush()?;
        let waited = !self.is_drained();
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
        if waited && self.senders > 0 {
            self.notify_all();
        }
        Ok(())
    }

    pub(super) fn read_in(&mut self, after: &mut After) -> Result<()> {
        self.more = false;
        let mut taken = 0;
        loop {
            let (count, room) = match self.read_payload(after)? {
                Some(read) => read,
                None => self.read_some(after)?,
            };
            taken += count;
            if count == 0 || (count < room && !self.wire.is_encrypted()) {
                return Ok(());
            }
            if taken >= TURN_MAX {
                self.more = true;
                return Ok(());
            }
        }
    }

    /// Reads into the buffer and takes the packets that are in it. How many bytes there were, and how many there could be.
    fn read_some(&mut self, after: &mut After) -> Result<(usize, usize)> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = vec![0; READ_SIZE];
        }
        let most = match self.wire.is_encrypted() {
            true => buffer.len(),
            false => self.reader.read_ahead(self.bulk, buffer.len()),
        };
        let room = buffer.get_mut(..most).unwrap_or_default();
        let fed = self.wire.read(room).and_then(|got| match got {
            Got::End => Err(crate::wire::closed()),
            Got::Nothing => Ok(0),
            Got::Bytes(count, fds) => {
                self.feed(buffer.get(..count).unwrap_or_default(), fds, after)?;
                Ok(count)
            }
        });
        self.buffer = buffer;
        Ok((fed?, most))
    }

    /// Reads much data of a stream to where it is received from; `None` if that is not what comes.
    fn read_payload(&mut self, after: &mut After) -> Result<Option<(usize, usize)>> {
        if self.wire.is_encrypted() {
            return Ok(None);
        }
        let spare = self.reader.payload_ahead(BULK).and_then(|(header, _)| {
            let stream = self.streams.get_mut(&header.serial)?;
            stream.spare_buffer()
        });
        let Some((payload, missing)) = self.reader.payload_in_progress(BULK) else {
            return Ok(None);
        };
        if let Some(spare) = spare {
            *payload = spare;
        }
        let room = missing.min(payload.capacity() - payload.len());
        match self.wire.read_behind(payload, room)? {
            Got::End => Err(crate::wire::closed()),
            Got::Nothing => Ok(Some((0, room))),
            Got::Bytes(count, fds) => {
                self.feed(&[], fds, after)?;
                Ok(Some((count, room)))
            }
        }
    }

    fn feed(&mut self, mut bytes: &[u8], fds: Vec<OwnedFd>, after: &mut After) -> Result<()> {
        for fd in fds {
            self.reader.feed_fd(fd)?;
        }
        while let Some(packet) = self.reader.feed(&mut bytes)? {
            self.bulk = packet.header.kind == MessageType::Stream && packet.payload.len() >= BULK;
            self.dispatch(packet, after)?;
        }
        Ok(())
    }

    pub(super) fn dispatch(&mut self, packet: Packet, after: &mut After) -> Result<()> {
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

    pub(super) fn dispatch_reply(&mut self, packet: Packet) -> Result<()> {
        let header = packet.header;
        let known = self.calls.get_mut(&header.serial);
        let Some(pending) = known.filter(|known| known.header.same_call(&header) && known.answer.is_none())
        else {
            return Err(rpc(format_args!(
                "an answer to a call that nobody waits for: program {}, version {}, serial {}",
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

    pub(super) fn dispatch_event(&mut self, packet: Packet) {
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

    pub(super) fn dispatch_stream(&mut self, packet: Packet, after: &mut After) -> Result<()> {
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

    pub(super) fn notify_all(&self) {
        for waiter in &self.waiters {
            waiter.turn.notify_one();
        }
    }

    /// Ends everything.
    pub(super) fn fail(&mut self, error: &VirtError, reason: CloseReason, after: &mut After) {
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

    /// Leaves the connection to the process that this one was forked from: the other side has one client, which has
    /// gone on, and every byte from here, be it a farewell, would be in its way.
    pub(super) fn disown(&mut self) {
        let owner = std::mem::replace(&mut self.process, std::process::id());
        self.wire.disown();
        // Who waited and who read are threads that are not here.
        self.leading = false;
        self.waiters.clear();
        self.inbox.clear();
        self.inbox_bytes = 0;
        self.has_background = false;
        let error = VirtError::new(
            ErrorCode::OPERATION_INVALID,
            format_args!(
                "the connection belongs to process {owner}, from which this one was forked: open another"
            ),
        );
        // Nobody is woken: whoever would be is not here either.
        self.fail(&error, CloseReason::Client, &mut After::default());
    }

    /// Reads and writes what can be without waiting.
    pub(super) fn turn(&mut self, after: &mut After) {
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

    pub(super) fn remove_waiter(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.retain(|one| !Arc::ptr_eq(one, waiter));
        // Somebody has to go on reading.
        if !self.leading
            && let Some(next) = self.waiters.front()
        {
            next.turn.notify_one();
        }
    }

    pub(super) fn next_serial(&mut self) -> u32 {
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
