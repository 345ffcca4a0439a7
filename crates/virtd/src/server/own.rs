//! The calls that the daemon answers itself: opening and closing, who the client is, registrations of the old kind.

use std::sync::Arc;
use std::time::Instant;

use virt_api::call::{Caller, OutgoingCall, PROGRAM_REMOTE};
use virt_api::driver::CONNECT_RO;
use virt_api::host::OpenedConnection;
use virt_api::protocol::remote::{
    ConnectDomainEventCallbackDeregisterAnyArgs, ConnectDomainEventCallbackRegisterAnyArgs,
    ConnectDomainEventCallbackRegisterAnyReply, ConnectDomainEventDeregisterAnyArgs,
    ConnectDomainEventRegisterAnyArgs, ConnectDomainEventRegisterReply, ConnectOpenArgs,
    ConnectSetIdentityArgs, procedure as remote,
};
use virt_api::protocol::table::{Priority, Procedure};
use virt_api::rpc::Packet;
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::Opened;
use super::dispatch::{IntoReply, Progress, rpc};
use super::ledger::INLINE_MAX;
use super::listener::Scope;
use super::session::{Ending, Phase, Session};
use crate::audit::Event;
use crate::auth::Negotiation;
use crate::auth::identity::ClientIdentity;
use crate::host::AccessCheck as _;

/// `VIR_DOMAIN_EVENT_ID_LIFECYCLE`.
const EVENT_LIFECYCLE: i32 = 0;

impl Session {
    pub(super) fn own_call(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        packet: Packet,
    ) -> Result<Progress> {
        let args = &packet.payload;
        let reply = match procedure.number {
            remote::CONNECT_OPEN => return self.open(procedure, &packet),
            remote::CONNECT_CLOSE => {
                let opened = self.close();
                self.answer(&packet.header, Ok(Vec::new().into_reply()));
                // The client need not wait until a worker has been told.
                if let Some(opened) = opened {
                    self.close_connection(opened);
                }
                return Ok(Progress::Done);
            }
            remote::AUTH_LIST => match self.list_of_proofs() {
                Some(reply) => reply?,
                None => return Ok(self.prove(packet)),
            },
            remote::AUTH_POLKIT
            | remote::AUTH_SASL_INIT
            | remote::AUTH_SASL_START
            | remote::AUTH_SASL_STEP => return Ok(self.prove(packet)),
            remote::CONNECT_SET_IDENTITY => {
                let args = ConnectSetIdentityArgs::from_xdr(args)?;
                // Whoever decides may be asked over a bus.
                let call = self.running_call(procedure, &packet.header, self.server().ledger(""));
                let session = Arc::clone(self);
                let job = move || {
                    let done = session.set_identity(procedure, args);
                    session.worker_done(&call, done.map(|()| Vec::new().into_reply()), 0);
                };
                self.server().workers().submit(Priority::High, Box::new(job));
                return Ok(Progress::Later);
            }
            remote::CONNECT_REGISTER_CLOSE_CALLBACK => {
                self.set_close_callback(true)?;
                Vec::new()
            }
            remote::CONNECT_UNREGISTER_CLOSE_CALLBACK => {
                self.set_close_callback(false)?;
                Vec::new()
            }
            remote::CONNECT_DOMAIN_EVENT_REGISTER => {
                return self.legacy(procedure, &packet, EVENT_LIFECYCLE, Legacy::Register);
            }
            remote::CONNECT_DOMAIN_EVENT_DEREGISTER => {
                return self.legacy(procedure, &packet, EVENT_LIFECYCLE, Legacy::Deregister);
            }
            remote::CONNECT_DOMAIN_EVENT_REGISTER_ANY => {
                let event = ConnectDomainEventRegisterAnyArgs::from_xdr(args)?.event_id;
                return self.legacy(procedure, &packet, event, Legacy::RegisterAny);
            }
            remote::CONNECT_DOMAIN_EVENT_DEREGISTER_ANY => {
                let event = ConnectDomainEventDeregisterAnyArgs::from_xdr(args)?.event_id;
                return self.legacy(procedure, &packet, event, Legacy::DeregisterAny);
            }
            _ => return Err(procedure.missing()),
        };
        self.answer(&packet.header, Ok(reply.into_reply()));
        Ok(Progress::Done)
    }

