//! The domain as a whole: what concerns several devices or none.

use std::collections::{HashMap, HashSet};

use virt_util::{ErrorCode, Result, VirtError};

use super::{disk, refuse_if, unsupported, xml_error};
use crate::domain::Domain;
use crate::domain::chardev::ConsoleTargetType;
use crate::domain::controller::ControllerType;
use crate::domain::device_info::Address;
use crate::domain::disk::DiskBus;
use crate::domain::features::IoapicDriver;
use crate::domain::hostdev::{Hostdev, HostdevCaps, HostdevPass, HostdevSubsys, ScsiHostdev};
use crate::domain::lifecycle::LifecycleAction;
use crate::domain::normalize::{DeviceRef, DomainFeatures, DomainHooks, device_info, device_refs};
use crate::domain::os::{FirmwareFeatureName, FirmwareType, LoaderType, NvramSource};
use crate::domain::security::LaunchSecurity;
use crate::numa::{Numa, NumaInterconnect, NumaMemoryMode, Numatune};

/// Microseconds that a period or quota of CPU time may be.
const PERIOD: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const QUOTA: std::ops::RangeInclusive<i64> = 1_000..=17_592_186_044_415;
const APPID_LONGEST: usize = 128;

fn detail(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_DETAIL, what)
}

/// Checks the domain.
pub(super) fn validate(domain: &Domain, hooks: &dyn DomainHooks) -> Result<()> {
    resource(domain)?;
    disk::no_duplicates(domain)?;
    hostdevs(domain)?;
    drive_addresses(domain)?;
    topology(domain)?;
    aliases(domain)?;
    iommu(domain)?;
    lifecycle(domain)?;
    huge_pages(domain)?;
    if domain.os.firmware.is_some() && !hooks.features().contains(DomainFeatures::FW_AUTOSELECT) {
        return Err(detail(
            "this driver does not choose firmware: name the file in <loader> and remove firmware='…'",
        ));
    }
    os(domain)?;
    cpu_tune(domain)?;
    boot(domain)?;
    refuse_if(
        domain
            .devices
            .videos
            .iter()
            .filter(|video| video.model.primary)
            .count()
            > 1,
        "two <video> have primary='yes': one screen is the first",
    )?;
    blkio(domain)?;
    id_map(domain)?;
    numa(domain)?;
    io_threads(domain)?;
    launch_security(domain)
}

fn resource(domain: &Domain) -> Result<()> {
    let appid = domain
        .resource
        .as_ref()
        .and_then(|resource| resource.appid.as_deref());
    let Some(appid) = appid else { return Ok(()) };
    if !appid.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(xml_error(format_args!(
            "'appid' of Fibre Channel has characters beyond printable ASCII: '{}'",
            appid.escape_debug()
        )));
    }
    if appid.is_empty() || appid.len() > APPID_LONGEST {
        return Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!(
                "'appid' of Fibre Channel has {} characters: expected 1 to {APPID_LONGEST}",
                appid.len()
            ),
        ));
    }
    Ok(())
}

/// What of the host a device gives to the guest: equal for devices that cannot both be.
#[derive(PartialEq, Eq, Hash)]
enum Passed<'d> {
    UsbAddress(u32, u32),
    UsbProduct(u32, u32),
    Pci(u32, u32, u32, u32),
    Adapter(&'d str, u32, u32, u64),
    Iscsi(&'d str, u32, &'d str),
    ScsiHost(&'d str),
    Mdev(virt_util::uuid::Uuid),
    Block(&'d str),
    Character(&'d str),
    Net(&'d str),
}

impl std::fmt::Display for Passed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UsbAddress(bus, device) => write!(f, "USB device {bus}:{device}"),
            Self::UsbProduct(vendor, product) => write!(f, "USB device {vendor:04x}:{product:04x}"),
            Self::Pci(domain, bus, slot, function) => {
                write!(f, "PCI device {domain:04x}:{bus:02x}:{slot:02x}.{function}")
            }
            Self::Adapter(name, bus, target, unit) => write!(f, "SCSI device {name}:{bus}:{target}:{unit}"),
            Self::Iscsi(host, port, name) => write!(f, "iSCSI device '{name}' at {host}:{port}"),
            Self::ScsiHost(name) => write!(f, "SCSI controller '{name}'"),
            Self::Mdev(uuid) => write!(f, "mediated device {uuid}"),
            Self::Block(path) | Self::Character(path) | Self::Net(path) => write!(f, "device '{path}'"),
        }
    }
}

fn passed(hostdev: &Hostdev) -> Passed<'_> {
    match &hostdev.mode {
        HostdevPass::Subsystem(subsystem) => match &**subsystem {
            HostdevSubsys::Usb { device, .. } if device.bus != 0 && device.device != 0 => {
                Passed::UsbAddress(device.bus, device.device)
            }
            HostdevSubsys::Usb { device, .. } => Passed::UsbProduct(device.vendor, device.product),
            HostdevSubsys::Pci { device, .. } => {
                let at = &device.address;
                Passed::Pci(at.domain, at.bus, at.slot, at.function)
            }
            HostdevSubsys::Scsi { device, .. } => match device {
                ScsiHostdev::Adapter {
                    adapter,
                    bus,
                    target,
                    unit,
                    ..
                } => Passed::Adapter(adapter, *bus, *target, *unit),
                ScsiHostdev::Iscsi { name, host, .. } => {
                    Passed::Iscsi(host.name.as_deref().unwrap_or_default(), host.port, name)
                }
            },
            HostdevSubsys::ScsiHost { wwpn, .. } => Passed::ScsiHost(wwpn),
            HostdevSubsys::Mdev { uuid, .. } => Passed::Mdev(*uuid),
        },
        HostdevPass::Capabilities(HostdevCaps::Storage { block }) => Passed::Block(block),
        HostdevPass::Capabilities(HostdevCaps::Misc { character }) => Passed::Character(character),
        HostdevPass::Capabilities(HostdevCaps::Net { interface, .. }) => Passed::Net(interface),
    }
}

