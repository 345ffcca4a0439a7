//! What came from the other side of the waist, as Rust.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use virt_util::audit::AuditRecord;
use virt_util::time::{CancelSource, Deadline};
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::{ErrorCode, Result, VirtError};

use super::convert::{borrow_fd, error_in, ext, params_in, params_out, push_identity, take_fds};
use super::export::{
    Credentials, builtin, export_callback, export_cancel, export_host, export_once, export_sink,
};
use super::v1::{
    self, AbiResult, CallIn, CallbackBox, CancelBox, ConnectionBox, DriverBox, EventSinkBox, HostServicesBox,
    OpenIn, StreamEndBox,
};
use crate::call::{CallReply, Caller, Identity, OutgoingCall, StreamMode};
use crate::driver::{Driver, InitContext};
use crate::events::EventSink;
use crate::host::{
    AuthMode, Claim, ClaimKind, CredentialRequest, CredentialSource, HandleCallback, HandleEvents, Host,
    HostServices, LogRecord, NestedOpen, OpenedConnection, Supports, TimeoutCallback,
};
use crate::stream_end::{Readiness, Stream, StreamEnd, Transfer, Waker};

fn result<T>(result: AbiResult<T>) -> Result<T> {
    result.into_result().map_err(error_in)
}

/// A request to open a connection, from the host's side.
#[derive(Clone, Default)]
pub struct OpenRequest {
    /// Where to, aliases resolved.
    pub uri: String,
    /// libvirt's connect flags.
    pub flags: u32,
    /// When the caller gives up.
    pub deadline: Deadline,
    /// Who opens.
    pub identity: Identity,
    /// The caller's connection is read-only whatever the flags say: it came over a read-only socket.
    pub read_only: bool,
    /// A policy is configured, so the driver must have access checked.
    pub check_access: bool,
    /// Where credentials may be asked for.
    pub credentials: Option<Arc<dyn CredentialSource>>,
    /// Everything else: client configuration, trace id …
    pub ext: TypedParams,
}

impl std::fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRequest")
            .field("uri", &self.uri)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A driver, loaded or built in, from the host's side.
pub struct DriverHandle {
    name: String,
    driver: DriverBox,
    credentials: Arc<Credentials>,
}

impl DriverHandle {
    /// Makes a built-in driver, behind the same shim as a loaded one.
    pub fn builtin(
        name: &'static str,
        create: impl FnOnce() -> Box<dyn Driver>,
        host: Arc<dyn Host>,
    ) -> Result<Self> {
        let credentials = Arc::new(Credentials::default());
        let driver = builtin(name, create, export_host(host, Arc::clone(&credentials)));
        Ok(Self {
            name: name.to_owned(),
            driver: result(driver)?,
            credentials,
        })
    }

