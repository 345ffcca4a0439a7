//! What concerns the whole definition, after its devices are complete: memory, boot order, timers, implied devices.

use std::collections::BTreeSet;

use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::controllers::{add_controllers, find_controller};
use super::devices::{device_refs, normalize_device};
use super::{
    DeviceRef, DomainFeatures, DomainHooks, Neighbours, NormalizeContext, NormalizeFlags, device_info,
    generate,
};
use crate::cpu::CpuMode;
use crate::domain::Domain;
use crate::domain::chardev::{
    ChannelTarget, Console, ConsoleTargetType, Serial, SerialTarget, SerialTargetType,
};
use crate::domain::clock::{TickPolicy, TimerName};
use crate::domain::controller::{ControllerKind, ControllerType, ScsiControllerModel};
use crate::domain::device_info::{Address, CcidAddress};
use crate::domain::disk::DiskBus;
use crate::domain::graphics::{Graphics, ListenType};
use crate::domain::hostdev::{HostdevPass, HostdevSubsys};
use crate::domain::os::{BootDevice, BootEntry, LoaderType, OsType};
use crate::domain::video::{Video, VideoModelType};

fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what).in_domain(ErrorDomain::DOMAIN)
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

pub(super) fn normalize_common(
    domain: &mut Domain,
    hooks: &dyn DomainHooks,
    cx: &NormalizeContext<'_>,
) -> Result<()> {
    if domain.os.kind.os == OsType::Exe && domain.os.init.is_none() {
        return Err(xml_error("a container needs <init>: the program that it starts"));
    }
    // What is said of devices from here on is said of few.
    let mut neighbours = Neighbours::default();
    memory(domain, hooks, cx)?;
    if let Some(loader) = &mut domain.os.loader
        && loader.path.is_some()
    {
        loader.kind.get_or_insert(LoaderType::Rom);
    }
    huge_pages(domain);
    refuse_duplicates(domain)?;
    let features = hooks.features();
    if domain.os.is_hvm() && !features.contains(DomainFeatures::NO_BOOT_ORDER) {
        boot_order(domain)?;
    }
    timers(domain)?;
    if !features.contains(DomainFeatures::NO_STUB_CONSOLE) {
        console_for_serial(domain)?;
    }
    implied_controllers(domain);
    if !domain.devices.graphics.is_empty() && domain.devices.videos.is_empty() {
        domain.devices.videos.push(Video::new(VideoModelType::Default));
    }
    first_video(domain, hooks, cx, &mut neighbours)?;
    if !domain.devices.serials.is_empty() {
        normalize_device(domain, DeviceRef::Serial(0), hooks, cx, &mut neighbours)?;
    }
    mirror_serials(domain);
    for at in 0..domain.devices.controllers.len() {
        let unnamed = matches!(
            domain
                .devices
                .controllers
                .get(at)
                .map(|controller| &controller.kind),
            Some(ControllerKind::Scsi { model: None, .. })
        );
        if unnamed {
            normalize_device(domain, DeviceRef::Controller(at), hooks, cx, &mut neighbours)?;
        }
    }
    if let Some(metadata) = &mut domain.metadata {
        metadata.keep_one_per_namespace();
    }
    silent_spice(domain);
    match &domain.cpu {
        Some(cpu) if cpu.mode == CpuMode::Custom && cpu.model_name().is_none() && cpu.check.is_some() => Err(
            unsupported("<cpu check='…'> without a <model> has nothing to check"),
        ),
        _ => Ok(()),
    }
}

fn memory(domain: &mut Domain, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
    let update = NormalizeFlags::ABI_UPDATE | NormalizeFlags::ABI_UPDATE_MIGRATION;
    let nodes = match domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()) {
        Some(numa) if domain.memory.size == 0 || cx.flags.intersects(update) => numa.memory(),
        _ => 0,
    };
    let devices: u64 = domain
        .devices
        .memory
        .iter()
        .fold(0, |sum, device| sum.saturating_add(device.target.size));
    if nodes != 0 {
        domain.memory.size = nodes.saturating_add(devices);
    } else if devices > domain.memory.size {
        return Err(xml_error(format_args!(
            "memory devices have {devices} KiB, more than the {} KiB of <memory>",
            domain.memory.size
        )));
    }
    let unlimited = hooks.features().contains(DomainFeatures::UNLIMITED_MEMORY);
    if domain.memory.size == devices && !unlimited {
        return Err(xml_error(
            "the guest has no memory beside its memory devices: say <memory> or NUMA cells",
        ));
    }
    if domain.current_memory > domain.memory.size || domain.current_memory == 0 {
        domain.current_memory = domain.memory.size;
    }
    if let Some(max) = domain.max_memory {
        if max.size == 0 && max.slots > 0 {
            return Err(xml_error(format_args!(
                "<maxMemory slots='{}'> does not say how much",
                max.slots
            )));
        }
        if max.size != 0 && max.size < domain.memory.size {
            return Err(xml_error(format_args!(
                "<maxMemory> is {} KiB, less than the {} KiB of <memory>",
                max.size, domain.memory.size
            )));
        }
    }
    Ok(())
}

