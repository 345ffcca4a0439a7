//! Xen's file → devices that both formats have: network cards, PCI devices, sound, displays, ports.

use virt_util::{ErrorCode, Result, VirtError, ip};

use super::XenFormat;
use super::conf::{Conf, pairs};
use super::parse::unsupported;
use crate::domain::Domain;
use crate::domain::chardev::{
    ChardevHost, ChardevSource, ChardevType, Console, ConsoleTargetType, Parallel, Serial, SerialTarget,
    SourceMode, TcpProtocol, TcpSource, UdpEndpoint, UdpSource, UnixSource,
};
use crate::domain::device_info::DeviceInfo;
use crate::domain::graphics::{
    Graphics, GraphicsAuth, Listen, ListenType, Listens, SdlGraphics, VncGraphics,
};
use crate::domain::hostdev::{HostPciAddress, Hostdev, HostdevPass, HostdevSubsys, PciHostdev};
use crate::domain::interface::{
    Bandwidth, BandwidthRate, Interface, InterfaceSource, InterfaceTarget, IpConfig, VirtualPort,
    VirtualPortType, Vlan, VlanTag, canonical_model,
};
use crate::domain::sound::{Sound, SoundModel};
use crate::native;
use crate::values::MacAddress;
use virt_util::xml::{XmlValue, parse_integer};

pub(super) fn common(conf: &Conf, domain: &mut Domain, format: XenFormat) -> Result<()> {
    let hvm = domain.os.is_hvm();
    for entry in conf.loose_texts("vif") {
        let mut card = interface(entry, format).map_err(|what| conf.wrong("vif", what))?;
        for text in addresses(entry) {
            let address = ip::parse(text).ok_or_else(|| {
                let place = conf.wrong("vif", format_args!("'{text}' is no IP address"));
                VirtError::new(ErrorCode::SYSTEM_ERROR, place.detail())
            })?;
            card.link.guest.addresses.push(address.into());
        }
        if let Some(model) = &card.model
            && canonical_model(model).is_none()
        {
            let what =
                format!("the model '{model}' holds characters other than letters, digits, '_' and '-'");
            let place = conf.wrong("vif", what);
            return Err(VirtError::new(ErrorCode::INVALID_ARG, place.detail()));
        }
        domain.devices.interfaces.push(card);
    }
    for entry in conf.texts("pci")?.unwrap_or_default() {
        let what = "'DOMAIN:BUS:SLOT.FUNCTION' in hexadecimal digits, perhaps with options 'NAME=VALUE', is expected";
        let device = pci(entry).ok_or_else(|| conf.wrong("pci", format_args!("'{entry}': {what}")))?;
        domain.devices.hostdevs.push(device);
    }
    if hvm {
        domain.devices.sounds = sounds(conf)?.into();
        domain.devices.graphics.extend(full_graphics(conf)?);
        if let Some(text) = conf.text("parallel")?.filter(|text| *text != "none") {
            domain.devices.parallels.push(Parallel {
                host: chardev(conf, "parallel", text)?,
                port: Some(0),
                ..Parallel::default()
            });
        }
        serials(conf, domain, format)
    } else {
        domain.devices.graphics.extend(frame_buffer(conf)?);
        domain.devices.consoles.push(Console {
            target_type: ConsoleTargetType::Xen,
            port: Some(0),
            ..Console::default()
        });
        Ok(())
    }
}

/// The IP addresses of a network card.
fn addresses(entry: &str) -> impl Iterator<Item = &str> {
    let list = pairs(entry).into_iter().flatten().rev();
    let list = list.filter(|(key, _)| *key == "ip").map(|(_, value)| value);
    list.take(1).flat_map(|list| list.split(' '))
}