    /// A step of proving who the client is. It may take as long as a person needs for a password.
    fn prove(self: &Arc<Self>, packet: Packet) -> Progress {
        let session = Arc::clone(self);
        self.server().runtime().spawn(async move {
            let header = packet.header;
            let reply = tokio::select! {
                reply = session.step_of_proof(&packet) => reply,
                () = session.gone.notified() => return,
            };
            session.answer(&header, reply.map(IntoReply::into_reply));
            session.finished();
        });
        Progress::Later
    }

    async fn step_of_proof(&self, packet: &Packet) -> Result<Vec<u8>> {
        let mut negotiation = self.negotiation.lock().await;
        let number = u32::try_from(packet.header.procedure).unwrap_or_default();
        let mut identity = self.state.lock().identity.clone();
        let reply = negotiation.call(number, &packet.payload, &mut identity).await;
        self.proof_done(&negotiation, identity, reply)
    }

    /// What proofs are asked for: known at once, unless another step is being done.
    fn list_of_proofs(&self) -> Option<Result<Vec<u8>>> {
        let mut negotiation = self.negotiation.try_lock().ok()?;
        let identity = self.state.lock().identity.clone();
        let reply = negotiation.list(&identity).and_then(|list| list.to_xdr());
        Some(self.proof_done(&negotiation, identity, reply))
    }

    /// What follows from a step.
    fn proof_done(
        &self,
        negotiation: &Negotiation,
        identity: ClientIdentity,
        reply: Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        // An answer to a question in between is no record's matter.
        if reply.is_err() || (negotiation.is_done() && !self.is_authenticated()) {
            let event = Event::Authenticated {
                method: negotiation.method(),
                success: reply.is_ok(),
            };
            let audit = Arc::clone(&self.server().security().audit);
            audit.record(event, &identity, self.address().as_deref());
        }
        if negotiation.is_hopeless() {
            self.end(Ending::Broken(VirtError::new(
                ErrorCode::AUTH_FAILED,
                "the client failed to prove who it is too often",
            )));
        }
        if negotiation.is_done() {
            let mut state = self.state.lock();
            state.identity = identity;
            if !std::mem::replace(&mut state.authenticated, true) {
                drop(state);
                self.server().known();
            }
        }
        reply
    }

    fn open(self: &Arc<Self>, procedure: &'static Procedure, packet: &Packet) -> Result<Progress> {
        let args = ConnectOpenArgs::from_xdr(&packet.payload)?;
        if !matches!(self.state.lock().phase, Phase::New) {
            return Err(VirtError::internal("connection already open").in_domain(ErrorDomain::RPC));
        }
        let header = packet.header;
        let name = args.name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = name
            && self.server().may_call_inline()
            && !self.server().security().access.enforced()
            && self.server().openings().are_quick(&self.listener().scope, name)
        {
            let begun = Instant::now();
            let opened = self.open_now(procedure, Some(name), args.flags);
            let took = begun.elapsed();
            if took > INLINE_MAX {
                self.server().openings().too_slow(&self.listener().scope, name);
                tracing::warn!(
                    "opening {name} took {took:?} on the I/O thread and goes to the workers from now on"
                );
            }
            self.answer(&header, opened.map(|()| Vec::new().into_reply()));
            return Ok(Progress::Done);
        }
        let call = self.running_call(procedure, &header, self.server().ledger(""));
        let session = Arc::clone(self);
        let job = move || {
            let _request = call.enter();
            let opened = session.open_now(procedure, args.name.as_deref(), args.flags);
            if let (Ok(()), Some(name)) = (&opened, &args.name) {
                session.server().learn_opening(&session.listener().scope, name);
            }
            session.worker_done(&call, opened.map(|()| Vec::new().into_reply()), 0);
        };
        self.server().workers().submit(Priority::High, Box::new(job));
        Ok(Progress::Later)
    }

