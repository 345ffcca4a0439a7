//! Whether a guest sees the same machine in two definitions: what may not change when a running guest goes on from a
//! saved state, on another host, or from a snapshot.
//!
//! [`check`] is asked by all who are given another definition for such a guest. Sources on the host may change; what the
//! guest sees may not.

mod devices;

use virt_util::xml::{Doc, XmlFlags, XmlValue};
use virt_util::{ErrorCode, Result, VirtError};

use super::Domain;
use super::clock::TimerName;
use super::memory::MaxMemory;
use crate::cpu::Cpu;
use crate::numa::Numa;
use crate::sysinfo::{Smbios, Sysinfo};

/// How strictly definitions are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StabilityOptions {
    /// What changes while a guest runs, as the memory that it has now, does not count.
    pub skip_volatile: bool,
}

/// Compares the definition that a guest runs by with another one for it.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for the first difference that the guest would see: what it is, and both values.
pub fn check(source: &Domain, target: &Domain) -> Result<()> {
    check_with(source, target, StabilityOptions::default())
}

/// [`check`] with options.
///
/// # Errors
/// As of [`check`].
pub fn check_with(source: &Domain, target: &Domain, options: StabilityOptions) -> Result<()> {
    identity(source, target)?;
    memory(source, target, options)?;
    numa(
        source.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()),
        target.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()),
    )?;
    vcpus(source, target)?;
    let (old, new) = (&source.os, &target.os);
    same("domain OS type", &old.kind.os, &new.kind.os)?;
    same_option("domain architecture", &old.kind.arch, &new.kind.arch)?;
    same_option("domain machine type", &old.kind.machine, &new.kind.machine)?;
    same("domain SMBIOS mode", &old.smbios, &new.smbios)?;
    features(source, target)?;
    timers(source, target)?;
    cpu(source.cpu.as_deref(), target.cpu.as_deref())?;
    same_count(
        "domain count of sysinfo",
        source.sysinfo.len(),
        target.sysinfo.len(),
    )?;
    for (old, new) in source.sysinfo.iter().zip(&target.sysinfo) {
        refuse_unless(
            what_the_guest_reads(old) == what_the_guest_reads(new),
            "the other definition has another <sysinfo> than the guest",
        )?;
    }
    devices::check(source, target)
}

/// The tables that libvirt compares. A guest may get other strings of its maker and other entries of firmware.
fn what_the_guest_reads(sysinfo: &Sysinfo) -> Sysinfo {
    match sysinfo.clone() {
        Sysinfo::Smbios(tables) => Sysinfo::Smbios(Box::new(Smbios {
            bios: tables.bios,
            system: tables.system,
            base_boards: tables.base_boards,
            chassis: tables.chassis,
            ..Smbios::default()
        })),
        Sysinfo::Fwcfg { .. } => Sysinfo::Fwcfg { entries: Vec::new() },
    }
}

