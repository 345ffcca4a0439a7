//! A guest's life: start, stop, pause, and what else only changes its state.

use std::sync::Arc;

use virt_api::call::CallContext;
use virt_conf::domain::audit::GuestAudit;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::registry::job::{Asker, Job, JobGuard};
use virt_conf::registry::{Life, Snapshot};
use virt_util::types::{
    DomainEventResumedDetail, DomainEventStartedDetail, DomainEventStoppedDetail, DomainEventSuspendedDetail,
    DomainEventType, DomainEventUndefinedDetail, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainState, DomainUndefineFlags,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::connection::of_definitions;
use crate::definition::GuestDefinition;
use crate::domain::{Guest, GuestEvent, GuestId, GuestKind, GuestState};
use crate::error;
use crate::world::World;

/// Takes a guest's lane for a change on behalf of a call.
pub fn begin(guest: &Guest, cx: &CallContext<'_>, api: &'static str) -> Result<JobGuard> {
    let asker = Asker {
        api,
        deadline: cx.deadline(),
        cancel: cx.cancel().clone(),
    };
    guest
        .lane()
        .begin(Job::Modify, &asker)
        .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))
}

/// The snapshot of a guest that must run.
pub fn active(guest: &Guest) -> Result<Arc<Snapshot<GuestKind>>> {
    let snapshot = guest.snapshot();
    if snapshot.is_active() {
        return Ok(snapshot);
    }
    Err(of_definitions(error(
        ErrorCode::OPERATION_INVALID,
        "domain is not running",
    )))
}

/// The simulator's own words for a guest in the wrong state, with libvirt's code.
fn wrong_state(snapshot: &Snapshot<GuestKind>, what: &str) -> virt_util::VirtError {
    error(
        ErrorCode::INTERNAL_ERROR,
        format_args!("domain '{}' {what}", snapshot.name()),
    )
}

/// Starts a guest that is off. The caller holds its lane.
pub fn start(world: &World, guest: &Arc<Guest>) -> Result<()> {
    let snapshot = guest.snapshot();
    if snapshot.state.state != DomainState::SHUTOFF {
        return Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("domain '{}' runs already", snapshot.name()),
        ));
    }
    let next = snapshot.life.stored().cloned();
    run(world, guest, snapshot.life.current(), next, BOOTED)
}

/// How guests usually come to run.
pub const BOOTED: (DomainRunningReason, DomainEventStartedDetail) =
    (DomainRunningReason::BOOTED, DomainEventStartedDetail::BOOTED);

/// Makes a guest run with `live`, and with `next` the time after. The caller holds its lane.
pub fn run(
    world: &World,
    guest: &Arc<Guest>,
    live: &GuestDefinition,
    next: Option<Arc<GuestDefinition>>,
    why: (DomainRunningReason, DomainEventStartedDetail),
) -> Result<()> {
    let id = world.new_id();
    world.guests().bind(guest, id)?;
    let live = Arc::new(live.running(id.0));
    // A simulated guest has no process.
    world.record(GuestAudit::new(&live.domain).start(0, audited(why.0), true));
    guest.publish(|snapshot| {
        snapshot.life = Life::Active { live, next };
        snapshot.state = GuestState {
            id: id.0,
            state: DomainState::RUNNING,
            reason: why.0.0,
            managed_save: false,
            lasting: Arc::clone(&snapshot.state.lasting),
        };
    });
    GuestEvent::lifecycle(guest, DomainEventType::STARTED, why.1.0);
    Ok(())
}

/// The word of audit records for how a guest came to run.
fn audited(reason: DomainRunningReason) -> &'static str {
    match reason {
        DomainRunningReason::RESTORED => "restored",
        DomainRunningReason::FROM_SNAPSHOT => "from-snapshot",
        _ => "booted",
    }
}

/// Ends a guest that runs; a transient one is gone then. The caller holds its lane.
pub fn stop(
    world: &World,
    guest: &Arc<Guest>,
    reason: DomainShutoffReason,
    detail: DomainEventStoppedDetail,
) {
    let persistent = guest.snapshot().is_persistent();
    end_run(world, guest, reason, detail);
    if !persistent {
        world.guests().remove(guest);
    }
}

/// Ends a guest that runs, for a caller who decides what becomes of a transient one.
pub fn end_run(
    world: &World,
    guest: &Arc<Guest>,
    reason: DomainShutoffReason,
    detail: DomainEventStoppedDetail,
) {
    let snapshot = guest.snapshot();
    world.record([GuestAudit::new(&snapshot.life.current().domain).stop(0, reason)]);
    world.guests().unbind(&GuestId(snapshot.state.id));
    guest.publish(|snapshot| {
        if let Some(stored) = snapshot.life.stopped() {
            snapshot.life = stored;
        }
        snapshot.state = GuestState {
            id: -1,
            state: DomainState::SHUTOFF,
            reason: reason.0,
            managed_save: false,
            lasting: Arc::clone(&snapshot.state.lasting),
        };
    });
    GuestEvent::lifecycle(guest, DomainEventType::STOPPED, detail.0);
}

