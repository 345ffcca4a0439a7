//! The procedures that the simulator answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use virt_api::access::{
    Authorized, Domain, Found, Interface, Network, NodeDevice, Resolved, Resolver, StoragePool, StorageVol,
    Unchecked,
};
use virt_api::call::CallContext;
use virt_api::driver::{DriverConnection, OpenContext};
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::{
    HypervisorDriver, InterfaceDriver, NetworkDriver, NodeDeviceDriver, StorageDriver,
};
use virt_conf::cpu::CpuDocument;
use virt_conf::cpu_models;
use virt_conf::registry::job::JobGuard;
use virt_conf::registry::{Definition, Snapshot};
use virt_conf::schema::Check;
use virt_util::bitmap::Bitmap;
use virt_util::keycode::Codeset;
use virt_util::typed_param::{TypedParam, TypedParams};
use virt_util::types::params::node_cpu_stats;
use virt_util::types::{
    ConnectBaselineCpuFlags, ConnectGetAllDomainStatsFlags, ConnectListAllDomainsFlags, DomainControlState,
    DomainCreateFlags, DomainDefineFlags, DomainDestroyFlags, DomainMemoryModFlags, DomainMemoryStatTags,
    DomainMetadataType, DomainModificationImpact, DomainRebootFlags, DomainSaveRestoreFlags, DomainState,
    DomainStatsTypes, DomainUndefineFlags, DomainVcpuFlags, DomainXmlFlags,
};
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::capabilities::capabilities;
use crate::changes;
use crate::definition::GuestDefinition;
use crate::domain::{self, Guest, GuestId, GuestKind};
use crate::error;
use crate::life;
use crate::world::World;
use crate::{devices, hotplug, interfaces, networks, pools};

/// The version the simulated hypervisor claims: 0.0.2.
const HYPERVISOR_VERSION: u64 = 2;
/// The most processors a guest may have.
const VCPUS_MAX: i32 = 32;
/// A guest's clock at start, and the time of its last memory report: 17 November 1989, in seconds.
const GUEST_TIME: i64 = 627_319_920;

/// One client's connection to a simulated host.
#[derive(Debug)]
pub struct TestConnection {
    world: Arc<World>,
    uri: String,
}

impl TestConnection {
    pub(crate) fn new(world: Arc<World>, cx: &OpenContext) -> Self {
        Self {
            world,
            uri: cx.uri().to_owned(),
        }
    }

    /// The host.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Does `change` with the guest's lane held, and tells what happened when it is let go.
    fn change<T>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        api: &'static str,
        change: impl FnOnce(&World, &Arc<Guest>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<Guest>()?;
        let job: JobGuard = life::begin(&guest, cx, api)?;
        let done = change(&self.world, &guest);
        drop(job);
        self.world.tell(&guest)?;
        done
    }

    /// The guests that are wanted and that the caller may see.
    fn guests_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<GuestKind>) -> bool,
    ) -> Result<Vec<Domain>> {
        let guests = self.world.guests().snapshots(wanted);
        listing::visible(cx, guests.map(|snapshot| domain::attributes(&snapshot)))
    }

    fn create(
        &self,
        cx: &mut CallContext<'_>,
        xml: &str,
        flags: u32,
        api: &'static str,
    ) -> Result<Authorized<Domain>> {
        let validate = DomainCreateFlags::START_VALIDATE.bits();
        check_flags("testDomainCreateXML", flags, validate)?;
        let definition = GuestDefinition::parse(xml, Check::asked_by(flags & validate != 0))?;
        changes::create(&self.world, cx, definition, api)
    }
}

impl DriverConnection for TestConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn network(&self) -> Option<&dyn NetworkDriver> {
        Some(self)
    }

    fn interface(&self) -> Option<&dyn InterfaceDriver> {
        Some(self)
    }

    fn storage(&self) -> Option<&dyn StorageDriver> {
        Some(self)
    }

    fn node_device(&self) -> Option<&dyn NodeDeviceDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }
}

impl Resolver for TestConnection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        let guest = self.world.guests().find_uuid(&key.uuid, Some(&key.name))?;
        Ok(Found::new(domain::attributes(&guest.snapshot()), guest))
    }

    fn network(&self, key: &Network) -> Result<Found<Network>> {
        networks::resolve(&self.world, key)
    }

    fn interface(&self, key: &Interface) -> Result<Found<Interface>> {
        interfaces::resolve(&self.world, key)
    }

    fn storage_pool(&self, key: &StoragePool) -> Result<Found<StoragePool>> {
        pools::resolve(&self.world, key)
    }

    fn storage_vol(&self, key: &StorageVol) -> Result<Found<StorageVol>> {
        pools::resolve_volume(&self.world, key)
    }

    fn node_device(&self, key: &NodeDevice) -> Result<Found<NodeDevice>> {
        devices::resolve(&self.world, key)
    }
}

