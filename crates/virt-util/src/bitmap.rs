//! Sets of small numbers (CPUs, nodes, ports) and libvirt's text form of them: `0-3,^2,8`.

use std::fmt;

use crate::{ErrorCode, Result, VirtError, bail};

/// The largest number a set without a given size can hold is one less. libvirt has no limit here and allocates
/// whatever a text asks for.
pub const BITS_MAX: usize = 1 << 20;

const WORD: usize = 64;

/// A set of numbers below [`Bitmap::size`].
///
/// ```
/// use virt_util::bitmap::Bitmap;
///
/// let cpus = Bitmap::parse("0-3,^2,8", 16)?;
/// assert_eq!(cpus.to_string(), "0-1,3,8");
/// assert_eq!(cpus.iter().collect::<Vec<_>>(), [0, 1, 3, 8]);
/// # Ok::<(), virt_util::VirtError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bitmap {
    words: Vec<u64>,
    size: usize,
}

impl Bitmap {
    /// An empty set of numbers below `size`.
    pub fn new(size: usize) -> Self {
        Self {
            words: vec![0; size.div_ceil(WORD)],
            size,
        }
    }

    /// Parses a list of numbers, ranges and `^`exclusions, each applied to what stands before it. A number not below
    /// `size`, an empty text and any other text are `VIR_ERR_INVALID_ARG`.
    pub fn parse(text: &str, size: usize) -> Result<Self> {
        let mut set = Self::new(size);
        set.parse_into(text, false)?;
        Ok(set)
    }

    /// [`Bitmap::parse`] into a set as large as the text asks for, at most [`BITS_MAX`].
    pub fn parse_growing(text: &str) -> Result<Self> {
        let mut set = Self::new(0);
        set.parse_into(text, true)?;
        Ok(set)
    }

    /// [`Bitmap::parse_growing`] where an empty text means the empty set.
    pub fn parse_growing_or_empty(text: &str) -> Result<Self> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::new(0));
        }
        Self::parse_growing(text)
    }

    fn parse_into(&mut self, text: &str, grow: bool) -> Result<()> {
        let failed = || {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("'{text}': expected numbers and ranges as 0-3,^2,7"),
            )
        };
        let limit = if grow { BITS_MAX } else { self.size };
        let mut rest = skip_spaces(text);
        if rest.is_empty() {
            return Err(failed());
        }
        while !rest.is_empty() {
            let (exclude, number) = match rest.strip_prefix('^') {
                Some(behind) => (true, behind),
                None => (false, rest),
            };
            let (first, behind) = take_number(number).ok_or_else(failed)?;
            rest = skip_spaces(behind);
            let mut last = first;
            if let Some(behind) = rest.strip_prefix('-') {
                if exclude {
                    return Err(failed());
                }
                let (end, behind) = take_number(skip_spaces(behind)).ok_or_else(failed)?;
                last = end;
                rest = skip_spaces(behind);
            }
            if last < first || last >= limit {
                return Err(failed());
            }
            if grow && last >= self.size {
                self.grow(last + 1);
            }
            if exclude {
                self.clear(first);
            } else {
                (first..=last).for_each(|bit| self.set(bit));
            }
            match rest.strip_prefix(',') {
                Some(behind) => rest = skip_spaces(behind),
                None if rest.is_empty() => {}
                None => return Err(failed()),
            }
        }
        Ok(())
    }

    /// From bytes as the API has them: bit 0 is the lowest of the first byte.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::new(bytes.len() * 8);
        for (word, chunk) in set.words.iter_mut().zip(bytes.chunks(8)) {
            for (index, byte) in chunk.iter().enumerate() {
                *word |= u64::from(*byte) << (8 * index);
            }
        }
        set
    }

    /// As bytes, just enough for the highest number in the set (at least one).
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = self.last().map_or(1, |last| last / 8 + 1);
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(length, 0);
        bytes
    }

    /// From hexadecimal digits, the last of which holds the numbers 0 to 3.
    pub fn from_hex(text: &str) -> Result<Self> {
        if text.len() > BITS_MAX / 4 {
            bail!(
                ErrorCode::INVALID_ARG,
                "hexadecimal string of {} digits, at most {} allowed",
                text.len(),
                BITS_MAX / 4
            );
        }
        let mut set = Self::new(text.len() * 4);
        for (index, c) in text.chars().rev().enumerate() {
            let Some(nibble) = c.to_digit(16) else {
                bail!(ErrorCode::INVALID_ARG, "'{text}': expected hexadecimal digits");
            };
            if let Some(word) = set.words.get_mut(index * 4 / WORD) {
                *word |= u64::from(nibble) << (index * 4 % WORD);
            }
        }
        Ok(set)
    }

    /// As hexadecimal digits, one for each four numbers of [`Bitmap::size`].
    pub fn to_hex(&self) -> String {
        use fmt::Write as _;
        let mut out = String::new();
        for word in self.words.iter().rev() {
            let _ = write!(out, "{word:016x}");
        }
        out.split_off(out.len() - self.size.div_ceil(4))
    }

    /// One more than the largest number the set may hold.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Raises [`Bitmap::size`].
    pub fn grow(&mut self, size: usize) {
        if size > self.size {
            self.size = size;
            self.words.resize(size.div_ceil(WORD), 0);
        }
    }

    /// Puts `bit` in; no effect on a number that is too large.
    pub fn set(&mut self, bit: usize) {
        if bit < self.size
            && let Some(word) = self.words.get_mut(bit / WORD)
        {
            *word |= 1 << (bit % WORD);
        }
    }

    /// Takes `bit` out.
    pub fn clear(&mut self, bit: usize) {
        if let Some(word) = self.words.get_mut(bit / WORD) {
            *word &= !(1 << (bit % WORD));
        }
    }

    /// Puts all numbers in.
    pub fn set_all(&mut self) {
        (0..self.size).for_each(|bit| self.set(bit));
    }

    /// Takes all numbers out.
    pub fn clear_all(&mut self) {
        self.words.fill(0);
    }

    /// Whether `bit` is in the set.
    pub fn contains(&self, bit: usize) -> bool {
        self.words
            .get(bit / WORD)
            .is_some_and(|word| word >> (bit % WORD) & 1 == 1)
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether every number below [`Bitmap::size`] is in the set.
    pub fn is_full(&self) -> bool {
        self.count() == self.size
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                Some(index * WORD + bit)
            })
        })
    }

    /// The smallest number.
    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// The largest number.
    pub fn last(&self) -> Option<usize> {
        let (index, word) = self
            .words
            .iter()
            .enumerate()
            .rev()
            .find(|(_, word)| **word != 0)?;
        Some(index * WORD + WORD - 1 - word.leading_zeros() as usize)
    }

    /// The smallest number that is not in the set and below [`Bitmap::size`].
    pub fn first_clear(&self) -> Option<usize> {
        (0..self.size).find(|bit| !self.contains(*bit))
    }

    /// Keeps what is in both.
    pub fn intersect(&mut self, other: &Self) {
        for (index, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(index).copied().unwrap_or(0);
        }
    }

    /// Adds what is in `other`; grows if need be.
    pub fn union(&mut self, other: &Self) {
        self.grow(other.size);
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word |= theirs;
        }
    }

    /// Takes out what is in `other`.
    pub fn subtract(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word &= !theirs;
        }
    }

    /// Whether the sets have a number in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }
}

