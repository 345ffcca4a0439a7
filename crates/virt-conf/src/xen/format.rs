//! Domain → Xen's file: what both formats share.

use virt_util::conf_file::{ConfFile, ConfValue, Dialect};
use virt_util::{Result, VirtError};

use super::parse::unsupported;
use super::{XenFormat, xl_format, xm};
use crate::domain::Domain;
use crate::domain::chardev::{ChardevSource, SourceMode, TcpProtocol};
use crate::domain::clock::{ClockBase, ClockBasis, TimerMode, TimerName};
use crate::domain::graphics::{Graphics, Listens};
use crate::domain::hostdev::{HostdevPass, HostdevSubsys, PciHostdev};
use crate::domain::input::{Input, InputType};
use crate::domain::interface::{Interface, InterfaceSource, VirtualPortType};
use crate::domain::os::BootDevice;

/// The script that connects a card to a bridge.
const BRIDGE_SCRIPT: &str = "vif-bridge";

/// Writes a complete definition. `bridge_of` gives the bridge of a virtual network.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` and `INTERNAL_ERROR` for what the format cannot say; `INVALID_ARG` for a text that no quotes can
/// hold; what `bridge_of` says.
pub fn format(
    format: XenFormat,
    domain: &Domain,
    bridge_of: &dyn Fn(&str) -> Result<String>,
) -> Result<String> {
    let mut conf = ConfFile::new("", Dialect::Libvirt);
    let conf = &mut conf;
    conf.set("name", domain.name.as_str().into());
    conf.set("uuid", virt_util::uuid::format(&domain.uuid()?).as_str().into());
    conf.set("maxmem", domain.memory.size.div_ceil(1024).into());
    conf.set("memory", domain.current_memory.div_ceil(1024).into());
    if domain.vcpus.online() < domain.vcpus.max {
        conf.set("maxvcpus", u64::from(domain.vcpus.max).into());
    }
    conf.set("vcpus", u64::from(domain.vcpus.online()).into());
    if let Some(set) = &domain.vcpus.cpuset {
        conf.set("cpus", set.0.to_string().as_str().into());
    }
    features(conf, domain)?;
    timers(conf, domain)?;
    clock(conf, domain)?;
    for (name, action) in [
        ("on_poweroff", domain.on_poweroff),
        ("on_reboot", domain.on_reboot),
        ("on_crash", domain.on_crash),
    ] {
        conf.set(name, action.as_str().into());
    }
    if let Some(emulator) = &domain.devices.emulator {
        conf.set("device_model_override", emulator.as_str().into());
    }
    graphics(conf, domain)?;
    let cards = domain.devices.interfaces.iter();
    let cards = cards
        .map(|card| interface(card, domain.os.is_hvm(), format, bridge_of))
        .collect::<Result<Vec<_>>>()?;
    text_list(conf, "vif", cards);
    text_list(conf, "pci", hostdevs(domain).filter_map(pci));
    ports(conf, domain, format)?;
    if domain.os.is_hvm() && !domain.devices.sounds.is_empty() {
        let models: Vec<&str> = domain
            .devices
            .sounds
            .iter()
            .map(|sound| sound.model.as_str())
            .collect();
        conf.set("soundhw", models.join(",").as_str().into());
    }
    match format {
        XenFormat::Xl => xl_format::rest(conf, domain)?,
        XenFormat::Xm => xm::format_rest(conf, domain)?,
    }
    conf.format()
}

/// Sets a list of texts unless it is empty.
pub(super) fn text_list(conf: &mut ConfFile, name: &str, texts: impl IntoIterator<Item = String>) {
    let texts: Vec<ConfValue> = texts.into_iter().map(ConfValue::String).collect();
    if !texts.is_empty() {
        conf.set(name, ConfValue::List(texts));
    }
}

fn number(conf: &mut ConfFile, name: &str, value: i64) {
    let value = match u64::try_from(value) {
        Ok(value) => ConfValue::Number(value),
        Err(_) => ConfValue::Negative(value),
    };
    conf.set(name, value);
}

