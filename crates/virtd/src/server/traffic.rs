//! A client's bytes: from its socket to packets, and what could not be written at once back to it.
//!
//! Each client has one task, which runs one of the loops here. It reads packets and hands them on, writes what the
//! [`Outbox`] could not write itself, and asks a silent client whether it lives. It never waits for a driver.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use virt_api::rpc::keepalive::{self, Action, Keepalive};
use virt_api::rpc::{FDS_MAX, MessageType, PacketReader};
use virt_util::sys::socket::{receive_behind, receive_with_fds};
use virt_util::time::{Clock, SystemClock};
use virt_util::{Result, VirtError};

use super::outbox::{Outbox, Outgoing};
use super::session::{Ending, Session};
use super::socket::{Room, Socket};
use super::stream::{Diverted, ServedStream};
use crate::auth::tls::CONFIRMATION;

/// How much is read from a socket at once.
const READ: usize = 256 * 1024;
/// From how many bytes on it is worth while to read a payload by itself.
const BULK: usize = 65_536;
/// Length word and header.
const PACKET_HEAD: usize = 28;
/// How many pieces of data that streams in are read before other clients get their turn: a packet is one or a few.
const BULK_TURN: usize = 8;
/// How many packets are handled before other clients get their turn.
const TURN: usize = 64;
/// How much is read from a TLS connection at once.
const TLS_READ: usize = 32 * 1024;
/// How much is encrypted at once.
const TLS_WRITE: usize = 256 * 1024;
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
        loop {
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

    async fn serve(self: &Arc<Self>, socket: &Socket) -> Ending {
        let mut input = Input::default();
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
            tokio::select! {
                biased;
                ready = socket.readable(), if !full && input.is_empty() => {
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
                    if !input.bulk {
                        self.server().vigil().heard();
                    } else if matches!(read, Read::Some) {
                        // The turn is over, and there is more: others first.
                        tokio::task::yield_now().await;
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
}

/// What was read.
enum Read {
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
struct Input {
    reader: PacketReader,
    /// Bytes that wait because others had to have their turn.
    rest: Vec<u8>,
    /// The last packet brought much data of a stream.
    bulk: bool,
    /// A part of the packet that is being read has gone to its stream.
    diverting: bool,
}

impl Input {
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Lets a stream take its data out of the socket, if that is worth while and it can.
    fn divert(&mut self, socket: &Socket, session: &Arc<Session>) -> Option<Read> {
        let least = if self.diverting { 1 } else { BULK };
        let (header, missing) = self.reader.payload_ahead(least)?;
        let stream = session.stream_with_data(header)?;
        match stream.divert(session, socket, missing) {
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

    /// Reads once; data that streams to where it belongs, for as long as a turn is.
    fn read_turn(&mut self, socket: &Socket, session: &Arc<Session>) -> Result<Read> {
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
        // Behind much data there is more: nothing but its head is read here, and what lacks before it.
        let room = match self.bulk {
            true if !self.reader.is_inside_packet() => PACKET_HEAD,
            true => match self.reader.payload_missing() {
                0 => scratch.len(),
                missing => scratch.len().min(missing + PACKET_HEAD),
            },
            false => scratch.len(),
        };
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
    fn go_on(&mut self, session: &Arc<Session>) -> Result<()> {
        let bytes = std::mem::take(&mut self.rest);
        self.feed(&bytes, session)
    }

    fn feed(&mut self, mut bytes: &[u8], session: &Arc<Session>) -> Result<()> {
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
