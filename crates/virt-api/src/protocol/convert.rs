//! Between the references that messages carry and the objects that drivers and policies know.

use super::remote::{
    DomainCheckpointRef, DomainRef, DomainSnapshotRef, InterfaceRef, NetworkPortRef, NetworkRef,
    NodeDeviceRef, NwfilterBindingRef, NwfilterRef, SecretRef, StoragePoolRef, StorageVolRef,
};
use crate::access::{
    Domain, DomainCheckpoint, DomainSnapshot, Interface, Network, NetworkPort, NodeDevice, Nwfilter,
    NwfilterBinding, Secret, StoragePool, StorageVol,
};

/// Both directions for types whose fields are the same.
macro_rules! same_fields {
    ($($wire:ident <=> $object:ident { $($field:ident),* })*) => {
        $(impl From<$wire> for $object {
            fn from(wire: $wire) -> Self {
                Self { $($field: wire.$field.into(),)* }
            }
        }

        impl From<&$object> for $wire {
            fn from(object: &$object) -> Self {
                Self { $($field: object.$field.clone().into(),)* }
            }
        }

        impl From<$object> for $wire {
            fn from(object: $object) -> Self {
                Self { $($field: object.$field.into(),)* }
            }
        })*
    };
}

same_fields! {
    DomainRef <=> Domain { name, uuid, id }
    DomainSnapshotRef <=> DomainSnapshot { name, domain }
    DomainCheckpointRef <=> DomainCheckpoint { name, domain }
    NetworkRef <=> Network { name, uuid }
    NetworkPortRef <=> NetworkPort { network, uuid }
    InterfaceRef <=> Interface { name, mac }
    StoragePoolRef <=> StoragePool { name, uuid }
    NodeDeviceRef <=> NodeDevice { name }
    SecretRef <=> Secret { uuid, usage_type, usage_id }
    NwfilterRef <=> Nwfilter { name, uuid }
}

impl From<StorageVolRef> for StorageVol {
    /// The message names the pool and nothing more of it: its UUID is nil.
    fn from(wire: StorageVolRef) -> Self {
        Self {
            pool: StoragePool {
                name: wire.pool,
                uuid: uuid::Uuid::nil(),
            },
            name: wire.name,
            key: wire.key,
        }
    }
}

impl From<&StorageVol> for StorageVolRef {
    fn from(object: &StorageVol) -> Self {
        Self {
            pool: object.pool.name.clone(),
            name: object.name.clone(),
            key: object.key.clone(),
        }
    }
}

impl From<NwfilterBindingRef> for NwfilterBinding {
    /// The message does not name the host's device behind the port.
    fn from(wire: NwfilterBindingRef) -> Self {
        Self {
            port_device: wire.portdev,
            link_device: String::new(),
            filter: wire.filtername,
        }
    }
}

impl From<&NwfilterBinding> for NwfilterBindingRef {
    fn from(object: &NwfilterBinding) -> Self {
        Self {
            portdev: object.port_device.clone(),
            filtername: object.filter.clone(),
        }
    }
}
