//! Connection and other URIs by libvirt's rules: RFC 3986 syntax, a query split into parameters whose order is kept.
//!
//! A scheme names a driver and perhaps a transport (`qemu+ssh`), a path the instance. [`Uri::parse`] takes what
//! libvirt takes; [`Uri::format_params`] writes the query back from the parameters, [`fmt::Display`] the whole URI with
//! the query as it was given.

use std::borrow::Cow;
use std::fmt;

use crate::{ErrorCode, Result, VirtError, bail};

/// One parameter of the query. Case matters in values, not in names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriParam {
    /// The name, decoded.
    pub name: String,
    /// The value, decoded; empty if none was given.
    pub value: String,
    /// Left out by [`Uri::format_params`]: a layer has used it up.
    pub ignore: bool,
}

/// A URI in its parts. Parts are decoded, except for [`Uri::query`].
///
/// ```
/// use virt_util::uri::Uri;
///
/// let uri = Uri::parse("qemu+ssh://root@example.com:2222/system?keyfile=%2Fk&no_verify=1")?;
/// assert_eq!((uri.driver(), uri.transport()), (Some("qemu"), Some("ssh")));
/// assert_eq!((uri.server.as_deref(), uri.port, uri.path.as_str()), (Some("example.com"), 2222, "/system"));
/// assert_eq!(uri.param("KeyFile"), Some("/k"));
/// # Ok::<(), virt_util::VirtError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// What is before the first colon, as written.
    pub scheme: Option<String>,
    /// The user before `@`.
    pub user: Option<String>,
    /// The host, an IPv6 address without its brackets; `None` if absent or empty.
    pub server: Option<String>,
    /// The port, 0 if none was given.
    pub port: u16,
    /// The path, empty if there is none.
    pub path: String,
    /// The query as written, without the question mark.
    pub query: Option<String>,
    /// What is behind `#`.
    pub fragment: Option<String>,
    /// The query's parameters in order.
    pub params: Vec<UriParam>,
}

/// Longer texts are refused: no real URI comes near, and every part is kept in memory twice.
pub const LENGTH_MAX: usize = 64 * 1024;

