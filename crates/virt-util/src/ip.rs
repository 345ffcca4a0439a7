//! IP addresses: read and printed as the C library does, since that is what libvirt's documents hold; masks, prefixes and
//! ranges.
//!
//! Scopes (`fe80::1%eth0`) are refused: they mean something on one host only.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{ErrorCode, Result};

/// Reads an address of either family.
pub fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        text.parse().ok().map(IpAddr::V6)
    } else {
        parse_v4(text).map(IpAddr::V4)
    }
}

/// Reads an IPv4 address in each of the C library's forms: up to four parts in decimal, octal (`010`) or hexadecimal (`0x8`),
/// of which the last fills what remains: `10.1` is `10.0.0.1`.
pub fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.').peekable();
    let mut value: u32 = 0;
    for at in 0..4u32 {
        let part = c_number(parts.next()?)?;
        if parts.peek().is_none() {
            // The last part fills the bytes that are left.
            let bits = 32 - at * 8;
            return (bits == 32 || part >> bits == 0).then(|| Ipv4Addr::from(value | part));
        }
        if part > 255 || at == 3 {
            return None;
        }
        value |= part << (24 - at * 8);
    }
    None
}

fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // A sign is none of the C library's.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// Appends an address as the C library prints it.
pub fn push(out: &mut String, address: IpAddr) {
    let _ = match address {
        IpAddr::V6(v6) => match v6.segments() {
            // An old form for IPv4 addresses that std does not print.
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                let [.., a, b, c, d] = v6.octets();
                write!(out, "::{a}.{b}.{c}.{d}")
            }
            _ => write!(out, "{v6}"),
        },
        IpAddr::V4(v4) => write!(out, "{v4}"),
    };
}

/// An address as the C library prints it.
pub fn format(address: IpAddr) -> String {
    let mut out = String::new();
    push(&mut out, address);
    out
}

/// `ipv4` or `ipv6`, as libvirt's documents call the family.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// The address as a number of its family's width.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        // Bits of an IPv4 address fit: they come from one.
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

/// The mask with `prefix` leading ones for addresses like `address`; `None` if they have fewer bits.
pub fn mask_of_prefix(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    let width = width(address);
    let zeros = width.checked_sub(prefix)?;
    let all = u128::MAX >> (128 - width);
    Some(from_bits(
        address,
        all & u128::MAX.checked_shl(zeros).unwrap_or(0),
    ))
}

/// How many leading ones a mask has; `None` if a one follows a zero.
pub fn prefix_of_mask(mask: IpAddr) -> Option<u32> {
    let ones = (bits(mask) << (128 - width(mask))).leading_ones();
    (mask_of_prefix(mask, ones) == Some(mask)).then_some(ones)
}

/// The network that `address` is in; `None` if its family has fewer than `prefix` bits.
pub fn network(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    let mask = mask_of_prefix(address, prefix)?;
    Some(from_bits(address, bits(address) & bits(mask)))
}

/// `address` without the bits that `mask` has not; `None` if their families differ.
pub fn masked(address: IpAddr, mask: IpAddr) -> Option<IpAddr> {
    (width(address) == width(mask)).then(|| from_bits(address, bits(address) & bits(mask)))
}

/// The last address of the network that `address` is in.
pub fn broadcast(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    let hosts = bits(mask_of_prefix(address, prefix)?) ^ bits(mask_of_prefix(address, width(address))?);
    Some(from_bits(address, bits(address) | hosts))
}

/// The prefix of an address of which neither prefix nor mask is said: by class for IPv4, 64 for IPv6, 0 for the address of
/// zeros. `None` for IPv4 addresses of no class.
pub fn natural_prefix(address: IpAddr) -> Option<u32> {
    match address {
        address if address.is_unspecified() => Some(0),
        IpAddr::V6(_) => Some(64),
        IpAddr::V4(v4) => match v4.octets()[0].leading_ones() {
            0 => Some(8),
            1 => Some(16),
            2 => Some(24),
            _ => None,
        },
    }
}

/// Whether an address is from a range for private use, as libvirt has it.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.octets();
            a & 0xfe == 0xfc || (a == 0xfe && b & 0xc0 == 0xc0)
        }
    }
}

/// Most addresses of a range.
const RANGE_MAX: u128 = 65_536;

