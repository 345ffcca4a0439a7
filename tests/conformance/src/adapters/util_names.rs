//! Area `util-text`, names and settings: systemd, logs, credentials, the kernel's command line and modules, VMware's paths.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use sha2::Digest;
use virt_conf::vmx::datastore;
use virt_util::auth_file::AuthFile;
use virt_util::kernel_command_line::{Compare, Which, has_parameter, next_parameter};
use virt_util::systemd::{MachineOwner, machine_name, scope_name};
use virt_util::{kernel_module, log_settings, sub_ids, uri};

/// The next parameter of the kernel's command line, and the rest.
pub fn next_kernel_parameter(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = match next_parameter(case.text("cmdline")?) {
            Some((parameter, rest)) => json!([parameter.name, parameter.value, rest]),
            None => json!([null, null, ""]),
        };
        let want = json!([case.param("param"), case.param("value"), case.param("rest")]);
        Ok(Outcome::equal("parameter", &have, &want))
    };
    run().into()
}

/// Whether the kernel's command line says something.
pub fn match_kernel_parameter(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let words = |name: &str| -> Vec<&str> {
            let list = case.param(name).as_array();
            list.into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let mut flags = words("flags");
        flags.extend(case.flags.iter().map(String::as_str));
        let which = if flags.contains(&"search_first") {
            Which::Any
        } else {
            Which::Last
        };
        let compare = if flags.contains(&"cmp_prefix") {
            Compare::Prefix
        } else {
            Compare::Equal
        };
        let have = has_parameter(
            case.text("cmdline")?,
            case.text("arg")?,
            &words("values"),
            which,
            compare,
        );
        Ok(Outcome::equal(
            "match",
            &Some(have),
            &case.param("match").as_bool(),
        ))
    };
    run().into()
}

/// The unit of a guest.
pub fn scope(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let legacy = case.param("legacy").as_bool().unwrap_or_default();
        let driver = case.text("driver")?;
        let have = scope_name(case.text("name")?, legacy.then_some(driver));
        Ok(Outcome::same_text(&have, case.text("unit")?))
    };
    run().into()
}

/// The machine of a guest.
pub fn machine(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let id = case
            .param("id")
            .as_i64()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or("the case has no id")?;
        let hash = case.param("root").as_str().map(|root| {
            let digest = sha2::Sha256::digest(root.as_bytes());
            digest
                .iter()
                .take(4)
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
        let owner = match &hash {
            Some(hash) => MachineOwner::Embedded(hash),
            None if case.param("privileged").as_bool() == Some(false) => {
                return Ok(Outcome::Skipped(
                    "the name of the user who recorded the case is not known".to_owned(),
                ));
            }
            None => MachineOwner::System,
        };
        let have = machine_name(case.text("driver")?, owner, id, case.text("name")?);
        Ok(Outcome::same_text(&have, case.text("machine")?))
    };
    run().into()
}

/// Whether a line is one of a log.
pub fn log_message(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = log_settings::is_log_message(case.text("text")?);
        Ok(Outcome::equal(
            "is a message",
            &Some(have),
            &case.param("is_log_message").as_bool(),
        ))
    };
    run().into()
}

/// Where messages go.
pub fn log_outputs(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = log_settings::parse_outputs(case.text("text")?).map(|outputs| json!(outputs.len()));
        Ok(Outcome::of_value(case, have, case.param("count")))
    };
    run().into()
}

/// Which messages there are.
pub fn log_filters(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = log_settings::parse_filters(case.text("text")?).map(|filters| json!(filters.len()));
        Ok(Outcome::of_value(case, have, case.param("count")))
    };
    run().into()
}

/// A credential for a service.
pub fn credential(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let file = AuthFile::parse("auth.conf", &corpus.input(case)?).map_err(|error| error.to_string())?;
        let host = case.param("host").as_str();
        let have = file.lookup(case.text("service")?, host, case.text("credential")?);
        Ok(Outcome::of_value(
            case,
            have.map(|value| json!(value)),
            case.param("value"),
        ))
    };
    run().into()
}

/// The command that loads or unloads a module.
pub fn module(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let name = case.text("module")?;
        let have = match case.text("operation")? {
            "load" => kernel_module::load_command(name).join(" "),
            "unload" => kernel_module::unload_command(name).join(" "),
            other => return Ok(Outcome::Skipped(format!("no operation '{other}'"))),
        };
        Ok(Outcome::same_text(&have, case.text("command")?))
    };
    run().into()
}

/// Whether a driver takes a URI's path.
pub fn uri_path(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let privileged = case
            .param("privileged")
            .as_bool()
            .ok_or("the case does not say who asks")?;
        let have = uri::check_driver_path(case.text("driver")?, case.text("path")?, privileged);
        Ok(Outcome::of_text(case, have.map(|()| String::new()), None))
    };
    run().into()
}

/// Subordinate ids: how many lines make sense.
pub fn subordinate_ids(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let text = if case.input.is_string() {
            corpus.input(case)?
        } else {
            case.text("text")?.to_owned()
        };
        let have = sub_ids::parse(&text).map(|all| {
            let rows = all.iter().map(|ids| match &ids.owner {
                sub_ids::SubIdOwner::Name(name) => {
                    json!({"idstr": name, "id": 0, "start": ids.start, "range": ids.count})
                }
                sub_ids::SubIdOwner::Id(id) => {
                    json!({"idstr": null, "id": id, "start": ids.start, "range": ids.count})
                }
            });
            Value::from_iter(rows)
        });
        match (case.param("entries"), case.param("count").as_u64()) {
            (Value::Array(_), _) => Ok(Outcome::of_value(case, have, case.param("entries"))),
            (_, Some(count)) => {
                let have = have.map(|rows| json!(rows.as_array().map_or(0, Vec::len)));
                Ok(Outcome::of_value(case, have, &json!(count)))
            }
            _ => Ok(Outcome::Skipped(
                "the case says no expected ids that are understood".to_owned(),
            )),
        }
    };
    run().into()
}

/// The parts of a path on a datastore.
pub fn datastore_path(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let have = datastore::parse_path(case.text("in")?).map(|path| {
            json!({"datastore": path.datastore, "directory": path.directory, "directory_and_file": path.path})
        });
        let mut want = Value::Object(case.params.clone());
        if let Some(fields) = want.as_object_mut() {
            fields.remove("in");
        }
        Ok(Outcome::of_value(case, have, &want))
    };
    run().into()
}

/// A name as a datastore keeps it.
pub fn datastore_item(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        Ok(Outcome::same_text(
            &datastore::escape_item(case.text("in")?),
            case.text("out")?,
        ))
    };
    run().into()
}

/// A text in Windows-1252.
pub fn windows_1252(case: &Case, _corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let bytes: Option<Vec<u8>> = case
            .text("in_latin1")?
            .chars()
            .map(|c| u8::try_from(u32::from(c)).ok())
            .collect();
        let bytes = bytes.ok_or("a character is no byte")?;
        let have = virt_conf::vmx::text::decode(&bytes, Some("Windows-1252")).map(|text| text.into_owned());
        Ok(Outcome::of_text(case, have, case.param("out").as_str()))
    };
    run().into()
}
