//! Our Rust traits behind the binary interface. Every entry, callback and destructor catches unwinds here, on the side
//! where they happened.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RStr, RVec};
use parking_lot::Mutex;
use virt_util::audit::AuditRecord;
use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::{ErrorCode, Result, VirtError};

use super::Entry;
use super::convert::{borrow_fd, ext, give_fds, params_in, params_out, take_identity};
use super::import::{CallbackHandle, ForeignCancel, ForeignCredentials, ForeignHost, ForeignSink};
use super::panics::{Contained, contained, guarded, note_panics};
use super::v1::{
    self, AbiResult, Ahead, CallIn, CallOut, CallbackBox, CancelBox, ConnectionBox, DriverBox, EventSinkBox,
    HostServicesBox, OpenIn, StreamEndBox,
};
use crate::access::{AccessObject, Authority, Permission};
use crate::call::{CallContext, Identity, OutgoingCall, StreamMode};
use crate::driver::{CONNECT_RO, Driver, DriverConnection, InitContext, OpenContext};
use crate::events::{EventAccess, EventRegistry, EventSink};
use crate::host::{
    AuthMode, ClaimKind, CredentialRequest, CredentialSource, Host, HostServices, LogRecord, NestedOpen,
    OpenedConnection,
};
use crate::stream_end::{Readiness, StreamEnd, Transfer};

/// The root function of a plugin.
pub(super) extern "C" fn root<E: Entry>(host: HostServicesBox, _ext: RSlice<'_, u8>) -> AbiResult<DriverBox> {
    let host = HostServices::new(Arc::new(ForeignHost::new(host)));
    crate::log_bridge::install(host.clone());
    note_panics();
    guarded(
        E::NAME,
        || "its constructor".into(),
        || Ok(export_driver(E::NAME, E::create(), host)),
    )
}

/// Puts a built-in driver behind the interface. The panic hook and the log stay the application's.
pub(super) fn builtin(
    name: &'static str,
    create: impl FnOnce() -> Box<dyn Driver>,
    host: HostServicesBox,
) -> AbiResult<DriverBox> {
    let host = HostServices::new(Arc::new(ForeignHost::new(host)));
    guarded(
        name,
        || "its constructor".into(),
        || Ok(export_driver(name, create(), host)),
    )
}

fn export_driver(who: &'static str, driver: Box<dyn Driver>, host: HostServices) -> DriverBox {
    DriverBox::from_value(
        DriverShim {
            who,
            driver: Contained::new(who, driver),
            host,
        },
        TD_Opaque,
    )
}

struct DriverShim {
    who: &'static str,
    driver: Contained<Box<dyn Driver>>,
    host: HostServices,
}

impl v1::Driver for DriverShim {
    fn initialize(&self, ext: RSlice<'_, u8>) -> AbiResult<()> {
        guarded(
            self.who,
            || "initialize".into(),
            || {
                let ext = params_in(&ext)?;
                let flag = |name: &str| ext.get_bool(name).map(Option::unwrap_or_default);
                let context = InitContext {
                    privileged: flag("privileged")?,
                    monolithic: flag("monolithic")?,
                    inside_daemon: flag("inside-daemon")?,
                    root: ext.get_string("root")?.map(str::to_owned),
                    ext,
                };
                self.driver.get()?.initialize(&self.host, &context)
            },
        )
    }

    fn open(&self, open: OpenIn<'_>) -> AbiResult<ConnectionBox> {
        guarded(self.who, || "open".into(), || self.open_connection(&open))
    }

