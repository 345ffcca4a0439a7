//! `driver-list` and `driver-check`: the plugins that this program can reach.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::output::object;
use crate::shell::{OrSay, Outcome, Shell};
use serde_json::Value;
use std::path::Path;
use virt_api::plugin::{DriverState, Role};
use virt_api::process;
use virt_util::table::Table;

/// The row of `driver-list`.
pub const LIST: Command = Command::new("driver-list", list, "list the drivers that are installed")
    .about("Prints every driver that was found, what it serves and whether it could be loaded.")
    .options(&[Opt::flag(
        "load",
        "load each driver, so that what is wrong with one shows",
    )])
    .offline()
    .structured();

/// The row of `driver-check`.
pub const CHECK: Command = Command::new("driver-check", check, "check a driver's plugin file")
    .about("Loads a plugin as a program would and prints what it says of itself, or why it cannot be loaded.")
    .options(&[Opt::text("file", "the plugin's .so file")
        .required()
        .positional()
        .complete(complete::file_option)])
    .offline()
    .structured();

/// Name and kind of each driver that was found.
pub fn installed() -> Vec<(String, String)> {
    let drivers = process::registry()
        .map(|registry| registry.drivers())
        .unwrap_or_default();
    drivers
        .into_iter()
        .map(|driver| (driver.manifest.name, driver.manifest.kind))
        .collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Stateful => "stateful",
        Role::Client => "client",
    }
}

fn list(shell: &mut Shell, call: &Invocation) -> Outcome {
    let registry = process::registry()?;
    if call.has("load") {
        for driver in registry.drivers() {
            // A failure is remembered and printed with the driver.
            let _ = registry.driver(&driver.manifest.name);
        }
    }
    let mut table = Table::new(&[
        "Name", "Version", "Kind", "Role", "Schemes", "ABI", "State", "File",
    ]);
    let mut rows = Vec::new();
    let mut reasons = Vec::new();
    for driver in registry.drivers() {
        let manifest = &driver.manifest;
        let (state, reason) = match &driver.state {
            DriverState::Known => ("known", None),
            DriverState::Loaded => ("loaded", None),
            DriverState::Failed(error) => ("failed", Some(error.to_string())),
        };
        let path = driver
            .path
            .as_ref()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        table.row([
            manifest.name.clone(),
            manifest.version.clone(),
            manifest.kind.clone(),
            role(manifest.role).to_owned(),
            manifest.schemes.join(","),
            manifest.abi.clone(),
            state.to_owned(),
            path.clone(),
        ]);
        rows.push(object([
            ("name", manifest.name.as_str().into()),
            ("version", manifest.version.as_str().into()),
            ("kind", manifest.kind.as_str().into()),
            ("role", role(manifest.role).into()),
            ("schemes", manifest.schemes.clone().into()),
            ("abi", manifest.abi.as_str().into()),
            ("state", state.into()),
            ("reason", reason.clone().map_or(Value::Null, Value::from)),
            ("file", path.into()),
        ]));
        reasons.extend(reason.map(|reason| format!("{}: {reason}", manifest.name)));
    }
    for (path, error) in registry.problems() {
        reasons.push(format!("{}: {error}", path.display()));
    }
    if shell.structured(|| object([("drivers", rows.into()), ("problems", reasons.clone().into())]))? {
        return Ok(());
    }
    let text = table.render(!shell.options.quiet);
    shell.print(text);
    for reason in reasons {
        shell.error(&reason);
    }
    Ok(())
}

fn check(shell: &mut Shell, call: &Invocation) -> Outcome {
    let file = call.required_text("file")?;
    let checked =
        process::check_plugin(Path::new(file)).or_say(|| format!("'{file}' cannot be used as a driver"))?;
    let fields = [
        ("name", checked.name.clone()),
        ("version", checked.version.clone()),
        ("kind", checked.kind.clone()),
        ("role", role(checked.role).to_owned()),
        ("schemes", checked.schemes.join(",")),
        ("abi", checked.abi.clone()),
    ];
    if shell.structured(|| {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect()
    })? {
        return Ok(());
    }
    for (name, value) in fields {
        let label = format!("{name}:");
        shell.print(format!("{label:<10} {value}\n"));
    }
    shell.extra(format!("'{file}' can be loaded\n"));
    Ok(())
}
