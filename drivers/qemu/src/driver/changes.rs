//! Changes of definitions: define, undefine, create, rename, autostart.

use std::sync::Arc;

use virt_api::access::{Authorized, Domain as Attributes};
use virt_api::call::CallContext;
use virt_conf::domain::Domain;
use virt_conf::domain::schema::check_schema;
use virt_conf::registry::job::Asker;
use virt_conf::registry::{Definition as _, DiskFormat as _, Purpose};
use virt_conf::schema::Check;
use virt_util::types::{
    DomainCreateFlags, DomainEventDefinedDetail, DomainEventType, DomainEventUndefinedDetail,
    DomainMetadataType, DomainShutoffReason, DomainUndefineFlags,
};
use virt_util::xml::{Doc, DocOptions, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::object::{self, GuestDefinition, GuestEvent, GuestObject, Private, Published};
use super::planner::Occasion;
use super::world::World;
use super::{error, life, nvram, saved};
use crate::process::state::Lifecycle;

fn asker(cx: &CallContext<'_>, api: &'static str) -> Asker {
    Asker {
        api,
        deadline: cx.deadline(),
        cancel: cx.cancel().clone(),
    }
}

fn read(world: &World, cx: &CallContext<'_>, xml: &str, check: Check) -> Result<GuestDefinition> {
    let doc = Doc::parse_with(
        xml,
        &DocOptions::named("(domain_definition)").in_domain(ErrorDomain::DOMAIN),
    )?;
    if check == Check::Strict {
        check_schema(&doc)?;
    }
    let domain = Domain::from_element(doc.root(), XmlFlags::INACTIVE)?;
    let patience = World::patience(cx.deadline(), cx.cancel());
    let domain = world
        .planner()
        .normalize(domain, Occasion::Define, world.layout(), &patience)?;
    domain.check_name()?;
    GuestDefinition::new(domain)
}

/// What policies are told of a definition that has no guest yet.
fn claimed(definition: &GuestDefinition) -> Attributes {
    Attributes {
        name: definition.name().to_owned(),
        uuid: definition.uuid().unwrap_or_default(),
        id: -1,
    }
}

fn fresh() -> (Published, Private) {
    (Published::default(), Private::default())
}

fn told(event: DomainEventType, detail: i32) -> Lifecycle {
    Lifecycle { event, detail }
}

/// Stores a definition.
pub fn define(
    world: &Arc<World>,
    cx: &mut CallContext<'_>,
    xml: &str,
    check: Check,
    api: &'static str,
) -> Result<Authorized<Attributes>> {
    let definition = read(world, cx, xml, check)?;
    let permit = cx.authorize(&claimed(&definition))?;
    let definition = Arc::new(definition);
    let entered = world
        .guests()
        .enter(&definition, Purpose::Define, &asker(cx, api), fresh)?;
    // A guest that runs and was never stored is added, not updated.
    let known = !entered.is_fresh() && entered.object().snapshot().is_persistent();
    world.store().save(&*definition)?;
    let (guest, job) = entered.commit();
    guest.publish(|snapshot| snapshot.life = snapshot.life.defined(definition));
    let detail = if known {
        DomainEventDefinedDetail::UPDATED
    } else {
        DomainEventDefinedDetail::ADDED
    };
    GuestEvent::lifecycle(&guest, told(DomainEventType::DEFINED, detail.0));
    drop(job);
    world.tell(&guest);
    Ok(permit.reply(object::attributes(&guest.snapshot())))
}

/// What [`define`] would store.
pub fn preview(
    world: &Arc<World>,
    cx: &mut CallContext<'_>,
    xml: &str,
    check: Check,
) -> Result<Authorized<String>> {
    let definition = read(world, cx, xml, check)?;
    let permit = cx.authorize(&claimed(&definition))?;
    world.guests().admits(&definition)?;
    Ok(permit.reply(definition.to_disk()?))
}

/// Makes a guest and runs it; if it was not stored before, it is gone when it ends.
pub fn create(
    world: &Arc<World>,
    cx: &mut CallContext<'_>,
    xml: &str,
    flags: DomainCreateFlags,
    api: &'static str,
) -> Result<Authorized<Attributes>> {
    let check = Check::asked_by(flags.contains(DomainCreateFlags::START_VALIDATE));
    let definition = read(world, cx, xml, check)?;
    let permit = cx.authorize(&claimed(&definition))?;
    let definition = Arc::new(definition);
    let entered = world
        .guests()
        .enter(&definition, Purpose::Create, &asker(cx, api), fresh)?;
    let transient = entered.is_fresh();
    let (guest, job) = entered.commit();
    if transient {
        // What it runs with is all there is of it.
        let live = Arc::clone(&definition);
        guest.publish(|snapshot| {
            snapshot.life = virt_conf::registry::Life::Active { live, next: None };
        });
    }
    let result = life::run(world, &guest, &definition, flags, cx.deadline(), cx.cancel());
    if result.is_err() {
        world.forget_run(&guest, DomainShutoffReason::FAILED);
    }
    let started = object::attributes(&guest.snapshot());
    drop(job);
    world.tell(&guest);
    result?;
    Ok(permit.reply(started))
}

/// `undefine`: a guest that runs becomes transient, one that is off is gone. The caller holds the lane.
pub fn undefine(world: &Arc<World>, guest: &Arc<GuestObject>, flags: DomainUndefineFlags) -> Result<()> {
    let snapshot = guest.snapshot();
    if !snapshot.is_persistent() {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "cannot undefine transient domain",
        ));
    }
    if saved::exists(world.layout(), snapshot.name()) {
        if !flags.contains(DomainUndefineFlags::MANAGED_SAVE) {
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                "Refusing to undefine while domain managed save image exists",
            ));
        }
        saved::remove(world.layout(), guest)?;
    }
    if let Some(stored) = snapshot.life.stored() {
        nvram::undefine(&stored.domain, flags)?;
    }
    world.store().remove(snapshot.name())?;
    GuestEvent::lifecycle(
        guest,
        told(DomainEventType::UNDEFINED, DomainEventUndefinedDetail::REMOVED.0),
    );
    let left = snapshot.life.undefined();
    let gone = left.is_none();
    guest.publish(|snapshot| {
        snapshot.autostart = false;
        snapshot.autostart_once = false;
        if let Some(left) = left {
            snapshot.life = left;
        }
    });
    if gone {
        world.guests().remove(guest);
    }
    Ok(())
}

