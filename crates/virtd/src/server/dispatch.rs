//! From a packet that asks to the one that answers.
//!
//! A call is looked up, held against what its sender may do, and then answered by the daemon itself, by the driver on
//! this thread (calls that look at a snapshot and have always been quick), or by the driver in a worker. Each is answered
//! exactly once, whoever comes first: the worker, or the clock that gives a lost call up.
//!
//! The calls of a client run one at a time and in order until its connection is open; then so many at a time as the
//! configuration says.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use virt_api::call::{
    CallReply, Identity, OutgoingCall, PROGRAM_ADMIN, PROGRAM_REMOTE, StreamMode, call_extras,
};
use virt_api::host::OpenedConnection;
use virt_api::protocol::remote::procedure as remote;
use virt_api::protocol::table::{self, Kind, Owner, Procedure};
use virt_api::protocol::unknown_procedure;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, Packet, Status};
use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::TypedParams;
use virt_util::xdr::XdrEncode;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::Opened;
use super::ledger::{INLINE_MAX, Ledger, Where};
use super::listener::Scope;
use super::outbox::Outgoing;
use super::running::RunningCall;
use super::session::{Phase, Session};
use super::stream::ServedStream;
use crate::access::Caller;
use crate::audit::{self, Event};
use crate::host::AccessCheck as _;
use crate::logging;
use crate::logging::request::{self, RequestId};

/// What a waiting call counts beside its bytes.
const CALL_WEIGHT: usize = 256;

/// Whether a call is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// Somebody else will say so with [`Session::finished`].
    Later,
}

impl Session {
    /// A call has arrived.
    pub(super) fn call(self: &Arc<Self>, packet: Packet) {
        let limit = self.server().settings().requests(self.listener().is_admin());
        {
            let mut state = self.state.lock();
            if !state.backlog.is_empty() || state.running >= state.most_at_once(limit) {
                self.queued(packet.payload.len() + CALL_WEIGHT);
                state.backlog.push_back(packet);
                return;
            }
            state.running += 1;
        }
        if self.begin(packet) == Progress::Done {
            self.finished();
        }
    }

    /// A call is over: the next may begin.
    pub(super) fn finished(self: &Arc<Self>) {
        let limit = self.server().settings().requests(self.listener().is_admin());
        let mut over = true;
        loop {
            let packet = {
                let mut state = self.state.lock();
                if std::mem::take(&mut over) {
                    state.running = state.running.saturating_sub(1);
                }
                if state.running >= state.most_at_once(limit) {
                    return;
                }
                match state.backlog.pop_front() {
                    Some(packet) => {
                        state.running += 1;
                        packet
                    }
                    None => {
                        if matches!(state.phase, Phase::Closed) {
                            self.wake();
                        }
                        return;
                    }
                }
            };
            self.taken(packet.payload.len() + CALL_WEIGHT);
            over = self.begin(packet) == Progress::Done;
        }
    }

    fn begin(self: &Arc<Self>, packet: Packet) -> Progress {
        let header = packet.header;
        let _request = request::enter(RequestId {
            client: self.id(),
            serial: header.serial,
        });
        match self.try_begin(packet) {
            Ok(progress) => progress,
            Err(error) => {
                self.answer(&header, Err(error));
                Progress::Done
            }
        }
    }

    fn try_begin(self: &Arc<Self>, packet: Packet) -> Result<Progress> {
        let header = packet.header;
        if super::hello::is_question(&header) {
            let enforced = self.server().security().access.enforced();
            let answer = super::hello::answer(self.listener().scope == Scope::Isolated, enforced);
            self.answer(&header, Ok(answer.into_reply()));
            return Ok(Progress::Done);
        }
        let admin = self.listener().is_admin();
        let known = table::programs().any(|known| {
            known.number == header.program
                && known.version == header.version
                && known
                    .procedures
                    .iter()
                    .any(|procedure| procedure.kind == Kind::Call)
                && (known.number == PROGRAM_ADMIN) == admin
        });
        if !known {
            return Err(rpc(format_args!(
                "Cannot find program {} version {}",
                header.program, header.version
            )));
        }
        if header.status != Status::Ok {
            return Err(rpc(format_args!(
                "Unexpected message status {}",
                header.status as i32
            )));
        }
        let procedure = u32::try_from(header.procedure)
            .ok()
            .and_then(|number| table::procedure(header.program, number))
            .filter(|procedure| procedure.kind == Kind::Call);
        let Some(procedure) = procedure else {
            return Err(unknown_number(&header));
        };
        self.admit(procedure, &packet.payload)?;
        if admin {
            return self.admin_call(procedure, packet);
        }
        match procedure.owner {
            Owner::Daemon => self.own_call(procedure, packet),
            Owner::Driver | Owner::Events => match self.own_feature(procedure, &packet)? {
                Some(reply) => {
                    self.answer(&header, Ok(reply));
                    Ok(Progress::Done)
                }
                None => self.driver_call(procedure, packet),
            },
        }
    }

