//! The waist: one module knows how a plugin is reached (invariant 2), and no change of it goes unnoticed
//! (invariant 3).

use super::workspace::{Room, Workspace};
use super::{Problem, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The library behind the stable ABI.
const LIBRARY: &str = "abi_stable";

/// The module that may name it: a file or a folder.
const MODULE: &str = "crates/virt-api/src/abi";

/// The part of it that is the binary interface; the rest translates and may change.
const INTERFACE: &str = "crates/virt-api/src/abi/v1";

/// Where copies of the interface are frozen, one folder a minor version, so that later hosts are tried with plugins
/// built from them.
const FROZEN: &str = "tests/waist/abi";

/// What is too heavy or too opinionated to be in a plugin.
const TOO_HEAVY: &[&str] = &["tokio", "hyper", "clap"];

/// `abi_stable` is named by one manifest and in one module.
pub fn one_module(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace.members() {
        if member.name() != "virt-api" && member.package.dependencies.iter().any(|d| d.name == LIBRARY) {
            problems.push(Problem::new(
                member.name(),
                format!("depends on {LIBRARY}; only virt-api may"),
            ));
        }
        for (file, source) in workspace.sources(&member) {
            if in_module(&file) || file.starts_with(FROZEN) {
                continue;
            }
            for line in source.lines_with(LIBRARY) {
                let text = format!("names {LIBRARY}; only {MODULE} may");
                problems.push(Problem::new(format!("{}:{line}", file.display()), text));
            }
        }
    }
    problems
}

/// Whether a file is part of the ABI module.
fn in_module(file: &Path) -> bool {
    file.starts_with(MODULE) || file == Path::new(MODULE).with_extension("rs")
}

/// Nothing that a plugin is built from brings a runtime, an HTTP stack or a command-line parser.
pub fn light_plugins(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace.members().iter().filter(|m| m.room == Room::Plugin) {
        for id in workspace.tree(&member.package.id) {
            let Some(package) = workspace.metadata.packages.iter().find(|p| p.id == *id) else {
                continue;
            };
            if TOO_HEAVY.contains(&package.name.as_str()) {
                problems.push(Problem::new(
                    member.name(),
                    format!("is built from {}", package.name),
                ));
            }
        }
    }
    problems
}

/// The binary interface is the same, comments aside, as the newest frozen copy of it.
pub fn frozen(workspace: &Workspace) -> Vec<Problem> {
    let current = module_files(&workspace.root.join(INTERFACE));
    if current.is_empty() {
        return Vec::new();
    }
    let Some((version, folder)) = newest_copy(&workspace.root.join(FROZEN)) else {
        return vec![Problem::new(
            INTERFACE,
            format!("has no frozen copy; put one into {FROZEN}/<major>.<minor>/"),
        )];
    };
    let copy = module_files(&folder);
    let names: std::collections::BTreeSet<_> = current.keys().chain(copy.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| current.get(*name) != copy.get(*name));
    changed
        .map(|name| {
            let text = format!(
                "differs from its copy frozen as {version}: raise the minor version and freeze a copy of it, \
                 or undo the change"
            );
            Problem::new(format!("{INTERFACE}/{}", name.display()), text)
        })
        .collect()
}

/// The essence of each file of the module, whether it is one file or a folder. Tests are no part of the ABI.
fn module_files(module: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut open = vec![
        (module.with_extension("rs"), PathBuf::from("mod.rs")),
        (module.to_owned(), PathBuf::new()),
    ];
    while let Some((path, name)) = open.pop() {
        if let Ok(entries) = std::fs::read_dir(&path) {
            open.extend(
                entries.filter_map(|e| Some((e.as_ref().ok()?.path(), name.join(e.ok()?.file_name())))),
            );
        } else if path.extension().is_some_and(|ext| ext == "rs")
            && path.file_stem().is_none_or(|stem| stem != "tests")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            files.insert(name, Source::new(&text).essence());
        }
    }
    files
}

/// The frozen copy with the highest version; a copy may hold the module's files itself or in `abi/`.
fn newest_copy(folder: &Path) -> Option<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).ok()?;
    let versions = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let (major, minor) = name.split_once('.')?;
        Some((
            (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?),
            name,
            entry.path(),
        ))
    });
    let (_, name, path) = versions.max_by_key(|(version, _, _)| *version)?;
    let nested = ["abi", "src/abi"]
        .into_iter()
        .map(|sub| path.join(sub))
        .find(|p| p.is_dir());
    Some((name, nested.unwrap_or(path)))
}
