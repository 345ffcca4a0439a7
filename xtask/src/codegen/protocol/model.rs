//! What the description of the protocol says, after parsing and checking.

use std::collections::BTreeMap;

/// Everything: the programs in the order they were given, and the access model.
pub struct Description {
    pub programs: Vec<Program>,
    pub objects: Vec<AccessObject>,
}

/// An object that access rules name.
pub struct AccessObject {
    pub name: String,
    pub permissions: Vec<AccessPermission>,
}

/// One permission on an object.
pub struct AccessPermission {
    pub name: String,
    pub value: u32,
    pub anonymous: bool,
}

/// One RPC program: a `.virt` file.
pub struct Program {
    pub name: String,
    pub number: u32,
    pub version: u32,
    /// The comment at the head of the file.
    pub about: String,
    /// Programs whose structs this one uses.
    pub uses: Vec<String>,
    pub limits: Vec<(String, u32)>,
    pub flags: BTreeMap<String, u32>,
    pub enums: Vec<Enum>,
    pub structs: Vec<Struct>,
    pub procedures: Vec<Procedure>,
}

impl Program {
    /// `Qemu` for qemu, nothing for remote: what type names of this program start with.
    pub fn prefix(&self) -> String {
        match self.name.as_str() {
            "remote" => String::new(),
            other => camel(other),
        }
    }
}

/// An integer with named values.
pub struct Enum {
    pub doc: String,
    pub name: String,
    pub members: Vec<(String, i32)>,
}

/// A struct that is not the arguments or the answer of one procedure.
pub struct Struct {
    pub doc: String,
    pub name: String,
    pub fields: Vec<Field>,
}

/// A named value.
#[derive(Clone)]
pub struct Field {
    pub name: String,
    pub ty: Type,
}

/// The types of the grammar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    I32,
    U32,
    I64,
    U64,
    F64,
    Char,
    Uchar,
    Ushort,
    Uuid,
    String,
    /// Opaque bytes up to a limit.
    Bytes(String),
    /// C `char`s, each a word of its own on the wire, holding bytes.
    Chars(String),
    /// C `char`s holding text that ends with a NUL.
    Text(String),
    /// The same, of fixed length.
    TextFixed(u32),
    Params(String),
    List(Box<Type>, String),
    Optional(Box<Type>),
    /// A struct or an enum.
    Named(String),
}

/// How a procedure is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Event,
    Message,
}

/// One procedure.
pub struct Procedure {
    pub line: usize,
    pub kind: Kind,
    pub number: u32,
    pub name: String,
    pub doc: String,
    pub args: Vec<Field>,
    pub reply: Vec<Field>,
    pub apis: Vec<String>,
    pub on: String,
    /// Whose errors refusals are that come before the driver: a constant of `ErrorDomain` in lower case.
    pub module: String,
    pub owner: String,
    pub class: String,
    pub high: bool,
    pub inline: bool,
    pub before_auth: bool,
    pub typed_strings: bool,
    pub read_only: Option<ReadOnly>,
    pub acl: Vec<AclRule>,
    pub acl_none: Option<String>,
    pub filter: Vec<AclRule>,
    pub object: Option<String>,
    pub rules: Vec<Rule>,
    pub counts: Vec<Count>,
    pub stream: Option<StreamUse>,
    pub fds_in: Option<(u32, Option<u32>)>,
    pub fds_out: Option<(u32, Option<u32>)>,
}

/// When a read-only connection is refused.
pub struct ReadOnly {
    pub when: Option<Condition>,
    pub reason: Option<String>,
}

/// A permission that the caller needs.
pub struct AclRule {
    pub object: String,
    pub permission: String,
    pub when: Option<Condition>,
    pub reason: Option<String>,
}

/// A condition on an argument.
#[derive(Clone, PartialEq, Eq)]
pub struct Condition {
    pub argument: String,
    pub test: Test,
    /// The names of the constants, for the documentation.
    pub names: Vec<String>,
    pub value: u32,
}

/// The tests of a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Any,
    All,
    None,
    Equal,
}

