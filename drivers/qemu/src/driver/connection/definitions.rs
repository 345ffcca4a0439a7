//! Definitions of guests: made, shown, changed, taken away.

use virt_api::access::{Authorized, Domain, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::protocol::ferrovirt::FerrovirtDomainPreviewXmlReply;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::Job;
use virt_conf::schema::Check;
use virt_util::types::{
    DomainDefineFlags, DomainMetadataType, DomainModificationImpact, DomainUndefineFlags, DomainXmlFlags,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorDomain, Result};

use super::{QemuConnection, check_flags};
use crate::driver::changes;
use crate::driver::object::GuestObject;
use crate::driver::world::World;

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[flags("qemuDomainGetXMLDesc", DomainXmlFlags::all().bits())]
    fn domain_get_xml_desc(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetXmlDescReply> {
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
        let (planner, layout) = (self.world.planner(), self.world.layout());
        let mut changed = None;
        if flags.contains(DomainXmlFlags::UPDATE_CPU) {
            let patience = World::patience(cx.deadline(), cx.cancel());
            changed = Some(planner.update_cpu(&definition.domain, layout, &patience)?);
        }
        if flags.contains(DomainXmlFlags::MIGRATABLE) {
            let whole = changed.as_ref().unwrap_or(&definition.domain);
            changed = Some(planner.for_older(whole, layout));
        }
        let xml = changed.as_ref().unwrap_or(&definition.domain).format(wanted);
        Ok(DomainGetXmlDescReply { xml })
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

    #[inline_safe]
    fn domain_get_autostart_once(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetAutostartOnceReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        Ok(DomainGetAutostartOnceReply {
            autostart: snapshot.autostart_once.into(),
        })
    }

    fn domain_set_autostart_once(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        autostart: i32,
    ) -> Result<()> {
        self.change(cx, &domain, Job::Modify, "virDomainSetAutostartOnce", |guest| {
            changes::set_autostart_once(&self.world, guest, autostart != 0)
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

    fn domain_preview_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<FerrovirtDomainPreviewXmlReply>> {
        check_flags("qemuDomainPreviewXML", flags, DomainDefineFlags::VALIDATE.bits())?;
        let preview = changes::preview(&self.world, cx, &xml, Check::asked_by(flags != 0))?;
        Ok(preview.map(|xml| FerrovirtDomainPreviewXmlReply { xml }))
    }

    #[flags("qemuDomainUndefineFlags", DomainUndefineFlags::all().bits())]
    fn domain_undefine_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        // There is nothing yet that other flags would remove.
        self.change(cx, &domain, Job::Modify, "virDomainUndefineFlags", |guest| {
            changes::undefine(&self.world, guest, flags.into())
        })
    }

    #[flags("qemuDomainRename", 0)]
    fn domain_rename(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        new_name: Option<String>,
        _: u32,
    ) -> Result<DomainRenameReply> {
        self.change(cx, &domain, Job::Modify, "virDomainRename", |guest| {
            changes::rename(&self.world, guest, new_name.as_deref().unwrap_or_default())?;
            Ok(DomainRenameReply { retcode: 0 })
        })
    }

    #[inline_safe]
    #[flags("qemuDomainGetMetadata", DomainModificationImpact::all().bits())]
    fn domain_get_metadata(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: i32,
        uri: Option<String>,
        flags: u32,
    ) -> Result<DomainGetMetadataReply> {
        let snapshot = domain.handle::<GuestObject>()?.snapshot();
        let (definition, _) = snapshot.one_definition(flags)?;
        let metadata = definition
            .domain
            .metadata_piece(DomainMetadataType(kind), uri.as_deref())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))?;
        Ok(DomainGetMetadataReply { metadata })
    }

    #[flags("qemuDomainSetMetadata", DomainModificationImpact::all().bits())]
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
        let (text, key, uri) = (metadata.as_deref(), key.as_deref(), uri.as_deref());
        self.change(cx, &domain, Job::Modify, "virDomainSetMetadata", |guest| {
            changes::set_metadata(&self.world, guest, kind, text, key, uri, flags)
        })
    }
}
