//! What a change of a definition means: what changed, and when it takes effect.

use std::fmt::Write as _;

use virt_api::Connect;
use virt_conf::diff::{Change, diff};
use virt_conf::domain::Domain as Definition;
use virt_conf::domain::effect::{Effect, effect};
use virt_conf::domain::settle::settle;
use virt_util::types::{DomainDefineFlags, DomainXmlFlags};
use virt_util::xml::{Doc, DocOptions, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, VirtError};

use crate::shell::{Failure, Outcome, Shell};

/// The difference between two definitions that a driver has stored, as texts for people; empty if there is none.
pub(super) fn explain(old: &str, new: &str, running: bool) -> Result<String, VirtError> {
    let new = Definition::parse(new, XmlFlags::INACTIVE, "(new definition)")?;
    explain_read(old, new, running)
}

/// [`explain`] for a new definition that no driver has seen: both are compared as they would be stored.
fn explain_read(old: &str, mut new: Definition, running: bool) -> Result<String, VirtError> {
    let stored = Definition::parse(old, XmlFlags::INACTIVE, "(stored definition)")?;
    let mut old = stored.clone();
    settle(&mut old, &stored)?;
    settle(&mut new, &stored)?;
    let changes = diff(&old, &new, XmlFlags::INACTIVE | XmlFlags::SECURE);
    Ok(tell(&changes, running))
}

fn tell(changes: &[Change], running: bool) -> String {
    let mut text = String::new();
    let mut filled_in = 0usize;
    for change in changes {
        match effect(change) {
            Effect::FilledIn => filled_in += 1,
            effect if running => {
                let _ = writeln!(text, "  {change}  ({effect})");
            }
            _ => {
                let _ = writeln!(text, "  {change}  (the guest is off: at its next start)");
            }
        }
    }
    if filled_in > 0 {
        let _ = writeln!(text, "  and {filled_in} more left to the driver");
    }
    text
}

/// What the driver would store of the document; none where it cannot be asked.
fn preview(
    shell: &mut Shell,
    connection: &Connect,
    xml: &str,
    validate: bool,
) -> Result<Option<String>, Failure> {
    let mut flags = DomainDefineFlags::empty();
    flags.set(DomainDefineFlags::VALIDATE, validate);
    match connection.preview_domain(xml, flags) {
        Ok(xml) => Ok(Some(xml)),
        // A daemon that does not know the program, a driver that has no answer.
        Err(error) if matches!(error.code(), ErrorCode::RPC | ErrorCode::NO_SUPPORT) => {
            shell.extra(
                "The driver cannot tell what it would fill in; taken to be as in the stored definition.\n",
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// `define --dry-run`: reads the document and tells what it would change; stores nothing.
pub(super) fn dry_run(shell: &mut Shell, xml: &str, path: &str, validate: bool) -> Outcome {
    let doc = Doc::parse_with(xml, &DocOptions::named(path).in_domain(ErrorDomain::DOMAIN))?;
    if validate {
        virt_conf::schema::check(&doc)?;
    }
    let all = Definition::parse_all(&doc, XmlFlags::INACTIVE);
    let definition = match all {
        Ok(definition) => definition,
        Err(mut errors) => {
            let last = errors.pop();
            for error in errors {
                shell.error(&error.to_string());
            }
            return Err(last.map_or_else(Failure::silent, Failure::from));
        }
    };
    let connection = shell.connection()?;
    let preview = preview(shell, &connection, xml, validate)?;
    let found = match definition.uuid {
        Some(uuid) => connection.lookup_domain_by_uuid(uuid),
        None => connection.lookup_domain_by_name(&definition.name),
    };
    let domain = match found {
        Ok(domain) => domain,
        Err(error) if error.code() == ErrorCode::NO_DOMAIN => {
            shell.print(format!("Domain '{}' would be new.\n", definition.name));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let running = domain.is_active()?;
    let stored = domain.xml(DomainXmlFlags::SECURE | DomainXmlFlags::INACTIVE)?;
    let told = match preview {
        Some(preview) => explain(&stored, &preview, running)?,
        None => explain_read(&stored, definition, running)?,
    };
    if told.is_empty() {
        shell.print(format!("Domain '{}' would not change.\n", domain.name()));
    } else {
        shell.print(format!("Domain '{}' would change:\n{told}", domain.name()));
    }
    Ok(())
}
