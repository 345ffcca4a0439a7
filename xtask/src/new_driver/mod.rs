//! `new-driver`: the skeleton of a driver, in this tree or in a folder of its own.
//!
//! What it writes builds, loads and answers: a connection that has no guests. A driver in a folder of its own gets the
//! manifest that is installed beside it; of drivers in this tree `xtask install` makes it from what they carry.

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
    let snake = name.replace('-', "_");
    let fill = |text: &str| {
        text.replace("@NAME@", name)
            .replace("@SNAKE@", &snake)
            .replace("@TYPE@", &type_name(name))
    };
    let file = format!("virt-driver-{name}.toml");
    task::write(&folder.join("Cargo.toml"), fill(&manifest))?;
    task::write(&folder.join("src/lib.rs"), fill(include_str!("driver.rs.in")))?;
    task::write(&folder.join("tests/rules.rs"), fill(include_str!("rules.rs.in")))?;
    if !in_tree {
        let text = DRIVER_MANIFEST.replace("@ABI@", &interface_version(&root)?);
        task::write(&folder.join(&file), fill(&text))?;
        task::write(
            &folder.join("tests/manifest.rs"),
            fill(include_str!("manifest.rs.in")),
        )?;
        task::write(&folder.join(".gitignore"), "/target\n")?;
        // The versions that this tree is tested with.
        let lock = root.join("Cargo.lock");
        std::fs::copy(&lock, folder.join("Cargo.lock")).context(|| lock.display().to_string())?;
    }
    println!("wrote {}", folder.display());
    if in_tree {
        println!("try: cargo xtask run -- virsh -c {name}:///default list --all");
    } else {
        println!(
            "try, there:\n  cargo build\n  \
             install -D target/debug/libvirt_driver_{snake}.so installed/virt-driver-{name}.so\n  \
             install -m 644 {file} installed\n  \
             VIRT_DRIVER_DIR=$PWD/installed virsh -c {name}:///default list --all"
        );
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

[dev-dependencies]
virt-api = { workspace = true, features = ["testkit"] }

[lints]
workspace = true
"#;

/// What is installed beside a driver's shared object: the words that `driver!` puts into it where it is told no others.
const DRIVER_MANIFEST: &str = r#"name = "@NAME@"
kind = "hypervisor"
role = "client"
schemes = ["@NAME@"]
abi = "@ABI@"
version = "0.1.0"
"#;

/// The version of the interface that drivers are built against, from where it is declared.
fn interface_version(root: &Path) -> Result<String> {
    let file = "crates/virt-api/src/abi/v1.rs";
    let text = task::read(&root.join(file))?;
    let number = |name: &str| {
        let declared = format!("pub const {name}: u32 = ");
        let value = text.lines().find_map(|line| line.strip_prefix(&declared))?;
        value.strip_suffix(';')?.parse::<u32>().ok()
    };
    match (number("ABI_MAJOR"), number("ABI_MINOR")) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => Err(Failure::new(format!(
            "{file} declares no ABI_MAJOR and ABI_MINOR"
        ))),
    }
}

/// The package of a driver elsewhere. Unless told otherwise it takes the crates from this tree, in the place where the
/// published ones would come from.
fn outside(root: &Path, published: bool) -> Result<String> {
    let version = workspace_version(root)?;
    let mut manifest = format!(
        "[package]\nname = \"virt-driver-@NAME@\"\ndescription = \"The @NAME@ driver for Ferrovirt\"\nversion = \"0.1.0\"\n\
         edition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\nvirt-api = \"{version}\"\n\n\
         [dev-dependencies]\nvirt-api = {{ version = \"{version}\", features = [\"testkit\"] }}\n\n[workspace]\n"
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

    #[test]
    fn the_interface_has_a_version() {
        let version = super::interface_version(&crate::task::root()).unwrap();
        let (major, minor) = version.split_once('.').unwrap();
        assert!(
            major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok(),
            "{version}"
        );
    }
}
