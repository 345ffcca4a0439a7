//! Commands that look at domains.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::names;
use crate::output::object;
use crate::shell::{OrSay, Outcome, Shell};
use serde_json::{Map, Value};
use virt_util::ErrorCode;
use virt_util::types::{
    DomainControlErrorReason, DomainControlState, DomainMemoryStatTags as Tag, DomainModificationImpact,
};

use super::domain;

const ACTIVE: Opt = Opt::text("domain", "name, ID or UUID of the domain")
    .required()
    .positional()
    .complete(complete::active_domain);
const ANY: Opt = Opt::text("domain", "name, ID or UUID of the domain")
    .required()
    .positional()
    .complete(complete::any_domain);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new(
        "domcontrol",
        domcontrol,
        "state of the channel that controls a domain",
    )
    .about("Prints whether the hypervisor's control channel to a domain is free, busy or broken.")
    .options(&[ACTIVE])
    .structured(),
    Command::new("dominfo", dominfo, "basic facts about a domain")
        .about("Prints the basic facts about a domain.")
        .options(&[ANY])
        .structured(),
    Command::new("dommemstat", dommemstat, "memory statistics of a domain")
        .about("Prints the memory statistics of a running domain.")
        .options(&[
            ACTIVE,
            Opt::number("period", "collect statistics every so many seconds"),
            Opt::flag("config", "from the next boot on"),
            Opt::flag("live", "in the running domain"),
            Opt::flag("current", "in the domain as it is now"),
        ])
        .structured(),
    Command::new("domstate", domstate, "state of a domain")
        .about("Prints the state a domain is in.")
        .options(&[ANY, Opt::flag("reason", "say why as well")])
        .structured(),
    super::statistics::DOMSTATS,
    super::list::LIST,
];

fn domcontrol(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let info = domain.control_info()?;
    let state = names::control_state(info.state);
    if shell.structured(|| {
        object([
            ("state", state.into()),
            ("details", names::control_error(info.details).into()),
            ("milliseconds", info.state_time.into()),
        ])
    })? {
        return Ok(());
    }
    let text = match info.state {
        DomainControlState::OK => state.to_owned(),
        DomainControlState::ERROR if info.details > DomainControlErrorReason::NONE => {
            format!("{state}: {}", names::control_error(info.details))
        }
        DomainControlState::ERROR => state.to_owned(),
        _ => format!("{state} ({:.3}s)", info.state_time as f64 / 1000.0),
    };
    shell.print(format!("{text}\n"));
    Ok(())
}

/// The lines of `dominfo`, for people and for programs.
#[derive(Default)]
struct Facts {
    text: String,
    values: Map<String, Value>,
}

impl Facts {
    fn add(&mut self, label: &str, key: &str, text: impl std::fmt::Display, value: impl Into<Value>) {
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("{label}:")
        };
        self.text.push_str(&format!("{label:<15} {text}\n"));
        self.values.insert(key.to_owned(), value.into());
    }
}

fn dominfo(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let mut facts = Facts::default();
    let outcome = gather(&domain, &mut facts);
    if shell.format().is_some() {
        outcome?;
        let values = std::mem::take(&mut facts.values);
        return shell.structured(|| Value::Object(values)).map(|_| ());
    }
    // What could be found out is printed even if something could not.
    shell.print(&facts.text);
    outcome
}

