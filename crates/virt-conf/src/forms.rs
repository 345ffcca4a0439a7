//! Forms of values, as the schemas of the documents know them: numbers in their notations, names, addresses, paths.
//!
//! What the types of fields say (words, ranges of integers) is not repeated here.

use virt_util::xml::rules::Form;

/// A name of letters, digits, `_`, `+` and `-`.
pub const GENERIC_NAME: Form = Form {
    says: "letters, digits, '_', '+' and '-'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_+-".contains(c)),
};

/// The name of a domain: some hypervisors take slashes, none a line break.
pub const DOMAIN_NAME: Form = Form {
    says: "a name without line breaks",
    fits: |text| all(text, |c| c != '\n'),
};

/// A device as the host or a guest names it.
pub const DEVICE_NAME: Form = Form {
    says: "letters, digits, '_', '.', '-', ':', '/' and '\\'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_.-\\:/".contains(c)),
};

/// An absolute path, on Windows hosts with a drive.
pub const ABSOLUTE_PATH: Form = Form {
    says: "an absolute path",
    fits: |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next(), chars.next()) {
            (Some('/'), Some(_), _) => is_one_line(text),
            (Some(drive), Some(':'), Some('\\')) => {
                drive.is_ascii_alphabetic() && chars.next().is_some() && is_one_line(text)
            }
            _ => false,
        }
    },
};

/// An absolute path of a folder.
pub const ABSOLUTE_FOLDER: Form = Form {
    says: "an absolute path of a folder",
    fits: |text| text.starts_with('/') && is_one_line(text),
};

/// A file of the host, or on one of VMware's data stores.
pub const SOURCE_FILE: Form = Form {
    says: "an absolute path, or '[datastore] path'",
    fits: |text| {
        let on_datastore = text
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
            .is_some_and(|(store, path)| !store.is_empty() && !path.is_empty());
        on_datastore || (ABSOLUTE_PATH.fits)(text)
    },
};

/// An architecture.
pub const ARCH: Form = Form {
    says: "an architecture such as 'x86_64'",
    fits: |text| {
        use virt_util::arch::Arch;
        // Schemas know less than the model.
        !matches!(
            Arch::from_name(text.trim_ascii()),
            None | Some(Arch::Armv7b | Arch::Ppcle)
        )
    },
};

/// A machine type.
pub const MACHINE: Form = Form {
    says: "letters, digits, '_', '.' and '-'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_.-".contains(c)),
};

/// A switch.
pub const ON_OFF: Form = Form {
    says: "'on' or 'off'",
    fits: |text| matches!(text.trim_ascii(), "on" | "off"),
};

/// The MAC address of one interface.
pub const UNICAST_MAC: Form = Form {
    says: "a unicast MAC address: six pairs of hexadecimal digits with colons between, the first even",
    fits: |text| {
        let second = text.as_bytes().get(1).copied().unwrap_or(b'1');
        is_mac(text)
            && char::from(second)
                .to_digit(16)
                .is_some_and(|digit| digit % 2 == 0)
    },
};

/// How many CPUs.
pub const CPU_COUNT: Form = Form {
    says: "a whole number from 1 to 65535",
    fits: |text| bare_decimal(text, 1, 65535),
};

/// The number of a CPU.
pub const CPU_ID: Form = Form {
    says: "the number of a CPU: 0 to 65535",
    fits: |text| bare_decimal(text, 0, 65535),
};

/// Relative share of CPU time.
pub const CPU_SHARES: Form = Form {
    says: "a whole number from 0 to 4294967295",
    fits: |text| bare_decimal(text, 0, u64::from(u32::MAX)),
};

/// Microseconds of an interval in which CPU time is counted.
pub const CPU_PERIOD: Form = Form {
    says: "a whole number from 1000 to 1000000",
    fits: |text| bare_decimal(text, 1000, 1_000_000),
};

/// Microseconds of CPU time in an interval.
pub const CPU_QUOTA: Form = Form {
    says: "a whole number from -1 to 17592186044415",
    fits: |text| {
        let minus = text.strip_prefix('-').is_some_and(digits);
        (minus || digits(text)) && integer(text, -1, 17_592_186_044_415)
    },
};

