//! Area `domain-openvz`: container files of OpenVZ.

use serde_json::Value;
use virt_conf::domain::os::OsType;
use virt_conf::domain::{Domain, VirtType};
use virt_conf::openvz;
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// One parameter.
pub fn parameter(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let text = corpus.input(case)?;
        let have = openvz::parameter(&text, case.text("name")?);
        let status = Value::from(u64::from(have.is_some()));
        Ok(Outcome::all([
            Outcome::equal("status", &status, case.param("status")),
            Outcome::equal(
                "value",
                &have.map_or(Value::Null, Value::from),
                case.param("value"),
            ),
        ]))
    };
    run().into()
}

/// Network devices, in a definition without anything else.
pub fn network(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let mut domain = Domain {
            virt_type: VirtType::Openvz,
            uuid: Some(Uuid::nil()),
            ..Domain::default()
        };
        domain.vcpus.max = 0;
        domain.os.kind.os = OsType::Exe;
        domain.os.init = Some("/sbin/init".to_owned()).into();
        let have = openvz::read_network(&corpus.input(case)?, &mut domain)
            .map(|()| domain.format(XmlFlags::INACTIVE));
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
