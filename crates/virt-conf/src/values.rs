//! Values that several documents share: sizes with units, CPU sets, MAC addresses.

use std::fmt;

use virt_util::bitmap::Bitmap;
use virt_util::xml::schema::ValueSchema;
use virt_util::xml::{ValueError, XmlValue};

/// The most KiB a memory size may come to (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`); limits of this size mean "none".
pub const MEMORY_UNLIMITED_KIB: u64 = 9_007_199_254_740_991;

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
            .map(Self)
            .map_err(|_| ValueError::expected("numbers and ranges as in '0-3,8,^2'"))
    }

    fn format_value(&self, out: &mut String) {
        use fmt::Write;
        let _ = write!(out, "{}", self.0);
    }
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::expected("a MAC address: six hexadecimal bytes separated by colons");
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| matches!(part.len(), 1 | 2))
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
        use fmt::Write;
        let _ = write!(out, "{self}");
    }
}
