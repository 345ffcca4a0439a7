//! The attributes that objects are known by, on the wire and to policies, and the [`Resolver`] that finds them.

use uuid::Uuid;
use virt_util::typed_param::TypedParams;
use virt_util::{Result, VirtError};

use super::{AccessObject, Found, ObjectKind};

/// A domain as clients and policies know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its id while it runs, -1 otherwise.
    pub id: i32,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A port of a virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkPort {
    /// The network.
    pub network: Network,
    /// The port's UUID.
    pub uuid: Uuid,
}

/// A host interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address, empty if it has none.
    pub mac: String,
}

/// A storage pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoragePool {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A storage volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageVol {
    /// The pool it lies in.
    pub pool: StoragePool,
    /// Its name in the pool.
    pub name: String,
    /// Its key, unique on the host.
    pub key: String,
}

/// A host device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeDevice {
    /// Its name.
    pub name: String,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Secret {
    /// Its UUID.
    pub uuid: Uuid,
    /// What it is for (`virSecretUsageType`).
    pub usage_type: i32,
    /// The name of its use, empty for type none.
    pub usage_id: String,
}

/// A network filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nwfilter {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// The binding of a network filter to a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NwfilterBinding {
    /// The port's device.
    pub port_device: String,
    /// The host's device behind it, empty if none.
    pub link_device: String,
    /// The filter.
    pub filter: String,
}

/// A snapshot of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainSnapshot {
    /// The domain.
    pub domain: Domain,
    /// The snapshot's name.
    pub name: String,
}

/// A checkpoint of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainCheckpoint {
    /// The domain.
    pub domain: Domain,
    /// The checkpoint's name.
    pub name: String,
}

impl AccessObject for Domain {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Domain).then(|| {
            TypedParams::new()
                .with("domain_name", self.name.as_str())
                .with("domain_uuid", self.uuid.to_string())
        })
    }
}

impl AccessObject for DomainSnapshot {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        self.domain.access_attributes(kind)
    }
}

impl AccessObject for DomainCheckpoint {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        self.domain.access_attributes(kind)
    }
}

impl AccessObject for Network {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Network).then(|| {
            TypedParams::new()
                .with("network_name", self.name.as_str())
                .with("network_uuid", self.uuid.to_string())
        })
    }
}

impl AccessObject for NetworkPort {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        match kind {
            ObjectKind::NetworkPort => Some(
                TypedParams::new()
                    .with("network_name", self.network.name.as_str())
                    .with("network_uuid", self.network.uuid.to_string())
                    .with("port_uuid", self.uuid.to_string()),
            ),
            other => self.network.access_attributes(other),
        }
    }
}

impl AccessObject for Interface {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Interface).then(|| {
            TypedParams::new()
                .with("interface_name", self.name.as_str())
                .with("interface_macaddr", self.mac.as_str())
        })
    }
}

impl AccessObject for StoragePool {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::StoragePool).then(|| {
            TypedParams::new()
                .with("pool_name", self.name.as_str())
                .with("pool_uuid", self.uuid.to_string())
        })
    }
}

impl AccessObject for StorageVol {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        match kind {
            ObjectKind::StorageVol => Some(
                TypedParams::new()
                    .with("pool_name", self.pool.name.as_str())
                    .with("pool_uuid", self.pool.uuid.to_string())
                    .with("vol_name", self.name.as_str())
                    .with("vol_key", self.key.as_str()),
            ),
            other => self.pool.access_attributes(other),
        }
    }
}

impl AccessObject for NodeDevice {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::NodeDevice)
            .then(|| TypedParams::new().with("node_device_name", self.name.as_str()))
    }
}

impl AccessObject for Secret {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Secret).then(|| {
            let attributes = TypedParams::new().with("secret_uuid", self.uuid.to_string());
            // The numbers are virSecretUsageType's; policies know each use by an attribute of its own.
            let usage = match self.usage_type {
                1 => "secret_usage_volume",
                2 => "secret_usage_ceph",
                3 => "secret_usage_target",
                4 | 5 => "secret_usage_name",
                _ => return attributes,
            };
            attributes.with(usage, self.usage_id.as_str())
        })
    }
}

impl AccessObject for Nwfilter {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Nwfilter).then(|| {
            TypedParams::new()
                .with("nwfilter_name", self.name.as_str())
                .with("nwfilter_uuid", self.uuid.to_string())
        })
    }
}

impl AccessObject for NwfilterBinding {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::NwfilterBinding).then(|| {
            TypedParams::new()
                .with("nwfilter_binding_portdev", self.port_device.as_str())
                .with("nwfilter_binding_linkdev", self.link_device.as_str())
                .with("nwfilter_binding_filter", self.filter.as_str())
        })
    }
}

/// Finds the objects that arguments name. A driver implements what it has; the rest answers `VIR_ERR_NO_SUPPORT`.
///
/// The key is what the client claims (for a snapshot: its domain as claimed and the snapshot's name). Find by what
/// libvirt finds by (domains, networks, pools, secrets, filters: the UUID) and answer with what is true now.
#[allow(unused_variables, reason = "default bodies document their parameters by name")]
pub trait Resolver: Send + Sync {
    /// The domain of that UUID.
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        Err(VirtError::no_support("domains"))
    }

    /// The snapshot of that name.
    fn domain_snapshot(&self, key: &DomainSnapshot) -> Result<Found<DomainSnapshot>> {
        Err(VirtError::no_support("domain snapshots"))
    }

    /// The checkpoint of that name.
    fn domain_checkpoint(&self, key: &DomainCheckpoint) -> Result<Found<DomainCheckpoint>> {
        Err(VirtError::no_support("domain checkpoints"))
    }

    /// The network of that UUID.
    fn network(&self, key: &Network) -> Result<Found<Network>> {
        Err(VirtError::no_support("networks"))
    }

    /// The port of that UUID in its network.
    fn network_port(&self, key: &NetworkPort) -> Result<Found<NetworkPort>> {
        Err(VirtError::no_support("network ports"))
    }

    /// The interface of that name.
    fn interface(&self, key: &Interface) -> Result<Found<Interface>> {
        Err(VirtError::no_support("interfaces"))
    }

    /// The pool of that UUID.
    fn storage_pool(&self, key: &StoragePool) -> Result<Found<StoragePool>> {
        Err(VirtError::no_support("storage pools"))
    }

    /// The volume of that name; its pool is known by name only (the claimed UUID is nil).
    fn storage_vol(&self, key: &StorageVol) -> Result<Found<StorageVol>> {
        Err(VirtError::no_support("storage volumes"))
    }

    /// The device of that name.
    fn node_device(&self, key: &NodeDevice) -> Result<Found<NodeDevice>> {
        Err(VirtError::no_support("node devices"))
    }

    /// The secret of that UUID.
    fn secret(&self, key: &Secret) -> Result<Found<Secret>> {
        Err(VirtError::no_support("secrets"))
    }

    /// The filter of that UUID.
    fn nwfilter(&self, key: &Nwfilter) -> Result<Found<Nwfilter>> {
        Err(VirtError::no_support("network filters"))
    }

    /// The binding of that port device.
    fn nwfilter_binding(&self, key: &NwfilterBinding) -> Result<Found<NwfilterBinding>> {
        Err(VirtError::no_support("network filter bindings"))
    }
}
