//! `list`.

use crate::command::{Command, Opt};
use crate::grammar::Invocation;
use crate::names;
use crate::output::object;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use serde_json::Value;
use std::cmp::Ordering;
use virt_api::{Connect, Domain};
use virt_util::table::Table;
use virt_util::types::{ConnectListAllDomainsFlags as Filter, DomainState};
use virt_util::{ErrorCode, VirtError};

/// The row.
pub const LIST: Command = Command::new("list", list, "list domains")
    .about("Prints the domains that the options select; without any, those that are active.")
    .options(&[
        Opt::flag("inactive", "domains that are not active"),
        Opt::flag("all", "active and inactive domains"),
        Opt::flag("transient", "domains without a stored definition"),
        Opt::flag("persistent", "domains with a stored definition"),
        Opt::flag("with-snapshot", "domains that have a snapshot"),
        Opt::flag("without-snapshot", "domains that have no snapshot"),
        Opt::flag("with-checkpoint", "domains that have a checkpoint"),
        Opt::flag("without-checkpoint", "domains that have no checkpoint"),
        Opt::flag("state-running", "domains that are running"),
        Opt::flag("state-paused", "domains that are paused"),
        Opt::flag("state-shutoff", "domains that are shut off"),
        Opt::flag("state-other", "domains in any other state"),
        Opt::flag("autostart", "domains that are started with the host"),
        Opt::flag("no-autostart", "domains that are not started with the host"),
        Opt::flag("with-managed-save", "domains with a managed save image"),
        Opt::flag("without-managed-save", "domains without a managed save image"),
        Opt::flag("uuid", "print UUIDs"),
        Opt::flag("name", "print names"),
        Opt::flag("id", "print IDs"),
        Opt::flag("table", "print a table (default)"),
        Opt::flag(
            "managed-save",
            "show which inactive domains have a managed save image",
        ),
        Opt::flag("title", "print titles as well"),
    ])
    .structured();

const FILTERS: &[(&str, Filter)] = &[
    ("persistent", Filter::PERSISTENT),
    ("transient", Filter::TRANSIENT),
    ("with-managed-save", Filter::MANAGEDSAVE),
    ("without-managed-save", Filter::NO_MANAGEDSAVE),
    ("autostart", Filter::AUTOSTART),
    ("no-autostart", Filter::NO_AUTOSTART),
    ("with-snapshot", Filter::HAS_SNAPSHOT),
    ("without-snapshot", Filter::NO_SNAPSHOT),
    ("with-checkpoint", Filter::HAS_CHECKPOINT),
    ("without-checkpoint", Filter::NO_CHECKPOINT),
    ("state-running", Filter::RUNNING),
    ("state-paused", Filter::PAUSED),
    ("state-shutoff", Filter::SHUTOFF),
    ("state-other", Filter::OTHER),
];

fn list(shell: &mut Shell, call: &Invocation) -> Outcome {
    let mut flags = Filter::ACTIVE;
    if call.has("inactive") || call.has("state-shutoff") {
        flags = Filter::INACTIVE;
    }
    if call.has("all") {
        flags = Filter::INACTIVE | Filter::ACTIVE;
    }
    for (option, flag) in FILTERS {
        if call.has(option) {
            flags |= *flag;
        }
    }
    call.exclusive("table", "name")?;
    call.exclusive("table", "id")?;

    let connection = shell.connection()?;
    let domains = collect(&connection, flags)?;
    if shell.format().is_some() {
        return structured(shell, call, &domains);
    }
    if call.has("table") || !(call.has("uuid") || call.has("name") || call.has("id")) {
        return as_table(shell, call, &domains);
    }
    for domain in &domains {
        let mut cells = Vec::new();
        if call.has("uuid") {
            cells.push(domain.uuid().to_string());
        }
        if call.has("id") {
            // Alone, IDs are printed for the domains that have one.
            if domain.id().is_none() && !call.has("uuid") && !call.has("name") {
                continue;
            }
            cells.push(id_text(domain));
        }
        if call.has("name") {
            cells.push(domain.name().to_owned());
        }
        shell.print(format!("{}\n", cells.join(" ")));
    }
    Ok(())
}

fn id_text(domain: &Domain) -> String {
    domain.id().map_or_else(|| "-".into(), |id| id.to_string())
}

fn as_table(shell: &mut Shell, call: &Invocation, domains: &[Domain]) -> Outcome {
    let (title, uuid) = (call.has("title"), call.has("uuid"));
    let mut header = vec!["Id", "Name", "State"];
    header.extend(title.then_some("Title"));
    header.extend(uuid.then_some("UUID"));
    let mut table = Table::new(&header);
    for domain in domains {
        // A domain that went away in the meantime is left out.
        let Ok((state, _)) = domain.state() else { continue };
        let mut row = vec![
            id_text(domain),
            domain.name().to_owned(),
            state_text(call, domain, state).to_owned(),
        ];
        if title {
            row.push(super::metadata::title(domain)?);
        }
        if uuid {
            row.push(domain.uuid().to_string());
        }
        table.row(row);
    }
    let text = table.render(!shell.options.quiet);
    shell.print(text);
    Ok(())
}

fn state_text(call: &Invocation, domain: &Domain, state: DomainState) -> &'static str {
    let saved = call.has("managed-save")
        && state == DomainState::SHUTOFF
        && domain.has_managed_save_image().unwrap_or(false);
    if saved { "saved" } else { names::state(state) }
}

