//! Commands that bring domains into being, start and stop them.

use crate::grammar::Invocation;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use virt_api::Domain;
use virt_util::sys::inherit::inherited_fd;
use virt_util::types::{
    DomainCreateFlags, DomainDefineFlags, DomainDestroyFlags, DomainRebootFlags, DomainShutdownFlags,
    DomainState,
};
use virt_util::{ErrorCode, VirtError};

use super::{By, domain, domain_by, read_definition};

/// The descriptors that `--pass-fds` names, duplicated.
pub(crate) fn passed_fds(call: &Invocation) -> Result<Vec<OwnedFd>, Failure> {
    let Some(list) = call.text_if_any("pass-fds") else {
        return Ok(Vec::new());
    };
    list.split(',')
        .map(|item| {
            let number = crate::numbers::int(item, 10)
                .ok_or_else(|| Failure::from(format!("Unable to parse FD number '{item}'")))?;
            inherited_fd(number).map_err(Failure::from)
        })
        .collect()
}

fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

pub(super) fn define(shell: &mut Shell, call: &Invocation) -> Outcome {
    let path = call.required_text("file")?;
    let mut flags = DomainDefineFlags::empty();
    if call.has("validate") {
        flags |= DomainDefineFlags::VALIDATE;
    }
    let xml = read_definition(path, "domain")?;
    if call.has("dry-run") {
        return super::explain::dry_run(shell, &xml, path, call.has("validate"));
    }
    let domain = shell
        .connection()?
        .define_domain(&xml, flags)
        .or_say(|| format!("Failed to define domain from {path}"))?;
    shell.extra(format!("Domain '{}' defined from {path}\n", domain.name()));
    Ok(())
}

/// The flags that `create` and `start` share, and whether the domain shall be resumed once its console is open.
fn start_flags(call: &Invocation) -> (DomainCreateFlags, bool) {
    let mut flags = DomainCreateFlags::empty();
    let resume = !call.has("paused") && call.has("console");
    if call.has("paused") || resume {
        flags |= DomainCreateFlags::START_PAUSED;
    }
    for (option, flag) in [
        ("autodestroy", DomainCreateFlags::START_AUTODESTROY),
        ("bypass-cache", DomainCreateFlags::START_BYPASS_CACHE),
        ("force-boot", DomainCreateFlags::START_FORCE_BOOT),
        ("validate", DomainCreateFlags::START_VALIDATE),
        ("reset-nvram", DomainCreateFlags::START_RESET_NVRAM),
    ] {
        if call.has(option) {
            flags |= flag;
        }
    }
    (flags, resume)
}

pub(super) fn create(shell: &mut Shell, call: &Invocation) -> Outcome {
    let path = call.required_text("file")?;
    let xml = read_definition(path, "domain")?;
    let fds = passed_fds(call)?;
    let (flags, mut resume) = start_flags(call);
    let connection = shell.connection()?;
    let attempt = |flags| connection.create_domain(&xml, flags, &borrowed(&fds));
    let created = match attempt(flags) {
        Err(error) if resume && error.code() == ErrorCode::INVALID_ARG => {
            // A driver that cannot start paused: be late for the first lines of the console instead.
            resume = false;
            attempt(flags - DomainCreateFlags::START_PAUSED)
        }
        other => other,
    };
    let domain = created.or_say(|| format!("Failed to create domain from {path}"))?;
    shell.extra(format!("Domain '{}' created from {path}\n", domain.name()));
    if call.has("console")
        && let Err(failure) = super::guest::run_console(shell, &domain, None, resume, 0.into())
    {
        // The domain was created, which is what was asked for first.
        shell.report(&failure);
    }
    Ok(())
}

pub(super) fn start(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain_by(shell, call, By::NAME_OR_UUID)?;
    if domain.id().is_some() {
        return Err("Domain is already active".into());
    }
    let fds = passed_fds(call)?;
    let (mut flags, mut resume) = start_flags(call);
    let attempt = |flags| domain.create(flags, &borrowed(&fds));

    let mut result = attempt(flags);
    if flags.contains(DomainCreateFlags::START_FORCE_BOOT)
        && let Err(error) = &result
    {
        if !is_unsupported(error) {
            return result.map_err(Failure::from);
        }
        // An old peer: what force-boot means can be said in two steps.
        if domain.has_managed_save_image().unwrap_or(false) {
            domain.managed_save_remove()?;
        }
        flags -= DomainCreateFlags::START_FORCE_BOOT;
        result = attempt(flags);
    }
    if resume
        && result
            .as_ref()
            .is_err_and(|error| error.code() == ErrorCode::INVALID_ARG)
    {
        resume = false;
        flags -= DomainCreateFlags::START_PAUSED;
        result = attempt(flags);
    }
    result.or_say(|| format!("Failed to start domain '{}'", domain.name()))?;
    shell.extra(format!("Domain '{}' started\n", domain.name()));
    if call.has("console") {
        super::guest::run_console(shell, &domain, None, resume, 0.into())?;
    }
    Ok(())
}