/// Relative weight of input and output.
pub const IO_WEIGHT: Form = Form {
    says: "a whole number from 100 to 1000",
    fits: |text| bare_decimal(text, 100, 1000),
};

/// A whole number, in decimal digits.
pub const UNSIGNED_INT: Form = Form {
    says: "a whole number from 0 to 4294967295",
    fits: |text| bare_decimal(text, 0, u64::from(u32::MAX)),
};

/// A whole number, in decimal digits.
pub const UNSIGNED_LONG: Form = Form {
    says: "a whole number from 0 to 18446744073709551615",
    fits: |text| bare_decimal(text, 0, u64::MAX),
};

/// A whole number, in decimal digits; white space around them does not count.
pub const SPACED_INT: Form = Form {
    says: "a number from 0 to 4294967295",
    fits: |text| decimal(text, 0, u64::from(u32::MAX)),
};

/// A whole number, in decimal digits; white space around them does not count.
pub const SPACED_LONG: Form = Form {
    says: "a number from 0 to 18446744073709551615",
    fits: |text| decimal(text, 0, u64::MAX),
};

/// A whole number above 0.
pub const POSITIVE: Form = Form {
    says: "a whole number from 1",
    fits: |text| digits(text) && text.chars().any(|c| c != '0'),
};

/// A TCP or UDP port.
pub const PORT: Form = Form {
    says: "a port: a whole number from 0 to 65535, or -1",
    fits: |text| integer(text, -1, 65535),
};

/// One byte; hexadecimal digits after `0x`.
pub const UINT8: Form = Form {
    says: "a whole number from 0 to 255, or 0x00 to 0xff",
    fits: |text| prefixed_hex(text, 2) || integer(text, 0, 0xff),
};

/// Two bytes; hexadecimal digits with or without `0x`.
pub const UINT16: Form = Form {
    says: "a whole number from 0 to 65535, or 0x0000 to 0xffff",
    fits: |text| hex(text, 4) || integer(text, 0, 0xffff),
};

/// Four bytes; hexadecimal digits with or without `0x`.
pub const UINT32: Form = Form {
    says: "a whole number from 0 to 4294967295, or 0x00000000 to 0xffffffff",
    fits: |text| hex(text, 8) || decimal(text, 0, u64::from(u32::MAX)),
};

/// The function of a PCI device.
pub const PCI_FUNCTION: Form = Form {
    says: "a PCI function: 0x0 to 0x7",
    fits: |text| {
        matches!(text.strip_prefix("0x").unwrap_or(text).as_bytes(), [b'0'..=b'7']) || integer(text, 0, 7)
    },
};

/// The slot of a PCI device.
pub const PCI_SLOT: Form = Form {
    says: "a PCI slot: 0x00 to 0x1f",
    fits: |text| {
        let hexadecimal = text.strip_prefix("0x").unwrap_or(text);
        let fits = match hexadecimal.as_bytes() {
            [digit] | [b'0' | b'1', digit] => digit.is_ascii_hexdigit(),
            _ => false,
        };
        fits || integer(text, 0, 31)
    },
};

/// A port of a USB hub, and of the hubs below it.
pub const USB_PORT: Form = Form {
    says: "up to four numbers of one to three digits with dots between",
    fits: |text| text.split('.').count() <= 4 && text.split('.').all(|step| hex(step, 3)),
};

/// A device on a USB bus, or the bus.
pub const USB_ADDRESS: Form = Form {
    says: "one to three hexadecimal digits",
    fits: |text| hex(text, 3),
};

/// Controller, bus, target or unit of a drive, or a port of a virtio serial controller.
pub const TWO_DIGITS: Form = Form {
    says: "one or two digits",
    fits: |text| text.len() <= 2 && digits(text),
};

/// A channel subsystem image of s390.
pub const CCW_CSSID: Form = Form {
    says: "a whole number from 0 to 254, or 0x0 to 0xfe",
    fits: |text| prefixed_hex(text, 2) && !text.eq_ignore_ascii_case("0xff") || integer(text, 0, 254),
};

/// A subchannel set of s390.
pub const CCW_SSID: Form = Form {
    says: "0x0 to 0x3",
    fits: |text| matches!(text.strip_prefix("0x").unwrap_or(text).as_bytes(), [b'0'..=b'3']),
};