fn hostdevs(domain: &Domain) -> Result<()> {
    let mut seen = HashSet::new();
    let mut frame_buffers = 0;
    for hostdev in &domain.devices.hostdevs {
        if !seen.insert(passed(hostdev)) {
            return Err(xml_error(format_args!(
                "two <hostdev> give {} of the host to the guest",
                passed(hostdev)
            )));
        }
        if let HostdevPass::Subsystem(subsystem) = &hostdev.mode
            && let HostdevSubsys::Mdev { ramfb, .. } | HostdevSubsys::Pci { ramfb, .. } = &**subsystem
            && *ramfb == Some(true)
        {
            frame_buffers += 1;
        }
    }
    refuse_if(
        frame_buffers > 1,
        format_args!("{frame_buffers} devices have ramfb='on': one at most can have it"),
    )
}

/// No two drives of one bus at one place.
fn drive_addresses(domain: &Domain) -> Result<()> {
    let mut places = HashMap::new();
    for disk in &domain.devices.disks {
        let kind = match disk.target.bus {
            Some(DiskBus::Ide) => ControllerType::Ide,
            Some(DiskBus::Scsi) => ControllerType::Scsi,
            Some(DiskBus::Sata) => ControllerType::Sata,
            Some(DiskBus::Fdc) => ControllerType::Fdc,
            _ => continue,
        };
        let Some(Address::Drive(address)) = &disk.info.address else {
            continue;
        };
        if let Some(other) = places.insert((kind, *address), &disk.target.dev) {
            let what = format!(
                "disks '{}' and '{}' are both at controller {}, bus {}, target {}, unit {}",
                other, disk.target.dev, address.controller, address.bus, address.target, address.unit
            );
            return Err(unsupported(what));
        }
    }
    // SCSI devices of the host stand on the same buses.
    for hostdev in &domain.devices.hostdevs {
        let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
            continue;
        };
        let (HostdevSubsys::Scsi { .. }, Some(Address::Drive(at))) = (&**subsystem, &hostdev.info.address)
        else {
            continue;
        };
        if places.insert((ControllerType::Scsi, *at), &domain.name).is_some() {
            let what = format!(
                "two SCSI devices are at controller {}, bus {}, target {}, unit {}",
                at.controller, at.bus, at.target, at.unit
            );
            return Err(unsupported(what));
        }
    }
    Ok(())
}

fn topology(domain: &Domain) -> Result<()> {
    let Some(topology) = domain.cpu.as_ref().and_then(|cpu| cpu.topology.as_ref()) else {
        return Ok(());
    };
    let parts = [
        topology.sockets,
        topology.dies,
        topology.clusters,
        topology.cores,
        topology.threads,
    ];
    let cpus = parts
        .into_iter()
        .try_fold(1u32, |product, part| product.checked_mul(part));
    refuse_if(
        cpus.is_none(),
        format_args!(
            "sockets, dies, clusters, cores and threads multiply to more than {} CPUs",
            u32::MAX
        ),
    )
}

