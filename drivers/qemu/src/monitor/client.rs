//! [`Protocol`] over a socket: [`QmpClient`] on the driver's reactor, [`BlockingQmp`] for a short conversation on the
//! calling thread.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use virt_util::error::SystemResult as _;
use virt_util::reactor::{ReactorHandle, Readiness, SourceId, Timer};
use virt_util::sys::socket::{receive_with_fds, send_with_fds};
use virt_util::time::{Cancel, Deadline, Interest, wait_fd, wait_fd_moving};
use virt_util::{ErrorCode, Result, VirtError};

use super::protocol::{CommandId, Event, Greeting, Incoming, Limits, Outgoing, Protocol};
use super::{Command, QmpPeer, Reply};
use crate::line::{CHUNK, Line};

/// Told what the monitor says on its own. Called on the reactor's thread with no lock held; must not block.
pub trait MonitorObserver: Send + Sync {
    /// The conversation is open.
    fn ready(&self, greeting: &Greeting) {
        let _ = greeting;
    }

    /// QEMU reports an event.
    fn event(&self, event: Event);

    /// A command that was given up got its answer after all.
    fn late_reply(&self, id: CommandId, name: &str, reply: Reply) {
        let _ = (id, name, reply);
    }

    /// QEMU is silent about these commands for longer than their class allows. The guest is in doubt.
    fn silent(&self, commands: &[String]) {
        let _ = commands;
    }

    /// The conversation is over, `None` if the peer closed it in order. Nothing follows.
    fn closed(&self, why: Option<&VirtError>);
}

/// The answers to one batch, each an answer, QEMU's refusal, or why there is none.
pub type Answers = Vec<Result<Reply>>;

type Done = Box<dyn FnOnce(Answers) + Send>;

struct Batch {
    answers: Vec<Option<Result<Reply>>>,
    missing: usize,
    done: Done,
}

struct State {
    protocol: Protocol,
    /// Which answer of which batch a command is.
    slots: HashMap<CommandId, (u64, usize)>,
    batches: HashMap<u64, Batch>,
    next_batch: u64,
    source: Option<SourceId>,
    timer: Option<SourceId>,
    interest: Readiness,
    closed: Option<VirtError>,
    is_closed: bool,
}

struct Shared {
    line: Line,
    observer: Box<dyn MonitorObserver>,
    /// Guards the state machine; held for moves of memory and non-blocking writes, never while someone is told.
    state: Mutex<State>,
}

/// A conversation with the monitor of a running guest. Clones share it.
#[derive(Clone)]
pub struct QmpClient(Arc<Shared>);

/// What happened, to be told once the lock is free.
enum News {
    Incoming(Incoming),
    Finished(Done, Answers),
    Silent(Vec<String>),
    Closed(Option<VirtError>),
}

impl QmpClient {
    /// Talks over `socket` on `reactor`. Commands may be sent at once; they wait for QEMU's greeting.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the socket cannot be watched.
    pub fn attach(
        socket: UnixStream,
        reactor: &ReactorHandle,
        observer: impl MonitorObserver + 'static,
    ) -> Result<Self> {
        let what = "QEMU monitor socket";
        let client = Self(Arc::new(Shared {
            line: Line::new(socket, reactor, what)?,
            observer: Box::new(observer),
            state: Mutex::new(State {
                protocol: Protocol::new(Limits::default()),
                slots: HashMap::new(),
                batches: HashMap::new(),
                next_batch: 1,
                source: None,
                timer: None,
                interest: Readiness::READABLE,
                closed: None,
                is_closed: false,
            }),
        }));
        let weak = Arc::downgrade(&client.0);
        let timer = reactor.add_timer(Timer::Disabled, move |_| {
            if let Some(shared) = weak.upgrade() {
                Self(shared).expire();
            }
        });
        let source = client.0.line.watch(what, &client.0, |shared, _, readiness| {
            Self(shared).turn(readiness)
        })?;
        {
            let mut state = client.0.state.lock();
            state.timer = Some(timer);
            state.source = Some(source);
            if state.is_closed {
                // It ended before it was known what to take out of the loop.
                reactor.remove(source);
                reactor.remove(timer);
            }
        }
        Ok(client)
    }

