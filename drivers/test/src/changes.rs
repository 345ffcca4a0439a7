//! Changes of definitions: define, create, rename, and single settings.

use std::sync::Arc;

use virt_api::access::{Authorized, Domain};
use virt_api::call::CallContext;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::registry::job::Asker;
use virt_conf::registry::{Definition, Purpose};
use virt_util::types::{
    DomainEventDefinedDetail, DomainEventStartedDetail, DomainEventType, DomainEventUndefinedDetail,
    DomainLifecycle, DomainLifecycleAction, DomainMemoryModFlags, DomainMetadataType, DomainRunningReason,
    DomainState, DomainVcpuFlags,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::connection::of_definitions;
use crate::definition::GuestDefinition;
use crate::domain::{self, Guest, GuestEvent, GuestState};
use crate::error;
use crate::life;
use crate::world::World;

/// What policies and clients are told of a definition that has no guest yet.
pub(crate) fn claimed(definition: &GuestDefinition) -> Domain {
    Domain {
        name: definition.name().to_owned(),
        uuid: definition.uuid().unwrap_or_default(),
        id: -1,
    }
}

/// Who asks for a lane.
pub(crate) fn asker(cx: &CallContext<'_>, api: &'static str) -> Asker {
    Asker {
        api,
        deadline: cx.deadline(),
        cancel: cx.cancel().clone(),
    }
}

/// Stores a definition.
pub fn define(
    world: &World,
    cx: &mut CallContext<'_>,
    definition: GuestDefinition,
    api: &'static str,
) -> Result<Authorized<Domain>> {
    let permit = cx.authorize(&claimed(&definition))?;
    let definition = Arc::new(definition);
    let fresh = || (GuestState::default(), ());
    let (guest, job) = world
        .guests()
        .enter(&definition, Purpose::Define, &asker(cx, api), fresh)
        .map(|entered| {
            // A guest that runs and was never stored is added, not updated.
            let known = !entered.is_fresh() && entered.object().snapshot().is_persistent();
            let (guest, job) = entered.commit();
            guest.publish(|snapshot| snapshot.life = snapshot.life.defined(definition));
            let detail = match known {
                true => DomainEventDefinedDetail::UPDATED,
                false => DomainEventDefinedDetail::ADDED,
            };
            GuestEvent::lifecycle(&guest, DomainEventType::DEFINED, detail.0);
            (guest, job)
        })?;
    drop(job);
    world.tell(&guest)?;
    Ok(permit.reply(domain::attributes(&guest.snapshot())))
}

/// What [`define`] would store.
pub fn preview(
    world: &World,
    cx: &mut CallContext<'_>,
    definition: &GuestDefinition,
) -> Result<Authorized<String>> {
    let permit = cx.authorize(&claimed(definition))?;
    world.guests().admits(definition)?;
    let xml = definition.domain.format(XmlFlags::INACTIVE | XmlFlags::SECURE);
    Ok(permit.reply(xml))
}

/// Makes a guest and runs it.
pub fn create(
    world: &World,
    cx: &mut CallContext<'_>,
    definition: GuestDefinition,
    api: &'static str,
    why: (DomainRunningReason, DomainEventStartedDetail),
) -> Result<Authorized<Domain>> {
    let permit = cx.authorize(&claimed(&definition))?;
    let definition = Arc::new(definition);
    let fresh = || (GuestState::default(), ());
    let entered = world
        .guests()
        .enter(&definition, Purpose::Create, &asker(cx, api), fresh)?;
    // The definition that was stored before stays for the next start.
    let next = match entered.is_fresh() {
        true => None,
        false => entered.object().snapshot().life.stored().cloned(),
    };
    life::run(world, entered.object(), &definition, next, why)?;
    let (guest, job) = entered.commit();
    let started = domain::attributes(&guest.snapshot());
    drop(job);
    world.tell(&guest)?;
    Ok(permit.reply(started))
}

/// Gives a guest that is off another name. The caller holds its lane.
pub fn rename(world: &World, guest: &Arc<Guest>, name: &str) -> Result<()> {
    let snapshot = guest.snapshot();
    let refuse = |what: &str| Err(error(ErrorCode::OPERATION_INVALID, what));
    if snapshot.is_active() {
        return refuse("a running domain keeps its name: shut it off first");
    }
    let Some(stored) = snapshot.life.stored() else {
        return refuse("a transient domain keeps its name: define it first");
    };
    if snapshot.state.state != DomainState::SHUTOFF {
        return refuse("a domain that is not shut off keeps its name");
    }
    let reservation = world.guests().reserve_name(guest, name)?;
    if name.contains(['/', '\n']) || name.is_empty() {
        return Err(error(
            ErrorCode::XML_ERROR,
            format_args!("name '{name}' cannot be empty or contain '/' or a line break"),
        ));
    }
    let mut renamed = GuestDefinition::clone(stored);
    renamed.domain.name = name.to_owned();
    let renamed = Arc::new(renamed);
    GuestEvent::lifecycle(
        guest,
        DomainEventType::UNDEFINED,
        DomainEventUndefinedDetail::RENAMED.0,
    );
    reservation.commit(|snapshot| snapshot.life = snapshot.life.defined(renamed));
    GuestEvent::lifecycle(
        guest,
        DomainEventType::DEFINED,
        DomainEventDefinedDetail::RENAMED.0,
    );
    Ok(())
}

/// Changes the definitions that `flags` mean, both or neither. The caller holds the guest's lane.
pub fn edit(
    guest: &Arc<Guest>,
    flags: u32,
    change: impl Fn(&mut GuestDefinition, Target) -> Result<()>,
) -> Result<()> {
    let snapshot = guest.snapshot();
    let affected = snapshot.affected(flags)?;
    let changed = |definition: &Arc<GuestDefinition>, target| {
        let mut copy = GuestDefinition::clone(definition);
        change(&mut copy, target)?;
        Ok(Arc::new(copy))
    };
    let live = match affected.live {
        true => Some(changed(snapshot.life.current(), Target::Live)?),
        false => None,
    };
    let stored = match snapshot.life.stored() {
        Some(stored) if affected.stored => Some(changed(stored, Target::Stored)?),
        _ => None,
    };
    guest.publish(|snapshot| {
        if let Some(live) = live {
            snapshot.life = snapshot.life.started(live);
        }
        if let Some(stored) = stored {
            snapshot.life = snapshot.life.defined(stored);
        }
    });
    Ok(())
}

/// Changes the one definition that `flags` mean. The caller holds the guest's lane.
pub fn edit_one(
    guest: &Arc<Guest>,
    flags: u32,
    change: impl Fn(&mut GuestDefinition) -> Result<()>,
) -> Result<()> {
    guest.snapshot().one_definition(flags).map_err(of_definitions)?;
    edit(guest, flags, |definition, _| change(definition))
}

/// Which definition is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What the guest runs with.
    Live,
    /// What it will run with.
    Stored,
}

