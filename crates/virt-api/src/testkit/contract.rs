//! The rules that every driver keeps, whatever it drives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_util::time::Deadline;
use virt_util::{ErrorCode, VirtError};

use super::arguments::{self, Sample};
use crate::abi::{DriverHandle, OpenRequest};
use crate::call::{Caller, OutgoingCall, PROGRAM_REMOTE};
use crate::driver::CONNECT_RO;
use crate::events::EventSink;
use crate::host::{OpenedConnection, Supports};
use crate::protocol::table::{self, Class, Kind, Owner, ReadOnly};

/// A rule that a driver broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, in a sentence.
    pub rule: &'static str,
    /// What happened instead.
    pub found: String,
}

struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: &'static str, found: impl std::fmt::Display) {
        self.0.push(Violation {
            rule,
            found: found.to_string(),
        });
    }
}

/// Takes nobody's events.
struct NoSink;

impl EventSink for NoSink {
    fn event(&self, _: u32, _: u32, _: &[i32], _: &[u8]) {}
}

/// Counts what it is told.
#[derive(Default)]
struct Counting(Mutex<usize>);

impl EventSink for Counting {
    fn event(&self, _: u32, _: u32, _: &[i32], _: &[u8]) {
        *self.0.lock() += 1;
    }
}

/// Opens `uri` and holds the driver against the rules. Changes nothing: every object that is named does not exist, and
/// what names no object is only called where it reads. Answers the rules that were broken.
///
/// ```
/// use virt_api::plugin::{DriverHandle, OpenRequest};
/// use virt_api::testkit::{FakeHost, check_driver, sample_driver};
///
/// # fn main() -> virt_api::Result<()> {
/// let driver = DriverHandle::builtin("sample", sample_driver, FakeHost::new())?;
/// assert_eq!(check_driver(&driver, "sample:///default"), []);
/// # Ok(())
/// # }
/// ```
pub fn check_driver(driver: &DriverHandle, uri: &str) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    let request = OpenRequest {
        uri: uri.to_owned(),
        ..OpenRequest::default()
    };
    match driver.open(&request) {
        Ok(connection) => {
            if let Err(error) = connection.set_event_sink(Arc::new(NoSink)) {
                findings.add("a connection takes an event sink", error);
            }
            unknown_procedures(&connection, &mut findings);
            every_procedure(&connection, &mut findings);
            two_connections(driver, &request, &connection, &mut findings);
            events(&connection, &mut findings);
            closing(&connection, &mut findings);
        }
        Err(error) => findings.add("the URI can be opened", error),
    }
    read_only(driver, &request, &mut findings);
    findings.0
}

/// How long a call about nothing may take.
const PATIENCE: Duration = Duration::from_secs(2);

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

fn panicked(error: &VirtError) -> bool {
    error.code() == ErrorCode::INTERNAL_ERROR && error.message().contains(" panicked")
}

fn unknown_procedures(connection: &dyn Caller, findings: &mut Findings) {
    for (program, procedure) in [(PROGRAM_REMOTE, 0), (PROGRAM_REMOTE, 999_999), (0x1234_5678, 1)] {
        match connection.call(OutgoingCall::new(program, procedure, Vec::new())) {
            Ok(_) => findings.add(
                "an unknown procedure is refused",
                format_args!("{program:#x}/{procedure} was answered"),
            ),
            Err(error) if panicked(&error) => findings.add("no call panics", error),
            Err(_) => {}
        }
    }
}

/// Every procedure: with arguments that are cut, and with arguments about what does not exist.
fn every_procedure(connection: &crate::abi::ConnectionHandle, findings: &mut Findings) {
    for procedure in table::programs().flat_map(|program| program.procedures) {
        if procedure.kind != Kind::Call || procedure.owner != Owner::Driver {
            continue;
        }
        let Ok(args) = arguments::sample(procedure, &Sample::default()) else {
            continue;
        };
        if let Some(cut) = args.len().checked_sub(4).and_then(|length| args.get(..length)) {
            match arguments::call(connection, procedure, cut.to_vec(), soon()) {
                Ok(_) => findings.add("arguments that end early are refused", procedure.name),
                Err(error) if panicked(&error) => findings.add("no call panics", error),
                Err(_) => {}
            }
        }
        let supports = connection.supports(procedure.program, procedure.number);
        let harmless = procedure.class == Class::Query || names_an_object(procedure);
        if !harmless && supports.contains(Supports::IMPLEMENTED) {
            continue;
        }
        let began = Instant::now();
        let answer = arguments::call(connection, procedure, args, soon());
        if began.elapsed() > 4 * PATIENCE {
            findings.add("a call ends at its deadline", procedure.name);
        }
        match answer {
            Err(error) if panicked(&error) => findings.add("no call panics", error),
            Ok(_) if !supports.contains(Supports::IMPLEMENTED) => {
                findings.add("what was not written is not answered", procedure.name);
            }
            _ => {}
        }
    }
}