/// A device number of s390.
pub const CCW_DEVNO: Form = Form {
    says: "a whole number from 0 to 65535, or 0x0000 to 0xffff",
    fits: |text| prefixed_hex(text, 4) || integer(text, 0, 0xffff),
};

/// A World Wide Name.
pub const WWN: Form = Form {
    says: "sixteen hexadecimal digits",
    fits: |text| text.strip_prefix("0x").unwrap_or(text).len() == 16 && hex(text, 16),
};

/// The name of a device that the user has chosen.
pub const ALIAS: Form = Form {
    says: "letters, digits, '_', '-' and '.'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_-.".contains(c)),
};

/// A disk as the guest should see it.
pub const DISK_TARGET: Form = Form {
    says: "a name such as 'vda': fd, hd, sd, vd, xvd or ubd and letters or digits",
    fits: |text| {
        let text = text.strip_prefix("ioemu:").unwrap_or(text);
        ["fd", "hd", "sd", "vd", "xvd", "ubd"].iter().any(|bus| {
            text.strip_prefix(bus)
                .is_some_and(|rest| all(rest, |c| c.is_ascii_alphanumeric() || c == '_'))
        })
    },
};

/// A disk's serial number.
pub const DISK_SERIAL: Form = Form {
    says: "letters, digits, '_', '.', '+', '-' and blanks",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_.+- ".contains(c)),
};

/// What a guest on s390 boots with.
pub const LOADPARM: Form = Form {
    says: "one to eight letters, digits, blanks and dots",
    fits: |text| {
        text.len() <= 8
            && all(text, |c| {
                c.is_ascii_alphanumeric() || c == '.' || c.is_ascii_whitespace()
            })
    },
};

/// The register of a device on a pSeries bus.
pub const SPAPR_REGISTER: Form = Form {
    says: "one to eight hexadecimal digits",
    fits: |text| hex(text, 8),
};

/// A set of CPUs.
pub const CPU_SET: Form = Form {
    says: "a list of CPUs such as '0-3,^2,7'",
    fits: |text| {
        text.split(',')
            .all(|part| match (part.strip_prefix('^'), part.split_once('-')) {
                (Some(excepted), _) => digits(excepted),
                (None, Some((first, last))) => digits(first) && digits(last),
                (None, None) => digits(part),
            })
    },
};

/// A unit of size.
pub const UNIT: Form = Form {
    says: "a unit such as 'bytes', 'KB', 'KiB' or 'G'",
    fits: |text| {
        let text = text.to_ascii_lowercase();
        matches!(text.as_str(), "b" | "byte" | "bytes")
            || match text.as_bytes().split_first() {
                Some((b'k' | b'm' | b'g' | b't' | b'p' | b'e', rest)) => matches!(rest, b"" | b"b" | b"ib"),
                _ => false,
            }
    },
};

/// Any text.
pub const TEXT: Form = virt_util::xml::shapes::TEXT;

/// A yes or a no.
pub const YES_NO: Form = virt_util::words!("yes", "no");

/// The name of an object of ours, such as a pool.
pub const OBJECT_NAME: Form = Form {
    says: "a name without slashes and line breaks",
    fits: |text| all(text, |c| c != '/' && c != '\n'),
};

/// The name of a volume.
pub const VOLUME_NAME: Form = Form {
    says: "a name without slashes, other than '.' and '..'",
    fits: |text| all(text, |c| c != '/') && text != "." && text != "..",
};

/// A UUID.
pub const UUID: Form = Form {
    says: "a UUID",
    fits: |text| {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        (groups == [32] || groups == [8, 4, 4, 4, 12])
            && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
    },
};

/// Rights of a file.
pub const OCTAL_MODE: Form = Form {
    says: "octal digits",
    fits: |text| all(text, |c| ('0'..='7').contains(&c)) && text.parse::<u32>().is_ok(),
};

/// The number of a user or group.
pub const OWNER: Form = Form {
    says: "a whole number from 0 to 4294967295, or -1",
    fits: |text| text.trim_ascii() == "-1" || bare_decimal(text, 0, u64::from(u32::MAX)),
};

