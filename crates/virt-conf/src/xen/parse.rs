//! Xen's file → domain: what both formats share, apart from devices.

use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result, VirtError};

use super::conf::Conf;
use super::{XenContext, XenFormat, parse_devices, xl_parse, xm};
use crate::domain::clock::{ClockBase, ClockBasis, Timer, TimerMode, TimerName};
use crate::domain::features::{Apic, State, Xen, XenPassthrough, XenPassthroughMode};
use crate::domain::lifecycle::LifecycleAction;
use crate::domain::normalize::{NormalizeContext, NormalizeFlags, normalize};
use crate::domain::os::{BootDevice, BootEntry, OsType};
use crate::domain::{Domain, VirtType};
use crate::values::CpuSet;

/// MiB of a guest that does not say.
const DEFAULT_MEMORY: u64 = 128;

/// Most host CPUs in `cpus`.
const CPU_LIMIT: usize = 4096;

/// Reads a configuration. `file_name` is for messages.
///
/// # Errors
/// `CONF_SYNTAX` for wrong syntax, `INTERNAL_ERROR` for wrong and missing settings (file, line, name, value and what is
/// allowed), `CONFIG_UNSUPPORTED` for what cannot be said in a definition; and those of the driver.
pub fn parse(format: XenFormat, file_name: &str, text: &str, cx: &XenContext<'_>) -> Result<Domain> {
    let conf = Conf::read(file_name, text)?;
    let mut domain = Domain {
        virt_type: VirtType::Xen,
        ..Domain::default()
    };
    identity(&conf, &mut domain, cx)?;
    memory(&conf, &mut domain)?;
    domain.on_poweroff = action(&conf, "on_poweroff", LifecycleAction::Destroy)?;
    domain.on_reboot = action(&conf, "on_reboot", LifecycleAction::Restart)?;
    domain.on_crash = action(&conf, "on_crash", LifecycleAction::Restart)?;
    processors(&conf, &mut domain)?;
    features(&conf, &mut domain)?;
    domain.clock.base = clock(&conf, domain.os.is_hvm())?;
    domain.devices.emulator = conf.owned("device_model_override")?;
    parse_devices::common(&conf, &mut domain, format)?;
    match format {
        XenFormat::Xl => xl_parse::rest(&conf, &mut domain, cx)?,
        XenFormat::Xm => xm::rest(&conf, &mut domain)?,
    }
    let context = NormalizeContext {
        flags: NormalizeFlags::ABI_UPDATE | NormalizeFlags::NATIVE,
        random: cx.random,
    };
    normalize(&mut domain, cx.hooks, &context)?;
    Ok(domain)
}

pub(super) fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn identity(conf: &Conf, domain: &mut Domain, cx: &XenContext<'_>) -> Result<()> {
    conf.required("name")?.clone_into(&mut domain.name);
    domain.uuid = Some(match conf.text("uuid")? {
        None => cx.random.uuid(),
        Some(text) => virt_util::uuid::parse(text).map_err(|_| {
            let place = conf.wrong("uuid", "a UUID is expected");
            VirtError::new(ErrorCode::CONF_SYNTAX, place.detail())
        })?,
    });
    let os = match conf.text("type").ok().flatten() {
        Some("pv") => OsType::Xen,
        Some("pvh") => OsType::Xenpvh,
        Some("hvm") => OsType::Hvm,
        Some(_) => {
            let place = conf.wrong("type", "'pv', 'pvh' or 'hvm' is expected");
            return Err(unsupported(place.detail()));
        }
        // Whatever is no text is no builder.
        None if conf.text("builder").ok().flatten() == Some("hvm") => OsType::Hvm,
        None => OsType::Xen,
    };
    let guest = cx.guest(os)?;
    domain.os.kind.os = os;
    domain.os.kind.arch = Some(guest.arch.clone());
    domain.os.kind.machine = Some(guest.machine.clone());
    Ok(())
}

fn memory(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let kib = |name: &str, mebibytes: u64| {
        let kib = mebibytes
            .checked_mul(1024)
            .filter(|kib| *kib < i64::MAX as u64 / 1024);
        kib.ok_or_else(|| conf.wrong(name, "fewer MiB are expected"))
    };
    let current = conf.number("memory")?.unwrap_or(DEFAULT_MEMORY);
    let most = conf.number("maxmem")?.unwrap_or(current);
    domain.current_memory = kib("memory", current)?;
    domain.memory.size = kib("maxmem", most)?;
    Ok(())
}

