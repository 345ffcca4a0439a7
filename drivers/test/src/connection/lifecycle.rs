//! Starting, ending, pausing, and what is kept of a guest in between.

use virt_api::access::{Authorized, Domain, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::schema::Check;
use virt_util::Result;
use virt_util::types::{DomainCreateFlags, DomainDestroyFlags, DomainRebootFlags, DomainSaveRestoreFlags};

use super::{TestConnection, check_flags};
use crate::changes;
use crate::definition::GuestDefinition;
use crate::domain::{self, Guest};
use crate::life;

impl TestConnection {
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
        changes::create(&self.world, cx, definition, api, life::BOOTED)
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn domain_create(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainCreate", life::start)
    }

    #[flags("testDomainCreateWithFlags", 0)]
    fn domain_create_with_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainCreateWithFlagsReply> {
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

    #[flags("testDomainDestroyFlags", DomainDestroyFlags::GRACEFUL.bits())]
    fn domain_destroy_flags(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
        self.change(cx, &domain, "virDomainDestroyFlags", life::destroy)
    }

    fn domain_shutdown(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>) -> Result<()> {
        self.change(cx, &domain, "virDomainShutdown", life::shutdown)
    }

    #[flags("testDomainShutdownFlags", 0)]
    fn domain_shutdown_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainShutdownFlags", life::shutdown)
    }

    #[flags("testDomainReboot", DomainRebootFlags::all().bits())]
    fn domain_reboot(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
        self.change(cx, &domain, "virDomainReboot", life::reboot)
    }

    #[flags("testDomainReset", 0)]
    fn domain_reset(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
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

    #[flags("testDomainManagedSave", DomainSaveRestoreFlags::BYPASS_CACHE.bits() | DomainSaveRestoreFlags::RUNNING.bits() | DomainSaveRestoreFlags::PAUSED.bits())]
    fn domain_managed_save(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
        self.change(cx, &domain, "virDomainManagedSave", life::managed_save)
    }

    #[inline_safe]
    #[flags("testDomainHasManagedSaveImage", 0)]
    fn domain_has_managed_save_image(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainHasManagedSaveImageReply> {
        Ok(DomainHasManagedSaveImageReply {
            result: domain.handle::<Guest>()?.snapshot().state.managed_save.into(),
        })
    }

    #[flags("testDomainManagedSaveRemove", 0)]
    fn domain_managed_save_remove(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainManagedSaveRemove", |_, guest| {
            guest.publish(|snapshot| snapshot.state.managed_save = false);
            Ok(())
        })
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

    #[flags("testDomainCreateWithFlags", 0)]
    fn domain_create_with_files(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainCreateWithFilesReply> {
        let domain = self.domain_create_with_flags(cx, domain, flags)?.domain;
        Ok(DomainCreateWithFilesReply { domain })
    }
}
