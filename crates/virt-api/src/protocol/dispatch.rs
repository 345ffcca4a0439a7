//! From the bytes of a call to a driver's method and back.
//!
//! Every call takes the same way, whoever makes it: the procedure is looked up, a read-only connection is refused, the
//! arguments are decoded, their rules are checked, permissions are required, the object is found and checked, the
//! method runs, and an answer whose permissions were never checked is refused. Start at [`dispatch`].
//!
//! Inside a process the limits of the network do not apply (libvirt has none there), so nothing here enforces them;
//! counts are still checked against the bytes at hand before anything is allocated. Whoever takes calls from a network
//! checks them first with [`Procedure::check_args`], and answers with [`Procedure::check_reply`].

use virt_util::types::check_flags;
use virt_util::xdr::{XdrDecoder, XdrEncoder};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::generated::dispatch as handlers;
use super::remote::{
    DomainCheckpointRef, DomainRef, DomainSnapshotRef, InterfaceRef, NetworkPortRef, NetworkRef,
    NodeDeviceRef, NwfilterBindingRef, NwfilterRef, SecretRef, StoragePoolRef, StorageVolRef,
};
use super::table::{self, Procedure, ReadOnly, Rule};
use super::traits::{
    AdminService, HypervisorDriver, InterfaceDriver, NetworkDriver, NodeDeviceDriver, NwfilterDriver,
    SecretDriver, StorageDriver,
};
use super::wire::Wire;
use crate::access::{
    Domain, DomainCheckpoint, DomainSnapshot, Found, Interface, Network, NetworkPort, NodeDevice, Nwfilter,
    NwfilterBinding, ObjectKind, Permission, Resolved, Resolver, Secret, StoragePool, StorageVol,
};
use crate::call::{
    CallContext, PROGRAM_ADMIN, PROGRAM_FERROVIRT, PROGRAM_LXC, PROGRAM_QEMU, PROGRAM_REMOTE, StreamMode,
};
use crate::driver::DriverConnection;
use crate::host::Supports;
use crate::serve::{self, Method};

/// Answers the call of `cx` from its arguments in XDR; the answer is XDR too.
pub fn dispatch(connection: &dyn DriverConnection, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
    let procedure = table::procedure(cx.program(), cx.procedure());
    if let Some(passthrough) = connection.passthrough() {
        // The other side knows procedures that we may not, and checks its own arguments.
        if let Some(procedure) = procedure {
            refuse_read_only(procedure, cx)?;
        }
        return passthrough.call(cx, args);
    }
    let Some((procedure, handler)) = procedure.zip(handler(cx.program(), cx.procedure())) else {
        return Err(unknown(cx.program(), cx.procedure()));
    };
    refuse_read_only(procedure, cx)?;
    check_attachments(procedure, cx)?;
    let mut call = Call {
        procedure,
        resolver: connection.resolver(),
        method: Method::of(connection, procedure),
        cx,
    };
    let reply = match handler {
        Handler::Hypervisor(_) if is_feature_query(procedure) => {
            features::answer(&mut call, connection.hypervisor(), args)
        }
        // Arguments are looked at also where nobody is there to take them.
        Handler::Hypervisor(run) => run(&mut call, connection.hypervisor().unwrap_or(&Nobody), args),
        Handler::Network(run) => run(&mut call, connection.network().unwrap_or(&Nobody), args),
        Handler::Interface(run) => run(&mut call, connection.interface().unwrap_or(&Nobody), args),
        Handler::Storage(run) => run(&mut call, connection.storage().unwrap_or(&Nobody), args),
        Handler::NodeDevice(run) => run(&mut call, connection.node_device().unwrap_or(&Nobody), args),
        Handler::Nwfilter(run) => run(&mut call, connection.nwfilter().unwrap_or(&Nobody), args),
        Handler::Secret(run) => run(&mut call, connection.secret().unwrap_or(&Nobody), args),
        Handler::Events
            if !serve::supports(connection, procedure.program, procedure.number)
                .contains(Supports::IMPLEMENTED) =>
        {
            Err(procedure.missing())
        }
        Handler::Events => events::answer(&mut call, args),
        Handler::Admin(_) | Handler::Daemon => Err(procedure.missing()),
        Handler::NotACall => Err(unknown(procedure.program, procedure.number)),
    }
    .map_err(|error| error.in_domain_if_none(connection.error_domain()))?;
    cx.refuse_unauthorized()?;
    Ok(reply)
}

