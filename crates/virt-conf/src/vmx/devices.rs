//! Displays, shared folders, network cards and ports from a `.vmx` file.

use std::collections::BTreeSet;

use virt_util::Result;
use virt_util::uri::Uri;

use super::parse::Vmx;
use super::{MissingFile, VmxFiles};
use crate::domain::chardev::{
    ChardevHost, ChardevSource, Parallel, Serial, SerialTarget, SourceMode, TcpProtocol, TcpSource,
};
use crate::domain::filesystem::{Filesystem, FilesystemSource};
use crate::domain::graphics::{Graphics, GraphicsAuth, Listen, ListenType, Listens, VncGraphics};
use crate::domain::interface::{Interface, InterfaceSource, InterfaceTarget, IpConfig, MacType};
use crate::domain::video::{Video, VideoModel, VideoModelType};
use crate::values::MacAddress;
use virt_util::xml::XmlValue;

pub(super) fn vnc(vmx: &Vmx) -> Result<Option<Graphics>> {
    if !vmx.bool("RemoteDisplay.vnc.enabled", false)? {
        return Ok(None);
    }
    let owned = |name: &str| vmx.text(name).map(str::to_owned);
    let port = vmx.number("RemoteDisplay.vnc.port", -1)?;
    if !(5900..=5964).contains(&port) {
        tracing::warn!("the VNC port {port} is unknown or none of 5900 to 5964");
    }
    let port = i32::try_from(port).map_err(|_| vmx.wrong("RemoteDisplay.vnc.port", "a port is expected"))?;
    Ok(Some(Graphics::Vnc(VncGraphics {
        listens: Listens(vec![Listen {
            kind: ListenType::Address,
            address: owned("RemoteDisplay.vnc.ip"),
            ..Listen::default()
        }]),
        port: port.max(0),
        autoport: port < 0,
        keymap: owned("RemoteDisplay.vnc.keymap"),
        auth: GraphicsAuth {
            password: owned("RemoteDisplay.vnc.password"),
            ..GraphicsAuth::default()
        },
        ..VncGraphics::default()
    })))
}

pub(super) fn video(vmx: &Vmx) -> Result<Video> {
    let bytes = vmx.number("svga.vramSize", 4 << 20)?;
    let vram = u32::try_from(bytes.max(0).unsigned_abs().div_ceil(1024))
        .map_err(|_| vmx.wrong("svga.vramSize", "fewer bytes are expected"))?;
    Ok(Video {
        model: VideoModel {
            kind: VideoModelType::Vmvga,
            vram,
            ..VideoModel::default()
        },
        ..Video::default()
    })
}

/// The numbers that stand behind `prefix` in names of settings, and what is behind them.
fn numbers<'a>(
    vmx: &'a Vmx,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a crate::native::Setting, Option<u32>)> {
    vmx.settings.entries().iter().filter_map(move |entry| {
        let start = entry.name.get(..prefix.len())?;
        let rest = entry.name.get(prefix.len()..)?;
        start.eq_ignore_ascii_case(prefix).then(|| {
            (
                entry,
                rest.split_once('.').and_then(|(number, _)| number.parse().ok()),
            )
        })
    })
}

pub(super) fn shared_folders(vmx: &Vmx) -> Result<Vec<Filesystem>> {
    if vmx.bool("isolation.tools.hgfs.disable", true)? {
        return Ok(Vec::new());
    }
    let limit = vmx.number("sharedFolder.maxNum", 0)?;
    let found: BTreeSet<u32> = numbers(vmx, "sharedFolder")
        .filter_map(|(_, number)| number)
        .filter(|number| i64::from(*number) < limit)
        .collect();
    let mut folders = Vec::new();
    for number in found {
        let name = |of: &str| format!("sharedFolder{number}.{of}");
        let present = vmx.bool(&name("present"), false)?;
        if !vmx.bool(&name("enabled"), false)? || !present {
            continue;
        }
        folders.push(Filesystem {
            source: FilesystemSource::Mount {
                dir: Some(vmx.required(&name("hostPath"))?.to_owned()),
                socket: None,
            },
            target: Some(vmx.required(&name("guestName"))?.to_owned()),
            read_only: !vmx.bool(&name("writeAccess"), false)?,
            ..Filesystem::default()
        });
    }
    Ok(folders)
}

