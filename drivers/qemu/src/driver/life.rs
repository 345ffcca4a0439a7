//! A guest's life: start, stop, pause, and what else changes what it is doing.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use virt_api::call::CallContext;
use virt_conf::domain::audit::GuestAudit;
use virt_conf::domain::chardev::ChardevSource;
use virt_conf::domain::interface::LinkState;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::domain::{Devices, Domain};
use virt_conf::registry::Snapshot;
use virt_conf::registry::job::{AgentJob, Asker, Job, JobGuard};
use virt_util::sys::process::Stat;
use virt_util::time::{Cancel, Deadline};
use virt_util::types::{
    DomainCreateFlags, DomainEventStartedDetail, DomainEventSuspendedDetail, DomainMemoryStatTags,
    DomainPausedReason, DomainRunningReason, DomainShutoffReason, DomainState,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::net::Given;
use super::nvram::{self, Variables};
use super::object::{GuestDefinition, GuestId, GuestKind, GuestObject, Published, StatusFile};
use super::planner::{Occasion, Planned};
use super::watch::{Watcher, ending};
use super::world::World;
use super::{agent, error, live_cpu, saved};
use crate::agent::commands::Sleep;
use crate::monitor::{Command, QmpClient, Reply};
use crate::process::guest::{Guest, Happening};
use crate::process::launch::{Launch, LaunchSteps, launch};
use crate::process::log::StartHeader;
use crate::process::state::{GuestState, Lifecycle};
use crate::process::status::{Device, Devices as StatusDevices, Flag, Flags, Status, VcpuThread};

/// How long QEMU may take until its monitor answers, and how much longer for each GiB of memory.
const MONITOR_LIMIT: Duration = Duration::from_secs(30);

/// Takes a guest's lane on behalf of a call.
pub fn begin(object: &GuestObject, job: Job, cx: &CallContext<'_>, api: &'static str) -> Result<JobGuard> {
    let asker = Asker {
        api,
        deadline: cx.deadline(),
        cancel: cx.cancel().clone(),
    };
    object
        .lane()
        .begin(job, &asker)
        .map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))
}

/// Takes the lane of a guest's agent on behalf of a call.
pub fn begin_agent(
    object: &GuestObject,
    job: AgentJob,
    cx: &CallContext<'_>,
    api: &'static str,
) -> Result<JobGuard> {
    let asker = Asker {
        api,
        deadline: cx.deadline(),
        cancel: cx.cancel().clone(),
    };
    object
        .lane()
        .begin_agent(job, &asker)
        .map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))
}

/// The process of a guest that must run.
pub fn running(object: &GuestObject) -> Result<Arc<Guest>> {
    match object.private().running() {
        Some(guest) if object.snapshot().is_active() => Ok(guest),
        _ => Err(error(ErrorCode::OPERATION_INVALID, "domain is not running")),
    }
}

/// Publishes what a guest is doing now, and writes it to its status file. What happened is told in order by the guest's
/// queue; this is for the call that caused it, whose caller looks at once.
pub(super) fn publish_state(world: &World, object: &GuestObject, guest: &Guest) {
    object.publish(|snapshot| snapshot.state.state = guest.state());
    if let Err(error) = world.save_status(object, guest) {
        tracing::error!(
            guest = guest.name(),
            "the status file cannot be written: {error:#}"
        );
    }
}

/// Whether QEMU has been sent something that it has not answered and nobody waits for any more.
pub fn is_in_doubt(object: &GuestObject) -> bool {
    object
        .private()
        .running()
        .is_some_and(|guest| guest.monitor().is_ok_and(QmpClient::is_in_doubt))
}

/// What the guest is doing is known again: its lane opens.
pub fn end_doubt(object: &GuestObject) {
    if let Some(reconciler) = object.lane().reconciler() {
        reconciler.resolve();
    }
}

/// Starts a guest that is off. The caller holds its lane.
pub fn start(
    world: &Arc<World>,
    object: &Arc<GuestObject>,
    flags: DomainCreateFlags,
    cx: &CallContext<'_>,
) -> Result<()> {
    let snapshot = object.snapshot();
    if snapshot.is_active() {
        return Err(error(ErrorCode::OPERATION_INVALID, "domain is already running"));
    }
    if !flags.contains(DomainCreateFlags::START_FORCE_BOOT) {
        saved::refuse_boot(world.layout(), snapshot.name())?;
    } else if saved::exists(world.layout(), snapshot.name()) {
        saved::remove(world.layout(), object)?;
    }
    let definition = Arc::clone(snapshot.life.current());
    run(world, object, &definition, flags, cx.deadline(), cx.cancel())
}