fn action(conf: &Conf, name: &str, default: LifecycleAction) -> Result<LifecycleAction> {
    let Some(text) = conf.text(name)? else {
        return Ok(default);
    };
    LifecycleAction::from_word(text).ok_or_else(|| {
        conf.wrong(
            name,
            format_args!("one of {} is expected", LifecycleAction::WORDS.join(", ")),
        )
    })
}

fn processors(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let online = conf.small::<u32>("vcpus")?.unwrap_or(1);
    let most = conf.small::<u32>("maxvcpus")?.unwrap_or(online);
    domain.vcpus.max = most;
    domain.vcpus.current = (online < most).then_some(online);
    if let Some(text) = conf.text("cpus")? {
        let set = Bitmap::parse(text, CPU_LIMIT).map_err(|_| {
            let place = conf.wrong("cpus", "numbers and ranges as in '0-3,8,^2' are expected");
            VirtError::new(ErrorCode::INVALID_ARG, place.detail())
        })?;
        domain.vcpus.cpuset = Some(CpuSet(set));
    }
    Ok(())
}

fn features(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let hvm = domain.os.is_hvm();
    let timers = &mut domain.clock.timers;
    if let Some(mode) = conf.text("tsc_mode")? {
        timers.push(Timer {
            name: TimerName::Tsc,
            present: Some(true),
            mode: Some(match mode {
                "always_emulate" => TimerMode::Emulate,
                "native" => TimerMode::Native,
                "native_paravirt" => TimerMode::Paravirt,
                _ => TimerMode::Auto,
            }),
            ..Timer::default()
        });
    }
    let mut features = crate::domain::features::Features::default();
    let passthrough = |mode| Some(XenPassthrough { on: true, mode });
    let mut xen = Xen {
        passthrough: match conf.text("passthrough")? {
            None | Some("disabled") => None,
            Some("enabled") => passthrough(None),
            Some("sync_pt") => passthrough(Some(XenPassthroughMode::SyncPt)),
            Some("share_pt") => passthrough(Some(XenPassthroughMode::SharePt)),
            // Said in the log, and the guest has none.
            Some(mode) => {
                tracing::warn!(
                    "the passthrough mode '{mode}' is passed over: 'disabled', 'enabled', 'sync_pt' or 'share_pt' is expected"
                );
                None
            }
        },
        ..Xen::default()
    };
    if hvm {
        features.pae = conf.switch("pae")?.unwrap_or(true);
        features.acpi = conf.switch("acpi")?.unwrap_or(true);
        features.apic = conf.switch("apic")?.unwrap_or(true).then(Apic::default);
        features.hap = (!conf.switch("hap")?.unwrap_or(true)).then_some(State { on: false });
        features.viridian = conf.switch("viridian")?.unwrap_or(false);
        if let Some(present) = conf.switch("hpet")? {
            timers.push(Timer {
                name: TimerName::Hpet,
                present: Some(present),
                ..Timer::default()
            });
        }
    } else if conf.switch("e820_host")?.unwrap_or(false) {
        xen.e820_host = Some(State { on: true });
    }
    features.xen = (xen != Xen::default()).then_some(xen);
    if features != Default::default() {
        domain.features = Some(Box::new(features));
    }
    Ok(())
}

fn clock(conf: &Conf, hvm: bool) -> Result<ClockBase> {
    let local = conf.switch("localtime")?.unwrap_or(false);
    if !hvm {
        // Paravirtual guests have no clock of their own that they could set.
        let reset = true;
        return Ok(if local {
            ClockBase::Localtime { reset }
        } else {
            ClockBase::Utc { reset }
        });
    }
    Ok(ClockBase::Variable {
        adjustment: conf.wrapped("rtc_timeoffset")?.unwrap_or_default().into(),
        basis: if local {
            ClockBasis::Localtime
        } else {
            ClockBasis::Utc
        },
        adjustment0: 0,
    })
}

/// The letters of `boot`.
pub(super) fn boot_order(conf: &Conf) -> Result<Vec<BootEntry>> {
    let letters = conf.text("boot")?.unwrap_or("c");
    let device = |letter| match letter {
        b'a' => BootDevice::Fd,
        b'd' => BootDevice::Cdrom,
        b'n' => BootDevice::Network,
        _ => BootDevice::Hd,
    };
    let entries = letters.bytes().take(BootDevice::ALL.len());
    Ok(entries.map(|letter| BootEntry { dev: device(letter) }).collect())
}

/// The boot loader and what else paravirtual guests boot from, without the command line.
pub(super) fn paravirtual_boot(conf: &Conf, domain: &mut Domain) -> Result<()> {
    domain.bootloader = conf.owned("bootloader")?.into();
    domain.bootloader_args = conf.owned("bootargs")?.into();
    domain.os.kernel = conf.owned("kernel")?.into();
    domain.os.initrd = conf.owned("ramdisk")?.into();
    Ok(())
}

