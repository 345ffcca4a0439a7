//! Message types and numbers.

use std::fmt::Write;

use super::model::{Description, Field, Kind, Program, Type};
use super::{Tree, doc, groups, header};

/// Names of the description that are keywords of Rust.
pub fn ident(name: &str) -> String {
    match name {
        "type" | "match" | "ref" | "move" | "mod" | "use" => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

/// The Rust type of a value.
pub fn rust(ty: &Type) -> String {
    match ty {
        Type::I32 => "i32".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::I64 => "i64".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::F64 => "f64".to_owned(),
        Type::Char => "i8".to_owned(),
        Type::Uchar => "u8".to_owned(),
        Type::Ushort => "u16".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::String | Type::Text(_) | Type::TextFixed(_) => "String".to_owned(),
        Type::Bytes(_) | Type::Chars(_) => "Vec<u8>".to_owned(),
        Type::Params(_) => "TypedParams".to_owned(),
        Type::List(of, _) => format!("Vec<{}>", rust(of)),
        Type::Optional(of) => format!("Option<{}>", rust(of)),
        Type::Named(name) => name.clone(),
    }
}

/// The limit of that name in `program`.
pub fn limit(program: &Program, name: &str) -> u32 {
    match program.limits.iter().find(|(known, _)| known == name) {
        Some((_, value)) => *value,
        None => {
            eprintln!("xtask: {}: the limit `{name}` is not declared", program.name);
            std::process::exit(1);
        }
    }
}

/// The wire type of a value.
pub fn wire(ty: &Type, program: &Program) -> String {
    match ty {
        Type::I32 => "I32".to_owned(),
        Type::U32 => "U32".to_owned(),
        Type::I64 => "I64".to_owned(),
        Type::U64 => "U64".to_owned(),
        Type::F64 => "F64".to_owned(),
        Type::Char => "Char".to_owned(),
        Type::Uchar => "Uchar".to_owned(),
        Type::Ushort => "Ushort".to_owned(),
        Type::Uuid => "UuidBytes".to_owned(),
        Type::String => "Str".to_owned(),
        Type::Bytes(max) => format!("Bytes<{}>", limit(program, max)),
        Type::Chars(max) => format!("Chars<{}>", limit(program, max)),
        Type::Text(max) => format!("Text<{}>", limit(program, max)),
        Type::TextFixed(length) => format!("TextFixed<{length}>"),
        Type::Params(max) => format!("Params<{}>", limit(program, max)),
        Type::List(of, max) => format!("List<{}, {}>", wire(of, program), limit(program, max)),
        Type::Optional(of) => format!("Opt<{}>", wire(of, program)),
        Type::Named(name) => name.clone(),
    }
}

fn declare(out: &mut String, about: &str, name: &str, fields: &[Field], program: &Program) {
    out.push_str(&doc(about, "    "));
    let _ = writeln!(out, "    pub struct {name} {{");
    for field in fields {
        let _ = writeln!(
            out,
            "        {}: {} as {},",
            ident(&field.name),
            rust(&field.ty),
            wire(&field.ty, program)
        );
    }
    out.push_str("    }\n");
}

const IMPORTS: &str = "\n#![allow(unused_imports, reason = \"each file of types starts with the same imports\")]\n\n\
    use uuid::Uuid;\nuse virt_util::typed_param::TypedParams;\n\nuse crate::protocol::wire::*;\n";

/// `types/`: one module per program, and below it one per group.
pub fn tree(description: &Description) -> Tree {
    let mut root = header("Message types.");
    let mut modules = Vec::new();
    root.push('\n');
    for program in &description.programs {
        if program
            .procedures
            .iter()
            .all(|procedure| procedure.kind == Kind::Message)
        {
            continue;
        }
        let _ = writeln!(
            root,
            "/// Messages of the {} program.\npub mod {};",
            program.name, program.name
        );
        let mut index = header(&format!("Messages of the {} program.", program.name));
        index.push_str(IMPORTS);
        for used in &program.uses {
            let _ = writeln!(index, "use super::{used}::*;");
        }
        let groups = groups(program);
        let split = groups.len() > 1;
        if split {
            for (group, _) in &groups {
                let _ = writeln!(index, "mod {group};");
            }
            for (group, members) in &groups {
                // A group of calls without arguments and answers has no types.
                if members.iter().any(|p| !p.args.is_empty() || !p.reply.is_empty()) {
                    let _ = writeln!(index, "pub use {group}::*;");
                }
            }
        }
        if !program.enums.is_empty() {
            index.push_str("\nwire_enum! {\n");
            for item in &program.enums {
                index.push_str(&doc(&item.doc, "    "));
                let _ = writeln!(index, "    pub struct {} {{", item.name);
                for (member, value) in &item.members {
                    let _ = writeln!(index, "        {member} = {value},");
                }
                index.push_str("    }\n");
            }
            index.push_str("}\n");
        }
        if !program.structs.is_empty() {
            index.push_str("\nwire_struct! {\n");
            for item in &program.structs {
                declare(&mut index, &item.doc, &item.name, &item.fields, program);
            }
            index.push_str("}\n");
        }
        for (group, members) in &groups {
            let mut text = String::new();
            text.push_str("\nwire_struct! {\n");
            let mut events = String::new();
            for procedure in members {
                match procedure.kind {
                    Kind::Call => {
                        if !procedure.args.is_empty() {
                            let about = format!("Arguments of `{}`.", procedure.name);
                            declare(
                                &mut text,
                                &about,
                                &procedure.args_type(program),
                                &procedure.args,
                                program,
                            );
                        }
                        if !procedure.reply.is_empty() {
                            let about = format!("Answer of `{}`.", procedure.name);
                            declare(
                                &mut text,
                                &about,
                                &procedure.reply_type(program),
                                &procedure.reply,
                                program,
                            );
                        }
                    }
                    Kind::Event => {
                        declare(
                            &mut text,
                            &procedure.doc,
                            &procedure.args_type(program),
                            &procedure.args,
                            program,
                        );
                        let _ = writeln!(
                            events,
                            "impl crate::protocol::table::EventMessage for {} {{\n    const PROGRAM: u32 = {:#x};\n    const PROCEDURE: u32 = {};\n}}\n",
                            procedure.args_type(program),
                            program.number,
                            procedure.number
                        );
                    }
                    Kind::Message => {}
                }
            }
            text.push_str("}\n\n");
            text.push_str(&events);
            if split {
                let mut file = header(&format!(
                    "Messages of the {} program: {}.",
                    program.name,
                    group.replace('_', " ")
                ));
                file.push_str(IMPORTS);
                file.push_str("use super::*;\n");
                file.push_str(&text);
                modules.push((format!("{}/{group}", program.name), file));
            } else {
                index.push_str(&text);
            }
        }
        modules.push((program.name.clone(), index));
    }
    Tree {
        name: "types",
        root,
        modules,
    }
}

/// `numbers.rs`: numbers of programs and procedures, and limits.
pub fn numbers(description: &Description) -> Tree {
    let mut root = header("Numbers and limits of the programs.");
    for program in &description.programs {
        let _ = write!(
            root,
            "\n/// {}\npub mod {} {{\n    /// The number of the program.\n    pub const PROGRAM: u32 = {:#x};\n    /// The version of the program.\n    pub const VERSION: u32 = {};\n\n    /// Numbers of the procedures.\n    pub mod procedure {{\n",
            program.about, program.name, program.number, program.version
        );
        for procedure in &program.procedures {
            let _ = writeln!(
                root,
                "        pub const {}: u32 = {};",
                procedure.name.to_uppercase(),
                procedure.number
            );
        }
        root.push_str("    }\n");
        if !program.limits.is_empty() {
            root.push_str("\n    /// The most that messages may hold on the network.\n    pub mod limit {\n");
            for (name, value) in &program.limits {
                let _ = writeln!(root, "        pub const {name}: usize = {value};");
            }
            root.push_str("    }\n");
        }
        root.push_str("}\n");
    }
    Tree {
        name: "numbers",
        root,
        modules: Vec::new(),
    }
}