/// Without NUMA nodes, pages for node 0 alone are pages for all.
fn huge_pages(domain: &mut Domain) {
    let nodes = domain
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.numa.as_ref())
        .is_some_and(|numa| !numa.cells.is_empty());
    let Some(pages) = domain
        .memory_backing
        .as_mut()
        .and_then(|backing| backing.huge_pages.as_mut())
    else {
        return;
    };
    for page in &mut pages.pages {
        if !nodes
            && page
                .nodeset
                .as_ref()
                .is_some_and(|nodes| nodes.0.last().unwrap_or(0) == 0)
        {
            page.nodeset = None;
        }
    }
}

fn refuse_duplicates(domain: &Domain) -> Result<()> {
    let mut controllers = std::collections::HashSet::new();
    for controller in &domain.devices.controllers {
        let (kind, index) = (controller.kind.controller_type(), controller.kind.index());
        // The functions of a USB 2 controller share a number.
        if kind != ControllerType::Usb && !controllers.insert((kind, index)) {
            return Err(xml_error(format_args!(
                "two controllers of type '{kind}' have the index {}",
                index.unwrap_or_default()
            )));
        }
    }
    let mut panics = std::collections::HashSet::new();
    for panic in &domain.devices.panics {
        if !panics.insert(panic.model) {
            let model = panic.model.map_or("default", |model| model.as_str());
            return Err(xml_error(format_args!("two <panic> have the model '{model}'")));
        }
    }
    Ok(())
}

fn boot_order(domain: &mut Domain) -> Result<()> {
    let mut orders = std::collections::HashSet::new();
    for device in device_refs(domain) {
        let Some(boot) = device_info(domain, device).and_then(|info| info.boot.as_ref()) else {
            continue;
        };
        if !orders.insert(boot.order) {
            return Err(unsupported(format_args!(
                "two devices have <boot order='{}'/>",
                boot.order
            )));
        }
    }
    match (domain.os.boot.is_empty(), orders.is_empty()) {
        (false, false) => {
            return Err(unsupported(
                "<boot order='…'> of devices and <boot dev='…'> of <os> exclude each other",
            ));
        }
        (true, true) => domain.os.boot.push(BootEntry { dev: BootDevice::Hd }),
        _ => {}
    }
    domain.os.loader_chooses = domain.bootloader.is_some();
    Ok(())
}

fn timers(domain: &Domain) -> Result<()> {
    for timer in &domain.clock.timers {
        let name = timer.name;
        let refuse = |what: &str| Err(unsupported(format_args!("timer '{name}' takes no {what}")));
        if matches!(name, TimerName::Kvmclock | TimerName::Hypervclock) && timer.tick_policy.is_some() {
            return refuse("tickpolicy");
        }
        let catches_up = timer
            .catchup
            .as_ref()
            .is_some_and(|catchup| *catchup != Default::default());
        if timer.tick_policy != Some(TickPolicy::Catchup) && catches_up {
            return Err(xml_error("<catchup> of a timer needs tickpolicy='catchup'"));
        }
        if name != TimerName::Tsc {
            if timer.frequency != 0 {
                return refuse("frequency");
            }
            if timer.mode.is_some() {
                return refuse("mode");
            }
        }
        if !matches!(name, TimerName::Platform | TimerName::Rtc) && timer.track.is_some() {
            return refuse("track");
        }
    }
    Ok(())
}