fn aliases(domain: &Domain) -> Result<()> {
    let devices = &domain.devices;
    let first_serial = devices
        .serials
        .first()
        .and_then(|serial| serial.info.alias.as_deref());
    let stands_for_serial = devices
        .consoles
        .first()
        .is_some_and(|console| console.target_type == ConsoleTargetType::Serial);
    let mut seen = HashSet::new();
    for device in device_refs(domain) {
        let alias = device_info(domain, device).and_then(|info| info.alias.as_deref());
        let Some(alias) = alias.filter(|alias| super::super::is_user_alias(alias)) else {
            continue;
        };
        // A console that stands for a serial port bears the port's name.
        let same = stands_for_serial
            && device == DeviceRef::Console(0)
            && first_serial.is_some_and(|serial| serial == alias);
        if !same && !seen.insert(alias) {
            return Err(unsupported(format_args!("two devices have the alias '{alias}'")));
        }
    }
    Ok(())
}

fn iommu(domain: &Domain) -> Result<()> {
    let driver = domain
        .devices
        .iommu
        .as_ref()
        .and_then(|iommu| iommu.driver.as_ref());
    let Some(driver) = driver else { return Ok(()) };
    let remaps = driver.intremap == Some(true);
    let split = domain
        .features
        .as_ref()
        .is_some_and(|features| features.ioapic == Some(IoapicDriver::Qemu));
    refuse_if(
        remaps && !split,
        "<driver intremap='on'> of the iommu needs <ioapic driver='qemu'/>",
    )?;
    refuse_if(
        driver.eim == Some(true) && !remaps,
        "<driver eim='on'> of the iommu needs intremap='on'",
    )
}

fn lifecycle(domain: &Domain) -> Result<()> {
    use LifecycleAction as A;
    for (event, action) in [("poweroff", domain.on_poweroff), ("reboot", domain.on_reboot)] {
        refuse_if(
            matches!(action, A::CoredumpDestroy | A::CoredumpRestart),
            format_args!("<on_{event}> does not take '{action}'"),
        )?;
    }
    Ok(())
}

fn huge_pages(domain: &Domain) -> Result<()> {
    let pages = domain
        .memory_backing
        .as_ref()
        .and_then(|backing| backing.huge_pages.as_ref());
    let Some(pages) = pages.map(|pages| &pages.pages) else {
        return Ok(());
    };
    let cells = numa_of(domain).map_or(0, |numa| numa.cells.len());
    for (at, page) in pages.iter().enumerate() {
        for other in pages.iter().take(at) {
            match (&page.nodeset, &other.nodeset) {
                (Some(one), Some(two)) if one.0.iter().any(|node| two.0.contains(node)) => {
                    let what = format!(
                        "NUMA nodes are in the <page> of {} KiB and in that of {} KiB",
                        page.size, other.size
                    );
                    return Err(detail(what));
                }
                (None, None) => {
                    let what = format!(
                        "two <page> have no 'nodeset', those of {} and {} KiB: one at most is for all nodes",
                        page.size, other.size
                    );
                    return Err(detail(what));
                }
                _ => {}
            }
        }
        let missing = page
            .nodeset
            .iter()
            .flat_map(|nodes| nodes.0.iter())
            .find(|node| *node >= cells);
        if let Some(node) = missing {
            return Err(detail(format_args!(
                "<hugepages> names NUMA node {node}: the guest has nodes below {cells}"
            )));
        }
    }
    Ok(())
}

