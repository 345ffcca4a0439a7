//! `xl.cfg` → domain: what `xm` does not have.

use virt_util::bitmap::Bitmap;
use virt_util::conf_file::ConfValue;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::XenContext;
use super::conf::{Conf, loose_pairs};
use super::parse::{boot_order, command_line, paravirtual_boot, unsupported};
use super::parse_devices::{listen, usb, wrong_entry};
use super::xl_disk;
use crate::cpu::{Cpu, CpuFeature, CpuFeaturePolicy, CpuMode};
use crate::domain::Domain;
use crate::domain::chardev::{
    Channel, ChannelTarget, ChardevHost, ChardevSource, MouseMode, SourceMode, UnixSource,
};
use crate::domain::controller::{Controller, ControllerKind, UsbControllerModel};
use crate::domain::device_info::DeviceInfo;
use crate::domain::graphics::{Graphics, GraphicsAuth, SpiceGraphics, SpiceOptions};
use crate::domain::input::{Input, InputBus, InputType};
use crate::domain::namespaces::{Argument, XenCommandline};
use crate::domain::os::{AcpiTable, AcpiTableType, Loader, LoaderType};
use crate::domain::storage::StorageFormat;
use crate::native;
use crate::numa::{Numa, NumaCell, NumaDistance};
use crate::values::CpuSet;

/// Most CPUs of a node.
const CPU_LIMIT: usize = 1024;

pub(super) fn rest(conf: &Conf, domain: &mut Domain, cx: &XenContext<'_>) -> Result<()> {
    boot(conf, domain, cx)?;
    nodes(conf, domain)?;
    limits(conf, domain)?;
    cpu_features(conf, domain)?;
    for entry in conf.loose_texts("disk") {
        let disk = xl_disk::parse(entry, domain.os.is_hvm())
            .map_err(|what| conf.wrong("disk", format_args!("'{entry}': {what}")))?;
        domain.devices.disks.push(disk);
    }
    if domain.os.is_hvm() {
        if conf.switch("spice")?.unwrap_or(false) {
            domain.devices.graphics = vec![spice(conf)?];
        }
        inputs(conf, domain)?;
    }
    usb_devices(conf, domain);
    usb_controllers(conf, domain);
    channels(conf, domain)?;
    let args: Vec<Argument> = conf
        .loose_texts("device_model_args")
        .into_iter()
        .map(|value| Argument {
            value: value.to_owned(),
        })
        .collect();
    if !args.is_empty() {
        domain.xen_commandline = Some(Box::new(XenCommandline { args }));
    }
    Ok(())
}

fn boot(conf: &Conf, domain: &mut Domain, cx: &XenContext<'_>) -> Result<()> {
    let (root_and_extra, given) = (command_line(conf), conf.owned("cmdline")?);
    let root_and_extra = root_and_extra?;
    let cmdline = match given {
        Some(cmdline) => {
            if root_and_extra.is_some() {
                tracing::warn!("'root' and 'extra' are passed over in favour of 'cmdline'");
            }
            Some(cmdline)
        }
        None => root_and_extra,
    };
    if !domain.os.is_hvm() {
        paravirtual_boot(conf, domain)?;
        domain.os.cmdline = cmdline.into();
        return Ok(());
    }
    let path = conf.owned("bios_path_override")?;
    let loader = if conf.text("bios")? == Some("ovmf") {
        Loader {
            kind: Some(LoaderType::Pflash),
            read_only: Some(true),
            path: Some(path.unwrap_or_else(|| format!("{}/ovmf.bin", cx.firmware_dir))),
            ..Loader::default()
        }
    } else {
        Loader {
            path: cx.guest(domain.os.kind.os)?.loader.clone(),
            ..Loader::default()
        }
    };
    domain.os.loader = Some(Box::new(Loader {
        format: Some(StorageFormat::Raw),
        ..loader
    }));
    if let Some(path) = conf.owned("acpi_firmware")? {
        domain.os.acpi_tables.push(AcpiTable {
            kind: AcpiTableType::Rawset,
            path,
        });
    }
    domain.os.kernel = conf.owned("kernel")?.into();
    domain.os.initrd = conf.owned("ramdisk")?.into();
    domain.os.cmdline = cmdline.into();
    domain.os.boot = boot_order(conf)?;
    if let Some(nested) = conf.switch("nestedhvm")? {
        let mut cpu = passthrough_cpu();
        if !nested {
            cpu.features.push(CpuFeature {
                policy: CpuFeaturePolicy::Disable,
                name: cx.nesting_feature.to_owned(),
            });
        }
        domain.cpu = Some(Box::new(cpu));
    }
    Ok(())
}

