//! Snapshots and checkpoints.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::opts::split_commas;
use crate::shell::{Failure, Outcome, Shell};
use virt_util::types::{DomainCheckpointCreateFlags, DomainCheckpointListFlags, DomainSnapshotCreateFlags};
use virt_util::xml::{Writer, XmlFlags};
use virt_util::{ErrorCode, VirtError};

use super::domain;

const ANY: Opt = Opt::text("domain", "name, ID or UUID of the domain")
    .required()
    .positional()
    .complete(complete::any_domain);
const NAME: Opt = Opt::text("checkpointname", "name of the checkpoint")
    .required()
    .positional()
    .complete(complete::nothing);

/// The rows about snapshots.
pub const SNAPSHOTS: &[Command] = &[Command::new(
    "snapshot-create-as",
    snapshot_create_as,
    "take a snapshot of a domain",
)
.about("Takes a snapshot that the options describe.")
.options(&[
    ANY,
    Opt::text("name", "its name")
        .legacy_positional()
        .complete(complete::nothing),
    Opt::text("description", "text for people")
        .legacy_positional()
        .complete(complete::nothing),
    Opt::flag("print-xml", "print its XML, and take none"),
    Opt::flag("no-metadata", "do not keep it in mind"),
    Opt::flag("halt", "stop the domain then"),
    Opt::flag("disk-only", "of the disks, without memory"),
    Opt::flag("reuse-external", "use images that are there already"),
    Opt::flag("quiesce", "let the guest write everything out first"),
    Opt::flag("atomic", "of all disks or of none"),
    Opt::flag("live", "while the guest runs"),
    Opt::flag("validate", "check the XML against the schema"),
    Opt::text("memspec", "memory: [file=]name[,snapshot=type]").complete(complete::nothing),
    Opt::rest(
        "diskspec",
        "disk: disk[,snapshot=type][,driver=type][,stype=type][,file=name]",
    )
    .legacy_positional(),
])];

/// The rows about checkpoints.
pub const CHECKPOINTS: &[Command] = &[
    Command::new(
        "checkpoint-create",
        checkpoint_create,
        "make a checkpoint from XML",
    )
    .about("Makes a checkpoint of a domain.")
    .options(&[
        ANY,
        Opt::text("xmlfile", "file with the checkpoint's XML")
            .positional()
            .complete(|_, call| complete::files(call.text_if_any("xmlfile").unwrap_or_default())),
        Opt::flag("redefine", "write one down that is there"),
        Opt::flag("redefine-validate", "check one that is written down"),
        Opt::flag("quiesce", "let the guest write everything out first"),
    ]),
    Command::new("checkpoint-info", checkpoint_info, "facts about a checkpoint")
        .about("Prints the basic facts about a checkpoint.")
        .options(&[ANY, NAME]),
];

/// A document written by `content` inside of a root element, with the line's end behind it.
fn document(root: &str, content: impl FnOnce(&mut Writer) -> Result<(), Failure>) -> Result<String, Failure> {
    let mut writer = Writer::new(XmlFlags::empty());
    writer.start(root);
    writer.open_body();
    content(&mut writer)?;
    writer.end(root);
    Ok(writer.finish())
}

/// The words of a specification by their keys, each of which may be there once; `None` for anything else.
fn settings<'a, const N: usize>(words: &'a [String], keys: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut found = [None; N];
    for word in words {
        let (key, value) = word.split_once('=')?;
        let place = keys.iter().position(|known| *known == key)?;
        let slot = found.get_mut(place).filter(|slot| slot.is_none())?;
        *slot = Some(value);
    }
    Some(found)
}

fn memory(writer: &mut Writer, text: &str) -> Result<(), Failure> {
    let mut words = split_commas(text);
    for word in &mut words {
        if word.starts_with('/') {
            word.insert_str(0, "file=");
        }
    }
    let Some([snapshot, file]) = settings(&words, ["snapshot", "file"]) else {
        return Err(format!("unable to parse memspec: {text}").into());
    };
    writer.start("memory");
    if let Some(snapshot) = snapshot {
        writer.attribute("snapshot", snapshot);
    }
    if let Some(file) = file {
        writer.attribute("file", file);
    }
    writer.end("memory");
    Ok(())
}

