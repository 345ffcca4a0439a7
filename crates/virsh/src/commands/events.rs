//! `event`: waits for events and prints them.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::names::{self, event_word};
use crate::output::object;
use crate::shell::{Outcome, Shell};
use crate::terminal::Signals;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use virt_api::{DomainEvent, DomainEventKind};
use virt_util::VirtError;
use virt_util::time::Deadline;
use virt_util::typed_param::{TypedParam, TypedValue};
use virt_util::types::{DomainEventId, DomainMemoryFailureFlags};

use super::domain;

/// The kinds of event by name, in the order of their numbers.
const KINDS: &[&str] = &[
    "lifecycle",
    "reboot",
    "rtc-change",
    "watchdog",
    "io-error",
    "graphics",
    "io-error-reason",
    "control-error",
    "block-job",
    "disk-change",
    "tray-change",
    "pm-wakeup",
    "pm-suspend",
    "balloon-change",
    "pm-suspend-disk",
    "device-removed",
    "block-job-2",
    "tunable",
    "agent-lifecycle",
    "device-added",
    "migration-iteration",
    "job-completed",
    "device-removal-failed",
    "metadata-change",
    "block-threshold",
    "memory-failure",
    "memory-device-size-change",
    "nic-mac-change",
];

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("event", event, "wait for events of domains")
    .about("Prints the kinds of event, or waits for events and prints them")
    .options(&[
        Opt::text("domain", "only of the domain with this name, ID or UUID")
            .legacy_positional()
            .complete(complete::any_domain),
        Opt::text("event", "the kind to wait for")
            .legacy_positional()
            .complete(kinds),
        Opt::flag("all", "wait for events of any kind"),
        Opt::flag("loop", "go on until the timeout or an interrupt"),
        Opt::number("timeout", "give up after so many seconds").legacy_positional(),
        Opt::flag("list", "print the kinds"),
        Opt::flag("timestamp", "print the time with each event"),
    ])
    .structured()];

fn kinds(_: &mut Shell, _: &Invocation) -> Vec<String> {
    KINDS.iter().map(|kind| (*kind).to_owned()).collect()
}

fn event(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("all", "event")?;
    call.exclusive("list", "all")?;
    call.exclusive("list", "event")?;
    if call.has("list") {
        if !shell.structured(|| KINDS.iter().copied().collect::<Value>())? {
            for kind in KINDS {
                shell.print(format!("{kind}\n"));
            }
        }
        return Ok(());
    }
    let wanted = call.text("event")?;
    if wanted.is_none() && !call.has("all") {
        return Err("one of --list, --all, or --event <type> is required".into());
    }
    let ids: Vec<i32> = (0i32..)
        .zip(KINDS)
        .filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == **kind))
        .map(|(id, _)| id)
        .collect();
    if ids.is_empty() {
        return Err(format!("unknown event type {}", wanted.unwrap_or_default()).into());
    }
    let deadline = call.timeout()?.map_or(Deadline::NONE, Deadline::after);
    let filter = if call.has("domain") {
        Some(domain(shell, call)?.0)
    } else {
        None
    };

    let signals = Signals::catch(&[Signal::SIGINT])?;
    let (sender, receiver) = mpsc::channel();
    let wake = Arc::new(
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| VirtError::system(errno as i32, "cannot make an event descriptor"))?,
    );
    let connection = shell.connection()?;
    let mut subscriptions = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let (sender, wake) = (sender.clone(), Arc::clone(&wake));
        let subscribed = connection.on_domain_event(filter.as_ref(), DomainEventId(*id), move |event| {
            if sender.send(event.clone()).is_ok() {
                let _ = wake.write(1);
            }
        });
        match subscribed {
            Ok(subscription) => subscriptions.push(subscription),
            // An older server does not know the later kinds.
            Err(_) if index > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    let ended = wait(
        shell,
        call,
        &Waiting {
            receiver,
            wake,
            signals,
            deadline,
        },
    );
    drop(subscriptions);
    let (count, why) = ended?;
    if shell.format().is_none() {
        match why {
            Why::Interrupted => shell.print("event loop interrupted\n"),
            Why::TimedOut => shell.print("event loop timed out\n"),
            Why::Done => {}
        }
        shell.print(format!("events received: {count}\n"));
    }
    if count > 0 {
        Ok(())
    } else {
        Err(crate::shell::Failure::silent())
    }
}

