//! An open connection: forwards calls as they are, but for the few that mean something on this side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use virt_api::call::{
    CallContext, CallReply, Caller, Identity, OutgoingCall, PROGRAM_FERROVIRT, PROGRAM_REMOTE, StreamMode,
};
use virt_api::driver::{DriverConnection, Passthrough};
use virt_api::events::EventRegistry;
use virt_api::protocol::clients::{CallSettings, RemoteClient};
use virt_api::protocol::features;
use virt_api::protocol::ferrovirt::{self, FerrovirtConnectIsEncryptedReply};
use virt_api::protocol::remote::{
    ConnectGetUriReply, ConnectIsSecureReply, ConnectSupportsFeatureArgs, ConnectSupportsFeatureReply,
    NetworkRef, procedure,
};
use virt_api::protocol::table::{self, Owner, Procedure};
use virt_api::stream_end::StreamEnd;
use virt_util::time::{Cancel, Deadline};
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::client::{Client, Incoming, Request};
use crate::events::{self, Begun, Subscriptions, Tell};
use crate::place::Transport;

/// How long a goodbye may take: the daemon may have to end what was this connection's.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a daemon may be silent meanwhile before it is asked whether it lives, and then once more.
const CLOSE_SILENCE: Duration = Duration::from_secs(1);
/// `VIR_TYPED_PARAM_STRING_OKAY`.
const TYPED_PARAM_STRING_OKAY: u32 = 4;

/// A connection to a daemon.
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub client: Client,
    /// What programs see as the URI of the connection.
    uri: String,
    /// The way to the daemon.
    transport: Transport,
    events: Arc<EventRegistry>,
    subscriptions: Subscriptions,
    /// What the daemon can do, as far as it was asked.
    features: Mutex<HashMap<i32, bool>>,
    on_closed: Mutex<Option<Box<dyn FnOnce(i32) + Send>>>,
    closed: AtomicBool,
    /// Inside a daemon: for whom the far side was told that we speak. Held for looking.
    speaks_for: Option<Mutex<Identity>>,
}

/// Calls that only make sense between us and the daemon.
const OWN: [u32; 8] = [
    procedure::CONNECT_OPEN,
    procedure::CONNECT_CLOSE,
    procedure::AUTH_LIST,
    procedure::AUTH_SASL_INIT,
    procedure::AUTH_SASL_START,
    procedure::AUTH_SASL_STEP,
    procedure::AUTH_POLKIT,
    procedure::CONNECT_SET_IDENTITY,
];

fn version(program: u32) -> u32 {
    table::programs()
        .find(|known| known.number == program)
        .map_or(1, |known| known.version)
}

impl Caller for Client {
    /// Makes a call of ours, without the rules for calls of programs.
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        let request = Request {
            program: call.program,
            version: version(call.program),
            procedure: call.procedure,
            args: &call.args,
            fds: call.fds,
            stream: false,
        };
        let ticket = self.send(&request)?;
        let answer = self.receive(&ticket, call.deadline, &call.cancel)?;
        if let Some(procedure) = table::procedure(call.program, call.procedure) {
            check_reply(procedure, &answer.payload)?;
        }
        Ok(CallReply {
            payload: answer.payload,
            fds: answer.fds,
            stream: None,
        })
    }
}

/// Calls of ours.
fn ask(client: &Client, until: Deadline) -> RemoteClient<'_> {
    RemoteClient::with(CallSettings::new(client, PROGRAM_REMOTE).deadline(until))
}

/// Tells a daemon for whom we speak.
pub(crate) fn hand_on(client: &Client, identity: &Identity, until: Deadline) -> Result<()> {
    match ask(client, until).connect_set_identity(&identity.0, 0) {
        // A daemon that does not know identities sees us.
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(()),
        told => told,
    }
}

/// What came over the network is held against the protocol's limits before anybody reads it.
fn check_reply(procedure: &Procedure, payload: &[u8]) -> Result<()> {
    procedure.check_reply(payload).map_err(|error| {
        VirtError::new(
            ErrorCode::RPC,
            format_args!(
                "Unable to decode message payload of {}: {}",
                procedure.name,
                error.detail()
            ),
        )
        .in_domain(ErrorDomain::RPC)
    })
}

