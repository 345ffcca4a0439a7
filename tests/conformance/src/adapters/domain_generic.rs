//! Area `domain-generic`: domain documents under a driver that adds nothing.

use virt_conf::domain::normalize::{
    DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags, Randomness, normalize,
};
use virt_conf::domain::validate::validate;
use virt_conf::domain::{Domain, VirtType};
use virt_driver_openvz::hooks::OpenvzHooks;
use virt_util::Result;
use virt_util::xml::XmlFlags;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The driver of the area.
struct GenericDriver;

impl DomainHooks for GenericDriver {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::INDIVIDUAL_VCPUS
    }

    fn default_arch(&self) -> Option<String> {
        Some("x86_64".to_owned())
    }
}

/// The corpus' random numbers: 0, 1, 2 … from the start of each request.
pub struct CountingRandomness;

impl Randomness for CountingRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(0..) {
            *byte = value;
        }
    }
}

fn read(source: &str, flags: XmlFlags) -> Result<Domain> {
    read_by(source, flags, &GenericDriver)
}

fn read_by(source: &str, flags: XmlFlags, driver: &dyn DomainHooks) -> Result<Domain> {
    let mut domain = Domain::parse(source, flags, "input")?;
    let inactive = flags.contains(XmlFlags::INACTIVE);
    let cx = NormalizeContext {
        flags: if inactive {
            NormalizeFlags::INACTIVE
        } else {
            NormalizeFlags::empty()
        },
        random: &CountingRandomness,
    };
    normalize(&mut domain, driver, &cx)?;
    validate(&domain, driver)?;
    Ok(domain)
}

/// Read, complete and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let flags = if case.has_flag("inactive") {
            XmlFlags::INACTIVE
        } else {
            XmlFlags::empty()
        };
        let have = read(&corpus.input(case)?, flags).map(|domain| domain.format(flags | XmlFlags::SECURE));
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}

/// Look a file system up by its target.
pub fn filesystem_lookup(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let domain = read(&corpus.input(case)?, XmlFlags::empty()).map_err(|error| error.to_string())?;
        let path = case.text("path")?;
        let found = domain
            .devices
            .filesystems
            .iter()
            .any(|filesystem| filesystem.target.as_deref() == Some(path));
        Ok(Outcome::equal(
            "found",
            &serde_json::json!(found),
            case.param("found"),
        ))
    };
    run().into()
}

/// Read a document that the schema allows, as the driver for its type does. (Whether the schema allows it is asked in area
/// `schema-validation`.)
pub fn schema_valid(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let source = corpus.input(case)?;
        let kind = Domain::parse(&source, XmlFlags::INACTIVE, "input").map(|domain| domain.virt_type);
        let openvz = OpenvzHooks { host_arch: "x86_64" };
        let driver: &dyn DomainHooks = match kind {
            Ok(VirtType::Openvz) => &openvz,
            _ => &GenericDriver,
        };
        let have = read_by(&source, XmlFlags::INACTIVE, driver).map(|_| String::new());
        Ok(Outcome::of_text(case, have, Some("")))
    };
    run().into()
}
