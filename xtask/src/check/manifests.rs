//! What each manifest says alike, so that the workspace packages and lints as one.

use super::Problem;
use super::workspace::{Member, Room, Workspace};

/// Keys of `[package]` that come from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "authors"];

/// Each manifest inherits what is the workspace's, takes dependencies from the one list, publishes or does not.
pub fn shape(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace.members() {
        let path = workspace.root.join(&member.folder).join("Cargo.toml");
        let parsed = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.parse::<toml::Table>().ok());
        match parsed {
            Some(manifest) => {
                let wrong = one(&member, &manifest);
                problems.extend(wrong.into_iter().map(|text| Problem::new(member.name(), text)));
            }
            None => problems.push(Problem::new(member.name(), "its manifest is not readable")),
        }
    }
    problems.extend(versions(workspace));
    problems
}

/// What is wrong with one manifest.
fn one(member: &Member<'_>, manifest: &toml::Table) -> Vec<String> {
    let mut wrong = Vec::new();
    let inherits = |table: Option<&toml::Value>| {
        table
            .and_then(|t| t.get("workspace"))
            .and_then(toml::Value::as_bool)
            == Some(true)
    };
    let package = manifest.get("package");
    for key in INHERITED {
        if !inherits(package.and_then(|p| p.get(key))) {
            wrong.push(format!("[package] lacks {key}.workspace = true"));
        }
    }
    if package.and_then(|p| p.get("description")).is_none() {
        wrong.push("[package] has no description".to_owned());
    }
    if !inherits(manifest.get("lints")) {
        wrong.push("lacks [lints] workspace = true".to_owned());
    }
    for (section, name, dependency) in dependencies(manifest) {
        if !inherits(Some(dependency)) && dependency.get("path").is_none() {
            wrong.push(format!(
                "[{section}] {name} is not taken from [workspace.dependencies]"
            ));
        }
    }

    let published = member
        .package
        .publish
        .as_ref()
        .is_none_or(|registries| !registries.is_empty());
    let is_library = member
        .package
        .targets
        .iter()
        .any(|t| t.is_lib() || t.is_rlib() || t.is_cdylib() || t.is_proc_macro());
    // A program in crates/ may have a library too, for its tests; it is a program all the same, but has to be packaged
    // where a crate depends on it, or `cargo package --workspace` fails.
    let is_program =
        member.room == Room::Crate && member.package.targets.iter().any(|target| target.is_bin());
    let room = matches!(member.room, Room::Crate | Room::Plugin);
    let (should, may) = (is_library && !is_program && room, is_library && room);
    match (published, should) {
        (true, false) if !may => wrong.push("is a program or a test and lacks publish = false".to_owned()),
        (false, true) => wrong.push("is a library that others build on, and has publish = false".to_owned()),
        _ => {}
    }
    wrong
}

/// All dependencies of a manifest: section, name, entry.
fn dependencies(manifest: &toml::Table) -> Vec<(String, &str, &toml::Value)> {
    const SECTIONS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];
    let mut found = Vec::new();
    let mut tables: Vec<(String, &toml::Table)> = vec![(String::new(), manifest)];
    for (target, table) in manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
    {
        tables.extend(table.as_table().map(|table| (format!("target.{target}."), table)));
    }
    for (prefix, table) in tables {
        for section in SECTIONS {
            let entries = table.get(*section).and_then(toml::Value::as_table);
            for (name, entry) in entries.into_iter().flatten() {
                found.push((format!("{prefix}{section}"), name.as_str(), entry));
            }
        }
    }
    found
}

/// Paths in the workspace's list carry versions, which `cargo package` needs.
fn versions(workspace: &Workspace) -> Vec<Problem> {
    let text = std::fs::read_to_string(workspace.root.join("Cargo.toml")).unwrap_or_default();
    let Ok(manifest) = text.parse::<toml::Table>() else {
        return Vec::new();
    };
    let list = manifest
        .get("workspace")
        .and_then(|w| w.get("dependencies"))
        .and_then(toml::Value::as_table);
    list.into_iter()
        .flatten()
        .filter(|(_, entry)| entry.get("path").is_some() && entry.get("version").is_none())
        .map(|(name, _)| {
            Problem::new(
                "Cargo.toml",
                format!("[workspace.dependencies] {name} has a path and no version"),
            )
        })
        .collect()
}
