//! Streams to a guest's terminals and channels. One session at a time: a second one is refused, or ends the first.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use virt_api::stream_end::{Readiness, Stream, Transfer, Waker};
use virt_conf::domain::Domain;
use virt_conf::domain::chardev::{ChannelTarget, ChardevSource, UnixSource};
use virt_util::error::SystemResult as _;
use virt_util::reactor::{self, ReactorHandle, SourceId};
use virt_util::splice::splice;
use virt_util::sys::socket::widen_send_buffer;
use virt_util::time::{Cancel, Deadline, Interest, wait_fd};
use virt_util::{ErrorCode, Result};

use super::error;

/// The sessions of one guest, by terminal.
#[derive(Debug, Default)]
pub struct Consoles(Mutex<HashMap<String, Weak<Session>>>);

/// A name behind the word for a device, nothing where none is known.
fn named(name: Option<&str>) -> String {
    name.map(|name| format!(" '{name}'")).unwrap_or_default()
}

/// The path of the terminal behind a device: the first console or serial port unless one is named by its alias.
///
/// # Errors
/// `INTERNAL_ERROR` if there is no such device, or it has no terminal.
pub fn terminal(domain: &Domain, alias: Option<&str>) -> Result<String> {
    let devices = &domain.devices;
    let consoles = devices
        .consoles
        .iter()
        .map(|one| (&one.info.alias, &one.host.source));
    let serials = devices
        .serials
        .iter()
        .map(|one| (&one.info.alias, &one.host.source));
    let parallels = devices
        .parallels
        .iter()
        .map(|one| (&one.info.alias, &one.host.source));
    let (alias, source) = match alias {
        None => consoles.chain(serials).next(),
        Some(wanted) => consoles
            .chain(serials)
            .chain(parallels)
            .find(|(alias, _)| alias.as_deref() == Some(wanted)),
    }
    .ok_or_else(|| {
        error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("the domain has no console{}", named(alias)),
        )
    })?;
    match source {
        ChardevSource::Pty { path: Some(path), .. } => Ok(path.clone()),
        _ => Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("console{} is not of type 'pty'", named(alias.as_deref())),
        )),
    }
}

/// The path of the socket behind a channel: the first one unless one is named by its alias or by its name in the guest.
///
/// # Errors
/// `INTERNAL_ERROR` if there is no such channel, or it has no socket.
pub fn channel(domain: &Domain, name: Option<&str>) -> Result<String> {
    let channels = &domain.devices.channels;
    let found = match name {
        None => channels.first(),
        // The last one that fits counts.
        Some(wanted) => channels.iter().rev().find(|one| {
            let target = match &one.target {
                ChannelTarget::Virtio { name, .. } => name.as_deref(),
                ChannelTarget::Guestfwd { .. } | ChannelTarget::Xen { .. } => None,
            };
            one.info.alias.as_deref() == Some(wanted) || target == Some(wanted)
        }),
    };
    let found = found.ok_or_else(|| {
        error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("the domain has no channel{}", named(name)),
        )
    })?;
    match &found.host.source {
        ChardevSource::Unix(UnixSource { path: Some(path), .. }) => Ok(path.clone()),
        _ => Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!(
                "channel{} is not of type 'unix'",
                named(name.or(found.info.alias.as_deref()))
            ),
        )),
    }
}

/// What a session leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A terminal.
    Console,
    /// A socket that the guest's process listens on.
    Channel,
}

/// How much data waits for a guest in its channel's socket.
const CHANNEL_BUFFER: usize = 1 << 20;

impl Kind {
    fn open(self, path: &str) -> Result<File> {
        match self {
            Self::Console => OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
                .open(Path::new(path))
                .or_system(|| format!("unable to open tty {path}")),
            Self::Channel => {
                let socket =
                    UnixStream::connect(path).or_system(|| format!("unable to connect to {path}"))?;
                widen_send_buffer(&socket, CHANNEL_BUFFER);
                socket
                    .set_nonblocking(true)
                    .or_system(|| format!("unable to use {path}"))?;
                Ok(File::from(OwnedFd::from(socket)))
            }
        }
    }

    fn busy(self) -> &'static str {
        match self {
            Self::Console => "Active console session exists for this domain",
            Self::Channel => "another stream is open on this channel",
        }
    }
}

impl Consoles {
    /// Opens the terminal or channel at `path`.
    ///
    /// # Errors
    /// `OPERATION_FAILED` if somebody has it, unless `force` takes it from them.
    pub fn open(
        &self,
        kind: Kind,
        path: &str,
        force: bool,
        reactor: &ReactorHandle,
    ) -> Result<ConsoleStream> {
        let mut sessions = self.0.lock();
        if let Some(active) = sessions
            .get(path)
            .and_then(Weak::upgrade)
            .filter(|active| !active.ended.is_set())
        {
            if !force {
                return Err(error(ErrorCode::OPERATION_FAILED, kind.busy()));
            }
            active.ended.set();
        }
        let file = kind.open(path)?;
        let session = Arc::new(Session {
            kind,
            file,
            ended: Cancel::new(),
        });
        sessions.insert(path.to_owned(), Arc::downgrade(&session));
        Ok(ConsoleStream {
            session,
            reactor: reactor.clone(),
            nonblocking: AtomicBool::new(false),
            moved_much: [AtomicBool::new(false), AtomicBool::new(false)],
            watching: Arc::default(),
        })
    }