    /// Makes the driver of a plugin whose handshake was checked.
    pub(crate) fn create(name: &str, root: v1::RootFn, host: Arc<dyn Host>) -> Result<Self> {
        let credentials = Arc::new(Credentials::default());
        let host = export_host(host, Arc::clone(&credentials));
        Ok(Self {
            name: name.to_owned(),
            driver: result(root(host, RSlice::EMPTY))?,
            credentials,
        })
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the driver's start-up. Once, before the first open.
    pub fn initialize(&self, context: &InitContext) -> Result<()> {
        let mut params = context
            .ext
            .clone()
            .with("privileged", context.privileged)
            .with("monolithic", context.monolithic)
            .with("inside-daemon", context.inside_daemon);
        if let Some(root) = &context.root {
            params.push("root", root.as_str());
        }
        let params = params_out(&params)?;
        result(self.driver.initialize(params.as_rslice()))
    }

    /// Opens a connection.
    pub fn open(&self, request: &OpenRequest) -> Result<ConnectionHandle> {
        let mut params = request.ext.clone();
        push_identity(&mut params, &request.identity);
        if request.read_only {
            params.push(ext::READ_ONLY, true);
        }
        if request.check_access {
            params.push(ext::ACCESS, true);
        }
        let lent = request.credentials.as_ref().map(|source| {
            for kind in source.kinds() {
                params.push(ext::AUTH_KIND, kind);
            }
            self.credentials.lend(Arc::clone(source))
        });
        let params = params_out(&params)?;
        let connection = result(self.driver.open(OpenIn {
            uri: RStr::from_str(&request.uri),
            flags: request.flags,
            deadline: request.deadline.as_nanos(),
            auth: lent.as_ref().map_or(0, |lent| lent.token),
            ext: params.as_rslice(),
        }))?;
        Ok(ConnectionHandle {
            driver: self.name.clone(),
            connection,
        })
    }

    fn control(&self, operation: u32, params: &TypedParams) -> Result<TypedParams> {
        let params = params_out(params)?;
        let answer = result(self.driver.control(operation, params.as_rslice()))?;
        params_in(&answer)
    }

    /// The URI to use by default if this driver works here.
    pub fn uri_probe(&self) -> Result<Option<String>> {
        let answer = self.control(v1::CONTROL_URI_PROBE, &TypedParams::new())?;
        Ok(answer.get_string("uri")?.map(str::to_owned))
    }

    // since 1.1 {
    /// Whether opening `uri` neither waits nor reads anything. Drivers that do not know the question are taken to do.
    pub fn opens_at_once(&self, uri: &str) -> bool {
        let params = TypedParams::new().with("uri", uri);
        self.control(v1::CONTROL_OPENS_AT_ONCE, &params)
            .and_then(|answer| answer.get_bool("at-once"))
            .is_ok_and(|answer| answer == Some(true))
    }
    // }

    /// Reads configuration again.
    pub fn reload(&self) -> Result<()> {
        self.control(v1::CONTROL_RELOAD, &TypedParams::new()).map(drop)
    }

    /// How much to log: 1 debug, 2 info, 3 warning, 4 error.
    pub fn set_log(&self, priority: u32) -> Result<()> {
        let params = TypedParams::new().with("priority", u64::from(priority));
        self.control(v1::CONTROL_SET_LOG, &params).map(drop)
    }

    /// Saves what would be lost.
    pub fn stop(&self) -> Result<()> {
        self.control(v1::CONTROL_STOP, &TypedParams::new()).map(drop)
    }

    /// Starts nothing new.
    pub fn shutdown_prepare(&self) -> Result<()> {
        self.control(v1::CONTROL_SHUTDOWN_PREPARE, &TypedParams::new())
            .map(drop)
    }

    /// Waits for what runs.
    pub fn shutdown_wait(&self, deadline: Deadline) -> Result<()> {
        let params = TypedParams::new().with("deadline", deadline.as_nanos());
        self.control(v1::CONTROL_SHUTDOWN_WAIT, &params).map(drop)
    }
}

impl std::fmt::Debug for DriverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DriverHandle({})", self.name)
    }
}

/// A connection behind the waist. Dropping it closes it.
pub struct ConnectionHandle {
    driver: String,
    connection: ConnectionBox,
}

impl ConnectionHandle {
    /// The name of the driver.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The same connection under the name of the driver that it leads to, where its own driver is only the way.
    #[must_use]
    pub fn leading_to(self, driver: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            connection: self.connection,
        }
    }

    /// Closes: the driver rolls back what hangs on the connection. Once is enough; dropping does it too.
    pub fn close(&self) -> Result<()> {
        result(self.connection.close())
    }
}

impl Caller for ConnectionHandle {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        let ext = params_out(&call.ext)?;
        let fds: Vec<i32> = call.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let out = result(self.connection.call(CallIn {
            program: call.program,
            procedure: call.procedure,
            args: RSlice::from_slice(&call.args),
            fds: RSlice::from_slice(&fds),
            deadline: call.deadline.as_nanos(),
            cancel: export_cancel(&call.cancel),
            stream: match call.stream {
                StreamMode::None => 0,
                StreamMode::Blocking => 1,
                StreamMode::NonBlocking => 2,
            },
            ext: ext.as_rslice(),
        }))?;
        Ok(CallReply {
            payload: out.payload.into_vec(),
            fds: take_fds(&out.fds)?,
            stream: out.stream.into_option().map(import_stream),
        })
    }
}

impl OpenedConnection for ConnectionHandle {
    fn is_alive(&self) -> Result<bool> {
        result(self.connection.is_alive()).map(|alive| alive != 0)
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        result(self.connection.set_keepalive(interval, count)).map(|known| known != 0)
    }

    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) -> Result<()> {
        let callback = export_once("close callback", move |reason| {
            callback(i32::try_from(reason).unwrap_or_default());
        });
        result(self.connection.closed(callback))
    }

    fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        result(self.connection.event_sink(export_sink(sink)))
    }

    fn supports(&self, program: u32, procedure: u32) -> Supports {
        Supports::from_bits_truncate(self.connection.supports(program, procedure))
    }

    fn close(&self) -> Result<()> {
        result(self.connection.close())
    }

    fn driver_name(&self) -> &str {
        &self.driver
    }
}

impl std::fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionHandle({})", self.driver)
    }
}

fn import_stream(stream: StreamEndBox) -> StreamEnd {
    StreamEnd::new(ForeignStream(stream))
}

struct ForeignStream(StreamEndBox);

