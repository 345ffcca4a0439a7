//! Sizes with a unit: `<memory unit='GiB'>2</memory>`.

use crate::forms;
use virt_util::xml::schema::ValueSchema;
use virt_util::xml::{
    At, Element, Reader, ValueError, Writer, XmlValue, error_at, error_with, escape_into, invalid_value,
    parse_integer,
};
use virt_util::{ErrorDomain, Result, VirtError, units};

/// Reads the text of `element` in its attribute `unit`, or in `default_scale` bytes if it has none, as bytes.
///
/// # Errors
/// `XML_ERROR` for no number, `INVALID_ARG` for an unknown unit, `OVERFLOW` above `limit` bytes: libvirt's codes.
pub fn read_scaled(element: Element<'_>, default_scale: u64, limit: u64) -> Result<u64> {
    let text = element.text();
    let value = parse_integer::<u64>(&text, 10)
        .map_err(|error| by_helper(invalid_value(element, At::Text, &text, &error)))?;
    let unit = element.attr("unit");
    units::scale(value, unit.as_deref(), default_scale, limit).map_err(|error| {
        // The place comes from here, the code stays.
        let place = error_at(element, At::Attribute("unit"), "");
        error
            .context(place.detail().trim_end_matches(": "))
            .in_domain(ErrorDomain::NONE)
    })
}

/// A number that stands at `at` of `element` with the unit `unit`, or in `default_scale` bytes, as bytes.
///
/// # Errors
/// As [`read_scaled`].
pub(crate) fn scale_text(
    element: Element<'_>,
    at: At<'_>,
    (text, unit): (&str, Option<&str>),
    default_scale: u64,
    limit: u64,
) -> Result<u64> {
    let number = parse_integer::<u64>(text, 10).map_err(|error| invalid_value(element, at, text, &error))?;
    units::scale(number, unit, default_scale, limit)
        .map_err(|error| error_with(error.code(), element, at, error.detail()).in_domain(ErrorDomain::NONE))
}

/// Sizes are read by a helper that libvirt has for all documents.
fn by_helper(error: VirtError) -> VirtError {
    error.in_domain(ErrorDomain::XML)
}

/// What an element with a size looks like; the fields that hold one are numbers of a fixed unit.
#[derive(Debug, virt_util::xml::Xml)]
pub struct ScaledSize {
    /// What the number counts: `bytes`, `KB`, `KiB`, `G` …; where none is said each place has its own.
    #[xml("@unit")]
    pub unit: Option<Unit>,
    /// The number.
    #[xml("text()")]
    pub amount: u64,
}

/// A unit of size, as written.
#[derive(Clone, Debug)]
pub struct Unit(pub String);

impl XmlValue for Unit {
    const SCHEMA: ValueSchema = ValueSchema::Form(forms::UNIT);

    fn parse_value(text: &str) -> Result<Self, ValueError> {
        Ok(Self(text.to_owned()))
    }

    fn format_value(&self, out: &mut String) {
        escape_into(out, &self.0);
    }
}

/// Greatest size in bytes that libvirt takes for memory.
const MEMORY_LIMIT: u64 = i64::MAX as u64;

/// `with = virt_conf::scaled::kib`: a `u64` in KiB (rounded up), read in any unit, KiB being the default, and written with
/// `unit='KiB'`. An empty element is an error.
pub mod kib {
    use super::{Element, MEMORY_LIMIT, Reader, Result, Writer, read_scaled};
    use virt_util::ErrorCode;
    use virt_util::xml::{At, error_with, push_unsigned};

    /// Reads the element.
    ///
    /// # Errors
    /// As [`read_scaled`].
    pub fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        let kib = read_scaled(element, 1024, MEMORY_LIMIT)?.div_ceil(1024);
        if kib >= MEMORY_LIMIT.div_ceil(1024) {
            let most = MEMORY_LIMIT.div_ceil(1024);
            let what = format_args!("{kib} KiB: less than {most} KiB is allowed");
            return Err(error_with(ErrorCode::OVERFLOW, element, At::Text, what));
        }
        Ok(kib)
    }

    /// Writes the element.
    pub fn write(value: &u64, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute_with("unit", |out| out.push_str("KiB"));
        w.text_with(|out| push_unsigned(out, *value));
        w.end(name);
    }
}

/// `with = virt_conf::scaled::kib_or_none`: as [`kib`], but an empty element is 0.
pub mod kib_or_none {
    use super::{Element, Reader, Result};

    pub use super::kib::write;

    /// Reads the element.
    ///
    /// # Errors
    /// As [`super::read_scaled`].
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<u64> {
        match element.text().is_empty() {
            true => Ok(0),
            false => super::kib::read(element, cx),
        }
    }
}

/// `with = virt_conf::scaled::bytes`: a `u64` in bytes, read in any unit, bytes being the default, and written with
/// `unit='bytes'`.
pub mod bytes {
    use super::{Element, Reader, Result, Writer, read_scaled};
    use virt_util::xml::push_unsigned;

    /// Reads the element.
    ///
    /// # Errors
    /// As [`read_scaled`].
    pub fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        read_scaled(element, 1, u64::MAX)
    }

    /// Writes the element.
    pub fn write(value: &u64, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute_with("unit", |out| out.push_str("bytes"));
        w.text_with(|out| push_unsigned(out, *value));
        w.end(name);
    }
}

/// `with = virt_conf::scaled::storage_bytes`: as [`bytes`], but at most what a file can hold (2^63 - 1), and an empty element
/// is 0.
pub mod storage_bytes {
    use super::{Element, Reader, Result, read_scaled};
    use virt_util::ErrorCode;
    use virt_util::xml::recoded;

    pub use super::bytes::write;

    /// Reads the element.
    ///
    /// # Errors
    /// As [`read_scaled`].
    pub fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        if element.text().is_empty() {
            return Ok(0);
        }
        // The number is read by storage itself.
        read_scaled(element, 1, i64::MAX as u64)
            .map_err(|error| recoded(error, element, ErrorCode::XML_ERROR))
    }
}

/// `with = virt_conf::scaled::storage_unit`: as [`bytes`], but written with `unit='B'`.
pub mod storage_unit {
    use super::Writer;
    use virt_util::xml::push_unsigned;

    pub use super::bytes::read;

    /// Writes the element.
    pub fn write(value: &u64, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute_with("unit", |out| out.push('B'));
        w.text_with(|out| push_unsigned(out, *value));
        w.end(name);
    }
}