/// A DNS name.
pub const DNS_NAME: Form = Form {
    says: "letters, digits, '.' and '-'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || ".-".contains(c)),
};

/// An IPv4 address.
pub const IPV4: Form = Form {
    says: "an IPv4 address",
    fits: |text| text.parse::<std::net::Ipv4Addr>().is_ok(),
};

/// An IPv6 address.
pub const IPV6: Form = Form {
    says: "an IPv6 address",
    fits: is_ipv6,
};

/// An IP address.
pub const IP: Form = Form {
    says: "an IP address",
    fits: |text| (IPV4.fits)(text) || is_ipv6(text),
};

/// A server.
pub const HOST: Form = Form {
    says: "a DNS name or an IP address",
    fits: |text| (DNS_NAME.fits)(text) || (IP.fits)(text),
};

/// The length of the network part of an IPv4 address.
pub const IPV4_PREFIX: Form = Form {
    says: "a whole number from 0 to 32",
    fits: |text| decimal(text, 0, 32),
};

/// The length of the network part of an IP address.
pub const IP_PREFIX: Form = Form {
    says: "a whole number from 0 to 128",
    fits: |text| decimal(text, 0, 128),
};

/// Two bytes, in decimal digits.
pub const UNSIGNED_SHORT: Form = Form {
    says: "a whole number from 0 to 65535",
    fits: |text| integer(text, 0, 65535),
};

/// Three bytes; hexadecimal digits after `0x`.
pub const UINT24: Form = Form {
    says: "a whole number from 0 to 16777215, or 0x0 to 0xffffff",
    fits: |text| prefixed_hex(text, 6) || integer(text, 0, 0xff_ffff),
};

/// Hexadecimal digits in lower case.
pub const HEX_UINT: Form = Form {
    says: "hexadecimal digits in lower case, with or without '0x'",
    fits: |text| {
        all(text.strip_prefix("0x").unwrap_or(text), |c| {
            c.is_ascii_hexdigit() && !c.is_ascii_uppercase()
        })
    },
};

/// The MAC address of an interface or a group of them.
pub const MAC: Form = Form {
    says: "a MAC address: six pairs of hexadecimal digits with colons between",
    fits: is_mac,
};

/// A disk of a domain, by target or by path.
pub const DISK_NAME: Form = Form {
    says: "a target such as 'vda', or an absolute path",
    fits: |text| (DISK_TARGET.fits)(text) || (ABSOLUTE_PATH.fits)(text),
};

/// A whole number, with or without a sign.
pub const INTEGER: Form = Form {
    says: "a whole number",
    fits: |text| {
        let text = text.trim_ascii();
        digits(text.strip_prefix(['-', '+']).unwrap_or(text))
    },
};

/// A name in XML without a colon.
pub const NC_NAME: Form = Form {
    says: "a name that begins with a letter or '_'",
    fits: |text| {
        let text = text.trim_ascii();
        let first = |c: char| c.is_alphabetic() || c == '_';
        text.starts_with(first)
            && text
                .chars()
                .all(|c| first(c) || c.is_numeric() || "-.\u{b7}".contains(c))
    },
};

/// At least one character of text.
pub const NOT_EMPTY: Form = Form {
    says: "some text",
    fits: |text| !text.is_empty(),
};

/// A number of four bytes with a sign.
pub const INT: Form = Form {
    says: "a whole number from -2147483648 to 2147483647",
    fits: |text| integer(text, i64::from(i32::MIN), i64::from(i32::MAX)),
};

/// A number of eight bytes with a sign.
pub const LONG: Form = Form {
    says: "a whole number from -9223372036854775808 to 9223372036854775807",
    fits: |text| integer(text, i64::MIN, i64::MAX),
};

/// Milliseconds until firmware starts a guest again that it could not boot.
pub const REBOOT_DELAY: Form = Form {
    says: "a whole number from -1 to 32767",
    fits: |text| integer(text, -1, 32767),
};

/// Rights of files that a guest makes.
pub const CREATE_MODE: Form = Form {
    says: "up to three octal digits, after a 0 or not",
    fits: |text| {
        let octal = all(text, |c| ('0'..='7').contains(&c));
        octal && (text.len() <= 3 || text.len() == 4 && text.starts_with('0'))
    },
};