fn transfer_in(answer: i64) -> Result<Transfer> {
    match answer {
        v1::STREAM_WOULD_BLOCK => Ok(Transfer::WouldBlock),
        v1::STREAM_AT_HOLE => Ok(Transfer::AtHole),
        count => usize::try_from(count)
            .map(Transfer::Bytes)
            .map_err(|_| VirtError::internal(format_args!("a stream answered {count}"))),
    }
}

impl Stream for ForeignStream {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        transfer_in(result(self.0.send(RSlice::from_slice(data)))?)
    }

    fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer> {
        let room = buffer.len();
        let flags = if stop_at_hole { v1::STREAM_STOP_AT_HOLE } else { 0 };
        match transfer_in(result(self.0.recv(RSliceMut::from_mut_slice(buffer), flags))?)? {
            Transfer::Bytes(count) if count > room => Err(VirtError::internal(format_args!(
                "a stream put {count} bytes into a buffer of {room}"
            ))),
            transfer => Ok(transfer),
        }
    }

    fn send_hole(&self, length: u64) -> Result<()> {
        result(self.0.send_hole(length))
    }

    fn recv_hole(&self) -> Result<u64> {
        result(self.0.recv_hole())
    }

    fn in_data(&self) -> Result<(bool, u64)> {
        result(self.0.in_data()).map(|ahead| (ahead.data != 0, ahead.length))
    }

    fn finish(&self) -> Result<()> {
        result(self.0.finish())
    }

    fn abort(&self) -> Result<()> {
        result(self.0.abort())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        result(self.0.set_nonblocking(nonblocking.into()))
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        result(self.0.readiness(interest.0)).map(Readiness)
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        let callback = export_once("stream waker", move |ready| {
            waker(Readiness(u32::try_from(ready).unwrap_or_default()));
        });
        result(self.0.watch(interest.0, callback))
    }

    // since 1.2 {
    fn can_splice(&self) -> bool {
        result(self.0.splice(-1, 0, 0)).is_ok()
    }

    fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        transfer_in(result(self.0.splice(pipe.as_raw_fd(), most as u64, 0))?)
    }

    fn send_from_pipe(&self, pipe: BorrowedFd<'_>, most: usize, at_once: bool) -> Result<Transfer> {
        let at_once = if at_once { v1::STREAM_SPLICE_AT_ONCE } else { 0 };
        let flags = v1::STREAM_SPLICE_SEND | at_once;
        transfer_in(result(self.0.splice(pipe.as_raw_fd(), most as u64, flags))?)
    }
    // }
}

/// A cancel of the other side.
pub(super) struct ForeignCancel(CancelBox);

impl ForeignCancel {
    pub(super) fn new(cancel: CancelBox) -> Self {
        Self(cancel)
    }
}

impl CancelSource for ForeignCancel {
    fn is_set(&self) -> bool {
        self.0.is_set() != 0
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        borrow_fd(result(self.0.fd())?)
    }

    fn set(&self) {
        // Only the caller may give up his call.
    }

    // since 1.1 {
    fn progress(&self) {
        self.0.progress();
    }
    // }
}

/// A callback of the other side.
pub(super) struct CallbackHandle(CallbackBox);

impl CallbackHandle {
    pub(super) fn new(callback: CallbackBox) -> Self {
        Self(callback)
    }

    pub(super) fn call(&self, value: i64) {
        self.0.call(value);
    }
}

/// A sink of the other side.
pub(super) struct ForeignSink(EventSinkBox);

impl ForeignSink {
    pub(super) fn new(sink: EventSinkBox) -> Self {
        Self(sink)
    }
}

impl EventSink for ForeignSink {
    fn event(&self, program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        self.0.event(
            program,
            procedure,
            RSlice::from_slice(callbacks),
            RSlice::from_slice(payload),
        );
    }
}

/// The host, from a driver's side.
pub(super) struct ForeignHost(HostServicesBox);

impl ForeignHost {
    pub(super) fn new(host: HostServicesBox) -> Self {
        Self(host)
    }
}

