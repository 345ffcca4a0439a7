//! The traits that drivers implement: one method per procedure, arguments flattened.

use std::fmt::Write;

use super::model::*;
use super::types::{ident, rust};
use super::{Tree, doc, header};

/// The traits: what `on` says, the name, and what it is.
const TRAITS: &[(&str, &str, &str)] = &[
    (
        "hypervisor",
        "HypervisorDriver",
        "Guests, and the host as far as guests care.",
    ),
    ("network", "NetworkDriver", "Virtual networks and their ports."),
    ("interface", "InterfaceDriver", "Network interfaces of the host."),
    ("storage", "StorageDriver", "Storage pools and their volumes."),
    ("node_device", "NodeDeviceDriver", "Devices of the host."),
    (
        "nwfilter",
        "NwfilterDriver",
        "Network filters and their bindings.",
    ),
    (
        "secret",
        "SecretDriver",
        "Secrets: pass phrases and keys for guests' resources.",
    ),
    (
        "admin",
        "AdminService",
        "Administration of the daemon itself; the daemon implements it.",
    ),
];

/// The trait for what `on` says.
pub fn trait_name(on: &str) -> &'static str {
    TRAITS
        .iter()
        .find(|(name, _, _)| *name == on)
        .map_or("HypervisorDriver", |(_, name, _)| name)
}

/// How an argument arrives in the method.
pub enum Passing<'a> {
    /// As it was decoded.
    Plain,
    /// As the object that was found and checked; the name of its type.
    Resolved(&'a str),
}

/// How `field` of `procedure` arrives.
pub fn passing<'a>(procedure: &Procedure, field: &'a Field) -> Passing<'a> {
    match &field.ty {
        Type::Named(name) if procedure.object.is_none() && procedure.on != "admin" => {
            match name.strip_suffix("Ref") {
                Some(object) => Passing::Resolved(object),
                None => Passing::Plain,
            }
        }
        _ => Passing::Plain,
    }
}

fn method(procedure: &Procedure, program: &Program) -> String {
    let mut out = doc(&procedure.doc, "    ");
    let _ = writeln!(out, "    ///");
    if !procedure.apis.is_empty() {
        let _ = writeln!(out, "    /// Behind `{}`.", procedure.apis.join("`, `"));
    }
    if procedure.object.is_some() {
        let _ = writeln!(
            out,
            "    /// What it is about is not in the arguments: check it with `cx.authorize`."
        );
    }
    let _ = write!(
        out,
        "    fn {}(&self, cx: &mut CallContext<'_>",
        procedure.method(program)
    );
    if procedure.object.is_some() {
        out.push_str(", unchecked: Unchecked");
    }
    for field in &procedure.args {
        let ty = match passing(procedure, field) {
            Passing::Plain => rust(&field.ty),
            Passing::Resolved(object) => format!("Resolved<{object}>"),
        };
        let _ = write!(out, ", {}: {ty}", ident(&field.name));
    }
    let reply = if procedure.reply.is_empty() {
        "()".to_owned()
    } else {
        procedure.reply_type(program)
    };
    let reply = if procedure.object.is_some() {
        format!("Authorized<{reply}>")
    } else {
        reply
    };
    let _ = writeln!(
        out,
        ") -> Result<{reply}> {{\n        Err(VirtError::no_support({:?}).in_domain({}))\n    }}\n",
        procedure.public_name(),
        procedure.error_domain()
    );
    out
}

/// `traits/`: a module per trait.
pub fn tree(description: &Description) -> Tree {
    let mut root = header("The traits that drivers implement.");
    root.push_str("//!\n//! A method that a driver does not write answers `VIR_ERR_NO_SUPPORT` with the name of the public function.\n\n");
    let mut modules = Vec::new();
    for (on, name, about) in TRAITS {
        let _ = writeln!(root, "mod {on};\npub use {on}::{name};");
        let mut file = header(about);
        file.push_str(
            "\n#![allow(unused_imports, reason = \"each file of traits starts with the same imports\")]\n\n\
             use uuid::Uuid;\nuse virt_util::typed_param::TypedParams;\nuse virt_util::{ErrorDomain, Result, VirtError};\n\n\
             use crate::access::*;\nuse crate::call::CallContext;\nuse crate::driver::MethodEntry;\n",
        );
        for program in &description.programs {
            if program
                .procedures
                .iter()
                .any(|procedure| procedure.in_trait() && procedure.on == *on)
            {
                let _ = writeln!(file, "use crate::protocol::{}::*;", program.name);
            }
        }
        let _ = write!(
            file,
            "\n/// {about}\n#[allow(unused_variables, reason = \"default bodies document their parameters by name\")]\n\
             #[allow(clippy::too_many_arguments, reason = \"the arguments are those of the procedures\")]\n\
             pub trait {name}: Send + Sync {{\n\
             /// The methods that the driver wrote; `#[virt_api::implements]` fills it in.\n\
             fn implemented_methods(&self) -> &'static [MethodEntry] {{\n &[]\n }}\n\n"
        );
        for program in &description.programs {
            for procedure in &program.procedures {
                if procedure.in_trait() && procedure.on == *on {
                    file.push_str(&method(procedure, program));
                }
            }
        }
        file.push_str("}\n");
        modules.push(((*on).to_owned(), file));
    }
    Tree {
        name: "traits",
        root,
        modules,
    }
}
