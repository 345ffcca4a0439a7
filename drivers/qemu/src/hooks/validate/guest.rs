//! What QEMU cannot do with a guest as a whole, beside what [`super`] says of machines and features.

use virt_conf::domain::Domain;
use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::clock::{ClockBase, TickPolicy, Timer, TimerName, TimerTrack};
use virt_conf::domain::features::Features;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::domain::memory::{MemoryAccess, MemoryAllocation, MemorySource};
use virt_conf::domain::os::AcpiTableType;
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::small::{Watchdog, WatchdogModel};
use virt_conf::domain::{Address, VirtType};
use virt_conf::sysinfo::Sysinfo;
use virt_util::Result;
use virt_util::arch::Arch;

use super::{lacks, refuse_if, unsupported};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

/// The last second that QEMU's clock can be set to: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
/// Processors that old interrupt controllers can address.
const MOST_WITHOUT_EIM: u32 = 255;

/// Checks what concerns the machine and no feature of it: threads, clock, power, boot, processors.
pub(super) fn machine_wide(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    threads(domain, guest)?;
    clock(domain, guest)?;
    refuse_if(
        domain
            .pm
            .is_some_and(|pm| pm.suspend_to_mem.is_some() || pm.suspend_to_disk.is_some())
            && !guest.arch.is_x86(),
        format_args!(
            "<suspend-to-mem> and <suspend-to-disk> are for x86 guests, not '{}'",
            guest.arch
        ),
    )?;
    boot(domain, guest)?;
    processors(domain, guest)?;
    let groups = domain
        .cpu_tune
        .as_ref()
        .is_some_and(|tune| !tune.resource_groups.is_empty());
    refuse_if(
        groups && domain.virt_type != VirtType::Kvm,
        format_args!(
            "<cachetune> and <memorytune> are for guests of type 'kvm', not '{}'",
            domain.virt_type
        ),
    )
}

/// Checks features that [`super`] leaves.
pub(super) fn features(domain: &Domain, features: &Features, guest: Guest<'_>) -> Result<()> {
    let kind = machine(domain, guest.arch);
    refuse_if(
        features.vmport.is_some()
            && !(guest.caps.has(Flag::MachineVmportOpt)
                && (kind.is_i440fx() || kind.is_q35() || kind.is_isapc())),
        lacks("<vmport> for this machine"),
    )?;
    refuse_if(
        features.pmu.is_some_and(|pmu| !pmu.on) && guest.arch.is_ppc64(),
        "<pmu state='off'/> is not for ppc64, which always has it",
    )?;
    if let Some(size) = features.tcg_cache {
        refuse_if(
            domain.virt_type != VirtType::Qemu,
            format_args!("<tcg> is for guests of type 'qemu', not '{}'", domain.virt_type),
        )?;
        refuse_if(
            size % 1024 != 0,
            format_args!("<tb-cache> is {size} KiB: expected whole MiB"),
        )?;
    }
    refuse_if(
        features.ras.is_some() && !guest.caps.has(Flag::MachineVirtRas),
        lacks("<ras>"),
    )?;
    refuse_if(
        features.aia.is_some() && !guest.caps.has(Flag::MachineVirtAia),
        lacks("<aia>"),
    )
}

pub(super) fn actions(domain: &Domain) -> Result<()> {
    use LifecycleAction as A;
    let (off, reboot, crash) = (domain.on_poweroff, domain.on_reboot, domain.on_crash);
    refuse_if(
        [off, reboot, crash].contains(&A::RenameRestart),
        "QEMU does not take the action 'rename-restart': expected 'destroy', 'restart' or 'preserve'",
    )?;
    refuse_if(
        [off, reboot].contains(&A::Preserve),
        "QEMU takes the action 'preserve' in <on_crash> only",
    )?;
    refuse_if(
        off == A::Restart && reboot == A::Destroy,
        "<on_poweroff> 'restart' and <on_reboot> 'destroy' exclude each other in QEMU",
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
        lacks("thread_pool_min and thread_pool_max"),
    )
}