fn mismatch(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn refuse_unless(same: bool, what: impl std::fmt::Display) -> Result<()> {
    if same { Ok(()) } else { Err(mismatch(what)) }
}

fn shown<T: XmlValue>(value: &T) -> String {
    let mut text = String::new();
    value.format_value(&mut text);
    text
}

/// A value that both have.
fn same<T: XmlValue + PartialEq>(what: &str, source: &T, target: &T) -> Result<()> {
    if source == target {
        return Ok(());
    }
    Err(mismatch(format_args!(
        "{what} '{}' where the guest has '{}'",
        shown(target),
        shown(source)
    )))
}

/// How many of something both have.
fn same_count(what: &str, source: usize, target: usize) -> Result<()> {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    same(what, &number(source), &number(target))
}

/// A value that each may have.
fn same_option<T: XmlValue + PartialEq>(what: &str, source: &Option<T>, target: &Option<T>) -> Result<()> {
    if source == target {
        return Ok(());
    }
    let text = |value: &Option<T>| value.as_ref().map_or_else(|| "none".to_owned(), shown);
    Err(mismatch(format_args!(
        "{what} '{}' where the guest has '{}'",
        text(target),
        text(source)
    )))
}

fn identity(source: &Domain, target: &Domain) -> Result<()> {
    same("domain virt type", &source.virt_type, &target.virt_type)?;
    same_option("domain uuid", &source.uuid, &target.uuid)?;
    refuse_unless(
        source.genid.is_some() == target.genid.is_some(),
        "one of the guest and the other definition says a <genid>",
    )?;
    refuse_unless(
        source.genid == target.genid,
        "the other definition has another <genid> than the guest",
    )?;
    same("domain name", &source.name, &target.name)
}

fn memory(source: &Domain, target: &Domain, options: StabilityOptions) -> Result<()> {
    let initial = |domain: &Domain| {
        let devices: u64 = domain
            .devices
            .memory
            .iter()
            .fold(0, |sum, device| sum.saturating_add(device.target.size));
        domain.memory.size.saturating_sub(devices)
    };
    same("domain max memory", &initial(source), &initial(target))?;
    if !options.skip_volatile {
        same(
            "domain current memory",
            &source.current_memory,
            &target.current_memory,
        )?;
    }
    let max = |domain: &Domain, part: fn(&MaxMemory) -> u64| domain.max_memory.as_ref().map_or(0, part);
    same(
        "maximum memory size",
        &max(source, |max| max.size),
        &max(target, |max| max.size),
    )?;
    same(
        "domain memory slots count",
        &max(source, |max| max.slots.into()),
        &max(target, |max| max.slots.into()),
    )
}

fn numa(source: Option<&Numa>, target: Option<&Numa>) -> Result<()> {
    let cells = |numa: Option<&Numa>| numa.map(|numa| numa.cells.clone()).unwrap_or_default();
    let (old, new) = (cells(source), cells(target));
    same_count("NUMA node count", old.len(), new.len())?;
    for (at, (old, new)) in old.iter().zip(&new).enumerate() {
        same(&format!("size of NUMA node {at}"), &old.memory, &new.memory)?;
        same_option(&format!("processor mask of NUMA node {at}"), &old.cpus, &new.cpus)?;
        refuse_unless(
            old.distances == new.distances,
            format_args!("Target NUMA distances from {at} don't match source"),
        )?;
    }
    Ok(())
}

fn vcpus(source: &Domain, target: &Domain) -> Result<()> {
    same("domain vCPU max", &source.vcpus.max, &target.vcpus.max)?;
    let online = |domain: &Domain, id: u32| {
        let state = domain.vcpu_states.iter().find(|state| state.id == id);
        match state {
            Some(state) => (state.enabled, state.order),
            None => (id < domain.vcpus.current.unwrap_or(domain.vcpus.max), 0),
        }
    };
    // Without a list the first ones are online, so that only the place where both counts end has to be looked at.
    let listed = source
        .vcpu_states
        .iter()
        .chain(&target.vcpu_states)
        .map(|state| state.id);
    let ends = [source, target].map(|domain| domain.vcpus.current.unwrap_or(domain.vcpus.max));
    let mut ids: Vec<u32> = listed
        .chain(ends.iter().flat_map(|end| [end.saturating_sub(1), *end]))
        .filter(|id| *id < source.vcpus.max)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let ((old, old_order), (new, new_order)) = (online(source, id), online(target, id));
        refuse_unless(
            old == new,
            format_args!("State of vCPU '{id}' differs between source and destination definitions"),
        )?;
        refuse_unless(
            old_order == new_order,
            format_args!(
                "vcpu enable order of vCPU '{id}' differs between source and destination definitions"
            ),
        )?;
    }
    Ok(())
}

/// Features that the guest does not see.
const UNSEEN_FEATURES: [&str; 3] = ["msrs", "tcg", "async-teardown"];

