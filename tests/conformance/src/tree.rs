//! Captured folder trees: `tree-capture-1`, one JSON file for each tree, written back to disk.

use crate::corpus::Corpus;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

#[derive(Deserialize)]
struct Tree {
    format: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    links: BTreeMap<String, String>,
    #[serde(default)]
    empty_dirs: Vec<String>,
    #[serde(default)]
    base64: BTreeMap<String, String>,
}

/// Writes the tree `name` of the corpus into `folder`.
pub fn unpack(corpus: &Corpus, name: &str, folder: &Path) -> Result<(), String> {
    let tree: Tree = serde_json::from_str(&corpus.text(name)?).map_err(|e| format!("{name}: {e}"))?;
    if tree.format != "tree-capture-1" {
        return Err(format!("{name}: unknown format '{}'", tree.format));
    }
    if !tree.base64.is_empty() {
        return Err(format!("{name}: binary files are not supported"));
    }
    let at = |below: &str| -> Result<PathBuf, String> {
        let path = Path::new(below);
        if path.components().all(|part| matches!(part, Component::Normal(_))) {
            Ok(folder.join(path))
        } else {
            Err(format!("{name}: '{below}' leads out of the tree"))
        }
    };
    let failed = |e: std::io::Error| format!("{name}: {e}");
    let make_parent = |path: &Path| match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(failed),
        None => Ok(()),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    for below in &tree.empty_dirs {
        fs::create_dir_all(at(below)?).map_err(failed)?;
    }
    for (below, content) in &tree.files {
        let path = at(below)?;
        make_parent(&path)?;
        fs::write(path, content).map_err(failed)?;
    }
    for (below, target) in &tree.links {
        let path = at(below)?;
        make_parent(&path)?;
        std::os::unix::fs::symlink(target, path).map_err(failed)?;
    }
    Ok(())
}
