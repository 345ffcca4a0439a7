//! What the tests of the waist share. The tests are in `tests/`, one file per promise.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use virt_api::driver::InitContext;
use virt_api::events::EventSink;
use virt_api::host::Host;
use virt_api::plugin::{ConnectionHandle, Manifest, OpenRequest, Registry, Role, SearchPath};
use virt_api::testkit::{FakeHost, TempRoot, copy_plugin, plugins};
use virt_api::{Result, VirtError};

/// The package of the fixture driver.
pub const FIXTURE: &str = "virt-tests-waist-fixture";

/// The fixture's shared object, as cargo built it just now.
pub fn fixture() -> Result<PathBuf> {
    plugins()?
        .object(FIXTURE)
        .map(ToOwned::to_owned)
        .ok_or_else(|| VirtError::internal("cargo built no fixture"))
}

/// The manifest of the fixture under that name.
pub fn manifest(name: &str) -> Manifest {
    Manifest {
        name: name.to_owned(),
        kind: "hypervisor".to_owned(),
        role: Role::Client,
        schemes: vec![name.to_owned(), "fixture".to_owned()],
        abi: "1.0".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// A folder of plugins, a host, and the registry over both.
pub struct House {
    /// The folder.
    pub root: TempRoot,
    /// The host.
    pub host: Arc<FakeHost>,
    /// The registry.
    pub registry: Registry,
}

impl House {
    /// A house with the fixture under these names, each a file of its own.
    pub fn with(names: &[&str]) -> Result<Self> {
        let root = TempRoot::new();
        let object = fixture()?;
        for name in names {
            copy_plugin(&object, root.path(), &manifest(name))?;
        }
        Ok(Self::over(root))
    }

    /// A house over a folder that is filled already.
    pub fn over(root: TempRoot) -> Self {
        let host = FakeHost::new();
        let registry = Registry::new(
            Arc::clone(&host) as Arc<dyn Host>,
            InitContext::default(),
            &SearchPath::only(root.path()),
        );
        Self { root, host, registry }
    }

    /// Opens `path` of the fixture of that name.
    pub fn open(&self, name: &str, path: &str) -> Result<ConnectionHandle> {
        self.open_with(name, path, OpenRequest::default())
    }

    /// [`House::open`] with more said.
    pub fn open_with(&self, name: &str, path: &str, request: OpenRequest) -> Result<ConnectionHandle> {
        self.registry.driver(name)?.open(&OpenRequest {
            uri: format!("{name}:///{path}"),
            ..request
        })
    }
}

/// One event as a sink gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The procedure's number.
    pub procedure: u32,
    /// The callbacks it is for.
    pub callbacks: Vec<i32>,
    /// The message behind its callback id.
    pub payload: Vec<u8>,
}

/// Keeps events.
#[derive(Default)]
pub struct Keeper(Mutex<Vec<Told>>);

impl Keeper {
    /// What came, and forgets it.
    pub fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock())
    }
}

impl EventSink for Keeper {
    fn event(&self, _: u32, procedure: u32, callbacks: &[i32], payload: &[u8]) {
        self.0.lock().push(Told {
            procedure,
            callbacks: callbacks.to_vec(),
            payload: payload.to_vec(),
        });
    }
}
