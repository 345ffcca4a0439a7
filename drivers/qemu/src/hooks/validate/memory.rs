//! What QEMU cannot do with memory that is plugged in, and with what stands between devices and memory.

use virt_conf::domain::memory::{MemoryDevice, MemoryModel};
use virt_conf::domain::small::{Iommu, IommuModel};
use virt_conf::domain::{Address, Domain};
use virt_util::Result;

use super::{refuse_if, unsupported};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

/// Number of NUMA nodes that the guest sees.
fn nodes(domain: &Domain) -> usize {
    let numa = domain.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref());
    numa.map_or(0, |numa| numa.cells.len())
}

/// Checks all memory devices of a guest together: each has a slot, and there is room for all.
pub(super) fn plugged(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let devices = &domain.devices.memory;
    let most = domain.max_memory.as_ref();
    let (slots, size) = most.map_or((0, 0), |most| (most.slots, most.size));
    if slots == 0 && size == 0 {
        return refuse_if(
            !devices.is_empty(),
            "a memory device needs 'maxMemory', which the guest has not",
        );
    }
    refuse_if(
        !guest.arch.is_ppc64() && !guest.arch.is_s390() && nodes(domain) == 0,
        "<maxMemory> needs NUMA cells: memory is added to one of them",
    )?;
    let (mut needed, mut plugged) = (0_u32, 0_u64);
    for device in devices.iter() {
        plugged = plugged.saturating_add(device.target.size);
        if device.model != MemoryModel::SgxEpc {
            place(domain, device, slots)?;
        }
        needed += u32::from(matches!(device.model, MemoryModel::Dimm | MemoryModel::Nvdimm));
    }
    refuse_if(
        needed > slots,
        format_args!("{needed} memory devices need a slot: there are {slots}"),
    )?;
    // What the guest begins with does not count as room for devices.
    let room = size.saturating_sub(domain.memory.size.saturating_sub(plugged));
    refuse_if(
        plugged > room,
        format_args!(
            "memory devices of {plugged} KiB in all do not fit below maxMemory: there is room for {room} KiB"
        ),
    )
}

fn place(domain: &Domain, device: &MemoryDevice, slots: u32) -> Result<()> {
    let model = device.model;
    let at = &device.info.address;
    let (fits, buses) = match model {
        MemoryModel::Dimm | MemoryModel::Nvdimm => (matches!(at, None | Some(Address::Dimm(_))), "'dimm'"),
        MemoryModel::VirtioPmem => (matches!(at, None | Some(Address::Pci(_))), "'pci'"),
        MemoryModel::VirtioMem => (
            matches!(at, None | Some(Address::Pci(_) | Address::Ccw(_))),
            "'pci' and 'ccw'",
        ),
        MemoryModel::SgxEpc => (true, ""),
    };
    refuse_if(
        !fits,
        format_args!("only {buses} addresses are for a memory device of model '{model}'"),
    )?;
    if let Some(Address::Dimm(at)) = at {
        refuse_if(
            at.slot >= slots,
            format_args!(
                "slot '{}' of a memory device is beyond the {slots} that there are",
                at.slot
            ),
        )?;
    }
    refuse_if(
        model != MemoryModel::VirtioPmem && device.target.node.is_none() && nodes(domain) > 0,
        format_args!("a memory device of model '{model}' has no NUMA node of the guest: 'node' expected"),
    )
}

/// Checks a memory device.
pub(super) fn device(domain: &Domain, device: &MemoryDevice, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let (model, at) = (device.model, &device.info.address);
    let there = match (model, at) {
        (MemoryModel::Dimm, _) => has(Flag::DevicePcDimm),
        (MemoryModel::Nvdimm, _) => has(Flag::DeviceNvdimm),
        (MemoryModel::VirtioPmem, _) => has(Flag::DeviceVirtioPmemPci),
        (MemoryModel::VirtioMem, Some(Address::Pci(_))) => has(Flag::DeviceVirtioMemPci),
        (MemoryModel::VirtioMem, Some(Address::Ccw(_))) => has(Flag::DeviceVirtioMemCcw),
        (MemoryModel::VirtioMem, _) => true,
        (MemoryModel::SgxEpc, _) => has(Flag::SgxEpc),
    };
    refuse_if(
        !there,
        format_args!("this QEMU binary has no memory devices of model '{model}'"),
    )?;
    match model {
        MemoryModel::Nvdimm => refuse_if(
            device.target.read_only && !has(Flag::DeviceNvdimmUnarmed),
            "this QEMU binary has no NVDIMM that a guest only reads",
        ),
        MemoryModel::VirtioMem => {
            if matches!(at, Some(Address::Ccw(_))) {
                of_channel(domain, device)?;
            }
            refuse_if(
                device.target.dynamic_memslots == Some(true) && !has(Flag::DeviceVirtioMemPciDynamicMemslots),
                "this QEMU binary does not know 'dynamicMemslots' of virtio-mem",
            )
        }
        MemoryModel::SgxEpc => enclave(device, guest),
        MemoryModel::Dimm | MemoryModel::VirtioPmem => Ok(()),
    }
}

