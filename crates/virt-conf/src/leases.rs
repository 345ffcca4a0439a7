//! DHCP leases on disk (`BRIDGE.status`), and the host names that libvirt's two modules for the name service make of them.
//!
//! A lease file is a JSON array of [`Lease`]s. [`addresses_of`] is what `libnss_libvirt` and `libnss_libvirt_guest` answer,
//! from files' contents alone: whoever asks reads the files and says what time it is. Both read JSON as json-c does, whose
//! values turn into each other: a number is the text that it is written as, and a text the number that it begins with.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use virt_util::json::Json;
use virt_util::{ErrorCode, Result, VirtError, ip};

use crate::mac_map::MacMap;

/// Largest file that is read, in bytes.
pub const FILE_MAX: u64 = 32 * 1024 * 1024;

/// An address that a guest has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// Identity association of DHCPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iaid: Option<String>,
    /// The address.
    pub ip_address: String,
    /// The guest's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// The name that the guest gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The guest's DHCP identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The server's DHCPv6 identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_duid: Option<String>,
    /// When it ends, in seconds since 1970; 0: never.
    pub expiry_time: i64,
}

/// Reads a lease file. An empty one holds no lease.
///
/// # Errors
/// `INTERNAL_ERROR` for what is no array of leases.
pub fn parse(text: &str) -> Result<Vec<Lease>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(|error| wrong("lease file", &error))
}

/// Writes a lease file.
pub fn format(leases: &[Lease]) -> String {
    to_json(&leases)
}

/// The leases in the form in which dnsmasq takes them back when it starts: those of IPv4, then, behind the server's
/// identifier, those of IPv6.
pub fn to_dnsmasq(leases: &[Lease], server_duid: Option<&str>) -> String {
    let word = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
    let line = |lease: &Lease, id: &Option<String>| {
        format!(
            "{} {} {} {} {}\n",
            lease.expiry_time,
            word(id, "(null)"),
            lease.ip_address,
            word(&lease.hostname, "*"),
            word(&lease.client_id, "*")
        )
    };
    let (v6, v4): (Vec<&Lease>, Vec<&Lease>) =
        leases.iter().partition(|lease| lease.ip_address.contains(':'));
    let mut out: String = v4.iter().map(|lease| line(lease, &lease.mac_address)).collect();
    if let Some(duid) = server_duid {
        out.push_str(&format!("duid {duid}\n"));
        out.extend(v6.iter().map(|lease| line(lease, &lease.iaid)));
    }
    out
}

/// Which name a host is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// The name that the guest gave when it asked for an address: `libnss_libvirt`.
    Host,
    /// The name of the guest itself, through the MAC addresses of its interfaces: `libnss_libvirt_guest`.
    Guest,
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Any; where only one family can be told, IPv4 is.
    Unspecified,
}

/// A file of leases or MAC addresses, as far as the name service is concerned.
#[derive(Clone, Copy, Debug)]
pub struct NameFile<'a> {
    /// Its name: `….status` are leases, `….macs` are MAC addresses, others are passed over.
    pub name: &'a str,
    /// What it holds.
    pub content: &'a str,
}

/// What the name service knows of a name, as its modules tell the C library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing: other modules are asked.
    #[default]
    NotFound,
    /// Addresses.
    Found,
    /// Addresses of the other family only.
    NoData,
    /// Nothing, because there is nothing to look in: a guest of whose interfaces no file tells. A file that is not what it
    /// should be comes to the same.
    Unavailable,
}

/// An answer of the name service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What is known.
    pub status: Status,
    /// The addresses, those that end last in front.
    pub addresses: Vec<IpAddr>,
}

