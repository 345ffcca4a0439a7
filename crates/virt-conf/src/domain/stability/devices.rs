//! Devices: as many of each family, each with the same face and in the same place.

use virt_util::Result;

use super::{refuse_unless, same, same_count, same_option};
use crate::domain::Domain;
use crate::domain::chardev::{ChannelTarget, ChardevSource};
use crate::domain::controller::{Controller, ControllerKind};
use crate::domain::device_info::{Address, DeviceInfo, VirtioOptions};
use crate::domain::disk::{BlockIo, Disk};
use crate::domain::hostdev::{Hostdev, HostdevPass, HostdevSubsys};
use crate::domain::memory::{MemoryDevice, MemoryModel};
use crate::domain::small::TpmBackend;
use crate::domain::video::Video;

/// Compares a family: how many, then each with the one of its place.
fn family<T>(what: &str, source: &[T], target: &[T], each: impl Fn(&T, &T) -> Result<()>) -> Result<()> {
    same_count(&format!("domain {what} count"), source.len(), target.len())?;
    source
        .iter()
        .zip(target)
        .try_for_each(|(old, new)| each(old, new))
}

fn single<T>(
    what: &str,
    source: &Option<T>,
    target: &Option<T>,
    each: impl Fn(&T, &T) -> Result<()>,
) -> Result<()> {
    let count = |device: &Option<T>| usize::from(device.is_some());
    same_count(&format!("domain {what} count"), count(source), count(target))?;
    match (source, target) {
        (Some(old), Some(new)) => each(old, new),
        _ => Ok(()),
    }
}

pub(super) fn check(source: &Domain, target: &Domain) -> Result<()> {
    let (old, new) = (&source.devices, &target.devices);
    family("disk", &old.disks, &new.disks, disk)?;
    family("controller", &old.controllers, &new.controllers, controller)?;
    family("filesystem", &old.filesystems, &new.filesystems, |old, new| {
        same_option("filesystem guest target", &old.target, &new.target)?;
        refuse_unless(
            old.read_only == new.read_only,
            "a filesystem is read-only for one of the guest and the other definition",
        )?;
        same_option("filesystem model", &old.model, &new.model)?;
        virtio(&old.driver.virtio, &new.driver.virtio)?;
        info(&old.info, &new.info)
    })?;
    family("net card", &old.interfaces, &new.interfaces, |old, new| {
        same_option("network card mac", &old.mac.address, &new.mac.address)?;
        same_option("network card model", &old.model, &new.model)?;
        same("network card MTU", &old.mtu, &new.mtu)?;
        let options = |interface: &crate::domain::interface::Interface| {
            interface
                .driver
                .as_ref()
                .map(|driver| driver.virtio.clone())
                .unwrap_or_default()
        };
        virtio(&options(old), &options(new))?;
        info(&old.info, &new.info)
    })?;
    family("input device", &old.inputs, &new.inputs, |old, new| {
        same("input device type", &old.kind, &new.kind)?;
        same_option("input device bus", &old.bus, &new.bus)?;
        same_option("input model", &old.model, &new.model)?;
        virtio(&old.virtio, &new.virtio)?;
        info(&old.info, &new.info)
    })?;
    family("sound card", &old.sounds, &new.sounds, |old, new| {
        same("sound card model", &old.model, &new.model)?;
        same_option(
            "sound card multichannel setting",
            &old.multichannel,
            &new.multichannel,
        )?;
        info(&old.info, &new.info)
    })?;
    family("video card", &old.videos, &new.videos, video)?;
    family("host device", &old.hostdevs, &new.hostdevs, hostdev)?;
    family("smartcard", &old.smartcards, &new.smartcards, |old, new| {
        info(&old.info, &new.info)
    })?;
    character(source, target)?;
    family("hub device", &old.hubs, &new.hubs, |old, new| {
        same("hub device type", &old.kind, &new.kind)?;
        info(&old.info, &new.info)
    })?;
    family(
        "redirected devices",
        &old.redirdevs,
        &new.redirdevs,
        |old, new| {
            same("redirected device bus", &old.bus, &new.bus)?;
            tag(
                "redirected device source type",
                old.host.source.xml_tag(),
                new.host.source.xml_tag(),
            )?;
            info(&old.info, &new.info)
        },
    )?;
    single(
        "USB redirection filter",
        &old.redirfilter,
        &new.redirfilter,
        |old, new| {
            same_count(
                "USB redirection filter rule count",
                old.rules.len(),
                new.rules.len(),
            )?;
            refuse_unless(
                old == new,
                "the other definition has another <redirfilter> than the guest",
            )
        },
    )?;
    family("watchdog device", &old.watchdogs, &new.watchdogs, |old, new| {
        same("watchdog model", &old.model, &new.model)?;
        info(&old.info, &new.info)
    })?;
    small(source, target)
}

