//! How much of the host a guest has.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::AgentJob;
use virt_util::types::DomainVcpuFlags;
use virt_util::{ErrorCode, Result};

use super::QemuConnection;
use crate::agent::facts::plan_online;
use crate::driver::error;
use crate::driver::object::GuestObject;

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[inline_safe]
    fn domain_get_max_memory(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetMaxMemoryReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetMaxMemoryReply {
            memory: snapshot.life.current().domain.memory.size,
        })
    }

    #[flags("qemuDomainGetVcpusFlags", DomainVcpuFlags::LIVE.bits() | DomainVcpuFlags::CONFIG.bits() | DomainVcpuFlags::MAXIMUM.bits() | DomainVcpuFlags::GUEST.bits())]
    fn domain_get_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetVcpusFlagsReply> {
        let flags = DomainVcpuFlags::from(flags);
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let refuse = |what: &str| Err(error(ErrorCode::OPERATION_INVALID, what));
        if flags.contains(DomainVcpuFlags::LIVE) && !snapshot.is_active() {
            return refuse("domain is not running");
        }
        let definition = match (flags.contains(DomainVcpuFlags::CONFIG), snapshot.life.stored()) {
            (true, None) => return refuse("a transient domain has no configuration beside the running one"),
            (true, Some(stored)) => stored,
            (false, _) => snapshot.life.current(),
        };
        if flags.contains(DomainVcpuFlags::GUEST) {
            if !snapshot.is_active() {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    "the guest agent counts CPUs of a running domain only",
                ));
            }
            let cpus = self.agent(
                cx,
                &domain,
                AgentJob::Query,
                "virDomainGetVcpusFlags",
                |_, agent| agent.cpus(),
            )?;
            let counted = cpus
                .iter()
                .filter(|cpu| cpu.online || flags.contains(DomainVcpuFlags::MAXIMUM));
            return Ok(DomainGetVcpusFlagsReply {
                num: i32::try_from(counted.count()).unwrap_or(i32::MAX),
            });
        }
        let vcpus = &definition.domain.vcpus;
        let num = if flags.contains(DomainVcpuFlags::MAXIMUM) {
            vcpus.max
        } else {
            vcpus.current.unwrap_or(vcpus.max)
        };
        Ok(DomainGetVcpusFlagsReply {
            num: i32::try_from(num).unwrap_or(i32::MAX),
        })
    }

    #[flags("qemuDomainSetVcpusFlags", DomainVcpuFlags::LIVE.bits() | DomainVcpuFlags::CONFIG.bits() | DomainVcpuFlags::MAXIMUM.bits() | DomainVcpuFlags::GUEST.bits() | DomainVcpuFlags::HOTPLUGGABLE.bits())]
    fn domain_set_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
        flags: u32,
    ) -> Result<()> {
        let flags = DomainVcpuFlags::from(flags);
        if !flags.contains(DomainVcpuFlags::GUEST) {
            return Err(error(
                ErrorCode::OPERATION_UNSUPPORTED,
                "processors cannot be plugged in or out yet, only be put on and off line by the guest's agent",
            ));
        }
        self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainSetVcpusFlags",
            |guest, agent| {
                let snapshot = guest.snapshot();
                let vcpus = &snapshot.life.current().domain.vcpus;
                let enabled = vcpus.current.unwrap_or(vcpus.max);
                if nvcpus > enabled {
                    return Err(error(
                        ErrorCode::INVALID_ARG,
                        format_args!("{nvcpus} CPUs are wanted and {enabled} are on"),
                    ));
                }
                let mut cpus = agent.cpus()?;
                plan_online(nvcpus, &mut cpus)?;
                agent.set_cpus(&mut cpus)
            },
        )
    }
}