/// The addresses of a name in the files of a folder, at a time in seconds since 1970. Names are the same in any case.
///
/// # Errors
/// `INTERNAL_ERROR` for files that are not what they should be: the name service then answers nothing.
pub fn addresses_of(
    name: &str,
    name_of: NameOf,
    family: Family,
    files: &[NameFile<'_>],
    now: u64,
) -> Result<Answer> {
    let with_suffix = |suffix: &'static str| files.iter().filter(move |file| file.name.ends_with(suffix));
    let mut macs = None;
    if name_of == NameOf::Guest {
        let mut found = Vec::new();
        for file in with_suffix(".macs") {
            found.extend(MacMap::parse_lenient(file.content, name)?);
        }
        if found.is_empty() {
            return Ok(Answer {
                status: Status::Unavailable,
                ..Answer::default()
            });
        }
        macs = Some(found);
    }
    let mut leases: Vec<(u64, IpAddr)> = Vec::new();
    let mut answer = Answer::default();
    for file in with_suffix(".status").filter(|file| !file.content.is_empty()) {
        let list = Json::parse(file.content).map_err(|error| error.context(file.name))?;
        let Json::Array(list) = list else {
            return Err(wrong(file.name, &"it does not contain the leases array"));
        };
        for lease in &list {
            let text = |key: &str| text_of(lease.get(key)?);
            let ours = match &macs {
                Some(macs) => text("mac-address").is_some_and(|mac| macs.iter().any(|known| *known == mac)),
                None => text("hostname").is_some_and(|host| host.eq_ignore_ascii_case(name)),
            };
            if !ours {
                continue;
            }
            let expiry = lease
                .get("expiry-time")
                .filter(|expiry| **expiry != Json::Null)
                .ok_or_else(|| wrong(file.name, &"a lease has no expiry time"))?;
            let expiry = number_of(expiry);
            if expiry > 0 && expiry < now {
                continue;
            }
            let Some(address) = text("ip-address") else {
                continue;
            };
            answer.status = Status::NoData;
            let address = ip::parse(&address)
                .ok_or_else(|| wrong(file.name, &format_args!("'{address}' is no address")))?;
            let asked = match family {
                Family::Inet => address.is_ipv4(),
                Family::Inet6 => address.is_ipv6(),
                Family::Unspecified => true,
            };
            if asked && !leases.iter().any(|(_, known)| *known == address) {
                leases.push((expiry, address));
            }
        }
    }
    leases.sort_by_key(|(expiry, _)| std::cmp::Reverse(*expiry));
    answer.addresses = leases.into_iter().map(|(_, address)| address).collect();
    if !answer.addresses.is_empty() {
        answer.status = Status::Found;
    }
    Ok(answer)
}

/// A value as a text; of lists and objects, which are no names, there is none.
pub(crate) fn text_of(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(text) | Json::Number(text) => Some(text.into()),
        Json::Bool(value) => Some(value.to_string().into()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A value as a number: what is negative or none is 0, what is too large as large as can be, and fractions are cut.
fn number_of(value: &Json) -> u64 {
    match value {
        Json::Bool(value) => (*value).into(),
        // The cast saturates.
        Json::Number(text) => text
            .parse()
            .unwrap_or_else(|_| text.parse::<f64>().map_or(0, |number| number as u64)),
        Json::String(text) => {
            let digits = text.trim_ascii_start();
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            match digits.get(..end) {
                None | Some("") => 0,
                Some(digits) => digits.parse().unwrap_or(u64::MAX),
            }
        }
        Json::Null | Json::Array(_) | Json::Object(_) => 0,
    }
}

/// [`addresses_of`] for callers that can be told one family only, as `gethostbyname` is: any family means IPv4.
///
/// # Errors
/// As there.
pub fn addresses_of_one_family(
    name: &str,
    name_of: NameOf,
    family: Family,
    files: &[NameFile<'_>],
    now: u64,
) -> Result<Answer> {
    let family = match family {
        Family::Unspecified => Family::Inet,
        family => family,
    };
    addresses_of(name, name_of, family, files, now)
}

pub(crate) fn wrong(what: &str, error: &dyn std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::INTERNAL_ERROR, format_args!("{what}: {error}"))
}

/// JSON in libvirt's layout: two blanks a level, a line end behind.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    // Lists and texts are always JSON.
    let mut out = serde_json::to_string_pretty(value).unwrap_or_default();
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"[
  {"ip-address": "10.0.0.5", "mac-address": "52:54:00:00:00:01", "hostname": "Web", "expiry-time": 200},
  {"ip-address": "10.0.0.6", "mac-address": "52:54:00:00:00:01", "hostname": "web", "expiry-time": 0},
  {"ip-address": "10.0.0.7", "mac-address": "52:54:00:00:00:02", "hostname": "web", "expiry-time": 99},
  {"iaid": "1", "ip-address": "2001:db8::1", "mac-address": "52:54:00:00:00:01", "hostname": "web",
   "server-duid": "00:01", "expiry-time": 300},
  {"ip-address": "10.0.0.8", "mac-address": "52:54:00:00:00:03", "expiry-time": 300}
]"#;

    fn ask(name: &str, name_of: NameOf, family: Family) -> Answer {
        let macs = r#"[{"domain": "Guest", "macs": ["52:54:00:00:00:02", "52:54:00:00:00:01"]},
            {"domain": "idle", "macs": ["52:54:00:00:00:09"]}, {"domain": "old", "macs": ["52:54:00:00:00:03"]}]"#;
        let files = [
            NameFile {
                name: "virbr0.status",
                content: STATUS,
            },
            NameFile {
                name: "virbr0.macs",
                content: macs,
            },
            NameFile {
                name: "virbr1.status",
                content: "",
            },
        ];
        addresses_of(name, name_of, family, &files, 100).unwrap()
    }

    #[test]
    fn names_are_answered_as_libvirt_does() {
        let texts =
            |answer: Answer| -> Vec<String> { answer.addresses.into_iter().map(ip::format).collect() };
        assert_eq!(
            texts(ask("WEB", NameOf::Host, Family::Inet)),
            ["10.0.0.5", "10.0.0.6"]
        );
        assert_eq!(
            texts(ask("guest", NameOf::Guest, Family::Unspecified)),
            ["2001:db8::1", "10.0.0.5", "10.0.0.6"]
        );
        for (name, name_of, family, status) in [
            ("web", NameOf::Host, Family::Inet, Status::Found),
            ("nobody", NameOf::Host, Family::Inet6, Status::NotFound),
            ("guest", NameOf::Guest, Family::Inet6, Status::Found),
            ("guest6", NameOf::Guest, Family::Inet, Status::Unavailable),
            ("idle", NameOf::Guest, Family::Inet, Status::NotFound),
            ("old", NameOf::Guest, Family::Inet6, Status::NoData),
        ] {
            assert_eq!(ask(name, name_of, family).status, status, "{name}");
        }
    }

    fn ask_one(lease: &str, name: &str) -> Result<Vec<String>> {
        let content = format!("[null, 1, {lease}]");
        let files = [NameFile {
            name: "a.status",
            content: &content,
        }];
        let answer = addresses_of(name, NameOf::Host, Family::Unspecified, &files, 100)?;
        Ok(answer.addresses.into_iter().map(ip::format).collect())
    }

    #[test]
    fn values_turn_into_each_other() {
        for (hostname, expiry, address, name, want) in [
            ("12", "0", "\"10.0.0.1\"", "12", Some("10.0.0.1")),
            ("true", "\"\"", "\"10.0.0.1\"", "TRUE", Some("10.0.0.1")),
            ("\"a\\u0000b\"", "-5", "\"10.1\"", "a", Some("10.0.0.1")),
            ("\"a\"", "99.9", "5", "a", None),
            ("\"a\"", "100.5", "5", "a", Some("0.0.0.5")),
            ("\"a\"", "\" 99x\"", "5", "a", None),
            ("\"a\"", "\"100x\"", "\"::1\"", "a", Some("::1")),
            ("\"a\"", "1e99", "\"::1\"", "a", Some("::1")),
            ("\"a\"", "true", "\"::1\"", "a", None),
            ("\"a\"", "[]", "\"::1\"", "a", Some("::1")),
            ("null", "0", "\"::1\"", "null", None),
            ("\"a\"", "0", "null", "a", None),
        ] {
            let lease =
                format!(r#"{{"hostname": {hostname}, "expiry-time": {expiry}, "ip-address": {address}}}"#);
            let want: Vec<String> = want.map(str::to_owned).into_iter().collect();
            assert_eq!(ask_one(&lease, name).unwrap(), want, "{lease}");
        }
        for lease in [
            r#"{"hostname": "a", "expiry-time": null, "ip-address": "::1"}"#,
            r#"{"hostname": "a", "ip-address": "::1"}"#,
            r#"{"hostname": "a", "expiry-time": 0, "ip-address": ""}"#,
            r#"{"hostname": "a", "expiry-time": 0, "ip-address": true}"#,
        ] {
            assert!(ask_one(lease, "a").is_err(), "{lease}");
            assert_eq!(ask_one(lease, "b").unwrap(), [""; 0], "{lease}");
        }
        let blank = [NameFile {
            name: ".status",
            content: "\n",
        }];
        assert!(addresses_of("a", NameOf::Host, Family::Inet, &blank, 1).is_err());
    }

    #[test]
    fn leases_come_back() {
        let leases = parse(STATUS).unwrap();
        assert_eq!(parse(&format(&leases)).unwrap(), leases);
        assert!(parse("").unwrap().is_empty());
        assert!(parse("{}").is_err());
        assert_eq!(
            to_dnsmasq(&leases, Some("00:01")).lines().collect::<Vec<_>>(),
            [
                "200 52:54:00:00:00:01 10.0.0.5 Web *",
                "0 52:54:00:00:00:01 10.0.0.6 web *",
                "99 52:54:00:00:00:02 10.0.0.7 web *",
                "300 52:54:00:00:00:03 10.0.0.8 * *",
                "duid 00:01",
                "300 1 2001:db8::1 web *"
            ]
        );
    }
}