/// On a channel of s390 the memory has the pages of that which the guest begins with, and there are no NUMA nodes.
fn of_channel(domain: &Domain, device: &MemoryDevice) -> Result<()> {
    let pages = domain
        .memory_backing
        .as_ref()
        .and_then(|backing| backing.huge_pages.as_ref())
        .and_then(|pages| pages.pages.first());
    let own = device.source.as_ref().and_then(|source| source.page_size);
    if let (Some(pages), Some(own)) = (pages, own.filter(|own| *own != 0)) {
        refuse_if(
            pages.size != own,
            format_args!(
                "virtio-mem on a channel has pages of {own} KiB: those of the guest, {} KiB, expected",
                pages.size
            ),
        )?;
    }
    refuse_if(
        device.target.node.is_some_and(|node| node != 0),
        "virtio-mem on a channel has no NUMA node",
    )
}

/// Memory of enclaves comes from sections of the host, whose sizes QEMU has told.
fn enclave(device: &MemoryDevice, guest: Guest<'_>) -> Result<()> {
    let sections = guest.caps.sgx.as_ref().map_or(&[][..], |sgx| &sgx.sections);
    if sections.is_empty() {
        return Err(unsupported(
            "this QEMU binary tells no memory for enclaves of this host",
        ));
    }
    let size = device.target.size;
    let nodes = device.source.as_ref().and_then(|source| source.nodes.as_ref());
    let chosen: Vec<usize> = nodes.map_or_else(|| vec![0], |nodes| nodes.0.iter().collect());
    for node in chosen {
        let there = sections.get(node).map_or(0, |(_, size)| *size);
        refuse_if(
            size > there,
            format_args!("node {node} of the host has {there} KiB for enclaves, the guest wants {size} KiB"),
        )?;
    }
    Ok(())
}

