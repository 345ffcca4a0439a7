//! What is known of a guest: its state, its numbers, its jobs.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::Definition;
use virt_util::typed_param::{TypedParam, TypedParams};
use virt_util::types::{
    ConnectGetAllDomainStatsFlags, ConnectListAllDomainsFlags, DomainControlState, DomainMemoryStatTags,
    DomainState, DomainStatsTypes,
};
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result};

use super::{TestConnection, check_flags};
use crate::domain::{self, GUEST_TIME, Guest, Polling};
use crate::error;
use crate::life;

/// How I/O threads poll, as statistics.
fn polling_stats(polling: &[Polling]) -> Vec<TypedParam> {
    let Some(count) = u32::try_from(polling.len()).ok().filter(|count| *count > 0) else {
        return Vec::new();
    };
    let mut params = vec![TypedParam::new("iothread.count", count)];
    for Polling {
        id,
        max_ns,
        grow,
        shrink,
    } in polling
    {
        params.push(TypedParam::new(format!("iothread.{id}.poll-max-ns"), *max_ns));
        params.push(TypedParam::new(format!("iothread.{id}.poll-grow"), *grow));
        params.push(TypedParam::new(format!("iothread.{id}.poll-shrink"), *shrink));
    }
    params
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn connect_get_all_domain_stats(
        &self,
        cx: &mut CallContext<'_>,
        domains: Vec<DomainRef>,
        stats: u32,
        flags: u32,
    ) -> Result<ConnectGetAllDomainStatsReply> {
        let filters = ConnectListAllDomainsFlags::ACTIVE
            | ConnectListAllDomainsFlags::INACTIVE
            | ConnectListAllDomainsFlags::PERSISTENT
            | ConnectListAllDomainsFlags::TRANSIENT
            | ConnectListAllDomainsFlags::RUNNING
            | ConnectListAllDomainsFlags::PAUSED
            | ConnectListAllDomainsFlags::SHUTOFF
            | ConnectListAllDomainsFlags::OTHER;
        let own = ConnectGetAllDomainStatsFlags::NOWAIT
            | ConnectGetAllDomainStatsFlags::BACKING
            | ConnectGetAllDomainStatsFlags::ENFORCE_STATS;
        check_flags("testConnectGetAllDomainStats", flags, filters.bits() | own.bits())?;
        let known = DomainStatsTypes::STATE.bits() | DomainStatsTypes::IOTHREAD.bits();
        let enforced = flags & ConnectGetAllDomainStatsFlags::ENFORCE_STATS.bits() != 0;
        if enforced && stats & !known != 0 {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                format_args!("groups of statistics 0x{:x} are unknown", stats & !known),
            ));
        }
        let filter = ConnectListAllDomainsFlags::from(flags & filters.bits());
        let wanted: BTreeSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        let groups = DomainStatsTypes::from(if stats == 0 { known } else { stats });
        let guests = self.world.guests().snapshots(|guest| {
            let named = || wanted.contains(&guest.life.current().uuid().unwrap_or_default());
            (wanted.is_empty() || named()) && domain::matches(guest, filter)
        });
        let mut ret_stats = Vec::new();
        for guest in guests {
            let domain = domain::attributes(&guest);
            if !cx.may_see(&domain)? {
                continue;
            }
            let mut params = Vec::new();
            if groups.contains(DomainStatsTypes::STATE) {
                params.push(TypedParam::new("state.state", guest.state.state.0));
                params.push(TypedParam::new("state.reason", guest.state.reason));
            }
            if groups.contains(DomainStatsTypes::IOTHREAD) && guest.is_active() {
                params.extend(polling_stats(&guest.state.lasting.polling));
            }
            let (domain, params) = (domain.into(), TypedParams(params));
            ret_stats.push(DomainStatsRecord { domain, params });
        }
        Ok(ConnectGetAllDomainStatsReply { ret_stats })
    }

    #[inline_safe]
    fn domain_get_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetInfoReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let definition = snapshot.life.current();
        // The guest has been busy since 1970, as libvirt's simulator tells it.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(DomainGetInfoReply {
            state: u8::try_from(snapshot.state.state.0).unwrap_or(0),
            max_mem: definition.max_memory(),
            memory: definition.memory(),
            nr_virt_cpu: u16::try_from(definition.vcpus()).unwrap_or(u16::MAX),
            cpu_time: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    #[inline_safe]
    fn domain_get_os_type(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<Domain>,
    ) -> Result<DomainGetOsTypeReply> {
        Ok(DomainGetOsTypeReply {
            kind: "linux".to_owned(),
        })
    }

    #[inline_safe]
    fn domain_is_updated(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<Domain>,
    ) -> Result<DomainIsUpdatedReply> {
        Ok(DomainIsUpdatedReply { updated: 0 })
    }

    #[inline_safe]
    #[flags("testDomainGetControlInfo", 0)]
    fn domain_get_control_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetControlInfoReply> {
        life::active(domain.handle::<Guest>()?)?;
        Ok(DomainGetControlInfoReply {
            state: DomainControlState::OK.0.unsigned_abs(),
            details: 0,
            state_time: 0,
        })
    }

    #[inline_safe]
    fn domain_get_security_label(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetSecurityLabelReply> {
        let active = domain.handle::<Guest>()?.snapshot().is_active();
        Ok(DomainGetSecurityLabelReply {
            label: if active { "libvirt-test" } else { "" }.to_owned(),
            enforcing: active.into(),
        })
    }

    #[inline_safe]
    #[flags("testDomainGetTime", 0)]
    fn domain_get_time(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetTimeReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        if snapshot.state.state != DomainState::RUNNING {
            return Err(error(ErrorCode::OPERATION_INVALID, "domain is not running"));
        }
        let (seconds, nseconds) = snapshot.state.lasting.clock;
        Ok(DomainGetTimeReply { seconds, nseconds })
    }

    #[inline_safe]
    #[flags("testDomainMemoryStats", 0)]
    fn domain_memory_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        max_stats: u32,
        _: u32,
    ) -> Result<DomainMemoryStatsReply> {
        use DomainMemoryStatTags as Tag;
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        let definition = snapshot.life.current();
        // It is the balloon that knows.
        if !definition.has_balloon() {
            return Ok(DomainMemoryStatsReply { stats: Vec::new() });
        }
        let memory = definition.memory();
        let stats = [
            (Tag::ACTUAL_BALLOON, memory),
            (Tag::SWAP_IN, 0),
            (Tag::SWAP_OUT, 0),
            (Tag::MAJOR_FAULT, 0),
            (Tag::MINOR_FAULT, 0),
            (Tag::UNUSED, memory / 2),
            (Tag::AVAILABLE, memory),
            (Tag::USABLE, memory / 2),
            (Tag::LAST_UPDATE, GUEST_TIME.unsigned_abs()),
            (Tag::DISK_CACHES, memory / 8),
            (Tag::HUGETLB_PGALLOC, 0),
            (Tag::HUGETLB_PGFAIL, 0),
            (Tag::RSS, memory / 2),
        ];
        let stats = stats.map(|(tag, val)| DomainMemoryStat { tag: tag.0, val });
        Ok(DomainMemoryStatsReply {
            stats: stats.into_iter().take(max_stats as usize).collect(),
        })
    }
}