pub(super) fn interfaces(vmx: &Vmx) -> Result<Vec<Interface>> {
    let mut found = BTreeSet::new();
    for (entry, number) in numbers(vmx, "ethernet") {
        let number = number.filter(|number| i32::try_from(*number).is_ok());
        found.insert(number.ok_or_else(|| {
            vmx.settings.wrong_entry(
                entry,
                "a number and a dot are expected behind 'ethernet' in the name",
            )
        })?);
    }
    let mut interfaces = Vec::new();
    for number in found {
        interfaces.extend(interface(vmx, number)?);
    }
    Ok(interfaces)
}

fn interface(vmx: &Vmx, number: u32) -> Result<Option<Interface>> {
    let name = |of: &str| format!("ethernet{number}.{of}");
    let present = vmx.bool(&name("present"), false)?;
    vmx.bool(&name("startConnected"), true)?;
    if !present {
        return Ok(None);
    }
    let mut interface = Interface::default();
    let is = |text: Option<&str>, word: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(word));
    let kind = vmx.text(&name("addressType"));
    let setting = if kind.is_none() || is(kind, "generated") || is(kind, "vpx") {
        interface.mac.kind = kind.map(|_| MacType::Generated);
        name("generatedAddress")
    } else if is(kind, "static") {
        interface.mac.kind = Some(MacType::Static);
        name("address")
    } else {
        return Err(vmx.wrong(&name("addressType"), "'generated', 'static' or 'vpx' is expected"));
    };
    if let Some(text) = vmx.text(&setting) {
        let mac =
            MacAddress::parse_value(text).map_err(|_| vmx.wrong(&setting, "a MAC address is expected"))?;
        interface.mac.address = Some(mac);
    }
    interface.mac.check = vmx.text(&name("checkMACAddress")).map(|text| text == "true");
    interface.model = model(vmx, number)?;
    let connection = vmx.text(&name("connectionType"));
    let network = match connection {
        None => vmx.text(&name("networkName")),
        Some(_) if is(connection, "bridged") || is(connection, "custom") => {
            Some(vmx.required(&name("networkName"))?)
        }
        Some(_) => None,
    };
    let bridge = || InterfaceSource::Bridge {
        bridge: network.unwrap_or_default().to_owned(),
        unnamed: false,
        host: IpConfig::default().into(),
    };
    if is(connection, "custom") {
        let vnet = vmx.required(&name("vnet"))?;
        if vmx.text(&name("dvs.switchId")).is_none() {
            interface.target = Some(InterfaceTarget {
                dev: Some(vnet.to_owned()),
                ..InterfaceTarget::default()
            });
        }
    }
    interface.source = if let Some(switch_id) = vmx.uuid(&name("dvs.switchId"))? {
        InterfaceSource::Vds {
            switch_id,
            port_id: vmx.number(&name("dvs.portId"), 0)?,
            portgroup_id: vmx.text(&name("dvs.portgroupId")).map(str::to_owned),
            connection_id: vmx.number(&name("dvs.connectionId"), 0)?,
        }
    } else if connection.is_none() && network.is_none() {
        InterfaceSource::Null
    } else if connection.is_none() || is(connection, "bridged") || is(connection, "custom") {
        bridge()
    } else if is(connection, "nat") {
        InterfaceSource::default()
    } else {
        let what = "'bridged', 'nat' or 'custom' is expected ('hostonly' is not supported)";
        return Err(vmx.wrong(&name("connectionType"), what));
    };
    Ok(Some(interface))
}

/// Models of network cards.
const MODELS: &[&str] = &["vlance", "vmxnet", "vmxnet3", "e1000", "e1000e"];

fn model(vmx: &Vmx, number: u32) -> Result<Option<String>> {
    let name = format!("ethernet{number}.virtualDev");
    let features = vmx.number(&format!("ethernet{number}.features"), 0)?;
    let Some(text) = vmx.text(&name) else {
        return Ok(None);
    };
    let model = MODELS.iter().find(|model| model.eq_ignore_ascii_case(text));
    let model =
        model.ok_or_else(|| vmx.wrong(&name, format_args!("one of {} is expected", MODELS.join(", "))))?;
    // The enhanced card is the first one with all its features on.
    let enhanced = *model == "vmxnet" && features == 15;
    Ok(Some(if enhanced { "vmxnet2" } else { model }.to_owned()))
}