/// A check of an argument.
pub enum Rule {
    NonEmpty(String),
    Positive(String),
    NonNegative(String),
    NonZero(String),
    /// An argument that may be missing on the wire is there.
    Present(String),
    /// A list has no more items than the constant.
    AtMost(String, String, u32),
    /// A check written by hand: its name and the arguments it looks at.
    Check(String, Vec<String>),
    /// The number must be below the constant.
    Below(String, String, u32),
    Exclusive((String, u32), (String, u32)),
    /// The first flag needs one of the others.
    Requires((String, u32), (String, u32)),
}

/// How much a call may ask for over the network.
pub struct Count {
    /// The arguments whose product it is.
    pub arguments: Vec<String>,
    pub most: Option<u32>,
    /// Whether libvirt calls more an error of the protocol, and not an internal one.
    pub rpc: bool,
}

/// The stream that a call opens.
pub struct StreamUse {
    pub direction: String,
    pub both: bool,
    pub sparse: Option<(String, u32)>,
}

/// What a procedure's `module` may be: the modules of libvirt that have public functions.
pub const MODULES: &[&str] = &[
    "none",
    "domain",
    "domain_snapshot",
    "domain_checkpoint",
    "network",
    "interface",
    "storage",
    "nodedev",
    "nwfilter",
    "secret",
    "admin",
];

/// `domain_get_info` to `DomainGetInfo`.
pub fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            out.extend(first.to_uppercase());
            out.push_str(letters.as_str());
        }
    }
    out
}

impl Procedure {
    /// The name of the type of its arguments.
    pub fn args_type(&self, program: &Program) -> String {
        let suffix = if self.kind == Kind::Call {
            "Args"
        } else {
            "Message"
        };
        format!("{}{}{suffix}", program.prefix(), camel(&self.name))
    }

    /// The name of the type of its answer.
    pub fn reply_type(&self, program: &Program) -> String {
        format!("{}{}Reply", program.prefix(), camel(&self.name))
    }

    /// The name of the trait's method.
    pub fn method(&self, program: &Program) -> String {
        match program.name.as_str() {
            "qemu" | "lxc" => format!("{}_{}", program.name, self.name),
            _ => self.name.clone(),
        }
    }

    /// `ErrorDomain::DOMAIN`: whose errors refusals are that come before the driver.
    pub fn error_domain(&self) -> String {
        format!("ErrorDomain::{}", self.module.to_uppercase())
    }

    /// What answers to say when a driver lacks it: the public function.
    pub fn public_name(&self) -> &str {
        self.apis.first().map_or(self.name.as_str(), String::as_str)
    }

    /// The file, by seam, that its generated code goes to.
    pub fn group(&self, program: &Program) -> &'static str {
        match program.name.as_str() {
            "qemu" => return "qemu",
            "lxc" => return "lxc",
            "admin" => return "admin",
            "keepalive" => return "keepalive",
            "ferrovirt" => return "ferrovirt",
            _ => {}
        }
        if self.kind == Kind::Event {
            return "events";
        }
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| self.name.starts_with(prefix));
        const GROUPS: &[(&[&str], &str)] = &[
            (&["auth_", "connect_"], "connect"),
            (&["domain_migrate"], "migrate"),
            (
                &[
                    "domain_snapshot",
                    "domain_checkpoint",
                    "domain_backup",
                    "domain_revert",
                    "domain_save",
                    "domain_restore",
                    "domain_managed_save",
                    "domain_has_",
                    "domain_list_all",
                    "domain_core_dump",
                ],
                "saved",
            ),
            (&["domain_get"], "domain_get"),
            (&["domain_set", "domain_pin"], "domain_set"),
            (&["domain_"], "domain"),
            (&["network_"], "network"),
            (&["storage_"], "storage"),
            (&["node_device_", "interface_", "node_"], "node"),
            (&["nwfilter_", "secret_"], "secret"),
        ];
        GROUPS
            .iter()
            .find(|(prefixes, _)| starts(prefixes))
            .map_or("other", |(_, group)| group)
    }

    /// Whether a driver's trait has a method for it.
    pub fn in_trait(&self) -> bool {
        self.kind == Kind::Call && (self.owner == "driver" || self.on == "admin")
    }
}