/// A path, also a relative one.
pub const FILE_PATH: Form = Form {
    says: "a path",
    fits: |text| !text.is_empty() && is_one_line(text),
};

/// A block device.
pub const PATH_OR_DEVICE: Form = Form {
    says: "an absolute path, or the name of a device",
    fits: |text| (ABSOLUTE_PATH.fits)(text) || (DEVICE_NAME.fits)(text),
};

/// A variable of the environment or of a filter.
pub const VARIABLE: Form = Form {
    says: "letters, digits and '_'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || c == '_'),
};

/// The value of a variable of a filter.
pub const VARIABLE_VALUE: Form = Form {
    says: "letters, digits, '_', '.' and ':'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_.:".contains(c)),
};

/// A variable of the environment of a container.
pub const ENVIRONMENT_NAME: Form = Form {
    says: "letters, '_' and, not in front, digits",
    fits: |text| {
        all(text, |c| c.is_ascii_alphanumeric() || c == '_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
    },
};

/// The model of an interface.
pub const MODEL_NAME: Form = Form {
    says: "letters, digits, '-' and '_'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "-_".contains(c)),
};

/// A bridge of the host.
pub const BRIDGE_NAME: Form = Form {
    says: "letters, digits, blanks, '_', '.', '-', ':', '/' and '\\'",
    fits: |text| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-\\:/ ".contains(c))
    },
};

/// How an interface shares a device of the host.
pub const BRIDGE_MODE: Form = Form {
    says: "'vepa', 'bridge', 'private' or 'passthrough'",
    fits: |text| matches!(text, "vepa" | "bridge" | "private" | "passthrough"),
};

/// Memory that guests share.
pub const SHMEM_NAME: Form = Form {
    says: "text without slashes",
    fits: |text| !text.contains('/'),
};

/// How far a clock is off.
pub const TIME_DELTA: Form = Form {
    says: "seconds: a whole number",
    fits: |text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)),
};

/// How far a clock is off, or that it is set again at each start.
pub const TIME_DELTA_OR_RESET: Form = Form {
    says: "seconds: a whole number, or 'reset'",
    fits: |text| (TIME_DELTA.fits)(text) || text.trim_ascii() == "reset",
};

/// A time zone.
pub const TIME_ZONE: Form = Form {
    says: "letters, digits, '_', '.', '+', '-' and '/'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || "_.+-/".contains(c)),
};

/// What a guest sees as the vendor of Hyper-V.
pub const HYPERV_VENDOR: Form = Form {
    says: "up to twelve characters, none a comma",
    fits: |text| text.chars().count() <= 12 && !text.contains(','),
};

/// How Xen shares page tables with devices.
pub const XEN_PASSTHROUGH: Form = Form {
    says: "'sync_pt' or 'share_pt'",
    fits: |text| matches!(text, "sync_pt" | "share_pt"),
};

/// What Fibre Channel switches tell guests apart by.
pub const APPLICATION_ID: Form = Form {
    says: "1 to 128 characters of ASCII",
    fits: |text| (1..=128).contains(&text.len()) && is_ascii_text(text),
};

/// A disk's vendor.
pub const DISK_VENDOR: Form = Form {
    says: "up to 8 characters of ASCII",
    fits: |text| text.len() <= 8 && is_ascii_text(text),
};

/// A disk's product.
pub const DISK_PRODUCT: Form = Form {
    says: "up to 40 characters of ASCII",
    fits: |text| text.len() <= 40 && is_ascii_text(text),
};

/// A unit on a disk controller.
pub const DRIVE_UNIT: Form = Form {
    says: "one to five digits",
    fits: |text| text.len() <= 5 && digits(text),
};

/// A target of a SCSI host.
pub const SCSI_TARGET: Form = Form {
    says: "one to ten digits",
    fits: |text| text.len() <= 10 && digits(text),
};

/// A unit of a SCSI host.
pub const SCSI_UNIT: Form = Form {
    says: "one to twenty digits",
    fits: |text| text.len() <= 20 && digits(text),
};

/// A port on the ISA bus.
pub const ISA_PORT: Form = Form {
    says: "one to four hexadecimal digits after 0x",
    fits: |text| prefixed_hex(text, 4),
};