fn clock(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    for one in &domain.clock.timers {
        timer(domain, one, guest)?;
    }
    refuse_if(
        matches!(domain.clock.base, ClockBase::Absolute { start } if start > LAST_SECOND),
        format_args!(
            "<clock offset='absolute'> starts at {LAST_SECOND} at the latest, the end of the year 9999"
        ),
    )
}

fn timer(domain: &Domain, timer: &Timer, guest: Guest<'_>) -> Result<()> {
    let (name, arch) = (timer.name, guest.arch);
    let here = format!("is not for {arch} guests of type '{}'", domain.virt_type);
    let policy = timer.tick_policy;
    let refused =
        |what: TickPolicy| unsupported(format_args!("timer '{name}' does not take tickpolicy '{what}'"));
    match name {
        TimerName::Platform => Err(unsupported(format_args!("QEMU has no timer '{name}'"))),
        TimerName::Tsc | TimerName::Kvmclock | TimerName::Hypervclock => refuse_if(
            !arch.is_x86() && timer.present == Some(true),
            format_args!("timer '{name}' {here}"),
        ),
        TimerName::Rtc => {
            refuse_if(
                timer.track == Some(TimerTrack::Boot),
                "timer 'rtc' does not take track='boot'",
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
            format_args!("timer '{name}' is for x86 guests, not '{arch}'"),
        ),
        TimerName::Armvtimer => {
            refuse_if(
                domain.virt_type != VirtType::Kvm || !machine(domain, arch).is_arm_virt(),
                format_args!("timer '{name}' {here}"),
            )?;
            refuse_if(
                timer.present == Some(false),
                format_args!("timer '{name}' is always there: remove present='no'"),
            )?;
            refuse_if(
                !guest.caps.has(Flag::CpuKvmNoAdjvtime),
                lacks("settings of this timer"),
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
        "QEMU needs no boot loader: remove <bootloader>",
    )?;
    if os.loader.as_ref().and_then(|loader| loader.secure) == Some(true) {
        refuse_if(
            !machine(domain, guest.arch).is_q35(),
            "<loader secure='yes'> is for machine 'q35' only",
        )?;
        refuse_if(
            guest.arch != Arch::X86_64,
            format_args!("<loader secure='yes'> is for x86_64 guests, not '{}'", guest.arch),
        )?;
        let managed = domain
            .features
            .as_ref()
            .and_then(|features| features.smm)
            .is_some_and(|smm| smm.on);
        refuse_if(
            os.firmware.is_none() && !managed,
            "<loader secure='yes'> needs <smm state='on'/> in <features>",
        )?;
    }
    refuse_if(
        os.acpi_tables
            .iter()
            .any(|table| table.kind == AcpiTableType::Rawset),
        "QEMU takes no ACPI <table> of type 'rawset'",
    )?;
    refuse_if(
        os.shim.is_some() && !guest.caps.has(Flag::MachineShim),
        lacks("<shim>"),
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
            format_args!(
                "the <topology> has {} CPUs, <vcpu> {most}",
                whole.unwrap_or_default()
            ),
        )?;
        let step = if kind.is_pseries() { topology.threads } else { 1 };
        refuse_if(
            step != 0 && !domain.vcpus.online().is_multiple_of(step),
            format_args!(
                "{} CPUs at start: the machine takes a multiple of {step}",
                domain.vcpus.online()
            ),
        )?;
    }
    if guest.arch.is_x86() && most > MOST_WITHOUT_EIM {
        refuse_if(
            !kind.is_q35(),
            format_args!("{most} CPUs need machine 'q35': others take {MOST_WITHOUT_EIM}"),
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
                "{most} CPUs need an <iommu> with <driver eim='on'/>: without, the machine takes {MOST_WITHOUT_EIM}"
            ),
        )?;
    }
    Ok(())
}

pub(super) fn memory(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let numa = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
    let tells_speeds = numa.is_some_and(|numa| {
        !numa.interconnects.is_empty() || numa.cells.iter().any(|cell| !cell.caches.is_empty())
    });
    refuse_if(
        tells_speeds && !guest.caps.has(Flag::NumaHmat),
        lacks("<interconnects> and <cache> of NUMA cells"),
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
        "<hugepages/> are taken at once, and <allocation mode='ondemand'> takes later",
    )?;
    refuse_if(
        backing.allocation_threads > 0 && !guest.caps.has(Flag::MemoryBackendPreallocThreads),
        lacks("<allocation threads='…'>"),
    )?;
    refuse_if(
        backing.source == Some(MemorySource::Anonymous),
        "<hugepages/> and <source type='anonymous'> exclude each other",
    )?;
    refuse_if(
        backing.source == Some(MemorySource::Memfd) && !guest.caps.has(Flag::ObjectMemoryMemfdHugetlb),
        lacks("<hugepages/> with <source type='memfd'>"),
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
        "<hugepages/> with <access mode='shared'/> need NUMA cells on this machine",
    )
}

/// KiB of a page that is not huge.
const PAGE: u64 = 4;

pub(super) fn consoles(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    for console in &domain.devices.consoles {
        use ConsoleTargetType as T;
        let kind = console.target_type;
        let known = match kind {
            T::Sclp => guest.caps.has(Flag::DeviceSclpconsole),
            T::Sclplm => guest.caps.has(Flag::DeviceSclplmconsole),
            T::Virtio | T::Serial => true,
            _ => false,
        };
        refuse_if(
            !known,
            format_args!("this emulator has no console of target type '{kind}'"),
        )?;
    }
    Ok(())
}

pub(super) fn firmware_entries(domain: &Domain) -> Result<()> {
    for info in domain.sysinfo.iter() {
        let Sysinfo::Fwcfg { entries } = info else {
            continue;
        };
        for entry in entries {
            refuse_if(
                !entry.name.starts_with("opt/"),
                format_args!(
                    "<entry name='{}'>: expected a name that begins with opt/",
                    entry.name
                ),
            )?;
            let reserved = ["opt/ovmf/", "opt/org.qemu/"];
            refuse_if(
                reserved.iter().any(|prefix| entry.name.starts_with(prefix)),
                format_args!(
                    "<entry name='{}'>: names with opt/ovmf/ and opt/org.qemu/ belong to others",
                    entry.name
                ),
            )?;
        }
    }
    Ok(())
}

pub(super) fn watchdogs(domain: &Domain) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for watchdog in domain.devices.watchdogs.iter() {
        let model = watchdog.model;
        refuse_if(
            model != WatchdogModel::I6300esb && !seen.insert(model.as_str()),
            format_args!("a guest has one <watchdog> of model '{model}'"),
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
        format_args!(
            "all <watchdog> share one action, and this one has '{}'",
            watchdog.action
        ),
    )?;
    let kind = machine(domain, guest.arch);
    let (placed, here) = match model {
        WatchdogModel::I6300esb => (!matches!(address, None | Some(Address::Pci(_))), true),
        WatchdogModel::Ib700 => (address.is_some(), kind.is_i440fx()),
        WatchdogModel::Diag288 => (address.is_some(), guest.arch.is_s390()),
        WatchdogModel::Itco => (address.is_some(), kind.is_q35()),
    };
    refuse_if(!here, format_args!("model '{model}' is not for this machine"))?;
    refuse_if(
        placed,
        format_args!("{model} model of watchdog does not support such an address"),
    )
}

pub(super) fn launch_security(domain: &Domain, guest: Guest<'_>) -> Result<()> {
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
            "this emulator has no <launchSecurity type='{}'>",
            security.xml_tag()
        ),
    )?;
    let hashes = matches!(security, LaunchSecurity::Sev(sev) if sev.kernel_hashes.is_some());
    refuse_if(
        hashes && !caps.has(Flag::SevGuestKernelHashes),
        lacks("kernelHashes='…' of <launchSecurity>"),
    )
}

