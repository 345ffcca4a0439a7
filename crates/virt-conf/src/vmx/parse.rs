//! `.vmx` file → domain.

use virt_util::bitmap::Bitmap;
use virt_util::conf_file::{ConfValue, Dialect};
use virt_util::uuid::Uuid;
use virt_util::{Result, VirtError};

use super::text::{decode, latin1, unescape_hex};
use super::{VmxContext, VmxHooks, devices, disks};
use crate::cpu::{Cpu, CpuTopology};
use crate::domain::lifecycle::LifecycleAction;
use crate::domain::memory::MemoryTune;
use crate::domain::normalize::{NormalizeContext, NormalizeFlags, Randomness, normalize};
use crate::domain::os::{FirmwareFeature, FirmwareFeatureName, FirmwareType, OsType, SmbiosMode};
use crate::domain::tune::CpuTune;
use crate::domain::{Domain, Genid, VirtType};
use crate::native::{self, Settings};
use crate::values::CpuSet;

/// Greatest number of a host CPU in an affinity, plus one.
const CPU_LIMIT: u32 = 16_384;

/// The settings of a `.vmx` file by type.
pub(super) struct Vmx {
    pub(super) settings: Settings,
}

impl Vmx {
    fn read(file_name: &str, bytes: &[u8]) -> Result<Self> {
        // Names and the encoding's name are ASCII, whatever the rest is.
        let first = Settings::parse(file_name, &latin1(bytes), Dialect::Vmx)?;
        let encoding = first.text(".encoding")?;
        let text = decode(bytes, encoding).map_err(|error| error.context(file_name))?;
        Ok(Self {
            settings: Settings::parse(file_name, &text, Dialect::Vmx)?,
        })
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.settings.get(name) {
            Some(ConfValue::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A text that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.settings.required_text(name)
    }

    /// A whole number; "unlimited" is -1.
    pub(super) fn number(&self, name: &str, default: i64) -> Result<i64> {
        match self.text(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("unlimited") => Ok(-1),
            Some(text) => native::number(text)
                .ok_or_else(|| self.wrong(name, "a whole number or 'unlimited' is expected")),
        }
    }

    /// `true` or `false`.
    pub(super) fn bool(&self, name: &str, default: bool) -> Result<bool> {
        match self.text(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(self.wrong(name, "'true' or 'false' is expected")),
        }
    }

    /// A UUID.
    pub(super) fn uuid(&self, name: &str) -> Result<Option<Uuid>> {
        self.text(name)
            .map(|text| virt_util::uuid::parse(text).map_err(|_| self.wrong(name, "a UUID is expected")))
            .transpose()
    }

    /// What is wrong with a setting.
    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> VirtError {
        self.settings.wrong(name, what)
    }
}

/// Reads a `.vmx` file in whatever encoding it names. `file_name` is for messages.
///
/// # Errors
/// `CONF_SYNTAX` for wrong syntax, `INTERNAL_ERROR` for wrong and missing settings: file, line, name, value and what is
/// allowed.
pub fn parse(file_name: &str, bytes: &[u8], cx: &VmxContext<'_>, random: &dyn Randomness) -> Result<Domain> {
    let vmx = Vmx::read(file_name, bytes)?;
    let mut domain = Domain {
        virt_type: VirtType::Vmware,
        on_poweroff: LifecycleAction::Destroy,
        on_reboot: LifecycleAction::Restart,
        on_crash: LifecycleAction::Destroy,
        ..Domain::default()
    };
    let version = hardware_version(&vmx)?;
    identity(&vmx, &mut domain)?;
    memory(&vmx, &mut domain)?;
    processors(&vmx, &mut domain)?;
    operating_system(&vmx, &mut domain)?;
    domain.devices.graphics.extend(devices::vnc(&vmx)?);
    disks::read(&vmx, &mut domain, cx.files, version)?;
    domain.devices.filesystems = devices::shared_folders(&vmx)?.into();
    domain.devices.interfaces = devices::interfaces(&vmx)?;
    domain.devices.videos.push(devices::video(&vmx)?);
    domain.devices.serials = devices::serials(&vmx, cx.files)?;
    domain.devices.parallels = devices::parallels(&vmx, cx.files)?.into();
    domain.vmware_datacenter_path = cx.datacenter_path.clone().into();
    domain.vmware_moref = cx.moref.clone().into();
    let context = NormalizeContext {
        flags: NormalizeFlags::ABI_UPDATE | NormalizeFlags::NATIVE,
        random,
    };
    normalize(&mut domain, &VmxHooks, &context)?;
    Ok(domain)
}

fn hardware_version(vmx: &Vmx) -> Result<i64> {
    vmx.required("config.version")?;
    if vmx.number("config.version", 0)? != 8 {
        return Err(vmx.wrong("config.version", "'8' is expected"));
    }
    vmx.required("virtualHW.version")?;
    let version = vmx.number("virtualHW.version", 0)?;
    if version < 4 {
        return Err(vmx.wrong("virtualHW.version", "'4' or higher is expected"));
    }
    Ok(version)
}

fn identity(vmx: &Vmx, domain: &mut Domain) -> Result<()> {
    domain.uuid = vmx.uuid("uuid.bios")?;
    if let Some(name) = vmx.text("displayName") {
        domain.name = unescape_hex(name, b'%')
            .and_then(|name| unescape_hex(&name, b'|'))
            .ok_or_else(|| invalid_escape(vmx, "displayName"))?;
    }
    let (high, low) = (vmx.number("vm.genid", 0)?, vmx.number("vm.genidX", 0)?);
    if (high, low) != (0, 0) {
        domain.genid = Some(Genid::Is(Uuid::from_u64_pair(high as u64, low as u64)));
    }
    if let Some(text) = vmx.text("annotation") {
        let text = unescape_hex(text, b'|').ok_or_else(|| invalid_escape(vmx, "annotation"))?;
        domain.description = Some(text);
    }
    Ok(())
}

fn invalid_escape(vmx: &Vmx, name: &str) -> VirtError {
    vmx.wrong(
        name,
        "an escape sequence is invalid: two hexadecimal digits of UTF-8 are expected behind '|' and, in names, '%'",
    )
}

fn memory(vmx: &Vmx, domain: &mut Domain) -> Result<()> {
    let size = vmx.number("memsize", 32)?;
    let kib = |mebibytes: i64| {
        u64::try_from(mebibytes)
            .ok()
            .and_then(|size| size.checked_mul(1024))
    };
    domain.memory.size = kib(size)
        .filter(|_| size > 0 && size % 4 == 0)
        .ok_or_else(|| vmx.wrong("memsize", "a multiple of 4 is expected"))?;
    // What has no limit has that of the guest.
    let limit = |name: &str, unlimited: i64| -> Result<u64> {
        let value = vmx.number(name, unlimited)?;
        let value = if value < 0 { unlimited } else { value };
        Ok(kib(value).unwrap_or(u64::MAX).min(domain.memory.size))
    };
    let (current, least) = (limit("sched.mem.max", size)?, limit("sched.mem.minsize", 0)?);
    domain.current_memory = current;
    if least > 0 {
        domain.memory_tune = Some(Box::new(MemoryTune {
            min_guarantee: Some(least),
            ..MemoryTune::default()
        }));
    }
    Ok(())
}

fn processors(vmx: &Vmx, domain: &mut Domain) -> Result<()> {
    let count = vmx.number("numvcpus", 1)?;
    let vcpus = u32::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| vmx.wrong("numvcpus", "a number greater than 0 is expected"))?;
    domain.vcpus.max = vcpus;
    let cores = vmx.number("cpuid.coresPerSocket", 1)?;
    if cores > 1 {
        let cores = u32::try_from(cores)
            .ok()
            .filter(|cores| *cores <= vcpus)
            .ok_or_else(|| {
                vmx.wrong(
                    "cpuid.coresPerSocket",
                    format_args!("at most 'numvcpus' ({vcpus}) is expected"),
                )
            })?;
        let topology = CpuTopology {
            sockets: vcpus / cores,
            dies: 1,
            clusters: 1,
            cores,
            threads: 1,
        };
        domain.cpu = Some(Box::new(Cpu {
            topology: Some(topology),
            ..Cpu::default()
        }));
    }
    affinity(vmx, domain)?;
    if let Some(shares) = vmx.text("sched.cpu.shares") {
        let of_each = |shares: u64| Some(shares * u64::from(vcpus));
        let shares = match shares.to_ascii_lowercase().as_str() {
            "low" => of_each(500),
            "normal" => of_each(1000),
            "high" => of_each(2000),
            _ => native::number(shares),
        };
        let shares = shares.ok_or_else(|| {
            vmx.wrong(
                "sched.cpu.shares",
                "a number or 'low', 'normal' or 'high' is expected",
            )
        })?;
        domain.cpu_tune = Some(Box::new(CpuTune {
            shares: Some(shares),
            ..CpuTune::default()
        }));
    }
    Ok(())
}

fn affinity(vmx: &Vmx, domain: &mut Domain) -> Result<()> {
    const NAME: &str = "sched.cpu.affinity";
    let Some(list) = vmx.text(NAME).filter(|list| !list.eq_ignore_ascii_case("all")) else {
        return Ok(());
    };
    let numbers: Vec<&str> = if list.is_empty() {
        Vec::new()
    } else {
        list.split(',').collect()
    };
    if numbers.len() < domain.vcpus.max as usize {
        let what = format!(
            "at least as many numbers as 'numvcpus' ({}) are expected, {} found",
            domain.vcpus.max,
            numbers.len()
        );
        return Err(vmx.wrong(NAME, what));
    }
    let mut set = Bitmap::new(0);
    for text in numbers {
        let number = text
            .trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
            .parse::<u32>()
            .ok()
            .filter(|number| *number < CPU_LIMIT)
            .ok_or_else(|| {
                let what =
                    format!("numbers below {CPU_LIMIT} separated by commas are expected, '{text}' found");
                vmx.wrong(NAME, what)
            })?;
        set.grow(number as usize + 1);
        set.set(number as usize);
    }
    domain.vcpus.cpuset = Some(CpuSet(set));
    Ok(())
}

fn operating_system(vmx: &Vmx, domain: &mut Domain) -> Result<()> {
    let os = &mut domain.os;
    os.kind.os = OsType::Hvm;
    let wide = vmx.text("guestOS").is_some_and(|name| name.ends_with("-64"));
    os.kind.arch = Some(if wide { "x86_64" } else { "i686" }.to_owned());
    if vmx.bool("smbios.reflecthost", false)? {
        os.smbios = SmbiosMode::Host;
    }
    match vmx.text("firmware") {
        None => {}
        Some("efi") => os.firmware = Some(FirmwareType::Efi),
        Some(_) => return Err(vmx.wrong("firmware", "'efi' is expected")),
    }
    if vmx.bool("uefi.secureBoot.enabled", false)? && os.firmware == Some(FirmwareType::Efi) {
        // VMware knows one switch for both.
        os.firmware_features = [FirmwareFeatureName::EnrolledKeys, FirmwareFeatureName::SecureBoot]
            .map(|name| FirmwareFeature { enabled: true, name })
            .to_vec()
            .into();
    }
    Ok(())
}
