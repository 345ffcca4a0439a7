//! [`AgentProtocol`] over a socket on the driver's reactor. One exchange at a time: whoever has the guest's agent job
//! has the agent.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use virt_util::error::SystemResult as _;
use virt_util::json_lines::encode;
use virt_util::reactor::{ReactorHandle, Readiness, SourceId};
use virt_util::sys::socket::send_with_fds;
use virt_util::time::{Cancel, Clock as _, Deadline, Interest, SystemClock, Waited, wait_fd_moving};
use virt_util::{ErrorCode, Result, VirtError};

use super::AgentTimeout;
use super::protocol::{AgentProtocol, Expecting, Outcome, sync_line};
use crate::line::Line;

/// An agent that has answered this recently is taken to listen; a later command begins with a handshake again, so
/// that an agent that has stopped meanwhile is found out by the handshake's limit and not by the command's.
const IN_SYNC: Duration = Duration::from_secs(10);

/// What QEMU tells that shows that the agent has done what it gives no answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The guest has shut down.
    Shutdown,
    /// The machine was reset.
    Reset,
    /// The guest sleeps.
    Suspend,
}

/// Told when a conversation ends by itself. Called on the reactor's thread with no lock held; must not block.
pub trait AgentObserver: Send + Sync {
    /// It is over: `None` if the port was closed, else what the agent did that no agent does.
    fn ended(&self, client: &AgentClient, why: Option<&VirtError>);
}

/// How an exchange ended for the one who waits.
enum Finish {
    Answer(Map<String, Value>),
    /// Garbage, the awaited event, or the end of the agent.
    NoAnswer,
}

struct Waiter {
    signal: Arc<EventFd>,
    finish: Option<Finish>,
}

struct State {
    protocol: AgentProtocol,
    outgoing: Vec<u8>,
    /// Bytes of an earlier message whose beginning is sent already: they go out whatever happens.
    owed: usize,
    waiter: Option<Waiter>,
    awaited: Option<Awaited>,
    /// When the agent answered last, in nanoseconds of the monotonic clock.
    synced: Option<u64>,
    /// How long it may take.
    timeout: AgentTimeout,
    source: Option<SourceId>,
    interest: Readiness,
    /// The port is open as far as is known.
    present: bool,
    /// The conversation is over for this.
    failed: Option<VirtError>,
}

struct Shared {
    line: Line,
    observer: Box<dyn AgentObserver>,
    /// Held for moves of memory and non-blocking writes, never while someone waits or is told.
    state: Mutex<State>,
}

/// A conversation with the agent of a running guest. Clones share it.
#[derive(Clone)]
pub struct AgentClient(Arc<Shared>);

impl AgentClient {
    /// Talks over `socket` on `reactor`.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the socket cannot be watched.
    pub fn attach(
        socket: UnixStream,
        reactor: &ReactorHandle,
        timeout: AgentTimeout,
        observer: impl AgentObserver + 'static,
    ) -> Result<Self> {
        let what = "guest agent's socket";
        let client = Self(Arc::new(Shared {
            line: Line::new(socket, reactor, what)?,
            observer: Box::new(observer),
            state: Mutex::new(State {
                protocol: AgentProtocol::new(),
                outgoing: Vec::new(),
                owed: 0,
                waiter: None,
                awaited: None,
                synced: None,
                timeout,
                source: None,
                interest: Readiness::READABLE,
                present: true,
                failed: None,
            }),
        }));
        let source = client.0.line.watch(what, &client.0, |shared, id, readiness| {
            Self(shared).turn(id, readiness)
        })?;
        client.0.state.lock().source = Some(source);
        Ok(client)
    }

    /// How long the agent may take from now on.
    pub fn set_timeout(&self, timeout: AgentTimeout) {
        self.0.state.lock().timeout = timeout;
    }

    /// How long the agent may take.
    pub fn timeout(&self) -> AgentTimeout {
        self.0.state.lock().timeout
    }

