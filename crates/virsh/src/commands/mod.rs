//! The commands, one module per family. Each holds its table and its functions; [`GROUPS`] is the order of the help.

use crate::command::Group;
use crate::grammar::Invocation;
use crate::shell::{Failure, Level, Shell};
use virt_api::{Connect, Domain};

pub mod domain;
pub mod drivers;
pub mod events;
mod explain;
pub mod guest;
pub mod host;
pub mod lifecycle;
pub mod list;
pub mod metadata;
pub mod moments;
pub mod monitor;
pub mod pool;
mod processors;
mod statistics;
pub mod undefine;
pub mod virsh;

/// Every command, grouped.
pub const GROUPS: &[Group] = &[
    Group {
        name: "Domain Management",
        keyword: "domain",
        commands: domain::COMMANDS,
    },
    Group {
        name: "Domain Monitoring",
        keyword: "monitor",
        commands: monitor::COMMANDS,
    },
    Group {
        name: "Domain Events",
        keyword: "events",
        commands: events::COMMANDS,
    },
    Group {
        name: "Host and Hypervisor",
        keyword: "host",
        commands: host::COMMANDS,
    },
    Group {
        name: "Checkpoint",
        keyword: "checkpoint",
        commands: moments::CHECKPOINTS,
    },
    Group {
        name: "Snapshot",
        keyword: "snapshot",
        commands: moments::SNAPSHOTS,
    },
    Group {
        name: "Storage Pool",
        keyword: "pool",
        commands: pool::COMMANDS,
    },
    Group {
        name: "Virsh itself",
        keyword: "virsh",
        commands: virsh::COMMANDS,
    },
];

/// How a domain may be named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// By the number that a running domain has.
    pub id: bool,
    /// By its UUID.
    pub uuid: bool,
    /// By its name.
    pub name: bool,
}

impl By {
    /// In any way.
    pub const ANY: Self = Self {
        id: true,
        uuid: true,
        name: true,
    };
    /// By name or UUID.
    pub const NAME_OR_UUID: Self = Self {
        id: false,
        uuid: true,
        name: true,
    };
    /// By number or UUID.
    pub const ID_OR_UUID: Self = Self {
        id: true,
        uuid: true,
        name: false,
    };
    /// By number or name.
    pub const ID_OR_NAME: Self = Self {
        id: true,
        uuid: false,
        name: true,
    };
}

/// The domain that the option `domain` names, and the name as it was given.
pub(crate) fn domain<'a>(shell: &mut Shell, call: &'a Invocation) -> Result<(Domain, &'a str), Failure> {
    domain_by(shell, call, By::ANY)
}

/// [`domain()`], found in these ways only.
pub(crate) fn domain_by<'a>(
    shell: &mut Shell,
    call: &'a Invocation,
    by: By,
) -> Result<(Domain, &'a str), Failure> {
    let text = call.required_text("domain")?;
    let command = call.command.name;
    shell.debug(Level::Info, || {
        format!("{command}: found option <domain>: {text}")
    });
    domain_named(shell, call, text, by).map(|domain| (domain, text))
}

/// The domain of that name, id or UUID.
fn domain_named(shell: &mut Shell, call: &Invocation, text: &str, by: By) -> Result<Domain, Failure> {
    let connection = shell.connection()?;
    look_up(shell, &connection, call.command.name, text, by)
        .ok_or_else(|| format!("failed to get domain '{text}'").into())
}

fn look_up(shell: &mut Shell, connection: &Connect, command: &str, text: &str, by: By) -> Option<Domain> {
    if by.id
        && let Some(id) = crate::numbers::int(text, 10).filter(|id| *id >= 0)
    {
        shell.debug(Level::Debug, || format!("{command}: <domain> looks like ID"));
        if let Ok(domain) = connection.lookup_domain_by_id(id) {
            return Some(domain);
        }
    }
    // A UUID has 36 characters and nothing else is worth asking for.
    if by.uuid && text.len() == 36 {
        shell.debug(Level::Debug, || {
            format!("{command}: <domain> trying as domain UUID")
        });
        if let Ok(domain) = connection.lookup_domain_by_uuid_string(text) {
            return Some(domain);
        }
    }
    if by.name {
        shell.debug(Level::Debug, || {
            format!("{command}: <domain> trying as domain NAME")
        });
        if let Ok(domain) = connection.lookup_domain_by_name(text) {
            return Some(domain);
        }
    }
    None
}

/// The largest document that is read from a file: 10 MiB.
const DOCUMENT_MAX: u64 = 10 * 1024 * 1024;

/// The XML of a document `root` in a file the user named. A file whose name ends in `.json`, `.yaml` or `.yml` holds it in
/// that notation.
pub(crate) fn read_definition(path: &str, root: &str) -> Result<String, Failure> {
    use virt_conf::data::{Notation, to_xml};
    use virt_util::xml::XmlFlags;
    let text = read_document(path)?;
    match Notation::of_file(path) {
        None => Ok(text),
        Some(notation) => {
            let flags = XmlFlags::SECURE | XmlFlags::INACTIVE;
            Ok(to_xml(&text, notation, root, flags, path)?)
        }
    }
}

/// The text of a file the user named; `-` is no special name.
pub(crate) fn read_document(path: &str) -> Result<String, Failure> {
    use std::io::Read;
    let open_failed = |error: std::io::Error| {
        Failure::from(virt_util::VirtError::io(
            &error,
            format_args!("Failed to open file '{path}'"),
        ))
    };
    let file = std::fs::File::open(path).map_err(open_failed)?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| virt_util::VirtError::io(&error, format_args!("Failed to read file '{path}'")))?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(virt_util::VirtError::system(
            nix::errno::Errno::EOVERFLOW as i32,
            format_args!("Failed to read file '{path}'"),
        )
        .into());
    }
    String::from_utf8(bytes).map_err(|_| {
        virt_util::VirtError::new(
            virt_util::ErrorCode::XML_ERROR,
            format_args!("file '{path}' is not UTF-8"),
        )
        .into()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_keep_the_rules_of_the_grammar() {
        assert_eq!(crate::command::check(super::GROUPS), Ok(()));
    }
}
