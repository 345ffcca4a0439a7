//! The client's end of a connection: calls, streams, events and keepalive over one [`Wire`].
//!
//! No thread of its own. A thread that waits for something leads if nobody does: it polls, reads and writes for
//! everybody, and hands over when its own answer is there; the others sleep until theirs arrives or it is their turn to
//! lead ([`Shared::wait`]). While nobody waits, the application's event loop does the same through [`background`], if
//! there is one. Whatever is to be told to the application (events, the end of the connection) goes through that loop
//! and no other way.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};
use virt_api::host::HostServices;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::keepalive::Keepalive;
use virt_api::rpc::{Header, Packet, PacketReader, PacketWriter, Status};
use virt_api::stream_end::Readiness;
use virt_util::alertness::Alertness;
use virt_util::error::SystemResult;
use virt_util::time::{Cancel, Clock, Deadline, SystemClock};
use virt_util::xdr::XdrDecode;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::stream::{RemoteStream, StreamState};
use crate::wire::{Helper, Wire};
use background::Background;

mod background;
mod state;
#[cfg(test)]
mod tests;
mod wait;

/// Read at once.
const READ_SIZE: usize = 256 << 10;
/// From how many bytes on it is worth while to read a payload by itself.
pub(crate) const BULK: usize = 64 << 10;
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
    /// Whose connection it is: after a fork there are two of everything here, and one other side.
    process: u32,
    wire: Wire,
    reader: PacketReader,
    buffer: Vec<u8>,
    /// The last packet brought much data of a stream.
    bulk: bool,
    out: VecDeque<Outgoing>,
    out_bytes: usize,
    /// Threads that wait for all of it to be sent.
    senders: usize,
    /// More may be there than the socket shows.
    more: bool,
    calls: HashMap<u32, Pending>,
    abandoned: usize,
    pub streams: HashMap<u32, StreamState>,
    serial: u32,
    /// Somebody polls.
    leading: bool,
    /// Whether who leads looks for an answer before it sleeps.
    alertness: Alertness,
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

impl Client {
    /// Over a wire that is connected.
    pub fn new(wire: Wire, host: Option<HostServices>) -> Result<Self> {
        let socket = wire.descriptor()?;
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .or_system(|| "cannot make an event descriptor")?;
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(State {
                process: std::process::id(),
                wire,
                reader: PacketReader::new(),
                buffer: Vec::new(),
                bulk: false,
                out: VecDeque::new(),
                out_bytes: 0,
                senders: 0,
                more: false,
                calls: HashMap::new(),
                abandoned: 0,
                streams: HashMap::new(),
                serial: 0,
                leading: false,
                alertness: Alertness::default(),
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

    /// Whether nothing is under way: everything is sent, and no call or stream goes on. A call that was given up counts as
    /// ended.
    pub fn is_idle(&self) -> bool {
        let state = self.0.lock();
        state.is_drained() && state.streams.is_empty() && state.calls.values().all(|call| call.abandoned)
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
            state.wire.widen();
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