    /// Whether both are the same conversation.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Something has happened that a command may wait for in place of an answer.
    pub fn notify(&self, what: Awaited) {
        let mut state = self.0.state.lock();
        if state.awaited == Some(what) {
            state.awaited = None;
            finish(&mut state, Finish::NoAnswer);
        }
    }

    /// The agent or the guest is gone: whoever waits is told so.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.present = false;
        finish(&mut state, Finish::NoAnswer);
        if let Some(source) = state.source.take() {
            self.0.line.reactor.remove(source);
        }
    }

    /// Sends `command`, after a handshake unless the agent answered a moment ago, and gives the whole answer; nothing
    /// if `awaited` came first. Not for the reactor's own thread.
    ///
    /// # Errors
    /// `AGENT_UNRESPONSIVE` if there is no agent or it misses the handshake, `AGENT_COMMAND_TIMEOUT` if it does not
    /// answer in time, `OPERATION_TIMEOUT` or `OPERATION_ABORTED` when the caller's patience ends.
    pub fn execute(
        &self,
        command: &Value,
        limit: AgentTimeout,
        awaited: Option<Awaited>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Option<Map<String, Value>>> {
        if self.0.line.reactor.is_loop_thread() {
            return Err(VirtError::internal(
                "a guest agent's command would block the event loop",
            ));
        }
        let gone = |code| VirtError::new(code, "the guest agent went away in the middle of a command");
        if !self.0.state.lock().present {
            return Err(gone(ErrorCode::AGENT_UNRESPONSIVE));
        }
        self.handshake(limit, deadline, cancel)?;
        let line = encode(command)?;
        self.0.state.lock().awaited = awaited;
        let exchanged = self.exchange(&line, Expecting::Answer, limit.limit(), deadline, cancel);
        let present = {
            let mut state = self.0.state.lock();
            state.awaited = None;
            state.present
        };
        match exchanged? {
            Some(Finish::Answer(answer)) => Ok(Some(answer)),
            Some(Finish::NoAnswer) if awaited.is_some() => Ok(None),
            Some(Finish::NoAnswer) if present => {
                Err(VirtError::internal("the guest agent's answer is missing"))
            }
            Some(Finish::NoAnswer) => Err(gone(ErrorCode::AGENT_COMMAND_TIMEOUT)),
            None => Err(VirtError::new(
                ErrorCode::AGENT_COMMAND_TIMEOUT,
                format_args!(
                    "the guest agent did not answer the command within {} seconds",
                    limit.limit().unwrap_or_default().as_secs()
                ),
            )),
        }
    }

    fn handshake(&self, command: AgentTimeout, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        let limit = {
            let state = self.0.state.lock();
            let recent = state.synced.is_some_and(|at| {
                u128::from(SystemClock.monotonic_nanos().saturating_sub(at)) < IN_SYNC.as_nanos()
            });
            if recent {
                return Ok(());
            }
            state.timeout.for_handshake(command)
        };
        for first in [true, false] {
            // Any number will do that was not used before.
            let id = SystemClock.monotonic_nanos() / 1000;
            let expecting = Expecting::Sync { id, first };
            match self.exchange(&sync_line(id)?, expecting, Some(limit), deadline, cancel)? {
                Some(Finish::Answer(_)) => return Ok(()),
                Some(Finish::NoAnswer) => {}
                None => {
                    return Err(VirtError::new(
                        ErrorCode::AGENT_UNRESPONSIVE,
                        format_args!(
                            "the guest agent did not answer the question whether it is there within {} seconds",
                            limit.as_secs()
                        ),
                    ));
                }
            }
        }
        Err(match self.0.state.lock().present {
            true => VirtError::internal("the guest agent's answer is missing"),
            false => VirtError::new(
                ErrorCode::AGENT_UNRESPONSIVE,
                "the guest agent went away in the middle of a command",
            ),
        })
    }

    /// One line out, one answer in; `None` when `limit` is over.
    fn exchange(
        &self,
        line: &[u8],
        expecting: Expecting,
        limit: Option<Duration>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Option<Finish>> {
        let signal = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .or_system(|| "cannot make an event descriptor")?;
        let signal = Arc::new(signal);
        {
            let mut state = self.0.state.lock();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if !state.present {
                return Ok(Some(Finish::NoAnswer));
            }
            if state.waiter.is_some() {
                return Err(VirtError::internal(
                    "the guest agent already has a command to answer",
                ));
            }
            state.waiter = Some(Waiter {
                signal: Arc::clone(&signal),
                finish: None,
            });
            state.protocol.expect(expecting);
            state.owed = state.outgoing.len();
            state.outgoing.extend_from_slice(line);
            if let Err(error) = self.flush(&mut state) {
                state.failed = Some(error);
                finish(&mut state, Finish::NoAnswer);
            }
        }
        let patience = match limit {
            Some(limit) => deadline.at_most(limit),
            None => deadline,
        };
        // Without a limit the caller has asked for a wait without end.
        let waited = wait_fd_moving(&*signal, Interest::Readable, patience, cancel);
        let mut state = self.0.state.lock();
        let finished = state.waiter.take().and_then(|waiter| waiter.finish);
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        if let Some(finish) = finished {
            return Ok(Some(finish));
        }
        // Nobody waits any more: the answer would be taken for the next one's.
        state.synced = None;
        state.protocol.expect(Expecting::Nothing);
        let unsent = state.outgoing.len().saturating_sub(state.owed);
        if unsent == line.len() {
            let owed = state.owed;
            state.outgoing.truncate(owed);
        }
        match waited? {
            Waited::Ready => Ok(Some(Finish::NoAnswer)),
            Waited::DeadlinePassed if !deadline.has_passed() => Ok(None),
            other => other.ok("the guest agent's answer").map(|()| None),
        }
    }

    fn flush(&self, state: &mut State) -> Result<()> {
        while !state.outgoing.is_empty() {
            match send_with_fds(&self.0.line.socket, &state.outgoing, &[])? {
                Some(sent) => {
                    state.outgoing.drain(..sent);
                    state.owed = state.owed.saturating_sub(sent);
                }
                None => break,
            }
        }
        let to_write = !state.outgoing.is_empty();
        self.0
            .line
            .watch_for_room(state.source, &mut state.interest, to_write)
    }

    fn turn(&self, id: SourceId, readiness: Readiness) {
        let over = {
            let mut state = self.0.state.lock();
            let mut result = Ok(());
            if readiness.intersects(Readiness::READABLE | Readiness::HANGUP | Readiness::ERROR) {
                result = self.read(&mut state);
            }
            let over = match result.and_then(|()| self.flush(&mut state).map_err(Some)) {
                Ok(()) => None,
                Err(why) => {
                    state.source = None;
                    state.present = false;
                    state.failed.clone_from(&why);
                    finish(&mut state, Finish::NoAnswer);
                    Some(why)
                }
            };
            if over.is_some() {
                // Whatever it goes on to say stays where it is, and costs its guest.
                self.0.line.reactor.remove(id);
            }
            over
        };
        if let Some(why) = over {
            self.0.observer.ended(self, why.as_ref());
        }
    }

    /// `Err(None)` at the end.
    fn read(&self, state: &mut State) -> Result<(), Option<VirtError>> {
        self.0.line.read(|bytes| {
            match state.protocol.receive(bytes)? {
                Some(Outcome::Answer(answer)) => {
                    state.synced = Some(SystemClock.monotonic_nanos());
                    finish(state, Finish::Answer(answer));
                }
                Some(Outcome::Garbage) => finish(state, Finish::NoAnswer),
                None => {}
            }
            Ok(())
        })
    }
}

impl fmt::Debug for AgentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("AgentClient")
            .field("present", &state.present)
            .field("failed", &state.failed)
            .finish_non_exhaustive()
    }
}

/// Ends the exchange that is under way, if one is.
fn finish(state: &mut State, how: Finish) {
    if let Some(waiter) = state.waiter.as_mut().filter(|waiter| waiter.finish.is_none()) {
        waiter.finish = Some(how);
        // Fails only if the counter is full, which it is not.
        let _ = waiter.signal.write(1);
    }
}