/// Serial and parallel ports, channels, consoles.
fn character(source: &Domain, target: &Domain) -> Result<()> {
    let (old, new) = (&source.devices, &target.devices);
    family("serial port", &old.serials, &new.serials, |old, new| {
        same("serial type", &old.target.kind, &new.target.kind)?;
        same("serial model", &old.target.model, &new.target.model)?;
        same_option("serial port", &old.target.port, &new.target.port)?;
        info(&old.info, &new.info)
    })?;
    family("parallel port", &old.parallels, &new.parallels, |old, new| {
        same_option("parallel port", &old.port, &new.port)?;
        info(&old.info, &new.info)
    })?;
    family("channel", &old.channels, &new.channels, |old, new| {
        tag("channel type", old.target.xml_tag(), new.target.xml_tag())?;
        let spice = |source: &ChardevSource| matches!(source, ChardevSource::Spicevmc);
        match (&old.target, &new.target) {
            (ChannelTarget::Virtio { name: a, .. }, ChannelTarget::Virtio { name: b, .. })
            | (ChannelTarget::Xen { name: a, .. }, ChannelTarget::Xen { name: b, .. }) => {
                same_option("channel name", a, b)?;
                refuse_unless(
                    spice(&old.host.source) == spice(&new.host.source) || a.is_some(),
                    "a channel without a name is of type 'spicevmc' on one side, which names it: say its name",
                )?;
            }
            (a, b) => refuse_unless(
                a == b,
                "the other definition has another <channel><target> than the guest",
            )?,
        }
        info(&old.info, &new.info)
    })?;
    family("console", &old.consoles, &new.consoles, |old, new| {
        same("console type", &old.target_type, &new.target_type)?;
        info(&old.info, &new.info)
    })
}

fn small(source: &Domain, target: &Domain) -> Result<()> {
    let (old, new) = (&source.devices, &target.devices);
    single("memory balloon", &old.memballoon, &new.memballoon, |old, new| {
        same("balloon model", &old.model, &new.model)?;
        same_option("balloon autodeflate", &old.autodeflate, &new.autodeflate)?;
        same_option(
            "balloon freePageReporting",
            &old.free_page_reporting,
            &new.free_page_reporting,
        )?;
        virtio(&old.virtio, &new.virtio)?;
        info(&old.info, &new.info)
    })?;
    family("RNG device", &old.rngs, &new.rngs, |old, new| {
        same("RNG model", &old.model, &new.model)?;
        virtio(&old.virtio, &new.virtio)?;
        info(&old.info, &new.info)
    })?;
    family("panic device", &old.panics, &new.panics, |old, new| {
        same_option("panic model", &old.model, &new.model)?;
        info(&old.info, &new.info)
    })?;
    family("shared memory device", &old.shmems, &new.shmems, |old, new| {
        same_option("shared memory role", &old.role, &new.role)?;
        same("shared memory model", &old.model, &new.model)?;
        same_option("shared memory size", &old.size, &new.size)?;
        refuse_unless(
            old.server.is_some() == new.server.is_some(),
            "Target shared memory server usage doesn't match source",
        )?;
        refuse_unless(
            old.msi == new.msi,
            "Target shared memory MSI configuration doesn't match source",
        )?;
        info(&old.info, &new.info)
    })?;
    family("TPM device", &old.tpms, &new.tpms, |old, new| {
        tag("TPM device type", old.backend.xml_tag(), new.backend.xml_tag())?;
        same_option("TPM device model", &old.model, &new.model)?;
        if let (TpmBackend::Emulator(old), TpmBackend::Emulator(new)) = (&old.backend, &new.backend) {
            same_option("TPM version", &old.version, &new.version)?;
            refuse_unless(
                old.active_banks == new.active_banks,
                "Target active PCR banks doesn't match source",
            )?;
        }
        info(&old.info, &new.info)
    })?;
    family("memory device", &old.memory, &new.memory, memory)?;
    single("IOMMU device", &old.iommu, &new.iommu, |old, new| {
        same("domain IOMMU device model", &old.model, &new.model)?;
        let (old_driver, new_driver) = (
            old.driver.clone().unwrap_or_default(),
            new.driver.clone().unwrap_or_default(),
        );
        same_option(
            "IOMMU device intremap value",
            &old_driver.intremap,
            &new_driver.intremap,
        )?;
        same_option(
            "IOMMU device caching mode",
            &old_driver.caching_mode,
            &new_driver.caching_mode,
        )?;
        same_option("IOMMU device eim value", &old_driver.eim, &new_driver.eim)?;
        same_option("IOMMU device iotlb value", &old_driver.iotlb, &new_driver.iotlb)?;
        same(
            "IOMMU device aw_bits value",
            &old_driver.aw_bits,
            &new_driver.aw_bits,
        )?;
        same_option(
            "IOMMU device dma translation",
            &old_driver.dma_translation,
            &new_driver.dma_translation,
        )?;
        info(&old.info, &new.info)
    })?;
    single("vsock device", &old.vsock, &new.vsock, |old, new| {
        same("vsock device model", &old.model, &new.model)?;
        virtio(&old.virtio, &new.virtio)?;
        info(&old.info, &new.info)
    })?;
    single("pstore device", &old.pstore, &new.pstore, |old, new| {
        same("pstore device backend", &old.backend, &new.backend)?;
        same_option("pstore size", &old.size, &new.size)?;
        info(&old.info, &new.info)
    })
}

