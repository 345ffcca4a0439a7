//! Who may name whom (invariant 1).

use super::Problem;
use super::workspace::{Member, Room, Workspace};
use std::path::{Component, Path, PathBuf};

/// What a plugin may name of the workspace.
const PLUGIN_BASE: &[&str] = &["virt-api", "virt-conf", "virt-util"];

/// What each package of `crates/` may name of the workspace.
const CRATES: &[(&str, &[&str])] = &[
    ("virt-macros", &[]),
    ("virt-util", &["virt-macros"]),
    ("virt-conf", &["virt-util"]),
    ("virt-api", &["virt-util", "virt-macros"]),
    ("virtd", &["virt-api", "virt-util"]),
    ("virsh", &["virt-api", "virt-util", "virt-conf"]),
    // One file must do in a chroot, so the C library carries these two drivers with it.
    (
        "libvirt",
        &["virt-api", "virt-util", "virt-driver-remote", "virt-driver-test"],
    ),
];

/// The only feature that the base crates may have.
const BASE_FEATURES: &[&str] = &["testkit"];

/// Every dependency, of any kind, for any target, optional or renamed, is one that its package may have.
pub fn dependencies(workspace: &Workspace) -> Vec<Problem> {
    let members = workspace.members();
    let is_ours = |name: &str| members.iter().any(|m| m.name() == name) || name.starts_with("virt-driver-");
    let mut problems = Vec::new();
    for member in &members {
        let allowed: Option<&[&str]> = match member.room {
            Room::Plugin => Some(PLUGIN_BASE),
            Room::Crate => match CRATES.iter().find(|(name, _)| *name == member.name()) {
                Some((_, allowed)) => Some(allowed),
                None => {
                    problems.push(Problem::new(
                        member.name(),
                        "is a crate that the plan of the house does not know",
                    ));
                    continue;
                }
            },
            Room::Tests => None,
            Room::Tooling => Some(&[]),
            Room::Nowhere => {
                let text = "lies outside crates/, drivers/, secondary/, tests/ and xtask/";
                problems.push(Problem::new(member.folder.display().to_string(), text));
                continue;
            }
        };
        let Some(allowed) = allowed else { continue };
        for dependency in &member.package.dependencies {
            // A crate may name itself in its tests, to switch its test helpers on.
            let itself = dependency.name == member.name();
            if itself || allowed.contains(&dependency.name.as_str()) {
                continue;
            }
            if is_ours(&dependency.name) || dependency.path.is_some() {
                let named = if allowed.is_empty() {
                    "nothing".to_owned()
                } else {
                    allowed.join(", ")
                };
                let text = format!(
                    "names {} ({} dependency); of this workspace it may name {named}",
                    dependency.name, dependency.kind
                );
                problems.push(Problem::new(member.name(), text));
            }
        }
    }
    problems
}

/// The base crates have no features but the test helpers: no feature may be needed, or change what is built.
pub fn features(workspace: &Workspace) -> Vec<Problem> {
    let members = workspace.members();
    let base = members.iter().filter(|m| PLUGIN_BASE.contains(&m.name()));
    base.flat_map(|member| {
        let names = member.package.features.keys();
        let extra = names.filter(|name| !BASE_FEATURES.contains(&name.as_str()));
        extra.map(|name| {
            Problem::new(
                member.name(),
                format!("has the feature '{name}'; only testkit is allowed"),
            )
        })
    })
    .collect()
}

/// No package's source reaches out of its folder: not by a target's path, `#[path]`, an include or a link.
pub fn sources(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace
        .members()
        .iter()
        .filter(|m| matches!(m.room, Room::Plugin | Room::Crate))
    {
        let folder = workspace.root.join(&member.folder);
        for target in &member.package.targets {
            let path = target.src_path.as_std_path();
            if !path
                .canonicalize()
                .unwrap_or_else(|_| path.to_owned())
                .starts_with(&folder)
            {
                let text = format!(
                    "target {} is built from {}, outside the package",
                    target.name,
                    path.display()
                );
                problems.push(Problem::new(member.name(), text));
            }
        }
        scan(workspace, member, &mut problems);
    }
    problems
}

/// Attributes and macros that read another file.
const READERS: &[&str] = &[
    "#[path",
    "cfg_attr(",
    "include!(",
    "include_str!(",
    "include_bytes!(",
];

/// Looks through the sources of one package.
fn scan(workspace: &Workspace, member: &Member<'_>, problems: &mut Vec<Problem>) {
    for (file, source) in workspace.sources(member) {
        let whole = workspace.root.join(&file);
        if !whole
            .canonicalize()
            .unwrap_or_else(|_| whole.clone())
            .starts_with(workspace.root.join(&member.folder))
        {
            problems.push(Problem::new(
                file.display().to_string(),
                "is a link to a file outside the package",
            ));
        }
        for opener in READERS {
            for (line, argument) in source.arguments_of(opener) {
                let squeezed: String = argument.split_whitespace().collect();
                if *opener == "cfg_attr(" && !squeezed.contains(",path=") {
                    continue;
                }
                if reads_outside(&member.folder, &file, &argument) {
                    let text = format!("{opener} reads {argument}, outside the package");
                    problems.push(Problem::new(format!("{}:{line}", file.display()), text));
                }
            }
        }
    }
}

/// Whether the argument of a reader names a file outside `folder`.
fn reads_outside(folder: &Path, file: &Path, argument: &str) -> bool {
    let literals = argument.split('"').skip(1).step_by(2);
    let mut paths = literals.filter(|literal| !matches!(*literal, "OUT_DIR" | "CARGO_MANIFEST_DIR"));
    if argument.contains("OUT_DIR") {
        paths.any(|path| path.contains(".."))
    } else if argument.contains("CARGO_MANIFEST_DIR") {
        paths.any(|path| leaves(folder, folder, path.trim_start_matches('/')))
    } else {
        paths.any(|path| leaves(folder, file.parent().unwrap_or(Path::new("")), path))
    }
}

/// Whether a path written in a file of folder `from` leads out of `folder`.
fn leaves(folder: &Path, from: &Path, path: &str) -> bool {
    let mut place = PathBuf::new();
    for part in from.join(path).components() {
        match part {
            Component::ParentDir => {
                if !place.pop() {
                    return true;
                }
            }
            Component::CurDir => {}
            other => place.push(other),
        }
    }
    !place.starts_with(folder)
}
