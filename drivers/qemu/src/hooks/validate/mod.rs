//! What QEMU, its version and its machines cannot do, told when a guest is defined.

mod chardev;
mod display;
mod drive;
mod guest;
mod memory;
mod network;
mod passed;
mod pci;
mod sharing;
mod small;
mod storage;
#[cfg(test)]
mod tests;

use virt_conf::cpu::{CpuCacheMode, CpuMaxPhysAddrMode, CpuMode};
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice};
use virt_conf::domain::features::Features;
use virt_conf::domain::normalize::{DeviceRef, device_info, disk_name_parts};
use virt_conf::domain::os::{FirmwareType, LoaderType, OsType};
use virt_conf::domain::small::{TpmBackend, TpmModel, TpmVersion};
use virt_conf::domain::{Address, Domain, Zpci};
use virt_util::arch::Arch;
use virt_util::{ErrorCode, Result, VirtError};

pub(crate) use storage::pseries_nvdimm_size;

use super::{Guest, machine};
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

/// What this emulator cannot do, as it was built or for its age.
pub(super) fn lacks(what: &'static str) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| write!(f, "this emulator has no {what}"))
}

/// Checks the guest as a whole.
pub(super) fn domain(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let caps = guest.caps;
    let emulator = domain.devices.emulator.as_deref().unwrap_or_default();
    let arch = guest.arch;
    let os = domain.os.kind.os;
    refuse_if(
        os != OsType::Hvm,
        format_args!("emulator '{emulator}' runs guests of type 'hvm', not '{os}'"),
    )?;
    refuse_if(
        !caps.supports_arch(arch),
        format_args!("emulator '{emulator}' is not for architecture '{arch}'"),
    )?;
    let kind = domain.virt_type;
    let runs = Accel::from_domain_type(kind.as_str()).is_some_and(|accel| caps.supports_accel(accel));
    refuse_if(
        !runs,
        format_args!("emulator '{emulator}' does not run guests of type '{kind}'"),
    )?;
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let known = caps.machine(guest.accel, name);
    refuse_if(
        known.is_none(),
        format_args!("emulator '{emulator}' has no machine '{name}'"),
    )?;
    let has_acpi = domain.features.as_ref().is_some_and(|features| features.acpi);
    let without_acpi = known.and_then(|machine| machine.acpi) == Some(false);
    refuse_if(
        has_acpi && without_acpi,
        format_args!("machine '{name}' has no ACPI: remove <acpi/>"),
    )?;
    refuse_if(
        domain
            .memory_tune
            .as_ref()
            .is_some_and(|tune| tune.min_guarantee.is_some()),
        "QEMU guarantees no memory: remove <min_guarantee> of <memtune>",
    )?;
    let flash = domain
        .os
        .loader
        .as_ref()
        .is_some_and(|loader| loader.kind == Some(LoaderType::Pflash));
    let uefi = flash || domain.os.firmware == Some(FirmwareType::Efi);
    refuse_if(
        uefi && arch.is_x86() && !has_acpi,
        "UEFI on x86 needs ACPI: add <acpi/> to <features>",
    )?;
    refuse_if(
        has_acpi && arch == Arch::Aarch64 && !uefi,
        "ACPI on aarch64 needs UEFI: say <os firmware='efi'> or a <loader type='pflash'>",
    )?;
    refuse_if(
        domain.genid.is_some() && !caps.has(Flag::DeviceVmgenid),
        lacks("<genid>"),
    )?;
    if domain.os.bios.as_ref().and_then(|bios| bios.use_serial) == Some(true) {
        refuse_if(
            !arch.is_x86(),
            format_args!("<bios useserial='yes'> is for x86 guests, not '{arch}'"),
        )?;
        if domain.devices.serials.is_empty() {
            return Err(xml_error("<bios useserial='yes'> needs a <serial>"));
        }
    }
    guest::actions(domain)?;
    cpu(domain, guest)?;
    memory::plugged(domain, guest)?;
    guest::machine_wide(domain, guest)?;
    most_cpus(domain, guest)?;
    let none = Features::default();
    let said = domain.features.as_deref().unwrap_or(&none);
    features(domain, said, guest)?;
    guest::features(domain, said, guest)?;
    guest::memory(domain, guest)?;
    guest::consoles(domain, guest)?;
    guest::firmware_entries(domain)?;
    for panic in domain.devices.panics.iter() {
        small::panic(domain, panic, guest)?;
    }
    devices(domain)?;
    guest::watchdogs(domain)?;
    guest::launch_security(domain, guest)
}

