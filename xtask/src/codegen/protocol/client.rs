//! The typed clients: one method per call, arguments borrowed.

use std::fmt::Write;

use super::model::*;
use super::types::{ident, limit, rust, wire};
use super::{Tree, doc, groups, header};

/// The type of a borrowed argument, and the statement that encodes it.
fn argument(field: &Field, program: &Program) -> (String, String) {
    let name = ident(&field.name);
    let owned = |ty: &Type| {
        (
            format!("&{}", rust(ty)),
            format!("{}::put({name}, &mut out)?;", turbofish(&wire(ty, program))),
        )
    };
    match &field.ty {
        ty @ (Type::I32
        | Type::U32
        | Type::I64
        | Type::U64
        | Type::F64
        | Type::Char
        | Type::Uchar
        | Type::Ushort
        | Type::Uuid) => (
            rust(ty),
            format!("{}::put(&{name}, &mut out)?;", wire(ty, program)),
        ),
        Type::String => ("&str".to_owned(), format!("put_str({name}, &mut out)?;")),
        Type::Bytes(max) => (
            "&[u8]".to_owned(),
            format!("out.opaque({name}, {})?;", limit(program, max)),
        ),
        Type::Chars(max) => (
            "&[u8]".to_owned(),
            format!("put_chars({name}, {}, &mut out)?;", limit(program, max)),
        ),
        Type::List(of, max) => (
            format!("&[{}]", rust(of)),
            format!(
                "put_list::<{}>({name}, {}, &mut out)?;",
                wire(of, program),
                limit(program, max)
            ),
        ),
        Type::Optional(of) if **of == Type::String => (
            "Option<&str>".to_owned(),
            format!("put_opt_str({name}, &mut out)?;"),
        ),
        Type::Optional(of) => (
            format!("Option<&{}>", rust(of)),
            format!("put_opt::<{}>({name}, &mut out)?;", wire(of, program)),
        ),
        ty => owned(ty),
    }
}

fn turbofish(wire: &str) -> String {
    wire.replacen('<', "::<", 1)
}

fn method(procedure: &Procedure, program: &Program) -> String {
    let mut out = doc(&procedure.doc, "    ");
    let _ = write!(out, "    pub fn {}(&self", procedure.name);
    let mut body = String::new();
    for field in &procedure.args {
        let (ty, put) = argument(field, program);
        let _ = write!(out, ", {}: {ty}", ident(&field.name));
        let _ = writeln!(body, "        {put}");
    }
    if procedure.fds_in.is_some() {
        out.push_str(", fds: &[BorrowedFd<'_>]");
    }
    if procedure.stream.is_some() {
        out.push_str(", stream: StreamMode");
    }
    let reply = if procedure.reply.is_empty() {
        "()".to_owned()
    } else {
        procedure.reply_type(program)
    };
    let mut parts = Vec::new();
    if !procedure.reply.is_empty() {
        parts.push(reply.clone());
    }
    if procedure.stream.is_some() {
        parts.push("StreamEnd".to_owned());
    }
    if procedure.fds_out.is_some() {
        parts.push("Vec<OwnedFd>".to_owned());
    }
    let result = match parts.len() {
        0 => "()".to_owned(),
        1 => parts.join(""),
        _ => format!("({})", parts.join(", ")),
    };
    let _ = writeln!(out, ") -> Result<{result}> {{");
    let mutable = if procedure.args.is_empty() { "" } else { "mut " };
    let _ = writeln!(out, "        let {mutable}out = XdrEncoder::without_limits();");
    out.push_str(&body);
    let number = procedure.number;
    let plain = procedure.fds_in.is_none() && procedure.stream.is_none() && procedure.fds_out.is_none();
    if plain && procedure.reply.is_empty() {
        let _ = writeln!(out, "        self.0.send({number}, out)\n    }}\n");
    } else if plain {
        let _ = writeln!(out, "        self.0.ask::<{reply}>({number}, out)\n    }}\n");
    } else {
        let fds = if procedure.fds_in.is_some() { "fds" } else { "&[]" };
        let stream = if procedure.stream.is_some() {
            "stream"
        } else {
            "StreamMode::None"
        };
        let mutable = if procedure.stream.is_some() { "mut " } else { "" };
        let _ = writeln!(
            out,
            "        let {mutable}reply = self.0.full({number}, out, {fds}, {stream})?;"
        );
        let mut values = Vec::new();
        if !procedure.reply.is_empty() {
            values.push(format!("decode_reply::<{reply}>(&reply.payload)?"));
        }
        if procedure.stream.is_some() {
            values.push("take_stream(&mut reply)?".to_owned());
        }
        if procedure.fds_out.is_some() {
            values.push("reply.fds".to_owned());
        }
        match values.len() {
            0 => out.push_str("        no_reply(&reply.payload)\n    }\n\n"),
            1 => {
                // One value: a fallible call is the result itself.
                let value = values.join("");
                let _ = match value.strip_suffix('?') {
                    Some(call) => writeln!(out, "        {call}\n    }}\n"),
                    None => writeln!(out, "        Ok({value})\n    }}\n"),
                };
            }
            _ => {
                let _ = writeln!(out, "        Ok(({}))\n    }}\n", values.join(", "));
            }
        }
    }
    out
}

