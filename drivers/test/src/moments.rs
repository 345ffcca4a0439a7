//! Snapshots and checkpoints of guests: nothing is copied, but the guest's definition and state are kept.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use virt_conf::checkpoint::Checkpoint;
use virt_conf::domain::disk::SnapshotLocation;
use virt_conf::domain::stability;
use virt_conf::moment::MomentDomain;
use virt_conf::registry::moments::{Moment as _, Removal};
use virt_conf::registry::{Definition, Life};
use virt_conf::schema::{self, Check};
use virt_conf::snapshot::{Alignment, Snapshot, SnapshotFlags, SnapshotMemory, SnapshotState};
use virt_util::types::{
    DomainCheckpointCreateFlags, DomainEventStartedDetail, DomainEventStoppedDetail,
    DomainEventSuspendedDetail, DomainEventType, DomainPausedReason, DomainRunningReason,
    DomainShutoffReason, DomainSnapshotCreateFlags, DomainSnapshotRevertFlags, DomainState,
};
use virt_util::xml::{Doc, DocOptions, Element};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::connection::of_definitions;
use crate::definition::GuestDefinition;
use crate::domain::{Guest, GuestEvent};
use crate::error;
use crate::life;
use crate::world::World;

/// A snapshot of a host file.
pub fn adopted(element: Element<'_>) -> Result<Snapshot> {
    let flags = SnapshotFlags::REDEFINE | SnapshotFlags::INTERNAL;
    Snapshot::from_element(element, flags)
        .map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN_SNAPSHOT))
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// How a snapshot calls what a guest does.
fn state_word(state: DomainState) -> Option<SnapshotState> {
    Some(match state {
        DomainState::RUNNING => SnapshotState::Running,
        DomainState::BLOCKED => SnapshotState::Blocked,
        DomainState::PAUSED => SnapshotState::Paused,
        DomainState::SHUTDOWN => SnapshotState::Shutdown,
        DomainState::SHUTOFF => SnapshotState::Shutoff,
        DomainState::CRASHED => SnapshotState::Crashed,
        DomainState::PMSUSPENDED => SnapshotState::Pmsuspended,
        _ => return None,
    })
}

/// The definition as moments keep it.
fn kept(definition: &GuestDefinition) -> MomentDomain {
    let mut domain = definition.domain.clone();
    domain.id = None;
    MomentDomain::Definition(Box::new(domain))
}

/// Takes a snapshot, or writes one anew, and says its name. The caller holds the guest's lane.
pub fn create_snapshot(world: &World, guest: &Arc<Guest>, xml: &str, flags: u32) -> Result<String> {
    type Flags = DomainSnapshotCreateFlags;
    let flags = Flags::from(flags);
    let before = guest.snapshot();
    if !before.state.lasting.checkpoints.is_empty() {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!(
                "domain '{}' has checkpoints, and takes no snapshot before they are deleted",
                before.name()
            ),
        ));
    }
    if !before.is_persistent() && flags.contains(Flags::HALT) {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "a transient domain would be gone when it halts after its snapshot: define it first",
        ));
    }
    let redefine = flags.contains(Flags::REDEFINE);
    let mut how = SnapshotFlags::empty();
    how.set(SnapshotFlags::REDEFINE, redefine);
    let options = DocOptions::named("(domain_snapshot)").in_domain(ErrorDomain::DOMAIN_SNAPSHOT);
    let doc = Doc::parse_with(xml, &options)?;
    if Check::asked_by(flags.contains(Flags::VALIDATE)) == Check::Strict {
        schema::check(&doc)?;
    }
    let mut snapshot = Snapshot::from_element(doc.root(), how).map_err(in_snapshots)?;
    let mut snapshots = before.state.lasting.snapshots.clone();
    if redefine {
        complete(&mut snapshot.domain)?;
        redefined(&mut snapshot, guest)?;
        snapshots.replace(snapshot.clone());
        if flags.contains(Flags::CURRENT) {
            snapshots.set_current(Some(snapshot.name()));
        }
    } else {
        snapshot.complete(now());
        snapshot.domain = kept(before.life.current());
        align(&mut snapshot, before.state.state)?;
        snapshot.parent = snapshots.current().map(|current| current.name().to_owned());
        snapshots.add(snapshot.clone()).map_err(of_definitions)?;
        snapshots.set_current(Some(snapshot.name()));
    }
    guest.publish(|published| published.state.lasting_mut().snapshots = snapshots);
    if !redefine && flags.contains(Flags::HALT) && before.is_active() {
        halt(world, guest);
    }
    Ok(snapshot.name().to_owned())
}

