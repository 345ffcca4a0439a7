//! Configuration files of LXC containers → domains: [`parse`]. Both the names of LXC 3 and those before are understood.
//!
//! Networks are read in `network`.

mod network;

use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::conf_file::{ConfValue, Dialect};
use virt_util::{ErrorCode, Result, VirtError, units};

use crate::domain::chardev::{Console, ConsoleTargetType};
use crate::domain::features::{CapabilitiesPolicy, Capability, Features, ProcessCapabilities};
use crate::domain::filesystem::{Filesystem, FilesystemAccessMode, FilesystemSource, IdMap, IdRange};
use crate::domain::lifecycle::LifecycleAction;
use crate::domain::memory::MemoryTune;
use crate::domain::normalize::{DomainHooks, NormalizeContext, NormalizeFlags, Randomness, normalize};
use crate::domain::os::OsType;
use crate::domain::tune::{BlkioDevice, BlkioTune, CpuTune};
use crate::domain::{Domain, VirtType};
use crate::native::{self, Setting, Settings};
use crate::numa::{NumaPlacement, Numatune, NumatuneMemory};
use crate::values::{CpuSet, MEMORY_UNLIMITED_KIB};

/// KiB of a container that does not say.
const DEFAULT_MEMORY: u64 = 64 * 1024;

/// Greatest number of a CPU or node, plus one.
const CPU_LIMIT: usize = 16_384;

/// Most terminals of a container.
const CONSOLE_LIMIT: u32 = u16::MAX as u32;

/// What every container has mounted: entries for these say nothing.
const BASIC_MOUNTS: &[&str] = &[
    "/proc",
    "/proc/sys",
    "/proc/sys/net/ipv4",
    "/proc/sys/net/ipv6",
    "/sys",
    "/sys/kernel/security",
    "/sys/fs/selinux",
];

/// The settings of a container.
struct Conf {
    settings: Settings,
}

impl Conf {
    fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(as_text)
    }

    /// The value by its name of LXC 3, otherwise by the one before.
    fn either<'a>(&self, new: &'a str, old: &'a str) -> Option<(&'a str, &str)> {
        let new = self.text(new).map(|text| (new, text));
        new.or_else(|| Some((old, self.text(old)?)))
    }

    /// All settings, with their texts.
    fn entries(&self) -> impl Iterator<Item = (&Setting, &str)> {
        self.settings
            .entries()
            .iter()
            .filter_map(|entry| Some((entry, as_text(&entry.value)?)))
    }

    fn number<T: virt_util::xml::XmlInteger>(&self, name: &str) -> Result<Option<T>> {
        self.text(name)
            .map(|text| native::number(text).ok_or_else(|| self.wrong(name, "a number is expected")))
            .transpose()
    }

    /// A number without a sign, for which a negative one stands as C has them.
    fn wrapped(&self, name: &str) -> Result<Option<u64>> {
        match self.text(name).and_then(native::number::<i64>) {
            Some(number) => Ok(Some(number.cast_unsigned())),
            None => self.number(name),
        }
    }

    fn wrong(&self, name: &str, what: impl std::fmt::Display) -> VirtError {
        self.settings.wrong(name, what)
    }

    fn wrong_entry(&self, entry: &Setting, what: impl std::fmt::Display) -> VirtError {
        self.settings.wrong_entry(entry, what)
    }
}

fn as_text(value: &ConfValue) -> Option<&str> {
    match value {
        ConfValue::String(text) => Some(text),
        _ => None,
    }
}

/// Words between blanks.
fn words(text: &str) -> Vec<&str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect()
}

/// Reads the configuration of a container. `file_name` is for messages.
///
/// # Errors
/// `CONF_SYNTAX` for wrong syntax, `INTERNAL_ERROR` for wrong and missing settings (file, line, name, value and what is
/// allowed), `ARGUMENT_UNSUPPORTED` for a separate table of mounts, `INVALID_ARG` for addresses; and those of the driver.
pub fn parse(
    file_name: &str,
    text: &str,
    hooks: &dyn DomainHooks,
    random: &dyn Randomness,
) -> Result<Domain> {
    let conf = Conf {
        settings: Settings::parse(file_name, text, Dialect::Lxc)?,
    };
    let mut domain = Domain {
        virt_type: VirtType::Lxc,
        uuid: Some(random.uuid()),
        on_poweroff: LifecycleAction::Destroy,
        on_reboot: LifecycleAction::Restart,
        on_crash: LifecycleAction::Destroy,
        ..Domain::default()
    };
    domain.memory.size = DEFAULT_MEMORY;
    domain.os.kind.os = OsType::Exe;
    domain.os.kind.arch = conf.text("lxc.arch").and_then(arch);
    domain.os.init = Some("/sbin/init".to_owned()).into();
    let (_, name) = conf
        .either("lxc.uts.name", "lxc.utsname")
        .ok_or_else(|| conf.wrong("lxc.uts.name", "an essential setting is missing"))?;
    name.clone_into(&mut domain.name);
    mounts(&conf, &mut domain)?;
    network::read(&conf, &mut domain)?;
    consoles(&conf, &mut domain)?;
    domain.idmap = id_map(&conf)?.map(Box::new);
    memory(&conf, &mut domain)?;
    processors(&conf, &mut domain)?;
    domain.blkio_tune = block_io(&conf)?.map(Box::new);
    capabilities(&conf, &mut domain);
    let context = NormalizeContext {
        flags: NormalizeFlags::ABI_UPDATE | NormalizeFlags::NATIVE,
        random,
    };
    normalize(&mut domain, hooks, &context)?;
    Ok(domain)
}

