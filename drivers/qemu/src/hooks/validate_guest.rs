//! What QEMU cannot do with a guest as a whole, beside what [`super::validate`] says of machines and features.

use virt_conf::domain::Domain;
use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::clock::{ClockBase, TickPolicy, Timer, TimerName, TimerTrack};
use virt_conf::domain::features::Features;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::domain::memory::{MemoryAccess, MemoryAllocation, MemorySource};
use virt_conf::domain::os::{AcpiTableType, OsType};
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::small::{Watchdog, WatchdogModel};
use virt_conf::domain::{Address, VirtType};
use virt_conf::sysinfo::Sysinfo;
use virt_util::Result;
use virt_util::arch::Arch;

use super::validate::{refuse_if, unsupported};
use super::{Guest, machine};
use crate::capabilities::Flag;

/// The last second that QEMU's clock can be set to: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
/// Processors that old interrupt controllers can address.
const MOST_WITHOUT_EIM: u32 = 255;

/// Checks what does not depend on the machine.
pub(super) fn kind(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let emulator = domain.devices.emulator.as_deref().unwrap_or_default();
    let os = domain.os.kind.os;
    refuse_if(
        os != OsType::Hvm,
        format_args!("Emulator '{emulator}' does not support os type '{os}'"),
    )?;
    actions(domain)?;
    threads(domain, guest)?;
    clock(domain, guest)?;
    refuse_if(
        domain
            .pm
            .is_some_and(|pm| pm.suspend_to_mem.is_some() || pm.suspend_to_disk.is_some())
            && !guest.arch.is_x86(),
        "setting ACPI S3/S4 not supported",
    )?;
    boot(domain, guest)?;
    processors(domain, guest)?;
    let groups = domain
        .cpu_tune
        .as_ref()
        .is_some_and(|tune| !tune.resource_groups.is_empty());
    refuse_if(
        groups && domain.virt_type != VirtType::Kvm,
        "cachetune is only supported for KVM domains",
    )?;
    memory(domain, guest)?;
    consoles(domain, guest)?;
    firmware_entries(domain)?;
    watchdogs(domain)?;
    launch_security(domain, guest)
}

/// Checks features that [`super::validate`] leaves.
pub(super) fn features(domain: &Domain, features: &Features, guest: Guest<'_>) -> Result<()> {
    let kind = machine(domain, guest.arch);
    refuse_if(
        features.vmport.is_some()
            && !(guest.caps.has(Flag::MachineVmportOpt)
                && (kind.is_i440fx() || kind.is_q35() || kind.is_isapc())),
        "vmport is not available with this QEMU binary",
    )?;
    refuse_if(
        features.pmu.is_some_and(|pmu| !pmu.on) && guest.arch.is_ppc64(),
        "PMU is always enabled for this architecture",
    )?;
    if let Some(size) = features.tcg_cache {
        refuse_if(
            domain.virt_type != VirtType::Qemu,
            format_args!(
                "TCG features are incompatible with domain type '{}'",
                domain.virt_type
            ),
        )?;
        refuse_if(
            size % 1024 != 0,
            "tb-cache size must be an integer multiple of MiB",
        )?;
    }
    refuse_if(
        features.ras.is_some() && !guest.caps.has(Flag::MachineVirtRas),
        "ras feature is not available with this QEMU binary",
    )?;
    refuse_if(
        features.aia.is_some() && !guest.caps.has(Flag::MachineVirtAia),
        "aia feature is not available with this QEMU binary",
    )
}

fn actions(domain: &Domain) -> Result<()> {
    use LifecycleAction as A;
    let (off, reboot, crash) = (domain.on_poweroff, domain.on_reboot, domain.on_crash);
    refuse_if(
        [off, reboot, crash].contains(&A::RenameRestart),
        "qemu driver doesn't support the 'rename-restart' action for 'on_reboot'/'on_poweroff'/'on_crash'",
    )?;
    refuse_if(
        [off, reboot].contains(&A::Preserve),
        "qemu driver doesn't support the 'preserve' action for 'on_reboot'/'on_poweroff'",
    )?;
    refuse_if(
        off == A::Restart && reboot == A::Destroy,
        "qemu driver doesn't support 'onReboot' set to 'destroy and 'onPoweroff' set to 'reboot'",
    )
}

fn threads(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let pools = domain
        .iothreads
        .iter()
        .any(|thread| thread.thread_pool_min.is_some() || thread.thread_pool_max.is_some());
    let default = domain
        .default_iothread
        .as_ref()
        .is_some_and(|pool| pool.thread_pool_min.is_some() || pool.thread_pool_max.is_some());
    refuse_if(
        (pools || default) && !guest.caps.has(Flag::IothreadThreadPoolMax),
        "thread_pool_min and thread_pool_max is not supported by this QEMU binary",
    )
}

fn clock(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    for one in &domain.clock.timers {
        timer(domain, one, guest)?;
    }
    refuse_if(
        matches!(domain.clock.base, ClockBase::Absolute { start } if start > LAST_SECOND),
        format_args!("The maximum 'start' value for <clock offset='absolute'> is {LAST_SECOND}"),
    )
}

