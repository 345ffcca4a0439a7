//! Networks and their ports in libvirt's layout.
//!
//! Definitions are `CONFIG/NAME.xml` with links in `CONFIG/autostart`. A network that runs has `STATE/NAME.xml` (see
//! [`NetworkStatus`]) and a folder `STATE/NAME/ports` with a file for each port. The status file decides whether the network
//! runs: ports without one are left over from a kill, and go when the network starts again or files are loaded.

use std::collections::BTreeMap;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::clash::Clash;
use super::index::Registry;
use super::kind::{Definition, Kind};
use super::object::Life;
use super::store::{DiskFormat, StatusFolder, Store};
use crate::domain::normalize::Randomness;
use crate::network::status::NetworkTaint;
use crate::network::{Network, NetworkPort, NetworkStatus};
use crate::values::CpuSet;

/// Networks of a driver that keeps `P` with each and tells events `E`.
#[derive(Debug)]
pub struct NetworkKind<P = (), E = ()>(PhantomData<fn() -> (P, E)>);

impl<P: Send + Sync + 'static, E: Send + 'static> Kind for NetworkKind<P, E> {
    type Definition = Network;
    type State = NetworkState;
    type Private = P;
    type Key = ();
    type Event = E;

    const NOUN: &'static str = "network";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_NETWORK;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::NETWORK;

    fn clash(clash: &Clash<'_>) -> VirtError {
        match clash {
            Clash::Active { name } => {
                clash.error::<Self>(format_args!("network is already active as '{name}'"))
            }
            _ => clash.usual::<Self>(),
        }
    }
}

impl Definition for Network {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }
}

impl DiskFormat for Network {
    fn to_disk(&self) -> Result<String> {
        Ok(self.format(XmlFlags::INACTIVE))
    }

    fn from_disk(text: &str, path: &Path) -> Result<Self> {
        Self::parse(text, XmlFlags::INACTIVE, &path.display().to_string())
    }
}

/// What is published of a network beside its definitions.
#[derive(Clone, Debug, Default)]
pub struct NetworkState {
    /// Guests' places, by UUID.
    pub ports: BTreeMap<Uuid, Arc<NetworkPort>>,
    /// Traffic classes in use; `None` while it does not run.
    pub classes: Option<CpuSet>,
    /// Sum of the rates that ports are guaranteed, in KiB per second.
    pub floor_sum: u64,
    /// What was done to it that libvirt does not answer for.
    pub taints: Vec<NetworkTaint>,
}

impl NetworkState {
    /// The port of that UUID.
    ///
    /// # Errors
    /// `NO_NETWORK_PORT`.
    pub fn port(&self, uuid: &Uuid) -> Result<&Arc<NetworkPort>> {
        self.ports.get(uuid).ok_or_else(|| {
            let uuid = virt_util::uuid::format(uuid);
            VirtError::new(
                ErrorCode::NO_NETWORK_PORT,
                format_args!("the network has no port {uuid}"),
            )
            .in_domain(ErrorDomain::NETWORK)
        })
    }

    /// Takes a port in.
    ///
    /// # Errors
    /// `NETWORK_PORT_EXIST`.
    pub fn add_port(&mut self, port: Arc<NetworkPort>) -> Result<()> {
        if self.ports.contains_key(&port.uuid) {
            let uuid = virt_util::uuid::format(&port.uuid);
            return Err(VirtError::new(
                ErrorCode::NETWORK_PORT_EXIST,
                format_args!("the network has port {uuid} already"),
            )
            .in_domain(ErrorDomain::NETWORK));
        }
        self.ports.insert(port.uuid, port);
        Ok(())
    }
}

/// Whether a network of another name than `except` has this bridge, now or the next time it starts.
pub fn bridge_in_use<K: Kind<Definition = Network>>(
    networks: &Registry<K>,
    bridge: &str,
    except: Option<&str>,
) -> bool {
    networks.list().iter().any(|object| {
        let snapshot = object.snapshot();
        let has = |network: &Network| network.bridge.name.as_deref() == Some(bridge);
        Some(snapshot.name()) != except
            && (has(snapshot.life.current()) || snapshot.life.stored().is_some_and(|network| has(network)))
    })
}

