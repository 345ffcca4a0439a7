//! Public enums, flag sets and typed-parameter names, from `virt-util`'s table `types.tbl` (whose head explains the
//! format) into three files beside it.

use std::fmt::Write as _;
use std::path::PathBuf;

const FOLDER: &str = "crates/virt-util/src/types";
const TABLE: &str = include_str!("../../../crates/virt-util/src/types/types.tbl");

struct Section<'a> {
    kind: &'a str,
    name: &'a str,
    c_name: &'a str,
    prefix: &'a str,
    header: &'a str,
    /// What stands behind `=` for an alias or an extern.
    target: &'a str,
    doc: &'a str,
    members: Vec<(&'a str, &'a str)>,
}

/// The three generated files. A broken table is a mistake in this repository, so it ends the program with the line.
pub fn generate() -> Vec<(PathBuf, String)> {
    let sections = parse(TABLE).unwrap_or_else(|error| panic!("{FOLDER}/types.tbl: {error}"));
    [
        ("enums.rs", enums(&sections)),
        ("flags.rs", flags(&sections)),
        ("params.rs", params(&sections)),
    ]
    .into_iter()
    .map(|(name, text)| (PathBuf::from(FOLDER).join(name), text))
    .collect()
}

fn parse(table: &str) -> Result<Vec<Section<'_>>, String> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (index, line) in table.lines().enumerate() {
        let at = |what: &str| format!("line {}: {what}: {line}", index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(member) = line.strip_prefix("  ") {
            let (name, value) = member
                .split_once(' ')
                .ok_or_else(|| at("a member is NAME VALUE"))?;
            let section = sections
                .last_mut()
                .ok_or_else(|| at("a member before any section"))?;
            section.members.push((name, value));
            continue;
        }
        let (head, doc) = line
            .split_once(": ")
            .ok_or_else(|| at("a section ends in `: documentation`"))?;
        let (head, target) = head.split_once(" = ").unwrap_or((head, ""));
        let words: Vec<&str> = head.split(' ').collect();
        let (kind, name, c_name, prefix, header) = match words.as_slice() {
            [
                kind @ ("enum" | "flags" | "alias" | "extern"),
                name,
                c_name,
                prefix,
                header,
            ] => (*kind, *name, *c_name, *prefix, *header),
            [kind @ ("params" | "consts"), name, prefix, header] => (*kind, *name, "", *prefix, *header),
            _ => return Err(at("unknown kind of section or wrong number of words")),
        };
        sections.push(Section {
            kind,
            name,
            c_name,
            prefix,
            header,
            target,
            doc,
            members: Vec::new(),
        });
    }
    Ok(sections)
}

const HEAD: &str = "// Made by `cargo xtask codegen` from types.tbl. Do not edit.\n\n";

fn rows(out: &mut String, section: &Section<'_>) {
    let _ = writeln!(
        out,
        "    /// {}\n    {} = \"{}\", \"{}\", \"{}\" {{",
        section.doc, section.name, section.c_name, section.prefix, section.header
    );
    for (name, value) in &section.members {
        let _ = writeln!(out, "        {name} = {value},");
    }
    out.push_str("    }\n");
}

fn enums(sections: &[Section<'_>]) -> String {
    let mut out = format!("{HEAD}//! Public enums.\n\npublic_enums! {{\n");
    for section in sections.iter().filter(|section| section.kind == "enum") {
        rows(&mut out, section);
    }
    out.push_str("}\n");
    for section in sections {
        match section.kind {
            "alias" => {
                let _ = writeln!(
                    out,
                    "\n/// {}\n///\n/// C: `{}`.\npub type {} = {};",
                    section.doc, section.c_name, section.name, section.target
                );
            }
            "extern" => {
                let _ = writeln!(
                    out,
                    "\n/// {}\n///\n/// C: `{}`.\npub type {} = crate::{};",
                    section.doc, section.c_name, section.name, section.target
                );
            }
            _ => {}
        }
    }
    out
}

fn flags(sections: &[Section<'_>]) -> String {
    let mut out = format!("{HEAD}//! Public flag sets.\n\npublic_flags! {{\n");
    for section in sections.iter().filter(|section| section.kind == "flags") {
        rows(&mut out, section);
    }
    out.push_str("}\n");
    out
}

fn params(sections: &[Section<'_>]) -> String {
    let mut out = format!(
        "{HEAD}//! Names of typed parameters, one module per family, and the interface's fixed numbers ([`limits`]).\n"
    );
    for section in sections {
        let (kind, quote) = match section.kind {
            "params" => ("&str", "\""),
            "consts" => ("u64", ""),
            _ => continue,
        };
        let _ = writeln!(out, "\n/// {}\npub mod {} {{", section.doc, section.name);
        for (name, value) in &section.members {
            let _ = writeln!(
                out,
                "    /// `{}{name}`\n    pub const {name}: {kind} = {quote}{value}{quote};",
                section.prefix
            );
        }
        let _ = writeln!(
            out,
            "\n    /// Every one: the name in C and the value.\n    pub const ALL: &[(&str, {kind})] = &["
        );
        for (name, _) in &section.members {
            let _ = writeln!(out, "        (\"{}{name}\", {name}),", section.prefix);
        }
        out.push_str("    ];\n}\n");
    }
    let _ = writeln!(
        out,
        "\n/// Every family of typed parameters: the module and its names.\npub const FAMILIES: &[(&str, &[(&str, &str)])] = &["
    );
    for section in sections.iter().filter(|section| section.kind == "params") {
        let _ = writeln!(out, "    (\"{0}\", {0}::ALL),", section.name);
    }
    out.push_str("];\n");
    out
}