    fn open_now(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        name: Option<&str>,
        flags: u32,
    ) -> Result<()> {
        let (identity, forced) = {
            let state = self.state.lock();
            (self.speaks_for(&state), state.read_only)
        };
        let read_only = forced || flags & CONNECT_RO != 0;
        let crate::host::OpenedFor {
            router,
            uri,
            driver,
            checked_there,
        } = self.server().host().open(&crate::host::OpenFor {
            name: name.filter(|name| !name.is_empty()),
            flags,
            identity: identity.clone(),
            read_only,
            scope: &self.listener().scope,
        })?;
        let access = Arc::clone(&self.server().security().access);
        // On a private socket somebody was asked already, or nobody has to be.
        if self.listener().scope != Scope::Isolated
            && let Err(error) = access.check_own(procedure, &identity, &driver)
        {
            let _ = router.close();
            return Err(error);
        }
        router.set_event_sink(self.sink())?;
        let session = Arc::downgrade(self);
        // A driver whose connections do not end by themselves need not know about it.
        if let Err(error) = router.on_closed(Box::new(move |reason| {
            if let Some(session) = session.upgrade() {
                session.driver_closed(reason);
            }
        })) {
            tracing::debug!("'{uri}' does not tell when it ends: {error}");
        }
        let opened = Arc::new(Opened {
            router,
            uri,
            driver,
            checked_there,
        });
        let mut state = self.state.lock();
        state.read_only = read_only;
        if matches!(state.phase, Phase::Closed) {
            drop(state);
            // The client left while its connection was being opened.
            self.close_connection(opened);
            return Err(super::dispatch::not_open());
        }
        let uri = opened.uri.clone();
        state.phase = Phase::Open(opened);
        drop(state);
        self.record(Event::Opened { uri: &uri, read_only });
        Ok(())
    }

    /// The client closes its connection, which is still to be closed behind the waist.
    fn close(self: &Arc<Self>) -> Option<Arc<Opened>> {
        let phase = std::mem::replace(&mut self.state.lock().phase, Phase::Closed);
        *self.subscriptions.lock() = super::events::Subscriptions::default();
        match phase {
            Phase::Open(opened) => Some(opened),
            Phase::New | Phase::Closed => None,
        }
    }

    /// Takes the identity that a client says for another: a proxy does, for those behind it.
    fn set_identity(&self, procedure: &'static Procedure, args: ConnectSetIdentityArgs) -> Result<()> {
        if args.flags != 0 {
            return Err(VirtError::invalid_arg(format_args!(
                "unsupported flags ({:#x}) in function remoteDispatchConnectSetIdentity",
                args.flags
            )));
        }
        if self.listener().scope == Scope::Isolated {
            return self.state.lock().identity.forward(args.params);
        }
        let opened = self.connection()?;
        // It is the proxy itself that must hold the permission, also when it has acted for somebody before.
        let (own, read_only, trusted) = {
            let state = self.state.lock();
            let identity = &state.identity;
            (identity.own(), state.read_only, identity.is_root_or_own_user())
        };
        // Everybody may come to look; a proxy acts for those of them who come to it.
        if read_only && !trusted {
            return Err(VirtError::new(
                ErrorCode::OPERATION_DENIED,
                "read only access prevents virConnectSetIdentity",
            ));
        }
        let access = Arc::clone(&self.server().security().access);
        access.check_own(procedure, &own, &opened.driver)?;
        self.state.lock().identity.forward(args.params)
    }

