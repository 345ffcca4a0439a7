//! A domain's processors and I/O threads: how many, and where on the host they run.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::numbers;
use crate::opts::exclude;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use crate::xpath;
use virt_api::Domain;
use virt_util::bitmap::Bitmap;
use virt_util::table::Table;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::{DomainModificationImpact, DomainVcpuFlags, DomainXmlFlags, params};

use super::{domain, metadata};

const ANY: Opt = Opt::text("domain", "name, ID or UUID of the domain")
    .required()
    .positional()
    .complete(complete::any_domain);
const CONFIG: Opt = Opt::flag("config", "from the next boot on");
const LIVE: Opt = Opt::flag("live", "in the running domain");
const CURRENT: Opt = Opt::flag("current", "in the domain as it is now");
const THREAD: Opt = Opt::number("id", "number of the I/O thread")
    .required()
    .positional();
const THERE: Opt = THREAD.complete(threads);
const CPUS: &str = "CPUs of the host, as in 0-3,^2, or r for all";

/// The rows.
pub(super) const EMULATORPIN: Command = Command::new(
    "emulatorpin",
    emulatorpin,
    "where the emulator's threads of a domain run",
)
.about("Prints or sets on which CPUs of the host the emulator's threads run.")
.options(&[
    ANY,
    Opt::text("cpulist", CPUS).legacy_positional().complete(cpus),
    CONFIG,
    LIVE,
    CURRENT,
]);
pub(super) const IOTHREADADD: Command =
    Command::new("iothreadadd", iothreadadd, "give a domain an I/O thread")
        .options(&[ANY, THREAD, CONFIG, LIVE, CURRENT]);
pub(super) const IOTHREADDEL: Command =
    Command::new("iothreaddel", iothreaddel, "take an I/O thread from a domain")
        .options(&[ANY, THERE, CONFIG, LIVE, CURRENT]);
pub(super) const IOTHREADINFO: Command =
    Command::new("iothreadinfo", iothreadinfo, "the I/O threads of a domain")
        .options(&[ANY, CONFIG, LIVE, CURRENT]);
pub(super) const IOTHREADPIN: Command = Command::new("iothreadpin", iothreadpin, "where an I/O thread runs")
    .about("Sets on which CPUs of the host an I/O thread runs.")
    .options(&[
        ANY,
        Opt::number("iothread", "number of the I/O thread")
            .required()
            .positional()
            .complete(threads),
        Opt::text("cpulist", CPUS).required().positional().complete(cpus),
        CONFIG,
        LIVE,
        CURRENT,
    ]);
pub(super) const IOTHREADSET: Command = Command::new("iothreadset", iothreadset, "how an I/O thread polls")
    .about("Changes how an I/O thread of a running domain polls.")
    .options(&[
        ANY,
        THERE,
        Opt::number("poll-max-ns", "nanoseconds of polling at most").legacy_positional(),
        Opt::number("poll-grow", "factor by which polling grows").legacy_positional(),
        Opt::number("poll-shrink", "divisor by which polling shrinks").legacy_positional(),
        Opt::number("thread-pool-min", "least threads in its pool").legacy_positional(),
        Opt::number("thread-pool-max", "most threads in its pool").legacy_positional(),
        CONFIG,
        LIVE,
        CURRENT,
    ]);
pub(super) const SETVCPUS: Command = Command::new("setvcpus", setvcpus, "set the number of a domain's CPUs")
    .about("Changes how many virtual CPUs a domain has.")
    .options(&[
        ANY,
        Opt::number("count", "how many").required().positional(),
        Opt::flag("maximum", "how many it may have, from the next boot on"),
        CONFIG,
        LIVE,
        CURRENT,
        Opt::flag("guest", "ask the guest to use so many"),
        Opt::flag("hotpluggable", "make them so that they can be taken away"),
    ]);
pub(super) const VCPUPIN: Command = Command::new("vcpupin", vcpupin, "where a domain's CPUs run")
    .about("Prints or sets on which CPUs of the host the virtual CPUs run.")
    .options(&[
        ANY,
        Opt::number("vcpu", "number of the virtual CPU")
            .legacy_positional()
            .complete(vcpus),
        Opt::text("cpulist", CPUS).legacy_positional().complete(cpus),
        CONFIG,
        LIVE,
        CURRENT,
    ]);

/// `--live`, `--config` and `--current` as flags, which do not contradict each other.
pub(super) fn impact(call: &Invocation) -> Result<DomainModificationImpact, Failure> {
    call.exclusive("current", "live")?;
    call.exclusive("current", "config")?;
    Ok(metadata::impact(call))
}