/// The files of networks.
#[derive(Clone, Debug)]
pub struct NetworkFiles {
    /// Definitions and autostart links.
    pub store: Store,
    status: StatusFolder,
    state: PathBuf,
}

/// A network that was loaded.
#[derive(Debug)]
pub struct LoadedNetwork {
    /// Whether it runs, and its definitions.
    pub life: Life<Network>,
    /// What is published beside them.
    pub state: NetworkState,
    /// It starts with the host.
    pub autostart: bool,
    /// It starts with the host the next time.
    pub autostart_once: bool,
    /// The status file, with what only the driver understands; `None` if it does not run.
    pub status: Option<NetworkStatus>,
}

/// What the folders held.
#[derive(Debug, Default)]
pub struct LoadedNetworks {
    /// The networks, by name.
    pub networks: Vec<LoadedNetwork>,
    /// Files that could not be taken in, and why. They stay where they are.
    pub failed: Vec<(PathBuf, VirtError)>,
}

/// A port as far as its file is concerned.
struct PortFile {
    name: String,
}

impl PortFile {
    fn of(uuid: &Uuid) -> Self {
        Self {
            name: virt_util::uuid::format(uuid),
        }
    }
}

impl Definition for PortFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        None
    }
}

impl NetworkFiles {
    /// Definitions in `config` (`/etc/libvirt/qemu/networks`), status files in `state` (`/run/libvirt/network`).
    pub fn new(config: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        let (config, state) = (config.into(), state.into());
        let autostart = config.join("autostart");
        Self {
            store: Store::new(config, Some(autostart), "net-edit"),
            status: StatusFolder::new(&state).with_command("net-edit"),
            state,
        }
    }

    /// Makes the folders that are missing.
    pub fn prepare(&self) -> Result<()> {
        self.store.prepare()?;
        self.status.prepare()
    }

    /// Writes the status of a network that runs.
    pub fn save_status(&self, status: &NetworkStatus) -> Result<()> {
        self.status.save(&status.network, &status.format())
    }

    /// Forgets the status of a network that runs no more, and its ports.
    pub fn remove_status(&self, name: &str) -> Result<()> {
        self.status.remove(name)?;
        self.remove_ports(name)
    }

    fn ports(&self, network: &str) -> Result<StatusFolder> {
        // A name that can be a file's can be a folder's.
        self.status.path(network)?;
        Ok(StatusFolder::new(self.port_folder(network)).with_command("net-port-create"))
    }

    fn port_folder(&self, network: &str) -> PathBuf {
        self.state.join(network).join("ports")
    }

    /// Writes a port of a network that runs.
    pub fn save_port(&self, network: &str, port: &NetworkPort) -> Result<()> {
        let folder = self.ports(network)?;
        folder.prepare()?;
        folder.save(&PortFile::of(&port.uuid), &port.format())
    }

    /// Removes a port's file. Returns whether there was one.
    pub fn remove_port(&self, network: &str, port: &Uuid) -> Result<bool> {
        self.ports(network)?.remove(PortFile::of(port).name())
    }

    /// Removes the files of all ports of a network: before it starts, and when it stops.
    pub fn remove_ports(&self, network: &str) -> Result<()> {
        let folder = self.ports(network)?;
        for (name, _) in folder.load(|_, _| Ok(()))? {
            folder.remove(&name)?;
        }
        Ok(())
    }

