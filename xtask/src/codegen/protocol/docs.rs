//! `docs/protocol/`: the procedures for readers, one page per program.

use std::fmt::Write;
use std::path::PathBuf;

use super::model::*;

/// The pages, and one that leads to them.
pub fn files(description: &Description) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut index = String::from(
        "# The protocol\n\n\
         Ferrovirt speaks libvirt's RPC programs. These pages are made by `cargo xtask codegen` from the description in\n\
         `crates/virt-api/protocol`, which is also what the code is made of. A read-only connection may call what is not\n\
         marked *write*; *if* marks calls that are refused only with some arguments. Access names the permissions that the\n\
         caller needs where a policy is configured.\n\n\
         | program | number | procedures | about |\n|---|---|---|---|\n",
    );
    for program in &description.programs {
        let _ = writeln!(
            index,
            "| [{}]({}.md) | {:#010x} | {} | {} |",
            program.name,
            program.name,
            program.number,
            program.procedures.len(),
            program.about
        );
        files.push((
            PathBuf::from(format!("docs/protocol/{}.md", program.name)),
            page(program),
        ));
    }
    index.push_str("\n## Permissions\n\n| object | permissions (those that everybody has without a policy in italics) |\n|---|---|\n");
    for object in &description.objects {
        let permissions: Vec<String> = object
            .permissions
            .iter()
            .map(|it| {
                if it.anonymous {
                    format!("*{}*", it.name)
                } else {
                    it.name.clone()
                }
            })
            .collect();
        let _ = writeln!(index, "| {} | {} |", object.name, permissions.join(", "));
    }
    files.push((PathBuf::from("docs/protocol/README.md"), index));
    files
}

fn page(program: &Program) -> String {
    let mut out = format!(
        "# The {} program\n\n{}\n\nProgram {:#010x}, version {}. Made by `cargo xtask codegen`; not to be edited.\n",
        program.name, program.about, program.number, program.version
    );
    let of = |kind: Kind| {
        program
            .procedures
            .iter()
            .filter(move |procedure| procedure.kind == kind)
    };
    if of(Kind::Call).next().is_some() {
        out.push_str(
            "\n## Calls\n\n| # | call | answered by | class | access | |\n|---|---|---|---|---|---|\n",
        );
        for procedure in of(Kind::Call) {
            let _ = writeln!(
                out,
                "| {} | **{}**{} — {} | {} | {} | {} | {} |",
                procedure.number,
                procedure.name,
                arguments(procedure),
                procedure.doc,
                if procedure.owner == "driver" {
                    procedure.on.replace('_', " ")
                } else {
                    procedure.owner.clone()
                },
                procedure.class,
                access(procedure),
                marks(procedure)
            );
        }
    }
    for (kind, title) in [(Kind::Event, "Events"), (Kind::Message, "Messages")] {
        if of(kind).next().is_some() {
            let _ = writeln!(out, "\n## {title}\n\n| # | name | |\n|---|---|---|");
            for procedure in of(kind) {
                let _ = writeln!(
                    out,
                    "| {} | **{}**{} | {} |",
                    procedure.number,
                    procedure.name,
                    arguments(procedure),
                    procedure.doc
                );
            }
        }
    }
    out
}

/// The names of the arguments, and of what is answered.
fn arguments(procedure: &Procedure) -> String {
    let names = |fields: &[Field]| {
        fields
            .iter()
            .map(|field| field.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut out = format!("({})", names(&procedure.args));
    if !procedure.reply.is_empty() {
        let _ = write!(out, " → {}", names(&procedure.reply));
    }
    out
}

fn access(procedure: &Procedure) -> String {
    let mut rules: Vec<String> = procedure
        .acl
        .iter()
        .map(|rule| {
            let when = rule.when.as_ref().map_or("", |_| " (if)");
            format!("{}:{}{when}", rule.object, rule.permission)
        })
        .collect();
    rules.dedup();
    if let Some(reason) = &procedure.acl_none {
        rules.push(format!("none: {reason}"));
    }
    for rule in &procedure.filter {
        rules.push(format!("listed: {}:{}", rule.object, rule.permission));
    }
    rules.join(", ")
}

fn marks(procedure: &Procedure) -> String {
    let mut marks = Vec::new();
    match &procedure.read_only {
        Some(read_only) if read_only.when.is_some() => marks.push("write *if*"),
        Some(_) => marks.push("write"),
        None => {}
    }
    if procedure.high {
        marks.push("high priority");
    }
    if procedure.inline {
        marks.push("inline");
    }
    if procedure.stream.is_some() {
        marks.push("stream");
    }
    if procedure.fds_in.is_some() || procedure.fds_out.is_some() {
        marks.push("descriptors");
    }
    marks.join(", ")
}
