//! Area `util-text`, network addresses.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use std::net::IpAddr;
use virt_util::ip;

fn address(case: &Case, name: &str) -> Result<IpAddr, String> {
    let text = case.text(name)?;
    ip::parse(text).ok_or_else(|| format!("'{text}' is no address"))
}

fn prefix(case: &Case) -> Option<u32> {
    case.param("prefix")
        .as_u64()
        .and_then(|prefix| u32::try_from(prefix).ok())
}

/// Read an address of a family and write it.
pub fn parse(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let text = case.text("text")?;
        let family = case.text("family")?;
        let found = ip::parse(text).filter(|found| match family {
            "unspec" => true,
            "inet" => found.is_ipv4(),
            "inet6" => found.is_ipv6(),
            _ => false,
        });
        let written = found.map(ip::format);
        let candidate = case.param("candidate").as_str().unwrap_or(text);
        let same = if case.param("candidate").is_string() {
            "candidate_is_the_formatted_text"
        } else {
            "formats_same"
        };
        Ok(Outcome::all([
            Outcome::equal(
                "is an address",
                &Some(found.is_some()),
                &case.param("parses").as_bool(),
            ),
            Outcome::equal(
                "is written so",
                &Some(written.as_deref() == Some(candidate)),
                &case.param(same).as_bool(),
            ),
        ]))
    };
    run().into()
}

/// How many addresses a range has; none if it is wrong.
pub fn range(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let within = match case.param("network").is_string() {
            true => Some((address(case, "network")?, prefix(case))),
            false => None,
        };
        let have = ip::check_range(address(case, "start")?, address(case, "end")?, within).ok();
        Ok(Outcome::equal(
            "size",
            &have.map(u64::from),
            &case.param("size").as_u64(),
        ))
    };
    run().into()
}

/// Whether two addresses are of one network.
pub fn netmask(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let (a, b) = (address(case, "a")?, address(case, "b")?);
        let mask = address(case, "netmask")?;
        let masked = |address| ip::masked(address, mask);
        let same = masked(a).is_some_and(|network| masked(b) == Some(network));
        Ok(Outcome::equal(
            "same network",
            &Some(same),
            &case.param("same_network").as_bool(),
        ))
    };
    run().into()
}

/// The network of an address.
pub fn network(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let prefix = prefix(case).ok_or("the case has no prefix")?;
        let have = ip::network(address(case, "addr")?, prefix).map(ip::format);
        Ok(Outcome::equal(
            "network",
            &have.as_deref(),
            &case.param("network").as_str(),
        ))
    };
    run().into()
}

/// Whether an address stands for all.
pub fn wildcard(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = address(case, "text")?.is_unspecified();
        Ok(Outcome::equal(
            "wildcard",
            &Some(have),
            &case.param("result").as_bool(),
        ))
    };
    run().into()
}

/// The family of a text that is an address.
pub fn numeric_family(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = match ip::parse(case.text("text")?) {
            Some(IpAddr::V4(_)) => json!("inet"),
            Some(IpAddr::V6(_)) => json!("inet6"),
            None => Value::Null,
        };
        Ok(Outcome::equal("family", &have, case.param("family")))
    };
    run().into()
}

/// Whether a text is this host's own address.
pub fn localhost(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = match ip::parse(case.text("text")?) {
            Some(IpAddr::V4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
            Some(IpAddr::V6(address)) => address.is_loopback(),
            None => false,
        };
        Ok(Outcome::equal(
            "is localhost",
            &Some(have),
            &case.param("result").as_bool(),
        ))
    };
    run().into()
}