/// The command line that `root` and `extra` make up.
pub(super) fn command_line(conf: &Conf) -> Result<Option<String>> {
    Ok(match (conf.text("root")?, conf.text("extra")?) {
        (Some(root), Some(extra)) => Some(format!("root={root} {extra}")),
        (Some(root), None) => Some(format!("root={root}")),
        (None, extra) => extra.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::{NoHooks, SystemRandomness};
    use crate::xen::XenGuest;
    use virt_util::xml::XmlFlags;

    fn read(format: XenFormat, rest: &str) -> Result<String> {
        let guests = [OsType::Hvm, OsType::Xen].map(|os| XenGuest {
            os,
            arch: "x86_64".to_owned(),
            machine: "m".to_owned(),
            loader: None,
        });
        let cx = XenContext {
            guests: &guests,
            nesting_feature: "vmx",
            firmware_dir: "/f",
            hooks: &NoHooks,
            random: &SystemRandomness,
        };
        let text = format!("name = 'a'\nkernel = '/k'\n{rest}\n");
        Ok(parse(format, "a.cfg", &text, &cx)?.format(XmlFlags::SECURE))
    }

    #[test]
    fn settings_are_read_as_libvirt_does() {
        for (rest, want) in [
            ("builder = 1", "<type"),
            ("passthrough = 'odd'", "<type"),
            ("builder = 'hvm'\nrtc_timeoffset = '-60'", "adjustment='-60'"),
            ("builder = 'hvm'\nvnc = 1\nvncdisplay = 'x'", "autoport='yes'"),
            ("vcpus = 0\nmaxvcpus = 2", "current='0'>2<"),
            (
                "vif = [ ' mac=00:16:3e:00:00:01,model=E1000' ]",
                "<model type='e1000'/>",
            ),
            ("vif = [ 'ip=10.1' ]", "<ip address='10.0.0.1' family='ipv4'/>"),
            ("vcpus = 70000", ">70000</vcpu>"),
            (
                "builder = 'hvm'\nboot = 'd\u{e9}'",
                "<boot dev='cdrom'/>\n    <boot dev='hd'/>\n    <boot dev='hd'/>",
            ),
            (
                "usbctrl = [ 'x,version=1,, ports=a' ]",
                "model='qusb1' ports='10'",
            ),
            (
                "channel = [ 'connection=pty,connection=socket,path=/p,path=/q,name=n' ]",
                "path='/p'",
            ),
        ] {
            let text = read(XenFormat::Xl, rest).unwrap();
            assert!(text.contains(want), "{rest}: {text}");
        }
    }

    #[test]
    fn what_is_wrong_has_libvirts_code() {
        for (format, rest, code) in [
            (XenFormat::Xl, "cpus = 'x'", ErrorCode::INVALID_ARG),
            (
                XenFormat::Xl,
                "cmdline = 'x'\nroot = 1",
                ErrorCode::INTERNAL_ERROR,
            ),
            (XenFormat::Xl, "vnuma = [ 1 ]", ErrorCode::INTERNAL_ERROR),
            (
                XenFormat::Xl,
                "vif = [ 'mac=00:16:3e:00:00:01,' ]",
                ErrorCode::INTERNAL_ERROR,
            ),
            (XenFormat::Xl, "vif = [ 'model=a b' ]", ErrorCode::INVALID_ARG),
            (XenFormat::Xl, "vif = [ 'ip=10.x' ]", ErrorCode::SYSTEM_ERROR),
            (
                XenFormat::Xl,
                "vcpus = 2\nvnuma = [ [ 'pnode=0', 'size=2', 'vcpus=0' ] ]\ncpuid = 'host,tm=0'",
                ErrorCode::INTERNAL_ERROR,
            ),
            (
                XenFormat::Xm,
                "builder = 'hvm'\ndisk = [ 'phy:/a,,w' ]",
                ErrorCode::XML_ERROR,
            ),
            (XenFormat::Xl, "pci = [ 1 ]", ErrorCode::CONF_SYNTAX),
            (XenFormat::Xm, "disk = 'phy:/a,hda,w'", ErrorCode::INTERNAL_ERROR),
            (
                XenFormat::Xl,
                "builder = 'hvm'\nrtc_timeoffset = -60",
                ErrorCode::INTERNAL_ERROR,
            ),
        ] {
            let error = read(format, rest).unwrap_err();
            assert_eq!(error.code(), code, "{rest}: {error}");
        }
    }
}
