//! This process as the host of drivers: the plugins it can reach and what it offers them.
//!
//! There is one [`Registry`] for the process and one for each root that is embedded (`qemu:///embed?root=DIR`), all
//! made when they are first needed. [`connect`] is the way from a URI to a connection; public connections
//! and those that drivers open through their host go the same way.

use crate::call::Identity;
use crate::config::{self, Aliases, ClientConfig};
use crate::driver::{CONNECT_NO_ALIASES, CONNECT_RO, InitContext};
use crate::host::{
    AuthMode, Claim, ClaimKind, Claims, CredentialSource, Host, LogRecord, NestedOpen, OpenedConnection,
};
use crate::plugin::{Entry, Manifest, OpenRequest, Registry, Role, SearchPath};
use crate::routing::{OpenSecondary, Router};
use parking_lot::Mutex;
use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};
use virt_util::time::Deadline;
use virt_util::typed_param::TypedParams;
use virt_util::uri::Uri;
use virt_util::{ErrorCode, Result, VirtError, bail};

/// How to connect.
#[derive(Clone, Default)]
pub(crate) struct Connecting {
    pub uri: Option<String>,
    pub flags: u32,
    pub identity: Identity,
    pub credentials: Option<Arc<dyn CredentialSource>>,
    pub deadline: Deadline,
    pub ext: TypedParams,
    /// Where to look for drivers instead of the process's plugins.
    pub registry: Option<RegistryOf>,
}

/// Answers the registry for a root that is embedded, or for the process.
pub(crate) type RegistryOf = fn(Option<Embedded>) -> Result<Arc<Registry>>;

/// A root that is embedded, and how its files are laid out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Embedded {
    root: String,
    layout: Option<String>,
}

/// Guards the maps only; registries are made outside.
static REGISTRIES: LazyLock<Mutex<BTreeMap<Option<Embedded>, Arc<Registry>>>> = LazyLock::new(Mutex::default);
static BUILT_IN: LazyLock<Mutex<HashMap<(TypeId, Option<Embedded>), Arc<Registry>>>> =
    LazyLock::new(Mutex::default);
static HOST: LazyLock<Arc<ProcessHost>> = LazyLock::new(|| Arc::new(ProcessHost::default()));

fn context(embedded: Option<&Embedded>) -> InitContext {
    let mut context = InitContext {
        privileged: config::is_root(),
        monolithic: true,
        inside_daemon: false,
        root: embedded.map(|embedded| embedded.root.clone()),
        ext: TypedParams::new(),
    };
    if let Some(layout) = embedded.and_then(|embedded| embedded.layout.as_deref()) {
        context.ext.push("layout", layout);
    }
    context
}

fn host() -> Arc<dyn Host> {
    let host: Arc<ProcessHost> = Arc::clone(&HOST);
    host
}

fn plugins(embedded: Option<Embedded>) -> Result<Arc<Registry>> {
    if let Some(known) = REGISTRIES.lock().get(&embedded) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(Registry::new(
        host(),
        context(embedded.as_ref()),
        &SearchPath::from_environment(),
    ));
    Ok(Arc::clone(REGISTRIES.lock().entry(embedded).or_insert(made)))
}

/// The drivers that this process can reach.
pub fn registry() -> Result<Arc<Registry>> {
    plugins(None)
}

/// Loads the plugin at `path` through every step that a program takes, and answers what it says of itself.
pub fn check_plugin(path: &Path) -> Result<Manifest> {
    crate::plugin::check(path, host())
}

/// A registry of this one driver, the same for the whole process and for each root.
pub(crate) fn built_in<E: Entry>(embedded: Option<Embedded>) -> Result<Arc<Registry>> {
    let key = (TypeId::of::<E>(), embedded);
    if let Some(known) = BUILT_IN.lock().get(&key) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(Registry::new(
        host(),
        context(key.1.as_ref()),
        &SearchPath(Vec::new()),
    ));
    made.add_builtin::<E>()?;
    Ok(Arc::clone(BUILT_IN.lock().entry(key).or_insert(made)))
}

/// Client drivers that work on this machine only: a URI with a host name is for the daemon over there.
const LOCAL_ONLY: [&str; 3] = ["test", "openvz", "vmware"];

/// What was opened, and the URI that it was.
pub(crate) struct Connected {
    pub router: Router,
    pub uri: String,
}