/// `client/`: the clients by program, their methods by group.
pub fn tree(description: &Description) -> Tree {
    let mut root = header("Typed clients: the calls of each program as methods.");
    root.push_str("\npub use crate::protocol::call::CallSettings;\n\n");
    let mut modules = Vec::new();
    let mut types = String::new();
    for program in &description.programs {
        if program
            .procedures
            .iter()
            .all(|procedure| procedure.kind == Kind::Message)
        {
            continue;
        }
        let name = format!("{}Client", camel(&program.name));
        let _ = writeln!(
            types,
            "/// Makes calls of the {} program.\n#[derive(Clone)]\npub struct {name}<'a>(CallSettings<'a>);\n\n\
             impl<'a> {name}<'a> {{\n    /// Calls through `caller`, without deadline or way to cancel.\n\
             pub fn new(caller: &'a dyn crate::call::Caller) -> Self {{\n Self(CallSettings::new(caller, {:#x}))\n }}\n\n\
             /// Calls with these settings.\n\
             pub fn with(settings: CallSettings<'a>) -> Self {{\n Self(settings.for_program({:#x}))\n }}\n}}\n",
            program.name, program.number, program.number
        );
        for (group, members) in groups(program) {
            if !members.iter().any(|procedure| procedure.kind == Kind::Call) {
                continue;
            }
            let module = if program.name == "remote" {
                format!("remote_{group}")
            } else {
                program.name.clone()
            };
            let _ = writeln!(root, "mod {module};");
            let mut file = header(&format!(
                "Calls of the {} program: {}.",
                program.name,
                group.replace('_', " ")
            ));
            file.push_str(
                "\n#![allow(unused_imports, reason = \"each file of clients starts with the same imports\")]\n\n\
                 use std::os::fd::{BorrowedFd, OwnedFd};\n\nuse uuid::Uuid;\nuse virt_util::Result;\nuse virt_util::typed_param::TypedParams;\nuse virt_util::xdr::XdrEncoder;\n\n\
                 use crate::call::StreamMode;\nuse crate::protocol::call::*;\nuse crate::protocol::wire::{put_chars, *};\nuse crate::stream_end::StreamEnd;\n",
            );
            for used in program.uses.iter().chain([&program.name]) {
                let _ = writeln!(file, "use crate::protocol::{used}::*;");
            }
            let _ = writeln!(
                file,
                "\n#[allow(clippy::too_many_arguments, reason = \"the arguments are those of the procedures\")]\nimpl super::{name}<'_> {{"
            );
            for procedure in members {
                if procedure.kind == Kind::Call {
                    file.push_str(&method(procedure, program));
                }
            }
            file.push_str("}\n");
            modules.push((module, file));
        }
    }
    root.push('\n');
    root.push_str(&types);
    Tree {
        name: "client",
        root,
        modules,
    }
}
