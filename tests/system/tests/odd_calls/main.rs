//! Calls with odd arguments, to libvirt's daemon and to ours: each has to be answered alike, and refused with the same
//! code and domain. Only packets show this, since libraries check arguments before they send them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod arguments;
mod host;
mod intended;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use virt_api::call::{PROGRAM_LXC, PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::need;
use virt_api::protocol::table::{self, Class, Kind, Procedure, ReadOnly};
use virt_api::rpc::Status;
use virt_api::rpc::error::ErrorMessage;
use virt_api::testkit::stock::Stock;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::wire::Wire;
use virt_util::xdr::XdrDecode;

use arguments::Odd;

/// `VIR_CONNECT_RO`.
const READ_ONLY: u32 = 1;

/// A call that both daemons are sent.
struct Call<'a> {
    procedure: &'static Procedure,
    odd: &'a Odd,
    read_only: bool,
}

impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { procedure, odd, .. } = self;
        write!(f, "{} ({})", procedure.method, odd.name)?;
        match self.read_only {
            true => f.write_str(", read-only"),
            false => Ok(()),
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answered,
    /// With an error of this code and this domain.
    Refused(i32, i32),
    /// The daemon ended the connection.
    Closed,
}

impl Outcome {
    fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(code, _) => Some(*code),
            Self::Answered | Self::Closed => None,
        }
    }
}

/// One daemon, and a connection to it.
struct Side {
    socket: PathBuf,
    uri: String,
    wire: Option<Wire>,
}

impl Side {
    fn new(socket: PathBuf, uri: String) -> Self {
        Self {
            socket,
            uri,
            wire: None,
        }
    }

    fn send(&mut self, call: &Call<'_>, args: &[u8]) {
        let (socket, uri) = (&self.socket, &self.uri);
        let wire = self.wire.get_or_insert_with(|| {
            let opened = Wire::connect(socket).and_then(|mut wire| {
                wire.begin_with(uri, if call.read_only { READ_ONLY } else { 0 })?;
                Ok(wire)
            });
            opened.unwrap_or_else(|error| panic!("{} before {call}: {error}", socket.display()))
        });
        // What cannot be sent is not answered either.
        let _ = wire.send_to(call.procedure.program, call.procedure.number, args);
    }

    /// The outcome, and what was said.
    fn receive(&mut self) -> (Outcome, String) {
        match self.wire.as_mut().unwrap().receive() {
            Err(error) => {
                self.wire = None;
                (Outcome::Closed, error.to_string())
            }
            Ok(packet) if packet.header.status == Status::Ok => (Outcome::Answered, String::new()),
            Ok(packet) => {
                let error = ErrorMessage::from_xdr(&packet.payload).unwrap();
                (
                    Outcome::Refused(error.code, error.domain),
                    error.message.unwrap_or_default(),
                )
            }
        }
    }
}

/// Whether the next call may find things otherwise than this one did, if it is answered.
fn leaves_traces(procedure: &Procedure) -> bool {
    procedure.class != Class::Query || procedure.read_only != ReadOnly::Allow || procedure.stream.is_some()
}

/// All procedures that clients may call.
fn procedures() -> impl Iterator<Item = &'static Procedure> {
    [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC]
        .into_iter()
        .flat_map(|program| table::procedures(program).iter().copied())
        .filter(|procedure| procedure.kind == Kind::Call)
}

/// What two daemons make different of all odd calls, by the kind of difference; and how many calls there were.
fn differences(theirs: &mut Side, ours: &mut Side) -> (BTreeMap<(Outcome, Outcome), Vec<String>>, usize) {
    let mut different: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for (procedure, read_only) in procedures().flat_map(|procedure| [(procedure, false), (procedure, true)]) {
        (theirs.wire, ours.wire) = (None, None);
        for odd in &arguments::odd_calls(procedure) {
            if intended::is_left_out(procedure, odd) {
                continue;
            }
            let call = Call {
                procedure,
                odd,
                read_only,
            };
            let args = odd.encode(procedure);
            theirs.send(&call, &args);
            ours.send(&call, &args);
            let ((expected, said), (found, says)) = (theirs.receive(), ours.receive());
            count += 1;
            if leaves_traces(procedure) && [&expected, &found].contains(&&Outcome::Answered) {
                // Each connection has a host of its own.
                (theirs.wire, ours.wire) = (None, None);
            }
            if expected != found && !intended::is_intended(&call, &expected, &found) {
                different
                    .entry((expected, found))
                    .or_default()
                    .push(format!("{call}: '{said}', '{says}'"));
            }
        }
    }
    (different, count)
}

#[test]
fn what_is_wrong_with_a_call_is_told_as_libvirt_tells_it() {
    need!(program "libvirtd");
    let (stock, daemon) = (Stock::plain(), Daemon::start());
    let file = stock.room().file("host.xml", &host::document());
    let uri = |path: &Path| format!("test://{}", path.display());
    let mut theirs = Side::new(stock.room().socket(), uri(&file));
    let mut ours = Side::new(daemon.socket(), uri(&file));
    let (different, count) = differences(&mut theirs, &mut ours);
    assert!(count > 10_000, "only {count} calls were made");
    let report: String = different
        .iter()
        .map(|((expected, found), calls)| {
            format!("{expected:?} is {found:?} here:\n    {}\n", calls.join("\n    "))
        })
        .collect();
    assert!(report.is_empty(), "of {count} calls\n{report}");
}
