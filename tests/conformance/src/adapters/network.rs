//! Areas `network-xml` and `network-update`: networks, their ports, changes of their entries.

use virt_conf::network::{Command, Network, NetworkPort, Section, Update};
use virt_util::xml::XmlFlags;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

fn flags(case: &Case) -> XmlFlags {
    if case.has_flag("inactive") {
        XmlFlags::INACTIVE
    } else {
        XmlFlags::empty()
    }
}

/// Read a network and write it.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = Network::parse(&corpus.input(case)?, XmlFlags::empty(), "input")
            .map(|network| network.format(flags(case)));
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// Read a port and write it.
pub fn port_xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = NetworkPort::parse(&corpus.input(case)?, "input").map(|port| port.format());
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// Change an entry of a network.
pub fn update(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let file = |role: &str| {
            let name = case.input.get(role).and_then(serde_json::Value::as_str);
            corpus.text(name.ok_or_else(|| format!("the case has no input '{role}'"))?)
        };
        let (command, section) = (case.text("command")?, case.text("section")?);
        let xml = file("update")?;
        let update = Update {
            command: Some(Command::from_word(command).ok_or_else(|| format!("unknown command '{command}'"))?),
            section: Some(Section::from_word(section).ok_or_else(|| format!("unknown section '{section}'"))?),
            parent: case.param("parent_index").as_i64().unwrap_or(-1) as i32,
            xml: &xml,
        };
        let mut network = Network::parse(&file("network")?, XmlFlags::empty(), "network")
            .map_err(|error| format!("the network before: {error}"))?;
        let have = network.apply(&update).map(|()| network.format(flags(case)));
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}