impl Uri {
    /// Parses a URI or a relative reference (a path alone). Errors are `VIR_ERR_INTERNAL_ERROR` as in libvirt.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > LENGTH_MAX {
            bail!(
                ErrorCode::INVALID_ARG,
                "URI of {} bytes, at most {LENGTH_MAX} allowed",
                text.len()
            );
        }
        Self::parse_parts(text).ok_or_else(|| VirtError::internal(format_args!("'{text}' is no URI")))
    }

    /// Whether the URI may lead to another host although it names none: it has a socket of its own, which may be a tunnel.
    pub fn has_own_socket(&self) -> bool {
        let scheme = self.scheme.as_deref().unwrap_or_default();
        let unix = scheme
            .split_once('+')
            .is_some_and(|(_, transport)| transport == "unix");
        unix && self
            .params
            .iter()
            .any(|param| param.name.eq_ignore_ascii_case("socket"))
    }

    /// Checks the URI of the host that a guest shall migrate to: it must not be this one.
    ///
    /// # Errors
    /// `INVALID_ARG`.
    pub fn check_not_local(&self) -> Result<()> {
        let local = match &self.server {
            Some(server) => server.starts_with("localhost"),
            None => !self.has_own_socket(),
        };
        if local {
            bail!(
                ErrorCode::INVALID_ARG,
                "attempt to migrate guest to the same host: URI '{self}'"
            );
        }
        Ok(())
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let mut uri = Self::default();
        let (scheme, rest) = split_scheme(text);
        uri.scheme = scheme.map(str::to_owned);
        let (rest, fragment) = split_at(rest, '#');
        let (rest, query) = split_at(rest, '?');
        let path = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                uri.parse_authority(authority)?;
                path
            }
            None => rest,
        };
        // Without a scheme, a colon in the first segment would have been a scheme.
        let first_segment = path.split('/').next().unwrap_or_default();
        if uri.scheme.is_none() && !path.starts_with('/') && first_segment.contains(':') {
            return None;
        }
        uri.path = decode(checked(path, |c| is_pchar(c) || c == '/')?)?;
        if let Some(query) = query {
            checked(query, |c| is_pchar(c) || matches!(c, '/' | '?'))?;
            uri.params = parse_params(query)?;
            uri.query = Some(query.to_owned());
        }
        if let Some(fragment) = fragment {
            let fragment = checked(fragment, |c| is_pchar(c) || matches!(c, '/' | '?' | '[' | ']'))?;
            uri.fragment = Some(decode(fragment)?);
        }
        Some(uri)
    }

    fn parse_authority(&mut self, authority: &str) -> Option<()> {
        let host_port = match authority.split_once('@') {
            Some((user, rest)) => {
                self.user = Some(decode(checked(user, |c| {
                    is_unreserved(c) || is_sub_delim(c) || c == ':'
                })?)?);
                rest
            }
            None => authority,
        };
        let (host, port) = if host_port.starts_with('[') {
            let end = host_port.find(']')?;
            let (host, rest) = host_port.split_at(end + 1);
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':')?)),
            }
        } else {
            match host_port.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host_port, None),
            }
        };
        let host = match strip_ipv6_brackets(host) {
            stripped if stripped.len() < host.len() => {
                checked(stripped, |c| is_unreserved(c) || is_sub_delim(c) || c == ':')?.to_owned()
            }
            host => decode(checked(host, |c| is_unreserved(c) || is_sub_delim(c))?)?,
        };
        self.server = (!host.is_empty()).then_some(host);
        if let Some(port) = port {
            if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let port: u16 = port.parse().ok()?;
            // A port of nobody has no meaning; libvirt drops it too.
            self.port = if self.server.is_some() { port } else { 0 };
        }
        Some(())
    }

    /// The part of the scheme before `+`: names the driver.
    pub fn driver(&self) -> Option<&str> {
        let scheme = self.scheme.as_deref()?;
        Some(scheme.split_once('+').map_or(scheme, |(driver, _)| driver))
    }

    /// The part of the scheme behind `+`: names the transport.
    pub fn transport(&self) -> Option<&str> {
        Some(self.scheme.as_deref()?.split_once('+')?.1)
    }

    /// The value of the first parameter of that name, whatever its case.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|param| param.name.eq_ignore_ascii_case(name))
            .map(|param| param.value.as_str())
    }

    /// Whether the URI looks local and may yet lead to another host: it names a socket of its own.
    pub fn names_unix_socket(&self) -> bool {
        self.transport() == Some("unix") && self.param("socket").is_some()
    }

    /// Appends a parameter.
    pub fn push_param(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.params.push(UriParam {
            name: name.into(),
            value: value.into(),
            ignore: false,
        });
    }

    /// The query made of the parameters that no layer has used up; empty if there are none.
    pub fn format_params(&self) -> String {
        let mut out = String::new();
        for param in self.params.iter().filter(|param| !param.ignore) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&param.name);
            out.push('=');
            encode_into(&mut out, &param.value, is_unreserved_strict);
        }
        out
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}:")?;
        }
        let has_authority = self.server.is_some() || self.user.is_some() || self.port != 0;
        // `scheme:///path` is how every libvirt URI without a server is written.
        let path_needs_it = self.path.starts_with("//");
        if has_authority || path_needs_it || (self.scheme.is_some() && self.path.starts_with('/')) {
            f.write_str("//")?;
        }
        if let Some(user) = &self.user {
            f.write_str(&encode(user, |c| {
                is_unreserved(c) || matches!(c, ';' | ':' | '&' | '=' | '+' | '$' | ',')
            }))?;
            f.write_str("@")?;
        }
        match &self.server {
            Some(server) if server.contains(':') && server.chars().all(|c| is_unreserved(c) || c == ':') => {
                write!(f, "[{server}]")?;
            }
            // Decoded when read, so what no host name has must be encoded again.
            Some(server) => f.write_str(&encode(server, |c| {
                is_unreserved(c) || matches!(c, ';' | '&' | '=' | '+' | '$' | ',')
            }))?,
            None => {}
        }
        if self.port != 0 {
            write!(f, ":{}", self.port)?;
        }
        // A colon in the first part of a path that nothing stands before would end a scheme.
        let may_have_colon = self.scheme.is_some() || has_authority || self.path.starts_with('/');
        f.write_str(&encode(&self.path, |c| {
            is_unreserved(c)
                || matches!(c, '/' | ';' | '@' | '&' | '=' | '+' | '$' | ',')
                || (c == ':' && may_have_colon)
        }))?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if let Some(fragment) = &self.fragment {
            let fragment = encode(fragment, |c| {
                is_unreserved(c) || is_sub_delim(c) || matches!(c, '/' | '?' | ':' | '@' | '[' | ']')
            });
            write!(f, "#{fragment}")?;
        }
        Ok(())
    }
}

