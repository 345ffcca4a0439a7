//! Answers one call inside the plugin: the generated dispatch, and around it what holds for drivers that take bytes.

use virt_util::Result;

use crate::access::Permission;
use crate::call::{CallContext, PROGRAM_REMOTE};
use crate::driver::{DriverConnection, MethodEntry};
use crate::host::Supports;
use crate::protocol::table::{self, DriverKind, Owner, Procedure};

/// Answers the call of `cx`.
pub(crate) fn answer(
    connection: &dyn DriverConnection,
    cx: &mut CallContext<'_>,
    args: &[u8],
) -> Result<Vec<u8>> {
    let passes_through = connection.passthrough().is_some();
    if passes_through
        && cx.authority.enforced
        && let Some(procedure) = table::procedure(cx.program(), cx.procedure())
    {
        // Nobody here reads the arguments, so every rule that may apply does. The driver has to see to them.
        let needed: Vec<Permission> = procedure.acl.iter().map(|rule| rule.permission).collect();
        cx.require(&needed);
    }
    let reply = crate::protocol::dispatch(connection, cx, args)?;
    cx.refuse_unauthorized()?;
    Ok(reply)
}

/// What to call a procedure in messages.
pub(crate) fn procedure_name(program: u32, procedure: u32) -> String {
    match table::procedure(program, procedure) {
        Some(procedure) => format!("procedure {}", procedure.method),
        None => format!("procedure {procedure} of program {program:#x}"),
    }
}

/// What a connection can do about a procedure.
pub(crate) fn supports(connection: &dyn DriverConnection, program: u32, procedure: u32) -> Supports {
    if connection.passthrough().is_some() {
        return Supports::IMPLEMENTED;
    }
    let Some(procedure) = table::procedure(program, procedure) else {
        return Supports::empty();
    };
    match (procedure.owner, methods(connection, procedure)) {
        // Features that all drivers have in common are answered without them.
        (Owner::Driver, None) if crate::protocol::is_feature_query(procedure) => Supports::IMPLEMENTED,
        (_, None) | (Owner::Daemon, _) => Supports::empty(),
        // Subscriptions have no methods. A driver that has nothing of a hypervisor's own program has no events of it.
        (Owner::Events, Some(methods)) => match procedure.program == PROGRAM_REMOTE
            || methods
                .iter()
                .any(|entry| is_in_program(entry, procedure.program))
        {
            true => Supports::IMPLEMENTED,
            false => Supports::empty(),
        },
        (Owner::Driver, Some(_)) => match Method::of(connection, procedure) {
            Method::Written(entry) if entry.inline_safe && procedure.inline => {
                Supports::IMPLEMENTED | Supports::INLINE
            }
            Method::Written(_) => Supports::IMPLEMENTED,
            _ if crate::protocol::is_feature_query(procedure) => Supports::IMPLEMENTED,
            Method::Missing | Method::Unrecorded => Supports::empty(),
        },
    }
}

/// What is known of the method behind a procedure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    /// It was written.
    Written(&'static MethodEntry),
    /// It was not.
    Missing,
    /// The driver has no record of its methods: the call will tell.
    Unrecorded,
}

impl Method {
    pub(crate) fn of(connection: &dyn DriverConnection, procedure: &Procedure) -> Self {
        match methods(connection, procedure) {
            Some([]) => Self::Unrecorded,
            methods => methods
                .and_then(|methods| MethodEntry::find(methods, procedure.method))
                .map_or(Self::Missing, Self::Written),
        }
    }
}

/// Whether the method is behind a procedure of that program.
fn is_in_program(entry: &MethodEntry, program: u32) -> bool {
    let mut programs = table::programs().filter(|known| known.number == program);
    programs.any(|known| {
        known
            .procedures
            .iter()
            .any(|procedure| procedure.method == entry.name)
    })
}

/// The methods that were written of the trait a procedure is in; `None` if the connection has no such trait.
fn methods(connection: &dyn DriverConnection, procedure: &Procedure) -> Option<&'static [MethodEntry]> {
    Some(match procedure.on {
        DriverKind::Hypervisor => connection.hypervisor()?.implemented_methods(),
        DriverKind::Network => connection.network()?.implemented_methods(),
        DriverKind::Interface => connection.interface()?.implemented_methods(),
        DriverKind::Storage => connection.storage()?.implemented_methods(),
        DriverKind::NodeDevice => connection.node_device()?.implemented_methods(),
        DriverKind::Nwfilter => connection.nwfilter()?.implemented_methods(),
        DriverKind::Secret => connection.secret()?.implemented_methods(),
        DriverKind::Admin => return None,
    })
}
