//! The dispatch: one small function per procedure that decodes, checks, finds the object and calls the method.

use std::fmt::Write;

use super::model::*;
use super::traits::{Passing, passing, trait_name};
use super::types::ident;
use super::{Tree, groups, header};

/// An expression of type u64 for the argument that conditions look at, if there is one.
fn subject(procedure: &Procedure, program: &Program) -> Option<String> {
    let conditions = procedure
        .acl
        .iter()
        .chain(&procedure.filter)
        .filter_map(|rule| rule.when.as_ref())
        .chain(
            procedure
                .read_only
                .iter()
                .filter_map(|read_only| read_only.when.as_ref()),
        );
    let mut name: Option<&str> = None;
    for condition in conditions {
        if name.is_some_and(|name| name != condition.argument) {
            eprintln!(
                "xtask: {}.virt:{}: conditions look at different arguments",
                program.name, procedure.line
            );
            std::process::exit(1);
        }
        name = Some(&condition.argument);
    }
    let name = name?;
    match procedure
        .args
        .iter()
        .find(|field| field.name == name)
        .map(|field| &field.ty)
    {
        Some(Type::U32) => Some(format!("u64::from(args.{name})")),
        Some(Type::U64) => Some(format!("args.{name}")),
        _ => {
            eprintln!(
                "xtask: {}.virt:{}: a condition looks at `{name}`, which is no unsigned argument",
                program.name, procedure.line
            );
            std::process::exit(1);
        }
    }
}

fn rule(rule: &Rule, procedure: &Procedure, program: &Program, index: usize) -> String {
    let ty = |name: &str| {
        procedure
            .args
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.ty)
    };
    let bad = |name: &str| -> ! {
        eprintln!(
            "xtask: {}.virt:{}: the rule does not fit `{name}`",
            program.name, procedure.line
        );
        std::process::exit(1);
    };
    let fails = match rule {
        Rule::NonEmpty(name) => match ty(name) {
            Some(Type::Optional(_)) => format!("args.{name}.as_ref().is_some_and(|value| value.is_empty())"),
            Some(Type::Params(_)) => format!("args.{name}.0.is_empty()"),
            Some(Type::String | Type::Bytes(_) | Type::List(..)) => format!("args.{name}.is_empty()"),
            _ => bad(name),
        },
        Rule::Positive(name) => match ty(name) {
            Some(Type::I32 | Type::I64) => format!("args.{name} <= 0"),
            Some(Type::U32 | Type::U64) => format!("args.{name} == 0"),
            _ => bad(name),
        },
        Rule::NonNegative(name) => match ty(name) {
            Some(Type::I32 | Type::I64) => format!("args.{name} < 0"),
            _ => bad(name),
        },
        Rule::NonZero(name) => format!("args.{name} == 0"),
        Rule::Present(name) => match ty(name) {
            Some(Type::Optional(_)) => format!("args.{name}.is_none()"),
            _ => bad(name),
        },
        Rule::AtMost(name, _, limit) => match ty(name) {
            Some(Type::List(..)) => format!("args.{name}.len() > {limit}"),
            _ => bad(name),
        },
        Rule::Check(name, arguments) => {
            let arguments: Vec<String> = arguments
                .iter()
                .map(|argument| format!("&args.{argument}"))
                .collect();
            return format!("    call.rule(checks::{name}({}))?;\n", arguments.join(", "));
        }
        Rule::Below(name, _, limit) => format!("i64::from(args.{name}) >= {limit}"),
        Rule::Exclusive((_, a), (_, b)) => {
            format!("args.flags & {a:#x} != 0 && args.flags & {b:#x} != 0")
        }
        Rule::Requires((_, a), (_, b)) => {
            format!("args.flags & {a:#x} != 0 && args.flags & {b:#x} == 0")
        }
    };
    format!("    if {fails} {{\n        return call.broken_rule({index});\n    }}\n")
}

