//! Area `qemu-agent`: conversations with a guest agent, whose part is played from the case.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use virt_conf::domain::Domain;
use virt_driver_qemu::agent::commands::Shutdown;
use virt_driver_qemu::agent::facts::{self, DiskAddress, GuestCpu};
use virt_driver_qemu::agent::{AgentClient, AgentObserver, AgentTimeout, Awaited, GuestAgent};
use virt_driver_qemu::driver::agent as driver;
use virt_util::VirtError;
use virt_util::reactor::Reactor;
use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::{TypedParam, TypedValue};
use virt_util::xml::XmlFlags;

/// How long one operation may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A conversation.
pub fn agent(case: &Case, corpus: &Corpus) -> Outcome {
    agent_inner(case, corpus).into()
}

/// What the agent does with the next command.
struct Turn {
    /// The command's name, or the whole command.
    wanted: Value,
    reply: Option<String>,
    event: Option<Awaited>,
}

struct Silent;

impl AgentObserver for Silent {
    fn ended(&self, _: &AgentClient, _: Option<&VirtError>) {}
}

fn agent_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let domain = match case.input.is_string() {
        true => Some(
            Domain::parse(&corpus.input(case)?, XmlFlags::INACTIVE, "case")
                .map_err(|error| error.to_string())?,
        ),
        false => None,
    };
    let calls = case.param("calls").as_array().ok_or("the case has no calls")?;
    let failed = |error: VirtError| format!("{error:#}");
    let reactor = Reactor::start("agent").map_err(failed)?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let client = AgentClient::attach(ours, &reactor.handle(), AgentTimeout::BLOCK, Silent).map_err(failed)?;
    let problems = Arc::new(Mutex::new(Vec::new()));
    let turns = turns(case, calls)?;
    let left = Arc::new(Mutex::new(turns));
    {
        let (client, problems, left) = (client.clone(), Arc::clone(&problems), Arc::clone(&left));
        std::thread::spawn(move || play(&theirs, &client, &left, &problems));
    }
    let never = Cancel::never();
    let mut outcomes = Vec::new();
    let mut cpus = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let agent = GuestAgent::new(&client, Deadline::after(LIMIT), &never);
        let what = format!("call {number}");
        let done = perform(&agent, call, domain.as_ref(), &mut cpus);
        let must_fail = call.get("error").and_then(Value::as_bool) == Some(true);
        outcomes.push(match (done, must_fail) {
            (Ok(have), false) => compare(&what, &have, call),
            (Err(_), true) => Outcome::Passed,
            (Ok(_), true) => Outcome::failed(format!("{what}: no error")),
            (Err(error), false) => Outcome::failed(format!("{what}: {error}")),
        });
    }
    let said = problems.lock().map_err(|_| "the agent's part failed")?.join("; ");
    if !said.is_empty() {
        outcomes.push(Outcome::failed(said));
    }
    let unsent = left.lock().map_err(|_| "the agent's part failed")?.len();
    outcomes.push(Outcome::equal("commands not sent", &unsent, &0));
    Ok(Outcome::all(outcomes))
}

/// The agent's part: the exchange of the case, or for a case that names one command for all calls, those calls.
fn turns(case: &Case, calls: &[Value]) -> Result<Vec<Turn>, String> {
    if let Some(exchange) = case.param("exchange").as_array() {
        return exchange
            .iter()
            .map(|one| {
                let wanted = one.get("verbatim_command").or_else(|| one.get("command"));
                Ok(Turn {
                    wanted: wanted.cloned().ok_or("an exchange without a command")?,
                    reply: one.get("reply").and_then(Value::as_str).map(str::to_owned),
                    event: None,
                })
            })
            .collect();
    }
    let command = case.text("command")?;
    calls
        .iter()
        .map(|call| {
            let error = call
                .get("agent_error")
                .map(|class| json!({ "error": { "class": class } }));
            let event = match call.get("agent_event").and_then(Value::as_str) {
                Some("shutdown") => Some(Awaited::Shutdown),
                Some("reset") => Some(Awaited::Reset),
                Some("suspend") => Some(Awaited::Suspend),
                Some(other) => return Err(format!("an unknown event '{other}'")),
                None => None,
            };
            let mut wanted = json!({ "execute": command });
            if let (Some(mode), Some(map)) = (call.get("mode"), wanted.as_object_mut()) {
                map.insert("arguments".to_owned(), json!({ "mode": mode }));
            }
            Ok(Turn {
                wanted,
                reply: error.map(|error| error.to_string()),
                event,
            })
        })
        .collect()
}