/// Refuses flags that a call does not know.
pub(crate) fn check_flags(call: &str, flags: u32, allowed: u32) -> Result<()> {
    virt_util::types::check_flags(call, flags, allowed).map_err(|error| error.in_domain(ErrorDomain::TEST))
}

/// A count as the protocol carries it.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[virt_api::implements]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    fn connect_get_type(&self, _: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        Ok(ConnectGetTypeReply {
            kind: "TEST".to_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_version(&self, _: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        Ok(ConnectGetVersionReply {
            hv_ver: HYPERVISOR_VERSION,
        })
    }

    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        let name = nix::unistd::gethostname()
            .map_err(|errno| virt_util::VirtError::system(errno as i32, "failed to determine host name"))?;
        Ok(ConnectGetHostnameReply {
            hostname: name.to_string_lossy().into_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_uri(&self, _: &mut CallContext<'_>) -> Result<ConnectGetUriReply> {
        Ok(ConnectGetUriReply {
            uri: self.uri.clone(),
        })
    }

    #[inline_safe]
    fn connect_is_secure(&self, _: &mut CallContext<'_>) -> Result<ConnectIsSecureReply> {
        Ok(ConnectIsSecureReply { secure: 1 })
    }

    #[inline_safe]
    fn connect_get_max_vcpus(
        &self,
        _: &mut CallContext<'_>,
        _: Option<String>,
    ) -> Result<ConnectGetMaxVcpusReply> {
        Ok(ConnectGetMaxVcpusReply { max_vcpus: VCPUS_MAX })
    }

    fn connect_baseline_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineCpuReply> {
        let expand = ConnectBaselineCpuFlags::EXPAND_FEATURES.bits();
        check_flags("testConnectBaselineCPU", flags, expand)?;
        let cpus = CpuDocument::parse_hosts(&xml_cpus, "(CPU_definition)")?;
        let mut cpu = cpu_models::baseline(None, &cpus, None, None, false)?;
        if let Some(arch) = cpus.first().and_then(CpuDocument::arch).filter(|_| flags != 0) {
            cpu_models::expand(arch, &mut cpu)?;
        }
        Ok(ConnectBaselineCpuReply {
            cpu: CpuDocument::Guest(cpu).format(),
        })
    }

    #[inline_safe]
    fn connect_get_cpu_model_names(
        &self,
        _: &mut CallContext<'_>,
        arch: String,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectGetCpuModelNamesReply> {
        check_flags("testConnectGetCPUModelNames", flags, 0)?;
        let models = cpu_models::model_names(&arch)?;
        Ok(ConnectGetCpuModelNamesReply {
            ret: i32::try_from(models.len()).unwrap_or(i32::MAX),
            models: if need_results == 0 { Vec::new() } else { models },
        })
    }

    #[inline_safe]
    fn node_get_info(&self, _: &mut CallContext<'_>) -> Result<NodeGetInfoReply> {
        let node = self.world.node();
        Ok(NodeGetInfoReply {
            model: node.model.clone(),
            memory: node.memory,
            cpus: number(node.cpus),
            mhz: number(node.mhz),
            nodes: number(node.nodes),
            sockets: number(node.sockets),
            cores: number(node.cores),
            threads: number(node.threads),
        })
    }

    #[inline_safe]
    fn connect_get_capabilities(&self, _: &mut CallContext<'_>) -> Result<ConnectGetCapabilitiesReply> {
        Ok(ConnectGetCapabilitiesReply {
            capabilities: capabilities(self.world.cells()).to_xml(),
        })
    }

    #[inline_safe]
    fn connect_get_sysinfo(&self, _: &mut CallContext<'_>, flags: u32) -> Result<ConnectGetSysinfoReply> {
        check_flags("testConnectGetSysinfo", flags, 0)?;
        Ok(ConnectGetSysinfoReply {
            sysinfo: include_str!("sysinfo.xml").to_owned(),
        })
    }

    #[inline_safe]
    fn node_get_cpu_map(
        &self,
        _: &mut CallContext<'_>,
        need_map: i32,
        need_online: i32,
        flags: u32,
    ) -> Result<NodeGetCpuMapReply> {
        check_flags("testNodeGetCPUMap", flags, 0)?;
        let online: Bitmap = [0, 2, 4].into_iter().collect();
        Ok(NodeGetCpuMapReply {
            cpumap: if need_map == 0 {
                Vec::new()
            } else {
                online.to_bytes()
            },
            online: if need_online == 0 { 0 } else { 3 },
            ret: 8,
        })
    }

    #[inline_safe]
    fn node_get_cpu_stats(
        &self,
        _: &mut CallContext<'_>,
        _: i32,
        nparams: i32,
        flags: u32,
    ) -> Result<NodeGetCpuStatsReply> {
        check_flags("testNodeGetCPUStats", flags, 0)?;
        let stats = [
            (node_cpu_stats::USER, 9_797_400_000),
            (node_cpu_stats::KERNEL, 34_678_723_400_000),
            (node_cpu_stats::IDLE, 87_264_900_000),
            (node_cpu_stats::IOWAIT, 763_600_000),
        ];
        // Asked for none, the call tells how many there are.
        if nparams == 0 {
            return Ok(NodeGetCpuStatsReply {
                params: Vec::new(),
                nparams: 4,
            });
        }
        let params: Vec<_> = stats
            .into_iter()
            .take(usize::try_from(nparams).unwrap_or(0))
            .map(|(field, value)| NodeCpuStat {
                field: field.to_owned(),
                value,
            })
            .collect();
        Ok(NodeGetCpuStatsReply {
            nparams: i32::try_from(params.len()).unwrap_or(0),
            params,
        })
    }

    #[inline_safe]
    fn node_get_free_memory(&self, _: &mut CallContext<'_>) -> Result<NodeGetFreeMemoryReply> {
        // libvirt's simulator gives its cells' KiB for the bytes that the call promises.
        Ok(NodeGetFreeMemoryReply {
            free_mem: self.world.cells().iter().map(|cell| cell.free).sum(),
        })
    }

    #[inline_safe]
    fn node_get_cells_free_memory(
        &self,
        _: &mut CallContext<'_>,
        start_cell: i32,
        maxcells: i32,
    ) -> Result<NodeGetCellsFreeMemoryReply> {
        let cells = self.world.cells();
        let start = usize::try_from(start_cell).unwrap_or(usize::MAX);
        if start >= cells.len() {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "start cell {start_cell} out of range, the host has {} cells",
                    cells.len()
                ),
            ));
        }
        let count = usize::try_from(maxcells).unwrap_or(0);
        Ok(NodeGetCellsFreeMemoryReply {
            cells: cells
                .iter()
                .skip(start)
                .take(count)
                .map(|cell| cell.memory)
                .collect(),
        })
    }

    #[inline_safe]
    fn node_get_security_model(&self, _: &mut CallContext<'_>) -> Result<NodeGetSecurityModelReply> {
        Ok(NodeGetSecurityModelReply {
            model: "testSecurity".to_owned(),
            doi: String::new(),
        })
    }

    #[inline_safe]
    fn connect_num_of_domains(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfDomainsReply> {
        let num = listing::count(&self.guests_seen(cx, Snapshot::is_active)?);
        Ok(ConnectNumOfDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_domains(&self, cx: &mut CallContext<'_>, maxids: i32) -> Result<ConnectListDomainsReply> {
        let guests = self.guests_seen(cx, Snapshot::is_active)?;
        let ids = listing::at_most(guests.into_iter().map(|guest| guest.id), maxids);
        Ok(ConnectListDomainsReply { ids })
    }

    #[inline_safe]
    fn connect_num_of_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedDomainsReply> {
        let num = listing::count(&self.guests_seen(cx, |guest| !guest.is_active())?);
        Ok(ConnectNumOfDefinedDomainsReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_domains(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedDomainsReply> {
        let guests = self.guests_seen(cx, |guest| !guest.is_active())?;
        let names = listing::at_most(guests.into_iter().map(|guest| guest.name), maxnames);
        Ok(ConnectListDefinedDomainsReply { names })
    }

    #[inline_safe]
    fn connect_list_all_domains(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllDomainsReply> {
        check_flags(
            "testConnectListAllDomains",
            flags,
            ConnectListAllDomainsFlags::all().bits(),
        )?;
        let filter = ConnectListAllDomainsFlags::from(flags);
        let guests = self.guests_seen(cx, |guest| domain::matches(guest, filter))?;
        let (domains, ret) = listing::all(guests, need_results);
        Ok(ConnectListAllDomainsReply { domains, ret })
    }

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
        // Simulated guests have a state and nothing else that could be counted.
        let known = DomainStatsTypes::STATE.bits();
        let enforced = flags & ConnectGetAllDomainStatsFlags::ENFORCE_STATS.bits() != 0;
        if enforced && stats & !known != 0 {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                format_args!(
                    "Stats types bits 0x{:x} are not supported by this daemon",
                    stats & !known
                ),
            ));
        }
        let filter = ConnectListAllDomainsFlags::from(flags & filters.bits());
        let wanted: BTreeSet<Uuid> = domains.iter().map(|domain| domain.uuid).collect();
        let with_state = stats == 0 || stats & known != 0;
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
            let params = match with_state {
                true => vec![
                    TypedParam::new("state.state", guest.state.state.0),
                    TypedParam::new("state.reason", guest.state.reason),
                ],
                false => Vec::new(),
            };
            let (domain, params) = (domain.into(), TypedParams(params));
            ret_stats.push(DomainStatsRecord { domain, params });
        }
        Ok(ConnectGetAllDomainStatsReply { ret_stats })
    }

    #[inline_safe]
    fn domain_lookup_by_id(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        id: i32,
    ) -> Result<Authorized<DomainLookupByIdReply>> {
        let guest = self.world.guests().by_key(&GuestId(id)).ok_or_else(|| {
            error(
                ErrorCode::NO_DOMAIN,
                format_args!("no domain with matching id '{id}'"),
            )
        })?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByIdReply {
                domain: domain.into(),
            }
        })
    }

    #[inline_safe]
    fn domain_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<DomainLookupByUuidReply>> {
        let guest = self.world.guests().find_uuid(&uuid, None)?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByUuidReply {
                domain: domain.into(),
            }
        })
    }

    #[inline_safe]
    fn domain_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<DomainLookupByNameReply>> {
        let guest = self.world.guests().find_name(&name)?;
        listing::found(cx, domain::attributes(&guest.snapshot()), |domain| {
            DomainLookupByNameReply {
                domain: domain.into(),
            }
        })
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
    fn domain_get_state(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetStateReply> {
        check_flags("testDomainGetState", flags, 0)?;
        let snapshot = domain.handle::<Guest>()?.snapshot();
        Ok(DomainGetStateReply {
            state: snapshot.state.state.0,
            reason: snapshot.state.reason,
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
    fn domain_get_max_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetMaxVcpusReply> {
        let flags = DomainVcpuFlags::LIVE | DomainVcpuFlags::MAXIMUM;
        let num = self.domain_get_vcpus_flags(cx, domain, flags.bits())?.num;
        Ok(DomainGetMaxVcpusReply { num })
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

    #[inline_safe]
    fn domain_is_active(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsActiveReply> {
        Ok(DomainIsActiveReply {
            active: domain.handle::<Guest>()?.snapshot().is_active().into(),
        })
    }

    #[inline_safe]
    fn domain_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsPersistentReply> {
        Ok(DomainIsPersistentReply {
            persistent: domain.handle::<Guest>()?.snapshot().is_persistent().into(),
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
    fn domain_get_control_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetControlInfoReply> {
        check_flags("testDomainGetControlInfo", flags, 0)?;
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
    fn domain_get_time(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetTimeReply> {
        check_flags("testDomainGetTime", flags, 0)?;
        if domain.handle::<Guest>()?.snapshot().state.state != DomainState::RUNNING {
            return Err(error(ErrorCode::OPERATION_INVALID, "domain is not running"));
        }
        Ok(DomainGetTimeReply {
            seconds: GUEST_TIME,
            nseconds: 0,
        })
    }

    #[inline_safe]
    fn domain_memory_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        max_stats: u32,
        flags: u32,
    ) -> Result<DomainMemoryStatsReply> {
        use DomainMemoryStatTags as Tag;
        check_flags("testDomainMemoryStats", flags, 0)?;
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        let memory = snapshot.life.current().memory();
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

    #[inline_safe]
    fn domain_get_autostart(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetAutostartReply> {
        Ok(DomainGetAutostartReply {
            autostart: domain.handle::<Guest>()?.snapshot().autostart.into(),
        })
    }

    fn domain_set_autostart(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        autostart: i32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetAutostart", |_, guest| {
            guest.publish(|snapshot| snapshot.autostart = autostart != 0);
            Ok(())
        })
    }

    fn domain_create(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainCreate", life::start)
    }

    fn domain_create_with_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainCreateWithFlagsReply> {
        check_flags("testDomainCreateWithFlags", flags, 0)?;
        self.change(cx, &domain, "virDomainCreateWithFlags", |world, guest| {
            life::start(world, guest)?;
            Ok(DomainCreateWithFlagsReply {
                domain: domain::attributes(&guest.snapshot()).into(),
            })
        })
    }

    fn domain_destroy(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainDestroy", life::destroy)
    }

    fn domain_destroy_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        check_flags(
            "testDomainDestroyFlags",
            flags,
            DomainDestroyFlags::GRACEFUL.bits(),
        )?;
        self.change(cx, &domain, "virDomainDestroyFlags", life::destroy)
    }

    fn domain_shutdown(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainShutdown", life::shutdown)
    }

    fn domain_shutdown_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainShutdownFlags", flags, 0)?;
        self.change(cx, &domain, "virDomainShutdownFlags", life::shutdown)
    }

    fn domain_reboot(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("testDomainReboot", flags, DomainRebootFlags::all().bits())?;
        self.change(cx, &domain, "virDomainReboot", life::reboot)
    }

    fn domain_reset(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("testDomainReset", flags, 0)?;
        self.change(cx, &domain, "virDomainReset", |_, guest| {
            life::active(guest).map(|_| ())
        })
    }

    fn domain_suspend(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainSuspend", |_, guest| life::suspend(guest))
    }

    fn domain_resume(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainResume", |_, guest| life::resume(guest))
    }

    fn domain_undefine(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.domain_undefine_flags(cx, domain, 0)
    }

    fn domain_undefine_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        let allowed = DomainUndefineFlags::MANAGED_SAVE | DomainUndefineFlags::SNAPSHOTS_METADATA;
        check_flags("testDomainUndefineFlags", flags, allowed.bits())?;
        self.change(cx, &domain, "virDomainUndefineFlags", |world, guest| {
            life::undefine(world, guest, flags.into())
        })
    }

    fn domain_managed_save(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        let allowed = DomainSaveRestoreFlags::BYPASS_CACHE
            | DomainSaveRestoreFlags::RUNNING
            | DomainSaveRestoreFlags::PAUSED;
        check_flags("testDomainManagedSave", flags, allowed.bits())?;
        self.change(cx, &domain, "virDomainManagedSave", life::managed_save)
    }

    #[inline_safe]
    fn domain_has_managed_save_image(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainHasManagedSaveImageReply> {
        check_flags("testDomainHasManagedSaveImage", flags, 0)?;
        Ok(DomainHasManagedSaveImageReply {
            result: domain.handle::<Guest>()?.snapshot().state.managed_save.into(),
        })
    }

    fn domain_managed_save_remove(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainManagedSaveRemove", flags, 0)?;
        self.change(cx, &domain, "virDomainManagedSaveRemove", |_, guest| {
            guest.publish(|snapshot| snapshot.state.managed_save = false);
            Ok(())
        })
    }

    fn domain_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
    ) -> Result<Authorized<DomainDefineXmlReply>> {
        let definition = GuestDefinition::parse(&xml, Check::Usual)?;
        let defined = changes::define(&self.world, cx, definition, "virDomainDefineXML")?;
        Ok(defined.map(|domain| DomainDefineXmlReply {
            domain: domain.into(),
        }))
    }

    fn domain_define_xml_flags(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<DomainDefineXmlFlagsReply>> {
        let validate = DomainDefineFlags::VALIDATE.bits();
        check_flags("testDomainDefineXMLFlags", flags, validate)?;
        let definition = GuestDefinition::parse(&xml, Check::asked_by(flags & validate != 0))?;
        let defined = changes::define(&self.world, cx, definition, "virDomainDefineXMLFlags")?;
        Ok(defined.map(|domain| DomainDefineXmlFlagsReply {
            domain: domain.into(),
        }))
    }

    fn domain_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml_desc: String,
        flags: u32,
    ) -> Result<Authorized<DomainCreateXmlReply>> {
        let created = self.create(cx, &xml_desc, flags, "virDomainCreateXML")?;
        Ok(created.map(|domain| DomainCreateXmlReply {
            domain: domain.into(),
        }))
    }

    fn domain_create_xml_with_files(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml_desc: String,
        flags: u32,
    ) -> Result<Authorized<DomainCreateXmlWithFilesReply>> {
        // Descriptors are taken and not used: nothing is there to use them.
        let created = self.create(cx, &xml_desc, flags, "virDomainCreateXMLWithFiles")?;
        Ok(created.map(|domain| DomainCreateXmlWithFilesReply {
            domain: domain.into(),
        }))
    }

    fn domain_create_with_files(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainCreateWithFilesReply> {
        let domain = self.domain_create_with_flags(cx, domain, flags)?.domain;
        Ok(DomainCreateWithFilesReply { domain })
    }

    #[inline_safe]
    fn domain_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetXmlDescReply> {
        let allowed = DomainXmlFlags::SECURE | DomainXmlFlags::INACTIVE | DomainXmlFlags::MIGRATABLE;
        check_flags("testDomainGetXMLDesc", flags, allowed.bits())?;
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let flags = DomainXmlFlags::from(flags);
        let definition = match flags.contains(DomainXmlFlags::INACTIVE) {
            true => snapshot.life.next_or_live(),
            false => snapshot.life.current(),
        };
        let mut format = XmlFlags::empty();
        for (flag, what) in [
            (DomainXmlFlags::SECURE, XmlFlags::SECURE),
            (DomainXmlFlags::INACTIVE, XmlFlags::INACTIVE),
            (DomainXmlFlags::MIGRATABLE, XmlFlags::MIGRATABLE),
        ] {
            format.set(what, flags.contains(flag));
        }
        Ok(DomainGetXmlDescReply {
            xml: definition.domain.format(format),
        })
    }

    fn domain_rename(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        new_name: Option<String>,
        flags: u32,
    ) -> Result<DomainRenameReply> {
        check_flags("testDomainRename", flags, 0)?;
        let Some(name) = new_name else {
            return Err(error(ErrorCode::INVALID_ARG, "the new name is missing"));
        };
        self.change(cx, &domain, "virDomainRename", |world, guest| {
            changes::rename(world, guest, &name)
        })?;
        Ok(DomainRenameReply { retcode: 0 })
    }

    #[inline_safe]
    fn domain_get_metadata(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: i32,
        uri: Option<String>,
        flags: u32,
    ) -> Result<DomainGetMetadataReply> {
        check_flags(
            "testDomainGetMetadata",
            flags,
            DomainModificationImpact::all().bits(),
        )?;
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let (definition, _) = snapshot.one_definition(flags)?;
        let metadata = definition
            .domain
            .metadata_piece(DomainMetadataType(kind), uri.as_deref())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))?;
        Ok(DomainGetMetadataReply { metadata })
    }

    fn domain_set_metadata(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: i32,
        metadata: Option<String>,
        key: Option<String>,
        uri: Option<String>,
        flags: u32,
    ) -> Result<()> {
        check_flags(
            "testDomainSetMetadata",
            flags,
            DomainModificationImpact::all().bits(),
        )?;
        let (text, key, uri) = (metadata.as_deref(), key.as_deref(), uri.as_deref());
        self.change(cx, &domain, "virDomainSetMetadata", |_, guest| {
            changes::set_metadata(guest, kind, text, key, uri, flags)
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

    fn domain_attach_device(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainAttachDevice", |_, guest| {
            hotplug::attach(guest, &xml, 0)
        })
    }

    fn domain_attach_device_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainAttachDeviceFlags", |_, guest| {
            hotplug::attach(guest, &xml, flags)
        })
    }

    fn domain_update_device_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainUpdateDeviceFlags", |_, guest| {
            hotplug::update(guest, &xml, flags)
        })
    }

    fn domain_detach_device_alias(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        alias: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainDetachDeviceAlias", |_, guest| {
            hotplug::detach(guest, &alias, flags)
        })
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

    fn domain_inject_nmi(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("testDomainInjectNMI", flags, 0)?;
        life::active(domain.handle::<Guest>()?).map(|_| ())
    }

    fn domain_send_key(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        codeset: u32,
        _: u32,
        keycodes: Vec<u32>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSendKey", flags, 0)?;
        life::active(domain.handle::<Guest>()?)?;
        let set = Codeset::from_number(codeset).ok_or_else(|| {
            error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported codeset {codeset}"),
            )
        })?;
        match keycodes.iter().find(|code| set.translate(set, **code).is_none()) {
            None => Ok(()),
            Some(code) => Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("invalid keycode {code} of {} codeset", set.name()),
            )),
        }
    }
}