/// The one call of a driver that is answered in part for all drivers: see [`features`].
pub(crate) fn is_feature_query(procedure: &Procedure) -> bool {
    procedure.program == PROGRAM_REMOTE
        && procedure.number == super::remote::procedure::CONNECT_SUPPORTS_FEATURE
}

/// Answers a call of the administration program.
pub fn dispatch_admin(service: &dyn AdminService, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
    let found = table::procedure(cx.program(), cx.procedure()).zip(handler(cx.program(), cx.procedure()));
    match found {
        Some((procedure, Handler::Admin(run))) => run(
            &mut Call {
                procedure,
                resolver: None,
                method: Method::Unrecorded,
                cx,
            },
            service,
            args,
        ),
        _ => Err(unknown(cx.program(), cx.procedure())),
    }
}

/// The error for a procedure that nobody knows. Clients look for its first words.
pub fn unknown(program: u32, procedure: u32) -> VirtError {
    VirtError::new(ErrorCode::RPC, format_args!("unknown procedure: {procedure}"))
        .in_domain(ErrorDomain::RPC)
        .caused_by(format_args!("program {program:#x} has no such call"))
}

/// The driver of what a connection has no driver for.
struct Nobody;

impl HypervisorDriver for Nobody {}
impl NetworkDriver for Nobody {}
impl InterfaceDriver for Nobody {}
impl StorageDriver for Nobody {}
impl NodeDeviceDriver for Nobody {}
impl NwfilterDriver for Nobody {}
impl SecretDriver for Nobody {}

/// What answers a procedure.
#[derive(Clone, Copy)]
#[allow(
    clippy::type_complexity,
    reason = "an alias over the trait would make its objects 'static"
)]
pub(crate) enum Handler {
    Hypervisor(fn(&mut Call<'_, '_>, &dyn HypervisorDriver, &[u8]) -> Result<Vec<u8>>),
    Network(fn(&mut Call<'_, '_>, &dyn NetworkDriver, &[u8]) -> Result<Vec<u8>>),
    Interface(fn(&mut Call<'_, '_>, &dyn InterfaceDriver, &[u8]) -> Result<Vec<u8>>),
    Storage(fn(&mut Call<'_, '_>, &dyn StorageDriver, &[u8]) -> Result<Vec<u8>>),
    NodeDevice(fn(&mut Call<'_, '_>, &dyn NodeDeviceDriver, &[u8]) -> Result<Vec<u8>>),
    Nwfilter(fn(&mut Call<'_, '_>, &dyn NwfilterDriver, &[u8]) -> Result<Vec<u8>>),
    Secret(fn(&mut Call<'_, '_>, &dyn SecretDriver, &[u8]) -> Result<Vec<u8>>),
    Admin(fn(&mut Call<'_, '_>, &dyn AdminService, &[u8]) -> Result<Vec<u8>>),
    /// The event registry.
    Events,
    /// The daemon, which never passes it on.
    Daemon,
    /// Nobody: an event has this number.
    NotACall,
}

/// `VIR_TYPED_PARAM_STRING_OKAY`: see [`Procedure::typed_strings`].
pub(crate) const TYPED_PARAM_STRING_OKAY: u32 = 4;

fn handler(program: u32, number: u32) -> Option<Handler> {
    let handlers: &[Handler] = match program {
        PROGRAM_REMOTE => &handlers::REMOTE,
        PROGRAM_QEMU => &handlers::QEMU,
        PROGRAM_LXC => &handlers::LXC,
        PROGRAM_ADMIN => &handlers::ADMIN,
        PROGRAM_FERROVIRT => &handlers::FERROVIRT,
        _ => return None,
    };
    handlers.get((number as usize).checked_sub(1)?).copied()
}

