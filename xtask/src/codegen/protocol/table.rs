//! The tables: what is known about each procedure, and the permissions.

use std::fmt::Write;

use super::model::*;
use super::{Tree, groups, header};

/// `Hypervisor` for `hypervisor`, and so on: the variants of `DriverKind`.
pub fn driver_kind(on: &str) -> String {
    camel(on)
}

fn condition(condition: &Condition) -> String {
    let names: Vec<String> = condition.names.iter().map(|name| format!("{name:?}")).collect();
    let test = match condition.test {
        Test::Any => "Any",
        Test::All => "All",
        Test::None => "None",
        Test::Equal => "Equal",
    };
    format!(
        "Condition {{ argument: {:?}, test: Test::{test}, value: {:#x}, names: &[{}] }}",
        condition.argument,
        condition.value,
        names.join(", ")
    )
}

fn option(text: Option<String>) -> String {
    text.map_or("None".to_owned(), |text| format!("Some({text})"))
}

fn acl(rules: &[AclRule]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| {
            if rule.when.is_none() && rule.reason.is_none() {
                format!("AclRule::always(ObjectKind::{}, {:?})", camel(&rule.object), rule.permission)
            } else {
                format!(
                    "AclRule {{ permission: Permission {{ object: ObjectKind::{}, name: {:?} }}, when: {}, overridden: {} }}",
                    camel(&rule.object),
                    rule.permission,
                    option(rule.when.as_ref().map(condition)),
                    option(rule.reason.as_ref().map(|reason| format!("{reason:?}")))
                )
            }
        })
        .collect();
    format!("&[{}]", rules.join(", "))
}

fn rule(rule: &Rule) -> String {
    let flag = |(name, value): &(String, u32)| format!("Flag {{ name: {name:?}, value: {value:#x} }}");
    match rule {
        Rule::NonEmpty(argument) => format!("Rule::NonEmpty({argument:?})"),
        Rule::Positive(argument) => format!("Rule::Positive({argument:?})"),
        Rule::NonNegative(argument) => format!("Rule::NonNegative({argument:?})"),
        Rule::NonZero(argument) => format!("Rule::NonZero({argument:?})"),
        Rule::Present(argument) => format!("Rule::Present({argument:?})"),
        Rule::AtMost(argument, name, value) => {
            format!("Rule::AtMost({argument:?}, Flag {{ name: {name:?}, value: {value} }})")
        }
        Rule::Check(name, arguments) => format!("Rule::Check({name:?}, &{arguments:?})"),
        Rule::Below(argument, name, value) => {
            format!("Rule::Below({argument:?}, Flag {{ name: {name:?}, value: {value} }})")
        }
        Rule::Exclusive(a, b) => format!("Rule::Exclusive({}, {})", flag(a), flag(b)),
        Rule::Requires(a, b) => format!("Rule::Requires({}, {})", flag(a), flag(b)),
    }
}

fn count(count: &Count) -> String {
    format!(
        "Count {{ arguments: &{:?}, most: {:?}, code: ErrorCode::{} }}",
        count.arguments,
        count.most,
        if count.rpc { "RPC" } else { "INTERNAL_ERROR" }
    )
}

