//! The procedures that the driver answers.

use std::sync::Arc;

use serde_json::Value;
use virt_api::access::{Authorized, Domain, Found, Resolved, Resolver, Unchecked};
use virt_api::call::CallContext;
use virt_api::driver::{DriverConnection, OpenContext};
use virt_api::listing;
use virt_api::protocol::qemu::{QemuDomainAgentCommandReply, QemuDomainMonitorCommandReply};
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::cpu_models;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::registry::Snapshot;
use virt_conf::registry::job::{AgentJob, Job};
use virt_conf::schema::Check;
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::time::{Clock as _, SystemClock};
use virt_util::typed_param::TypedParams;
use virt_util::types::{
    ConnectBaselineCpuFlags, ConnectCompareCpuFlags, ConnectGetDomainCapabilitiesFlags,
    ConnectListAllDomainsFlags, DomainAuthorizedSshKeysSetFlags, DomainChannelFlags, DomainConsoleFlags,
    DomainControlErrorReason, DomainControlState, DomainCreateFlags, DomainDefineFlags, DomainDestroyFlags,
    DomainGetHostnameFlags, DomainGetJobStatsFlags, DomainGuestInfoTypes, DomainInterfaceAddressesSource,
    DomainMetadataType, DomainModificationImpact, DomainQemuMonitorCommandFlags, DomainRebootFlags,
    DomainSetTimeFlags, DomainSetUserPasswordFlags, DomainShutdownFlags, DomainUndefineFlags,
    DomainVcpuFlags, DomainXmlFlags, NodeSuspendTarget,
};
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::object::{self, GuestId, GuestKind, GuestObject};
use super::planner::Wanted;
use super::world::World;
use super::{agent, changes, console, cpus, error, life, screen};
use crate::agent::commands::{Shutdown, Sleep};
use crate::agent::facts::plan_online;
use crate::agent::{AgentTimeout, GuestAgent};
use crate::monitor::Command;
use crate::process::guest::Control;

/// The most processors a guest may have without hardware help, as libvirt says since machines had no more.
const VCPUS_MAX: i32 = 16;

/// One client's connection.
#[derive(Debug)]
pub struct QemuConnection {
    world: Arc<World>,
    uri: String,
}

impl QemuConnection {
    pub(crate) fn new(world: Arc<World>, cx: &OpenContext) -> Self {
        Self {
            world,
            uri: cx.uri().to_owned(),
        }
    }

    /// Does `change` with the guest's lane held, and tells what happened when it is let go.
    fn change<T>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        job: Job,
        api: &'static str,
        change: impl FnOnce(&Arc<GuestObject>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<GuestObject>()?;
        let held = life::begin(&guest, job, cx, api)?;
        let done = change(&guest).map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU));
        match &done {
            Ok(_) if job == Job::Destroy => held.settle_doubt(),
            Err(_) if !matches!(job, Job::Query | Job::Destroy) && life::is_in_doubt(&guest) => {
                // What was sent may still happen: nobody changes anything until QEMU has said what it did.
                drop(held.into_doubt(format!("QEMU has not answered {api}")));
                if !life::is_in_doubt(&guest) {
                    life::end_doubt(&guest);
                }
                self.world.tell(&guest);
                return done;
            }
            _ => {}
        }
        drop(held);
        self.world.tell(&guest);
        done
    }

    /// Asks the agent of a running guest, or has it do something, with the agent's lane held: other jobs go on.
    fn agent<T>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        job: AgentJob,
        api: &'static str,
        talk: impl FnOnce(&GuestObject, &GuestAgent<'_>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<GuestObject>()?;
        let held = life::begin_agent(&guest, job, cx, api)?;
        let done = agent::available(&guest).and_then(|client| {
            let agent = GuestAgent::new(&client, cx.deadline(), cx.cancel());
            talk(&guest, &agent)
        });
        drop(held);
        self.world.tell(&guest);
        done.map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))
    }

    /// Shutdown or reboot by the agent or the power button: the agent first, unless only the button is asked for,
    /// and the button if the agent fails and is not all that may be tried.
    fn end_system(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        reboot: bool,
        (by_agent, by_button): (bool, bool),
        api: &'static str,
    ) -> Result<()> {
        let guest = domain.handle::<GuestObject>()?;
        let snapshot = guest.snapshot();
        let definition = &snapshot.life.current().domain;
        // The definition may make the one the other.
        let again = match reboot {
            true => !matches!(
                definition.on_reboot,
                LifecycleAction::Destroy | LifecycleAction::Preserve
            ),
            false => matches!(
                definition.on_poweroff,
                LifecycleAction::Restart | LifecycleAction::RenameRestart
            ),
        };
        let any = !by_agent && !by_button;
        let forced = by_agent && !by_button;
        if by_agent || (any && guest.private().agent.client().is_some()) {
            let mode = match again {
                true => Shutdown::Reboot,
                false => Shutdown::Powerdown,
            };
            let done = self.agent(cx, domain, AgentJob::Modify, api, |object, agent| {
                life::running(object)?.forget_reboot();
                agent.shutdown(mode)
            });
            match done {
                Err(error) if forced => return Err(error),
                // It may have gone while the agent was asked.
                Err(_) if guest.snapshot().is_active() => {}
                _ => return Ok(()),
            }
        }
        self.change(cx, domain, Job::Modify, api, |guest| {
            life::press_power_button(guest, again, cx)
        })
    }

    /// The guests that are wanted and that the caller may see.
    fn guests_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<GuestKind>) -> bool,
    ) -> Result<Vec<Domain>> {
        let guests = self.world.guests().snapshots(wanted);
        listing::visible(cx, guests.map(|snapshot| object::attributes(&snapshot)))
    }

    fn start(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        flags: DomainCreateFlags,
        api: &'static str,
    ) -> Result<DomainRef> {
        self.change(cx, domain, Job::Modify, api, |guest| {
            life::start(&self.world, guest, flags, cx)?;
            Ok(object::attributes(&guest.snapshot()).into())
        })
    }

    fn destroy(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        graceful: bool,
        api: &'static str,
    ) -> Result<()> {
        self.change(cx, domain, Job::Destroy, api, |guest| {
            life::destroy(guest, graceful, cx)
        })
    }
}

