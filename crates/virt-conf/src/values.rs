//! Values that several documents share: CPU sets, MAC addresses, PCI devices of the host, owners of files.

use std::fmt;

use virt_util::bitmap::Bitmap;
use virt_util::uuid::Uuid;
use virt_util::xml::schema::ValueSchema;
use virt_util::xml::{At, Element, Reader, ValueError, Xml, XmlValue, error_at, invalid_value, nearest};
use virt_util::{ErrorCode, ErrorDomain, VirtError};

use crate::domain::normalize::Randomness;

/// The most KiB a memory size may come to (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`); limits of this size mean "none".
pub const MEMORY_UNLIMITED_KIB: u64 = 9_007_199_254_740_991;

/// Makes a UUID for a definition that has none. Whether it had none.
pub(crate) fn complete_uuid(uuid: &mut Option<Uuid>, random: &dyn Randomness) -> bool {
    let missing = uuid.is_none();
    if missing {
        *uuid = Some(random.uuid());
    }
    missing
}

/// CPUs that a set may tell apart, as in libvirt.
const CPUS_MOST: usize = 16_384;

/// A set of CPUs or NUMA nodes: `0-3,8,^2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(pub Bitmap);

impl CpuSet {
    /// Whether no CPU is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl XmlValue for CpuSet {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        Bitmap::parse_growing(text)
            .map_err(drop)
            .and_then(|set| match set.last() {
                Some(last) if last >= CPUS_MOST => Err(()),
                _ => Ok(Self(set)),
            })
            .map_err(|_| ValueError::expected("numbers and ranges as in '0-3,8,^2'"))
    }

    fn format_value(&self, out: &mut String) {
        use fmt::Write;
        let _ = write!(out, "{}", self.0);
    }
}

/// `with = crate::values::lenient_yes`: an attribute that is `yes` or means nothing.
pub(crate) mod lenient_yes {
    use virt_util::xml::ValueError;

    pub(crate) fn parse(text: &str) -> Result<bool, ValueError> {
        Ok(text == "yes")
    }

    pub(crate) fn format(value: &bool, out: &mut String) {
        out.push_str(if *value { "yes" } else { "no" });
    }
}

/// `with = crate::values::lenient`: the text of a child as an unsigned number; 0 where it is none.
pub(crate) mod lenient {
    use virt_util::xml::{Element, Reader, Writer, parse_integer, push_unsigned};

    pub(crate) fn read(element: Element<'_>, _cx: &mut Reader) -> virt_util::Result<u32> {
        Ok(wrapping(&element.text(), 10).unwrap_or(0))
    }

    pub(crate) fn write(value: &u32, w: &mut Writer, name: &str) {
        if *value != 0 {
            w.text_element_with(name, |out| push_unsigned(out, u64::from(*value)));
        }
    }

    /// An unsigned number of 32 bits as libvirt reads it in places: a negative one counts back from 2^32.
    pub(crate) fn wrapping(text: &str, base: u32) -> Option<u32> {
        match parse_integer::<i64>(text, base).ok()? {
            value @ 0.. => u32::try_from(value).ok(),
            value => u32::try_from(value.unsigned_abs()).ok().map(u32::wrapping_neg),
        }
    }
}

/// `with = crate::values::modular`: an unsigned number of 32 bits, where a negative one counts back from 2^32.
pub(crate) mod modular {
    use virt_util::xml::{ValueError, push_unsigned};

    pub(crate) fn parse(text: &str) -> Result<u32, ValueError> {
        super::lenient::wrapping(text, 10).ok_or_else(|| ValueError::expected("a whole number of 32 bits"))
    }

    pub(crate) fn format(value: &u32, out: &mut String) {
        push_unsigned(out, u64::from(*value));
    }
}

/// `with = crate::values::modular_64`: the same with 64 bits.
pub(crate) mod modular_64 {
    use virt_util::xml::{ValueError, parse_integer, push_unsigned, scan_integer};

    pub(crate) fn parse(text: &str) -> Result<u64, ValueError> {
        match scan_integer(text, 10) {
            Some((true, value)) => Ok(value.wrapping_neg()),
            _ => parse_integer(text, 10),
        }
    }

    pub(crate) fn format(value: &u64, out: &mut String) {
        push_unsigned(out, *value);
    }
}

/// `with = crate::values::shown_signed`: an unsigned number of 32 bits that is written as a signed one.
pub(crate) mod shown_signed {
    use std::fmt::Write as _;

    use virt_util::xml::{ValueError, parse_integer};

    pub(crate) fn parse(text: &str) -> Result<u32, ValueError> {
        parse_integer(text, 10)
    }

    pub(crate) fn format(value: &u32, out: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(out, "{}", value.cast_signed());
    }
}

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether the address is for a group of stations.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether all bits are zero, which libvirt takes as "not given".
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl XmlValue for MacAddress {
    const SCHEMA: ValueSchema = ValueSchema::Text;

    /// What stands behind a blank after the address is passed over, as libvirt does.
    fn parse_value(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::expected("a MAC address: six hexadecimal bytes separated by colons");
        let end = text.find(|c: char| c <= ' ' || !c.is_ascii());
        let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| {
                    matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
                .ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(Self(bytes))
        }
    }

    fn format_value(&self, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 0xF)).copied().unwrap_or(b'0');
        let mut text = *b"00:00:00:00:00:00";
        for (byte, pair) in self.0.into_iter().zip(text.chunks_mut(3)) {
            if let [high, low, ..] = pair {
                (*high, *low) = (digit(byte >> 4), digit(byte));
            }
        }
        out.push_str(std::str::from_utf8(&text).unwrap_or_default());
    }
}