fn tag(what: &str, source: &str, target: &str) -> Result<()> {
    same(what, &source.to_owned(), &target.to_owned())
}

fn disk(old: &Disk, new: &Disk) -> Result<()> {
    same("disk device", &old.device, &new.device)?;
    same_option("disk bus", &old.target.bus, &new.target.bus)?;
    same("disk", &old.target.dev, &new.target.dev)?;
    same_option("disk serial", &old.rest.serial, &new.rest.serial)?;
    same_option("disk wwn", &old.rest.wwn, &new.rest.wwn)?;
    refuse_unless(
        old.rest.read_only == new.rest.read_only,
        format_args!(
            "disk '{}' is read-only for one of the guest and the other definition",
            old.target.dev
        ),
    )?;
    same("disk model", &old.options.model, &new.options.model)?;
    same(
        "disk rotation rate",
        &old.target.rotation_rate,
        &new.target.rotation_rate,
    )?;
    same("disk queue count", &old.driver.queues, &new.driver.queues)?;
    same("disk queue size", &old.driver.queue_size, &new.driver.queue_size)?;
    virtio(&old.driver.virtio, &new.driver.virtio)?;
    info(&old.info, &new.info)?;
    let sizes = |disk: &Disk| disk.shape.block_io.clone().unwrap_or_default();
    let (old, new): (BlockIo, BlockIo) = (sizes(old), sizes(new));
    same("disk logical_block_size", &old.logical, &new.logical)?;
    same("disk physical_block_size", &old.physical, &new.physical)?;
    same(
        "disk discard_granularity",
        &old.discard_granularity,
        &new.discard_granularity,
    )
}

fn controller(old: &Controller, new: &Controller) -> Result<()> {
    use ControllerKind as K;
    tag("controller type", old.kind.xml_tag(), new.kind.xml_tag())?;
    // Type, index, model, ports and vectors are what the kind holds; the rest of it is how the host drives it.
    let seen = |controller: &Controller| -> Vec<(&'static str, String)> {
        let written = virt_util::xml::to_string(controller, virt_util::xml::XmlFlags::INACTIVE);
        let Ok(doc) = virt_util::xml::Doc::parse(&written) else {
            return Vec::new();
        };
        let root = doc.root();
        ["index", "model", "ports", "vectors"]
            .into_iter()
            .filter_map(|name| Some((name, root.attr(name)?.into_owned())))
            .collect()
    };
    let (old_seen, new_seen) = (seen(old), seen(new));
    if old_seen != new_seen {
        let differing = |one: &[(&'static str, String)], other: &[(&'static str, String)]| {
            one.iter().find(|entry| !other.contains(entry)).cloned()
        };
        let (name, _) = differing(&old_seen, &new_seen)
            .or_else(|| differing(&new_seen, &old_seen))
            .unwrap_or(("index", String::new()));
        let value = |all: &[(&'static str, String)]| {
            all.iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| value.clone())
        };
        same_option(
            &format!("controller {name}"),
            &value(&old_seen),
            &value(&new_seen),
        )?;
    }
    if !matches!(old.kind, K::Pci(_)) {
        let options = |controller: &Controller| {
            controller
                .driver
                .as_ref()
                .map(|driver| driver.virtio.clone())
                .unwrap_or_default()
        };
        virtio(&options(old), &options(new))?;
    }
    info(&old.info, &new.info)
}

fn video(old: &Video, new: &Video) -> Result<()> {
    let (a, b) = (&old.model, &new.model);
    same("video card model", &a.kind, &b.kind)?;
    same("video card ram", &a.ram, &b.ram)?;
    same("video card vram", &a.vram, &b.vram)?;
    same("video card vram64", &a.vram64, &b.vram64)?;
    same("video card vgamem", &a.vgamem, &b.vgamem)?;
    same("video card heads", &a.heads, &b.heads)?;
    match (&a.acceleration, &b.acceleration) {
        (Some(a), Some(b)) => {
            same_option("video card 2d accel", &a.accel2d, &b.accel2d)?;
            same_option("video card 3d accel", &a.accel3d, &b.accel3d)?;
        }
        (a, b) => refuse_unless(
            a.is_some() == b.is_some(),
            "a video has <acceleration> in one of the guest and the other definition",
        )?,
    }
    virtio(&old.virtio, &new.virtio)?;
    info(&old.info, &new.info)
}