pub(super) fn is_unsupported(error: &VirtError) -> bool {
    matches!(error.code(), ErrorCode::NO_SUPPORT | ErrorCode::INVALID_ARG)
}

/// The ways to ask a guest to stop that `--mode` names, as bits that shutdown and reboot share.
fn modes(call: &Invocation, last: &str) -> Result<u32, Failure> {
    let mut flags = 0;
    for mode in call.text("mode")?.into_iter().flat_map(|modes| modes.split(',')) {
        flags |= match mode {
            "acpi" => DomainShutdownFlags::ACPI_POWER_BTN.bits(),
            "agent" => DomainShutdownFlags::GUEST_AGENT.bits(),
            "initctl" => DomainShutdownFlags::INITCTL.bits(),
            "signal" => DomainShutdownFlags::SIGNAL.bits(),
            "paravirt" => DomainShutdownFlags::PARAVIRT.bits(),
            _ => {
                return Err(format!(
                    "Unknown mode {mode} value, expecting 'acpi', 'agent', 'initctl', {last} or 'paravirt'"
                )
                .into());
            }
        };
    }
    Ok(flags)
}

pub(super) fn shutdown(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = DomainShutdownFlags::from(modes(call, "'signal',")?);
    simple(
        shell,
        call,
        "Failed to shutdown domain",
        "is being shutdown",
        |domain| domain.shutdown(flags),
    )
}

pub(super) fn reboot(shell: &mut Shell, call: &Invocation) -> Outcome {
    let flags = DomainRebootFlags::from(modes(call, "'signal'")?);
    simple(
        shell,
        call,
        "Failed to reboot domain",
        "is being rebooted",
        |domain| domain.reboot(flags),
    )
}

pub(super) fn reset(shell: &mut Shell, call: &Invocation) -> Outcome {
    simple(shell, call, "Failed to reset domain", "was reset", Domain::reset)
}

pub(super) fn suspend(shell: &mut Shell, call: &Invocation) -> Outcome {
    simple(
        shell,
        call,
        "Failed to suspend domain",
        "suspended",
        Domain::suspend,
    )
}

pub(super) fn resume(shell: &mut Shell, call: &Invocation) -> Outcome {
    simple(shell, call, "Failed to resume domain", "resumed", Domain::resume)
}

pub(super) fn destroy(shell: &mut Shell, call: &Invocation) -> Outcome {
    let mut flags = DomainDestroyFlags::empty();
    if call.has("graceful") {
        flags |= DomainDestroyFlags::GRACEFUL;
    }
    if call.has("remove-logs") {
        flags |= DomainDestroyFlags::REMOVE_LOGS;
    }
    simple(shell, call, "Failed to destroy domain", "destroyed", |domain| {
        domain.destroy(flags)
    })
}

/// One call on one domain: `FAILED 'name'` or `Domain 'name' DONE`.
fn simple(
    shell: &mut Shell,
    call: &Invocation,
    failed: &str,
    done: &str,
    act: impl FnOnce(&Domain) -> Result<(), VirtError>,
) -> Outcome {
    let (domain, name) = domain(shell, call)?;
    act(&domain).or_say(|| format!("{failed} '{name}'"))?;
    shell.extra(format!("Domain '{name}' {done}\n"));
    Ok(())
}

pub(super) fn autostart(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, name) = domain(shell, call)?;
    let on = !call.has("disable");
    let (result, what) = if call.has("once") {
        (domain.set_autostart_once(on), "autostarted on next boot")
    } else {
        (domain.set_autostart(on), "autostarted")
    };
    let (verb, done) = if on {
        ("mark", "marked")
    } else {
        ("unmark", "unmarked")
    };
    result.or_say(|| format!("Failed to {verb} domain '{name}' as {what}"))?;
    shell.extra(format!("Domain '{name}' {done} as {what}\n"));
    Ok(())
}

/// Whether the domain can have a console now.
pub(super) fn is_shut_off(domain: &Domain) -> Result<bool, Failure> {
    let (state, _) = domain.state().or_say(|| "Unable to get domain status")?;
    Ok(state == DomainState::SHUTOFF)
}