    /// What is held against the caller before the arguments become objects.
    fn admit(&self, procedure: &'static Procedure, args: &[u8]) -> Result<()> {
        let security = self.server().security();
        let (identity, authenticated, read_only) = {
            let state = self.state.lock();
            let identity = match security.access.enforced() {
                true => self.speaks_for(&state),
                false => Identity::default(),
            };
            (identity, state.authenticated, state.read_only)
        };
        let caller = Caller {
            identity: &identity,
            authenticated,
            read_only,
        };
        security.access.admit(procedure, args, &caller)
    }

    /// Who is held against the rules: nobody for a driver in a process of its own that wants something for itself.
    pub(super) fn speaks_for(&self, state: &super::session::State) -> Identity {
        match (&self.listener().scope, &state.identity.forwarded) {
            (Scope::Isolated, None) => Identity::default(),
            _ => state.identity.effective(),
        }
    }

    /// What the driver has to know of a call's caller, beside what the open has said: rules that came since, and whom
    /// the client acts for.
    fn extras(&self, opened: &Opened) -> TypedParams {
        let enforced = self.server().security().access.enforced() && !opened.checked_there;
        let state = self.state.lock();
        let enforced = enforced && !self.speaks_for(&state).0.0.is_empty();
        call_extras(enforced, state.identity.forwarded.as_ref())
    }

    /// The connection to the drivers.
    pub(super) fn connection(&self) -> Result<Arc<Opened>> {
        match &self.state.lock().phase {
            Phase::Open(opened) => Ok(Arc::clone(opened)),
            Phase::New | Phase::Closed => Err(not_open()),
        }
    }

    /// Passes a call on to the driver.
    fn driver_call(self: &Arc<Self>, procedure: &'static Procedure, packet: Packet) -> Result<Progress> {
        let opened = self.connection()?;
        let target = opened.router.peek(procedure.program, procedure.number);
        let ledger = self.server().ledger(match target {
            Some(target) => target.driver_name(),
            None => opened.router.driver_name(),
        });
        ledger.admit(self.server().settings().lost_workers_max)?;
        if let Some(target) = target
            && packet.fds.is_empty()
            && procedure.stream.is_none()
            && self.server().may_call_inline()
            && ledger.place(target.as_ref(), procedure) == Where::Inline
        {
            let begun = Instant::now();
            let reply = target.call(outgoing(
                procedure,
                packet.payload,
                &[],
                Cancel::never(),
                self.extras(&opened),
            ));
            let took = begun.elapsed();
            ledger.called(procedure, took, reply.is_ok());
            let reply = reply.map_err(|error| as_of_daemon(procedure, error));
            if took > INLINE_MAX {
                ledger.too_slow(procedure, took);
            }
            self.answer(&packet.header, reply);
            return Ok(Progress::Done);
        }
        self.in_worker(procedure, packet, ledger, opened);
        Ok(Progress::Later)
    }

    fn in_worker(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        packet: Packet,
        ledger: Arc<Ledger>,
        opened: Arc<Opened>,
    ) {
        let call = self.running_call(procedure, &packet.header, ledger);
        let extras = self.extras(&opened);
        let job = {
            let call = Arc::clone(&call);
            move || {
                let _request = call.enter();
                let Packet { payload, fds, .. } = packet;
                let flags = last_word(&payload);
                let lent: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                let begun = Instant::now();
                let reply = opened
                    .router
                    .route(procedure.program, procedure.number)
                    .and_then(|target| {
                        target.call(outgoing(procedure, payload, &lent, call.token().clone(), extras))
                    });
                call.ledger.called(procedure, begun.elapsed(), reply.is_ok());
                let reply = reply.map_err(|error| as_of_daemon(procedure, error));
                call.session.worker_done(&call, reply, flags);
            }
        };
        self.server().workers().submit(procedure.priority, Box::new(job));
    }

