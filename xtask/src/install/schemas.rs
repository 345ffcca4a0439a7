//! The schemas of the documents, where tools that validate look for libvirt's.

use std::path::Path;
use std::process::Command;

use super::Installation;
use crate::task::{self, Context, Failure, Result};

/// Makes the RELAX NG files by a program of virt-conf, which makes them of what its own check goes by.
pub(super) fn install(installation: &mut Installation<'_>, prefix: &Path) -> Result<()> {
    let folder = task::root().join("target/schemas");
    // What an earlier run left behind is not to be taken for this one's.
    let _ = std::fs::remove_dir_all(&folder);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "run",
        "--quiet",
        "--package",
        "virt-conf",
        "--example",
        "grammars",
    ]);
    if !installation.options.debug {
        command.arg("--release");
    }
    let status = command
        .arg("--")
        .arg(&folder)
        .current_dir(task::root())
        .status()
        .context(|| "cargo run --example grammars".to_owned())?;
    if !status.success() {
        return Err(Failure::new("the schemas cannot be made: see above"));
    }
    let entries = std::fs::read_dir(&folder).context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default();
        installation.place(&file, &prefix.join("share/libvirt/schemas").join(name), 0o644)?;
    }
    Ok(())
}