fn interface(entry: &str, format: XenFormat) -> std::result::Result<Interface, String> {
    let pairs = pairs(entry).ok_or_else(|| format!("'{entry}': pairs 'NAME=VALUE' are expected"))?;
    let value = |name: &str| {
        pairs
            .iter()
            .rev()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    let mut card = Interface::default();
    if let Some(mac) = value("mac") {
        card.mac.address =
            Some(MacAddress::parse_value(mac).map_err(|_| format!("'{mac}' is no MAC address"))?);
    }
    let script = value("script");
    let host = IpConfig::default();
    card.source = if let Some(text) = value("bridge") {
        let bridge = bridge(text, &mut card)?;
        InterfaceSource::Bridge {
            bridge,
            unnamed: false,
            host: host.into(),
        }
    } else if matches!(script, Some("vif-bridge" | "vif-vnic")) {
        InterfaceSource::Bridge {
            bridge: String::new(),
            unnamed: true,
            host: host.into(),
        }
    } else {
        InterfaceSource::Ethernet { host: host.into() }
    };
    card.link.script = script.filter(|script| !script.is_empty()).map(str::to_owned);
    let frontend = match format {
        XenFormat::Xl => "vif",
        XenFormat::Xm => "netfront",
    };
    card.model = match value("model") {
        Some(model) => Some(canonical_model(model).unwrap_or(model).to_owned()),
        None => (value("type") == Some(frontend)).then(|| "netfront".to_owned()),
    };
    if let Some(name) = value("vifname").filter(|name| !name.is_empty()) {
        card.target = Some(InterfaceTarget {
            dev: Some(name.to_owned()),
            ..InterfaceTarget::default()
        });
    }
    if let Some(text) = value("rate") {
        let average = rate(text).ok_or_else(|| format!("'{text}' is no rate such as '10MB/s'"))?;
        card.link.bandwidth = Some(Box::new(Bandwidth {
            class_id: 0,
            inbound: None,
            outbound: Some(BandwidthRate {
                average,
                ..BandwidthRate::default()
            }),
        }));
    }
    Ok(card)
}

/// `NAME`, `NAME.TAG` or `NAME:TAG:TAG…`: tags are Open vSwitch's.
fn bridge(text: &str, card: &mut Interface) -> std::result::Result<String, String> {
    let tag = |text: &str| {
        let id = native::number(text).ok_or_else(|| format!("'{text}' is no VLAN tag"))?;
        Ok(VlanTag { id, native: None })
    };
    let (name, vlan) = if let Some((name, text)) = text.split_once('.') {
        (
            name,
            Vlan {
                trunk: false,
                tags: vec![tag(text)?],
            },
        )
    } else if let Some((name, rest)) = text.split_once(':') {
        let tags = rest
            .split(':')
            .map(tag)
            .collect::<std::result::Result<_, String>>()?;
        (name, Vlan { trunk: true, tags })
    } else {
        return Ok(text.to_owned());
    };
    card.link.vlan = Some(Box::new(vlan));
    card.link.virtual_port = Some(Box::new(VirtualPort {
        kind: Some(VirtualPortType::Openvswitch),
        parameters: None,
    }));
    Ok(name.to_owned())
}

/// KiB per second of `10MB/s@20ms`; of bits, an eighth.
fn rate(text: &str) -> Option<u64> {
    let text = text
        .split_once('@')
        .map_or(text, |(rate, _)| rate)
        .strip_suffix("/s")?;
    let (text, bits) = match text.strip_suffix('b') {
        Some(text) => (text, true),
        None => (text.strip_suffix('B')?, false),
    };
    let (text, scale) = match text.as_bytes().last()? {
        b'G' => (text.get(..text.len() - 1)?, 1 << 20),
        b'M' => (text.get(..text.len() - 1)?, 1 << 10),
        b'K' => (text.get(..text.len() - 1)?, 1),
        _ => (text, 1),
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rate = text.parse::<u64>().ok()?.checked_mul(scale)?;
    Some(if bits { rate / 8 } else { rate })
}

/// A device of the host that is passed as a whole.
pub(super) fn hostdev(device: HostdevSubsys) -> Hostdev {
    Hostdev {
        mode: HostdevPass::Subsystem(Box::new(device)),
        teaming: None,
        read_only: false,
        shareable: false,
        info: DeviceInfo::default(),
    }
}

fn pci(entry: &str) -> Option<Hostdev> {
    let hexadecimal = |text: &str| {
        let number: i32 = parse_integer(text, 16).ok()?;
        u32::try_from(number).ok()
    };
    let parts: Vec<&str> = entry.splitn(3, ':').collect();
    let (domain, bus, rest) = match parts.as_slice() {
        [domain, bus, rest] => (hexadecimal(domain)?, bus, rest),
        [bus, rest] => (0, bus, rest),
        _ => return None,
    };
    let (slot, rest) = rest.split_once('.')?;
    let (function, options) = match rest.split_once(',') {
        Some((function, options)) => (function, Some(options)),
        None => (rest, None),
    };
    let mut device = PciHostdev {
        address: HostPciAddress {
            domain,
            bus: hexadecimal(bus)?,
            slot: hexadecimal(slot)?,
            function: hexadecimal(function)?,
        },
        ..PciHostdev::default()
    };
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (name, value) = option.split_once('=')?;
        if name == "permissive" {
            device.write_filtering = Some(native::number::<i32>(value)? == 0);
        }
    }
    Some(hostdev(HostdevSubsys::Pci {
        managed: false,
        display: None,
        ramfb: None,
        device,
    }))
}

fn sounds(conf: &Conf) -> Result<Vec<Sound>> {
    let card = |model| Sound {
        model,
        ..Sound::default()
    };
    match conf.text("soundhw")? {
        None | Some("") => Ok(Vec::new()),
        // The two that Xen's device model once had.
        Some("all") => Ok(vec![card(SoundModel::Sb16), card(SoundModel::Es1370)]),
        Some(list) => list
            .split(',')
            .filter(|word| !word.is_empty())
            .map(|word| {
                SoundModel::from_word(word).map(card).ok_or_else(|| {
                    let what = format!(
                        "'{word}' found, 'all' or some of {} are expected",
                        SoundModel::WORDS.join(", ")
                    );
                    conf.wrong("soundhw", what)
                })
            })
            .collect(),
    }
}

/// One address to listen on, as older files say it.
pub(super) fn listen(address: Option<String>) -> Listens {
    Listens(vec![Listen {
        kind: ListenType::Address,
        address,
        ..Listen::default()
    }])
}

fn full_graphics(conf: &Conf) -> Result<Option<Graphics>> {
    if conf.switch("vnc")?.unwrap_or(false) {
        let autoport = conf.switch("vncunused")?.unwrap_or(true);
        let port = if autoport {
            0
        } else {
            conf.wrapped("vncdisplay")?.unwrap_or_default().wrapping_add(5900)
        };
        return Ok(Some(Graphics::Vnc(VncGraphics {
            listens: listen(conf.owned("vnclisten")?),
            port,
            autoport,
            keymap: conf.owned("keymap")?,
            auth: GraphicsAuth {
                password: conf.owned("vncpasswd")?,
                ..GraphicsAuth::default()
            },
            ..VncGraphics::default()
        })));
    }
    if conf.switch("sdl")?.unwrap_or(false) {
        return Ok(Some(Graphics::Sdl(SdlGraphics {
            display: conf.owned("display")?,
            xauth: conf.owned("xauthority")?,
            ..SdlGraphics::default()
        })));
    }
    Ok(None)
}

/// The first frame buffer of a paravirtual guest.
fn frame_buffer(conf: &Conf) -> Result<Option<Graphics>> {
    let texts = conf.texts("vfb")?.unwrap_or_default();
    let Some(text) = texts.first() else {
        return Ok(None);
    };
    let pairs: Vec<(&str, &str)> = text
        .split(',')
        .map(|part| part.trim_start_matches([' ', '\t']))
        .map_while(|part| part.split_once('='))
        .collect();
    let value = |name: &str| {
        pairs
            .iter()
            .rev()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    if text.contains("type=sdl") {
        return Ok(Some(Graphics::Sdl(SdlGraphics {
            display: value("display"),
            xauth: value("xauthority"),
            ..SdlGraphics::default()
        })));
    }
    let port = match value("vncdisplay") {
        None => 0,
        Some(display) => native::number::<i32>(&display)
            .and_then(|display| display.checked_add(5900))
            .ok_or_else(|| {
                conf.wrong(
                    "vfb",
                    format_args!("the value '{display}' of 'vncdisplay' is no number"),
                )
            })?,
    };
    Ok(Some(Graphics::Vnc(VncGraphics {
        listens: listen(value("vnclisten")),
        port,
        autoport: value("vncunused").as_deref() == Some("1"),
        keymap: value("keymap"),
        auth: GraphicsAuth {
            password: value("vncpasswd"),
            ..GraphicsAuth::default()
        },
        ..VncGraphics::default()
    })))
}

fn serials(conf: &Conf, domain: &mut Domain, format: XenFormat) -> Result<()> {
    let texts = match conf.texts("serial")? {
        Some(_) if format == XenFormat::Xm => {
            return Err(unsupported("'serial' is a list: xen-xm has one serial port"));
        }
        Some(texts) => texts,
        None => conf.text("serial")?.into_iter().collect(),
    };
    for (port, text) in (0..).zip(texts) {
        if text == "none" {
            continue;
        }
        domain.devices.serials.push(Serial {
            host: chardev(conf, "serial", text)?,
            target: SerialTarget {
                port: Some(port),
                ..SerialTarget::default()
            },
            ..Serial::default()
        });
    }
    Ok(())
}

fn chardev(conf: &Conf, name: &str, text: &str) -> Result<ChardevHost> {
    let source = chardev_source(text).map_err(|what| conf.wrong(name, format_args!("'{text}': {what}")))?;
    Ok(ChardevHost { source, log: None })
}

fn chardev_source(text: &str) -> std::result::Result<ChardevSource, &'static str> {
    use ChardevType as T;
    let seclabels = Vec::new();
    let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    if text.starts_with('/') {
        return Ok(ChardevSource::Dev {
            path: Some(text.to_owned()),
            seclabels,
        });
    }
    let (kind, value) = text.split_once(':').unwrap_or((text, text));
    let telnet = kind.starts_with("telnet");
    let word = if telnet {
        Some(T::Tcp)
    } else {
        ChardevType::from_word(kind)
    };
    const SHAPE: &str = "HOST:PORT is expected";
    match word.ok_or("the kind of connection is not known")? {
        T::Null => Ok(ChardevSource::Null),
        T::Vc => Ok(ChardevSource::Vc),
        T::Stdio => Ok(ChardevSource::Stdio),
        T::Pty => Ok(ChardevSource::Pty {
            path: None,
            seclabels,
        }),
        T::File => Ok(ChardevSource::File {
            path: Some(value.to_owned()),
            append: None,
            seclabels,
        }),
        T::Pipe => Ok(ChardevSource::Pipe {
            path: Some(value.to_owned()),
            seclabels,
        }),
        T::Tcp => {
            let (host, rest) = value.split_once(':').ok_or(SHAPE)?;
            let (service, options) = rest.split_once(',').unwrap_or((rest, ""));
            Ok(ChardevSource::Tcp(TcpSource {
                mode: side(options),
                host: owned(host),
                service: Some(service.to_owned()),
                protocol: if telnet {
                    TcpProtocol::Telnet
                } else {
                    TcpProtocol::Raw
                },
                ..TcpSource::default()
            }))
        }
        T::Udp => {
            let (connect, bind) = match value.split_once('@') {
                Some((connect, bind)) => (connect, Some(bind)),
                None => (value, None),
            };
            let end = |text: &str| -> std::result::Result<_, &'static str> {
                let (host, service) = text.split_once(':').ok_or(SHAPE)?;
                Ok(UdpEndpoint {
                    host: owned(host),
                    service: owned(service),
                })
            };
            Ok(ChardevSource::Udp(UdpSource {
                connect: end(connect)?,
                bind: bind.map(end).transpose()?.unwrap_or_default(),
            }))
        }
        T::Unix => {
            let (path, options) = value.split_once(',').unwrap_or((value, ""));
            Ok(ChardevSource::Unix(UnixSource {
                mode: side(options),
                path: Some(path.to_owned()),
                ..UnixSource::default()
            }))
        }
        _ => Err("the kind of connection is not supported"),
    }
}

/// Whether the options of a connection say that the device is the server.
fn side(options: &str) -> SourceMode {
    if options.split(',').any(|option| option == "server") {
        SourceMode::Bind
    } else {
        SourceMode::Connect
    }
}

/// A USB device of the host.
pub(super) fn usb(bus: u32, device: u32) -> Hostdev {
    hostdev(HostdevSubsys::Usb {
        managed: false,
        device: crate::domain::hostdev::UsbHostdev {
            bus,
            device,
            ..Default::default()
        },
    })
}

/// What is wrong with an entry of a list.
pub(super) fn wrong_entry(conf: &Conf, name: &str, entry: &str, what: &str) -> VirtError {
    conf.wrong(name, format_args!("'{entry}': {what}"))
}