fn play(socket: &UnixStream, client: &AgentClient, left: &Mutex<Vec<Turn>>, problems: &Mutex<Vec<String>>) {
    let complain = |what: String| {
        if let Ok(mut problems) = problems.lock() {
            problems.push(what);
        }
    };
    let mut out = socket;
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        if command.get("execute").and_then(Value::as_str) == Some("guest-sync") {
            let id = command.pointer("/arguments/id");
            let _ = writeln!(out, "{}", json!({ "return": id }));
            continue;
        }
        let turn = left
            .lock()
            .ok()
            .and_then(|mut left| (!left.is_empty()).then(|| left.remove(0)));
        let Some(turn) = turn else {
            complain(format!("an unexpected command {line}"));
            continue;
        };
        let fits = match &turn.wanted {
            Value::String(name) => command.get("execute").and_then(Value::as_str) == Some(name),
            whole => *whole == command,
        };
        if !fits {
            complain(format!("{line} was sent, {} is wanted", turn.wanted));
        }
        if let Some(event) = turn.event {
            client.notify(event);
        }
        if let Some(reply) = turn.reply {
            let _ = writeln!(out, "{}", reply.replace('\n', " "));
        }
    }
}

/// What the operation found, under the names that the case has for it. `cpus` are those that were asked for last.
fn perform(
    agent: &GuestAgent<'_>,
    call: &Value,
    domain: Option<&Domain>,
    cpus: &mut Vec<GuestCpu>,
) -> Result<Map<String, Value>, String> {
    let failed = |error: VirtError| format!("{error:#}");
    let text = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| call.get(key).and_then(Value::as_u64).unwrap_or_default();
    let nothing = || "the agent does not know the command".to_owned();
    let mut found = Map::new();
    let mut note = |key: &str, value: Value| {
        found.insert(key.to_owned(), value);
    };
    match text("op") {
        "fsfreeze" => {
            let points: Vec<String> = call
                .get("mountpoints")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect();
            note("count", agent.freeze(&points).map_err(failed)?.into());
        }
        "fsthaw" => note("count", agent.thaw().map_err(failed)?.into()),
        "fstrim" => agent.trim(number("minimum")).map_err(failed)?,
        "get-vcpus" => {
            *cpus = agent.cpus().map_err(failed)?;
            note("count", cpus.len().into());
        }
        "set-online-count" => {
            let wanted = call.get("count").and_then(Value::as_u64);
            let wanted = wanted.and_then(|count| u32::try_from(count).ok());
            facts::plan_online(wanted.ok_or("the call has no count")?, cpus).map_err(failed)?;
            agent.set_cpus(cpus).map_err(failed)?;
            note("count", cpus.iter().filter(|cpu| cpu.online).count().into());
        }
        "command" => {
            let reply = agent
                .arbitrary(text("text"), AgentTimeout::BLOCK)
                .map_err(failed)?;
            note("reply", reply.into());
        }
        "get-disks" => {
            let disks = agent.disks().map_err(failed)?.ok_or_else(nothing)?;
            let disks = disks.into_iter().map(|disk| {
                json!({
                    "name": disk.name,
                    "alias": disk.alias,
                    "dependencies": disk.dependencies,
                    "address": disk.address.map(|address| json!({
                        "bus": address.bus,
                        "target": address.target,
                        "unit": address.unit,
                        "bus_type": address.bus_type,
                        "serial": address.serial,
                    })),
                })
            });
            note("disks", disks.collect());
        }
        "get-users" => {
            let users = agent.users().map_err(failed)?.ok_or_else(nothing)?;
            note("params", params(driver::user_params(&users)));
        }
        "get-timezone" => {
            let zone = agent.zone().map_err(failed)?.ok_or_else(nothing)?;
            note("params", params(driver::zone_params(&zone)));
        }
        "get-load" => {
            let load = agent.load().map_err(failed)?.ok_or_else(nothing)?;
            note("load1m", load.one.into());
            note("load5m", load.five.into());
            note("load15m", load.fifteen.into());
        }
        "get-hostname" => {
            let name = agent.host_name().map_err(failed)?.ok_or_else(nothing)?;
            note("hostname", name.into());
        }
        "get-fsinfo" => {
            let systems = agent.file_systems().map_err(failed)?.ok_or_else(nothing)?;
            if let Some(domain) = domain {
                // The disks of the definition are looked up as for a client; what is not there is left out.
                let _ = driver::fs_info(&systems, domain);
            }
            let systems = systems.into_iter().map(|one| {
                json!({
                    "name": one.name,
                    "mountpoint": one.mount_point,
                    "fstype": one.kind,
                    "disks": one.disks.iter().map(disk).collect::<Value>(),
                })
            });
            note("filesystems", systems.collect());
        }
        "shutdown" => {
            let mode = match text("mode") {
                "powerdown" => Shutdown::Powerdown,
                "halt" => Shutdown::Halt,
                "reboot" => Shutdown::Reboot,
                other => return Err(format!("an unknown way to shut down '{other}'")),
            };
            agent.shutdown(mode).map_err(failed)?;
        }
        other => return Err(format!("an unknown operation '{other}'")),
    }
    Ok(found)
}

