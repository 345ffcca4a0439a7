//! What the programs that come with a database library print of a database: pairs of keys and values as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The library that a database file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Berkeley DB, by which most distributions build the Cyrus library.
    BerkeleyDb,
    /// GDBM, by which newer ones do.
    Gdbm,
}

/// One entry of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What it is found by.
    pub key: Vec<u8>,
    /// What is kept under it.
    pub value: Vec<u8>,
}

impl Format {
    /// The library by how its files begin.
    pub fn of(start: &[u8]) -> Option<Self> {
        let number = |at: usize| -> Option<[u8; 4]> { start.get(at..at + 4)?.try_into().ok() };
        // Either byte order: the file may come from another machine.
        let either = |bytes: [u8; 4], wanted: fn(u32) -> bool| {
            wanted(u32::from_le_bytes(bytes)) || wanted(u32::from_be_bytes(bytes))
        };
        // Tables by hash and by tree.
        if number(12).is_some_and(|bytes| either(bytes, |magic| matches!(magic, 0x0006_1561 | 0x0005_3162))) {
            return Some(Self::BerkeleyDb);
        }
        number(0)
            .is_some_and(|bytes| either(bytes, |magic| (0x1357_9acd..=0x1357_9ad1).contains(&magic)))
            .then_some(Self::Gdbm)
    }

    /// The library's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BerkeleyDb => "Berkeley DB",
            Self::Gdbm => "GDBM",
        }
    }

    /// The programs that print its files, the usual one first.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::BerkeleyDb => &["db_dump", "db5.3_dump"],
            Self::Gdbm => &["gdbm_dump"],
        }
    }

    /// What to install where there is none of them.
    pub fn packages(self) -> &'static str {
        match self {
            Self::BerkeleyDb => "install db-util (Debian) or libdb-utils (Fedora)",
            Self::Gdbm => "install gdbmtool (Debian) or gdbm (Fedora)",
        }
    }

    /// The words behind the program's name that have `file` printed.
    pub fn arguments(self, file: &str) -> Vec<String> {
        match self {
            Self::BerkeleyDb => vec![file.to_owned()],
            Self::Gdbm => vec!["--format=ascii".to_owned(), file.to_owned(), "-".to_owned()],
        }
    }

    /// Reads what was printed.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(self, text: &str) -> Result<Vec<Pair>, String> {
        match self {
            Self::BerkeleyDb => berkeley_db(text),
            Self::Gdbm => gdbm(text),
        }
    }
}

/// Keys and values in turn.
#[derive(Default)]
struct Pairs {
    key: Option<Vec<u8>>,
    pairs: Vec<Pair>,
}

impl Pairs {
    fn push(&mut self, bytes: Vec<u8>) {
        match self.key.take() {
            None => self.key = Some(bytes),
            Some(key) => self.pairs.push(Pair { key, value: bytes }),
        }
    }

    fn end(self) -> Result<Vec<Pair>, String> {
        match self.key {
            None => Ok(self.pairs),
            Some(_) => Err("the last key has no value".to_owned()),
        }
    }
}

/// A head up to `HEADER=END`, then a line for each key and value: a blank and hexadecimal digits; then `DATA=END`.
fn berkeley_db(text: &str) -> Result<Vec<Pair>, String> {
    let mut pairs = Pairs::default();
    let mut lines = (1_usize..).zip(text.lines());
    let mut head = lines.by_ref().take_while(|(_, line)| *line != "HEADER=END");
    if head.any(|(_, line)| line == "format=print") {
        return Err("printed as characters, expected bytes".to_owned());
    }
    for (number, line) in lines {
        if line == "DATA=END" {
            return pairs.end();
        }
        let digits = line
            .strip_prefix(' ')
            .ok_or_else(|| format!("line {number}: no blank at its beginning"))?;
        let bytes = hexadecimal(digits).ok_or_else(|| format!("line {number}: no hexadecimal digits"))?;
        pairs.push(bytes);
    }
    Err("the end is missing".to_owned())
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    for pair in digits.as_bytes().chunks(2) {
        let &[high, low] = pair else { return None };
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
    }
    Some(bytes)
}