impl Connection {
    /// `speaks_for` is whom the daemon was told, where we are in one that hands identities on.
    pub fn new(
        client: Client,
        uri: String,
        transport: Transport,
        events: Arc<EventRegistry>,
        speaks_for: Option<Identity>,
    ) -> Self {
        let inner = Arc::new(Inner {
            client,
            uri,
            transport,
            events,
            subscriptions: Subscriptions::default(),
            features: Mutex::default(),
            on_closed: Mutex::default(),
            closed: AtomicBool::new(false),
            speaks_for: speaks_for.map(Mutex::new),
        });
        let weak = Arc::downgrade(&inner);
        inner.client.set_receiver(Box::new(move |incoming| {
            if let Some(inner) = Weak::upgrade(&weak) {
                inner.receive(incoming);
            }
        }));
        Self { inner }
    }

    /// Has the application's loop read for this connection, which the daemon may then ask whether it lives.
    pub fn start_background(&self, until: Deadline) -> Result<bool> {
        self.inner.start_background(until)
    }
}

impl Inner {
    fn start_background(&self, until: Deadline) -> Result<bool> {
        self.client.start_background()?;
        // Asking for it is what makes the daemon ask us from now on.
        self.supports(features::PROGRAM_KEEPALIVE, until)
    }

    /// Whether the daemon has a feature. A daemon that does not know the question has none.
    fn supports(&self, feature: i32, until: Deadline) -> Result<bool> {
        if let Some(known) = self.features.lock().get(&feature) {
            return Ok(*known);
        }
        let asked = ask(&self.client, until).connect_supports_feature(feature);
        let known = match asked {
            Ok(reply) => reply.supported != 0,
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => false,
            Err(error) => return Err(error),
        };
        self.features.lock().insert(feature, known);
        Ok(known)
    }

    /// Something for the application, on its loop.
    fn receive(&self, incoming: Incoming) {
        match incoming {
            Incoming::Closed(reason) => self.tell_closed(reason),
            Incoming::Event {
                program: PROGRAM_REMOTE,
                procedure: procedure::CONNECT_EVENT_CONNECTION_CLOSED,
                payload,
            } => {
                if let Ok(reason) = XdrDecoder::new(&payload).i32() {
                    self.tell_closed(reason);
                }
            }
            Incoming::Event {
                program,
                procedure,
                payload,
            } => {
                if let Some(told) = self.subscriptions.address(program, procedure, payload) {
                    self.deliver(&told);
                }
            }
        }
    }

    fn deliver(&self, told: &events::Told) {
        // What came over the network keeps the protocol's limits, or is nobody's.
        if let Some(known) = table::procedure(told.program, told.procedure) {
            let mut whole = events::number(0);
            whole.extend_from_slice(&told.payload);
            if let Err(error) = known.check_args(&whole) {
                tracing::warn!("event {} cannot be read: {error}", known.name);
                return;
            }
        }
        self.events
            .deliver(told.program, told.procedure, &told.callbacks, &told.payload);
    }

    fn tell_closed(&self, reason: i32) {
        let callback = self.on_closed.lock().take();
        if let Some(callback) = callback {
            callback(reason);
        }
    }

    /// Tells the far side for whom the calls are that follow. Those of one connection are for one at a time.
    fn speak_for(&self, identity: &Identity, until: Deadline) -> Result<()> {
        let Some(known) = &self.speaks_for else {
            return Ok(());
        };
        if identity.0.0.is_empty() || *known.lock() == *identity {
            return Ok(());
        }
        hand_on(&self.client, identity, until)?;
        known.lock().clone_from(identity);
        Ok(())
    }

    /// Makes a call for somebody.
    fn forward(&self, cx: &mut CallContext<'_>, known: Option<&Procedure>, args: &[u8]) -> Result<Vec<u8>> {
        if let Some(known) = known {
            known
                .check_args(args)
                .map_err(|error| error.in_domain(ErrorDomain::REMOTE))?;
        }
        self.speak_for(cx.identity(), cx.deadline())?;
        let mode = cx.stream_mode();
        let request = Request {
            program: cx.program(),
            version: version(cx.program()),
            procedure: cx.procedure(),
            args,
            fds: cx.fds(),
            stream: mode != StreamMode::None,
        };
        let ticket = self.client.send(&request)?;
        let answer = self.client.receive(&ticket, cx.deadline(), cx.cancel())?;
        if let Some(known) = known {
            check_reply(known, &answer.payload)?;
        }
        if mode != StreamMode::None {
            let holes = known.is_some_and(|known| wants_holes(known, args));
            cx.attach_stream_end(StreamEnd::new(self.client.stream(&answer, holes)))?;
        }
        for fd in answer.fds {
            cx.push_fd(fd);
        }
        Ok(answer.payload)
    }

