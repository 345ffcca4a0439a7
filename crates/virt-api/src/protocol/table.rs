//! What is known about each procedure besides its types: who answers it, what it needs, what is checked before it.
//!
//! The rows are generated. Read [`Procedure`] for what each column means, [`procedure`] to look one up.

use virt_util::xdr::{XdrEncode, XdrEncoder};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::generated;
use super::shape::Shape;
use crate::access::{ObjectKind, Permission};

/// One procedure.
#[derive(Debug)]
pub struct Procedure {
    /// The number of its program.
    pub program: u32,
    /// Its number in the program, from 1.
    pub number: u32,
    /// Its name: `domain_get_info`.
    pub name: &'static str,
    /// The method of the driver's trait; the same as the name, with the program's in front outside the main program.
    pub method: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Call, event or message.
    pub kind: Kind,
    /// What its arguments look like; of an event, its message. `None` for nothing.
    pub args: Option<&'static Shape>,
    /// What its answer looks like. `None` for nothing.
    pub reply: Option<&'static Shape>,
    /// The public functions of libvirt behind it, the one of the same name first.
    pub apis: &'static [&'static str],
    /// Whose it is.
    pub on: DriverKind,
    /// Whose errors its refusals are as long as no driver has been asked.
    pub module: ErrorDomain,
    /// Who answers it.
    pub owner: Owner,
    /// How it behaves in time.
    pub class: Class,
    /// Whether workers are reserved for it.
    pub priority: Priority,
    /// Whether it *may* be answered on the I/O thread, where the driver's method is marked inline-safe too.
    pub inline: bool,
    /// Whether it is allowed before authentication.
    pub before_auth: bool,
    /// Whether clients add a flag (4, `VIR_TYPED_PARAM_STRING_OKAY`) to say that they understand strings among typed
    /// parameters. All that we serve do; drivers do not see the flag.
    pub typed_strings: bool,
    /// Whether a read-only connection may call it.
    pub read_only: ReadOnly,
    /// Why `read_only` differs from libvirt's rule, where it does.
    pub read_only_overridden: Option<&'static str>,
    /// The permissions that the caller needs.
    pub acl: &'static [AclRule],
    /// Why it needs none.
    pub acl_none: Option<&'static str>,
    /// The permissions that an object needs to appear in the answer.
    pub filter: &'static [AclRule],
    /// Where the object is, when it is not in the arguments: the driver's method authorizes.
    pub object: Option<ObjectSource>,
    /// What is checked about the arguments before the driver's method runs, whoever calls.
    pub rules: &'static [Rule],
    /// What the arguments may ask for over the network.
    pub counts: &'static [Count],
    /// The stream it opens.
    pub stream: Option<StreamUse>,
    /// Descriptors that come with the call.
    pub fds_in: Option<Descriptors>,
    /// Descriptors that go with the answer.
    pub fds_out: Option<Descriptors>,
}

/// How a procedure is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asked by a client, answered once.
    Call,
    /// Told to a client.
    Event,
    /// Told by either side, without an answer.
    Message,
}

/// Whose trait a procedure is in; a connection may have a driver of its own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriverKind {
    /// Guests and the host.
    Hypervisor,
    /// Virtual networks.
    Network,
    /// Host interfaces.
    Interface,
    /// Pools and volumes.
    Storage,
    /// Host devices.
    NodeDevice,
    /// Network filters.
    Nwfilter,
    /// Secrets.
    Secret,
    /// The daemon's administration.
    Admin,
}

impl DriverKind {
    /// Its name, as manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hypervisor => "hypervisor",
            Self::Network => "network",
            Self::Interface => "interface",
            Self::Storage => "storage",
            Self::NodeDevice => "node-device",
            Self::Nwfilter => "nwfilter",
            Self::Secret => "secret",
            Self::Admin => "admin",
        }
    }
}

/// Who answers a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The driver's method.
    Driver,
    /// The daemon, before any driver is asked.
    Daemon,
    /// The event registry of the connection.
    Events,
}

/// How a procedure behaves in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads state.
    Query,
    /// Changes one object; waits in the object's lane.
    Change,
    /// May take minutes: start, save, migration, storage.
    Long,
    /// Talks to the agent inside the guest.
    Agent,
    /// Steers or ends what is running: goes beside a running job.
    Control,
    /// Registers for events, or ends that.
    Event,
    /// Opens, authenticates or closes.
    Session,
}

/// libvirt's priority of a procedure. High reserves workers; it does not promise speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Waits for any worker.
    Low,
    /// Has workers reserved.
    High,
}