fn arch(name: &str) -> Option<String> {
    let arch = match name {
        "x86" => Some(Arch::I686),
        "amd64" => Some(Arch::X86_64),
        name => Arch::from_name(name),
    };
    arch.map(|arch| arch.name().to_owned())
}

fn filesystem(source: FilesystemSource, target: &str, read_only: bool) -> Filesystem {
    Filesystem {
        access_mode: Some(FilesystemAccessMode::Passthrough),
        source,
        target: Some(target.to_owned()),
        read_only,
        ..Filesystem::default()
    }
}

/// A folder, or a device if it is one by its path.
fn mount_source(path: &str) -> FilesystemSource {
    let path_or = Some(path.to_owned());
    if path.starts_with("/dev/") {
        FilesystemSource::Block { dev: path_or }
    } else {
        FilesystemSource::Mount {
            dir: path_or,
            socket: None,
        }
    }
}

fn mounts(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let (_, root) = conf
        .either("lxc.rootfs.path", "lxc.rootfs")
        .ok_or_else(|| conf.wrong("lxc.rootfs.path", "an essential setting is missing"))?;
    domain
        .devices
        .filesystems
        .push(filesystem(mount_source(root), "/", false));
    if let Some((name, _)) = conf.either("lxc.mount.fstab", "lxc.mount") {
        let place = conf.wrong(name, "lines 'lxc.mount.entry' are expected instead");
        return Err(VirtError::new(ErrorCode::ARGUMENT_UNSUPPORTED, place.detail()));
    }
    for (entry, line) in conf
        .entries()
        .filter(|(entry, _)| entry.name == "lxc.mount.entry")
    {
        let parts = words(line);
        let [source, target, kind, options, ..] = parts.as_slice() else {
            return Err(conf.wrong_entry(entry, "source, target, type and options are expected"));
        };
        let target = if target.starts_with('/') {
            (*target).to_owned()
        } else {
            format!("/{target}")
        };
        if BASIC_MOUNTS.contains(&target.as_str()) {
            continue;
        }
        let source = if *kind == "tmpfs" {
            let size = options
                .split(',')
                .find_map(|option| option.strip_prefix("size="))
                .ok_or_else(|| conf.wrong_entry(entry, "the option 'size' is expected for a tmpfs"))?;
            let bytes = size_of(size).ok_or_else(|| {
                conf.wrong_entry(entry, format_args!("the size '{size}' is none such as '64M'"))
            })?;
            FilesystemSource::Ram { usage: bytes / 1024 }
        } else {
            mount_source(source)
        };
        let read_only = options.split(',').any(|option| option == "ro");
        domain
            .devices
            .filesystems
            .push(filesystem(source, &target, read_only));
    }
    Ok(())
}

/// Bytes of `64M`; `-1` is as much as there is.
fn size_of(text: &str) -> Option<u64> {
    if text.starts_with('-') {
        return native::number::<i64>(text).map(i64::cast_unsigned);
    }
    // Blanks may stand before the number, and nowhere else.
    let text = text.trim_ascii_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.contains(|c: char| c.is_ascii_whitespace()) {
        return None;
    }
    units::parse_size(text, 1, u64::MAX).ok()
}

fn consoles(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let Some((name, text)) = conf.either("lxc.tty.max", "lxc.tty") else {
        return Ok(());
    };
    let count = native::number::<u32>(text)
        .filter(|count| *count <= CONSOLE_LIMIT)
        .ok_or_else(|| conf.wrong(name, format_args!("a number up to {CONSOLE_LIMIT} is expected")))?;
    domain.devices.consoles = (0..count)
        .map(|port| Console {
            target_type: ConsoleTargetType::Lxc,
            port: Some(port),
            ..Console::default()
        })
        .collect();
    Ok(())
}