    fn register(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
        self.speak_for(cx.identity(), cx.deadline())?;
        // Events come through the application's loop, so there must be one.
        self.start_background(cx.deadline())?;
        let filtered = self.supports(features::REMOTE_EVENT_CALLBACK, cx.deadline())?;
        let begun = self
            .subscriptions
            .register(cx.program(), cx.procedure(), args, filtered)?;
        let (registration, tell) = match begun {
            Begun::Shared(callback) => return Ok(events::number(callback)),
            Begun::Ask(registration, tell) => (registration, tell),
        };
        let answer = match tell {
            Tell::Nothing => Ok(Vec::new()),
            Tell::Call {
                program,
                procedure,
                args,
            } => self.tell(cx, program, procedure, &args),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.subscriptions.gave_up();
                return Err(error);
            }
        };
        let (callback, early) = self.subscriptions.registered(registration, &answer)?;
        for told in &early {
            self.deliver(told);
        }
        Ok(events::number(callback))
    }

    fn deregister(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
        match self
            .subscriptions
            .deregister(cx.program(), cx.procedure(), args)?
        {
            Tell::Nothing => Ok(Vec::new()),
            Tell::Call {
                program,
                procedure,
                args,
            } => self.tell(cx, program, procedure, &args),
        }
    }

    fn tell(&self, cx: &CallContext<'_>, program: u32, procedure: u32, args: &[u8]) -> Result<Vec<u8>> {
        let request = Request {
            program,
            version: version(program),
            procedure,
            args,
            fds: &[],
            stream: false,
        };
        let ticket = self.client.send(&request)?;
        let answer = self.client.receive(&ticket, cx.deadline(), cx.cancel())?;
        Ok(answer.payload)
    }

    /// Old daemons read command and section of a network's update in each other's place.
    fn network_update(
        &self,
        cx: &mut CallContext<'_>,
        known: Option<&Procedure>,
        args: &[u8],
    ) -> Result<Vec<u8>> {
        if self.supports(features::NETWORK_UPDATE_HAS_CORRECT_ORDER, cx.deadline())? {
            return self.forward(cx, known, args);
        }
        let mut input = XdrDecoder::new(args);
        NetworkRef::decode(&mut input)?;
        let at = args.len() - input.remaining();
        let mut swapped = args.to_vec();
        if let Some(both) = swapped.get_mut(at..at + 8) {
            both.rotate_left(4);
        }
        self.forward(cx, known, &swapped)
    }

    fn feature(&self, cx: &mut CallContext<'_>, known: Option<&Procedure>, args: &[u8]) -> Result<Vec<u8>> {
        let wanted = ConnectSupportsFeatureArgs::from_xdr(args)?.feature;
        if wanted != features::PROGRAM_KEEPALIVE {
            return self.forward(cx, known, args);
        }
        // The question alone would make the daemon expect answers.
        let supported = self.start_background(cx.deadline()).unwrap_or_default();
        ConnectSupportsFeatureReply {
            supported: supported.into(),
        }
        .to_xdr()
    }

    /// Whether the daemon says that the way from it to the hypervisor is secure.
    fn is_secure_there(&self, cx: &CallContext<'_>) -> Result<bool> {
        self.speak_for(cx.identity(), cx.deadline())?;
        let answer = self.tell(cx, PROGRAM_REMOTE, procedure::CONNECT_IS_SECURE, &[])?;
        Ok(ConnectIsSecureReply::from_xdr(&answer)?.secure != 0)
    }
}

/// The flags of a call whose arguments end with them.
fn last_word(args: &[u8]) -> Option<u32> {
    args.last_chunk::<4>().map(|word| u32::from_be_bytes(*word))
}

/// Whether the arguments of a call that opens a stream ask for holes: its flags are the last word.
fn wants_holes(procedure: &Procedure, args: &[u8]) -> bool {
    let flag = procedure.stream.and_then(|stream| stream.sparse);
    flag.zip(last_word(args))
        .is_some_and(|(flag, flags)| flags & flag.value != 0)
}

