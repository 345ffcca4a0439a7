//! Area `domain-qemu-status`: documents of QEMU guests that run.

use std::path::Path;

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, normalize};
use virt_conf::domain::validate::validate;
use virt_driver_qemu::process::layout::Layout;
use virt_driver_qemu::process::status::{self, DEFINITION_FLAGS};
use virt_util::xml::{XmlElement, XmlFlags};

use super::domain_qemu::{Counting, driver};
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The id of guests that say none.
const ID: u32 = 1337;

/// Read a live definition, and write it as live and for the next start.
pub fn active(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let driver = driver(case, corpus)?;
        let source = corpus.input(case)?;
        let domain = Domain::parse(&source, XmlFlags::empty(), "input").and_then(|mut domain| {
            let cx = NormalizeContext {
                flags: NormalizeFlags::empty(),
                random: &Counting,
            };
            normalize(&mut domain, &driver.hooks(), &cx)?;
            validate(&domain, &driver.hooks())?;
            domain.id.get_or_insert(ID);
            Ok(domain)
        });
        let outcomes = [
            ("active", XmlFlags::SECURE),
            ("inactive", XmlFlags::SECURE | XmlFlags::INACTIVE),
        ]
        .into_iter()
        .map(|(role, flags)| {
            let have = domain.as_ref().map(|domain| domain.format(flags));
            let want = corpus.expected(case, role)?;
            Ok(Outcome::of_text(case, have, want.as_deref()))
        })
        .collect::<Result<Vec<_>, String>>()?;
        Ok(Outcome::all(outcomes))
    };
    run().into()
}

/// Read a status file, and write it.
pub fn status(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let source = corpus.input(case)?;
        let layout = Layout::system(Path::new("/"));
        let have = status::load(&source, "input", &layout)
            .map(|(status, domain)| status.format(DEFINITION_FLAGS, |w| domain.write(w, "domain")));
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(case, have, want.as_deref()))
    };
    run().into()
}