    /// Ends all sessions: the guest is gone.
    pub fn close(&self) {
        for session in self.0.lock().drain().filter_map(|(_, session)| session.upgrade()) {
            session.ended.set();
        }
    }
}

#[derive(Debug)]
struct Session {
    kind: Kind,
    file: File,
    /// Set when the session is over: by its own end, or by another that took its place.
    ended: Cancel,
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What is moved at once from which on more of it is expected soon.
const MUCH: usize = 32 * 1024;
/// How long a stream that has just moved much waits for the other side before it says that it would have to: to be woken
/// by somebody costs more.
const PATIENCE: Duration = Duration::from_millis(2);

/// A stream to a terminal or channel.
pub struct ConsoleStream {
    session: Arc<Session>,
    reactor: ReactorHandle,
    nonblocking: AtomicBool,
    /// Whether the last read, and the last write, moved much.
    moved_much: [AtomicBool; 2],
    watching: Arc<Mutex<Watching>>,
}

/// Who waits for the stream. The reactor looks for both while somebody does.
#[derive(Default)]
struct Watching {
    waker: Option<Waker>,
    /// The reactor's sources: the terminal, and the end.
    sources: Option<(SourceId, Option<SourceId>)>,
}

impl Drop for ConsoleStream {
    fn drop(&mut self) {
        let sources = self.watching.lock().sources.take();
        if let Some((file, ended)) = sources {
            self.reactor.remove(file);
            ended.inspect(|ended| _ = self.reactor.remove(*ended));
        }
    }
}

impl std::fmt::Debug for ConsoleStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConsoleStream({:?})", self.session)
    }
}

impl ConsoleStream {
    /// Tries `step` until it is done, waiting in between if the stream may wait.
    fn transfer(
        &self,
        interest: Interest,
        patience: Duration,
        mut step: impl FnMut(&File) -> std::io::Result<usize>,
    ) -> Result<Transfer> {
        let [read, written] = &self.moved_much;
        let moved_much = match interest {
            Interest::Readable => read,
            Interest::Writable | Interest::Both => written,
        };
        loop {
            if self.session.ended.is_set() {
                return Ok(Transfer::Bytes(0));
            }
            match step(&self.session.file) {
                Ok(count) => {
                    moved_much.store(count >= MUCH, Ordering::Relaxed);
                    return Ok(Transfer::Bytes(count));
                }
                Err(failed) if failed.kind() == std::io::ErrorKind::Interrupted => {}
                Err(failed) if failed.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.nonblocking.load(Ordering::Acquire) {
                        if !patience.is_zero() && moved_much.swap(false, Ordering::Relaxed) {
                            let soon = Deadline::after(patience);
                            let _ = wait_fd(&self.session.file, interest, soon, &self.session.ended)?;
                            continue;
                        }
                        return Ok(Transfer::WouldBlock);
                    }
                    // How it ended shows in the next turn.
                    let _ = wait_fd(&self.session.file, interest, Deadline::NONE, &self.session.ended)?;
                }
                // The other end of a terminal is closed: that is its end.
                Err(failed) if failed.raw_os_error() == Some(libc::EIO) => return Ok(Transfer::Bytes(0)),
                Err(failed) => return Err(failed).or_system(|| "the console failed"),
            }
        }
    }
}

/// What was sent of so many bytes: nothing means that the session is over.
fn taken(sent: Transfer, of: usize) -> Result<Transfer> {
    if sent == Transfer::Bytes(0) && of > 0 {
        return Err(error(
            ErrorCode::OPERATION_FAILED,
            "the console session has ended",
        ));
    }
    Ok(sent)
}

