//! Area `nss`: leases and MAC maps on disk, and the host names that come of them.

use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use virt_conf::leases::{Family, NameFile, NameOf, addresses_of_one_family};
use virt_conf::mac_map::MacMap;
use virt_util::ip;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Look a host up.
pub fn lookup(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let files = case.input.as_object().ok_or("the case names no files")?;
        let files: Vec<(&String, String)> = files
            .iter()
            .map(|(name, path)| Ok((name, corpus.text(path.as_str().ok_or("a file has no path")?)?)))
            .collect::<Result<_, String>>()?;
        let files: Vec<NameFile<'_>> = files
            .iter()
            .map(|(name, content)| NameFile { name, content })
            .collect();
        let name_of = match case.text("module")? {
            "libvirt" => NameOf::Host,
            "libvirt_guest" => NameOf::Guest,
            other => return Err(format!("unknown module '{other}'")),
        };
        let family = match case.text("family")? {
            "inet" => Family::Inet,
            "inet6" => Family::Inet6,
            "unspec" => Family::Unspecified,
            other => return Err(format!("unknown family '{other}'")),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|error| error.to_string())?;
        let have = addresses_of_one_family(case.text("name")?, name_of, family, &files, now.as_secs())
            .map(|answer| json!(answer.addresses.into_iter().map(ip::format).collect::<Vec<_>>()));
        Ok(Outcome::of_value(case, have, case.param("addresses")))
    };
    run().into()
}

/// Look a guest up in a MAC map, and forget it.
pub fn mac_map(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let mut map = MacMap::parse(&corpus.input(case)?).map_err(|error| error.to_string())?;
        let guest = case.text("domain")?;
        let mut macs = map.lookup(guest).to_vec();
        for mac in &macs {
            map.remove(guest, mac);
        }
        macs.sort();
        let mut want: Vec<&str> = case
            .param("macs")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        want.sort_unstable();
        Ok(Outcome::all([
            Outcome::equal("addresses", &json!(macs), &json!(want)),
            Outcome::equal("still known", &map.knows(guest), &false),
        ]))
    };
    run().into()
}

/// Make a MAC map and write it.
pub fn mac_map_write(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let mut map = MacMap::default();
        for pair in case.param("add").as_array().ok_or("the case adds nothing")? {
            let (Some(guest), Some(mac)) = (pair[0].as_str(), pair[1].as_str()) else {
                return Err(format!("bad pair {pair}"));
            };
            map.add(guest, mac);
        }
        let want = corpus.expected(case, "json")?;
        Ok(Outcome::of_text(
            case,
            Ok::<_, String>(map.format()),
            want.as_deref(),
        ))
    };
    run().into()
}
