//! What Xen adds to a definition, and what it refuses.

use virt_conf::domain::chardev::{Console, ConsoleTargetType};
use virt_conf::domain::controller::{ControllerKind, ControllerType};
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys, PciDriverName, PciHostdev};
use virt_conf::domain::input::{Input, InputBus, InputType};
use virt_conf::domain::interface::InterfaceSource;
use virt_conf::domain::normalize::{
    DeviceRef, DomainFeatures, DomainHooks, NormalizeContext, add_controller, next_free_index,
};
use virt_conf::domain::os::{AcpiTableType, FirmwareFeatureName, FirmwareType, OsType};
use virt_conf::domain::small::{Memballoon, MemballoonModel};
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::storage::{StorageFormat, StorageLocation};
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Domain, VirtType};
use virt_conf::xen::XenGuest;
use virt_util::{ErrorCode, Result, VirtError};

/// What names of network devices that the tool stack makes begin with.
const GENERATED_PREFIX: &str = "vif";

/// The driver's part of normalizing.
pub struct XenHooks<'a> {
    /// Kinds of guests that the host runs, best first.
    pub guests: &'a [XenGuest],
    /// Whether a device model is the old one, of Xen's own QEMU.
    pub is_traditional: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for XenHooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XenHooks")
            .field("guests", &self.guests)
            .finish_non_exhaustive()
    }
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn add_input(domain: &mut Domain, kind: InputType, bus: InputBus) {
    let inputs = &mut domain.devices.inputs;
    if !inputs
        .iter()
        .any(|input| input.kind == kind && input.bus == Some(bus))
    {
        inputs.push(Input {
            kind,
            bus: Some(bus),
            ..Input::default()
        });
    }
}

/// KiB of video memory of a card that says none; 0 for cards that Xen knows nothing of.
fn video_memory(model: VideoModelType, traditional: bool) -> u32 {
    match (model, traditional) {
        (VideoModelType::Vga | VideoModelType::Xen, false) => 16 * 1024,
        (VideoModelType::Vga | VideoModelType::Xen, true) | (VideoModelType::Cirrus, false) => 8 * 1024,
        (VideoModelType::Cirrus, true) => 4 * 1024,
        (VideoModelType::Qxl, _) => 128 * 1024,
        _ => 0,
    }
}

impl XenHooks<'_> {
    fn video(&self, domain: &mut Domain, at: usize) {
        let (os, arch) = (domain.os.kind.os, domain.os.kind.arch.as_deref());
        let default = match (os, arch) {
            (OsType::Xen | OsType::Linux, _) => VideoModelType::Xen,
            (_, Some("ppc64" | "ppc64le")) => VideoModelType::Vga,
            _ => VideoModelType::Cirrus,
        };
        let emulator = domain.devices.emulator.as_deref();
        let traditional = emulator.is_some_and(|emulator| (self.is_traditional)(emulator));
        let Some(video) = domain.devices.videos.get_mut(at) else {
            return;
        };
        if video.model.kind == VideoModelType::Default {
            video.model.kind = default;
        }
        if os == OsType::Hvm && video.model.vram == 0 {
            video.model.vram = video_memory(video.model.kind, traditional);
        }
    }
}

