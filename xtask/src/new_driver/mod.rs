//! `new-driver`: the skeleton of a driver, in this tree or in a folder of its own.
//!
//! What it writes builds, loads and answers: a connection that has no guests.

use crate::task::{self, Context, Failure, Outcome, Result};
use std::path::{Path, PathBuf};

/// Options of `new-driver`.
#[derive(clap::Args)]
pub struct Options {
    /// The driver's name, which is its URI scheme too: lower-case letters, digits, dashes
    name: String,
    /// Where to write it; default is ./virt-driver-NAME. A folder of drivers/ or secondary/ becomes part of the tree
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Depend on the published crates only, not on those of this tree
    #[arg(long)]
    published: bool,
}

/// Writes the skeleton.
pub fn run(options: &Options) -> Result<Outcome> {
    let name = &options.name;
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_well
        || !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err(Failure::new(format!(
            "'{name}' is no driver name: lower-case letters, digits and dashes are"
        )));
    }
    let folder = options
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("virt-driver-{name}")));
    let folder = std::path::absolute(&folder).context(|| folder.display().to_string())?;
    if folder.join("Cargo.toml").exists() {
        return Err(Failure::new(format!(
            "{} holds a package already",
            folder.display()
        )));
    }
    let root = task::root();
    let in_tree = ["drivers", "secondary"]
        .iter()
        .any(|room| folder.parent() == Some(&root.join(room)));
    let manifest = if in_tree {
        IN_TREE.to_owned()
    } else {
        outside(&root, options.published)?
    };
    let fill = |text: &str| text.replace("@NAME@", name).replace("@TYPE@", &type_name(name));
    task::write(&folder.join("Cargo.toml"), fill(&manifest))?;
    task::write(&folder.join("src/lib.rs"), fill(include_str!("driver.rs.in")))?;
    if !in_tree {
        task::write(&folder.join(".gitignore"), "/target\n")?;
        // The versions that this tree is tested with.
        let lock = root.join("Cargo.lock");
        std::fs::copy(&lock, folder.join("Cargo.lock")).context(|| lock.display().to_string())?;
    }
    println!("wrote {}", folder.display());
    if in_tree {
        println!("try: cargo xtask run -- virsh -c {name}:///default list --all");
    } else {
        println!("try: cargo build there; docs/writing-a-driver.md says how to load it");
    }
    Ok(Outcome::Passed)
}

/// A Rust type's name from a driver's: `my-cloud` is `MyCloud`.
fn type_name(name: &str) -> String {
    name.split('-')
        .map(|part| {
            let (first, rest) = part.split_at(part.len().min(1));
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

/// The manifest of a driver in this tree.
const IN_TREE: &str = r#"[package]
name = "virt-driver-@NAME@"
description = "The @NAME@ driver of Ferrovirt"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
authors.workspace = true
repository.workspace = true

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
virt-api = { workspace = true }

[lints]
workspace = true
"#;

/// The manifest of a driver elsewhere. Unless told otherwise it takes the crates from this tree, in the place where the
/// published ones would come from.
fn outside(root: &Path, published: bool) -> Result<String> {
    let version = workspace_version(root)?;
    let mut manifest = format!(
        "[package]\nname = \"virt-driver-@NAME@\"\ndescription = \"The @NAME@ driver for Ferrovirt\"\nversion = \"0.1.0\"\n\
         edition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\nvirt-api = \"{version}\"\n\n\
         [workspace]\n"
    );
    if !published {
        manifest.push_str("\n[patch.crates-io]\n");
        for package in ["virt-api", "virt-macros", "virt-util"] {
            manifest.push_str(&format!(
                "{package} = {{ path = {:?} }}\n",
                root.join("crates").join(package)
            ));
        }
    }
    Ok(manifest)
}

/// The version that all crates of this tree have.
fn workspace_version(root: &Path) -> Result<String> {
    let manifest: toml::Table = task::read(&root.join("Cargo.toml"))?
        .parse()
        .context(|| "Cargo.toml".to_owned())?;
    let version = manifest
        .get("workspace")
        .and_then(|w| w.get("package"))
        .and_then(|p| p.get("version"));
    version
        .and_then(toml::Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| "the workspace names no version".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn type_names() {
        assert_eq!(super::type_name("my-cloud2"), "MyCloud2");
        assert_eq!(super::type_name("x"), "X");
    }
}
