//! The plugins of the tree, built and put where a registry finds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use virt_util::{ErrorCode, Result, VirtError};

use crate::plugin::{Manifest, SearchPath, inspect};

/// Plugins in a folder, as installed ones are.
#[derive(Clone, Debug)]
pub struct PluginFolder {
    directory: PathBuf,
    objects: BTreeMap<String, PathBuf>,
}

impl PluginFolder {
    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The search path of this folder alone.
    pub fn search_path(&self) -> SearchPath {
        SearchPath::only(&self.directory)
    }

    /// The shared object that cargo built for the package of that name (`virt-driver-test`).
    pub fn object(&self, package: &str) -> Option<&Path> {
        self.objects.get(package).map(PathBuf::as_path)
    }
}

/// Builds the workspace that the running test belongs to, and hard-links exactly the shared objects that cargo reports
/// into `target/plugins`, manifests beside them. What was there and is not reported any more is removed. Plugins of
/// packages under `tests/` stay where cargo put them ([`PluginFolder::object`]): they are nobody's to install. Once per
/// process. Plain `cargo test` builds no shared object and may leave yesterday's; a test that loads plugins calls this.
pub fn plugins() -> Result<&'static PluginFolder> {
    static BUILT: OnceLock<Result<PluginFolder>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref().map_err(VirtError::clone)
}

fn failed(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::OPERATION_FAILED, what)
}

/// The directory of the outermost `Cargo.toml` above the test's package: the workspace.
fn workspace() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .ok_or_else(|| failed("CARGO_MANIFEST_DIR is not set: run the test through cargo"))?;
    package
        .ancestors()
        .filter(|directory| directory.join("Cargo.lock").is_file())
        .last()
        .map(Path::to_owned)
        .ok_or_else(|| failed(format_args!("no Cargo.lock above '{}'", package.display())))
}

fn build() -> Result<PluginFolder> {
    let workspace = workspace()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What the cargo that runs this test says of its package, build scripts would take for a change and build again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args([
            "build",
            "--workspace",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(&workspace)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| VirtError::io(&error, "cannot run cargo"))?;
    if !output.status.success() {
        return Err(failed("the workspace does not build"));
    }
    let mut target = None;
    let mut objects = BTreeMap::new();
    let mut installed = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let is_plugin = message["reason"] == "compiler-artifact"
            && message["target"]["crate_types"]
                .as_array()
                .is_some_and(|types| types.iter().any(|kind| kind == "cdylib"));
        if !is_plugin {
            continue;
        }
        let file = message["filenames"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
            .find(|name| name.ends_with(".so"));
        let manifest = message["manifest_path"].as_str().map(PathBuf::from);
        let package = manifest.as_deref().and_then(package_name);
        if let (Some(file), Some(manifest), Some(package)) = (file, manifest, package) {
            let file = PathBuf::from(file);
            if !manifest.starts_with(workspace.join("tests")) {
                installed.push(file.clone());
            }
            target = file
                .parent()
                .and_then(Path::parent)
                .map(Path::to_owned)
                .or(target);
            objects.insert(package, file);
        }
    }
    let target = target.unwrap_or_else(|| workspace.join("target"));
    let directory = target.join("plugins");
    std::fs::create_dir_all(&directory)
        .map_err(|error| VirtError::io(&error, format_args!("cannot make '{}'", directory.display())))?;
    let mut kept = Vec::new();
    for object in &installed {
        // A shared object that is no driver (the C library) has no manifest.
        let Ok(manifest) = inspect(object) else { continue };
        kept.extend(place(object, &directory, &manifest)?);
    }
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // Helper programs and files in the making are others' business.
        let ours = name.to_str().is_some_and(|name| name.starts_with("virt-driver-"));
        if ours && !kept.contains(&entry.path()) && entry.path().extension().is_some() {
            // Another test may be removing the same leftover.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(PluginFolder { directory, objects })
}

/// The name of the package with that manifest.
fn package_name(manifest: &Path) -> Option<String> {
    let table: toml::Table = std::fs::read_to_string(manifest).ok()?.parse().ok()?;
    Some(table.get("package")?.get("name")?.as_str()?.to_owned())
}

fn manifest_text(manifest: &Manifest) -> String {
    let role = match manifest.role {
        crate::plugin::Role::Stateful => "stateful",
        crate::plugin::Role::Client => "client",
    };
    format!(
        "name = {:?}\nkind = {:?}\nrole = {role:?}\nschemes = {:?}\nabi = {:?}\nversion = {:?}\n",
        manifest.name, manifest.kind, manifest.schemes, manifest.abi, manifest.version
    )
}

/// Hard-links (or copies) `object` and writes its manifest. Each new name replaces the old in one step, since other
/// tests may be reading.
fn place(object: &Path, directory: &Path, manifest: &Manifest) -> Result<[PathBuf; 2]> {
    let io =
        |error: std::io::Error| VirtError::io(&error, format_args!("cannot place '{}'", object.display()));
    let shared = directory.join(format!("virt-driver-{}.so", manifest.name));
    let fresh = directory.join(format!(".{}-{}.so", manifest.name, std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    std::fs::hard_link(object, &fresh)
        .or_else(|_| std::fs::copy(object, &fresh).map(drop))
        .map_err(io)?;
    std::fs::rename(&fresh, &shared).map_err(io)?;
    // Renaming onto another link of the same file does nothing and leaves the new name.
    let _ = std::fs::remove_file(&fresh);
    let text = shared.with_extension("toml");
    let fresh = directory.join(format!(".{}-{}.toml", manifest.name, std::process::id()));
    std::fs::write(&fresh, manifest_text(manifest)).map_err(io)?;
    std::fs::rename(&fresh, &text).map_err(io)?;
    Ok([shared, text])
}

/// Copies `object` into `directory` as the plugin of `manifest`: a file of its own, for tests that damage it.
pub fn copy_plugin(object: &Path, directory: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let io =
        |error: std::io::Error| VirtError::io(&error, format_args!("cannot copy '{}'", object.display()));
    let shared = directory.join(format!("virt-driver-{}.so", manifest.name));
    std::fs::copy(object, &shared).map_err(io)?;
    std::fs::write(shared.with_extension("toml"), manifest_text(manifest)).map_err(io)?;
    Ok(shared)
}