/// How many CPUs the host has.
fn host_cpus(shell: &mut Shell) -> Result<usize, Failure> {
    let connection = shell.connection()?;
    let count = connection.remote().node_get_cpu_map(0, 0, 0).map(|map| map.ret);
    let count = match count {
        Ok(count) => count,
        Err(_) => {
            let node = connection.remote().node_get_info()?;
            [node.nodes, node.sockets, node.cores, node.threads]
                .into_iter()
                .fold(1, i32::saturating_mul)
        }
    };
    Ok(usize::try_from(count).unwrap_or(0))
}

/// For completion: the host's CPUs as a list.
fn cpus(shell: &mut Shell, call: &Invocation) -> Vec<String> {
    let host = host_cpus(shell).unwrap_or_default();
    complete::list_of(call.text_if_any("cpulist").unwrap_or_default(), 0..host)
}

/// For completion: the CPUs that the domain may have.
fn vcpus(shell: &mut Shell, call: &Invocation) -> Vec<String> {
    let most = domain(shell, call)
        .ok()
        .and_then(|(domain, _)| domain.xml(DomainXmlFlags::empty()).ok())
        .and_then(|xml| xpath::text(&xml, "string(/domain/vcpu)").ok())
        .and_then(|count| count.parse().ok());
    (0..most.unwrap_or(0_u32))
        .map(|number| number.to_string())
        .collect()
}

/// For completion: the I/O threads that the domain has.
fn threads(shell: &mut Shell, call: &Invocation) -> Vec<String> {
    let threads = domain(shell, call)
        .ok()
        .and_then(|(domain, _)| domain.iothreads(DomainModificationImpact::empty()).ok());
    threads
        .unwrap_or_default()
        .iter()
        .map(|(id, _)| id.to_string())
        .collect()
}

/// The set that the user names.
fn cpu_set(list: &str, host: usize) -> Result<Bitmap, Failure> {
    if list.starts_with('r') {
        return Ok((0..host).collect());
    }
    let set = Bitmap::parse_growing(list).ok().filter(|set| !set.is_empty());
    let set = set.ok_or_else(|| format!("Invalid cpulist '{list}'"))?;
    match set.last() {
        Some(last) if last >= host => {
            Err(format!("CPU {last} in cpulist '{list}' exceed the maxcpu {host}").into())
        }
        _ => Ok(set),
    }
}

/// Bytes of a set of so many CPUs.
fn room(host: usize) -> i32 {
    i32::try_from(host.div_ceil(8)).unwrap_or(i32::MAX)
}

fn setvcpus(shell: &mut Shell, call: &Invocation) -> Outcome {
    let mut flags = impact(call)?.bits();
    call.exclusive("guest", "config")?;
    call.requires("maximum", "config")?;
    for (option, flag) in [
        ("guest", DomainVcpuFlags::GUEST),
        ("maximum", DomainVcpuFlags::MAXIMUM),
        ("hotpluggable", DomainVcpuFlags::HOTPLUGGABLE),
    ] {
        if call.has(option) {
            flags |= flag.bits();
        }
    }
    let (domain, _) = domain(shell, call)?;
    let count = call.uint("count")?.unwrap_or(0);
    if count == 0 {
        return Err("Can't set 0 processors for a VM".into());
    }
    domain.set_vcpus(count, (flags != 0 || call.has("current")).then_some(flags))?;
    Ok(())
}

fn vcpupin(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let list = call.text("cpulist")?;
    if list.is_none() {
        call.exclusive("live", "config")?;
    }
    let vcpu = call.uint("vcpu")?;
    if list.is_some() && vcpu.is_none() {
        return Err("vcpupin: Missing vCPU number in pin mode.".into());
    }
    let host = host_cpus(shell)?;
    let (domain, _) = domain(shell, call)?;
    let (Some(list), Some(vcpu)) = (list, vcpu) else {
        return show_pins(shell, &domain, vcpu, host, flags);
    };
    let set = cpu_set(list, host)?.to_bytes();
    let flags = (!flags.is_empty() || call.has("current")).then_some(flags);
    domain.pin_vcpu(vcpu, &set, flags)?;
    Ok(())
}