fn entry(procedure: &Procedure, program: &Program) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "Procedure {{ number: {}, name: {:?}, ",
        procedure.number, procedure.name
    );
    let method = procedure.method(program);
    if method != procedure.name {
        let _ = write!(out, "method: {method:?}, ");
    } else {
        let _ = write!(out, "method: {:?}, ", procedure.name);
    }
    let _ = write!(out, "doc: {:?}, ", procedure.doc.replace('\n', " "));
    if !procedure.args.is_empty() {
        let _ = write!(
            out,
            "args: Some(<{} as Wire>::SHAPE), ",
            procedure.args_type(program)
        );
    }
    if !procedure.reply.is_empty() {
        let _ = write!(
            out,
            "reply: Some(<{} as Wire>::SHAPE), ",
            procedure.reply_type(program)
        );
    }
    if !procedure.apis.is_empty() {
        let _ = write!(out, "apis: &{:?}, ", procedure.apis);
    }
    if procedure.kind == Kind::Call {
        let _ = write!(
            out,
            "on: DriverKind::{}, module: {}, owner: Owner::{}, class: Class::{}, ",
            driver_kind(&procedure.on),
            procedure.error_domain(),
            camel(&procedure.owner),
            camel(&procedure.class)
        );
        if procedure.high {
            out.push_str("priority: Priority::High, ");
        }
        if procedure.inline {
            out.push_str("inline: true, ");
        }
        if procedure.before_auth {
            out.push_str("before_auth: true, ");
        }
        if procedure.typed_strings {
            out.push_str("typed_strings: true, ");
        }
        if let Some(read_only) = &procedure.read_only {
            let _ = write!(
                out,
                "read_only: ReadOnly::{}, ",
                match &read_only.when {
                    None => "Deny".to_owned(),
                    Some(when) => format!("DenyIf({})", condition(when)),
                }
            );
            if let Some(reason) = &read_only.reason {
                let _ = write!(out, "read_only_overridden: Some({reason:?}), ");
            }
        }
        if !procedure.acl.is_empty() {
            let _ = write!(out, "acl: {}, ", acl(&procedure.acl));
        }
        if let Some(reason) = &procedure.acl_none {
            let _ = write!(out, "acl_none: Some({reason:?}), ");
        }
        if !procedure.filter.is_empty() {
            let _ = write!(out, "filter: {}, ", acl(&procedure.filter));
        }
        if let Some(object) = &procedure.object {
            let _ = write!(out, "object: Some(ObjectSource::{}), ", camel(object));
        }
        if !procedure.rules.is_empty() {
            let rules: Vec<String> = procedure.rules.iter().map(rule).collect();
            let _ = write!(out, "rules: &[{}], ", rules.join(", "));
        }
        if !procedure.counts.is_empty() {
            let counts: Vec<String> = procedure.counts.iter().map(count).collect();
            let _ = write!(out, "counts: &[{}], ", counts.join(", "));
        }
        if let Some(stream) = &procedure.stream {
            let _ = write!(
                out,
                "stream: Some(StreamUse {{ direction: StreamDirection::{}, both: {}, sparse: {} }}), ",
                camel(&stream.direction),
                stream.both,
                option(
                    stream
                        .sparse
                        .as_ref()
                        .map(|(name, value)| format!("Flag {{ name: {name:?}, value: {value:#x} }}"))
                )
            );
        }
        for (name, fds) in [("fds_in", procedure.fds_in), ("fds_out", procedure.fds_out)] {
            if let Some((min, max)) = fds {
                let _ = write!(
                    out,
                    "{name}: Some(Descriptors {{ min: {min}, max: {} }}), ",
                    option(max.map(|max| max.to_string()))
                );
            }
        }
        let _ = write!(out, "..Procedure::call({:#x})", program.number);
    } else {
        let kind = if procedure.kind == Kind::Event {
            "event"
        } else {
            "message"
        };
        let _ = write!(out, "..Procedure::{kind}({:#x})", program.number);
    }
    out.push_str(" }");
    out
}

