//! What the agent inside a guest tells and does.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::interface::InterfaceSource;
use virt_conf::registry::job::{AgentJob, Job};
use virt_util::bitmap::Bitmap;
use virt_util::typed_param::TypedParams;
use virt_util::types::{
    DomainAuthorizedSshKeysSetFlags, DomainGetHostnameFlags, DomainGuestInfoTypes,
    DomainInterfaceAddressesSource, DomainSetTimeFlags, DomainSetUserPasswordFlags,
};
use virt_util::{ErrorCode, Result};

use super::QemuConnection;
use crate::agent::AgentTimeout;
use crate::driver::object::GuestObject;
use crate::driver::{agent, error, life};

/// A time that an agent may be given; shorter ones than "for ever" there are none.
pub(super) fn agent_timeout(seconds: i32) -> Result<AgentTimeout> {
    AgentTimeout::new(seconds).ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!(
                "a timeout of {seconds} seconds: expected {} (no limit), -1, 0 or more",
                AgentTimeout::BLOCK.number()
            ),
        )
    })
}

/// A question that must be answered.
fn answered<T>(answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "the guest agent gave no answer"))
}

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[flags("qemuDomainAgentSetResponseTimeout", 0)]
    fn domain_agent_set_response_timeout(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        timeout: i32,
        _: u32,
    ) -> Result<DomainAgentSetResponseTimeoutReply> {
        let timeout = agent_timeout(timeout)?;
        let object = domain.handle::<GuestObject>()?;
        object.private().agent.set_timeout(timeout);
        if let Ok(guest) = life::running(object) {
            self.world.save_status(object, &guest)?;
        }
        Ok(DomainAgentSetResponseTimeoutReply { result: 0 })
    }

    #[flags("qemuDomainGetGuestInfo", 0)]
    fn domain_get_guest_info(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        types: u32,
        _: u32,
    ) -> Result<DomainGetGuestInfoReply> {
        let unknown = types & !DomainGuestInfoTypes::all().bits();
        if unknown != 0 {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!("kinds of information 0x{unknown:x} are unknown"),
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

    #[flags("qemuDomainGetHostname", DomainGetHostnameFlags::LEASE.bits() | DomainGetHostnameFlags::AGENT.bits())]
    fn domain_get_hostname(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetHostnameReply> {
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

    #[flags("qemuDomainGetTime", 0)]
    fn domain_get_time(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetTimeReply> {
        let (seconds, nseconds) =
            self.agent(cx, &domain, AgentJob::Query, "virDomainGetTime", |_, agent| {
                agent.time()
            })?;
        Ok(DomainGetTimeReply { seconds, nseconds })
    }

    #[flags("qemuDomainSetTime", DomainSetTimeFlags::SYNC.bits())]
    fn domain_set_time(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        seconds: i64,
        nseconds: u32,
        flags: u32,
    ) -> Result<()> {
        let sync = DomainSetTimeFlags::from(flags).contains(DomainSetTimeFlags::SYNC);
        self.agent(cx, &domain, AgentJob::Modify, "virDomainSetTime", |_, agent| {
            agent.set_time((!sync).then_some((seconds, nseconds)))
        })?;
        // The hardware clock has lost ticks while the guest did not run: they are not to come now.
        self.change(cx, &domain, Job::Modify, "virDomainSetTime", |guest| {
            life::forget_lost_ticks(guest, cx)
        })
    }

    #[flags("qemuDomainFSFreeze", 0)]
    fn domain_fsfreeze(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        _: u32,
    ) -> Result<DomainFsfreezeReply> {
        let filesystems = self.agent(cx, &domain, AgentJob::Modify, "virDomainFSFreeze", |_, agent| {
            agent.freeze(&mountpoints)
        })?;
        Ok(DomainFsfreezeReply { filesystems })
    }

    #[flags("qemuDomainFSThaw", 0)]
    fn domain_fsthaw(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        _: u32,
    ) -> Result<DomainFsthawReply> {
        if !mountpoints.is_empty() {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                "the guest agent freezes all file systems: mountpoints cannot be chosen",
            ));
        }
        let filesystems = self.agent(cx, &domain, AgentJob::Modify, "virDomainFSThaw", |_, agent| {
            agent.thaw()
        })?;
        Ok(DomainFsthawReply { filesystems })
    }

    #[flags("qemuDomainFSTrim", 0)]
    fn domain_fstrim(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mount_point: Option<String>,
        minimum: u64,
        _: u32,
    ) -> Result<()> {
        if mount_point.is_some() {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                "the guest agent trims all file systems: a mountpoint cannot be chosen",
            ));
        }
        self.agent(cx, &domain, AgentJob::Modify, "virDomainFSTrim", |_, agent| {
            agent.trim(minimum)
        })
    }

    #[flags("qemuDomainGetFSInfo", 0)]
    fn domain_get_fsinfo(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetFsinfoReply> {
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

    #[flags("qemuDomainInterfaceAddresses", 0)]
    fn domain_interface_addresses(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        source: u32,
        _: u32,
    ) -> Result<DomainInterfaceAddressesReply> {
        life::running(domain.handle::<GuestObject>()?)?;
        let source_kind = DomainInterfaceAddressesSource(i32::try_from(source).unwrap_or(-1));
        match source_kind {
            DomainInterfaceAddressesSource::AGENT => {}
            DomainInterfaceAddressesSource::LEASE | DomainInterfaceAddressesSource::ARP => {
                let snapshot = domain.handle::<GuestObject>()?.snapshot();
                let devices = &snapshot.life.current().domain.devices;
                // A virtual network leases to its own interfaces alone, and the host's table of neighbours has nobody
                // who sits behind the emulator's own network.
                let mut answerable = devices.interfaces.iter().filter(|interface| match source_kind {
                    DomainInterfaceAddressesSource::LEASE => {
                        matches!(interface.source, InterfaceSource::Network { .. })
                    }
                    _ => !matches!(interface.source, InterfaceSource::User { .. }),
                });
                if answerable.next().is_none() {
                    return Ok(DomainInterfaceAddressesReply {
                        interfaces: Vec::new(),
                    });
                }
                return Err(error(
                    ErrorCode::OPERATION_UNSUPPORTED,
                    "addresses of guests are known from their agents alone",
                ));
            }
            _ => {
                return Err(error(
                    ErrorCode::ARGUMENT_UNSUPPORTED,
                    format_args!("source {source} of addresses is unknown"),
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

    #[flags("qemuDomainSetUserPassword", DomainSetUserPasswordFlags::ENCRYPTED.bits())]
    fn domain_set_user_password(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: Option<String>,
        password: Option<String>,
        flags: u32,
    ) -> Result<()> {
        let (user, password) = (user.unwrap_or_default(), password.unwrap_or_default());
        self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainSetUserPassword",
            |_, agent| agent.set_password(&user, &password, flags != 0),
        )
    }

    #[flags("qemuDomainAuthorizedSSHKeysGet", 0)]
    fn domain_authorized_ssh_keys_get(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: String,
        _: u32,
    ) -> Result<DomainAuthorizedSshKeysGetReply> {
        let keys = self.agent(
            cx,
            &domain,
            AgentJob::Query,
            "virDomainAuthorizedSSHKeysGet",
            |_, agent| agent.ssh_keys(&user),
        )?;
        Ok(DomainAuthorizedSshKeysGetReply { keys })
    }

    #[flags("qemuDomainAuthorizedSSHKeysSet", DomainAuthorizedSshKeysSetFlags::APPEND.bits() | DomainAuthorizedSshKeysSetFlags::REMOVE.bits())]
    fn domain_authorized_ssh_keys_set(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        user: String,
        keys: Vec<String>,
        flags: u32,
    ) -> Result<()> {
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

    #[flags("qemuDomainGetGuestVcpus", 0)]
    fn domain_get_guest_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetGuestVcpusReply> {
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

    #[flags("qemuDomainSetGuestVcpus", 0)]
    fn domain_set_guest_vcpus(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cpumap: String,
        state: i32,
        _: u32,
    ) -> Result<()> {
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
}
