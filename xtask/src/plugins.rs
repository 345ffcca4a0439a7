//! Building plugins, and putting them where programs of the tree look for them: `target/plugins`.
//!
//! Only what cargo reports as built goes there, and what it no longer reports is removed, so that a stale `.so`
//! can never be loaded by accident.

use crate::manifest;
use crate::task::{self, Context, Failure, Result};
use cargo_metadata::{Artifact, CrateType, Message};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// How things are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For work in the tree.
    Dev,
    /// For installation.
    Release,
}

/// A plugin that cargo has built.
pub struct Plugin {
    /// The driver's name, as its manifest says it.
    pub name: String,
    /// The shared object, where cargo put it.
    pub object: PathBuf,
    /// The text of its manifest file.
    pub manifest: String,
    /// Programs that belong to it, where cargo put them.
    pub helpers: Vec<PathBuf>,
}

impl Plugin {
    /// The name of its shared object in a driver folder.
    pub fn object_name(&self) -> String {
        format!("virt-driver-{}.so", self.name)
    }

    /// The name of its manifest in a driver folder.
    pub fn manifest_name(&self) -> String {
        format!("virt-driver-{}.toml", self.name)
    }
}

/// What a build gave.
pub struct Build {
    /// The plugins of `drivers/` and `secondary/`.
    pub plugins: Vec<Plugin>,
    /// Programs of `crates/`, where cargo put them.
    pub programs: Vec<PathBuf>,
}

/// Builds the whole workspace at once, so that everything that will meet at run time shares one set of features.
pub fn build(profile: Profile, environment: Option<(&str, &OsStr)>) -> Result<Build> {
    let artifacts = artifacts(profile, environment)?;
    let root = task::root();
    let is_in = |artifact: &Artifact, folders: &[&str]| {
        folders.iter().any(|folder| {
            artifact
                .manifest_path
                .as_std_path()
                .starts_with(root.join(folder))
        })
    };
    let mut plugins = Vec::new();
    let from_plugins = |a: &&Artifact| is_in(a, &["drivers", "secondary"]);
    for artifact in artifacts
        .iter()
        .filter(from_plugins)
        .filter(|a| a.target.crate_types.contains(&CrateType::CDyLib))
    {
        let object = artifact
            .filenames
            .iter()
            .find(|file| matches!(file.extension(), Some("so" | "dylib")));
        let object = object.ok_or_else(|| {
            Failure::new(format!(
                "cargo reports no shared object for {}",
                artifact.target.name
            ))
        })?;
        let manifest = match manifest::read(object.as_std_path()) {
            Ok(manifest) => manifest,
            // A driver that is being written, and can be built but not loaded yet.
            Err(failure) if profile == Profile::Dev => {
                eprintln!("xtask: {failure}");
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let helpers = artifacts.iter().filter(|a| a.package_id == artifact.package_id);
        plugins.push(Plugin {
            name: manifest.name,
            object: object.clone().into_std_path_buf(),
            manifest: manifest.text,
            helpers: helpers
                .filter_map(|a| a.executable.clone())
                .map(Into::into)
                .collect(),
        });
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let programs = artifacts.iter().filter(|a| is_in(a, &["crates"]));
    Ok(Build {
        plugins,
        programs: programs
            .filter_map(|a| a.executable.clone())
            .map(Into::into)
            .collect(),
    })
}

/// Runs cargo and collects what it reports.
fn artifacts(profile: Profile, environment: Option<(&str, &OsStr)>) -> Result<Vec<Artifact>> {
    let mut command = task::cargo();
    command.args(["build", "--workspace", "--message-format=json-render-diagnostics"]);
    command.envs(environment);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context(|| task::describe(&command))?;
    let stdout = child.stdout.take().ok_or("cargo has no output")?;
    let artifacts: Vec<Artifact> = Message::parse_stream(BufReader::new(stdout))
        .filter_map(|message| match message {
            Ok(Message::CompilerArtifact(artifact)) => Some(artifact),
            _ => None,
        })
        .collect();
    let status = child.wait().context(|| task::describe(&command))?;
    if !status.success() {
        return Err("the workspace does not build".into());
    }
    Ok(artifacts)
}

/// The folder of the tree's plugins.
pub fn folder() -> PathBuf {
    task::root().join("target/plugins")
}

/// Builds, and makes [`folder`] hold exactly what was built.
pub fn fill() -> Result<Build> {
    let build = build(Profile::Dev, None)?;
    let folder = folder();
    std::fs::create_dir_all(&folder).context(|| folder.display().to_string())?;
    let mut kept = BTreeSet::new();
    for plugin in &build.plugins {
        let object = folder.join(plugin.object_name());
        link(&plugin.object, &object)?;
        let manifest = folder.join(plugin.manifest_name());
        if std::fs::read_to_string(&manifest).ok().as_deref() != Some(plugin.manifest.as_str()) {
            task::write(&manifest, &plugin.manifest)?;
        }
        kept.extend([object, manifest]);
        for helper in &plugin.helpers {
            let place = folder.join(helper.file_name().unwrap_or_default());
            link(helper, &place)?;
            kept.insert(place);
        }
    }
    for entry in std::fs::read_dir(&folder)
        .context(|| folder.display().to_string())?
        .filter_map(std::result::Result::ok)
    {
        if !kept.contains(&entry.path()) && entry.path().is_file() {
            std::fs::remove_file(entry.path()).context(|| entry.path().display().to_string())?;
        }
    }
    Ok(build)
}

/// Makes `place` a hard link of `file`. Another process may look at the same moment: the new link takes the old
/// one's name in one step.
fn link(file: &Path, place: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    if let (Ok(a), Ok(b)) = (file.metadata(), place.metadata())
        && (a.dev(), a.ino()) == (b.dev(), b.ino())
    {
        return Ok(());
    }
    let fresh = place.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    std::fs::hard_link(file, &fresh)
        .or_else(|_| std::fs::copy(file, &fresh).map(|_| ()))
        .context(|| format!("linking {} to {}", file.display(), fresh.display()))?;
    std::fs::rename(&fresh, place).context(|| format!("renaming {}", fresh.display()))
}
