//! Every document that the corpus expects as output is read and comes out as it went in. Needs a corpus (`VIRT_CORPUS`).

use std::path::Path;

use serde_json::Value;
use virt_conf::interface::HostInterface;
use virt_conf::network::{Network, NetworkPort};
use virt_conf::nwfilter::Filter;
use virt_conf::nwfilter_binding::FilterBinding;
use virt_conf::schema;
use virt_util::Result;
use virt_util::xml::{Doc, DocOptions, XmlFlags};

/// Areas whose expected outputs are documents of these formats.
const AREAS: &[&str] = &["network-xml", "network-update", "interface-xml", "nwfilter-xml"];

/// Reads a document and writes it, by the name of its root.
fn rewrite(text: &str, inactive: bool) -> Result<String> {
    let doc = Doc::parse_with(text, &DocOptions::named("expected"))?;
    let flags = if inactive {
        XmlFlags::INACTIVE
    } else {
        XmlFlags::empty()
    };
    match doc.root().name() {
        "network" => Network::parse(text, flags, "expected").map(|network| network.format(flags)),
        "networkport" => NetworkPort::parse(text, "expected").map(|port| port.format()),
        "interface" => HostInterface::parse(text, "expected").map(|interface| interface.format()),
        "filter" => Filter::parse(text, "expected").map(|filter| filter.format()),
        "filterbinding" => FilterBinding::parse(text, "expected").map(|binding| binding.format()),
        other => panic!("no format for <{other}>"),
    }
}

#[test]
fn expected_documents_come_out_as_they_went_in() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) else {
        println!("skipped: VIRT_CORPUS names no corpus");
        return;
    };
    let corpus = Path::new(&corpus);
    let (mut count, mut wrong, mut refused) = (0, Vec::new(), Vec::new());
    for area in AREAS {
        let manifest = std::fs::read_to_string(corpus.join(area).join("manifest.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&manifest).unwrap();
        for case in cases {
            let Some(path) = case["expected"]["xml"].as_str() else {
                continue;
            };
            let inactive = case["flags"]
                .as_array()
                .is_some_and(|flags| flags.iter().any(|flag| flag == "inactive"));
            let text = std::fs::read_to_string(corpus.join(path)).unwrap();
            count += 1;
            // The corpus names documents that the schema does not allow so.
            let verdict = Doc::parse(&text).and_then(|doc| schema::check(&doc));
            if verdict.is_ok() == path.ends_with("-invalid.xml") {
                wrong.push(format!("{path}: the schema's verdict is {verdict:?}"));
            }
            match rewrite(&text, inactive) {
                Ok(have) if have == text => {}
                Ok(have) => wrong.push(format!("{path}:\n{have}")),
                // A change of one entry can make a network that libvirt, too, does not take as a whole: in
                // `virNetworkUpdate` the whole is checked afterwards.
                Err(error) if *area == "network-update" => refused.push(format!("{path}: {error}")),
                Err(error) => wrong.push(format!("{path}: {error}")),
            }
        }
    }
    assert!(count > 50, "the corpus holds {count} documents only");
    assert!(refused.len() <= 1, "{}", refused.join("\n"));
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
