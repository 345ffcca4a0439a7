//! Moments and time zones: fields of the calendar, and the notations that peers use.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Result, VirtError};

/// A moment in the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Year.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: i8,
    /// Day of the month, from 1.
    pub day: i8,
    /// Hour, 0 to 23.
    pub hour: i8,
    /// Minute.
    pub minute: i8,
    /// Second.
    pub second: i8,
    /// Millisecond.
    pub millisecond: i16,
}

/// Now, in milliseconds since the epoch.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn timestamp(milliseconds: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| {
        VirtError::internal(format_args!(
            "the calendar ends before {milliseconds} ms: {error}"
        ))
    })
}

/// The fields of a moment in milliseconds since the epoch.
///
/// # Errors
/// `INTERNAL_ERROR` for moments thousands of years away.
pub fn utc_fields(milliseconds: i64) -> Result<Fields> {
    let zoned = timestamp(milliseconds)?.to_zoned(TimeZone::UTC);
    Ok(Fields {
        year: zoned.year(),
        month: zoned.month(),
        day: zoned.day(),
        hour: zoned.hour(),
        minute: zoned.minute(),
        second: zoned.second(),
        millisecond: zoned.millisecond(),
    })
}

/// How many seconds a time zone is ahead of UTC at a moment in milliseconds since the epoch, summer time included. `zone` is
/// what `TZ` holds: a POSIX rule (`CET-1CEST,M3.5.0,M10.5.0/3`) or a name (`Europe/Berlin`).
///
/// # Errors
/// `INTERNAL_ERROR` for an unknown zone.
pub fn zone_offset(zone: &str, milliseconds: i64) -> Result<i32> {
    let name = zone.strip_prefix(':').unwrap_or(zone);
    let found = TimeZone::posix(zone).or_else(|_| TimeZone::get(name));
    let found =
        found.map_err(|error| VirtError::internal(format_args!("unknown time zone '{zone}': {error}")))?;
    Ok(found.to_offset(timestamp(milliseconds)?).seconds())
}

/// Seconds since the epoch of a moment in the notation of XML schemas: `2010-04-05T12:13:55.316789+02:00`; without a zone it
/// is in UTC. Years before our era are 0.
///
/// # Errors
/// `INTERNAL_ERROR`.
pub fn parse_xml_date_time(text: &str) -> Result<i64> {
    let wrong = || VirtError::internal(format_args!("'{text}': expected a time as 2024-05-01T12:30:00Z"));
    if text.starts_with('-') {
        return Ok(0);
    }
    let (date, time) = text.split_once('T').ok_or_else(wrong)?;
    let cut = time.find(['+', '-', 'Z']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(cut).ok_or_else(wrong)?;
    let time: jiff::civil::DateTime = format!("{date}T{time}").parse().map_err(|_| wrong())?;
    let seconds = time
        .to_zoned(TimeZone::UTC)
        .map_err(|_| wrong())?
        .timestamp()
        .as_second();
    let offset = match zone {
        "" | "Z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone
                .get(1..)
                .and_then(|zone| zone.split_once(':'))
                .ok_or_else(wrong)?;
            let part = |text: &str, most: i64| {
                let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<i64>().ok().filter(|value| digits && *value <= most)
            };
            let hours = part(hours, 24).ok_or_else(wrong)?;
            sign * (hours * 3600 + part(minutes, 59).ok_or_else(wrong)? * 60)
        }
    };
    Ok(seconds - offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zones_have_summers() {
        let (winter, summer) = (1_704_067_200_000, 1_719_792_000_000);
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!(zone_offset(berlin, winter).unwrap(), 3600);
        assert_eq!(zone_offset(berlin, summer).unwrap(), 7200);
        assert_eq!(zone_offset("UTC", winter).unwrap(), 0);
        assert!(zone_offset("Nowhere/Else", winter).is_err());
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(parse_xml_date_time("1970-01-01T01:00:00.5+01:00").unwrap(), 0);
        assert_eq!(parse_xml_date_time("1970-01-02T00:00:00").unwrap(), 86400);
        for wrong in [
            "",
            "1970",
            "1970-01-01T00:00:00+1",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00:00ZZ",
        ] {
            assert!(parse_xml_date_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(utc_fields(-1).unwrap().year, 1969);
        assert!(utc_fields(i64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[-0-9T:+Z.\\PC]{0,30}") {
            let _ = parse_xml_date_time(&text);
            let _ = zone_offset(&text, 0);
        }
    }
}