fn id_map(conf: &Conf) -> Result<Option<IdMap>> {
    let mut map = IdMap::default();
    let entries = conf
        .entries()
        .filter(|(entry, _)| matches!(entry.name.as_str(), "lxc.idmap" | "lxc.id_map"));
    for (entry, text) in entries {
        let words = words(text);
        let number = |at: usize| words.get(at).and_then(|word| native::number::<u32>(word));
        let range = || {
            Some(IdRange {
                target: number(1)?,
                start: number(2)?,
                count: number(3)?,
            })
        };
        match (words.first().copied(), range()) {
            (Some("u"), Some(range)) => map.uids.push(range),
            (Some("g"), Some(range)) => map.gids.push(range),
            _ => {
                let what =
                    "'u' or 'g' and three numbers (in the container, on the host, how many) are expected";
                return Err(conf.wrong_entry(entry, what));
            }
        }
    }
    Ok((map != IdMap::default()).then_some(map))
}

fn memory(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let kib = |name: &str| -> Result<Option<u64>> {
        let Some(text) = conf.text(name) else {
            return Ok(None);
        };
        let bytes = size_of(text)
            .ok_or_else(|| conf.wrong(name, "bytes, or a number with a unit such as '64M', are expected"))?;
        Ok(Some(bytes / 1024))
    };
    // So much that it is no limit.
    let limit = |kib: Option<u64>| kib.filter(|kib| *kib < MEMORY_UNLIMITED_KIB);
    let hard = kib("lxc.cgroup.memory.limit_in_bytes")?;
    if let Some(size) = hard {
        domain.memory.size = size;
    }
    let tune = MemoryTune {
        hard_limit: limit(hard),
        soft_limit: limit(kib("lxc.cgroup.memory.soft_limit_in_bytes")?),
        min_guarantee: None,
        swap_hard_limit: limit(kib("lxc.cgroup.memory.memsw.limit_in_bytes")?),
    };
    domain.memory_tune = (tune != MemoryTune::default()).then_some(Box::new(tune));
    Ok(())
}

fn processors(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let mut tune = CpuTune {
        shares: conf.wrapped("lxc.cgroup.cpu.shares")?,
        ..CpuTune::default()
    };
    tune.periods.quota = conf.number("lxc.cgroup.cpu.cfs_quota_us")?.unwrap_or_default();
    tune.periods.period = conf.wrapped("lxc.cgroup.cpu.cfs_period_us")?.unwrap_or_default();
    domain.cpu_tune = (tune != CpuTune::default()).then_some(Box::new(tune));
    let set = |name: &str| -> Result<Option<CpuSet>> {
        let Some(text) = conf.text(name) else {
            return Ok(None);
        };
        let set = Bitmap::parse(text, CPU_LIMIT).map_err(|_| {
            let place = conf.wrong(name, "numbers and ranges as in '0-3,8,^2' are expected");
            VirtError::new(ErrorCode::INVALID_ARG, place.detail())
        })?;
        Ok(Some(CpuSet(set)))
    };
    domain.vcpus.cpuset = set("lxc.cgroup.cpuset.cpus")?;
    if let Some(nodeset) = set("lxc.cgroup.cpuset.mems")? {
        domain.numatune = Some(Box::new(Numatune {
            memory: Some(NumatuneMemory {
                nodeset: Some(nodeset),
                placement: Some(NumaPlacement::Static),
                ..NumatuneMemory::default()
            }),
            ..Numatune::default()
        }));
    }
    Ok(())
}

