//! Virtio devices without PCI.

use virt_conf::domain::controller::ControllerType;
use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys};
use virt_conf::domain::input::InputBus;
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::normalize::{device_info, device_refs};
use virt_conf::domain::small::MemballoonModel;
use virt_conf::domain::sound::SoundModel;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Address, DeviceInfo, Domain, PciAddress};

use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

use super::pci::has_pcie_root;

/// Gives virtio devices without an address one of a kind.
pub(super) fn prime_virtio(domain: &mut Domain, address: &Address) {
    let ccw = matches!(address, Address::Ccw(_));
    let devices = &mut *domain.devices;
    let prime = |info: &mut DeviceInfo, wanted: bool| {
        if wanted && info.address.is_none() {
            info.address = Some(address.clone());
        }
    };
    for disk in &mut devices.disks {
        let wanted = disk.bus() == Some(DiskBus::Virtio);
        prime(&mut disk.info, wanted);
    }
    for interface in &mut devices.interfaces {
        let wanted = interface.is_virtio();
        prime(&mut interface.info, wanted);
    }
    for video in &mut devices.videos {
        prime(&mut video.info, video.model.kind == VideoModelType::Virtio);
    }
    for input in &mut devices.inputs {
        prime(&mut input.info, input.bus == Some(InputBus::Virtio));
    }
    for controller in &mut devices.controllers {
        let kind = controller.kind.controller_type();
        prime(
            &mut controller.info,
            matches!(kind, ControllerType::VirtioSerial | ControllerType::Scsi),
        );
    }
    for hostdev in &mut devices.hostdevs {
        let wanted = match &hostdev.mode {
            HostdevPass::Subsystem(subsystem) => matches!(**subsystem, HostdevSubsys::ScsiHost { .. }),
            HostdevPass::Capabilities(_) => false,
        };
        prime(&mut hostdev.info, wanted);
    }
    if let Some(balloon) = &mut devices.memballoon {
        prime(&mut balloon.info, balloon.model != MemballoonModel::None);
    }
    for rng in &mut devices.rngs {
        prime(&mut rng.info, true);
    }
    for memory in &mut devices.memory {
        prime(
            &mut memory.info,
            matches!(memory.model, MemoryModel::VirtioPmem | MemoryModel::VirtioMem),
        );
    }
    if ccw {
        for filesystem in &mut devices.filesystems {
            prime(&mut filesystem.info, true);
        }
        if let Some(vsock) = &mut devices.vsock {
            prime(&mut vsock.info, true);
        }
    }
    for crypto in &mut devices.cryptos {
        prime(&mut crypto.info, true);
    }
    for sound in &mut devices.sounds {
        prime(&mut sound.info, sound.model == SoundModel::Virtio);
    }
}

pub(super) fn virtio_mmio(domain: &mut Domain, guest: Guest<'_>) {
    let kind = machine(domain, guest.arch);
    let vexpress = domain
        .os
        .kind
        .machine
        .as_deref()
        .is_some_and(|name| name.starts_with("vexpress-"));
    let family = guest.arch.is_arm() || guest.arch.is_riscv();
    if !family || !(vexpress || kind.is_arm_virt() || kind.is_riscv_virt()) {
        return;
    }
    let any_mmio = device_refs(domain).into_iter().any(|device| {
        let info = device_info(domain, device);
        matches!(
            info.and_then(|info| info.address.as_ref()),
            Some(Address::VirtioMmio)
        )
    });
    let ports = guest.caps.has(Flag::DevicePcieRootPort) || guest.caps.has(Flag::DeviceIoh3420);
    if has_pcie_root(domain) && ports && !any_mmio {
        prime_virtio(domain, &Address::Pci(PciAddress::default()));
    } else if guest.caps.has(Flag::DeviceVirtioMmio) {
        prime_virtio(domain, &Address::VirtioMmio);
    }
}