fn disk(address: &DiskAddress) -> Value {
    let pci = &address.pci;
    json!({
        "bus_type": address.bus_type,
        "bus": address.bus,
        "target": address.target,
        "unit": address.unit,
        "pci": format!("{:04x}:{:02x}:{:02x}.{}", pci.domain, pci.bus, pci.slot, pci.function),
    })
}

fn params(list: Vec<TypedParam>) -> Value {
    let value = |value: TypedValue| match value {
        TypedValue::Int(value) => value.into(),
        TypedValue::UInt(value) => value.into(),
        TypedValue::LLong(value) => value.into(),
        TypedValue::ULLong(value) => value.into(),
        TypedValue::Double(value) => value.into(),
        TypedValue::Boolean(value) => value.into(),
        TypedValue::String(value) => Value::from(value),
    };
    list.into_iter()
        .map(|param| (param.field, value(param.value)))
        .collect::<Map<_, _>>()
        .into()
}

/// Compares each fact that the case gives; a number where there is a list is its length.
fn compare(what: &str, have: &Map<String, Value>, call: &Value) -> Outcome {
    Outcome::all(have.iter().map(|(key, have)| {
        let want = call.get(key).unwrap_or(&Value::Null);
        if fits(have, want) {
            Outcome::Passed
        } else {
            Outcome::equal(&format!("{what}: {key}"), have, want)
        }
    }))
}

fn fits(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Array(have), Value::Number(length)) => length.as_u64() == u64::try_from(have.len()).ok(),
        (Value::Array(have), Value::Array(want)) => {
            have.len() == want.len() && have.iter().zip(want).all(|(have, want)| fits(have, want))
        }
        (Value::Object(have), Value::Object(want)) => {
            have.len() == want.len()
                && want
                    .iter()
                    .all(|(key, want)| have.get(key).is_some_and(|have| fits(have, want)))
        }
        (Value::Number(have), Value::Number(want)) => have.as_f64() == want.as_f64(),
        (have, want) => have == want,
    }
}