fn most_cpus(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let most = guest.caps.machine_max_cpus(guest.accel, name);
    refuse_if(
        most > 0 && domain.vcpus.max > most,
        format_args!(
            "{} CPUs are more than machine '{name}' takes, {most}",
            domain.vcpus.max
        ),
    )
}

fn features(domain: &Domain, features: &Features, guest: Guest<'_>) -> Result<()> {
    let (arch, caps) = (guest.arch, guest.caps);
    let kind = machine(domain, arch);
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let only = |said: bool, feature: &str, there: bool| {
        let what = format!("<{feature}> is neither for architecture '{arch}' nor for machine '{name}'");
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
        lacks("<ps2> for this machine"),
    )?;
    refuse_if(ps2.is_some() && !caps.has(Flag::MachineI8042Opt), lacks("<ps2>"))?;
    refuse_if(
        features.vmport.is_some_and(|state| state.on) && ps2 == Some(false),
        "<vmport state='on'/> and <ps2 state='off'/> exclude each other",
    )?;
    refuse_if(
        features.vmcoreinfo.is_some_and(|state| state.on) && !caps.has(Flag::DeviceVmcoreinfo),
        lacks("<vmcoreinfo>"),
    )?;
    refuse_if(
        features.async_teardown == Some(true) && !caps.has(Flag::RunWithAsyncTeardown),
        lacks("<async-teardown>"),
    )?;
    Ok(())
}

fn cpu(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let Some(cpu) = &domain.cpu else { return Ok(()) };
    let host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum);
    let (arch, caps) = (guest.arch, guest.caps);
    refuse_if(
        cpu.mode == CpuMode::HostPassthrough
            && cpu.migratable == Some(true)
            && !caps.has(Flag::CpuMigratable),
        lacks("<cpu migratable='on'>"),
    )?;
    refuse_if(
        cpu.mode == CpuMode::Maximum && !caps.has(Flag::CpuMax),
        lacks("<cpu mode='maximum'>"),
    )?;
    if let Some(cache) = &cpu.cache {
        refuse_if(
            !arch.is_x86(),
            format_args!("<cache> of the CPU is for x86 guests, not '{arch}'"),
        )?;
        match cache.mode {
            CpuCacheMode::Emulate => {
                refuse_if(
                    cache.level != Some(3),
                    "<cache mode='emulate'> of the CPU needs level='3'",
                )?;
            }
            CpuCacheMode::Passthrough => {
                refuse_if(
                    !host,
                    "<cache mode='passthrough'> is for CPU modes 'host-passthrough' and 'maximum'",
                )?;
                refuse_if(cache.level.is_some(), "<cache mode='passthrough'> takes no level")?;
            }
            CpuCacheMode::Disable => {
                refuse_if(cache.level.is_some(), "<cache mode='disable'> takes no level")?
            }
        }
    }
    if let Some(size) = &cpu.max_phys_addr {
        refuse_if(
            !arch.is_x86(),
            format_args!("<maxphysaddr> is for x86 guests, not '{arch}'"),
        )?;
        refuse_if(
            size.mode == CpuMaxPhysAddrMode::Passthrough && size.bits.is_some(),
            "<maxphysaddr mode='passthrough'> takes no 'bits'",
        )?;
    }
    Ok(())
}

