//! Which kind of slot each device wants.

use virt_conf::domain::chardev::SerialTargetType;
use virt_conf::domain::controller::{
    Controller, ControllerKind, ScsiControllerModel, UsbControllerModel, VirtioSerialControllerModel,
};
use virt_conf::domain::disk::{DiskBus, DiskModel};
use virt_conf::domain::filesystem::{FilesystemDriver, FilesystemModel};
use virt_conf::domain::hostdev::{HostPciAddress, HostdevPass, HostdevSource, HostdevSubsys, ScsiVhostModel};
use virt_conf::domain::input::{InputBus, InputModel};
use virt_conf::domain::interface::InterfaceSource;
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::normalize::DeviceRef;
use virt_conf::domain::small::{
    IommuModel, MemballoonModel, PanicModel, RngModel, VsockModel, WatchdogModel,
};
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{DeviceInfo, Domain};

use crate::address::pci::Connect;
use crate::capabilities::Flag;
use crate::hooks::{Guest, HostDevices};

use super::{has_pcie_root, model_of, present};

/// How devices of this guest plug into PCI.
#[derive(Clone, Copy)]
pub(super) struct Plugs<'a> {
    pci: Connect,
    pcie: Connect,
    virtio: Connect,
    host: &'a dyn HostDevices,
}

impl<'a> Plugs<'a> {
    pub(super) fn of(domain: &Domain, guest: Guest<'a>) -> Self {
        let pci = Connect::PCI_DEVICE | Connect::AUTOASSIGN;
        let pcie = if has_pcie_root(domain) {
            Connect::PCIE_DEVICE | Connect::AUTOASSIGN
        } else {
            pci
        };
        let virtio = if guest.caps.has(Flag::VirtioPciTransitional) {
            pcie
        } else {
            pci
        };
        Self {
            pci,
            pcie,
            virtio,
            host: guest.host,
        }
    }

    /// How a device plugs; empty for one that is not on PCI.
    pub(super) fn device(self, domain: &Domain, device: DeviceRef) -> Connect {
        let devices = &domain.devices;
        let none = Connect::empty();
        let connect = match device {
            DeviceRef::Controller(at) => devices
                .controllers
                .get(at)
                .map(|controller| self.controller(controller)),
            DeviceRef::Filesystem(at) => devices.filesystems.get(at).map(|one| match one.driver.kind {
                FilesystemDriver::Default | FilesystemDriver::Path | FilesystemDriver::Handle => {
                    if one.model == Some(FilesystemModel::VirtioTransitional) {
                        self.pci
                    } else {
                        self.virtio
                    }
                }
                FilesystemDriver::Virtiofs => self.virtio,
                _ => none,
            }),
            DeviceRef::Interface(at) => devices.interfaces.get(at).map(|one| {
                if let InterfaceSource::Hostdev(source) = &one.source {
                    return match &source.device {
                        HostdevSource::Pci(device) => self.of_host(&one.info, device.address),
                        HostdevSource::Usb(_) => none,
                    };
                }
                match one.model.as_deref() {
                    Some("usb-net") => none,
                    Some("virtio" | "virtio-non-transitional") => self.virtio,
                    Some("e1000e" | "igb") | None => self.pcie,
                    Some("virtio-transitional") => self.pci,
                    Some(known) if is_known_card(known) => self.pci,
                    // Nobody knows; modern cards are more likely.
                    Some(_) => self.pcie,
                }
            }),
            DeviceRef::Sound(at) => devices.sounds.get(at).map(|one| match one.model {
                SoundModel::Es1370 | SoundModel::Ac97 | SoundModel::Ich6 | SoundModel::Ich9 => self.pci,
                SoundModel::Virtio => self.virtio,
                _ => none,
            }),
            DeviceRef::Disk(at) => devices
                .disks
                .get(at)
                .map(|one| match (one.bus(), one.options.model) {
                    (Some(DiskBus::Virtio), DiskModel::VirtioTransitional) => self.pci,
                    (Some(DiskBus::Virtio), _) => self.virtio,
                    _ => none,
                }),
            DeviceRef::Hostdev(at) => devices.hostdevs.get(at).map(|one| {
                let HostdevPass::Subsystem(subsystem) = &one.mode else {
                    return none;
                };
                match &**subsystem {
                    HostdevSubsys::Pci { device, .. } => self.of_host(&one.info, device.address),
                    // What the host makes of its devices is Express wherever the guest has that.
                    HostdevSubsys::Mdev { .. } => self.pcie,
                    HostdevSubsys::ScsiHost { model, .. } if present(&one.info).is_none() => match model {
                        ScsiVhostModel::VirtioTransitional => self.pci,
                        _ if self.pci == self.pcie => self.pci,
                        _ => self.virtio,
                    },
                    HostdevSubsys::ScsiHost { .. } => self.pcie,
                    _ => none,
                }
            }),
            DeviceRef::Memballoon => devices.memballoon.as_ref().map(|one| match one.model {
                MemballoonModel::VirtioTransitional => self.pci,
                MemballoonModel::Virtio | MemballoonModel::VirtioNonTransitional => self.virtio,
                _ => none,
            }),
            DeviceRef::Rng(at) => devices.rngs.get(at).map(|one| match one.model {
                RngModel::VirtioTransitional => self.pci,
                _ => self.virtio,
            }),
            DeviceRef::Watchdog(at) => devices.watchdogs.get(at).map(|one| {
                if one.model == WatchdogModel::I6300esb {
                    self.pci
                } else {
                    none
                }
            }),
            DeviceRef::Video(at) => devices.videos.get(at).map(|one| {
                use VideoModelType as T;
                match one.model.kind {
                    T::Virtio => self.virtio,
                    T::Vga | T::Cirrus | T::Vmvga | T::Xen | T::Vbox | T::Qxl | T::Parallels => self.pci,
                    T::Bochs => self.pcie,
                    _ => none,
                }
            }),
            DeviceRef::Shmem(_) | DeviceRef::Crypto(_) | DeviceRef::Pstore => Some(self.pci),
            DeviceRef::Input(at) => devices.inputs.get(at).map(|one| match (one.bus, one.model) {
                (Some(InputBus::Virtio), Some(InputModel::VirtioTransitional)) => self.pci,
                (Some(InputBus::Virtio), _) => self.virtio,
                _ => none,
            }),
            DeviceRef::Serial(at) => devices.serials.get(at).map(|one| {
                if one.target.kind == SerialTargetType::PciSerial {
                    self.pci
                } else {
                    none
                }
            }),
            DeviceRef::Iommu => devices.iommu.as_ref().map(|one| {
                if one.model == IommuModel::Virtio {
                    self.virtio | Connect::INTEGRATED
                } else {
                    none
                }
            }),
            DeviceRef::Vsock => devices.vsock.as_ref().map(|one| match one.model {
                VsockModel::VirtioTransitional => self.pci,
                VsockModel::Default => none,
                _ => self.virtio,
            }),
            DeviceRef::Memory(at) => devices.memory.get(at).map(|one| match one.model {
                MemoryModel::VirtioPmem | MemoryModel::VirtioMem => self.virtio,
                _ => none,
            }),
            DeviceRef::Panic(at) => devices.panics.get(at).map(|one| {
                if one.model == Some(PanicModel::Pvpanic) {
                    self.pci | Connect::INTEGRATED
                } else {
                    none
                }
            }),
            _ => None,
        };
        connect.unwrap_or(none)
    }