fn passthrough_cpu() -> Cpu {
    Cpu {
        mode: CpuMode::HostPassthrough,
        ..Cpu::default()
    }
}

fn syntax(conf: &Conf, name: &str, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONF_SYNTAX, conf.wrong(name, what).detail())
}

/// NUMA nodes: lists of `pnode=…`, `size=…` (MiB), `vcpus=…`, `vdistances=…`.
fn nodes(conf: &Conf, domain: &mut Domain) -> Result<()> {
    const NAME: &str = "vnuma";
    let Some(ConfValue::List(list)) = conf.get(NAME) else {
        return Ok(());
    };
    let count = list
        .iter()
        .take_while(|node| matches!(node, ConfValue::List(_)))
        .count();
    if count == 0 {
        return Err(conf.wrong(NAME, "a list of lists is expected"));
    }
    let mut cells = Vec::new();
    let mut vcpus = 0;
    for (number, node) in (0..).zip(list) {
        let ConfValue::List(items) = node else {
            return Err(syntax(conf, NAME, format_args!("node {number} is no list")));
        };
        let mut cell = NumaCell {
            id: Some(number),
            ..NumaCell::default()
        };
        let mut physical = false;
        for item in items {
            let ConfValue::String(text) = item else { break };
            let Some((_, data)) = text.rsplit_once('=') else {
                return Err(conf.wrong(
                    NAME,
                    format_args!("node {number}: '{text}': 'NAME=VALUE' is expected"),
                ));
            };
            if data.is_empty() {
                continue;
            }
            let invalid = |what: &str| conf.wrong(NAME, format_args!("node {number}: '{text}': {what}"));
            if text.starts_with("pnode") {
                let known = native::number::<u32>(data).is_some_and(|node| (node as usize) < count);
                if !known {
                    return Err(unsupported(
                        invalid("a number below that of nodes is expected").detail(),
                    ));
                }
                physical = true;
            } else if text.starts_with("size") {
                cell.memory = native::number::<u64>(data)
                    .and_then(|size| size.checked_mul(1024))
                    .ok_or_else(|| invalid("MiB are expected"))?;
            } else if text.starts_with("vcpus") {
                let set =
                    Bitmap::parse(data, CPU_LIMIT).map_err(|_| invalid("CPUs as in '0-3,8' are expected"))?;
                vcpus += set.count();
                cell.cpus = Some(CpuSet(set));
            } else if text.starts_with("vdistances") {
                let values: Vec<&str> = data.split(',').collect();
                if values.len() != count {
                    let what = format!("as many distances as nodes ({count}) are expected");
                    return Err(unsupported(invalid(&what).detail()));
                }
                for (id, value) in (0..).zip(values) {
                    let value = native::number::<u32>(value)
                        .filter(|value| (10..=255).contains(value) && (*value == 10) == (id == number))
                        .ok_or_else(|| invalid("distances are 11 to 255, and 10 to the node itself"))?;
                    cell.distances.push(NumaDistance { id, value });
                }
            } else {
                return Err(syntax(
                    conf,
                    NAME,
                    format_args!(
                        "node {number}: '{text}': 'pnode', 'size', 'vcpus' or 'vdistances' is expected"
                    ),
                ));
            }
        }
        if !physical || cell.cpus.is_none() || cell.memory == 0 {
            let what = format!("node {number} needs all of 'pnode', 'size' and 'vcpus'");
            return Err(syntax(conf, NAME, what));
        }
        cells.push(cell);
    }
    if vcpus > domain.vcpus.max as usize {
        let what = format!(
            "the nodes hold {vcpus} CPUs, the guest has {} at most",
            domain.vcpus.max
        );
        return Err(unsupported(conf.wrong(NAME, what).detail()));
    }
    domain.cpu = Some(Box::new(Cpu {
        numa: Some(Numa {
            cells,
            ..Numa::default()
        }),
        ..Cpu::default()
    }));
    Ok(())
}