fn in_snapshots(error: virt_util::VirtError) -> virt_util::VirtError {
    error.in_domain_if_none(ErrorDomain::DOMAIN_SNAPSHOT)
}

/// Completes a definition that came inside a moment's document.
fn complete(domain: &mut MomentDomain) -> Result<()> {
    if let MomentDomain::Definition(inside) = domain {
        **inside = GuestDefinition::complete((**inside).clone())?.domain;
    }
    Ok(())
}

/// Checks a snapshot that is written anew, and matches its disks.
fn redefined(snapshot: &mut Snapshot, guest: &Guest) -> Result<()> {
    let now = guest.snapshot();
    let snapshots = &now.state.lasting.snapshots;
    snapshots.check_place(snapshot).map_err(of_definitions)?;
    let other = snapshots.get(snapshot.name()).map(|other| &**other);
    let uuid = now.life.current().uuid().unwrap_or_default();
    snapshot
        .check_redefine(uuid, other, false, stability::check)
        .map_err(in_snapshots)?;
    let external = snapshot.state == Some(SnapshotState::DiskSnapshot) || snapshot.is_external();
    let existing = other.and_then(|other| other.domain.definition());
    if snapshot.domain.definition().or(existing).is_none() {
        return Ok(());
    }
    snapshot
        .align_disks(existing, alignment(external), &is_file)
        .map_err(in_snapshots)
}

fn is_file(path: &str) -> bool {
    std::path::Path::new(path).is_file()
}

fn alignment(external: bool) -> Alignment {
    Alignment {
        default: match external {
            true => SnapshotLocation::External,
            false => SnapshotLocation::Internal,
        },
        uniform_internal: true,
        force_default: false,
    }
}

/// Gives a new snapshot the guest's state, and matches its disks.
fn align(snapshot: &mut Snapshot, state: DomainState) -> Result<()> {
    if let Some(disk) = snapshot
        .disks
        .iter()
        .find(|disk| disk.location == Some(SnapshotLocation::Manual))
    {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!(
                "disk '{}': snapshot='manual' is not supported by the test driver, only 'internal', 'external' and 'no'",
                disk.name
            ),
        ));
    }
    let memory = snapshot.memory.as_ref().and_then(|memory| memory.location);
    let external = memory == Some(SnapshotLocation::External);
    snapshot.state = state_word(state);
    if !external {
        let location = match state == DomainState::SHUTOFF {
            true => SnapshotLocation::No,
            false => SnapshotLocation::Internal,
        };
        snapshot.memory = Some(SnapshotMemory {
            location: Some(location),
            file: None,
        });
    }
    snapshot
        .align_disks(None, alignment(external), &is_file)
        .map_err(in_snapshots)
}

/// Ends the guest because of a snapshot. One that is transient stays in the index: it runs again at once.
fn halt(world: &World, guest: &Arc<Guest>) {
    life::stop(
        world,
        guest,
        DomainShutoffReason::FROM_SNAPSHOT,
        DomainEventStoppedDetail::FROM_SNAPSHOT,
    );
}

