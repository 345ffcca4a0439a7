//! How much of the host a guest has.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::types::{DomainMemoryModFlags, DomainModificationImpact, DomainVcpuFlags};
use virt_util::{ErrorCode, Result};

use super::{TestConnection, VCPUS_MAX, number};
use crate::changes;
use crate::domain::Guest;
use crate::error;

fn host_has(vcpus: u32) -> Result<()> {
    if vcpus > VCPUS_MAX.unsigned_abs() {
        return Err(error(
            ErrorCode::INVALID_ARG,
            format_args!("{vcpus} CPUs are more than the host takes, {VCPUS_MAX}"),
        ));
    }
    Ok(())
}

fn host_has_vcpus(args: &DomainSetVcpusArgs) -> Result<()> {
    host_has(args.nvcpus)
}

fn host_has_vcpus_flags(args: &DomainSetVcpusFlagsArgs) -> Result<()> {
    host_has(args.nvcpus)
}

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
    #[flags("testDomainGetVcpusFlags", DomainVcpuFlags::LIVE.bits() | DomainVcpuFlags::CONFIG.bits() | DomainVcpuFlags::MAXIMUM.bits())]
    fn domain_get_vcpus_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetVcpusFlagsReply> {
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

    #[flags("testDomainSetMemoryFlags", DomainMemoryModFlags::all().bits())]
    fn domain_set_memory_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        memory: u64,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetMemoryFlags", |_, guest| {
            changes::set_memory(guest, memory, flags)
        })
    }

    #[first(host_has_vcpus)]
    fn domain_set_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
    ) -> Result<()> {
        self.domain_set_vcpus_flags(cx, domain, nvcpus, DomainVcpuFlags::LIVE.bits())
    }

    #[flags("testDomainSetVcpusFlags", DomainVcpuFlags::LIVE.bits() | DomainVcpuFlags::CONFIG.bits() | DomainVcpuFlags::MAXIMUM.bits())]
    #[first(host_has_vcpus_flags)]
    fn domain_set_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetVcpusFlags", |_, guest| {
            changes::set_vcpus(guest, nvcpus, flags)
        })
    }

    #[flags("testDomainSetLifecycleAction", DomainModificationImpact::all().bits())]
    fn domain_set_lifecycle_action(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: u32,
        action: u32,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetLifecycleAction", |_, guest| {
            changes::set_lifecycle_action(guest, kind, action, flags)
        })
    }
}
