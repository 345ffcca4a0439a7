//! The manifest that a plugin carries in an ELF note, read without loading the plugin.
//!
//! Its text is written beside the shared object unchanged, so that there is one source of it: the `driver!` line of
//! the driver.

use crate::task::{Context, Failure, Result};
use object::{Object, ObjectSection};
use std::path::Path;

/// The owner's name of the note that holds a manifest.
const OWNER: &[u8] = b"Ferrovirt";

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The driver's name.
    pub name: String,
    /// The whole text, TOML.
    pub text: String,
}

/// Reads the manifest of a shared object.
pub fn read(object: &Path) -> Result<Manifest> {
    let bytes = std::fs::read(object).context(|| object.display().to_string())?;
    let file = object::File::parse(bytes.as_slice()).context(|| object.display().to_string())?;
    for section in file.sections() {
        let is_note = section.name().is_ok_and(|name| name.starts_with(".note"));
        let data = if is_note {
            section.data().unwrap_or_default()
        } else {
            &[]
        };
        if let Some(manifest) = notes(data)
            .into_iter()
            .find_map(|(owner, text)| manifest(owner, text))
        {
            return Ok(manifest);
        }
    }
    Err(Failure::new(format!(
        "{} carries no driver manifest; does it use virt_api::driver!?",
        object.display()
    )))
}

/// The notes in a section, owner and descriptor: each note is three numbers of four bytes (length of the owner's name,
/// of the descriptor, the type), then both, each padded to four bytes.
fn notes(mut data: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    let padded = |length: usize| length.checked_next_multiple_of(4);
    while let Some((head, rest)) = data.split_first_chunk::<12>() {
        let number = |at: usize| {
            head.get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map_or(0, u32::from_le_bytes) as usize
        };
        let (name, length) = (number(0), number(4));
        let Some(descriptor) = padded(name).and_then(|skip| rest.get(skip..)) else {
            break;
        };
        found.extend(rest.get(..name).zip(descriptor.get(..length)));
        match padded(length).and_then(|skip| descriptor.get(skip..)) {
            Some(next) => data = next,
            None => break,
        }
    }
    found
}

/// A note as a manifest, if it is one.
fn manifest(owner: &[u8], descriptor: &[u8]) -> Option<Manifest> {
    if owner.strip_suffix(b"\0").unwrap_or(owner) != OWNER {
        return None;
    }
    let text = std::str::from_utf8(descriptor).ok()?.trim_end_matches('\0');
    let table: toml::Table = text.parse().ok()?;
    table.get("abi")?;
    let name = table.get("name")?.as_str()?;
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    plain.then(|| Manifest {
        name: name.to_owned(),
        text: format!("{}\n", text.trim_end()),
    })
}

#[cfg(test)]
mod tests {
    use super::{manifest, notes};

    /// One note as a linker lays it out.
    fn note(owner: &[u8], descriptor: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [owner.len(), descriptor.len(), 1] {
            out.extend((number as u32).to_le_bytes());
        }
        for part in [owner, descriptor] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn the_manifest_is_found_among_other_notes() {
        let text = b"name = \"toy\"\nabi = \"1.0\"\n";
        let data = [
            note(b"GNU\0", &[1, 2, 3, 4, 5]),
            note(b"Odd\0", text),
            note(b"Ferrovirt\0", text),
        ]
        .concat();
        let found: Vec<_> = notes(&data)
            .into_iter()
            .filter_map(|(owner, text)| manifest(owner, text))
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found.first().map(|m| m.name.as_str()), Some("toy"));
    }

    #[test]
    fn broken_notes_end_the_search() {
        for data in [
            &[0xff; 12][..],
            &[0; 5],
            &[4, 0, 0, 0, 255, 255, 255, 127, 1, 0, 0, 0, 1],
        ] {
            assert!(
                notes(data)
                    .into_iter()
                    .find_map(|(owner, text)| manifest(owner, text))
                    .is_none(),
                "{data:?}"
            );
        }
    }

    #[test]
    fn a_name_that_is_no_file_name_is_refused() {
        assert!(manifest(b"Ferrovirt\0", b"name = \"../x\"\nabi = \"1.0\"").is_none());
        assert!(manifest(b"Ferrovirt\0", b"name = \"x\"").is_none(), "no abi");
    }
}
