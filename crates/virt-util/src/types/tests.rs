//! Checks of the generated types, against themselves and, where `VIRT_REFERENCE` names a folder with the reference
//! data, against that.

use super::*;
use std::collections::{BTreeMap, HashSet};

#[test]
fn names_lead_back_to_their_numbers() {
    for info in all_types() {
        let mut seen = HashSet::new();
        assert!(!info.members.is_empty(), "{}", info.name);
        for &(name, value) in info.members {
            assert!(seen.insert(name), "{}: {name} twice", info.name);
            assert_eq!(info.value_of(name), Some(value));
            assert_eq!(info.value_of(&format!("{}{name}", info.prefix)), Some(value));
            assert_eq!(
                info.name_of(value).and_then(|name| info.value_of(name)),
                Some(value)
            );
        }
    }
}

#[test]
fn unknown_values_survive() {
    assert_eq!(i32::from(DomainState::from(4711)), 4711);
    assert_eq!(format!("{:?}", DomainState(4711)), "DomainState(4711)");
    let flags = DomainCreateFlags::from(0xffff_0001);
    assert_eq!(u32::from(flags), 0xffff_0001);
    assert!(flags.contains(DomainCreateFlags::START_PAUSED));
    assert_eq!(flags.unknown(), 0xffff_0000);
    assert_eq!(
        format!("{:?}", DomainCreateFlags::START_PAUSED),
        "DomainCreateFlags(START_PAUSED)"
    );
}

#[test]
fn unsupported_flags_are_named() {
    assert!(check_flags("virDomainGetState", 0, 0).is_ok());
    let error = check_flags("virDomainGetState", 0x12, 0x2).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    assert!(error.message().contains("(0x10)") && error.message().contains("virDomainGetState"));
}

/// The text of a reference file, or `None` with a line that says why.
fn reference(name: &str) -> Option<serde_json::Value> {
    let Some(folder) = std::env::var_os("VIRT_REFERENCE") else {
        eprintln!("skipped: VIRT_REFERENCE does not name a folder with reference data");
        return None;
    };
    let path = std::path::Path::new(&folder).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap())
}

fn string<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn enums_equal_the_reference() {
    let Some(data) = reference("api-enums.json") else {
        return;
    };
    type Members = Vec<(String, i64)>;
    let mut ours: BTreeMap<&str, (&str, Members)> = all_types()
        .map(|info| {
            let members = info
                .members
                .iter()
                .map(|(name, value)| (format!("{}{name}", info.prefix), *value));
            (info.c_name, (info.header, members.collect()))
        })
        .collect();
    let elsewhere = ["virErrorDomain", "virErrorLevel", "virErrorNumber"];
    let aliases = [
        "virBlkioParameterType",
        "virMemoryParameterType",
        "virSchedParameterType",
    ];
    let mut count = 0;
    for entry in data["enums"].as_array().unwrap() {
        count += 1;
        let name = string(entry, "name");
        let theirs: Vec<(String, i64)> = entry["members"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|member| member["sentinel"] != true)
            .map(|member| {
                (
                    string(member, "name").to_owned(),
                    member["value"].as_i64().unwrap(),
                )
            })
            .collect();
        if elsewhere.contains(&name) {
            let numbers: Vec<i64> = match name {
                "virErrorNumber" => ErrorCode::ALL.iter().map(|code| code.0.into()).collect(),
                "virErrorDomain" => crate::ErrorDomain::ALL
                    .iter()
                    .map(|domain| domain.0.into())
                    .collect(),
                _ => vec![0, 1, 2],
            };
            assert_eq!(
                numbers,
                theirs.iter().map(|member| member.1).collect::<Vec<_>>(),
                "{name}"
            );
        } else if aliases.contains(&name) {
            for (member, value) in theirs {
                let last = member.rsplit('_').next().unwrap();
                assert_eq!(TypedParameterType::INFO.value_of(last), Some(value), "{member}");
            }
        } else {
            let (header, members) = ours.remove(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(format!("{header}.h"), string(entry, "header"), "{name}");
            assert_eq!(members, theirs, "{name}");
        }
    }
    assert_eq!(count, 178);
    assert!(ours.is_empty(), "not in the reference: {:?}", ours.keys());
}

#[test]
fn parameter_names_equal_the_reference() {
    let Some(data) = reference("api-macros.json") else {
        return;
    };
    let mut ours: BTreeMap<&str, String> = params::FAMILIES
        .iter()
        .flat_map(|(_, names)| names.iter().map(|(name, text)| (*name, (*text).to_owned())))
        .chain(
            params::limits::ALL
                .iter()
                .map(|(name, number)| (*name, number.to_string())),
        )
        .collect();
    for entry in data["macros"].as_array().unwrap() {
        let name = string(entry, "name");
        let text = match entry["kind"].as_str() {
            Some("string") => string(entry, "value").to_owned(),
            // The library's version is stated once elsewhere; the other is an old spelling of a key code set.
            Some("integer") if !["LIBVIR_VERSION_NUMBER", "VIR_KEYCODE_SET_RFB"].contains(&name) => {
                match &entry["value"] {
                    serde_json::Value::String(text) => text.clone(),
                    number => number.to_string(),
                }
            }
            _ => continue,
        };
        assert_eq!(ours.remove(name), Some(text), "{name}");
    }
    assert!(ours.is_empty(), "not in the reference: {:?}", ours.keys());
}