fn handler(procedure: &Procedure, program: &Program) -> String {
    let mut out = String::new();
    let name = procedure.method(program);
    let _ = writeln!(
        out,
        "fn {name}(call: &mut Call<'_, '_>, driver: &dyn {}, bytes: &[u8]) -> Result<Vec<u8>> {{",
        trait_name(&procedure.on)
    );
    if procedure.args.is_empty() {
        out.push_str("    call.no_arguments(bytes)?;\n");
    } else {
        let _ = writeln!(
            out,
            "    let {}args: {} = call.decode(bytes)?;",
            if procedure.typed_strings { "mut " } else { "" },
            procedure.args_type(program)
        );
        if procedure.typed_strings {
            out.push_str("    args.flags &= !TYPED_PARAM_STRING_OKAY;\n");
        }
    }
    for (index, item) in procedure.rules.iter().enumerate() {
        out.push_str(&rule(item, procedure, program, index));
    }
    if let Some(subject) = subject(procedure, program) {
        let _ = writeln!(out, "    call.admit_on({subject})?;");
    } else {
        out.push_str("    call.admit()?;\n");
    }
    let resolves = procedure
        .args
        .iter()
        .any(|field| matches!(passing(procedure, field), Passing::Resolved(_)));
    let has_flags = procedure
        .args
        .iter()
        .any(|field| field.name == "flags" && field.ty == Type::U32);
    if resolves {
        let flags = if has_flags { "args.flags" } else { "0" };
        let _ = writeln!(out, "    call.before_objects({flags}, bytes)?;");
    }
    let mut arguments = String::new();
    if procedure.object.is_some() {
        arguments.push_str(", crate::access::Unchecked::new()");
    }
    for field in &procedure.args {
        let name = ident(&field.name);
        match passing(procedure, field) {
            Passing::Plain => {
                let _ = write!(arguments, ", args.{name}");
            }
            Passing::Resolved(object) => {
                let _ = writeln!(out, "    let {name} = call.{}(args.{name})?;", snake(object));
                let _ = write!(arguments, ", {name}");
            }
        }
    }
    let call = format!("driver.{name}(call.cx{arguments})?");
    let inner = if procedure.object.is_some() {
        ".into_inner()"
    } else {
        ""
    };
    if procedure.reply.is_empty() {
        let _ = writeln!(out, "    {call}{inner};\n    call.done()\n}}\n");
    } else {
        let _ = writeln!(
            out,
            "    let reply = {call}{inner};\n    call.encode(&reply)\n}}\n"
        );
    }
    out
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// `dispatch/`: handlers by program and group, and the index by number.
pub fn tree(description: &Description) -> Tree {
    let mut root = header("The way from a call's bytes to a driver's method.");
    root.push_str("\nuse crate::protocol::dispatch::Handler;\n\n");
    let mut index = String::new();
    let mut modules = Vec::new();
    for program in &description.programs {
        if program
            .procedures
            .iter()
            .all(|procedure| procedure.kind == Kind::Message)
        {
            continue;
        }
        let _ = writeln!(
            index,
            "\n/// Handlers of the {} program in the order of the procedures, from 1.\npub(crate) static {}: [Handler; {}] = [",
            program.name,
            program.name.to_uppercase(),
            program.procedures.len()
        );
        let mut places = vec![String::new(); program.procedures.len()];
        for (group, members) in groups(program) {
            let module = if program.name == "remote" {
                format!("remote_{group}")
            } else {
                program.name.clone()
            };
            let mut file = header(&format!(
                "Handlers of the {} program: {}.",
                program.name,
                group.replace('_', " ")
            ));
            file.push_str("\nuse virt_util::Result;\n\nuse crate::protocol::dispatch::Call;\n");
            let _ = writeln!(
                file,
                "use crate::protocol::{}::*;\nuse crate::protocol::traits::*;\n",
                program.name
            );
            let mut any = false;
            let mut handlers = String::new();
            let mut table = String::new();
            for procedure in members {
                let place = match procedure.kind {
                    Kind::Call if procedure.in_trait() => {
                        any = true;
                        handlers.push_str(&handler(procedure, program));
                        let name = procedure.method(program);
                        let _ = writeln!(
                            table,
                            "pub(super) const {}: Handler = Handler::{}({name});",
                            name.to_uppercase(),
                            camel(&procedure.on)
                        );
                        format!("{module}::{}", name.to_uppercase())
                    }
                    Kind::Call if procedure.owner == "events" => "Handler::Events".to_owned(),
                    Kind::Call => "Handler::Daemon".to_owned(),
                    _ => "Handler::NotACall".to_owned(),
                };
                if let Some(slot) = places.get_mut(procedure.number as usize - 1) {
                    *slot = place;
                }
            }
            if any {
                let _ = writeln!(root, "mod {module};");
                file = file.replace(
                    "dispatch::Call;",
                    if handlers.contains("checks::") {
                        "dispatch::{Call, Handler, checks};"
                    } else {
                        "dispatch::{Call, Handler};"
                    },
                );
                if handlers.contains("TYPED_PARAM_STRING_OKAY") {
                    file = file.replace("Call, Handler", "Call, Handler, TYPED_PARAM_STRING_OKAY");
                }
                file.push_str(&table);
                file.push('\n');
                file.push_str(&handlers);
                modules.push((module, file));
            }
        }
        for place in places {
            let _ = writeln!(index, "    {place},");
        }
        index.push_str("];\n");
    }
    root.push_str(&index);
    Tree {
        name: "dispatch",
        root,
        modules,
    }
}