/// An interrupt of the ISA bus.
pub const ISA_INTERRUPT: Form = Form {
    says: "one hexadecimal digit after 0x",
    fits: |text| prefixed_hex(text, 1),
};

/// A vendor or product of USB devices.
pub const USB_ID: Form = Form {
    says: "one to four hexadecimal digits",
    fits: |text| hex(text, 4),
};

/// The same, or all.
pub const USB_ID_OR_ANY: Form = Form {
    says: "one to four hexadecimal digits, or -1",
    fits: |text| hex(text, 4) || text == "-1",
};

/// A class of USB devices, or all.
pub const USB_CLASS_OR_ANY: Form = Form {
    says: "one or two hexadecimal digits, or -1",
    fits: |text| hex(text, 2) || text == "-1",
};

/// A version of a USB device, or all.
pub const USB_VERSION_OR_ANY: Form = Form {
    says: "a version such as 1.10, or -1",
    fits: |text| is_usb_version(text) || text == "-1",
};

/// A profile of a TPM.
pub const TPM_PROFILE: Form = Form {
    says: "letters, digits, '.', '-' and ':'",
    fits: |text| all(text, |c| c.is_ascii_alphanumeric() || ".-:".contains(c)),
};

/// A World Wide Name of a vhost controller.
pub const NAA_NAME: Form = Form {
    says: "'naa.' and sixteen hexadecimal digits",
    fits: |text| {
        text.strip_prefix("naa.")
            .is_some_and(|name| name.len() == 16 && all(name, |c| c.is_ascii_hexdigit()))
    },
};

/// A cookie.
pub const COOKIE_NAME: Form = Form {
    says: "letters, digits and the marks that names of cookies may have",
    fits: |text| {
        all(text, |c| {
            c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
        })
    },
};

/// What a cookie has.
pub const COOKIE_VALUE: Form = Form {
    says: "text without blanks, commas and semicolons, in quotation marks or not",
    fits: |text| is_cookie(text),
};

/// When a password expires.
pub const DATE_TIME: Form = Form {
    says: "a time such as 2030-01-31T12:00:00",
    fits: |text| is_date_time(text),
};

fn all(text: &str, fits: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(fits)
}

fn digits(text: &str) -> bool {
    all(text, |c| c.is_ascii_digit())
}