/// Takes the brackets off an IPv6 address; any other text is returned as it is.
pub fn strip_ipv6_brackets(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) if address.contains(':') => address,
        _ => host,
    }
}

/// What an alias of a URI may consist of.
pub fn is_alias(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Looks `alias` up in entries `alias=uri`, libvirt's `uri_aliases`. A malformed entry before the match is
/// `VIR_ERR_CONF_SYNTAX`.
pub fn resolve_alias<'a>(aliases: &'a [String], alias: &str) -> Result<Option<&'a str>> {
    for entry in aliases {
        let Some((name, uri)) = entry.split_once('=') else {
            bail!(
                ErrorCode::CONF_SYNTAX,
                "uri_aliases has '{entry}': expected 'ALIAS=URI'"
            );
        };
        if !name.is_empty() && !is_alias(name) {
            bail!(
                ErrorCode::CONF_SYNTAX,
                "Malformed 'uri_aliases' config entry '{entry}', an alias may only hold letters, digits, '_' and '-'"
            );
        }
        if name == alias {
            return Ok(Some(uri));
        }
    }
    Ok(None)
}

fn split_scheme(text: &str) -> (Option<&str>, &str) {
    let Some((scheme, rest)) = text.split_once(':') else {
        return (None, text);
    };
    let mut bytes = scheme.bytes();
    let valid = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if valid { (Some(scheme), rest) } else { (None, text) }
}

fn split_at(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

/// `&` parts parameters; `;` does only where no `&` follows. A part without a name is passed over.
fn parse_params(mut query: &str) -> Option<Vec<UriParam>> {
    let mut params = Vec::new();
    while !query.is_empty() {
        let (part, rest) = query
            .split_once('&')
            .or_else(|| query.split_once(';'))
            .unwrap_or((query, ""));
        query = rest;
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name.is_empty() {
            continue;
        }
        params.push(UriParam {
            name: decode(name)?,
            value: decode(value)?,
            ignore: false,
        });
    }
    Some(params)
}

fn is_unreserved_strict(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')
}

/// Unreserved by the older RFC 2396, which has a few more marks.
fn is_unreserved(c: char) -> bool {
    is_unreserved_strict(c) || matches!(c, '!' | '*' | '\'' | '(' | ')')
}

fn is_sub_delim(c: char) -> bool {
    matches!(
        c,
        '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '='
    )
}

fn is_pchar(c: char) -> bool {
    is_unreserved(c) || is_sub_delim(c) || matches!(c, ':' | '@')
}

/// `text` if it holds only characters that `allowed` takes and well-formed percent codes.
fn checked(text: &str, allowed: impl Fn(char) -> bool) -> Option<&str> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let good = match c {
            '%' => {
                chars.next().is_some_and(|c| c.is_ascii_hexdigit())
                    && chars.next().is_some_and(|c| c.is_ascii_hexdigit())
            }
            c => allowed(c),
        };
        if !good {
            return None;
        }
    }
    Some(text)
}