fn timer(domain: &Domain, timer: &Timer, guest: Guest<'_>) -> Result<()> {
    let (name, arch) = (timer.name, guest.arch);
    let here = format!(
        "is not supported for arch={arch} guests of type {}",
        domain.virt_type
    );
    let policy = timer.tick_policy;
    let refused = |what: TickPolicy| unsupported(format_args!("unsupported {name} tickpolicy '{what}'"));
    match name {
        TimerName::Platform => Err(unsupported(format_args!(
            "unsupported timer type (name) '{name}'"
        ))),
        TimerName::Tsc | TimerName::Kvmclock | TimerName::Hypervclock => refuse_if(
            !arch.is_x86() && timer.present == Some(true),
            format_args!("Configuring the '{name}' timer {here}"),
        ),
        TimerName::Rtc => {
            refuse_if(
                timer.track == Some(TimerTrack::Boot),
                "unsupported rtc timer track 'boot'",
            )?;
            match policy {
                Some(policy @ (TickPolicy::Merge | TickPolicy::Discard)) => Err(refused(policy)),
                _ => Ok(()),
            }
        }
        TimerName::Pit => match policy {
            Some(policy @ TickPolicy::Merge) => Err(refused(policy)),
            Some(policy @ TickPolicy::Catchup) if !guest.caps.has(Flag::KvmPitTickPolicy) => {
                Err(refused(policy))
            }
            _ => Ok(()),
        },
        TimerName::Hpet => refuse_if(
            timer.present == Some(true) && !arch.is_x86(),
            "hpet timer is not supported by this architecture",
        ),
        TimerName::Armvtimer => {
            refuse_if(
                domain.virt_type != VirtType::Kvm || !machine(domain, arch).is_arm_virt(),
                format_args!("Configuring the '{name}' timer {here}"),
            )?;
            refuse_if(
                timer.present == Some(false),
                format_args!("The '{name}' timer can't be disabled"),
            )?;
            refuse_if(
                !guest.caps.has(Flag::CpuKvmNoAdjvtime),
                format_args!("Configuring the '{name}' timer is not supported with this QEMU binary"),
            )?;
            match policy {
                Some(policy @ (TickPolicy::Catchup | TickPolicy::Merge)) => Err(refused(policy)),
                _ => Ok(()),
            }
        }
    }
}

fn boot(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let os = &domain.os;
    refuse_if(
        domain.bootloader.is_some() || domain.bootloader_args.is_some(),
        "bootloader is not supported by QEMU",
    )?;
    if os.loader.as_ref().and_then(|loader| loader.secure) == Some(true) {
        refuse_if(
            !machine(domain, guest.arch).is_q35(),
            "Secure boot is supported with q35 machine types only",
        )?;
        refuse_if(
            guest.arch != Arch::X86_64,
            "Secure boot is supported for x86_64 architecture only",
        )?;
        let managed = domain
            .features
            .as_ref()
            .and_then(|features| features.smm)
            .is_some_and(|smm| smm.on);
        refuse_if(
            os.firmware.is_none() && !managed,
            "Secure boot requires SMM feature enabled",
        )?;
    }
    refuse_if(
        os.acpi_tables
            .iter()
            .any(|table| table.kind == AcpiTableType::Rawset),
        "ACPI table type 'rawset' is not supported",
    )?;
    refuse_if(
        os.shim.is_some() && !guest.caps.has(Flag::MachineShim),
        "shim is not supported by this QEMU binary",
    )
}

fn processors(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let most = domain.vcpus.max;
    let kind = machine(domain, guest.arch);
    if let Some(topology) = domain.cpu.as_ref().and_then(|cpu| cpu.topology.as_ref()) {
        let parts = [
            topology.sockets,
            topology.dies,
            topology.clusters,
            topology.cores,
            topology.threads,
        ];
        let whole = parts
            .into_iter()
            .try_fold(1u32, |product, part| product.checked_mul(part));
        refuse_if(
            whole.is_some_and(|whole| whole != most),
            "CPU topology doesn't match maximum vcpu count",
        )?;
        let step = if kind.is_pseries() { topology.threads } else { 1 };
        refuse_if(
            step != 0 && !domain.vcpus.online().is_multiple_of(step),
            format_args!("vCPUs count must be a multiple of the vCPU hotplug granularity ({step})"),
        )?;
    }
    if guest.arch.is_x86() && most > MOST_WITHOUT_EIM {
        refuse_if(
            !kind.is_q35(),
            format_args!("more than {MOST_WITHOUT_EIM} vCPUs are only supported on q35-based machine types"),
        )?;
        let extended = domain
            .devices
            .iommu
            .as_ref()
            .and_then(|iommu| iommu.driver.as_ref())
            .and_then(|driver| driver.eim);
        refuse_if(
            extended != Some(true),
            format_args!(
                "more than {MOST_WITHOUT_EIM} vCPUs require extended interrupt mode enabled on the iommu device"
            ),
        )?;
    }
    Ok(())
}

