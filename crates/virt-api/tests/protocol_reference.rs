//! Compares the protocol with the reference data of libvirt 11.3: numbers, names, order, types, limits, access,
//! read-only and argument rules, streams, descriptors, permissions.
//!
//! The folder of the reference is named by `VIRT_REFERENCE`; without it these tests are skipped. What must not drift
//! in between is held by `protocol_digest.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use virt_api::access::ObjectKind;
use virt_api::call::PROGRAM_FERROVIRT;
use virt_api::protocol::shape::Shape;
use virt_api::protocol::table::{
    self, AclRule, Condition, Kind, Priority, Procedure, ReadOnly, Rule, StreamDirection, Test,
};

struct Reference {
    protocol: Value,
    /// Values of the constants of the public interface.
    constants: BTreeMap<String, u64>,
    /// Rules by public function.
    rules: Value,
}

/// The reference, or `None` and a line that says so.
fn reference() -> Option<Reference> {
    let Some(folder) = std::env::var_os("VIRT_REFERENCE").map(PathBuf::from) else {
        println!("skipped: corpus: VIRT_REFERENCE names no folder with the reference data");
        return None;
    };
    let read = |name: &str| -> Value {
        let path = folder.join(name);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut constants = BTreeMap::new();
    for item in read("api-enums.json")["enums"].as_array().unwrap() {
        for member in item["members"].as_array().unwrap() {
            if let Some(value) = member["value"].as_u64() {
                constants.insert(member["name"].as_str().unwrap().to_owned(), value);
            }
        }
    }
    Some(Reference {
        protocol: read("protocol.json"),
        constants,
        rules: read("argument-rules.json")["functions"].clone(),
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The files of types by name, in which a program's types are looked up.
struct Types<'a> {
    structs: BTreeMap<&'a str, &'a Value>,
    typedefs: BTreeMap<&'a str, &'a Value>,
    enums: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Types<'a> {
    fn new(protocol: &'a Value) -> Self {
        let mut types = Types {
            structs: BTreeMap::new(),
            typedefs: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for file in ["remote", "qemu", "lxc", "admin"] {
            let file = &protocol["types"][file];
            types
                .structs
                .extend(array(file, "structs").iter().map(|it| (text(it, "name"), it)));
            types
                .typedefs
                .extend(array(file, "typedefs").iter().map(|it| (text(it, "name"), it)));
            types
                .enums
                .extend(array(file, "enums").iter().map(|it| (text(it, "name"), it)));
        }
        types
    }

    /// The type of a field in the notation of [`Shape::describe`].
    fn describe(&self, field: &Value) -> String {
        let ty = text(field, "type");
        match text(field, "kind") {
            "plain" => self.named(ty),
            "optional" => format!("{}?", self.named(ty)),
            "string" => format!("string<{}>", field["max"]),
            "opaque_fixed" => {
                assert_eq!(field["length"], 16, "opaque data of fixed length is a UUID");
                "uuid".to_owned()
            }
            "opaque_var" => format!("bytes<{}>", field["max"]),
            "array_fixed" => format!("{}[{}]", self.named(ty), field["length"]),
            "array_var" if ty == "char" => format!("char<{}>", field["max"]),
            "array_var" if ty.ends_with("_typed_param") => format!("params<{}>", field["max"]),
            "array_var" => format!("[{}; {}]", self.named(ty), field["max"]),
            other => panic!("unknown kind of field {other}"),
        }
    }

    fn named(&self, name: &str) -> String {
        match name {
            "int" => "i32".to_owned(),
            "unsigned int" => "u32".to_owned(),
            "hyper" => "i64".to_owned(),
            "unsigned hyper" => "u64".to_owned(),
            "double" => "f64".to_owned(),
            "char" => "char".to_owned(),
            "unsigned char" => "uchar".to_owned(),
            "unsigned short" => "ushort".to_owned(),
            _ if self.enums.contains_key(name) => "i32".to_owned(),
            _ => match (self.typedefs.get(name), self.structs.get(name)) {
                (Some(typedef), _) => self.describe(typedef),
                (None, Some(_)) => self.structure(name, false),
                (None, None) => panic!("unknown type {name}"),
            },
        }
    }

    /// The fields of a struct in order. `device`: its `name` is that of a host device, which the description says.
    fn structure(&self, name: &str, device: bool) -> String {
        let fields: Vec<String> = array(self.structs[name], "fields")
            .iter()
            .map(|field| {
                let described = self.describe(field);
                match text(field, "name") {
                    "name" if device => format!("device: {{name: {described}}}"),
                    other => format!("{}: {described}", our_name(other)),
                }
            })
            .collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// Our name of a field: words in lower case, and no abbreviations of object kinds.
fn our_name(name: &str) -> String {
    match name {
        "dom" | "ddom" => "domain",
        "net" => "network",
        "snap" => "snapshot",
        "iface" => "interface",
        "vol" => "volume",
        "srv" => "server",
        "clnt" => "client",
        "type" => "kind",
        "clonevol" => "source_volume",
        "doms" => "domains",
        "nets" => "networks",
        "ifaces" => "interfaces",
        "vols" => "volumes",
        "xmlCPUs" => "xml_cpus",
        other => return snake(other),
    }
    .to_owned()
}

fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| letters.get(before));
        if letter.is_uppercase()
            && before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
        {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// `dev` is a host device everywhere but in the threshold event, where it is a disk's name.
fn fix_device(described: String, procedure: &str) -> String {
    if procedure.contains("block_threshold") {
        described
    } else {
        described
            .replace("{dev: ", "{device: ")
            .replace(" dev: ", " device: ")
    }
}

fn shape(shape: Option<&'static Shape>) -> String {
    let mut out = String::new();
    if let Some(shape) = shape {
        shape.describe(&mut out);
    }
    out
}

/// The programs that libvirt has.
fn programs() -> impl Iterator<Item = table::Program> {
    table::programs().filter(|program| program.number != PROGRAM_FERROVIRT)
}

/// Calls `check` for each procedure of the reference beside ours.
fn each(reference: &Reference, mut check: impl FnMut(&Value, &'static Procedure)) {
    for program in programs() {
        let theirs = array(&reference.protocol, "programs")
            .iter()
            .find(|it| text(it, "name") == program.name)
            .unwrap_or_else(|| panic!("no program {} in the reference", program.name));
        for (theirs, ours) in array(theirs, "procedures").iter().zip(program.procedures) {
            check(theirs, ours);
        }
    }
}

#[test]
fn programs_and_procedures_have_the_numbers_and_names() {
    let Some(reference) = reference() else { return };
    let mut calls = 0;
    for program in programs() {
        let theirs = array(&reference.protocol, "programs")
            .iter()
            .find(|it| text(it, "name") == program.name)
            .unwrap();
        assert_eq!(theirs["program"], program.number, "{}", program.name);
        assert_eq!(theirs["version"], program.version, "{}", program.name);
        assert_eq!(
            array(theirs, "procedures").len(),
            program.procedures.len(),
            "{}",
            program.name
        );
    }
    each(&reference, |theirs, ours| {
        assert_eq!(theirs["number"], ours.number);
        assert_eq!(text(theirs, "short").to_lowercase(), ours.name);
        let kind = match text(theirs, "kind") {
            "call" => Kind::Call,
            "event" => Kind::Event,
            _ => Kind::Message,
        };
        assert_eq!(kind, ours.kind, "{}", ours.name);
        calls += 1;
    });
    assert_eq!(calls, 453 + 7 + 1 + 20 + 2);
}

#[test]
fn messages_have_the_fields_types_and_limits() {
    let Some(reference) = reference() else { return };
    let types = Types::new(&reference.protocol);
    each(&reference, |theirs, ours| {
        let device = ours.name.starts_with("node_device_") && !ours.name.contains("lookup");
        let describe = |name: &str, device: bool| {
            if name.is_empty() {
                String::new()
            } else {
                fix_device(types.structure(name, device), ours.name)
            }
        };
        let args = if ours.kind == Kind::Event { "msg" } else { "args" };
        assert_eq!(
            shape(ours.args),
            describe(text(theirs, args), device),
            "arguments of {}",
            ours.name
        );
        assert_eq!(
            shape(ours.reply),
            describe(text(theirs, "ret"), false),
            "answer of {}",
            ours.name
        );
    });
}

fn condition(rule: &Value, constants: &BTreeMap<String, u64>) -> Option<(String, Test, u64)> {
    let flags = |key: &str| {
        array(rule, key)
            .iter()
            .map(|name| constants[name.as_str().unwrap()])
            .fold(0, |all, one| all | one)
    };
    if rule.get("when_no_flag_of").is_some() {
        Some(("flags".to_owned(), Test::None, flags("when_no_flag_of")))
    } else if rule.get("when_all_flags_of").is_some() {
        Some(("flags".to_owned(), Test::All, flags("when_all_flags_of")))
    } else {
        let param = rule.get("when_param")?;
        assert_eq!(text(param, "op"), "==");
        Some((
            text(param, "name").to_owned(),
            Test::Equal,
            constants[text(param, "value")],
        ))
    }
}

fn ours(condition: Option<Condition>) -> Option<(String, Test, u64)> {
    condition.map(|it| (it.argument.to_owned(), it.test, it.value))
}

fn same_rules(theirs: &[Value], ours_: &[AclRule], constants: &BTreeMap<String, u64>, name: &str) {
    let theirs: Vec<_> = theirs
        .iter()
        .map(|rule| {
            let kind = ObjectKind::from_name(text(rule, "object")).expect("a known object");
            (
                kind,
                text(rule, "permission").to_owned(),
                condition(rule, constants),
            )
        })
        .collect();
    let ours: Vec<_> = ours_
        .iter()
        .map(|rule| {
            (
                rule.permission.object,
                rule.permission.name.to_owned(),
                ours(rule.when),
            )
        })
        .collect();
    assert_eq!(ours, theirs, "access rules of {name}");
}

#[test]
fn access_rules_are_the_same_but_for_declared_overrides() {
    let Some(reference) = reference() else { return };
    let mut overridden = Vec::new();
    each(&reference, |theirs, ours| {
        if ours.acl.iter().any(|rule| rule.overridden.is_some()) {
            assert!(
                ours.acl.iter().all(|rule| rule.overridden.is_some()),
                "{}",
                ours.name
            );
            overridden.push(ours.name);
        } else {
            same_rules(array(theirs, "acl"), ours.acl, &reference.constants, ours.name);
        }
        same_rules(
            array(theirs, "aclfilter"),
            ours.filter,
            &reference.constants,
            ours.name,
        );
        if ours.kind == Kind::Call {
            assert_eq!(ours.acl.is_empty(), ours.acl_none.is_some(), "{}", ours.name);
        }
        // Only some programs say who may call before authentication.
        let before_auth = theirs.get("needs_auth").is_some_and(|it| *it == false);
        assert_eq!(before_auth, ours.before_auth, "{}", ours.name);
        if ours.kind == Kind::Call {
            let high = text(theirs, "priority") == "high";
            assert_eq!(high, ours.priority == Priority::High, "priority of {}", ours.name);
        }
    });
    assert_eq!(overridden, ["domain_set_scheduler_parameters"]);
}

#[test]
fn permissions_are_the_same() {
    let Some(reference) = reference() else { return };
    let mut theirs = Vec::new();
    for (object, permissions) in reference.protocol["acl_permissions"].as_object().unwrap() {
        for permission in permissions.as_array().unwrap() {
            theirs.push((
                ObjectKind::from_name(object).expect("a known object"),
                text(permission, "permission").to_owned(),
                permission["value"].as_u64().unwrap(),
                permission["default_allowed_anonymously"].as_bool().unwrap(),
            ));
        }
    }
    let mut ours: Vec<_> = table::permissions()
        .iter()
        .map(|it| {
            (
                it.permission.object,
                it.permission.name.to_owned(),
                u64::from(it.value),
                it.anonymous,
            )
        })
        .collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn streams_and_descriptors_are_the_same() {
    let Some(reference) = reference() else { return };
    each(&reference, |theirs, ours| {
        match (theirs.get("stream"), ours.stream) {
            (None, None) => {}
            (Some(theirs), Some(ours_)) => {
                let direction = match text(theirs, "direction") {
                    "client-to-server" => StreamDirection::In,
                    _ => StreamDirection::Out,
                };
                assert_eq!(direction, ours_.direction, "{}", ours.name);
                assert_eq!(
                    theirs.get("sparse_flag").map(|name| name.as_str().unwrap()),
                    ours_.sparse.map(|flag| flag.name)
                );
                assert_eq!(
                    theirs
                        .get("sparse_flag_value")
                        .map(|value| value.as_u64().unwrap()),
                    ours_.sparse.map(|flag| u64::from(flag.value))
                );
            }
            _ => panic!("{} has a stream on one side only", ours.name),
        }
        let fds = |value: Option<table::Descriptors>| {
            value.map(|fds| match fds.max {
                Some(max) if max == fds.min => format!("exactly {max}"),
                None => format!("{}..n", fds.min),
                Some(max) => format!("{}..{max}", fds.min),
            })
        };
        let theirs_fds = |key: &str| theirs["fds"][key].as_str().map(str::to_owned);
        assert_eq!(fds(ours.fds_in), theirs_fds("client_to_server"), "{}", ours.name);
        assert_eq!(fds(ours.fds_out), theirs_fds("server_to_client"), "{}", ours.name);
    });
}

/// The public function whose checks the daemon runs for a procedure, when it has one.
fn function<'a>(reference: &'a Reference, procedure: &Procedure) -> Option<(&'static str, &'a Value)> {
    let name = procedure.apis.iter().copied().find(|api| {
        let bare = api
            .trim_start_matches("vir")
            .replace("DomainQemu", "Domain")
            .replace("DomainLxc", "Domain");
        bare.eq_ignore_ascii_case(&procedure.name.replace('_', "")) && !api.starts_with("virAdm")
    })?;
    Some((name, reference.rules.get(name)?))
}

#[test]
fn read_only_connections_are_refused_the_same() {
    let Some(reference) = reference() else { return };
    let mut overridden = Vec::new();
    each(&reference, |_, ours| {
        let Some((name, rules)) = function(&reference, ours) else {
            return;
        };
        let theirs: Vec<&str> = array(rules, "read_only_denied")
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        if ours.read_only_overridden.is_some() {
            assert!(theirs.is_empty());
            overridden.push(ours.name);
            return;
        }
        match ours.read_only {
            ReadOnly::Allow => assert!(theirs.is_empty(), "{name}: {theirs:?}"),
            ReadOnly::Deny => assert!(theirs.contains(&"always"), "{name}: {theirs:?}"),
            ReadOnly::DenyIf(when) => {
                let names = when.names.join(" | ");
                let expected = match (when.test, when.names.len()) {
                    (Test::Equal, _) => format!("{} == {names}", when.argument),
                    (Test::Any, 1) => format!("{} & {names}", when.argument),
                    (Test::Any, _) => format!("{} & ({names})", when.argument),
                    _ => panic!("{name}: an unexpected test"),
                };
                assert_eq!(theirs, [expected.as_str()], "{name}");
                let value = when
                    .names
                    .iter()
                    .fold(0, |all, one| all | reference.constants[*one]);
                assert_eq!(when.value, value, "{name}");
            }
        }
    });
    assert_eq!(overridden, ["domain_del_throttle_group"]);
}

/// Rules that came from reading the functions where the data says only "other checks", or says too much.
const READ_BY_EYE: &[(&str, &str)] = &[
    ("virDomainGetVcpus", "maplen may be zero: no map is wanted then"),
    ("virDomainGetCPUStats", "start_cpu may be -1: all CPUs together"),
];

/// Arguments of public functions that do not travel as arguments.
const NOT_ON_THE_WIRE: &[(&str, &str)] = &[
    ("virDomainOpenGraphics", "fd"),
    ("virDomainFDAssociate", "nfds"),
    // The old call of that name is given an event's number.
    ("virConnectDomainEventDeregisterAny", "callbackID"),
];

/// The argument on the wire that stands for one of the public function.
fn wire_argument(ours: &Procedure, name: &str) -> Option<String> {
    let Some(Shape::Struct { fields, .. }) = ours.args else {
        return None;
    };
    let has = |wanted: &str| {
        fields
            .iter()
            .any(|(field, _)| *field == wanted)
            .then(|| wanted.to_owned())
    };
    let name = our_name(name.trim_start_matches('*'));
    has(&name).or_else(|| match name.as_str() {
        "nparams" => has("params"),
        "maplen" => has("cpumap"),
        "nkeycodes" => has("keycodes"),
        "disk" => has("path"),
        "npages" => has("pages").or_else(|| has("page_sizes")),
        "max_cells" => has("maxcells"),
        "nameslen" => has("maxnames"),
        _ => None,
    })
}

#[test]
fn argument_rules_are_the_same() {
    let Some(reference) = reference() else { return };
    let mut compared = 0;
    each(&reference, |_, ours| {
        let Some((name, rules)) = function(&reference, ours) else {
            return;
        };
        let flag = |value: &Value| -> (String, u64) {
            let name = value.as_str().unwrap();
            (name.to_owned(), reference.constants[name])
        };
        for pair in array(rules, "exclusive_flags") {
            let ((a, a_value), (b, b_value)) = (flag(&pair[0]), flag(&pair[1]));
            if a_value == 0 || b_value == 0 {
                continue;
            }
            let found = ours.rules.iter().any(|rule| {
                matches!(rule, Rule::Exclusive(x, y)
                    if x.name == a && u64::from(x.value) == a_value && y.name == b && u64::from(y.value) == b_value)
            });
            assert!(found, "{name}: {a} and {b} exclude each other");
            compared += 1;
        }
        for pair in array(rules, "required_flags") {
            let ((a, a_value), (b, b_value)) = (flag(&pair[0]), flag(&pair[1]));
            let found = ours.rules.iter().any(|rule| {
                matches!(rule, Rule::Requires(x, y)
                    if x.name == a && u64::from(x.value) == a_value
                        && y.name.split('|').any(|name| name == b) && u64::from(y.value) & b_value != 0)
            });
            assert!(found, "{name}: {a} needs {b}");
            compared += 1;
        }
        let Some(arguments) = rules["arguments"].as_object() else {
            return;
        };
        for (kind, names) in arguments {
            for argument in names.as_array().unwrap() {
                let Some(argument) = argument.as_str() else {
                    continue;
                };
                if !matches!(
                    kind.as_str(),
                    "positive" | "non_negative" | "non_zero" | "non_empty"
                ) {
                    continue;
                }
                if READ_BY_EYE
                    .iter()
                    .any(|(function, why)| *function == name && why.starts_with(&our_name(argument)))
                {
                    continue;
                }
                let Some(wire) = wire_argument(ours, argument) else {
                    assert!(
                        NOT_ON_THE_WIRE.contains(&(name, argument)),
                        "{name}: where is {argument}?"
                    );
                    continue;
                };
                let Some(Shape::Struct { fields, .. }) = ours.args else {
                    continue;
                };
                let shape = fields
                    .iter()
                    .find(|(field, _)| *field == wire)
                    .map(|(_, shape)| *shape);
                let list = matches!(
                    shape,
                    Some(
                        Shape::Params { .. } | Shape::Bytes { .. } | Shape::List { .. } | Shape::Chars { .. }
                    )
                );
                let found = ours.rules.iter().any(|rule| match (kind.as_str(), rule) {
                    ("non_empty", Rule::NonEmpty(it)) | ("positive", Rule::Positive(it)) => *it == wire,
                    ("non_zero", Rule::NonZero(it)) | ("non_negative", Rule::NonNegative(it)) => *it == wire,
                    ("positive" | "non_zero", Rule::NonEmpty(it)) if list => *it == wire,
                    _ => false,
                });
                let vacuous =
                    kind == "non_negative" && (list || matches!(shape, Some(Shape::U32 | Shape::U64)));
                assert!(found || vacuous, "{name}: {kind} {argument} is not checked");
                compared += 1;
            }
        }
    });
    assert!(compared >= 116, "only {compared} rules were compared");
}

#[test]
fn rules_name_constants_by_their_values() {
    let Some(reference) = reference() else { return };
    // One is a macro, not an enum's member.
    let known = |name: &str| match name {
        "VIR_DOMAIN_SEND_KEY_MAX_KEYS" => 16,
        other => reference.constants[other],
    };
    each(&reference, |_, ours| {
        for rule in ours.rules {
            match rule {
                Rule::Below(_, flag) | Rule::AtMost(_, flag) => {
                    assert_eq!(u64::from(flag.value), known(flag.name), "{}", ours.name);
                }
                Rule::Exclusive(one, other) | Rule::Requires(one, other) => {
                    for flag in [one, other] {
                        let value = flag.name.split('|').fold(0, |all, name| all | known(name));
                        assert_eq!(u64::from(flag.value), value, "{}", ours.name);
                    }
                }
                _ => {}
            }
        }
    });
}
