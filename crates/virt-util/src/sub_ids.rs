//! `/etc/subuid` and `/etc/subgid`: users and groups that a user may hand on to containers.

use crate::error::{Result, VirtError};

/// Who may hand ids on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubIdOwner {
    /// A user by number.
    Id(u64),
    /// A user by name.
    Name(String),
}

/// A line of the file: `joe:100000:65536`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubIds {
    /// Who.
    pub owner: SubIdOwner,
    /// The first id.
    pub start: u64,
    /// How many there are.
    pub count: u64,
}

/// Reads the lines up to the first that has not three fields.
///
/// # Errors
/// `INTERNAL_ERROR` for a number that is none.
pub fn parse(text: &str) -> Result<Vec<SubIds>> {
    let mut all = Vec::new();
    for (at, line) in text.split('\n').enumerate() {
        let fields: Vec<&str> = line.split(':').collect();
        let [owner, start, count] = fields.as_slice() else {
            break;
        };
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| {
                VirtError::internal(format_args!(
                    "line {} of a list of subordinate ids: malformed number '{text}'",
                    at + 1
                ))
            })
        };
        all.push(SubIds {
            owner: match owner.bytes().next() {
                Some(byte) if byte.is_ascii_digit() => SubIdOwner::Id(number(owner)?),
                _ => SubIdOwner::Name((*owner).to_owned()),
            },
            start: number(start)?,
            count: number(count)?,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let all = parse("joe:100000:65536\n1000:200000:1\n\nlost:1:1\n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].owner, SubIdOwner::Name("joe".to_owned()));
        assert_eq!(
            (all[1].owner.clone(), all[1].start),
            (SubIdOwner::Id(1000), 200_000)
        );
        assert!(parse("joe:x:1").is_err());
    }
}