/// Checks what translates addresses of devices.
pub(super) fn iommu(domain: &Domain, iommu: &Iommu, guest: Guest<'_>) -> Result<()> {
    let model = iommu.model;
    let kind = machine(domain, guest.arch);
    let has = |flag| guest.caps.has(flag);
    let (fits, machines) = match model {
        IommuModel::Intel => (kind.is_q35(), "Q35"),
        IommuModel::Smmuv3 => (kind.is_arm_virt(), "ARM Virt"),
        IommuModel::Virtio => (kind.is_q35() || kind.is_arm_virt(), "Q35 and ARM Virt"),
    };
    refuse_if(
        !fits,
        format_args!("IOMMU device: '{model}' is only supported with {machines} machines"),
    )?;
    let there = match model {
        IommuModel::Intel => has(Flag::DeviceIntelIommu),
        IommuModel::Smmuv3 => has(Flag::MachineVirtIommu),
        IommuModel::Virtio => has(Flag::DeviceVirtioIommuPci) && has(Flag::VirtioIommuBootBypass),
    };
    refuse_if(
        !there,
        format_args!("this emulator has no iommu of model '{model}' for this machine"),
    )?;
    if model == IommuModel::Virtio {
        let acpi = domain.features.as_ref().is_some_and(|features| features.acpi);
        refuse_if(!acpi, format_args!("model '{model}' needs <acpi/> in <features>"))?;
        refuse_if(
            !matches!(iommu.info.address, None | Some(Address::Pci(_))),
            format_args!("model '{model}' takes an address of type 'pci'"),
        )?;
    }
    let Some(driver) = &iommu.driver else {
        return Ok(());
    };
    for (said, flag, name) in [
        (driver.intremap.is_some(), Flag::IntelIommuIntremap, "intremap"),
        (
            driver.caching_mode.is_some(),
            Flag::IntelIommuCachingMode,
            "caching_mode",
        ),
        (driver.eim.is_some(), Flag::IntelIommuEim, "eim"),
        (driver.iotlb.is_some(), Flag::IntelIommuDeviceIotlb, "iotlb"),
        (driver.aw_bits > 0, Flag::IntelIommuAwBits, "aw_bits"),
        (
            driver.dma_translation.is_some(),
            Flag::IntelIommuDmaTranslation,
            "dma_translation",
        ),
    ] {
        refuse_if(
            said && !has(flag),
            format_args!("IOMMU device: this QEMU binary does not know '{name}' of '{model}'"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, ask, devices};

    fn together(inside: &str) -> Verdict {
        ask("pc-q35-10.0", inside, &[], super::plugged)
    }

    const CELL: &str = "<cpu><numa><cell id='0' cpus='0' memory='524288'/></numa></cpu>";

    fn dimm(size: u64, rest: &str) -> String {
        format!("<memory model='dimm'><target><size>{size}</size><node>0</node></target>{rest}</memory>")
    }

    fn with(slots: u32, most: u64, devices: &str) -> String {
        format!("<maxMemory slots='{slots}'>{most}</maxMemory>{CELL}<devices>{devices}</devices>")
    }

    #[test]
    fn memory_devices_have_slots_and_room() {
        together(&format!("<devices>{}</devices>", dimm(524_288, ""))).refused("needs 'maxMemory'");
        together("<maxMemory slots='4'>4194304</maxMemory>").refused("<maxMemory> needs NUMA cells");
        together(&with(4, 4_194_304, &dimm(524_288, ""))).fine();
        together(&with(1, 4_194_304, &dimm(262_144, "").repeat(2)))
            .refused("2 memory devices need a slot: there are 1");
        together(&with(4, 1_048_576, &dimm(2_097_152, ""))).refused("do not fit");
        let far = dimm(524_288, "<address type='dimm' slot='4'/>");
        together(&with(4, 4_194_304, &far)).refused("slot '4'");
        let pmem = "<memory model='virtio-pmem'><source><path>/a</path></source><target><size>1024</size></target>\
            <address type='dimm' slot='0'/></memory>";
        together(&with(4, 4_194_304, pmem)).refused("only 'pci' addresses");
        let homeless = "<memory model='dimm'><target><size>1024</size></target></memory>";
        together(&with(4, 4_194_304, homeless)).refused("'node' expected");
    }

    #[test]
    fn memory_devices_are_what_the_binary_has() {
        let judge = |device: &str, flags: &[Flag]| devices("pc-q35-10.0", device, flags);
        judge(&dimm(1024, ""), &[]).refused("model 'dimm'");
        judge(&dimm(1024, ""), &[Flag::DevicePcDimm]).fine();
        let nvdimm = "<memory model='nvdimm'><source><path>/a</path></source>\
            <target><size>1024</size><node>0</node><readonly/></target></memory>";
        judge(nvdimm, &[Flag::DeviceNvdimm]).refused("only reads");
        judge(nvdimm, &[Flag::DeviceNvdimm, Flag::DeviceNvdimmUnarmed]).fine();
        let epc = "<memory model='sgx-epc'><target><size>1024</size></target></memory>";
        judge(epc, &[]).refused("model 'sgx-epc'");
        judge(epc, &[Flag::SgxEpc]).refused("no memory for enclaves");
        let mem = "<memory model='virtio-mem'><target dynamicMemslots='yes'><size>4096</size><node>0</node>\
            <block>2048</block><requested>2048</requested></target></memory>";
        judge(mem, &[]).refused("'dynamicMemslots'");
    }

    #[test]
    fn iommus_are_of_certain_machines() {
        let iommu = |model: &str, inside: &str| format!("<iommu model='{model}'>{inside}</iommu>");
        devices("pc-i440fx-10.0", &iommu("intel", ""), &[]).refused("only supported with Q35");
        devices("pc-q35-10.0", &iommu("intel", ""), &[]).refused("this emulator has no iommu of model");
        devices("pc-q35-10.0", &iommu("intel", ""), &[Flag::DeviceIntelIommu]).fine();
        let eim = iommu("intel", "<driver eim='on'/>");
        devices("pc-q35-10.0", &eim, &[Flag::DeviceIntelIommu]).refused("does not know 'eim'");
        devices(
            "pc-q35-10.0",
            &eim,
            &[Flag::DeviceIntelIommu, Flag::IntelIommuEim],
        )
        .fine();
        devices("virt", &iommu("smmuv3", ""), &[Flag::MachineVirtIommu]).fine();
        let virtio = [Flag::DeviceVirtioIommuPci, Flag::VirtioIommuBootBypass];
        devices("virt", &iommu("virtio", ""), &virtio).refused("needs <acpi/>");
        let acpi = format!(
            "<features><acpi/></features><devices>{}</devices>",
            iommu("virtio", "")
        );
        let check = |domain: &virt_conf::domain::Domain, guest: crate::hooks::Guest<'_>| {
            let iommu = domain.devices.iommu.as_ref();
            iommu.map_or(Ok(()), |iommu| super::iommu(domain, iommu, guest))
        };
        ask("virt", &acpi, &virtio, check).fine();
    }
}