impl Stream for ConsoleStream {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        let sent = self.transfer(Interest::Writable, PATIENCE, |mut file| file.write(data))?;
        taken(sent, data.len())
    }

    fn recv(&self, buffer: &mut [u8], _stop_at_hole: bool) -> Result<Transfer> {
        self.transfer(Interest::Readable, PATIENCE, |mut file| file.read(buffer))
    }

    fn can_splice(&self) -> bool {
        self.session.kind == Kind::Channel
    }

    fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        self.transfer(Interest::Readable, PATIENCE, |file| splice(file, pipe, most))
    }

    fn send_from_pipe(&self, pipe: BorrowedFd<'_>, most: usize, at_once: bool) -> Result<Transfer> {
        let patience = if at_once { Duration::ZERO } else { PATIENCE };
        let sent = self.transfer(Interest::Writable, patience, |file| splice(pipe, file, most))?;
        taken(sent, most)
    }

    fn finish(&self) -> Result<()> {
        self.session.ended.set();
        Ok(())
    }

    fn abort(&self) -> Result<()> {
        self.finish()
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.nonblocking.store(nonblocking, Ordering::Release);
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        if self.session.ended.is_set() {
            return Ok(Readiness::HANGUP);
        }
        let mut ready = Readiness::default();
        for (bit, direction) in [
            (Readiness::READABLE, Interest::Readable),
            (Readiness::WRITABLE, Interest::Writable),
        ] {
            if !interest.and(bit).is_empty() {
                let waited = wait_fd(&self.session.file, direction, Deadline::now(), &Cancel::never())?;
                if waited == virt_util::time::Waited::Ready {
                    ready = ready.or(bit);
                }
            }
        }
        Ok(ready)
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        let now = self.readiness(interest)?;
        if !now.is_empty() {
            waker(now);
            return Ok(());
        }
        let mut wanted = reactor::Readiness::empty();
        wanted.set(
            reactor::Readiness::READABLE,
            !interest.and(Readiness::READABLE).is_empty(),
        );
        wanted.set(
            reactor::Readiness::WRITABLE,
            !interest.and(Readiness::WRITABLE).is_empty(),
        );
        let mut watching = self.watching.lock();
        watching.waker = Some(waker);
        if let Some((file, _)) = watching.sources {
            return self.reactor.set_interest(file, wanted);
        }
        // Terminal and end are two descriptors; whoever is first takes the waker.
        let call = |told: fn(reactor::Readiness) -> Readiness| {
            let (watching, reactor) = (Arc::downgrade(&self.watching), self.reactor.clone());
            move |id, readiness| {
                let Some(watching) = watching.upgrade() else {
                    return;
                };
                let mut watching = watching.lock();
                // Nobody listens until the next watch. A source that is gone needs no rest.
                let _ = reactor.set_interest(id, reactor::Readiness::empty());
                let waker = watching.waker.take();
                drop(watching);
                if let Some(waker) = waker {
                    waker(told(readiness));
                }
            }
        };
        let file = self.reactor.add_fd(
            OfSession(Arc::clone(&self.session)),
            wanted,
            call(|readiness| Readiness(readiness.bits())),
        )?;
        watching.sources = Some((file, None));
        if let Some(ended) = self.session.ended.fd()? {
            let ended = ended
                .try_clone_to_owned()
                .or_system(|| "cannot duplicate an event descriptor")?;
            let readable = reactor::Readiness::READABLE;
            let ended = self
                .reactor
                .add_fd(ended, readable, call(|_| Readiness::HANGUP))?;
            watching.sources = Some((file, Some(ended)));
        }
        Ok(())
    }
}

/// The descriptor of a session, for the reactor.
struct OfSession(Arc<Session>);

impl AsFd for OfSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use virt_util::reactor::Reactor;
    use virt_util::splice::Pipe;

    #[test]
    fn data_of_a_channel_goes_through_pipes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("channel");
        let listener = UnixListener::bind(&path).unwrap();
        let reactor = Reactor::start("test").unwrap();
        let consoles = Consoles::default();
        let path = path.to_str().unwrap();
        let stream = consoles
            .open(Kind::Channel, path, false, &reactor.handle())
            .unwrap();
        let (mut guest, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(stream.can_splice());

        let pipe = Pipe::new(1 << 20).unwrap();
        let nothing = stream.recv_to_pipe(pipe.writer(), 100).unwrap();
        assert_eq!(nothing, Transfer::WouldBlock);
        guest.write_all(b"from the guest").unwrap();
        let got = stream.recv_to_pipe(pipe.writer(), 8).unwrap();
        assert_eq!(got, Transfer::Bytes(8));
        let sent = stream.send_from_pipe(pipe.reader(), 8, true).unwrap();
        assert_eq!(sent, Transfer::Bytes(8));
        let mut back = [0; 8];
        guest.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"from the");

        // A guest that takes nothing costs nobody time who must not wait.
        loop {
            guest.write_all(&[1; 50_000]).unwrap();
            let Transfer::Bytes(count) = stream.recv_to_pipe(pipe.writer(), 50_000).unwrap() else {
                panic!("the guest has sent something");
            };
            let begun = std::time::Instant::now();
            let sent = stream.send_from_pipe(pipe.reader(), count, true).unwrap();
            assert!(begun.elapsed() < std::time::Duration::from_secs(1));
            match sent {
                Transfer::Bytes(sent) => pipe.discard(count - sent).unwrap(),
                other => break assert_eq!(other, Transfer::WouldBlock),
            }
        }

        // Who takes the channel over ends the session.
        let other = consoles
            .open(Kind::Channel, path, true, &reactor.handle())
            .unwrap();
        assert_eq!(stream.recv_to_pipe(pipe.writer(), 8).unwrap(), Transfer::Bytes(0));
        assert!(stream.send_from_pipe(pipe.reader(), 1, true).is_err());
        drop(other);
    }
}