/// Two sets are equal if they hold the same numbers, whatever their sizes.
impl PartialEq for Bitmap {
    fn eq(&self, other: &Self) -> bool {
        let length = self.words.len().max(other.words.len());
        (0..length).all(|index| {
            self.words.get(index).copied().unwrap_or(0) == other.words.get(index).copied().unwrap_or(0)
        })
    }
}

impl Eq for Bitmap {}

impl fmt::Display for Bitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut bits = self.iter().peekable();
        while let Some(start) = bits.next() {
            let mut end = start;
            while let Some(next) = bits.next_if_eq(&(end + 1)) {
                end = next;
            }
            write!(f, "{separator}{start}")?;
            if end > start {
                write!(f, "-{end}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl Extend<usize> for Bitmap {
    /// Puts numbers in, growing up to [`BITS_MAX`]; larger ones are passed over.
    fn extend<T: IntoIterator<Item = usize>>(&mut self, bits: T) {
        for bit in bits {
            if bit < BITS_MAX {
                self.grow(bit + 1);
            }
            self.set(bit);
        }
    }
}

impl FromIterator<usize> for Bitmap {
    fn from_iter<T: IntoIterator<Item = usize>>(bits: T) -> Self {
        let mut set = Self::new(0);
        set.extend(bits);
        set
    }
}

fn skip_spaces(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

/// A decimal number (as far as an `int` reaches) and what follows it.
fn take_number(text: &str) -> Option<(usize, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number: i32 = digits.parse().ok()?;
    Some((usize::try_from(number).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn lists_are_read_in_order() {
        assert_eq!(
            Bitmap::parse("0-3,^2, 5 - 6 ,5", 8).unwrap().to_string(),
            "0-1,3,5-6"
        );
        assert_eq!(Bitmap::parse("^1,0-3", 8).unwrap().to_string(), "0-3");
        assert_eq!(Bitmap::parse_growing("4096").unwrap().size(), 4097);
        assert!(Bitmap::parse_growing_or_empty(" ").unwrap().is_empty());
        assert_eq!(Bitmap::parse("1,", 4).unwrap().to_string(), "1");
    }

    #[test]
    fn bad_lists_are_refused() {
        for text in [
            "",
            " ",
            "a",
            "-1",
            "3-1",
            "^1-2",
            "1 2",
            "8",
            "0-8",
            "1-1000000000",
            "99999999999",
            ",1",
            "1-",
        ] {
            assert_eq!(
                Bitmap::parse(text, 8).unwrap_err().code(),
                ErrorCode::INVALID_ARG,
                "{text}"
            );
        }
        assert!(Bitmap::parse_growing("0-2147483647").is_err());
    }

    #[test]
    fn bytes_hold_no_more_than_needed() {
        let set: Bitmap = [0, 9].into_iter().collect();
        assert_eq!(set.to_bytes(), [1, 2]);
        assert_eq!(Bitmap::from_bytes(&[1, 2, 0]), set);
        assert_eq!(Bitmap::new(64).to_bytes(), [0]);
    }

    proptest! {
        #[test]
        fn acts_like_a_set(numbers in proptest::collection::btree_set(0usize..300, 0..40)) {
            let set: Bitmap = numbers.iter().copied().collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), numbers.clone());
            prop_assert_eq!(set.count(), numbers.len());
            prop_assert_eq!(set.last(), numbers.last().copied());
            prop_assert_eq!(&Bitmap::parse_growing_or_empty(&set.to_string()).unwrap(), &set);
            prop_assert_eq!(&Bitmap::from_bytes(&set.to_bytes()), &set);
            prop_assert_eq!(&Bitmap::from_hex(&set.to_hex()).unwrap(), &set);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[0-9,^ a-]{0,30}") {
            let _ = Bitmap::parse(&text, 64);
            let _ = Bitmap::parse_growing(&text);
        }
    }
}
