//! What a definition leaves out for older programs that read it: what all of them would add by themselves.

use virt_conf::cpu::{CpuFeaturePolicy, CpuMode};
use virt_conf::domain::Domain;
use virt_conf::domain::chardev::{ChannelTarget, ChardevSource, SerialTargetModel, SerialTargetType};
use virt_conf::domain::controller::{Controller, ControllerKind, PciControllerModel, UsbControllerModel};
use virt_conf::domain::device_info::is_user_alias;
use virt_conf::domain::normalize::in_reading_order;
use virt_conf::domain::small::{PanicModel, WatchdogAction, WatchdogModel};
use virt_conf::domain::sound::Audio;
use virt_conf::domain::storage::{StorageLocation, StorageSource};

use crate::machine::MachineKind;
use crate::plan::guest_arch;

/// Takes out of a definition what older programs do not know and the emulator has anyhow.
///
/// `audio` is the sound back end that the driver gives to a guest like this one; sockets of channels that lie in
/// `channel_folders` were named by the driver.
pub fn for_older(domain: &mut Domain, audio: Option<&Audio>, channel_folders: &[&str]) {
    // They get a copy, and a copy is what was written, read again.
    in_reading_order(domain);
    for disk in &mut domain.devices.disks {
        let medium = !matches!(
            disk.source.location,
            StorageLocation::Block { path: None } | StorageLocation::Dir { path: None }
        );
        // No source is written of which nothing is known, and a drive that says no source is of type 'file'.
        let nothing = StorageSource {
            location: disk.source.location.clone(),
            ..StorageSource::default()
        };
        if !medium && disk.source == nothing {
            disk.source = StorageSource::default();
        }
    }
    let Ok(arch) = guest_arch(domain) else { return };
    // The model had the feature once, though no emulator ever gave it to a guest: those who believe in it are told.
    if let Some(cpu) = &mut domain.cpu
        && arch.is_x86()
        && cpu.mode == CpuMode::Custom
        && cpu.model_name() == Some("Icelake-Server")
    {
        cpu.set_feature("pconfig", CpuFeaturePolicy::Disable);
    }
    let name = domain.os.kind.machine.clone().unwrap_or_default();
    let kind = MachineKind::new(&name, arch);
    let own = |controller: &Controller| controller.info.alias.as_deref().is_some_and(is_user_alias);
    let controllers = &mut domain.devices.controllers;
    // Only where it is the one of its sort.
    let single = |controllers: &[Controller], sort: fn(&ControllerKind) -> bool| {
        let mut found = (0..controllers.len()).filter(|at| sort(&controllers[*at].kind));
        found.next().filter(|_| found.next().is_none())
    };
    let usb = single(controllers, |kind| matches!(kind, ControllerKind::Usb { .. })).filter(|at| {
        let one = &controllers[*at];
        kind.is_i440fx()
            && !own(one)
            && matches!(
                one.kind,
                ControllerKind::Usb {
                    index: None | Some(0),
                    model: None | Some(UsbControllerModel::Piix3Uhci),
                    ..
                }
            )
    });
    let pci = single(controllers, |kind| matches!(kind, ControllerKind::Pci(_))).filter(|at| {
        let one = &controllers[*at];
        !own(one)
            && one.pci_hole64.is_none()
            && matches!(
                &one.kind,
                ControllerKind::Pci(pci)
                    if pci.index.unwrap_or(0) == 0 && pci.model == Some(PciControllerModel::PciRoot)
            )
    });
    let mut at = 0;
    controllers.retain(|_| {
        at += 1;
        Some(at - 1) != usb && Some(at - 1) != pci
    });
    let panics = &mut domain.devices.panics;
    let implied = |model: Option<PanicModel>| matches!(model, Some(PanicModel::S390 | PanicModel::Pseries));
    if let Some(at) = panics.iter().position(|panic| implied(panic.model)) {
        panics.remove(at);
    }
    for channel in &mut domain.devices.channels {
        let ChannelTarget::Virtio { name: target, .. } = &channel.target else {
            continue;
        };
        if let ChardevSource::Unix(unix) = &mut channel.host.source
            && unix.path.as_deref().is_some_and(|path| {
                let target = target.as_deref().unwrap_or_default();
                channel_folders
                    .iter()
                    .any(|folder| is_generated(path, folder, target))
            })
        {
            unix.path = None;
        }
    }
    for serial in &mut domain.devices.serials {
        let target = &mut serial.target;
        if matches!(
            target.kind,
            SerialTargetType::SpaprVioSerial | SerialTargetType::SystemSerial
        ) {
            (target.kind, target.model) = (SerialTargetType::None, SerialTargetModel::None);
        }
    }
    let audios = &mut domain.devices.audios;
    if audios.len() == 1 && audios.first() == audio {
        audios.clear();
    }
    if kind.is_q35() {
        let watchdogs = &mut domain.devices.watchdogs;
        let found = watchdogs
            .iter()
            .position(|watchdog| watchdog.model == WatchdogModel::Itco);
        if let Some(at) = found.filter(|at| watchdogs[*at].action == WatchdogAction::Reset) {
            watchdogs.remove(at);
        }
    }
}