/// What devices of a kind may not be together.
fn devices(domain: &Domain) -> Result<()> {
    let devices = &domain.devices;
    refuse_if(
        !devices.parallels.is_empty() && !has_isa(domain),
        "a <parallel> needs an ISA bus, which this architecture has not",
    )?;
    let proxies = devices
        .tpms
        .iter()
        .filter(|tpm| tpm.model == Some(TpmModel::SpaprTpmProxy))
        .count();
    refuse_if(
        proxies > 1,
        format_args!("{proxies} <tpm> are of model 'spapr-tpm-proxy': one is all"),
    )?;
    refuse_if(
        devices.tpms.len() - proxies > 1,
        format_args!(
            "{} <tpm> beside the proxy: one is all",
            devices.tpms.len() - proxies
        ),
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

/// Checks the place of a device, and what depends on it.
fn place(domain: &Domain, device: DeviceRef, guest: Guest<'_>) -> Result<()> {
    let Some(info) = device_info(domain, device) else {
        return Ok(());
    };
    match &info.address {
        Some(Address::Pci(at)) => {
            if let Some(zpci) = at.zpci.filter(|zpci| *zpci != Zpci::default()) {
                refuse_if(!guest.caps.has(Flag::DeviceZpci), lacks("<zpci>"))?;
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
                "reg='0x{:x}' of a spapr-vio address is above 0xffffffff",
                at.reg.unwrap_or_default()
            ),
        )?,
        Some(Address::VirtioS390) => {
            return Err(unsupported(
                "addresses of type 'virtio-s390' are gone: 'ccw' has taken their place",
            ));
        }
        Some(Address::Ccw(_)) => refuse_if(
            !machine(domain, guest.arch).is_s390_ccw(),
            format_args!(
                "machine '{}' has no addresses of type 'ccw'",
                domain.os.kind.machine.as_deref().unwrap_or_default()
            ),
        )?,
        // What is no drive and says that it is at the place of one can but be on SCSI.
        Some(Address::Drive(at)) => {
            let bus = match device {
                DeviceRef::Disk(disk) => domain.devices.disks.get(disk).and_then(Disk::bus),
                _ => Some(DiskBus::Scsi),
            };
            drive::place(domain, at, bus, guest)?;
        }
        _ => {}
    }
    let pci = matches!(info.address, None | Some(Address::Pci(_)));
    if info.acpi_index.is_some_and(|index| index != 0) {
        refuse_if(!guest.caps.has(Flag::AcpiIndex), lacks("<acpi index='…'>"))?;
        refuse_if(!pci, "<acpi index='…'> is for PCI devices only")?;
    }
    let unassigned = matches!(info.address, Some(Address::Unassigned));
    refuse_if(
        info.rom.is_some() && !pci && !unassigned,
        "<rom> is for PCI devices only",
    )
}

/// Checks one device.
pub(super) fn device(domain: &Domain, device: DeviceRef, guest: Guest<'_>) -> Result<()> {
    place(domain, device, guest)?;
    let devices = &domain.devices;
    match device {
        DeviceRef::Disk(at) => devices.disks.get(at).map_or(Ok(()), |one| {
            disk(one, guest)?;
            drive::front(domain, one, guest)?;
            sharing::image(domain, one, guest)?;
            storage::chain(one, guest)
        }),
        DeviceRef::Filesystem(at) => devices
            .filesystems
            .get(at)
            .map_or(Ok(()), |one| storage::filesystem(domain, one, guest)),
        DeviceRef::Parallel(at) => {
            if let Some(one) = devices.parallels.get(at) {
                chardev::source(domain, &one.host.source, guest)?;
            }
            refuse_if(
                guest.arch.is_s390() || machine(domain, guest.arch).is_pseries(),
                format_args!(
                    "architecture '{}' and its machine have no parallel ports",
                    guest.arch
                ),
            )
        }
        DeviceRef::Input(at) => devices
            .inputs
            .get(at)
            .map_or(Ok(()), |one| small::input(domain, one, guest)),
        DeviceRef::Interface(at) => devices
            .interfaces
            .get(at)
            .map_or(Ok(()), |one| network::interface(domain, one, guest)),
        DeviceRef::Tpm(at) => {
            let Some(tpm) = devices.tpms.get(at) else {
                return Ok(());
            };
            display::tpm(tpm, guest)
        }
        DeviceRef::Graphics(at) => devices
            .graphics
            .get(at)
            .map_or(Ok(()), |one| display::graphics(domain, one, guest)),
        DeviceRef::Audio(at) => devices
            .audios
            .get(at)
            .map_or(Ok(()), |one| display::audio(domain, one, guest)),
        DeviceRef::Watchdog(at) => devices
            .watchdogs
            .get(at)
            .map_or(Ok(()), |one| guest::watchdog(domain, one, guest)),
        DeviceRef::Controller(at) => devices
            .controllers
            .get(at)
            .map_or(Ok(()), |one| drive::controller(domain, one, guest)),
        DeviceRef::Iommu => devices
            .iommu
            .as_ref()
            .map_or(Ok(()), |one| memory::iommu(domain, one, guest)),
        DeviceRef::Memory(at) => devices
            .memory
            .get(at)
            .map_or(Ok(()), |one| memory::device(domain, one, guest)),
        DeviceRef::Serial(at) => devices
            .serials
            .get(at)
            .map_or(Ok(()), |one| chardev::serial(domain, one, guest)),
        DeviceRef::Channel(at) => devices
            .channels
            .get(at)
            .map_or(Ok(()), |one| chardev::source(domain, &one.host.source, guest)),
        DeviceRef::Console(at) => devices
            .consoles
            .get(at)
            .map_or(Ok(()), |one| chardev::source(domain, &one.host.source, guest)),
        DeviceRef::Smartcard(at) => devices
            .smartcards
            .get(at)
            .map_or(Ok(()), |one| chardev::smartcard(domain, one, guest)),
        DeviceRef::Rng(at) => devices
            .rngs
            .get(at)
            .map_or(Ok(()), |one| chardev::rng(domain, one, guest)),
        DeviceRef::Shmem(at) => devices
            .shmems
            .get(at)
            .map_or(Ok(()), |one| small::shmem(one, guest)),
        DeviceRef::Hostdev(at) => devices
            .hostdevs
            .get(at)
            .map_or(Ok(()), |one| passed::hostdev(domain, one, guest)),
        DeviceRef::Redirdev(at) => devices
            .redirdevs
            .get(at)
            .map_or(Ok(()), |one| passed::redirdev(domain, one, guest)),
        DeviceRef::Sound(at) => devices
            .sounds
            .get(at)
            .map_or(Ok(()), |one| small::sound(one, guest)),
        DeviceRef::Hub(at) => devices.hubs.get(at).map_or(Ok(()), |one| small::hub(one, guest)),
        DeviceRef::Crypto(at) => devices
            .cryptos
            .get(at)
            .map_or(Ok(()), |one| small::crypto(one, guest)),
        DeviceRef::Memballoon => devices
            .memballoon
            .as_ref()
            .map_or(Ok(()), |one| small::memballoon(one, guest)),
        DeviceRef::Nvram => devices
            .nvram
            .as_ref()
            .map_or(Ok(()), |one| small::nvram(domain, one, guest)),
        DeviceRef::Pstore => devices
            .pstore
            .as_ref()
            .map_or(Ok(()), |one| small::pstore(one, guest)),
        DeviceRef::Vsock => small::vsock(guest),
        DeviceRef::Video(at) => devices
            .videos
            .get(at)
            .map_or(Ok(()), |one| display::video(domain, one, guest)),
        _ => Ok(()),
    }
}

/// Whether there is a program for a TPM that QEMU leaves to one, and whether it knows the version.
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
                    "no software for TPM version '{}' is installed",
                    version.map_or("", TpmVersion::as_str)
                ),
            )
        }
        Some(TpmBackend::External { .. }) => refuse_if(
            known.is_empty(),
            "swtpm is not installed, which TPM backend type 'external' needs",
        ),
        _ => Ok(()),
    }
}

fn disk(disk: &virt_conf::domain::disk::Disk, guest: Guest<'_>) -> Result<()> {
    let name = disk.target.dev.as_str();
    let bus = disk.bus();
    refuse_if(
        disk.is_empty() && !matches!(disk.device, DiskDevice::Cdrom | DiskDevice::Floppy),
        format_args!(
            "a disk on bus '{}' that is no CD-ROM or floppy needs a <source>",
            bus.map_or("", DiskBus::as_str)
        ),
    )?;
    refuse_if(
        bus == Some(DiskBus::Usb) && disk.is_empty(),
        "a disk on bus 'usb' needs a <source>",
    )?;
    refuse_if(
        bus == Some(DiskBus::Virtio)
            && disk.device == DiskDevice::Lun
            && !guest.caps.has(Flag::VirtioBlkScsi),
        lacks("device='lun' on bus 'virtio'"),
    )?;
    match disk_name_parts(name) {
        None => Err(unsupported(format_args!("'{name}' is no name of a disk"))),
        Some((_, partition)) => refuse_if(
            partition != 0,
            format_args!("'{name}' names a partition: a target is a whole disk"),
        ),
    }
}
