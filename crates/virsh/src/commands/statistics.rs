//! What is counted of domains, how they are scheduled, and how much memory they may have.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use virt_util::typed_param::{TypedParam, TypedParams, TypedValue};
use virt_util::types::{
    ConnectGetAllDomainStatsFlags as Filter, DomainMemoryModFlags, DomainModificationImpact, DomainStatsTypes,
};

use super::processors::impact;
use super::{By, domain, domain_named};

const ANY: Opt = Opt::text("domain", "name, ID or UUID of the domain")
    .required()
    .positional()
    .complete(complete::any_domain);

pub(super) const CPU_STATS: Command = Command::new("cpu-stats", cpu_stats, "CPU time that a domain has used")
    .about("Prints for each CPU of the host and in total how long a domain was busy.")
    .options(&[
        ANY,
        Opt::flag("total", "the sum of all"),
        Opt::number("start", "the first CPU").legacy_positional(),
        Opt::number("count", "of how many CPUs").legacy_positional(),
    ]);
pub(super) const SCHEDINFO: Command = Command::new("schedinfo", schedinfo, "how a domain is scheduled")
    .about("Prints or sets the parameters of the scheduler.")
    .options(&[
        ANY,
        Opt::number("weight", "weight for Xen's credit scheduler"),
        Opt::number("cap", "cap for Xen's credit scheduler"),
        Opt::flag("current", "in the domain as it is now"),
        Opt::flag("config", "from the next boot on"),
        Opt::flag("live", "in the running domain"),
        Opt::rest("set", "parameter=value").positional(),
    ]);
pub(super) const SETMAXMEM: Command = Command::new("setmaxmem", setmaxmem, "set the most memory of a domain")
    .about("Changes how much memory a domain may have at most.")
    .options(&[
        ANY,
        Opt::alias("kilobytes", "size", None),
        Opt::number("size", "how much, in KiB unless a unit says otherwise")
            .required()
            .positional()
            .complete(complete::nothing),
        Opt::flag("config", "from the next boot on"),
        Opt::flag("live", "in the running domain"),
        Opt::flag("current", "in the domain as it is now"),
    ]);
pub(super) const DOMSTATS: Command = Command::new("domstats", domstats, "statistics of domains")
    .about("Prints statistics of one, several or all domains.")
    .options(&[
        Opt::flag("state", "their states"),
        Opt::flag("cpu-total", "CPU time"),
        Opt::flag("balloon", "memory balloons"),
        Opt::flag("vcpu", "virtual CPUs"),
        Opt::flag("interface", "network interfaces"),
        Opt::flag("block", "block devices"),
        Opt::flag("perf", "performance counters"),
        Opt::flag("iothread", "I/O threads"),
        Opt::flag("memory", "use of memory"),
        Opt::flag("dirtyrate", "how fast memory changes"),
        Opt::flag("vm", "what the hypervisor itself counts"),
        Opt::flag("list-active", "only active domains"),
        Opt::flag("list-inactive", "only inactive domains"),
        Opt::flag("list-persistent", "only persistent domains"),
        Opt::flag("list-transient", "only transient domains"),
        Opt::flag("list-running", "only running domains"),
        Opt::flag("list-paused", "only paused domains"),
        Opt::flag("list-shutoff", "only domains that are shut off"),
        Opt::flag("list-other", "only domains in other states"),
        Opt::flag("raw", "values as they are"),
        Opt::flag("enforce", "fail rather than leave out what is asked for"),
        Opt::flag("backing", "of images below the disks as well"),
        Opt::flag("nowait", "only what is known at once"),
        Opt::rest("domain", "the domains")
            .positional()
            .complete(complete::any_domain),
    ]);

/// A parameter's value as text.
fn shown(value: &TypedValue) -> String {
    match value {
        TypedValue::Int(value) => value.to_string(),
        TypedValue::UInt(value) => value.to_string(),
        TypedValue::LLong(value) => value.to_string(),
        TypedValue::ULLong(value) => value.to_string(),
        TypedValue::Double(value) => format!("{value:.6}"),
        TypedValue::Boolean(value) => crate::names::yes_no(*value).to_owned(),
        TypedValue::String(value) => value.clone(),
    }
}