    /// A PCI device of the host. One with an address fits either way.
    fn of_host(self, info: &DeviceInfo, device: HostPciAddress) -> Connect {
        if self.pci == self.pcie || present(info).is_some() || self.host.is_express(device) {
            self.pcie
        } else {
            self.pci
        }
    }

    fn controller(self, controller: &Controller) -> Connect {
        use ScsiControllerModel as S;
        use UsbControllerModel as U;
        let none = Connect::empty();
        match &controller.kind {
            ControllerKind::Pci(pci) => pci.model.map_or(none, |model| model_of(model).connect()),
            ControllerKind::Sata { .. } | ControllerKind::Ide { .. } => self.pci,
            ControllerKind::Usb { model, .. } => match model {
                Some(U::NecXhci | U::QemuXhci) => self.pcie,
                Some(U::Qusb1 | U::Qusb2 | U::None) => none,
                _ => self.pci,
            },
            ControllerKind::Scsi { model, .. } => match model {
                Some(S::VirtioScsi | S::VirtioNonTransitional) => self.virtio,
                None | Some(S::Ncr53c90 | S::Auto) => none,
                _ => self.pci,
            },
            ControllerKind::VirtioSerial { model, .. } => match model {
                Some(VirtioSerialControllerModel::VirtioTransitional) => self.pci,
                _ => self.virtio,
            },
            _ => none,
        }
    }
}

/// The cards that libvirt has a word for, beside those that have rules of their own. Any other may be of any kind.
fn is_known_card(model: &str) -> bool {
    matches!(
        model,
        "netfront"
            | "rtl8139"
            | "e1000"
            | "spapr-vlan"
            | "lan9118"
            | "scm91c111"
            | "vlance"
            | "vmxnet"
            | "vmxnet2"
            | "vmxnet3"
            | "Am79C970A"
            | "Am79C973"
            | "82540EM"
            | "82545EM"
            | "82543GC"
    )
}