    /// Enters a call into the books.
    pub(super) fn running_call(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        header: &Header,
        ledger: Arc<Ledger>,
    ) -> Arc<RunningCall> {
        let call = Arc::new(RunningCall::new(self, procedure, *header, ledger));
        self.state.lock().calls.insert(call.id, Arc::clone(&call));
        self.server()
            .running_calls()
            .lock()
            .insert(call.id, Arc::clone(&call));
        call
    }

    pub(super) fn forget_call(&self, id: u64) {
        self.state.lock().calls.remove(&id);
        self.server().running_calls().lock().remove(&id);
    }

    /// A driver has answered in a worker.
    pub(super) fn worker_done(
        self: &Arc<Self>,
        call: &Arc<RunningCall>,
        reply: Result<CallReply>,
        flags: u32,
    ) {
        if !call.claim() {
            // The call was given up: nobody waits.
            call.ledger.found_one();
            if let Ok(CallReply {
                stream: Some(stream), ..
            }) = reply
            {
                let _ = stream.abort();
            }
            return;
        }
        self.forget_call(call.id);
        match reply {
            Ok(CallReply {
                stream: Some(end),
                payload,
                fds,
            }) => self.open_stream(
                call,
                CallReply {
                    payload,
                    fds,
                    stream: None,
                },
                end,
                flags,
            ),
            reply => self.answer(&call.header, reply),
        }
        self.finished();
    }

    /// Answers a call that opened a stream, and lets the stream flow.
    fn open_stream(
        self: &Arc<Self>,
        call: &RunningCall,
        reply: CallReply,
        end: virt_api::stream_end::StreamEnd,
        flags: u32,
    ) {
        let Some(usage) = call.procedure.stream else {
            let _ = end.abort();
            return self.answer(
                &call.header,
                Err(VirtError::internal(format_args!(
                    "driver '{}' opened a stream for {}, which has none",
                    call.ledger.name(),
                    call.procedure.public_name()
                ))),
            );
        };
        let stream = ServedStream::new(call.header, self, end, usage, flags);
        {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Closed) {
                drop(state);
                return stream.abandon();
            }
            // A serial that is used twice is the client's mistake; the older stream is lost.
            if let Some(older) = state.streams.insert(call.header.serial, Arc::clone(&stream)) {
                drop(state);
                older.abandon();
            }
        }
        self.outbox().widen();
        self.answer(&call.header, Ok(reply));
        stream.schedule();
    }

    /// Sends the answer to the call with that head.
    pub(super) fn answer(&self, header: &Header, reply: Result<CallReply>) {
        let packet = reply.and_then(|reply| self.reply_packet(header, reply));
        let packet = packet.or_else(|error| {
            self.log_failure(header, &error);
            self.record_denial(header, &error);
            let payload = ErrorMessage::from(&error).to_xdr()?;
            Outgoing::reply(&header.reply(Status::Error), payload, Vec::new())
        });
        match packet {
            Ok(packet) => {
                self.outbox().send(packet);
            }
            Err(error) => {
                // Without an answer the client would wait for ever.
                self.end(super::session::Ending::Broken(error));
            }
        }
    }

    /// The administrator finds in the log what clients were told.
    fn log_failure(&self, header: &Header, error: &VirtError) {
        let operation = public_name(header);
        if logging::is_ordinary(error.code()) {
            tracing::debug!(
                libvirt_domain = error.domain().0,
                libvirt_code = error.code().0,
                client = self.id(),
                "{operation}: {error}"
            );
        } else {
            logging::log_error!(error, client = self.id(), "{operation}: {error}");
        }
    }

    fn record_denial(&self, header: &Header, error: &VirtError) {
        let Some(reason) = audit::denial(error) else {
            return;
        };
        let operation = public_name(header);
        self.record(Event::Denied { operation, reason });
    }

    /// A record about this client.
    pub(super) fn record(&self, event: Event<'_>) {
        let audit = Arc::clone(&self.server().security().audit);
        if audit.is_on() {
            audit.record(event, &self.identity(), self.address().as_deref());
        }
    }

    fn reply_packet(&self, header: &Header, reply: CallReply) -> Result<Outgoing> {
        if !reply.fds.is_empty() && !self.outbox().carries_fds() {
            return Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                "file descriptors can only be passed over a Unix socket",
            ));
        }
        if let Ok(number) = u32::try_from(header.procedure)
            && let Some(procedure) = table::procedure(header.program, number)
        {
            procedure.check_reply(&reply.payload)?;
        }
        Outgoing::reply(&header.reply(Status::Ok), reply.payload, reply.fds)
    }

    /// Whether a feature is there that is between daemon and client, and starts what that means. `None` where the driver
    /// is to be asked.
    fn own_feature(&self, procedure: &Procedure, packet: &Packet) -> Result<Option<CallReply>> {
        use virt_api::protocol::features;
        if procedure.program != PROGRAM_REMOTE {
            return Ok(None);
        }
        if procedure.number == remote::CONNECT_GET_LIB_VERSION {
            // What the client talks to is this daemon, whatever stands behind it.
            self.connection()?;
            let mut out = virt_util::xdr::XdrEncoder::new();
            out.u64(virt_api::LIBVIRT_VERSION);
            return Ok(Some(out.into_bytes().into_reply()));
        }
        if procedure.number != remote::CONNECT_SUPPORTS_FEATURE {
            return Ok(None);
        }
        let mut input = virt_util::xdr::XdrDecoder::new(&packet.payload);
        let feature = input.i32()?;
        input.finish()?;
        let supported = match feature {
            // The one question that may be asked before the connection is open. It also asks us to ask.
            features::PROGRAM_KEEPALIVE => {
                self.state.lock().keepalive_wanted = true;
                self.wake();
                true
            }
            features::REMOTE_EVENT_CALLBACK | features::REMOTE_CLOSE_CALLBACK => {
                self.connection()?;
                true
            }
            features::FD_PASSING => {
                self.connection()?;
                true
            }
            _ => return Ok(None),
        };
        let mut out = virt_util::xdr::XdrEncoder::new();
        out.i32(supported.into());
        Ok(Some(out.into_bytes().into_reply()))
    }
}