fn features(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let features = domain.features.as_deref();
    let xen = features.and_then(|features| features.xen.as_ref());
    if domain.os.is_hvm() {
        conf.set("pae", features.is_some_and(|features| features.pae).into());
        conf.set("acpi", features.is_some_and(|features| features.acpi).into());
        conf.set(
            "apic",
            features.is_some_and(|features| features.apic.is_some()).into(),
        );
        if features
            .and_then(|features| features.hap)
            .is_some_and(|hap| !hap.on)
        {
            conf.set("hap", false.into());
        }
        conf.set(
            "viridian",
            features.is_some_and(|features| features.viridian).into(),
        );
    } else if xen.and_then(|xen| xen.e820_host).is_some_and(|host| host.on) {
        conf.set("e820_host", true.into());
    }
    if let Some(passthrough) = xen
        .and_then(|xen| xen.passthrough)
        .filter(|passthrough| passthrough.on)
    {
        let word = passthrough.mode.map_or("enabled", |mode| mode.as_str());
        conf.set("passthrough", word.into());
    }
    Ok(())
}

fn timers(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    for timer in &domain.clock.timers {
        match timer.name {
            TimerName::Tsc => {
                let word = match timer.mode {
                    Some(TimerMode::Native) => "native",
                    Some(TimerMode::Paravirt) => "native_paravirt",
                    Some(TimerMode::Emulate) => "always_emulate",
                    None | Some(TimerMode::Auto | TimerMode::Smpsafe) => "default",
                };
                conf.set("tsc_mode", word.into());
            }
            TimerName::Hpet if domain.os.is_hvm() => {
                conf.set("hpet", (timer.present != Some(false)).into());
            }
            name => {
                return Err(unsupported(format_args!(
                    "unsupported timer type (name) '{name}', 'tsc' or, for fully virtualized guests, 'hpet' is expected"
                )));
            }
        }
    }
    Ok(())
}

fn clock(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let hvm = domain.os.is_hvm();
    let (local, offset) = match &domain.clock.base {
        ClockBase::Variable {
            adjustment, basis, ..
        } if hvm => (*basis == ClockBasis::Localtime, *adjustment),
        ClockBase::Utc { reset: true } | ClockBase::Localtime { reset: true } if hvm => {
            return Err(unsupported("unsupported clock adjustment='reset'"));
        }
        ClockBase::Utc { .. } => (false, 0),
        ClockBase::Localtime { .. } => (true, 0),
        base => {
            return Err(unsupported(format_args!(
                "unsupported clock offset='{}'",
                base.offset()
            )));
        }
    };
    if hvm {
        // Of larger offsets the lowest 32 bits count, as when the file is read.
        number(conf, "rtc_timeoffset", (offset as i32).into());
    }
    conf.set("localtime", local.into());
    Ok(())
}

fn address(listens: &Listens) -> Option<&str> {
    listens.first().and_then(|listen| listen.address.as_deref())
}

fn graphics(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let [graphics] = domain.devices.graphics.as_slice() else {
        return Ok(());
    };
    let full = domain.os.is_hvm();
    match graphics {
        Graphics::Spice(_) => {}
        Graphics::Sdl(sdl) => {
            let settings = [("display", &sdl.display), ("xauthority", &sdl.xauth)];
            let settings = settings
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)));
            if full {
                conf.set("sdl", true.into());
                conf.set("vnc", false.into());
                for (name, value) in settings {
                    conf.set(name, value.into());
                }
            } else {
                let mut text = "type=sdl".to_owned();
                for (name, value) in settings {
                    text.push_str(&format!(",{name}={value}"));
                }
                text_list(conf, "vfb", [text]);
            }
        }
        Graphics::Vnc(vnc) => {
            let display = i64::from(vnc.port) - 5900;
            let settings = [
                ("vnclisten", address(&vnc.listens)),
                ("vncpasswd", vnc.auth.password.as_deref()),
                ("keymap", vnc.keymap.as_deref()),
            ];
            let settings = settings
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)));
            if full {
                conf.set("sdl", false.into());
                conf.set("vnc", true.into());
                conf.set("vncunused", vnc.autoport.into());
                if !vnc.autoport {
                    number(conf, "vncdisplay", display);
                }
                for (name, value) in settings {
                    conf.set(name, value.into());
                }
            } else {
                let mut text = format!("type=vnc,vncunused={}", u8::from(vnc.autoport));
                if !vnc.autoport {
                    text.push_str(&format!(",vncdisplay={display}"));
                }
                for (name, value) in settings {
                    text.push_str(&format!(",{name}={value}"));
                }
                text_list(conf, "vfb", [text]);
            }
        }
        other => {
            return Err(unsupported(format_args!(
                "unsupported graphics type '{}', 'vnc', 'sdl' or 'spice' is expected",
                other.graphics_type()
            )));
        }
    }
    Ok(())
}