fn features(source: &Domain, target: &Domain) -> Result<()> {
    let written = |domain: &Domain| match &domain.features {
        Some(features) => virt_util::xml::to_string(&**features, XmlFlags::INACTIVE),
        None => "<features/>".to_owned(),
    };
    let (old, new) = (written(source), written(target));
    if old == new {
        return Ok(());
    }
    let (old, new) = (Doc::parse(&old)?, Doc::parse(&new)?);
    for change in crate::diff::diff_elements(old.root(), new.root()) {
        let name = change.path.split(['/', '@', '[']).next().unwrap_or_default();
        if UNSEEN_FEATURES.contains(&name) {
            continue;
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "default".to_owned());
        return Err(mismatch(format_args!(
            "State of feature '{}' differs: source: '{}', destination: '{}'",
            change.path,
            text(&change.old),
            text(&change.new)
        )));
    }
    Ok(())
}

fn timers(source: &Domain, target: &Domain) -> Result<()> {
    let (old, new) = (&source.clock.timers, &target.clock.timers);
    refuse_unless(old.len() == new.len(), "Target domain timers do not match source")?;
    for (old, new) in old.iter().zip(new) {
        same("timer", &old.name, &new.name)?;
        same_option("timer presence", &old.present, &new.present)?;
        if old.name == TimerName::Tsc {
            same("TSC frequency", &old.frequency, &new.frequency)?;
            same_option("TSC mode", &old.mode, &new.mode)?;
        }
    }
    Ok(())
}

fn cpu(source: Option<&Cpu>, target: Option<&Cpu>) -> Result<()> {
    // Topology of memory is compared elsewhere; a CPU that says nothing else is none.
    let said = |cpu: &&Cpu| {
        **cpu
            != Cpu {
                numa: cpu.numa.clone(),
                ..Cpu::default()
            }
    };
    let (old, new) = match (source.filter(said), target.filter(said)) {
        (None, None) => return Ok(()),
        (Some(old), Some(new)) => (old, new),
        _ => return Err(mismatch("one of the guest and the other definition says a <cpu>")),
    };
    same("CPU mode", &old.mode, &new.mode)?;
    same_option("CPU check", &old.check, &new.check)?;
    let model = |cpu: &Cpu| {
        let model = cpu.model.as_ref();
        (
            model.and_then(|model| model.name.clone()),
            model.and_then(|model| model.vendor_id.clone()),
        )
    };
    let ((old_model, old_id), (new_model, new_id)) = (model(old), model(new));
    same_option("CPU model", &old_model, &new_model)?;
    same_option("CPU vendor", &old.vendor, &new.vendor)?;
    same_option("CPU vendor id", &old_id, &new_id)?;
    let part = |cpu: &Cpu, of: fn(&crate::cpu::CpuTopology) -> u32| cpu.topology.as_ref().map_or(0, of);
    for (name, of) in [
        (
            "sockets",
            (|topology| topology.sockets) as fn(&crate::cpu::CpuTopology) -> u32,
        ),
        ("dies", |topology| topology.dies),
        ("clusters", |topology| topology.clusters),
        ("cores", |topology| topology.cores),
        ("threads", |topology| topology.threads),
    ] {
        same(&format!("CPU {name}"), &part(old, of), &part(new, of))?;
    }
    refuse_unless(
        old.max_phys_addr == new.max_phys_addr,
        "the other definition has another <maxphysaddr> than the guest",
    )?;
    same_count("CPU feature count", old.features.len(), new.features.len())?;
    for (old, new) in old.features.iter().zip(&new.features) {
        same("CPU feature", &old.name, &new.name)?;
        same("CPU feature policy", &old.policy, &new.policy)?;
    }
    refuse_unless(
        old.cache == new.cache,
        "the other definition has another <cache> of the CPU than the guest",
    )
}

#[cfg(test)]
mod tests;
