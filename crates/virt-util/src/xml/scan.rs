//! The small parts of markup: attributes, references, runs of text. [`super::tokenize`] checks with them while it reads,
//! [`super::doc`] decodes with them what is asked for later.

use super::chars::{self, is_space};

/// An attribute: where its parts are.
pub(super) struct Scanned {
    pub name_start: usize,
    pub name_len: usize,
    pub prefix_len: u16,
    pub value_start: usize,
    pub value_len: usize,
    pub encoded: bool,
    /// Just behind the closing quote.
    pub end: usize,
}

/// The next ` name = "value"` of `source[at..end]`, or `None` if only white space is left.
pub(super) fn scan_attribute(
    source: &str,
    at: usize,
    end: usize,
) -> Result<Option<Scanned>, (usize, &'static str)> {
    let bytes = source.as_bytes().get(..end).unwrap_or_default();
    let skip = |mut at: usize| {
        while bytes.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        at
    };
    let name_start = skip(at);
    if name_start >= end {
        return Ok(None);
    }
    if name_start == at {
        return Err((at, "white space is missing before an attribute"));
    }
    let mut name_end = name_start;
    while bytes
        .get(name_end)
        .is_some_and(|&byte| chars::is(byte, chars::NAME))
    {
        name_end += 1;
    }
    let plain = bytes.get(name_end) == Some(&b'=')
        && name_end - name_start <= chars::MAX_NAME
        && bytes
            .get(name_start)
            .is_some_and(|&byte| chars::is(byte, chars::LETTER));
    let mut prefix_len = 0;
    if !plain {
        while bytes
            .get(name_end)
            .is_some_and(|&byte| !is_space(byte) && byte != b'=')
        {
            name_end += 1;
        }
        let name = source.get(name_start..name_end).unwrap_or_default();
        prefix_len = chars::check_name(name).map_err(|what| (name_start, what))?;
    }
    let equals = skip(name_end);
    if bytes.get(equals) != Some(&b'=') {
        return Err((equals, "an attribute has no value"));
    }
    let quote_at = skip(equals + 1);
    let quote = match bytes.get(quote_at) {
        Some(&quote @ (b'"' | b'\'')) => quote,
        _ => return Err((quote_at, "the value of an attribute is not in quotes")),
    };
    let value_start = quote_at + 1;
    let mut value_end = value_start;
    let mut encoded = false;
    loop {
        while bytes
            .get(value_end)
            .is_some_and(|&byte| !chars::is(byte, chars::VALUE_STOP))
        {
            value_end += 1;
        }
        match bytes.get(value_end) {
            None => return Err((quote_at, "the value of an attribute is not closed")),
            Some(&byte) if byte == quote => break,
            Some(b'<') => return Err((value_end, "'<' is not allowed in the value of an attribute")),
            Some(b'&') => {
                encoded = true;
                // The longest legal reference is short, so a far `;` need not be looked for.
                let rest = bytes
                    .get(value_end + 1..end.min(value_end + 64))
                    .unwrap_or_default();
                let Some(len) = rest.iter().position(|&byte| byte == b';') else {
                    return Err((
                        value_end,
                        "'&' begins no reference (write &amp; for the character)",
                    ));
                };
                let name = source.get(value_end + 1..value_end + 1 + len).unwrap_or_default();
                chars::resolve_reference(name).map_err(|what| (value_end, what))?;
                value_end += len + 2;
            }
            Some(b'\t' | b'\n' | b'\r') => {
                encoded = true;
                value_end += 1;
            }
            Some(_) => value_end += 1,
        }
    }
    Ok(Some(Scanned {
        name_start,
        name_len: name_end - name_start,
        prefix_len,
        value_start,
        value_len: value_end - value_start,
        encoded,
        end: value_end + 1,
    }))
}

/// Decodes the value of an attribute: references, and white space to blanks.
pub(super) fn decode_attribute(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = if from.starts_with('&') {
            push_reference(&mut out, from)
        } else {
            out.push(' ');
            from.strip_prefix("\r\n")
                .or_else(|| from.get(1..))
                .unwrap_or_default()
        };
    }
    out.push_str(rest);
    out
}

/// Decodes a reference at the start of `from` and gives what follows it. Sources were checked before, so a malformed
/// reference cannot occur; it would be kept as it is.
fn push_reference<'t>(out: &mut String, from: &'t str) -> &'t str {
    let body = from.get(1..).unwrap_or_default();
    if let Some((name, rest)) = body.split_once(';')
        && let Ok(c) = chars::resolve_reference(name)
    {
        out.push(c);
        return rest;
    }
    out.push('&');
    body
}

fn push_text(out: &mut String, mut text: &str) {
    while let Some(at) = text.find('\r') {
        let (before, from) = text.split_at(at);
        out.push_str(before);
        out.push('\n');
        text = from
            .strip_prefix("\r\n")
            .or_else(|| from.get(1..))
            .unwrap_or_default();
    }
    out.push_str(text);
}

/// One run of text: line ends normalized and, with `references`, references decoded.
pub(super) fn text_of_run(run: &str, references: bool) -> String {
    if references {
        return text_of(run);
    }
    let mut out = String::with_capacity(run.len());
    push_text(&mut out, run);
    out
}

/// All text in well-formed content: references and CDATA decoded, tags, comments and instructions left out.
pub(super) fn text_of(content: &str) -> String {
    let mut out = String::new();
    let mut rest = content;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        push_text(&mut out, before);
        rest = if from.starts_with('&') {
            push_reference(&mut out, from)
        } else if let Some(data) = from.strip_prefix("<![CDATA[") {
            let (data, rest) = data.split_once("]]>").unwrap_or((data, ""));
            push_text(&mut out, data);
            rest
        } else {
            skip_markup(from)
        };
    }
    push_text(&mut out, rest);
    out
}

/// What follows the comment, instruction or tag that `from` begins with.
fn skip_markup(from: &str) -> &str {
    if let Some(comment) = from.strip_prefix("<!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    if from.starts_with("<?") {
        return from.split_once("?>").map_or("", |(_, rest)| rest);
    }
    let mut quote = None;
    for (at, byte) in from.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return from.get(at + 1..).unwrap_or_default(),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    ""
}
