//! `auth.conf`: credentials for services, kept by the user.
//!
//! A group `[auth-SERVICE-HOST]` (or `[auth-SERVICE-default]`) names the credentials, a group `[credentials-NAME]` holds them.

use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// A file of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthFile {
    name: String,
    groups: Vec<(String, Vec<(String, String)>)>,
}

impl AuthFile {
    /// Reads the text of a file; `name` is for messages.
    ///
    /// # Errors
    /// `CONF_SYNTAX` with the line.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut file = Self {
            name: name.to_owned(),
            groups: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: &str| file_error(format_args!("{name}:{}: {what}", number + 1));
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(group) = line.strip_prefix('[') {
                let group = group.strip_suffix(']').filter(|group| !group.is_empty());
                let group = group.ok_or_else(|| wrong("expected a group, as in '[credentials-test]'"))?;
                if !file.groups.iter().any(|(known, _)| known == group) {
                    file.groups.push((group.to_owned(), Vec::new()));
                } else {
                    // A group that stands twice goes on.
                    let at = file
                        .groups
                        .iter()
                        .position(|(known, _)| known == group)
                        .unwrap_or(0);
                    let again = file.groups.remove(at);
                    file.groups.push(again);
                }
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
            let value =
                unescape(value.trim_ascii_start()).ok_or_else(|| wrong("unknown escape in the value"))?;
            let (_, values) = file
                .groups
                .last_mut()
                .ok_or_else(|| wrong("expected a group before the first value"))?;
            let key = key.trim_ascii_end();
            values.retain(|(known, _)| known != key);
            values.push((key.to_owned(), value));
        }
        Ok(file)
    }

    fn group(&self, name: &str) -> Option<&[(String, String)]> {
        self.groups
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, values)| values.as_slice())
    }

    /// The credential `credential` (`username`, `password` …) for a service on a host; without a host the service is on this
    /// one. None if the file says nothing of it.
    ///
    /// # Errors
    /// `CONF_SYNTAX` for a service whose credentials are not there.
    pub fn lookup(&self, service: &str, host: Option<&str>, credential: &str) -> Result<Option<&str>> {
        let host = host.unwrap_or("localhost");
        let (wanted, usual) = (
            format!("auth-{service}-{host}"),
            format!("auth-{service}-default"),
        );
        let found = [&wanted, &usual]
            .into_iter()
            .find_map(|name| Some((name, self.group(name)?)));
        let Some((group, values)) = found else {
            return Ok(None);
        };
        let name = value_of(values, "credentials").ok_or_else(|| {
            file_error(format_args!(
                "group '{group}' in '{}' has no 'credentials'",
                self.name
            ))
        })?;
        let values = self.group(&format!("credentials-{name}")).ok_or_else(|| {
            file_error(format_args!(
                "group '{group}' in '{}' refers to a group 'credentials-{name}' that is not there",
                self.name
            ))
        })?;
        Ok(value_of(values, credential))
    }
}

fn file_error(what: std::fmt::Arguments<'_>) -> VirtError {
    VirtError::new(ErrorCode::CONF_SYNTAX, what).in_domain(ErrorDomain::AUTH)
}

fn value_of<'f>(values: &'f [(String, String)], key: &str) -> Option<&'f str> {
    values
        .iter()
        .find(|(known, _)| known == key)
        .map(|(_, value)| value.as_str())
}

/// `\s`, `\n`, `\t`, `\r` and `\\`.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next()? {
                's' => ' ',
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# mine\n[credentials-a]\nusername = fred\npassword=a\\sb \n[auth-esx-default]\ncredentials=a\n\
        [auth-esx-bad]\ncredentials=b\n[auth-esx-worse]\n";

    #[test]
    fn credentials_are_found() {
        let file = AuthFile::parse("auth.conf", FILE).unwrap();
        assert_eq!(file.lookup("esx", Some("any"), "username").unwrap(), Some("fred"));
        assert_eq!(file.lookup("esx", None, "password").unwrap(), Some("a b"));
        assert_eq!(file.lookup("vnc", None, "password").unwrap(), None);
        for host in ["bad", "worse"] {
            let error = file.lookup("esx", Some(host), "username").unwrap_err();
            assert_eq!(error.code(), ErrorCode::CONF_SYNTAX);
        }
        for wrong in ["a=1", "[x", "[x]\na", "[x]\na=\\q"] {
            assert!(AuthFile::parse("f", wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[\\[\\]=a#\\n \\\\\\PC]{0,60}") {
            if let Ok(file) = AuthFile::parse("f", &text) {
                let _ = file.lookup("a", None, "a");
            }
        }
    }
}
