//! A client's bytes: from its socket to packets, and what could not be written at once back to it.
//!
//! Each client has one task, which runs one of the loops here. It reads packets and hands them on, writes what the
//! [`Outbox`] could not write itself, and asks a silent client whether it lives. It never waits for a driver. While data
//! of a stream comes in, a worker has the [`Input`] and reads; the task waits for it to be given back.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use virt_api::rpc::keepalive::{self, Action, Keepalive};
use virt_util::time::{Clock, SystemClock};
use virt_util::{Result, VirtError};

use super::outbox::{Outbox, Outgoing};
use super::session::{Ending, Session};
use super::socket::{Room, Socket};
use super::stream::ServedStream;
use crate::auth::tls::CONFIRMATION;

mod input;

use input::{Input, Read};

/// How much is read from a TLS connection at once.
const TLS_READ: usize = 32 * 1024;
/// How much is encrypted at once.
const TLS_WRITE: usize = 256 * 1024;
/// How often a client's TLS connection is read or written before others get their turn.
const TLS_TURN: usize = 16;
/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// A timer that is not set yet.
const FAR: Duration = Duration::from_secs(86_400);

impl Session {
    /// Moves the bytes of a client over a socket that needs no encryption, until its end.
    pub(super) async fn run(self: Arc<Self>, socket: Arc<Socket>) {
        let ending = match self.learn_peer(&socket).await {
            Ok(()) => self.serve(&socket).await,
            Err(error) => Ending::Broken(error),
        };
        self.let_go(ending).await;
    }

    /// Moves the bytes of a client over TLS, until its end.
    pub(super) async fn run_tls(self: Arc<Self>, socket: Socket) {
        let ending = match self.shake_hands(socket).await {
            Ok(stream) => self.serve_encrypted(stream).await,
            Err(error) => Ending::Broken(error),
        };
        self.let_go(ending).await;
    }

    /// Finds out who is at the other end of a Unix socket.
    async fn learn_peer(self: &Arc<Self>, socket: &Arc<Socket>) -> Result<()> {
        if !socket.is_unix() {
            return Ok(());
        }
        let identity = match self.server().names().identity(socket.as_fd()) {
            Some(identity) => identity?,
            None => {
                // The user's name is not known yet, and who knows it may be far away.
                let server = Arc::clone(self.server());
                let socket = Arc::clone(socket);
                tokio::task::spawn_blocking(move || server.names().learn(socket.as_fd()))
                    .await
                    .map_err(|_| VirtError::internal("the client's user cannot be looked up"))??
            }
        };
        if self.listener().is_admin()
            && identity
                .unix
                .is_none_or(|unix| unix.uid != nix::unistd::geteuid().as_raw())
        {
            return Err(VirtError::new(
                virt_util::ErrorCode::OPERATION_DENIED,
                format_args!("{} may not administer the daemon", identity.describe()),
            ));
        }
        self.state.lock().identity = identity;
        Ok(())
    }

    async fn shake_hands(&self, socket: Socket) -> Result<TlsStream<TcpStream>> {
        let socket = socket
            .into_tcp()
            .map_err(|error| VirtError::io(&error, "cannot watch the client's socket"))?;
        let tls = self.server().security().tls.clone().ok_or_else(|| {
            VirtError::new(
                virt_util::ErrorCode::RPC,
                "there are no certificates to serve TLS with",
            )
        })?;
        let shaking = async {
            let mut stream = tls
                .acceptor()
                .accept(socket)
                .await
                .map_err(|error| VirtError::io(&error, "TLS handshake"))?;
            let name = tls.admit(stream.get_ref().1)?;
            stream
                .write_all(&CONFIRMATION)
                .await
                .map_err(|error| VirtError::io(&error, "TLS confirmation"))?;
            stream
                .flush()
                .await
                .map_err(|error| VirtError::io(&error, "TLS confirmation"))?;
            self.state.lock().identity.x509_name = name;
            Ok(stream)
        };
        tokio::time::timeout(HANDSHAKE, shaking)
            .await
            .map_err(|_| VirtError::new(virt_util::ErrorCode::OPERATION_TIMEOUT, "TLS handshake"))?
    }

