//! What is known of a guest: its state, its numbers, its jobs.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::Job;
use virt_util::Result;
use virt_util::time::{Clock as _, SystemClock};
use virt_util::types::{DomainControlErrorReason, DomainControlState, DomainGetJobStatsFlags};

use super::QemuConnection;
use crate::driver::life;
use crate::driver::object::GuestObject;
use crate::process::guest::Control;

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    fn domain_get_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetInfoReply> {
        let guest = domain.handle::<GuestObject>()?;
        let snapshot = guest.snapshot();
        let definition = &snapshot.life.current().domain;
        let now = match definition.current_memory {
            0 => definition.memory.size,
            some => some,
        };
        let cpus = definition.vcpus.current.unwrap_or(definition.vcpus.max);
        Ok(DomainGetInfoReply {
            state: u8::try_from(snapshot.state.state.state.0).unwrap_or(0),
            max_mem: definition.memory.size,
            memory: now,
            nr_virt_cpu: u16::try_from(cpus).unwrap_or(u16::MAX),
            cpu_time: life::cpu_time(&snapshot, guest),
        })
    }

    #[inline_safe]
    fn domain_get_os_type(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetOsTypeReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetOsTypeReply {
            kind: snapshot.life.current().domain.os.kind.os.to_string(),
        })
    }

    #[inline_safe]
    fn domain_is_updated(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsUpdatedReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainIsUpdatedReply {
            updated: snapshot.state.updated.into(),
        })
    }

    #[inline_safe]
    #[flags("qemuDomainGetControlInfo", 0)]
    fn domain_get_control_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetControlInfoReply> {
        let object = domain.handle::<GuestObject>()?;
        let guest = life::running(object)?;
        let since = |nanos: u64| SystemClock.monotonic_nanos().saturating_sub(nanos) / 1_000_000;
        let (state, reason, state_time) = match (guest.control(), object.lane().info().job) {
            (Control::Silent(from) | Control::Lost(from), _) => (
                DomainControlState::ERROR,
                DomainControlErrorReason::MONITOR,
                since(from),
            ),
            (Control::Fine, Some(held)) => (
                DomainControlState::OCCUPIED,
                DomainControlErrorReason::NONE,
                since(held.since),
            ),
            (Control::Fine, None) => (DomainControlState::OK, DomainControlErrorReason::NONE, 0),
        };
        Ok(DomainGetControlInfoReply {
            state: state.0.unsigned_abs(),
            details: reason.0.unsigned_abs(),
            state_time,
        })
    }

    #[inline_safe]
    #[flags("qemuDomainGetMessages", 3)]
    fn domain_get_messages(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetMessagesReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetMessagesReply {
            msgs: snapshot.state.messages.clone(),
        })
    }

    #[flags("qemuDomainMemoryStats", 0)]
    fn domain_memory_stats(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        max_stats: u32,
        _: u32,
    ) -> Result<DomainMemoryStatsReply> {
        let stats = self.change(cx, &domain, Job::Query, "virDomainMemoryStats", |object| {
            life::memory_stats(object, cx)
        })?;
        Ok(DomainMemoryStatsReply {
            stats: stats
                .into_iter()
                .take(usize::try_from(max_stats).unwrap_or(usize::MAX))
                .map(|(tag, val)| DomainMemoryStat { tag: tag.0, val })
                .collect(),
        })
    }

    #[inline_safe]
    fn domain_get_job_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetJobInfoReply> {
        // Nothing here lasts longer than its call yet.
        life::running(domain.handle::<GuestObject>()?)?;
        Ok(DomainGetJobInfoReply::default())
    }

    #[inline_safe]
    #[flags("qemuDomainGetJobStats", DomainGetJobStatsFlags::all().bits())]
    fn domain_get_job_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetJobStatsReply> {
        let completed = DomainGetJobStatsFlags::from(flags).contains(DomainGetJobStatsFlags::COMPLETED);
        if !completed {
            life::running(domain.handle::<GuestObject>()?)?;
        }
        Ok(DomainGetJobStatsReply::default())
    }
}