/// Gives a guest that is off another name. The caller holds the lane.
pub fn rename(world: &Arc<World>, guest: &Arc<GuestObject>, name: &str) -> Result<()> {
    let snapshot = guest.snapshot();
    let refuse = |what: &str| Err(error(ErrorCode::OPERATION_INVALID, what));
    if snapshot.is_active() {
        return refuse("a running domain keeps its name: shut it off first");
    }
    let Some(stored) = snapshot.life.stored() else {
        return refuse("a transient domain keeps its name: define it first");
    };
    if snapshot.state.managed_save {
        return refuse("domain with a managed saved state can't be renamed");
    }
    if name.is_empty() || name.contains(['/', '\n']) {
        return Err(error(
            ErrorCode::XML_ERROR,
            format_args!("name '{name}' cannot be empty or contain '/' or a line break"),
        ));
    }
    let reservation = world.guests().reserve_name(guest, name)?;
    let mut renamed = GuestDefinition::clone(stored);
    renamed.domain.name = name.to_owned();
    let renamed = Arc::new(renamed);
    world.store().rename(reservation.old(), &*renamed)?;
    GuestEvent::lifecycle(
        guest,
        told(DomainEventType::UNDEFINED, DomainEventUndefinedDetail::RENAMED.0),
    );
    reservation.commit(|snapshot| snapshot.life = snapshot.life.defined(renamed));
    GuestEvent::lifecycle(
        guest,
        told(DomainEventType::DEFINED, DomainEventDefinedDetail::RENAMED.0),
    );
    Ok(())
}

/// Whether a guest starts with the host. The caller holds the lane.
pub fn set_autostart(world: &Arc<World>, guest: &Arc<GuestObject>, on: bool) -> Result<()> {
    let snapshot = guest.snapshot();
    if !snapshot.is_persistent() {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "a transient domain does not start with the host: define it first",
        ));
    }
    if snapshot.autostart != on {
        world.store().set_autostart(snapshot.name(), on)?;
        guest.publish(|snapshot| snapshot.autostart = on);
    }
    Ok(())
}

/// Whether a guest starts with the host the next time. The caller holds the lane.
pub fn set_autostart_once(world: &Arc<World>, guest: &Arc<GuestObject>, on: bool) -> Result<()> {
    let snapshot = guest.snapshot();
    if !snapshot.is_persistent() {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            "a transient domain does not start with the host: define it first",
        ));
    }
    if snapshot.autostart_once != on {
        world.store().set_autostart_once(snapshot.name(), on)?;
        guest.publish(|snapshot| snapshot.autostart_once = on);
    }
    Ok(())
}

/// Changes a piece of metadata in the definitions that `flags` mean, in all or in none. The caller holds the lane.
pub fn set_metadata(
    world: &Arc<World>,
    guest: &Arc<GuestObject>,
    kind: i32,
    text: Option<&str>,
    key: Option<&str>,
    uri: Option<&str>,
    flags: u32,
) -> Result<()> {
    let snapshot = guest.snapshot();
    let affected = snapshot.affected(flags)?;
    let changed = |definition: &Arc<GuestDefinition>| -> Result<Arc<GuestDefinition>> {
        let mut copy = GuestDefinition::clone(definition);
        copy.domain
            .set_metadata_piece(DomainMetadataType(kind), text, key, uri)?;
        Ok(Arc::new(copy))
    };
    let live = match affected.live {
        true => Some(changed(snapshot.life.current())?),
        false => None,
    };
    let stored = match snapshot.life.stored() {
        Some(stored) if affected.stored => Some(changed(stored)?),
        _ => None,
    };
    if let Some(stored) = &stored {
        world.store().save(&**stored)?;
    }
    guest.publish(|snapshot| {
        if let Some(live) = live {
            snapshot.life = snapshot.life.started(live);
        }
        if let Some(stored) = stored {
            snapshot.life = snapshot.life.defined(stored);
        }
    });
    if let Some(running) = guest.private().running() {
        world.save_status(guest, &running)?;
    }
    GuestEvent::metadata(guest, kind, uri);
    Ok(())
}
