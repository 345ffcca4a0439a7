//! Guests in files: saved, restored, dumped.

use std::path::Path;

use virt_api::access::{Authorized, Domain, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::schema::Check;
use virt_util::durable::{self, WriteOptions};
use virt_util::types::{
    DomainCoreDumpFlags, DomainCoreDumpFormat, DomainEventStartedDetail, DomainEventStoppedDetail,
    DomainRunningReason, DomainSaveImageXmlFlags, DomainSaveRestoreFlags, DomainShutoffReason,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{TestConnection, check_flags};
use crate::changes;
use crate::definition::GuestDefinition;
use crate::error;
use crate::life;

/// What files of this driver begin with.
const MAGIC: &[u8] = b"TestGuestMagic\0";
/// The longest document in a file.
const XML_MAX: usize = 16 * 1024 * 1024;

/// Writes a file with a definition: the mark, the document's length in the machine's order, the document.
fn write(path: &str, definition: &GuestDefinition) -> Result<()> {
    let xml = definition.domain.format(XmlFlags::SECURE);
    let length = match i32::try_from(xml.len()) {
        Ok(length) if xml.len() <= XML_MAX => length,
        _ => {
            return Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!(
                    "the domain's document of {} bytes is too long to save: at most {XML_MAX}",
                    xml.len()
                ),
            ));
        }
    };
    write_file(path, &[MAGIC, &length.to_ne_bytes(), xml.as_bytes()].concat())
}

fn write_file(path: &str, content: &[u8]) -> Result<()> {
    durable::write(Path::new(path), content, &WriteOptions::default())
}

/// Reads such a file.
fn read(path: &str) -> Result<GuestDefinition> {
    let limit = u64::try_from(XML_MAX + MAGIC.len() + size_of::<i32>()).unwrap_or(u64::MAX);
    let content = durable::read(Path::new(path), limit)?.ok_or_else(|| {
        VirtError::system(
            nix::errno::Errno::ENOENT as i32,
            format_args!("cannot read domain image '{path}'"),
        )
        .in_domain(ErrorDomain::TEST)
    })?;
    let broken = |what: &str| {
        error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("domain image '{path}': {what}"),
        )
    };
    let rest = content
        .strip_prefix(MAGIC)
        .ok_or_else(|| broken("it is no file of this driver: mismatched header magic"))?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| broken("it ends before the length of its document"))?;
    let length = usize::try_from(i32::from_ne_bytes(*length)).unwrap_or(0);
    if length == 0 || length > XML_MAX {
        return Err(broken("the length of its document is out of range"));
    }
    let xml = rest
        .get(..length)
        .ok_or_else(|| broken("it ends before its document does"))?;
    let xml = std::str::from_utf8(xml).map_err(|_| broken("its document is not UTF-8"))?;
    GuestDefinition::parse(xml, Check::Usual)
}

fn no_other_document(dxml: Option<&String>) -> Result<()> {
    match dxml {
        None => Ok(()),
        Some(_) => Err(error(
            ErrorCode::ARGUMENT_UNSUPPORTED,
            "a guest is saved and restored with its own document: another one is not supported",
        )),
    }
}