/// Checks a range of addresses and gives its size. In `network`, an address with its prefix (`None` for one that is
/// not valid), it must lie wholly, for IPv4 without the network's own address and the one for broadcasts.
///
/// # Errors
/// `INTERNAL_ERROR`, as libvirt has it.
pub fn check_range(start: IpAddr, end: IpAddr, within: Option<(IpAddr, Option<u32>)>) -> Result<u32> {
    let (from, to) = (format(start), format(end));
    let place = || match within {
        Some((address, prefix)) => format!(
            " for network {}/{}",
            format(address),
            prefix.map_or_else(|| "?".to_owned(), |prefix| prefix.to_string())
        ),
        None => String::new(),
    };
    let wrong = |what: &str| {
        Err(crate::VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("range {from} - {to}{}: {what}", place()),
        ))
    };
    if start.is_ipv4() != end.is_ipv4() {
        return wrong("mismatch of address family");
    }
    if let Some((address, prefix)) = within {
        if address.is_ipv4() != start.is_ipv4() {
            return wrong("mismatch of address family");
        }
        let Some((prefix, net)) = prefix.and_then(|prefix| Some((prefix, network(address, prefix)?))) else {
            return wrong("the network has no valid prefix");
        };
        if [start, end]
            .iter()
            .any(|address| network(*address, prefix) != Some(net))
        {
            return wrong("it is not entirely within the network");
        }
        if start.is_ipv4() && start == net {
            return wrong("its start is the network address");
        }
        if start.is_ipv4() && Some(end) == broadcast(address, prefix) {
            return wrong("its end is the broadcast address");
        }
    }
    let Some(distance) = bits(end).checked_sub(bits(start)) else {
        return wrong("it is reversed");
    };
    // In IPv6 all but the last two bytes must be the same.
    if distance >= RANGE_MAX || (start.is_ipv6() && bits(start) >> 16 != bits(end) >> 16) {
        return wrong("it is too large (> 65535)");
    }
    Ok(distance as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_c_library() {
        for (text, want) in [
            ("10.1", Some("10.0.0.1")),
            ("0x7f.1", Some("127.0.0.1")),
            ("010.0.0.1", Some("8.0.0.1")),
            ("1", Some("0.0.0.1")),
            ("256.1", None),
            ("1.2.3.4.5", None),
            ("1.2.3.256", None),
            ("4294967295", Some("255.255.255.255")),
            ("4294967296", None),
            ("", None),
            ("1.", None),
            ("+1.2.3.4", None),
            ("1.2.3.4 ", None),
            ("2001:DB8::0001", Some("2001:db8::1")),
            ("::ffff:1.2.3.4", Some("::ffff:1.2.3.4")),
            ("::1.2.3.4", Some("::1.2.3.4")),
            ("::5", Some("::5")),
            ("fe80::1%1", None),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn masks_and_prefixes() {
        let ip = |text: &str| parse(text).unwrap();
        for (mask, prefix) in [
            ("255.255.255.0", Some(24)),
            ("0.0.0.0", Some(0)),
            ("255.255.255.255", Some(32)),
            ("255.0.255.0", None),
            ("ffff::", Some(16)),
            ("ffff:8000::1", None),
        ] {
            assert_eq!(prefix_of_mask(ip(mask)), prefix, "{mask}");
        }
        assert_eq!(mask_of_prefix(ip("1.1.1.1"), 33), None);
        assert_eq!(
            mask_of_prefix(ip("::"), 128).map(format).unwrap(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        );
        assert_eq!(network(ip("192.168.5.9"), 22), Some(ip("192.168.4.0")));
        assert_eq!(network(ip("192.168.5.9"), 0), Some(ip("0.0.0.0")));
        assert_eq!(broadcast(ip("192.168.5.9"), 22), Some(ip("192.168.7.255")));
        assert_eq!(natural_prefix(ip("172.16.0.1")), Some(16));
        assert_eq!(natural_prefix(ip("240.0.0.1")), None);
    }

    #[test]
    fn ranges_lie_in_their_network() {
        let ip = |text: &str| parse(text).unwrap();
        let check = |start, end, network: Option<(&str, u32)>| {
            check_range(
                ip(start),
                ip(end),
                network.map(|(address, prefix)| (ip(address), Some(prefix))),
            )
        };
        let home = Some(("192.168.122.1", 24));
        assert_eq!(check("192.168.122.2", "192.168.122.254", home).unwrap(), 253);
        assert_eq!(check("10.0.0.0", "10.0.0.0", None).unwrap(), 1);
        for (start, end, network) in [
            ("192.168.122.0", "192.168.122.9", home),
            ("192.168.122.1", "192.168.122.255", home),
            ("192.168.122.1", "192.168.123.2", home),
            ("192.168.122.9", "192.168.122.2", home),
            ("10.0.0.0", "10.1.0.0", None),
            ("10.0.0.0", "::1", None),
            ("::1", "::1:0", None),
            ("10.0.0.1", "10.0.0.2", Some(("10.0.0.1", 40))),
        ] {
            assert_eq!(
                check(start, end, network).unwrap_err().code(),
                ErrorCode::INTERNAL_ERROR,
                "{start} {end}"
            );
        }
    }
}