/// What is said of firmware and boot, of which some excludes other.
///
/// # Errors
/// `XML_DETAIL`, or `CONFIG_UNSUPPORTED`.
pub(super) fn os(domain: &Domain) -> Result<()> {
    let os = &domain.os;
    let feature = |name: FirmwareFeatureName| {
        os.firmware_features
            .iter()
            .find(|feature| feature.name == name)
            .map(|feature| feature.enabled)
    };
    let nvram = os.nvram.as_ref();
    let template = nvram.is_some_and(|nvram| nvram.template.is_some());
    let image = nvram.is_some_and(|nvram| nvram.source != NvramSource::None);
    match os.firmware {
        Some(firmware) => {
            if feature(FirmwareFeatureName::EnrolledKeys) == Some(true)
                && feature(FirmwareFeatureName::SecureBoot) == Some(false)
            {
                return Err(detail(
                    "feature 'enrolled-keys' is on and 'secure-boot' off: keys are for secure boot",
                ));
            }
            if os.loader.is_none() && nvram.is_none() {
                return Ok(());
            }
            if image && firmware != FirmwareType::Efi {
                return Err(detail(format_args!(
                    "firmware '{firmware}' has no NVRAM: remove <nvram>"
                )));
            }
        }
        None => {
            if !os.firmware_features.is_empty() {
                return Err(detail(
                    "<feature> of <firmware> chooses an image, which needs <os firmware='…'>",
                ));
            }
            if os.loader.is_none() && nvram.is_none() {
                return Ok(());
            }
            if os.loader.as_ref().is_none_or(|loader| loader.path.is_none()) {
                return Err(detail(
                    "<loader> names no file: say which, or let <os firmware='…'> choose",
                ));
            }
        }
    }
    let loader = os.loader.as_ref();
    match loader.and_then(|loader| loader.stateless) {
        Some(true) if template => {
            return Err(detail(
                "<loader stateless='yes'> keeps nothing, and <nvram> has a template",
            ));
        }
        Some(true) if image => {
            return Err(detail(
                "<loader stateless='yes'> keeps nothing, and there is an <nvram>",
            ));
        }
        Some(false) => match os.firmware {
            None if loader.and_then(|loader| loader.kind) != Some(LoaderType::Pflash) => {
                return Err(detail("stateless='no' needs <loader type='pflash'>"));
            }
            Some(firmware) if firmware != FirmwareType::Efi => {
                return Err(detail(format_args!(
                    "stateless='no' is for firmware 'efi', not '{firmware}'"
                )));
            }
            _ => {}
        },
        _ => {}
    }
    refuse_if(
        os.shim.is_some() && os.kernel.is_none(),
        "<shim> starts a <kernel>, and there is none",
    )
}

fn cpu_tune(domain: &Domain) -> Result<()> {
    let Some(tune) = &domain.cpu_tune else {
        return Ok(());
    };
    let periods = &tune.periods;
    for (name, period) in [
        ("period", periods.period),
        ("global_period", periods.global_period),
        ("emulator_period", periods.emulator_period),
        ("iothread_period", periods.iothread_period),
    ] {
        refuse_if(
            period > 0 && !PERIOD.contains(&period),
            format_args!(
                "<{name}> of <cputune> is {period}: expected {} to {} microseconds",
                PERIOD.start(),
                PERIOD.end()
            ),
        )?;
    }
    for (name, quota) in [
        ("quota", periods.quota),
        ("global_quota", periods.global_quota),
        ("emulator_quota", periods.emulator_quota),
        ("iothread_quota", periods.iothread_quota),
    ] {
        refuse_if(
            quota > 0 && !QUOTA.contains(&quota),
            format_args!(
                "<{name}> of <cputune> is {quota}: expected {} to {} microseconds",
                QUOTA.start(),
                QUOTA.end()
            ),
        )?;
    }
    Ok(())
}

fn boot(domain: &Domain) -> Result<()> {
    let timeout = domain.os.boot_menu.as_ref().and_then(|menu| menu.timeout);
    refuse_if(
        timeout.is_some_and(|timeout| timeout > 65535),
        format_args!(
            "<bootmenu timeout='{}'> is above 65535 milliseconds",
            timeout.unwrap_or_default()
        ),
    )?;
    let reboot = domain.os.bios.as_ref().and_then(|bios| bios.reboot_timeout);
    refuse_if(
        reboot.is_some_and(|timeout| !(-1..=65535).contains(&timeout)),
        format_args!(
            "<bios rebootTimeout='{}'> is none of -1 to 65535",
            reboot.unwrap_or_default()
        ),
    )
}

fn blkio(domain: &Domain) -> Result<()> {
    let mut seen = HashSet::new();
    let devices = domain.blkio_tune.iter().flat_map(|tune| &tune.devices);
    for device in devices {
        refuse_if(
            !seen.insert(&device.path),
            format_args!("<blkiotune> names device '{}' twice", device.path),
        )?;
    }
    Ok(())
}

fn id_map(domain: &Domain) -> Result<()> {
    let Some(map) = &domain.idmap else { return Ok(()) };
    refuse_if(
        map.uids.is_empty() != map.gids.is_empty(),
        "<idmap> has one of <uid> and <gid>: both are needed",
    )?;
    let first = [map.uids.first(), map.gids.first()];
    refuse_if(
        first.into_iter().flatten().any(|range| range.start != 0),
        "the first <uid> and the first <gid> of <idmap> start at 0, the container's root",
    )
}

fn numa_of(domain: &Domain) -> Option<&Numa> {
    domain.cpu.as_ref()?.numa.as_ref()
}