fn hostdev(old: &Hostdev, new: &Hostdev) -> Result<()> {
    tag("host device mode", old.mode.xml_tag(), new.mode.xml_tag())?;
    if let (HostdevPass::Subsystem(a), HostdevPass::Subsystem(b)) = (&old.mode, &new.mode) {
        // A virtual function and a mediated device look the same to the guest.
        let vfio = |subsystem: &HostdevSubsys| {
            matches!(subsystem, HostdevSubsys::Pci { .. } | HostdevSubsys::Mdev { .. })
        };
        if !(vfio(a) && vfio(b)) {
            tag("host device subsystem type", a.xml_tag(), b.xml_tag())?;
        }
    }
    info(&old.info, &new.info)
}

fn memory(old: &MemoryDevice, new: &MemoryDevice) -> Result<()> {
    same("memory device model", &old.model, &new.model)?;
    let (a, b) = (&old.target, &new.target);
    same_option("memory device targetNode", &a.node, &b.node)?;
    same("memory device size", &a.size, &b.size)?;
    match old.model {
        MemoryModel::Nvdimm => {
            same_option("NVDIMM label size", &a.label_size, &b.label_size)?;
            let part = |device: &MemoryDevice| {
                let source = device.source.clone().unwrap_or_default();
                (source.align_size, source.pmem)
            };
            let ((old_align, old_pmem), (new_align, new_pmem)) = (part(old), part(new));
            same_option("NVDIMM alignment", &old_align, &new_align)?;
            same("NVDIMM pmem flag", &old_pmem, &new_pmem)?;
            same("NVDIMM readonly flag", &a.read_only, &b.read_only)?;
            same_option("NVDIMM UUID", &old.uuid, &new.uuid)?;
        }
        MemoryModel::VirtioPmem => same_option("memory device address", &a.address, &b.address)?,
        MemoryModel::VirtioMem => {
            same_option("memory device block size", &a.block, &b.block)?;
            same_option("memory device requested size", &a.requested, &b.requested)?;
            same_option("memory device address", &a.address, &b.address)?;
            same_option(
                "memory device dynamicMemslots",
                &a.dynamic_memslots,
                &b.dynamic_memslots,
            )?;
        }
        MemoryModel::Dimm | MemoryModel::SgxEpc => {}
    }
    info(&old.info, &new.info)
}

fn virtio(old: &VirtioOptions, new: &VirtioOptions) -> Result<()> {
    same_option("device iommu option", &old.iommu, &new.iommu)?;
    same_option("device ats option", &old.ats, &new.ats)?;
    same_option("device packed option", &old.packed, &new.packed)?;
    same_option("device page_per_vq option", &old.page_per_vq, &new.page_per_vq)
}

/// Kind of address, and the address itself for the kinds whose addresses the guest sees.
fn place(address: &Option<Address>) -> (&'static str, String) {
    let Some(address) = address else {
        return ("none", String::new());
    };
    let text = match address {
        Address::Pci(at) => at.to_string(),
        Address::Drive(at) => format!("{}:{}:{}", at.controller, at.bus, at.unit),
        Address::VirtioSerial(at) => format!("{}:{}:{}", at.controller, at.bus, at.port),
        Address::Ccid(at) => format!("{}:{}", at.controller, at.slot),
        Address::Isa(at) => format!("{}:{}", at.iobase, at.irq),
        Address::Dimm(at) => format!("slot {} base {:x}", at.slot, at.base),
        Address::Ccw(at) => format!(
            "{:x}.{:x}.{:04x}",
            at.cssid.unwrap_or_default(),
            at.ssid.unwrap_or_default(),
            at.devno.unwrap_or_default()
        ),
        Address::Usb(_)
        | Address::SpaprVio(_)
        | Address::VirtioS390
        | Address::VirtioMmio
        | Address::Unassigned => String::new(),
    };
    (address.xml_tag(), text)
}

fn info(old: &DeviceInfo, new: &DeviceInfo) -> Result<()> {
    let ((old_kind, old_place), (new_kind, new_place)) = (place(&old.address), place(&new.address));
    tag("device address type", old_kind, new_kind)?;
    tag(&format!("device {old_kind} address"), &old_place, &new_place)?;
    same_option("ACPI index", &old.acpi_index, &new.acpi_index)
}