fn refuse_read_only(procedure: &Procedure, cx: &CallContext<'_>) -> Result<()> {
    if cx.read_only() && procedure.read_only == ReadOnly::Deny {
        return Err(procedure.refuse_read_only());
    }
    Ok(())
}

/// Descriptors and stream are as the procedure has them.
fn check_attachments(procedure: &Procedure, cx: &CallContext<'_>) -> Result<()> {
    let count = cx.fds().len();
    let (min, max) = match procedure.fds_in {
        Some(fds) => (fds.min, fds.max.unwrap_or(usize::MAX)),
        None => (0, 0),
    };
    if count < min || count > max {
        let expected = match (min, max) {
            (0, 0) => "none".to_owned(),
            (min, max) if min == max => min.to_string(),
            (min, _) => format!("at least {min}"),
        };
        let detail = format!(
            "{} came with {count} file descriptors, {expected} expected",
            procedure.public_name()
        );
        // One of a fixed number is missed by whoever takes the message apart, one of any number by the function.
        return Err(match count < min && max == min {
            true => VirtError::internal(detail).in_domain(ErrorDomain::RPC),
            false => procedure.refuse(ErrorCode::INVALID_ARG, detail),
        });
    }
    if procedure.stream.is_some() && cx.stream_mode() == StreamMode::None {
        return Err(VirtError::invalid_arg(format_args!(
            "{} needs a stream and came without one",
            procedure.public_name()
        )));
    }
    Ok(())
}

/// One call on its way through a generated handler.
pub(crate) struct Call<'a, 'b> {
    procedure: &'static Procedure,
    resolver: Option<&'a dyn Resolver>,
    method: Method,
    pub(crate) cx: &'a mut CallContext<'b>,
}

impl Call<'_, '_> {
    /// The arguments.
    pub(crate) fn decode<A: Wire<Value = A>>(&self, bytes: &[u8]) -> Result<A> {
        let mut input = XdrDecoder::without_limits(bytes);
        let args = A::get(&mut input)?;
        input.finish()?;
        Ok(args)
    }

    /// There are no arguments.
    pub(crate) fn no_arguments(&self, bytes: &[u8]) -> Result<()> {
        XdrDecoder::new(bytes).finish()
    }

    /// The answer.
    pub(crate) fn encode<R: Wire<Value = R>>(&self, reply: &R) -> Result<Vec<u8>> {
        let mut out = XdrEncoder::without_limits();
        R::put(reply, &mut out)?;
        Ok(out.into_bytes())
    }

    /// The empty answer.
    pub(crate) fn done(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Requires the permissions of a procedure without conditions.
    pub(crate) fn admit(&mut self) -> Result<()> {
        self.require(None)
    }

    /// Requires the permissions, where `subject` is the argument that conditions look at.
    pub(crate) fn admit_on(&mut self, subject: u64) -> Result<()> {
        if let ReadOnly::DenyIf(when) = self.procedure.read_only
            && self.cx.read_only()
            && when.holds(subject)
        {
            return Err(self.procedure.refuse_read_only());
        }
        self.require(Some(subject))
    }

    fn require(&mut self, subject: Option<u64>) -> Result<()> {
        if !self.cx.authority.enforced {
            return Ok(());
        }
        let applying = |rules: &'static [table::AclRule]| -> Vec<Permission> {
            rules
                .iter()
                .filter(|rule| rule.applies(subject))
                .map(|rule| rule.permission)
                .collect()
        };
        let needed = applying(self.procedure.acl);
        let connection = needed.iter().any(|needed| needed.object == ObjectKind::Connect);
        self.cx.require(&needed);
        self.cx.require_for_listing(&applying(self.procedure.filter));
        if connection {
            self.cx.authorize_connection()?;
        }
        Ok(())
    }

