//! Domain → `xl.cfg`: what `xm` does not have.

use virt_util::conf_file::{ConfFile, ConfValue};
use virt_util::{Result, VirtError};

use super::format::{boot_letters, hostdevs, incomplete, text_list, usb_input_word};
use super::parse::unsupported;
use super::xl_parse::xen_feature_name;
use crate::cpu::{CpuFeaturePolicy, CpuMode};
use crate::domain::Domain;
use crate::domain::chardev::{ChannelTarget, ChardevSource, MouseMode};
use crate::domain::controller::{ControllerKind, UsbControllerModel};
use crate::domain::disk::{Disk, DiskDevice};
use crate::domain::graphics::Graphics;
use crate::domain::hostdev::HostdevSubsys;
use crate::domain::input::InputBus;
use crate::domain::os::LoaderType;
use crate::domain::storage::{NetProtocol, NetworkStorage, StorageFormat, StorageLocation};
use crate::numa::Numa;

/// Distances that nobody said.
const NEAR: u32 = 10;
const FAR: u32 = 20;

pub(super) fn rest(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    boot(conf, domain);
    cpu_features(conf, domain);
    if let Some(numa) = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()) {
        nodes(conf, numa)?;
    }
    for controller in &domain.devices.controllers {
        if let ControllerKind::Xenbus {
            max_grant_frames,
            max_event_channels,
            ..
        } = controller.kind
        {
            for (name, limit) in [
                ("max_event_channels", max_event_channels),
                ("max_grant_frames", max_grant_frames),
            ] {
                if let Some(limit) = limit.filter(|limit| *limit > 0) {
                    conf.set(name, u64::from(limit).into());
                }
            }
        }
    }
    let disks = domain
        .devices
        .disks
        .iter()
        .filter(|disk| disk.device != DiskDevice::Floppy);
    let disks = disks.map(disk).collect::<Result<Vec<_>>>()?;
    text_list(conf, "disk", disks);
    if domain.os.is_hvm() {
        spice(conf, domain);
        inputs(conf, domain);
    }
    let usb = hostdevs(domain).filter_map(|device| match device {
        HostdevSubsys::Usb { device, .. } => {
            Some(format!("hostbus={:x},hostaddr={:x}", device.bus, device.device))
        }
        _ => None,
    });
    text_list(conf, "usbdev", usb);
    usb_controllers(conf, domain)?;
    channels(conf, domain)?;
    if let Some(commandline) = &domain.xen_commandline {
        let args = commandline.args.iter().map(|arg| arg.value.clone());
        text_list(conf, "device_model_args", args);
    }
    Ok(())
}

fn texts<'a>(conf: &mut ConfFile, settings: impl IntoIterator<Item = (&'a str, &'a Option<String>)>) {
    for (name, value) in settings {
        if let Some(value) = value {
            conf.set(name, value.as_str().into());
        }
    }
}

fn boot(conf: &mut ConfFile, domain: &Domain) {
    let os = &domain.os;
    let kernel = [
        ("kernel", &*os.kernel),
        ("ramdisk", &*os.initrd),
        ("cmdline", &*os.cmdline),
    ];
    if !os.is_hvm() {
        if os.kind.os == crate::domain::os::OsType::Xenpvh {
            conf.set("type", "pvh".into());
        }
        texts(
            conf,
            [
                ("bootloader", &*domain.bootloader),
                ("bootargs", &*domain.bootloader_args),
            ],
        );
        texts(conf, kernel);
        return;
    }
    conf.set("builder", "hvm".into());
    let uefi = os
        .loader
        .as_ref()
        .filter(|loader| loader.kind == Some(LoaderType::Pflash));
    if let Some(loader) = uefi {
        conf.set("bios", "ovmf".into());
        texts(conf, [("bios_path_override", &loader.path)]);
    }
    if let Some(table) = os.acpi_tables.first() {
        conf.set("acpi_firmware", table.path.as_str().into());
    }
    texts(conf, kernel);
    conf.set("boot", boot_letters(domain).as_str().into());
    if let Some(cpu) = domain
        .cpu
        .as_ref()
        .filter(|cpu| cpu.mode == CpuMode::HostPassthrough)
    {
        let nested = !cpu.features.iter().any(|feature| {
            matches!(feature.name.as_str(), "vmx" | "svm")
                && matches!(
                    feature.policy,
                    CpuFeaturePolicy::Disable | CpuFeaturePolicy::Forbid
                )
        });
        conf.set("nestedhvm", nested.into());
    }
}