pub(super) fn serials(vmx: &Vmx, files: &dyn VmxFiles) -> Result<Vec<Serial>> {
    let mut serials = Vec::new();
    for port in 0..4 {
        let prefix = format!("serial{port}");
        let Some(source) = port_source(vmx, &prefix, files, true)? else {
            continue;
        };
        serials.push(Serial {
            host: ChardevHost { source, log: None },
            target: SerialTarget {
                port: Some(port),
                ..SerialTarget::default()
            },
            ..Serial::default()
        });
    }
    Ok(serials)
}

pub(super) fn parallels(vmx: &Vmx, files: &dyn VmxFiles) -> Result<Vec<Parallel>> {
    let mut parallels = Vec::new();
    for port in 0..3 {
        let prefix = format!("parallel{port}");
        let Some(source) = port_source(vmx, &prefix, files, false)? else {
            continue;
        };
        parallels.push(Parallel {
            host: ChardevHost { source, log: None },
            port: Some(port),
            ..Parallel::default()
        });
    }
    Ok(parallels)
}

/// What a port is connected to; serial ports may leave out that it is a device.
fn port_source(vmx: &Vmx, prefix: &str, files: &dyn VmxFiles, serial: bool) -> Result<Option<ChardevSource>> {
    let name = |of: &str| format!("{prefix}.{of}");
    let present = vmx.bool(&name("present"), false)?;
    vmx.bool(&name("startConnected"), true)?;
    if !present {
        return Ok(None);
    }
    if !serial {
        vmx.required(&name("fileType"))?;
        vmx.required(&name("fileName"))?;
    }
    let path = vmx.text(&name("fileName")).map(str::to_owned);
    let kind = vmx
        .text(&name("fileType"))
        .unwrap_or("device")
        .to_ascii_lowercase();
    let seclabels = Vec::new();
    let source = match kind.as_str() {
        "device" => ChardevSource::Dev { path, seclabels },
        "file" => {
            let file = vmx.required(&name("fileName"))?;
            let path = files
                .to_definition(file, MissingFile::IsError)
                .map_err(|error| error.context(format_args!("setting '{}'", name("fileName"))))?;
            ChardevSource::File {
                path,
                append: None,
                seclabels,
            }
        }
        "pipe" if serial => ChardevSource::Pipe { path, seclabels },
        "network" if serial => network_source(vmx, prefix)?,
        _ if serial => {
            return Err(vmx.wrong(
                &name("fileType"),
                "'device', 'file', 'pipe' or 'network' is expected",
            ));
        }
        _ => return Err(vmx.wrong(&name("fileType"), "'device' or 'file' is expected")),
    };
    Ok(Some(source))
}

/// A serial port on the network. Addresses that cannot be understood are common and connect the port to nothing.
fn network_source(vmx: &Vmx, prefix: &str) -> Result<ChardevSource> {
    let name = format!("{prefix}.fileName");
    let uri = vmx.text(&name).and_then(|text| Uri::parse(text).ok());
    let Some(uri) = uri.filter(|uri| uri.port != 0) else {
        return Ok(ChardevSource::Null);
    };
    let scheme = uri.scheme.as_deref().map(str::to_ascii_lowercase);
    let protocol = match scheme.as_deref() {
        None | Some("tcp" | "tcp4" | "tcp6") => TcpProtocol::Raw,
        Some("telnet") => TcpProtocol::Telnet,
        Some("telnets") => TcpProtocol::Telnets,
        Some("ssl" | "tcp+ssl" | "tcp4+ssl" | "tcp6+ssl") => TcpProtocol::Tls,
        Some(_) => {
            let what = "a scheme 'tcp', 'telnet', 'telnets', 'ssl' or 'tcp+ssl' is expected";
            return Err(vmx.wrong(&name, what));
        }
    };
    let end = format!("{prefix}.network.endPoint");
    let mode = match vmx.text(&end).map(str::to_ascii_lowercase).as_deref() {
        None | Some("server") => SourceMode::Bind,
        Some("client") => SourceMode::Connect,
        Some(_) => return Err(vmx.wrong(&end, "'server' or 'client' is expected")),
    };
    Ok(ChardevSource::Tcp(TcpSource {
        mode,
        host: uri.server,
        service: Some(uri.port.to_string()),
        protocol,
        ..TcpSource::default()
    }))
}