/// The first console of a virtual machine has always been its first serial port: each stands for the other.
fn console_for_serial(domain: &mut Domain) -> Result<()> {
    let devices = &mut domain.devices;
    if devices
        .consoles
        .iter()
        .skip(1)
        .any(|console| console.target_type == ConsoleTargetType::Serial)
    {
        return Err(unsupported(
            "a second <console> has type 'serial': the first one alone can be a serial port",
        ));
    }
    if domain.os.kind.os != OsType::Hvm {
        return Ok(());
    }
    let stub = || Console {
        target_type: ConsoleTargetType::Serial,
        ..Console::default()
    };
    let serial_console = |console: &Console| {
        matches!(
            console.target_type,
            ConsoleTargetType::Serial | ConsoleTargetType::None
        )
    };
    match (devices.consoles.first_mut(), devices.serials.first()) {
        (Some(console), serial) if serial_console(console) => {
            match serial {
                None => {
                    let console = std::mem::replace(console, stub());
                    devices.serials.push(Serial {
                        host: console.host,
                        target: SerialTarget {
                            port: Some(0),
                            ..SerialTarget::default()
                        },
                        info: console.info,
                    });
                }
                Some(serial) if serial.host.source != console.host.source => *console = stub(),
                Some(_) => return Ok(()),
            }
            generate::renumber_consoles(domain);
        }
        (_, Some(serial)) => {
            use SerialTargetType as T;
            if !matches!(serial.target.kind, T::PciSerial | T::UsbSerial | T::IsaDebug) {
                devices.consoles.insert(0, stub());
                generate::renumber_consoles(domain);
            }
        }
        _ => {}
    }
    Ok(())
}

/// A console that stands for a serial port is connected to what the port is connected to.
fn mirror_serials(domain: &mut Domain) {
    if !domain.os.is_hvm() {
        return;
    }
    let devices = &mut *domain.devices;
    for (console, serial) in devices.consoles.iter_mut().zip(&devices.serials) {
        if matches!(
            console.target_type,
            ConsoleTargetType::Serial | ConsoleTargetType::None
        ) {
            console.host.clone_from(&serial.host);
            console.info.clone_from(&serial.info);
            console.port = serial.target.port;
        }
    }
}

/// Controllers that devices are said to be on, or need.
fn implied_controllers(domain: &mut Domain) {
    for (bus, kind) in [
        (DiskBus::Scsi, ControllerType::Scsi),
        (DiskBus::Fdc, ControllerType::Fdc),
        (DiskBus::Ide, ControllerType::Ide),
        (DiskBus::Sata, ControllerType::Sata),
    ] {
        let most = domain
            .devices
            .disks
            .iter()
            .filter(|disk| disk.target.bus == Some(bus))
            .filter_map(|disk| match &disk.info.address {
                Some(Address::Drive(address)) => Some(address.controller),
                _ => None,
            })
            .max();
        add_up_to(domain, kind, most, None);
    }
    let virtio_serial = |address: &Option<Address>| match address {
        Some(Address::VirtioSerial(address)) => address.controller,
        _ => 0,
    };
    let channels = domain
        .devices
        .channels
        .iter()
        .filter(|channel| matches!(channel.target, ChannelTarget::Virtio { .. }))
        .map(|channel| virtio_serial(&channel.info.address));
    let consoles = domain
        .devices
        .consoles
        .iter()
        .filter(|console| console.target_type == ConsoleTargetType::Virtio)
        .map(|console| virtio_serial(&console.info.address));
    let indexes: BTreeSet<u32> = channels.chain(consoles).collect();
    add_missing(domain, ControllerType::VirtioSerial, indexes);
    let slots = domain.devices.smartcards.iter();
    let slots = slots.filter_map(|card| match &card.info.address {
        Some(Address::Ccid(address)) if address.controller == 0 => Some(address.slot),
        _ => None,
    });
    let mut slot = slots.max().map_or(0, |slot| slot.saturating_add(1));
    let mut indexes = BTreeSet::new();
    for card in &mut domain.devices.smartcards {
        let address = card.info.address.get_or_insert_with(|| {
            let free = slot;
            slot = slot.saturating_add(1);
            Address::Ccid(CcidAddress {
                controller: 0,
                slot: free,
            })
        });
        indexes.insert(match address {
            Address::Ccid(address) => address.controller,
            _ => 0,
        });
    }
    add_missing(domain, ControllerType::Ccid, indexes);
    host_scsi_controllers(domain);
}

