//! Area `util-text`, numbers: as C reads them, versions, times, names of drives.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use virt_conf::domain::normalize::{disk_index, disk_name, disk_name_parts};
use virt_util::calendar;
use virt_util::number::{parse_version, round_up_to_power_of_two, scan_float, scan_integer};

/// A whole number in four types.
pub fn integer(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let suffix = case.param("suffix").as_str();
        // Nothing may follow, or exactly this.
        let found =
            scan_integer(case.text("text")?, 0).filter(|number| number.rest == suffix.unwrap_or_default());
        let have = json!({
            "int": found.and_then(|number| number.to_i32()),
            "uint": found.and_then(|number| number.to_u32_wrapping()),
            "ll": found.and_then(|number| number.to_i64()),
            "ull": found.and_then(|number| number.to_u64_wrapping()),
        });
        let want: Value = ["int", "uint", "ll", "ull"]
            .into_iter()
            .map(|name| (name.to_owned(), case.param(name).clone()))
            .collect();
        Ok(Outcome::equal("numbers", &have, &want))
    };
    run().into()
}

/// A fraction and what follows it.
pub fn float(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let found = scan_float(case.text("text")?);
        let rest = case.param("rest").as_str().unwrap_or_default();
        let value = found
            .filter(|(_, behind)| *behind == rest)
            .map(|(value, _)| value);
        if case.expect.is_refusal() {
            return Ok(Outcome::equal("number", &value, &None));
        }
        // Manifests are read by a fast reader, whose last bit may be wrong.
        let want = case.param("value").as_f64();
        let near = |have: f64, want: f64| (have - want).abs() <= want.abs() * 2.0 * f64::EPSILON;
        match (value, want) {
            (Some(have), Some(want)) if near(have, want) => Ok(Outcome::Passed),
            _ => Ok(Outcome::equal("number", &value, &want)),
        }
    };
    run().into()
}

/// A version as one number.
pub fn version(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let partial = case.param("allow_missing").as_bool().unwrap_or_default();
        let have = parse_version(case.text("text")?, partial);
        Ok(Outcome::equal("version", &have, &case.param("version").as_u64()))
    };
    run().into()
}

/// The next power of two.
pub fn power_of_two(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let value = case
            .param("in")
            .as_u64()
            .and_then(|value| u32::try_from(value).ok());
        let have = round_up_to_power_of_two(value.ok_or("the case has no number")?);
        Ok(Outcome::equal(
            "power",
            &Some(u64::from(have)),
            &case.param("out").as_u64(),
        ))
    };
    run().into()
}

/// A drive's number and its name, both ways.
pub fn drive_name(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let name = case.text("name")?;
        let index = case
            .param("index")
            .as_u64()
            .and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or("the case has no index")?;
        Ok(Outcome::all([
            Outcome::equal("index", &disk_index(name), &Some(index)),
            Outcome::same_text(&disk_name(case.text("prefix")?, index), name),
        ]))
    };
    run().into()
}

/// A drive's or partition's name.
pub fn drive_name_parts(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = disk_name_parts(case.text("name")?);
        let number = |name: &str| {
            case.param(name)
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
        };
        let want = number("index").map(|index| (index, number("partition").unwrap_or_default()));
        Ok(Outcome::equal("parts", &have, &want))
    };
    run().into()
}

/// The calendar's fields of a moment.
pub fn time_fields(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let moment = case.param("ms").as_i64().ok_or("the case has no moment")?;
        let fields = calendar::utc_fields(moment).map_err(|error| error.to_string())?;
        let have = json!({
            "year": fields.year, "month": fields.month, "day": fields.day,
            "hour": fields.hour, "minute": fields.minute, "second": fields.second,
        });
        let names = ["year", "month", "day", "hour", "minute", "second"];
        let want: Value = names
            .into_iter()
            .map(|name| (name.to_owned(), case.param(name).clone()))
            .collect();
        Ok(Outcome::equal("fields", &have, &want))
    };
    run().into()
}

/// How far a time zone is from UTC now.
pub fn zone_offset(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = calendar::zone_offset(case.text("tz")?, calendar::now()).map(Value::from);
        Ok(Outcome::of_value(case, have, case.param("offset")))
    };
    run().into()
}

/// A moment in the notation of XML schemas.
pub fn xml_date_time(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = calendar::parse_xml_date_time(case.text("in")?).map(Value::from);
        Ok(Outcome::of_value(case, have, case.param("seconds")))
    };
    run().into()
}