/// Limits of the Xen bus, whose controller every guest has.
fn limits(conf: &Conf, domain: &mut Domain) -> Result<()> {
    let limit = |name: &str| Ok::<_, VirtError>(conf.small::<u32>(name)?.filter(|limit| *limit > 0));
    domain
        .devices
        .controllers
        .push(Controller::new(ControllerKind::Xenbus {
            index: Some(0),
            max_grant_frames: limit("max_grant_frames")?,
            max_event_channels: limit("max_event_channels")?,
        }));
    Ok(())
}

/// CPU features that libvirt and Xen call by different names.
const FEATURE_NAMES: &[(&str, &str)] = &[
    ("cx16", "cmpxchg16"),
    ("cid", "cntxid"),
    ("ds_cpl", "dscpl"),
    ("pclmuldq", "pclmulqdq"),
    ("pni", "sse3"),
    ("ht", "htt"),
    ("pn", "psn"),
    ("clflush", "clfsh"),
    ("sep", "sysenter"),
    ("cx8", "cmpxchg8"),
    ("nodeid_msr", "nodeid"),
    ("cr8legacy", "altmovcr8"),
    ("lahf_lm", "lahfsahf"),
    ("cmp_legacy", "cmplegacy"),
    ("fxsr_opt", "ffxsr"),
    ("pdpe1gb", "page1gb"),
    ("spec-ctrl", "ibrsb"),
];

/// libvirt's name of a feature.
fn feature_name(name: &str) -> &str {
    FEATURE_NAMES
        .iter()
        .find(|(_, xen)| *xen == name)
        .map_or(name, |(ours, _)| ours)
}

/// Xen's name of a feature.
pub(super) fn xen_feature_name(name: &str) -> &str {
    FEATURE_NAMES
        .iter()
        .find(|(ours, _)| *ours == name)
        .map_or(name, |(_, xen)| xen)
}

fn cpu_features(conf: &Conf, domain: &mut Domain) -> Result<()> {
    const NAME: &str = "cpuid";
    let Some(text) = conf.text(NAME)? else {
        return Ok(());
    };
    let cpu = domain.cpu.get_or_insert_with(|| Box::new(passthrough_cpu()));
    let mut parts = text.split(',');
    match parts.next() {
        None | Some("") => return Ok(()),
        Some("host") => {}
        Some(_) => {
            return Err(syntax(
                conf,
                NAME,
                "'host' is expected first: no other form is supported",
            ));
        }
    }
    for part in parts {
        let what = || format!("'{part}': a feature and one of '=1', '=0', '=x', '=k', '=s' is expected");
        let (name, value) = part.split_once('=').ok_or_else(|| syntax(conf, NAME, what()))?;
        let policy = match value {
            "1" => CpuFeaturePolicy::Force,
            "0" => CpuFeaturePolicy::Disable,
            "x" | "k" | "s" => CpuFeaturePolicy::Optional,
            _ => return Err(syntax(conf, NAME, what())),
        };
        let name = feature_name(name);
        if cpu.features.iter().any(|feature| feature.name == name) {
            let what = format!("'cpuid' says feature '{name}' twice");
            return Err(unsupported(conf.wrong(NAME, what).detail()));
        }
        cpu.features.push(CpuFeature {
            policy,
            name: name.to_owned(),
        });
    }
    // Nodes make a CPU of its own kind, without a model that features could be added to.
    if cpu.mode == CpuMode::Custom && !cpu.features.is_empty() {
        let place = conf.wrong(
            NAME,
            "features are expected to have a CPU, which 'vnuma' leaves without a model",
        );
        return Err(place.in_domain(ErrorDomain::CPU));
    }
    Ok(())
}