/// Lines that begin with `#` are about the file, `#:len=N` about the key or value that follows, in lines of base 64.
fn gdbm(text: &str) -> Result<Vec<Pair>, String> {
    let mut pairs = Pairs::default();
    let mut collected: Option<(usize, String)> = None;
    for (number, line) in (1_usize..).zip(text.lines()) {
        if !line.starts_with('#') {
            let (_, digits) = collected
                .as_mut()
                .ok_or_else(|| format!("line {number}: data without a length"))?;
            digits.push_str(line.trim_ascii());
            continue;
        }
        if let Some((length, digits)) = collected.take() {
            let bytes = BASE64
                .decode(&digits)
                .ok()
                .filter(|bytes| bytes.len() == length)
                .ok_or_else(|| format!("line {number}: what stands before it is not {length} bytes"))?;
            pairs.push(bytes);
        }
        if let Some(length) = line.strip_prefix("#:len=") {
            let length = length
                .parse()
                .map_err(|_| format!("line {number}: '{length}' is no length"))?;
            collected = Some((length, String::new()));
        } else if line == "# End of data" {
            return pairs.end();
        }
    }
    Err("the end is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(key: &str, value: &str) -> Pair {
        Pair {
            key: key.into(),
            value: value.into(),
        }
    }

    #[test]
    fn both_libraries_say_the_same() {
        let berkeley = "VERSION=3\nformat=bytevalue\ntype=hash\nh_nelem=1\ndb_pagesize=4096\nHEADER=END\n \
                        66726564006800757365725061737377\n 70\n 61\n \nDATA=END\n";
        let gdbm = "# GDBM dump file\n#:version=1.1\n#:format=standard\n# End of header\n#:len=16\nZnJlZABoAHVz\n\
                    ZXJQYXNzdw==\n#:len=1\ncA==\n#:len=1\nYQ==\n#:len=0\n#:count=2\n# End of data\n";
        let wanted = vec![pair("fred\0h\0userPassw", "p"), pair("a", "")];
        assert_eq!(Format::BerkeleyDb.parse(berkeley).unwrap(), wanted);
        assert_eq!(Format::Gdbm.parse(gdbm).unwrap(), wanted);
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_refused() {
        for text in [
            "",
            "HEADER=END\n",
            "HEADER=END\n 61\n",
            "HEADER=END\n 61\nDATA=END\n",
            "HEADER=END\n 6\n 61\nDATA=END\n",
            "HEADER=END\n61\n 61\nDATA=END\n",
            "HEADER=END\n zz\n 61\nDATA=END\n",
            "format=print\nHEADER=END\n a\n b\nDATA=END\n",
        ] {
            assert!(Format::BerkeleyDb.parse(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "# End of header\nYQ==\n# End of data\n",
            "#:len=2\nYQ==\n#:len=1\nYQ==\n# End of data\n",
            "#:len=1\nYQ==\n# End of data\n",
            "#:len=x\nYQ==\n# End of data\n",
            "#:len=1\nYQ==\n#:len=1\nYQ==\n",
        ] {
            assert!(Format::Gdbm.parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn files_are_known_by_how_they_begin() {
        let mut berkeley = vec![0; 12];
        berkeley.extend(0x0006_1561_u32.to_be_bytes());
        assert_eq!(Format::of(&berkeley), Some(Format::BerkeleyDb));
        assert_eq!(Format::of(&0x1357_9acf_u32.to_le_bytes()), Some(Format::Gdbm));
        assert_eq!(Format::of(b"SQLite format 3\0"), None);
        assert_eq!(Format::of(b""), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in "(HEADER=END\\n)?[ #:len=0-9a-fDATAEN\\n]{0,120}") {
            let _ = Format::BerkeleyDb.parse(&text);
            let _ = Format::Gdbm.parse(&text);
        }
    }
}