/// Sets a guest back to one of its snapshots. The caller holds the guest's lane.
pub fn revert(world: &World, guest: &Arc<Guest>, name: &str, flags: u32) -> Result<()> {
    type Flags = DomainSnapshotRevertFlags;
    let flags = Flags::from(flags);
    let before = guest.snapshot();
    let snapshot = Arc::clone(before.state.lasting.snapshots.find(name).map_err(in_driver)?);
    let ran = matches!(
        snapshot.state,
        Some(SnapshotState::Running | SnapshotState::Paused)
    );
    let asked = flags.contains(Flags::RUNNING) || flags.contains(Flags::PAUSED);
    if !before.is_persistent() && !ran && !asked {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!(
                "snapshot '{name}' is of a domain that was off: a transient domain needs to be asked to run or to pause"
            ),
        ));
    }
    let Some(domain) = snapshot.domain.definition() else {
        return Err(error(
            ErrorCode::SNAPSHOT_REVERT_RISKY,
            format_args!("snapshot '{name}' lacks domain '{}' rollback info", before.name()),
        ));
    };
    let config = Arc::new(GuestDefinition::complete(domain.clone())?);
    let stored = before.is_persistent().then(|| Arc::clone(&config));
    if before.is_active() {
        life::end_run(
            world,
            guest,
            DomainShutoffReason::FROM_SNAPSHOT,
            DomainEventStoppedDetail::FROM_SNAPSHOT,
        );
    }
    guest.publish(|published| {
        published.life = Life::Inactive(Arc::clone(&config));
        published.state.lasting_mut().snapshots.set_current(Some(name));
    });
    if !ran && !asked {
        return Ok(());
    }
    let why = (
        DomainRunningReason::FROM_SNAPSHOT,
        DomainEventStartedDetail::FROM_SNAPSHOT,
    );
    life::run(world, guest, &config, stored, why)?;
    let was_paused = snapshot.state == Some(SnapshotState::Paused);
    if !flags.contains(Flags::RUNNING) && (was_paused || flags.contains(Flags::PAUSED)) {
        life::set_state(guest, DomainState::PAUSED, DomainPausedReason::FROM_SNAPSHOT.0);
        GuestEvent::lifecycle(
            guest,
            DomainEventType::SUSPENDED,
            DomainEventSuspendedDetail::FROM_SNAPSHOT.0,
        );
    }
    Ok(())
}

/// Errors about what is not there are the driver's.
pub fn in_driver(error: virt_util::VirtError) -> virt_util::VirtError {
    error.in_domain_if_none(ErrorDomain::TEST)
}

/// Which removal two flags mean.
pub fn removal(children: bool, children_only: bool) -> Removal {
    match (children, children_only) {
        (_, true) => Removal::ChildrenOnly,
        (true, false) => Removal::WithChildren,
        (false, false) => Removal::One,
    }
}

/// Makes a checkpoint, or writes one anew, and says its name. The caller holds the guest's lane.
pub fn create_checkpoint(guest: &Arc<Guest>, xml: &str, flags: u32) -> Result<String> {
    let redefine = DomainCheckpointCreateFlags::from(flags).contains(DomainCheckpointCreateFlags::REDEFINE);
    let before = guest.snapshot();
    let refuse = |what: std::fmt::Arguments<'_>| Err(error(ErrorCode::OPERATION_UNSUPPORTED, what));
    if !before.state.lasting.snapshots.is_empty() {
        return refuse(format_args!(
            "domain '{}' has snapshots, and takes no checkpoint before they are deleted",
            before.name()
        ));
    }
    if !before.is_active() {
        return refuse(format_args!(
            "domain '{}' does not run: a checkpoint is of a running domain",
            before.name()
        ));
    }
    let in_checkpoints =
        |error: virt_util::VirtError| error.in_domain_if_none(ErrorDomain::DOMAIN_CHECKPOINT);
    let mut checkpoint = Checkpoint::parse(xml, redefine, "(domain_checkpoint)")?;
    let mut checkpoints = before.state.lasting.checkpoints.clone();
    let mut becomes_current = true;
    if redefine {
        complete(&mut checkpoint.domain)?;
        checkpoints.check_place(&checkpoint).map_err(of_definitions)?;
        let uuid = before.life.current().uuid().unwrap_or_default();
        checkpoint.prepare_redefine(uuid).map_err(in_checkpoints)?;
        becomes_current = match checkpoints.current() {
            Some(current) => checkpoint.parent() == Some(current.name()),
            None => true,
        };
        checkpoints.replace(checkpoint.clone());
    } else {
        checkpoint.complete(now());
        checkpoint.domain = kept(before.life.current());
        checkpoint.align_disks().map_err(in_checkpoints)?;
        checkpoint.parent = checkpoints.current().map(|current| current.name().to_owned());
        checkpoints.add(checkpoint.clone()).map_err(of_definitions)?;
    }
    if becomes_current {
        checkpoints.set_current(Some(checkpoint.name()));
    }
    guest.publish(|published| published.state.lasting_mut().checkpoints = checkpoints);
    Ok(checkpoint.name().to_owned())
}