/// `CONFIG_UNSUPPORTED` for a word that is none of `words`; says which there are and which one was probably meant.
#[cold]
pub fn unsupported_word(
    element: Element<'_>,
    at: At<'_>,
    found: &str,
    words: impl Iterator<Item = &'static str> + Clone,
) -> VirtError {
    let mut allowed = String::from("expected one of ");
    for (number, word) in words.clone().enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        allowed.push_str(&format!("{comma}'{word}'"));
    }
    if let Some(word) = nearest(found, words) {
        allowed.push_str(&format!("; did you mean '{word}'?"));
    }
    let place = invalid_value(element, at, found, &ValueError::expected("another word"));
    let detail = place.detail().replace("expected another word", &allowed);
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, detail).in_domain(element.doc().domain())
}

/// A PCI device of the host: `<address domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/>`.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address", check = HostPciAddress::after_read)]
pub struct HostPciAddress {
    /// PCI domain.
    #[xml("@domain", default, always, format = "0x%04x")]
    pub domain: u32,
    /// PCI bus, 0 to 0xff.
    #[xml("@bus", default, always, format = "0x%02x")]
    pub bus: u32,
    /// Slot on the bus, 0 to 0x1f.
    #[xml("@slot", default, always, format = "0x%02x")]
    pub slot: u32,
    /// Function in the slot, 0 to 7.
    #[xml("@function", default, always, format = "0x%x")]
    pub function: u32,
}

impl HostPciAddress {
    /// A function alone says nothing of the device, and may be any.
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> virt_util::Result<()> {
        if (self.domain, self.bus, self.slot) == (0, 0, 0) {
            return Ok(());
        }
        let limits = [
            ("bus", self.bus, 0xff),
            ("slot", self.slot, 0x1f),
            ("function", self.function, 7),
        ];
        for (name, value, max) in limits {
            if value > max {
                let what = format!("invalid PCI address {name}='{value:#x}', must be <= {max:#x}");
                // It is the tool for PCI devices that says so.
                cx.fail(error_at(element, At::Attribute(name), what).in_domain(ErrorDomain::NONE))?;
            }
        }
        Ok(())
    }
}

/// The kernel's name for the device: `0000:00:1f.2`.
impl fmt::Display for HostPciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            slot,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")
    }
}

/// Owner, mode and label of a file or folder that is made.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "permissions")]
pub struct Permissions {
    /// Permission bits, 0 to 0o777.
    #[xml("mode/text()", with = octal_mode)]
    pub mode: Option<u32>,
    /// User; none for the usual one.
    #[xml(".", with = owner, reads("owner": i64))]
    pub owner: Option<u32>,
    /// Group; none for the usual one.
    #[xml(".", with = group, reads("group": i64))]
    pub group: Option<u32>,
    /// Label of the security driver.
    #[xml("label")]
    pub label: Option<String>,
}

impl Permissions {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A path whose superfluous slashes are taken away when it is read, as libvirt does with some paths and not with others.
pub(crate) mod tidy_path {
    use virt_util::path::sanitize_path;
    use virt_util::xml::{ValueError, escape_into};

    pub(crate) fn parse(text: &str) -> Result<String, ValueError> {
        Ok(sanitize_path(text))
    }

    #[allow(
        clippy::ptr_arg,
        reason = "the shape of all such modules: a reference to the field's type"
    )]
    pub(crate) fn format(path: &String, out: &mut String) {
        escape_into(out, path);
    }
}

/// `<mode>0644</mode>`.
mod octal_mode {
    use virt_util::xml::{ValueError, parse_integer, push_radix};

    pub(super) fn parse(text: &str) -> Result<u32, ValueError> {
        match parse_integer::<i32>(text, 8) {
            Ok(mode @ 0..=0o777) => Ok(mode.unsigned_abs()),
            _ => Err(ValueError::expected("an octal number from 0 to 0777")),
        }
    }

    pub(super) fn format(mode: &u32, out: &mut String) {
        out.push('0');
        push_radix(out, u64::from(*mode), 8, 0);
    }
}

/// A numeric user or group: what no 32 bits hold is refused, all bits set (and -1) mean none. libvirt writes it as a
/// signed number, and then does not read the greatest ones again, for which owners of NFS exports are known; we do.
macro_rules! id_element {
    ($module:ident, $name:literal) => {
        mod $module {
            use virt_util::Result;
            use virt_util::xml::{
                At, Element, Reader, ValueError, Writer, invalid_value, parse_integer, push_signed,
            };

            pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<u32>> {
                let Some(child) = element.child($name) else {
                    return Ok(None);
                };
                let text = child.text();
                let id = parse_integer::<i64>(&text, 10).ok().and_then(|id| {
                    let signed = i32::try_from(id).ok().map(i32::cast_unsigned);
                    signed.or_else(|| u32::try_from(id).ok())
                });
                if id.is_none() {
                    let wanted = ValueError::expected("a number from 0 to 4294967295, or -1 for none");
                    cx.fail(invalid_value(child, At::Text, &text, &wanted))?;
                }
                Ok(id.filter(|id| *id != u32::MAX))
            }

            pub(super) fn write(id: &Option<u32>, w: &mut Writer) {
                if let Some(id) = id {
                    let signed = i64::from(id.cast_signed());
                    w.text_element_with($name, |out| push_signed(out, signed));
                }
            }
        }
    };
}

id_element!(owner, "owner");
id_element!(group, "group");
