//! The guest's console on this terminal, and why it ended.
//!
//! The loop moves bytes between the terminal and the stream until something ends it. That something is recorded as an
//! [`Ending`] at the moment it happens, before any clean-up: closing the stream or asking for the domain's state can
//! fail in ways of their own, which must not be taken for the reason.

use crate::shell::{Failure, Outcome, Shell};
use crate::terminal::{RawMode, Signals};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use virt_api::{Connect, Domain, Readiness, Received, Stream};
use virt_util::types::{DomainConsoleFlags, DomainState};
use virt_util::{ErrorCode, VirtError};

/// Why a console session ended.
#[derive(Debug)]
pub enum Ending {
    /// The user typed the escape character.
    Escape,
    /// The guest shut down or was destroyed.
    GuestStopped,
    /// The server closed the console of a guest that runs on.
    ServerClosed,
    /// The connection to the server broke.
    ConnectionLost(VirtError),
    /// Reading or writing the console failed.
    ConsoleError(VirtError),
    /// The terminal has no more input.
    TerminalClosed,
    /// The terminal could not be read or written.
    TerminalError(VirtError),
    /// The program was told to end.
    Signalled(Signal),
}

impl Ending {
    /// The ending as a command's outcome: the user's and the guest's own end are successes, and everything but the
    /// user's own is said.
    fn outcome(self, shell: &mut Shell, domain: &str) -> Outcome {
        let failed = |sentence: String, cause: Option<VirtError>| {
            Err(Failure {
                said: vec![sentence],
                cause,
            })
        };
        // What the guest said last may have left the cursor inside a line.
        shell.extra("\n");
        match self {
            Self::Escape => Ok(()),
            Self::GuestStopped => {
                shell.extra(format!("Console closed: domain '{domain}' has stopped\n"));
                Ok(())
            }
            Self::ServerClosed => failed(
                format!("Console closed by the server while domain '{domain}' is still active"),
                None,
            ),
            Self::ConnectionLost(error) => failed(
                "Console closed: the connection to the server was lost".into(),
                Some(error),
            ),
            Self::ConsoleError(error) => failed(
                format!("Console closed: I/O error on the console of domain '{domain}'"),
                Some(error),
            ),
            Self::TerminalClosed => failed("Console closed: end of file on standard input".into(), None),
            Self::TerminalError(error) => {
                failed("Console closed: I/O error on the terminal".into(), Some(error))
            }
            Self::Signalled(signal) => failed(format!("Console closed: got {signal}"), None),
        }
    }
}

/// The byte that the escape setting means: `^]` is Control and `]`.
pub fn escape_byte(setting: &str) -> u8 {
    match setting.as_bytes() {
        [b'^', key] => key.to_ascii_uppercase() ^ 0x40,
        [key, ..] => *key,
        [] => 0x1d,
    }
}

/// Bytes kept for a side that does not take them: reading from the other side stops beyond this.
const PENDING_MAX: usize = 64 * 1024;

/// Opens the console of `domain` and stays in it.
pub fn run(
    shell: &mut Shell,
    domain: &Domain,
    device: Option<&str>,
    resume: bool,
    flags: DomainConsoleFlags,
) -> Outcome {
    let setting = shell.options.escape.clone().unwrap_or_else(|| "^]".into());
    let stream = domain.open_console(device, flags)?;
    stream.set_nonblocking(true)?;

    // Signals first, so that none finds the terminal raw and ends the program.
    let signals = Signals::catch(&[
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGWINCH,
    ])?;
    let raw = RawMode::enter()?;
    // Only now: whoever answers to this at once is heard by the guest, not echoed and dropped by the terminal.
    shell.extra(banner(domain.name(), &setting, std::io::stdout().is_terminal()));
    shell.flush();
    let ending = if resume { domain.resume().err() } else { None };
    let ending = match ending {
        Some(error) => {
            drop(raw);
            let _ = stream.abort();
            return Err(Failure {
                said: vec![format!("Failed to resume domain '{}'", domain.name())],
                cause: Some(error),
            });
        }
        None => {
            let (input, output) = (std::io::stdin(), std::io::stdout());
            let terminal = Terminal {
                input: input.as_fd(),
                output: output.as_fd(),
            };
            Session::new(&stream, terminal, &signals, escape_byte(&setting))
                .map(|mut session| session.run(domain, STATE_PATIENCE))
        }
    };
    // The reason is known by now; what clean-up meets changes nothing.
    let _ = match &ending {
        Ok(Ending::Escape | Ending::GuestStopped) => stream.finish(),
        _ => stream.abort(),
    };
    drop(raw);
    drop(signals);
    ending?.outcome(shell, domain.name())
}