fn numa(domain: &Domain) -> Result<()> {
    if let Some(tune) = &domain.numatune {
        memory_modes(tune)?;
    }
    let Some(numa) = numa_of(domain) else {
        return Ok(());
    };
    for cell in &numa.cells {
        let mut levels = HashSet::new();
        for cache in &cell.caches {
            if cache.level > 3 {
                return Err(xml_error(format_args!(
                    "a NUMA cache of level '{}' is not known: the highest is 3",
                    cache.level
                )));
            }
            if !levels.insert(cache.level) {
                return Err(xml_error(format_args!(
                    "a NUMA cell has two caches of level {}",
                    cache.level
                )));
            }
        }
    }
    for (at, link) in numa.interconnects.iter().enumerate() {
        let (is_latency, own) = parts(link);
        let node = |number: u32| numa.cells.get(number as usize);
        let Some(initiator) = node(own.initiator) else {
            return Err(xml_error(format_args!(
                "<interconnects>: initiator {} is no NUMA cell of the guest",
                own.initiator
            )));
        };
        let Some(target) = node(own.target) else {
            return Err(xml_error(format_args!(
                "<interconnects>: target {} is no NUMA cell of the guest",
                own.target
            )));
        };
        if initiator.cpus.is_none() {
            return Err(xml_error(format_args!(
                "<interconnects>: initiator {} is a NUMA cell without CPUs",
                own.initiator
            )));
        }
        if own.cache > 0 && target.caches.iter().all(|cache| cache.level != own.cache) {
            return Err(xml_error(format_args!(
                "<interconnects>: NUMA cell {} has no cache of level {}",
                own.target, own.cache
            )));
        }
        for other in numa.interconnects.iter().take(at) {
            let (other_latency, other) = parts(other);
            if is_latency == other_latency
                && (own.initiator, own.target, own.cache, own.kind)
                    == (other.initiator, other.target, other.cache, other.kind)
            {
                return Err(xml_error(format_args!(
                    "<interconnects> says twice what is between NUMA cells {} and {}",
                    own.initiator, own.target
                )));
            }
            if own.initiator != own.target && (own.initiator, own.target) == (other.target, other.initiator) {
                return Err(xml_error("Link already defined"));
            }
        }
    }
    Ok(())
}

fn parts(link: &NumaInterconnect) -> (bool, &crate::numa::NumaLink) {
    match link {
        NumaInterconnect::Latency(link) => (true, link),
        NumaInterconnect::Bandwidth(link) => (false, link),
    }
}

fn memory_modes(tune: &Numatune) -> Result<()> {
    use NumaMemoryMode::Restrictive;
    let whole = tune.memory.as_ref().map(|memory| memory.mode);
    for node in &tune.nodes {
        if whole == Some(Restrictive) && node.mode != Restrictive {
            return Err(xml_error(format_args!(
                "<memory mode='restrictive'> needs <memnode mode='restrictive'>, and cell {} has '{}'",
                node.cell, node.mode
            )));
        }
        if node.mode == Restrictive && whole != Some(Restrictive) {
            return Err(xml_error(format_args!(
                "<memnode cellid='{}' mode='restrictive'> needs <memory mode='restrictive'>",
                node.cell
            )));
        }
    }
    Ok(())
}

fn io_threads(domain: &Domain) -> Result<()> {
    let pools = domain
        .iothreads
        .iter()
        .map(|thread| (thread.thread_pool_min, thread.thread_pool_max));
    let default = domain
        .default_iothread
        .iter()
        .map(|pool| (pool.thread_pool_min, pool.thread_pool_max));
    for (min, max) in pools.chain(default) {
        refuse_if(
            max == Some(0),
            "thread_pool_max='0' leaves no thread: 1 is the least",
        )?;
        refuse_if(
            min.is_some_and(|min| max.is_none_or(|max| min > max)),
            format_args!(
                "thread_pool_min='{}' needs a thread_pool_max that is at least as high",
                min.unwrap_or_default()
            ),
        )?;
    }
    Ok(())
}

fn launch_security(domain: &Domain) -> Result<()> {
    let Some(LaunchSecurity::SevSnp(snp)) = domain.launch_security.as_deref() else {
        return Ok(());
    };
    for (name, text, expected) in [
        ("guestVisibleWorkarounds", &snp.guest_visible_workarounds, 16),
        ("idBlock", &snp.id_block, 96),
        ("idAuth", &snp.id_auth, 4096),
        ("hostData", &snp.host_data, 32),
    ] {
        let length = text.as_deref().map(base64_length);
        refuse_if(
            length.is_some_and(|length| length != expected),
            format_args!(
                "'{name}' of <launchSecurity> is {} bytes long: expected {expected}",
                length.unwrap_or_default()
            ),
        )?;
    }
    Ok(())
}

/// Bytes that a text in base64 stands for.
fn base64_length(text: &str) -> usize {
    let digits = text
        .bytes()
        .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        .count();
    digits * 3 / 4
}