/// Controllers that SCSI devices of the host are behind. libvirt adds them as it reads a definition, before controllers
/// without a number get one, and once more when all devices have their addresses.
pub(super) fn host_scsi_controllers(domain: &mut Domain) {
    let is_scsi = |mode: &HostdevPass| matches!(mode, HostdevPass::Subsystem(device) if matches!(**device, HostdevSubsys::Scsi { .. }));
    let hostdevs = domain.devices.hostdevs.iter();
    let indexes: Vec<u32> = hostdevs
        .filter(|hostdev| is_scsi(&hostdev.mode))
        .map(|hostdev| match &hostdev.info.address {
            Some(Address::Drive(address)) => address.controller,
            _ => 0,
        })
        .collect();
    let (mut most, mut model) = (None, None);
    for index in indexes {
        if most >= Some(index) {
            continue;
        }
        most = Some(index);
        // A controller that is added because the others are full is of their model.
        if let Some(ControllerKind::Scsi { model: Some(own), .. }) =
            find_controller(domain, ControllerType::Scsi, index).map(|controller| &controller.kind)
        {
            model = Some(*own);
        }
        add_up_to(domain, ControllerType::Scsi, most, model);
    }
}

fn add_up_to(
    domain: &mut Domain,
    kind: ControllerType,
    most: Option<u32>,
    model: Option<ScsiControllerModel>,
) {
    /// More controllers than any hypervisor has; an address beyond is refused by the driver.
    const MOST: u32 = 4096;
    let Some(most) = most else { return };
    let make = |index| {
        let mut controller = ControllerKind::new(kind, Some(index));
        if let ControllerKind::Scsi { model: slot, .. } = &mut controller {
            *slot = model;
        }
        controller
    };
    add_controllers(domain, kind, (0..=most.min(MOST)).collect(), make);
}

fn add_missing(domain: &mut Domain, kind: ControllerType, indexes: BTreeSet<u32>) {
    add_controllers(domain, kind, indexes, |index| {
        ControllerKind::new(kind, Some(index))
    });
}

fn first_video(
    domain: &mut Domain,
    hooks: &dyn DomainHooks,
    cx: &NormalizeContext<'_>,
    neighbours: &mut Neighbours,
) -> Result<()> {
    let Some(first) = domain.devices.videos.first_mut() else {
        return Ok(());
    };
    if first.model.kind == VideoModelType::None {
        // Nothing of it is written but a name that the user gave.
        let alias = first.info.alias.take();
        *first = Video::new(VideoModelType::None);
        first.info.alias = alias.into();
        return Ok(());
    }
    first.model.primary = true;
    normalize_device(domain, DeviceRef::Video(0), hooks, cx, neighbours)
}

/// A SPICE server without ports listens on nothing.
fn silent_spice(domain: &mut Domain) {
    for graphics in &mut domain.devices.graphics {
        if let Graphics::Spice(spice) = graphics
            && (spice.port, spice.tls_port, spice.autoport) == (0, 0, false)
            && let Some(first) = spice.listens.0.first_mut()
            && first.kind == ListenType::Address
        {
            first.address = None;
            first.kind = ListenType::None;
        }
    }
}

/// What the driver does not support of the model.
pub(super) fn check_features(domain: &mut Domain, hooks: &dyn DomainHooks) -> Result<()> {
    let features = hooks.features();
    if !features.contains(DomainFeatures::MEMORY_HOTPLUG) && domain.max_memory.is_some() {
        return Err(unsupported(
            "this driver cannot add memory to a running guest: remove <maxMemory>",
        ));
    }
    if !features.contains(DomainFeatures::OFFLINE_VCPUPIN) {
        let online = domain.vcpus.online();
        if let Some(tune) = &mut domain.cpu_tune {
            tune.vcpu_pin.retain(|vcpu, _| *vcpu < online);
        }
    }
    if let Some(tune) = &mut domain.cpu_tune {
        // CPUs that the guest does not have cannot be pinned.
        tune.vcpu_pin.retain(|vcpu, _| *vcpu < domain.vcpus.max);
    }
    if !features.contains(DomainFeatures::NAME_SLASH) && domain.name.contains('/') {
        return Err(xml_error(format_args!("name '{}' contains '/'", domain.name)));
    }
    if !features.contains(DomainFeatures::INDIVIDUAL_VCPUS) && !domain.vcpu_states.is_empty() {
        return Err(unsupported(
            "this driver does not know single CPUs: remove <vcpus>",
        ));
    }
    Ok(())
}