fn memory(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let numa = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
    let tells_speeds = numa.is_some_and(|numa| {
        !numa.interconnects.is_empty() || numa.cells.iter().any(|cell| !cell.caches.is_empty())
    });
    refuse_if(
        tells_speeds && !guest.caps.has(Flag::NumaHmat),
        "HMAT is not supported with this QEMU",
    )?;
    let Some(backing) = &domain.memory_backing else {
        return Ok(());
    };
    let Some(pages) = backing
        .huge_pages
        .as_ref()
        .filter(|pages| !pages.pages.is_empty())
    else {
        return Ok(());
    };
    refuse_if(
        backing.allocation == Some(MemoryAllocation::Ondemand),
        "hugepages are not allowed with memory allocation ondemand",
    )?;
    refuse_if(
        backing.allocation_threads > 0 && !guest.caps.has(Flag::MemoryBackendPreallocThreads),
        "preallocation threads are unsupported with this QEMU",
    )?;
    refuse_if(
        backing.source == Some(MemorySource::Anonymous),
        "hugepages are not allowed with anonymous memory source",
    )?;
    refuse_if(
        backing.source == Some(MemorySource::Memfd) && !guest.caps.has(Flag::ObjectMemoryMemfdHugetlb),
        "hugepages is not supported with memfd memory source",
    )?;
    let name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let named = guest
        .caps
        .machine(guest.accel, name)
        .is_some_and(|machine| machine.default_ram_id.is_some());
    let plain = pages.pages.first().is_some_and(|page| page.size == PAGE);
    refuse_if(
        !named
            && !plain
            && numa.is_none_or(|numa| numa.cells.is_empty())
            && backing.access == Some(MemoryAccess::Shared),
        "memory access mode 'shared' not supported without guest numa node",
    )
}

/// KiB of a page that is not huge.
const PAGE: u64 = 4;

fn consoles(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    for console in &domain.devices.consoles {
        use ConsoleTargetType as T;
        let kind = console.target_type;
        let known = match kind {
            T::Sclp => guest.caps.has(Flag::DeviceSclpconsole),
            T::Sclplm => guest.caps.has(Flag::DeviceSclplmconsole),
            T::Virtio | T::Serial => true,
            _ => false,
        };
        refuse_if(!known, format_args!("unsupported console target type {kind}"))?;
    }
    Ok(())
}

fn firmware_entries(domain: &Domain) -> Result<()> {
    for info in domain.sysinfo.iter() {
        let Sysinfo::Fwcfg { entries } = info else {
            continue;
        };
        for entry in entries {
            refuse_if(!entry.name.starts_with("opt/"), "Invalid firmware name")?;
            let reserved = ["opt/ovmf/", "opt/org.qemu/"];
            refuse_if(
                reserved.iter().any(|prefix| entry.name.starts_with(prefix)),
                "That firmware name is reserved",
            )?;
        }
    }
    Ok(())
}

fn watchdogs(domain: &Domain) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for watchdog in domain.devices.watchdogs.iter() {
        let model = watchdog.model;
        refuse_if(
            model != WatchdogModel::I6300esb && !seen.insert(model.as_str()),
            format_args!("domain can only have one watchdog with model '{model}'"),
        )?;
    }
    Ok(())
}

/// Checks a watchdog.
pub(super) fn watchdog(domain: &Domain, watchdog: &Watchdog, guest: Guest<'_>) -> Result<()> {
    let model = watchdog.model;
    let address = watchdog.info.address.as_ref();
    let first = domain.devices.watchdogs.first().map(|first| first.action);
    refuse_if(
        first.is_some_and(|first| first != watchdog.action),
        "watchdogs with different actions are not supported with this QEMU binary",
    )?;
    let kind = machine(domain, guest.arch);
    let (placed, here) = match model {
        WatchdogModel::I6300esb => (!matches!(address, None | Some(Address::Pci(_))), true),
        WatchdogModel::Ib700 => (address.is_some(), kind.is_i440fx()),
        WatchdogModel::Diag288 => (address.is_some(), guest.arch.is_s390()),
        WatchdogModel::Itco => (address.is_some(), kind.is_q35()),
    };
    refuse_if(
        !here,
        format_args!("{model} model of watchdog cannot be used with this machine type"),
    )?;
    refuse_if(
        placed,
        format_args!("{model} model of watchdog does not support such an address"),
    )
}

fn launch_security(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let Some(security) = domain.launch_security.as_deref() else {
        return Ok(());
    };
    let caps = guest.caps;
    let known = match security {
        LaunchSecurity::Sev(_) => caps.has(Flag::SevGuest),
        LaunchSecurity::SevSnp(_) => caps.has(Flag::SevSnpGuest),
        LaunchSecurity::S390Pv => {
            caps.has(Flag::S390PvGuest) && caps.has(Flag::MachineConfidentalGuestSupport)
        }
    };
    refuse_if(
        !known,
        format_args!(
            "'{}' launch security is not supported with this QEMU binary",
            security.xml_tag()
        ),
    )?;
    let hashes = matches!(security, LaunchSecurity::Sev(sev) if sev.kernel_hashes.is_some());
    refuse_if(
        hashes && !caps.has(Flag::SevGuestKernelHashes),
        "SEV measured direct kernel boot is not supported with this QEMU binary",
    )
}
