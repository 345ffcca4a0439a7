//! What QEMU, its version and its machines cannot do, told when a guest is defined.

use virt_conf::cpu::{CpuCacheMode, CpuMaxPhysAddrMode, CpuMode};
use virt_conf::domain::disk::{DiskBus, DiskDevice};
use virt_conf::domain::features::Features;
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys};
use virt_conf::domain::input::InputBus;
use virt_conf::domain::normalize::{DeviceRef, device_info};
use virt_conf::domain::os::{FirmwareType, LoaderType};
use virt_conf::domain::small::{TpmBackend, TpmModel, TpmVersion};
use virt_conf::domain::storage::StorageFormat;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Address, Domain};
use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

use super::{
    Guest, machine, validate_chardev, validate_display, validate_drive, validate_guest, validate_memory,
    validate_network, validate_passed, validate_small, validate_storage,
};
use crate::capabilities::{Accel, Flag};

pub(super) fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

pub(super) fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

pub(super) fn refuse_if(wrong: bool, what: impl std::fmt::Display) -> Result<()> {
    if wrong { Err(unsupported(what)) } else { Ok(()) }
}

/// Checks the guest as a whole.
pub(super) fn domain(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let caps = guest.caps;
    let emulator = domain.devices.emulator.as_deref().unwrap_or_default();
    let arch = guest.arch;
    refuse_if(
        !caps.supports_arch(arch),
        format_args!("Emulator '{emulator}' does not support arch '{arch}'"),
    )?;
    let kind = domain.virt_type;
    let runs = Accel::from_domain_type(kind.as_str()).is_some_and(|accel| caps.supports_accel(accel));
    refuse_if(
        !runs,
        format_args!("Emulator '{emulator}' does not support virt type '{kind}'"),
    )?;
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let known = caps.machine(guest.accel, name);
    refuse_if(
        known.is_none(),
        format_args!("Emulator '{emulator}' does not support machine type '{name}'"),
    )?;
    validate_guest::kind(domain, guest)?;
    refuse_if(
        domain
            .memory_tune
            .as_ref()
            .is_some_and(|tune| tune.min_guarantee.is_some()),
        "Parameter 'min_guarantee' not supported by QEMU.",
    )?;
    let flash = domain
        .os
        .loader
        .as_ref()
        .is_some_and(|loader| loader.kind == Some(LoaderType::Pflash));
    let uefi = flash || domain.os.firmware == Some(FirmwareType::Efi);
    let has_acpi = domain.features.as_ref().is_some_and(|features| features.acpi);
    refuse_if(
        uefi && arch.is_x86() && !has_acpi,
        "UEFI requires ACPI on this architecture",
    )?;
    refuse_if(
        has_acpi && arch == Arch::Aarch64 && !uefi,
        "ACPI requires UEFI on this architecture",
    )?;
    refuse_if(
        domain.genid.is_some() && !caps.has(Flag::DeviceVmgenid),
        "this QEMU does not support the 'genid' capability",
    )?;
    if domain.os.bios.as_ref().and_then(|bios| bios.use_serial) == Some(true) {
        refuse_if(
            !arch.is_x86(),
            "BIOS serial console only supported on x86 architectures",
        )?;
        if domain.devices.serials.is_empty() {
            return Err(xml_error(
                "need at least one serial port to use BIOS serial output",
            ));
        }
    }
    let none = Features::default();
    let said = domain.features.as_deref().unwrap_or(&none);
    features(domain, said, guest)?;
    validate_guest::features(domain, said, guest)?;
    let acpi = domain.features.as_ref().is_some_and(|features| features.acpi);
    if acpi {
        let without = known.and_then(|machine| machine.acpi) == Some(false);
        refuse_if(
            without,
            format_args!("machine type '{name}' does not support ACPI"),
        )?;
    }
    cpu(domain, guest)?;
    let cells = domain
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.numa.as_ref())
        .map_or(0, |numa| numa.cells.len());
    validate_memory::plugged(domain, guest)?;
    most_cpus(domain, guest)?;
    devices(domain)?;
    huge_pages(domain, cells)
}

fn most_cpus(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let most = guest.caps.machine_max_cpus(guest.accel, name);
    refuse_if(
        most > 0 && domain.vcpus.max > most,
        format_args!("Maximum CPUs greater than specified machine type limit {most}"),
    )
}