/// Starts a guest with the host.
pub(super) fn autostart(world: &Arc<World>, object: &Arc<GuestObject>) -> Result<()> {
    let job = object.lane().begin(Job::Modify, &Asker::new("autostart"))?;
    let snapshot = object.snapshot();
    if snapshot.is_active() {
        return Ok(());
    }
    saved::refuse_boot(world.layout(), snapshot.name())?;
    if snapshot.autostart_once {
        world.store().set_autostart_once(snapshot.name(), false)?;
        object.publish(|snapshot| snapshot.autostart_once = false);
    }
    let definition = Arc::clone(snapshot.life.current());
    let result = run(
        world,
        object,
        &definition,
        DomainCreateFlags::NONE,
        Deadline::NONE,
        &Cancel::never(),
    );
    drop(job);
    world.tell(object);
    result
}

/// Makes a guest run with `definition`, and has it recorded what it got. The caller holds its lane.
pub fn run(
    world: &Arc<World>,
    object: &Arc<GuestObject>,
    definition: &Arc<GuestDefinition>,
    flags: DomainCreateFlags,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<()> {
    let started = bring_up(world, object, definition, flags, deadline, cancel);
    let snapshot = object.snapshot();
    let domain = match &started {
        Ok(()) => &snapshot.life.current().domain,
        Err(_) => &definition.domain,
    };
    let running = object.private().running();
    let pid = running.map_or(0, |guest| guest.process().pid().into());
    world.record(GuestAudit::new(domain).start(pid, "booted", started.is_ok()));
    started
}

fn bring_up(
    world: &Arc<World>,
    object: &Arc<GuestObject>,
    definition: &Arc<GuestDefinition>,
    flags: DomainCreateFlags,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<()> {
    let id = world.new_id();
    let patience = World::patience(deadline, cancel);
    let mut domain = Cow::Borrowed(&definition.domain);
    if domain.incomplete {
        // What was missing when it was loaded may be there now.
        let completed = definition.domain.clone();
        let planner = world.planner();
        domain = Cow::Owned(planner.normalize(completed, Occasion::Start, world.layout(), &patience)?);
    }
    let mut planned = world.planner().plan(&domain, id, world.layout(), &patience)?;
    let variables = match flags.contains(DomainCreateFlags::START_RESET_NVRAM) {
        true => Variables::Reset,
        false => Variables::Keep,
    };
    nvram::prepare(&planned.live, variables)?;
    let given = world
        .networking()
        .connect(&mut planned.live, &planned.command, deadline, cancel)?;
    let live = Arc::new(GuestDefinition::new(planned.live.clone())?);
    let paths = world.layout().guest(id, &planned.live.name);
    let mut status = Status::new(GuestState::starting_up(), 0);
    status.monitor = Some(paths.monitor.display().to_string());
    status.lib_folder = Some(paths.lib.display().to_string());
    status.channel_folder = Some(paths.channel.display().to_string());
    status.ram_folder = Some(paths.ram.display().to_string());
    status.node_index = planned.last_node;
    status.capabilities = Some(Flags {
        flags: planned
            .caps
            .flags
            .iter()
            .map(|flag| Flag {
                name: flag.name().to_owned(),
            })
            .collect(),
    });
    // What was asked for, beside what the guest gets of it.
    if planned
        .caps
        .has(crate::capabilities::Flag::QueryCpuModelExpansion)
    {
        status.original_cpu = live_cpu::original(&definition.domain)?;
    }
    *object.private().status.lock() = Some(Box::new(StatusFile::new(status)));
    world.guests().bind(object, GuestId(id))?;
    object.publish(|snapshot| {
        snapshot.life = snapshot.life.started(live);
        snapshot.state = Published {
            id,
            state: GuestState::starting_up(),
            managed_save: snapshot.state.managed_save,
            ..Published::default()
        };
    });
    let paused = flags.contains(DomainCreateFlags::START_PAUSED);
    let launched = launch(
        plan_launch(id, &planned, paths, given, !paused),
        world.spawner(),
        &world.reactor(),
        Arc::new(Watcher::new(world, object)),
        &mut Steps {
            world,
            object,
            planned: &planned,
        },
        deadline,
        cancel,
    );
    match launched {
        Ok(guest) => {
            publish_state(world, object, &guest);
            // Behind what the start itself has caused.
            guest.announce(Happening::Lifecycle(Lifecycle::started(
                DomainEventStartedDetail::BOOTED,
            )));
            if paused {
                guest.announce(Happening::Lifecycle(Lifecycle::suspended(
                    DomainEventSuspendedDetail::PAUSED,
                )));
            }
            Ok(())
        }
        Err(error) => {
            // If there was a process, its end has done this already.
            world.forget_run(object, DomainShutoffReason::FAILED);
            Err(error.in_domain_if_none(ErrorDomain::QEMU))
        }
    }
}

fn plan_launch(
    id: i32,
    planned: &Planned,
    paths: crate::process::layout::GuestPaths,
    given: Given,
    run: bool,
) -> Launch {
    let domain = &planned.live;
    let (major, minor, micro) = version_parts(planned.caps.version);
    let memory_gib = u32::try_from(domain.memory.size >> 20).unwrap_or(u32::MAX);
    Launch {
        id,
        name: domain.name.clone(),
        paths,
        command: planned.command.clone(),
        given,
        user: planned.user.clone(),
        capabilities: planned.capabilities,
        limits: planned.limits.clone(),
        labels: planned.labels.clone(),
        master_key: Some(planned.master_key.expose().to_vec()),
        header: StartHeader {
            product: "libvirt version: 11.3.0".to_owned(),
            qemu: (major, minor, micro),
            package: planned.caps.package.clone().unwrap_or_default(),
            kernel: kernel_release(),
            host: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        },
        truncate_log: !nix::unistd::geteuid().is_root(),
        setup: setup(domain)
            .into_iter()
            .chain(live_cpu::questions(planned))
            .collect(),
        on_poweroff: ending(domain.on_poweroff),
        on_crash: ending(domain.on_crash),
        monitor_limit: MONITOR_LIMIT + Duration::from_secs(u64::from(memory_gib)),
        run,
    }
}

fn version_parts(version: u32) -> (u32, u32, u32) {
    (version / 1_000_000, version / 1000 % 1000, version % 1000)
}

fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What is sent before the processors run, all at once. [`Steps::set_up`] reads the answers in this order.
fn setup(domain: &Domain) -> Vec<Command> {
    let mut commands = vec![
        Command::new("query-cpus-fast"),
        Command::new("query-chardev"),
        Command::new("qom-list").with("path", "/machine/peripheral"),
    ];
    if domain.on_reboot == LifecycleAction::Destroy {
        commands.push(Command::new("set-action").with("reboot", "shutdown"));
    }
    for interface in &domain.devices.interfaces {
        if let (Some(LinkState::Down), Some(alias)) = (interface.link_state, &*interface.info.alias) {
            let command = Command::new("set_link").with("name", alias.as_str());
            commands.push(command.with("up", false));
        }
    }
    let has_balloon = domain.devices.memballoon.is_some();
    if has_balloon && domain.current_memory > 0 && domain.current_memory < domain.memory.size {
        commands.push(Command::new("balloon").with("value", domain.current_memory.saturating_mul(1024)));
    }
    commands
}

/// The driver's part in a start.
struct Steps<'a> {
    world: &'a Arc<World>,
    object: &'a Arc<GuestObject>,
    planned: &'a Planned,
}

impl LaunchSteps for Steps<'_> {
    fn spawned(&mut self, guest: &Arc<Guest>) -> Result<()> {
        self.world.set_running(self.object, Some(Arc::clone(guest)));
        self.world.save_status(self.object, guest)
    }

    fn set_up(&mut self, guest: &Arc<Guest>, mut replies: Vec<Reply>) -> Result<()> {
        let commands = setup(&self.planned.live);
        let mut about_cpu = replies.split_off(commands.len().min(replies.len()));
        let mut answers = crate::process::guest::require_all(&commands, replies)?.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Null);
        let (cpus, chardevs, devices) = (next(), next(), next());
        let mut live = self.planned.live.clone();
        fill_terminals(&mut live.devices, &chardevs);
        if let (Some(last), Some(question)) = (about_cpu.last_mut(), live_cpu::asked_elsewhere(&cpus)) {
            let limit = Deadline::after(MONITOR_LIMIT);
            let answer = guest.execute_all(vec![question], limit, &Cancel::never())?.pop();
            *last = answer.unwrap_or(Ok(Value::Null));
        }
        live_cpu::settle(&mut live, &about_cpu)?;
        let live = Arc::new(GuestDefinition::new(live)?);
        self.object.publish(|snapshot| {
            snapshot.life = snapshot.life.started(live);
        });
        if let Some(file) = self.object.private().status.lock().as_mut() {
            file.status.vcpus.threads = vcpu_threads(&cpus);
            file.status.devices = Some(StatusDevices {
                devices: device_aliases(&devices),
            });
        }
        agent::refresh_ports(self.world, self.object, &chardevs, true);
        self.world.save_status(self.object, guest)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn vcpu_threads(answer: &Value) -> Vec<VcpuThread> {
    let number = |one: &Value, key: &str| one.get(key).and_then(Value::as_i64);
    list(answer)
        .filter_map(|one| {
            Some(VcpuThread {
                id: u32::try_from(number(one, "cpu-index")?).ok()?,
                pid: i32::try_from(number(one, "thread-id")?).ok()?,
            })
        })
        .collect()
}

fn device_aliases(answer: &Value) -> Vec<Device> {
    let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    list(answer)
        .filter(|one| text(one, "type").is_some_and(|kind| kind.starts_with("child<")))
        .filter_map(|one| text(one, "name"))
        .map(|alias| Device { alias })
        .collect()
}

/// Writes into the live definition which terminal each device got.
fn fill_terminals(devices: &mut Devices, answer: &Value) {
    let terminal = |alias: Option<&str>| -> Option<String> {
        let label = format!("char{}", alias?);
        list(answer)
            .find(|one| one.get("label").and_then(Value::as_str) == Some(&label))
            .and_then(|one| one.get("filename").and_then(Value::as_str))
            .and_then(|name| name.strip_prefix("pty:"))
            .map(str::to_owned)
    };
    let fill = |source: &mut ChardevSource, alias: Option<&str>| {
        if let ChardevSource::Pty { path, .. } = source
            && let Some(found) = terminal(alias)
        {
            *path = Some(found);
        }
    };
    for serial in &mut devices.serials {
        fill(&mut serial.host.source, serial.info.alias.as_deref());
    }
    for parallel in &mut devices.parallels {
        fill(&mut parallel.host.source, parallel.info.alias.as_deref());
    }
    for channel in &mut devices.channels {
        fill(&mut channel.host.source, channel.info.alias.as_deref());
    }
    let first_serial = devices.serials.first().map(|serial| serial.host.source.clone());
    for (position, console) in devices.consoles.iter_mut().enumerate() {
        fill(&mut console.host.source, console.info.alias.as_deref());
        // The first console of most machines is their first serial port under another name.
        let same = console.target_type == virt_conf::domain::chardev::ConsoleTargetType::Serial;
        if position == 0
            && same
            && let Some(source) = &first_serial
        {
            console.host.source = source.clone();
        }
    }
}

/// `destroy`. The caller holds the lane.
pub fn destroy(object: &Arc<GuestObject>, graceful: bool, cx: &CallContext<'_>) -> Result<()> {
    running(object)?
        .destroy(
            DomainShutoffReason::DESTROYED,
            graceful,
            cx.deadline(),
            cx.cancel(),
        )
        .map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))
}