fn gather(domain: &virt_api::Domain, facts: &mut Facts) -> Outcome {
    match domain.id() {
        Some(id) => facts.add("Id", "id", id, id),
        None => facts.add("Id", "id", "-", Value::Null),
    }
    facts.add("Name", "name", domain.name(), domain.name());
    let uuid = domain.uuid().to_string();
    facts.add("UUID", "uuid", &uuid, uuid.as_str());
    if let Ok(os_type) = domain.os_type() {
        facts.add("OS Type", "os-type", &os_type, os_type.as_str());
    }
    let info = domain.info();
    if let Ok(info) = &info {
        let state = names::state(info.state);
        facts.add("State", "state", state, state);
        facts.add("CPU(s)", "cpus", info.virtual_cpus, info.virtual_cpus);
        if info.cpu_time != 0 {
            let seconds = info.cpu_time as f64 / 1e9;
            facts.add(
                "CPU time",
                "cpu-time-ns",
                format_args!("{seconds:.1}s"),
                info.cpu_time,
            );
        }
        if info.max_memory == u64::from(u32::MAX) {
            facts.add("Max memory", "max-memory-kib", "no limit", Value::Null);
        } else {
            facts.add(
                "Max memory",
                "max-memory-kib",
                format_args!("{} KiB", info.max_memory),
                info.max_memory,
            );
        }
        facts.add(
            "Used memory",
            "used-memory-kib",
            format_args!("{} KiB", info.memory),
            info.memory,
        );
    }
    match domain.is_persistent() {
        Ok(persistent) => facts.add("Persistent", "persistent", names::yes_no(persistent), persistent),
        Err(_) => facts.add("Persistent", "persistent", "unknown", Value::Null),
    }
    if let Ok(autostart) = domain.autostart() {
        facts.add("Autostart", "autostart", names::enabled(autostart), autostart);
    }
    if let Ok(once) = domain.autostart_once() {
        facts.add("Autostart Once", "autostart-once", names::enabled(once), once);
    }
    match domain.has_managed_save_image() {
        Ok(saved) => facts.add("Managed save", "managed-save", names::yes_no(saved), saved),
        Err(_) => facts.add("Managed save", "managed-save", "unknown", Value::Null),
    }
    match domain.connection().security_model() {
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => {}
        Err(error) => return Err(error.into()),
        Ok(model) if model.model.is_empty() => {}
        Ok(model) => {
            facts.add(
                "Security model",
                "security-model",
                &model.model,
                model.model.as_str(),
            );
            facts.add("Security DOI", "security-doi", &model.doi, model.doi.as_str());
            let label = domain.security_label()?;
            if !label.label.is_empty() {
                let mode = if label.enforcing {
                    "enforcing"
                } else {
                    "permissive"
                };
                let text = format!("{} ({mode})", label.label);
                facts.add("Security label", "security-label", &text, text.as_str());
            }
        }
    }
    if let Ok(messages) = domain.messages(0.into()) {
        for (index, message) in messages.iter().enumerate() {
            facts.add(
                if index == 0 { "Messages" } else { "" },
                "messages",
                message,
                Value::Null,
            );
        }
        if messages.is_empty() {
            facts.values.remove("messages");
        } else {
            facts.values.insert("messages".into(), messages.into());
        }
    }
    info.map(|_| ()).map_err(Into::into)
}

fn dommemstat(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("current", "live")?;
    call.exclusive("current", "config")?;
    let mut flags = super::metadata::impact(call);
    let (domain, name) = domain(shell, call)?;
    let named = call.has("current") || call.has("live") || call.has("config");
    if !named && domain.is_active().unwrap_or(false) {
        flags |= DomainModificationImpact::LIVE;
    }
    if let Some(period) = call.int("period")? {
        if period < 0 {
            return Err(format!("Invalid collection period value '{period}'").into());
        }
        return domain
            .set_memory_stats_period(period, flags)
            .or_say(|| "Unable to change balloon collection period.");
    }
    let stats = domain
        .memory_stats()
        .or_say(|| format!("Failed to get memory statistics for domain {name}"))?;
    let known: Vec<_> = stats
        .iter()
        .filter_map(|(tag, value)| Some((names::memory_stat(*tag)?, *value)))
        .collect();
    debug_assert_eq!(names::memory_stat(Tag::SWAP_IN), Some("swap_in"));
    if shell.structured(|| {
        known
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect()
    })? {
        return Ok(());
    }
    for (name, value) in known {
        shell.print(format!("{name} {value}\n"));
    }
    Ok(())
}

fn domstate(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let (state, reason) = domain.state()?;
    let (state_name, reason_name) = (names::state(state), names::reason(state, reason));
    if shell.structured(|| object([("state", state_name.into()), ("reason", reason_name.into())]))? {
        return Ok(());
    }
    if call.has("reason") {
        shell.print(format!("{state_name} ({reason_name})\n"));
    } else {
        shell.print(format!("{state_name}\n"));
    }
    Ok(())
}