fn features(domain: &Domain, features: &Features, guest: Guest<'_>) -> Result<()> {
    let (arch, caps) = (guest.arch, guest.caps);
    let kind = machine(domain, arch);
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let only = |said: bool, feature: &str, there: bool| {
        let what = format!(
            "The '{feature}' feature is not supported for architecture '{arch}' or machine type '{name}'"
        );
        refuse_if(said && !there, what)
    };
    only(features.ioapic.is_some(), "ioapic", arch.is_x86())?;
    only(features.hpt.is_some(), "hpt", kind.is_pseries())?;
    only(features.htm.is_some(), "htm", kind.is_pseries())?;
    only(features.nested_hv.is_some(), "nested-hv", kind.is_pseries())?;
    only(features.ccf_assist.is_some(), "ccf-assist", kind.is_pseries())?;
    only(features.cfpc.is_some(), "cfpc", kind.is_pseries())?;
    only(features.sbbc.is_some(), "sbbc", kind.is_pseries())?;
    only(features.ibs.is_some(), "ibs", kind.is_pseries())?;
    only(features.gic.is_some(), "gic", kind.is_arm_virt())?;
    only(
        features.apic.is_some_and(|apic| apic.eoi.is_some()),
        "apic",
        arch.is_x86(),
    )?;
    only(features.pvspinlock.is_some(), "pvspinlock", arch.is_x86())?;
    only(
        features.hyperv.is_some(),
        "hyperv",
        arch.is_x86() || kind.is_arm_virt(),
    )?;
    only(features.ras.is_some(), "ras", kind.is_arm_virt())?;
    only(features.aia.is_some(), "aia", kind.is_riscv_virt())?;
    let pc = kind.is_i440fx() || kind.is_q35() || kind.is_xenfv() || kind.is_isapc();
    let ps2 = features.ps2.map(|state| state.on);
    refuse_if(
        ps2.is_some() && !(pc && caps.has(Flag::DeviceI8042)),
        "ps2 feature state cannot be controlled with this QEMU binary",
    )?;
    refuse_if(
        ps2.is_some() && !caps.has(Flag::MachineI8042Opt),
        "ps2 feature state cannot be controlled with this QEMU binary",
    )?;
    refuse_if(
        features.vmport.is_some_and(|state| state.on) && ps2 == Some(false),
        "vmport feature requires the ps2 feature not to be disabled",
    )?;
    refuse_if(
        features.vmcoreinfo.is_some_and(|state| state.on) && !caps.has(Flag::DeviceVmcoreinfo),
        "vmcoreinfo is not available with this QEMU binary",
    )?;
    refuse_if(
        features.async_teardown == Some(true) && !caps.has(Flag::RunWithAsyncTeardown),
        "asynchronous teardown is not available with this QEMU binary",
    )?;
    let by_ps2 = domain
        .devices
        .inputs
        .iter()
        .any(|input| input.bus == Some(InputBus::Ps2));
    refuse_if(
        by_ps2 && ps2 == Some(false),
        "ps2 bus inputs require the ps2 feature not to be disabled",
    )
}

fn cpu(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let Some(cpu) = &domain.cpu else { return Ok(()) };
    let host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum);
    let (arch, caps) = (guest.arch, guest.caps);
    refuse_if(
        cpu.mode == CpuMode::HostPassthrough
            && cpu.migratable == Some(true)
            && !caps.has(Flag::CpuMigratable),
        "Migratable attribute for host-passthrough CPU is not supported by this QEMU binary",
    )?;
    refuse_if(
        cpu.mode == CpuMode::Maximum && !caps.has(Flag::CpuMax),
        "maximum CPU is not supported by QEMU binary",
    )?;
    if let Some(cache) = &cpu.cache {
        refuse_if(
            !arch.is_x86(),
            format_args!("CPU cache specification is not supported for '{arch}' architecture"),
        )?;
        match cache.mode {
            CpuCacheMode::Emulate => {
                refuse_if(
                    cache.level != Some(3),
                    "CPU cache mode 'emulate' can only be used with level='3'",
                )?;
            }
            CpuCacheMode::Passthrough => {
                refuse_if(
                    !host,
                    "CPU cache mode 'passthrough' can only be used with 'host-passthrough' / 'maximum' CPUs",
                )?;
                refuse_if(
                    cache.level.is_some(),
                    "unsupported CPU cache level for mode 'passthrough'",
                )?;
            }
            CpuCacheMode::Disable => refuse_if(
                cache.level.is_some(),
                "unsupported CPU cache level for mode 'disable'",
            )?,
        }
    }
    if let Some(size) = &cpu.max_phys_addr {
        refuse_if(
            !arch.is_x86(),
            format_args!(
                "CPU maximum physical address bits specification is not supported for '{arch}' architecture"
            ),
        )?;
        refuse_if(
            size.mode == CpuMaxPhysAddrMode::Passthrough && size.bits.is_some(),
            "CPU maximum physical address bits number specification cannot be used with mode='passthrough'",
        )?;
    }
    Ok(())
}