/// Whether a read-only connection may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {
    /// It may.
    Allow,
    /// It may not.
    Deny,
    /// It may not where the condition holds.
    DenyIf(Condition),
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The argument's name.
    pub argument: &'static str,
    /// What is tested.
    pub test: Test,
    /// The flags, or the number.
    pub value: u64,
    /// libvirt's names of the flags or the number.
    pub names: &'static [&'static str],
}

/// The test of a [`Condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Any of the flags is set.
    Any,
    /// All of the flags are set.
    All,
    /// None of the flags is set.
    None,
    /// The argument is the number.
    Equal,
}

impl Condition {
    /// Whether it holds for the value of its argument.
    pub fn holds(&self, argument: u64) -> bool {
        match self.test {
            Test::Any => argument & self.value != 0,
            Test::All => argument & self.value == self.value,
            Test::None => argument & self.value == 0,
            Test::Equal => argument == self.value,
        }
    }
}

/// A permission that is needed.
#[derive(Clone, Copy, Debug)]
pub struct AclRule {
    /// Which.
    pub permission: Permission,
    /// When; `None` for always.
    pub when: Option<Condition>,
    /// Why this rule differs from libvirt's, where it does.
    pub overridden: Option<&'static str>,
}

impl AclRule {
    /// A rule without condition.
    pub(crate) const fn always(object: ObjectKind, name: &'static str) -> Self {
        Self {
            permission: Permission { object, name },
            when: None,
            overridden: None,
        }
    }

    /// Whether the rule applies to a call whose conditional argument is `subject`.
    pub fn applies(&self, subject: Option<u64>) -> bool {
        match (self.when, subject) {
            (None, _) => true,
            (Some(when), Some(subject)) => when.holds(subject),
            // A condition on an argument that nobody read: the careful answer.
            (Some(_), None) => true,
        }
    }
}

/// Where the object of a procedure is that no argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectSource {
    /// In a document.
    Xml,
    /// Found by a key: name, UUID, id, path, address.
    Key,
    /// In a saved image.
    File,
    /// Named by an incoming migration.
    Name,
    /// In typed parameters.
    Params,
    /// A running process.
    Process,
    /// Known to another driver.
    Foreign,
}

/// A flag or constant with libvirt's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name.
    pub name: &'static str,
    /// The value.
    pub value: u32,
}