fn block_io(conf: &Conf) -> Result<Option<BlkioTune>> {
    const PREFIX: &str = "lxc.cgroup.blkio.";
    let mut tune = BlkioTune {
        weight: conf.number("lxc.cgroup.blkio.weight")?.unwrap_or_default(),
        ..BlkioTune::default()
    };
    for (entry, text) in conf.entries() {
        let Some(kind) = entry.name.strip_prefix(PREFIX).filter(|kind| *kind != "weight") else {
            continue;
        };
        let parts = words(text);
        let [device, value, ..] = parts.as_slice() else {
            return Err(conf.wrong_entry(entry, "a device and a number are expected"));
        };
        let path = format!("/dev/block/{device}");
        let known = tune.devices.iter().position(|known| known.path == path);
        let at = known.unwrap_or_else(|| {
            tune.devices.push(BlkioDevice {
                path,
                ..BlkioDevice::default()
            });
            tune.devices.len() - 1
        });
        let Some(device) = tune.devices.get_mut(at) else {
            continue;
        };
        let small = || native::number::<u32>(value);
        let set = |slot: &mut u32, value: Option<u32>| value.map(|value| *slot = value);
        let large = |slot: &mut u64| native::number::<u64>(value).map(|value| *slot = value);
        let done = match kind {
            "device_weight" => set(&mut device.weight, small()),
            "throttle.read_iops_device" => set(&mut device.read_iops, small()),
            "throttle.write_iops_device" => set(&mut device.write_iops, small()),
            "throttle.read_bps_device" => large(&mut device.read_bytes),
            "throttle.write_bps_device" => large(&mut device.write_bytes),
            _ => {
                tracing::warn!("the setting '{}' is passed over", entry.name);
                Some(())
            }
        };
        done.ok_or_else(|| conf.wrong_entry(entry, "a number is expected behind the device"))?;
    }
    // Settings that are passed over make no device.
    tune.devices.retain(|device| {
        let path = device.path.clone();
        *device
            != BlkioDevice {
                path,
                ..BlkioDevice::default()
            }
    });
    Ok((tune != BlkioTune::default()).then_some(tune))
}

/// A container keeps the capabilities that it does not drop.
fn capabilities(conf: &Conf, domain: &mut Domain) {
    let dropped = conf.text("lxc.cap.drop").unwrap_or_default();
    let capabilities = dropped
        .split(' ')
        .filter_map(Capability::from_word)
        .map(|capability| (capability, false))
        .collect();
    domain
        .features
        .get_or_insert_with(|| Box::new(Features::default()))
        .capabilities = Some(ProcessCapabilities {
        policy: CapabilitiesPolicy::Allow,
        capabilities,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::{NoHooks, SystemRandomness};

    fn read(rest: &str) -> Result<Domain> {
        let text = format!("lxc.rootfs = /r\nlxc.utsname = a\n{rest}\n");
        parse("a.conf", &text, &NoHooks, &SystemRandomness)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (rest, want) in [
            (
                "lxc.mount.entry = proc",
                "a.conf:3: setting 'lxc.mount.entry' = 'proc': source",
            ),
            (
                "\nlxc.idmap = x 0 1 2",
                "a.conf:4: setting 'lxc.idmap' = 'x 0 1 2': 'u' or 'g'",
            ),
            ("lxc.network.link = br0", "a.conf:3: setting 'lxc.network.link'"),
            (
                "lxc.net.0.type = veth\nlxc.net.0.color = red",
                "a.conf:4: setting 'lxc.net.0.color'",
            ),
            (
                "lxc.tty = 99999999",
                "a.conf:3: setting 'lxc.tty' = '99999999': a number up to 65535",
            ),
            ("lxc.cgroup.memory.limit_in_bytes = 10%", "'10%'"),
            ("lxc.cgroup.memory.limit_in_bytes = 10 ", "'10 '"),
            ("lxc.cgroup.memory.limit_in_bytes = 10 M", "'10 M'"),
        ] {
            let error = read(rest).unwrap_err();
            assert!(error.message().contains(want), "{error}");
        }
        let error = read("lxc.mount = /etc/fstab").unwrap_err();
        assert_eq!(error.code(), ErrorCode::ARGUMENT_UNSUPPORTED);
    }

    #[test]
    fn old_networks_have_numbers_too() {
        let domain = read("lxc.network.type = veth\nlxc.net.1.link = br7\nlxc.network.flags = up").unwrap();
        let text = domain.format(virt_util::xml::XmlFlags::empty());
        assert_eq!(domain.devices.interfaces.len(), 1);
        assert!(text.contains("<source bridge='br7'/>"), "{text}");
    }

    #[test]
    fn gateways_matter_only_to_networks_that_are_made() {
        for (kind, code) in [("veth", Some(ErrorCode::XML_ERROR)), ("empty", None)] {
            let text = format!("lxc.net.0.type = {kind}\nlxc.net.0.ipv4.gateway = auto");
            assert_eq!(read(&text).err().map(|error| error.code()), code, "{kind}");
        }
        let error = read("lxc.cgroup.cpuset.cpus = x").unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG);
        let domain = read("lxc.cgroup.cpu.shares = -1\nlxc.cgroup.blkio.weird = 8:0 1").unwrap();
        assert_eq!(domain.cpu_tune.unwrap().shares, Some(u64::MAX));
        assert_eq!(domain.blkio_tune, None);
    }

    #[test]
    fn new_names_come_before_old_ones() {
        let domain = read("lxc.uts.name = b").unwrap();
        assert_eq!(domain.name, "b");
    }
}