    fn control(&self, operation: u32, ext: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        guarded(
            self.who,
            || format!("control operation {operation}"),
            || {
                let driver = self.driver.get()?;
                let ext = params_in(&ext)?;
                let mut answer = TypedParams::new();
                match operation {
                    v1::CONTROL_URI_PROBE => {
                        if let Some(uri) = driver.uri_probe()? {
                            answer.push("uri", uri);
                        }
                    }
                    v1::CONTROL_RELOAD => driver.reload()?,
                    v1::CONTROL_SET_LOG => {
                        let priority = ext
                            .get_u64("priority")?
                            .unwrap_or(u64::from(crate::log_bridge::WARNING));
                        let priority = u32::try_from(priority).unwrap_or(crate::log_bridge::ERROR);
                        crate::log_bridge::set_priority(priority);
                        driver.set_log(priority)?;
                    }
                    v1::CONTROL_STOP => driver.stop()?,
                    v1::CONTROL_SHUTDOWN_PREPARE => driver.shutdown_prepare()?,
                    v1::CONTROL_SHUTDOWN_WAIT => {
                        let deadline = ext.get_u64("deadline")?.unwrap_or_default();
                        driver.shutdown_wait(Deadline::from_nanos(deadline))?;
                    }
                    // since 1.1 {
                    v1::CONTROL_OPENS_AT_ONCE => {
                        let uri = ext.get_string("uri")?.unwrap_or_default();
                        answer.push("at-once", driver.opens_at_once(uri));
                    }
                    // }
                    other => {
                        return Err(VirtError::no_support(format_args!(
                            "driver control operation {other}"
                        )));
                    }
                }
                params_out(&answer)
            },
        )
    }
}

impl DriverShim {
    fn open_connection(&self, open: &OpenIn<'_>) -> Result<ConnectionBox> {
        let deadline = Deadline::from_nanos(open.deadline);
        deadline.check("opening the connection")?;
        let params = params_in(&open.ext)?;
        let identity = Arc::new(take_identity(&params).unwrap_or_default());
        let enforced = params.get_bool(ext::ACCESS)?.unwrap_or_default();
        let read_only = open.flags & CONNECT_RO != 0 || params.get_bool(ext::READ_ONLY)?.unwrap_or_default();
        let credentials = (open.auth != 0).then(|| {
            let kinds = params
                .iter()
                .filter(|param| param.field == ext::AUTH_KIND)
                .filter_map(|param| match param.value {
                    TypedValue::UInt(kind) => Some(kind),
                    _ => None,
                })
                .collect();
            Arc::new(ForeignCredentials::new(self.host.clone(), open.auth, kinds))
                as Arc<dyn CredentialSource>
        });
        let sink = Arc::new(LateSink::default());
        let access = enforced.then(|| event_access(self.host.clone(), Arc::clone(&identity)));
        let events = Arc::new(EventRegistry::with_access(
            Arc::clone(&sink) as Arc<dyn EventSink>,
            access,
        ));
        let cx = OpenContext {
            uri: open.uri.as_str().to_owned(),
            flags: open.flags | if read_only { CONNECT_RO } else { 0 },
            deadline,
            identity: Identity::clone(&identity),
            ext: params,
            credentials,
            host: self.host.clone(),
            events: Arc::clone(&events),
        };
        let connection = self.driver.get()?.open(&cx)?;
        Ok(ConnectionBox::from_value(
            ConnectionShim {
                who: self.who,
                connection: Contained::new(self.who, connection),
                host: self.host.clone(),
                events,
                sink,
                identity,
                read_only,
                enforced,
                closed: AtomicBool::new(false),
            },
            TD_Opaque,
        ))
    }
}

/// Whether a subscriber may hear of an object: libvirt asks `getattr` on it.
fn event_access(host: HostServices, identity: Arc<Identity>) -> EventAccess {
    Box::new(move |class, object: &dyn AccessObject| {
        let kind = class.object_kind();
        let permission = Permission {
            object: kind,
            name: "getattr",
        };
        object.access_attributes(kind).is_some_and(|attributes| {
            host.check_acl(&identity, 0, 0, permission.name, kind.name(), &attributes)
                .unwrap_or_default()
        })
    })
}

/// The sink of a connection, known only after the open.
#[derive(Default)]
struct LateSink(OnceLock<ForeignSink>);

impl EventSink for LateSink {
    fn event(&self, program: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        if let Some(sink) = self.0.get() {
            sink.event(program, procedure, callbacks, payload);
        }
    }
}

struct ConnectionShim {
    who: &'static str,
    connection: Contained<Box<dyn DriverConnection>>,
    host: HostServices,
    events: Arc<EventRegistry>,
    sink: Arc<LateSink>,
    /// Who opened; a call may say otherwise.
    identity: Arc<Identity>,
    read_only: bool,
    enforced: bool,
    closed: AtomicBool,
}

