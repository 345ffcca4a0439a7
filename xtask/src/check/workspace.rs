//! The workspace as rules see it: cargo's metadata, plus where each package stands in the house.

use super::Source;
use crate::task::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package, PackageId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a package of the workspace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// `drivers/*`, `secondary/*`: loaded at run time.
    Plugin,
    /// `crates/*`.
    Crate,
    /// `tests/*`.
    Tests,
    /// `xtask`.
    Tooling,
    /// Anywhere else, which no package may be.
    Nowhere,
}

/// A package of the workspace.
pub struct Member<'a> {
    /// What cargo says of it.
    pub package: &'a Package,
    /// Its folder, relative to the workspace's root.
    pub folder: PathBuf,
    /// Where that is in the house.
    pub room: Room,
}

impl Member<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.package.name
    }
}

/// A workspace on disk.
pub struct Workspace {
    /// Its root folder.
    pub root: PathBuf,
    /// All packages and the resolved dependencies.
    pub metadata: Metadata,
}

impl Workspace {
    /// Asks cargo, without the network where the lock file allows it.
    pub fn load(root: &Path) -> Result<Self> {
        let manifest = root.join("Cargo.toml");
        let host = host()?;
        let ask = |offline: bool| {
            let mut command = MetadataCommand::new();
            command.manifest_path(&manifest);
            // Crates for other systems need not be there; what manifests declare for them is listed all the same.
            let mut options = vec!["--filter-platform".to_owned(), host.clone()];
            options.extend(offline.then(|| "--offline".to_owned()));
            command.other_options(options);
            command.exec()
        };
        let metadata = ask(true)
            .or_else(|_| ask(false))
            .context(|| "cargo metadata".to_owned())?;
        let root = root.canonicalize().context(|| root.display().to_string())?;
        Ok(Self { root, metadata })
    }

    /// The packages of the workspace, by folder.
    pub fn members(&self) -> Vec<Member<'_>> {
        let mut members: Vec<Member<'_>> = self
            .metadata
            .workspace_packages()
            .into_iter()
            .map(|package| {
                let folder = self.relative(
                    package
                        .manifest_path
                        .as_std_path()
                        .parent()
                        .unwrap_or(Path::new("")),
                );
                Member {
                    package,
                    room: room(&folder),
                    folder,
                }
            })
            .collect();
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        members
    }

    /// A path as seen from the root.
    pub fn relative(&self, path: &Path) -> PathBuf {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        whole
            .strip_prefix(&self.root)
            .map_or_else(|_| path.to_owned(), Path::to_owned)
    }

    /// The Rust sources of a package: every `.rs` file below its folder that belongs to no package within it.
    pub fn sources(&self, member: &Member<'_>) -> Vec<(PathBuf, Source)> {
        let mut files = Vec::new();
        collect(&self.root.join(&member.folder), true, &mut files);
        files.sort();
        files
            .into_iter()
            .filter_map(|file| {
                let text = std::fs::read_to_string(&file).ok()?;
                Some((
                    file.strip_prefix(&self.root)
                        .map_or_else(|_| file.clone(), Path::to_owned),
                    Source::new(&text),
                ))
            })
            .collect()
    }

    /// The ids of everything that a package is built from: itself, normal and build dependencies, theirs too.
    pub fn tree(&self, id: &PackageId) -> BTreeSet<&PackageId> {
        let edges: BTreeMap<&PackageId, Vec<&PackageId>> = self
            .metadata
            .resolve
            .iter()
            .flat_map(|resolve| &resolve.nodes)
            .map(|node| {
                let kept = node.deps.iter().filter(|dep| {
                    dep.dep_kinds
                        .iter()
                        .any(|kind| kind.kind != cargo_metadata::DependencyKind::Development)
                });
                (&node.id, kept.map(|dep| &dep.pkg).collect())
            })
            .collect();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&PackageId> = edges.get_key_value(id).map(|(id, _)| *id).into_iter().collect();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(edges.get(id).into_iter().flatten().copied());
            }
        }
        seen
    }
}

/// The target that rustc builds for here.
fn host() -> Result<String> {
    let out = crate::task::output(Command::new("rustc").arg("-vV"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".into())
}

/// The room of a folder below the root.
fn room(folder: &Path) -> Room {
    let parts: Vec<_> = folder
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    match parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().as_slice() {
        ["drivers" | "secondary", _] => Room::Plugin,
        ["crates", _] => Room::Crate,
        ["tests", ..] => Room::Tests,
        ["xtask"] => Room::Tooling,
        _ => Room::Nowhere,
    }
}

/// Adds the `.rs` files below a folder, but not those of packages nested in it nor of build outputs.
fn collect(folder: &Path, top: bool, files: &mut Vec<PathBuf>) {
    if !top && folder.join("Cargo.toml").exists() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, false, files);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}
