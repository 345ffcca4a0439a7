//! What is made up where the definition says nothing: UUID, MAC addresses, numbers of ports, I/O threads.

use virt_util::uuid::Uuid;
use virt_util::xml::XmlValue;
use virt_util::{ErrorCode, Result, VirtError};

use super::{DomainHooks, NormalizeContext, NormalizeFlags, is_missing};
use crate::domain::interface::Interface;
use crate::domain::lifecycle::LifecycleAction;
use crate::domain::os::OsType;
use crate::domain::seclabel;
use crate::domain::sound::SoundModel;
use crate::domain::tune::{CpuPlacement, IoThread, VcpuState};
use crate::domain::{Domain, Genid, VirtType};
use crate::numa::{NumaPlacement, Numatune, NumatuneMemory};
use crate::sysinfo::Sysinfo;
use crate::values::MacAddress;

/// A MAC address with the prefix of the driver.
pub fn generate_mac(prefix: [u8; 3], random: &dyn super::Randomness) -> MacAddress {
    let mut tail = [0; 3];
    random.fill(&mut tail);
    let [a, b, c] = prefix;
    let [d, e, f] = tail;
    MacAddress([a, b, c, d, e, f])
}

pub(super) fn generate(
    domain: &mut Domain,
    hooks: &dyn DomainHooks,
    cx: &NormalizeContext<'_>,
) -> Result<()> {
    let native = cx.flags.contains(NormalizeFlags::NATIVE);
    if domain.name.is_empty() && !native {
        return Err(VirtError::new(ErrorCode::NO_NAME, "the domain has no name"));
    }
    uuid_of_sysinfo(domain)?;
    let inactive = cx.flags.contains(NormalizeFlags::INACTIVE);
    if !domain.seclabels.is_empty() {
        seclabel::complete(
            &mut domain.seclabels,
            hooks.default_security_model().as_deref(),
            inactive,
        )?;
    }
    if native {
        domain.uuid.get_or_insert_default();
    } else {
        super::devices::order_disks(domain);
        super::controllers::in_reading_order(domain);
        super::common::host_scsi_controllers(domain);
        domain.uuid.get_or_insert_with(|| cx.random.uuid());
    }
    // Versions 8.6 to 9.1 wrote to migration peers what a firmware is to have without saying that one is to be selected.
    if domain.os.firmware.is_none() && !cx.flags.contains(NormalizeFlags::ABI_UPDATE) {
        domain.os.firmware_features.clear();
    }
    if domain.genid == Some(Genid::Wanted) {
        domain.genid = Some(Genid::Is(cx.random.uuid()));
    }
    // Xen's paravirtual guests were called "linux" once; old clients still do.
    if domain.os.kind.os == OsType::Linux && domain.virt_type == VirtType::Xen {
        domain.os.kind.os = OsType::Xen;
    }
    domain.os.kind.called_linux = domain.os.kind.os == OsType::Xen && domain.virt_type == VirtType::Xen;
    if domain.os.kind.arch.is_none() && !native {
        let arch = hooks
            .default_arch()
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        domain.os.kind.arch = Some(arch);
    }
    for interface in &mut domain.devices.interfaces {
        if native {
            interface.mac.address.get_or_insert(MacAddress([0; 6]));
        } else {
            complete_interface(interface, hooks, cx);
        }
    }
    number_ports(domain);
    complete_iothreads(domain)?;
    complete_vcpus(domain)?;
    complete_numatune(domain)?;
    for sound in &mut domain.devices.sounds {
        if sound.model == SoundModel::Virtio && sound.streams == 0 {
            sound.streams = 2;
        }
    }
    if domain.on_reboot == LifecycleAction::CoredumpDestroy
        || domain.on_reboot == LifecycleAction::CoredumpRestart
    {
        let what = format!(
            "lifecycle action '{}' is for on_crash only, not for on_reboot",
            domain.on_reboot
        );
        return Err(VirtError::new(ErrorCode::XML_ERROR, what));
    }
    Ok(())
}