fn interface(
    card: &Interface,
    hvm: bool,
    format: XenFormat,
    bridge_of: &dyn Fn(&str) -> Result<String>,
) -> Result<String> {
    let mac = card.mac.address.map(|mac| mac.to_string()).unwrap_or_default();
    let mut out = format!("mac={mac}");
    let addresses: Vec<String> = card
        .link
        .guest
        .addresses
        .iter()
        .map(|ip| ip.address.to_string())
        .collect();
    let addresses = (!addresses.is_empty()).then(|| format!(",ip={}", addresses.join(" ")));
    match &card.source {
        InterfaceSource::Bridge { bridge, .. } => {
            out.push_str(&format!(",bridge={bridge}"));
            let switched = card
                .link
                .virtual_port
                .as_ref()
                .is_some_and(|port| port.kind == Some(VirtualPortType::Openvswitch));
            if let Some(vlan) = card.link.vlan.as_ref().filter(|_| switched) {
                if vlan.trunk {
                    out.extend(vlan.tags.iter().map(|tag| format!(":{}", tag.id)));
                } else {
                    out.extend(vlan.tags.first().map(|tag| format!(".{}", tag.id)));
                }
            }
            out.extend(addresses);
            let default = if switched {
                "vif-openvswitch"
            } else {
                BRIDGE_SCRIPT
            };
            out.push_str(&format!(
                ",script={}",
                card.link.script.as_deref().unwrap_or(default)
            ));
        }
        InterfaceSource::Ethernet { .. } => {
            if let Some(script) = &card.link.script {
                out.push_str(&format!(",script={script}"));
            }
            out.extend(addresses);
        }
        InterfaceSource::Network { network, .. } => {
            out.push_str(&format!(",bridge={},script={BRIDGE_SCRIPT}", bridge_of(network)?));
        }
        _ => {
            return Err(unsupported(format_args!(
                "Unsupported net type '{}', 'bridge', 'ethernet' or 'network' is expected",
                card.interface_type()
            )));
        }
    }
    if let Some(model) = &card.model {
        if hvm && model.eq_ignore_ascii_case("netfront") {
            out.push_str(match format {
                XenFormat::Xl => ",type=vif",
                XenFormat::Xm => ",type=netfront",
            });
        } else {
            out.push_str(&format!(",model={model}"));
        }
    }
    if let Some(dev) = card.target.as_ref().and_then(|target| target.dev.as_ref()) {
        out.push_str(&format!(",vifname={dev}"));
    }
    let outbound = card
        .link
        .bandwidth
        .as_ref()
        .and_then(|bandwidth| bandwidth.outbound.as_ref());
    if let Some(rate) = outbound.filter(|rate| rate.average != 0) {
        out.push_str(&format!(",rate={}KB/s", rate.average));
    }
    Ok(out)
}

/// Devices of the host that are passed as a whole.
pub(super) fn hostdevs(domain: &Domain) -> impl Iterator<Item = &HostdevSubsys> {
    domain
        .devices
        .hostdevs
        .iter()
        .filter_map(|hostdev| match &hostdev.mode {
            HostdevPass::Subsystem(device) => Some(&**device),
            HostdevPass::Capabilities(_) => None,
        })
}

fn pci(device: &HostdevSubsys) -> Option<String> {
    let HostdevSubsys::Pci {
        device: PciHostdev {
            address,
            write_filtering,
            ..
        },
        ..
    } = device
    else {
        return None;
    };
    let permissive = match write_filtering {
        Some(true) => ",permissive=0",
        Some(false) => ",permissive=1",
        None => "",
    };
    Some(format!("{address}{permissive}"))
}