/// Undoes percent codes. `None` if the result is not UTF-8 or holds a NUL, which no C peer could take.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    if out.contains(&0) {
        return None;
    }
    String::from_utf8(out).ok()
}

fn encode(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    encode_into(&mut out, text, keep);
    Cow::Owned(out)
}

fn encode_into(out: &mut String, text: &str, keep: impl Fn(char) -> bool) {
    use fmt::Write as _;
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii() && keep(c) {
            out.push(c);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Checks the path of a connection URI for a driver of this host: `/system` for a privileged daemon, `/session` for a user's.
/// Some drivers always let root open `/session`.
///
/// # Errors
/// `INTERNAL_ERROR`, as in libvirt, with the path that would be right.
pub fn check_driver_path(driver: &str, path: &str, privileged: bool) -> Result<()> {
    let right = if privileged { "/system" } else { "/session" };
    let root_session = privileged && path == "/session" && matches!(driver, "qemu" | "vbox");
    if path == right || root_session {
        return Ok(());
    }
    Err(VirtError::internal(format_args!(
        "unexpected {driver} URI path '{path}', try {driver}://{right}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_found() {
        let uri = Uri::parse("spice://u@[3ffe::104]:5900/a%20b?x=1&&=y&z#f").unwrap();
        assert_eq!(uri.scheme.as_deref(), Some("spice"));
        assert_eq!(uri.user.as_deref(), Some("u"));
        assert_eq!((uri.server.as_deref(), uri.port), (Some("3ffe::104"), 5900));
        assert_eq!(uri.path, "/a b");
        assert_eq!(uri.fragment.as_deref(), Some("f"));
        let params: Vec<_> = uri
            .params
            .iter()
            .map(|p| (p.name.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(params, [("x", "1"), ("z", "")]);
        assert_eq!(uri.to_string(), "spice://u@[3ffe::104]:5900/a%20b?x=1&&=y&z#f");
    }

    #[test]
    fn urls_without_a_server_keep_their_slashes() {
        for text in [
            "qemu:///system",
            "test:///default",
            "/a/b",
            "vbox:///session?x=%2F",
            "test://h",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_semicolon_parts_only_behind_the_last_ampersand() {
        let uri = Uri::parse("t:///?a=1;b=2&c=3;d=4").unwrap();
        assert_eq!(uri.format_params(), "a=1%3Bb%3D2&c=3&d=4");
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            "test://h:/",
            "test://h:x/",
            "test://[::1/",
            "test://h:70000/",
            "test:///%zz",
            "test:///a b",
            "a b",
            "1x:y",
            "test:///\u{e4}",
            "test:///%00",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn aliases_are_looked_up() {
        let aliases = ["hail=qemu+ssh://root@hail/system".to_owned(), "b d=x".to_owned()];
        assert_eq!(
            resolve_alias(&aliases, "hail").unwrap(),
            Some("qemu+ssh://root@hail/system")
        );
        assert_eq!(
            resolve_alias(&aliases, "x").unwrap_err().code(),
            ErrorCode::CONF_SYNTAX
        );
        assert_eq!(resolve_alias(&[], "x").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
            let _ = Uri::parse(&text);
        }

        #[test]
        fn what_was_parsed_is_parsed_again(text in "[a-z]{1,4}:(//([a-z]{1,3}@)?[a-z]{0,4}(:[0-9]{1,4})?)?(/[a-z%20]{0,6})?(\\?[a-z=&;]{0,9})?(#[a-z]{0,3})?") {
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert_eq!(Uri::parse(&uri.to_string()).unwrap(), uri);
            }
        }
    }
}