/// `destroy`.
pub fn destroy(world: &World, guest: &Arc<Guest>) -> Result<()> {
    active(guest)?;
    stop(
        world,
        guest,
        DomainShutoffReason::DESTROYED,
        DomainEventStoppedDetail::DESTROYED,
    );
    Ok(())
}

/// `managedsave`.
pub fn managed_save(world: &World, guest: &Arc<Guest>) -> Result<()> {
    if !active(guest)?.is_persistent() {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "a transient domain has no managed save: define it first",
        ));
    }
    stop(
        world,
        guest,
        DomainShutoffReason::SAVED,
        DomainEventStoppedDetail::SAVED,
    );
    guest.publish(|snapshot| snapshot.state.managed_save = true);
    Ok(())
}

/// `shutdown`: the guest obeys at once, in the way its definition says.
pub fn shutdown(world: &World, guest: &Arc<Guest>) -> Result<()> {
    let snapshot = guest.snapshot();
    if snapshot.state.state == DomainState::SHUTOFF {
        return Err(wrong_state(&snapshot, "not running"));
    }
    end(world, guest, snapshot.life.current().domain.on_poweroff);
    Ok(())
}

/// `reboot`.
pub fn reboot(world: &World, guest: &Arc<Guest>) -> Result<()> {
    let action = active(guest)?.life.current().domain.on_reboot;
    end(world, guest, action);
    Ok(())
}

/// The guest has come to its own end: off, or up again.
fn end(world: &World, guest: &Arc<Guest>, action: LifecycleAction) {
    if [LifecycleAction::Restart, LifecycleAction::RenameRestart].contains(&action) {
        set_state(guest, DomainState::RUNNING, DomainRunningReason::BOOTED.0);
    } else {
        stop(
            world,
            guest,
            DomainShutoffReason::SHUTDOWN,
            DomainEventStoppedDetail::SHUTDOWN,
        );
    }
}

/// `suspend`.
pub fn suspend(guest: &Arc<Guest>) -> Result<()> {
    let snapshot = guest.snapshot();
    if [DomainState::SHUTOFF, DomainState::PAUSED].contains(&snapshot.state.state) {
        return Err(wrong_state(&snapshot, "not running"));
    }
    set_state(guest, DomainState::PAUSED, DomainPausedReason::USER.0);
    GuestEvent::lifecycle(
        guest,
        DomainEventType::SUSPENDED,
        DomainEventSuspendedDetail::PAUSED.0,
    );
    Ok(())
}

/// `resume`.
pub fn resume(guest: &Arc<Guest>) -> Result<()> {
    let snapshot = guest.snapshot();
    if snapshot.state.state != DomainState::PAUSED {
        return Err(wrong_state(&snapshot, "not paused"));
    }
    set_state(guest, DomainState::RUNNING, DomainRunningReason::UNPAUSED.0);
    GuestEvent::lifecycle(
        guest,
        DomainEventType::RESUMED,
        DomainEventResumedDetail::UNPAUSED.0,
    );
    Ok(())
}

/// `undefine`: a guest that runs becomes transient, one that is off is gone.
pub fn undefine(world: &World, guest: &Arc<Guest>, flags: DomainUndefineFlags) -> Result<()> {
    let snapshot = guest.snapshot();
    if snapshot.state.managed_save && !flags.contains(DomainUndefineFlags::MANAGED_SAVE) {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!(
                "domain '{}' has a managed save image: ask for its removal too",
                snapshot.name()
            ),
        ));
    }
    let counted = snapshot.state.lasting.snapshots.len();
    let keeps_snapshots = !flags.contains(DomainUndefineFlags::SNAPSHOTS_METADATA);
    if !snapshot.is_active() && counted > 0 && keeps_snapshots {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!(
                "cannot delete inactive domain with {counted} snapshots: ask for the removal of their metadata too"
            ),
        ));
    }
    GuestEvent::lifecycle(
        guest,
        DomainEventType::UNDEFINED,
        DomainEventUndefinedDetail::REMOVED.0,
    );
    let left = snapshot.life.undefined();
    let gone = left.is_none();
    guest.publish(|snapshot| {
        snapshot.state.managed_save = false;
        if let Some(left) = left {
            snapshot.life = left;
        }
    });
    if gone {
        world.guests().remove(guest);
    }
    Ok(())
}

pub(crate) fn set_state(guest: &Guest, state: DomainState, reason: i32) {
    guest.publish(|snapshot| {
        snapshot.state.state = state;
        snapshot.state.reason = reason;
    });
}
