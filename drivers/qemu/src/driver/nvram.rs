//! The file with the variables of a guest's firmware: made from its template at the first start, removed with the guest
//! when asked.

use std::path::Path;

use virt_conf::domain::Domain;
use virt_conf::domain::os::NvramImage;
use virt_conf::domain::storage::StorageFormat;
use virt_util::durable::{self, WriteOptions};
use virt_util::types::DomainUndefineFlags;
use virt_util::{ErrorCode, Result};

use super::error;

/// Most bytes that a template may have: those of the firmware at hand have 528 KiB, those of ARM 64 MiB.
const TEMPLATE_MAX: u64 = 128 << 20;

/// Whether variables that are there are thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variables {
    /// They stay.
    Keep,
    /// They are made anew from the template.
    Reset,
}

/// Makes the file if there is none, or if it is to be `Reset`.
///
/// # Errors
/// `OPERATION_FAILED` if there is no template, `CONFIG_UNSUPPORTED` if it has another format than the file shall have,
/// `SYSTEM_ERROR` if it cannot be read or the file not be written.
pub fn prepare(domain: &Domain, variables: Variables) -> Result<()> {
    let Some((image, path)) = local(domain) else {
        return Ok(());
    };
    if variables == Variables::Keep && path.exists() {
        return Ok(());
    }
    let Some(template) = &image.template else {
        return Err(error(
            ErrorCode::OPERATION_FAILED,
            format_args!(
                "the firmware's variables '{}' do not exist, and domain '{}' names no template for them (attribute \
                 'template' of element 'nvram')",
                path.display(),
                domain.name
            ),
        ));
    };
    let raw = |format: Option<StorageFormat>| format.unwrap_or(StorageFormat::Raw);
    if raw(image.template_format) != raw(image.format) {
        return Err(error(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!(
                "the template '{template}' has format '{}', and the firmware's variables '{}' should have '{}': name a \
                 template of that format",
                raw(image.template_format),
                path.display(),
                raw(image.format)
            ),
        ));
    }
    let content = durable::read(Path::new(template), TEMPLATE_MAX)?.ok_or_else(|| {
        error(
            ErrorCode::OPERATION_FAILED,
            format_args!("the template '{template}' of the firmware's variables does not exist"),
        )
    })?;
    if let Some(folder) = path.parent() {
        durable::make_folder(folder, 0o711)?;
    }
    durable::write(path, &content, &WriteOptions::default())
}

/// What undefining does with the file: removes it, keeps it, or refuses to decide.
///
/// # Errors
/// `OPERATION_INVALID` if there is a file and the flags say nothing of it.
pub fn undefine(domain: &Domain, flags: DomainUndefineFlags) -> Result<()> {
    let Some((_, path)) = local(domain).filter(|(_, path)| path.exists()) else {
        return Ok(());
    };
    if flags.contains(DomainUndefineFlags::NVRAM) {
        durable::remove(path).map(|_| ())
    } else if flags.contains(DomainUndefineFlags::KEEP_NVRAM) {
        Ok(())
    } else {
        Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!(
                "cannot undefine domain with nvram: '{}' would stay; remove it with it, or say that it is kept",
                path.display()
            ),
        ))
    }
}

/// The file, if it is one of this host.
fn local(domain: &Domain) -> Option<(&NvramImage, &Path)> {
    let image = domain.os.nvram.as_ref()?;
    Some((image, Path::new(image.path()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xml::XmlFlags;

    fn domain(folder: &Path, template: &str) -> Domain {
        let source = format!(
            "<domain type='qemu'><name>a</name><memory>1</memory><os><type>hvm</type>\
             <loader readonly='yes' type='pflash'>/code</loader><nvram{template}>{}/a_VARS.fd</nvram></os></domain>",
            folder.display()
        );
        Domain::parse(&source, XmlFlags::INACTIVE, "test").unwrap()
    }

    #[test]
    fn the_file_comes_from_its_template_and_goes_with_the_guest() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        std::fs::write(&template, "fresh").unwrap();
        let nvram = folder.path().join("a_VARS.fd");
        let domain = domain(folder.path(), &format!(" template='{}'", template.display()));

        prepare(&domain, Variables::Keep).unwrap();
        assert_eq!(std::fs::read(&nvram).unwrap(), b"fresh");
        std::fs::write(&nvram, "used").unwrap();
        prepare(&domain, Variables::Keep).unwrap();
        assert_eq!(std::fs::read(&nvram).unwrap(), b"used");
        prepare(&domain, Variables::Reset).unwrap();
        assert_eq!(std::fs::read(&nvram).unwrap(), b"fresh");

        let refused = undefine(&domain, DomainUndefineFlags::empty()).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::OPERATION_INVALID);
        undefine(&domain, DomainUndefineFlags::KEEP_NVRAM).unwrap();
        assert!(nvram.exists());
        undefine(&domain, DomainUndefineFlags::NVRAM).unwrap();
        assert!(!nvram.exists());
        undefine(&domain, DomainUndefineFlags::empty()).unwrap();
    }

    #[test]
    fn without_a_template_the_error_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let none = prepare(&domain(folder.path(), ""), Variables::Keep).unwrap_err();
        assert_eq!(none.code(), ErrorCode::OPERATION_FAILED);
        assert!(none.message().contains("a_VARS.fd"), "{none}");
        let gone = prepare(&domain(folder.path(), " template='/no/such'"), Variables::Keep).unwrap_err();
        assert!(gone.message().contains("/no/such"), "{gone}");
    }
}