fn interval_out(interval: Option<Duration>) -> i64 {
    interval.map_or(-1, |interval| {
        // A timer of less than a millisecond would spin.
        i64::try_from(interval.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
    })
}

impl Host for ForeignHost {
    fn log(&self, record: &LogRecord) {
        self.0.log(
            record.priority,
            RStr::from_str(&record.target),
            RStr::from_str(&record.message),
            RStr::from_str(record.file.as_deref().unwrap_or_default()),
            record.line,
        );
    }

    fn open_connection(&self, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        let identity = params_out(&open.identity.0)?;
        let connection = result(self.0.open_connection(
            RStr::from_str(&open.uri),
            open.flags,
            open.deadline.as_nanos(),
            identity.as_rslice(),
            open.elevated.into(),
            match open.auth {
                AuthMode::None => 0,
                AuthMode::ConfigOnly => 1,
                AuthMode::Ask => 2,
            },
        ))?;
        Ok(Arc::new(ConnectionHandle {
            driver: open.uri.clone(),
            connection,
        }))
    }

    fn add_handle(&self, fd: BorrowedFd<'_>, events: HandleEvents, callback: HandleCallback) -> Result<i32> {
        let callback = export_callback("handle callback", move |events| {
            callback(u32::try_from(events).unwrap_or_default());
        });
        result(self.0.add_handle(fd.as_raw_fd(), events, callback))
    }

    fn update_handle(&self, watch: i32, events: HandleEvents) -> Result<()> {
        result(self.0.update_handle(watch, events))
    }

    fn remove_handle(&self, watch: i32) -> Result<()> {
        result(self.0.remove_handle(watch))
    }

    fn add_timeout(&self, interval: Option<Duration>, callback: TimeoutCallback) -> Result<i32> {
        let callback = export_callback("timeout callback", move |_| callback());
        result(self.0.add_timeout(interval_out(interval), callback))
    }

    fn update_timeout(&self, timer: i32, interval: Option<Duration>) -> Result<()> {
        result(self.0.update_timeout(timer, interval_out(interval)))
    }

    fn remove_timeout(&self, timer: i32) -> Result<()> {
        result(self.0.remove_timeout(timer))
    }

    fn check_acl(
        &self,
        identity: &Identity,
        program: u32,
        procedure: u32,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        let identity = params_out(&identity.0)?;
        let attributes = params_out(attributes)?;
        result(self.0.check_acl(
            identity.as_rslice(),
            program,
            procedure,
            RStr::from_str(permission),
            RStr::from_str(object),
            attributes.as_rslice(),
        ))
        .map(|allowed| allowed != 0)
    }

    fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        result(self.0.claim(
            v1::CLAIM_TAKE,
            kind.number(),
            RStr::from_str(key),
            RStr::from_str(owner),
        ))
    }

    fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        result(self.0.claim(
            v1::CLAIM_RELEASE,
            kind.number(),
            RStr::from_str(key),
            RStr::from_str(owner),
        ))
    }

    fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>> {
        let params = params_in(&result(self.0.claims(kind.number()))?)?;
        let mut claims: Vec<Claim> = Vec::new();
        for param in params.0 {
            match (param.field.as_str(), param.value) {
                ("key", TypedValue::String(key)) => claims.push(Claim {
                    key,
                    owner: String::new(),
                }),
                ("owner", TypedValue::String(owner)) => {
                    if let Some(claim) = claims.last_mut() {
                        claim.owner = owner;
                    }
                }
                _ => {}
            }
        }
        Ok(claims)
    }

    fn inhibit(&self, inhibited: bool) {
        self.0.inhibit(inhibited.into());
    }

    // since 1.1 {
    fn audit(&self, record: &AuditRecord) -> Result<()> {
        let params = params_out(&record.to_params())?;
        result(self.0.service(v1::SERVICE_AUDIT, params.as_rslice())).map(drop)
    }
    // }

    fn request_credentials(&self, auth: u64, questions: &[CredentialRequest]) -> Result<Vec<String>> {
        let mut params = TypedParams::new();
        for question in questions {
            params.push("kind", question.kind);
            params.push("prompt", question.prompt.as_str());
            params.push("challenge", question.challenge.as_str());
            params.push("default", question.default.as_str());
        }
        let params = params_out(&params)?;
        let answers = params_in(&result(self.0.request_credentials(auth, params.as_rslice()))?)?;
        let answers: Vec<String> = answers
            .0
            .into_iter()
            .filter_map(|param| match param.value {
                TypedValue::String(answer) => Some(answer),
                _ => None,
            })
            .collect();
        if answers.len() != questions.len() {
            return Err(VirtError::new(
                ErrorCode::AUTH_FAILED,
                format_args!("{} answers to {} questions", answers.len(), questions.len()),
            ));
        }
        Ok(answers)
    }
}

/// The user of one open, from a driver's side.
pub(super) struct ForeignCredentials {
    host: HostServices,
    auth: u64,
    kinds: Vec<u32>,
}

impl ForeignCredentials {
    pub(super) fn new(host: HostServices, auth: u64, kinds: Vec<u32>) -> Self {
        Self { host, auth, kinds }
    }
}

impl CredentialSource for ForeignCredentials {
    fn kinds(&self) -> Vec<u32> {
        self.kinds.clone()
    }

    fn request(&self, questions: &[CredentialRequest]) -> Result<Vec<String>> {
        self.host.request_credentials(self.auth, questions)
    }
}