/// What devices of a kind may not be together.
fn devices(domain: &Domain) -> Result<()> {
    let devices = &domain.devices;
    refuse_if(
        !devices.parallels.is_empty() && !has_isa(domain),
        "parallel ports are not supported",
    )?;
    let none = |kind: VideoModelType| kind == VideoModelType::None;
    refuse_if(
        devices.videos.len() > 1 && devices.videos.iter().any(|video| none(video.model.kind)),
        "a 'none' video type must be the only video device defined for the domain",
    )?;
    refuse_if(
        devices.videos.iter().filter(|video| video.model.primary).count() > 1,
        "Only one primary video device is supported",
    )?;
    let headless = devices
        .graphics
        .iter()
        .any(|one| matches!(one, Graphics::EglHeadless { .. }));
    let viewed = devices
        .graphics
        .iter()
        .any(|one| matches!(one, Graphics::Vnc(_) | Graphics::Spice(_)));
    let other = devices
        .graphics
        .iter()
        .any(|one| !matches!(one, Graphics::EglHeadless { .. }));
    refuse_if(
        headless && !viewed && other,
        "graphics type 'egl-headless' is only supported with one of: 'vnc', 'spice' graphics types",
    )?;
    let proxies = devices
        .tpms
        .iter()
        .filter(|tpm| tpm.model == Some(TpmModel::SpaprTpmProxy))
        .count();
    refuse_if(proxies > 1, "only a single TPM Proxy device is supported")?;
    refuse_if(
        devices.tpms.len() - proxies > 1,
        "only a single TPM non-proxy device is supported",
    )?;
    let drawing = devices.hostdevs.iter().filter(|hostdev| match &hostdev.mode {
        HostdevPass::Subsystem(subsystem) => {
            matches!(
                **subsystem,
                HostdevSubsys::Mdev {
                    ramfb: Some(true),
                    ..
                }
            )
        }
        HostdevPass::Capabilities(_) => false,
    });
    refuse_if(
        drawing.count() > 1,
        "Only one vgpu device can have 'ramfb' enabled",
    )
}

fn has_isa(domain: &Domain) -> bool {
    domain
        .os
        .kind
        .arch
        .as_deref()
        .is_some_and(|arch| !arch.starts_with("s390"))
}

fn huge_pages(domain: &Domain, cells: usize) -> Result<()> {
    let Some(pages) = domain
        .memory_backing
        .as_ref()
        .and_then(|backing| backing.huge_pages.as_ref())
    else {
        return Ok(());
    };
    let mut master = None;
    for page in &pages.pages {
        match &page.nodeset {
            None => {
                if let Some(other) = master.replace(page.size) {
                    let what = format!("two master hugepages detected: {other} and {}", page.size);
                    return Err(VirtError::new(ErrorCode::XML_DETAIL, what));
                }
            }
            Some(nodes) => {
                let missing = nodes.0.iter().find(|node| *node >= cells);
                if let Some(node) = missing {
                    let what = format!("hugepages: node {node} not found");
                    return Err(VirtError::new(ErrorCode::XML_DETAIL, what));
                }
            }
        }
    }
    Ok(())
}