/// `shutdown` and `reboot` by the power button; `again`: it starts again after it. The caller holds the lane.
pub fn press_power_button(object: &Arc<GuestObject>, again: bool, cx: &CallContext<'_>) -> Result<()> {
    running(object)?.press_power_button(again, cx.deadline(), cx.cancel())
}

/// Whether the guest can be put to sleep and woken again. The caller holds the lane.
///
/// # Errors
/// `OPERATION_UNSUPPORTED` if its machine cannot wake it, `INTERNAL_ERROR` if its definition forbids that sleep.
pub fn check_sleep(object: &Arc<GuestObject>, how: Sleep, cx: &CallContext<'_>) -> Result<()> {
    let guest = running(object)?;
    let machine = guest.execute(Command::new("query-current-machine"), cx.deadline(), cx.cancel())?;
    if machine.get("wakeup-suspend-support").and_then(Value::as_bool) != Some(true) {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            "the guest cannot sleep: its machine or its firmware has no such state",
        ));
    }
    let snapshot = object.snapshot();
    let definition = &snapshot.life.current().domain;
    let pm = definition.pm.as_ref();
    let (allowed, state) = match how {
        Sleep::Memory | Sleep::Hybrid => (pm.and_then(|pm| pm.suspend_to_mem), "S3"),
        Sleep::Disk => (pm.and_then(|pm| pm.suspend_to_disk), "S4"),
    };
    if allowed == Some(false) {
        return Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("{state} state is disabled for this domain"),
        ));
    }
    Ok(())
}