/// From a URI, or none, to a connection.
pub(crate) fn connect(connecting: &Connecting) -> Result<Connected> {
    let registry_of = connecting.registry.unwrap_or(plugins);
    let registry = registry_of(None)?;
    let client_config = ClientConfig::load()?;
    let aliases = if connecting.flags & CONNECT_NO_ALIASES == 0 {
        Aliases::Resolve
    } else {
        Aliases::Ignore
    };
    let text = match config::resolve(connecting.uri.as_deref(), &client_config, aliases)? {
        Some(text) => text,
        None => probe(&registry)?,
    };
    let uri = config::parse(&text)?;
    let place = find(&registry, registry_of, &text, &uri)?;
    let driver = place.registry.driver(&place.driver)?;
    let request = OpenRequest {
        uri: text.clone(),
        flags: connecting.flags & CONNECT_RO,
        deadline: connecting.deadline,
        identity: connecting.identity.clone(),
        read_only: false,
        check_access: false,
        credentials: connecting.credentials.clone(),
        ext: connecting.ext.clone(),
    };
    let primary: Arc<dyn OpenedConnection> = Arc::new(driver.open(&request)?);
    let secondary = place
        .embedded
        .then(|| open_secondary(Arc::downgrade(&place.registry), uri, request));
    Ok(Connected {
        router: Router::new(primary, secondary),
        uri: text,
    })
}

/// Asks the drivers, in the order of libvirt's client, for a URI that works here.
fn probe(registry: &Registry) -> Result<String> {
    const ORDER: [&str; 6] = ["test", "openvz", "vmware", "esx", "hyperv", "remote"];
    let rank = |name: &str| {
        ORDER
            .iter()
            .position(|known| *known == name)
            .unwrap_or(ORDER.len() - 1)
    };
    let mut clients: Vec<Manifest> = registry
        .drivers()
        .into_iter()
        .map(|driver| driver.manifest)
        .filter(|manifest| manifest.kind == "hypervisor" && manifest.role == Role::Client)
        .collect();
    clients.sort_by_key(|manifest| rank(&manifest.name));
    for manifest in &clients {
        // A driver that cannot be loaded is no reason not to ask the next one.
        let probed = registry
            .driver(&manifest.name)
            .and_then(|driver| driver.uri_probe());
        match probed {
            Ok(Some(uri)) => return Ok(uri),
            Ok(None) => {}
            Err(error) => tracing::warn!("driver {}: {error}", manifest.name),
        }
    }
    Err(VirtError::new(
        ErrorCode::NO_CONNECT,
        "an unnamed URI: none of the installed drivers works here without one",
    )
    .with_hint("name one: -c URI, LIBVIRT_DEFAULT_URI, or uri_default in libvirt.conf"))
}

struct Place {
    registry: Arc<Registry>,
    driver: String,
    embedded: bool,
}

/// The driver for a URI: a client driver, an embedded one, or the one that talks to daemons.
fn find(registry: &Arc<Registry>, registry_of: RegistryOf, text: &str, uri: &Uri) -> Result<Place> {
    let here = |driver: &str| Place {
        registry: Arc::clone(registry),
        driver: driver.to_owned(),
        embedded: false,
    };
    let scheme = uri.driver().unwrap_or_default();
    let known = registry
        .drivers()
        .into_iter()
        .map(|driver| driver.manifest)
        .find(|manifest| {
            manifest
                .schemes
                .iter()
                .any(|one| one.eq_ignore_ascii_case(scheme))
        });
    if uri.transport().is_none() {
        if uri.path == "/embed" {
            return embed(registry_of, text, uri, scheme, known);
        }
        match &known {
            Some(manifest) if manifest.role == Role::Client => {
                let elsewhere = uri.server.is_some() && LOCAL_ONLY.contains(&manifest.name.as_str());
                if !elsewhere {
                    return Ok(here(&manifest.name));
                }
            }
            _ => {}
        }
    }
    if registry
        .drivers()
        .iter()
        .any(|driver| driver.manifest.name == "remote")
    {
        return Ok(here("remote"));
    }
    Err(unreachable_daemon(registry, text, uri, known.as_ref()))
}