impl DriverConnection for QemuConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }
}

impl Resolver for QemuConnection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        let guest = self.world.guests().find_uuid(&key.uuid, Some(&key.name))?;
        Ok(Found::new(object::attributes(&guest.snapshot()), guest))
    }
}

/// Refuses flags that a call does not know.
fn check_flags(call: &str, flags: u32, allowed: u32) -> Result<()> {
    virt_util::types::check_flags(call, flags, allowed).map_err(|error| error.in_domain(ErrorDomain::QEMU))
}

fn compare_flags(call: &str, flags: u32) -> Result<ConnectCompareCpuFlags> {
    let known = ConnectCompareCpuFlags::FAIL_INCOMPATIBLE | ConnectCompareCpuFlags::VALIDATE_XML;
    check_flags(call, flags, known.bits())?;
    Ok(ConnectCompareCpuFlags::from_bits_retain(flags))
}

/// Whether all features are to be spelled out, and those left out that tie a guest to its host.
fn baseline_flags(call: &str, flags: u32) -> Result<(bool, bool)> {
    let (expand, migratable) = (
        ConnectBaselineCpuFlags::EXPAND_FEATURES,
        ConnectBaselineCpuFlags::MIGRATABLE,
    );
    check_flags(call, flags, (expand | migratable).bits())?;
    let flags = ConnectBaselineCpuFlags::from_bits_retain(flags);
    Ok((flags.contains(expand), flags.contains(migratable)))
}

/// A time that an agent may be given; shorter ones than "for ever" there are none.
fn agent_timeout(seconds: i32) -> Result<AgentTimeout> {
    AgentTimeout::new(seconds).ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!(
                "guest agent timeout '{seconds}' is less than the minimum '{}'",
                AgentTimeout::BLOCK.number()
            ),
        )
    })
}

/// A question that must be answered.
fn answered<T>(answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "the guest agent gave no answer"))
}

/// The start flags that this driver knows.
fn create_flags(call: &str, flags: u32) -> Result<DomainCreateFlags> {
    let allowed = DomainCreateFlags::START_PAUSED
        | DomainCreateFlags::START_BYPASS_CACHE
        | DomainCreateFlags::START_FORCE_BOOT
        | DomainCreateFlags::START_RESET_NVRAM
        | DomainCreateFlags::START_VALIDATE;
    check_flags(call, flags, allowed.bits())?;
    Ok(flags.into())
}

#[virt_api::implements]
impl HypervisorDriver for QemuConnection {
    #[inline_safe]
    fn connect_get_type(&self, _: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        Ok(ConnectGetTypeReply {
            kind: "QEMU".to_owned(),
        })
    }