/// An IPv6 address as the schemas have it. Where it ends like an IPv4 address, groups that were left out stand at its start or
/// right before that end, and one colon is enough for all of them.
fn is_ipv6(text: &str) -> bool {
    let Some((groups, last)) = text.rsplit_once(':').filter(|(_, last)| last.contains('.')) else {
        return text.parse::<std::net::Ipv6Addr>().is_ok();
    };
    if groups.is_empty() {
        return (IPV4.fits)(last);
    }
    let place_fits = !groups.contains("::") || groups.starts_with("::");
    place_fits && text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Decimal digits and nothing else, not even blanks.
fn bare_decimal(text: &str, min: u64, max: u64) -> bool {
    digits(text) && decimal(text, min, max)
}

/// Decimal digits between `min` and `max`; white space around them does not count.
pub(crate) fn decimal(text: &str, min: u64, max: u64) -> bool {
    let text = text.trim_ascii();
    digits(text)
        && text
            .parse()
            .is_ok_and(|number: u64| (min..=max).contains(&number))
}

/// [`decimal`] with a sign.
pub(crate) fn integer(text: &str, min: i64, max: i64) -> bool {
    let text = text.trim_ascii();
    digits(text.strip_prefix(['-', '+']).unwrap_or(text))
        && text
            .parse()
            .is_ok_and(|number: i64| (min..=max).contains(&number))
}

fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

fn is_ascii_text(text: &str) -> bool {
    text.chars().all(|c| (' '..='~').contains(&c))
}

/// Two numbers of one or two digits; whatever stands between them is taken for a dot.
fn is_usb_version(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let number = |part: &[char]| matches!(part.len(), 1 | 2) && part.iter().all(char::is_ascii_digit);
    (1..=2).any(|at| {
        let (first, rest) = chars.split_at(at.min(chars.len()));
        rest.split_first()
            .is_some_and(|(dot, last)| !matches!(dot, '\n' | '\r') && number(first) && number(last))
    })
}

fn is_cookie(text: &str) -> bool {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    all(inner, |c| c.is_ascii_graphic() && !"\",;\\{}".contains(c))
}

/// A point in time as XML Schema writes it: date, `T`, time, and a zone or none.
fn is_date_time(text: &str) -> bool {
    let text = text.trim_ascii();
    let two = |text: &str, max: u8| {
        text.len() == 2 && digits(text) && text.parse().is_ok_and(|number: u8| number <= max)
    };
    let hours_and_minutes = |text: &str| {
        text.split_once(':')
            .is_some_and(|(hours, minutes)| two(hours, 23) && two(minutes, 59))
    };
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    let mut parts = date.strip_prefix('-').unwrap_or(date).splitn(3, '-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let date_fits = year.is_some_and(|year| year.len() >= 4 && digits(year) && year != "0000")
        && month.is_some_and(|month| two(month, 12) && month != "00")
        && day.is_some_and(|day| two(day, 31) && day != "00");
    let (time, zone_fits) = match time.strip_suffix('Z') {
        Some(time) => (time, true),
        None => match time.rfind(['+', '-']).and_then(|at| time.split_at_checked(at)) {
            Some((time, zone)) => (time, hours_and_minutes(zone.trim_start_matches(['+', '-']))),
            None => (time, true),
        },
    };
    let (minutes, seconds) = time.rsplit_once(':').unwrap_or((time, ""));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    date_fits && zone_fits && hours_and_minutes(minutes) && two(seconds, 59) && digits(fraction)
}

fn hex(text: &str, most: usize) -> bool {
    let text = text.strip_prefix("0x").unwrap_or(text);
    text.len() <= most && all(text, |c| c.is_ascii_hexdigit())
}

/// Up to `most` hexadecimal digits after `0x`.
pub(crate) fn prefixed_hex(text: &str, most: usize) -> bool {
    text.starts_with("0x") && hex(text, most)
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6
        && text
            .split(':')
            .all(|pair| pair.len() == 2 && all(pair, |c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_know_right_from_wrong() {
        let cases: &[(Form, &[&str], &[&str])] = &[
            (
                PCI_SLOT,
                &["0x00", "0x1f", "1f", "31", "5"],
                &["0x20", "0x100", "", "32", "-1"],
            ),
            (
                IPV6,
                &["::1", ":192.0.2.1", "1::192.0.2.1", "::1:192.0.2.1"],
                &["1::2:192.0.2.1", ":1", "192.0.2.1"],
            ),
            (CPU_PERIOD, &["1000", "1000000"], &["999", " 1000", "1000001"]),
            (
                CPU_QUOTA,
                &["-1", "0", "17592186044415"],
                &["-2", "17592186044416"],
            ),
            (CPU_COUNT, &["1", "65535"], &["0", "65536", " 1"]),
            (PCI_FUNCTION, &["0", "0x7", "7"], &["8", "0x8", "0x07", ""]),
            (UINT8, &["0x0", "255", "0xFF"], &["0x100", "256", "ff", "-1", ""]),
            (UINT16, &["ffff", "0x1", "65535"], &["0x10000", "", "x"]),
            (
                USB_PORT,
                &["1", "1.2.3.4", "123", "0xa"],
                &["1.2.3.4.5", "1.", "", "1234"],
            ),
            (LOADPARM, &["PROMPT", "a b.c1"], &["ninechars", "a?", ""]),
            (
                UNICAST_MAC,
                &["52:54:00:12:34:5f"],
                &["53:54:00:12:34:5f", "52:54:00:12:34", "52-54-00-12-34-5f"],
            ),
            (CPU_SET, &["0", "0-3,^2", "1,2"], &["aaa", "", "1-", "-1", "1,,2"]),
            (ABSOLUTE_PATH, &["/a", "C:\\a"], &["/", "a", "", "C:a"]),
        ];
        for (form, right, wrong) in cases {
            for text in *right {
                assert!((form.fits)(text), "{text} is {}", form.says);
            }
            for text in *wrong {
                assert!(!(form.fits)(text), "{text} is not {}", form.says);
            }
        }
    }
}