impl super::session::State {
    fn most_at_once(&self, limit: usize) -> usize {
        match self.phase {
            // In order, until the connection stands.
            Phase::New => 1,
            Phase::Open(_) | Phase::Closed => limit.max(1),
        }
    }
}

/// Bytes as an answer without descriptors or stream.
pub(super) trait IntoReply {
    fn into_reply(self) -> CallReply;
}

impl IntoReply for Vec<u8> {
    fn into_reply(self) -> CallReply {
        CallReply {
            payload: self,
            ..CallReply::default()
        }
    }
}

fn outgoing<'a>(
    procedure: &Procedure,
    args: Vec<u8>,
    fds: &'a [BorrowedFd<'a>],
    cancel: Cancel,
    ext: TypedParams,
) -> OutgoingCall<'a> {
    OutgoingCall {
        program: procedure.program,
        procedure: procedure.number,
        args,
        fds,
        deadline: Deadline::NONE,
        cancel,
        stream: match procedure.stream {
            Some(_) => StreamMode::NonBlocking,
            None => StreamMode::None,
        },
        ext,
    }
}

/// The last word of the arguments: their flags, in all procedures that open streams with holes.
fn last_word(args: &[u8]) -> u32 {
    args.last_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
}

/// Who ends a subscription that is none hears of it from the daemon in libvirt, which counts the callbacks of its clients,
/// also where the driver has no such subscriptions at all.
fn as_of_daemon(procedure: &Procedure, error: VirtError) -> VirtError {
    let unknown = [ErrorCode::INVALID_ARG, ErrorCode::NO_SUPPORT].contains(&error.code());
    if unknown && procedure.owner == Owner::Events && procedure.name.contains("_deregister") {
        return error
            .with_code(ErrorCode::INTERNAL_ERROR)
            .in_domain(ErrorDomain::RPC);
    }
    error
}

/// The error for a call that needs a connection to a driver.
pub(super) fn not_open() -> VirtError {
    VirtError::internal("connection not open").in_domain(ErrorDomain::RPC)
}

/// An error of the protocol itself.
pub(super) fn rpc(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::RPC, detail).in_domain(ErrorDomain::RPC)
}

fn unknown_number(header: &Header) -> VirtError {
    match u32::try_from(header.procedure) {
        Ok(number) => unknown_procedure(header.program, number),
        Err(_) => rpc(format_args!("unknown procedure: {}", header.procedure)),
    }
}

/// What programs call the procedure that a packet is about.
fn public_name(header: &Header) -> &'static str {
    u32::try_from(header.procedure)
        .ok()
        .and_then(|number| table::procedure(header.program, number))
        .map_or("unknown", Procedure::public_name)
}
