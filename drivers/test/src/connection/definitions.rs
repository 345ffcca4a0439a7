//! Definitions of guests: made, shown, changed, taken away.

use virt_api::access::{Authorized, Domain, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::protocol::ferrovirt::FerrovirtDomainPreviewXmlReply;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::schema::Check;
use virt_util::types::{
    DomainDefineFlags, DomainMetadataType, DomainModificationImpact, DomainUndefineFlags, DomainXmlFlags,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::{TestConnection, check_flags};
use crate::changes;
use crate::definition::GuestDefinition;
use crate::domain::Guest;
use crate::error;
use crate::life;

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
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

    #[flags("testDomainUndefineFlags", DomainUndefineFlags::MANAGED_SAVE.bits() | DomainUndefineFlags::SNAPSHOTS_METADATA.bits())]
    fn domain_undefine_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainUndefineFlags", |world, guest| {
            life::undefine(world, guest, flags.into())
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

    fn domain_preview_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<FerrovirtDomainPreviewXmlReply>> {
        let validate = DomainDefineFlags::VALIDATE.bits();
        check_flags("testDomainPreviewXML", flags, validate)?;
        let definition = GuestDefinition::parse(&xml, Check::asked_by(flags & validate != 0))?;
        let preview = changes::preview(&self.world, cx, &definition)?;
        Ok(preview.map(|xml| FerrovirtDomainPreviewXmlReply { xml }))
    }

    #[inline_safe]
    #[flags("testDomainGetXMLDesc", DomainXmlFlags::SECURE.bits() | DomainXmlFlags::INACTIVE.bits() | DomainXmlFlags::MIGRATABLE.bits())]
    fn domain_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetXmlDescReply> {
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

    #[flags("testDomainRename", 0)]
    fn domain_rename(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        new_name: Option<String>,
        _: u32,
    ) -> Result<DomainRenameReply> {
        let Some(name) = new_name else {
            return Err(error(ErrorCode::INVALID_ARG, "the new name is missing"));
        };
        self.change(cx, &domain, "virDomainRename", |world, guest| {
            changes::rename(world, guest, &name)
        })?;
        Ok(DomainRenameReply { retcode: 0 })
    }

    #[inline_safe]
    #[flags("testDomainGetMetadata", DomainModificationImpact::all().bits())]
    fn domain_get_metadata(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        kind: i32,
        uri: Option<String>,
        flags: u32,
    ) -> Result<DomainGetMetadataReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let (definition, _) = snapshot.one_definition(flags)?;
        let metadata = definition
            .domain
            .metadata_piece(DomainMetadataType(kind), uri.as_deref())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))?;
        Ok(DomainGetMetadataReply { metadata })
    }

    #[flags("testDomainSetMetadata", DomainModificationImpact::all().bits())]
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
        self.change(cx, &domain, "virDomainSetMetadata", |_, guest| {
            changes::set_metadata(guest, kind, text, key, uri, flags)
        })
    }
}