/// Makes up what names an interface to others: its MAC address, and its ids at a virtual switch.
pub(in crate::domain) fn complete_interface(
    interface: &mut Interface,
    hooks: &dyn DomainHooks,
    cx: &NormalizeContext<'_>,
) {
    if is_missing(interface.mac.address) {
        interface.mac.address = Some(generate_mac(hooks.mac_prefix(), cx.random));
    }
    // Most interfaces have nothing there, and asking to change it would make the room.
    if interface.link.virtual_port.is_some()
        && let Some(port) = &mut interface.link.virtual_port
    {
        port.complete(cx.random);
    }
}

/// The guest reads its UUID in the system information too; it can be only one. Tables that are a host's are dropped.
fn uuid_of_sysinfo(domain: &mut Domain) -> Result<()> {
    for info in &mut domain.sysinfo {
        let Sysinfo::Smbios(tables) = info else { continue };
        // Only hosts tell of these.
        tables.processors.clear();
        tables.memory.clear();
        let Some(text) = tables.system.as_mut().and_then(|system| system.uuid.as_mut()) else {
            continue;
        };
        let Ok(uuid) = <Uuid as XmlValue>::parse_value(text) else {
            continue;
        };
        *text = uuid.to_string();
        if *domain.uuid.get_or_insert(uuid) != uuid {
            return Err(VirtError::new(
                ErrorCode::XML_DETAIL,
                format_args!("UUID mismatch between <uuid> and <sysinfo>: '{uuid}' in <sysinfo>"),
            ));
        }
    }
    Ok(())
}

/// Parallel ports get the next number as they come; consoles are numbered by place whatever they say.
fn number_ports(domain: &mut Domain) {
    let mut next = 0;
    for parallel in &mut domain.devices.parallels {
        let port = *parallel.port.get_or_insert(next);
        next = next.max(port.saturating_add(1));
    }
    renumber_consoles(domain);
}

pub(super) fn renumber_consoles(domain: &mut Domain) {
    for (place, console) in (0..).zip(&mut domain.devices.consoles) {
        console.port = Some(place);
    }
}

/// The number of I/O threads and the list of them agree; those that were not listed get the lowest free numbers.
fn complete_iothreads(domain: &mut Domain) -> Result<()> {
    let mut ids = std::collections::BTreeSet::new();
    for thread in &domain.iothreads {
        if !ids.insert(thread.id) {
            return Err(VirtError::new(
                ErrorCode::XML_ERROR,
                format_args!("duplicate iothread id '{}' found", thread.id),
            ));
        }
    }
    const MOST: u32 = 16_384;
    if domain.iothread_count > MOST {
        let what = format!(
            "invalid iothreads count '{}': at most {MOST} are allowed",
            domain.iothread_count
        );
        return Err(VirtError::new(ErrorCode::XML_ERROR, what));
    }
    domain.iothread_count = domain.iothread_count.max(domain.iothreads.len() as u32);
    let mut id = 1;
    while (domain.iothreads.len() as u32) < domain.iothread_count {
        if ids.insert(id) {
            domain.iothreads.push(IoThread {
                id,
                autofill: true,
                ..IoThread::default()
            });
        }
        id += 1;
    }
    // What is said of single threads is said of some that exist.
    let named = domain
        .cpu_tune
        .iter()
        .flat_map(|tune| tune.iothread_pin.keys().chain(tune.iothread_scheduler.keys()));
    for id in named {
        if !ids.contains(id) {
            return Err(VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                format_args!("Cannot find 'iothread' : {id}"),
            ));
        }
    }
    Ok(())
}