/// Changes a piece of metadata and notes the event.
pub fn set_metadata(
    guest: &Arc<Guest>,
    kind: i32,
    text: Option<&str>,
    key: Option<&str>,
    uri: Option<&str>,
    flags: u32,
) -> Result<()> {
    edit(guest, flags, |definition, _| {
        definition
            .domain
            .set_metadata_piece(DomainMetadataType(kind), text, key, uri)
            .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))
    })?;
    GuestEvent::metadata(guest, kind, uri);
    Ok(())
}

/// Sets the memory that a guest has, or may have.
pub fn set_memory(guest: &Arc<Guest>, memory: u64, flags: u32) -> Result<()> {
    let maximum = DomainMemoryModFlags::from(flags).contains(DomainMemoryModFlags::MAXIMUM);
    // One definition at a time, as libvirt's simulator does it.
    let (_, live) = guest
        .snapshot()
        .one_definition(flags)
        .map(|(_, live)| ((), live))?;
    if maximum && live {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "<memory> stays while the domain runs: change the configuration alone",
        ));
    }
    edit(guest, flags, |definition, _| {
        let domain = &mut definition.domain;
        if maximum {
            domain.memory.size = memory;
            domain.current_memory = domain.current_memory.min(memory);
        } else if memory > domain.memory.size {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "cannot set memory higher than max memory: {memory} KiB asked for, {} KiB allowed",
                    domain.memory.size
                ),
            ));
        } else {
            domain.current_memory = memory;
        }
        Ok(())
    })
}

/// Sets the number of processors that a guest has, or may have.
pub fn set_vcpus(guest: &Arc<Guest>, count: u32, flags: u32) -> Result<()> {
    let maximum = DomainVcpuFlags::from(flags).contains(DomainVcpuFlags::MAXIMUM);
    edit(guest, flags, |definition, target| {
        let vcpus = &mut definition.domain.vcpus;
        if maximum && target == Target::Stored {
            let now = vcpus.current.unwrap_or(vcpus.max).min(count);
            vcpus.max = count;
            vcpus.current = (now < count).then_some(now);
            return Ok(());
        }
        if count > vcpus.max {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("{count} CPUs are more than the domain can have, {}", vcpus.max),
            ));
        }
        vcpus.current = (count < vcpus.max).then_some(count);
        Ok(())
    })
}

/// Sets what a shutdown, a reboot or a crash leads to.
pub fn set_lifecycle_action(guest: &Arc<Guest>, kind: u32, action: u32, flags: u32) -> Result<()> {
    let number = |value: u32| i32::try_from(value).unwrap_or(-1);
    let action = match DomainLifecycleAction(number(action)) {
        DomainLifecycleAction::DESTROY => LifecycleAction::Destroy,
        DomainLifecycleAction::RESTART => LifecycleAction::Restart,
        DomainLifecycleAction::RESTART_RENAME => LifecycleAction::RenameRestart,
        DomainLifecycleAction::PRESERVE => LifecycleAction::Preserve,
        DomainLifecycleAction::COREDUMP_DESTROY => LifecycleAction::CoredumpDestroy,
        DomainLifecycleAction::COREDUMP_RESTART => LifecycleAction::CoredumpRestart,
        other => {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("unknown lifecycle action {other}"),
            ));
        }
    };
    let kind = DomainLifecycle(number(kind));
    let dump = [LifecycleAction::CoredumpDestroy, LifecycleAction::CoredumpRestart].contains(&action);
    if dump && kind != DomainLifecycle::CRASH {
        return Err(error(
            ErrorCode::CONFIG_UNSUPPORTED,
            "a core dump can only follow a crash",
        ));
    }
    edit(guest, flags, |definition, _| {
        let domain = &mut definition.domain;
        match kind {
            DomainLifecycle::POWEROFF => domain.on_poweroff = action,
            DomainLifecycle::REBOOT => domain.on_reboot = action,
            DomainLifecycle::CRASH => domain.on_crash = action,
            other => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    format_args!("unknown lifecycle event {other}"),
                ));
            }
        }
        Ok(())
    })
}