    fn set_close_callback(&self, wanted: bool) -> Result<()> {
        self.connection()?;
        let mut subscriptions = self.subscriptions.lock();
        if subscriptions.close && wanted {
            return Err(VirtError::internal(
                "the connection's close callback is registered already",
            ));
        }
        subscriptions.close = wanted;
        Ok(())
    }

    /// A registration of the old kind, which is one of the new kind made for the client.
    fn legacy(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        packet: &Packet,
        event: i32,
        what: Legacy,
    ) -> Result<Progress> {
        let opened = self.connection()?;
        let ledger = self.server().ledger(opened.router.driver_name());
        let call = self.running_call(procedure, &packet.header, ledger);
        let session = Arc::clone(self);
        let job = move || {
            let _request = call.enter();
            let done = match what {
                Legacy::Register | Legacy::RegisterAny => session.legacy_register(&opened, event),
                Legacy::Deregister | Legacy::DeregisterAny => session.legacy_deregister(&opened, event),
            };
            let reply = done.and_then(|()| match what {
                Legacy::Register => ConnectDomainEventRegisterReply { cb_registered: 1 }.to_xdr(),
                Legacy::Deregister => ConnectDomainEventRegisterReply { cb_registered: 0 }.to_xdr(),
                Legacy::RegisterAny | Legacy::DeregisterAny => Ok(Vec::new()),
            });
            session.worker_done(&call, reply.map(IntoReply::into_reply), 0);
        };
        self.server().workers().submit(Priority::High, Box::new(job));
        Ok(Progress::Later)
    }

    fn legacy_register(&self, opened: &Opened, event: i32) -> Result<()> {
        if self.subscriptions.lock().legacy.contains_key(&event) {
            let what = format_args!("domain event {event} already registered");
            return Err(VirtError::internal(what).in_domain(ErrorDomain::RPC));
        }
        let args = ConnectDomainEventCallbackRegisterAnyArgs {
            event_id: event,
            domain: None,
        };
        let reply = opened.router.call(OutgoingCall::new(
            PROGRAM_REMOTE,
            remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
            args.to_xdr()?,
        ))?;
        let callback = ConnectDomainEventCallbackRegisterAnyReply::from_xdr(&reply.payload)?.callback_id;
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.legacy.insert(event, callback);
        subscriptions.legacy_callbacks.insert(callback);
        Ok(())
    }

    fn legacy_deregister(&self, opened: &Opened, event: i32) -> Result<()> {
        let Some(callback) = self.subscriptions.lock().legacy.remove(&event) else {
            let what = format_args!("domain event {event} has no callback");
            return Err(VirtError::internal(what).in_domain(ErrorDomain::RPC));
        };
        let args = ConnectDomainEventCallbackDeregisterAnyArgs {
            callback_id: callback,
        };
        let done = opened.router.call(OutgoingCall::new(
            PROGRAM_REMOTE,
            remote::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY,
            args.to_xdr()?,
        ));
        self.subscriptions.lock().legacy_callbacks.remove(&callback);
        done.map(drop)
    }

    /// A call of the administration program.
    pub(super) fn admin_call(
        self: &Arc<Self>,
        procedure: &'static Procedure,
        packet: Packet,
    ) -> Result<Progress> {
        let Some(admin) = self.server().admin() else {
            return Err(rpc("this daemon has no administration"));
        };
        let call = self.running_call(procedure, &packet.header, self.server().ledger("admin"));
        let session = Arc::clone(self);
        let job = move || {
            let _request = call.enter();
            let reply = admin.call(&session, procedure, &packet.payload);
            session.worker_done(&call, reply.map(IntoReply::into_reply), 0);
        };
        self.server().workers().submit(Priority::High, Box::new(job));
        Ok(Progress::Later)
    }
}

#[derive(Clone, Copy)]
enum Legacy {
    Register,
    Deregister,
    RegisterAny,
    DeregisterAny,
}