/// Whether the arguments start with a reference to an object, which the sample makes one that does not exist.
fn names_an_object(procedure: &table::Procedure) -> bool {
    use crate::protocol::shape::Shape;
    matches!(
        procedure.args,
        Some(Shape::Struct { fields, .. })
            if fields.first().is_some_and(|(_, first)| matches!(first, Shape::Struct { .. }))
    )
}

fn two_connections(
    driver: &DriverHandle,
    request: &OpenRequest,
    first: &dyn OpenedConnection,
    findings: &mut Findings,
) {
    const RULE: &str = "connections are independent of each other";
    match driver.open(request) {
        Ok(second) => {
            if let Err(error) = second.close() {
                findings.add("a connection can be closed", error);
            }
            if !first.is_alive().unwrap_or_default() {
                findings.add(RULE, "closing one ended the other");
            }
        }
        Err(error) => findings.add(RULE, error),
    }
}

fn events(connection: &dyn Caller, findings: &mut Findings) {
    use crate::protocol::clients::RemoteClient;
    let client = RemoteClient::new(connection);
    let registered = match client.connect_domain_event_callback_register_any(0, None) {
        Ok(reply) => reply.callback_id,
        // A driver without guests has no such events.
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => return,
        Err(error) => return findings.add("events can be registered for", error),
    };
    if let Err(error) = client.connect_domain_event_callback_deregister_any(registered) {
        findings.add("a registration can be ended", error);
    }
    if client
        .connect_domain_event_callback_deregister_any(registered)
        .is_ok()
    {
        findings.add("a registration ends once", "a second time was answered");
    }
}

fn closing(connection: &crate::abi::ConnectionHandle, findings: &mut Findings) {
    for _ in 0..2 {
        if let Err(error) = connection.close() {
            findings.add("closing twice does no harm", error);
        }
    }
    match connection.call(OutgoingCall::new(PROGRAM_REMOTE, 3, Vec::new())) {
        Ok(_) => findings.add("a closed connection answers nothing", "a call was answered"),
        Err(error) if error.code() != ErrorCode::INVALID_CONN => {
            findings.add("a closed connection says so", error);
        }
        Err(_) => {}
    }
}

fn read_only(driver: &DriverHandle, request: &OpenRequest, findings: &mut Findings) {
    let request = OpenRequest {
        flags: CONNECT_RO,
        ..request.clone()
    };
    let connection = match driver.open(&request) {
        Ok(connection) => connection,
        Err(error) => return findings.add("the URI can be opened read-only", error),
    };
    let sink = Arc::new(Counting::default());
    if let Err(error) = connection.set_event_sink(sink) {
        findings.add("a connection takes an event sink", error);
    }
    for procedure in table::programs().flat_map(|program| program.procedures) {
        if procedure.kind != Kind::Call
            || procedure.owner != Owner::Driver
            || procedure.read_only != ReadOnly::Deny
            || !connection
                .supports(procedure.program, procedure.number)
                .contains(Supports::IMPLEMENTED)
        {
            continue;
        }
        let Ok(args) = arguments::sample(procedure, &Sample::default()) else {
            continue;
        };
        match arguments::call(&connection, procedure, args, soon()) {
            Err(error) if error.code() == ErrorCode::OPERATION_DENIED => {}
            Err(error) => findings.add(
                "a read-only connection refuses to write",
                format_args!("{}: {error}", procedure.name),
            ),
            Ok(_) => findings.add("a read-only connection refuses to write", procedure.name),
        }
    }
}
