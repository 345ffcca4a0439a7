//! `desc`, `metadata` and `edit`: what people write about their domains, and the editor.

use std::io::IsTerminal;

use crate::edit::{self, Edited};
use crate::grammar::Invocation;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use virt_api::Domain;
use virt_util::ErrorCode;
use virt_util::types::{DomainDefineFlags, DomainMetadataType, DomainModificationImpact, DomainXmlFlags};

use super::domain;

/// `--live` and `--config` as flags.
pub(super) fn impact(call: &Invocation) -> DomainModificationImpact {
    let mut flags = DomainModificationImpact::empty();
    if call.has("live") {
        flags |= DomainModificationImpact::LIVE;
    }
    if call.has("config") {
        flags |= DomainModificationImpact::CONFIG;
    }
    flags
}

/// A domain's title; empty if it has none.
pub(super) fn title(domain: &Domain) -> Result<String, Failure> {
    text(
        domain,
        DomainMetadataType::TITLE,
        DomainModificationImpact::empty(),
    )
}

fn text(
    domain: &Domain,
    kind: DomainMetadataType,
    flags: DomainModificationImpact,
) -> Result<String, Failure> {
    match domain.metadata(kind, None, flags) {
        Ok(text) => Ok(text),
        Err(error) if error.code() == ErrorCode::NO_DOMAIN_METADATA => Ok(String::new()),
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => {
            let xml = domain
                .xml(DomainXmlFlags::from(flags.bits()))
                .or_say(|| "Failed to get domain description xml")?;
            let expression = if kind == DomainMetadataType::TITLE {
                "string(/domain/title[1])"
            } else {
                "string(/domain/description[1])"
            };
            crate::xpath::text(&xml, expression)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn desc(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("current", "live")?;
    call.exclusive("current", "config")?;
    let flags = impact(call);
    // libvirt's virsh asks with the flag of the XML call here, which has the same bit as the stored definition.
    let query = flags & DomainModificationImpact::CONFIG;
    let (domain, _) = domain(shell, call)?;
    domain.state()?;
    let (kind, what) = if call.has("title") {
        (DomainMetadataType::TITLE, "title")
    } else {
        (DomainMetadataType::DESCRIPTION, "description")
    };

    let given = call.joined("new-desc");
    if !call.has("edit") && given.is_none() {
        let old = text(&domain, kind, query)?;
        if old.is_empty() {
            shell.extra(format!("No {what} for domain: {}", domain.name()));
        } else {
            shell.print(old);
        }
        return Ok(());
    }
    let old = text(&domain, kind, query)?;
    let mut new = given.unwrap_or_else(|| old.clone());
    if call.has("edit") {
        new = edit::once(shell, &new)?;
        // Editors end a file with a newline; a title does not.
        if new.ends_with('\n') {
            new.pop();
        }
        if new == old {
            shell.extra(format!("Domain {what} not changed\n"));
            return Ok(());
        }
    }
    domain
        .set_metadata(kind, Some(&new), None, None, flags)
        .or_say(|| format!("Failed to set new domain {what}"))?;
    shell.extra(format!("Domain {what} updated successfully"));
    Ok(())
}

pub(super) fn metadata(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("current", "live")?;
    call.exclusive("current", "config")?;
    call.exclusive("edit", "set")?;
    call.exclusive("remove", "set")?;
    call.exclusive("remove", "edit")?;
    let flags = impact(call);
    let (domain, _) = domain(shell, call)?;
    let uri = call.required_text("uri")?;
    let key = call.text("key")?;
    let set = call.text("set")?;
    if (set.is_some() || call.has("edit")) && key.is_none() {
        return Err("namespace key is required when modifying metadata".into());
    }
    let kind = DomainMetadataType::ELEMENT;
    if set.is_some() || call.has("remove") {
        domain.set_metadata(kind, set, key, Some(uri), flags)?;
        let done = if call.has("remove") {
            "Metadata removed"
        } else {
            "Metadata modified"
        };
        shell.extra(format!("{done}\n"));
    } else if call.has("edit") {
        let get = || {
            Ok(domain
                .metadata(kind, Some(uri), flags)
                .unwrap_or_else(|_| "\n".into()))
        };
        let set = |text: &str, _| domain.set_metadata(kind, Some(text), key, Some(uri), flags);
        match edit::until_accepted(shell, edit::Relax::Impossible, get, set)? {
            Edited::Unchanged => shell.extra("Metadata not changed"),
            Edited::Changed(()) => shell.extra("Metadata modified\n"),
        }
    } else {
        let text = match domain.metadata(kind, Some(uri), flags) {
            Err(error) if error.code() == ErrorCode::NO_DOMAIN_METADATA => String::new(),
            other => other?,
        };
        match shell.format() {
            Some(_) if text.is_empty() => return shell.structured(|| serde_json::Value::Null).map(|_| ()),
            Some(format) => shell.print(format.render(&crate::xpath::to_value(&text, None)?)?),
            None => shell.print(format!("{text}\n")),
        }
    }
    Ok(())
}

pub(super) fn edit(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let connection = shell.connection()?;
    let relax = if call.has("skip-validate") {
        edit::Relax::Already
    } else {
        edit::Relax::Possible
    };
    let get = || domain.xml(DomainXmlFlags::SECURE | DomainXmlFlags::INACTIVE);
    // People are told what their change means; programs read what they always have.
    let before = std::io::stdout().is_terminal().then(get).transpose()?;
    let define = |xml: &str, validate: bool| {
        let flags = if validate {
            DomainDefineFlags::VALIDATE
        } else {
            DomainDefineFlags::empty()
        };
        match connection.define_domain(xml, flags) {
            // A driver from before validation.
            Err(error) if error.code() == ErrorCode::NO_SUPPORT && validate => {
                connection.define_domain(xml, DomainDefineFlags::empty())
            }
            other => other,
        }
    };
    match edit::until_accepted(shell, relax, get, define)? {
        Edited::Unchanged => {
            shell.extra(format!(
                "Domain '{}' XML configuration not changed.\n",
                domain.name()
            ));
        }
        Edited::Changed(edited) => {
            shell.extra(format!("Domain '{}' XML configuration edited.\n", edited.name()));
            if let Some(before) = before {
                let after = edited.xml(DomainXmlFlags::SECURE | DomainXmlFlags::INACTIVE)?;
                let running = edited.is_active()?;
                shell.extra(super::explain::explain(&before, &after, running)?);
            }
        }
    }
    Ok(())
}