#[cfg(test)]
mod tests {
    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, ask, devices};

    fn judge(machine: &str, inside: &str, flags: &[Flag]) -> Verdict {
        ask(machine, inside, flags, |domain, guest| {
            super::actions(domain)?;
            super::machine_wide(domain, guest)?;
            super::memory(domain, guest)?;
            super::consoles(domain, guest)?;
            super::firmware_entries(domain)?;
            super::watchdogs(domain)?;
            super::launch_security(domain, guest)
        })
    }

    fn features(machine: &str, inside: &str, flags: &[Flag]) -> Verdict {
        let inside = format!("<features>{inside}</features>");
        ask(machine, &inside, flags, |domain, guest| {
            let said = domain.features.as_deref().cloned().unwrap_or_default();
            super::features(domain, &said, guest)
        })
    }

    const Q35: &str = "pc-q35-10.0";

    #[test]
    fn actions_are_those_that_qemu_has() {
        judge(Q35, "<on_crash>preserve</on_crash>", &[]).fine();
        judge(Q35, "<on_crash>rename-restart</on_crash>", &[]).refused("'rename-restart'");
        judge(Q35, "<on_reboot>preserve</on_reboot>", &[]).refused("'preserve'");
        judge(
            Q35,
            "<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot>",
            &[],
        )
        .refused("<on_poweroff>");
    }

    #[test]
    fn timers_are_those_of_the_architecture() {
        let timer = |timer: &str| format!("<clock offset='utc'><timer {timer}/></clock>");
        judge(Q35, &timer("name='platform'"), &[]).refused("'platform'");
        judge(Q35, &timer("name='rtc' track='boot'"), &[]).refused("track='boot'");
        judge(Q35, &timer("name='rtc' tickpolicy='merge'"), &[]).refused("tickpolicy 'merge'");
        let catchup = timer("name='pit' tickpolicy='catchup'");
        judge(Q35, &catchup, &[]).refused("tickpolicy 'catchup'");
        judge(Q35, &catchup, &[Flag::KvmPitTickPolicy]).fine();
        judge("virt", &timer("name='tsc' present='yes'"), &[]).refused("'tsc'");
        judge("virt", &timer("name='hpet' present='yes'"), &[]).refused("'aarch64'");
        let arm = timer("name='armvtimer' tickpolicy='discard'");
        judge(Q35, &arm, &[]).refused("'armvtimer'");
        judge("virt", &arm, &[]).refused("settings of this timer");
        judge("virt", &arm, &[Flag::CpuKvmNoAdjvtime]).fine();
        judge(Q35, "<clock offset='absolute' start='253402300800'/>", &[]).refused("253402300799");
    }

    #[test]
    fn threads_and_sleep_are_what_the_binary_and_the_machine_have() {
        let pool =
            "<iothreads>1</iothreads><iothreadids><iothread id='1' thread_pool_max='4'/></iothreadids>";
        judge(Q35, pool, &[]).refused("thread_pool_max");
        judge(Q35, pool, &[Flag::IothreadThreadPoolMax]).fine();
        let sleep = "<pm><suspend-to-mem enabled='no'/></pm>";
        judge(Q35, sleep, &[]).fine();
        judge("virt", sleep, &[]).refused("<suspend-to-disk>");
    }

    #[test]
    fn processors_fit_their_topology_and_the_machine() {
        let cpus = |count: u32, topology: &str| format!("<vcpu>{count}</vcpu><cpu>{topology}</cpu>");
        let four = "<topology sockets='1' dies='1' clusters='1' cores='2' threads='2'/>";
        judge(Q35, &cpus(4, four), &[]).fine();
        judge(Q35, &cpus(3, four), &[]).refused("<topology>");
        judge("pc-i440fx-10.0", "<vcpu>256</vcpu>", &[]).refused("'q35'");
        judge(Q35, "<vcpu>256</vcpu>", &[]).refused("<driver eim='on'/>");
        let eim = "<vcpu>256</vcpu><devices><iommu model='intel'><driver eim='on'/></iommu></devices>";
        judge(Q35, eim, &[]).fine();
        let one = "<topology sockets='1' dies='1' clusters='1' cores='1' threads='4'/>";
        judge(
            "pseries",
            &format!("<vcpu current='2'>4</vcpu><cpu>{one}</cpu>"),
            &[],
        )
        .refused("a multiple of 4");
    }

    #[test]
    fn huge_pages_come_from_what_has_them() {
        let pages = |rest: &str| {
            format!("<memoryBacking><hugepages><page size='2048'/></hugepages>{rest}</memoryBacking>")
        };
        judge(Q35, &pages(""), &[]).fine();
        judge(Q35, &pages("<allocation mode='ondemand'/>"), &[]).refused("ondemand");
        judge(Q35, &pages("<source type='anonymous'/>"), &[]).refused("anonymous");
        let memfd = pages("<source type='memfd'/>");
        judge(Q35, &memfd, &[]).refused("memfd");
        judge(Q35, &memfd, &[Flag::ObjectMemoryMemfdHugetlb]).fine();
        judge(Q35, &pages("<access mode='shared'/>"), &[]).refused("<access mode='shared'/>");
        let speeds = "<cpu><numa><cell id='0' cpus='0' memory='1024'/>\
            <interconnects><latency initiator='0' target='0' type='access' value='5'/></interconnects></numa></cpu>";
        judge(Q35, speeds, &[]).refused("<interconnects>");
        judge(Q35, speeds, &[Flag::NumaHmat]).fine();
    }

    #[test]
    fn what_boots_the_guest_is_qemus() {
        judge(Q35, "<bootloader>/usr/bin/pygrub</bootloader>", &[]).refused("bootloader");
        judge(Q35, "<launchSecurity type='s390-pv'/>", &[]).refused("<launchSecurity type='s390-pv'>");
        let both = [Flag::S390PvGuest, Flag::MachineConfidentalGuestSupport];
        judge("s390-ccw-virtio", "<launchSecurity type='s390-pv'/>", &both).fine();
        let entry = |name: &str| format!("<sysinfo type='fwcfg'><entry name='{name}'>a</entry></sysinfo>");
        judge(Q35, &entry("opt/com.example/a"), &[]).fine();
        judge(Q35, &entry("etc/a"), &[]).refused("<entry name='etc/a'>");
        judge(Q35, &entry("opt/ovmf/a"), &[]).refused("<entry name='opt/ovmf/a'>");
        let console = "<devices><console type='pty'><target type='xen'/></console></devices>";
        judge(Q35, console, &[]).refused("'xen'");
    }

    #[test]
    fn features_are_those_of_the_machine() {
        features(Q35, "<vmport state='off'/>", &[]).refused("vmport");
        features(Q35, "<vmport state='off'/>", &[Flag::MachineVmportOpt]).fine();
        features("pseries", "<pmu state='off'/>", &[]).refused("<pmu state='off'/>");
        features("virt", "<ras state='on'/>", &[]).refused("<ras>");
        features("virt", "<ras state='on'/>", &[Flag::MachineVirtRas]).fine();
        features(Q35, "<tcg><tb-cache unit='MiB'>8</tb-cache></tcg>", &[]).refused("'qemu'");
    }

    #[test]
    fn watchdogs_are_those_of_the_machine() {
        let dog = |model: &str, action: &str| format!("<watchdog model='{model}' action='{action}'/>");
        devices(Q35, &dog("itco", "reset"), &[]).fine();
        devices("pc-i440fx-10.0", &dog("itco", "reset"), &[]).refused("'itco'");
        devices("pc-i440fx-10.0", &dog("ib700", "reset"), &[]).fine();
        devices(Q35, &dog("diag288", "reset"), &[]).refused("'diag288'");
        let two = format!("{}{}", dog("i6300esb", "reset"), dog("itco", "none"));
        devices(Q35, &two, &[]).refused("<watchdog>");
        let placed = "<watchdog model='itco' action='reset'><address type='pci' slot='3'/></watchdog>";
        devices(Q35, placed, &[]).refused("does not support such an address");
        let twice = dog("itco", "reset").repeat(2);
        judge(Q35, &format!("<devices>{twice}</devices>"), &[]).refused("<watchdog>");
    }
}