    async fn serve_encrypted(self: &Arc<Self>, stream: TlsStream<TcpStream>) -> Ending {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = Input::default();
        let mut chunk = vec![0; TLS_READ];
        let mut output = Output::default();
        let mut pulse = Pulse::default();
        let timer = tokio::time::sleep_until(Instant::now() + FAR);
        tokio::pin!(timer);
        let broken = |error: std::io::Error| Ending::Broken(VirtError::io(&error, "TLS connection"));
        let mut turn = 0;
        loop {
            turn += 1;
            if turn == TLS_TURN {
                // Others who use TLS wait for the thread.
                turn = 0;
                tokio::task::yield_now().await;
            }
            output.fill(self.outbox());
            if let Some(ending) = self.ending()
                && output.is_done()
            {
                let _ = writer.shutdown().await;
                return ending;
            }
            if let Some(at) = pulse.arm(self) {
                timer.as_mut().reset(at);
            }
            let full = self.is_full();
            tokio::select! {
                biased;
                read = reader.read(&mut chunk), if !full && input.is_empty() => match read {
                    Ok(0) => return Ending::ClientLeft,
                    Ok(count) => {
                        pulse.received();
                        if let Err(error) = input.feed(chunk.get(..count).unwrap_or_default(), self) {
                            return Ending::Broken(error);
                        }
                    }
                    Err(error) => return broken(error),
                },
                written = output.write(&mut writer), if !output.is_done() => if let Err(error) = written {
                    return broken(error);
                },
                () = self.wake.notified() => {}
                () = tokio::task::yield_now(), if !full && !input.is_empty() => {
                    if let Err(error) = input.go_on(self) {
                        return Ending::Broken(error);
                    }
                }
                () = timer.as_mut(), if pulse.is_armed() => {
                    if let Err(ending) = pulse.beat(self, full) {
                        return ending;
                    }
                }
            }
        }
    }

    async fn serve(self: &Arc<Self>, socket: &Arc<Socket>) -> Ending {
        let mut input = Input::default();
        // What streams in is read in a worker, which has the input meanwhile.
        let mut elsewhere: Option<oneshot::Receiver<(Input, Result<Read>)>> = None;
        let mut pulse = Pulse::default();
        let mut room = Room::default();
        let timer = tokio::time::sleep_until(Instant::now() + FAR);
        tokio::pin!(timer);
        loop {
            if let Some(ending) = self.ending() {
                return ending;
            }
            if let Some(error) = self.outbox().failure() {
                return Ending::Broken(error);
            }
            if let Some(at) = pulse.arm(self) {
                timer.as_mut().reset(at);
            }
            let full = self.is_full();
            let is_here = elsewhere.is_none();
            tokio::select! {
                biased;
                back = given_back(&mut elsewhere), if !is_here => {
                    elsewhere = None;
                    let Some((back, read)) = back else {
                        return Ending::Broken(VirtError::internal("nobody reads the client's socket"));
                    };
                    input = back;
                    pulse.received();
                    // That the socket is empty was seen on another thread, and may be old: it is asked here again.
                    match read {
                        Ok(Read::End) => return Ending::ClientLeft,
                        Ok(Read::Some) if input.is_bulk() && input.is_empty() && !self.is_full() => {
                            elsewhere = Some(std::mem::take(&mut input).read_on(socket, self));
                        }
                        Ok(_) => {}
                        Err(error) => return Ending::Broken(error),
                    }
                }
                ready = socket.readable(), if is_here && !full && input.is_empty() => {
                    if let Err(error) = ready {
                        return Ending::Broken(error);
                    }
                    let read = match input.read_turn(socket, self) {
                        Ok(Read::End) => return Ending::ClientLeft,
                        Ok(read) => read,
                        Err(error) => return Ending::Broken(error),
                    };
                    if matches!(read, Read::Drained | Read::Nothing) {
                        socket.drained();
                    }
                    if matches!(read, Read::Nothing) {
                        continue;
                    }
                    pulse.received();
                    // Data that streams in needs the processor more than it needs us awake.
                    if !input.is_bulk() {
                        self.server().vigil().heard();
                    } else if matches!(read, Read::Some) && input.is_empty() {
                        // The turn is over, and there is more.
                        elsewhere = Some(std::mem::take(&mut input).read_on(socket, self));
                    }
                }
                ready = room.wait(socket), if self.outbox().is_pending() => {
                    if let Err(error) = ready {
                        return Ending::Broken(error);
                    }
                    self.flush();
                    if self.outbox().is_pending() {
                        room.filled();
                    } else {
                        room.done();
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::task::yield_now(), if is_here && !full && !input.is_empty() => {
                    if let Err(error) = input.go_on(self) {
                        return Ending::Broken(error);
                    }
                }
                () = timer.as_mut(), if pulse.is_armed() => {
                    if let Err(ending) = pulse.beat(self, full || !is_here) {
                        return ending;
                    }
                }
            }
        }
    }
}

/// What a worker has read, with the input that it had.
async fn given_back(
    elsewhere: &mut Option<oneshot::Receiver<(Input, Result<Read>)>>,
) -> Option<(Input, Result<Read>)> {
    elsewhere.as_mut()?.await.ok()
}

/// When the client was last heard, and when to ask it.
#[derive(Default)]
struct Pulse {
    keepalive: Option<Keepalive>,
    armed: Option<u64>,
}

impl Pulse {
    fn received(&mut self) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.received(SystemClock.monotonic_nanos());
        }
    }

    fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// When the timer has to be set, and to what.
    fn arm(&mut self, session: &Session) -> Option<Instant> {
        if self.keepalive.is_none() && session.state.lock().keepalive_wanted {
            let admin = session.listener().is_admin();
            let (interval, count) = session.server().settings().keepalive(admin);
            self.keepalive = Some(Keepalive::new(interval, count, SystemClock.monotonic_nanos()));
        }
        if self.armed.is_some() {
            return None;
        }
        // The timer is left alone while packets come; when it rings it is set to what is then left.
        let at = self.keepalive.as_ref()?.next_action()?;
        self.armed = Some(at);
        let left = at.saturating_sub(SystemClock.monotonic_nanos());
        Some(Instant::now() + Duration::from_nanos(left))
    }

    /// The timer rang.
    fn beat(&mut self, session: &Session, full: bool) -> std::result::Result<(), Ending> {
        self.armed = None;
        let Some(keepalive) = &mut self.keepalive else {
            return Ok(());
        };
        let now = SystemClock.monotonic_nanos();
        if full {
            // We do not read, so we cannot know; and the client's own questions wait unread: the answer goes first.
            if keepalive.next_action().is_some_and(|at| now >= at) {
                keepalive.received(now);
                if let Ok(pong) = keepalive::pong() {
                    session.outbox().send(Outgoing::packet(pong));
                }
            }
            return Ok(());
        }
        match keepalive.act(now) {
            Action::Wait => Ok(()),
            Action::Ping => {
                match keepalive::ping() {
                    Ok(ping) => {
                        session.outbox().send(Outgoing::packet(ping));
                    }
                    Err(error) => return Err(Ending::Broken(error)),
                }
                Ok(())
            }
            Action::Dead => Err(Ending::Silent),
        }
    }
}

/// Bytes on their way into encryption.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
    dirty: bool,
    /// Streams whose packets are among the bytes.
    streams: Vec<Arc<ServedStream>>,
}

impl Output {
    fn fill(&mut self, outbox: &Outbox) {
        if !self.rest().is_empty() {
            return;
        }
        self.bytes.clear();
        self.sent = 0;
        for stream in self.streams.drain(..) {
            stream.sent();
        }
        outbox.take(TLS_WRITE, &mut self.bytes, &mut self.streams);
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Encrypts some, or pushes what was encrypted into the socket. May be dropped at any time.
    async fn write(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if self.rest().is_empty() {
            writer.flush().await?;
            self.dirty = false;
        } else {
            let count = writer.write(self.rest()).await?;
            self.sent += count;
            self.dirty = true;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.rest().is_empty() && !self.dirty
    }
}