fn cpu_features(conf: &mut ConfFile, domain: &Domain) {
    let Some(cpu) = &domain.cpu else { return };
    if cpu.mode != CpuMode::HostPassthrough {
        tracing::warn!(
            "CPU mode '{}' is passed over: 'host-passthrough' is supported",
            cpu.mode
        );
        return;
    }
    let mut text = "host".to_owned();
    // Whether guests can have guests is said elsewhere.
    let features = cpu
        .features
        .iter()
        .filter(|feature| !matches!(feature.name.as_str(), "vmx" | "svm"));
    for feature in features {
        let policy = match feature.policy {
            CpuFeaturePolicy::Force | CpuFeaturePolicy::Require => '1',
            CpuFeaturePolicy::Optional => 'x',
            CpuFeaturePolicy::Disable | CpuFeaturePolicy::Forbid => '0',
        };
        text.push_str(&format!(",{}={policy}", xen_feature_name(&feature.name)));
    }
    if text != "host" {
        conf.set("cpuid", text.as_str().into());
    }
}

fn nodes(conf: &mut ConfFile, numa: &Numa) -> Result<()> {
    let count = numa.cells.len() as u32;
    let mut nodes = Vec::new();
    for (number, cell) in (0..).zip(&numa.cells) {
        let cpus = cell
            .cpus
            .as_ref()
            .ok_or_else(|| incomplete("a NUMA node without CPUs"))?;
        let distance = |to: u32| {
            let said = cell.distances.iter().find(|distance| distance.id == to);
            let said = said.map(|distance| distance.value).filter(|value| *value != 0);
            said.unwrap_or(if to == number { NEAR } else { FAR }).to_string()
        };
        let distances: Vec<String> = (0..count).map(distance).collect();
        let items = [
            format!("pnode={number}"),
            format!("size={}", cell.memory / 1024),
            format!("vcpus={}", cpus.0),
            format!("vdistances={}", distances.join(",")),
        ];
        nodes.push(ConfValue::List(items.map(ConfValue::String).to_vec()));
    }
    if !nodes.is_empty() {
        conf.set("vnuma", ConfValue::List(nodes));
    }
    Ok(())
}

fn disk(disk: &Disk) -> Result<String> {
    let format = match disk.driver.format {
        Some(StorageFormat::Vhd) => "xvhd",
        Some(StorageFormat::Qcow) => "qcow",
        Some(StorageFormat::Qcow2) => "qcow2",
        Some(StorageFormat::Qed) => "qed",
        _ => "raw",
    };
    let access = match (disk.rest.read_only, disk.rest.shareable) {
        (true, _) => "ro",
        (false, true) => "!",
        (false, false) => "rw",
    };
    if disk.rest.transient.is_some() {
        return Err(unsupported(format_args!(
            "disk '{}': Xen has no <transient/> disks",
            disk.target.dev
        )));
    }
    let mut out = format!("format={format},vdev={},access={access}", disk.target.dev);
    if let Some(driver) = &disk.driver.name {
        out.push_str(",backendtype=");
        out.push_str(match driver.as_str() {
            "qemu" | "file" => "qdisk",
            "tap" => "tap",
            "phy" => "phy",
            _ => "",
        });
    }
    if disk.device == DiskDevice::Cdrom {
        out.push_str(",devtype=cdrom");
    }
    let target = match &disk.source.location {
        location if location.is_empty() => None,
        StorageLocation::File { path, .. }
        | StorageLocation::Block { path }
        | StorageLocation::Dir { path } => path.clone(),
        StorageLocation::Network(storage) => Some(ceph(storage)?),
        other => {
            return Err(VirtError::internal(format_args!(
                "unsupported storage type '{}', 'file', 'block', 'dir' or 'network' is expected",
                other.storage_type()
            )));
        }
    };
    // Behind it nothing else can stand.
    if let Some(target) = target {
        out.push_str(&format!(",target={target}"));
    }
    Ok(out)
}