/// Where the state of single CPUs is said, the states count, and every CPU has one.
fn complete_vcpus(domain: &mut Domain) -> Result<()> {
    if domain.vcpu_states.is_empty() {
        return Ok(());
    }
    let unsupported = |what: String| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what);
    let mut states: std::collections::BTreeMap<u32, VcpuState> = std::collections::BTreeMap::new();
    for state in &domain.vcpu_states {
        if state.id >= domain.vcpus.max {
            let what = format!(
                "vcpu id '{}' is out of range of maximum vcpu count {}",
                state.id, domain.vcpus.max
            );
            return Err(VirtError::new(ErrorCode::XML_ERROR, what));
        }
        states.insert(state.id, *state);
    }
    domain.vcpu_states = (0..domain.vcpus.max)
        .map(|id| {
            states.get(&id).copied().unwrap_or(VcpuState {
                id,
                ..VcpuState::default()
            })
        })
        .collect();
    for state in &mut domain.vcpu_states {
        match state.hotpluggable {
            None => state.hotpluggable = Some(!state.enabled),
            Some(false) if !state.enabled => {
                return Err(unsupported(format!(
                    "CPU {} is off and hotpluggable='no': it could never be on",
                    state.id
                )));
            }
            Some(_) => {}
        }
    }
    let online = domain.vcpu_states.iter().filter(|state| state.enabled).count() as u32;
    domain.vcpus.current = (online != domain.vcpus.max).then_some(online);
    Ok(())
}

/// Placement of memory and of CPUs depend on each other.
fn complete_numatune(domain: &mut Domain) -> Result<()> {
    let auto_cpus = domain.vcpus.placement == CpuPlacement::Auto;
    let cells = domain
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.numa.as_ref())
        .map_or(0, |numa| numa.cells.len());
    if let Some(tune) = &domain.numatune {
        check_numatune(tune, domain.vcpus.placement, cells)?;
    }
    let tune = match (&mut domain.numatune, auto_cpus) {
        (None, false) => return Ok(()),
        (slot, _) => slot.get_or_insert_default(),
    };
    if auto_cpus && tune.memory.is_none() {
        tune.memory = Some(NumatuneMemory {
            placement: Some(NumaPlacement::Auto),
            ..NumatuneMemory::default()
        });
    }
    if let Some(memory) = &mut tune.memory {
        let placement = placement_of(memory, auto_cpus);
        if placement == NumaPlacement::Auto {
            memory.nodeset = None;
        }
        memory.placement = Some(placement);
        let pinned = domain.vcpus.cpuset.is_some()
            || domain.cpu_tune.as_ref().is_some_and(|tune| {
                !tune.vcpu_pin.is_empty() || tune.emulator_pin.is_some() || !tune.iothread_pin.is_empty()
            });
        if placement == NumaPlacement::Auto && !pinned {
            domain.vcpus.placement = CpuPlacement::Auto;
        }
    }
    tune.nodes.sort_by_key(|node| node.cell);
    Ok(())
}

/// Who chooses the nodes that memory comes from.
fn placement_of(memory: &NumatuneMemory, auto_cpus: bool) -> NumaPlacement {
    memory.placement.unwrap_or(match (&memory.nodeset, auto_cpus) {
        (Some(_), _) | (None, false) => NumaPlacement::Static,
        (None, true) => NumaPlacement::Auto,
    })
}

/// Memory whose place is fixed says the place. What is said of the memory of single nodes is said of some that the guest
/// has, once of each.
pub(in crate::domain) fn check_numatune(tune: &Numatune, cpus: CpuPlacement, cells: usize) -> Result<()> {
    let auto_cpus = cpus == CpuPlacement::Auto;
    let placement = match &tune.memory {
        Some(memory) => {
            let placement = placement_of(memory, auto_cpus);
            if placement == NumaPlacement::Static && memory.nodeset.is_none() {
                let what = "<numatune><memory placement='static'> does not say where: 'nodeset' is missing";
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
            Some(placement)
        }
        None => auto_cpus.then_some(NumaPlacement::Auto),
    };
    if tune.nodes.is_empty() {
        return Ok(());
    }
    if placement == Some(NumaPlacement::Auto) {
        return Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            "<memnode> binds cells to nodes, which <memory placement='auto'> leaves to the host",
        ));
    }
    let wrong = |what: String| Err(VirtError::new(ErrorCode::XML_ERROR, what));
    if cells == 0 {
        return wrong("<memnode> is about NUMA cells, and the guest has none".to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    for node in &tune.nodes {
        if node.cell as usize >= cells {
            return wrong(format!(
                "Argument 'cellid' in memnode element must correspond to existing guest's NUMA cell: there is no cell '{}'",
                node.cell
            ));
        }
        if !seen.insert(node.cell) {
            return wrong(format!("two <memnode> have the cellid {}", node.cell));
        }
    }
    Ok(())
}
