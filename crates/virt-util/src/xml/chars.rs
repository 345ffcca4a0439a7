//! Which characters XML 1.0 allows where, and what references stand for.

/// What each byte is in markup: a set of the constants below. One load decides what to do with nearly every byte.
static CLASSES: [u8; 256] = classes();

/// A letter: a name may begin with it.
pub(super) const LETTER: u8 = 1;
/// An ASCII character inside names, except the colon.
pub(super) const NAME: u8 = 2;
/// Ends a plain stretch of an attribute's value: quotes, `<`, `&`, and white space other than blanks.
pub(super) const VALUE_STOP: u8 = 4;
/// Must be escaped or left out when written.
pub(super) const ESCAPED: u8 = 8;

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let mut class = 0;
        if byte.is_ascii_alphabetic() {
            class |= LETTER;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            class |= NAME;
        }
        if matches!(byte, b'"' | b'\'' | b'<' | b'&' | b'\t' | b'\n' | b'\r') {
            class |= VALUE_STOP;
        }
        if matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'&')
            || (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
        {
            class |= ESCAPED;
        }
        // A constant: an index out of range would not compile.
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[at] = class;
        }
        at += 1;
    }
    table
}

/// Is `byte` of one of the classes?
#[inline]
pub(super) fn is(byte: u8, classes: u8) -> bool {
    CLASSES.get(byte as usize).copied().unwrap_or(0) & classes != 0
}

/// A number that differs for most names of one length: compared before the names themselves.
#[inline]
pub(super) fn name_key(name: &[u8]) -> u32 {
    let byte = |at: usize| u32::from(name.get(at).copied().unwrap_or(0));
    (name.len() as u32 & 0xFF)
        | byte(0) << 8
        | byte(name.len() / 2) << 16
        | byte(name.len().wrapping_sub(1)) << 24
}

/// The bit of [`name_key`] in a set of names that may hold a little too much: what is not in it is certainly absent.
#[inline]
pub(super) fn name_bit(key: u32) -> u64 {
    1 << (key.wrapping_mul(0x9E37_79B1) >> 26)
}

/// May `c` appear in a document at all (production `Char`)?
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The four characters that count as white space in markup.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Is `text` white space only?
pub(super) fn is_blank(text: &str) -> bool {
    text.bytes().all(is_space)
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        'a'..='z' | 'A'..='Z' | '_' | ':'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Is `name` a short word of ASCII letters and digits, as nearly every name is?
pub(super) fn is_plain_name(name: &[u8]) -> bool {
    name.first().is_some_and(|&byte| is(byte, LETTER))
        && name.len() <= MAX_NAME
        && name.iter().all(|&byte| is(byte, NAME))
}

/// What is wrong with `name` as a qualified name, if anything. `Ok` holds the length of the prefix (0 for none).
pub(super) fn check_name(name: &str) -> Result<u16, &'static str> {
    if is_plain_name(name.as_bytes()) {
        return Ok(0);
    }
    let mut colon = None;
    for (at, c) in name.char_indices() {
        let fits = if at == 0 {
            is_name_start(c)
        } else {
            is_name_char(c)
        };
        if !fits {
            return Err("a name holds a character that is not allowed there");
        }
        if c == ':' {
            if colon.is_some() || at == 0 || at + 1 == name.len() {
                return Err("a name holds a misplaced ':'");
            }
            colon = Some(at);
        } else if colon.is_some_and(|colon| colon + 1 == at) && !is_name_start(c) {
            return Err("a name holds a character that is not allowed there");
        }
    }
    if name.is_empty() {
        return Err("a name is missing");
    }
    if name.len() > MAX_NAME {
        return Err("a name is too long");
    }
    Ok(colon.unwrap_or(0) as u16)
}

/// Longest element or attribute name, in bytes.
pub(super) const MAX_NAME: usize = 4096;

/// The character that the reference `&NAME;` stands for; `name` is what is between `&` and `;`.
pub(super) fn resolve_reference(name: &str) -> Result<char, &'static str> {
    match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    let Some(number) = name.strip_prefix('#') else {
        return Err("an entity is not defined (only lt, gt, amp, quot and apos are)");
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err("a character reference is malformed");
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .filter(|&c| is_char(c))
        .ok_or("a character reference names a character that XML does not allow")
}

/// The first character that may not be in a document, as a byte offset.
pub(super) fn find_forbidden(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut base = 0;
    for chunk in bytes.chunks(64) {
        // One branch for 64 bytes: control characters, and 0xEF which begins U+FFFE and U+FFFF.
        let suspicious = chunk
            .iter()
            .fold(false, |seen, &byte| seen | is_control(byte) | (byte == 0xEF));
        if suspicious {
            for offset in base..base + chunk.len() {
                let bad = match bytes.get(offset..) {
                    Some([0xEF, 0xBF, 0xBE | 0xBF, ..]) => true,
                    Some([byte, ..]) => is_control(*byte),
                    _ => false,
                };
                if bad {
                    return Some(offset);
                }
            }
        }
        base += chunk.len();
    }
    None
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r')
}