/// Makes the hardware clock forget ticks that it owes the guest, where it can. The caller holds the lane.
///
/// # Errors
/// As [`Guest::execute`].
pub fn forget_lost_ticks(object: &Arc<GuestObject>, cx: &CallContext<'_>) -> Result<()> {
    let guest = running(object)?;
    let command = Command::new("rtc-reset-reinjection");
    let mut replies = guest.execute_all(vec![command], cx.deadline(), cx.cancel())?;
    match replies.pop() {
        // Only x86 machines have such a clock.
        Some(Err(refusal)) if !refusal.is_unknown_command() => {
            Err(refusal.into_error("rtc-reset-reinjection"))
        }
        _ => Ok(()),
    }
}

/// `reset`. The caller holds the lane.
pub fn reset(world: &World, object: &Arc<GuestObject>, cx: &CallContext<'_>) -> Result<()> {
    let guest = running(object)?;
    guest.reset(cx.deadline(), cx.cancel())?;
    publish_state(world, object, &guest);
    Ok(())
}

/// `suspend`. The caller holds the lane.
pub fn suspend(world: &World, object: &Arc<GuestObject>, cx: &CallContext<'_>) -> Result<()> {
    let guest = running(object)?;
    guest.suspend(DomainPausedReason::USER, cx.deadline(), cx.cancel())?;
    publish_state(world, object, &guest);
    Ok(())
}