    fn connect_get_version(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        let patience = World::patience(cx.deadline(), cx.cancel());
        Ok(ConnectGetVersionReply {
            hv_ver: self.world.planner().version(self.world.layout(), &patience)?,
        })
    }

    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        Ok(ConnectGetHostnameReply {
            hostname: virt_util::sys::name::host_name()?,
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

    fn connect_get_max_vcpus(
        &self,
        _: &mut CallContext<'_>,
        kind: Option<String>,
    ) -> Result<ConnectGetMaxVcpusReply> {
        let kind = kind.as_deref().unwrap_or("qemu").to_ascii_lowercase();
        let max_vcpus = match kind.as_str() {
            "qemu" => VCPUS_MAX,
            "kvm" => i32::try_from(self.world.host().kvm_max_vcpus()?).unwrap_or(i32::MAX),
            other => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    format_args!("unknown type '{other}'"),
                ));
            }
        };
        Ok(ConnectGetMaxVcpusReply { max_vcpus })
    }

    fn node_get_info(&self, _: &mut CallContext<'_>) -> Result<NodeGetInfoReply> {
        let arch = Arch::host().unwrap_or(Arch::X86_64);
        let cpus = self.world.host().cpu_topology(arch)?;
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(NodeGetInfoReply {
            model: arch.name().to_owned(),
            memory: self.world.host().memory_kib()?,
            cpus: number(cpus.cpus),
            mhz: number(cpus.mhz),
            nodes: number(cpus.nodes),
            sockets: number(cpus.sockets),
            cores: number(cpus.cores),
            threads: number(cpus.threads),
        })
    }

    fn node_get_free_memory(&self, _: &mut CallContext<'_>) -> Result<NodeGetFreeMemoryReply> {
        Ok(NodeGetFreeMemoryReply {
            free_mem: self.world.host().free_memory_kib()?.saturating_mul(1024),
        })
    }

    fn connect_get_domain_capabilities(
        &self,
        cx: &mut CallContext<'_>,
        emulatorbin: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        flags: u32,
    ) -> Result<ConnectGetDomainCapabilitiesReply> {
        let known = ConnectGetDomainCapabilitiesFlags::DISABLE_DEPRECATED_FEATURES;
        check_flags("qemuConnectGetDomainCapabilities", flags, known.bits())?;
        let patience = World::patience(cx.deadline(), cx.cancel());
        let wanted = Wanted {
            emulator: emulatorbin,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: flags & known.bits() != 0,
        };
        Ok(ConnectGetDomainCapabilitiesReply {
            capabilities: self.world.planner().domain_capabilities(
                &wanted,
                self.world.layout(),
                &patience,
            )?,
        })
    }

    fn connect_compare_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml: String,
        flags: u32,
    ) -> Result<ConnectCompareCpuReply> {
        let flags = compare_flags("qemuConnectCompareCPU", flags)?;
        let cpu = cpus::read(&xml, flags.contains(ConnectCompareCpuFlags::VALIDATE_XML))?;
        let comparison = self.world.planner().compare_cpu(&cpu)?;
        let fails = flags.contains(ConnectCompareCpuFlags::FAIL_INCOMPATIBLE);
        let result = cpus::answer(comparison, fails)?;
        Ok(ConnectCompareCpuReply { result })
    }

    fn connect_compare_hypervisor_cpu(
        &self,
        cx: &mut CallContext<'_>,
        emulator: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        xml_cpu: String,
        flags: u32,
    ) -> Result<ConnectCompareHypervisorCpuReply> {
        let flags = compare_flags("qemuConnectCompareHypervisorCPU", flags)?;
        let wanted = Wanted {
            emulator,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: false,
        };
        let cpu = cpus::read(&xml_cpu, flags.contains(ConnectCompareCpuFlags::VALIDATE_XML))?;
        let patience = World::patience(cx.deadline(), cx.cancel());
        let layout = self.world.layout();
        let planner = self.world.planner();
        let comparison = planner.compare_hypervisor_cpu(&wanted, &cpu, layout, &patience)?;
        let fails = flags.contains(ConnectCompareCpuFlags::FAIL_INCOMPATIBLE);
        let result = cpus::answer(comparison, fails)?;
        Ok(ConnectCompareHypervisorCpuReply { result })
    }

    fn connect_baseline_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineCpuReply> {
        let (expand, migratable) = baseline_flags("qemuConnectBaselineCPU", flags)?;
        let cpu = cpus::baseline(&xml_cpus, expand, migratable)?;
        Ok(ConnectBaselineCpuReply { cpu })
    }

    fn connect_baseline_hypervisor_cpu(
        &self,
        cx: &mut CallContext<'_>,
        emulator: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineHypervisorCpuReply> {
        let wishes = baseline_flags("qemuConnectBaselineHypervisorCPU", flags)?;
        let wanted = Wanted {
            emulator,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: false,
        };
        let patience = World::patience(cx.deadline(), cx.cancel());
        let layout = self.world.layout();
        let planner = self.world.planner();
        let cpu = planner.baseline_hypervisor_cpu(&wanted, &xml_cpus, wishes, layout, &patience)?;
        Ok(ConnectBaselineHypervisorCpuReply { cpu })
    }

    #[inline_safe]
    fn connect_get_cpu_model_names(
        &self,
        _: &mut CallContext<'_>,
        arch: String,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectGetCpuModelNamesReply> {
        check_flags("qemuConnectGetCPUModelNames", flags, 0)?;
        let models = cpu_models::model_names(&arch)?;
        Ok(ConnectGetCpuModelNamesReply {
            ret: i32::try_from(models.len()).unwrap_or(i32::MAX),
            models: if need_results == 0 { Vec::new() } else { models },
        })
    }

    fn connect_get_capabilities(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetCapabilitiesReply> {
        let patience = World::patience(cx.deadline(), cx.cancel());
        Ok(ConnectGetCapabilitiesReply {
            capabilities: self
                .world
                .planner()
                .capabilities(self.world.layout(), &patience)?,
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
            "qemuConnectListAllDomains",
            flags,
            ConnectListAllDomainsFlags::all().bits(),
        )?;
        let filter = ConnectListAllDomainsFlags::from(flags);
        let guests = self.guests_seen(cx, |guest| object::matches(guest, filter))?;
        let (domains, ret) = listing::all(guests, need_results);
        Ok(ConnectListAllDomainsReply { domains, ret })
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
                format_args!("no domain with matching id {id}"),
            )
        })?;
        listing::found(cx, object::attributes(&guest.snapshot()), |domain| {
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
        listing::found(cx, object::attributes(&guest.snapshot()), |domain| {
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
        listing::found(cx, object::attributes(&guest.snapshot()), |domain| {
            DomainLookupByNameReply {
                domain: domain.into(),
            }
        })
    }

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
    fn domain_get_state(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetStateReply> {
        check_flags("qemuDomainGetState", flags, 0)?;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetStateReply {
            state: snapshot.state.state.state.0,
            reason: snapshot.state.state.reason,
        })
    }

    fn domain_get_xml_desc(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetXmlDescReply> {
        check_flags("qemuDomainGetXMLDesc", flags, DomainXmlFlags::all().bits())?;
        let flags = DomainXmlFlags::from(flags);
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let mut wanted = XmlFlags::empty();
        wanted.set(XmlFlags::SECURE, flags.contains(DomainXmlFlags::SECURE));
        wanted.set(XmlFlags::INACTIVE, flags.contains(DomainXmlFlags::INACTIVE));
        wanted.set(XmlFlags::MIGRATABLE, flags.contains(DomainXmlFlags::MIGRATABLE));
        let definition = if flags.contains(DomainXmlFlags::INACTIVE) {
            snapshot.life.next_or_live()
        } else {
            snapshot.life.current()
        };
        let xml = if flags.contains(DomainXmlFlags::UPDATE_CPU) {
            let patience = World::patience(cx.deadline(), cx.cancel());
            let planner = self.world.planner();
            let updated = planner.update_cpu(&definition.domain, self.world.layout(), &patience)?;
            updated.format(wanted)
        } else {
            definition.domain.format(wanted)
        };
        Ok(DomainGetXmlDescReply { xml })
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

    fn domain_get_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetVcpusFlagsReply> {
        let allowed = DomainVcpuFlags::LIVE
            | DomainVcpuFlags::CONFIG
            | DomainVcpuFlags::MAXIMUM
            | DomainVcpuFlags::GUEST;
        check_flags("qemuDomainGetVcpusFlags", flags, allowed.bits())?;
        let flags = DomainVcpuFlags::from(flags);
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let refuse = |what: &str| Err(error(ErrorCode::OPERATION_INVALID, what));
        if flags.contains(DomainVcpuFlags::LIVE) && !snapshot.is_active() {
            return refuse("domain is not running");
        }
        let definition = match (flags.contains(DomainVcpuFlags::CONFIG), snapshot.life.stored()) {
            (true, None) => return refuse("transient domains do not have any persistent config"),
            (true, Some(stored)) => stored,
            (false, _) => snapshot.life.current(),
        };
        if flags.contains(DomainVcpuFlags::GUEST) {
            if !snapshot.is_active() {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    "vCPU count provided by the guest agent can only be requested for live domains",
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

    fn domain_set_vcpus_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nvcpus: u32,
        flags: u32,
    ) -> Result<()> {
        let allowed = DomainVcpuFlags::LIVE
            | DomainVcpuFlags::CONFIG
            | DomainVcpuFlags::MAXIMUM
            | DomainVcpuFlags::GUEST
            | DomainVcpuFlags::HOTPLUGGABLE;
        check_flags("qemuDomainSetVcpusFlags", flags, allowed.bits())?;
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
                        format_args!(
                            "requested vcpu count is greater than the count of enabled vcpus in the domain: {nvcpus} > {enabled}"
                        ),
                    ));
                }
                let mut cpus = agent.cpus()?;
                plan_online(nvcpus, &mut cpus)?;
                agent.set_cpus(&mut cpus)
            },
        )
    }

    #[inline_safe]
    fn domain_is_active(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsActiveReply> {
        Ok(DomainIsActiveReply {
            active: domain.handle::<GuestObject>()?.snapshot().is_active().into(),
        })
    }

    #[inline_safe]
    fn domain_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainIsPersistentReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainIsPersistentReply {
            persistent: snapshot.is_persistent().into(),
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
    fn domain_get_control_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetControlInfoReply> {
        check_flags("qemuDomainGetControlInfo", flags, 0)?;
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
    fn domain_get_messages(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetMessagesReply> {
        check_flags("qemuDomainGetMessages", flags, 3)?;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetMessagesReply {
            msgs: snapshot.state.messages.clone(),
        })
    }

    #[inline_safe]
    fn domain_get_autostart(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetAutostartReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetAutostartReply {
            autostart: snapshot.autostart.into(),
        })
    }

    fn domain_set_autostart(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        autostart: i32,
    ) -> Result<()> {
        self.change(cx, &domain, Job::Modify, "virDomainSetAutostart", |guest| {
            changes::set_autostart(&self.world, guest, autostart != 0)
        })
    }

    fn domain_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
    ) -> Result<Authorized<DomainDefineXmlReply>> {
        let defined = changes::define(&self.world, cx, &xml, Check::Usual, "virDomainDefineXML")?;
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
        check_flags(
            "qemuDomainDefineXMLFlags",
            flags,
            DomainDefineFlags::VALIDATE.bits(),
        )?;
        let defined = changes::define(
            &self.world,
            cx,
            &xml,
            Check::asked_by(flags != 0),
            "virDomainDefineXMLFlags",
        )?;
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
        let flags = create_flags("qemuDomainCreateXML", flags)?;
        let created = changes::create(&self.world, cx, &xml_desc, flags, "virDomainCreateXML")?;
        Ok(created.map(|domain| DomainCreateXmlReply {
            domain: domain.into(),
        }))
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
        // There is nothing yet that the other flags would remove.
        check_flags(
            "qemuDomainUndefineFlags",
            flags,
            DomainUndefineFlags::all().bits(),
        )?;
        self.change(cx, &domain, Job::Modify, "virDomainUndefineFlags", |guest| {
            changes::undefine(&self.world, guest, flags.into())
        })
    }

    fn domain_rename(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        new_name: Option<String>,
        flags: u32,
    ) -> Result<DomainRenameReply> {
        check_flags("qemuDomainRename", flags, 0)?;
        self.change(cx, &domain, Job::Modify, "virDomainRename", |guest| {
            changes::rename(&self.world, guest, new_name.as_deref().unwrap_or_default())?;
            Ok(DomainRenameReply { retcode: 0 })
        })
    }

    fn domain_create(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.start(cx, &domain, DomainCreateFlags::NONE, "virDomainCreate")
            .map(drop)
    }

    fn domain_create_with_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainCreateWithFlagsReply> {
        let flags = create_flags("qemuDomainCreateWithFlags", flags)?;
        let domain = self.start(cx, &domain, flags, "virDomainCreateWithFlags")?;
        Ok(DomainCreateWithFlagsReply { domain })
    }

    fn domain_destroy(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.destroy(cx, &domain, false, "virDomainDestroy")
    }

    fn domain_destroy_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        check_flags(
            "qemuDomainDestroyFlags",
            flags,
            DomainDestroyFlags::GRACEFUL.bits(),
        )?;
        let graceful = DomainDestroyFlags::from(flags).contains(DomainDestroyFlags::GRACEFUL);
        self.destroy(cx, &domain, graceful, "virDomainDestroyFlags")
    }

    fn domain_shutdown(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.domain_shutdown_flags(cx, domain, 0)
    }

    fn domain_shutdown_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        let known = DomainShutdownFlags::ACPI_POWER_BTN | DomainShutdownFlags::GUEST_AGENT;
        check_flags("qemuDomainShutdownFlags", flags, known.bits())?;
        let flags = DomainShutdownFlags::from(flags);
        let how = (
            flags.contains(DomainShutdownFlags::GUEST_AGENT),
            flags.contains(DomainShutdownFlags::ACPI_POWER_BTN),
        );
        self.end_system(cx, &domain, false, how, "virDomainShutdownFlags")
    }

    fn domain_reboot(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        let known = DomainRebootFlags::ACPI_POWER_BTN | DomainRebootFlags::GUEST_AGENT;
        check_flags("qemuDomainReboot", flags, known.bits())?;
        let flags = DomainRebootFlags::from(flags);
        let how = (
            flags.contains(DomainRebootFlags::GUEST_AGENT),
            flags.contains(DomainRebootFlags::ACPI_POWER_BTN),
        );
        self.end_system(cx, &domain, true, how, "virDomainReboot")
    }

    fn domain_reset(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("qemuDomainReset", flags, 0)?;
        self.change(cx, &domain, Job::Modify, "virDomainReset", |guest| {
            life::reset(&self.world, guest, cx)
        })
    }

    fn domain_suspend(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, Job::Suspend, "virDomainSuspend", |guest| {
            life::suspend(&self.world, guest, cx)
        })
    }

    fn domain_resume(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, Job::Modify, "virDomainResume", |guest| {
            life::resume(&self.world, guest, cx)
        })
    }

    fn domain_open_console(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        dev_name: Option<String>,
        flags: u32,
    ) -> Result<()> {
        let known = DomainConsoleFlags::FORCE | DomainConsoleFlags::SAFE;
        check_flags("qemuDomainOpenConsole", flags, known.bits())?;
        let object = domain.handle::<GuestObject>()?;
        life::running(object)?;
        let snapshot = object.snapshot();
        let path = console::terminal(&snapshot.life.current().domain, dev_name.as_deref())?;
        let force = DomainConsoleFlags::from(flags).contains(DomainConsoleFlags::FORCE);
        let stream =
            object
                .private()
                .consoles
                .open(console::Kind::Console, &path, force, &self.world.reactor())?;
        cx.attach_stream(stream)
    }

    fn domain_open_channel(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        name: Option<String>,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainOpenChannel", flags, DomainChannelFlags::FORCE.bits())?;
        let object = domain.handle::<GuestObject>()?;
        life::running(object)?;
        let snapshot = object.snapshot();
        let path = console::channel(&snapshot.life.current().domain, name.as_deref())?;
        let force = DomainChannelFlags::from(flags).contains(DomainChannelFlags::FORCE);
        let stream =
            object
                .private()
                .consoles
                .open(console::Kind::Channel, &path, force, &self.world.reactor())?;
        cx.attach_stream(stream)
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
            "qemuDomainGetMetadata",
            flags,
            DomainModificationImpact::all().bits(),
        )?;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let (definition, _) = snapshot.one_definition(flags)?;
        let metadata = definition
            .domain
            .metadata_piece(DomainMetadataType(kind), uri.as_deref())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))?;
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
            "qemuDomainSetMetadata",
            flags,
            DomainModificationImpact::all().bits(),
        )?;
        let (text, key, uri) = (metadata.as_deref(), key.as_deref(), uri.as_deref());
        self.change(cx, &domain, Job::Modify, "virDomainSetMetadata", |guest| {
            changes::set_metadata(&self.world, guest, kind, text, key, uri, flags)
        })
    }

    fn domain_screenshot(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        screen: u32,
        flags: u32,
    ) -> Result<DomainScreenshotReply> {
        check_flags("qemuDomainScreenshot", flags, 0)?;
        let (picture, mime) = self.change(cx, &domain, Job::Query, "virDomainScreenshot", |object| {
            let guest = life::running(object)?;
            let snapshot = object.snapshot();
            let status = object
                .private()
                .status
                .lock()
                .as_ref()
                .map(|file| file.status.clone());
            let definition = &snapshot.life.current().domain;
            screen::picture(&guest, definition, status.as_ref(), screen, cx)
        })?;
        cx.attach_stream(picture)?;
        Ok(DomainScreenshotReply {
            mime: Some(mime.to_owned()),
        })
    }

    fn domain_send_key(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        codeset: u32,
        holdtime: u32,
        keycodes: Vec<u32>,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainSendKey", flags, 0)?;
        let hold = std::time::Duration::from_millis(holdtime.into());
        self.change(cx, &domain, Job::Modify, "virDomainSendKey", |object| {
            screen::press_keys(&*life::running(object)?, codeset, &keycodes, hold, cx)
        })
    }

    #[inline_safe]
    fn domain_has_managed_save_image(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainHasManagedSaveImageReply> {
        check_flags("qemuDomainHasManagedSaveImage", flags, 0)?;
        // None is ever made yet.
        Ok(DomainHasManagedSaveImageReply { result: 0 })
    }

    fn domain_memory_stats(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        max_stats: u32,
        flags: u32,
    ) -> Result<DomainMemoryStatsReply> {
        check_flags("qemuDomainMemoryStats", flags, 0)?;
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
    fn domain_get_job_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetJobStatsReply> {
        check_flags(
            "qemuDomainGetJobStats",
            flags,
            DomainGetJobStatsFlags::all().bits(),
        )?;
        let completed = DomainGetJobStatsFlags::from(flags).contains(DomainGetJobStatsFlags::COMPLETED);
        if !completed {
            life::running(domain.handle::<GuestObject>()?)?;
        }
        Ok(DomainGetJobStatsReply::default())
    }

    fn qemu_domain_monitor_command(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cmd: String,
        flags: u32,
    ) -> Result<QemuDomainMonitorCommandReply> {
        check_flags(
            "qemuDomainQemuMonitorCommand",
            flags,
            DomainQemuMonitorCommandFlags::HMP.bits(),
        )?;
        let human = DomainQemuMonitorCommandFlags::from(flags).contains(DomainQemuMonitorCommandFlags::HMP);
        let command = if human {
            Command::new("human-monitor-command").with("command-line", cmd)
        } else {
            raw_command(&cmd)?
        };
        let reply = self.change(cx, &domain, Job::Query, "virDomainQemuMonitorCommand", |guest| {
            let guest = life::running(guest)?;
            let mut replies = guest.execute_all(vec![command], cx.deadline(), cx.cancel())?;
            replies
                .pop()
                .ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "QEMU gave no answer"))
        })?;
        let result = match (reply, human) {
            (Ok(Value::String(text)), true) => text,
            (Ok(answer), true) => answer.to_string(),
            (Ok(answer), false) => serde_json::json!({ "return": answer }).to_string(),
            (Err(refusal), true) => return Err(refusal.into_error("human-monitor-command")),
            (Err(refusal), false) => serde_json::json!({
                "error": { "class": refusal.class, "desc": refusal.description }
            })
            .to_string(),
        };
        Ok(QemuDomainMonitorCommandReply { result })
    }

    fn qemu_domain_agent_command(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cmd: String,
        timeout: i32,
        flags: u32,
    ) -> Result<QemuDomainAgentCommandReply> {
        check_flags("qemuDomainQemuAgentCommand", flags, 0)?;
        let limit = agent_timeout(timeout)?;
        let result = self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainQemuAgentCommand",
            |_, agent| agent.arbitrary(&cmd, limit),
        )?;
        Ok(QemuDomainAgentCommandReply { result: Some(result) })
    }

    fn domain_agent_set_response_timeout(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        timeout: i32,
        flags: u32,
    ) -> Result<DomainAgentSetResponseTimeoutReply> {
        check_flags("qemuDomainAgentSetResponseTimeout", flags, 0)?;
        let timeout = agent_timeout(timeout)?;
        let object = domain.handle::<GuestObject>()?;
        object.private().agent.set_timeout(timeout);
        if let Ok(guest) = life::running(object) {
            self.world.save_status(object, &guest)?;
        }
        Ok(DomainAgentSetResponseTimeoutReply { result: 0 })
    }

    fn domain_get_guest_info(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        types: u32,
        flags: u32,
    ) -> Result<DomainGetGuestInfoReply> {
        check_flags("qemuDomainGetGuestInfo", flags, 0)?;
        let unknown = types & !DomainGuestInfoTypes::all().bits();
        if unknown != 0 {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported guest information types '0x{unknown:x}'"),
            ));
        }
        let info = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainGetGuestInfo",
            |_, agent| agent::GuestInfo::ask(agent, types.into()),
        )?;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetGuestInfoReply {
            params: TypedParams(info.into_params(&snapshot.life.current().domain)),
        })
    }

    fn domain_get_hostname(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetHostnameReply> {
        let known = DomainGetHostnameFlags::LEASE | DomainGetHostnameFlags::AGENT;
        check_flags("qemuDomainGetHostname", flags, known.bits())?;
        if DomainGetHostnameFlags::from(flags).contains(DomainGetHostnameFlags::LEASE) {
            return Err(error(
                ErrorCode::OPERATION_UNSUPPORTED,
                "no network of this host knows what addresses it has given away",
            ));
        }
        let hostname = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainGetHostname",
            |_, agent| answered(agent.host_name()?),
        )?;
        Ok(DomainGetHostnameReply { hostname })
    }

    fn domain_get_time(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetTimeReply> {
        check_flags("qemuDomainGetTime", flags, 0)?;
        let (seconds, nseconds) =
            self.agent(cx, &domain, AgentJob::Query, "virDomainGetTime", |_, agent| {
                agent.time()
            })?;
        Ok(DomainGetTimeReply { seconds, nseconds })
    }

    fn domain_set_time(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        seconds: i64,
        nseconds: u32,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainSetTime", flags, DomainSetTimeFlags::SYNC.bits())?;
        let sync = DomainSetTimeFlags::from(flags).contains(DomainSetTimeFlags::SYNC);
        self.agent(cx, &domain, AgentJob::Modify, "virDomainSetTime", |_, agent| {
            agent.set_time((!sync).then_some((seconds, nseconds)))
        })?;
        // The hardware clock has lost ticks while the guest did not run: they are not to come now.
        self.change(cx, &domain, Job::Modify, "virDomainSetTime", |guest| {
            life::forget_lost_ticks(guest, cx)
        })
    }

    fn domain_fsfreeze(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        flags: u32,
    ) -> Result<DomainFsfreezeReply> {
        check_flags("qemuDomainFSFreeze", flags, 0)?;
        let filesystems = self.agent(cx, &domain, AgentJob::Modify, "virDomainFSFreeze", |_, agent| {
            agent.freeze(&mountpoints)
        })?;
        Ok(DomainFsfreezeReply { filesystems })
    }

    fn domain_fsthaw(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        flags: u32,
    ) -> Result<DomainFsthawReply> {
        check_flags("qemuDomainFSThaw", flags, 0)?;
        if !mountpoints.is_empty() {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                "specifying mountpoints is not supported",
            ));
        }
        let filesystems = self.agent(cx, &domain, AgentJob::Modify, "virDomainFSThaw", |_, agent| {
            agent.thaw()
        })?;
        Ok(DomainFsthawReply { filesystems })
    }

    fn domain_fstrim(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mount_point: Option<String>,
        minimum: u64,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainFSTrim", flags, 0)?;
        if mount_point.is_some() {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                "Specifying mount point is not supported for now",
            ));
        }
        self.agent(cx, &domain, AgentJob::Modify, "virDomainFSTrim", |_, agent| {
            agent.trim(minimum)
        })
    }

    fn domain_get_fsinfo(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetFsinfoReply> {
        check_flags("qemuDomainGetFSInfo", flags, 0)?;
        let found = self.agent(cx, &domain, AgentJob::Query, "virDomainGetFSInfo", |_, agent| {
            answered(agent.file_systems()?)
        })?;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let info = agent::fs_info(&found, &snapshot.life.current().domain);
        Ok(DomainGetFsinfoReply {
            ret: u32::try_from(info.len()).unwrap_or(u32::MAX),
            info,
        })
    }

    fn domain_interface_addresses(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        source: u32,
        flags: u32,
    ) -> Result<DomainInterfaceAddressesReply> {
        check_flags("qemuDomainInterfaceAddresses", flags, 0)?;
        life::running(domain.handle::<GuestObject>()?)?;
        match DomainInterfaceAddressesSource(i32::try_from(source).unwrap_or(-1)) {
            DomainInterfaceAddressesSource::AGENT => {}
            DomainInterfaceAddressesSource::LEASE | DomainInterfaceAddressesSource::ARP => {
                return Err(error(
                    ErrorCode::OPERATION_UNSUPPORTED,
                    "addresses of guests are known from their agents alone",
                ));
            }
            _ => {
                return Err(error(
                    ErrorCode::ARGUMENT_UNSUPPORTED,
                    format_args!("Unknown IP address data source {source}"),
                ));
            }
        }
        let found = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainInterfaceAddresses",
            |_, agent| answered(agent.interfaces()?),
        )?;
        Ok(DomainInterfaceAddressesReply {
            interfaces: agent::interface_addresses(found),
        })
    }

    fn domain_set_user_password(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: Option<String>,
        password: Option<String>,
        flags: u32,
    ) -> Result<()> {
        let known = DomainSetUserPasswordFlags::ENCRYPTED;
        check_flags("qemuDomainSetUserPassword", flags, known.bits())?;
        let (user, password) = (user.unwrap_or_default(), password.unwrap_or_default());
        self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainSetUserPassword",
            |_, agent| agent.set_password(&user, &password, flags != 0),
        )
    }

    fn domain_authorized_ssh_keys_get(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: String,
        flags: u32,
    ) -> Result<DomainAuthorizedSshKeysGetReply> {
        check_flags("qemuDomainAuthorizedSSHKeysGet", flags, 0)?;
        let keys = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainAuthorizedSSHKeysGet",
            |_, agent| agent.ssh_keys(&user),
        )?;
        Ok(DomainAuthorizedSshKeysGetReply { keys })
    }

    fn domain_authorized_ssh_keys_set(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: String,
        keys: Vec<String>,
        flags: u32,
    ) -> Result<()> {
        let known = DomainAuthorizedSshKeysSetFlags::APPEND | DomainAuthorizedSshKeysSetFlags::REMOVE;
        check_flags("qemuDomainAuthorizedSSHKeysSet", flags, known.bits())?;
        let flags = DomainAuthorizedSshKeysSetFlags::from(flags);
        self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainAuthorizedSSHKeysSet",
            |_, agent| {
                if flags.contains(DomainAuthorizedSshKeysSetFlags::REMOVE) {
                    agent.remove_ssh_keys(&user, &keys)
                } else {
                    let append = flags.contains(DomainAuthorizedSshKeysSetFlags::APPEND);
                    agent.add_ssh_keys(&user, &keys, !append)
                }
            },
        )
    }

    fn domain_get_guest_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetGuestVcpusReply> {
        check_flags("qemuDomainGetGuestVcpus", flags, 0)?;
        let cpus = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainGetGuestVcpus",
            |_, agent| agent.cpus(),
        )?;
        Ok(DomainGetGuestVcpusReply {
            params: TypedParams(agent::cpu_params(&cpus)?),
        })
    }

    fn domain_set_guest_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cpumap: String,
        state: i32,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainSetGuestVcpus", flags, 0)?;
        if !(0..=1).contains(&state) {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported state value {state}: 0 or 1 expected"),
            ));
        }
        let map = Bitmap::parse(&cpumap, agent::CPU_ID_MAX)?;
        self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainSetGuestVcpus",
            |_, agent| agent::set_cpus(agent, &map, state == 1),
        )
    }

    fn domain_pm_suspend_for_duration(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        target: u32,
        duration: u64,
        flags: u32,
    ) -> Result<()> {
        check_flags("qemuDomainPMSuspendForDuration", flags, 0)?;
        if duration != 0 {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                "Duration not supported. Use 0 for now",
            ));
        }
        let how = match NodeSuspendTarget(i32::try_from(target).unwrap_or(-1)) {
            NodeSuspendTarget::MEM => Sleep::Memory,
            NodeSuspendTarget::DISK => Sleep::Disk,
            NodeSuspendTarget::HYBRID => Sleep::Hybrid,
            _ => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    format_args!("Unknown suspend target: {target}"),
                ));
            }
        };
        agent::available(domain.handle::<GuestObject>()?)?;
        const API: &str = "virDomainPMSuspendForDuration";
        self.change(cx, &domain, Job::Query, API, |guest| {
            life::check_sleep(guest, how, cx)
        })?;
        self.agent(cx, &domain, AgentJob::Modify, API, |_, agent| agent.suspend(how))
    }

    fn domain_pm_wakeup(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("qemuDomainPMWakeup", flags, 0)?;
        self.change(cx, &domain, Job::Modify, "virDomainPMWakeup", |guest| {
            life::running(guest)?
                .execute(Command::new("system_wakeup"), cx.deadline(), cx.cancel())
                .map(drop)
        })
    }
}

/// A QMP command as a client wrote it.
fn raw_command(text: &str) -> Result<Command> {
    let object = virt_util::json_lines::parse_object(text.as_bytes())?;
    let name = object
        .get("execute")
        .and_then(Value::as_str)
        .ok_or_else(|| error(ErrorCode::INVALID_ARG, "a monitor command needs a text 'execute'"))?;
    let command = Command::new(name.to_owned());
    Ok(match object.get("arguments") {
        Some(arguments) => command.with_arguments(arguments.clone()),
        None => command,
    })
}