fn disk(writer: &mut Writer, text: &str) -> Result<(), Failure> {
    let words = split_commas(text);
    let unreadable = || Failure::from(format!("unable to parse diskspec: {text}"));
    let (name, rest) = words.split_first().ok_or_else(unreadable)?;
    let found = settings(rest, ["snapshot", "driver", "stype", "file"]);
    let [snapshot, driver, stype, file] = found.ok_or_else(unreadable)?;
    let source = match stype {
        Some("block") => "dev",
        None | Some("file") => "file",
        Some(other) => {
            let mut failure = Failure::from(format!("Unknown storage type: '{other}'"));
            failure.said.push(format!("unable to parse diskspec: {text}"));
            return Err(failure);
        }
    };
    writer.start("disk");
    writer.attribute("name", name);
    if let Some(snapshot) = snapshot {
        writer.attribute("snapshot", snapshot);
    }
    if let Some(stype) = stype {
        writer.attribute("type", stype);
    }
    for (element, attribute, value) in [("driver", "type", driver), ("source", source, file)] {
        if let Some(value) = value {
            writer.start(element);
            writer.attribute(attribute, value);
            writer.end(element);
        }
    }
    writer.end("disk");
    Ok(())
}

fn snapshot_create_as(shell: &mut Shell, call: &Invocation) -> Outcome {
    type Flags = DomainSnapshotCreateFlags;
    let mut flags = 0;
    for (option, flag) in [
        ("no-metadata", Flags::NO_METADATA),
        ("halt", Flags::HALT),
        ("disk-only", Flags::DISK_ONLY),
        ("reuse-external", Flags::REUSE_EXT),
        ("quiesce", Flags::QUIESCE),
        ("atomic", Flags::ATOMIC),
        ("live", Flags::LIVE),
        ("validate", Flags::VALIDATE),
    ] {
        if call.has(option) {
            flags |= flag.bits();
        }
    }
    let (domain, _) = domain(shell, call)?;
    let (name, description) = (call.text("name")?, call.text("description")?);
    let memspec = call.text("memspec")?;
    let xml = document("domainsnapshot", |writer| {
        for (element, text) in [("name", name), ("description", description)] {
            if let Some(text) = text {
                writer.text_element(element, text);
            }
        }
        if let Some(memspec) = memspec {
            memory(writer, memspec)?;
        }
        let disks = call.values("diskspec");
        if !disks.is_empty() {
            writer.start("disks");
            disks.iter().try_for_each(|text| disk(writer, text))?;
            writer.end("disks");
        }
        Ok(())
    })?;
    if call.has("print-xml") {
        shell.print(format!("{xml}\n"));
        return Ok(());
    }
    let name = domain.create_snapshot(&xml, Flags::from(flags))?;
    shell.extra(format!("Domain snapshot {name} created"));
    Ok(())
}

fn checkpoint_create(shell: &mut Shell, call: &Invocation) -> Outcome {
    type Flags = DomainCheckpointCreateFlags;
    call.requires("redefine-validate", "redefine")?;
    let mut flags = 0;
    for (option, flag) in [
        ("redefine", Flags::REDEFINE),
        ("redefine-validate", Flags::REDEFINE_VALIDATE),
        ("quiesce", Flags::QUIESCE),
    ] {
        if call.has(option) {
            flags |= flag.bits();
        }
    }
    let (domain, _) = domain(shell, call)?;
    let file = call.text("xmlfile")?;
    let xml = match file {
        Some(file) => super::read_document(file)?,
        None => "<domaincheckpoint/>".to_owned(),
    };
    let name = domain.create_checkpoint(&xml, Flags::from(flags))?;
    match file {
        Some(file) => shell.extra(format!("Domain checkpoint {name} created from '{file}'")),
        None => shell.extra(format!("Domain checkpoint {name} created")),
    }
    Ok(())
}

fn checkpoint_info(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let checkpoint = domain.checkpoint(call.required_text("checkpointname")?)?;
    shell.print(format!("{:<15} {}\n", "Name:", checkpoint.name()));
    shell.print(format!("{:<15} {}\n", "Domain:", domain.name()));
    let parent = match checkpoint.parent() {
        Ok(parent) => parent,
        Err(error) if error.code() == ErrorCode::NO_DOMAIN_CHECKPOINT => "-".to_owned(),
        Err(error) => return unexpected(error),
    };
    shell.print(format!("{:<15} {parent}\n", "Parent:"));
    let children = checkpoint.count_children(DomainCheckpointListFlags::empty());
    let children = match children {
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => return Ok(()),
        other => other?,
    };
    shell.print(format!("{:<15} {children}\n", "Children:"));
    let descendants = checkpoint.count_children(DomainCheckpointListFlags::DESCENDANTS)?;
    shell.print(format!("{:<15} {descendants}\n", "Descendants:"));
    Ok(())
}

fn unexpected(error: VirtError) -> Outcome {
    let mut failure = Failure::from(error);
    failure
        .said
        .push("unexpected problem querying checkpoint state".to_owned());
    Err(failure)
}
