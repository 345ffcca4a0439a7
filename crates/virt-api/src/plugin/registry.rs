//! All drivers a program can reach: which there are, which serves a URI, which failed and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use parking_lot::RwLock;
use virt_util::{ErrorCode, Result, VirtError};

use super::manifest::{Manifest, Role};
use super::{ABI_MAJOR, ABI_MINOR, DriverHandle, Entry, load};
use crate::driver::{Driver, InitContext};
use crate::host::Host;

/// A manifest file longer than this is none.
const MANIFEST_MAX: u64 = 64 * 1024;

/// The environment variable that names directories to search first.
const DIRECTORY_VARIABLE: &str = "VIRT_DRIVER_DIR";

/// Where plugins are looked for, first match wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath(pub Vec<PathBuf>);

impl SearchPath {
    /// `VIRT_DRIVER_DIR` (ignored in programs that run with more rights than their caller), then `<libdir>/virt/drivers`.
    pub fn from_environment() -> Self {
        let mut directories = Vec::new();
        if !runs_with_foreign_rights()
            && let Some(given) = std::env::var_os(DIRECTORY_VARIABLE)
        {
            directories.extend(std::env::split_paths(&given).filter(|path| path.is_absolute()));
        }
        directories.extend(
            library_directories()
                .into_iter()
                .map(|lib| lib.join("virt/drivers")),
        );
        Self(directories)
    }

    /// One directory only.
    pub fn only(directory: impl Into<PathBuf>) -> Self {
        Self(vec![directory.into()])
    }
}

/// Whether the program was started with more rights than its caller has (set-user-id and the like).
fn runs_with_foreign_rights() -> bool {
    // SAFETY: reads a value that the kernel left for the process; no memory is involved.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The library directory that belongs to this program: named when it was compiled, else beside its `bin`, else the
/// system's.
fn library_directories() -> Vec<PathBuf> {
    if let Some(named) = option_env!("VIRT_LIBDIR") {
        return vec![named.into()];
    }
    let mut directories = Vec::new();
    if !runs_with_foreign_rights()
        && let Ok(program) = std::env::current_exe()
        && let Some(prefix) = program.parent().and_then(Path::parent)
    {
        directories.push(prefix.join("lib"));
    }
    for system in ["/usr/local/lib", "/usr/lib"] {
        if !directories.iter().any(|known| known == Path::new(system)) {
            directories.push(system.into());
        }
    }
    directories
}

/// How far a driver is.
#[derive(Clone, Debug, PartialEq)]
pub enum DriverState {
    /// Nobody has needed it yet.
    Known,
    /// It runs.
    Loaded,
    /// It could not be loaded or started; the reason stays.
    Failed(VirtError),
}

/// What is known of a driver.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverInfo {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its file, `None` for a built-in one.
    pub path: Option<PathBuf>,
    /// How far it is.
    pub state: DriverState,
}

enum Source {
    File(PathBuf),
    BuiltIn(&'static str, fn() -> Box<dyn Driver>),
}

struct Slot {
    manifest: Manifest,
    source: Source,
    driver: OnceCell<Result<Arc<DriverHandle>>>,
}

/// All drivers of a program.
pub struct Registry {
    host: Arc<dyn Host>,
    context: InitContext,
    /// Held for looking, never while a driver is loaded.
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// Manifests that could not be read.
    problems: RwLock<Vec<(PathBuf, VirtError)>>,
}

impl Registry {
    /// Reads the manifests in `search`. One that cannot be read is kept among [`Registry::problems`].
    pub fn new(host: Arc<dyn Host>, context: InitContext, search: &SearchPath) -> Self {
        let registry = Self {
            host,
            context,
            slots: RwLock::default(),
            problems: RwLock::default(),
        };
        for directory in &search.0 {
            registry.read_directory(directory);
        }
        registry
    }

    /// Adds a driver that is part of the program, by its `PluginEntry`. It takes precedence over a plugin of its name
    /// that nobody has loaded.
    pub fn add_builtin<E: Entry>(&self) -> Result<()> {
        let manifest = Manifest::parse(E::MANIFEST, E::NAME)?;
        self.add(manifest, Source::BuiltIn(E::NAME, E::create));
        Ok(())
    }

