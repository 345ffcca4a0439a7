//! Paths and names on the datastores of VMware's hosts.

use std::fmt::Write as _;

use virt_util::{ErrorCode, Result, VirtError};

use super::text::escape_hex;

/// A path on a datastore: `[datastore] directory/file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatastorePath<'t> {
    /// The datastore.
    pub datastore: &'t str,
    /// The folder; all of the path if it names no file.
    pub directory: &'t str,
    /// Folder and file.
    pub path: &'t str,
}

/// Takes a path on a datastore apart. The path may be missing, the datastore not.
///
/// # Errors
/// `INVALID_ARG`.
pub fn parse_path(text: &str) -> Result<DatastorePath<'_>> {
    let parts = text
        .strip_prefix('[')
        .map(|rest| rest.split_once(']').unwrap_or((rest, "")));
    let Some((datastore, path)) = parts.filter(|(datastore, _)| !datastore.is_empty()) else {
        return Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!("'{text}': expected '[DATASTORE] PATH'"),
        ));
    };
    let path = path.trim_start_matches(' ');
    Ok(DatastorePath {
        datastore,
        directory: path.rsplit_once('/').map_or(path, |(directory, _)| directory),
        path,
    })
}

/// A name as it stands on a datastore: what Windows allows in no path becomes `_`, `%`, `/` and `\` become `%25` and so on,
/// and the rest that is not plain becomes Base64.
pub fn escape_item(name: &str) -> String {
    let replaced: String = name
        .chars()
        .map(|c| if "\"*<>:|?".contains(c) { '_' } else { c })
        .collect();
    escape_base64(&escape_hex(&replaced, '%', &['/', '\\']))
}

/// Writes runs of characters that are not plain as `+`, Base64 with `,` for `/` and without padding, `-`.
fn escape_base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'(),. _-".contains(&byte);
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    while let Some(first) = bytes.next() {
        if plain(first) {
            out.push(char::from(first));
            continue;
        }
        let mut run = vec![first];
        run.extend(std::iter::from_fn(|| bytes.next_if(|byte| !plain(*byte))));
        out.push('+');
        for group in run.chunks(3) {
            let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for place in 0..=group.len() as u32 {
                let digit = ALPHABET.get((bits >> (18 - 6 * place) & 0x3f) as usize);
                let _ = out.write_char(char::from(digit.copied().unwrap_or(b'A')));
            }
        }
        if bytes.peek().is_some() {
            out.push('-');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_taken_apart() {
        let path = parse_path("[ds 1]   a/b/c.vmdk").unwrap();
        assert_eq!(
            (path.datastore, path.directory, path.path),
            ("ds 1", "a/b", "a/b/c.vmdk")
        );
        assert!(parse_path("[]a").is_err());
    }

    proptest! {
        #[test]
        fn names_become_plain(name in "\\PC{0,30}") {
            let escaped = escape_item(&name);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'(),. _-+".contains(&byte)));
            let _ = parse_path(&name);
        }
    }
}