/// The arguments with the flag that says that strings among typed parameters are understood.
fn with_strings(args: &[u8]) -> Option<Vec<u8>> {
    let flags = last_word(args)? | TYPED_PARAM_STRING_OKAY;
    let mut out = XdrEncoder::with_buffer(args.get(..args.len().checked_sub(4)?)?.to_vec());
    out.u32(flags);
    Some(out.into_bytes())
}

impl Passthrough for Connection {
    fn call(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
        let inner = &self.inner;
        let known = table::procedure(cx.program(), cx.procedure());
        if cx.program() == PROGRAM_REMOTE {
            match cx.procedure() {
                procedure::CONNECT_GET_URI => {
                    return ConnectGetUriReply {
                        uri: inner.uri.clone(),
                    }
                    .to_xdr();
                }
                procedure::CONNECT_SUPPORTS_FEATURE => return inner.feature(cx, known, args),
                procedure::CONNECT_IS_SECURE => {
                    let secure = inner.is_secure_there(cx)? && inner.transport.is_secure();
                    return ConnectIsSecureReply {
                        secure: secure.into(),
                    }
                    .to_xdr();
                }
                procedure::NETWORK_UPDATE => return inner.network_update(cx, known, args),
                other if OWN.contains(&other) => {
                    let name = known.map_or("the call", Procedure::public_name);
                    return Err(VirtError::no_support(name));
                }
                _ => {}
            }
        }
        if (cx.program(), cx.procedure()) == (PROGRAM_FERROVIRT, ferrovirt::procedure::CONNECT_IS_ENCRYPTED) {
            // What is not secure behind the daemon is not encrypted; the daemon's own answer is about its end of the way.
            let encrypted = inner.is_secure_there(cx)? && inner.transport.is_encrypted();
            return FerrovirtConnectIsEncryptedReply {
                encrypted: encrypted.into(),
            }
            .to_xdr();
        }
        if events::deregistration(cx.program(), cx.procedure()).is_some() {
            return inner.register(cx, args);
        }
        if events::is_deregistration(cx.program(), cx.procedure()) {
            return inner.deregister(cx, args);
        }
        if let Some(known) = known
            && known.typed_strings
            && known.owner == Owner::Driver
            && inner.supports(features::TYPED_PARAM_STRING, cx.deadline())?
            && let Some(args) = with_strings(args)
        {
            return inner.forward(cx, Some(known), &args);
        }
        inner.forward(cx, known, args)
    }
}

impl DriverConnection for Connection {
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(self)
    }

    fn is_alive(&self) -> Result<bool> {
        Ok(self.inner.client.is_alive())
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        let known = self.inner.start_background(Deadline::NONE).map_err(|error| {
            VirtError::internal("the program runs no event loop, which keeps a connection alive")
                .caused_by(error.message())
        })?;
        if !known {
            return Ok(false);
        }
        let interval = u64::try_from(interval).ok().filter(|seconds| *seconds > 0);
        self.inner
            .client
            .set_keepalive(interval.map(Duration::from_secs), count);
        Ok(true)
    }

    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) {
        *self.inner.on_closed.lock() = Some(callback);
        if let Err(error) = self.watch_close() {
            tracing::warn!("the end of the connection may go unnoticed: {error}");
        }
    }

    fn close(&self) {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // The daemon hangs up when it has answered, which is the end that was asked for and no news.
        drop(self.inner.on_closed.lock().take());
        if self.inner.client.is_alive() {
            // A daemon that reads answers questions whatever it does with the call. One that has calls or streams of ours
            // to do may leave questions in its socket.
            if self.inner.client.is_idle() {
                self.inner.client.set_keepalive(Some(CLOSE_SILENCE), 1);
            }
            let call = OutgoingCall {
                deadline: Deadline::after(CLOSE_PATIENCE),
                cancel: Cancel::never(),
                ..OutgoingCall::new(PROGRAM_REMOTE, procedure::CONNECT_CLOSE, Vec::new())
            };
            // Nobody can do anything about it.
            let _ = self.inner.client.call(call);
        }
        self.inner.client.close();
    }
}

impl Connection {
    fn watch_close(&self) -> Result<()> {
        self.inner.start_background(Deadline::NONE)?;
        if self
            .inner
            .supports(features::REMOTE_CLOSE_CALLBACK, Deadline::NONE)?
        {
            // Not every driver over there knows it.
            let asked = RemoteClient::new(&self.inner.client).connect_register_close_callback();
            if let Err(error) = asked
                && error.code() != ErrorCode::NO_SUPPORT
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.client.close();
    }
}