impl ConnectionShim {
    fn open_connection(&self) -> Result<&dyn DriverConnection> {
        if self.closed.load(Ordering::Acquire) {
            return Err(VirtError::new(
                ErrorCode::INVALID_CONN,
                "the connection is closed",
            ));
        }
        self.connection.get().map(|connection| &**connection)
    }

    fn answer(&self, call: CallIn<'_>) -> Result<CallOut> {
        let connection = self.open_connection()?;
        let deadline = Deadline::from_nanos(call.deadline);
        deadline.check("the call came after its deadline")?;
        let params = params_in(&call.ext)?;
        let fds = call
            .fds
            .iter()
            .map(|fd| borrow_fd(*fd))
            .collect::<Result<Vec<_>>>()?;
        let cancel = match call.cancel {
            ROption::RSome(cancel) => Cancel::from_source(Arc::new(ForeignCancel::new(cancel))),
            ROption::RNone => Cancel::never(),
        };
        let mut cx = CallContext {
            program: call.program,
            procedure: call.procedure,
            deadline,
            cancel,
            fds: &fds,
            stream_mode: match call.stream {
                0 => StreamMode::None,
                1 => StreamMode::Blocking,
                _ => StreamMode::NonBlocking,
            },
            identity: match take_identity(&params) {
                Some(identity) => Arc::new(identity),
                None => Arc::clone(&self.identity),
            },
            // A call may only narrow what its connection allows.
            read_only: self.read_only || params.get_bool(ext::READ_ONLY)?.unwrap_or_default(),
            authority: Authority::enforced(
                self.enforced || params.get_bool(ext::ACCESS)?.unwrap_or_default(),
            ),
            ext: params,
            host: self.host.clone(),
            events: Arc::clone(&self.events),
            fds_out: Vec::new(),
            stream_out: None,
        };
        let payload = crate::serve::answer(connection, &mut cx, &call.args)?;
        Ok(CallOut {
            payload: payload.into(),
            fds: give_fds(cx.fds_out),
            stream: cx.stream_out.map(|end| export_stream(self.who, end)).into(),
            ext: RVec::new(),
        })
    }
}

impl v1::Connection for ConnectionShim {
    fn call(&self, call: CallIn<'_>) -> AbiResult<CallOut> {
        let (program, procedure) = (call.program, call.procedure);
        guarded(
            self.who,
            || crate::serve::procedure_name(program, procedure),
            || self.answer(call),
        )
    }

    fn supports(&self, program: u32, procedure: u32) -> u32 {
        let bits: AbiResult<u32> = guarded(
            self.who,
            || "supports".into(),
            || Ok(crate::serve::supports(self.open_connection()?, program, procedure).bits()),
        );
        bits.unwrap_or(0)
    }