impl DomainHooks for XenHooks<'_> {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::USER_ALIAS | DomainFeatures::FW_AUTOSELECT | DomainFeatures::NET_MODEL_STRING
    }

    fn mac_prefix(&self) -> [u8; 3] {
        [0x00, 0x16, 0x3e]
    }

    fn domain(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        let hvm = domain.os.is_hvm();
        if !hvm && domain.devices.consoles.is_empty() {
            domain.devices.consoles.push(Console {
                target_type: ConsoleTargetType::Xen,
                port: Some(0),
                ..Console::default()
            });
        }
        let bus = if hvm { InputBus::Ps2 } else { InputBus::Xen };
        add_input(domain, InputType::Mouse, bus);
        add_input(domain, InputType::Keyboard, bus);
        if hvm && domain.os.kind.arch.as_deref() == Some("x86_64") {
            let numa = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
            let nodes = numa.is_some_and(|numa| !numa.cells.is_empty());
            let features = domain.features.get_or_insert_default();
            features.pae = true;
            features.acpi |= nodes;
        }
        domain
            .devices
            .memballoon
            .get_or_insert_with(|| Box::new(Memballoon::new(MemballoonModel::Xen)));
        let has_bus = domain
            .devices
            .controllers
            .iter()
            .any(|controller| controller.kind.controller_type() == ControllerType::Xenbus);
        if !has_bus {
            let index = next_free_index(domain, ControllerType::Xenbus);
            add_controller(domain, ControllerKind::new(ControllerType::Xenbus, Some(index)));
        }
        Ok(())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        let hvm = domain.os.is_hvm();
        let inactive = domain.id.is_none();
        let virt_type = domain.virt_type;
        match device {
            DeviceRef::Console(at) => {
                if let Some(console) = domain.devices.consoles.get_mut(at)
                    && console.target_type == ConsoleTargetType::None
                    && !hvm
                {
                    console.target_type = ConsoleTargetType::Xen;
                }
            }
            DeviceRef::Hostdev(at) => match domain.devices.hostdevs.get(at).map(|hostdev| &hostdev.mode) {
                Some(HostdevPass::Capabilities(_)) => {
                    return Err(unsupported(format_args!(
                        "<hostdev mode='capabilities'> is not for guests of type '{virt_type}'"
                    )));
                }
                Some(HostdevPass::Subsystem(device)) => {
                    if let HostdevSubsys::Pci {
                        device:
                            PciHostdev {
                                driver: Some(driver), ..
                            },
                        ..
                    } = &**device
                        && *driver != PciDriverName::Xen
                    {
                        return Err(unsupported(format_args!(
                            "driver name '{driver}' of a PCI device: Xen takes 'xen' only"
                        )));
                    }
                }
                None => {}
            },
            DeviceRef::Interface(at) => {
                // Names that the tool stack makes mean nothing at the next start.
                if let Some(target) = domain
                    .devices
                    .interfaces
                    .get_mut(at)
                    .and_then(|card| card.target.as_mut())
                    && inactive
                    && target.managed != Some(false)
                    && target
                        .dev
                        .as_ref()
                        .is_some_and(|dev| dev.starts_with(GENERATED_PREFIX))
                {
                    target.dev = None;
                }
            }
            DeviceRef::Video(at) => self.video(domain, at),
            DeviceRef::Disk(at) => {
                if let Some(disk) = domain.devices.disks.get_mut(at) {
                    if let StorageLocation::Network(_) = disk.source.location {
                        disk.driver.name.get_or_insert_with(|| "qemu".to_owned());
                    }
                    disk.driver.format.get_or_insert(StorageFormat::Raw);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn validate_domain(&self, domain: &Domain) -> Result<()> {
        let os = &domain.os;
        let known = self
            .guests
            .iter()
            .any(|guest| guest.os == os.kind.os && Some(guest.arch.as_str()) == os.kind.arch.as_deref());
        if !known || domain.virt_type != VirtType::Xen {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "could not find capabilities for domaintype={} ostype={} arch={}",
                    domain.virt_type,
                    os.kind.os,
                    os.kind.arch.as_deref().unwrap_or_default()
                ),
            ));
        }
        let secure_feature = os.firmware == Some(FirmwareType::Efi)
            && os
                .firmware_features
                .iter()
                .any(|feature| feature.name == FirmwareFeatureName::SecureBoot);
        let secure_loader = os
            .loader
            .as_ref()
            .is_some_and(|loader| loader.secure == Some(true));
        if secure_feature || secure_loader {
            return Err(unsupported(
                "Xen has no secure boot: remove <loader secure='yes'> and the feature",
            ));
        }
        for table in &os.acpi_tables {
            if !matches!(table.kind, AcpiTableType::Slic | AcpiTableType::Rawset) {
                return Err(unsupported(format_args!(
                    "ACPI table type '{}' is not supported, 'rawset' is expected",
                    table.kind
                )));
            }
        }
        if os.acpi_tables.len() > 1 {
            return Err(unsupported(format_args!(
                "Xen takes one ACPI <table>, and there are {}",
                os.acpi_tables.len()
            )));
        }
        if let Some(sound) = domain.devices.sounds.first() {
            use SoundModel as S;
            if !matches!(sound.model, S::Ich6 | S::Es1370 | S::Ac97 | S::Sb16) {
                return Err(unsupported(format_args!(
                    "unsupported audio model {}, 'ich6', 'es1370', 'ac97' or 'sb16' is expected",
                    sound.model
                )));
            }
        }
        Ok(())
    }

    fn validate_device(&self, domain: &Domain, device: DeviceRef) -> Result<()> {
        let DeviceRef::Interface(at) = device else {
            return Ok(());
        };
        let Some(card) = domain.devices.interfaces.get(at) else {
            return Ok(());
        };
        if let InterfaceSource::Hostdev(_) = card.source {
            return Ok(());
        }
        if card.filter.is_some() {
            return Err(unsupported(format_args!(
                "<filterref> is not for guests of type '{}'",
                domain.virt_type
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_conf::domain::normalize::{NormalizeFlags, SystemRandomness, normalize};
    use virt_conf::domain::validate::validate;
    use virt_util::xml::XmlFlags;

    fn complete(os: &str, devices: &str) -> Result<Domain> {
        let guests = [XenGuest {
            os: OsType::Hvm,
            arch: "x86_64".to_owned(),
            machine: "xenfv".to_owned(),
            loader: None,
        }];
        let hooks = XenHooks {
            guests: &guests,
            is_traditional: &|_| false,
        };
        let text = format!(
            "<domain type='xen'><name>a</name><memory>4096</memory><os><type arch='x86_64'>{os}</type></os>\
             <devices>{devices}</devices></domain>"
        );
        let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "a")?;
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &hooks, &cx)?;
        validate(&domain, &hooks)?;
        Ok(domain)
    }

    #[test]
    fn guests_get_what_xen_gives_them() {
        let domain = complete("hvm", "<graphics type='vnc'/>").unwrap();
        assert_eq!(domain.devices.inputs.len(), 2);
        assert_eq!(domain.devices.videos[0].model.kind, VideoModelType::Cirrus);
        assert_eq!(domain.devices.videos[0].model.vram, 8192);
        assert!(domain.features.unwrap().pae);
        assert_eq!(domain.devices.controllers.len(), 1);
    }

    #[test]
    fn what_xen_does_not_have_is_refused() {
        assert_eq!(complete("linux", "").unwrap_err().code(), ErrorCode::INVALID_ARG);
        let error = complete("hvm", "<sound model='ich9'/>").unwrap_err();
        assert!(error.message().contains("ich9"), "{error}");
    }
}