    /// Sends commands as one write; `done` gets the answers on the reactor's thread when all are there.
    ///
    /// # Errors
    /// If the conversation is over or too many commands wait; `done` is then dropped.
    pub fn submit(
        &self,
        commands: Vec<(Command, Vec<OwnedFd>)>,
        done: impl FnOnce(Answers) + Send + 'static,
    ) -> Result<Vec<CommandId>> {
        let (ids, news) = {
            let mut state = self.0.state.lock();
            if state.is_closed {
                return Err(state.closed.clone().unwrap_or_else(closed_in_order));
            }
            let count = commands.len();
            let ids = state.protocol.send(commands, Deadline::now())?;
            let batch = state.next_batch;
            state.next_batch += 1;
            for (index, id) in ids.iter().enumerate() {
                state.slots.insert(*id, (batch, index));
            }
            let answers = (0..count).map(|_| None).collect();
            state.batches.insert(
                batch,
                Batch {
                    answers,
                    missing: count,
                    done: Box::new(done),
                },
            );
            let mut news = Vec::new();
            if count == 0 {
                finish(&mut state, batch, &mut news);
            }
            let flushed = self.flush(&mut state);
            self.after_io(&mut state, flushed, &mut news);
            (ids, news)
        };
        if news.is_empty() {
            return Ok(ids);
        }
        // Told on the loop's thread like all else.
        let client = self.clone();
        self.0.line.reactor.post(move || client.tell(news));
        Ok(ids)
    }