fn ports(conf: &mut ConfFile, domain: &Domain, format: XenFormat) -> Result<()> {
    if !domain.os.is_hvm() {
        return Ok(());
    }
    let parallel = match domain.devices.parallels.first() {
        Some(parallel) => chardev(&parallel.host.source)?,
        None => "none".to_owned(),
    };
    conf.set("parallel", parallel.as_str().into());
    let serials = &domain.devices.serials;
    let port_of = |serial: &crate::domain::chardev::Serial| serial.target.port.unwrap_or_default();
    match serials.as_slice() {
        [] => conf.set("serial", "none".into()),
        [serial] if port_of(serial) == 0 => {
            conf.set("serial", chardev(&serial.host.source)?.as_str().into());
        }
        _ if format == XenFormat::Xm => {
            return Err(unsupported("xen-xm has one serial port, and the guest has more"));
        }
        _ => {
            const MOST: u32 = 64;
            let last = serials.iter().map(port_of).max().unwrap_or_default();
            if last >= MOST {
                return Err(unsupported(format_args!(
                    "serial port {last}: ports below {MOST} are supported"
                )));
            }
            let texts = (0..=last)
                .map(
                    |port| match serials.iter().find(|serial| port_of(serial) == port) {
                        Some(serial) => chardev(&serial.host.source),
                        None => Ok("none".to_owned()),
                    },
                )
                .collect::<Result<Vec<_>>>()?;
            text_list(conf, "serial", texts);
        }
    }
    Ok(())
}

/// Backslashes and single quotes are escaped.
fn escaped(text: Option<&str>) -> String {
    text.unwrap_or_default()
        .replace('\\', "\\\\")
        .replace('\'', "\\'")
}

fn chardev(source: &ChardevSource) -> Result<String> {
    let server = |mode: SourceMode| {
        if mode == SourceMode::Bind {
            ",server,nowait"
        } else {
            ""
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let kind = source.chardev_type();
    Ok(match source {
        ChardevSource::Null | ChardevSource::Stdio | ChardevSource::Vc | ChardevSource::Pty { .. } => {
            kind.as_str().to_owned()
        }
        ChardevSource::File { path, .. } | ChardevSource::Pipe { path, .. } => {
            format!("{kind}:{}", escaped(path.as_deref()))
        }
        ChardevSource::Dev { path, .. } => escaped(path.as_deref()),
        ChardevSource::Tcp(tcp) => {
            let protocol = if tcp.protocol == TcpProtocol::Raw {
                "tcp"
            } else {
                "telnet"
            };
            format!(
                "{protocol}:{}:{}{}",
                text(&tcp.host),
                text(&tcp.service),
                server(tcp.mode)
            )
        }
        ChardevSource::Udp(udp) => {
            let end = |end: &crate::domain::chardev::UdpEndpoint| {
                format!("{}:{}", text(&end.host), text(&end.service))
            };
            format!("udp:{}@{}", end(&udp.connect), end(&udp.bind))
        }
        ChardevSource::Unix(unix) => {
            format!("unix:{}{}", escaped(unix.path.as_deref()), server(unix.mode))
        }
        _ => {
            return Err(unsupported(format_args!(
                "Xen has no character device of type '{kind}'"
            )));
        }
    })
}

/// The letters that name the boot devices.
pub(super) fn boot_letters(domain: &Domain) -> String {
    let letter = |device| match device {
        BootDevice::Fd => 'a',
        BootDevice::Cdrom => 'd',
        BootDevice::Network => 'n',
        BootDevice::Hd => 'c',
    };
    let letters: String = domain.os.boot.iter().map(|entry| letter(entry.dev)).collect();
    if letters.is_empty() {
        "c".to_owned()
    } else {
        letters
    }
}

/// The word for a USB input device.
pub(super) fn usb_input_word(input: &Input) -> Option<&'static str> {
    match input.kind {
        InputType::Mouse => Some("mouse"),
        InputType::Tablet => Some("tablet"),
        InputType::Keyboard => Some("keyboard"),
        _ => None,
    }
}

/// A definition that was not completed.
pub(super) fn incomplete(what: &str) -> VirtError {
    VirtError::internal(format_args!("the definition has {what}"))
}