/// `FOLDER/[target/][domain-]…/NAME`: a name that the driver makes.
fn is_generated(path: &str, folder: &str, target: &str) -> bool {
    let rest = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.map(|rest| rest.strip_prefix("target/").unwrap_or(rest));
    let Some(rest) = rest else { return false };
    match rest.strip_prefix("domain-") {
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(guest, name)| !guest.is_empty() && name == target),
        None => rest
            .strip_suffix(target)
            .is_some_and(|guest| guest.ends_with('.') && !guest.contains('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xml::XmlFlags;

    const FOLDER: &str = "/var/lib/libvirt/qemu/channel";

    fn older(machine: &str, devices: &str) -> String {
        let source = format!(
            "<domain type='qemu'><name>a</name><memory>1024</memory>\
             <os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
        );
        let mut domain = Domain::parse(&source, XmlFlags::INACTIVE, "a").unwrap_or_default();
        for_older(&mut domain, Some(&Audio::none(1)), &[FOLDER]);
        domain.format(XmlFlags::MIGRATABLE | XmlFlags::INACTIVE)
    }

    #[test]
    fn what_each_emulator_has_is_not_told() {
        let devices = "<controller type='usb' index='0' model='piix3-uhci'/>\
            <controller type='pci' index='0' model='pci-root'/><controller type='ide' index='0'/>\
            <audio id='1' type='none'/>";
        let text = older("pc-i440fx-10.0", devices);
        assert!(text.contains("type='ide'"), "{text}");
        assert!(
            !text.contains("usb") && !text.contains("pci-root") && !text.contains("audio"),
            "{text}"
        );
        // Two controllers are the user's, and so are those of machines that came later.
        let two = older(
            "pc-i440fx-10.0",
            "<controller type='usb' index='0' model='piix3-uhci'/><controller type='usb' index='1' model='ehci'/>",
        );
        assert!(two.contains("piix3-uhci"), "{two}");
        let later = older(
            "pc-q35-10.0",
            "<controller type='usb' index='0' model='piix3-uhci'/>",
        );
        assert!(later.contains("piix3-uhci"), "{later}");
    }

    #[test]
    fn a_copy_is_read_again() {
        let empty = "<disk type='block' device='cdrom'><target dev='sda' bus='sata'/></disk>";
        let text = older("pc-q35-10.0", empty);
        assert!(text.contains("<disk type='file' device='cdrom'>"), "{text}");
        let tray = "<disk type='block' device='cdrom'><source startupPolicy='optional'/><target dev='sda' bus='sata'/></disk>";
        let text = older("pc-q35-10.0", tray);
        assert!(text.contains("<disk type='block' device='cdrom'>"), "{text}");
    }

    #[test]
    fn what_a_model_once_had_is_turned_off() {
        let text = |model: &str| {
            let source = format!(
                "<domain type='qemu'><name>a</name><memory>1024</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>\
                 <cpu mode='custom'><model>{model}</model></cpu></domain>"
            );
            let mut domain = Domain::parse(&source, XmlFlags::INACTIVE, "a").unwrap_or_default();
            for_older(&mut domain, None, &[]);
            domain.format(XmlFlags::MIGRATABLE | XmlFlags::INACTIVE)
        };
        assert!(text("Icelake-Server").contains("<feature policy='disable' name='pconfig'/>"));
        assert!(!text("Icelake-Client").contains("pconfig"));
    }

    #[test]
    fn sockets_that_the_driver_names_are_known() {
        for (path, generated) in [
            ("/var/lib/libvirt/qemu/channel/target/domain-1-a/name", true),
            ("/var/lib/libvirt/qemu/channel/a.name", true),
            ("/var/lib/libvirt/qemu/channel/a.other", false),
            ("/tmp/name", false),
        ] {
            assert_eq!(is_generated(path, FOLDER, "name"), generated, "{path}");
        }
    }
}