    /// Sends commands as one write and waits for all answers. Not for the reactor's own thread.
    ///
    /// # Errors
    /// `OPERATION_TIMEOUT` or `OPERATION_ABORTED` when the caller's time is over; the commands are then in doubt. The
    /// first of the answers that is none: QEMU was silent, or the conversation ended.
    pub fn execute_all(
        &self,
        commands: Vec<(Command, Vec<OwnedFd>)>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Vec<Reply>> {
        if self.0.line.reactor.is_loop_thread() {
            return Err(VirtError::internal(
                "a QEMU monitor command would block the event loop",
            ));
        }
        let what = match commands.as_slice() {
            [(command, _)] => format!("QEMU's answer to '{}'", command.name),
            _ => format!("QEMU's answers to {} commands", commands.len()),
        };
        let signal = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .or_system(|| "cannot make an event descriptor")?;
        let slot: Arc<(EventFd, Mutex<Option<Answers>>)> = Arc::new((signal, Mutex::new(None)));
        let filled = slot.clone();
        let ids = self.submit(commands, move |answers| {
            *filled.1.lock() = Some(answers);
            // Fails only if the counter is full, which it is not.
            let _ = filled.0.write(1);
        })?;
        if let Err(error) =
            // The conversation's own clock ends it.
            wait_fd_moving(&slot.0, Interest::Readable, deadline, cancel)
                .and_then(|waited| waited.ok(&what))
        {
            self.abandon(&ids);
            return Err(error);
        }
        let answers = slot.1.lock().take().unwrap_or_default();
        answers.into_iter().collect()
    }

    /// One command; QEMU's refusal is an error.
    ///
    /// # Errors
    /// As [`QmpClient::execute_all`], and `INTERNAL_ERROR` with QEMU's own words.
    pub fn execute(
        &self,
        command: Command,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<serde_json::Value> {
        let name = command.name.to_string();
        let mut replies = self.execute_all(vec![(command, Vec::new())], deadline, cancel)?;
        match replies.pop() {
            Some(reply) => reply.map_err(|error| error.into_error(&name)),
            None => Err(VirtError::internal(format_args!(
                "no reply to the QEMU command '{name}'"
            ))),
        }
    }

    /// Whether commands are answered by now.
    pub fn is_ready(&self) -> bool {
        self.0.state.lock().protocol.is_ready()
    }

    /// Whether an answer may still come for a command that was given up.
    pub fn is_in_doubt(&self) -> bool {
        self.0.state.lock().protocol.is_in_doubt()
    }

    /// Ends the conversation from this side. The observer is not told.
    pub fn close(&self) {
        let news = {
            let mut state = self.0.state.lock();
            let mut news = self.shut(&mut state, None);
            news.retain(|one| !matches!(one, News::Closed(_)));
            news
        };
        let client = self.clone();
        self.0.line.reactor.post(move || client.tell(news));
    }

    fn abandon(&self, ids: &[CommandId]) {
        let mut state = self.0.state.lock();
        for id in ids {
            state.protocol.abandon(*id);
            if let Some((batch, _)) = state.slots.remove(id) {
                state.batches.remove(&batch);
            }
        }
        self.set_timer(&state);
    }

    fn turn(&self, readiness: Readiness) {
        let news = {
            let mut state = self.0.state.lock();
            if state.is_closed {
                return;
            }
            let mut news = Vec::new();
            let mut result = Ok(());
            if readiness.intersects(Readiness::READABLE | Readiness::HANGUP | Readiness::ERROR) {
                result = self.read(&mut state, &mut news);
            }
            let result = result.and_then(|()| self.flush(&mut state));
            self.after_io(&mut state, result, &mut news);
            news
        };
        self.tell(news);
    }

    fn read(&self, state: &mut State, news: &mut Vec<News>) -> Result<(), Option<VirtError>> {
        self.0.line.read(|bytes| {
            let result = state.protocol.receive(bytes, Deadline::now());
            while let Some(incoming) = state.protocol.next_incoming() {
                match incoming {
                    Incoming::Reply(id, reply) => answer(state, id, Ok(reply), news),
                    other => news.push(News::Incoming(other)),
                }
            }
            result
        })
    }

    fn flush(&self, state: &mut State) -> Result<(), Option<VirtError>> {
        while let Some(Outgoing { mut bytes, fds }) = state.protocol.next_outgoing() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match send_with_fds(&self.0.line.socket, &bytes, &borrowed).map_err(Some)? {
                Some(sent) if sent >= bytes.len() => {}
                Some(sent) => {
                    bytes.drain(..sent);
                    state.protocol.unsent(Outgoing {
                        bytes,
                        fds: Vec::new(),
                    });
                }
                None => {
                    state.protocol.unsent(Outgoing { bytes, fds });
                    break;
                }
            }
        }
        Ok(())
    }

    fn after_io(&self, state: &mut State, result: Result<(), Option<VirtError>>, news: &mut Vec<News>) {
        if let Err(why) = result {
            news.extend(self.shut(state, why));
            return;
        }
        let to_write = state.protocol.wants_to_write();
        let watched = self
            .0
            .line
            .watch_for_room(state.source, &mut state.interest, to_write);
        if let Err(error) = watched {
            news.extend(self.shut(state, Some(error)));
            return;
        }
        self.set_timer(state);
    }

    fn set_timer(&self, state: &State) {
        let Some(timer) = state.timer else { return };
        let setting = match state.protocol.deadline().remaining() {
            Some(left) => Timer::Once(left),
            None => Timer::Disabled,
        };
        // Fails only when the timer is gone, with the conversation.
        let _ = self.0.line.reactor.set_timer(timer, setting);
    }

    fn expire(&self) {
        let news = {
            let mut state = self.0.state.lock();
            if state.is_closed {
                return;
            }
            let mut news = Vec::new();
            let expired = state.protocol.expire(Deadline::now());
            for (id, name) in &expired {
                let error = VirtError::new(
                    ErrorCode::OPERATION_TIMEOUT,
                    format_args!("QEMU does not answer the monitor command '{name}'"),
                );
                answer(&mut state, *id, Err(error), &mut news);
            }
            if !expired.is_empty() {
                news.push(News::Silent(expired.into_iter().map(|(_, name)| name).collect()));
            }
            self.set_timer(&state);
            news
        };
        self.tell(news);
    }

    fn shut(&self, state: &mut State, why: Option<VirtError>) -> Vec<News> {
        let mut news = Vec::new();
        if state.is_closed {
            return news;
        }
        state.is_closed = true;
        state.closed = why.clone();
        let error = why.clone().unwrap_or_else(closed_in_order);
        for id in state.protocol.close() {
            answer(state, id, Err(error.clone()), &mut news);
        }
        for id in [state.source.take(), state.timer.take()].into_iter().flatten() {
            self.0.line.reactor.remove(id);
        }
        // The peer sees the end now, not when the last clone is gone.
        let _ = self.0.line.socket.shutdown(std::net::Shutdown::Both);
        news.push(News::Closed(why));
        news
    }

    fn tell(&self, news: Vec<News>) {
        let observer = &self.0.observer;
        for one in news {
            match one {
                News::Incoming(Incoming::Ready(greeting)) => observer.ready(&greeting),
                News::Incoming(Incoming::Event(event)) => observer.event(event),
                News::Incoming(Incoming::LateReply { id, name, reply }) => {
                    observer.late_reply(id, &name, reply)
                }
                News::Incoming(Incoming::Reply(..)) => {}
                News::Finished(done, answers) => done(answers),
                News::Silent(commands) => observer.silent(&commands),
                News::Closed(why) => observer.closed(why.as_ref()),
            }
        }
    }
}

impl fmt::Debug for QmpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QmpClient")
            .field("socket", &self.0.line.socket)
            .finish_non_exhaustive()
    }
}