/// `resume`. The caller holds the lane.
pub fn resume(world: &World, object: &Arc<GuestObject>, cx: &CallContext<'_>) -> Result<()> {
    let guest = running(object)?;
    match guest.state().state {
        DomainState::RUNNING => {
            return Err(error(ErrorCode::OPERATION_INVALID, "domain is already running"));
        }
        DomainState::CRASHED => {
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                "domain is in a bad state, reset it first",
            ));
        }
        _ => guest.resume(DomainRunningReason::UNPAUSED, cx.deadline(), cx.cancel())?,
    }
    publish_state(world, object, &guest);
    Ok(())
}

/// CPU time that a guest's process has used, in nanoseconds; 0 if it is gone.
pub fn cpu_time(snapshot: &Snapshot<GuestKind>, object: &GuestObject) -> u64 {
    let Some(guest) = object.private().running().filter(|_| snapshot.is_active()) else {
        return 0;
    };
    let ticks = Stat::of(guest.process().pid()).map_or(0, |stat| stat.cpu_ticks());
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100);
    ticks.saturating_mul(1_000_000_000 / per_second)
}

/// What is known of a guest's memory, in KiB. The caller holds the lane.
///
/// # Errors
/// `OPERATION_INVALID` if it does not run; otherwise as [`Guest::execute_all`].
pub fn memory_stats(object: &GuestObject, cx: &CallContext<'_>) -> Result<Vec<(DomainMemoryStatTags, u64)>> {
    let guest = running(object)?;
    let snapshot = object.snapshot();
    let definition = &snapshot.life.current().domain;
    let mut replies = guest.execute_all(vec![Command::new("query-balloon")], cx.deadline(), cx.cancel())?;
    // A guest without a balloon has what it was given.
    let balloon = match replies.pop() {
        Some(Ok(answer)) => answer
            .get("actual")
            .and_then(Value::as_u64)
            .map(|bytes| bytes / 1024),
        _ => None,
    };
    let mut stats = vec![(
        DomainMemoryStatTags::ACTUAL_BALLOON,
        balloon.unwrap_or(definition.memory.size),
    )];
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", guest.process().pid())).unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    if let Some(pages) = pages {
        let page_kib = virt_util::sys::memory::page_size() / 1024;
        stats.push((DomainMemoryStatTags::RSS, pages.saturating_mul(page_kib)));
    }
    Ok(stats)
}
