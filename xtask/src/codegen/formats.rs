//! The reference of the formats in `docs/`: the declarations are read by a program of virt-conf, which this one runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::task::{self, Context, Failure, Result};

/// The pages.
pub fn generate() -> Result<Vec<(PathBuf, String)>> {
    let folder = task::root().join("target/formats");
    // What an earlier run left behind is not to be taken for this one's.
    let _ = std::fs::remove_dir_all(&folder);
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "run",
            "--quiet",
            "--package",
            "virt-conf",
            "--example",
            "formats",
            "--",
        ])
        .arg(&folder)
        .current_dir(task::root())
        .status()
        .context(|| "cargo run --example formats".to_owned())?;
    if !status.success() {
        return Err(Failure::new(
            "the reference of the formats cannot be made: see above",
        ));
    }
    let mut files = Vec::new();
    collect(&folder, Path::new("docs"), &mut files);
    files.sort();
    Ok(files)
}

fn collect(from: &Path, to: &Path, files: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            collect(&path, &to, files);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            files.push((to, text));
        }
    }
}
