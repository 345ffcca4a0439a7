//! Area `domain-lxc`: documents under the container driver, and LXC's own files.

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, normalize};
use virt_conf::domain::validate::validate;
use virt_conf::lxc_native;
use virt_driver_lxc::hooks::{LxcGuest, LxcHooks};
use virt_util::Result;
use virt_util::xml::XmlFlags;

use super::domain_generic::CountingRandomness;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The UUID of every definition that is made from a file.
const UUID: &str = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

fn guests() -> [LxcGuest; 2] {
    ["i686", "x86_64"].map(|arch| LxcGuest {
        arch: arch.to_owned(),
        emulator: "/usr/libexec/libvirt_lxc".to_owned(),
    })
}

/// Read, complete and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let guests = guests();
        let hooks = LxcHooks {
            host_arch: "x86_64",
            guests: &guests,
        };
        let source = corpus.input(case)?;
        let round = || -> Result<String> {
            let mut domain = Domain::parse(&source, XmlFlags::empty(), "input")?;
            let cx = NormalizeContext {
                flags: NormalizeFlags::empty(),
                random: &CountingRandomness,
            };
            normalize(&mut domain, &hooks, &cx)?;
            validate(&domain, &hooks)?;
            Ok(domain.format(XmlFlags::SECURE))
        };
        Ok(Outcome::of_text(
            case,
            round(),
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// File to document.
pub fn config2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let guests = guests();
        let hooks = LxcHooks {
            host_arch: "x86_64",
            guests: &guests,
        };
        let uuid = virt_util::uuid::parse(UUID).map_err(|error| error.to_string())?;
        let text = corpus.input(case)?;
        let have =
            lxc_native::parse(case.input_file()?, &text, &hooks, &CountingRandomness).map(|mut domain| {
                domain.uuid = Some(uuid);
                domain.format(XmlFlags::empty())
            });
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