/// Checks the place of a device, and what depends on it.
fn place(domain: &Domain, device: DeviceRef, guest: Guest<'_>) -> Result<()> {
    let Some(info) = device_info(domain, device) else {
        return Ok(());
    };
    match &info.address {
        Some(Address::Pci(at)) => {
            if let Some(zpci) = at.zpci {
                refuse_if(
                    !guest.caps.has(Flag::DeviceZpci),
                    "This QEMU binary doesn't support zPCI",
                )?;
                if let Some(uid) = zpci.uid.filter(|uid| !(1..=0xffff).contains(uid)) {
                    return Err(xml_error(format_args!(
                        "Invalid PCI address uid='0x{uid:04x}', must be > 0x0000 and <= 0xffff"
                    )));
                }
            }
        }
        Some(Address::SpaprVio(at)) => refuse_if(
            at.reg.is_some_and(|reg| reg > 0xffff_ffff),
            format_args!(
                "spapr-vio reg='0x{:x}' exceeds maximum possible value (0xffffffff)",
                at.reg.unwrap_or_default()
            ),
        )?,
        Some(Address::VirtioS390) => {
            return Err(unsupported("'virtio-s390' addresses are no longer supported"));
        }
        Some(Address::Ccw(_)) => refuse_if(
            !machine(domain, guest.arch).is_s390_ccw(),
            format_args!(
                "CCW addresses are not supported by machine type '{}'",
                domain.os.kind.machine.as_deref().unwrap_or_default()
            ),
        )?,
        _ => {}
    }
    let pci = matches!(info.address, None | Some(Address::Pci(_)));
    if info.acpi_index.is_some_and(|index| index != 0) {
        refuse_if(
            !guest.caps.has(Flag::AcpiIndex),
            "ACPI index is not supported with this QEMU",
        )?;
        refuse_if(!pci, "ACPI index is only supported for PCI devices")?;
    }
    let unassigned = matches!(info.address, Some(Address::Unassigned));
    refuse_if(
        info.rom.is_some() && !pci && !unassigned,
        "ROM tuning is only supported for PCI devices",
    )
}

/// Checks one device.
pub(super) fn device(domain: &Domain, device: DeviceRef, guest: Guest<'_>) -> Result<()> {
    place(domain, device, guest)?;
    let devices = &domain.devices;
    match device {
        DeviceRef::Disk(at) => devices.disks.get(at).map_or(Ok(()), |one| {
            disk(one, guest)?;
            validate_drive::front(domain, one, guest)?;
            validate_storage::chain(one, guest)
        }),
        DeviceRef::Filesystem(at) => devices
            .filesystems
            .get(at)
            .map_or(Ok(()), |one| validate_storage::filesystem(domain, one, guest)),
        DeviceRef::Parallel(at) => {
            if let Some(one) = devices.parallels.get(at) {
                validate_chardev::source(domain, &one.host.source, guest)?;
            }
            refuse_if(
                guest.arch.is_s390() || machine(domain, guest.arch).is_pseries(),
                "parallel ports are not supported",
            )
        }
        DeviceRef::Input(at) => devices
            .inputs
            .get(at)
            .map_or(Ok(()), |one| validate_small::input(domain, one, guest)),
        DeviceRef::Interface(at) => devices
            .interfaces
            .get(at)
            .map_or(Ok(()), |one| validate_network::interface(domain, one, guest)),
        DeviceRef::Panic(at) => devices
            .panics
            .get(at)
            .map_or(Ok(()), |one| validate_small::panic(domain, one, guest)),
        DeviceRef::Tpm(at) => {
            let Some(tpm) = devices.tpms.get(at) else {
                return Ok(());
            };
            validate_display::tpm(tpm, guest)
        }
        DeviceRef::Graphics(at) => devices
            .graphics
            .get(at)
            .map_or(Ok(()), |one| validate_display::graphics(domain, one, guest)),
        DeviceRef::Audio(at) => devices
            .audios
            .get(at)
            .map_or(Ok(()), |one| validate_display::audio(domain, one, guest)),
        DeviceRef::Watchdog(at) => devices
            .watchdogs
            .get(at)
            .map_or(Ok(()), |one| validate_guest::watchdog(domain, one, guest)),
        DeviceRef::Controller(at) => devices
            .controllers
            .get(at)
            .map_or(Ok(()), |one| validate_drive::controller(domain, one, guest)),
        DeviceRef::Iommu => devices
            .iommu
            .as_ref()
            .map_or(Ok(()), |one| validate_memory::iommu(domain, one, guest)),
        DeviceRef::Memory(at) => devices
            .memory
            .get(at)
            .map_or(Ok(()), |one| validate_memory::device(domain, one, guest)),
        DeviceRef::Serial(at) => devices
            .serials
            .get(at)
            .map_or(Ok(()), |one| validate_chardev::serial(domain, one, guest)),
        DeviceRef::Channel(at) => devices.channels.get(at).map_or(Ok(()), |one| {
            validate_chardev::source(domain, &one.host.source, guest)
        }),
        DeviceRef::Console(at) => devices.consoles.get(at).map_or(Ok(()), |one| {
            validate_chardev::source(domain, &one.host.source, guest)
        }),
        DeviceRef::Smartcard(at) => devices
            .smartcards
            .get(at)
            .map_or(Ok(()), |one| validate_chardev::smartcard(domain, one, guest)),
        DeviceRef::Rng(at) => devices
            .rngs
            .get(at)
            .map_or(Ok(()), |one| validate_chardev::rng(domain, one, guest)),
        DeviceRef::Shmem(at) => devices
            .shmems
            .get(at)
            .map_or(Ok(()), |one| validate_small::shmem(one, guest)),
        DeviceRef::Hostdev(at) => devices
            .hostdevs
            .get(at)
            .map_or(Ok(()), |one| validate_passed::hostdev(domain, one, guest)),
        DeviceRef::Redirdev(at) => devices
            .redirdevs
            .get(at)
            .map_or(Ok(()), |one| validate_passed::redirdev(domain, one, guest)),
        DeviceRef::Sound(at) => devices
            .sounds
            .get(at)
            .map_or(Ok(()), |one| validate_small::sound(one, guest)),
        DeviceRef::Hub(at) => devices
            .hubs
            .get(at)
            .map_or(Ok(()), |one| validate_small::hub(one, guest)),
        DeviceRef::Crypto(at) => devices
            .cryptos
            .get(at)
            .map_or(Ok(()), |one| validate_small::crypto(one, guest)),
        DeviceRef::Memballoon => devices
            .memballoon
            .as_ref()
            .map_or(Ok(()), |one| validate_small::memballoon(one, guest)),
        DeviceRef::Nvram => devices
            .nvram
            .as_ref()
            .map_or(Ok(()), |one| validate_small::nvram(domain, one, guest)),
        DeviceRef::Pstore => devices
            .pstore
            .as_ref()
            .map_or(Ok(()), |one| validate_small::pstore(one, guest)),
        DeviceRef::Vsock => validate_small::vsock(guest),
        DeviceRef::Video(at) => {
            let video = devices.videos.get(at);
            let placed = video.is_some_and(|video| {
                video.model.kind == VideoModelType::Ramfb && video.info.address.is_some()
            });
            refuse_if(placed, "address not supported for video type ramfb")?;
            video.map_or(Ok(()), |video| validate_display::video(domain, video, guest))
        }
        _ => Ok(()),
    }
}