fn domstats(shell: &mut Shell, call: &Invocation) -> Outcome {
    type Group = DomainStatsTypes;
    let mut stats = 0;
    for (option, group) in [
        ("state", Group::STATE),
        ("cpu-total", Group::CPU_TOTAL),
        ("balloon", Group::BALLOON),
        ("vcpu", Group::VCPU),
        ("interface", Group::INTERFACE),
        ("block", Group::BLOCK),
        ("perf", Group::PERF),
        ("iothread", Group::IOTHREAD),
        ("memory", Group::MEMORY),
        ("dirtyrate", Group::DIRTYRATE),
        ("vm", Group::VM),
    ] {
        if call.has(option) {
            stats |= group.bits();
        }
    }
    let mut flags = 0;
    for (option, flag) in [
        ("list-active", Filter::ACTIVE),
        ("list-inactive", Filter::INACTIVE),
        ("list-persistent", Filter::PERSISTENT),
        ("list-transient", Filter::TRANSIENT),
        ("list-running", Filter::RUNNING),
        ("list-paused", Filter::PAUSED),
        ("list-shutoff", Filter::SHUTOFF),
        ("list-other", Filter::OTHER),
        ("enforce", Filter::ENFORCE_STATS),
        ("backing", Filter::BACKING),
        ("nowait", Filter::NOWAIT),
    ] {
        if call.has(option) {
            flags |= flag.bits();
        }
    }
    let mut domains = Vec::new();
    for name in call.values("domain") {
        domains.push(domain_named(shell, call, name, By::ANY)?);
    }
    let connection = shell.connection()?;
    let records = connection.domain_stats(&domains, stats, flags)?;
    for (place, (name, params)) in records.iter().enumerate() {
        if place > 0 {
            shell.print("\n");
        }
        shell.print(format!("Domain: '{name}'\n"));
        for TypedParam { field, value } in params.iter() {
            shell.print(format!("  {field}={}\n", shown(value)));
        }
    }
    Ok(())
}

/// The most CPUs whose numbers one call gives.
const CPUS_AT_ONCE: u32 = 128;

fn cpu_line(shell: &mut Shell, param: &TypedParam) {
    let TypedValue::ULLong(nanoseconds) = param.value else {
        return;
    };
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    shell.print(format!("\t{:<12} {seconds:9}.{rest:09} seconds\n", param.field));
}

fn cpu_stats(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let not_negative = |option: &str, complaint: &str| match call.int(option)? {
        Some(value) => match u32::try_from(value) {
            Ok(value) => Ok::<_, Failure>(Some(value)),
            Err(_) => Err(complaint.into()),
        },
        None => Ok(None),
    };
    let start = not_negative("start", "Invalid value for start CPU")?;
    let count = not_negative("count", "Invalid value for number of CPUs to show")?;
    let single = start.is_some() || count.is_some();
    let (each, total) = match (call.has("total"), single) {
        (false, false) => (true, true),
        (total, single) => (single, total),
    };
    let failed = || format!("Failed to retrieve CPU statistics for domain '{}'", domain.name());
    if each {
        let (_, all) = domain.cpu_stats(0, 0, 0).or_say(failed)?;
        let all = u32::try_from(all).unwrap_or(0);
        let mut first = start.unwrap_or(0);
        if first >= all {
            let last = all.saturating_sub(1);
            return Err(format!("Start CPU {first} is out of range (min: 0, max: {last})").into());
        }
        let mut left = count.unwrap_or(u32::MAX);
        if left > all {
            if count.is_some() {
                shell.print(format!("Only {all} CPUs available to show\n"));
            }
            left = all.saturating_sub(first);
        }
        let (_, kinds) = domain.cpu_stats(0, 0, 1).or_say(failed)?;
        let kinds = u32::try_from(kinds).unwrap_or(0);
        if kinds == 0 {
            shell.print("No per-CPU stats available");
        }
        while kinds > 0 && left > 0 {
            let now = left.min(CPUS_AT_ONCE);
            let from = i32::try_from(first).unwrap_or(i32::MAX);
            let (params, stride) = domain.cpu_stats(kinds, from, now).or_say(failed)?;
            let stride = usize::try_from(stride).unwrap_or(1).max(1);
            for (cpu, params) in (first..).zip(params.0.chunks(stride)) {
                shell.print(format!("CPU{cpu}:\n"));
                params.iter().for_each(|param| cpu_line(shell, param));
            }
            first = first.saturating_add(now);
            left = left.saturating_sub(now);
        }
    }
    if !total {
        return Ok(());
    }
    let (_, kinds) = domain.cpu_stats(0, -1, 1).or_say(failed)?;
    let kinds = u32::try_from(kinds).unwrap_or(0);
    if kinds == 0 {
        shell.print("No total stats available");
        return Err(Failure::silent());
    }
    let (params, _) = domain.cpu_stats(kinds, -1, 1).or_say(failed)?;
    shell.print("Total:\n");
    params.iter().for_each(|param| cpu_line(shell, param));
    Ok(())
}