fn show_pins(
    shell: &mut Shell,
    domain: &Domain,
    vcpu: Option<u32>,
    host: usize,
    flags: DomainModificationImpact,
) -> Outcome {
    let (live, config) = (
        flags.contains(DomainModificationImpact::LIVE),
        flags.contains(DomainModificationImpact::CONFIG),
    );
    if live && !domain.is_active().unwrap_or(false) {
        return Err("cannot get vcpupin for offline domain".into());
    }
    if config && !domain.is_persistent().unwrap_or(false) {
        return Err("cannot get vcpupin for transient domain".into());
    }
    let count = domain.vcpus(DomainVcpuFlags::from(
        flags.bits() | DomainVcpuFlags::MAXIMUM.bits(),
    ))?;
    if let Some(vcpu) = vcpu.filter(|vcpu| i64::from(*vcpu) >= i64::from(count)) {
        let what = match live || (!config && domain.is_active().unwrap_or(false)) {
            true => "live",
            false => "persistent",
        };
        return Err(format!("vcpu {vcpu} is out of range of {what} cpu count {count}").into());
    }
    let room = room(host);
    let maps = domain.vcpu_pins(count, room, flags)?;
    let mut table = Table::new(&["VCPU", "CPU Affinity"]);
    let each = usize::try_from(room).unwrap_or(1).max(1);
    for (number, map) in (0_u32..).zip(maps.chunks(each)) {
        if vcpu.is_none_or(|vcpu| vcpu == number) {
            table.row(vec![number.to_string(), Bitmap::from_bytes(map).to_string()]);
        }
    }
    let text = table.render(!shell.options.quiet);
    shell.print(text);
    Ok(())
}

fn emulatorpin(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let list = call.text("cpulist")?;
    if list.is_none() {
        exclude("live", call.has("live"), "config", call.has("config"))?;
    }
    let host = host_cpus(shell)?;
    let (domain, _) = domain(shell, call)?;
    if let Some(list) = list {
        domain.pin_emulator(&cpu_set(list, host)?.to_bytes(), flags)?;
        return Ok(());
    }
    let map = domain.emulator_pin(room(host), flags)?;
    // Unlike its neighbours this command has no table in libvirt's virsh.
    if !shell.options.quiet {
        shell.print(format!("emulator: CPU Affinity\n{}\n       *: ", "-".repeat(34)));
    }
    shell.print(format!("{}\n", Bitmap::from_bytes(&map)));
    Ok(())
}

fn thread_id(call: &Invocation) -> Result<u32, Failure> {
    let id = call.int("id")?.unwrap_or(0);
    match u32::try_from(id) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(format!("Invalid IOThread id value: '{id}'").into()),
    }
}

fn iothreadinfo(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (domain, _) = domain(shell, call)?;
    let threads = domain
        .iothreads(flags)
        .or_say(|| "Unable to get domain IOThreads information")?;
    if threads.is_empty() {
        shell.extra("No IOThreads found for the domain");
        return Ok(());
    }
    let mut table = Table::new(&["IOThread ID", "CPU Affinity"]);
    for (id, map) in threads {
        table.row(vec![id.to_string(), Bitmap::from_bytes(&map).to_string()]);
    }
    let text = table.render(!shell.options.quiet);
    shell.print(text);
    Ok(())
}

fn iothreadadd(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (domain, _) = domain(shell, call)?;
    domain.add_iothread(thread_id(call)?, flags)?;
    Ok(())
}

fn iothreaddel(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (domain, _) = domain(shell, call)?;
    domain.remove_iothread(thread_id(call)?, flags)?;
    Ok(())
}

fn iothreadpin(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (domain, _) = domain(shell, call)?;
    let thread = call.uint("iothread")?.unwrap_or(0);
    let list = call.required_text("cpulist")?;
    let host = host_cpus(shell)?;
    domain.pin_iothread(thread, &cpu_set(list, host)?.to_bytes(), flags)?;
    Ok(())
}

fn iothreadset(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = impact(call)?;
    let (domain, _) = domain(shell, call)?;
    let id = thread_id(call)?;
    let mut wanted = TypedParams::new();
    let number = |option: &str| {
        let Some((_, text)) = call.option_value(option) else {
            return Ok(None);
        };
        let malformed =
            || format!("Numeric value '{text}' for <{option}> option is malformed or out of range");
        numbers::ulong(text, 10).map(Some).ok_or_else(malformed)
    };
    if let Some(most) = number("poll-max-ns")? {
        wanted.push(params::iothread::POLL_MAX_NS, most);
    }
    for (option, name) in [
        ("poll-grow", params::iothread::POLL_GROW),
        ("poll-shrink", params::iothread::POLL_SHRINK),
    ] {
        if let Some(value) = number(option)? {
            let short = u32::try_from(value).map(TypedValue::UInt);
            wanted.push(name, short.unwrap_or(TypedValue::ULLong(value)));
        }
    }
    for (option, name) in [
        ("thread-pool-min", params::iothread::THREAD_POOL_MIN),
        ("thread-pool-max", params::iothread::THREAD_POOL_MAX),
    ] {
        if let Some(value) = call.int(option)? {
            wanted.push(name, value);
        }
    }
    if wanted.0.is_empty() {
        return Err("Not enough arguments passed, nothing to set".into());
    }
    domain.set_iothread(id, &wanted, flags)?;
    Ok(())
}