    /// [`Registry::add_builtin`] for a driver without `driver!`: a hypervisor driver for URIs whose scheme is its name.
    pub fn add_builtin_as(&self, name: &'static str, create: fn() -> Box<dyn Driver>) {
        let manifest = Manifest {
            name: name.to_owned(),
            kind: "hypervisor".to_owned(),
            role: Role::Client,
            schemes: vec![name.to_owned()],
            abi: format!("{ABI_MAJOR}.{ABI_MINOR}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.add(manifest, Source::BuiltIn(name, create));
    }

    fn add(&self, manifest: Manifest, source: Source) {
        let name = manifest.name.clone();
        let slot = Slot {
            manifest,
            source,
            driver: OnceCell::new(),
        };
        self.slots.write().insert(name, Arc::new(slot));
    }

    fn read_directory(&self, directory: &Path) {
        // A search path names directories that need not exist.
        let Ok(entries) = std::fs::read_dir(directory) else {
            return;
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "toml")
                    && path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .is_some_and(|name| name.starts_with("virt-driver-"))
            })
            .collect();
        files.sort();
        for file in files {
            match read_manifest(&file) {
                Ok(manifest) => {
                    let name = manifest.name.clone();
                    self.slots.write().entry(name).or_insert_with(|| {
                        Arc::new(Slot {
                            manifest,
                            source: Source::File(file.with_extension("so")),
                            driver: OnceCell::new(),
                        })
                    });
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    self.problems.write().push((file, error));
                }
            }
        }
    }

    /// Every driver that is known, by name.
    pub fn drivers(&self) -> Vec<DriverInfo> {
        self.slots
            .read()
            .values()
            .map(|slot| DriverInfo {
                manifest: slot.manifest.clone(),
                path: match &slot.source {
                    Source::File(path) => Some(path.clone()),
                    Source::BuiltIn(..) => None,
                },
                state: match slot.driver.get() {
                    None => DriverState::Known,
                    Some(Ok(_)) => DriverState::Loaded,
                    Some(Err(error)) => DriverState::Failed(error.clone()),
                },
            })
            .collect()
    }

    /// Manifests that could not be read, and why.
    pub fn problems(&self) -> Vec<(PathBuf, VirtError)> {
        self.problems.read().clone()
    }

    /// The driver of `kind` that answers URIs of `scheme`, if one is known.
    pub fn for_scheme(&self, kind: &str, scheme: &str) -> Option<Manifest> {
        self.slots
            .read()
            .values()
            .map(|slot| &slot.manifest)
            .find(|manifest| manifest.kind == kind && manifest.schemes.iter().any(|known| known == scheme))
            .cloned()
    }

    /// The driver of that name, loaded and started if it is not yet. A failure is remembered: asking again answers the
    /// same without trying again.
    pub fn driver(&self, name: &str) -> Result<Arc<DriverHandle>> {
        let slot = self.slots.read().get(name).cloned();
        let Some(slot) = slot else {
            let known: Vec<String> = self.slots.read().keys().cloned().collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(VirtError::new(
                ErrorCode::NO_CONNECT,
                format_args!("'{name}': no such driver is installed (there are: {known})"),
            ));
        };
        slot.driver.get_or_init(|| self.start(&slot)).clone()
    }

    fn start(&self, slot: &Slot) -> Result<Arc<DriverHandle>> {
        let host = self
            .host
            .for_driver(&slot.manifest.name)
            .unwrap_or_else(|| Arc::clone(&self.host));
        let driver = match &slot.source {
            Source::BuiltIn(name, create) => DriverHandle::builtin(name, create, host)?,
            Source::File(path) => load::load(&slot.manifest, path, host)?,
        };
        driver.initialize(&self.context)?;
        Ok(Arc::new(driver))
    }

    /// The drivers that run, for what concerns all of them: reload, stop, shutdown.
    pub fn loaded(&self) -> Vec<Arc<DriverHandle>> {
        self.slots
            .read()
            .values()
            .filter_map(|slot| slot.driver.get()?.as_ref().ok().cloned())
            .collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.slots.read().keys()).finish()
    }
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let place = path.display().to_string();
    let io = |error: &std::io::Error| VirtError::io(error, format_args!("cannot read manifest '{place}'"));
    let length = path.metadata().map_err(|error| io(&error))?.len();
    if length > MANIFEST_MAX {
        return Err(VirtError::new(
            ErrorCode::CONF_SYNTAX,
            format_args!("{place}: {length} bytes, at most {MANIFEST_MAX} wanted"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| io(&error))?;
    let manifest = Manifest::parse(&text, &place)?;
    let wanted = format!("virt-driver-{}.toml", manifest.name);
    if path.file_name().is_none_or(|name| name.to_str() != Some(&wanted)) {
        return Err(VirtError::new(
            ErrorCode::CONF_SYNTAX,
            format_args!(
                "{place}: it describes driver '{}', file name '{wanted}' wanted",
                manifest.name
            ),
        ));
    }
    Ok(manifest)
}
