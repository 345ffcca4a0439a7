//! Area `domain-xen-config`: files of `xl` and `xm`, and domain documents.

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, normalize};
use virt_conf::domain::os::OsType;
use virt_conf::domain::validate::validate;
use virt_conf::xen::{self, XenContext, XenFormat, XenGuest};
use virt_driver_xen::hooks::XenHooks;
use virt_util::xml::XmlFlags;
use virt_util::{Result, VirtError};

use super::domain_generic::CountingRandomness;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Folder of firmware; documents of the area have a word for it.
const FIRMWARE_DIR: &str = "/usr/lib/xen/boot";
const FIRMWARE_WORD: &str = "/LIBXL_FIRMWARE_DIR";

/// The guests of the area's host.
pub fn guests() -> Vec<XenGuest> {
    let guest = |os, machine: &str, loader: Option<&str>| XenGuest {
        os,
        arch: "x86_64".to_owned(),
        machine: machine.to_owned(),
        loader: loader.map(str::to_owned),
    };
    vec![
        guest(OsType::Hvm, "xenfv", Some("/usr/lib/xen/boot/hvmloader")),
        guest(OsType::Xen, "xenpv", None),
        guest(OsType::Xenpvh, "xenpvh", None),
    ]
}

/// Reads and completes a document as the driver does.
pub fn read(source: &str, flags: XmlFlags) -> Result<Domain> {
    let guests = guests();
    let hooks = XenHooks {
        guests: &guests,
        is_traditional: &|_| false,
    };
    let mut domain = Domain::parse(source, flags, "input")?;
    let cx = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &CountingRandomness,
    };
    normalize(&mut domain, &hooks, &cx)?;
    validate(&domain, &hooks)?;
    Ok(domain)
}

fn format_of(case: &Case) -> std::result::Result<(XenFormat, XmlFlags), String> {
    match case.more.get("format").and_then(|format| format.as_str()) {
        Some("xl") => Ok((XenFormat::Xl, XmlFlags::INACTIVE | XmlFlags::SECURE)),
        Some("xm") => Ok((XenFormat::Xm, XmlFlags::SECURE)),
        _ => Err("the case names no format".to_owned()),
    }
}

fn with_firmware_dir(case: &Case, text: String) -> String {
    if case.has_flag("replace-firmware-dir") {
        text.replace(FIRMWARE_WORD, FIRMWARE_DIR)
    } else {
        text
    }
}

/// File to document.
pub fn config2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let (format, flags) = format_of(case)?;
        let guests = guests();
        let hooks = XenHooks {
            guests: &guests,
            is_traditional: &|_| false,
        };
        let cx = XenContext {
            guests: &guests,
            nesting_feature: "vmx",
            firmware_dir: FIRMWARE_DIR,
            hooks: &hooks,
            random: &CountingRandomness,
        };
        let text = with_firmware_dir(case, corpus.input(case)?);
        let have = xen::parse(format, case.input_file()?, &text, &cx).map(|domain| domain.format(flags));
        let want = corpus
            .expected(case, "xml")?
            .map(|want| with_firmware_dir(case, want));
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// Document to file.
pub fn xml2config(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let (format, _) = format_of(case)?;
        let source = with_firmware_dir(case, corpus.input(case)?);
        let no_networks = |name: &str| {
            Err(VirtError::internal(format_args!(
                "the host has no network '{name}'"
            )))
        };
        let have =
            read(&source, XmlFlags::INACTIVE).and_then(|domain| xen::format(format, &domain, &no_networks));
        let want = corpus
            .expected(case, "config")?
            .map(|want| with_firmware_dir(case, want));
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}