/// `table/`: rows by program and group, and the index by number.
pub fn tree(description: &Description) -> Tree {
    let mut root = header("The table of procedures.");
    root.push_str("\nuse crate::protocol::table::Procedure;\n\n");
    let mut modules = Vec::new();
    let mut index = String::new();
    for program in &description.programs {
        let groups = groups(program);
        let mut place = vec![(String::new(), 0usize); program.procedures.len()];
        for (group, members) in &groups {
            let module = if groups.len() > 1 {
                format!("{}_{group}", program.name)
            } else {
                program.name.clone()
            };
            let _ = writeln!(root, "mod {module};");
            let mut file = header(&format!(
                "Procedures of the {} program: {}.",
                program.name,
                group.replace('_', " ")
            ));
            file.push_str(
                "\n#![allow(unused_imports, reason = \"each file of the table starts with the same imports\")]\n\n\
                 use crate::access::{ObjectKind, Permission};\nuse crate::protocol::table::*;\nuse crate::protocol::wire::Wire;\nuse virt_util::{ErrorCode, ErrorDomain};\n",
            );
            if program.name != "keepalive" {
                let _ = writeln!(file, "use crate::protocol::{}::*;", program.name);
            }
            let _ = writeln!(
                file,
                "\npub(super) static ROWS: [Procedure; {}] = [",
                members.len()
            );
            for (at, procedure) in members.iter().enumerate() {
                let _ = writeln!(file, "{},", entry(procedure, program));
                if let Some(slot) = place.get_mut(procedure.number as usize - 1) {
                    *slot = (module.clone(), at);
                }
            }
            file.push_str("];\n");
            modules.push((module, file));
        }
        let _ = writeln!(
            index,
            "\n/// The procedures of the {} program in the order of their numbers, from 1.\npub static {}: [&Procedure; {}] = [",
            program.name,
            program.name.to_uppercase(),
            program.procedures.len()
        );
        for (module, at) in place {
            let _ = writeln!(index, "    &{module}::ROWS[{at}],");
        }
        index.push_str("];\n");
    }
    root.push_str(&index);
    root.push_str("\n/// The programs: number, version, name, procedures.\npub static PROGRAMS: &[(u32, u32, &str, &[&Procedure])] = &[\n");
    for program in &description.programs {
        let _ = writeln!(
            root,
            "    ({:#x}, {}, {:?}, &{}),",
            program.number,
            program.version,
            program.name,
            program.name.to_uppercase()
        );
    }
    root.push_str("];\n");
    Tree {
        name: "table",
        root,
        modules,
    }
}

/// `access.rs`: the permissions.
pub fn access(description: &Description) -> Tree {
    let mut root = header("The permissions that access rules name.");
    root.push_str(
        "\nuse crate::access::ObjectKind;\nuse crate::protocol::table::PermissionInfo;\n\n/// Every permission, by object and number.\npub static PERMISSIONS: &[PermissionInfo] = &[\n",
    );
    for object in &description.objects {
        for permission in &object.permissions {
            let _ = writeln!(
                root,
                "    PermissionInfo::new(ObjectKind::{}, {:?}, {}, {}),",
                camel(&object.name),
                permission.name,
                permission.value,
                permission.anonymous
            );
        }
    }
    root.push_str("];\n");
    Tree {
        name: "permissions",
        root,
        modules: Vec::new(),
    }
}

/// `recode.rs`: every message type behind one function, for tests that go through all of them.
pub fn recode(description: &Description) -> Tree {
    let mut root =
        header("Every message, decoded and encoded again: for fuzzing and for tests of the codecs.");
    root.push_str("\nuse crate::protocol::wire::{Recode, recode};\n");
    for program in &description.programs {
        if program
            .procedures
            .iter()
            .any(|procedure| procedure.kind != Kind::Message)
        {
            let _ = writeln!(root, "use crate::protocol::{}::*;", program.name);
        }
    }
    root.push_str("\n/// Program, procedure, arguments, answer.\npub static RECODE: &[(u32, u32, Option<Recode>, Option<Recode>)] = &[\n");
    for program in &description.programs {
        for procedure in &program.procedures {
            let of = |fields: &[Field], name: String| {
                if fields.is_empty() {
                    "None".to_owned()
                } else {
                    format!("Some(recode::<{name}>)")
                }
            };
            let _ = writeln!(
                root,
                "    ({:#x}, {}, {}, {}),",
                program.number,
                procedure.number,
                of(&procedure.args, procedure.args_type(program)),
                of(&procedure.reply, procedure.reply_type(program))
            );
        }
    }
    root.push_str("];\n");
    Tree {
        name: "recode",
        root,
        modules: Vec::new(),
    }
}
