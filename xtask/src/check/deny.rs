//! The dependency policy of `deny.toml`, checked without the network: licences, bans, sources, and two versions
//! of one crate. `cargo deny` reads the same file and is used as well where it is installed (see `tools`); this
//! keeps the policy true on machines without it.

use super::workspace::{Member, Workspace};
use super::{Problem, spdx};
use cargo_metadata::Package;
use std::collections::{BTreeMap, BTreeSet};

/// The policy file.
pub const POLICY: &str = "deny.toml";

/// The parts of the policy that need no database.
pub fn offline(workspace: &Workspace) -> Vec<Problem> {
    let text = match std::fs::read_to_string(workspace.root.join(POLICY)) {
        Ok(text) => text,
        Err(e) => return vec![Problem::new(POLICY, e.to_string())],
    };
    let policy: toml::Table = match text.parse() {
        Ok(policy) => policy,
        Err(e) => return vec![Problem::new(POLICY, e.to_string())],
    };
    let mut problems = licences(workspace, &policy);
    problems.extend(bans(workspace, &policy));
    problems.extend(sources(workspace, &policy));
    problems.extend(direct_duplicates(workspace));
    problems
}

/// Packages from outside the workspace.
fn foreign(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace.metadata.packages.iter().filter(|p| p.source.is_some())
}

/// The strings of a list at `table.key`.
fn strings(policy: &toml::Table, table: &str, key: &str) -> Vec<String> {
    let list = policy
        .get(table)
        .and_then(|t| t.get(key))
        .and_then(toml::Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

/// The tables of a list at `table.key`; a bare string stands for a table with that `name`.
fn entries<'a>(policy: &'a toml::Table, table: &str, key: &str) -> Vec<(String, Option<&'a toml::Value>)> {
    let list = policy
        .get(table)
        .and_then(|t| t.get(key))
        .and_then(toml::Value::as_array);
    let entry = |value: &'a toml::Value| match value.as_str() {
        Some(name) => Some((name.to_owned(), None)),
        None => {
            let name = value.get("crate").or_else(|| value.get("name"))?.as_str()?;
            Some((name.to_owned(), Some(value)))
        }
    };
    list.into_iter().flatten().filter_map(entry).collect()
}

/// Every licence is accepted, for all crates or by exception.
fn licences(workspace: &Workspace, policy: &toml::Table) -> Vec<Problem> {
    let accepted = strings(policy, "licenses", "allow");
    let exceptions = entries(policy, "licenses", "exceptions");
    let mut problems = Vec::new();
    for package in foreign(workspace) {
        let mut accepted = accepted.clone();
        for (_, entry) in exceptions.iter().filter(|(name, _)| *name == *package.name) {
            let extra = entry.and_then(|e| e.get("allow")).and_then(toml::Value::as_array);
            accepted.extend(
                extra
                    .into_iter()
                    .flatten()
                    .filter_map(|v| v.as_str().map(str::to_owned)),
            );
        }
        let place = format!("{} {}", package.name, package.version);
        match &package.license {
            Some(license) if spdx::satisfied(license, &accepted) => {}
            Some(license) => problems.push(Problem::new(place, format!("licence {license} is not accepted"))),
            None => problems.push(Problem::new(place, "names no licence")),
        }
    }
    problems
}

/// No banned crate is in the tree, but where the ban names who may bring it (`wrappers`).
fn bans(workspace: &Workspace, policy: &toml::Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, entry) in entries(policy, "bans", "deny") {
        for package in foreign(workspace).filter(|p| *p.name == name) {
            let wrappers: Vec<&str> = entry
                .and_then(|e| e.get("wrappers"))
                .and_then(toml::Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(toml::Value::as_str)
                .collect();
            let users: Vec<&str> = users(workspace, package)
                .into_iter()
                .filter(|u| !wrappers.contains(u))
                .collect();
            if !users.is_empty() {
                let reason = entry
                    .and_then(|e| e.get("reason"))
                    .and_then(toml::Value::as_str)
                    .unwrap_or("no reason given");
                let text = format!("is banned ({reason}); {} brings it", users.join(", "));
                problems.push(Problem::new(
                    format!("{} {}", package.name, package.version),
                    text,
                ));
            }
        }
    }
    problems
}

/// Names of the packages that depend on this one directly.
fn users<'a>(workspace: &'a Workspace, package: &Package) -> Vec<&'a str> {
    let nodes = workspace
        .metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes);
    let ids: BTreeSet<_> = nodes
        .filter(|node| node.dependencies.contains(&package.id))
        .map(|node| &node.id)
        .collect();
    workspace
        .metadata
        .packages
        .iter()
        .filter(|p| ids.contains(&p.id))
        .map(|p| p.name.as_str())
        .collect()
}

/// Everything comes from an accepted registry.
fn sources(workspace: &Workspace, policy: &toml::Table) -> Vec<Problem> {
    let registries = strings(policy, "sources", "allow-registry");
    let mut problems = Vec::new();
    for package in foreign(workspace) {
        let Some(source) = &package.source else { continue };
        // cargo writes the registry's protocol in front; the accepted ones are named without.
        let bare = source
            .repr
            .trim_start_matches("registry+")
            .trim_start_matches("sparse+");
        if !source.is_crates_io() && !registries.iter().any(|r| r.trim_start_matches("sparse+") == bare) {
            let text = format!("comes from {}, which is no accepted source", source.repr);
            problems.push(Problem::new(
                format!("{} {}", package.name, package.version),
                text,
            ));
        }
    }
    problems
}

/// No two versions of a crate that packages of the workspace name themselves.
fn direct_duplicates(workspace: &Workspace) -> Vec<Problem> {
    let members: Vec<Member<'_>> = workspace.members();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let nodes = workspace
        .metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes);
    for node in nodes.filter(|node| members.iter().any(|m| m.package.id == node.id)) {
        for package in foreign(workspace).filter(|p| node.dependencies.contains(&p.id)) {
            versions
                .entry(package.name.as_str())
                .or_default()
                .insert(package.version.to_string());
        }
    }
    let twice = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    twice
        .map(|(name, versions)| {
            let versions: Vec<String> = versions.into_iter().collect();
            Problem::new(
                name,
                format!("is named in the versions {}", versions.join(" and ")),
            )
        })
        .collect()
}