    /// What is looked at before the objects of the call: whether the driver has the method, whether it knows the flags,
    /// and what else it wants of the arguments.
    pub(crate) fn before_objects(&self, flags: u32, bytes: &[u8]) -> Result<()> {
        let method = match self.method {
            Method::Written(method) => method,
            Method::Missing => return Err(self.procedure.missing()),
            Method::Unrecorded => return Ok(()),
        };
        if let Some(known) = method.flags {
            check_flags(known.function, flags, known.bits)?;
        }
        match method.first {
            Some(check) => check(bytes),
            None => Ok(()),
        }
    }

    /// A check written by hand has this result.
    pub(crate) fn rule(&self, checked: Result<()>) -> Result<()> {
        checked.map_err(|error| error.in_domain_if_none(self.procedure.module))
    }

    /// The error of the rule of that index.
    pub(crate) fn broken_rule(&self, index: usize) -> Result<Vec<u8>> {
        let name = self.procedure.public_name();
        let error = match self.procedure.rules.get(index) {
            Some(Rule::NonEmpty(argument)) => format!("argument '{argument}' of {name} must not be empty"),
            Some(Rule::Positive(argument)) => {
                format!("argument '{argument}' of {name} must be greater than zero")
            }
            Some(Rule::NonNegative(argument)) => {
                format!("argument '{argument}' of {name} must be zero or greater")
            }
            Some(Rule::NonZero(argument)) => format!("argument '{argument}' of {name} must not be zero"),
            Some(Rule::Present(argument)) => format!("argument '{argument}' of {name} is missing"),
            Some(Rule::AtMost(argument, limit)) => format!(
                "argument '{argument}' of {name} may have at most {} items ({})",
                limit.value, limit.name
            ),
            Some(Rule::Below(argument, limit)) => format!(
                "argument '{argument}' of {name} must be below {} ({})",
                limit.value, limit.name
            ),
            Some(Rule::Exclusive(one, other)) => {
                format!(
                    "flags '{}' and '{}' of {name} exclude each other",
                    one.name, other.name
                )
            }
            Some(Rule::Requires(one, other)) => {
                format!("flag '{}' of {name} needs flag '{}'", one.name, other.name)
            }
            Some(Rule::Check(..)) | None => format!("the arguments of {name} do not fit together"),
        };
        Err(self.procedure.refuse(ErrorCode::INVALID_ARG, error))
    }

    fn resolve<K, T>(
        &mut self,
        key: K,
        find: impl FnOnce(&dyn Resolver, &T) -> Result<Found<T>>,
    ) -> Result<Resolved<T>>
    where
        T: From<K> + crate::access::AccessObject,
    {
        let Some(resolver) = self.resolver else {
            return Err(self.procedure.missing());
        };
        let found = find(resolver, &T::from(key))?;
        Resolved::admit(self.cx, found)
    }
}

macro_rules! resolvers {
    ($($name:ident: $wire:ident => $object:ident;)*) => {
        impl Call<'_, '_> {
            $(pub(crate) fn $name(&mut self, key: $wire) -> Result<Resolved<$object>> {
                self.resolve(key, |resolver, key| resolver.$name(key))
            })*
        }
    };
}

resolvers! {
    domain: DomainRef => Domain;
    domain_snapshot: DomainSnapshotRef => DomainSnapshot;
    domain_checkpoint: DomainCheckpointRef => DomainCheckpoint;
    network: NetworkRef => Network;
    network_port: NetworkPortRef => NetworkPort;
    interface: InterfaceRef => Interface;
    storage_pool: StoragePoolRef => StoragePool;
    storage_vol: StorageVolRef => StorageVol;
    node_device: NodeDeviceRef => NodeDevice;
    secret: SecretRef => Secret;
    nwfilter: NwfilterRef => Nwfilter;
    nwfilter_binding: NwfilterBindingRef => NwfilterBinding;
}

pub(crate) mod checks;
mod events;
pub mod features;