    fn event_sink(&self, sink: EventSinkBox) -> AbiResult<()> {
        guarded(
            self.who,
            || "event_sink".into(),
            || {
                self.sink
                    .0
                    .set(ForeignSink::new(sink))
                    .map_err(|_| VirtError::internal("the connection has an event sink already"))
            },
        )
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> AbiResult<u32> {
        guarded(
            self.who,
            || "set_keepalive".into(),
            || {
                self.open_connection()?
                    .set_keepalive(interval, count)
                    .map(u32::from)
            },
        )
    }

    fn is_alive(&self) -> AbiResult<u32> {
        guarded(
            self.who,
            || "is_alive".into(),
            || {
                if self.closed.load(Ordering::Acquire) {
                    return Ok(0);
                }
                self.open_connection()?.is_alive().map(u32::from)
            },
        )
    }

    fn closed(&self, callback: CallbackBox) -> AbiResult<()> {
        guarded(
            self.who,
            || "closed".into(),
            || {
                let callback = CallbackHandle::new(callback);
                self.open_connection()?
                    .on_closed(Box::new(move |reason| callback.call(i64::from(reason))));
                Ok(())
            },
        )
    }

    fn close(&self) -> AbiResult<()> {
        guarded(
            self.who,
            || "close".into(),
            || {
                if self.closed.swap(true, Ordering::AcqRel) {
                    return Ok(());
                }
                self.events.clear();
                self.connection.get()?.close();
                Ok(())
            },
        )
    }
}

impl Drop for ConnectionShim {
    fn drop(&mut self) {
        // Whoever lets go of a connection has closed it.
        let _ = v1::Connection::close(self);
    }
}

/// A connection that the host opened for a driver.
struct OpenedShim {
    connection: Arc<dyn OpenedConnection>,
}

impl v1::Connection for OpenedShim {
    fn call(&self, call: CallIn<'_>) -> AbiResult<CallOut> {
        guarded(
            "host",
            || "a call on a nested connection".into(),
            || {
                let fds = call
                    .fds
                    .iter()
                    .map(|fd| borrow_fd(*fd))
                    .collect::<Result<Vec<_>>>()?;
                let reply = self.connection.call(OutgoingCall {
                    program: call.program,
                    procedure: call.procedure,
                    args: call.args.to_vec(),
                    fds: &fds,
                    deadline: Deadline::from_nanos(call.deadline),
                    cancel: match call.cancel {
                        ROption::RSome(cancel) => Cancel::from_source(Arc::new(ForeignCancel::new(cancel))),
                        ROption::RNone => Cancel::never(),
                    },
                    stream: match call.stream {
                        0 => StreamMode::None,
                        1 => StreamMode::Blocking,
                        _ => StreamMode::NonBlocking,
                    },
                    ext: params_in(&call.ext)?,
                })?;
                Ok(CallOut {
                    payload: reply.payload.into(),
                    fds: give_fds(reply.fds),
                    stream: reply.stream.map(|end| export_stream("host", end)).into(),
                    ext: RVec::new(),
                })
            },
        )
    }

    fn supports(&self, program: u32, procedure: u32) -> u32 {
        let bits: AbiResult<u32> = guarded(
            "host",
            || "supports".into(),
            || Ok(self.connection.supports(program, procedure).bits()),
        );
        bits.unwrap_or(0)
    }

