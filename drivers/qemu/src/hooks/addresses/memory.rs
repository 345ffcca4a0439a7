//! Slots of memory modules.

use std::collections::BTreeSet;

use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::{Address, DimmAddress, Domain};
use virt_util::{Result, VirtError};

pub(super) fn memory_slots(domain: &mut Domain) -> Result<()> {
    let Some(slots) = domain.max_memory.as_ref().map(|memory| memory.slots) else {
        return Ok(());
    };
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    for module in &domain.devices.memory {
        if let Some(Address::Dimm(at)) = &module.info.address {
            taken.insert(at.slot);
        }
    }
    let mut free = 0..slots;
    for module in &mut domain.devices.memory {
        let plugged = matches!(module.model, MemoryModel::Dimm | MemoryModel::Nvdimm);
        if !plugged || matches!(module.info.address, Some(Address::Dimm(_))) {
            continue;
        }
        let slot = free
            .find(|slot| !taken.contains(slot))
            .ok_or_else(|| VirtError::internal("all slots of <maxMemory> are taken"))?;
        module.info.address = Some(Address::Dimm(DimmAddress { slot, base: 0 }));
    }
    Ok(())
}