fn spice(conf: &Conf) -> Result<Graphics> {
    let port = |name: &str| Ok::<_, VirtError>(conf.wrapped(name)?.unwrap_or_default());
    let (port, tls_port) = (port("spiceport")?, port("spicetls_port")?);
    let password = if conf.switch("spicedisable_ticketing")?.unwrap_or(false) {
        None
    } else {
        Some(conf.required("spicepasswd")?.to_owned())
    };
    let client = conf.switch("spiceagent_mouse")?.unwrap_or(false);
    Ok(Graphics::Spice(Box::new(SpiceGraphics {
        listens: listen(conf.owned("spicehost")?),
        port,
        tls_port,
        autoport: port == 0 && tls_port == 0,
        auth: GraphicsAuth {
            password,
            ..GraphicsAuth::default()
        },
        options: SpiceOptions {
            mouse: Some(if client {
                MouseMode::Client
            } else {
                MouseMode::Server
            }),
            clipboard: Some(conf.switch("spice_clipboard_sharing")?.unwrap_or(false)),
            ..SpiceOptions::default()
        },
    })))
}

/// The input device that `usbdevice` names.
pub(super) fn usb_input(word: &str) -> Option<Input> {
    let kind = match word {
        "tablet" => InputType::Tablet,
        "mouse" => InputType::Mouse,
        "keyboard" => InputType::Keyboard,
        _ => return None,
    };
    Some(Input {
        kind,
        bus: Some(InputBus::Usb),
        ..Input::default()
    })
}

fn inputs(conf: &Conf, domain: &mut Domain) -> Result<()> {
    const NAME: &str = "usbdevice";
    let words = match conf.texts(NAME)? {
        Some(words) => words,
        None => conf.text(NAME)?.into_iter().collect(),
    };
    domain
        .devices
        .inputs
        .extend(words.into_iter().filter_map(usb_input));
    Ok(())
}

/// Entries that make no sense are passed over, as libvirt does.
fn usb_devices(conf: &Conf, domain: &mut Domain) {
    for entry in conf.loose_texts("usbdev") {
        let read = || {
            let (mut bus, mut device) = (0, 0);
            for (key, value) in loose_pairs(entry)? {
                let number = || {
                    Some(
                        virt_util::xml::parse_integer::<i32>(value, 16)
                            .ok()?
                            .cast_unsigned(),
                    )
                };
                match key {
                    "hostbus" => bus = number()?,
                    "hostaddr" => device = number()?,
                    _ => {}
                }
            }
            Some(usb(bus, device))
        };
        domain.devices.hostdevs.extend(read());
    }
}

/// Entries that make no sense are passed over, as libvirt does.
fn usb_controllers(conf: &Conf, domain: &mut Domain) {
    for entry in conf.loose_texts("usbctrl") {
        let read = || {
            let (mut version, mut ports) = (2, 8);
            for (key, value) in loose_pairs(entry)? {
                let number = || virt_util::xml::parse_integer::<i32>(value, 16).ok();
                match key {
                    "type" if !value.starts_with("qusb") => return None,
                    "version" => version = number()?,
                    "ports" => ports = number()?,
                    _ => {}
                }
            }
            let one = version == 1;
            Some(Controller::new(ControllerKind::Usb {
                index: None,
                model: Some(if one {
                    UsbControllerModel::Qusb1
                } else {
                    UsbControllerModel::Qusb2
                }),
                ports: u32::try_from(ports).ok(),
            }))
        };
        domain.devices.controllers.extend(read());
    }
}

fn channels(conf: &Conf, domain: &mut Domain) -> Result<()> {
    for entry in conf.loose_texts("channel") {
        let Some(pairs) = loose_pairs(entry) else {
            continue;
        };
        // The last connection counts, and the first of all else.
        let connection = pairs.iter().rev().find(|(key, _)| *key == "connection");
        let value = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let source = match connection.map(|(_, value)| *value) {
            Some(kind) if kind.starts_with("socket") => ChardevSource::Unix(UnixSource {
                mode: SourceMode::Bind,
                path: value("path"),
                ..UnixSource::default()
            }),
            Some(kind) if kind.starts_with("pty") => ChardevSource::default(),
            _ => {
                let what = "'connection=socket' or 'connection=pty' is expected";
                return Err(wrong_entry(conf, "channel", entry, what));
            }
        };
        domain.devices.channels.push(Channel {
            host: ChardevHost { source, log: None },
            target: ChannelTarget::Xen { name: value("name") },
            info: DeviceInfo::default(),
        });
    }
    Ok(())
}