/// A check of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A string, list or map of bytes has something in it (where it is given).
    NonEmpty(&'static str),
    /// A number is above zero.
    Positive(&'static str),
    /// A number is zero or above.
    NonNegative(&'static str),
    /// A number is not zero.
    NonZero(&'static str),
    /// An argument that may be missing on the wire is there.
    Present(&'static str),
    /// A list has no more items than the constant.
    AtMost(&'static str, Flag),
    /// A check written by hand (`dispatch/checks.rs`), and the arguments it looks at.
    Check(&'static str, &'static [&'static str]),
    /// A number is below the constant.
    Below(&'static str, Flag),
    /// Two flags exclude each other.
    Exclusive(Flag, Flag),
    /// The first flag needs the second, or one of the second where several are named.
    Requires(Flag, Flag),
}

/// How much a call may ask for over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The arguments whose product it is: numbers, and lists by their length. None may be negative.
    pub arguments: &'static [&'static str],
    /// The most it may be.
    pub most: Option<u32>,
    /// The code of the error.
    pub code: ErrorCode,
}

/// The stream of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamUse {
    /// Where the data goes mainly.
    pub direction: StreamDirection,
    /// Data goes the other way too.
    pub both: bool,
    /// The flag that allows holes.
    pub sparse: Option<Flag>,
}

/// Where the data of a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamDirection {
    /// From the client to the driver.
    In,
    /// From the driver to the client.
    Out,
}

/// How many descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// At least.
    pub min: usize,
    /// At most; `None` leaves it to the packet's limit.
    pub max: Option<usize>,
}

/// One permission of an object, and what holds for it before a policy says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionInfo {
    /// The permission.
    pub permission: Permission,
    /// libvirt's number of it among the object's.
    pub value: u32,
    /// Clients have it unless a policy takes it away.
    pub anonymous: bool,
}

impl PermissionInfo {
    pub(crate) const fn new(object: ObjectKind, name: &'static str, value: u32, anonymous: bool) -> Self {
        Self {
            permission: Permission { object, name },
            value,
            anonymous,
        }
    }
}

impl Procedure {
    const fn base(program: u32, kind: Kind) -> Self {
        Self {
            program,
            number: 0,
            name: "",
            method: "",
            doc: "",
            kind,
            args: None,
            reply: None,
            apis: &[],
            on: DriverKind::Hypervisor,
            module: ErrorDomain::NONE,
            owner: Owner::Driver,
            class: Class::Event,
            priority: Priority::Low,
            inline: false,
            before_auth: false,
            typed_strings: false,
            read_only: ReadOnly::Allow,
            read_only_overridden: None,
            acl: &[],
            acl_none: None,
            filter: &[],
            object: None,
            rules: &[],
            counts: &[],
            stream: None,
            fds_in: None,
            fds_out: None,
        }
    }

    pub(crate) const fn call(program: u32) -> Self {
        Self::base(program, Kind::Call)
    }

    pub(crate) const fn event(program: u32) -> Self {
        Self::base(program, Kind::Event)
    }

    pub(crate) const fn message(program: u32) -> Self {
        Self::base(program, Kind::Message)
    }

    /// What error messages call it: the public function, or its own name where there is none.
    pub fn public_name(&self) -> &'static str {
        self.apis.first().copied().unwrap_or(self.name)
    }

    /// The refusal of a call before any driver is asked.
    pub fn refuse(&self, code: ErrorCode, detail: impl std::fmt::Display) -> VirtError {
        VirtError::new(code, detail).in_domain(self.module)
    }

    /// The refusal of a call that no driver answers.
    pub fn missing(&self) -> VirtError {
        self.refuse(ErrorCode::NO_SUPPORT, self.public_name())
    }

    /// The refusal of a call that changes something, on a connection that may only look.
    pub fn refuse_read_only(&self) -> VirtError {
        self.refuse(
            ErrorCode::OPERATION_DENIED,
            format_args!("read only access prevents {}", self.public_name()),
        )
    }

    /// Checks bytes for the network against the limits of the arguments.
    pub fn check_args(&self, bytes: &[u8]) -> Result<()> {
        check(self.args, bytes)
    }

    /// Checks what arguments from the network ask for. Bytes that [`Procedure::check_args`] has passed are expected.
    pub fn check_counts(&self, bytes: &[u8]) -> Result<()> {
        let Some(shape) = self.args else { return Ok(()) };
        for count in self.counts {
            let refuse = |what: std::fmt::Arguments<'_>| {
                let most = count.most.map_or(i64::from(i32::MAX), i64::from);
                let detail = format!("{} asks for {what}: 0 to {most} expected", self.public_name());
                Err(VirtError::new(count.code, detail).in_domain(ErrorDomain::RPC))
            };
            let mut product = 1_i64;
            for argument in count.arguments {
                let number = shape.count_of(argument, bytes)?.unwrap_or(0);
                if number < 0 {
                    return refuse(format_args!("'{argument}' {number}"));
                }
                product = product.saturating_mul(number);
            }
            if count.most.is_some_and(|most| product > most.into()) {
                return refuse(format_args!("'{}' {product}", count.arguments.join("' times '")));
            }
        }
        Ok(())
    }

    /// Checks bytes for the network against the limits of the answer.
    pub fn check_reply(&self, bytes: &[u8]) -> Result<()> {
        check(self.reply, bytes)
    }
}

fn check(shape: Option<&'static Shape>, bytes: &[u8]) -> Result<()> {
    const NOTHING: Shape = Shape::Struct {
        name: "",
        fields: &[],
    };
    shape.unwrap_or(&NOTHING).check(bytes)
}

/// The procedure of that number.
pub fn procedure(program: u32, number: u32) -> Option<&'static Procedure> {
    procedures(program)
        .get((number as usize).checked_sub(1)?)
        .copied()
}

/// The procedures of a program in the order of their numbers, which start at 1; empty for an unknown program.
pub fn procedures(program: u32) -> &'static [&'static Procedure] {
    programs()
        .find(|known| known.number == program)
        .map_or(&[], |known| known.procedures)
}

/// One RPC program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its number.
    pub number: u32,
    /// Its version.
    pub version: u32,
    /// Its name: `remote`.
    pub name: &'static str,
    /// Its procedures in the order of their numbers, from 1.
    pub procedures: &'static [&'static Procedure],
}

/// All programs.
pub fn programs() -> impl Iterator<Item = Program> {
    generated::table::PROGRAMS
        .iter()
        .map(|&(number, version, name, procedures)| Program {
            number,
            version,
            name,
            procedures,
        })
}

/// Every permission that access rules name, by object and number.
pub fn permissions() -> &'static [PermissionInfo] {
    generated::permissions::PERMISSIONS
}

/// The message of an event.
pub trait EventMessage: XdrEncode {
    /// The number of its program.
    const PROGRAM: u32;
    /// The number of its procedure.
    const PROCEDURE: u32;

    /// The message behind its callback id, as event sinks take it. Only for messages that start with one.
    fn behind_callback_id(&self) -> Result<Vec<u8>> {
        let mut out = XdrEncoder::without_limits();
        self.encode(&mut out)?;
        Ok(out.into_bytes().split_off(4))
    }
}