fn embed(
    registry_of: RegistryOf,
    text: &str,
    uri: &Uri,
    scheme: &str,
    known: Option<Manifest>,
) -> Result<Place> {
    if !scheme.bytes().all(|byte| byte.is_ascii_lowercase()) {
        bail!(
            ErrorCode::NO_CONNECT,
            "scheme '{scheme}' of a URI: expected lower-case letters"
        );
    }
    let Some(root) = uri.param("root") else {
        bail!(
            ErrorCode::CONFIG_UNSUPPORTED,
            "URI '{text}' embeds a driver and names no root: add '?root=DIR'"
        );
    };
    if !root.starts_with('/') {
        bail!(
            ErrorCode::CONFIG_UNSUPPORTED,
            "root path must be absolute, not '{root}'"
        );
    }
    let layout = uri.param("layout");
    if let Some(layout) = layout
        && !matches!(layout, "system" | "session")
    {
        bail!(
            ErrorCode::CONFIG_UNSUPPORTED,
            "layout '{layout}' is unknown: 'system' and 'session' are known"
        );
    }
    let Some(manifest) = known.filter(|manifest| manifest.role == Role::Stateful) else {
        bail!(
            ErrorCode::NO_CONNECT,
            "{text}: no installed driver for '{scheme}' can be embedded"
        );
    };
    Ok(Place {
        registry: registry_of(Some(Embedded {
            root: root.to_owned(),
            layout: layout.map(str::to_owned),
        }))?,
        driver: manifest.name,
        embedded: true,
    })
}

/// Says whose daemon is missing, as far as it can be known.
fn unreachable_daemon(registry: &Registry, text: &str, uri: &Uri, known: Option<&Manifest>) -> VirtError {
    let scheme = uri.driver().unwrap_or_default();
    let detail = match (known, &uri.server, uri.transport()) {
        (Some(manifest), None, None) => format!(
            "{text}: driver '{}' keeps its state in a daemon, 'virt{}d' or 'libvirtd', and none can be reached from here",
            manifest.name, manifest.name
        ),
        (None, None, None) => {
            let names: Vec<String> = registry
                .drivers()
                .into_iter()
                .flat_map(|driver| driver.manifest.schemes)
                .collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            format!("{text}: no installed driver answers '{scheme}' (schemes found: {names})")
        }
        _ => format!("{text}: no 'remote' driver is installed to reach the daemon on that side"),
    };
    let error = VirtError::new(ErrorCode::NO_CONNECT, detail);
    match known {
        Some(manifest) if manifest.role == Role::Stateful => error.with_hint(format!(
            "to run the driver inside this process: {scheme}:///embed?root=DIR"
        )),
        None if uri.server.is_none() && uri.transport().is_none() => {
            let folders = SearchPath::from_environment().0;
            let folders: Vec<String> = folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            error.with_hint(format!(
                "drivers are looked for in {}; absolute paths in VIRT_DRIVER_DIR come first",
                folders.join(", ")
            ))
        }
        _ => error,
    }
}

/// An embedded hypervisor shares its root with the other embedded drivers.
fn open_secondary(registry: Weak<Registry>, uri: Uri, request: OpenRequest) -> OpenSecondary {
    Box::new(move |kind| {
        let Some(registry) = registry.upgrade() else {
            return Ok(None);
        };
        let wanted = kind.name();
        let found = registry
            .drivers()
            .into_iter()
            .map(|driver| driver.manifest)
            .find(|one| one.kind == wanted);
        let Some(manifest) = found else { return Ok(None) };
        let Some(scheme) = manifest.schemes.first() else {
            return Ok(None);
        };
        let mut own = uri.clone();
        own.scheme = Some(scheme.clone());
        let opened = registry.driver(&manifest.name)?.open(&OpenRequest {
            uri: own.to_string(),
            ..request.clone()
        })?;
        let opened: Arc<dyn OpenedConnection> = Arc::new(opened);
        Ok(Some(opened))
    })
}

/// What this process offers its drivers.
#[derive(Default)]
struct ProcessHost {
    claims: Claims,
}

impl Host for ProcessHost {
    fn log(&self, record: &LogRecord) {
        record.emit();
    }

    fn open_connection(&self, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        let mut ext = TypedParams::new();
        if open.elevated {
            ext.push("elevated", true);
        }
        if open.auth == AuthMode::ConfigOnly {
            ext.push("auth-config-only", true);
        }
        let connected = connect(&Connecting {
            uri: Some(open.uri.clone()),
            flags: open.flags,
            identity: open.identity.clone(),
            deadline: open.deadline,
            ext,
            ..Connecting::default()
        })?;
        Ok(Arc::new(connected.router))
    }

    /// The user of a process may do in it what the process may do.
    fn check_acl(&self, _: &Identity, _: u32, _: u32, _: &str, _: &str, _: &TypedParams) -> Result<bool> {
        Ok(true)
    }

    fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        self.claims.claim(kind, key, owner)
    }

    fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        self.claims.release(kind, key, owner)
    }

    fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>> {
        Ok(self.claims.list(kind))
    }

    /// Nothing exits here for lack of work.
    fn inhibit(&self, _: bool) {}
}
