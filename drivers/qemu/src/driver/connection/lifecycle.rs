//! Starting, ending, pausing, and what is kept of a guest in between.

use virt_api::access::{Authorized, Domain, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::lifecycle::LifecycleAction;
use virt_conf::registry::job::{AgentJob, Job};
use virt_util::types::{
    DomainCreateFlags, DomainDestroyFlags, DomainRebootFlags, DomainSaveImageXmlFlags, DomainShutdownFlags,
    NodeSuspendTarget,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use super::{QemuConnection, check_flags};
use crate::agent::commands::{Shutdown, Sleep};
use crate::driver::object::{self, GuestObject};
use crate::driver::{agent, changes, error, life, saved};
use crate::monitor::Command;

impl QemuConnection {
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

/// The start flags that this driver knows.
const CREATE: u32 = DomainCreateFlags::START_PAUSED.bits()
    | DomainCreateFlags::START_BYPASS_CACHE.bits()
    | DomainCreateFlags::START_FORCE_BOOT.bits()
    | DomainCreateFlags::START_RESET_NVRAM.bits()
    | DomainCreateFlags::START_VALIDATE.bits();

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    fn domain_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml_desc: String,
        flags: u32,
    ) -> Result<Authorized<DomainCreateXmlReply>> {
        check_flags("qemuDomainCreateXML", flags, CREATE)?;
        let flags = DomainCreateFlags::from(flags);
        let created = changes::create(&self.world, cx, &xml_desc, flags, "virDomainCreateXML")?;
        Ok(created.map(|domain| DomainCreateXmlReply {
            domain: domain.into(),
        }))
    }

    fn domain_create(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.start(cx, &domain, DomainCreateFlags::NONE, "virDomainCreate")
            .map(drop)
    }

    #[flags("qemuDomainCreateWithFlags", CREATE)]
    fn domain_create_with_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainCreateWithFlagsReply> {
        let domain = self.start(cx, &domain, flags.into(), "virDomainCreateWithFlags")?;
        Ok(DomainCreateWithFlagsReply { domain })
    }

    fn domain_destroy(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.destroy(cx, &domain, false, "virDomainDestroy")
    }

    #[flags("qemuDomainDestroyFlags", DomainDestroyFlags::GRACEFUL.bits())]
    fn domain_destroy_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        let graceful = DomainDestroyFlags::from(flags).contains(DomainDestroyFlags::GRACEFUL);
        self.destroy(cx, &domain, graceful, "virDomainDestroyFlags")
    }

    fn domain_shutdown(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.domain_shutdown_flags(cx, domain, 0)
    }

    #[flags("qemuDomainShutdownFlags", DomainShutdownFlags::ACPI_POWER_BTN.bits() | DomainShutdownFlags::GUEST_AGENT.bits())]
    fn domain_shutdown_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        let flags = DomainShutdownFlags::from(flags);
        let how = (
            flags.contains(DomainShutdownFlags::GUEST_AGENT),
            flags.contains(DomainShutdownFlags::ACPI_POWER_BTN),
        );
        self.end_system(cx, &domain, false, how, "virDomainShutdownFlags")
    }

    #[flags("qemuDomainReboot", DomainRebootFlags::ACPI_POWER_BTN.bits() | DomainRebootFlags::GUEST_AGENT.bits())]
    fn domain_reboot(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        let flags = DomainRebootFlags::from(flags);
        let how = (
            flags.contains(DomainRebootFlags::GUEST_AGENT),
            flags.contains(DomainRebootFlags::ACPI_POWER_BTN),
        );
        self.end_system(cx, &domain, true, how, "virDomainReboot")
    }

    #[flags("qemuDomainReset", 0)]
    fn domain_reset(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
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

    #[inline_safe]
    #[flags("qemuDomainHasManagedSaveImage", 0)]
    fn domain_has_managed_save_image(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainHasManagedSaveImageReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainHasManagedSaveImageReply {
            result: snapshot.state.managed_save.into(),
        })
    }

    #[flags("qemuDomainManagedSaveRemove", 0)]
    fn domain_managed_save_remove(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<()> {
        self.change(cx, &domain, Job::Modify, "virDomainManagedSaveRemove", |guest| {
            saved::remove(self.world.layout(), guest)
        })
    }

    #[flags("qemuDomainManagedSaveGetXMLDesc", DomainSaveImageXmlFlags::SECURE.bits())]
    fn domain_managed_save_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainManagedSaveGetXmlDescReply> {
        let known = DomainSaveImageXmlFlags::SECURE;
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let definition = saved::definition(self.world.layout(), snapshot.name())?;
        let mut wanted = XmlFlags::empty();
        wanted.set(
            XmlFlags::SECURE,
            DomainSaveImageXmlFlags::from(flags).contains(known),
        );
        Ok(DomainManagedSaveGetXmlDescReply {
            xml: definition.format(wanted),
        })
    }

    #[flags("qemuDomainPMSuspendForDuration", 0)]
    fn domain_pm_suspend_for_duration(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        target: u32,
        duration: u64,
        _: u32,
    ) -> Result<()> {
        if duration != 0 {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                format_args!("a guest sleeps until it is woken: duration {duration} is not 0"),
            ));
        }
        let how = match NodeSuspendTarget(i32::try_from(target).unwrap_or(-1)) {
            NodeSuspendTarget::MEM => Sleep::Memory,
            NodeSuspendTarget::DISK => Sleep::Disk,
            NodeSuspendTarget::HYBRID => Sleep::Hybrid,
            _ => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    format_args!(
                        "target {target} of a suspend is unknown: expected 0 (memory), 1 (disk) or 2 (both)"
                    ),
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

    #[flags("qemuDomainPMWakeup", 0)]
    fn domain_pm_wakeup(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
        self.change(cx, &domain, Job::Modify, "virDomainPMWakeup", |guest| {
            life::running(guest)?
                .execute(Command::new("system_wakeup"), cx.deadline(), cx.cancel())
                .map(drop)
        })
    }
}