enum Why {
    Interrupted,
    TimedOut,
    Done,
}

struct Waiting {
    receiver: mpsc::Receiver<DomainEvent>,
    wake: Arc<EventFd>,
    signals: Signals,
    deadline: Deadline,
}

fn wait(
    shell: &mut Shell,
    call: &Invocation,
    waiting: &Waiting,
) -> Result<(usize, Why), crate::shell::Failure> {
    let disconnected = shell.disconnected();
    let mut count = 0;
    loop {
        while let Ok(event) = waiting.receiver.try_recv() {
            print(shell, call, &event)?;
            count += 1;
            if !call.has("loop") {
                return Ok((count, Why::Done));
            }
        }
        shell.flush();
        if disconnected.load(Ordering::Relaxed) {
            return Ok((count, Why::Done));
        }
        // A lost connection is noticed by its flag, so the wait is never endless.
        let limit = Duration::from_millis(500);
        let timeout = waiting.deadline.remaining().map_or(limit, |left| left.min(limit));
        let mut fds = [
            PollFd::new(waiting.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(waiting.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(
            &mut fds,
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(VirtError::system(errno as i32, "cannot wait for events").into()),
        }
        let _ = waiting.wake.read();
        if waiting.signals.take().is_some() {
            return Ok((count, Why::Interrupted));
        }
        if waiting.deadline.has_passed() && waiting.wake.read().is_err() {
            // What arrived with the last moment counts.
            match waiting.receiver.try_recv() {
                Ok(event) => {
                    print(shell, call, &event)?;
                    count += 1;
                    if !call.has("loop") {
                        return Ok((count, Why::Done));
                    }
                }
                Err(_) => return Ok((count, Why::TimedOut)),
            }
        }
    }
}

fn print(shell: &mut Shell, call: &Invocation, event: &DomainEvent) -> Outcome {
    let text = describe(event);
    let now = || {
        jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M:%S.%3f+0000")
            .to_string()
    };
    let shown = shell.structured(|| {
        let kind = KINDS
            .get(usize::try_from(event.id.0).unwrap_or(usize::MAX))
            .copied()
            .unwrap_or("unknown");
        object([
            ("event", kind.into()),
            ("domain", event.domain.name().into()),
            ("uuid", event.domain.uuid().to_string().into()),
            ("text", text.trim_end().into()),
            ("time", now().into()),
        ])
    })?;
    if !shown {
        if call.has("timestamp") {
            shell.print(format!("{}: ", now()));
        }
        shell.print(text);
    }
    shell.flush();
    Ok(())
}

fn or_null(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("<null>")
}

/// The event as a line or a few, ended by a newline.
pub fn describe(event: &DomainEvent) -> String {
    use DomainEventKind as Kind;
    let kind = KINDS
        .get(usize::try_from(event.id.0).unwrap_or(usize::MAX))
        .copied()
        .unwrap_or("unknown");
    let head = format!("event '{kind}' for domain '{}'", event.domain.name());
    match &event.kind {
        Kind::Plain => format!("{head}\n"),
        Kind::Lifecycle { event, detail } => {
            format!(
                "{head}: {} {}\n",
                names::lifecycle(*event),
                names::lifecycle_detail(*event, *detail)
            )
        }
        Kind::RtcChange { offset } => format!("{head}: {offset}\n"),
        Kind::Watchdog { action } => {
            let words = &[
                "none",
                "pause",
                "reset",
                "poweroff",
                "shutdown",
                "debug",
                "inject-nmi",
            ];
            format!("{head}: {}\n", event_word(words, action.0, "unknown"))
        }
        Kind::IoError {
            path,
            device,
            action,
            reason,
        } => {
            let word = event_word(&["none", "pause", "report"], action.0, "unknown");
            let reason = reason
                .as_ref()
                .map(|reason| format!(" due to {reason}"))
                .unwrap_or_default();
            format!("{head}: {path} ({device}) {word}{reason}\n")
        }
        Kind::Graphics {
            phase,
            local,
            remote,
            auth,
            subject,
        } => {
            let family = |number: i32| event_word(&["IPv4", "IPv6", "unix"], number, "unknown");
            let phase = event_word(&["connect", "initialize", "disconnect"], phase.0, "unknown");
            let mut text = format!(
                "{head}: {phase} local[{} {} {}] remote[{} {} {}] {auth}\n",
                family(local.family.0),
                local.node,
                local.service,
                family(remote.family.0),
                remote.node,
                remote.service
            );
            for (kind, name) in subject {
                text.push_str(&format!("\t{kind}={name}\n"));
            }
            text
        }
        Kind::BlockJob { disk, job, status } => {
            let jobs = &[
                "Unknown job",
                "Block Pull",
                "Block Copy",
                "Block Commit",
                "Active Block Commit",
                "Backup",
            ];
            let states = &["completed", "failed", "canceled", "ready"];
            format!(
                "{head}: {} for {disk} {}\n",
                event_word(jobs, job.0, "Unknown job"),
                event_word(states, status.0, "unknown")
            )
        }
        Kind::DiskChange {
            old,
            new,
            alias,
            reason,
        } => format!(
            "{head} disk {alias}: {} -> {}: {}\n",
            or_null(old),
            or_null(new),
            event_word(&["changed", "dropped"], reason.0, "unknown")
        ),
        Kind::TrayChange { alias, reason } => {
            format!(
                "{head} disk {alias}: {}\n",
                event_word(&["opened", "closed"], reason.0, "unknown")
            )
        }
        Kind::BalloonChange { actual } => format!("{head}: {actual}KiB\n"),
        Kind::Device { alias } => format!("{head}: {alias}\n"),
        Kind::Params { params } => {
            let mut text = format!("{head}:\n");
            for param in params {
                text.push_str(&format!("\t{}: {}\n", param.field, param_text(param)));
            }
            text
        }
        Kind::AgentLifecycle { state, reason } => format!(
            "{head}: state: '{}' reason: '{}'\n",
            event_word(
                &["unknown", "connected", "disconnected"],
                state.0,
                "unsupported value"
            ),
            event_word(
                &["unknown", "domain started", "channel event"],
                reason.0,
                "unsupported value"
            )
        ),
        Kind::MigrationIteration { iteration } => format!("{head}: iteration: '{iteration}'\n"),
        Kind::MetadataChange { kind, uri } => format!(
            "{head}: type {}, uri {}\n",
            event_word(&["description", "title", "element"], kind.0, "unsupported value"),
            or_null(uri)
        ),
        Kind::BlockThreshold {
            device,
            path,
            threshold,
            excess,
        } => {
            format!("{head}: dev: {device}({}) {threshold} {excess}\n", or_null(path))
        }
        Kind::MemoryFailure {
            recipient,
            action,
            flags,
        } => format!(
            "{head}:\nrecipient: {}\naction: {}\nflags:\n\taction required: {}\n\trecursive: {}\n",
            event_word(&["hypervisor", "guest"], recipient.0, "unsupported value"),
            event_word(
                &["ignore", "inject", "fatal", "reset"],
                action.0,
                "unsupported value"
            ),
            i32::from(flags.contains(DomainMemoryFailureFlags::ACTION_REQUIRED)),
            i32::from(flags.contains(DomainMemoryFailureFlags::RECURSIVE))
        ),
        Kind::MemoryDeviceSizeChange { alias, size } => format!("{head}:\nalias: {alias}\nsize: {size}\n"),
        Kind::NicMacChange { alias, old, new } => {
            format!("{head}:\nalias: {alias}\noldMAC: {old}\nnewMAC: {new}\n")
        }
        other => format!("{head}: {other:?}\n"),
    }
}

fn param_text(param: &TypedParam) -> String {
    match &param.value {
        TypedValue::Int(value) => value.to_string(),
        TypedValue::UInt(value) => value.to_string(),
        TypedValue::LLong(value) => value.to_string(),
        TypedValue::ULLong(value) => value.to_string(),
        TypedValue::Double(value) => format!("{value:.6}"),
        TypedValue::Boolean(value) => i32::from(*value).to_string(),
        TypedValue::String(value) => value.clone(),
    }
}