fn closed_in_order() -> VirtError {
    VirtError::new(ErrorCode::OPERATION_FAILED, "End of file from qemu monitor")
}

fn answer(state: &mut State, id: CommandId, answer: Result<Reply>, news: &mut Vec<News>) {
    let Some((number, index)) = state.slots.remove(&id) else {
        return;
    };
    let Some(batch) = state.batches.get_mut(&number) else {
        return;
    };
    if let Some(slot) = batch.answers.get_mut(index) {
        *slot = Some(answer);
    }
    batch.missing = batch.missing.saturating_sub(1);
    if batch.missing == 0 {
        finish(state, number, news);
    }
}

fn finish(state: &mut State, number: u64, news: &mut Vec<News>) {
    if let Some(batch) = state.batches.remove(&number) {
        let answers = batch
            .answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(closed_in_order())))
            .collect();
        news.push(News::Finished(batch.done, answers));
    }
}

/// A conversation on the calling thread, for probing. Events are dropped.
pub struct BlockingQmp {
    socket: UnixStream,
    protocol: Protocol,
    deadline: Deadline,
    cancel: Cancel,
}

impl BlockingQmp {
    /// Talks over `socket` until `deadline`.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the socket cannot be used.
    pub fn new(socket: UnixStream, deadline: Deadline, cancel: Cancel) -> Result<Self> {
        socket
            .set_nonblocking(true)
            .or_system(|| "cannot use the QEMU monitor socket")?;
        Ok(Self {
            socket,
            protocol: Protocol::new(Limits::default()),
            deadline,
            cancel,
        })
    }
}

impl QmpPeer for BlockingQmp {
    fn execute_all(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>> {
        let count = commands.len();
        let commands = commands
            .into_iter()
            .map(|command| (command, Vec::new()))
            .collect();
        let ids = self.protocol.send(commands, Deadline::now())?;
        let mut replies: HashMap<CommandId, Reply> = HashMap::with_capacity(count);
        let mut buffer = vec![0; CHUNK];
        while replies.len() < count {
            while let Some(Outgoing { mut bytes, fds }) = self.protocol.next_outgoing() {
                let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                match send_with_fds(&self.socket, &bytes, &borrowed)? {
                    Some(sent) if sent >= bytes.len() => {}
                    Some(sent) => {
                        bytes.drain(..sent);
                        self.protocol.unsent(Outgoing {
                            bytes,
                            fds: Vec::new(),
                        });
                    }
                    None => {
                        self.protocol.unsent(Outgoing { bytes, fds });
                        break;
                    }
                }
            }
            let interest = if self.protocol.wants_to_write() {
                Interest::Both
            } else {
                Interest::Readable
            };
            let deadline = self.deadline.min(self.protocol.deadline());
            wait_fd(&self.socket, interest, deadline, &self.cancel)?.ok("QEMU's answer")?;
            match receive_with_fds(&self.socket, &mut buffer, 0)? {
                None => {}
                Some(received) if received.count == 0 => return Err(closed_in_order()),
                Some(received) => {
                    self.protocol
                        .receive(buffer.get(..received.count).unwrap_or_default(), Deadline::now())?;
                }
            }
            while let Some(incoming) = self.protocol.next_incoming() {
                if let Incoming::Reply(id, reply) = incoming {
                    replies.insert(id, reply);
                }
            }
        }
        let missing = || VirtError::internal("QEMU answered twice to one command");
        ids.iter()
            .map(|id| replies.remove(id).ok_or_else(missing))
            .collect()
    }
}
