//! Defaults of single devices.

use virt_conf::domain::Domain;
use virt_conf::domain::chardev::{
    ChannelTarget, ChardevSource, SerialTargetModel, SerialTargetType, SourceMode,
};
use virt_conf::domain::controller::{
    ControllerKind, PciControllerModel, ScsiControllerModel, UsbControllerModel,
};
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys, MdevModel};
use virt_conf::domain::interface::{InterfaceBackendType, InterfaceType};
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::normalize::{DeviceRef, NormalizeFlags};
use virt_conf::domain::small::{
    IommuDriver, IommuModel, ShmemModel, TpmBackend, TpmModel, TpmVersion, VsockModel,
};
use virt_conf::domain::storage::{EncryptionEngine, StorageFormat, StorageLocation};
use virt_conf::domain::video::VideoModelType;
use virt_conf::numa::Numa;
use virt_util::{ErrorCode, Result, VirtError};

use super::defaults::{needs_eim, panic_model};
use super::{Guest, QemuHooks, machine};
use crate::capabilities::Flag;

const MOST_XHCI_PORTS: u32 = 15;
/// Memory of the frame buffer, in KiB.
const QXL_VGAMEM: u32 = 16 * 1024;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

impl QemuHooks<'_> {
    pub(super) fn device_defaults(
        &self,
        domain: &mut Domain,
        device: DeviceRef,
        guest: Guest<'_>,
        flags: NormalizeFlags,
    ) -> Result<()> {
        let fresh = flags.contains(NormalizeFlags::ABI_UPDATE);
        match device {
            DeviceRef::Interface(at) => interface(domain, at, guest),
            DeviceRef::Disk(at) => disk(domain, at),
            DeviceRef::Video(at) => video(domain, at, guest),
            DeviceRef::Panic(at) => {
                let model = panic_model(domain, guest.arch);
                if let Some(panic) = domain.devices.panics.get_mut(at) {
                    panic.model = panic.model.or(model);
                }
                Ok(())
            }
            DeviceRef::Controller(at) => controller(domain, at, guest, fresh),
            DeviceRef::Shmem(at) => shmem(domain, at),
            DeviceRef::Serial(at) => {
                serial(domain, at, guest);
                let source = domain
                    .devices
                    .serials
                    .get_mut(at)
                    .map(|device| &mut device.host.source);
                source.map_or(Ok(()), |source| chardev(source, flags))
            }
            DeviceRef::Channel(at) => {
                let Some(channel) = domain.devices.channels.get_mut(at) else {
                    return Ok(());
                };
                if flags.contains(NormalizeFlags::INACTIVE) {
                    self.drop_own_path(channel);
                }
                chardev(&mut channel.host.source, flags)
            }
            DeviceRef::Parallel(at) => {
                let source = domain
                    .devices
                    .parallels
                    .get_mut(at)
                    .map(|device| &mut device.host.source);
                source.map_or(Ok(()), |source| chardev(source, flags))
            }
            DeviceRef::Console(at) => {
                let source = domain
                    .devices
                    .consoles
                    .get_mut(at)
                    .map(|device| &mut device.host.source);
                source.map_or(Ok(()), |source| chardev(source, flags))
            }
            DeviceRef::Vsock => {
                if let Some(vsock) = &mut domain.devices.vsock
                    && vsock.model == VsockModel::Default
                {
                    vsock.model = VsockModel::Virtio;
                }
                Ok(())
            }
            DeviceRef::Hostdev(at) => {
                let hostdev = domain.devices.hostdevs.get_mut(at);
                if let Some(HostdevPass::Subsystem(subsystem)) = hostdev.map(|hostdev| &mut hostdev.mode)
                    && let HostdevSubsys::Mdev {
                        model: MdevModel::VfioPci,
                        display,
                        ..
                    } = &mut **subsystem
                {
                    display.get_or_insert(false);
                }
                Ok(())
            }
            DeviceRef::Tpm(at) => {
                if let Some(tpm) = domain.devices.tpms.get_mut(at) {
                    let default = if guest.arch.is_ppc64() {
                        TpmModel::TpmSpapr
                    } else {
                        TpmModel::TpmTis
                    };
                    let model = *tpm.model.get_or_insert(default);
                    if let TpmBackend::Emulator(emulator) = &mut tpm.backend {
                        let old = model == TpmModel::TpmTis && guest.arch.is_x86();
                        emulator
                            .version
                            .get_or_insert(if old { TpmVersion::V1_2 } else { TpmVersion::V2_0 });
                    }
                }
                Ok(())
            }
            DeviceRef::Memory(at) => {
                let align = 256 * 1024;
                let module = domain
                    .devices
                    .memory
                    .get_mut(at)
                    .filter(|_| fresh && guest.arch.is_ppc64());
                if let Some(module) = module {
                    if module.model == MemoryModel::Nvdimm {
                        let label = module.target.label_size.unwrap_or_default();
                        module.target.size = super::validate::pseries_nvdimm_size(module.target.size, label)?;
                        return Ok(());
                    }
                    module.target.size = module.target.size.div_ceil(align) * align;
                }
                Ok(())
            }
            DeviceRef::Pstore => {
                let path = format!("{}/{}_PSTORE.raw", self.nvram_dir, domain.name);
                if let Some(store) = &mut domain.devices.pstore {
                    store.path.get_or_insert(path);
                }
                Ok(())
            }
            DeviceRef::Iommu => {
                let eim = fresh && needs_eim(domain, guest.arch);
                let iommu = domain.devices.iommu.as_mut();
                if let Some(iommu) = iommu.filter(|iommu| eim && iommu.model == IommuModel::Intel) {
                    let driver = iommu.driver.get_or_insert_with(IommuDriver::default);
                    if guest.caps.has(Flag::IntelIommuIntremap) {
                        driver.intremap.get_or_insert(true);
                    }
                    if guest.caps.has(Flag::IntelIommuEim) {
                        driver.eim.get_or_insert(true);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Paths that an earlier start chose are no part of a definition.
    fn drop_own_path(&self, channel: &mut virt_conf::domain::chardev::Channel) {
        let ChannelTarget::Virtio { name: Some(name), .. } = &channel.target else {
            return;
        };
        let ChardevSource::Unix(unix) = &mut channel.host.source else {
            return;
        };
        let ours = unix.path.as_deref().is_some_and(|path| {
            // Long ago: <lib>/channel/target/<domain>.<name>; later <lib>/channel/target/domain-…/<name>, now ours.
            let old = format!("{}/channel/target/", self.lib_dir);
            let rest = path
                .strip_prefix(self.channel_target_dir)
                .map(|rest| rest.trim_start_matches('/'))
                .or_else(|| path.strip_prefix(old.as_str()));
            rest.is_some_and(|rest| match rest.strip_suffix(name.as_str()) {
                Some(folder) => folder.ends_with('/') || folder.ends_with('.') || folder.is_empty(),
                None => false,
            })
        });
        if ours {
            unix.path = None;
        }
    }
}

fn chardev(source: &mut ChardevSource, flags: NormalizeFlags) -> Result<()> {
    if let ChardevSource::Unix(unix) = source
        && flags.contains(NormalizeFlags::INACTIVE)
        && unix.path.is_none()
    {
        unix.mode = SourceMode::Bind;
    }
    Ok(())
}

fn interface(domain: &mut Domain, at: usize, guest: Guest<'_>) -> Result<()> {
    let machine_name = domain.os.kind.machine.clone().unwrap_or_default();
    let kind = crate::machine::MachineKind::new(&machine_name, guest.arch);
    let default = if guest.arch.is_s390() || kind.is_loongarch_virt() || kind.is_riscv_virt() {
        "virtio"
    } else if guest.arch.is_arm() {
        if machine_name == "versatilepb" {
            "smc91c111"
        } else if kind.is_arm_virt() {
            "virtio"
        } else {
            "lan9118"
        }
    } else if guest.caps.has(Flag::DeviceRtl8139) {
        "rtl8139"
    } else if guest.caps.has(Flag::DeviceE1000) {
        "e1000"
    } else if guest.caps.has(Flag::DeviceVirtioNet) {
        "virtio"
    } else {
        "rtl8139"
    };
    let Some(interface) = domain.devices.interfaces.get_mut(at) else {
        return Ok(());
    };
    let kind = interface.interface_type();
    if interface.model.is_none() {
        match kind {
            InterfaceType::Vdpa | InterfaceType::Vhostuser => interface.model = Some("virtio".to_owned()),
            InterfaceType::Hostdev => {}
            _ => interface.model = Some(default.to_owned()),
        }
    }
    if kind == InterfaceType::User && !guest.caps.has(Flag::NetdevUser) {
        let backend = interface.backend.get_or_insert_with(Default::default);
        if backend.kind == InterfaceBackendType::Default && guest.caps.has(Flag::NetdevStream) {
            backend.kind = InterfaceBackendType::Passt;
        }
    }
    Ok(())
}

fn disk(domain: &mut Domain, at: usize) -> Result<()> {
    let Some(disk) = domain.devices.disks.get_mut(at) else {
        return Ok(());
    };
    disk.driver.name.get_or_insert_with(|| "qemu".to_owned());
    if !matches!(disk.source.location, StorageLocation::Volume { .. }) {
        disk.driver.format.get_or_insert(StorageFormat::Raw);
    }
    if let Some(mirror) = &mut disk.mirror {
        mirror.format.get_or_insert(StorageFormat::Raw);
    }
    let own = disk
        .encryption
        .iter_mut()
        .chain(disk.source.encryption.iter_mut());
    for encryption in own {
        encryption.engine.get_or_insert(EncryptionEngine::Qemu);
    }
    let mut backing = disk.backing.as_mut();
    while let Some(virt_conf::domain::storage::BackingStore::Image(image)) = backing {
        if let Some(encryption) = &mut image.source.encryption {
            encryption.engine.get_or_insert(EncryptionEngine::Qemu);
        }
        backing = image.backing.as_mut();
    }
    Ok(())
}

fn video(domain: &mut Domain, at: usize, guest: Guest<'_>) -> Result<()> {
    let kind = machine(domain, guest.arch);
    let default = if guest.arch.is_ppc64() {
        VideoModelType::Vga
    } else if kind.is_arm_virt() || kind.is_loongarch_virt() || kind.is_riscv_virt() || guest.arch.is_s390() {
        VideoModelType::Virtio
    } else if guest.caps.has(Flag::DeviceCirrusVga) {
        VideoModelType::Cirrus
    } else if guest.caps.has(Flag::DeviceVga) {
        VideoModelType::Vga
    } else {
        VideoModelType::Default
    };
    let Some(video) = domain.devices.videos.get_mut(at) else {
        return Ok(());
    };
    if video.model.kind == VideoModelType::Default {
        video.model.kind = default;
        video.model.heads = video.model.heads.max(1);
    }
    if video.model.kind == VideoModelType::Qxl && video.model.vgamem == 0 {
        video.model.vgamem = QXL_VGAMEM;
    }
    Ok(())
}

fn serial(domain: &mut Domain, at: usize, guest: Guest<'_>) {
    use SerialTargetModel as Model;
    use SerialTargetType as Type;
    let name = domain.os.kind.machine.clone().unwrap_or_default();
    let machine = crate::machine::MachineKind::new(&name, guest.arch);
    let Some(serial) = domain.devices.serials.get_mut(at) else {
        return;
    };
    let target = &mut serial.target;
    let system = machine.is_arm_virt() || machine.is_loongarch_virt() || machine.is_riscv_virt();
    if matches!(target.kind, Type::IsaSerial | Type::None) {
        target.kind = if guest.arch.is_x86() {
            Type::IsaSerial
        } else if machine.is_pseries() {
            Type::SpaprVioSerial
        } else if system {
            Type::SystemSerial
        } else if guest.arch.is_s390() {
            Type::SclpSerial
        } else {
            Type::None
        };
    }
    if target.model == Model::None {
        target.model = match target.kind {
            Type::IsaSerial => Model::IsaSerial,
            Type::UsbSerial => Model::UsbSerial,
            Type::PciSerial => Model::PciSerial,
            Type::SpaprVioSerial => Model::SpaprVty,
            Type::SystemSerial if machine.is_arm_virt() => Model::Pl011,
            Type::SystemSerial if system => Model::Uart16550a,
            Type::SclpSerial => Model::Sclpconsole,
            Type::IsaDebug => Model::IsaDebugcon,
            Type::SystemSerial | Type::None => Model::None,
        };
    }
}

fn shmem(domain: &mut Domain, at: usize) -> Result<()> {
    let Some(shmem) = domain.devices.shmems.get_mut(at) else {
        return Ok(());
    };
    if shmem.model != ShmemModel::IvshmemDoorbell {
        shmem.size = Some(shmem.size.filter(|size| *size != 0).unwrap_or(4));
    }
    if shmem.model == ShmemModel::Ivshmem {
        return Ok(());
    }
    let model = shmem.model;
    if shmem.server.is_none() {
        if model == ShmemModel::IvshmemDoorbell {
            return Err(unsupported(format_args!("model '{model}' needs a <server>")));
        }
        if shmem.msi.is_some() {
            return Err(unsupported("<msi> needs a <server>"));
        }
        return Ok(());
    }
    if model == ShmemModel::IvshmemPlain {
        return Err(unsupported(format_args!("model '{model}' takes no <server>")));
    }
    if shmem.size.is_some_and(|size| size != 0) {
        return Err(unsupported(format_args!(
            "model '{model}' with a <server> takes no <size>"
        )));
    }
    shmem
        .msi
        .get_or_insert_with(Default::default)
        .ioeventfd
        .get_or_insert(true);
    Ok(())
}

fn usb_model(guest: Guest<'_>, unaddressed: bool, fresh: bool) -> Option<UsbControllerModel> {
    use UsbControllerModel as M;
    let (caps, arch) = (guest.caps, guest.arch);
    let mut model = if caps.has(Flag::Piix3UsbUhci) {
        Some(M::Piix3Uhci)
    } else if !arch.is_x86() && caps.has(Flag::PciOhci) {
        Some(M::PciOhci)
    } else {
        None
    };
    if arch.is_s390() {
        if unaddressed {
            model = Some(M::None);
        }
    } else if arch.is_ppc64() {
        model = if fresh && caps.has(Flag::DeviceQemuXhci) {
            Some(M::QemuXhci)
        } else if fresh && caps.has(Flag::NecUsbXhci) {
            Some(M::NecXhci)
        } else {
            caps.has(Flag::PciOhci).then_some(M::PciOhci)
        };
    } else if arch == virt_util::arch::Arch::Aarch64 {
        if caps.has(Flag::DeviceQemuXhci) {
            model = Some(M::QemuXhci);
        } else if caps.has(Flag::NecUsbXhci) {
            model = Some(M::NecXhci);
        }
    } else if arch == virt_util::arch::Arch::Loongarch64 && caps.has(Flag::DeviceQemuXhci) {
        model = Some(M::QemuXhci);
    }
    model
}

fn controller(domain: &mut Domain, at: usize, guest: Guest<'_>, fresh: bool) -> Result<()> {
    let name = domain.os.kind.machine.clone().unwrap_or_default();
    let machine = crate::machine::MachineKind::new(&name, guest.arch);
    let numa: Option<&Numa> = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
    let cells = numa.map_or(0, |numa| numa.cells.len());
    let Some(controller) = domain.devices.controllers.get_mut(at) else {
        return Ok(());
    };
    let unaddressed = controller.info.address.is_none();
    match &mut controller.kind {
        ControllerKind::Scsi { model, .. } => {
            if !matches!(*model, None | Some(ScsiControllerModel::Auto)) {
                return Ok(());
            }
            *model = Some(if machine.is_pseries() {
                ScsiControllerModel::Ibmvscsi
            } else if guest.arch.is_s390() || machine.is_loongarch_virt() {
                ScsiControllerModel::VirtioScsi
            } else if guest.caps.has(Flag::ScsiLsi) {
                ScsiControllerModel::Lsilogic
            } else if guest.caps.has(Flag::VirtioScsi) {
                ScsiControllerModel::VirtioScsi
            } else if machine.has_builtin_esp() {
                ScsiControllerModel::Ncr53c90
            } else {
                return Err(VirtError::internal(
                    "Unable to determine model for SCSI controller",
                ));
            });
        }
        ControllerKind::Usb { model, ports, .. } => {
            if model.is_none() {
                *model = usb_model(guest, unaddressed, fresh);
            }
            if matches!(model, Some(UsbControllerModel::Qusb1 | UsbControllerModel::Qusb2)) {
                return Err(unsupported(
                    "USB controller model type 'qusb1' or 'qusb2' is not supported in qemu",
                ));
            }
            let xhci = matches!(
                model,
                Some(UsbControllerModel::NecXhci | UsbControllerModel::QemuXhci)
            );
            if let Some(ports) = ports.filter(|ports| xhci && *ports > MOST_XHCI_PORTS) {
                let what = format!(
                    "{ports} ports: model '{}' has {MOST_XHCI_PORTS} at most",
                    model.map_or("", |model| model.as_str())
                );
                return Err(unsupported(what));
            }
        }
        ControllerKind::Pci(pci) => {
            let root = matches!(
                pci.model,
                Some(PciControllerModel::PciRoot | PciControllerModel::PcieRoot)
            );
            if !machine.is_pseries() && root && pci.index != Some(0) {
                let what = format!("a root bus has index 0, not {}", pci.index.unwrap_or_default());
                return Err(VirtError::new(ErrorCode::XML_ERROR, what));
            }
            if pci.model == Some(PciControllerModel::PciExpanderBus) && !machine.is_i440fx() {
                return Err(unsupported("model 'pci-expander-bus' is for machine 'pc' only"));
            }
            let express = pci.model == Some(PciControllerModel::PcieExpanderBus);
            if express && !(machine.is_q35() || machine.is_arm_virt()) {
                return Err(unsupported(
                    "model 'pcie-expander-bus' is for machines 'q35' and 'virt' of ARM",
                ));
            }
            if let Some(node) = pci.numa_node.filter(|node| *node as usize >= cells) {
                let model = pci.model.map_or("pci", |model| model.as_str());
                let what = format!(
                    "{model} {} is near NUMA node {node}: the guest has {cells} nodes",
                    pci.index.unwrap_or(0)
                );
                return Err(VirtError::new(ErrorCode::XML_ERROR, what));
            }
        }
        _ => {}
    }
    Ok(())
}