/// What is said when the console is open. A raw terminal wants its carriage returned.
fn banner(domain: &str, escape: &str, on_terminal: bool) -> String {
    let end = if on_terminal { "\r\n" } else { "\n" };
    let key = escape
        .strip_prefix('^')
        .map(|key| format!(" (Ctrl + {key})"))
        .unwrap_or_default();
    format!("Connected to domain '{domain}'{end}Escape character is {escape}{key}{end}")
}

/// What the terminal or the stream said.
enum Event {
    GoOn,
    End(Ending),
}

/// How long the state of a guest may lag behind the end of its console.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// The user's side.
#[derive(Clone, Copy)]
struct Terminal<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
}

struct Session<'a> {
    stream: &'a Stream,
    terminal: Terminal<'a>,
    signals: &'a Signals,
    escape: u8,
    /// Told by the stream's watcher, from any thread.
    wake: Arc<EventFd>,
    to_terminal: Vec<u8>,
    to_guest: Vec<u8>,
    /// The guest's side has ended; what it sent is still on its way to the terminal.
    ended: Option<Result<(), VirtError>>,
}

impl<'a> Session<'a> {
    fn new(
        stream: &'a Stream,
        terminal: Terminal<'a>,
        signals: &'a Signals,
        escape: u8,
    ) -> Result<Self, VirtError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| VirtError::system(errno as i32, "cannot make an event descriptor"))?;
        Ok(Self {
            stream,
            terminal,
            signals,
            escape,
            wake: Arc::new(wake),
            to_terminal: Vec::new(),
            to_guest: Vec::new(),
            ended: None,
        })
    }

    fn run(&mut self, domain: &Domain, patience: Duration) -> Ending {
        loop {
            if let Event::End(ending) = self.step() {
                return ending;
            }
            if self.to_terminal.is_empty()
                && let Some(ended) = self.ended.take()
            {
                return explain(domain, ended, patience);
            }
        }
    }

    /// Moves what can be moved, then waits until something else can.
    fn step(&mut self) -> Event {
        self.receive();
        self.send();
        if self.ended.is_some() && self.to_terminal.is_empty() {
            return Event::GoOn;
        }
        if self.ended.is_none() {
            let mut interest = Readiness::default();
            if self.to_terminal.len() < PENDING_MAX {
                interest = interest.or(Readiness::READABLE);
            }
            if !self.to_guest.is_empty() {
                interest = interest.or(Readiness::WRITABLE);
            }
            let wake = Arc::clone(&self.wake);
            let watched = self.stream.watch(interest, move |_| {
                let _ = wake.write(1);
            });
            if let Err(error) = watched {
                self.ended = Some(Err(error));
                return Event::GoOn;
            }
        }
        self.wait()
    }

    fn wait(&mut self) -> Event {
        let input = if self.to_guest.len() < PENDING_MAX {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let output = if self.to_terminal.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        let mut fds = [
            PollFd::new(self.terminal.input, input),
            PollFd::new(self.terminal.output, output),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Event::End(Ending::TerminalError(VirtError::system(
                    errno as i32,
                    "cannot wait for the terminal",
                )));
            }
        }
        let [input, output, woken, signalled] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !woken.is_empty() {
            let _ = self.wake.read();
        }
        if !signalled.is_empty() {
            match self.signals.take() {
                // The guest is not told the size: a serial line has none.
                Some(Signal::SIGWINCH | Signal::SIGPIPE) | None => {}
                // In raw mode these come from outside the terminal. Keys of the terminal go to the guest.
                Some(signal) => return Event::End(Ending::Signalled(signal)),
            }
        }
        if !output.is_empty()
            && let Event::End(ending) = self.write_terminal()
        {
            return Event::End(ending);
        }
        if input.is_empty() {
            Event::GoOn
        } else {
            self.read_terminal()
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        while self.ended.is_none() && self.to_terminal.len() < PENDING_MAX {
            match self.stream.receive(&mut buffer) {
                Ok(Received::WouldBlock) => break,
                Ok(Received::Data(0)) => self.ended = Some(Ok(())),
                Ok(Received::Data(length)) => {
                    self.to_terminal
                        .extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }

    fn send(&mut self) {
        while self.ended.is_none() && !self.to_guest.is_empty() {
            match self.stream.send(&self.to_guest) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    self.to_guest.drain(..length.min(self.to_guest.len()));
                }
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }

    fn read_terminal(&mut self) -> Event {
        let mut buffer = [0; 1024];
        match nix::unistd::read(self.terminal.input, &mut buffer) {
            Ok(0) => Event::End(Ending::TerminalClosed),
            Ok(length) => {
                let typed = buffer.get(..length).unwrap_or_default();
                // Keys typed one by one arrive one by one; inside pasted text the character is text.
                if typed.first() == Some(&self.escape) {
                    return Event::End(Ending::Escape);
                }
                self.to_guest.extend_from_slice(typed);
                Event::GoOn
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Event::GoOn,
            // The terminal was closed: its device answers so.
            Err(Errno::EIO) => Event::End(Ending::TerminalClosed),
            Err(errno) => Event::End(Ending::TerminalError(VirtError::system(
                errno as i32,
                "cannot read from stdin",
            ))),
        }
    }

    fn write_terminal(&mut self) -> Event {
        if self.to_terminal.is_empty() {
            // Nothing was asked for, so what was told is an error or a hang-up.
            return Event::End(Ending::TerminalClosed);
        }
        match nix::unistd::write(self.terminal.output, &self.to_terminal) {
            Ok(length) => {
                self.to_terminal.drain(..length.min(self.to_terminal.len()));
                Event::GoOn
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Event::GoOn,
            Err(Errno::EPIPE) => Event::End(Ending::TerminalClosed),
            Err(errno) => Event::End(Ending::TerminalError(VirtError::system(
                errno as i32,
                "cannot write to stdout",
            ))),
        }
    }
}

/// The stream has ended, in order or with an error: finds out whose end it was.
fn explain(domain: &Domain, ended: Result<(), VirtError>, patience: Duration) -> Ending {
    let connection: &Connect = domain.connection();
    let lost = |error: Option<VirtError>| {
        Ending::ConnectionLost(
            error.unwrap_or_else(|| VirtError::new(ErrorCode::RPC, "the connection ended without an error")),
        )
    };
    if !connection.is_alive().unwrap_or(false) {
        return lost(ended.err());
    }
    // The console of a guest that stops closes before its state has changed: give the state a moment.
    let until = Instant::now() + patience;
    loop {
        match domain.state() {
            Ok((DomainState::SHUTOFF | DomainState::CRASHED, _)) => return Ending::GuestStopped,
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::NO_DOMAIN => return Ending::GuestStopped,
            Err(_) if !connection.is_alive().unwrap_or(false) => return lost(ended.err()),
            Err(_) => break,
        }
        if Instant::now() >= until {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    match ended {
        Ok(()) => Ending::ServerClosed,
        Err(error) => Ending::ConsoleError(error),
    }
}

#[cfg(test)]
mod tests;