/// A value of the type that the parameter of that name has now.
fn updated(known: &TypedParams, name: &str, text: &str) -> Result<TypedParam, Failure> {
    let Some(now) = known.get(name) else {
        return Err(format!("invalid scheduler option: {name}").into());
    };
    let value = match now {
        TypedValue::Int(_) => text.parse().ok().map(TypedValue::Int),
        TypedValue::UInt(_) => text.parse().ok().map(TypedValue::UInt),
        TypedValue::LLong(_) => text.parse().ok().map(TypedValue::LLong),
        TypedValue::ULLong(_) => text.parse().ok().map(TypedValue::ULLong),
        TypedValue::Double(_) => text.parse().ok().map(TypedValue::Double),
        TypedValue::Boolean(_) => text
            .parse::<i32>()
            .ok()
            .map(|value| TypedValue::Boolean(value != 0)),
        TypedValue::String(_) => Some(TypedValue::String(text.to_owned())),
    };
    let value = value.ok_or_else(|| {
        virt_util::VirtError::invalid_arg(format_args!(
            "Invalid value for field '{name}': expected {}",
            now.type_name()
        ))
    })?;
    Ok(TypedParam::new(name, value))
}

fn schedinfo(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (live, config) = (call.has("live"), call.has("config"));
    let asked = match live && config {
        true => DomainModificationImpact::empty(),
        false => flags,
    };
    let (domain, _) = domain(shell, call)?;
    let Ok((kind, count)) = domain.scheduler() else {
        shell.print(format!("{:<15}: Unknown\n", "Scheduler"));
        return Err(Failure::silent());
    };
    shell.print(format!("{:<15}: {kind}\n", "Scheduler"));
    if count == 0 {
        return Err(Failure::silent());
    }
    let with_flags = !flags.is_empty() || call.has("current");
    let asked = with_flags.then_some(asked);
    let mut known = domain.scheduler_parameters(count, asked)?;
    let mut updates = TypedParams::new();
    for setting in call.values("set") {
        let Some((name, value)) = setting.split_once('=') else {
            return Err("Invalid syntax for --set, expecting name=value".into());
        };
        updates.0.push(updated(&known, name, value)?);
    }
    for name in ["cap", "weight"] {
        if let Some(value) = call.text(name)? {
            updates.0.push(updated(&known, name, value)?);
        }
    }
    if !updates.0.is_empty() {
        domain.set_scheduler_parameters(&updates, with_flags.then_some(flags))?;
        known = domain.scheduler_parameters(count, asked)?;
    } else if live && config {
        return Err("cannot query both live and config at once".into());
    }
    for TypedParam { field, value } in known.iter() {
        shell.print(format!("{field:<15}: {}\n", shown(value)));
    }
    Ok(())
}

fn setmaxmem(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?.bits() | DomainMemoryModFlags::MAXIMUM.bits();
    let (domain, _) = domain(shell, call)?;
    let bytes = call.scaled("size", 1024)?.unwrap_or(0);
    domain
        .set_memory(bytes.div_ceil(1024), DomainMemoryModFlags::from(flags))
        .or_say(|| "Unable to change MaxMemorySize")
}