/// Whether an emulated TPM is of a version that the emulator knows.
pub(super) fn tpm_version(domain: &Domain, device: DeviceRef, known: Option<&[TpmVersion]>) -> Result<()> {
    let (DeviceRef::Tpm(at), Some(known)) = (device, known) else {
        return Ok(());
    };
    match domain.devices.tpms.get(at).map(|tpm| &tpm.backend) {
        Some(TpmBackend::Emulator(emulator)) => {
            let version = emulator.version.filter(|version| !known.contains(version));
            refuse_if(
                version.is_some(),
                format_args!(
                    "TPM version '{}' is not supported",
                    version.map_or("", TpmVersion::as_str)
                ),
            )
        }
        _ => Ok(()),
    }
}

fn disk(disk: &virt_conf::domain::disk::Disk, guest: Guest<'_>) -> Result<()> {
    let name = disk.target.dev.as_str();
    let (bus, format) = (disk.bus(), disk.driver.format);
    refuse_if(
        disk.is_empty() && !matches!(disk.device, DiskDevice::Cdrom | DiskDevice::Floppy),
        format_args!("'{}' disk must not be empty", bus.map_or("", DiskBus::as_str)),
    )?;
    refuse_if(
        bus == Some(DiskBus::Usb) && disk.is_empty(),
        "'usb' disk must not be empty",
    )?;
    let partition = name.ends_with(|last: char| last.is_ascii_digit());
    refuse_if(
        partition,
        format_args!("invalid disk target '{name}', partitions can't appear in disk targets"),
    )?;
    match format {
        Some(StorageFormat::Dir) => Err(unsupported(
            "'directory' storage format is not directly supported by QEMU, use 'dir' disk type instead",
        )),
        Some(StorageFormat::Iso) => Err(unsupported(
            "storage format 'iso' is not directly supported by QEMU, use 'raw' instead",
        )),
        _ => refuse_if(
            bus == Some(DiskBus::Virtio)
                && disk.device == DiskDevice::Lun
                && !guest.caps.has(Flag::VirtioBlkScsi),
            "This QEMU doesn't support SCSI emulation with 'virtio-blk' device",
        ),
    }
}