fn saved_as_it_is(args: &DomainSaveFlagsArgs) -> Result<()> {
    no_other_document(args.dxml.as_ref())
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn domain_save(&self, cx: &mut CallContext<'_>, domain: Resolved<Domain>, to: String) -> Result<()> {
        self.domain_save_flags(cx, domain, to, None, 0)
    }

    #[flags("testDomainSaveFlags", 0)]
    #[first(saved_as_it_is)]
    fn domain_save_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        to: String,
        _: Option<String>,
        _: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSaveFlags", |world, guest| {
            write(&to, life::active(guest)?.life.current())?;
            let (reason, detail) = (DomainShutoffReason::SAVED, DomainEventStoppedDetail::SAVED);
            life::stop(world, guest, reason, detail);
            Ok(())
        })
    }

    fn domain_restore(
        &self,
        cx: &mut CallContext<'_>,
        unchecked: Unchecked,
        from: String,
    ) -> Result<Authorized<()>> {
        self.domain_restore_flags(cx, unchecked, from, None, 0)
    }

    fn domain_restore_flags(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        from: String,
        dxml: Option<String>,
        flags: u32,
    ) -> Result<Authorized<()>> {
        check_flags("testDomainRestoreFlags", flags, 0)?;
        no_other_document(dxml.as_ref())?;
        let why = (DomainRunningReason::RESTORED, DomainEventStartedDetail::RESTORED);
        let definition = read(&from)?;
        let restored = changes::create(self.world(), cx, definition, "virDomainRestoreFlags", why)?;
        Ok(restored.map(drop))
    }

    fn domain_save_image_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        file: String,
        dxml: String,
        flags: u32,
    ) -> Result<Authorized<()>> {
        let allowed = DomainSaveRestoreFlags::RUNNING | DomainSaveRestoreFlags::PAUSED;
        check_flags("testDomainSaveImageDefineXML", flags, allowed.bits())?;
        let permit = cx.authorize(&changes::claimed(&read(&file)?))?;
        write(&file, &GuestDefinition::parse(&dxml, Check::Usual)?)?;
        Ok(permit.reply(()))
    }

    fn domain_save_image_get_xml_desc(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        file: String,
        flags: u32,
    ) -> Result<Authorized<DomainSaveImageGetXmlDescReply>> {
        let secure = DomainSaveImageXmlFlags::SECURE.bits();
        check_flags("testDomainSaveImageGetXMLDesc", flags, secure)?;
        let definition = read(&file)?;
        let permit = cx.authorize(&changes::claimed(&definition))?;
        // libvirt's simulator shows secrets to everybody here; they are for those who may ask for them.
        let format = match flags & secure {
            0 => XmlFlags::empty(),
            _ => XmlFlags::SECURE,
        };
        let xml = definition.domain.format(format);
        Ok(permit.reply(DomainSaveImageGetXmlDescReply { xml }))
    }

    #[flags("testDomainCoreDumpWithFormat", DomainCoreDumpFlags::CRASH.bits())]
    fn domain_core_dump(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        to: String,
        flags: u32,
    ) -> Result<()> {
        let raw = DomainCoreDumpFormat::RAW.0.unsigned_abs();
        self.domain_core_dump_with_format(cx, domain, to, raw, flags)
    }

    #[flags("testDomainCoreDumpWithFormat", DomainCoreDumpFlags::CRASH.bits())]
    fn domain_core_dump_with_format(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        to: String,
        dumpformat: u32,
        flags: u32,
    ) -> Result<()> {
        let crash = DomainCoreDumpFlags::CRASH.bits();
        self.change(cx, &domain, "virDomainCoreDumpWithFormat", |world, guest| {
            life::active(guest)?;
            if dumpformat != DomainCoreDumpFormat::RAW.0.unsigned_abs() {
                return Err(error(
                    ErrorCode::OPERATION_UNSUPPORTED,
                    format_args!("dump format {dumpformat} is not supported here: only raw (0)"),
                ));
            }
            write_file(&to, MAGIC)?;
            if flags & crash != 0 {
                let (reason, detail) = (DomainShutoffReason::CRASHED, DomainEventStoppedDetail::CRASHED);
                life::stop(world, guest, reason, detail);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved").display().to_string();
        let xml = "<domain type='test'><name>a</name><memory>8192</memory><os><type>hvm</type></os></domain>";
        let definition = GuestDefinition::parse(xml, Check::Usual).unwrap();
        write(&path, &definition).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..15], b"TestGuestMagic\0");
        assert_eq!(read(&path).unwrap().domain, definition.domain);
        for broken in [&bytes[..10], &bytes[..17], &bytes[..30]] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(read(&path).unwrap_err().code(), ErrorCode::INTERNAL_ERROR);
        }
    }
}
