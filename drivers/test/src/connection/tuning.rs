//! How much of the host a guest has.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::Result;
use virt_util::types::{DomainMemoryModFlags, DomainModificationImpact, DomainVcpuFlags};

use super::{TestConnection, VCPUS_MAX, check_flags, number};
use crate::changes;
use crate::domain::Guest;

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    fn domain_get_max_memory(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetMaxMemoryReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        Ok(DomainGetMaxMemoryReply {
            memory: snapshot.life.current().max_memory(),
        })
    }

    #[inline_safe]
    fn domain_get_vcpus_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetVcpusFlagsReply> {
        let allowed = DomainVcpuFlags::LIVE | DomainVcpuFlags::CONFIG | DomainVcpuFlags::MAXIMUM;
        check_flags("testDomainGetVcpusFlags", flags, allowed.bits())?;
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let (definition, _) = snapshot.one_definition(flags)?;
        let maximum = DomainVcpuFlags::from(flags).contains(DomainVcpuFlags::MAXIMUM);
        Ok(DomainGetVcpusFlagsReply {
            num: number(if maximum {
                definition.max_vcpus()
            } else {
                definition.vcpus()
            }),
        })
    }

    fn domain_set_memory(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        memory: u64,
    ) -> Result<()> {
        self.domain_set_memory_flags(cx, domain, memory, DomainMemoryModFlags::LIVE.bits())
    }

    fn domain_set_max_memory(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        memory: u64,
    ) -> Result<()> {
        self.domain_set_memory_flags(cx, domain, memory, DomainMemoryModFlags::MAXIMUM.bits())
    }

    fn domain_set_memory_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        memory: u64,
        flags: u32,
    ) -> Result<()> {
        check_flags(
            "testDomainSetMemoryFlags",
            flags,
            DomainMemoryModFlags::all().bits(),
        )?;
        self.change(cx, &domain, "virDomainSetMemoryFlags", |_, guest| {
            changes::set_memory(guest, memory, flags)
        })
    }

    fn domain_set_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
    ) -> Result<()> {
        self.domain_set_vcpus_flags(cx, domain, nvcpus, DomainVcpuFlags::LIVE.bits())
    }

    fn domain_set_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
        flags: u32,
    ) -> Result<()> {
        let allowed = DomainVcpuFlags::LIVE | DomainVcpuFlags::CONFIG | DomainVcpuFlags::MAXIMUM;
        check_flags("testDomainSetVcpusFlags", flags, allowed.bits())?;
        self.change(cx, &domain, "virDomainSetVcpusFlags", |_, guest| {
            changes::set_vcpus(guest, nvcpus, flags, VCPUS_MAX.unsigned_abs())
        })
    }

    fn domain_set_lifecycle_action(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: u32,
        action: u32,
        flags: u32,
    ) -> Result<()> {
        check_flags(
            "testDomainSetLifecycleAction",
            flags,
            DomainModificationImpact::all().bits(),
        )?;
        self.change(cx, &domain, "virDomainSetLifecycleAction", |_, guest| {
            changes::set_lifecycle_action(guest, kind, action, flags)
        })
    }
}
