//! Firmware, boot, clock, power and what the firmware tells the guest.

use virt_conf::domain::clock::{ClockBase, ClockBasis, TickPolicy, TimerName, TimerTrack};
use virt_conf::domain::os::{AcpiTableType, LoaderType, SmbiosMode};
use virt_conf::domain::{Domain, Genid, small::IommuModel};
use virt_conf::sysinfo::Sysinfo;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{Props, escape_commas};
use super::block::pflash_nodes;
use super::device::alias;
use super::machine::Options;
use crate::capabilities::Flag;

fn unsupported(what: &str) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ss`.
pub fn iso_time(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    // Civil date of a day number, eras of 400 years beginning in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn table(kind: u32, entries: &[(&str, &Option<String>)]) -> String {
    let mut value = format!("type={kind}");
    for (key, text) in entries {
        if let Some(text) = text {
            value.push_str(&format!(",{key}={}", escape_commas(text)));
        }
    }
    value
}

impl Builder<'_> {
    pub(super) fn firmware_images(&mut self) -> Result<()> {
        let (code, variables) = pflash_nodes(&self.domain.os, self.caps)?;
        for image in code.iter().chain(&variables) {
            for props in &image.props {
                self.command.blockdev(props);
            }
        }
        Ok(())
    }

    pub(super) fn loader(&mut self) {
        let Some(loader) = &self.domain.os.loader else {
            return;
        };
        match loader.kind {
            Some(LoaderType::Rom) => self
                .command
                .option("-bios", loader.path.clone().unwrap_or_default()),
            Some(LoaderType::Pflash) if loader.secure == Some(true) => {
                self.command
                    .option("-global", "driver=cfi.pflash01,property=secure,value=on");
            }
            _ => {}
        }
    }

    pub(super) fn smbios(&mut self) -> Result<()> {
        match self.domain.os.smbios {
            SmbiosMode::None | SmbiosMode::Emulate => return Ok(()),
            SmbiosMode::Host => {
                return Err(unsupported(
                    "<smbios mode='host'> is not for QEMU: expected 'emulate' or 'sysinfo'",
                ));
            }
            SmbiosMode::Sysinfo => {}
        }
        let tables = self.domain.sysinfo.iter().find_map(|info| match info {
            Sysinfo::Smbios(tables) => Some(tables),
            Sysinfo::Fwcfg { .. } => None,
        });
        let Some(tables) = tables else {
            let what = "<smbios mode='sysinfo'> needs <sysinfo type='smbios'>";
            return Err(VirtError::new(ErrorCode::XML_ERROR, what));
        };
        if let Some(bios) = &tables.bios {
            let entries = [
                ("vendor", &bios.vendor),
                ("version", &bios.version),
                ("date", &bios.date),
                ("release", &bios.release),
            ];
            self.command.option("-smbios", table(0, &entries));
        }
        if let Some(system) = &tables.system {
            let entries = [
                ("manufacturer", &system.manufacturer),
                ("product", &system.product),
                ("version", &system.version),
                ("serial", &system.serial),
                ("uuid", &system.uuid),
                ("sku", &system.sku),
                ("family", &system.family),
            ];
            self.command.option("-smbios", table(1, &entries));
        }
        if tables.base_boards.len() > 1 {
            return Err(unsupported("QEMU takes one <baseBoard> of <sysinfo>"));
        }
        for board in &tables.base_boards {
            let manufacturer = Some(board.manufacturer.clone().unwrap_or_default());
            let entries = [
                ("manufacturer", &manufacturer),
                ("product", &board.product),
                ("version", &board.version),
                ("serial", &board.serial),
                ("asset", &board.asset),
                ("location", &board.location),
            ];
            self.command.option("-smbios", table(2, &entries));
        }
        if let Some(chassis) = &tables.chassis {
            let manufacturer = Some(chassis.manufacturer.clone().unwrap_or_default());
            let entries = [
                ("manufacturer", &manufacturer),
                ("version", &chassis.version),
                ("serial", &chassis.serial),
                ("asset", &chassis.asset),
                ("sku", &chassis.sku),
            ];
            self.command.option("-smbios", table(3, &entries));
        }
        if let Some(strings) = &tables.oem_strings {
            let mut value = "type=11".to_owned();
            for entry in &strings.entries {
                value.push_str(&format!(",value={}", escape_commas(entry)));
            }
            self.command.option("-smbios", value);
        }
        Ok(())
    }

    pub(super) fn firmware_entries(&mut self) {
        for info in &self.domain.sysinfo {
            let Sysinfo::Fwcfg { entries } = info else {
                continue;
            };
            for entry in entries {
                let rest = match (&entry.value, &entry.file) {
                    (Some(value), _) => format!("string={value}"),
                    (None, Some(file)) => format!("file={file}"),
                    (None, None) => continue,
                };
                self.command
                    .option("-fw_cfg", format!("name={},{rest}", entry.name));
            }
        }
    }

    pub(super) fn generation_id(&mut self) -> Result<()> {
        let Some(Genid::Is(id)) = self.domain.genid else {
            return Ok(());
        };
        let props = Props::device("vmgenid")
            .with("guid", id.to_string())
            .with("id", "vmgenid0");
        self.device(props)
    }

    pub(super) fn clock(&mut self) -> Result<()> {
        let clock = &self.domain.clock;
        let base = match &clock.base {
            ClockBase::Utc { .. } => "utc".to_owned(),
            ClockBase::Localtime { .. } | ClockBase::Timezone { .. } => "localtime".to_owned(),
            ClockBase::Variable {
                adjustment, basis, ..
            } => {
                let local = if *basis == ClockBasis::Localtime {
                    self.host.utc_offset
                } else {
                    0
                };
                iso_time(self.host.now.saturating_add(*adjustment).saturating_add(local))
            }
            ClockBase::Absolute { start } => iso_time(i64::try_from(*start).unwrap_or(i64::MAX / 2)),
        };
        let mut options = Options(format!("base={base}"));
        let name = |name: TimerName| clock.timers.iter().find(move |timer| timer.name == name);
        if let Some(rtc) = name(TimerName::Rtc) {
            match rtc.track {
                None => {}
                Some(TimerTrack::Guest) => options.put("clock", "vm"),
                Some(TimerTrack::Wall) => options.put("clock", "host"),
                Some(TimerTrack::Realtime) => options.put("clock", "rt"),
                Some(TimerTrack::Boot) => return Err(unsupported("timer 'rtc' does not take track='boot'")),
            }
            match rtc.tick_policy {
                None | Some(TickPolicy::Delay) => {}
                Some(TickPolicy::Catchup) => options.put("driftfix", "slew"),
                Some(policy) => {
                    return Err(unsupported(&format!(
                        "timer 'rtc' does not take tickpolicy '{policy}'"
                    )));
                }
            }
        }
        self.command.option("-rtc", options.0);
        if let ClockBase::Timezone { timezone } = &clock.base {
            self.command.set_environment("TZ", timezone.as_str());
        }
        for timer in &clock.timers {
            match (timer.name, timer.tick_policy) {
                (TimerName::Platform, _) => {
                    return Err(unsupported("QEMU has no timer 'platform'"));
                }
                (TimerName::Pit, Some(TickPolicy::Merge)) => {
                    return Err(unsupported("timer 'pit' does not take tickpolicy 'merge'"));
                }
                (TimerName::Pit, policy) if self.caps.has(Flag::KvmPitTickPolicy) => {
                    let word = match policy {
                        None | Some(TickPolicy::Delay) => "delay",
                        Some(TickPolicy::Discard) => "discard",
                        _ => continue,
                    };
                    self.command
                        .option("-global", format!("kvm-pit.lost_tick_policy={word}"));
                }
                (TimerName::Hpet, _)
                    if timer.present == Some(false)
                        && !self.caps.has(Flag::MachineHpet)
                        && self.arch.is_x86() =>
                {
                    self.command.flag("-no-hpet");
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn power_management(&mut self) {
        if !self.caps.has(Flag::SetAction) && !reboots(self.domain) {
            self.command.flag("-no-reboot");
        } else {
            self.command.flag("-no-shutdown");
        }
        let unknown = self.machine_caps.is_none_or(|machine| machine.acpi.is_none());
        if unknown
            && (self.arch.is_x86() || self.arch == virt_util::arch::Arch::Aarch64)
            && !self.features.acpi
        {
            self.command.flag("-no-acpi");
        }
        let Some(pm) = &self.domain.pm else { return };
        let device = if self.machine().is_q35() {
            "ICH9-LPC"
        } else {
            "PIIX4_PM"
        };
        for (state, key) in [(pm.suspend_to_mem, "s3"), (pm.suspend_to_disk, "s4")] {
            if let Some(state) = state {
                self.command
                    .option("-global", format!("{device}.disable_{key}={}", u8::from(!state)));
            }
        }
    }

    pub(super) fn boot(&mut self) -> Result<()> {
        let os = &self.domain.os;
        let mut value = String::new();
        if let Some(enabled) = os.boot_menu.as_ref().and_then(|menu| menu.enable) {
            value.push_str(&format!("menu={},", super::args::on_off(enabled)));
        }
        if let Some(timeout) = os.bios.as_ref().and_then(|bios| bios.reboot_timeout) {
            value.push_str(&format!("reboot-timeout={timeout},"));
        }
        if let Some(timeout) = os.boot_menu.as_ref().and_then(|menu| menu.timeout) {
            value.push_str(&format!("splash-time={timeout},"));
        }
        value.push_str("strict=on");
        self.command.option("-boot", value);
        let files = [
            ("-kernel", &os.kernel),
            ("-initrd", &os.initrd),
            ("-append", &os.cmdline),
            ("-shim", &os.shim),
            ("-dtb", &os.dtb),
        ];
        for (option, value) in files {
            if let Some(value) = &**value {
                self.command.option(option, value.as_str());
            }
        }
        for table in &os.acpi_tables {
            let signature = match table.kind {
                AcpiTableType::Raw | AcpiTableType::Rawset => "",
                AcpiTableType::Slic => "sig=SLIC,",
                AcpiTableType::Msdm => "sig=MSDM,",
            };
            self.command.option(
                "-acpitable",
                format!("{signature}file={}", escape_commas(&table.path)),
            );
        }
        Ok(())
    }

    pub(super) fn iommu(&mut self) -> Result<()> {
        let Some(iommu) = &self.domain.devices.iommu else {
            return Ok(());
        };
        let driver = iommu.driver.clone().unwrap_or_default();
        let props = match iommu.model {
            IommuModel::Smmuv3 => return Ok(()),
            IommuModel::Intel => Props::device("intel-iommu")
                .with("id", alias(&iommu.info)?)
                .on_off("intremap", driver.intremap)
                .maybe("caching-mode", driver.caching_mode)
                .on_off("eim", driver.eim)
                .maybe("device-iotlb", driver.iotlb)
                .positive("aw-bits", driver.aw_bits)
                .maybe("dma-translation", driver.dma_translation),
            IommuModel::Virtio => Props::device("virtio-iommu")
                .with("id", alias(&iommu.info)?)
                .and(self.address(&iommu.info, None)?),
        };
        self.device(props)
    }
}

/// Whether anything that happens to the guest lets it boot again.
pub(crate) fn reboots(domain: &Domain) -> bool {
    use virt_conf::domain::lifecycle::LifecycleAction as Action;
    domain.on_reboot != Action::Destroy
        || domain.on_poweroff != Action::Destroy
        || !matches!(domain.on_crash, Action::Destroy | Action::CoredumpDestroy)
}

#[cfg(test)]
mod tests {
    use super::iso_time;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (1_234_567_890, "2009-02-13T23:31:30"),
            (951_782_400, "2000-02-29T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            assert_eq!(iso_time(seconds), text);
        }
    }
}