    /// Reads what runs and what is stored. A stored network without UUID or, if it needs one, without MAC address gets them, and
    /// keeps them.
    pub fn load(&self, random: &dyn Randomness) -> Result<LoadedNetworks> {
        let mut result = LoadedNetworks::default();
        let mut running: BTreeMap<String, (NetworkStatus, NetworkState)> = BTreeMap::new();
        for (name, outcome) in self
            .status
            .load(|text, path| NetworkStatus::parse(text, &path.display().to_string()))?
        {
            match outcome.and_then(|status| self.load_running(&name, status, random)) {
                Ok(one) => {
                    running.insert(name, one);
                }
                Err(error) => result.failed.push((self.status.path(&name)?, error)),
            }
        }
        let stored = self.store.load::<Network>()?;
        result.failed.extend(stored.failed);
        let mut uuids: BTreeMap<Option<Uuid>, String> = running
            .iter()
            .map(|(name, (status, _))| (status.network.uuid, name.clone()))
            .collect();
        for loaded in stored.loaded {
            let path = self.store.path(loaded.definition.name())?;
            let network = match self.complete(loaded.definition, random) {
                Ok(network) => network,
                Err(error) => {
                    result.failed.push((path, error));
                    continue;
                }
            };
            if let Some(clash) = clash_with(&network, &running, &uuids) {
                result.failed.push((path, clash));
                continue;
            }
            uuids.insert(network.uuid, network.name.clone());
            let (life, state, status) = match running.remove(&network.name) {
                Some((status, state)) => {
                    let life = Life::Active {
                        live: Arc::new(status.network.clone()),
                        next: Some(network),
                    };
                    (life, state, Some(status))
                }
                None => (Life::Inactive(network), NetworkState::default(), None),
            };
            result.networks.push(LoadedNetwork {
                life,
                state,
                autostart: loaded.autostart,
                autostart_once: loaded.autostart_once,
                status,
            });
        }
        // What runs without being stored is transient.
        result
            .networks
            .extend(running.into_values().map(|(status, state)| LoadedNetwork {
                life: Life::Active {
                    live: Arc::new(status.network.clone()),
                    next: None,
                },
                state,
                autostart: false,
                autostart_once: false,
                status: Some(status),
            }));
        result
            .networks
            .sort_by(|a, b| a.life.current().name.cmp(&b.life.current().name));
        self.clear_ports(&result);
        Ok(result)
    }

    fn load_running(
        &self,
        name: &str,
        mut status: NetworkStatus,
        random: &dyn Randomness,
    ) -> Result<(NetworkStatus, NetworkState)> {
        if status.network.name != name {
            virt_util::bail!(
                ErrorCode::INTERNAL_ERROR,
                "file '{}' holds network '{}'",
                self.status.path(name)?.display(),
                status.network.name
            );
        }
        if status.network.complete(random) {
            self.save_status(&status)?;
        }
        let mut state = NetworkState {
            ports: BTreeMap::new(),
            classes: Some(status.classes.clone()),
            floor_sum: status.floor_sum,
            taints: status.taints.clone(),
        };
        // A port that cannot be read is passed over: its guest runs on.
        let ports = self
            .ports(name)?
            .load(|text, path| NetworkPort::parse(text, &path.display().to_string()))?;
        for (file, port) in ports {
            match port {
                Ok(port) => state.add_port(Arc::new(port))?,
                Err(error) => tracing::warn!("port {file} of network '{name}' cannot be read: {error}"),
            }
        }
        Ok((status, state))
    }

    fn complete(&self, network: Arc<Network>, random: &dyn Randomness) -> Result<Arc<Network>> {
        let mut completed = Network::clone(&network);
        let made = completed.complete(random) | completed.complete_mac(random);
        if completed == *network {
            return Ok(network);
        }
        if made {
            self.store.save(&completed)?;
        }
        Ok(Arc::new(completed))
    }

    /// Removes ports that a kill has left of networks that do not run.
    fn clear_ports(&self, loaded: &LoadedNetworks) {
        let runs = |name: &str| {
            loaded
                .networks
                .iter()
                .any(|network| network.status.is_some() && network.life.current().name == name)
                // Nor of those whose status cannot be read.
                || self.status.path(name).is_ok_and(|path| path.exists())
        };
        for entry in fs::read_dir(&self.state)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if self.port_folder(&name).is_dir() && !runs(&name) {
                let _ = self.remove_ports(&name);
            }
        }
    }
}

/// What keeps a stored network from being taken in beside those that are there already.
fn clash_with(
    network: &Network,
    running: &BTreeMap<String, (NetworkStatus, NetworkState)>,
    uuids: &BTreeMap<Option<Uuid>, String>,
) -> Option<VirtError> {
    let clash = match uuids.get(&network.uuid) {
        Some(name) if *name != network.name => Clash::Uuid {
            name,
            uuid: network.uuid,
        },
        Some(_) => return None,
        None => Clash::Name {
            name: &network.name,
            uuid: running.get(&network.name)?.0.network.uuid,
        },
    };
    Some(<NetworkKind as Kind>::clash(&clash))
}

#[cfg(test)]
pub(super) mod tests;