fn structured(shell: &mut Shell, call: &Invocation, domains: &[Domain]) -> Outcome {
    let mut rows = Vec::new();
    for domain in domains {
        let Ok((state, _)) = domain.state() else { continue };
        let mut row = vec![
            ("id", domain.id().map_or(Value::Null, Value::from)),
            ("name", domain.name().into()),
            ("uuid", domain.uuid().to_string().into()),
            ("state", state_text(call, domain, state).into()),
        ];
        if call.has("title") {
            row.push(("title", super::metadata::title(domain)?.into()));
        }
        rows.push(Value::Object(
            row.into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ));
    }
    shell
        .structured(|| object([("domains", Value::Array(rows))]))
        .map(|_| ())
}

/// The selected domains: active ones by ID, then the others by name.
fn collect(connection: &Connect, flags: Filter) -> Result<Vec<Domain>, Failure> {
    let mut domains = match connection.list_all_domains(flags) {
        Ok(domains) => domains,
        // A peer that does not know a filter: ask for more and filter here.
        Err(error) if error.code() == ErrorCode::INVALID_ARG => {
            let basic = flags & (Filter::ACTIVE | Filter::INACTIVE);
            let all = connection
                .list_all_domains(basic)
                .or_say(|| "Failed to list domains")?;
            filter(all, flags)?
        }
        // A peer from before list-all.
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => {
            filter(collect_old(connection, flags)?, flags)?
        }
        Err(error) => return Err(error).or_say(|| "Failed to list domains"),
    };
    domains.sort_by(order);
    Ok(domains)
}

fn order(a: &Domain, b: &Domain) -> Ordering {
    match (a.id(), b.id()) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => {
            let fold = |domain: &Domain| {
                domain
                    .name()
                    .bytes()
                    .map(|byte| byte.to_ascii_lowercase())
                    .collect::<Vec<_>>()
            };
            fold(a).cmp(&fold(b))
        }
    }
}

fn collect_old(connection: &Connect, flags: Filter) -> Result<Vec<Domain>, Failure> {
    let either = flags.intersects(Filter::ACTIVE | Filter::INACTIVE);
    let mut domains = Vec::new();
    if !either || flags.contains(Filter::ACTIVE) {
        let ids = connection
            .list_domain_ids()
            .or_say(|| "Failed to list active domains")?;
        domains.extend(
            ids.into_iter()
                .filter_map(|id| connection.lookup_domain_by_id(id).ok()),
        );
    }
    if !either || flags.contains(Filter::INACTIVE) {
        let names = connection
            .list_defined_domain_names()
            .or_say(|| "Failed to list inactive domains")?;
        domains.extend(
            names
                .iter()
                .filter_map(|name| connection.lookup_domain_by_name(name).ok()),
        );
    }
    Ok(domains)
}

/// Whether a domain with this property passes the pair of filters about it.
fn passes(
    flags: Filter,
    with: Filter,
    without: Filter,
    has: impl FnOnce() -> Result<bool, VirtError>,
) -> Result<bool, VirtError> {
    if !flags.intersects(with | without) {
        return Ok(true);
    }
    let wanted = if has()? { with } else { without };
    Ok(flags.contains(wanted))
}

fn filter(domains: Vec<Domain>, flags: Filter) -> Result<Vec<Domain>, Failure> {
    let mut kept = Vec::new();
    for domain in domains {
        if keeps(&domain, flags)? {
            kept.push(domain);
        }
    }
    Ok(kept)
}

fn keeps(domain: &Domain, flags: Filter) -> Result<bool, Failure> {
    let states = Filter::RUNNING | Filter::PAUSED | Filter::SHUTOFF | Filter::OTHER;
    let state_passes = || -> Result<bool, VirtError> {
        if !flags.intersects(states) {
            return Ok(true);
        }
        let wanted = match domain.state()?.0 {
            DomainState::RUNNING => Filter::RUNNING,
            DomainState::PAUSED => Filter::PAUSED,
            DomainState::SHUTOFF => Filter::SHUTOFF,
            _ => Filter::OTHER,
        };
        Ok(flags.contains(wanted))
    };
    Ok(passes(flags, Filter::PERSISTENT, Filter::TRANSIENT, || {
        domain.is_persistent()
    })
    .or_say(|| "Failed to get domain persistence info")?
        && state_passes().or_say(|| "Failed to get domain state")?
        && passes(flags, Filter::AUTOSTART, Filter::NO_AUTOSTART, || {
            domain.autostart()
        })
        .or_say(|| "Failed to get domain autostart state")?
        && passes(flags, Filter::MANAGEDSAVE, Filter::NO_MANAGEDSAVE, || {
            domain.has_managed_save_image()
        })
        .or_say(|| "Failed to check for managed save image")?
        && passes(flags, Filter::HAS_SNAPSHOT, Filter::NO_SNAPSHOT, || {
            Ok(domain.snapshot_count(0.into())? > 0)
        })
        .or_say(|| "Failed to get snapshot count")?
        && passes(flags, Filter::HAS_CHECKPOINT, Filter::NO_CHECKPOINT, || {
            Ok(domain.checkpoint_count()? > 0)
        })
        .or_say(|| "Failed to get checkpoint count")?)
}