    fn event_sink(&self, sink: EventSinkBox) -> AbiResult<()> {
        guarded(
            "host",
            || "event_sink".into(),
            || self.connection.set_event_sink(Arc::new(ForeignSink::new(sink))),
        )
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> AbiResult<u32> {
        guarded(
            "host",
            || "set_keepalive".into(),
            || self.connection.set_keepalive(interval, count).map(u32::from),
        )
    }

    fn is_alive(&self) -> AbiResult<u32> {
        guarded(
            "host",
            || "is_alive".into(),
            || self.connection.is_alive().map(u32::from),
        )
    }

    fn closed(&self, callback: CallbackBox) -> AbiResult<()> {
        guarded(
            "host",
            || "closed".into(),
            || {
                let callback = CallbackHandle::new(callback);
                self.connection
                    .on_closed(Box::new(move |reason| callback.call(i64::from(reason))))
            },
        )
    }

    fn close(&self) -> AbiResult<()> {
        RResult::ROk(())
    }
}

/// A stream end for the other side.
pub(super) fn export_stream(who: &'static str, end: StreamEnd) -> StreamEndBox {
    StreamEndBox::from_value(
        StreamShim {
            who,
            end: Contained::new(who, end),
        },
        TD_Opaque,
    )
}

struct StreamShim {
    who: &'static str,
    end: Contained<StreamEnd>,
}

impl StreamShim {
    fn guarded<T>(&self, what: &'static str, body: impl FnOnce(&StreamEnd) -> Result<T>) -> AbiResult<T> {
        guarded(self.who, || format!("stream {what}"), || body(self.end.get()?))
    }
}

fn transfer_out(transfer: Transfer) -> i64 {
    match transfer {
        Transfer::Bytes(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Transfer::WouldBlock => v1::STREAM_WOULD_BLOCK,
        Transfer::AtHole => v1::STREAM_AT_HOLE,
    }
}

impl v1::StreamEnd for StreamShim {
    fn send(&self, data: RSlice<'_, u8>) -> AbiResult<i64> {
        self.guarded("send", |end| end.send(&data).map(transfer_out))
    }

    fn recv(&self, mut buffer: RSliceMut<'_, u8>, flags: u32) -> AbiResult<i64> {
        self.guarded("recv", |end| {
            end.recv(&mut buffer, flags & v1::STREAM_STOP_AT_HOLE != 0)
                .map(transfer_out)
        })
    }

    fn send_hole(&self, length: u64) -> AbiResult<()> {
        self.guarded("send_hole", |end| end.send_hole(length))
    }

    fn recv_hole(&self) -> AbiResult<u64> {
        self.guarded("recv_hole", StreamEnd::recv_hole)
    }

    fn in_data(&self) -> AbiResult<Ahead> {
        self.guarded("in_data", |end| {
            end.in_data().map(|(data, length)| Ahead {
                data: data.into(),
                length,
            })
        })
    }

    fn finish(&self) -> AbiResult<()> {
        self.guarded("finish", StreamEnd::finish)
    }

    fn abort(&self) -> AbiResult<()> {
        self.guarded("abort", StreamEnd::abort)
    }

    fn set_nonblocking(&self, nonblocking: u32) -> AbiResult<()> {
        self.guarded("set_nonblocking", |end| end.set_nonblocking(nonblocking != 0))
    }

    fn readiness(&self, interest: u32) -> AbiResult<u32> {
        self.guarded("readiness", |end| {
            end.readiness(Readiness(interest)).map(|ready| ready.0)
        })
    }

    fn watch(&self, interest: u32, callback: CallbackBox) -> AbiResult<()> {
        self.guarded("watch", |end| {
            let callback = CallbackHandle::new(callback);
            end.watch(
                Readiness(interest),
                Box::new(move |ready| callback.call(i64::from(ready.0))),
            )
        })
    }
}

/// A cancel for the other side; none for one that can never be set.
pub(super) fn export_cancel(cancel: &Cancel) -> ROption<CancelBox> {
    if cancel.is_never() {
        return ROption::RNone;
    }
    ROption::RSome(CancelBox::from_value(CancelShim(cancel.clone()), TD_Opaque))
}

struct CancelShim(Cancel);

impl v1::Cancel for CancelShim {
    fn is_set(&self) -> u32 {
        self.0.is_set().into()
    }

    fn fd(&self) -> AbiResult<i32> {
        guarded(
            "caller",
            || "cancel fd".into(),
            || match self.0.fd()? {
                Some(fd) => Ok(fd.as_raw_fd()),
                None => Err(VirtError::internal("the call cannot be cancelled")),
            },
        )
    }

    // since 1.1 {
    fn progress(&self) {
        self.0.progress();
    }
    // }
}

/// A callback for the other side.
pub(super) fn export_callback(
    who: &'static str,
    function: impl Fn(i64) + Send + Sync + 'static,
) -> CallbackBox {
    CallbackBox::from_value(
        CallbackShim {
            who,
            function: Contained::new(who, Box::new(function)),
        },
        TD_Opaque,
    )
}

/// A callback for the other side that runs at most once.
pub(super) fn export_once(who: &'static str, function: impl FnOnce(i64) + Send + 'static) -> CallbackBox {
    let function = Mutex::new(Some(function));
    export_callback(who, move |value| {
        let function = function.lock().take();
        if let Some(function) = function {
            function(value);
        }
    })
}

struct CallbackShim {
    who: &'static str,
    function: Contained<Box<dyn Fn(i64) + Send + Sync>>,
}

impl v1::Callback for CallbackShim {
    fn call(&self, value: i64) {
        contained(self.who, "callback", || {
            if let Ok(function) = self.function.get() {
                function(value);
            }
        });
    }
}

/// A sink for the other side.
pub(super) fn export_sink(sink: Arc<dyn EventSink>) -> EventSinkBox {
    EventSinkBox::from_value(SinkShim(Contained::new("event sink", sink)), TD_Opaque)
}

struct SinkShim(Contained<Arc<dyn EventSink>>);

impl v1::EventSink for SinkShim {
    fn event(&self, program: u32, procedure: u32, callbacks: RSlice<'_, i32>, payload: RSlice<'_, u8>) {
        contained("event sink", "event", || {
            if let Ok(sink) = self.0.get() {
                sink.event(program, procedure, &callbacks, &payload);
            }
        });
    }
}

/// The credential sources of the opens that run now, by the number their driver knows them by.
#[derive(Default)]
pub(super) struct Credentials {
    next: AtomicU64,
    sources: Mutex<HashMap<u64, Arc<dyn CredentialSource>>>,
}

impl Credentials {
    /// Makes `source` known for as long as the answer lives.
    pub(super) fn lend(self: &Arc<Self>, source: Arc<dyn CredentialSource>) -> LentCredentials {
        let token = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.sources.lock().insert(token, source);
        LentCredentials {
            credentials: Arc::clone(self),
            token,
        }
    }

    fn get(&self, token: u64) -> Result<Arc<dyn CredentialSource>> {
        self.sources.lock().get(&token).cloned().ok_or_else(|| {
            VirtError::new(
                ErrorCode::AUTH_FAILED,
                "credentials can be asked for only while the connection is being opened",
            )
        })
    }
}

/// See [`Credentials::lend`].
pub(super) struct LentCredentials {
    credentials: Arc<Credentials>,
    pub(super) token: u64,
}

impl Drop for LentCredentials {
    fn drop(&mut self) {
        self.credentials.sources.lock().remove(&self.token);
    }
}

/// The host for one driver.
pub(super) fn export_host(host: Arc<dyn Host>, credentials: Arc<Credentials>) -> HostServicesBox {
    HostServicesBox::from_value(HostShim { host, credentials }, TD_Opaque)
}

struct HostShim {
    host: Arc<dyn Host>,
    credentials: Arc<Credentials>,
}

impl HostShim {
    fn guarded<T>(&self, what: &'static str, body: impl FnOnce(&dyn Host) -> Result<T>) -> AbiResult<T> {
        guarded("host", || what.to_owned(), || body(&*self.host))
    }
}

fn interval_in(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

fn claim_kind(kind: u32) -> Result<ClaimKind> {
    ClaimKind::from_number(kind).ok_or_else(|| VirtError::no_support(format_args!("claims of kind {kind}")))
}

impl v1::HostServices for HostShim {
    fn log(&self, priority: u32, target: RStr<'_>, message: RStr<'_>, file: RStr<'_>, line: u32) {
        contained("host", "log", || {
            self.host.log(&LogRecord {
                priority,
                target: target.as_str().to_owned(),
                message: message.as_str().to_owned(),
                file: (!file.is_empty()).then(|| file.as_str().to_owned()),
                line,
            });
        });
    }

    fn open_connection(
        &self,
        uri: RStr<'_>,
        flags: u32,
        deadline: u64,
        identity: RSlice<'_, u8>,
        elevated: u32,
        auth_mode: u32,
    ) -> AbiResult<ConnectionBox> {
        self.guarded("open_connection", |host| {
            let connection = host.open_connection(&NestedOpen {
                uri: uri.as_str().to_owned(),
                flags,
                identity: Identity(params_in(&identity)?),
                elevated: elevated != 0,
                auth: match auth_mode {
                    1 => AuthMode::ConfigOnly,
                    2 => AuthMode::Ask,
                    _ => AuthMode::None,
                },
                deadline: Deadline::from_nanos(deadline),
            })?;
            Ok(ConnectionBox::from_value(OpenedShim { connection }, TD_Opaque))
        })
    }

    fn add_handle(&self, fd: i32, events: u32, callback: CallbackBox) -> AbiResult<i32> {
        self.guarded("add_handle", |host| {
            let callback = CallbackHandle::new(callback);
            host.add_handle(
                borrow_fd(fd)?,
                events,
                Box::new(move |events| callback.call(i64::from(events))),
            )
        })
    }

    fn update_handle(&self, watch: i32, events: u32) -> AbiResult<()> {
        self.guarded("update_handle", |host| host.update_handle(watch, events))
    }

    fn remove_handle(&self, watch: i32) -> AbiResult<()> {
        self.guarded("remove_handle", |host| host.remove_handle(watch))
    }

    fn add_timeout(&self, milliseconds: i64, callback: CallbackBox) -> AbiResult<i32> {
        self.guarded("add_timeout", |host| {
            let callback = CallbackHandle::new(callback);
            host.add_timeout(interval_in(milliseconds), Box::new(move || callback.call(0)))
        })
    }

    fn update_timeout(&self, timer: i32, milliseconds: i64) -> AbiResult<()> {
        self.guarded("update_timeout", |host| {
            host.update_timeout(timer, interval_in(milliseconds))
        })
    }

    fn remove_timeout(&self, timer: i32) -> AbiResult<()> {
        self.guarded("remove_timeout", |host| host.remove_timeout(timer))
    }

    fn request_credentials(&self, auth: u64, questions: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        guarded(
            "host",
            || "request_credentials".into(),
            || {
                let source = self.credentials.get(auth)?;
                let questions = questions_in(&params_in(&questions)?)?;
                let answers = source.request(&questions)?;
                if answers.len() != questions.len() {
                    return Err(VirtError::new(
                        ErrorCode::AUTH_FAILED,
                        format_args!("{} answers to {} questions", answers.len(), questions.len()),
                    ));
                }
                let mut params = TypedParams::new();
                for answer in answers {
                    params.push("answer", answer);
                }
                params_out(&params)
            },
        )
    }

    fn check_acl(
        &self,
        identity: RSlice<'_, u8>,
        program: u32,
        procedure: u32,
        permission: RStr<'_>,
        object: RStr<'_>,
        attributes: RSlice<'_, u8>,
    ) -> AbiResult<u32> {
        self.guarded("check_acl", |host| {
            host.check_acl(
                &Identity(params_in(&identity)?),
                program,
                procedure,
                permission.as_str(),
                object.as_str(),
                &params_in(&attributes)?,
            )
            .map(u32::from)
        })
    }

    fn claim(&self, operation: u32, kind: u32, key: RStr<'_>, owner: RStr<'_>) -> AbiResult<()> {
        self.guarded("claim", |host| {
            let kind = claim_kind(kind)?;
            match operation {
                v1::CLAIM_TAKE => host.claim(kind, key.as_str(), owner.as_str()),
                v1::CLAIM_RELEASE => host.release(kind, key.as_str(), owner.as_str()),
                other => Err(VirtError::no_support(format_args!("claim operation {other}"))),
            }
        })
    }

    fn claims(&self, kind: u32) -> AbiResult<RVec<u8>> {
        self.guarded("claims", |host| {
            let mut params = TypedParams::new();
            for claim in host.claims(claim_kind(kind)?)? {
                params.push("key", claim.key);
                params.push("owner", claim.owner);
            }
            params_out(&params)
        })
    }

    fn inhibit(&self, inhibited: u32) {
        contained("host", "inhibit", || self.host.inhibit(inhibited != 0));
    }

    // since 1.1 {
    fn service(&self, operation: u32, ext: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        self.guarded("service", |host| {
            let params = params_in(&ext)?;
            match operation {
                v1::SERVICE_AUDIT => host.audit(&AuditRecord::from_params(&params)?)?,
                other => return Err(VirtError::no_support(format_args!("host service {other}"))),
            }
            params_out(&TypedParams::new())
        })
    }
    // }
}

/// Questions out of their parameters: four per question, the kind first.
fn questions_in(params: &TypedParams) -> Result<Vec<CredentialRequest>> {
    let mut questions: Vec<CredentialRequest> = Vec::new();
    for param in params.iter() {
        match (param.field.as_str(), &param.value) {
            ("kind", TypedValue::UInt(kind)) => questions.push(CredentialRequest {
                kind: *kind,
                prompt: String::new(),
                challenge: String::new(),
                default: String::new(),
            }),
            (field, TypedValue::String(text)) => {
                let Some(question) = questions.last_mut() else {
                    return Err(VirtError::internal("a credential question starts with its kind"));
                };
                match field {
                    "prompt" => question.prompt.clone_from(text),
                    "challenge" => question.challenge.clone_from(text),
                    "default" => question.default.clone_from(text),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(questions)
}
