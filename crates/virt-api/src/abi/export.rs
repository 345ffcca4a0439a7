//! Our Rust traits behind the binary interface. Every entry, callback and destructor catches unwinds here, on the side
//! where they happened.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RVec};
use parking_lot::Mutex;
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
use crate::host::{CredentialSource, HostServices, OpenedConnection};
use crate::stream_end::{Readiness, StreamEnd, Transfer};

mod host;

pub(super) use self::host::{Credentials, export_host};

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

    // since 1.2 {
    fn splice(&self, pipe: i32, most: u64, flags: u32) -> AbiResult<i64> {
        self.guarded("splice", |end| {
            if most == 0 {
                return match end.can_splice() {
                    true => Ok(0),
                    false => Err(VirtError::no_support("splicing this stream")),
                };
            }
            let (pipe, most) = (borrow_fd(pipe)?, usize::try_from(most).unwrap_or(usize::MAX));
            let moved = match flags & v1::STREAM_SPLICE_SEND {
                0 => end.recv_to_pipe(pipe, most),
                _ => end.send_from_pipe(pipe, most, flags & v1::STREAM_SPLICE_AT_ONCE != 0),
            };
            moved.map(transfer_out)
        })
    }
    // }
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
