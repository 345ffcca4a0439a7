//! Which MAC addresses guests have in a network, on disk (`BRIDGE.macs`): what the name service finds guests' leases by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use virt_util::Result;
use virt_util::json::Json;

use crate::leases::{text_of, to_json, wrong};

/// Guests and their MAC addresses, as they were written, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacMap {
    guests: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    domain: std::borrow::Cow<'a, str>,
    macs: Vec<String>,
}

impl MacMap {
    /// Reads a file. An empty one knows no guest.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for what is no such list, and for a guest that stands in it twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut map = Self::default();
        if text.is_empty() {
            return Ok(map);
        }
        let entries: Vec<Entry<'_>> = serde_json::from_str(text).map_err(|error| wrong("MAC map", &error))?;
        for entry in entries {
            let name = entry.domain.into_owned();
            if map.guests.contains_key(&name) {
                return Err(wrong("MAC map", &format_args!("duplicate domain '{name}'")));
            }
            map.guests.insert(name, entry.macs);
        }
        Ok(map)
    }

    /// The addresses of a guest whose name is the same in any case: entries that lack something are passed over, as the
    /// name service does.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for what is no list.
    pub fn parse_lenient(text: &str, guest: &str) -> Result<Vec<String>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let Json::Array(list) = Json::parse(text).map_err(|error| error.context("MAC map"))? else {
            return Err(wrong("MAC map", &"it is no array"));
        };
        let macs = list
            .iter()
            .filter(|entry| {
                let name = entry.get("domain").and_then(text_of);
                name.is_some_and(|name| name.eq_ignore_ascii_case(guest))
            })
            .filter_map(|entry| entry.array("macs"))
            .flatten();
        Ok(macs
            .filter_map(text_of)
            .map(std::borrow::Cow::into_owned)
            .collect())
    }

    /// Writes the file, guests sorted by name.
    pub fn format(&self) -> String {
        let entries: Vec<Entry<'_>> = self
            .guests
            .iter()
            .map(|(name, macs)| Entry {
                domain: name.as_str().into(),
                macs: macs.clone(),
            })
            .collect();
        to_json(&entries)
    }

    /// The addresses of a guest.
    pub fn lookup(&self, guest: &str) -> &[String] {
        self.guests.get(guest).map_or(&[], Vec::as_slice)
    }

    /// Adds an address to a guest's. Whether it was new.
    pub fn add(&mut self, guest: &str, mac: &str) -> bool {
        let macs = self.guests.entry(guest.to_owned()).or_default();
        let new = !macs.iter().any(|known| known == mac);
        if new {
            macs.push(mac.to_owned());
        }
        new
    }

    /// Takes an address from a guest's. A guest without any is forgotten. Whether it was there.
    pub fn remove(&mut self, guest: &str, mac: &str) -> bool {
        let Some(macs) = self.guests.get_mut(guest) else {
            return false;
        };
        let before = macs.len();
        macs.retain(|known| known != mac);
        let removed = macs.len() < before;
        if removed && macs.is_empty() {
            self.guests.remove(guest);
        }
        removed
    }

    /// Whether a guest is known.
    pub fn knows(&self, guest: &str) -> bool {
        self.guests.contains_key(guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_come_and_go() {
        let mut map = MacMap::default();
        assert_eq!(map.format(), "[]\n");
        assert!(map.add("b", "52:54:00:00:00:01") && map.add("a", "52:54:00:00:00:02"));
        assert!(!map.add("b", "52:54:00:00:00:01"));
        assert_eq!(MacMap::parse(&map.format()).unwrap(), map);
        assert!(map.format().find("\"a\"") < map.format().find("\"b\""));
        assert!(map.remove("b", "52:54:00:00:00:01") && !map.knows("b"));
        assert!(!map.remove("a", "52:54:00:00:00:09"));
        assert_eq!(map.lookup("a"), ["52:54:00:00:00:02"]);
    }

    #[test]
    fn other_content_is_refused() {
        for text in [
            "{",
            "{}",
            "[1]",
            r#"[{"domain": "a"}]"#,
            r#"[{"domain": "a", "macs": []}, {"domain": "a", "macs": []}]"#,
        ] {
            assert!(MacMap::parse(text).is_err(), "{text}");
        }
    }
}