fn ceph(storage: &NetworkStorage) -> Result<String> {
    if storage.protocol != NetProtocol::Rbd {
        return Err(VirtError::no_support(format_args!(
            "Xen has no disk by protocol '{}': expected 'rbd'",
            storage.protocol
        )));
    }
    let name = storage.name.as_deref().unwrap_or_default();
    let image = name.split_once('/').map_or(name, |(_, image)| image);
    if image.contains(':') {
        return Err(unsupported(format_args!(
            "the name of RBD image '{image}' contains ':'"
        )));
    }
    let mut out = format!("rbd:{name}:auth_supported=none");
    for (at, host) in storage.hosts.iter().enumerate() {
        out.push_str(if at == 0 { ":mon_host=" } else { "\\\\;" });
        let name = host.name.as_deref().unwrap_or_default();
        if name.contains(':') {
            out.push_str(&format!("[{}]", name.replace(':', "\\:")));
        } else {
            out.push_str(name);
        }
        if host.port != 0 {
            out.push_str(&format!("\\\\:{}", host.port));
        }
    }
    Ok(out)
}

fn spice(conf: &mut ConfFile, domain: &Domain) {
    let Some(Graphics::Spice(spice)) = domain.devices.graphics.first() else {
        return;
    };
    let number = |conf: &mut ConfFile, name: &str, value: i32| {
        let value = i64::from(value);
        conf.set(
            name,
            u64::try_from(value).map_or(ConfValue::Negative(value), ConfValue::Number),
        );
    };
    conf.set("sdl", false.into());
    conf.set("vnc", false.into());
    conf.set("spice", true.into());
    if let Some(address) = spice.listens.first().and_then(|listen| listen.address.as_deref()) {
        conf.set("spicehost", address.into());
    }
    number(conf, "spiceport", spice.port);
    number(conf, "spicetls_port", spice.tls_port);
    conf.set("spicedisable_ticketing", spice.auth.password.is_none().into());
    if let Some(password) = &spice.auth.password {
        conf.set("spicepasswd", password.as_str().into());
    }
    if let Some(mode) = spice.options.mouse {
        let client = mode == MouseMode::Client;
        conf.set("spiceagent_mouse", client.into());
        if client {
            conf.set("spicevdagent", true.into());
        }
    }
    if spice.options.clipboard == Some(true) {
        conf.set("spice_clipboard_sharing", true.into());
        conf.set("spicevdagent", true.into());
    }
}

fn inputs(conf: &mut ConfFile, domain: &Domain) {
    let usb: Vec<_> = domain
        .devices
        .inputs
        .iter()
        .filter(|input| input.bus == Some(InputBus::Usb))
        .collect();
    if usb.is_empty() {
        return;
    }
    conf.set("usb", true.into());
    let words: Vec<&str> = usb.into_iter().filter_map(usb_input_word).collect();
    match words.as_slice() {
        // Old versions of Xen know one device only.
        [word] => conf.set("usbdevice", (*word).into()),
        words => text_list(conf, "usbdevice", words.iter().map(|word| (*word).to_owned())),
    }
}

fn usb_controllers(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let mut texts = Vec::new();
    for controller in &domain.devices.controllers {
        let ControllerKind::Usb { model, ports, .. } = &controller.kind else {
            continue;
        };
        let mut text = match model {
            None => "",
            Some(UsbControllerModel::Qusb1) => "type=qusb,version=1,",
            Some(UsbControllerModel::Qusb2) => "type=qusb,version=2,",
            Some(model) => {
                return Err(unsupported(format_args!(
                    "unsupported USB controller model '{model}', 'qusb1' or 'qusb2' is expected"
                )));
            }
        }
        .to_owned();
        if let Some(ports) = ports {
            text.push_str(&format!("ports={ports:x}"));
        }
        texts.push(text);
    }
    text_list(conf, "usbctrl", texts);
    Ok(())
}

fn channels(conf: &mut ConfFile, domain: &Domain) -> Result<()> {
    let mut texts = Vec::new();
    for channel in &domain.devices.channels {
        let ChannelTarget::Xen { name } = &channel.target else {
            continue;
        };
        let connection = match &channel.host.source {
            ChardevSource::Pty { .. } => "pty,".to_owned(),
            ChardevSource::Unix(unix) => {
                let path = unix.path.as_ref().map(|path| format!("path={path},"));
                format!("socket,{}", path.unwrap_or_default())
            }
            source => {
                return Err(unsupported(format_args!(
                    "unsupported channel type '{}', 'pty' or 'unix' is expected",
                    source.chardev_type()
                )));
            }
        };
        let name = name.as_deref().unwrap_or_default();
        texts.push(format!("connection={connection}name={name}"));
    }
    text_list(conf, "channel", texts);
    Ok(())
}
